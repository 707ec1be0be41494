/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/demo_leaves.h: a JSON document as a list of its scalars, for the demo's table. Of what is not JSON, or deeper
 * than an order is, the list is empty. Any thread.
 */
#ifndef KVEIL_CLI_DEMO_LEAVES_H
#define KVEIL_CLI_DEMO_LEAVES_H

#include "kveil/base.h"

enum { KVEIL_DEMO_LEAVES = 24, KVEIL_DEMO_PATH = 64 };

struct kveil_demo_leaf {
	char path[KVEIL_DEMO_PATH]; /* "$.items[1].sku", cut where it is longer */
	struct kveil_span value;    /* in json; of a string without its quotes, its escapes as they stand */
};

/* In the document's order; how many there are, KVEIL_DEMO_LEAVES at most. */
size_t kveil_demo_leaves(struct kveil_span json, struct kveil_demo_leaf ret[KVEIL_DEMO_LEAVES]);

#endif

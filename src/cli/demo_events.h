/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/demo_events.h: the life of a row as Debezium tells it, for `kveil demo --cdc`: seven records of table
 * shop.public.customers, whose primary key is the identity card.
 *
 *   insert · update · key update (delete, tombstone, create; both keys in headers) · delete · tombstone
 *
 * People take turns with Chinese and English names; none of them is anybody. Any thread.
 */
#ifndef KVEIL_CLI_DEMO_EVENTS_H
#define KVEIL_CLI_DEMO_EVENTS_H

#include "base/buf.h"
#include "kveil/engine.h"

enum { KVEIL_DEMO_LIFE = 7 /* records a person */ };

struct kveil_demo_change {
	const char *what; /* "insert" */
	struct kveil_buf key, value, header_value;
	struct kveil_header header;
	struct kveil_record record; /* of those */
	bool earns_in_cn;           /* what the rule on salary asks for */
	char clear[6][64];          /* values that the rules name */
};

/* The number-th record; the people are a function of the seed. */
void kveil_demo_change_make(uint64_t seed, uint64_t number, struct kveil_demo_change *ret);
void kveil_demo_change_clear(struct kveil_demo_change *c);

#endif

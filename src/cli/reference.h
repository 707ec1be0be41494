/* SPDX-License-Identifier: Apache-2.0 */
/* cli/reference.h: the pages of docs/ that come out of tables; `kveil schema --markdown NAME` prints them. */
#ifndef KVEIL_CLI_REFERENCE_H
#define KVEIL_CLI_REFERENCE_H

#include "base/buf.h"

struct kveil_page {
	const char *name; /* docs/NAME.md */
	void (*write)(struct kveil_buf *out);
};

extern const struct kveil_page kveil_pages[]; /* ends with a zero row */

/* The page on rule files, in a file of its own. */
void kveil_rules_page_write(struct kveil_buf *out);

#endif

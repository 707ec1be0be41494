/* SPDX-License-Identifier: Apache-2.0 */
/* cli/pages.h: the pages of docs/ and the manual pages that come out of tables; `kveil schema` prints them. */
#ifndef KVEIL_CLI_PAGES_H
#define KVEIL_CLI_PAGES_H

#include "base/buf.h"

struct kveil_page {
	const char *name; /* docs/NAME.md */
	void (*write)(struct kveil_buf *out);
};

extern const struct kveil_page kveil_pages[]; /* ends with a zero row */

/* The manual page of a command, or of kveil as a whole by the name "kveil". False: no such command. */
bool kveil_man_write(const char *name, struct kveil_buf *out);

/* The page on rule files, in a file of its own. */
void kveil_rules_page_write(struct kveil_buf *out);

#endif

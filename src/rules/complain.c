/* SPDX-License-Identifier: Apache-2.0 */
/* Problems of a rule file, at the place where they stand. */
#include "rules/loader.h"

static size_t count_chars(const char *s, size_t bytes)
{
	size_t n = 0;

	for (size_t i = 0; i < bytes && s[i]; i++)
		n += ((uint8_t)s[i] & 0xC0) != 0x80;
	return n;
}

void kveil_loader_add(struct kveil_loader *l, const struct kveil_yaml *node, size_t skip, const struct kveil_error *err)
{
	struct kveil_error at = *err;
	uint32_t column = node->column;

	/* The text of a block stands elsewhere: there the place of its first mark has to do. */
	if (err->byte != KVEIL_NO_BYTE && node->kind == KVEIL_YAML_SCALAR && !strchr(node->text, '\n'))
		column += node->quoted + (uint32_t)count_chars(node->text, skip + err->byte);
	at.byte = KVEIL_NO_BYTE;
	kveil_error_where(&at, l->file, node->line, column);
	kveil_report_add(l->report, &at);
}

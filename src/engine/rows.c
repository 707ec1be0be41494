/* SPDX-License-Identifier: Apache-2.0 */
/* Where the rows of a record stand on its tape. */
#include "engine/internal.h"

/* The child that holds the byte. */
static uint32_t child_around(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t node, uint32_t byte)
{
	for (uint32_t c = node + 1; c < doc->nodes[node].next; c = doc->nodes[c].next) {
		e->work--;
		if (byte < doc->nodes[c].end)
			return c;
	}
	return node;
}

struct kveil_doc kveil_engine_row(struct kveil_engine *e, const struct kveil_doc *doc, const struct kveil_bound_rule *r,
				  const struct kveil_spot *spot)
{
	struct kveil_doc row = *doc;

	if (!spot->doc) {
		for (size_t depth = 0; depth < r->root->count; depth++)
			row.root = child_around(e, doc, row.root, spot->match.start);
		return row;
	}
	row.root = spot->match.node;
	for (size_t depth = spot->match.depth; depth > r->root->count; depth--)
		row.root = doc->nodes[row.root].parent;
	return row;
}

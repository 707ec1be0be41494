/* SPDX-License-Identifier: Apache-2.0 */
/* The scalars of the demo's records. */
#include "cli/demo_leaves.h"

#include "format/format.h"
#include "path/eval.h"

#include <stdio.h>

enum { DEPTH_MAX = 8 };

/* Gives how long it is. */
static size_t write_path(const struct kveil_doc *doc, uint32_t node, char path[KVEIL_DEMO_PATH])
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	size_t at = node ? write_path(doc, n->parent, path) : 0, room = KVEIL_DEMO_PATH - at;
	struct kveil_span name = n->name_end ? kveil_node_name(doc, n) : KVEIL_SPAN("");

	if (!node)
		snprintf(path, room, "$");
	else if (n->name_end)
		snprintf(path + at, room, ".%.*s", (int)name.len, (const char *)name.data);
	else
		snprintf(path + at, room, "[%u]", n->ordinal);
	return strlen(path);
}

static bool take_leaf(const struct kveil_doc *doc, uint32_t node, struct kveil_demo_leaf *ret)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	bool is_text = n->kind == KVEIL_KIND_STRING;

	if (n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY)
		return false;
	write_path(doc, node, ret->path);
	ret->value = kveil_span_of(doc->text.data + n->start + is_text, n->end - n->start - 2 * is_text);
	return true;
}

size_t kveil_demo_leaves(struct kveil_span json, struct kveil_demo_leaf ret[KVEIL_DEMO_LEAVES])
{
	struct kveil_arena arena;
	size_t count = 0;

	kveil_arena_init(&arena, 1 << 16);
	struct kveil_scan s = {.arena = &arena, .max_bytes = json.len, .max_depth = DEPTH_MAX, .want_doc = true};
	if (json.len && kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, json, NULL) == KVEIL_OK)
		for (uint32_t i = 0; i < s.doc.count && count < KVEIL_DEMO_LEAVES; i++)
			count += take_leaf(&s.doc, i, &ret[count]);
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
	return count;
}

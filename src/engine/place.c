/* SPDX-License-Identifier: Apache-2.0 */
/* What a place in a record is: its path for messages, its text without quotes, the value as a tree. */
#include "engine/internal.h"

enum kveil_status kveil_engine_blame(const struct kveil_bound_rule *r, size_t byte, enum kveil_status status,
				     struct kveil_error *err)
{
	kveil_error_rule(err, r->rule->id);
	if (err->byte == KVEIL_NO_BYTE && kveil_status_class(status) == KVEIL_CLASS_RECORD)
		err->byte = byte;
	return status;
}

static void write_step(struct kveil_engine *e, struct kveil_span text, struct kveil_step step, uint32_t ordinal,
		       bool true_indices, struct kveil_buf *out)
{
	if (step.name_end) {
		struct kveil_span raw = {text.data + step.name_start, step.name_end - step.name_start};
		struct kveil_span name = kveil_engine_unquote(e, raw);
		out->failed |= !name.data;
		kveil_path_write_name(name, out);
	} else if (true_indices) {
		kveil_buf_printf(out, "[%u]", ordinal);
	} else {
		kveil_buf_append_str(out, "[*]");
	}
}

/* The steps from the root of what the spot stands in, without the first `skip` and the last `cut`. */
static void write_steps(struct kveil_engine *e, const struct kveil_spot *spot, uint32_t skip, uint32_t cut,
			bool true_indices, struct kveil_buf *out)
{
	uint32_t depth = spot->match.depth, node = spot->match.node;
	uint32_t *nodes = kveil_arena_array(&e->arena, depth, sizeof *nodes);

	out->failed |= !nodes;
	if (!nodes)
		return;
	for (uint32_t d = depth; spot->doc && d > 0; d--) {
		nodes[d - 1] = node;
		node = spot->doc->nodes[node].parent;
	}
	for (uint32_t d = skip; d < depth - cut; d++) {
		if (spot->doc && spot->is_dotted && d == 0 && !true_indices) {
			struct kveil_span name = kveil_engine_name_of(e, spot->doc, nodes[d]);
			out->failed |= !name.data;
			kveil_dotted_write(name, out);
		} else if (spot->doc) {
			const struct kveil_doc_node *n = &spot->doc->nodes[nodes[d]];
			write_step(e, spot->text, (struct kveil_step){n->name_start, n->name_end}, n->ordinal,
				   true_indices, out);
		} else {
			write_step(e, spot->text, spot->trail[spot->match.trail + d], 0, false, out);
		}
	}
}

void kveil_engine_write_path(struct kveil_engine *e, const struct kveil_spot *spot, const struct kveil_spot *until,
			     uint32_t skip, bool true_indices, struct kveil_span to_name, struct kveil_buf *out)
{
	const struct kveil_spot *texts[KVEIL_MOST_TEXTS + 1];
	size_t n = 0;

	for (const struct kveil_spot *s = spot->outer; s && s != until && n <= KVEIL_MOST_TEXTS; s = s->outer)
		texts[n++] = s;
	kveil_buf_append_byte(out, '$');
	for (; n > 0; n--, skip = 0)
		write_steps(e, texts[n - 1], skip, 0, true_indices, out);
	write_steps(e, spot, skip, to_name.data != NULL, true_indices, out);
	if (to_name.data)
		kveil_path_write_name(to_name, out);
}

bool kveil_engine_quote(struct kveil_engine *e, const struct kveil_spot *spot, struct kveil_doc_node *node,
			struct kveil_doc *ret)
{
	KVEIL_CLEANUP_BUF struct kveil_buf quoted = KVEIL_BUF_INIT;

	*node = (struct kveil_doc_node){.next = 1, .parent = UINT32_MAX, .kind = spot->match.kind};
	if (spot->match.kind == KVEIL_KIND_NULL)
		kveil_buf_append_str(&quoted, "null");
	else
		kveil_format_by_name(KVEIL_SPAN("json"))->write_text(&quoted, spot->text, true);
	uint8_t *copy = kveil_buf_ok(&quoted) ? kveil_arena_alloc(&e->arena, quoted.len) : NULL;
	if (!copy)
		return false;
	memcpy(copy, quoted.data, quoted.len);
	node->end = (uint32_t)quoted.len;
	node->flags = memchr(copy, '\\', quoted.len) ? KVEIL_NODE_VALUE_ESCAPED : 0;
	*ret = (struct kveil_doc){.text = kveil_span_of(copy, quoted.len), .nodes = node, .count = 1};
	return true;
}

/* A value that is one text, as a tape; of bytes there is none. */
static enum kveil_status whole_value_doc(struct kveil_engine *e, const struct kveil_doc **ret, struct kveil_error *err)
{
	struct kveil_spot spot = {.text = e->value, .match = {.kind = KVEIL_KIND_STRING}};
	struct kveil_doc_node *node = kveil_arena_alloc(&e->arena, sizeof *node);
	struct kveil_doc *doc = kveil_arena_alloc(&e->arena, sizeof *doc);

	*ret = NULL;
	if (!e->value.data || e->parts[KVEIL_PART_VALUE].format->has_bytes)
		return KVEIL_OK;
	if (!node || !doc || !kveil_engine_quote(e, &spot, node, doc))
		return kveil_no_memory(err, "a record");
	*ret = e->value_doc = doc;
	return KVEIL_OK;
}

enum kveil_status kveil_engine_value_doc(struct kveil_engine *e, const struct kveil_doc **ret, struct kveil_error *err)
{
	const struct kveil_bound_part *value = &e->parts[KVEIL_PART_VALUE];

	if (!e->value_doc && !value->format->has_paths)
		return whole_value_doc(e, ret, err);
	if (!e->value_doc && e->value.data) {
		enum kveil_status st = value->format->scan(&e->lookup, e->value, err);
		if (st)
			return st;
		e->value_doc = &e->lookup.doc;
	}
	*ret = e->value_doc;
	return KVEIL_OK;
}

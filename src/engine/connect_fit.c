/* SPDX-License-Identifier: Apache-2.0 */
/* Values in the type that a derived schema gives them: where one type holds what a rule wrote and what it left. */
#include "engine/connect.h"

#include <stdlib.h>

struct fitted {
	uint32_t node;
	unsigned kind;
};

static int by_node(const void *a, const void *b)
{
	const struct fitted *x = a, *y = b;

	return x->node < y->node ? -1 : x->node > y->node;
}

/* The values that are in another type, in document order. No place has two fits, and none is inside another. */
static enum kveil_status find(struct kveil_engine *e, const struct kveil_connect_view *view,
			      const struct kveil_doc *doc, struct fitted **ret, size_t *ret_count,
			      struct kveil_error *err)
{
	size_t count = 0, cap = 0;
	struct fitted *list = NULL;

	for (size_t i = 0; i < view->fit_count; i++) {
		const struct kveil_connect_fit *f = &view->fits[i];
		uint32_t *nodes;
		size_t n;
		enum kveil_status st =
		    kveil_path_select_within(&f->path, doc, 0, true, &e->work, &e->arena, &nodes, &n, err);
		if (st)
			return st;
		if (cap - count < n) {
			cap = 2 * (count + n);
			struct fitted *more = kveil_arena_array(&e->arena, cap, sizeof *more);
			if (!more)
				return kveil_no_memory(err, "a record");
			if (count)
				memcpy(more, list, count * sizeof *more);
			list = more;
		}
		for (size_t k = 0; k < n; k++) {
			unsigned kind = doc->nodes[nodes[k]].kind;
			bool is_text = kind == KVEIL_KIND_STRING;
			if (kind != KVEIL_KIND_NULL && is_text != (f->kind == KVEIL_KIND_STRING))
				list[count++] = (struct fitted){nodes[k], f->kind};
		}
	}
	if (count > 1)
		qsort(list, count, sizeof *list, by_node);
	*ret = list;
	*ret_count = count;
	return KVEIL_OK;
}

/* A text becomes the value that it spells, of the kind that the schema wants. */
static enum kveil_status unquote(struct kveil_engine *e, struct kveil_span content, unsigned kind,
				 struct kveil_buf *out, struct kveil_error *err)
{
	struct kveil_scan *scan = &e->connect.spelled;
	struct kveil_error bad;
	enum kveil_status st = kveil_format_by_name(KVEIL_SPAN("json"))->scan(scan, content, &bad);
	bool fits = !st && scan->doc.nodes[0].kind == kind;

	if (st == KVEIL_E_NO_MEMORY)
		return kveil_no_memory(err, "a record");
	if (!fits)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED_KIND, "a text that is not of type %s, as the schema has it",
				  kveil_kind_name((enum kveil_kind)kind));
	kveil_buf_append_span(out, content);
	return KVEIL_OK;
}

static enum kveil_status write_fitted(struct kveil_engine *e, const struct kveil_doc *doc, const struct fitted *f,
				      struct kveil_buf *out, struct kveil_error *err)
{
	const struct kveil_doc_node *n = &doc->nodes[f->node];
	struct kveil_span raw = {doc->text.data + n->start, n->end - n->start}, content;

	if (f->kind == KVEIL_KIND_STRING) {
		kveil_json_write_text(out, raw);
		return KVEIL_OK;
	}
	if (kveil_doc_text(doc, f->node, &e->arena, &content))
		return kveil_no_memory(err, "a record");
	return unquote(e, content, f->kind, out, err);
}

enum kveil_status kveil_connect_fit(struct kveil_engine *e, const struct kveil_connect_view *view,
				    struct kveil_span payload, struct kveil_buf *out, struct kveil_error *err)
{
	struct kveil_scan *scan = &e->connect.inner;
	struct fitted *list;
	size_t count, copied = 0;

	enum kveil_status st = kveil_format_by_name(KVEIL_SPAN("json"))->scan(scan, payload, err);
	if (!st)
		st = find(e, view, &scan->doc, &list, &count, err);
	for (size_t i = 0; !st && i < count; i++) {
		const struct kveil_doc_node *n = &scan->doc.nodes[list[i].node];
		/* A row that looks like another: what is inside a value that was written is not a value of its own. */
		if (n->start < copied)
			continue;
		kveil_buf_append(out, payload.data + copied, n->start - copied);
		st = write_fitted(e, &scan->doc, &list[i], out, err);
		copied = n->end;
	}
	if (!st)
		kveil_buf_append(out, payload.data + copied, payload.len - copied);
	return st;
}

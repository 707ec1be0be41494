/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MongoDB's updatedFields: {"addresses.0.street": …} is what changed of a row, and a rule on $.addresses[*].street is
 * about it. A name is read as a path and as a name; a number in it as an index and as a name.
 */
#include "engine/internal.h"

enum { MOST_SEGMENTS = 62 };

static bool is_number(struct kveil_span s, int64_t *ret)
{
	*ret = 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9' || i > 9)
			return false;
		*ret = *ret * 10 + (s.data[i] - '0');
	}
	return s.len > 0;
}

/* How many elements there are, and what stands in them, is not told. */
static bool takes(const struct kveil_selector *s, struct kveil_span name, bool doubt)
{
	int64_t index;

	switch (s->kind) {
	case KVEIL_SEL_NAME:
		return kveil_span_eq(s->name, name);
	case KVEIL_SEL_WILDCARD:
		return true;
	case KVEIL_SEL_INDEX:
		return is_number(name, &index) && (s->index < 0 ? doubt : s->index == index);
	case KVEIL_SEL_SLICE:
		return is_number(name, &index) && doubt;
	case KVEIL_SEL_FILTER:
		return doubt;
	}
	return doubt;
}

/* The states of a path, which are the segments that it may stand before, after one more step. */
static uint64_t step(const struct kveil_path *p, uint64_t states, struct kveil_span name, bool doubt)
{
	uint64_t next = 0;

	for (size_t i = 0; i < p->count; i++) {
		const struct kveil_segment *s = &p->segments[i];
		if (!(states >> i & 1))
			continue;
		if (s->descendant)
			next |= (uint64_t)1 << i;
		for (size_t k = 0; k < s->count; k++)
			if (takes(&s->selectors[k], name, doubt))
				next |= (uint64_t)1 << (i + 1);
	}
	return next;
}

/* The part of a dotted name that begins at `at`. */
static struct kveil_span part_at(struct kveil_span name, size_t at)
{
	const uint8_t *dot = at < name.len ? memchr(name.data + at, '.', name.len - at) : NULL;

	return kveil_span_of(name.data + at, dot ? (size_t)(dot - name.data) - at : name.len - at);
}

/* The states behind all of a name; with the path's end among them where it ended on the way: what stands there is in
 * what the path finds. */
static uint64_t walk(struct kveil_engine *e, const struct kveil_path *p, struct kveil_span name, bool doubt)
{
	uint64_t states = 1, through = 0, end = (uint64_t)1 << p->count;

	for (size_t at = 0; at <= name.len; e->work--) {
		struct kveil_span part = part_at(name, at);
		states = step(p, states, part, doubt);
		through |= states & end;
		at += part.len + 1;
	}
	return states | through | step(p, 1, name, doubt);
}

uint64_t kveil_dotted_enter(const struct kveil_path *path, struct kveil_span column)
{
	return path->count > MOST_SEGMENTS ? 0 : step(path, 1, column, true);
}

struct found {
	uint32_t *nodes;
	size_t count, cap;
};

static bool add(struct kveil_engine *e, struct found *f, const uint32_t *nodes, size_t count)
{
	if (f->cap - f->count < count) {
		size_t cap = (f->count + count) * 2;
		uint32_t *more = kveil_arena_array(&e->arena, cap, sizeof *more);
		if (!more)
			return false;
		if (f->count)
			memcpy(more, f->nodes, f->count * sizeof *more);
		f->nodes = more;
		f->cap = cap;
	}
	if (count)
		memcpy(f->nodes + f->count, nodes, count * sizeof *nodes);
	f->count += count;
	return true;
}

static enum kveil_status no_memory(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory for a record");
}

static enum kveil_status select_member(struct kveil_engine *e, const struct kveil_path *path,
				       const struct kveil_doc *doc, uint32_t node, bool doubt, struct found *f,
				       struct kveil_error *err)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	struct kveil_span raw = {doc->text.data + n->name_start, n->name_end - n->name_start};
	struct kveil_span name = kveil_engine_unquote(e, raw);
	struct kveil_doc value = *doc;

	if (!name.data)
		return no_memory(err);
	uint64_t states = walk(e, path, name, doubt);
	if (states >> path->count & 1 && !add(e, f, &node, 1))
		return no_memory(err);
	value.root = node;
	for (size_t i = 0; i < path->count; i++) {
		const struct kveil_path rest = {.segments = path->segments + i, .count = path->count - i};
		uint32_t *nodes;
		size_t count = 0;
		if (!(states >> i & 1))
			continue;
		enum kveil_status st =
		    kveil_path_select_within(&rest, &value, node, doubt, &e->work, &e->arena, &nodes, &count, err);
		if (!st && !add(e, f, nodes, count))
			st = no_memory(err);
		if (st)
			return st;
	}
	return KVEIL_OK;
}

enum kveil_status kveil_dotted_select(struct kveil_engine *e, const struct kveil_path *path,
				      const struct kveil_doc *doc, bool doubt_selects, uint32_t **ret,
				      size_t *ret_count, struct kveil_error *err)
{
	struct found f = {0};
	enum kveil_status st = KVEIL_OK;

	if (path->count > MOST_SEGMENTS)
		return kveil_fail(err, KVEIL_E_TOO_COMPLEX, "a path of more than %d steps meets names with dots",
				  MOST_SEGMENTS);
	for (uint32_t c = 1; !st && doc->nodes[0].kind == KVEIL_KIND_OBJECT && c < doc->nodes[0].next;
	     c = doc->nodes[c].next)
		st = select_member(e, path, doc, c, doubt_selects, &f, err);
	*ret = f.nodes;
	*ret_count = f.count;
	return st;
}

void kveil_dotted_write(struct kveil_span name, struct kveil_buf *out)
{
	for (size_t at = 0; at <= name.len;) {
		struct kveil_span part = part_at(name, at);
		int64_t index;
		if (is_number(part, &index))
			kveil_buf_append_str(out, "[*]");
		else
			kveil_path_write_name(part, out);
		at += part.len + 1;
	}
}

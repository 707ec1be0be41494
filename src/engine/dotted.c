/* SPDX-License-Identifier: Apache-2.0 */
/*
 * MongoDB's updatedFields: {"addresses.0.street": …} is what changed of a row, and a rule on $.addresses[*].street is
 * about it. A name may have dots of its own, and a part of digits may be an index or a name: nothing tells. So every
 * way of joining the parts is a reading, and one that protects holds in all of them:
 *
 *   a.b.c    a│b│c   a.b│c   a│b.c   a.b.c       a path is the states it may be in behind each part
 */
#include "engine/internal.h"

enum {
	MOST_DIGITS = 18,
	NAME_BYTES = 8, /* compared, that go for one unit of work */
};

/* Is it an element's number? One that is beyond all reason is in doubt. */
static bool is_number(struct kveil_span s, int64_t *ret)
{
	*ret = s.len > MOST_DIGITS ? -1 : 0;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] < '0' || s.data[i] > '9')
			return false;
		*ret = *ret < 0 ? -1 : *ret * 10 + (s.data[i] - '0');
	}
	return s.len > 0;
}

/* How many elements there are, and what stands in them, is not told. */
static bool takes(const struct kveil_selector *s, struct kveil_span name, bool in_doubt)
{
	int64_t index;

	switch (s->kind) {
	case KVEIL_SEL_NAME:
		return kveil_span_eq(s->name, name);
	case KVEIL_SEL_WILDCARD:
		return true;
	case KVEIL_SEL_INDEX:
		return is_number(name, &index) && (s->index < 0 || index < 0 ? in_doubt : s->index == index);
	case KVEIL_SEL_SLICE:
		return is_number(name, &index) && in_doubt;
	case KVEIL_SEL_FILTER:
		return in_doubt;
	}
	return in_doubt;
}

/* The states of a path, which are the segments that it may stand before, after one more step. */
static uint64_t step(const struct kveil_path *p, uint64_t states, struct kveil_span name, bool in_doubt)
{
	uint64_t next = 0;

	for (size_t i = 0; i < p->count; i++) {
		const struct kveil_segment *s = &p->segments[i];
		if (!(states >> i & 1))
			continue;
		if (s->descendant)
			next |= (uint64_t)1 << i;
		for (size_t k = 0; k < s->count; k++)
			if (takes(&s->selectors[k], name, in_doubt))
				next |= (uint64_t)1 << (i + 1);
	}
	return next;
}

uint64_t kveil_dotted_enter(const struct kveil_path *path, struct kveil_span column)
{
	return path->count > KVEIL_PATH_IN_EVENT ? 0 : step(path, 1, column, true);
}

/* The byte behind the part that begins at `at`. */
static size_t end_of_part(struct kveil_span name, size_t at)
{
	const uint8_t *dot = at < name.len ? memchr(name.data + at, '.', name.len - at) : NULL;

	return dot ? (size_t)(dot - name.data) : name.len;
}

/* states[at]: behind the parts in front of byte `at`. One step over all that begins there: a part, or several joined.
 */
static enum kveil_status walk_on(struct kveil_engine *e, const struct kveil_path *p, struct kveil_span name, size_t at,
				 bool widely, uint64_t *states, struct kveil_error *err)
{
	for (size_t end = end_of_part(name, at);; end = end_of_part(name, end + 1)) {
		e->work -= (int64_t)((end - at) / NAME_BYTES + p->count);
		if (e->work < 0)
			return kveil_fail(err, KVEIL_E_TOO_COMPLEX, "a name with many dots takes too long to read");
		states[end + 1] |= step(p, states[at], kveil_span_of(name.data + at, end - at), widely);
		if (end == name.len || !widely)
			return KVEIL_OK;
	}
}

/* The states behind all of a name. Where the path ends on the way, what stands there is in what the path names. */
static enum kveil_status walk(struct kveil_engine *e, const struct kveil_path *p, struct kveil_span name, unsigned how,
			      uint64_t *ret, struct kveil_error *err)
{
	uint64_t *states = kveil_arena_array(&e->arena, name.len + 2, sizeof *states);
	uint64_t end = (uint64_t)1 << p->count, through = 0;
	enum kveil_status st = KVEIL_OK;

	if (!states)
		return kveil_no_memory(err, "a record");
	memset(states, 0, (name.len + 2) * sizeof *states);
	states[0] = 1;
	for (size_t at = 0; !st && at <= name.len; at = end_of_part(name, at) + 1) {
		through |= states[at] & end;
		if (states[at] & ~end)
			st = walk_on(e, p, name, at, how & KVEIL_DOTTED_WIDELY, states, err);
	}
	*ret = states[name.len + 1] | (how & KVEIL_DOTTED_INSIDE ? through : 0);
	return st;
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

/* What the path finds at the node and below, from the states behind its name. $ stays the row. */
static enum kveil_status select_below(struct kveil_engine *e, const struct kveil_path *path, uint64_t states,
				      const struct kveil_doc *doc, uint32_t node, bool widely, struct found *f,
				      struct kveil_error *err)
{
	if (states >> path->count & 1 && !add(e, f, &node, 1))
		return kveil_no_memory(err, "a record");
	for (size_t i = 0; i < path->count; i++) {
		const struct kveil_path rest = {
		    .relative = true, .segments = path->segments + i, .count = path->count - i};
		uint32_t *nodes;
		size_t count = 0;
		if (!(states >> i & 1))
			continue;
		enum kveil_status st =
		    kveil_path_select_within(&rest, doc, node, widely, &e->work, &e->arena, &nodes, &count, err);
		if (!st && !add(e, f, nodes, count))
			st = kveil_no_memory(err, "a record");
		if (st)
			return st;
	}
	return KVEIL_OK;
}

enum kveil_status kveil_dotted_select(struct kveil_engine *e, const struct kveil_path *path,
				      const struct kveil_doc *doc, unsigned how, uint32_t **ret, size_t *ret_count,
				      struct kveil_error *err)
{
	struct found f = {0};
	enum kveil_status st = KVEIL_OK;

	if (path->count > KVEIL_PATH_IN_EVENT)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a path is too long for names with dots");
	for (uint32_t c = 1; !st && doc->nodes[0].kind == KVEIL_KIND_OBJECT && c < doc->nodes[0].next;
	     c = doc->nodes[c].next) {
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		bool has_dots = name.data && memchr(name.data, '.', name.len);
		uint64_t states = 0;
		e->work -= (int64_t)path->count + 1;
		if (!name.data)
			st = kveil_no_memory(err, "a record");
		else if (e->work < 0)
			st = kveil_fail(err, KVEIL_E_TOO_COMPLEX, "so many names take too long to read");
		else if (!has_dots)
			states = step(path, 1, name, how & KVEIL_DOTTED_WIDELY);
		else if (!(how & KVEIL_DOTTED_NONE))
			st = walk(e, path, name, how, &states, err);
		if (!st)
			st = select_below(e, path, states, doc, c, how & KVEIL_DOTTED_WIDELY, &f, err);
	}
	*ret = f.nodes;
	*ret_count = f.count;
	return st;
}

void kveil_dotted_write(struct kveil_span name, struct kveil_buf *out)
{
	for (size_t at = 0; at <= name.len; at = end_of_part(name, at) + 1) {
		struct kveil_span part = {name.data + at, end_of_part(name, at) - at};
		int64_t index;
		if (is_number(part, &index))
			kveil_buf_append_str(out, "[*]");
		else
			kveil_path_write_name(part, out);
	}
}

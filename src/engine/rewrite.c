/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A document in one view, from marks on its nodes to bytes. Commas, with k kept and x going:
 *
 *   [x, k, x, k, x]   a run in front of a kept one goes up to that one's begin; the run at the end goes from the
 *      ^^^  ^^^ ^^^   last kept one's end on. What comes (appends) stands where the last kept one ends.
 */
#include "engine/internal.h"

#include "base/heap_sort.h"

#include <stdio.h>
#include <stdlib.h>

enum { NONE = UINT32_MAX };

enum kveil_status kveil_rewrite_init(struct kveil_engine *e, struct kveil_rewrite *w, const struct kveil_doc *doc,
				     size_t view, struct kveil_error *err)
{
	*w = (struct kveil_rewrite){.doc = doc, .view = view};
	w->nodes = kveil_arena_array(&e->arena, doc->count, sizeof *w->nodes);
	if (!w->nodes)
		return kveil_no_memory(err, "a record");
	memset(w->nodes, 0, doc->count * sizeof *w->nodes);
	return KVEIL_OK;
}

void kveil_rewrite_mark(struct kveil_rewrite *w, uint32_t node, enum kveil_mark mark, uint32_t piece)
{
	w->nodes[node].mark = (uint8_t)mark;
	w->nodes[node].piece = piece;
	if (mark != KVEIL_MARK_WRITE && node)
		w->nodes[w->doc->nodes[node].parent].is_dirty = true;
}

void kveil_rewrite_name(struct kveil_rewrite *w, uint32_t node)
{
	w->nodes[node].named = KVEIL_NAMED;
	while (node && w->nodes[w->doc->nodes[node].parent].named == KVEIL_UNNAMED) {
		node = w->doc->nodes[node].parent;
		w->nodes[node].named = KVEIL_ON_THE_WAY;
	}
}

bool kveil_rewrite_is_empty(const struct kveil_rewrite *w, uint32_t node)
{
	const struct kveil_doc_node *n = &w->doc->nodes[node];
	bool is_container = n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY;

	return is_container && n->next == node + 1 && w->nodes[node].named == KVEIL_UNNAMED;
}

void kveil_rewrite_lead(struct kveil_rewrite *w, uint32_t node)
{
	for (; w->nodes[node].named == KVEIL_UNNAMED; node = w->doc->nodes[node].parent) {
		w->nodes[node].named = KVEIL_ON_THE_WAY;
		if (!node)
			return;
	}
}

bool kveil_rewrite_inside(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t node,
			  const struct kveil_edits *edits)
{
	if (w->inside_count == w->inside_cap) {
		uint32_t cap = w->inside_cap ? w->inside_cap * 2 : 8;
		struct kveil_edits *more = kveil_arena_array(&e->arena, cap, sizeof *more);
		if (!more)
			return false;
		if (w->inside_count)
			memcpy(more, w->insides, w->inside_count * sizeof *more);
		w->insides = more;
		w->inside_cap = cap;
	}
	w->nodes[node].mark = KVEIL_MARK_INSIDE;
	w->nodes[node].piece = w->inside_count;
	w->insides[w->inside_count++] = *edits;
	return true;
}

static struct kveil_append *append_at(struct kveil_rewrite *w, uint32_t number)
{
	return &w->appends[number - 1];
}

static enum kveil_status conflict(const struct kveil_bound_rule *r, const struct kveil_rewrite *w, uint32_t source,
				  const char *why, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_TARGET_CONFLICT, "%s", why);
	return kveil_engine_blame(r, w->doc->nodes[source].start, KVEIL_E_TARGET_CONFLICT, err);
}

enum kveil_status kveil_rewrite_append(struct kveil_engine *e, struct kveil_rewrite *w,
				       const struct kveil_bound_rule *r, uint32_t source, uint32_t piece,
				       struct kveil_error *err)
{
	const struct kveil_doc *doc = w->doc;
	uint32_t parent = doc->nodes[source].parent;

	if (parent == UINT32_MAX || doc->nodes[parent].kind != KVEIL_KIND_OBJECT)
		return conflict(r, w, source, "`to` needs an object around the value", err);
	if (w->append_count == w->append_cap) {
		uint32_t cap = w->append_cap ? w->append_cap * 2 : 8;
		struct kveil_append *more = kveil_arena_array(&e->arena, cap, sizeof *more);
		if (!more)
			return kveil_no_memory(err, "a record");
		if (w->append_count)
			memcpy(more, w->appends, w->append_count * sizeof *more);
		w->appends = more;
		w->append_cap = cap;
	}
	uint32_t number = w->append_count + 1;
	struct kveil_append *a = &w->appends[w->append_count++];
	*a = (struct kveil_append){.rule = r,
				   .parent = parent,
				   .source = source,
				   .name = r->rule->to_name,
				   .piece = piece,
				   .group = number,
				   .count = 1,
				   .last = number};
	w->nodes[parent].is_dirty = true;
	uint32_t head = w->nodes[parent].appends, group = head, *link = &w->nodes[parent].appends;
	while (group && !kveil_span_eq(append_at(w, group)->name, a->name)) {
		link = &append_at(w, group)->next_group;
		group = *link;
	}
	if (head) {
		append_at(w, append_at(w, head)->last)->next = number;
		append_at(w, head)->last = number;
	}
	if (!group) {
		*link = number;
		return KVEIL_OK;
	}
	/* Duplicates of one member may go to duplicates of another; anything else would lose a value. */
	struct kveil_append *first = append_at(w, group);
	struct kveil_span x = kveil_engine_name_of(e, doc, first->source), y = kveil_engine_name_of(e, doc, source);
	if (!x.data || !y.data)
		return kveil_no_memory(err, "a record");
	if (first->rule != r || !kveil_span_eq(x, y))
		return conflict(r, w, source, "two values for the member that `to` names", err);
	a->group = group;
	first->count++;
	return KVEIL_OK;
}

/* Where types stay, the value takes the place of one of its own type… */
static enum kveil_status keep_target(const struct kveil_engine *e, const struct kveil_rewrite *w,
				     const struct kveil_append *a, uint32_t target, struct kveil_error *err)
{
	const struct kveil_doc_node *n = &w->doc->nodes[target];
	const struct kveil_piece *piece = &e->piece_list[a->piece];
	struct kveil_match m = {.start = n->start, .end = n->end};

	if (!e->keeps_types)
		return KVEIL_OK;
	return kveil_engine_keep_type(a->rule, w->doc->text, &m,
				      kveil_span_of(e->pieces.data + piece->offset, piece->len), err);
}

/* …and no other. */
static enum kveil_status keep_members(struct kveil_rewrite *w, uint32_t parent, struct kveil_error *err)
{
	for (uint32_t n = w->nodes[parent].appends; n; n = append_at(w, n)->next_group) {
		const struct kveil_append *a = append_at(w, n);
		if (!a->is_placed)
			return kveil_engine_keep_members(a->rule, w->doc->nodes[a->source].start, true, err);
	}
	return KVEIL_OK;
}

/* Gives the appends of one parent to the members that have their names already. */
static enum kveil_status place_appends(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t parent,
				       struct kveil_error *err)
{
	const struct kveil_doc *doc = w->doc;

	for (uint32_t c = parent + 1; c < doc->nodes[parent].next; c = doc->nodes[c].next) {
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		if (!name.data)
			return kveil_no_memory(err, "a record");
		for (uint32_t n = w->nodes[parent].appends; n; n = append_at(w, n)->next_group) {
			struct kveil_append *a = append_at(w, n);
			if (!kveil_span_eq(a->name, name))
				continue;
			if (a->count > 1)
				return conflict(a->rule, w, a->source, "several values for the member that `to` names",
						err);
			if (w->nodes[c].mark == KVEIL_MARK_WRITE || w->nodes[c].mark == KVEIL_MARK_REMOVE)
				return conflict(a->rule, w, a->source, "another rule writes the member that `to` names",
						err);
			enum kveil_status st = keep_target(e, w, a, c, err);
			if (st)
				return st;
			kveil_rewrite_mark(w, c, KVEIL_MARK_WRITE, a->piece);
			kveil_rewrite_name(w, c);
			a->is_placed = true;
		}
	}
	return e->keeps_types ? keep_members(w, parent, err) : KVEIL_OK;
}

static bool push_edit(struct kveil_engine *e, struct kveil_edits *es, uint32_t start, uint32_t end, size_t offset,
		      size_t len)
{
	if (es->count == es->cap) {
		size_t cap = es->cap ? es->cap * 2 : 32;
		struct kveil_edit *more = kveil_arena_array(&e->arena, cap, sizeof *more);
		if (!more)
			return false;
		if (es->count)
			memcpy(more, es->items, es->count * sizeof *more);
		es->items = more;
		es->cap = cap;
	}
	es->items[es->count++] = (struct kveil_edit){start, end, offset, len};
	return true;
}

/* The members that come at a container's end, as one stretch of pieces. */
static bool write_appends(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t parent, bool after_member,
			  size_t *ret_offset, size_t *ret_len)
{
	*ret_offset = e->pieces.len;
	for (uint32_t n = w->nodes[parent].appends; n; n = append_at(w, n)->next) {
		const struct kveil_append *a = append_at(w, n);
		const struct kveil_piece *piece = &e->piece_list[a->piece];
		if (append_at(w, a->group)->is_placed)
			continue;
		if (after_member)
			kveil_buf_append_byte(&e->pieces, ',');
		kveil_json_write_text(&e->pieces, a->name);
		kveil_buf_append_byte(&e->pieces, ':');
		/* First the room: the piece stands in the buffer that grows. */
		if (kveil_buf_reserve(&e->pieces, piece->len))
			kveil_buf_append(&e->pieces, e->pieces.data + piece->offset, piece->len);
		after_member = true;
	}
	*ret_len = e->pieces.len - *ret_offset;
	return kveil_buf_ok(&e->pieces);
}

static uint32_t begin_of(const struct kveil_doc_node *n)
{
	return n->name_end ? n->name_start : n->start;
}

static bool goes(const struct kveil_node_state *s)
{
	return s->mark == KVEIL_MARK_REMOVE || s->mark == KVEIL_MARK_MOVED;
}

/* The edits for members that go and come in one container. */
static enum kveil_status edit_container(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t at,
					struct kveil_edits *es, struct kveil_error *err)
{
	const struct kveil_doc_node *nodes = w->doc->nodes, *last = NULL;
	uint32_t run = NONE, kept = NONE; /* first of the run that goes; last that stays */
	size_t offset, len;

	for (uint32_t c = at + 1; c < nodes[at].next; c = nodes[c].next) {
		last = &nodes[c];
		if (goes(&w->nodes[c])) {
			run = run == NONE ? c : run;
			continue;
		}
		if (run != NONE && !push_edit(e, es, begin_of(&nodes[run]), begin_of(&nodes[c]), 0, 0))
			return kveil_no_memory(err, "a record");
		run = NONE;
		kept = c;
	}
	if (!write_appends(e, w, at, kept != NONE, &offset, &len))
		return kveil_no_memory(err, "a record");
	uint32_t start = kept != NONE ? nodes[kept].end : last ? begin_of(&nodes[at + 1]) : nodes[at].start + 1;
	uint32_t end = run != NONE ? last->end : start;
	if ((len || end > start) && !push_edit(e, es, start, end, offset, len))
		return kveil_no_memory(err, "a record");
	return KVEIL_OK;
}

/* Of a path as much as a hint has room for, without what a terminal would act on. */
static void write_bounded(struct kveil_span path, char *dst, size_t size)
{
	size_t n = 0, i = 0;

	for (; i < path.len && n + sizeof "\\u0000..." <= size; i++) {
		uint8_t c = path.data[i];
		bool c1 = c == 0xC2 && i + 1 < path.len && path.data[i + 1] < 0xA0;
		if (c1)
			c = path.data[++i];
		if (c1 || c < 0x20 || c == 0x7F)
			n += (size_t)snprintf(dst + n, size - n, "\\u%04x", c);
		else
			dst[n++] = (char)c;
	}
	/* Never half a character. */
	while (i < path.len && n && (path.data[i] & 0xC0) == 0x80) {
		i--;
		n--;
	}
	snprintf(dst + n, size - n, "%s", i < path.len ? "..." : "");
}

/* The path stands in the hint, which is for a terminal: in a strange field its names may be data, and logs and the side
 * port show the message alone. */
static enum kveil_status unmatched_field(struct kveil_engine *e, const struct kveil_rewrite *w, uint32_t node,
					 struct kveil_error *err)
{
	const struct kveil_doc *doc = w->doc;
	struct kveil_spot spot = {.text = doc->text, .doc = doc, .outer = w->outer, .match = {.node = node}};
	char path[120] = "it";

	for (uint32_t p = node; p; p = doc->nodes[p].parent)
		spot.match.depth++;
	kveil_engine_reset_scratch(e);
	kveil_engine_write_path(e, &spot, NULL, 0, true, KVEIL_SPAN_NULL, &e->scratch);
	if (kveil_buf_ok(&e->scratch))
		write_bounded(kveil_buf_span(&e->scratch), path, sizeof path);
	kveil_fail_at(err, KVEIL_E_UNMATCHED_FIELD, begin_of(&doc->nodes[node]), "a field that no rule names");
	kveil_error_hint(err, "name %s in a rule or under `clear`", path);
	return KVEIL_E_UNMATCHED_FIELD;
}

/* What no rule names, in a container on the way to something named. */
static enum kveil_status judge_unmatched(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t at,
					 enum kveil_unmatched unmatched, struct kveil_error *err)
{
	const struct kveil_doc_node *nodes = w->doc->nodes;

	for (uint32_t c = at + 1; c < nodes[at].next; c = nodes[c].next) {
		if (w->nodes[c].named || goes(&w->nodes[c]))
			continue;
		if (unmatched == KVEIL_UNMATCHED_DEAD_LETTER)
			return unmatched_field(e, w, c, err);
		if (e->keeps_types)
			return kveil_engine_keep_members(NULL, begin_of(&nodes[c]), false, err);
		kveil_rewrite_mark(w, c, KVEIL_MARK_REMOVE, 0);
		kveil_engine_trace_dropped(e, w, c);
	}
	return KVEIL_OK;
}

static enum kveil_status collect(struct kveil_engine *e, struct kveil_rewrite *w, enum kveil_unmatched unmatched,
				 struct kveil_edits *es, struct kveil_error *err)
{
	const struct kveil_doc *doc = w->doc;
	enum kveil_status st = KVEIL_OK;

	for (uint32_t i = 0; !st && i < doc->count;) {
		const struct kveil_doc_node *n = &doc->nodes[i];
		struct kveil_node_state *s = &w->nodes[i];
		if (s->mark == KVEIL_MARK_WRITE) {
			const struct kveil_piece *piece = &e->piece_list[s->piece];
			if (!push_edit(e, es, n->start, n->end, piece->offset, piece->len))
				return kveil_no_memory(err, "a record");
			i = n->next;
			continue;
		}
		if (s->mark == KVEIL_MARK_INSIDE) {
			const struct kveil_edits *inside = &w->insides[s->piece];
			for (size_t k = 0; k < inside->count; k++) {
				const struct kveil_edit *d = &inside->items[k];
				if (!push_edit(e, es, d->start, d->end, d->offset, d->len))
					return kveil_no_memory(err, "a record");
			}
			i = n->next;
			continue;
		}
		/* The container above has dealt with it. */
		if (goes(s)) {
			i = n->next;
			continue;
		}
		bool is_container = n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY;
		if (unmatched != KVEIL_UNMATCHED_KEEP && is_container && s->named != KVEIL_NAMED)
			st = judge_unmatched(e, w, i, unmatched, err);
		if (!st && s->is_dirty)
			st = edit_container(e, w, i, es, err);
		/* Below a named place everything is. */
		if (unmatched != KVEIL_UNMATCHED_KEEP && s->named == KVEIL_NAMED)
			for (uint32_t c = i + 1; c < n->next; c = doc->nodes[c].next)
				w->nodes[c].named = KVEIL_NAMED;
		i++;
	}
	return st;
}

#define BEFORE(a, b) ((a).start < (b).start)
KVEIL_HEAP_SORT(heap_sort, struct kveil_edit, BEFORE)

/* Most often there is nothing to do. */
static void sort_edits(struct kveil_edits *es)
{
	size_t i = 1;

	while (i < es->count && es->items[i - 1].start <= es->items[i].start)
		i++;
	if (i < es->count)
		heap_sort(es->items, es->count);
}

enum kveil_status kveil_rewrite_splice(struct kveil_engine *e, const struct kveil_rewrite *w,
				       const struct kveil_edits *es, struct kveil_buf *out, struct kveil_error *err)
{
	struct kveil_span text = w->doc->text;
	size_t at = 0, grows = 0, shrinks = 0;

	kveil_buf_reset(out);
	for (size_t i = 0; i < es->count; i++) {
		grows += es->items[i].len;
		shrinks += es->items[i].end - es->items[i].start;
	}
	/* All at once: growing by steps would hold the output twice. */
	if (shrinks <= text.len && !kveil_buf_reserve(out, text.len - shrinks + grows))
		return kveil_no_memory(err, "a record");
	for (size_t i = 0; i < es->count; i++) {
		const struct kveil_edit *d = &es->items[i];
		bool is_sound = d->start >= at && d->end >= d->start && d->end <= text.len &&
				d->offset <= e->pieces.len && d->len <= e->pieces.len - d->offset;
		if (!is_sound)
			return kveil_fail(err, KVEIL_E_INTERNAL, "edits overlap");
		kveil_buf_append(out, text.data + at, d->start - at);
		if (d->len)
			kveil_buf_append(out, e->pieces.data + d->offset, d->len);
		at = d->end;
	}
	kveil_buf_append(out, text.data + at, text.len - at);
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "a record");
}

enum kveil_status kveil_rewrite_settle(struct kveil_engine *e, struct kveil_rewrite *w, enum kveil_unmatched unmatched,
				       struct kveil_edits *ret, struct kveil_error *err)
{
	const struct kveil_doc_node *root = &w->doc->nodes[0];

	*ret = (struct kveil_edits){0};
	/* Each parent once: at the first of its appends. */
	for (uint32_t n = 1; n <= w->append_count; n++) {
		struct kveil_append *a = append_at(w, n);
		if (w->nodes[a->parent].appends != n)
			continue;
		enum kveil_status st = place_appends(e, w, a->parent, err);
		if (st)
			return st;
	}
	if (unmatched != KVEIL_UNMATCHED_KEEP && w->nodes[0].named == KVEIL_UNNAMED &&
	    root->kind != KVEIL_KIND_OBJECT && root->kind != KVEIL_KIND_ARRAY)
		return kveil_fail_at(
		    err, unmatched == KVEIL_UNMATCHED_REMOVE ? KVEIL_E_UNSUPPORTED_KIND : KVEIL_E_UNMATCHED_FIELD,
		    root->start, "no rule names the value, and a whole record cannot be removed");
	enum kveil_status st = collect(e, w, unmatched, ret, err);
	if (!st)
		sort_edits(ret);
	return st;
}

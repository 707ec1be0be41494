/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 9535 sections 2.3 and 2.5 over the offset tape: segments and selectors. */
#include "path/cursor.h"

#include "base/heap_sort.h"
#include "path/eval.h"

/* Entries in lists at the same time, at least; more in a larger document. */
#define STACK_LIMIT 1000000

void kveil_evaluation_begin(struct kveil_evaluation *ev, const struct kveil_doc *doc, int64_t *work,
			    struct kveil_error *err)
{
	/* Field by field: the first entries are large and need no zeroes. */
	ev->doc = doc;
	ev->err = err;
	ev->status = KVEIL_OK;
	ev->work = work;
	ev->stack = ev->first;
	ev->count = 0;
	ev->cap = sizeof ev->first / sizeof *ev->first;
	ev->scratch = NULL;
	ev->scratch_bytes = 0;
	ev->pattern = NULL;
	ev->pattern_text = KVEIL_SPAN_NULL;
	kveil_arena_init(&ev->large, 0);
	kveil_arena_init(&ev->patterns, SIZE_MAX);
}

void kveil_evaluation_end(struct kveil_evaluation *ev)
{
	kveil_arena_clear(&ev->large);
	kveil_arena_clear(&ev->patterns);
}

enum kveil_status kveil_evaluation_fail(struct kveil_evaluation *ev, enum kveil_status status, const char *message)
{
	if (ev->status == KVEIL_OK)
		ev->status = kveil_fail(ev->err, status, "%s", message);
	return ev->status;
}

void kveil_evaluation_no_memory(struct kveil_evaluation *ev, const char *what)
{
	if (ev->status == KVEIL_OK)
		ev->status = kveil_no_memory(ev->err, what);
}

bool kveil_evaluation_charge(struct kveil_evaluation *ev, int64_t work)
{
	*ev->work -= work;
	if (__builtin_expect(*ev->work < 0, 0))
		kveil_evaluation_fail(ev, KVEIL_E_TOO_COMPLEX, "evaluating a path on this record takes too long");
	return ev->status == KVEIL_OK;
}

static void grow_stack(struct kveil_evaluation *ev)
{
	if (ev->count >= STACK_LIMIT && ev->count / 4 >= ev->doc->count) {
		kveil_evaluation_fail(ev, KVEIL_E_TOO_COMPLEX, "a path finds too many places in this record");
		return;
	}
	struct kveil_found *larger = kveil_arena_array(&ev->large, ev->cap * 2, sizeof *larger);
	if (!larger) {
		kveil_evaluation_no_memory(ev, "the places of a path");
		return;
	}
	memcpy(larger, ev->stack, ev->count * sizeof *larger);
	ev->stack = larger;
	ev->cap *= 2;
}

static void push(struct kveil_evaluation *ev, uint32_t node, bool doubtful)
{
	if (ev->count == ev->cap)
		grow_stack(ev);
	if (ev->count < ev->cap)
		ev->stack[ev->count++] = (struct kveil_found){node, doubtful};
}

int kveil_text_compare(struct kveil_span a, bool a_escaped, struct kveil_span b, bool b_escaped)
{
	if (!a_escaped && !b_escaped) {
		/* UTF-8 sorts as its scalar values do. */
		size_t n = a.len < b.len ? a.len : b.len;
		int order = n ? memcmp(a.data, b.data, n) : 0;
		return order ? order : (a.len > b.len) - (a.len < b.len);
	}
	struct kveil_text_cursor x = kveil_cursor_of(a, a_escaped), y = kveil_cursor_of(b, b_escaped);
	for (;;) {
		uint32_t c = kveil_cursor_next(&x), d = kveil_cursor_next(&y);
		if (c == KVEIL_CURSOR_END || d == KVEIL_CURSOR_END)
			return (c != KVEIL_CURSOR_END) - (d != KVEIL_CURSOR_END);
		if (c != d)
			return c < d ? -1 : 1;
	}
}

/* ---- selectors on one node ---- */

static void select_name(struct kveil_evaluation *ev, const struct kveil_selector *s, uint32_t node, bool doubtful)
{
	const struct kveil_doc_node *nodes = ev->doc->nodes;
	int64_t compared = 0;

	if (nodes[node].kind != KVEIL_KIND_OBJECT || !kveil_evaluation_charge(ev, nodes[node].count))
		return;
	for (uint32_t c = node + 1; c < nodes[node].next; c = nodes[c].next) {
		struct kveil_span name = kveil_node_name(ev->doc, &nodes[c]);
		bool escaped = nodes[c].flags & KVEIL_NODE_NAME_ESCAPED;
		/* An escape takes at least as many bytes as what it stands for. */
		if (escaped ? name.len <= s->name.len : name.len != s->name.len)
			continue;
		compared += kveil_text_compare_work(s->name.len, escaped);
		if (kveil_text_compare(name, escaped, s->name, false) == 0)
			push(ev, c, doubtful);
	}
	kveil_evaluation_charge(ev, compared);
}

/* The elements first, first + step, … before end, first >= 0. */
static void select_elements(struct kveil_evaluation *ev, uint32_t node, int64_t first, int64_t step, int64_t end,
			    bool doubtful)
{
	const struct kveil_doc_node *nodes = ev->doc->nodes;
	int64_t i = 0;

	if (first >= end || !kveil_evaluation_charge(ev, end))
		return;
	for (uint32_t c = node + 1; c < nodes[node].next && i < end; c = nodes[c].next, i++)
		if (i == first) {
			push(ev, c, doubtful);
			/* The step may be as large as I-JSON allows; first stays far from overflow. */
			first += step;
		}
}

static void select_index(struct kveil_evaluation *ev, const struct kveil_selector *s, uint32_t node, bool doubtful)
{
	const struct kveil_doc_node *n = &ev->doc->nodes[node];
	int64_t index = s->index < 0 ? s->index + n->count : s->index;

	if (n->kind == KVEIL_KIND_ARRAY && index >= 0 && index < n->count)
		select_elements(ev, node, index, 1, index + 1, doubtful);
}

static int64_t clamp(int64_t v, int64_t low, int64_t high)
{
	return v < low ? low : v > high ? high : v;
}

/* RFC 9535 section 2.3.4.2.2. Elements are pushed in document order even where the step is negative. */
static void select_slice(struct kveil_evaluation *ev, const struct kveil_selector *s, uint32_t node, bool doubtful)
{
	const struct kveil_doc_node *n = &ev->doc->nodes[node];
	int64_t len = n->count, start, end;

	if (n->kind != KVEIL_KIND_ARRAY || s->step == 0)
		return;
	start = s->has_start ? s->start : s->step > 0 ? 0 : len - 1;
	end = s->has_end ? s->end : s->step > 0 ? len : -len - 1;
	start = start >= 0 ? start : len + start;
	end = end >= 0 ? end : len + end;
	if (s->step > 0) {
		select_elements(ev, node, clamp(start, 0, len), s->step, clamp(end, 0, len), doubtful);
		return;
	}
	int64_t upper = clamp(start, -1, len - 1), lower = clamp(end, -1, len - 1);
	if (upper > lower) {
		int64_t step = -s->step;
		int64_t lowest = upper - (upper - lower - 1) / step * step;
		select_elements(ev, node, lowest, step, upper + 1, doubtful);
	}
}

static void select_children(struct kveil_evaluation *ev, const struct kveil_expr *filter, uint32_t node, bool doubtful)
{
	const struct kveil_doc_node *nodes = ev->doc->nodes;

	if (!kveil_evaluation_charge(ev, nodes[node].count))
		return;
	for (uint32_t c = node + 1; c < nodes[node].next && ev->status == KVEIL_OK; c = nodes[c].next) {
		enum kveil_tri t = filter ? kveil_evaluation_test(ev, filter, c) : KVEIL_YES;
		if (t != KVEIL_NO)
			push(ev, c, doubtful || t == KVEIL_DOUBT);
	}
}

static void select_from(struct kveil_evaluation *ev, const struct kveil_segment *segment, uint32_t node, bool doubtful)
{
	enum kveil_kind kind = ev->doc->nodes[node].kind;

	if (kind != KVEIL_KIND_OBJECT && kind != KVEIL_KIND_ARRAY)
		return;
	for (size_t i = 0; i < segment->count; i++) {
		const struct kveil_selector *s = &segment->selectors[i];
		switch (s->kind) {
		case KVEIL_SEL_NAME:
			select_name(ev, s, node, doubtful);
			break;
		case KVEIL_SEL_INDEX:
			select_index(ev, s, node, doubtful);
			break;
		case KVEIL_SEL_WILDCARD:
			select_children(ev, NULL, node, doubtful);
			break;
		case KVEIL_SEL_SLICE:
			select_slice(ev, s, node, doubtful);
			break;
		case KVEIL_SEL_FILTER:
			select_children(ev, s->filter, node, doubtful);
			break;
		}
	}
}

/* ---- sets ---- */

/* In document order; of one node the sure entry first. */
static bool comes_before(struct kveil_found a, struct kveil_found b)
{
	return a.node < b.node || (a.node == b.node && a.doubtful < b.doubtful);
}

KVEIL_HEAP_SORT(sort, struct kveil_found, comes_before)

static size_t make_set(struct kveil_evaluation *ev, struct kveil_found *list, size_t n)
{
	size_t i = 1, kept = 1;
	int64_t levels = 64 - __builtin_clzll(n);

	while (i < n && list[i - 1].node < list[i].node)
		i++;
	if (i >= n || !kveil_evaluation_charge(ev, (int64_t)n * levels))
		return n;
	sort(list, n);
	for (i = 1; i < n; i++)
		if (list[i].node != list[kept - 1].node)
			list[kept++] = list[i];
	return kept;
}

/* ---- paths ---- */

static void select_descendants(struct kveil_evaluation *ev, const struct kveil_segment *segment,
			       struct kveil_found from)
{
	uint32_t end = ev->doc->nodes[from.node].next;

	if (!kveil_evaluation_charge(ev, end - from.node))
		return;
	for (uint32_t d = from.node; d < end && ev->status == KVEIL_OK; d++)
		select_from(ev, segment, d, from.doubtful);
}

/* Replaces the entries from base up by what the segment finds from them. */
static void step(struct kveil_evaluation *ev, const struct kveil_segment *segment, size_t base, bool as_set)
{
	size_t end = ev->count;
	uint32_t sure_until = 0, seen_until = 0; /* in a set: what descending has seen from an ancestor */

	for (size_t i = base; i < end && ev->status == KVEIL_OK; i++) {
		struct kveil_found from = ev->stack[i];
		if (!segment->descendant) {
			select_from(ev, segment, from.node, from.doubtful);
			continue;
		}
		if (as_set && (from.node < sure_until || (from.doubtful && from.node < seen_until)))
			continue;
		select_descendants(ev, segment, from);
		uint32_t next = ev->doc->nodes[from.node].next;
		if (next > seen_until)
			seen_until = next;
		if (!from.doubtful && next > sure_until)
			sure_until = next;
	}
	size_t found = ev->count - end;
	memmove(ev->stack + base, ev->stack + end, found * sizeof *ev->stack);
	if (as_set && found > 1)
		found = make_set(ev, ev->stack + base, found);
	ev->count = base + found;
}

void kveil_evaluation_select(struct kveil_evaluation *ev, const struct kveil_path *path, uint32_t from, bool as_set)
{
	size_t base = ev->count;

	push(ev, from, false);
	for (size_t i = 0; i < path->count && ev->status == KVEIL_OK && ev->count > base; i++)
		step(ev, &path->segments[i], base, as_set);
	if (ev->status != KVEIL_OK)
		ev->count = base;
}

enum kveil_status kveil_path_select_within(const struct kveil_path *p, const struct kveil_doc *doc, uint32_t from,
					   bool doubt_selects, int64_t *work, struct kveil_arena *arena, uint32_t **ret,
					   size_t *ret_count, struct kveil_error *err)
{
	struct kveil_evaluation ev;
	size_t n = 0;

	*ret = NULL;
	*ret_count = 0;
	kveil_evaluation_begin(&ev, doc, work, err);
	ev.large.allowance = arena->allowance;
	if (doc->count)
		kveil_evaluation_select(&ev, p, p->relative ? from : doc->root, true);
	uint32_t *list = kveil_arena_array(arena, ev.count, sizeof *list);
	if (!list)
		kveil_evaluation_no_memory(&ev, "the places of a path");
	for (size_t i = 0; i < ev.count && ev.status == KVEIL_OK; i++)
		if (doubt_selects || !ev.stack[i].doubtful)
			list[n++] = ev.stack[i].node;
	kveil_evaluation_end(&ev);
	if (ev.status != KVEIL_OK)
		return ev.status;
	*ret = list;
	*ret_count = n;
	return KVEIL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Relations that hold in every record, decided on two paths alone. A path is read as a small automaton over steps
 * (a member's name, an element's index): state i stands before segment i, and a descendant segment may also stay
 * where it is on any step.
 */
#include "path/tree.h"

#include <stdlib.h>

/* ---- equality ---- */

static bool operand_equal(const struct kveil_operand *a, const struct kveil_operand *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case KVEIL_OPERAND_LITERAL:
		return a->literal == b->literal && kveil_span_eq(a->text, b->text);
	case KVEIL_OPERAND_QUERY:
		return kveil_path_equal(a->path, b->path);
	case KVEIL_OPERAND_CALL:
		if (a->call->function != b->call->function || a->call->count != b->call->count)
			return false;
		for (size_t i = 0; i < a->call->count; i++)
			if (!operand_equal(&a->call->args[i], &b->call->args[i]))
				return false;
		return true;
	}
	return false;
}

bool kveil_expr_equal(const struct kveil_expr *a, const struct kveil_expr *b)
{
	if (a->kind != b->kind || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (!kveil_expr_equal(a->items[i], b->items[i]))
			return false;
	if (a->count)
		return true;
	if (a->kind != KVEIL_EXPR_COMPARE)
		return operand_equal(&a->left, &b->left);
	return a->op == b->op && operand_equal(&a->left, &b->left) && operand_equal(&a->right, &b->right);
}

/* ---- queries ---- */

static bool operand_any(const struct kveil_operand *o, bool whole, kveil_query_fn *fn, void *user)
{
	if (o->kind == KVEIL_OPERAND_QUERY)
		return fn(user, o->path, whole);
	if (o->kind != KVEIL_OPERAND_CALL)
		return false;
	bool counts = o->call->function != KVEIL_FN_MATCH && o->call->function != KVEIL_FN_SEARCH;
	for (size_t i = 0; i < o->call->count; i++)
		if (operand_any(&o->call->args[i], counts, fn, user))
			return true;
	return false;
}

bool kveil_expr_any_query(const struct kveil_expr *e, kveil_query_fn *fn, void *user)
{
	for (size_t i = 0; i < e->count; i++)
		if (kveil_expr_any_query(e->items[i], fn, user))
			return true;
	if (e->count)
		return false;
	if (e->kind != KVEIL_EXPR_COMPARE)
		return operand_any(&e->left, false, fn, user);
	bool whole = e->left.kind != KVEIL_OPERAND_LITERAL && e->right.kind != KVEIL_OPERAND_LITERAL;
	return operand_any(&e->left, whole, fn, user) || operand_any(&e->right, whole, fn, user);
}

static bool is_own(const struct kveil_operand *o, const struct kveil_path *own)
{
	return o->kind == KVEIL_OPERAND_QUERY &&
	       (o->path->relative ? o->path->count == 0 : kveil_path_equal(o->path, own));
}

static bool is_number(const struct kveil_operand *o)
{
	return o->kind == KVEIL_OPERAND_LITERAL && o->literal == KVEIL_KIND_NUMBER;
}

struct kveil_span kveil_expr_number(const struct kveil_expr *e, const struct kveil_path *own)
{
	struct kveil_span found = KVEIL_SPAN_NULL;

	for (size_t i = 0; !found.data && i < e->count; i++)
		found = kveil_expr_number(e->items[i], own);
	if (e->count || e->kind != KVEIL_EXPR_COMPARE)
		return found;
	if (is_own(&e->left, own) && is_number(&e->right))
		return e->right.text;
	return is_number(&e->left) && is_own(&e->right, own) ? e->left.text : found;
}

/* ---- equality of selectors and paths ---- */

static bool selector_equal(const struct kveil_selector *a, const struct kveil_selector *b)
{
	if (a->kind != b->kind)
		return false;
	switch (a->kind) {
	case KVEIL_SEL_NAME:
		return kveil_span_eq(a->name, b->name);
	case KVEIL_SEL_INDEX:
		return a->index == b->index;
	case KVEIL_SEL_WILDCARD:
		return true;
	case KVEIL_SEL_SLICE:
		return a->has_start == b->has_start && a->has_end == b->has_end && a->start == b->start &&
		       a->end == b->end && a->step == b->step;
	case KVEIL_SEL_FILTER:
		return kveil_expr_equal(a->filter, b->filter);
	}
	return false;
}

bool kveil_path_equal(const struct kveil_path *a, const struct kveil_path *b)
{
	if (a->relative != b->relative || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct kveil_segment *s = &a->segments[i], *t = &b->segments[i];
		if (s->descendant != t->descendant || s->count != t->count || s->enters != t->enters)
			return false;
		for (size_t j = 0; j < s->count; j++)
			if (!selector_equal(&s->selectors[j], &t->selectors[j]))
				return false;
	}
	return true;
}

/* ---- selectors as sets of steps ---- */

/* A slice whose elements are known without the array's length: begins at or after 0, runs forward. */
static bool is_plain_slice(const struct kveil_selector *s)
{
	return s->kind == KVEIL_SEL_SLICE && s->step > 0 && (!s->has_start || s->start >= 0) &&
	       (!s->has_end || s->end >= 0);
}

static bool plain_slice_has(const struct kveil_selector *s, int64_t index)
{
	int64_t start = s->has_start ? s->start : 0;

	return index >= start && (!s->has_end || index < s->end) && (index - start) % s->step == 0;
}

static bool is_whole_slice(const struct kveil_selector *s)
{
	return is_plain_slice(s) && (!s->has_start || s->start == 0) && !s->has_end && s->step == 1;
}

static bool finds_elements_only(const struct kveil_selector *s)
{
	return s->kind == KVEIL_SEL_INDEX || s->kind == KVEIL_SEL_SLICE;
}

/* Does a find whatever b finds, among the children of any value? */
static bool selector_covers(const struct kveil_selector *a, const struct kveil_selector *b)
{
	if (a->kind == KVEIL_SEL_WILDCARD || selector_equal(a, b))
		return true;
	if (is_whole_slice(a))
		return finds_elements_only(b);
	return is_plain_slice(a) && b->kind == KVEIL_SEL_INDEX && b->index >= 0 && plain_slice_has(a, b->index);
}

static bool is_empty_slice(const struct kveil_selector *s)
{
	return s->kind == KVEIL_SEL_SLICE &&
	       (s->step == 0 || (is_plain_slice(s) && s->has_end && s->end <= (s->has_start ? s->start : 0)));
}

/* May a and b find the same child of some value? */
static bool selector_meets(const struct kveil_selector *a, const struct kveil_selector *b)
{
	if (is_empty_slice(a) || is_empty_slice(b))
		return false;
	if (a->kind == KVEIL_SEL_NAME && b->kind == KVEIL_SEL_NAME)
		return kveil_span_eq(a->name, b->name);
	if (a->kind == KVEIL_SEL_NAME || b->kind == KVEIL_SEL_NAME)
		return !finds_elements_only(a) && !finds_elements_only(b);
	if (a->kind == KVEIL_SEL_INDEX && b->kind == KVEIL_SEL_INDEX)
		return a->index == b->index || (a->index < 0) != (b->index < 0);
	if (a->kind == KVEIL_SEL_INDEX && a->index >= 0 && is_plain_slice(b))
		return plain_slice_has(b, a->index);
	if (b->kind == KVEIL_SEL_INDEX && b->index >= 0 && is_plain_slice(a))
		return plain_slice_has(a, b->index);
	return true;
}

/* ---- relations ---- */

static bool segment_covers(const struct kveil_segment *a, const struct kveil_selector *b)
{
	for (size_t i = 0; i < a->count; i++)
		if (selector_covers(&a->selectors[i], b))
			return true;
	return false;
}

static bool segment_meets(const struct kveil_segment *a, const struct kveil_segment *b)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < b->count; j++)
			if (selector_meets(&a->selectors[i], &b->selectors[j]))
				return true;
	return false;
}

/* A step of the two automata: a segment, or (NULL) the entry into a text in front of one. */
static size_t list_steps(const struct kveil_path *p, const struct kveil_segment **steps)
{
	size_t n = 0;

	for (size_t i = 0; i < p->count; i++) {
		if (p->segments[i].enters)
			steps[n++] = NULL;
		steps[n++] = &p->segments[i];
	}
	return n;
}

/* Does s, which stays or moves on as `stays` and `moves_on` say, answer each step that t can take? */
static bool answers(const struct kveil_segment *s, const struct kveil_segment *t, bool stays, bool moves_on,
		    bool after_any)
{
	static const struct kveil_selector any = {.kind = KVEIL_SEL_WILDCARD};
	bool all = true;

	stays &= s->descendant;
	for (size_t k = 0; k < t->count && all; k++)
		all = stays || (moves_on && segment_covers(s, &t->selectors[k]));
	return all && (!t->descendant || s->descendant || (after_any && segment_covers(s, &any)));
}

/*
 * yes[i][j]: whatever b finds from state j on, a finds from state i on, or an ancestor of it. b moves, a answers:
 *   b takes a step by a selector of segment j: a steps by a selector that covers it, or, descending, stays;
 *   b descends over any step: a descends too, or steps by a wildcard;
 *   b enters a text: a enters it too, at this very place. Where b does not, what a enters is written out in the record.
 * A state that b can stay in for ever while a stays too needs no further proof.
 */
bool kveil_path_covers(const struct kveil_path *a, const struct kveil_path *b)
{
	const struct kveil_segment **as = calloc(2 * (a->count + b->count) + 1, sizeof *as), **bs;
	size_t n = as ? list_steps(a, as) : 0, m = as ? list_steps(b, bs = as + n) : 0, width = m + 1;
	bool *yes = as ? calloc(n + 1, width) : NULL;

	for (size_t i = n + 1; yes && i-- > 0;)
		for (size_t j = m + 1; j-- > 0;) {
			bool *now = &yes[i * width + j];
			const bool *next = i < n ? now + width : NULL; /* a is one further */
			if (i == n || j == m)
				*now = i == n;
			else if (!as[i])
				*now = bs[j] ? next[0] : next[1];
			else
				*now = bs[j] && answers(as[i], bs[j], now[1], next[1], next[0]);
		}
	bool covers = yes && yes[0];
	free(yes);
	free(as);
	return covers;
}

/* reach[i][j]: after some j steps, a stands before segment i and b before segment j. a finds a strict ancestor when
 * it can be through while b has a step to go. */
bool kveil_path_may_be_ancestor(const struct kveil_path *a, const struct kveil_path *b)
{
	size_t width = b->count + 1;
	bool found = false;

	for (size_t j = 0; j < b->count; j++)
		if (b->segments[j].descendant)
			return false;
	bool *reach = calloc(a->count + 1, width);
	if (!reach)
		return true; /* the caller then refuses */
	reach[0] = true;
	for (size_t j = 0; j < b->count && !found; j++)
		for (size_t i = 0; i <= a->count && !found; i++) {
			if (!reach[i * width + j])
				continue;
			if (i == a->count) {
				found = true;
				break;
			}
			const struct kveil_segment *s = &a->segments[i];
			if (s->descendant)
				reach[i * width + j + 1] = true;
			if (segment_meets(s, &b->segments[j]))
				reach[(i + 1) * width + j + 1] = true;
		}
	free(reach);
	return found;
}

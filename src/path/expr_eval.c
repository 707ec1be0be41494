/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 9535 sections 2.3.5 and 2.4 with a third answer: a comparison with an absent value, between types or between
 * values that have no order is in doubt, and so is everything that depends on it (Kleene's strong logic).
 */
#include "path/cursor.h"
#include "path/eval.h"

#include <stdio.h>

enum { MAX_DEPTH = 2000 }; /* of values compared, beyond any limits.depth */

/* How much goes for one unit of work (KVEIL_PATH_WORK), by measurement. */
enum {
	BYTES_OF_NUMBERS = 4,
	BYTES_OF_LENGTH = 4,
	PATTERN_WORK = 1000,        /* a pattern of the record: to begin with, … */
	PATTERN_BYTE_WORK = 10,     /* … a byte of it, … */
	PATTERN_STATE_WORK = 2,     /* … a state of what it becomes, … */
	PATTERN_WRONG_WORK = 10000, /* … or this, for it may have become many before it failed */
};

/* One scalar, or one node, ready to compare. */
struct item {
	enum kveil_kind kind;
	bool escaped;           /* text holds JSON escapes */
	uint32_t node;          /* of an object or array */
	struct kveil_span text; /* a string's content, another scalar's spelling */
};

/* What an operand stands for: several nodes only where members are duplicated; none when it is absent or its value
 * hangs on a doubt, which compare alike. */
struct value {
	size_t count;
	size_t first;     /* of nodes on the stack … */
	struct item item; /* … or the one item that is none of the record's */
	bool is_item;
	char digits[24];
};

static enum kveil_tri negate(enum kveil_tri t)
{
	return t == KVEIL_YES ? KVEIL_NO : t == KVEIL_NO ? KVEIL_YES : KVEIL_DOUBT;
}

static struct item node_item(const struct kveil_evaluation *ev, uint32_t node)
{
	const struct kveil_doc_node *n = &ev->doc->nodes[node];
	struct item item = {.kind = n->kind, .node = node};

	item.text = kveil_span_of(ev->doc->text.data + n->start, n->end - n->start);
	if (n->kind == KVEIL_KIND_STRING) {
		item.text = kveil_span_of(item.text.data + 1, item.text.len - 2);
		item.escaped = n->flags & KVEIL_NODE_VALUE_ESCAPED;
	}
	return item;
}

static struct item value_item(const struct kveil_evaluation *ev, const struct value *v, size_t i)
{
	return v->is_item ? v->item : node_item(ev, ev->stack[v->first + i].node);
}

static bool is_zero(struct kveil_span number)
{
	int order;

	return kveil_number_compare(number, KVEIL_SPAN("0"), &order) && order == 0;
}

static bool begins(struct kveil_span text, struct kveil_span with)
{
	return text.len >= with.len && memcmp(text.data, with.data, with.len) == 0;
}

/* Empty, a number as a text that is zero, the epoch or midnight. */
static bool is_nothing(struct kveil_span text)
{
	size_t zeros = 0;

	while (zeros < text.len && (text.data[zeros] == '0' || text.data[zeros] == '.'))
		zeros++;
	return zeros == text.len || begins(text, KVEIL_SPAN("1970-01-01")) || begins(text, KVEIL_SPAN("00:00:00"));
}

/* Is it a member of the root that is filled up with what is nothing of its type? Literals have no parent. */
static bool is_filler(const struct kveil_evaluation *ev, const struct item *item)
{
	if (!ev->doc->has_fillers || ev->doc->nodes[item->node].parent != ev->doc->root)
		return false;
	return item->kind == KVEIL_KIND_NULL || (item->kind == KVEIL_KIND_STRING && is_nothing(item->text)) ||
	       (item->kind == KVEIL_KIND_NUMBER && is_zero(item->text)) ||
	       (item->kind == KVEIL_KIND_BOOL && item->text.data[0] == 'f');
}

/* Does it stand for a value that the source did not send? */
static bool is_absent(const struct kveil_evaluation *ev, const struct item *item)
{
	if (is_filler(ev, item))
		return true;
	for (size_t i = 0; item->kind == KVEIL_KIND_STRING && i < ev->doc->absent_count; i++) {
		struct kveil_span text = ev->doc->absent[i];
		bool may_be = item->escaped ? item->text.len > text.len : item->text.len == text.len;
		if (may_be && kveil_text_compare(item->text, item->escaped, text, false) == 0)
			return true;
	}
	return false;
}

static bool has_first_member(struct kveil_evaluation *ev, const struct kveil_path *query, uint32_t node)
{
	const struct kveil_path first = {.segments = query->segments, .count = 1};
	size_t base = ev->count;

	kveil_evaluation_select(ev, &first, node, false);
	bool has = ev->count > base;
	ev->count = base;
	return has;
}

/* Where a query begins. A member that the row lacks is the full row's. *ret_whole: nothing of what it asks for can be
 * missing, for below the root values are whole. */
static uint32_t start_of(struct kveil_evaluation *ev, const struct kveil_path *query, uint32_t current, bool *ret_whole)
{
	const struct kveil_doc *doc = ev->doc;
	uint32_t start = query->relative ? current : doc->root;
	const struct kveil_segment *first = query->count ? query->segments : NULL;
	bool is_member = first && !first->descendant && first->count == 1 && first->selectors[0].kind == KVEIL_SEL_NAME;

	*ret_whole = !doc->has_gaps || (query->relative && current != doc->root);
	if (*ret_whole || !doc->full || query->relative || !is_member)
		return start;
	if (!has_first_member(ev, query, start) && has_first_member(ev, query, doc->full))
		start = doc->full;
	*ret_whole = start == doc->full || has_first_member(ev, query, start);
	return start;
}

/* Pushes what a query finds. true: the row may have more. */
static bool ask(struct kveil_evaluation *ev, const struct kveil_path *query, uint32_t current, bool as_set)
{
	bool is_whole;
	uint32_t start = start_of(ev, query, current, &is_whole);

	kveil_evaluation_select(ev, query, start, as_set);
	return !is_whole;
}

/* May it be a scalar in extended JSON, as {"$numberLong": "42"} is? */
static bool is_wrapped(const struct kveil_evaluation *ev, const struct item *item)
{
	const struct kveil_doc_node *nodes = ev->doc->nodes;

	if (!ev->doc->has_wrapped || item->kind != KVEIL_KIND_OBJECT || !nodes[item->node].count)
		return false;
	uint8_t first = ev->doc->text.data[nodes[item->node + 1].name_start + 1];
	return first == '$' || first == '\\';
}

static bool has_gaps(const struct kveil_evaluation *ev, const struct item *item)
{
	return ev->doc->has_gaps && item->kind == KVEIL_KIND_OBJECT && item->node == ev->doc->root;
}

/* ---- equality and order ---- */

/* Comparing ends with the shorter text at the latest. */
static int compare_texts(struct kveil_evaluation *ev, struct kveil_span a, bool a_escaped, struct kveil_span b,
			 bool b_escaped)
{
	size_t shorter = a.len < b.len ? a.len : b.len;

	if (!kveil_evaluation_charge(ev, kveil_text_compare_work(shorter, a_escaped || b_escaped)))
		return 1;
	return kveil_text_compare(a, a_escaped, b, b_escaped);
}

/* Both spellings are read to their ends, for the exponent. */
static bool compare_numbers(struct kveil_evaluation *ev, struct kveil_span a, struct kveil_span b, int *ret)
{
	return kveil_evaluation_charge(ev, (int64_t)((a.len + b.len) / BYTES_OF_NUMBERS)) &&
	       kveil_number_compare(a, b, ret);
}

static enum kveil_tri equal_items(struct kveil_evaluation *ev, const struct item *a, const struct item *b, int depth);

static enum kveil_tri equal_arrays(struct kveil_evaluation *ev, uint32_t a, uint32_t b, int depth)
{
	const struct kveil_doc_node *nodes = ev->doc->nodes;
	enum kveil_tri all = KVEIL_YES;

	if (nodes[a].count != nodes[b].count)
		return KVEIL_NO;
	for (uint32_t x = a + 1, y = b + 1; x < nodes[a].next && all != KVEIL_NO;
	     x = nodes[x].next, y = nodes[y].next) {
		struct item i = node_item(ev, x), j = node_item(ev, y);
		enum kveil_tri t = equal_items(ev, &i, &j, depth + 1);
		all = t < all ? t : all;
	}
	return all;
}

/* The members of object b with x's name: how many, and the last of them. */
static size_t find_member(struct kveil_evaluation *ev, uint32_t x, uint32_t b, uint32_t *ret)
{
	const struct kveil_doc_node *nodes = ev->doc->nodes;
	struct kveil_span name = kveil_node_name(ev->doc, &nodes[x]);
	size_t found = 0;

	for (uint32_t y = b + 1; y < nodes[b].next && ev->status == KVEIL_OK; y = nodes[y].next)
		if (compare_texts(ev, name, nodes[x].flags & KVEIL_NODE_NAME_ESCAPED,
				  kveil_node_name(ev->doc, &nodes[y]), nodes[y].flags & KVEIL_NODE_NAME_ESCAPED) == 0) {
			found++;
			*ret = y;
		}
	return found;
}

/* Without duplicate members: the same names with equal values. Of duplicates nobody knows which one counts. */
static enum kveil_tri equal_objects(struct kveil_evaluation *ev, uint32_t a, uint32_t b, int depth)
{
	const struct kveil_doc_node *nodes = ev->doc->nodes;
	enum kveil_tri all = KVEIL_YES;
	uint32_t twin = 0, unused;

	for (uint32_t x = a + 1; x < nodes[a].next && all != KVEIL_NO; x = nodes[x].next) {
		size_t there = find_member(ev, x, b, &twin);
		enum kveil_tri t = there ? KVEIL_DOUBT : KVEIL_NO;
		if (there == 1 && find_member(ev, x, a, &unused) == 1) {
			struct item i = node_item(ev, x), j = node_item(ev, twin);
			t = equal_items(ev, &i, &j, depth + 1);
		}
		all = t < all ? t : all;
	}
	for (uint32_t y = b + 1; y < nodes[b].next && all != KVEIL_NO; y = nodes[y].next)
		if (find_member(ev, y, a, &unused) == 0)
			all = KVEIL_NO;
	return all;
}

static enum kveil_tri yes_if(bool condition)
{
	return condition ? KVEIL_YES : KVEIL_NO;
}

static enum kveil_tri equal_items(struct kveil_evaluation *ev, const struct item *a, const struct item *b, int depth)
{
	int order;

	if (a->kind != b->kind || is_absent(ev, a) || is_absent(ev, b) || has_gaps(ev, a) || has_gaps(ev, b) ||
	    is_wrapped(ev, a) || is_wrapped(ev, b))
		return KVEIL_DOUBT;
	if (depth > MAX_DEPTH) {
		kveil_evaluation_fail(ev, KVEIL_E_TOO_COMPLEX, "comparing values nested too deeply");
		return KVEIL_DOUBT;
	}
	if (!kveil_evaluation_charge(ev, 1))
		return KVEIL_DOUBT;
	switch (a->kind) {
	case KVEIL_KIND_NULL:
		return KVEIL_YES;
	case KVEIL_KIND_BOOL:
		return yes_if(kveil_span_eq(a->text, b->text));
	case KVEIL_KIND_NUMBER:
		return compare_numbers(ev, a->text, b->text, &order) ? yes_if(order == 0) : KVEIL_DOUBT;
	case KVEIL_KIND_STRING:
		return yes_if(compare_texts(ev, a->text, a->escaped, b->text, b->escaped) == 0);
	case KVEIL_KIND_ARRAY:
		return equal_arrays(ev, a->node, b->node, depth);
	case KVEIL_KIND_OBJECT:
		return equal_objects(ev, a->node, b->node, depth);
	case KVEIL_KIND_BYTES:
		break;
	}
	return KVEIL_DOUBT;
}

/* false: the two have no order. */
static bool order_items(struct kveil_evaluation *ev, const struct item *a, const struct item *b, int *ret)
{
	if (a->kind != b->kind || is_absent(ev, a) || is_absent(ev, b) || !kveil_evaluation_charge(ev, 1))
		return false;
	if (a->kind == KVEIL_KIND_NUMBER)
		return compare_numbers(ev, a->text, b->text, ret);
	if (a->kind != KVEIL_KIND_STRING)
		return false;
	*ret = compare_texts(ev, a->text, a->escaped, b->text, b->escaped);
	return true;
}

static enum kveil_tri compare_items(struct kveil_evaluation *ev, enum kveil_comparison op, const struct item *a,
				    const struct item *b)
{
	int order;

	if (op == KVEIL_CMP_EQ)
		return equal_items(ev, a, b, 0);
	if (op == KVEIL_CMP_NE)
		return negate(equal_items(ev, a, b, 0));
	if (!order_items(ev, a, b, &order)) {
		/* <= and >= hold between equals of any type. */
		bool or_equal = op == KVEIL_CMP_LE || op == KVEIL_CMP_GE;
		return or_equal && equal_items(ev, a, b, 0) == KVEIL_YES ? KVEIL_YES : KVEIL_DOUBT;
	}
	switch (op) {
	case KVEIL_CMP_LT:
		return yes_if(order < 0);
	case KVEIL_CMP_LE:
		return yes_if(order <= 0);
	case KVEIL_CMP_GT:
		return yes_if(order > 0);
	default:
		return yes_if(order >= 0);
	}
}

/* ---- operands and functions ---- */

static struct value operand_value(struct kveil_evaluation *ev, const struct kveil_operand *o, uint32_t current);

static struct value number_value(uint64_t n)
{
	struct value v = {.count = 1, .is_item = true, .item = {.kind = KVEIL_KIND_NUMBER}};

	snprintf(v.digits, sizeof v.digits, "%llu", (unsigned long long)n);
	return v;
}

/* false: this kind has no length. */
static bool item_length(struct kveil_evaluation *ev, const struct item *item, uint64_t *ret)
{
	if (has_gaps(ev, item) || is_wrapped(ev, item))
		return false;
	if (item->kind == KVEIL_KIND_OBJECT || item->kind == KVEIL_KIND_ARRAY) {
		*ret = ev->doc->nodes[item->node].count;
		return true;
	}
	if (item->kind != KVEIL_KIND_STRING || is_absent(ev, item) ||
	    !kveil_evaluation_charge(ev, (int64_t)(item->text.len / BYTES_OF_LENGTH)))
		return false;
	struct kveil_text_cursor c = kveil_cursor_of(item->text, item->escaped);
	for (*ret = 0; kveil_cursor_next(&c) != KVEIL_CURSOR_END;)
		++*ret;
	return true;
}

static struct value call_length(struct kveil_evaluation *ev, const struct kveil_operand *o, uint32_t current)
{
	struct value v = operand_value(ev, o, current);
	uint64_t length = 0, other = 0;

	for (size_t i = 0; i < v.count; i++) {
		struct item item = value_item(ev, &v, i);
		if (!item_length(ev, &item, i ? &other : &length) || (i && other != length))
			return (struct value){0};
	}
	return v.count ? number_value(length) : v;
}

static struct value call_count(struct kveil_evaluation *ev, const struct kveil_path *path, uint32_t current)
{
	size_t base = ev->count;

	bool doubtful = ask(ev, path, current, false);
	for (size_t i = base; i < ev->count; i++)
		doubtful |= ev->stack[i].doubtful;
	return doubtful ? (struct value){0} : number_value(ev->count - base);
}

static struct value call_value(struct kveil_evaluation *ev, const struct kveil_path *path, uint32_t current)
{
	size_t base = ev->count;

	bool may_miss = ask(ev, path, current, false);
	if (ev->count != base + 1 || ev->stack[base].doubtful || may_miss)
		return (struct value){0};
	return (struct value){.count = 1, .first = base};
}

/* Nodes stay on the stack: the caller puts its height back. */
static struct value operand_value(struct kveil_evaluation *ev, const struct kveil_operand *o, uint32_t current)
{
	size_t base = ev->count;

	switch (o->kind) {
	case KVEIL_OPERAND_LITERAL:
		return (struct value){.count = 1, .is_item = true, .item = {.kind = o->literal, .text = o->text}};
	case KVEIL_OPERAND_QUERY:
		ask(ev, o->path, current, true);
		return (struct value){.count = ev->count - base, .first = base};
	case KVEIL_OPERAND_CALL:
		break;
	}
	switch (o->call->function) {
	case KVEIL_FN_LENGTH:
		return call_length(ev, &o->call->args[0], current);
	case KVEIL_FN_COUNT:
		return call_count(ev, o->call->args[0].path, current);
	case KVEIL_FN_VALUE:
		return call_value(ev, o->call->args[0].path, current);
	case KVEIL_FN_MATCH:
	case KVEIL_FN_SEARCH:
		break; /* conditions, never operands: the parser's type check */
	}
	return (struct value){0};
}

/* A value that was computed carries its own digits; they move with it. */
static void settle(struct value *v)
{
	if (v->is_item && v->item.kind == KVEIL_KIND_NUMBER && v->digits[0])
		v->item.text = kveil_span_str(v->digits);
}

/* ---- match and search ---- */

/* The pattern that a string of the record holds; NULL when it is none. The last one is kept: a filter asks for the
 * same one at every element. */
static const struct kveil_iregexp *record_pattern(struct kveil_evaluation *ev, const struct item *item)
{
	if (ev->pattern_text.data == item->text.data && ev->pattern_text.len == item->text.len)
		return ev->pattern;
	ev->pattern = NULL;
	ev->pattern_text = item->text;
	if (!kveil_evaluation_charge(ev, PATTERN_WORK + PATTERN_BYTE_WORK * (int64_t)item->text.len))
		return NULL;
	kveil_arena_reset(&ev->patterns);
	struct kveil_span text = item->text;
	if (item->escaped) {
		uint8_t *plain = kveil_arena_alloc(&ev->patterns, text.len);
		if (!plain) {
			kveil_evaluation_no_memory(ev, "a pattern");
			return NULL;
		}
		text = kveil_span_of(plain, kveil_json_unescape(text, plain));
	}
	if (kveil_iregexp_compile(text, &ev->patterns, &ev->pattern, NULL) == KVEIL_E_NO_MEMORY)
		kveil_evaluation_no_memory(ev, "a pattern");
	size_t states = ev->pattern ? kveil_iregexp_states(ev->pattern) : 0;
	if (!kveil_evaluation_charge(ev, states ? PATTERN_STATE_WORK * (int64_t)states : PATTERN_WRONG_WORK))
		ev->pattern = NULL;
	return ev->pattern;
}

static bool reserve_scratch(struct kveil_evaluation *ev, size_t bytes)
{
	if (bytes <= ev->scratch_bytes)
		return true;
	if (bytes <= sizeof ev->first_scratch) {
		ev->scratch = ev->first_scratch;
		ev->scratch_bytes = sizeof ev->first_scratch;
		memset(ev->scratch, 0, ev->scratch_bytes);
		return true;
	}
	bytes *= 2;
	ev->scratch = kveil_arena_alloc(&ev->large, bytes);
	if (!ev->scratch) {
		kveil_evaluation_no_memory(ev, "a pattern");
		return false;
	}
	memset(ev->scratch, 0, bytes);
	ev->scratch_bytes = bytes;
	return true;
}

static enum kveil_tri match_items(struct kveil_evaluation *ev, const struct kveil_call *call, const struct item *text,
				  const struct item *pattern)
{
	bool matched;

	if (text->kind != KVEIL_KIND_STRING || pattern->kind != KVEIL_KIND_STRING || is_absent(ev, text) ||
	    is_absent(ev, pattern))
		return KVEIL_DOUBT;
	const struct kveil_iregexp *re = call->pattern ? call->pattern : record_pattern(ev, pattern);
	if (!re || !reserve_scratch(ev, kveil_iregexp_scratch_bytes(re)))
		return KVEIL_DOUBT;
	struct kveil_text_cursor c = kveil_cursor_of(text->text, text->escaped);
	if (kveil_iregexp_run(re, &c, call->function == KVEIL_FN_SEARCH, ev->scratch, ev->work, &matched) != KVEIL_OK) {
		kveil_evaluation_fail(ev, KVEIL_E_TOO_COMPLEX, "matching a pattern on this record takes too long");
		return KVEIL_DOUBT;
	}
	return yes_if(matched);
}

/* ---- conditions ---- */

/* Asks every pair; duplicates that disagree are a doubt. */
static enum kveil_tri test_pairs(struct kveil_evaluation *ev, const struct kveil_expr *e,
				 const struct kveil_operand *left, const struct kveil_operand *right, uint32_t current)
{
	size_t base = ev->count;
	struct value a = operand_value(ev, left, current), b = operand_value(ev, right, current);
	enum kveil_tri answer = KVEIL_DOUBT;

	settle(&a);
	settle(&b);
	for (size_t i = 0; i < a.count; i++)
		for (size_t j = 0; j < b.count; j++) {
			struct item x = value_item(ev, &a, i), y = value_item(ev, &b, j);
			enum kveil_tri t = e->kind == KVEIL_EXPR_CALL ? match_items(ev, e->left.call, &x, &y)
								      : compare_items(ev, e->op, &x, &y);
			if (t == KVEIL_DOUBT || ev->status != KVEIL_OK || (i + j > 0 && t != answer)) {
				ev->count = base;
				return KVEIL_DOUBT;
			}
			answer = t;
		}
	ev->count = base;
	return answer;
}

static enum kveil_tri test_exists(struct kveil_evaluation *ev, const struct kveil_path *path, uint32_t current)
{
	size_t base = ev->count;
	enum kveil_tri answer = ask(ev, path, current, true) ? KVEIL_DOUBT : KVEIL_NO;

	for (size_t i = base; i < ev->count && answer != KVEIL_YES; i++)
		answer = ev->stack[i].doubtful ? KVEIL_DOUBT : KVEIL_YES;
	ev->count = base;
	return answer;
}

enum kveil_tri kveil_evaluation_test(struct kveil_evaluation *ev, const struct kveil_expr *e, uint32_t current)
{
	enum kveil_tri answer, t;

	if (!kveil_evaluation_charge(ev, 1))
		return KVEIL_DOUBT;
	switch (e->kind) {
	case KVEIL_EXPR_NOT:
		return negate(kveil_evaluation_test(ev, e->items[0], current));
	case KVEIL_EXPR_AND: /* the least of all */
		answer = KVEIL_YES;
		for (size_t i = 0; i < e->count && answer != KVEIL_NO; i++) {
			t = kveil_evaluation_test(ev, e->items[i], current);
			answer = t < answer ? t : answer;
		}
		return answer;
	case KVEIL_EXPR_OR: /* the greatest */
		answer = KVEIL_NO;
		for (size_t i = 0; i < e->count && answer != KVEIL_YES; i++) {
			t = kveil_evaluation_test(ev, e->items[i], current);
			answer = t > answer ? t : answer;
		}
		return answer;
	case KVEIL_EXPR_EXISTS:
		return test_exists(ev, e->left.path, current);
	case KVEIL_EXPR_COMPARE:
		return test_pairs(ev, e, &e->left, &e->right, current);
	case KVEIL_EXPR_CALL:
		return test_pairs(ev, e, &e->left.call->args[0], &e->left.call->args[1], current);
	}
	return KVEIL_DOUBT;
}

enum kveil_status kveil_expr_eval_within(const struct kveil_expr *e, const struct kveil_doc *doc, uint32_t current,
					 int64_t *work, enum kveil_tri *ret, struct kveil_error *err)
{
	struct kveil_evaluation ev;

	*ret = KVEIL_DOUBT;
	kveil_evaluation_begin(&ev, doc, work, err);
	enum kveil_tri answer = kveil_evaluation_test(&ev, e, current);
	kveil_evaluation_end(&ev);
	if (ev.status == KVEIL_OK)
		*ret = answer;
	return ev.status;
}

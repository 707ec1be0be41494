/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 9485 appendix A by recursive descent into a tree, and the tree into a program. */
#include "base/grapheme.h"
#include "path/cursor.h"
#include "path/iregexp_program.h"

enum { MAX_PATTERN_BYTES = 4096, MAX_NESTING = 64, MAX_STEPS = 50000 };

/* Every general category but Cs, which no text can hold. */
#define ALL_CATEGORIES ((1u << (KVEIL_CATEGORY_CO + 1)) - 1)

enum node_kind { NODE_CHAR, NODE_CLASS, NODE_START, NODE_END, NODE_SEQUENCE, NODE_CHOICE, NODE_REPEAT };

/* Sequences and choices are chains: the first child, then its `next`. */
struct node {
	enum node_kind kind;
	uint32_t c;                     /* CHAR */
	const struct char_class *class; /* CLASS */
	struct node *child, *next;
	uint32_t min, max; /* REPEAT; max UINT32_MAX = no end */
};

struct compiler {
	const uint8_t *text;
	size_t len, at;
	unsigned nesting;
	struct kveil_arena *arena;
	struct kveil_error *err;
	enum kveil_status status;
	struct instruction *code;
	uint32_t count, cap, steps;
};

static bool fail(struct compiler *c, size_t at, const char *message)
{
	if (c->status == KVEIL_OK)
		c->status = kveil_fail_at(c->err, KVEIL_E_PATH_SYNTAX, at, "%s", message);
	return false;
}

static void hint(struct compiler *c, const char *text)
{
	kveil_error_hint(c->err, "%s", text);
}

static void *allocate(struct compiler *c, size_t count, size_t size)
{
	void *p = kveil_arena_array(c->arena, count, size);

	if (!p && c->status == KVEIL_OK)
		c->status = kveil_no_memory(c->err, "a pattern");
	if (p)
		memset(p, 0, count * size);
	return p;
}

static int peek(const struct compiler *c)
{
	return c->at < c->len ? c->text[c->at] : -1;
}

/* One character of the pattern, which is UTF-8. */
static uint32_t take(struct compiler *c)
{
	struct kveil_text_cursor cursor = kveil_cursor_of(kveil_span_of(c->text + c->at, c->len - c->at), false);
	uint32_t cp = kveil_cursor_next(&cursor);

	c->at = (size_t)(cursor.at - c->text);
	return cp;
}

static bool is_one_of(int c, const char *set)
{
	return c > 0 && strchr(set, c);
}

/* ---- parsing ---- */

/* clang-format off */
static const struct {
	char name[3];
	uint32_t categories;
} properties[] = {
#define C(name) (1u << KVEIL_CATEGORY_##name)
    {"L", C(LU) | C(LL) | C(LT) | C(LM) | C(LO)}, {"Lu", C(LU)}, {"Ll", C(LL)}, {"Lt", C(LT)}, {"Lm", C(LM)},
    {"Lo", C(LO)}, {"M", C(MN) | C(MC) | C(ME)}, {"Mn", C(MN)}, {"Mc", C(MC)}, {"Me", C(ME)},
    {"N", C(ND) | C(NL) | C(NO)}, {"Nd", C(ND)}, {"Nl", C(NL)}, {"No", C(NO)},
    {"P", C(PC) | C(PD) | C(PS) | C(PE) | C(PI) | C(PF) | C(PO)}, {"Pc", C(PC)}, {"Pd", C(PD)}, {"Ps", C(PS)},
    {"Pe", C(PE)}, {"Pi", C(PI)}, {"Pf", C(PF)}, {"Po", C(PO)}, {"Z", C(ZS) | C(ZL) | C(ZP)}, {"Zs", C(ZS)},
    {"Zl", C(ZL)}, {"Zp", C(ZP)}, {"S", C(SM) | C(SC) | C(SK) | C(SO)}, {"Sm", C(SM)}, {"Sc", C(SC)},
    {"Sk", C(SK)}, {"So", C(SO)}, {"C", C(CC) | C(CF) | C(CN) | C(CO)}, {"Cc", C(CC)}, {"Cf", C(CF)},
    {"Cn", C(CN)}, {"Co", C(CO)},
#undef C
};
/* clang-format on */

/* The cursor stands on p or P behind a backslash. */
static bool parse_property(struct compiler *c, uint32_t *categories)
{
	size_t at = c->at - 1;
	bool complement = c->text[c->at++] == 'P';

	if (peek(c) != '{')
		return fail(c, at, "\\p stands before {, as in \\p{L}");
	const uint8_t *name = c->text + ++c->at;
	const uint8_t *close = memchr(name, '}', c->len - c->at);
	size_t len = close ? (size_t)(close - name) : 0;
	for (size_t i = 0; close && i < sizeof properties / sizeof *properties; i++)
		if (strlen(properties[i].name) == len && memcmp(properties[i].name, name, len) == 0) {
			*categories |=
			    complement ? ALL_CATEGORIES & ~properties[i].categories : properties[i].categories;
			c->at += len + 1;
			return true;
		}
	fail(c, at, "no such Unicode category");
	hint(c, "general categories only: \\p{L}, \\p{Lu}, \\p{Nd}, …");
	return false;
}

/* The cursor stands behind a backslash: a single character. */
static bool parse_escape(struct compiler *c, uint32_t *ret)
{
	int e = peek(c);

	if (!is_one_of(e, "()*+-.?[\\]^nrt{|}")) {
		fail(c, c->at - 1, e < 0 ? "the pattern ends in a backslash" : "no such escape");
		if (e == 'd')
			hint(c, "RFC 9485 has no \\d; write [0-9] or \\p{Nd}");
		else if (e == 'w')
			hint(c, "RFC 9485 has no \\w; write [A-Za-z0-9_] or [\\p{L}\\p{N}_]");
		else if (e == 's')
			hint(c, "RFC 9485 has no \\s; write [ \\t\\n\\r]");
		else if (e == 'b' || e == 'B')
			hint(c, "RFC 9485 has no word boundaries");
		else if (e >= '1' && e <= '9')
			hint(c, "RFC 9485 has no back-references");
		else if (e >= ' ')
			hint(c, "this character needs no backslash");
		return false;
	}
	c->at++;
	*ret = e == 'n' ? '\n' : e == 'r' ? '\r' : e == 't' ? '\t' : (uint32_t)e;
	return true;
}

static bool add_range(struct compiler *c, struct char_class *k, uint32_t first, uint32_t last)
{
	if ((k->count & (k->count - 1)) == 0) { /* full at each power of two */
		struct range *larger = allocate(c, k->count ? k->count * 2 : 1, sizeof *larger);
		if (!larger)
			return false;
		if (k->count)
			memcpy(larger, k->ranges, k->count * sizeof *larger);
		k->ranges = larger;
	}
	k->ranges[k->count++] = (struct range){first, last};
	return true;
}

static void fill_ascii(struct char_class *k)
{
	for (uint32_t cp = 0; cp < 128; cp++)
		if (kveil_char_class_has(k, cp))
			k->ascii[cp / 64] |= UINT64_C(1) << cp % 64;
}

/* CCchar: a character of a class, escaped or not. */
static bool parse_class_char(struct compiler *c, uint32_t *ret)
{
	int ch = peek(c);

	if (ch < 0)
		return fail(c, c->at, "a class [ is never closed");
	if (ch == '\\') {
		c->at++;
		return parse_escape(c, ret);
	}
	if (ch == '[' || ch == ']' || ch == '-') {
		fail(c, c->at,
		     ch == '-' ? "'-' in a class stands first, last or in a range" : "a bare '[' or ']' in a class");
		hint(c, "put a backslash before it");
		return false;
	}
	*ret = take(c);
	return true;
}

/* CCE1: a character, a range or a category. */
static bool parse_class_item(struct compiler *c, struct char_class *k)
{
	size_t at = c->at;
	uint32_t first, last;

	if (peek(c) == '\\' && c->at + 1 < c->len && is_one_of(c->text[c->at + 1], "pP")) {
		c->at++;
		return parse_property(c, &k->categories);
	}
	if (!parse_class_char(c, &first))
		return false;
	last = first;
	if (peek(c) == '-' && c->at + 1 < c->len && c->text[c->at + 1] != ']') {
		c->at++;
		if (!parse_class_char(c, &last))
			return false;
		if (last < first)
			return fail(c, at, "a range that runs backwards");
	}
	return add_range(c, k, first, last);
}

/* The cursor stands behind the opening bracket. */
static bool parse_class(struct compiler *c, struct node *n)
{
	struct char_class *k = allocate(c, 1, sizeof *k);

	if (!k)
		return false;
	n->kind = NODE_CLASS;
	n->class = k;
	if (peek(c) == '^') {
		k->negated = true;
		c->at++;
	}
	for (bool first = true; first || peek(c) != ']'; first = false) {
		bool bare = peek(c) == '-' && (first || (c->at + 1 < c->len && c->text[c->at + 1] == ']'));
		if (bare)
			c->at++;
		if (!(bare ? add_range(c, k, '-', '-') : parse_class_item(c, k)))
			return false;
	}
	c->at++;
	fill_ascii(k);
	return true;
}

static bool parse_number(struct compiler *c, uint32_t *ret)
{
	size_t at = c->at;
	uint32_t v = 0;

	for (; peek(c) >= '0' && peek(c) <= '9'; c->at++) {
		v = v * 10 + (uint32_t)(peek(c) - '0');
		if (v > KVEIL_IREGEXP_MAX_STATES)
			return fail(c, at, "a repetition that is too large");
	}
	if (c->at == at)
		return fail(c, at, "a digit should stand here");
	*ret = v;
	return true;
}

static struct node *new_node(struct compiler *c, enum node_kind kind)
{
	struct node *n = allocate(c, 1, sizeof *n);

	if (n)
		n->kind = kind;
	return n;
}

/* Wraps *n if a quantifier follows it. */
static bool parse_quantifier(struct compiler *c, struct node **n)
{
	int q = peek(c);
	uint32_t min = q == '+', max = q == '?' ? 1 : UINT32_MAX;

	if (!is_one_of(q, "*+?{"))
		return true;
	size_t at = c->at++;
	if (q == '{') {
		if (!parse_number(c, &min))
			return false;
		max = min;
		if (peek(c) == ',') {
			c->at++;
			max = UINT32_MAX;
			if (peek(c) != '}' && !parse_number(c, &max))
				return false;
		}
		if (peek(c) != '}')
			return fail(c, c->at, "a quantifier { is never closed");
		if (max < min)
			return fail(c, at, "a repetition that runs backwards");
		c->at++;
	}
	struct node *repeat = new_node(c, NODE_REPEAT);
	if (!repeat)
		return false;
	repeat->child = *n;
	repeat->min = min;
	repeat->max = max;
	*n = repeat;
	if (!is_one_of(peek(c), "*+?{"))
		return true;
	fail(c, c->at, "a quantifier behind a quantifier");
	hint(c, "RFC 9485 has no lazy or possessive repetition");
	return false;
}

static bool parse_choice(struct compiler *c, struct node **ret);

static bool parse_group(struct compiler *c, struct node **ret)
{
	size_t open = c->at++;

	if (peek(c) == '?') {
		fail(c, open, "RFC 9485 has no (?…)");
		hint(c, "a plain group is (…)");
		return false;
	}
	if (++c->nesting > MAX_NESTING)
		return fail(c, open, "groups nested too deeply");
	if (!parse_choice(c, ret))
		return false;
	c->nesting--;
	if (peek(c) != ')')
		return fail(c, open, "this group is never closed");
	c->at++;
	return true;
}

static bool parse_dot(struct compiler *c, struct node *n)
{
	struct char_class *k = allocate(c, 1, sizeof *k);

	c->at++;
	if (!k || !add_range(c, k, '\n', '\n') || !add_range(c, k, '\r', '\r'))
		return false;
	k->negated = true;
	fill_ascii(k);
	n->kind = NODE_CLASS;
	n->class = k;
	return true;
}

static bool parse_atom(struct compiler *c, struct node **ret)
{
	int ch = peek(c);

	if (ch == '(')
		return parse_group(c, ret);
	struct node *n = *ret = new_node(c, NODE_CHAR);
	if (!n)
		return false;
	if (is_one_of(ch, "*+?{"))
		return fail(c, c->at, "a quantifier with nothing to repeat");
	if (is_one_of(ch, "]}"))
		return fail(c, c->at, "a bare ']' or '}'");
	if (ch == '[') {
		c->at++;
		return parse_class(c, n);
	}
	if (ch == '.')
		return parse_dot(c, n);
	if (ch == '^' || ch == '$') {
		c->at++;
		n->kind = ch == '^' ? NODE_START : NODE_END;
		return true;
	}
	if (ch != '\\') {
		n->c = take(c);
		return true;
	}
	c->at++;
	if (!is_one_of(peek(c), "pP"))
		return parse_escape(c, &n->c);
	struct char_class *k = allocate(c, 1, sizeof *k);
	if (!k || !parse_property(c, &k->categories))
		return false;
	fill_ascii(k);
	n->kind = NODE_CLASS;
	n->class = k;
	return true;
}

static bool parse_sequence(struct compiler *c, struct node **ret)
{
	struct node *sequence = *ret = new_node(c, NODE_SEQUENCE);

	if (!sequence)
		return false;
	for (struct node **tail = &sequence->child; c->at < c->len && peek(c) != '|' && peek(c) != ')';
	     tail = &(*tail)->next)
		if (!parse_atom(c, tail) || !parse_quantifier(c, tail))
			return false;
	return true;
}

static bool parse_choice(struct compiler *c, struct node **ret)
{
	struct node *choice = *ret = new_node(c, NODE_CHOICE);

	if (!choice || !parse_sequence(c, &choice->child))
		return false;
	for (struct node *last = choice->child; peek(c) == '|'; last = last->next) {
		c->at++;
		if (!parse_sequence(c, &last->next))
			return false;
	}
	return true;
}

/* ---- the program ---- */

static bool emit(struct compiler *c, enum op op, uint32_t x, uint32_t y, const struct char_class *class)
{
	if (c->count == KVEIL_IREGEXP_MAX_STATES)
		return fail(c, 0, "the pattern is too large");
	if (c->count == c->cap) {
		uint32_t cap = c->cap ? c->cap * 2 : 16;
		struct instruction *larger = allocate(c, cap, sizeof *larger);
		if (!larger)
			return false;
		if (c->count)
			memcpy(larger, c->code, c->count * sizeof *larger);
		c->code = larger;
		c->cap = cap;
	}
	c->code[c->count++] = (struct instruction){op, x, y, class};
	return true;
}

static bool emit_node(struct compiler *c, const struct node *n);

/* x{2,4} is x x (x (x)?)?; x{2,} is x x x*. */
static bool emit_repeat(struct compiler *c, const struct node *n)
{
	for (uint32_t i = 0; i < n->min; i++)
		if (!emit_node(c, n->child))
			return false;
	if (n->max == UINT32_MAX) {
		uint32_t split = c->count;
		if (!emit(c, OP_SPLIT, split + 1, 0, NULL) || !emit_node(c, n->child) ||
		    !emit(c, OP_JUMP, split, 0, NULL))
			return false;
		c->code[split].y = c->count;
		return true;
	}
	/* Each split but the first is threaded through y to the one before, until the end is known. */
	uint32_t last = UINT32_MAX;
	for (uint32_t i = n->min; i < n->max; i++) {
		uint32_t split = c->count;
		if (!emit(c, OP_SPLIT, split + 1, last, NULL) || !emit_node(c, n->child))
			return false;
		last = split;
	}
	while (last != UINT32_MAX) {
		uint32_t before = c->code[last].y;
		c->code[last].y = c->count;
		last = before;
	}
	return true;
}

static bool emit_choice(struct compiler *c, const struct node *n)
{
	uint32_t jumps = UINT32_MAX;

	for (const struct node *child = n->child; child; child = child->next) {
		uint32_t split = c->count;
		if (child->next && !emit(c, OP_SPLIT, split + 1, 0, NULL))
			return false;
		if (!emit_node(c, child))
			return false;
		if (!child->next)
			break;
		if (!emit(c, OP_JUMP, jumps, 0, NULL))
			return false;
		jumps = c->count - 1;
		c->code[split].y = c->count;
	}
	while (jumps != UINT32_MAX) {
		uint32_t before = c->code[jumps].x;
		c->code[jumps].x = c->count;
		jumps = before;
	}
	return true;
}

static bool emit_node(struct compiler *c, const struct node *n)
{
	/* Repetitions of nothing emit nothing and would go round for ever. */
	if (++c->steps > MAX_STEPS)
		return fail(c, 0, "the pattern is too large");
	switch (n->kind) {
	case NODE_CHAR:
		return emit(c, OP_CHAR, n->c, 0, NULL);
	case NODE_CLASS:
		return emit(c, OP_CLASS, 0, 0, n->class);
	case NODE_START:
		return emit(c, OP_START, 0, 0, NULL);
	case NODE_END:
		return emit(c, OP_END, 0, 0, NULL);
	case NODE_SEQUENCE:
		for (const struct node *child = n->child; child; child = child->next)
			if (!emit_node(c, child))
				return false;
		return true;
	case NODE_CHOICE:
		return emit_choice(c, n);
	case NODE_REPEAT:
		return emit_repeat(c, n);
	}
	return false;
}

static void visit(uint32_t s, bool *seen, uint32_t *stack, uint32_t *depth)
{
	if (!seen[s])
		stack[(*depth)++] = s;
	seen[s] = true;
}

/* Sets first and skips. */
static bool find_first(struct compiler *c, struct kveil_iregexp *re)
{
	uint32_t *stack = allocate(c, c->count, sizeof *stack), depth = 0;
	bool *seen = allocate(c, c->count, sizeof *seen);

	if (!stack || !seen)
		return false;
	re->skips = true;
	visit(0, seen, stack, &depth);
	while (depth) {
		const struct instruction *i = &c->code[stack[--depth]];
		switch (i->op) {
		case OP_CHAR:
			if (i->x < 128)
				re->first[i->x / 64] |= UINT64_C(1) << i->x % 64;
			break;
		case OP_CLASS:
			re->first[0] |= i->class->ascii[0];
			re->first[1] |= i->class->ascii[1];
			break;
		case OP_START:
			break; /* not in the midst */
		case OP_END:
		case OP_MATCH:
			re->skips = false;
			break;
		case OP_SPLIT:
			visit(i->y, seen, stack, &depth);
			visit(i->x, seen, stack, &depth);
			break;
		case OP_JUMP:
			visit(i->x, seen, stack, &depth);
			break;
		}
	}
	return true;
}

enum kveil_status kveil_iregexp_compile(struct kveil_span pattern, struct kveil_arena *arena,
					const struct kveil_iregexp **ret, struct kveil_error *err)
{
	struct compiler c = {.text = pattern.data, .len = pattern.len, .arena = arena, .err = err};
	struct node *tree = NULL;
	struct kveil_iregexp *re = allocate(&c, 1, sizeof *re);

	*ret = NULL;
	if (!re)
		return c.status;
	if (pattern.len > MAX_PATTERN_BYTES)
		fail(&c, MAX_PATTERN_BYTES, "the pattern is too long");
	else if (parse_choice(&c, &tree) && c.at < c.len)
		fail(&c, c.at, "a ')' that no '(' opens");
	if (c.status != KVEIL_OK || !emit_node(&c, tree) || !emit(&c, OP_MATCH, 0, 0, NULL))
		return c.status;
	if (!find_first(&c, re))
		return c.status;
	re->code = c.code;
	re->count = c.count;
	*ret = re;
	return KVEIL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 9535 sections 2.3.5 and 2.4: logical expressions and function calls, with their types checked. */
#include "path/tree.h"

#include <stdlib.h>
#include <strings.h>

static const struct function {
	const char *name;
	size_t arity;
	bool takes_nodes; /* the argument is any query; otherwise a value */
	bool is_logical;  /* gives a condition; otherwise a value */
} functions[] = {
    [KVEIL_FN_LENGTH] = {"length", 1, false, false}, [KVEIL_FN_COUNT] = {"count", 1, true, false},
    [KVEIL_FN_MATCH] = {"match", 2, false, true},    [KVEIL_FN_SEARCH] = {"search", 2, false, true},
    [KVEIL_FN_VALUE] = {"value", 1, true, false},
};

static bool parse_or(struct kveil_path_parser *p, struct kveil_expr *e);
static bool parse_operand(struct kveil_path_parser *p, struct kveil_operand *o);

static bool enter(struct kveil_path_parser *p)
{
	if (++p->nesting > KVEIL_PATH_MAX_NESTING)
		return kveil_parse_fail(p, p->at, "nested deeper than %d", KVEIL_PATH_MAX_NESTING);
	return true;
}

/* A query of names and indices only: it finds at most one value in a document without duplicate members. */
static bool is_singular(const struct kveil_path *path)
{
	for (size_t i = 0; i < path->count; i++) {
		const struct kveil_segment *s = &path->segments[i];
		if (s->descendant || s->count != 1 ||
		    (s->selectors[0].kind != KVEIL_SEL_NAME && s->selectors[0].kind != KVEIL_SEL_INDEX))
			return false;
	}
	return true;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

/* number = (int / "-0") [ frac ] [ exp ], as in JSON. */
static bool parse_number(struct kveil_path_parser *p, struct kveil_operand *o)
{
	size_t start = p->at;

	if (kveil_parse_peek(p, 0) == '-')
		p->at++;
	if (!is_digit(kveil_parse_peek(p, 0)))
		return kveil_parse_unexpected(p, "a digit");
	if (kveil_parse_peek(p, 0) == '0' && is_digit(kveil_parse_peek(p, 1))) {
		kveil_parse_fail(p, start, "a number with a leading zero");
		kveil_parse_hint(p, "a text of digits is quoted: '007'");
		return false;
	}
	while (is_digit(kveil_parse_peek(p, 0)))
		p->at++;
	if (kveil_parse_peek(p, 0) == '.') {
		p->at++;
		if (!is_digit(kveil_parse_peek(p, 0)))
			return kveil_parse_unexpected(p, "a digit");
		while (is_digit(kveil_parse_peek(p, 0)))
			p->at++;
	}
	if (kveil_parse_peek(p, 0) == 'e' || kveil_parse_peek(p, 0) == 'E') {
		p->at++;
		if (kveil_parse_peek(p, 0) == '-' || kveil_parse_peek(p, 0) == '+')
			p->at++;
		if (!is_digit(kveil_parse_peek(p, 0)))
			return kveil_parse_unexpected(p, "a digit");
		while (is_digit(kveil_parse_peek(p, 0)))
			p->at++;
	}
	o->kind = KVEIL_OPERAND_LITERAL;
	o->literal = KVEIL_KIND_NUMBER;
	uint8_t *text = kveil_arena_alloc(p->arena, p->at - start);
	if (!text)
		return kveil_parse_no_memory(p);
	memcpy(text, p->text + start, p->at - start);
	o->text = kveil_span_of(text, p->at - start);
	return true;
}

static bool parse_query(struct kveil_path_parser *p, struct kveil_operand *o)
{
	struct kveil_path *path = kveil_arena_alloc(p->arena, sizeof *path);

	if (!path)
		return kveil_parse_no_memory(p);
	*path = (struct kveil_path){.relative = kveil_parse_peek(p, 0) == '@'};
	p->at++;
	o->kind = KVEIL_OPERAND_QUERY;
	o->path = path;
	size_t at = p->at;
	if (!kveil_parse_segments(p, path))
		return false;
	if (p->at == at && kveil_parse_is_name_first(kveil_parse_peek(p, 0))) {
		kveil_parse_unexpected(p, "'.', '[' or an operator");
		kveil_parse_hint(p, "a dot is missing");
		return false;
	}
	return true;
}

/* ---- function calls ---- */

static bool check_argument(struct kveil_path_parser *p, const struct function *f, const struct kveil_operand *o)
{
	if (f->takes_nodes && o->kind != KVEIL_OPERAND_QUERY) {
		kveil_parse_fail(p, o->at, "%s() takes a path", f->name);
		return false;
	}
	if (f->takes_nodes)
		return true;
	if (o->kind == KVEIL_OPERAND_QUERY && !is_singular(o->path)) {
		kveil_parse_fail(p, o->at, "%s() takes one value, and this path may find several", f->name);
		kveil_parse_hint(p, "value(…) takes the only value that a path finds");
		return false;
	}
	if (o->kind == KVEIL_OPERAND_CALL && functions[o->call->function].is_logical)
		return kveil_parse_fail(p, o->at, "%s() takes a value, and %s() gives a condition", f->name,
					functions[o->call->function].name);
	return true;
}

static bool parse_arguments(struct kveil_path_parser *p, const struct function *f, struct kveil_call *call)
{
	kveil_parse_blanks(p);
	while (kveil_parse_peek(p, 0) != ')') {
		if (call->count == f->arity)
			return kveil_parse_fail(p, p->at, "%s() takes %zu argument%s", f->name, f->arity,
						f->arity > 1 ? "s" : "");
		struct kveil_operand *o = &call->args[call->count];
		int c = kveil_parse_peek(p, 0);
		if (c == '(' || c == '!')
			return kveil_parse_fail(p, p->at, "%s() takes no condition", f->name);
		if (!parse_operand(p, o) || !check_argument(p, f, o))
			return false;
		call->count++;
		kveil_parse_blanks(p);
		c = kveil_parse_peek(p, 0);
		if (c == ')')
			break;
		if (c != ',')
			return kveil_parse_unexpected(p, "',' or ')'");
		p->at++;
		kveil_parse_blanks(p);
		if (kveil_parse_peek(p, 0) == ')')
			return kveil_parse_unexpected(p, "an argument");
	}
	if (call->count < f->arity)
		return kveil_parse_fail(p, p->at, "%s() takes %zu argument%s", f->name, f->arity,
					f->arity > 1 ? "s" : "");
	p->at++;
	return true;
}

/* A pattern written in the expression is compiled here, once. */
static bool compile_pattern(struct kveil_path_parser *p, struct kveil_call *call)
{
	const struct kveil_operand *o = &call->args[1];
	struct kveil_error why;

	if (o->kind != KVEIL_OPERAND_LITERAL || o->literal != KVEIL_KIND_STRING)
		return true;
	switch (kveil_iregexp_compile(o->text, p->arena, &call->pattern, &why)) {
	case KVEIL_E_OK:
		return true;
	case KVEIL_E_NO_MEMORY:
		return kveil_parse_no_memory(p);
	default:
		kveil_parse_fail(p, o->at, "not an RFC 9485 pattern: byte %zu of it: %s", why.byte, why.message);
		if (why.hint[0])
			kveil_parse_hint(p, "%s", why.hint);
		return false;
	}
}

static bool parse_call(struct kveil_path_parser *p, size_t name_len, struct kveil_operand *o)
{
	const char *name = (const char *)p->text + p->at;
	const struct function *f = NULL;
	size_t n = sizeof functions / sizeof *functions;

	for (size_t i = 0; i < n && !f; i++)
		if (strlen(functions[i].name) == name_len && memcmp(functions[i].name, name, name_len) == 0)
			f = &functions[i];
	if (!f) {
		kveil_parse_fail(p, p->at, "there is no function %.*s()", (int)(name_len < 40 ? name_len : 40), name);
		kveil_parse_hint(p, "functions are length, count, match, search, value, in small letters");
		return false;
	}
	struct kveil_call *call = kveil_arena_alloc(p->arena, sizeof *call);
	if (!call)
		return kveil_parse_no_memory(p);
	*call = (struct kveil_call){.function = (enum kveil_function)(f - functions)};
	o->kind = KVEIL_OPERAND_CALL;
	o->call = call;
	p->at += name_len + 1;
	if (!enter(p) || !parse_arguments(p, f, call))
		return false;
	p->nesting--;
	return !f->is_logical || compile_pattern(p, call);
}

/* ---- operands ---- */

static bool fail_word(struct kveil_path_parser *p, size_t len)
{
	const char *word = (const char *)p->text + p->at;
	int shown = (int)(len < 40 ? len : 40);
	int c = p->at + len < p->len ? p->text[p->at + len] : -1;

	kveil_parse_fail(p, p->at, "unexpected '%.*s' where a value or a path should stand", shown, word);
	if (len == 4 && strncasecmp(word, "true", 4) == 0)
		kveil_parse_hint(p, "write true");
	else if (len == 5 && strncasecmp(word, "false", 5) == 0)
		kveil_parse_hint(p, "write false");
	else if ((len == 4 && (strncasecmp(word, "null", 4) == 0 || strncasecmp(word, "none", 4) == 0)) ||
		 (len == 3 && strncasecmp(word, "nil", 3) == 0))
		kveil_parse_hint(p, "write null");
	else if (len == 3 && strncasecmp(word, "not", 3) == 0)
		kveil_parse_hint(p, "not is !");
	else if (c == '.' || c == '[')
		kveil_parse_hint(p, "a path begins with @ or $: @.%.*s", shown, word);
	else
		kveil_parse_hint(p, "a text is quoted: '%.*s'; a member is @.%.*s", shown, word, shown, word);
	return false;
}

static bool parse_word(struct kveil_path_parser *p, struct kveil_operand *o)
{
	static const struct {
		const char *word;
		enum kveil_kind kind;
	} literals[] = {{"true", KVEIL_KIND_BOOL}, {"false", KVEIL_KIND_BOOL}, {"null", KVEIL_KIND_NULL}};
	size_t len = 0;

	while (kveil_parse_is_name_char(kveil_parse_peek(p, len)))
		len++;
	if (kveil_parse_peek(p, len) == '(')
		return parse_call(p, len, o);
	for (size_t i = 0; i < 3; i++)
		if (strlen(literals[i].word) == len && memcmp(literals[i].word, p->text + p->at, len) == 0) {
			o->kind = KVEIL_OPERAND_LITERAL;
			o->literal = literals[i].kind;
			o->text = kveil_span_str(literals[i].word);
			p->at += len;
			return true;
		}
	return fail_word(p, len);
}

static bool parse_operand(struct kveil_path_parser *p, struct kveil_operand *o)
{
	int c = kveil_parse_peek(p, 0);

	*o = (struct kveil_operand){.at = p->at};
	if (c == '@' || c == '$')
		return parse_query(p, o);
	if (c == '\'' || c == '"') {
		o->kind = KVEIL_OPERAND_LITERAL;
		o->literal = KVEIL_KIND_STRING;
		return kveil_parse_string(p, &o->text);
	}
	if (c == '-' || is_digit(c))
		return parse_number(p, o);
	if (kveil_parse_is_name_first(c) && c < 0x80)
		return parse_word(p, o);
	kveil_parse_unexpected(p, "a value or a path");
	if (c == '{' || c == '[')
		kveil_parse_hint(p, "only texts, numbers, true, false and null can be written in a condition");
	return false;
}

/* ---- comparisons and tests ---- */

static bool parse_operator(struct kveil_path_parser *p, enum kveil_comparison *op)
{
	int c = kveil_parse_peek(p, 0), next = kveil_parse_peek(p, 1);
	size_t n = next == '=' ? 2 : 1;

	if (c == '=' && next == '=')
		*op = KVEIL_CMP_EQ;
	else if (c == '!' && next == '=')
		*op = KVEIL_CMP_NE;
	else if (c == '<' && next != '>')
		*op = n == 2 ? KVEIL_CMP_LE : KVEIL_CMP_LT;
	else if (c == '>')
		*op = n == 2 ? KVEIL_CMP_GE : KVEIL_CMP_GT;
	else
		return false;
	/* == followed by = is JavaScript's: left to the message about the operand. */
	p->at += n;
	return true;
}

static bool check_comparable(struct kveil_path_parser *p, const struct kveil_operand *o)
{
	if (o->kind == KVEIL_OPERAND_QUERY && !is_singular(o->path)) {
		kveil_parse_fail(p, o->at, "a path that may find several values cannot be compared");
		kveil_parse_hint(p, "use names and single indices, or ask whether any matches: @.items[?@.x == 1]");
		return false;
	}
	if (o->kind == KVEIL_OPERAND_CALL && functions[o->call->function].is_logical) {
		kveil_parse_fail(p, o->at, "%s() is a condition by itself and cannot be compared",
				 functions[o->call->function].name);
		kveil_parse_hint(p, "write %s(…) or !%s(…)", functions[o->call->function].name,
				 functions[o->call->function].name);
		return false;
	}
	return true;
}

/* What stands alone must be a condition. */
static bool make_test(struct kveil_path_parser *p, struct kveil_expr *e)
{
	const struct kveil_operand *o = &e->left;

	if (o->kind == KVEIL_OPERAND_QUERY) {
		e->kind = KVEIL_EXPR_EXISTS;
		return true;
	}
	if (o->kind == KVEIL_OPERAND_CALL && functions[o->call->function].is_logical) {
		e->kind = KVEIL_EXPR_CALL;
		return true;
	}
	size_t behind = p->at;
	kveil_parse_blanks(p);
	int c = kveil_parse_peek(p, 0);
	if (c >= 0 && c != ')' && c != ']' && c != ',' && !(c == '&' && kveil_parse_peek(p, 1) == '&') &&
	    !(c == '|' && kveil_parse_peek(p, 1) == '|'))
		return kveil_parse_unexpected(p, "a comparison");
	p->at = behind;
	if (o->kind == KVEIL_OPERAND_CALL) {
		kveil_parse_fail(p, o->at, "%s() gives a value: it must be compared",
				 functions[o->call->function].name);
		return false;
	}
	kveil_parse_fail(p, o->at, "a literal is not a condition: it must be compared");
	return false;
}

static bool parse_comparison_or_test(struct kveil_path_parser *p, struct kveil_expr *e)
{
	if (!parse_operand(p, &e->left))
		return false;
	size_t behind = p->at;
	kveil_parse_blanks(p);
	size_t op_at = p->at;
	if (!parse_operator(p, &e->op)) {
		p->at = behind;
		return make_test(p, e);
	}
	if (!check_comparable(p, &e->left))
		return false;
	if (kveil_parse_peek(p, 0) == '=') {
		kveil_parse_unexpected(p, "a value or a path");
		kveil_parse_hint(p, "write %.2s", (const char *)p->text + op_at);
		return false;
	}
	kveil_parse_blanks(p);
	e->kind = KVEIL_EXPR_COMPARE;
	return parse_operand(p, &e->right) && check_comparable(p, &e->right);
}

/* A comparison may not follow a parenthesis or a negated test. */
static bool refuse_comparison(struct kveil_path_parser *p, bool negated)
{
	size_t behind = p->at;
	enum kveil_comparison op;

	kveil_parse_blanks(p);
	size_t at = p->at;
	if (!parse_operator(p, &op)) {
		p->at = behind;
		return true;
	}
	kveil_parse_fail(p, at, negated ? "! binds closer than the comparison" : "a condition cannot be compared");
	if (negated)
		kveil_parse_hint(p, "write !(@.a == 1), or use !=");
	return false;
}

static bool parse_paren(struct kveil_path_parser *p, struct kveil_expr *e)
{
	size_t open = p->at++;

	kveil_parse_blanks(p);
	if (!enter(p) || !parse_or(p, e))
		return false;
	p->nesting--;
	kveil_parse_blanks(p);
	if (kveil_parse_peek(p, 0) < 0)
		return kveil_parse_fail(p, open, "this parenthesis is never closed");
	if (kveil_parse_peek(p, 0) != ')')
		return kveil_parse_unexpected(p, "')', '&&' or '||'");
	p->at++;
	return true;
}

static bool parse_basic(struct kveil_path_parser *p, struct kveil_expr *e)
{
	int c = kveil_parse_peek(p, 0);

	*e = (struct kveil_expr){0};
	if (c == '(')
		return parse_paren(p, e) && refuse_comparison(p, false);
	if (c != '!')
		return parse_comparison_or_test(p, e);

	p->at++;
	kveil_parse_blanks(p);
	struct kveil_expr *inner = kveil_arena_alloc(p->arena, sizeof *inner);
	e->items = kveil_arena_alloc(p->arena, sizeof *e->items);
	if (!inner || !e->items)
		return kveil_parse_no_memory(p);
	*inner = (struct kveil_expr){0};
	e->kind = KVEIL_EXPR_NOT;
	e->items[0] = inner;
	e->count = 1;
	c = kveil_parse_peek(p, 0);
	if (c == '!') {
		kveil_parse_unexpected(p, "a path, a call or '('");
		kveil_parse_hint(p, "two negations are none");
		return false;
	}
	if (c == '(')
		return parse_paren(p, inner) && refuse_comparison(p, false);
	return parse_operand(p, &inner->left) && refuse_comparison(p, true) && make_test(p, inner);
}

static bool at_operator(struct kveil_path_parser *p, char c)
{
	size_t behind = p->at;

	kveil_parse_blanks(p);
	if (kveil_parse_peek(p, 0) == c && kveil_parse_peek(p, 1) == c) {
		p->at += 2;
		kveil_parse_blanks(p);
		return true;
	}
	p->at = behind;
	return false;
}

static struct kveil_expr *append_part(struct kveil_path_parser *p, struct kveil_expr *chain)
{
	struct kveil_expr **more = kveil_parse_more(p, chain->items, chain->count, sizeof *chain->items);
	struct kveil_expr *part = kveil_arena_alloc(p->arena, sizeof *part);

	if (!more || !part) {
		kveil_parse_no_memory(p);
		return NULL;
	}
	chain->items = more;
	return chain->items[chain->count++] = part;
}

/* One or more parts joined by && or ||; a single part is itself. */
static bool parse_chain(struct kveil_path_parser *p, struct kveil_expr *e, char op, enum kveil_expr_kind kind,
			bool (*parse_part)(struct kveil_path_parser *, struct kveil_expr *))
{
	struct kveil_expr chain = {.kind = kind}, *part;

	if (!parse_part(p, e))
		return false;
	while (at_operator(p, op)) {
		if (chain.count == 0) {
			part = append_part(p, &chain);
			if (!part)
				return false;
			*part = *e;
		}
		part = append_part(p, &chain);
		if (!part || !parse_part(p, part))
			return false;
	}
	if (chain.count)
		*e = chain;
	return true;
}

static bool parse_and(struct kveil_path_parser *p, struct kveil_expr *e)
{
	return parse_chain(p, e, '&', KVEIL_EXPR_AND, parse_basic);
}

static bool parse_or(struct kveil_path_parser *p, struct kveil_expr *e)
{
	return parse_chain(p, e, '|', KVEIL_EXPR_OR, parse_and);
}

/* Behind a whole expression stands nothing, or inside a filter a comma or a bracket. */
static bool check_behind(struct kveil_path_parser *p, bool in_filter)
{
	size_t behind = p->at, len = 0;

	kveil_parse_blanks(p);
	int c = kveil_parse_peek(p, 0);
	if (c < 0 || (in_filter && (c == ']' || c == ','))) {
		p->at = behind;
		return true;
	}
	const char *word = (const char *)p->text + p->at;
	while (kveil_parse_is_name_char(kveil_parse_peek(p, len)))
		len++;
	kveil_parse_unexpected(p, in_filter ? "an operator or ']'" : "an operator or the end");
	if (len == 3 && strncasecmp(word, "and", 3) == 0)
		kveil_parse_hint(p, "and is &&");
	else if (len == 2 && strncasecmp(word, "or", 2) == 0)
		kveil_parse_hint(p, "or is ||");
	else if (len == 2 && (strncasecmp(word, "eq", 2) == 0 || strncasecmp(word, "is", 2) == 0))
		kveil_parse_hint(p, "equality is ==");
	else if (len == 2 && strncasecmp(word, "in", 2) == 0)
		kveil_parse_hint(p, "write @.a == 'x' || @.a == 'y', or match(@.a, 'x|y')");
	else if (c == '<' && p->at + 1 < p->len && word[1] == '>')
		kveil_parse_hint(p, "inequality is !=");
	else if (c == ')')
		kveil_parse_hint(p, "one ) too many");
	return false;
}

bool kveil_parse_expr(struct kveil_path_parser *p, struct kveil_expr *e)
{
	if (!enter(p) || !parse_or(p, e))
		return false;
	p->nesting--;
	return check_behind(p, true);
}

enum kveil_status kveil_expr_parse(struct kveil_span text, struct kveil_expr **ret, struct kveil_error *err)
{
	struct kveil_owned_expr *owned = calloc(1, sizeof *owned);

	*ret = NULL;
	if (!owned)
		return kveil_no_memory(err, "a condition");
	kveil_arena_init(&owned->arena, 0);
	struct kveil_path_parser p = {.what = "condition", .arena = &owned->arena, .err = err};
	bool ok = kveil_parse_begin(&p, text);
	if (ok) {
		kveil_parse_blanks(&p);
		if (p.at == p.len)
			ok = kveil_parse_fail(&p, 0, "an empty condition");
	}
	if (ok && kveil_parse_peek(&p, 0) == '?') {
		ok = kveil_parse_unexpected(&p, "a condition");
		kveil_parse_hint(&p, "the question mark stands only in a filter: [?…]");
	}
	ok = ok && parse_or(&p, &owned->expr) && check_behind(&p, false);
	if (!ok) {
		kveil_expr_free(&owned->expr);
		return p.status;
	}
	*ret = &owned->expr;
	return KVEIL_OK;
}

void kveil_expr_free(struct kveil_expr *e)
{
	if (!e)
		return;
	struct kveil_owned_expr *owned = (struct kveil_owned_expr *)e; /* its first member */
	kveil_arena_clear(&owned->arena);
	free(owned);
}

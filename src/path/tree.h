/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path/tree.h: what the files of path/ share among themselves: the parsed expression, and the parser's cursor.
 * Trees live in one arena that the outermost object owns; nothing in them changes after parsing.
 */
#ifndef KVEIL_PATH_TREE_H
#define KVEIL_PATH_TREE_H

#include "path/iregexp.h"
#include "path/path.h"

/* RFC 9535 section 2.1: I-JSON integers, [-(2^53)+1, (2^53)-1]. */
#define KVEIL_PATH_INT_MAX INT64_C(9007199254740991)

enum {
	KVEIL_PATH_MAX_BYTES = 65536, /* of a path's or expression's text */
	KVEIL_PATH_MAX_NESTING = 64,  /* parentheses, filters in filters, calls in calls */
};

enum kveil_function {
	KVEIL_FN_LENGTH,
	KVEIL_FN_COUNT,
	KVEIL_FN_MATCH,
	KVEIL_FN_SEARCH,
	KVEIL_FN_VALUE,
};

enum kveil_operand_kind { KVEIL_OPERAND_LITERAL, KVEIL_OPERAND_QUERY, KVEIL_OPERAND_CALL };

struct kveil_call;

struct kveil_operand {
	enum kveil_operand_kind kind;
	size_t at;                     /* where it stands in the text, for messages */
	enum kveil_kind literal;       /* LITERAL: NULL, BOOL, NUMBER or STRING */
	struct kveil_span text;        /* LITERAL: the string's content, the number's spelling, true, false, null */
	const struct kveil_path *path; /* QUERY */
	const struct kveil_call *call; /* CALL */
};

struct kveil_call {
	enum kveil_function function;
	struct kveil_operand args[2];
	size_t count;
	const struct kveil_iregexp *pattern; /* MATCH, SEARCH with a literal pattern */
};

enum kveil_expr_kind {
	KVEIL_EXPR_OR,
	KVEIL_EXPR_AND,
	KVEIL_EXPR_NOT,     /* items[0] */
	KVEIL_EXPR_COMPARE, /* left op right */
	KVEIL_EXPR_EXISTS,  /* left is a query */
	KVEIL_EXPR_CALL,    /* left is a call of match or search */
};

enum kveil_comparison { KVEIL_CMP_EQ, KVEIL_CMP_NE, KVEIL_CMP_LT, KVEIL_CMP_LE, KVEIL_CMP_GT, KVEIL_CMP_GE };

struct kveil_expr {
	enum kveil_expr_kind kind;
	enum kveil_comparison op;
	struct kveil_expr **items; /* OR, AND, NOT */
	size_t count;
	struct kveil_operand left, right;
};

/* The outermost objects, as the caller holds them. */
struct kveil_owned_path {
	struct kveil_path path;
	struct kveil_arena arena;
};

struct kveil_owned_expr {
	struct kveil_expr expr;
	struct kveil_arena arena;
};

struct kveil_path_parser {
	const char *what; /* "path": what the text is, for messages */
	const uint8_t *text;
	size_t len, at;
	unsigned nesting;
	struct kveil_arena *arena;
	struct kveil_error *err;
	enum kveil_status status; /* of the first failure */
};

/* parse.c. All return false after a failure, with p->status set. */
bool kveil_parse_fail(struct kveil_path_parser *p, size_t at, const char *fmt, ...) KVEIL_PRINTF(3, 4);
void kveil_parse_hint(struct kveil_path_parser *p, const char *fmt, ...) KVEIL_PRINTF(2, 3);
bool kveil_parse_no_memory(struct kveil_path_parser *p);
bool kveil_parse_begin(struct kveil_path_parser *p, struct kveil_span text);
int kveil_parse_peek(const struct kveil_path_parser *p, size_t ahead); /* -1 at the end */
void kveil_parse_blanks(struct kveil_path_parser *p);
bool kveil_parse_is_name_first(int c);
bool kveil_parse_is_name_char(int c);
bool kveil_parse_string(struct kveil_path_parser *p, struct kveil_span *ret);
/* The cursor stands behind `$` or `@`. */
bool kveil_parse_segments(struct kveil_path_parser *p, struct kveil_path *path);
/* Room for one more item of size bytes in an array that doubles; count is what it holds. */
void *kveil_parse_more(struct kveil_path_parser *p, void *items, size_t count, size_t size);
/* "unexpected …" at the cursor, with what the likely mistake asks for. */
bool kveil_parse_unexpected(struct kveil_path_parser *p, const char *expected);

/* expr_parse.c */
bool kveil_parse_expr(struct kveil_path_parser *p, struct kveil_expr *e);

/* number.c: two JSON number spellings by their exact value. false: an exponent is beyond all reason. */
bool kveil_number_compare(struct kveil_span a, struct kveil_span b, int *ret_order);

/* relations.c */
bool kveil_expr_equal(const struct kveil_expr *a, const struct kveil_expr *b);

#endif

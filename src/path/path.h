/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path/path.h: JSONPath (RFC 9535) and its logical expressions, parsed once into immutable trees.
 *
 * A path finds places; an expression (a rule's `when`, a filter's inside) says yes, no or doubt. RFC 9535
 * lets a comparison with an absent value or between types be false; here it is DOUBT, carried through
 * !, && and || as Kleene's third value, and whoever asks decides: a rule that protects takes doubt as yes,
 * one that reveals takes it as no.
 *
 * A path of several steps, ["$.payload", "$.phone"], is one list of segments. Where it enters a text, only the engine
 * goes in: what evaluates a path over a tape reads it as $.payload.phone, the same with the text written out.
 *
 * Parsed objects are immutable and may be shared by threads.
 */
#ifndef KVEIL_PATH_PATH_H
#define KVEIL_PATH_PATH_H

#include "base/arena.h"
#include "base/buf.h"
#include "kveil/base.h"
#include "path/doc.h"

enum kveil_selector_kind {
	KVEIL_SEL_NAME,     /* ['a'] .a */
	KVEIL_SEL_INDEX,    /* [3] [-1] */
	KVEIL_SEL_WILDCARD, /* [*] .* */
	KVEIL_SEL_SLICE,    /* [1:3:2] */
	KVEIL_SEL_FILTER,   /* [?@.a > 1] */
};

struct kveil_expr;

struct kveil_selector {
	enum kveil_selector_kind kind;
	struct kveil_span name;   /* NAME: unescaped UTF-8 */
	int64_t index;            /* INDEX */
	int64_t start, end, step; /* SLICE; step defaults to 1 */
	bool has_start, has_end;
	struct kveil_expr *filter; /* FILTER */
};

struct kveil_segment {
	bool descendant; /* ..[…] */
	struct kveil_selector *selectors;
	size_t count;
	bool enters; /* what stands before it is a text that holds JSON, and the path goes on in there */
};

struct kveil_path {
	bool relative; /* begins with @ (only inside expressions) */
	struct kveil_segment *segments;
	size_t count;
};

/* text: "$.a[*]..b". On failure err->byte is the position in text and the hint names the likely mistake. Strict
 * RFC 9535 (I-JSON integer range, no blank space where the grammar has none). */
enum kveil_status kveil_path_parse(struct kveil_span text, struct kveil_path **ret,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_path_free(struct kveil_path *p);

/* text: a logical expression as in a filter, "$.country == 'CN' && @ > 50000". `@` is the value that the rule's
 * path found, `$` the record. Functions length, count, match, search, value; well-typedness is checked. */
enum kveil_status kveil_expr_parse(struct kveil_span text, struct kveil_expr **ret,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_expr_free(struct kveil_expr *e);

/* Can a scanner answer it without looking back: only names, wildcards, indices >= 0, descendants. */
bool kveil_path_is_streamable(const struct kveil_path *p);
/* Only one name or one wildcard-or-index a segment, no descendants: its normalized form with indices as [*] is
 * known before any record. A name wildcard cannot be told from an array's: not fixed. [n] counts as [*]. */
bool kveil_path_is_fixed(const struct kveil_path *p);
/* "$['a'][*]['b']" (RFC 9535 section 2.7, indices as [*]); only for fixed paths. */
void kveil_path_write_normalized(const struct kveil_path *p, struct kveil_buf *out);
/* One step of a normalized path: ['name'] with the section 2.7 escapes. name is unescaped. */
void kveil_path_write_name(struct kveil_span name, struct kveil_buf *out);

/* Static relations, decided on the paths alone.
 * covers: every place that b finds, in any record, a finds too or a finds an ancestor of it. Never says yes
 * wrongly; may say no where the answer is yes. Used for views. */
bool kveil_path_covers(const struct kveil_path *a, const struct kveil_path *b);
/* ancestor: is there a record in which a finds an ancestor (strict) of a place that b finds, told by definite
 * segments (b has no descendant segment)? Used for the `check` error. */
bool kveil_path_may_be_ancestor(const struct kveil_path *a, const struct kveil_path *b);
bool kveil_path_equal(const struct kveil_path *a, const struct kveil_path *b);

/* Does fn say yes to a query of the expression, as it stands there (relative: from @)? whole: the answer hangs on all
 * that is inside what the query finds, not only on a scalar or on whether it is there. */
typedef bool kveil_query_fn(void *user, const struct kveil_path *query, bool whole);
bool kveil_expr_any_query(const struct kveil_expr *e, kveil_query_fn *fn, void *user);

/* Does it compare the value at hand, `@` or own, with a number? data NULL: no; else that number's spelling. */
struct kveil_span kveil_expr_number(const struct kveil_expr *e, const struct kveil_path *own);

enum kveil_tri { KVEIL_NO, KVEIL_DOUBT, KVEIL_YES };

/* What a record may cost: nodes, members, pattern states and the bytes that comparisons read, of both operands, are
 * taken from *work, and when it is spent the answer is TOO_COMPLEX. One budget a record bounds the record, however many
 * places its rules ask about. A unit is 5 to 10 ns: the worst records that were found take 0.1 to 0.6 s. */
#define KVEIL_PATH_WORK INT64_C(50000000)

/* The nodes that p finds from `from` (the root for $), in document order, without repeats, in *ret (arena).
 * A filter in doubt selects when doubt_selects. */
enum kveil_status kveil_path_select_within(const struct kveil_path *p, const struct kveil_doc *doc, uint32_t from,
					   bool doubt_selects, int64_t *work, struct kveil_arena *arena, uint32_t **ret,
					   size_t *ret_count, struct kveil_error *err) KVEIL_MUST_CHECK;
/* After an error *ret is DOUBT. */
enum kveil_status kveil_expr_eval_within(const struct kveil_expr *e, const struct kveil_doc *doc, uint32_t current,
					 int64_t *work, enum kveil_tri *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

/* The content of a string node (escapes resolved into the arena, else borrowed), the spelling of another scalar. */
enum kveil_status kveil_doc_text(const struct kveil_doc *doc, uint32_t node, struct kveil_arena *arena,
				 struct kveil_span *ret) KVEIL_MUST_CHECK;
/* Resolves JSON string escapes of raw (validated, without quotes) into dst (raw.len of room); gives the length. */
size_t kveil_json_unescape(struct kveil_span raw, uint8_t *dst);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path/eval.h: one evaluation of a path or an expression, shared by select.c (paths) and expr_eval.c (conditions),
 * which call each other as deep as the expression is nested.
 *
 * All lists of nodes live on one stack, so that a filter over a million elements needs no more memory than one
 * element's: who selects remembers the stack's height, reads what was pushed above it and puts it back.
 * After a failure `status` is set, everything returns at once and answers mean nothing.
 */
#ifndef KVEIL_PATH_EVAL_H
#define KVEIL_PATH_EVAL_H

#include "path/tree.h"

/* A node that a path found; doubtful when only filters in doubt let it through. */
struct kveil_found {
	uint32_t node;
	bool doubtful;
};

struct kveil_evaluation {
	const struct kveil_doc *doc;
	struct kveil_error *err;
	enum kveil_status status;
	int64_t *work; /* what is left of the bound */
	struct kveil_found *stack;
	size_t count, cap;
	/* For what outgrows the first entries: memory that goes back at the end. A record may be asked thousands of
	 * times, and its own arena keeps everything until the next record. */
	struct kveil_arena large;
	/* For patterns: the scratch of a run; the last pattern that came from the record, in an arena of its own. */
	uint32_t *scratch;
	size_t scratch_bytes;
	struct kveil_arena patterns;
	const struct kveil_iregexp *pattern;
	struct kveil_span pattern_text;
	struct kveil_found first[32];
	uint32_t first_scratch[256];
};

void kveil_evaluation_begin(struct kveil_evaluation *ev, const struct kveil_doc *doc, int64_t *work,
			    struct kveil_error *err);
void kveil_evaluation_end(struct kveil_evaluation *ev);

enum kveil_status kveil_evaluation_fail(struct kveil_evaluation *ev, enum kveil_status status, const char *message);
void kveil_evaluation_no_memory(struct kveil_evaluation *ev, const char *what);
bool kveil_evaluation_charge(struct kveil_evaluation *ev, int64_t work); /* false: stop */

/* Pushes what the path finds from there. as_set: in document order and without repeats; otherwise RFC 9535's list, in
 * which a node stands as often as it was found, in no particular order. */
void kveil_evaluation_select(struct kveil_evaluation *ev, const struct kveil_path *path, uint32_t from, bool as_set);
enum kveil_tri kveil_evaluation_test(struct kveil_evaluation *ev, const struct kveil_expr *e, uint32_t current);

/* The two texts' scalar values in order; escaped: backslashes are JSON escapes. */
int kveil_text_compare(struct kveil_span a, bool a_escaped, struct kveil_span b, bool b_escaped);

/* Units of work for comparing so many bytes: plain ones by the block, escaped ones one by one. */
static inline int64_t kveil_text_compare_work(size_t shorter, bool escaped)
{
	return 1 + (int64_t)(escaped ? shorter : shorter / 64);
}

/* A member's name without its quotes. */
static inline struct kveil_span kveil_node_name(const struct kveil_doc *doc, const struct kveil_doc_node *n)
{
	return kveil_span_of(doc->text.data + n->name_start + 1, n->name_end - n->name_start - 2);
}

#endif

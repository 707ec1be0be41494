/* SPDX-License-Identifier: Apache-2.0 */
/* engine/decide.h: between decide.c and inside.c, which call each other as deep as texts stand in texts. */
#ifndef KVEIL_ENGINE_DECIDE_H
#define KVEIL_ENGINE_DECIDE_H

#include "engine/internal.h"

/* What is decided on: a part of the record, or a text in there. */
struct kveil_document {
	enum kveil_part part;
	const struct kveil_scan *scan;
	const struct kveil_automaton *automaton;
	bool all_stream;
	bool is_dotted;                 /* names at its root may be paths */
	const struct kveil_spot *outer; /* the text; NULL = the part */
	const bool *open;               /* of a text: the bindings and clear lines that lead here, by id */
	unsigned level;
	uint64_t views;
	uint64_t named;           /* views in which all that a text holds is named */
	struct kveil_rewrite *ws; /* by view */
};

/* The place at hand and what was tried there. */
struct kveil_place_at_hand {
	const struct kveil_document *document;
	struct kveil_spot spot;
	const uint32_t *ids;
	size_t id_count;
	struct kveil_outcome *outcomes;
	size_t outcome_count;
	struct kveil_opened text; /* where something goes on in there */
	bool is_row;              /* as which it can be read, or as a column's value */
};

static inline bool kveil_decide_are_twins(const struct kveil_engine *e, uint32_t a, uint32_t b)
{
	return a == b || (a < e->rule_count && b < e->rule_count && e->rules[a].rule == e->rules[b].rule);
}

/* A rule stands once for each reading of the record in which it names the place: the first behind those like ids[i]. */
static inline size_t kveil_decide_after_twins(const struct kveil_engine *e, const uint32_t *ids, size_t count, size_t i)
{
	do
		i++;
	while (i < count && kveil_decide_are_twins(e, ids[i - 1], ids[i]));
	return i;
}

/* Is the binding, or the clear line behind those, about this document? */
static inline bool kveil_decide_is_of(const struct kveil_engine *e, const struct kveil_document *d, uint32_t id)
{
	bool is_rule = id < e->rule_count;
	const struct kveil_bound_rule *r = is_rule ? &e->rules[id] : NULL;

	if (d->open)
		return d->open[id];
	return is_rule ? r->part == d->part && r->views && !r->from
		       : d->part == KVEIL_PART_VALUE && e->unmatched_views && !e->clears[id - e->rule_count].from;
}

/* --- decide.c --- */

/* All of a document's places, in its order. */
enum kveil_status kveil_decide_document(struct kveil_engine *e, const struct kveil_document *d,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* What came of it in a view. */
enum kveil_status kveil_decide_settle(struct kveil_engine *e, const struct kveil_document *d, size_t view,
				      enum kveil_unmatched unmatched, struct kveil_edits *ret,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- inside.c --- */

/* Keeps what names the place itself, and sets apart what goes on inside of it. */
void kveil_decide_part_ids(struct kveil_engine *e, struct kveil_place_at_hand *p);
/* Opens the text that the place at hand is. */
enum kveil_status kveil_decide_open(struct kveil_engine *e, struct kveil_place_at_hand *p,
				    struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same for the text that the place at hand is, in views where it still stands. */
enum kveil_status kveil_decide_inside(struct kveil_engine *e, struct kveil_place_at_hand *p,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

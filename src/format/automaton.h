/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/automaton.h: many paths as one deterministic automaton over member names and array indices, so that
 * the cost of a scan does not grow with the number of rules. Built once a plan from the streamable paths
 * (subset construction; one hash look-up a member, none in subtrees that no path can reach).
 * Immutable once built: any thread.
 */
#ifndef KVEIL_FORMAT_AUTOMATON_H
#define KVEIL_FORMAT_AUTOMATON_H

#include "kveil/base.h"
#include "path/path.h"

struct kveil_automaton;

struct kveil_automaton_path {
	const struct kveil_path *path; /* kveil_path_is_streamable */
	uint32_t id;                   /* what accept lists hold */
	uint32_t twin;                 /* of paths with one twin, whose ids follow each other, a list holds the first */
	bool want_trail;               /* its matches carry the names on the way (struct kveil_match.trail) */
};

/* RULES error when the paths together need more than 65,536 states or a million transitions. The paths may go once
 * this returns. No paths at all are fine: then nothing is ever accepted. */
enum kveil_status kveil_automaton_new(const struct kveil_automaton_path *paths, size_t count,
				      struct kveil_automaton **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_automaton_free(struct kveil_automaton *a);

/* The ids that a state accepts, ascending. */
const uint32_t *kveil_automaton_accepts(const struct kveil_automaton *a, uint32_t state, size_t *ret_count);

#endif

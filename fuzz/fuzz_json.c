/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a JSON record. The scan with the tape and the one without must say the same, and what the automaton finds
 * must be what the slow evaluator selects on the tape.
 */
#include "format/format.h"
#include "path/path.h"

#include <stdlib.h>

static const char *const texts[] = {
    "$", "$.a", "$.a.b", "$[*].a", "$..a", "$..b[0]", "$['a','c'][*]", "$..*", "$.a..b", "$[1]", "$..['a b',0]",
};
enum { PATHS = sizeof texts / sizeof *texts };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fact)
{
	if (!fact)
		abort();
}

/* The nodes that the automaton gave to a path, against those selected. */
static void check_path(const struct kveil_scan *s, const struct kveil_path *path, uint32_t id)
{
	uint32_t *nodes;
	size_t count, at = 0, n;
	int64_t work = KVEIL_PATH_WORK;
	struct kveil_error err;

	if (kveil_path_select_within(path, &s->doc, 0, true, &work, s->arena, &nodes, &count, &err))
		return;
	for (size_t i = 0; i < s->match_count; i++) {
		const uint32_t *ids = kveil_automaton_accepts(s->automaton, s->matches[i].state, &n);
		for (size_t k = 0; k < n; k++) {
			if (ids[k] != id)
				continue;
			check(at < count && nodes[at] == s->matches[i].node);
			check(s->doc.nodes[nodes[at]].start == s->matches[i].start);
			check(s->doc.nodes[nodes[at]].end == s->matches[i].end);
			at++;
		}
	}
	check(at == count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_path *paths[PATHS];
	static struct kveil_automaton *automaton;
	struct kveil_automaton_path rows[PATHS];
	struct kveil_error err;
	struct kveil_arena arena;

	for (uint32_t i = 0; !automaton && i < PATHS; i++) {
		check(kveil_path_parse(kveil_span_str(texts[i]), &paths[i], &err) == KVEIL_OK);
		rows[i] = (struct kveil_automaton_path){paths[i], i, i, true};
	}
	if (!automaton)
		check(kveil_automaton_new(rows, PATHS, &automaton, &err) == KVEIL_OK);
	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan with = {
	    .automaton = automaton, .arena = &arena, .max_bytes = 1 << 16, .max_depth = 64, .want_doc = true};
	struct kveil_scan without = {.automaton = automaton, .arena = &arena, .max_bytes = 1 << 16, .max_depth = 64};
	struct kveil_error err2;
	const struct kveil_format *json = kveil_format_by_name(KVEIL_SPAN("json"));
	struct kveil_span text = {data ? data : (const uint8_t *)"", size};
	enum kveil_status a = json->scan(&with, text, &err), b = json->scan(&without, text, &err2);
	check(a == b);
	if (a) {
		check(err.byte == err2.byte && err.byte <= size);
	} else {
		check(with.match_count == without.match_count);
		for (size_t i = 0; i < with.match_count; i++) {
			const struct kveil_match *x = &with.matches[i], *y = &without.matches[i];
			check(x->start == y->start && x->end == y->end && x->state == y->state && x->kind == y->kind);
			check(x->name_start == y->name_start && x->name_end == y->name_end && x->depth == y->depth);
			check(x->flags == y->flags && x->trail == y->trail);
			check(x->start < x->end && x->end <= size);
		}
		for (uint32_t i = 0; i < PATHS; i++)
			check_path(&with, paths[i], i);
	}
	kveil_scan_clear(&with);
	kveil_scan_clear(&without);
	kveil_arena_clear(&arena);
	return 0;
}

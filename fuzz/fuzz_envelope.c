/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a change event of each kind: a key, a zero byte, a value. What comes out holds nothing at a named column, in
 * any row, but what the rule puts there, null, or the text for a value that was not sent. And where a rule has a
 * condition, it holds for all that any reading of the record names.
 */
#include "format/envelope.h"
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_KINDS = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char yaml[] = "name: f\ntopics: [in]\noutput: out\nenvelope: {kind: %s, key: $.k}\nunmatched: "
			   "remove\nclear: [$.c, \"$.l[?@.k == 1]\"]\nfields:\n"
			   "  - {path: $.t, table: [\"s*p.u?\", orders], replace: {with: x}, on_key: any}\n"
			   "  - {path: $.a, replace: {with: x}, on_key: any}\n"
			   "  - {path: \"$.l[*].a\", when: \"$.c != 1\", nullify: true, on_key: any}\n"
			   "  - {path: $.k, tokenize: {key: k}}\n";
static const char conditional[] = "name: f\ntopics: [in]\noutput: out\nenvelope: {kind: %s}\nfields:\n"
				  "  - {path: $..d, when: \"$.c != 1\", replace: {with: x}, on_key: any}\n";

static void check(bool fact)
{
	if (!fact)
		abort();
}

static bool may_stand(const struct kveil_plan *plan, struct kveil_span content)
{
	bool is_absent = false;

	for (size_t i = 0; i < plan->absent_count; i++)
		is_absent |= kveil_span_eq(plan->absent[i], content);
	return is_absent || kveil_span_eq(content, KVEIL_SPAN("x"));
}

static void check_row(const struct kveil_plan *plan, struct kveil_doc *doc, const struct kveil_path *column,
		      const struct kveil_expr *when, struct kveil_arena *arena)
{
	int64_t work = KVEIL_PATH_WORK;
	uint32_t *nodes;
	size_t n;
	struct kveil_span content;
	enum kveil_tri holds = KVEIL_YES;

	doc->absent = plan->absent;
	doc->absent_count = plan->absent_count;
	if (when && (kveil_expr_eval_within(when, doc, doc->root, &work, &holds, NULL) || holds != KVEIL_YES))
		return;
	if (kveil_path_select_within(column, doc, 0, true, &work, arena, &nodes, &n, NULL) != KVEIL_OK)
		return;
	for (size_t i = 0; i < n; i++) {
		check(kveil_doc_text(doc, nodes[i], arena, &content) == KVEIL_OK);
		check(doc->nodes[nodes[i]].kind == KVEIL_KIND_NULL || may_stand(plan, content));
	}
}

/* A value may have a schema's id in front. */
static struct kveil_span behind_id(struct kveil_span value)
{
	size_t id = value.len > 5 && value.data[0] == 0 ? 5 : 0;

	return kveil_span_of(value.data + id, value.len - id);
}

static void check_output(const struct kveil_plan *plan, struct kveil_span out, const struct kveil_rows *rows,
			 const struct kveil_path *column, const struct kveil_expr *when)
{
	struct kveil_arena arena;
	int64_t work = KVEIL_PATH_WORK;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 128, .want_doc = true};
	check(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, behind_id(out), NULL) == KVEIL_OK);
	for (size_t i = 0; i < rows->count; i++) {
		struct kveil_doc doc = s.doc;
		uint32_t *nodes;
		size_t n = 0;
		if (kveil_path_select_within(rows->roots[i], &doc, 0, true, &work, &arena, &nodes, &n, NULL))
			n = 0;
		for (size_t k = 0; k < n; k++) {
			doc.root = nodes[k];
			check_row(plan, &doc, column, when, &arena);
		}
	}
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

/* As a transform spells the column in another image's copy; names with dots of what was flattened. */
static void check_copies(const struct kveil_plan *plan, struct kveil_span out)
{
	for (const char *const *c = plan->envelope->copies; c && *c; c++) {
		char text[64];
		struct kveil_path *path;
		snprintf(text, sizeof text, "$['%sa']", *c);
		check(kveil_path_parse(kveil_span_str(text), &path, NULL) == KVEIL_OK);
		check_output(plan, out, &plan->rows[KVEIL_ROWS_EVENT], path, NULL);
		kveil_path_free(path);
	}
}

static struct kveil_engine *make_engine(struct kveil_keyring *ring, const char *rules, const char *kind,
					struct kveil_plan **plan)
{
	struct kveil_report report = {0};
	struct kveil_engine *engine = NULL;
	char text[1024];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, sizeof text, rules, kind);
#pragma GCC diagnostic pop
	*plan = kveil_plan_parse(kveil_span_str(text), "f", NULL, &report);
	kveil_report_print(&report, stderr);
	check(*plan && kveil_engine_new(*plan, ring, NULL, &engine, NULL) == KVEIL_OK);
	kveil_report_clear(&report);
	return engine;
}

static void run(struct kveil_engine *engine, const struct kveil_plan *plan, const struct kveil_record *record,
		const struct kveil_path *column, const struct kveil_expr *when)
{
	struct kveil_result result;

	kveil_engine_run(engine, record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		check(!result.outputs && result.output_count == 0);
		check(result.error.status != KVEIL_E_INTERNAL && result.error.status != KVEIL_OK);
		return;
	}
	check_output(plan, result.outputs[0].record.value, &plan->rows[KVEIL_ROWS_VALUE], column, when);
	if (!when)
		check_copies(plan, result.outputs[0].record.value);
	if (result.outputs[0].record.key.len)
		check_output(plan, result.outputs[0].record.key, &plan->rows[KVEIL_ROWS_KEY], column, when);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_engine *engines[MOST_KINDS], *asking[MOST_KINDS];
	static struct kveil_plan *plans[MOST_KINDS], *asking_plans[MOST_KINDS];
	static struct kveil_path *column, *anywhere;
	static struct kveil_expr *when;

	if (!column) {
		struct kveil_keystore *ks;
		struct kveil_keyring *ring;
		check(kveil_path_parse(KVEIL_SPAN("$.a"), &column, NULL) == KVEIL_OK);
		check(kveil_path_parse(KVEIL_SPAN("$..d"), &anywhere, NULL) == KVEIL_OK);
		check(kveil_expr_parse(KVEIL_SPAN("$.c != 1"), &when, NULL) == KVEIL_OK);
		check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, NULL) == KVEIL_OK);
		check(kveil_keyring_new(ks, &ring, NULL) == KVEIL_OK);
		for (size_t i = 0; kveil_envelopes[i]; i++) {
			check(i < MOST_KINDS);
			engines[i] = make_engine(ring, yaml, kveil_envelopes[i]->name, &plans[i]);
			if (!kveil_envelopes[i]->names_columns && !kveil_envelopes[i]->key_prefix)
				asking[i] = make_engine(ring, conditional, kveil_envelopes[i]->name, &asking_plans[i]);
		}
	}
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	size_t key = zero ? (size_t)(zero - data) : 0;
	struct kveil_record record = {.value = {data + key + (zero != NULL), size - key - (zero != NULL)}};
	if (zero)
		record.key = kveil_span_of(data, key);
	/* The same bytes as a header that holds a key. */
	struct kveil_header header = {KVEIL_SPAN("__debezium.oldkey"), record.value};
	record.headers = &header;
	record.header_count = 1;
	for (size_t i = 0; engines[i]; i++) {
		run(engines[i], plans[i], &record, column, NULL);
		if (asking[i])
			run(asking[i], asking_plans[i], &record, anywhere, when);
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a record under fixed rules, the first byte choosing which. A record comes out as valid JSON that no longer
 * holds what the rules name, or not at all.
 */
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <stdlib.h>

#define HEAD "name: f\ntopics: [in]\nformat: json\n"

static const char *const files[] = {
    HEAD "output: out\nfields:\n"
	 "  - {path: $..a, encrypt: {key: k, type: json}}\n  - {path: $..b, nullify: true}\n",
    HEAD "output: out\nfields:\n"
	 "  - {path: $..a, remove: true}\n  - {path: $..b, replace: {with: x}, to: $..c}\n"
	 "  - {path: \"$..d[?@.e == 1]\", remove: true}\n",
    HEAD "output: out\nunmatched: remove\nclear: [$.c, \"$.d[*].e\"]\nfields:\n"
	 "  - {path: $.a, mask: {}}\n  - {path: \"$.b[-1]\", nullify: true}\n",
    HEAD "fields:\n  - {path: $.a, encrypt: {key: \"t-{$.t}\"}}\n  - {path: \"$.b[*]\", hash: {key: p}}\noutputs:\n"
	 "  - {name: one, topic: one, fields: [{path: $.c, when: \"@ == $.d\", nullify: true}]}\n"
	 "  - {name: two, topic: two, unmatched: remove, clear: [$.c], fields: [{path: $.e, decrypt: {key: k}}]}\n",
};
enum { FILES = sizeof files / sizeof *files };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fact)
{
	if (!fact)
		abort();
}

/* A value may have a schema's id in front. */
static struct kveil_span behind_id(struct kveil_span value)
{
	size_t id = value.len > 5 && value.data[0] == 0 ? 5 : 0;

	return kveil_span_of(value.data + id, value.len - id);
}

/* No `a` at the places that every file protects: as it came it must not stand in the output's tape. */
static void check_output(struct kveil_span in, struct kveil_span out, struct kveil_path *path)
{
	struct kveil_arena arena;
	struct kveil_error err;
	uint32_t *before, *after;
	size_t n = 0, m = 0;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan x = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 128, .want_doc = true}, y = x;
	const struct kveil_format *json = kveil_format_by_name(KVEIL_SPAN("json"));
	int64_t work = KVEIL_PATH_WORK;
	check(json->scan(&x, behind_id(in), &err) == KVEIL_OK);
	check(json->scan(&y, behind_id(out), &err) == KVEIL_OK);
	if (!kveil_path_select_within(path, &x.doc, 0, true, &work, &arena, &before, &n, &err) &&
	    !kveil_path_select_within(path, &y.doc, 0, true, &work, &arena, &after, &m, &err)) {
		check(m <= n);
		for (size_t i = 0; i < m; i++) {
			/* Nulls stay; anything else has become a string. */
			uint8_t kind = y.doc.nodes[after[i]].kind;
			check(kind == KVEIL_KIND_STRING || kind == KVEIL_KIND_NULL);
		}
	}
	kveil_scan_clear(&x);
	kveil_scan_clear(&y);
	kveil_arena_clear(&arena);
}

/* The same value behind an id: the same comes out behind it, or nothing. */
static void check_framed(struct kveil_engine *e, struct kveil_span value)
{
	static const uint8_t id[] = {0, 0, 0, 0, 7};
	struct kveil_buf framed = KVEIL_BUF_INIT;
	struct kveil_result result;

	kveil_buf_append(&framed, id, sizeof id);
	kveil_buf_append_span(&framed, value);
	struct kveil_record record = {.value = kveil_buf_span(&framed)};
	kveil_engine_run(e, &record, &result);
	size_t count = result.verdict == KVEIL_PRODUCE ? result.output_count : 0;
	struct kveil_buf outs[2] = {KVEIL_BUF_INIT, KVEIL_BUF_INIT};
	check(count <= 2);
	for (size_t v = 0; v < count; v++)
		kveil_buf_append_span(&outs[v], result.outputs[v].record.value);
	record.value = value;
	if (count)
		kveil_engine_run(e, &record, &result);
	check(!count || result.verdict == KVEIL_PRODUCE);
	for (size_t v = 0; v < count; v++) {
		struct kveil_span out = kveil_buf_span(&outs[v]);
		check(out.len > sizeof id && memcmp(out.data, id, sizeof id) == 0);
		check(out.len == sizeof id + result.outputs[v].record.value.len);
	}
	for (size_t v = 0; v < 2; v++)
		kveil_buf_clear(&outs[v]);
	kveil_buf_clear(&framed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_engine *engines[FILES];
	static struct kveil_path *path;
	struct kveil_error err;

	if (!path) {
		struct kveil_keystore *ks;
		struct kveil_keyring *ring;
		struct kveil_report report = {0};
		check(kveil_path_parse(KVEIL_SPAN("$.a"), &path, &err) == KVEIL_OK);
		check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, &err) == KVEIL_OK);
		check(kveil_keyring_new(ks, &ring, &err) == KVEIL_OK);
		for (size_t i = 0; i < FILES; i++) {
			struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(files[i]), "f", NULL, &report);
			if (!plan)
				kveil_report_print(&report, stderr);
			check(plan && kveil_engine_new(plan, ring, NULL, &engines[i], &err) == KVEIL_OK);
			kveil_plan_unref(plan);
		}
		kveil_report_clear(&report);
	}
	if (size == 0)
		return 0;
	struct kveil_record record = {.value = {data + 1, size - 1}};
	struct kveil_result result;
	check_framed(engines[data[0] % FILES], record.value);
	kveil_engine_run(engines[data[0] % FILES], &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		check(!result.outputs && result.output_count == 0);
		check(result.error.status != KVEIL_E_INTERNAL && result.error.status != KVEIL_OK);
		return 0;
	}
	for (size_t v = 0; v < result.output_count; v++)
		check_output(record.value, result.outputs[v].record.value, path);
	return 0;
}

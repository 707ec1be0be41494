/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as a schema inline, or a schema, a zero byte and a payload. What comes out is a schema of Connect's again, the
 * same in a second engine, and has nothing at a named field but what the rule puts there; what undoes the rules takes
 * it.
 */
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/invert.h"
#include "rules/plan.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char yaml[] = "name: f\ntopics: [in]\noutput: out\nenvelope: connect\nfields:\n"
			   "  - {path: $.a, replace: {with: x}, on_key: any}\n"
			   "  - {path: \"$.l[*].a\", when: \"$.c != 1\", nullify: true, on_key: any}\n"
			   "  - {path: \"$.m[0]\", mask: {}, on_key: any}\n"
			   "  - {path: $.g, to: $.h, mask: {}, on_key: any}\n"
			   "  - {path: $.k, tokenize: {key: k}}\n";
static const char other_yaml[] = "name: f\ntopics: [in]\noutput: out\nenvelope: connect\nfields:\n"
				 "  - {path: $.zzz, mask: {}, on_key: any}\n";
static const char clear[] = "Zm9v";

static void check(bool fact)
{
	if (!fact)
		abort();
}

static struct kveil_engine *make_engine(struct kveil_keyring *ring, const char *text)
{
	struct kveil_report report = {0};
	struct kveil_engine *engine = NULL;

	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(text), "f", NULL, &report);
	kveil_report_print(&report, stderr);
	check(plan && kveil_engine_new(plan, ring, NULL, &engine, NULL) == KVEIL_OK);
	kveil_report_clear(&report);
	return engine;
}

/* A copy of the value that comes out; data NULL: none does. */
static struct kveil_span run(struct kveil_engine *engine, struct kveil_span value)
{
	struct kveil_record record = {.key = value, .value = value};
	struct kveil_result result;

	kveil_engine_run(engine, &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		check(!result.outputs && result.output_count == 0);
		check(result.error.status != KVEIL_E_INTERNAL && result.error.status != KVEIL_OK);
		return KVEIL_SPAN_NULL;
	}
	struct kveil_span out = result.outputs[0].record.value;
	uint8_t *copy = malloc(out.len + 1);
	check(copy != NULL);
	memcpy(copy, out.data, out.len);
	return kveil_span_of(copy, out.len);
}

/* A value may have a schema's id in front. */
static struct kveil_span behind_id(struct kveil_span value)
{
	size_t id = value.len > 5 && value.data[0] == 0 ? 5 : 0;

	return kveil_span_of(value.data + id, value.len - id);
}

/* Nothing of a named field's value, in the payload or as a default. */
static void check_output(struct kveil_span out)
{
	static struct kveil_path *places[2];
	struct kveil_arena arena;
	int64_t work = KVEIL_PATH_WORK;
	uint32_t *nodes;
	size_t n;

	for (size_t i = 0; i < 2 && !places[i]; i++)
		check(kveil_path_parse(kveil_span_str(i ? "$.payload.a" : "$.schema.fields[?@.field == 'a'].default"),
				       &places[i], NULL) == KVEIL_OK);
	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 128, .want_doc = true};
	check(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, behind_id(out), NULL) == KVEIL_OK);
	for (size_t i = 0; i < 2; i++) {
		if (kveil_path_select_within(places[i], &s.doc, 0, false, &work, &arena, &nodes, &n, NULL))
			continue;
		for (size_t k = 0; k < n; k++) {
			struct kveil_span content;
			check(kveil_doc_text(&s.doc, nodes[k], &arena, &content) == KVEIL_OK);
			check(!kveil_span_eq(content, kveil_span_str(clear)));
		}
	}
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

static void run_record(struct kveil_engine *const engines[4], struct kveil_span value)
{
	struct kveil_span out = run(engines[0], value), same = run(engines[1], value);

	check(!out.data == !same.data && kveil_span_eq(out, same));
	if (out.data) {
		struct kveil_span again = run(engines[2], out), back = run(engines[3], out);
		check_output(out);
		check(kveil_span_eq(again, out));
		free((void *)again.data);
		free((void *)back.data);
	}
	free((void *)out.data);
	free((void *)same.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_engine *engines[4];
	static const char payload[] = "{\"a\":\"Zm9v\",\"l\":[{\"a\":1}],\"m\":[1,2],\"g\":true,\"k\":7,\"c\":1}";

	if (!engines[0]) {
		struct kveil_keystore *ks;
		struct kveil_keyring *ring;
		struct kveil_report report = {0};
		struct kveil_buf inverse = KVEIL_BUF_INIT;
		check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, NULL) == KVEIL_OK);
		check(kveil_keyring_new(ks, &ring, NULL) == KVEIL_OK);
		struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml), "f", NULL, &report);
		check(plan && kveil_plan_write_inverse(plan, 0, &inverse) == 1);
		engines[0] = make_engine(ring, yaml);
		engines[1] = make_engine(ring, yaml);
		engines[2] = make_engine(ring, other_yaml);
		engines[3] = make_engine(ring, kveil_buf_cstr(&inverse));
		kveil_buf_clear(&inverse);
		kveil_plan_unref(plan);
		kveil_report_clear(&report);
	}
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	size_t schema = zero ? (size_t)(zero - data) : size;
	struct kveil_buf text = KVEIL_BUF_INIT;
	kveil_buf_append_str(&text, "{\"schema\":");
	kveil_buf_append(&text, data, schema);
	kveil_buf_append_str(&text, ",\"payload\":");
	if (zero)
		kveil_buf_append(&text, zero + 1, size - schema - 1);
	else
		kveil_buf_append_str(&text, payload);
	kveil_buf_append_str(&text, "}");
	run_record(engines, kveil_buf_span(&text));
	kveil_buf_clear(&text);
	return 0;
}

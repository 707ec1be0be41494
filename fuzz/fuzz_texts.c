/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as JSON within a text within a record: spelled as a text in two ways, the second with every character escaped.
 * What a rule does in there is what it does to the bytes as a record of their own; around it nothing changes. The same
 * bytes as a whole record, for the paths that lead to texts.
 */
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <stdlib.h>

#define HEAD "name: f\ntopics: [in]\noutput: out\n"

static const char inner_rules[] =
    HEAD "fields:\n  - {path: $..a, replace: {with: 'x\"y'}}\n  - {path: \"$.b[?@.c == 1]\", "
	 "remove: true}\n";
static const char outer_rules[] = HEAD "fields:\n  - {path: [$.p, $..a], replace: {with: 'x\"y'}}\n"
				       "  - {path: [$.p, \"$.b[?@.c == 1]\"], remove: true}\n";
static const char any_rules[] =
    HEAD "unmatched: remove\nclear: [[\"$..q\", \"$.k\"]]\nfields:\n"
	 "  - {path: [\"$..p\", \"$..a\"], when: \"$.c != 1 || @ == 2\", nullify: true}\n"
	 "  - {path: [\"$.p\", \"$.b\", \"$.d\"], tokenize: {key: k}, to: [\"$.p\", \"$.b\", \"$.e\"]}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fact)
{
	if (!fact)
		abort();
}

static struct kveil_engine *make_engine(struct kveil_keyring *ring, const char *rules)
{
	struct kveil_report report = {0};
	struct kveil_engine *engine = NULL;
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(rules), "f", NULL, &report);

	kveil_report_print(&report, stderr);
	check(plan && kveil_engine_new(plan, ring, NULL, &engine, NULL) == KVEIL_OK);
	kveil_report_clear(&report);
	kveil_plan_unref(plan);
	return engine;
}

static enum kveil_status run(struct kveil_engine *e, struct kveil_span value, struct kveil_span *ret)
{
	struct kveil_record record = {.value = value};
	struct kveil_result result;

	kveil_engine_run(e, &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		check(result.output_count == 0 && result.error.status != KVEIL_E_INTERNAL);
		return result.error.status;
	}
	*ret = result.outputs[0].record.value;
	return KVEIL_OK;
}

static void write_escaped(struct kveil_buf *out, struct kveil_span text)
{
	kveil_buf_append_byte(out, '"');
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] < 0x80)
			kveil_buf_printf(out, "\\u%04x", text.data[i]);
		else
			kveil_buf_append_byte(out, text.data[i]);
	}
	kveil_buf_append_byte(out, '"');
}

/* Is the record around as it was, and the text in it what it should be? */
static void compare(struct kveil_span out, struct kveil_span want)
{
	static const struct kveil_span head = KVEIL_SPAN("{\"a\":1,\"p\":"), tail = KVEIL_SPAN(", \"b\":[{\"c\":1}]}");
	struct kveil_arena arena;

	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 24, .max_depth = 200, .want_doc = true};
	struct kveil_span text;
	check(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, out, NULL) == KVEIL_OK);
	check(out.len > head.len + tail.len && memcmp(out.data, head.data, head.len) == 0);
	check(memcmp(out.data + out.len - tail.len, tail.data, tail.len) == 0);
	check(kveil_doc_text(&s.doc, 2, &arena, &text) == KVEIL_OK && kveil_span_eq(text, want));
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

static bool is_text(struct kveil_span value)
{
	size_t i = 0;

	while (i < value.len && memchr(" \t\r\n", value.data[i], 4))
		i++;
	return i == value.len || value.data[i] == '"';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_engine *inner, *outer, *any;
	struct kveil_span value = {data, size}, alone, out;

	if (!inner) {
		struct kveil_keystore *ks;
		struct kveil_keyring *ring;
		check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, NULL) == KVEIL_OK);
		check(kveil_keyring_new(ks, &ring, NULL) == KVEIL_OK);
		inner = make_engine(ring, inner_rules);
		outer = make_engine(ring, outer_rules);
		any = make_engine(ring, any_rules);
	}
	if (run(any, value, &out) == KVEIL_OK) {
		struct kveil_span again;
		enum kveil_status st = run(inner, out, &again);
		check(st == KVEIL_OK || st == KVEIL_E_UNSUPPORTED_KIND || st == KVEIL_E_TOO_COMPLEX);
	}
	if (size > 4096 || is_text(value))
		return 0;
	enum kveil_status st = run(inner, value, &alone);
	for (int spelling = 0; spelling < 2; spelling++) {
		KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
		kveil_buf_append_str(&text, "{\"a\":1,\"p\":");
		if (spelling)
			write_escaped(&text, value);
		else
			kveil_json_write_text(&text, value);
		kveil_buf_append_str(&text, ", \"b\":[{\"c\":1}]}");
		enum kveil_status inside = run(outer, kveil_buf_span(&text), &out);
		check((st == KVEIL_OK) == (inside == KVEIL_OK));
		if (!st)
			compare(out, alone);
	}
	return 0;
}

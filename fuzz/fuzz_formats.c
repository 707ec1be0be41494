/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as values of the formats that are not a JSON document. A line of `jsonl` comes to what the line alone comes to
 * as `json`; a text and bytes come to what the rule writes, whatever they are.
 */
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char of_lines[] =
    "name: f\ntopics: [in]\noutput: out\nformat: jsonl\nunmatched: remove\nclear: [$.c]\nfields:\n"
    "  - {path: $..a, when: \"$.b != 1\", nullify: true}\n";
static const char of_json[] =
    "name: f\ntopics: [in]\noutput: out\nformat: json\nunmatched: remove\nclear: [$.c]\nfields:\n"
    "  - {path: $..a, when: \"$.b != 1\", nullify: true}\n";
static const char of_text[] = "name: f\ntopics: [in]\noutput: out\nformat: text\nfields:\n"
			      "  - {path: $, when: \"length(@) > 2\", replace: {with: x}}\n";
static const char of_bytes[] = "name: f\ntopics: [in]\noutput: out\nformat: bytes\nfields:\n"
			       "  - {path: $, replace: {with: x}}\n";

static void check(bool fact)
{
	if (!fact)
		abort();
}

static struct kveil_engine *make_engine(struct kveil_keyring *ring, const char *yaml)
{
	struct kveil_report report = {0};
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml), "f.yaml", NULL, &report);
	struct kveil_engine *e = NULL;

	check(plan && kveil_engine_new(plan, ring, NULL, &e, NULL) == KVEIL_OK);
	kveil_report_clear(&report);
	return e;
}

static enum kveil_status run(struct kveil_engine *e, struct kveil_span value, struct kveil_span *ret)
{
	struct kveil_record record = {.value = value};
	struct kveil_result result;

	kveil_engine_run(e, &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		check(result.output_count == 0);
		return result.error.status;
	}
	*ret = result.outputs[0].record.value;
	return KVEIL_OK;
}

static bool is_blank(struct kveil_span line)
{
	for (size_t i = 0; i < line.len; i++)
		if (!memchr(" \t\r", line.data[i], 3))
			return false;
	return true;
}

static void compare_lines(struct kveil_engine *json, struct kveil_span in, struct kveil_span out, bool is_ok)
{
	bool all_ok = true;
	size_t to = 0;

	for (size_t at = 0; at < in.len;) {
		const uint8_t *end = memchr(in.data + at, '\n', in.len - at);
		struct kveil_span line = {in.data + at, end ? (size_t)(end - in.data) - at : in.len - at}, alone = line;
		/* A line has no id of a schema in front, as a value may. */
		if (!is_blank(line))
			all_ok &= line.data[0] && run(json, line, &alone) == KVEIL_OK;
		check(!is_ok || (all_ok && alone.len <= out.len - to &&
				 (!alone.len || memcmp(out.data + to, alone.data, alone.len) == 0)));
		to += alone.len;
		if (end && is_ok)
			check(to < out.len && out.data[to++] == '\n');
		at += line.len + 1;
	}
	check(all_ok == is_ok && (!is_ok || to == out.len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_engine *lines, *json, *text, *bytes;
	struct kveil_span value = {data, size}, out;

	if (!lines) {
		struct kveil_keystore *ks;
		struct kveil_keyring *ring;
		check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, NULL) == KVEIL_OK);
		check(kveil_keyring_new(ks, &ring, NULL) == KVEIL_OK);
		lines = make_engine(ring, of_lines);
		json = make_engine(ring, of_json);
		text = make_engine(ring, of_text);
		bytes = make_engine(ring, of_bytes);
	}
	if (!data)
		return 0;
	if (size < 1 << 16) {
		enum kveil_status st = run(lines, value, &out);
		compare_lines(json, value, out, st == KVEIL_OK);
	}
	if (run(text, value, &out) == KVEIL_OK)
		check(kveil_span_eq(out, value) ? size <= 8 : kveil_span_eq(out, KVEIL_SPAN("x")));
	check(run(bytes, value, &out) == KVEIL_OK && kveil_span_eq(out, KVEIL_SPAN("x")));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as JSON within a text within a record: spelled as a text in two ways, the second with every character escaped.
 * What a rule does in there is what it does to the bytes as a record of their own; around it nothing changes. The same
 * bytes as a whole record, for the paths that lead to texts; and as MongoDB's documents, whose names may be paths.
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

static const char event_rules[] =
    HEAD "envelope: debezium\nfields:\n  - {path: $..a, nullify: true, on_key: any}\n"
	 "  - {path: \"$.b[*].c\", when: \"$.d != 1\", replace: {with: x}, on_key: any}\n";

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

/* Is it a, or a part of it where that may be a path? */
static bool names_a(struct kveil_span name, bool is_dotted)
{
	bool is = name.len == 1 && name.data[0] == 'a';

	for (size_t i = 0; is_dotted && i < name.len; i++)
		is |= name.data[i] == 'a' && (i == 0 || name.data[i - 1] == '.') &&
		      (i + 1 == name.len || name.data[i + 1] == '.');
	return is;
}

/* Nothing but null is left at $..a of a text, however its members spell that. */
static void check_nulls(const struct kveil_doc *around, uint32_t node, bool is_dotted, struct kveil_arena *arena)
{
	struct kveil_scan s = {.arena = arena, .max_bytes = 1 << 24, .max_depth = 200, .want_doc = true};
	struct kveil_span text, name;

	check(kveil_doc_text(around, node, arena, &text) == KVEIL_OK);
	if (kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, text, NULL) == KVEIL_OK)
		for (uint32_t i = 1; i < s.doc.count; i++) {
			const struct kveil_doc_node *n = &s.doc.nodes[i];
			uint8_t plain[4096];
			if (!n->name_end || n->name_end - n->name_start > sizeof plain)
				continue;
			name = kveil_span_of(s.doc.text.data + n->name_start + 1, n->name_end - n->name_start - 2);
			name = kveil_span_of(plain, kveil_json_unescape(name, plain));
			check(!names_a(name, is_dotted && n->parent == 0) || n->kind == KVEIL_KIND_NULL);
		}
	kveil_scan_clear(&s);
}

/* The bytes as a key's id. */
static void run_key(struct kveil_engine *e, struct kveil_span value)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_record record = {0};
	struct kveil_result result;
	struct kveil_arena arena;

	kveil_buf_append_str(&text, "{\"id\":");
	kveil_json_write_text(&text, value);
	kveil_buf_append_byte(&text, '}');
	record.key = kveil_buf_span(&text);
	kveil_engine_run(e, &record, &result);
	check(result.verdict == KVEIL_PRODUCE || result.error.status != KVEIL_E_INTERNAL);
	if (result.verdict != KVEIL_PRODUCE)
		return;
	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 24, .max_depth = 200, .want_doc = true};
	check(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, result.outputs[0].record.key, NULL) == KVEIL_OK);
	check_nulls(&s.doc, 1, false, &arena);
	kveil_scan_clear(&s);
	kveil_arena_clear(&arena);
}

/* The bytes as a document, and as what changed of it. */
static void run_event(struct kveil_engine *e, struct kveil_span value)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_span out;
	struct kveil_arena arena;

	kveil_buf_append_str(&text, "{\"op\":\"u\",\"after\":");
	kveil_json_write_text(&text, value);
	kveil_buf_append_str(&text, ",\"updateDescription\":{\"updatedFields\":");
	write_escaped(&text, value);
	kveil_buf_append_str(&text, "}}");
	if (run(e, kveil_buf_span(&text), &out) != KVEIL_OK)
		return;
	kveil_arena_init(&arena, 1 << 20);
	struct kveil_scan s = {.arena = &arena, .max_bytes = 1 << 24, .max_depth = 200, .want_doc = true};
	check(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, out, NULL) == KVEIL_OK);
	check_nulls(&s.doc, 2, false, &arena);
	check_nulls(&s.doc, 4, true, &arena);
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
	static struct kveil_engine *inner, *outer, *any, *event;
	struct kveil_span value = {data, size}, alone, out;

	if (!inner) {
		struct kveil_keystore *ks;
		struct kveil_keyring *ring;
		check(kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, NULL) == KVEIL_OK);
		check(kveil_keyring_new(ks, &ring, NULL) == KVEIL_OK);
		inner = make_engine(ring, inner_rules);
		outer = make_engine(ring, outer_rules);
		any = make_engine(ring, any_rules);
		event = make_engine(ring, event_rules);
	}
	if (run(any, value, &out) == KVEIL_OK) {
		struct kveil_span again;
		enum kveil_status st = run(inner, out, &again);
		check(st == KVEIL_OK || st == KVEIL_E_UNSUPPORTED_KIND || st == KVEIL_E_TOO_COMPLEX);
	}
	if (size > 4096)
		return 0;
	run_event(event, value);
	run_key(event, value);
	if (is_text(value))
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

/* SPDX-License-Identifier: Apache-2.0 */
/* Values that name their schema: which one, what they come out with, and what is not a frame of ours. */
#include "kveil/engine.h"
#include "rules/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define RULES   "name: t\ntopics: [in]\nformat: avro\nfields:\n  - {path: $.a, mask: {}}\n"
#define REC(t)  "{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":" t "}]}"
#define ID      "__value_schema_id"
#define GUID    "00112233445566778899aabbccddeeff"
#define NEW     "ffeeddccbbaa99887766554433221100"
#define MOST    4   /* headers */
#define NO_TEXT "-" /* null */

struct rig {
	struct kveil_plan *plan;
	struct kveil_keystore *keystore;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_engine_schemas *schemas;
};

static size_t from_hex(const char *hex, uint8_t *dst)
{
	size_t n = 0;
	unsigned byte;

	for (; *hex && sscanf(hex, "%2x", &byte) == 1; hex += 2)
		dst[n++] = (uint8_t)byte;
	return n;
}

static struct kveil_schema_id id_of(const char *hex)
{
	struct kveil_schema_id id = {.is_guid = strlen(hex) == 32};

	if (id.is_guid)
		from_hex(hex, id.guid);
	else
		id.id = (uint32_t)strtoul(hex, NULL, 16);
	return id;
}

static void add(struct rig *r, const char *writer, const char *text, const char *derived)
{
	struct kveil_schema_id from = id_of(writer), to = id_of(derived);
	struct kveil_engine_schema *s;
	struct kveil_error err;

	assert_int_equal(kveil_engine_schema_new(r->engine, kveil_span_str(text), &s, &err), KVEIL_OK);
	assert_int_equal(kveil_engine_schemas_add(r->schemas, &from, s, &to, &err), KVEIL_OK);
}

static void rig_of(struct rig *r, const char *rules)
{
	struct kveil_report report = {0};
	struct kveil_error err;

	*r = (struct rig){.plan = kveil_plan_parse(kveil_span_str(rules), "t.yaml", NULL, &report)};
	assert_non_null(r->plan);
	kveil_report_clear(&report);
	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("seed"), &r->keystore, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(r->keystore, &r->ring, &err), KVEIL_OK);
	assert_int_equal(kveil_engine_new(r->plan, r->ring, NULL, &r->engine, &err), KVEIL_OK);
	r->schemas = kveil_engine_schemas_new();
	assert_non_null(r->schemas);
	kveil_engine_use_schemas(r->engine, r->schemas);
}

static void rig_init(struct rig *r)
{
	rig_of(r, RULES);
}

static void rig_clear(struct rig *r)
{
	kveil_engine_schemas_free(r->schemas);
	kveil_engine_free(r->engine);
	kveil_keyring_free(r->ring);
	kveil_keystore_unref(r->keystore);
	kveil_plan_unref(r->plan);
}

static void show(char *at, struct kveil_span s)
{
	if (!s.data)
		strcpy(at, NO_TEXT);
	else
		*at = 0;
	for (size_t i = 0; i < s.len; i++)
		sprintf(at + 2 * i, "%02x", s.data[i]);
}

struct row {
	const char *value, *headers[MOST]; /* of the schema's id, in hexadecimal */
	const char *out, *out_headers[MOST];
};

/* Value and headers as they come out, or the code and byte. */
static void check(struct rig *r, const struct row *row)
{
	uint8_t bytes[64], texts[MOST][32];
	struct kveil_header headers[MOST + 1];
	struct kveil_record record = {.headers = headers, .header_count = 1};
	struct kveil_result result;
	char shown[256];
	size_t n = from_hex(row->value, bytes);
	uint8_t *exact = malloc(n + !n); /* so that the sanitizers see a read past the end */

	memcpy(exact, bytes, n);
	record.value = strcmp(row->value, NO_TEXT) != 0 ? kveil_span_of(exact, n) : KVEIL_SPAN_NULL;
	headers[0] = (struct kveil_header){KVEIL_SPAN("other"), KVEIL_SPAN("x")};
	for (size_t i = 0; i < MOST && row->headers[i]; i++) {
		bool is_null = strcmp(row->headers[i], NO_TEXT) == 0;
		size_t len = from_hex(row->headers[i], texts[i]);
		headers[record.header_count++] =
		    (struct kveil_header){KVEIL_SPAN(ID), is_null ? KVEIL_SPAN_NULL : kveil_span_of(texts[i], len)};
	}
	kveil_engine_run(r->engine, &record, &result);
	if (result.verdict == KVEIL_PRODUCE) {
		const struct kveil_record *out = &result.outputs[0].record;
		show(shown, out->value);
		assert_string_equal(shown, row->out);
		assert_int_equal(out->header_count, record.header_count);
		assert_true(kveil_span_eq(out->headers[0].name, KVEIL_SPAN("other")));
		for (size_t i = 1; i < out->header_count; i++) {
			show(shown, out->headers[i].value);
			assert_string_equal(shown, row->out_headers[i - 1]);
		}
	} else {
		assert_null(result.outputs);
		snprintf(shown, sizeof shown, "%s", kveil_status_code(result.error.status));
		if (result.error.byte != KVEIL_NO_BYTE)
			snprintf(shown + strlen(shown), 24, "@%zu", result.error.byte);
		assert_string_equal(shown, row->out);
	}
	free(exact);
}

static void test_frames(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    /* in front: the derived schema's id takes the place of the writer's */
	    {"0000000007046162", {0}, "0000000107042a2a", {0}},
	    /* the other version, in which nothing changes but the id; and one where it does not either */
	    {"000000000800", {0}, "000000000900", {0}},
	    {"000000000a00", {0}, "000000000a00", {0}},
	    {"01" GUID "046162", {0}, "01" NEW "042a2a", {0}},
	    /* in a header */
	    {"046162", {"0000000007"}, "042a2a", {"0000000107"}},
	    {"00", {"0000000008"}, "00", {"0000000009"}},
	    {"046162", {"01" GUID}, "042a2a", {"01" NEW}},
	    /* the last one has the say, and none is left that names the writer's */
	    {"046162", {"0000000008", "0000000007"}, "042a2a", {"0000000107", "0000000107"}},
	    {"046162", {"-", "0000000007"}, "042a2a", {"-", "0000000107"}},
	    {"0000000007046162", {"0000000008", "-"}, "0000000107042a2a", {"0000000107", "-"}},
	    {"0000000007046162", {"-"}, "0000000107042a2a", {"-"}},
	    /* no value, no schema */
	    {"-", {"0000000007"}, "-", {"0000000007"}},
	    /* not known yet, and refused */
	    {"0000000063046162", {0}, "schema_pending", {0}},
	    {"0000000064046162", {0}, "unknown_schema", {0}},
	    /* positions are those in the record's value */
	    {"0000000007086162", {0}, "invalid_avro@5", {0}},
	    {"0000000007", {0}, "invalid_avro@5", {0}},
	    {"086162", {"0000000007"}, "invalid_avro@0", {0}},
	    /* no frame, or another one */
	    {"", {0}, "unsupported_framing@0", {0}},
	    {"00", {0}, "unsupported_framing@0", {0}},
	    {"00000000", {0}, "unsupported_framing@0", {0}},
	    {"046162", {0}, "unsupported_framing@0", {0}},
	    {"c301aabbccddeeff0011046162", {0}, "unsupported_framing@0", {0}},
	    {"0300" GUID "046162", {0}, "unsupported_framing@0", {0}},
	    {"7b7d", {0}, "unsupported_framing@0", {0}},
	    {"0000000007046162", {""}, "unsupported_framing@0", {0}},
	    {"0000000007046162", {"0000000007ff"}, "unsupported_framing@0", {0}},
	    {"0000000007046162", {"000007"}, "unsupported_framing@0", {0}},
	    {"0000000007046162", {"0200000007"}, "unsupported_framing@0", {0}},
	    {"0000000007046162", {"01" GUID "00"}, "unsupported_framing@0", {0}},
	};
	struct kveil_error why, err;
	struct kveil_schema_id id = id_of("64"), wanted;
	struct rig r;

	rig_init(&r);
	add(&r, "7", REC("\"string\""), "107");
	add(&r, "8", REC("[\"null\",\"string\"]"), "9");
	add(&r, "a", REC("[\"null\",\"string\"]"), "a");
	add(&r, GUID, REC("\"string\""), NEW);
	kveil_fail(&why, KVEIL_E_UNKNOWN_SCHEMA, "no");
	assert_int_equal(kveil_engine_schemas_refuse(r.schemas, &id, &why, &err), KVEIL_OK);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		check(&r, &rows[i]);
		if (strcmp(rows[i].out, "schema_pending") == 0) {
			assert_true(kveil_engine_wanted_schema(r.engine, &wanted));
			id = id_of("63");
			assert_true(kveil_schema_id_eq(&wanted, &id));
		}
	}
	rig_clear(&r);
}

/* Does the engine know the schema? What it is asked for counts as used. */
static bool knows(struct rig *r, uint32_t id)
{
	const uint8_t bytes[] = {0, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id, 2, 'a'};
	struct kveil_record record = {.value = kveil_span_of(bytes, sizeof bytes)};
	struct kveil_result result;

	kveil_engine_run(r->engine, &record, &result);
	if (result.verdict != KVEIL_PRODUCE && result.error.status != KVEIL_E_SCHEMA_PENDING &&
	    result.error.status != KVEIL_E_INVALID_AVRO && result.error.status != KVEIL_E_AVRO_SCHEMA)
		fail_msg("%s", result.error.message);
	return result.error.status != KVEIL_E_SCHEMA_PENDING || result.verdict == KVEIL_PRODUCE;
}

static void add_number(struct rig *r, uint32_t number, struct kveil_span text)
{
	const struct kveil_schema_id id = {.id = number};
	struct kveil_engine_schema *s;
	struct kveil_error err;

	assert_int_equal(kveil_engine_schema_new(r->engine, text, &s, &err), KVEIL_OK);
	assert_int_equal(kveil_engine_schemas_add(r->schemas, &id, s, &id, &err), KVEIL_OK);
}

/* Producers may name ids without end: those used longest ago go. */
static void test_known_are_bounded(void **state)
{
	(void)state;
	enum { COUNT = 512, MORE = 40, OFTEN = 5000, REFUSED = 6000 };
	struct kveil_error why, err;
	struct rig r;
	size_t known = 0;

	rig_init(&r);
	add_number(&r, OFTEN, KVEIL_SPAN(REC("\"string\"")));
	for (uint32_t i = 0; i < COUNT + MORE; i++) {
		add_number(&r, i, KVEIL_SPAN(REC("\"string\"")));
		assert_true(knows(&r, i));
		assert_true(knows(&r, OFTEN));
	}
	for (uint32_t i = 0; i < COUNT + MORE; i++)
		known += knows(&r, i);
	assert_int_equal(known, COUNT - 1);
	assert_true(!knows(&r, 0) && !knows(&r, MORE));
	assert_true(knows(&r, MORE + 1) && knows(&r, COUNT + MORE - 1));
	/* one that went comes back */
	assert_true(knows(&r, OFTEN));
	add_number(&r, 0, KVEIL_SPAN(REC("\"string\"")));
	assert_true(knows(&r, 0));
	/* and what is refused counts */
	kveil_fail(&why, KVEIL_E_AVRO_SCHEMA, "no");
	for (uint32_t i = 0; i < 2 * COUNT; i++) {
		const struct kveil_schema_id id = {.id = REFUSED + i};
		assert_int_equal(kveil_engine_schemas_refuse(r.schemas, &id, &why, &err), KVEIL_OK);
		assert_true(knows(&r, OFTEN));
	}
	known = 0;
	for (uint32_t i = 0; i < REFUSED + 2 * COUNT; i++)
		known += knows(&r, i);
	assert_int_equal(known, COUNT);
	rig_clear(&r);
}

/* Or name a few that are large. */
static void test_large_ones_are_bounded(void **state)
{
	(void)state;
	enum { FIELDS = 2000, COUNT = 40 };
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct rig r;
	uint32_t known = 0;

	rig_init(&r);
	kveil_buf_append_str(&text,
			     "{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"string\"}");
	for (int i = 0; i < FIELDS; i++)
		kveil_buf_printf(&text, ",{\"name\":\"a_column_%d\",\"type\":[\"null\",\"string\"],\"default\":null}",
				 i);
	kveil_buf_append_str(&text, "]}");
	for (uint32_t i = 0; i < COUNT; i++) {
		add_number(&r, i, kveil_buf_span(&text));
		assert_true(knows(&r, i));
	}
	for (uint32_t i = 0; i < COUNT; i++)
		known += knows(&r, i);
	if (known < 10 || known > 20) /* of 4 MB */
		fail_msg("%u are known", known);
	assert_true(knows(&r, COUNT - 1) && knows(&r, COUNT - 10));
	rig_clear(&r);
}

#define KEY_RULES                                                                                                      \
	"name: t\ntopics: [in]\nformat: avro\nenvelope: debezium\nfields:\n  - {path: $.a, tokenize: {key: ids}}\n"
#define OTHER "{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"b\",\"type\":\"string\"}]}"

static void add_key(struct rig *r, struct kveil_engine_schemas *table, uint32_t writer, const char *text,
		    uint32_t derived)
{
	struct kveil_schema_id from = {.id = writer}, to = {.id = derived};
	struct kveil_engine_schema *s;
	struct kveil_error err;

	assert_int_equal(kveil_engine_key_schema_new(r->engine, kveil_span_str(text), &s, &err), KVEIL_OK);
	assert_int_equal(kveil_engine_schema_is_untouched(s), writer == derived);
	assert_int_equal(kveil_engine_schemas_add(table, &from, s, &to, &err), KVEIL_OK);
}

/* The key's bytes in hexadecimal, "-" for null, or the code. The value is a tombstone, or is the key again. */
static void check_key(struct rig *r, const char *in, const char *id, bool has_value, const char *want)
{
	uint8_t bytes[64], id_bytes[32];
	struct kveil_header headers[] = {{KVEIL_SPAN("__key_schema_id"), KVEIL_SPAN_NULL},
					 {KVEIL_SPAN("__debezium.newkey"), KVEIL_SPAN("{\"a\":\"CANARY\"}")},
					 {KVEIL_SPAN("other"), KVEIL_SPAN("x")}};
	struct kveil_record record = {.headers = headers, .header_count = 3};
	struct kveil_result result;
	char shown[256];

	record.key = kveil_span_of(bytes, from_hex(in, bytes));
	if (has_value)
		record.value = record.key;
	if (id)
		headers[0].value = kveil_span_of(id_bytes, from_hex(id, id_bytes));
	kveil_engine_run(r->engine, &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		assert_null(result.outputs);
		assert_string_equal(kveil_status_code(result.error.status), want);
		return;
	}
	const struct kveil_record *out = &result.outputs[0].record;
	show(shown, out->key);
	if (strncmp(shown, want, strlen(want)) != 0 || strstr(shown, "616263"))
		fail_msg("%s: %s, not %s", in, shown, want);
	/* What nobody can read as a key in Avro is left out. */
	assert_int_equal(out->header_count, 2);
	show(shown, out->headers[0].value);
	assert_string_equal(shown, id ? "0000000107" : NO_TEXT);
	assert_true(kveil_span_eq(out->headers[1].name, KVEIL_SPAN("other")));
}

static void test_keys(void **state)
{
	(void)state;
	struct kveil_engine_schemas *keys = kveil_engine_schemas_new();
	struct kveil_schema_id wanted;
	struct rig r;

	rig_of(&r, KEY_RULES);
	kveil_engine_use_key_schemas(r.engine, keys);
	add(&r, "7", REC("\"string\""), "207");
	add_key(&r, keys, 7, REC("\"string\""), 0x107);
	add_key(&r, keys, 8, OTHER, 8);
	check_key(&r, "000000000706616263", NULL, false, "0000000107");
	check_key(&r, "06616263", "0000000007", false, "");
	check_key(&r, "000000000706616263", NULL, true, "0000000107");
	/* in which no rule finds anything */
	check_key(&r, "000000000806646566", NULL, false, "000000000806646566");
	check_key(&r, "000000000806", NULL, false, "invalid_avro");
	/* that says no schema */
	check_key(&r, "06616263", NULL, false, "unsupported_framing");
	check_key(&r, "7b2261223a226162632263", NULL, false, "unsupported_framing");
	check_key(&r, "000000006306616263", NULL, false, "schema_pending");
	assert_true(kveil_engine_wanted_schema(r.engine, &wanted) && wanted.id == 0x63);
	assert_true(kveil_engine_wants_key_schema(r.engine));
	check_key(&r, "000000006406616263", NULL, true, "schema_pending");
	assert_true(kveil_engine_wanted_schema(r.engine, &wanted) && wanted.id == 0x64);
	assert_false(kveil_engine_wants_key_schema(r.engine));
	kveil_engine_schemas_free(keys);
	rig_clear(&r);
}

/* Many schemas, each with the rules' result of its own, and one that takes the place of another. */
static void test_many(void **state)
{
	(void)state;
	struct rig r;
	char writer[16], derived[16], value[32], out[32];

	rig_init(&r);
	for (unsigned i = 1; i <= 300; i++) {
		snprintf(writer, sizeof writer, "%x", i * 7919);
		snprintf(derived, sizeof derived, "%x", i);
		add(&r, writer, REC("\"string\""), i % 3 ? derived : "ffff");
		if (i % 3 == 0)
			add(&r, writer, REC("\"string\""), derived);
	}
	for (unsigned i = 300; i; i--) {
		snprintf(value, sizeof value, "00%08x0261", i * 7919);
		snprintf(out, sizeof out, "00%08x022a", i);
		check(&r, &(struct row){value, {0}, out, {0}});
	}
	rig_clear(&r);
}

/* --- JSON that names a JSON Schema: it goes on naming it, so every value keeps its type --- */

#define ON_TOP "name: t\ntopics: [in]\n"
#define JSON   ON_TOP "fields:\n"
#define FRAME  "\0\0\0\1\7"
enum { FRAME_BYTES = 5 };

struct json_row {
	const char *rules, *value, *out; /* what comes out: the code, where and whose where it fails */
};

/* Who names the schema: what stands in front of the value, or a header. */
enum named { BY_NONE, BY_FRAME, BY_HEADER };

/* Of each output: " | " between them. Bytes that no text has are written as \xNN. */
static void show_outputs(const struct kveil_result *result, bool is_key, char *shown, size_t size)
{
	size_t at = 0;

	*shown = 0;
	for (size_t v = 0; v < result->output_count; v++) {
		const struct kveil_record *r = &result->outputs[v].record;
		struct kveil_span out = is_key ? r->key : r->value;
		at += (size_t)snprintf(shown + at, size - at, "%s", v ? " | " : "");
		for (size_t i = 0; i < out.len; i++)
			at +=
			    (size_t)snprintf(shown + at, size - at, out.data[i] < 0x20 ? "\\x%02x" : "%c", out.data[i]);
	}
}

static void show_result(const struct kveil_result *result, bool is_key, char *shown, size_t size)
{
	if (result->verdict == KVEIL_PRODUCE) {
		show_outputs(result, is_key, shown, size);
		return;
	}
	assert_null(result->outputs);
	snprintf(shown, size, "%s", kveil_status_code(result->error.status));
	if (result->error.byte != KVEIL_NO_BYTE)
		snprintf(shown + strlen(shown), 24, "@%zu", result->error.byte);
	if (result->error.rule[0])
		snprintf(shown + strlen(shown), 128, " %s", result->error.rule + strlen("t/"));
}

static void run_json(const char *rules, struct kveil_span bytes, enum named by, bool is_key, char *shown, size_t size)
{
	struct kveil_header header = {kveil_span_str(is_key ? "__key_schema_id" : ID),
				      kveil_span_of(FRAME, FRAME_BYTES)};
	struct kveil_record record = {.headers = &header, .header_count = by == BY_HEADER};
	uint8_t *exact = malloc(bytes.len + !bytes.len);
	struct kveil_result result;
	struct rig r;

	memcpy(exact, bytes.data, bytes.len);
	record.value = is_key ? KVEIL_SPAN("{}") : kveil_span_of(exact, bytes.len);
	record.key = is_key ? kveil_span_of(exact, bytes.len) : KVEIL_SPAN_NULL;
	rig_of(&r, rules);
	kveil_engine_run(r.engine, &record, &result);
	show_result(&result, is_key, shown, size);
	if (result.verdict == KVEIL_PRODUCE && by == BY_HEADER)
		assert_true(kveil_span_eq(result.outputs[0].record.headers[0].value, header.value));
	rig_clear(&r);
	free(exact);
}

static void run_framed(const char *rules, const char *text, enum named by, bool is_key, char *shown, size_t size)
{
	uint8_t bytes[512] = FRAME;
	size_t front = by == BY_FRAME ? FRAME_BYTES : 0;

	memcpy(bytes + front, text, strlen(text));
	run_json(rules, kveil_span_of(bytes, front + strlen(text)), by, is_key, shown, size);
}

static const char *const shown_frame = "\\x00\\x00\\x00\\x01\\x07";

/* As by the header, with the frame in front, or the position behind it. */
static void behind_frame(const char *want, char *dst, size_t size)
{
	const char *at = strchr(want, '@'), *bar;
	bool fails = *want >= 'a' && *want <= 'z';
	char *rest;

	if (fails && at) {
		unsigned long byte = strtoul(at + 1, &rest, 10) + FRAME_BYTES;
		snprintf(dst, size, "%.*s@%lu%s", (int)(at - want), want, byte, rest);
		return;
	}
	if (fails) {
		snprintf(dst, size, "%s", want);
		return;
	}
	*dst = 0;
	for (; (bar = strstr(want, " | ")); want = bar + 3)
		snprintf(dst + strlen(dst), size - strlen(dst), "%s%.*s", shown_frame, (int)(bar + 3 - want), want);
	snprintf(dst + strlen(dst), size - strlen(dst), "%s%s", shown_frame, want);
}

static void check_json(const struct json_row *row, bool is_key)
{
	char shown[1024], want[1024];

	run_framed(row->rules, row->value, BY_HEADER, is_key, shown, sizeof shown);
	assert_string_equal(shown, row->out);
	behind_frame(row->out, want, sizeof want);
	run_framed(row->rules, row->value, BY_FRAME, is_key, shown, sizeof shown);
	assert_string_equal(shown, want);
}

#define FAILS "unsupported_framing"
#define ALL_KINDS                                                                                                      \
	"{\"s\":\"ab\",\"i\":12,\"n\":-1.5,\"b\":true,\"o\":{\"x\":\"y\"},\"a\":[\"z\",1],\"z\":null,\"e\":1e2}"

static void test_types_stay(void **state)
{
	(void)state;
	static const struct json_row rows[] = {
	    /* texts stay texts */
	    {JSON "  - {path: $.s, mask: {}}\n", "{\"s\":\"ab\",\"i\":12}", "{\"s\":\"**\",\"i\":12}"},
	    {JSON "  - {path: $.s, replace: {with: x}}\n", "{\"s\":\"ab\"}", "{\"s\":\"x\"}"},
	    {JSON "  - {path: [\"$.a[0]\"], mask: {}}\n  - {path: $.o.x, mask: {}}\n", ALL_KINDS,
	     "{\"s\":\"ab\",\"i\":12,\"n\":-1.5,\"b\":true,\"o\":{\"x\":\"*\"},\"a\":[\"*\",1],\"z\":null,\"e\":1e2}"},
	    {JSON "  - {path: $, mask: {}}\n", "\"ab\"", "\"**\""},
	    /* and so does everything else */
	    {JSON "  - {path: $.i, replace: {with: 0}}\n", ALL_KINDS,
	     "{\"s\":\"ab\",\"i\":0,\"n\":-1.5,\"b\":true,\"o\":{\"x\":\"y\"},\"a\":[\"z\",1],\"z\":null,\"e\":1e2}"},
	    {JSON "  - {path: \"$['n','e']\", replace: {with: 0}}\n", "{\"n\":-1.5,\"e\":1e2}", "{\"n\":0,\"e\":0}"},
	    {JSON "  - {path: $.n, replace: {with: 0.5}}\n", "{\"n\":-1.5}", "{\"n\":0.5}"},
	    {JSON "  - {path: $.b, replace: {with: false}}\n", "{\"b\":true}", "{\"b\":false}"},
	    {JSON "  - {path: \"$.*\", nullify: true}\n", "{\"z\":null}", "{\"z\":null}"},
	    {JSON "  - {path: $.z, nullify: true, on_null: transform}\n", "{\"z\":null}", "{\"z\":null}"},
	    /* nothing is found, or nothing applies */
	    {JSON "  - {path: $.q, remove: true}\n", ALL_KINDS, ALL_KINDS},
	    {JSON "  - {path: $.i, remove: true, when: \"@ == 13\"}\n", "{\"i\":12}", "{\"i\":12}"},
	    {JSON "  - {path: $.i, remove: true, when: \"@ == 12\"}\n", "{\"i\":12}", FAILS "@5 $.i"},
	    /* one kind after another */
	    {JSON "  - {path: $.i, mask: {}}\n", "{\"i\":12}", FAILS "@5 $.i"},
	    {JSON "  - {path: $.i, replace: {with: 0.5}}\n", "{\"i\":12}", FAILS "@5 $.i"},
	    {JSON "  - {path: $.i, replace: {with: 1e1}}\n", "{\"i\":12}", FAILS "@5 $.i"},
	    {JSON "  - {path: $.n, encrypt: {key: k, type: json}}\n", "{\"n\":1.5}", FAILS "@5 $.n"},
	    {JSON "  - {path: $.b, replace: {with: 0}}\n", "{\"b\":true}", FAILS "@5 $.b"},
	    {JSON "  - {path: $.s, replace: {with: 0}}\n", "{\"s\":\"ab\"}", FAILS "@5 $.s"},
	    {JSON "  - {path: $.s, nullify: true}\n", "{\"s\":\"ab\"}", FAILS "@5 $.s"},
	    {JSON "  - {path: $.s, remove: true}\n", "{\"s\":\"ab\"}", FAILS "@5 $.s"},
	    {JSON "  - {path: $.o, encrypt: {key: k, type: json}}\n", "{\"o\":{\"x\":1}}", FAILS "@5 $.o"},
	    {JSON "  - {path: $.a, encrypt: {key: k, type: json}}\n", "{\"a\":[]}", FAILS "@5 $.a"},
	    {JSON "  - {path: \"$.a[*]\", remove: true}\n", "{\"a\":[\"x\"]}", FAILS "@6 $.a[*]"},
	    {JSON "  - {path: $.o, nullify: true}\n", "{\"o\":{\"x\":1}}", FAILS "@5 $.o"},
	    {JSON "  - {path: $.z, replace: {with: x}, on_null: transform}\n", "{\"z\":null}", FAILS "@5 $.z"},
	    {JSON "  - {path: $, nullify: true}\n", "{\"z\":null}", FAILS "@0 $"},
	    /* one after another that is right */
	    {JSON "  - {path: $.s, mask: {}}\n  - {path: $.i, mask: {}}\n", "{\"s\":\"ab\",\"i\":12}", FAILS "@14 $.i"},
	    /* members that come and go */
	    {JSON "  - {path: $.s, mask: {}, to: $.t, keep_source: true}\n", "{\"s\":\"ab\"}", FAILS "@5 $.s"},
	    {JSON "  - {path: $.s, mask: {}, to: $.t}\n", "{\"s\":\"ab\",\"t\":\"\"}", FAILS "@5 $.s"},
	    {JSON "  - {path: $.s, mask: {}, to: $.t, keep_source: true}\n  - {path: $.s, replace: {with: x}}\n",
	     "{\"s\":\"ab\",\"t\":\"\"}", "{\"s\":\"x\",\"t\":\"**\"}"},
	    {JSON "  - {path: $.s, mask: {}, to: $.t, keep_source: true}\n", "{\"s\":\"ab\",\"t\":0}", FAILS "@14 $.s"},
	    {ON_TOP "unmatched: remove\nfields:\n  - {path: $.s, mask: {}}\n", "{\"s\":\"ab\"}", "{\"s\":\"**\"}"},
	    {ON_TOP "unmatched: remove\nfields:\n  - {path: $.s, mask: {}}\n", "{\"s\":\"ab\",\"i\":1}", FAILS "@10"},
	    /* what a text holds is nothing that a schema knows of */
	    {JSON "  - {path: [$.s, $.i], remove: true}\n", "{\"s\":\"{\\\"i\\\":1}\"}", "{\"s\":\"{}\"}"},
	    {JSON "  - {path: [$.s, $.i], mask: {}, to: [$.s, $.j]}\n", "{\"s\":\"{\\\"i\\\":1}\"}",
	     "{\"s\":\"{\\\"j\\\":\\\"*\\\"}\"}"},
	    {JSON "  - {path: [$.s, $.i], remove: true}\n  - {path: $.i, remove: true}\n",
	     "{\"s\":\"{\\\"i\\\":1}\",\"i\":1}", FAILS "@21 $.i"},
	    /* one of the outputs would change a type */
	    {JSON "  - {path: $.s, mask: {}}\noutputs:\n  - {name: one, topic: one, clear: [$.i]}\n"
		  "  - {name: two, topic: two, fields: [{path: $.i, replace: {with: 0}}]}\n",
	     "{\"s\":\"ab\",\"i\":1}", "{\"s\":\"**\",\"i\":1} | {\"s\":\"**\",\"i\":0}"},
	    {JSON "  - {path: $.s, mask: {}}\noutputs:\n  - {name: one, topic: one, clear: [$.i]}\n"
		  "  - {name: two, topic: two, fields: [{path: $.i, remove: true}]}\n",
	     "{\"s\":\"ab\",\"i\":1}", FAILS "@14 two/$.i"},
	    /* what rules read is the JSON alone */
	    {JSON "  - {path: $.s, mask: {}, when: \"$.i == 1\"}\n", "{\"s\":\"ab\",\"i\":1}",
	     "{\"s\":\"**\",\"i\":1}"},
	    {JSON "  - {path: $.q, mask: {}, required: true}\n", "{\"s\":\"ab\"}", "missing_field $.q"},
	    /* positions count from the value's first byte */
	    {JSON "  - {path: $.s, mask: {}}\n", "{\"s\":\"ab\",}", "invalid_json@10"},
	    {JSON "  - {path: $.s, mask: {}}\n", "{\"s\":\"ab\"} x", "invalid_json@11"},
	    {JSON "  - {path: $.s, mask: {}}\n", "trouble", "invalid_json@2"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check_json(&rows[i], false);
}

/* Of events: every row, and what stands around them. */
static void test_events_keep_types(void **state)
{
	(void)state;
#define EVENT      ON_TOP "envelope: debezium\n"
#define BOTH(a, b) "{\"before\":{\"id\":1,\"a\":" a "},\"after\":{\"id\":1,\"a\":" b "},\"op\":\"u\"}"
	static const struct json_row rows[] = {
	    {EVENT "fields:\n  - {path: $.a, mask: {}}\n", BOTH("\"x\"", "\"yy\""), BOTH("\"*\"", "\"**\"")},
	    {EVENT "fields:\n  - {path: $.a, mask: {}}\n", BOTH("null", "\"yy\""), BOTH("null", "\"**\"")},
	    {EVENT "fields:\n  - {path: $.a, mask: {}}\n", BOTH("\"x\"", "7"), FAILS "@47 $.a"},
	    {EVENT "unmatched: remove\nfields:\n  - {path: $.a, mask: {}}\n", BOTH("\"x\"", "\"yy\""), FAILS "@53"},
	    {EVENT "fields:\n  - {path: $.a, mask: {}}\n", "[]", "unsupported_envelope@0"},
	    {EVENT "fields:\n  - {path: $.a, mask: {}}\n", "{\"schema\":null,\"payload\":" BOTH("\"x\"", "null") "}",
	     "{\"schema\":null,\"payload\":" BOTH("\"*\"", "null") "}"},
	    /* with a schema of its own that says types */
	    {EVENT "fields:\n  - {path: $.a, mask: {}}\n",
	     "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"field\":\"a\",\"type\":\"string\"}],\"optional\":false},"
	     "\"payload\":{\"a\":\"x\"}}",
	     FAILS "@0"},
	    {ON_TOP "envelope: {kind: debezium, control: drop}\nfields:\n  - {path: $.a, mask: {}}\n", "{\"ts_ms\":1}",
	     "control_record"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check_json(&rows[i], false);
}

static void test_keys_keep_types(void **state)
{
	(void)state;
#define KEYS ON_TOP "format: {value: json, key: json}\nfields:\n"
	static const struct json_row rows[] = {
	    {KEYS "  - {path: \"key:$.a\", mask: {}}\n", "{\"a\":\"x\"}", "{\"a\":\"*\"}"},
	    {KEYS "  - {path: \"key:$.a\", mask: {}}\n", "{\"a\":12}", FAILS "@5 key:$.a"},
	    {KEYS "  - {path: \"key:$.a\", remove: true}\n", "{\"a\":\"x\"}", FAILS "@5 key:$.a"},
	    {KEYS "  - {path: \"key:$.a\", mask: {}}\n", "{\"a\":\"x\"", "invalid_json@8"},
	    {EVENT "fields:\n  - {path: $.a, hash: {key: k}, on_key: any}\n", "{\"a\":12}", FAILS "@5 $.a"},
	    {EVENT "fields:\n  - {path: $.a, hash: {key: k}}\n", "[1]", "key_column@0"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check_json(&rows[i], true);
}

static void test_key_headers_keep_types(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
		size_t front;
	} rows[] = {
	    {"{\"a\":\"x\"}", "{\"a\":\"*\"}", FRAME_BYTES},
	    {"{\"a\":1}", FAILS, FRAME_BYTES},
	    {"{\"a\":1}", "{\"a\":\"*\"}", 0},
	    /* what cannot be read goes */
	    {"{\"a\"", NULL, FRAME_BYTES},
	};
	struct rig r;

	rig_of(&r, EVENT "fields:\n  - {path: $.a, mask: {}, on_key: any}\n");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t bytes[64] = FRAME;
		size_t n = strlen(rows[i].in);
		memcpy(bytes + rows[i].front, rows[i].in, n);
		struct kveil_header h = {KVEIL_SPAN("__debezium.newkey"), kveil_span_of(bytes, rows[i].front + n)};
		struct kveil_record record = {.key = KVEIL_SPAN("{\"a\":\"x\"}"), .headers = &h, .header_count = 1};
		struct kveil_result result;
		kveil_engine_run(r.engine, &record, &result);
		if (result.verdict != KVEIL_PRODUCE) {
			assert_string_equal(kveil_status_code(result.error.status), rows[i].out);
			assert_int_equal(result.error.byte, rows[i].front + 5);
			continue;
		}
		const struct kveil_record *out = &result.outputs[0].record;
		assert_int_equal(out->header_count, rows[i].out != NULL);
		if (!rows[i].out)
			continue;
		assert_memory_equal(out->headers[0].value.data, bytes, rows[i].front);
		assert_int_equal(out->headers[0].value.len, rows[i].front + strlen(rows[i].out));
		assert_memory_equal(out->headers[0].value.data + rows[i].front, rows[i].out, strlen(rows[i].out));
	}
	rig_clear(&r);
}

/* Bytes in front of what may be JSON, and headers. */
static void test_json_frames(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"00000000077b2261223a2262227d", {0}, "00000000077b2261223a222a227d", {0}},
	    {"00ffffffff7b2261223a2262227d", {0}, "00ffffffff7b2261223a222a227d", {0}},
	    {"00000000077b7d", {0}, "00000000077b7d", {0}},
	    {"00000000075b5d", {0}, "00000000075b5d", {0}},
	    {"0000000007226122", {0}, "0000000007226122", {0}},
	    {"00000000072d31", {0}, "00000000072d31", {0}},
	    {"00000000076e756c6c", {0}, "00000000076e756c6c", {0}},
	    {"7b7d", {0}, "7b7d", {0}},
	    /* neither one nor the other */
	    {"0000000007046162", {0}, "invalid_json@0", {0}},
	    {"00000000", {0}, "invalid_json@0", {0}},
	    {"0000000007", {0}, "invalid_json@0", {0}},
	    {"0000000007207b7d", {0}, "invalid_json@0", {0}},
	    {"00000000070000000007"
	     "7b7d",
	     {0},
	     "invalid_json@0",
	     {0}},
	    {"0100000007"
	     "7b7d",
	     {0},
	     "invalid_json@0",
	     {0}},
	    {"00000000077b7d00", {0}, "invalid_json@7", {0}},
	    {"00000000077b", {0}, "invalid_json@6", {0}},
	    {"01" GUID "7b7d", {0}, "invalid_json@0", {0}},
	    /* a number that would change, with and without a schema */
	    {"7b2261223a317d", {0}, "7b2261223a222a227d", {0}},
	    {"7b2261223a317d", {"0000000007"}, "unsupported_framing@5", {0}},
	    {"7b2261223a317d", {"01" GUID}, "unsupported_framing@5", {0}},
	    {"7b2261223a2262227d", {"01" GUID}, "7b2261223a222a227d", {"01" GUID}},
	    /* the last header has the say; null is none, and what holds no id is none of a serializer's */
	    {"7b2261223a317d", {"0000000007", "-"}, "7b2261223a222a227d", {"0000000007", "-"}},
	    {"7b2261223a317d", {"-", "0000000007"}, "unsupported_framing@5", {0}},
	    {"7b2261223a317d", {"00000007"}, "7b2261223a222a227d", {"00000007"}},
	    {"7b2261223a317d", {"0000000007ff"}, "7b2261223a222a227d", {"0000000007ff"}},
	    {"7b2261223a317d", {""}, "7b2261223a222a227d", {""}},
	    {"00000000077b2261223a317d", {"-"}, "unsupported_framing@10", {0}},
	    /* it says that no frame stands in front */
	    {"00000000077b7d", {"0000000008"}, "invalid_json@0", {0}},
	};
	struct rig r;

	rig_of(&r, JSON "  - {path: $.a, mask: {}}\n");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check(&r, &rows[i]);
	rig_clear(&r);
}

/* What holds for a key holds for nothing else. */
static void test_the_next_record_is_free(void **state)
{
	(void)state;
	struct kveil_record record = {.key = kveil_span_of(FRAME "{\"a\":\"x\"}", FRAME_BYTES + 9),
				      .value = KVEIL_SPAN("{\"a\":1}")};
	struct kveil_result result;
	struct rig r;

	rig_of(&r, ON_TOP "format: {value: jsonl, key: json}\nfields:\n  - {path: $.a, mask: {}}\n"
			  "  - {path: \"key:$.a\", mask: {}}\n");
	for (int i = 0; i < 2; i++) {
		kveil_engine_run(r.engine, &record, &result);
		assert_int_equal(result.verdict, KVEIL_PRODUCE);
		assert_true(kveil_span_eq(result.outputs[0].record.value, KVEIL_SPAN("{\"a\":\"*\"}")));
	}
	rig_clear(&r);
}

static void test_what_a_type_error_says(void **state)
{
	(void)state;
	static const struct json_row rows[] = {
	    {"mask: {}", "{\"a\":12}", "an integer would become a string, and the record names a JSON Schema"},
	    {"remove: true", "{\"a\":1.5}", "a number would be removed, and the record names a JSON Schema"},
	    {"nullify: true", "{\"a\":true}", "a boolean would become null, and the record names a JSON Schema"},
	    {"replace: {with: 1.5}", "{\"a\":7}",
	     "an integer would become a number, and the record names a JSON Schema"},
	    {"mask: {}, to: $.b, keep_source: true", "{\"a\":\"x\"}",
	     "a member would be added, and the record names a JSON Schema"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t bytes[64] = FRAME;
		char rules[256];
		struct kveil_record record;
		struct kveil_result result;
		struct rig r;
		memcpy(bytes + FRAME_BYTES, rows[i].value, strlen(rows[i].value));
		record = (struct kveil_record){.value = kveil_span_of(bytes, FRAME_BYTES + strlen(rows[i].value))};
		snprintf(rules, sizeof rules, JSON "  - {path: $.a, %s}\n", rows[i].rules);
		rig_of(&r, rules);
		kveil_engine_run(r.engine, &record, &result);
		assert_int_equal(result.verdict, KVEIL_DEAD_LETTER);
		assert_string_equal(result.error.message, rows[i].out);
		assert_true(result.error.hint[0]);
		rig_clear(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_frames),
	    cmocka_unit_test(test_known_are_bounded),
	    cmocka_unit_test(test_large_ones_are_bounded),
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_json_frames),
	    cmocka_unit_test(test_types_stay),
	    cmocka_unit_test(test_events_keep_types),
	    cmocka_unit_test(test_keys_keep_types),
	    cmocka_unit_test(test_key_headers_keep_types),
	    cmocka_unit_test(test_the_next_record_is_free),
	    cmocka_unit_test(test_what_a_type_error_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

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

/* In front of JSON it is JSON Schema's, and said so. */
static void test_json_behind_an_id(void **state)
{
	(void)state;
	static const struct row rows[] = {
	    {"00000000077b7d", {0}, "unsupported_framing@0", {0}},
	    {"00000000075b5d", {0}, "unsupported_framing@0", {0}},
	    {"0000000007046162", {0}, "invalid_json@0", {0}},
	    {"00000000", {0}, "invalid_json@0", {0}},
	    {"7b7d", {0}, "7b7d", {0}},
	};
	struct rig r;

	rig_of(&r, "name: t\ntopics: [in]\nfields:\n  - {path: $.a, mask: {}}\n");
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		check(&r, &rows[i]);
	rig_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_frames),
	    cmocka_unit_test(test_keys),
	    cmocka_unit_test(test_many),
	    cmocka_unit_test(test_json_behind_an_id),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

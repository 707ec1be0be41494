/* SPDX-License-Identifier: Apache-2.0 */
/* Avro: schemas taken and refused, values walked and refused, what rules make of both, and the derived schemas. */
#include "avro_rig.h"
#include "format/avro_json.h"
#include "format/avro_schema.h"
#include "format/avro_walk.h"

#define REC(f) "{\"type\":\"record\",\"name\":\"U\",\"fields\":[" f "]}"
/* A field that was renamed, and types for it in which masks change nothing. */
#define RENAMED(t) REC("{\"name\":\"r\",\"type\":" t ",\"aliases\":[\"old\"]}")
#define SAME(n)                                                                                                        \
	"{\"type\":\"record\",\"name\":\"" n "\",\"fields\":[" F("a", "\"string\"") "," F("b", "\"string\"") "]}"
#define CHAIN                                                                                                          \
	"{\"type\":\"record\",\"name\":\"N\",\"fields\":[" F("a", "\"string\"") "," F("n", "[\"null\",\"N\"]") "]}"

static void rig_init(struct rig *r, const char *rules, const char *schema)
{
	struct kveil_error err;
	enum kveil_status st = rig_try(r, rules, schema, NULL, &err);

	if (st)
		fail_msg("%s: %s", kveil_status_code(st), err.message);
}

static size_t from_hex(const char *hex, uint8_t *dst)
{
	size_t n = 0;
	unsigned byte;

	for (; *hex; hex += *hex == ' ' ? 1 : 2)
		if (*hex != ' ' && sscanf(hex, "%2x", &byte) == 1)
			dst[n++] = (uint8_t)byte;
	return n;
}

/* Hexadecimal in and out, or "code@byte". */
static const char *run(struct rig *r, const char *hex)
{
	static char shown[4096];
	uint8_t bytes[1024];
	size_t n = from_hex(hex, bytes), at = 0;

	free(r->value);
	r->value = malloc(n + !n);
	memcpy(r->value, bytes, n);
	struct kveil_record record = {.value = kveil_span_of(r->value, n)};
	kveil_engine_run(r->engine, &record, &r->result);
	if (r->result.verdict != KVEIL_PRODUCE) {
		const struct kveil_error *e = &r->result.error;
		char byte[24] = "-";
		assert_null(r->result.outputs);
		if (e->byte != KVEIL_NO_BYTE)
			snprintf(byte, sizeof byte, "%zu", e->byte);
		snprintf(shown, sizeof shown, "%s@%s", kveil_status_code(e->status), byte);
		return shown;
	}
	struct kveil_span out = r->result.outputs[0].record.value;
	shown[0] = 0;
	for (size_t i = 0; i < out.len; i++)
		at += (size_t)snprintf(shown + at, sizeof shown - at, "%s%02x", i ? " " : "", out.data[i]);
	return shown;
}

/* --- schemas --- */

static void test_schemas_refused(void **state)
{
	(void)state;
	static const char *const rows[] = {
	    "",
	    "{",
	    "7",
	    "\"nothing\"",
	    "[]",
	    "[[\"int\"]]",
	    "[\"int\",\"int\"]",
	    "[\"null\",{\"type\":\"array\",\"items\":\"int\"},{\"type\":\"array\",\"items\":\"long\"}]",
	    "{\"type\":\"record\",\"name\":\"A\"}",
	    "{\"type\":\"record\",\"fields\":[]}",
	    "{\"type\":\"record\",\"name\":\"1A\",\"fields\":[]}",
	    "{\"type\":\"record\",\"name\":\"int\",\"fields\":[]}",
	    REC(F("a", "\"int\"") "," F("a", "\"int\"")),
	    REC(F("a", "\"Later\"") "," F("b", "{\"type\":\"fixed\",\"name\":\"Later\",\"size\":1}")),
	    REC(F("a", "{\"type\":\"enum\",\"name\":\"U\",\"symbols\":[\"X\"]}")),
	    "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[]}",
	    "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"A\"]}",
	    "{\"type\":\"fixed\",\"name\":\"F\",\"size\":-1}",
	    "{\"type\":\"fixed\",\"name\":\"F\",\"size\":9999999999}",
	    REC(F("a", "\"U\"")),
	    REC(F("a", "\"int\"")) "x",
	    "{\"type\":\"int\",\"type\":\"string\"}",
	};
	struct kveil_avro_schema *s;
	struct kveil_error err;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (kveil_avro_schema_parse(kveil_span_str(rows[i]), &s, &err) != KVEIL_E_AVRO_SCHEMA)
			fail_msg("taken: %s", rows[i]);
		assert_null(s);
	}
}

/* A name without a namespace in one that has: it is another than the one around it, whatever avro-c makes of it. */
static void test_schemas_taken(void **state)
{
	(void)state;
	static const char *const rows[] = {
	    "{\"type\":\"record\",\"name\":\"n.U\",\"fields\":[" F(
		"a", "{\"type\":\"record\",\"name\":\"U\",\"namespace\":\"\",\"fields\":[]}") "]}",
	    "{\"type\":\"record\",\"name\":\"n.U\",\"fields\":[" F(
		"a",
		"{\"type\":\"fixed\",\"name\":\"U\",\"namespace\":\"\",\"size\":0}") "," F("b",
											   "[\"null\",\"n.U\"]") "]}",
	    /* referred to in there, as Java writes it */
	    REC(F("a", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":1}") "," F(
		"b", "{\"type\":\"record\",\"name\":\"n.Q\",\"fields\":[" F("f", "\"F\"") "]}")),
	    REC(F("b", "{\"type\":\"record\",\"name\":\"n.Q\",\"fields\":[" F("u", "[\"null\",\"U\"]") "]}")),
	};
	struct kveil_avro_schema *s;
	struct kveil_error err;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (kveil_avro_schema_parse(kveil_span_str(rows[i]), &s, &err))
			fail_msg("%s: %s", rows[i], err.message);
		kveil_avro_schema_free(s);
	}
}

/* What recursion in any parser would not survive, and what would take forever. */
static void test_schemas_bounded(void **state)
{
	(void)state;
	enum { DEEP = 100000 };
	static const char open[] = "{\"type\":\"array\",\"items\":";
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_avro_schema *s;
	struct kveil_error err;

	for (int i = 0; i < DEEP; i++)
		kveil_buf_append_byte(&text, '[');
	assert_int_equal(kveil_avro_schema_parse(kveil_buf_span(&text), &s, &err), KVEIL_E_AVRO_SCHEMA);
	kveil_buf_reset(&text);
	for (int i = 0; i < KVEIL_AVRO_SCHEMA_DEPTH + 1; i++)
		kveil_buf_append_str(&text, open);
	kveil_buf_append_str(&text, "\"int\"");
	for (int i = 0; i < KVEIL_AVRO_SCHEMA_DEPTH + 1; i++)
		kveil_buf_append_byte(&text, '}');
	assert_int_equal(kveil_avro_schema_parse(kveil_buf_span(&text), &s, &err), KVEIL_E_AVRO_SCHEMA);
	/* Each record holds the one before twice: 2^39 nulls in no bytes, and as many values in a neutral default. */
	kveil_buf_reset(&text);
	kveil_buf_append_str(&text,
			     "{\"type\":\"record\",\"name\":\"U\",\"fields\":["
			     "{\"name\":\"x0\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"B0\",\"fields\":[" F(
				 "n", "\"null\"") "]}]}");
	for (int i = 1; i < 40; i++)
		kveil_buf_printf(&text,
				 ",{\"name\":\"x%d\",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"B%d\","
				 "\"fields\":[{\"name\":\"l\",\"type\":\"B%d\"},{\"name\":\"r\",\"type\":\"B%d\"}]}]}",
				 i, i, i - 1, i - 1);
	size_t common = text.len;
	kveil_buf_append_str(&text, "," F("s", "\"string\"") "]}");
	struct rig r;
	char hex[256] = "";
	rig_init(&r, HEAD R("path: $.s, mask: {}"), kveil_buf_cstr(&text));
	for (int i = 0; i < 39; i++)
		strcat(hex, "00 ");
	strcat(hex, "02 02 61");
	assert_string_equal(run(&r, hex), "too_large@40");
	rig_clear(&r);
	text.len = common;
	kveil_buf_append_str(&text, ",{\"name\":\"d\",\"default\":{},\"type\":{\"type\":\"record\",\"name\":\"D\","
				    "\"fields\":[" F("s", "\"string\"") "," F("b", "\"B39\"") "]}}]}");
	assert_int_equal(rig_try(&r, HEAD R("path: $.d.s, mask: {}"), kveil_buf_cstr(&text), NULL, &err),
			 KVEIL_E_AVRO_SCHEMA);
	if (!strstr(err.message, "defaults"))
		fail_msg("%s", err.message);
	rig_clear(&r);
}

/* Each rule makes a type of its own of one that takes half of what a schema may take: no more of them is written than
 * that. */
static void test_derived_is_bounded(void **state)
{
	(void)state;
	enum { BRANCHES = 100, FIELDS = 300, PLACES = 30 };
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT, rules = KVEIL_BUF_INIT;
	struct kveil_error err;
	struct rig r;

	kveil_buf_append_str(&text, "{\"type\":\"record\",\"name\":\"U\",\"fields\":[");
	for (int i = 0; i < BRANCHES; i++)
		kveil_buf_printf(&text, F("f%d", "{\"type\":\"fixed\",\"name\":\"F%d\",\"size\":1}") ",", i, i);
	kveil_buf_append_str(&text, "{\"name\":\"x\",\"type\":{\"type\":\"record\",\"name\":\"X\",\"fields\":[");
	for (int i = 0; i < FIELDS; i++) {
		kveil_buf_printf(&text, "%s{\"name\":\"a%d\",\"type\":[\"int\"", i ? "," : "", i);
		for (int k = 0; k < BRANCHES; k++)
			kveil_buf_printf(&text, ",\"F%d\"", k);
		kveil_buf_append_str(&text, "]}");
	}
	kveil_buf_append_str(&text, "]}}");
	kveil_buf_append_str(&rules, HEAD);
	for (int i = 0; i < PLACES; i++) {
		kveil_buf_printf(&text, "," F("y%d", "\"X\""), i);
		kveil_buf_printf(&rules, "  - {path: $.y%d.a%d, mask: {}}\n", i, i);
	}
	kveil_buf_append_str(&text, "]}");
	assert_int_equal(rig_try(&r, kveil_buf_cstr(&rules), kveil_buf_cstr(&text), NULL, &err), KVEIL_E_AVRO_SCHEMA);
	if (!strstr(err.message, "would be nested too deep, or of too many parts"))
		fail_msg("%s", err.message);
	rig_clear(&r);
}

static void test_fingerprints(void **state)
{
	(void)state;
	/* As fastavro computes them. */
	static const struct {
		const char *schema;
		uint64_t fingerprint;
	} rows[] = {
	    {"\"int\"", 0x7275d51a3f395c8f},
	    {"{\"type\": \"string\", \"logicalType\": \"uuid\"}", 0x8f014872634503c7},
	    {"\"null\"", 0x63dd24e7cc258f8a},
	    {"{\"type\":\"record\",\"name\":\"a.b.C\",\"doc\":\"x\",\"fields\":[{\"name\":\"e\",\"type\":{\"type\":"
	     "\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]},\"default\":\"A\"},{\"name\":\"m\",\"type\":{\"type\":"
	     "\"map\",\"values\":[\"null\",\"E\",\"C\"]}},{\"name\":\"f\",\"type\":{\"type\":\"fixed\",\"name\":"
	     "\"z.F\",\"size\":3}},{\"name\":\"l\",\"type\":{\"type\":\"long\",\"logicalType\":\"timestamp-millis\"}}]"
	     "}",
	     0x58feb385ebcb8d86},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct kveil_avro_schema *s;
		struct kveil_error err;
		assert_int_equal(kveil_avro_schema_parse(kveil_span_str(rows[i].schema), &s, &err), KVEIL_OK);
		assert_int_equal(s->fingerprint, rows[i].fingerprint);
		kveil_avro_schema_free(s);
	}
}

/* --- values --- */

struct value_row {
	const char *schema, *in, *out;
};

static void test_values_refused(void **state)
{
	(void)state;
	static const struct value_row rows[] = {
	    {"\"string\"", "", "invalid_avro@0"},
	    {"\"string\"", "04 61", "invalid_avro@0"},
	    {"\"string\"", "01", "invalid_avro@0"},
	    {"\"string\"", "fe ff ff ff ff ff ff ff ff 01 61", "invalid_avro@0"}, /* 2^63 - 1 bytes */
	    {"\"string\"", "80 80 80 80 80 80 80 80 80 01 61", "invalid_avro@0"}, /* 2^62 */
	    {"\"string\"", "02 61 62", "invalid_avro@2"},
	    {"\"long\"", "ff ff ff ff ff ff ff ff ff 01", "ff ff ff ff ff ff ff ff ff 01"},
	    {"\"long\"", "ff ff ff ff ff ff ff ff ff 02", "invalid_avro@0"},
	    {"\"long\"", "80 80 80 80 80 80 80 80 80 80 01", "invalid_avro@0"},
	    {"\"int\"", "fe ff ff ff 0f", "fe ff ff ff 0f"},
	    {"\"int\"", "80 80 80 80 10", "invalid_avro@0"},
	    {"\"boolean\"", "02", "invalid_avro@0"},
	    {"\"boolean\"", "", "invalid_avro@0"},
	    {"\"float\"", "00 00 00", "invalid_avro@3"},
	    {"\"double\"", "00", "invalid_avro@1"},
	    {"[\"null\",\"int\"]", "04", "invalid_avro@0"},
	    {"[\"null\",\"int\"]", "01", "invalid_avro@0"},
	    {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", "04", "invalid_avro@0"},
	    {"{\"type\":\"fixed\",\"name\":\"X\",\"size\":4}", "01 02 03", "invalid_avro@3"},
	    {"{\"type\":\"array\",\"items\":\"int\"}", "04 02", "invalid_avro@0"},
	    {"{\"type\":\"array\",\"items\":\"int\"}", "02 02", "invalid_avro@2"},
	    {"{\"type\":\"array\",\"items\":\"int\"}", "ff ff ff ff ff ff ff ff ff 01 00", "invalid_avro@0"},
	    {"{\"type\":\"array\",\"items\":\"int\"}", "01 04 02 00", "invalid_avro@1"}, /* size 2, holds 1 */
	    {"{\"type\":\"array\",\"items\":\"int\"}", "01 01 02 00", "invalid_avro@1"},
	    {"{\"type\":\"array\",\"items\":\"int\"}", "01 02 02 00", "01 02 02 00"},
	    {"{\"type\":\"map\",\"values\":\"int\"}", "02 02 61", "invalid_avro@3"},
	    {"{\"type\":\"array\",\"items\":\"null\"}", "80 94 eb dc 03 00", "too_large@0"}, /* 500,000,000 nulls */
	    {"{\"type\":\"array\",\"items\":\"null\"}", "c8 01 c8 01 00", "c8 01 c8 01 00"},
	    {"{\"type\":\"record\",\"name\":\"N\",\"fields\":[{\"name\":\"n\",\"type\":[\"null\",\"N\"]}]}", "02 02 00",
	     "02 02 00"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rig r;
		rig_init(&r, HEAD R("path: $.x.y, mask: {}"), rows[i].schema);
		const char *got = run(&r, rows[i].in);
		if (strcmp(got, rows[i].out) != 0)
			fail_msg("%s: %s: %s, not %s", rows[i].schema, rows[i].in, got, rows[i].out);
		rig_clear(&r);
	}
}

/* Fields that no rule is about are passed over by their first bytes: the same is refused as where each is read. */
static void test_values_passed_over(void **state)
{
	(void)state;
	static const struct value_row rows[] = {
	    {"\"null\"", "", NULL},
	    {"\"float\"", "01 02 03 04", NULL},
	    {"\"double\"", "01 02 03 04 05 06 07 08", NULL},
	    {"{\"type\":\"fixed\",\"name\":\"X\",\"size\":3}", "01 02 03", NULL},
	    {"{\"type\":\"fixed\",\"name\":\"X\",\"size\":13}", "", "invalid_avro@12"},
	    {"{\"type\":\"fixed\",\"name\":\"X\",\"size\":12}", "", "invalid_avro@12"},
	    {"\"boolean\"", "01", NULL},
	    {"\"boolean\"", "02", "invalid_avro@0"},
	    {"{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}", "04", "invalid_avro@0"},
	    {"\"int\"", "01", NULL},
	    {"\"int\"", "fe ff ff 7f", NULL},
	    {"\"int\"", "fe ff ff ff 0f", NULL},
	    {"\"int\"", "80 80 80 80 10", "invalid_avro@0"},
	    {"\"int\"", "80 80 80 80 80 80 80 01", "invalid_avro@0"},
	    {"\"long\"", "80 80 80 80 10", NULL},
	    {"\"long\"", "ff ff ff ff ff ff ff 7f", NULL},
	    {"\"long\"", "ff ff ff ff ff ff ff ff 7f", NULL},
	    {"\"long\"", "ff ff ff ff ff ff ff ff ff 01", NULL},
	    {"\"long\"", "ff ff ff ff ff ff ff ff ff 02", "invalid_avro@0"},
	    {"\"string\"", "00", NULL},
	    {"\"string\"", "04 61 62", NULL},
	    {"\"string\"", "84 00 61 62", NULL},
	    {"\"string\"", "84 80 00 61 62", NULL},
	    {"\"string\"", "01", "invalid_avro@0"},
	    {"\"string\"", "81 01", "invalid_avro@0"},
	    {"\"string\"", "16", "invalid_avro@13"},
	    {"\"string\"", "18", "invalid_avro@13"},
	    {"\"string\"", "1a", "invalid_avro@0"},
	    {"\"bytes\"", "80 40", "invalid_avro@0"},
	    {"\"bytes\"", "80 80 80 80 80 80 80 80 80 01", "invalid_avro@0"},
	};
	static const char zeros[] = "00 00 00 00 00 00 00 00 00 00 00 00";

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rig r;
		char schema[400], in[128], out[128];
		snprintf(schema, sizeof schema,
			 REC(F("p", "%s") "," F("f", "{\"type\":\"fixed\",\"name\":\"Z\",\"size\":12}")),
			 rows[i].schema);
		snprintf(in, sizeof in, "%s%s%s", rows[i].in, *rows[i].in ? " " : "", zeros);
		snprintf(out, sizeof out, "%s", rows[i].out ? rows[i].out : in);
		rig_init(&r, HEAD R("path: $.x.y, mask: {}"), schema);
		const char *got = run(&r, in);
		if (strcmp(got, out) != 0)
			fail_msg("%s: %s: %s, not %s", schema, in, got, out);
		rig_clear(&r);
	}
}

static void test_depth(void **state)
{
	(void)state;
	struct rig r;
	char hex[4 * 300];

	rig_init(&r, HEAD R("path: $.x, mask: {}"),
		 "{\"type\":\"record\",\"name\":\"N\",\"fields\":[{\"name\":\"n\",\"type\":[\"null\",\"N\"]}]}");
	for (int i = 0; i < 200; i++)
		memcpy(hex + 3 * i, "02 ", 4);
	strcat(hex, "00");
	assert_string_equal(run(&r, hex), "too_deep@128");
	rig_clear(&r);
}

#define NESTED(name, field) "{\"type\":\"record\",\"name\":\"" name "\",\"fields\":[" field "]}"

/* Records that give their fields to the one around them count all the same: the innermost of these is the 129th. */
static void test_depth_of_records(void **state)
{
	(void)state;
	struct rig r;
	char hex[3 * 400 + 1];

	rig_init(
	    &r, HEAD R("path: $.x, mask: {}"),
	    NESTED("N", F("p", NESTED("P", F("t", "\"string\"") "," F("q", NESTED("Q", F("s", "\"string\""))))) "," F(
			    "n", "[\"null\",\"N\"]")));
	for (int levels = 126; levels <= 127; levels++) {
		*hex = 0;
		for (int i = 0; i < levels; i++)
			strcat(hex, i + 1 < levels ? "00 00 02 " : "00 00 00");
		assert_string_equal(run(&r, hex), levels == 126 ? hex : "too_deep@379");
	}
	rig_clear(&r);
}

/* A record's fields are steps, those of the records in it too, and several may be one: all the same what each is. */
static void test_steps(void **state)
{
	(void)state;
	static const char plain[] = REC(F("s", "\"string\"") "," F("d", "\"double\"") "," F("f", "\"float\"") "," F(
	    "i", "\"int\"") "," F("g", "\"float\"") "," F("l", "\"long\"") "," F("n", "\"null\""));
	static const char inner[] = REC(F(
	    "p",
	    NESTED("P", F("t", "\"boolean\"") "," F("a", "\"string\"") "," F(
			    "q", NESTED("Q", F("a", "\"string\"") "," F(
						 "i", "\"int\""))))) "," F("a",
									   "[\"null\",\"string\"]") "," F("z",
													  "\"long\""));
	static const struct {
		const char *schema, *in, *out;
	} rows[] = {
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03 04 0e 01 02 03 04 80 01", NULL},
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03 04 80 01 01 02 03 04 00", NULL},
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03 04 80 80 80 80 10 01 02 03 04 00", "invalid_avro@14"},
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03", "invalid_avro@13"},
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03 04", "invalid_avro@14"},
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03 04 0e 01 02 03", "invalid_avro@18"},
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03 04 0e 01 02 03 04", "invalid_avro@19"},
	    {plain, "02 61 01 02 03 04 05 06 07 08 01 02 03 04 0e 01 02 03 04 00 00", "invalid_avro@20"},
	    {plain, "04 61", "invalid_avro@0"},
	    {plain, "", "invalid_avro@0"},
	    {inner, "01 02 61 04 62 63 0e 02 02 64 80 01", "01 02 2a 04 2a 2a 0e 02 02 2a 80 01"},
	    {inner, "00 00 00 00 00 00", NULL},
	    {inner, "01 82 00 61 00 00 00 00", "01 02 2a 00 00 00 00"},
	    {inner, "02 02 61 04 62 63 0e 02 02 64 80 01", "invalid_avro@0"},
	    {inner, "01 02 61 04 62 ff 0e 02 02 64 80 01", "invalid_utf8@5"},
	    {inner, "01 02 61 04 62", "invalid_avro@3"},
	    {inner, "01", "invalid_avro@1"},
	    {inner, "01 02", "invalid_avro@1"},
	    {inner, "01 82", "invalid_avro@2"},
	    {inner, "01 82 00", "invalid_avro@1"},
	    {inner, "01 82 80 00 61 00 00 00 00", "01 02 2a 00 00 00 00"},
	    {inner, "01 02 61 03 62 63 0e 02 02 64 80 01", "invalid_avro@3"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const char *out = rows[i].out ? rows[i].out : rows[i].in;
		struct rig r;
		rig_init(&r, HEAD R("path: $..a, mask: {}"), rows[i].schema);
		const char *got = run(&r, rows[i].in);
		if (strcmp(got, out) != 0)
			fail_msg("%s: %s: %s, not %s", rows[i].schema, rows[i].in, got, out);
		rig_clear(&r);
	}
}

/* Deeper, and more fields, than what a record takes over. */
static void test_steps_of_many(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf schema = KVEIL_BUF_INIT, in = KVEIL_BUF_INIT, out = KVEIL_BUF_INIT;
	struct rig r;

	for (int level = 0; level < 8; level++) {
		kveil_buf_printf(&schema, "{\"type\":\"record\",\"name\":\"L%d\",\"fields\":[", level);
		for (int i = 0; i < 12; i++) {
			kveil_buf_printf(&schema, F("f%d", "\"string\"") ",", i);
			kveil_buf_append_str(&in, "02 61 ");
			kveil_buf_append_str(&out, i == 5 ? "02 2a " : "02 61 ");
		}
		kveil_buf_append_str(&schema, level < 7 ? "{\"name\":\"n\",\"type\":" : F("n", "\"null\"") "]}");
	}
	for (int level = 0; level < 7; level++)
		kveil_buf_append_str(&schema, "}]}");
	in.len--;
	out.len--;
	rig_init(&r, HEAD R("path: $..f5, mask: {}"), kveil_buf_cstr(&schema));
	assert_string_equal(run(&r, kveil_buf_cstr(&in)), kveil_buf_cstr(&out));
	rig_clear(&r);
}

static size_t put_text(uint8_t *to, bool in_union, uint8_t c, size_t n)
{
	size_t at = 0;

	if (in_union)
		to[at++] = 2;
	at += kveil_avro_spell_long((int64_t)n, to + at);
	memset(to + at, c, n);
	return at + n;
}

/* What stands in front of a result is as long as it has to be, whatever the last one's was. */
static void test_length_of_results(void **state)
{
	(void)state;
	static const size_t lengths[] = {3, 0, 63, 64, 1, 8191, 8192, 70, 8192, 2, 64};
	static uint8_t in[2 * 9000], out[2 * 9000];

	for (int in_union = 0; in_union < 2; in_union++) {
		struct rig r;
		rig_init(&r, HEAD R("path: $.a, mask: {}") R("path: $.b, mask: {char: x}"),
			 in_union ? REC(F("a", "[\"null\",\"string\"]") "," F("b", "[\"null\",\"string\"]"))
				  : REC(F("a", "\"string\"") "," F("b", "\"string\"")));
		for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
			size_t n = put_text(in, in_union, 'q', lengths[i]),
			       m = put_text(out, in_union, '*', lengths[i]);
			n += put_text(in + n, in_union, 'q', lengths[i] / 2);
			m += put_text(out + m, in_union, 'x', lengths[i] / 2);
			struct kveil_record record = {.value = kveil_span_of(in, n)};
			kveil_engine_run(r.engine, &record, &r.result);
			assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
			struct kveil_span got = r.result.outputs[0].record.value;
			assert_int_equal(got.len, m);
			assert_memory_equal(got.data, out, m);
		}
		rig_clear(&r);
	}
}

struct change_row {
	const char *rules, *schema, *derived, *in, *out;
};

#define LEAF(name, field) "{\"type\":\"record\",\"name\":\"L" name "\",\"fields\":[" field "]}"
#define MASK              R("path: $.a, mask: {}")
#define UNION             "[\"null\",\"long\",\"string\"]"
#define ENUM              "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"BC\"]}"
#define LIST(t)           "{\"type\":\"array\",\"items\":" t "}"

static void test_changes(void **state)
{
	(void)state;
	static const struct change_row rows[] = {
	    /* a string stays one, and the schema with it */
	    {MASK, REC(F("a", "\"string\"") "," F("b", "\"int\"")), REC(F("a", "\"string\"") "," F("b", "\"int\"")),
	     "06 61 62 63 0e", "06 2a 2a 2a 0e"},
	    /* a number becomes a string, and says what it was */
	    {MASK, REC(F("a", "\"long\"")), REC(F("a", "{\"type\":\"string\",\"kveil.type\":\"long\"}")), "c8 01",
	     "06 2a 2a 2a"},
	    /* branches that become one type are one branch; the others move up */
	    {MASK, REC(F("a", "[\"long\",\"string\",\"null\"]")),
	     REC(F("a", "[{\"type\":\"string\",\"kveil.type\":[\"long\",\"string\"]},\"null\"]")), "02 04 61 62",
	     "00 04 2a 2a"},
	    {MASK, REC(F("a", "[\"long\",\"string\",\"null\"]")),
	     REC(F("a", "[{\"type\":\"string\",\"kveil.type\":[\"long\",\"string\"]},\"null\"]")), "04", "02"},
	    {MASK, REC(F("a", "[\"long\",\"string\",\"null\"]")),
	     REC(F("a", "[{\"type\":\"string\",\"kveil.type\":[\"long\",\"string\"]},\"null\"]")), "00 14",
	     "00 04 2a 2a"},
	    /* a branch that the rule cannot take is an error of the record, never clear */
	    {MASK, REC(F("a", "[\"string\",\"bytes\"]")), REC(F("a", "[\"string\",\"bytes\"]")), "02 02 61",
	     "unsupported_kind@1"},
	    /* an enum becomes a string without its symbols */
	    {MASK, REC(F("a", ENUM)),
	     REC(F("a", "{\"type\":\"string\",\"kveil.type\":{\"type\":\"enum\",\"name\":\"E\"}}")), "02", "04 2a 2a"},
	    /* what may stay as it is keeps its branch beside the new one */
	    {R("path: $.a, when: \"$.b == 1\", mask: {}"), REC(F("a", "\"long\"") "," F("b", "\"int\"")),
	     REC(F("a", "[\"long\",{\"type\":\"string\",\"kveil.type\":\"long\"}]") "," F("b", "\"int\"")), "14 02",
	     "02 04 2a 2a 02"},
	    {R("path: $.a, when: \"$.b == 1\", mask: {}"), REC(F("a", "\"long\"") "," F("b", "\"int\"")),
	     REC(F("a", "[\"long\",{\"type\":\"string\",\"kveil.type\":\"long\"}]") "," F("b", "\"int\"")), "14 04",
	     "00 14 04"},
	    {R("path: $.a, nullify: true"), REC(F("a", "\"int\"")), REC(F("a", "[\"null\",\"int\"]")), "0e", "00"},
	    {R("path: $.a, nullify: true"), REC(F("a", "[\"int\",\"null\"]")), REC(F("a", "[\"null\",\"int\"]")),
	     "00 0e", "00"},
	    {R("path: $.a, replace: {with: 7}"), REC(F("a", "\"int\"")), REC(F("a", "\"int\"")), "02", "0e"},
	    {R("path: $.a, replace: {with: 1.5}"), REC(F("a", "\"double\"")), REC(F("a", "\"double\"")),
	     "00 00 00 00 00 00 00 00", "00 00 00 00 00 00 f8 3f"},
	    {R("path: $.a, replace: {with: 1.5}"), REC(F("a", "\"int\"")), REC(F("a", "\"int\"")), "02",
	     "unsupported_kind@0"},
	    /* a removed field is not in the schema either, null or not */
	    {R("path: $.a, remove: true"), REC(F("a", "[\"null\",\"string\"]") "," F("b", "\"int\"")),
	     REC(F("b", "\"int\"")), "02 02 61 0e", "0e"},
	    {R("path: $.a, remove: true"), REC(F("a", "[\"null\",\"string\"]") "," F("b", "\"int\"")),
	     REC(F("b", "\"int\"")), "00 0e", "0e"},
	    /* nor is one that can be nothing but null */
	    {R("path: $.a, remove: true"),
	     REC("{\"name\":\"a\",\"type\":[\"null\"],\"default\":null}," F("b", "\"int\"")), REC(F("b", "\"int\"")),
	     "00 0e", "0e"},
	    /* blocks: those that say their size say the new one */
	    {R("path: \"$.a[*]\", replace: {with: xyz}"), REC(F("a", LIST("\"string\""))),
	     REC(F("a", LIST("\"string\""))), "03 08 02 61 02 62 02 02 63 00",
	     "03 10 06 78 79 7a 06 78 79 7a 02 06 78 79 7a 00"},
	    {R("path: \"$.a[1]\", replace: {with: xyz}"), REC(F("a", LIST("\"string\""))),
	     REC(F("a", LIST("\"string\""))), "04 02 61 02 62 00", "04 02 61 06 78 79 7a 00"},
	    {R("path: $.a.k, replace: {with: x}"), REC(F("a", "{\"type\":\"map\",\"values\":\"string\"}")),
	     REC(F("a", "{\"type\":\"map\",\"values\":\"string\"}")), "04 02 6a 04 61 62 02 6b 04 61 62 00",
	     "04 02 6a 04 61 62 02 6b 02 78 00"},
	    /* what is not named is copied, whatever it is */
	    {MASK, REC(F("u", UNION) "," F("a", "\"string\"")), REC(F("u", UNION) "," F("a", "\"string\"")),
	     "04 02 79 02 61", "04 02 79 02 2a"},
	    {MASK, REC(F("a", "[\"null\",\"string\"]")), REC(F("a", "[\"null\",\"string\"]")), "00", "00"},
	    /* a value of no bytes is one value, with all that stands in it */
	    {R("path: $..a, replace: {with: x}"),
	     REC(F("a", "{\"type\":\"record\",\"name\":\"S\",\"fields\":[" F(
			    "a", "{\"type\":\"record\",\"name\":\"T\",\"fields\":[]}") "]}")),
	     REC(F("a", "{\"type\":\"string\",\"kveil.type\":{\"type\":\"record\",\"name\":\"S\"}}")), "", "02 78"},
	    /* text that is none, where rules look */
	    {MASK, REC(F("a", "\"string\"")), REC(F("a", "\"string\"")), "02 ff", "invalid_utf8@1"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct change_row *c = &rows[i];
		char rules[1024];
		struct rig r;
		snprintf(rules, sizeof rules, "%s%s", HEAD, c->rules);
		rig_init(&r, rules, c->schema);
		struct kveil_span derived = kveil_engine_schema_derived(r.schema);
		if (!kveil_span_eq(derived, kveil_span_str(c->derived)))
			fail_msg("%s\n%s\n%.*s", c->rules, c->schema, (int)derived.len, (const char *)derived.data);
		const char *got = run(&r, c->in);
		if (strcmp(got, c->out) != 0)
			fail_msg("%s %s: %s: %s, not %s", c->rules, c->schema, c->in, got, c->out);
		rig_clear(&r);
	}
}

/* --- the derived schema --- */

struct derived_row {
	const char *rules, *schema, *derived;
};

#define IN_N(name, a, s, itself, space, next)                                                                          \
	"{\"type\":\"record\",\"name\":\"" name "\"" space ",\"fields\":[" F("a", a) "," F(                            \
	    "s", "{\"type\":\"record\",\"name\":\"" s                                                                  \
		 "\",\"fields\":[" F("t", "[\"null\",\"" itself "\"]") "]}") "," F("m", "[\"null\"," next "]") "]}"

static void test_derived(void **state)
{
	(void)state;
	static const struct derived_row rows[] = {
	    /* docs and other properties stay; defaults and meanings go */
	    {MASK,
	     "{\"type\":\"record\",\"name\":\"U\",\"namespace\":\"x\",\"doc\":\"d\",\"aliases\":[\"V\"],\"fields\":[{"
	     "\"name\":\"a\",\"doc\":\"e\",\"type\":{\"type\":\"int\",\"logicalType\":\"date\",\"connect.name\":\"D\","
	     "\"connect.default\":9,\"p\":1},\"default\":9,\"aliases\":[\"o\"]}]}",
	     "{\"type\":\"record\",\"name\":\"U\",\"namespace\":\"x\",\"doc\":\"d\",\"aliases\":[\"V\"],\"fields\":[{"
	     "\"name\":\"a\",\"doc\":\"e\",\"type\":{\"type\":\"string\",\"p\":1,\"kveil.type\":{\"type\":\"int\","
	     "\"logicalType\":\"date\",\"connect.name\":\"D\"}},\"default\":\"\",\"aliases\":[\"o\"]}]}"},
	    /* a default around a value that changes is clear text too */
	    {R("path: $.s.a, mask: {}"),
	     REC("{\"name\":\"s\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"fields\":[" F("a", "\"string\"") "," F(
		 "b", "\"int\"") "]},\"default\":{\"a\":\"secret\",\"b\":3}}"),
	     REC("{\"name\":\"s\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"fields\":[" F("a", "\"string\"") "," F(
		 "b", "\"int\"") "]},\"default\":{\"a\":\"\",\"b\":0}}")},
	    /* one type at two places of which one changes is two types; the one that stays has the name */
	    {R("path: $.l.a, mask: {}"),
	     REC(F("l", "{\"type\":\"record\",\"name\":\"V\",\"fields\":[" F("a", "\"int\"") "]}") "," F("r", "\"V\"")),
	     REC(F("l",
		   "{\"type\":\"record\",\"name\":\"V_protected\",\"fields\":[" F(
		       "a", "{\"type\":\"string\",\"kveil.type\":\"int\"}") "]}") "," F("r",
											"{\"type\":\"record\",\"name\":"
											"\"V\",\"fields\":[" F(
											    "a", "\"int\"") "]}"))},
	    /* at two places that change alike it is one, whichever rules say so */
	    {R("path: $.l.a, mask: {}") R("path: $.r.a, mask: {}"),
	     REC(F("l", "{\"type\":\"record\",\"name\":\"V\",\"fields\":[" F("a", "\"int\"") "]}") "," F("r", "\"V\"")),
	     REC(F("l", "{\"type\":\"record\",\"name\":\"V\",\"fields\":[" F(
			    "a", "{\"type\":\"string\",\"kveil.type\":\"int\"}") "]}") "," F("r", "\"V\""))},
	    {R("path: $..a, mask: {}"),
	     "{\"type\":\"record\",\"name\":\"N\",\"fields\":[" F("a", "\"int\"") "," F("n", "[\"null\",\"N\"]") "]}",
	     "{\"type\":\"record\",\"name\":\"N\",\"fields\":[" F(
		 "a", "{\"type\":\"string\",\"kveil.type\":\"int\"}") "," F("n", "[\"null\",\"N\"]") "]}"},
	    /* a default in a value that may go is clear text; elsewhere the same type keeps it */
	    {R("path: $.l, nullify: true"),
	     REC(F("l", LEAF("V", "{\"name\":\"v\",\"type\":\"int\",\"default\":7}")) "," F("r", "\"LV\"")),
	     REC(F("l", "[\"null\"," LEAF("V_protected", "{\"name\":\"v\",\"type\":\"int\",\"default\":0}") "]") "," F(
		 "r", LEAF("V", "{\"name\":\"v\",\"type\":\"int\",\"default\":7}")))},
	    /* and also where it changes for another reason */
	    {R("path: $.l, nullify: true") R("path: \"$..b\", mask: {}"),
	     REC(F("r", LEAF("V", "{\"name\":\"v\",\"type\":\"int\",\"default\":7}," F("b", "\"int\""))) "," F(
		 "l", "\"LV\"")),
	     REC(F(
		 "r",
		 LEAF("V",
		      "{\"name\":\"v\",\"type\":\"int\",\"default\":7}," F(
			  "b", "{\"type\":\"string\","
			       "\"kveil.type\":"
			       "\"int\"}"))) "," F("l",
						   "[\"null\"," LEAF(
						       "V_protected",
						       "{\"name\":\"v\",\"type\":\"int\",\"default\":0}," F(
							   "b", "{\"type\":\"string\",\"kveil.type\":\"int\"}")) "]"))},
	    /* an enum keeps its symbols as long as it may stay, and not its default */
	    {R("path: $.l, nullify: true"),
	     REC(F(
		 "l",
		 LEAF("V", F("e", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"],\"default\":\"B\"}")))),
	     REC(F("l", "[\"null\"," LEAF(
			    "V", F("e", "{\"type\":\"enum\",\"name\":\"E\",\"symbols\":[\"A\",\"B\"]}")) "]"))},
	    /* what rules name under the old name they name under the new one */
	    {R("path: $.old.a, mask: {}") R("path: $.r.a, mask: {}"), RENAMED(SAME("V")), RENAMED(SAME("V"))},
	    {R("path: \"$.old[*].a\", mask: {}") R("path: \"$.r[*].a\", mask: {}"), RENAMED(LIST(SAME("V"))),
	     RENAMED(LIST(SAME("V")))},
	    {R("path: $.old..a, mask: {}") R("path: $.r..a, mask: {}"), RENAMED(CHAIN), RENAMED(CHAIN)},
	    {R("path: $.old.a, mask: {}") R("path: $.r, nullify: true"), RENAMED("[\"null\"," SAME("V") "]"),
	     RENAMED("[\"null\"," SAME("V") "]")},
	    /* a type without a namespace that is in one, and in both halves of what becomes two: readers but Java's
	     * find it by its name in the first place only */
	    {R("path: $.a, mask: {}"),
	     IN_N("N", "\"int\"", "S\",\"namespace\":\"", "S", ",\"namespace\":\"n\"", "\"N\""),
	     IN_N("N_protected", "{\"type\":\"string\",\"kveil.type\":\"int\"}", "S\",\"namespace\":\"", "S",
		  ",\"namespace\":\"n\"", IN_N("N", "\"int\"", "S_protected", "n.S_protected", "", "\"n.N\""))},
	    /* only the first of a chain changes */
	    {R("path: $.a, mask: {}"),
	     "{\"type\":\"record\",\"name\":\"N\",\"fields\":[" F("a", "\"int\"") "," F("n", "[\"null\",\"N\"]") "]}",
	     "{\"type\":\"record\",\"name\":\"N_protected\",\"fields\":[" F(
		 "a", "{\"type\":\"string\",\"kveil.type\":"
		      "\"int\"}") "," F("n",
					"[\"null\",{\"type\":\"record\",\"name\":\"N\",\"fields\":[" F(
					    "a", "\"int\"") "," F("n", "[\"null\",\"N\"]") "]}]") "]}"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char rules[1024];
		struct rig r;
		snprintf(rules, sizeof rules, "%s%s", HEAD, rows[i].rules);
		rig_init(&r, rules, rows[i].schema);
		struct kveil_span derived = kveil_engine_schema_derived(r.schema);
		if (!kveil_span_eq(derived, kveil_span_str(rows[i].derived)))
			fail_msg("%s:\n%.*s\nnot\n%s", rows[i].rules, (int)derived.len, (const char *)derived.data,
				 rows[i].derived);
		rig_clear(&r);
	}
}

/* What a default may stand in, from the leaf outwards; # is another digit each time. */
static const struct {
	const char *before, *behind;
} wraps[] = {
    {"{\"type\":\"record\",\"name\":\"W#\",\"fields\":[{\"name\":\"f\",\"type\":", "}]}"},
    {"{\"type\":\"array\",\"items\":", "}"},
    {"{\"type\":\"map\",\"values\":", "}"},
    {"[\"null\",", "]"},
    {"[", ",\"null\"]"},
};
static const char *const leaves[] = {
    LEAF("A", "{\"name\":\"v\",\"type\":\"string\",\"default\":\"CANARY\"}"),
    LEAF("B", "{\"name\":\"v\",\"type\":\"bytes\",\"default\":\"CANARY\"}"),
    LEAF("C", "{\"name\":\"v\",\"type\":[\"string\",\"null\"],\"default\":\"CANARY\"}"),
    LEAF("D", "{\"name\":\"v\",\"type\":{\"type\":\"array\",\"items\":\"string\"},\"default\":[\"CANARY\"]}"),
    LEAF("E", "{\"name\":\"v\",\"type\":" LEAF("F", F("w", "\"string\"")) ",\"default\":{\"w\":\"CANARY\"}}"),
    LEAF("G", "{\"name\":\"v\",\"type\":{\"type\":\"string\",\"connect.default\":\"CANARY\"}}"),
    LEAF("H", "{\"name\":\"v\",\"connect.default\":\"CANARY\",\"type\":\"string\"}"),
    "{\"type\":\"record\",\"name\":\"LI\",\"connect.default\":{\"v\":\"CANARY\"},\"fields\":[" F("v", "\"int\"") "]}",
    "{\"type\":\"array\",\"connect.default\":[\"CANARY\"],\"items\":\"string\"}",
    "{\"type\":\"string\",\"connect.default\":\"CANARY\"}",
};

static bool wrap(const char *type, int code, char *out, size_t size)
{
	char inner[2048], *mark;

	snprintf(out, size, "%s", type);
	for (int at = 0; code; code /= 6, at++) {
		/* A union stands in no union. */
		if (code % 6 == 0 || (*out == '[' && code % 6 > 3))
			return false;
		snprintf(inner, sizeof inner, "%s", out);
		snprintf(out, size, "%s%s%s", wraps[code % 6 - 1].before, inner, wraps[code % 6 - 1].behind);
		if ((mark = strchr(out, '#')))
			*mark = (char)('0' + at);
	}
	return true;
}

/* No default of a protected field, nor of what stands in it, is in the derived schema; those of others are. */
static void test_no_default_is_told(void **state)
{
	(void)state;
	static const char *const rules[] = {
	    R("path: $.p, nullify: true"),
	    R("path: $.p, nullify: true, when: \"$.q == 1\""),
	    R("path: $.p, mask: {}"),
	    R("path: $.p, mask: {}, when: \"$.q == 1\""),
	    R("path: $.p, hash: {key: k}, when: \"$.q == 1\""),
	    R("path: $.p, encrypt: {key: k}"),
	    R("path: $.p, replace: {with: x}, when: \"$.q == 1\""),
	    R("path: $.p, nullify: true, when: \"$.q == 1\"") R("path: \"$..v\", mask: {}"),
	    R("path: \"$.*\", nullify: true, when: \"$.q == 1\""),
	};
	size_t shapes = 0;

	for (size_t r = 0; r < sizeof rules / sizeof *rules; r++)
		for (size_t l = 0; l < sizeof leaves / sizeof *leaves; l++)
			for (int code = 0; code < 6 * 6; code++) {
				char type[2048], schema[4096], file[512];
				struct kveil_error err;
				struct rig rig;
				if (!wrap(leaves[l], code, type, sizeof type))
					continue;
				snprintf(schema, sizeof schema,
					 REC("{\"name\":\"p\",\"connect.default\":\"CANARY\",\"type\":%s}," F(
					     "q", "\"int\"")),
					 type);
				snprintf(file, sizeof file, "%s%s", HEAD, rules[r]);
				/* One key of a map by itself cannot change its type. */
				if (rig_try(&rig, file, schema, NULL, &err)) {
					assert_non_null(strstr(err.message, "some elements"));
					rig_clear(&rig);
					continue;
				}
				struct kveil_span derived = kveil_engine_schema_derived(rig.schema);
				if (memmem(derived.data, derived.len, "CANARY", 6))
					fail_msg("%s\n%s\n%.*s", rules[r], schema, (int)derived.len,
						 (const char *)derived.data);
				rig_clear(&rig);
				shapes++;
			}
	assert_true(shapes > 1500);
}

static void test_rules_refused(void **state)
{
	(void)state;
	static const struct derived_row rows[] = {
	    {R("path: $, remove: true"), REC(F("a", "\"int\"")), NULL},
	    {R("path: \"$.a[*]\", remove: true"), REC(F("a", LIST("\"int\""))), NULL},
	    {R("path: $.a, when: \"@ == 1\", remove: true"), REC(F("a", "\"int\"")), NULL},
	    {R("path: \"$.a[0]\", mask: {}"), REC(F("a", LIST("\"int\""))), NULL},
	    {R("path: $.old, mask: {}"), REC("{\"name\":\"a\",\"type\":\"string\",\"aliases\":[\"b\",\"old\"]}"), NULL},
	    {R("path: $.old.x, mask: {}"), REC("{\"name\":\"a\",\"type\":\"string\",\"aliases\":[\"old\"]}"), NULL},
	    {R("path: $.old.a, mask: {}"), RENAMED(SAME("V")), NULL},
	    {R("path: $.old.a, mask: {}") R("path: $.r.b, mask: {}"), RENAMED(SAME("V")), NULL},
	    {R("path: $.old.n.n.n.a, mask: {}") R("path: $.r.n.n.a, mask: {}"), RENAMED(CHAIN), NULL},
	    {R("path: \"$.old[*].a\", mask: {}") R("path: \"$.r[*].b\", mask: {}"), RENAMED(LIST(SAME("V"))), NULL},
	    {R("path: $.old.x.a, mask: {}") R("path: $.r.y.a, mask: {}"),
	     RENAMED("{\"type\":\"map\",\"values\":" SAME("V") "}"), NULL},
	    {R("path: $..old, mask: {}"), REC("{\"name\":\"a\",\"type\":\"string\",\"aliases\":[\"old\"]}"), NULL},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct kveil_error err;
		char rules[1024];
		struct rig r;
		snprintf(rules, sizeof rules, "%s%s", HEAD, rows[i].rules);
		if (rig_try(&r, rules, rows[i].schema, NULL, &err) != KVEIL_E_AVRO_SCHEMA)
			fail_msg("taken: %s", rows[i].rules);
		rig_clear(&r);
	}
}

/* In a schema of five hundred fields one has to find the place. */
static void test_refusals_name_their_place(void **state)
{
	(void)state;
#define MAP(t) "{\"type\":\"map\",\"values\":" t "}"
#define IN(n)  "{\"type\":\"record\",\"name\":\"" n "\",\"fields\":["
#define LONG   "a_name_of_sixty_characters_which_is_more_than_most_people_use"
#define ENTRIES                                                                                                        \
	LIST(IN("io.confluent.connect.avro.MapEntry") F("key", "[\"null\",\"string\"]") "," F("value", "\"int\"") "]"  \
														  "}")
	static const struct {
		const char *rules, *schema, *message, *rule;
	} rows[] = {
	    {R("path: $..x, mask: {}"), REC(F("q", "\"int\"") "," F("attributes", MAP("\"int\""))),
	     "$.attributes: rules change the type of some elements", "t/$..x"},
	    {R("path: $.no, mask: {}") R("path: $..x, mask: {}"), REC(F("m", LIST(MAP("[\"null\",\"int\"]")))),
	     "$.m[*]: rules change the type of some elements", "t/$..x"},
	    /* the rule is about something in the element, and the shortest way to it is told */
	    {R("path: \"$.r.l[0].v.a\", mask: {}"),
	     REC(F("r",
		   IN("A") F("l", "[\"null\"," LIST(IN("B") F("v", IN("C") F("a", "\"int\"") "]}") "]}") "]") "]}")),
	     "$.r.l: rules change the type of some elements", "t/$.r.l[0].v.a"},
	    {R("path: \"$..tree.x\", mask: {}"),
	     REC(F("first", "\"int\"") "," F("tree", MAP("[\"int\",\"U\"]")) "," F("other", "[\"null\",\"U\"]")),
	     "$.tree: rules change the type of some elements", "t/$..tree.x"},
	    {R("path: $.a, mask: {}, when: \"$.b == 1\"") R("path: $.a, when: \"$.b == 2\", remove: true"),
	     REC(F("a", "\"int\"") "," F("b", "\"int\"")), "$.a: a rule removes a field in some records only",
	     "t/$.a#2"},
	    {R("path: \"$.l[*]\", remove: true"), REC(F("l", LIST("\"int\""))), "$.l: a rule removes elements",
	     "t/$.l[*]"},
	    {R("path: $, remove: true"), REC(F("a", "\"int\"")), "$: a whole record cannot be removed", "t/$"},
	    {R("path: $.m.x, mask: {}"), REC(F("m", ENTRIES)),
	     "$.m: a rule looks for a name in a map that Kafka Connect", ""},
	    {R("path: $.r.old, mask: {}"),
	     REC(F("r", IN("A") "{\"name\":\"a\",\"type\":\"string\",\"aliases\":[\"old\"]}]}")),
	     "$.r: the field 'a' was 'old', which a rule names", ""},
	    /* a long way ends where the place is */
	    {R("path: $..x, mask: {}"), REC(F("r", IN("A") F(LONG, IN("B") F(LONG, MAP("\"int\"")) "]}") "]}")),
	     "$…st_people_use." LONG ": rules change the type of some elements of an array or a map only: name "
	     "all of them with [*]",
	     "t/$..x"},
	    {R("path: $..x, mask: {}"), REC(F("r", IN("A") F(LONG LONG, MAP("\"int\"")) "]}")), "$…", "t/$..x"},
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct kveil_error err;
		char rules[1024];
		struct rig r;
		snprintf(rules, sizeof rules, "%s%s", HEAD, rows[i].rules);
		assert_int_equal(rig_try(&r, rules, rows[i].schema, NULL, &err), KVEIL_E_AVRO_SCHEMA);
		if (strncmp(err.message, rows[i].message, strlen(rows[i].message)) != 0)
			fail_msg("%s: %s", rows[i].schema, err.message);
		assert_string_equal(err.rule, rows[i].rule);
		rig_clear(&r);
	}
}

static void test_not_yet(void **state)
{
	(void)state;
	static const char *const files[] = {
	    HEAD R("path: $.a, mask: {}, to: $.b"),
	    HEAD R("path: \"$.a[?@.b]\", mask: {}"),
	    "unmatched: remove\n" HEAD R("path: $.a, mask: {}"),
	    "envelope: canal\n" HEAD R("path: $.a, mask: {}"),
	    "envelope: maxwell\n" HEAD R("path: $.a, mask: {}"),
	    "envelope: ogg\n" HEAD R("path: $.a, mask: {}"),
	    "envelope: {kind: debezium, messages: rows}\n" HEAD R("path: $.a, mask: {}"),
	    "envelope: debezium\nunmatched: remove\n" HEAD R("path: $.a, mask: {}"),
	    "envelope: debezium\n" HEAD R("path: $.a, record: U, mask: {}"),
	    HEAD R("path: $.a, record: U, required: true, mask: {}"),
	    "name: t\ntopics: [in]\nformat: {value: json, key: avro}\nfields:\n" R("path: $.a, mask: {}"),
	    "name: t\ntopics: [in]\nformat: {value: avro, key: avro}\nfields:\n" R("path: \"key:$.a[?@.b]\", mask: {}"),
	    "outputs: [{name: a, topic: b}]\n" HEAD R("path: $.a, mask: {}"),
	};

	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		struct kveil_report report = {0};
		struct kveil_plan *p = kveil_plan_parse(kveil_span_str(files[i]), "t.yaml", NULL, &report);
		assert_null(p);
		assert_true(report.errors > 0);
		assert_non_null(strstr(report.problems[0].error.message, "is not in this version"));
		kveil_report_clear(&report);
	}
}

/* No schema, no record: it must not come out as it is. */
static void test_without_schema(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD MASK, "\"string\"");
	kveil_engine_use_schema(r.engine, NULL);
	assert_string_equal(run(&r, "02 61"), "avro_schema@-");
	rig_clear(&r);
}

static void test_sealed_and_opened(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", "[\"null\",\"bytes\"]") "," F("b", LIST("\"string\"")));
	struct rig seal, open;
	char sealed[4096];

	rig_init(&seal, HEAD R("path: $.a, encrypt: {key: k}") R("path: \"$.b[*]\", encrypt: {key: k}"), schema);
	rig_init(&open, HEAD R("path: $.a, decrypt: {key: k}") R("path: \"$.b[*]\", decrypt: {key: k}"), schema);
	snprintf(sealed, sizeof sealed, "%s", run(&seal, "02 04 00 ff 03 08 02 61 02 62 02 02 63 00"));
	assert_string_equal(run(&open, sealed), "02 04 00 ff 03 08 02 61 02 62 02 02 63 00");
	snprintf(sealed, sizeof sealed, "%s", run(&seal, "00 00"));
	assert_string_equal(sealed, "00 00");
	rig_clear(&seal);
	rig_clear(&open);
}

/* Sealed as JSON, and opened again under the derived schema: type, meaning and bytes are back. */
static void test_sealed_as_json(void **state)
{
	(void)state;
	static const struct {
		const char *type, *back, *value; /* back NULL: the same type */
	} rows[] = {
	    {"\"int\"", NULL, "ff ff ff ff 0f"},
	    {"\"long\"", NULL, "ff ff ff ff ff ff ff ff ff 01"},
	    {"\"long\"", NULL, "fe ff ff ff ff ff ff ff ff 01"},
	    {"\"boolean\"", NULL, "01"},
	    {"\"double\"", NULL, "9a 99 99 99 99 99 b9 3f"},
	    {"\"double\"", NULL, "00 00 00 00 00 00 f0 7f"},
	    {"\"float\"", NULL, "cd cc cc 3d"},
	    {"\"float\"", NULL, "00 00 80 ff"},
	    {"\"string\"", NULL, "06 61 22 0a"},
	    {"\"bytes\"", NULL, "04 00 ff"},
	    {"{\"type\":\"int\",\"logicalType\":\"date\"}", NULL, "0e"},
	    {"[\"null\",\"long\"]", NULL, "02 0e"},
	    {"[\"null\",\"long\"]", NULL, "00"},
	    {ENUM, "\"string\"", NULL},
	};
	char schema[512], back[512], sealed[4096];
	struct rig seal, open;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		snprintf(schema, sizeof schema, REC("{\"name\":\"a\",\"type\":%s}"), rows[i].type);
		snprintf(back, sizeof back, REC("{\"name\":\"a\",\"type\":%s}"),
			 rows[i].back ? rows[i].back : rows[i].type);
		rig_init(&seal, HEAD R("path: $.a, encrypt: {key: k, type: json}"), schema);
		struct kveil_span derived = kveil_engine_schema_derived(seal.schema);
		snprintf(schema, sizeof schema, "%.*s", (int)derived.len, (const char *)derived.data);
		rig_init(&open, HEAD R("path: $.a, decrypt: {key: k, type: json}"), schema);
		derived = kveil_engine_schema_derived(open.schema);
		if (!kveil_span_eq(derived, kveil_span_str(back)))
			fail_msg("%s\n%.*s\nnot\n%s", schema, (int)derived.len, (const char *)derived.data, back);
		if (rows[i].value) {
			snprintf(sealed, sizeof sealed, "%s", run(&seal, rows[i].value));
			assert_string_equal(run(&open, sealed), rows[i].value);
		} else {
			snprintf(sealed, sizeof sealed, "%s", run(&seal, "02"));
			assert_string_equal(run(&open, sealed), "04 42 43");
		}
		rig_clear(&seal);
		rig_clear(&open);
	}
}

/* What was sealed elsewhere need not be of the type that the schema says. */
static void test_sealed_as_another_type(void **state)
{
	(void)state;
	static const struct {
		const char *sealed_type, *value, *type;
	} rows[] = {
	    {"\"string\"", "02 61", "\"int\""},
	    {"\"int\"", "0e", "\"boolean\""},
	    {"\"boolean\"", "01", "\"long\""},
	    {"\"double\"", "00 00 00 00 00 00 f8 3f", "\"int\""},
	    {"\"long\"", "80 80 80 80 40", "\"int\""},
	    {"\"string\"", "06 30 78 31", "\"double\""},
	    {"\"string\"", "02 31", "\"double\""},
	    {LEAF("X", F("v", "\"int\"")), "0e", "\"int\""},
	    {"\"int\"", "0e", NULL},
	};
	char schema[512], sealed[4096];
	struct rig seal, open;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		snprintf(schema, sizeof schema, REC("{\"name\":\"a\",\"type\":%s}"), rows[i].sealed_type);
		rig_init(&seal, HEAD R("path: $.a, encrypt: {key: k, type: json}"), schema);
		snprintf(schema, sizeof schema, REC("{\"name\":\"a\",\"type\":{\"type\":\"string\"%s%s}}"),
			 rows[i].type ? ",\"kveil.type\":" : "", rows[i].type ? rows[i].type : "");
		rig_init(&open, HEAD R("path: $.a, decrypt: {key: k, type: json}"), schema);
		snprintf(sealed, sizeof sealed, "%s", run(&seal, rows[i].value));
		assert_string_equal(run(&open, sealed), "unsupported_kind@0");
		rig_clear(&seal);
		rig_clear(&open);
	}
}

static void test_text(void **state)
{
	(void)state;
	static const char schema[] =
	    REC(F("a", "[\"null\",\"string\",\"long\"]") "," F("d", "\"double\"") "," F("f", "\"float\"") "," F(
		"b", "\"bytes\"") "," F("e", ENUM) "," F("m", "{\"type\":\"map\",\"values\":\"boolean\"}"));
	static const char json[] =
	    "{\"a\":{\"string\":\"q\\\"\"},\"d\":0.1,\"f\":0.1,\"b\":\"\\u00ff\\u0001\",\"e\":\"BC\","
	    "\"m\":{\"k\":true}}";
	struct kveil_avro_text *t;
	struct kveil_error err;
	KVEIL_CLEANUP_BUF struct kveil_buf bytes = KVEIL_BUF_INIT, text = KVEIL_BUF_INIT;

	assert_int_equal(kveil_avro_text_new(kveil_span_str(schema), &t, &err), KVEIL_OK);
	assert_int_equal(kveil_avro_from_json(t, kveil_span_str(json), &bytes, &err), KVEIL_OK);
	assert_int_equal(kveil_avro_to_json(t, kveil_buf_span(&bytes), &text, &err), KVEIL_OK);
	assert_string_equal(kveil_buf_cstr(&text), "{\"a\":\"q\\\"\",\"d\":0.1,\"f\":0.1,\"b\":\"/wE=\",\"e\":\"BC\","
						   "\"m\":{\"k\":true}}");
	assert_int_equal(kveil_avro_from_json(t, KVEIL_SPAN("{\"a\":true}"), &bytes, &err), KVEIL_E_INVALID_AVRO);
	assert_int_equal(kveil_avro_from_json(t, KVEIL_SPAN("{"), &bytes, &err), KVEIL_E_INVALID_JSON);
	kveil_avro_text_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_schemas_refused),
	    cmocka_unit_test(test_schemas_taken),
	    cmocka_unit_test(test_schemas_bounded),
	    cmocka_unit_test(test_derived_is_bounded),
	    cmocka_unit_test(test_fingerprints),
	    cmocka_unit_test(test_values_refused),
	    cmocka_unit_test(test_values_passed_over),
	    cmocka_unit_test(test_depth),
	    cmocka_unit_test(test_depth_of_records),
	    cmocka_unit_test(test_steps),
	    cmocka_unit_test(test_steps_of_many),
	    cmocka_unit_test(test_length_of_results),
	    cmocka_unit_test(test_changes),
	    cmocka_unit_test(test_derived),
	    cmocka_unit_test(test_no_default_is_told),
	    cmocka_unit_test(test_rules_refused),
	    cmocka_unit_test(test_refusals_name_their_place),
	    cmocka_unit_test(test_not_yet),
	    cmocka_unit_test(test_without_schema),
	    cmocka_unit_test(test_sealed_and_opened),
	    cmocka_unit_test(test_sealed_as_json),
	    cmocka_unit_test(test_sealed_as_another_type),
	    cmocka_unit_test(test_text),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

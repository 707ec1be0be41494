/* SPDX-License-Identifier: Apache-2.0 */
/* Paths that go on inside texts of JSON. */
#include "event_rig.h"

#include "base/buf.h"
#include "format/format.h"
#include "rules/invert.h"

#define PHONE "fields:\n  - {path: [\"$.payload\", \"$.phone\"], mask: {keep_first: 3, keep_last: 4}}\n"

static void one(const char *yaml, const char *value, const char *want)
{
	struct rig r;

	rig_init(&r, yaml);
	becomes(&r, value, want);
	rig_clear(&r);
}

static void a_value_inside_a_text_is_changed(void **state)
{
	(void)state;
	one(HEAD PHONE, "{\"id\":1,\"payload\":\"{\\\"phone\\\":\\\"13812345678\\\",\\\"a\\\":1}\"}",
	    "{\"id\":1,\"payload\":\"{\\\"phone\\\":\\\"138****5678\\\",\\\"a\\\":1}\"}");
}

/* However the text around and the one inside are spelled. */
static void what_no_rule_names_keeps_its_bytes(void **state)
{
	(void)state;
	one(HEAD PHONE,
	    "{\"payload\":\" {\\u0022a\\\":\\\"\\\\u00e9\\/\\\\/\\u00e9\\ud83d\\ude00é\\\",\\n \\\"phone\\\" : "
	    "\\\"\\u0031\\\\u00333812345678\\\" ,\\u0022b\\\":[1.50e1]}\\t\", \"x\":\"\\u0041\"}",
	    "{\"payload\":\" {\\u0022a\\\":\\\"\\\\u00e9\\/\\\\/\\u00e9\\ud83d\\ude00é\\\",\\n \\\"phone\\\" : "
	    "\\\"133*****5678\\\" ,\\u0022b\\\":[1.50e1]}\\t\", \"x\":\"\\u0041\"}");
	struct rig r;
	rig_init(&r, HEAD PHONE);
	const char *same = "{\"payload\":\" {\\u0022a\\\":\\\"\\\\u00e9\\/\\\"}\", \"phone\":\"13812345678\"}";
	becomes(&r, same, same);
	rig_clear(&r);
}

static void nothing_in_it_passes(void **state)
{
	(void)state;
	static const char *const passes[] = {
	    "{\"payload\":null}",         "{\"payload\":\"\"}",   "{\"payload\":\" \\n\"}",
	    "{\"payload\":42}",           "{\"payload\":\"42\"}", "{\"payload\":\"null\"}",
	    "{\"payload\":\"\\\"\\\"\"}", "{\"payload\":\"[]\"}", "{}",
	};
	struct rig r;

	rig_init(&r, HEAD PHONE);
	for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
		becomes(&r, passes[i], passes[i]);
	rig_clear(&r);
}

static void a_text_that_cannot_be_read_fails(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD PHONE);
	fails(&r, NULL, "{\"payload\":\"phone=13812345678\"}", KVEIL_E_INVALID_JSON);
	assert_string_equal(r.result.error.rule, "t/$.payload|$.phone");
	assert_int_equal(r.result.error.byte, 11);
	fails(&r, NULL, "{\"payload\":\"{\\\"phone\\\":\\\"13812345678\\\"\"}", KVEIL_E_INVALID_JSON);
	fails(&r, NULL, "{\"payload\":\"{} {\\\"phone\\\":\\\"13812345678\\\"}\"}", KVEIL_E_INVALID_JSON);
	fails(&r, NULL, "{\"payload\":\"\\\"phone=13812345678\\\"\"}", KVEIL_E_INVALID_JSON);
	fails(&r, NULL, "{\"payload\":\"{\\\"phone\\\":[1]}\"}", KVEIL_E_UNSUPPORTED_KIND);
	assert_int_equal(r.result.error.byte, 11);
	rig_clear(&r);
}

/* A text within a text that no step names, and what the text would hold, written out. */
static void a_text_encoded_twice_and_one_written_out_are_read_too(void **state)
{
	(void)state;
	one(HEAD PHONE,
	    "{\"payload\":\"\\\"{\\\\\\\"phone\\\\\\\":\\\\\\\"13812345678\\\\\\\",\\\\u0022a\\\\\\\":1}\\\"\"}",
	    "{\"payload\":\"\\\"{\\\\\\\"phone\\\\\\\":\\\\\\\"138****5678\\\\\\\",\\\\u0022a\\\\\\\":1}\\\"\"}");
	one(HEAD PHONE, "{\"payload\":{\"phone\":\"13812345678\",\"a\":1}}",
	    "{\"payload\":{\"phone\":\"138****5678\",\"a\":1}}");
}

static void steps_go_on(void **state)
{
	(void)state;
	one(HEAD "fields:\n  - {path: [\"$.a[*]\", \"$.b\", \"$..c\"], replace: {with: 'x\"y'}}\n",
	    "{\"a\":[\"{\\\"b\\\":\\\"[{\\\\\\\"c\\\\\\\":1},2]\\\",\\\"d\\\":0}\",\"{}\",{\"b\":{\"e\":{\"c\":2}}}]}",
	    "{\"a\":[\"{\\\"b\\\":\\\"[{\\\\\\\"c\\\\\\\":\\\\\\\"x\\\\\\\\\\\\\\\"y\\\\\\\"},2]\\\",\\\"d\\\":0}\",\"{"
	    "}\","
	    "{\"b\":{\"e\":{\"c\":\"x\\\"y\"}}}]}");
}

/* $ is the record that the text stands in, @ the value in the text. */
static void conditions_look_at_the_record_around(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD
		 "fields:\n  - {path: [\"$.rows[*].p\", \"$.n\"], when: \"$.kind == 'a' && @ > 5\", nullify: true}\n");
	becomes(
	    &r,
	    "{\"kind\":\"a\",\"rows\":[{\"p\":\"{\\\"n\\\":6}\"},{\"p\":\"{\\\"n\\\":5}\"},{\"p\":\"{\\\"n\\\":7}\"}]}",
	    "{\"kind\":\"a\",\"rows\":[{\"p\":\"{\\\"n\\\":null}\"},{\"p\":\"{\\\"n\\\":5}\"},{\"p\":\"{\\\"n\\\":null}"
	    "\"}]}");
	becomes(&r, "{\"kind\":\"b\",\"rows\":[{\"p\":\"{\\\"n\\\":6}\"}]}",
		"{\"kind\":\"b\",\"rows\":[{\"p\":\"{\\\"n\\\":6}\"}]}");
	becomes(&r, "{\"rows\":[{\"p\":\"{\\\"n\\\":6,\\\"kind\\\":\\\"b\\\"}\"}]}",
		"{\"rows\":[{\"p\":\"{\\\"n\\\":null,\\\"kind\\\":\\\"b\\\"}\"}]}");
	fails(&r, NULL, "{\"kind\":\"b\",\"rows\":[{\"p\":\"n=6\"}]}", KVEIL_E_INVALID_JSON);
	rig_clear(&r);
	rig_init(&r, HEAD "fields:\n  - {path: [\"$.p\", \"$.n\"], when: \"$.kind == 'a'\", nullify: true}\n");
	becomes(&r, "{\"kind\":\"b\",\"p\":\"n=6\"}", "{\"kind\":\"b\",\"p\":\"n=6\"}");
	fails(&r, NULL, "{\"kind\":\"a\",\"p\":\"n=6\"}", KVEIL_E_INVALID_JSON);
	fails(&r, NULL, "{\"p\":\"n=6\"}", KVEIL_E_INVALID_JSON);
	rig_clear(&r);
}

static void opens(const char *sealing, const char *value, size_t rules)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	char sealed[16384];
	struct rig r;

	rig_init(&r, sealing);
	assert_int_equal(run(&r, NULL, value), KVEIL_OK);
	assert_null(strstr(r.value, "13812345678"));
	snprintf(sealed, sizeof sealed, "%s", r.value);
	assert_int_equal(kveil_plan_write_inverse(r.plan, 0, &text), rules);
	bind_plan(&r, load(kveil_buf_cstr(&text)));
	becomes(&r, sealed, value);
	rig_clear(&r);
}

static void what_is_sealed_inside_opens(void **state)
{
	(void)state;
	static const char value[] =
	    "{\"t\":\"x\",\"payload\":\"{\\\"phone\\\":\\\"13812345678\\\",\\\"a\\\":\\\"\\u0041\\\"}\"}";

	opens(HEAD "fields:\n  - {path: [\"$.payload\", \"$.phone\"], encrypt: {key: k}}\n", value, 1);
	opens(HEAD "fields:\n  - {path: [\"$.payload\", \"$..phone\"], encrypt: {key: k, type: json}}\n", value, 1);
	opens(HEAD "fields:\n  - {path: [\"$.payload\", \"$.phone\"], encrypt: {key: k, associated_data: \"{$.t}\"}}\n",
	      value, 1);
	opens(HEAD "fields:\n  - {path: [\"$.payload\", \"$.phone\"], when: \"$.t == 'x'\", encrypt: {key: k}}\n",
	      value, 1);
}

/* $['payload']['phone'] is the associated data, in a text and written out alike. */
static void steps_are_joined_in_associated_data(void **state)
{
	(void)state;
	char plain[512], inside[512];
	struct rig r;

	rig_init(&r, HEAD "fields:\n  - {path: $.payload.phone, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, NULL, "{\"payload\":{\"phone\":\"13812345678\"}}"), KVEIL_OK);
	assert_int_equal(sscanf(r.value, "{\"payload\":{\"phone\":\"%500[^\"]", plain), 1);
	rig_clear(&r);
	for (int descends = 0; descends < 2; descends++) {
		rig_init(&r, descends ? HEAD "fields:\n  - {path: [$.payload, $..phone], tokenize: {key: k}}\n"
				      : HEAD "fields:\n  - {path: [$.payload, $.phone], tokenize: {key: k}}\n");
		assert_int_equal(run(&r, NULL, "{\"payload\":\"{\\\"phone\\\":\\\"13812345678\\\"}\"}"), KVEIL_OK);
		assert_int_equal(sscanf(r.value, "{\"payload\":\"{\\\"phone\\\":\\\"%500[^\\]", inside), 1);
		assert_string_equal(plain, inside);
		rig_clear(&r);
	}
}

static void a_sibling_in_the_text_is_written(void **state)
{
	(void)state;
	one(HEAD "fields:\n  - {path: [$.p, $.a], mask: {}, to: [$.p, $.b]}\n", "{\"p\":\"{\\\"a\\\":\\\"xyz\\\"}\"}",
	    "{\"p\":\"{\\\"b\\\":\\\"***\\\"}\"}");
	one(HEAD "fields:\n  - {path: [$.p, $.a], remove: true}\n", "{\"p\":\"{\\\"a\\\":\\\"xyz\\\",\\\"b\\\":1}\"}",
	    "{\"p\":\"{\\\"b\\\":1}\"}");
	struct rig r;
	rig_init(&r, HEAD "fields:\n  - {path: [$.p, $.a], required: true, mask: {}}\n");
	becomes(&r, "{\"p\":\"{\\\"a\\\":\\\"xyz\\\"}\"}", "{\"p\":\"{\\\"a\\\":\\\"***\\\"}\"}");
	fails(&r, NULL, "{\"p\":\"{\\\"b\\\":1}\"}", KVEIL_E_MISSING_FIELD);
	rig_clear(&r);
}

static void what_nothing_names_in_a_text_goes(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "unmatched: remove\nclear: [$.id, [$.p, $.k, $.x]]\n"
			  "fields:\n  - {path: [$.p, $.a.b], mask: {}}\n");
	becomes(&r,
		"{\"id\":1,\"z\":2,\"p\":\"{\\\"a\\\":{\\\"b\\\":\\\"xyz\\\",\\\"c\\\":1},\\\"d\\\":2,"
		"\\\"k\\\":\\\"{\\\\\\\"x\\\\\\\":1,\\\\\\\"y\\\\\\\":2}\\\"}\"}",
		"{\"id\":1,\"p\":\"{\\\"a\\\":{\\\"b\\\":\\\"***\\\"},\\\"k\\\":\\\"{\\\\\\\"x\\\\\\\":1}\\\"}\"}");
	becomes(&r, "{\"id\":1,\"p\":\"42\"}", "{\"id\":1}");
	becomes(&r, "{\"id\":1,\"p\":\"\"}", "{\"id\":1,\"p\":\"\"}");
	becomes(&r, "{\"id\":1,\"p\":null}", "{\"id\":1,\"p\":null}");
	becomes(&r, "{\"id\":1,\"p\":{\"z\":1,\"k\":{\"x\":1,\"y\":2}}}", "{\"id\":1,\"p\":{\"k\":{\"x\":1}}}");
	becomes(&r, "{\"id\":1,\"p\":\"{\\\"a\\\":{}}\"}", "{\"id\":1,\"p\":\"{\\\"a\\\":{}}\"}");
	rig_clear(&r);
	rig_init(&r, HEAD "unmatched: dead-letter\nfields:\n  - {path: [$.p, $.a], mask: {}}\n");
	becomes(&r, "{\"p\":\"{\\\"a\\\":\\\"xyz\\\"}\"}", "{\"p\":\"{\\\"a\\\":\\\"***\\\"}\"}");
	fails(&r, NULL, "{\"p\":\"{\\\"a\\\":\\\"xyz\\\",\\\"b\\\":1}\"}", KVEIL_E_UNMATCHED_FIELD);
	assert_string_equal(r.result.error.hint, "name $['p']['b'] in a rule or under `clear`");
	rig_clear(&r);
}

/* What is named as a whole holds texts in which all is named too. */
static void what_is_clear_around_a_text_is_clear_in_it(void **state)
{
	(void)state;
	static const char *const in[] = {"{\"x\":\"ab\",\"y\":1}",
					 "{\"q\":\"{\\\"x\\\":\\\"ab\\\",\\\"y\\\":1}\",\"z\":2}"};
	static const char *const want[] = {"{\"x\":\"**\",\"y\":1}",
					   "{\"q\":\"{\\\"x\\\":\\\"**\\\",\\\"y\\\":1}\",\"z\":2}"};
	static const char *const rules[] = {"clear: [$.o]\nfields:\n  - {path: [\"$.o.l[*]\", $.x], mask: {}}\n",
					    "clear: [$.o]\nfields:\n  - {path: [\"$.o.l[*]\", $.q, $.x], mask: {}}\n"};
	struct kveil_buf value = KVEIL_BUF_INIT, wanted = KVEIL_BUF_INIT;
	struct rig r;

	for (size_t i = 0; i < 2; i++) {
		char yaml[256];
		snprintf(yaml, sizeof yaml, HEAD "unmatched: remove\n%s", rules[i]);
		rig_init(&r, yaml);
		kveil_buf_reset(&value);
		kveil_buf_reset(&wanted);
		kveil_buf_append_str(&value, "{\"o\":{\"l\":[1,");
		kveil_json_write_text(&value, kveil_span_str(in[i]));
		kveil_buf_append_str(&value, "],\"n\":1},\"z\":1}");
		kveil_buf_append_str(&wanted, "{\"o\":{\"l\":[1,");
		kveil_json_write_text(&wanted, kveil_span_str(want[i]));
		kveil_buf_append_str(&wanted, "],\"n\":1}}");
		becomes(&r, kveil_buf_cstr(&value), kveil_buf_cstr(&wanted));
		rig_clear(&r);
	}
	kveil_buf_clear(&value);
	kveil_buf_clear(&wanted);
	/* What is clear beside it is none of the text's business. */
	rig_init(&r, HEAD "unmatched: remove\nclear: [$.o.n]\nfields:\n  - {path: [$.o.p, $.x], mask: {}}\n");
	becomes(&r, "{\"o\":{\"p\":\"{\\\"x\\\":\\\"ab\\\",\\\"y\\\":1}\",\"n\":1}}",
		"{\"o\":{\"p\":\"{\\\"x\\\":\\\"**\\\"}\",\"n\":1}}");
	rig_clear(&r);
}

#define VIEWS(b)                                                                                                       \
	"name: t\ntopics: [in]\noutputs:\n  - name: a\n    topic: out.a\n    fields:\n"                                \
	"      - {path: [$.p, $.x], nullify: true}\n  - name: b\n    topic: out.b\n" b

static void views_go_in_each_by_its_rules(void **state)
{
	(void)state;
	char text[256];
	struct rig r;

	says(VIEWS("    fields:\n      - {path: $..x, nullify: true}\n"), false,
	     "output a protects $.p|$.x and output b does not");
	says(VIEWS("    clear: [$.q]\n    fields: []\n"), false, "output b does not");
	rig_init(&r, "name: t\ntopics: [in]\nclear: [$.p]\noutputs:\n  - name: a\n    topic: out.a\n    fields:\n"
		     "      - {path: [$.p, $.x], nullify: true}\n  - {name: b, topic: out.b, fields: [{path: $.p, "
		     "mask: {}}]}\n");
	becomes(&r, "{\"p\":\"{\\\"x\\\":1}\"}", "{\"p\":\"{\\\"x\\\":null}\"}");
	show(r.result.outputs[1].record.value, text, sizeof text);
	assert_string_equal(text, "{\"p\":\"*******\"}");
	fails(&r, NULL, "{\"p\":\"x=1\"}", KVEIL_E_INVALID_JSON);
	rig_clear(&r);
	rig_init(&r, VIEWS("    clear: [[$.p, $.x]]\n"));
	becomes(&r, "{\"p\":\"{\\\"x\\\":1}\"}", "{\"p\":\"{\\\"x\\\":null}\"}");
	rig_clear(&r);
}

static void views_meet_in_a_text(const char *steps, const char *value, const char *want)
{
	char yaml[512], text[256];
	struct rig r;

	snprintf(yaml, sizeof yaml,
		 "name: t\ntopics: [in]\nformat: json\noutputs:\n"
		 "  - {name: a, topic: out.a, fields: [{path: [%s], nullify: true}]}\n"
		 "  - {name: b, topic: out.b, clear: [[%s]]}\n",
		 steps, steps);
	rig_init(&r, yaml);
	becomes(&r, value, want);
	show(r.result.outputs[1].record.value, text, sizeof text);
	assert_string_equal(text, value);
	rig_clear(&r);
}

/* A view that has nothing to do in a text has no part in the texts that it holds. */
static void a_text_within_a_text_is_of_some_views(void **state)
{
	(void)state;
	views_meet_in_a_text("$.p, $.x", "{\"p\":\"{\\\"x\\\":1}\"}", "{\"p\":\"{\\\"x\\\":null}\"}");
	views_meet_in_a_text("$.p, $.q, $.x", "{\"p\":\"{\\\"q\\\":\\\"{\\\\\\\"x\\\\\\\":1}\\\"}\"}",
			     "{\"p\":\"{\\\"q\\\":\\\"{\\\\\\\"x\\\\\\\":null}\\\"}\"}");
}

static void a_path_that_cannot_go_on_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *yaml, *what;
	} wrong[] = {
	    {"fields:\n  - {path: [\"header:h\", $.x], mask: {}}\n", "not in a header"},
	    {"fields:\n  - {path: [\"key:$\", $.x], mask: {}}\n", "looks inside the key, whose format is text"},
	    {"fields:\n  - {path: [$.p, $], mask: {}}\n", "all of the text is the text itself"},
	    {"fields:\n  - {path: [$.p, x], mask: {}}\n", "begins with $"},
	    {"fields:\n  - {path: [$.a, $.b, $.c, $.d, $.e], mask: {}}\n", "3 texts within each other"},
	    {"fields:\n  - {path: [$.p, $.x], mask: {}}\n  - {path: $.p, remove: true}\n", "lies inside $.p"},
	    {"fields:\n  - {path: $.p, remove: true}\n  - {path: [$.p, $.x], mask: {}}\n", "$.p|$.x lies inside $.p"},
	    {"fields:\n  - {path: [$.p, $.x], mask: {}}\n  - {path: [$.p, $.x.y], mask: {}}\n", "lies inside $.p|$.x"},
	    {"fields:\n  - {path: [$.p, $.x], mask: {}}\n  - {path: [$.p, $.x], remove: true}\n", "never reached"},
	    {"fields:\n  - {path: [$.p, $.x], mask: {}, to: [$.p, $.y.z]}\n", "to names a sibling"},
	    {"fields:\n  - {path: [$.p, $.x], mask: {}, to: $.p.y}\n", "to names a sibling"},
	    {"envelope: {kind: debezium, key: $.p}\nfields:\n  - {path: [$.p, $.x], mask: {}}\n", "does not look into"},
	    {"format: avro\nfields:\n  - {path: [$.p, $.x], mask: {}}\n", "goes on inside a text"},
	};
	char yaml[512];

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		snprintf(yaml, sizeof yaml, HEAD "%s", wrong[i].yaml);
		says(yaml, false, wrong[i].what);
	}
	struct rig r;
	rig_init(&r, HEAD "fields:\n  - {path: $.p.x, nullify: true}\n  - {path: [$.p, $.x], mask: {}}\n");
	becomes(&r, "{\"p\":{\"x\":\"ab\"}}", "{\"p\":{\"x\":null}}");
	becomes(&r, "{\"p\":\"{\\\"x\\\":\\\"ab\\\"}\"}", "{\"p\":\"{\\\"x\\\":\\\"**\\\"}\"}");
	rig_clear(&r);
}

static void it_holds_in_every_row_of_an_event(void **state)
{
	(void)state;
	struct rig r;

	rig_init(
	    &r, HEAD
	    "envelope: debezium\nfields:\n  - {path: [$.doc, $.x], when: \"$.c == 'CN'\", nullify: true, table: t}\n"
	    "  - {path: [$.doc, $.k], tokenize: {key: k}}\n");
	becomes(
	    &r,
	    "{\"before\":{\"c\":\"US\",\"doc\":\"{\\\"x\\\":1}\"},\"after\":{\"c\":\"CN\",\"doc\":\"{\\\"x\\\":1}\"},"
	    "\"source\":{\"table\":\"t\"},\"op\":\"u\"}",
	    "{\"before\":{\"c\":\"US\",\"doc\":\"{\\\"x\\\":1}\"},\"after\":{\"c\":\"CN\",\"doc\":\"{\\\"x\\\":null}\"}"
	    ","
	    "\"source\":{\"table\":\"t\"},\"op\":\"u\"}");
	becomes(&r, "{\"after\":{\"c\":\"CN\",\"doc\":\"{\\\"x\\\":1}\"},\"source\":{\"table\":\"u\"},\"op\":\"u\"}",
		"{\"after\":{\"c\":\"CN\",\"doc\":\"{\\\"x\\\":1}\"},\"source\":{\"table\":\"u\"},\"op\":\"u\"}");
	becomes(&r, "{\"c\":\"CN\",\"doc\":\"{\\\"x\\\":1}\",\"__table\":\"t\"}",
		"{\"c\":\"CN\",\"doc\":\"{\\\"x\\\":null}\",\"__table\":\"t\"}");
	becomes(&r,
		"{\"after\":{\"c\":\"CN\",\"doc\":\"__debezium_unavailable_value\"},\"source\":{\"table\":\"t\"},"
		"\"op\":\"u\"}",
		"{\"after\":{\"c\":\"CN\",\"doc\":\"__debezium_unavailable_value\"},\"source\":{\"table\":\"t\"},"
		"\"op\":\"u\"}");
	/* In a key the token is the row's. */
	assert_int_equal(
	    run(&r, "{\"doc\":\"{\\\"k\\\":\\\"a\\\"}\"}", "{\"after\":{\"doc\":\"{\\\"k\\\":\\\"a\\\"}\"}}"),
	    KVEIL_OK);
	assert_non_null(strstr(r.value, r.key));
	assert_null(strstr(r.key, "\\\"a\\\""));
	rig_clear(&r);
	rig_init(&r, HEAD "envelope: debezium\nfields:\n  - {path: [$.doc, $.k], tokenize: {key: k}}\n");
	fails(&r, "{\"doc\":\"k=a\"}", NULL, KVEIL_E_INVALID_JSON);
	rig_clear(&r);
}

/* As a text, as bytes; what holds no row is blanked. */
static void the_content_of_messages_may_be_rows(void **state)
{
	(void)state;
#define MESSAGE(content) "{\"op\":\"m\",\"message\":{\"prefix\":\"p\",\"content\":" content "}}"
	static const char rules[] =
	    HEAD "envelope: {kind: debezium, messages: rows}\nfields:\n  - {path: $.a, nullify: true}\n";
	struct rig r;

	rig_init(&r, rules);
	becomes(&r, MESSAGE("\"{\\\"a\\\":1,\\\"b\\\":2}\""), MESSAGE("\"{\\\"a\\\":null,\\\"b\\\":2}\""));
	becomes(&r, MESSAGE("\"eyJhIjoxLCJiIjoyfQ==\""), MESSAGE("\"eyJhIjpudWxsLCJiIjoyfQ==\""));
	becomes(&r, MESSAGE("\"eyJiIjoyfQ==\""), MESSAGE("\"eyJiIjoyfQ==\""));
	becomes(&r, MESSAGE("\"\""), MESSAGE("\"\""));
	static const char *const blanked[] = {"\"a=1\"", "\"[1]\"", "\"YT0x\"", "\"WzFd\"", "\"eyJhIjox\"", "[1]"};
	for (size_t i = 0; i < sizeof blanked / sizeof *blanked; i++) {
		char value[256];
		snprintf(value, sizeof value, MESSAGE("%s"), blanked[i]);
		becomes(&r, value, MESSAGE("null"));
	}
	struct kveil_plan_set *rows, *blank;
	rows = kveil_plan_set_of(load(rules), "{topic}.dead");
	blank = kveil_plan_set_of(load(HEAD "envelope: debezium\nfields:\n  - {path: $.a, nullify: true}\n"),
				  "{topic}.dead");
	assert_true(kveil_plan_set_protects_less(blank, rows, NULL));
	assert_false(kveil_plan_set_protects_less(rows, blank, NULL));
	kveil_plan_set_unref(rows);
	kveil_plan_set_unref(blank);
	rig_clear(&r);
}

static void a_default_in_the_schema_is_neutral(void **state)
{
	(void)state;
	one(HEAD "envelope: connect\nfields:\n  - {path: [$.doc, $.x], mask: {}}\n",
	    "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":true,"
	    "\"name\":\"io.debezium.data.Json\",\"default\":\"{\\\"x\\\":\\\"abc\\\"}\",\"field\":\"doc\"}]},"
	    "\"payload\":{\"doc\":\"{\\\"x\\\":\\\"abc\\\"}\"}}",
	    "{\"schema\":{\"type\":\"struct\",\"fields\":[{\"type\":\"string\",\"optional\":true,"
	    "\"name\":\"io.debezium.data.Json\",\"default\":\"\",\"field\":\"doc\"}]},"
	    "\"payload\":{\"doc\":\"{\\\"x\\\":\\\"***\\\"}\"}}");
}

/* As many as there may be, and one more. */
static void the_depth_is_bounded(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	char last[4096] = "{\"x\":1}";
	struct rig r;

	rig_init(&r, HEAD "fields:\n  - {path: [$.p, $.x], nullify: true}\n");
	for (int depth = 1; depth <= 5; depth++) {
		char record[4096 + 16];
		kveil_buf_reset(&text);
		kveil_json_write_text(&text, kveil_span_str(last));
		snprintf(last, sizeof last, "%s", kveil_buf_cstr(&text));
		snprintf(record, sizeof record, "{\"p\":%s}", last);
		enum kveil_status st = run(&r, NULL, record);
		assert_int_equal(st, depth <= 4 ? KVEIL_OK : KVEIL_E_INVALID_JSON);
		if (!st)
			assert_non_null(strstr(r.value, ":null}"));
	}
	rig_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_value_inside_a_text_is_changed),
	    cmocka_unit_test(what_no_rule_names_keeps_its_bytes),
	    cmocka_unit_test(nothing_in_it_passes),
	    cmocka_unit_test(a_text_that_cannot_be_read_fails),
	    cmocka_unit_test(a_text_encoded_twice_and_one_written_out_are_read_too),
	    cmocka_unit_test(steps_go_on),
	    cmocka_unit_test(conditions_look_at_the_record_around),
	    cmocka_unit_test(what_is_sealed_inside_opens),
	    cmocka_unit_test(steps_are_joined_in_associated_data),
	    cmocka_unit_test(a_sibling_in_the_text_is_written),
	    cmocka_unit_test(what_nothing_names_in_a_text_goes),
	    cmocka_unit_test(what_is_clear_around_a_text_is_clear_in_it),
	    cmocka_unit_test(views_go_in_each_by_its_rules),
	    cmocka_unit_test(a_text_within_a_text_is_of_some_views),
	    cmocka_unit_test(a_path_that_cannot_go_on_is_refused),
	    cmocka_unit_test(it_holds_in_every_row_of_an_event),
	    cmocka_unit_test(the_content_of_messages_may_be_rows),
	    cmocka_unit_test(a_default_in_the_schema_is_neutral),
	    cmocka_unit_test(the_depth_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

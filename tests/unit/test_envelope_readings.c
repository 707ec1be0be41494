/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flat row whose columns have the names of an envelope's members can be read in several ways. A conditional rule
 * holds if its condition holds in any of them: small cases by hand, then random rows against a model that walks a tree
 * of its own. KVEIL_READINGS: how many rows a kind, 4,000 when it is not set.
 */
#include "kveil/engine.h"
#include "rules/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEAD "name: t\ntopics: [in]\noutput: out\nenvelope: "

struct rig {
	struct kveil_plan *plan;
	struct kveil_keystore *keystore;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_result result;
	char value[16384], key[16384], header[64];
};

static struct kveil_plan *load(const char *yaml, const char *warning)
{
	struct kveil_report report = {0};
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml), "t.yaml", NULL, &report);
	bool found = false;

	for (size_t i = 0; i < report.count; i++)
		found |= warning && strstr(report.problems[i].error.message, warning);
	if (!plan || (warning && !found)) {
		kveil_report_print(&report, stderr);
		fail_msg("the rules do not load as they should: %s", yaml);
	}
	kveil_report_clear(&report);
	return plan;
}

static void rig_init(struct rig *r, const char *yaml)
{
	*r = (struct rig){.plan = load(yaml, NULL)};
	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("seed"), &r->keystore, NULL), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(r->keystore, &r->ring, NULL), KVEIL_OK);
	assert_int_equal(kveil_engine_new(r->plan, r->ring, NULL, &r->engine, NULL), KVEIL_OK);
}

static void rig_clear(struct rig *r)
{
	kveil_engine_free(r->engine);
	kveil_plan_unref(r->plan);
	kveil_keyring_free(r->ring);
	kveil_keystore_unref(r->keystore);
}

static void show(struct kveil_span s, char *dst, size_t size)
{
	snprintf(dst, size, "%.*s", s.data ? (int)s.len : 4, s.data ? (const char *)s.data : "null");
}

static enum kveil_status run(struct rig *r, const char *key, const char *value, const char *header)
{
	struct kveil_header h = {KVEIL_SPAN("h"), kveil_span_str(header)};
	struct kveil_record record = {
	    .key = kveil_span_str(key), .value = kveil_span_str(value), .headers = &h, .header_count = 1};

	kveil_engine_run(r->engine, &record, &r->result);
	if (r->result.verdict != KVEIL_PRODUCE)
		return r->result.error.status;
	show(r->result.outputs[0].record.value, r->value, sizeof r->value);
	show(r->result.outputs[0].record.key, r->key, sizeof r->key);
	show(r->result.outputs[0].record.headers[0].value, r->header, sizeof r->header);
	return KVEIL_OK;
}

/* ---- by hand ---- */

static void becomes(const char *kind, const char *rule, const char *value, const char *want)
{
	char yaml[512];
	struct rig *r = malloc(sizeof *r);

	snprintf(yaml, sizeof yaml, HEAD "%s\nfields:\n  - %s\n", kind, rule);
	rig_init(r, yaml);
	if (run(r, NULL, value, "x") != KVEIL_OK)
		fail_msg("%s: %s", value, r->result.error.message);
	if (strcmp(r->value, want) != 0)
		fail_msg("%s\ngave   %s\nwanted %s", rule, r->value, want);
	rig_clear(r);
	free(r);
}

static void header_becomes(const char *kind, const char *when, const char *value, const char *want)
{
	char yaml[512];
	struct rig *r = malloc(sizeof *r);

	snprintf(yaml, sizeof yaml, HEAD "%s\nfields:\n  - {path: \"header:h\", when: \"%s\", mask: {}}\n", kind, when);
	rig_init(r, yaml);
	if (run(r, NULL, value, "s") != KVEIL_OK)
		fail_msg("%s: %s", value, r->result.error.message);
	if (strcmp(r->header, want) != 0)
		fail_msg("%s, %s of %s: the header is %s", kind, when, value, r->header);
	rig_clear(r);
	free(r);
}

#define IN_CN "{path: \"$..phone\", when: \"$.country == 'CN'\", mask: {}}"

static void a_flat_row_is_read_as_one_too(void **state)
{
	(void)state;
	static const char *const columns[] = {"payload", "after", "before"};
	char value[256], want[256];

	for (size_t i = 0; i < 3; i++) {
		snprintf(value, sizeof value, "{\"country\":\"CN\",\"%s\":{\"country\":\"US\",\"phone\":\"1\"}}",
			 columns[i]);
		snprintf(want, sizeof want, "{\"country\":\"CN\",\"%s\":{\"country\":\"US\",\"phone\":\"*\"}}",
			 columns[i]);
		becomes("debezium", IN_CN, value, want);
	}
	becomes("ogg", IN_CN, "{\"country\":\"CN\",\"after\":{\"country\":\"US\",\"phone\":\"1\"}}",
		"{\"country\":\"CN\",\"after\":{\"country\":\"US\",\"phone\":\"*\"}}");
	/* With a path that the automaton cannot follow. */
	becomes("debezium", "{path: \"$..p[-1]\", when: \"$.country == 'CN'\", mask: {}}",
		"{\"country\":\"CN\",\"payload\":{\"country\":\"US\",\"p\":[\"1\",\"2\"]}}",
		"{\"country\":\"CN\",\"payload\":{\"country\":\"US\",\"p\":[\"1\",\"*\"]}}");
	/* A rule that writes elsewhere. */
	becomes("debezium", "{path: \"$..p\", when: \"$.country == 'CN'\", mask: {}, to: \"$..q\"}",
		"{\"country\":\"CN\",\"payload\":{\"country\":\"US\",\"p\":\"1\"}}",
		"{\"country\":\"CN\",\"payload\":{\"country\":\"US\",\"q\":\"*\"}}");
	/* It has the column, of another type: doubt. */
	becomes("debezium", IN_CN, "{\"country\":5,\"after\":{\"country\":\"US\",\"phone\":\"1\"}}",
		"{\"country\":5,\"after\":{\"country\":\"US\",\"phone\":\"*\"}}");
	/* Or it has one of two. */
	becomes("debezium", "{path: \"$..phone\", when: \"$.a == 1 || $.b == 1\", mask: {}}",
		"{\"a\":\"x\",\"after\":{\"a\":2,\"b\":2,\"phone\":\"1\"}}",
		"{\"a\":\"x\",\"after\":{\"a\":2,\"b\":2,\"phone\":\"*\"}}");
	/* A condition on what is not there. */
	becomes("debezium", "{path: \"$..phone\", when: \"!$.vip\", mask: {}}",
		"{\"a\":1,\"after\":{\"vip\":true,\"phone\":\"1\"}}",
		"{\"a\":1,\"after\":{\"vip\":true,\"phone\":\"*\"}}");
}

static void an_event_around_a_row_says_nothing(void **state)
{
	(void)state;
	becomes("debezium", IN_CN, "{\"op\":\"c\",\"ts_ms\":1,\"after\":{\"country\":\"US\",\"phone\":\"1\"}}",
		"{\"op\":\"c\",\"ts_ms\":1,\"after\":{\"country\":\"US\",\"phone\":\"1\"}}");
	becomes("debezium", IN_CN, "{\"payload\":{\"after\":{\"country\":\"US\",\"phone\":\"1\"}}}",
		"{\"payload\":{\"after\":{\"country\":\"US\",\"phone\":\"1\"}}}");
	becomes("debezium", IN_CN,
		"{\"before\":{\"country\":\"CN\",\"phone\":\"1\"},\"after\":{\"country\":\"US\","
		"\"phone\":\"1\"}}",
		"{\"before\":{\"country\":\"CN\",\"phone\":\"*\"},\"after\":{\"country\":\"US\",\"phone\":\"1\"}}");
	becomes("debezium", "{path: \"$..phone\", when: \"$.vip != true\", mask: {}}",
		"{\"a\":1,\"after\":{\"vip\":true,\"phone\":\"1\"}}",
		"{\"a\":1,\"after\":{\"vip\":true,\"phone\":\"1\"}}");
	becomes("debezium", "{path: \"$.phone\", when: \"!$.vip\", mask: {}}",
		"{\"a\":1,\"after\":{\"vip\":true,\"phone\":\"1\"}}",
		"{\"a\":1,\"after\":{\"vip\":true,\"phone\":\"1\"}}");
}

static void headers_are_judged_in_every_reading(void **state)
{
	(void)state;
	static const char when[] = "$.country == 'CN'";

	header_becomes("debezium", when, "{\"country\":\"CN\",\"after\":{\"country\":\"US\"}}", "*");
	header_becomes("debezium", when, "{\"country\":\"CN\",\"payload\":{\"country\":\"US\"}}", "*");
	header_becomes("debezium", when, "{\"payload\":{\"country\":\"CN\",\"before\":{\"country\":\"US\"}}}", "*");
	header_becomes("debezium", when, "{\"payload\":{\"country\":\"US\"},\"after\":{\"country\":\"CN\"}}", "*");
	header_becomes("ogg", when, "{\"country\":\"CN\",\"before\":{\"country\":\"US\"}}", "*");
	header_becomes("maxwell", when, "{\"country\":\"CN\",\"data\":{\"country\":\"US\"}}", "*");
	header_becomes("canal", when, "{\"country\":\"CN\",\"data\":[{\"country\":\"US\"}]}", "*");
	/* What a row was is not a reading of its own. */
	header_becomes("debezium", when,
		       "{\"before\":{\"country\":\"CN\"},\"after\":{\"country\":\"US\"},\"op\":\"u\"}", "s");
	header_becomes("canal", when, "{\"data\":[{\"country\":\"US\"}],\"old\":[{\"country\":\"CN\"}]}", "s");
}

/* An opening action wants every reading to agree. */
static void what_reveals_needs_every_reading(void **state)
{
	(void)state;
	static const char rules[] = "  - {path: \"$..phone\", when: \"$.open == 1\", decrypt: {key: pii}}\n";
	char yaml[512];
	struct rig *r = malloc(sizeof *r);

	snprintf(yaml, sizeof yaml, HEAD "debezium\nfields:\n%s", rules);
	rig_init(r, yaml);
	assert_int_equal(run(r, NULL, "{\"open\":0,\"after\":{\"open\":1,\"phone\":\"AA\"}}", "x"), KVEIL_OK);
	assert_int_equal(run(r, NULL, "{\"open\":\"\",\"after\":{\"open\":1,\"phone\":\"AA\"}}", "x"), KVEIL_OK);
	/* It would be opened, and is not ciphertext. */
	assert_int_not_equal(run(r, NULL, "{\"op\":\"c\",\"after\":{\"open\":1,\"phone\":\"AA\"}}", "x"), KVEIL_OK);
	rig_clear(r);
	free(r);
}

#define NULLIFY(when) "{path: $.phone, when: \"" when "\", nullify: true}"

/* An image with some of the columns does not say that there are no others. */
static void what_an_image_may_lack_is_doubt(void **state)
{
	(void)state;
	static const char *const whens[] = {
	    NULLIFY("$.vip"),         NULLIFY("count($.tags[*]) > 0"),
	    NULLIFY("$.addr.cn"),     NULLIFY("@ != null && $.vip"),
	    NULLIFY("length($) > 9"), NULLIFY("$[?@ == 'x']"),
	};
	static const struct {
		const char *kind, *value, *want;
	} images[] = {
	    {"maxwell", "{\"data\":{\"phone\":\"N\"},\"old\":{\"phone\":\"C\"}}",
	     "{\"data\":{\"phone\":\"N\"},\"old\":{\"phone\":null}}"},
	    {"canal", "{\"data\":[{\"phone\":\"N\"}],\"old\":[{\"phone\":\"C\"}]}",
	     "{\"data\":[{\"phone\":\"N\"}],\"old\":[{\"phone\":null}]}"},
	    {"debezium", "{\"after\":{\"phone\":\"N\"},\"before\":{\"phone\":\"C\"}}",
	     "{\"after\":{\"phone\":\"N\"},\"before\":{\"phone\":null}}"},
	    {"debezium", "{\"payload\":{\"after\":{\"phone\":\"N\"},\"before\":{\"phone\":\"C\"}}}",
	     "{\"payload\":{\"after\":{\"phone\":\"N\"},\"before\":{\"phone\":null}}}"},
	    {"ogg", "{\"before\":{\"phone\":\"C\"},\"after\":{\"phone\":\"N\"}}",
	     "{\"before\":{\"phone\":null},\"after\":{\"phone\":null}}"},
	    /* Flattened, of an image that may lack columns. */
	    {"debezium", "{\"phone\":\"C\",\"__deleted\":\"true\"}", "{\"phone\":null,\"__deleted\":\"true\"}"},
	    {"debezium", "{\"phone\":\"C\",\"__deleted\":true}", "{\"phone\":null,\"__deleted\":true}"},
	    {"debezium", "{\"payload\":{\"phone\":\"C\",\"__op\":\"d\"}}",
	     "{\"payload\":{\"phone\":null,\"__op\":\"d\"}}"},
	    {"debezium", "{\"__op\":\"\\u0064\",\"phone\":\"C\"}", "{\"__op\":\"\\u0064\",\"phone\":null}"},
	    {"debezium", "{\"_id\":\"1\",\"phone\":\"C\"}", "{\"_id\":\"1\",\"phone\":null}"},
	    {"{kind: debezium, added_prefix: x.}", "{\"phone\":\"C\",\"x.op\":\"d\"}",
	     "{\"phone\":null,\"x.op\":\"d\"}"},
	    {"ogg", "{\"table\":\"T\",\"op_type\":\"U\",\"phone\":\"C\"}",
	     "{\"table\":\"T\",\"op_type\":\"U\",\"phone\":null}"},
	};

	for (size_t i = 0; i < sizeof images / sizeof *images; i++)
		for (size_t k = 0; k < sizeof whens / sizeof *whens; k++)
			becomes(images[i].kind, whens[k], images[i].value, images[i].want);
}

static void what_an_image_has_is_known(void **state)
{
	(void)state;
	static const char value[] = "{\"data\":{\"phone\":\"N\"},\"old\":{\"phone\":\"C\",\"vip\":1,\"s\":\"abc\"}}";

	becomes("maxwell", NULLIFY("$.data || !$.vip"), "{\"vip\":1,\"phone\":\"N\"}", "{\"vip\":1,\"phone\":\"N\"}");
	becomes("maxwell", NULLIFY("$.s && !$.vip"), value, value);
	for (const char *const *whole = (const char *const[]){"__deleted\":\"false", "__op\":\"u", "__op\":\"c", NULL};
	     *whole; whole++) {
		char flat[64];
		snprintf(flat, sizeof flat, "{\"phone\":\"C\",\"%s\"}", *whole);
		becomes("debezium", NULLIFY("$.vip"), flat, flat);
	}
	becomes("ogg", NULLIFY("$.vip"), "{\"op_type\":\"I\",\"phone\":\"C\"}", "{\"op_type\":\"I\",\"phone\":\"C\"}");
	becomes("maxwell", NULLIFY("length($.s) == 4 || length(@) == 2"), "{\"old\":{\"phone\":\"C\",\"s\":\"abc\"}}",
		"{\"old\":{\"phone\":\"C\",\"s\":\"abc\"}}");
	/* Values are whole. */
	becomes("maxwell", "{path: $.phone, when: \"@.vip || count(@[*]) == 1\", nullify: true}",
		"{\"old\":{\"phone\":{\"a\":1,\"b\":2}}}", "{\"old\":{\"phone\":{\"a\":1,\"b\":2}}}");
}

#define OF_US NULLIFY("$.country == 'CN'")

/* What Canal and Maxwell leave out of `old` did not change. tests/integration/test_images.py has more of it. */
static void what_did_not_change_is_the_whole_rows(void **state)
{
	(void)state;
	static const char *const same[][2] = {
	    {"maxwell", "{\"data\":{\"country\":\"US\",\"phone\":\"N\"},\"old\":{\"phone\":\"C\"}}"},
	    {"canal", "{\"data\":[{\"phone\":\"N\",\"country\":\"US\"}],\"old\":[{\"phone\":\"C\"}]}"},
	    {"maxwell", "{\"old\":{\"phone\":\"C\"},\"d\\u0061ta\":{\"country\":\"US\",\"phone\":\"N\"}}"},
	};
	static const char *const doubts[][3] = {
	    /* Which row of which? */
	    {"canal", "{\"data\":[{\"country\":\"US\"},{\"country\":\"US\"}],\"old\":[{\"phone\":\"C\"}]}",
	     "{\"data\":[{\"country\":\"US\"},{\"country\":\"US\"}],\"old\":[{\"phone\":null}]}"},
	    {"canal", "{\"data\":[null],\"old\":[{\"phone\":\"C\"}]}", "{\"data\":[null],\"old\":[{\"phone\":null}]}"},
	    {"canal", "{\"data\":{\"x\":{\"country\":\"US\"}},\"old\":{\"x\":{\"phone\":\"C\"}}}",
	     "{\"data\":{\"x\":{\"country\":\"US\"}},\"old\":{\"x\":{\"phone\":null}}}"},
	    {"maxwell", "{\"data\":{\"country\":\"US\"},\"data\":{\"country\":\"CN\"},\"old\":{\"phone\":\"C\"}}",
	     "{\"data\":{\"country\":\"US\"},\"data\":{\"country\":\"CN\"},\"old\":{\"phone\":null}}"},
	    {"maxwell", "{\"data\":{\"country\":\"US\"},\"old\":{\"phone\":\"C\"},\"old\":{\"country\":\"CN\"}}",
	     "{\"data\":{\"country\":\"US\"},\"old\":{\"phone\":null},\"old\":{\"country\":\"CN\"}}"},
	    /* Elsewhere nothing says that it did not change. */
	    {"debezium", "{\"after\":{\"country\":\"US\"},\"before\":{\"phone\":\"C\"}}",
	     "{\"after\":{\"country\":\"US\"},\"before\":{\"phone\":null}}"},
	    {"ogg", "{\"after\":{\"country\":\"US\"},\"before\":{\"phone\":\"C\"}}",
	     "{\"after\":{\"country\":\"US\"},\"before\":{\"phone\":null}}"},
	};

	for (size_t i = 0; i < sizeof same / sizeof *same; i++)
		becomes(same[i][0], OF_US, same[i][1], same[i][1]);
	for (size_t i = 0; i < sizeof doubts / sizeof *doubts; i++)
		becomes(doubts[i][0], OF_US, doubts[i][1], doubts[i][2]);
	/* Filters ask too, and find no places there. */
	becomes("maxwell", "{path: \"$.phones[?$.country == 'CN']\", nullify: true}",
		"{\"data\":{\"country\":\"US\",\"phones\":[1]},\"old\":{\"phones\":[2]}}",
		"{\"data\":{\"country\":\"US\",\"phones\":[1]},\"old\":{\"phones\":[2]}}");
	becomes("maxwell", "{path: \"$.phones[?$.country == 'CN']\", nullify: true}",
		"{\"data\":{\"country\":\"US\",\"phones\":[1]},\"old\":{\"country\":\"CN\"}}",
		"{\"data\":{\"country\":\"US\",\"phones\":[1]},\"old\":{\"country\":\"CN\"}}");
	/* In a text of the row, too. */
	becomes("maxwell", "{path: [$.p, $.x], when: \"$.country == 'CN'\", nullify: true}",
		"{\"data\":{\"country\":\"US\"},\"old\":{\"p\":\"{\\\"x\\\":2}\"}}",
		"{\"data\":{\"country\":\"US\"},\"old\":{\"p\":\"{\\\"x\\\":2}\"}}");
}

/* PostgreSQL sends the key alone of a deleted row, and the connector fills up the rest. */
static void what_fills_up_a_deleted_row_is_doubt(void **state)
{
	(void)state;
#define DELETED(connector, op, values)                                                                                 \
	"{\"op\":\"" op "\",\"source\":{\"connector\":\"" connector "\"},\"before\":{\"phone\":\"C\"," values "}}"
#define NO_PHONE(connector, op, values)                                                                                \
	"{\"op\":\"" op "\",\"source\":{\"connector\":\"" connector "\"},\"before\":{\"phone\":null," values "}}"
	static const struct {
		const char *when, *value, *want;
	} cases[] = {
#define BOTH(when, connector, op, values)                                                                              \
	{NULLIFY(when), DELETED(connector, op, values), NO_PHONE(connector, op, values)}
#define SAME(when, connector, op, values)                                                                              \
	{                                                                                                              \
		NULLIFY(when), DELETED(connector, op, values), DELETED(connector, op, values)                          \
	}
	    BOTH("$.c == 'CN'", "postgresql", "d", "\"c\":\"\""),
	    BOTH("$.c != null", "postgresql", "d", "\"c\":null"),
	    BOTH("$.c > 0", "postgresql", "d", "\"c\":0"),
	    BOTH("$.c > 1", "postgresql", "d", "\"c\":-0.0e5"),
	    BOTH("$.c == true", "postgresql", "d", "\"c\":false"),
	    BOTH("match($.c, 'CN')", "postgresql", "d", "\"c\":\"\""),
	    BOTH("length($.c) > 0", "postgresql", "d", "\"c\":\"\""),
	    BOTH("$.c == 'CN' || $.c == 'DE'", "yugabytedb", "d", "\"c\":\"\""),
	    SAME("$.c == 'CN'", "postgresql", "d", "\"c\":\"US\""),
	    SAME("$.c == 'CN'", "mysql", "d", "\"c\":\"\""),
	    BOTH("$.c == 'CN'", "postgresql", "u", "\"c\":\"\""),
	    BOTH("$.c > 'a'", "postgresql", "u", "\"c\":\"1970-01-01T00:00:00Z\""),
	    BOTH("$.c > 'a'", "postgresql", "d", "\"c\":\"00:00:00Z\""),
	    BOTH("$.c > '1'", "postgresql", "d", "\"c\":\"0.00\""),
	    SAME("$.c > '1'", "postgresql", "d", "\"c\":\"0.01\""),
	    SAME("$.c == 'CN'", "postgresql", "c", "\"c\":\"\""),
	    SAME("$.c.x == 'CN'", "postgresql", "d", "\"c\":{\"x\":\"\"}"),
	    {NULLIFY("$.c == 'CN'"), "{\"__deleted\":\"true\",\"phone\":\"C\",\"c\":\"\"}",
	     "{\"__deleted\":\"true\",\"phone\":null,\"c\":\"\"}"},
	    {NULLIFY("$.c == 'CN'"), "{\"__deleted\":\"false\",\"phone\":\"C\",\"c\":\"\"}",
	     "{\"__deleted\":\"false\",\"phone\":\"C\",\"c\":\"\"}"},
	    {"{path: \"$.phones[?$.c == 'CN']\", nullify: true}",
	     "{\"op\":\"d\",\"before\":{\"phones\":[1],\"c\":\"\"}}",
	     "{\"op\":\"d\",\"before\":{\"phones\":[null],\"c\":\"\"}}"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		becomes("debezium", cases[i].when, cases[i].value, cases[i].want);
	becomes("debezium", NULLIFY("$.c == 'CN'"),
		"{\"op\":\"u\",\"source\":{\"connector\":\"postgresql\"},\"before\":null,\"after\":{\"phone\":\"C\","
		"\"c\":\"\"}}",
		"{\"op\":\"u\",\"source\":{\"connector\":\"postgresql\"},\"before\":null,\"after\":{\"phone\":\"C\","
		"\"c\":\"\"}}");
	header_becomes("debezium", "$.c == 'CN'", DELETED("postgresql", "d", "\"c\":\"\""), "*");
	header_becomes("debezium", "$.c == 'CN'", DELETED("mysql", "d", "\"c\":\"\""), "s");
}

/* The row is in a list that stands twice, and what the template asks reads the whole event as a row, too. */
static void lists_that_stand_twice(void **state)
{
	(void)state;
	struct rig *r = malloc(sizeof *r);

	rig_init(r, HEAD "canal\nfields:\n  - {path: $.phone, encrypt: {key: k, associated_data: \"{$.tenant}\"}}\n");
	assert_int_equal(
	    run(r, NULL, "{\"type\":\"INSERT\",\"data\":[null],\"data\":[{\"tenant\":\"a\",\"phone\":\"13\"}]}", "s"),
	    KVEIL_OK);
	assert_null(strstr(r->value, "\"13\""));
	rig_clear(r);
	free(r);
}

static void filters_and_headers_know_of_gaps_too(void **state)
{
	(void)state;
	becomes("maxwell", "{path: \"$.phones[?$.vip]\", nullify: true}",
		"{\"data\":{\"phones\":[1]},\"old\":{\"phones\":[2]}}",
		"{\"data\":{\"phones\":[1]},\"old\":{\"phones\":[null]}}");
	becomes("maxwell", "{path: [$.p, $.x], when: $.vip, nullify: true}",
		"{\"data\":{\"p\":\"{\\\"x\\\":1}\"},\"old\":{\"p\":\"{\\\"x\\\":2}\"}}",
		"{\"data\":{\"p\":\"{\\\"x\\\":1}\"},\"old\":{\"p\":\"{\\\"x\\\":null}\"}}");
	header_becomes("debezium", "$.vip", "{\"op\":\"d\",\"before\":{\"id\":1},\"after\":null}", "*");
	header_becomes("debezium", "$.vip", "{\"op\":\"c\",\"before\":null,\"after\":{\"id\":1}}", "s");
	header_becomes("debezium", "$.vip", "{\"id\":1,\"__deleted\":\"true\"}", "*");
	header_becomes("debezium", "$.vip", "{\"id\":1,\"__deleted\":\"false\"}", "s");
	becomes("debezium", "{path: \"$.phones[?$.vip]\", nullify: true}", "{\"phones\":[1],\"__op\":\"d\"}",
		"{\"phones\":[null],\"__op\":\"d\"}");
}

/* A flattening transform may put what it adds into headers. */
static void a_header_tells_of_gaps(void **state)
{
	(void)state;
	static const struct {
		const char *name, *value;
		bool has_gaps;
	} headers[] = {{"__op", "d", true},  {"__op", "\"d\"", true},     {"__op", "u", false},
		       {"__op", NULL, true}, {"__deleted", "true", true}, {"__deleted", "\"false\"", false},
		       {"x.op", "d", true},  {"other", "d", false}};
	struct rig *r = malloc(sizeof *r);

	rig_init(r, HEAD "{kind: debezium, added_prefix: x.}\nfields:\n  - " NULLIFY("$.vip") "\n");
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
		struct kveil_header h = {kveil_span_str(headers[i].name), kveil_span_str(headers[i].value)};
		struct kveil_record record = {
		    .value = KVEIL_SPAN("{\"phone\":\"C\"}"), .headers = &h, .header_count = 1};
		kveil_engine_run(r->engine, &record, &r->result);
		assert_int_equal(r->result.verdict, KVEIL_PRODUCE);
		show(r->result.outputs[0].record.value, r->value, sizeof r->value);
		assert_string_equal(r->value, headers[i].has_gaps ? "{\"phone\":null}" : "{\"phone\":\"C\"}");
	}
	rig_clear(r);
	free(r);
}

/* What opens a value stays off; and a key holds few columns. */
static void gaps_reveal_nothing(void **state)
{
	(void)state;
	struct rig *r = malloc(sizeof *r);

	rig_init(r, HEAD "maxwell\nfields:\n  - {path: $.phone, when: \"!$.secret\", decrypt: {key: pii}}\n");
	assert_int_equal(run(r, NULL, "{\"old\":{\"phone\":\"AA\"}}", "x"), KVEIL_OK);
	assert_int_not_equal(run(r, NULL, "{\"data\":{\"phone\":\"AA\"}}", "x"), KVEIL_OK);
	rig_clear(r);
	rig_init(r, HEAD "debezium\nfields:\n  - {path: $.id, when: $.vip, hash: {key: pii}}\n");
	assert_int_equal(run(r, "{\"id\":\"1\"}", "{\"after\":{\"id\":\"1\"}}", "x"), KVEIL_E_KEY_COLUMN);
	assert_int_equal(run(r, "{\"id\":\"1\",\"vip\":1}", "{\"after\":{\"id\":\"1\"}}", "x"), KVEIL_OK);
	rig_clear(r);
	free(r);
}

static void check_warns_of_conditions_that_an_event_fulfils(void **state)
{
	(void)state;
	kveil_plan_unref(load(HEAD "debezium\nfields: [{path: \"$..phone\", when: \"!$.vip\", mask: {}}]\n",
			      "is true of every event around a row"));
	kveil_plan_unref(load(HEAD "debezium\nfields: [{path: \"header:h\", when: \"!$.vip || $.a == 1\", mask: {}}]\n",
			      "is true of every event around a row"));
}

/* ---- random rows ---- */

enum country { ABSENT, CN, US, NUMBER };

/* A value: an object of columns, a list of objects, or a phone's canary. */
struct node {
	const char *name; /* of the column that holds it */
	enum { OBJECT, LIST, PHONE } kind;
	enum country country; /* of an object */
	unsigned canary;
	struct node *parent;
	struct node *children[8];
	size_t count;
};

enum { MOST_NODES = 512 };

struct world {
	uint64_t random;
	struct node nodes[MOST_NODES];
	size_t node_count;
	unsigned canaries;
	char *text;
	size_t len;
};

struct kind {
	const char *name;
	bool descends; /* `$..phone` is allowed */
	const char *columns[6];
	const char *rows[8][3]; /* the innermost first; "*" is any element */
	const char *keys[3][3];
	size_t row_count, key_count;
};

static const struct kind kinds[] = {
    {.name = "debezium",
     .descends = true,
     .columns = {"payload", "after", "before"},
     .rows = {{"payload", "after"}, {"payload", "before"}, {"after"}, {"before"}, {"payload"}, {0}},
     .keys = {{"payload"}, {0}},
     .row_count = 6,
     .key_count = 2},
    {.name = "ogg",
     .descends = true,
     .columns = {"after", "before", "x"},
     .rows = {{"after"}, {"before"}, {0}},
     .keys = {{0}},
     .row_count = 3,
     .key_count = 1},
    {.name = "maxwell",
     .columns = {"data", "old", "x"},
     .rows = {{"data"}, {"old"}, {0}},
     .keys = {{0}},
     .row_count = 3,
     .key_count = 1},
    {.name = "canal",
     .columns = {"data", "old", "x"},
     .rows = {{"data", "*"}, {"old", "*"}, {0}},
     .keys = {{0}},
     .row_count = 3,
     .key_count = 1},
};

static unsigned draw(struct world *w, unsigned n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(w->random >> 33) % n;
}

static struct node *grow(struct world *w, const struct kind *kind, const char *name, int depth, int what)
{
	assert_true(w->node_count < MOST_NODES);
	struct node *n = &w->nodes[w->node_count++];

	*n = (struct node){.name = name, .kind = (unsigned)what};
	if (what == PHONE)
		n->canary = ++w->canaries;
	if (what == OBJECT) {
		n->country = draw(w, 8) ? draw(w, 3) : NUMBER;
		if (draw(w, 4))
			n->children[n->count++] = grow(w, kind, "phone", depth, PHONE);
		for (size_t i = 0; i < 3 && depth < 4; i++)
			if (draw(w, 2))
				n->children[n->count++] =
				    grow(w, kind, kind->columns[i], depth + 1, draw(w, 4) ? OBJECT : LIST);
	}
	for (unsigned k = draw(w, 3); what == LIST && k > 0; k--)
		n->children[n->count++] = grow(w, kind, NULL, depth + 1, OBJECT);
	for (size_t i = 0; i < n->count; i++)
		n->children[i]->parent = n;
	return n;
}

static KVEIL_PRINTF(2, 3) void put(struct world *w, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	w->len += (size_t)vsnprintf(w->text + w->len, 16384 - w->len, fmt, args);
	va_end(args);
	assert_true(w->len < 16384);
}

static void write_node(struct world *w, const struct node *n)
{
	static const char *const countries[] = {"", "\"CN\"", "\"US\"", "5"};
	bool first = true;

	if (n->kind == PHONE) {
		put(w, "\"C%uC\"", n->canary);
		return;
	}
	put(w, n->kind == LIST ? "[" : "{");
	if (n->kind == OBJECT && n->country) {
		put(w, "\"country\":%s", countries[n->country]);
		first = false;
	}
	for (size_t i = 0; i < n->count; i++, first = false) {
		put(w, first ? "" : ",");
		if (n->kind == OBJECT)
			put(w, "\"%s\":", n->children[i]->name);
		write_node(w, n->children[i]);
	}
	put(w, n->kind == LIST ? "]" : "}");
}

static const struct node *column(const struct node *n, const char *name)
{
	for (size_t i = 0; n && n->kind == OBJECT && i < n->count; i++)
		if (strcmp(n->children[i]->name, name) == 0)
			return n->children[i];
	return NULL;
}

static bool is_inside(const struct node *n, const struct node *root)
{
	for (n = n->parent; n; n = n->parent)
		if (n == root)
			return true;
	return false;
}

static enum country country_of(const struct node *row)
{
	return row->kind == OBJECT ? row->country : ABSENT;
}

static bool is_protected(const struct kind *k, const char *const (*rows)[3], size_t count, const struct node *top,
			 const struct node *phone)
{
	bool innermost = true;

	(void)k;
	for (size_t i = 0; i < count; i++) {
		const struct node *row = top;
		for (size_t s = 0; row && s < 3 && rows[i][s]; s++)
			row = column(row, rows[i][s]);
		if (!row || !is_inside(phone, row))
			continue;
		enum country c = country_of(row);
		if (c == CN || c == NUMBER || (innermost && c == ABSENT))
			return true;
		innermost = false;
	}
	return false;
}

/* Readings of a whole record: for each event root, its first image that is an object, and the root as a flat row. */
static bool header_is_protected(const struct kind *k, const struct node *top)
{
	bool innermost = true, image_of[2] = {0};

	for (size_t i = 0; i < k->row_count; i++) {
		const char *const *steps = k->rows[i];
		bool in_payload = steps[0] && strcmp(steps[0], "payload") == 0;
		bool is_image = steps[0] && !(in_payload && !steps[1]);
		const struct node *row = top;
		size_t several = 1;
		for (size_t s = 0; row && s < 3 && steps[s]; s++) {
			if (strcmp(steps[s], "*") != 0) {
				row = column(row, steps[s]);
				continue;
			}
			/* Of an object the wildcard takes the members; a country stands first, and is not an object. */
			several = row->count;
			bool is_scalar = row->kind == OBJECT && row->country;
			row = row->count && !is_scalar ? row->children[0] : NULL;
		}
		if (!row || row->kind != OBJECT || (is_image && image_of[in_payload]))
			continue;
		image_of[in_payload] |= is_image;
		enum country c = several > 1 ? ABSENT : country_of(row);
		if (c == CN || c == NUMBER || (innermost && c == ABSENT))
			return true;
		innermost = false;
	}
	return innermost;
}

struct tally {
	size_t protected, clear, headers_protected, headers_clear, failed;
};

static void judge(struct world *w, const struct kind *k, bool in_key, const struct node *top, const char *out,
		  struct tally *t)
{
	for (size_t i = 0; i < w->node_count; i++) {
		const struct node *n = &w->nodes[i];
		char canary[24];
		if (n->kind != PHONE || !is_inside(n, top))
			continue;
		snprintf(canary, sizeof canary, "\"C%uC\"", n->canary);
		bool wanted = in_key ? is_protected(k, k->keys, k->key_count, top, n)
				     : is_protected(k, k->rows, k->row_count, top, n);
		if (wanted == (strstr(out, canary) != NULL))
			fail_msg("%s: %s is %s in %s", k->name, canary, wanted ? "clear" : "not clear", out);
		t->protected += wanted;
		t->clear += !wanted;
	}
}

static void random_row(struct world *w, const struct kind *k, struct rig *r, struct tally *t)
{
	char value[16384], key[16384];

	w->node_count = 0;
	const struct node *top = grow(w, k, NULL, 0, OBJECT), *key_top = grow(w, k, NULL, 2, OBJECT);
	w->text = value;
	w->len = 0;
	write_node(w, top);
	w->text = key;
	w->len = 0;
	write_node(w, key_top);
	if (run(r, key, value, "s") != KVEIL_OK) {
		t->failed++;
		return;
	}
	if (k->descends) {
		judge(w, k, false, top, r->value, t);
		judge(w, k, true, key_top, r->key, t);
	}
	bool wanted = header_is_protected(k, top);
	if (wanted == (strcmp(r->header, "s") == 0))
		fail_msg("%s: the header of %s is %s", k->name, value, r->header);
	t->headers_protected += wanted;
	t->headers_clear += !wanted;
}

static void every_reading_is_asked(void **state)
{
	(void)state;
	const char *wanted = getenv("KVEIL_READINGS");
	size_t rows = wanted ? (size_t)strtoull(wanted, NULL, 10) : 4000;
	struct world *w = calloc(1, sizeof *w);
	struct rig *r = malloc(sizeof *r);
	char yaml[512];

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct tally t = {0};
		snprintf(yaml, sizeof yaml,
			 HEAD "%s\nfields:\n"
			      "  - {path: \"%s\", when: \"$.country == 'CN'\", mask: {char: x}, on_key: any}\n"
			      "  - {path: \"header:h\", when: \"$.country == 'CN'\", mask: {}}\n",
			 kinds[i].name, kinds[i].descends ? "$..phone" : "$.other");
		rig_init(r, yaml);
		for (size_t n = 0; n < rows; n++)
			random_row(w, &kinds[i], r, &t);
		rig_clear(r);
		printf("%s: %zu protected, %zu clear; headers %zu, %zu; %zu failed\n", kinds[i].name, t.protected,
		       t.clear, t.headers_protected, t.headers_clear, t.failed);
		assert_true(!kinds[i].descends || (t.protected > rows / 4 && t.clear > rows / 4));
		assert_true(t.headers_protected > rows / 10 && t.headers_clear > rows / 50);
		assert_true(t.failed < rows / 10);
	}
	free(r);
	free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_flat_row_is_read_as_one_too),
	    cmocka_unit_test(an_event_around_a_row_says_nothing),
	    cmocka_unit_test(headers_are_judged_in_every_reading),
	    cmocka_unit_test(what_reveals_needs_every_reading),
	    cmocka_unit_test(what_an_image_may_lack_is_doubt),
	    cmocka_unit_test(what_an_image_has_is_known),
	    cmocka_unit_test(what_did_not_change_is_the_whole_rows),
	    cmocka_unit_test(what_fills_up_a_deleted_row_is_doubt),
	    cmocka_unit_test(lists_that_stand_twice),
	    cmocka_unit_test(filters_and_headers_know_of_gaps_too),
	    cmocka_unit_test(a_header_tells_of_gaps),
	    cmocka_unit_test(gaps_reveal_nothing),
	    cmocka_unit_test(check_warns_of_conditions_that_an_event_fulfils),
	    cmocka_unit_test(every_reading_is_asked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Change events: one rule holds in every row that an event carries, in its key and its headers, and nowhere less. */
#include "base/text.h"
#include "engine/internal.h"
#include "event_rig.h"
#include "rules/invert.h"

#define HEAD_OF_VIEWS "name: t\ntopics: [in]\nenvelope: debezium\noutputs:\n"
#define DEBEZIUM      HEAD "envelope: debezium\nfields:\n"

/* What stands behind `"name":"`, in its n-th appearance from 1. */
static const char *text_of(const char *json, const char *name, int n, char *dst)
{
	char quoted[64];
	const char *at = json;

	snprintf(quoted, sizeof quoted, "\"%s\":\"", name);
	for (int i = 0; i < n; i++) {
		at = strstr(at, quoted);
		if (!at)
			fail_msg("no %s number %d in %s", name, n, json);
		at += strlen(quoted);
	}
	size_t len = strcspn(at, "\"");
	memcpy(dst, at, len);
	dst[len] = 0;
	return dst;
}

static void one_rule_holds_in_every_row(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.phone, mask: {keep_last: 1}}\n");
	becomes(&r, "{\"before\":{\"phone\":\"11\"},\"after\":{\"phone\":\"12\",\"x\":1},\"op\":\"u\"}",
		"{\"before\":{\"phone\":\"*1\"},\"after\":{\"phone\":\"*2\",\"x\":1},\"op\":\"u\"}");
	becomes(&r, "{\"before\":null,\"after\":{\"phone\":\"12\"}}", "{\"before\":null,\"after\":{\"phone\":\"*2\"}}");
	becomes(&r, "{\"phone\":\"12\",\"__op\":\"c\"}", "{\"phone\":\"*2\",\"__op\":\"c\"}");
	becomes(&r, "{\"payload\":{\"before\":{\"phone\":\"12\"},\"after\":{\"phone\":\"13\"}}}",
		"{\"payload\":{\"before\":{\"phone\":\"*2\"},\"after\":{\"phone\":\"*3\"}}}");
	becomes(&r, "{\"payload\":{\"phone\":\"12\"}}", "{\"payload\":{\"phone\":\"*2\"}}");
	/* A row whose columns look like something else, and duplicates. */
	becomes(&r, "{\"status\":\"END\",\"id\":\"1\",\"event_count\":2,\"phone\":\"12\"}",
		"{\"status\":\"END\",\"id\":\"1\",\"event_count\":2,\"phone\":\"*2\"}");
	becomes(&r, "{\"after\":{\"phone\":\"12\"},\"after\":{\"phone\":\"13\",\"phone\":\"14\"},\"phone\":\"15\"}",
		"{\"after\":{\"phone\":\"*2\"},\"after\":{\"phone\":\"*3\",\"phone\":\"*4\"},\"phone\":\"*5\"}");
	rig_clear(&r);
}

static void associated_data_is_the_rows_path(void **state)
{
	(void)state;
	struct rig r;
	char a[256], b[256], c[256];

	rig_init(&r, DEBEZIUM "  - {path: $.id, tokenize: {key: k}}\n  - {path: $..mail, tokenize: {key: k}}\n");
	assert_int_equal(
	    run(&r, "{\"id\":\"1\"}",
		"{\"before\":{\"id\":\"1\",\"o\":{\"mail\":\"m\"}},\"after\":{\"id\":\"1\",\"o\":{\"mail\":"
		"\"m\"}}}"),
	    KVEIL_OK);
	text_of(r.value, "id", 1, a);
	assert_string_equal(text_of(r.value, "id", 2, b), a);
	assert_string_equal(text_of(r.key, "id", 1, b), a);
	text_of(r.value, "mail", 1, c);
	assert_string_equal(text_of(r.value, "mail", 2, b), c);
	assert_int_equal(run(&r, "{\"id\":\"1\"}", "{\"id\":\"1\",\"o\":{\"mail\":\"m\"}}"), KVEIL_OK);
	assert_string_equal(text_of(r.value, "id", 1, b), a);
	assert_string_equal(text_of(r.value, "mail", 1, b), c);
	/* A tombstone has no row, and its key is what it was. */
	assert_int_equal(run(&r, "{\"id\":\"1\"}", NULL), KVEIL_OK);
	assert_string_equal(r.value, "null");
	assert_string_equal(text_of(r.key, "id", 1, b), a);
	rig_clear(&r);
	/* Without an envelope the same rule on the flat row gives the same bytes. */
	rig_init(&r, HEAD "fields:\n  - {path: $.id, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, NULL, "{\"id\":\"1\"}"), KVEIL_OK);
	assert_string_equal(text_of(r.value, "id", 1, b), a);
	rig_clear(&r);
}

static void conditions_and_templates_read_the_row(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.a, when: \"$.c == 'CN'\", mask: {}}\n"
			      "  - {path: \"$.l[?@.p == 1].q\", mask: {}}\n");
	becomes(&r, "{\"before\":{\"a\":\"x\",\"c\":\"CN\"},\"after\":{\"a\":\"y\",\"c\":\"US\"},\"c\":\"US\"}",
		"{\"before\":{\"a\":\"*\",\"c\":\"CN\"},\"after\":{\"a\":\"y\",\"c\":\"US\"},\"c\":\"US\"}");
	becomes(&r, "{\"after\":{\"a\":\"y\"}}", "{\"after\":{\"a\":\"*\"}}"); /* doubt */
	becomes(&r, "{\"after\":{\"l\":[{\"p\":1,\"q\":\"x\"},{\"p\":2,\"q\":\"y\"}]}}",
		"{\"after\":{\"l\":[{\"p\":1,\"q\":\"*\"},{\"p\":2,\"q\":\"y\"}]}}");
	rig_clear(&r);

	/* What this image lacks comes from the event's other one; what neither has is an error. */
	rig_init(&r, DEBEZIUM "  - {path: $.a, encrypt: {key: k, associated_data: \"x{$.t}\"}, on_key: any}\n");
	assert_int_equal(run(&r, NULL, "{\"before\":{\"a\":\"x\"},\"after\":{\"a\":\"y\",\"t\":\"1\"}}"), KVEIL_OK);
	assert_int_equal(run(&r, NULL, "{\"before\":{\"a\":\"x\"},\"after\":null}"), KVEIL_E_BAD_TEMPLATE_VALUE);
	rig_clear(&r);
}

static void keys_stay_one_to_one(void **state)
{
	(void)state;
	static const char *const refused[] = {
	    "mask: {}",
	    "nullify: true",
	    "remove: true",
	    "encrypt: {key: k}",
	    "hash: {key: p, truncate: 8}",
	    "tokenize: {key: k}, when: \"$.b == 1\"",
	    "replace: {with: x}",
	};
	char yaml[512];
	struct rig r;

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		snprintf(yaml, sizeof yaml, DEBEZIUM "  - {path: $.a, %s}\n", refused[i]);
		rig_init(&r, yaml);
		assert_int_equal(run(&r, "{\"a\":\"x\"}", "{\"after\":{\"a\":\"x\",\"b\":1}}"), KVEIL_E_KEY_COLUMN);
		assert_int_equal(run(&r, "{\"a\":\"x\"}", NULL), KVEIL_E_KEY_COLUMN);
		/* Another column's key is as it was, byte for byte. */
		assert_int_equal(run(&r, "{ \"b\": 1e0 }", "{\"after\":{\"a\":\"x\",\"b\":1}}"), KVEIL_OK);
		assert_string_equal(r.key, "{ \"b\": 1e0 }");
		rig_clear(&r);
		snprintf(yaml, sizeof yaml, DEBEZIUM "  - {path: $.a, %s, on_key: any}\n", refused[i]);
		rig_init(&r, yaml);
		assert_int_equal(run(&r, "{\"a\":\"secret\"}", NULL), KVEIL_OK);
		assert_null(strstr(r.key, "secret"));
		rig_clear(&r);
		snprintf(yaml, sizeof yaml,
			 HEAD "envelope: debezium\nclear: [\"key:$.a\"]\nfields:\n  - {path: $.a, %s}\n", refused[i]);
		rig_init(&r, yaml);
		assert_int_equal(run(&r, "{\"a\":\"x\"}", "{\"after\":{\"a\":\"secret\",\"b\":1}}"), KVEIL_OK);
		assert_string_equal(r.key, "{\"a\":\"x\"}");
		assert_null(strstr(r.value, "secret"));
		rig_clear(&r);
	}
	/* A condition over the key's own columns decides alike. */
	rig_init(&r, DEBEZIUM "  - {path: $.a, when: \"$.b == 1\", hash: {key: p}}\n");
	assert_int_equal(run(&r, "{\"a\":\"x\",\"b\":2}", "{\"after\":{\"a\":\"x\",\"b\":2}}"), KVEIL_OK);
	assert_string_equal(r.key, "{\"a\":\"x\",\"b\":2}");
	assert_int_equal(run(&r, "{\"a\":\"secret\",\"b\":1}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "secret"));
	rig_clear(&r);
}

static void a_bare_key_is_the_column_that_the_file_names(void **state)
{
	(void)state;
	static const char *const bare[] = {"\"x\"",
					   "42",
					   "[\"x\"]",
					   " true",
					   "{\"schema\":null,\"payload\":\"x\"}",
					   "{\"payload\":[4], \"schema\" : null}"};
	struct rig r;
	char a[256], b[sizeof a + 2];

	rig_init(&r, DEBEZIUM "  - {path: $.a, tokenize: {key: k}}\n");
	for (size_t i = 0; i < sizeof bare / sizeof *bare; i++)
		assert_int_equal(run(&r, bare[i], NULL), KVEIL_E_KEY_COLUMN);
	assert_int_equal(run(&r, "x", NULL), KVEIL_E_KEY_COLUMN);
	rig_clear(&r);

	rig_init(&r, HEAD "envelope: {kind: debezium, key: $.a}\nfields:\n  - {path: $.a, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, "\"x\"", "{\"after\":{\"a\":\"x\"}}"), KVEIL_OK);
	text_of(r.value, "a", 1, a);
	snprintf(b, sizeof b, "\"%s\"", a);
	assert_string_equal(r.key, b);
	assert_int_equal(run(&r, "[\"x\"]", NULL), KVEIL_E_KEY_COLUMN);
	assert_int_equal(run(&r, "{\"a\":\"x\"}", NULL), KVEIL_OK);
	assert_string_equal(text_of(r.key, "a", 1, b), a);
	assert_int_equal(run(&r, "{\"payload\":\"x\"}", NULL), KVEIL_OK);
	assert_string_equal(text_of(r.key, "payload", 1, b), a);
	assert_int_equal(run(&r, "{\"schema\":null,\"payload\":\"x\"}", NULL), KVEIL_OK);
	assert_string_equal(text_of(r.key, "payload", 1, b), a);
	assert_int_equal(run(&r, "{\"payload\":{\"a\":\"x\"}}", NULL), KVEIL_OK);
	assert_string_equal(text_of(r.key, "a", 1, b), a);
	rig_clear(&r);

	rig_init(&r, HEAD "envelope: {kind: debezium, key: $.a}\nformat: {value: json, key: text}\n"
			  "fields:\n  - {path: $.a, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, "x", "{\"after\":{\"a\":\"x\"}}"), KVEIL_OK);
	assert_string_equal(r.key, a);
	rig_clear(&r);
	/* The key's column has no rule: then it is clear, and says so. */
	rig_init(&r, HEAD "envelope: {kind: debezium, key: $.id}\nfields:\n  - {path: $.a, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, "42", "{\"after\":{\"a\":\"x\"}}"), KVEIL_OK);
	assert_string_equal(r.key, "42");
	assert_int_equal(run(&r, "{\"schema\":null,\"payload\":42}", NULL), KVEIL_OK);
	assert_string_equal(r.key, "{\"schema\":null,\"payload\":42}");
	rig_clear(&r);
	rig_init(&r, HEAD "envelope: canal\nfields:\n  - {path: $.a, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, "{\"schema\":null,\"payload\":{\"a\":\"x\"}}", NULL), KVEIL_E_UNSUPPORTED_ENVELOPE);
	rig_clear(&r);
}

static void headers_with_keys_follow_the_key(void **state)
{
	(void)state;
	struct rig r;
	char a[256], b[256];
	struct kveil_header in[] = {
	    {KVEIL_SPAN("__debezium.newkey"), KVEIL_SPAN("{\"id\":\"new\"}")},
	    {KVEIL_SPAN("other"), KVEIL_SPAN("x")},
	    {KVEIL_SPAN("__debezium.oldkey"), KVEIL_SPAN("Struct{id=old}")},
	    {KVEIL_SPAN("__source_query"), KVEIL_SPAN("UPDATE t SET id='secret'")},
	};
	struct kveil_record record = {
	    .key = KVEIL_SPAN("{\"id\":\"new\"}"), .headers = in, .header_count = sizeof in / sizeof *in};

	rig_init(&r, DEBEZIUM "  - {path: $.id, tokenize: {key: k}}\n");
	kveil_engine_run(r.engine, &record, &r.result);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	const struct kveil_record *out = &r.result.outputs[0].record;
	/* One that is not JSON cannot be protected, and goes. */
	assert_int_equal(out->header_count, 3);
	show(out->key, r.key, sizeof r.key);
	show(out->headers[0].value, r.value, sizeof r.value);
	assert_string_equal(text_of(r.value, "id", 1, a), text_of(r.key, "id", 1, b));
	assert_true(kveil_span_eq(out->headers[1].value, KVEIL_SPAN("x")));
	assert_null(out->headers[2].value.data);
	rig_clear(&r);
}

static void what_was_not_sent_passes_and_is_in_doubt(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.a, when: \"$.c == 'CN'\", encrypt: {key: \"t-{$.t}\"}, on_key: any}\n"
			      "  - {path: \"$.l[*]\", mask: {}}\n");
	becomes(&r, "{\"after\":{\"a\":\"__debezium_unavailable_value\",\"c\":\"CN\"}}",
		"{\"after\":{\"a\":\"__debezium_unavailable_value\",\"c\":\"CN\"}}");
	/* The same as bytes, and as a map. */
	becomes(&r, "{\"after\":{\"a\":\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\",\"l\":[\"b\"]}}",
		"{\"after\":{\"a\":\"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ==\",\"l\":[\"*\"]}}");
	becomes(&r, "{\"l\":[\"__debezium_unavailable_value\",\"b\"]}",
		"{\"l\":[\"__debezium_unavailable_value\",\"*\"]}");
	/* In doubt protected; but not under a key that is named by what nobody sent. */
	assert_int_equal(
	    run(&r, NULL,
		"{\"a\":\"x\",\"c\":\"__debezium_unavailable_value\",\"t\":\"__debezium_unavailable_value\"}"),
	    KVEIL_E_BAD_TEMPLATE_VALUE);
	assert_int_equal(run(&r, NULL, "{\"a\":\"secret\",\"c\":\"__debezium_unavailable_value\",\"t\":\"1\"}"),
			 KVEIL_OK);
	assert_null(strstr(r.value, "secret"));
	rig_clear(&r);
	rig_init(&r, HEAD "envelope: {kind: debezium, unavailable_value: gone}\nfields:\n  - {path: $.a, mask: {}}\n");
	becomes(&r, "{\"a\":\"gone\"}", "{\"a\":\"gone\"}");
	becomes(&r, "{\"a\":\"__debezium_unavailable_value\"}", "{\"a\":\"****************************\"}");
	rig_clear(&r);
}

static void what_stands_beside_the_row_is_blanked(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.a, mask: {}}\n");
	becomes(&r, "{\"after\":{\"a\":\"x\"},\"source\":{\"query\":\"UPDATE\",\"redo_sql\":\"x\",\"db\":\"d\"}}",
		"{\"after\":{\"a\":\"*\"},\"source\":{\"query\":null,\"redo_sql\":null,\"db\":\"d\"}}");
	becomes(&r, "{\"op\":\"m\",\"message\":{\"prefix\":\"p\",\"content\":\"YQ==\"}}",
		"{\"op\":\"m\",\"message\":{\"prefix\":\"p\",\"content\":null}}");
	becomes(&r, "{\"message\":{\"content\":\"a column\"},\"ddl\":\"a column\"}",
		"{\"message\":{\"content\":\"a column\"},\"ddl\":\"a column\"}");
	becomes(&r,
		"{\"ddl\":\"ALTER TABLE t ADD a text DEFAULT 'x'\",\"tableChanges\":[{\"table\":{\"columns\":[{"
		"\"defaultValueExpression\":\"'x'\"}]}}]}",
		"{\"ddl\":null,\"tableChanges\":[{\"table\":{\"columns\":[{\"defaultValueExpression\":null}]}}]}");
	rig_clear(&r);
	rig_init(&r,
		 HEAD "envelope: {kind: debezium, sql: keep, messages: keep}\nfields:\n  - {path: $.a, mask: {}}\n");
	becomes(&r, "{\"op\":\"m\",\"message\":{\"content\":\"YQ==\"},\"source\":{\"query\":\"x\"}}",
		"{\"op\":\"m\",\"message\":{\"content\":\"YQ==\"},\"source\":{\"query\":\"x\"}}");
	rig_clear(&r);
	rig_init(&r,
		 HEAD "envelope: {kind: debezium, sql: {encrypt: {key: sql}}}\nfields:\n  - {path: $.a, mask: {}}\n");
	assert_int_equal(run(&r, NULL, "{\"source\":{\"query\":\"secret\"}}"), KVEIL_OK);
	assert_null(strstr(r.value, "secret"));
	assert_null(strstr(r.value, "null"));
	rig_clear(&r);
}

static void shapes_that_hide_rows_are_refused(void **state)
{
	(void)state;
	static const char *const shapes[] = {
	    "{\"schema\":{},\"payload\":{\"a\":\"x\"}}",
	    "{\"payload\":{\"a\":\"x\"},\"schema\":{\"type\":\"struct\"}}",
	    "{\"op\":\"c\",\"after\":\"a=1\"}",
	    "{\"op\":\"u\",\"after\":null,\"updateDescription\":{\"updatedFields\":\"a=1\"}}",
	    "{\"op\":\"u\",\"after\":null,\"filter\":\"{}\",\"patch\":\"{\\\"a\\\":1}\",\"ts_ms\":1}",
	    "{\"b\":1,\"__updateDescription_updatedFields\":\"{\\\"a\\\":1}\"}",
	    "{\"id\":\"1\",\"source\":\"/d\",\"specversion\":\"1.0\",\"type\":\"t\",\"data\":{}}",
	    "{\"source\":{},\"position\":{},\"ddl\":\"x\",\"tableChanges\":[]}",
	    "[{\"a\":\"x\"}]",
	    "\"{\\\"a\\\":\\\"x\\\"}\"",
	    " 5",
	    "{\"schema\":{\"type\":\"string\"},\"payload\":\"{\\\"a\\\":1}\"}",
	    "{\"after\":[{\"a\":\"x\"}],\"source\":{},\"ts_ms\":1}",
	    "{\"schema\":null,\"payload\":[{\"a\":\"x\"}]}",
	    ("{\"_id\":{},\"operationType\":\"insert\",\"fullDocument\":{\"a\":\"x\"},\"ns\":{\"db\":\"d\"},"
	     "\"documentKey\":{\"_id\":1}}"),
	    "{\"_id\":{},\"operationType\":\"delete\",\"ns\":{\"db\":\"d\"},\"documentKey\":{\"a\":\"x\"}}",
	};
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.a, mask: {}}\n");
	for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
		if (run(&r, NULL, shapes[i]) != KVEIL_E_UNSUPPORTED_ENVELOPE)
			fail_msg("%s: %s", shapes[i], kveil_status_code(r.result.error.status));
	assert_int_equal(run(&r, "{\"schema\":{},\"payload\":\"x\"}", NULL), KVEIL_E_UNSUPPORTED_ENVELOPE);
	assert_int_equal(run(&r, NULL, "{\"after\":\"a column\"}"), KVEIL_OK);
	assert_int_equal(run(&r, NULL, "null"), KVEIL_OK);
	rig_clear(&r);
}

/* As text with names such as a.0.b: no rule on a column holds there. */
static void changed_fields_of_a_document_are_refused(void **state)
{
	(void)state;
	static const char *const names[] = {"__updateDescription_updatedFields", "cdc.updateDescription_updatedFields"};
	struct rig r;
	char value[256];

	rig_init(&r, HEAD
		 "envelope: {kind: debezium, sql: keep, added_prefix: cdc.}\nfields:\n  - {path: $.a, mask: {}}\n");
	for (size_t i = 0; i < 2; i++) {
		struct kveil_header header = {kveil_span_str(names[i]), KVEIL_SPAN("{\"a\":\"x\"}")};
		struct kveil_record record = {
		    .value = KVEIL_SPAN("{\"a\":\"x\"}"), .headers = &header, .header_count = 1};
		kveil_engine_run(r.engine, &record, &r.result);
		assert_int_not_equal(r.result.verdict, KVEIL_PRODUCE);
		assert_int_equal(r.result.error.status, KVEIL_E_UNSUPPORTED_ENVELOPE);
		header.value = KVEIL_SPAN_NULL;
		kveil_engine_run(r.engine, &record, &r.result);
		assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
		snprintf(value, sizeof value, "{\"%s\":\"{}\"}", names[i]);
		assert_int_equal(run(&r, NULL, value), KVEIL_E_UNSUPPORTED_ENVELOPE);
		snprintf(value, sizeof value, "{\"%s\":null}", names[i]);
		becomes(&r, value, value);
	}
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $.__updateDescription_updatedFields, nullify: true}\n");
	becomes(&r, "{\"__updateDescription_updatedFields\":\"{}\"}", "{\"__updateDescription_updatedFields\":null}");
	rig_clear(&r);
}

/* add.fields=before.phone, and an event that Connect's Flatten made flat: the columns of other images beside the row.
 */
static void copies_of_columns_are_protected_as_those(void **state)
{
	(void)state;
	static const char *const rules = "  - {path: $.phone, when: \"$.vip == true\", mask: {}}\n"
					 "  - {path: $.o.card, hash: {key: k}, on_key: any}\n"
					 "  - {path: \"$.l[*].p\", nullify: true}\n"
					 "  - {path: [$.text, $.p], nullify: true}\n"
					 "  - {path: \"$..deep\", nullify: true}\n";
	struct rig r;

	char yaml[1024];
	snprintf(yaml, sizeof yaml, HEAD "envelope: {kind: debezium, added_prefix: x.}\nfields:\n%s", rules);
	rig_init(&r, yaml);
	/* Of the other image nothing else is known. */
	becomes(
	    &r,
	    "{\"vip\":false,\"phone\":\"1\",\"__before_phone\":\"2\",\"__after_phone\":\"3\",\"x.before_phone\":\"4\"}",
	    "{\"vip\":false,\"phone\":\"1\",\"__before_phone\":\"*\",\"__after_phone\":\"*\",\"x.before_phone\":\"*"
	    "\"}");
	becomes(
	    &r,
	    "{\"op\":\"u\",\"before.phone\":\"12\",\"after.l\":[{\"p\":1}],\"before.deep\":1,\"source.query\":\"x\"}",
	    "{\"op\":\"u\",\"before.phone\":\"**\",\"after.l\":[{\"p\":null}],\"before.deep\":null,\"source.query\":"
	    "null}");
	becomes(&r, "{\"__before_text\":\"{\\\"p\\\":1}\",\"after.text\":\"{\\\"p\\\":1}\"}",
		"{\"__before_text\":\"{\\\"p\\\":null}\",\"after.text\":\"{\\\"p\\\":null}\"}");
	assert_int_equal(
	    run(&r, NULL, "{\"o\":{\"card\":\"1\"},\"__before_o\":{\"card\":\"1\"},\"after.o.card\":\"1\"}"), KVEIL_OK);
	char hashed[3][128];
	assert_int_equal(
	    sscanf(
		r.value,
		"{\"o\":{\"card\":\"%100[^\"]\"},\"__before_o\":{\"card\":\"%100[^\"]\"},\"after.o.card\":\"%100[^\"]",
		hashed[0], hashed[1], hashed[2]),
	    3);
	assert_string_equal(hashed[0], hashed[1]);
	assert_string_equal(hashed[0], hashed[2]);
	fails(&r, NULL, "{\"id\":1,\"__before\":{\"phone\":\"1\"}}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	fails(&r, NULL, "{\"payload\":{\"id\":1,\"x.after\":{\"phone\":\"1\"}}}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	becomes(&r, "{\"__before\":\"a column\"}", "{\"__before\":\"a column\"}");
	/* MongoDB's documents are texts. */
	fails(&r, NULL, "{\"id\":1,\"__before\":\"{\\\"phone\\\":1}\"}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	fails(&r, NULL, "{\"id\":1,\"x.after\":\" \\u007b\\\"phone\\\":1}\"}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	static const struct {
		const char *name, *value;
		bool passes;
	} headers[] = {{"__before_phone", "1", false},
		       {"x.after_phone", "1", false},
		       {"__before_o", "{}", false},
		       {"__before", "{}", false},
		       {"__before_id", "1", true},
		       {"__before_phone", NULL, true},
		       {"__op", "u", true}};
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
		struct kveil_header h = {kveil_span_str(headers[i].name), kveil_span_str(headers[i].value)};
		struct kveil_record record = {.value = KVEIL_SPAN("{\"id\":1}"), .headers = &h, .header_count = 1};
		kveil_engine_run(r.engine, &record, &r.result);
		assert_int_equal(r.result.verdict == KVEIL_PRODUCE, headers[i].passes);
	}
	rig_clear(&r);
}

/* What a path with .. finds deep in another image's column, beside a row that says no; in headers; and names that
 * Flatten has joined, which tell no path. */
static void what_lies_in_copies_is_protected_too(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $..phone, when: \"$.vip == true\", mask: {}}\n");
	becomes(
	    &r,
	    "{\"vip\":false,\"a\":{\"phone\":\"1\"},\"__before_a\":{\"phone\":\"2\"},\"after.a\":[{\"phone\":\"3\"}]}",
	    "{\"vip\":false,\"a\":{\"phone\":\"1\"},\"__before_a\":{\"phone\":\"*\"},\"after.a\":[{\"phone\":\"*\"}]}");
	becomes(&r, "{\"vip\":true,\"payload\":[{\"phone\":\"1\"}]}", "{\"vip\":true,\"payload\":[{\"phone\":\"*\"}]}");
	static const struct {
		const char *name, *value;
		bool passes;
	} headers[] = {{"__before_a", "{\"phone\":1}", false}, {"__after_a", "Struct{phone=1}", false},
		       {"__before_a", "[1]", false},           {"__before_a", "\x01phone", false},
		       {"__before_a", "some text", true},      {"a", "{\"phone\":1}", true}};
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
		struct kveil_header h = {kveil_span_str(headers[i].name), kveil_span_str(headers[i].value)};
		struct kveil_record record = {.value = KVEIL_SPAN("{\"id\":1}"), .headers = &h, .header_count = 1};
		kveil_engine_run(r.engine, &record, &r.result);
		assert_int_equal(r.result.verdict == KVEIL_PRODUCE, headers[i].passes);
	}
	fails(&r, NULL, "{\"before.a.phone\":\"1\",\"op\":\"u\",\"source.connector\":\"mysql\"}",
	      KVEIL_E_UNSUPPORTED_ENVELOPE);
	fails(&r, NULL, "{\"payload\":{\"after_a_phone\":\"1\",\"op\":\"u\",\"source_connector\":\"mysql\"}}",
	      KVEIL_E_UNSUPPORTED_ENVELOPE);
	becomes(&r, "{\"source_connector\":\"rail\",\"op\":7}", "{\"source_connector\":\"rail\",\"op\":7}");
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $..phone, when: \"$.vip == true\", decrypt: {key: k}}\n");
	becomes(&r, "{\"vip\":true,\"__before_a\":{\"phone\":\"2\"}}",
		"{\"vip\":true,\"__before_a\":{\"phone\":\"2\"}}");
	rig_clear(&r);
}

/* Debezium's notifications name the keys between which a snapshot reads; changes of a schema list a column's values. */
static void keys_and_values_in_reports_are_blanked(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.id, hash: {key: k}}\n");
	becomes(&r,
		"{\"aggregate_type\":\"Incremental "
		"Snapshot\",\"type\":\"IN_PROGRESS\",\"additional_data\":{\"maximum_key\":\"9\","
		"\"last_processed_key\":\"5\",\"connector_name\":\"c\"}}",
		"{\"aggregate_type\":\"Incremental "
		"Snapshot\",\"type\":\"IN_PROGRESS\",\"additional_data\":{\"maximum_key\":null,"
		"\"last_processed_key\":null,\"connector_name\":\"c\"}}");
	becomes(
	    &r,
	    "{\"ddl\":\"x\",\"tableChanges\":[{\"table\":{\"columns\":[{\"name\":\"a\",\"enumValues\":[\"'b'\"]}]}}]}",
	    "{\"ddl\":null,\"tableChanges\":[{\"table\":{\"columns\":[{\"name\":\"a\",\"enumValues\":null}]}}]}");
	rig_clear(&r);
}

/* The wrong kind in a rule file would leave the rows of every event clear. */
static void events_of_another_kind_are_refused(void **state)
{
	(void)state;
	static const struct {
		const char *kind, *event;
	} events[] = {
	    {"debezium",
	     "{\"before\":null,\"after\":{\"phone\":\"1\"},\"source\":{\"connector\":\"mysql\"},\"op\":\"c\"}"},
	    {"canal",
	     "{\"data\":[{\"phone\":\"1\"}],\"database\":\"d\",\"table\":\"t\",\"type\":\"INSERT\",\"isDdl\":false}"},
	    {"maxwell", "{\"data\":{\"phone\":\"1\"},\"database\":\"d\",\"table\":\"t\",\"type\":\"insert\",\"ts\":1}"},
	    {"ogg", "{\"table\":\"t\",\"op_type\":\"I\",\"op_ts\":\"1\",\"pos\":\"1\",\"after\":{\"phone\":\"1\"}}"},
	    {"connect", "{\"phone\":\"1\"}"},
	};
	char yaml[256], wrapped[512];
	struct rig r;

	for (size_t k = 0; k < sizeof events / sizeof *events; k++) {
		snprintf(yaml, sizeof yaml, HEAD "envelope: %s\nfields:\n  - {path: $.phone, mask: {}}\n",
			 events[k].kind);
		rig_init(&r, yaml);
		for (size_t i = 0; i + 1 < sizeof events / sizeof *events; i++) {
			snprintf(wrapped, sizeof wrapped, "{\"schema\":{\"type\":\"string\"},\"payload\":%s}",
				 events[i].event);
			bool is_own = strcmp(events[i].kind, events[k].kind) == 0;
			enum kveil_status st = run(&r, NULL, events[i].event);
			if (st != (is_own ? KVEIL_OK : KVEIL_E_UNSUPPORTED_ENVELOPE))
				fail_msg("%s under %s: %s", events[i].kind, events[k].kind, kveil_status_code(st));
			if (!is_own || i)
				assert_int_equal(run(&r, NULL, wrapped), KVEIL_E_UNSUPPORTED_ENVELOPE);
			/* TiCDC leaves the schema out. */
			snprintf(wrapped, sizeof wrapped, "{\"payload\":%s}", events[i].event);
			if (!is_own && i == 0)
				assert_int_equal(run(&r, NULL, wrapped), KVEIL_E_UNSUPPORTED_ENVELOPE);
		}
		/* A column that is called as a mark of another kind. */
		assert_int_equal(run(&r, NULL, "{\"phone\":\"1\",\"data\":\"d\",\"source\":\"s\",\"op_type\":\"I\"}"),
				 KVEIL_OK);
		if (strcmp(events[k].kind, "debezium") && strcmp(events[k].kind, "connect"))
			assert_int_equal(
			    run(&r, "{\"schema\":{\"type\":\"string\"},\"payload\":{\"phone\":\"1\"}}", NULL),
			    KVEIL_E_UNSUPPORTED_ENVELOPE);
		rig_clear(&r);
	}
	rig_init(&r, HEAD "envelope: maxwell\nfields:\n  - {path: $.phone, mask: {}}\n");
	becomes(&r,
		"{\"type\":\"table-alter\",\"old\":{\"columns\":[{\"enum-values\":[\"1\"]}]},\"def\":{\"columns\":[{"
		"\"enum-values\":[\"1\"]}]}}",
		"{\"type\":\"table-alter\",\"old\":{\"columns\":[{\"enum-values\":null}]},\"def\":{\"columns\":[{"
		"\"enum-values\":null}]}}");
	rig_clear(&r);
}

/* An ordinary event is rewritten straight from the scan: a condition of the envelope's own that each would ask costs
 * three times as much. */
static void ordinary_events_need_no_tape(void **state)
{
	(void)state;
	static const struct {
		const char *kind, *event;
	} events[] = {
	    {"debezium", "{\"before\":{\"a\":\"x\"},\"after\":{\"a\":\"x\"},\"source\":{\"connector\":\"mysql\",\"db\":"
			 "\"d\",\"table\":\"t\","
			 "\"query\":null},\"transaction\":null,\"op\":\"u\",\"ts_ms\":1}"},
	    {"debezium", "{\"a\":\"x\",\"__deleted\":\"false\",\"__op\":\"u\",\"__source_table\":\"t\"}"},
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"old\":[{\"a\":\"x\"}],\"database\":\"d\",\"table\":\"t\",\"type\":"
		      "\"UPDATE\",\"isDdl\":false,\"sql\":\"\"}"},
	    {"maxwell", "{\"data\":{\"a\":\"x\"},\"old\":{\"a\":\"x\"},\"database\":\"d\",\"table\":\"t\",\"type\":"
			"\"update\",\"ts\":1}"},
	    {"ogg", "{\"table\":\"t\",\"op_type\":\"U\",\"op_ts\":\"1\",\"pos\":\"1\",\"before\":{\"a\":\"x\"},"
		    "\"after\":{\"a\":\"x\"}}"},
	    {"connect", "{\"a\":\"x\",\"b\":1}"},
	};

	for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
		char yaml[256];
		struct rig r;
		snprintf(yaml, sizeof yaml, HEAD "envelope: %s\nfields:\n  - {path: $.a, mask: {}}\n", events[i].kind);
		rig_init(&r, yaml);
		assert_int_equal(run(&r, NULL, events[i].event), KVEIL_OK);
		assert_null(strstr(r.value, "\"x\""));
		if (r.engine->value_doc)
			fail_msg("%s: %s", events[i].kind, events[i].event);
		rig_clear(&r);
	}
}

static void rows_that_are_none_are_refused(void **state)
{
	(void)state;
#define EVENT(more) "{\"table\":\"t\",\"type\":\"INSERT\",\"op_type\":\"I\"," more "}"
	static const struct {
		const char *kind, *shape;
		bool passes;
	} cases[] = {
	    {"canal", EVENT("\"data\":{\"a\":\"x\"}")},
	    {"canal", EVENT("\"data\":\"[{\\\"a\\\":1}]\"")},
	    {"canal", EVENT("\"data\":[[{\"a\":\"x\"}]]")},
	    {"canal", EVENT("\"data\":null,\"old\":[\"x\"]")},
	    {"canal", EVENT("\"data\":[{\"a\":\"x\"}],\"old\":[null]"), true},
	    {"canal", "{\"data\":\"a column\"}", true},
	    {"canal", "{\"schema\":null,\"payload\":{\"data\":[{\"a\":\"x\"}]}}"},
	    {"canal", "{\"schema\":null,\"payload\":{\"a\":\"x\"},\"id\":1}", true},
	    {"canal", "{\"schema\":null,\"payload\":null}", true},
	    {"maxwell", EVENT("\"data\":[{\"a\":\"x\"}]")},
	    {"maxwell", EVENT("\"data\":{},\"old\":\"x\"")},
	    {"maxwell", EVENT("\"data\":{\"a\":\"x\"},\"old\":null"), true},
	    {"ogg", EVENT("\"after\":[{\"a\":\"x\"}]")},
	    {"ogg", EVENT("\"before\":\"{\\\"a\\\":1}\"")},
	    {"ogg", EVENT("\"before\":null,\"after\":{\"a\":\"x\"}"), true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rig r;
		char rules[256];
		snprintf(rules, sizeof rules, HEAD "envelope: %s\nfields:\n  - {path: $.a, mask: {}}\n", cases[i].kind);
		rig_init(&r, rules);
		if (run(&r, NULL, cases[i].shape) != (cases[i].passes ? KVEIL_OK : KVEIL_E_UNSUPPORTED_ENVELOPE))
			fail_msg("%s: %s: %s", cases[i].kind, cases[i].shape, kveil_status_code(r.result.error.status));
		rig_clear(&r);
	}
}

/* The tape and the stream agree: two views never stream. */
static void views_and_streams_agree(void **state)
{
	(void)state;
	static const char event[] =
	    "{\"before\":{\"a\":\"x\"},\"after\":{\"a\":\"y\",\"b\":\"z\"},\"source\":{\"query\":\"q\"},"
	    "\"op\":\"u\"}";
	struct rig one, two;

	rig_init(&one, DEBEZIUM "  - {path: $.a, hash: {key: p}}\n  - {path: $.b, mask: {}}\n");
	rig_init(&two, "name: t\ntopics: [in]\nenvelope: debezium\noutputs:\n"
		       "  - {name: v, topic: v, fields: [{path: $.b, mask: {}}]}\n"
		       "  - {name: w, topic: w, clear: [$.b]}\n"
		       "fields:\n  - {path: $.a, hash: {key: p}}\n");
	assert_int_equal(run(&one, "{\"a\":\"y\"}", event), KVEIL_OK);
	assert_int_equal(run(&two, "{\"a\":\"y\"}", event), KVEIL_OK);
	assert_string_equal(one.value, two.value);
	assert_string_equal(one.key, two.key);
	assert_int_equal(two.result.output_count, 2);
	show(two.result.outputs[1].record.value, two.value, sizeof two.value);
	assert_non_null(strstr(two.value, "\"b\":\"z\""));
	assert_non_null(strstr(two.value, "\"query\":null"));
	rig_clear(&one);
	rig_clear(&two);
}

/* The envelope's own rules stand behind those of each view. */
static void every_view_has_rules_of_its_own(void **state)
{
	(void)state;
	struct rig r;
	char text[256];

	rig_init(&r, HEAD_OF_VIEWS "  - {name: v, topic: v, clear: [$.b], fields: [{path: $.a, mask: {}}]}\n"
				   "  - {name: w, topic: w, clear: [$.a], fields: [{path: $.b, mask: {}}]}\n");
	assert_int_equal(run(&r, NULL, "{\"after\":{\"a\":\"y\",\"b\":\"z\"},\"source\":{\"query\":\"q\"}}"), KVEIL_OK);
	assert_string_equal(r.value, "{\"after\":{\"a\":\"*\",\"b\":\"z\"},\"source\":{\"query\":null}}");
	show(r.result.outputs[1].record.value, text, sizeof text);
	assert_string_equal(text, "{\"after\":{\"a\":\"y\",\"b\":\"*\"},\"source\":{\"query\":null}}");
	rig_clear(&r);
}

/* The envelope's rule for a member of the event is none for a column of that name. */
static void a_column_is_no_member_of_the_event(void **state)
{
	(void)state;
	struct kveil_report report = {0};
	struct kveil_plan *plan = kveil_plan_parse(
	    KVEIL_SPAN("topics: [in]\nenvelope: maxwell\noutputs:\n"
		       "  - {name: v, topic: v, fields: [{path: $.query, remove: true}, {path: $.a, mask: {}}]}\n"
		       "  - {name: w, topic: w, fields: [{path: $.a, mask: {}}]}\n"),
	    "t.yaml", NULL, &report);

	assert_null(plan);
	assert_int_equal(report.errors, 1);
	assert_string_equal(report.problems[0].error.message, "output v protects $.query and output w does not");
	kveil_report_clear(&report);
}

static void an_inverse_opens_every_row(void **state)
{
	(void)state;
	static const char event[] =
	    "{\"before\":{\"a\":\"x\"},\"after\":{\"a\":\"y\",\"b\":\"z\"},\"source\":{\"query\":\"q\"}}";
	KVEIL_CLEANUP_BUF struct kveil_buf inverse = KVEIL_BUF_INIT;
	struct rig r;
	char value[sizeof r.value], key[sizeof r.key];

	rig_init(&r, HEAD "envelope: {kind: debezium, key: $.a, sql: {encrypt: {key: sql}}}\nfields:\n"
			  "  - {path: $.a, tokenize: {key: k}}\n  - {path: $.b, encrypt: {key: k2}}\n");
	assert_int_equal(run(&r, "\"y\"", event), KVEIL_OK);
	strcpy(value, r.value);
	strcpy(key, r.key);
	assert_int_equal(kveil_plan_write_inverse(r.plan, 0, &inverse), 2);
	struct kveil_plan *plan = load(kveil_buf_cstr(&inverse));
	bind_plan(&r, plan);
	assert_int_equal(run(&r, key, value), KVEIL_OK);
	assert_string_equal(r.value, event);
	assert_string_equal(r.key, "\"y\"");
	rig_clear(&r);
}

static void canal_has_many_rows(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: canal\nfields:\n  - {path: $.phone, mask: {keep_last: 1}}\n");
	becomes(&r,
		"{\"data\":[{\"phone\":\"11\",\"id\":\"1\"},{\"phone\":\"12\"}],\"old\":[{\"phone\":\"13\"},{}],"
		"\"isDdl\":false,\"mysqlType\":{\"phone\":\"varchar(11)\"},\"sql\":\"\",\"type\":\"UPDATE\"}",
		"{\"data\":[{\"phone\":\"*1\",\"id\":\"1\"},{\"phone\":\"*2\"}],\"old\":[{\"phone\":\"*3\"},{}],"
		"\"isDdl\":false,\"mysqlType\":{\"phone\":\"varchar(11)\"},\"sql\":\"\",\"type\":\"UPDATE\"}");
	becomes(&r, "{\"isDdl\":true,\"sql\":\"ALTER TABLE t ADD phone text DEFAULT '1'\",\"data\":null,\"old\":null}",
		"{\"isDdl\":true,\"sql\":\"\",\"data\":null,\"old\":null}");
	becomes(&r, "{\"phone\":\"11\"}", "{\"phone\":\"*1\"}");
	rig_clear(&r);
	/* Of several rows none stands for another, but an image of it. */
	rig_init(&r, HEAD "envelope: canal\nfields:\n  - {path: $.a, encrypt: {key: \"t-{$.t}\"}}\n");
	assert_int_equal(run(&r, NULL, "{\"data\":[{\"a\":\"x\",\"t\":\"1\"},{\"a\":\"y\"}]}"),
			 KVEIL_E_BAD_TEMPLATE_VALUE);
	assert_int_equal(run(&r, NULL, "{\"data\":[{\"a\":\"x\",\"t\":\"1\"}],\"old\":[{\"a\":\"y\"}]}"), KVEIL_OK);
	assert_int_equal(run(&r, NULL, "{\"data\":[{\"b\":1},{\"t\":\"2\"}],\"old\":[{\"b\":2},{\"a\":\"y\"}]}"),
			 KVEIL_OK);
	assert_int_equal(run(&r, NULL, "{\"data\":[{\"t\":\"1\"},{\"b\":2}],\"old\":[{\"b\":1},{\"a\":\"y\"}]}"),
			 KVEIL_E_BAD_TEMPLATE_VALUE);
	assert_int_equal(run(&r, NULL, "{\"data\":[{\"t\":\"1\"}],\"data\":[{\"t\":\"2\"}],\"old\":[{\"a\":\"y\"}]}"),
			 KVEIL_E_BAD_TEMPLATE_VALUE);
	rig_clear(&r);
}

static void maxwell_spells_keys_its_own_way(void **state)
{
	(void)state;
	struct rig r;
	char a[256], b[256];

	rig_init(&r, HEAD "envelope: maxwell\nfields:\n  - {path: $.Id, tokenize: {key: k}}\n");
	assert_int_equal(
	    run(&r, "{\"database\":\"d\",\"table\":\"t\",\"pk.id\":\"1\"}",
		"{\"type\":\"update\",\"data\":{\"Id\":\"1\"},\"old\":{\"Id\":\"1\"},\"query\":\"secret\"}"),
	    KVEIL_OK);
	text_of(r.value, "Id", 1, a);
	assert_string_equal(text_of(r.value, "Id", 2, b), a);
	assert_string_equal(text_of(r.key, "pk.id", 1, b), a);
	assert_non_null(strstr(r.value, "\"query\":null"));
	assert_int_equal(run(&r, "{\"Id\":\"1\"}", NULL), KVEIL_OK);
	assert_string_equal(text_of(r.key, "Id", 1, b), a);
	assert_int_equal(run(&r, "[\"d\",\"t\",[{\"id\":1}]]", NULL), KVEIL_E_KEY_COLUMN);
	assert_int_equal(run(&r, NULL, "{\"data\":{\"x\":1},\"primary_key\":[\"1\"]}"), KVEIL_E_UNSUPPORTED_ENVELOPE);
	becomes(&r, "{\"type\":\"table-alter\",\"def\":{},\"sql\":\"ALTER\"}",
		"{\"type\":\"table-alter\",\"def\":{},\"sql\":null}");
	rig_clear(&r);
}

static void goldengate_has_before_and_after(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: ogg\nfields:\n  - {path: $.PHONE, mask: {}}\n");
	becomes(&r, "{\"table\":\"T\",\"op_type\":\"U\",\"before\":{\"PHONE\":\"x\"},\"after\":{\"PHONE\":\"y\"}}",
		"{\"table\":\"T\",\"op_type\":\"U\",\"before\":{\"PHONE\":\"*\"},\"after\":{\"PHONE\":\"*\"}}");
	becomes(&r, "{\"op_type\":\"I\",\"PHONE\":\"x\"}", "{\"op_type\":\"I\",\"PHONE\":\"*\"}");
	rig_clear(&r);
}

static void check_says_what_cannot_be_meant(void **state)
{
	(void)state;
	static const struct {
		const char *yaml, *why;
	} wrong[] = {
	    {HEAD "envelope: auto\nfields: [{path: $.a, mask: {}}]\n", "envelope auto is not in this version"},
	    {HEAD "envelope: canal\nfields: [{path: $.data.a, mask: {}}]\n", "is a member of the envelope"},
	    {HEAD "envelope: canal\nfields: [{path: $..a, mask: {}}]\n", "begins with the name of a column"},
	    {HEAD "envelope: maxwell\nfields: [{path: $.姓名, mask: {}}]\n", "ASCII names"},
	    {HEAD "envelope: debezum\nfields: [{path: $.a, mask: {}}]\n", "no envelope 'debezum'"},
	    {DEBEZIUM "  - {path: \"$.*\", mask: {}}\n", "begins with the name of a column"},
	    {DEBEZIUM "  - {path: \"$\", encrypt: {key: k, type: json}}\n", "begins with the name of a column"},
	    {DEBEZIUM "  - {path: $.after.a, mask: {}}\n", "is a member of the envelope"},
	    {DEBEZIUM "  - {path: \"header:__debezium.newkey\", mask: {}}\n", "follows the rules on the key's columns"},
	    {DEBEZIUM "  - {path: \"header:__debezium.oldkey\", remove: true}\n", "follows the rules"},
	    {HEAD "envelope: debezium\nformat: {value: json, key: text}\nfields: [{path: $.a, mask: {}}]\n",
	     "say which column it holds"},
	    {HEAD "envelope: {kind: debezium, sql: maybe}\nfields: [{path: $.a, mask: {}}]\n", "sql is blank, keep"},
	    {HEAD "envelope: {kind: debezium, key: \"$..a\"}\nfields: [{path: $.a, mask: {}}]\n", "the one column"},
	    {HEAD "envelope: {kind: debezium, key: $.a}\nfields: [{path: $.a, tokenize: {key: k}, to: $.b}]\n",
	     "nowhere to write"},
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct kveil_report report = {0};
		bool found = false;
		assert_null(kveil_plan_parse(kveil_span_str(wrong[i].yaml), "t.yaml", NULL, &report));
		for (size_t k = 0; k < report.count; k++)
			found |= strstr(report.problems[k].error.message, wrong[i].why) != NULL;
		if (!found)
			fail_msg("nobody said: %s", wrong[i].why);
		kveil_report_clear(&report);
	}
}

static void check_warns_of_columns_called_as_members(void **state)
{
	(void)state;
	static const char *const yaml[] = {HEAD "envelope: canal\nfields: [{path: $.id, tokenize: {key: k}}]\n",
					   DEBEZIUM "  - {path: $.source, mask: {}}\n"};

	for (size_t i = 0; i < 2; i++) {
		struct kveil_report report = {0};
		struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml[i]), "t.yaml", NULL, &report);
		bool found = false;
		assert_non_null(plan);
		for (size_t k = 0; k < report.count; k++)
			found |= report.problems[k].warning &&
				 strstr(report.problems[k].error.message, "a member of every event");
		assert_true(found);
		kveil_report_clear(&report);
		kveil_plan_unref(plan);
	}
}

/* A number that a condition compares becomes a text: readers are to know. */
static void check_shows_what_becomes_of_a_number(void **state)
{
	(void)state;
	says(DEBEZIUM "  - {path: $.pay, when: \"@ > 52000\", mask: {keep_first: 1}}\n", true,
	     "compares $.pay with a number, and what mask writes is a text: \"5****\"");
	says(DEBEZIUM "  - {path: $.pay, when: \"$.a == 1 || 3 <= $.pay\", hash: {key: k}}\n", true,
	     "what hash writes is a text");
	static const char *const quiet[] = {"when: \"$.other > 5\", mask: {}", "when: \"@ == '5'\", mask: {}",
					    "when: \"@ > 5\", remove: true", "when: \"@ > 5\", nullify: true",
					    "when: \"@ > 5\", encrypt: {key: k, type: json}"};
	for (size_t i = 0; i < sizeof quiet / sizeof *quiet; i++) {
		struct kveil_report report = {0};
		char yaml[256];
		snprintf(yaml, sizeof yaml, DEBEZIUM "  - {path: $.pay, %s}\nclear: [$.pay]\n", quiet[i]);
		struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml), "t.yaml", NULL, &report);
		assert_non_null(plan);
		assert_int_equal(report.count, 0);
		kveil_plan_unref(plan);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_rule_holds_in_every_row),
	    cmocka_unit_test(associated_data_is_the_rows_path),
	    cmocka_unit_test(conditions_and_templates_read_the_row),
	    cmocka_unit_test(keys_stay_one_to_one),
	    cmocka_unit_test(a_bare_key_is_the_column_that_the_file_names),
	    cmocka_unit_test(headers_with_keys_follow_the_key),
	    cmocka_unit_test(what_was_not_sent_passes_and_is_in_doubt),
	    cmocka_unit_test(what_stands_beside_the_row_is_blanked),
	    cmocka_unit_test(shapes_that_hide_rows_are_refused),
	    cmocka_unit_test(views_and_streams_agree),
	    cmocka_unit_test(changed_fields_of_a_document_are_refused),
	    cmocka_unit_test(copies_of_columns_are_protected_as_those),
	    cmocka_unit_test(what_lies_in_copies_is_protected_too),
	    cmocka_unit_test(keys_and_values_in_reports_are_blanked),
	    cmocka_unit_test(events_of_another_kind_are_refused),
	    cmocka_unit_test(ordinary_events_need_no_tape),
	    cmocka_unit_test(rows_that_are_none_are_refused),
	    cmocka_unit_test(every_view_has_rules_of_its_own),
	    cmocka_unit_test(a_column_is_no_member_of_the_event),
	    cmocka_unit_test(an_inverse_opens_every_row),
	    cmocka_unit_test(canal_has_many_rows),
	    cmocka_unit_test(maxwell_spells_keys_its_own_way),
	    cmocka_unit_test(goldengate_has_before_and_after),
	    cmocka_unit_test(check_warns_of_columns_called_as_members),
	    cmocka_unit_test(check_says_what_cannot_be_meant),
	    cmocka_unit_test(check_shows_what_becomes_of_a_number),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

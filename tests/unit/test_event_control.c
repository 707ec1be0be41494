/* SPDX-License-Identifier: Apache-2.0 */
/* Records about the stream, statements under other names, and encodings that are refused by name. */
#include "event_rig.h"

#define RULES(kind, more) HEAD "envelope: {kind: " kind more "}\nfields:\n  - {path: $.a, mask: {}}\n"

static const struct {
	const char *kind, *record;
	bool is_control;
} records[] = {
    {"debezium", "{\"ts_ms\":1471893484000}", true},
    {"debezium", "{\"payload\":{\"ts_ms\":1}}", true},
    {"debezium", "{\"ts_ms\":1,\"a\":\"x\"}", false},
    {"debezium",
     "{\"status\":\"BEGIN\",\"id\":\"571:53195829\",\"ts_ms\":1,\"event_count\":null,\"data_collections\":null}", true},
    /* A row whose columns look like one. */
    {"debezium", "{\"status\":\"END\",\"id\":\"1\",\"event_count\":2,\"a\":\"x\"}", false},
    {"debezium", "{\"status\":\"PAID\",\"id\":\"1\",\"event_count\":2}", false},
    {"debezium",
     "{\"source\":{\"connector\":\"mysql\"},\"ts_ms\":1,\"databaseName\":\"shop\",\"schemaName\":null,\"ddl\":"
     "\"ALTER\","
     "\"tableChanges\":[]}",
     true},
    {"debezium", "{\"source\":\"x\",\"ts_ms\":1,\"databaseName\":\"shop\",\"ddl\":\"ALTER\"}", false},
    {"debezium", "{\"op\":\"c\",\"ts_ms\":1,\"after\":{\"ts_ms\":1}}", false},
    {"debezium", "{\"payload\":{\"ts_ms\":1},\"id\":1}", false},
    {"debezium", "{\"payload\":{\"ts_ms\":1},\"id\":null}", false},
    {"debezium", "{\"schema\":null,\"payload\":{\"ts_ms\":1}}", true},
    {"debezium", "{\"payload\":{\"ts_ms\":1},\"schema\":null}", true},
    {"debezium",
     "{\"id\":\"1\",\"type\":\"STARTED\",\"aggregate_type\":\"Initial "
     "Snapshot\",\"additional_data\":{},\"timestamp\":1}",
     true},
    {"debezium", "{\"id\":\"1\",\"type\":\"PAID\",\"aggregate_type\":\"order\",\"payload\":\"x\"}", false},
    {"debezium", "{\"op\":\"t\",\"source\":{\"connector\":\"postgresql\"},\"before\":null,\"after\":null}", false},
    {"canal", "{\"data\":null,\"database\":\"d\",\"isDdl\":true,\"type\":\"ALTER\",\"sql\":\"ALTER\"}", true},
    {"canal", "{\"data\":null,\"isDdl\":false,\"type\":\"TIDB_WATERMARK\",\"_tidb\":{\"watermarkTs\":1}}", true},
    {"canal", "{\"data\":[{\"a\":\"x\"}],\"isDdl\":true,\"type\":\"ALTER\"}", false},
    {"canal", "{\"data\":null,\"isDdl\":false,\"type\":\"INSERT\"}", false},
    {"maxwell", "{\"type\":\"table-alter\",\"database\":\"d\",\"sql\":\"ALTER\",\"def\":{}}", true},
    {"maxwell", "{\"type\":\"bootstrap-start\",\"database\":\"d\",\"table\":\"t\",\"data\":{}}", true},
    {"maxwell", "{\"type\":\"insert\",\"database\":\"d\",\"data\":{\"a\":\"x\"}}", false},
    {"ogg", "{\"ts_ms\":1}", false},
};

static enum kveil_verdict verdict(const char *kind, const char *control, const char *record)
{
	struct rig r;
	char yaml[256];

	snprintf(yaml, sizeof yaml, RULES("%s", ", control: %s"), kind, control);
	rig_init(&r, yaml);
	enum kveil_status st = run(&r, NULL, record);
	enum kveil_verdict v = r.result.verdict;
	if (v != KVEIL_PRODUCE)
		assert_int_equal(st, KVEIL_E_CONTROL_RECORD);
	rig_clear(&r);
	return v;
}

static void control_says_what_becomes_of_records_about_the_stream(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
		const char *kind = records[i].kind, *record = records[i].record;
		bool is = records[i].is_control;
		if (verdict(kind, "keep", record) != KVEIL_PRODUCE ||
		    verdict(kind, "drop", record) != (is ? KVEIL_DROP : KVEIL_PRODUCE) ||
		    verdict(kind, "dead-letter", record) != (is ? KVEIL_DEAD_LETTER : KVEIL_PRODUCE))
			fail_msg("%s: %s", kind, record);
	}
}

/* What has no row lacks no field of one. */
static void what_has_no_row_lacks_no_field(void **state)
{
	(void)state;
#define EVENT(op, more) "{\"op\":\"" op "\",\"ts_ms\":1,\"source\":{\"connector\":\"postgresql\"}" more "}"
	static const struct {
		const char *kind, *record;
		bool has_row;
	} cases[] = {
	    {"debezium", EVENT("t", ""), false},
	    {"debezium", EVENT("t", ",\"before\":null,\"after\":null"), false},
	    {"debezium", "{\"schema\":null,\"payload\":" EVENT("t", "") "}", false},
	    {"debezium", EVENT("t", ",\"before\":null,\"after\":{\"b\":1}"), true},
	    {"debezium", EVENT("d", ",\"before\":null,\"after\":null"), true},
	    {"debezium", "{\"op\":\"t\"}", true},
	    {"debezium", EVENT("m", ",\"message\":{\"prefix\":\"p\",\"content\":\"eyJiIjoxfQ==\"}"), false},
	    {"debezium, messages: rows", EVENT("m", ",\"message\":{\"prefix\":\"p\",\"content\":\"eyJiIjoxfQ==\"}"),
	     true},
	    {"debezium, messages: rows", EVENT("t", ""), false},
	    {"ogg", "{\"table\":\"A.B\",\"op_type\":\"T\",\"op_ts\":\"x\",\"pos\":\"1\"}", false},
	    {"ogg", "{\"table\":\"A.B\",\"op_type\":\"I\",\"op_ts\":\"x\",\"pos\":\"1\"}", true},
	    {"ogg", "{\"table\":\"A.B\",\"op_type\":\"T\",\"op_ts\":\"x\",\"pos\":\"1\",\"after\":{}}", true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases + sizeof records / sizeof *records; i++) {
		size_t k = i - sizeof cases / sizeof *cases;
		bool is_own = i < sizeof cases / sizeof *cases;
		const char *record = is_own ? cases[i].record : records[k].record;
		bool has_row = is_own ? cases[i].has_row : !records[k].is_control;
		struct rig r;
		char yaml[256];
		if (!is_own && strstr(record, "\"t\""))
			continue;
		snprintf(yaml, sizeof yaml,
			 HEAD "envelope: {kind: %s}\nfields: [{path: $.z, required: true, mask: {}}]\n",
			 is_own ? cases[i].kind : records[k].kind);
		rig_init(&r, yaml);
		if (run(&r, NULL, record) != (has_row ? KVEIL_E_MISSING_FIELD : KVEIL_OK))
			fail_msg("%s: %s", record, r.result.error.message);
		rig_clear(&r);
	}
}

/* The values of an enumeration are a list, which nothing encrypts. */
static void lists_beside_encrypted_statements_are_blanked(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, RULES("debezium", ", sql: {encrypt: {key: k}}"));
	assert_int_equal(run(&r, NULL,
			     "{\"source\":{\"connector\":\"mysql\"},\"ddl\":\"CREATE\",\"databaseName\":\"d\","
			     "\"tableChanges\":[{\"table\":"
			     "{\"columns\":[{\"enumValues\":[\"secret\"]}]}}]}"),
			 KVEIL_OK);
	assert_non_null(strstr(r.value, "\"enumValues\":null"));
	assert_null(strstr(r.value, "CREATE"));
	rig_clear(&r);
	rig_init(&r, RULES("maxwell", ", sql: {encrypt: {key: k}}"));
	assert_int_equal(run(&r, NULL,
			     "{\"type\":\"table-create\",\"sql\":\"CREATE\",\"def\":{\"columns\":[{\"enum-values\":["
			     "\"secret\"]}]}}"),
			 KVEIL_OK);
	assert_non_null(strstr(r.value, "\"enum-values\":null"));
	rig_clear(&r);
}

/* As TiCDC writes them, to every partition and without a key: readers wait for them. */
static void watermarks_of_ticdc_pass_as_they_are(void **state)
{
	(void)state;
	static const char watermark[] =
	    "{\"id\":0,\"database\":\"\",\"table\":\"\",\"pkNames\":null,\"isDdl\":false,\"type\":\"TIDB_WATERMARK\","
	    "\"es\":1640007049196,\"ts\":1640007050284,\"sql\":\"\",\"sqlType\":null,\"mysqlType\":null,\"data\":null,"
	    "\"old\":null,\"_tidb\":{\"watermarkTs\":429918007904436226}}";
	static const char rules[] =
	    "envelope: canal\nunmatched: %s\nfields:\n"
	    "  - {path: $.phone, table: shop.users, mask: {}}\n"
	    "  - {path: $.id_card, required: true, tokenize: {key: k}}\n"
	    "  - {path: $.note, when: \"$.vip\", encrypt: {key: k, associated_data: \"{$.id_card}\"}}\n";
	static const char *const unmatched[] = {"keep", "remove", "dead-letter"};

	for (size_t i = 0; i < sizeof unmatched / sizeof *unmatched; i++) {
		struct rig r;
		char yaml[512];
		snprintf(yaml, sizeof yaml, rules, unmatched[i]);
		char text[640];
		snprintf(text, sizeof text, HEAD "%s", yaml);
		rig_init(&r, text);
		becomes(&r, watermark, watermark);
		rig_clear(&r);
	}
}

static void a_signals_data_is_blanked(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, RULES("debezium", ""));
#define SIGNAL(type, data) "{\"id\":\"1\",\"type\":\"" type "\",\"data\":" data "}"
	becomes(&r,
		"{\"op\":\"c\",\"before\":null,\"after\":" SIGNAL("execute-snapshot", "\"{filter: phone=138}\"") "}",
		"{\"op\":\"c\",\"before\":null,\"after\":" SIGNAL("execute-snapshot", "null") "}");
	becomes(&r, "{\"op\":\"d\",\"before\":" SIGNAL("stop-snapshot", "\"x\"") "}",
		"{\"op\":\"d\",\"before\":" SIGNAL("stop-snapshot", "null") "}");
	becomes(&r, SIGNAL("log", "\"x\""), SIGNAL("log", "null"));
	becomes(&r, SIGNAL("invoice", "\"x\""), SIGNAL("invoice", "\"x\""));
	/* A column called data is none. */
	becomes(&r, "{\"id\":1,\"data\":\"x\"}", "{\"id\":1,\"data\":\"x\"}");
	becomes(&r, "{\"id\":1,\"type\":5,\"data\":\"x\"}", "{\"id\":1,\"type\":5,\"data\":\"x\"}");
	rig_clear(&r);
	rig_init(&r, RULES("debezium", ", sql: keep"));
	becomes(&r, SIGNAL("log", "\"x\""), SIGNAL("log", "\"x\""));
	rig_clear(&r);
}

static void fields_of_a_transform_may_have_another_prefix(void **state)
{
	(void)state;
	struct rig r;
	struct kveil_header headers[] = {{KVEIL_SPAN("cdc.source_query"), KVEIL_SPAN("UPDATE")},
					 {KVEIL_SPAN("__source_query"), KVEIL_SPAN("UPDATE")}};
	struct kveil_record record = {.value = KVEIL_SPAN("{\"a\":\"x\"}"), .headers = headers, .header_count = 2};

	rig_init(&r, RULES("debezium", ", added_prefix: cdc."));
	becomes(&r, "{\"a\":\"x\",\"cdc.source_query\":\"UPDATE\",\"__source_query\":\"UPDATE\",\"cdc.op\":\"c\"}",
		"{\"a\":\"*\",\"cdc.source_query\":null,\"__source_query\":null,\"cdc.op\":\"c\"}");
	kveil_engine_run(r.engine, &record, &r.result);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	assert_null(r.result.outputs[0].record.headers[0].value.data);
	assert_null(r.result.outputs[0].record.headers[1].value.data);
	rig_clear(&r);
	rig_init(&r, HEAD "envelope: {kind: debezium, added_prefix: cdc_}\nunmatched: remove\nfields:\n"
			  "  - {path: $.a, table: users, mask: {}}\n");
	becomes(&r, "{\"a\":\"x\",\"cdc_table\":\"users\",\"cdc_op\":\"c\",\"cdc_mine\":1}",
		"{\"a\":\"*\",\"cdc_table\":\"users\",\"cdc_op\":\"c\"}");
	becomes(&r, "{\"a\":\"clear\",\"cdc_table\":\"orders\",\"cdc_op\":\"c\"}",
		"{\"cdc_table\":\"orders\",\"cdc_op\":\"c\"}");
	rig_clear(&r);
	says(RULES("debezium", ", added_prefix: \"a'b\""), false, "added_prefix is");
	says(RULES("debezium", ", added_prefix: \"\""), false, "added_prefix is");
}

static void other_encodings_are_refused_by_name(void **state)
{
	(void)state;
	static const struct {
		const char bytes[16];
		const char *says;
	} cases[] = {
	    {"\0\0\0\0\0\0\0\x02{}", "protocol=canal-json"},
	    {"\x08\x11\x10\x01\x18\x07", "canal.mq.flatMessage=true"},
	    {"\x0a\x02xx", "canal.mq.flatMessage=true"},
	};
	struct rig r;

	rig_init(&r, RULES("canal", ""));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct kveil_record record = {.value = {(const uint8_t *)cases[i].bytes, 10}};
		kveil_engine_run(r.engine, &record, &r.result);
		assert_int_equal(r.result.verdict, KVEIL_DEAD_LETTER);
		assert_int_equal(r.result.error.status, KVEIL_E_UNSUPPORTED_ENVELOPE);
		assert_non_null(strstr(r.result.error.message, cases[i].says));
	}
	fails(&r, NULL, "{\"a\":", KVEIL_E_INVALID_JSON);
	rig_clear(&r);
}

#define ABSENT_NUMBERS                                                                                                 \
	"[95,95,100,101,98,101,122,105,117,109,95,117,110,97,118,97,105,108,97,98,108,101,95,118,97,108,117,101]"
#define ABSENT_UUID "b68a35a7-17ad-35b3-af2a-ae46edb4545a"

static void arrays_that_were_not_sent_pass(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: debezium\nfields:\n  - {path: \"$.n[*]\", nullify: true}\n"
			  "  - {path: $.w, encrypt: {key: k, type: json}}\n  - {path: \"$.u[*]\", mask: {}}\n");
	becomes(&r, "{\"after\":{\"n\":" ABSENT_NUMBERS ",\"w\":" ABSENT_NUMBERS ",\"u\":[\"" ABSENT_UUID "\"]}}",
		"{\"after\":{\"n\":" ABSENT_NUMBERS ",\"w\":" ABSENT_NUMBERS ",\"u\":[\"" ABSENT_UUID "\"]}}");
	static const char *const wholes[] = {"[\"" ABSENT_UUID "\"]", "[\"__debezium_unavailable_value\"]",
					     "{\"__debezium_unavailable_value\":\"__debezium_unavailable_value\"}"};
	static const char *const others[] = {"[\"__debezium_unavailable_value\",\"x\"]",
					     "[[\"x\"]]",
					     "[\"\"]",
					     "[]",
					     "{}",
					     "[\"__debezium_unavailable_valu\"]",
					     "{\"__debezium_unavailable_value\":\"__debezium_unavailable_valux\"}",
					     "{\"_xdebezium_unavailable_value\":\"__debezium_unavailable_value\"}",
					     "{\"__debezium_unavailable_value\":[__debezium_unavailable_value\"}"};
	for (size_t i = 0; i < sizeof wholes / sizeof *wholes; i++) {
		char text[256];
		snprintf(text, sizeof text, "{\"w\":%s}", wholes[i]);
		becomes(&r, text, text);
	}
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		char text[256];
		snprintf(text, sizeof text, "{\"w\":%s}", others[i]);
		assert_true(run(&r, NULL, text) != KVEIL_OK || !strstr(r.value, others[i]));
	}
	/* Nothing less, and nothing more. */
	becomes(&r, "{\"n\":[95,95,100]}", "{\"n\":[null,null,null]}");
	becomes(&r, "{\"n\":[95]}", "{\"n\":[null]}");
	becomes(&r, "{\"n\":[[95],95,-1]}", "{\"n\":[null,null,null]}");
	assert_int_equal(run(&r, NULL, "{\"w\":[95,95,100,101]}"), KVEIL_OK);
	assert_null(strstr(r.value, "95,95"));
	rig_clear(&r);
	rig_init(&r, HEAD
		 "envelope: {kind: debezium, unavailable_value: ab}\nfields:\n  - {path: \"$.n[*]\", nullify: true}\n");
	becomes(&r, "{\"n\":[97,98]}", "{\"n\":[97,98]}");
	becomes(&r, "{\"n\":[97,99]}", "{\"n\":[null,null]}");
	rig_clear(&r);
}

/* PostgreSQL sends the key of a deleted row, and Debezium fills up the columns that may not be null. */
static void an_empty_text_fills_a_deleted_row_up(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: debezium\nfields:\n"
			  "  - {path: $.a, tokenize: {key: k, alphabet: digits}, on_key: any}\n");
	becomes(&r, "{\"op\":\"d\",\"before\":{\"a\":\"\"},\"after\":null}",
		"{\"op\":\"d\",\"before\":{\"a\":\"\"},\"after\":null}");
	fails(&r, NULL, "{\"op\":\"c\",\"before\":null,\"after\":{\"a\":\"\"}}", KVEIL_E_VALUE_OUT_OF_DOMAIN);
	fails(&r, NULL, "{\"op\":\"d\",\"before\":{\"a\":\"x\"}}", KVEIL_E_VALUE_OUT_OF_DOMAIN);
	fails(&r, NULL, "{\"op\":\"d\",\"a\":\"\"}", KVEIL_E_VALUE_OUT_OF_DOMAIN);
	fails(&r, "{\"a\":\"\"}", NULL, KVEIL_E_VALUE_OUT_OF_DOMAIN);
	/* Flattened, with what a transform adds. */
	becomes(&r, "{\"a\":\"\",\"__deleted\":\"true\"}", "{\"a\":\"\",\"__deleted\":\"true\"}");
	becomes(&r, "{\"payload\":{\"a\":\"\",\"__op\":\"d\"}}", "{\"payload\":{\"a\":\"\",\"__op\":\"d\"}}");
	fails(&r, NULL, "{\"a\":\"\",\"__deleted\":\"false\"}", KVEIL_E_VALUE_OUT_OF_DOMAIN);
	fails(&r, NULL, "{\"a\":\"\",\"__deleted\":\"\"}", KVEIL_E_VALUE_OUT_OF_DOMAIN);
	fails(&r, NULL, "{\"a\":\"x\",\"__deleted\":\"true\"}", KVEIL_E_VALUE_OUT_OF_DOMAIN);
	fails(&r, "{\"a\":\"\",\"__deleted\":\"true\"}", "{\"a\":\"\",\"__deleted\":\"true\"}",
	      KVEIL_E_VALUE_OUT_OF_DOMAIN);
	struct kveil_header header = {KVEIL_SPAN("__op"), KVEIL_SPAN("d")};
	struct kveil_record record = {.value = KVEIL_SPAN("{\"a\":\"\"}"), .headers = &header, .header_count = 1};
	kveil_engine_run(r.engine, &record, &r.result);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	rig_clear(&r);
	/* A text that is a row has a tape of its own. */
	rig_init(&r, HEAD "envelope: {kind: debezium, messages: rows}\nfields:\n"
			  "  - {path: $.a, tokenize: {key: k, alphabet: digits}, on_key: any}\n");
	fails(
	    &r, NULL,
	    "{\"op\":\"m\",\"message\":{\"content\":\"{\\\"b\\\":[1,2,3,4,5,6,7,8,9,10,11,12],\\\"a\\\":\\\"\\\"}\"}}",
	    KVEIL_E_VALUE_OUT_OF_DOMAIN);
	rig_clear(&r);
}

static void loads_and_nobody_says(const char *yaml, const char *what)
{
	struct kveil_report report = {0};
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml), "t.yaml", NULL, &report);

	assert_non_null(plan);
	for (size_t i = 0; i < report.count; i++)
		assert_null(strstr(report.problems[i].error.message, what));
	kveil_report_clear(&report);
	kveil_plan_unref(plan);
}

/* Every record with such a key would be refused, so the file is. */
static void a_bare_keys_column_needs_what_keeps_keys_apart(void **state)
{
	(void)state;
#define BARE HEAD "envelope: {kind: debezium, key: $.a}\nfields:\n"
	says(BARE "  - {path: $.a, mask: {}}\n", false, "mask does not keep keys apart");
	says(BARE "  - {path: $.a, nullify: true}\n", false, "no record passes");
	says(BARE "  - {path: $.a, table: users, mask: {}}\n", true, "no record passes where this applies");
	says(BARE "  - {path: $.a, when: \"@ > 5\", hash: {key: p}}\n  - {path: $.a, mask: {}}\n", true,
	     "no record passes where this applies");
	loads_and_nobody_says(BARE "  - {path: $.a, on_key: any, mask: {}}\n", "no record passes");
	loads_and_nobody_says(HEAD "envelope: {kind: debezium, key: $.a}\nclear: [\"key:$.a\"]\nfields:\n"
				   "  - {path: $.a, mask: {}}\n",
			      "no record passes");
	loads_and_nobody_says(BARE "  - {path: $.b, mask: {}}\n  - {path: $.a, hash: {key: p}}\n", "no record passes");
#undef BARE
}

static void check_warns_of_written_keys(void **state)
{
	(void)state;
	says(HEAD "envelope: {kind: debezium, key: $.a}\nfields:\n  - {path: $.a, tokenize: {key: k}}\n", true,
	     "take a new snapshot");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_has_no_row_lacks_no_field),
	    cmocka_unit_test(lists_beside_encrypted_statements_are_blanked),
	    cmocka_unit_test(control_says_what_becomes_of_records_about_the_stream),
	    cmocka_unit_test(watermarks_of_ticdc_pass_as_they_are),
	    cmocka_unit_test(a_signals_data_is_blanked),
	    cmocka_unit_test(fields_of_a_transform_may_have_another_prefix),
	    cmocka_unit_test(arrays_that_were_not_sent_pass),
	    cmocka_unit_test(an_empty_text_fills_a_deleted_row_up),
	    cmocka_unit_test(a_bare_keys_column_needs_what_keeps_keys_apart),
	    cmocka_unit_test(check_warns_of_written_keys),
	    cmocka_unit_test(other_encodings_are_refused_by_name),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

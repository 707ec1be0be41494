/* SPDX-License-Identifier: Apache-2.0 */
/* Debezium's events of MongoDB: documents, and what changed in them, as texts of extended JSON. */
#include "event_rig.h"

#include "base/buf.h"
#include "rules/invert.h"

#define DEBEZIUM HEAD "envelope: debezium\nfields:\n"
#define SOURCE                                                                                                         \
	"\"source\":{\"connector\":\"mongodb\",\"db\":\"shop\",\"collection\":\"users\"},\"op\":\"u\",\"ts_ms\":1"

static void one(const char *yaml, const char *value, const char *want)
{
	struct rig r;

	rig_init(&r, yaml);
	becomes(&r, value, want);
	rig_clear(&r);
}

static void a_rule_holds_in_documents(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM
		 "  - {path: $.phone, mask: {keep_first: 3, keep_last: 4}}\n  - {path: $..email, nullify: true}\n");
	becomes(&r,
		"{\"before\":null,\"after\":\"{\\\"_id\\\": {\\\"$numberLong\\\": \\\"1004\\\"},\\\"phone\\\": "
		"\\\"13812345678\\\","
		"\\\"u\\\":{\\\"email\\\":\\\"a@b\\\"}}\"," SOURCE "}",
		"{\"before\":null,\"after\":\"{\\\"_id\\\": {\\\"$numberLong\\\": \\\"1004\\\"},\\\"phone\\\": "
		"\\\"138****5678\\\","
		"\\\"u\\\":{\\\"email\\\":null}}\"," SOURCE "}");
	becomes(&r, "{\"payload\":{\"before\":\"{\\\"phone\\\":\\\"13812345678\\\"}\",\"after\":null," SOURCE "}}",
		"{\"payload\":{\"before\":\"{\\\"phone\\\":\\\"138****5678\\\"}\",\"after\":null," SOURCE "}}");
	/* A document without one, and no document at all. */
	becomes(&r, "{\"after\":\"{\\\"a\\\":1}\"," SOURCE "}", "{\"after\":\"{\\\"a\\\":1}\"," SOURCE "}");
	fails(&r, NULL, "{\"after\":\"phone=13812345678\"," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	fails(&r, NULL, "{\"after\":\"[1]\"," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	fails(&r, NULL, "{\"after\":[1]," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	fails(&r, NULL, "{\"patch\":\"{}\"," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	/* A flat row with such columns is one as before, and a document in there is read too. */
	becomes(&r, "{\"after\":\"five o'clock\",\"phone\":\"13812345678\"}",
		"{\"after\":\"five o'clock\",\"phone\":\"138****5678\"}");
	becomes(&r, "{\"after\":\"{\\\"phone\\\":\\\"13812345678\\\"}\"}",
		"{\"after\":\"{\\\"phone\\\":\\\"138****5678\\\"}\"}");
	rig_clear(&r);
}

#define FIELDS(text, more)                                                                                             \
	"{\"after\":null,\"updateDescription\":{\"removedFields\":[\"phone\"],\"updatedFields\":\"" text "\"" more     \
	"}," SOURCE "}"

static void names_with_dots_are_paths(void **state)
{
	(void)state;
	static const struct {
		const char *path, *before, *after;
	} cases[] = {
	    {"$.addresses[*].street", "{\\\"addresses.0.street\\\": 1, \\\"a\\\":2}",
	     "{\\\"addresses.0.street\\\": null, \\\"a\\\":2}"},
	    {"$.addresses[*].street", "{\\\"addresses.12\\\":{\\\"street\\\":1,\\\"n\\\":2}}",
	     "{\\\"addresses.12\\\":{\\\"street\\\":null,\\\"n\\\":2}}"},
	    {"$.addresses[*].street", "{\\\"addresses\\\":[{\\\"street\\\":1}]}",
	     "{\\\"addresses\\\":[{\\\"street\\\":null}]}"},
	    {"$.addresses[*].street", "{\\\"addresses.0.city\\\":1}", "{\\\"addresses.0.city\\\":1}"},
	    {"$.addresses[1].street", "{\\\"addresses.0.street\\\":1,\\\"addresses.1.street\\\":1}",
	     "{\\\"addresses.0.street\\\":1,\\\"addresses.1.street\\\":null}"},
	    {"$.addresses[-1].street", "{\\\"addresses.0.street\\\":1}", "{\\\"addresses.0.street\\\":null}"},
	    {"$.addresses[?@.main].street", "{\\\"addresses.0.street\\\":1}", "{\\\"addresses.0.street\\\":null}"},
	    {"$.addresses[1:].street", "{\\\"addresses.0.street\\\":1}", "{\\\"addresses.0.street\\\":null}"},
	    {"$..street", "{\\\"addresses.0.street\\\":1,\\\"x.y\\\":{\\\"street\\\":1}}",
	     "{\\\"addresses.0.street\\\":null,\\\"x.y\\\":{\\\"street\\\":null}}"},
	    /* In what the rule names. */
	    {"$.profile", "{\\\"profile.email\\\":1}", "{\\\"profile.email\\\":null}"},
	    {"$['a.b']", "{\\\"a.b\\\":1}", "{\\\"a.b\\\":null}"},
	    {"$.a['0']", "{\\\"a.0\\\":1}", "{\\\"a.0\\\":null}"},
	    {"$.phone", "{\\\"ph\\\\u006fne\\\":1}", "{\\\"ph\\\\u006fne\\\":null}"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char yaml[256], value[512], want[512];
		snprintf(yaml, sizeof yaml, DEBEZIUM "  - {path: \"%s\", nullify: true}\n", cases[i].path);
		snprintf(value, sizeof value, FIELDS("%s", ""), cases[i].before);
		snprintf(want, sizeof want, FIELDS("%s", ""), cases[i].after);
		one(yaml, value, want);
	}
	struct rig r;
	rig_init(&r, DEBEZIUM "  - {path: $.a.phone, mask: {}, to: $.a.p}\n");
	fails(&r, NULL, FIELDS("{\\\"a.phone\\\":\\\"x\\\"}", ""), KVEIL_E_UNSUPPORTED_ENVELOPE);
	fails(&r, NULL, FIELDS("a.phone=x", ""), KVEIL_E_UNSUPPORTED_ENVELOPE);
	rig_clear(&r);
}

/* The token is the document's in all of them. */
static void values_of_extended_json_are_scalars(void **state)
{
	(void)state;
	static const char *const spelled[] = {
	    "\\\"42\\\"",
	    "{\\\"$numberLong\\\": \\\"42\\\"}",
	    "{\\\"$numberDecimal\\\":\\\"42\\\"}",
	    "{\\\"$date\\\":{\\\"$numberLong\\\":\\\"42\\\"}}",
	    "{\\\"$date\\\": 42}",
	    "{\\\"$binary\\\":{\\\"base64\\\":\\\"42\\\",\\\"subType\\\":\\\"00\\\"}}",
	    "{\\\"$oid\\\":\\\"4\\\\u0032\\\"}",
	};
	char first[512] = "", value[512];
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.k, tokenize: {key: k}}\n");
	for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++) {
		snprintf(value, sizeof value, "{\"after\":\"{\\\"k\\\":%s}\"," SOURCE "}", spelled[i]);
		assert_int_equal(run(&r, NULL, value), KVEIL_OK);
		if (i)
			assert_string_equal(r.value, first);
		snprintf(first, sizeof first, "%.500s", r.value);
	}
	fails(&r, NULL, "{\"after\":\"{\\\"k\\\":{\\\"a\\\":\\\"42\\\"}}\"," SOURCE "}", KVEIL_E_UNSUPPORTED_KIND);
	fails(&r, NULL, "{\"after\":\"{\\\"k\\\":{}}\"," SOURCE "}", KVEIL_E_UNSUPPORTED_KIND);
	rig_clear(&r);
}

static void the_key_s_id_is_the_document_s(void **state)
{
	(void)state;
	char token[512];
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $._id, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, "{\"id\":\"\\\"ab\\\"\"}", "{\"after\":\"{\\\"_id\\\":\\\"ab\\\"}\"," SOURCE "}"),
			 KVEIL_OK);
	assert_int_equal(sscanf(r.key, "{\"id\":\"\\\"%500[^\\]", token), 1);
	assert_non_null(strstr(r.value, token));
	/* A number: by its spelling, in both. */
	assert_int_equal(run(&r, "{\"payload\":{\"id\":\"1004\"}}",
			     "{\"after\":\"{\\\"_id\\\":{\\\"$numberLong\\\":\\\"1004\\\"}}\"," SOURCE "}"),
			 KVEIL_OK);
	assert_int_equal(sscanf(r.key, "{\"payload\":{\"id\":\"\\\"%500[^\\]", token), 1);
	assert_non_null(strstr(r.value, token));
	assert_int_equal(run(&r, "{\"id\":\"{\\\"$oid\\\":\\\"596e\\\"}\"}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "596e"));
	/* No text of JSON: a column of another database. */
	assert_int_equal(run(&r, "{\"id\":\"a-b\"}", NULL), KVEIL_OK);
	assert_string_equal(r.key, "{\"id\":\"a-b\"}");
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $..ssn, tokenize: {key: k}}\n  - {path: $.phone, mask: {}}\n");
	assert_int_equal(run(&r, "{\"id\":\"{\\\"ssn\\\":\\\"42\\\",\\\"n\\\":1}\"}",
			     "{\"after\":\"{\\\"_id\\\":{\\\"ssn\\\":\\\"42\\\",\\\"n\\\":1}}\"," SOURCE "}"),
			 KVEIL_OK);
	assert_int_equal(sscanf(r.key, "{\"id\":\"{\\\"ssn\\\":\\\"%500[^\\]", token), 1);
	assert_non_null(strstr(r.value, token));
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $._id, mask: {}}\n");
	fails(&r, "{\"id\":\"\\\"ab\\\"\"}", NULL, KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $._id, when: \"$.c == 1\", tokenize: {key: k}}\n");
	fails(&r, "{\"id\":\"{\\\"c\\\":2}\"}", NULL, KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
}

static void conditions_and_tables_hold(void **state)
{
	(void)state;
	struct rig r;

	rig_init(
	    &r, DEBEZIUM
	    "  - {path: $.x, when: \"$.c == 'CN'\", nullify: true}\n  - {path: $.y, table: shop.users, nullify: true}\n"
	    "  - {path: $.z, table: shop.orders, nullify: true}\n");
	becomes(&r,
		"{\"before\":\"{\\\"c\\\":\\\"US\\\",\\\"x\\\":1}\",\"after\":\"{\\\"c\\\":\\\"CN\\\",\\\"x\\\":1,"
		"\\\"y\\\":2,\\\"z\\\":3}\"," SOURCE "}",
		"{\"before\":\"{\\\"c\\\":\\\"US\\\",\\\"x\\\":1}\",\"after\":\"{\\\"c\\\":\\\"CN\\\",\\\"x\\\":null,"
		"\\\"y\\\":null,\\\"z\\\":3}\"," SOURCE "}");
	becomes(&r, FIELDS("{\\\"x\\\":1,\\\"y\\\":2,\\\"z\\\":3}", ""),
		FIELDS("{\\\"x\\\":null,\\\"y\\\":null,\\\"z\\\":3}", ""));
	rig_clear(&r);
}

static void what_nothing_names_goes(void **state)
{
	(void)state;
	one(HEAD "envelope: debezium\nunmatched: remove\nclear: [$._id, $.a.b]\nfields:\n  - {path: $.phone, nullify: "
		 "true}\n",
	    "{\"before\":\"{\\\"phone\\\":1}\",\"after\":\"{\\\"_id\\\":1,\\\"phone\\\":1,\\\"name\\\":2,\\\"a\\\":{"
	    "\\\"b\\\":1,\\\"c\\\":2}}\","
	    "\"updateDescription\":{\"removedFields\":[\"q\"],\"updatedFields\":\"{\\\"phone\\\":1,\\\"name\\\":2,"
	    "\\\"a.b\\\":1,\\\"a.c\\\":2}\","
	    "\"truncatedArrays\":null}," SOURCE "}",
	    "{\"before\":\"{\\\"phone\\\":null}\",\"after\":\"{\\\"_id\\\":1,\\\"phone\\\":null,\\\"a\\\":{\\\"b\\\":1}"
	    "}\","
	    "\"updateDescription\":{\"removedFields\":[\"q\"],\"updatedFields\":\"{\\\"phone\\\":null,\\\"a.b\\\":1}\","
	    "\"truncatedArrays\":null}," SOURCE "}");
}

static void what_was_sealed_opens(void **state)
{
	(void)state;
	static const char value[] =
	    "{\"after\":\"{\\\"_id\\\":1,\\\"a\\\":[{\\\"s\\\":\\\"x\\\"}],\\\"n\\\":{\\\"$numberLong\\\":\\\"5\\\"}}"
	    "\","
	    "\"updateDescription\":{\"updatedFields\":\"{\\\"a.0.s\\\":\\\"x\\\"}\"}," SOURCE "}";
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	char sealed[8192];
	struct rig r;

	rig_init(&r, DEBEZIUM
		 "  - {path: \"$.a[*].s\", encrypt: {key: k}}\n  - {path: $.n, encrypt: {key: k, type: json}}\n");
	assert_int_equal(run(&r, NULL, value), KVEIL_OK);
	assert_null(strstr(r.value, "\\\"x\\\""));
	assert_null(strstr(r.value, "numberLong"));
	snprintf(sealed, sizeof sealed, "%.8000s", r.value);
	assert_int_equal(kveil_plan_write_inverse(r.plan, 0, &text), 2);
	bind_plan(&r, load(kveil_buf_cstr(&text)));
	becomes(&r, sealed, value);
	rig_clear(&r);
	/* Where the path does not say the place, the name with dots does. */
	rig_init(&r, DEBEZIUM "  - {path: $..s, tokenize: {key: k}}\n");
	char one[512], other[512];
	assert_int_equal(run(&r, NULL, value), KVEIL_OK);
	assert_int_equal(sscanf(strstr(r.value, "{\\\"s\\\":"), "{\\\"s\\\":\\\"%500[^\\]", one), 1);
	assert_int_equal(sscanf(strstr(r.value, "a.0.s"), "a.0.s\\\":\\\"%500[^\\]", other), 1);
	assert_string_equal(one, other);
	rig_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_rule_holds_in_documents),
	    cmocka_unit_test(names_with_dots_are_paths),
	    cmocka_unit_test(values_of_extended_json_are_scalars),
	    cmocka_unit_test(the_key_s_id_is_the_document_s),
	    cmocka_unit_test(conditions_and_tables_hold),
	    cmocka_unit_test(what_nothing_names_goes),
	    cmocka_unit_test(what_was_sealed_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

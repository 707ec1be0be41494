/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Debezium's events of MongoDB: documents, and what changed in them, as texts of extended JSON. In the literals here '
 * stands for " and ` for \", which is " in a text.
 */
#include "base/buf.h"
#include "event_rig.h"
#include "format/format.h"
#include "rules/invert.h"

#define DEBEZIUM HEAD "envelope: debezium\nfields:\n"
#define NULLIFY  ", nullify: true, on_key: any}\n"
#define SOURCE   "'source':{'connector':'mongodb','db':'shop','collection':'users'},'op':'u','ts_ms':1"

static char *quoted(char *dst, size_t size, const char *text)
{
	size_t n = 0;

	for (; *text && n + 3 < size; text++) {
		if (*text == '`')
			dst[n++] = '\\';
		dst[n++] = *text == '`' || *text == '\'' ? '"' : *text;
	}
	assert_int_equal(*text, 0);
	dst[n] = 0;
	return dst;
}

static enum kveil_status run_quoted(struct rig *r, const char *key, const char *value)
{
	char k[2048], v[8192];

	return run(r, key ? quoted(k, sizeof k, key) : NULL, value ? quoted(v, sizeof v, value) : NULL);
}

static void turns(struct rig *r, const char *value, const char *want)
{
	char v[8192], w[8192];

	becomes(r, quoted(v, sizeof v, value), quoted(w, sizeof w, want));
}

static void refuses(struct rig *r, const char *key, const char *value, enum kveil_status want)
{
	char k[2048], v[8192];

	fails(r, key ? quoted(k, sizeof k, key) : NULL, value ? quoted(v, sizeof v, value) : NULL, want);
}

static void one(const char *yaml, const char *value, const char *want)
{
	struct rig r;

	rig_init(&r, yaml);
	turns(&r, value, want);
	rig_clear(&r);
}

static void a_rule_holds_in_documents(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM
		 "  - {path: $.phone, mask: {keep_first: 3, keep_last: 4}}\n  - {path: $..email, nullify: true}\n");
	turns(&r,
	      "{'before':null,'after':'{`_id`: {`$numberLong`: `1004`},`phone`: "
	      "`13812345678`,`u`:{`email`:`a@b`}}'," SOURCE "}",
	      "{'before':null,'after':'{`_id`: {`$numberLong`: `1004`},`phone`: "
	      "`138****5678`,`u`:{`email`:null}}'," SOURCE "}");
	turns(&r, "{'payload':{'before':'{`phone`:`13812345678`}','after':null," SOURCE "}}",
	      "{'payload':{'before':'{`phone`:`138****5678`}','after':null," SOURCE "}}");
	/* However the text spells it: twice, escaped, as a text in a text, as base64. */
	turns(&r, "{'after':'{`phone`:`13812345678`,`ph\\\\u006fne`:`13812345678`}'," SOURCE "}",
	      "{'after':'{`phone`:`138****5678`,`ph\\\\u006fne`:`138****5678`}'," SOURCE "}");
	turns(&r, "{'after':'\\u007b`phone`:`13812345678`}'," SOURCE "}",
	      "{'after':'\\u007b`phone`:`138****5678`}'," SOURCE "}");
	assert_int_equal(
	    run(&r, NULL, "{\"op\":\"c\",\"after\":\"\\\"{\\\\\\\"phone\\\\\\\":\\\\\\\"13812345678\\\\\\\"}\\\"\"}"),
	    KVEIL_OK);
	assert_null(strstr(r.value, "13812345678"));
	assert_int_equal(run_quoted(&r, NULL, "{'after':'eyJwaG9uZSI6IjEzODEyMzQ1Njc4In0='," SOURCE "}"), KVEIL_OK);
	assert_null(strstr(r.value, "MTIzNDU2Nz"));
	assert_null(strstr(r.value, "eyJwaG9uZSI6IjEzODEyMzQ1Njc4In0"));
	/* An object all the same. */
	turns(&r, "{'after':{'phone':'13812345678'}," SOURCE "}", "{'after':{'phone':'138****5678'}," SOURCE "}");
	/* A document without one, a delete without a document, and no document at all. */
	turns(&r, "{'after':'{`a`:1}'," SOURCE "}", "{'after':'{`a`:1}'," SOURCE "}");
	turns(&r, "{'before':null,'after':null,'updateDescription':null," SOURCE "}",
	      "{'before':null,'after':null,'updateDescription':null," SOURCE "}");
	refuses(&r, NULL, "{'after':'phone=13812345678'," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	refuses(&r, NULL, "{'after':'[{`phone`:`13812345678`}]'," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	refuses(&r, NULL, "{'after':[{'phone':'13812345678'}]," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	refuses(&r, NULL, "{'before':5," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	refuses(&r, NULL, "{'patch':'{`$set`:{`phone`:1}}'," SOURCE "}", KVEIL_E_UNSUPPORTED_ENVELOPE);
	/* A flat row with such columns is one as before, and a document in there is read too. */
	turns(&r, "{'after':'five o clock','phone':'13812345678'}", "{'after':'five o clock','phone':'138****5678'}");
	turns(&r, "{'after':'{`phone`:`13812345678`}'}", "{'after':'{`phone`:`138****5678`}'}");
	rig_clear(&r);
}

#define FIELDS(text, more)                                                                                             \
	"{'after':null,'updateDescription':{'removedFields':['phone'],'updatedFields':'" text "'" more "}," SOURCE "}"

static void a_document_lacks_what_is_not_in_it(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: debezium\nfields: [{path: $.phone, required: true, mask: {}}]\n");
	fails(&r, NULL, "{\"op\":\"c\",\"after\":\"{\\\"b\\\":1}\"}", KVEIL_E_MISSING_FIELD);
	becomes(&r, "{\"op\":\"c\",\"after\":\"{\\\"phone\\\":\\\"1\\\"}\"}",
		"{\"op\":\"c\",\"after\":\"{\\\"phone\\\":\\\"*\\\"}\"}");
	rig_clear(&r);
}

static void names_with_dots_are_paths(void **state)
{
	(void)state;
	static const struct {
		const char *path, *before, *after;
	} cases[] = {
	    {"$.addresses[*].street", "{`addresses.0.street`: 1, `a`:2}", "{`addresses.0.street`: null, `a`:2}"},
	    {"$.addresses[*].street", "{`addresses.12`:{`street`:1,`n`:2}}", "{`addresses.12`:{`street`:null,`n`:2}}"},
	    {"$.addresses[*].street", "{`addresses`:[{`street`:1}]}", "{`addresses`:[{`street`:null}]}"},
	    {"$.addresses[*].street", "{`addresses.0.city`:1}", "{`addresses.0.city`:1}"},
	    {"$.addresses[1].street", "{`addresses.0.street`:1,`addresses.1.street`:1}",
	     "{`addresses.0.street`:1,`addresses.1.street`:null}"},
	    {"$.addresses[1].street", "{`addresses.99999999999999999999.street`:1}",
	     "{`addresses.99999999999999999999.street`:null}"},
	    {"$.addresses[-1].street", "{`addresses.0.street`:1}", "{`addresses.0.street`:null}"},
	    {"$.addresses[1:].street", "{`addresses.0.street`:1}", "{`addresses.0.street`:null}"},
	    {"$..street", "{`addresses.0.street`:1,`x.y`:{`street`:1}}",
	     "{`addresses.0.street`:null,`x.y`:{`street`:null}}"},
	    /* A filter is in doubt, wherever its element is. */
	    {"$.addresses[?@.main].street", "{`addresses.0.street`:1}", "{`addresses.0.street`:null}"},
	    {"$.addresses[?@.main == false].street", "{`addresses.0`:{`main`:true,`street`:1}}",
	     "{`addresses.0`:{`main`:true,`street`:null}}"},
	    {"$.addresses[?@.main]", "{`addresses.0.street`:1}", "{`addresses.0.street`:null}"},
	    {"$.addresses[?@.main].street", "{`addresses`:[{`main`:1,`street`:1},{`street`:1}]}",
	     "{`addresses`:[{`main`:1,`street`:null},{`street`:1}]}"},
	    /* $ is the row, which is not known, and never what the name leads to. */
	    {"$.a[?$.k == 1].s", "{`a`:{`x`:{`s`:1},`k`:2}}", "{`a`:{`x`:{`s`:null},`k`:2}}"},
	    {"$.a[?$.k == 1].s", "{`a`:[{`s`:1}],`k`:2}", "{`a`:[{`s`:1}],`k`:2}"},
	    {"$.a[?$.k.l != 1].s", "{`a`:[{`s`:1}],`k.l`:1}", "{`a`:[{`s`:null}],`k.l`:1}"},
	    /* In what the rule names. */
	    {"$.profile", "{`profile.email`:1}", "{`profile.email`:null}"},
	    {"$..profile", "{`a.0.profile.email.x`:1}", "{`a.0.profile.email.x`:null}"},
	    /* All ways of joining the parts. */
	    {"$['a.b']", "{`a.b`:1}", "{`a.b`:null}"},
	    {"$['a.b'].c", "{`a.b.c`:1}", "{`a.b.c`:null}"},
	    {"$.a['b.c']", "{`a.b.c`:1}", "{`a.b.c`:null}"},
	    {"$['a.b.c']", "{`a.b.c`:1}", "{`a.b.c`:null}"},
	    {"$.a.b.c", "{`a.b.c`:1}", "{`a.b.c`:null}"},
	    {"$..['b.c']", "{`a.b.c`:1}", "{`a.b.c`:null}"},
	    {"$['a.b'][*].d", "{`a.b.c.d`:1}", "{`a.b.c.d`:null}"},
	    {"$.a['b.c'].d", "{`a`:{`b.c`:{`d`:1}}}", "{`a`:{`b.c`:{`d`:null}}}"},
	    {"$.a['']", "{`a.`:1}", "{`a.`:null}"},
	    {"$[''].a", "{`.a`:1}", "{`.a`:null}"},
	    {"$.a['0']", "{`a.0`:1}", "{`a.0`:null}"},
	    {"$.phone", "{`ph\\\\u006fne`:1}", "{`ph\\\\u006fne`:null}"},
	    {"$.a.b", "{`a\\\\u002eb`:1}", "{`a\\\\u002eb`:null}"},
	    {"$.a.b", "{`a.b`:1,`a.b`:2}", "{`a.b`:null,`a.b`:null}"},
	    {"$.a.b", "{`a.c`:1,`b`:2,`ab`:3}", "{`a.c`:1,`b`:2,`ab`:3}"},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char yaml[256], value[1024], want[1024];
		snprintf(yaml, sizeof yaml, DEBEZIUM "  - {path: \"%s\"" NULLIFY, cases[i].path);
		snprintf(value, sizeof value, FIELDS("%s", ""), cases[i].before);
		snprintf(want, sizeof want, FIELDS("%s", ""), cases[i].after);
		one(yaml, value, want);
	}
}

/* Every rule asks every name, also where it finds nothing. */
static void many_names_cost(void)
{
	enum { RULES = 100, NAMES = 10000 };
	KVEIL_CLEANUP_BUF struct kveil_buf yaml = KVEIL_BUF_INIT, value = KVEIL_BUF_INIT;
	struct rig r;

	kveil_buf_append_str(&yaml, DEBEZIUM);
	for (int i = 0; i < RULES; i++) {
		kveil_buf_printf(&yaml, "  - {path: $.f%d", i);
		for (int k = 0; k < 60; k++)
			kveil_buf_append_str(&yaml, ".a");
		kveil_buf_append_str(&yaml, ", mask: {}}\n");
	}
	kveil_buf_append_byte(&yaml, 0);
	kveil_buf_append_str(&value, "{\"op\":\"u\",\"updateDescription\":{\"updatedFields\":\"{");
	for (int i = 0; i < NAMES; i++)
		kveil_buf_printf(&value, "%s\\\"%d\\\":1", i ? "," : "", i);
	kveil_buf_append_str(&value, "}\"}}");
	kveil_buf_append_byte(&value, 0);
	rig_init(&r, (const char *)yaml.data);
	assert_int_equal(run(&r, NULL, (const char *)value.data), KVEIL_E_TOO_COMPLEX);
	rig_clear(&r);
}

static void changed_fields_that_cannot_be_read_are_refused(void **state)
{
	(void)state;
	static const char *const events[] = {
	    FIELDS("a.phone=x", ""),
	    FIELDS("[{`phone`:1}]", ""),
	    FIELDS("5", ""),
	    FIELDS("{}", ",'changed':'{`phone`:1}'"),
	    "{'after':null,'updateDescription':{'updatedFields':{'a.phone':'x'}}," SOURCE "}",
	    "{'after':null,'updateDescription':'{`updatedFields`:{`phone`:1}}'," SOURCE "}",
	    "{'after':null,'updateDescription':[{'updatedFields':'{`phone`:1}'}]," SOURCE "}",
	};
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.a.phone, mask: {}}\n");
	for (size_t i = 0; i < sizeof events / sizeof *events; i++)
		refuses(&r, NULL, events[i], KVEIL_E_UNSUPPORTED_ENVELOPE);
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $.a.phone, mask: {}, to: $.a.p}\n");
	refuses(&r, NULL, FIELDS("{`a.phone`:`x`}", ""), KVEIL_E_UNSUPPORTED_ENVELOPE);
	rig_clear(&r);
	/* A name of dots alone costs no more than a record may. */
	char *long_name = malloc(200000);
	assert_non_null(long_name);
	size_t n =
	    (size_t)snprintf(long_name, 200000, "{\"op\":\"u\",\"updateDescription\":{\"updatedFields\":\"{\\\"");
	memset(long_name + n, '.', 150000);
	snprintf(long_name + n + 150000, 100, "\\\":1}\"}}");
	rig_init(&r, DEBEZIUM "  - {path: $..phone, mask: {}}\n");
	assert_int_equal(run(&r, NULL, long_name), KVEIL_E_TOO_COMPLEX);
	rig_clear(&r);
	free(long_name);
	many_names_cost();
	char yaml[512] = DEBEZIUM "  - {path: $.a";
	for (int i = 0; i < 62; i++)
		strcat(yaml, ".a");
	strcat(yaml, ", mask: {}}\n");
	says(yaml, false, "at most 62 steps");
}

/* The token is the document's in all of them. */
static void values_of_extended_json_are_scalars(void **state)
{
	(void)state;
	static const char *const spelled[] = {
	    "`42`",          "{`$numberLong`: `42`}", "{`$numberDecimal`:`42`}", "{`$date`:{`$numberLong`:`42`}}",
	    "{`$date`: 42}", "{`$oid`:`4\\\\u0032`}",
	};
	/* What has several parts is not a scalar: one of them would stand for all. */
	static const char *const parts[] = {
	    "{`$binary`:{`base64`:`42`,`subType`:`00`}}",
	    "{`$binary`:`42`,`$type`:`00`}",
	    "{`$timestamp`:{`t`:42,`i`:1}}",
	    "{`$timestamp`:{`t`:42}}",
	    "{`$regularExpression`:{`pattern`:`42`,`options`:`i`}}",
	    "{`$code`:`42`,`$scope`:{}}",
	    "{`$ref`:`c`,`$id`:`42`}",
	    "{`$a`:{`$b`:{`$c`:`42`}}}",
	    "{`$numberLong`:`42`,`$numberLong`:`43`}",
	    "{`$date`:null}",
	    "{`$x`:{}}",
	    "{`a`:`42`}",
	    "{}",
	};
	char first[512] = "", value[512];
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.k, tokenize: {key: k}}\n");
	for (size_t i = 0; i < sizeof spelled / sizeof *spelled; i++) {
		snprintf(value, sizeof value, "{'after':'{`k`:%s}'," SOURCE "}", spelled[i]);
		assert_int_equal(run_quoted(&r, NULL, value), KVEIL_OK);
		if (i)
			assert_string_equal(r.value, first);
		snprintf(first, sizeof first, "%.500s", r.value);
	}
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		snprintf(value, sizeof value, "{'after':'{`k`:%s}'," SOURCE "}", parts[i]);
		refuses(&r, NULL, value, KVEIL_E_UNSUPPORTED_KIND);
		snprintf(value, sizeof value, FIELDS("{`k`:%s}", ""), parts[i]);
		refuses(&r, NULL, value, KVEIL_E_UNSUPPORTED_KIND);
	}
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $.k, encrypt: {key: k, type: json}}\n  - {path: \"$.l.*\", mask: {}}\n");
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		snprintf(value, sizeof value, "{'after':'{`k`:%s}'," SOURCE "}", parts[i]);
		assert_int_equal(run_quoted(&r, NULL, value), KVEIL_OK);
		assert_null(strstr(r.value, "42"));
	}
	turns(&r, "{'after':'{`l`:{`$numberLong`:`42`}}'," SOURCE "}",
	      "{'after':'{`l`:{`$numberLong`:`**`}}'," SOURCE "}");
	rig_clear(&r);
}

/* Nobody can say what they compare to: doubt. */
static void conditions_on_extended_json_are_in_doubt(void **state)
{
	(void)state;
	static const char *const conditions[] = {
	    "$.n > 5",           "$.n < 5",           "$.n == 7",         "$.n != 7",
	    "!($.n == 7)",       "length($.o) == 24", "length($.o) < 24", "match($.o, 'a.*')",
	    "!match($.o,'a.*')", "$.n == $.m",        "$.n != $.m",       "@ == 'secret'",
	    "length(@) == 6",    "$.l == $.n",        "length($.e) == 1", "length($.e) > 1",
	};
	struct rig r;

	for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
		char yaml[256];
		snprintf(yaml, sizeof yaml, DEBEZIUM "  - {path: $.x, when: \"%s\", nullify: true}\n", conditions[i]);
		rig_init(&r, yaml);
		turns(
		    &r,
		    "{'after':'{`x`:{`$symbol`:`secret`},`n`:{`$numberLong`:`7`},`m`:{`$numberDouble`:`7`},`o`:{`$oid`:"
		    "`abcabcabcabcabcabcabcabc`},`e`:{`\\\\u0024oid`:`a`},`l`:7}'," SOURCE "}",
		    "{'after':'{`x`:null,`n`:{`$numberLong`:`7`},`m`:{`$numberDouble`:`7`},`o`:{`$oid`:"
		    "`abcabcabcabcabcabcabcabc`},`e`:{`\\\\u0024oid`:`a`},`l`:7}'," SOURCE "}");
		rig_clear(&r);
	}
	one(DEBEZIUM "  - {path: \"$.l[?@.n > 5].s\", nullify: true}\n",
	    "{'after':'{`l`:[{`n`:{`$numberLong`:`7`},`s`:1},{`n`:3,`s`:1}]}'," SOURCE "}",
	    "{'after':'{`l`:[{`n`:{`$numberLong`:`7`},`s`:null},{`n`:3,`s`:1}]}'," SOURCE "}");
}

static void conditions_and_tables_hold(void **state)
{
	(void)state;
	struct rig r;

	rig_init(
	    &r, DEBEZIUM
	    "  - {path: $.x, when: \"$.c == 'CN'\", nullify: true}\n  - {path: $.y, table: shop.users, nullify: true}\n"
	    "  - {path: $.z, table: shop.orders, nullify: true}\n  - {path: $.v, when: \"!$.vip\", nullify: true}\n");
	turns(&r, "{'before':'{`c`:`US`,`x`:1}','after':'{`c`:`CN`,`x`:1,`y`:2,`z`:3}'," SOURCE "}",
	      "{'before':'{`c`:`US`,`x`:1}','after':'{`c`:`CN`,`x`:null,`y`:null,`z`:3}'," SOURCE "}");
	/* What changed says nothing of the rest, even where it has what is asked. */
	turns(&r, FIELDS("{`x`:1,`y`:2,`z`:3,`c`:`US`,`v`:4,`vip`:true}", ""),
	      FIELDS("{`x`:null,`y`:null,`z`:3,`c`:`US`,`v`:null,`vip`:true}", ""));
	rig_clear(&r);
	/* Nor is a rule that reveals sure there. */
	rig_init(&r, DEBEZIUM "  - {path: $.x, when: \"$.c == 'CN'\", decrypt: {key: k}}\n");
	turns(&r, FIELDS("{`x`:`k`,`c`:`CN`}", ""), FIELDS("{`x`:`k`,`c`:`CN`}", ""));
	rig_clear(&r);
}

static void header_is(const char *when, const char *key, const char *value, const char *want)
{
	struct kveil_header h = {KVEIL_SPAN("h"), KVEIL_SPAN("secret")};
	char yaml[256], k[256], v[8192], header[64];
	struct rig r;

	snprintf(yaml, sizeof yaml,
		 DEBEZIUM "  - {path: $.x, nullify: true}\n  - {path: \"header:h\", when: \"%s\", mask: {}}\n"
			  "  - {path: \"key:$.k\", when: \"%s\", mask: {}}\n",
		 when, when);
	rig_init(&r, yaml);
	struct kveil_record record = {.key = kveil_span_str(quoted(k, sizeof k, key)),
				      .value = kveil_span_str(quoted(v, sizeof v, value)),
				      .headers = &h,
				      .header_count = 1};
	kveil_engine_run(r.engine, &record, &r.result);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	show(r.result.outputs[0].record.headers[0].value, header, sizeof header);
	show(r.result.outputs[0].record.key, r.key, sizeof r.key);
	if (strcmp(header, want) != 0 || !strstr(r.key, want))
		fail_msg("%s of %s: the header is %s, the key %s", when, value, header, r.key);
	rig_clear(&r);
}

/* They are asked of the record's value, and a document in there is not looked into. */
static void conditions_of_headers_and_keys_are_in_doubt(void **state)
{
	(void)state;
	static const char *const conditions[] = {"$.vip", "$.vip == true", "!$.op", "count($.tags[*]) > 1"};
	static const char key[] = "{'k':'secret'}";

	for (size_t i = 0; i < sizeof conditions / sizeof *conditions; i++) {
		header_is(conditions[i], key, "{'before':null,'after':'{`vip`:true,`tags`:[1,2]}'," SOURCE "}",
			  "******");
		header_is(conditions[i], key, "{'payload':{'before':'{`vip`:true}','after':null," SOURCE "}}",
			  "******");
		header_is(conditions[i], key, FIELDS("{`vip`:true}", ""), "******");
	}
	/* An object is a row, which tells. */
	header_is("$.vip", key, "{'before':null,'after':{'vip':true}," SOURCE "}", "******");
	header_is("$.vip", key, "{'before':null,'after':{'x':true}," SOURCE "}", "secret");
	header_is("$.n == $.m", key, "{'after':{'n':{'$numberLong':'7'},'m':{'$numberInt':'7'}}," SOURCE "}", "******");
	header_is("$.n == $.m", key, "{'after':{'n':7,'m':8}," SOURCE "}", "secret");
}

static void what_nothing_names_goes(void **state)
{
	(void)state;
	static const char yaml[] =
	    HEAD "envelope: debezium\nunmatched: %s\nclear: [$._id, $.a.b, $.q, \"$['a.c']\"]\nfields:\n"
		 "  - {path: $.phone, nullify: true}\n";
	char text[512];

	snprintf(text, sizeof text, yaml, "remove");
	/* A name with dots may be another field than the one that is clear. */
	one(text,
	    "{'before':'{`phone`:1}','after':'{`_id`:1,`phone`:1,`name`:2,`a`:{`b`:1,`c`:2}}',"
	    "'updateDescription':{'removedFields':['q'],'updatedFields':'{`phone`:1,`name`:2,`a.b`:1,`a.c`:2,`q`:{`x`:"
	    "1},`q.r`:3}',"
	    "'truncatedArrays':null}," SOURCE "}",
	    "{'before':'{`phone`:null}','after':'{`_id`:1,`phone`:null,`a`:{`b`:1}}',"
	    "'updateDescription':{'removedFields':['q'],'updatedFields':'{`phone`:null,`q`:{`x`:1}}',"
	    "'truncatedArrays':null}," SOURCE "}");
	one(text, "{'after':'{`name`:2}'," SOURCE "}", "{'after':'{}'," SOURCE "}");
	struct rig r;
	snprintf(text, sizeof text, yaml, "dead-letter");
	rig_init(&r, text);
	turns(&r, FIELDS("{`phone`:1}", ""), FIELDS("{`phone`:null}", ""));
	refuses(&r, NULL, FIELDS("{`phone`:1,`name`:1}", ""), KVEIL_E_UNMATCHED_FIELD);
	refuses(&r, NULL, "{'after':'{`name`:1}'," SOURCE "}", KVEIL_E_UNMATCHED_FIELD);
	rig_clear(&r);
}

static void token_of(struct rig *r, const char *key, const char *value, const char *format, char *token)
{
	char f[256];

	if (run_quoted(r, key, value) != KVEIL_OK)
		fail_msg("%s: %s", key, r->result.error.message);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (sscanf(r->key, quoted(f, sizeof f, format), token) != 1)
		fail_msg("%s", r->key);
#pragma GCC diagnostic pop
}

static void the_key_s_id_is_the_document_s(void **state)
{
	(void)state;
	static const struct {
		const char *key, *document;
	} same[] = {
	    {"`ab`", "`ab`"},
	    {"`42`", "`42`"},
	    {"1004", "{`$numberLong`:`1004`}"},
	    {"12.5", "{`$numberDouble`:`12.5`}"},
	    {"{`$oid` : `596e`}", "{`$oid`:`596e`}"},
	};
	char token[512], text[1024], key[256];
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $._id, tokenize: {key: k}}\n");
	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		snprintf(text, sizeof text, "{'after':'{`_id`:%s}'," SOURCE "}", same[i].document);
		snprintf(key, sizeof key, "{'id':'%s'}", same[i].key);
		token_of(&r, key, text, "{'id':'`%500[^\\]`'}", token);
		assert_non_null(strstr(r.value, token));
		/* With a schema-less payload, and for the tombstone behind a delete. */
		snprintf(key, sizeof key, "{'payload':{'id':'%s'}}", same[i].key);
		token_of(&r, key, NULL, "{'payload':{'id':'`%500[^\\]`'}}", token);
		assert_non_null(strstr(r.value, "null"));
	}
	/* Flattened: the value has _id. No text of JSON: it is the value itself, whatever it is. */
	token_of(&r, "{'id':'a-b'}", "{'_id':'a-b','__op':'u'}", "{'id':'%500[^\"]'}", token);
	assert_null(strstr(token, "a-b"));
	assert_null(strstr(r.value, "a-b"));
	assert_non_null(strstr(r.value, token));
	assert_int_equal(run_quoted(&r, "{'id':77}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "77"));
	assert_int_equal(run_quoted(&r, "{'id':{'$oid':'596e'}}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "596e"));
	assert_int_equal(run_quoted(&r, "{'id':'5','i\\u0064':'596e'}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "596e"));
	/* The headers that hold keys. */
	struct kveil_header header = {KVEIL_SPAN("__debezium.oldkey"),
				      KVEIL_SPAN("{\"id\":\"{\\\"$oid\\\":\\\"596e\\\"}\"}")};
	struct kveil_record record = {.key = KVEIL_SPAN("{\"id\":\"5\"}"), .headers = &header, .header_count = 1};
	kveil_engine_run(r.engine, &record, &r.result);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	show(r.result.outputs[0].record.headers[0].value, r.value, sizeof r.value);
	assert_null(strstr(r.value, "596e"));
	/* Another column's key keeps its bytes. */
	assert_int_equal(run_quoted(&r, "{'other':'5', 'ids':'{`$oid` : `596e`}'}", NULL), KVEIL_OK);
	assert_non_null(strstr(r.key, "{\"other\":\"5\", \"ids\":\"{\\\"$oid\\\" : \\\"596e\\\"}\"}"));
	rig_clear(&r);

	/* What a rule names inside of it. */
	rig_init(&r, DEBEZIUM "  - {path: $..ssn, tokenize: {key: k}}\n  - {path: $.phone, mask: {}}\n");
	token_of(&r, "{'id':'{`ssn`:`42`,`n` : 1}'}", "{'after':'{`_id`:{`ssn`:`42`,`n`:1}}'," SOURCE "}",
		 "{'id':'{`ssn`:`%500[^\\]`,`n` : 1}'}", token);
	assert_non_null(strstr(r.value, token));
	assert_int_equal(run_quoted(&r, "{'id':'a-b'}", NULL), KVEIL_OK);
	assert_string_equal(r.key, "{\"id\":\"a-b\"}");
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $._id.ssn, tokenize: {key: k}}\n");
	token_of(&r, "{'id':'{`ssn`:`42`}'}", "{'after':'{`_id`:{`ssn`:`42`}}'," SOURCE "}",
		 "{'id':'{`ssn`:`%500[^\\]`}'}", token);
	assert_non_null(strstr(r.value, token));
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: [$._id, $.phone], tokenize: {key: k}}\n");
	assert_int_equal(run(&r, "{\"id\":\"\\\"{\\\\\\\"phone\\\\\\\":\\\\\\\"138\\\\\\\"}\\\"\"}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "138"));
	assert_int_equal(run_quoted(&r, "{'id':'{`phone`:`138`}'}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "138"));
	rig_clear(&r);

	/* One to one, and without looking at what a tombstone does not have. */
	rig_init(&r, DEBEZIUM "  - {path: $._id, mask: {}}\n");
	refuses(&r, "{'id':'`ab`'}", NULL, KVEIL_E_KEY_COLUMN);
	refuses(&r, "{'id':'a-b'}", NULL, KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $._id, when: \"$.c == 1\", tokenize: {key: k}}\n");
	refuses(&r, "{'id':'{`c`:2}'}", NULL, KVEIL_E_KEY_COLUMN);
	refuses(&r, "{'id':'a-b'}", NULL, KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
	rig_init(&r, DEBEZIUM "  - {path: $._id.s, tokenize: {key: \"k-{$.t}\"}}\n");
	refuses(&r, "{'id':'{`t`:`x`,`s`:`y`}'}", NULL, KVEIL_E_BAD_TEMPLATE_VALUE);
	rig_clear(&r);
	rig_init(&r, HEAD "envelope: debezium\nclear: [\"key:$.id\"]\nfields:\n  - {path: $._id, mask: {}}\n");
	refuses(&r, "{'id':'`ab`'}", NULL, KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
	rig_init(&r, HEAD "envelope: debezium\nclear: [\"key:$._id\"]\nfields:\n  - {path: $._id, mask: {}}\n");
	assert_int_equal(run_quoted(&r, "{'id':'`ab`'}", NULL), KVEIL_OK);
	assert_string_equal(r.key, "{\"id\":\"\\\"ab\\\"\"}");
	rig_clear(&r);
}

static void what_was_sealed_opens(void **state)
{
	(void)state;
	static const char text[] = "{'after':'{`_id`:1,`a`:[{`s`:`x`}],`n`:{`$numberLong`:`5`}}','updateDescription':{'"
				   "updatedFields':'{`a.0.s`:"
				   "`x`}'}," SOURCE "}";
	KVEIL_CLEANUP_BUF struct kveil_buf rules = KVEIL_BUF_INIT;
	char sealed[8192], value[1024], one_token[512], other[512];
	struct rig r;

	quoted(value, sizeof value, text);
	rig_init(&r, DEBEZIUM
		 "  - {path: \"$.a[*].s\", encrypt: {key: k}}\n  - {path: $.n, encrypt: {key: k, type: json}}\n");
	assert_int_equal(run(&r, NULL, value), KVEIL_OK);
	assert_null(strstr(r.value, "\\\"x\\\""));
	assert_null(strstr(r.value, "numberLong"));
	snprintf(sealed, sizeof sealed, "%.8000s", r.value);
	assert_int_equal(kveil_plan_write_inverse(r.plan, 0, &rules), 2);
	bind_plan(&r, load(kveil_buf_cstr(&rules)));
	becomes(&r, sealed, value);
	rig_clear(&r);
	/* Where the path does not say the place, the name with dots does. */
	rig_init(&r, DEBEZIUM "  - {path: $..s, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, NULL, value), KVEIL_OK);
	assert_int_equal(sscanf(strstr(r.value, "{\\\"s\\\":"), "{\\\"s\\\":\\\"%500[^\\]", one_token), 1);
	assert_int_equal(sscanf(strstr(r.value, "a.0.s"), "a.0.s\\\":\\\"%500[^\\]", other), 1);
	assert_string_equal(one_token, other);
	rig_clear(&r);
}

static void every_view_has_rules_of_its_own(void **state)
{
	(void)state;
	struct rig r;

	rig_init(
	    &r, "name: t\ntopics: [in]\nenvelope: debezium\noutputs:\n  - {name: x, topic: x, clear: [$.b], fields: "
		"[{path: "
		"$.a, nullify: true}]}\n  - {name: y, topic: y, clear: [$.a], fields: [{path: $.b, nullify: true}]}\n");
	assert_int_equal(
	    run_quoted(&r, NULL,
		       "{'after':'{`a`:1,`b`:2}','updateDescription':{'updatedFields':'{`a`:1,`b.c`:2}'}," SOURCE "}"),
	    KVEIL_OK);
	assert_non_null(strstr(r.value, "{\\\"a\\\":null,\\\"b\\\":2}"));
	assert_non_null(strstr(r.value, "{\\\"a\\\":null,\\\"b.c\\\":2}"));
	show(r.result.outputs[1].record.value, r.value, sizeof r.value);
	assert_non_null(strstr(r.value, "{\\\"a\\\":1,\\\"b\\\":null}"));
	assert_non_null(strstr(r.value, "{\\\"a\\\":1,\\\"b.c\\\":null}"));
	rig_clear(&r);
}

#define TEXT_FIELD(name)                                                                                               \
	"{'type':'string','optional':true,'name':'io.debezium.data.Json','version':1,'field':'" name                   \
	"','default':'{`s`:`d`}'}"

static void schemas_inline_stay_true(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DEBEZIUM "  - {path: $.s, mask: {}}\n  - {path: $._id, tokenize: {key: k}}\n");
	assert_int_equal(
	    run_quoted(
		&r,
		"{'schema':{'type':'struct','fields':[{'type':'string','optional':false,'field':'id'}],'optional':"
		"false},"
		"'payload':{'id':'{`$oid`:`596e`}'}}",
		"{'schema':{'type':'struct','fields':[" TEXT_FIELD("before") "," TEXT_FIELD(
		    "after") ",{'type':'struct','fields':[" TEXT_FIELD("updatedFields") "],'optional':true,'field':'"
											"updateDescription'},{'type':'"
											"string','field':'op'}]},'"
											"payload':{'before':null,"
											"'after':'{`_id`:{`$oid`:`596e`"
											"},`s`:`secret`}','"
											"updateDescription':{'"
											"updatedFields':'{`s`:`secret`}"
											"'},"
											"'op':'u'}}"),
	    KVEIL_OK);
	assert_null(strstr(r.value, "secret"));
	assert_null(strstr(r.value, "596e"));
	assert_null(strstr(r.value, "\\\"d\\\""));
	assert_non_null(strstr(r.value, "******"));
	assert_non_null(strstr(r.value, "\"io.debezium.data.Json\""));
	assert_null(strstr(r.key, "596e"));
	assert_non_null(strstr(r.key, "{\"type\":\"string\",\"optional\":false,\"field\":\"id\""));
	rig_clear(&r);
}

/* --- random documents, and random fields of them as changes --- */

struct world {
	uint64_t random;
	unsigned canaries;
	char doc[4096], fields[4096];
	size_t len;
};

static unsigned draw(struct world *w, unsigned n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(w->random >> 33) % n;
}

static void put(struct world *w, const char *text)
{
	size_t n = strlen(text);

	assert_true(w->len + n < sizeof w->doc);
	memcpy(w->doc + w->len, text, n + 1);
	w->len += n;
}

static void put_value(struct world *w, unsigned depth)
{
	static const char *const names[] = {"a", "b", "s", "k", "0", "1", "a.b", "b.s", "a.0"};
	unsigned kind = draw(w, depth ? 8 : 5), n = draw(w, 3) + 1;
	char leaf[64];

	if (kind < 5) {
		static const char *const forms[] = {"\"Q%uZ\"", "\"Q%uZ\"", "{\"$symbol\":\"Q%uZ\"}"};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(leaf, sizeof leaf, kind < 3 ? forms[kind] : kind == 3 ? "1" : "2", ++w->canaries);
#pragma GCC diagnostic pop
		put(w, leaf);
		return;
	}
	put(w, kind < 7 ? "{" : "[");
	for (unsigned i = 0; i < n; i++) {
		put(w, i ? "," : "");
		if (kind < 7) {
			snprintf(leaf, sizeof leaf, "\"%s\":", names[draw(w, sizeof names / sizeof *names)]);
			put(w, leaf);
		}
		put_value(w, depth - 1);
	}
	put(w, kind < 7 ? "}" : "]");
}

static void name_node(const struct kveil_doc *doc, uint32_t node, char *dst, size_t size)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	size_t len;

	if (n->parent) {
		name_node(doc, n->parent, dst, size);
		strcat(dst, ".");
	} else {
		dst[0] = 0;
	}
	len = strlen(dst);
	if (n->name_end)
		snprintf(dst + len, size - len, "%.*s", (int)(n->name_end - n->name_start - 2),
			 (const char *)doc->text.data + n->name_start + 1);
	else
		snprintf(dst + len, size - len, "%u", n->ordinal);
}

/* A field or two as they would stand in updatedFields. */
static void put_fields(struct world *w, const struct kveil_doc *doc)
{
	size_t len = (size_t)snprintf(w->fields, sizeof w->fields, "{");

	for (unsigned i = 0; i < 3 && doc->count > 1; i++) {
		uint32_t node = 1 + draw(w, doc->count - 1);
		const struct kveil_doc_node *n = &doc->nodes[node];
		char name[512];
		name_node(doc, node, name, sizeof name);
		len += (size_t)snprintf(w->fields + len, sizeof w->fields - len, "%s\"%s\":%.*s", i ? "," : "", name,
					(int)(n->end - n->start), (const char *)doc->text.data + n->start);
		assert_true(len < sizeof w->fields - 2);
	}
	strcat(w->fields, "}");
}

static void check_canaries(const struct kveil_doc *doc, const uint32_t *nodes, size_t count, const char *out)
{
	for (size_t i = 0; i < count; i++) {
		const struct kveil_doc_node *n = &doc->nodes[nodes[i]];
		const char *at = (const char *)doc->text.data + n->start, *end = (const char *)doc->text.data + n->end;
		for (; at < end; at++) {
			char canary[32];
			if (sscanf(at, "Q%20[0-9]Z", canary) != 1 || *at != 'Q')
				continue;
			char whole[40];
			snprintf(whole, sizeof whole, "Q%sZ", canary);
			if (at + strlen(whole) <= end && strstr(out, whole))
				fail_msg("%s is clear\n%.*s\n%s", whole, (int)doc->text.len,
					 (const char *)doc->text.data, out);
		}
	}
}

static void random_fields_are_protected_as_in_documents(void **state)
{
	(void)state;
	static const char *const paths[] = {
	    "$.a",
	    "$.a.b",
	    "$['a.b']",
	    "$.a[*].s",
	    "$..s",
	    "$.a.*",
	    "$.a[?@.k].s",
	    "$.a[?@.k == 1]",
	    "$.a[0]",
	    "$.a[-1]",
	    "$.a[1:]",
	    "$.a['0'].b",
	    "$..b[0].s",
	    "$..b[?@.s]",
	    "$.a[?$.k == 1].s",
	    "$.b[*]..s",
	    "$['a.b'].s",
	    "$.a['b.s']",
	    "$..['a.0']",
	    "$.a..[?@.k != 1].b",
	    "$.b[?$.k].*",
	    "$..a..b",
	    "$.k[?length(@) == 1]",
	};
	struct world w = {.random = 11};

	for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
		struct rig r;
		struct kveil_path *path;
		char yaml[256];
		snprintf(yaml, sizeof yaml, DEBEZIUM "  - {path: \"%s\"" NULLIFY, paths[p]);
		rig_init(&r, yaml);
		assert_int_equal(kveil_path_parse(kveil_span_str(paths[p]), &path, NULL), KVEIL_OK);
		for (unsigned i = 0; i < 400; i++) {
			KVEIL_CLEANUP_BUF struct kveil_buf event = KVEIL_BUF_INIT;
			struct kveil_arena arena;
			int64_t work = KVEIL_PATH_WORK;
			uint32_t *nodes;
			size_t count;
			w.len = 0;
			put(&w, "{\"a\":");
			put_value(&w, 3);
			put(&w, ",\"b\":");
			put_value(&w, 2);
			put(&w, ",\"k\":");
			put_value(&w, 1);
			put(&w, "}");
			kveil_arena_init(&arena, 1 << 20);
			struct kveil_scan s = {
			    .arena = &arena, .max_bytes = 1 << 20, .max_depth = 64, .want_doc = true};
			assert_int_equal(
			    kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, kveil_span_str(w.doc), NULL), KVEIL_OK);
			put_fields(&w, &s.doc);
			kveil_buf_append_str(&event, "{\"op\":\"u\",\"after\":");
			kveil_json_write_text(&event, kveil_span_str(w.doc));
			kveil_buf_append_str(&event, ",\"updateDescription\":{\"updatedFields\":");
			kveil_json_write_text(&event, kveil_span_str(w.fields));
			kveil_buf_append_str(&event, "}}");
			assert_int_equal(run(&r, NULL, kveil_buf_cstr(&event)), KVEIL_OK);
			s.doc.has_wrapped = true;
			assert_int_equal(
			    kveil_path_select_within(path, &s.doc, 0, true, &work, &arena, &nodes, &count, NULL),
			    KVEIL_OK);
			check_canaries(&s.doc, nodes, count, r.value);
			kveil_scan_clear(&s);
			kveil_arena_clear(&arena);
		}
		kveil_path_free(path);
		rig_clear(&r);
	}
	assert_true(w.canaries > 10000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_rule_holds_in_documents),
	    cmocka_unit_test(a_document_lacks_what_is_not_in_it),
	    cmocka_unit_test(names_with_dots_are_paths),
	    cmocka_unit_test(changed_fields_that_cannot_be_read_are_refused),
	    cmocka_unit_test(values_of_extended_json_are_scalars),
	    cmocka_unit_test(conditions_on_extended_json_are_in_doubt),
	    cmocka_unit_test(conditions_and_tables_hold),
	    cmocka_unit_test(conditions_of_headers_and_keys_are_in_doubt),
	    cmocka_unit_test(what_nothing_names_goes),
	    cmocka_unit_test(the_key_s_id_is_the_document_s),
	    cmocka_unit_test(what_was_sealed_opens),
	    cmocka_unit_test(every_view_has_rules_of_its_own),
	    cmocka_unit_test(schemas_inline_stay_true),
	    cmocka_unit_test(random_fields_are_protected_as_in_documents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

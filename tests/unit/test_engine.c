/* SPDX-License-Identifier: Apache-2.0 */
/* The engine's semantics, a record at a time: rules as a user writes them, bytes in, bytes out. */
#include "base/text.h"
#include "engine/internal.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct rig {
	struct kveil_plan *plan;
	struct kveil_keystore *keystore;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_result result;
	uint8_t *value; /* exactly sized, so that the sanitizers see a read past the end */
	char shown[4096];
};

static void rig_init(struct rig *r, const char *yaml)
{
	struct kveil_report report = {0};
	struct kveil_error err;

	*r = (struct rig){0};
	r->plan = kveil_plan_parse(kveil_span_str(yaml), "t.yaml", NULL, &report);
	if (!r->plan) {
		kveil_report_print(&report, stderr);
		fail_msg("the rules do not load");
	}
	kveil_report_clear(&report);
	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("seed"), &r->keystore, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(r->keystore, &r->ring, &err), KVEIL_OK);
	enum kveil_status st = kveil_engine_new(r->plan, r->ring, NULL, &r->engine, &err);
	if (st)
		fail_msg("%s: %s", kveil_status_code(st), err.message);
}

static void rig_clear(struct rig *r)
{
	kveil_engine_free(r->engine);
	kveil_keyring_free(r->ring);
	kveil_keystore_unref(r->keystore);
	kveil_plan_unref(r->plan);
	free(r->value);
}

static void run_record(struct rig *r, const struct kveil_record *record)
{
	kveil_engine_run(r->engine, record, &r->result);
	if (r->result.verdict != KVEIL_PRODUCE) {
		assert_null(r->result.outputs);
		assert_int_equal(r->result.output_count, 0);
	}
}

/* What a view's value became, or "code@byte rule". NULL value: a tombstone. */
static const char *run_view(struct rig *r, const char *value, size_t view)
{
	size_t len = value ? strlen(value) : 0;

	free(r->value);
	r->value = malloc(len + !len);
	if (len)
		memcpy(r->value, value, len);
	struct kveil_record record = {.value = value ? kveil_span_of(r->value, len) : KVEIL_SPAN_NULL};
	run_record(r, &record);
	if (r->result.verdict != KVEIL_PRODUCE) {
		const struct kveil_error *e = &r->result.error;
		char byte[24] = "-";
		if (e->byte != KVEIL_NO_BYTE)
			snprintf(byte, sizeof byte, "%zu", e->byte);
		snprintf(r->shown, sizeof r->shown, "%s@%s %s", kveil_status_code(e->status), byte, e->rule);
		return r->shown;
	}
	assert_true(view < r->result.output_count);
	struct kveil_span out = r->result.outputs[view].record.value;
	if (!out.data)
		return "tombstone";
	snprintf(r->shown, sizeof r->shown, "%.*s", (int)out.len, (const char *)out.data);
	return r->shown;
}

static const char *run(struct rig *r, const char *value)
{
	return run_view(r, value, 0);
}

#define HEAD "name: t\ntopics: [in]\nformat: json\noutput: out\n"

/* rules under `fields:` in flow style, one a line. */
static const char *once(const char *yaml, const char *value)
{
	static char shown[4096];
	struct rig r;

	rig_init(&r, yaml);
	snprintf(shown, sizeof shown, "%s", run(&r, value));
	rig_clear(&r);
	return shown;
}

#define FIELDS(rules)                HEAD "fields:\n" rules
#define R(text)                      "  - {" text "}\n"
#define SAME(rules, value, expected) assert_string_equal(once(FIELDS(rules), value), expected)

static void test_in_place(void **state)
{
	(void)state;
	SAME(R("path: $.a, mask: {keep_first: 1}"), "{\"a\":\"abc\",\"b\":1}", "{\"a\":\"a**\",\"b\":1}");
	SAME(R("path: $.a, mask: {keep_first: 1}"), " { \"b\" : 1e0 , \"a\" : \"abc\" } ",
	     " { \"b\" : 1e0 , \"a\" : \"a**\" } ");
	/* Every duplicate, names after unescaping, numbers by their spelling. */
	SAME(R("path: $.a, mask: {keep_first: 1}"), "{\"a\":\"abc\",\"\\u0061\":12.50,\"a\":\"xyz\"}",
	     "{\"a\":\"a**\",\"\\u0061\":\"1****\",\"a\":\"x**\"}");
	SAME(R("path: $.a, replace: {with: \"q\\\"\\n\"}"), "{\"a\":1}", "{\"a\":\"q\\\"\\n\"}");
	SAME(R("path: $.a, nullify: true"), "{\"a\":{\"b\":[1]}}", "{\"a\":null}");
	SAME(R("path: \"$.x[*].p\", nullify: true"), "{\"x\":[{\"p\":1},{\"q\":2},{\"p\":3}]}",
	     "{\"x\":[{\"p\":null},{\"q\":2},{\"p\":null}]}");
	SAME(R("path: $..p, nullify: true"), "{\"p\":1,\"x\":[{\"p\":{\"p\":2}}]}",
	     "{\"p\":null,\"x\":[{\"p\":null}]}");
	SAME(R("path: $, mask: {}"), "\"abc\"", "\"***\"");
	SAME(R("path: $.a, mask: {keep_last: 1}"), "{\"a\":\"x\\n\\\"\"}", "{\"a\":\"**\\\"\"}");
	/* Nothing found: the same bytes. */
	SAME(R("path: $.nothing, mask: {}"), "{\"a\" : 1}\n", "{\"a\" : 1}\n");
	/* Paths that need the tape. */
	SAME(R("path: \"$.x[-1]\", nullify: true"), "{\"x\":[1,2,3]}", "{\"x\":[1,2,null]}");
	SAME(R("path: \"$.x[::2]\", nullify: true"), "{\"x\":[1,2,3]}", "{\"x\":[null,2,null]}");
	SAME(R("path: \"$.x[?@.k == 1].v\", nullify: true"), "{\"x\":[{\"k\":1,\"v\":2},{\"k\":2,\"v\":2},{\"v\":2}]}",
	     "{\"x\":[{\"k\":1,\"v\":null},{\"k\":2,\"v\":2},{\"v\":null}]}");
}

static void test_nulls_and_kinds(void **state)
{
	(void)state;
	SAME(R("path: $.a, mask: {}"), "{\"a\":null}", "{\"a\":null}");
	SAME(R("path: $.a, on_null: transform, replace: {with: x}"), "{\"a\":null}", "{\"a\":\"x\"}");
	SAME(R("path: $.a, mask: {}"), "{\"b\":1,\"a\":[1]}", "unsupported_kind@11 t/$.a");
	SAME(R("path: $.a, encrypt: {key: k}"), "{\"a\":1}", "unsupported_kind@5 t/$.a");
}

static void test_remove(void **state)
{
	(void)state;
#define GO R("path: $.a, remove: true")
	SAME(GO, "{\"a\":1}", "{}");
	SAME(GO, "{ \"a\" : 1 }", "{  }");
	SAME(GO, "{\"a\":1,\"b\":2}", "{\"b\":2}");
	SAME(GO, "{\"b\":2,\"a\":1}", "{\"b\":2}");
	SAME(GO, "{\"b\":2, \"a\":1, \"c\":3}", "{\"b\":2, \"c\":3}");
	SAME(GO, "{\"b\":2 , \"a\":1 , \"a\":1 }", "{\"b\":2 }");
	SAME(GO, "{\"a\":1,\"a\":2,\"b\":3,\"a\":4,\"c\":5,\"a\":6,\"a\":7}", "{\"b\":3,\"c\":5}");
	SAME(GO, "{\"a\":{\"a\":1},\"b\":{\"a\":1}}", "{\"b\":{\"a\":1}}");
	SAME(R("path: \"$[0,2]\", remove: true"), "[1,2,3]", "[2]");
	SAME(R("path: \"$[*]\", remove: true"), "[1,[2],3]", "[]");
	SAME(R("path: \"$[1,2]\", remove: true"), "[ 1 , 2 , 3 ]", "[ 1 ]");
	SAME(R("path: $..a, remove: true"), "{\"x\":[{\"a\":1,\"b\":{\"a\":2}},{\"a\":3}],\"a\":4}",
	     "{\"x\":[{\"b\":{}},{}]}");
	SAME(R("path: $.a, remove: true") R("path: $.b, nullify: true"), "{\"b\":1,\"a\":2,\"b\":3}",
	     "{\"b\":null,\"b\":null}");
	SAME(R("path: $, remove: true"), "{\"a\":1}", "unsupported_kind@0 t/$");
	SAME(R("path: $.a, remove: true"), "{\"a\":null,\"b\":1}", "{\"b\":1}");
	SAME(R("path: $.a, remove: true, on_null: keep"), "{\"a\":null}", "{\"a\":null}");
	/* The engine that met a removal goes on over the tape. */
	struct rig r;
	size_t n;
	rig_init(&r, FIELDS(R("path: $.b, nullify: true") GO));
	assert_string_equal(run(&r, "{\"b\":1,\"a\":2}"), "{\"b\":null}");
	assert_string_equal(run(&r, "{\"a\":2,\"b\":1}"), "{\"b\":null}");
	assert_int_equal(kveil_engine_rule_matches(r.engine, &n)[0], 2);
	assert_int_equal(kveil_engine_rule_matches(r.engine, &n)[1], 2);
	assert_int_equal(n, 2);
	rig_clear(&r);
	/* What the last run counted is taken back, and nothing else: in the stream, after giving it up, over the tape.
	 */
	rig_init(&r, FIELDS(R("path: $..b, nullify: true") GO));
	assert_string_equal(run(&r, "{\"b\":1,\"c\":{\"b\":2}}"), "{\"b\":null,\"c\":{\"b\":null}}");
	for (int i = 0; i < 3; i++) {
		assert_string_equal(run(&r, "{\"b\":1,\"c\":{\"b\":2},\"a\":2}"), "{\"b\":null,\"c\":{\"b\":null}}");
		kveil_engine_forget(r.engine);
		kveil_engine_forget(r.engine);
		assert_int_equal(kveil_engine_rule_matches(r.engine, &n)[0], 2);
		assert_int_equal(kveil_engine_rule_matches(r.engine, &n)[1], 0);
	}
	rig_clear(&r);
}

static void test_when(void **state)
{
	(void)state;
#define PAID "path: $.salary, when: \"$.country == 'CN' && @ > 50000\", nullify: true"
	SAME(R(PAID), "{\"country\":\"CN\",\"salary\":60000}", "{\"country\":\"CN\",\"salary\":null}");
	SAME(R(PAID), "{\"country\":\"CN\",\"salary\":50000}", "{\"country\":\"CN\",\"salary\":50000}");
	SAME(R(PAID), "{\"country\":\"FR\",\"salary\":60000}", "{\"country\":\"FR\",\"salary\":60000}");
	/* Doubt protects. */
	SAME(R(PAID), "{\"salary\":60000}", "{\"salary\":null}");
	SAME(R(PAID), "{\"country\":1,\"salary\":\"x\"}", "{\"country\":1,\"salary\":null}");
	/* Certain enough: one half says no. */
	SAME(R(PAID), "{\"salary\":1}", "{\"salary\":1}");
	/* The first rule that holds; all read the original. */
#define TWO R("path: $.a, when: \"$.k == 1\", replace: {with: one}") R("path: $.a, replace: {with: other}")
	SAME(TWO, "{\"k\":1,\"a\":0}", "{\"k\":1,\"a\":\"one\"}");
	SAME(TWO, "{\"k\":2,\"a\":0}", "{\"k\":2,\"a\":\"other\"}");
	SAME(R("path: $.k, replace: {with: 2}") R("path: $.a, when: \"$.k == 1\", nullify: true"), "{\"k\":1,\"a\":0}",
	     "{\"k\":2,\"a\":null}");
}

static void test_to(void **state)
{
	(void)state;
#define TO R("path: $.a, replace: {with: x}, to: $.b")
	SAME(TO, "{\"a\":1}", "{\"b\":\"x\"}");
	SAME(TO, "{\"a\":1,\"c\":2}", "{\"c\":2,\"b\":\"x\"}");
	SAME(TO, "{ \"c\" : 2 , \"a\" : 1 }", "{ \"c\" : 2,\"b\":\"x\" }");
	SAME(TO, "{\"b\":0,\"a\":1}", "{\"b\":\"x\"}");
	SAME(TO, "{\"b\":0,\"a\":1,\"\\u0062\":[2]}", "{\"b\":\"x\",\"\\u0062\":\"x\"}");
	SAME(TO, "{\"a\":null}", "{\"b\":null}");
	SAME(TO, "{\"c\":1}", "{\"c\":1}");
	SAME(R("path: $.a, replace: {with: x}, to: $.b, keep_source: true"), "{\"a\":1}", "{\"a\":1,\"b\":\"x\"}");
	SAME(R("path: $.a, nullify: true") R("path: $.a, replace: {with: y}, to: $.b"), "{\"a\":1,\"c\":2}",
	     "{\"a\":null,\"c\":2,\"b\":\"y\"}");
	/* The same target from one source: the first that holds. */
	SAME(R("path: $.a, when: \"@ == 1\", replace: {with: one}, to: $.b")
		 R("path: $.a, replace: {with: other}, to: $.b"),
	     "{\"a\":2}", "{\"b\":\"other\"}");
	/* Duplicates of the source become duplicates of the target. */
	SAME(TO, "{\"a\":1,\"a\":2}", "{\"b\":\"x\",\"b\":\"x\"}");
	SAME(TO, "{\"a\":1,\"a\":2,\"b\":3}", "target_conflict@5 t/$.a");
	SAME(R("path: \"$.x[*].p\", replace: {with: x}, to: \"$.x[*].q\""), "{\"x\":[{\"p\":1,\"r\":2},{\"p\":1}]}",
	     "{\"x\":[{\"r\":2,\"q\":\"x\"},{\"q\":\"x\"}]}");
	SAME(R("path: $..p, replace: {with: x}, to: $..q"), "{\"p\":1,\"s\":{\"p\":2}}",
	     "{\"s\":{\"q\":\"x\"},\"q\":\"x\"}");
	SAME(R("path: $.a, replace: {with: x}, to: \"$['b\\\"']\""), "{\"a\":1}", "{\"b\\\"\":\"x\"}");
}

static void test_overlap(void **state)
{
	(void)state;
	/* The outermost rule that applied wins; what it replaced is not looked into. */
	SAME(R("path: $..a, nullify: true") R("path: $..b, nullify: true"),
	     "{\"a\":{\"b\":1},\"b\":{\"a\":[]},\"c\":{\"b\":2}}", "{\"a\":null,\"b\":null,\"c\":{\"b\":null}}");
	SAME(R("path: $..a, when: \"@.k == 1\", nullify: true") R("path: $..b, nullify: true"),
	     "{\"a\":{\"k\":1,\"b\":1},\"c\":{\"a\":{\"k\":2,\"b\":1}}}",
	     "{\"a\":null,\"c\":{\"a\":{\"k\":2,\"b\":null}}}");
}

static void hints(const char *value, const char *path)
{
	struct rig r;
	char hint[192];

	rig_init(&r, HEAD "unmatched: dead-letter\nfields:\n" R("path: \"$.a[*].b\", mask: {}"));
	run(&r, value);
	assert_int_equal(r.result.error.status, KVEIL_E_UNMATCHED_FIELD);
	assert_string_equal(r.result.error.message, "a field that no rule names");
	snprintf(hint, sizeof hint, "name %s in a rule or under `clear`", path);
	assert_string_equal(r.result.error.hint, hint);
	rig_clear(&r);
}

static void test_unmatched_path(void **state)
{
	(void)state;
	char value[400], path[200];

	hints("{\"a\":[{\"b\":\"x\"},{\"b\":\"x\",\"c\":\"canary\"}]}", "$['a'][1]['c']");
	hints("{\"\\u001b\\u007f\\u009b'\":\"canary\"}", "$['\\u001b\\u007f\\u009b\\'']");
	/* Cut, and between characters wherever it falls. */
	for (int n = 90; n < 120; n++) {
		snprintf(
		    value, sizeof value,
		    "{\"%.*s\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\":1}",
		    n,
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
		struct rig r;
		rig_init(&r, HEAD "unmatched: dead-letter\nfields:\n" R("path: $.a, mask: {}"));
		run(&r, value);
		const char *dots = strstr(r.result.error.hint, "...");
		assert_non_null(dots);
		snprintf(path, sizeof path, "%.*s", (int)(dots - r.result.error.hint), r.result.error.hint);
		size_t len = strlen(path);
		assert_true(len < 120 && ((uint8_t)path[len - 1] < 0x80 || (uint8_t)path[len - 1] == 0xA9));
		rig_clear(&r);
	}
}

/* What a path names would stand in them. */
static void test_unmatched_empty(void **state)
{
	(void)state;
	static const char *const same[] = {"{\"a\":{}}",           "{\"a\":[]}", "{\"p\":{\"q\":[]}}",
					   "{\"p\":{\"q\":[{}]}}", "{\"p\":{}}", "{}"};
	static const char *const gone[] = {"{\"x\":{}}", "{\"a\":{\"x\":{}}}", "{\"p\":{\"x\":[]}}", "{\"n\":[{}]}"};
#define WAYS "clear: [$.a.b]\nfields:\n" R("path: \"$.p.q[*].r\", mask: {}") R("path: $..z, mask: {}")
	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		assert_string_equal(once(HEAD "unmatched: remove\n" WAYS, same[i]), same[i]);
		assert_string_equal(once(HEAD "unmatched: dead-letter\n" WAYS, same[i]), same[i]);
	}
	for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) {
		assert_string_equal(once(HEAD "unmatched: remove\n" WAYS, gone[i]), "{}");
		assert_non_null(strstr(once(HEAD "unmatched: dead-letter\n" WAYS, gone[i]), "unmatched_field"));
	}
}

static void test_unmatched(void **state)
{
	(void)state;
#define REMOVE(rules) once(HEAD "unmatched: remove\nfields:\n" rules, value)
#define DEAD(rules)   once(HEAD "unmatched: dead-letter\nfields:\n" rules, value)
	const char *value = "{\"a\":\"x\",\"b\":{\"c\":1,\"d\":[{\"e\":1,\"f\":2},3]},\"g\":{}}";
	assert_string_equal(REMOVE(R("path: $.a, mask: {}")), "{\"a\":\"*\"}");
	assert_string_equal(REMOVE(R("path: \"$.b.d[*].e\", nullify: true")), "{\"b\":{\"d\":[{\"e\":null}]}}");
	assert_string_equal(REMOVE(R("path: $.zzz, mask: {}")), "{}");
	assert_string_equal(REMOVE(R("path: $.a, replace: {with: y}, to: $.g")), "{\"g\":\"y\"}");
	assert_string_equal(REMOVE(R("path: $.a, replace: {with: y}, to: $.h")), "{\"h\":\"y\"}");
	assert_string_equal(REMOVE(R("path: $.a, when: \"@ == 'no'\", mask: {}")), "{\"a\":\"x\"}");
	assert_string_equal(
	    once(HEAD "unmatched: remove\nclear: [$.b.c, \"$.b.d[?@.e]\"]\nfields:\n" R("path: $.a, mask: {}"), value),
	    "{\"a\":\"*\",\"b\":{\"c\":1,\"d\":[{\"e\":1,\"f\":2}]}}");
	assert_string_equal(DEAD(R("path: $.a, mask: {}")), "unmatched_field@9 ");
	assert_string_equal(DEAD(R("path: $.a, mask: {}") R("path: \"$.b[*]\", nullify: true")), "unmatched_field@43 ");
	value = "{\"a\":\"x\"}";
	assert_string_equal(DEAD(R("path: $.a, mask: {}")), "{\"a\":\"*\"}");
	value = "5";
	assert_string_equal(DEAD(R("path: $.a, mask: {}")), "unmatched_field@0 ");
	assert_string_equal(REMOVE(R("path: $.a, mask: {}")), "unsupported_kind@0 ");
}

static void test_bad_records(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, FIELDS(R("path: $.a, mask: {}")));
	assert_string_equal(run(&r, ""), "empty_value@0 ");
	assert_string_equal(run(&r, " "), "empty_value@0 ");
	assert_string_equal(run(&r, "{\"a\":\"x\",}"), "invalid_json@9 ");
	assert_string_equal(run(&r, "{\"a\":\"\\ud800\"}"), "invalid_surrogate@6 ");
	assert_int_equal(r.result.verdict, KVEIL_DEAD_LETTER);
	assert_string_equal(run(&r, "{\"a\":\"xy\"}"), "{\"a\":\"**\"}");
	assert_string_equal(run(&r, NULL), "tombstone");
	rig_clear(&r);
	rig_init(&r, HEAD "on_error: drop\nfields:\n" R("path: $.a, mask: {}"));
	assert_string_equal(run(&r, "x"), "invalid_json@0 ");
	assert_int_equal(r.result.verdict, KVEIL_DROP);
	rig_clear(&r);
	rig_init(&r, HEAD "on_error: stop\nfields:\n" R("path: $.a, mask: {}"));
	assert_string_equal(run(&r, "x"), "invalid_json@0 ");
	assert_int_equal(r.result.verdict, KVEIL_STOP);
	rig_clear(&r);
	rig_init(&r, FIELDS(R("path: $.a, required: true, mask: {}")));
	assert_string_equal(run(&r, "{\"b\":1}"), "missing_field@- t/$.a");
	assert_string_equal(run(&r, "{\"a\":null}"), "{\"a\":null}");
	assert_string_equal(run(&r, NULL), "tombstone");
	rig_clear(&r);
}

static void test_views(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, "name: t\ntopics: [in]\nformat: json\nfields:\n" R(
			 "path: $.card, encrypt: {key: k}") "outputs:\n"
							    "  - name: one\n    topic: one\n    fields:\n      - "
							    "{path: $.phone, mask: {keep_first: 1}}\n"
							    "  - name: two\n    topic: two\n    unmatched: remove\n    "
							    "clear: [$.phone, $.id]\n    fields: []\n");
	const char *out = run_view(&r, "{\"id\":1,\"card\":\"4\",\"phone\":\"123\",\"x\":2}", 0);
	assert_non_null(strstr(out, "=\",\"phone\":\"1**\",\"x\":2}"));
	assert_memory_equal(out, "{\"id\":1,\"card\":\"A", 17);
	assert_int_equal(r.result.output_count, 2);
	assert_string_equal(run_view(&r, "{\"id\":1,\"phone\":\"123\",\"x\":2}", 1), "{\"id\":1,\"phone\":\"123\"}");
	/* One place fails in one view: no view has anything. */
	assert_string_equal(run_view(&r, "{\"id\":1,\"phone\":[1]}", 1), "unsupported_kind@16 t@one/$.phone");
	rig_clear(&r);
}

static void open_field(struct rig *r, const char *key, const char *ad, const char *base64, size_t n, const char *clear)
{
	uint8_t sealed[512], plain[512];
	size_t len;
	struct kveil_key *k;
	struct kveil_error err;

	assert_true(kveil_text_decode(KVEIL_BASE64, (const uint8_t *)base64, n, sealed, &len));
	assert_int_equal(kveil_keyring_key(r->ring, kveil_span_str(key), KVEIL_USE_OPEN, &k, &err), KVEIL_OK);
	if (kveil_key_open(k, kveil_span_str(ad), kveil_span_of(sealed, len), plain, &len, &err))
		fail_msg("%s: %s", ad, err.message);
	assert_int_equal(len, strlen(clear));
	assert_memory_equal(plain, clear, len);
}

/* Encrypts the one field of value under the rule and opens it with the associated data expected. */
static void check_ad(const char *rule, const char *value, const char *key, const char *ad, const char *clear)
{
	struct rig r;
	char yaml[1024];

	snprintf(yaml, sizeof yaml, FIELDS("%s"), rule);
	rig_init(&r, yaml);
	const char *out = run(&r, value), *text = strstr(out, "\"A");
	if (!text)
		fail_msg("%s", out);
	open_field(&r, key, ad, text + 1, strcspn(text + 1, "\""), clear);
	rig_clear(&r);
}

static void test_associated_data(void **state)
{
	(void)state;
	check_ad(R("path: $.a.b, encrypt: {key: k}"), "{\"a\":{\"b\":\"v\"}}", "k", "t:$['a']['b']", "v");
	check_ad(R("path: \"$.a[0].b\", encrypt: {key: k}"), "{\"a\":[{\"b\":\"v\"}]}", "k", "t:$['a'][*]['b']", "v");
	check_ad(R("path: \"$.a[*].b\", encrypt: {key: k}"), "{\"a\":[{\"b\":\"v\"}]}", "k", "t:$['a'][*]['b']", "v");
	check_ad(R("path: \"$.a[*].b\", encrypt: {key: k}"), "{\"a\":{\"x\":{\"b\":\"v\"}}}", "k", "t:$['a']['x']['b']",
		 "v");
	check_ad(R("path: $..b, encrypt: {key: k}"), "{\"a\":[[{\"\\u0062\":\"v\"}]]}", "k", "t:$['a'][*][*]['b']",
		 "v");
	check_ad(R("path: \"$['x','y']\", encrypt: {key: k}"), "{\"y\":\"v\"}", "k", "t:$['y']", "v");
	check_ad(R("path: \"$.a[-1]\", encrypt: {key: k}"), "{\"a\":[1,\"v\"]}", "k", "t:$['a'][*]", "v");
	check_ad(R("path: $.a, encrypt: {key: k}, to: $.b"), "{\"a\":\"v\"}", "k", "t:$['b']", "v");
	check_ad(R("path: \"$.x[*].a\", encrypt: {key: k}, to: \"$.x[*].b\""), "{\"x\":[{\"a\":\"v\"}]}", "k",
		 "t:$['x'][*]['b']", "v");
	check_ad(R("path: $..a, encrypt: {key: k}, to: $..b"), "{\"x\":[{\"a\":\"v\"}]}", "k", "t:$['x'][*]['b']", "v");
	check_ad(R("path: $.a, encrypt: {key: k, associated_data: \"id-{$.id}\"}"), "{\"id\":7,\"a\":\"v\"}", "k",
		 "id-7", "v");
	check_ad(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}"), "{\"t\":\"x\\u0079\",\"a\":\"v\"}", "tenant-xy",
		 "t:$['a']", "v");
	check_ad(R("path: $.a, encrypt: {key: k, type: json}"), "{\"a\": [1, \"\\u0061\"]}", "k", "t:$['a']",
		 "[1, \"\\u0061\"]");
	check_ad(R("path: $.a, encrypt: {key: k}"), "{\"a\":\"\\u0061\\n\"}", "k", "t:$['a']", "a\n");
	SAME(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}"), "{\"a\":\"v\"}", "bad_template_value@5 t/$.a");
	SAME(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}"), "{\"t\":true,\"a\":\"v\"}",
	     "bad_template_value@5 t/$.a");
	SAME(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}"), "{\"t\":\"x\",\"t\":\"y\",\"a\":\"v\"}",
	     "bad_template_value@21 t/$.a");
	/* A record names a key, and nothing else: above all no version of it. */
	SAME(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}"), "{\"t\":\"x@1\",\"a\":\"v\"}",
	     "bad_template_value@15 t/$.a");
	SAME(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}"), "{\"t\":\"\",\"a\":\"v\"}",
	     "bad_template_value@12 t/$.a");
	SAME(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}"), "{\"t\":\"a/b\",\"a\":\"v\"}",
	     "bad_template_value@15 t/$.a");
}

/* What one file seals its inverse opens, byte for byte. */
static void test_inverse(void **state)
{
	(void)state;
	static const char *const rows[][3] = {
	    {R("path: $.a, encrypt: {key: k}"), R("path: $.a, decrypt: {key: k}"), "{\"a\":\"x\\n\xE7\x8E\x8B\\\"\"}"},
	    {R("path: $..a, encrypt: {key: k, type: json}"), R("path: $..a, decrypt: {key: k, type: json}"),
	     "{\"a\": [1.0 , {\"b\":null}],\"x\":[{\"a\":-0}]}"},
	    {R("path: $.a, encrypt: {key: k}, to: $.b"), R("path: $.b, decrypt: {key: k}, to: $.a"), "{\"a\":\"x\"}"},
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rig there, back;
		char yaml[512];
		snprintf(yaml, sizeof yaml, FIELDS("%s"), rows[i][0]);
		rig_init(&there, yaml);
		snprintf(yaml, sizeof yaml, FIELDS("%s"), rows[i][1]);
		rig_init(&back, yaml);
		char sealed[4096];
		snprintf(sealed, sizeof sealed, "%s", run(&there, rows[i][2]));
		assert_string_not_equal(sealed, rows[i][2]);
		assert_string_equal(run(&back, sealed), rows[i][2]);
		rig_clear(&there);
		rig_clear(&back);
	}
	/* Reencrypted to a sibling: opened where it stood, sealed to where it goes. */
	struct rig there, between, back;
	char sealed[4096];
	rig_init(&there, FIELDS(R("path: \"$.x[*].a\", encrypt: {key: k}")));
	rig_init(&between, FIELDS(R("path: \"$.x[*].a\", reencrypt: {from: k, to: q}, to: \"$.x[*].b\"")));
	rig_init(&back, FIELDS(R("path: \"$.x[*].b\", decrypt: {key: q}")));
	snprintf(sealed, sizeof sealed, "%s", run(&there, "{\"x\":[{\"a\":\"v\"}]}"));
	snprintf(sealed, sizeof sealed, "%s", run(&between, sealed));
	assert_string_equal(run(&back, sealed), "{\"x\":[{\"b\":\"v\"}]}");
	rig_clear(&there);
	rig_clear(&between);
	rig_clear(&back);
	/* Doubt does not reveal. */
	SAME(R("path: $.a, when: \"$.k == 1\", decrypt: {key: k}"), "{\"a\":\"x\"}", "{\"a\":\"x\"}");
	SAME(R("path: $.a, decrypt: {key: k}"), "{\"a\":\"x\"}", "bad_ciphertext@5 t/$.a");
}

/* The first thing that a new engine writes is nothing: empty stays empty, for every action that can write it. */
static void test_empty_first(void **state)
{
	(void)state;
	static const char *const actions[] = {"mask: {keep_first: 3}", "mask: {char: \"●\"}", "replace: {with: \"\"}"};

	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
		struct kveil_header header = {KVEIL_SPAN("user"), KVEIL_SPAN("")};
		const struct kveil_record records[] = {{.key = KVEIL_SPAN(""), .value = KVEIL_SPAN_NULL},
						       {.headers = &header, .header_count = 1}};
		for (size_t k = 0; k < 2; k++) {
			struct rig r;
			char rules[512];
			snprintf(rules, sizeof rules,
				 FIELDS(R("path: \"key:$\", %s") R("path: \"header:user\", %s") R("path: $.a, %s")),
				 actions[i], actions[i], actions[i]);
			rig_init(&r, rules);
			run_record(&r, &records[k]);
			assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
			const struct kveil_record *out = &r.result.outputs[0].record;
			struct kveil_span got = k ? out->headers[0].value : out->key;
			assert_non_null(got.data);
			assert_int_equal(got.len, 0);
			assert_true(k ? !out->key.data : out->header_count == 0);
			assert_null(out->value.data);
			assert_string_equal(run(&r, "{\"a\":\"\"}"), "{\"a\":\"\"}");
			rig_clear(&r);
		}
	}
}

/* A large value in a template is bound to every place: that is paid for, too. */
static void test_template_work(void **state)
{
	(void)state;
	enum { PLACES = 300, ID_BYTES = 1 << 20 };
	struct kveil_buf b = KVEIL_BUF_INIT;
	struct rig r;

	kveil_buf_append_str(&b, "{\"p\":[\"a\"");
	for (int i = 1; i < PLACES; i++)
		kveil_buf_append_str(&b, ",\"a\"");
	kveil_buf_append_str(&b, "],\"id\":\"");
	uint8_t *id = kveil_buf_reserve(&b, ID_BYTES);
	assert_non_null(id);
	memset(id, 'x', ID_BYTES);
	b.len += ID_BYTES;
	kveil_buf_append_str(&b, "\"}");
	struct kveil_record record = {.value = kveil_buf_span(&b)};
	rig_init(&r, FIELDS(R("path: \"$.p[*]\", encrypt: {key: k, associated_data: \"{$.id}\"}")));
	run_record(&r, &record);
	assert_int_equal(r.result.verdict, KVEIL_DEAD_LETTER);
	assert_int_equal(r.result.error.status, KVEIL_E_TOO_COMPLEX);
	rig_clear(&r);
	kveil_buf_clear(&b);
}

static void expect_header(const struct kveil_record *record, size_t i, const char *name, const char *value)
{
	assert_true(i < record->header_count);
	assert_true(kveil_span_eq(record->headers[i].name, kveil_span_str(name)));
	assert_true(kveil_span_eq(record->headers[i].value, kveil_span_str(value)));
}

static void test_added_headers(void **state)
{
	(void)state;
	struct rig r;
	struct kveil_header own = {KVEIL_SPAN("class"), KVEIL_SPAN("own")};
	struct kveil_record record = {.value = KVEIL_SPAN("{\"a\":1}"), .headers = &own, .header_count = 1};

	rig_init(&r, HEAD "headers: {class: restricted, empty: \"\"}\nfields:\n" R("path: $.a, nullify: true"));
	run_record(&r, &record);
	const struct kveil_record *out = &r.result.outputs[0].record;
	assert_int_equal(out->header_count, 3);
	expect_header(out, 0, "class", "own");
	expect_header(out, 1, "class", "restricted");
	expect_header(out, 2, "empty", "");
	/* A tombstone without headers of its own gets them too; what fails gets nothing. */
	record = (struct kveil_record){.key = KVEIL_SPAN("k")};
	run_record(&r, &record);
	assert_int_equal(r.result.outputs[0].record.header_count, 2);
	record.value = KVEIL_SPAN("{");
	run_record(&r, &record);
	assert_int_equal(r.result.output_count, 0);
	rig_clear(&r);
}

/* Which rules wrote something: nothing of a value, nor of a key's name that a record fills in. */
static void test_lineage(void **state)
{
	(void)state;
	struct rig r;
	struct kveil_record record = {.value =
					  KVEIL_SPAN("{\"a\":\"secret\",\"b\":\"secret\",\"t\":\"acme\",\"n\":null}")};

	rig_init(&r, HEAD "lineage: true\nfields:\n" R("path: $.a, encrypt: {key: \"k-{$.t}\"}")
			 R("path: $.b, when: $.t == 'other', nullify: true") R("path: $.n, mask: {}")
			     R("path: $.t, mask: {}") R("path: $.gone, mask: {}"));
	run_record(&r, &record);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	assert_int_equal(r.result.outputs[0].record.header_count, 1);
	expect_header(&r.result.outputs[0].record, 0, "kveil.lineage",
		      "{\"rules\":[{\"rule\":\"t/$.a\",\"action\":\"encrypt\",\"key\":\"k-{$.t}\"},"
		      "{\"rule\":\"t/$.t\",\"action\":\"mask\"}]}");
	record.value = KVEIL_SPAN("{}");
	run_record(&r, &record);
	expect_header(&r.result.outputs[0].record, 0, "kveil.lineage", "{\"rules\":[]}");
	rig_clear(&r);
	/* In each view its own. */
	rig_init(&r, "name: t\ntopics: [in]\nlineage: true\nclear: [$.a]\noutputs:\n  - {name: x, topic: x}\n"
		     "  - {name: y, topic: y, fields: [{path: $.a, mask: {}}]}\n");
	record.value = KVEIL_SPAN("{\"a\":\"x\"}");
	run_record(&r, &record);
	assert_int_equal(r.result.output_count, 2);
	expect_header(&r.result.outputs[0].record, 0, "kveil.lineage", "{\"rules\":[]}");
	expect_header(&r.result.outputs[1].record, 0, "kveil.lineage",
		      "{\"rules\":[{\"rule\":\"t@y/$.a\",\"action\":\"mask\"}]}");
	rig_clear(&r);
}

static void test_key_and_headers(void **state)
{
	(void)state;
	struct rig r;
	struct kveil_header headers[] = {
	    {KVEIL_SPAN("trace"), KVEIL_SPAN("1")},     {KVEIL_SPAN("user"), KVEIL_SPAN("alice")},
	    {KVEIL_SPAN("user"), KVEIL_SPAN_NULL},      {KVEIL_SPAN("gone"), KVEIL_SPAN("secret")},
	    {KVEIL_SPAN("user"), KVEIL_SPAN("bob")},    {KVEIL_SPAN("User"), KVEIL_SPAN("carol")},
	    {KVEIL_SPAN("empty"), KVEIL_SPAN("secret")}};
	struct kveil_record record = {KVEIL_SPAN("key-1"), KVEIL_SPAN("{\"a\":1}"), headers, 7};

	rig_init(&r,
		 FIELDS(R("path: \"key:$\", mask: {keep_first: 1}") R("path: \"header:user\", mask: {keep_first: 1}")
			    R("path: \"header:gone\", remove: true") R("path: \"header:empty\", nullify: true")));
	run_record(&r, &record);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	const struct kveil_record *out = &r.result.outputs[0].record;
	assert_true(kveil_span_eq(out->key, KVEIL_SPAN("k****")));
	assert_true(out->value.data == record.value.data);
	assert_int_equal(out->header_count, 6);
	assert_true(kveil_span_eq(out->headers[0].value, KVEIL_SPAN("1")));
	assert_true(kveil_span_eq(out->headers[1].value, KVEIL_SPAN("a****")));
	assert_null(out->headers[2].value.data);
	assert_true(kveil_span_eq(out->headers[3].value, KVEIL_SPAN("b**")));
	assert_true(kveil_span_eq(out->headers[4].value, KVEIL_SPAN("carol")));
	assert_true(kveil_span_eq(out->headers[5].name, KVEIL_SPAN("empty")));
	assert_null(out->headers[5].value.data);
	/* Null and empty keys stay what they are; a tombstone's key is still protected. */
	record.key = KVEIL_SPAN_NULL;
	run_record(&r, &record);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	assert_null(r.result.outputs[0].record.key.data);
	record.key = KVEIL_SPAN("");
	record.value = KVEIL_SPAN_NULL;
	run_record(&r, &record);
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	assert_non_null(r.result.outputs[0].record.key.data);
	assert_int_equal(r.result.outputs[0].record.key.len, 0);
	assert_null(r.result.outputs[0].record.value.data);
	record.key = KVEIL_SPAN("\xFF");
	run_record(&r, &record);
	assert_int_equal(r.result.error.status, KVEIL_E_INVALID_UTF8);
	rig_clear(&r);

	/* Conditions on a key see the record's value and the key. */
	rig_init(&r, FIELDS(R("path: \"key:$\", when: \"$.k == 1 && @ == 'a\\\"b'\", replace: {with: x}")));
	record = (struct kveil_record){.key = KVEIL_SPAN("a\"b"), .value = KVEIL_SPAN("{\"k\":1}")};
	run_record(&r, &record);
	assert_true(kveil_span_eq(r.result.outputs[0].record.key, KVEIL_SPAN("x")));
	record.value = KVEIL_SPAN("{\"k\":2}");
	run_record(&r, &record);
	assert_true(kveil_span_eq(r.result.outputs[0].record.key, KVEIL_SPAN("a\"b")));
	record.value = KVEIL_SPAN_NULL;
	run_record(&r, &record);
	assert_true(kveil_span_eq(r.result.outputs[0].record.key, KVEIL_SPAN("x")));
	rig_clear(&r);

	/* A key of JSON. */
	rig_init(&r, "name: t\ntopics: [in]\nformat: {value: json, key: json}\noutput: out\nfields:\n" R(
			 "path: \"key:$.id\", when: \"$.k == 1 && @ == 7\", nullify: true")
			 R("path: \"key:$.t\", remove: true"));
	record = (struct kveil_record){.key = KVEIL_SPAN("{\"id\":7,\"t\":1}"), .value = KVEIL_SPAN("{\"k\":1}")};
	run_record(&r, &record);
	assert_true(kveil_span_eq(r.result.outputs[0].record.key, KVEIL_SPAN("{\"id\":null}")));
	rig_clear(&r);
}

/* A record of n elements, each of them a place. */
static char *array_of(size_t n, const char *element)
{
	struct kveil_buf b = KVEIL_BUF_INIT;

	kveil_buf_append_str(&b, "{\"a\":[");
	for (size_t i = 0; i < n; i++) {
		kveil_buf_append_str(&b, i ? "," : "");
		kveil_buf_append_str(&b, element);
	}
	kveil_buf_append_str(&b, "]}");
	char *text = strdup(kveil_buf_cstr(&b));
	kveil_buf_clear(&b);
	return text;
}

/* A record may be small and ask for a hundred times its size: it is refused, and the next one is as if it had not been.
 */
static void test_memory(void **state)
{
	(void)state;
	static const char *const rules[] = {
	    FIELDS(R("path: \"$.a[*]\", remove: true")),
	    FIELDS(R("path: \"$.a[?@ == 1]\", nullify: true")),
	    FIELDS(R("path: \"$.a[*]\", replace: {with: \"a constant that is longer than what it replaces\"}")),
	    FIELDS(R("path: \"$.a[*]\", encrypt: {key: pii, type: json}")),
	    FIELDS(R("path: \"$.a[*]\", when: \"$.b == 1\", hash: {key: pepper}")),
	    FIELDS(R("path: \"$.b\", mask: {}")) "unmatched: remove\n",
	};
	char *large = array_of(100000, "1"), *small = array_of(100, "1");

	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		struct rig r;
		struct kveil_error err;
		rig_init(&r, rules[i]);
		kveil_engine_free(r.engine);
		const struct kveil_limits limits = {.memory_bytes = 1 << 20};
		assert_int_equal(kveil_engine_new(r.plan, r.ring, &limits, &r.engine, &err), KVEIL_OK);
		for (int round = 0; round < 3; round++) {
			assert_string_equal(run(&r, large), "too_large@- ");
			assert_int_equal(r.result.verdict, KVEIL_DEAD_LETTER);
			assert_non_null(strstr(r.result.error.message, "1 MiB of memory"));
			assert_true(r.engine->allowance.used_bytes <= r.engine->allowance.max_bytes);
			run(&r, small);
			assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
		}
		/* Every byte that was taken is given back. */
		struct kveil_engine *e = r.engine;
		kveil_engine_unbind(e);
		assert_int_equal(e->allowance.used_bytes, 0);
		kveil_plan_unref(e->plan);
		free(e);
		r.engine = NULL;
		rig_clear(&r);
	}
	free(large);
	free(small);
}

static bool holds(const struct kveil_buf *b, const char *text)
{
	return b->data && memmem(b->data, b->cap, text, strlen(text)) != NULL;
}

static bool stands_before(uintptr_t end, const char *text)
{
	const void *from = (const void *)(end - 64);

	return from && memmem(from, 64, text, strlen(text)) != NULL;
}

/* Of a record that is done nothing is left, though no other one may come for long. */
static void test_forgetting(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, FIELDS(R("path: $.a, encrypt: {key: \"tenant-{$.t}\"}")
				R("path: $.b, encrypt: {key: \"t-{$.u}\", associated_data: \"x{$.u}\"}")));
	struct kveil_engine *e = r.engine;
	/* The longer name goes first; the escapes take the values through the arena. */
	run(&r, "{\"a\":\"canary-a\\u738b\",\"t\":\"canary-tenant-0123456789\",\"b\":\"canary-b\\u738b\",\"u\":\"u\"}");
	assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
	assert_false(holds(&e->scratch, "canary") || holds(&e->scratch, "0123456789"));
	uintptr_t end = (uintptr_t)kveil_arena_alloc(&e->arena, 1); /* what stands before it is the record's */
	assert_true(stands_before(end, "canary-b"));
	kveil_engine_wipe(e);
	assert_false(stands_before(end, "canary-b"));
	assert_false(holds(&e->scratch, "xu"));
	rig_clear(&r);
}

struct events {
	char text[4096];
};

static void on_event(void *user, const struct kveil_trace_event *e)
{
	struct events *es = user;
	size_t n = strlen(es->text);

	snprintf(es->text + n, sizeof es->text - n, "%zu %s%s%s %.*s %.*s -> %.*s %s\n", e->view, e->action,
		 e->key_name ? " " : "", e->key_name ? e->key_name : "", (int)e->path.len, (const char *)e->path.data,
		 (int)e->before.len, (const char *)e->before.data, (int)e->after.len,
		 e->after.data ? (const char *)e->after.data : "", e->outcome);
}

static void test_trace(void **state)
{
	(void)state;
	struct rig r;
	struct events es = {""};

	rig_init(&r, FIELDS(R("path: \"$.a[*]\", nullify: true") R("path: $.b, when: \"@ == 1\", remove: true") R(
			 "path: $.c, replace: {with: x}, to: $.d") R("path: $.e, mask: {}") R("path: $.f, mask: {}")));
	kveil_engine_set_trace(r.engine, on_event, &es);
	run(&r, "{\"a\":[1,null],\"b\":2,\"c\":3,\"f\":[]}");
	assert_string_equal(es.text, "0 nullify value:$['a'][0] 1 -> null applied\n"
				     "0 nullify value:$['a'][1] null ->  null kept\n"
				     "0 remove value:$['b'] 2 ->  when is false\n"
				     "0 replace value:$['d'] 3 -> \"x\" applied\n"
				     "0 mask value:$['f'] [] ->  failed: unsupported_kind\n"
				     "0 mask $.e  ->  absent\n");
	rig_clear(&r);

	/* A key as the rule writes it: never what the record fills in. */
	es.text[0] = 0;
	rig_init(&r,
		 FIELDS(R("path: $.g, encrypt: {key: \"tenant-{$.h['}']}.x\"}") R("path: $.i, encrypt: {key: pii}")));
	kveil_engine_set_trace(r.engine, on_event, &es);
	run(&r, "{\"g\":[],\"h\":{\"}\":\"acme\"}}");
	assert_string_equal(es.text, "0 encrypt tenant-{$.h['}']}.x value:$['g'] [] ->  failed: unsupported_kind\n"
				     "0 encrypt pii $.i  ->  absent\n");
	rig_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_in_place),
	    cmocka_unit_test(test_nulls_and_kinds),
	    cmocka_unit_test(test_remove),
	    cmocka_unit_test(test_when),
	    cmocka_unit_test(test_to),
	    cmocka_unit_test(test_overlap),
	    cmocka_unit_test(test_unmatched),
	    cmocka_unit_test(test_unmatched_empty),
	    cmocka_unit_test(test_unmatched_path),
	    cmocka_unit_test(test_bad_records),
	    cmocka_unit_test(test_views),
	    cmocka_unit_test(test_associated_data),
	    cmocka_unit_test(test_inverse),
	    cmocka_unit_test(test_key_and_headers),
	    cmocka_unit_test(test_added_headers),
	    cmocka_unit_test(test_lineage),
	    cmocka_unit_test(test_memory),
	    cmocka_unit_test(test_trace),
	    cmocka_unit_test(test_forgetting),
	    cmocka_unit_test(test_empty_first),
	    cmocka_unit_test(test_template_work),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

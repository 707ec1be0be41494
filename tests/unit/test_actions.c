/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "crypto/algorithm.h"
#include "kveil/engine.h"
#include "rules/plan.h"
#include "transform/action.h"

static struct kveil_keystore *store;
static struct kveil_keyring *ring;
static struct kveil_arena arena;

static int set_up(void **state)
{
	(void)state;
	struct kveil_error err;

	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("actions"), &store, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(store, &ring, &err), KVEIL_OK);
	kveil_arena_init(&arena, 1 << 20);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	kveil_arena_clear(&arena);
	kveil_keyring_free(ring);
	kveil_keystore_unref(store);
	return 0;
}

/* An action made ready out of a rule fragment, as the rules do it. */
struct made {
	const struct kveil_action *action;
	_Alignas(16) uint8_t params[256];
	struct kveil_report report;
	struct kveil_key *key, *key2;
};

static bool make(struct made *m, const char *fragment)
{
	*m = (struct made){0};
	struct kveil_yaml *y = kveil_yaml_parse(kveil_span_str(fragment), "f", &m->report);
	if (!y)
		kveil_report_print(&m->report, stderr);
	assert_non_null(y);
	assert_int_equal(y->count, 1);
	m->action = kveil_action_by_name(kveil_span_str(y->keys[0]->text));
	assert_non_null(m->action);
	assert_true(m->action->params_bytes <= sizeof m->params);
	const struct kveil_action *a = m->action;
	struct kveil_error err;
	bool ok = true;
	if (!a->scalar) {
		ok = kveil_options_parse(a->options, y->items[0], "f", NULL, m->params, &m->report);
		if (ok && a->check)
			a->check(m->params, "f", y->items[0], &m->report);
		ok = m->report.errors == 0;
		if (ok && a->prepare)
			assert_int_equal(a->prepare(m->params, &err), KVEIL_OK);
	}
	unsigned use = ok && a->key_use_for ? a->key_use_for(m->params) : a->key_use;
	for (const struct kveil_option *o = a->options; ok && o && o->name; o++) {
		if (o->type != KVEIL_OPT_KEY)
			continue;
		char *name;
		memcpy(&name, m->params + o->offset, sizeof name);
		struct kveil_key **key = m->key ? &m->key2 : &m->key;
		assert_int_equal(kveil_keyring_key(ring, kveil_span_str(name), m->key ? a->key2_use : use, key, &err),
				 KVEIL_OK);
	}
	kveil_yaml_free(y);
	return ok;
}

static void unmake(struct made *m)
{
	if (m->action->params_clear)
		m->action->params_clear(m->params);
	if (m->action->options)
		kveil_options_clear(m->action->options, m->params);
	kveil_report_clear(&m->report);
}

static enum kveil_status apply(const struct made *m, enum kveil_kind kind, struct kveil_span text, const char *ad,
			       struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct kveil_action_call call = {
	    .params = m->params, .key = m->key, .key2 = m->key2, .ad = kveil_span_str(ad), .arena = &arena};
	const struct kveil_value in = {.kind = kind, .raw = text, .text = text};

	kveil_arena_reset(&arena);
	kveil_buf_reset(out);
	return m->action->apply(&call, &in, out, ret, err);
}

static void test_rows(void **state)
{
	(void)state;
	for (size_t i = 0; kveil_actions[i]; i++) {
		const struct kveil_action *a = kveil_actions[i];
		struct made m;
		assert_ptr_equal(kveil_action_by_name(kveil_span_str(a->name)), a);
		assert_true(a->help && *a->help && a->help[strlen(a->help) - 1] != '.');
		assert_true(a->about && *a->about);
		assert_non_null(a->apply);
		assert_true(a->kinds != 0);
		assert_int_equal(strncmp(a->example, a->name, strlen(a->name)), 0);
		if (!make(&m, a->example))
			kveil_report_print(&m.report, stderr);
		assert_int_equal(m.report.count, 0);
		assert_true(a->key_use == 0 || m.key);
		unmake(&m);
		for (const struct kveil_option *o = a->options; o && o->name; o++)
			assert_true(o->help && *o->help);
	}
	assert_null(kveil_action_by_name(KVEIL_SPAN("mas")));
	assert_null(kveil_action_by_name(KVEIL_SPAN("maskx")));
}

static const struct {
	const char *rule, *in, *out;
	enum kveil_result_kind kind;
} masks[] = {
    {"mask: {keep_first: 3, keep_last: 4}", "13812345678", "138****5678", KVEIL_RESULT_ASCII},
    {"mask: {keep_first: 3, keep_last: 4}", "12345678", "123*5678", KVEIL_RESULT_ASCII},
    {"mask: {keep_first: 3, keep_last: 4}", "1234567", "*******", KVEIL_RESULT_ASCII}, /* as short as what is kept */
    {"mask: {keep_first: 3, keep_last: 4}", "12", "**", KVEIL_RESULT_ASCII},
    {"mask: {keep_first: 3, keep_last: 4}", "", "", KVEIL_RESULT_ASCII},
    {"mask: {keep_first: 1048576, keep_last: 1048576}", "abc", "***", KVEIL_RESULT_ASCII},
    {"mask: {keep_last: 1}", "ab", "*b", KVEIL_RESULT_ASCII},
    {"mask: {}", "abc", "***", KVEIL_RESULT_ASCII},
    {"mask: {char: \"#\"}", "abc", "###", KVEIL_RESULT_ASCII},
    {"mask: {keep_first: 1, char: \"●\"}", "abc", "a●●", KVEIL_RESULT_TEXT},
    {"mask: {mask_first: 2}", "abcd", "**cd", KVEIL_RESULT_ASCII},
    {"mask: {mask_last: 2}", "abcd", "ab**", KVEIL_RESULT_ASCII},
    {"mask: {mask_first: 1, mask_last: 1}", "abcd", "*bc*", KVEIL_RESULT_ASCII},
    {"mask: {mask_first: 1, mask_last: 1}", "ab", "**", KVEIL_RESULT_ASCII},
    {"mask: {mask_first: 3, mask_last: 3}", "abcd", "****", KVEIL_RESULT_ASCII},
    {"mask: {mask_last: 9}", "abcd", "****", KVEIL_RESULT_ASCII},
    {"mask: {mask_first: 0, mask_last: 1}", "ab", "a*", KVEIL_RESULT_ASCII},
    /* quotes, backslashes and controls must be escaped again */
    {"mask: {keep_first: 1}", "\"bc", "\"**", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1}", "\\bc", "\\**", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1}", "\nbc", "\n**", KVEIL_RESULT_TEXT},
    {"mask: {char: '\"'}", "ab", "\"\"", KVEIL_RESULT_TEXT},
    /* UAX #29: CR LF is one, a letter and its marks, a flag, a family, a syllable */
    {"mask: {keep_last: 1}", "a\r\nb", "**b", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1}", "\r\nab", "\r\n**", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1}",
     "e\xcc\x81"
     "ab",
     "e\xcc\x81**", KVEIL_RESULT_TEXT},
    {"mask: {keep_last: 1}", "abe\xcc\x81", "**e\xcc\x81", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1}", "🇨🇳🇩🇪🇫🇷", "🇨🇳**", KVEIL_RESULT_TEXT},
    {"mask: {keep_last: 1}", "👩‍👩‍👧👍🏽x👩‍🚀", "***👩‍🚀", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1}", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8가나", "\xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8**",
     KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1}", "欧阳娜娜", "欧***", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 1, keep_last: 1}", "张三", "**", KVEIL_RESULT_TEXT},
    {"mask: {keep_first: 2, keep_last: 2}", "a\xcc\x88o\xcc\x88u\xcc\x88s", "****", KVEIL_RESULT_TEXT},
};

static void test_mask(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	size_t bad = 0;

	for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
		struct made m;
		enum kveil_result_kind kind = KVEIL_RESULT_NULL;
		struct kveil_error err;
		assert_true(make(&m, masks[i].rule));
		assert_int_equal(apply(&m, KVEIL_KIND_STRING, kveil_span_str(masks[i].in), "", &out, &kind, &err),
				 KVEIL_OK);
		if (kind != masks[i].kind || strcmp(kveil_buf_cstr(&out), masks[i].out) != 0) {
			print_error("%s of %s: %s, wanted %s\n", masks[i].rule, masks[i].in, kveil_buf_cstr(&out),
				    masks[i].out);
			bad++;
		}
		unmake(&m);
	}
	assert_int_equal(bad, 0);
}

static void test_checks(void **state)
{
	(void)state;
	static const struct {
		const char *rule, *message;
	} mistakes[] = {
	    {"mask: {keep_first: 3, mask_last: 4}", "are opposites"},
	    {"mask: {keep_first: 0, mask_first: 1}", "are opposites"},
	    {"mask: {mask_first: 0}", "masks nothing"},
	    {"mask: {char: \"\\u200d\"}", "joins with itself"},
	    {"mask: {char: \"\\U0001F1E8\"}", "joins with itself"},
	    {"mask: {char: ab}", "exactly one character"},
	    {"mask: {keep_frist: 3}", "unknown option"},
	    {"encrypt: {}", "'key' is missing"},
	    {"encrypt: {key: k, encoding: base46}", "cannot be 'base46'"},
	    {"encrypt: {key: k, type: number}", "cannot be 'number'"},
	    {"reencrypt: {from: k}", "'to' is missing"},
	    {"hash: {key: k, truncate: 7}", "at least 8"},
	    {"hash: {key: k, truncate: 65}", "at most 64"},
	    {"replace: {}", "'with' is missing"},
	    {"replace: {with: [a]}", "must be a text"},
	    {"replace: {with: {a: 1}}", "must be a text"},
	    {"replace: {with: 007}", "not a number that JSON knows"},
	    {"replace: {with: 0x1f}", "not a number that JSON knows"},
	    {"replace: {with: .5}", "not a number that JSON knows"},
	    {"replace: {with: 1_000}", "not a number that JSON knows"},
	    {"replace: {with: +5}", "not a number that JSON knows"},
	    {"replace: {with: .nan}", "not a number that JSON knows"},
	};

	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		struct made m;
		bool ok = make(&m, mistakes[i].rule);
		if (ok || m.report.errors != 1 || !strstr(m.report.problems[0].error.message, mistakes[i].message)) {
			kveil_report_print(&m.report, stderr);
			fail_msg("%s", mistakes[i].rule);
		}
		unmake(&m);
	}
	struct made m;
	assert_true(make(&m, "reencrypt: {from: k, to: k}"));
	assert_int_equal(m.report.warnings, 1);
	unmake(&m);
}

static void test_replace(void **state)
{
	(void)state;
	static const struct {
		const char *rule, *out;
		enum kveil_result_kind kind;
	} cases[] = {
	    {"replace: {with: \"***\"}", "***", KVEIL_RESULT_ASCII},
	    {"replace: {with: 张}", "张", KVEIL_RESULT_TEXT},
	    {"replace: {with: 'a\"b'}", "a\"b", KVEIL_RESULT_TEXT},
	    {"replace: {with: \"\"}", "", KVEIL_RESULT_ASCII},
	    {"replace: {with: 0}", "0", KVEIL_RESULT_RAW},
	    {"replace: {with: -1.50e+3}", "-1.50e+3", KVEIL_RESULT_RAW},
	    {"replace: {with: true}", "true", KVEIL_RESULT_RAW},
	    {"replace: {with: \"true\"}", "true", KVEIL_RESULT_ASCII},
	    {"replace: {with: \"5\"}", "5", KVEIL_RESULT_ASCII},
	    {"replace: {with: null}", "", KVEIL_RESULT_NULL},
	    {"replace: {with: \"null\"}", "null", KVEIL_RESULT_ASCII},
	    {"replace: {with: no}", "no", KVEIL_RESULT_ASCII},
	    {"replace: {with: 2020-01-01}", "2020-01-01", KVEIL_RESULT_ASCII},
	};
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct made m;
		enum kveil_result_kind kind = KVEIL_RESULT_REMOVE;
		struct kveil_error err;
		if (!make(&m, cases[i].rule))
			kveil_report_print(&m.report, stderr);
		assert_int_equal(apply(&m, KVEIL_KIND_OBJECT, KVEIL_SPAN("{}"), "", &out, &kind, &err), KVEIL_OK);
		assert_int_equal(kind, cases[i].kind);
		assert_string_equal(kveil_buf_cstr(&out), cases[i].out);
		unmake(&m);
	}
}

static void test_remove_and_nullify(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	struct made m;
	enum kveil_result_kind kind;
	struct kveil_error err;

	assert_true(make(&m, "remove: true"));
	assert_int_equal(apply(&m, KVEIL_KIND_ARRAY, KVEIL_SPAN("[1]"), "", &out, &kind, &err), KVEIL_OK);
	assert_int_equal(kind, KVEIL_RESULT_REMOVE);
	assert_true(make(&m, "nullify: true"));
	assert_int_equal(apply(&m, KVEIL_KIND_ARRAY, KVEIL_SPAN("[1]"), "", &out, &kind, &err), KVEIL_OK);
	assert_int_equal(kind, KVEIL_RESULT_NULL);
	assert_int_equal(out.len, 0);
}

static void test_hash(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	struct made m;
	enum kveil_result_kind kind;
	struct kveil_error err;
	uint8_t mac[64], text[128];

	assert_true(make(&m, "hash: {key: pepper}"));
	size_t n = kveil_key_mac_bytes(m.key);
	assert_int_equal(n, 32);
	assert_int_equal(kveil_key_mac(m.key, KVEIL_SPAN("1.0"), mac, &err), KVEIL_OK);
	kveil_text_encode(KVEIL_HEX, mac, n, text);
	assert_int_equal(apply(&m, KVEIL_KIND_NUMBER, KVEIL_SPAN("1.0"), "", &out, &kind, &err), KVEIL_OK);
	assert_int_equal(kind, KVEIL_RESULT_ASCII);
	assert_int_equal(out.len, 64);
	assert_memory_equal(out.data, text, 64);
	unmake(&m);
	assert_true(make(&m, "hash: {key: pepper, truncate: 8, encoding: base64}"));
	kveil_text_encode(KVEIL_BASE64, mac, 8, text);
	assert_int_equal(apply(&m, KVEIL_KIND_NUMBER, KVEIL_SPAN("1.0"), "", &out, &kind, &err), KVEIL_OK);
	assert_int_equal(out.len, 12);
	assert_memory_equal(out.data, text, 12);
	unmake(&m);
	assert_true(make(&m, "hash: {key: pepper, truncate: 64}"));
	assert_int_equal(apply(&m, KVEIL_KIND_STRING, KVEIL_SPAN(""), "", &out, &kind, &err), KVEIL_OK);
	assert_int_equal(out.len, 64);
	unmake(&m);
	assert_false(m.action->kinds & KVEIL_KIND_BIT(KVEIL_KIND_BOOL));
}

static void seal_and_open(const char *encrypt, const char *decrypt, struct kveil_span text,
			  enum kveil_result_kind opened_as)
{
	KVEIL_CLEANUP_BUF struct kveil_buf sealed = KVEIL_BUF_INIT, out = KVEIL_BUF_INIT;
	struct made e, d;
	enum kveil_result_kind kind;
	struct kveil_error err;

	assert_true(make(&e, encrypt));
	assert_true(make(&d, decrypt));
	assert_int_equal(apply(&e, KVEIL_KIND_STRING, text, "orders:$['a']", &sealed, &kind, &err), KVEIL_OK);
	assert_int_equal(kind, KVEIL_RESULT_ASCII);
	for (size_t i = 0; i < sealed.len; i++)
		assert_true(sealed.data[i] > 0x20 && sealed.data[i] < 0x7f && sealed.data[i] != '"' &&
			    sealed.data[i] != '\\');
	assert_null(text.len > 3 ? memmem(sealed.data, sealed.len, text.data, text.len) : NULL);
	assert_int_equal(apply(&d, KVEIL_KIND_STRING, kveil_buf_span(&sealed), "orders:$['a']", &out, &kind, &err),
			 KVEIL_OK);
	assert_int_equal(kind, opened_as);
	assert_true(kveil_span_eq(kveil_buf_span(&out), text));
	/* elsewhere it does not open */
	assert_int_equal(apply(&d, KVEIL_KIND_STRING, kveil_buf_span(&sealed), "orders:$['b']", &out, &kind, &err),
			 KVEIL_E_AUTHENTICATION);
	/* nor altered, nor cut */
	for (size_t i = 0; i < sealed.len; i += 7) {
		uint8_t was = sealed.data[i];
		sealed.data[i] = was == 'A' ? 'b' : 'A';
		enum kveil_status s =
		    apply(&d, KVEIL_KIND_STRING, kveil_buf_span(&sealed), "orders:$['a']", &out, &kind, &err);
		assert_true(s == KVEIL_E_AUTHENTICATION || s == KVEIL_E_BAD_CIPHERTEXT || s == KVEIL_E_UNKNOWN_KEY);
		assert_int_equal(out.len, 0);
		sealed.data[i] = was;
	}
	for (size_t n = 0; n < sealed.len; n += 5)
		assert_int_not_equal(
		    apply(&d, KVEIL_KIND_STRING, kveil_span_of(sealed.data, n), "orders:$['a']", &out, &kind, &err),
		    KVEIL_OK);
	unmake(&e);
	unmake(&d);
}

static void test_seal_and_open(void **state)
{
	(void)state;
	static uint8_t large[100000];

	memset(large, 'x', sizeof large);
	seal_and_open("encrypt: {key: pii}", "decrypt: {key: pii}", KVEIL_SPAN("110101199003070011"),
		      KVEIL_RESULT_TEXT);
	seal_and_open("encrypt: {key: pii}", "decrypt: {key: pii}", KVEIL_SPAN(""), KVEIL_RESULT_TEXT);
	seal_and_open("encrypt: {key: pii, encoding: hex}", "decrypt: {key: pii, encoding: hex}", KVEIL_SPAN("张三"),
		      KVEIL_RESULT_TEXT);
	seal_and_open("encrypt: {key: pii, encoding: base64url, type: json}",
		      "decrypt: {key: pii, encoding: base64url, type: json}", KVEIL_SPAN("{\"a\": [1, 2.50]}"),
		      KVEIL_RESULT_RAW_UNCHECKED);
	seal_and_open("encrypt: {key: pii}", "decrypt: {key: pii}", kveil_span_of(large, sizeof large),
		      KVEIL_RESULT_TEXT);
}

static void test_kinds(void **state)
{
	(void)state;
	struct made m;

	assert_true(make(&m, "encrypt: {key: pii}"));
	assert_false(m.action->kinds_for(m.params) & KVEIL_KIND_BIT(KVEIL_KIND_NUMBER));
	assert_true(m.action->kinds_for(m.params) & KVEIL_KIND_BIT(KVEIL_KIND_STRING));
	unmake(&m);
	assert_true(make(&m, "encrypt: {key: pii, type: json}"));
	assert_true(m.action->kinds_for(m.params) & KVEIL_KIND_BIT(KVEIL_KIND_OBJECT));
	unmake(&m);
}

/* Whoever holds the key may seal what is not text: it must not get into a document. */
static void test_sealed_bytes_that_are_no_text(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf sealed = KVEIL_BUF_INIT, out = KVEIL_BUF_INIT;
	struct made e, d;
	enum kveil_result_kind kind;
	struct kveil_error err;

	assert_true(make(&e, "encrypt: {key: pii}"));
	assert_true(make(&d, "decrypt: {key: pii}"));
	assert_int_equal(apply(&e, KVEIL_KIND_STRING, KVEIL_SPAN("\xff\xfe"), "a", &sealed, &kind, &err), KVEIL_OK);
	assert_int_equal(apply(&d, KVEIL_KIND_STRING, kveil_buf_span(&sealed), "a", &out, &kind, &err),
			 KVEIL_E_INVALID_UTF8);
	assert_int_equal(out.len, 0);
	unmake(&e);
	unmake(&d);
}

static void test_reencrypt(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf old = KVEIL_BUF_INIT, moved = KVEIL_BUF_INIT, out = KVEIL_BUF_INIT;
	struct made e, r, d;
	enum kveil_result_kind kind;
	struct kveil_error err;

	assert_true(make(&e, "encrypt: {key: old}"));
	assert_true(make(&r, "reencrypt: {from: old, to: new}"));
	assert_true(make(&d, "decrypt: {key: new}"));
	assert_int_equal(apply(&e, KVEIL_KIND_STRING, KVEIL_SPAN("secret"), "o:$['a']", &old, &kind, &err), KVEIL_OK);
	/* written beside: opened as of the place read, sealed for the place written */
	struct kveil_action_call call = {.params = r.params,
					 .key = r.key,
					 .key2 = r.key2,
					 .ad = KVEIL_SPAN("o:$['b']"),
					 .ad_read = KVEIL_SPAN("o:$['a']"),
					 .arena = &arena};
	struct kveil_value in = {.kind = KVEIL_KIND_STRING, .raw = kveil_buf_span(&old), .text = kveil_buf_span(&old)};
	assert_int_equal(r.action->apply(&call, &in, &moved, &kind, &err), KVEIL_OK);
	assert_int_equal(kind, KVEIL_RESULT_ASCII);
	assert_int_equal(apply(&d, KVEIL_KIND_STRING, kveil_buf_span(&moved), "o:$['b']", &out, &kind, &err), KVEIL_OK);
	assert_true(kveil_span_eq(kveil_buf_span(&out), KVEIL_SPAN("secret")));
	assert_int_not_equal(apply(&d, KVEIL_KIND_STRING, kveil_buf_span(&old), "o:$['a']", &out, &kind, &err),
			     KVEIL_OK);
	unmake(&e);
	unmake(&r);
	unmake(&d);
}

/* One record through a rule file. */
static enum kveil_verdict run(const char *rules, const char *in, struct kveil_buf *out)
{
	struct kveil_report report = {0};
	struct kveil_engine *engine;
	struct kveil_error err;
	struct kveil_result result;
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(rules), "f.yaml", store, &report);

	if (!plan)
		kveil_report_print(&report, stderr);
	assert_non_null(plan);
	assert_int_equal(kveil_engine_new(plan, ring, NULL, &engine, &err), KVEIL_OK);
	const struct kveil_record record = {.value = kveil_span_str(in)};
	kveil_engine_run(engine, &record, &result);
	kveil_buf_reset(out);
	if (result.verdict == KVEIL_PRODUCE)
		kveil_buf_append_span(out, result.outputs[0].record.value);
	kveil_engine_free(engine);
	kveil_plan_unref(plan);
	kveil_report_clear(&report);
	return result.verdict;
}

#define HEAD "name: people\ntopics: [t]\nformat: json\noutput: \"{topic}.out\"\nfields:\n"

/* A migration: the new ciphertext beside the old one, each bound to where it stands. */
static void test_reencrypt_beside(void **state)
{
	(void)state;
	static const struct {
		const char *from, *to;
	} places[] = {{"$.a.id", "$.a.id2"}, {"$.list[*].id", "$.list[*].id2"}, {"$..id", "$..id2"}};
	static const char *const record = "{\"a\":{\"id\":\"one\"},\"list\":[{\"id\":\"two\"}]}";
	KVEIL_CLEANUP_BUF struct kveil_buf sealed = KVEIL_BUF_INIT, both = KVEIL_BUF_INIT, opened = KVEIL_BUF_INIT;
	char rules[512];

	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		snprintf(rules, sizeof rules, HEAD "  - {path: \"%s\", encrypt: {key: old}}\n", places[i].from);
		assert_int_equal(run(rules, record, &sealed), KVEIL_PRODUCE);
		snprintf(rules, sizeof rules,
			 HEAD "  - {path: \"%s\", to: \"%s\", keep_source: true, reencrypt: {from: old, to: new}}\n",
			 places[i].from, places[i].to);
		assert_int_equal(run(rules, kveil_buf_cstr(&sealed), &both), KVEIL_PRODUCE);
		snprintf(rules, sizeof rules,
			 HEAD "  - {path: \"%s\", decrypt: {key: old}}\n  - {path: \"%s\", decrypt: {key: new}}\n",
			 places[i].from, places[i].to);
		assert_int_equal(run(rules, kveil_buf_cstr(&both), &opened), KVEIL_PRODUCE);
		const char *member = i == 1 ? "\"id2\":\"two\"" : "\"id2\":\"one\"";
		assert_non_null(strstr(kveil_buf_cstr(&opened), member));
		assert_null(strstr(kveil_buf_cstr(&both), strchr(member, ':')));
	}
}

/* --- tokens --- */

static void token_text(const struct made *m, const char *ad, struct kveil_span in, char *ret)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	enum kveil_result_kind kind;
	struct kveil_error err;
	enum kveil_status s = apply(m, KVEIL_KIND_STRING, in, ad, &out, &kind, &err);

	if (s)
		snprintf(ret, 256, "%s", kveil_status_code(s));
	else
		snprintf(ret, 256, "%.*s", (int)out.len, (const char *)out.data);
}

static const struct {
	const char *how, *in;
	size_t first, last; /* bytes that stay */
} tokens[] = {
    {"alphabet: digits", "123456", 0, 0},
    {"alphabet: digits, keep_first: 6, keep_last: 4", "6222020000000005", 6, 4},
    {"alphabet: digits, keep_first: 3, keep_last: 4", "+86138123456780001", 3, 4},
    {"alphabet: upper", "KVEIL", 0, 0},
    {"alphabet: lower, keep_last: 1", "abcdefg", 0, 1},
    {"alphabet: alphanumeric", "aB3z", 0, 0},
    {"alphabet: hex", "00ffee", 0, 0},
    {"alphabet: \"0123456789X\", keep_first: 6", "11010119900307451X", 6, 0},
    {"alphabet: \"甲乙丙丁戊己庚辛壬癸\", keep_last: 1", "甲乙丙丁戊己王", 0, 3},
    {"alphabet: \"01\"", "01010101010101010101", 0, 0},
    {"alphabet: \"aé😀\"", "aé😀aé😀aé😀aé😀aé😀", 0, 0},
};

static void test_tokens_keep_the_form(void **state)
{
	(void)state;
	char rule[200], token[256], again[256], back[256];

	for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++) {
		const char *in = tokens[i].in;
		static const char *const pairs[][2] = {{"tokenize", "detokenize"}, {"encrypt", "decrypt"}};
		for (size_t p = 0; p < 2; p++) {
			struct made seal, open;
			snprintf(rule, sizeof rule, "%s: {key: cards, %s}", pairs[p][0], tokens[i].how);
			assert_true(make(&seal, rule));
			snprintf(rule, sizeof rule, "%s: {key: cards, %s}", pairs[p][1], tokens[i].how);
			assert_true(make(&open, rule));
			token_text(&seal, "t:$['a']", kveil_span_str(in), token);
			token_text(&seal, "t:$['a']", kveil_span_str(in), again);
			token_text(&open, "t:$['a']", kveil_span_str(token), back);
			assert_string_equal(token, again);
			assert_string_equal(back, in);
			assert_string_not_equal(token, in);
			assert_memory_equal(token, in, tokens[i].first);
			size_t n = strlen(token), last = tokens[i].last;
			assert_memory_equal(token + n - last, in + strlen(in) - last, last);
			token_text(&seal, "t:$['b']", kveil_span_str(in), again);
			assert_string_not_equal(token, again);
			token_text(&open, "t:$['b']", kveil_span_str(token), back);
			assert_string_not_equal(back, in);
			unmake(&seal);
			unmake(&open);
		}
	}
}

static void test_what_is_kept_is_in_the_tweak(void **state)
{
	(void)state;
	struct made m;
	char a[256], b[256];

	assert_true(
	    make(&m, "tokenize: {key: cards, alphabet: digits, keep_first: 6, keep_last: 4, keep_chars: \" -\"}"));
	token_text(&m, "x", KVEIL_SPAN("6222020000000005"), a);
	token_text(&m, "x", KVEIL_SPAN("6222-0200 0000-0005"), b);
	assert_int_equal(strlen(b), 19);
	assert_memory_equal(b, "6222-02", 7);
	assert_memory_equal(b + 14, "-0005", 5);
	assert_int_equal(b[9], ' ');
	assert_memory_equal(b + 7, a + 6, 2);
	assert_memory_equal(b + 10, a + 8, 4); /* spaced or not, the same token */
	token_text(&m, "x", KVEIL_SPAN("6222030000000005"), b);
	assert_memory_not_equal(a + 6, b + 6, 6);
	token_text(&m, "x", KVEIL_SPAN("6222020000000006"), b);
	assert_memory_not_equal(a + 6, b + 6, 6);

	/* The tweak as preserve.h has it, byte for byte. */
	uint16_t digits[6] = {0};
	struct kveil_fpe_numerals n = {digits, 6, 10};
	static const uint8_t tweak[] = "\0\0\0\1x\0\0\0\6"
				       "622202"
				       "0005";
	struct kveil_error err;
	assert_int_equal(kveil_key_fpe(m.key, true, kveil_span_of(tweak, sizeof tweak - 1), &n, &err), KVEIL_OK);
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(a[6 + i], '0' + digits[i]);
	unmake(&m);
}

static const struct {
	const char *how, *in, *code;
} untokenable[] = {
    {"alphabet: digits", "12345", "value_out_of_domain"},
    {"alphabet: digits", "", "value_out_of_domain"},
    {"alphabet: digits, keep_first: 6, keep_last: 4", "622202000005", "value_out_of_domain"},
    {"alphabet: digits, keep_first: 6, keep_last: 4", "6222020005", "value_out_of_domain"},
    {"alphabet: digits, keep_first: 6, keep_last: 4", "1", "value_out_of_domain"},
    {"alphabet: digits, keep_first: 1048576, keep_last: 1048576", "123456789", "value_out_of_domain"},
    {"alphabet: digits", "12345678-9", "value_out_of_domain"},
    {"alphabet: digits, keep_chars: \"-\"", "12345-", "value_out_of_domain"},
    {"alphabet: hex", "ABCDEF", "value_out_of_domain"},
    {"alphabet: upper", "KVEIL王", "value_out_of_domain"},
    {"alphabet: \"01\"", "0101010101010101010", "value_out_of_domain"},
    {"alphabet: digits", "12345\xff", "invalid_utf8"},
};

static const struct {
	const char *rule, *says;
} untokenable_rules[] = {
    {"tokenize: {key: cards, alphabet: digit}", "did you mean 'digits'"},
    {"tokenize: {key: cards, alphabet: uper}", "did you mean 'upper'"},
    {"tokenize: {key: cards, alphabet: \"\"}", "fewer than two"},
    {"tokenize: {key: cards, alphabet: \"x\"}", "fewer than two"},
    {"tokenize: {key: cards, alphabet: \"0120\"}", "twice"},
    {"tokenize: {key: cards, alphabet: digits, keep_chars: \"-1\"}", "of the alphabet"},
    {"tokenize: {key: cards, keep_first: 3}", "needs an 'alphabet'"},
    {"tokenize: {key: cards, alphabet: digits, encoding: hex}", "says nothing"},
    {"encrypt: {key: cards, alphabet: digits, type: json}", "says nothing"},
    {"decrypt: {key: cards, keep_chars: \"-\"}", "needs an 'alphabet'"},
    {"tokenize: {key: cards, vault: v}", "unknown option 'vault'"},
    {"detokenize: {key: cards, style: uuid}", "unknown option 'style'"},
};

static void test_what_has_no_token(void **state)
{
	(void)state;
	char rule[200], token[256];

	for (size_t i = 0; i < sizeof untokenable / sizeof *untokenable; i++) {
		struct made m;
		snprintf(rule, sizeof rule, "tokenize: {key: cards, %s}", untokenable[i].how);
		assert_true(make(&m, rule));
		token_text(&m, "x", kveil_span_str(untokenable[i].in), token);
		assert_string_equal(token, untokenable[i].code);
		unmake(&m);
	}
	for (size_t i = 0; i < sizeof untokenable_rules / sizeof *untokenable_rules; i++) {
		struct made m;
		bool found = false;
		assert_false(make(&m, untokenable_rules[i].rule));
		for (size_t k = 0; k < m.report.count; k++)
			found |= strstr(m.report.problems[k].error.message, untokenable_rules[i].says) ||
				 strstr(m.report.problems[k].error.hint, untokenable_rules[i].says);
		if (!found) {
			kveil_report_print(&m.report, stderr);
			fail_msg("%s: nobody says '%s'", untokenable_rules[i].rule, untokenable_rules[i].says);
		}
		unmake(&m);
	}
}

static void test_tokens_without_an_alphabet(void **state)
{
	(void)state;
	struct made seal, open;
	char token[256], again[256], back[256];
	struct kveil_key *key;
	struct kveil_error err;

	assert_true(make(&seal, "tokenize: {key: members, encoding: base64url}"));
	assert_true(make(&open, "detokenize: {key: members, encoding: base64url}"));
	token_text(&seal, "x", KVEIL_SPAN("王小明"), token);
	token_text(&seal, "x", KVEIL_SPAN("王小明"), again);
	assert_string_equal(token, again);
	token_text(&open, "x", kveil_span_str(token), back);
	assert_string_equal(back, "王小明");
	token_text(&open, "y", kveil_span_str(token), back);
	assert_string_equal(back, "authentication_failed");
	unmake(&seal);
	unmake(&open);
	/* Each kind of key for its own kind of token. */
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("members"), KVEIL_USE_TOKENIZE, &key, &err),
			 KVEIL_E_CONFIG);
	assert_int_equal(
	    kveil_keyring_key(ring, KVEIL_SPAN("cards"), KVEIL_USE_SEAL | KVEIL_USE_DETERMINISTIC, &key, &err),
	    KVEIL_E_CONFIG);
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("cards"), KVEIL_USE_SEAL, &key, &err), KVEIL_E_CONFIG);
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("random"), KVEIL_USE_SEAL, &key, &err), KVEIL_OK);
	assert_int_equal(
	    kveil_keyring_key(ring, KVEIL_SPAN("random"), KVEIL_USE_SEAL | KVEIL_USE_DETERMINISTIC, &key, &err),
	    KVEIL_E_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_mask),
	    cmocka_unit_test(test_checks),
	    cmocka_unit_test(test_replace),
	    cmocka_unit_test(test_remove_and_nullify),
	    cmocka_unit_test(test_hash),
	    cmocka_unit_test(test_seal_and_open),
	    cmocka_unit_test(test_kinds),
	    cmocka_unit_test(test_sealed_bytes_that_are_no_text),
	    cmocka_unit_test(test_reencrypt),
	    cmocka_unit_test(test_reencrypt_beside),
	    cmocka_unit_test(test_tokens_keep_the_form),
	    cmocka_unit_test(test_what_is_kept_is_in_the_tweak),
	    cmocka_unit_test(test_what_has_no_token),
	    cmocka_unit_test(test_tokens_without_an_alphabet),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

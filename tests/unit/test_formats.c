/* SPDX-License-Identifier: Apache-2.0 */
/* Values that are not a JSON document: one text, bytes, and documents a line. */
#include "event_rig.h"
#include "rules/invert.h"

#define TEXT  HEAD "format: text\n"
#define BYTES HEAD "format: bytes\n"
#define LINES HEAD "format: jsonl\n"

static void a_text_is_one_value(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, TEXT "fields:\n  - {path: $, when: \"$ != 'OK' && @ != 'NO'\", mask: {keep_first: 1}}\n");
	becomes(&r, "13812345678", "1**********");
	becomes(&r, "{\"a\":\"张\"}\n", "{*********");
	becomes(&r, "OK", "OK");
	becomes(&r, "NO", "NO");
	becomes(&r, "", "");
	fails(&r, NULL, "a\xff", KVEIL_E_INVALID_UTF8);
	assert_int_equal(run(&r, NULL, NULL), KVEIL_OK);
	assert_string_equal(r.value, "null");
	rig_clear(&r);
	/* Valid or not is asked without a rule too. */
	rig_init(&r, TEXT "fields:\n  - {path: \"key:$\", when: \"$ == 'x'\", mask: {}}\n");
	assert_int_equal(run(&r, "k", "x"), KVEIL_OK);
	assert_string_equal(r.key, "*");
	assert_int_equal(run(&r, "k", "y"), KVEIL_OK);
	assert_string_equal(r.key, "k");
	fails(&r, "k", "\xc0", KVEIL_E_INVALID_UTF8);
	rig_clear(&r);
}

static void what_is_sealed_opens(void **state)
{
	(void)state;
	static const char *const rules[] = {
	    TEXT "fields:\n  - {path: $, encrypt: {key: k}}\n",
	    TEXT "fields:\n  - {path: $, encrypt: {key: k, type: json}}\n",
	    BYTES "fields:\n  - {path: $, encrypt: {key: k}}\n",
	    LINES "fields:\n  - {path: $.a, encrypt: {key: k}}\n",
	};
	static const char *const values[] = {"some \"text\" 张", "[1, 2]", "\x01\xff bytes",
					     "{\"a\":\"x\"}\n{\"a\":\"y\"}\n"};
	char sealed[1024];
	struct rig r;

	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
		rig_init(&r, rules[i]);
		assert_int_equal(run(&r, NULL, values[i]), KVEIL_OK);
		struct kveil_span out = r.result.outputs[0].record.value;
		assert_null(memmem(out.data, out.len, values[i], strlen(values[i])));
		assert_true(out.len < sizeof sealed);
		memcpy(sealed, out.data, out.len);
		struct kveil_record record = {.value = {(const uint8_t *)sealed, out.len}};
		assert_int_equal(kveil_plan_write_inverse(r.plan, 0, &text), 1);
		bind_plan(&r, load(kveil_buf_cstr(&text)));
		kveil_engine_run(r.engine, &record, &r.result);
		assert_int_equal(r.result.verdict, KVEIL_PRODUCE);
		show(r.result.outputs[0].record.value, r.value, sizeof r.value);
		assert_string_equal(r.value, values[i]);
		rig_clear(&r);
	}
}

/* Bytes stay bytes: what seals writes Tink's message and not its base64; what writes text writes that. */
static void bytes_are_taken_as_they_are(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, BYTES "fields:\n  - {path: $, encrypt: {key: k}}\n");
	assert_int_equal(run(&r, NULL, "\xff\x01"), KVEIL_OK);
	assert_int_equal(r.result.outputs[0].record.value.data[0], 1);
	assert_int_equal(r.result.outputs[0].record.value.len, 1 + 4 + 12 + 2 + 16);
	rig_clear(&r);
	rig_init(&r, BYTES "fields:\n  - {path: $, hash: {key: k}}\n");
	assert_int_equal(run(&r, NULL, "\xff\x01"), KVEIL_OK);
	assert_int_equal(strspn(r.value, "0123456789abcdef"), 64);
	rig_clear(&r);
	/* Of bytes a condition knows nothing, and doubt protects. */
	rig_init(&r, BYTES "fields:\n  - {path: $, replace: {with: gone}}\n");
	becomes(&r, "\xff", "gone");
	rig_clear(&r);
}

static void each_line_is_a_document(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, LINES "fields:\n  - {path: $.a, when: \"$.b == 1\", nullify: true}\n  - {path: $.c, mask: {}}\n");
	becomes(&r, "{\"a\":1,\"b\":1}\n{\"a\":1,\"b\":2}\r\n\n \n{ \"c\" : \"xy\" }",
		"{\"a\":null,\"b\":1}\n{\"a\":1,\"b\":2}\r\n\n \n{ \"c\" : \"**\" }");
	becomes(&r, "{\"c\":\"x\"}\n", "{\"c\":\"*\"}\n");
	becomes(&r, "{\"d\":\"x\"}", "{\"d\":\"x\"}");
	becomes(&r, "", "");
	fails(&r, NULL, "{\"c\":\"x\"}\n{\"c\":", KVEIL_E_INVALID_JSON);
	assert_int_equal(r.result.error.byte, 15);
	fails(&r, NULL, "{\"c\":\"x\"}\n{\"c\":[1]}\n", KVEIL_E_UNSUPPORTED_KIND);
	assert_int_equal(r.result.error.byte, 15);
	fails(&r, NULL, "{\"c\":\n\"x\"}", KVEIL_E_INVALID_JSON);
	assert_int_equal(run(&r, NULL, NULL), KVEIL_OK);
	assert_string_equal(r.value, "null");
	rig_clear(&r);
	/* No line tells a key what its condition asks. */
	rig_init(&r, LINES "fields:\n  - {path: \"key:$\", when: \"$.b == 1\", mask: {}}\n");
	assert_int_equal(run(&r, "k", "{\"b\":2}\n{\"b\":2}\n"), KVEIL_OK);
	assert_string_equal(r.key, "*");
	rig_clear(&r);
	rig_init(&r, LINES "unmatched: remove\nfields:\n  - {path: $.a, nullify: true}\n");
	becomes(&r, "{\"a\":1,\"z\":1}\n{\"z\":2}\n", "{\"a\":null}\n{}\n");
	rig_clear(&r);
}

static void views_have_lines_of_their_own(void **state)
{
	(void)state;
	char text[64];
	struct rig r;

	rig_init(&r, "name: t\ntopics: [in]\nformat: jsonl\noutputs:\n"
		     "  - {name: a, topic: out.a, fields: [{path: $.a, nullify: true}]}\n"
		     "  - {name: b, topic: out.b, fields: [{path: $.a, replace: {with: b}}]}\n");
	becomes(&r, "{\"a\":1}\n{\"a\":2}", "{\"a\":null}\n{\"a\":null}");
	show(r.result.outputs[1].record.value, text, sizeof text);
	assert_string_equal(text, "{\"a\":\"b\"}\n{\"a\":\"b\"}");
	rig_clear(&r);
}

static void check_says_what_a_format_cannot(void **state)
{
	(void)state;
	static const struct {
		const char *yaml, *why;
	} wrong[] = {
	    {TEXT "fields: [{path: $.a, mask: {}}]\n", "a path into the value"},
	    {TEXT "fields: [{path: [$, $.a], mask: {}}]\n", "a path into the value"},
	    {TEXT "fields: [{path: $, nullify: true}]\n", "becomes a tombstone"},
	    {TEXT "fields: [{path: $, remove: true}]\n", "becomes a tombstone"},
	    {TEXT "unmatched: remove\nfields: [{path: $, mask: {}}]\n", "`unmatched`"},
	    {TEXT "envelope: debezium\nfields: [{path: $.a, mask: {}}]\n", "`envelope`"},
	    {BYTES "fields: [{path: $, mask: {}}]\n", "does not take bytes"},
	    {BYTES "fields: [{path: $, when: \"$ == 'x'\", encrypt: {key: k}}]\n", "a condition"},
	    {BYTES "fields: [{path: \"key:$\", when: \"$ == 'x'\", encrypt: {key: k}}]\n", "a condition"},
	    {LINES "envelope: canal\nfields: [{path: $.a, mask: {}}]\n", "`envelope`"},
	    {LINES "fields: [{path: $.a, required: true, mask: {}}]\n", "`required`"},
	};

	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
		says(wrong[i].yaml, false, wrong[i].why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_text_is_one_value),           cmocka_unit_test(what_is_sealed_opens),
	    cmocka_unit_test(bytes_are_taken_as_they_are),   cmocka_unit_test(each_line_is_a_document),
	    cmocka_unit_test(views_have_lines_of_their_own), cmocka_unit_test(check_says_what_a_format_cannot),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

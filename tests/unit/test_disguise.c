/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/disguise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const cases[][2] = {
    {"{\"id\": 42, \"seat\": \"B-7\", n: 1.5e9}", "{\"id\": 00, \"seat\": \"X-0\", x: 0.0x0}"},
    {"{\"id\": 42, \"phone\":\"138-0013 8000\"}", "{\"id\": 00, \"phone\":\"000-0000 0000\"}"},
    {"{\"a\" : null, \"b\":[null,-1.5e9], \"c\":nullable}", "{\"a\" : null, \"b\":[null,-0.0x0], \"c\":xxxxxxxx}"},
    /* Behind a mistake a quote may begin a name or end a value. */
    {"{\"a\":\"Robert \"Bob\": Smith\",\"b\":1}", "{\"a\":\"Xxxxxx \"Xxx\": Xxxxx\",\"x\":0}"},
    {"{\"a\":\"Robert, \"Bob\": 1", "{\"a\":\"Xxxxxx, \"Xxx\": 0"},
    {"{\"a\":\"Lina\":\"phone\":1}", "{\"a\":\"Xxxx\":\"xxxxx\":0}"},
    {"{\"a\":1} {\"Lina\":1}", "{\"a\":0} {\"Xxxx\":0}"},
    {"[\"Lina\":1]", "[\"Xxxx\":0]"},
    {"Lina \"Lina\": {\"Lina\": 1}", "Xxxx \"Xxxx\": {\"Xxxx\": 0}"},
    {"{\"a\":{\"b\":[{\"c\":\"x\\\"y\"},true]}}", "{\"a\":{\"b\":[{\"c\":\"x\\\"x\"},xxxx]}}"},
    /* A name that begins with a digit or is long may be a value. */
    {"{\"13800138000\":1}", "{\"00000000000\":0}"},
    {"{\"Li Na\":1}", "{\"Xx Xx\":0}"},
    {"{\"aaaaaaaaaabbbbbbbbbbccccccccccddddddddddX\":1}", "{\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxX\":0}"},
    {"{\"name\":\"value\",\"broken\"", "{\"name\":\"xxxxx\",\"xxxxxx\""},
    {"\"", "\""},
    {"\xe6\x9d\x8e \xff\xe6\x9d", "x xxx"},
    {"a\001\tb", "x.\tx"},
    {"\"", "\""},
    {"", ""},
};

static void values_go_and_the_shape_stays(void **state)
{
	struct kveil_buf out = KVEIL_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		kveil_buf_reset(&out);
		kveil_disguise(kveil_span_str(cases[i][0]), &out);
		assert_string_equal(kveil_buf_cstr(&out), cases[i][1]);
	}
	kveil_buf_clear(&out);
}

/* Bytes at random, copied into a block of their very size, so that reading past them is seen. */
static void any_bytes(void **state)
{
	static const char some[] = "\"\"\"::{},azAZ09_\\ \xe6\x9d\x8enul\n";
	struct kveil_buf out = KVEIL_BUF_INIT;

	(void)state;
	srand(7);
	for (int n = 0; n < 20000; n++) {
		size_t len = (size_t)(rand() % 24);
		uint8_t *bytes = malloc(len + !len);
		for (size_t i = 0; i < len; i++)
			bytes[i] = (uint8_t)some[(size_t)rand() % (sizeof some - 1)];
		kveil_buf_reset(&out);
		kveil_disguise(kveil_span_of(bytes, len), &out);
		assert_true(out.len <= len);
		for (size_t i = 0; i < out.len; i++)
			assert_true(out.data[i] < 0x80);
		free(bytes);
	}
	kveil_buf_clear(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(values_go_and_the_shape_stays),
					   cmocka_unit_test(any_bytes)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

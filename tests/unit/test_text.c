/* SPDX-License-Identifier: Apache-2.0 */
#include "base/arena.h"
#include "base/buf.h"
#include "base/guid.h"
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void check_text(enum kveil_encoding e, const char *bytes, size_t n, const char *text)
{
	uint8_t encoded[256], decoded[256];
	size_t len = kveil_text_encoded_len(e, n), back;

	assert_int_equal(len, strlen(text));
	kveil_text_encode(e, (const uint8_t *)bytes, n, encoded);
	assert_memory_equal(encoded, text, len);
	assert_true(kveil_text_decode(e, encoded, len, decoded, &back));
	assert_int_equal(back, n);
	assert_true(back <= kveil_text_decoded_max(e, len));
	assert_memory_equal(decoded, bytes, n);
}

/* RFC 4648 section 10. */
static void rfc4648(void **state)
{
	(void)state;
	static const char *const words[] = {"", "f", "fo", "foo", "foob", "fooba", "foobar"};
	static const char *const padded[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
	static const char *const unpadded[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};

	for (size_t i = 0; i < 7; i++) {
		check_text(KVEIL_BASE64, words[i], strlen(words[i]), padded[i]);
		check_text(KVEIL_BASE64URL, words[i], strlen(words[i]), unpadded[i]);
	}
	check_text(KVEIL_HEX, "foobar", 6, "666f6f626172");
	check_text(KVEIL_BASE64, "\xfb\xff\xbf", 3, "+/+/");
	check_text(KVEIL_BASE64URL, "\xfb\xff\xbf", 3, "-_-_");
}

/* The vectorised path against three bytes at a time, which never take it. */
static void long_base64_equals_short(void **state)
{
	(void)state;
	for (size_t n = 0; n < 400; n++) {
		uint8_t *bytes = malloc(n + 1), *text = malloc(kveil_text_encoded_len(KVEIL_BASE64, n) + 1);
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(rand() >> 3);
		for (int e = KVEIL_BASE64; e <= KVEIL_BASE64URL; e++) {
			size_t len = kveil_text_encoded_len((enum kveil_encoding)e, n);
			uint8_t *exact = malloc(len ? len : 1), *back = malloc(n + 3);
			size_t back_len;
			kveil_text_encode((enum kveil_encoding)e, bytes, n, exact);
			for (size_t i = 0; i < n; i += 3) {
				size_t part = n - i < 3 ? n - i : 3;
				kveil_text_encode((enum kveil_encoding)e, bytes + i, part, text + i / 3 * 4);
			}
			assert_memory_equal(exact, text, len);
			assert_true(kveil_text_decode((enum kveil_encoding)e, exact, len, back, &back_len));
			assert_int_equal(back_len, n);
			assert_memory_equal(back, bytes, n);
			free(exact);
			free(back);
		}
		free(bytes);
		free(text);
	}
}

static void decoders_are_strict(void **state)
{
	(void)state;
	static const struct {
		enum kveil_encoding e;
		const char *text;
	} bad[] = {
	    {KVEIL_BASE64, "Zg"},       {KVEIL_BASE64, "Zg="},
	    {KVEIL_BASE64, "Zh=="},     {KVEIL_BASE64, "Zm9="},
	    {KVEIL_BASE64, "Zg==Zg=="}, {KVEIL_BASE64, "===="},
	    {KVEIL_BASE64, "Z==="},     {KVEIL_BASE64, "=Zg="},
	    {KVEIL_BASE64, "Zm9v\n"},   {KVEIL_BASE64, "Zm 9"},
	    {KVEIL_BASE64, "-_-_"},     {KVEIL_BASE64, "Zm9vZ"},
	    {KVEIL_BASE64, "A"},        {KVEIL_BASE64, "="},
	    {KVEIL_BASE64, "Zg=A"},     {KVEIL_BASE64, "\xc3\xa9YY"},
	    {KVEIL_BASE64URL, "Zg=="},  {KVEIL_BASE64URL, "+/+/"},
	    {KVEIL_BASE64URL, "Zh"},    {KVEIL_BASE64URL, "Zm9vY"},
	    {KVEIL_BASE64URL, "Zm9"},   {KVEIL_HEX, "0"},
	    {KVEIL_HEX, "0g"},          {KVEIL_HEX, "FF"},
	    {KVEIL_HEX, "0x"},          {KVEIL_HEX, " 0"},
	    {KVEIL_BASE64, "Zm9v===="},
	};
	uint8_t out[64];
	size_t n;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		n = 99;
		if (kveil_text_decode(bad[i].e, (const uint8_t *)bad[i].text, strlen(bad[i].text), out, &n))
			fail_msg("'%s' was taken", bad[i].text);
		assert_int_equal(n, 0);
	}
}

/* Every text of four characters has either no value or one value that is spelt like it. */
static void one_value_one_spelling(void **state)
{
	(void)state;
	static const char chars[] = "AQgwZz+/=-_ ";
	const size_t m = sizeof chars - 1;
	size_t taken = 0;

	for (size_t i = 0; i < m * m * m * m; i++) {
		uint8_t text[4] = {(uint8_t)chars[i % m], (uint8_t)chars[i / m % m], (uint8_t)chars[i / m / m % m],
				   (uint8_t)chars[i / m / m / m]};
		uint8_t out[8], again[8];
		size_t n;
		if (!kveil_text_decode(KVEIL_BASE64, text, 4, out, &n))
			continue;
		taken++;
		assert_int_equal(kveil_text_encoded_len(KVEIL_BASE64, n), 4);
		kveil_text_encode(KVEIL_BASE64, out, n, again);
		assert_memory_equal(again, text, 4);
	}
	assert_true(taken > 1000);
}

static size_t valid(const char *s, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);

	memcpy(copy, s, n);
	size_t prefix = kveil_utf8_valid_prefix(copy, n);
	free(copy);
	return prefix;
}

static void utf8(void **state)
{
	(void)state;
	static const char *const good[] = {"",
					   "plain ascii, longer than a word",
					   "\xc2\x80",
					   "\xdf\xbf",
					   "\xe0\xa0\x80",
					   "\xed\x9f\xbf",
					   "\xee\x80\x80",
					   "\xef\xbf\xbf",
					   "\xf0\x90\x80\x80",
					   "\xf4\x8f\xbf\xbf",
					   "身份证 12345678 é"};
	static const char *const bad[] = {"\x80",
					  "\xbf",
					  "\xc0\x80",
					  "\xc1\xbf",
					  "\xc2",
					  "\xc2\x7f",
					  "\xe0\x9f\xbf",
					  "\xed\xa0\x80",
					  "\xed\xbf\xbf",
					  "\xe2\x82",
					  "\xf0\x8f\xbf\xbf",
					  "\xf4\x90\x80\x80",
					  "\xf5\x80\x80\x80",
					  "\xff",
					  "\xfe",
					  "\xf0\x9f\x98",
					  "\xe2\x28\xa1",
					  "\xf0\x9f\x28\x80"};

	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		assert_int_equal(valid(good[i], strlen(good[i])), strlen(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char s[64];
		assert_int_equal(valid(bad[i], strlen(bad[i])), 0);
		int n = snprintf(s, sizeof s, "12345678ab%s12345678", bad[i]);
		assert_int_equal(valid(s, (size_t)n), 10);
	}
	assert_int_equal(valid("a\0b", 3), 3);
}

static void one_line(void **state)
{
	char line[13];

	(void)state;
	assert_string_equal(kveil_text_line("", line, sizeof line), "");
	assert_string_equal(kveil_text_line("a\nb\x1b[31m\x7f", line, sizeof line), "a b [31m ");
	assert_string_equal(kveil_text_line("a\xc2\x9b"
					    "31m \xc2\xa0\xc3\xa4",
					    line, sizeof line),
			    "a 31m \xc2\xa0\xc3\xa4");
	assert_string_equal(kveil_text_line("12345678901\xc3\xa4", line, sizeof line), "12345678901");
	assert_string_equal(kveil_text_line("1234567890\xf0\x9f\x98\x80", line, sizeof line), "1234567890");
	assert_string_equal(kveil_text_line("1234567890\xc3\xa4", line, sizeof line), "1234567890\xc3\xa4");
}

static void nearest(void **state)
{
	(void)state;
	static const char *const words[] = {"keep_first", "keep_last", "mask_first", "char", "to", "key", NULL};

	assert_string_equal(kveil_text_nearest("keepfirst", words), "keep_first");
	assert_string_equal(kveil_text_nearest("keep_frist", words), "keep_first");
	assert_string_equal(kveil_text_nearest("keep_las", words), "keep_last");
	assert_string_equal(kveil_text_nearest("chra", words), "char");
	assert_string_equal(kveil_text_nearest("kee", words), "key");
	assert_string_equal(kveil_text_nearest("char", words), "char");
	assert_null(kveil_text_nearest("bucket", words));
	assert_null(kveil_text_nearest("ot", words));
	assert_null(kveil_text_nearest("", words));
	char longest[200];
	memset(longest, 'a', sizeof longest - 1);
	longest[sizeof longest - 1] = 0;
	assert_null(kveil_text_nearest(longest, words));
}

/* No room is not a failure, and nothing written is empty, not absent. */
static void nothing_is_not_failure(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;
	struct kveil_allowance none = {0};
	struct kveil_arena a;

	assert_non_null(kveil_buf_span(&b).data);
	assert_non_null(kveil_buf_reserve(&b, 0));
	assert_true(kveil_buf_ok(&b));
	kveil_buf_append(&b, NULL, 0);
	assert_int_equal(kveil_buf_span(&b).len, 0);
	kveil_buf_clear(&b);
	b.allowance = &none;
	assert_non_null(kveil_buf_reserve(&b, 0));
	assert_false(none.was_refused);
	assert_null(kveil_buf_reserve(&b, 1));
	assert_null(kveil_buf_reserve(&b, 0)); /* a failure stays one */
	kveil_arena_init(&a, 0);
	assert_non_null(kveil_arena_alloc(&a, 0));
	assert_non_null(kveil_arena_array(&a, 0, 8));
	kveil_arena_clear(&a);
}

static void guids_are_read_as_they_are_written(void **state)
{
	(void)state;
	const char *written = "0a1b2c3d-00ff-4000-8000-00000000000e";
	static const char *const bad[] = {"",
					  "0a1b2c3d",
					  "0a1b2c3d00ff4000800000000000000e",
					  "0a1b2c3d-00ff-4000-8000-00000000000",
					  "0a1b2c3d-00ff-4000-8000-00000000000e0",
					  "0a1b2c3d-00ff-4000-80000-0000000000e",
					  "0a1b2c3d-00ff-4000-8000-0000000000xe",
					  "-0a1b2c3d-00ff-4000-8000-0000000000e"};
	uint8_t guid[KVEIL_GUID_BYTES];
	char text[KVEIL_GUID_TEXT];

	assert_true(kveil_guid_read(written, guid));
	kveil_guid_write(guid, text);
	assert_string_equal(text, written);
	assert_true(kveil_guid_read("0A1B2C3D-00FF-4000-8000-00000000000E", guid));
	kveil_guid_write(guid, text);
	assert_string_equal(text, written);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(kveil_guid_read(bad[i], guid));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(guids_are_read_as_they_are_written),
	    cmocka_unit_test(rfc4648),
	    cmocka_unit_test(long_base64_equals_short),
	    cmocka_unit_test(decoders_are_strict),
	    cmocka_unit_test(one_value_one_spelling),
	    cmocka_unit_test(utf8),
	    cmocka_unit_test(one_line),
	    cmocka_unit_test(nearest),
	    cmocka_unit_test(nothing_is_not_failure),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

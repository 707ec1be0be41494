/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/dead_letter.h"

#include "crypto/crypto.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct kveil_keystore *store;
static struct kveil_keyring *ring;
static struct kveil_key *key;

static int setup(void **state)
{
	struct kveil_error err;

	(void)state;
	assert_int_equal(kveil_crypto_init(&err), KVEIL_OK);
	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("dead letters"), &store, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(store, &ring, &err), KVEIL_OK);
	assert_int_equal(
	    kveil_keyring_key(ring, KVEIL_SPAN("dead-letters"), KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, &err), KVEIL_OK);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	kveil_keyring_free(ring);
	kveil_keystore_unref(store);
	return 0;
}

static const struct kveil_header some_headers[] = {
    {{(const uint8_t *)"a", 1}, {(const uint8_t *)"1", 1}},
    {{(const uint8_t *)"b", 1}, {NULL, 0}},
    {{(const uint8_t *)"a", 1}, {(const uint8_t *)"", 0}},
};

static struct kveil_error failure(void)
{
	struct kveil_error err;

	kveil_fail_at(&err, KVEIL_E_INVALID_JSON, 17, "no value");
	kveil_error_rule(&err, "orders/$.a,3:b");
	return err;
}

static void same_span(struct kveil_span a, struct kveil_span b)
{
	assert_int_equal(a.data == NULL, b.data == NULL);
	assert_true(kveil_span_eq(a, b));
}

static void round_trip(const struct kveil_record *record, enum kveil_dead_letter_part part)
{
	struct kveil_dead_letter_where where;
	struct kveil_dead_letter letter = {0};
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	struct kveil_error why = failure(), err;

	kveil_dead_letter_describe(&where, "etl.orders", 3, INT64_C(1) << 40, &why);
	assert_int_equal(where.count, KVEIL_DEAD_LETTER_HEADERS);
	assert_int_equal(kveil_dead_letter_seal(key, &where, record, 1700000000123, part, &out, &err), KVEIL_OK);
	assert_true(kveil_dead_letter_bytes(record, part) <= out.len);
	assert_true(kveil_dead_letter_bytes(record, part) + 64 > out.len);
	assert_int_equal(kveil_dead_letter_open(key, where.headers, where.count, kveil_buf_span(&out), &letter, &err),
			 KVEIL_OK);
	assert_string_equal(letter.topic, "etl.orders");
	assert_string_equal(letter.code, "invalid_json");
	assert_int_equal(letter.partition, 3);
	assert_int_equal(letter.offset, INT64_C(1) << 40);
	assert_int_equal(letter.timestamp_ms, 1700000000123);
	assert_int_equal(letter.part, part);
	same_span(letter.record.key, part == KVEIL_LETTER_NO_RECORD ? KVEIL_SPAN_NULL : record->key);
	same_span(letter.record.value, part == KVEIL_LETTER_WHOLE ? record->value : KVEIL_SPAN_NULL);
	assert_int_equal(letter.record.header_count, part == KVEIL_LETTER_NO_RECORD ? 0 : record->header_count);
	for (size_t i = 0; i < letter.record.header_count; i++) {
		same_span(letter.record.headers[i].name, record->headers[i].name);
		same_span(letter.record.headers[i].value, record->headers[i].value);
	}
	kveil_dead_letter_clear(&letter);
}

static void keeps_the_record_whole(void **state)
{
	(void)state;
	const struct kveil_record records[] = {
	    {KVEIL_SPAN("key"), KVEIL_SPAN("{\"clear\":1}"), some_headers, 3},
	    {KVEIL_SPAN_NULL, KVEIL_SPAN_NULL, NULL, 0},
	    {KVEIL_SPAN(""), KVEIL_SPAN(""), NULL, 0},
	};
	for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
		round_trip(&records[i], KVEIL_LETTER_WHOLE);
		round_trip(&records[i], KVEIL_LETTER_NO_VALUE);
		round_trip(&records[i], KVEIL_LETTER_NO_RECORD);
	}
}

static void shows_nothing_clear(void **state)
{
	(void)state;
	struct kveil_record record = {KVEIL_SPAN("canary-key"), KVEIL_SPAN("canary-value"), some_headers, 3};
	struct kveil_dead_letter_where where;
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	struct kveil_error why = failure(), err;

	kveil_dead_letter_describe(&where, "t", 0, 0, &why);
	assert_int_equal(kveil_dead_letter_seal(key, &where, &record, 1, KVEIL_LETTER_WHOLE, &out, &err), KVEIL_OK);
	assert_null(memmem(out.data, out.len, "canary", 6));
	for (size_t i = 0; i < where.count; i++)
		assert_null(memmem(where.headers[i].value.data, where.headers[i].value.len, "canary", 6));
}

/* Each header is bound: a letter that was relabelled does not open, however the bytes are shifted. */
static void opens_only_under_its_own_headers(void **state)
{
	(void)state;
	struct kveil_record record = {KVEIL_SPAN("k"), KVEIL_SPAN("v"), NULL, 0};
	struct kveil_dead_letter_where where;
	struct kveil_dead_letter letter = {0};
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	struct kveil_error why = failure(), err;
	struct kveil_header h[KVEIL_DEAD_LETTER_HEADERS + 1];

	kveil_dead_letter_describe(&where, "topic", 12, 345, &why);
	assert_int_equal(kveil_dead_letter_seal(key, &where, &record, 1, KVEIL_LETTER_WHOLE, &out, &err), KVEIL_OK);
	struct kveil_span sealed = kveil_buf_span(&out);
	static const struct kveil_span other[] = {KVEIL_SPAN("topic2"),     KVEIL_SPAN("1"),        KVEIL_SPAN("3451"),
						  KVEIL_SPAN("orders/$.a"), KVEIL_SPAN("too_deep"), KVEIL_SPAN("18")};
	for (size_t i = 0; i < where.count; i++) {
		memcpy(h, where.headers, sizeof where.headers);
		h[i].value = other[i];
		assert_int_equal(kveil_dead_letter_open(key, h, where.count, sealed, &letter, &err),
				 KVEIL_E_AUTHENTICATION);
	}
	assert_int_equal(kveil_dead_letter_open(key, where.headers, where.count - 1, sealed, &letter, &err),
			 KVEIL_E_AUTHENTICATION);
	assert_int_equal(kveil_dead_letter_open(key, NULL, 0, sealed, &letter, &err), KVEIL_E_BAD_CIPHERTEXT);
	/* A header that somebody added beside ours changes nothing. */
	memcpy(h, where.headers, sizeof where.headers);
	h[where.count] = some_headers[0];
	assert_int_equal(kveil_dead_letter_open(key, h, where.count + 1, sealed, &letter, &err), KVEIL_OK);
	for (size_t i = 0; i < out.len; i++) {
		out.data[i] ^= 0x40;
		assert_int_not_equal(kveil_dead_letter_open(key, where.headers, where.count, sealed, &letter, &err),
				     KVEIL_OK);
		out.data[i] ^= 0x40;
	}
	kveil_dead_letter_clear(&letter);
}

static void refuses_what_is_not_an_envelope(void **state)
{
	(void)state;
	static const uint8_t good[] = {1,    0,    0,    0, 0, 0, 0, 0, 0, 5, 0, 0,   0, 1, 'k', 0xff,
				       0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 1, 'h', 0, 0, 0,   0};
	struct kveil_dead_letter letter = {0};
	struct kveil_error err;

	assert_int_equal(kveil_dead_letter_parse(kveil_span_of(good, sizeof good), &letter, &err), KVEIL_OK);
	assert_int_equal(letter.timestamp_ms, 5);
	assert_null(letter.record.value.data);
	assert_int_equal(letter.record.header_count, 1);
	for (size_t n = 0; n < sizeof good; n++)
		assert_int_equal(kveil_dead_letter_parse(kveil_span_of(good, n), &letter, &err),
				 KVEIL_E_BAD_CIPHERTEXT);
	uint8_t bad[sizeof good + 1];
	memcpy(bad, good, sizeof good);
	bad[sizeof good] = 0;
	assert_int_equal(kveil_dead_letter_parse(kveil_span_of(bad, sizeof bad), &letter, &err),
			 KVEIL_E_BAD_CIPHERTEXT);
	for (size_t at = 0; at < 2; at++) {
		memcpy(bad, good, sizeof good);
		bad[at] = 2;
		assert_int_equal(kveil_dead_letter_parse(kveil_span_of(bad, sizeof good), &letter, &err),
				 KVEIL_E_BAD_CIPHERTEXT);
	}
	memcpy(bad, good, sizeof good);
	bad[19] = 0xff; /* a count of headers that cannot be */
	assert_int_equal(kveil_dead_letter_parse(kveil_span_of(bad, sizeof good), &letter, &err),
			 KVEIL_E_BAD_CIPHERTEXT);
	kveil_dead_letter_clear(&letter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(keeps_the_record_whole),
	    cmocka_unit_test(shows_nothing_clear),
	    cmocka_unit_test(opens_only_under_its_own_headers),
	    cmocka_unit_test(refuses_what_is_not_an_envelope),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

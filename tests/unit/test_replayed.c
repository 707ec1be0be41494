/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay remembers, in a run and from run to run. */
#include "worker/replayed.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t id_of(int64_t offset)
{
	struct kveil_error err;
	uint64_t id;

	assert_int_equal(kveil_replayed_id("etl.orders", 3, offset, 1700000000000, &id, &err), KVEIL_OK);
	return id;
}

static void ids_tell_records_apart(void **state)
{
	(void)state;
	struct kveil_error err;
	uint64_t a, b;

	assert_int_equal(kveil_replayed_id("t", 1, 2, 3, &a, &err), KVEIL_OK);
	assert_int_equal(kveil_replayed_id("t", 1, 2, 3, &b, &err), KVEIL_OK);
	assert_true(a == b);
	assert_int_equal(kveil_replayed_id("u", 1, 2, 3, &b, &err), KVEIL_OK);
	assert_true(a != b);
	assert_int_equal(kveil_replayed_id("t", 12, 3, 3, &b, &err), KVEIL_OK);
	assert_true(a != b);
	assert_int_equal(kveil_replayed_id("t", 1, 3, 3, &b, &err), KVEIL_OK);
	assert_true(a != b);
	/* A topic made anew has the same offsets, at other times. */
	assert_int_equal(kveil_replayed_id("t", 1, 2, 4, &b, &err), KVEIL_OK);
	assert_true(a != b);
}

static void a_run_remembers_all(void **state)
{
	(void)state;
	struct kveil_replayed *r = kveil_replayed_new(2);

	assert_non_null(r);
	for (int64_t i = 0; i < 5000; i++) {
		assert_false(kveil_replayed_has(r, id_of(i)));
		kveil_replayed_add(r, (size_t)i % 2, id_of(i));
	}
	for (int64_t i = 0; i < 5000; i++)
		assert_true(kveil_replayed_has(r, id_of(i)));
	kveil_replayed_free(r);
}

static void the_last_ones_last(void **state)
{
	(void)state;
	enum { ALL = 1000, BROKER_BYTES = 4096 };
	struct kveil_replayed *r = kveil_replayed_new(1), *next = kveil_replayed_new(1);
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT, again = KVEIL_BUF_INIT;

	kveil_replayed_write(r, 0, KVEIL_REPLAYED_KEPT, &text);
	assert_true(kveil_span_eq(kveil_buf_span(&text), KVEIL_SPAN("r1:")));
	kveil_buf_reset(&text);
	for (int64_t i = 0; i < ALL; i++)
		kveil_replayed_add(r, 0, id_of(i));
	kveil_replayed_write(r, 0, KVEIL_REPLAYED_KEPT, &text);
	assert_true(kveil_buf_ok(&text) && text.len <= BROKER_BYTES);
	kveil_replayed_read(next, 0, kveil_buf_span(&text));
	for (int64_t i = 0; i < ALL; i++)
		assert_int_equal(kveil_replayed_has(next, id_of(i)), i >= ALL - KVEIL_REPLAYED_KEPT);
	kveil_replayed_write(next, 0, KVEIL_REPLAYED_KEPT, &again);
	assert_true(kveil_span_eq(kveil_buf_span(&text), kveil_buf_span(&again)));
	kveil_replayed_free(r);
	kveil_replayed_free(next);
}

static void foreign_text_says_nothing(void **state)
{
	(void)state;
	static const char *const texts[] = {
	    "", "r1", "r1:", "r1:A", "r1:AAAAAAAAAAA", "r2:AAAAAAAAAAE", "kveil1 attempts=2", "r1:!!!!!!!!!!!"};
	struct kveil_replayed *r = kveil_replayed_new(1);
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		kveil_replayed_read(r, 0, kveil_span_str(texts[i]));
	kveil_replayed_write(r, 0, KVEIL_REPLAYED_KEPT, &out);
	assert_true(kveil_span_eq(kveil_buf_span(&out), KVEIL_SPAN("r1:")));
	kveil_replayed_free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ids_tell_records_apart),
	    cmocka_unit_test(a_run_remembers_all),
	    cmocka_unit_test(the_last_ones_last),
	    cmocka_unit_test(foreign_text_says_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

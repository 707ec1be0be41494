/* SPDX-License-Identifier: Apache-2.0 */
/* Records that stand behind a batch: they come out as they went in, in their order, whatever their sizes. */
#include "worker/stage.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HEADERS = 3, LARGE = 200000, STEPS = 20000 };

static uint8_t noise[LARGE];

static struct kveil_span some(unsigned *seed, size_t most)
{
	size_t n = (size_t)rand_r(seed) % (most + 1);

	switch (rand_r(seed) % 8) {
	case 0:
		return KVEIL_SPAN_NULL;
	case 1:
		return kveil_span_of(noise, 0);
	default:
		return kveil_span_of(noise + (size_t)rand_r(seed) % (LARGE - n), n);
	}
}

/* The record with this number: the same again whenever it is asked for. */
static struct kveil_staged record_of(unsigned number, struct kveil_header headers[HEADERS])
{
	unsigned seed = number * 2654435761u + 1;
	size_t most = rand_r(&seed) % 100 ? 500 : LARGE - 1;
	struct kveil_staged m = {.timestamp_ms = rand_r(&seed), .token = (void *)(uintptr_t)(number + 1)};

	m.record.key = some(&seed, 40);
	m.record.value = some(&seed, most);
	m.record.headers = headers;
	m.record.header_count = (size_t)rand_r(&seed) % (HEADERS + 1);
	for (size_t i = 0; i < m.record.header_count; i++) {
		headers[i].name = kveil_span_of(noise + i, 1 + (size_t)rand_r(&seed) % 10);
		headers[i].value = some(&seed, 60);
	}
	return m;
}

static void assert_same(struct kveil_span a, struct kveil_span b)
{
	assert_int_equal(!a.data, !b.data);
	assert_int_equal(a.len, b.len);
	if (a.len)
		assert_memory_equal(a.data, b.data, a.len);
}

static void assert_first_is(const struct kveil_stage_pool *pool, const struct kveil_stage *s, unsigned number)
{
	struct kveil_header headers[HEADERS];
	struct kveil_staged wanted = record_of(number, headers), is;

	kveil_stage_first(pool, s, &is);
	assert_ptr_equal(is.token, wanted.token);
	assert_int_equal(is.timestamp_ms, wanted.timestamp_ms);
	assert_same(is.record.key, wanted.record.key);
	assert_same(is.record.value, wanted.record.value);
	assert_int_equal(is.record.header_count, wanted.record.header_count);
	for (size_t i = 0; i < wanted.record.header_count; i++) {
		assert_same(is.record.headers[i].name, wanted.record.headers[i].name);
		assert_same(is.record.headers[i].value, wanted.record.headers[i].value);
	}
}

static void they_come_out_as_they_went_in(void **state)
{
	(void)state;
	struct kveil_stage_pool pool = {0};
	struct kveil_stage stages[2] = {0};
	unsigned seed = 7, in[2] = {0}, out[2] = {0};

	for (size_t i = 0; i < LARGE; i++)
		noise[i] = (uint8_t)(i * 131 + i / 251);
	for (int step = 0; step < STEPS; step++) {
		unsigned k = (unsigned)rand_r(&seed) % 2;
		struct kveil_header headers[HEADERS];
		/* Long stretches of more in than out, and the reverse. */
		if ((unsigned)rand_r(&seed) % 10 < (step / 1000 % 2 ? 3U : 7U)) {
			struct kveil_staged m = record_of(2 * in[k]++ + k, headers);
			assert_true(kveil_stage_put(&pool, &stages[k], &m));
		} else if (stages[k].records) {
			assert_first_is(&pool, &stages[k], 2 * out[k]++ + k);
			kveil_stage_drop(&pool, &stages[k]);
		}
		assert_int_equal(stages[k].records, in[k] - out[k]);
	}
	assert_true(in[0] > 4000 && out[0] > 2000);
	kveil_stage_clear(&pool, &stages[0]);
	kveil_stage_clear(&pool, &stages[1]);
	assert_null(stages[0].first);
	assert_null(stages[1].last);
	kveil_stage_pool_clear(&pool);
}

static void what_was_dropped_is_used_again(void **state)
{
	(void)state;
	struct kveil_stage_pool pool = {0};
	struct kveil_stage s = {0};
	const struct kveil_staged m = {.record = {.value = kveil_span_of(noise, 50000)}};

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 500; i++)
			assert_true(kveil_stage_put(&pool, &s, &m));
		kveil_stage_clear(&pool, &s);
		assert_int_equal(pool.free_count, 64); /* 4 MiB; the rest went back */
	}
	kveil_stage_pool_clear(&pool);
	assert_null(pool.free);
}

/* One record of very many headers is no reason to keep as much for good. */
static void many_headers_leave_nothing_behind(void **state)
{
	(void)state;
	enum { MANY = 50000 };
	struct kveil_stage_pool pool = {0};
	struct kveil_stage s = {0};
	struct kveil_header *headers = calloc(MANY, sizeof *headers);
	struct kveil_staged m = {.record = {.headers = headers, .header_count = MANY}}, is;

	assert_non_null(headers);
	for (size_t i = 0; i < MANY; i++)
		headers[i].name = kveil_span_of(noise, 1);
	assert_true(kveil_stage_put(&pool, &s, &m));
	m.record.header_count = 1;
	assert_true(kveil_stage_put(&pool, &s, &m));
	kveil_stage_first(&pool, &s, &is);
	assert_int_equal(is.record.header_count, MANY);
	kveil_stage_drop(&pool, &s);
	kveil_stage_first(&pool, &s, &is);
	assert_int_equal(is.record.header_count, 1);
	kveil_stage_drop(&pool, &s);
	assert_true(pool.header_cap <= 1024);
	kveil_stage_pool_clear(&pool);
	free(headers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(they_come_out_as_they_went_in),
	    cmocka_unit_test(what_was_dropped_is_used_again),
	    cmocka_unit_test(many_headers_leave_nothing_behind),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

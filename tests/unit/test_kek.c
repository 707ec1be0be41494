/* SPDX-License-Identifier: Apache-2.0 */
/* Before a custodian: one call at a time, and after a failure none until its rest is over, whoever asks. */
#include "base/clock.h"
#include "crypto/crypto.h"
#include "custody/provider.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

enum { THREADS = 8 };

static atomic_int calls, inside, most_inside;
static enum kveil_status answer;
static atomic_int answer_ms;

static void nap(int ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

static enum kveil_status stub_open(const char *name, const void *params, const char *base_dir, struct kveil_kek **ret,
				   struct kveil_error *err)
{
	(void)params;
	(void)base_dir;
	*ret = calloc(1, sizeof **ret);
	if (!*ret)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	extern const struct kveil_provider stub;
	**ret = (struct kveil_kek){.provider = &stub, .name = name};
	return KVEIL_OK;
}

static void stub_close(struct kveil_kek *kek)
{
	free(kek);
}

static enum kveil_status called(struct kveil_error *err)
{
	int now = atomic_fetch_add(&inside, 1) + 1;

	if (now > atomic_load(&most_inside))
		atomic_store(&most_inside, now);
	atomic_fetch_add(&calls, 1);
	nap(answer_ms);
	atomic_fetch_sub(&inside, 1);
	return answer ? kveil_fail(err, answer, "the custodian is out") : KVEIL_OK;
}

static enum kveil_status stub_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				   struct kveil_error *err)
{
	(void)kek;
	(void)plain;
	(void)wrapped;
	return called(err);
}

static enum kveil_status stub_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				     size_t *ret_len, struct kveil_error *err)
{
	(void)kek;
	(void)wrapped;
	(void)plain;
	(void)room;
	*ret_len = 0;
	return called(err);
}

extern const struct kveil_provider stub;
const struct kveil_provider stub = {
    .name = "stub", .open = stub_open, .close = stub_close, .wrap = stub_wrap, .unwrap = stub_unwrap};

static struct kveil_kek *new_kek(void)
{
	struct kveil_kek *kek;
	struct kveil_error err;

	atomic_store(&calls, 0);
	atomic_store(&most_inside, 0);
	answer = KVEIL_OK;
	answer_ms = 0;
	assert_int_equal(kveil_kek_open(&stub, "k", NULL, NULL, &kek, &err), KVEIL_OK);
	return kek;
}

static enum kveil_status wrap(struct kveil_kek *kek, struct kveil_error *err)
{
	struct kveil_buf out = KVEIL_BUF_INIT;
	enum kveil_status status = kveil_kek_wrap(kek, KVEIL_SPAN("x"), &out, err);

	kveil_buf_clear(&out);
	return status;
}

static enum kveil_status unwrap(struct kveil_kek *kek)
{
	uint8_t room[8];
	size_t n;

	return kveil_kek_unwrap(kek, KVEIL_SPAN("x"), room, sizeof room, &n, NULL);
}

static void *ask(void *kek)
{
	for (int i = 0; i < 50; i++)
		if (i % 2 ? wrap(kek, NULL) != KVEIL_E_KEK_UNAVAILABLE : unwrap(kek) != KVEIL_E_KEK_UNAVAILABLE)
			return kek;
	return NULL;
}

/* Threads that wait while one of them asks take its answer, and ask no more. */
static void a_storm_is_one_request(void **state)
{
	(void)state;
	struct kveil_kek *kek = new_kek();
	pthread_t threads[THREADS];
	void *bad;

	answer = KVEIL_E_KEK_UNAVAILABLE;
	answer_ms = 100;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask, kek), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(atomic_load(&calls), 1);
	assert_int_equal(atomic_load(&most_inside), 1);
	kveil_kek_close(kek);
}

/* 0.5 to 1 s, then 1 to 2 s: at most every rest one request, and at once again after a success. */
static void rests_grow_and_end(void **state)
{
	(void)state;
	struct kveil_kek *kek = new_kek();
	struct kveil_error err = {0};

	answer = KVEIL_E_PERMISSIONS; /* a revoked token may be given back */
	int64_t begin = kveil_clock_mono_ms(), second_ms = 0, third_ms = 0;
	while (atomic_load(&calls) < 3) {
		assert_int_equal(wrap(kek, &err), KVEIL_E_PERMISSIONS);
		assert_string_equal(err.message, "the custodian is out");
		int64_t now = kveil_clock_mono_ms() - begin;
		if (atomic_load(&calls) == 2 && !second_ms)
			second_ms = now;
		third_ms = now;
		nap(5);
	}
	assert_in_range(second_ms, 500, 5000);
	assert_in_range(third_ms - second_ms, 990, 9000);
	answer = KVEIL_OK;
	assert_int_equal(unwrap(kek), KVEIL_E_PERMISSIONS);
	while (wrap(kek, &err))
		nap(20);
	assert_int_equal(atomic_load(&calls), 4);
	assert_int_equal(unwrap(kek), KVEIL_OK);
	kveil_kek_close(kek);
}

/* What this KEK never wrapped is not an outage of it. */
static void foreign_bytes_close_nothing(void **state)
{
	(void)state;
	struct kveil_kek *kek = new_kek();

	answer = KVEIL_E_WRONG_KEK;
	for (int i = 0; i < 10; i++)
		assert_int_equal(unwrap(kek), KVEIL_E_WRONG_KEK);
	assert_int_equal(atomic_load(&calls), 10);
	kveil_kek_close(kek);
	kveil_kek_close(NULL);
}

static enum kveil_status locks_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				    struct kveil_error *err)
{
	enum kveil_status status = stub_wrap(kek, plain, wrapped, err);

	kveil_buf_append_str(wrapped, "wrapped ");
	kveil_buf_append_span(wrapped, plain);
	return status;
}

static enum kveil_status locks_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				      size_t *ret_len, struct kveil_error *err)
{
	enum kveil_status status = called(err);

	(void)kek;
	assert_true(wrapped.len > 8 && wrapped.len - 8 <= room);
	*ret_len = wrapped.len - 8;
	memcpy(plain, wrapped.data + 8, *ret_len);
	return status;
}

/* A call without a limit in time gets one, what it was given stays its own, and it is not asked again before it came
 * back.
 */
static void a_call_that_hangs_is_left(void **state)
{
	(void)state;
	static const struct kveil_provider hangs = {.name = "hangs",
						    .may_hang = true,
						    .open = stub_open,
						    .close = stub_close,
						    .wrap = locks_wrap,
						    .unwrap = locks_unwrap};
	struct kveil_kek *kek = new_kek();
	struct kveil_buf out = KVEIL_BUF_INIT;
	struct kveil_error err = {0};
	uint8_t plain[16];
	size_t n = 0;

	kek->provider = &hangs;
	kveil_buf_append_str(&out, "before ");
	assert_int_equal(kveil_kek_wrap(kek, KVEIL_SPAN("key"), &out, &err), KVEIL_OK);
	assert_true(kveil_span_eq(kveil_buf_span(&out), KVEIL_SPAN("before wrapped key")));
	assert_int_equal(kveil_kek_unwrap(kek, KVEIL_SPAN("wrapped key"), plain, sizeof plain, &n, &err), KVEIL_OK);
	assert_int_equal(n, 3);
	assert_memory_equal(plain, "key", 3);
	answer_ms = 14000;
	int64_t begin = kveil_clock_mono_ms();
	kveil_buf_reset(&out);
	assert_int_equal(kveil_kek_wrap(kek, KVEIL_SPAN("key"), &out, &err), KVEIL_E_KEK_UNAVAILABLE);
	assert_int_equal(out.len, 0);
	assert_in_range(kveil_clock_mono_ms() - begin, 10000, 12000);
	answer_ms = 0;
	while (kveil_kek_wrap(kek, KVEIL_SPAN("key"), &out, &err))
		nap(50);
	assert_true(kveil_clock_mono_ms() - begin >= 14000);
	assert_int_equal(atomic_load(&most_inside), 1);
	assert_int_equal(atomic_load(&calls), 4);
	kveil_buf_clear(&out);
	kveil_kek_close(kek);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_storm_is_one_request),
	    cmocka_unit_test(rests_grow_and_end),
	    cmocka_unit_test(foreign_bytes_close_nothing),
	    cmocka_unit_test(a_call_that_hangs_is_left),
	};
	struct kveil_error err;

	return kveil_crypto_init(&err) || cmocka_run_group_tests(tests, NULL, NULL);
}

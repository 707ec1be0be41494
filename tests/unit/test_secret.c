/* SPDX-License-Identifier: Apache-2.0 */
#include "base/secret.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { MANY = 5000 };

static void many_keys_are_zeroed_and_apart(void **state)
{
	(void)state;
	static uint8_t *keys[MANY];

	for (size_t round = 0; round < 2; round++) {
		for (size_t i = 0; i < MANY; i++) {
			keys[i] = kveil_secret_alloc(32);
			assert_non_null(keys[i]);
			assert_int_equal((uintptr_t)keys[i] % 16, 0);
			for (size_t b = 0; b < 32; b++)
				assert_int_equal(keys[i][b], 0);
			memset(keys[i], (int)(i % 251 + 1), 32);
		}
		for (size_t i = 0; i < MANY; i++)
			assert_int_equal(keys[i][31], i % 251 + 1);
		/* Odd ones first, so that slabs empty in another order than they filled. */
		for (size_t i = 1; i < MANY; i += 2)
			kveil_secret_free(keys[i]);
		for (size_t i = 0; i < MANY; i += 2)
			kveil_secret_free(keys[i]);
	}
}

static size_t mappings(void)
{
	size_t n = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	assert_non_null(f);
	for (int c; (c = fgetc(f)) != EOF;)
		n += c == '\n';
	fclose(f);
	return n;
}

static void thousands_share_mappings(void **state)
{
	(void)state;
	static uint8_t *keys[MANY];
	size_t before = mappings();

	for (size_t i = 0; i < MANY; i++)
		keys[i] = kveil_secret_alloc(32);
	assert_true(mappings() < before + 100);
	for (size_t i = 0; i < MANY; i++)
		kveil_secret_free(keys[i]);
	assert_true(mappings() <= before + 5);
}

static void sizes(void **state)
{
	(void)state;
	static const size_t n[] = {0, 1, 31, 32, 33, 64, 4000, 4096, 4097, 20000, 100000};

	for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
		uint8_t *a = kveil_secret_alloc(n[i]), *b = kveil_secret_alloc_schedule(n[i]);
		assert_non_null(a);
		assert_non_null(b);
		assert_true(kveil_secret_size(a) >= n[i]);
		memset(a, 1, n[i]);
		memset(b, 2, n[i]);
		kveil_secret_free(a);
		kveil_secret_free(b);
	}
	kveil_secret_free(NULL);
	assert_null(kveil_secret_alloc(SIZE_MAX));
	assert_null(kveil_secret_alloc(SIZE_MAX / 8));
}

/* Runs fn in a child; the signal that ended it, or 0 with its exit status in *ret_exit. */
static int in_child(int (*fn)(void *), void *arg, int *ret_exit)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		/* The sanitizers would turn the signal that is expected into a report. */
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		signal(SIGABRT, SIG_DFL);
		setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	*ret_exit = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static int any_set(void *arg)
{
	const uint8_t *p = arg;
	int set = 0;

	for (size_t i = 0; i < 64; i++)
		set |= p[i];
	return set != 0;
}

static void a_fork_sees_nothing(void **state)
{
	(void)state;
	uint8_t *key = kveil_secret_alloc(64);
	int code;

	memset(key, 0xa5, 64);
	assert_int_equal(in_child(any_set, key, &code), 0);
	assert_int_equal(code, 0);
	assert_int_equal(key[63], 0xa5);
	kveil_secret_free(key);
}

static int overrun(void *arg)
{
	volatile uint8_t *p = arg;

	for (size_t i = 0; i < 1 << 20; i++)
		p[i] = 1;
	return 0;
}

static int underrun(void *arg)
{
	volatile uint8_t *p = arg;

	for (size_t i = 1; i < 1 << 20; i++)
		p[-(ptrdiff_t)i] = 1;
	return 0;
}

static int free_it(void *arg)
{
	kveil_secret_free(arg);
	return 0;
}

static void guards_and_bad_frees_end_the_process(void **state)
{
	(void)state;
	uint8_t *small = kveil_secret_alloc(32), *large = kveil_secret_alloc(50000);
	int code;

	assert_int_equal(in_child(overrun, small, &code), SIGSEGV);
	assert_int_equal(in_child(underrun, small, &code), SIGSEGV);
	assert_int_equal(in_child(overrun, large, &code), SIGSEGV);
	assert_int_equal(in_child(underrun, large, &code), SIGSEGV);
	assert_int_equal(in_child(free_it, small, &code), 0);
	assert_int_equal(in_child(free_it, small + 16, &code), SIGABRT);
	uint8_t *other = kveil_secret_alloc(32);
	kveil_secret_free(small);
	assert_int_equal(in_child(free_it, small, &code), SIGABRT);
	kveil_secret_free(other);
	kveil_secret_free(large);
}

/* What the kernel says of the mapping that p lies in. */
static void find_flags(const void *p, char *flags, size_t size, size_t *ret_locked_kb)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	char line[512];
	bool inside = false;

	assert_non_null(f);
	*flags = 0;
	*ret_locked_kb = 0;
	while (fgets(line, sizeof line, f)) {
		unsigned long from, to;
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = (uintptr_t)p >= from && (uintptr_t)p < to;
		if (inside && strncmp(line, "VmFlags:", 8) == 0)
			snprintf(flags, size, "%s", line + 8);
		if (inside && strncmp(line, "Locked:", 7) == 0)
			*ret_locked_kb = strtoul(line + 7, NULL, 10);
	}
	fclose(f);
}

static void pages_are_locked_and_not_dumped(void **state)
{
	(void)state;
	void *key = kveil_secret_alloc(32);
	char flags[512];
	size_t locked;

	find_flags(key, flags, sizeof flags, &locked);
	if (*flags) {
		assert_non_null(strstr(flags, " dd")); /* not dumped */
		assert_non_null(strstr(flags, " wf")); /* wiped on fork */
		assert_non_null(strstr(flags, " lo")); /* locked */
	} else {
		/* A kernel without VmFlags: the count of locked bytes tells. */
		assert_true(locked > 0);
	}
	kveil_secret_free(key);
}

/* 0: what a child allocates is locked, although there was room in a slab of its parent's. */
static int alloc_in_child(void *arg)
{
	char flags[512];
	size_t locked;
	uint8_t *keys[400];
	int ret = 0;

	kveil_secret_free(arg);
	for (size_t i = 0; i < 400; i++) {
		keys[i] = kveil_secret_alloc(32);
		memset(keys[i], 1, 32);
	}
	for (size_t i = 0; i < 400; i++) {
		find_flags(keys[i], flags, sizeof flags, &locked);
		ret |= *flags ? !strstr(flags, " lo") : locked == 0;
	}
	for (size_t i = 0; i < 400; i++)
		kveil_secret_free(keys[i]);
	return ret;
}

static void a_fork_locks_its_own(void **state)
{
	(void)state;
	uint8_t *keys[400];
	int code;

	for (size_t i = 0; i < 400; i++) {
		keys[i] = kveil_secret_alloc(32);
		memset(keys[i], 2, 32);
	}
	for (size_t i = 0; i < 400; i += 133) {
		assert_int_equal(in_child(alloc_in_child, keys[i], &code), 0);
		assert_int_equal(code, 0);
	}
	for (size_t i = 0; i < 400; i++)
		kveil_secret_free(keys[i]);
}

static int alloc_without_locking(void *arg)
{
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){0, 0});
	/* The superuser may lock whatever the limit says. */
	if (getuid() == 0 && setuid(65534) != 0)
		return 9;
	if (arg)
		setenv("KVEIL_ALLOW_UNLOCKED_KEYS", "1", 1);
	bool strict = kveil_secret_alloc(100000) != NULL, schedule = kveil_secret_alloc_schedule(100000) != NULL;
	return strict << 1 | schedule;
}

static void what_cannot_be_locked_is_refused(void **state)
{
	(void)state;
	int code;

	assert_int_equal(in_child(alloc_without_locking, NULL, &code), 0);
	assert_int_equal(code, 1);
	assert_int_equal(in_child(alloc_without_locking, "", &code), 0);
	assert_int_equal(code, 3);
}

static int message_of_refusal(void *arg)
{
	struct kveil_error err;

	(void)arg;
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){65536, 65536});
	return kveil_secret_refused(&err) == KVEIL_E_NO_MEMORY && strstr(err.message, "64 KiB") &&
	       strstr(err.hint, "256 KiB") && strstr(err.hint, "KVEIL_ALLOW_UNLOCKED_KEYS=1");
}

static void a_refusal_names_the_limit_and_the_ways_out(void **state)
{
	(void)state;
	int code;

	assert_int_equal(in_child(message_of_refusal, NULL, &code), 0);
	assert_int_equal(code, 1);
}

static int keys_after_many_schedules(void *arg)
{
	(void)arg;
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){1 << 20, 1 << 20});
	if (getuid() == 0 && setuid(65534) != 0)
		return 9;
	for (size_t i = 0; i < 1000; i++)
		if (!kveil_secret_alloc_schedule(4000))
			return 8;
	for (size_t i = 0; i < 5000; i++)
		if (!kveil_secret_alloc(64))
			return 7;
	return 0;
}

static void schedules_leave_room_for_keys(void **state)
{
	(void)state;
	int code;

	assert_int_equal(in_child(keys_after_many_schedules, NULL, &code), 0);
	assert_int_equal(code, 0);
}

static int hardened(void *arg)
{
	struct rlimit core;

	(void)arg;
	kveil_secret_harden_process();
	return getrlimit(RLIMIT_CORE, &core) || core.rlim_max || prctl(PR_GET_DUMPABLE);
}

static void harden(void **state)
{
	(void)state;
	int code;

	assert_int_equal(in_child(hardened, NULL, &code), 0);
	assert_int_equal(code, 0);
}

/* Allocates, marks and frees in an order of its own; what it finds changed is another thread's doing. */
static void *churn(void *arg)
{
	enum { HELD = 64 };
	uint8_t *held[HELD] = {0};
	unsigned seed = *(unsigned *)arg;
	uintptr_t wrong = 0;

	for (size_t i = 0; i < 20000; i++) {
		size_t at = (size_t)rand_r(&seed) % HELD;
		if (held[at]) {
			wrong += held[at][0] != (uint8_t)at;
			kveil_secret_free(held[at]);
			held[at] = NULL;
		} else {
			size_t n = 1 + (size_t)rand_r(&seed) % 5000;
			held[at] = at % 2 ? kveil_secret_alloc(n) : kveil_secret_alloc_schedule(n);
			wrong += !held[at] || held[at][0] || held[at][n - 1];
			if (held[at])
				memset(held[at], (int)at, n);
		}
	}
	for (size_t i = 0; i < HELD; i++)
		kveil_secret_free(held[i]);
	return (void *)wrong;
}

static void threads_share_it(void **state)
{
	(void)state;
	pthread_t threads[4];
	unsigned seeds[4] = {1, 2, 3, 4};
	void *wrong;

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn, &seeds[i]), 0);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(pthread_join(threads[i], &wrong), 0);
		assert_null(wrong);
	}
}

static void eq_and_wipe(void **state)
{
	(void)state;
	uint8_t a[33] = {0}, b[33] = {0};

	assert_true(kveil_secret_eq(a, b, 33));
	assert_true(kveil_secret_eq(a, b, 0));
	for (size_t i = 0; i < 33; i++) {
		b[i] = 0x80;
		assert_false(kveil_secret_eq(a, b, 33));
		b[i] = 0;
	}
	memset(a, 7, sizeof a);
	kveil_secret_wipe(a, 32);
	assert_memory_equal(a, b, 32);
	assert_int_equal(a[32], 7);
	kveil_secret_wipe(NULL, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(many_keys_are_zeroed_and_apart),
	    cmocka_unit_test(thousands_share_mappings),
	    cmocka_unit_test(sizes),
	    cmocka_unit_test(a_fork_sees_nothing),
	    cmocka_unit_test(guards_and_bad_frees_end_the_process),
	    cmocka_unit_test(pages_are_locked_and_not_dumped),
	    cmocka_unit_test(a_fork_locks_its_own),
	    cmocka_unit_test(what_cannot_be_locked_is_refused),
	    cmocka_unit_test(a_refusal_names_the_limit_and_the_ways_out),
	    cmocka_unit_test(schedules_leave_room_for_keys),
	    cmocka_unit_test(harden),
	    cmocka_unit_test(threads_share_it),
	    cmocka_unit_test(eq_and_wipe),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

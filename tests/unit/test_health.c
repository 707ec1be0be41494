/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "observe/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_live_until_a_loop_stands_still(void **state)
{
	struct kveil_health *h = kveil_health_new();
	KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;
	struct kveil_loop *first = kveil_health_loop(h, "worker 1");
	struct kveil_loop *second = kveil_health_loop(h, "keeper");
	int64_t now = kveil_clock_mono_ms();

	(void)state;
	assert_non_null(first);
	assert_ptr_not_equal(first, second);
	assert_true(kveil_health_live(h, &why));
	assert_true(kveil_health_live_at(h, now + KVEIL_HEALTH_STALE_MS, &why));
	assert_int_equal(why.len, 0);
	assert_false(kveil_health_live_at(h, now + 31500, &why));
	assert_string_equal(kveil_buf_cstr(&why), "worker 1: stuck for 31 s\nkeeper: stuck for 31 s\n");
	kveil_loop_end(second);
	kveil_buf_reset(&why);
	assert_false(kveil_health_live_at(h, now + 31500, &why));
	assert_string_equal(kveil_buf_cstr(&why), "worker 1: stuck for 31 s\n");
	kveil_loop_end(first);
	assert_true(kveil_health_live_at(h, now + 31500, NULL));
	/* A restarted loop is the same one, and watched again. */
	assert_ptr_equal(kveil_health_loop(h, "keeper"), second);
	assert_false(kveil_health_live_at(h, now + 32500, NULL));
	kveil_health_free(h);
}

static void test_two_loops_of_one_name_are_both_watched(void **state)
{
	struct kveil_health *h = kveil_health_new();
	struct kveil_loop *a = kveil_health_loop(h, "w"), *b = kveil_health_loop(h, "w");

	(void)state;
	assert_ptr_not_equal(a, b);
	kveil_loop_end(a);
	assert_false(kveil_health_live_at(h, kveil_clock_mono_ms() + 40000, NULL));
	kveil_health_free(h);
}

static void test_ready_while_no_condition_is_open(void **state)
{
	struct kveil_health *h = kveil_health_new();
	KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;

	(void)state;
	/* Nothing that could be wrong has been looked at yet. */
	assert_false(kveil_health_ready(h, &why));
	assert_string_equal(kveil_buf_cstr(&why), "start: not yet begun\n");
	kveil_buf_reset(&why);
	kveil_health_started(h);
	assert_true(kveil_health_ready(h, &why));
	kveil_health_condition(h, "worker 1: kafka", "%s does not answer", "broker:9092");
	kveil_health_condition(h, "keys", "no lease");
	kveil_health_condition(h, "keys", "custodian\nis down");
	assert_false(kveil_health_ready(h, &why));
	assert_string_equal(kveil_buf_cstr(&why),
			    "worker 1: kafka: broker:9092 does not answer\nkeys: custodian?is down\n");
	assert_true(kveil_health_live(h, NULL));
	kveil_health_condition(h, "worker 1: kafka", NULL);
	kveil_health_condition(h, "never opened", NULL);
	assert_false(kveil_health_ready(h, NULL));
	kveil_health_condition(h, "keys", NULL);
	kveil_buf_reset(&why);
	assert_true(kveil_health_ready(h, &why));
	assert_int_equal(why.len, 0);
	kveil_health_free(h);
}

static void test_a_long_name_is_one_condition(void **state)
{
	struct kveil_health *h = kveil_health_new();
	char name[300];

	(void)state;
	kveil_health_started(h);
	memset(name, 'n', sizeof name);
	name[sizeof name - 1] = 0;
	kveil_health_condition(h, name, "one");
	kveil_health_condition(h, name, "two");
	kveil_health_condition(h, name, NULL);
	assert_true(kveil_health_ready(h, NULL));
	kveil_health_free(h);
}

static void test_partitions_of_a_long_topic_are_conditions_of_their_own(void **state)
{
	struct kveil_health *h = kveil_health_new();
	char topic[250], name[300];

	(void)state;
	kveil_health_started(h);
	memset(topic, 't', sizeof topic - 1);
	topic[sizeof topic - 1] = 0;
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof name, "%s[%d]", topic, i);
		kveil_health_condition(h, name, "stopped");
	}
	kveil_health_condition(h, name, NULL);
	assert_false(kveil_health_ready(h, NULL));
	snprintf(name, sizeof name, "%s[0]", topic);
	kveil_health_condition(h, name, NULL);
	assert_true(kveil_health_ready(h, NULL));
	kveil_health_free(h);
}

static void test_draining_is_not_ready_but_live(void **state)
{
	struct kveil_health *h = kveil_health_new();
	KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;

	(void)state;
	kveil_health_draining(h);
	assert_false(kveil_health_ready(h, &why));
	assert_string_equal(kveil_buf_cstr(&why), "draining: shutting down\n");
	assert_true(kveil_health_live(h, NULL));
	kveil_health_free(h);
	kveil_health_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_live_until_a_loop_stands_still),
	    cmocka_unit_test(test_two_loops_of_one_name_are_both_watched),
	    cmocka_unit_test(test_ready_while_no_condition_is_open),
	    cmocka_unit_test(test_a_long_name_is_one_condition),
	    cmocka_unit_test(test_partitions_of_a_long_topic_are_conditions_of_their_own),
	    cmocka_unit_test(test_draining_is_not_ready_but_live),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger of what is in flight: how much of it one output partition, or several that are dead, may have. */
#include "worker/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MIB = 1 << 20, RECORD = 1000, LANES = 12 };

/* Hands over until no more is taken; gives how much that was. */
static size_t fill(struct kveil_ledger *g, struct kveil_lane *l, size_t bytes)
{
	size_t n = 0;

	for (; kveil_lane_takes(g, l, bytes, 0); n += bytes)
		kveil_lane_hand_over(g, l, bytes, 0);
	return n;
}

static void drain(struct kveil_ledger *g, struct kveil_lane *l, size_t bytes)
{
	while (l->records)
		kveil_lane_report(g, l, bytes, 0);
}

static void is_near(size_t is, size_t wanted)
{
	assert_in_range(is, wanted - 4 * RECORD, wanted + 4 * RECORD);
}

static void one_takes_half_and_the_next_half_of_the_rest(void **state)
{
	(void)state;
	struct kveil_ledger g = {.limit = 16 * MIB};
	struct kveil_lane dead[LANES] = {0}, alive = {0};

	for (size_t i = 0; i < 4; i++)
		is_near(fill(&g, &dead[i], RECORD), (size_t)8 * MIB >> i);
	is_near(fill(&g, &alive, RECORD), MIB / 2);
	drain(&g, &alive, RECORD);
	drain(&g, &dead[0], RECORD);
	is_near(fill(&g, &alive, RECORD), (size_t)9 * MIB / 2);
}

static void those_that_fill_together_share(void **state)
{
	(void)state;
	struct kveil_ledger g = {.limit = 16 * MIB};
	struct kveil_lane lanes[3] = {0};
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < 3; i++)
			if (kveil_lane_takes(&g, &lanes[i], RECORD, 0)) {
				kveil_lane_hand_over(&g, &lanes[i], RECORD, 0);
				more = true;
			}
	}
	for (size_t i = 0; i < 3; i++)
		assert_in_range(lanes[i].bytes, 4 * MIB - 2 * RECORD, 4 * MIB);
}

/* However many are dead, and whatever sizes records have: the limit holds, but for one record. */
static void the_limit_holds_but_for_one_record(void **state)
{
	(void)state;
	struct kveil_ledger g = {.limit = MIB};
	struct kveil_lane lanes[LANES] = {0};
	size_t most = 3 * MIB;

	srand(7);
	for (int i = 0; i < 200000; i++) {
		size_t bytes = (size_t)rand() % (rand() % 100 ? 2000 : most) + 1;
		struct kveil_lane *l = &lanes[rand() % LANES];
		if (kveil_lane_takes(&g, l, bytes, 0))
			kveil_lane_hand_over(&g, l, bytes, 0);
		assert_true(g.bytes < g.limit + most);
		assert_true(l->bytes <= g.limit / 2 || l->records == 1);
	}
	size_t bytes = 0, records = 0;
	for (size_t i = 0; i < LANES; i++) {
		bytes += lanes[i].bytes;
		records += lanes[i].records;
	}
	assert_int_equal(bytes, g.bytes);
	assert_int_equal(records, g.records);
}

static void a_large_record_goes_alone(void **state)
{
	(void)state;
	struct kveil_ledger g = {.limit = MIB};
	struct kveil_lane a = {0}, b = {0};

	assert_true(kveil_lane_takes(&g, &a, 5 * MIB, 0));
	kveil_lane_hand_over(&g, &a, 5 * MIB, 0);
	assert_false(kveil_lane_takes(&g, &b, 1, 0));
	assert_false(kveil_lane_has_drained(&g, &b, 0));
	kveil_lane_report(&g, &a, 5 * MIB, 0);
	assert_true(kveil_lane_has_drained(&g, &b, 0));
	/* Beside others it waits for its own lane alone. */
	fill(&g, &a, RECORD);
	assert_true(kveil_lane_takes(&g, &b, 5 * MIB, 0));
	kveil_lane_hand_over(&g, &b, 1, 0);
	assert_false(kveil_lane_takes(&g, &b, 5 * MIB, 0));
}

static void one_that_is_silent_takes_no_more(void **state)
{
	(void)state;
	struct kveil_ledger g = {.limit = 16 * MIB};
	struct kveil_lane l = {0}, other = {0};

	kveil_lane_hand_over(&g, &other, RECORD, 5000);
	assert_true(kveil_lane_takes(&g, &l, RECORD, 1000000)); /* nothing was asked of it */
	kveil_lane_hand_over(&g, &l, RECORD, 5000);
	kveil_lane_hand_over(&g, &l, RECORD, 5900);
	assert_true(kveil_lane_takes(&g, &l, RECORD, 5999));
	assert_false(kveil_lane_takes(&g, &l, RECORD, 6000));
	assert_false(kveil_lane_is_dead(&l, 9999));
	assert_true(kveil_lane_is_dead(&l, 10000));
	kveil_lane_report(&g, &l, RECORD, 10000);
	assert_true(kveil_lane_takes(&g, &l, RECORD, 10999));
	kveil_lane_report(&g, &l, RECORD, 11000);
	assert_false(kveil_lane_is_dead(&l, 1000000));
}

/* It waits until there is room for many, and not for one. */
static void it_has_drained_when_there_is_room_for_more(void **state)
{
	(void)state;
	struct kveil_ledger g = {.limit = 16 * MIB};
	struct kveil_lane l = {0};
	size_t full = fill(&g, &l, RECORD);

	while (!kveil_lane_has_drained(&g, &l, 0))
		kveil_lane_report(&g, &l, RECORD, 0);
	assert_in_range(full - l.bytes, 2 * MIB, 3 * MIB);
	assert_true(kveil_lane_takes(&g, &l, RECORD, 0));
}

static void times_are_smoothed(void **state)
{
	(void)state;
	struct kveil_lane l = {0};

	kveil_lane_smooth(&l, 8000);
	assert_int_equal(l.smoothed_us, 8000);
	kveil_lane_smooth(&l, 16000);
	assert_int_equal(l.smoothed_us, 9000);
	for (int i = 0; i < 100; i++)
		kveil_lane_smooth(&l, 1000);
	assert_in_range(l.smoothed_us, 1000, 1010);
	kveil_lane_smooth(&l, -5);
	kveil_lane_smooth(&l, INT64_MAX / 2);
	assert_true(l.smoothed_us > 1000000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_takes_half_and_the_next_half_of_the_rest),
	    cmocka_unit_test(those_that_fill_together_share),
	    cmocka_unit_test(the_limit_holds_but_for_one_record),
	    cmocka_unit_test(a_large_record_goes_alone),
	    cmocka_unit_test(one_that_is_silent_takes_no_more),
	    cmocka_unit_test(it_has_drained_when_there_is_room_for_more),
	    cmocka_unit_test(times_are_smoothed),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

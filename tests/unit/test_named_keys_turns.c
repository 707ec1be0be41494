/* SPDX-License-Identifier: Apache-2.0 */
/* New names: in turns between the partitions that bring them, within a topic's quota, and no more than there may be. */
#include "named_keys_fixture.h"

enum { FLOOD = 3000 };

static enum kveil_status ask(struct kveil_keyring *ring, const char *name)
{
	struct kveil_key *key;

	return kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err);
}

/* count names of pattern, from the partition's records. */
static void ask_many(struct kveil_keyring *ring, const char *pattern, int32_t partition, int from, int count)
{
	char name[64];

	kveil_keyring_serve(ring, "t", partition);
	for (int i = from; i < from + count; i++) {
		snprintf(name, sizeof name, "%s-%d.%d", pattern, (int)partition, i);
		assert_int_equal(ask(ring, name), KVEIL_E_KEY_PENDING);
	}
}

static int count_made(struct kveil_keyring *ring, const char *pattern, int32_t partition, int count)
{
	char name[64];
	int made = 0;

	/* Asking again is what a worker does too. */
	kveil_keyring_serve(ring, "t", partition);
	for (int i = 0; i < count; i++) {
		snprintf(name, sizeof name, "%s-%d.%d", pattern, (int)partition, i);
		made += ask(ring, name) == KVEIL_OK;
	}
	return made;
}

static void make(struct kveil_keystore *ks)
{
	enum kveil_status st = kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err);

	assert_true(st == KVEIL_OK || st == KVEIL_E_KEY_PENDING);
}

/* The queue is full of one partition's names: another's has its place all the same, and goes first. */
static void a_flood_on_one_partition_holds_up_no_other(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);

	(void)state;
	ask_many(ring, "tenant", 0, 0, FLOOD);
	ask_many(ring, "tenant", 1, 0, 1);
	make(ks);
	assert_int_equal(count_made(ring, "tenant", 1, 1), 1);
	/* With ten to be had, and more asked for before. */
	ask_many(ring, "slow", 0, 0, FLOOD);
	ask_many(ring, "slow", 1, 0, 2);
	ask_many(ring, "slow", 2, 0, 2);
	make(ks);
	assert_int_equal(count_made(ring, "slow", 1, 2), 2);
	assert_int_equal(count_made(ring, "slow", 2, 2), 2);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* The same flood has the name at its end; whoever waits less has it first. */
static void a_name_takes_the_better_turn(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);

	(void)state;
	ask_many(ring, "slow", 0, 0, 150);
	kveil_keyring_serve(ring, "t", 1);
	assert_int_equal(ask(ring, "slow-0.149"), KVEIL_E_KEY_PENDING);
	make(ks);
	assert_int_equal(ask(ring, "slow-0.149"), KVEIL_OK);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* Forty partitions that flood, and one that comes later: it is among the next that are made, once each of them had one.
 */
static void whoever_comes_late_is_not_behind_all_that_wait(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	int rounds = 0;

	(void)state;
	for (int p = 0; p < 40; p++)
		ask_many(ring, "slow", p, 0, 5);
	make(ks);
	ask_many(ring, "slow", 99, 0, 1);
	/* Ten were made at once; the other thirty have their first turn before it, at one a second or faster than that.
	 */
	struct kveil_named_key_rate *rate =
	    kveil_named_keys_rate(ks, kveil_keys_config_find(&fx.config, KVEIL_SPAN("slow-{}")));
	while (count_made(ring, "slow", 99, 1) == 0) {
		rate->bucket.left = 10;
		make(ks);
		rounds++;
		assert_true(rounds < 10);
	}
	assert_in_range(rounds, 1, 8);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void a_topic_has_its_quota(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);

	(void)state;
	ask_many(ring, "quota", 0, 0, 100);
	make(ks);
	assert_in_range(count_made(ring, "quota", 0, 100), 10, 12); /* ten seconds' worth */
	/* Another topic's are made. */
	kveil_keyring_serve(ring, "u", 0);
	for (int i = 0; i < 8; i++) {
		char name[64];
		snprintf(name, sizeof name, "quota-other.%d", i);
		assert_int_equal(ask(ring, name), KVEIL_E_KEY_PENDING);
		make(ks);
		assert_int_equal(ask(ring, name), KVEIL_OK);
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* What a limited topic asks for does not take the room of what comes later. */
static void a_held_up_topic_leaves_room(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	char name[64], topic[16];

	(void)state;
	ask_many(ring, "quota", 0, 0, FLOOD);
	for (int i = 0; i < 500; i++) {
		snprintf(topic, sizeof topic, "u%d", i / 8);
		kveil_keyring_serve(ring, topic, i % 2);
		snprintf(name, sizeof name, "quota-other.%d", i);
		assert_int_equal(ask(ring, name), KVEIL_E_KEY_PENDING);
		make(ks);
		if (ask(ring, name) != KVEIL_OK)
			fail_msg("%s was not made", name);
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void a_pattern_has_no_more_names_than_it_may(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx), *other = NULL;
	struct kveil_keyring *ring = ring_of(ks);

	(void)state;
	/* Asked for together, and more than there may be. */
	ask_many(ring, "few", 0, 0, 5);
	make(ks);
	assert_int_equal(count_made(ring, "few", 0, 5), 3);
	assert_int_equal(ask(ring, "few-another"), KVEIL_E_KEY_LIMIT);
	assert_int_equal(kveil_status_class(KVEIL_E_KEY_LIMIT), KVEIL_CLASS_RECORD);
	assert_non_null(strstr(err.message, "'few-{}' has the 3 names"));
	assert_null(strstr(err.message, "another'"));
	assert_non_null(strstr(err.hint, "most_names"));
	/* Those that are there go on, and have new versions; other patterns too. */
	seal(named(ks, ring, "few-0.1", KVEIL_USE_SEAL));
	seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	/* A destroyed one keeps its place: it is never to be had again. */
	size_t changed;
	assert_ok(kveil_keys_set_state(ks, "few-0.1", 0, KVEIL_KEY_DESTROYED, &changed, &err));
	assert_int_equal(ask(ring, "few-another"), KVEIL_E_KEY_LIMIT);
	/* A process that has just come. */
	assert_ok(kveil_keystore_open(&fx.config, &other, &err));
	struct kveil_keyring *theirs = ring_of(other);
	assert_int_equal(ask(theirs, "few-another"), KVEIL_E_KEY_LIMIT);
	kveil_keyring_free(theirs);
	kveil_keystore_unref(other);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_flood_on_one_partition_holds_up_no_other, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_name_takes_the_better_turn, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(whoever_comes_late_is_not_behind_all_that_wait, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_topic_has_its_quota, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_held_up_topic_leaves_room, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_pattern_has_no_more_names_than_it_may, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

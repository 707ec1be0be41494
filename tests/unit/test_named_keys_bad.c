/* SPDX-License-Identifier: Apache-2.0 */
/* Keys named from the record where the registry holds, well signed, what no worker writes; where the pattern's own key
 * is not to be had; and where clocks go back. Nothing waits for ever, and no name holds up another. */
#include "named_keys_fixture.h"

#include "base/secret.h"

enum { HOUR = 3600 * 1000 };

static struct kveil_keystore *ks;
static struct kveil_keyring *ring;

static int begin(void **state)
{
	set_up(state);
	ks = fixture_init(&fx);
	ring = ring_of(ks);
	return 0;
}

static int end(void **state)
{
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	return tear_down(state);
}

/* A record of the name's that whoever has the registry's secret may sign. wrapped NULL: zeros behind this wrapper's id.
 */
struct junk {
	const char *name, *kek;
	uint32_t version, wrapper;
	size_t len;
};

static uint32_t put_junk(const struct junk *j)
{
	struct kveil_named_key_ask ask;
	struct kveil_key_record r;

	assert_true(kveil_named_keys_meant(ks, j->name, &ask));
	kveil_key_record_begin(&r, ask.pattern, j->version, 1, 1);
	r.algorithm = ask.pattern->algorithm->wire_id;
	kveil_named_keys_write_name(ask.pattern, ask.digest, r.name);
	snprintf(r.kek, sizeof r.kek, "%s", j->kek);
	assert_ok(kveil_keystore_draw_id(ks, &r.id, &err));
	r.wrapped = calloc(1, j->len);
	r.wrapped_len = j->len;
	r.wrapped[0] = 1;
	for (int i = 0; i < 4 && j->len > 4; i++)
		r.wrapped[1 + i] = (uint8_t)(j->wrapper >> (24 - 8 * i));
	assert_ok(kveil_key_record_sign(&r, ks->registry->secret, &err));
	assert_ok(kveil_keystore_append(ks, &r, 1, &err));
	uint32_t id = r.id;
	kveil_key_record_clear(&r);
	return id;
}

static uint32_t pattern_id(const char *pattern)
{
	const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(pattern));

	return n->versions[0]->record.id;
}

static size_t records_in_registry(void)
{
	struct kveil_document d = {0};

	assert_ok(ks->registry->driver->snapshot(ks->registry, &d, &err));
	size_t count = d.count;
	kveil_document_clear(&d);
	return count;
}

static struct sealed sealed_by(uint32_t id)
{
	struct sealed s = {{1, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id}, 60};
	return s;
}

/* acme's first number is taken by what is not a key: acme has the next one, and everybody else goes on. */
static void goes_on_beside(const struct junk *j)
{
	uint32_t id = put_junk(j);
	size_t before = records_in_registry();
	struct kveil_key *key;

	/* One write a name, whatever stands in the way. */
	struct sealed acme = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	struct sealed other = seal(named(ks, ring, "tenant-other", KVEIL_USE_SEAL));
	assert_int_equal(records_in_registry(), before + 2);
	assert_int_not_equal(id_of(&acme), id);
	assert_int_equal(kveil_named_keys_by_id(ks, id_of(&acme))->version, j->version + 1);
	/* What a custodian refuses is an outage, and in the way of whoever comes later, until it is destroyed. */
	struct kveil_keystore *later = NULL;
	if (strchr(j->kek, '{')) {
		struct sealed forged = sealed_by(id);
		assert_int_equal(try_open(ring, "tenant-acme", &forged), KVEIL_E_UNKNOWN_KEY);
		assert_ok(kveil_keystore_open(&fx.config, &later, &err));
		struct kveil_keyring *theirs = ring_of(later);
		assert_ok(try_open(theirs, "tenant-acme", &acme));
		assert_ok(try_open(theirs, "tenant-other", &other));
		struct sealed again = seal(named(later, theirs, "tenant-acme", KVEIL_USE_SEAL));
		assert_int_equal(id_of(&again), id_of(&acme));
		kveil_keyring_free(theirs);
		kveil_keystore_unref(later);
	}
	/* What an operator asks for leaves it out, and ends it with the rest. */
	struct kveil_buf keyset = KVEIL_BUF_INIT;
	assert_ok(kveil_keys_export_tink(ks, "tenant-acme", true, &keyset, &err));
	kveil_buf_clear(&keyset);
	size_t changed;
	assert_ok(kveil_keys_set_state(ks, "tenant-acme", 0, KVEIL_KEY_DESTROYED, &changed, &err));
	assert_int_equal(changed, 2);
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_DESTROYED);
}

static void more_wrapped_bytes_than_any_key_has(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "tenant-{}", 1, pattern_id("tenant-{}"), 300});
}

static void too_few_wrapped_bytes(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "tenant-{}", 1, 0, 3});
}

static void wrapped_bytes_that_open_to_nothing(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "tenant-{}", 1, pattern_id("tenant-{}"), 53});
}

static void wrapped_by_what_is_not_here(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "tenant-{}", 1, 0xdeadbeef, 53});
}

static void wrapped_by_another_patterns_key(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "tenant-{}", 1, pattern_id("slow-{}"), 53});
}

static void under_another_pattern(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "slow-{}", 1, pattern_id("slow-{}"), 53});
}

static void under_a_pattern_that_nobody_configured(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "gone-{}", 1, 1, 53});
}

static void under_a_kek_that_does_not_open_it(void **state)
{
	(void)state;
	goes_on_beside(&(struct junk){"tenant-acme", "local", 1, 1, 53});
}

static void the_last_number_of_all(void **state)
{
	struct kveil_key *key;

	(void)state;
	put_junk(&(struct junk){"tenant-acme", "gone-{}", KVEIL_NAMED_KEY_ENDED - 1, 1, 53});
	size_t before = records_in_registry();
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_UNSUPPORTED);
	assert_ok(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err));
	assert_int_equal(records_in_registry(), before);
	/* And the number of the end, under whatever KEK: the name has ended. */
	put_junk(&(struct junk){"tenant-b", "gone-{}", KVEIL_NAMED_KEY_ENDED, 1, 53});
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-b"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_DESTROYED);
	/* A list does not count to it. */
	put_junk(&(struct junk){"tenant-c", "tenant-{}", KVEIL_NAMED_KEY_ENDED - 1, pattern_id("tenant-{}"), 53});
	size_t n;
	assert_ok(kveil_keys_count(ks, "tenant-c", 0, &n, &err));
	assert_int_equal(n, 1);
}

/* A wrapper that its custodian holds up may come yet; what it wrapped waits for it, and no longer. */
static void a_wrapper_that_is_held_up(void **state)
{
	struct kveil_key_record r;
	struct kveil_key *key;

	(void)state;
	kveil_key_record_begin(&r, kveil_keys_config_find(&fx.config, KVEIL_SPAN("tenant-{}")), 2, 1, 1);
	r.id = 0xdeadbeef;
	snprintf(r.kek, sizeof r.kek, "local");
	r.wrapped = calloc(1, 64);
	r.wrapped_len = 64;
	assert_ok(kveil_key_record_sign(&r, ks->registry->secret, &err));
	assert_ok(kveil_keystore_append(ks, &r, 1, &err));
	uint32_t id = put_junk(&(struct junk){"tenant-acme", "tenant-{}", 1, 0xdeadbeef, 53});
	struct sealed s = sealed_by(id);
	assert_int_equal(try_open(ring, "tenant-acme", &s), KVEIL_E_KEK_UNAVAILABLE);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEK_UNAVAILABLE);
	/* Another pattern has nothing to wait for. */
	uint32_t slow = put_junk(&(struct junk){"slow-1", "slow-{}", 1, 0xdeadbeef, 53});
	struct sealed t = sealed_by(slow);
	assert_int_equal(try_open(ring, "slow-1", &t), KVEIL_E_UNKNOWN_KEY);
	/* It never comes. */
	kveil_key_record_advance(&r);
	r.state = KVEIL_KEY_DESTROYED;
	free(r.wrapped);
	r.wrapped = NULL;
	r.wrapped_len = 0;
	assert_ok(kveil_key_record_sign(&r, ks->registry->secret, &err));
	assert_ok(kveil_keystore_append(ks, &r, 1, &err));
	assert_int_equal(try_open(ring, "tenant-acme", &s), KVEIL_E_KEY_DESTROYED);
	kveil_key_record_clear(&r);
}

static void a_wrapper_for_others_to_open(void **state)
{
	struct kveil_key *key;

	(void)state;
	struct sealed acme = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	assert_ok(kveil_keystore_open(&fx.config, &ks, &err));
	ring = ring_of(ks);
	struct kveil_key_version *v = kveil_keystore_by_id(ks, pattern_id("tenant-{}"));
	kveil_secret_free(v->key);
	v->key = NULL;
	assert_int_equal(try_open(ring, "tenant-acme", &acme), KVEIL_E_UNKNOWN_KEY);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_int_equal(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err), KVEIL_E_NO_ACTIVE_KEY);
}

/* One pattern's own key is retired: its names wait, and those of the others are made. */
static void a_pattern_that_wraps_no_more_holds_up_no_other(void **state)
{
	struct kveil_key *key;
	size_t changed;

	(void)state;
	assert_ok(kveil_keys_set_state(ks, "slow-{}", 0, KVEIL_KEY_RETIRED, &changed, &err));
	const struct kveil_data_key_config *slow = kveil_keys_config_find(&fx.config, KVEIL_SPAN("slow-{}"));
	for (int i = 0; i < 20; i++) {
		assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("slow-1"), KVEIL_USE_SEAL, &key, &err),
				 KVEIL_E_KEY_PENDING);
		if (i == 0)
			assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-1"), KVEIL_USE_SEAL, &key, &err),
					 KVEIL_E_KEY_PENDING);
		assert_int_equal(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err), KVEIL_E_NO_ACTIVE_KEY);
		assert_ok(kveil_keyring_named(ring, KVEIL_SPAN("tenant-1"), KVEIL_USE_SEAL, &key, &err));
	}
	/* What was not made was not counted. */
	assert_true(kveil_named_keys_rate(ks, slow)->bucket.left >= 9);
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("slow-{}"), 0, &err));
	seal(named(ks, ring, "slow-1", KVEIL_USE_SEAL));
}

/* A registry that takes no writing costs no names either. */
static void an_outage_uses_up_no_names(void **state)
{
	const struct kveil_data_key_config *slow = kveil_keys_config_find(&fx.config, KVEIL_SPAN("slow-{}"));
	struct kveil_key *key;

	(void)state;
	assert_int_equal(rename(at(&fx, ".keys.json.lock"), at(&fx, "lock")), 0);
	assert_int_equal(mkdir(at(&fx, ".keys.json.lock"), 0700), 0);
	for (int i = 0; i < 20; i++) {
		ks->tending.retry_at_ms = 0;
		assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("slow-1"), KVEIL_USE_SEAL, &key, &err),
				 KVEIL_E_KEY_PENDING);
		assert_int_equal(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err), KVEIL_E_IO);
		assert_true(kveil_named_keys_rate(ks, slow)->bucket.left >= 9);
	}
}

/* The ring ticked before the clock was set back: what it asks for is not due, and it is told so. */
static void a_clock_set_back(void **state)
{
	int64_t now = kveil_clock_wall_ms();
	struct kveil_key *key;

	(void)state;
	struct sealed one = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_ok(kveil_keyring_tick(ring, now + 10 * HOUR, &err));
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("cn-acme.x"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	size_t before = records_in_registry();
	assert_int_equal(kveil_keystore_make_asked(ks, now, &err), KVEIL_E_KEY_PENDING);
	assert_int_equal(records_in_registry(), before);
	/* With a tick it goes on, with the version that is active by this clock. */
	assert_ok(kveil_keyring_tick(ring, now, &err));
	struct sealed again = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_int_equal(id_of(&again), id_of(&one));
}

/* Whoever only opens waits for no version that seals, though this ring sealed with it before. */
static void opening_asks_for_no_version(void **state)
{
	int64_t now = kveil_clock_wall_ms();
	struct kveil_key *key;

	(void)state;
	assert_ok(kveil_keyring_tick(ring, now, &err));
	struct sealed one = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_ok(kveil_keyring_tick(ring, now + 10 * HOUR, &err));
	assert_ok(try_open(ring, "cn-acme.x", &one));
	assert_int_equal(ks->named_keys.asked_count, 0);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("cn-acme.x"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_ok(try_open(ring, "cn-acme.x", &one));
}

/* Letters of another size are another name to the registry, and none of kveil's. */
static void a_name_has_one_spelling(void **state)
{
	struct kveil_named_key_ask ask;
	struct kveil_key_record r;
	uint8_t key[KVEIL_KEY_BYTES_MAX];

	(void)state;
	struct sealed a = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_true(kveil_named_keys_meant(ks, "tenant-acme", &ask));
	assert_true(kveil_named_keys_record(kveil_named_keys_by_id(ks, id_of(&a)), &r));
	assert_ok(kveil_named_keys_unwrap(ks, ask.pattern, &r, key, &err));
	for (char *c = r.name + 7; *c; c++)
		*c = *c >= 'a' && *c <= 'f' ? (char)(*c - 32) : *c;
	r.id++;
	r.version = 7;
	assert_ok(kveil_named_keys_wrap(ks, ask.pattern, &r, key, &err));
	assert_ok(kveil_keystore_append(ks, &r, 1, &err));
	assert_null(kveil_named_keys_by_id(ks, r.id));
	kveil_key_record_clear(&r);
}

/* An operator copies the name out of the registry. */
static void a_registrys_name_is_told_apart(void **state)
{
	struct kveil_named_key_ask ask;
	char name[KVEIL_KEY_NAME_MAX + 1];
	size_t n;

	(void)state;
	named(ks, ring, "tenant-acme", KVEIL_USE_SEAL);
	assert_true(kveil_named_keys_meant(ks, "tenant-acme", &ask));
	kveil_named_keys_write_name(ask.pattern, ask.digest, name);
	assert_int_equal(kveil_keys_count(ks, name, 0, &n, &err), KVEIL_E_NOT_FOUND);
	assert_non_null(strstr(err.hint, "as records do"));
	assert_int_equal(kveil_keys_set_state(ks, name, 0, KVEIL_KEY_DESTROYED, &n, &err), KVEIL_E_NOT_FOUND);
	assert_non_null(strstr(err.hint, "as records do"));
	assert_int_equal(kveil_keystore_each_of(ks, name, NULL, NULL, &err), KVEIL_E_NOT_FOUND);
	assert_non_null(strstr(err.hint, "as records do"));
	struct kveil_buf keyset = KVEIL_BUF_INIT;
	assert_int_equal(kveil_keys_export_tink(ks, name, true, &keyset, &err), KVEIL_E_NOT_FOUND);
	assert_non_null(strstr(err.hint, "as records do"));
	kveil_buf_clear(&keyset);
	assert_int_equal(kveil_keystore_rotate(ks, kveil_span_str(name), 0, &err), KVEIL_E_NOT_FOUND);
	assert_non_null(strstr(err.hint, "as records do"));
	name[strlen(name) - 1] ^= 1;
	assert_int_equal(kveil_keys_count(ks, name, 0, &n, &err), KVEIL_E_NOT_FOUND);
	assert_string_equal(err.hint, "");
}

/* A wrapper comes after all: what it wrapped is not a dud any more. */
static void a_wrapper_that_comes_late(void **state)
{
	struct kveil_keystore *other = NULL;
	struct kveil_key *key;

	(void)state;
	/* This process has not read the new version of the pattern's own key, as if its record had been overwritten. */
	assert_ok(kveil_keystore_open(&fx.config, &other, &err));
	assert_ok(kveil_keystore_rotate(other, KVEIL_SPAN("tenant-{}"), 0, &err));
	struct kveil_keyring *theirs = ring_of(other);
	struct sealed acme = seal(named(other, theirs, "tenant-acme", KVEIL_USE_SEAL));
	struct kveil_key_record r;
	assert_true(kveil_named_keys_record(kveil_named_keys_by_id(other, id_of(&acme)), &r));
	assert_ok(kveil_named_keys_take(ks, &r, &err));
	kveil_key_record_clear(&r);
	assert_int_equal(try_open(ring, "tenant-acme", &acme), KVEIL_E_UNKNOWN_KEY);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_ok(kveil_keystore_refresh(ks, &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_ok(try_open(ring, "tenant-acme", &acme));
	struct sealed again = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_int_equal(id_of(&again), id_of(&acme));
	kveil_keyring_free(theirs);
	kveil_keystore_unref(other);
}

/* An import that lost its number to another comes under a later one (registry_log.h); not under an earlier one. */
static void a_key_that_comes_under_a_later_number(void **state)
{
	struct kveil_named_key_ask ask;
	struct kveil_key_record r;
	uint8_t key[KVEIL_KEY_BYTES_MAX];

	(void)state;
	struct sealed a = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_true(kveil_named_keys_meant(ks, "tenant-acme", &ask));
	assert_true(kveil_named_keys_record(kveil_named_keys_by_id(ks, id_of(&a)), &r));
	assert_ok(kveil_named_keys_unwrap(ks, ask.pattern, &r, key, &err));
	for (uint32_t version = 4; version >= 2; version -= 2) {
		r.version = version;
		assert_ok(kveil_named_keys_wrap(ks, ask.pattern, &r, key, &err));
		assert_ok(kveil_named_keys_take(ks, &r, &err));
		assert_int_equal(kveil_named_keys_by_id(ks, id_of(&a))->version, 4);
		assert_int_equal(kveil_named_keys_next(kveil_named_keys_find(ks, ask.digest)), 5);
	}
	kveil_key_record_clear(&r);
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_ok(try_open(ring, "tenant-acme", &a));
	kveil_named_keys_let_go(&ks->named_keys, kveil_named_keys_by_id(ks, id_of(&a)));
	assert_ok(try_open(ring, "tenant-acme", &a));
}

/* More patterns than the queue has places: each has its turn. */
static void a_thousand_patterns_and_more(void **state)
{
	enum { PATTERNS = KVEIL_ASKED_MAX + 50 };
	struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_key *key;
	char name[32];
	int waiting = PATTERNS;

	(void)state;
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&fx);
	kveil_buf_printf(&text, "registry: file:keys.json\nkeks:\n  local: {provider: file, path: kek}\ndata:\n");
	for (int i = 0; i < PATTERNS; i++)
		kveil_buf_printf(&text, "  \"p%04d-{}\": {algorithm: aes-256-gcm}\n", i);
	fixture_set_up(&fx, kveil_buf_cstr(&text));
	kveil_buf_clear(&text);
	ks = fixture_init(&fx);
	ring = ring_of(ks);
	for (int turn = 0; waiting && turn < 3; turn++) {
		waiting = 0;
		for (int i = 0; i < PATTERNS; i++) {
			snprintf(name, sizeof name, "p%04d-x", i);
			waiting +=
			    kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err) != KVEIL_OK;
		}
		assert_ok(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err));
	}
	assert_int_equal(waiting, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
	    TEST(more_wrapped_bytes_than_any_key_has),
	    TEST(too_few_wrapped_bytes),
	    TEST(wrapped_bytes_that_open_to_nothing),
	    TEST(wrapped_by_what_is_not_here),
	    TEST(wrapped_by_another_patterns_key),
	    TEST(under_another_pattern),
	    TEST(under_a_pattern_that_nobody_configured),
	    TEST(under_a_kek_that_does_not_open_it),
	    TEST(the_last_number_of_all),
	    TEST(a_wrapper_that_is_held_up),
	    TEST(a_wrapper_for_others_to_open),
	    TEST(a_pattern_that_wraps_no_more_holds_up_no_other),
	    TEST(an_outage_uses_up_no_names),
	    TEST(a_clock_set_back),
	    TEST(opening_asks_for_no_version),
	    TEST(a_name_has_one_spelling),
	    TEST(a_registrys_name_is_told_apart),
	    TEST(a_wrapper_that_comes_late),
	    TEST(a_key_that_comes_under_a_later_number),
	    TEST(a_thousand_patterns_and_more),
	};
#undef TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Keys named from the record: made on demand, cached, destroyed for good, and never told apart from outside. */
#include "named_keys_fixture.h"

static void a_name_is_made_when_it_is_asked_for(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx), *other = NULL;
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key;

	(void)state;
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_null(strstr(err.message, "acme"));
	key = named(ks, ring, "tenant-acme", KVEIL_USE_SEAL);
	struct sealed acme = seal(key), globex = seal(named(ks, ring, "tenant-globex", KVEIL_USE_SEAL));
	assert_int_not_equal(id_of(&acme), id_of(&globex));
	struct sealed again = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_int_equal(id_of(&again), id_of(&acme));

	/* Another process reads it, and does not make it again. */
	assert_ok(kveil_keystore_open(&fx.config, &other, &err));
	struct kveil_keyring *theirs = ring_of(other);
	assert_ok(try_open(theirs, "tenant-acme", &acme));
	struct sealed from_there = seal(named(other, theirs, "tenant-acme", KVEIL_USE_SEAL));
	assert_int_equal(id_of(&from_there), id_of(&acme));
	/* A value moved to another name does not open, nor under a name that nobody has. */
	assert_int_equal(try_open(theirs, "tenant-globex", &acme), KVEIL_E_UNKNOWN_KEY);
	assert_int_equal(try_open(theirs, "tenant-nobody", &acme), KVEIL_E_UNKNOWN_KEY);
	assert_null(strstr(err.message, "nobody"));

	size_t n;
	uint8_t *text = get_file(at(&fx, "keys.json"), &n);
	assert_null(strstr((char *)text, "acme"));
	free(text);
	kveil_keyring_free(theirs);
	kveil_keyring_free(ring);
	kveil_keystore_unref(other);
	kveil_keystore_unref(ks);
}

/* A key that is made while another process runs is found by its id. */
static void a_later_name_is_found(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx), *other = NULL;
	struct kveil_keyring *ring = ring_of(ks);

	(void)state;
	assert_ok(kveil_keystore_open(&fx.config, &other, &err));
	struct kveil_keyring *theirs = ring_of(other);
	struct sealed acme = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_ok(try_open(theirs, "tenant-acme", &acme));
	/* Both meet a new name at once: one key. */
	struct kveil_key *key;
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-new"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_int_equal(kveil_keyring_named(theirs, KVEIL_SPAN("tenant-new"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_ok(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err));
	assert_ok(kveil_keystore_make_asked(other, kveil_clock_wall_ms(), &err));
	struct sealed a = seal(named(ks, ring, "tenant-new", KVEIL_USE_SEAL));
	struct sealed b = seal(named(other, theirs, "tenant-new", KVEIL_USE_SEAL));
	assert_int_equal(id_of(&a), id_of(&b));
	kveil_keyring_free(theirs);
	kveil_keyring_free(ring);
	kveil_keystore_unref(other);
	kveil_keystore_unref(ks);
}

/* More names than the ring has room for, in one batch, each with its own key; in any order again. */
static void many_names_pass_through_a_bounded_cache(void **state)
{
	enum { MANY = 3000, BATCH = KVEIL_ASKED_MAX / PATTERNS_OF_FIXTURE }; /* that share the queue */
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct sealed *sealed = calloc(MANY, sizeof *sealed);
	struct kveil_key *key;
	char name[32];

	(void)state;
	for (int from = 0; from < MANY; from += BATCH) {
		for (int i = from; i < MANY && i < from + BATCH; i++) {
			snprintf(name, sizeof name, "tenant-%d", i);
			assert_int_equal(kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err),
					 KVEIL_E_KEY_PENDING);
		}
		assert_ok(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err));
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof name, "tenant-%d", i);
		assert_ok(kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err));
		sealed[i] = seal(key);
	}
	for (int i = 0; i < MANY; i++) {
		int k = (int)((unsigned)i * 1009 % MANY);
		snprintf(name, sizeof name, "tenant-%d", k);
		assert_ok(try_open(ring, name, &sealed[k]));
		if (k)
			assert_int_not_equal(id_of(&sealed[k]), id_of(&sealed[k - 1]));
	}
	free(sealed);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* The pointer before the last is good: `reencrypt` reads with one and seals with another. */
static void two_keys_are_good_at_once(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	char name[32];

	(void)state;
	for (int i = 0; i < 1500; i++) {
		snprintf(name, sizeof name, "tenant-%d", i);
		struct kveil_key *key;
		(void)!kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err);
		if (i % 150 == 149)
			assert_ok(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err));
	}
	struct kveil_key *before = named(ks, ring, "tenant-0", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	struct sealed first = seal(before);
	for (int i = 1; i < 1500; i++) {
		snprintf(name, sizeof name, "tenant-%d", i);
		struct kveil_key *key = named(ks, ring, name, KVEIL_USE_SEAL | KVEIL_USE_OPEN);
		assert_ok(open_it(before, &first));
		first = seal(key);
		before = key;
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void a_destroyed_name_stays_destroyed(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx), *other = NULL;
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key;
	size_t changed;

	(void)state;
	struct sealed acme = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	struct sealed globex = seal(named(ks, ring, "tenant-globex", KVEIL_USE_SEAL));
	/* In this process's cache, and by another process's hand. */
	assert_ok(try_open(ring, "tenant-acme", &acme));
	assert_ok(kveil_keystore_open(&fx.config, &other, &err));
	assert_ok(kveil_keys_set_state(other, "tenant-acme", 0, KVEIL_KEY_DESTROYED, &changed, &err));
	assert_int_equal(changed, 1);
	assert_ok(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(try_open(ring, "tenant-acme", &acme), KVEIL_E_KEY_DESTROYED);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_DESTROYED);
	assert_ok(try_open(ring, "tenant-globex", &globex));

	/* A version that a worker had begun before it knew changes nothing. */
	struct kveil_named_key_ask ask;
	assert_true(kveil_named_keys_meant(other, "tenant-acme", &ask));
	struct kveil_key_record late;
	uint8_t bytes[32] = {7};
	kveil_key_record_begin(&late, ask.pattern, 2, 1, 1);
	late.algorithm = ask.pattern->algorithm->wire_id;
	kveil_named_keys_write_name(ask.pattern, ask.digest, late.name);
	assert_ok(kveil_keystore_draw_id(other, &late.id, &err));
	assert_ok(kveil_named_keys_wrap(other, ask.pattern, &late, bytes, &err));
	assert_ok(kveil_keystore_append(other, &late, 1, &err));
	kveil_key_record_clear(&late);
	assert_ok(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-acme"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_DESTROYED);
	assert_int_equal(kveil_keystore_rotate(ks, KVEIL_SPAN("tenant-acme"), 0, &err), KVEIL_E_KEY_DESTROYED);
	kveil_keyring_free(ring);
	kveil_keystore_unref(other);
	kveil_keystore_unref(ks);
	/* Nor does a new start. */
	assert_ok(kveil_keystore_open(&fx.config, &ks, &err));
	ring = ring_of(ks);
	assert_int_equal(try_open(ring, "tenant-acme", &acme), KVEIL_E_KEY_DESTROYED);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* The pattern's own key may go: to a new version by `rewrap`, and with all that it wrapped by `destroy`. */
static void the_patterns_own_key(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key;
	size_t changed;

	(void)state;
	struct sealed acme = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("tenant-{}"), 0, &err));
	struct sealed globex = seal(named(ks, ring, "tenant-globex", KVEIL_USE_SEAL));
	struct kveil_keys_rewrap_result moved;
	assert_ok(kveil_keys_rewrap(ks, NULL, NULL, &moved, &err));
	assert_int_equal(moved.moved, 1); /* the second is under the new one from the start */
	assert_ok(kveil_keys_set_state(ks, "tenant-{}", 1, KVEIL_KEY_DESTROYED, &changed, &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_ok(try_open(ring, "tenant-acme", &acme));
	assert_ok(try_open(ring, "tenant-globex", &globex));
	assert_ok(kveil_keys_set_state(ks, "tenant-{}", 0, KVEIL_KEY_DESTROYED, &changed, &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(try_open(ring, "tenant-acme", &acme), KVEIL_E_KEY_DESTROYED);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-globex"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_DESTROYED);
	/* What ended so is in no move's way. */
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("tenant-{}"), 0, &err));
	assert_ok(kveil_keys_rewrap(ks, NULL, NULL, &moved, &err));
	assert_int_equal(moved.moved, 0);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* A record that names more keys than a thread keeps has the place of each taken by another, in each run: what is known
 * of an id is not forgotten over that, or the record would be run again for ever. */
static void what_is_known_outlives_the_place_of_its_name(void **state)
{
	(void)state;
	enum { NAMES = 700 };
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = NULL;
	uint8_t plain[96];
	size_t len;
	char name[32];

	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "tenant-%d", i);
		named(ks, ring, name, KVEIL_USE_SEAL);
	}
	struct sealed foreign = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	for (int last = 0; last < 16; last++) {
		enum kveil_status status = KVEIL_E_KEY_PENDING;
		for (int runs = 0; status == KVEIL_E_KEY_PENDING && runs < 3; runs++) {
			for (int i = 1; i <= NAMES; i++) {
				snprintf(name, sizeof name, "tenant-%d", (last + i) % NAMES);
				assert_ok(kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_OPEN, &key, &err));
			}
			status = kveil_key_open(key, AD, kveil_span_of(foreign.data, foreign.len), plain, &len, &err);
			(void)kveil_keyring_look(ring);
		}
		assert_int_equal(status, KVEIL_E_UNKNOWN_KEY);
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void versions_come_as_they_are_used(void **state)
{
	enum { HOUR = 3600 * 1000 };
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	int64_t now = kveil_clock_wall_ms();

	(void)state;
	assert_ok(kveil_keyring_tick(ring, now, &err));
	struct sealed one = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	/* In the second half of its period the next one is made, and waits for its time. */
	assert_ok(kveil_keyring_tick(ring, now + HOUR * 3 / 4, &err));
	struct sealed still = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_int_equal(id_of(&still), id_of(&one));
	assert_ok(kveil_keystore_make_asked(ks, now + HOUR * 3 / 4, &err));
	assert_ok(kveil_keyring_tick(ring, now + HOUR * 3 / 4 + 1000, &err));
	still = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_int_equal(id_of(&still), id_of(&one));
	assert_ok(kveil_keyring_tick(ring, now + HOUR + 1000, &err));
	struct sealed two = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_int_not_equal(id_of(&two), id_of(&one));
	assert_ok(try_open(ring, "cn-acme.x", &one));
	assert_ok(try_open(ring, "cn-acme.x", &two));
	/* One that was not seen for long has no key that may seal: it is made again, and never the old one used. */
	struct kveil_key *key;
	assert_ok(kveil_keyring_tick(ring, now + 10 * HOUR, &err));
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("cn-acme.x"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_ok(kveil_keystore_make_asked(ks, now + 10 * HOUR, &err));
	assert_ok(kveil_keyring_tick(ring, now + 10 * HOUR + 1, &err));
	struct sealed three = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_int_not_equal(id_of(&three), id_of(&two));
	assert_ok(try_open(ring, "cn-acme.x", &one));
	/* Once a thread has the name, whoever holds the lock holds up no value of any version. */
	struct kveil_keyring *fresh = ring_of(ks);
	assert_ok(kveil_keyring_named(fresh, KVEIL_SPAN("cn-acme.x"), KVEIL_USE_OPEN, &key, &err));
	pthread_mutex_lock(&ks->lock);
	alarm(60);
	assert_ok(open_it(key, &one));
	assert_ok(open_it(key, &three));
	assert_ok(open_it(key, &two));
	assert_ok(open_it(key, &one));
	alarm(0);
	pthread_mutex_unlock(&ks->lock);
	kveil_keyring_free(fresh);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* A flood of names that wait for their turn leaves room for the names of another pattern. */
static void a_flood_of_one_pattern_holds_up_no_other(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key;
	char name[32];

	(void)state;
	for (int i = 0; i < 2 * KVEIL_ASKED_MAX; i++) {
		snprintf(name, sizeof name, "slow-%d", i);
		assert_int_equal(kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err),
				 KVEIL_E_KEY_PENDING);
	}
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-1"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	assert_int_equal(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err), KVEIL_E_KEY_PENDING);
	assert_ok(kveil_keyring_named(ring, KVEIL_SPAN("tenant-1"), KVEIL_USE_SEAL, &key, &err));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void new_names_are_limited(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key;
	char name[32];
	int made = 0;

	(void)state;
	for (int i = 0; i < 15; i++) {
		snprintf(name, sizeof name, "slow-%d", i);
		assert_int_equal(kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err),
				 KVEIL_E_KEY_PENDING);
	}
	assert_int_equal(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err), KVEIL_E_KEY_PENDING);
	for (int i = 0; i < 15; i++) {
		snprintf(name, sizeof name, "slow-%d", i);
		made += kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_SEAL, &key, &err) == KVEIL_OK;
	}
	assert_in_range(made, 10, 12); /* ten seconds' worth */
	/* Another pattern is not held up. */
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-1"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_KEY_PENDING);
	(void)!kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err);
	assert_ok(kveil_keyring_named(ring, KVEIL_SPAN("tenant-1"), KVEIL_USE_SEAL, &key, &err));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* A wrapped key says whose it is: put beside another name it is refused. */
static void a_wrapped_key_cannot_be_moved(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_named_key_ask acme, globex;
	uint8_t key[KVEIL_KEY_BYTES_MAX];
	struct kveil_key_record r;

	(void)state;
	struct sealed a = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_true(kveil_named_keys_meant(ks, "tenant-acme", &acme) &&
		    kveil_named_keys_meant(ks, "tenant-globex", &globex));
	assert_true(kveil_named_keys_record(kveil_named_keys_by_id(ks, id_of(&a)), &r));
	assert_ok(kveil_named_keys_unwrap(ks, acme.pattern, &r, key, &err));
	kveil_named_keys_write_name(globex.pattern, globex.digest, r.name);
	assert_int_equal(kveil_named_keys_unwrap(ks, acme.pattern, &r, key, &err), KVEIL_E_REGISTRY_CORRUPT);
	kveil_named_keys_write_name(acme.pattern, acme.digest, r.name);
	r.version++;
	assert_int_equal(kveil_named_keys_unwrap(ks, acme.pattern, &r, key, &err), KVEIL_E_REGISTRY_CORRUPT);
	r.version--;
	for (size_t i = 5; i < r.wrapped_len; i++) {
		r.wrapped[i] ^= 1;
		assert_int_equal(kveil_named_keys_unwrap(ks, acme.pattern, &r, key, &err), KVEIL_E_REGISTRY_CORRUPT);
		r.wrapped[i] ^= 1;
	}
	while (r.wrapped_len > 0) {
		r.wrapped_len--;
		assert_int_equal(kveil_named_keys_unwrap(ks, acme.pattern, &r, key, &err), KVEIL_E_REGISTRY_CORRUPT);
	}
	kveil_key_record_clear(&r);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void names_that_fill_nothing(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key;

	(void)state;
	/* A record must not reach a key that is configured for itself, nor a version. */
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL, &key, &err), KVEIL_E_CONFIG);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-"), KVEIL_USE_SEAL, &key, &err), KVEIL_E_CONFIG);
	assert_int_equal(kveil_keyring_named(ring, KVEIL_SPAN("tenant-a"), KVEIL_USE_MAC, &key, &err), KVEIL_E_CONFIG);
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("tenant-a"), KVEIL_USE_SEAL, &key, &err),
			 KVEIL_E_NOT_FOUND);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* Whatever its length, a name is that name and no other. */
static void names_of_every_length(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	char name[256] = "tenant-";
	struct kveil_key *key;
	size_t changed;

	(void)state;
	memset(name + 7, 'x', 193);
	for (size_t n = 8; n <= 200; n++) {
		struct kveil_span span = kveil_span_of(name, n);
		enum kveil_status status = kveil_keyring_named(ring, span, KVEIL_USE_SEAL, &key, &err);
		assert_int_equal(status, n <= KVEIL_KEY_NAME_MAX ? KVEIL_E_KEY_PENDING : KVEIL_E_BAD_TEMPLATE_VALUE);
	}
	assert_ok(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err));
	for (size_t n = 200; n > KVEIL_KEY_NAME_MAX; n--) {
		assert_int_equal(kveil_keystore_rotate(ks, kveil_span_of(name, n), 0, &err), KVEIL_E_NOT_FOUND);
		name[n] = 0;
		assert_int_equal(kveil_keys_set_state(ks, name, 0, KVEIL_KEY_DESTROYED, &changed, &err),
				 KVEIL_E_NOT_FOUND);
	}
	for (size_t n = KVEIL_KEY_NAME_MAX; n >= 8; n--) {
		name[n] = 0;
		assert_ok(kveil_keys_set_state(ks, name, 0, KVEIL_KEY_DESTROYED, &changed, &err));
		assert_int_equal(changed, 1);
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* A key that was configured before there was a pattern for its name: whoever ends the name ends both. */
static void a_name_from_before_the_pattern(void **state)
{
	static const char before[] = "registry: file:keys.json\n"
				     "keks: {local: {provider: file, path: kek}}\n"
				     "data: {tenant-acme: {algorithm: aes-256-gcm}}\n";
	size_t changed;

	(void)state;
	fixture_forget(&fx);
	fixture_parse(&fx, before);
	kveil_keystore_unref(fixture_init(&fx));
	fixture_forget(&fx);
	fixture_parse(&fx, named_keys_yaml);
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	struct sealed acme = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	/* What the registry calls it is nobody's name. */
	char name[KVEIL_KEY_NAME_MAX + 1];
	struct kveil_named_key_ask ask;
	assert_true(kveil_named_keys_meant(ks, "tenant-acme", &ask));
	kveil_named_keys_write_name(ask.pattern, ask.digest, name);
	assert_int_equal(kveil_keys_set_state(ks, name, 0, KVEIL_KEY_DESTROYED, &changed, &err), KVEIL_E_NOT_FOUND);
	assert_ok(kveil_keys_set_state(ks, "tenant-acme", 0, KVEIL_KEY_DESTROYED, &changed, &err));
	assert_int_equal(changed, 2);
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(try_open(ring, "tenant-acme", &acme), KVEIL_E_KEY_DESTROYED);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* Restored names open what they sealed, and seal with new keys. */
static void a_restored_name_seals_anew(void **state)
{
	struct kveil_keystore *ks = fixture_init(&fx);
	struct kveil_keyring *ring = ring_of(ks);
	char path[160];
	size_t n;

	(void)state;
	snprintf(path, sizeof path, "%s", at(&fx, "backup"));
	struct sealed one = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	struct sealed sm = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_ok(kveil_keys_backup(&fx.config, path, NULL, &n, &err));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	assert_int_equal(unlink(at(&fx, "keys.json")), 0);
	assert_ok(restore_it(&fx.config, path));
	assert_ok(kveil_keystore_open(&fx.config, &ks, &err));
	ring = ring_of(ks);
	assert_ok(try_open(ring, "tenant-acme", &one));
	struct sealed two = seal(named(ks, ring, "tenant-acme", KVEIL_USE_SEAL));
	assert_int_not_equal(id_of(&one), id_of(&two));
	assert_ok(try_open(ring, "cn-acme.x", &sm));
	struct sealed sm2 = seal(named(ks, ring, "cn-acme.x", KVEIL_USE_SEAL));
	assert_int_not_equal(id_of(&sm), id_of(&sm2));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(a_name_is_made_when_it_is_asked_for, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_later_name_is_found, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(many_names_pass_through_a_bounded_cache, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(two_keys_are_good_at_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_destroyed_name_stays_destroyed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(the_patterns_own_key, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(versions_come_as_they_are_used, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_is_known_outlives_the_place_of_its_name, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_flood_of_one_pattern_holds_up_no_other, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(new_names_are_limited, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_wrapped_key_cannot_be_moved, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(names_that_fill_nothing, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(names_of_every_length, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_name_from_before_the_pattern, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_restored_name_seals_anew, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

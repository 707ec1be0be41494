/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys named from the record under threads: rings that seal and open, a keeper, and an operator in another keystore who
 * rotates, retires, destroys and rewraps meanwhile. For the thread sanitizer too.
 */
#include "keys_fixture.h"

#include "keys/internal.h"

#define AD    KVEIL_SPAN("orders:$['card']")
#define PLAIN KVEIL_SPAN("13800138000")

enum {
	RINGS = 4,
	NAMES = 60,
	ROUNDS = 1500, /* of one ring */
	POOL = 512,    /* sealed values that others open */
	OPERATIONS = 60,
	SEALED_MAX = 96,
	FIXED_BYTES = 17, /* 0x01 | id | nonce */
	HOUR_MS = 3600 * 1000,
};

static const char yaml[] = "registry: file:keys.json\n"
			   "keks:\n"
			   "  local: {provider: file, path: kek}\n"
			   "data:\n"
			   "  \"tenant-{}\": {algorithm: aes-256-gcm, new_per_second: 100000}\n"
			   "  \"hourly-{}\": {algorithm: sm4-gcm, rotate_every: 1h, new_per_second: 100000}\n";

struct sealed {
	unsigned name;
	uint8_t data[SEALED_MAX];
	size_t len;
};

static struct fixture fx;
static struct kveil_keystore *ks;
static atomic_bool destroyed[NAMES], ended[NAMES]; /* destroyed: or about to be */
static atomic_bool over;
static atomic_int_fast64_t ahead_ms; /* of the wall clock */
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sealed pool[POOL];
static size_t pool_count;
static uint8_t (*nonces)[FIXED_BYTES];
static _Atomic size_t nonce_count, refused;

static int64_t clock_ms(void)
{
	return kveil_clock_wall_ms() + atomic_load(&ahead_ms);
}

/* cmocka's checks belong to its own thread. */
#define REQUIRE(condition)                                                                                             \
	do {                                                                                                           \
		if (!(condition)) {                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
			abort();                                                                                       \
		}                                                                                                      \
	} while (0)

static void write_name(unsigned name, char text[32])
{
	snprintf(text, 32, "%s-%u", name % 2 ? "hourly" : "tenant", name);
}

/* NULL: destroyed. */
static struct kveil_key *named(struct kveil_keyring *ring, unsigned name, unsigned use)
{
	struct kveil_error why;
	struct kveil_key *key;
	char text[32];

	write_name(name, text);
	for (int i = 0; i < 100000; i++) {
		bool was_destroyed = atomic_load(&destroyed[name]);
		enum kveil_status status = kveil_keyring_named(ring, kveil_span_str(text), use, &key, &why);
		if (status == KVEIL_OK)
			return key;
		if (status == KVEIL_E_KEY_DESTROYED) {
			REQUIRE(was_destroyed || atomic_load(&destroyed[name]));
			return NULL;
		}
		if (status != KVEIL_E_KEY_PENDING)
			fprintf(stderr, "%s: %s\n", kveil_status_code(status), why.message);
		REQUIRE(status == KVEIL_E_KEY_PENDING);
		status = kveil_keystore_make_asked(ks, clock_ms(), &why);
		if (status == KVEIL_E_KEY_PENDING)
			nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
		else
			REQUIRE(status == KVEIL_OK);
		REQUIRE(kveil_keyring_tick(ring, clock_ms(), &why) == KVEIL_OK);
	}
	REQUIRE(false && "a name is made in time");
	return NULL;
}

static void seal_one(struct kveil_keyring *ring, unsigned name, unsigned *seed)
{
	struct sealed s = {.name = name};
	struct kveil_error why;
	struct kveil_key *key = named(ring, name, rand_r(seed) % 2 ? KVEIL_USE_SEAL : KVEIL_USE_SEAL | KVEIL_USE_OPEN);

	if (!key)
		return;
	REQUIRE(kveil_key_sealed_max(key, PLAIN.len) <= SEALED_MAX);
	REQUIRE(kveil_key_seal(key, AD, PLAIN, s.data, &s.len, &why) == KVEIL_OK);
	memcpy(nonces[atomic_fetch_add(&nonce_count, 1)], s.data, FIXED_BYTES);
	pthread_mutex_lock(&pool_lock);
	pool[pool_count < POOL ? pool_count++ : (size_t)rand_r(seed) % POOL] = s;
	pthread_mutex_unlock(&pool_lock);
}

static void open_one(struct kveil_keyring *ring, unsigned *seed)
{
	struct kveil_error why;
	uint8_t plain[SEALED_MAX];
	struct sealed s;
	size_t n;

	pthread_mutex_lock(&pool_lock);
	bool some = pool_count > 0;
	if (some)
		s = pool[(size_t)rand_r(seed) % pool_count];
	pthread_mutex_unlock(&pool_lock);
	struct kveil_key *key = some ? named(ring, s.name, KVEIL_USE_OPEN) : NULL;
	if (!key)
		return;
	enum kveil_status status = open_or_look(key, AD, kveil_span_of(s.data, s.len), plain, &n, &why);
	if (status == KVEIL_E_KEY_DESTROYED) {
		REQUIRE(atomic_load(&destroyed[s.name]));
		atomic_fetch_add(&refused, 1);
		return;
	}
	if (status)
		fprintf(stderr, "%s: %s\n", kveil_status_code(status), why.message);
	REQUIRE(status == KVEIL_OK && kveil_span_eq(kveil_span_of(plain, n), PLAIN));
}

static void *use_keys(void *arg)
{
	struct kveil_keyring *ring;
	struct kveil_error why;
	unsigned seed = (unsigned)(uintptr_t)arg;

	REQUIRE(kveil_keyring_new(ks, &ring, &why) == KVEIL_OK);
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (i % 16 == 0)
			REQUIRE(kveil_keyring_tick(ring, clock_ms(), &why) == KVEIL_OK);
		/* The names come up one after the other, so that new ones are met all the way. */
		seal_one(ring, (unsigned)rand_r(&seed) % (1 + i * NAMES / ROUNDS), &seed);
		open_one(ring, &seed);
	}
	/* Whose end is known seals no more, though its key may still be in the ring's cache. */
	for (unsigned name = 0; name < NAMES; name++) {
		if (!atomic_load(&ended[name]))
			continue;
		REQUIRE(kveil_keystore_refresh(ks, &why) == KVEIL_OK);
		REQUIRE(kveil_keyring_tick(ring, clock_ms(), &why) == KVEIL_OK);
		REQUIRE(!named(ring, name, KVEIL_USE_SEAL));
	}
	kveil_keyring_free(ring);
	return NULL;
}

static void *keep(void *arg)
{
	struct kveil_error why;

	(void)arg;
	while (!atomic_load(&over)) {
		REQUIRE(kveil_keystore_tend(ks, clock_ms(), &why) == KVEIL_OK);
		atomic_fetch_add(&ahead_ms, HOUR_MS / 20);
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	return NULL;
}

static void read_state(void *user, const struct kveil_key_info *info)
{
	bool *some = user;
	*some |= strcmp(info->state, "destroyed") != 0;
}

/* Another process, whose keystore is its own. */
static void *operate(void *arg)
{
	struct kveil_keystore *mine;
	struct kveil_error why;
	struct kveil_keys_rewrap_result moved;
	unsigned seed = 7;
	size_t changed;
	char text[32];

	(void)arg;
	REQUIRE(kveil_keystore_open(&fx.config, &mine, &why) == KVEIL_OK);
	for (int i = 0; i < OPERATIONS; i++) {
		unsigned name = (unsigned)rand_r(&seed) % NAMES;
		enum kveil_status status = KVEIL_OK;
		write_name(name, text);
		REQUIRE(kveil_keystore_refresh(mine, &why) == KVEIL_OK);
		switch (i % 4) {
		case 0:
			status = kveil_keystore_rotate(mine, kveil_span_str(text), 0, &why);
			break;
		case 1:
			status = kveil_keys_set_state(mine, text, 0, KVEIL_KEY_RETIRED, &changed, &why);
			break;
		case 2:
			status = kveil_keystore_rotate(mine, kveil_span_str("tenant-{}"), 0, &why);
			if (!status)
				status = kveil_keys_rewrap(mine, NULL, NULL, &moved, &why);
			break;
		case 3:
			if (name >= NAMES / 2 ||
			    kveil_keystore_each_of(mine, text, read_state, &(bool){false}, &why) == KVEIL_E_NOT_FOUND)
				continue;
			atomic_store(&destroyed[name], true);
			status = kveil_keys_set_state(mine, text, 0, KVEIL_KEY_DESTROYED, &changed, &why);
			break;
		}
		if (status && status != KVEIL_E_NOT_FOUND && status != KVEIL_E_KEY_DESTROYED)
			fprintf(stderr, "operation %d: %s: %s\n", i % 4, kveil_status_code(status), why.message);
		REQUIRE(!status || status == KVEIL_E_NOT_FOUND || status == KVEIL_E_KEY_DESTROYED);
		if (i % 4 == 3 && !status) {
			bool some = false;
			REQUIRE(kveil_keystore_each_of(mine, text, read_state, &some, &why) == KVEIL_OK && !some);
			atomic_store(&ended[name], true);
		}
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	}
	kveil_keystore_unref(mine);
	return NULL;
}

static int by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, FIXED_BYTES);
}

static void threads_and_an_operator(void **state)
{
	pthread_t rings[RINGS], keeper, operator;

	(void)state;
	nonces = calloc((size_t)RINGS * ROUNDS, sizeof *nonces);
	ks = fixture_init(&fx);
	assert_int_equal(pthread_create(&keeper, NULL, keep, NULL), 0);
	assert_int_equal(pthread_create(&operator, NULL, operate, NULL), 0);
	for (uintptr_t i = 0; i < RINGS; i++)
		assert_int_equal(pthread_create(&rings[i], NULL, use_keys, (void *)(i + 1)), 0);
	for (int i = 0; i < RINGS; i++)
		pthread_join(rings[i], NULL);
	pthread_join(operator, NULL);
	atomic_store(&over, true);
	pthread_join(keeper, NULL);

	/* No nonce twice under one key. */
	size_t count = atomic_load(&nonce_count);
	assert_true(count > (size_t)RINGS * ROUNDS / 3);
	qsort(nonces, count, sizeof *nonces, by_bytes);
	for (size_t i = 1; i < count; i++)
		assert_memory_not_equal(nonces[i - 1], nonces[i], FIXED_BYTES);
	/* Who starts now knows the same: what was destroyed, and every other value. */
	kveil_keystore_unref(ks);
	assert_ok(kveil_keystore_open(&fx.config, &ks, &err));
	struct kveil_keyring *ring;
	assert_ok(kveil_keyring_new(ks, &ring, &err));
	for (size_t i = 0; i < pool_count; i++) {
		struct kveil_key *key;
		uint8_t plain[SEALED_MAX];
		char text[32];
		size_t n;
		write_name(pool[i].name, text);
		assert_ok(kveil_keyring_named(ring, kveil_span_str(text), KVEIL_USE_OPEN, &key, &err));
		assert_int_equal(open_or_look(key, AD, kveil_span_of(pool[i].data, pool[i].len), plain, &n, &err),
				 atomic_load(&destroyed[pool[i].name]) ? KVEIL_E_KEY_DESTROYED : KVEIL_OK);
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	free(nonces);
}

static int set_up(void **state)
{
	(void)state;
	fixture_set_up(&fx, yaml);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	fixture_tear_down(&fx);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(threads_and_an_operator, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

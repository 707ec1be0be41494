/* SPDX-License-Identifier: Apache-2.0 */
/* Keyrings: what is sealed opens, nonces are counted, versions come and go. The registry's files: test_keys_file.c. */
#include "keys_fixture.h"

#include "crypto/algorithm.h"
#include "keys/internal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define AD KVEIL_SPAN("orders:$['card']")

static struct kveil_key *key_of(struct kveil_keyring *ring, const char *name, unsigned use)
{
	struct kveil_key *key = NULL;

	assert_ok(kveil_keyring_key(ring, kveil_span_str(name), use, &key, &err));
	return key;
}

static struct kveil_keyring *ring_of(struct kveil_keystore *ks)
{
	struct kveil_keyring *ring = NULL;

	assert_ok(kveil_keyring_new(ks, &ring, &err));
	return ring;
}

static size_t seal(struct kveil_key *key, const char *text, uint8_t *out)
{
	size_t n = 0;

	assert_ok(kveil_key_seal(key, AD, kveil_span_str(text), out, &n, &err));
	assert_true(n <= kveil_key_sealed_max(key, strlen(text)));
	return n;
}

static void opens(struct kveil_key *key, const uint8_t *sealed, size_t n, const char *text)
{
	uint8_t out[256];
	size_t len = 0;

	assert_ok(open_or_look(key, AD, kveil_span_of(sealed, n), out, &len, &err));
	assert_int_equal(len, strlen(text));
	assert_memory_equal(out, text, len);
}

static uint32_t id_of(const uint8_t *sealed)
{
	return (uint32_t)sealed[1] << 24 | (uint32_t)sealed[2] << 16 | (uint32_t)sealed[3] << 8 | sealed[4];
}

static uint32_t lease_of(const uint8_t *sealed)
{
	return (uint32_t)sealed[5] << 24 | (uint32_t)sealed[6] << 16 | (uint32_t)sealed[7] << 8 | sealed[8];
}

static uint64_t counter_of(const uint8_t *sealed)
{
	uint64_t n = 0;

	for (int i = 9; i < 17; i++)
		n = n << 8 | sealed[i];
	return n;
}

static void demo_keys_seal_and_open(void **state)
{
	(void)state;
	struct kveil_keystore *ks = NULL;
	uint8_t a[256], b[256];

	assert_ok(kveil_keystore_new_demo(&ks, &err));
	assert_ok(kveil_keystore_check(ks, KVEIL_SPAN("any"), KVEIL_USE_SEAL, &err));
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	assert_ptr_equal(key, key_of(ring, "pii", KVEIL_USE_SEAL));
	size_t n = seal(key, "6222020200112233", a);
	assert_int_equal(n, 5 + 12 + 16 + 16);
	assert_int_equal(a[0], 1);
	assert_int_equal(seal(key, "6222020200112233", b), n);
	assert_memory_equal(a, b, 9); /* id and lease */
	assert_true(counter_of(b) == counter_of(a) + 1);
	opens(key, a, n, "6222020200112233");
	opens(key, b, n, "6222020200112233");

	/* Nothing without associated data. */
	size_t len;
	assert_int_equal(kveil_key_seal(key, KVEIL_SPAN(""), KVEIL_SPAN("x"), a, &len, &err), KVEIL_E_INTERNAL);
	/* A key is for one purpose. */
	struct kveil_key *other;
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_MAC, &other, &err), KVEIL_E_CONFIG);
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("p i"), KVEIL_USE_MAC, &other, &err), KVEIL_E_CONFIG);
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("pii@7"), KVEIL_USE_OPEN, &other, &err), KVEIL_E_NOT_FOUND);
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("pii@x"), KVEIL_USE_OPEN, &other, &err), KVEIL_E_CONFIG);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void test_keys_are_the_same_everywhere(void **state)
{
	(void)state;
	uint8_t sealed[2][64], mac[2][32];
	size_t n[2];

	for (int i = 0; i < 2; i++) {
		struct kveil_keystore *ks = NULL;
		assert_ok(kveil_keystore_new_test(KVEIL_SPAN("golden"), &ks, &err));
		struct kveil_keyring *ring = ring_of(ks);
		n[i] = seal(key_of(ring, "pii", KVEIL_USE_SEAL), "abc", sealed[i]);
		struct kveil_key *pepper = key_of(ring, "pepper", KVEIL_USE_MAC);
		assert_int_equal(kveil_key_mac_bytes(pepper), 32);
		assert_ok(kveil_key_mac(pepper, KVEIL_SPAN("abc"), mac[i], &err));
		kveil_keyring_free(ring);
		kveil_keystore_unref(ks);
	}
	assert_int_equal(n[0], n[1]);
	assert_memory_equal(sealed[0], sealed[1], n[0]);
	assert_memory_equal(mac[0], mac[1], 32);
	assert_int_equal(lease_of(sealed[0]), 1);
	assert_true(counter_of(sealed[0]) == 0);
}

static void what_was_altered_does_not_open(void **state)
{
	(void)state;
	struct kveil_keystore *ks = NULL;
	uint8_t sealed[128], out[128], clear[128] = {0};
	size_t len;

	assert_ok(kveil_keystore_new_demo(&ks, &err));
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	size_t n = seal(key, "a secret of some length", sealed);
	for (size_t i = 0; i < n; i++)
		for (int bit = 0; bit < 8; bit++) {
			sealed[i] ^= (uint8_t)(1 << bit);
			memset(out, 0, sizeof out);
			enum kveil_status status = open_or_look(key, AD, kveil_span_of(sealed, n), out, &len, &err);
			assert_int_equal(status, i == 0  ? KVEIL_E_BAD_CIPHERTEXT
						 : i < 5 ? KVEIL_E_UNKNOWN_KEY
							 : KVEIL_E_AUTHENTICATION);
			assert_memory_equal(out, clear, sizeof out);
			sealed[i] ^= (uint8_t)(1 << bit);
		}
	for (size_t i = 0; i < n; i++) {
		enum kveil_status status = open_or_look(key, AD, kveil_span_of(sealed, i), out, &len, &err);
		assert_true(status == KVEIL_E_BAD_CIPHERTEXT || status == KVEIL_E_AUTHENTICATION);
	}
	assert_int_equal(open_or_look(key, KVEIL_SPAN("orders:$['name']"), kveil_span_of(sealed, n), out, &len, &err),
			 KVEIL_E_AUTHENTICATION);
	struct kveil_key *other = key_of(ring, "other", KVEIL_USE_OPEN);
	assert_int_equal(open_or_look(other, AD, kveil_span_of(sealed, n), out, &len, &err), KVEIL_E_UNKNOWN_KEY);
	opens(key, sealed, n, "a secret of some length");
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void versions_switch_at_their_time(void **state)
{
	(void)state;
	struct kveil_keystore *ks = NULL;
	uint8_t a[64], b[64], c[64];
	int64_t now = kveil_clock_wall_ms();

	assert_ok(kveil_keystore_new_demo(&ks, &err));
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	size_t n = seal(key, "x", a);
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), now + 60000, &err));
	assert_ok(kveil_keyring_tick(ring, now, &err));
	seal(key, "x", b);
	assert_int_equal(id_of(a), id_of(b));
	assert_ok(kveil_keyring_tick(ring, now + 59999, &err));
	seal(key, "x", b);
	assert_int_equal(id_of(a), id_of(b));
	assert_ok(kveil_keyring_tick(ring, now + 60000, &err));
	seal(key, "x", c);
	assert_int_not_equal(id_of(a), id_of(c));
	opens(key, a, n, "x");
	opens(key, c, n, "x");

	/* A pinned version stays. */
	uint8_t d[64], out[64];
	size_t len;
	struct kveil_key *first = key_of(ring, "pii@1", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	seal(first, "x", d);
	assert_int_equal(id_of(a), id_of(d));
	assert_int_equal(open_or_look(first, AD, kveil_span_of(c, n), out, &len, &err), KVEIL_E_UNKNOWN_KEY);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

static void a_lease_ends_and_is_never_outlived(void **state)
{
	(void)state;
	struct kveil_keystore *ks = NULL;
	uint8_t sealed[64];
	int64_t now = kveil_clock_wall_ms();
	size_t len;

	assert_ok(kveil_keystore_new_demo(&ks, &err));
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL);
	seal(key, "x", sealed);
	uint32_t first = lease_of(sealed);
	assert_ok(kveil_keyring_tick(ring, now + 44 * 60000, &err));
	seal(key, "x", sealed);
	assert_int_equal(lease_of(sealed), first);
	assert_ok(kveil_keyring_tick(ring, now + 46 * 60000, &err));
	seal(key, "x", sealed);
	assert_int_equal(lease_of(sealed), first + 1);

	kveil_keystore_demo_custodian(ks, false);
	assert_int_equal(kveil_keyring_tick(ring, now + 47 * 60000, &err), KVEIL_E_KEK_UNAVAILABLE);
	assert_int_equal(kveil_status_class(err.status), KVEIL_CLASS_RETRY);
	kveil_keystore_demo_custodian(ks, true);
	assert_ok(kveil_keyring_tick(ring, now + 47 * 60000, &err));
	assert_ok(kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &len, &err));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
}

/* --- in a registry --- */

static void init_makes_what_is_missing_and_no_more(void **state)
{
	(void)state;
	struct kveil_keys_init_result result;
	struct fixture f;
	size_t n, m;

	fixture_set_up(&f, NULL);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_REGISTRY_MISSING);
	assert_non_null(strstr(err.hint, "keys init"));
	assert_int_equal(access(at(&f, ".keys.json.lock"), F_OK), -1);
	assert_ok(kveil_keys_init(&f.config, &result, &err));
	assert_true(result.created);
	assert_int_equal(result.names_added, 3);
	uint8_t *before = get_file(at(&f, "keys.json"), &n);
	assert_ok(kveil_keys_init(&f.config, &result, &err));
	assert_false(result.created);
	assert_int_equal(result.names_added, 0);
	uint8_t *after = get_file(at(&f, "keys.json"), &m);
	assert_int_equal(n, m);
	assert_memory_equal(before, after, n);
	free(before);
	free(after);

	/* A name that the registry does not have stops a worker; init adds it. */
	char more[1024];
	snprintf(more, sizeof more, "%s  extra: {algorithm: hmac-sha-256}\n", fixture_yaml);
	fixture_forget(&f);
	fixture_parse(&f, more);
	assert_int_equal(fixture_open_status(&f), KVEIL_E_NOT_FOUND);
	assert_non_null(strstr(err.message, "extra"));
	assert_ok(kveil_keys_init(&f.config, &result, &err));
	assert_int_equal(result.names_added, 1);
	assert_int_equal(fixture_open_status(&f), KVEIL_OK);
	fixture_tear_down(&f);
}

/* A clock that was ten years ahead for a moment: what it published opens, and nobody waits ten years for the next. */
static void a_version_from_the_far_future_is_passed_over(void **state)
{
	(void)state;
	const int64_t hour = INT64_C(3600) * 1000, years = 24 * 3652 * hour, now = kveil_clock_wall_ms();
	struct fixture f;
	uint8_t a[64], b[64];

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	seal(key, "x", a);
	assert_ok(kveil_keystore_tend(ks, now + years, &err));
	assert_ok(kveil_keyring_tick(ring, now + years, &err));
	size_t n = seal(key, "x", b);
	uint32_t far = id_of(b);
	assert_int_not_equal(far, id_of(a));
	assert_ok(kveil_keyring_tick(ring, now, &err));
	opens(key, b, n, "x");
	for (int day = 0; day < 5; day++) {
		int64_t then = now + 24 * day * hour + 13 * hour;
		assert_ok(kveil_keystore_tend(ks, then, &err));
		assert_ok(kveil_keyring_tick(ring, then, &err));
		seal(key, "x", b);
		assert_int_not_equal(id_of(b), far);
		assert_true(day == 0 ? id_of(b) == id_of(a) : id_of(b) != id_of(a));
	}
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static void collect_state(void *user, const struct kveil_key_info *v)
{
	char *text = user;
	size_t n = strlen(text);
	snprintf(text + n, 256 - n, "%s@%u %s %s;", v->name, v->version, v->kek, v->state);
}

/* A version under a KEK that this configuration does not have is not an end: the rest goes on, and the number is taken.
 */
static void a_version_under_a_foreign_kek_holds_up_nothing(void **state)
{
	(void)state;
	static const char head[] = "registry: file:keys.json\nkeks:\n  local: {provider: file, path: kek}\n",
			  other[] = "  new: {provider: file, path: kek2}\n";
	char one[512], both[512], outside[256] = "";
	uint8_t kek2[32] = {2}, a[64], b[64];
	struct fixture f;

	snprintf(one, sizeof one, "%sdata:\n  pii: {algorithm: aes-256-gcm}\n", head);
	snprintf(both, sizeof both, "%s%sdata:\n  pii: {algorithm: aes-256-gcm, kek: new}\n", head, other);
	fixture_set_up(&f, one);
	put_file(at(&f, "kek2"), kek2, sizeof kek2, 0600);
	kveil_keystore_unref(fixture_init(&f));
	fixture_forget(&f);
	fixture_parse(&f, both);
	struct kveil_keystore *ks = fixture_init(&f);
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err));
	kveil_keystore_unref(ks);
	fixture_forget(&f);

	fixture_parse(&f, one);
	ks = fixture_init(&f);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	size_t n = seal(key, "x", a);
	kveil_keystore_each_outside(ks, NULL, collect_state, outside);
	assert_string_equal(outside, "pii@2 new unreachable;");
	assert_ok(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err));
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	size_t m = seal(key, "x", b);
	assert_int_not_equal(id_of(a), id_of(b));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_forget(&f);

	/* Whoever has both KEKs has all three. */
	fixture_parse(&f, both);
	ks = fixture_init(&f);
	ring = ring_of(ks);
	key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	opens(key, a, n, "x");
	opens(key, b, m, "x");
	char all[256] = "";
	kveil_keystore_each(ks, collect_state, all);
	assert_string_equal(all, "pii@1 local previous;pii@2 new previous;pii@3 local active;");
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

/* Whoever holds the keystore's lock holds up no value: what is not bound is looked for behind the record. */
static void opening_takes_no_lock(void **state)
{
	(void)state;
	struct fixture f;
	uint8_t sealed[64], newer[64], nobodys[64], out[64];
	size_t len;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	struct kveil_keyring *ring = ring_of(ks), *theirs = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	size_t n = seal(key, "hello", sealed);
	assert_false(kveil_keyring_look(ring)); /* nothing was missed */
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), 0, &err));
	seal(key_of(theirs, "pii", KVEIL_USE_SEAL), "newer", newer);
	assert_int_not_equal(id_of(newer), id_of(sealed));
	memcpy(nobodys, sealed, n);
	nobodys[4] ^= 1;

	pthread_mutex_lock(&ks->lock);
	alarm(60);
	assert_ok(kveil_key_open(key, AD, kveil_span_of(sealed, n), out, &len, &err));
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(nobodys, n), out, &len, &err), KVEIL_E_KEY_PENDING);
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(newer, n), out, &len, &err), KVEIL_E_KEY_PENDING);
	alarm(0);
	pthread_mutex_unlock(&ks->lock);
	/* The last one is here. */
	assert_true(kveil_keyring_look(ring));
	assert_false(kveil_keyring_look(ring));
	assert_ok(kveil_key_open(key, AD, kveil_span_of(newer, n), out, &len, &err));

	/* The registry is asked for the other; what it says holds until the next tick, and is found out anew then. */
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(nobodys, n), out, &len, &err), KVEIL_E_KEY_PENDING);
	assert_false(kveil_keyring_look(ring));
	assert_ok(kveil_keystore_refresh(ks, &err));
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(nobodys, n), out, &len, &err), KVEIL_E_KEY_PENDING);
	assert_true(kveil_keyring_look(ring));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(kveil_key_open(key, AD, kveil_span_of(nobodys, n), out, &len, &err),
				 KVEIL_E_UNKNOWN_KEY);
		assert_false(kveil_keyring_look(ring));
	}
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(nobodys, n), out, &len, &err), KVEIL_E_KEY_PENDING);
	/* A tick looks as well. */
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(kveil_key_open(key, AD, kveil_span_of(nobodys, n), out, &len, &err), KVEIL_E_UNKNOWN_KEY);
	kveil_keyring_free(ring);
	kveil_keyring_free(theirs);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

static void a_second_process_opens_what_the_first_sealed(void **state)
{
	(void)state;
	struct fixture f;
	uint8_t a[64], b[64], mac[2][32];

	fixture_set_up(&f, NULL);
	struct kveil_keystore *one = fixture_init(&f), *two = NULL;
	assert_ok(kveil_keystore_open(&f.config, &two, &err));
	struct kveil_keyring *r1 = ring_of(one), *r2 = ring_of(two);
	struct kveil_key *k1 = key_of(r1, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	struct kveil_key *k2 = key_of(r2, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	size_t n = seal(k1, "hello", a);
	seal(k2, "hello", b);
	opens(k2, a, n, "hello");
	opens(k1, b, n, "hello");
	assert_int_not_equal(lease_of(a), lease_of(b));
	assert_ok(kveil_key_mac(key_of(r1, "pepper", KVEIL_USE_MAC), KVEIL_SPAN("x"), mac[0], &err));
	assert_ok(kveil_key_mac(key_of(r2, "pepper", KVEIL_USE_MAC), KVEIL_SPAN("x"), mac[1], &err));
	assert_memory_equal(mac[0], mac[1], 32);

	/* A version that the other process has just made opens here without a tick between. */
	assert_ok(kveil_keystore_rotate(one, KVEIL_SPAN("pii"), 0, &err));
	assert_ok(kveil_keyring_tick(r1, kveil_clock_wall_ms(), &err));
	uint32_t old = id_of(a);
	n = seal(k1, "newer", a);
	assert_int_not_equal(id_of(a), old);
	opens(k2, a, n, "newer");

	/* An id that nobody has is this record's fault, and is not asked for again at once. */
	size_t len;
	a[4] ^= 1;
	assert_int_equal(open_or_look(k2, AD, kveil_span_of(a, n), b, &len, &err), KVEIL_E_UNKNOWN_KEY);
	assert_int_equal(open_or_look(k2, AD, kveil_span_of(a, n), b, &len, &err), KVEIL_E_UNKNOWN_KEY);
	char id[16];
	snprintf(id, sizeof id, "%u", id_of(a));
	assert_non_null(strstr(err.message, id));
	kveil_keyring_free(r1);
	kveil_keyring_free(r2);
	kveil_keystore_unref(one);
	kveil_keystore_unref(two);
	fixture_tear_down(&f);
}

struct listing {
	char text[2048];
};

static void list_row(void *user, const struct kveil_key_info *info)
{
	struct listing *l = user;
	size_t n = strlen(l->text);

	snprintf(l->text + n, sizeof l->text - n, "%s %u %s; ", info->name, info->version, info->state);
}

static const char *list(struct kveil_keystore *ks)
{
	static struct listing l;

	l.text[0] = 0;
	kveil_keystore_each(ks, list_row, &l);
	return l.text;
}

static void the_next_version_comes_half_a_period_ahead(void **state)
{
	(void)state;
	const int64_t hour = 3600 * 1000, start = kveil_clock_wall_ms();
	struct fixture f;
	uint8_t a[64], b[64];

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL);
	assert_ok(kveil_keystore_tend(ks, start + 11 * hour, &err));
	assert_string_equal(list(ks), "pepper 1 active; pii 1 active; still 1 active; ");
	assert_ok(kveil_keystore_tend(ks, start + 13 * hour, &err));
	assert_string_equal(list(ks), "pepper 1 active; pii 1 active; pii 2 pending; still 1 active; ");
	assert_ok(kveil_keystore_tend(ks, start + 14 * hour, &err));
	assert_string_equal(list(ks), "pepper 1 active; pii 1 active; pii 2 pending; still 1 active; ");
	assert_ok(kveil_keyring_tick(ring, start + 23 * hour, &err));
	seal(key, "x", a);
	assert_ok(kveil_keyring_tick(ring, start + 25 * hour, &err));
	seal(key, "x", b);
	assert_int_not_equal(id_of(a), id_of(b));

	/* Nobody made a third: the second seals for one period of grace, then nothing does. */
	assert_ok(kveil_keyring_tick(ring, start + 71 * hour, &err));
	assert_int_equal(kveil_keyring_tick(ring, start + 73 * hour, &err), KVEIL_E_NO_ACTIVE_KEY);
	size_t len;
	assert_int_equal(kveil_key_seal(key, AD, KVEIL_SPAN("x"), a, &len, &err), KVEIL_E_NO_ACTIVE_KEY);
	assert_ok(kveil_keystore_tend(ks, start + 73 * hour, &err));
	assert_ok(kveil_keyring_tick(ring, start + 73 * hour, &err));
	seal(key, "x", a);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

/* A configuration that changed its cipher, and one that has not yet: neither makes a version because of the other. */
static void only_rotate_changes_a_cipher(void **state)
{
	(void)state;
	const int64_t hour = 3600 * 1000, start = kveil_clock_wall_ms();
	struct kveil_keystore *old, *new = NULL;
	struct kveil_keys_init_result again;
	struct fixture f, g;

	fixture_set_up(&f, NULL);
	old = fixture_init(&f);
	g = f;
	fixture_parse(&g, "registry: file:keys.json\nkeks:\n  local: {provider: file, path: kek}\n"
			  "data:\n  pii: {algorithm: sm4-gcm, rotate_every: 24h}\n");
	assert_ok(kveil_keys_init(&g.config, &again, &err));
	assert_non_null(strstr(again.unlike.message, "seals with aes-256-gcm"));
	assert_int_equal(kveil_keystore_open(&g.config, &new, &err), KVEIL_E_CONFIG);
	assert_non_null(strstr(err.hint, "kveil keys rotate pii"));
	assert_ok(kveil_keystore_open_reachable(&g.config, &new, &err));
	assert_ok(kveil_keystore_tend(new, start, &err));
	assert_string_equal(list(new), "pepper 1 active; pii 1 active; still 1 active; ");
	assert_ok(kveil_keystore_rotate(new, KVEIL_SPAN("pii"), 0, &err));
	kveil_keystore_unref(new);
	assert_ok(kveil_keystore_open(&g.config, &new, &err));
	/* Those with the older configuration go on with what is there, now and when its time has come. */
	assert_ok(kveil_keystore_tend(old, start, &err));
	assert_string_equal(list(old), "pepper 1 active; pii 1 previous; pii 2 active; still 1 active; ");
	assert_ok(kveil_keystore_tend(old, start + 13 * hour, &err));
	pthread_mutex_lock(&old->lock);
	const struct kveil_key_name *n = kveil_map_get(&old->names, KVEIL_SPAN("pii"));
	assert_int_equal(n->count, 3);
	assert_string_equal(n->versions[2]->alg->name, "sm4-gcm");
	pthread_mutex_unlock(&old->lock);
	kveil_keystore_unref(new);
	kveil_keystore_unref(old);
	fixture_forget(&g);
	fixture_tear_down(&f);
}

static void states_go_one_way(void **state)
{
	(void)state;
	struct fixture f;
	uint8_t a[64], b[64], out[64];
	size_t changed, len;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	struct kveil_keyring *ring = ring_of(ks);
	struct kveil_key *key = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	size_t n = seal(key, "x", a);
	/* Out of use: it opens, and its successor is there at once. */
	assert_ok(kveil_keys_set_state(ks, "pii", 1, KVEIL_KEY_RETIRED, &changed, &err));
	assert_int_equal(changed, 1);
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	seal(key, "x", b);
	assert_int_not_equal(id_of(a), id_of(b));
	opens(key, a, n, "x");
	assert_ok(kveil_keys_set_state(ks, "pii", 1, KVEIL_KEY_DESTROYED, &changed, &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	assert_int_equal(open_or_look(key, AD, kveil_span_of(a, n), out, &len, &err), KVEIL_E_KEY_DESTROYED);
	opens(key, b, n, "x");
	/* No way back. */
	assert_ok(kveil_keys_set_state(ks, "pii", 1, KVEIL_KEY_RETIRED, &changed, &err));
	assert_int_equal(changed, 0);
	assert_int_equal(kveil_keys_set_state(ks, "pij", 0, KVEIL_KEY_RETIRED, &changed, &err), KVEIL_E_NOT_FOUND);

	/* A hash key that is retired has no successor of itself: that needs a decision. */
	key_of(ring, "pepper", KVEIL_USE_MAC);
	assert_ok(kveil_keys_set_state(ks, "pepper", 0, KVEIL_KEY_RETIRED, &changed, &err));
	assert_int_equal(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err), KVEIL_E_NO_ACTIVE_KEY);
	assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pepper"), 0, &err));
	assert_ok(kveil_keyring_tick(ring, kveil_clock_wall_ms(), &err));
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

/* --- threads --- */

enum { THREADS = 4, ROUNDS = 250 };

struct taker {
	const struct fixture *f;
	uint32_t leases[ROUNDS];
	_Atomic unsigned *taken; /* by all of them */
	atomic_bool *stop;
	struct kveil_keystore *ks;
	size_t sealed;
};

/* A ring of its own, and so a lease of its own. */
static enum kveil_status take_lease(struct kveil_keystore *ks, uint32_t *ret, struct kveil_error *why)
{
	struct kveil_keyring *ring = NULL;
	struct kveil_key *key;
	uint8_t sealed[64];
	size_t n;

	enum kveil_status st = kveil_keyring_new(ks, &ring, why);
	if (!st)
		st = kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL, &key, why);
	if (!st)
		st = kveil_key_seal(key, AD, KVEIL_SPAN("x"), sealed, &n, why);
	if (!st)
		*ret = lease_of(sealed);
	kveil_keyring_free(ring);
	return st;
}

static void *take_leases(void *user)
{
	struct taker *t = user;
	struct kveil_keystore *ks;
	struct kveil_error why;

	/* A keystore of its own: as another process would have. */
	if (kveil_keystore_open(&t->f->config, &ks, &why))
		return "open";
	for (int i = 0; i < ROUNDS;) {
		unsigned before = atomic_load(t->taken);
		enum kveil_status st = take_lease(ks, &t->leases[i], &why);
		if (!st) {
			atomic_fetch_add(t->taken, 1);
			i++;
		} else if (kveil_status_class(st) != KVEIL_CLASS_RETRY || atomic_load(t->taken) == before) {
			fprintf(stderr, "%s\n", why.message);
			return "seal"; /* not even another had the lock meanwhile */
		}
	}
	kveil_keystore_unref(ks);
	return NULL;
}

static int by_number(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static void a_thousand_leases_are_all_different(void **state)
{
	(void)state;
	static struct taker takers[THREADS];
	static uint32_t all[THREADS * ROUNDS];
	_Atomic unsigned taken = 0;
	pthread_t threads[THREADS];
	struct fixture f;

	fixture_set_up(&f, NULL);
	kveil_keystore_unref(fixture_init(&f));
	for (int i = 0; i < THREADS; i++) {
		takers[i] = (struct taker){.f = &f, .taken = &taken};
		assert_int_equal(pthread_create(&threads[i], NULL, take_leases, &takers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		assert_null(failed);
		memcpy(all + i * ROUNDS, takers[i].leases, sizeof takers[i].leases);
	}
	qsort(all, THREADS * ROUNDS, sizeof *all, by_number);
	for (int i = 1; i < THREADS * ROUNDS; i++)
		assert_true(all[i] > all[i - 1]);
	fixture_tear_down(&f);
}

static void *seal_and_open(void *user)
{
	struct taker *t = user;
	struct kveil_keyring *ring;
	struct kveil_key *key;
	struct kveil_error why;
	uint64_t last = 0;

	if (kveil_keyring_new(t->ks, &ring, &why) ||
	    kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, &why))
		return "key";
	while (!atomic_load(t->stop)) {
		if (kveil_keyring_tick(ring, kveil_clock_wall_ms(), &why))
			return "tick";
		for (int i = 0; i < 100; i++) {
			uint8_t sealed[64], out[64];
			size_t n, len;
			if (kveil_key_seal(key, AD, KVEIL_SPAN("value"), sealed, &n, &why) ||
			    open_or_look(key, AD, kveil_span_of(sealed, n), out, &len, &why) || len != 5)
				return "value";
			if (t->sealed++ && counter_of(sealed) != last + 1)
				return "a nonce was not counted";
			last = counter_of(sealed);
		}
	}
	kveil_keyring_free(ring);
	return NULL;
}

static void rotation_does_not_disturb_threads(void **state)
{
	(void)state;
	static struct taker takers[THREADS];
	pthread_t threads[THREADS];
	atomic_bool stop = false;
	struct fixture f;
	size_t versions = 0;

	fixture_set_up(&f, NULL);
	struct kveil_keystore *ks = fixture_init(&f);
	for (int i = 0; i < THREADS; i++) {
		takers[i] = (struct taker){.ks = ks, .stop = &stop};
		assert_int_equal(pthread_create(&threads[i], NULL, seal_and_open, &takers[i]), 0);
	}
	for (int i = 0; i < 50; i++) {
		assert_ok(kveil_keystore_rotate(ks, KVEIL_SPAN("pii"), kveil_clock_wall_ms() + 5, &err));
		assert_ok(kveil_keystore_tend(ks, kveil_clock_wall_ms(), &err));
		versions++;
	}
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		if (failed)
			fail_msg("%s", (const char *)failed);
		assert_true(takers[i].sealed > 0);
	}
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

/* In a child of a program with open keys. 0: the keys refuse, and those opened there serve. */
static int use_in_child(const struct fixture *f, struct kveil_keystore *ks, struct kveil_key *const keys[3],
			struct kveil_span theirs)
{
	static uint16_t digits[20];
	struct kveil_fpe_numerals numerals = {digits, 20, 10};
	struct kveil_keyring *ring;
	struct kveil_key *key;
	uint8_t out[200];
	size_t n;

	if (kveil_key_seal(keys[0], AD, KVEIL_SPAN("x"), out, &n, &err) != KVEIL_E_INTERNAL ||
	    kveil_key_open(keys[0], AD, theirs, out, &n, &err) != KVEIL_E_INTERNAL ||
	    kveil_key_mac(keys[1], KVEIL_SPAN("x"), out, &err) != KVEIL_E_INTERNAL ||
	    kveil_key_fpe(keys[2], true, AD, &numerals, &err) != KVEIL_E_INTERNAL)
		return 1;
	if (kveil_keyring_new(ks, &ring, &err) != KVEIL_E_INTERNAL ||
	    kveil_keyring_named(keys[0]->ring, KVEIL_SPAN("tenant-a"), KVEIL_USE_SEAL, &key, &err) !=
		KVEIL_E_INTERNAL ||
	    kveil_keyring_tick(keys[0]->ring, kveil_clock_wall_ms(), &err) != KVEIL_E_INTERNAL || !err.hint[0])
		return 2;
	if (kveil_keystore_open(&f->config, &ks, &err) || kveil_keyring_new(ks, &ring, &err) ||
	    kveil_keyring_key(ring, KVEIL_SPAN("pii"), KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, &err) ||
	    kveil_key_open(key, AD, theirs, out, &n, &err) || kveil_key_seal(key, AD, KVEIL_SPAN("x"), out, &n, &err) ||
	    lease_of(out) == lease_of(theirs.data))
		return 3;
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	return 0;
}

static void a_forked_child_opens_for_itself(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_key *keys[3];
	uint8_t sealed[200];
	int status;

	fixture_set_up(&f, "registry: file:keys.json\n"
			   "keks:\n"
			   "  local: {provider: file, path: kek}\n"
			   "data:\n"
			   "  pii: {algorithm: aes-256-gcm, kek: local}\n"
			   "  pepper: {algorithm: hmac-sha-256}\n"
			   "  card: {algorithm: aes-256-ff1}\n");
	struct kveil_keystore *ks = fixture_init(&f);
	struct kveil_keyring *ring = ring_of(ks);
	keys[0] = key_of(ring, "pii", KVEIL_USE_SEAL | KVEIL_USE_OPEN);
	keys[1] = key_of(ring, "pepper", KVEIL_USE_MAC);
	keys[2] = key_of(ring, "card", KVEIL_USE_TOKENIZE);
	size_t n = seal(keys[0], "x", sealed);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(use_in_child(&f, ks, keys, kveil_span_of(sealed, n)));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	opens(keys[0], sealed, n, "x");
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	fixture_tear_down(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(demo_keys_seal_and_open),
	    cmocka_unit_test(test_keys_are_the_same_everywhere),
	    cmocka_unit_test(what_was_altered_does_not_open),
	    cmocka_unit_test(versions_switch_at_their_time),
	    cmocka_unit_test(a_lease_ends_and_is_never_outlived),
	    cmocka_unit_test(init_makes_what_is_missing_and_no_more),
	    cmocka_unit_test(a_version_from_the_far_future_is_passed_over),
	    cmocka_unit_test(a_version_under_a_foreign_kek_holds_up_nothing),
	    cmocka_unit_test(opening_takes_no_lock),
	    cmocka_unit_test(a_second_process_opens_what_the_first_sealed),
	    cmocka_unit_test(the_next_version_comes_half_a_period_ahead),
	    cmocka_unit_test(only_rotate_changes_a_cipher),
	    cmocka_unit_test(states_go_one_way),
	    cmocka_unit_test(a_thousand_leases_are_all_different),
	    cmocka_unit_test(rotation_does_not_disturb_threads),
	    cmocka_unit_test(a_forked_child_opens_for_itself),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

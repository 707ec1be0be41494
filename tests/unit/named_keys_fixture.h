/* SPDX-License-Identifier: Apache-2.0 */
/* A registry with patterns, and short words to seal and open under names that records give. */
#ifndef KVEIL_TESTS_NAMED_KEYS_FIXTURE_H
#define KVEIL_TESTS_NAMED_KEYS_FIXTURE_H

#include "keys_fixture.h"

#include "keys/internal.h"

#define AD    KVEIL_SPAN("orders:$['card']")
#define PLAIN KVEIL_SPAN("13800138000")

static const char named_keys_yaml[] =
    "registry: file:keys.json\n"
    "keks:\n"
    "  local: {provider: file, path: kek}\n"
    "data:\n"
    "  pii: {algorithm: aes-256-gcm}\n"
    "  \"tenant-{}\": {algorithm: aes-256-gcm, new_per_second: 100000}\n"
    "  \"cn-{}.x\": {algorithm: sm4-gcm, rotate_every: 1h}\n"
    "  \"slow-{}\": {algorithm: aes-128-gcm, new_per_second: 1}\n"
    "  \"quota-{}\": {algorithm: aes-128-gcm, new_per_second: 100000, new_per_topic: 1}\n"
    "  \"few-{}\": {algorithm: aes-128-gcm, new_per_second: 100000, most_names: 3}\n";

enum { PATTERNS_OF_FIXTURE = 5 };

static struct fixture fx;

static inline int set_up(void **state)
{
	(void)state;
	fixture_set_up(&fx, named_keys_yaml);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	fixture_tear_down(&fx);
	return 0;
}

static inline struct kveil_keyring *ring_of(struct kveil_keystore *ks)
{
	struct kveil_keyring *ring;

	assert_ok(kveil_keyring_new(ks, &ring, &err));
	return ring;
}

/* The key, made if need be. */
static inline struct kveil_key *named(struct kveil_keystore *ks, struct kveil_keyring *ring, const char *name,
				      unsigned use)
{
	struct kveil_key *key = NULL;
	enum kveil_status status = kveil_keyring_named(ring, kveil_span_str(name), use, &key, &err);

	if (status == KVEIL_E_KEY_PENDING) {
		assert_ok(kveil_keystore_make_asked(ks, kveil_clock_wall_ms(), &err));
		status = kveil_keyring_named(ring, kveil_span_str(name), use, &key, &err);
	}
	assert_ok(status);
	return key;
}

struct sealed {
	uint8_t data[96];
	size_t len;
};

static inline struct sealed seal(struct kveil_key *key)
{
	struct sealed s;

	assert_true(kveil_key_sealed_max(key, PLAIN.len) <= sizeof s.data);
	assert_ok(kveil_key_seal(key, AD, PLAIN, s.data, &s.len, &err));
	return s;
}

static inline enum kveil_status open_it(struct kveil_key *key, const struct sealed *s)
{
	uint8_t plain[96];
	size_t n = 0;
	enum kveil_status status = open_or_look(key, AD, kveil_span_of(s->data, s->len), plain, &n, &err);

	if (!status)
		assert_true(kveil_span_eq(kveil_span_of(plain, n), PLAIN));
	return status;
}

static inline enum kveil_status try_open(struct kveil_keyring *ring, const char *name, const struct sealed *s)
{
	struct kveil_key *key;

	assert_ok(kveil_keyring_named(ring, kveil_span_str(name), KVEIL_USE_OPEN, &key, &err));
	return open_it(key, s);
}

static inline uint32_t id_of(const struct sealed *s)
{
	return (uint32_t)s->data[1] << 24 | (uint32_t)s->data[2] << 16 | (uint32_t)s->data[3] << 8 | s->data[4];
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys/keyring.h: inside of a keyring, for its files: lease.c (lease, bound versions), keyring_named.c (keys named from
 * records, a bounded cache), keyring.c (keys that the configuration names), keyring_values.c (counter, the hot path).
 */
#ifndef KVEIL_KEYS_KEYRING_H
#define KVEIL_KEYS_KEYRING_H

#include "keys/internal.h"

enum { KVEIL_PREFIX_BYTES = 5 }; /* 0x01 | key id */

struct kveil_bound {
	uint32_t id;
	bool destroyed, withheld;
	const struct kveil_algorithm *alg;
	enum kveil_status why; /* a named key's version that is not unwrapped */
	uint8_t *key;          /* of a named key's version: what its cipher is made of when it opens; NULL = none */
	struct kveil_cipher *cipher; /* NULL: not made yet, destroyed, or wrapped for somebody else */
	uint8_t prefix[KVEIL_PREFIX_BYTES];
};

struct kveil_key {
	struct kveil_keyring *ring;
	struct kveil_key_name *name; /* NULL: named from a record, see slot */
	struct kveil_keyring_named_slot *slot;
	char *asked;       /* the name as asked for, with @version */
	const char *label; /* for messages: never what a record filled in */
	uint32_t pinned;   /* 0 = any version */
	unsigned use;
	struct kveil_bound *versions; /* by id, ascending */
	size_t count;
	struct kveil_bound *active, *last_opened; /* in versions; NULL = none */
	size_t overhead;                          /* the most that any version adds */
	int64_t until_ms;                         /* active may change from then on (wall time) */
};

/* An id that kveil_key_open did not find, and what a look into the keystore made of it. The answer is about the key's
 * name: its place may go to another name and back before the record is run again. */
struct kveil_missing {
	struct kveil_key *key; /* where to look; NULL: nowhere */
	char label[KVEIL_KEY_NAME_MAX + 1];
	uint32_t pinned, id;
	struct kveil_error answer; /* status OK: not looked for yet, or the registry is asked */
};

struct kveil_keyring {
	struct kveil_keystore *ks;
	const uint8_t *alive; /* the keystore's */
	uint64_t generation;
	int64_t next_change_ms;            /* the least until_ms of all keys */
	struct kveil_map keys;             /* struct kveil_key, by asked name */
	struct kveil_keyring_named *named; /* keys named from records; NULL until the first */
	uint64_t named_changes;
	const char *topic; /* whose records are at hand; NULL = nobody's */
	int32_t partition;
	int64_t now_ms;                   /* of the last tick (wall time) */
	const struct kveil_key *inactive; /* a key that has to protect and has nothing to do it with; NULL = none */
	struct kveil_missing missing;
	bool needs_lease, had_lease, asked_lease; /* asked: the keeper, for the next one */
	bool refuses;                             /* the last tick: nothing may be protected */

	uint32_t lease;
	uint64_t counter, uses_left; /* uses_left == 0: no lease */
	int64_t lease_end_ms, lease_renew_ms, lease_retry_ms;
};

/* --- lease.c --- */

/* Renews the lease when due; see kveil_keyring_tick. */
enum kveil_status kveil_keyring_tend_lease(struct kveil_keyring *ring, int64_t now_ms,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* A version without its cipher. */
void kveil_bound_init(struct kveil_bound *b, uint32_t id, const struct kveil_algorithm *alg, bool destroyed);
size_t kveil_bound_overhead(const struct kveil_algorithm *alg);

/* --- keyring_named.c --- */

/* As kveil_keyring_named, but for keys in memory. */
enum kveil_status kveil_keyring_named_key(struct kveil_keyring *ring, struct kveil_span name, unsigned use,
					  struct kveil_key **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* What changed since the last tick is bound anew when it is asked for. */
void kveil_keyring_named_tick(struct kveil_keyring *ring);
void kveil_keyring_named_free(struct kveil_keyring *ring);
/* Looks at the keystore again: a version may have come. */
enum kveil_status kveil_keyring_named_sync(struct kveil_key *key, struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- keyring_values.c --- */

/* Has a fork wiped the keys? What is left of them protects nothing, and nonces would be the parent's. */
static inline bool kveil_keyring_is_wiped(const struct kveil_keyring *ring)
{
	return __builtin_expect(*ring->alive == 0, 0);
}
enum kveil_status kveil_keyring_wiped(struct kveil_error *err) KVEIL_MUST_CHECK;

struct kveil_bound *kveil_bound_find(const struct kveil_key *key, uint32_t id);
/* Is it for this that nothing seals? */
bool kveil_key_is_withheld(const struct kveil_key *key);
/* Says why nothing protects. */
enum kveil_status kveil_key_no_active(const struct kveil_key *key, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

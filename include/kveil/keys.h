/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kveil/keys.h: what the engine asks of keys.
 *
 *   keystore   one a process: registry, custodians, all versions of all keys; any thread
 *   keyring    one a thread: its nonce lease, its own cipher contexts; that thread only
 *   key        a name in a keyring, with every version it knows; bound once a plan, used for each value
 *
 * The bytes of a sealed value (Tink's layout), for AES-GCM and SM4-GCM:
 *
 *   0x01 | key id (4, big-endian) | nonce (12) = lease (4) counter (8) | ciphertext | tag (16)
 *
 * Nonces are counted (SP 800-38D 8.2.1): a lease number is given to one keyring and never again, the counter
 * begins at random and is used at most 2^40 times a lease. Without a lease nothing is sealed.
 */
#ifndef KVEIL_KEYS_H
#define KVEIL_KEYS_H

#include "kveil/base.h"

struct kveil_keystore;
struct kveil_keyring;
struct kveil_key;
struct kveil_algorithm;
struct kveil_fpe_numerals;

enum { KVEIL_KEY_NAME_MAX = 128 }; /* bytes of a key's name */

/* What a rule wants to do with a key; a key's algorithm allows some of these. */
enum kveil_key_use {
	KVEIL_USE_SEAL = 1 << 0,
	KVEIL_USE_OPEN = 1 << 1,
	KVEIL_USE_MAC = 1 << 2,
	KVEIL_USE_TOKENIZE = 1 << 3, /* format-preserving, both ways: kveil_key_fpe */
	KVEIL_USE_DETOKENIZE = 1 << 4,
	KVEIL_USE_DETERMINISTIC = 1 << 5, /* beside SEAL or OPEN: equal values have equal ciphertexts */
};

void kveil_keystore_unref(struct kveil_keystore *ks);

/* Keys in memory only, made as they are asked for: AES-256-GCM to seal, HMAC-SHA-256 to hash, … by use.
 * For `apply --demo-keys`, `test`, `demo`, `bench` and tests. `run` has no way to it. */
enum kveil_status kveil_keystore_new_demo(struct kveil_keystore **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* As above; keys are derived from seed, and leases count from 1, so that golden tests can hold bytes. */
enum kveil_status kveil_keystore_new_test(struct kveil_span seed, struct kveil_keystore **ret,
					  struct kveil_error *err) KVEIL_MUST_CHECK;

/* Is `name` a configured data key (or does it match a pattern such as "tenant-{}"), and does its algorithm
 * allow use? KVEIL_E_NOT_FOUND, KVEIL_E_CONFIG with a hint otherwise. A demo keystore says yes to all. */
enum kveil_status kveil_keystore_check(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				       struct kveil_error *err) KVEIL_MUST_CHECK;

/* How many bytes a configured hash key computes, and its algorithm's name; name as for kveil_keystore_check. 0 = not
 * known: no such key, not a hash key, or keys in memory. */
size_t kveil_keystore_mac_bytes(struct kveil_keystore *ks, struct kveil_span name, const char **ret_algorithm);

/* A thread's own, without a key or lease so far: it takes them as it is asked. Holds a reference on the keystore.
 * NO_MEMORY, and nothing else. */
KVEIL_API enum kveil_status kveil_keyring_new(struct kveil_keystore *ks, struct kveil_keyring **ret,
					      struct kveil_error *err) KVEIL_MUST_CHECK;
/* Wipes its keys. After the engines that are bound to it. NULL is fine. */
KVEIL_API void kveil_keyring_free(struct kveil_keyring *ring);

/* Once a batch of records, never per value: renews the lease when due, takes in new versions, activates the
 * next version at its set time, wipes destroyed ones. Cheap when nothing changed (one atomic load and a clock
 * read). A KVEIL_CLASS_RETRY error: seal nothing, back off, tick again. */
KVEIL_API enum kveil_status kveil_keyring_tick(struct kveil_keyring *ring, int64_t now_wall_ms,
					       struct kveil_error *err) KVEIL_MUST_CHECK;

/* After a tick that failed: may nothing at all be protected? Otherwise some key has no version that protects, or there
 * is no lease; the ring refuses what needs it by itself, and the rest goes on. */
KVEIL_API bool kveil_keyring_refuses(const struct kveil_keyring *ring);

/* The key called name, or name@version (opens and seals with that version only), for the given uses. The
 * pointer lives as long as the ring; asking again gives the same one. */
enum kveil_status kveil_keyring_key(struct kveil_keyring *ring, struct kveil_span name, unsigned use,
				    struct kveil_key **ret, struct kveil_error *err) KVEIL_MUST_CHECK;

/* The key that a record names: name fills a pattern of the configuration such as "tenant-{}". The pointer is good until
 * the second call of this after it, or the next tick. To seal with a name that is not there yet is KVEIL_E_KEY_PENDING:
 * it was asked for and will be made (kveil_keystore_make_asked); one that was destroyed is KVEIL_E_KEY_DESTROYED, one
 * more than the pattern may have KVEIL_E_KEY_LIMIT. No name is made for the sake of opening. A demo keystore makes
 * whatever it is asked for. */
enum kveil_status kveil_keyring_named(struct kveil_keyring *ring, struct kveil_span name, unsigned use,
				      struct kveil_key **ret, struct kveil_error *err) KVEIL_MUST_CHECK;

/* After KEY_PENDING from kveil_key_open, outside of the hot path: looks into the keystore, never into the registry.
 * true: the same call will know more, so run the record again. What was found out holds until the next tick. */
bool kveil_keyring_look(struct kveil_keyring *ring);
bool kveil_key_look(struct kveil_key *key); /* of its ring */

/* Whose records come next: new names are made in turns between the partitions that ask. topic is borrowed until the
 * next call of this. */
void kveil_keyring_serve(struct kveil_keyring *ring, const char *topic, int32_t partition);

/* --- the hot path: no allocation, no lock, no system call --- */

/* Upper bound of what seal writes for n bytes, with any of the key's versions. */
size_t kveil_key_sealed_max(const struct kveil_key *key, size_t n);

/* Writes prefix | id | nonce | ciphertext | tag into out (kveil_key_sealed_max bytes of room, no overlap).
 * ad.len > 0. */
enum kveil_status kveil_key_seal(struct kveil_key *key, struct kveil_span ad, struct kveil_span plain, uint8_t *out,
				 size_t *ret_len, struct kveil_error *err) KVEIL_MUST_CHECK;
/* out has room for sealed.len. Nothing of the plaintext is left in out on failure. BAD_CIPHERTEXT, UNKNOWN_KEY
 * (the message names the id), KEY_DESTROYED, AUTHENTICATION. An id that is not bound here is KEY_PENDING: after
 * kveil_keyring_look, or the next tick, the same call knows, or it is KEY_PENDING again: the registry is asked, and the
 * keystore's next refresh (kveil_keystore_make_asked, or the keeper's turn) tells. */
enum kveil_status kveil_key_open(struct kveil_key *key, struct kveil_span ad, struct kveil_span sealed, uint8_t *out,
				 size_t *ret_len, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Length of the keyed hash. */
size_t kveil_key_mac_bytes(const struct kveil_key *key);
enum kveil_status kveil_key_mac(struct kveil_key *key, struct kveil_span in, uint8_t *out,
				struct kveil_error *err) KVEIL_MUST_CHECK;
/* Format-preserving, in place (crypto/algorithm.h). There is no room for a key id: the active or pinned version serves
 * both ways. Such keys are asked for with KVEIL_USE_TOKENIZE, KVEIL_USE_DETOKENIZE. */
enum kveil_status kveil_key_fpe(struct kveil_key *key, bool encrypt, struct kveil_span tweak,
				struct kveil_fpe_numerals *numerals, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The algorithm that protects now: which of the above to call. NULL: no version at all. */
const struct kveil_algorithm *kveil_key_algorithm(const struct kveil_key *key);
/* What stands in for the default associated data, so that equal values are equal wherever this key seals them (`join`
 * of keys.data, deterministic keys only). Absent for most keys. Lives as long as the keystore. */
struct kveil_span kveil_key_join(const struct kveil_key *key);

#endif

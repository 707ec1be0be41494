/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys/named_keys.h: keys named from the record. A name that a record fills into a pattern of keys.data ("tenant-{}")
 * has a key of its own, a named key.
 *
 *   pattern's own key   name "tenant-{}", made by `keys init`, wrapped by its KEK; it wraps keys and does nothing else
 *   a named key         name "tenant-" + HEX(digest): what the record filled in leaves the process as a keyed hash only
 *     digest            HMAC-SHA-256 under the registry's "name" subkey of  pattern | 0 | what was filled in,  16 bytes
 *     kek               the pattern's name
 *     wrapped           0x01 | id of the pattern's version (4) | what its cipher made of the key; the associated data
 *                       is the payload's head (key_record.h), so that a wrapped key says what it is
 *
 * So 100,000 named keys cost the custodian one call. Records stay wrapped in memory, small; keys are unwrapped as they
 * are asked for, and a bounded number of them is kept. A ring that misses one asks for it; whoever serves the asking
 * (kveil_keystore_make_asked) makes all that were asked for at once, appends, reads back: the first by the registry's
 * order wins, and nothing is sealed with a key before that is known.
 *
 * A destroyed name stays destroyed: a record of version KVEIL_NAMED_KEY_ENDED says so, whatever comes before or after
 * it.
 *
 * A number belongs to the first record that has it, be that one a key or not: one under another KEK, or whose bytes
 * open to nothing, is passed over for good, and the name goes on with the number after it.
 *
 * Under the keystore's lock, but for what says otherwise.
 */
#ifndef KVEIL_KEYS_NAMED_KEYS_H
#define KVEIL_KEYS_NAMED_KEYS_H

#include "base/map.h"
#include "keys/keystore.h"
#include "registry/key_record.h"

enum {
	KVEIL_DIGEST_BYTES = 16,
	KVEIL_NAMED_KEY_PREFIX_BYTES = 5, /* 0x01 | id of the pattern's version */
	KVEIL_NAMED_KEY_WRAPPED_MAX = 256,
};
#define KVEIL_NAMED_KEY_ENDED UINT32_MAX

struct kveil_named_key_version {
	struct kveil_named_key_version *next; /* of the same name */
	struct kveil_named_key *named;
	uint8_t *key;     /* secret memory; NULL = not at hand */
	uint8_t *wrapped; /* owned */
	int64_t created_ms, active_from_ms, expires_ms, changed_ms;
	uint32_t id, version, sequence;
	uint32_t held_at; /* in kveil_named_keys.held, if key */
	uint16_t algorithm, wrapped_len;
	uint8_t state;
	bool withheld; /* disabled, or due to be destroyed */
	bool dud;      /* its wrapped bytes open to nothing */
};

struct kveil_named_key {
	uint8_t digest[KVEIL_DIGEST_BYTES];
	const struct kveil_data_key_config *pattern;
	struct kveil_named_key_version *versions;
	uint32_t changes; /* rises with each change after the first version */
	uint32_t last;    /* the highest number that is taken, but for KVEIL_NAMED_KEY_ENDED; 0 = none */
	bool ended;
};

/* Whose record it is. */
struct kveil_named_key_source {
	uint64_t topic; /* a hash; 0 = nobody's */
	int32_t partition;
};

struct kveil_named_key_ask {
	const struct kveil_data_key_config *pattern;
	uint8_t digest[KVEIL_DIGEST_BYTES];
	uint32_t number; /* the next one, when it was asked for */
	struct kveil_named_key_source source;
	uint64_t turn; /* those with the lowest are served first; see kveil_named_keys_ask */
};

enum { KVEIL_ASKED_MAX = 1024, KVEIL_BURST_SECONDS = 10 };

/* How many more names may be made now. */
struct kveil_bucket {
	double left;
	int64_t filled_ms; /* monotonic; 0 = never */
};

struct kveil_named_key_rate {
	struct kveil_bucket bucket;
	uint64_t count;  /* named keys there are */
	uint64_t turn;   /* of those that were served last */
	uint64_t taking; /* new ones, in one go */
	bool held_up;    /* a version of the pattern's own key waits for its custodian */
};

/* The same for the records of one topic, where a pattern limits that. */
struct kveil_topic_rate {
	const struct kveil_data_key_config *pattern;
	uint64_t topic;
	struct kveil_bucket bucket;
};

struct kveil_named_key_wrapper;

struct kveil_named_keys {
	struct kveil_map names, ids;           /* by digest: kveil_named_key; by id: kveil_named_key_version */
	_Atomic uint64_t changes;              /* of named keys that were here before; rings look */
	_Atomic uint64_t made;                 /* versions made by this process */
	struct kveil_named_key_version **held; /* whose keys are at hand, oldest first from held_next */
	size_t held_next;
	struct kveil_named_key_ask *asked;
	size_t asked_count;
	struct kveil_named_key_rate *rates; /* one an entry of keys.data */
	struct kveil_topic_rate *topics;
	size_t topic_count, topic_cap;
	struct kveil_named_key_wrapper *wrappers;
	size_t wrapper_count;
	bool has_duds; /* or had */
	bool is_read;  /* the registry, to its end: what it has is in memory or held up */
};

void kveil_named_keys_clear(struct kveil_keystore *ks);

/* NULL: no memory. */
struct kveil_named_key_rate *kveil_named_keys_rate(struct kveil_keystore *ks,
						   const struct kveil_data_key_config *pattern);

/* The algorithm of a pattern's own key. */
const struct kveil_algorithm *kveil_pattern_algorithm(const struct kveil_data_key_config *pattern);
static inline bool kveil_is_pattern(const struct kveil_data_key_config *c)
{
	return c && strchr(c->name, '{') != NULL;
}
/* The pattern that name fills, and what fills it; NULL: none. */
const struct kveil_data_key_config *kveil_keys_config_pattern(const struct kveil_keys_config *c, struct kveil_span name,
							      struct kveil_span *ret_filling);
/* Is this a record of a named key? */
bool kveil_record_is_named(const struct kveil_key_record *r);

/* text is kveil_named_keys_digest_text. */
void kveil_named_keys_digest_text(const struct kveil_data_key_config *pattern, struct kveil_span filling,
				  struct kveil_buf *out);
enum kveil_status kveil_named_keys_digest(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
					  struct kveil_span filling, uint8_t digest[KVEIL_DIGEST_BYTES],
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* The name that the registry knows it by. */
void kveil_named_keys_write_name(const struct kveil_data_key_config *pattern, const uint8_t digest[KVEIL_DIGEST_BYTES],
				 char name[KVEIL_KEY_NAME_MAX + 1]);

/* The other way; false: name is none. */
bool kveil_named_keys_read_name(const struct kveil_data_key_config *pattern, const char *name,
				uint8_t digest[KVEIL_DIGEST_BYTES]);

/* Takes a record in; KVEIL_OK too for what counts for nothing, but for the number that it has. Takes the lock itself.
 */
enum kveil_status kveil_named_keys_take(struct kveil_keystore *ks, const struct kveil_key_record *r,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* Another key's record may have the name of a named key, and with it a number. Takes the lock itself. */
enum kveil_status kveil_named_keys_note(struct kveil_keystore *ks, const struct kveil_key_record *r,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* Between these two a wrapper that is not here may be on its way. Under refresh_lock; they take the lock themselves. */
void kveil_named_keys_reading(struct kveil_keystore *ks);
void kveil_named_keys_read(struct kveil_keystore *ks, bool to_its_end);
/* Which version of the pattern's own key made these wrapped bytes (at least 5). */
uint32_t kveil_named_keys_wrapper_id(const uint8_t *wrapped);
/* A version of a pattern's own key has come: what it wrapped may be had. */
void kveil_named_keys_wrapper_here(struct kveil_keystore *ks, uint32_t id);
/* It is destroyed: what it wrapped cannot be had any more. */
void kveil_named_keys_wrapper_gone(struct kveil_keystore *ks, uint32_t id);

struct kveil_named_key *kveil_named_keys_find(const struct kveil_keystore *ks,
					      const uint8_t digest[KVEIL_DIGEST_BYTES]);
struct kveil_named_key_version *kveil_named_keys_by_id(const struct kveil_keystore *ks, uint32_t id);
/* The bytes of its key are not at hand any more. NULL is fine. */
void kveil_named_keys_let_go(struct kveil_named_keys *t, struct kveil_named_key_version *v);
/* As the registry has it, but for what is wrapped and the MAC. */
struct kveil_key_record kveil_named_keys_head(const struct kveil_named_key_version *v);
/* A copy as the registry has it; the caller clears it. */
bool kveil_named_keys_record(const struct kveil_named_key_version *v, struct kveil_key_record *ret) KVEIL_MUST_CHECK;
struct kveil_succession;
void kveil_named_keys_succession(const struct kveil_named_key *t, int64_t now_ms, struct kveil_succession *ret);
/* The number after all others; KVEIL_NAMED_KEY_ENDED: there is none. t may be NULL. */
uint32_t kveil_named_keys_next(const struct kveil_named_key *t);
/* Has it versions, and none that was not destroyed? */
bool kveil_named_keys_is_destroyed(const struct kveil_named_key *t);

/* Would it seal, but for what is withheld? */
bool kveil_named_keys_is_withheld(const struct kveil_named_key *t);
void kveil_named_keys_withhold(struct kveil_named_keys *all, struct kveil_named_key_version *v, bool withheld);

/* A cipher for this version, the caller's. *ret is one to make it of, or NULL; it is given up on failure.
 * KEK_UNAVAILABLE where the pattern's own key is not at hand. UNKNOWN_KEY: it opens to nothing, is a dud from now on
 * and seals no more. */
enum kveil_status kveil_named_keys_cipher(struct kveil_keystore *ks, struct kveil_named_key_version *v,
					  struct kveil_cipher **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The bytes of this version's key, borrowed until the lock is given up. */
enum kveil_status kveil_named_keys_key(struct kveil_keystore *ks, struct kveil_named_key_version *v,
				       const uint8_t **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The key inside r, which may be newer than what is in memory. */
enum kveil_status kveil_named_keys_unwrap(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
					  const struct kveil_key_record *r, uint8_t key[KVEIL_KEY_BYTES_MAX],
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Is it wrapped by the pattern's newest version, or not at all? */
bool kveil_named_keys_is_current(const struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
				 const struct kveil_key_record *r);
/* Wraps key for r (whose fields but wrapped and kek are set) with the pattern's newest version, and signs it. */
enum kveil_status kveil_named_keys_wrap(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
					struct kveil_key_record *r, const uint8_t *key,
					struct kveil_error *err) KVEIL_MUST_CHECK;

/* Is there anything to make? Takes the lock itself. */
bool kveil_named_keys_are_asked(struct kveil_keystore *ks);
/* Makes what was asked for; takes the lock itself, under tend_lock. KEY_PENDING: some of it waits for its turn. Another
 * error: the first that stood in the way of a name; the others are made. */
enum kveil_status kveil_named_keys_make(struct kveil_keystore *ks, int64_t now_ms,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* For operators; these take the lock themselves. A next version of a named key that is there; and the record that ends
 * a name. */
enum kveil_status kveil_named_keys_rotate(struct kveil_keystore *ks, const struct kveil_named_key_ask *a,
					  int64_t active_from_ms, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_named_keys_end(struct kveil_keystore *ks, const struct kveil_named_key_ask *a,
				       struct kveil_key_record *r, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The named key that an operator means by a name that fills a pattern and is configured for nothing else. */
bool kveil_named_keys_meant(struct kveil_keystore *ks, const char *name, struct kveil_named_key_ask *ret);
/* Adds what to do to an error about a name that is nobody's, if it was copied out of the registry. Takes the lock
 * itself. */
void kveil_named_keys_hint(struct kveil_keystore *ks, const char *name, struct kveil_error *err);
/* Somebody wants a (next) version of this named key. What a source asks for gets a turn after all that it has asked for
 * before, and none before the turn that is served: each of the sources that ask has one name made before any has two,
 * however many one of them asks for. */
void kveil_named_keys_ask(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
			  const uint8_t digest[KVEIL_DIGEST_BYTES], struct kveil_named_key_source source);
/* Has the pattern as many names as it may? */
bool kveil_named_keys_are_full(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern);

#endif

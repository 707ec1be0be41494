/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys/internal.h: what the files of keys/ share.
 *
 *   keystore (one a process)          keyring (one a thread)
 *     names ─► versions ─► key bytes    keys ─► bound versions ─► ciphers
 *     generation  ◄──────────────────── compared once a tick
 *
 * Locks, taken in this order: tend_lock (makes new versions) > refresh_lock (one refresh at a time, registry order
 * kept) > io_lock (calls into the registry driver) > lock (names, versions, key bytes: never held over I/O).
 *
 * Each file needs only those below it (tests/objects.py holds that):
 *
 *   keyring.c, keyring_named.c   a thread's keys (lease.c: its lease; keyring_values.c: what they do to a value)
 *   resolve.c, rotate.c, operate.c  a key by its name; an operator's word
 *   tend.c                       what falls due
 *   states.c, named_keys_make.c     from one state of a version to the next; keys that records name, made
 *   publish.c, open.c, life.c    records into the registry; the registry opened; what is withheld on an operator's word
 *   refresh.c                    records from the registry
 *   heed.c, named_keys_take.c       what its events withhold; keys that records name, taken in
 *   seek.c, make.c, memory.c     ids that are not here; a new version; keys in memory only
 *   keystore.c, named_keys.c        names and versions as they are in memory
 *   keys_config.c, wrap.c, pattern.c, uses.c, succession.c, prove.c, tell.c
 */
#ifndef KVEIL_KEYS_INTERNAL_H
#define KVEIL_KEYS_INTERNAL_H

#include "base/event.h"
#include "base/map.h"
#include "custody/provider.h"
#include "keys/keystore.h"
#include "keys/named_keys.h"
#include "registry/document.h"
#include "registry/key_record.h"
#include "registry/registry.h"
#include "registry/registry_life.h"

#include <pthread.h>
#include <stdatomic.h>

/* A version that was taken in. record.wrapped is kept only where the registry needs it back. */
struct kveil_key_version {
	struct kveil_key_record record;
	const struct kveil_algorithm *alg;
	uint8_t *key;  /* secret memory, alg->key_bytes; NULL: destroyed, or wrapped for somebody else */
	bool withheld; /* disabled, or due to be destroyed: neither seals nor opens */
	bool anyones;  /* under a KEK whose public half any edge has, and not the name's own KEK: opens, never seals */
};

static inline bool kveil_key_version_seals(const struct kveil_key_version *v)
{
	return v->record.state == KVEIL_KEY_LIVE && v->key && !v->anyones && !v->withheld;
}

enum { KVEIL_SOUGHT_MAX = 4096 };

struct kveil_key_name {
	char *name;
	/* in no order; what they point to is never moved or freed before the keystore */
	struct kveil_key_version **versions;
	size_t count, cap;
	const struct kveil_data_key_config *config; /* NULL: not in the configuration */
	uint32_t told; /* the version that protected when the keeper looked last; 0 = it has not looked, or none did */
};

/* Keys in memory only: no custodian, and a registry that keeps nothing. memory.c */
struct kveil_memory_keys {
	bool seeded;
	uint8_t *seed;              /* secret memory, 32 bytes */
	atomic_bool custodian_away; /* the demo's way to show an outage */
};

/* A record of the backlog that the KEK which it names did not wrap. */
struct kveil_refusal {
	uint32_t id, sequence;
	enum kveil_key_state state;
	unsigned times;
	int64_t until_ms; /* monotonic: its custodian is not asked before */
};

/* Records that were read and not taken in yet. refresh.c, under refresh_lock. */
struct kveil_backlog {
	struct kveil_document all;
	size_t held_up; /* of these, from the front: were tried */
	struct kveil_refusal *refusals;
	size_t refusal_count;
	struct kveil_condemned {
		char name[KVEIL_KEY_NAME_MAX + 1];
		uint32_t version;
	} * condemned; /* numbers of a log that records have which open to nothing of theirs */
	size_t condemned_count;
};

/* An entry of the configuration's data, as the last reading found it. */
struct kveil_unread {
	bool was_whole;         /* once nothing of it was outside: what comes later takes nothing from it */
	struct kveil_error why; /* a version of it is outside; status OK = none is */
};

/* Ids of ciphertexts that are not here: the next refresh tells whether they are anywhere. seek.c, under lock. */
struct kveil_seeking {
	struct kveil_sought {
		uint32_t id;
		enum { KVEIL_SOUGHT_ASKED, KVEIL_SOUGHT_HELD_UP, KVEIL_SOUGHT_UNKNOWN } found;
		uint64_t asked;   /* refreshes begun by then: none of those answers */
		int64_t until_ms; /* monotonic: how long an unknown one stays so */
	} ids[KVEIL_SOUGHT_MAX];
	size_t count, next; /* the oldest goes for a new one */
	struct kveil_error held_up_why;
	atomic_uint_fast64_t refreshes; /* begun. refresh.c */
};

/* Leases that a keeper takes ahead, for rings that have one already: none of them waits for the registry. Under
 * lock. */
struct kveil_leases {
	uint32_t stock[16];
	unsigned count, wanted;
	struct kveil_error why; /* the last one could not be had */
};

/* Bytes of a version made here under a KEK that only locks: nobody gives them back, so they are kept until its record
 * has come round through the registry. */
struct kveil_made_key {
	struct kveil_made_key *next;
	uint32_t id;
	uint8_t *key; /* secret memory */
};

/* What the registry's events say. heed.c, under lock. */
struct kveil_withheld_versions {
	struct kveil_withheld_list list;
	uint64_t heeded; /* changes of the registry's events by then */
};

/* What falls due. tend.c, publish.c; under tend_lock, but for the result. */
struct kveil_tending {
	int64_t retry_at_ms; /* monotonic: nothing is written to the registry before */
	unsigned failures;
	struct kveil_error last_failure;
	struct kveil_error result; /* of the keeper's last turn; under lock */
	uint32_t lateness;         /* drawn: how much later than due this process makes a version, of 2^32 */
};

/* Parts are written by the files that their structs name. */
struct kveil_keystore {
	atomic_uint refs;
	_Atomic uint64_t generation; /* counts changes of names and versions */
	uint8_t *alive;              /* 1, in key memory: 0 in a forked child, as all keys are */
	pthread_mutex_t tend_lock, refresh_lock, io_lock, lock;
	const struct kveil_keys_config *config;
	struct kveil_map names; /* struct kveil_key_name. keystore.c */
	struct kveil_map ids;   /* by id (4 bytes): struct kveil_key_version. keystore.c */
	struct kveil_memory_keys in_memory;

	/* Keys in a registry. */
	struct kveil_registry *registry;
	struct {
		bool is_set; /* only the registry with this id counts */
		uint8_t id[KVEIL_REGISTRY_ID_BYTES];
		uint32_t number; /* and only a secret that is not before this one */
	} pin;
	struct kveil_kek **custodians; /* one a KEK of the configuration */
	size_t custodian_count;
	atomic_bool rolled_back; /* the registry is no longer the one whose keys these are: nothing is sealed */
	atomic_bool kept;        /* a keeper tends it */
	struct kveil_backlog backlog;
	struct kveil_unread *unread; /* one an entry of the configuration's data; under lock */
	struct kveil_seeking seeking;
	struct kveil_named_keys named_keys; /* under lock */
	struct kveil_leases leases;
	struct kveil_made_key *made; /* under lock */
	struct kveil_withheld_versions withheld;
	struct kveil_tending tending;
};

/* Under lock. NULL: it is nobody's. */
static inline struct kveil_key_version *kveil_keystore_by_id(const struct kveil_keystore *ks, uint32_t id)
{
	return kveil_map_get(&ks->ids, kveil_span_of(&id, sizeof id));
}

/* keys_config.c: of the MACs of a secret that is made now. SM3 where every key is of an SM algorithm. */
enum kveil_hash kveil_keys_config_hash(const struct kveil_keys_config *c);

/* memory.c */
enum kveil_status kveil_memory_name(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				    struct kveil_key_name **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_memory_rotate(struct kveil_keystore *ks, struct kveil_key_name *name, int64_t now_ms,
				      int64_t active_from_ms, struct kveil_error *err) KVEIL_MUST_CHECK;

/* keystore.c */
struct kveil_keystore *kveil_keystore_alloc(void);
void kveil_keystore_ref(struct kveil_keystore *ks);
/* The name's entry, made if need be; under lock. NULL: out of memory. */
struct kveil_key_name *kveil_keystore_intern(struct kveil_keystore *ks, struct kveil_span name);
/* Is what this KEK opened under another KEK than its name's, one that anybody with its public half wraps for? Under
 * lock. */
bool kveil_key_name_is_anyones(const struct kveil_key_name *name, const struct kveil_kek *by);
/* Takes in a version (record and key move in on success); under lock. by: the KEK that opened it; NULL = none did. The
 * caller bumps the generation. */
enum kveil_status kveil_keystore_add(struct kveil_keystore *ks, struct kveil_key_name *name,
				     struct kveil_key_record *record, uint8_t *key, const struct kveil_kek *by,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
/* Any version's, those of named keys included; under lock. */
bool kveil_keystore_has_id(const struct kveil_keystore *ks, uint32_t id);
/* uses.c: may a key of this kind be used so? The error says what the key is for. */
enum kveil_status kveil_key_use_check(const struct kveil_algorithm *alg, struct kveil_span name, unsigned use,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* A random id that is not 0 and that no version here has. */
enum kveil_status kveil_keystore_draw_id(struct kveil_keystore *ks, uint32_t *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* The entry of a name that is configured (or, in memory, of any name), for these uses. KVEIL_E_NOT_FOUND with a hint,
 * KVEIL_E_KEY_PENDING. */
enum kveil_status kveil_keystore_name(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				      struct kveil_key_name **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The next lease. NO_LEASE and other class RETRY errors. */
enum kveil_status kveil_keystore_lease(struct kveil_keystore *ks, uint32_t *ret,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same from what the keeper took ahead, and at once: asks for one where there is none. Only for a keystore that is
 * kept. */
enum kveil_status kveil_keystore_next_lease(struct kveil_keystore *ks, bool asked, uint32_t *ret,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* The keeper's part: takes as many as were asked for. */
enum kveil_status kveil_keystore_stock_leases(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;
/* seek.c */
/* An id that was looked for in vain is here now; under lock. */
void kveil_keystore_forget_unknown(struct kveil_keystore *ks, uint32_t id);
/* The registry was read to its end in this refresh: what was asked for before is here, is held up by a custodian (why),
 * or is nowhere. */
void kveil_keystore_judge_sought(struct kveil_keystore *ks, uint64_t refresh, bool changed,
				 const struct kveil_error *why);
/* A ciphertext names an id that was not here. OK: look again. KVEIL_E_KEY_PENDING: the next refresh finds out.
 * KVEIL_E_UNKNOWN_KEY: the registry does not have it either. REGISTRY_UNAVAILABLE: it does, and a custodian holds it
 * up. */
enum kveil_status kveil_keystore_seek(struct kveil_keystore *ks, uint32_t id, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Is there a version of the name that may seal at now? Under lock. */
const struct kveil_key_version *kveil_key_name_active(const struct kveil_key_name *name, int64_t now_ms,
						      int64_t *ret_until_ms);

/* succession.c: who of a name's versions seals now, and when there should be another. */
struct kveil_life {
	uint32_t version;
	uint16_t algorithm;
	int64_t active_from_ms, expires_ms; /* 0 = no end */
};

struct kveil_succession {
	int64_t now_ms, horizon_ms;
	const void *active; /* after end; NULL = none */
	struct kveil_life active_life;
	int64_t until_ms; /* after end: active may be another from then on */
	bool has_newest;
	struct kveil_life newest; /* of those that seal or will */
	const void *to_come;
	struct kveil_life to_come_life;
};

/* period_ms: rotate_every. What becomes active more than two of them ahead was made by a clock that was wrong. 0 =
 * none. */
void kveil_succession_begin(struct kveil_succession *s, int64_t now_ms, int64_t period_ms);
/* Only versions whose state lets them seal. */
void kveil_succession_offer(struct kveil_succession *s, const void *version, const struct kveil_life *life);
void kveil_succession_end(struct kveil_succession *s);
void kveil_key_name_succession(const struct kveil_key_name *name, int64_t now_ms, struct kveil_succession *ret);
/* How long ago the newest version should have been followed by another; 0 = all is well. */
int64_t kveil_succession_overdue(const struct kveil_succession *s, int64_t period_ms);
/* From when there should be a version after the newest (INT64_MAX = never), and from when that one shall be active. */
int64_t kveil_succession_due(const struct kveil_succession *s, const struct kveil_data_key_config *c, int64_t late_ms,
			     int64_t *ret_active_from_ms);

/* refresh.c */
/* The registry, read to the end; again after a class RETRY error, which goes on where it was. */
enum kveil_status kveil_keystore_attach(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;
struct kveil_registry_env kveil_keystore_env(const struct kveil_keystore *ks);
/* After a change of records: reads what became of it, and writes again what somebody else changed further at the same
 * moment and this change then stood behind in the log. */
enum kveil_status kveil_keystore_settle(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Does the registry hold versions of this name that a custodian of this configuration has yet to open? */
bool kveil_keystore_is_held_up(struct kveil_keystore *ks, const char *name);
/* The same, and why: OK, or that of the first. */
enum kveil_status kveil_keystore_reach(struct kveil_keystore *ks, const char *name,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
/* Does it hold any that were not taken in, those under a KEK that this configuration does not have included? */
bool kveil_keystore_is_outside(struct kveil_keystore *ks, const char *name);
/* The number after all others of a name, those that were not taken in included. */
uint32_t kveil_keystore_next_number(struct kveil_keystore *ks, const char *name);
/* As attach, fine too where a custodian stands between what was read and us. */
enum kveil_status kveil_keystore_attach_reading(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;
/* wrap.c: keks is "A" or "A+B" (key_record.h). */
struct kveil_kek *kveil_keystore_kek(const struct kveil_keystore *ks, const char *name); /* NULL: not configured */
/* Is one of them configured? */
bool kveil_keystore_has_kek(const struct kveil_keystore *ks, const char *keks);
/* kveil_kek_last of those that are configured: the first that failed. */
enum kveil_status kveil_keystore_keks_last(const struct kveil_keystore *ks, const char *keks,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* Fails: what wrapped it is not what is called so here. */
enum kveil_status kveil_keystore_wrong_kek(const struct kveil_key_record *r, struct kveil_error *err);
/* *ret_key is secret memory; NULL where the custodian can only wrap. By the first KEK that opens it. */
enum kveil_status kveil_keystore_unwrap(struct kveil_keystore *ks, const struct kveil_key_record *r, uint8_t **ret_key,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* And by which: one that can only wrap, where *ret_key is NULL. */
enum kveil_status kveil_keystore_unwrap_by(struct kveil_keystore *ks, const struct kveil_key_record *r,
					   uint8_t **ret_key, const struct kveil_kek **ret_by,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same from what one KEK made of it. */
enum kveil_status kveil_keystore_unwrap_one(struct kveil_keystore *ks, const struct kveil_key_record *r,
					    struct kveil_kek *kek, struct kveil_span wrapped, uint8_t **ret_key,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* payload into r by each of keks, each proved; all of them have to be there. *ret_opens: one of them gives it back. */
enum kveil_status kveil_keystore_wrap(struct kveil_keystore *ks, const char *keks, struct kveil_span payload,
				      struct kveil_key_record *r, bool *ret_opens,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* prove.c: fine for a KEK that only locks here, which proves nothing. KEK_UNAVAILABLE: not the one, or not well. */
enum kveil_status kveil_keystore_prove_kek(struct kveil_keystore *ks, struct kveil_kek *kek,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* As before a version is published under it, with bytes that are thrown away. */
void kveil_keystore_probe_kek(struct kveil_keystore *ks, struct kveil_kek *kek);
/* NULL: it is not withheld. Under lock. */
const struct kveil_withheld *kveil_keystore_withheld(const struct kveil_keystore *ks, uint32_t id);
/* heed.c: takes in what the registry's events say of versions. Under io_lock. */
enum kveil_status kveil_keystore_heed_events(struct kveil_keystore *ks, bool *ret_changed,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* life.c */
/* Says which keys have another version that protects since the last call. The keeper's. */
void kveil_keystore_tell_active(struct kveil_keystore *ks, int64_t now_ms);
/* Would it seal, but for what is withheld? Then nothing is made in its place. Under lock. */
bool kveil_key_name_is_withheld(const struct kveil_key_name *n);
/* Keeps an event of this kind for each of these for which it is news. */
enum kveil_status kveil_keystore_withhold(struct kveil_keystore *ks, const struct kveil_document *meant,
					  enum kveil_event_kind kind, int64_t due_ms, bool whole, size_t *ret_changed,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* A version that is to be destroyed by now; false: there is none. */
struct kveil_due {
	char name[KVEIL_KEY_NAME_MAX + 1];
	struct kveil_named_key_ask named; /* pattern NULL: not a named key */
	uint32_t version;
	bool whole; /* the name ends with it */
};
bool kveil_keystore_next_due(struct kveil_keystore *ks, int64_t now_ms, struct kveil_due *ret);
/* states.c */
/* asked fills a pattern, and name is what the registry calls it; or they are the same. A key that was configured as
 * asked before there was the pattern is meant as well. version 0: all. */
bool kveil_keys_is_meant(const struct kveil_key_record *r, const char *asked, const char *name, uint32_t version);
/* How many versions are meant. KVEIL_E_NOT_FOUND: none. */
enum kveil_status kveil_keys_count_meant(struct kveil_keystore *ks, const struct kveil_document *d, const char *asked,
					 const char *name, uint32_t version, size_t *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* The registry's name for what an operator calls so. true: it is a named key, *ret. */
bool kveil_keys_name_meant(struct kveil_keystore *ks, const char *asked, struct kveil_named_key_ask *ret,
			   char name[KVEIL_KEY_NAME_MAX + 1]);
struct kveil_keys_changing {
	const char *asked, *name;                /* as an operator says, and as the registry does */
	const struct kveil_named_key_ask *named; /* NULL: not a named key */
	uint32_t version;                        /* 0 = all */
	enum kveil_key_state state;
	const char *why; /* NULL: somebody said so now */
};
/* Moves them to their state, writes it and reads it back. */
enum kveil_status kveil_keys_change(struct kveil_keystore *ks, const struct kveil_keys_changing *c, size_t *ret_changed,
				    struct kveil_error *err) KVEIL_MUST_CHECK;
/* What the registry calls the key that an operator calls so. */
void kveil_keys_registry_name(struct kveil_keystore *ks, const char *asked, char name[KVEIL_KEY_NAME_MAX + 1]);
/* Destroys what is due. */
enum kveil_status kveil_keystore_end_due(struct kveil_keystore *ks, int64_t now_ms,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* open.c: the entry of a configured name that was taken in, and whose algorithm is the configuration's kind. */
enum kveil_status kveil_keystore_configured(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
					    struct kveil_key_name **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Does the registry hold every configured name, of the algorithm that the configuration says? */
enum kveil_status kveil_keystore_check_names(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;
/* publish.c */
/* Adds records and reads back: who was first is known after, but for what a custodian that is away holds up. */
enum kveil_status kveil_keystore_append(struct kveil_keystore *ks, const struct kveil_key_record *records, size_t count,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* Writes again what somebody else overwrote, for compaction keeps only what was written last; what was overwritten a
 * moment ago only where at_once. *ret_count: so many. */
enum kveil_status kveil_keystore_heal(struct kveil_keystore *ks, bool at_once, size_t *ret_count,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* tell.c: what was done, into the log and into the registry. Without io_lock. */
void kveil_keystore_tell(struct kveil_keystore *ks, const struct kveil_event *events, size_t count);
/* About versions: one event each. */
struct kveil_event kveil_key_event(enum kveil_event_kind kind, const struct kveil_key_record *r);
void kveil_keystore_tell_keys(struct kveil_keystore *ks, enum kveil_event_kind kind,
			      const struct kveil_key_record *records, size_t count);
/* The same on this process's own account: under tend_lock, and less and less often after a failure. */
enum kveil_status kveil_keystore_publish(struct kveil_keystore *ks, const struct kveil_key_record *records,
					 size_t count, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The record of this id as it is known, to the end of d, if it is here. Under lock. */
bool kveil_keystore_copy_record(const struct kveil_keystore *ks, uint32_t id,
				struct kveil_document *d) KVEIL_MUST_CHECK;
/* Gives up the bytes that were kept for this id (kveil_keystore.made); NULL = none. Under lock. */
uint8_t *kveil_keystore_made_here(struct kveil_keystore *ks, uint32_t id);
/* The number after all others, in record; under lock. n may be NULL. */
uint32_t kveil_key_name_next(const struct kveil_key_name *n);
/* make.c */
/* What is published with a wrong clock counts for nobody else, or for too long: KVEIL_E_CLOCK_WRONG. */
enum kveil_status kveil_keystore_check_clock(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* A live record of the configured key, without id and bytes. */
void kveil_key_record_begin(struct kveil_key_record *r, const struct kveil_data_key_config *c, uint32_t version,
			    int64_t now_ms, int64_t active_from_ms);
/* Gives a record its id (unless it has one), its bytes (material, or random ones), wraps it by keks (wrap.c) and signs
 * it. */
enum kveil_status kveil_keystore_make(struct kveil_keystore *ks, const char *keks,
				      const struct kveil_registry_secret *secret, struct kveil_key_record *r,
				      struct kveil_span material, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

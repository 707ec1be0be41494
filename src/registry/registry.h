/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry.h: where versions of keys are kept. One file and one row in drivers.c each; what needs a
 * library of a higher layer is added from there (kveil_registry_driver_add), and registry_memory.c is in no table.
 *
 * Whatever stores it, a registry is a log with one order:
 *
 *   root     the registry's id and its own secret, wrapped by each KEK in use; written once by `keys init`, then only
 *            added to
 *   record   one version of one key (key_record.h). The first record for a (name, version) wins; a later record for the
 *            same id counts if it is authentic and supersedes it (key_record.h)
 *   lease    a number that is given once and never again
 *   event    what was done to keys, by whom (registry_event.h)
 *
 * The keystore decides what records mean (kveil_keystore_refresh); a driver only stores, orders and returns them. It is
 * called under the keystore's io_lock, from one thread at a time, and every call returns within about 10 s:
 * KVEIL_E_REGISTRY_UNAVAILABLE or KVEIL_E_IO (class RETRY) when it cannot.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_H
#define KVEIL_REGISTRY_REGISTRY_H

#include "base/event.h"
#include "custody/provider.h"
#include "registry/key_record.h"
#include "registry/registry_event.h"
#include "registry/registry_root.h"

#include <stdatomic.h>

/* What a driver needs to check what it reads. */
struct kveil_registry_env {
	const char *base_dir; /* of relative paths; NULL = the current one */
	struct kveil_kek *const *keks;
	size_t kek_count;
	const uint8_t *id;     /* the only registry that counts, KVEIL_REGISTRY_ID_BYTES; NULL = any that a KEK opens */
	uint32_t least_number; /* secrets before this one count for nothing (registry_root.h) */
	const void *options;   /* the driver's own (a Kafka registry: the configuration's kafka properties) */
};

struct kveil_document;

enum { KVEIL_REGISTRY_NOTE_MAX = 45000 }; /* in base64 still less than a message may have */

struct kveil_restoring {
	bool dry_run; /* change nothing */
	size_t added, skipped, conflicting;
	struct kveil_restored_version *told; /* registry_restore.h; the caller frees it */
	size_t told_count;
};

/* Why a message of a forgiving registry was passed over. */
enum kveil_registry_doubt {
	KVEIL_DOUBT_FORGED,     /* not of a registry's form, or its MAC is wrong */
	KVEIL_DOUBT_RELABELLED, /* authentic, under a message key that is not its own */
	KVEIL_DOUBT_REPLAYED,   /* authentic, and older than what is known */
	KVEIL_DOUBT_EMPTIED,    /* null in the place of a record */
	KVEIL_DOUBT_COUNT,
};
extern const char *const kveil_registry_doubt_names[KVEIL_DOUBT_COUNT]; /* "forged", … */

struct kveil_registry {
	const struct kveil_registry_driver *driver;
	/* Unwrapped by open or create, and again where a later one took its place; that one stays behind it until the
	 * registry is closed. Secret memory, owned. */
	struct kveil_registry_secret *_Atomic secret;
	struct kveil_kek *const *keks; /* which open a later one; kek_count 0: none does */
	size_t kek_count;
	const struct kveil_registry_root *root;      /* as it was read last: the driver's, under io_lock */
	const struct kveil_registry_events *events;  /* the same */
	uint64_t events_kept;                        /* of these, how many there were at least; 0 = that is not known */
	_Atomic uint64_t ignored[KVEIL_DOUBT_COUNT]; /* see forgiving */
};

typedef enum kveil_status kveil_registry_read_fn(void *user, const struct kveil_key_record *record,
						 struct kveil_error *err);

struct kveil_registry_driver {
	const char *scheme; /* "file": before the colon in keys.registry */
	const char *help;
	/* Others may write to it: what is not authentic is counted in ignored[] and passed over, instead of refused. */
	bool forgiving;
	bool alone; /* no other process writes to it: what is not here is nowhere */

	/* A new registry without records. KVEIL_E_KEY_EXISTS: there is one, or there was one. */
	enum kveil_status (*create)(const struct kveil_registry_env *env, const char *where,
				    const struct kveil_registry_root *root, const struct kveil_registry_secret *secret,
				    struct kveil_error *err);
	/* KVEIL_E_REGISTRY_MISSING, _CORRUPT, _ROLLED_BACK, WRONG_KEK, PERMISSIONS; class RETRY when it does not
	 * answer. */
	enum kveil_status (*open)(const struct kveil_registry_env *env, const char *where, struct kveil_registry **ret,
				  struct kveil_error *err);
	void (*close)(struct kveil_registry *r); /* NULL is fine */
	/* Hands over, in the registry's order, at least every record that was added before the call and not handed over
	 * yet (older ones may come again). Their MACs are checked. */
	enum kveil_status (*read)(struct kveil_registry *r, kveil_registry_read_fn *fn, void *user,
				  struct kveil_error *err);
	/* Ids of records in whose place something else was written, at most max: those who have them write them again,
	 * with a higher sequence; after a while that is drawn, so that one of many does it, or at_once. NULL where
	 * nobody else can write. */
	size_t (*damaged)(struct kveil_registry *r, bool at_once, uint32_t *ids, size_t max);
	/* Adds records, and signs them; durable on return. Somebody may have been first with the same (name, version),
	 * or with what supersedes it: such a record is dropped without an error; read tells who won. */
	enum kveil_status (*append)(struct kveil_registry *r, const struct kveil_key_record *records, size_t count,
				    struct kveil_error *err);
	/* Adds keys to the root (a new KEK), or puts them in place of those with the same KEK name. They are of the
	 * secret whose number keys has: KVEIL_E_REGISTRY_UNAVAILABLE if there is another by now. */
	enum kveil_status (*add_root_keys)(struct kveil_registry *r, const struct kveil_registry_root *keys,
					   struct kveil_error *err);
	/* Puts a new secret in the place of the one that is known, which authorised it: from then on nothing that is
	 * signed with an older one counts, and what is there is signed anew. next moves in on success. Killed at any
	 * moment, the registry is whole under the one or the other; run again with another new secret, it is done.
	 * KVEIL_E_REGISTRY_UNAVAILABLE: another process did so at the same moment. */
	enum kveil_status (*evict)(struct kveil_registry *r, const struct kveil_registry_root *root,
				   struct kveil_registry_secret *next, struct kveil_error *err);
	/* All of it at one moment: for backups and for changes of many records. The caller clears it. */
	enum kveil_status (*snapshot)(struct kveil_registry *r, struct kveil_document *ret, struct kveil_error *err);
	/* A number that nobody got before and nobody gets again; durable on return. */
	enum kveil_status (*lease)(struct kveil_registry *r, uint32_t *ret, struct kveil_error *err);
	/* Keeps events for good, each as the one after all before it; durable on return. */
	enum kveil_status (*record)(struct kveil_registry *r, const struct kveil_event *events, size_t count,
				    struct kveil_error *err);
	/* How far this host's clock is ahead of the one that all share. NULL, and 0: that cannot be told. */
	enum kveil_status (*clock_ahead)(struct kveil_registry *r, int64_t *ret_ms, struct kveil_error *err);
	/* How many hosts have a copy of it. NULL, and 0: that cannot be told. */
	unsigned (*copies)(const struct kveil_registry *r);
	/* The text that was noted last and is authentic, to the end of out; nothing where there is none. */
	enum kveil_status (*noted)(struct kveil_registry *r, struct kveil_buf *out, struct kveil_error *err);
	/* Notes another one (at most KVEIL_REGISTRY_NOTE_MAX bytes); durable on return. */
	enum kveil_status (*note)(struct kveil_registry *r, struct kveil_span text, struct kveil_error *err);
	/* Takes in a verified backup: into the registry that is there if it is whole, else in its place (what can still
	 * be read of it is kept, what cannot is moved aside). Keys with nonces come in opening only
	 * (kveil_document_demote). Versions whose number another key has stay outside and are counted. */
	enum kveil_status (*restore)(const struct kveil_registry_env *env, const char *where,
				     const struct kveil_document *backup, const struct kveil_registry_secret *secret,
				     struct kveil_restoring *how, struct kveil_error *err);
};

/* Fails: what was made under one secret came after another. */
enum kveil_status kveil_registry_overtaken(struct kveil_error *err);
/* The secret that is the next one after the one that is known; it moves in. Under io_lock. */
void kveil_registry_adopt(struct kveil_registry *r, struct kveil_registry_secret *next);
/* Opens the secret of a root that the secret at hand authorised. WRONG_KEK: no KEK of this process does. */
enum kveil_status kveil_registry_open_next(const struct kveil_registry *r, const struct kveil_registry_root *root,
					   struct kveil_registry_secret **ret,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

/* A driver that stands in a higher layer; before any thread and any call of the next. It must last. */
void kveil_registry_driver_add(const struct kveil_registry_driver *driver);
/* 32 hex digits; after them may stand `.N`, the number of the least secret that counts. */
bool kveil_registry_id_parse(const char *text, uint8_t id[KVEIL_REGISTRY_ID_BYTES],
			     uint32_t *ret_number) KVEIL_MUST_CHECK;
void kveil_registry_id_write(const uint8_t id[KVEIL_REGISTRY_ID_BYTES], uint32_t number,
			     char text[KVEIL_REGISTRY_ID_TEXT]);
/* "file:PATH" -> the driver and PATH. KVEIL_E_CONFIG with the schemes there are. */
enum kveil_status kveil_registry_driver_of(const char *registry, const struct kveil_registry_driver **ret,
					   const char **ret_where, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

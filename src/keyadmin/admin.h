/* SPDX-License-Identifier: Apache-2.0 */
/* keyadmin/admin.h: what an operator does to a registry: `kveil keys …` and nothing else calls these. */
#ifndef KVEIL_KEYADMIN_ADMIN_H
#define KVEIL_KEYADMIN_ADMIN_H

#include "base/event.h"
#include "keys/keystore.h"
#include "keys/states.h"
#include "registry/key_record.h"
#include "registry/registry_restore.h"

struct kveil_keys_init_result {
	bool created;       /* there was no registry */
	size_t names_added; /* keys of the configuration that were not in it */
	size_t keks_added;  /* KEKs of the configuration that could not open it */
	char id[KVEIL_REGISTRY_ID_TEXT];
	/* a key that is not as the configuration says (another algorithm); status OK: none */
	struct kveil_error unlike;
	struct kveil_error evicted; /* a KEK of the configuration was evicted, and stays so; status 0: none */
};

/* Makes the registry if there is none, lets every KEK of the configuration open it, and gives every key of keys.data
 * its first version. What is there is not touched: running it again adds what is missing. */
enum kveil_status kveil_keys_init(const struct kveil_keys_config *cfg, struct kveil_keys_init_result *ret,
				  struct kveil_error *err) KVEIL_MUST_CHECK;

/* Makes the KEK of that name where there is none: KVEIL_E_KEY_EXISTS, KVEIL_E_UNSUPPORTED where that is not kveil's to
 * do. */
enum kveil_status kveil_keys_make_kek(const struct kveil_keys_config *cfg, const char *name,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* Is the KEK of this name gone, and is there a registry that one of this name opened, or that no other one opens? A new
 * one would open nothing of it. */
bool kveil_keys_kek_is_missed(const struct kveil_keys_config *cfg, const char *name);

/* Everything, authentic, wrapped as it is, in one file (mode 0600). */
/* under: the name of a KEK that wraps all of it, instead of those that do in the registry (it may be one that only
 * locks here); NULL: as it is. */
enum kveil_status kveil_keys_backup(const struct kveil_keys_config *cfg, const char *path, const char *under,
				    size_t *ret_living, struct kveil_error *err) KVEIL_MUST_CHECK;
/* May path be written over by a backup? */
enum kveil_status kveil_keys_backup_check(const char *path, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same from an open registry, if it holds something else than what was seen, which begins as {0}. A registry that
 * has lost versions since never takes the place of a backup that has them: REGISTRY_ROLLED_BACK. A backup of another
 * registry, or one with versions that this one neither has nor has destroyed, is not replaced: KEY_EXISTS. */
struct kveil_backup_seen {
	uint8_t digest[32];
	size_t versions, living; /* living: that are not destroyed */
};
enum kveil_status kveil_keys_backup_changed(struct kveil_keystore *ks, const char *path, const char *under,
					    struct kveil_backup_seen *seen, bool *ret_written,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* A version of the backup that has another number in the registry. */
struct kveil_keys_renumbered {
	char name[KVEIL_KEY_NAME_MAX + 1];
	uint32_t id, backup, here; /* here: its number in the registry */
};
struct kveil_keys_restored {
	size_t added, skipped; /* versions that were not there, and that were */
	size_t renumbered;     /* another key has their number: they come in under the next one */
	size_t left_out;       /* they could not be wrapped for it: the error says why for the first of them */
	size_t unreachable;    /* they are in the registry, and no KEK of the configuration opens them */
	/* owned: whose state is another than the backup says, or that come in withheld */
	struct kveil_restored_version *told;
	size_t told_count;
	/* owned: all that are under another number, from before as well; none in a dry run */
	struct kveil_keys_renumbered *numbers;
	size_t number_count;
};
void kveil_keys_restored_clear(struct kveil_keys_restored *r);

/* Takes a backup, or a registry file, in. Keys with nonces open what they sealed and never seal; new versions are made
 * at once. The registry that is there is added to if it is whole, replaced if it is rolled back, damaged or missing. No
 * version that is there goes, or makes room for one of the backup, or changes its state where the registry is whole
 * (registry_restore.h). dry_run: changes nothing, and says what would be. ret is the caller's to clear, on failure
 * too. */
enum kveil_status kveil_keys_restore(const struct kveil_keys_config *cfg, const char *path, bool dry_run,
				     struct kveil_keys_restored *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

/* Is the registry as the configuration says, and does each KEK open the registry's secret, wrap and unwrap? Errors into
 * report. */
void kveil_keys_examine(struct kveil_keystore *ks, struct kveil_report *report);

/* What was done to keys, or to the one that an operator calls so (asked; NULL: to all), oldest first: one call an
 * event, as the line that it is in the registry (registry_event.h), and read; both are borrowed. ret_missing: how many
 * more somebody took away, as far as those that are left show. */
typedef void kveil_keys_history_fn(void *user, const char *line, const json_t *event);
enum kveil_status kveil_keys_history(struct kveil_keystore *ks, const char *asked, kveil_keys_history_fn *fn,
				     void *user, size_t *ret_missing, struct kveil_error *err) KVEIL_MUST_CHECK;

/* A line that says that a version was destroyed, or was to be, held against this registry. */
enum kveil_keys_proof {
	KVEIL_PROOF_HOLDS,   /* it is destroyed here, or not here */
	KVEIL_PROOF_ORDER,   /* it says who had this scheduled, and destroys nothing by itself */
	KVEIL_PROOF_ALTERED, /* nobody with this registry's secret wrote it */
	KVEIL_PROOF_ALIVE,   /* it was destroyed elsewhere: here it is not */
};
/* registry: a snapshot of it. */
enum kveil_keys_proof kveil_keys_prove_destroyed(struct kveil_keystore *ks, const struct kveil_document *registry,
						 const char *line);

struct kveil_backup_state {
	char id[KVEIL_REGISTRY_ID_TEXT];
	size_t versions, opened, destroyed;  /* versions: that are not destroyed */
	size_t disabled, scheduled, overdue; /* of these; overdue: scheduled for a time that has passed */
	size_t unreachable;                  /* no KEK of the configuration opens them */
	struct kveil_error why;              /* for the first of these */
	size_t events, missing;              /* missing: see kveil_keys_history */
};
/* Is it whole, and which of its versions open with this configuration's KEKs? Needs no registry. */
enum kveil_status kveil_keys_verify_backup(const struct kveil_keys_config *cfg, const char *path,
					   struct kveil_backup_state *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

/* A Tink keyset of every version of the name that opens. Clear: JSON with the keys in it, handle with care. Wrapped:
 * Tink's encrypted keyset, under the KEK of the name's active version (provider.h: seal_keyset). KVEIL_E_UNSUPPORTED
 * where Tink has no such algorithm, or the custodian no such thing. out is wiped by kveil_buf_clear. */
enum kveil_status kveil_keys_export_tink(struct kveil_keystore *ks, const char *name, bool clear, struct kveil_buf *out,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* May it leave in clear, by the configuration? CONFIG: not. */
enum kveil_status kveil_keys_check_exportable(struct kveil_keystore *ks, const char *name,
					      struct kveil_error *err) KVEIL_MUST_CHECK;
/* The event of an export that was written: to file, or to stdout where that is NULL. */
void kveil_keys_tell_export(struct kveil_keystore *ks, const char *name, bool clear, const char *file);
/* Takes the keys of a clear Tink keyset in under a configured name: they open and never seal. Keys of another algorithm
 * than the name's kind, or with another prefix than TINK, are KVEIL_E_UNSUPPORTED, another key with the id of one
 * KVEIL_E_KEY_EXISTS: then nothing is taken in. Those that are there already are passed over. */
enum kveil_status kveil_keys_import_tink(struct kveil_keystore *ks, const char *name, struct kveil_span keyset,
					 size_t *ret_added, struct kveil_error *err) KVEIL_MUST_CHECK;

struct kveil_keys_evicted {
	uint32_t number; /* of the registry's secret now */
	char id[KVEIL_REGISTRY_ID_TEXT];
	size_t rotated;            /* ciphers that have a new version, active in a minute */
	struct kveil_error behind; /* why one of them has none; status OK: all have */
};

/* Do these say that a KEK of this name was evicted? Then it never gets the registry's secret again. */
bool kveil_keys_kek_is_evicted(const struct kveil_registry_events *events, const char *kek);

/* Gives the registry a new secret that these KEKs do not open and all others of the configuration do, signs what is
 * there anew, and has every cipher rotate: who holds one of them, and whatever copies, can from then on neither write
 * to the registry nor open what is sealed. KVEIL_E_CONFIG: a key is still under one of them, or another KEK that opens
 * the registry is not in the configuration. Killed at any moment, it is done by running it again. */
enum kveil_status kveil_keys_evict(struct kveil_keystore *ks, const char *const *keks, size_t count,
				   struct kveil_keys_evicted *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

struct kveil_keys_rewrap_result {
	size_t moved;
	size_t unnamed; /* versions of names that the configuration does not have: they stay under their KEK */
	/* versions, and entries of the registry's own secret, whose custodian is away or refuses them */
	size_t unreachable;
	struct kveil_error away; /* why, for the first of these */
};

/* Wraps every version with the KEK that its name has in the configuration now, and with the newest version of that KEK
 * where its custodian has several; the registry's own secret too. Each is proved before it counts: a KEK that only
 * locks here is refused. Unreachable ones stay, and the rest is moved. What was changed meanwhile (retired, destroyed)
 * stays changed. progress may be NULL. Interrupted, it goes on where it was when run again. */
typedef void kveil_keys_progress_fn(void *user, size_t done, size_t total);
enum kveil_status kveil_keys_rewrap(struct kveil_keystore *ks, kveil_keys_progress_fn *progress, void *user,
				    struct kveil_keys_rewrap_result *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

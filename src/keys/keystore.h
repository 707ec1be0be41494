/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys/keystore.h: the process's keys: configuration, registry, custodians, versions. Above it kveil/keys.h gives each
 * thread its keyring. `kveil keys …` and the worker's keeper thread call what stands here.
 */
#ifndef KVEIL_KEYS_KEYSTORE_H
#define KVEIL_KEYS_KEYSTORE_H

#include "base/buf.h"
#include "base/options.h"
#include "base/report.h"
#include "crypto/algorithm.h"
#include "kveil/keys.h"

/* One entry of keys.keks: a provider and its own options (each provider has its option table). */
struct kveil_kek_config {
	char *name;
	char *provider; /* "file" */
	void *params;   /* as the provider's table filled it */
};

/* One entry of keys.data. */
struct kveil_data_key_config {
	char *name; /* "pii", or a pattern "tenant-{}" */
	char *algorithm_name, *kek;
	char *also, *keks; /* a second KEK, or NULL; and "kek" or "kek+also", as records have it */
	const struct kveil_algorithm *algorithm;
	int64_t rotate_every_ms;   /* 0 = explicit only */
	char *join;                /* deterministic keys: stands in for the associated data; NULL = none */
	bool exportable;           /* may leave the registry in clear */
	char *owner, *description; /* in the operator's words; NULL = none */
	struct kveil_string_map labels;
	uint64_t new_per_second; /* patterns: names that one process adds at most */
	uint64_t new_per_topic;  /* of these, for the records of one topic; 0 = all */
	uint64_t most_names;     /* that the pattern may have */
	uint32_t line;
};

struct kveil_keys_config {
	const char *file;             /* the configuration file, for messages */
	char *base_dir;               /* its folder: relative paths below start there */
	char *registry;               /* "file:PATH", "kafka:TOPIC" */
	char *registry_id;            /* 32 hex digits: no other registry counts; NULL = any */
	const void *registry_options; /* the driver's own; of a Kafka registry the struct kveil_config around this */
	struct kveil_kek_config *custodians; /* keys.keks */
	size_t custodian_count;
	struct kveil_data_key_config *data;
	size_t data_count;
	bool any_name; /* any name is a key, made when it is first asked for: for keys in memory */
};

/* Parses the `keys:` mapping; problems go into report. */
bool kveil_keys_config_parse(const struct kveil_yaml *map, const char *file, struct kveil_keys_config *ret,
			     struct kveil_report *report);
/* The tables of `keys:` and of one entry of keys.data, for the reference page and the schema. */
const struct kveil_option *kveil_keys_options(void);
const struct kveil_option *kveil_keys_data_options(void);
void kveil_keys_config_clear(struct kveil_keys_config *c);
/* The entry with exactly this name, or NULL. */
const struct kveil_data_key_config *kveil_keys_config_find(const struct kveil_keys_config *c, struct kveil_span name);
/* kveil_keystore_check without a keystore. name may be NAME@VERSION or hold a {$.path}, as rules write it. */
enum kveil_status kveil_keys_config_check(const struct kveil_keys_config *c, struct kveil_span name, unsigned use,
					  struct kveil_error *err) KVEIL_MUST_CHECK;

/* The entry that such a name means, or NULL. */
const struct kveil_data_key_config *kveil_keys_config_meant(const struct kveil_keys_config *c, struct kveil_span name);

/* A keystore that knows the configured names and nothing else, for `kveil check`: no registry, no custodian is asked.
 * Only kveil_keystore_check and kveil_keystore_unref may be called. cfg must outlive it. */
enum kveil_status kveil_keystore_new_names(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

/* kveil_keystore_open in two steps, for who waits out an outage: prepare asks nobody; enter may be called again after a
 * class RETRY error, keeps what it has read and unwrapped, and asks no custodian before its back-off is over. It needs
 * the registry and a custodian that opens the registry's own secret. Keys of a custodian that is away come with
 * kveil_keystore_tend, and binding one of them is an outage until then. */
enum kveil_status kveil_keystore_prepare(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_keystore_enter(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;

/* Opens the registry and unwraps what is there. Refuses (class CONFIG) a missing, corrupt, edited, rolled-back or
 * foreign registry and files that others can read. Class RETRY: custodian or registry does not answer.
 * cfg must outlive the keystore. */
enum kveil_status kveil_keystore_open(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* For commands: needs the registry's own secret alone. Keys whose KEK is lost or away stay outside (each_outside), and
 * only what needs one of them fails; *err has the first such reason then, status OK otherwise. */
enum kveil_status kveil_keystore_open_reachable(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
						struct kveil_error *err) KVEIL_MUST_CHECK;

/* The keeper's turn, about once a second from one background thread: makes and publishes the next versions half a
 * period ahead, follows the registry, drops destroyed keys, wakes waiting requests. RETRY errors are for
 * readiness; keys at hand go on. */
enum kveil_status kveil_keystore_tend(struct kveil_keystore *ks, int64_t now_wall_ms,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* From now on a thread calls tend once a second: rings leave to it what may have to wait for the registry. What is due
 * is destroyed by such a keystore alone. */
void kveil_keystore_keep(struct kveil_keystore *ks);

/* Makes the keys named from records that rings have asked for (KVEIL_E_KEY_PENDING), and looks for the ids of
 * ciphertexts that were not here, all at once: after KVEIL_OK, ask the ring again. Blocks as long as the registry
 * takes, some 10 s where it does not answer. KVEIL_E_KEY_PENDING: their turn comes later, or nothing is due by this
 * clock: wait, tick the ring, and ask it again. Other class RETRY errors: an outage of some of them; the rest were
 * made. */
enum kveil_status kveil_keystore_make_asked(struct kveil_keystore *ks, int64_t now_wall_ms,
					    struct kveil_error *err) KVEIL_MUST_CHECK;

/* What custodians want now and then of those they know (a token renewed): a part of tend, for who only follows. */
enum kveil_status kveil_keystore_stay_welcome(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;

/* Takes in what the registry has more than memory, and makes nothing. */
enum kveil_status kveil_keystore_refresh(struct kveil_keystore *ks, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same. *ret_read: the registry answered, and at most a custodian is in the way of what it holds. */
enum kveil_status kveil_keystore_refresh_read(struct kveil_keystore *ks, bool *ret_read,
					      struct kveil_error *err) KVEIL_MUST_CHECK;

/* A new version of the name, active from then on (0 = at once). */
enum kveil_status kveil_keystore_rotate(struct kveil_keystore *ks, struct kveil_span name, int64_t active_from_ms,
					struct kveil_error *err) KVEIL_MUST_CHECK;

/* One text that the registry keeps, authentic, for the whole group: appended to out, nothing where none was noted. Keys
 * in memory note nothing. They wait for the registry, some 10 s at most. */
enum kveil_status kveil_keystore_noted(struct kveil_keystore *ks, struct kveil_buf *out,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
enum { KVEIL_NOTE_MAX = 45000 }; /* bytes */
enum kveil_status kveil_keystore_note(struct kveil_keystore *ks, struct kveil_span text,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* Messages of the registry that were passed over because somebody else wrote them, by reason; see
 * kveil_registry_doubt_names. Any thread. */
enum { KVEIL_REGISTRY_REASONS = 4 };
const char *kveil_keystore_reason(unsigned reason);
uint64_t kveil_keystore_ignored(struct kveil_keystore *ks, unsigned reason);

/* Demo keystores only: takes the custodian away, so that rings stop sealing at their next tick, and gives it back. */
void kveil_keystore_demo_custodian(struct kveil_keystore *ks, bool present);

/* For metrics and `keys list`: one row a version. Names are NUL-terminated and borrowed for the call. */
struct kveil_key_info {
	/* state: "pending", "active", "previous", "opens only", "retired", "disabled", "scheduled" (to be destroyed),
	 * "destroyed" */
	const char *name, *algorithm, *kek, *state;
	uint32_t version, id;
	int64_t created_ms, active_from_ms;
	int64_t due_ms; /* when it will be destroyed; 0 = never */
};
typedef void kveil_key_info_fn(void *user, const struct kveil_key_info *info);
void kveil_keystore_each(struct kveil_keystore *ks, kveil_key_info_fn *fn, void *user);
/* Versions that were read and cannot be used here, because their custodian is away or their KEK is not in the
 * configuration: state "unreachable". name NULL: of all keys. */
void kveil_keystore_each_outside(struct kveil_keystore *ks, const char *name, kveil_key_info_fn *fn, void *user);

/* The names that records filled into patterns, as the registry calls them: those that begin with prefix and come after
 * `after` (NULL: from the beginning), at most this many, in order. *ret_more: there are more of them. */
enum kveil_status kveil_keystore_each_named(struct kveil_keystore *ks, const char *prefix, const char *after,
					    size_t most, kveil_key_info_fn *fn, void *user, bool *ret_more,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* How many of a pattern's names are not destroyed. */
size_t kveil_keystore_count_names(struct kveil_keystore *ks, const char *pattern);

/* The same of one name, which may be one that fills a pattern. KVEIL_E_NOT_FOUND. */
enum kveil_status kveil_keystore_each_of(struct kveil_keystore *ks, const char *name, kveil_key_info_fn *fn, void *user,
					 struct kveil_error *err) KVEIL_MUST_CHECK;

/* Wraps and unwraps with a custodian that nobody asked for 20 s: a part of tend. What comes of it is in the next. */
void kveil_keystore_probe(struct kveil_keystore *ks);
/* One call a KEK of the configuration; waits for no custodian. why->status OK: it answers. */
struct kveil_kek_info {
	const char *name;
	const struct kveil_error *why;
	int64_t expires_ms; /* of a certificate of it; 0 = never */
	uint64_t failures;  /* calls that failed since the start */
};
typedef void kveil_kek_info_fn(void *user, const struct kveil_kek_info *info);
void kveil_keystore_keks(struct kveil_keystore *ks, kveil_kek_info_fn *fn, void *user);

/* One call a key that rotates: for how long its next version should have been there already; 0 = all is well. */
typedef void kveil_rotation_fn(void *user, const char *name, int64_t overdue_ms);
void kveil_keystore_rotations(struct kveil_keystore *ks, int64_t now_ms, kveil_rotation_fn *fn, void *user);

/* One row a pattern of the configuration: how many names there are, and how many more were asked for and wait. */
struct kveil_pattern_info {
	const char *pattern;
	uint64_t names, waiting;
};
typedef void kveil_pattern_info_fn(void *user, const struct kveil_pattern_info *info);
void kveil_keystore_patterns(struct kveil_keystore *ks, kveil_pattern_info_fn *fn, void *user);

#endif

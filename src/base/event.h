/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/event.h: what a security officer would ask about, one row a kind. Whoever does such a thing says so here, once
 * it is done; the log has it, and one more who wants it (metrics). Never a field's value, never a key byte. Any thread.
 *
 *   event  key_created key=pii version=2 id=2037671358 algorithm=aes-256-gcm kek=guard
 *          command="keys rotate" user=root host=a     (all on one line)
 *
 * What is about keys stands in the registry as well, authentic: registry/registry_event.h.
 */
#ifndef KVEIL_BASE_EVENT_H
#define KVEIL_BASE_EVENT_H

#include "base/buf.h"
#include "base/log.h"

/* X(ID, "name", LEVEL, "what it means") */
#define KVEIL_EVENT_TABLE(X)                                                                                           \
	X(KEY_CREATED, "key_created", INFO,                                                                            \
	  "A version of a key was published in the registry, active from `due` on; above 1 it is a rotation.")         \
	X(KEY_ACTIVATED, "key_activated", INFO, "A worker saw a version become active.")                               \
	X(KEY_RETIRED, "key_retired", WARN, "A version was retired: it opens and no longer seals.")                    \
	X(KEY_DISABLED, "key_disabled", WARN, "A version neither seals nor opens until it is enabled.")                \
	X(KEY_ENABLED, "key_enabled", WARN, "A version that was disabled is in use again.")                            \
	X(KEY_DESTROY_SCHEDULED, "key_destroy_scheduled", WARN,                                                        \
	  "A version will be destroyed at `due`; until then it is disabled.")                                          \
	X(KEY_DESTROY_CANCELLED, "key_destroy_cancelled", WARN, "The destruction of a version was cancelled.")         \
	X(KEY_DESTROYED, "key_destroyed", WARN, "A version was destroyed.")                                            \
	X(KEY_EXPORTED, "key_exported", WARN, "A keyset left the registry; `detail` says whether in clear.")           \
	X(KEY_IMPORTED, "key_imported", WARN, "Versions from another system were imported; they open and never seal.") \
	X(KEYS_REWRAPPED, "keys_rewrapped", INFO, "Versions were moved under another key-encryption key.")             \
	X(KEK_EVICTED, "kek_evicted", WARN,                                                                            \
	  "The registry has a new secret, which this key-encryption key does not open.")                               \
	X(KEK_CREATED, "kek_created", WARN, "The file of a key-encryption key was created.")                           \
	X(REGISTRY_CREATED, "registry_created", WARN, "A key registry was created.")                                   \
	X(REGISTRY_BACKED_UP, "registry_backed_up", INFO, "The registry was copied, wrapped.")                         \
	X(REGISTRY_RESTORED, "registry_restored", WARN, "A backup was restored into the registry.")                    \
	X(REGISTRY_IGNORED, "registry_ignored", WARN, "The registry contained messages that kveil did not write.")     \
	X(EVENT_UNRECORDED, "event_unrecorded", WARN,                                                                  \
	  "An event is in the log but could not be written to the registry.")                                          \
	X(KEK_AWAY, "kek_away", WARN, "A custodian does not answer or refuses, or its key file changed.")              \
	X(KEK_BACK, "kek_back", INFO, "The custodian answers again.")                                                  \
	X(RULES_LOADED, "rules_loaded", INFO, "Rules are in use.")                                                     \
	X(RULES_REFUSED, "rules_refused", WARN, "New rules were refused; the old ones stay in use.")                   \
	X(RULES_WEAKER, "rules_weaker", WARN,                                                                          \
	  "Rules protect less than those before; `detail` says whether they are accepted and in use.")                 \
	X(CONFIG_LOADED, "config_loaded", INFO, "The configuration is in use.")                                        \
	X(CONFIG_REFUSED, "config_refused", ERROR, "The configuration or its rules are wrong; nothing was started.")   \
	X(DEAD_LETTERS_WRITTEN, "dead_letters_written", WARN,                                                          \
	  "Records that could not be protected were sealed into a dead-letter topic. Logged at once, then once a "     \
	  "minute with the `count` since and the last record.")                                                        \
	X(DEAD_LETTERS_REPLAYED, "dead_letters_replayed", INFO, "Dead letters were opened and sent through again.")    \
	X(DEAD_LETTERS_SHOWN, "dead_letters_shown", WARN, "Dead letters were shown in clear to somebody.")             \
	X(DEAD_LETTERS_DISCARDED, "dead_letters_discarded", WARN, "Dead letters were given up: no replay sends them.") \
	X(PARTITION_STOPPED, "partition_stopped", ERROR,                                                               \
	  "A partition was stopped, by its rules or because its data cannot be trusted.")                              \
	X(PARTITION_RESUMED, "partition_resumed", INFO, "The partition is read again.")                                \
	X(ACCESS_REFUSED, "access_refused", WARN, "The side port refused a request; logged at most once a minute.")    \
	X(LATEST_SCHEMA_REFUSED, "latest_schema_refused", WARN,                                                        \
	  "Records of a topic's latest schema will wait or be errors: `detail` says why. Told before the first such "  \
	  "record, once a schema; records of other schemas pass.")                                                     \
	X(SCHEMA_LACKS_FIELD, "schema_lacks_field", WARN,                                                              \
	  "A writer's new schema no longer has a field that a rule names, a tagged field, or its tag: `detail` says "  \
	  "which. A field that lost its tag stays protected until SIGHUP. A renamed field passes in "                  \
	  "clear until a rule names it, unless an alias leads to it.")

enum kveil_event_kind {
#define X(id, name, level, text) KVEIL_EVENT_##id,
	KVEIL_EVENT_TABLE(X)
#undef X
	    KVEIL_EVENT_COUNT
};

/* What an event is about; what it is not is NULL or 0. Borrowed for the call. */
struct kveil_event {
	enum kveil_event_kind kind;
	const char *key;      /* as the registry spells it: names from records are hashes there */
	uint32_t version, id; /* id: the key's, decimal */
	const char *algorithm, *kek;
	const char *topic;       /* "orders[3]" where it is about a partition */
	const char *digest;      /* tells contents apart: the first hexadecimal digits of their SHA-256 */
	uint64_t count;          /* of versions or messages, where it is more than one thing */
	const char *detail;      /* a file, a reason */
	const char *fingerprint; /* of what was destroyed */
	int64_t due_ms;          /* wall time: when it will be done */
	bool whole;              /* to the name as a whole */
};

/* Who acts in this process; "" where that is not known. */
struct kveil_event_actor {
	const char *command, *user, *host, *reason;
};

/* Takes each event, on whichever thread it happens; e and its texts last as long as the call. */
typedef void kveil_event_sink(void *user, const struct kveil_event *e);

/* Before any thread: by which command this process acts ("run", "keys rotate"); user and host are found. From then on
 * the log is a sink. */
void kveil_event_setup(const char *command);
/* Before any thread: why, in the operator's own words. Borrowed. */
void kveil_event_set_reason(const char *reason);
struct kveil_event_actor kveil_event_actor(void);
/* Before any thread: one more that takes each event, at most KVEIL_EVENT_SINKS; for as long as the process lives. user
 * is the sink's. */
enum { KVEIL_EVENT_SINKS = 8 };
void kveil_event_add_sink(kveil_event_sink *sink, void *user);

void kveil_event(const struct kveil_event *e);
const char *kveil_event_name(enum kveil_event_kind kind);
/* KVEIL_EVENT_COUNT: none is called so. */
enum kveil_event_kind kveil_event_by_name(const char *name);
/* docs/events.md. */
void kveil_event_write_markdown(struct kveil_buf *out);

#endif

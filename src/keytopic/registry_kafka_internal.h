/* SPDX-License-Identifier: Apache-2.0 */
/* keytopic/registry_kafka_internal.h: what the files of the registry in a topic share. One thread at a time. */
#ifndef KVEIL_KEYTOPIC_REGISTRY_KAFKA_INTERNAL_H
#define KVEIL_KEYTOPIC_REGISTRY_KAFKA_INTERNAL_H

#include "keytopic/registry_kafka.h"
#include "keytopic/registry_topic.h"
#include "registry/registry_log.h"

struct kafka_registry {
	struct kveil_registry base;
	struct kveil_registry_topic *topic;
	struct kveil_registry_log log;
	int64_t proof_due_ms;  /* monotonic: when to look next whether this is still the same log */
	int64_t policy_due_ms; /* and whether its topic still keeps everything */
	int64_t start;         /* where the log began when it was last held against what is known */
	/* records that were appended since the last read, and counted for nothing if a KEK was evicted just before
	 * them */
	struct kveil_document sent;
	bool is_overtaken; /* that is so, and they were not written again yet */
};

struct finding {
	struct kveil_registry_log *log;
	const struct kveil_registry_env *env;
	struct kveil_error refused;
	bool any; /* message at all */
};

/* Each file needs only those below it: registry_kafka.c, the driver; registry_kafka_evict.c; registry_kafka_restore.c;
 * registry_kafka_log.c, which has what follows. */
enum kveil_status kveil_registry_kafka_connect(const struct kveil_registry_env *env, const char *where,
					       struct kafka_registry **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_registry_kafka_close(struct kveil_registry *base);

/* Reads the whole log for its root; the next read begins with the first message again. Fine without a root too:
 * log.has_root tells. env NULL: only that of the registry whose secret is known. */
enum kveil_status kveil_registry_kafka_find_root(struct kafka_registry *r, const struct kveil_registry_env *env,
						 struct finding *f, struct kveil_error *err) KVEIL_MUST_CHECK;
/* A kveil_registry_topic_fn; user is the struct kveil_registry_log. */
enum kveil_status kveil_registry_kafka_take(void *user, int64_t offset, struct kveil_span label,
					    struct kveil_span value, struct kveil_error *err) KVEIL_MUST_CHECK;

enum kveil_status kveil_registry_kafka_append(struct kveil_registry *base, const struct kveil_key_record *records,
					      size_t count, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_kafka_put_root(struct kafka_registry *r, struct kveil_registry_epoch_root *root,
						const struct kveil_registry_secret *secret,
						struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_kafka_put_first_root(struct kafka_registry *r, const struct kveil_registry_root *keys,
						      const struct kveil_registry_secret *secret,
						      struct kveil_error *err) KVEIL_MUST_CHECK;
/* A message each, signed with the secret that is known now. */
enum kveil_status kveil_registry_kafka_put_event(struct kafka_registry *r, const struct kveil_registry_event *e,
						 struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_kafka_put_note(struct kafka_registry *r, uint32_t sequence, struct kveil_span text,
						struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_kafka_read_log(struct kafka_registry *r, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Writes the root that is known again, so that it is the last one. */
enum kveil_status kveil_registry_kafka_heal_root(struct kafka_registry *r, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Those that the log does not have. */
enum kveil_status kveil_registry_kafka_put_events(struct kafka_registry *r, const struct kveil_registry_events *events,
						  struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_kafka_draw_epoch(struct kveil_registry_epoch_root *root,
						  struct kveil_error *err) KVEIL_MUST_CHECK;

/* registry_kafka_evict.c: the driver's */
enum kveil_status kveil_registry_kafka_evict(struct kveil_registry *base, const struct kveil_registry_root *root,
					     struct kveil_registry_secret *next,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* registry_kafka_restore.c: the driver's */
enum kveil_status kveil_registry_kafka_snapshot(struct kveil_registry *base, struct kveil_document *ret,
						struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_kafka_restore(const struct kveil_registry_env *env, const char *where,
					       const struct kveil_document *backup,
					       const struct kveil_registry_secret *secret, struct kveil_restoring *how,
					       struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

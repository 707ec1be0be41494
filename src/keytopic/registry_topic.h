/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keytopic/registry_topic.h: the one partition behind a registry `kafka:TOPIC`: reading it to its end, appending to it,
 * making and checking it. What the messages mean is registry/registry_log.h. One thread at a time; no call takes much
 * longer than 10 s. Class RETRY: the cluster does not answer.
 */
#ifndef KVEIL_KEYTOPIC_REGISTRY_TOPIC_H
#define KVEIL_KEYTOPIC_REGISTRY_TOPIC_H

#include "config/config.h"
#include "kveil/base.h"

struct kveil_registry_topic;

enum kveil_status kveil_registry_topic_new(const struct kveil_config *config, const char *name,
					   struct kveil_registry_topic **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_registry_topic_free(struct kveil_registry_topic *t); /* NULL is fine */

/* Is it there (REGISTRY_MISSING), with one partition and compacted, so that nothing is ever lost (CONFIG)? */
enum kveil_status kveil_registry_topic_check(struct kveil_registry_topic *t, struct kveil_error *err) KVEIL_MUST_CHECK;
/* How many brokers had a copy of it when it was last checked; 0: it was not. */
int kveil_registry_topic_copies(const struct kveil_registry_topic *t);
/* Makes it, with the broker's replication, unless it is there; then as above. */
enum kveil_status kveil_registry_topic_make(struct kveil_registry_topic *t, struct kveil_error *err) KVEIL_MUST_CHECK;

/* The next read begins with the first message. */
enum kveil_status kveil_registry_topic_rewind(struct kveil_registry_topic *t, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Every message that is not read yet, to the end that the log has now; and to its new end, a few times, where others
 * write meanwhile. value is absent for a tombstone. A message that fn fails on comes again. REGISTRY_ROLLED_BACK: the
 * log ends before what was read. */
typedef enum kveil_status kveil_registry_topic_fn(void *user, int64_t offset, struct kveil_span label,
						  struct kveil_span value, struct kveil_error *err);
enum kveil_status kveil_registry_topic_read(struct kveil_registry_topic *t, kveil_registry_topic_fn *fn, void *user,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* Hands over the first message at or after this offset, if there is one; the next read goes on where it was. */
enum kveil_status kveil_registry_topic_peek(struct kveil_registry_topic *t, int64_t offset, kveil_registry_topic_fn *fn,
					    void *user, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Was the topic not there at some moment since the last call of this? */
bool kveil_registry_topic_was_away(struct kveil_registry_topic *t);
/* The first offset that the log still had at the last read. */
int64_t kveil_registry_topic_start(const struct kveil_registry_topic *t);
/* KVEIL_E_REGISTRY_ROLLED_BACK, and says so: records were deleted from it. A read finds those that it did not reach. */
enum kveil_status kveil_registry_topic_lost_beginning(struct kveil_error *err);
/* Where the next read begins, and to go back there. */
int64_t kveil_registry_topic_position(const struct kveil_registry_topic *t);
void kveil_registry_topic_seek(struct kveil_registry_topic *t, int64_t position);
/* The brokers' time now, as the last append told it. false: nothing was appended yet, or the topic keeps its writers'
 * time. */
bool kveil_registry_topic_clock(const struct kveil_registry_topic *t, int64_t *ret_ms);
/* The highest offset seen, written or read; -1 = none. */
int64_t kveil_registry_topic_highest(const struct kveil_registry_topic *t);

/* Appends, in this order, and waits until all replicas in sync have it. Some may be written when it fails. */
struct kveil_registry_message {
	struct kveil_span label, value;
	int64_t offset; /* set */
};
enum kveil_status kveil_registry_topic_append(struct kveil_registry_topic *t, struct kveil_registry_message *messages,
					      size_t count, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/replayed.h: which records a replay has sent already, so that a copy of their letter is not sent again.
 *
 * A record is known by topic, partition, offset and timestamp, as the letter's seal vouches for them: eight bytes of
 * their SHA-256. One run remembers up to KVEIL_REPLAYED_MOST of them. From run to run the last KVEIL_REPLAYED_KEPT of
 * each partition of dead letters last, in the metadata of its committed offset:
 *
 *   r1:q1Sh-9_5QQGSwIK7_jZ0vg…    base64url, the oldest first
 *
 * Past either bound the oldest are forgotten, and a copy of such a letter is sent once more. Text that is not ours says
 * nothing. One thread.
 */
#ifndef KVEIL_WORKER_REPLAYED_H
#define KVEIL_WORKER_REPLAYED_H

#include "base/buf.h"

enum {
	KVEIL_REPLAYED_KEPT = 380, /* 4,057 characters: brokers take 4,096 (offset.metadata.max.bytes) */
	KVEIL_REPLAYED_MOST = 1 << 22,
};

struct kveil_replayed;

/* One list to keep for each of `lists` partitions. NULL: no memory. */
struct kveil_replayed *kveil_replayed_new(size_t lists);
void kveil_replayed_free(struct kveil_replayed *r);

enum kveil_status kveil_replayed_id(const char *topic, int32_t partition, int64_t offset, int64_t timestamp_ms,
				    uint64_t *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
bool kveil_replayed_has(const struct kveil_replayed *r, uint64_t id);
/* Without memory for it nothing is remembered. */
void kveil_replayed_add(struct kveil_replayed *r, size_t list, uint64_t id);

/* The last `most` of a list. */
void kveil_replayed_write(const struct kveil_replayed *r, size_t list, size_t most, struct kveil_buf *out);
/* Adds what the text names. Any bytes. */
void kveil_replayed_read(struct kveil_replayed *r, size_t list, struct kveil_span text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/commit_note.h: what kveil writes beside a committed offset, in the metadata that Kafka keeps with it. It
 * outlives the process and goes with the partition from replica to replica.
 *
 *   kveil1 topic=q1Sh-9_5QQGSwIK7_jZ0vg attempts=2
 *
 * Anyone who may commit for the group can write anything there, and so can other programs and other versions of kveil:
 * text that is not ours is not an error, it says nothing. Words that are not known are passed over.
 */
#ifndef KVEIL_WORKER_COMMIT_NOTE_H
#define KVEIL_WORKER_COMMIT_NOTE_H

#include "kafka/kafka.h"
#include "kveil/base.h"

enum {
	KVEIL_TOPIC_ID_CHARS = 22,   /* 16 bytes in base64, unpadded */
	KVEIL_COMMIT_NOTE_BYTES = 96 /* the longest note, its NUL included */
};

struct kveil_commit_note {
	char topic[KVEIL_TOPIC_ID_CHARS + 1]; /* the id of the topic that the offset is of; "" = not known */
	uint32_t attempts;                    /* processes that ended at the record of this offset */
};

/* Writes the note with its NUL; returns its length. */
size_t kveil_commit_note_write(const struct kveil_commit_note *note, char dst[KVEIL_COMMIT_NOTE_BYTES]);
/* Any bytes. What they do not say is "" or 0. */
void kveil_commit_note_read(struct kveil_span text, struct kveil_commit_note *ret);

/* The same with an offset to commit, and with one that was committed. Without memory for it an offset goes without. */
void kveil_commit_note_put(const struct kveil_commit_note *note, rd_kafka_topic_partition_t *offset);
void kveil_commit_note_get(const rd_kafka_topic_partition_t *offset, struct kveil_commit_note *ret);

#endif

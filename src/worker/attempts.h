/* SPDX-License-Identifier: Apache-2.0 */
/* worker/attempts.h: records at which processes end. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_ATTEMPTS_H
#define KVEIL_WORKER_ATTEMPTS_H

#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

enum { KVEIL_ATTEMPTS = 5 }; /* so many processes, and the record is set aside unread */

/* Reads the notes of what was committed and leaves its own; moves an offset that is not to be read. */
void kveil_attempts_begin(struct kveil_worker *w, rd_kafka_topic_partition_list_t *committed);
/* The first record of a partition that the group had not committed yet. */
void kveil_attempts_first(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
/* true: there is a note, and no reason for it any more now that this offset is committed. */
bool kveil_attempts_over(struct kveil_partition *p, int64_t offset, bool in_order);
/* Before a record is tried: counts, beside its offset, that this process has it in hand. */
void kveil_attempts_in_hand(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
/* Commits what was just taken, and that the process survived it. */
void kveil_attempts_careful(struct kveil_worker *w);

/* What belongs beside the partition's offset in a commit. */
void kveil_attempts_put_note(const struct kveil_partition *p, rd_kafka_topic_partition_t *offset);

#endif

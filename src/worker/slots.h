/* SPDX-License-Identifier: Apache-2.0 */
/* worker/slots.h: the partitions that a worker has, each in a slot of its own until all are let go. Inside src/worker
 * only, on the worker's thread; only slots.c writes the table. */
#ifndef KVEIL_WORKER_SLOTS_H
#define KVEIL_WORKER_SLOTS_H

#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

enum { KVEIL_MOST_SLOTS = UINT16_MAX + 1 /* as many as a message's opaque can tell apart */ };

/* All zero: empty. */
struct kveil_slots {
	struct kveil_partition **at; /* NULL = free */
	uint16_t *generations;
	uint32_t *index; /* topic and partition → slot + 1; 0 = none; twice cap */
	size_t used, cap;
	const rd_kafka_topic_t *last_topic; /* of the message before: the next is most likely its neighbour */
	struct kveil_partition *last_partition;
};

/* Gives it a slot and a generation. false: no memory, or no slot is left. */
bool kveil_slots_add(struct kveil_slots *s, struct kveil_partition *p) KVEIL_MUST_CHECK;
/* What was sent of it before means nothing any more. */
void kveil_slots_next_generation(struct kveil_slots *s, struct kveil_partition *p);
/* Takes out what is in this slot; NULL = nothing. */
struct kveil_partition *kveil_slots_remove(struct kveil_slots *s, size_t i);
/* After all were removed. */
void kveil_slots_empty(struct kveil_slots *s);
void kveil_slots_free(struct kveil_slots *s);
/* NULL: there is none. */
struct kveil_partition *kveil_slots_find(struct kveil_slots *s, const char *topic, int32_t id);
struct kveil_partition *kveil_slots_of_message(struct kveil_slots *s, const rd_kafka_message_t *msg);

#endif

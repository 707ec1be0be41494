/* SPDX-License-Identifier: Apache-2.0 */
/* The partitions that a worker has, each in a slot of its own. */
#include "worker/slots.h"

#include <stdlib.h>
#include <string.h>

static size_t hash(const char *topic, int32_t id)
{
	size_t n = (uint32_t)id * (size_t)2654435761U;

	for (; *topic; topic++)
		n = n * 31 + (unsigned char)*topic;
	return n ^ n >> 17;
}

/* Where the slot of a partition stands in the index, or its place there. The index is never full. */
static uint32_t *index_place(const struct kveil_slots *s, const char *topic, int32_t id)
{
	size_t mask = 2 * s->cap - 1, at = hash(topic, id) & mask;

	for (; s->index[at]; at = (at + 1) & mask) {
		const struct kveil_partition *p = s->at[s->index[at] - 1];
		if (p && p->id == id && strcmp(p->topic, topic) == 0)
			break;
	}
	return &s->index[at];
}

static bool make_index(struct kveil_slots *s)
{
	uint32_t *index = calloc(2 * s->cap, sizeof *index);

	if (!index)
		return false;
	free(s->index);
	s->index = index;
	for (size_t i = 0; i < s->cap; i++)
		if (s->at[i])
			*index_place(s, s->at[i]->topic, s->at[i]->id) = (uint32_t)i + 1;
	return true;
}

/* Slots are taken in order, and all let go at once. */
static size_t free_slot(struct kveil_slots *s)
{
	size_t i = s->used;

	if (i < s->cap)
		return i;
	size_t cap = s->cap ? s->cap * 2 : 16;
	struct kveil_partition **slots = cap > KVEIL_MOST_SLOTS ? NULL : realloc(s->at, cap * sizeof *slots);
	if (!slots)
		return SIZE_MAX;
	s->at = slots;
	uint16_t *generations = realloc(s->generations, cap * sizeof *generations);
	if (!generations)
		return SIZE_MAX;
	s->generations = generations;
	for (size_t k = s->cap; k < cap; k++) {
		slots[k] = NULL;
		generations[k] = 0;
	}
	s->cap = cap;
	return make_index(s) ? i : SIZE_MAX;
}

bool kveil_slots_add(struct kveil_slots *s, struct kveil_partition *p)
{
	size_t slot = free_slot(s);

	if (slot == SIZE_MAX)
		return false;
	p->slot = (uint16_t)slot;
	p->generation = ++s->generations[slot];
	*index_place(s, p->topic, p->id) = (uint32_t)slot + 1;
	s->at[slot] = p;
	s->used = slot + 1;
	return true;
}

void kveil_slots_next_generation(struct kveil_slots *s, struct kveil_partition *p)
{
	p->generation = ++s->generations[p->slot];
}

struct kveil_partition *kveil_slots_remove(struct kveil_slots *s, size_t i)
{
	struct kveil_partition *p = s->at[i];

	s->at[i] = NULL;
	return p;
}

void kveil_slots_empty(struct kveil_slots *s)
{
	s->last_topic = NULL;
	s->last_partition = NULL;
	s->used = 0;
	if (s->index)
		memset(s->index, 0, 2 * s->cap * sizeof *s->index);
}

void kveil_slots_free(struct kveil_slots *s)
{
	free(s->at);
	free(s->generations);
	free(s->index);
}

struct kveil_partition *kveil_slots_find(struct kveil_slots *s, const char *topic, int32_t id)
{
	uint32_t slot = s->index ? *index_place(s, topic, id) : 0;

	return slot ? s->at[slot - 1] : NULL;
}

struct kveil_partition *kveil_slots_of_message(struct kveil_slots *s, const rd_kafka_message_t *msg)
{
	if (msg->rkt == s->last_topic && s->last_partition && s->last_partition->id == msg->partition)
		return s->last_partition;
	struct kveil_partition *p =
	    msg->rkt ? kveil_slots_find(s, rd_kafka_topic_name(msg->rkt), msg->partition) : NULL;
	s->last_topic = msg->rkt;
	s->last_partition = p;
	return p;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Names to pointers. */
#include "base/map.h"

#include <stdlib.h>

/* FNV-1a. Names come from configuration, or are keyed hashes: nobody outside can choose collisions. */
static uint64_t hash_of(struct kveil_span s)
{
	uint64_t h = 0xcbf29ce484222325u;
	for (size_t i = 0; i < s.len; i++)
		h = (h ^ s.data[i]) * 0x100000001b3u;
	return h;
}

void kveil_map_clear(struct kveil_map *m)
{
	free(m->slots);
	*m = (struct kveil_map){0};
}

void *kveil_map_get(const struct kveil_map *m, struct kveil_span name)
{
	if (m->cap == 0)
		return NULL;
	uint64_t hash = hash_of(name);
	for (size_t i = hash & (m->cap - 1); m->slots[i].value; i = (i + 1) & (m->cap - 1))
		if (m->slots[i].hash == hash && kveil_span_eq(m->slots[i].name, name))
			return m->slots[i].value;
	return NULL;
}

static void place(struct kveil_map_slot *slots, size_t cap, struct kveil_map_slot slot)
{
	size_t i = slot.hash & (cap - 1);
	while (slots[i].value)
		i = (i + 1) & (cap - 1);
	slots[i] = slot;
}

bool kveil_map_put(struct kveil_map *m, struct kveil_span name, void *value)
{
	if ((m->count + 1) * 4 > m->cap * 3) {
		size_t cap = m->cap ? m->cap * 2 : 16;
		struct kveil_map_slot *slots = calloc(cap, sizeof *slots);
		if (!slots)
			return false;
		for (size_t i = 0; i < m->cap; i++)
			if (m->slots[i].value)
				place(slots, cap, m->slots[i]);
		free(m->slots);
		m->slots = slots;
		m->cap = cap;
	}
	place(m->slots, m->cap, (struct kveil_map_slot){name, hash_of(name), value});
	m->count++;
	return true;
}

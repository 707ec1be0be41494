/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/map.h: names to pointers. Open addressing, grows by doubling, nothing is ever removed. Keys are borrowed: the
 * value keeps them alive. One thread at a time.
 */
#ifndef KVEIL_BASE_MAP_H
#define KVEIL_BASE_MAP_H

#include "kveil/base.h"

struct kveil_map {
	struct kveil_map_slot *slots;
	size_t count, cap; /* cap is a power of two, or 0 */
};

struct kveil_map_slot {
	struct kveil_span name;
	uint64_t hash;
	void *value; /* NULL = free */
};

void kveil_map_clear(struct kveil_map *m); /* the values are the caller's */
void *kveil_map_get(const struct kveil_map *m, struct kveil_span name);
/* name must not be there yet. false: out of memory. */
bool kveil_map_put(struct kveil_map *m, struct kveil_span name, void *value) KVEIL_MUST_CHECK;

#endif

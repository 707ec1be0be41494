/* SPDX-License-Identifier: Apache-2.0 */
/* registry/registry_life.h: which versions a registry's events withhold: disabled, or due to be destroyed. */
#ifndef KVEIL_REGISTRY_REGISTRY_LIFE_H
#define KVEIL_REGISTRY_REGISTRY_LIFE_H

#include "registry/registry_event.h"

struct kveil_withheld {
	uint32_t id;
	bool disabled, whole;
	int64_t due_ms; /* to be destroyed from then on; 0 = not */
	size_t at;      /* while they are summed up: which event */
};

struct kveil_withheld_list {
	struct kveil_withheld *items; /* ordered by id */
	size_t count;
};

/* What these events say in their order. ret is the caller's, on success only. */
enum kveil_status kveil_withheld_sum_up(const struct kveil_registry_events *events, struct kveil_withheld_list *ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_withheld_clear(struct kveil_withheld_list *all);
/* NULL: it is not withheld. */
const struct kveil_withheld *kveil_withheld_find(const struct kveil_withheld_list *all, uint32_t id);

#endif

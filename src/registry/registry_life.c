/* SPDX-License-Identifier: Apache-2.0 */
/* Versions that are withheld: what the events say of them in their order is what holds. */
#include "registry/registry_life.h"

#include <stdlib.h>

void kveil_withheld_clear(struct kveil_withheld_list *all)
{
	free(all->items);
	*all = (struct kveil_withheld_list){0};
}

/* There may be as many as records name people. */
const struct kveil_withheld *kveil_withheld_find(const struct kveil_withheld_list *all, uint32_t id)
{
	size_t low = 0, high = all->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (all->items[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < all->count && all->items[low].id == id ? &all->items[low] : NULL;
}

static bool is_about_life(const struct kveil_registry_event *e)
{
	return e->id && (e->kind == KVEIL_EVENT_KEY_DISABLED || e->kind == KVEIL_EVENT_KEY_ENABLED ||
			 e->kind == KVEIL_EVENT_KEY_DESTROY_SCHEDULED || e->kind == KVEIL_EVENT_KEY_DESTROY_CANCELLED ||
			 e->kind == KVEIL_EVENT_KEY_DESTROYED);
}

static int by_id(const void *a, const void *b)
{
	const struct kveil_withheld *x = a, *y = b;

	if (x->id != y->id)
		return x->id < y->id ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static void apply(struct kveil_withheld *w, const struct kveil_registry_event *e)
{
	switch (e->kind) {
	case KVEIL_EVENT_KEY_DISABLED:
		w->disabled = true;
		break;
	case KVEIL_EVENT_KEY_ENABLED:
		w->disabled = false;
		break;
	case KVEIL_EVENT_KEY_DESTROY_SCHEDULED:
		w->due_ms = e->due_ms;
		w->whole = e->whole;
		break;
	default:
		w->due_ms = 0;
	}
}

/* all: what there is of one id at a time, the oldest first. */
static size_t sum_up(const struct kveil_registry_events *events, struct kveil_withheld *all, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count;) {
		struct kveil_withheld w = {.id = all[i].id};
		for (; i < count && all[i].id == w.id; i++)
			apply(&w, &events->items[all[i].at]);
		if (w.disabled || w.due_ms)
			all[kept++] = w;
	}
	return kept;
}

enum kveil_status kveil_withheld_sum_up(const struct kveil_registry_events *events, struct kveil_withheld_list *ret,
					struct kveil_error *err)
{
	struct kveil_withheld *all = calloc(events->count ? events->count : 1, sizeof *all);
	size_t count = 0;

	if (!all)
		return kveil_no_memory(err, "the events of the key registry");
	for (size_t i = 0; i < events->count; i++)
		if (is_about_life(&events->items[i]))
			all[count++] = (struct kveil_withheld){.id = events->items[i].id, .at = i};
	qsort(all, count, sizeof *all, by_id);
	*ret = (struct kveil_withheld_list){all, sum_up(events, all, count)};
	return KVEIL_OK;
}

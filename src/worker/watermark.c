/* SPDX-License-Identifier: Apache-2.0 */
/* How far a partition is done, without gaps. */
#include "worker/watermark.h"

#include <stdlib.h>

enum { FIRST_SLOTS = 256 };

void kveil_watermark_init(struct kveil_watermark *w, int64_t next)
{
	*w = (struct kveil_watermark){.next = next};
}

void kveil_watermark_clear(struct kveil_watermark *w)
{
	free(w->slots);
	*w = (struct kveil_watermark){.next = -1};
}

void kveil_watermark_rewind(struct kveil_watermark *w, int64_t next)
{
	w->head = w->tail;
	w->next = next;
}

/* Moves what is open to a ring of twice the size; a sequence number keeps its meaning. */
static bool grow(struct kveil_watermark *w)
{
	uint32_t cap = w->cap ? w->cap * 2 : FIRST_SLOTS;
	if (cap > UINT32_C(1) << 30)
		return false;
	struct kveil_watermark_slot *slots = malloc(cap * sizeof *slots);
	if (!slots)
		return false;
	for (uint32_t seq = w->head; seq != w->tail; seq++)
		slots[seq & (cap - 1)] = *kveil_watermark_slot(w, seq);
	free(w->slots);
	w->slots = slots;
	w->cap = cap;
	return true;
}

bool kveil_watermark_add(struct kveil_watermark *w, int64_t offset, uint32_t *ret_seq)
{
	if (kveil_watermark_open(w) == w->cap && !grow(w))
		return false;
	*kveil_watermark_slot(w, w->tail) = (struct kveil_watermark_slot){.offset = offset, .open = 1};
	*ret_seq = w->tail++;
	w->next = offset + 1;
	return true;
}

int64_t kveil_watermark_committable(const struct kveil_watermark *w)
{
	return w->head == w->tail ? w->next : kveil_watermark_slot(w, w->head)->offset;
}

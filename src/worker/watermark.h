/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/watermark.h: how far a partition may be committed: the first record not yet acknowledged, in the order of
 * consumption, by every view or by the dead-letter topic.
 *
 *   slots   [ done ][ 2 open ][ done ][ 1 open ]
 *             head ──►^ committable               ^ tail = the next record
 *
 * Sequence numbers are 32 bits and wrap; a partition never has 2^31 records open. Offsets only rise, with gaps
 * (compaction, transaction markers). One thread.
 */
#ifndef KVEIL_WORKER_WATERMARK_H
#define KVEIL_WORKER_WATERMARK_H

#include "kveil/base.h"

struct kveil_watermark_slot {
	int64_t offset;
	uint32_t open; /* acknowledgements still to come */
};

struct kveil_watermark {
	struct kveil_watermark_slot *slots;
	uint32_t cap; /* a power of two, or 0 */
	uint32_t head, tail;
	int64_t next; /* the offset behind the last record taken in; negative = none yet */
};

/* next: where consumption begins, negative when not known. Nothing is allocated before the first record. */
void kveil_watermark_init(struct kveil_watermark *w, int64_t next);
void kveil_watermark_clear(struct kveil_watermark *w);
/* Forgets what is open and goes on from next; memory is kept. */
void kveil_watermark_rewind(struct kveil_watermark *w, int64_t next);

/* Takes a record in, held open once by the caller, who lets go with kveil_watermark_done when everything the record
 * needs was handed on. offset must be at least w->next. false: out of memory, nothing changed. */
bool kveil_watermark_add(struct kveil_watermark *w, int64_t offset, uint32_t *ret_seq) KVEIL_MUST_CHECK;
/* The offset behind which everything is done: what may be committed. Negative: nothing is known yet. */
int64_t kveil_watermark_committable(const struct kveil_watermark *w);

static inline struct kveil_watermark_slot *kveil_watermark_slot(const struct kveil_watermark *w, uint32_t seq)
{
	return &w->slots[seq & (w->cap - 1)];
}

/* One more acknowledgement to wait for. */
static inline void kveil_watermark_hold(struct kveil_watermark *w, uint32_t seq)
{
	kveil_watermark_slot(w, seq)->open++;
}

/* One acknowledgement came. */
static inline void kveil_watermark_done(struct kveil_watermark *w, uint32_t seq)
{
	kveil_watermark_slot(w, seq)->open--;
	while (w->head != w->tail && kveil_watermark_slot(w, w->head)->open == 0)
		w->head++;
}

/* Takes the last record back, as if it had not come yet: it waits, and nothing of it was handed on. */
static inline void kveil_watermark_undo(struct kveil_watermark *w, uint32_t seq)
{
	w->next = kveil_watermark_slot(w, seq)->offset;
	w->tail = seq;
}

/* Records taken in and not done. */
static inline uint32_t kveil_watermark_open(const struct kveil_watermark *w)
{
	return w->tail - w->head;
}

#endif

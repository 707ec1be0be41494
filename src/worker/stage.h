/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/stage.h: records for one output partition that stand behind the batch on its way there, as copies. No I/O, no
 * clock. Each belongs to one worker and its thread, and so does the pool that its memory comes from.
 *
 *   put ─► [ record record … ] ─► [ … record ] ─► first, drop
 *               a piece               a piece
 */
#ifndef KVEIL_WORKER_STAGE_H
#define KVEIL_WORKER_STAGE_H

#include "kveil/engine.h"

struct kveil_stage_piece;

/* All zero: empty. Keeps a few pieces that are free. */
struct kveil_stage_pool {
	size_t records; /* in all stages */
	struct kveil_stage_piece *free;
	size_t free_count;
	struct kveil_header *headers; /* of the record that was asked for last */
	size_t header_cap;
};

/* All zero: empty. */
struct kveil_stage {
	struct kveil_stage_piece *first, *last;
	size_t at;        /* where in the first piece the first record begins */
	uint32_t records; /* that stand here */
	/* Of the batch that librdkafka has; the owner's: */
	uint32_t sent;      /* records that are not reported yet */
	uint32_t batch;     /* records */
	size_t batch_bytes; /* as librdkafka counts them */
	int64_t open_ns;    /* until when more may join it */
};

struct kveil_staged {
	struct kveil_record record; /* until it is dropped, or another is asked for */
	int64_t timestamp_ms;
	void *token;
};

/* false: no memory, nothing was put. */
bool kveil_stage_put(struct kveil_stage_pool *pool, struct kveil_stage *s,
		     const struct kveil_staged *staged) KVEIL_MUST_CHECK;
/* The one that was put first of those here; there must be one. */
void kveil_stage_first(const struct kveil_stage_pool *pool, const struct kveil_stage *s, struct kveil_staged *ret);
void kveil_stage_drop(struct kveil_stage_pool *pool, struct kveil_stage *s);
void kveil_stage_clear(struct kveil_stage_pool *pool, struct kveil_stage *s);
void kveil_stage_pool_clear(struct kveil_stage_pool *pool);

#endif

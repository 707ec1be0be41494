/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/arena.h: scratch memory for one record, given back all at once.
 *
 * A worker owns one arena, made once. Allocation is a pointer bump; kveil_arena_reset wipes what was used
 * (it may be plaintext) and keeps one block of the largest size seen, so a steady load allocates nothing.
 * One thread at a time. Pointers live until the next reset.
 */
#ifndef KVEIL_BASE_ARENA_H
#define KVEIL_BASE_ARENA_H

#include "base/allowance.h"

struct kveil_arena_block;

struct kveil_arena {
	uint8_t *cur, *end;                /* free part of the newest block */
	struct kveil_arena_block *blocks;  /* newest first */
	size_t keep_bytes;                 /* how much a reset may keep; larger blocks go back to the system */
	struct kveil_allowance *allowance; /* NULL = none; set before the first allocation */
};

void kveil_arena_init(struct kveil_arena *a, size_t keep_bytes);
void kveil_arena_clear(struct kveil_arena *a);
void kveil_arena_reset(struct kveil_arena *a);
size_t kveil_arena_bytes(const struct kveil_arena *a);   /* that it holds, used or not */
void *kveil_arena_grow(struct kveil_arena *a, size_t n); /* slow path of kveil_arena_alloc */

/* n bytes aligned to 16, not zeroed; NULL when memory or the allowance is out. n == 0 gives a valid pointer. */
static inline void *kveil_arena_alloc(struct kveil_arena *a, size_t n)
{
	if (__builtin_expect(n >= (size_t)(a->end - a->cur), 0)) /* also: no block yet */
		return kveil_arena_grow(a, n);
	size_t step = (n + 15) & ~(size_t)15;
	void *p = a->cur;
	a->cur += step < (size_t)(a->end - a->cur) ? step : (size_t)(a->end - a->cur);
	return p;
}

/* For count items of size bytes; NULL on overflow too. */
static inline void *kveil_arena_array(struct kveil_arena *a, size_t count, size_t size)
{
	size_t n;
	return __builtin_mul_overflow(count, size, &n) ? NULL : kveil_arena_alloc(a, n);
}

#endif

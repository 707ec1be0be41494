/* SPDX-License-Identifier: Apache-2.0 */
/* Memory in blocks, given back all at once and wiped. */
#include "base/arena.h"

#include "base/secret.h"

#include <stdlib.h>

struct kveil_arena_block {
	struct kveil_arena_block *older;
	size_t size; /* of bytes */
	_Alignas(16) uint8_t bytes[];
};

enum { FIRST_BLOCK = 16 * 1024 };

void kveil_arena_init(struct kveil_arena *a, size_t keep_bytes)
{
	*a = (struct kveil_arena){.keep_bytes = keep_bytes};
}

void *kveil_arena_grow(struct kveil_arena *a, size_t n)
{
	size_t size = a->blocks ? a->blocks->size * 2 : FIRST_BLOCK;

	if (n > SIZE_MAX / 4)
		return NULL;
	while (size < n + 15)
		size *= 2;
	size = kveil_allowance_fit(a->allowance, size, n + 15);
	if (!kveil_allowance_take(a->allowance, size))
		return NULL;
	struct kveil_arena_block *b = malloc(sizeof *b + size);
	if (!b) {
		kveil_allowance_give(a->allowance, size);
		return NULL;
	}
	b->older = a->blocks;
	b->size = size;
	a->blocks = b;
	a->cur = b->bytes;
	a->end = b->bytes + size;
	size_t step = (n + 15) & ~(size_t)15;
	void *p = a->cur;
	a->cur += step;
	return p;
}

static void free_block(struct kveil_arena *a, struct kveil_arena_block *b)
{
	kveil_allowance_give(a->allowance, b->size);
	kveil_secret_wipe(b->bytes, b->size);
	free(b);
}

void kveil_arena_clear(struct kveil_arena *a)
{
	while (a->blocks) {
		struct kveil_arena_block *b = a->blocks;
		a->blocks = b->older;
		free_block(a, b);
	}
	a->cur = a->end = NULL;
}

size_t kveil_arena_bytes(const struct kveil_arena *a)
{
	size_t bytes = 0;

	for (const struct kveil_arena_block *b = a->blocks; b; b = b->older)
		bytes += b->size;
	return bytes;
}

void kveil_arena_reset(struct kveil_arena *a)
{
	struct kveil_arena_block *b = a->blocks;

	if (!b)
		return;
	/* The newest block is the largest: the others go, and it goes too when it is more than may be kept. */
	while (b->older) {
		struct kveil_arena_block *old = b->older;
		b->older = old->older;
		free_block(a, old);
	}
	if (b->size > a->keep_bytes && b->size > FIRST_BLOCK) {
		free_block(a, b);
		a->blocks = NULL;
		a->cur = a->end = NULL;
		return;
	}
	kveil_secret_wipe(b->bytes, (size_t)(a->cur - b->bytes));
	a->cur = b->bytes;
}

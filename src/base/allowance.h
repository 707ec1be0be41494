/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/allowance.h: how many bytes the scratch of one engine may come to, in whatever holds them.
 *
 * Arenas, buffers and tables that share an allowance take from it as they grow and give back as they are freed. One
 * that would grow past it fails as if memory were out, and `was_refused` tells the two apart. One thread at a time.
 */
#ifndef KVEIL_BASE_ALLOWANCE_H
#define KVEIL_BASE_ALLOWANCE_H

#include "kveil/base.h"

struct kveil_allowance {
	size_t max_bytes, used_bytes;
	bool was_refused;
};

/* Bytes that may still be taken; a NULL allowance has no end. */
static inline size_t kveil_allowance_left(const struct kveil_allowance *a)
{
	return a ? a->max_bytes - a->used_bytes : SIZE_MAX;
}

static inline bool kveil_allowance_take(struct kveil_allowance *a, size_t n)
{
	if (n > kveil_allowance_left(a)) {
		a->was_refused = true;
		return false;
	}
	if (a)
		a->used_bytes += n;
	return true;
}

/* How much to grow to: `wanted`, or where that is past the end, what is needed and half of the rest. */
static inline size_t kveil_allowance_fit(const struct kveil_allowance *a, size_t wanted, size_t needed)
{
	size_t left = kveil_allowance_left(a);

	return wanted <= left || needed > left ? wanted : needed + (left - needed) / 2;
}

static inline void kveil_allowance_give(struct kveil_allowance *a, size_t n)
{
	if (a)
		a->used_bytes -= n;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/radix.h: strings of numerals as numbers in machine words and back, for FF1.
 *
 * A number is little-endian limbs of 64 bits; digits stand with the first numeral first, as in SP 800-38G. Chunks of
 * as many numerals as a word takes go through at once, four chunks in one pass over the limbs. Which memory is touched
 * follows from radix and length alone, never from the values.
 */
#ifndef KVEIL_CRYPTO_RADIX_H
#define KVEIL_CRYPTO_RADIX_H

#include "kveil/base.h"

__extension__ typedef unsigned __int128 kveil_u128;

/* Writes numbers below a limit of at most 2^62 as numerals, without a division: the number over the limit as a fraction
 * of 2^64, rounded up by less than three; each multiplication by the radix then brings a numeral above the point. */
struct kveil_radix_scale {
	uint64_t factor; /* 2^(64 + shift) / limit, rounded up */
	unsigned shift;
};

struct kveil_radix {
	uint32_t radix;                 /* 2 to 65536 */
	uint32_t numerals;              /* in a chunk */
	uint64_t chunk;                 /* radix^numerals, at most 2^62 */
	unsigned chunk_bits;            /* of chunk - 1 */
	struct kveil_radix_scale scale; /* for a chunk */
	/* Division by chunk: shifted until its top bit is set, and floor((2^128 - 1) / divisor) - 2^64. */
	uint64_t divisor, inverse;
	unsigned shift;
};

void kveil_radix_init(struct kveil_radix *r, uint32_t radix);

/* Limbs that count numerals take. join and split need KVEIL_RADIX_ROOM more. */
size_t kveil_radix_limbs(const struct kveil_radix *r, size_t count);
enum { KVEIL_RADIX_ROOM = 4 };

/* The number of count numerals, at least one, into kveil_radix_limbs limbs. */
void kveil_radix_join(const struct kveil_radix *r, const uint16_t *digits, size_t count, uint64_t *limbs);
/* And back. The number is below radix^count, its limbs are used up. */
void kveil_radix_split(const struct kveil_radix *r, uint64_t *limbs, uint16_t *digits, size_t count);
/* radix^count into limbs; returns how many, at most kveil_radix_limbs + 1. */
size_t kveil_radix_power(const struct kveil_radix *r, size_t count, uint64_t *limbs);

void kveil_radix_scale_init(struct kveil_radix_scale *s, uint64_t limit);

/* The numerals of x from the first on; the first `skip` are zero and not written. */
static inline void kveil_radix_write(const struct kveil_radix_scale *s, uint32_t radix, uint64_t x, uint16_t *digits,
				     size_t count, size_t skip)
{
	uint64_t fraction = (uint64_t)((kveil_u128)x * s->factor >> s->shift) + 1;

	while (skip--)
		fraction *= radix;
	for (size_t i = 0; i < count; i++) {
		const kveil_u128 p = (kveil_u128)fraction * radix;
		digits[i] = (uint16_t)(p >> 64);
		fraction = (uint64_t)p;
	}
}

static inline uint64_t kveil_radix_read(const uint16_t *digits, size_t count, uint32_t radix)
{
	uint64_t x = 0;

	for (size_t i = 0; i < count; i++)
		x = x * radix + digits[i];
	return x;
}

#endif

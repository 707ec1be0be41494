/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/radix.h"

typedef kveil_u128 u128;

enum { TOGETHER = KVEIL_RADIX_ROOM };

static unsigned bits_of(uint64_t x)
{
	return x ? 64 - (unsigned)__builtin_clzll(x) : 0;
}

void kveil_radix_scale_init(struct kveil_radix_scale *s, uint64_t limit)
{
	const unsigned bits = bits_of(limit - 1);

	*s = (struct kveil_radix_scale){(uint64_t)((((u128)1 << (63 + bits)) - 1) / limit) + 1, bits - 1};
}

void kveil_radix_init(struct kveil_radix *r, uint32_t radix)
{
	*r = (struct kveil_radix){.radix = radix, .numerals = 1, .chunk = radix};
	while (r->chunk <= ((uint64_t)1 << 62) / radix) {
		r->chunk *= radix;
		r->numerals++;
	}
	r->chunk_bits = bits_of(r->chunk - 1);
	kveil_radix_scale_init(&r->scale, r->chunk);
	r->shift = 64 - bits_of(r->chunk);
	r->divisor = r->chunk << r->shift;
	r->inverse = (uint64_t)(~(u128)0 / r->divisor); /* 2^64 less by the cast */
}

static size_t chunks_of(const struct kveil_radix *r, size_t count)
{
	return (count + r->numerals - 1) / r->numerals;
}

static size_t limbs_of(const struct kveil_radix *r, size_t chunks)
{
	return (chunks * r->chunk_bits + 63) / 64;
}

size_t kveil_radix_limbs(const struct kveil_radix *r, size_t count)
{
	return limbs_of(r, chunks_of(r, count));
}

/* n limbs times chunk^stages plus the number that the stages' carries are, first chunk first: stages more limbs. */
static inline __attribute__((always_inline)) void raise(uint64_t *limbs, size_t n, uint64_t chunk, uint64_t *carry,
							unsigned stages)
{
	for (unsigned s = 0; s < stages; s++)
		limbs[n + s] = 0;
	for (size_t i = 0; i < n + stages; i++) {
		uint64_t x = limbs[i];
		for (unsigned s = 0; s < stages; s++) {
			const u128 p = (u128)x * chunk + carry[s];
			x = (uint64_t)p;
			carry[s] = (uint64_t)(p >> 64);
		}
		limbs[i] = x;
	}
}

static void raise_by(uint64_t *limbs, size_t n, uint64_t chunk, uint64_t *carry, size_t stages)
{
	switch (stages) {
	case 1:
		raise(limbs, n, chunk, carry, 1);
		break;
	case 2:
		raise(limbs, n, chunk, carry, 2);
		break;
	case 3:
		raise(limbs, n, chunk, carry, 3);
		break;
	default:
		raise(limbs, n, chunk, carry, TOGETHER);
	}
}

void kveil_radix_join(const struct kveil_radix *r, const uint16_t *digits, size_t count, uint64_t *limbs)
{
	size_t left = chunks_of(r, count) - 1, done = 1, first = count - left * r->numerals;

	limbs[0] = kveil_radix_read(digits, first, r->radix);
	digits += first;
	while (left > 0) {
		const size_t stages = left < TOGETHER ? left : TOGETHER;
		uint64_t carry[TOGETHER];
		for (size_t s = 0; s < stages; s++, digits += r->numerals)
			carry[s] = kveil_radix_read(digits, r->numerals, r->radix);
		raise_by(limbs, limbs_of(r, done), r->chunk, carry, stages);
		done += stages;
		left -= stages;
	}
}

size_t kveil_radix_power(const struct kveil_radix *r, size_t count, uint64_t *limbs)
{
	size_t n = 1, left = count / r->numerals;
	uint64_t rest = 1;

	for (size_t i = left * r->numerals; i < count; i++)
		rest *= r->radix;
	limbs[0] = rest;
	while (left > 0) {
		const size_t stages = left < TOGETHER ? left : TOGETHER;
		uint64_t carry[TOGETHER] = {0};
		raise_by(limbs, n, r->chunk, carry, stages);
		for (n += stages; limbs[n - 1] == 0;)
			n--;
		left -= stages;
	}
	return n;
}

/*
 * Möller and Granlund, Improved division by invariant integers (2011), algorithm 4: x and the rest from the limbs above
 * over the divisor. The rest is kept as much shifted as the divisor is.
 */
static inline __attribute__((always_inline)) uint64_t divide(uint64_t *rest, uint64_t x, const struct kveil_radix *r)
{
	const uint64_t high = *rest | x >> (64 - r->shift), low = x << r->shift;
	const u128 p = (u128)r->inverse * high + ((u128)high << 64 | low);
	uint64_t quotient = (uint64_t)(p >> 64) + 1, remainder = low - quotient * r->divisor;
	const uint64_t over = -(uint64_t)(remainder > (uint64_t)p);

	quotient += over;
	remainder += over & r->divisor;
	const uint64_t under = -(uint64_t)(remainder >= r->divisor);
	*rest = remainder - (under & r->divisor);
	return quotient - under;
}

/* n limbs over chunk^stages; the rests are the last chunk, the one before it and so on. */
static inline __attribute__((always_inline)) void lower(const struct kveil_radix *r, uint64_t *limbs, size_t n,
							uint64_t *rests, unsigned stages)
{
	uint64_t rest[TOGETHER] = {0};

	for (size_t i = n; i--;) {
		uint64_t x = limbs[i];
		for (unsigned s = 0; s < stages; s++)
			x = divide(&rest[s], x, r);
		limbs[i] = x;
	}
	for (unsigned s = 0; s < stages; s++)
		rests[s] = rest[s] >> r->shift;
}

static void lower_by(const struct kveil_radix *r, uint64_t *limbs, size_t n, uint64_t *rests, size_t stages)
{
	/* A copy of the constants that no store to the limbs can change: they stay in registers. */
	const struct kveil_radix k = *r;

	switch (stages) {
	case 1:
		lower(&k, limbs, n, rests, 1);
		break;
	case 2:
		lower(&k, limbs, n, rests, 2);
		break;
	case 3:
		lower(&k, limbs, n, rests, 3);
		break;
	default:
		lower(&k, limbs, n, rests, TOGETHER);
	}
}

void kveil_radix_split(const struct kveil_radix *r, uint64_t *limbs, uint16_t *digits, size_t count)
{
	size_t chunks = chunks_of(r, count);
	const size_t first = count - (chunks - 1) * r->numerals;
	uint16_t *at = digits + count;

	while (chunks > 1) {
		const size_t stages = chunks - 1 < TOGETHER ? chunks - 1 : TOGETHER;
		uint64_t rests[TOGETHER];
		lower_by(r, limbs, limbs_of(r, chunks), rests, stages);
		for (size_t s = 0; s < stages; s++) {
			at -= r->numerals;
			kveil_radix_write(&r->scale, r->radix, rests[s], at, r->numerals, 0);
		}
		chunks -= stages;
	}
	kveil_radix_write(&r->scale, r->radix, limbs[0], digits, first, r->numerals - first);
}

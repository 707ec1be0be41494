/* SPDX-License-Identifier: Apache-2.0 */
/* Numerals of any radix as numbers, and back. */
#include "crypto/radix.h"

#include "base/secret.h"

typedef kveil_u128 u128;

_Static_assert(KVEIL_RADIX_ROOM >= 4, "raise_4 and lower_4 go so far beyond the number");

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

static inline uint64_t multiply(uint64_t *carry, uint64_t x, uint64_t chunk)
{
	const u128 p = (u128)x * chunk + *carry;

	*carry = (uint64_t)(p >> 64);
	return (uint64_t)p;
}

/* n limbs times chunk plus carry: one limb more. */
static void raise(uint64_t *limbs, size_t n, uint64_t chunk, uint64_t carry)
{
	for (size_t i = 0; i < n; i++)
		limbs[i] = multiply(&carry, limbs[i], chunk);
	limbs[n] = carry;
}

/* The same four times, first carry first, in one pass: four limbs more. */
static void raise_4(uint64_t *limbs, size_t n, uint64_t chunk, const uint64_t *carries)
{
	uint64_t a = carries[0], b = carries[1], c = carries[2], d = carries[3];

	memset(limbs + n, 0, 4 * sizeof *limbs);
	for (size_t i = 0; i < n + 4; i++)
		limbs[i] = multiply(&d, multiply(&c, multiply(&b, multiply(&a, limbs[i], chunk), chunk), chunk), chunk);
}

void kveil_radix_join(const struct kveil_radix *r, const uint16_t *digits, size_t count, uint64_t *limbs)
{
	const size_t chunks = chunks_of(r, count), first = count - (chunks - 1) * r->numerals;
	uint64_t carries[4];
	size_t done = 1;

	limbs[0] = kveil_radix_read(digits, first, r->radix);
	digits += first;
	for (; done % 4 != chunks % 4; done++, digits += r->numerals)
		raise(limbs, limbs_of(r, done), r->chunk, kveil_radix_read(digits, r->numerals, r->radix));
	for (; done < chunks; done += 4) {
		for (size_t s = 0; s < 4; s++, digits += r->numerals)
			carries[s] = kveil_radix_read(digits, r->numerals, r->radix);
		raise_4(limbs, limbs_of(r, done), r->chunk, carries);
	}
	kveil_secret_wipe(carries, sizeof carries);
}

size_t kveil_radix_power(const struct kveil_radix *r, size_t count, uint64_t *limbs)
{
	size_t n = 1, left = count / r->numerals;

	limbs[0] = 1;
	for (size_t i = left * r->numerals; i < count; i++)
		limbs[0] *= r->radix;
	while (left > 0) {
		static const uint64_t none[4];
		if (left % 4)
			raise(limbs, n, r->chunk, 0);
		else
			raise_4(limbs, n, r->chunk, none);
		n += left % 4 ? 1 : 4;
		left -= left % 4 ? 1 : 4;
		while (limbs[n - 1] == 0)
			n--;
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
	const u128 p = (u128)r->inverse * high;
	const uint64_t fraction = (uint64_t)p + low;
	uint64_t quotient = (uint64_t)(p >> 64) + high + 1 + (fraction < low);
	uint64_t remainder = low - quotient * r->divisor;

	/* As a mask: half of the values need it, and no processor can tell which. */
	const uint64_t over = -(uint64_t)(remainder > fraction);
	quotient += over;
	remainder += over & r->divisor;
	if (__builtin_expect(remainder >= r->divisor, 0)) {
		quotient++;
		remainder -= r->divisor;
	}
	*rest = remainder;
	return quotient;
}

/*
 * n limbs over chunk^4; the rests are the last chunk, the one before it and so on. Each of the four divisions is a
 * limb behind the one before it, so that they do not wait for each other. They begin with zeros, which give zeros.
 */
static void lower_4(const struct kveil_radix *radix, uint64_t *limbs, size_t n, uint64_t *rests)
{
	const struct kveil_radix r = *radix; /* no store to limbs can change it: it stays in registers */
	uint64_t a = 0, b = 0, c = 0, d = 0, x = 0, y = 0, z = 0;

	for (size_t i = n; i--;) {
		limbs[i + 3] = divide(&d, z, &r);
		z = divide(&c, y, &r);
		y = divide(&b, x, &r);
		x = divide(&a, limbs[i], &r);
	}
	limbs[2] = divide(&d, z, &r);
	z = divide(&c, y, &r);
	y = divide(&b, x, &r);
	limbs[1] = divide(&d, z, &r);
	z = divide(&c, y, &r);
	limbs[0] = divide(&d, z, &r);
	rests[0] = a >> r.shift;
	rests[1] = b >> r.shift;
	rests[2] = c >> r.shift;
	rests[3] = d >> r.shift;
}

void kveil_radix_split(const struct kveil_radix *r, uint64_t *limbs, uint16_t *digits, size_t count)
{
	const size_t chunks = chunks_of(r, count), first = count - (chunks - 1) * r->numerals;
	uint16_t *at = digits + count;
	uint64_t rests[4];

	for (size_t left = chunks; left > 0;) {
		lower_4(r, limbs, limbs_of(r, left), rests);
		for (size_t s = 0; s < 4 && left > 0; s++, left--) {
			const size_t n = left > 1 ? r->numerals : first;
			at -= n;
			kveil_radix_write(&r->scale, r->radix, rests[s], at, n, r->numerals - n);
		}
	}
	kveil_secret_wipe(rests, sizeof rests);
}

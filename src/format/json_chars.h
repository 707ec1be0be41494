/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/json_chars.h: finding the next byte of a JSON string that is more than itself: a quote, a backslash, a
 * control character or the begin of a multi-byte character. SSE2 where there is any (all of x86-64), eight bytes
 * in a word elsewhere. Never reads outside [p, end).
 */
#ifndef KVEIL_FORMAT_JSON_CHARS_H
#define KVEIL_FORMAT_JSON_CHARS_H

#include "kveil/base.h"

#if defined(__SSE2__)
#include <emmintrin.h>

enum { KVEIL_JSON_BLOCK = 16 };

/* One bit a byte of the block at p: set where it is special. */
static inline uint64_t kveil_json_special_bits(const uint8_t *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	/* Signed: below 0x20 are the control characters and all of 0x80 to 0xFF. */
	__m128i special = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
	special = _mm_or_si128(special, _mm_cmpeq_epi8(v, _mm_set1_epi8('"')));
	special = _mm_or_si128(special, _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
	return (uint64_t)(uint32_t)_mm_movemask_epi8(special);
}

static inline unsigned kveil_json_first_bit(uint64_t bits)
{
	return (unsigned)__builtin_ctzll(bits);
}

/* One bit a byte of the 16 at p: set where it is not a digit. */
static inline unsigned kveil_json_not_digits(const uint8_t *p)
{
	__m128i v = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)(const void *)p), _mm_set1_epi8('0'));
	__m128i digit = _mm_cmpeq_epi8(_mm_min_epu8(v, _mm_set1_epi8(9)), v);
	return (unsigned)_mm_movemask_epi8(digit) ^ 0xFFFF;
}
#else

enum { KVEIL_JSON_BLOCK = 8 };

/* The high bit of each special byte. A borrow may set bits above the first true one, never below it. */
static inline uint64_t kveil_json_special_bits(const uint8_t *p)
{
	const uint64_t ones = 0x0101010101010101u;
	uint64_t v;

	memcpy(&v, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	uint64_t quote = v ^ (ones * '"'), backslash = v ^ (ones * '\\');
	uint64_t hit = (v - ones * 0x20) | (quote - ones) | (backslash - ones);
	return (hit | v) & (ones * 0x80);
}

static inline unsigned kveil_json_first_bit(uint64_t bits)
{
	return (unsigned)__builtin_ctzll(bits) / 8;
}

/* Not asked for where blocks are of eight. */
static inline unsigned kveil_json_not_digits(const uint8_t *p)
{
	(void)p;
	return 1;
}
#endif

static inline bool kveil_json_is_special(uint8_t c)
{
	return c < 0x20 || c >= 0x80 || c == '"' || c == '\\';
}

/* The first special byte of [p, end), or end. */
static inline const uint8_t *kveil_json_plain_end(const uint8_t *p, const uint8_t *end)
{
	while (end - p >= KVEIL_JSON_BLOCK) {
		uint64_t bits = kveil_json_special_bits(p);
		if (bits)
			return p + kveil_json_first_bit(bits);
		p += KVEIL_JSON_BLOCK;
	}
	while (p < end && !kveil_json_is_special(*p))
		p++;
	return p;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Hexadecimal, base64 and UTF-8. */
#include "base/text.h"

#if defined(__x86_64__)
#include <tmmintrin.h>
#endif

static const char base64_alphabet[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char base64url_alphabet[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char hex_digits[17] = "0123456789abcdef";

#if defined(__x86_64__)
/*
 * Twelve bytes become sixteen characters in one register. Every protected record carries some base64 of about fifty
 * bytes: a table look-up a character would cost several times this. Each block but the first is loaded from four bytes
 * before it, so that no load passes the end. n >= 16. Returns the bytes it has encoded.
 */
__attribute__((target("ssse3"))) static size_t base64_encode_blocks(const uint8_t *src, size_t n, uint8_t *dst,
								    char c62, char c63)
{
	const __m128i spread_first = _mm_set_epi8(10, 11, 9, 10, 7, 8, 6, 7, 4, 5, 3, 4, 1, 2, 0, 1);
	const __m128i spread = _mm_add_epi8(spread_first, _mm_set1_epi8(4));
	/* What is added to a six-bit value to make its character, by the range that the value lies in. */
	const char digit = '0' - 52;
	const __m128i shift = _mm_setr_epi8('a' - 26, digit, digit, digit, digit, digit, digit, digit, digit, digit,
					    digit, (char)(c62 - 62), (char)(c63 - 63), 'A', 0, 0);
	__m128i in = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)src), spread_first);
	size_t i = 0;

	for (;;) {
		__m128i high =
		    _mm_mulhi_epu16(_mm_and_si128(in, _mm_set1_epi32(0x0fc0fc00)), _mm_set1_epi32(0x04000040));
		__m128i low =
		    _mm_mullo_epi16(_mm_and_si128(in, _mm_set1_epi32(0x003f03f0)), _mm_set1_epi32(0x01000010));
		__m128i six = _mm_or_si128(high, low);
		__m128i range = _mm_subs_epu8(six, _mm_set1_epi8(51));
		__m128i upper = _mm_cmpgt_epi8(_mm_set1_epi8(26), six);
		range = _mm_or_si128(range, _mm_and_si128(upper, _mm_set1_epi8(13)));
		_mm_storeu_si128((__m128i *)dst, _mm_add_epi8(_mm_shuffle_epi8(shift, range), six));
		i += 12;
		dst += 16;
		if (n - i < 12)
			return i;
		in = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(src + i - 4)), spread);
	}
}
#endif

static inline void base64_encode(const uint8_t *src, size_t n, uint8_t *dst, const char *alphabet, bool pad)
{
	size_t i = 0;

#if defined(__x86_64__)
	if (n >= 16 && __builtin_cpu_supports("ssse3")) {
		i = base64_encode_blocks(src, n, dst, alphabet[62], alphabet[63]);
		dst += i / 3 * 4;
	}
#endif
	for (; n - i >= 3; i += 3, dst += 4) {
		uint32_t v = (uint32_t)src[i] << 16 | (uint32_t)src[i + 1] << 8 | src[i + 2];
		dst[0] = (uint8_t)alphabet[v >> 18];
		dst[1] = (uint8_t)alphabet[v >> 12 & 63];
		dst[2] = (uint8_t)alphabet[v >> 6 & 63];
		dst[3] = (uint8_t)alphabet[v & 63];
	}
	if (n - i == 1) {
		*dst++ = (uint8_t)alphabet[src[i] >> 2];
		*dst++ = (uint8_t)alphabet[(src[i] & 3) << 4];
		if (pad) {
			*dst++ = '=';
			*dst++ = '=';
		}
	} else if (n - i == 2) {
		*dst++ = (uint8_t)alphabet[src[i] >> 2];
		*dst++ = (uint8_t)alphabet[(src[i] & 3) << 4 | src[i + 1] >> 4];
		*dst++ = (uint8_t)alphabet[(src[i + 1] & 15) << 2];
		if (pad)
			*dst++ = '=';
	}
}

static void hex_encode(const uint8_t *src, size_t n, uint8_t *dst)
{
#if defined(__x86_64__)
	const __m128i low = _mm_set1_epi8(15), nine = _mm_set1_epi8(9), zero = _mm_set1_epi8('0'),
		      gap = _mm_set1_epi8('a' - '9' - 1);
	for (; n >= 16; n -= 16, src += 16, dst += 32) {
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)src);
		__m128i h = _mm_and_si128(_mm_srli_epi16(v, 4), low), l = _mm_and_si128(v, low);
		h = _mm_add_epi8(_mm_add_epi8(h, zero), _mm_and_si128(_mm_cmpgt_epi8(h, nine), gap));
		l = _mm_add_epi8(_mm_add_epi8(l, zero), _mm_and_si128(_mm_cmpgt_epi8(l, nine), gap));
		_mm_storeu_si128((__m128i *)(void *)dst, _mm_unpacklo_epi8(h, l));
		_mm_storeu_si128((__m128i *)(void *)(dst + 16), _mm_unpackhi_epi8(h, l));
	}
#endif
	for (size_t i = 0; i < n; i++) {
		*dst++ = (uint8_t)hex_digits[src[i] >> 4];
		*dst++ = (uint8_t)hex_digits[src[i] & 15];
	}
}

void kveil_text_encode(enum kveil_encoding e, const uint8_t *src, size_t n, uint8_t *dst)
{
	switch (e) {
	case KVEIL_BASE64:
		base64_encode(src, n, dst, base64_alphabet, true);
		return;
	case KVEIL_BASE64URL:
		base64_encode(src, n, dst, base64url_alphabet, false);
		return;
	case KVEIL_HEX:
		hex_encode(src, n, dst);
		return;
	}
}

size_t kveil_text_decoded_max(enum kveil_encoding e, size_t n)
{
	return e == KVEIL_HEX ? n / 2 : n / 4 * 3 + 3;
}

/* The six bits of a character, or 0x80. Decoded text may be key material, so the answer comes without a table. */
static uint8_t base64_value(uint8_t c, uint8_t c62, uint8_t c63)
{
	uint8_t v = 0x80;

	v = (uint8_t)(c - 'A') < 26 ? (uint8_t)(c - 'A') : v;
	v = (uint8_t)(c - 'a') < 26 ? (uint8_t)(c - 'a' + 26) : v;
	v = (uint8_t)(c - '0') < 10 ? (uint8_t)(c - '0' + 52) : v;
	v = c == c62 ? 62 : v;
	v = c == c63 ? 63 : v;
	return v;
}

static bool base64_decode(const uint8_t *src, size_t n, uint8_t *dst, size_t *ret_len, bool url)
{
	const uint8_t c62 = url ? '-' : '+', c63 = url ? '_' : '/';
	uint8_t *out = dst;

	if (!url) {
		if (n % 4)
			return false;
		if (n && src[n - 1] == '=')
			n -= src[n - 2] == '=' ? 2 : 1;
	}
	size_t i = 0;
	uint8_t bad = 0;
	for (; n - i >= 4; i += 4) {
		uint8_t a = base64_value(src[i], c62, c63), b = base64_value(src[i + 1], c62, c63);
		uint8_t c = base64_value(src[i + 2], c62, c63), d = base64_value(src[i + 3], c62, c63);
		bad |= a | b | c | d;
		*out++ = (uint8_t)(a << 2 | b >> 4);
		*out++ = (uint8_t)(b << 4 | c >> 2);
		*out++ = (uint8_t)(c << 6 | d);
	}
	if (n - i == 1)
		return false;
	if (n - i >= 2) {
		uint8_t a = base64_value(src[i], c62, c63), b = base64_value(src[i + 1], c62, c63);
		uint8_t c = n - i == 3 ? base64_value(src[i + 2], c62, c63) : 0;
		bad |= a | b | c;
		*out++ = (uint8_t)(a << 2 | b >> 4);
		if (n - i == 3)
			*out++ = (uint8_t)(b << 4 | c >> 2);
		/* One value has one spelling: bits that no byte takes are zero. */
		if (n - i == 3 ? (c & 3) != 0 : (b & 15) != 0)
			return false;
	}
	*ret_len = (size_t)(out - dst);
	return !(bad & 0x80);
}

static uint8_t hex_value(uint8_t c)
{
	uint8_t v = 0x80;

	v = (uint8_t)(c - '0') < 10 ? (uint8_t)(c - '0') : v;
	v = (uint8_t)(c - 'a') < 6 ? (uint8_t)(c - 'a' + 10) : v;
	return v;
}

static bool hex_decode(const uint8_t *src, size_t n, uint8_t *dst, size_t *ret_len)
{
	uint8_t bad = 0;

	if (n % 2)
		return false;
	for (size_t i = 0; i < n; i += 2) {
		uint8_t a = hex_value(src[i]), b = hex_value(src[i + 1]);
		bad |= a | b;
		*dst++ = (uint8_t)(a << 4 | b);
	}
	*ret_len = n / 2;
	return !(bad & 0x80);
}

bool kveil_text_decode(enum kveil_encoding e, const uint8_t *src, size_t n, uint8_t *dst, size_t *ret_len)
{
	*ret_len = 0;
	bool ok = e == KVEIL_HEX ? hex_decode(src, n, dst, ret_len)
				 : base64_decode(src, n, dst, ret_len, e == KVEIL_BASE64URL);
	if (!ok)
		*ret_len = 0;
	return ok;
}

/* The bytes of the well-formed sequence that s begins with (Unicode 15, table 3-7), or 0. */
static size_t utf8_sequence(const uint8_t *s, size_t len)
{
	uint8_t low = 0x80, high = 0xbf; /* of the second byte */
	size_t n;

	if (s[0] < 0x80)
		return 1;
	if (s[0] >= 0xc2 && s[0] <= 0xdf) {
		n = 2;
	} else if (s[0] >= 0xe0 && s[0] <= 0xef) {
		n = 3;
		if (s[0] == 0xe0)
			low = 0xa0; /* overlong */
		else if (s[0] == 0xed)
			high = 0x9f; /* surrogates */
	} else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
		n = 4;
		if (s[0] == 0xf0)
			low = 0x90; /* overlong */
		else if (s[0] == 0xf4)
			high = 0x8f; /* above U+10FFFF */
	} else {
		return 0;
	}
	if (len < n || s[1] < low || s[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

size_t kveil_utf8_valid_prefix(const uint8_t *s, size_t len)
{
	size_t i = 0;

	while (i < len) {
		if (len - i >= 8 && kveil_text_is_ascii(kveil_span_of(s + i, 8))) {
			i += 8;
			continue;
		}
		/* Fewer are left: with some that are known. */
		if (len - i < 8 && len >= 8 && kveil_text_is_ascii(kveil_span_of(s + len - 8, 8)))
			return len;
		size_t n = utf8_sequence(s + i, len - i);
		if (n == 0)
			break;
		i += n;
	}
	return i;
}

enum { NEAREST_MAX = 64 }; /* characters; names are shorter */

/* Edits (insert, delete, replace, swap of two neighbours) that make b of a: optimal string alignment. */
static size_t edit_distance(const char *a, size_t alen, const char *b, size_t blen)
{
	size_t rows[3][NEAREST_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];

	for (size_t j = 0; j <= blen; j++)
		last[j] = j;
	for (size_t i = 1; i <= alen; i++) {
		now[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			size_t d = last[j - 1] + (a[i - 1] != b[j - 1]);
			if (last[j] + 1 < d)
				d = last[j] + 1;
			if (now[j - 1] + 1 < d)
				d = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < d)
				d = before[j - 2] + 1;
			now[j] = d;
		}
		size_t *spare = before;
		before = last;
		last = now;
		now = spare;
	}
	return last[blen];
}

const char *kveil_text_nearest(const char *word, const char *const *candidates)
{
	const char *best = NULL;
	size_t best_distance = 3, n = strlen(word);

	if (n > NEAREST_MAX)
		return NULL;
	for (; *candidates; candidates++) {
		size_t m = strlen(*candidates);
		if (m > NEAREST_MAX)
			continue;
		if (strcasecmp(word, *candidates) == 0)
			return *candidates;
		size_t d = edit_distance(word, n, *candidates, m);
		if (d < best_distance && d * 3 <= (n > m ? n : m)) {
			best = *candidates;
			best_distance = d;
		}
	}
	return best;
}

const char *kveil_text_line(const char *text, char *dst, size_t size)
{
	size_t n = 0;

	for (; *text && n + 1 < size; text++) {
		bool c1 = (uint8_t)text[0] == 0xc2 && (uint8_t)text[1] >= 0x80 && (uint8_t)text[1] < 0xa0;
		dst[n++] = c1 || (uint8_t)*text < 0x20 || *text == 0x7f ? ' ' : *text;
		text += c1;
	}
	dst[*text ? kveil_utf8_valid_prefix((const uint8_t *)dst, n) : n] = 0;
	return dst;
}

bool kveil_text_json_is_modest(struct kveil_span text, int depth, size_t values)
{
	size_t count = 0;
	int level = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t c = text.data[i];
		if (c == '"') {
			for (i++; i < text.len && text.data[i] != '"'; i++)
				i += text.data[i] == '\\';
			continue;
		}
		level += (c == '{' || c == '[') - (c == '}' || c == ']');
		count += c == '{' || c == '[' || c == ',';
		if (level > depth || count > values)
			return false;
	}
	return true;
}

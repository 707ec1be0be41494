/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/text.h: base64 (RFC 4648 sections 4 and 5), hex, UTF-8 (RFC 3629), edit distance. Any thread.
 * Decoders are strict: no whitespace, no missing or superfluous padding, no stray trailing bits.
 */
#ifndef KVEIL_BASE_TEXT_H
#define KVEIL_BASE_TEXT_H

#include "kveil/base.h"

enum kveil_encoding { KVEIL_BASE64, KVEIL_BASE64URL /* unpadded */, KVEIL_HEX /* lower */ };

/* Characters that n bytes become. */
static inline size_t kveil_text_encoded_len(enum kveil_encoding e, size_t n)
{
	switch (e) {
	case KVEIL_BASE64:
		return (n + 2) / 3 * 4;
	case KVEIL_BASE64URL:
		return n / 3 * 4 + (n % 3 ? n % 3 + 1 : 0);
	case KVEIL_HEX:
		return n * 2;
	}
	return 0;
}
/* Writes exactly kveil_text_encoded_len characters, no NUL. */
void kveil_text_encode(enum kveil_encoding e, const uint8_t *src, size_t n, uint8_t *dst);
/* An upper bound of the bytes that n characters can hold. */
size_t kveil_text_decoded_max(enum kveil_encoding e, size_t n);
/* false: not strictly this encoding. */
bool kveil_text_decode(enum kveil_encoding e, const uint8_t *src, size_t n, uint8_t *dst, size_t *ret_len);

/* Length of the valid prefix; == len when all is well-formed (no surrogates, no overlongs, <= U+10FFFF). */
size_t kveil_utf8_valid_prefix(const uint8_t *s, size_t len);

/* Are all bytes below 0x80? Most texts are short, and this tells without a call. */
static inline bool kveil_text_is_ascii(struct kveil_span s)
{
	const uint64_t highs = 0x8080808080808080u;
	uint64_t word, all = 0;
	size_t i = 0;

	for (; i + sizeof word <= s.len; i += sizeof word) {
		memcpy(&word, s.data + i, sizeof word);
		all |= word;
	}
	if (s.len >= sizeof word) {
		memcpy(&word, s.data + s.len - sizeof word, sizeof word);
		return !((all | word) & highs);
	}
	for (; i < s.len; i++)
		all |= s.data[i];
	return !(all & highs);
}

/* The candidate nearest to word (Damerau-Levenshtein, at most 2 edits and a third of the length), or NULL:
 * for "did you mean". candidates ends with NULL. */
const char *kveil_text_nearest(const char *word, const char *const *candidates);

/* One line of a text in UTF-8 for a message, in dst: a space for each control character (also the two bytes of C1,
 * which terminals obey), no half character at the end. Returns dst. */
const char *kveil_text_line(const char *text, char *dst, size_t size);

/* Does a JSON text nest no deeper than depth and hold no more than so many values? Looked at before a parser sees it
 * that recurses, and takes a hundred bytes for each. Any bytes: only brackets, commas and quotes count. */
bool kveil_text_json_is_modest(struct kveil_span text, int depth, size_t values);

#endif

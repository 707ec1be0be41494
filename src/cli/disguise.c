/* SPDX-License-Identifier: Apache-2.0 */
/* What stays of a record that is looked at: its shape. */
#include "cli/disguise.h"

#include "base/text.h"

#include <ctype.h>

enum { NAME_MAX_LEN = 40 };

static bool is_word(uint8_t c)
{
	return c < 0x80 && (isalnum(c) || c == '_');
}

/* The length of a member's name with its quotes at `at`; 0: there is none. */
static size_t name_at(struct kveil_span s, size_t at)
{
	size_t end = at + 1;

	if (s.data[at] != '"' || end >= s.len || isdigit(s.data[end]))
		return 0;
	while (end < s.len && end - at <= NAME_MAX_LEN && (is_word(s.data[end]) || memchr("-.$", s.data[end], 3)))
		end++;
	if (end >= s.len || s.data[end] != '"' || end == at + 1)
		return 0;
	size_t colon = end + 1;
	while (colon < s.len && memchr(" \t\r\n", s.data[colon], 4))
		colon++;
	return colon < s.len && s.data[colon] == ':' ? end + 1 - at : 0;
}

static bool null_at(struct kveil_span s, size_t at)
{
	return s.len - at >= 4 && memcmp(s.data + at, "null", 4) == 0 && (at == 0 || !is_word(s.data[at - 1])) &&
	       (at + 4 == s.len || !is_word(s.data[at + 4]));
}

/* How many bytes the character at `at` has. */
static size_t width_at(struct kveil_span s, size_t at)
{
	uint8_t c = s.data[at];
	size_t n = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	return s.len - at >= n && kveil_utf8_valid_prefix(s.data + at, n) == n ? n : 1;
}

static char disguise_of(uint8_t c)
{
	if (c >= 0x80)
		return 'x';
	if (isdigit(c))
		return '0';
	if (isalpha(c))
		return isupper(c) ? 'X' : 'x';
	return c < 0x20 && !memchr("\t\r\n", c, 3) ? '.' : (char)c;
}

void kveil_disguise(struct kveil_span s, struct kveil_buf *out)
{
	for (size_t i = 0; i < s.len;) {
		size_t n = name_at(s, i);
		if (!n && null_at(s, i))
			n = 4;
		if (n) {
			kveil_buf_append(out, s.data + i, n);
			i += n;
			continue;
		}
		kveil_buf_append_byte(out, (uint8_t)disguise_of(s.data[i]));
		i += width_at(s, i);
	}
}

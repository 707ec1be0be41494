/* SPDX-License-Identifier: Apache-2.0 */
/* Characters as people count them. */
#include "base/grapheme.h"

#include <utf8proc.h>

size_t kveil_grapheme_next(const uint8_t *s, size_t len)
{
	if (len < 2)
		return len;
	/* Two ASCII bytes part, but for CR LF. */
	if (s[0] < 0x80 && s[1] < 0x80)
		return s[0] == '\r' && s[1] == '\n' ? 2 : 1;
	utf8proc_int32_t before, after, state = 0;
	utf8proc_ssize_t most = len > 8 ? 8 : (utf8proc_ssize_t)len;
	utf8proc_ssize_t n = utf8proc_iterate(s, most, &before);
	if (n <= 0)
		return 1;
	size_t at = (size_t)n;
	while (at < len) {
		most = len - at > 8 ? 8 : (utf8proc_ssize_t)(len - at);
		n = utf8proc_iterate(s + at, most, &after);
		if (n <= 0 || utf8proc_grapheme_break_stateful(before, after, &state))
			break;
		at += (size_t)n;
		before = after;
	}
	return at;
}

size_t kveil_grapheme_count(const uint8_t *s, size_t len)
{
	size_t count = 0;

	for (size_t at = 0; at < len; at += kveil_grapheme_next(s + at, len - at))
		count++;
	return count;
}

uint8_t *kveil_grapheme_compose(struct kveil_span text, bool fold_case, size_t *ret_len)
{
	utf8proc_option_t how = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
	utf8proc_uint8_t *out = NULL;

	if (fold_case)
		how |= UTF8PROC_CASEFOLD;
	utf8proc_ssize_t n = utf8proc_map(text.data, (utf8proc_ssize_t)text.len, &out, how);
	*ret_len = n < 0 ? 0 : (size_t)n;
	return n < 0 ? NULL : out;
}

#define X(name) _Static_assert((int)KVEIL_CATEGORY_##name == (int)UTF8PROC_CATEGORY_##name, "the library's order");
KVEIL_CATEGORY_TABLE(X)
#undef X

uint32_t kveil_grapheme_lower(const uint8_t *s, size_t len, size_t *ret_len)
{
	utf8proc_int32_t code_point;
	utf8proc_ssize_t n = utf8proc_iterate(s, len > 4 ? 4 : (utf8proc_ssize_t)len, &code_point);

	*ret_len = n > 0 ? (size_t)n : 1;
	return n > 0 ? (uint32_t)utf8proc_tolower(code_point) : 0x110000u + s[0];
}

enum kveil_category kveil_grapheme_category(uint32_t code_point)
{
	return (enum kveil_category)utf8proc_category((utf8proc_int32_t)code_point);
}

const char *kveil_grapheme_unicode_version(void)
{
	return utf8proc_unicode_version();
}

const char *kveil_grapheme_library_version(void)
{
	return utf8proc_version();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What stays of a record that is looked at: its shape. */
#include "cli/disguise.h"

#include "base/text.h"

#include <ctype.h>
#include <string.h>

enum { NAME_MAX_LEN = 40, DEPTH = 64 };

static bool is_word(uint8_t c)
{
	return c < 0x80 && (isalnum(c) || c == '_');
}

enum want { VALUE, VALUE_OR_END, NAME, NAME_OR_END, COLON, NEXT, LOST };

/* Where in a JSON text this is. What follows a mistake is none of it: its quotes may stand within a value. */
struct reader {
	uint8_t is_object[DEPTH];
	size_t depth;
	enum want want;
};

static bool in_object(const struct reader *r)
{
	return r->depth && r->is_object[r->depth - 1];
}

static void enter(struct reader *r, bool is_object)
{
	bool fits = (r->want == VALUE || r->want == VALUE_OR_END) && r->depth < DEPTH;

	r->want = !fits ? LOST : is_object ? NAME_OR_END : VALUE_OR_END;
	if (fits)
		r->is_object[r->depth++] = is_object;
}

static void leave(struct reader *r, bool is_object)
{
	bool may = r->want == NEXT || r->want == (is_object ? NAME_OR_END : VALUE_OR_END);

	if (r->depth && may && in_object(r) == is_object) {
		r->depth--;
		r->want = NEXT;
	} else
		r->want = LOST;
}

static void after_value(struct reader *r)
{
	r->want = r->want == VALUE || r->want == VALUE_OR_END ? NEXT : LOST;
}

/* The length of the string at `at` with its quotes; 0: it does not end. */
static size_t string_at(struct kveil_span s, size_t at)
{
	for (size_t end = at + 1; end < s.len; end++) {
		if (s.data[end] == '"')
			return end + 1 - at;
		end += s.data[end] == '\\';
	}
	return 0;
}

/* One that begins with a digit, is long, has blanks or no colon behind it may be a value. */
static bool is_telling(struct kveil_span s, size_t at, size_t len)
{
	if (len < 3 || len > NAME_MAX_LEN + 2 || isdigit(s.data[at + 1]))
		return false;
	for (size_t i = at + 1; i < at + len - 1; i++)
		if (!is_word(s.data[i]) && !memchr("-.$", s.data[i], 3))
			return false;
	size_t colon = at + len;
	while (colon < s.len && memchr(" \t\r\n", s.data[colon], 4))
		colon++;
	return colon < s.len && s.data[colon] == ':';
}

static bool is_scalar_byte(uint8_t c)
{
	return is_word(c) || c == '-' || c == '+' || c == '.';
}

/* Of a number or word: it may be anything, as nobody looks at it. */
static size_t scalar_at(struct kveil_span s, size_t at)
{
	size_t end = at;

	while (end < s.len && is_scalar_byte(s.data[end]))
		end++;
	return end - at;
}

static bool is_scalar(struct kveil_span s, size_t at, size_t len)
{
	static const char *const words[] = {"true", "false", "null"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (len == strlen(words[i]) && memcmp(s.data + at, words[i], len) == 0)
			return true;
	return isdigit(s.data[at]) || s.data[at] == '-';
}

/* The token at `at`: how long it is. keep: it stands as it is. */
static size_t token_at(struct reader *r, struct kveil_span s, size_t at, bool *keep)
{
	uint8_t c = s.data[at];
	bool is_name = r->want == NAME || r->want == NAME_OR_END;
	size_t len = 1;

	*keep = false;
	if (memchr(" \t\r\n", c, 4) || r->want == LOST)
		return 1;
	if (c == '{' || c == '[') {
		enter(r, c == '{');
	} else if (c == '}' || c == ']') {
		leave(r, c == '}');
	} else if (c == ',') {
		r->want = r->want != NEXT || !r->depth ? LOST : in_object(r) ? NAME : VALUE;
	} else if (c == ':') {
		r->want = r->want == COLON ? VALUE : LOST;
	} else if (c == '"' && string_at(s, at)) {
		len = string_at(s, at);
		*keep = is_name && is_telling(s, at, len);
		if (is_name)
			r->want = COLON;
		else
			after_value(r);
	} else if (is_scalar_byte(c) && is_scalar(s, at, scalar_at(s, at))) {
		len = scalar_at(s, at);
		after_value(r);
	} else
		r->want = LOST;
	return len;
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

static void put_disguised(struct kveil_span s, size_t at, size_t end, struct kveil_buf *out)
{
	while (at < end)
		if (null_at(s, at)) {
			kveil_buf_append_str(out, "null");
			at += 4;
		} else {
			kveil_buf_append_byte(out, (uint8_t)disguise_of(s.data[at]));
			at += width_at(s, at);
		}
}

void kveil_disguise(struct kveil_span s, struct kveil_buf *out)
{
	struct reader r = {.want = VALUE};
	size_t len;

	for (size_t at = 0; at < s.len; at += len) {
		bool keep;
		if (r.want == LOST) {
			put_disguised(s, at, s.len, out);
			return;
		}
		len = token_at(&r, s, at, &keep);
		/* A mistake may be within a character: go on from its first byte. */
		if (r.want == LOST)
			len = 0;
		else if (keep)
			kveil_buf_append(out, s.data + at, len);
		else
			put_disguised(s, at, at + len, out);
	}
}

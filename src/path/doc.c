/* SPDX-License-Identifier: Apache-2.0 */
/* A document as a table of nodes. */
#include "path/doc.h"

#include "path/cursor.h"
#include "path/path.h"

const char *kveil_kind_name(enum kveil_kind kind)
{
	static const char *const names[] = {
	    [KVEIL_KIND_NULL] = "null",     [KVEIL_KIND_BOOL] = "boolean",  [KVEIL_KIND_NUMBER] = "number",
	    [KVEIL_KIND_STRING] = "string", [KVEIL_KIND_OBJECT] = "object", [KVEIL_KIND_ARRAY] = "array",
	    [KVEIL_KIND_BYTES] = "bytes",
	};
	return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

static uint32_t decode_utf8(struct kveil_text_cursor *c)
{
	const uint8_t *s = c->at;
	size_t left = (size_t)(c->end - s), n = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	uint32_t cp = n == 1 ? s[0] : s[0] & (0x7fu >> n);

	if (n > left || (s[0] >= 0x80 && s[0] < 0xc2)) {
		c->at++;
		return 0xfffd;
	}
	for (size_t i = 1; i < n; i++)
		cp = cp << 6 | (s[i] & 0x3f);
	c->at += n;
	return cp;
}

/* Four hexadecimal digits at s; a question mark when they are none: no longer than what it stands for. */
static uint32_t hex4(const uint8_t *s, const uint8_t *end)
{
	uint32_t v = 0;

	if (end - s < 4)
		return '?';
	for (size_t i = 0; i < 4; i++) {
		uint32_t c = s[i], letter = c | 0x20;
		if (c >= '0' && c <= '9')
			v = v << 4 | (c - '0');
		else if (letter >= 'a' && letter <= 'f')
			v = v << 4 | (letter - 'a' + 10);
		else
			return '?';
	}
	return v;
}

uint32_t kveil_cursor_next_slow(struct kveil_text_cursor *c)
{
	if (*c->at != '\\' || !c->escaped)
		return decode_utf8(c);
	if (c->end - c->at < 2) {
		c->at = c->end;
		return '?';
	}
	uint8_t letter = c->at[1];
	c->at += 2;
	switch (letter) {
	case 'b':
		return '\b';
	case 'f':
		return '\f';
	case 'n':
		return '\n';
	case 'r':
		return '\r';
	case 't':
		return '\t';
	case 'u':
		break;
	default:
		return letter;
	}
	uint32_t cp = hex4(c->at, c->end);
	c->at += c->end - c->at < 4 ? c->end - c->at : 4;
	if (cp < 0xd800 || cp > 0xdfff)
		return cp;
	if (cp < 0xdc00 && c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u') {
		uint32_t low = hex4(c->at + 2, c->end);
		if (low >= 0xdc00 && low <= 0xdfff) {
			c->at += 6;
			return 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
		}
	}
	return 0xfffd;
}

static size_t encode_utf8(uint32_t cp, uint8_t *dst)
{
	size_t n = cp < 0x80 ? 1 : cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;

	for (size_t i = n - 1; i > 0; i--, cp >>= 6)
		dst[i] = (uint8_t)(0x80 | (cp & 0x3f));
	static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
	dst[0] = (uint8_t)(lead[n] | cp);
	return n;
}

size_t kveil_json_unescape(struct kveil_span raw, uint8_t *dst)
{
	struct kveil_text_cursor c = kveil_cursor_of(raw, true);
	uint8_t *to = dst;

	while (c.at < c.end) {
		const uint8_t *escape = memchr(c.at, '\\', (size_t)(c.end - c.at));
		size_t run = (size_t)((escape ? escape : c.end) - c.at);
		memcpy(to, c.at, run);
		to += run;
		c.at += run;
		if (escape)
			to += encode_utf8(kveil_cursor_next_slow(&c), to);
	}
	return (size_t)(to - dst);
}

enum kveil_status kveil_doc_text(const struct kveil_doc *doc, uint32_t node, struct kveil_arena *arena,
				 struct kveil_span *ret)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	struct kveil_span raw = kveil_span_of(doc->text.data + n->start, n->end - n->start);

	*ret = raw;
	if (n->kind != KVEIL_KIND_STRING)
		return KVEIL_OK;
	raw = kveil_span_of(raw.data + 1, raw.len - 2);
	*ret = raw;
	if (!(n->flags & KVEIL_NODE_VALUE_ESCAPED))
		return KVEIL_OK;
	uint8_t *text = kveil_arena_alloc(arena, raw.len);
	if (!text)
		return KVEIL_E_NO_MEMORY;
	*ret = kveil_span_of(text, kveil_json_unescape(raw, text));
	return KVEIL_OK;
}

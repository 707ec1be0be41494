/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 9535 appendix A, by recursive descent: segments, selectors and string literals. */
#include "base/text.h"
#include "path/tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool kveil_parse_fail(struct kveil_path_parser *p, size_t at, const char *fmt, ...)
{
	va_list args;
	char message[sizeof p->err->message];

	if (p->status != KVEIL_OK)
		return false;
	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	p->status = kveil_fail_at(p->err, KVEIL_E_PATH_SYNTAX, at, "%s", message);
	return false;
}

void kveil_parse_hint(struct kveil_path_parser *p, const char *fmt, ...)
{
	va_list args;
	char hint[sizeof p->err->hint];

	va_start(args, fmt);
	vsnprintf(hint, sizeof hint, fmt, args);
	va_end(args);
	kveil_error_hint(p->err, "%s", hint);
}

bool kveil_parse_no_memory(struct kveil_path_parser *p)
{
	if (p->status == KVEIL_OK)
		p->status = kveil_no_memory(p->err, "a path");
	return false;
}

int kveil_parse_peek(const struct kveil_path_parser *p, size_t ahead)
{
	return ahead < p->len - p->at ? p->text[p->at + ahead] : -1;
}

void kveil_parse_blanks(struct kveil_path_parser *p)
{
	while (p->at < p->len && p->text[p->at] != 0 && strchr(" \t\n\r", p->text[p->at]))
		p->at++;
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

bool kveil_parse_is_name_first(int c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

bool kveil_parse_is_name_char(int c)
{
	return kveil_parse_is_name_first(c) || is_digit(c);
}

bool kveil_parse_begin(struct kveil_path_parser *p, struct kveil_span text)
{
	p->text = text.data;
	p->len = text.len;
	if (text.len > KVEIL_PATH_MAX_BYTES)
		return kveil_parse_fail(p, KVEIL_PATH_MAX_BYTES, "longer than %d bytes", KVEIL_PATH_MAX_BYTES);
	size_t valid = kveil_utf8_valid_prefix(text.data, text.len);
	return valid == text.len || kveil_parse_fail(p, valid, "not UTF-8");
}

void *kveil_parse_more(struct kveil_path_parser *p, void *items, size_t count, size_t size)
{
	if (count & (count - 1) || (count == 0 && items))
		return items; /* full only at powers of two */
	void *larger = kveil_arena_array(p->arena, count ? count * 2 : 1, size);
	if (!larger) {
		kveil_parse_no_memory(p);
		return NULL;
	}
	if (count)
		memcpy(larger, items, count * size);
	return larger;
}

/* The word under the cursor, for messages: at most 40 bytes, cut between characters. */
static int word_length(const struct kveil_path_parser *p, size_t at)
{
	size_t n = at;

	while (n < p->len && n - at < 40 && kveil_parse_is_name_char(p->text[n]))
		n++;
	while (n < p->len && n > at && (p->text[n] & 0xc0) == 0x80)
		n--;
	return (int)(n - at);
}

/* What follows a name in the dotted shorthand and made it end: `-` in $.card-number, `:` in $.ns:a, … */
static void hint_bracket_name(struct kveil_path_parser *p)
{
	size_t first = p->at, last = p->at;

	while (first > 0 && kveil_parse_is_name_char(p->text[first - 1]))
		first--;
	while (last < p->len && p->text[last] > ' ' && !strchr(".[]()=<>!&|,", p->text[last]))
		last++;
	if (first < 2 || p->text[first - 1] != '.' || last - first > 60)
		return;
	/* $.a-b loses its dot, $..a-b keeps both. */
	size_t before = p->text[first - 2] == '.' ? first : first - 1;
	kveil_parse_hint(p, "quote such a name in brackets: %.*s['%.*s']", (int)(before < 60 ? before : 0),
			 (const char *)p->text, (int)(last - first), (const char *)p->text + first);
}

static bool hint_smart_quote(struct kveil_path_parser *p)
{
	static const char *const quotes[] = {"\xe2\x80\x98", "\xe2\x80\x99", "\xe2\x80\x9c", "\xe2\x80\x9d"};

	for (size_t i = 0; i < 4; i++)
		if (p->len - p->at >= 3 && memcmp(p->text + p->at, quotes[i], 3) == 0) {
			kveil_parse_hint(p, "use straight quotes: 'text'");
			return true;
		}
	return false;
}

static void hint_unexpected(struct kveil_path_parser *p, int c)
{
	int next = kveil_parse_peek(p, 1);
	bool after_name = p->at > 0 && kveil_parse_is_name_char(p->text[p->at - 1]);

	if (hint_smart_quote(p))
		return;
	if (c == '=' && next == '~')
		kveil_parse_hint(p, "to test a pattern: search(@.a, 'pattern'), or match(…) for the whole text");
	else if (c == '=' && next != '=')
		kveil_parse_hint(p, "equality is ==");
	else if ((c == '=' || c == '!') && next == '=' && kveil_parse_peek(p, 2) == '=')
		kveil_parse_hint(p, "write %c=", c);
	else if (c == '&' && next != '&')
		kveil_parse_hint(p, "and is &&");
	else if (c == '|' && next != '|')
		kveil_parse_hint(p, "or is ||");
	else if (c == '(' && after_name)
		kveil_parse_hint(p, "functions stand around the path: length(@.a), only inside a condition");
	else if (c == '^' || c == '~')
		kveil_parse_hint(p, "RFC 9535 has no operator for a parent or a member's name");
	else if ((c == '+' || c == '*' || c == '/' || c == '%') && !after_name)
		kveil_parse_hint(p, "RFC 9535 has no arithmetic");
	else if (after_name &&
		 (c == '-' || c == ':' || c == '/' || c == '@' || c == '$' || c == '#' || c == '+' || c == '*'))
		hint_bracket_name(p);
}

bool kveil_parse_unexpected(struct kveil_path_parser *p, const char *expected)
{
	int c = kveil_parse_peek(p, 0);

	if (p->status != KVEIL_OK)
		return false;
	if (c < 0)
		return kveil_parse_fail(p, p->at, "the %s ends where %s should stand", p->what, expected);
	if (c < 0x20 || c == 0x7f)
		kveil_parse_fail(p, p->at, "a control character (0x%02x) where %s should stand", (unsigned)c, expected);
	else
		kveil_parse_fail(p, p->at, "unexpected '%.*s' where %s should stand",
				 c < 0x80   ? 1
				 : c < 0xe0 ? 2
				 : c < 0xf0 ? 3
					    : 4,
				 (const char *)p->text + p->at, expected);
	hint_unexpected(p, c);
	return false;
}

/* ---- string literals ---- */

static bool parse_hex4(struct kveil_path_parser *p, uint32_t *ret)
{
	uint32_t v = 0;

	for (size_t i = 0; i < 4; i++) {
		int c = kveil_parse_peek(p, 0);
		int digit = is_digit(c)            ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;
		if (digit < 0)
			return kveil_parse_fail(p, p->at, "\\u needs four hexadecimal digits");
		v = v << 4 | (uint32_t)digit;
		p->at++;
	}
	*ret = v;
	return true;
}

static uint8_t *put_utf8(uint8_t *dst, uint32_t cp)
{
	if (cp < 0x80) {
		*dst++ = (uint8_t)cp;
	} else if (cp < 0x800) {
		*dst++ = (uint8_t)(0xc0 | cp >> 6);
		*dst++ = (uint8_t)(0x80 | (cp & 0x3f));
	} else if (cp < 0x10000) {
		*dst++ = (uint8_t)(0xe0 | cp >> 12);
		*dst++ = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
		*dst++ = (uint8_t)(0x80 | (cp & 0x3f));
	} else {
		*dst++ = (uint8_t)(0xf0 | cp >> 18);
		*dst++ = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
		*dst++ = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
		*dst++ = (uint8_t)(0x80 | (cp & 0x3f));
	}
	return dst;
}

/* The cursor stands behind the backslash. */
static bool parse_escape(struct kveil_path_parser *p, int quote, uint8_t **dst)
{
	static const char from[] = "bfnrt/\\", to[] = "\b\f\n\r\t/\\";
	size_t at = p->at - 1;
	int c = kveil_parse_peek(p, 0);
	uint32_t cp, low;

	if (c != 'u') {
		const char *known = c > 0 ? strchr(from, c) : NULL;
		if (!known && c != quote) {
			kveil_parse_fail(p, at,
					 c < 0 ? "the text ends in an escape" : "no such escape in a quoted text");
			if (c == '\'' || c == '"')
				kveil_parse_hint(p, "this quote needs no backslash here");
			else if (c > 0)
				kveil_parse_hint(
				    p, "a backslash itself is \\\\; in YAML put the whole path in single quotes");
			return false;
		}
		*(*dst)++ = (uint8_t)(known ? to[known - from] : c);
		p->at++;
		return true;
	}
	p->at++;
	if (!parse_hex4(p, &cp))
		return false;
	if (cp >= 0xd800 && cp < 0xdc00) {
		if (kveil_parse_peek(p, 0) != '\\' || kveil_parse_peek(p, 1) != 'u')
			return kveil_parse_fail(p, at, "half of a surrogate pair");
		p->at += 2;
		if (!parse_hex4(p, &low))
			return false;
		if (low < 0xdc00 || low > 0xdfff)
			return kveil_parse_fail(p, at, "half of a surrogate pair");
		cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
	} else if (cp >= 0xdc00 && cp <= 0xdfff) {
		return kveil_parse_fail(p, at, "half of a surrogate pair");
	}
	*dst = put_utf8(*dst, cp);
	return true;
}

/* The cursor stands on the opening quote. */
bool kveil_parse_string(struct kveil_path_parser *p, struct kveil_span *ret)
{
	size_t open = p->at, end = open + 1;
	int quote = p->text[open];

	while (end < p->len && p->text[end] != quote)
		end += p->text[end] == '\\' && end + 1 < p->len ? 2 : 1;
	/* Escapes only shrink. */
	uint8_t *text = kveil_arena_alloc(p->arena, end - open);
	if (!text)
		return kveil_parse_no_memory(p);

	uint8_t *dst = text;
	for (p->at++;;) {
		int c = kveil_parse_peek(p, 0);
		if (c < 0) {
			kveil_parse_fail(p, open, "this quote is never closed");
			return false;
		}
		if (c < 0x20) {
			kveil_parse_fail(p, p->at, "a control character (0x%02x) in a quoted text", (unsigned)c);
			kveil_parse_hint(p, "in YAML put the whole path in single quotes, or double the backslash");
			return false;
		}
		p->at++;
		if (c == quote)
			break;
		if (c != '\\')
			*dst++ = (uint8_t)c;
		else if (!parse_escape(p, quote, &dst))
			return false;
	}
	*ret = kveil_span_of(text, (size_t)(dst - text));
	return true;
}

/* ---- selectors ---- */

/* int = "0" / (["-"] DIGIT1 *DIGIT), within I-JSON's range. */
static bool parse_int(struct kveil_path_parser *p, int64_t *ret)
{
	size_t start = p->at;
	bool negative = kveil_parse_peek(p, 0) == '-';
	int64_t v = 0;

	if (negative)
		p->at++;
	if (!is_digit(kveil_parse_peek(p, 0)))
		return kveil_parse_fail(p, start, "'-' without a digit");
	if (kveil_parse_peek(p, 0) == '0' && (negative || is_digit(kveil_parse_peek(p, 1)))) {
		kveil_parse_fail(p, start,
				 negative && !is_digit(kveil_parse_peek(p, 1)) ? "-0 is not an index"
									       : "an index with a leading zero");
		kveil_parse_hint(p, "a member whose name is digits is written ['007']");
		return false;
	}
	for (int c; is_digit(c = kveil_parse_peek(p, 0)); p->at++) {
		v = v * 10 + (c - '0');
		if (v > KVEIL_PATH_INT_MAX)
			return kveil_parse_fail(p, start, "a number beyond 2^53-1");
	}
	*ret = negative ? -v : v;
	return true;
}

static bool starts_int(struct kveil_path_parser *p)
{
	return kveil_parse_peek(p, 0) == '-' || is_digit(kveil_parse_peek(p, 0));
}

static bool parse_index_or_slice(struct kveil_path_parser *p, struct kveil_selector *s)
{
	size_t behind;

	if (starts_int(p)) {
		if (!parse_int(p, &s->index))
			return false;
		behind = p->at;
		kveil_parse_blanks(p);
		if (kveil_parse_peek(p, 0) != ':') {
			p->at = behind;
			s->kind = KVEIL_SEL_INDEX;
			return true;
		}
		s->start = s->index;
		s->has_start = true;
		s->index = 0;
	}
	s->kind = KVEIL_SEL_SLICE;
	s->step = 1;
	p->at++; /* the colon */
	kveil_parse_blanks(p);
	if (starts_int(p)) {
		if (!parse_int(p, &s->end))
			return false;
		s->has_end = true;
		kveil_parse_blanks(p);
	}
	if (kveil_parse_peek(p, 0) == ':') {
		p->at++;
		kveil_parse_blanks(p);
		if (starts_int(p) && !parse_int(p, &s->step))
			return false;
	}
	return true;
}

static bool parse_filter(struct kveil_path_parser *p, struct kveil_selector *s)
{
	p->at++;
	s->kind = KVEIL_SEL_FILTER;
	s->filter = kveil_arena_alloc(p->arena, sizeof *s->filter);
	if (!s->filter)
		return kveil_parse_no_memory(p);
	kveil_parse_blanks(p);
	return kveil_parse_expr(p, s->filter);
}

static bool parse_selector(struct kveil_path_parser *p, struct kveil_selector *s)
{
	int c = kveil_parse_peek(p, 0);

	*s = (struct kveil_selector){0};
	if (c == '\'' || c == '"') {
		s->kind = KVEIL_SEL_NAME;
		return kveil_parse_string(p, &s->name);
	}
	if (c == '*') {
		p->at++;
		s->kind = KVEIL_SEL_WILDCARD;
		return true;
	}
	if (c == '?')
		return parse_filter(p, s);
	if (c == ':' || starts_int(p))
		return parse_index_or_slice(p, s);

	size_t at = p->at;
	kveil_parse_unexpected(p, "a selector");
	int word = word_length(p, at);
	if (c == '(')
		kveil_parse_hint(p, "RFC 9535 has no scripts; the last element is [-1], a filter is [?…]");
	else if (c == '@' || c == '$')
		kveil_parse_hint(p, "a filter begins with a question mark: [?%c…]", c);
	else if (c == ']')
		kveil_parse_hint(p, "all elements are [*]");
	else if (!hint_smart_quote(p) && word > 0)
		kveil_parse_hint(p, "a name in brackets is quoted: ['%.*s']", word, (const char *)p->text + at);
	return false;
}

/* The cursor stands behind the opening bracket. */
static bool parse_bracket(struct kveil_path_parser *p, struct kveil_segment *segment)
{
	for (;;) {
		struct kveil_selector *more =
		    kveil_parse_more(p, segment->selectors, segment->count, sizeof *segment->selectors);
		if (!more)
			return false;
		segment->selectors = more;
		kveil_parse_blanks(p);
		if (!parse_selector(p, &segment->selectors[segment->count]))
			return false;
		segment->count++;
		kveil_parse_blanks(p);
		int c = kveil_parse_peek(p, 0);
		if (c != ']' && c != ',') {
			const struct kveil_selector *last = &segment->selectors[segment->count - 1];
			kveil_parse_unexpected(p, "',' or ']'");
			if (last->kind == KVEIL_SEL_INDEX && c == '.')
				kveil_parse_hint(p, "an index is a whole number");
			return false;
		}
		p->at++;
		if (c == ']')
			return true;
	}
}

/* The cursor stands behind one or two dots. */
static bool parse_dotted(struct kveil_path_parser *p, struct kveil_segment *segment)
{
	int c = kveil_parse_peek(p, 0);
	size_t start = p->at;

	segment->selectors = kveil_parse_more(p, NULL, 0, sizeof *segment->selectors);
	if (!segment->selectors)
		return false;
	segment->selectors[0] = (struct kveil_selector){.kind = KVEIL_SEL_WILDCARD};
	segment->count = 1;
	if (c == '*') {
		p->at++;
		return true;
	}
	if (!kveil_parse_is_name_first(c)) {
		kveil_parse_unexpected(p, segment->descendant ? "a name, * or [" : "a name or *");
		if (c == '[')
			kveil_parse_hint(p, "no dot before a bracket");
		else if (c == '\'' || c == '"')
			kveil_parse_hint(p, "a quoted name stands in brackets without a dot: ['…']");
		else if (is_digit(c))
			kveil_parse_hint(p, "an index is [%.*s], a name that begins with a digit ['%.*s…']",
					 word_length(p, start), (const char *)p->text + start, word_length(p, start),
					 (const char *)p->text + start);
		else if (c < 0)
			kveil_parse_hint(p, segment->descendant ? "everything below is ..*" : "drop the last dot");
		else if (c == '.')
			kveil_parse_hint(p, "descendants are two dots");
		else if (c == ' ')
			kveil_parse_hint(p, "no blank behind a dot");
		else if (c == '-' || c == '@' || c == '$' || c == '#')
			kveil_parse_hint(p, "a name with other characters is quoted in brackets: ['…']");
		return false;
	}
	while (kveil_parse_is_name_char(kveil_parse_peek(p, 0)))
		p->at++;
	uint8_t *name = kveil_arena_alloc(p->arena, p->at - start);
	if (!name)
		return kveil_parse_no_memory(p);
	memcpy(name, p->text + start, p->at - start);
	segment->selectors[0] =
	    (struct kveil_selector){.kind = KVEIL_SEL_NAME, .name = kveil_span_of(name, p->at - start)};
	return true;
}

static bool parse_segment(struct kveil_path_parser *p, struct kveil_segment *segment)
{
	*segment = (struct kveil_segment){0};
	if (kveil_parse_peek(p, 0) == '[') {
		p->at++;
		return parse_bracket(p, segment);
	}
	p->at++;
	if (kveil_parse_peek(p, 0) != '.')
		return parse_dotted(p, segment);
	p->at++;
	segment->descendant = true;
	if (kveil_parse_peek(p, 0) != '[')
		return parse_dotted(p, segment);
	p->at++;
	return parse_bracket(p, segment);
}

bool kveil_parse_segments(struct kveil_path_parser *p, struct kveil_path *path)
{
	for (;;) {
		size_t behind = p->at;
		kveil_parse_blanks(p);
		int c = kveil_parse_peek(p, 0);
		if (c != '.' && c != '[') {
			p->at = behind;
			return true;
		}
		struct kveil_segment *more = kveil_parse_more(p, path->segments, path->count, sizeof *path->segments);
		if (!more)
			return false;
		path->segments = more;
		if (!parse_segment(p, &path->segments[path->count]))
			return false;
		path->count++;
	}
}

/* ---- a whole path ---- */

static bool fail_first(struct kveil_path_parser *p)
{
	int c = kveil_parse_peek(p, 0);
	int shown = (int)(p->len < 80 ? p->len : 80);
	const char *text = (const char *)p->text;

	while (shown > 0 && (size_t)shown < p->len && (p->text[shown] & 0xc0) == 0x80)
		shown--;
	kveil_parse_fail(p, 0, c < 0 ? "an empty path" : "a path begins with $");
	if (c < 0)
		kveil_parse_hint(p, "the whole value is $");
	else if (c == '@')
		kveil_parse_hint(p, "@ stands only in conditions; here write $%.*s", shown - 1, text + 1);
	else if (c == '/')
		kveil_parse_hint(p, "this looks like a JSON Pointer; with JSONPath /a/b is $.a.b");
	else if (c == '\'' || c == '"')
		kveil_parse_hint(p, "one pair of quotes too many");
	else if (c == ' ' || c == '\t' || c == '\n')
		kveil_parse_hint(p, "no blank before the $");
	else if (c == '.' || c == '[')
		kveil_parse_hint(p, "did you mean $%.*s?", shown, text);
	else if (kveil_parse_is_name_first(c))
		kveil_parse_hint(p, "did you mean $.%.*s?", shown, text);
	return false;
}

static bool parse_path(struct kveil_path_parser *p, struct kveil_span text, struct kveil_path *path)
{
	if (!kveil_parse_begin(p, text))
		return false;
	if (kveil_parse_peek(p, 0) != '$')
		return fail_first(p);
	p->at++;
	if (!kveil_parse_segments(p, path))
		return false;
	if (p->at == p->len)
		return true;
	int c = kveil_parse_peek(p, 0);
	size_t at = p->at;
	kveil_parse_unexpected(p, "'.', '[' or the end");
	if (at == 1 && kveil_parse_is_name_first(c))
		kveil_parse_hint(p, "a dot is missing: $.%.*s", word_length(p, at), (const char *)p->text + at);
	else if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
		kveil_parse_hint(p, "no blanks at the end; a name with blanks is quoted in brackets: ['first name']");
	else if (c == ']')
		kveil_parse_hint(p, "one ] too many");
	return false;
}

enum kveil_status kveil_path_parse(struct kveil_span text, struct kveil_path **ret, struct kveil_error *err)
{
	struct kveil_owned_path *owned = calloc(1, sizeof *owned);

	*ret = NULL;
	if (!owned)
		return kveil_no_memory(err, "a path");
	kveil_arena_init(&owned->arena, 0);
	struct kveil_path_parser p = {.what = "path", .arena = &owned->arena, .err = err};
	if (!parse_path(&p, text, &owned->path)) {
		kveil_path_free(&owned->path);
		return p.status;
	}
	*ret = &owned->path;
	return KVEIL_OK;
}

void kveil_path_free(struct kveil_path *p)
{
	if (!p)
		return;
	struct kveil_owned_path *owned = (struct kveil_owned_path *)p; /* its first member */
	kveil_arena_clear(&owned->arena);
	free(owned);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON (RFC 8259), strict, in one pass: validates every byte, walks the automaton over member names and array
 * indices, records what it accepts and, when asked, the offset tape. No recursion: an explicit stack of frames.
 * In subtrees that no path can reach (state 0) it only validates.
 */
#include "base/text.h"
#include "format/automaton_internal.h"
#include "format/format.h"
#include "format/json_chars.h"
#include "format/json_guess.h"
#include "format/part.h"

#include <stdlib.h>

/* An open object or array. */
struct kveil_scan_frame {
	const struct kveil_automaton_state *live; /* the container's own; NULL = nothing below can be named */
	uint32_t ordinal;                         /* of the child at hand */
	uint32_t start;
	uint32_t match; /* its entry in matches, or NO_MATCH */
	uint32_t node;  /* on the tape */
	uint32_t name_start, name_end;
	uint32_t guess; /* of its first member's name; elements of an array share theirs */
	bool is_object;
};

enum { NO_MATCH = UINT32_MAX, MAX_TEXT = 1 << 30, FIRST_FRAMES = 64 };

/* What went wrong in a helper; the scanner turns it into an error. */
struct trouble {
	enum kveil_status status;
	const uint8_t *at;
	const char *why;
};

static const uint8_t *trouble(struct trouble *t, enum kveil_status status, const uint8_t *at, const char *why)
{
	*t = (struct trouble){status, at, why};
	return NULL;
}

/* Three bytes as they are nearly always: not E0 (overlong ones) and not ED (surrogates). Reads four. */
static inline bool is_common_3(const uint8_t *p)
{
	return (p[0] & 0xF0) == 0xE0 && p[0] != 0xE0 && p[0] != 0xED && (p[1] & 0xC0) == 0x80 && (p[2] & 0xC0) == 0x80;
}

/* One or more well-formed multi-byte characters (RFC 3629) from p on; NULL at the first that is not. */
static inline const uint8_t *skip_multibyte(const uint8_t *p, const uint8_t *end)
{
	do {
		uint8_t c = *p;
		if (end - p >= 3 && is_common_3(p)) {
			p += 3;
		} else if ((c & 0xF0) == 0xE0) {
			if (end - p < 3 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80)
				return NULL;
			if ((c == 0xE0 && p[1] < 0xA0) || (c == 0xED && p[1] > 0x9F))
				return NULL;
			p += 3;
		} else if (c < 0xE0) {
			if (c < 0xC2 || end - p < 2 || (p[1] & 0xC0) != 0x80)
				return NULL;
			p += 2;
		} else {
			if (c > 0xF4 || end - p < 4 || (p[1] & 0xC0) != 0x80 || (p[2] & 0xC0) != 0x80 ||
			    (p[3] & 0xC0) != 0x80)
				return NULL;
			if ((c == 0xF0 && p[1] < 0x90) || (c == 0xF4 && p[1] > 0x8F))
				return NULL;
			p += 4;
		}
	} while (p < end && *p >= 0x80);
	return p;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind \u; NULL when they are not there. */
static const uint8_t *hex4(const uint8_t *p, const uint8_t *end, unsigned *ret, struct trouble *t)
{
	*ret = 0;
	for (int i = 0; i < 4; i++, p++) {
		if (p == end)
			return trouble(t, KVEIL_E_INVALID_JSON, p, "the text ends in a string");
		int v = hex_value(*p);
		if (v < 0)
			return trouble(t, KVEIL_E_INVALID_JSON, p, "\\u needs four hexadecimal digits");
		*ret = *ret * 16 + (unsigned)v;
	}
	return p;
}

/* p at a backslash; gives the byte behind the escape. */
static const uint8_t *skip_escape(const uint8_t *p, const uint8_t *end, struct trouble *t)
{
	const uint8_t *begin = p++;
	unsigned unit;

	if (p == end)
		return trouble(t, KVEIL_E_INVALID_JSON, p, "the text ends in a string");
	switch (*p) {
	case '"':
	case '\\':
	case '/':
	case 'b':
	case 'f':
	case 'n':
	case 'r':
	case 't':
		return p + 1;
	case 'u':
		break;
	default:
		return trouble(t, KVEIL_E_INVALID_JSON, p, "no such escape");
	}
	p = hex4(p + 1, end, &unit, t);
	if (!p || unit < 0xD800 || unit > 0xDFFF)
		return p;
	if (unit > 0xDBFF || end - p < 2 || p[0] != '\\' || p[1] != 'u')
		return trouble(t, KVEIL_E_INVALID_SURROGATE, begin, "an unpaired surrogate");
	p = hex4(p + 2, end, &unit, t);
	if (p && (unit < 0xDC00 || unit > 0xDFFF))
		return trouble(t, KVEIL_E_INVALID_SURROGATE, begin, "an unpaired surrogate");
	return p;
}

/* Two registers: no flag in memory. */
struct string {
	const uint8_t *close; /* the closing quote; NULL = trouble */
	bool escaped;
};

/* From a special byte inside a string on to its closing quote. */
static __attribute__((noinline)) struct string string_rest(const uint8_t *p, const uint8_t *end, struct trouble *t)
{
	struct string s = {NULL, false};

	for (;;) {
		if (p == end) {
			trouble(t, KVEIL_E_INVALID_JSON, p, "the text ends in a string");
			return s;
		}
		uint8_t c = *p;
		if (c >= 0x80) {
			const uint8_t *next = skip_multibyte(p, end);
			if (!next) {
				/* Again one by one, for the exact place. */
				size_t good = kveil_utf8_valid_prefix(p, (size_t)(end - p));
				trouble(t, KVEIL_E_INVALID_UTF8, p + good, "not UTF-8");
				return s;
			}
			p = next;
			if (p < end && *p == '"') {
				s.close = p;
				return s;
			}
		} else if (c == '"') {
			s.close = p;
			return s;
		} else if (c == '\\') {
			s.escaped = true;
			p = skip_escape(p, end, t);
			if (!p)
				return s;
		} else if (c < 0x20) {
			trouble(t, KVEIL_E_INVALID_JSON, p, "a control character in a string");
			return s;
		}
		p = kveil_json_plain_end(p, end);
	}
}

/* p behind the opening quote. */
static inline __attribute__((always_inline)) struct string string_of(const uint8_t *p, const uint8_t *end,
								     struct trouble *t)
{
	p = kveil_json_plain_end(p, end);
	if (__builtin_expect(p < end && *p == '"', 1))
		return (struct string){p, false};
	return string_rest(p, end, t);
}

static inline bool is_digit(const uint8_t *p, const uint8_t *end)
{
	return p < end && (uint8_t)(*p - '0') < 10;
}

/* p at '-' or a digit; gives the end of the number. */
static __attribute__((noinline)) const uint8_t *number_slow(const uint8_t *p, const uint8_t *end, struct trouble *t)
{
	static const char *const why = "not a number";

	if (*p == '-')
		p++;
	if (!is_digit(p, end))
		return trouble(t, KVEIL_E_INVALID_JSON, p, why);
	if (*p == '0') {
		p++;
		if (is_digit(p, end))
			return trouble(t, KVEIL_E_INVALID_JSON, p, "a number with a leading zero");
	} else {
		do
			p++;
		while (is_digit(p, end));
	}
	if (p < end && *p == '.') {
		p++;
		if (!is_digit(p, end))
			return trouble(t, KVEIL_E_INVALID_JSON, p, why);
		do
			p++;
		while (is_digit(p, end));
	}
	if (p < end && (*p | 0x20) == 'e') {
		p++;
		if (p < end && (*p == '+' || *p == '-'))
			p++;
		if (!is_digit(p, end))
			return trouble(t, KVEIL_E_INVALID_JSON, p, why);
		do
			p++;
		while (is_digit(p, end));
	}
	return p;
}

static inline bool ends_value(uint8_t c)
{
	return c == ',' || c == '}' || c == ']';
}

static inline __attribute__((always_inline)) const uint8_t *number_end(const uint8_t *p, const uint8_t *end,
								       struct trouble *t)
{
	/* Most are a few digits, a point, a few more: told from one block without a loop. */
	if (end - p >= KVEIL_JSON_BLOCK && KVEIL_JSON_BLOCK == 16) {
		unsigned stops = kveil_json_not_digits(p);
		unsigned n = (unsigned)__builtin_ctz(stops | 0x10000);
		/* Change events are full of microseconds and nanoseconds. */
		if (n == 16 && end - p >= 32)
			n += (unsigned)__builtin_ctz(kveil_json_not_digits(p + 16) | 0x8000);
		if (n > 0 && n < end - p && (*p != '0' || n == 1)) {
			uint8_t c = p[n];
			if (ends_value(c))
				return p + n;
			if (c == '.' && n < 14) {
				unsigned m = (unsigned)__builtin_ctz((stops >> (n + 1)) | 0x10000);
				unsigned all = n + 1 + m;
				if (m > 0 && all < 16 && (p[all] | 0x20) != 'e')
					return p + all;
			}
		}
	}
	return number_slow(p, end, t);
}

static const uint8_t *literal_end(const uint8_t *p, const uint8_t *end, const char *word, struct trouble *t)
{
	for (; *word; word++, p++)
		if (p == end || *p != (uint8_t)*word)
			return trouble(t, KVEIL_E_INVALID_JSON, p, "not a JSON value");
	return p;
}

static __attribute__((noinline)) const uint8_t *skip_space(const uint8_t *p, const uint8_t *end)
{
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
		p++;
	return p;
}

#define SKIP_SPACE()                                                                                                   \
	do {                                                                                                           \
		if (__builtin_expect(p < end && *p <= ' ', 0))                                                         \
			p = skip_space(p, end);                                                                        \
	} while (0)

/* Room for one more entry of an array that the scan owns. Old contents are offsets, not values. */
static __attribute__((noinline)) bool grow(struct kveil_allowance *a, void **items, size_t *cap, size_t count,
					   size_t first, size_t size)
{
	size_t had = *cap, n = had ? had : first;

	while (n < count)
		n *= 2;
	n = had + kveil_allowance_fit(a, (n - had) * size, (count - had) * size) / size;
	if (!kveil_allowance_take(a, (n - had) * size))
		return false;
	void *p = realloc(*items, n * size);
	if (!p) {
		kveil_allowance_give(a, (n - had) * size);
		return false;
	}
	*items = p;
	*cap = n;
	return true;
}

static inline bool reserve_match(struct kveil_scan *s)
{
	return __builtin_expect(s->match_count < s->match_cap, 1) ||
	       grow(s->allowance, (void **)&s->matches, &s->match_cap, s->match_count + 1, 64, sizeof *s->matches);
}

static inline bool reserve_node(struct kveil_scan *s)
{
	return __builtin_expect(s->doc.count < s->doc_cap, 1) ||
	       grow(s->allowance, (void **)&s->doc.nodes, &s->doc_cap, (size_t)s->doc.count + 1, 256,
		    sizeof *s->doc.nodes);
}

/* The names from the root to a match below the `depth` open frames. */
static __attribute__((noinline)) bool write_trail(struct kveil_scan *s, struct kveil_match *m)
{
	size_t need = s->trail_count + m->depth;

	m->trail = (uint32_t)s->trail_count;
	if (need > s->trail_cap && !grow(s->allowance, (void **)&s->trail, &s->trail_cap, need, 64, sizeof *s->trail))
		return false;
	for (uint32_t d = 1; d < m->depth; d++)
		s->trail[s->trail_count++] = (struct kveil_step){s->frames[d].name_start, s->frames[d].name_end};
	if (m->depth)
		s->trail[s->trail_count++] = (struct kveil_step){m->name_start, m->name_end};
	return true;
}

/* The state behind a member whose name has escapes. */
static __attribute__((noinline)) bool on_escaped_name(const struct kveil_automaton_state *state, const uint8_t *name,
						      size_t len, struct kveil_arena *arena, uint32_t *ret)
{
	uint8_t *plain = kveil_arena_alloc(arena, len + 8);

	if (!plain)
		return false;
	size_t n = kveil_json_unescape(kveil_span_of(name, len), plain);
	struct kveil_name key = kveil_name_of(plain, n, n);
	*ret = kveil_automaton_on_name(state, &key);
	return true;
}

static inline __attribute__((always_inline)) enum kveil_status scan_text(struct kveil_scan *s, struct kveil_span text,
									 const bool want_doc, struct kveil_error *err)
{
	const uint8_t *const base = text.data, *const end = base + text.len;
	const uint8_t *p = base, *begin;
	const struct kveil_automaton_state *const states = s->automaton ? s->automaton->states : NULL;
	const struct kveil_automaton_state *live = NULL; /* of the innermost container, as in its frame */
	struct kveil_scan_frame *f = NULL;               /* the innermost open container */
	struct kveil_scan_guess *const guesses = s->guesses, *guess;
	uint32_t depth = 0;
	/* Of the value at hand. The name is kept where somebody may ask for it. */
	uint32_t state = s->automaton ? s->automaton->start : KVEIL_AUTOMATON_DEAD;
	uint32_t name_start = 0, name_end = 0;
	uint8_t flags = 0, kind;
	struct string string;
	struct trouble t;

	SKIP_SPACE();
value:
	if (__builtin_expect(p == end, 0))
		goto ends_early;
	begin = p;
	if (*p == '"') {
		string = string_of(p + 1, end, &t);
		p = string.close;
		if (__builtin_expect(!p, 0))
			goto in_trouble;
		p++;
		if (string.escaped)
			flags |= KVEIL_NODE_VALUE_ESCAPED;
		kind = KVEIL_KIND_STRING;
	} else if ((uint8_t)(*p - '0') < 10 || *p == '-') {
		kind = KVEIL_KIND_NUMBER;
		p = number_end(p, end, &t);
	} else if (*p == '{') {
		kind = KVEIL_KIND_OBJECT;
		goto open;
	} else if (*p == '[') {
		kind = KVEIL_KIND_ARRAY;
		goto open;
	} else if (*p == 't') {
		kind = KVEIL_KIND_BOOL;
		p = literal_end(p, end, "true", &t);
	} else if (*p == 'f') {
		kind = KVEIL_KIND_BOOL;
		p = literal_end(p, end, "false", &t);
	} else if (*p == 'n') {
		kind = KVEIL_KIND_NULL;
		p = literal_end(p, end, "null", &t);
	} else {
		p = trouble(&t, KVEIL_E_INVALID_JSON, p, "not a JSON value");
		kind = 0;
	}
	if (__builtin_expect(!p, 0))
		goto in_trouble;
	/* A scalar from begin to p. */
	if (want_doc) {
		if (!reserve_node(s))
			goto no_memory;
		s->doc.nodes[s->doc.count] = (struct kveil_doc_node){
		    .start = (uint32_t)(begin - base),
		    .end = (uint32_t)(p - base),
		    .name_start = name_start,
		    .name_end = name_end,
		    .next = s->doc.count + 1,
		    .parent = f ? f->node : UINT32_MAX,
		    .ordinal = f ? f->ordinal : 0,
		    .kind = kind,
		    .flags = flags,
		};
		s->doc.count++;
	}
	if (state && states[state].accept_count) {
		if (!reserve_match(s))
			goto no_memory;
		struct kveil_match *m = &s->matches[s->match_count++];
		*m = (struct kveil_match){
		    (uint32_t)(begin - base),        (uint32_t)(p - base), name_start, name_end, state,
		    want_doc ? s->doc.count - 1 : 0, KVEIL_NO_TRAIL,       depth,      kind,     flags};
		if (states[state].want_trail && !write_trail(s, m))
			goto no_memory;
	}
	goto after_value;

open:
	if (__builtin_expect(depth == s->max_depth, 0)) {
		trouble(&t, KVEIL_E_TOO_DEEP, p, "nested too deep");
		goto in_trouble;
	}
	if (__builtin_expect(depth == s->frame_cap, 0) &&
	    !grow(NULL, (void **)&s->frames, &s->frame_cap, (size_t)depth + 1, FIRST_FRAMES, sizeof *s->frames))
		goto no_memory;
	f = &s->frames[depth];
	live = state && states[state].live ? &states[state] : NULL;
	f->live = live;
	f->ordinal = 0;
	f->start = (uint32_t)(begin - base);
	f->match = NO_MATCH;
	f->node = want_doc ? s->doc.count : 0;
	f->name_start = name_start;
	f->name_end = name_end;
	f->guess = depth ? kveil_json_first_guess(f[-1].guess + (f[-1].is_object ? f[-1].ordinal : 0)) : 0;
	f->is_object = kind == KVEIL_KIND_OBJECT;
	if (want_doc) {
		const struct kveil_scan_frame *up = depth ? f - 1 : NULL;
		if (!reserve_node(s))
			goto no_memory;
		s->doc.nodes[s->doc.count++] = (struct kveil_doc_node){.start = f->start,
								       .name_start = name_start,
								       .name_end = name_end,
								       .parent = up ? up->node : UINT32_MAX,
								       .ordinal = up ? up->ordinal : 0,
								       .kind = kind,
								       .flags = flags};
	}
	if (state && states[state].accept_count) {
		if (!reserve_match(s))
			goto no_memory;
		struct kveil_match *m = &s->matches[s->match_count];
		*m = (struct kveil_match){f->start,       0,     name_start, name_end, state, f->node,
					  KVEIL_NO_TRAIL, depth, kind,       flags};
		f->match = (uint32_t)s->match_count++;
		if (states[state].want_trail && !write_trail(s, m))
			goto no_memory;
	}
	depth++;
	p++;
	SKIP_SPACE();
	if (f->is_object) {
		if (p < end && *p == '}')
			goto close_empty;
		goto member;
	}
	if (p < end && *p == ']')
		goto close_empty;

element:
	name_start = name_end = 0;
	flags = 0;
	state = live ? kveil_automaton_on_index(live, f->ordinal) : KVEIL_AUTOMATON_DEAD;
	goto value;

member:
	if (__builtin_expect(p == end, 0))
		goto ends_early;
	if (__builtin_expect(*p != '"', 0)) {
		trouble(&t, KVEIL_E_INVALID_JSON, p, "a member name in quotes belongs here");
		goto in_trouble;
	}
	begin = p + 1;
name:
	guess = &guesses[(f->guess + f->ordinal) % KVEIL_SCAN_GUESSES];
	if (__builtin_expect(guess->text_len && guess->live == live && end - begin > KVEIL_JSON_GUESS_BYTES &&
				 kveil_json_is_guessed(guess, begin) && begin[guess->text_len] > ' ',
			     1)) {
		p = begin + guess->text_len;
		flags = 0;
		state = guess->next;
		if (want_doc || state) {
			name_start = (uint32_t)(begin - 1 - base);
			name_end = (uint32_t)(p - 1 - base);
		}
		goto value;
	}
	string = string_of(begin, end, &t);
	if (__builtin_expect(!string.close, 0))
		goto in_trouble;
	p = kveil_json_close_by_guess(&guess->len, begin, string.close);
	flags = string.escaped ? KVEIL_NODE_NAME_ESCAPED : 0;
	state = KVEIL_AUTOMATON_DEAD;
	if (live) {
		if (__builtin_expect(!string.escaped, 1))
			state = kveil_automaton_on_plain_name(live, begin, (size_t)(p - begin), (size_t)(end - begin));
		else if (!on_escaped_name(live, begin, (size_t)(p - begin), s->arena, &state))
			goto no_memory;
	}
	if (want_doc || state) {
		name_start = (uint32_t)(begin - 1 - base);
		name_end = (uint32_t)(p + 1 - base);
	}
	/* As it is without blanks. */
	if (__builtin_expect(end - p > 2 && p[1] == ':' && p[2] > ' ', 1)) {
		if (!string.escaped && end - begin > KVEIL_JSON_GUESS_BYTES)
			kveil_json_guess_next(guess, begin, (size_t)(p - begin), live, state);
		p += 2;
		goto value;
	}
	p++;
	SKIP_SPACE();
	if (__builtin_expect(p == end, 0))
		goto ends_early;
	if (__builtin_expect(*p != ':', 0)) {
		trouble(&t, KVEIL_E_INVALID_JSON, p, "':' belongs here");
		goto in_trouble;
	}
	p++;
	SKIP_SPACE();
	goto value;

close_empty:
	if (want_doc)
		s->doc.nodes[f->node].count = 0;
	goto close_counted;
close:
	/* The last child's ordinal counts from 0. */
	if (want_doc)
		s->doc.nodes[f->node].count = f->ordinal + 1;
close_counted:
	p++;
	if (want_doc) {
		s->doc.nodes[f->node].end = (uint32_t)(p - base);
		s->doc.nodes[f->node].next = s->doc.count;
	}
	if (__builtin_expect(f->match != NO_MATCH, 0))
		s->matches[f->match].end = (uint32_t)(p - base);
	if (--depth == 0)
		goto at_end;
	f--;
	live = f->live;

after_value:
	if (__builtin_expect(!f, 0))
		goto at_end;
	/* As it is without blanks. */
	if (__builtin_expect(end - p > 1 && p[0] == ',' && p[1] == '"' && f->is_object, 1)) {
		f->ordinal++;
		begin = p + 2;
		goto name;
	}
	SKIP_SPACE();
	if (__builtin_expect(p == end, 0))
		goto ends_early;
	if (*p == ',') {
		p++;
		f->ordinal++;
		SKIP_SPACE();
		if (f->is_object)
			goto member;
		goto element;
	}
	if (__builtin_expect(*p == (f->is_object ? '}' : ']'), 1))
		goto close;
	trouble(&t, KVEIL_E_INVALID_JSON, p, f->is_object ? "',' or '}' belongs here" : "',' or ']' belongs here");
	goto in_trouble;

at_end:
	SKIP_SPACE();
	if (__builtin_expect(p == end, 1))
		return KVEIL_OK;
	trouble(&t, KVEIL_E_INVALID_JSON, p, "something behind the JSON value");
	goto in_trouble;
ends_early:
	trouble(&t, KVEIL_E_INVALID_JSON, p, "the text ends too early");
in_trouble:
	return kveil_fail_at(err, t.status, (size_t)(t.at - base), "%s", t.why);
no_memory:
	return kveil_no_memory(err, "a record");
}

static __attribute__((noinline)) enum kveil_status scan_with_doc(struct kveil_scan *s, struct kveil_span text,
								 struct kveil_error *err)
{
	return scan_text(s, text, true, err);
}

static __attribute__((noinline)) enum kveil_status scan_streaming(struct kveil_scan *s, struct kveil_span text,
								  struct kveil_error *err)
{
	return scan_text(s, text, false, err);
}

static bool is_blank(struct kveil_span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!memchr(" \t\r\n", text.data[i], 4))
			return false;
	return true;
}

/* What kind of text a broken document is, where whoever has to mend it would not see that. */
static __attribute__((cold, noinline)) enum kveil_status explain(struct kveil_span text, struct kveil_error *err)
{
	if (is_blank(text))
		return kveil_fail_at(err, KVEIL_E_EMPTY_VALUE, 0, "the value is empty");
	if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
		return kveil_fail_at(err, KVEIL_E_INVALID_JSON, 0,
				     "a byte order mark (U+FEFF) is not part of JSON: leave these three bytes out");
	if (text.len >= 2 && (memcmp(text.data, "\xff\xfe", 2) == 0 || memcmp(text.data, "\xfe\xff", 2) == 0))
		return kveil_fail_at(err, KVEIL_E_INVALID_JSON, 0, "a byte order mark of UTF-16: JSON is UTF-8");
	return KVEIL_E_INVALID_JSON;
}

static enum kveil_status json_scan(struct kveil_scan *s, struct kveil_span text, struct kveil_error *err)
{
	size_t max = s->max_bytes < MAX_TEXT ? s->max_bytes : MAX_TEXT;

	s->match_count = s->trail_count = 0;
	s->doc.count = 0;
	s->doc.text = text;
	if (text.len == 0)
		return kveil_fail_at(err, KVEIL_E_EMPTY_VALUE, 0, "the value is empty");
	if (text.len > max)
		return kveil_fail_at(err, KVEIL_E_TOO_LARGE, max, "%zu bytes; at most %zu are taken", text.len, max);
	if (!s->guesses && !(s->guesses = calloc(KVEIL_SCAN_GUESSES, sizeof *s->guesses)))
		return kveil_no_memory(err, "a record");
	enum kveil_status status = s->want_doc ? scan_with_doc(s, text, err) : scan_streaming(s, text, err);
	return status == KVEIL_E_INVALID_JSON ? explain(text, err) : status;
}

const struct kveil_format kveil_format_jsonl = {
    .name = "jsonl",
    .parts = 1u << KVEIL_PART_VALUE,
    .has_paths = true,
    .has_lines = true,
    .help = "JSON documents, one a line, each with `$` at its own root",
    .scan = json_scan,
    .write_text = kveil_json_write_string,
    .quote = '"',
    .null_text = KVEIL_SPAN("null"),
};

const struct kveil_format kveil_format_json = {
    .name = "json",
    .parts = 1u << KVEIL_PART_VALUE | 1u << KVEIL_PART_KEY,
    .has_paths = true,
    .help = "one JSON document (RFC 8259), rewritten byte for byte outside the fields that rules name",
    .scan = json_scan,
    .write_text = kveil_json_write_string,
    .quote = '"',
    .null_text = KVEIL_SPAN("null"),
};

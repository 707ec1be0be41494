/* SPDX-License-Identifier: Apache-2.0 */
/* Which characters of a text a token replaces, and which stay. */
#include "transform/preserve.h"

#include "base/text.h"
#include "crypto/algorithm.h"

#include <stdlib.h>

enum { RADIX_MAX = 65536, OUTSIDE = UINT32_MAX, ASCII = 128 };

struct letter {
	uint32_t code_point, numeral;
};

struct kveil_alphabet {
	uint32_t radix;
	uint32_t ascii[ASCII];  /* numerals; OUTSIDE = none */
	uint32_t *code_points;  /* by numeral */
	struct letter *letters; /* by code point */
	uint32_t *kept;         /* keep_chars */
	size_t kept_count;
};

static const char *const names[] = {"digits", "upper", "lower", "alphanumeric", "hex", NULL};
static const char *const characters[] = {"0123456789", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz",
					 "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
					 "0123456789abcdef"};

static const char *characters_of(const char *alphabet)
{
	for (size_t i = 0; names[i]; i++)
		if (strcmp(alphabet, names[i]) == 0)
			return characters[i];
	return alphabet;
}

/* The next code point of well-formed UTF-8, and past it. */
static uint32_t next_code_point(const uint8_t **at)
{
	const uint8_t *s = *at;
	unsigned more = s[0] < 0x80 ? 0 : s[0] < 0xE0 ? 1 : s[0] < 0xF0 ? 2 : 3;
	uint32_t c = more ? s[0] & (0x3Fu >> more) : s[0];

	for (unsigned i = 1; i <= more; i++)
		c = c << 6 | (s[i] & 0x3F);
	*at = s + more + 1;
	return c;
}

static size_t count_code_points(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((uint8_t)*s & 0xC0) != 0x80;
	return n;
}

static int by_code_point(const void *a, const void *b)
{
	const struct letter *x = a, *y = b;
	return x->code_point < y->code_point ? -1 : x->code_point > y->code_point;
}

static uint32_t numeral_of(const struct kveil_alphabet *a, uint32_t c)
{
	if (c < ASCII)
		return a->ascii[c];
	const struct letter *found =
	    bsearch(&(struct letter){c, 0}, a->letters, a->radix, sizeof *a->letters, by_code_point);
	return found ? found->numeral : OUTSIDE;
}

static bool is_kept(const struct kveil_alphabet *a, uint32_t c)
{
	for (size_t i = 0; i < a->kept_count; i++)
		if (a->kept[i] == c)
			return true;
	return false;
}

static void alphabet_free(struct kveil_alphabet *a)
{
	if (!a)
		return;
	free(a->code_points);
	free(a->letters);
	free(a->kept);
	free(a);
}

/* NULL: out of memory. */
static struct kveil_alphabet *alphabet_new(const char *text, const char *kept)
{
	size_t radix = count_code_points(text), n = kept ? count_code_points(kept) : 0;
	struct kveil_alphabet *a = calloc(1, sizeof *a);

	if (!a)
		return NULL;
	a->code_points = calloc(radix + 1, sizeof *a->code_points);
	a->letters = calloc(radix + 1, sizeof *a->letters);
	a->kept = calloc(n + 1, sizeof *a->kept);
	if (!a->code_points || !a->letters || !a->kept) {
		alphabet_free(a);
		return NULL;
	}
	for (size_t i = 0; i < ASCII; i++)
		a->ascii[i] = OUTSIDE;
	for (const uint8_t *s = (const uint8_t *)text; *s; a->radix++) {
		uint32_t c = next_code_point(&s);
		a->code_points[a->radix] = c;
		a->letters[a->radix] = (struct letter){c, a->radix};
		if (c < ASCII)
			a->ascii[c] = a->radix;
	}
	if (radix)
		qsort(a->letters, radix, sizeof *a->letters, by_code_point);
	for (const uint8_t *s = (const uint8_t *)kept; s && *s;)
		a->kept[a->kept_count++] = next_code_point(&s);
	return a;
}

/* --- at load --- */

static struct kveil_error *problem(const char *file, const struct kveil_yaml *node, const char *word,
				   struct kveil_report *report, const char *what)
{
	const struct kveil_yaml *at = kveil_yaml_get(node, word);

	at = at ? at : node;
	return kveil_report_at(report, file, at->line, at->column, "'%s' %s", word, what);
}

static void check_letters(const struct kveil_alphabet *a, const char *file, const struct kveil_yaml *node,
			  struct kveil_report *report)
{
	static const char known[] = "digits, upper, lower, alphanumeric, hex, or all the characters: \"0123456789X\"";
	bool twice = false, both = false;

	for (uint32_t i = 1; i < a->radix; i++)
		twice |= a->letters[i].code_point == a->letters[i - 1].code_point;
	for (size_t i = 0; i < a->kept_count; i++)
		both |= numeral_of(a, a->kept[i]) != OUTSIDE;
	if (twice)
		kveil_error_hint(problem(file, node, "alphabet", report, "names a character twice"), "%s", known);
	else if (a->radix < 2)
		kveil_error_hint(problem(file, node, "alphabet", report, "has fewer than two characters"), "%s", known);
	else if (a->radix > RADIX_MAX)
		problem(file, node, "alphabet", report, "has more than 65536 characters");
	if (both)
		problem(file, node, "keep_chars", report, "names a character of the alphabet");
}

void kveil_preserve_check(const struct kveil_preserve *p, const char *file, const struct kveil_yaml *node,
			  struct kveil_report *report)
{
	static const char *const dependents[] = {"keep_first", "keep_last", "keep_chars"};

	for (size_t i = 0; !p->alphabet && i < sizeof dependents / sizeof *dependents; i++)
		if (kveil_options_given(node, dependents[i]))
			kveil_error_hint(problem(file, node, dependents[i], report, "needs an 'alphabet'"),
					 "alphabet: digits, with a key of aes-256-ff1");
	if (!p->alphabet)
		return;
	for (size_t i = 0; i < 2; i++) {
		static const char *const contrary[] = {"encoding", "type"};
		if (kveil_options_given(node, contrary[i]))
			problem(file, node, contrary[i], report,
				"says nothing where an 'alphabet' keeps the text's own form");
	}
	const char *near = characters_of(p->alphabet) == p->alphabet ? kveil_text_nearest(p->alphabet, names) : NULL;
	if (near) {
		kveil_error_hint(problem(file, node, "alphabet", report, "is none that there is"), "did you mean '%s'?",
				 near);
		return;
	}
	if (kveil_utf8_valid_prefix((const uint8_t *)p->alphabet, strlen(p->alphabet)) != strlen(p->alphabet) ||
	    (p->keep_chars &&
	     kveil_utf8_valid_prefix((const uint8_t *)p->keep_chars, strlen(p->keep_chars)) != strlen(p->keep_chars))) {
		problem(file, node, "alphabet", report, "is not UTF-8 text");
		return;
	}
	struct kveil_alphabet *a = alphabet_new(characters_of(p->alphabet), p->keep_chars);
	if (a)
		check_letters(a, file, node, report);
	else
		problem(file, node, "alphabet", report, "finds no memory");
	alphabet_free(a);
}

enum kveil_status kveil_preserve_prepare(struct kveil_preserve *p, struct kveil_error *err)
{
	if (!p->alphabet)
		return KVEIL_OK;
	p->made = alphabet_new(characters_of(p->alphabet), p->keep_chars);
	return p->made ? KVEIL_OK : kveil_no_memory(err, "an alphabet");
}

void kveil_preserve_clear(struct kveil_preserve *p)
{
	alphabet_free(p->made);
	p->made = NULL;
}

/* --- a value --- */

/* The value's characters; what is in keep_chars is not among `count`. */
struct reading {
	uint32_t *code_points;
	bool *stays; /* keep_chars */
	size_t all, count;
};

static bool read_text(const struct kveil_alphabet *a, struct kveil_span text, struct kveil_arena *arena,
		      struct reading *r)
{
	const uint8_t *at = text.data, *end = text.data + text.len;

	r->code_points = kveil_arena_array(arena, text.len + 1, sizeof *r->code_points);
	r->stays = kveil_arena_array(arena, text.len + 1, sizeof *r->stays);
	r->all = r->count = 0;
	if (!r->code_points || !r->stays)
		return false;
	while (at < end) {
		uint32_t c = next_code_point(&at);
		r->stays[r->all] = is_kept(a, c);
		r->count += !r->stays[r->all];
		r->code_points[r->all++] = c;
	}
	return true;
}

static uint8_t *put_code_point(uint8_t *at, uint32_t c)
{
	if (c < 0x80) {
		*at = (uint8_t)c;
		return at + 1;
	}
	unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	*at++ = (uint8_t)(0xFF00u >> (more + 1) | c >> 6 * more);
	while (more--)
		*at++ = (uint8_t)(0x80 | (c >> 6 * more & 0x3F));
	return at;
}

static uint8_t *put_length(uint8_t *at, size_t n)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*at++ = (uint8_t)(n >> shift);
	return at;
}

/* Characters from the first-th to before the last-th, of those that count. */
static uint8_t *put_counted(uint8_t *at, const struct reading *r, size_t first, size_t last)
{
	size_t n = 0;

	for (size_t i = 0; i < r->all; i++)
		if (!r->stays[i]) {
			if (n >= first && n < last)
				at = put_code_point(at, r->code_points[i]);
			n++;
		}
	return at;
}

/* See preserve.h. data NULL: out of memory. */
static struct kveil_span make_tweak(const struct kveil_preserve *p, const struct kveil_action_call *call,
				    const struct reading *r, size_t text_bytes)
{
	uint8_t *tweak = kveil_arena_alloc(call->arena, 8 + call->ad.len + text_bytes), *at = tweak;

	if (!tweak)
		return KVEIL_SPAN_NULL;
	at = put_length(at, call->ad.len);
	memcpy(at, call->ad.data, call->ad.len);
	at += call->ad.len;
	uint8_t *first = at + 4;
	at = put_counted(first, r, 0, (size_t)p->keep_first);
	put_length(first - 4, (size_t)(at - first));
	at = put_counted(at, r, r->count - (size_t)p->keep_last, r->count);
	return kveil_span_of(tweak, (size_t)(at - tweak));
}

static enum kveil_status read_numerals(const struct kveil_preserve *p, const struct reading *r,
				       struct kveil_fpe_numerals *numerals, struct kveil_error *err)
{
	for (size_t i = 0, n = 0; i < r->all; i++) {
		size_t at = n - (size_t)p->keep_first; /* beyond all numerals where it is kept */
		if (r->stays[i])
			continue;
		n++;
		if (at >= numerals->count)
			continue;
		uint32_t numeral = numeral_of(p->made, r->code_points[i]);
		if (numeral == OUTSIDE)
			return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN, "character %zu is not of the alphabet",
					  i + 1);
		numerals->digits[at] = (uint16_t)numeral;
	}
	return KVEIL_OK;
}

static void write_text(const struct kveil_preserve *p, const struct reading *r,
		       const struct kveil_fpe_numerals *numerals, struct kveil_buf *out)
{
	uint8_t *room = kveil_buf_reserve(out, r->all * 4), *at = room;

	for (size_t i = 0, n = 0; room && i < r->all; i++) {
		size_t place = n - (size_t)p->keep_first;
		bool stays = r->stays[i] || place >= numerals->count;
		at = put_code_point(at, stays ? r->code_points[i] : p->made->code_points[numerals->digits[place]]);
		n += !r->stays[i];
	}
	out->len += (size_t)(at - room);
}

enum kveil_status kveil_preserve_write(const struct kveil_preserve *p, const struct kveil_action_call *call,
				       bool encrypt, struct kveil_span text, struct kveil_buf *out,
				       struct kveil_error *err)
{
	struct reading r;

	if (kveil_utf8_valid_prefix(text.data, text.len) != text.len)
		return kveil_fail(err, KVEIL_E_INVALID_UTF8, "this is not UTF-8 text");
	if (!read_text(p->made, text, call->arena, &r))
		return kveil_no_memory(err, NULL);
	if (r.count <= p->keep_first + p->keep_last)
		return kveil_fail(err, KVEIL_E_VALUE_OUT_OF_DOMAIN,
				  "a value as short as what stays clear of it leaves nothing to tokenize");
	struct kveil_fpe_numerals numerals = {.count = r.count - (size_t)(p->keep_first + p->keep_last),
					      .radix = p->made->radix};
	numerals.digits = kveil_arena_array(call->arena, numerals.count, sizeof *numerals.digits);
	struct kveil_span tweak = make_tweak(p, call, &r, text.len);
	if (!numerals.digits || !tweak.data)
		return kveil_no_memory(err, NULL);
	enum kveil_status status = read_numerals(p, &r, &numerals, err);
	if (!status)
		status = kveil_key_fpe(call->key, encrypt, tweak, &numerals, err);
	if (status)
		return status;
	write_text(p, &r, &numerals, out);
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, NULL);
}

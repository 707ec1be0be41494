/* SPDX-License-Identifier: Apache-2.0 */
/* Where YAML reads something else than was written. */
#include "base/yaml_trap.h"

#include "base/buf.h"

#include <stdio.h>
#include <strings.h>

enum { LONGEST_LINE = 2000 }; /* longer ones are not for a hint */

/* Rewrites the line into `out`; the first trouble met is kept in why. */
struct fixer {
	struct kveil_buf out;
	const char *line;
	const char *why; /* NULL = nothing found so far */
	size_t at;
	bool no_fix; /* found, but what was meant cannot be told */
};

static void found(struct fixer *f, const char *where, const char *why)
{
	if (!f->why) {
		f->why = why;
		f->at = (size_t)(where - f->line);
	}
}

static void copy(struct fixer *f, const char *s, const char *e)
{
	kveil_buf_append(&f->out, s, (size_t)(e - s));
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_word(char c)
{
	return is_letter(c) || (c >= '0' && c <= '9') || c == '_';
}

static char closing(char c)
{
	return c == '{' ? '}' : c == '[' ? ']' : c == '(' ? ')' : 0;
}

/* Behind the closing quote, or NULL. */
static const char *skip_quoted(const char *p, const char *e)
{
	char quote = *p++;

	for (; p < e; p++) {
		if (quote == '"' && *p == '\\')
			p++;
		else if (*p == quote) {
			if (quote == '\'' && p + 1 < e && p[1] == '\'')
				p++;
			else
				return p + 1;
		}
	}
	return NULL;
}

/* Behind the bracket that closes the one at p, or NULL. */
static const char *skip_nested(const char *p, const char *e)
{
	char open[64];
	size_t depth = 0;

	for (; p < e; p++) {
		if ((*p == '"' || *p == '\'') && !is_word(p[-1])) {
			const char *q = skip_quoted(p, e);
			if (q)
				p = q - 1;
		} else if (closing(*p)) {
			if (depth == sizeof open)
				return NULL;
			open[depth++] = closing(*p);
		} else if (*p == open[depth - 1] && --depth == 0)
			return p + 1;
	}
	return NULL;
}

/* One step: over a quoted text, a bracketed one, or a byte. start: where the text at hand begins. */
static const char *step(const char *p, const char *start, const char *e)
{
	const char *q = NULL;

	if ((*p == '"' || *p == '\'') && (p == start || !is_word(p[-1])))
		q = skip_quoted(p, e);
	else if (closing(*p))
		q = skip_nested(p, e);
	return q ? q : p + 1;
}

static const char *find_comma(const char *s, const char *e)
{
	const char *p = s;

	while (p < e && *p != ',')
		p = step(p, s, e);
	return p < e ? p : e;
}

/* The colon behind a key, or NULL. */
static const char *find_colon(const char *s, const char *e)
{
	for (const char *p = s; p < e; p = step(p, s, e))
		if (*p == ':' && (p + 1 == e || is_blank(p[1]) || (p > s && p[-1] == '"')))
			return p;
	return NULL;
}

static const char *find_comment(const char *s, const char *e)
{
	for (const char *p = s; p < e; p = step(p, s, e))
		if (*p == '#' && (p == s || is_blank(p[-1])))
			return p;
	return e;
}

static const char *rtrim(const char *s, const char *e)
{
	while (e > s && (is_blank(e[-1]) || e[-1] == '\r'))
		e--;
	return e;
}

static const char *ltrim(const char *s, const char *e)
{
	while (s < e && is_blank(*s))
		s++;
	return s;
}

static bool holds(const char *s, const char *e, const char *what)
{
	return memmem(s, (size_t)(e - s), what, strlen(what)) != NULL;
}

static bool holds_any(const char *s, const char *e, const char *set)
{
	for (; s < e; s++)
		if (strchr(set, *s))
			return true;
	return false;
}

static void write_quoted(struct fixer *f, const char *s, const char *e)
{
	bool single = holds_any(s, e, "\"\\");

	kveil_buf_append_byte(&f->out, single ? '\'' : '"');
	for (; s < e; s++) {
		if (single && *s == '\'')
			kveil_buf_append_byte(&f->out, '\'');
		kveil_buf_append_byte(&f->out, (uint8_t)*s);
	}
	kveil_buf_append_byte(&f->out, single ? '\'' : '"');
}

/* A key that is glued to its value: "keep_first:3". */
static const char *glued_colon(const char *s, const char *e)
{
	const char *p = s;

	while (p < e && is_word(*p))
		p++;
	return p > s && p + 1 < e && *p == ':' && !is_blank(p[1]) ? p : NULL;
}

static void fix_flow(struct fixer *f, const char *s, const char *e, int depth);

/* [s, e) is a value, trimmed. */
static void fix_value(struct fixer *f, const char *s, const char *e, bool in_flow, int depth)
{
	const char *end;

	if (s == e)
		return;
	switch (*s) {
	case '@':
		found(f, s, "YAML reserves '@' at the start of a value");
		break;
	case '`':
		found(f, s, "YAML reserves '`' at the start of a value");
		break;
	case '%':
		found(f, s, "a value that begins with '%' needs quotes");
		break;
	case '*':
		found(f, s, "'*' at the start of a value means a YAML alias, which kveil does not support");
		break;
	case '&':
		found(f, s, "'&' at the start of a value means a YAML anchor, which kveil does not support");
		for (end = s + 1; end < e && is_word(*end);)
			end++;
		f->no_fix = f->no_fix || (end > s + 1 && (end == e || is_blank(*end)));
		break;
	case '!':
		found(f, s, "'!' at the start of a value means a YAML tag, which kveil does not support");
		break;
	case '{':
	case '[':
		end = skip_nested(s, e);
		if (!end) {
			found(f, s,
			      *s == '{' ? "this '{' is not closed on its line" : "this '[' is not closed on its line");
			f->no_fix = true;
			return;
		}
		if (end == e && (*s == '[' || end - s == 2 || memchr(s, ':', (size_t)(e - s)))) {
			fix_flow(f, s, e, depth + 1);
			return;
		}
		found(f, s,
		      *s == '{' ? "'{' at the start of a value means a mapping: the text needs quotes"
				: "'[' at the start of a value means a list: the text needs quotes");
		break;
	case '"':
	case '\'':
		end = skip_quoted(s, e);
		if (end == e) {
			copy(f, s, e);
			return;
		}
		if (end) {
			found(f, end, "text follows the closing quote: quote the whole value");
			/* "$.c == "NO"": the outer quotes were meant to be those of YAML. */
			if (!is_blank(*end) && e[-1] == *s) {
				s++;
				e--;
			}
			break;
		}
		found(f, s, "this quote is never closed");
		f->no_fix = f->no_fix || in_flow;
		copy(f, s, e);
		kveil_buf_append_byte(&f->out, (uint8_t)*s);
		return;
	case '|':
	case '>':
		for (end = s + 1; end < e && strchr("0123456789+-", *end);)
			end++;
		if (end == e) {
			copy(f, s, e);
			return;
		}
		found(f, s, "'|' or '>' at the start of a value means a text block: the value needs quotes");
		break;
	default:
		if (holds(s, e, ": ") || e[-1] == ':')
			found(f, s, "a value that holds ': ' needs quotes");
		else if (holds(s, e, " #"))
			found(f, s, "' #' begins a comment: the value needs quotes");
		else if (in_flow && holds_any(s, e, "[]{}"))
			found(f, s, "inside {…} and […] a value that holds a bracket needs quotes");
		else {
			copy(f, s, e);
			return;
		}
	}
	write_quoted(f, s, e);
}

/* [s, e) is "{…}" or "[…]" with its brackets. */
static void fix_flow(struct fixer *f, const char *s, const char *e, int depth)
{
	bool map = *s == '{';

	if (depth > 16) {
		copy(f, s, e);
		return;
	}
	kveil_buf_append_byte(&f->out, (uint8_t)*s);
	for (const char *p = s + 1, *last = e - 1; p < last;) {
		const char *end = find_comma(p, last);
		const char *a = ltrim(p, end), *b = rtrim(a, end);
		const char *colon = map ? find_colon(a, b) : NULL;
		if (colon) {
			copy(f, a, colon);
			kveil_buf_append_str(&f->out, colon + 1 < b ? ": " : ":");
			fix_value(f, ltrim(colon + 1, b), b, true, depth);
		} else if (map && (colon = glued_colon(a, b))) {
			found(f, colon, "a space is missing after the colon");
			copy(f, a, colon + 1);
			kveil_buf_append_byte(&f->out, ' ');
			fix_value(f, colon + 1, b, true, depth);
		} else
			fix_value(f, a, b, true, depth);
		p = end;
		if (p < last) {
			kveil_buf_append_str(&f->out, ", ");
			p++;
		}
	}
	kveil_buf_append_byte(&f->out, (uint8_t)e[-1]);
}

/* Might the line hold a password? Then it is not repeated in a message. */
static bool may_hold_secret(const char *s, const char *e)
{
	static const char *const words[] = {"password", "secret",  "token", "pin",       "credential",
					    "jaas",     "private", "salt",  "passphrase"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		size_t n = strlen(words[i]);
		for (const char *p = s; p + n <= e; p++)
			if (strncasecmp(p, words[i], n) == 0 && (p == s || !is_letter(p[-1])) &&
			    (p + n == e || !is_letter(p[n])))
				return true;
	}
	return false;
}

bool kveil_yaml_trap(struct kveil_span line, struct kveil_yaml_trap *ret)
{
	KVEIL_CLEANUP_BUF struct kveil_buf mem = KVEIL_BUF_INIT;
	struct fixer f = {.line = (const char *)line.data};

	if (line.len == 0 || line.len > LONGEST_LINE)
		return false;
	const char *s = f.line, *e = f.line + line.len;
	bool tab = false;
	while (s < e && is_blank(*s))
		tab |= *s++ == '\t';
	const char *start = s;
	e = rtrim(s, find_comment(s, e));
	if (s == e)
		return false;
	if (tab)
		found(&f, f.line, "a tab in the indentation: YAML requires spaces");
	while (e - s > 1 && *s == '-' && is_blank(s[1])) {
		kveil_buf_append_str(&f.out, "- ");
		s = ltrim(s + 1, e);
	}
	const char *colon = find_colon(s, e);
	if (colon) {
		if (strchr("@`%*&!", *s)) {
			found(&f, s, "a key that begins with a special character of YAML needs quotes");
			write_quoted(&f, s, rtrim(s, colon));
		} else
			copy(&f, s, rtrim(s, colon));
		if (colon - s >= 2 && memcmp(s, "<<", 2) == 0) {
			found(&f, s, "merge keys ('<<') are not supported: write the text out");
			f.no_fix = true;
		}
		kveil_buf_append_str(&f.out, colon + 1 < e ? ": " : ":");
		fix_value(&f, ltrim(colon + 1, e), e, false, 0);
	} else {
		bool item = f.out.len > 0;
		size_t mark = f.out.len;
		const char *why = f.why;
		fix_value(&f, s, e, false, 0);
		/* A list item may well be "key:$"; a line of its own that looks so is a mapping without its space. */
		if (f.why == why && !item && (colon = glued_colon(s, e))) {
			found(&f, colon, "a space is missing after the colon");
			f.out.len = mark;
			copy(&f, s, colon + 1);
			kveil_buf_append_byte(&f.out, ' ');
			fix_value(&f, colon + 1, e, false, 0);
		}
	}
	mem = f.out; /* freed on every way out */
	if (!f.why || !kveil_buf_ok(&mem))
		return false;
	ret->at = f.at;
	snprintf(ret->message, sizeof ret->message, "%s", f.why);
	ret->hint[0] = 0;
	if (f.no_fix)
		return true;
	if (may_hold_secret(start, e))
		snprintf(ret->hint, sizeof ret->hint, "put the value in quotes");
	else if (mem.len + sizeof "write: " <= sizeof ret->hint)
		snprintf(ret->hint, sizeof ret->hint, "write: %.*s", (int)mem.len, (const char *)mem.data);
	else
		snprintf(ret->hint, sizeof ret->hint, "put quotes around the value");
	return true;
}

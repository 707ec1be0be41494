/* SPDX-License-Identifier: Apache-2.0 */
/* rules/tables.c: `table:` of a rule: globs over the names of tables, and what two of them have in common. */
#include "rules/loader.h"

#include <stdlib.h>

static uint8_t fold(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}

/* The bytes of the character at p. */
static size_t char_bytes(const uint8_t *p, const uint8_t *end)
{
	size_t n = 1;

	while (p + n < end && (p[n] & 0xC0) == 0x80)
		n++;
	return n;
}

/* One star back is enough: what an earlier one took more, a later one takes as well. */
static bool glob_takes(const char *glob, struct kveil_span name)
{
	const uint8_t *g = (const uint8_t *)glob, *star = NULL;
	const uint8_t *p = name.data, *end = p + name.len, *again = NULL;

	while (p < end) {
		if (*g == '*') {
			star = ++g;
			again = p;
		} else if (*g == '?') {
			g++;
			p += char_bytes(p, end);
		} else if (*g && fold(*g) == fold(*p)) {
			g++;
			p++;
		} else if (star) {
			g = star;
			p = ++again;
		} else {
			return false;
		}
	}
	while (*g == '*')
		g++;
	return !*g;
}

bool kveil_tables_take(const struct kveil_tables *t, struct kveil_span name)
{
	for (size_t at = 0; at <= name.len; at++) {
		if (at && name.data[at - 1] != '.')
			continue;
		for (size_t i = 0; t->globs[i]; i++)
			if (glob_takes(t->globs[i], kveil_span_of(name.data + at, name.len - at)))
				return true;
	}
	return false;
}

bool kveil_tables_qualify(const struct kveil_tables *t)
{
	for (size_t i = 0; t->globs[i]; i++)
		if (strchr(t->globs[i], '.'))
			return true;
	return false;
}

bool kveil_loader_read_tables(struct kveil_loader *l, const struct kveil_yaml *at, char **globs, struct kveil_rule *r)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_tables *t = kveil_plan_alloc(l->plan, sizeof *t);
	size_t n = 0;

	while (globs[n])
		n++;
	char **copies = kveil_plan_alloc(l->plan, (n + 1) * sizeof *copies);
	l->no_memory |= !t || !copies;
	for (size_t i = 0; copies && i < n; i++) {
		if (!*globs[i]) {
			kveil_error_hint(
			    kveil_report_at(l->report, l->file, at->line, at->column, "a table has a name"),
			    "table: \"shop.user_*\"");
			return false;
		}
		copies[i] = kveil_plan_strdup(l->plan, globs[i]);
		l->no_memory |= !copies[i];
	}
	kveil_rules_write_flow(at, &text);
	const char *line = kveil_buf_cstr(&text);
	char *copy = line ? kveil_plan_strdup(l->plan, line) : NULL;
	l->no_memory |= !copy;
	if (l->no_memory)
		return false;
	*t = (struct kveil_tables){(const char *const *)copies, copy};
	r->tables = t;
	return true;
}

bool kveil_rule_same_tables(const struct kveil_rule *a, const struct kveil_rule *b)
{
	return a->tables && b->tables ? strcmp(a->tables->text, b->tables->text) == 0 : a->tables == b->tables;
}

/* Two names without stars, and their own parts differ: "shop.users" and "orders". */
static bool are_apart(const char *a, const char *b)
{
	if (strpbrk(a, "*?") || strpbrk(b, "*?"))
		return false;
	const char *x = strrchr(a, '.'), *y = strrchr(b, '.');
	x = x ? x + 1 : a;
	y = y ? y + 1 : b;
	while (*x && fold((uint8_t)*x) == fold((uint8_t)*y)) {
		x++;
		y++;
	}
	return *x || *y;
}

bool kveil_rule_other_tables(const struct kveil_rule *a, const struct kveil_rule *b)
{
	if (!a->tables || !b->tables)
		return false;
	for (size_t i = 0; a->tables->globs[i]; i++)
		for (size_t k = 0; b->tables->globs[k]; k++)
			if (!are_apart(a->tables->globs[i], b->tables->globs[k]))
				return false;
	return true;
}

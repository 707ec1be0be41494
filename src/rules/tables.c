/* SPDX-License-Identifier: Apache-2.0 */
/* rules/tables.c: `table:` of a rule: globs over the names of tables, and what two of them have in common. */
#include "rules/loader.h"

#include "base/grapheme.h"

#include <stdlib.h>

/* One star back is enough: what an earlier one took more, a later one takes as well. */
static bool glob_takes(struct kveil_span glob, struct kveil_span name)
{
	const uint8_t *g = glob.data, *g_end = g + glob.len, *star = NULL;
	const uint8_t *p = name.data, *end = p + name.len, *again = NULL;

	while (p < end) {
		size_t wide = 0, given = 0;
		uint32_t c = kveil_grapheme_lower(p, (size_t)(end - p), &given);
		if (g < g_end && *g == '*') {
			star = ++g;
			again = p;
			continue;
		}
		if (g < g_end && (kveil_grapheme_lower(g, (size_t)(g_end - g), &wide) == c || *g == '?')) {
			g += wide;
			p += given;
		} else if (star) {
			g = star;
			(void)kveil_grapheme_lower(again, (size_t)(end - again), &given);
			p = again += given;
		} else {
			return false;
		}
	}
	while (g < g_end && *g == '*')
		g++;
	return g == g_end;
}

bool kveil_tables_take(const struct kveil_tables *t, struct kveil_span name)
{
	for (size_t at = 0; at <= name.len; at++) {
		if (at && name.data[at - 1] != '.')
			continue;
		for (size_t i = 0; t->globs[i]; i++)
			if (glob_takes(kveil_span_str(t->globs[i]), kveil_span_of(name.data + at, name.len - at)))
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

bool kveil_tables_might_take(const struct kveil_tables *t, struct kveil_span table)
{
	for (size_t i = 0; t->globs[i]; i++) {
		const char *dot = strrchr(t->globs[i], '.');
		if (dot && glob_takes(kveil_span_str(dot + 1), table))
			return true;
	}
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

static struct kveil_span last_word(struct kveil_span name)
{
	size_t at = name.len;

	while (at && name.data[at - 1] != '.')
		at--;
	return kveil_span_of(name.data + at, name.len - at);
}

bool kveil_record_is_called(const char *record, struct kveil_span name)
{
	struct kveil_span own = kveil_span_str(record), last = last_word(own);
	bool is_short = last.len == own.len || last_word(name).len == name.len;

	return is_short ? kveil_span_eq(last, last_word(name)) : kveil_span_eq(own, name);
}

bool kveil_rule_other_records(const struct kveil_rule *a, const struct kveil_rule *b)
{
	return a->record && b->record &&
	       !kveil_span_eq(last_word(kveil_span_str(a->record)), last_word(kveil_span_str(b->record)));
}

/* Two names without stars, and their own parts differ: "shop.users" and "orders". */
static bool are_apart(const char *a, const char *b)
{
	if (strpbrk(a, "*?") || strpbrk(b, "*?"))
		return false;
	const char *x = strrchr(a, '.'), *y = strrchr(b, '.');
	x = x ? x + 1 : a;
	y = y ? y + 1 : b;
	return !glob_takes(kveil_span_str(x), kveil_span_str(y));
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

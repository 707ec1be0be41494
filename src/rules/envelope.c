/* SPDX-License-Identifier: Apache-2.0 */
/* rules/envelope.c: `envelope:`, from YAML to the rows of a plan and the rules for what stands beside them. */
#include "rules/loader.h"

#include "base/text.h"
#include "format/envelope.h"
#include "format/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_ROOTS = 16 };

static KVEIL_PRINTF(3, 4) struct kveil_error *problem(struct kveil_loader *l, const struct kveil_yaml *node,
						      const char *fmt, ...)
{
	char message[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	return kveil_report_at(l->report, l->file, node->line, node->column, "%s", message);
}

static struct kveil_path *own_path(struct kveil_loader *l, const char *text)
{
	struct kveil_path *path = NULL;

	if (kveil_path_parse(kveil_span_str(text), &path, NULL) == KVEIL_OK && kveil_plan_own_path(l->plan, path))
		return path;
	l->no_memory = true;
	return NULL;
}

static void read_roots(struct kveil_loader *l, const char *const *texts, struct kveil_rows *ret)
{
	const struct kveil_path **roots = kveil_plan_alloc(l->plan, MOST_ROOTS * sizeof *roots);

	l->no_memory |= !roots;
	for (size_t n = 0; texts && roots && n < MOST_ROOTS && texts[n]; n++) {
		roots[n] = own_path(l, texts[n]);
		if (!roots[n])
			return;
		*ret = (struct kveil_rows){roots, n + 1};
	}
}

/* Rows that are texts; with messages: rows the content of messages in each event too. */
static void read_texts(struct kveil_loader *l, const struct kveil_envelope *e)
{
	const char *texts[MOST_ROOTS] = {NULL};
	size_t n = 0;

	for (; e->texts && e->texts[n] && n + 1 < MOST_ROOTS; n++)
		texts[n] = e->texts[n];
	for (const struct kveil_clause *c = e->clauses; l->plan->reads_messages && c->place; c++)
		for (size_t i = 0; c->kind == KVEIL_CLAUSE_MESSAGE && e->events[i] && n + 1 < MOST_ROOTS; i++) {
			char text[256];
			snprintf(text, sizeof text, "%s%s", e->events[i], c->place + 1);
			texts[n] = kveil_plan_strdup(l->plan, text);
			l->no_memory |= !texts[n++];
		}
	if (!l->no_memory)
		read_roots(l, texts, &l->plan->rows[KVEIL_ROWS_TEXT]);
}

static struct kveil_expr *own_expr(struct kveil_loader *l, const char *text)
{
	struct kveil_expr *e = NULL;

	if (kveil_expr_parse(kveil_span_str(text), &e, NULL) == KVEIL_OK && kveil_plan_own_expr(l->plan, e))
		return e;
	l->no_memory = true;
	return NULL;
}

static void read_controls(struct kveil_loader *l, const struct kveil_control *controls)
{
	size_t n = 0;

	while (controls && controls[n].when)
		n++;
	l->plan->controls = kveil_plan_alloc(l->plan, (n + 1) * sizeof(struct kveil_expr *));
	l->no_memory |= !l->plan->controls;
	for (size_t i = 0; l->plan->controls && i < n; i++)
		l->plan->controls[i] = own_expr(l, controls[i].when);
}

/* "$.__op" and "header:__op", as a transform with another prefix spells them; NULL = it is no such name. */
static char *spell_added(struct kveil_loader *l, const char *text)
{
	static const char *const starts[] = {"$.__", "header:__"};
	char spelled[256];

	for (size_t i = 0; l->plan->added_prefix && i < 2; i++) {
		size_t n = strlen(starts[i]);
		if (strncmp(text, starts[i], n) != 0)
			continue;
		/* Of letters, digits and marks that need no escape: see read_prefix. */
		snprintf(spelled, sizeof spelled, i ? "header:%s%s" : "$['%s%s']", l->plan->added_prefix, text + n);
		char *copy = kveil_plan_strdup(l->plan, spelled);
		l->no_memory |= !copy;
		return copy;
	}
	return NULL;
}

static const struct kveil_path *clue_path(struct kveil_loader *l, const char *text, bool respell)
{
	const char *spelled = respell && text ? spell_added(l, text) : NULL;

	return text ? own_path(l, spelled ? spelled : text) : NULL;
}

static void read_clues(struct kveil_loader *l, const struct kveil_table_clue *clues)
{
	size_t n = 0;

	while (clues[n].table)
		n++;
	l->plan->clues = kveil_plan_alloc(l->plan, 2 * (n + 1) * sizeof *l->plan->clues);
	l->no_memory |= !l->plan->clues;
	for (size_t i = 0; l->plan->clues && i < 2 * n; i++) {
		const struct kveil_table_clue *c = &clues[i / 2];
		bool respell = i % 2;
		if (respell && (c->from != KVEIL_CLUE_ROW || !spell_added(l, c->table)))
			continue;
		l->plan->clues[l->plan->clue_count++] = (struct kveil_clue){
		    .from = (int)c->from,
		    .mark = clue_path(l, c->mark, respell),
		    .names = {clue_path(l, c->database, respell), clue_path(l, c->schema, respell),
			      clue_path(l, c->table, respell)},
		};
	}
}

/* --- what stands for a value that the source did not send --- */

static void add_absent(struct kveil_loader *l, const void *data, size_t n)
{
	struct kveil_plan *p = l->plan;
	char *copy = kveil_plan_strndup(p, data, n);

	l->no_memory |= !copy;
	if (copy && n && p->absent_count < KVEIL_MOST_ABSENT)
		p->absent[p->absent_count++] = kveil_span_of(copy, n);
}

static void add_absent_encoded(struct kveil_loader *l, enum kveil_encoding e, const void *data, size_t n)
{
	size_t len = kveil_text_encoded_len(e, n);
	uint8_t *text = kveil_plan_alloc(l->plan, len + 1);

	l->no_memory |= !text;
	if (!text)
		return;
	kveil_text_encode(e, data, n, text);
	add_absent(l, text, len);
}

/* "95,95,100", as a JSON array of the bytes has it. */
static void add_absent_numbers(struct kveil_loader *l, const uint8_t *data, size_t n)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	for (size_t i = 0; i < n; i++)
		kveil_buf_printf(&text, "%s%d", i ? "," : "", (int)(int8_t)data[i]);
	char *copy = kveil_buf_ok(&text) ? kveil_plan_strndup(l->plan, text.data, text.len) : NULL;
	l->no_memory |= !copy;
	if (copy)
		l->plan->absent_numbers = kveil_span_of(copy, text.len);
}

/* A column of text has it as it is, one of bytes in the spelling of binary.handling.mode, an hstore as a map. */
static void read_absent(struct kveil_loader *l, const struct kveil_yaml *node, const char *text)
{
	static const char hex_prefix[] = "hex:";
	size_t n = strlen(text), skip = sizeof hex_prefix - 1, bytes = n;
	uint8_t *data = kveil_plan_alloc(l->plan, n + 1);
	char map[512];

	if (!data) {
		l->no_memory = true;
		return;
	}
	memcpy(data, text, n);
	if (strncmp(text, hex_prefix, skip) == 0 &&
	    !kveil_text_decode(KVEIL_HEX, (const uint8_t *)text + skip, n - skip, data, &bytes)) {
		problem(l, node, "unavailable_value: hex: is followed by hexadecimal digits");
		return;
	}
	if (bytes == 0 || bytes > 200) {
		problem(l, node, "unavailable_value has 1 to 200 bytes");
		return;
	}
	add_absent(l, data, bytes);
	for (int e = KVEIL_BASE64; e <= KVEIL_HEX; e++)
		add_absent_encoded(l, (enum kveil_encoding)e, data, bytes);
	add_absent_numbers(l, data, bytes);
	int len = snprintf(map, sizeof map, "{\"%.*s\":\"%.*s\"}", (int)bytes, (const char *)data, (int)bytes,
			   (const char *)data);
	add_absent(l, map, (size_t)len);
}

/* --- rules of the envelope's own --- */

static enum kveil_status refuse_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				      struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	(void)in, (void)out, (void)ret;
	const char *const *why = call->params;
	return kveil_fail(err, KVEIL_E_UNSUPPORTED_ENVELOPE, "%s", *why);
}

static unsigned refuse_results(const void *params, enum kveil_kind kind)
{
	(void)params, (void)kind;
	return KVEIL_RESULT_BIT(KVEIL_RESULT_RAW); /* without a constant: none */
}

/* Not a word of rule files: what a clause does to a record that no rule can protect. */
static const struct kveil_action refuse = {.name = "refuse",
					   .effect = KVEIL_PROTECTS,
					   .kinds = ~0u,
					   .params_bytes = sizeof(char *),
					   .results_for = refuse_results,
					   .apply = refuse_apply};

static bool read_place(struct kveil_loader *l, const struct kveil_clause *c, const char *spelled, struct kveil_rule *r)
{
	struct kveil_yaml at = {.kind = KVEIL_YAML_SCALAR, .text = (char *)spelled, .line = r->line};
	struct kveil_place place;

	if (!kveil_loader_read_place(l, &at, &place))
		return false;
	r->part = place.part;
	r->header_name = place.header_name;
	r->path_text = place.text;
	r->path = place.path;
	if (!c->when)
		return true;
	r->when = own_expr(l, c->when);
	r->when_text = r->when ? kveil_plan_strdup(l->plan, c->when) : NULL;
	return r->when_text != NULL;
}

/* replace: {with: ""} */
static const struct kveil_yaml *blank_text(void)
{
	static struct kveil_yaml text = {.kind = KVEIL_YAML_SCALAR, .quoted = true, .text = (char *)""};
	static struct kveil_yaml with = {.kind = KVEIL_YAML_SCALAR, .text = (char *)"with"};
	static struct kveil_yaml word = {.kind = KVEIL_YAML_SCALAR, .text = (char *)"replace"};
	static struct kveil_yaml *with_key[] = {&with}, *with_value[] = {&text}, *key[] = {&word};
	static struct kveil_yaml params = {.kind = KVEIL_YAML_MAP, .count = 1, .keys = with_key, .items = with_value};
	static struct kveil_yaml *value[] = {&params};
	static const struct kveil_yaml action = {.kind = KVEIL_YAML_MAP, .count = 1, .keys = key, .items = value};

	return &action;
}

/* blank: null or "", as the producer writes it when it is told not to send the text. */
static bool read_action(struct kveil_loader *l, const struct kveil_clause *c, struct kveil_rule *r)
{
	const struct kveil_yaml *sql = l->envelope_sql;

	bool is_text = c->kind == KVEIL_CLAUSE_SQL && !c->is_list;
	if (is_text && sql && sql->kind == KVEIL_YAML_MAP)
		return kveil_loader_read_action(l, sql, r);
	if (is_text && l->plan->envelope->blanks_with_text)
		return kveil_loader_read_action(l, blank_text(), r);
	r->action = c->kind == KVEIL_CLAUSE_REFUSE ? &refuse : kveil_action_by_name(KVEIL_SPAN("nullify"));
	r->action_text = (char *)r->action->name;
	r->params = calloc(1, r->action->params_bytes);
	if (r->params && c->kind == KVEIL_CLAUSE_REFUSE)
		memcpy(r->params, &c->why, sizeof c->why);
	return r->params != NULL;
}

static bool is_wanted(const struct kveil_loader *l, const struct kveil_clause *c)
{
	const struct kveil_yaml *sql = l->envelope_sql;
	const struct kveil_format *key = l->plan->formats[KVEIL_PART_KEY];
	const struct kveil_format *value = l->plan->formats[KVEIL_PART_VALUE];

	/* A key of text has no members: all of it is the column. */
	if (strncmp(c->place, "key:", 4) == 0 && !(key && key->has_paths))
		return false;
	if (c->in_types && !(value && value->is_typed))
		return false;
	if (c->kind == KVEIL_CLAUSE_SQL)
		return !sql || sql->kind == KVEIL_YAML_MAP || strcmp(sql->text, "keep") != 0;
	return c->kind != KVEIL_CLAUSE_MESSAGE || !l->keeps_messages;
}

size_t kveil_loader_count_clauses(const struct kveil_loader *l)
{
	size_t n = 0;

	if (!l->plan->envelope)
		return 0;
	while (l->plan->envelope->clauses[n].place)
		n++;
	for (size_t i = 0; kveil_envelopes[i]; i++)
		n++;
	return 2 * n; /* in two spellings, at most */
}

/* Would the clause about another kind's events lie where this one's rows do? Those refuse it themselves. */
static bool is_own_place(const struct kveil_plan *p, const char *place)
{
	for (const char *const *row = p->envelope->rows; *row; row++)
		if (strncmp(*row, place, strlen(place)) == 0)
			return true;
	return false;
}

/* The clauses of the kind, then those of the others about events of theirs; NULL = there is none. */
static const struct kveil_clause *clause_at(const struct kveil_plan *p, size_t i)
{
	size_t own = 0;

	while (p->envelope->clauses[own].place)
		own++;
	if (i < own)
		return &p->envelope->clauses[i];
	const struct kveil_envelope *other = kveil_envelopes[i - own];
	bool is_one = other != p->envelope && other->elsewhere && !is_own_place(p, other->elsewhere->place);

	return is_one ? other->elsewhere : NULL;
}

void kveil_loader_add_clauses(struct kveil_loader *l)
{
	struct kveil_plan *p = l->plan;
	size_t n = kveil_loader_count_clauses(l);

	for (size_t i = 0; i < n && !l->no_memory; i++) {
		const struct kveil_clause *c = clause_at(p, i / 2);
		const char *place = !c ? NULL : i % 2 ? spell_added(l, c->place) : c->place;
		struct kveil_rule *r = &p->rules[p->rule_count];
		if (!place || !is_wanted(l, c))
			continue;
		*r =
		    (struct kveil_rule){.line = l->envelope_line,
					.column = 1,
					.view = -1,
					.is_of_event = true,
					.if_sure = c->if_sure,
					.but_row = c->but_row || (c->kind == KVEIL_CLAUSE_MESSAGE && p->reads_messages),
					.only_kinds = c->kinds};
		if (!read_place(l, c, place, r) || !read_action(l, c, r)) {
			l->no_memory |= l->report->errors == 0;
			kveil_rule_clear(r);
			return;
		}
		snprintf(r->id, sizeof r->id, "%s/envelope:%s", l->stem, r->path_text);
		r->index = (uint32_t)p->rule_count++;
	}
}

/* --- the words --- */

static void read_prefix(struct kveil_loader *l, const struct kveil_yaml *at, const char *text)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";

	if (!text)
		return;
	if (!*text || strlen(text) > 64 || strspn(text, chars) != strlen(text)) {
		kveil_error_hint(problem(l, at, "added_prefix is 1 to 64 letters, digits, '_', '.' and '-'"),
				 "a flattening transform's fields without a prefix need rules of their own");
		return;
	}
	l->plan->added_prefix = kveil_plan_strdup(l->plan, text);
	l->no_memory |= !l->plan->added_prefix;
}

static void read_sql(struct kveil_loader *l, const struct kveil_yaml *at)
{
	bool is_word = at && at->kind == KVEIL_YAML_SCALAR;

	if (at && (is_word ? strcmp(at->text, "blank") != 0 && strcmp(at->text, "keep") != 0
			   : at->kind != KVEIL_YAML_MAP || at->count != 1)) {
		kveil_error_hint(problem(l, at, "sql is blank, keep or one action"), "sql: {encrypt: {key: sql}}");
		return;
	}
	l->envelope_sql = at;
}

static void read_key_column(struct kveil_loader *l, const struct kveil_yaml *at)
{
	struct kveil_place place;

	if (!at || !kveil_loader_read_place(l, at, &place))
		return;
	bool ok = place.part == KVEIL_PART_VALUE && place.path->count > 0 && kveil_path_is_fixed(place.path);
	for (size_t i = 0; ok && i < place.path->count; i++)
		ok = place.path->segments[i].selectors[0].kind == KVEIL_SEL_NAME;
	if (!ok) {
		kveil_error_hint(problem(l, at, "key names the one column that a bare key holds"),
				 "key: \"$.id_card\"");
		return;
	}
	l->plan->key_column = place.path;
	l->plan->key_column_text = place.text;
}

static void use_kind(struct kveil_loader *l, const struct kveil_yaml *at, const char *name)
{
	static const char *const known[] = {"none", "debezium", "connect", "canal", "maxwell", "ogg", "auto", NULL};
	const struct kveil_envelope *e = kveil_envelope_by_name(kveil_span_str(name));

	if (e) {
		l->plan->envelope = e;
		l->envelope_line = at->line;
		read_roots(l, e->rows, &l->plan->rows[KVEIL_ROWS_VALUE]);
		read_roots(l, e->events, &l->plan->rows[KVEIL_ROWS_EVENT]);
		read_roots(l, e->keys, &l->plan->rows[KVEIL_ROWS_KEY]);
		read_roots(l, e->images, &l->plan->rows[KVEIL_ROWS_IMAGE]);
		read_texts(l, e);
		read_roots(l, e->partials, &l->plan->rows[KVEIL_ROWS_PARTIAL]);
		read_clues(l, e->tables);
		l->plan->is_event = own_expr(l, e->is_event);
		if (e->may_fill)
			l->plan->may_fill = own_expr(l, e->may_fill);
		if (e->is_delete)
			l->plan->is_delete = own_expr(l, e->is_delete);
		read_controls(l, e->controls);
		return;
	}
	for (size_t i = 1; known[i]; i++)
		if (strcmp(known[i], name) == 0) {
			kveil_error_hint(problem(l, at, "envelope %s is not in this version", name),
					 "envelope: debezium, connect, canal, maxwell, ogg or none");
			return;
		}
	if (strcmp(name, "none") == 0)
		return;
	struct kveil_error *err = problem(l, at, "no envelope '%.60s'", name);
	kveil_options_suggest(err, name, known);
}

void kveil_loader_read_envelope(struct kveil_loader *l, const struct kveil_yaml *at)
{
	struct kveil_rule_envelope_options o = {0};

	if (!at)
		return;
	if (at->kind == KVEIL_YAML_SCALAR) {
		use_kind(l, at, at->text);
	} else if (at->kind != KVEIL_YAML_MAP) {
		kveil_error_hint(problem(l, at, "envelope is a name or a mapping"), "envelope: debezium");
		return;
	} else if (kveil_options_parse(kveil_rule_envelope_table, at, l->file, NULL, &o, l->report)) {
		read_prefix(l, kveil_yaml_get(at, "added_prefix"), o.added_prefix);
		l->plan->control = (enum kveil_control_word)o.control;
		l->plan->reads_messages = o.messages == 2;
		use_kind(l, kveil_yaml_get(at, "kind"), o.kind);
		read_sql(l, o.sql);
		read_key_column(l, kveil_yaml_get(at, "key"));
		l->keeps_messages = o.messages == 1;
	}
	const char *absent =
	    o.unavailable_value ? o.unavailable_value : (l->plan->envelope ? l->plan->envelope->unavailable : NULL);
	if (absent)
		read_absent(l, at, absent);
	if (absent && l->plan->envelope && !o.unavailable_value && l->plan->envelope->unavailable_uuid)
		add_absent(l, l->plan->envelope->unavailable_uuid, strlen(l->plan->envelope->unavailable_uuid));
	if (o.unavailable_value)
		l->plan->absent_text = kveil_plan_strdup(l->plan, o.unavailable_value);
	kveil_options_clear(kveil_rule_envelope_table, &o);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Options out of a table: read, checked, with the place of each mistake. */
#include "base/options.h"

#include "base/grapheme.h"
#include "base/options_text.h"
#include "base/secret.h"
#include "base/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct parser {
	const char *file;
	struct kveil_report *report;
	char env[192]; /* KVEIL_GROUP; empty = no environment */
};

/* Beside the value: a secret that others can read is none. */
static void warn_shared(struct parser *p, const struct kveil_yaml *y, const char *name, unsigned how)
{
	if (how & KVEIL_SUBSTITUTED_SHARED)
		kveil_error_hint(kveil_report_warn_at(p->report, p->file, y ? y->line : 0, y ? y->column : 0,
						      "'%s' comes from a file that every user of this host can read",
						      name),
				 "chmod o-r, or 0400");
}

static void complain(struct parser *p, const struct kveil_yaml *y, const struct kveil_error *err)
{
	struct kveil_error e = *err;

	if (e.status != KVEIL_E_NO_MEMORY)
		e.status = KVEIL_E_CONFIG;
	if (y)
		kveil_error_where(&e, p->file, y->line, y->column);
	kveil_report_add(p->report, &e);
}

/* --- one scalar --- */

static enum kveil_status in_range(const struct kveil_option *o, uint64_t n, struct kveil_error *err)
{
	char limit[KVEIL_OPTIONS_SPELLED];

	if (n < o->min)
		return kveil_fail(err, KVEIL_E_CONFIG, "'%s' must be at least %s", o->name,
				  kveil_options_spell(o->type, o->min, limit));
	if (o->max && n > o->max)
		return kveil_fail(err, KVEIL_E_CONFIG, "'%s' must be at most %s", o->name,
				  kveil_options_spell(o->type, o->max, limit));
	return KVEIL_OK;
}

static enum kveil_status named(const struct kveil_option *o, enum kveil_status s, struct kveil_error *err)
{
	if (s) {
		char message[sizeof err->message];
		snprintf(message, sizeof message, "%s", err->message);
		snprintf(err->message, sizeof err->message, "'%s': %.180s", o->name, message);
	}
	return s;
}

static enum kveil_status set_string(const struct kveil_option *o, const char *text, const char *file, bool from_file,
				    char **at, unsigned *how, struct kveil_error *err)
{
	enum kveil_status s = kveil_options_substitute(text, file, at, how, err);

	if (s)
		return named(o, s, err);
	if (o->secret && from_file && !*how) {
		s = kveil_fail(err, KVEIL_E_CONFIG, "'%s' is a secret and must not be written in the file", o->name);
		kveil_error_hint(err, "write: %s: \"${file:PATH}\" or \"${env:NAME}\"", o->name);
	} else if (o->secret && !**at)
		s = kveil_fail(err, KVEIL_E_CONFIG, "'%s' is an empty secret", o->name);
	return s;
}

static enum kveil_status copy(const char *text, char **at, struct kveil_error *err)
{
	*at = strdup(text);
	return *at ? KVEIL_OK : kveil_no_memory(err, NULL);
}

/* from_file: the text stands in the file (not in the environment or the table's default). */
static enum kveil_status set_scalar(const struct kveil_option *o, const char *text, const char *file, bool from_file,
				    void *at, unsigned *how, struct kveil_error *err)
{
	uint64_t n = 0;
	int64_t ms = 0;
	enum kveil_status s;

	switch (o->type) {
	case KVEIL_OPT_BOOL:
		if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
			kveil_fail(err, KVEIL_E_CONFIG, "'%s' must be true or false", o->name);
			return KVEIL_E_CONFIG;
		}
		*(bool *)at = text[0] == 't';
		return KVEIL_OK;
	case KVEIL_OPT_UINT:
		s = named(o, kveil_options_uint(text, &n, err), err);
		if (s || (s = in_range(o, n, err)))
			return s;
		*(uint64_t *)at = n;
		return KVEIL_OK;
	case KVEIL_OPT_INT:
		s = named(o, kveil_options_uint(*text == '-' ? text + 1 : text, &n, err), err);
		if (s)
			return s;
		if (n > INT64_MAX)
			return kveil_fail(err, KVEIL_E_CONFIG, "'%s' is too large", o->name);
		*(int64_t *)at = *text == '-' ? -(int64_t)n : (int64_t)n;
		return KVEIL_OK;
	case KVEIL_OPT_BYTES:
		s = named(o, kveil_options_bytes(text, &n, err), err);
		if (s || (s = in_range(o, n, err)))
			return s;
		*(uint64_t *)at = n;
		return KVEIL_OK;
	case KVEIL_OPT_DURATION:
		s = named(o, kveil_options_duration(text, &ms, err), err);
		if (s || (s = in_range(o, (uint64_t)ms, err)))
			return s;
		*(int64_t *)at = ms;
		return KVEIL_OK;
	case KVEIL_OPT_STRING:
		s = set_string(o, text, file, from_file, at, how, err);
		if (!s && o->required && !**(char **)at)
			return kveil_fail(err, KVEIL_E_CONFIG, "'%s' is empty", o->name);
		return s;
	case KVEIL_OPT_CHAR:
		if (kveil_grapheme_count((const uint8_t *)text, strlen(text)) != 1)
			return kveil_fail(err, KVEIL_E_CONFIG, "'%s' must be exactly one character", o->name);
		return copy(text, at, err);
	case KVEIL_OPT_ENUM:
		for (int i = 0; o->choices[i]; i++)
			if (strcmp(o->choices[i], text) == 0) {
				*(int *)at = i;
				return KVEIL_OK;
			}
		kveil_fail(err, KVEIL_E_CONFIG, "'%s' cannot be '%.60s'", o->name, text);
		kveil_options_suggest(err, text, o->choices);
		return KVEIL_E_CONFIG;
	case KVEIL_OPT_KEY:
		if (!*text)
			return kveil_fail(err, KVEIL_E_CONFIG, "'%s' must name a key", o->name);
		return copy(text, at, err);
	default:
		return kveil_fail(err, KVEIL_E_INTERNAL, "'%s' is not a scalar option", o->name);
	}
}

static bool is_number(enum kveil_option_type t)
{
	return t == KVEIL_OPT_UINT || t == KVEIL_OPT_INT || t == KVEIL_OPT_BOOL;
}

/* --- lists and maps --- */

static char **list_add(char **list, size_t count, char *item)
{
	char **grown = realloc(list, (count + 2) * sizeof *grown);

	if (grown) {
		grown[count] = item;
		grown[count + 1] = NULL;
	}
	return grown;
}

static void free_string(char *s)
{
	if (s)
		kveil_secret_wipe(s, strlen(s));
	free(s);
}

static enum kveil_status append_item(const struct kveil_option *o, char ***list, size_t *count, const char *text,
				     const char *file, unsigned *how, struct kveil_error *err)
{
	char *item = NULL;
	enum kveil_status s = kveil_options_substitute(text, file, &item, how, err);

	if (s)
		return named(o, s, err);
	char **grown = list_add(*list, *count, item);
	if (!grown) {
		free_string(item);
		return kveil_no_memory(err, NULL);
	}
	*list = grown;
	++*count;
	return KVEIL_OK;
}

/* "a,b" from a default or the environment. */
static enum kveil_status set_list_text(const struct kveil_option *o, const char *text, char ***list,
				       struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf item = KVEIL_BUF_INIT;
	size_t count = 0;
	unsigned how;

	while (*text) {
		size_t n = strcspn(text, ",");
		kveil_buf_reset(&item);
		kveil_buf_append(&item, text, n);
		const char *c = kveil_buf_cstr(&item);
		if (!c)
			return kveil_no_memory(err, NULL);
		enum kveil_status s = append_item(o, list, &count, c, NULL, &how, err);
		if (s)
			return s;
		text += n + (text[n] == ',');
	}
	if (count < o->min || (o->max && count > o->max))
		return kveil_fail(err, KVEIL_E_CONFIG, "'%s' must have at %s %llu items, with commas between", o->name,
				  count < o->min ? "least" : "most",
				  (unsigned long long)(count < o->min ? o->min : o->max));
	return KVEIL_OK;
}

static void set_list(struct parser *p, const struct kveil_option *o, const struct kveil_yaml *y, char ***list)
{
	size_t count = 0;
	unsigned how;
	struct kveil_error err;

	for (size_t i = 0; i < (y->kind == KVEIL_YAML_LIST ? y->count : 1); i++) {
		const struct kveil_yaml *item = y->kind == KVEIL_YAML_LIST ? y->items[i] : y;
		if (item->kind != KVEIL_YAML_SCALAR || kveil_yaml_is_null(item)) {
			kveil_report_at(p->report, p->file, item->line, item->column,
					"'%s' must be text or a list of texts", o->name);
			continue;
		}
		if (append_item(o, list, &count, item->text, p->file, &how, &err))
			complain(p, item, &err);
		else
			warn_shared(p, item, o->name, how);
	}
	if (count < o->min || (o->max && count > o->max))
		kveil_report_at(p->report, p->file, y->line, y->column, "'%s' must have %s %llu items", o->name,
				count < o->min ? "at least" : "at most",
				(unsigned long long)(count < o->min ? o->min : o->max));
}

static void set_map(struct parser *p, const struct kveil_option *o, const struct kveil_yaml *y,
		    struct kveil_string_map *map)
{
	struct kveil_error err;

	if (y->kind != KVEIL_YAML_MAP) {
		kveil_report_at(p->report, p->file, y->line, y->column, "'%s' must be a mapping of names to texts",
				o->name);
		return;
	}
	map->names = calloc(y->count + 1, sizeof *map->names);
	map->values = calloc(y->count + 1, sizeof *map->values);
	map->lines = calloc(y->count + 1, sizeof *map->lines);
	map->from_text = calloc(y->count + 1, sizeof *map->from_text);
	if (!map->names || !map->values || !map->lines || !map->from_text) {
		kveil_no_memory(&err, NULL);
		complain(p, y, &err);
		return;
	}
	for (size_t i = 0; i < y->count; i++) {
		const struct kveil_yaml *v = y->items[i];
		unsigned how;
		if (v->kind != KVEIL_YAML_SCALAR || kveil_yaml_is_null(v)) {
			kveil_report_at(p->report, p->file, v->line, v->column, "'%s' in '%s' must be text",
					y->keys[i]->text, o->name);
			continue;
		}
		size_t at = map->count;
		if (copy(y->keys[i]->text, &map->names[at], &err) ||
		    kveil_options_substitute(v->text, p->file, &map->values[at], &how, &err)) {
			free(map->names[at]);
			map->names[at] = NULL;
			complain(p, v, &err);
			continue;
		}
		map->lines[at] = y->keys[i]->line;
		map->from_text[at] = !how;
		warn_shared(p, v, map->names[at], how);
		map->count++;
	}
}

/* --- the table --- */

static size_t option_bytes(enum kveil_option_type t)
{
	switch (t) {
	case KVEIL_OPT_BOOL:
		return sizeof(bool);
	case KVEIL_OPT_UINT:
	case KVEIL_OPT_BYTES:
		return sizeof(uint64_t);
	case KVEIL_OPT_INT:
	case KVEIL_OPT_DURATION:
		return sizeof(int64_t);
	case KVEIL_OPT_ENUM:
		return sizeof(int);
	case KVEIL_OPT_STRING_MAP:
		return sizeof(struct kveil_string_map);
	case KVEIL_OPT_GROUP:
		return 0;
	default:
		return sizeof(void *);
	}
}

/* Every owned pointer is NULL before anything is read, so that clear works after any failure. */
static void zero(const struct kveil_option *table, char *target)
{
	for (const struct kveil_option *o = table; o->name; o++) {
		if (o->type == KVEIL_OPT_GROUP)
			zero(o->sub, target + o->offset);
		else
			memset(target + o->offset, 0, option_bytes(o->type));
		if (o->source)
			*(char **)(target + o->source) = NULL;
	}
}

static void set_from_yaml(struct parser *p, const struct kveil_option *o, const struct kveil_yaml *y, void *at)
{
	struct kveil_error err;

	if (o->type == KVEIL_OPT_CUSTOM) {
		*(const struct kveil_yaml **)at = y;
		return;
	}
	if (kveil_yaml_is_null(y)) {
		if (o->type == KVEIL_OPT_STRING_MAP)
			return;
		struct kveil_error *e =
		    kveil_report_at(p->report, p->file, y->line, y->column, "'%s' has no value", o->name);
		kveil_error_hint(e,
				 o->type == KVEIL_OPT_STRING ? "an empty text is written \"\"" : "leave the line out");
		return;
	}
	if (o->type == KVEIL_OPT_LIST) {
		set_list(p, o, y, at);
		return;
	}
	if (o->type == KVEIL_OPT_STRING_MAP) {
		set_map(p, o, y, at);
		return;
	}
	if (y->kind != KVEIL_YAML_SCALAR) {
		struct kveil_error *e =
		    kveil_report_at(p->report, p->file, y->line, y->column, "'%s' must be a single value, not a %s",
				    o->name, y->kind == KVEIL_YAML_MAP ? "mapping" : "list");
		if (!is_number(o->type))
			kveil_error_hint(e, "a text that begins with '%c' needs quotes",
					 y->kind == KVEIL_YAML_MAP ? '{' : '[');
		return;
	}
	if (y->quoted && is_number(o->type)) {
		kveil_error_hint(kveil_report_at(p->report, p->file, y->line, y->column, "'%s' must be %s, not text",
						 o->name, o->type == KVEIL_OPT_BOOL ? "true or false" : "a number"),
				 "leave the quotes out");
		return;
	}
	unsigned how = 0;
	char **source = o->source && strstr(y->text, "${file:") ? (char **)((char *)at - o->offset + o->source) : NULL;
	if (set_scalar(o, y->text, p->file, true, at, &how, &err) || (source && copy(y->text, source, &err)))
		complain(p, y, &err);
	else
		warn_shared(p, y, o->name, how);
}

/* "KVEIL_HTTP_LISTEN"; false: it has none. */
static bool variable_name(const char *prefix, const struct kveil_option *o, char *name, size_t size)
{
	if (!prefix[0] || o->type == KVEIL_OPT_CUSTOM || o->type == KVEIL_OPT_STRING_MAP || o->type == KVEIL_OPT_GROUP)
		return false;
	size_t n = (size_t)snprintf(name, size, "%s_%s", prefix, o->name);
	for (size_t i = 0; i < n && i < size; i++)
		if (name[i] >= 'a' && name[i] <= 'z')
			name[i] = (char)(name[i] - 'a' + 'A');
	return n < size;
}

static const char *environment(const struct parser *p, const struct kveil_option *o, char *name, size_t size)
{
	return variable_name(p->env, o, name, size) ? getenv(name) : NULL;
}

/* Its name, or the nearest to it in *ret_near ("" = none). */
static bool is_variable(const struct kveil_option *table, const char *prefix, const char *variable, char *ret_near)
{
	char name[256];

	for (const struct kveil_option *o = table; o->name; o++) {
		if (o->type == KVEIL_OPT_GROUP) {
			snprintf(name, sizeof name, "%s_%s", prefix, o->name);
			if (is_variable(o->sub, name, variable, ret_near))
				return true;
		} else if (variable_name(prefix, o, name, sizeof name)) {
			const char *const candidate[] = {name + strlen("KVEIL_"), NULL};
			if (strcmp(name, variable) == 0)
				return true;
			if (kveil_text_nearest(variable + strlen("KVEIL_"), candidate))
				snprintf(ret_near, sizeof name, "%s", name);
		}
	}
	return false;
}

void kveil_options_check_environment(const struct kveil_option *const *tables, const char *const *prefixes,
				     struct kveil_report *report)
{
	for (char **e = environ; *e; e++) {
		char variable[128], near[256] = "";
		size_t n = strcspn(*e, "=");
		bool known = false;
		if (n >= sizeof variable || strncmp(*e, "KVEIL_", 6) != 0)
			continue;
		snprintf(variable, sizeof variable, "%.*s", (int)n, *e);
		for (size_t i = 0; tables[i] && !known; i++)
			known = is_variable(tables[i], prefixes[i], variable, near);
		if (!known && near[0])
			kveil_error_hint(kveil_report_warn_at(report, variable, 0, 0, "no option has this variable"),
					 "did you mean %s?", near);
	}
}

static void set_from_text(struct parser *p, const struct kveil_option *o, const char *text, const char *variable,
			  void *at)
{
	unsigned how = 0;
	struct kveil_error err;
	enum kveil_status s = o->type == KVEIL_OPT_LIST ? set_list_text(o, text, at, &err)
							: set_scalar(o, text, NULL, false, at, &how, &err);

	if (!s)
		return;
	if (variable)
		kveil_error_where(&err, variable, 0, 0);
	else /* a default that does not parse is our mistake */
		err.status = KVEIL_E_INTERNAL;
	complain(p, NULL, &err);
}

static void expect_map(struct parser *p, const struct kveil_yaml *y)
{
	struct kveil_error *e = kveil_report_at(p->report, p->file, y->line, y->column, "a mapping is expected here");
	const char *colon = y->kind == KVEIL_YAML_SCALAR ? strchr(y->text, ':') : NULL;

	if (colon && colon > y->text && colon[1])
		kveil_error_hint(e, "a space goes behind the colon: %.*s: …", (int)(colon - y->text), y->text);
	else
		kveil_error_hint(e, "name: value, each on its own line, or {name: value}");
}

static void check_unknown(struct parser *p, const struct kveil_option *table, const struct kveil_yaml *map)
{
	const char *names[64];
	size_t count = 0;

	for (const struct kveil_option *o = table; o->name && count + 1 < sizeof names / sizeof *names; o++)
		if (!o->help || strcmp(o->help, KVEIL_OPTION_LATER) != 0)
			names[count++] = o->name;
	names[count] = NULL;
	for (size_t i = 0; i < map->count; i++) {
		const struct kveil_option *o = table;
		while (o->name && strcmp(o->name, map->keys[i]->text) != 0)
			o++;
		if (!o->name)
			kveil_options_suggest(kveil_report_at(p->report, p->file, map->keys[i]->line,
							      map->keys[i]->column, "unknown option '%.80s'",
							      map->keys[i]->text),
					      map->keys[i]->text, names);
	}
}

static void parse_table(struct parser *p, const struct kveil_option *table, const struct kveil_yaml *map, char *target)
{
	if (map && kveil_yaml_is_null(map))
		map = NULL;
	if (map && map->kind != KVEIL_YAML_MAP) {
		expect_map(p, map);
		return;
	}
	if (map)
		check_unknown(p, table, map);
	for (const struct kveil_option *o = table; o->name; o++) {
		const struct kveil_yaml *y = map ? kveil_yaml_get(map, o->name) : NULL;
		void *at = target + o->offset;
		char variable[256];
		if (o->type == KVEIL_OPT_GROUP) {
			size_t n = strlen(p->env);
			if (n)
				snprintf(p->env + n, sizeof p->env - n, "_%s", o->name);
			parse_table(p, o->sub, y, at);
			p->env[n] = 0;
			continue;
		}
		const char *override = environment(p, o, variable, sizeof variable);
		if (override)
			set_from_text(p, o, override, variable, at);
		else if (y)
			set_from_yaml(p, o, y, at);
		else if (o->required)
			kveil_report_at(p->report, p->file, map ? map->line : 0, map ? map->column : 0,
					"'%s' is missing", o->name);
		else if (o->def)
			set_from_text(p, o, o->def, NULL, at);
	}
}

bool kveil_options_parse(const struct kveil_option *table, const struct kveil_yaml *map, const char *file,
			 const char *env_prefix, void *target, struct kveil_report *report)
{
	struct parser p = {.file = file, .report = report};
	size_t errors = report->errors;

	snprintf(p.env, sizeof p.env, "%s", env_prefix ? env_prefix : "");
	zero(table, target);
	parse_table(&p, table, map, target);
	return report->errors == errors;
}

void kveil_string_map_clear(struct kveil_string_map *map)
{
	for (size_t i = 0; i < map->count; i++) {
		free(map->names[i]);
		free_string(map->values[i]);
	}
	free(map->names);
	free(map->values);
	free(map->lines);
	free(map->from_text);
	*map = (struct kveil_string_map){0};
}

void kveil_options_clear(const struct kveil_option *table, void *target)
{
	for (const struct kveil_option *o = table; o->name; o++) {
		void *at = (char *)target + o->offset;
		if (o->source)
			free(*(char **)((char *)target + o->source));
		if (o->type == KVEIL_OPT_GROUP)
			kveil_options_clear(o->sub, at);
		else if (o->type == KVEIL_OPT_STRING || o->type == KVEIL_OPT_CHAR || o->type == KVEIL_OPT_KEY)
			free_string(*(char **)at);
		else if (o->type == KVEIL_OPT_LIST) {
			char **list = *(char ***)at;
			for (size_t i = 0; list && list[i]; i++)
				free_string(list[i]);
			free(list);
		} else if (o->type == KVEIL_OPT_STRING_MAP) {
			kveil_string_map_clear(at);
		}
	}
	zero(table, target);
}

bool kveil_options_given(const struct kveil_yaml *map, const char *name)
{
	return kveil_yaml_get(map, name) != NULL;
}

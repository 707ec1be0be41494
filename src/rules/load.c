/* SPDX-License-Identifier: Apache-2.0 */
/* rules/load.c: a rule file, from YAML to a plan. */
#include "rules/loader.h"

#include "base/text.h"
#include "format/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

/* Letters, digits, '.', '_' and '-': a name stands in associated data, in metrics' labels and in commands. */
static bool check_name(struct kveil_loader *l, const struct kveil_yaml *node, const char *what)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strlen(node->text);

	if (n && n <= 64 && strspn(node->text, chars) == n)
		return true;
	kveil_error_hint(problem(l, node, "not a name for %s", what), "1 to 64 letters, digits, '.', '_' and '-'");
	return false;
}

static char *dup(struct kveil_loader *l, const char *s)
{
	char *copy = s ? kveil_plan_strdup(l->plan, s) : NULL;

	l->no_memory |= s && !copy;
	return copy;
}

static void *alloc(struct kveil_loader *l, size_t count, size_t size)
{
	void *p = kveil_plan_alloc(l->plan, count * size); /* counts are bounded by the file's size */

	l->no_memory |= !p;
	return p;
}

static void read_topics(struct kveil_loader *l, const struct kveil_yaml *root, char **topics)
{
	const struct kveil_yaml *at = kveil_yaml_get(root, "topics");
	struct kveil_error err;
	size_t n = 0;

	while (topics && topics[n])
		n++;
	l->plan->topics = alloc(l, n + 1, sizeof *l->plan->topics);
	l->plan->topic_regexes = alloc(l, n + 1, sizeof *l->plan->topic_regexes);
	if (!l->plan->topics || !l->plan->topic_regexes || !at)
		return;
	for (size_t i = 0; i < n; i++) {
		const struct kveil_yaml *item = at->kind == KVEIL_YAML_LIST && i < at->count ? at->items[i] : at;
		l->plan->topics[i] = dup(l, topics[i]);
		if (!l->plan->topics[i])
			return;
		if (topics[i][0] == '^') {
			l->plan->topic_regexes[i] = kveil_topic_regex_new(topics[i], &err);
			if (!l->plan->topic_regexes[i])
				kveil_loader_add(l, item, 0, &err);
		} else {
			kveil_topic_check(l, item, topics[i], false);
		}
		for (size_t k = 0; k < i; k++)
			if (strcmp(topics[i], topics[k]) == 0)
				problem(l, item, "this topic is in the list twice");
	}
}

static void read_format(struct kveil_loader *l, enum kveil_part part, const struct kveil_yaml *at, const char *name)
{
	static const char *const known[] = {"json", "jsonl", "avro", "csv", "text", "bytes", NULL};
	static const char *const part_names[] = {"value", "key", "header"};
	const struct kveil_format *f = kveil_format_by_name(kveil_span_str(name));

	if (f && f->parts & 1u << part) {
		l->plan->formats[part] = f;
		return;
	}
	for (size_t i = 0; known[i]; i++)
		if (strcmp(known[i], name) == 0) {
			kveil_error_hint(
			    problem(l, at, "format %s for the %s is not in this version", name, part_names[part]),
			    part == KVEIL_PART_VALUE ? "the value's format is json, jsonl, avro, text or bytes"
						     : "the key's format is text, json or avro");
			return;
		}
	struct kveil_error *e = problem(l, at, "no format '%.60s'", name);
	const char *near = kveil_text_nearest(name, known);
	if (near)
		kveil_error_hint(e, "did you mean '%s'?", near);
}

/* An event's key is written as its value is. */
static const struct kveil_format *default_key_format(const struct kveil_loader *l)
{
	return l->plan->envelope ? l->plan->formats[KVEIL_PART_VALUE] : kveil_format_by_name(KVEIL_SPAN("text"));
}

static void read_formats(struct kveil_loader *l, const struct kveil_yaml *at)
{
	struct kveil_rule_format_options o = {0};
	const struct kveil_yaml *value = at, *key = at;

	l->plan->formats[KVEIL_PART_HEADER] = kveil_format_by_name(KVEIL_SPAN("text"));
	if (at && at->kind == KVEIL_YAML_SCALAR) {
		read_format(l, KVEIL_PART_VALUE, at, at->text);
		l->plan->formats[KVEIL_PART_KEY] = default_key_format(l);
		return;
	}
	if (at && at->kind != KVEIL_YAML_MAP) {
		kveil_error_hint(problem(l, at, "format is a name or a mapping"), "{value: json, key: text}");
		return;
	}
	if (kveil_options_parse(kveil_rule_format_table, at, l->file, NULL, &o, l->report)) {
		if (at) {
			value = kveil_yaml_get(at, "value");
			key = kveil_yaml_get(at, "key");
		}
		read_format(l, KVEIL_PART_VALUE, value ? value : at, o.value);
		l->plan->formats[KVEIL_PART_KEY] = default_key_format(l);
		if (key)
			read_format(l, KVEIL_PART_KEY, key, o.key);
	}
	kveil_options_clear(kveil_rule_format_table, &o);
}

/* --- views --- */

/* One view's share of the file while it is being read. */
struct view_source {
	const struct kveil_yaml *node, *topic, *fields, *clear;
	struct kveil_place *clear_places;
	size_t clear_count;
};

static void read_clear(struct kveil_loader *l, struct view_source *s)
{
	const struct kveil_yaml *list = s->clear;

	if (!list)
		return;
	if (list->kind != KVEIL_YAML_LIST) {
		kveil_error_hint(problem(l, list, "clear is a list of paths"), "clear: [\"$.amount\"]");
		return;
	}
	s->clear_places = alloc(l, list->count ? list->count : 1, sizeof *s->clear_places);
	for (size_t i = 0; s->clear_places && i < list->count; i++) {
		if (list->items[i]->kind == KVEIL_YAML_MAP)
			problem(l, list->items[i], "clear is a list of paths");
		else if (kveil_loader_read_place(l, list->items[i], &s->clear_places[s->clear_count]))
			s->clear_count++;
	}
}

static void join_clear(struct kveil_loader *l, struct kveil_view *v, const struct view_source *file,
		       const struct view_source *own)
{
	const struct view_source *sources[2] = {file, own};
	size_t n = file->clear_count + (own ? own->clear_count : 0);

	v->clear = alloc(l, n + 1, sizeof *v->clear);
	v->clear_places = alloc(l, n + 1, sizeof *v->clear_places);
	if (!v->clear || !v->clear_places)
		return;
	for (size_t s = 0; s < 2 && sources[s]; s++)
		for (size_t i = 0; i < sources[s]->clear_count; i++) {
			struct kveil_place *p = &sources[s]->clear_places[i];
			v->clear_places[v->clear_place_count++] = p;
			if (p->part == KVEIL_PART_VALUE)
				v->clear[v->clear_count++] = p->path;
		}
}

/* May two outputs be one topic? With a regex among the inputs {topic} stands for any name; alone it is an error of its
 * own. */
static bool meet(const struct kveil_plan *p, const char *a, const char *b)
{
	if (strcmp(a, "{topic}") == 0 || strcmp(b, "{topic}") == 0)
		return false;
	for (size_t i = 0; p->topics && p->topics[i]; i++) {
		bool any_name = p->topics[i][0] == '^';
		if (kveil_plan_same_output(a, b, p->topics[i]) ||
		    (any_name && !strstr(b, "{topic}") && kveil_plan_topic_fits(a, b)) ||
		    (any_name && !strstr(a, "{topic}") && kveil_plan_topic_fits(b, a)))
			return true;
	}
	return false;
}

static void read_output_topic(struct kveil_loader *l, const struct kveil_yaml *at, const char *text,
			      struct kveil_view *v)
{
	bool is_constant = !strstr(text, "{topic}");

	if (kveil_topic_check(l, at, text, true))
		for (size_t i = 0; l->plan->topics[i]; i++) {
			/* What a regex takes is known at run time only: there an output's name is never consumed. */
			if (l->plan->topics[i][0] == '^' && !is_constant && strcmp(text, "{topic}") != 0)
				continue;
			KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;
			kveil_plan_expand_topic(text, l->plan->topics[i], &name);
			const char *output = kveil_buf_cstr(&name);
			if (!output) {
				l->no_memory = true;
			} else if (strcmp(text, "{topic}") == 0 || kveil_plan_takes_topic(l->plan, output)) {
				kveil_error_hint(problem(l, at, "this output is one of the file's own inputs"),
						 "such as \"{topic}.secure\"");
				break;
			}
		}
	v->topic = dup(l, text);
}

static void read_view(struct kveil_loader *l, const struct kveil_yaml *node, size_t index, int file_unmatched,
		      struct view_source *s)
{
	struct kveil_rule_view_options o = {0};
	struct kveil_view *v = &l->plan->views[index];
	const struct kveil_yaml *at;

	v->unmatched = (enum kveil_unmatched)file_unmatched;
	v->name = (char *)"";
	s->node = node;
	if (node->kind != KVEIL_YAML_MAP) {
		kveil_error_hint(problem(l, node, "an output is a mapping"),
				 "- {name: analytics, topic: \"{topic}.analytics\", fields: […]}");
		return;
	}
	kveil_options_parse(kveil_rule_view_table, node, l->file, NULL, &o, l->report);
	if (o.name && (at = kveil_yaml_get(node, "name"))) {
		bool ok = check_name(l, at, "an output");
		for (size_t i = 0; ok && i < index; i++)
			if (strcmp(l->plan->views[i].name, o.name) == 0)
				problem(l, at, "a second output with this name");
		v->name = dup(l, o.name);
	}
	if (o.topic) {
		s->topic = kveil_yaml_get(node, "topic");
		for (size_t i = 0; i < index; i++)
			if (l->plan->views[i].topic && meet(l->plan, l->plan->views[i].topic, o.topic))
				problem(l, s->topic ? s->topic : node, "a second output to this topic");
		read_output_topic(l, s->topic, o.topic, v);
	}
	if (kveil_options_given(node, "unmatched"))
		v->unmatched = (enum kveil_unmatched)o.unmatched;
	s->fields = o.fields;
	s->clear = o.clear;
	read_clear(l, s);
	kveil_options_clear(kveil_rule_view_table, &o);
	if (!v->name)
		v->name = (char *)"";
}

static size_t count_fields(struct kveil_loader *l, const struct kveil_yaml *fields)
{
	if (!fields || kveil_yaml_is_null(fields))
		return 0;
	if (fields->kind == KVEIL_YAML_LIST)
		return fields->count;
	kveil_error_hint(problem(l, fields, "fields is a list of rules"),
			 "- {path: \"$.phone\", mask: {keep_last: 4}}");
	return 0;
}

static bool is_taken(const struct kveil_plan *p, const struct kveil_rule *r)
{
	for (size_t i = 0; i < r->index; i++)
		if (strcmp(p->rules[i].id, r->id) == 0)
			return true;
	return false;
}

static void make_unique(const struct kveil_plan *p, struct kveil_rule *r)
{
	size_t len = strlen(r->id), twins = 1; /* the first of them has no number */

	for (size_t i = 0; i < r->index; i++)
		twins += strncmp(p->rules[i].id, r->id, len) == 0 &&
			 (p->rules[i].id[len] == 0 || p->rules[i].id[len] == '#');
	while (is_taken(p, r))
		snprintf(r->id + len, sizeof r->id - len, "#%zu", twins++);
}

/* Rules that failed to read are left out of the checks that follow, so one mistake is one message. */
static void read_fields(struct kveil_loader *l, const struct kveil_yaml *fields, int view)
{
	struct kveil_plan *p = l->plan;

	for (size_t i = 0; fields && fields->kind == KVEIL_YAML_LIST && i < fields->count; i++) {
		struct kveil_rule *r = &p->rules[p->rule_count];
		*r = (struct kveil_rule){0};
		if (!kveil_loader_read_rule(l, fields->items[i], view, r)) {
			kveil_rule_clear(r);
			continue;
		}
		r->index = (uint32_t)p->rule_count++;
		make_unique(p, r);
	}
}

static void join_rules(struct kveil_loader *l, struct kveil_view *v, int index)
{
	struct kveil_plan *p = l->plan;

	v->rules = alloc(l, p->rule_count + 1, sizeof(struct kveil_rule *));
	for (size_t i = 0; v->rules && i < p->rule_count; i++)
		if (p->rules[i].view < 0 || p->rules[i].view == index)
			v->rules[v->rule_count++] = &p->rules[i];
}

static void read_views(struct kveil_loader *l, const struct kveil_yaml *root, const struct kveil_rule_file_options *o)
{
	struct kveil_plan *p = l->plan;
	const struct kveil_yaml *outputs = o->outputs;
	struct view_source file = {.clear = o->clear}, own[KVEIL_MOST_VIEWS] = {{0}};

	if (outputs && (outputs->kind != KVEIL_YAML_LIST || outputs->count == 0)) {
		kveil_error_hint(problem(l, outputs, "outputs is a list of views"),
				 "- {name: analytics, topic: \"{topic}.analytics\", fields: […]}");
		return;
	}
	if (outputs && outputs->count > KVEIL_MOST_VIEWS) {
		problem(l, outputs, "more than %d outputs", KVEIL_MOST_VIEWS);
		return;
	}
	if (outputs && kveil_options_given(root, "output"))
		problem(l, kveil_yaml_get(root, "output"), "output and outputs: a file has one of them");

	p->views = alloc(l, outputs ? outputs->count : 1, sizeof *p->views);
	if (!p->views)
		return;
	read_clear(l, &file);
	size_t fields = count_fields(l, o->fields);
	for (size_t i = 0; outputs && i < outputs->count; i++) {
		p->view_count++;
		read_view(l, outputs->items[i], i, o->unmatched, &own[i]);
		fields += count_fields(l, own[i].fields);
	}
	if (!outputs) {
		p->view_count = 1;
		p->views[0].name = (char *)"";
		p->views[0].unmatched = (enum kveil_unmatched)o->unmatched;
		const struct kveil_yaml *at = kveil_yaml_get(root, "output");
		if (o->output)
			read_output_topic(l, at ? at : root, o->output, &p->views[0]);
	}
	if (fields > KVEIL_MOST_RULES) {
		problem(l, root, "more than %d rules", KVEIL_MOST_RULES);
		return;
	}
	p->rules = alloc(l, fields + kveil_loader_count_clauses(l) + 1, sizeof *p->rules);
	if (!p->rules)
		return;
	read_fields(l, o->fields, -1);
	for (size_t i = 0; outputs && i < outputs->count; i++)
		read_fields(l, own[i].fields, (int)i);
	p->own_rule_count = p->rule_count;
	kveil_loader_add_clauses(l);
	for (size_t i = 0; i < p->view_count; i++) {
		if (fields == 0 && p->views[i].unmatched == KVEIL_UNMATCHED_KEEP) {
			kveil_error_hint(problem(l, root, "there are no rules: everything would pass in clear"),
					 "write them under fields");
			fields = 1; /* said once */
		}
		join_rules(l, &p->views[i], (int)i);
		join_clear(l, &p->views[i], &file, outputs ? &own[i] : NULL);
	}
}

/* --- headers that the file adds --- */

/* Not one that kveil writes itself, nor one that names a schema. */
static bool is_addable(const char *name)
{
	static const char own[] = "kveil.";
	size_t n = strlen(name);

	return n && n <= 255 && strncmp(name, own, sizeof own - 1) != 0 && strcmp(name, "__value_schema_id") != 0 &&
	       strcmp(name, "__key_schema_id") != 0;
}

static void read_headers(struct kveil_loader *l, const struct kveil_yaml *root, const struct kveil_string_map *map)
{
	const struct kveil_yaml *at = kveil_yaml_get(root, "headers");
	struct kveil_plan *p = l->plan;

	p->added_headers = alloc(l, map->count + 1, sizeof *p->added_headers);
	for (size_t i = 0; p->added_headers && i < map->count; i++) {
		if (!is_addable(map->names[i]))
			kveil_error_hint(problem(l, at, "'%.60s' is not a name for a header here", map->names[i]),
					 "1 to 255 bytes, without kveil. in front, and none of a schema's id");
		p->added_headers[p->added_header_count++] =
		    (struct kveil_added_header){dup(l, map->names[i]), dup(l, map->values[i])};
	}
}

/* --- the file --- */

static void make_stem(struct kveil_loader *l, const char *name)
{
	const char *base = strrchr(l->file, '/');

	if (name) {
		snprintf(l->stem, sizeof l->stem, "%s", name);
		return;
	}
	snprintf(l->stem, sizeof l->stem, "%s", base ? base + 1 : l->file);
	char *dot = strrchr(l->stem, '.');
	if (dot && dot != l->stem && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0))
		*dot = 0;
}

static void read_file(struct kveil_loader *l, const struct kveil_yaml *root)
{
	struct kveil_rule_file_options o = {0};
	struct kveil_plan *p = l->plan;
	const struct kveil_yaml *at;

	if (root->kind != KVEIL_YAML_MAP) {
		problem(l, root, "a rule file is a mapping of name, topics, output, fields and more");
		return;
	}
	size_t before = l->report->errors;
	kveil_options_parse(kveil_rule_file_table, root, l->file, NULL, &o, l->report);
	if (o.name && (at = kveil_yaml_get(root, "name")) && check_name(l, at, "a data set"))
		p->name = dup(l, o.name);
	p->on_error = (enum kveil_on_error)o.on_error;
	if (p->on_error == KVEIL_ON_ERROR_DROP && (at = kveil_yaml_get(root, "on_error"))) {
		struct kveil_error *w =
		    kveil_report_warn_at(l->report, l->file, at->line, at->column,
					 "on_error: drop loses every record that cannot be protected");
		kveil_error_hint(w, "dead-letter keeps them, sealed");
	}
	p->schema.is_registered = o.schema_register;
	p->schema.normalize = o.schema_normalize;
	kveil_plan_set_tag_property(p, dup(l, o.schema_tag_property ? o.schema_tag_property : ""));
	p->schema.context = dup(l, o.schema_context ? o.schema_context : "");
	p->has_lineage = o.lineage;
	read_headers(l, root, &o.headers);
	make_stem(l, p->name);
	read_topics(l, root, o.topics);
	kveil_loader_read_envelope(l, o.envelope);
	read_formats(l, o.format);
	if (!l->no_memory)
		read_views(l, root, &o);
	if (!l->no_memory)
		kveil_loader_check_typed(l, root);
	if (!l->no_memory && p->view_count)
		kveil_loader_check(l, l->report->errors == before);
	kveil_options_clear(kveil_rule_file_table, &o);
}

/* Do its topics and outputs stand, whatever else is wrong? */
static bool is_addressed(const struct kveil_plan *p)
{
	bool yes = p->topics && p->topic_regexes && p->view_count;

	for (size_t i = 0; yes && i < p->view_count; i++)
		yes = p->views[i].topic != NULL;
	return yes;
}

static struct kveil_plan *compile(const struct kveil_yaml *root, const char *file, struct kveil_keystore *keys,
				  bool also_broken, struct kveil_report *report)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_loader l = {.plan = kveil_plan_new(), .file = file, .keys = keys, .report = report};
	size_t before = report->errors;

	if (!l.plan || !kveil_loader_make_rule_table(&l))
		l.no_memory = true;
	else {
		kveil_rules_write_flow(root, &text);
		const char *line = kveil_buf_cstr(&text);
		l.no_memory |= !line;
		l.plan->text = dup(&l, line);
		l.plan->file = dup(&l, file);
		read_file(&l, root);
	}
	kveil_loader_free_rule_table(&l);
	if (l.no_memory)
		kveil_report_no_memory(report, file);
	if (report->errors == before || (also_broken && !l.no_memory && is_addressed(l.plan)))
		return l.plan;
	kveil_plan_unref(l.plan);
	return NULL;
}

struct kveil_plan *kveil_plan_compile(const struct kveil_yaml *root, const char *file, struct kveil_keystore *keys,
				      struct kveil_report *report)
{
	return compile(root, file, keys, false, report);
}

struct kveil_plan *kveil_plan_parse(struct kveil_span text, const char *file, struct kveil_keystore *keys,
				    struct kveil_report *report)
{
	struct kveil_yaml *root = kveil_yaml_parse(text, file, report);
	struct kveil_plan *p = root ? compile(root, file, keys, false, report) : NULL;

	kveil_yaml_free(root);
	return p;
}

static struct kveil_plan *load(const char *path, struct kveil_keystore *keys, bool also_broken,
			       struct kveil_report *report)
{
	struct kveil_yaml *root = kveil_yaml_load(path, report);
	struct kveil_plan *p = root ? compile(root, path, keys, also_broken, report) : NULL;

	kveil_yaml_free(root);
	return p;
}

struct kveil_plan *kveil_plan_load(const char *path, struct kveil_keystore *keys, struct kveil_report *report)
{
	return load(path, keys, false, report);
}

struct kveil_plan *kveil_plan_read(const char *path, struct kveil_keystore *keys, struct kveil_report *report)
{
	return load(path, keys, true, report);
}

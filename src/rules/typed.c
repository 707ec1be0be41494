/* SPDX-License-Identifier: Apache-2.0 */
/* Formats other than JSON: what this version cannot do with them is refused here, line by line. */
#include "rules/loader.h"
#include "rules/tags.h"

#include "format/envelope.h"
#include "format/format.h"

static struct kveil_error *problem(struct kveil_loader *l, const struct kveil_rule *r, const char *what)
{
	return kveil_report_at(l->report, l->file, r->line, r->column, "format %s: %s is not in this version",
			       l->plan->formats[KVEIL_PART_VALUE]->name, what);
}

/* Of which record a value is its schema says, and nothing else does. */
static void check_record(struct kveil_loader *l, const struct kveil_rule *r, bool is_typed)
{
	struct kveil_error *e = NULL;

	if (!r->record)
		return;
	if (!is_typed || r->part != KVEIL_PART_VALUE)
		e = kveil_report_at(l->report, l->file, r->line, r->column, "`record` is for values in avro");
	else if (l->plan->envelope)
		e = kveil_report_at(l->report, l->file, r->line, r->column,
				    "`record` under an envelope is not in this version");
	else if (r->required)
		e = problem(l, r, "`required` with `record`");
	if (e && l->plan->envelope)
		kveil_error_hint(e, "table: users tells rows of one table from others");
}

static void check_rule(struct kveil_loader *l, const struct kveil_rule *r)
{
	const struct kveil_format *f = r->part == KVEIL_PART_HEADER ? NULL : l->plan->formats[r->part];

	if (!f || !f->is_typed)
		return;
	if (r->to)
		problem(l, r, "`to`");
	if (kveil_rule_has_tags(r) && l->plan->envelope)
		problem(l, r, "`tags` under an envelope");
	if (!kveil_path_is_streamable(r->path))
		kveil_error_hint(problem(l, r, "a filter, a slice or a negative index in a path"),
				 "names, [*], [0] and ..");
	if (r->path_steps)
		problem(l, r, "a path that goes on inside a text");
}

/* Of a value that is one text, or bytes. */
static void check_whole(struct kveil_loader *l, const struct kveil_rule *r)
{
	const struct kveil_format *f = l->plan->formats[KVEIL_PART_VALUE];
	enum kveil_kind kind = f->has_bytes ? KVEIL_KIND_BYTES : KVEIL_KIND_STRING;

	if (r->part != KVEIL_PART_VALUE) {
		if (r->when && f->has_bytes)
			problem(l, r, "a condition");
		return;
	}
	unsigned kinds = r->action->kinds_for ? r->action->kinds_for(r->params) : r->action->kinds;
	if (r->path->count || r->path_steps)
		kveil_error_hint(problem(l, r, "a path into the value"), "path: $ is all of it");
	else if (r->to)
		problem(l, r, "`to`");
	else if (kveil_rule_leaves_nothing(r))
		kveil_error_hint(problem(l, r, "a value that becomes a tombstone"), "replace: {with: \"\"}");
	else if (!(kinds & KVEIL_KIND_BIT(kind)))
		kveil_report_at(l->report, l->file, r->line, r->column, "`%s` does not take %s", r->action->name,
				kveil_kind_name(kind));
	if (r->when && f->has_bytes)
		problem(l, r, "a condition");
}

static void check_lines(struct kveil_loader *l, const struct kveil_rule *r)
{
	if (r->required)
		problem(l, r, "`required`");
}

static void check_words(struct kveil_loader *l, const struct kveil_yaml *root, const char *const *words)
{
	const struct kveil_format *f = l->plan->formats[KVEIL_PART_VALUE];

	for (; *words; words++) {
		const struct kveil_yaml *at = kveil_yaml_get(root, *words);
		bool is_default = at && at->kind == KVEIL_YAML_SCALAR &&
				  (strcmp(at->text, "none") == 0 || strcmp(at->text, "keep") == 0);
		if (at && !is_default)
			kveil_report_at(l->report, l->file, at->line, at->column,
					"format %s: `%s` is not in this version", f->name, *words);
	}
}

/* What no schema of Kafka Connect describes, and what lies in texts. */
static void check_typed_envelope(struct kveil_loader *l)
{
	const struct kveil_envelope *kind = l->plan->envelope;

	if (kind && !kind->has_schemas)
		kveil_report_at(l->report, l->file, l->envelope_line, 1,
				"format avro: envelope %s is not in this version: debezium and connect are",
				kind->name);
	if (kind && l->plan->reads_messages)
		kveil_report_at(l->report, l->file, l->envelope_line, 1,
				"format avro: `messages: rows` is not in this version");
}

static void check_key_alone(struct kveil_loader *l, const struct kveil_yaml *root)
{
	const struct kveil_format *key = l->plan->formats[KVEIL_PART_KEY];
	const struct kveil_yaml *at = kveil_yaml_get(root, "format");

	if (key && key->is_typed && at)
		kveil_error_hint(kveil_report_at(l->report, l->file, at->line, at->column,
						 "a key in %s beside a value in another format is not in this version",
						 key->name),
				 "format: {value: avro, key: avro}");
}

void kveil_loader_check_typed(struct kveil_loader *l, const struct kveil_yaml *root)
{
	static const char *const words[] = {"outputs", "unmatched", NULL};
	static const char *const of_whole[] = {"envelope", "unmatched", NULL}, *const of_lines[] = {"envelope", NULL};
	const struct kveil_plan *p = l->plan;
	const struct kveil_format *f = p->formats[KVEIL_PART_VALUE];

	for (size_t i = 0; i < p->own_rule_count; i++) {
		const struct kveil_rule *r = &p->rules[i];
		check_record(l, r, f && f->is_typed);
		if (kveil_rule_has_tags(r) && !(f && f->is_typed))
			kveil_report_at(l->report, l->file, r->line, r->column, "`tags` are for values in avro");
	}
	if (!f || !f->is_typed) {
		const struct kveil_yaml *at = kveil_yaml_get(root, "schema");
		if (at)
			kveil_error_hint(kveil_report_at(l->report, l->file, at->line, at->column,
							 "schema goes with a format that has schemas"),
					 "format: avro");
		check_key_alone(l, root);
		if (!f || (f->has_paths && !f->has_lines))
			return;
		check_words(l, root, f->has_lines ? of_lines : of_whole);
		for (size_t i = 0; i < p->rule_count; i++)
			(f->has_lines ? check_lines : check_whole)(l, &p->rules[i]);
		return;
	}
	check_words(l, root, words);
	check_typed_envelope(l);
	for (size_t i = 0; i < p->own_rule_count; i++)
		check_rule(l, &p->rules[i]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* rules/columns.c: what rules may say of a row and of the keys that hold its columns, under an envelope. */
#include "rules/loader.h"

#include "base/text.h"
#include "format/envelope.h"
#include "format/format.h"

static bool begins_with_columns(const struct kveil_plan *plan, const struct kveil_path *p)
{
	const struct kveil_segment *first = p->count ? &p->segments[0] : NULL;
	const struct kveil_envelope *e = plan->envelope;

	for (size_t i = 0; first && i < first->count; i++)
		if (first->selectors[i].kind != KVEIL_SEL_NAME)
			return false;
	if (!first || first->enters || (e->key_prefix && first->count > 1))
		return false;
	return !first->descendant || (!e->names_columns && !e->key_prefix);
}

static bool has_root(const struct kveil_rows *rows, const struct kveil_path *root)
{
	for (size_t i = 0; i < rows->count; i++)
		if (kveil_path_equal(rows->roots[i], root))
			return true;
	return false;
}

bool kveil_plan_is_event(const struct kveil_plan *p, const struct kveil_path *root)
{
	return has_root(&p->rows[KVEIL_ROWS_EVENT], root);
}

bool kveil_plan_has_gaps(const struct kveil_plan *p, const struct kveil_path *root)
{
	return has_root(&p->rows[KVEIL_ROWS_IMAGE], root);
}

/* Is it a member of the event that holds rows, such as `after`? */
static bool holds_row(const struct kveil_plan *p, struct kveil_span name)
{
	const struct kveil_rows *rows = &p->rows[KVEIL_ROWS_VALUE];

	for (size_t i = 0; i < rows->count; i++) {
		const struct kveil_path *root = rows->roots[i];
		size_t last = root->count;
		while (last && root->segments[last - 1].selectors[0].kind != KVEIL_SEL_NAME)
			last--;
		if (last && !kveil_plan_is_event(p, root) &&
		    kveil_span_eq(root->segments[last - 1].selectors[0].name, name))
			return true;
	}
	return false;
}

/* The flat row is read as well, so a rule would take the event's own member too. */
static void check_members(struct kveil_loader *l, const struct kveil_rule *r, struct kveil_span name)
{
	if (kveil_envelope_lists(l->plan->envelope->members, name))
		kveil_error_hint(
		    kveil_report_warn_at(l->report, l->file, r->line, r->column,
					 "`%.*s` is a column here and a member of every event: the rule takes both",
					 (int)name.len, (const char *)name.data),
		    "kveil apply shows what happens to an event");
}

static void check_columns(struct kveil_loader *l, const struct kveil_rule *r)
{
	if (!begins_with_columns(l->plan, r->path)) {
		struct kveil_error *e = kveil_report_at(
		    l->report, l->file, r->line, r->column,
		    "under an envelope a path begins with the name of a column: %.80s takes more", r->path_text);
		kveil_error_hint(e, "such as $.phone");
		return;
	}
	if (r->path->count > KVEIL_PATH_IN_EVENT)
		kveil_report_at(l->report, l->file, r->line, r->column,
				"under an envelope a path has at most %d steps in this version", KVEIL_PATH_IN_EVENT);
	for (size_t i = 0; i < r->path->segments[0].count; i++) {
		struct kveil_span name = r->path->segments[0].selectors[i].name;
		if (l->plan->envelope->key_prefix && !kveil_text_is_ascii(name))
			kveil_report_at(
			    l->report, l->file, r->line, r->column,
			    "columns of envelope %s have ASCII names in this version: its keys lower-case them",
			    l->plan->envelope->name);
		check_members(l, r, name);
		if (!holds_row(l->plan, name))
			continue;
		struct kveil_error *e = kveil_report_at(
		    l->report, l->file, r->line, r->column,
		    "`%.*s` is a member of the envelope: rules address the row inside", (int)name.len, name.data);
		kveil_error_hint(e, "$.phone holds in every row of an event and in its key");
	}
}

/* A bare key has no member beside it to write. */
static void check_target(struct kveil_loader *l, const struct kveil_rule *r)
{
	if (r->to && l->plan->key_column && kveil_path_covers(r->path, l->plan->key_column))
		kveil_report_at(l->report, l->file, r->line, r->column,
				"the bare key holds %.80s, and to has nowhere to write there", r->path_text);
}

/* A bare key would be the text itself, or what it holds, and nothing tells. */
static void check_bare_text(struct kveil_loader *l, const struct kveil_rule *r)
{
	struct kveil_path text = *r->path;

	for (text.count = 1; l->plan->key_column && text.count < r->path->count; text.count++)
		if (r->path->segments[text.count].enters && kveil_path_covers(&text, l->plan->key_column))
			kveil_report_at(l->report, l->file, r->line, r->column,
					"the bare key holds %.80s, and kveil does not look into that",
					l->plan->key_column_text);
}

static bool is_absolute(void *user, const struct kveil_path *query, bool whole)
{
	(void)user, (void)whole;
	return !query->relative;
}

/* Is the condition true of a row that has no columns? */
static bool holds_for_nothing(const struct kveil_expr *when)
{
	struct kveil_doc_node object = {.end = 2, .next = 1, .parent = UINT32_MAX, .kind = KVEIL_KIND_OBJECT};
	const struct kveil_doc nothing = {.text = KVEIL_SPAN("{}"), .nodes = &object, .count = 1};
	enum kveil_tri tri = KVEIL_NO;
	int64_t work = KVEIL_PATH_WORK;

	return kveil_expr_any_query(when, is_absolute, NULL) &&
	       kveil_expr_eval_within(when, &nothing, 0, &work, &tri, NULL) == KVEIL_OK && tri == KVEIL_YES;
}

/* A condition is asked in every reading of the record: what it finds absent in a row may well be absent around it. */
static void check_condition(struct kveil_loader *l, const struct kveil_rule *r)
{
	bool is_nested = r->part != KVEIL_PART_VALUE;

	for (size_t i = 0; i < r->path->count; i++)
		is_nested |= r->path->segments[i].descendant;
	if (!r->when || !is_nested || r->action->effect != KVEIL_PROTECTS || !holds_for_nothing(r->when))
		return;
	kveil_error_hint(kveil_report_warn_at(l->report, l->file, r->line, r->column,
					      "`when` is true of every event around a row, so the rule always holds"),
			 "compare a value, such as $.vip != true, or begin the path with a column");
}

static bool draws(struct kveil_loader *l, const struct kveil_template *key, unsigned use)
{
	return use & (KVEIL_USE_SEAL | KVEIL_USE_OPEN) &&
	       !kveil_loader_is_key_for(l, key, use | KVEIL_USE_DETERMINISTIC);
}

/* Is what the rule makes of a key never fit to be one: not the same each time, or the same for several? */
static bool never_keeps_apart(struct kveil_loader *l, const struct kveil_rule *r)
{
	return !r->action->keeps_apart || draws(l, r->key, r->key_use) || draws(l, r->key2, r->key2_use);
}

/* Is there no record whose bare key another rule takes first? */
static bool is_first_at_key(const struct kveil_plan *p, const struct kveil_rule *r)
{
	for (const struct kveil_rule *q = p->rules; q < r; q++)
		if (q->part == r->part && kveil_path_may_meet(q->path, p->key_column))
			return false;
	return kveil_rule_is_unconditional(r);
}

/* The column that bare keys hold: each record with such a key would be `key_column`. */
static void check_kept_apart(struct kveil_loader *l, const struct kveil_rule *r)
{
	struct kveil_error *e =
	    is_first_at_key(l->plan, r)
		? kveil_report_at(l->report, l->file, r->line, r->column,
				  "no record passes: its key holds %.80s, and %s does not keep keys apart",
				  l->plan->key_column_text, r->action->name)
		: kveil_report_warn_at(l->report, l->file, r->line, r->column,
				       "no record passes where this applies: its key holds %.80s, and %s does not "
				       "keep keys apart",
				       l->plan->key_column_text, r->action->name);

	kveil_error_hint(e, "tokenize or hash it; or on_key: any, or clear: [\"key:%.60s\"] if the key may be in clear",
			 l->plan->key_column_text);
}

/* Records stay in the partition that the clear key led to, and a token changes with its key. */
static void check_key_column(struct kveil_loader *l, const struct kveil_rule *r)
{
	const struct kveil_plan *p = l->plan;

	if (!p->key_column || !kveil_path_covers(r->path, p->key_column))
		return;
	if (!r->on_key_any && never_keeps_apart(l, r)) {
		check_kept_apart(l, r);
		return;
	}
	kveil_error_hint(
	    kveil_report_warn_at(l->report, l->file, r->line, r->column,
				 "record keys are written by this rule: with `partition: same` they are "
				 "spread by the clear key, and after a rotate of its key take a new snapshot"),
	    "partition: key in the configuration spreads by what is written");
}

static bool is_key_clear(const struct kveil_plan *p, const struct kveil_rule *r)
{
	for (size_t v = 0; v < p->view_count; v++)
		for (size_t i = 0; i < p->views[v].clear_place_count; i++) {
			const struct kveil_place *c = p->views[v].clear_places[i];
			if (c->part == KVEIL_PART_KEY && kveil_path_covers(c->path, r->path))
				return true;
		}
	return false;
}

/* Such a header holds the record's key, so its members are protected as the key's are. */
static void check_header(struct kveil_loader *l, const struct kveil_rule *r)
{
	for (const char *const *known = l->plan->envelope->key_headers; known && *known; known++)
		if (strcmp(*known, r->header_name) == 0) {
			struct kveil_error *e = kveil_report_at(
			    l->report, l->file, r->line, r->column,
			    "%s holds the record's key and follows the rules on the key's columns", r->path_text);
			kveil_error_hint(e, "a rule on the column: {path: \"$.id\", …}");
		}
}

void kveil_loader_check_envelope(struct kveil_loader *l)
{
	const struct kveil_plan *p = l->plan;
	const struct kveil_rule *open = NULL;

	for (size_t i = 0; p->envelope && i < p->rule_count; i++) {
		const struct kveil_rule *r = &p->rules[i];
		if (r->is_of_event)
			continue;
		check_condition(l, r);
		if (r->part == KVEIL_PART_HEADER)
			check_header(l, r);
		if (r->part != KVEIL_PART_VALUE)
			continue;
		check_columns(l, r);
		check_target(l, r);
		check_bare_text(l, r);
		if (!is_key_clear(p, r))
			check_key_column(l, r);
		if (!open && !is_key_clear(p, r))
			open = r;
	}
	for (size_t i = 0; !p->envelope && i < p->rule_count; i++)
		if (p->rules[i].tables)
			kveil_error_hint(kveil_report_at(l->report, l->file, p->rules[i].line, p->rules[i].column,
							 "table is for change events, and this file has no envelope"),
					 "envelope: debezium, canal, maxwell or ogg");
	if (p->envelope && open && !p->key_column && p->formats[KVEIL_PART_KEY] &&
	    !p->formats[KVEIL_PART_KEY]->has_paths) {
		struct kveil_error *e = kveil_report_at(l->report, l->file, l->envelope_line, 1,
							"a key of text is a bare value: say which column it holds");
		kveil_error_hint(e, "envelope: {kind: %s, key: \"$.id\"}", p->envelope->name);
	}
}

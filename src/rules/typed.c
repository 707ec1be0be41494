/* SPDX-License-Identifier: Apache-2.0 */
/* Formats whose values have types: what this version cannot do with them is refused here, line by line. */
#include "rules/loader.h"

#include "format/format.h"

static struct kveil_error *problem(struct kveil_loader *l, const struct kveil_rule *r, const char *what)
{
	return kveil_report_at(l->report, l->file, r->line, r->column, "format %s: %s is not in this version",
			       l->plan->formats[KVEIL_PART_VALUE]->name, what);
}

static void check_rule(struct kveil_loader *l, const struct kveil_rule *r)
{
	if (r->part != KVEIL_PART_VALUE)
		return;
	if (r->to)
		problem(l, r, "`to`");
	if (!kveil_path_is_streamable(r->path))
		kveil_error_hint(problem(l, r, "a filter, a slice or a negative index in a path"),
				 "names, [*], [0] and ..");
	if (r->path_steps)
		problem(l, r, "a path that goes on inside a text");
}

void kveil_loader_check_typed(struct kveil_loader *l, const struct kveil_yaml *root)
{
	static const char *const words[] = {"envelope", "outputs", "unmatched"};
	const struct kveil_plan *p = l->plan;
	const struct kveil_format *f = p->formats[KVEIL_PART_VALUE];

	if (!f || !f->is_typed) {
		const struct kveil_yaml *at = kveil_yaml_get(root, "schema");
		if (at)
			kveil_error_hint(kveil_report_at(l->report, l->file, at->line, at->column,
							 "schema goes with a format that has schemas"),
					 "format: avro");
		return;
	}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		const struct kveil_yaml *at = kveil_yaml_get(root, words[i]);
		bool is_default = at && at->kind == KVEIL_YAML_SCALAR &&
				  (strcmp(at->text, "none") == 0 || strcmp(at->text, "keep") == 0);
		if (at && !is_default)
			kveil_report_at(l->report, l->file, at->line, at->column,
					"format %s: `%s` is not in this version", f->name, words[i]);
	}
	for (size_t i = 0; i < p->rule_count; i++)
		check_rule(l, &p->rules[i]);
}

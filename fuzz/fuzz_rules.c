/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a rule file: a plan, or problems; a plan protects as much as itself, and every word of it is there. */
#include "rules/plan.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void touch(const struct kveil_plan *p)
{
	for (size_t i = 0; i < p->rule_count; i++) {
		const struct kveil_rule *r = &p->rules[i];
		if (r->index != i || !r->id[0] || !r->path || !r->action || !r->params || !r->action_text)
			abort();
		for (size_t k = 0; k < i; k++)
			if (strcmp(r->id, p->rules[k].id) == 0)
				abort();
	}
	for (size_t i = 0; i < p->view_count; i++)
		if (!p->views[i].name || !p->views[i].topic || p->views[i].rule_count > p->rule_count)
			abort();
	if (!p->view_count || !p->topics[0] || !p->formats[KVEIL_PART_VALUE] || !p->formats[KVEIL_PART_KEY])
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kveil_report report = {0};
	struct kveil_plan *p = kveil_plan_parse(kveil_span_of(data, size), "fuzz.yaml", NULL, &report);

	if ((p == NULL) != (report.errors > 0))
		abort();
	if (p) {
		touch(p);
		struct kveil_plan *plans[] = {p};
		struct kveil_plan_set set = {.plans = plans, .count = 1, .dead_letter_topic = (char *)"{topic}.dead"};
		/* Not a set of many regexes: those may conflict with themselves. */
		if (kveil_plan_set_protects_less(&set, &set, NULL))
			abort();
		kveil_plan_unref(p);
	}
	kveil_report_clear(&report);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules/describe.c: rule files as one line of text each, without comments and with members in the order of their names,
 * and a set of plans as a document of them: what can be kept, and read as plans again later.
 *
 *   {"kveil-rules": 1, "files": [{"file": "rules/orders.yaml", "rules": {"fields": […], …}}, …]}
 */
#include "rules/loader.h"

#include <stdatomic.h>
#include <stdlib.h>

void kveil_plan_set_write(const struct kveil_plan_set *s, struct kveil_buf *out)
{
	kveil_buf_append_str(out, "{\"kveil-rules\": 1, \"files\": [");
	for (size_t i = 0; i < s->count; i++) {
		kveil_buf_append_str(out, i ? ", {\"file\": " : "{\"file\": ");
		kveil_options_write_json_string(out, s->plans[i]->file);
		kveil_buf_printf(out, ", \"rules\": %s}", s->plans[i]->text);
	}
	kveil_buf_append_str(out, "]}\n");
}

static bool add_plan(struct kveil_plan_set *s, const struct kveil_yaml *item, struct kveil_report *report)
{
	const struct kveil_yaml *file = kveil_yaml_get(item, "file"), *rules = kveil_yaml_get(item, "rules");
	struct kveil_plan *p = NULL;

	if (file && file->kind == KVEIL_YAML_SCALAR && rules)
		p = kveil_plan_compile(rules, file->text, NULL, report);
	if (p)
		s->plans[s->count++] = p;
	return p != NULL;
}

struct kveil_plan_set *kveil_plan_set_parse(struct kveil_span text)
{
	struct kveil_report report = {0};
	struct kveil_yaml *root = kveil_yaml_parse(text, "rules", &report);
	const struct kveil_yaml *format =
	    root && root->kind == KVEIL_YAML_MAP ? kveil_yaml_get(root, "kveil-rules") : NULL;
	const struct kveil_yaml *files = format ? kveil_yaml_get(root, "files") : NULL;
	struct kveil_plan_set *s = NULL;
	bool whole = files && files->kind == KVEIL_YAML_LIST && format->kind == KVEIL_YAML_SCALAR &&
		     strcmp(format->text, "1") == 0;

	if (whole && (s = calloc(1, sizeof *s))) {
		atomic_init(&s->refs, 1);
		s->plans = calloc(files->count + 1, sizeof(struct kveil_plan *));
		for (size_t i = 0; whole && i < files->count; i++)
			whole = s->plans && files->items[i]->kind == KVEIL_YAML_MAP &&
				add_plan(s, files->items[i], &report);
	}
	kveil_report_clear(&report);
	kveil_yaml_free(root);
	if (whole && s && s->plans)
		return s;
	kveil_plan_set_unref(s);
	return NULL;
}

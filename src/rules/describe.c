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

bool kveil_rules_is_plain_word(const char *text)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";

	return *text && strspn(text, chars) == strlen(text) && strcmp(text, "-") != 0 && strcmp(text, "---") != 0;
}

/* Quotes stay where they change what a word is, and come where flow style needs them. */
static void write_scalar(const struct kveil_yaml *y, struct kveil_buf *out)
{
	if (!y->quoted && kveil_yaml_is_null(y))
		kveil_buf_append_str(out, "null");
	else if (!y->quoted && kveil_rules_is_plain_word(y->text))
		kveil_buf_append_str(out, y->text);
	else
		kveil_options_write_json_string(out, y->text);
}

static const struct kveil_yaml *next_key(const struct kveil_yaml *map, const char *last, size_t *ret_index)
{
	const struct kveil_yaml *next = NULL;

	for (size_t i = 0; i < map->count; i++)
		if ((!last || strcmp(map->keys[i]->text, last) > 0) &&
		    (!next || strcmp(map->keys[i]->text, next->text) < 0)) {
			next = map->keys[i];
			*ret_index = i;
		}
	return next;
}

void kveil_rules_write_flow(const struct kveil_yaml *y, struct kveil_buf *out)
{
	const char *last = NULL;
	size_t at = 0;

	if (y->kind == KVEIL_YAML_SCALAR) {
		write_scalar(y, out);
		return;
	}
	kveil_buf_append_byte(out, y->kind == KVEIL_YAML_MAP ? '{' : '[');
	for (size_t i = 0; i < y->count; i++) {
		kveil_buf_append_str(out, i ? ", " : "");
		if (y->kind == KVEIL_YAML_MAP) {
			last = next_key(y, last, &at)->text;
			kveil_options_write_json_string(out, last);
			kveil_buf_append_str(out, ": ");
		}
		kveil_rules_write_flow(y->items[y->kind == KVEIL_YAML_MAP ? at : i], out);
	}
	kveil_buf_append_byte(out, y->kind == KVEIL_YAML_MAP ? '}' : ']');
}

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

/* SPDX-License-Identifier: Apache-2.0 */
/* `tags:` of a rule, as a path of names that no field has: format/avro_tags.h. */
#include "rules/tags.h"
#include "rules/loader.h"

#include <ctype.h>

enum { MOST_TAG = 100, MOST_TAGS = 32 };

static bool is_tag(const char *tag)
{
	size_t n = 0;

	for (; tag[n]; n++)
		if (!isalnum((unsigned char)tag[n]) && !strchr("_.-", tag[n]))
			return false;
	return n > 0 && n <= MOST_TAG;
}

static struct kveil_error *problem(struct kveil_loader *l, const struct kveil_yaml *at, const char *what)
{
	return kveil_report_at(l->report, l->file, at->line, at->column, "%s", what);
}

bool kveil_loader_read_tags(struct kveil_loader *l, const struct kveil_yaml *at, char **tags, struct kveil_rule *r)
{
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT, text = KVEIL_BUF_INIT;
	struct kveil_path *parsed = NULL;
	size_t n = 0;

	kveil_buf_append_str(&path, "$[");
	kveil_buf_append_str(&text, "tags:");
	for (; tags[n]; n++) {
		if (!is_tag(tags[n]) || n == MOST_TAGS) {
			kveil_error_hint(problem(l, at, "a rule has up to 32 tags, of letters, digits, _, . and -"),
					 "tags: [PII]");
			return false;
		}
		kveil_buf_printf(&path, "%s'\\u0001tag:%s'", n ? "," : "", tags[n]);
		kveil_buf_printf(&text, "%s%s", n ? "," : "", tags[n]);
	}
	kveil_buf_append_byte(&path, ']');
	const char *whole = kveil_buf_cstr(&path), *shown = kveil_buf_cstr(&text);
	r->path_text = shown ? kveil_plan_strdup(l->plan, shown) : NULL;
	if (!whole || !r->path_text || kveil_path_parse(kveil_span_str(whole), &parsed, NULL) != KVEIL_OK ||
	    !kveil_plan_own_path(l->plan, parsed)) {
		l->no_memory = true;
		return false;
	}
	r->part = KVEIL_PART_VALUE;
	r->path = parsed;
	return true;
}

static const char prefix[] = "\001tag:";

bool kveil_path_is_of_tags(const struct kveil_path *path)
{
	const struct kveil_selector *s = path && path->count == 1 ? path->segments[0].selectors : NULL;

	return s && s->kind == KVEIL_SEL_NAME && s->name.len > sizeof prefix - 1 &&
	       memcmp(s->name.data, prefix, sizeof prefix - 1) == 0;
}

bool kveil_rule_has_tags(const struct kveil_rule *r)
{
	return kveil_path_is_of_tags(r->path);
}

bool kveil_place_covers(const struct kveil_path *a, const struct kveil_path *b)
{
	return kveil_path_is_of_tags(a) == kveil_path_is_of_tags(b) && kveil_path_covers(a, b);
}

bool kveil_plan_has_tags(const struct kveil_plan *p)
{
	bool has = false;

	for (size_t i = 0; i < p->own_rule_count; i++)
		has |= kveil_rule_has_tags(&p->rules[i]);
	return has;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* rules/names.c: names that a reader takes for each other. They match exactly, so one of them may be a slip. */
#include "rules/loader.h"

#include "base/buf.h"
#include "base/grapheme.h"

#include <stdlib.h>

struct name {
	uint32_t line, column;
	const struct kveil_segment *segment;
	struct kveil_span text;
	uint8_t *folded; /* what look-alikes share */
	size_t folded_len;
};

struct names {
	struct name *list;
	size_t count, cap;
};

static void add_name(struct kveil_loader *l, struct names *n, const struct name *name)
{
	if (n->count == n->cap) {
		size_t cap = n->cap ? n->cap * 2 : 64;
		struct name *grown = realloc(n->list, cap * sizeof *grown);
		l->no_memory |= !grown;
		if (!grown)
			return;
		n->list = grown;
		n->cap = cap;
	}
	n->list[n->count] = *name;
	struct name *added = &n->list[n->count++];
	added->folded = kveil_grapheme_compose(name->text, true, &added->folded_len);
}

static void add_path(struct kveil_loader *l, struct names *n, uint32_t line, uint32_t column,
		     const struct kveil_path *p)
{
	for (size_t i = 0; p && i < p->count; i++)
		for (size_t k = 0; k < p->segments[i].count; k++)
			if (p->segments[i].selectors[k].kind == KVEIL_SEL_NAME)
				add_name(l, n,
					 &(struct name){.line = line,
							.column = column,
							.segment = &p->segments[i],
							.text = p->segments[i].selectors[k].name});
}

static bool names_both(const struct kveil_segment *s, struct kveil_span a, struct kveil_span b)
{
	unsigned found = 0;

	for (size_t i = 0; i < s->count; i++)
		if (s->selectors[i].kind == KVEIL_SEL_NAME)
			found |= (unsigned)kveil_span_eq(s->selectors[i].name, a) |
				 (unsigned)kveil_span_eq(s->selectors[i].name, b) << 1;
	return found == 3;
}

/* $['a','A'] anywhere says that both are meant. */
static bool is_meant(const struct names *n, struct kveil_span a, struct kveil_span b)
{
	for (size_t i = 0; i < n->count; i++)
		if (names_both(n->list[i].segment, a, b))
			return true;
	return false;
}

static void warn(struct kveil_loader *l, const struct name *b, struct kveil_span other, const char *fmt)
{
	KVEIL_CLEANUP_BUF struct kveil_buf one = KVEIL_BUF_INIT, two = KVEIL_BUF_INIT;

	kveil_path_write_name(b->text, &one);
	kveil_path_write_name(other, &two);
	if (!kveil_buf_cstr(&one) || !kveil_buf_cstr(&two))
		return;
	struct kveil_error *w =
	    kveil_report_warn_at(l->report, l->file, b->line, b->column, "%.80s %s %.80s: names match exactly",
				 kveil_buf_cstr(&one), fmt, kveil_buf_cstr(&two));
	kveil_error_hint(w, "if both are intended, name them together: $['a','A']");
}

static bool warn_look_alike(struct kveil_loader *l, const struct names *n, size_t j)
{
	const struct name *b = &n->list[j];

	for (size_t i = 0; i < j; i++) {
		const struct name *a = &n->list[i];
		if (kveil_span_eq(a->text, b->text))
			return true;
		if (a->folded && b->folded && a->folded_len == b->folded_len &&
		    memcmp(a->folded, b->folded, a->folded_len) == 0 && !is_meant(n, a->text, b->text)) {
			warn(l, b, a->text, "looks like");
			return true;
		}
	}
	return false;
}

static void warn_composed(struct kveil_loader *l, const struct names *n, const struct name *b)
{
	size_t len;
	uint8_t *text = kveil_grapheme_compose(b->text, false, &len);
	struct kveil_span composed = kveil_span_of(text, len);

	if (text && !kveil_span_eq(composed, b->text) && !is_meant(n, b->text, composed))
		warn(l, b, composed, "is not NFC and does not find");
	free(text);
}

void kveil_loader_check_names(struct kveil_loader *l)
{
	struct names n = {0};

	for (size_t i = 0; i < l->plan->own_rule_count; i++) {
		const struct kveil_rule *r = &l->plan->rules[i];
		add_path(l, &n, r->line, r->column, r->path);
		add_path(l, &n, r->line, r->column, r->to);
	}
	for (size_t v = 0; v < l->plan->view_count; v++)
		for (size_t i = 0; i < l->plan->views[v].clear_place_count; i++) {
			const struct kveil_place *c = l->plan->views[v].clear_places[i];
			add_path(l, &n, c->line, c->column, c->path);
		}
	for (size_t j = 0; j < n.count; j++)
		if (!warn_look_alike(l, &n, j))
			warn_composed(l, &n, &n.list[j]);
	for (size_t i = 0; i < n.count; i++)
		free(n.list[i].folded);
	free(n.list);
}

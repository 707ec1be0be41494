/* SPDX-License-Identifier: Apache-2.0 */
/* Plans: memory, references, life. */
#include "rules/loader.h"
#include "rules/tags.h"

#include <stdatomic.h>
#include <stdlib.h>

/* Everything is in the arena but for what has a destructor of its own. */
struct kveil_plan_memory {
	struct kveil_arena arena;
	struct kveil_path **paths;
	struct kveil_expr **exprs;
	size_t path_count, path_cap, expr_count, expr_cap;
	struct kveil_seen *seen;
	const char *tag_property;
	bool forgets_tags;
};

static const struct kveil_path whole_path;
static const struct kveil_path *const whole_part[] = {&whole_path};

struct kveil_plan *kveil_plan_new(void)
{
	struct kveil_plan *p = calloc(1, sizeof *p);
	struct kveil_plan_memory *m = calloc(1, sizeof *m);

	if (!p || !m || !(m->seen = kveil_seen_new())) {
		free(p);
		free(m);
		return NULL;
	}
	kveil_arena_init(&m->arena, 0);
	p->memory = m;
	for (int i = 0; i <= KVEIL_ROWS_KEY; i++)
		p->rows[i] = (struct kveil_rows){whole_part, 1};
	atomic_init(&p->refs, 1);
	return p;
}

void *kveil_plan_alloc(struct kveil_plan *p, size_t n)
{
	void *mem = kveil_arena_alloc(&p->memory->arena, n);

	return mem ? memset(mem, 0, n) : NULL;
}

char *kveil_plan_strndup(struct kveil_plan *p, const void *s, size_t n)
{
	char *copy = kveil_plan_alloc(p, n + 1);

	return copy ? memcpy(copy, s, n) : NULL;
}

char *kveil_plan_strdup(struct kveil_plan *p, const char *s)
{
	return kveil_plan_strndup(p, s, strlen(s));
}

static bool own(void ***list, size_t *count, size_t *cap, void *item)
{
	if (*count == *cap) {
		size_t more = *cap ? *cap * 2 : 16;
		void **grown = realloc(*list, more * sizeof *grown);
		if (!grown)
			return false;
		*list = grown;
		*cap = more;
	}
	(*list)[(*count)++] = item;
	return true;
}

bool kveil_plan_own_path(struct kveil_plan *p, struct kveil_path *path)
{
	struct kveil_plan_memory *m = p->memory;

	if (own((void ***)&m->paths, &m->path_count, &m->path_cap, path))
		return true;
	kveil_path_free(path);
	return false;
}

bool kveil_plan_own_expr(struct kveil_plan *p, struct kveil_expr *expr)
{
	struct kveil_plan_memory *m = p->memory;

	if (own((void ***)&m->exprs, &m->expr_count, &m->expr_cap, expr))
		return true;
	kveil_expr_free(expr);
	return false;
}

struct kveil_plan *kveil_plan_ref(struct kveil_plan *p)
{
	atomic_fetch_add_explicit(&p->refs, 1, memory_order_relaxed);
	return p;
}

void kveil_plan_unref(struct kveil_plan *p)
{
	if (!p || atomic_fetch_sub_explicit(&p->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < p->rule_count; i++)
		kveil_rule_clear(&p->rules[i]);
	for (size_t i = 0; p->topics && p->topic_regexes && p->topics[i]; i++)
		kveil_topic_regex_free(p->topic_regexes[i]);
	struct kveil_plan_memory *m = p->memory;
	for (size_t i = 0; i < m->path_count; i++)
		kveil_path_free(m->paths[i]);
	for (size_t i = 0; i < m->expr_count; i++)
		kveil_expr_free(m->exprs[i]);
	kveil_seen_free(m->seen);
	free(m->paths);
	free(m->exprs);
	kveil_arena_clear(&m->arena);
	free(m);
	free(p);
}

void kveil_rule_clear(struct kveil_rule *r)
{
	if (!r->params)
		return;
	if (r->action->params_clear)
		r->action->params_clear(r->params);
	if (r->action->options && !r->action->scalar)
		kveil_options_clear(r->action->options, r->params);
	free(r->params);
	r->params = NULL;
}

bool kveil_place_same_part(enum kveil_part a, const char *a_header, enum kveil_part b, const char *b_header)
{
	return a == b && (a != KVEIL_PART_HEADER || strcmp(a_header, b_header) == 0);
}

struct kveil_seen *kveil_plan_seen(const struct kveil_plan *p)
{
	return p->memory->seen;
}

void kveil_plan_forget_tags(struct kveil_plan *p)
{
	p->memory->forgets_tags = true;
}

bool kveil_plan_forgets_tags(const struct kveil_plan *p)
{
	return p->memory->forgets_tags;
}

const char *kveil_plan_tag_property(const struct kveil_plan *p)
{
	return p->memory->tag_property ? p->memory->tag_property : "";
}

void kveil_plan_set_tag_property(struct kveil_plan *p, const char *name)
{
	p->memory->tag_property = name;
}

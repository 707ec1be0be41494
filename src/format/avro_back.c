/* SPDX-License-Identifier: Apache-2.0 */
/* Is what comes out the original again, types and all? */
#include "format/avro_program.h"

static bool is_about_shape(const char *word)
{
	static const char *const words[] = {"type",    "name", "namespace", "aliases", "fields",
					    "symbols", "size", "items",     "values",  KVEIL_AVRO_REFERENCE};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(words[i], word) == 0)
			return true;
	return false;
}

static bool has_all_of(const json_t *a, const json_t *b)
{
	const char *word;
	json_t *value;

	json_object_foreach((json_t *)a, word, value)
	{
		if (!is_about_shape(word) && !json_equal(value, json_object_get(b, word)))
			return false;
	}
	return true;
}

/* Beside the shape: docs, logical types, defaults and whatever else. */
static bool say_the_same(const json_t *a, const json_t *b)
{
	return has_all_of(a, b) && has_all_of(b, a);
}

/* No rule writes such values: null stays, and what the action does not take fails its record. */
static bool makes_nothing(const struct kveil_avro_program *p, uint32_t node)
{
	const struct kveil_avro_node *n = &p->nodes[node];

	return n->kind != KVEIL_AVRO_UNION && !n->effect.results;
}

static bool was_also(const struct kveil_avro_past *past, enum kveil_avro_kind kind)
{
	for (uint32_t i = 0; i < past->count; i++)
		if (past->types[i]->kind == kind)
			return true;
	return false;
}

/* A place whose values all are what they were. */
static bool is_opened(const struct kveil_avro_program *p, uint32_t node)
{
	const struct kveil_avro_node *n = &p->nodes[node];
	bool all = true, any = false;

	/* A text that the source did not send stays one. */
	if (n->kind != KVEIL_AVRO_UNION)
		return n->effect.opens && n->past && (!n->effect.keeps || was_also(n->past, n->kind));
	for (uint32_t i = 0; all && i < n->edge_count; i++) {
		all = makes_nothing(p, n->edges[i].node) || is_opened(p, n->edges[i].node);
		any |= is_opened(p, n->edges[i].node);
	}
	return all && any;
}

/* Does what comes out there have the union's branches, each in its place? */
static bool are_branches_back(const struct kveil_avro_program *p, uint32_t node, const struct kveil_avro_type *o)
{
	struct kveil_avro_alt alts[KVEIL_AVRO_BRANCHES];
	size_t count = kveil_avro_alternatives(p, node, alts);

	if (count != o->member_count)
		return false;
	for (size_t i = 0; i < count; i++)
		if (kveil_avro_former(p, alts[i]) != &kveil_avro_origin_schema(p->origin)->types[o->members[i].type])
			return false;
	return true;
}

static bool is_paired(const struct kveil_avro_program *p, uint32_t node, uint32_t original)
{
	const struct kveil_avro_type *o = &kveil_avro_origin_schema(p->origin)->types[original];

	return kveil_avro_origin_type(p->origin, p->nodes[node].type) == o &&
	       (o->kind != KVEIL_AVRO_UNION || are_branches_back(p, node, o));
}

/* A sealed field's default went, and what tells its type; both were the value's own. */
static bool are_fields_back(const struct kveil_avro_program *p, const struct kveil_avro_node *n,
			    const struct kveil_avro_type *o)
{
	const struct kveil_avro_type *d = &p->schema->types[n->type];

	if (d->member_count != o->member_count)
		return false;
	for (uint32_t i = 0; i < d->member_count; i++)
		if (!kveil_span_eq(d->members[i].name, o->members[i].name) ||
		    !is_paired(p, n->edges[i].node, o->members[i].type) ||
		    (!is_opened(p, n->edges[i].node) && !say_the_same(d->members[i].json, o->members[i].json)))
			return false;
	return true;
}

static bool are_elements_back(const struct kveil_avro_program *p, const struct kveil_avro_node *n,
			      const struct kveil_avro_type *o)
{
	for (uint32_t i = 0; i < n->edge_count; i++)
		if (!is_paired(p, n->edges[i].node, o->item))
			return false;
	return true;
}

static bool is_back(const struct kveil_avro_program *p, uint32_t node)
{
	const struct kveil_avro_node *n = &p->nodes[node];
	const struct kveil_avro_type *d = &p->schema->types[n->type];
	const struct kveil_avro_type *o = kveil_avro_origin_type(p->origin, n->type);

	if (!o || n->is_gone)
		return false;
	if (n->kind < KVEIL_AVRO_ARRAY && is_opened(p, node))
		return true;
	if ((n->is_place && !makes_nothing(p, node)) || o->kind != n->kind || !say_the_same(d->json, o->json))
		return false;
	switch (n->kind) {
	case KVEIL_AVRO_RECORD:
		return are_fields_back(p, n, o);
	case KVEIL_AVRO_ARRAY:
	case KVEIL_AVRO_MAP:
		return are_elements_back(p, n, o);
	case KVEIL_AVRO_UNION: /* as what it stands in has found */
		return true;
	default:
		return kveil_avro_is_as_before(d, o);
	}
}

bool kveil_avro_is_all_back(const struct kveil_avro_program *p)
{
	bool all = kveil_avro_origin_schema(p->origin) && !kveil_avro_origin_clashes(p->origin) && is_paired(p, 0, 0);

	for (uint32_t i = 0; all && i < p->count; i++)
		all = is_back(p, i);
	return all;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which types a value at a node may have when the rules are done. */
#include "format/avro_program.h"

struct identity {
	enum kveil_avro_kind kind;
	struct kveil_span name; /* of a type that has one */
};

const struct kveil_avro_type *kveil_avro_restored(const struct kveil_avro_program *p, struct kveil_avro_alt alt)
{
	const struct kveil_avro_past *past = p->nodes[alt.node].past;

	return past ? past->types[alt.which] : NULL;
}

enum kveil_avro_kind kveil_avro_restored_kind(const struct kveil_avro_program *p, struct kveil_avro_alt alt)
{
	const struct kveil_avro_type *was = kveil_avro_restored(p, alt);
	bool is_raw = kveil_avro_value_kind(p->nodes[alt.node].kind) == KVEIL_KIND_BYTES;

	return was ? was->kind : is_raw ? KVEIL_AVRO_BYTES : KVEIL_AVRO_STRING;
}

const struct kveil_avro_type *kveil_avro_former(const struct kveil_avro_program *p, struct kveil_avro_alt alt)
{
	if (alt.how == KVEIL_AVRO_RESTORED_OF)
		return kveil_avro_restored(p, alt);
	return alt.how == KVEIL_AVRO_ORIGINAL ? kveil_avro_origin_type(p->origin, p->nodes[alt.node].type) : NULL;
}

static struct identity identity_of(const struct kveil_avro_program *p, struct kveil_avro_alt alt)
{
	const struct kveil_avro_node *n = &p->nodes[alt.node];
	const struct kveil_avro_type *was;

	switch (alt.how) {
	case KVEIL_AVRO_ORIGINAL:
		return (struct identity){n->kind, p->schema->types[n->type].name};
	case KVEIL_AVRO_STRING_OF:
		return (struct identity){.kind = KVEIL_AVRO_STRING};
	case KVEIL_AVRO_BYTES_OF:
		return (struct identity){.kind = KVEIL_AVRO_BYTES};
	case KVEIL_AVRO_RESTORED_OF:
		was = kveil_avro_restored(p, alt);
		return (struct identity){kveil_avro_restored_kind(p, alt), was ? was->name : KVEIL_SPAN_NULL};
	case KVEIL_AVRO_NULL_OF:
		break;
	}
	return (struct identity){.kind = KVEIL_AVRO_NULL};
}

int32_t kveil_avro_find_alternative(const struct kveil_avro_program *p, const struct kveil_avro_alt *alts, size_t count,
				    struct kveil_avro_alt alt)
{
	struct identity id = identity_of(p, alt);

	for (size_t i = 0; i < count; i++) {
		struct identity other = identity_of(p, alts[i]);
		if (other.kind == id.kind && kveil_span_eq(other.name, id.name))
			return (int32_t)i;
	}
	return -1;
}

/* Where two have one type, one that changes stands for both: a logical type would no longer hold for either. */
static size_t add(const struct kveil_avro_program *p, struct kveil_avro_alt *alts, size_t count,
		  struct kveil_avro_alt alt)
{
	int32_t at = kveil_avro_find_alternative(p, alts, count, alt);

	if (at < 0 && count < KVEIL_AVRO_BRANCHES)
		alts[count++] = alt;
	else if (at >= 0 && alt.how != KVEIL_AVRO_ORIGINAL && alts[at].how == KVEIL_AVRO_ORIGINAL)
		alts[at] = alt;
	return count;
}

static size_t add_node(const struct kveil_avro_program *p, struct kveil_avro_alt *alts, size_t count, uint32_t node)
{
	const struct kveil_avro_effect *e = &p->nodes[node].effect;
	const struct kveil_avro_past *past = p->nodes[node].past;
	bool stays = e->keeps || !e->results || e->results & (KVEIL_AVRO_TO_SAME | KVEIL_AVRO_TO_NULL);

	if (e->results & KVEIL_AVRO_TO_NULL)
		count = add(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_NULL_OF, node});
	if (stays)
		count = add(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_ORIGINAL, node});
	if (e->results & KVEIL_AVRO_TO_STRING)
		count = add(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_STRING_OF, node});
	if (e->results & KVEIL_AVRO_TO_BYTES)
		count = add(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_BYTES_OF, node});
	for (uint32_t i = 0; e->results & KVEIL_AVRO_TO_RESTORED && i < (past ? past->count : 1); i++)
		count = add(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_RESTORED_OF, node, i});
	return count;
}

static bool is_one_of_several(const struct kveil_avro_program *p, struct kveil_avro_alt alt)
{
	return alt.how == KVEIL_AVRO_RESTORED_OF && p->nodes[alt.node].past && p->nodes[alt.node].past->count > 1;
}

/* The place among the branches of the union that the node was; behind them, where it is none. */
static uint32_t former_place(const struct kveil_avro_program *p, const struct kveil_avro_type *u,
			     struct kveil_avro_alt alt)
{
	const struct kveil_avro_type *t = kveil_avro_former(p, alt), *all = kveil_avro_origin_schema(p->origin)->types;
	uint32_t i = 0;

	while (i < u->member_count && t != &all[u->members[i].type])
		i++;
	return i;
}

/* Branches that had become one stand where the first of them stood: each goes back to its place. */
static void sort_as_before(const struct kveil_avro_program *p, uint32_t node, struct kveil_avro_alt *alts, size_t count)
{
	uint32_t places[KVEIL_AVRO_BRANCHES];
	bool are_several = false;

	for (size_t i = 0; i < count; i++)
		are_several |= is_one_of_several(p, alts[i]);
	const struct kveil_avro_type *u = are_several ? kveil_avro_origin_type(p->origin, p->nodes[node].type) : NULL;
	if (!u || u->kind != KVEIL_AVRO_UNION)
		return;
	for (size_t i = 0; i < count; i++) {
		struct kveil_avro_alt alt = alts[i];
		uint32_t place = former_place(p, u, alt);
		size_t k = i;
		for (; k > 0 && places[k - 1] > place; k--) {
			alts[k] = alts[k - 1];
			places[k] = places[k - 1];
		}
		alts[k] = alt;
		places[k] = place;
	}
}

size_t kveil_avro_alternatives(const struct kveil_avro_program *p, uint32_t node,
			       struct kveil_avro_alt alts[KVEIL_AVRO_BRANCHES])
{
	const struct kveil_avro_node *n = &p->nodes[node];
	size_t count = 0;

	if (n->is_gone)
		return 0;
	if (n->kind != KVEIL_AVRO_UNION)
		count = add_node(p, alts, 0, node);
	for (uint32_t i = 0; n->kind == KVEIL_AVRO_UNION && i < n->edge_count; i++)
		count = add_node(p, alts, count, n->edges[i].node);
	sort_as_before(p, node, alts, count);
	return count;
}

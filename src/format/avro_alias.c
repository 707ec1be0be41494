/* SPDX-License-Identifier: Apache-2.0 */
/* Fields that were renamed: their schema keeps the old name as an alias, and a rule may know that one only. */
#include "format/avro_program.h"

#include "format/automaton_internal.h"

enum { DEPTH = 64 };

/* One value under its old and under its new name, on the way down from the field. */
struct renamed {
	const struct renamed *up;
	unsigned depth;
	uint32_t type, old, now; /* states */
};

static bool accepts(const struct kveil_avro_program *p, uint32_t state)
{
	size_t count;

	(void)kveil_automaton_accepts(p->automaton, state, &count);
	return count != 0;
}

/* A type that holds itself, come to in the same way again. */
static bool is_above(const struct renamed *at)
{
	for (const struct renamed *r = at->up; r; r = r->up)
		if (r->type == at->type && r->old == at->old && r->now == at->now)
			return true;
	return false;
}

static bool loses(const struct kveil_avro_program *p, const struct renamed *at, unsigned *budget);

static bool loses_in_members(const struct kveil_avro_program *p, const struct renamed *at, unsigned *budget)
{
	const struct kveil_avro_type *t = &p->schema->types[at->type];
	const struct kveil_automaton_state *old = &p->automaton->states[at->old], *now = &p->automaton->states[at->now];
	bool lost = false;

	for (uint32_t i = 0; !lost && i < t->member_count; i++) {
		struct kveil_span name = t->members[i].name;
		struct renamed below = {at, at->depth + 1, t->members[i].type, at->old, at->now};
		if (t->kind != KVEIL_AVRO_UNION) {
			below.old = kveil_automaton_on_plain_name(old, name.data, name.len, name.len);
			below.now = kveil_automaton_on_plain_name(now, name.data, name.len, name.len);
		}
		lost = loses(p, &below, budget);
	}
	return lost;
}

/* Which way under one name goes with which under the other is not asked: with each. */
static bool loses_in_elements(const struct kveil_avro_program *p, const struct renamed *at, unsigned *budget)
{
	const struct kveil_avro_type *t = &p->schema->types[at->type];
	const struct kveil_automaton_state *old = &p->automaton->states[at->old], *now = &p->automaton->states[at->now];
	struct renamed below = {.up = at, .depth = at->depth + 1, .type = t->item};
	bool is_map = t->kind == KVEIL_AVRO_MAP, lost = false;

	for (size_t i = 0; !lost && i < kveil_automaton_way_count(old, is_map); i++) {
		below.old = kveil_automaton_way(old, is_map, i);
		if (below.old == KVEIL_AUTOMATON_DEAD)
			continue;
		for (size_t k = 0; !lost && k < kveil_automaton_way_count(now, is_map); k++) {
			below.now = kveil_automaton_way(now, is_map, k);
			lost = loses(p, &below, budget);
		}
	}
	return lost;
}

/* In doubt, yes. */
static bool loses(const struct kveil_avro_program *p, const struct renamed *at, unsigned *budget)
{
	enum kveil_avro_kind kind = p->schema->types[at->type].kind;

	if (at->old == at->now || at->old == KVEIL_AUTOMATON_DEAD || accepts(p, at->now) || is_above(at))
		return false;
	if (at->now == KVEIL_AUTOMATON_DEAD || accepts(p, at->old) || at->depth == DEPTH || !*budget)
		return true;
	--*budget;
	return kind == KVEIL_AVRO_ARRAY || kind == KVEIL_AVRO_MAP ? loses_in_elements(p, at, budget)
								  : loses_in_members(p, at, budget);
}

const char *kveil_avro_lost_alias(const struct kveil_avro_program *p, uint32_t state, const struct kveil_avro_member *m,
				  uint32_t next, unsigned *budget)
{
	const struct kveil_automaton_state *s = &p->automaton->states[state];
	json_t *alias;
	size_t i;

	json_array_foreach(json_object_get(m->json, "aliases"), i, alias)
	{
		const char *name = json_string_value(alias);
		size_t len = json_string_length(alias);
		struct renamed field = {.type = m->type, .old = next, .now = next};
		if (name)
			field.old = kveil_automaton_on_plain_name(s, (const uint8_t *)name, len, len);
		if (loses(p, &field, budget))
			return name;
	}
	return NULL;
}

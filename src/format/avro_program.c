/* SPDX-License-Identifier: Apache-2.0 */
/* A schema and the automaton as one graph. */
#include "format/avro_program.h"

#include "format/automaton_internal.h"
#include "format/avro_whole.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_EDGES = 1 << 20, MOST_RENAMES = 1 << 18 };
static const uint64_t most_globbed = (uint64_t)1 << 32; /* seconds */

struct builder {
	struct kveil_avro_program *p;
	uint32_t *table; /* node + 1 by type, state and whether it is covered */
	uint32_t mask, cap;
	size_t edges;     /* of all nodes */
	unsigned renames; /* left to look at: see avro_alias.c */
	uint64_t globbed; /* what comparing fields with tags has cost */
	kveil_avro_effect_fn *effect;
	kveil_avro_rule_fn *rule; /* or NULL */
	void *user;
	struct kveil_error *err;
};

static bool fail(struct builder *b, const char *what)
{
	kveil_fail(b->err, KVEIL_E_AVRO_SCHEMA, "%s", what);
	return false;
}

/* Of a place in the schema. */
static bool fail_at(struct builder *b, uint32_t node, const char *what)
{
	char way[KVEIL_AVRO_WAY_BYTES];

	kveil_avro_spell_way(b->p, node, way);
	kveil_fail(b->err, KVEIL_E_AVRO_SCHEMA, "%s: %s", way, what);
	return false;
}

/* And of a rule that makes one of these of a value there. */
static bool blame(struct builder *b, uint32_t node, unsigned results, uint32_t place, const char *what)
{
	const struct kveil_avro_node *n = &b->p->nodes[kveil_avro_changed_below(b->p, node, results)];

	fail_at(b, place, what);
	if (b->rule)
		kveil_error_rule(b->err, b->rule(b->user, n, results));
	return false;
}

static bool no_memory(struct builder *b)
{
	kveil_no_memory(b->err, "a schema");
	return false;
}

/* --- the graph --- */

static bool is_container(enum kveil_avro_kind kind)
{
	return kind >= KVEIL_AVRO_ARRAY;
}

static uint32_t hash_node(const struct kveil_avro_node *n)
{
	uint32_t mark = (uint32_t)((uintptr_t)n->mark >> 4);

	return n->type * 0x9E3779B1u ^ (2 * n->state + n->is_covered) * 0x85EBCA77u ^ n->root * 0xC2B2AE35u ^ mark;
}

static bool is_same_node(const struct kveil_avro_node *a, const struct kveil_avro_node *b)
{
	return a->type == b->type && a->state == b->state && a->is_covered == b->is_covered && a->root == b->root &&
	       a->mark == b->mark;
}

static bool grow_table(struct builder *b)
{
	struct kveil_avro_program *p = b->p;
	uint32_t mask = b->mask ? 2 * b->mask + 1 : 255;
	uint32_t *table = calloc((size_t)mask + 1, sizeof *table);

	if (!table)
		return no_memory(b);
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t at = hash_node(&p->nodes[i]) & mask;
		while (table[at])
			at = (at + 1) & mask;
		table[at] = i + 1;
	}
	free(b->table);
	b->table = table;
	b->mask = mask;
	return true;
}

/* By the path, and by the tags of the field: those are about what it holds, and not about the list around that. */
static bool find_rules(struct builder *b, struct kveil_avro_node *n)
{
	bool is_list = n->kind == KVEIL_AVRO_ARRAY || n->kind == KVEIL_AVRO_MAP || n->kind == KVEIL_AVRO_UNION;

	n->ids = kveil_automaton_accepts(b->p->automaton, n->state, &n->id_count);
	if (!n->mark || is_list)
		return true;
	uint32_t *all = kveil_arena_array(&b->p->arena, n->id_count + n->mark->count, sizeof *all);
	if (!all)
		return no_memory(b);
	size_t i = 0, k = 0, count = 0;
	while (i < n->id_count || k < n->mark->count) {
		bool is_mark = i == n->id_count || (k < n->mark->count && n->mark->ids[k] < n->ids[i]);
		all[count++] = is_mark ? n->mark->ids[k++] : n->ids[i++];
	}
	n->ids = all;
	n->id_count = count;
	return true;
}

/* What rules may make of the values there. */
static bool judge_node(struct builder *b, struct kveil_avro_node *n)
{
	n->effect = (struct kveil_avro_effect){.keeps = true, .sole = KVEIL_AVRO_NO_RULE};
	if (!find_rules(b, n))
		return false;
	if (!n->id_count || n->kind == KVEIL_AVRO_UNION)
		return true;
	n->past = kveil_avro_origin_of(b->p->origin, n->type);
	n->effect = b->effect(b->user, n, n->ids, n->id_count);
	n->is_place = n->effect.names;
	return true;
}

static bool new_node(struct builder *b, const struct kveil_avro_node *node)
{
	struct kveil_avro_program *p = b->p;

	if (p->count == KVEIL_AVRO_NODES)
		return fail(b, "the rules meet the schema in too many ways");
	if (p->count == b->cap) {
		uint32_t cap = b->cap ? b->cap * 2 : 64;
		struct kveil_avro_node *more = realloc(p->nodes, cap * sizeof *more);
		if (!more)
			return no_memory(b);
		p->nodes = more;
		b->cap = cap;
	}
	p->nodes[p->count] = *node;
	return judge_node(b, &p->nodes[p->count++]);
}

/* In a node like `in`, whose place may have moved when this returns. */
static bool node_of(struct builder *b, const struct kveil_avro_node *in, const struct kveil_avro_mark *mark,
		    uint32_t type, uint32_t state, uint32_t *ret)
{
	struct kveil_avro_program *p = b->p;
	bool is_branch = in && in->root == 0 && in->kind == KVEIL_AVRO_UNION && in->type == 0;
	struct kveil_avro_node node = {.kind = p->schema->types[type].kind,
				       .type = type,
				       .state = state,
				       .mark = mark,
				       .is_covered = in && (in->is_covered || in->is_place),
				       .root = is_branch ? type
					       : in      ? in->root
							 : 0};

	if (p->count * 2 >= b->mask && !grow_table(b))
		return false;
	uint32_t at = hash_node(&node) & b->mask;
	for (; b->table[at]; at = (at + 1) & b->mask) {
		*ret = b->table[at] - 1;
		if (is_same_node(&p->nodes[*ret], &node))
			return true;
	}
	*ret = p->count;
	b->table[at] = *ret + 1;
	return new_node(b, &node);
}

static struct kveil_avro_edge *new_edges(struct builder *b, uint32_t node, size_t count)
{
	struct kveil_avro_edge *edges = NULL;

	if ((b->edges += count) > MOST_EDGES) {
		fail(b, "the rules meet the schema in too many ways");
		return NULL;
	}
	edges = kveil_arena_array(&b->p->arena, count, sizeof *edges);
	if (!edges) {
		no_memory(b);
		return NULL;
	}
	memset(edges, 0, count * sizeof *edges);
	b->p->nodes[node].edges = edges;
	b->p->nodes[node].edge_count = (uint32_t)count;
	return edges;
}

static int compare_states(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* The states that elements of an array or a map may be in, ascending, each once. */
static uint32_t *element_states(const struct kveil_automaton *a, uint32_t state, bool is_map, size_t *ret_count)
{
	const struct kveil_automaton_state *s = &a->states[state];
	size_t n = kveil_automaton_way_count(s, is_map), kept = 1;
	uint32_t *states = calloc(n, sizeof *states);

	if (!states)
		return NULL;
	for (size_t i = 0; i < n; i++)
		states[i] = kveil_automaton_way(s, is_map, i);
	qsort(states, n, sizeof *states, compare_states);
	for (size_t i = 1; i < n; i++)
		if (states[i] != states[kept - 1])
			states[kept++] = states[i];
	*ret_count = kept;
	return states;
}

static bool add_elements(struct builder *b, uint32_t node)
{
	struct kveil_avro_node n = b->p->nodes[node];
	size_t count;

	if (n.kind == KVEIL_AVRO_ARRAY && kveil_avro_hides_names(b->p, n.type, n.state))
		return fail_at(b, node,
			       "a rule looks for a name in a map that Kafka Connect wrote as an array of its entries: "
			       "name the array, or [*].value");
	uint32_t *states = element_states(b->p->automaton, n.state, n.kind == KVEIL_AVRO_MAP, &count);
	struct kveil_avro_edge *edges = states ? new_edges(b, node, count) : NULL;
	bool ok = edges != NULL || (!states && no_memory(b));

	for (size_t i = 0; ok && i < count; i++) {
		edges[i].state = states[i];
		ok = node_of(b, &n, n.mark, b->p->schema->types[n.type].item, states[i], &edges[i].node);
	}
	free(states);
	return ok;
}

static bool is_renamed(struct builder *b, uint32_t node, const struct kveil_avro_member *m, uint32_t next)
{
	const char *old = kveil_avro_lost_alias(b->p, b->p->nodes[node].state, m, next, &b->renames);
	char text[200];

	if (!old)
		return false;
	snprintf(text, sizeof text, "the field '%.*s' was '%.50s', which a rule names: it has to name both",
		 (int)(m->name.len < 50 ? m->name.len : 50), (const char *)m->name.data, old);
	fail_at(b, node, text);
	return true;
}

/* What cannot be read is an error: a tag that is overlooked would leave the field in clear. */
static bool find_tag_rules(struct builder *b, uint32_t node, const struct kveil_avro_member *field,
			   uint32_t ids[KVEIL_AVRO_FIELD_TAGS], size_t *ret_count)
{
	const struct kveil_avro_type *record = &b->p->schema->types[b->p->nodes[node].type];
	const char *tags[KVEIL_AVRO_FIELD_TAGS];
	size_t count = 0;

	uint64_t cost = kveil_avro_tags_cost(b->p->tags, record, field);
	if (cost == UINT64_MAX)
		return fail_at(b, node, "a field with names too long, or too many, for rules with tags");
	if ((b->globbed += cost) > most_globbed)
		return fail_at(b, node,
			       "tags with so many wildcards, or fields with so many aliases, take too long to compare");
	size_t n = kveil_avro_tags_of(b->p->tags, record, field, tags);
	for (size_t i = 0; i < n && count <= KVEIL_AVRO_FIELD_TAGS; i++)
		count = kveil_avro_tag_rules(b->p->automaton, tags[i], ids, count, KVEIL_AVRO_FIELD_TAGS);
	*ret_count = count;
	return (n < KVEIL_AVRO_FIELD_TAGS && count <= KVEIL_AVRO_FIELD_TAGS) ||
	       fail_at(b, node, "a field with too many tags");
}

/* Of the rules that the tags of a record's field stand for: one mark for one list. NULL: there is none, or *ret_ok is
 * false. */
static const struct kveil_avro_mark *mark_of(struct builder *b, uint32_t node, const struct kveil_avro_member *field,
					     bool *ret_ok)
{
	struct kveil_avro_program *p = b->p;
	uint32_t ids[KVEIL_AVRO_FIELD_TAGS];
	size_t count = 0;

	*ret_ok = !p->tags || find_tag_rules(b, node, field, ids, &count);
	if (!count || !*ret_ok)
		return NULL;
	for (const struct kveil_avro_mark *m = p->marks; m; m = m->next)
		if (m->count == count && memcmp(m->ids, ids, count * sizeof *ids) == 0)
			return m;
	struct kveil_avro_mark *m = kveil_arena_alloc(&p->arena, sizeof *m);
	uint32_t *copy = kveil_arena_array(&p->arena, count, sizeof *copy);
	if (!m || !copy) {
		*ret_ok = no_memory(b);
		return NULL;
	}
	memcpy(copy, ids, count * sizeof *ids);
	*m = (struct kveil_avro_mark){p->marks, copy, count};
	p->marks = m;
	return m;
}

static bool add_members(struct builder *b, uint32_t node)
{
	struct kveil_avro_node n = b->p->nodes[node];
	const struct kveil_avro_type *t = &b->p->schema->types[n.type];
	const struct kveil_automaton_state *s = &b->p->automaton->states[n.state];
	struct kveil_avro_edge *edges = new_edges(b, node, t->member_count);
	bool ok = edges != NULL;

	for (uint32_t i = 0; ok && i < t->member_count; i++) {
		struct kveil_span name = t->members[i].name;
		uint32_t next = t->kind == KVEIL_AVRO_UNION
				    ? n.state
				    : kveil_automaton_on_plain_name(s, name.data, name.len, name.len);
		const struct kveil_avro_mark *mark =
		    t->kind == KVEIL_AVRO_UNION ? n.mark : mark_of(b, node, &t->members[i], &ok);
		ok = ok && (t->kind == KVEIL_AVRO_UNION || !is_renamed(b, node, &t->members[i], next)) &&
		     node_of(b, &n, mark, t->members[i].type, next, &edges[i].node);
	}
	return ok;
}

static bool build(struct builder *b)
{
	struct kveil_avro_program *p = b->p;
	uint32_t root;

	if (!node_of(b, NULL, NULL, 0, p->automaton->start, &root))
		return false;
	for (uint32_t i = 0; i < p->count; i++) {
		enum kveil_avro_kind kind = p->nodes[i].kind;
		bool ok = true;
		if (kind == KVEIL_AVRO_RECORD || kind == KVEIL_AVRO_UNION)
			ok = add_members(b, i);
		else if (kind == KVEIL_AVRO_ARRAY || kind == KVEIL_AVRO_MAP)
			ok = add_elements(b, i);
		if (!ok)
			return false;
	}
	return true;
}

/* --- what becomes of values --- */

static bool has_default(const json_t *j)
{
	const json_t *def = json_object_get(j, "default");

	return (def && !json_is_null(def)) || json_object_get(j, "connect.default");
}

/* Does the type tell of values by defaults? Null tells nothing. */
static bool holds_default(const struct kveil_avro_type *t)
{
	bool holds = has_default(t->json);

	for (uint32_t i = 0; !holds && t->kind == KVEIL_AVRO_RECORD && i < t->member_count; i++)
		holds = has_default(t->members[i].json);
	return holds;
}

static bool find_places(struct builder *b)
{
	struct kveil_avro_program *p = b->p;

	for (uint32_t i = 0; i < p->count; i++) {
		struct kveil_avro_node *n = &p->nodes[i];
		bool removes = n->effect.results & KVEIL_AVRO_TO_NOTHING;
		n->is_gone = removes && n->effect.results == KVEIL_AVRO_TO_NOTHING && !n->effect.keeps;
		/* Also where no rule can take the value: its default is clear text. */
		n->is_changed = n->is_place || (n->is_covered && holds_default(&p->schema->types[n->type]));
		if (removes && !n->is_gone)
			return blame(b, i, KVEIL_AVRO_TO_NOTHING, i,
				     "a rule removes a field in some records only: a schema has it or has not");
	}
	/* Null stays null where the value would go: there the field goes whole. */
	for (uint32_t i = 0; i < p->count; i++) {
		struct kveil_avro_node *n = &p->nodes[i];
		bool is_nothing = n->kind == KVEIL_AVRO_UNION && n->edge_count == 1; /* [null] */
		size_t gone = 0, values = 0;
		for (uint32_t k = 0; n->kind == KVEIL_AVRO_UNION && k < n->edge_count; k++) {
			const struct kveil_avro_node *branch = &p->nodes[n->edges[k].node];
			bool counts = branch->kind != KVEIL_AVRO_NULL || is_nothing;
			values += counts;
			gone += branch->is_gone && counts;
		}
		if (gone && gone < values)
			return blame(b, i, KVEIL_AVRO_TO_NOTHING, i,
				     "a rule removes some branches of a union and not the others");
		n->is_gone |= gone > 0;
	}
	return true;
}

/* false: no memory. */
static bool find_each(const struct kveil_avro_program *p, const struct kveil_avro_alt *alts, size_t count,
		      uint32_t node, struct kveil_arena *arena, const int32_t **ret)
{
	const struct kveil_avro_past *past = p->nodes[node].past;

	*ret = NULL;
	if (!past || past->count == 1 || !(p->nodes[node].effect.results & KVEIL_AVRO_TO_RESTORED))
		return true;
	int32_t *each = kveil_arena_array(arena, past->count, sizeof *each);
	for (uint32_t i = 0; each && i < past->count; i++)
		each[i] = kveil_avro_find_alternative(p, alts, count,
						      (struct kveil_avro_alt){KVEIL_AVRO_RESTORED_OF, node, i});
	*ret = each;
	return each != NULL;
}

static bool out_of(struct builder *b, const struct kveil_avro_alt *alts, size_t count, uint32_t node,
		   struct kveil_avro_out *ret)
{
	struct kveil_avro_program *p = b->p;
	const struct kveil_avro_node *n = &p->nodes[node];

	*ret = (struct kveil_avro_out){
	    .keep = kveil_avro_find_alternative(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_ORIGINAL, node, 0}),
	    .string =
		kveil_avro_find_alternative(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_STRING_OF, node, 0}),
	    .bytes = kveil_avro_find_alternative(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_BYTES_OF, node, 0}),
	    .null = kveil_avro_find_alternative(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_NULL_OF, node, 0}),
	    .restored =
		kveil_avro_find_alternative(p, alts, count, (struct kveil_avro_alt){KVEIL_AVRO_RESTORED_OF, node, 0}),
	    .is_whole = n->effect.takes_raw && is_container(n->kind),
	};
	return find_each(p, alts, count, node, &p->arena, &ret->each) || no_memory(b);
}

/* What the JSON of such values may be; nothing of those that are sealed whole anyway. */
static unsigned json_forms(enum kveil_avro_kind kind)
{
	enum { NULLS = 1, BOOLS = 2, NUMBERS = 4, TEXTS = 8 };

	switch (kind) {
	case KVEIL_AVRO_NULL:
		return NULLS;
	case KVEIL_AVRO_BOOLEAN:
		return BOOLS;
	case KVEIL_AVRO_INT:
	case KVEIL_AVRO_LONG:
		return NUMBERS;
	case KVEIL_AVRO_FLOAT:
	case KVEIL_AVRO_DOUBLE:
		return NUMBERS | TEXTS; /* "nan" */
	case KVEIL_AVRO_STRING:
	case KVEIL_AVRO_ENUM:
		return TEXTS;
	default:
		return 0;
	}
}

/* Where more than one branch becomes a string, and JSON would not say which of them a value had, it is sealed whole. */
static void tell_branches_apart(const struct kveil_avro_program *p, struct kveil_avro_node *n)
{
	unsigned once = 0, twice = 0;

	for (uint32_t k = 0; k < n->edge_count; k++) {
		const struct kveil_avro_node *branch = &p->nodes[n->edges[k].node];
		unsigned forms = branch->effect.results & KVEIL_AVRO_TO_STRING ? json_forms(branch->kind) : 0;
		twice |= once & forms;
		once |= forms;
	}
	for (uint32_t k = 0; k < n->edge_count; k++) {
		const struct kveil_avro_node *branch = &p->nodes[n->edges[k].node];
		bool is_sealed = branch->effect.takes_raw && branch->effect.results & KVEIL_AVRO_TO_STRING;
		n->edges[k].out.is_whole |= is_sealed && json_forms(branch->kind) & twice;
	}
}

/* Two branches may become one type: the derived schema names both. */
static bool place_branches(struct builder *b)
{
	struct kveil_avro_program *p = b->p;
	struct kveil_avro_alt alts[KVEIL_AVRO_BRANCHES];

	for (uint32_t i = 0; i < p->count; i++) {
		struct kveil_avro_node *n = &p->nodes[i];
		size_t count = kveil_avro_alternatives(p, i, alts);
		if (count == KVEIL_AVRO_BRANCHES)
			return fail_at(b, i, "a union of too many branches");
		if (!out_of(b, alts, count, i, &n->out))
			return false;
		n->makes_union = n->kind != KVEIL_AVRO_UNION && count > 1;
		for (uint32_t k = 0; n->kind == KVEIL_AVRO_UNION && k < n->edge_count; k++) {
			if (!out_of(b, alts, count, n->edges[k].node, &n->edges[k].out))
				return false;
			bool moves = n->edges[k].out.keep >= 0 && n->edges[k].out.keep != (int32_t)k;
			n->is_live |= moves;
			n->is_changed |= moves;
		}
		if (n->kind == KVEIL_AVRO_UNION)
			tell_branches_apart(p, n);
		n->is_live |= n->is_place || n->is_gone;
		n->is_changed |= n->is_gone || n->makes_union;
	}
	return true;
}

/* What is below is above, too. */
static bool spread(struct builder *b)
{
	struct kveil_avro_program *p = b->p;
	bool changes = true;

	for (int pass = 0; changes; pass++) {
		if (pass == KVEIL_AVRO_MOST_PASSES)
			return fail(b, "types refer to each other in too long a chain");
		changes = false;
		for (uint32_t i = p->count; i-- > 0;) {
			struct kveil_avro_node *n = &p->nodes[i];
			bool live = n->is_live, changed = n->is_changed;
			for (uint32_t k = 0; k < n->edge_count; k++) {
				live |= p->nodes[n->edges[k].node].is_live;
				changed |= p->nodes[n->edges[k].node].is_changed;
			}
			changes |= live != n->is_live || changed != n->is_changed;
			n->is_live = live;
			n->is_changed = changed;
		}
	}
	return true;
}

/* --- arrays and maps: one type for all elements --- */

static bool have_one_type(const struct kveil_avro_program *p, uint32_t a, uint32_t b)
{
	struct kveil_avro_alt x[KVEIL_AVRO_BRANCHES], y[KVEIL_AVRO_BRANCHES];

	if (p->nodes[a].class == p->nodes[b].class)
		return true;
	size_t n = kveil_avro_alternatives(p, a, x), m = kveil_avro_alternatives(p, b, y);
	if (n != m || p->nodes[a].makes_union != p->nodes[b].makes_union)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (kveil_avro_find_alternative(p, y, m, x[i]) != (int32_t)i)
			return false;
		bool is_whole = x[i].how == KVEIL_AVRO_ORIGINAL && is_container(p->nodes[x[i].node].kind);
		if (is_whole && p->nodes[x[i].node].class != p->nodes[y[i].node].class)
			return false;
	}
	return true;
}

uint32_t kveil_avro_item_node(const struct kveil_avro_program *p, const struct kveil_avro_node *n)
{
	for (uint32_t k = 0; k < n->edge_count; k++)
		if (p->nodes[n->edges[k].node].is_changed)
			return n->edges[k].node;
	return n->edges[0].node;
}

static bool check_elements(struct builder *b)
{
	const struct kveil_avro_program *p = b->p;
	const unsigned gone = KVEIL_AVRO_TO_NOTHING, changed = ~(unsigned)KVEIL_AVRO_TO_SAME;

	for (uint32_t i = 0; i < p->count; i++) {
		const struct kveil_avro_node *n = &p->nodes[i];
		if (n->kind != KVEIL_AVRO_ARRAY && n->kind != KVEIL_AVRO_MAP)
			continue;
		for (uint32_t k = 0; k < n->edge_count; k++) {
			uint32_t node = n->edges[k].node, item = kveil_avro_item_node(p, n);
			if (p->nodes[node].is_gone)
				return blame(b, node, gone, i,
					     "a rule removes elements of an array or a map: in Avro only fields of "
					     "records can go");
			if (!have_one_type(p, item, node))
				return blame(b, item, changed, i,
					     "rules change the type of some elements of an array or a map only: name "
					     "all of them with [*]");
		}
	}
	return !p->nodes[0].is_gone || blame(b, 0, gone, 0, "a whole record cannot be removed");
}

static bool find_fingerprint(struct builder *b, uint32_t type, struct kveil_avro_whole_budget *budget, uint64_t **all)
{
	struct kveil_avro_program *p = b->p;

	if (!*all) {
		*all = kveil_arena_array(&p->arena, p->schema->count, sizeof **all);
		if (!*all)
			return no_memory(b);
		memset(*all, 0, p->schema->count * sizeof **all);
		p->fingerprints = *all;
	}
	return (*all)[type] || !kveil_avro_whole_fingerprint(p->schema, type, budget, &(*all)[type], b->err);
}

static bool find_fingerprints(struct builder *b)
{
	struct kveil_avro_program *p = b->p;
	struct kveil_avro_whole_budget budget = {0};
	uint64_t *all = NULL;
	bool ok = true;

	for (uint32_t i = 0; ok && i < p->count; i++) {
		const struct kveil_avro_node *n = &p->nodes[i];
		if (n->out.is_whole)
			ok = find_fingerprint(b, n->type, &budget, &all);
		for (uint32_t k = 0; ok && n->kind == KVEIL_AVRO_UNION && k < n->edge_count; k++)
			if (n->edges[k].out.is_whole)
				ok = find_fingerprint(b, p->nodes[n->edges[k].node].type, &budget, &all);
	}
	return ok;
}

enum kveil_status kveil_avro_program_build(const struct kveil_avro_schema *schema, const struct kveil_avro_known *known,
					   const struct kveil_automaton *automaton, kveil_avro_effect_fn *effect,
					   void *user, struct kveil_avro_program **ret, struct kveil_error *err)
{
	struct kveil_error scrap;

	*ret = NULL;
	err = err ? err : &scrap;
	struct kveil_avro_program *p = calloc(1, sizeof *p);
	if (!p)
		return kveil_no_memory(err, "a schema");
	p->schema = schema;
	p->automaton = automaton;
	p->origin = known ? known->origin : NULL;
	p->tags = known ? known->tags : NULL;
	kveil_arena_init(&p->arena, 0);
	struct builder b = {.p = p,
			    .effect = effect,
			    .rule = known ? known->rule : NULL,
			    .user = user,
			    .err = err,
			    .renames = MOST_RENAMES};
	bool ok = build(&b) && find_places(&b) && place_branches(&b) && spread(&b) && kveil_avro_find_classes(p, err) &&
		  check_elements(&b) && find_fingerprints(&b) && (kveil_avro_add_steps(p) || no_memory(&b));
	free(b.table);
	if (!ok) {
		kveil_avro_program_free(p);
		return err->status;
	}
	*ret = p;
	return KVEIL_OK;
}

void kveil_avro_program_free(struct kveil_avro_program *p)
{
	if (!p)
		return;
	free(p->nodes);
	kveil_arena_clear(&p->arena);
	free(p);
}

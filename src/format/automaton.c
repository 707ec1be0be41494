/* SPDX-License-Identifier: Apache-2.0 */
/* All paths of a plan as one automaton. */
#include "format/automaton_internal.h"

#include "base/arena.h"

#include <stdlib.h>

enum { MAX_STATES = 65536, MAX_TRANSITIONS = 1 << 20 };

/* A position is "segments before this one are matched": positions[i] is followed by i + 1 once its segment
 * matched; the one behind a path's last segment accepts. */
struct position {
	const struct kveil_segment *segment; /* NULL = accepts */
	uint32_t id, twin;
	bool want_trail;
};

/* A set of positions, ascending; also the key of a state, or of a row when the accepting ones are left out. */
struct set {
	uint32_t *items;
	uint32_t count;
	uint32_t hash;
};

struct row {
	struct set set;
	struct kveil_automaton_state moves; /* all of a state but what it accepts */
};

struct builder {
	struct position *positions;
	uint32_t position_count;
	struct set *sets; /* of states, in the order of their numbers */
	struct kveil_automaton_state *states;
	uint32_t state_count, state_cap;
	struct row *rows;
	uint32_t row_count, row_cap;
	uint32_t *state_table, *row_table; /* open hash tables: number + 1, 0 = free */
	uint32_t state_table_size, row_table_size;
	uint32_t transitions;
	uint64_t *mark; /* one bit a position: the set under construction */
	struct kveil_arena scratch;
	struct kveil_arena *memory;
};

static void set_finish(struct set *s)
{
	uint32_t h = 2166136261u;

	for (uint32_t i = 0; i < s->count; i++)
		h = (h ^ s->items[i]) * 16777619u;
	s->hash = h ^ (h >> 15);
}

static bool set_eq(const struct set *a, const struct set *b)
{
	return a->hash == b->hash && a->count == b->count &&
	       (a->count == 0 || memcmp(a->items, b->items, a->count * sizeof *a->items) == 0);
}

static void mark(struct builder *b, uint32_t position)
{
	b->mark[position / 64] |= (uint64_t)1 << (position % 64);
}

/* The marked positions as a set; clears the marks. */
static bool set_take(struct builder *b, struct set *ret)
{
	uint32_t words = b->position_count / 64 + 1, count = 0;

	for (uint32_t w = 0; w < words; w++)
		count += (uint32_t)__builtin_popcountll(b->mark[w]);
	ret->items = kveil_arena_array(&b->scratch, count, sizeof *ret->items);
	if (!ret->items)
		return false;
	ret->count = 0;
	for (uint32_t w = 0; w < words; w++) {
		for (uint64_t bits = b->mark[w]; bits; bits &= bits - 1)
			ret->items[ret->count++] = w * 64 + (uint32_t)__builtin_ctzll(bits);
		b->mark[w] = 0;
	}
	set_finish(ret);
	return true;
}

static bool grow(void **items, uint32_t *cap, size_t size)
{
	uint32_t n = *cap ? *cap * 2 : 64;
	void *p = realloc(*items, (size_t)n * size);

	if (!p)
		return false;
	*items = p;
	*cap = n;
	return true;
}

/* Doubles a hash table when it is half full. get gives the hash of an entry. */
static bool table_reserve(uint32_t **table, uint32_t *size, uint32_t count,
			  const struct set *(*get)(struct builder *, uint32_t), struct builder *b)
{
	if (*size > count * 2)
		return true;
	uint32_t n = *size ? *size * 2 : 256;
	uint32_t *t = calloc(n, sizeof *t);
	if (!t)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t at = get(b, i)->hash & (n - 1);
		while (t[at])
			at = (at + 1) & (n - 1);
		t[at] = i + 1;
	}
	free(*table);
	*table = t;
	*size = n;
	return true;
}

static const struct set *state_set(struct builder *b, uint32_t i)
{
	return &b->sets[i];
}

static const struct set *row_set(struct builder *b, uint32_t i)
{
	return &b->rows[i].set;
}

/* The number of the state for the marked positions, made if it is new. */
static enum kveil_status state_of(struct builder *b, uint32_t *ret, struct kveil_error *err)
{
	struct set s;

	if (!set_take(b, &s) || !table_reserve(&b->state_table, &b->state_table_size, b->state_count, state_set, b))
		return kveil_no_memory(err, "the path automaton");
	uint32_t at = s.hash & (b->state_table_size - 1);
	for (; b->state_table[at]; at = (at + 1) & (b->state_table_size - 1)) {
		if (set_eq(&b->sets[b->state_table[at] - 1], &s)) {
			*ret = b->state_table[at] - 1;
			return KVEIL_OK;
		}
	}
	if (b->state_count == MAX_STATES) {
		kveil_fail(err, KVEIL_E_RULES, "the paths together need more than %d automaton states", MAX_STATES);
		kveil_error_hint(err, "fewer paths with `..` in one file");
		return KVEIL_E_RULES;
	}
	if (b->state_count == b->state_cap) {
		uint32_t cap = b->state_cap;
		if (!grow((void **)&b->sets, &cap, sizeof *b->sets) ||
		    !grow((void **)&b->states, &b->state_cap, sizeof *b->states))
			return kveil_no_memory(err, "the path automaton");
	}
	b->sets[b->state_count] = s;
	b->state_table[at] = b->state_count + 1;
	*ret = b->state_count++;
	return KVEIL_OK;
}

struct edge {
	struct kveil_span name;
	uint64_t index;
	uint32_t position; /* reached */
};

static int edge_compare_names(const void *x, const void *y)
{
	const struct edge *a = x, *b = y;
	size_t n = a->name.len < b->name.len ? a->name.len : b->name.len;
	int c = n ? memcmp(a->name.data, b->name.data, n) : 0;

	if (c)
		return c;
	return a->name.len < b->name.len ? -1 : a->name.len > b->name.len;
}

static int edge_compare_indices(const void *x, const void *y)
{
	const struct edge *a = x, *b = y;

	return a->index < b->index ? -1 : a->index > b->index;
}

/* The state behind the default moves and the edges of one group. */
static enum kveil_status group_state(struct builder *b, const struct set *rest, const struct edge *edges, size_t count,
				     uint32_t *ret, struct kveil_error *err)
{
	for (uint32_t i = 0; i < rest->count; i++)
		mark(b, rest->items[i]);
	for (size_t i = 0; i < count; i++)
		mark(b, edges[i].position);
	return state_of(b, ret, err);
}

static void put_name(const struct kveil_automaton_state *moves, struct kveil_automaton_slot *slots, uint64_t *filter,
		     struct kveil_span name, uint32_t next)
{
	struct kveil_name n = kveil_name_of(name.data, name.len, name.len);
	uint64_t bit = kveil_name_hash(&n) >> moves->shift;
	uint32_t at = (uint32_t)bit / 4;

	filter[bit / 64] |= (uint64_t)1 << bit % 64;
	while (slots[at].name)
		at = (at + 1) & moves->mask;
	slots[at] = (struct kveil_automaton_slot){n.head, n.tail, (uint32_t)name.len, next, name.data};
}

static enum kveil_status row_names(struct builder *b, const struct set *rest, struct edge *edges, size_t count,
				   struct kveil_automaton_state *moves, struct kveil_error *err)
{
	size_t groups = 0;

	qsort(edges, count, sizeof *edges, edge_compare_names);
	for (size_t i = 0; i < count; i++)
		groups += i == 0 || edge_compare_names(&edges[i - 1], &edges[i]) != 0;
	uint32_t cap = 4;
	while (cap < groups * 2)
		cap *= 2;
	struct kveil_automaton_slot *slots = kveil_arena_array(b->memory, cap, sizeof *slots);
	if (!slots)
		return kveil_no_memory(err, "the path automaton");
	memset(slots, 0, cap * sizeof *slots);
	size_t words = (cap * 4 + 63) / 64;
	uint64_t *filter = kveil_arena_array(b->memory, words, sizeof *filter);
	if (!filter)
		return kveil_no_memory(err, "the path automaton");
	memset(filter, 0, words * sizeof *filter);
	moves->slots = slots;
	moves->filter = filter;
	moves->mask = cap - 1;
	moves->shift = 64 - (uint32_t)__builtin_ctz(cap * 4);
	for (size_t i = 0, j; i < count; i = j) {
		for (j = i + 1; j < count && edge_compare_names(&edges[i], &edges[j]) == 0; j++)
			;
		uint32_t next;
		enum kveil_status st = group_state(b, rest, &edges[i], j - i, &next, err);
		if (st)
			return st;
		/* The paths may go: the name moves in. One byte at least, for NULL marks a free slot. */
		uint8_t *name = kveil_arena_alloc(b->memory, edges[i].name.len + 1);
		if (!name)
			return kveil_no_memory(err, "the path automaton");
		if (edges[i].name.len)
			memcpy(name, edges[i].name.data, edges[i].name.len);
		put_name(moves, slots, filter, kveil_span_of(name, edges[i].name.len), next);
	}
	b->transitions += (uint32_t)groups;
	return KVEIL_OK;
}

static enum kveil_status row_indices(struct builder *b, const struct set *rest, struct edge *edges, size_t count,
				     struct kveil_automaton_state *moves, struct kveil_error *err)
{
	struct kveil_automaton_index *indices = kveil_arena_array(b->memory, count, sizeof *indices);

	if (!indices)
		return kveil_no_memory(err, "the path automaton");
	qsort(edges, count, sizeof *edges, edge_compare_indices);
	uint32_t n = 0;
	for (size_t i = 0, j; i < count; i = j) {
		for (j = i + 1; j < count && edges[i].index == edges[j].index; j++)
			;
		indices[n].index = edges[i].index;
		enum kveil_status st = group_state(b, rest, &edges[i], j - i, &indices[n].next, err);
		if (st)
			return st;
		n++;
	}
	moves->indices = indices;
	moves->index_count = n;
	b->transitions += n;
	return KVEIL_OK;
}

/* All moves out of a set of positions. */
static enum kveil_status row_build(struct builder *b, const struct set *set, struct kveil_automaton_state *moves,
				   struct kveil_error *err)
{
	size_t selectors = 0, names = 0, indices = 0;

	for (uint32_t i = 0; i < set->count; i++)
		selectors += b->positions[set->items[i]].segment->count;
	struct edge *by_name = kveil_arena_array(&b->scratch, selectors, sizeof *by_name);
	struct edge *by_index = kveil_arena_array(&b->scratch, selectors, sizeof *by_index);
	if (!by_name || !by_index)
		return kveil_no_memory(err, "the path automaton");
	for (uint32_t i = 0; i < set->count; i++) {
		uint32_t at = set->items[i];
		const struct kveil_segment *seg = b->positions[at].segment;
		if (seg->descendant)
			mark(b, at);
		for (size_t k = 0; k < seg->count; k++) {
			const struct kveil_selector *sel = &seg->selectors[k];
			if (sel->kind == KVEIL_SEL_WILDCARD)
				mark(b, at + 1);
			else if (sel->kind == KVEIL_SEL_NAME)
				by_name[names++] = (struct edge){.name = sel->name, .position = at + 1};
			else if (sel->kind == KVEIL_SEL_INDEX && sel->index >= 0)
				by_index[indices++] = (struct edge){.index = (uint64_t)sel->index, .position = at + 1};
			else
				return kveil_fail(err, KVEIL_E_INTERNAL, "a path that cannot stream in the automaton");
		}
	}
	struct set rest;
	if (!set_take(b, &rest))
		return kveil_no_memory(err, "the path automaton");
	enum kveil_status st = group_state(b, &rest, NULL, 0, &moves->default_name, err);
	moves->default_index = moves->default_name;
	if (!st && names)
		st = row_names(b, &rest, by_name, names, moves, err);
	if (!st && indices)
		st = row_indices(b, &rest, by_index, indices, moves, err);
	if (!st && b->transitions > MAX_TRANSITIONS)
		st = kveil_fail(err, KVEIL_E_RULES, "the paths together need more than %d automaton transitions",
				MAX_TRANSITIONS);
	moves->live = set->count > 0;
	return st;
}

/* The row of the marked positions, made if it is new. */
static enum kveil_status row_of(struct builder *b, uint32_t *ret, struct kveil_error *err)
{
	struct set s;

	if (!set_take(b, &s) || !table_reserve(&b->row_table, &b->row_table_size, b->row_count, row_set, b))
		return kveil_no_memory(err, "the path automaton");
	uint32_t at = s.hash & (b->row_table_size - 1);
	for (; b->row_table[at]; at = (at + 1) & (b->row_table_size - 1)) {
		if (set_eq(&b->rows[b->row_table[at] - 1].set, &s)) {
			*ret = b->row_table[at] - 1;
			return KVEIL_OK;
		}
	}
	struct row row = {.set = s};
	enum kveil_status st = row_build(b, &s, &row.moves, err);
	if (st)
		return st;
	if (b->row_count == b->row_cap && !grow((void **)&b->rows, &b->row_cap, sizeof *b->rows))
		return kveil_no_memory(err, "the path automaton");
	b->rows[b->row_count] = row;
	b->row_table[at] = b->row_count + 1;
	*ret = b->row_count++;
	return KVEIL_OK;
}

static int compare_ids(const void *x, const void *y)
{
	uint32_t a = (*(const struct position *const *)x)->id, b = (*(const struct position *const *)y)->id;

	return a < b ? -1 : a > b;
}

/* The ids of the accepting positions, ascending, the first of each set of twins only. */
static uint32_t take_ids(const struct position **accepting, uint32_t count, uint32_t *ids)
{
	uint32_t n = 0;

	qsort(accepting, count, sizeof *accepting, compare_ids);
	for (uint32_t i = 0; i < count; i++)
		if (i == 0 || accepting[i]->twin != accepting[i - 1]->twin)
			ids[n++] = accepting[i]->id;
	return n;
}

static enum kveil_status state_build(struct builder *b, uint32_t number, struct kveil_error *err)
{
	struct set set = b->sets[number];
	uint32_t count = 0, row = 0;
	uint32_t *ids = kveil_arena_array(b->memory, set.count, sizeof *ids);
	const struct position **accepting = kveil_arena_array(&b->scratch, set.count, sizeof *accepting);
	bool want_trail = false;

	if (!ids || !accepting)
		return kveil_no_memory(err, "the path automaton");
	for (uint32_t i = 0; i < set.count; i++) {
		const struct position *p = &b->positions[set.items[i]];
		if (p->segment) {
			mark(b, set.items[i]);
			continue;
		}
		accepting[count++] = p;
		want_trail |= p->want_trail;
	}
	enum kveil_status st = row_of(b, &row, err);
	if (st)
		return st;
	count = take_ids(accepting, count, ids);
	b->states[number] = b->rows[row].moves;
	b->states[number].accepts = ids;
	b->states[number].accept_count = count;
	b->states[number].want_trail = want_trail;
	return KVEIL_OK;
}

static enum kveil_status build(struct builder *b, const struct kveil_automaton_path *paths, size_t count,
			       struct kveil_automaton *a, struct kveil_error *err)
{
	size_t total = 0, at = 0;

	for (size_t i = 0; i < count; i++)
		total += paths[i].path->count + 1;
	if (total > UINT32_MAX / 2)
		return kveil_fail(err, KVEIL_E_RULES, "too many paths");
	b->position_count = (uint32_t)total;
	b->positions = kveil_arena_array(&b->scratch, total, sizeof *b->positions);
	b->mark = kveil_arena_array(&b->scratch, total / 64 + 1, sizeof *b->mark);
	uint32_t *firsts = kveil_arena_array(&b->scratch, count, sizeof *firsts);
	if (!b->positions || !b->mark || !firsts)
		return kveil_no_memory(err, "the path automaton");
	memset(b->mark, 0, (total / 64 + 1) * sizeof *b->mark);
	for (size_t i = 0; i < count; i++) {
		const struct kveil_path *p = paths[i].path;
		firsts[i] = (uint32_t)at;
		for (size_t k = 0; k <= p->count; k++)
			b->positions[at++] = (struct position){k < p->count ? &p->segments[k] : NULL, paths[i].id,
							       paths[i].twin, paths[i].want_trail};
	}
	uint32_t dead;
	enum kveil_status st = state_of(b, &dead, err); /* nothing marked: the dead state is number 0 */
	for (size_t i = 0; i < count; i++)
		mark(b, firsts[i]);
	if (!st)
		st = state_of(b, &a->start, err);
	for (uint32_t i = 0; !st && i < b->state_count; i++)
		st = state_build(b, i, err);
	return st;
}

enum kveil_status kveil_automaton_new(const struct kveil_automaton_path *paths, size_t count,
				      struct kveil_automaton **ret, struct kveil_error *err)
{
	*ret = NULL;
	struct kveil_automaton *a = calloc(1, sizeof *a);
	if (!a)
		return kveil_no_memory(err, "the path automaton");
	kveil_arena_init(&a->memory, 0);
	struct builder b = {.memory = &a->memory};
	kveil_arena_init(&b.scratch, 0);
	enum kveil_status st = build(&b, paths, count, a, err);
	a->states = b.states;
	a->state_count = b.state_count;
	free(b.sets);
	free(b.rows);
	free(b.state_table);
	free(b.row_table);
	kveil_arena_clear(&b.scratch);
	if (st)
		kveil_automaton_free(a);
	else
		*ret = a;
	return st;
}

void kveil_automaton_free(struct kveil_automaton *a)
{
	if (!a)
		return;
	free(a->states);
	kveil_arena_clear(&a->memory);
	free(a);
}

const uint32_t *kveil_automaton_accepts(const struct kveil_automaton *a, uint32_t state, size_t *ret_count)
{
	*ret_count = a->states[state].accept_count;
	return a->states[state].accepts;
}

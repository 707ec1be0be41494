/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which rule writes which place, in every view: over the tape, place by place in document order. A rule runs once a
 * place however many views take its result.
 */
#include "engine/decide.h"

#include "base/heap_sort.h"

#include <stdlib.h>

/* A node and one rule or `clear:` path that names it. */
struct naming {
	uint32_t node, id;
};

struct kveil_outcome {
	uint32_t rule; /* rank */
	bool holds, applied;
	enum kveil_effect effect;
	uint32_t piece; /* number in engine.piece_list, when WRITTEN */
};

static bool add_piece(struct kveil_engine *e, size_t offset, uint32_t *ret)
{
	if (e->piece_count == e->piece_cap) {
		uint32_t cap = e->piece_cap ? e->piece_cap * 2 : 64;
		size_t more = (cap - e->piece_cap) * sizeof *e->piece_list;
		if (!kveil_allowance_take(&e->allowance, more))
			return false;
		struct kveil_piece *list = realloc(e->piece_list, cap * sizeof *list); /* offsets, no values */
		if (!list) {
			kveil_allowance_give(&e->allowance, more);
			return false;
		}
		e->piece_list = list;
		e->piece_cap = cap;
	}
	*ret = e->piece_count;
	e->piece_list[e->piece_count++] = (struct kveil_piece){offset, e->pieces.len - offset};
	return true;
}

static struct kveil_outcome *outcome_of(struct kveil_place_at_hand *p, uint32_t rule)
{
	for (size_t i = 0; i < p->outcome_count; i++)
		if (p->outcomes[i].rule == rule)
			return &p->outcomes[i];
	return NULL;
}

static bool applies(const struct kveil_engine *e, const struct kveil_place_at_hand *p, uint32_t rule, size_t view)
{
	return e->rules[rule].views >> view & 1 && kveil_engine_takes(&e->rules[rule], p->spot.match.kind);
}

/* A rule stands once for each reading of the record in which it names the place: the first stands for it. */
static bool is_repeated(const struct kveil_engine *e, const struct kveil_place_at_hand *p, size_t i)
{
	return i > 0 && kveil_decide_are_twins(e, p->ids[i - 1], p->ids[i]);
}

static size_t after_twins(const struct kveil_engine *e, const struct kveil_place_at_hand *p, size_t i)
{
	return kveil_decide_after_twins(e, p->ids, p->id_count, i);
}

/* Asks the condition of the rule at ids[i] here, once. */
static enum kveil_status ask(struct kveil_engine *e, struct kveil_place_at_hand *p, size_t i,
			     struct kveil_outcome **ret, struct kveil_error *err)
{
	*ret = outcome_of(p, p->ids[i]);
	if (*ret)
		return KVEIL_OK;
	*ret = &p->outcomes[p->outcome_count++];
	**ret = (struct kveil_outcome){.rule = p->ids[i]};
	return kveil_engine_holds(e, &p->ids[i], after_twins(e, p, i) - i, &p->spot, &(*ret)->holds, err);
}

/* Runs a rule's action here, once. A null that stays null counts as written, as it is, for `to` to carry. */
static enum kveil_status run_rule(struct kveil_engine *e, struct kveil_place_at_hand *p, struct kveil_outcome *o,
				  size_t view, struct kveil_error *err)
{
	struct kveil_bound_rule *r = &e->rules[o->rule];
	const struct kveil_match *m = &p->spot.match;
	size_t offset = e->pieces.len;

	if (o->applied)
		return KVEIL_OK;
	enum kveil_status st = kveil_engine_apply(e, r, &p->spot, &e->pieces, &o->effect, err);
	if (st) {
		char why[64] = "failed: ";
		strncat(why, kveil_status_code(st), sizeof why - 16);
		kveil_engine_trace(e, view, r, &p->spot, false, KVEIL_SPAN_NULL, why);
		return st;
	}
	if (o->effect == KVEIL_EFFECT_KEPT && r->rule->to)
		kveil_buf_append(&e->pieces, p->spot.text.data + m->start, m->end - m->start);
	if (!kveil_buf_ok(&e->pieces) || !add_piece(e, offset, &o->piece))
		return kveil_no_memory(err, "a record");
	o->applied = true;
	return KVEIL_OK;
}

static struct kveil_span piece_span(const struct kveil_engine *e, const struct kveil_outcome *o)
{
	const struct kveil_piece *piece = &e->piece_list[o->piece];

	return kveil_span_of(e->pieces.data + piece->offset, piece->len);
}

/* By what was said of the place at hand. */
static bool is_of_other_table(const struct kveil_engine *e, const struct kveil_bound_rule *r)
{
	return r->rule->tables && r->table_serial == e->serial && r->table == KVEIL_NO;
}

static void trace_outcome(struct kveil_engine *e, struct kveil_place_at_hand *p, size_t view,
			  const struct kveil_outcome *o)
{
	const struct kveil_bound_rule *r = &e->rules[o->rule];

	if (!e->trace)
		return;
	if (!o->holds)
		kveil_engine_trace(e, view, r, &p->spot, false, KVEIL_SPAN_NULL,
				   is_of_other_table(e, r) ? "another table" : "when is false");
	else if (o->effect == KVEIL_EFFECT_KEPT)
		kveil_engine_trace(e, view, r, &p->spot, r->rule->to != NULL, KVEIL_SPAN_NULL, "null kept");
	else
		kveil_engine_trace(e, view, r, &p->spot, r->rule->to != NULL,
				   o->effect == KVEIL_EFFECT_WRITTEN ? piece_span(e, o) : KVEIL_SPAN_NULL, "applied");
}

/* Is it for such a text where that cannot be read? */
static bool is_column_text(const struct kveil_engine *e, uint32_t id)
{
	return e->rules[id].is_text_column && e->rules[id].from == KVEIL_STAGE_PART;
}

/* Of the rules that write the place's own node, the first that holds; NULL when none does. */
static enum kveil_status decide_in_place(struct kveil_engine *e, struct kveil_place_at_hand *p, size_t view,
					 struct kveil_outcome **ret, struct kveil_error *err)
{
	*ret = NULL;
	for (size_t i = 0; i < p->id_count; i++) {
		uint32_t id = p->ids[i];
		struct kveil_outcome *o;
		if (id >= e->rule_count || is_repeated(e, p, i) || e->rules[id].rule->to || !applies(e, p, id, view))
			continue;
		if (p->is_row && (e->rules[id].rule->but_row || is_column_text(e, id)))
			continue;
		enum kveil_status st = ask(e, p, i, &o, err);
		if (!st && o->holds) {
			*ret = o;
			st = run_rule(e, p, o, view, err);
		}
		if (st)
			return st;
		trace_outcome(e, p, view, o);
		if (o->holds)
			return KVEIL_OK;
	}
	return KVEIL_OK;
}

/* The rules that write siblings: of those with one target, the first that holds. */
static enum kveil_status decide_targets(struct kveil_engine *e, struct kveil_place_at_hand *p, size_t view,
					struct kveil_rewrite *w, const struct kveil_bound_rule **ret_mover,
					struct kveil_error *err)
{
	*ret_mover = NULL;
	for (size_t i = 0; i < p->id_count; i++) {
		uint32_t id = p->ids[i];
		struct kveil_outcome *o;
		bool is_taken = false;
		if (id >= e->rule_count || is_repeated(e, p, i) || !e->rules[id].rule->to || !applies(e, p, id, view))
			continue;
		const struct kveil_rule *rule = e->rules[id].rule;
		for (size_t k = 0; k < i; k++) {
			const struct kveil_outcome *before = outcome_of(p, p->ids[k]);
			const struct kveil_bound_rule *r = before ? &e->rules[before->rule] : NULL;
			is_taken |= r && before->holds && r->rule->to && r->views >> view & 1 &&
				    kveil_span_eq(r->rule->to_name, rule->to_name);
		}
		enum kveil_status st = ask(e, p, i, &o, err);
		if (!st && o->holds && e->rules[id].from == KVEIL_STAGE_PARTIAL) {
			st = kveil_fail(err, KVEIL_E_UNSUPPORTED_ENVELOPE,
					"`to` has nowhere to write beside a field that changed, whose name is a path");
			return kveil_engine_blame(&e->rules[id], p->spot.match.start, st, err);
		}
		/* A rule that lost its target to another still wants the source gone. */
		if (!st && o->holds && !rule->keep_source)
			*ret_mover = &e->rules[id];
		if (!st && is_taken)
			continue;
		if (!st && o->holds)
			st = run_rule(e, p, o, view, err);
		if (st)
			return st;
		trace_outcome(e, p, view, o);
		if (!o->holds)
			continue;
		/* A removed value has nothing to write: only its source goes. */
		if (o->effect == KVEIL_EFFECT_REMOVED)
			continue;
		st = kveil_rewrite_append(e, w, &e->rules[id], p->spot.match.node, o->piece, err);
		if (st)
			return st;
	}
	return KVEIL_OK;
}

/* Is the place named, by a rule or under `clear`? An envelope's own rule, and one for another table, name nothing. */
static enum kveil_status name_place(struct kveil_engine *e, struct kveil_place_at_hand *p, size_t view,
				    struct kveil_rewrite *w, struct kveil_error *err)
{
	for (size_t i = 0, next; i < p->id_count; i = next) {
		uint32_t id = p->ids[i];
		bool is_rule = id < e->rule_count;
		uint64_t views = is_rule ? e->rules[id].views : e->clears[id - e->rule_count].views;
		enum kveil_tri table = KVEIL_YES;
		next = after_twins(e, p, i);
		if (!(views >> view & 1) || (is_rule && e->rules[id].rule->is_of_event))
			continue;
		enum kveil_status st =
		    is_rule ? kveil_engine_tables(e, &p->ids[i], next - i, &p->spot, &table, err) : KVEIL_OK;
		if (st)
			return st;
		if (table != KVEIL_NO)
			kveil_rewrite_name(w, p->spot.match.node);
	}
	return KVEIL_OK;
}

static enum kveil_status keep_type(const struct kveil_engine *e, const struct kveil_place_at_hand *p,
				   const struct kveil_bound_rule *r, struct kveil_span result, struct kveil_error *err)
{
	return e->keeps_types ? kveil_engine_keep_type(r, p->spot.text, &p->spot.match, result, err) : KVEIL_OK;
}

static enum kveil_status decide_view(struct kveil_engine *e, struct kveil_place_at_hand *p, size_t view,
				     struct kveil_rewrite *w, struct kveil_error *err)
{
	const struct kveil_match *m = &p->spot.match;
	struct kveil_outcome *in_place;
	const struct kveil_bound_rule *mover;

	enum kveil_status st = e->unmatched_views >> view & 1 ? name_place(e, p, view, w, err) : KVEIL_OK;
	if (st)
		return st;
	if (m->start < w->covered_until)
		return KVEIL_OK;
	st = decide_in_place(e, p, view, &in_place, err);
	if (!st)
		st = decide_targets(e, p, view, w, &mover, err);
	if (st)
		return st;
	if (in_place && in_place->effect != KVEIL_EFFECT_KEPT) {
		bool removes = in_place->effect == KVEIL_EFFECT_REMOVED;
		if (removes && m->depth == 0) {
			kveil_fail(err, KVEIL_E_UNSUPPORTED_KIND, "a whole record cannot be removed");
			return kveil_engine_blame(&e->rules[in_place->rule], m->start, err->status, err);
		}
		st = keep_type(e, p, &e->rules[in_place->rule], removes ? KVEIL_SPAN_NULL : piece_span(e, in_place),
			       err);
		kveil_rewrite_mark(w, m->node, removes ? KVEIL_MARK_REMOVE : KVEIL_MARK_WRITE, in_place->piece);
		w->covered_until = m->end;
	} else if (!in_place && mover) {
		st = keep_type(e, p, mover, KVEIL_SPAN_NULL, err);
		kveil_rewrite_mark(w, m->node, KVEIL_MARK_MOVED, 0);
		w->covered_until = m->end;
	}
	return st;
}

#define KEY(x)       ((uint64_t)(x).node << 32 | (x).id)
#define BEFORE(a, b) (KEY(a) < KEY(b))
KVEIL_HEAP_SORT(sort_namings, struct naming, BEFORE)

struct namings {
	struct naming *items;
	size_t count, cap;
};

static bool add_namings(struct kveil_engine *e, struct namings *ns, uint32_t id, const uint32_t *nodes, size_t count)
{
	if (ns->cap - ns->count < count) {
		size_t cap = (ns->count + count) * 2;
		struct naming *more = kveil_arena_array(&e->arena, cap, sizeof *more);
		if (!more)
			return false;
		if (ns->count)
			memcpy(more, ns->items, ns->count * sizeof *more);
		ns->items = more;
		ns->cap = cap;
	}
	for (size_t i = 0; i < count; i++)
		ns->items[ns->count++] = (struct naming){nodes[i], id};
	return true;
}

/* The same of a text in which names may be paths. */
static enum kveil_status find_dotted(struct kveil_engine *e, uint32_t id, const struct kveil_path *own, unsigned how,
				     const struct kveil_doc *doc, struct namings *ns, struct kveil_error *err)
{
	struct kveil_doc row = kveil_engine_known(e, doc);
	uint32_t *nodes;
	size_t count;

	row.has_gaps = true;
	enum kveil_status st = kveil_dotted_select(e, own, &row, how, &nodes, &count, err);
	return !st && !add_namings(e, ns, id, nodes, count) ? kveil_no_memory(err, "a record") : st;
}

/* What a path finds in each of its rows, for those that the automaton cannot follow. */
static enum kveil_status find_by_tape(struct kveil_engine *e, uint32_t id, const struct kveil_path *root,
				      const struct kveil_path *path, bool has_gaps, bool is_flat, bool is_filled,
				      bool doubt_selects, const struct kveil_doc *doc, struct namings *ns,
				      struct kveil_error *err)
{
	struct kveil_doc row = kveil_engine_known(e, doc);
	uint32_t *rows = NULL, *nodes;
	size_t row_count, count;

	enum kveil_status st =
	    kveil_path_select_within(root, doc, 0, false, &e->work, &e->arena, &rows, &row_count, err);
	for (size_t i = 0; !st && i < row_count; i++) {
		row.root = rows[i];
		row.has_gaps = has_gaps || (is_flat && kveil_engine_is_partial(e, &row));
		row.has_fillers = kveil_engine_has_fillers(e, &row, root, is_flat);
		row.full = is_filled ? kveil_engine_full_row(e, &row, root) : 0;
		st = kveil_path_select_within(path, &row, 0, doubt_selects, &e->work, &e->arena, &nodes, &count, err);
		if (!st && !add_namings(e, ns, id, nodes, count))
			st = kveil_no_memory(err, "a record");
	}
	return st;
}

/* Every place with everything that names it, for paths that the automaton cannot follow as well. */
static enum kveil_status find_namings(struct kveil_engine *e, const struct kveil_document *d, struct namings *ns,
				      struct kveil_error *err)
{
	enum kveil_status st = KVEIL_OK;
	size_t count;

	for (size_t i = 0; i < d->scan->match_count && !d->is_dotted; i++) {
		const uint32_t *ids = kveil_automaton_accepts(d->automaton, d->scan->matches[i].state, &count);
		for (size_t k = 0; k < count; k++)
			if (!add_namings(e, ns, ids[k], &d->scan->matches[i].node, 1))
				return kveil_no_memory(err, "a record");
	}
	for (uint32_t i = 0; i < e->rule_count; i++) {
		const struct kveil_bound_rule *r = &e->rules[i];
		bool protects = r->action->effect == KVEIL_PROTECTS;
		if ((r->streams && !d->is_dotted) || !kveil_decide_is_of(e, d, i))
			continue;
		unsigned how = (protects ? KVEIL_DOTTED_WIDELY : 0) | (protects && !r->way ? KVEIL_DOTTED_INSIDE : 0);
		st = d->is_dotted ? find_dotted(e, i, r->own, how, &d->scan->doc, ns, err)
				  : find_by_tape(e, i, r->root, r->own, r->has_gaps, r->is_flat, r->is_filled, protects,
						 &d->scan->doc, ns, err);
		if (st)
			return kveil_engine_blame(r, KVEIL_NO_BYTE, st, err);
	}
	for (uint32_t i = 0; i < e->clear_count; i++) {
		const struct kveil_bound_clear *c = &e->clears[i];
		if ((c->streams && !d->is_dotted) || !kveil_decide_is_of(e, d, e->rule_count + i))
			continue;
		/* In doubt it is not clear. */
		st = d->is_dotted ? find_dotted(e, e->rule_count + i, c->own, KVEIL_DOTTED_NONE, &d->scan->doc, ns, err)
				  : find_by_tape(e, e->rule_count + i, c->root, c->own, c->has_gaps, c->is_flat,
						 c->is_filled, false, &d->scan->doc, ns, err);
		if (st)
			return st;
	}
	sort_namings(ns->items, ns->count);
	return KVEIL_OK;
}

static struct kveil_match match_of_node(const struct kveil_doc *doc, uint32_t node)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	struct kveil_match m = {.start = n->start,
				.end = n->end,
				.name_start = n->name_start,
				.name_end = n->name_end,
				.node = node,
				.trail = KVEIL_NO_TRAIL,
				.kind = n->kind,
				.flags = n->flags};

	for (uint32_t p = n->parent; p != UINT32_MAX; p = doc->nodes[p].parent)
		m.depth++;
	return m;
}

static void count_rules(struct kveil_engine *e, const struct kveil_place_at_hand *p)
{
	for (size_t i = 0; i < p->id_count; i++)
		if (p->ids[i] < e->rule_count && !is_repeated(e, p, i) &&
		    kveil_engine_takes(&e->rules[p->ids[i]], p->spot.match.kind))
			kveil_engine_count(e, &e->rules[p->ids[i]]);
}

/* One place: counts it, then decides in each view. */
static enum kveil_status decide_place(struct kveil_engine *e, struct kveil_place_at_hand *p, struct kveil_error *err)
{
	const struct kveil_document *d = p->document;

	p->outcome_count = 0;
	p->spot.way_count = 0;
	if (__builtin_expect(e->parts[d->part].has_ways, 0))
		kveil_decide_part_ids(e, p);
	count_rules(e, p);
	p->is_row = false;
	enum kveil_status st = __builtin_expect(p->spot.way_count != 0, 0) ? kveil_decide_open(e, p, err) : KVEIL_OK;
	for (size_t v = 0; !st && v < e->view_count; v++)
		if (d->views >> v & 1)
			st = decide_view(e, p, v, &d->ws[v], err);
	return st || !p->spot.way_count ? st : kveil_decide_inside(e, p, err);
}

/* Empty containers that the path's beginnings find: what the path names would be in there. */
static enum kveil_status lead_along(struct kveil_engine *e, const struct kveil_path *path, struct kveil_rewrite *w,
				    struct kveil_error *err)
{
	struct kveil_path beginning = *path;
	uint32_t *nodes;
	size_t count;

	for (beginning.count = 1; beginning.count < path->count; beginning.count++) {
		/* In doubt it does not lead there. */
		enum kveil_status st =
		    kveil_path_select_within(&beginning, w->doc, 0, false, &e->work, &e->arena, &nodes, &count, err);
		if (st)
			return st;
		for (size_t i = 0; i < count; i++)
			if (kveil_rewrite_is_empty(w, nodes[i]))
				kveil_rewrite_lead(w, nodes[i]);
	}
	return KVEIL_OK;
}

static enum kveil_status lead_to_empty(struct kveil_engine *e, const struct kveil_document *d, size_t view,
				       struct kveil_error *err)
{
	struct kveil_rewrite *w = &d->ws[view];
	enum kveil_status st = KVEIL_OK;
	uint32_t node = 0;

	while (node < w->doc->count && !kveil_rewrite_is_empty(w, node))
		node++;
	if (node == w->doc->count)
		return KVEIL_OK;
	for (uint32_t i = 0; !st && i < e->rule_count; i++)
		if (e->rules[i].views >> view & 1 && !e->rules[i].rule->is_of_event && kveil_decide_is_of(e, d, i))
			st = lead_along(e, e->rules[i].path, w, err);
	for (uint32_t i = 0; !st && i < e->clear_count; i++)
		if (e->clears[i].views >> view & 1 && kveil_decide_is_of(e, d, e->rule_count + i))
			st = lead_along(e, e->clears[i].path, w, err);
	return st;
}

bool kveil_engine_bind_level(struct kveil_engine *e, unsigned number)
{
	struct kveil_level *level = &e->levels[number];
	size_t most = (size_t)e->rule_count + e->clear_count;

	level->ids = kveil_arena_array(&e->bound, most, sizeof *level->ids);
	level->kept = kveil_arena_array(&e->bound, most, sizeof *level->kept);
	level->ways = kveil_arena_array(&e->bound, most, sizeof *level->ways);
	level->open = kveil_arena_array(&e->bound, most, sizeof *level->open);
	level->outcomes = kveil_arena_array(&e->bound, e->rule_count, sizeof *level->outcomes);
	return level->ids && level->kept && level->ways && level->open && level->outcomes;
}

enum kveil_status kveil_decide_document(struct kveil_engine *e, const struct kveil_document *d, struct kveil_error *err)
{
	const struct kveil_doc *doc = &d->scan->doc;
	struct kveil_level *level = &e->levels[d->level];
	struct kveil_place_at_hand place = {
	    .document = d,
	    .spot = {.part = d->part, .text = doc->text, .doc = doc, .outer = d->outer, .is_dotted = d->is_dotted},
	    .outcomes = level->outcomes};
	struct namings ns = {0};
	enum kveil_status st = KVEIL_OK;

	if (d->all_stream) {
		for (size_t i = 0; !st && i < d->scan->match_count; i++) {
			place.spot.match = d->scan->matches[i];
			place.ids = kveil_automaton_accepts(d->automaton, place.spot.match.state, &place.id_count);
			st = decide_place(e, &place, err);
		}
		return st;
	}
	st = find_namings(e, d, &ns, err);
	for (size_t i = 0; !st && i < ns.count;) {
		uint32_t node = ns.items[i].node;
		place.spot.match = match_of_node(doc, node);
		place.ids = level->ids;
		for (place.id_count = 0; i < ns.count && ns.items[i].node == node; i++)
			if (!place.id_count || level->ids[place.id_count - 1] != ns.items[i].id)
				level->ids[place.id_count++] = ns.items[i].id;
		st = decide_place(e, &place, err);
	}
	return st;
}

enum kveil_status kveil_decide_settle(struct kveil_engine *e, const struct kveil_document *d, size_t view,
				      enum kveil_unmatched unmatched, struct kveil_edits *ret, struct kveil_error *err)
{
	enum kveil_status st = KVEIL_OK;

	if (unmatched != KVEIL_UNMATCHED_KEEP)
		st = lead_to_empty(e, d, view, err);
	if (!st && unmatched != KVEIL_UNMATCHED_KEEP && e->plan->envelope && !d->outer)
		st = kveil_engine_spare(e, &d->ws[view], err);
	return st ? st : kveil_rewrite_settle(e, &d->ws[view], unmatched, ret, err);
}

enum kveil_status kveil_engine_decide(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				      struct kveil_buf **outs, bool *ret_written, struct kveil_error *err)
{
	struct kveil_bound_part *p = &e->parts[part];

	p->scan.want_doc = true;
	enum kveil_status st = p->format->scan(&p->scan, text, err);
	if (st)
		return st;
	kveil_buf_reset(&e->pieces);
	e->piece_count = 0;
	if (part == KVEIL_PART_VALUE)
		e->value_doc = &p->scan.doc;
	struct kveil_document d = {.part = part,
				   .scan = &p->scan,
				   .automaton = p->automaton,
				   .all_stream = p->all_stream,
				   .views = ~(uint64_t)0,
				   .ws = kveil_arena_array(&e->arena, e->view_count, sizeof *d.ws)};
	if (!d.ws)
		return kveil_no_memory(err, "a record");
	for (size_t v = 0; !st && v < e->view_count; v++)
		st = kveil_rewrite_init(e, &d.ws[v], &p->scan.doc, v, err);
	if (!st)
		st = kveil_decide_document(e, &d, err);
	for (size_t v = 0; !st && v < e->view_count; v++) {
		struct kveil_edits edits;
		st = kveil_decide_settle(e, &d, v,
					 part == KVEIL_PART_VALUE ? e->plan->views[v].unmatched : KVEIL_UNMATCHED_KEEP,
					 &edits, err);
		ret_written[v] = !st && edits.count;
		if (ret_written[v])
			st = kveil_rewrite_splice(e, &d.ws[v], &edits, outs[v], err);
	}
	return st;
}

enum kveil_status kveil_engine_decide_root(struct kveil_engine *e, const struct kveil_spot *spot, const uint32_t *ids,
					   size_t id_count, struct kveil_root_result *results, struct kveil_error *err)
{
	struct kveil_place_at_hand p = {
	    .spot = *spot, .ids = ids, .id_count = id_count, .outcomes = e->levels[0].outcomes};

	count_rules(e, &p);
	for (size_t v = 0; v < e->view_count; v++) {
		struct kveil_outcome *o;
		enum kveil_status st = decide_in_place(e, &p, v, &o, err);
		if (st)
			return st;
		results[v] = (struct kveil_root_result){.effect = o ? o->effect : KVEIL_EFFECT_KEPT};
		if (o) {
			results[v].piece = e->piece_list[o->piece];
			results[v].rule = e->rules[o->rule].rule;
		}
	}
	return KVEIL_OK;
}

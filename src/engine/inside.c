/* SPDX-License-Identifier: Apache-2.0 */
/* Texts that rules look into: what is decided in there, and what becomes of one that cannot be read. */
#include "engine/decide.h"

enum { BINDINGS = 128 }; /* looked through for one unit of work (KVEIL_PATH_WORK) */

/* The stage of the text that it leads to; 0 = it names the place. */
static unsigned way_of(const struct kveil_engine *e, uint32_t id)
{
	return id < e->rule_count ? e->rules[id].way : e->clears[id - e->rule_count].way;
}

void kveil_decide_part_ids(struct kveil_engine *e, struct kveil_place_at_hand *p)
{
	const struct kveil_document *d = p->document;
	struct kveil_level *level = &e->levels[d->level];
	size_t kept = 0, ways = 0;

	for (size_t i = 0; i < p->id_count; i++) {
		uint32_t id = p->ids[i];
		unsigned kinds =
		    id < e->rule_count ? e->rules[id].only_kinds : e->clears[id - e->rule_count].only_kinds;
		if (!kveil_decide_is_of(e, d, id))
			continue;
		if (!way_of(e, id))
			level->kept[kept++] = id;
		else if (kinds & KVEIL_KIND_BIT(p->spot.match.kind))
			level->ways[ways++] = id;
	}
	p->ids = level->kept;
	p->id_count = kept;
	p->spot.ways = level->ways;
	p->spot.way_count = ways;
}

static uint64_t views_of(const struct kveil_engine *e, uint32_t id)
{
	return id < e->rule_count ? e->rules[id].views : e->clears[id - e->rule_count].views;
}

/* The views in which the text still stands, and something goes on in there. */
static uint64_t views_inside(const struct kveil_engine *e, const struct kveil_place_at_hand *p)
{
	uint64_t ways = 0, left = 0;

	for (size_t i = 0; i < p->spot.way_count; i++)
		ways |= views_of(e, p->spot.ways[i]);
	for (size_t v = 0; v < e->view_count; v++)
		if (p->document->views >> v & 1 && p->spot.match.start >= p->document->ws[v].covered_until)
			left |= (uint64_t)1 << v;
	return ways & left;
}

static void name_text(const struct kveil_engine *e, const struct kveil_place_at_hand *p, uint64_t views)
{
	for (size_t v = 0; v < e->view_count; v++)
		if (views & e->unmatched_views & (uint64_t)1 << v)
			kveil_rewrite_name(&p->document->ws[v], p->spot.match.node);
}

static bool is_relative(void *user, const struct kveil_path *query, bool whole)
{
	(void)user, (void)whole;
	return query->relative;
}

/* Might the rule name something in a text that cannot be read? */
static enum kveil_status may_name(struct kveil_engine *e, const struct kveil_spot *text, size_t first, size_t count,
				  bool *ret, struct kveil_error *err)
{
	const struct kveil_rule *rule = e->rules[text->ways[first]].rule;
	enum kveil_tri table;

	if (!rule->when || !kveil_expr_any_query(rule->when, is_relative, NULL))
		return kveil_engine_holds(e, &text->ways[first], count, text, ret, err);
	enum kveil_status st = kveil_engine_tables(e, &text->ways[first], count, text, &table, err);
	*ret = table != KVEIL_NO;
	return st;
}

static enum kveil_status refuse_text(struct kveil_engine *e, const struct kveil_place_at_hand *p,
				     const struct kveil_opened *t, uint64_t views, struct kveil_error *err)
{
	const struct kveil_spot *text = &p->spot;

	for (size_t i = 0, next; i < text->way_count; i = next) {
		uint32_t id = text->ways[i];
		bool names = false;
		for (next = i + 1; next < text->way_count && kveil_decide_are_twins(e, id, text->ways[next]);)
			next++;
		if (id >= e->rule_count || e->rules[id].way < KVEIL_STAGE_STEP || !(e->rules[id].views & views))
			continue;
		enum kveil_status st = may_name(e, text, i, next - i, &names, err);
		if (!st && names)
			st = kveil_fail(err, KVEIL_E_INVALID_JSON, "%s", t->why);
		if (st)
			return kveil_engine_blame(&e->rules[id], text->match.start, st, err);
	}
	return KVEIL_OK;
}

static void open_rule(struct kveil_engine *e, uint32_t way, bool *open)
{
	const struct kveil_bound_rule *w = &e->rules[way];
	uint32_t first = way;

	while (first && e->rules[first - 1].rule == w->rule)
		first--;
	for (uint32_t k = first, next = kveil_engine_next_rule(e, way); k < next; k++)
		open[k] |= e->rules[k].part == w->part && e->rules[k].from == w->way && e->rules[k].views;
}

/* Which bindings, and clear lines, go on in the text? */
static void open_bindings(struct kveil_engine *e, const struct kveil_place_at_hand *p, bool *open)
{
	const struct kveil_spot *text = &p->spot;
	uint32_t n = e->rule_count;

	memset(open, 0, (size_t)n + e->clear_count);
	e->work -= (n + e->clear_count) / BINDINGS;
	for (size_t i = 0; i < text->way_count; i++) {
		uint32_t id = text->ways[i];
		const struct kveil_bound_clear *clear = id < n ? NULL : &e->clears[id - n];
		if (!clear)
			open_rule(e, id, open);
		for (uint32_t k = 0; clear && k < e->clear_count; k++)
			open[n + k] |= e->clears[k].line == clear->line && e->clears[k].from == clear->way;
	}
}

/* What stands alone in its text is not a field that could go. */
static bool is_container(const struct kveil_doc *doc)
{
	return doc->nodes[0].kind == KVEIL_KIND_OBJECT || doc->nodes[0].kind == KVEIL_KIND_ARRAY;
}

/* The views in which a rule or `clear:` names the text, or what it stands in. */
static uint64_t views_naming(const struct kveil_engine *e, const struct kveil_place_at_hand *p)
{
	const struct kveil_document *d = p->document;
	uint64_t named = d->named;

	for (size_t v = 0; v < e->view_count; v++) {
		if (!(d->views & e->unmatched_views & ~named & (uint64_t)1 << v))
			continue;
		const struct kveil_rewrite *w = &d->ws[v];
		uint32_t node = p->spot.match.node;
		while (w->nodes[node].named != KVEIL_NAMED && node)
			node = w->doc->nodes[node].parent;
		if (w->nodes[node].named == KVEIL_NAMED)
			named |= (uint64_t)1 << v;
	}
	return named;
}

static enum kveil_unmatched unmatched_in(const struct kveil_engine *e, const struct kveil_document *inner, size_t view)
{
	bool is_named = inner->named >> view & 1;

	return inner->part != KVEIL_PART_VALUE || is_named ? KVEIL_UNMATCHED_KEEP : e->plan->views[view].unmatched;
}

static enum kveil_status rewrite_text(struct kveil_engine *e, const struct kveil_place_at_hand *p,
				      const struct kveil_opened *t, const struct kveil_document *inner,
				      struct kveil_error *err)
{
	enum kveil_status st = kveil_decide_document(e, inner, err);

	for (size_t v = 0; !st && v < e->view_count; v++) {
		struct kveil_edits edits;
		if (!(inner->views >> v & 1))
			continue;
		enum kveil_unmatched unmatched = unmatched_in(e, inner, v);
		if (unmatched != KVEIL_UNMATCHED_KEEP && !is_container(&inner->scan->doc))
			continue;
		st = kveil_decide_settle(e, inner, v, unmatched, &edits, err);
		if (!st && edits.count &&
		    !(kveil_text_map(e, t, &edits) &&
		      kveil_rewrite_inside(e, &p->document->ws[v], p->spot.match.node, &edits)))
			st = kveil_no_memory(err, "a record");
		if (!st)
			name_text(e, p, (uint64_t)1 << v);
	}
	return st;
}

static bool leads_to(const struct kveil_engine *e, const struct kveil_place_at_hand *p, unsigned stage)
{
	for (size_t i = 0; i < p->spot.way_count; i++)
		if (way_of(e, p->spot.ways[i]) == stage)
			return true;
	return false;
}

enum kveil_status kveil_decide_open(struct kveil_engine *e, struct kveil_place_at_hand *p, struct kveil_error *err)
{
	unsigned level = p->document->level + 1;
	bool is_gone = false, is_column = leads_to(e, p, KVEIL_STAGE_COLUMN);
	bool is_row = leads_to(e, p, KVEIL_STAGE_ROW) || leads_to(e, p, KVEIL_STAGE_PARTIAL);
	/* The content of a message may be bytes. */
	unsigned how = (is_row ? KVEIL_TEXT_DECODES : 0) | (is_column ? KVEIL_TEXT_IS_VALUE : 0);

	p->text = (struct kveil_opened){.state = KVEIL_TEXT_IS_EMPTY};
	enum kveil_status st = kveil_engine_was_not_sent(e, &p->spot, &is_gone, err);
	if (st || is_gone || p->spot.match.kind != KVEIL_KIND_STRING)
		return st;
	if (level > KVEIL_MOST_TEXTS)
		p->text =
		    (struct kveil_opened){.state = KVEIL_TEXT_IS_BROKEN, .why = "too many texts within each other"};
	else
		st = kveil_text_open(e, &p->spot, level, how, &p->text, err);
	bool is_object =
	    p->text.state == KVEIL_TEXT_IS_JSON && e->levels[level].scan.doc.nodes[0].kind == KVEIL_KIND_OBJECT;
	p->is_row = (is_row && (is_object || p->text.state == KVEIL_TEXT_IS_EMPTY)) ||
		    (is_column && p->text.state == KVEIL_TEXT_IS_JSON);
	return st;
}

static enum kveil_status begin_inside(struct kveil_engine *e, struct kveil_place_at_hand *p,
				      struct kveil_document *inner, struct kveil_error *err)
{
	struct kveil_level *level = &e->levels[inner->level];
	enum kveil_status st = KVEIL_OK;

	inner->ws = kveil_arena_array(&e->arena, e->view_count, sizeof *inner->ws);
	if (!inner->ws)
		return kveil_no_memory(err, "a record");
	memset(inner->ws, 0, e->view_count * sizeof *inner->ws);
	for (size_t v = 0; !st && v < e->view_count; v++)
		if (inner->views >> v & 1) {
			st = kveil_rewrite_init(e, &inner->ws[v], &level->scan.doc, v, err);
			inner->ws[v].outer = &p->spot;
		}
	if (st)
		return st;
	open_bindings(e, p, level->open);
	inner->open = level->open;
	return KVEIL_OK;
}

enum kveil_status kveil_decide_inside(struct kveil_engine *e, struct kveil_place_at_hand *p, struct kveil_error *err)
{
	const struct kveil_document *d = p->document;
	uint64_t views = views_inside(e, p);
	bool had_schema = e->has_schema, kept_types = e->keeps_types, is_dotted = leads_to(e, p, KVEIL_STAGE_PARTIAL);
	const struct kveil_bound_part *part = &e->parts[d->part];

	if (!views)
		return KVEIL_OK;
	if (p->text.state == KVEIL_TEXT_IS_BROKEN)
		return refuse_text(e, p, &p->text, views, err);
	if (p->text.state == KVEIL_TEXT_IS_EMPTY) {
		name_text(e, p, views);
		return KVEIL_OK;
	}
	struct kveil_document inner = {.part = d->part,
				       .scan = &e->levels[d->level + 1].scan,
				       .automaton = part->text_automaton,
				       .all_stream = part->text_all_stream && !is_dotted,
				       .is_dotted = is_dotted,
				       .outer = &p->spot,
				       .level = d->level + 1,
				       .views = views,
				       .named = views_naming(e, p)};
	enum kveil_status st = begin_inside(e, p, &inner, err);
	/* Whatever it holds, the text stays one. */
	e->has_schema = e->keeps_types = false;
	if (!st)
		st = rewrite_text(e, p, &p->text, &inner, err);
	e->has_schema = had_schema;
	e->keeps_types = kept_types;
	if (st && err->byte != KVEIL_NO_BYTE)
		err->byte = p->spot.match.start;
	return st;
}

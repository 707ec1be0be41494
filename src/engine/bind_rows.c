/* SPDX-License-Identifier: Apache-2.0 */
/* Every rule, and every line under `clear:`, at each row that it holds for, and on each way into a text there. */
#include "engine/internal.h"
#include "format/envelope.h"

void *kveil_engine_bound_array(struct kveil_engine *e, size_t count, size_t size)
{
	void *p = kveil_arena_array(&e->bound, count, size);

	if (p)
		memset(p, 0, count * size);
	return p;
}

/* The path of a place in the part, from the row's root and the path in the row. */
static const struct kveil_path *join_paths(struct kveil_engine *e, const struct kveil_path *root,
					   const struct kveil_path *path)
{
	struct kveil_path *joined = kveil_engine_bound_array(e, 1, sizeof *joined);
	struct kveil_segment *segments = kveil_engine_bound_array(e, root->count + path->count, sizeof *segments);

	if (root->count == 0)
		return path;
	if (!joined || !segments)
		return NULL;
	memcpy(segments, root->segments, root->count * sizeof *segments);
	if (path->count)
		memcpy(segments + root->count, path->segments, path->count * sizeof *segments);
	*joined = (struct kveil_path){.segments = segments, .count = root->count + path->count};
	return joined;
}

/* The same path as keys spell it: "$.Id" is "$['pk.id']" in a key of Maxwell's. */
static const struct kveil_path *spell_in_key(struct kveil_engine *e, const char *prefix, const struct kveil_path *path)
{
	size_t n = strlen(prefix);
	struct kveil_path *p = kveil_engine_bound_array(e, 1, sizeof *p);
	struct kveil_segment *segments = kveil_engine_bound_array(e, path->count, sizeof *segments);
	struct kveil_selector *column = kveil_engine_bound_array(e, 1, sizeof *column);
	struct kveil_span name = path->segments[0].selectors[0].name;
	uint8_t *spelled = kveil_engine_bound_array(e, n + name.len, 1);

	if (!p || !segments || !column || !spelled)
		return NULL;
	memcpy(spelled, prefix, n);
	for (size_t k = 0; k < name.len; k++)
		spelled[n + k] = name.data[k] >= 'A' && name.data[k] <= 'Z' ? name.data[k] | 0x20 : name.data[k];
	memcpy(segments, path->segments, path->count * sizeof *segments);
	*column = path->segments[0].selectors[0];
	column->name = kveil_span_of(spelled, n + name.len);
	segments[0].selectors = column;
	*p = (struct kveil_path){.segments = segments, .count = path->count};
	return p;
}

/* A copy's path: $.addr.street is "$['__before_addr'].street" and "$['before.addr.street']". */
static const struct kveil_path *spell_copy(struct kveil_engine *e, const char *const prefix[2], bool joins,
					   const struct kveil_path *path)
{
	KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;
	struct kveil_path *p = kveil_engine_bound_array(e, 1, sizeof *p);
	struct kveil_segment *segments = kveil_engine_bound_array(e, path->count, sizeof *segments);
	struct kveil_selector *names = kveil_engine_bound_array(e, path->segments[0].count, sizeof *names);
	size_t used = 1;

	if (!p || !segments || !names)
		return NULL;
	for (size_t i = 0; i < path->segments[0].count; i++) {
		kveil_buf_reset(&name);
		kveil_buf_append_str(&name, prefix[0]);
		kveil_buf_append_str(&name, prefix[1]);
		kveil_buf_append_span(&name, path->segments[0].selectors[i].name);
		for (used = 1; joins && path->segments[0].count == 1 && used < path->count; used++) {
			const struct kveil_segment *next = &path->segments[used];
			if (next->descendant || next->enters || next->count != 1 ||
			    next->selectors[0].kind != KVEIL_SEL_NAME)
				break;
			kveil_buf_append_byte(&name, '.');
			kveil_buf_append_span(&name, next->selectors[0].name);
		}
		uint8_t *copy = kveil_buf_ok(&name) ? kveil_engine_bound_array(e, name.len, 1) : NULL;
		if (!copy)
			return NULL;
		memcpy(copy, name.data, name.len);
		names[i] = path->segments[0].selectors[i];
		names[i].name = kveil_span_of(copy, name.len);
	}
	*p = (struct kveil_path){.segments = segments, .count = path->count - used + 1};
	segments[0] = (struct kveil_segment){.selectors = names, .count = path->segments[0].count};
	memcpy(segments + 1, path->segments + used, (path->count - used) * sizeof *segments);
	return p;
}

/* Steps from a row to its event: what is around the last name on the way. */
static uint32_t event_above(const struct kveil_plan *plan, const struct kveil_path *root)
{
	size_t n = root->count;

	if (kveil_plan_is_event(plan, root))
		return 0;
	while (n && root->segments[n - 1].selectors[0].kind != KVEIL_SEL_NAME)
		n--;
	return (uint32_t)(root->count - n + (n != 0));
}

/* Does the event's whole image have what the row at the root may lack? */
static bool is_filled(const struct kveil_plan *plan, const struct kveil_path *root)
{
	return plan->envelope && plan->envelope->whole && kveil_plan_has_gaps(plan, root);
}

static bool add_binding(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_part part,
			const struct kveil_path *root, const struct kveil_path *path, unsigned only_kinds)
{
	struct kveil_bound_rule *b = &e->rules[e->rule_count++];

	*b = (struct kveil_bound_rule){.rule = r,
				       .part = part,
				       .root = root,
				       .own = path,
				       .path = path ? join_paths(e, root, path) : NULL,
				       .only_kinds = only_kinds,
				       .event_above = event_above(e->plan, root),
				       .in_key_row = part != r->part,
				       .has_gaps = part != r->part || kveil_plan_has_gaps(e->plan, root),
				       .is_filled = part == r->part && is_filled(e->plan, root),
				       .is_bare_key = part != r->part && path && !path->count};
	b->is_flat =
	    part == KVEIL_PART_VALUE && part == r->part && !r->is_of_event && kveil_plan_is_event(e->plan, root);
	return b->path != NULL;
}

enum { MOST_COPIES = 8 /* spellings of one column */ };
enum { TEXTS = KVEIL_KIND_BIT(KVEIL_KIND_STRING) | KVEIL_KIND_BIT(KVEIL_KIND_NULL) };

/* Where a rule's path enters a text: ways there, from all rows of the part. */
static bool add_ways(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_part part,
		     const struct kveil_rows *rows, const struct kveil_path *path)
{
	size_t entries = path ? kveil_text_entries(path) : 0;
	bool ok = path != NULL;

	for (size_t k = 0; ok && k < entries; k++) {
		uint8_t to = (uint8_t)(KVEIL_STAGE_STEP + k);
		const struct kveil_path *way = kveil_text_stretch(e, path, KVEIL_STAGE_PART, to);
		for (size_t i = 0; ok && i < rows->count; i++) {
			ok = way && add_binding(e, r, part, rows->roots[i], way, TEXTS);
			e->rules[e->rule_count - 1].way = to;
		}
	}
	return ok;
}

static bool add_inside(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_part part, unsigned from);

/* A row that is a text, and the text of what changed of one. */
static bool add_row_ways(struct kveil_engine *e, const struct kveil_rule *r, unsigned stage)
{
	const struct kveil_path *whole = e->plan->rows[KVEIL_ROWS_WHOLE].roots[0];
	bool is_partial = stage == KVEIL_STAGE_PARTIAL;
	const struct kveil_rows *rows = &e->plan->rows[is_partial ? KVEIL_ROWS_PARTIAL : KVEIL_ROWS_TEXT];
	bool ok = true;

	/* Nothing looks into texts there: the envelope refuses such events. */
	if (e->parts[r->part].format->is_typed)
		return true;
	for (size_t i = 0; ok && i < rows->count; i++) {
		ok = add_binding(e, r, r->part, rows->roots[i], whole, KVEIL_KIND_BIT(KVEIL_KIND_STRING));
		struct kveil_bound_rule *b = &e->rules[e->rule_count - 1];
		b->way = (uint8_t)stage;
		/* Such fields stand in a member of the event. */
		b->event_above += is_partial;
	}
	uint32_t first = e->rule_count;
	ok = ok && (!rows->count || add_inside(e, r, r->part, stage));
	for (; is_partial && first < e->rule_count; first++) {
		e->rules[first].has_gaps = true;
		e->rules[first].is_flat = false;
	}
	return ok;
}

/* What a rule looks for in the text of a stage. */
static bool add_inside(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_part part, unsigned from)
{
	const struct kveil_path *whole = e->plan->rows[KVEIL_ROWS_WHOLE].roots[0];
	unsigned last = KVEIL_STAGE_STEP + (unsigned)kveil_text_entries(r->path);
	bool ok = true;

	for (unsigned to = last; ok && to > from && to >= KVEIL_STAGE_STEP; to--) {
		bool is_way = to < last;
		ok = add_binding(e, r, part, whole, kveil_text_stretch(e, r->path, from, to),
				 is_way          ? TEXTS
				 : r->only_kinds ? r->only_kinds
						 : ~0u);
		e->rules[e->rule_count - 1].from = (uint8_t)from;
		e->rules[e->rule_count - 1].is_flat &= from < KVEIL_STAGE_STEP;
		e->rules[e->rule_count - 1].way = (uint8_t)(is_way ? to : 0);
	}
	return ok;
}

static bool add_all_inside(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_part part)
{
	unsigned last = KVEIL_STAGE_STEP + (unsigned)kveil_text_entries(r->path);
	bool ok = true;

	for (unsigned from = KVEIL_STAGE_STEP; ok && from < last; from++)
		ok = add_inside(e, r, part, from);
	return ok;
}

/* $.NAME */
static const struct kveil_path *name_path(struct kveil_engine *e, const char *name)
{
	struct kveil_path *p = kveil_engine_bound_array(e, 1, sizeof *p);
	struct kveil_segment *segment = kveil_engine_bound_array(e, 1, sizeof *segment);
	struct kveil_selector *selector = kveil_engine_bound_array(e, 1, sizeof *selector);

	if (!p || !segment || !selector)
		return NULL;
	*selector = (struct kveil_selector){.kind = KVEIL_SEL_NAME, .name = kveil_span_str(name)};
	*segment = (struct kveil_segment){.selectors = selector, .count = 1};
	*p = (struct kveil_path){.segments = segment, .count = 1};
	return p;
}

static bool add_bindings(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_part part,
			 const struct kveil_rows *rows, const struct kveil_path *path)
{
	bool ok = path != NULL;

	for (size_t i = 0; ok && i < rows->count; i++)
		ok = add_binding(e, r, part, rows->roots[i], path, r->only_kinds ? r->only_kinds : ~0u);
	return ok;
}

/* The rows of its own part that a rule holds in. */
static const struct kveil_rows *rows_of(const struct kveil_plan *plan, const struct kveil_rule *r)
{
	if (r->part == KVEIL_PART_HEADER || (r->part == KVEIL_PART_KEY && r->path->count == 0))
		return &plan->rows[KVEIL_ROWS_WHOLE];
	if (r->part == KVEIL_PART_KEY)
		return &plan->rows[KVEIL_ROWS_KEY];
	return &plan->rows[r->is_of_event ? KVEIL_ROWS_EVENT : KVEIL_ROWS_VALUE];
}

/* In an event, the key holds columns of the row. */
static bool holds_in_key(const struct kveil_plan *plan, const struct kveil_rule *r)
{
	return plan->envelope && r->part == KVEIL_PART_VALUE && !r->is_of_event;
}

static size_t count_bindings(const struct kveil_plan *plan)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->rule_count; i++) {
		size_t entries = kveil_text_entries(plan->rules[i].path), stages = entries + 2;
		n += rows_of(plan, &plan->rules[i])->count * stages + 2 * stages * stages;
		if (holds_in_key(plan, &plan->rules[i]))
			n += MOST_COPIES * plan->rows[KVEIL_ROWS_EVENT].count * stages +
			     3 * plan->rows[KVEIL_ROWS_KEY].count * stages + 1 + plan->rows[KVEIL_ROWS_TEXT].count +
			     plan->rows[KVEIL_ROWS_PARTIAL].count + 2 * stages + 2 * plan->rows[KVEIL_ROWS_KEY].count +
			     (plan->rules[i].path->count + 1) * stages;
	}
	return n;
}

/* What a flat row has of another image, a column at a time. */
static bool bind_copies(struct kveil_engine *e, const struct kveil_rule *r)
{
	const struct kveil_rows *events = &e->plan->rows[KVEIL_ROWS_EVENT];
	const char *own = e->plan->added_prefix;
	uint32_t first = e->rule_count;
	bool ok = true;

	for (const char *const *c = e->plan->envelope->copies; ok && c && *c; c++) {
		bool is_added = strncmp(*c, "__", 2) == 0;
		const char *const spellings[2][2] = {{"", *c}, {own, *c + 2}};
		for (size_t i = 0; ok && i < (is_added && own ? 2 : 1); i++) {
			const struct kveil_path *path = spell_copy(e, spellings[i], !is_added, r->path);
			ok = path && add_bindings(e, r, r->part, events, path) && add_ways(e, r, r->part, events, path);
		}
	}
	for (; first < e->rule_count; first++)
		e->rules[first].is_copy = e->rules[first].has_gaps = true;
	return ok;
}

/* In a key the text under the column's own name for it: for rules on the column, and for those that go on in there. */
static bool bind_text_column(struct kveil_engine *e, const struct kveil_rule *r)
{
	const struct kveil_envelope *kind = e->plan->envelope;
	const struct kveil_rows *keys = &e->plan->rows[KVEIL_ROWS_KEY];
	const struct kveil_path *whole = e->plan->rows[KVEIL_ROWS_WHOLE].roots[0];
	uint64_t states = kind->text_in_key ? kveil_dotted_enter(r->path, kveil_span_str(kind->text_column)) : 0;
	unsigned last = KVEIL_STAGE_STEP + (unsigned)kveil_text_entries(r->path);
	bool looks_inside = !e->parts[KVEIL_PART_KEY].format->is_typed;
	uint32_t first = e->rule_count;

	if (!states)
		return true;
	const struct kveil_path *in_key = name_path(e, kind->text_in_key);
	bool ok = in_key != NULL;
	if (states >> r->path->count & 1)
		ok = ok && add_bindings(e, r, KVEIL_PART_KEY, keys, in_key);
	for (size_t i = 0; ok && looks_inside && i < keys->count; i++) {
		ok = add_binding(e, r, KVEIL_PART_KEY, keys->roots[i], in_key, KVEIL_KIND_BIT(KVEIL_KIND_STRING));
		e->rules[e->rule_count - 1].way = KVEIL_STAGE_COLUMN;
	}
	uint32_t inside = e->rule_count;
	for (size_t i = 0; ok && looks_inside && i <= r->path->count; i++)
		for (unsigned to = last; ok && states >> i & 1 && to >= KVEIL_STAGE_STEP; to--) {
			size_t stop = kveil_text_begin(r->path, to);
			/* A stretch that ends in front of where it would begin. */
			if (stop < i)
				continue;
			ok = add_binding(e, r, KVEIL_PART_KEY, whole, kveil_text_slice(e, r->path, i, stop),
					 to < last ? TEXTS : ~0u);
			e->rules[e->rule_count - 1].way = (uint8_t)(to < last ? to : 0);
		}
	for (; first < e->rule_count; first++) {
		e->rules[first].is_bare_key = false;
		e->rules[first].is_text_column = true;
		if (first >= inside)
			e->rules[first].from = KVEIL_STAGE_COLUMN;
	}
	return ok;
}

/* The columns of the row that a key of JSON holds. */
static bool bind_key_columns(struct kveil_engine *e, const struct kveil_rule *r)
{
	const struct kveil_rows *keys = &e->plan->rows[KVEIL_ROWS_KEY];
	const char *prefix = e->plan->envelope->key_prefix;

	if (!add_bindings(e, r, KVEIL_PART_KEY, keys, r->path))
		return false;
	uint32_t spelled = e->rule_count;
	const struct kveil_path *in_key = prefix ? spell_in_key(e, prefix, r->path) : NULL;
	if (prefix &&
	    !(add_bindings(e, r, KVEIL_PART_KEY, keys, in_key) && add_ways(e, r, KVEIL_PART_KEY, keys, in_key)))
		return false;
	while (spelled < e->rule_count)
		e->rules[spelled++].is_spelled_in_key = true;
	return add_ways(e, r, KVEIL_PART_KEY, keys, r->path) && add_all_inside(e, r, KVEIL_PART_KEY) &&
	       bind_text_column(e, r);
}

/* A bare key is the column's value, also where a row's members could be: {"payload": value}. */
static bool bind_bare_key(struct kveil_engine *e, const struct kveil_rule *r)
{
	static const unsigned scalars = ~(KVEIL_KIND_BIT(KVEIL_KIND_OBJECT) | KVEIL_KIND_BIT(KVEIL_KIND_ARRAY));
	const struct kveil_path *whole = e->plan->rows[KVEIL_ROWS_WHOLE].roots[0];
	const struct kveil_rows *keys = &e->plan->rows[KVEIL_ROWS_KEY];
	bool has_paths = e->parts[KVEIL_PART_KEY].format->has_paths;

	for (size_t i = 0; has_paths && i < keys->count; i++)
		if (keys->roots[i]->count && !add_binding(e, r, KVEIL_PART_KEY, keys->roots[i], whole, scalars))
			return false;
	return add_binding(e, r, KVEIL_PART_KEY, whole, whole, scalars);
}

static bool bind_rule_rows(struct kveil_engine *e, const struct kveil_rule *r)
{
	const struct kveil_plan *plan = e->plan;

	if (!add_bindings(e, r, r->part, rows_of(plan, r), r->path) ||
	    !add_ways(e, r, r->part, rows_of(plan, r), r->path) || !add_all_inside(e, r, r->part))
		return false;
	if (!holds_in_key(plan, r))
		return true;
	if (!bind_copies(e, r) || !add_row_ways(e, r, KVEIL_STAGE_ROW) || !add_row_ways(e, r, KVEIL_STAGE_PARTIAL) ||
	    (e->parts[KVEIL_PART_KEY].format->has_paths && !bind_key_columns(e, r)))
		return false;
	bool is_key = plan->key_column && kveil_path_covers(r->path, plan->key_column);
	return !is_key || bind_bare_key(e, r);
}

/* Is the record's key clear in this view on purpose? */
static bool is_clear_in_key(const struct kveil_view *v, const struct kveil_path *path)
{
	for (size_t i = 0; i < v->clear_place_count; i++)
		if (v->clear_places[i]->part == KVEIL_PART_KEY && kveil_path_covers(v->clear_places[i]->path, path))
			return true;
	return false;
}

/* A view's rules of the file, or those of the envelope's own, behind the ranks there are. */
static enum kveil_status rank_view(struct kveil_engine *e, size_t v, bool of_event, uint32_t *rank_of,
				   struct kveil_error *err)
{
	const struct kveil_plan *plan = e->plan;
	const struct kveil_view *view = &plan->views[v];
	uint32_t before = 0;

	for (size_t i = 0; i < view->rule_count; i++) {
		const struct kveil_rule *r = view->rules[i];
		if (r->index >= plan->rule_count)
			return kveil_fail(err, KVEIL_E_INTERNAL, "a rule's index is outside its plan");
		if (r->is_of_event != of_event)
			continue;
		if (!rank_of[r->index]) {
			rank_of[r->index] = e->rule_count + 1;
			if (!bind_rule_rows(e, r))
				return kveil_no_memory(err, "an engine");
		}
		if (rank_of[r->index] <= before)
			return kveil_fail(err, KVEIL_E_INTERNAL, "the views' rules have no common order");
		before = rank_of[r->index];
		bool is_clear = is_clear_in_key(view, r->path);
		for (uint32_t k = before - 1, next = kveil_engine_next_rule(e, k); k < next; k++)
			if (!e->rules[k].in_key_row || !is_clear)
				e->rules[k].views |= (uint64_t)1 << v;
	}
	return KVEIL_OK;
}

static uint32_t count_clears(const struct kveil_plan *plan, size_t view)
{
	size_t n = 0;

	for (size_t i = 0; i < plan->views[view].clear_count; i++) {
		size_t stages = kveil_text_entries(plan->views[view].clear[i]) + 2;
		n += plan->rows[KVEIL_ROWS_VALUE].count * stages + stages * stages + 2 * stages +
		     plan->rows[KVEIL_ROWS_TEXT].count + plan->rows[KVEIL_ROWS_PARTIAL].count;
	}
	return (uint32_t)n;
}

/* Ranks: the views' lists merged. The order of two rules is the same in every view that has both: the envelope's own,
 * which all views share, stand behind the rules of each. */
static enum kveil_status rank_rules(struct kveil_engine *e, struct kveil_error *err)
{
	const struct kveil_plan *plan = e->plan;
	uint32_t *rank_of = kveil_engine_bound_array(e, plan->rule_count, sizeof *rank_of); /* + 1 */
	enum kveil_status st = KVEIL_OK;

	e->rules = kveil_engine_bound_array(e, count_bindings(plan), sizeof *e->rules);
	if (!rank_of || !e->rules)
		return kveil_no_memory(err, "an engine");
	for (size_t v = 0; !st && v < plan->view_count; v++) {
		st = rank_view(e, v, false, rank_of, err);
		e->clear_count += count_clears(plan, v);
		if (plan->views[v].unmatched != KVEIL_UNMATCHED_KEEP)
			e->unmatched_views |= (uint64_t)1 << v;
	}
	for (size_t v = 0; !st && v < plan->view_count; v++)
		st = rank_view(e, v, true, rank_of, err);
	return st;
}

static bool add_clear(struct kveil_engine *e, const struct kveil_bound_clear *like, const struct kveil_path *root,
		      const struct kveil_path *own, unsigned from, unsigned way)
{
	struct kveil_bound_clear *c = &e->clears[e->clear_count++];

	*c = *like;
	c->root = root;
	c->has_gaps = kveil_plan_has_gaps(e->plan, root);
	c->is_filled = is_filled(e->plan, root);
	c->is_flat = from < KVEIL_STAGE_STEP && kveil_plan_is_event(e->plan, root);
	c->own = own;
	c->path = own ? join_paths(e, root, own) : NULL;
	c->streams = own && kveil_path_is_streamable(own);
	c->from = (uint8_t)from;
	c->way = (uint8_t)way;
	c->only_kinds = way ? TEXTS : ~0u;
	return c->path != NULL;
}

/* A line under `clear:`: at every row, on every way into a text, and in each text. */
static bool bind_clear(struct kveil_engine *e, const struct kveil_path *path, const struct kveil_bound_clear *like)
{
	const struct kveil_rows *rows = &e->plan->rows[KVEIL_ROWS_VALUE];
	const struct kveil_path *whole = e->plan->rows[KVEIL_ROWS_WHOLE].roots[0];
	unsigned last = KVEIL_STAGE_STEP + (unsigned)kveil_text_entries(path);
	bool ok = true;

	for (unsigned to = KVEIL_STAGE_STEP; ok && to <= last; to++)
		for (size_t i = 0; ok && i < rows->count; i++)
			ok = add_clear(e, like, rows->roots[i], kveil_text_stretch(e, path, KVEIL_STAGE_PART, to),
				       KVEIL_STAGE_PART, to < last ? to : 0);
	for (unsigned stage = KVEIL_STAGE_ROW; ok && stage <= KVEIL_STAGE_PARTIAL; stage++) {
		bool is_partial = stage == KVEIL_STAGE_PARTIAL;
		const struct kveil_rows *texts = &e->plan->rows[is_partial ? KVEIL_ROWS_PARTIAL : KVEIL_ROWS_TEXT];
		for (size_t i = 0; ok && i < texts->count; i++)
			ok = add_clear(e, like, texts->roots[i], whole, KVEIL_STAGE_PART, stage);
		for (unsigned to = KVEIL_STAGE_STEP; ok && e->plan->envelope && to <= last; to++)
			ok = add_clear(e, like, whole, kveil_text_stretch(e, path, stage, to), stage,
				       to < last ? to : 0);
	}
	for (unsigned from = KVEIL_STAGE_STEP; ok && from < last; from++)
		for (unsigned to = from + 1; ok && to <= last; to++)
			ok = add_clear(e, like, whole, kveil_text_stretch(e, path, from, to), from, to < last ? to : 0);
	return ok;
}

static enum kveil_status bind_clears(struct kveil_engine *e, struct kveil_error *err)
{
	uint32_t line = 0;

	e->clears = kveil_engine_bound_array(e, e->clear_count, sizeof *e->clears);
	e->clear_count = 0;
	if (!e->clears)
		return kveil_no_memory(err, "an engine");
	for (size_t v = 0; v < e->plan->view_count; v++)
		for (size_t i = 0; i < e->plan->views[v].clear_count; i++) {
			struct kveil_bound_clear like = {.views = (uint64_t)1 << v, .line = line};
			line++;
			if (!bind_clear(e, e->plan->views[v].clear[i], &like))
				return kveil_no_memory(err, "an engine");
		}
	return KVEIL_OK;
}

enum kveil_status kveil_engine_bind_rows(struct kveil_engine *e, struct kveil_error *err)
{
	enum kveil_status st = rank_rules(e, err);

	return st ? st : bind_clears(e, err);
}

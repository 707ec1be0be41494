/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/connect.h"
#include "engine/internal.h"
#include "format/envelope.h"

#include <stdlib.h>

static enum kveil_status no_memory(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory for an engine");
}

static void *bound_array(struct kveil_engine *e, size_t count, size_t size)
{
	void *p = kveil_arena_array(&e->bound, count, size);

	if (p)
		memset(p, 0, count * size);
	return p;
}

static bool keep_buf(struct kveil_engine *e, const struct kveil_buf *b, struct kveil_span *ret)
{
	uint8_t *p = kveil_arena_alloc(&e->bound, b->len + 1);

	if (!p || !kveil_buf_ok(b))
		return false;
	if (b->len)
		memcpy(p, b->data, b->len);
	*ret = kveil_span_of(p, b->len);
	return true;
}

/* A key whose name needs no record. */
static enum kveil_status bind_key(struct kveil_engine *e, const struct kveil_template *name, unsigned use,
				  struct kveil_key **ret, struct kveil_error *err)
{
	if (!name || !use || !name->is_constant)
		return KVEIL_OK;
	return kveil_keyring_key(e->keys, name->pieces[0].text, use, ret, err);
}

/* "orders:$['a']", where the path says it before any record. */
static bool bind_place(struct kveil_engine *e, const struct kveil_path *place, struct kveil_span prefix,
		       struct kveil_span *ret)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	if (!kveil_path_is_fixed(place))
		return true;
	kveil_buf_append_span(&text, prefix);
	kveil_path_write_normalized(place, &text);
	return keep_buf(e, &text, ret);
}

/* Associated data: whole where the place's path is known before any record, else what stands in front of it. */
static enum kveil_status bind_ad(struct kveil_engine *e, struct kveil_bound_rule *b, struct kveil_error *err)
{
	const struct kveil_rule *r = b->rule;
	const struct kveil_action *a = b->action;
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	if (!a->needs_ad)
		return KVEIL_OK;
	if (r->ad) {
		if (r->ad->is_constant)
			b->ad = r->ad->pieces[0].text;
		if (r->ad->is_constant && b->ad.len == 0)
			return kveil_fail(err, KVEIL_E_RULES, "associated data is never empty");
		return KVEIL_OK;
	}
	if (!e->plan->name || !e->plan->name[0])
		return kveil_fail(err, KVEIL_E_RULES, "a file that encrypts or decrypts needs a `name`");
	b->may_join = !b->key || kveil_key_join(b->key).data || (b->key2 && kveil_key_join(b->key2).data) ||
		      (r->key2_use && !b->key2);
	kveil_buf_append_str(&text, e->plan->name);
	kveil_buf_append_str(&text, ":");
	if (b->part == KVEIL_PART_HEADER) {
		kveil_buf_append_str(&text, "header:");
		kveil_buf_append_str(&text, r->header_name);
		return keep_buf(e, &text, &b->ad) ? KVEIL_OK : no_memory(err);
	}
	/* A rule for the row means the same value in the key: there too the path is the row's. */
	if (r->part == KVEIL_PART_KEY)
		kveil_buf_append_str(&text, "key:");
	if (!keep_buf(e, &text, &b->ad_prefix))
		return no_memory(err);
	/* What opens reads where the ciphertext stands; what seals binds to where it puts it. */
	b->ad_names_target = r->to && a->effect == KVEIL_PROTECTS;
	b->wants_ad_read = b->ad_names_target && r->key_use & KVEIL_USE_OPEN;
	/* A bare key has no path of its own. */
	const struct kveil_path *place = b->is_bare_key ? e->plan->key_column : r->path;
	if (!bind_place(e, b->ad_names_target ? r->to : place, b->ad_prefix, &b->ad))
		return no_memory(err);
	if (b->wants_ad_read && !bind_place(e, place, b->ad_prefix, &b->ad_read))
		return no_memory(err);
	return KVEIL_OK;
}

static enum kveil_status bind_rule(struct kveil_engine *e, struct kveil_bound_rule *b, struct kveil_error *err)
{
	const struct kveil_rule *r = b->rule;
	const struct kveil_action *a = r->action;

	b->action = a;
	b->kinds = a->kinds_for ? a->kinds_for(r->params) : a->kinds;
	b->streams = b->part == KVEIL_PART_HEADER || kveil_path_is_streamable(b->own);
	/* An envelope's own conditions come up once in a while, and texts where rows are objects. */
	b->leaves_stream = r->when || b->way;
	if (r->index >= e->plan->rule_count)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a rule's index is outside its plan");
	b->matches = &e->matches[r->index];
	if (r->to && !b->in_key_row && (b->part == KVEIL_PART_HEADER || !e->parts[b->part].format->has_paths))
		return kveil_fail(err, KVEIL_E_RULES, "`to` needs a part with members");
	enum kveil_status st = bind_key(e, r->key, r->key_use, &b->key, err);
	if (!st)
		st = bind_key(e, r->key2, r->key2_use, &b->key2, err);
	if (!st)
		st = bind_ad(e, b, err);
	if (st) {
		kveil_error_where(err, e->plan->file, r->line, r->column);
		kveil_error_rule(err, r->id);
	}
	return st;
}

/* The path of a place in the part, from the row's root and the path in the row. */
static const struct kveil_path *join_paths(struct kveil_engine *e, const struct kveil_path *root,
					   const struct kveil_path *path)
{
	struct kveil_path *joined = bound_array(e, 1, sizeof *joined);
	struct kveil_segment *segments = bound_array(e, root->count + path->count, sizeof *segments);

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
	struct kveil_path *p = bound_array(e, 1, sizeof *p);
	struct kveil_segment *segments = bound_array(e, path->count, sizeof *segments);
	struct kveil_selector *column = bound_array(e, 1, sizeof *column);
	struct kveil_span name = path->segments[0].selectors[0].name;
	uint8_t *spelled = bound_array(e, n + name.len, 1);

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
				       .is_bare_key = part != r->part && path && !path->count};
	return b->path != NULL;
}

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

/* A row that is a text. */
static bool add_row_ways(struct kveil_engine *e, const struct kveil_rule *r)
{
	const struct kveil_path *whole = e->plan->rows[KVEIL_ROWS_WHOLE].roots[0];
	const struct kveil_rows *rows = &e->plan->rows[KVEIL_ROWS_TEXT];
	bool ok = true;

	for (size_t i = 0; ok && i < rows->count; i++) {
		ok = add_binding(e, r, r->part, rows->roots[i], whole, KVEIL_KIND_BIT(KVEIL_KIND_STRING));
		e->rules[e->rule_count - 1].way = KVEIL_STAGE_ROW;
	}
	return ok && (!rows->count || add_inside(e, r, r->part, KVEIL_STAGE_ROW));
}

/* What a rule looks for in the text of a stage. */
static bool add_inside(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_part part, unsigned from)
{
	const struct kveil_path *whole = e->plan->rows[KVEIL_ROWS_WHOLE].roots[0];
	unsigned last = KVEIL_STAGE_STEP + (unsigned)kveil_text_entries(r->path);
	bool ok = true;

	for (unsigned to = last; ok && to > from; to--) {
		bool is_way = to < last;
		ok = add_binding(e, r, part, whole, kveil_text_stretch(e, r->path, from, to),
				 is_way          ? TEXTS
				 : r->only_kinds ? r->only_kinds
						 : ~0u);
		e->rules[e->rule_count - 1].from = (uint8_t)from;
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
			n += 3 * plan->rows[KVEIL_ROWS_KEY].count * stages + 1 + plan->rows[KVEIL_ROWS_TEXT].count +
			     stages;
	}
	return n;
}

static bool bind_rows(struct kveil_engine *e, const struct kveil_rule *r)
{
	static const unsigned containers = KVEIL_KIND_BIT(KVEIL_KIND_OBJECT) | KVEIL_KIND_BIT(KVEIL_KIND_ARRAY);
	const struct kveil_plan *plan = e->plan;
	const struct kveil_path *whole = plan->rows[KVEIL_ROWS_WHOLE].roots[0];

	if (!add_bindings(e, r, r->part, rows_of(plan, r), r->path) ||
	    !add_ways(e, r, r->part, rows_of(plan, r), r->path) || !add_all_inside(e, r, r->part))
		return false;
	if (!holds_in_key(plan, r))
		return true;
	if (!add_row_ways(e, r))
		return false;
	const struct kveil_rows *keys = &plan->rows[KVEIL_ROWS_KEY];
	const char *prefix = plan->envelope->key_prefix;
	bool has_paths = e->parts[KVEIL_PART_KEY].format->has_paths;
	if (has_paths && !add_bindings(e, r, KVEIL_PART_KEY, keys, r->path))
		return false;
	uint32_t spelled = e->rule_count;
	const struct kveil_path *in_key = prefix ? spell_in_key(e, prefix, r->path) : NULL;
	if (has_paths && prefix &&
	    !(add_bindings(e, r, KVEIL_PART_KEY, keys, in_key) && add_ways(e, r, KVEIL_PART_KEY, keys, in_key)))
		return false;
	while (spelled < e->rule_count)
		e->rules[spelled++].is_spelled_in_key = true;
	if (has_paths && !(add_ways(e, r, KVEIL_PART_KEY, keys, r->path) && add_all_inside(e, r, KVEIL_PART_KEY)))
		return false;
	if (!plan->key_column || !kveil_path_covers(r->path, plan->key_column))
		return true;
	/* A bare key is the column's value, also where a row's members could be: {"payload": value}. */
	for (size_t i = 0; has_paths && i < keys->count; i++)
		if (keys->roots[i]->count && !add_binding(e, r, KVEIL_PART_KEY, keys->roots[i], whole, ~containers))
			return false;
	return add_binding(e, r, KVEIL_PART_KEY, whole, whole, ~containers);
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
			if (!bind_rows(e, r))
				return no_memory(err);
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
		n += plan->rows[KVEIL_ROWS_VALUE].count * stages + stages * stages + stages +
		     plan->rows[KVEIL_ROWS_TEXT].count;
	}
	return (uint32_t)n;
}

/* Ranks: the views' lists merged. The order of two rules is the same in every view that has both: the envelope's own,
 * which all views share, stand behind the rules of each. */
static enum kveil_status rank_rules(struct kveil_engine *e, struct kveil_error *err)
{
	const struct kveil_plan *plan = e->plan;
	uint32_t *rank_of = bound_array(e, plan->rule_count, sizeof *rank_of); /* + 1 */
	enum kveil_status st = KVEIL_OK;

	e->rules = bound_array(e, count_bindings(plan), sizeof *e->rules);
	if (!rank_of || !e->rules)
		return no_memory(err);
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
	const struct kveil_rows *texts = &e->plan->rows[KVEIL_ROWS_TEXT];
	for (size_t i = 0; ok && i < texts->count; i++)
		ok = add_clear(e, like, texts->roots[i], whole, KVEIL_STAGE_PART, KVEIL_STAGE_ROW);
	for (unsigned from = e->plan->envelope ? KVEIL_STAGE_ROW : KVEIL_STAGE_STEP; ok && from < last; from++)
		for (unsigned to = from + 1; ok && to <= last; to++)
			ok = add_clear(e, like, whole, kveil_text_stretch(e, path, from, to), from, to < last ? to : 0);
	return ok;
}

static enum kveil_status bind_clears(struct kveil_engine *e, struct kveil_error *err)
{
	uint32_t line = 0;

	e->clears = bound_array(e, e->clear_count, sizeof *e->clears);
	e->clear_count = 0;
	if (!e->clears)
		return no_memory(err);
	for (size_t v = 0; v < e->plan->view_count; v++)
		for (size_t i = 0; i < e->plan->views[v].clear_count; i++) {
			struct kveil_bound_clear like = {.views = (uint64_t)1 << v, .line = line++};
			if (!bind_clear(e, e->plan->views[v].clear[i], &like))
				return no_memory(err);
		}
	return KVEIL_OK;
}

static bool has_holes(const struct kveil_template *t)
{
	return t && !t->is_constant;
}

/* May stream.c rewrite the part: one view, and nothing that looks beyond the place itself. */
static bool can_stream(const struct kveil_engine *e, enum kveil_part part)
{
	if (e->view_count != 1 || e->unmatched_views || !e->parts[part].format->has_paths)
		return false;
	for (uint32_t i = 0; i < e->rule_count; i++) {
		const struct kveil_bound_rule *b = &e->rules[i];
		if (b->part != part || !b->views || b->from)
			continue;
		if (b->way >= KVEIL_STAGE_STEP)
			return false;
		/* An envelope's own conditions come up once in a while: stream.c gives such a record to decide.c. */
		if (!b->streams || (b->rule->when && !b->rule->is_of_event) || b->rule->to || b->rule->tables)
			return false;
		/* What they read is the key's own. */
		if (b->in_key_row && (has_holes(b->rule->key) || has_holes(b->rule->key2) || has_holes(b->rule->ad)))
			return false;
	}
	return true;
}

/* The first of the rule's bindings that lead as b does: it stands for them in accept lists. A condition is asked in
 * every reading of the record, all else is the innermost's. */
static uint32_t twin_of(const struct kveil_engine *e, uint32_t i)
{
	const struct kveil_bound_rule *b = &e->rules[i];
	uint32_t first = i;

	if (b->rule->when || b->rule->tables)
		return i;
	for (uint32_t k = i; k > 0 && e->rules[k - 1].rule == b->rule; k--)
		if (e->rules[k - 1].part == b->part && e->rules[k - 1].way == b->way && e->rules[k - 1].from == b->from)
			first = k - 1;
	return first;
}

/* All that stands in the part itself, or in texts of it, as one automaton. Clear paths matter only where what is not
 * named goes. */
static enum kveil_status make_automaton(struct kveil_engine *e, enum kveil_part part, bool in_texts,
					struct kveil_automaton **ret, bool *ret_all_stream, struct kveil_error *err)
{
	struct kveil_automaton_path *rows = calloc((size_t)e->rule_count + e->clear_count + 1, sizeof *rows);
	size_t n = 0;

	if (!rows)
		return no_memory(err);
	*ret_all_stream = true;
	for (uint32_t i = 0; i < e->rule_count; i++) {
		const struct kveil_bound_rule *b = &e->rules[i];
		if (b->part != part || !b->views || (b->from != KVEIL_STAGE_PART) != in_texts)
			continue;
		*ret_all_stream &= b->streams;
		bool is_place_bound = b->ad_prefix.data && !b->ad.data; /* `to` goes over the tape */
		if (b->streams)
			rows[n++] = (struct kveil_automaton_path){b->path, i, twin_of(e, i), is_place_bound};
	}
	for (uint32_t i = 0; part == KVEIL_PART_VALUE && e->unmatched_views && i < e->clear_count; i++) {
		uint32_t id = e->rule_count + i;
		if ((e->clears[i].from != KVEIL_STAGE_PART) != in_texts)
			continue;
		*ret_all_stream &= e->clears[i].streams;
		if (e->clears[i].streams)
			rows[n++] = (struct kveil_automaton_path){e->clears[i].path, id, id, false};
	}
	enum kveil_status st = kveil_automaton_new(rows, n, ret, err);
	free(rows);
	return st;
}

static enum kveil_status bind_part(struct kveil_engine *e, enum kveil_part part, struct kveil_error *err)
{
	struct kveil_bound_part *p = &e->parts[part];

	for (uint32_t i = 0; i < e->rule_count; i++) {
		const struct kveil_bound_rule *b = &e->rules[i];
		if (b->part != part || !b->views)
			continue;
		p->has_rules = true;
		p->has_ways |= b->way != 0;
		e->has_key_rows |= b->in_key_row;
		e->has_required |= b->rule->required;
	}
	for (uint32_t i = 0; part == KVEIL_PART_VALUE && e->unmatched_views && i < e->clear_count; i++)
		p->has_ways |= e->clears[i].way != 0;
	enum kveil_status st = make_automaton(e, part, false, &p->automaton, &p->all_stream, err);
	if (!st && p->has_ways)
		st = make_automaton(e, part, true, &p->text_automaton, &p->text_all_stream, err);
	p->can_stream = can_stream(e, part);
	p->scan = (struct kveil_scan){
	    .automaton = p->automaton, .arena = &e->arena, .max_bytes = e->max_bytes, .max_depth = e->max_depth};
	if (st)
		kveil_error_where(err, e->plan->file, 0, 0);
	return st;
}

static enum kveil_status bind_headers(struct kveil_engine *e, struct kveil_error *err)
{
	e->headers = bound_array(e, e->rule_count, sizeof *e->headers);
	if (!e->headers)
		return no_memory(err);
	for (uint32_t i = 0; i < e->rule_count; i++) {
		if (e->rules[i].part != KVEIL_PART_HEADER)
			continue;
		struct kveil_span name = kveil_span_str(e->rules[i].rule->header_name);
		size_t h = 0;
		while (h < e->header_count && !kveil_span_eq(e->headers[h].name, name))
			h++;
		if (h == e->header_count) {
			e->headers[h].name = name;
			e->headers[h].ids = bound_array(e, e->rule_count, sizeof *e->headers[h].ids);
			if (!e->headers[h].ids)
				return no_memory(err);
			e->header_count++;
		}
		e->headers[h].ids[e->headers[h].id_count++] = i;
	}
	return KVEIL_OK;
}

static unsigned deepest_level(const struct kveil_engine *e)
{
	for (int part = 0; part < KVEIL_PART_COUNT; part++)
		if (e->parts[part].has_ways)
			return KVEIL_MOST_TEXTS;
	return 0;
}

enum kveil_status kveil_engine_bind(struct kveil_engine *e, struct kveil_error *err)
{
	const struct kveil_plan *plan = e->plan;

	if (plan->view_count == 0 || plan->view_count > KVEIL_MAX_VIEWS)
		return kveil_fail(err, KVEIL_E_RULES, "%zu outputs; from 1 to %d are taken", plan->view_count,
				  KVEIL_MAX_VIEWS);
	for (int part = 0; part < KVEIL_PART_COUNT; part++) {
		const struct kveil_format *f = plan->formats[part];
		e->parts[part].format =
		    f ? f : kveil_format_by_name(part == KVEIL_PART_VALUE ? KVEIL_SPAN("json") : KVEIL_SPAN("text"));
	}
	e->view_count = plan->view_count;
	e->views = bound_array(e, e->view_count, sizeof *e->views);
	e->outputs = bound_array(e, e->view_count, sizeof *e->outputs);
	e->root_results = bound_array(e, e->view_count, sizeof *e->root_results);
	e->matches = calloc(plan->rule_count + 1, sizeof *e->matches);
	if (!e->views || !e->outputs || !e->root_results || !e->matches)
		return no_memory(err);
	enum kveil_status st = rank_rules(e, err);
	if (!st)
		st = bind_clears(e, err);
	for (uint32_t i = 0; !st && i < e->rule_count; i++)
		st = bind_rule(e, &e->rules[i], err);
	for (int part = 0; !st && part < KVEIL_PART_COUNT; part++)
		st = bind_part(e, (enum kveil_part)part, err);
	for (unsigned level = 0; !st && level <= deepest_level(e); level++)
		if (!kveil_engine_bind_level(e, level))
			st = no_memory(err);
	if (!st)
		st = bind_headers(e, err);
	if (!st && e->parts[KVEIL_PART_VALUE].format->is_typed)
		st = kveil_engine_check_typed(e, err);
	e->lookup = (struct kveil_scan){
	    .arena = &e->arena, .max_bytes = e->max_bytes, .max_depth = e->max_depth, .want_doc = true};
	e->check = (struct kveil_scan){.arena = &e->arena, .max_bytes = e->max_bytes, .max_depth = e->max_depth};
	for (int part = 0; part < KVEIL_PART_COUNT; part++)
		e->parts[part].scan.allowance = &e->allowance;
	for (size_t d = 1; d <= KVEIL_MOST_TEXTS; d++)
		e->levels[d].scan = (struct kveil_scan){.arena = &e->arena,
							.max_bytes = e->max_bytes,
							.max_depth = e->max_depth,
							.want_doc = true,
							.allowance = &e->allowance};
	e->join.text.allowance = e->join.nodes.allowance = &e->allowance;
	e->lookup.allowance = e->check.allowance = e->pieces.allowance = e->scratch.allowance = &e->allowance;
	for (size_t v = 0; v < e->view_count; v++)
		for (int t = 0; t < KVEIL_TEXT_COUNT; t++)
			e->views[v].texts[t].allowance = e->views[v].wholes[t].allowance = &e->allowance;
	kveil_connect_init(e);
	return st;
}

void kveil_engine_unbind(struct kveil_engine *e)
{
	for (int part = 0; part < KVEIL_PART_COUNT; part++) {
		kveil_scan_clear(&e->parts[part].scan);
		kveil_automaton_free(e->parts[part].automaton);
		kveil_automaton_free(e->parts[part].text_automaton);
	}
	for (size_t d = 1; d <= KVEIL_MOST_TEXTS; d++)
		kveil_scan_clear(&e->levels[d].scan);
	kveil_buf_clear(&e->join.text);
	kveil_buf_clear(&e->join.nodes);
	kveil_scan_clear(&e->lookup);
	kveil_scan_clear(&e->check);
	for (size_t v = 0; e->views && v < e->view_count; v++) {
		for (int t = 0; t < KVEIL_TEXT_COUNT; t++) {
			kveil_buf_clear(&e->views[v].texts[t]);
			kveil_buf_clear(&e->views[v].wholes[t]);
		}
	}
	kveil_engine_clear_typed(e);
	kveil_connect_clear(&e->connect);
	kveil_buf_clear(&e->pieces);
	kveil_buf_clear(&e->scratch);
	free(e->piece_list);
	kveil_allowance_give(&e->allowance, e->piece_cap * sizeof *e->piece_list);
	free(e->matches);
	kveil_arena_clear(&e->bound);
	kveil_arena_clear(&e->arena);
}

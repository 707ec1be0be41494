/* SPDX-License-Identifier: Apache-2.0 */
/* A plan and a thread's keys become an engine. */
#include "engine/connect.h"
#include "engine/internal.h"
#include "rules/tags.h"

#include <stdlib.h>

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
			b->call.ad = r->ad->pieces[0].text;
		if (r->ad->is_constant && b->call.ad.len == 0)
			return kveil_fail(err, KVEIL_E_RULES, "associated data is never empty");
		return KVEIL_OK;
	}
	if (!e->plan->name || !e->plan->name[0])
		return kveil_fail(err, KVEIL_E_RULES, "a file that encrypts or decrypts needs a `name`");
	b->may_join = !b->call.key || kveil_key_join(b->call.key).data ||
		      (b->call.key2 && kveil_key_join(b->call.key2).data) || (r->key2_use && !b->call.key2);
	kveil_buf_append_str(&text, e->plan->name);
	kveil_buf_append_str(&text, ":");
	if (b->part == KVEIL_PART_HEADER) {
		kveil_buf_append_str(&text, "header:");
		kveil_buf_append_str(&text, r->header_name);
		return keep_buf(e, &text, &b->call.ad) ? KVEIL_OK : kveil_no_memory(err, "an engine");
	}
	/* A rule for the row means the same value in the key: there too the path is the row's. */
	if (r->part == KVEIL_PART_KEY)
		kveil_buf_append_str(&text, "key:");
	if (!keep_buf(e, &text, &b->ad_prefix))
		return kveil_no_memory(err, "an engine");
	/* What opens reads where the ciphertext stands; what seals binds to where it puts it. */
	b->ad_names_target = r->to && a->effect == KVEIL_PROTECTS;
	b->wants_ad_read = b->ad_names_target && r->key_use & KVEIL_USE_OPEN;
	/* A tag is not a place. */
	if (kveil_rule_has_tags(r))
		return KVEIL_OK;
	/* A bare key has no path of its own. */
	const struct kveil_path *place = b->is_bare_key ? e->plan->key_column : r->path;
	if (!bind_place(e, b->ad_names_target ? r->to : place, b->ad_prefix, &b->call.ad))
		return kveil_no_memory(err, "an engine");
	if (b->wants_ad_read && !bind_place(e, place, b->ad_prefix, &b->call.ad_read))
		return kveil_no_memory(err, "an engine");
	return KVEIL_OK;
}

/* Is there nothing about the call that a record could still tell? */
static bool is_settled(const struct kveil_bound_rule *b)
{
	const struct kveil_rule *r = b->rule;
	bool lacks_key = (r->key && r->key_use && !b->call.key) || (r->key2 && r->key2_use && !b->call.key2);
	bool lacks_ad = b->action->needs_ad && (!b->call.ad.data || (b->wants_ad_read && !b->call.ad_read.data));

	return !lacks_key && !lacks_ad && !b->may_join && !b->in_key_row;
}

static enum kveil_status bind_rule(struct kveil_engine *e, struct kveil_bound_rule *b, struct kveil_error *err)
{
	const struct kveil_rule *r = b->rule;
	const struct kveil_action *a = r->action;

	b->action = a;
	b->call = (struct kveil_action_call){.params = r->params, .arena = &e->arena};
	b->kinds = a->kinds_for ? a->kinds_for(r->params) : a->kinds;
	b->streams = b->part == KVEIL_PART_HEADER || kveil_path_is_streamable(b->own);
	/* An envelope's own conditions come up once in a while, and texts where rows are objects. */
	b->leaves_stream = r->when || b->way || b->is_text_column;
	if (r->index >= e->plan->rule_count)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a rule's index is outside its plan");
	b->matches = &e->matches[r->index];
	if (r->to && !b->in_key_row && (b->part == KVEIL_PART_HEADER || !e->parts[b->part].format->has_paths))
		return kveil_fail(err, KVEIL_E_RULES, "`to` needs a part with members");
	enum kveil_status st = bind_key(e, r->key, r->key_use, &b->call.key, err);
	if (!st)
		st = bind_key(e, r->key2, r->key2_use, &b->call.key2, err);
	if (!st)
		st = bind_ad(e, b, err);
	b->is_settled = is_settled(b);
	if (st) {
		kveil_error_where(err, e->plan->file, r->line, r->column);
		kveil_error_rule(err, r->id);
	}
	return st;
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
		if (e->rules[k - 1].part == b->part && e->rules[k - 1].way == b->way &&
		    e->rules[k - 1].from == b->from && e->rules[k - 1].is_text_column == b->is_text_column)
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
		return kveil_no_memory(err, "an engine");
	*ret_all_stream = true;
	for (uint32_t i = 0; i < e->rule_count; i++) {
		const struct kveil_bound_rule *b = &e->rules[i];
		if (b->part != part || !b->views || (b->from != KVEIL_STAGE_PART) != in_texts)
			continue;
		/* Where names may be paths, dotted.c looks. */
		if (b->from == KVEIL_STAGE_PARTIAL)
			continue;
		*ret_all_stream &= b->streams;
		bool is_place_bound = b->ad_prefix.data && !b->call.ad.data; /* `to` goes over the tape */
		if (b->streams)
			rows[n++] = (struct kveil_automaton_path){b->path, i, twin_of(e, i), is_place_bound};
	}
	for (uint32_t i = 0; part == KVEIL_PART_VALUE && e->unmatched_views && i < e->clear_count; i++) {
		uint32_t id = e->rule_count + i;
		if ((e->clears[i].from != KVEIL_STAGE_PART) != in_texts || e->clears[i].from == KVEIL_STAGE_PARTIAL)
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
	e->headers = kveil_engine_bound_array(e, e->rule_count, sizeof *e->headers);
	if (!e->headers)
		return kveil_no_memory(err, "an engine");
	for (uint32_t i = 0; i < e->rule_count; i++) {
		if (e->rules[i].part != KVEIL_PART_HEADER)
			continue;
		struct kveil_span name = kveil_span_str(e->rules[i].rule->header_name);
		size_t h = 0;
		while (h < e->header_count && !kveil_span_eq(e->headers[h].name, name))
			h++;
		if (h == e->header_count) {
			e->headers[h].name = name;
			e->headers[h].ids = kveil_engine_bound_array(e, e->rule_count, sizeof *e->headers[h].ids);
			if (!e->headers[h].ids)
				return kveil_no_memory(err, "an engine");
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
	for (size_t i = 0; i < plan->absent_count; i++)
		e->absent_lengths |= (uint64_t)1 << (plan->absent[i].len & 63);
	e->view_count = plan->view_count;
	e->views = kveil_engine_bound_array(e, e->view_count, sizeof *e->views);
	e->outputs = kveil_engine_bound_array(e, e->view_count, sizeof *e->outputs);
	e->root_results = kveil_engine_bound_array(e, e->view_count, sizeof *e->root_results);
	e->matches = calloc(plan->rule_count + 1, sizeof *e->matches);
	if (!e->views || !e->outputs || !e->root_results || !e->matches)
		return kveil_no_memory(err, "an engine");
	enum kveil_status st = kveil_engine_bind_rows(e, err);
	for (uint32_t i = 0; !st && i < e->rule_count; i++)
		st = bind_rule(e, &e->rules[i], err);
	for (int part = 0; !st && part < KVEIL_PART_COUNT; part++)
		st = bind_part(e, (enum kveil_part)part, err);
	for (unsigned level = 0; !st && level <= deepest_level(e); level++)
		if (!kveil_engine_bind_level(e, level))
			st = kveil_no_memory(err, "an engine");
	if (!st)
		st = bind_headers(e, err);
	if (!st && !kveil_engine_bind_added(e))
		st = kveil_no_memory(err, "an engine");
	if (!st && (e->parts[KVEIL_PART_VALUE].format->is_typed || e->parts[KVEIL_PART_KEY].format->is_typed))
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

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Under an envelope `unmatched` is about columns. What stands at an event's root is judged as a row like any other, and
 * what no rule names there goes, unless the envelope's condition says that it is an event: then its own members stay.
 */
#include "engine/internal.h"
#include "format/envelope.h"

static bool is_added(const struct kveil_plan *plan, struct kveil_span name)
{
	for (const char *const *a = plan->envelope->added; a && *a; a++)
		if (kveil_engine_is_added(plan, *a, name))
			return true;
	return false;
}

static bool is_container(const struct kveil_doc_node *n)
{
	return n->kind == KVEIL_KIND_OBJECT || n->kind == KVEIL_KIND_ARRAY;
}

static enum kveil_status spare_members(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t event, bool is_event,
				       struct kveil_error *err)
{
	const struct kveil_doc *doc = w->doc;
	const struct kveil_envelope *kind = e->plan->envelope;

	for (uint32_t c = event + 1; c < doc->nodes[event].next; c = doc->nodes[c].next) {
		const struct kveil_doc_node *n = &doc->nodes[c];
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		if (!name.data)
			return kveil_no_memory(err, "a record");
		e->work--;
		if (is_event ? kveil_envelope_lists(kind->members, name) || kveil_envelope_lists(kind->at_times, name)
			     : !is_container(n) && is_added(e->plan, name))
			kveil_rewrite_name(w, c);
	}
	return KVEIL_OK;
}

/* Names those of the list, and null. */
static enum kveil_status name_members(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t object,
				      const char *const *names, struct kveil_error *err)
{
	const struct kveil_doc *doc = w->doc;

	for (uint32_t c = object + 1; c < doc->nodes[object].next; c = doc->nodes[c].next) {
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		if (!name.data)
			return kveil_no_memory(err, "a record");
		e->work--;
		if (doc->nodes[c].kind == KVEIL_KIND_NULL || kveil_envelope_lists(names, name))
			kveil_rewrite_name(w, c);
	}
	return KVEIL_OK;
}

/* What the path finds in the event and is not the event. */
static enum kveil_status find_in(struct kveil_engine *e, const struct kveil_rewrite *w, uint32_t event,
				 const struct kveil_path *path, uint32_t **ret, size_t *ret_count,
				 struct kveil_error *err)
{
	size_t count = 0;
	enum kveil_status st = kveil_path_select_within(path, w->doc, 0, false, &e->work, &e->arena, ret, &count, err);

	*ret_count = 0;
	for (size_t i = 0; !st && i < count; i++)
		if ((*ret)[i] > event && (*ret)[i] < w->doc->nodes[event].next)
			(*ret)[(*ret_count)++] = (*ret)[i];
	return st;
}

/* A container holds what is kept; null stands for none. */
static void spare_holder(struct kveil_rewrite *w, uint32_t node)
{
	if (is_container(&w->doc->nodes[node]))
		kveil_rewrite_lead(w, node);
	else if (w->doc->nodes[node].kind == KVEIL_KIND_NULL)
		kveil_rewrite_name(w, node);
}

/* A row without one named column stays a row; what stands for none stays. */
static enum kveil_status lead_to_rows(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t event,
				      struct kveil_error *err)
{
	const struct kveil_rows *rows = &e->plan->rows[KVEIL_ROWS_VALUE];
	enum kveil_status st = KVEIL_OK;

	for (size_t i = 0; !st && i < rows->count; i++) {
		struct kveil_path beginning = *rows->roots[i];
		if (kveil_plan_is_event(e->plan, &beginning))
			continue;
		for (beginning.count = 1; !st && beginning.count <= rows->roots[i]->count; beginning.count++) {
			uint32_t *nodes;
			size_t count;
			st = find_in(e, w, event, &beginning, &nodes, &count, err);
			for (size_t k = 0; k < count; k++)
				spare_holder(w, nodes[k]);
		}
	}
	return st;
}

/* Beside the fields that changed stand names of fields. */
static enum kveil_status spare_partials(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t event,
					struct kveil_error *err)
{
	const struct kveil_rows *rows = &e->plan->rows[KVEIL_ROWS_PARTIAL];
	enum kveil_status st = KVEIL_OK;

	for (size_t i = 0; !st && i < rows->count; i++) {
		struct kveil_path parent = *rows->roots[i];
		uint32_t *nodes;
		size_t count;
		parent.count--;
		st = find_in(e, w, event, &parent, &nodes, &count, err);
		for (size_t k = 0; !st && k < count; k++) {
			spare_holder(w, nodes[k]);
			if (w->doc->nodes[nodes[k]].kind == KVEIL_KIND_OBJECT)
				st = name_members(e, w, nodes[k], e->plan->envelope->beside_partials, err);
		}
	}
	return st;
}

enum kveil_status kveil_engine_spare(struct kveil_engine *e, struct kveil_rewrite *w, struct kveil_error *err)
{
	const struct kveil_rows *events = &e->plan->rows[KVEIL_ROWS_EVENT];
	enum kveil_status st = KVEIL_OK;

	for (size_t i = 0; !st && i < events->count; i++) {
		uint32_t *nodes;
		size_t count = 0;
		st = kveil_path_select_within(events->roots[i], w->doc, 0, false, &e->work, &e->arena, &nodes, &count,
					      err);
		for (size_t k = 0; !st && k < count; k++) {
			struct kveil_doc event = *w->doc;
			enum kveil_tri is_event = KVEIL_NO;
			if (event.nodes[nodes[k]].kind != KVEIL_KIND_OBJECT)
				continue;
			event.root = nodes[k];
			st = kveil_expr_eval_within(e->plan->is_event, &event, nodes[k], &e->work, &is_event, err);
			if (!st)
				st = spare_members(e, w, nodes[k], is_event == KVEIL_YES, err);
			if (!st && is_event == KVEIL_YES)
				st = lead_to_rows(e, w, nodes[k], err);
			if (!st && is_event == KVEIL_YES)
				st = spare_partials(e, w, nodes[k], err);
		}
	}
	return st;
}

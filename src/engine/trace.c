/* SPDX-License-Identifier: Apache-2.0 */
/* The story of each field. Slow, and only for a user's own terminal. */
#include "engine/internal.h"

static const char *const part_prefixes[KVEIL_PART_COUNT] = {"value:", "key:", "header:"};

void kveil_engine_trace(struct kveil_engine *e, size_t view, const struct kveil_bound_rule *r,
			const struct kveil_spot *spot, bool at_target, struct kveil_span after, const char *outcome)
{
	if (!e->trace)
		return;
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT;
	kveil_buf_append_str(&path, part_prefixes[spot->part]);
	if (spot->part == KVEIL_PART_HEADER)
		kveil_buf_append_span(&path, spot->header_name);
	else
		kveil_engine_write_path(e, spot, NULL, 0, true,
					at_target && spot->match.depth ? r->rule->to_name : KVEIL_SPAN_NULL, &path);
	const struct kveil_match *m = &spot->match;
	struct kveil_trace_event event = {
	    .view = view,
	    .rule_id = r->rule->id,
	    .action = r->action->name,
	    .key_name = r->rule->key ? r->rule->key->text : NULL,
	    .key2_name = r->rule->key2 ? r->rule->key2->text : NULL,
	    .path = kveil_buf_span(&path),
	    .before = {spot->text.data ? spot->text.data + m->start : NULL, m->end - m->start},
	    .after = after,
	    .outcome = outcome,
	};
	if (strcmp(outcome, "applied") == 0) {
		event.ad = kveil_engine_ad_to_show(e, r, spot);
		event.ad_template = r->rule->ad && !r->rule->ad->is_constant ? r->rule->ad->text : NULL;
	}
	e->trace(e->trace_user, &event);
}

void kveil_engine_trace_dropped(struct kveil_engine *e, const struct kveil_rewrite *w, uint32_t node)
{
	const struct kveil_doc *doc = w->doc;
	const struct kveil_doc_node *n = &doc->nodes[node];
	struct kveil_spot spot = {
	    .part = KVEIL_PART_VALUE, .text = doc->text, .doc = doc, .outer = w->outer, .match = {.node = node}};

	if (!e->trace)
		return;
	for (uint32_t p = node; p; p = doc->nodes[p].parent)
		spot.match.depth++;
	KVEIL_CLEANUP_BUF struct kveil_buf path = KVEIL_BUF_INIT;
	kveil_buf_append_str(&path, part_prefixes[spot.part]);
	kveil_engine_write_path(e, &spot, NULL, 0, true, KVEIL_SPAN_NULL, &path);
	struct kveil_trace_event event = {
	    .view = w->view,
	    .path = kveil_buf_span(&path),
	    .before = {doc->text.data + n->start, n->end - n->start},
	    .outcome = "dropped: no rule names it",
	};
	e->trace(e->trace_user, &event);
}

void kveil_engine_trace_absent(struct kveil_engine *e)
{
	for (uint32_t i = 0, next; e->trace && i < e->rule_count; i = next) {
		const struct kveil_bound_rule *r = &e->rules[i];
		next = kveil_engine_next_rule(e, i);
		if (r->rule->is_of_event || kveil_engine_found(e, i))
			continue;
		for (size_t v = 0; v < e->view_count; v++) {
			struct kveil_trace_event event = {
			    .view = v,
			    .rule_id = r->rule->id,
			    .action = r->action->name,
			    .key_name = r->rule->key ? r->rule->key->text : NULL,
			    .key2_name = r->rule->key2 ? r->rule->key2->text : NULL,
			    .path = kveil_span_str(r->rule->path_text),
			    .outcome = "absent",
			};
			if (r->views >> v & 1)
				e->trace(e->trace_user, &event);
		}
	}
}

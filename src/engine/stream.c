/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The common case, straight from the scan: one view, rules that write where they read. Gaps are copied, actions
 * write into the output directly, nothing is looked at twice.
 */
#include "engine/internal.h"
#include "format/automaton_internal.h"

/* Takes back the counts of the first n matches: another pass counts them again. */
static void uncount(struct kveil_engine *e, const struct kveil_bound_part *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct kveil_automaton_state *s = &p->automaton->states[p->scan.matches[i].state];
		for (uint32_t k = 0; k < s->accept_count; k++)
			if (kveil_engine_takes(&e->rules[s->accepts[k]], p->scan.matches[i].kind))
				kveil_engine_uncount(&e->rules[s->accepts[k]], 1);
	}
}

/* Counts a place for all its rules, and gives the one that applies; NULL: the value is none that they are about. */
static inline struct kveil_bound_rule *first_rule(struct kveil_engine *e, const struct kveil_automaton_state *s,
						  unsigned kind)
{
	struct kveil_bound_rule *first = NULL;

	for (uint32_t k = s->accept_count; k-- > 0;) {
		struct kveil_bound_rule *r = &e->rules[s->accepts[k]];
		if (!kveil_engine_takes(r, kind))
			continue;
		kveil_engine_count(e, r);
		first = r;
	}
	return first;
}

enum kveil_status kveil_engine_stream(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				      struct kveil_buf *out, bool *ret_written, bool *ret_give_up,
				      struct kveil_error *err)
{
	struct kveil_bound_part *p = &e->parts[part];
	struct kveil_spot spot; /* filled below: clearing it costs as much as a short field */
	const bool keeps_types = e->keeps_types;
	size_t copied = 0;    /* of text, into out */
	uint32_t covered = 0; /* what starts before was replaced with its container */

	*ret_written = *ret_give_up = false;
	p->scan.want_doc = false;
	enum kveil_status st = p->format->scan(&p->scan, text, err);
	if (st)
		return st;
	spot.part = part;
	spot.text = text;
	spot.doc = NULL;
	spot.trail = p->scan.trail;
	spot.header_name = KVEIL_SPAN_NULL;
	spot.value = NULL;
	spot.is_sent = false;
	spot.outer = NULL;
	kveil_buf_reset(out);
	/* Room for the gaps and most results at once; a record of nothing but places may be refused for less. */
	size_t room = 64 * p->scan.match_count + 64;
	if (p->scan.match_count && !kveil_buf_reserve(out, text.len + (room < text.len + 4096 ? room : text.len)))
		return kveil_no_memory(err, "a record");
	for (size_t i = 0; i < p->scan.match_count; i++) {
		const struct kveil_match *m = &p->scan.matches[i];
		const struct kveil_automaton_state *s = &p->automaton->states[m->state];
		struct kveil_bound_rule *r = first_rule(e, s, m->kind);
		if (!r || m->start < covered)
			continue;
		if (__builtin_expect(r->leaves_stream, 0)) {
			uncount(e, p, i + 1);
			*ret_give_up = true;
			return KVEIL_OK;
		}
		if (__builtin_expect(m->start < copied || m->end <= m->start || m->end > text.len, 0))
			return kveil_fail(err, KVEIL_E_INTERNAL, "places overlap");
		kveil_buf_append(out, text.data + copied, m->start - copied);
		copied = m->start;
		spot.match = *m;
		enum kveil_effect effect;
		size_t begin = out->len;
		st = kveil_engine_apply(e, r, &spot, out, &effect, err);
		if (__builtin_expect(st != KVEIL_OK, 0))
			return st;
		if (effect == KVEIL_EFFECT_KEPT)
			continue;
		if (__builtin_expect(effect != KVEIL_EFFECT_WRITTEN, 0)) {
			uncount(e, p, i + 1);
			*ret_give_up = true;
			p->can_stream = false;
			return KVEIL_OK;
		}
		if (__builtin_expect(keeps_types, 0))
			st =
			    kveil_engine_keep_type(r, text, m, kveil_span_of(out->data + begin, out->len - begin), err);
		if (__builtin_expect(st != KVEIL_OK, 0))
			return st;
		copied = covered = m->end;
		*ret_written = true;
	}
	if (!*ret_written)
		return KVEIL_OK;
	kveil_buf_append(out, text.data + copied, text.len - copied);
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "a record");
}

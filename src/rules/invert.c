/* SPDX-License-Identifier: Apache-2.0 */
/* Rules that open what others sealed. */
#include "rules/invert.h"

#include "format/envelope.h"
#include "format/format.h"
#include "rules/loader.h"
#include "rules/tags.h"

#include <stdlib.h>

struct inverse {
	const struct kveil_plan *plan;
	const struct kveil_view *view;
	struct kveil_buf *out;
	size_t rules;
};

/* JSON strings are YAML's double-quoted ones. */
static void quote(struct inverse *v, const char *text)
{
	kveil_options_write_json_string(v->out, text);
}

/* A path as a rule has it. */
static void write_path(struct inverse *v, const char *text, char *const *steps)
{
	if (!steps) {
		quote(v, text);
		return;
	}
	for (size_t i = 0; steps[i]; i++) {
		kveil_buf_append_str(v->out, i ? ", " : "[");
		quote(v, steps[i]);
	}
	kveil_buf_append_byte(v->out, ']');
}

/* What its path says behind the prefix of each name. */
static void write_tags(struct inverse *v, const char *text)
{
	kveil_buf_append_byte(v->out, '[');
	for (text = strchr(text, ':') + 1; *text; text++)
		kveil_buf_printf(v->out, *text == ',' ? "%c " : "%c", *text);
	kveil_buf_append_byte(v->out, ']');
}

/* In a comment: no line may end early. */
static void comment(struct inverse *v, const char *text)
{
	for (; *text; text++)
		kveil_buf_append_byte(v->out, (uint8_t)*text < 0x20 ? ' ' : (uint8_t)*text);
}

static const struct kveil_option *row(const struct kveil_rule *r, const char *name)
{
	for (const struct kveil_option *o = r->action->options; o && o->name; o++)
		if (strcmp(o->name, name) == 0)
			return o;
	return NULL;
}

static const char *text_of(const struct kveil_rule *r, const char *name)
{
	const struct kveil_option *o = row(r, name);
	const char *s = NULL;

	if (o)
		memcpy(&s, (const char *)r->params + o->offset, sizeof s);
	return s;
}

/* A parameter of the inverse that the rule has too, unless it is as by default. */
static void write_parameter(struct inverse *v, const struct kveil_rule *r, const char *name)
{
	const struct kveil_option *o = row(r, name);
	const char *text = o && o->type == KVEIL_OPT_STRING ? text_of(r, name) : NULL;

	if (text) {
		kveil_buf_printf(v->out, ", %s: ", name);
		quote(v, text);
	} else if (o && o->type == KVEIL_OPT_UINT) {
		uint64_t n;
		memcpy(&n, (const char *)r->params + o->offset, sizeof n);
		if (n)
			kveil_buf_printf(v->out, ", %s: %llu", name, (unsigned long long)n);
	} else if (o && o->type == KVEIL_OPT_ENUM) {
		int choice;
		memcpy(&choice, (const char *)r->params + o->offset, sizeof choice);
		if (!o->def || strcmp(o->choices[choice], o->def) != 0)
			kveil_buf_printf(v->out, ", %s: %s", name, o->choices[choice]);
	}
}

static bool seals(const struct kveil_rule *r)
{
	return r->action->inverse != NULL;
}

/* The name of the key that what comes out is sealed under. */
static const char *sealing_key(const struct kveil_rule *r)
{
	return text_of(r, r->action->key2_use ? "to" : "key");
}

/* --- what the inverse would have to read, and cannot --- */

/* Do the paths part by their last name alone? `$..cvv` never is `$.amount`, nor what that stands in. */
static bool parts_by_name(const struct kveil_path *written, const struct kveil_path *read)
{
	const struct kveil_segment *last = written->count ? &written->segments[written->count - 1] : NULL;
	bool only_names = last != NULL && !kveil_path_is_of_tags(written);

	for (size_t i = 0; last && i < last->count; i++)
		only_names &= last->selectors[i].kind == KVEIL_SEL_NAME;
	for (size_t i = 0; only_names && i < read->count; i++) {
		const struct kveil_segment *s = &read->segments[i];
		for (size_t k = 0; k < s->count; k++) {
			only_names &= s->selectors[k].kind == KVEIL_SEL_NAME;
			for (size_t n = 0; only_names && n < last->count; n++)
				only_names = !kveil_span_eq(s->selectors[k].name, last->selectors[n].name);
		}
	}
	return only_names;
}

static bool may_write(const struct kveil_path *written, const struct kveil_path *read, bool whole)
{
	return kveil_path_may_meet(written, read) && (whole || !parts_by_name(written, read));
}

static const struct kveil_path *place_of(const struct kveil_rule *r)
{
	return r->to ? r->to : r->path;
}

/* Is what stood at the path in the record, in this part of it, another value now, or gone? */
static bool is_rewritten(const struct inverse *v, enum kveil_part part, const struct kveil_path *path, bool whole)
{
	bool stays = part != KVEIL_PART_VALUE || v->view->unmatched != KVEIL_UNMATCHED_REMOVE;

	for (size_t i = 0; !stays && i < v->view->clear_count; i++)
		stays = kveil_path_covers(v->view->clear[i], path);
	for (size_t i = 0; stays && i < v->view->rule_count; i++) {
		const struct kveil_rule *r = v->view->rules[i];
		if (r->part != part)
			continue;
		stays = (r->to && r->keep_source) || !may_write(r->path, path, whole);
		stays &= !r->to || !may_write(r->to, path, whole);
	}
	return !stays;
}

static bool template_is_lost(const struct inverse *v, const struct kveil_template *t)
{
	for (size_t i = 0; t && i < t->count; i++)
		if (t->pieces[i].path && is_rewritten(v, KVEIL_PART_VALUE, t->pieces[i].path, false))
			return true;
	return false;
}

static bool has_filter(const struct kveil_path *p)
{
	for (size_t i = 0; i < p->count; i++)
		for (size_t k = 0; k < p->segments[i].count; k++)
			if (p->segments[i].selectors[k].kind == KVEIL_SEL_FILTER)
				return true;
	return false;
}

/* Where an expression stands. */
struct reader {
	const struct inverse *v;
	enum kveil_part part;          /* of what @ is */
	const struct kveil_path *base; /* of @; NULL: the value that is sealed now */
};

static bool query_is_lost(void *user, const struct kveil_path *query, bool whole)
{
	const struct reader *x = user;

	if (has_filter(query) || (query->relative && !x->base))
		return true;
	if (!query->relative)
		return is_rewritten(x->v, KVEIL_PART_VALUE, query, whole);
	struct kveil_path all = {.count = x->base->count + query->count};
	all.segments = calloc(all.count + 1, sizeof *all.segments);
	if (!all.segments)
		return true;
	if (x->base->count)
		memcpy(all.segments, x->base->segments, x->base->count * sizeof *all.segments);
	if (query->count)
		memcpy(all.segments + x->base->count, query->segments, query->count * sizeof *all.segments);
	bool lost = is_rewritten(x->v, x->part, &all, whole);
	free(all.segments);
	return lost;
}

/* Does a filter of the path ask for what is another value now? The value of a $ in a key's filter is the key. */
static bool filter_is_lost(const struct inverse *v, const struct kveil_rule *r)
{
	const struct kveil_path *p = place_of(r);

	for (size_t i = 0; i < p->count; i++)
		for (size_t k = 0; k < p->segments[i].count; k++) {
			const struct kveil_selector *s = &p->segments[i].selectors[k];
			static struct kveil_selector any = {.kind = KVEIL_SEL_WILDCARD};
			if (s->kind != KVEIL_SEL_FILTER)
				continue;
			struct kveil_path base = {.count = i + 1};
			base.segments = calloc(base.count, sizeof *base.segments);
			if (!base.segments)
				return true;
			memcpy(base.segments, p->segments, base.count * sizeof *base.segments);
			base.segments[i].selectors = &any;
			base.segments[i].count = 1;
			bool lost = r->part != KVEIL_PART_VALUE ||
				    kveil_expr_any_query(s->filter, query_is_lost, &(struct reader){v, r->part, &base});
			free(base.segments);
			if (lost)
				return true;
		}
	return false;
}

static bool finds_by_position(const struct kveil_segment *s)
{
	for (size_t i = 0; i < s->count; i++)
		if (s->selectors[i].kind == KVEIL_SEL_INDEX || s->selectors[i].kind == KVEIL_SEL_SLICE)
			return true;
	return false;
}

/* May elements in front of the one that r's path counts off be gone? */
static bool position_is_lost(const struct inverse *v, const struct kveil_rule *r)
{
	const struct kveil_path *p = place_of(r);

	for (size_t i = 0; i < p->count; i++) {
		/* Whatever element of that array. */
		struct kveil_path array = {.segments = p->segments, .count = i};
		if (!finds_by_position(&p->segments[i]))
			continue;
		if (r->part == KVEIL_PART_VALUE && v->view->unmatched == KVEIL_UNMATCHED_REMOVE)
			return true;
		for (size_t k = 0; k < v->view->rule_count; k++) {
			const struct kveil_rule *q = v->view->rules[k];
			const struct kveil_segment *last =
			    q->path->count ? &q->path->segments[q->path->count - 1] : NULL;
			bool elements = false;
			for (size_t n = 0; last && n < last->count; n++)
				elements |= last->selectors[n].kind != KVEIL_SEL_NAME;
			if (kveil_rule_same_part(q, r) && strcmp(q->action->name, "remove") == 0 && elements &&
			    kveil_path_may_meet(q->path, &array))
				return true;
		}
	}
	return false;
}

/* A token says nothing about itself: what stands at its place and is none would come out as another value. */
static bool token_is_unsure(const struct inverse *v, const struct kveil_rule *r)
{
	if (!text_of(r, "alphabet"))
		return false; /* authenticated: the record fails, and nothing comes out */
	if (r->to)
		return true; /* a member that had the name all along */
	for (size_t i = 0; i < v->view->rule_count; i++) {
		const struct kveil_rule *q = v->view->rules[i];
		if (q == r || !kveil_rule_same_part(q, r))
			continue;
		if (may_write(q->path, r->path, false) || may_write(r->path, q->path, false) ||
		    (q->to && may_write(q->to, r->path, false)))
			return true;
	}
	return false;
}

/* Does a rule write the source of this one now and then, so that nothing tells whose value to bring back? One that
 * always does makes what stands at `to` a copy. */
static bool source_is_shared(const struct inverse *v, const struct kveil_rule *r)
{
	for (size_t i = 0; r->to && !r->keep_source && i < v->view->rule_count; i++) {
		const struct kveil_rule *q = v->view->rules[i];
		bool always = kveil_rule_is_unconditional(q) && kveil_path_equal(q->path, r->path);
		if (!q->to && !always && kveil_rule_same_part(q, r) && may_write(q->path, r->path, false))
			return true;
	}
	return false;
}

/* NULL = it can be opened. */
static const char *why_not(const struct inverse *v, const struct kveil_rule *r)
{
	if (r->when && kveil_expr_any_query(r->when, query_is_lost, &(struct reader){v, r->part, NULL}))
		return "its `when` reads values that are protected or gone now";
	if (filter_is_lost(v, r))
		return "its path asks for values that are protected or gone now";
	if (position_is_lost(v, r))
		return "elements that went have moved what its path counts off";
	if (template_is_lost(v, r->key) || template_is_lost(v, r->key2))
		return "its key is named by a value that is protected or gone now";
	if (template_is_lost(v, r->ad))
		return "its associated data holds a value that is protected or gone now";
	if (source_is_shared(v, r))
		return "another rule writes its source now and then";
	if (token_is_unsure(v, r))
		return "what stands there may be no token of this rule, and nothing tells";
	return NULL;
}

/* A rule in front that brings back the same source. */
static const struct kveil_rule *other_source(const struct inverse *v, const struct kveil_rule *r)
{
	for (size_t i = 0; r->to && v->view->rules[i] != r; i++) {
		const struct kveil_rule *q = v->view->rules[i];
		if (q->to && seals(q) && kveil_rule_same_part(q, r) && kveil_path_may_meet(q->path, r->path) &&
		    !parts_by_name(q->path, r->path) && !why_not(v, q))
			return q;
	}
	return NULL;
}

/* --- rules --- */

/* What stays at the source was sealed before this rule read it. */
static bool keeps_sealed_source(const struct kveil_rule *r)
{
	return r->to && r->keep_source && r->key_use & KVEIL_USE_OPEN;
}

/* Does another rule write the source in place, or does it stay: then what `to` wrote is a copy. */
static bool is_copy(const struct inverse *v, const struct kveil_rule *r)
{
	if (!r->to || r->keep_source)
		return r->to && !keeps_sealed_source(r);
	for (size_t i = 0; i < v->view->rule_count; i++) {
		const struct kveil_rule *q = v->view->rules[i];
		if (q != r && !q->to && kveil_rule_is_unconditional(q) && kveil_rule_same_part(q, r) &&
		    kveil_path_equal(q->path, r->path))
			return true;
	}
	const struct kveil_rule *first = other_source(v, r);
	return first && kveil_rule_is_unconditional(first) && kveil_path_equal(first->path, r->path);
}

static void write_action(struct inverse *v, const struct kveil_rule *r, const struct kveil_action *inverse)
{
	kveil_buf_printf(v->out, "%s: {key: ", inverse->name);
	quote(v, sealing_key(r));
	for (const struct kveil_option *o = inverse->options; o->name; o++)
		write_parameter(v, r, o->name);
	kveil_buf_append_byte(v->out, '}');
}

static void write_rule(struct inverse *v, const struct kveil_rule *r)
{
	const struct kveil_action *inverse = kveil_action_by_name(kveil_span_str(r->action->inverse));
	const char *reason = why_not(v, r);
	if (!reason && !is_copy(v, r) && other_source(v, r))
		reason = "another rule brings back the same source";
	const char *lead = reason ? "  #" : "  ";

	if (reason)
		kveil_buf_printf(v->out, "  # %s:\n", reason);
	else
		v->rules++;
	kveil_buf_printf(v->out, kveil_rule_has_tags(r) ? "%s- tags: " : "%s- path: ", lead);
	if (kveil_rule_has_tags(r))
		write_tags(v, r->path_text);
	else
		write_path(v, r->to ? r->to_text : r->path_text, r->to ? r->to_steps : r->path_steps);
	if (r->when) {
		kveil_buf_printf(v->out, "\n%s  when: ", lead);
		quote(v, r->when_text);
	}
	if (r->tables)
		kveil_buf_printf(v->out, "\n%s  table: %s", lead, r->tables->text);
	if (r->record) {
		kveil_buf_printf(v->out, "\n%s  record: ", lead);
		quote(v, r->record);
	}
	if (is_copy(v, r)) {
		kveil_buf_printf(v->out, "\n%s  remove: true # a copy\n", lead);
		return;
	}
	if (r->on_key_any)
		kveil_buf_printf(v->out, "\n%s  on_key: any", lead);
	kveil_buf_printf(v->out, "\n%s  ", lead);
	write_action(v, r, inverse);
	kveil_buf_append_byte(v->out, '\n');
	if (r->to && !keeps_sealed_source(r)) {
		kveil_buf_printf(v->out, "%s  to: ", lead);
		write_path(v, r->path_text, r->path_steps);
		kveil_buf_append_byte(v->out, '\n');
	}
}

/* --- the file --- */

/* A template's text as part of a regex. */
static void write_literal(struct kveil_buf *out, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		kveil_buf_printf(out, text[i] == '.' ? "[%c]" : "%c", text[i]);
}

/* "^etl[.].*" through "{topic}.secure" is "^(?:etl[.].*)[.]secure". */
static void expand_regex(const char *tmpl, const char *regex, struct kveil_buf *out)
{
	static const char hole[] = "{topic}";

	kveil_buf_append_byte(out, '^');
	while (*tmpl) {
		const char *next = strstr(tmpl, hole);
		size_t n = next ? (size_t)(next - tmpl) : strlen(tmpl);
		write_literal(out, tmpl, n);
		tmpl += n;
		if (next) {
			kveil_buf_printf(out, "(?:%s)", regex + 1);
			tmpl += sizeof hole - 1;
		}
	}
	kveil_buf_cstr(out);
}

static void write_topics(struct inverse *v)
{
	const char *tmpl = v->view->topic;
	bool is_constant = !strstr(tmpl, "{topic}");

	kveil_buf_append_str(v->out, "topics: [");
	for (size_t i = 0; v->plan->topics[i] && !(is_constant && i); i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;
		if (v->plan->topics[i][0] == '^' && !is_constant)
			expand_regex(tmpl, v->plan->topics[i], &name);
		else
			kveil_plan_expand_topic(tmpl, v->plan->topics[i], &name);
		const char *text = kveil_buf_cstr(&name);
		kveil_buf_append_str(v->out, i ? ", " : "");
		quote(v, text ? text : "");
	}
	kveil_buf_append_str(v->out, "]\n");
}

/* What was blanked stays so. */
static void write_envelope(struct inverse *v)
{
	const struct kveil_plan *p = v->plan;
	const struct kveil_rule *sql = NULL;

	if (!p->envelope)
		return;
	for (size_t i = p->own_rule_count; i < p->rule_count && !sql; i++)
		sql = seals(&p->rules[i]) ? &p->rules[i] : NULL;
	kveil_buf_printf(v->out, "envelope:\n  kind: %s\n  messages: %s\n", p->envelope->name,
			 p->reads_messages ? "rows" : "keep");
	if (p->key_column_text) {
		kveil_buf_append_str(v->out, "  key: ");
		quote(v, p->key_column_text);
		kveil_buf_append_byte(v->out, '\n');
	}
	if (p->added_prefix)
		kveil_buf_printf(v->out, "  added_prefix: \"%s\"\n", p->added_prefix);
	if (p->absent_text) {
		kveil_buf_append_str(v->out, "  unavailable_value: ");
		quote(v, p->absent_text);
		kveil_buf_append_byte(v->out, '\n');
	}
	if (!sql) {
		kveil_buf_append_str(v->out, "  sql: keep\n");
		return;
	}
	kveil_buf_append_str(v->out, "  sql: {");
	write_action(v, sql, kveil_action_by_name(kveil_span_str(sql->action->inverse)));
	kveil_buf_append_str(v->out, "}\n");
}

size_t kveil_plan_write_inverse(const struct kveil_plan *p, size_t view, struct kveil_buf *out)
{
	struct inverse v = {.plan = p, .view = &p->views[view], .out = out};

	kveil_buf_append_str(out, "# Opens what ");
	comment(&v, p->file);
	kveil_buf_printf(out, " seals%s%s, for those who hold the keys.\n", *v.view->name ? " for output " : "",
			 v.view->name);
	for (size_t i = 0; i < v.view->rule_count; i++) {
		const struct kveil_rule *r = v.view->rules[i];
		if (seals(r) || r->action->effect == KVEIL_REVEALS || r->is_of_event)
			continue;
		kveil_buf_append_str(out, "# Cannot be restored: ");
		comment(&v, r->path_text);
		kveil_buf_printf(out, " (%s)\n", r->action->name);
	}
	if (p->name)
		kveil_buf_printf(out, "name: %s\n", p->name);
	write_topics(&v);
	kveil_buf_printf(out, "format: {value: %s, key: %s}\n", p->formats[KVEIL_PART_VALUE]->name,
			 p->formats[KVEIL_PART_KEY]->name);
	write_envelope(&v);
	kveil_buf_append_str(out, "output: \"{topic}.opened\"\nfields:\n");
	for (size_t i = 0; i < v.view->rule_count; i++)
		if (seals(v.view->rules[i]) && !v.view->rules[i]->is_of_event)
			write_rule(&v, v.view->rules[i]);
	return v.rules;
}

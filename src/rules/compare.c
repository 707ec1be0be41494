/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules/compare.c: does a new plan set protect less than the one before? Doubt says yes: the answer costs a SIGHUP,
 * the wrong answer would cost clear values. So a protecting rule has to come back as it was (or as one that leaves
 * nothing), and no new rule may stand in front of it where both could meet. Where values go is protection too: outputs
 * are compared by the topic that they write, whatever they are called, and a topic that nothing went to is a loss.
 */
#include "rules/loader.h"
#include "rules/tags.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static bool names_disjoint(const struct kveil_segment *a, const struct kveil_segment *b)
{
	for (size_t i = 0; i < a->count; i++)
		for (size_t k = 0; k < b->count; k++)
			if (a->selectors[i].kind != KVEIL_SEL_NAME || b->selectors[k].kind != KVEIL_SEL_NAME ||
			    kveil_span_eq(a->selectors[i].name, b->selectors[k].name))
				return false;
	return true;
}

bool kveil_path_may_meet(const struct kveil_path *a, const struct kveil_path *b)
{
	size_t n = a->count < b->count ? a->count : b->count;

	if (kveil_path_is_of_tags(a) || kveil_path_is_of_tags(b))
		return true;
	for (size_t i = 0; i < n; i++) {
		/* Past a descendant segment the steps no longer stand side by side. */
		if (a->segments[i].descendant || b->segments[i].descendant)
			return true;
		if (names_disjoint(&a->segments[i], &b->segments[i]))
			return false;
	}
	return true;
}

/* fn of all paths that have one selector in each segment from `at` on; *budget bounds how many are asked about. */
static bool all_parts_from(const struct kveil_path *p, size_t at, unsigned *budget,
			   bool (*fn)(const void *user, const struct kveil_path *), const void *user)
{
	struct kveil_segment one, *segment;
	bool all = true;

	if (*budget == 0)
		return false;
	--*budget;
	if (fn(user, p))
		return true;
	while (at < p->count && p->segments[at].count == 1)
		at++;
	if (at == p->count)
		return false;
	/* A copy of the list of segments, of which one is narrowed at a time. */
	struct kveil_path part = *p;
	part.segments = malloc(p->count * sizeof *part.segments);
	if (!part.segments)
		return false;
	memcpy(part.segments, p->segments, p->count * sizeof *part.segments);
	one = p->segments[at];
	segment = &part.segments[at];
	for (size_t i = 0; i < one.count && all; i++) {
		*segment = (struct kveil_segment){one.descendant, &one.selectors[i], 1, one.enters};
		all = all_parts_from(&part, at + 1, budget, fn, user);
	}
	free(part.segments);
	return all;
}

bool kveil_path_all_parts(const struct kveil_path *p, bool (*fn)(const void *user, const struct kveil_path *),
			  const void *user)
{
	unsigned budget = 1000;

	return all_parts_from(p, 0, &budget, fn, user);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool kveil_rule_same_condition(const struct kveil_rule *q, const struct kveil_rule *r)
{
	return (!q->tables || kveil_rule_same_tables(q, r)) && (!q->record || same_text(q->record, r->record)) &&
	       (!q->when_text || (same_text(q->when_text, r->when_text) &&
				  (!strchr(q->when_text, '@') || kveil_path_equal(q->path, r->path))));
}

bool kveil_rule_leaves_nothing(const struct kveil_rule *r)
{
	return strcmp(r->action->name, "remove") == 0 || strcmp(r->action->name, "nullify") == 0;
}

static bool same_target(const struct kveil_rule *q, const struct kveil_rule *r)
{
	return !q->to == !r->to && (!q->to || kveil_span_eq(q->to_name, r->to_name));
}

/* Does q do for r's places at `path` at least what r does, wherever q gets to apply? */
static bool stands_in(const struct kveil_rule *q, const struct kveil_rule *r, const struct kveil_path *path)
{
	return q->action->effect == KVEIL_PROTECTS && kveil_rule_same_rows(q, r) && kveil_place_covers(q->path, path) &&
	       kveil_rule_same_condition(q, r) && (q->required || !r->required) && (!q->on_key_any || r->on_key_any) &&
	       (!q->but_row || r->but_row) &&
	       (kveil_rule_leaves_nothing(q) ||
		(same_target(q, r) && (!q->keep_source || r->keep_source) &&
		 (q->on_null_transform || !r->on_null_transform) && strcmp(q->action_text, r->action_text) == 0));
}

static bool is_twin(const struct kveil_rule *q, const struct kveil_rule *r)
{
	return kveil_rule_same_part(q, r) && q->is_of_event == r->is_of_event && kveil_path_equal(q->path, r->path) &&
	       same_text(q->when_text, r->when_text) && same_text(q->record, r->record) &&
	       kveil_rule_same_tables(q, r) && !q->to == !r->to && (!q->to || kveil_path_equal(q->to, r->to)) &&
	       q->keep_source == r->keep_source && q->on_null_transform == r->on_null_transform &&
	       strcmp(q->action_text, r->action_text) == 0;
}

/* Was it there before, in front of r? NULL r: anywhere. */
static bool stood_before(const struct kveil_view *v, const struct kveil_rule *q, const struct kveil_rule *r)
{
	for (size_t i = 0; i < v->rule_count && v->rules[i] != r; i++)
		if (is_twin(q, v->rules[i]))
			return true;
	return false;
}

struct question {
	const struct kveil_view *before, *now;
	const struct kveil_rule *rule;
};

static bool part_is_protected(const void *user, const struct kveil_path *path)
{
	const struct question *x = user;

	for (size_t i = 0; i < x->now->rule_count; i++) {
		const struct kveil_rule *q = x->now->rules[i];
		if (stands_in(q, x->rule, path))
			return true;
		/* One that may take the place first: only if it always did. */
		if (kveil_rule_same_part(q, x->rule) && kveil_path_may_meet(q->path, path) &&
		    !stood_before(x->before, q, x->rule))
			return false;
	}
	return false;
}

static bool still_protected(const struct kveil_view *before, const struct kveil_rule *r, const struct kveil_view *now)
{
	return kveil_path_all_parts(r->path, part_is_protected, &(struct question){before, now, r});
}

static bool takes_containers(const struct kveil_rule *q)
{
	unsigned kinds = q->action->kinds_for ? q->action->kinds_for(q->params) : q->action->kinds;

	return kinds & (KVEIL_KIND_BIT(KVEIL_KIND_OBJECT) | KVEIL_KIND_BIT(KVEIL_KIND_ARRAY));
}

/* May q, wherever it stands, let out of what r protected something that r did not: by a copy beside it, in the place
 * that r only emptied, or as part of a value around it? */
static bool adds_to(const struct kveil_rule *q, const struct kveil_rule *r)
{
	return r->action->effect == KVEIL_PROTECTS && kveil_rule_same_part(q, r) &&
	       kveil_path_may_meet(q->path, r->path) &&
	       (!same_target(q, r) || (takes_containers(q) && !kveil_place_covers(r->path, q->path)));
}

static bool adds_to_any(const struct kveil_view *before, const struct kveil_rule *q)
{
	for (size_t i = 0; i < before->rule_count; i++)
		if (adds_to(q, before->rules[i]))
			return true;
	return false;
}

static bool is_clear_before(const struct kveil_view *before, const struct kveil_place *c)
{
	for (size_t i = 0; i < before->clear_place_count; i++) {
		const struct kveil_place *b = before->clear_places[i];
		if (kveil_place_same_part(b->part, b->header_name, c->part, c->header_name) &&
		    kveil_place_covers(b->path, c->path))
			return true;
	}
	return false;
}

/* Two plans held against each other for one entry of `topics`, and what came of it so far. */
struct comparison {
	const struct kveil_plan *before, *now;
	const struct kveil_view *same[KVEIL_MOST_VIEWS]; /* for each view of now: the one that wrote its topic */
	struct kveil_report *losses;                     /* NULL = not asked for */
	bool less;
};

static bool is_told(const struct kveil_report *losses, const struct kveil_error *loss)
{
	for (size_t i = 0; i < losses->count; i++)
		if (strcmp(losses->problems[i].error.message, loss->message) == 0 &&
		    strcmp(losses->problems[i].error.file, loss->file) == 0)
			return true;
	return false;
}

/* v: the output that it is about; NULL: all of them. */
static KVEIL_PRINTF(4, 5) void lose(struct comparison *c, const char *file, const struct kveil_view *v,
				    const char *what, ...)
{
	struct kveil_error loss;
	char text[200];
	bool named = v && *v->name;
	va_list args;

	c->less = true;
	if (!c->losses)
		return;
	va_start(args, what);
	vsnprintf(text, sizeof text, what, args);
	va_end(args);
	kveil_fail(&loss, KVEIL_E_RULES, "protects less than before: %s%s%s%s", named ? "output " : "",
		   named ? v->name : "", named ? ": " : "", text);
	kveil_error_where(&loss, file, 0, 0);
	if (!is_told(c->losses, &loss))
		kveil_report_warn(c->losses, &loss);
}

static bool is_lost(const struct kveil_view *before, const struct kveil_rule *r, const struct kveil_view *now)
{
	return r->action->effect == KVEIL_PROTECTS && !still_protected(before, r, now);
}

/* Of a rule that all outputs had: the only loss, or one of many alike? */
static bool is_lost_everywhere(const struct comparison *c, const struct kveil_rule *r)
{
	if (r->view >= 0)
		return false;
	for (size_t i = 0; i < c->now->view_count; i++)
		if (c->same[i] && !is_lost(c->same[i], r, &c->now->views[i]))
			return false;
	return true;
}

static bool same_place(const struct kveil_rule *a, const struct kveil_rule *b)
{
	return kveil_rule_same_part(a, b) && kveil_path_equal(a->path, b->path);
}

static const struct kveil_rule *rule_in_its_place(const struct kveil_view *now, const struct kveil_rule *r)
{
	for (size_t i = 0; i < now->rule_count; i++)
		if (same_place(now->rules[i], r))
			return now->rules[i];
	return NULL;
}

static bool is_cleared(const struct kveil_view *now, const struct kveil_rule *r)
{
	for (size_t i = 0; i < now->clear_place_count; i++)
		if (strcmp(now->clear_places[i]->text, r->path_text) == 0)
			return true;
	return false;
}

static void tell_lost_rule(struct comparison *c, const struct kveil_view *v, const struct kveil_view *now,
			   const struct kveil_rule *r)
{
	const struct kveil_rule *q = rule_in_its_place(now, r);
	const char *file = c->now->file;

	if (!q)
		lose(c, file, v, "the rule for %.120s is gone%s", r->path_text,
		     is_cleared(now, r) ? ", and `clear` names it" : "");
	else if (q->action != r->action)
		lose(c, file, v, "the rule for %.120s has changed (%s, now %s)", r->path_text, r->action->name,
		     q->action->name);
	else
		lose(c, file, v, "the rule for %.120s has changed", r->path_text);
}

/* Told already, with the rule that stood there before? */
static bool took_a_lost_place(const struct kveil_view *before, const struct kveil_rule *q, const struct kveil_view *now)
{
	for (size_t i = 0; i < before->rule_count; i++)
		if (same_place(before->rules[i], q) && is_lost(before, before->rules[i], now))
			return true;
	return false;
}

static bool cleared_a_lost_rule(const struct kveil_view *before, const struct kveil_place *p,
				const struct kveil_view *now)
{
	for (size_t i = 0; i < before->rule_count; i++)
		if (strcmp(before->rules[i]->path_text, p->text) == 0 && !rule_in_its_place(now, before->rules[i]) &&
		    is_lost(before, before->rules[i], now))
			return true;
	return false;
}

static void compare_views(struct comparison *c, const struct kveil_view *before, const struct kveil_view *now)
{
	const char *file = c->now->file;

	if (before->unmatched != KVEIL_UNMATCHED_KEEP && now->unmatched == KVEIL_UNMATCHED_KEEP)
		lose(c, file, now, "unmatched: keep");
	for (size_t i = 0; i < before->rule_count; i++)
		if (is_lost(before, before->rules[i], now))
			tell_lost_rule(c, is_lost_everywhere(c, before->rules[i]) ? NULL : now, now, before->rules[i]);
	for (size_t i = 0; i < now->rule_count; i++) {
		const struct kveil_rule *q = now->rules[i];
		bool nothing = kveil_rule_leaves_nothing(q);
		/* With unmatched: remove, a rule also lets its field come out at all, where its condition is false. */
		bool opens =
		    q->action->effect == KVEIL_REVEALS || (!nothing && adds_to_any(before, q)) ||
		    (before->unmatched != KVEIL_UNMATCHED_KEEP && (!kveil_rule_is_unconditional(q) || !nothing));
		if (opens && !stood_before(before, q, NULL) && !took_a_lost_place(before, q, now))
			lose(c, file, q->view < 0 ? NULL : now, "there is a new rule for %.120s", q->path_text);
	}
	for (size_t i = 0; i < now->clear_place_count; i++) {
		const struct kveil_place *p = now->clear_places[i];
		if (!is_clear_before(before, p) && !cleared_a_lost_rule(before, p, now))
			lose(c, file, now, "`clear` names %.120s", p->text);
	}
}

static bool is_regex(const char *entry)
{
	return entry[0] == '^';
}

static const struct kveil_view *view_to(const struct kveil_plan *p, const char *topic, const char *entry)
{
	for (size_t i = 0; i < p->view_count; i++)
		if (kveil_plan_same_output(p->views[i].topic, topic, entry))
			return &p->views[i];
	return NULL;
}

static bool same_formats(const struct kveil_plan *a, const struct kveil_plan *b)
{
	return a->formats[KVEIL_PART_VALUE] == b->formats[KVEIL_PART_VALUE] &&
	       a->formats[KVEIL_PART_KEY] == b->formats[KVEIL_PART_KEY];
}

/* Rules hold in the same rows, and the same values count as not sent. */
static bool same_envelope(const struct kveil_plan *a, const struct kveil_plan *b)
{
	bool same = a->envelope == b->envelope && a->absent_count == b->absent_count &&
		    same_text(a->key_column_text, b->key_column_text) &&
		    (!a->added_prefix || same_text(a->added_prefix, b->added_prefix));

	for (size_t i = 0; same && i < a->absent_count; i++)
		same = kveil_span_eq(a->absent[i], b->absent[i]);
	return same;
}

static void compare_plans(struct comparison *c, const struct kveil_plan *before, const struct kveil_plan *now,
			  const char *entry)
{
	bool known = before == c->before && now == c->now;

	for (size_t i = 0; i < now->view_count; i++) {
		const struct kveil_view *v = view_to(before, now->views[i].topic, entry);
		known &= v == c->same[i];
		c->same[i] = v;
	}
	c->before = before;
	c->now = now;
	if (known)
		return;
	if (before->on_error != KVEIL_ON_ERROR_DROP && now->on_error == KVEIL_ON_ERROR_DROP)
		lose(c, now->file, NULL, "on_error: drop");
	if (!same_envelope(before, now))
		lose(c, now->file, NULL, "another envelope");
	if (kveil_plan_has_tags(before) && strcmp(kveil_plan_tag_property(before), kveil_plan_tag_property(now)) != 0)
		lose(c, now->file, NULL, "another tag_property");
	if (!same_formats(before, now))
		lose(c, now->file, NULL, "another format");
	for (size_t i = 0; i < now->view_count; i++) {
		if (c->same[i])
			compare_views(c, c->same[i], &now->views[i]);
		else
			lose(c, now->file, &now->views[i], "goes to another topic: %.120s", now->views[i].topic);
	}
}

static const struct kveil_plan *plan_for_entry(const struct kveil_plan_set *s, const char *entry)
{
	for (size_t i = 0; i < s->count; i++)
		for (size_t k = 0; s->plans[i]->topics[k]; k++)
			if (strcmp(s->plans[i]->topics[k], entry) == 0)
				return s->plans[i];
	return is_regex(entry) ? NULL : kveil_plan_set_for_topic(s, entry);
}

bool kveil_plan_set_protects_less(const struct kveil_plan_set *before, const struct kveil_plan_set *now,
				  struct kveil_report *losses)
{
	struct comparison c = {.losses = losses};

	for (size_t i = 0; i < before->count; i++)
		for (size_t k = 0; before->plans[i]->topics[k]; k++) {
			const char *entry = before->plans[i]->topics[k];
			const struct kveil_plan *p = plan_for_entry(now, entry);
			if (p)
				compare_plans(&c, before->plans[i], p, entry);
			else
				lose(&c, before->plans[i]->file, NULL, "no rules for topic %.120s", entry);
		}
	/* A topic that a regex took and another file takes now. */
	for (size_t i = 0; i < now->count; i++)
		for (size_t k = 0; now->plans[i]->topics[k]; k++) {
			const char *entry = now->plans[i]->topics[k];
			const struct kveil_plan *old = is_regex(entry) ? NULL : kveil_plan_set_for_topic(before, entry);
			if (old)
				compare_plans(&c, old, now->plans[i], entry);
		}
	return c.less;
}

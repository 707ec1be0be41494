/* SPDX-License-Identifier: Apache-2.0 */
/* rules/check.c: what can be said about a file's rules without a record. */
#include "rules/loader.h"
#include "rules/tags.h"

#include "format/format.h"

#include <stdarg.h>
#include <stdio.h>

static KVEIL_PRINTF(3, 4) struct kveil_error *problem(struct kveil_loader *l, const struct kveil_rule *r,
						      const char *fmt, ...)
{
	char message[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	return kveil_report_at(l->report, l->file, r->line, r->column, "%s", message);
}

static bool is_protecting(const struct kveil_rule *r)
{
	return r->action->effect == KVEIL_PROTECTS;
}

/* Does the rule read ciphertext, so that what it leaves in place is protected already? */
static bool reads_sealed(const struct kveil_rule *r)
{
	return r->key_use & (KVEIL_USE_OPEN | KVEIL_USE_DETOKENIZE);
}

/* Does nothing remain at the path in clear once the rule applied? */
static bool takes_source(const struct kveil_rule *r)
{
	return is_protecting(r) && (!r->to || !r->keep_source || reads_sealed(r));
}

static bool overlaps(const struct kveil_path *a, const struct kveil_path *b)
{
	return kveil_place_covers(a, b) || kveil_place_covers(b, a);
}

/* --- two rules of one output --- */

static bool has_descendant(const struct kveil_path *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->segments[i].descendant)
			return true;
	return false;
}

/* Told by the paths: outer may find an ancestor of what inner finds. What only ..name could bring about in a record
 * with unusual names is settled on the record. */
static bool is_nested(const struct kveil_path *outer, const struct kveil_path *inner)
{
	return kveil_path_may_be_ancestor(outer, inner) && (!has_descendant(outer) || kveil_place_covers(outer, inner));
}

static bool check_nesting(struct kveil_loader *l, const struct kveil_rule *a, const struct kveil_rule *b)
{
	const struct kveil_rule *both[2] = {a, b};

	for (size_t i = 0; i < 2; i++) {
		const struct kveil_rule *outer = both[i], *inner = both[1 - i];
		bool by_path = is_nested(outer->path, inner->path);
		if (!by_path && !(outer->to && is_nested(outer->to, inner->path)))
			continue;
		kveil_error_hint(problem(l, b, "%.80s lies inside %.80s, which line %u's rule writes", inner->path_text,
					 by_path ? outer->path_text : outer->to_text, outer->line),
				 "in one output a place and everything in it have one rule (the other: line %u)",
				 a->line);
		return true;
	}
	return false;
}

/* a stands before b. */
static bool check_unreachable(struct kveil_loader *l, const struct kveil_rule *a, const struct kveil_rule *b)
{
	bool same_place = a->to && b->to ? kveil_span_eq(a->to_name, b->to_name) : !a->to && !b->to;

	if (a->when || !kveil_rule_same_condition(a, b) || !same_place || !kveil_place_covers(a->path, b->path))
		return false;
	kveil_error_hint(problem(l, b, "never reached: line %u's rule always takes this place first", a->line),
			 "put the rule with a when first");
	return true;
}

static bool check_targets(struct kveil_loader *l, const struct kveil_rule *a, const struct kveil_rule *b)
{
	/* Rules on one source may compete for one target; two sources may not share it. */
	if (a->to && b->to && overlaps(a->to, b->to) && !overlaps(a->path, b->path)) {
		problem(l, b, "to: %.80s is written from another source by line %u's rule", b->to_text, a->line);
		return true;
	}
	const struct kveil_rule *to = a->to && overlaps(a->to, b->path) ? a : b;
	const struct kveil_rule *other = to == a ? b : a;
	if (to->to && overlaps(to->to, other->path)) {
		if (to == a)
			problem(l, b, "%.80s is what line %u's rule writes to, and has a rule of its own",
				other->path_text, a->line);
		else
			problem(l, b, "to: %.80s has a rule of its own, in line %u", to->to_text, a->line);
		return true;
	}
	return false;
}

static void check_pairs(struct kveil_loader *l, const struct kveil_view *v, size_t view)
{
	for (size_t j = 1; j < v->rule_count; j++) {
		const struct kveil_rule *b = v->rules[j];
		for (size_t i = 0; i < j; i++) {
			const struct kveil_rule *a = v->rules[i];
			/* Two top-level rules meet in every view: said once. */
			if ((view > 0 && a->view < 0 && b->view < 0) || !kveil_rule_same_part(a, b))
				continue;
			/* An envelope's own rules stand behind all others, and the outermost place wins. */
			if (b->is_of_event || kveil_rule_other_tables(a, b) || kveil_rule_other_records(a, b))
				continue;
			if (check_nesting(l, a, b) || check_unreachable(l, a, b) || check_targets(l, a, b))
				break;
		}
	}
}

/* --- one rule --- */

static void check_one(struct kveil_loader *l, const struct kveil_rule *r)
{
	const struct kveil_plan *p = l->plan;
	const struct kveil_format *key = p->formats[KVEIL_PART_KEY];

	if (r->part == KVEIL_PART_KEY && key && !key->has_paths && r->path->count)
		kveil_error_hint(
		    problem(l, r, "%.80s looks inside the key, whose format is %s", r->path_text, key->name),
		    "format: {value: json, key: json}");
}

/* A token of FF1 has no room for the version that made it. */
static void check_pin(struct kveil_loader *l, const struct kveil_rule *r)
{
	if (!(r->key_use & KVEIL_USE_DETOKENIZE) || !r->key || strchr(r->key->text, '@'))
		return;
	struct kveil_error *w = kveil_report_warn_at(
	    l->report, l->file, r->line, r->column,
	    "key '%.60s' has no version here: once it is rotated, older tokens come back as other values",
	    r->key->text);
	kveil_error_hint(w, "pin the version that made them: key: %.60s@1, and one rule for each version",
			 r->key->text);
}

/* What the action makes of a number, where that needs no key. false: it is not known. */
static bool show_number(const struct kveil_rule *r, struct kveil_span number, struct kveil_buf *out)
{
	const struct kveil_action_call call = {.params = r->params};
	const struct kveil_value value = {.kind = KVEIL_KIND_NUMBER, .raw = number, .text = number};
	enum kveil_result_kind kind = KVEIL_RESULT_NULL;

	return strcmp(r->action->name, "mask") == 0 && r->action->apply(&call, &value, out, &kind, NULL) == KVEIL_OK;
}

/* Without a schema nothing tells readers that a number became a text. */
static void check_number(struct kveil_loader *l, const struct kveil_rule *r)
{
	KVEIL_CLEANUP_BUF struct kveil_buf shown = KVEIL_BUF_INIT;
	const struct kveil_format *f = l->plan->formats[r->part];
	struct kveil_span number = r->when ? kveil_expr_number(r->when, r->path) : KVEIL_SPAN_NULL;
	bool writes_text = !r->action->results_for && !r->action->kinds_for && is_protecting(r) &&
			   r->action->kinds & KVEIL_KIND_BIT(KVEIL_KIND_NUMBER);

	if (!number.data || !writes_text || (f && f->is_typed))
		return;
	bool is_shown = show_number(r, number, &shown);
	kveil_error_hint(
	    kveil_report_warn_at(l->report, l->file, r->line, r->column,
				 "`when` compares %.80s with a number, and what %s writes is a text%s%.40s%s",
				 r->path_text, r->action->name, is_shown ? ": \"" : "",
				 is_shown ? kveil_buf_cstr(&shown) : "", is_shown ? "\"" : ""),
	    "readers will find a text there; nullify leaves a null, and remove nothing");
}

struct within {
	const struct kveil_view *view;
	const struct kveil_rule *rule;
};

static bool a_line_clears(const void *user, const struct kveil_path *path)
{
	const struct within *w = user;

	for (size_t i = 0; i < w->view->clear_place_count; i++) {
		const struct kveil_place *c = w->view->clear_places[i];
		if (kveil_place_same_part(c->part, c->header_name, w->rule->part, w->rule->header_name) &&
		    kveil_place_covers(c->path, path))
			return true;
	}
	return false;
}

static bool is_named_clear(const struct kveil_view *v, const struct kveil_rule *r)
{
	return kveil_path_all_parts(r->path, a_line_clears, &(struct within){v, r});
}

static void check_left_clear(struct kveil_loader *l, const struct kveil_view *v, size_t view)
{
	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kveil_rule *r = v->rules[i];
		if (view > 0 && r->view < 0)
			continue;
		if (r->action->effect == KVEIL_REVEALS) {
			struct kveil_error *w = kveil_report_warn_at(l->report, l->file, r->line, r->column,
								     "%s puts clear values into %s%s", r->action->name,
								     *v->name ? "output " : "the output", v->name);
			kveil_error_hint(w, "whoever reads that topic sees them");
		}
		bool written = !r->keep_source || !is_protecting(r) || reads_sealed(r) || is_named_clear(v, r);
		for (size_t k = 0; k < v->rule_count && !written; k++)
			written = k != i && kveil_rule_is_unconditional(v->rules[k]) && takes_source(v->rules[k]) &&
				  kveil_rule_same_rows(v->rules[k], r) &&
				  kveil_place_covers(v->rules[k]->path, r->path);
		if (!written) {
			struct kveil_error *w = kveil_report_warn_at(l->report, l->file, r->line, r->column,
								     "keep_source leaves %.80s in clear", r->path_text);
			kveil_error_hint(w, "if that is intended, list it under clear");
		}
	}
}

/* Does a rule of the view take what r leaves where its condition is false? */
static bool is_taken_otherwise(const struct kveil_view *v, const struct kveil_rule *r)
{
	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kveil_rule *q = v->rules[i];
		if (q != r && kveil_rule_is_unconditional(q) && takes_source(q) && kveil_rule_same_rows(q, r) &&
		    kveil_place_covers(q->path, r->path))
			return true;
	}
	return false;
}

/* A condition reads what the source wrote. Where it is false the value is copied. */
static void check_when(struct kveil_loader *l, const struct kveil_view *v, const struct kveil_rule *r)
{
	if (!r->when || r->is_of_event || !takes_source(r) || reads_sealed(r) || is_named_clear(v, r) ||
	    is_taken_otherwise(v, r))
		return;
	kveil_error_hint(kveil_report_warn_at(l->report, l->file, r->line, r->column,
					      "`when` reads the record: its author decides whether %.80s is protected",
					      r->path_text),
			 "add a rule without `when` after it for the rest; if the rest may be clear, list it "
			 "under clear");
}

static void check_conditions(struct kveil_loader *l, const struct kveil_view *v, size_t view)
{
	for (size_t i = 0; i < v->rule_count; i++)
		if (view == 0 || v->rules[i]->view >= 0)
			check_when(l, v, v->rules[i]);
}

static void check_name(struct kveil_loader *l)
{
	for (size_t i = 0; i < l->plan->rule_count; i++)
		if (l->plan->rules[i].action->needs_ad) {
			struct kveil_error *e =
			    problem(l, &l->plan->rules[i], "a file that encrypts or decrypts needs a name");
			kveil_error_hint(
			    e, "name: orders: it binds a ciphertext to the data set, so never change it later");
			return;
		}
}

/* --- views against each other --- */

/* Does a null that the rule finds come out as one, and tell so? */
static bool shows_null(const struct kveil_rule *r)
{
	return !r->on_null_transform && strcmp(r->action->name, "nullify") != 0;
}

/* Is what r hides gone where q applied? That a value was null is hidden by who says so, not by remove. */
static bool takes_as(const struct kveil_rule *q, const struct kveil_rule *r)
{
	return takes_source(q) && !(r->on_null_transform && !kveil_rule_leaves_nothing(r) && shows_null(q));
}

static bool a_rule_takes(const void *user, const struct kveil_path *path)
{
	const struct within *w = user;

	for (size_t i = 0; i < w->view->rule_count; i++) {
		const struct kveil_rule *q = w->view->rules[i];
		if (kveil_rule_same_rows(q, w->rule) && takes_as(q, w->rule) && kveil_rule_same_condition(q, w->rule) &&
		    kveil_place_covers(q->path, path))
			return true;
	}
	return false;
}

/* May what r hides come out where q finds it: q reveals it, applies only at times, or leaves it? */
static bool may_show(const struct kveil_view *v, const struct kveil_rule *q, const struct kveil_rule *r)
{
	if (q->action->effect == KVEIL_REVEALS)
		return true;
	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kveil_rule *other = v->rules[i];
		if (kveil_rule_same_rows(other, q) && kveil_rule_is_unconditional(other) && takes_as(other, r) &&
		    kveil_place_covers(other->path, q->path))
			return false;
	}
	return true;
}

/* Does the view protect, whatever the record says, what r protects in another one? */
static bool view_protects(const struct kveil_view *v, const struct kveil_rule *r)
{
	bool may_reveal = false, shown = false;

	for (size_t i = 0; i < v->rule_count; i++) {
		const struct kveil_rule *q = v->rules[i];
		if (!kveil_rule_same_part(q, r) || !kveil_path_may_meet(q->path, r->path))
			continue;
		may_reveal |= q->action->effect == KVEIL_REVEALS && overlaps(q->path, r->path);
		shown |= may_show(v, q, r);
	}
	if (!may_reveal && kveil_path_all_parts(r->path, a_rule_takes, &(struct within){v, r}))
		return true;
	/* What no rule names does not come out at all. */
	return r->part == KVEIL_PART_VALUE && v->unmatched != KVEIL_UNMATCHED_KEEP && !shown;
}

static void check_views(struct kveil_loader *l)
{
	const struct kveil_plan *p = l->plan;

	for (size_t i = 0; i < p->rule_count; i++) {
		const struct kveil_rule *r = &p->rules[i];
		if (r->view < 0 || !takes_source(r))
			continue;
		for (size_t v = 0; v < p->view_count; v++) {
			const struct kveil_view *other = &p->views[v];
			if ((int)v == r->view || is_named_clear(other, r) || view_protects(other, r))
				continue;
			kveil_error_hint(problem(l, r, "output %s protects %.80s and output %s does not",
						 p->views[r->view].name, r->path_text, other->name),
					 "add a rule there, or list the path under its clear");
		}
	}
}

void kveil_loader_check(struct kveil_loader *l, bool whole)
{
	const struct kveil_plan *p = l->plan;

	for (size_t i = 0; i < p->rule_count; i++)
		check_one(l, &p->rules[i]);
	for (size_t v = 0; v < p->view_count; v++)
		if (p->views[v].rules)
			check_pairs(l, &p->views[v], v);
	kveil_loader_check_envelope(l);
	if (!whole)
		return;
	if (!p->name)
		check_name(l);
	kveil_loader_check_names(l);
	check_views(l);
	for (size_t i = 0; i < p->rule_count; i++)
		check_pin(l, &p->rules[i]);
	for (size_t i = 0; i < p->own_rule_count; i++)
		check_number(l, &p->rules[i]);
	for (size_t v = 0; v < p->view_count; v++) {
		check_left_clear(l, &p->views[v], v);
		check_conditions(l, &p->views[v], v);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What rules make of each node of a schema inline, before a word of the new one is written. */
#include "engine/connect_derive.h"

#include <strings.h>

#define SYMBOLS "allowed" /* of an enumeration of Debezium's: clear values */
#define ENUM    ".enum"   /* in names of parameters, as other converters list symbols */

enum { NOT_WHOLE = 19 };

/* --- what rules leave at a node --- */

static size_t digits_of(struct kveil_span number)
{
	size_t sign = number.data[0] == '-';

	for (size_t i = sign; i < number.len; i++)
		if (number.data[i] < '0' || number.data[i] > '9')
			return NOT_WHOLE;
	return number.len - sign < NOT_WHOLE ? number.len - sign : NOT_WHOLE;
}

void kveil_connect_add_result(struct kveil_connect_outcome *o, const struct kveil_bound_rule *r)
{
	const struct kveil_action *a = r->action;
	unsigned kinds = a->results_for ? a->results_for(r->rule->params, KVEIL_KIND_STRING) : 0;
	struct kveil_span text = a->constant ? a->constant(r->rule->params) : KVEIL_SPAN_NULL;
	bool is_raw = kinds & KVEIL_RESULT_BIT(KVEIL_RESULT_RAW);

	if (is_raw && !text.data)
		return;
	o->is_touched = true;
	if (kinds & KVEIL_RESULT_BIT(KVEIL_RESULT_NULL)) {
		o->null = true;
	} else if (kinds & KVEIL_RESULT_BIT(KVEIL_RESULT_REMOVE)) {
		o->gone = true;
	} else if (is_raw) {
		bool is_number = text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9');
		size_t digits = is_number ? digits_of(text) : 0;
		o->digits = digits > o->digits ? digits : o->digits;
		o->kinds |= KVEIL_KIND_BIT(is_number ? KVEIL_KIND_NUMBER : KVEIL_KIND_BOOL);
	} else if (r->action->effect == KVEIL_REVEALS) {
		o->revealed = true;
	} else {
		o->text = true;
		o->is_sealed |= r->action->inverse != NULL;
		o->keeps_original |= r->rule->key_use & KVEIL_USE_OPEN;
	}
}

static bool is_unconditional(const struct kveil_bound_rule *r)
{
	return !r->rule->when && !r->rule->tables && r->only_kinds == ~0u;
}

static void settle_move(struct kveil_connect_outcome *o, bool moves, bool moves_surely)
{
	if (!o->clear || !moves)
		return;
	o->is_touched = true;
	o->gone = true;
	if (moves_surely)
		o->clear = false;
}

static struct kveil_connect_outcome outcome_at(const struct kveil_connect_deriver *d,
					       const struct kveil_connect_node *n)
{
	struct kveil_connect_outcome o = {.clear = true};
	bool moves = false, moves_surely = false;

	for (const struct kveil_connect_touch *t = n->touches; t; t = t->next) {
		const struct kveil_bound_rule *r = &d->e->rules[t->use == KVEIL_CONNECT_CLEAR ? 0 : t->rule];
		if (t->use == KVEIL_CONNECT_CLEAR)
			continue;
		bool surely = t->surely && is_unconditional(r);
		if (!(r->views >> d->v & 1))
			continue;
		/* A text that rules look into stays one, of the same meaning; its default may hold what they name. */
		o.is_touched |= r->way && n->type == KVEIL_CONNECT_STRING;
		if (r->way)
			continue;
		if (t->use == KVEIL_CONNECT_READS) {
			moves |= !r->rule->keep_source;
			moves_surely |= !r->rule->keep_source && surely;
		} else if (o.clear) {
			bool was_touched = o.is_touched;
			o.is_touched = false;
			kveil_connect_add_result(&o, r);
			o.clear = !(surely && o.is_touched && t->use == KVEIL_CONNECT_WRITES);
			o.is_touched |= was_touched;
		}
	}
	settle_move(&o, moves, moves_surely);
	o.gone_for_good = o.gone && !o.clear && !o.text && !o.null && !o.revealed && !o.kinds;
	return o;
}

/* --- the node's new schema --- */

struct kveil_span kveil_connect_parameter_name(const struct kveil_connect_deriver *d,
					       const struct kveil_connect_tree *tree, uint32_t at)
{
	struct kveil_span name = kveil_engine_name_of(d->e, tree->doc, at);

	d->out->failed |= !name.data;
	return name;
}

uint32_t kveil_connect_find_parameter(const struct kveil_connect_deriver *d, const struct kveil_connect_tree *tree,
				      const struct kveil_connect_node *n, const char *wanted)
{
	const struct kveil_doc_node *nodes = tree->doc->nodes;
	uint32_t at = n->members[KVEIL_CONNECT_M_PARAMETERS];

	if (kveil_connect_is_null(tree, at))
		return 0;
	for (uint32_t c = at + 1; c < nodes[at].next; c = nodes[c].next)
		if (kveil_span_eq(kveil_connect_parameter_name(d, tree, c), kveil_span_str(wanted)))
			return nodes[c].kind == KVEIL_KIND_STRING ? c : 0;
	return 0;
}

bool kveil_connect_lists_symbols(struct kveil_span name)
{
	static const size_t len = sizeof ENUM - 1;

	for (size_t i = 0; i + len <= name.len; i++)
		if (strncasecmp((const char *)name.data + i, ENUM, len) == 0)
			return true;
	return kveil_span_eq(name, KVEIL_SPAN(SYMBOLS));
}

bool kveil_connect_is_enumeration(const struct kveil_connect_deriver *d, const struct kveil_connect_node *n)
{
	const struct kveil_doc *doc = d->tree->doc;
	uint32_t at = n->members[KVEIL_CONNECT_M_PARAMETERS];
	bool found = false;

	if (kveil_connect_is_null(d->tree, at))
		return false;
	for (uint32_t c = at + 1; !found && c < doc->nodes[at].next; c = doc->nodes[c].next)
		found = kveil_connect_lists_symbols(kveil_connect_parameter_name(d, d->tree, c));
	return found;
}

/* Do constants fit the type that is there? */
static bool takes_constants(const struct kveil_connect_node *n, const struct kveil_connect_outcome *o)
{
	if (n->type == KVEIL_CONNECT_BOOLEAN)
		return o->kinds == KVEIL_KIND_BIT(KVEIL_KIND_BOOL);
	if (o->kinds != KVEIL_KIND_BIT(KVEIL_KIND_NUMBER))
		return false;
	static const size_t most[] = {
	    [KVEIL_CONNECT_INT8] = 2,   [KVEIL_CONNECT_INT16] = 4,         [KVEIL_CONNECT_INT32] = 9,
	    [KVEIL_CONNECT_INT64] = 18, [KVEIL_CONNECT_FLOAT] = NOT_WHOLE, [KVEIL_CONNECT_DOUBLE] = NOT_WHOLE,
	};
	return n->type <= KVEIL_CONNECT_DOUBLE && o->digits <= most[n->type];
}

static enum kveil_connect_type type_of_constants(const struct kveil_connect_outcome *o)
{
	if (o->clear)
		return KVEIL_CONNECT_STRING;
	if (o->kinds == KVEIL_KIND_BIT(KVEIL_KIND_BOOL))
		return KVEIL_CONNECT_BOOLEAN;
	if (o->kinds == KVEIL_KIND_BIT(KVEIL_KIND_NUMBER))
		return o->digits < NOT_WHOLE ? KVEIL_CONNECT_INT64 : KVEIL_CONNECT_DOUBLE;
	return KVEIL_CONNECT_STRING;
}

bool kveil_connect_has_default(const struct kveil_connect_deriver *d, const struct kveil_connect_node *n)
{
	return !kveil_connect_is_null(d->tree, n->members[KVEIL_CONNECT_M_DEFAULT]);
}

/* What no rule reaches itself, in what one reaches. No neutral default is valid for every semantic name (a decimal of
 * no bytes is none): it must do without. */
static void judge_inside(const struct kveil_connect_deriver *d, const struct kveil_connect_node *n,
			 struct kveil_connect_verdict *r)
{
	r->is_dirty = r->is_protected = r->drops_default = true;
	r->is_optional |= kveil_connect_has_default(d, n);
}

/* After the node that it is in. */
static struct kveil_connect_verdict judge(const struct kveil_connect_deriver *d, uint32_t i, bool is_unmatched)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	struct kveil_connect_verdict r = {.out = outcome_at(d, n), .type = n->type, .is_optional = n->is_optional};
	struct kveil_connect_outcome *o = &r.out;

	o->is_touched |= is_unmatched;
	o->gone |= is_unmatched;
	if (!o->is_touched) {
		if (i && d->verdicts[n->parent].is_protected)
			judge_inside(d, n, &r);
		return r;
	}
	r.is_dirty = r.is_protected = true;
	r.is_optional |= o->null || o->gone;
	r.drops_default = o->null || o->gone;
	if (o->text || (o->revealed && o->kinds)) {
		r.is_retyped = true;
		r.type = KVEIL_CONNECT_STRING;
	} else if (o->revealed) {
		r.is_retyped = true;
		r.is_restored = kveil_connect_find_parameter(d, d->tree, n, KVEIL_CONNECT_ORIGINAL) != 0;
		r.type = r.is_restored ? n->type : KVEIL_CONNECT_STRING;
	} else if (o->kinds) {
		r.is_retyped = true;
		r.type = takes_constants(n, o) ? n->type : type_of_constants(o);
	}
	return r;
}

/* --- all nodes --- */

static bool has_newcomers(const struct kveil_connect_deriver *d, const struct kveil_connect_node *n)
{
	for (const struct kveil_connect_newcomer *c = n->newcomers; c; c = c->next)
		if (d->e->rules[c->rule].views >> d->v & 1)
			return true;
	return false;
}

/* Does it lead to a row that is a text? Such a row names nothing, and where it is a struct there is none. */
static bool leads_to_row(unsigned way)
{
	return way == KVEIL_STAGE_ROW || way == KVEIL_STAGE_PARTIAL;
}

static bool is_named(const struct kveil_connect_deriver *d, const struct kveil_connect_node *n)
{
	for (const struct kveil_connect_touch *t = n->touches; t; t = t->next) {
		const struct kveil_bound_rule *r = t->use == KVEIL_CONNECT_CLEAR ? NULL : &d->e->rules[t->rule];
		const struct kveil_bound_clear *c = r ? NULL : &d->e->clears[t->rule];
		uint64_t views = r ? r->views : c->views;
		if (views >> d->v & 1 && !leads_to_row(r ? r->way : c->way) && !(r && r->rule->is_of_event))
			return true;
	}
	return false;
}

/* What becomes of a node by `unmatched: remove`. */
enum unmatched { STAYS, GOES, MAY_BE_EMPTY /* and goes then */ };

/* Nodes that are not named, nor in what is named, nor around it go. What is around goes where a record has nothing
 * named in it: a struct has all its fields, a list or a map may not. In an event some stay; being optional does them
 * no harm. NULL: no memory. */
static const uint8_t *find_unmatched(const struct kveil_connect_deriver *d)
{
	const struct kveil_connect_node *nodes = d->tree->nodes;
	uint32_t count = d->tree->count;
	bool removes =
	    d->schema->part == KVEIL_PART_VALUE && d->e->plan->views[d->v].unmatched == KVEIL_UNMATCHED_REMOVE;
	bool *named = kveil_arena_alloc(&d->e->arena, count), *stays = kveil_arena_alloc(&d->e->arena, count);
	uint8_t *ret = kveil_arena_alloc(&d->e->arena, count);

	if (!named || !stays || !ret)
		return NULL;
	memset(ret, STAYS, count);
	for (uint32_t i = 0; removes && i < count; i++)
		stays[i] = named[i] = is_named(d, &nodes[i]) || (i && named[nodes[i].parent]);
	for (uint32_t i = count; removes && i-- > 1;) {
		named[nodes[i].parent] |= named[i];
		stays[nodes[i].parent] |= stays[i] && nodes[nodes[i].parent].type == KVEIL_CONNECT_STRUCT;
		ret[i] = !named[i] ? GOES : stays[i] ? STAYS : MAY_BE_EMPTY;
	}
	return ret;
}

bool kveil_connect_judge(struct kveil_connect_deriver *d)
{
	const struct kveil_connect_tree *tree = d->tree;
	const uint8_t *unmatched = find_unmatched(d);

	d->verdicts = unmatched ? kveil_arena_array(&d->e->arena, tree->count, sizeof *d->verdicts) : NULL;
	for (uint32_t i = 0; d->verdicts && i < tree->count; i++) {
		d->verdicts[i] = judge(d, i, unmatched[i] == GOES);
		if (unmatched[i] == MAY_BE_EMPTY)
			d->verdicts[i].is_optional = d->verdicts[i].is_dirty = true;
		d->verdicts[i].is_dirty |= has_newcomers(d, &tree->nodes[i]);
	}
	for (uint32_t i = tree->count; d->verdicts && i-- > 1;)
		d->verdicts[tree->nodes[i].parent].is_dirty |= d->verdicts[i].is_dirty;
	return d->verdicts != NULL;
}

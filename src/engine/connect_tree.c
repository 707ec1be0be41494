/* SPDX-License-Identifier: Apache-2.0 */
/* A schema as a tree, and the rules that reach its nodes. */
#include "engine/connect.h"

static const char *const type_names[] = {"int8",    "int16",  "int32", "int64",  "float", "double",
					 "boolean", "string", "bytes", "struct", "array", "map"};
static const char *const member_names[KVEIL_CONNECT_M_COUNT] = {"type",   "optional",   "name",    "version",
								"doc",    "parameters", "default", "field",
								"fields", "items",      "keys",    "values"};

/* KVEIL_KIND_BIT of what may stand in a member, beside null. */
static const unsigned member_kinds[KVEIL_CONNECT_M_COUNT] = {
    [KVEIL_CONNECT_M_TYPE] = KVEIL_KIND_BIT(KVEIL_KIND_STRING),
    [KVEIL_CONNECT_M_OPTIONAL] = KVEIL_KIND_BIT(KVEIL_KIND_BOOL),
    [KVEIL_CONNECT_M_NAME] = KVEIL_KIND_BIT(KVEIL_KIND_STRING),
    [KVEIL_CONNECT_M_VERSION] = KVEIL_KIND_BIT(KVEIL_KIND_NUMBER),
    [KVEIL_CONNECT_M_DOC] = KVEIL_KIND_BIT(KVEIL_KIND_STRING),
    [KVEIL_CONNECT_M_PARAMETERS] = KVEIL_KIND_BIT(KVEIL_KIND_OBJECT),
    [KVEIL_CONNECT_M_DEFAULT] = ~0u,
    [KVEIL_CONNECT_M_FIELD] = KVEIL_KIND_BIT(KVEIL_KIND_STRING),
    [KVEIL_CONNECT_M_FIELDS] = KVEIL_KIND_BIT(KVEIL_KIND_ARRAY),
    [KVEIL_CONNECT_M_ITEMS] = KVEIL_KIND_BIT(KVEIL_KIND_OBJECT),
    [KVEIL_CONNECT_M_KEYS] = KVEIL_KIND_BIT(KVEIL_KIND_OBJECT),
    [KVEIL_CONNECT_M_VALUES] = KVEIL_KIND_BIT(KVEIL_KIND_OBJECT),
};

const char *kveil_connect_type_name(enum kveil_connect_type type)
{
	return type_names[type];
}

bool kveil_connect_is_null(const struct kveil_connect_tree *tree, uint32_t at)
{
	return !at || tree->doc->nodes[at].kind == KVEIL_KIND_NULL;
}

/* --- reading --- */

static enum kveil_status not_connect(const struct kveil_doc *doc, uint32_t at, const char *why, struct kveil_error *err)
{
	return kveil_fail_at(err, KVEIL_E_UNSUPPORTED_ENVELOPE, doc->nodes[at].start,
			     "the schema inline is none of Kafka Connect's: %s", why);
}

static size_t find_word(const char *const *words, size_t count, struct kveil_span word)
{
	size_t i = 0;

	while (i < count && !kveil_span_eq(kveil_span_str(words[i]), word))
		i++;
	return i;
}

static enum kveil_status read_members(struct kveil_engine *e, const struct kveil_doc *doc, struct kveil_connect_node *n,
				      struct kveil_error *err)
{
	const struct kveil_doc_node *nodes = doc->nodes;

	if (nodes[n->at].kind != KVEIL_KIND_OBJECT)
		return not_connect(doc, n->at, "no object", err);
	for (uint32_t c = n->at + 1; c < nodes[n->at].next; c = nodes[c].next) {
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		if (!name.data)
			return kveil_no_memory(err, "a schema");
		size_t m = find_word(member_names, KVEIL_CONNECT_M_COUNT, name);
		if (m == KVEIL_CONNECT_M_COUNT)
			return not_connect(doc, c, "a member that schemas do not have", err);
		if (n->members[m])
			return not_connect(doc, c, "a member twice", err);
		if (nodes[c].kind != KVEIL_KIND_NULL && !(member_kinds[m] & KVEIL_KIND_BIT(nodes[c].kind)))
			return not_connect(doc, c, "a member of another type", err);
		n->members[m] = c;
	}
	return KVEIL_OK;
}

static bool is_true(const struct kveil_doc *doc, uint32_t at)
{
	return at && doc->nodes[at].kind == KVEIL_KIND_BOOL && doc->text.data[doc->nodes[at].start] == 't';
}

static enum kveil_status read_type(struct kveil_engine *e, const struct kveil_doc *doc, struct kveil_connect_node *n,
				   struct kveil_error *err)
{
	struct kveil_span text;
	uint32_t at = n->members[KVEIL_CONNECT_M_TYPE];

	if (!at || doc->nodes[at].kind != KVEIL_KIND_STRING)
		return not_connect(doc, n->at, "no type", err);
	if (kveil_doc_text(doc, at, &e->arena, &text))
		return kveil_no_memory(err, "a schema");
	size_t type = find_word(type_names, sizeof type_names / sizeof *type_names, text);
	if (type == sizeof type_names / sizeof *type_names)
		return not_connect(doc, at, "an unknown type", err);
	n->type = (enum kveil_connect_type)type;
	n->is_optional = is_true(doc, n->members[KVEIL_CONNECT_M_OPTIONAL]);
	return KVEIL_OK;
}

static enum kveil_status read_node(struct kveil_engine *e, struct kveil_connect_tree *tree, uint32_t at,
				   uint32_t parent, struct kveil_error *err);

static enum kveil_status read_field(struct kveil_engine *e, struct kveil_connect_tree *tree, uint32_t at,
				    uint32_t parent, struct kveil_error *err)
{
	uint32_t own = tree->count;
	enum kveil_status st = read_node(e, tree, at, parent, err);

	if (st)
		return st;
	struct kveil_connect_node *n = &tree->nodes[own];
	if (kveil_connect_is_null(tree, n->members[KVEIL_CONNECT_M_FIELD]))
		return not_connect(tree->doc, at, "a field without a name", err);
	return kveil_doc_text(tree->doc, n->members[KVEIL_CONNECT_M_FIELD], &e->arena, &n->field)
		   ? kveil_no_memory(err, "a schema")
		   : KVEIL_OK;
}

/* Members of one type of schema, in one of another, would be read by nobody and passed on. */
static enum kveil_status check_inside(const struct kveil_connect_tree *tree, const struct kveil_connect_node *n,
				      struct kveil_error *err)
{
	static const unsigned wanted[] = {
	    [KVEIL_CONNECT_STRUCT] = 1u << KVEIL_CONNECT_M_FIELDS,
	    [KVEIL_CONNECT_ARRAY] = 1u << KVEIL_CONNECT_M_ITEMS,
	    [KVEIL_CONNECT_MAP] = 1u << KVEIL_CONNECT_M_KEYS | 1u << KVEIL_CONNECT_M_VALUES,
	};

	for (unsigned m = KVEIL_CONNECT_M_FIELDS; m < KVEIL_CONNECT_M_COUNT; m++)
		if ((wanted[n->type] >> m & 1) == kveil_connect_is_null(tree, n->members[m]))
			return not_connect(tree->doc, n->at, "its type and its members do not fit", err);
	return KVEIL_OK;
}

static enum kveil_status read_inside(struct kveil_engine *e, struct kveil_connect_tree *tree, uint32_t own,
				     struct kveil_error *err)
{
	static const unsigned inner[] = {KVEIL_CONNECT_M_ITEMS, KVEIL_CONNECT_M_KEYS, KVEIL_CONNECT_M_VALUES};
	const struct kveil_doc_node *nodes = tree->doc->nodes;
	struct kveil_connect_node *n = &tree->nodes[own];
	enum kveil_status st = check_inside(tree, n, err);

	if (n->type < KVEIL_CONNECT_STRUCT)
		return st;
	for (size_t i = 0; !st && i < sizeof inner / sizeof *inner; i++)
		if (n->members[inner[i]])
			st = read_node(e, tree, n->members[inner[i]], own, err);
	if (n->type == KVEIL_CONNECT_MAP)
		n->is_pairs = tree->nodes[own + 1].type != KVEIL_CONNECT_STRING;
	if (n->type != KVEIL_CONNECT_STRUCT)
		return st;
	uint32_t fields = n->members[KVEIL_CONNECT_M_FIELDS];
	for (uint32_t c = fields + 1; !st && c < nodes[fields].next; c = nodes[c].next)
		st = read_field(e, tree, c, own, err);
	return st;
}

static enum kveil_status read_node(struct kveil_engine *e, struct kveil_connect_tree *tree, uint32_t at,
				   uint32_t parent, struct kveil_error *err)
{
	uint32_t own = tree->count++;
	struct kveil_connect_node *n = &tree->nodes[own];

	*n = (struct kveil_connect_node){.at = at, .parent = parent};
	enum kveil_status st = read_members(e, tree->doc, n, err);
	if (!st)
		st = read_type(e, tree->doc, n, err);
	if (!st)
		st = read_inside(e, tree, own, err);
	n->next = tree->count;
	return st;
}

enum kveil_status kveil_connect_read(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t at,
				     struct kveil_connect_tree *ret, struct kveil_error *err)
{
	uint32_t most = 1; /* a null in place of a map's keys is refused before it is read */

	for (uint32_t i = at; i < doc->nodes[at].next; i++)
		most += doc->nodes[i].kind == KVEIL_KIND_OBJECT ||
			doc->nodes[doc->nodes[i].parent].kind == KVEIL_KIND_ARRAY;
	*ret = (struct kveil_connect_tree){.doc = doc, .nodes = kveil_arena_array(&e->arena, most, sizeof *ret->nodes)};
	return ret->nodes ? read_node(e, ret, at, 0, err) : kveil_no_memory(err, "a schema");
}

/* --- rules --- */

enum { NOT, MAYBE, SURELY };

/* A walk along a path: of each node, whether the path's beginning finds its values. */
struct walk {
	struct kveil_engine *e;
	struct kveil_connect_tree *tree;
	uint8_t *now, *then;
	struct kveil_error *err;
};

static void reach(struct walk *w, uint32_t node, uint8_t how)
{
	if (w->then[node] < how)
		w->then[node] = how;
}

static void select_fields(struct walk *w, uint32_t i, uint8_t from, const struct kveil_selector *sel)
{
	const struct kveil_connect_node *nodes = w->tree->nodes;

	for (uint32_t c = i + 1; c < nodes[i].next; c = nodes[c].next) {
		w->e->work--;
		if (sel->kind == KVEIL_SEL_WILDCARD ||
		    (sel->kind == KVEIL_SEL_NAME && kveil_span_eq(sel->name, nodes[c].field)))
			reach(w, c, from);
		else if (sel->kind == KVEIL_SEL_FILTER)
			reach(w, c, MAYBE);
	}
}

static enum kveil_status select_in(struct walk *w, uint32_t i, uint8_t from, const struct kveil_selector *sel)
{
	const struct kveil_connect_node *n = &w->tree->nodes[i];
	uint8_t how = sel->kind == KVEIL_SEL_WILDCARD ? from : MAYBE;
	bool by_name = sel->kind == KVEIL_SEL_NAME;
	bool by_place = sel->kind == KVEIL_SEL_INDEX || sel->kind == KVEIL_SEL_SLICE;

	if (n->type == KVEIL_CONNECT_STRUCT)
		select_fields(w, i, from, sel);
	else if (n->type == KVEIL_CONNECT_ARRAY && !by_name)
		reach(w, i + 1, how);
	else if (n->type == KVEIL_CONNECT_MAP && n->is_pairs && !by_name)
		return not_connect(w->tree->doc, n->at, "a rule's path goes into a map whose keys are not strings",
				   w->err);
	else if (n->type == KVEIL_CONNECT_MAP && !n->is_pairs && !by_place)
		reach(w, w->tree->nodes[i + 1].next, how);
	return KVEIL_OK;
}

/* Keys of a map that is an object are names, and no values. */
static bool is_name_of_member(const struct kveil_connect_tree *tree, uint32_t i)
{
	const struct kveil_connect_node *parent = &tree->nodes[tree->nodes[i].parent];

	return i && parent->type == KVEIL_CONNECT_MAP && !parent->is_pairs && tree->nodes[i].parent == i - 1;
}

static enum kveil_status step(struct walk *w, const struct kveil_segment *segment)
{
	const struct kveil_connect_node *nodes = w->tree->nodes;
	enum kveil_status st = KVEIL_OK;

	memset(w->then, NOT, w->tree->count);
	for (uint32_t i = 0; !st && i < w->tree->count; i++) {
		if (segment->descendant && i && !is_name_of_member(w->tree, i) && w->now[i] < w->now[nodes[i].parent])
			w->now[i] = w->now[nodes[i].parent];
		for (size_t k = 0; !st && w->now[i] && k < segment->count; k++)
			st = select_in(w, i, w->now[i], &segment->selectors[k]);
		w->e->work--;
	}
	uint8_t *t = w->now;
	w->now = w->then;
	w->then = t;
	return st;
}

static enum kveil_status walk_path(struct walk *w, const struct kveil_path *path)
{
	enum kveil_status st = KVEIL_OK;

	memset(w->now, NOT, w->tree->count);
	w->now[0] = SURELY;
	for (size_t i = 0; !st && i < path->count; i++) {
		st = step(w, &path->segments[i]);
		if (!st && w->e->work < 0)
			st = kveil_fail(w->err, KVEIL_E_TOO_COMPLEX,
					"following the paths through this schema takes too long");
	}
	return st;
}

static bool add_touch(struct walk *w, uint32_t node, uint32_t rule, enum kveil_connect_use use, bool surely)
{
	struct kveil_connect_node *n = &w->tree->nodes[node];
	struct kveil_connect_touch *t = kveil_arena_alloc(&w->e->arena, sizeof *t);

	if (!t)
		return false;
	*t = (struct kveil_connect_touch){.rule = rule, .use = use, .surely = surely};
	*(n->last_touch ? &n->last_touch->next : &n->touches) = t;
	n->last_touch = t;
	return true;
}

static uint32_t find_field(const struct kveil_connect_tree *tree, uint32_t parent, struct kveil_span name)
{
	const struct kveil_connect_node *nodes = tree->nodes;

	for (uint32_t c = parent + 1; c < nodes[parent].next; c = nodes[c].next)
		if (kveil_span_eq(nodes[c].field, name))
			return c;
	return 0;
}

static bool add_newcomer(struct walk *w, uint32_t parent, uint32_t source, uint32_t rule)
{
	struct kveil_connect_newcomer **at = &w->tree->nodes[parent].newcomers;
	struct kveil_connect_newcomer *n = kveil_arena_alloc(&w->e->arena, sizeof *n);

	if (!n)
		return false;
	*n = (struct kveil_connect_newcomer){.rule = rule, .source = source};
	while (*at)
		at = &(*at)->next;
	*at = n;
	return true;
}

/* Where the value of a rule with `to` goes. */
static bool add_target(struct walk *w, uint32_t source, uint32_t rule)
{
	uint32_t parent = w->tree->nodes[source].parent;
	const struct kveil_connect_node *p = &w->tree->nodes[parent];

	if (!source || p->type == KVEIL_CONNECT_ARRAY)
		return true;
	if (p->type == KVEIL_CONNECT_MAP)
		return add_touch(w, source, rule, KVEIL_CONNECT_TARGET, false);
	uint32_t target = find_field(w->tree, parent, w->e->rules[rule].rule->to_name);
	return target ? add_touch(w, target, rule, KVEIL_CONNECT_TARGET, false) : add_newcomer(w, parent, source, rule);
}

/* May it hold values that the rule is about? A bare key is none of those of a struct. */
static bool may_take(const struct kveil_bound_rule *r, const struct kveil_connect_node *n)
{
	unsigned containers = KVEIL_KIND_BIT(KVEIL_KIND_OBJECT) | KVEIL_KIND_BIT(KVEIL_KIND_ARRAY);
	bool is_container =
	    n->type == KVEIL_CONNECT_STRUCT || n->type == KVEIL_CONNECT_ARRAY || n->type == KVEIL_CONNECT_MAP;

	return r->only_kinds & (is_container ? containers : ~containers);
}

static bool add_rule(struct walk *w, uint32_t rule, bool *found)
{
	bool moves = w->e->rules[rule].rule->to && !w->e->rules[rule].way, ok = true;

	for (uint32_t i = 0; ok && i < w->tree->count; i++) {
		if (!w->now[i])
			continue;
		*found = true;
		if (!may_take(&w->e->rules[rule], &w->tree->nodes[i]))
			continue;
		ok = add_touch(w, i, rule, moves ? KVEIL_CONNECT_READS : KVEIL_CONNECT_WRITES, w->now[i] == SURELY);
		if (ok && moves)
			ok = add_target(w, i, rule);
	}
	return ok;
}

/* What stands under `clear` is named, where what nothing names goes. */
static enum kveil_status touch_clears(struct walk *w)
{
	enum kveil_status st = KVEIL_OK;

	for (uint32_t i = 0; !st && i < w->e->clear_count; i++) {
		if (w->e->clears[i].from)
			continue;
		st = walk_path(w, w->e->clears[i].path);
		for (uint32_t k = 0; !st && k < w->tree->count; k++)
			if (w->now[k] && !add_touch(w, k, i, KVEIL_CONNECT_CLEAR, false))
				st = kveil_no_memory(w->err, "a schema");
	}
	return st;
}

/* A column that is called as a member beside the schema: a row could look like a record with its schema. */
static bool names_wrapper(const struct kveil_bound_rule *r)
{
	const struct kveil_segment *s = r->path->count ? &r->path->segments[0] : NULL;

	for (size_t i = 0; s && !r->rule->is_of_event && !s->descendant && r->root->count == 0 && i < s->count; i++)
		if (kveil_span_eq(s->selectors[i].name, KVEIL_SPAN("payload")) ||
		    kveil_span_eq(s->selectors[i].name, KVEIL_SPAN("schema")))
			return true;
	return false;
}

enum kveil_status kveil_connect_touch(struct kveil_engine *e, enum kveil_part part, struct kveil_connect_tree *tree,
				      struct kveil_error *err)
{
	struct walk w = {.e = e,
			 .tree = tree,
			 .now = kveil_arena_alloc(&e->arena, tree->count),
			 .then = kveil_arena_alloc(&e->arena, tree->count),
			 .err = err};
	enum kveil_status st = w.now && w.then ? KVEIL_OK : kveil_no_memory(err, "a schema");

	for (uint32_t i = 0, next; !st && i < e->rule_count; i = next) {
		bool found = false, is_ambiguous = false;
		next = kveil_engine_next_rule(e, i);
		for (uint32_t k = i; !st && k < next; k++) {
			if (e->rules[k].part != part || !e->rules[k].views || e->rules[k].from)
				continue;
			is_ambiguous |= part == KVEIL_PART_VALUE && names_wrapper(&e->rules[k]);
			st = walk_path(&w, e->rules[k].path);
			if (!st && !add_rule(&w, k, &found))
				st = kveil_no_memory(err, "a schema");
		}
		if (!st && is_ambiguous && !found)
			st = kveil_fail(err, KVEIL_E_UNSUPPORTED_ENVELOPE,
					"a rule names `payload` or `schema`, and no row of this schema has it");
		if (st)
			return kveil_engine_blame(&e->rules[i], KVEIL_NO_BYTE, st, err);
	}
	return st || part != KVEIL_PART_VALUE || !e->unmatched_views ? st : touch_clears(&w);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The derived schema: the writer's, written anew along the graph. A pure function of schema and rules: the members of
 * an object keep their order, what is made up is made up of names.
 *
 *   {"name": "born", "type": {"type": "int", "logicalType": "date", "connect.name": …}, "default": 7}
 *   {"name": "born", "type": {"type": "string", KVEIL_AVRO_WAS: {"type": "int", "logicalType": "date"}}, "default": ""}
 *
 * A default of a field that changes is clear text: a neutral one takes its place, for without any a reader could not
 * read what was written before.
 */
#include "format/avro_program.h"
#include "format/avro_whole.h"

#include <stdio.h>
#include <stdlib.h>

enum { MOST_DEPTH = 4 * KVEIL_AVRO_SCHEMA_DEPTH };

struct writer {
	const struct kveil_avro_program *p;
	char **names;      /* by class: the full name under which its type was written; NULL = not yet */
	uint32_t *renamed; /* by type: how many names were made up for it */
	uint32_t *keepers; /* by type: the class + 1 that keeps its name */
	struct kveil_avro_defaults defaults;
	json_t *taken;    /* object: all full names of the writer's schema, with the type, and those made up, true */
	json_t *restored; /* object: full names of types that stand there already: false where they changed, a number
			   * where they are known to be as they were */
	size_t values;    /* written, about: never more than there are in the text */
	bool failed, too_deep;
	const char *clash; /* a type that would have to be two under one name; borrowed */
	struct kveil_avro_whole_budget budget;
};

static json_t *emit_place(struct writer *w, uint32_t node, struct kveil_span space, unsigned depth);

/* A type that holds much may become many. The text would be refused anyway, for its length; here it is not written. */
static void count_values(struct writer *w, size_t values)
{
	w->values += values;
	w->too_deep |= w->values > KVEIL_AVRO_SCHEMA_VALUES;
	w->failed |= w->too_deep;
}

/* Takes value's reference. */
static void set(struct writer *w, json_t *object, const char *name, json_t *value)
{
	if (json_object_set_new(object, name, value) != 0)
		w->failed = true;
}

static json_t *string_of(struct writer *w, struct kveil_span s)
{
	json_t *j = json_stringn((const char *)s.data, s.len);

	w->failed |= !j;
	return j;
}

/* What says how to read a value that is no longer there, and what holds one. */
static void drop_meaning(json_t *object)
{
	static const char *const words[] = {"logicalType",     "precision",          "scale",
					    "connect.name",    "connect.parameters", "connect.version",
					    "connect.default", "avro.java.string",   "java-class"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		json_object_del(object, words[i]);
}

/* Values in a type's own properties. */
static void drop_defaults(json_t *object)
{
	json_object_del(object, "default");
	json_object_del(object, "connect.default");
}

static void drop_shape(json_t *object)
{
	static const char *const words[] = {"name",  "namespace", "aliases", "fields", "symbols",
					    "items", "values",    "size",    "default"};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		json_object_del(object, words[i]);
}

/* The type of a value that is protected: without what its values look like. */
static json_t *original(struct writer *w, const struct kveil_avro_type *t)
{
	static const char *const words[] = {"logicalType",  "precision",       "scale",
					    "connect.name", "connect.version", KVEIL_AVRO_WAS};
	json_t *j = json_object();

	set(w, j, "type", json_string(kveil_avro_kind_name(t->kind)));
	if (t->name.len)
		set(w, j, "name", string_of(w, t->name));
	if (t->kind == KVEIL_AVRO_FIXED)
		set(w, j, "size", json_integer(t->size));
	for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
		json_t *value = json_object_get(t->json, words[i]);
		if (value)
			set(w, j, words[i], json_deep_copy(value));
	}
	if (json_object_size(j) > 1)
		return j;
	json_decref(j);
	return json_string(kveil_avro_kind_name(t->kind));
}

/* Of all branches that become this one. */
static json_t *originals(struct writer *w, uint32_t place, unsigned result)
{
	const struct kveil_avro_node *n = &w->p->nodes[place];
	json_t *all = json_array();

	for (uint32_t k = 0; k < n->edge_count || k == 0; k++) {
		const struct kveil_avro_node *branch = n->kind == KVEIL_AVRO_UNION ? &w->p->nodes[n->edges[k].node] : n;
		const struct kveil_avro_type *t = &w->p->schema->types[branch->type];
		/* Sealed under another key it is what it was. */
		json_t *was =
		    branch->effect.results & KVEIL_AVRO_STAYS_SEALED ? json_object_get(t->json, KVEIL_AVRO_WAS) : NULL;
		if (branch->effect.results & result)
			w->failed |= (json_is_array(was) ? json_array_extend(all, was)
							 : json_array_append_new(all, was ? json_deep_copy(was)
											  : original(w, t))) != 0;
		if (branch == n)
			break;
	}
	if (json_array_size(all) != 1)
		return all;
	json_t *one = json_incref(json_array_get(all, 0));
	json_decref(all);
	return one;
}

/* A value that becomes a string or bytes. place: the union that it stands in, or its own node. */
static json_t *emit_protected(struct writer *w, uint32_t node, uint32_t place, enum kveil_avro_kind to)
{
	const struct kveil_avro_type *t = &w->p->schema->types[w->p->nodes[node].type];
	json_t *j = json_is_object(t->json) ? json_copy((json_t *)t->json) : json_object();
	json_t *was = originals(w, place, to == KVEIL_AVRO_STRING ? KVEIL_AVRO_TO_STRING : KVEIL_AVRO_TO_BYTES);
	bool is_same = json_is_string(was) && t->kind == to;

	drop_meaning(j);
	drop_shape(j);
	if (json_object_size(j) <= 1 && is_same) {
		json_decref(j);
		return was;
	}
	set(w, j, "type", json_string(kveil_avro_kind_name(to)));
	if (is_same)
		json_decref(was);
	else
		set(w, j, KVEIL_AVRO_WAS, was);
	return j;
}

/* The name's own part and its namespace, where that is not the one around. Returns the namespace. */
static struct kveil_span set_name(struct writer *w, json_t *j, struct kveil_span full, struct kveil_span around)
{
	struct kveil_span space = kveil_avro_namespace(full);

	set(w, j, "name", string_of(w, kveil_avro_last_word(full)));
	if (kveil_span_eq(space, around))
		json_object_del(j, "namespace");
	else
		set(w, j, "namespace", string_of(w, space));
	return space;
}

/* --- types that values were sealed whole in --- */

static json_t *emit_whole(struct writer *w, uint32_t type, struct kveil_span around, unsigned depth);

static void *clash(struct writer *w, const char *name)
{
	w->clash = w->clash ? w->clash : name;
	w->failed = true;
	return NULL;
}

/* Is it the type that has this name in the schema at hand, or has none? Each is asked about once. */
static bool is_same(struct writer *w, const struct kveil_avro_schema *s, uint32_t type, const json_t *taken)
{
	uint64_t here, there;
	struct kveil_error why;

	if (!taken)
		return true;
	if (!json_is_integer(taken))
		return false;
	w->too_deep |=
	    kveil_avro_whole_fingerprint(s, type, &w->budget, &here, &why) ||
	    kveil_avro_whole_fingerprint(w->p->schema, (uint32_t)json_integer_value(taken), &w->budget, &there, &why);
	w->failed |= w->too_deep;
	return w->failed || here == there;
}

/* Its name, where it stands already; else NULL, and it is to be written. */
static json_t *refer(struct writer *w, const struct kveil_avro_schema *s, uint32_t type)
{
	const struct kveil_avro_type *t = &s->types[type];
	const char *name = (const char *)t->name.data;
	const json_t *stands = json_object_getn(w->restored, name, t->name.len);

	if (!json_is_integer(stands)) {
		if (json_is_false(stands) || !is_same(w, s, type, json_object_getn(w->taken, name, t->name.len)))
			return clash(w, json_string_value(json_object_get(t->json, "name")));
		w->failed |= json_object_setn_new(w->restored, name, t->name.len, json_integer(type)) != 0;
	}
	return stands ? string_of(w, t->name) : NULL;
}

static json_t *emit_whole_members(struct writer *w, const struct kveil_avro_type *t, struct kveil_span space,
				  unsigned depth)
{
	json_t *all = json_array();

	for (uint32_t i = 0; i < t->member_count; i++) {
		json_t *type = emit_whole(w, t->members[i].type, space, depth + 1), *one = type;
		if (t->kind == KVEIL_AVRO_RECORD) {
			one = json_copy((json_t *)t->members[i].json);
			set(w, one, "type", type);
		}
		w->failed |= json_array_append_new(all, one) != 0;
	}
	return all;
}

/* A type of the original schema as it stands there, and all that it is made of. */
static json_t *emit_whole(struct writer *w, uint32_t type, struct kveil_span around, unsigned depth)
{
	const struct kveil_avro_schema *s = kveil_avro_origin_schema(w->p->origin);
	const struct kveil_avro_type *t = &s->types[type];
	json_t *j = t->name.len ? refer(w, s, type) : NULL;

	w->too_deep |= depth > MOST_DEPTH;
	w->failed |= w->too_deep;
	if (j || w->failed)
		return j ? j : json_null();
	if (t->kind == KVEIL_AVRO_UNION)
		return emit_whole_members(w, t, around, depth);
	j = json_copy((json_t *)t->json);
	if (t->name.len)
		around = set_name(w, j, t->name, around);
	if (t->kind == KVEIL_AVRO_RECORD)
		set(w, j, "fields", emit_whole_members(w, t, around, depth));
	if (t->kind == KVEIL_AVRO_ARRAY || t->kind == KVEIL_AVRO_MAP)
		set(w, j, t->kind == KVEIL_AVRO_ARRAY ? "items" : "values", emit_whole(w, t->item, around, depth + 1));
	return j;
}

/* A value that gets back the type that it had: what was left of it, and the properties that went along. */
static json_t *emit_restored(struct writer *w, struct kveil_avro_alt alt, struct kveil_span around, unsigned depth)
{
	const struct kveil_avro_node *n = &w->p->nodes[alt.node];
	const struct kveil_avro_type *was = kveil_avro_restored(w->p, alt);
	const json_t *type = w->p->schema->types[n->type].json;
	enum kveil_avro_kind kind = kveil_avro_restored_kind(w->p, alt);

	/* One type for what was opened and for what was not. */
	if (n->effect.keeps && !n->effect.opens && kind == n->kind)
		return json_deep_copy(type);
	if (was && (was->kind >= KVEIL_AVRO_ARRAY || n->past->count > 1))
		return emit_whole(w, (uint32_t)(was - kveil_avro_origin_schema(w->p->origin)->types), around, depth);
	if (was && was->name.len && json_object_getn(w->restored, (const char *)was->name.data, was->name.len))
		return string_of(w, was->name);
	json_t *j = json_is_object(type) ? json_copy((json_t *)type) : json_object();
	json_object_del(j, KVEIL_AVRO_WAS);
	json_object_del(j, KVEIL_AVRO_REFERENCE);
	drop_defaults(j);
	if (was && json_is_object(was->json) && json_object_update(j, (json_t *)was->json) != 0)
		w->failed = true;
	set(w, j, "type", json_string(kveil_avro_kind_name(kind)));
	if (was && was->name.len) {
		set_name(w, j, was->name, around);
		w->failed |=
		    json_object_setn_new(w->restored, (const char *)was->name.data, was->name.len, json_true()) != 0;
	}
	if (json_object_size(j) > 1)
		return j;
	json_decref(j);
	return json_string(kveil_avro_kind_name(kind));
}

/* --- named types --- */

/* A type that stays has its name; where none stays, the first of those that change. By type: the class. */
static bool find_keepers(struct writer *w)
{
	const struct kveil_avro_program *p = w->p;

	w->keepers = calloc(p->schema->count, sizeof *w->keepers);
	for (uint32_t i = 0; w->keepers && i < p->count; i++) {
		const struct kveil_avro_node *n = &p->nodes[i];
		if (!w->keepers[n->type] || !n->is_changed)
			w->keepers[n->type] = n->class + 1;
	}
	return w->keepers != NULL;
}

/* From within a namespace nobody but Java finds a name that has none. */
static bool is_in_reach(const struct writer *w, const char *name, struct kveil_span around)
{
	return !around.len || strchr(name, '.') || w->p->schema->refers_as_java;
}

/* A type that stands already, out of reach, gets another name, in the namespace around: that one is in reach
 * everywhere. */
static char *name_class(struct writer *w, uint32_t node, struct kveil_span around)
{
	const struct kveil_avro_node *n = &w->p->nodes[node];
	struct kveil_span full = w->p->schema->types[n->type].name;
	bool is_again = w->names[n->class] != NULL;
	size_t len = full.len + (is_again ? around.len + 1 : 0);
	char *name = malloc(len + 32);

	if (!name) {
		w->failed = true;
		return NULL;
	}
	if (is_again) {
		memcpy(name, around.data, around.len);
		name[around.len] = '.';
	}
	memcpy(name + len - full.len, full.data, full.len);
	name[len] = 0;
	if (is_again || w->keepers[n->type] != n->class + 1)
		do {
			uint32_t k = ++w->renamed[n->type];
			if (k == 1)
				snprintf(name + len, 32, KVEIL_AVRO_HALF);
			else
				snprintf(name + len, 32, KVEIL_AVRO_HALF "%u", k);
		} while (json_object_get(w->taken, name) || json_object_get(w->restored, name));
	if (!json_object_get(w->taken, name))
		set(w, w->taken, name, json_true());
	free(w->names[n->class]);
	w->names[n->class] = name;
	return name;
}

/* Also those of the schema's metadata, which the derived one has not: rules that open go by them. */
static json_t *tags_of(struct writer *w, const struct kveil_avro_type *record, const struct kveil_avro_member *m)
{
	const char *tags[KVEIL_AVRO_FIELD_TAGS];
	size_t count = kveil_avro_tags_of(w->p->tags, record, m, tags);
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		w->failed |= json_array_append_new(list, json_string(tags[i])) != 0;
	return list;
}

static json_t *emit_field(struct writer *w, const struct kveil_avro_type *record, const struct kveil_avro_member *m,
			  uint32_t node, struct kveil_span space, unsigned depth)
{
	count_values(w, 1 + json_object_size(m->json));
	json_t *field = w->failed ? NULL : json_copy((json_t *)m->json);

	if (!field) {
		w->failed = true;
		return json_null();
	}
	set(w, field, "type", emit_place(w, node, space, depth));
	if (w->p->nodes[node].mark)
		set(w, field, w->p->tags->property, tags_of(w, record, m));
	if (!w->p->nodes[node].is_changed && !w->p->nodes[node].is_covered)
		return field;
	drop_meaning(field);
	if (json_object_get(field, "default"))
		set(w, field, "default", kveil_avro_default_of(&w->defaults, node));
	w->too_deep |= w->defaults.is_too_long;
	w->failed |= w->defaults.failed;
	return field;
}

static json_t *emit_fields(struct writer *w, const struct kveil_avro_node *n, struct kveil_span space, unsigned depth)
{
	const struct kveil_avro_type *t = &w->p->schema->types[n->type];
	json_t *fields = json_array();

	for (uint32_t i = 0; i < t->member_count && !w->failed; i++)
		if (!w->p->nodes[n->edges[i].node].is_gone &&
		    json_array_append_new(fields,
					  emit_field(w, t, &t->members[i], n->edges[i].node, space, depth + 1)) != 0)
			w->failed = true;
	return fields;
}

/* The fields that are gone, with the tags for which they went: who starts anew knows them by these. */
static void set_removed(struct writer *w, json_t *j, const struct kveil_avro_node *n)
{
	const struct kveil_avro_type *t = &w->p->schema->types[n->type];
	json_t *all = json_object();

	for (uint32_t i = 0; i < t->member_count; i++) {
		const struct kveil_avro_node *field = &w->p->nodes[n->edges[i].node];
		struct kveil_span name = t->members[i].name;
		if (field->is_gone && field->mark)
			w->failed |= json_object_setn_new(all, (const char *)name.data, name.len,
							  tags_of(w, t, &t->members[i])) != 0;
	}
	json_object_del(j, KVEIL_AVRO_REMOVED);
	if (json_object_size(all))
		set(w, j, KVEIL_AVRO_REMOVED, all);
	else
		json_decref(all);
}

static json_t *emit_named(struct writer *w, uint32_t node, struct kveil_span around, unsigned depth)
{
	const struct kveil_avro_node *n = &w->p->nodes[node];
	const struct kveil_avro_type *t = &w->p->schema->types[n->type];
	struct kveil_span space;

	if (w->names[n->class] && is_in_reach(w, w->names[n->class], around))
		return json_string(w->names[n->class]);
	const char *full = name_class(w, node, around);
	json_t *stands = full ? json_object_get(w->restored, full) : NULL;
	bool differs = n->kind == KVEIL_AVRO_RECORD && n->is_changed;
	if (stands && differs)
		clash(w, full);
	if (!full || stands)
		return full ? json_string(full) : json_null();
	bool is_renamed = strlen(full) != t->name.len;
	json_t *j = json_copy((json_t *)t->json);
	space = set_name(w, j, kveil_span_str(full), around);
	set(w, w->restored, full, json_boolean(!differs));
	if (is_renamed)
		json_object_del(j, "aliases");
	if (n->is_changed)
		drop_defaults(j);
	if (n->is_changed && n->kind != KVEIL_AVRO_RECORD)
		drop_meaning(j);
	if (n->kind == KVEIL_AVRO_RECORD) {
		set(w, j, "fields", emit_fields(w, n, space, depth));
		set_removed(w, j, n);
	}
	return j;
}

static json_t *emit_alt(struct writer *w, struct kveil_avro_alt alt, uint32_t place, struct kveil_span space,
			unsigned depth)
{
	const struct kveil_avro_node *n = &w->p->nodes[alt.node];
	const struct kveil_avro_type *t = &w->p->schema->types[n->type];
	json_t *j;

	count_values(w, 1);
	if (depth > MOST_DEPTH || w->failed) {
		w->too_deep |= depth > MOST_DEPTH;
		w->failed = true;
		return json_null();
	}
	switch (alt.how) {
	case KVEIL_AVRO_STRING_OF:
		return emit_protected(w, alt.node, place, KVEIL_AVRO_STRING);
	case KVEIL_AVRO_BYTES_OF:
		return emit_protected(w, alt.node, place, KVEIL_AVRO_BYTES);
	case KVEIL_AVRO_NULL_OF:
		return json_string("null");
	case KVEIL_AVRO_RESTORED_OF:
		return emit_restored(w, alt, space, depth);
	case KVEIL_AVRO_ORIGINAL:
		break;
	}
	if (t->name.len)
		return emit_named(w, alt.node, space, depth);
	/* A conditional rule keeps what it does not take: as it was, meaning and all. */
	bool is_list = n->kind == KVEIL_AVRO_ARRAY || n->kind == KVEIL_AVRO_MAP;
	j = is_list ? json_copy((json_t *)t->json) : json_deep_copy(t->json);
	if (is_list)
		set(w, j, n->kind == KVEIL_AVRO_ARRAY ? "items" : "values",
		    emit_place(w, kveil_avro_item_node(w->p, n), space, depth + 1));
	if (n->is_changed)
		drop_defaults(j);
	return j;
}

static json_t *emit_place(struct writer *w, uint32_t node, struct kveil_span space, unsigned depth)
{
	const struct kveil_avro_node *n = &w->p->nodes[node];
	struct kveil_avro_alt alts[KVEIL_AVRO_BRANCHES];
	size_t count = kveil_avro_alternatives(w->p, node, alts);

	if (n->kind != KVEIL_AVRO_UNION && count == 1)
		return emit_alt(w, alts[0], node, space, depth);
	json_t *branches = json_array();
	for (size_t i = 0; i < count && !w->failed; i++)
		if (json_array_append_new(branches, emit_alt(w, alts[i], node, space, depth + 1)) != 0)
			w->failed = true;
	return branches;
}

/* --- */

static bool take_names(struct writer *w)
{
	const struct kveil_avro_schema *s = w->p->schema;

	w->taken = json_object();
	w->restored = json_object();
	for (uint32_t i = 0; w->taken && i < s->count; i++) {
		struct kveil_span name = s->types[i].name;
		char *copy = name.len ? strndup((const char *)name.data, name.len) : NULL;
		w->failed |= name.len && (!copy || json_object_set_new(w->taken, copy, json_integer(i)) != 0);
		free(copy);
	}
	return w->taken && w->restored && !w->failed;
}

/* NULL: no memory. */
static struct kveil_span copy_text(struct kveil_avro_program *p, struct kveil_span text)
{
	uint8_t *copy = kveil_arena_alloc(&p->arena, text.len + 1);

	if (!copy)
		return KVEIL_SPAN_NULL;
	memcpy(copy, text.data, text.len);
	return kveil_span_of(copy, text.len);
}

static struct kveil_span spell(struct kveil_avro_program *p, const json_t *root)
{
	char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
	struct kveil_span copy = text ? copy_text(p, kveil_span_str(text)) : KVEIL_SPAN_NULL;

	free(text);
	return copy;
}

/* Is some value only sealed under another key? What it was stands in what the writer's schema refers to. */
static bool stays_sealed(const struct kveil_avro_program *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		if (p->nodes[i].effect.results & KVEIL_AVRO_STAYS_SEALED &&
		    json_object_get(p->schema->types[p->nodes[i].type].json, KVEIL_AVRO_WAS))
			return true;
	return false;
}

static bool refer_to_original(const struct kveil_avro_program *p, json_t *root, const char *reference)
{
	if (stays_sealed(p))
		return kveil_avro_copy_reference(root, p->schema->json);
	return *reference && kveil_avro_set_reference(root, reference, p->schema);
}

static enum kveil_status write_derived(struct kveil_avro_program *p, struct writer *w, const char *reference,
				       struct kveil_error *err)
{
	json_t *root = take_names(w) ? emit_place(w, 0, KVEIL_SPAN(""), 0) : NULL;

	if (root && !w->failed) {
		kveil_avro_set_reference(root, "", p->schema);
		p->derived = p->unreferred = spell(p, root);
		if (refer_to_original(p, root, reference))
			p->derived = spell(p, root);
	}
	json_decref(root);
	if (w->clash)
		return kveil_fail(err, KVEIL_E_AVRO_SCHEMA,
				  "'%.100s' would be two types: as it was, and as rules change it elsewhere", w->clash);
	if (w->too_deep)
		return kveil_fail(err, KVEIL_E_AVRO_SCHEMA,
				  "the derived schema would be nested too deep, or of too many parts, or its defaults "
				  "or opened types "
				  "too long");
	return root && !w->failed && p->derived.data && p->unreferred.data ? KVEIL_OK
									   : kveil_no_memory(err, "a schema");
}

static enum kveil_status write_text(struct kveil_avro_program *p, const char *reference, struct kveil_error *err)
{
	struct writer w = {.p = p, .defaults = {.p = p}};

	w.names = calloc(p->count, sizeof *w.names);
	w.renamed = calloc(p->schema->count, sizeof *w.renamed);
	enum kveil_status st = w.names && w.renamed && find_keepers(&w) ? write_derived(p, &w, reference, err)
									: kveil_no_memory(err, "a schema");
	for (uint32_t i = 0; w.names && i < p->count; i++)
		free(w.names[i]);
	free(w.names);
	free(w.renamed);
	free(w.keepers);
	json_decref(w.taken);
	json_decref(w.restored);
	return st;
}

static enum kveil_status derive(struct kveil_avro_program *p, const char *reference, struct kveil_error *err)
{
	struct kveil_avro_schema *again = NULL;
	enum kveil_status st = KVEIL_OK;

	p->derived = p->unreferred = p->schema->text;
	if (!p->nodes[0].is_changed)
		return KVEIL_OK;
	if (kveil_avro_is_all_back(p))
		p->derived = p->unreferred = copy_text(p, kveil_avro_origin_text(p->origin));
	else
		st = write_text(p, reference, err);
	if (st || !p->derived.data)
		return st ? st : kveil_no_memory(err, "a schema");
	/* A schema that readers refuse would strand the topic. */
	struct kveil_error why;
	if (kveil_avro_schema_parse(p->derived, &again, &why) != KVEIL_OK)
		return kveil_fail(err, KVEIL_E_AVRO_SCHEMA, "the derived schema is none: %.120s", why.message);
	kveil_avro_schema_free(again);
	return KVEIL_OK;
}

enum kveil_status kveil_avro_program_new(const struct kveil_avro_schema *schema, const struct kveil_avro_known *known,
					 const struct kveil_automaton *automaton, kveil_avro_effect_fn *effect,
					 void *user, struct kveil_avro_program **ret, struct kveil_error *err)
{
	struct kveil_error scrap;

	err = err ? err : &scrap;
	enum kveil_status status = kveil_avro_program_build(schema, known, automaton, effect, user, ret, err);
	if (status)
		return status;
	status = derive(*ret, known && known->reference ? known->reference : "", err);
	if (status) {
		kveil_avro_program_free(*ret);
		*ret = NULL;
	}
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A derived schema beside the one that it was derived from. */
#include "format/avro_origin.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct kveil_avro_origin {
	const struct kveil_avro_schema *derived;
	struct kveil_avro_schema *original;  /* NULL: not at hand */
	uint32_t *pairs;                     /* by type of derived: that of original, + 1; 0 = none. Where several
					      * branches became one type, their union */
	const struct kveil_avro_past **past; /* by type of derived */
	bool clashes;                        /* one type stands for two: it is not derived from that */
	struct kveil_arena arena;            /* of what is described beside the values, and of the pasts */
};

/* --- references --- */

static const json_t *reference_in(const json_t *schema)
{
	const json_t *branch, *found = json_object_get(schema, KVEIL_AVRO_REFERENCE);
	size_t i;

	json_array_foreach(schema, i, branch)
	{
		if (!found)
			found = json_object_get(branch, KVEIL_AVRO_REFERENCE);
	}
	return found;
}

bool kveil_avro_read_reference(const json_t *schema, char text[KVEIL_AVRO_REFERENCE_BYTES])
{
	const json_t *reference = reference_in(schema), *id = json_object_get(reference, "id");
	const char *guid = json_string_value(json_object_get(reference, "guid"));

	if (json_is_integer(id) && json_integer_value(id) >= 0 && json_integer_value(id) <= UINT32_MAX)
		snprintf(text, KVEIL_AVRO_REFERENCE_BYTES, "%" JSON_INTEGER_FORMAT, json_integer_value(id));
	else if (guid && strlen(guid) < KVEIL_AVRO_REFERENCE_BYTES && strchr(guid, '-'))
		strcpy(text, guid);
	else
		return false;
	return true;
}

/* What refers to nothing was derived from a file. */
static bool may_refer_to(const json_t *schema, uint64_t fingerprint)
{
	const json_t *reference = reference_in(schema);
	const char *says = json_string_value(json_object_get(reference, "fingerprint"));
	char text[17];

	snprintf(text, sizeof text, "%016" PRIx64, fingerprint);
	return !reference || (says && strcmp(says, text) == 0);
}

static bool set_in(json_t *object, const char *text, uint64_t fingerprint)
{
	bool is_id = !text[strspn(text, "0123456789")];
	char hex[17];

	snprintf(hex, sizeof hex, "%016" PRIx64, fingerprint);
	json_t *reference = json_object();
	json_object_set_new(reference, is_id ? "id" : "guid",
			    is_id ? json_integer((json_int_t)strtoul(text, NULL, 10)) : json_string(text));
	json_object_set_new(reference, "fingerprint", json_string(hex));
	return json_object_set_new(object, KVEIL_AVRO_REFERENCE, reference) == 0;
}

/* Where it stands, or may; none stands there any more. NULL: there is no place for one. */
static json_t *clear_reference(json_t *schema)
{
	json_t *branch, *at = json_is_object(schema) ? schema : NULL;
	size_t i;

	json_object_del(schema, KVEIL_AVRO_REFERENCE);
	json_array_foreach(schema, i, branch)
	{
		json_object_del(branch, KVEIL_AVRO_REFERENCE);
		if (!at && json_is_object(branch))
			at = branch;
	}
	return at;
}

bool kveil_avro_set_reference(json_t *schema, const char *text, const struct kveil_avro_schema *writer)
{
	json_t *at = clear_reference(schema);

	return at && *text && set_in(at, text, writer->fingerprint);
}

bool kveil_avro_copy_reference(json_t *schema, const json_t *from)
{
	json_t *at = clear_reference(schema), *copy = json_deep_copy(reference_in(from));

	if (at && copy)
		return json_object_set_new(at, KVEIL_AVRO_REFERENCE, copy) == 0;
	json_decref(copy);
	return false;
}

/* --- pairs --- */

/* Names that kveil makes up for the half of a type that changes; of one without a namespace in any, too. */
static bool is_made_of(struct kveil_span name, struct kveil_span from, bool in_any)
{
	static const char behind[] = KVEIL_AVRO_HALF;
	const size_t n = sizeof behind - 1;

	if (in_any && !kveil_avro_namespace(from).len)
		name = kveil_avro_last_word(name);
	if (name.len < from.len + n || memcmp(name.data, from.data, from.len) != 0 ||
	    memcmp(name.data + from.len, behind, n) != 0)
		return false;
	for (size_t i = from.len + n; i < name.len; i++)
		if (name.data[i] < '0' || name.data[i] > '9')
			return false;
	return true;
}

/* What a type was, as the property beside it says: its kind and name. false: no property, or not of one type. */
static bool read_was(const json_t *was, enum kveil_avro_kind *kind, struct kveil_span *name)
{
	const json_t *own = json_object_get(was, "name");
	const char *word = json_string_value(json_is_object(was) ? json_object_get(was, "type") : was);
	int k = KVEIL_AVRO_NULL;

	*name = json_is_string(own) ? kveil_span_of(json_string_value(own), json_string_length(own)) : KVEIL_SPAN_NULL;
	while (word && k < KVEIL_AVRO_UNION && strcmp(word, kveil_avro_kind_name((enum kveil_avro_kind)k)) != 0)
		k++;
	*kind = (enum kveil_avro_kind)k;
	return word && k < KVEIL_AVRO_UNION;
}

static bool says(const json_t *was, const struct kveil_avro_type *t)
{
	enum kveil_avro_kind kind;
	struct kveil_span name;

	return read_was(was, &kind, &name) && kind == t->kind && kveil_span_eq(name, t->name);
}

/* Is the type one of several that the property names? */
static bool is_among(const json_t *was, const struct kveil_avro_type *t)
{
	const json_t *one;
	size_t i;

	json_array_foreach(was, i, one)
	{
		if (says(one, t))
			return true;
	}
	return false;
}

/* The branches of a union that the property names. */
static uint32_t count_named(const struct kveil_avro_schema *s, const struct kveil_avro_type *t, const json_t *was)
{
	uint32_t count = 0;

	for (uint32_t i = 0; t->kind == KVEIL_AVRO_UNION && i < t->member_count; i++)
		count += is_among(was, &s->types[t->members[i].type]);
	return count;
}

/* Is it what a value of the derived type was? */
static bool is_origin(const struct kveil_avro_type *derived, const struct kveil_avro_type *t, bool in_any)
{
	const json_t *was = json_object_get(derived->json, KVEIL_AVRO_WAS);

	if (was)
		return says(was, t);
	return derived->kind == t->kind &&
	       (kveil_span_eq(derived->name, t->name) || (t->name.len && is_made_of(derived->name, t->name, in_any)));
}

static bool find_origin(const struct kveil_avro_schema *s, const struct kveil_avro_type *derived, uint32_t in,
			uint32_t *ret)
{
	const struct kveil_avro_type *t = &s->types[in];
	const json_t *was = json_object_get(derived->json, KVEIL_AVRO_WAS);

	*ret = in;
	if (json_is_array(was))
		return json_array_size(was) <= t->member_count && count_named(s, t, was) == json_array_size(was);
	if (t->kind != KVEIL_AVRO_UNION)
		return is_origin(derived, t, true);
	/* The branch that has the namespace, before the one that has none. */
	for (uint32_t i = 0; i < 2 * t->member_count; i++) {
		uint32_t branch = t->members[i % t->member_count].type;
		if (is_origin(derived, &s->types[branch], i >= t->member_count)) {
			*ret = branch;
			return true;
		}
	}
	return false;
}

/* Types to be looked at, those of the derived schema each once. */
struct queue {
	struct kveil_avro_origin *o;
	uint32_t *types;
	uint32_t count;
};

static void pair(struct queue *q, uint32_t derived, uint32_t original)
{
	const struct kveil_avro_type *d = &q->o->derived->types[derived];
	uint32_t *at = &q->o->pairs[derived];

	if (d->kind != KVEIL_AVRO_UNION && !find_origin(q->o->original, d, original, &original))
		return;
	q->o->clashes |= *at && *at != original + 1;
	if (!*at)
		q->types[q->count++] = derived;
	*at = original + 1;
}

static void pair_fields(struct queue *q, const struct kveil_avro_type *d, const struct kveil_avro_type *o)
{
	for (uint32_t i = 0; i < d->member_count; i++) {
		uint32_t k = i < o->member_count ? i : 0;
		/* Fields that went are few: most stand where they stood. */
		for (uint32_t tries = 0; tries < o->member_count; tries++, k = (k + 1) % o->member_count)
			if (kveil_span_eq(d->members[i].name, o->members[k].name)) {
				pair(q, d->members[i].type, o->members[k].type);
				break;
			}
	}
}

static void pair_inside(struct queue *q, uint32_t derived)
{
	const struct kveil_avro_type *d = &q->o->derived->types[derived];
	uint32_t original = q->o->pairs[derived] - 1;
	const struct kveil_avro_type *o = &q->o->original->types[original];

	if (d->kind == KVEIL_AVRO_UNION)
		for (uint32_t i = 0; i < d->member_count; i++)
			pair(q, d->members[i].type, original);
	else if (d->kind == KVEIL_AVRO_RECORD && o->kind == KVEIL_AVRO_RECORD)
		pair_fields(q, d, o);
	else if (d->kind == o->kind && (d->kind == KVEIL_AVRO_ARRAY || d->kind == KVEIL_AVRO_MAP))
		pair(q, d->item, o->item);
}

static bool pair_all(struct kveil_avro_origin *o)
{
	struct queue q = {.o = o, .types = calloc(o->derived->count, sizeof *q.types)};

	if (!q.types)
		return false;
	pair(&q, 0, 0);
	for (uint32_t i = 0; i < q.count; i++)
		pair_inside(&q, q.types[i]);
	free(q.types);
	return true;
}

/* --- what values were --- */

static bool are_one(const struct kveil_avro_type *a, const struct kveil_avro_type *b)
{
	if (a->kind != b->kind || a->size != b->size || a->member_count != b->member_count)
		return false;
	for (uint32_t i = 0; i < a->member_count; i++)
		if (!kveil_span_eq(a->members[i].name, b->members[i].name))
			return false;
	return true;
}

bool kveil_avro_is_as_before(const struct kveil_avro_type *derived, const struct kveil_avro_type *t)
{
	return (kveil_span_eq(derived->name, t->name) || is_made_of(derived->name, t->name, true)) &&
	       are_one(derived, t);
}

/* A name that the derived schema has for another type cannot be had again. */
static bool is_taken(const struct kveil_avro_schema *derived, const struct kveil_avro_type *t)
{
	for (uint32_t i = 0; t->name.len && i < derived->count; i++)
		if (kveil_span_eq(derived->types[i].name, t->name) && !are_one(&derived->types[i], t))
			return true;
	return false;
}

/* The type that the property beside a value describes. NULL: it does not, or no memory. */
static struct kveil_avro_type *describe(struct kveil_avro_origin *o, const struct kveil_avro_type *derived)
{
	const json_t *was = json_object_get(derived->json, KVEIL_AVRO_WAS);
	const json_t *size = json_object_get(was, "size");
	struct kveil_avro_type t = {.json = was};
	bool ok = read_was(was, &t.kind, &t.name) && t.kind != KVEIL_AVRO_NULL && t.kind < KVEIL_AVRO_ENUM;

	if (t.kind == KVEIL_AVRO_FIXED) {
		ok &= t.name.len && json_is_integer(size) && json_integer_value(size) >= 0 &&
		      json_integer_value(size) <= 1 << 30;
		t.size = ok ? (uint32_t)json_integer_value(size) : 0;
	}
	struct kveil_avro_type *copy = ok ? kveil_arena_alloc(&o->arena, sizeof *copy) : NULL;
	if (copy)
		*copy = t;
	return copy;
}

static const struct kveil_avro_type *what_was(struct kveil_avro_origin *o, uint32_t type)
{
	const struct kveil_avro_type *d = &o->derived->types[type], *t = kveil_avro_origin_type(o, type);

	if (!t)
		t = describe(o, d);
	if (!o->pairs[type] && t && o->original && is_taken(o->original, t))
		return NULL;
	/* Whether the names in a record can be had again shows when the schema is written. */
	bool is_whole = t && t->kind >= KVEIL_AVRO_ARRAY;
	return t && t->kind != KVEIL_AVRO_UNION && (is_whole || !is_taken(o->derived, t)) ? t : NULL;
}

static struct kveil_avro_past *new_past(struct kveil_avro_origin *o, uint32_t count)
{
	struct kveil_avro_past *past =
	    kveil_arena_alloc(&o->arena, sizeof *past + count * sizeof(struct kveil_avro_type *));

	if (past)
		past->count = 0;
	return past;
}

/* false: no memory. */
static bool find_past(struct kveil_avro_origin *o, uint32_t type)
{
	const struct kveil_avro_type *d = &o->derived->types[type], *in = kveil_avro_origin_type(o, type);
	const json_t *was = json_object_get(d->json, KVEIL_AVRO_WAS);
	bool is_several = json_is_array(was) && in && in->kind == KVEIL_AVRO_UNION;

	if (d->kind != KVEIL_AVRO_STRING && d->kind != KVEIL_AVRO_BYTES)
		return true;
	const struct kveil_avro_type *one = is_several ? NULL : what_was(o, type);
	if (!is_several && !one)
		return true;
	struct kveil_avro_past *past = new_past(o, is_several ? in->member_count : 1);
	if (!past)
		return false;
	if (one)
		past->types[past->count++] = one;
	for (uint32_t i = 0; is_several && i < in->member_count; i++)
		if (is_among(was, &o->original->types[in->members[i].type]))
			past->types[past->count++] = &o->original->types[in->members[i].type];
	o->past[type] = past->count ? past : NULL;
	return true;
}

static bool describe_all(struct kveil_avro_origin *o)
{
	bool ok = (o->past = calloc(o->derived->count, sizeof *o->past)) != NULL;

	for (uint32_t i = 0; ok && i < o->derived->count; i++)
		ok = find_past(o, i);
	return ok;
}

enum kveil_status kveil_avro_origin_new(const struct kveil_avro_schema *derived, struct kveil_span original,
					struct kveil_avro_origin **ret, struct kveil_error *err)
{
	struct kveil_avro_origin *o = calloc(1, sizeof *o);

	*ret = NULL;
	if (!o || !(o->pairs = calloc(derived->count, sizeof *o->pairs))) {
		free(o);
		return kveil_no_memory(err, "a schema");
	}
	o->derived = derived;
	kveil_arena_init(&o->arena, 0);
	enum kveil_status st = original.data ? kveil_avro_schema_parse(original, &o->original, err) : KVEIL_OK;
	if (!st && o->original && !may_refer_to(derived->json, o->original->fingerprint))
		st = kveil_fail(err, KVEIL_E_AVRO_SCHEMA, "it is not the schema that this one was derived from");
	if (!st && ((o->original && !pair_all(o)) || !describe_all(o)))
		st = kveil_no_memory(err, "a schema");
	if (st)
		kveil_avro_origin_free(o);
	else
		*ret = o;
	return st;
}

void kveil_avro_origin_free(struct kveil_avro_origin *o)
{
	if (!o)
		return;
	kveil_avro_schema_free(o->original);
	kveil_arena_clear(&o->arena);
	free(o->pairs);
	free(o->past);
	free(o);
}

const struct kveil_avro_past *kveil_avro_origin_of(const struct kveil_avro_origin *o, uint32_t type)
{
	return o ? o->past[type] : NULL;
}

const struct kveil_avro_type *kveil_avro_origin_type(const struct kveil_avro_origin *o, uint32_t type)
{
	return o->pairs[type] ? &o->original->types[o->pairs[type] - 1] : NULL;
}

const struct kveil_avro_schema *kveil_avro_origin_schema(const struct kveil_avro_origin *o)
{
	return o ? o->original : NULL;
}

bool kveil_avro_origin_clashes(const struct kveil_avro_origin *o)
{
	return o->clashes;
}

struct kveil_span kveil_avro_origin_text(const struct kveil_avro_origin *o)
{
	return o && o->original ? o->original->text : KVEIL_SPAN_NULL;
}

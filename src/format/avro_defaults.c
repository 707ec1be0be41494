/* SPDX-License-Identifier: Apache-2.0 */
/* Neutral defaults: of the type that may stand at a node when the rules are done, without what the writer's told. */
#include "format/avro_program.h"

#include <stdlib.h>

enum { MOST_DEPTH = 4 * KVEIL_AVRO_SCHEMA_DEPTH, MOST_DEFAULTS = 1 << 16 };

/* The records in which a default stands, from the inside out: nodes, or types of the original schema. */
struct around {
	const struct around *outer;
	const void *record;
	unsigned depth;
};

static json_t *default_of(struct kveil_avro_defaults *d, uint32_t node, const struct around *around);

/* Would a record stand within itself? */
static bool is_within(const struct around *around, const void *record)
{
	while (around && around->record != record)
		around = around->outer;
	return around != NULL;
}

/* Takes value's reference. */
static void set_member(struct kveil_avro_defaults *d, json_t *object, struct kveil_span name, json_t *value)
{
	d->bytes += name.len;
	d->failed |= json_object_setn_new(object, (const char *)name.data, name.len, value) != 0;
}

static json_t *fixed_default(struct kveil_avro_defaults *d, uint32_t size)
{
	/* Each is \u0000. */
	d->bytes += 6 * (size_t)size;
	d->is_too_long |= d->bytes > KVEIL_AVRO_SCHEMA_BYTES;
	char *zeroes = d->is_too_long ? NULL : calloc(1, (size_t)size + 1);
	json_t *j = zeroes ? json_stringn(zeroes, size) : NULL;

	free(zeroes);
	d->failed |= !j;
	return j ? j : json_null();
}

static json_t *record_default(struct kveil_avro_defaults *d, const struct kveil_avro_node *n,
			      const struct around *around)
{
	const struct kveil_avro_type *t = &d->p->schema->types[n->type];
	const struct around inside = {around, n, around ? around->depth + 1 : 1};
	json_t *j = json_object();

	for (uint32_t i = 0; i < t->member_count; i++)
		if (!d->p->nodes[n->edges[i].node].is_gone)
			set_member(d, j, t->members[i].name, default_of(d, n->edges[i].node, &inside));
	return j;
}

/* A record of records of records, twice each, would be as long as the universe is wide. */
static bool is_default_too_long(struct kveil_avro_defaults *d, const struct around *around)
{
	d->is_too_long |=
	    (around && around->depth > MOST_DEPTH) || ++d->count > MOST_DEFAULTS || d->bytes > KVEIL_AVRO_SCHEMA_BYTES;
	d->failed |= d->is_too_long;
	return d->failed;
}

static json_t *kind_default(struct kveil_avro_defaults *d, const struct kveil_avro_type *t,
			    const struct kveil_avro_node *n, const struct around *around)
{
	switch (t->kind) {
	case KVEIL_AVRO_NULL:
		return json_null();
	case KVEIL_AVRO_BOOLEAN:
		return json_false();
	case KVEIL_AVRO_INT:
	case KVEIL_AVRO_LONG:
		return json_integer(0);
	case KVEIL_AVRO_FLOAT:
	case KVEIL_AVRO_DOUBLE:
		return json_real(0.0);
	case KVEIL_AVRO_BYTES:
	case KVEIL_AVRO_STRING:
		return json_string("");
	case KVEIL_AVRO_FIXED:
		return fixed_default(d, t->size);
	case KVEIL_AVRO_ENUM:
		d->bytes += t->members[0].name.len;
		return json_stringn((const char *)t->members[0].name.data, t->members[0].name.len);
	case KVEIL_AVRO_ARRAY:
		return json_array();
	case KVEIL_AVRO_MAP:
		return json_object();
	case KVEIL_AVRO_RECORD:
		return record_default(d, n, around);
	case KVEIL_AVRO_UNION:
		break;
	}
	return json_null();
}

/* The first one, whose default would have no end where it is a record around; then the first that is none. */
static uint32_t ending_branch(const struct kveil_avro_schema *s, const struct kveil_avro_type *t,
			      const struct around *around)
{
	for (uint32_t i = 0; i < t->member_count; i++)
		if (!is_within(around, &s->types[t->members[i].type]))
			return t->members[i].type;
	return t->members[0].type;
}

/* The same of a type of the original schema. */
static json_t *whole_default(struct kveil_avro_defaults *d, uint32_t type, const struct around *around)
{
	const struct kveil_avro_type *t = &kveil_avro_origin_schema(d->p->origin)->types[type];

	if (is_default_too_long(d, around))
		return json_null();
	if (t->kind == KVEIL_AVRO_UNION)
		return whole_default(d, ending_branch(kveil_avro_origin_schema(d->p->origin), t, around), around);
	if (t->kind != KVEIL_AVRO_RECORD)
		return kind_default(d, t, NULL, around);
	const struct around inside = {around, t, around ? around->depth + 1 : 1};
	json_t *j = json_object();
	for (uint32_t i = 0; i < t->member_count; i++)
		set_member(d, j, t->members[i].name, whole_default(d, t->members[i].type, &inside));
	return j;
}

static json_t *restored_default(struct kveil_avro_defaults *d, struct kveil_avro_alt alt, const struct around *around)
{
	const struct kveil_avro_type *was = kveil_avro_restored(d->p, alt);

	if (!was)
		return json_string("");
	if (was->kind < KVEIL_AVRO_ARRAY)
		return kind_default(d, was, NULL, around);
	return whole_default(d, (uint32_t)(was - kveil_avro_origin_schema(d->p->origin)->types), around);
}

/* Of the first type that may stand there; another where that is a record around: it would have no end. */
static json_t *default_of(struct kveil_avro_defaults *d, uint32_t node, const struct around *around)
{
	struct kveil_avro_alt alts[KVEIL_AVRO_BRANCHES];
	size_t count = kveil_avro_alternatives(d->p, node, alts), at = 0;

	d->failed |= !count;
	if (is_default_too_long(d, around) || !count)
		return json_null();
	while (at < count && alts[at].how == KVEIL_AVRO_ORIGINAL && is_within(around, &d->p->nodes[alts[at].node]))
		at++;
	const struct kveil_avro_alt alt = alts[at < count ? at : 0];
	const struct kveil_avro_node *n = &d->p->nodes[alt.node];
	switch (alt.how) {
	case KVEIL_AVRO_STRING_OF:
	case KVEIL_AVRO_BYTES_OF:
		return json_string("");
	case KVEIL_AVRO_NULL_OF:
		return json_null();
	case KVEIL_AVRO_RESTORED_OF:
		return restored_default(d, alt, around);
	case KVEIL_AVRO_ORIGINAL:
		break;
	}
	return kind_default(d, &d->p->schema->types[n->type], n, around);
}

json_t *kveil_avro_default_of(struct kveil_avro_defaults *d, uint32_t node)
{
	return default_of(d, node, NULL);
}

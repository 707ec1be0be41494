/* SPDX-License-Identifier: Apache-2.0 */
/* Neutral defaults: of the type that may stand at a node when the rules are done, without what the writer's told. */
#include "format/avro_program.h"

#include <stdlib.h>

enum { MOST_DEPTH = 4 * KVEIL_AVRO_SCHEMA_DEPTH, MOST_DEFAULTS = 1 << 16 };

static json_t *default_of(struct kveil_avro_defaults *d, uint32_t node, unsigned depth);

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

static json_t *record_default(struct kveil_avro_defaults *d, const struct kveil_avro_node *n, unsigned depth)
{
	const struct kveil_avro_type *t = &d->p->schema->types[n->type];
	json_t *j = json_object();

	for (uint32_t i = 0; i < t->member_count; i++)
		if (!d->p->nodes[n->edges[i].node].is_gone)
			set_member(d, j, t->members[i].name, default_of(d, n->edges[i].node, depth + 1));
	return j;
}

/* A record of records of records, twice each, would be as long as the universe is wide. */
static bool is_default_too_long(struct kveil_avro_defaults *d, unsigned depth)
{
	d->is_too_long |= depth > MOST_DEPTH || ++d->count > MOST_DEFAULTS || d->bytes > KVEIL_AVRO_SCHEMA_BYTES;
	d->failed |= d->is_too_long;
	return d->failed;
}

static json_t *kind_default(struct kveil_avro_defaults *d, const struct kveil_avro_type *t,
			    const struct kveil_avro_node *n, unsigned depth)
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
		return record_default(d, n, depth);
	case KVEIL_AVRO_UNION:
		break;
	}
	return json_null();
}

/* The same of a type of the original schema. */
static json_t *whole_default(struct kveil_avro_defaults *d, uint32_t type, unsigned depth)
{
	const struct kveil_avro_type *t = &kveil_avro_origin_schema(d->p->origin)->types[type];

	if (is_default_too_long(d, depth))
		return json_null();
	if (t->kind == KVEIL_AVRO_UNION)
		return whole_default(d, t->members[0].type, depth + 1);
	if (t->kind != KVEIL_AVRO_RECORD)
		return kind_default(d, t, NULL, depth);
	json_t *j = json_object();
	for (uint32_t i = 0; i < t->member_count; i++)
		set_member(d, j, t->members[i].name, whole_default(d, t->members[i].type, depth + 1));
	return j;
}

static json_t *restored_default(struct kveil_avro_defaults *d, struct kveil_avro_alt alt, unsigned depth)
{
	const struct kveil_avro_type *was = kveil_avro_restored(d->p, alt);

	if (!was)
		return json_string("");
	if (was->kind < KVEIL_AVRO_ARRAY)
		return kind_default(d, was, NULL, depth);
	return whole_default(d, (uint32_t)(was - kveil_avro_origin_schema(d->p->origin)->types), depth);
}

/* Of the first type that may stand there. A record that holds itself has no default that ends. */
static json_t *default_of(struct kveil_avro_defaults *d, uint32_t node, unsigned depth)
{
	struct kveil_avro_alt alts[KVEIL_AVRO_BRANCHES];
	size_t count = kveil_avro_alternatives(d->p, node, alts);
	const struct kveil_avro_node *n = &d->p->nodes[count ? alts[0].node : node];

	d->failed |= !count;
	if (is_default_too_long(d, depth))
		return json_null();
	switch (alts[0].how) {
	case KVEIL_AVRO_STRING_OF:
	case KVEIL_AVRO_BYTES_OF:
		return json_string("");
	case KVEIL_AVRO_NULL_OF:
		return json_null();
	case KVEIL_AVRO_RESTORED_OF:
		return restored_default(d, alts[0], depth);
	case KVEIL_AVRO_ORIGINAL:
		break;
	}
	return kind_default(d, &d->p->schema->types[n->type], n, depth);
}

json_t *kveil_avro_default_of(struct kveil_avro_defaults *d, uint32_t node)
{
	return default_of(d, node, 0);
}

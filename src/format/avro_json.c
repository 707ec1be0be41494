/* SPDX-License-Identifier: Apache-2.0 */
/* Avro values as JSON, for people. */
#include "format/avro_json.h"

#include "format/avro_walk.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_BYTES = 64 << 20, MOST_DEPTH = 1000, MOST_TRIES = 1 << 20 };

struct kveil_avro_text {
	struct kveil_avro_schema *schema;
	struct kveil_automaton *automaton; /* of no path */
	struct kveil_avro_program *program;
	struct kveil_avro_walk walk;
};

struct encoder {
	const struct kveil_avro_schema *s;
	struct kveil_buf *out;
	uint32_t tries; /* unions in unions' records may be tried again and again */
	char why[160];
};

static struct kveil_avro_effect no_effect(void *user, const struct kveil_avro_node *node, const uint32_t *ids,
					  size_t count)
{
	(void)user, (void)node, (void)ids, (void)count;
	return (struct kveil_avro_effect){.keeps = true};
}

enum kveil_status kveil_avro_text_new(struct kveil_span schema, struct kveil_avro_text **ret, struct kveil_error *err)
{
	struct kveil_avro_text *t = calloc(1, sizeof *t);

	*ret = NULL;
	if (!t)
		return kveil_no_memory(err, "a schema");
	enum kveil_status st = kveil_avro_schema_parse(schema, &t->schema, err);
	if (!st)
		st = kveil_automaton_new(NULL, 0, &t->automaton, err);
	if (!st)
		st = kveil_avro_program_new(t->schema, NULL, t->automaton, no_effect, NULL, &t->program, err);
	t->walk = (struct kveil_avro_walk){
	    .program = t->program, .max_bytes = MOST_BYTES, .max_depth = MOST_DEPTH, .want_doc = true};
	if (st)
		kveil_avro_text_free(t);
	else
		*ret = t;
	return st;
}

void kveil_avro_text_free(struct kveil_avro_text *t)
{
	if (!t)
		return;
	kveil_avro_walk_clear(&t->walk);
	kveil_avro_program_free(t->program);
	kveil_automaton_free(t->automaton);
	kveil_avro_schema_free(t->schema);
	free(t);
}

static bool encode(struct encoder *x, uint32_t type, const json_t *json);

static bool refuse(struct encoder *x, const struct kveil_avro_type *t)
{
	if (t->name.len)
		snprintf(x->why, sizeof x->why, "not a value of %s %.*s", kveil_avro_kind_name(t->kind),
			 (int)(t->name.len < 100 ? t->name.len : 100), (const char *)t->name.data);
	else
		snprintf(x->why, sizeof x->why, "not a value of type %s", kveil_avro_kind_name(t->kind));
	return false;
}

/* U+0000 to U+00FF, a byte each. */
static bool encode_bytes(struct encoder *x, const struct kveil_avro_type *t, const json_t *json)
{
	const uint8_t *s = (const uint8_t *)json_string_value(json);
	size_t len = json_string_length(json), n = 0;
	uint8_t *bytes = s ? malloc(len + 1) : NULL;
	bool ok = bytes != NULL;

	for (size_t i = 0; ok && i < len; i++) {
		uint8_t c = s[i];
		ok = c < 0xC4;
		if (c >= 0xC2)
			c = (uint8_t)(c << 6 | (s[++i] & 0x3F));
		bytes[n++] = c;
	}
	if (ok && t->kind == KVEIL_AVRO_FIXED) {
		ok = n == t->size;
		kveil_buf_append(x->out, bytes, n);
	} else if (ok) {
		kveil_avro_write_bytes(x->out, kveil_span_of(bytes, n));
	}
	free(bytes);
	return ok || refuse(x, t);
}

static bool encode_real(struct encoder *x, const struct kveil_avro_type *t, const json_t *json)
{
	const char *word = json_string_value(json);
	double d = json_number_value(json);
	uint64_t bits;
	uint32_t half;

	if (word && strcmp(word, "NaN") == 0)
		d = NAN;
	else if (word && (strcmp(word, "Infinity") == 0 || strcmp(word, "-Infinity") == 0))
		d = *word == '-' ? -INFINITY : INFINITY;
	else if (!json_is_number(json))
		return refuse(x, t);
	float f = (float)d;
	memcpy(&bits, &d, sizeof bits);
	memcpy(&half, &f, sizeof half);
	if (t->kind == KVEIL_AVRO_FLOAT)
		bits = half;
	for (int i = 0; i < (t->kind == KVEIL_AVRO_FLOAT ? 4 : 8); i++)
		kveil_buf_append_byte(x->out, (uint8_t)(bits >> 8 * i));
	return true;
}

static bool encode_symbol(struct encoder *x, const struct kveil_avro_type *t, const json_t *json)
{
	struct kveil_span symbol = kveil_span_of(json_string_value(json), json_string_length(json));

	for (uint32_t i = 0; symbol.data && i < t->member_count; i++)
		if (kveil_span_eq(t->members[i].name, symbol)) {
			kveil_avro_write_long(x->out, i);
			return true;
		}
	return refuse(x, t);
}

static bool encode_record(struct encoder *x, const struct kveil_avro_type *t, const json_t *json)
{
	if (!json_is_object(json) || json_object_size(json) != t->member_count)
		return refuse(x, t);
	for (uint32_t i = 0; i < t->member_count; i++) {
		const struct kveil_avro_member *m = &t->members[i];
		const json_t *value = json_object_get(json, json_string_value(json_object_get(m->json, "name")));
		if (!value) {
			snprintf(x->why, sizeof x->why, "the field %.*s is absent",
				 (int)(m->name.len < 100 ? m->name.len : 100), (const char *)m->name.data);
			return false;
		}
		if (!encode(x, m->type, value))
			return false;
	}
	return true;
}

static bool encode_elements(struct encoder *x, const struct kveil_avro_type *t, const json_t *json)
{
	const char *key;
	json_t *value;
	size_t i, n = json_is_array(json) ? json_array_size(json) : json_object_size(json);

	if (!(t->kind == KVEIL_AVRO_ARRAY ? json_is_array(json) : json_is_object(json)))
		return refuse(x, t);
	if (n)
		kveil_avro_write_long(x->out, (int64_t)n);
	if (t->kind == KVEIL_AVRO_ARRAY) {
		json_array_foreach(json, i, value) if (!encode(x, t->item, value)) return false;
	} else {
		json_object_foreach((json_t *)json, key, value)
		{
			kveil_avro_write_bytes(x->out, kveil_span_str(key));
			if (!encode(x, t->item, value))
				return false;
		}
	}
	kveil_buf_append_byte(x->out, 0);
	return true;
}

static bool try_branch(struct encoder *x, uint32_t index, uint32_t type, const json_t *json)
{
	size_t before = x->out->len;

	if (++x->tries > MOST_TRIES)
		return false;
	kveil_avro_write_long(x->out, index);
	if (encode(x, type, json))
		return true;
	x->out->len = before;
	return false;
}

/* {"string": "x"}: the branch has its full name, or the last part of it. */
static const json_t *named_value(const struct kveil_avro_member *branch, const json_t *json)
{
	struct kveil_span full = branch->name;
	const char *dot = memrchr(full.data, '.', full.len);
	char name[512];

	for (int i = 0; i < 2 && full.len < sizeof name; i++) {
		memcpy(name, full.data, full.len);
		name[full.len] = 0;
		const json_t *value = json_object_get(json, name);
		if (value)
			return value;
		if (dot) {
			full.len -= (size_t)(dot + 1 - (const char *)full.data);
			full.data = (const uint8_t *)dot + 1;
		}
	}
	return NULL;
}

static bool encode_branch(struct encoder *x, const struct kveil_avro_type *t, const json_t *json)
{
	for (uint32_t i = 0; json_object_size(json) == 1 && i < t->member_count; i++) {
		const json_t *value = named_value(&t->members[i], json);
		if (value && try_branch(x, i, t->members[i].type, value))
			return true;
	}
	for (uint32_t i = 0; i < t->member_count; i++)
		if (try_branch(x, i, t->members[i].type, json))
			return true;
	return refuse(x, t);
}

static bool encode(struct encoder *x, uint32_t type, const json_t *json)
{
	const struct kveil_avro_type *t = &x->s->types[type];
	json_int_t n = json_integer_value(json);

	switch (t->kind) {
	case KVEIL_AVRO_NULL:
		return json_is_null(json) || refuse(x, t);
	case KVEIL_AVRO_BOOLEAN:
		if (!json_is_boolean(json))
			return refuse(x, t);
		kveil_buf_append_byte(x->out, json_is_true(json));
		return true;
	case KVEIL_AVRO_INT:
	case KVEIL_AVRO_LONG:
		if (!json_is_integer(json) || (t->kind == KVEIL_AVRO_INT && (n < INT32_MIN || n > INT32_MAX)))
			return refuse(x, t);
		kveil_avro_write_long(x->out, n);
		return true;
	case KVEIL_AVRO_FLOAT:
	case KVEIL_AVRO_DOUBLE:
		return encode_real(x, t, json);
	case KVEIL_AVRO_STRING:
		if (!json_is_string(json))
			return refuse(x, t);
		kveil_avro_write_bytes(x->out, kveil_span_of(json_string_value(json), json_string_length(json)));
		return true;
	case KVEIL_AVRO_BYTES:
	case KVEIL_AVRO_FIXED:
		return encode_bytes(x, t, json);
	case KVEIL_AVRO_ENUM:
		return encode_symbol(x, t, json);
	case KVEIL_AVRO_ARRAY:
	case KVEIL_AVRO_MAP:
		return encode_elements(x, t, json);
	case KVEIL_AVRO_RECORD:
		return encode_record(x, t, json);
	case KVEIL_AVRO_UNION:
		return encode_branch(x, t, json);
	}
	return false;
}

enum kveil_status kveil_avro_from_json(struct kveil_avro_text *t, struct kveil_span json, struct kveil_buf *out,
				       struct kveil_error *err)
{
	struct encoder x = {.s = t->schema, .out = out};
	json_error_t why;
	json_t *root = json_loadb((const char *)json.data, json.len,
				  JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);

	if (!root)
		return kveil_fail_at(err, KVEIL_E_INVALID_JSON, (size_t)why.position, "not a JSON value");
	bool ok = encode(&x, 0, root);
	json_decref(root);
	if (!ok)
		return kveil_fail(err, KVEIL_E_INVALID_AVRO, "%s", x.why);
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "a record");
}

enum kveil_status kveil_avro_to_json(struct kveil_avro_text *t, struct kveil_span value, struct kveil_buf *out,
				     struct kveil_error *err)
{
	enum kveil_status st = kveil_avro_walk(&t->walk, value, err);

	if (!st)
		kveil_buf_append_span(out, t->walk.doc.text);
	return st || kveil_buf_ok(out) ? st : kveil_no_memory(err, "a record");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* cli/sample_shape.c: rows of change events and of Avro schemas, for `kveil init`. */
#include "cli/sample_shape.h"

#include <stdint.h>
#include <string.h>

enum { MOST_DEPTH = 12 };

static bool is_image(const json_t *value, const char *name)
{
	const json_t *image = json_object_get(value, name);

	return json_is_object(image) || json_is_null(image);
}

static bool has_images(const json_t *value)
{
	return is_image(value, "after") || is_image(value, "before");
}

static bool has_text(const json_t *value, const char *name)
{
	return json_is_string(json_object_get(value, name));
}

static bool is_connect(const json_t *value)
{
	return json_object_get(value, "schema") && json_object_get(value, "payload") && json_object_size(value) == 2;
}

/* By ExtractNewRecordState, with fields of the event around it. */
static bool is_flattened(const json_t *value)
{
	return has_text(value, "__op") || has_text(value, "__deleted");
}

const char *kveil_shape_envelope(const json_t *value)
{
	const json_t *inner = is_connect(value) ? json_object_get(value, "payload") : value;

	if ((has_text(inner, "op") && has_images(inner)) || is_flattened(inner))
		return "debezium";
	if (inner != value)
		return "connect";
	if (has_text(value, "op_type") && has_images(value))
		return "ogg";
	if (has_text(value, "type") && json_is_array(json_object_get(value, "data")) && json_object_get(value, "isDdl"))
		return "canal";
	if (has_text(value, "type") && has_text(value, "table") && json_is_object(json_object_get(value, "data")))
		return "maxwell";
	return NULL;
}

/* {"$numberLong": "42"} is a scalar to rules. */
static json_t *unwrap(json_t *value)
{
	const char *name;
	void *next;
	json_t *member;
	size_t i;

	json_object_foreach_safe(value, next, name, member)
	{
		if (json_object_size(value) == 1 && name[0] == '$')
			return unwrap(member);
		json_object_set(value, name, unwrap(member));
	}
	json_array_foreach(value, i, member) json_array_set(value, i, unwrap(member));
	return value;
}

/* MongoDB's documents are texts. */
static void append_document(json_t *rows, const json_t *text)
{
	json_t *document = json_loads(json_string_value(text), JSON_REJECT_DUPLICATES, NULL);

	if (json_is_object(document))
		json_array_append(rows, unwrap(document));
	json_decref(document);
}

json_t *kveil_shape_rows(const char *envelope, json_t *value)
{
	static const char *const places[] = {"after", "before", "data", "old"};
	json_t *rows = json_array(), *row, *inner = is_connect(value) ? json_object_get(value, "payload") : value;
	size_t i;

	if (!envelope || strcmp(envelope, "connect") == 0 || is_flattened(inner)) {
		json_array_append(rows, inner);
		return rows;
	}
	for (size_t k = 0; k < sizeof places / sizeof *places; k++) {
		json_t *at = json_object_get(inner, places[k]);
		if (json_is_object(at))
			json_array_append(rows, at);
		if (json_is_string(at))
			append_document(rows, at);
		json_array_foreach(at, i, row) json_array_append(rows, row);
	}
	return rows;
}

json_t *kveil_shape_event(const char *envelope, json_t *row)
{
	if (envelope && strcmp(envelope, "debezium") == 0)
		return json_pack("{s:n, s:o, s:s}", "before", "after", row, "op", "c");
	if (envelope && strcmp(envelope, "canal") == 0)
		return json_pack("{s:[o], s:n, s:s, s:b}", "data", row, "old", "type", "INSERT", "isDdl", 0);
	if (envelope && strcmp(envelope, "maxwell") == 0)
		return json_pack("{s:s, s:s, s:s, s:o}", "database", "d", "table", "t", "type", "insert", "data", row);
	if (envelope && strcmp(envelope, "ogg") == 0)
		return json_pack("{s:s, s:s, s:o}", "table", "t", "op_type", "I", "after", row);
	return row;
}

bool kveil_shape_is_record(const json_t *value)
{
	return has_text(value, "topic") && json_is_integer(json_object_get(value, "offset")) &&
	       json_object_get(value, "payload");
}

const char *kveil_shape_key(const json_t *record)
{
	return json_string_value(json_object_get(record, "key"));
}

const char *kveil_shape_value(const json_t *record)
{
	return json_string_value(json_object_get(record, "payload"));
}

/* --- Avro --- */

bool kveil_shape_is_schema(const json_t *value)
{
	const char *type = json_string_value(json_object_get(value, "type"));

	return type && strcmp(type, "record") == 0 && json_is_array(json_object_get(value, "fields"));
}

static json_t *of_type(const json_t *type, json_t *named, int depth);

/* By the last part of its name: whose namespace it is matters little for a suggestion. */
static const char *last_part(const char *name)
{
	const char *dot = name ? strrchr(name, '.') : NULL;

	return dot ? dot + 1 : name;
}

static json_t *of_record(const json_t *record, json_t *named, int depth)
{
	json_t *row = json_object(), *field;
	size_t i;

	json_array_foreach(json_object_get(record, "fields"), i, field)
	{
		const char *name = json_string_value(json_object_get(field, "name"));
		json_t *value = name ? of_type(json_object_get(field, "type"), named, depth + 1) : NULL;
		if (value)
			json_object_set_new(row, name, value);
	}
	return row;
}

static json_t *of_name(const char *name, json_t *named, int depth)
{
	static const char *const numbers[] = {"int", "long", "float", "double"};

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (strcmp(name, numbers[i]) == 0)
			return json_integer(1);
	if (strcmp(name, "null") == 0)
		return json_null();
	if (strcmp(name, "boolean") == 0)
		return json_false();
	json_t *known = json_object_get(named, last_part(name));
	if (json_is_null(known)) /* within itself */
		return NULL;
	return known ? of_type(known, named, depth) : json_string("text");
}

/* A union's first branch that is not null. */
static json_t *of_union(const json_t *type, json_t *named, int depth)
{
	json_t *branch;
	size_t i;

	json_array_foreach(type, i, branch)
	{
		const char *name = json_string_value(branch);
		if (!name || strcmp(name, "null") != 0)
			return of_type(branch, named, depth);
	}
	return json_null();
}

static json_t *of_container(const char *kind, const json_t *type, json_t *named, int depth)
{
	bool is_array = strcmp(kind, "array") == 0;
	json_t *item = of_type(json_object_get(type, is_array ? "items" : "values"), named, depth + 1);

	if (!item)
		return is_array ? json_array() : json_object();
	return is_array ? json_pack("[o]", item) : json_pack("{s:o}", "name", item);
}

/* Known by its name from here on, and null while it is looked into. */
static json_t *of_named(const char *kind, const json_t *type, json_t *named, int depth)
{
	const char *name = last_part(json_string_value(json_object_get(type, "name")));
	bool is_record = strcmp(kind, "record") == 0;

	if (name)
		json_object_set_new(named, name, json_null());
	json_t *value = is_record ? of_record(type, named, depth) : json_string("text");
	if (name)
		json_object_set(named, name, (json_t *)(uintptr_t)type);
	return value;
}

/* NULL: a type within itself, or too deep. */
static json_t *of_type(const json_t *type, json_t *named, int depth)
{
	const char *kind = json_string_value(json_object_get(type, "type"));

	if (depth > MOST_DEPTH)
		return NULL;
	if (json_is_string(type))
		return of_name(json_string_value(type), named, depth);
	if (json_is_array(type))
		return of_union(type, named, depth);
	if (!kind)
		return json_is_object(type) ? of_type(json_object_get(type, "type"), named, depth + 1) : NULL;
	if (strcmp(kind, "array") == 0 || strcmp(kind, "map") == 0)
		return of_container(kind, type, named, depth);
	if (strcmp(kind, "record") == 0 || strcmp(kind, "enum") == 0 || strcmp(kind, "fixed") == 0)
		return of_named(kind, type, named, depth);
	return of_name(kind, named, depth + 1);
}

json_t *kveil_shape_of_schema(const json_t *schema)
{
	json_t *named = json_object(), *row = kveil_shape_is_schema(schema) ? of_type(schema, named, 0) : NULL;

	json_decref(named);
	return row;
}

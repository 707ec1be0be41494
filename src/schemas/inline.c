/* SPDX-License-Identifier: Apache-2.0 */
/* References between schemas, resolved into one text. */
#include "schemas/inline.h"

#include "format/avro_schema.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_DEPTH = 4 * KVEIL_AVRO_SCHEMA_DEPTH, MOST_NAME = 512 };

/* Of the references: where each name is defined. */
struct definition {
	const json_t *json;
	bool is_written;
};

struct inliner {
	json_t *names; /* full name: number of its definition */
	struct definition *definitions;
	size_t count, cap;
	struct kveil_error *err;
	bool failed;
};

static void fail(struct inliner *in, enum kveil_status status, const char *what, const char *name)
{
	if (!in->failed)
		kveil_fail(in->err, status, "%s%s%.100s", what, *name ? " " : "", name);
	in->failed = true;
}

static void no_memory(struct inliner *in)
{
	if (!in->failed)
		kveil_no_memory(in->err, "a schema");
	in->failed = true;
}

static bool is_primitive(const char *name)
{
	for (int k = KVEIL_AVRO_NULL; k <= KVEIL_AVRO_STRING; k++)
		if (strcmp(kveil_avro_kind_name((enum kveil_avro_kind)k), name) == 0)
			return true;
	return false;
}

static bool is_named_kind(const char *type)
{
	return type && (strcmp(type, "record") == 0 || strcmp(type, "error") == 0 || strcmp(type, "enum") == 0 ||
			strcmp(type, "fixed") == 0);
}

/* "com.acme.User", from a name and the namespace around. false: longer than any. */
static bool full_name(const char *name, const char *space, char full[MOST_NAME])
{
	int n = strchr(name, '.') || !*space ? snprintf(full, MOST_NAME, "%s", name)
					     : snprintf(full, MOST_NAME, "%s.%s", space, name);

	return n > 0 && n < MOST_NAME;
}

/* The full name of a definition. false: it has none, for the parser to find. */
static bool name_of(const json_t *definition, const char *space, char full[MOST_NAME])
{
	const char *name = json_string_value(json_object_get(definition, "name"));
	const char *own = json_string_value(json_object_get(definition, "namespace"));

	return name && full_name(name, own ? own : space, full);
}

/* "com.acme" of "com.acme.User". */
static void space_of(const char *full, char space[MOST_NAME])
{
	const char *dot = strrchr(full, '.');

	snprintf(space, MOST_NAME, "%.*s", dot ? (int)(dot - full) : 0, full);
}

static struct definition *find(struct inliner *in, const char *full)
{
	const json_t *at = json_object_get(in->names, full);

	return at ? &in->definitions[json_integer_value(at)] : NULL;
}

/* --- what the references define --- */

static void add(struct inliner *in, const char *full, const json_t *json)
{
	const struct definition *there = find(in, full);

	if (there && !json_equal(there->json, json))
		fail(in, KVEIL_E_AVRO_SCHEMA, "two of the schema's references define", full);
	if (there || in->failed)
		return;
	if (in->count == in->cap) {
		size_t cap = in->cap ? 2 * in->cap : 16;
		struct definition *more = realloc(in->definitions, cap * sizeof *more);
		if (!more) {
			no_memory(in);
			return;
		}
		in->definitions = more;
		in->cap = cap;
	}
	in->definitions[in->count] = (struct definition){.json = json};
	if (json_object_set_new(in->names, full, json_integer((json_int_t)in->count)) != 0)
		no_memory(in);
	in->count++;
}

static void collect(struct inliner *in, const json_t *json, const char *space, int depth)
{
	const char *type = json_string_value(json_object_get(json, "type"));
	char full[MOST_NAME], inner[MOST_NAME];
	const json_t *part;
	size_t i;

	if (depth > MOST_DEPTH) {
		fail(in, KVEIL_E_AVRO_SCHEMA, "a schema nested too deep", "");
		return;
	}
	if (is_named_kind(type) && name_of(json, space, full)) {
		add(in, full, json);
		space_of(full, inner);
		json_array_foreach(json_object_get(json, "fields"), i, part)
		    collect(in, json_object_get(part, "type"), inner, depth + 1);
		return;
	}
	json_array_foreach(json, i, part) /* a union */
	    collect(in, part, space, depth + 1);
	if (!json_is_object(json))
		return;
	collect(in, json_object_get(json, "items"), space, depth + 1);
	collect(in, json_object_get(json, "values"), space, depth + 1);
	if (!type)
		collect(in, json_object_get(json, "type"), space, depth + 1);
}

/* --- the schema written anew --- */

static json_t *write_type(struct inliner *in, const json_t *json, const char *space, int depth);

static void set(struct inliner *in, json_t *object, const char *name, json_t *value)
{
	if (!object || json_object_set_new(object, name, value) != 0)
		no_memory(in);
}

static json_t *write_fields(struct inliner *in, const json_t *fields, const char *space, int depth)
{
	json_t *all = json_array();
	const json_t *field;
	size_t i;

	json_array_foreach(fields, i, field)
	{
		json_t *j = json_is_object(field) ? json_copy((json_t *)field) : json_incref((json_t *)field);
		if (json_is_object(field))
			set(in, j, "type", write_type(in, json_object_get(field, "type"), space, depth + 1));
		if (json_array_append_new(all, j) != 0)
			no_memory(in);
	}
	return all;
}

/* is_moved: it stood in another text, whose namespace it needs. */
static json_t *write_named(struct inliner *in, const json_t *json, const char *full, bool is_moved, int depth)
{
	const json_t *fields = json_object_get(json, "fields");
	const char *dot = strrchr(full, '.');
	json_t *j = json_copy((json_t *)json);
	char space[MOST_NAME];

	space_of(full, space);
	if (is_moved) {
		set(in, j, "name", json_string(dot ? dot + 1 : full));
		set(in, j, "namespace", json_string(space));
	}
	if (json_is_array(fields))
		set(in, j, "fields", write_fields(in, fields, space, depth));
	return j;
}

static json_t *write_definition(struct inliner *in, const json_t *json, const char *space, int depth)
{
	char full[MOST_NAME];

	if (!name_of(json, space, full))
		return json_incref((json_t *)json);
	struct definition *d = find(in, full);
	if (d && d->is_written) { /* a reference's own, within another type of it */
		if (!json_equal(d->json, json))
			fail(in, KVEIL_E_AVRO_SCHEMA, "a schema and its references define", full);
		return json_string(full);
	}
	if (d)
		d->is_written = true;
	return write_named(in, json, full, false, depth);
}

/* A name is meant in the namespace around, then in none. */
static json_t *write_name(struct inliner *in, const json_t *json, const char *space, int depth)
{
	const char *name = json_string_value(json);
	char full[MOST_NAME];

	if (is_primitive(name) || !full_name(name, space, full))
		return json_incref((json_t *)json);
	struct definition *d = find(in, full);
	if (!d && (d = find(in, name)))
		snprintf(full, sizeof full, "%s", name);
	if (!d || d->is_written)
		return json_incref((json_t *)json);
	d->is_written = true;
	return write_named(in, d->json, full, true, depth + 1);
}

static json_t *write_object(struct inliner *in, const json_t *json, const char *space, int depth)
{
	static const char *const parts[] = {"items", "values", "type"};
	const char *type = json_string_value(json_object_get(json, "type"));

	if (is_named_kind(type))
		return write_definition(in, json, space, depth);
	json_t *j = json_copy((json_t *)json);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
		const json_t *part = json_object_get(json, parts[i]);
		if (part)
			set(in, j, parts[i], write_type(in, part, space, depth + 1));
	}
	return j;
}

static json_t *write_type(struct inliner *in, const json_t *json, const char *space, int depth)
{
	const json_t *branch;
	size_t i;

	if (depth > MOST_DEPTH)
		fail(in, KVEIL_E_AVRO_SCHEMA, "a schema nested too deep", "");
	if (in->failed)
		return json_null();
	if (json_is_string(json))
		return write_name(in, json, space, depth);
	if (json_is_object(json))
		return write_object(in, json, space, depth);
	if (!json_is_array(json))
		return json ? json_incref((json_t *)json) : json_null();
	json_t *all = json_array();
	json_array_foreach(json, i, branch) if (json_array_append_new(all, write_type(in, branch, space, depth + 1)) !=
						0) no_memory(in);
	return all;
}

static json_t *load(struct inliner *in, struct kveil_span text, const char *which)
{
	struct kveil_error why;
	json_t *json = kveil_avro_schema_json(text, &why);

	if (!json)
		fail(in, why.status, which, why.message);
	return json;
}

static void write_text(struct inliner *in, json_t *json, struct kveil_buf *out)
{
	char *text = in->failed ? NULL : json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);

	if (!text && !in->failed)
		no_memory(in);
	if (text)
		kveil_buf_append_str(out, text);
	free(text);
}

enum kveil_status kveil_schemas_inline(struct kveil_span text, const struct kveil_span *references, size_t count,
				       struct kveil_buf *out, struct kveil_error *err)
{
	struct kveil_error scrap;
	struct inliner in = {.names = json_object(), .err = err ? err : &scrap};
	json_t **roots = calloc(count + 1, sizeof *roots);
	size_t bytes = text.len;

	if (!in.names || !roots)
		no_memory(&in);
	for (size_t i = 0; i < count && !in.failed; i++) {
		bytes += references[i].len;
		if (bytes > KVEIL_AVRO_SCHEMA_BYTES)
			fail(&in, KVEIL_E_AVRO_SCHEMA, "a schema and those that it refers to are more than 1 MiB", "");
		else if ((roots[i] = load(&in, references[i], "a schema that it refers to:")))
			collect(&in, roots[i], "", 0);
	}
	if (!in.failed && (roots[count] = load(&in, text, "the schema:"))) {
		json_t *whole = write_type(&in, roots[count], "", 0);
		write_text(&in, whole, out);
		json_decref(whole);
	}
	for (size_t i = 0; roots && i <= count; i++)
		json_decref(roots[i]);
	free(roots);
	json_decref(in.names);
	free(in.definitions);
	if (in.failed)
		return in.err->status;
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "a schema");
}

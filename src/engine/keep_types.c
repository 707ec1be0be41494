/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values and keys in JSON that name a JSON Schema, as Confluent's serializers write them:
 *
 *   00 iiii {"a":…}        {"a":…}, beside a header __value_schema_id or __key_schema_id
 *
 * They go on naming it, so that every value has to keep its type.
 */
#include "engine/internal.h"

enum { FRAME = 5 };

/* Does a JSON text begin with it? Serializers write no blanks. */
static bool begins_json(uint8_t c)
{
	return c && strchr("{[\"-0123456789tfn", c);
}

struct kveil_json_frame kveil_engine_json_frame(const struct kveil_engine *e, enum kveil_part part,
						struct kveil_span text)
{
	if (__builtin_expect(e->record->header_count != 0, 0) && kveil_engine_names_schema(e->record, part))
		return (struct kveil_json_frame){.keeps_types = true};
	if (__builtin_expect(text.len > FRAME && text.data[0] == 0, 0) && begins_json(text.data[FRAME]))
		return (struct kveil_json_frame){.len = FRAME, .keeps_types = true};
	return (struct kveil_json_frame){0};
}

/* --- what a value was, and what comes --- */

enum type { STRING, INTEGER, NUMBER, BOOLEAN, OBJECT, ARRAY, NOTHING, TYPES };

static const struct {
	const char *name, *hint;
} types[TYPES] = {
    [STRING] = {"a string", "mask, encrypt, tokenize, hash and replace: {with: \"\"} keep it one"},
    [INTEGER] = {"an integer", "replace: {with: 0} keeps it one"},
    [NUMBER] = {"a number", "replace: {with: 0} keeps it one"},
    [BOOLEAN] = {"a boolean", "replace: {with: false} keeps it one"},
    [OBJECT] = {"an object", "give the values in it rules of their own"},
    [ARRAY] = {"an array", "give the values in it rules of their own"},
    [NOTHING] = {"null", "on_null: keep"},
};

static enum type number_type(struct kveil_span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (strchr(".eE", text.data[i]))
			return NUMBER;
	return INTEGER;
}

/* Of a value as it is written. */
static enum type type_of(struct kveil_span text)
{
	switch (text.data[0]) {
	case '"':
		return STRING;
	case '{':
		return OBJECT;
	case '[':
		return ARRAY;
	case 't':
	case 'f':
		return BOOLEAN;
	case 'n':
		return NOTHING;
	default:
		return number_type(text);
	}
}

static enum kveil_status refuse(const struct kveil_bound_rule *r, size_t byte, const char *what, const char *would,
				const char *be, const char *hint, struct kveil_error *err)
{
	kveil_fail_at(err, KVEIL_E_UNSUPPORTED_FRAMING, byte, "%s would %s %s, and the record names a JSON Schema",
		      what, would, be);
	kveil_error_hint(err, "%s", hint);
	return r ? kveil_engine_blame(r, byte, err->status, err) : err->status;
}

enum kveil_status kveil_engine_keep_type(const struct kveil_bound_rule *r, struct kveil_span text,
					 const struct kveil_match *m, struct kveil_span result, struct kveil_error *err)
{
	enum type was = type_of(kveil_span_of(text.data + m->start, m->end - m->start));

	if (!result.len)
		return refuse(r, m->start, types[was].name, "be", "removed", types[was].hint, err);
	enum type is = type_of(result);
	if (was == is || (was == NUMBER && is == INTEGER))
		return KVEIL_OK;
	return refuse(r, m->start, types[was].name, "become", types[is].name, types[was].hint, err);
}

enum kveil_status kveil_engine_keep_members(const struct kveil_bound_rule *r, size_t byte, bool comes,
					    struct kveil_error *err)
{
	const char *hint = comes ? "`to` can write a member that is there already" : "unmatched: dead-letter";

	return refuse(r, byte, "a member", "be", comes ? "added" : "removed", hint, err);
}

enum kveil_status kveil_engine_keep_inline(enum kveil_part part, struct kveil_error *err)
{
	return kveil_fail_at(err, KVEIL_E_UNSUPPORTED_FRAMING, 0,
			     "the %s names a JSON Schema, and has a schema inline as well",
			     part == KVEIL_PART_KEY ? "key" : "value");
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Tags of fields. */
#include "format/avro_tags.h"

#include "format/automaton_internal.h"

#include <stdio.h>

enum { MOST_TAG = 256 };

/* 0: the name as it is now, else that of an alias. */
static struct kveil_span name_at(struct kveil_span now, const json_t *json, size_t i)
{
	const json_t *alias = i ? json_array_get(json_object_get(json, "aliases"), i - 1) : NULL;

	if (!i)
		return now;
	return json_is_string(alias) ? kveil_span_of(json_string_value(alias), json_string_length(alias))
				     : KVEIL_SPAN("");
}

/* An alias without a dot is in the namespace of what has it. */
static struct kveil_span space_of(const struct kveil_avro_type *record, struct kveil_span name)
{
	struct kveil_span space = record->name;

	if (name.len && memchr(name.data, '.', name.len))
		return KVEIL_SPAN_NULL;
	while (space.len && space.data[space.len - 1] != '.')
		space.len--;
	return space;
}

static size_t names(const json_t *json)
{
	return 1 + json_array_size(json_object_get(json, "aliases"));
}

size_t kveil_avro_type_names(const struct kveil_avro_type *type)
{
	return names(type->json);
}

struct kveil_span kveil_avro_type_name(const struct kveil_avro_type *type, size_t i)
{
	return name_at(type->name, type->json, i);
}

size_t kveil_avro_field_names(const struct kveil_avro_type *record, const struct kveil_avro_member *field)
{
	return names(record->json) * names(field->json);
}

bool kveil_avro_field_name(const struct kveil_avro_type *record, const struct kveil_avro_member *field, size_t i,
			   char ret[KVEIL_AVRO_FIELD_BYTES])
{
	size_t own = names(field->json);
	struct kveil_span of = name_at(record->name, record->json, i / own),
			  name = name_at(field->name, field->json, i % own), space = space_of(record, of);

	if (space.len + of.len + name.len + 2 > KVEIL_AVRO_FIELD_BYTES)
		return false;
	snprintf(ret, KVEIL_AVRO_FIELD_BYTES, "%.*s%.*s.%.*s", (int)space.len, (const char *)space.data, (int)of.len,
		 (const char *)of.data, (int)name.len, (const char *)name.data);
	return true;
}

uint64_t kveil_avro_tags_cost(const struct kveil_avro_tags *t, const struct kveil_avro_type *record,
			      const struct kveil_avro_member *field)
{
	enum { A_NAME = 4096, A_TAG = 8 };
	size_t count = kveil_avro_field_names(record, field);
	char name[KVEIL_AVRO_FIELD_BYTES];
	uint64_t cost = 0;

	for (size_t i = 0; i < count && i < KVEIL_AVRO_FIELD_NAMES; i++) {
		if (!kveil_avro_field_name(record, field, i, name))
			return UINT64_MAX;
		cost += (uint64_t)t->glob_bytes * strlen(name) + (i ? A_NAME + A_TAG * t->count : 0);
	}
	return count > KVEIL_AVRO_FIELD_NAMES ? UINT64_MAX : cost;
}

/* at[i]: may the glob so far stand for the first i bytes of the name? */
static const char *pass_token(const char *glob, const char *name, size_t len, bool *at)
{
	bool any = glob[0] == '*' && glob[1] == '*', runs = false;

	for (size_t i = 0; *glob == '*' && i <= len; i++) {
		runs = at[i] || (runs && (any || name[i - 1] != '.'));
		at[i] = runs;
	}
	if (*glob == '*')
		return glob + 1 + any;
	for (size_t i = len; i > 0; i--)
		at[i] = at[i - 1] && (*glob == name[i - 1] || (*glob == '?' && name[i - 1] != '.'));
	at[0] = false;
	return glob + 1;
}

static bool takes(const char *glob, const char *name)
{
	if (!strpbrk(glob, "*?"))
		return strcmp(glob, name) == 0;
	bool at[KVEIL_AVRO_FIELD_BYTES];
	size_t len = strlen(name);
	memset(at, 0, len + 1);
	at[0] = true;
	while (*glob && memchr(at, 1, len + 1))
		glob = pass_token(glob, name, len, at);
	return at[len];
}

static size_t add(const char *tag, const char *ret[KVEIL_AVRO_FIELD_TAGS], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(ret[i], tag) == 0)
			return count;
	if (count < KVEIL_AVRO_FIELD_TAGS)
		ret[count++] = tag;
	return count;
}

/* By the names of the field. */
static size_t add_named(const struct kveil_avro_tags *t, const struct kveil_avro_type *record,
			const struct kveil_avro_member *field, const char *ret[KVEIL_AVRO_FIELD_TAGS], size_t count)
{
	char name[KVEIL_AVRO_FIELD_BYTES];

	for (size_t n = kveil_avro_field_names(record, field), i = 0; i < n; i++) {
		bool is_whole = kveil_avro_field_name(record, field, i, name);
		for (size_t k = 0; is_whole && k < t->count; k++)
			if (takes(t->more[k].path, name))
				count = add(t->more[k].tag, ret, count);
	}
	return count;
}

size_t kveil_avro_tags_of(const struct kveil_avro_tags *t, const struct kveil_avro_type *record,
			  const struct kveil_avro_member *field, const char *ret[KVEIL_AVRO_FIELD_TAGS])
{
	const json_t *list = t ? json_object_get(field->json, t->property) : NULL, *tag;
	size_t count = 0, i;

	if (json_is_string(list))
		count = add(json_string_value(list), ret, count);
	json_array_foreach(list, i, tag)
	{
		if (json_is_string(tag))
			count = add(json_string_value(tag), ret, count);
	}
	return t && t->count ? add_named(t, record, field, ret, count) : count;
}

static bool has(const uint32_t *ids, size_t count, uint32_t id)
{
	for (size_t i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

size_t kveil_avro_tag_rules(const struct kveil_automaton *a, const char *tag, uint32_t *ids, size_t count, size_t cap)
{
	const struct kveil_automaton_state *start = &a->states[a->start];
	char name[MOST_TAG];
	int n = snprintf(name, sizeof name, KVEIL_AVRO_TAG_NAME "%s", tag);
	size_t found, others;

	if (n < 0 || (size_t)n >= sizeof name)
		return count;
	uint32_t state = kveil_automaton_on_plain_name(start, (const uint8_t *)name, (size_t)n, (size_t)n);
	const uint32_t *of_name = kveil_automaton_accepts(a, state, &found);
	/* What a wildcard names has its place, and is not meant here. */
	const uint32_t *of_any = kveil_automaton_accepts(a, start->default_name, &others);
	for (size_t i = 0; i < found; i++) {
		if (has(of_any, others, of_name[i]) || has(ids, count, of_name[i]))
			continue;
		if (count == cap)
			return cap + 1;
		size_t k = count++;
		for (; k && ids[k - 1] > of_name[i]; k--)
			ids[k] = ids[k - 1];
		ids[k] = of_name[i];
	}
	return count;
}

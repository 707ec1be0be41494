/* SPDX-License-Identifier: Apache-2.0 */
/* Tags of fields. */
#include "format/avro_tags.h"

#include "format/automaton_internal.h"

#include <stdio.h>

enum { MOST_TAG = 256 };

bool kveil_avro_is_long_field(const struct kveil_avro_type *record, const struct kveil_avro_member *field)
{
	return record->name.len + field->name.len + 2 > KVEIL_AVRO_FIELD_BYTES;
}

bool kveil_avro_field_name(const struct kveil_avro_type *record, const struct kveil_avro_member *field,
			   char ret[KVEIL_AVRO_FIELD_BYTES])
{
	if (kveil_avro_is_long_field(record, field))
		return false;
	snprintf(ret, KVEIL_AVRO_FIELD_BYTES, "%.*s.%.*s", (int)record->name.len, (const char *)record->name.data,
		 (int)field->name.len, (const char *)field->name.data);
	return true;
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

size_t kveil_avro_tags_of(const struct kveil_avro_tags *t, const struct kveil_avro_type *record,
			  const struct kveil_avro_member *field, const char *ret[KVEIL_AVRO_FIELD_TAGS])
{
	const json_t *list = t ? json_object_get(field->json, t->property) : NULL, *tag;
	char name[KVEIL_AVRO_FIELD_BYTES];
	size_t count = 0, i;

	if (json_is_string(list))
		count = add(json_string_value(list), ret, count);
	json_array_foreach(list, i, tag)
	{
		if (json_is_string(tag))
			count = add(json_string_value(tag), ret, count);
	}
	bool is_named = t && t->count && kveil_avro_field_name(record, field, name);
	for (i = 0; is_named && i < t->count; i++)
		if (takes(t->more[i].path, name))
			count = add(t->more[i].tag, ret, count);
	return count;
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

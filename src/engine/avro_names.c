/* SPDX-License-Identifier: Apache-2.0 */
/* What a schema has for the rules, beside those before it: a tag that is gone from a field, a rule that names nothing
 * any more. Where a tag is gone the field stays protected; where a field is, somebody has to look. */
#include "engine/typed.h"
#include "rules/tags.h"

#include <inttypes.h>
#include <stdio.h>

/* In front of what is neither a field nor a tag. */
enum { OTHER = '\002' };

bool kveil_engine_is_called(const char *record, const struct kveil_avro_type *type)
{
	for (size_t i = 0; i < kveil_avro_type_names(type); i++)
		if (kveil_record_is_called(record, kveil_avro_type_name(type, i)))
			return true;
	return false;
}

static char *format(struct kveil_engine_schema *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static char *format(struct kveil_engine_schema *s, const char *fmt, ...)
{
	enum { ROOM = 512 };
	char *text = kveil_arena_alloc(&s->arena, ROOM);
	va_list args;

	va_start(args, fmt);
	if (text)
		vsnprintf(text, ROOM, fmt, args);
	va_end(args);
	return text;
}

/* Whole: of a tag's path every byte counts. */
static char *join(struct kveil_engine_schema *s, const char *text, const char *more)
{
	size_t n = strlen(text), m = strlen(more) + 1;
	char *to = kveil_arena_alloc(&s->arena, n + m);

	if (!to)
		return NULL;
	memcpy(to, text, n);
	memcpy(to + n, more, m);
	return to;
}

static char *copy(struct kveil_engine_schema *s, const char *text)
{
	return join(s, text, "");
}

/* "\002topic:User\002", and behind it a tag: where a field was tagged. The last word of the value's type is enough: in
 * another namespace it is the same type to Avro. Of its i-th name. */
static const char *place_of(const struct kveil_schema_source *source, struct kveil_engine_schema *s, size_t i)
{
	const char *topic = source->topic ? source->topic : "";
	struct kveil_span name = kveil_avro_last_word(kveil_avro_type_name(&s->writer->types[0], i));
	size_t size = strlen(topic) + name.len + 4;
	char *place = kveil_arena_alloc(&s->arena, size);

	if (place)
		snprintf(place, size, "\002%s:%.*s\002", topic, (int)name.len, name.len ? (const char *)name.data : "");
	return place;
}

/* What such values had, under any name of their type. false: no memory. */
static bool collect_tagged(const struct kveil_schema_source *source, struct kveil_engine_schema *s,
			   const struct kveil_seen_pair *seen, size_t count)
{
	size_t names = kveil_avro_type_names(&s->writer->types[0]);

	names = names < KVEIL_AVRO_FIELD_NAMES ? names : KVEIL_AVRO_FIELD_NAMES;
	const char **places = kveil_arena_array(&s->arena, names, sizeof *places);
	s->tagged = kveil_arena_array(&s->arena, count + 1, sizeof *s->tagged);
	for (size_t i = 0; places && i < names; i++)
		if (!(places[i] = place_of(source, s, i)))
			return false;
	for (size_t k = 0; places && s->tagged && k < count; k++)
		for (size_t i = 0, n; seen[k].name[0] == OTHER && i < names; i++) {
			if (strncmp(seen[k].name, places[i], n = strlen(places[i])) != 0)
				continue;
			s->tagged[s->tagged_count++] =
			    (struct kveil_tagged){.name = seen[k].word, .tag = seen[k].name + n};
			break;
		}
	return places && s->tagged;
}

enum kveil_status kveil_engine_collect_tags(const struct kveil_engine *e, const struct kveil_schema_source *source,
					    struct kveil_engine_schema *s, struct kveil_error *err)
{
	struct kveil_seen_pair *seen;
	size_t count, glob_bytes = 0;

	if (!kveil_plan_has_tags(e->plan) || s->part != KVEIL_PART_VALUE)
		return KVEIL_OK;
	if (!kveil_seen_copy(kveil_plan_seen(e->plan), &s->arena, &seen, &count) ||
	    !collect_tagged(source, s, seen, count))
		return kveil_no_memory(err, "a schema");
	struct kveil_avro_tag *all = kveil_arena_array(&s->arena, source->tag_count + count + 1, sizeof *all);
	if (!all)
		return kveil_no_memory(err, "a schema");
	for (size_t i = 0; i < source->tag_count; i++) {
		char *path = copy(s, source->tags[i].path), *tag = copy(s, source->tags[i].tag);
		if (!path || !tag)
			return kveil_no_memory(err, "a schema");
		all[i] = (struct kveil_avro_tag){path, tag};
		glob_bytes += strpbrk(path, "*?") ? strlen(path) : 0;
	}
	s->tags = (struct kveil_avro_tags){.property = kveil_plan_tag_property(e->plan),
					   .more = all,
					   .count = source->tag_count,
					   .own = source->tag_count,
					   .glob_bytes = glob_bytes};
	for (size_t i = 0; i < count; i++)
		if (seen[i].name[0] != OTHER && seen[i].word[0] != OTHER)
			all[s->tags.count++] = (struct kveil_avro_tag){seen[i].name, seen[i].word};
	return KVEIL_OK;
}

/* Once a schema and plan, however many threads meet it. what NULL: no memory to tell it. */
static void tell(const struct kveil_engine *e, struct kveil_engine_schema *s, const char *what)
{
	char schema[32];

	snprintf(schema, sizeof schema, "\002%016" PRIx64, s->writer->fingerprint);
	if (what && kveil_seen_note(kveil_plan_seen(e->plan), schema, what) != KVEIL_SEEN_KNOWN &&
	    s->lost_count < KVEIL_MOST_LOST)
		s->lost[s->lost_count++] = what;
}

static bool is_in(const char *const *tags, size_t count, const char *tag)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(tags[i], tag) == 0)
			return true;
	return false;
}

static bool stands_for_rules(const struct kveil_engine *e, const char *tag)
{
	uint32_t ids[KVEIL_AVRO_FIELD_TAGS];

	return kveil_avro_tag_rules(e->parts[KVEIL_PART_VALUE].automaton, tag, ids, 0, KVEIL_AVRO_FIELD_TAGS) > 0;
}

/* Also by the name that it has now, where a tag came by another: the next schema may lack the alias. false: no room. */
static bool remember(const struct kveil_engine *e, struct kveil_engine_schema *s, const char *place, const char *name,
		     const char *tag)
{
	const char *where = join(s, place, tag);

	if (!stands_for_rules(e, tag))
		return true;
	if (where)
		(void)kveil_seen_note(kveil_plan_seen(e->plan), where, name);
	return kveil_seen_note(kveil_plan_seen(e->plan), name, tag) != KVEIL_SEEN_FULL;
}

/* now: what the field, that was called so, is called now; tags: its own. */
static void look_back(const struct kveil_engine *e, struct kveil_engine_schema *s, const char *name, const char *now,
		      const char *const *tags, size_t count)
{
	for (size_t i = 0; i < s->tagged_count; i++)
		s->tagged[i].is_there |= strcmp(s->tagged[i].name, name) == 0;
	for (size_t i = s->tags.own; i < s->tags.count; i++)
		if (strcmp(s->tags.more[i].path, name) == 0 && !is_in(tags, count, s->tags.more[i].tag))
			tell(e, s,
			     format(s, "%s is tagged %s no longer: it stays protected until SIGHUP", now,
				    s->tags.more[i].tag));
}

/* false: no room to remember what has to be. */
static bool note_field(const struct kveil_engine *e, struct kveil_engine_schema *s, const char *place,
		       const struct kveil_avro_type *record, const struct kveil_avro_member *field)
{
	struct kveil_avro_tags own = s->tags;
	const char *tags[KVEIL_AVRO_FIELD_TAGS], *all[KVEIL_AVRO_FIELD_TAGS];
	char now[KVEIL_AVRO_FIELD_BYTES], name[KVEIL_AVRO_FIELD_BYTES];
	bool ok = true;

	own.count = own.own;
	size_t count = kveil_avro_tags_of(&own, record, field, tags);
	size_t all_count = kveil_avro_tags_of(&s->tags, record, field, all);
	if ((!all_count && !s->tagged_count) || !kveil_avro_field_name(record, field, 0, now))
		return true;
	for (size_t i = 0; ok && i < all_count; i++)
		ok = remember(e, s, place, now, all[i]);
	for (size_t i = 0; i < kveil_avro_field_names(record, field); i++)
		if (kveil_avro_field_name(record, field, i, name))
			look_back(e, s, name, now, tags, count);
	return ok;
}

/* false: no room to remember what has to be. */
static bool note_fields(const struct kveil_engine *e, const struct kveil_schema_source *source,
			struct kveil_engine_schema *s)
{
	const char *place = place_of(source, s, 0);
	bool ok = place != NULL;

	for (uint32_t i = 0; ok && i < s->writer->count; i++) {
		const struct kveil_avro_type *t = &s->writer->types[i];
		for (uint32_t k = 0; t->kind == KVEIL_AVRO_RECORD && ok && k < t->member_count; k++)
			ok = note_field(e, s, place, t, &t->members[k]);
	}
	for (size_t i = 0; i < s->tagged_count; i++)
		if (!s->tagged[i].is_there)
			tell(e, s,
			     format(s,
				    "it has no %.200s, which was tagged %.100s: under another name it passes in clear",
				    s->tagged[i].name, s->tagged[i].tag));
	return ok;
}

static enum kveil_status too_many(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_AVRO_SCHEMA,
			  "more tagged fields than can be remembered: name some by their path");
}

/* --- what was derived before this program began --- */

/* Without what a derived schema adds to the name of a type that became two. */
static struct kveil_span first_name(struct kveil_span name)
{
	static const char suffix[] = KVEIL_AVRO_HALF;
	size_t n = name.len, m = sizeof suffix - 1;

	while (n && name.data[n - 1] >= '0' && name.data[n - 1] <= '9')
		n--;
	bool is_one = n > m && memcmp(name.data + n - m, suffix, m) == 0;
	return is_one ? kveil_span_of(name.data, n - m) : name;
}

/* By a name that the writer's type has, or had. */
static bool are_of_one_type(const struct kveil_avro_type *writer, const struct kveil_avro_type *derived)
{
	struct kveil_span name = kveil_avro_last_word(derived->name), first = first_name(name);
	bool is_one = false;

	for (size_t i = 0; i < kveil_avro_type_names(writer) && !is_one; i++) {
		struct kveil_span own = kveil_avro_last_word(kveil_avro_type_name(writer, i));
		is_one = kveil_span_eq(own, name) || kveil_span_eq(own, first);
	}
	return is_one && writer->kind == derived->kind;
}

/* What rules took away as a whole is told of by name only. */
static bool recall_removed(const struct kveil_engine *e, const struct kveil_schema_source *source,
			   struct kveil_engine_schema *s, const struct kveil_avro_type *record)
{
	const json_t *removed = json_object_get(record->json, KVEIL_AVRO_REMOVED), *tags, *tag;
	const char *place = place_of(source, s, 0), *field;
	char name[KVEIL_AVRO_FIELD_BYTES];
	bool ok = place != NULL;
	size_t i;

	json_object_foreach((json_t *)removed, field, tags)
	{
		struct kveil_avro_member member = {.name = kveil_span_str(field), .json = json_null()};
		if (!kveil_avro_field_name(record, &member, 0, name))
			continue;
		json_array_foreach(tags, i, tag)
		{
			ok = ok && (!json_is_string(tag) || remember(e, s, place, name, json_string_value(tag)));
		}
	}
	return ok;
}

static bool recall_names(const struct kveil_engine *e, const struct kveil_schema_source *source,
			 struct kveil_engine_schema *s)
{
	bool ok = note_fields(e, source, s);

	for (uint32_t i = 0; ok && i < s->writer->count; i++)
		if (s->writer->types[i].kind == KVEIL_AVRO_RECORD)
			ok = recall_removed(e, source, s, &s->writer->types[i]);
	return ok;
}

/* Under the names that the writer gives the types, too. */
static bool recall_all(const struct kveil_engine *e, const struct kveil_schema_source *source,
		       struct kveil_engine_schema *s)
{
	bool ok = recall_names(e, source, s);

	for (uint32_t i = 0; i < s->writer->count; i++)
		s->writer->types[i].name = first_name(s->writer->types[i].name);
	return ok && recall_names(e, source, s);
}

enum kveil_status kveil_engine_recall(struct kveil_engine *e, struct kveil_span text, struct kveil_span derived,
				      const char *topic, bool *ret_is_last, struct kveil_error *err)
{
	const struct kveil_schema_source source = {.topic = topic};
	struct kveil_engine_schema s = {.part = KVEIL_PART_VALUE,
					.tags = {.property = kveil_plan_tag_property(e->plan)}};
	struct kveil_avro_schema *writer = NULL;

	kveil_arena_init(&s.arena, 0);
	enum kveil_status status = kveil_avro_schema_parse(text, &writer, err);
	*ret_is_last = status == KVEIL_E_AVRO_SCHEMA;
	if (!status)
		status = kveil_avro_schema_parse(derived, &s.writer, err);
	bool is_broken = status == KVEIL_E_AVRO_SCHEMA;
	if (!status && are_of_one_type(&writer->types[0], &s.writer->types[0])) {
		*ret_is_last = true;
		status = recall_all(e, &source, &s) ? KVEIL_OK : too_many(err);
	}
	kveil_avro_schema_free(writer);
	kveil_avro_schema_free(s.writer);
	kveil_arena_clear(&s.arena);
	return is_broken ? KVEIL_OK : status;
}

/* --- what the schema at hand lacks --- */

/* By number of a bound rule: is it about some value? NULL: no memory. */
static bool *find_named(const struct kveil_engine *e, struct kveil_engine_schema *s)
{
	const struct kveil_avro_program *p = s->program;
	bool *named = kveil_arena_array(&s->arena, e->rule_count + 1, sizeof *named);

	if (!named)
		return NULL;
	memset(named, 0, (e->rule_count + 1) * sizeof *named);
	for (uint32_t i = 0; i < p->count; i++)
		for (size_t k = 0; k < p->nodes[i].id_count; k++) {
			uint32_t id = p->nodes[i].ids[k];
			if (id < e->rule_count && !named[id])
				named[id] = kveil_engine_is_about(&e->rules[id], s->writer, &p->nodes[i]);
		}
	/* A list of ids has the first of rules with one path. */
	for (uint32_t i = 0; i < e->rule_count; i++)
		for (uint32_t k = 0; k < i && !named[i]; k++)
			named[i] = named[k] && e->rules[k].part == e->rules[i].part &&
				   kveil_path_equal(e->rules[k].path, e->rules[i].path);
	return named;
}

/* One rule of the file may stand at several places of an event. */
static bool is_named(const struct kveil_engine *e, const bool *named, enum kveil_part part, uint32_t rule)
{
	for (uint32_t i = 0; i < e->rule_count; i++)
		if (named[i] && e->rules[i].part == part && e->rules[i].rule->index == rule)
			return true;
	return false;
}

/* Of one type's schemas: another type need not have the field. false: no memory. */
static bool note_rules(const struct kveil_engine *e, struct kveil_engine_schema *s)
{
	const struct kveil_avro_type *root = &s->writer->types[0];
	const bool *named = find_named(e, s);
	char name[KVEIL_AVRO_FIELD_BYTES], word[32];

	if (!named || !root->name.len || root->name.len >= sizeof name)
		return named != NULL;
	snprintf(name, sizeof name, "%.*s", (int)root->name.len, (const char *)root->name.data);
	for (uint32_t i = 0; i < e->plan->own_rule_count; i++) {
		snprintf(word, sizeof word, "\002%d:%u", (int)s->part, (unsigned)i);
		if (is_named(e, named, s->part, i))
			(void)kveil_seen_note(kveil_plan_seen(e->plan), name, word);
		else if (kveil_seen_has(kveil_plan_seen(e->plan), name, word))
			tell(e, s,
			     format(s, "%.200s has nothing that the rule for %.200s names, and had it before", name,
				    e->plan->rules[i].path_text));
	}
	return true;
}

enum kveil_status kveil_engine_note_names(const struct kveil_engine *e, const struct kveil_schema_source *source,
					  struct kveil_engine_schema *s, struct kveil_error *err)
{
	if (!note_rules(e, s))
		return kveil_no_memory(err, "a schema");
	if (!s->tags.property || note_fields(e, source, s))
		return KVEIL_OK;
	return too_many(err);
}

const char *kveil_engine_schema_lost(const struct kveil_engine_schema *s, size_t i)
{
	return i < s->lost_count ? s->lost[i] : NULL;
}

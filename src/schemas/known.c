/* SPDX-License-Identifier: Apache-2.0 */
/* What a client knows of schemas, within bounds. */
#include "schemas/known.h"

#include <stdatomic.h>
#include <stdlib.h>

/* --- a schema --- */

struct schema {
	struct kveil_schemas_schema shown; /* first */
	atomic_uint references;
	size_t bytes;
	char rest[]; /* tags, then texts */
};

static char *copy_text(char **at, const char *text)
{
	size_t n = strlen(text) + 1;
	char *copy = *at;

	memcpy(copy, text, n);
	*at += n;
	return copy;
}

const struct kveil_schemas_schema *kveil_schemas_schema_make(const struct kveil_schemas_content *content)
{
	size_t encrypt = content->encrypt ? strlen(content->encrypt) + 1 : 0;
	size_t bytes = sizeof(struct schema) + content->tag_count * sizeof(struct kveil_schema_tag) +
		       content->text.len + 1 + content->tags.len + encrypt;
	struct schema *s = calloc(1, bytes);

	if (!s)
		return NULL;
	struct kveil_schema_tag *tags = (struct kveil_schema_tag *)s->rest;
	char *at = (char *)(tags + content->tag_count);
	const char *tag = (const char *)content->tags.data;
	for (size_t i = 0; i < content->tag_count; i++) {
		tags[i].path = copy_text(&at, tag);
		tag += strlen(tag) + 1;
		tags[i].tag = copy_text(&at, tag);
		tag += strlen(tag) + 1;
	}
	s->references = 1;
	s->bytes = bytes;
	s->shown = (struct kveil_schemas_schema){.type = content->type,
						 .rules = content->rules,
						 .encrypt = encrypt ? copy_text(&at, content->encrypt) : NULL,
						 .has_references = content->has_references,
						 .tags = tags,
						 .tag_count = content->tag_count};
	strncpy(s->shown.guid, content->guid, sizeof s->shown.guid - 1);
	memcpy(at, content->text.data, content->text.len);
	s->shown.text = kveil_span_of(at, content->text.len);
	return &s->shown;
}

size_t kveil_schemas_schema_bytes(const struct kveil_schemas_schema *s)
{
	return ((const struct schema *)s)->bytes;
}

void kveil_schemas_schema_ref(const struct kveil_schemas_schema *s)
{
	atomic_fetch_add(&((struct schema *)(uintptr_t)s)->references, 1);
}

void kveil_schemas_schema_unref(const struct kveil_schemas_schema *s)
{
	struct schema *own = (struct schema *)(uintptr_t)s;

	if (own && atomic_fetch_sub(&own->references, 1) == 1)
		free(own);
}

/* --- what is known --- */

struct known {
	struct kveil_schemas_key key;
	const struct kveil_schemas_schema *schema;
	uint64_t used; /* the greater the later */
};

struct kveil_schemas_cache {
	struct known entries[KVEIL_SCHEMAS_CACHE_COUNT];
	size_t count, bytes;
	uint64_t uses;
};

static bool is_same(const struct kveil_schemas_key *a, const struct kveil_schemas_key *b)
{
	return a->id == b->id && a->is_guid == b->is_guid && memcmp(a->guid, b->guid, sizeof a->guid) == 0 &&
	       strcmp(a->context, b->context) == 0;
}

struct kveil_schemas_cache *kveil_schemas_cache_new(void)
{
	return calloc(1, sizeof(struct kveil_schemas_cache));
}

static void drop(struct kveil_schemas_cache *c, size_t i)
{
	c->bytes -= kveil_schemas_schema_bytes(c->entries[i].schema);
	kveil_schemas_schema_unref(c->entries[i].schema);
	c->entries[i] = c->entries[--c->count];
}

static size_t oldest(const struct kveil_schemas_cache *c)
{
	size_t at = 0;

	for (size_t i = 1; i < c->count; i++)
		if (c->entries[i].used < c->entries[at].used)
			at = i;
	return at;
}

void kveil_schemas_cache_free(struct kveil_schemas_cache *c)
{
	while (c && c->count)
		drop(c, c->count - 1);
	free(c);
}

const struct kveil_schemas_schema *kveil_schemas_cache_get(struct kveil_schemas_cache *c,
							   const struct kveil_schemas_key *key)
{
	for (size_t i = 0; i < c->count; i++) {
		if (!is_same(&c->entries[i].key, key))
			continue;
		c->entries[i].used = ++c->uses;
		kveil_schemas_schema_ref(c->entries[i].schema);
		return c->entries[i].schema;
	}
	return NULL;
}

void kveil_schemas_cache_put(struct kveil_schemas_cache *c, const struct kveil_schemas_key *key,
			     const struct kveil_schemas_schema *schema)
{
	size_t bytes = kveil_schemas_schema_bytes(schema);

	while (c->count == KVEIL_SCHEMAS_CACHE_COUNT || (c->count && c->bytes + bytes > KVEIL_SCHEMAS_CACHE_BYTES))
		drop(c, oldest(c));
	c->entries[c->count++] = (struct known){.key = *key, .schema = schema, .used = ++c->uses};
	c->bytes += bytes;
	kveil_schemas_schema_ref(schema);
}

/* --- what is not --- */

/* More than can be in their window at once: the allowance, and what comes back to it meanwhile. */
enum { MOST_UNKNOWN = 4 * KVEIL_SCHEMAS_UNKNOWN_IDS };

struct unknown {
	struct kveil_schemas_key key;
	int64_t since_ms; /* unknown everywhere; INT64_MAX: not yet everywhere */
	int64_t due_ms;   /* to be asked about again */
	bool is_decided;  /* UNKNOWN until then */
};

struct kveil_schemas_unknown {
	struct unknown entries[MOST_UNKNOWN];
	size_t count;
	int64_t window_ms, unknown_ms;
	int64_t allowance_ms; /* of the window; an id costs window / UNKNOWN_IDS */
	int64_t filled_ms;    /* when it was filled up last */
};

struct kveil_schemas_unknown *kveil_schemas_unknown_new(int64_t window_ms, int64_t unknown_ms)
{
	struct kveil_schemas_unknown *u = calloc(1, sizeof *u);

	if (!u)
		return NULL;
	u->window_ms = window_ms;
	u->unknown_ms = unknown_ms;
	u->allowance_ms = window_ms;
	return u;
}

void kveil_schemas_unknown_free(struct kveil_schemas_unknown *u)
{
	free(u);
}

static struct unknown *find(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key)
{
	for (size_t i = 0; i < u->count; i++)
		if (is_same(&u->entries[i].key, key))
			return &u->entries[i];
	return NULL;
}

static int64_t cost_ms(const struct kveil_schemas_unknown *u)
{
	int64_t cost = u->window_ms / KVEIL_SCHEMAS_UNKNOWN_IDS;

	return cost ? cost : 1;
}

static bool can_afford(struct kveil_schemas_unknown *u, int64_t now_ms)
{
	if (u->filled_ms)
		u->allowance_ms += now_ms - u->filled_ms;
	if (u->allowance_ms > u->window_ms)
		u->allowance_ms = u->window_ms;
	u->filled_ms = now_ms;
	return u->allowance_ms >= cost_ms(u);
}

enum kveil_status kveil_schemas_unknown_look(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key,
					     int64_t now_ms)
{
	const struct unknown *e = find(u, key);

	if (!e)
		return can_afford(u, now_ms) ? KVEIL_OK : KVEIL_E_SCHEMA_PENDING;
	if (now_ms >= e->due_ms)
		return KVEIL_OK;
	return e->is_decided ? KVEIL_E_UNKNOWN_SCHEMA : KVEIL_E_SCHEMA_PENDING;
}

static struct unknown *add(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key)
{
	size_t at = u->count;

	if (at == MOST_UNKNOWN) { /* the one that is due first has told least, or is over */
		at = 0;
		for (size_t i = 1; i < u->count; i++)
			if (u->entries[i].due_ms < u->entries[at].due_ms)
				at = i;
	} else {
		u->count++;
	}
	u->allowance_ms -= cost_ms(u);
	u->entries[at] = (struct unknown){.key = *key, .since_ms = INT64_MAX};
	return &u->entries[at];
}

enum kveil_status kveil_schemas_unknown_note(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key,
					     bool everywhere, int64_t now_ms)
{
	struct unknown *e = find(u, key);

	if (!e)
		e = add(u, key);
	if (!everywhere)
		e->since_ms = INT64_MAX;
	else if (e->since_ms == INT64_MAX)
		e->since_ms = now_ms;
	e->is_decided = everywhere && now_ms - e->since_ms >= u->window_ms;
	e->due_ms = now_ms + (e->is_decided ? u->unknown_ms : u->window_ms / 4);
	return e->is_decided ? KVEIL_E_UNKNOWN_SCHEMA : KVEIL_E_SCHEMA_PENDING;
}

void kveil_schemas_unknown_forget(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key)
{
	struct unknown *e = find(u, key);

	if (e)
		*e = u->entries[--u->count];
}

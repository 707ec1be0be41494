/* SPDX-License-Identifier: Apache-2.0 */
/* What rules have met, under a lock. */
#include "rules/seen.h"

#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct kveil_seen {
	pthread_mutex_t lock;
	struct kveil_arena arena;
	struct kveil_map map;          /* "name\nword" to its pair */
	struct kveil_seen_pair *pairs; /* in the order in which they came */
	size_t count;
};

struct kveil_seen *kveil_seen_new(void)
{
	struct kveil_seen *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	pthread_mutex_init(&s->lock, NULL);
	kveil_arena_init(&s->arena, 0);
	return s;
}

void kveil_seen_free(struct kveil_seen *s)
{
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	kveil_map_clear(&s->map);
	kveil_arena_clear(&s->arena);
	free(s->pairs);
	free(s);
}

/* Under lock: the texts of one pair, behind each other. */
static struct kveil_span copy_pair(struct kveil_arena *a, const char *name, const char *word)
{
	size_t n = strlen(name), m = strlen(word);
	char *text = kveil_arena_alloc(a, n + m + 2);

	if (!text)
		return KVEIL_SPAN_NULL;
	memcpy(text, name, n + 1);
	memcpy(text + n + 1, word, m + 1);
	return kveil_span_of(text, n + m + 1);
}

static bool grow(struct kveil_seen *s)
{
	if (s->count & (s->count - 1))
		return true;
	struct kveil_seen_pair *more = realloc(s->pairs, (s->count ? 2 * s->count : 1) * sizeof *more);
	s->pairs = more ? more : s->pairs;
	return more != NULL;
}

/* Under lock. */
static enum kveil_seen_noted note(struct kveil_seen *s, const char *name, const char *word)
{
	struct kveil_span text = s->count < KVEIL_SEEN_MOST ? copy_pair(&s->arena, name, word) : KVEIL_SPAN_NULL;

	if (!text.data || !grow(s) || !kveil_map_put(&s->map, text, s))
		return KVEIL_SEEN_FULL;
	s->pairs[s->count++] =
	    (struct kveil_seen_pair){(const char *)text.data, (const char *)text.data + strlen(name) + 1};
	return KVEIL_SEEN_NEW;
}

/* Under lock. */
static bool has(struct kveil_seen *s, const char *name, const char *word)
{
	struct kveil_arena scratch;

	kveil_arena_init(&scratch, 0);
	struct kveil_span text = copy_pair(&scratch, name, word);
	bool found = text.data && kveil_map_get(&s->map, text);
	kveil_arena_clear(&scratch);
	return found;
}

enum kveil_seen_noted kveil_seen_note(struct kveil_seen *s, const char *name, const char *word)
{
	pthread_mutex_lock(&s->lock);
	enum kveil_seen_noted noted = has(s, name, word) ? KVEIL_SEEN_KNOWN : note(s, name, word);
	pthread_mutex_unlock(&s->lock);
	return noted;
}

bool kveil_seen_has(struct kveil_seen *s, const char *name, const char *word)
{
	pthread_mutex_lock(&s->lock);
	bool found = has(s, name, word);
	pthread_mutex_unlock(&s->lock);
	return found;
}

bool kveil_seen_copy(struct kveil_seen *s, struct kveil_arena *a, struct kveil_seen_pair **ret, size_t *ret_count)
{
	pthread_mutex_lock(&s->lock);
	bool ok = (*ret = kveil_arena_array(a, s->count + 1, sizeof **ret)) != NULL;
	*ret_count = ok ? s->count : 0;
	for (size_t i = 0; ok && i < s->count; i++) {
		const struct kveil_seen_pair *p = &s->pairs[i];
		struct kveil_span text = copy_pair(a, p->name, p->word);
		ok = text.data != NULL;
		if (ok)
			(*ret)[i] = (struct kveil_seen_pair){(const char *)text.data,
							     (const char *)text.data + strlen(p->name) + 1};
	}
	pthread_mutex_unlock(&s->lock);
	return ok;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What rules have met: a list that only grows, so that threads need no lock. */
#include "rules/seen.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct entry {
	struct entry *next;
	const char *word; /* behind name */
	char name[];
};

struct kveil_seen {
	_Atomic(struct entry *) first;
	_Atomic size_t count;
};

struct kveil_seen *kveil_seen_new(void)
{
	return calloc(1, sizeof(struct kveil_seen));
}

void kveil_seen_free(struct kveil_seen *s)
{
	for (struct entry *e = s ? atomic_load(&s->first) : NULL, *next; e; e = next) {
		next = e->next;
		free(e);
	}
	free(s);
}

/* From first on, up to last and without it. */
static bool stands_in(const struct entry *first, const struct entry *last, const char *name, const char *word)
{
	for (const struct entry *e = first; e != last; e = e->next)
		if (strcmp(e->name, name) == 0 && strcmp(e->word, word) == 0)
			return true;
	return false;
}

static struct entry *new_entry(const char *name, const char *word)
{
	size_t n = strlen(name) + 1, m = strlen(word) + 1;
	struct entry *e = malloc(sizeof *e + n + m);

	if (!e)
		return NULL;
	memcpy(e->name, name, n);
	memcpy(e->name + n, word, m);
	e->word = e->name + n;
	return e;
}

enum kveil_seen_noted kveil_seen_note(struct kveil_seen *s, const char *name, const char *word)
{
	struct entry *first = atomic_load_explicit(&s->first, memory_order_acquire);

	if (stands_in(first, NULL, name, word))
		return KVEIL_SEEN_KNOWN;
	struct entry *e = atomic_load(&s->count) < KVEIL_SEEN_MOST ? new_entry(name, word) : NULL;
	if (!e)
		return KVEIL_SEEN_FULL;
	e->next = first;
	while (
	    !atomic_compare_exchange_weak_explicit(&s->first, &first, e, memory_order_acq_rel, memory_order_acquire)) {
		/* What another thread has put in front meanwhile. */
		if (stands_in(first, e->next, name, word)) {
			free(e);
			return KVEIL_SEEN_KNOWN;
		}
		e->next = first;
	}
	atomic_fetch_add(&s->count, 1);
	return KVEIL_SEEN_NEW;
}

bool kveil_seen_has(struct kveil_seen *s, const char *name, const char *word)
{
	return stands_in(atomic_load_explicit(&s->first, memory_order_acquire), NULL, name, word);
}

bool kveil_seen_copy(struct kveil_seen *s, struct kveil_arena *a, struct kveil_seen_pair **ret, size_t *ret_count)
{
	const struct entry *first = atomic_load_explicit(&s->first, memory_order_acquire);
	size_t count = 0;

	for (const struct entry *e = first; e; e = e->next)
		count++;
	*ret_count = 0;
	*ret = kveil_arena_array(a, count + 1, sizeof **ret);
	for (const struct entry *e = first; *ret && e; e = e->next)
		(*ret)[(*ret_count)++] = (struct kveil_seen_pair){e->name, e->word};
	return *ret != NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What there is, a version at a time, for people and metrics. */
#include "keys/internal.h"

#include "base/clock.h"

#include <stdlib.h>

static const char *withheld_state(const struct kveil_keystore *ks, uint32_t id, int64_t *ret_due_ms)
{
	const struct kveil_withheld *w = kveil_keystore_withheld(ks, id);

	*ret_due_ms = w ? w->due_ms : 0;
	return !w ? NULL : w->due_ms ? "scheduled" : "disabled";
}

static const char *state_of(const struct kveil_key_version *v, const struct kveil_key_version *active, int64_t now_ms)
{
	switch (v->record.state) {
	case KVEIL_KEY_LIVE:
		break;
	case KVEIL_KEY_OPENS_ONLY:
		return "opens only";
	case KVEIL_KEY_RETIRED:
		return "retired";
	case KVEIL_KEY_DESTROYED:
		return "destroyed";
	}
	if (v->anyones)
		return "opens only";
	if (v == active)
		return "active";
	return v->record.active_from_ms > now_ms ? "pending" : "previous";
}

static int by_name(const void *a, const void *b)
{
	const struct kveil_key_name *const *x = a, *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

static int by_version(const void *a, const void *b)
{
	const struct kveil_key_version *const *x = a, *const *y = b;
	return (*x)->record.version < (*y)->record.version ? -1 : (*x)->record.version > (*y)->record.version;
}

/* Under lock. */
static void each_version(const struct kveil_keystore *ks, struct kveil_key_name *n, int64_t now, kveil_key_info_fn *fn,
			 void *user)
{
	int64_t until;
	const struct kveil_key_version *active = kveil_key_name_active(n, now, &until);

	/* A version that was written again comes later in the registry's order; people count. */
	if (n->count)
		qsort(n->versions, n->count, sizeof(struct kveil_key_version *), by_version);
	for (size_t k = 0; k < n->count; k++) {
		const struct kveil_key_version *v = n->versions[k];
		int64_t due = 0;
		const char *withheld =
		    v->record.state == KVEIL_KEY_DESTROYED ? NULL : withheld_state(ks, v->record.id, &due);
		fn(user, &(struct kveil_key_info){.name = n->name,
						  .algorithm = v->alg->name,
						  .kek = v->record.kek,
						  .state = withheld ? withheld : state_of(v, active, now),
						  .due_ms = due,
						  .version = v->record.version,
						  .id = v->record.id,
						  .created_ms = v->record.created_ms,
						  .active_from_ms = v->record.active_from_ms});
	}
}

void kveil_keystore_each(struct kveil_keystore *ks, kveil_key_info_fn *fn, void *user)
{
	int64_t now = kveil_clock_wall_ms();
	size_t count = 0;

	pthread_mutex_lock(&ks->lock);
	struct kveil_key_name **names = calloc(ks->names.count ? ks->names.count : 1, sizeof(struct kveil_key_name *));
	for (size_t i = 0; names && i < ks->names.cap; i++)
		if (ks->names.slots[i].value)
			names[count++] = ks->names.slots[i].value;
	if (count)
		qsort(names, count, sizeof *names, by_name);
	for (size_t i = 0; i < count; i++)
		each_version(ks, names[i], now, fn, user);
	pthread_mutex_unlock(&ks->lock);
	free(names);
}

static const char *named_state(struct kveil_keystore *ks, const struct kveil_named_key_version *v,
			       const struct kveil_succession *turn, int64_t *ret_due_ms)
{
	*ret_due_ms = 0;
	const struct kveil_key_version *wrapper =
	    v->wrapped_len < KVEIL_NAMED_KEY_PREFIX_BYTES
		? NULL
		: kveil_keystore_by_id(ks, kveil_named_keys_wrapper_id(v->wrapped));

	if (v->named->ended || v->state == KVEIL_KEY_DESTROYED ||
	    (wrapper && wrapper->record.state == KVEIL_KEY_DESTROYED))
		return "destroyed";
	const char *withheld = withheld_state(ks, v->id, ret_due_ms);
	if (withheld)
		return withheld;
	if (v->state != KVEIL_KEY_LIVE)
		return v->state == KVEIL_KEY_RETIRED ? "retired" : "opens only";
	if (v == turn->active)
		return "active";
	return v->active_from_ms > turn->now_ms ? "pending" : "previous";
}

/* The next number that t has versions of; KVEIL_NAMED_KEY_ENDED = none. */
static uint32_t number_after(const struct kveil_named_key *t, uint32_t number)
{
	uint32_t ret = KVEIL_NAMED_KEY_ENDED;

	for (const struct kveil_named_key_version *v = t ? t->versions : NULL; v; v = v->next)
		if (v->version > number && v->version < ret)
			ret = v->version;
	return ret;
}

static void tell_named(struct kveil_keystore *ks, const char *name, const struct kveil_named_key_version *v,
		       const struct kveil_succession *turn, kveil_key_info_fn *fn, void *user)
{
	struct kveil_key_info info = {.name = name,
				      .algorithm = kveil_algorithm_by_wire_id(v->algorithm)->name,
				      .kek = v->named->pattern->name,
				      .version = v->version,
				      .id = v->id,
				      .created_ms = v->created_ms,
				      .active_from_ms = v->active_from_ms};

	info.state = named_state(ks, v, turn, &info.due_ms);
	fn(user, &info);
}

/* Under lock. */
static void each_named(struct kveil_keystore *ks, const char *name, const struct kveil_named_key *t,
		       kveil_key_info_fn *fn, void *user)
{
	struct kveil_succession turn;

	kveil_named_keys_succession(t, kveil_clock_wall_ms(), &turn);
	for (uint32_t number = number_after(t, 0); number != KVEIL_NAMED_KEY_ENDED; number = number_after(t, number))
		for (const struct kveil_named_key_version *v = t->versions; v; v = v->next)
			if (v->version == number)
				tell_named(ks, name, v, &turn, fn, user);
}

enum kveil_status kveil_keystore_each_of(struct kveil_keystore *ks, const char *name, kveil_key_info_fn *fn, void *user,
					 struct kveil_error *err)
{
	struct kveil_named_key_ask asked;
	bool is_named = kveil_named_keys_meant(ks, name, &asked);

	pthread_mutex_lock(&ks->lock);
	struct kveil_key_name *n = is_named ? NULL : kveil_map_get(&ks->names, kveil_span_str(name));
	const struct kveil_named_key *t = is_named ? kveil_named_keys_find(ks, asked.digest) : NULL;
	if (t && !t->versions)
		t = NULL;
	if (n)
		each_version(ks, n, kveil_clock_wall_ms(), fn, user);
	if (t)
		each_named(ks, name, t, fn, user);
	pthread_mutex_unlock(&ks->lock);
	if (n || t)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no key '%s' in the registry", name);
	kveil_named_keys_hint(ks, name, err);
	return KVEIL_E_NOT_FOUND;
}

/* --- by prefix --- */

struct named {
	char name[KVEIL_KEY_NAME_MAX + 1];
	const struct kveil_named_key *named;
};

static int by_text(const void *a, const void *b)
{
	const struct named *x = a, *y = b;
	return strcmp(x->name, y->name);
}

/* Under lock. NULL: out of memory. */
static struct named *find_named(struct kveil_keystore *ks, const char *prefix, const char *after, size_t *ret_count)
{
	struct named *all = calloc(ks->named_keys.names.cap + 1, sizeof *all);
	size_t count = 0;

	for (size_t i = 0; all && i < ks->named_keys.names.cap; i++) {
		const struct kveil_named_key *t = ks->named_keys.names.slots[i].value;
		if (!t || !t->versions)
			continue;
		kveil_named_keys_write_name(t->pattern, t->digest, all[count].name);
		all[count].named = t;
		count += strncmp(all[count].name, prefix, strlen(prefix)) == 0 &&
			 (!after || strcmp(all[count].name, after) > 0);
	}
	if (count)
		qsort(all, count, sizeof *all, by_text);
	*ret_count = count;
	return all;
}

enum kveil_status kveil_keystore_each_named(struct kveil_keystore *ks, const char *prefix, const char *after,
					    size_t most, kveil_key_info_fn *fn, void *user, bool *ret_more,
					    struct kveil_error *err)
{
	size_t count = 0;

	pthread_mutex_lock(&ks->lock);
	struct named *all = find_named(ks, prefix, after, &count);
	*ret_more = count > most;
	for (size_t i = 0; all && i < count && i < most; i++)
		each_named(ks, all[i].name, all[i].named, fn, user);
	pthread_mutex_unlock(&ks->lock);
	free(all);
	return all ? KVEIL_OK : kveil_no_memory(err, "names");
}

size_t kveil_keystore_count_names(struct kveil_keystore *ks, const char *pattern)
{
	size_t ret = 0;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < ks->named_keys.names.cap; i++) {
		const struct kveil_named_key *t = ks->named_keys.names.slots[i].value;
		ret += t && t->versions && strcmp(t->pattern->name, pattern) == 0 && !kveil_named_keys_is_destroyed(t);
	}
	pthread_mutex_unlock(&ks->lock);
	return ret;
}

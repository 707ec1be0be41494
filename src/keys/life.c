/* SPDX-License-Identifier: Apache-2.0 */
/* Versions that are withheld on an operator's word; which are due to be destroyed, and which protect since lately. */
#include "keys/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* --- an operator's word --- */

/* Does it change anything for this version? */
static bool is_news(enum kveil_event_kind kind, const struct kveil_withheld *w)
{
	switch (kind) {
	case KVEIL_EVENT_KEY_DISABLED:
		return !w || !w->disabled;
	case KVEIL_EVENT_KEY_ENABLED:
		return w && w->disabled;
	case KVEIL_EVENT_KEY_DESTROY_CANCELLED:
		return w && w->due_ms;
	default:
		return true;
	}
}

static size_t collect(struct kveil_keystore *ks, const struct kveil_document *meant, enum kveil_event_kind kind,
		      int64_t due_ms, bool whole, struct kveil_event *events)
{
	size_t count = 0;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < meant->count; i++) {
		const struct kveil_key_record *r = &meant->records[i];
		if (r->state == KVEIL_KEY_DESTROYED || !is_news(kind, kveil_keystore_withheld(ks, r->id)))
			continue;
		events[count] = kveil_key_event(kind, r);
		events[count].due_ms = due_ms;
		events[count++].whole = whole;
	}
	pthread_mutex_unlock(&ks->lock);
	return count;
}

enum kveil_status kveil_keystore_withhold(struct kveil_keystore *ks, const struct kveil_document *meant,
					  enum kveil_event_kind kind, int64_t due_ms, bool whole, size_t *ret_changed,
					  struct kveil_error *err)
{
	struct kveil_event *events = calloc(meant->count + 1, sizeof *events);
	enum kveil_status status = KVEIL_OK;
	bool read;

	*ret_changed = 0;
	if (!events)
		return kveil_no_memory(err, "keys");
	size_t count = collect(ks, meant, kind, due_ms, whole, events);
	pthread_mutex_lock(&ks->io_lock);
	if (count)
		status = ks->registry->driver->record(ks->registry, events, count, err);
	pthread_mutex_unlock(&ks->io_lock);
	for (size_t i = 0; !status && i < count; i++)
		kveil_event(&events[i]);
	free(events);
	if (!status) {
		*ret_changed = count;
		status = kveil_keystore_refresh_read(ks, &read, err);
		status = read ? KVEIL_OK : status;
	}
	return status;
}

/* --- what is due --- */

/* Under a KEK that is away or lost it ends as well. Under refresh_lock. */
static const struct kveil_key_record *outside(const struct kveil_keystore *ks, uint32_t id)
{
	for (size_t i = 0; i < ks->backlog.all.count; i++)
		if (ks->backlog.all.records[i].id == id && ks->backlog.all.records[i].state != KVEIL_KEY_DESTROYED)
			return &ks->backlog.all.records[i];
	return NULL;
}

static bool find_due(const struct kveil_keystore *ks, const struct kveil_withheld *w, struct kveil_due *ret)
{
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, w->id);
	const struct kveil_named_key_version *t = kveil_named_keys_by_id(ks, w->id);
	const struct kveil_key_record *r = outside(ks, w->id);

	*ret = (struct kveil_due){.whole = w->whole};
	if (v && v->record.state != KVEIL_KEY_DESTROYED)
		r = &v->record;
	if (r) {
		ret->version = r->version;
		snprintf(ret->name, sizeof ret->name, "%s", r->name);
		return true;
	}
	if (!t || t->state == KVEIL_KEY_DESTROYED || t->named->ended)
		return false;
	ret->version = t->version;
	ret->named.pattern = t->named->pattern;
	memcpy(ret->named.digest, t->named->digest, sizeof ret->named.digest);
	kveil_named_keys_write_name(t->named->pattern, t->named->digest, ret->name);
	return true;
}

bool kveil_keystore_next_due(struct kveil_keystore *ks, int64_t now_ms, struct kveil_due *ret)
{
	bool found = false;

	pthread_mutex_lock(&ks->refresh_lock);
	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < ks->withheld.list.count && !found; i++)
		found = ks->withheld.list.items[i].due_ms && ks->withheld.list.items[i].due_ms <= now_ms &&
			find_due(ks, &ks->withheld.list.items[i], ret);
	pthread_mutex_unlock(&ks->lock);
	pthread_mutex_unlock(&ks->refresh_lock);
	return found;
}

/* Of one name; under lock. false: nothing is new. */
static bool is_activated(struct kveil_key_name *name, int64_t now_ms, struct kveil_key_record *ret)
{
	int64_t until_ms;
	const struct kveil_key_version *v = kveil_key_name_active(name, now_ms, &until_ms);
	bool is_new = v && name->told && name->told != v->record.version;

	if (v)
		name->told = v->record.version;
	if (is_new) {
		*ret = v->record;
		ret->wrapped = NULL; /* not ours */
	}
	return is_new;
}

void kveil_keystore_tell_active(struct kveil_keystore *ks, int64_t now_ms)
{
	for (size_t i = 0;; i++) {
		struct kveil_key_record record;
		bool told = false, more;
		pthread_mutex_lock(&ks->lock);
		more = i < ks->names.cap;
		if (more && ks->names.slots[i].value)
			told = is_activated(ks->names.slots[i].value, now_ms, &record);
		pthread_mutex_unlock(&ks->lock);
		if (!more)
			return;
		if (!told)
			continue;
		struct kveil_event e = kveil_key_event(KVEIL_EVENT_KEY_ACTIVATED, &record);
		kveil_event(&e);
	}
}

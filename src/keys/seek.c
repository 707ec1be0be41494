/* SPDX-License-Identifier: Apache-2.0 */
/* Ids that ciphertexts name and that are not here: asked for, and what the registry answered. */
#include "keys/internal.h"

#include "base/clock.h"

enum { UNKNOWN_MS = 60000 };

static struct kveil_sought *find_sought(struct kveil_keystore *ks, uint32_t id)
{
	for (size_t i = 0; i < ks->seeking.count; i++)
		if (ks->seeking.ids[i].id == id)
			return &ks->seeking.ids[i];
	return NULL;
}

void kveil_keystore_forget_unknown(struct kveil_keystore *ks, uint32_t id)
{
	struct kveil_sought *s = find_sought(ks, id);

	if (s)
		s->found = KVEIL_SOUGHT_ASKED;
}

static bool holds_id(const struct kveil_document *d, uint32_t id)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i].id == id)
			return true;
	return false;
}

/* The registry was read to its end: what was asked for before is here, is held up by a custodian, or is nowhere. */
void kveil_keystore_judge_sought(struct kveil_keystore *ks, uint64_t refresh, bool changed,
				 const struct kveil_error *why)
{
	int64_t until = kveil_clock_mono_ms() + UNKNOWN_MS;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < ks->seeking.count; i++) {
		struct kveil_sought *s = &ks->seeking.ids[i];
		if (s->found == KVEIL_SOUGHT_UNKNOWN && !changed)
			continue;
		if (s->asked >= refresh)
			continue;
		s->found = holds_id(&ks->backlog.all, s->id) ? KVEIL_SOUGHT_HELD_UP : KVEIL_SOUGHT_UNKNOWN;
		if (s->found == KVEIL_SOUGHT_UNKNOWN)
			s->until_ms = until;
	}
	ks->seeking.held_up_why = *why;
	pthread_mutex_unlock(&ks->lock);
}

/* Under lock. */
static enum kveil_status ask_for(struct kveil_keystore *ks, uint32_t id, struct kveil_error *err)
{
	struct kveil_sought *s = find_sought(ks, id);

	if (!s) {
		s = &ks->seeking.ids[ks->seeking.next];
		ks->seeking.next = (ks->seeking.next + 1) % KVEIL_SOUGHT_MAX;
		if (ks->seeking.count < KVEIL_SOUGHT_MAX)
			ks->seeking.count++;
		*s = (struct kveil_sought){.id = id, .asked = atomic_load(&ks->seeking.refreshes)};
	}
	if (s->found == KVEIL_SOUGHT_UNKNOWN && kveil_clock_mono_ms() >= s->until_ms)
		*s = (struct kveil_sought){.id = id, .asked = atomic_load(&ks->seeking.refreshes)};
	switch (s->found) {
	case KVEIL_SOUGHT_ASKED:
		return kveil_fail(err, KVEIL_E_KEY_PENDING, "the registry is asked for key id %u", id);
	case KVEIL_SOUGHT_HELD_UP: /* this record is not at fault */
		return kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "key id %u cannot be opened yet: %s", id,
				  ks->seeking.held_up_why.status ? ks->seeking.held_up_why.message
								 : "its KEK is not in this configuration");
	case KVEIL_SOUGHT_UNKNOWN:
		break;
	}
	return kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "no key with id %u", id);
}

enum kveil_status kveil_keystore_seek(struct kveil_keystore *ks, uint32_t id, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	if (ks->registry->driver->alone)
		return kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "no key with id %u", id);
	pthread_mutex_lock(&ks->lock);
	if (!kveil_keystore_has_id(ks, id))
		status = ask_for(ks, id, err);
	pthread_mutex_unlock(&ks->lock);
	return status;
}

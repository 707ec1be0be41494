/* SPDX-License-Identifier: Apache-2.0 */
/* What the registry keeps of what was done to keys. */
#include "keyadmin/admin.h"

#include "keys/internal.h"

#include <jansson.h>

/* Is it, word for word, one that the registry has? It may have been signed anew since. */
static bool is_kept(struct kveil_keystore *ks, const struct kveil_registry_event *e)
{
	char label[KVEIL_EVENT_LABEL_MAX];

	kveil_registry_event_label(e, label);
	pthread_mutex_lock(&ks->io_lock);
	const struct kveil_registry_event *kept =
	    kveil_registry_events_find(ks->registry->events, kveil_span_str(label));
	bool ret = kept && kveil_registry_event_is_same(kept, e);
	pthread_mutex_unlock(&ks->io_lock);
	return ret;
}

static bool lives(const struct kveil_document *registry, uint32_t id)
{
	for (size_t i = 0; i < registry->count; i++)
		if (registry->records[i].id == id)
			return registry->records[i].state != KVEIL_KEY_DESTROYED;
	return false;
}

enum kveil_keys_proof kveil_keys_prove_destroyed(struct kveil_keystore *ks, const struct kveil_document *registry,
						 const char *line)
{
	struct kveil_registry_event e;

	if (!kveil_registry_event_parse(kveil_span_str(line), &e))
		return KVEIL_PROOF_ALTERED;
	enum kveil_keys_proof ret = KVEIL_PROOF_ALTERED;
	bool ours = kveil_registry_event_authentic(&e, ks->registry->secret) || is_kept(ks, &e);
	if (ours && e.kind == KVEIL_EVENT_KEY_DESTROY_SCHEDULED)
		ret = KVEIL_PROOF_ORDER;
	else if (ours && e.kind == KVEIL_EVENT_KEY_DESTROYED)
		ret = lives(registry, e.id) ? KVEIL_PROOF_ALIVE : KVEIL_PROOF_HOLDS;
	kveil_registry_event_clear(&e);
	return ret;
}

static bool has_name(const struct kveil_document *d, const char *name)
{
	for (size_t i = 0; i < d->count; i++)
		if (strcmp(d->records[i].name, name) == 0)
			return true;
	return false;
}

enum kveil_status kveil_keys_history(struct kveil_keystore *ks, const char *asked, kveil_keys_history_fn *fn,
				     void *user, size_t *ret_missing, struct kveil_error *err)
{
	char name[KVEIL_KEY_NAME_MAX + 1] = "";
	struct kveil_document d = {0};
	bool known = !asked;

	if (asked)
		kveil_keys_registry_name(ks, asked, name);
	enum kveil_status status = kveil_keys_snapshot(ks, &d, err);
	for (size_t i = 0; !status && i < d.events.count; i++) {
		json_t *event = json_loads(d.events.items[i].line, 0, NULL);
		const char *key = json_string_value(json_object_get(event, "key"));
		if (!asked || (key && (strcmp(key, name) == 0 || strcmp(key, asked) == 0))) {
			fn(user, d.events.items[i].line, event);
			known = true;
		}
		json_decref(event);
	}
	/* A name that is spelled otherwise is not one to which nothing was done. */
	if (!status && !known && !has_name(&d, name) && !has_name(&d, asked))
		status = kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no key '%s' in the registry", asked);
	size_t kept = (size_t)ks->registry->events_kept, shown = kveil_registry_events_missing(&d.events);
	size_t gone = kept > d.events.count ? kept - d.events.count : 0;
	*ret_missing = gone > shown ? gone : shown;
	kveil_document_clear(&d);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions that are withheld: disabled, or due to be destroyed. What the registry's events say of them in their order
 * is what holds; an older kveil does not know these events, and goes on with the versions.
 */
#include "keys/internal.h"

/* Each version as it is now said to be. Under lock. */
static bool withhold(struct kveil_keystore *ks)
{
	bool changed = false;

	for (size_t i = 0; i < ks->ids.cap; i++) {
		struct kveil_key_version *v = ks->ids.slots[i].value;
		bool was = v && v->withheld;
		if (!v)
			continue;
		v->withheld = kveil_keystore_withheld(ks, v->record.id) != NULL;
		changed |= v->withheld != was;
		if (v->withheld != was && strchr(v->record.name, '{'))
			kveil_named_keys_wrapper_gone(ks, v->record.id);
	}
	for (size_t i = 0; i < ks->named_keys.ids.cap; i++) {
		struct kveil_named_key_version *v = ks->named_keys.ids.slots[i].value;
		if (v)
			kveil_named_keys_withhold(&ks->named_keys, v, kveil_keystore_withheld(ks, v->id) != NULL);
	}
	return changed;
}

enum kveil_status kveil_keystore_heed_events(struct kveil_keystore *ks, bool *ret_changed, struct kveil_error *err)
{
	const struct kveil_registry_events *events = ks->registry->events;

	if (!events || events->changes == ks->withheld.heeded)
		return KVEIL_OK;
	struct kveil_withheld_list now;
	enum kveil_status status = kveil_withheld_sum_up(events, &now, err);
	if (status)
		return status;
	pthread_mutex_lock(&ks->lock);
	bool was_any = ks->withheld.list.count > 0;
	kveil_withheld_clear(&ks->withheld.list);
	ks->withheld.list = now;
	ks->withheld.heeded = events->changes;
	if (now.count || was_any)
		*ret_changed |= withhold(ks);
	pthread_mutex_unlock(&ks->lock);
	return KVEIL_OK;
}

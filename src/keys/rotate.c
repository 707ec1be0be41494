/* SPDX-License-Identifier: Apache-2.0 */
/* A new version on an operator's word. */
#include "keys/internal.h"

#include "base/clock.h"

#include <stdio.h>

static enum kveil_status rotate_once(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
				     int64_t active_from_ms, bool *ret_won, struct kveil_error *err)
{
	struct kveil_key_record r;
	int64_t now = kveil_clock_wall_ms();

	uint32_t number = kveil_keystore_next_number(ks, c->name);
	kveil_key_record_begin(&r, c, number, now, active_from_ms ? active_from_ms : now);
	enum kveil_status status = kveil_keystore_check_clock(ks, c, err);
	if (!status)
		status = kveil_keystore_make(ks, c->keks, ks->registry->secret, &r, KVEIL_SPAN_NULL, err);
	if (status)
		return status;
	status = kveil_keystore_append(ks, &r, 1, err);
	if (!status) {
		pthread_mutex_lock(&ks->lock);
		*ret_won = kveil_keystore_by_id(ks, r.id) != NULL;
		pthread_mutex_unlock(&ks->lock);
		/* Written, and its custodian went before it could be read back. */
		if (!*ret_won && kveil_keystore_is_held_up(ks, c->name))
			status = kveil_keystore_refresh(ks, err);
	}
	kveil_key_record_clear(&r);
	return status;
}

enum kveil_status kveil_keystore_rotate(struct kveil_keystore *ks, struct kveil_span name, int64_t active_from_ms,
					struct kveil_error *err)
{
	struct kveil_key_name *n;
	struct kveil_named_key_ask named;
	char text[KVEIL_KEY_NAME_MAX + 1];
	bool won = false;

	snprintf(text, sizeof text, "%.*s", (int)name.len, (const char *)name.data);
	if (name.len < sizeof text && kveil_named_keys_meant(ks, text, &named)) {
		enum kveil_status status = kveil_named_keys_rotate(ks, &named, active_from_ms, err);
		if (status == KVEIL_E_NOT_FOUND)
			kveil_named_keys_hint(ks, text, err);
		return status;
	}
	enum kveil_status status = kveil_keystore_name(ks, name, 0, &n, err);

	if (status)
		return status;
	if (ks->config->any_name) {
		int64_t now = kveil_clock_wall_ms();
		return kveil_memory_rotate(ks, n, now, active_from_ms ? active_from_ms : now, err);
	}
	const struct kveil_kek *kek = kveil_keystore_kek(ks, n->config->kek);
	if (kek && !kek->provider->can_unwrap(kek)) {
		kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' only locks here: no worker could read a version of another's",
			   kek->name);
		kveil_error_hint(err,
				 "each worker makes its own when it starts, and one for each period of rotate_every");
		return KVEIL_E_CONFIG;
	}
	/* Another process may make the same version at the same moment: then ours is the one after it. */
	for (int i = 0; !status && !won && i < 10; i++)
		status = rotate_once(ks, n->config, active_from_ms, &won, err);
	if (!status && !won)
		status = kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "other processes keep making versions of '%s'",
				    n->name);
	return status;
}

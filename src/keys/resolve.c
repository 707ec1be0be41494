/* SPDX-License-Identifier: Apache-2.0 */
/* A key by its name, for a use: whoever binds one comes here. */
#include "keys/internal.h"

#include "base/clock.h"

/* What stands in the way has befallen a registry that was whole: an outage, whatever its class, and no fault of a rule.
 */
static enum kveil_status make_active(struct kveil_keystore *ks, const struct kveil_key_name *n, int64_t now,
				     struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = KVEIL_OK;
	int64_t until;

	/* Nobody tended the keys for a while. Where a keeper does, this thread has more to do than to wait for
	 * custodians. */
	if (!atomic_load(&ks->kept))
		status = kveil_keystore_tend(ks, now, &why);
	pthread_mutex_lock(&ks->lock);
	bool active = kveil_key_name_active(n, now, &until);
	if (atomic_load(&ks->kept))
		why = ks->tending.result;
	pthread_mutex_unlock(&ks->lock);
	status = status ? status : why.status;
	if (active || !status)
		return KVEIL_OK;
	if (kveil_status_class(status) != KVEIL_CLASS_CONFIG) {
		if (err)
			*err = why;
		return status;
	}
	kveil_fail(err, KVEIL_E_NO_ACTIVE_KEY, "key '%s' has no version that may seal now: %s", n->name, why.message);
	kveil_error_hint(err, "%s", why.hint);
	return KVEIL_E_NO_ACTIVE_KEY;
}

/* The version that is to be used may be among those that a custodian has yet to open. */
static enum kveil_status check_whole(struct kveil_keystore *ks, const struct kveil_data_key_config *c, unsigned use,
				     struct kveil_error *err)
{
	const struct kveil_unread *u = &ks->unread[c - ks->config->data];
	enum kveil_status status = KVEIL_OK;

	if (!(use & ~(unsigned)(KVEIL_USE_OPEN | KVEIL_USE_DETOKENIZE)))
		return KVEIL_OK;
	pthread_mutex_lock(&ks->lock);
	if (!u->was_whole && kveil_status_class(u->why.status) == KVEIL_CLASS_RETRY) {
		status = u->why.status;
		if (err)
			*err = u->why;
	}
	pthread_mutex_unlock(&ks->lock);
	return status;
}

enum kveil_status kveil_keystore_name(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				      struct kveil_key_name **ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_keys_config_check(ks->config, name, use, err);
	if (status)
		return status;
	if (ks->config->any_name)
		return kveil_memory_name(ks, name, use, ret, err);
	const struct kveil_data_key_config *c = kveil_keys_config_find(ks->config, name);
	if (!c)
		return kveil_fail(err, KVEIL_E_INTERNAL, "key '%.*s' has no entry", (int)name.len,
				  (const char *)name.data);
	if (!ks->registry)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a keystore of names has no keys");
	int64_t now = kveil_clock_wall_ms(), until;
	struct kveil_key_name *n;
	status = kveil_keystore_configured(ks, c, &n, err);
	if (status)
		return status;
	status = check_whole(ks, c, use, err);
	if (status)
		return status;
	pthread_mutex_lock(&ks->lock);
	bool overdue = use & KVEIL_USE_SEAL && !kveil_key_name_active(n, now, &until);
	pthread_mutex_unlock(&ks->lock);
	*ret = n;
	return overdue ? make_active(ks, n, now, err) : KVEIL_OK;
}

enum kveil_status kveil_keystore_check(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				       struct kveil_error *err)
{
	return kveil_keys_config_check(ks->config, name, use, err);
}

size_t kveil_keystore_mac_bytes(struct kveil_keystore *ks, struct kveil_span name, const char **ret_algorithm)
{
	const struct kveil_data_key_config *c = kveil_keys_config_meant(ks->config, name);

	if (!c)
		return 0;
	*ret_algorithm = c->algorithm->name;
	return c->algorithm->mac_bytes;
}

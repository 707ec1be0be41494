/* SPDX-License-Identifier: Apache-2.0 */
/* Opening a registry: its custodians, the registry itself, and whether it holds what the configuration names. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <stdlib.h>

/* What an operator has to mend (files that are not here, can be read by others, or hold something else), not a lack of
 * memory, say. */
static bool can_be_mended(enum kveil_status status)
{
	return status == KVEIL_E_IO || kveil_status_class(status) == KVEIL_CLASS_CONFIG;
}

/* reachable: one that cannot be opened is a custodian that is away. */
static enum kveil_status open_keks(struct kveil_keystore *ks, bool reachable, struct kveil_error *err)
{
	const struct kveil_keys_config *c = ks->config;

	ks->custodians = calloc(c->custodian_count ? c->custodian_count : 1, sizeof *ks->custodians);
	if (!ks->custodians)
		return kveil_no_memory(err, "keys");
	for (size_t i = 0; i < c->custodian_count; i++) {
		const struct kveil_provider *p = kveil_provider_by_name(c->custodians[i].provider);
		struct kveil_kek **to = &ks->custodians[ks->custodian_count];
		struct kveil_error why;
		enum kveil_status status =
		    kveil_kek_open(p, c->custodians[i].name, c->custodians[i].params, c->base_dir, to, &why);
		if (can_be_mended(status) && reachable)
			status =
			    kveil_kek_open(&kveil_provider_absent, c->custodians[i].name, &why, c->base_dir, to, &why);
		if (status && err)
			*err = why;
		if (status)
			return status;
		ks->custodian_count++;
	}
	return KVEIL_OK;
}

/* Nothing of this name was taken in. Under lock. */
static enum kveil_status fail_absent(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
				     struct kveil_error *err)
{
	const struct kveil_error *why = &ks->unread[c - ks->config->data].why;

	if (!why->status) {
		kveil_fail(err, KVEIL_E_NOT_FOUND, "key '%s' is configured and not in the registry", c->name);
		kveil_error_hint(err, "`kveil keys init` adds the keys that are missing, and touches no other");
		kveil_error_where(err, ks->config->file, c->line, 1);
		return KVEIL_E_NOT_FOUND;
	}
	if (err)
		*err = *why;
	if (why->status == KVEIL_E_CONFIG)
		kveil_error_where(err, ks->config->file, c->line, 1);
	return why->status;
}

/* A key does not change what it is for. */
static enum kveil_status check_algorithm(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
					 const struct kveil_key_name *n, struct kveil_error *err)
{
	for (size_t k = 0; k < n->count; k++) {
		const struct kveil_algorithm *was = n->versions[k]->alg;
		if (was == c->algorithm || kveil_is_pattern(c) ||
		    (was->kind == KVEIL_ALG_AEAD && c->algorithm->kind == KVEIL_ALG_AEAD))
			continue;
		kveil_fail(err, KVEIL_E_CONFIG, "key '%s' is of algorithm %s in the registry and %s here", c->name,
			   was->name, c->algorithm->name);
		kveil_error_hint(err, "give the new algorithm a key name of its own");
		kveil_error_where(err, ks->config->file, c->line, 1);
		return KVEIL_E_CONFIG;
	}
	return KVEIL_OK;
}

enum kveil_status kveil_keystore_configured(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
					    struct kveil_key_name **ret, struct kveil_error *err)
{
	pthread_mutex_lock(&ks->lock);
	*ret = kveil_map_get(&ks->names, kveil_span_str(c->name));
	enum kveil_status status = *ret ? check_algorithm(ks, c, *ret, err) : fail_absent(ks, c, err);
	pthread_mutex_unlock(&ks->lock);
	return status;
}

/* A cipher was changed in the configuration alone. */
static enum kveil_status check_cipher(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
				      const struct kveil_key_name *n, struct kveil_error *err)
{
	struct kveil_succession s;

	if (c->algorithm->kind != KVEIL_ALG_AEAD || kveil_is_pattern(c))
		return KVEIL_OK;
	pthread_mutex_lock(&ks->lock);
	kveil_key_name_succession(n, kveil_clock_wall_ms(), &s);
	pthread_mutex_unlock(&ks->lock);
	if (!s.has_newest || s.newest.algorithm == c->algorithm->wire_id)
		return KVEIL_OK;
	const char *was = kveil_algorithm_by_wire_id(s.newest.algorithm)->name;
	kveil_fail(err, KVEIL_E_CONFIG, "key '%s' seals with %s in the registry, and the configuration says %s",
		   c->name, was, c->algorithm->name);
	kveil_error_hint(
	    err,
	    "`kveil keys rotate %.40s` with this configuration changes over, and what was sealed opens; to "
	    "stay, write algorithm: %s",
	    c->name, was);
	kveil_error_where(err, ks->config->file, c->line, 1);
	return KVEIL_E_CONFIG;
}

/* waits: a key whose custodian is away comes later. */
static enum kveil_status check_names(struct kveil_keystore *ks, bool waits, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	struct kveil_key_name *n;

	for (size_t i = 0; !status && i < ks->config->data_count; i++) {
		status = kveil_keystore_configured(ks, &ks->config->data[i], &n, err);
		if (!status)
			status = check_cipher(ks, &ks->config->data[i], n, err);
		if (waits && kveil_status_class(status) == KVEIL_CLASS_RETRY)
			status = KVEIL_OK;
	}
	return status;
}

enum kveil_status kveil_keystore_check_names(struct kveil_keystore *ks, struct kveil_error *err)
{
	return check_names(ks, false, err);
}

static enum kveil_status prepare(const struct kveil_keys_config *cfg, bool reachable, struct kveil_keystore **ret,
				 struct kveil_error *err)
{
	enum kveil_status status = kveil_crypto_init(err);

	if (status)
		return status;
	struct kveil_keystore *ks = kveil_keystore_alloc();
	if (!ks)
		return kveil_no_memory(err, "keys");
	ks->config = cfg;
	ks->pin.is_set = cfg->registry_id && kveil_registry_id_parse(cfg->registry_id, ks->pin.id, &ks->pin.number);
	ks->unread = calloc(cfg->data_count ? cfg->data_count : 1, sizeof *ks->unread);
	status = ks->unread ? kveil_crypto_random(&ks->tending.lateness, sizeof ks->tending.lateness, err)
			    : kveil_no_memory(err, "keys");
	if (!status)
		status = open_keks(ks, reachable, err);
	if (status) {
		kveil_keystore_unref(ks);
		return status;
	}
	*ret = ks;
	return KVEIL_OK;
}

enum kveil_status kveil_keystore_prepare(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
					 struct kveil_error *err)
{
	return prepare(cfg, false, ret, err);
}

struct kveil_registry_env kveil_keystore_env(const struct kveil_keystore *ks)
{
	return (struct kveil_registry_env){.base_dir = ks->config->base_dir,
					   .keks = ks->custodians,
					   .kek_count = ks->custodian_count,
					   .id = ks->pin.is_set ? ks->pin.id : NULL,
					   .least_number = ks->pin.number,
					   .options = ks->config->registry_options};
}

static enum kveil_status open_registry(struct kveil_keystore *ks, struct kveil_error *err)
{
	const struct kveil_registry_driver *driver;
	const struct kveil_registry_env env = kveil_keystore_env(ks);
	char id[KVEIL_REGISTRY_ID_TEXT];
	const char *where;

	if (ks->registry)
		return KVEIL_OK;
	enum kveil_status status = kveil_registry_driver_of(ks->config->registry, &driver, &where, err);
	if (!status)
		status = driver->open(&env, where, &ks->registry, err);
	if (status)
		return status;
	const struct kveil_registry_secret *secret = ks->registry->secret;
	bool ours = !env.id || kveil_secret_eq(env.id, secret->id, sizeof ks->pin.id);
	if (ours && secret->number >= env.least_number)
		return KVEIL_OK;
	kveil_registry_id_write(secret->id, secret->number, id);
	driver->close(ks->registry);
	ks->registry = NULL;
	kveil_fail(err, KVEIL_E_CONFIG, "the registry %s has the id %s, and keys.registry_id says another",
		   ks->config->registry, id);
	kveil_error_hint(err, ours ? "it is from before a KEK was evicted: whoever has that KEK may have put it there"
				   : "this is another registry: change the one or the other");
	return KVEIL_E_CONFIG;
}

enum kveil_status kveil_keystore_attach(struct kveil_keystore *ks, struct kveil_error *err)
{
	enum kveil_status status = open_registry(ks, err);

	if (!status)
		status = kveil_keystore_refresh(ks, err);
	return status;
}

enum kveil_status kveil_keystore_attach_reading(struct kveil_keystore *ks, struct kveil_error *err)
{
	bool is_read = false;
	enum kveil_status status = open_registry(ks, err);

	if (!status)
		status = kveil_keystore_refresh_read(ks, &is_read, err);
	return is_read ? KVEIL_OK : status;
}

/* A registry that nothing opens for want of a KEK's file is not an outage: the file must be brought, or mended. */
static enum kveil_status blame_missed(const struct kveil_keystore *ks, enum kveil_status status,
				      struct kveil_error *err)
{
	enum kveil_status missed = KVEIL_OK;

	for (size_t i = 0; status == KVEIL_E_KEK_UNAVAILABLE && !missed && i < ks->custodian_count; i++)
		missed = kveil_kek_missed(ks->custodians[i], err);
	return missed ? missed : status;
}

enum kveil_status kveil_keystore_open_reachable(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
						struct kveil_error *err)
{
	struct kveil_keystore *ks = NULL;
	enum kveil_status status = prepare(cfg, true, &ks, err);

	if (status)
		return status;
	status = kveil_keystore_attach_reading(ks, err);
	if (!status)
		*ret = ks;
	else {
		status = blame_missed(ks, status, err);
		kveil_keystore_unref(ks);
	}
	return status;
}

enum kveil_status kveil_keystore_enter(struct kveil_keystore *ks, struct kveil_error *err)
{
	bool is_read = false;
	enum kveil_status status = open_registry(ks, err);

	if (!status)
		status = kveil_keystore_refresh_read(ks, &is_read, err);
	if (is_read && kveil_status_class(status) == KVEIL_CLASS_RETRY)
		status = KVEIL_OK;
	return status ? status : check_names(ks, true, err);
}

enum kveil_status kveil_keystore_open(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
				      struct kveil_error *err)
{
	struct kveil_keystore *ks = NULL;
	enum kveil_status status = kveil_keystore_prepare(cfg, &ks, err);

	if (status)
		return status;
	status = kveil_keystore_attach(ks, err);
	if (!status)
		status = kveil_keystore_check_names(ks, err);
	if (status) {
		kveil_keystore_unref(ks);
		return status;
	}
	*ret = ks;
	return KVEIL_OK;
}

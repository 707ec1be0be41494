/* SPDX-License-Identifier: Apache-2.0 */
/* `keys init` and `keys backup`. */
#include "keyadmin/admin.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/map.h"
#include "base/secret.h"
#include "base/text.h"
#include "crypto/crypto.h"
#include "custody/files.h"
#include "keys/internal.h"

#include <stdlib.h>

void kveil_keys_examine(struct kveil_keystore *ks, struct kveil_report *report)
{
	struct kveil_error err;

	if (kveil_keystore_check_names(ks, &err))
		kveil_report_add(report, &err);
	if (ks->registry->driver->copies && ks->registry->driver->copies(ks->registry) == 1)
		kveil_error_hint(kveil_report_warn_at(report, "keys", 0, 0,
						      "only one broker has a copy of the key registry's topic: if its "
						      "disk is lost, so are all keys"),
				 "replication factor 3, and a backup: kveil keys backup");
	for (size_t i = 0; i < ks->custodian_count; i++) {
		kveil_keystore_probe_kek(ks, ks->custodians[i]);
		if (kveil_kek_last(ks->custodians[i], &err))
			kveil_report_add(report, &err);
	}
}

/* --- init --- */

static enum kveil_status driver_of(const struct kveil_keystore *ks, const struct kveil_registry_driver **ret,
				   const char **ret_where, struct kveil_error *err)
{
	return kveil_registry_driver_of(ks->config->registry, ret, ret_where, err);
}

static enum kveil_status create(struct kveil_keystore *ks, struct kveil_error *err)
{
	const struct kveil_registry_env env = kveil_keystore_env(ks);
	const struct kveil_registry_driver *driver;
	struct kveil_registry_secret *secret;
	struct kveil_registry_root root;
	const char *where;
	enum kveil_status status = driver_of(ks, &driver, &where, err);

	if (!status)
		status = kveil_registry_root_new(ks->custodians, ks->custodian_count,
						 kveil_keys_config_hash(ks->config), &root, &secret, err);
	if (status)
		return status;
	status = driver->create(&env, where, &root, secret, err);
	kveil_registry_root_clear(&root);
	kveil_secret_free(secret);
	return status;
}

static void refuse_evicted(const char *kek, struct kveil_error *ret)
{
	kveil_fail(ret, KVEIL_E_CONFIG, "KEK '%s' was evicted from this registry: it does not get its secret again",
		   kek);
	kveil_error_hint(ret, "take it out of keys.keks; a new KEK needs a name that none had before");
}

/* ret_evicted: which of them is left out, if any. */
static enum kveil_status add_keks(struct kveil_keystore *ks, size_t *ret_added, struct kveil_error *ret_evicted,
				  struct kveil_error *err)
{
	const struct kveil_registry_driver *driver = ks->registry->driver;
	struct kveil_registry_root more = {0};
	struct kveil_document now = {0};
	enum kveil_status status = driver->snapshot(ks->registry, &now, err);

	more.number = ks->registry->secret->number;
	for (size_t i = 0; !status && i < ks->custodian_count; i++) {
		struct kveil_kek *kek = ks->custodians[i];
		if (kveil_registry_root_find(&now.root, kek->name))
			continue;
		if (kveil_keys_kek_is_evicted(&now.events, kek->name))
			refuse_evicted(kek->name, ret_evicted);
		else
			status = kveil_registry_root_wrap(ks->registry->secret, kek, &more, err);
	}
	if (!status && more.count)
		status = driver->add_root_keys(ks->registry, &more, err);
	*ret_added = more.count;
	kveil_registry_root_clear(&more);
	kveil_document_clear(&now);
	return status;
}

static bool has_name(struct kveil_keystore *ks, const char *name)
{
	pthread_mutex_lock(&ks->lock);
	bool ret = kveil_map_get(&ks->names, kveil_span_str(name)) != NULL;
	pthread_mutex_unlock(&ks->lock);
	return ret || kveil_keystore_is_outside(ks, name);
}

static enum kveil_status add_names(struct kveil_keystore *ks, size_t *ret_added, struct kveil_error *err)
{
	const struct kveil_keys_config *cfg = ks->config;
	struct kveil_key_record *made = calloc(cfg->data_count + 1, sizeof *made);
	enum kveil_status status = KVEIL_OK;
	int64_t now = kveil_clock_wall_ms();
	size_t count = 0;

	if (!made)
		return kveil_no_memory(err, "keys");
	for (size_t i = 0; !status && i < cfg->data_count; i++) {
		const struct kveil_data_key_config *c = &cfg->data[i];
		if (has_name(ks, c->name))
			continue;
		kveil_key_record_begin(&made[count], c, 1, now, now);
		status = kveil_keystore_make(ks, c->keks, ks->registry->secret, &made[count], KVEIL_SPAN_NULL, err);
		if (!status)
			count++;
	}
	if (!status && count)
		status = kveil_keystore_append(ks, made, count, err);
	/* Somebody else may have been first. */
	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < count; i++) {
		*ret_added += !status && kveil_keystore_by_id(ks, made[i].id);
		kveil_key_record_clear(&made[i]);
	}
	pthread_mutex_unlock(&ks->lock);
	free(made);
	return status;
}

static bool is_whole(struct kveil_keystore *ks)
{
	for (size_t i = 0; i < ks->config->data_count; i++)
		if (!has_name(ks, ks->config->data[i].name))
			return false;
	return true;
}

enum kveil_status kveil_keys_init(const struct kveil_keys_config *cfg, struct kveil_keys_init_result *ret,
				  struct kveil_error *err)
{
	struct kveil_keystore *ks = NULL;
	enum kveil_status status = kveil_keystore_prepare(cfg, &ks, err);

	*ret = (struct kveil_keys_init_result){0};
	if (status)
		return status;
	status = kveil_keystore_attach_reading(ks, err);
	if (status == KVEIL_E_REGISTRY_MISSING && ks->pin.is_set) {
		kveil_error_hint(err,
				 "keys.registry_id names one: `kveil keys restore BACKUP` restores it; to make a new "
				 "one, leave that line out");
	} else if (status == KVEIL_E_REGISTRY_MISSING) {
		struct kveil_error why = {0};
		enum kveil_status made = create(ks, &why);
		ret->created = !made;
		/* Another process may have been first: then its registry serves. */
		if (!made || made == KVEIL_E_KEY_EXISTS)
			status = kveil_keystore_attach_reading(ks, err);
		if (made && status) {
			status = made;
			if (err)
				*err = why;
		}
	}
	if (!status && ret->created)
		kveil_keystore_tell(
		    ks, &(struct kveil_event){.kind = KVEIL_EVENT_REGISTRY_CREATED, .detail = cfg->registry}, 1);
	if (!status)
		status = add_keks(ks, &ret->keks_added, &ret->evicted, err);
	/* Twice only if two keys drew one id: the second then lost its place. */
	for (int i = 0; !status && i < 3 && !is_whole(ks); i++) {
		size_t added = 0;
		status = add_names(ks, &added, err);
		ret->names_added += added;
	}
	if (!status) {
		const struct kveil_registry_secret *secret = ks->registry->secret;
		kveil_registry_id_write(secret->id, secret->number, ret->id);
		(void)!kveil_keystore_check_names(ks, &ret->unlike);
	}
	kveil_keystore_unref(ks);
	return status;
}

enum kveil_status kveil_keys_make_kek(const struct kveil_keys_config *cfg, const char *name, struct kveil_error *err)
{
	enum kveil_status status = kveil_crypto_init(err);

	if (status)
		return status;
	for (size_t i = 0; i < cfg->custodian_count; i++) {
		const struct kveil_provider *p = kveil_provider_by_name(cfg->custodians[i].provider);
		if (strcmp(cfg->custodians[i].name, name) != 0)
			continue;
		if (!p->make)
			return kveil_fail(err, KVEIL_E_UNSUPPORTED,
					  "KEK '%s' is made where it is kept (%s), not by kveil", name, p->name);
		status = p->make(cfg->custodians[i].params, cfg->base_dir, err);
		/* There need not be a registry yet: the log has it alone. */
		if (!status)
			kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_KEK_CREATED, .kek = name});
		return status;
	}
	return kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no KEK '%s' under keys.keks", name);
}

static bool opens_alone(const struct kveil_keys_config *cfg, const struct kveil_kek_config *one)
{
	struct kveil_keys_config own = *cfg;
	struct kveil_kek_config copy = *one;
	struct kveil_keystore *ks;
	struct kveil_error none;

	own.custodians = &copy;
	own.custodian_count = 1;
	if (kveil_keystore_prepare(&own, &ks, &none))
		return false;
	kveil_keystore_unref(ks);
	return true;
}

bool kveil_keys_kek_is_missed(const struct kveil_keys_config *cfg, const char *name)
{
	struct kveil_keys_config others = *cfg;
	struct kveil_keystore *ks = NULL;
	struct kveil_error why;
	size_t n = 0;

	others.custodians = calloc(cfg->custodian_count + 1, sizeof *others.custodians);
	bool is_gone = others.custodians != NULL;
	for (size_t i = 0; is_gone && i < cfg->custodian_count; i++)
		if (strcmp(cfg->custodians[i].name, name) != 0)
			others.custodians[n++] = cfg->custodians[i];
		else
			is_gone = !opens_alone(cfg, &cfg->custodians[i]);
	others.custodian_count = n;
	enum kveil_status status = is_gone ? kveil_keystore_open_reachable(&others, &ks, &why) : KVEIL_OK;
	bool ret = status == KVEIL_E_WRONG_KEK || (ks && kveil_registry_root_find(ks->registry->root, name));
	kveil_keystore_unref(ks);
	free(others.custodians);
	return ret;
}

/* --- what is not to be lost with the file that a backup replaces --- */

/* By form only: it need not open here. Nothing where there is no file, or an empty one. */
static enum kveil_status load_old(const char *path, struct kveil_document *ret, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	enum kveil_status status = kveil_files_read(path, "the backup", KVEIL_DOCUMENT_BYTES_MAX, &text, err);

	if (status == KVEIL_E_NOT_FOUND)
		return KVEIL_OK;
	if (!status && text.len)
		status = kveil_document_parse(kveil_buf_span(&text), ret, err);
	if (status == KVEIL_E_REGISTRY_CORRUPT) {
		kveil_fail(err, KVEIL_E_KEY_EXISTS, "%s is a damaged backup: it is not replaced", path);
		kveil_error_hint(err, "name another file, or move this one away");
		return KVEIL_E_KEY_EXISTS;
	}
	return status;
}

static bool index_kept(const struct kveil_document *d, struct kveil_map *ids, struct kveil_map *ended)
{
	bool ok = true;

	for (size_t i = 0; ok && i < d->count; i++) {
		struct kveil_key_record *r = &d->records[i];
		ok = kveil_map_put(ids, kveil_span_of(&r->id, sizeof r->id), r);
		if (ok && kveil_key_record_ends_name(r))
			ok = kveil_map_put(ended, kveil_span_str(r->name), r);
	}
	return ok;
}

static const struct kveil_key_record *find_lost(const struct kveil_document *old, const struct kveil_map *ids,
						const struct kveil_map *ended)
{
	for (size_t i = 0; i < old->count; i++) {
		const struct kveil_key_record *r = &old->records[i];
		if (r->state != KVEIL_KEY_DESTROYED && !kveil_map_get(ids, kveil_span_of(&r->id, sizeof r->id)) &&
		    !kveil_map_get(ended, kveil_span_str(r->name)))
			return r;
	}
	return NULL;
}

/* Each version of the old backup is in the new one, or was destroyed since. */
static enum kveil_status check_covers(const struct kveil_document *d, const struct kveil_document *old,
				      const char *path, struct kveil_error *err)
{
	struct kveil_map ids = {0}, ended = {0};
	const struct kveil_key_record *lost = NULL;
	bool ok = index_kept(d, &ids, &ended);

	if (ok)
		lost = find_lost(old, &ids, &ended);
	kveil_map_clear(&ids);
	kveil_map_clear(&ended);
	if (!ok)
		return kveil_no_memory(err, "a backup");
	if (!lost)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_KEY_EXISTS,
		   "%s has %.60s@%u (id %u), which the registry does not have: it is not replaced", path, lost->name,
		   lost->version, lost->id);
	kveil_error_hint(err, "name another file, or take it in first: `kveil keys restore FILE`");
	return KVEIL_E_KEY_EXISTS;
}

static enum kveil_status check_old(const struct kveil_document *d, const char *path, struct kveil_error *err)
{
	struct kveil_document old = {0};
	enum kveil_status status = load_old(path, &old, err);

	if (!status && old.count && !kveil_secret_eq(old.root.id, d->root.id, sizeof d->root.id)) {
		status =
		    kveil_fail(err, KVEIL_E_KEY_EXISTS, "%s is a backup of another registry: it is not replaced", path);
		kveil_error_hint(err, "name another file; if that registry was lost, `kveil keys restore FILE` "
				      "restores it");
	} else if (!status) {
		status = check_covers(d, &old, path, err);
	}
	kveil_document_clear(&old);
	return status;
}

/* --- backup --- */

static enum kveil_status digest_of(const struct kveil_document *d, const struct kveil_registry_secret *secret,
				   uint8_t out[32], struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_document lasting = *d;

	/* Leases come and go. */
	lasting.generation = lasting.lease = 0;
	enum kveil_status status = kveil_document_write(&lasting, secret, &text, err);
	return status ? status : kveil_crypto_sha256(kveil_buf_span(&text), out, err);
}

static size_t count_living(const struct kveil_document *d)
{
	size_t ret = 0;

	for (size_t i = 0; i < d->count; i++)
		ret += d->records[i].state != KVEIL_KEY_DESTROYED;
	return ret;
}

/* This version under another KEK, which need not be one that opens here. */
static enum kveil_status wrap_under(struct kveil_keystore *ks, struct kveil_kek *kek, struct kveil_key_record *r,
				    struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	struct kveil_key_record old = *r;
	uint8_t *key = NULL;
	enum kveil_status status = kveil_keystore_unwrap(ks, &old, &key, err);

	if (!status && !key)
		status =
		    kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' only locks here: key '%s' version %u cannot be moved",
			       old.kek, old.name, old.version);
	r->wrapped = NULL;
	r->wrapped_len = 0;
	if (!status)
		status = kveil_keystore_make(ks, kek->name, ks->registry->secret, r, kveil_span_of(key, alg->key_bytes),
					     err);
	kveil_secret_free(key);
	free(old.wrapped);
	return status;
}

/* Everything under one KEK, the registry's own secret too. */
static enum kveil_status move_under(struct kveil_keystore *ks, const char *name, struct kveil_document *d,
				    struct kveil_error *err)
{
	struct kveil_kek *kek = kveil_keystore_kek(ks, name);
	struct kveil_registry_root root = kveil_registry_root_head(&d->root);

	if (!kek)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no KEK '%s' under keys.keks", name);
	enum kveil_status status = kveil_registry_root_wrap(ks->registry->secret, kek, &root, err);
	if (status) {
		kveil_registry_root_clear(&root);
		return status;
	}
	kveil_registry_root_clear(&d->root);
	d->root = root;
	for (size_t i = 0; !status && i < d->count; i++) {
		struct kveil_key_record *r = &d->records[i];
		if (r->state != KVEIL_KEY_DESTROYED && !kveil_record_is_named(r) && strcmp(r->kek, name) != 0)
			status = wrap_under(ks, kek, r, err);
	}
	return status;
}

enum kveil_status kveil_keys_backup_changed(struct kveil_keystore *ks, const char *path, const char *under,
					    struct kveil_backup_seen *seen, bool *ret_written, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_document d = {0};
	uint8_t now[32];

	*ret_written = false;
	enum kveil_status status = kveil_keys_snapshot(ks, &d, err);
	d.backup = true;
	if (!status && d.count < seen->versions)
		status = kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
				    "the registry holds %zu versions, and held %zu: the backup stays as it is", d.count,
				    seen->versions);
	if (!status)
		status = digest_of(&d, ks->registry->secret, now, err);
	if (!status && !kveil_secret_eq(now, seen->digest, sizeof now)) {
		status = check_old(&d, path, err);
		if (!status && under)
			status = move_under(ks, under, &d, err);
		if (!status)
			status = kveil_document_write(&d, ks->registry->secret, &text, err);
		if (!status)
			status = kveil_files_write_whole(path, kveil_buf_span(&text), err);
		*ret_written = !status;
	}
	if (*ret_written) {
		struct kveil_event e = {.kind = KVEIL_EVENT_REGISTRY_BACKED_UP, .count = d.count, .detail = path};
		/* One that follows is in the registry's records with its first copy, or there would be no end. */
		if (seen->versions)
			kveil_event(&e);
		else
			kveil_keystore_tell(ks, &e, 1);
		memcpy(seen->digest, now, sizeof now);
		seen->versions = d.count;
		seen->living = count_living(&d);
	}
	kveil_document_clear(&d);
	return status;
}

enum kveil_status kveil_keys_backup_check(const char *path, struct kveil_error *err)
{
	static const char *const backup[] = {"{\n \"kveil\": \"key backup\"", NULL};

	return kveil_files_check_replaced(path, backup, "backup", err);
}

enum kveil_status kveil_keys_backup(const struct kveil_keys_config *cfg, const char *path, const char *under,
				    size_t *ret_living, struct kveil_error *err)
{
	struct kveil_backup_seen seen = {0};
	struct kveil_keystore *ks = NULL;
	enum kveil_status status = kveil_keys_backup_check(path, err);
	bool written;

	*ret_living = 0;
	if (!status)
		status = kveil_keystore_open_reachable(cfg, &ks, err);
	if (status)
		return status;
	status = kveil_keys_backup_changed(ks, path, under, &seen, &written, err);
	*ret_living = seen.living;
	kveil_keystore_unref(ks);
	return status;
}

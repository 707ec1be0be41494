/* SPDX-License-Identifier: Apache-2.0 */
/* A new KEK: every version wrapped again, while workers and other commands go on. */
#include "keyadmin/admin.h"

#include "base/clock.h"
#include "base/secret.h"
#include "keys/internal.h"

#include <stdlib.h>

struct rewrapping {
	struct kveil_keystore *ks;
	struct kveil_document batch;
	struct kveil_keys_rewrap_result *result;
	bool again; /* somebody changed a version meanwhile: it is not moved yet */
};

/* A custodian that is away, refuses, or did not wrap this holds up what is its own. */
static enum kveil_status pass_over(struct rewrapping *w, enum kveil_status status, const struct kveil_error *why)
{
	if (status != KVEIL_E_KEK_UNAVAILABLE && status != KVEIL_E_WRONG_KEK && status != KVEIL_E_PERMISSIONS &&
	    status != KVEIL_E_KEY_DISABLED)
		return status;
	if (!w->result->unreachable++)
		w->result->away = *why;
	return KVEIL_OK;
}

/* Under a KEK that this configuration does not have. */
static enum kveil_status leave_outside(struct rewrapping *w, const struct kveil_key_record *r)
{
	struct kveil_error why;
	uint8_t *key;
	enum kveil_status status = kveil_keystore_unwrap(w->ks, r, &key, &why);

	kveil_secret_free(key);
	if (status && !w->result->unreachable++)
		w->result->away = why;
	return KVEIL_OK;
}

/* The key of this record under another KEK, proved: what the new KEK wrapped must open to the same key before the old
 * wrapping goes. */
static enum kveil_status rewrap_one(struct kveil_keystore *ks, struct kveil_key_record *r,
				    const struct kveil_data_key_config *c, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	const struct kveil_kek *kek = kveil_keystore_kek(ks, c->kek);
	struct kveil_key_record old = *r;
	uint8_t *key = NULL, *again = NULL;
	enum kveil_status status = KVEIL_OK;

	if (!kek->provider->can_unwrap(kek)) {
		kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' only locks here, so that nothing proves what it wraps",
			   kek->name);
		kveil_error_hint(err, "run it where the private key is");
		return KVEIL_E_CONFIG;
	}
	status = kveil_keystore_unwrap(ks, &old, &key, err);
	if (!status && !key)
		status =
		    kveil_fail(err, KVEIL_E_WRONG_KEK, "KEK '%s' can only lock: key '%s' version %u stays under it",
			       old.kek, old.name, old.version);
	r->wrapped = NULL;
	r->wrapped_len = 0;
	if (!status) {
		kveil_key_record_advance(r);
		r->changed_ms = kveil_clock_wall_ms();
		status =
		    kveil_keystore_make(ks, c->keks, ks->registry->secret, r, kveil_span_of(key, alg->key_bytes), err);
	}
	if (!status)
		status = kveil_keystore_unwrap(ks, r, &again, err);
	if (!status && (!again || !kveil_secret_eq(again, key, alg->key_bytes)))
		status = kveil_fail(err, KVEIL_E_CRYPTO, "KEK '%s' does not give back what it wrapped", kek->name);
	kveil_secret_free(key);
	kveil_secret_free(again);
	free(old.wrapped);
	return status;
}

/* One KEK's newest version in the place of an older one, proved as well. Nothing in out: it is the newest. */
static enum kveil_status renew_one(struct kveil_keystore *ks, const struct kveil_key_record *old,
				   const struct kveil_key_wrapping *by, struct kveil_buf *out, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(old->algorithm);
	struct kveil_kek *kek = kveil_keystore_kek(ks, by->kek);
	uint8_t *key = NULL, *again = NULL;
	enum kveil_status status = kek ? kveil_kek_rewrap(kek, by->bytes, out, err) : KVEIL_OK;

	if (status || out->len == 0)
		return status;
	status = kveil_keystore_unwrap(ks, old, &key, err);
	if (!status)
		status = kveil_keystore_unwrap_one(ks, old, kek, kveil_buf_span(out), &again, err);
	if (!status && (!key || !again || !kveil_secret_eq(again, key, alg->key_bytes)))
		status = kveil_fail(err, KVEIL_E_CRYPTO, "KEK '%s' does not give back what it wrapped anew", by->kek);
	kveil_secret_free(key);
	kveil_secret_free(again);
	return status;
}

/* The same of all that wrap it. Nothing is added to the batch where all are the newest. */
static enum kveil_status renew_wrapping(struct kveil_keystore *ks, const struct kveil_key_record *old,
					struct kveil_document *batch, struct kveil_error *err)
{
	struct kveil_buf renewed[KVEIL_WRAPPINGS_MAX] = {KVEIL_BUF_INIT, KVEIL_BUF_INIT};
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_key_record_wrappings(old, by);
	enum kveil_status status = KVEIL_OK;
	bool any = false;

	for (size_t i = 0; !status && i < count; i++) {
		status = renew_one(ks, old, &by[i], &renewed[i], err);
		any |= renewed[i].len > 0;
		if (renewed[i].len)
			by[i].bytes = kveil_buf_span(&renewed[i]);
	}
	if (!status && any && !kveil_document_add(batch, old))
		status = kveil_no_memory(err, "keys");
	if (!status && any) {
		struct kveil_key_record *r = &batch->records[batch->count - 1];
		kveil_key_record_advance(r);
		r->changed_ms = kveil_clock_wall_ms();
		status = kveil_key_record_wrap(r, by, count, err);
		if (!status)
			status = kveil_key_record_sign(r, ks->registry->secret, err);
	}
	for (size_t i = 0; i < KVEIL_WRAPPINGS_MAX; i++)
		kveil_buf_clear(&renewed[i]);
	return status;
}

/* The registry's own secret, as the configured KEKs wrapped it. */
static enum kveil_status renew_root(struct rewrapping *w, const struct kveil_registry_root *root,
				    struct kveil_error *err)
{
	struct kveil_keystore *ks = w->ks;
	struct kveil_registry_root renewed = kveil_registry_root_head(root);
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < root->count; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf wrapped = KVEIL_BUF_INIT;
		struct kveil_kek *kek = kveil_keystore_kek(ks, root->keys[i].kek);
		if (!kek)
			continue;
		status = kveil_kek_rewrap(kek, kveil_span_of(root->keys[i].wrapped, root->keys[i].wrapped_len),
					  &wrapped, err);
		status = pass_over(w, status, err);
		if (status || wrapped.len == 0)
			continue;
		if (!kveil_registry_root_add(&renewed, kek->name, kveil_buf_span(&wrapped))) {
			status = kveil_no_memory(err, "keys");
			continue;
		}
		struct kveil_registry_root one = kveil_registry_root_head(root);
		struct kveil_registry_secret *secret = NULL;
		one.keys = &renewed.keys[renewed.count - 1];
		one.count = 1;
		status = kveil_registry_root_open(&one, ks->custodians, ks->custodian_count, &secret, err);
		if (!status && !kveil_secret_eq(secret->root, ks->registry->secret->root, sizeof secret->root))
			status = kveil_fail(err, KVEIL_E_CRYPTO, "KEK '%s' does not give back what it wrapped anew",
					    kek->name);
		kveil_secret_free(secret);
	}
	if (!status && renewed.count) {
		pthread_mutex_lock(&ks->io_lock);
		status = ks->registry->driver->add_root_keys(ks->registry, &renewed, err);
		pthread_mutex_unlock(&ks->io_lock);
	}
	kveil_registry_root_clear(&renewed);
	return status;
}

/* From an older version of the pattern's own key to the newest. */
static enum kveil_status rewrap_named(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
				      struct kveil_key_record *r, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	uint8_t key[KVEIL_KEY_BYTES_MAX], again[KVEIL_KEY_BYTES_MAX];

	pthread_mutex_lock(&ks->lock);
	enum kveil_status status = kveil_named_keys_unwrap(ks, pattern, r, key, err);
	if (!status) {
		kveil_key_record_advance(r);
		r->changed_ms = kveil_clock_wall_ms();
		status = kveil_named_keys_wrap(ks, pattern, r, key, err);
	}
	if (!status)
		status = kveil_named_keys_unwrap(ks, pattern, r, again, err);
	pthread_mutex_unlock(&ks->lock);
	if (!status && !kveil_secret_eq(again, key, alg->key_bytes))
		status = kveil_fail(err, KVEIL_E_CRYPTO, "'%s' does not give back what it wrapped", pattern->name);
	kveil_secret_wipe(key, sizeof key);
	kveil_secret_wipe(again, sizeof again);
	return status;
}

/* Does what wraps this record now also wrap it by the configuration? Under lock. */
static bool is_home(struct kveil_keystore *ks, const struct kveil_data_key_config *c, const struct kveil_key_record *r)
{
	return kveil_record_is_named(r) ? kveil_named_keys_is_current(ks, c, r) : strcmp(r->kek, c->keks) == 0;
}

static const struct kveil_data_key_config *config_of(const struct kveil_keystore *ks, const struct kveil_key_record *r)
{
	return kveil_keys_config_find(ks->config, kveil_span_str(kveil_record_is_named(r) ? r->kek : r->name));
}

/* Is there anything to do for it, and then: done. */
static enum kveil_status rewrap_into(struct rewrapping *w, const struct kveil_key_record *r, struct kveil_error *err)
{
	const struct kveil_data_key_config *c = config_of(w->ks, r);

	if (r->state == KVEIL_KEY_DESTROYED)
		return KVEIL_OK;
	w->result->unnamed += !c;
	if (!c)
		return KVEIL_OK;
	pthread_mutex_lock(&w->ks->lock);
	bool home = is_home(w->ks, c, r);
	pthread_mutex_unlock(&w->ks->lock);
	if (home)
		return kveil_record_is_named(r) ? KVEIL_OK : renew_wrapping(w->ks, r, &w->batch, err);
	if (!kveil_record_is_named(r) && !kveil_keystore_has_kek(w->ks, r->kek))
		return leave_outside(w, r);
	if (!kveil_document_add(&w->batch, r))
		return kveil_no_memory(err, "keys");
	struct kveil_key_record *copy = &w->batch.records[w->batch.count - 1];
	if (!kveil_record_is_named(r))
		return rewrap_one(w->ks, copy, c, err);
	enum kveil_status status = rewrap_named(w->ks, c, copy, err);
	if (status != KVEIL_E_KEY_DESTROYED)
		return status;
	/* It ended with what wrapped it: there is nothing to move. */
	kveil_key_record_clear(copy);
	w->batch.count--;
	return KVEIL_OK;
}

/* What is known of this record's version now; the caller clears it. */
static enum kveil_status known_now(struct kveil_keystore *ks, const struct kveil_key_record *r,
				   struct kveil_document *ret, struct kveil_error *err)
{
	pthread_mutex_lock(&ks->lock);
	bool ok = kveil_keystore_copy_record(ks, r->id, ret);
	pthread_mutex_unlock(&ks->lock);
	return ok ? KVEIL_OK : kveil_no_memory(err, "keys");
}

/* Leaves out what was changed since it was read: a version that was destroyed stays so. */
static enum kveil_status drop_overtaken(struct rewrapping *w, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	size_t kept = 0;

	for (size_t i = 0; i < w->batch.count; i++) {
		struct kveil_key_record r = w->batch.records[i];
		struct kveil_document now = {0};
		if (!status)
			status = known_now(w->ks, &r, &now, err);
		bool is_next = !status && now.count && kveil_key_record_supersedes(&r, &now.records[0]);
		w->again |= !is_next && now.count && now.records[0].state != KVEIL_KEY_DESTROYED;
		w->batch.records[i] = (struct kveil_key_record){0};
		if (is_next)
			w->batch.records[kept++] = r;
		else
			kveil_key_record_clear(&r);
		kveil_document_clear(&now);
	}
	w->batch.count = kept;
	return status;
}

static enum kveil_status count_moved(struct rewrapping *w, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < w->batch.count; i++) {
		struct kveil_document now = {0};
		status = known_now(w->ks, &w->batch.records[i], &now, err);
		if (!status && now.count && now.records[0].state != KVEIL_KEY_DESTROYED) {
			pthread_mutex_lock(&w->ks->lock);
			bool moved = is_home(w->ks, config_of(w->ks, &now.records[0]), &now.records[0]);
			pthread_mutex_unlock(&w->ks->lock);
			w->result->moved += moved;
			w->again |= !moved;
		}
		kveil_document_clear(&now);
	}
	return status;
}

static enum kveil_status put_batch(struct rewrapping *w, struct kveil_error *err)
{
	bool read;
	enum kveil_status status = kveil_keystore_refresh_read(w->ks, &read, err);

	if (read)
		status = KVEIL_OK;
	if (!status)
		status = drop_overtaken(w, err);
	if (!status && w->batch.count) {
		pthread_mutex_lock(&w->ks->io_lock);
		status = w->ks->registry->driver->append(w->ks->registry, w->batch.records, w->batch.count, err);
		pthread_mutex_unlock(&w->ks->io_lock);
		if (!status)
			status = kveil_keystore_settle(w->ks, err);
		if (!status)
			status = count_moved(w, err);
	}
	kveil_document_clear(&w->batch);
	return status;
}

static enum kveil_status pass(struct rewrapping *w, kveil_keys_progress_fn *progress, void *user,
			      struct kveil_error *err)
{
	enum { LEAST = 64, MOST = 1024, BATCHES = 100 };
	struct kveil_keystore *ks = w->ks;
	struct kveil_document now = {0};

	w->again = false;
	w->result->unnamed = w->result->unreachable = 0;
	enum kveil_status status = kveil_keys_snapshot(ks, &now, err);
	if (!status)
		status = renew_root(w, &now.root, err);
	/* A file is written whole for each batch: not too many of them. */
	size_t batch = now.count / BATCHES < LEAST ? LEAST : now.count / BATCHES < MOST ? now.count / BATCHES : MOST;
	for (size_t i = 0; !status && i < now.count; i++) {
		size_t before = w->batch.count;
		status = rewrap_into(w, &now.records[i], err);
		if (status && w->batch.count > before)
			kveil_key_record_clear(&w->batch.records[--w->batch.count]);
		status = pass_over(w, status, err);
		if (!status && w->batch.count && (w->batch.count == batch || i + 1 == now.count))
			status = put_batch(w, err);
		if (!status && progress)
			progress(user, i + 1, now.count);
	}
	kveil_document_clear(&w->batch);
	kveil_document_clear(&now);
	return status;
}

enum kveil_status kveil_keys_rewrap(struct kveil_keystore *ks, kveil_keys_progress_fn *progress, void *user,
				    struct kveil_keys_rewrap_result *ret, struct kveil_error *err)
{
	enum { PASSES = 10 };
	struct rewrapping w = {.ks = ks, .result = ret, .again = true};
	enum kveil_status status = KVEIL_OK;

	*ret = (struct kveil_keys_rewrap_result){0};
	for (int i = 0; !status && w.again && i < PASSES; i++)
		status = pass(&w, progress, user, err);
	if (!status && w.again)
		status =
		    kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "other processes keep changing keys: run it again");
	if (ret->moved)
		kveil_keystore_tell(ks, &(struct kveil_event){.kind = KVEIL_EVENT_KEYS_REWRAPPED, .count = ret->moved},
				    1);
	return status;
}

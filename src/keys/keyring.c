/* SPDX-License-Identifier: Apache-2.0 */
/* One thread's keys: a lease, a counter, and a cipher for every version of every key that was asked for. */
#include "keys/keyring.h"

#include "base/clock.h"
#include "crypto/crypto.h"

#include <stdlib.h>

enum kveil_status kveil_keyring_new(struct kveil_keystore *ks, struct kveil_keyring **ret, struct kveil_error *err)
{
	struct kveil_keyring *ring = calloc(1, sizeof *ring);

	if (!ring)
		return kveil_no_memory(err, "a keyring");
	ring->alive = ks->alive;
	if (kveil_keyring_is_wiped(ring)) {
		free(ring);
		return kveil_keyring_wiped(err);
	}
	kveil_keystore_ref(ks);
	ring->ks = ks;
	ring->next_change_ms = INT64_MAX;
	ring->generation = atomic_load_explicit(&ks->generation, memory_order_acquire);
	*ret = ring;
	return KVEIL_OK;
}

static void free_versions(struct kveil_bound *versions, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (versions[i].cipher)
			versions[i].alg->cipher_free(versions[i].cipher);
	free(versions);
}

static void key_free(struct kveil_key *key)
{
	if (!key)
		return;
	free_versions(key->versions, key->count);
	free(key->asked);
	free(key);
}

void kveil_keyring_free(struct kveil_keyring *ring)
{
	if (!ring)
		return;
	for (size_t i = 0; i < ring->keys.cap; i++)
		key_free(ring->keys.slots[i].value);
	kveil_map_clear(&ring->keys);
	kveil_keyring_named_free(ring);
	kveil_keystore_unref(ring->ks);
	free(ring);
}

static int by_id(const void *a, const void *b)
{
	const struct kveil_bound *x = a, *y = b;
	return x->id < y->id ? -1 : x->id > y->id;
}

static enum kveil_status bind(const struct kveil_key_version *v, const struct kveil_key *key, struct kveil_bound *b,
			      struct kveil_error *err)
{
	kveil_bound_init(b, v->record.id, v->alg, v->record.state == KVEIL_KEY_DESTROYED);
	b->withheld = v->withheld;
	if (!v->key || v->withheld)
		return KVEIL_OK;
	struct kveil_bound *had = kveil_bound_find(key, b->id);
	if (had && had->cipher) {
		b->cipher = had->cipher;
		return KVEIL_OK;
	}
	return v->alg->cipher_new(kveil_span_of(v->key, v->alg->key_bytes), &b->cipher, err);
}

/* Brings a key up to what the keystore has now. On failure the key stays as it was. */
static enum kveil_status key_sync(struct kveil_key *key, int64_t now_ms, struct kveil_error *err)
{
	struct kveil_key_name *name = key->name;
	const struct kveil_key_version *active;
	enum kveil_status status = KVEIL_OK;
	struct kveil_bound *fresh = NULL;
	size_t count = 0, overhead = 0;
	uint32_t active_id = 0;
	int64_t until = INT64_MAX;

	pthread_mutex_lock(&key->ring->ks->lock);
	if (name->count) {
		fresh = calloc(name->count, sizeof *fresh);
		if (!fresh)
			status = kveil_no_memory(err, "a key");
	}
	for (size_t i = 0; !status && i < name->count; i++) {
		const struct kveil_key_version *v = name->versions[i];
		if (key->pinned && v->record.version != key->pinned)
			continue;
		status = kveil_key_use_check(v->alg, kveil_span_str(name->name), key->use, err);
		if (!status)
			status = bind(v, key, &fresh[count], err);
		if (status)
			break;
		if (kveil_bound_overhead(v->alg) > overhead)
			overhead = kveil_bound_overhead(v->alg);
		if (key->pinned && v->record.state == KVEIL_KEY_LIVE && !v->anyones && !v->withheld)
			active_id = v->record.id;
		count++;
	}
	if (!key->pinned && (active = kveil_key_name_active(name, now_ms, &until)))
		active_id = active->record.id;
	pthread_mutex_unlock(&key->ring->ks->lock);

	if (status) {
		for (size_t i = 0; i < count; i++) {
			struct kveil_bound *had = kveil_bound_find(key, fresh[i].id);
			if (fresh[i].cipher && !(had && had->cipher == fresh[i].cipher))
				fresh[i].alg->cipher_free(fresh[i].cipher);
		}
		free(fresh);
		return status;
	}
	if (count)
		qsort(fresh, count, sizeof *fresh, by_id);
	struct kveil_key now_has = {.versions = fresh, .count = count};
	for (size_t i = 0; i < key->count; i++) {
		struct kveil_bound *kept = kveil_bound_find(&now_has, key->versions[i].id);
		if (kept && kept->cipher == key->versions[i].cipher)
			key->versions[i].cipher = NULL;
	}
	free_versions(key->versions, key->count);
	key->versions = fresh;
	key->count = count;
	key->overhead = overhead;
	key->last_opened = NULL;
	key->active = active_id ? kveil_bound_find(key, active_id) : NULL;
	key->until_ms = until;
	return KVEIL_OK;
}

static bool lacks_active(const struct kveil_key *key)
{
	return !key->active && (key->use & (KVEIL_USE_SEAL | KVEIL_USE_MAC | KVEIL_USE_TOKENIZE));
}

static enum kveil_status ring_sync(struct kveil_keyring *ring, int64_t now_ms, struct kveil_error *err)
{
	uint64_t generation = atomic_load_explicit(&ring->ks->generation, memory_order_acquire);
	int64_t next = INT64_MAX;

	ring->inactive = NULL;
	for (size_t i = 0; i < ring->keys.cap; i++) {
		struct kveil_key *key = ring->keys.slots[i].value;
		if (!key)
			continue;
		enum kveil_status status = key_sync(key, now_ms, err);
		if (status)
			return status;
		if (lacks_active(key))
			ring->inactive = key;
		if (key->until_ms < next)
			next = key->until_ms;
	}
	ring->generation = generation;
	ring->next_change_ms = next;
	return KVEIL_OK;
}

enum kveil_status kveil_keyring_tick(struct kveil_keyring *ring, int64_t now_wall_ms, struct kveil_error *err)
{
	struct kveil_keystore *ks = ring->ks;
	enum kveil_status status;

	ring->now_ms = now_wall_ms;
	ring->refuses = true;
	if (kveil_keyring_is_wiped(ring))
		return kveil_keyring_wiped(err);
	/* What is known of an id holds until here. */
	if (!kveil_keyring_look(ring) && ring->missing.answer.status)
		ring->missing = (struct kveil_missing){0};
	if (ring->named)
		kveil_keyring_named_tick(ring);
	if (atomic_load_explicit(&ks->generation, memory_order_acquire) != ring->generation ||
	    now_wall_ms >= ring->next_change_ms) {
		status = ring_sync(ring, now_wall_ms, err);
		if (status)
			return status;
	}
	if (atomic_load_explicit(&ks->in_memory.custodian_away, memory_order_relaxed))
		return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "the key custodian was taken away");
	if (atomic_load_explicit(&ks->rolled_back, memory_order_relaxed))
		return kveil_fail(
		    err, KVEIL_E_NO_LEASE,
		    "the key registry went back behind what was read from it: nothing is sealed with its keys");
	ring->refuses = false;
	if (ring->needs_lease) {
		status = kveil_keyring_tend_lease(ring, now_wall_ms, err);
		if (status)
			return status;
	}
	return ring->inactive ? kveil_key_no_active(ring->inactive, err) : KVEIL_OK;
}

bool kveil_keyring_refuses(const struct kveil_keyring *ring)
{
	return ring->refuses;
}

/* NAME or NAME@VERSION. */
static enum kveil_status parse_name(struct kveil_span asked, struct kveil_span *name, uint32_t *pinned,
				    struct kveil_error *err)
{
	const uint8_t *at = asked.len ? memchr(asked.data, '@', asked.len) : NULL;
	uint64_t version = 0;

	*name = asked;
	*pinned = 0;
	if (!at)
		return KVEIL_OK;
	name->len = (size_t)(at - asked.data);
	size_t digits = asked.len - name->len - 1;
	for (size_t i = 0; i < digits && i < 10; i++) {
		uint8_t c = at[1 + i];
		version = c >= '0' && c <= '9' ? version * 10 + (c - '0') : UINT64_MAX / 20;
	}
	if (digits == 0 || digits > 9 || version == 0 || version > UINT32_MAX)
		return kveil_fail(err, KVEIL_E_CONFIG, "'%.*s' names no version: write NAME@1", (int)asked.len,
				  (const char *)asked.data);
	*pinned = (uint32_t)version;
	return KVEIL_OK;
}

static enum kveil_status key_new(struct kveil_keyring *ring, struct kveil_span asked, struct kveil_key_name *name,
				 uint32_t pinned, unsigned use, struct kveil_key **ret, struct kveil_error *err)
{
	int64_t now = kveil_clock_wall_ms();
	struct kveil_key *key = calloc(1, sizeof *key);
	enum kveil_status status;

	if (!key)
		return kveil_no_memory(err, "a key");
	key->ring = ring;
	key->name = name;
	key->label = name->name;
	key->pinned = pinned;
	key->use = use;
	key->asked = strndup((const char *)asked.data, asked.len);
	status = key->asked ? key_sync(key, now, err) : kveil_no_memory(err, "a key");
	if (!status && key->count == 0 && pinned)
		status = kveil_fail(err, KVEIL_E_NOT_FOUND, "key '%s' has no version %u", name->name, pinned);
	if (!status && !kveil_map_put(&ring->keys, kveil_span_str(key->asked), key))
		status = kveil_no_memory(err, "a key");
	if (status) {
		key_free(key);
		return status;
	}
	if (key->until_ms < ring->next_change_ms)
		ring->next_change_ms = key->until_ms;
	*ret = key;
	return KVEIL_OK;
}

/* A pinned version that does not seal will never do so: the operator's mistake, not an outage. */
static enum kveil_status check_active(struct kveil_keyring *ring, const struct kveil_key *key, struct kveil_error *err)
{
	if (!lacks_active(key))
		return KVEIL_OK;
	if (key->pinned && !kveil_key_is_withheld(key)) {
		kveil_fail(err, KVEIL_E_CONFIG, "'%s' protects nothing any more: that version only opens", key->asked);
		kveil_error_hint(err,
				 "name '%s' without a version, or a version that `kveil keys list` shows as active",
				 key->label);
		return KVEIL_E_CONFIG;
	}
	ring->inactive = key;
	return kveil_key_no_active(key, err);
}

static bool counts_nonces(const struct kveil_key *key)
{
	for (size_t i = 0; i < key->count; i++)
		if (key->versions[i].alg->nonce_bytes && !key->versions[i].alg->nonce_is_random)
			return true;
	return false;
}

enum kveil_status kveil_keyring_key(struct kveil_keyring *ring, struct kveil_span asked, unsigned use,
				    struct kveil_key **ret, struct kveil_error *err)
{
	struct kveil_key *key = kveil_map_get(&ring->keys, asked);
	struct kveil_key_name *name;
	struct kveil_span base;
	uint32_t pinned;
	enum kveil_status status;

	if (key) {
		if (key->count)
			status = kveil_key_use_check(key->versions[0].alg, asked, use, err);
		else
			status = KVEIL_OK;
		if (status)
			return status;
		key->use |= use;
	} else {
		status = parse_name(asked, &base, &pinned, err);
		if (!status)
			status = kveil_keystore_name(ring->ks, base, use, &name, err);
		if (!status)
			status = key_new(ring, asked, name, pinned, use, &key, err);
		if (status)
			return status;
	}
	status = check_active(ring, key, err);
	if (!status && use & KVEIL_USE_SEAL && counts_nonces(key)) {
		ring->needs_lease = true;
		status = kveil_keyring_tend_lease(ring, kveil_clock_wall_ms(), err);
	}
	if (!status)
		*ret = key;
	return status;
}

const struct kveil_algorithm *kveil_key_algorithm(const struct kveil_key *key)
{
	return key->active ? key->active->alg : key->count ? key->versions[0].alg : NULL;
}

enum kveil_status kveil_keyring_named(struct kveil_keyring *ring, struct kveil_span name, unsigned use,
				      struct kveil_key **ret, struct kveil_error *err)
{
	if (kveil_keyring_is_wiped(ring))
		return kveil_keyring_wiped(err);
	return ring->ks->config->any_name ? kveil_keyring_key(ring, name, use, ret, err)
					  : kveil_keyring_named_key(ring, name, use, ret, err);
}

struct kveil_span kveil_key_join(const struct kveil_key *key)
{
	const struct kveil_data_key_config *c =
	    key->name ? key->name->config : NULL; /* a cipher with nonces joins nothing */

	return c && c->join ? kveil_span_str(c->join) : KVEIL_SPAN_NULL;
}

static enum kveil_status say_unknown(struct kveil_key *key, uint32_t id, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "no key with id %u under the name '%s'", id,
		   key->asked ? key->asked : key->label);
	pthread_mutex_lock(&key->ring->ks->lock);
	const struct kveil_key_version *v = kveil_keystore_by_id(key->ring->ks, id);
	if (v)
		kveil_error_hint(err, "it is version %u of '%s'", v->record.version, v->record.name);
	pthread_mutex_unlock(&key->ring->ks->lock);
	return KVEIL_E_UNKNOWN_KEY;
}

/* A version that is not here may have been published since the last tick. OK: it is here now. */
static enum kveil_status look_for(struct kveil_key *key, uint32_t id, struct kveil_error *err)
{
	enum kveil_status status = key->pinned ? KVEIL_E_UNKNOWN_KEY : kveil_keystore_seek(key->ring->ks, id, err);

	if (!status)
		status = key->name ? key_sync(key, kveil_clock_wall_ms(), err) : kveil_keyring_named_sync(key, err);
	if (status && status != KVEIL_E_UNKNOWN_KEY)
		return status;
	return kveil_bound_find(key, id) ? KVEIL_OK : say_unknown(key, id, err);
}

bool kveil_keyring_look(struct kveil_keyring *ring)
{
	struct kveil_missing *m = &ring->missing;

	if (!m->key || m->answer.status)
		return false;
	struct kveil_error why = {0};
	enum kveil_status status = look_for(m->key, m->id, &why);
	if (status == KVEIL_E_KEY_PENDING)
		return false;
	m->answer = why;
	m->answer.status = status;
	if (!status)
		m->key = NULL;
	return true;
}

bool kveil_key_look(struct kveil_key *key)
{
	return kveil_keyring_look(key->ring);
}

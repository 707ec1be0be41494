/* SPDX-License-Identifier: Apache-2.0 */
/* Names from records, and the keys under them. */
#include "keys/named_keys.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "keys/internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	HELD_MAX = 1 << 17, /* keys at hand, in locked memory */
	EVICT = 64,         /* let go at once where locked memory ends */
};

/* A version of a pattern's own key, ready to wrap and unwrap. */
struct kveil_named_key_wrapper {
	uint32_t id;
	const struct kveil_algorithm *alg;
	struct kveil_cipher *cipher;
};

/* --- names --- */

struct kveil_named_key *kveil_named_keys_find(const struct kveil_keystore *ks, const uint8_t digest[KVEIL_DIGEST_BYTES])
{
	return kveil_map_get(&ks->named_keys.names, kveil_span_of(digest, KVEIL_DIGEST_BYTES));
}

struct kveil_named_key_version *kveil_named_keys_by_id(const struct kveil_keystore *ks, uint32_t id)
{
	return kveil_map_get(&ks->named_keys.ids, kveil_span_of(&id, sizeof id));
}

struct kveil_named_key_rate *kveil_named_keys_rate(struct kveil_keystore *ks,
						   const struct kveil_data_key_config *pattern)
{
	if (!ks->named_keys.rates)
		ks->named_keys.rates = calloc(ks->config->data_count, sizeof *ks->named_keys.rates);
	return ks->named_keys.rates ? &ks->named_keys.rates[pattern - ks->config->data] : NULL;
}

enum kveil_status kveil_named_keys_digest(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
					  struct kveil_span filling, uint8_t digest[KVEIL_DIGEST_BYTES],
					  struct kveil_error *err)
{
	const struct kveil_registry_secret *secret = ks->registry->secret;
	struct kveil_buf text = KVEIL_BUF_INIT;
	uint8_t mac[32];

	kveil_named_keys_digest_text(pattern, filling, &text);
	enum kveil_status status =
	    kveil_buf_ok(&text)
		? kveil_crypto_hmac(secret->name_hash, kveil_span_of(secret->name_key, sizeof secret->name_key),
				    kveil_buf_span(&text), mac, err)
		: kveil_no_memory(err, "a key named from the record");
	if (!status)
		memcpy(digest, mac, KVEIL_DIGEST_BYTES);
	kveil_buf_clear(&text);
	return status;
}

/* --- keys at hand --- */

void kveil_named_keys_let_go(struct kveil_named_keys *t, struct kveil_named_key_version *v)
{
	if (!v || !v->key)
		return;
	kveil_secret_free(v->key);
	v->key = NULL;
	t->held[v->held_at] = NULL;
}

/* Room for one more: the place where the oldest stood. */
static size_t make_room(struct kveil_named_keys *t)
{
	size_t at = t->held_next;

	t->held_next = (t->held_next + 1) % HELD_MAX;
	kveil_named_keys_let_go(t, t->held[at]);
	return at;
}

static void evict_some(struct kveil_named_keys *t)
{
	size_t gone = 0;

	for (size_t i = 0; i < HELD_MAX && gone < EVICT; i++) {
		struct kveil_named_key_version *v = t->held[(t->held_next + i) % HELD_MAX];
		gone += v != NULL;
		kveil_named_keys_let_go(t, v);
	}
}

/* Takes a copy of the key into locked memory. */
static enum kveil_status hold(struct kveil_named_keys *t, struct kveil_named_key_version *v, const uint8_t *key,
			      size_t n, struct kveil_error *err)
{
	if (!t->held && !(t->held = calloc(HELD_MAX, sizeof(struct kveil_named_key_version *))))
		return kveil_no_memory(err, "a key named from the record");
	size_t at = make_room(t);
	uint8_t *copy = kveil_secret_alloc(n);
	if (!copy) {
		evict_some(t);
		copy = kveil_secret_alloc(n);
	}
	if (!copy)
		return kveil_secret_refused(err);
	memcpy(copy, key, n);
	v->key = copy;
	v->held_at = (uint32_t)at;
	t->held[at] = v;
	return KVEIL_OK;
}

/* --- wrapping --- */

static enum kveil_status wrapper_of(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern, uint32_t id,
				    struct kveil_named_key_wrapper **ret, struct kveil_error *err)
{
	struct kveil_named_keys *t = &ks->named_keys;

	for (size_t i = 0; i < t->wrapper_count; i++)
		if (t->wrappers[i].id == id) {
			*ret = &t->wrappers[i];
			return KVEIL_OK;
		}
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, id);
	if (v && strcmp(v->record.name, pattern->name) != 0)
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "key id %u does not wrap the keys of '%s'", id,
				  pattern->name);
	if (v && v->record.state == KVEIL_KEY_DESTROYED)
		return kveil_fail(err, KVEIL_E_KEY_DESTROYED, "the version of '%s' that wrapped this key was destroyed",
				  pattern->name);
	if (v && v->withheld)
		return kveil_fail(err, KVEIL_E_KEY_DISABLED, "the own key of '%s' is disabled, or due to be destroyed",
				  pattern->name);
	if (v && !v->key)
		return kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "the own key of '%s' was wrapped for others to open",
				  pattern->name);
	const struct kveil_named_key_rate *rate = kveil_named_keys_rate(ks, pattern);
	if (!v && t->is_read && rate && !rate->held_up)
		return kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "no key with id %u under the name '%s'", id, pattern->name);
	if (!v)
		return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "the own key of '%s' is not at hand", pattern->name);
	struct kveil_named_key_wrapper *grown = realloc(t->wrappers, (t->wrapper_count + 1) * sizeof *grown);
	if (!grown)
		return kveil_no_memory(err, "a key named from the record");
	t->wrappers = grown;
	struct kveil_named_key_wrapper *w = &grown[t->wrapper_count];
	*w = (struct kveil_named_key_wrapper){.id = id, .alg = v->alg};
	enum kveil_status status = v->alg->seal
				       ? v->alg->cipher_new(kveil_span_of(v->key, v->alg->key_bytes), &w->cipher, err)
				       : kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "'%s' wraps nothing", pattern->name);
	if (status)
		return status;
	t->wrapper_count++;
	*ret = w;
	return KVEIL_OK;
}

uint32_t kveil_named_keys_wrapper_id(const uint8_t *wrapped)
{
	return kveil_be32(wrapped + 1);
}

/* What this version of a pattern's own key wrapped is looked at anew. */
static void wrapper_changed(struct kveil_named_keys *t, uint32_t id)
{
	for (size_t i = 0; i < t->ids.cap; i++) {
		struct kveil_named_key_version *v = t->ids.slots[i].value;
		if (!v || v->wrapped_len < KVEIL_NAMED_KEY_PREFIX_BYTES ||
		    kveil_named_keys_wrapper_id(v->wrapped) != id)
			continue;
		kveil_named_keys_let_go(t, v);
		v->dud = false;
		v->named->changes++;
	}
	atomic_fetch_add_explicit(&t->changes, 1, memory_order_release);
}

void kveil_named_keys_wrapper_here(struct kveil_keystore *ks, uint32_t id)
{
	if (ks->named_keys.has_duds)
		wrapper_changed(&ks->named_keys, id);
}

void kveil_named_keys_wrapper_gone(struct kveil_keystore *ks, uint32_t id)
{
	struct kveil_named_keys *t = &ks->named_keys;

	for (size_t i = 0; i < t->wrapper_count; i++)
		if (t->wrappers[i].id == id) {
			t->wrappers[i].alg->cipher_free(t->wrappers[i].cipher);
			t->wrappers[i] = t->wrappers[--t->wrapper_count];
			break;
		}
	wrapper_changed(t, id);
}

struct kveil_key_record kveil_named_keys_head(const struct kveil_named_key_version *v)
{
	struct kveil_key_record r = {.id = v->id,
				     .version = v->version,
				     .sequence = v->sequence,
				     .algorithm = v->algorithm,
				     .state = (enum kveil_key_state)v->state,
				     .created_ms = v->created_ms,
				     .active_from_ms = v->active_from_ms,
				     .expires_ms = v->expires_ms,
				     .changed_ms = v->changed_ms};

	kveil_named_keys_write_name(v->named->pattern, v->named->digest, r.name);
	snprintf(r.kek, sizeof r.kek, "%s", v->named->pattern->name);
	return r;
}

bool kveil_named_keys_record(const struct kveil_named_key_version *v, struct kveil_key_record *ret)
{
	*ret = kveil_named_keys_head(v);
	if (!v->wrapped_len)
		return true;
	ret->wrapped = malloc(v->wrapped_len);
	if (!ret->wrapped)
		return false;
	memcpy(ret->wrapped, v->wrapped, v->wrapped_len);
	ret->wrapped_len = v->wrapped_len;
	return true;
}

enum kveil_status kveil_named_keys_unwrap(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
					  const struct kveil_key_record *r, uint8_t key[KVEIL_KEY_BYTES_MAX],
					  struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	uint8_t head[KVEIL_PAYLOAD_MAX], out[KVEIL_NAMED_KEY_WRAPPED_MAX];
	struct kveil_named_key_wrapper *w;
	size_t n = 0;

	if (!alg || r->wrapped_len < KVEIL_NAMED_KEY_PREFIX_BYTES || r->wrapped_len > KVEIL_NAMED_KEY_WRAPPED_MAX ||
	    r->wrapped[0] != 1)
		return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "key '%s' with id %u is not wrapped as its kind is",
				  r->name, r->id);
	enum kveil_status status = wrapper_of(ks, pattern, kveil_named_keys_wrapper_id(r->wrapped), &w, err);
	if (status)
		return status;
	struct kveil_span ad = {head, kveil_key_payload_head(r, ks->registry->secret->id, head)};
	const uint8_t *nonce = r->wrapped + KVEIL_NAMED_KEY_PREFIX_BYTES;
	struct kveil_span in = {nonce + w->alg->nonce_bytes, 0};
	if (r->wrapped_len >= KVEIL_NAMED_KEY_PREFIX_BYTES + w->alg->nonce_bytes)
		in.len = r->wrapped_len - KVEIL_NAMED_KEY_PREFIX_BYTES - w->alg->nonce_bytes;
	status = w->alg->open(w->cipher, w->alg->nonce_bytes ? nonce : NULL, ad, in, out, &n, NULL);
	if (!status && n == alg->key_bytes)
		memcpy(key, out, n);
	else
		status = kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT,
				    "the wrapped key beside '%s' version %u is another's", r->name, r->version);
	kveil_secret_wipe(out, sizeof out);
	return status;
}

enum kveil_status kveil_named_keys_key(struct kveil_keystore *ks, struct kveil_named_key_version *v,
				       const uint8_t **ret, struct kveil_error *err)
{
	uint8_t key[KVEIL_KEY_BYTES_MAX];

	*ret = v->key;
	if (v->key)
		return KVEIL_OK;
	struct kveil_key_record r = kveil_named_keys_head(v);
	if (v->state == KVEIL_KEY_DESTROYED || v->named->ended)
		return kveil_fail(err, KVEIL_E_KEY_DESTROYED, "key '%s' with id %u was destroyed", r.name, v->id);
	r.wrapped = v->wrapped; /* borrowed */
	r.wrapped_len = v->wrapped_len;
	if (v->withheld)
		return kveil_fail(err, KVEIL_E_KEY_DISABLED, "key '%s' with id %u is disabled, or due to be destroyed",
				  r.name, v->id);
	enum kveil_status status = kveil_named_keys_unwrap(ks, v->named->pattern, &r, key, err);
	if (!status)
		status = hold(&ks->named_keys, v, key, kveil_algorithm_by_wire_id(v->algorithm)->key_bytes, err);
	kveil_secret_wipe(key, sizeof key);
	*ret = v->key;
	v->dud = status == KVEIL_E_REGISTRY_CORRUPT || status == KVEIL_E_UNKNOWN_KEY;
	ks->named_keys.has_duds |= v->dud;
	return v->dud ? kveil_fail(err, KVEIL_E_UNKNOWN_KEY,
				   "key '%s' with id %u cannot be unwrapped by any key there is", r.name, v->id)
		      : status;
}

enum kveil_status kveil_named_keys_cipher(struct kveil_keystore *ks, struct kveil_named_key_version *v,
					  struct kveil_cipher **ret, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(v->algorithm);
	struct kveil_cipher *spare = *ret;
	const uint8_t *key;
	enum kveil_status status = kveil_named_keys_key(ks, v, &key, err);

	if (!status && spare && spare->alg == alg && alg->cipher_rekey(spare, kveil_span_of(key, alg->key_bytes)))
		return KVEIL_OK;
	*ret = NULL;
	if (spare)
		spare->alg->cipher_free(spare);
	return status ? status : alg->cipher_new(kveil_span_of(key, alg->key_bytes), ret, err);
}

/* It has no nonce that is counted: a restored one wraps as well as a new one. */
static const struct kveil_key_version *newest_wrapper(const struct kveil_keystore *ks,
						      const struct kveil_data_key_config *pattern)
{
	const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(pattern->name));
	const struct kveil_key_version *newest = NULL;

	for (size_t i = 0; n && i < n->count; i++)
		if (n->versions[i]->key && !n->versions[i]->withheld &&
		    n->versions[i]->record.state < KVEIL_KEY_RETIRED &&
		    (!newest || n->versions[i]->record.version > newest->record.version))
			newest = n->versions[i];
	return newest;
}

bool kveil_named_keys_is_current(const struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
				 const struct kveil_key_record *r)
{
	const struct kveil_key_version *newest = newest_wrapper(ks, pattern);

	return r->wrapped_len < KVEIL_NAMED_KEY_PREFIX_BYTES ||
	       (newest && kveil_named_keys_wrapper_id(r->wrapped) == newest->record.id);
}

enum kveil_status kveil_named_keys_wrap(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
					struct kveil_key_record *r, const uint8_t *key, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	const struct kveil_key_version *newest = newest_wrapper(ks, pattern);
	uint8_t head[KVEIL_PAYLOAD_MAX];
	struct kveil_named_key_wrapper *w;
	size_t len = 0;

	if (!newest)
		return kveil_fail(err, KVEIL_E_NO_ACTIVE_KEY,
				  "key '%s' has no version that may wrap: `kveil keys rotate`", pattern->name);
	if (r->version == KVEIL_NAMED_KEY_ENDED)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key '%s' has used its last version number", r->name);
	snprintf(r->kek, sizeof r->kek, "%s", pattern->name);
	enum kveil_status status = wrapper_of(ks, pattern, newest->record.id, &w, err);
	if (status)
		return status;
	struct kveil_span ad = {head, kveil_key_payload_head(r, ks->registry->secret->id, head)};
	uint8_t *out =
	    malloc(KVEIL_NAMED_KEY_PREFIX_BYTES + w->alg->nonce_bytes + alg->key_bytes + w->alg->overhead_bytes);
	if (!out)
		return kveil_no_memory(err, "a key named from the record");
	out[0] = 1;
	for (int i = 0; i < 4; i++)
		out[1 + i] = (uint8_t)(w->id >> (24 - 8 * i));
	uint8_t *nonce = out + KVEIL_NAMED_KEY_PREFIX_BYTES;
	if (w->alg->nonce_bytes)
		status = kveil_crypto_random(nonce, w->alg->nonce_bytes, err);
	if (!status)
		status = w->alg->seal(w->cipher, w->alg->nonce_bytes ? nonce : NULL, ad,
				      kveil_span_of(key, alg->key_bytes), nonce + w->alg->nonce_bytes, &len, err);
	if (status) {
		free(out);
		return status;
	}
	free(r->wrapped);
	r->wrapped = out;
	r->wrapped_len = KVEIL_NAMED_KEY_PREFIX_BYTES + w->alg->nonce_bytes + len;
	return kveil_key_record_sign(r, ks->registry->secret, err);
}

void kveil_named_keys_clear(struct kveil_keystore *ks)
{
	struct kveil_named_keys *t = &ks->named_keys;

	for (size_t i = 0; i < t->ids.cap; i++) {
		struct kveil_named_key_version *v = t->ids.slots[i].value;
		if (!v)
			continue;
		kveil_secret_free(v->key);
		free(v->wrapped);
		free(v);
	}
	for (size_t i = 0; i < t->names.cap; i++)
		free(t->names.slots[i].value);
	for (size_t i = 0; i < t->wrapper_count; i++)
		t->wrappers[i].alg->cipher_free(t->wrappers[i].cipher);
	kveil_map_clear(&t->ids);
	kveil_map_clear(&t->names);
	free(t->wrappers);
	free(t->held);
	free(t->asked);
	free(t->rates);
	free(t->topics);
	*t = (struct kveil_named_keys){0};
}

bool kveil_named_keys_meant(struct kveil_keystore *ks, const char *name, struct kveil_named_key_ask *ret)
{
	struct kveil_span filling;

	if (kveil_keys_config_find(ks->config, kveil_span_str(name)))
		return false;
	ret->pattern = kveil_keys_config_pattern(ks->config, kveil_span_str(name), &filling);
	return ret->pattern && kveil_named_keys_digest(ks, ret->pattern, filling, ret->digest, NULL) == KVEIL_OK;
}

void kveil_named_keys_hint(struct kveil_keystore *ks, const char *name, struct kveil_error *err)
{
	uint8_t digest[KVEIL_DIGEST_BYTES];
	bool known = false;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < ks->config->data_count; i++)
		known |=
		    kveil_named_keys_read_name(&ks->config->data[i], name, digest) && kveil_named_keys_find(ks, digest);
	pthread_mutex_unlock(&ks->lock);
	if (known)
		kveil_error_hint(err, "so the registry calls a key that records name: name it as records do");
}

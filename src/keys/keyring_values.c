/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with a key to each value. No lock is taken here, and no registry asked (tests/objects.py holds that). */
#include "keys/keyring.h"

#include "base/bytes.h"
#include "base/secret.h"
#include "crypto/crypto.h"

enum {
	NONCE_BYTES = 12, /* lease | counter */
};

struct kveil_bound *kveil_bound_find(const struct kveil_key *key, uint32_t id)
{
	size_t low = 0, high = key->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (key->versions[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < key->count && key->versions[low].id == id ? &key->versions[low] : NULL;
}

enum kveil_status kveil_keyring_wiped(struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_INTERNAL, "keys do not survive a fork");
	kveil_error_hint(err, "open the keys, or the library, in the child");
	return KVEIL_E_INTERNAL;
}

bool kveil_key_is_withheld(const struct kveil_key *key)
{
	bool ret = false;

	for (size_t i = 0; i < key->count; i++)
		ret |= key->versions[i].withheld && !key->versions[i].destroyed;
	return ret && !key->active;
}

enum kveil_status kveil_key_no_active(const struct kveil_key *key, struct kveil_error *err)
{
	if (kveil_key_is_withheld(key)) {
		kveil_fail(err, KVEIL_E_KEY_DISABLED, "key '%s' is disabled, or due to be destroyed", key->label);
		kveil_error_hint(err, "`kveil keys list` shows which; `kveil keys enable %s` or `kveil keys cancel %s`",
				 key->label, key->label);
		return KVEIL_E_KEY_DISABLED;
	}
	if (key->pinned)
		return kveil_fail(err, KVEIL_E_NO_ACTIVE_KEY, "version %u of key '%s' does not seal", key->pinned,
				  key->label);
	kveil_fail(err, KVEIL_E_NO_ACTIVE_KEY, "key '%s' has no version that may seal now", key->label);
	if (key->name && key->name->config && key->name->config->algorithm->kind != KVEIL_ALG_AEAD)
		kveil_error_hint(err, "`kveil keys rotate %s` makes one", key->label);
	return KVEIL_E_NO_ACTIVE_KEY;
}

size_t kveil_key_sealed_max(const struct kveil_key *key, size_t n)
{
	return n + key->overhead;
}

enum kveil_status kveil_key_seal(struct kveil_key *key, struct kveil_span ad, struct kveil_span plain, uint8_t *out,
				 size_t *ret_len, struct kveil_error *err)
{
	struct kveil_keyring *ring = key->ring;
	const struct kveil_bound *v = key->active;

	if (kveil_keyring_is_wiped(ring))
		return kveil_keyring_wiped(err);
	if (__builtin_expect(!v || !v->cipher || !v->alg->seal, 0))
		return kveil_key_no_active(key, err);
	if (__builtin_expect(ad.len == 0, 0))
		return kveil_fail(err, KVEIL_E_INTERNAL, "nothing is sealed without associated data");
	const struct kveil_algorithm *alg = v->alg;
	uint8_t *at = out + KVEIL_PREFIX_BYTES, *nonce = NULL;
	memcpy(out, v->prefix, KVEIL_PREFIX_BYTES);
	if (alg->nonce_bytes) {
		nonce = at;
		at += alg->nonce_bytes;
		if (alg->nonce_is_random) {
			enum kveil_status status = kveil_crypto_random(nonce, alg->nonce_bytes, err);
			if (status)
				return status;
		} else {
			if (__builtin_expect(ring->uses_left == 0 || alg->nonce_bytes != NONCE_BYTES, 0))
				return kveil_fail(err, KVEIL_E_NO_LEASE, "no nonce lease: key '%s' seals nothing",
						  key->label);
			ring->uses_left--;
			uint32_t lease = __builtin_bswap32(ring->lease);
			uint64_t counter = __builtin_bswap64(ring->counter++);
			memcpy(nonce, &lease, sizeof lease);
			memcpy(nonce + sizeof lease, &counter, sizeof counter);
		}
	}
	size_t n;
	enum kveil_status status = alg->seal(v->cipher, nonce, ad, plain, at, &n, err);
	if (__builtin_expect(status != KVEIL_OK, 0))
		return status;
	*ret_len = (size_t)(at - out) + n;
	return KVEIL_OK;
}

/* No version of this id is bound. Whether it is anywhere is found out behind the record: kveil_keyring_look. */
static enum kveil_status miss(struct kveil_key *key, uint32_t id, struct kveil_error *err)
{
	struct kveil_missing *m = &key->ring->missing;

	if (key->ring->ks->registry->driver->alone)
		return kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "no key with id %u under the name '%s'", id,
				  key->asked ? key->asked : key->label);
	bool is_known = m->id == id && m->pinned == key->pinned && strcmp(m->label, key->label) == 0;
	if (is_known && m->answer.status) {
		if (err)
			*err = m->answer;
		return m->answer.status;
	}
	*m = (struct kveil_missing){.key = key, .pinned = key->pinned, .id = id};
	strncpy(m->label, key->label, KVEIL_KEY_NAME_MAX);
	return kveil_fail(err, KVEIL_E_KEY_PENDING, "the registry is asked for key id %u", id);
}

/* A version that has been in no need of its cipher so far, or has none. */
static enum kveil_status make_cipher(const struct kveil_key *key, struct kveil_bound *v, struct kveil_error *err)
{
	if (v->key) {
		enum kveil_status status =
		    v->alg->cipher_new(kveil_span_of(v->key, v->alg->key_bytes), &v->cipher, err);
		if (!status)
			kveil_secret_wipe(v->key, v->alg->key_bytes);
		v->key = status ? v->key : NULL;
		return status;
	}
	if (v->destroyed)
		return kveil_fail(err, KVEIL_E_KEY_DESTROYED, "key '%s' with id %u was destroyed", key->label, v->id);
	if (!key->name && !(key->use & KVEIL_USE_OPEN))
		return kveil_fail(err, KVEIL_E_INTERNAL, "key '%s' was not asked for to open with it", key->label);
	if (v->withheld)
		return kveil_fail(err, KVEIL_E_KEY_DISABLED, "key '%s' with id %u is disabled, or due to be destroyed",
				  key->label, v->id);
	if (v->why)
		return kveil_fail(err, v->why, "key '%s' with id %u cannot be unwrapped: %s", key->label, v->id,
				  kveil_status_text(v->why));
	return kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "key '%s' with id %u was wrapped for others to open",
			  key->asked ? key->asked : key->label, v->id);
}

enum kveil_status kveil_key_open(struct kveil_key *key, struct kveil_span ad, struct kveil_span sealed, uint8_t *out,
				 size_t *ret_len, struct kveil_error *err)
{
	if (kveil_keyring_is_wiped(key->ring))
		return kveil_keyring_wiped(err);
	if (sealed.len < KVEIL_PREFIX_BYTES || sealed.data[0] != 1)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "this is not a kveil ciphertext: %s",
				  sealed.len < KVEIL_PREFIX_BYTES ? "too short" : "the first byte is not 1");
	uint32_t id = kveil_be32(sealed.data + 1);
	struct kveil_bound *v = key->last_opened;
	if (!v || v->id != id) {
		v = kveil_bound_find(key, id);
		if (!v)
			return miss(key, id, err);
		key->last_opened = v;
	}
	if (__builtin_expect(!v->cipher, 0)) {
		enum kveil_status status = make_cipher(key, v, err);
		if (status)
			return status;
	}
	const struct kveil_algorithm *alg = v->alg;
	if (!alg->open)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "key id %u is not one that opens ciphertext", id);
	if (sealed.len < KVEIL_PREFIX_BYTES + alg->nonce_bytes)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "this is not a kveil ciphertext: too short");
	const uint8_t *nonce = sealed.data + KVEIL_PREFIX_BYTES;
	struct kveil_span in = {nonce + alg->nonce_bytes, sealed.len - KVEIL_PREFIX_BYTES - alg->nonce_bytes};
	return alg->open(v->cipher, alg->nonce_bytes ? nonce : NULL, ad, in, out, ret_len, err);
}

size_t kveil_key_mac_bytes(const struct kveil_key *key)
{
	return key->active ? key->active->alg->mac_bytes : 0;
}

enum kveil_status kveil_key_mac(struct kveil_key *key, struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	const struct kveil_bound *v = key->active;

	if (kveil_keyring_is_wiped(key->ring))
		return kveil_keyring_wiped(err);
	if (__builtin_expect(!v || !v->cipher || !v->alg->mac, 0))
		return kveil_key_no_active(key, err);
	return v->alg->mac(v->cipher, in, out, err);
}

enum kveil_status kveil_key_fpe(struct kveil_key *key, bool encrypt, struct kveil_span tweak,
				struct kveil_fpe_numerals *numerals, struct kveil_error *err)
{
	const struct kveil_bound *v = key->active;

	if (kveil_keyring_is_wiped(key->ring))
		return kveil_keyring_wiped(err);
	/* A pinned version that seals no more still takes back what it made. */
	if (!v && !encrypt && key->pinned && key->count)
		v = &key->versions[0];
	if (!v || !v->cipher || !v->alg->fpe)
		return kveil_key_no_active(key, err);
	return v->alg->fpe(v->cipher, encrypt, tweak, numerals, err);
}

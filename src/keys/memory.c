/* SPDX-License-Identifier: Apache-2.0 */
/* Keys in memory only: for demos and tests. Names are made as they are asked for, by what they are asked to do. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "registry/registry_memory.h"

#include <stdio.h>

static const struct kveil_keys_config any_name = {.any_name = true};

static enum kveil_status memory_new(struct kveil_keystore **ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_crypto_init(err);

	if (status)
		return status;
	struct kveil_keystore *ks = kveil_keystore_alloc();
	if (!ks)
		return kveil_no_memory(err, "keys");
	ks->config = &any_name;
	status = kveil_registry_memory_new(&ks->registry, err);
	if (status) {
		kveil_keystore_unref(ks);
		return status;
	}
	*ret = ks;
	return KVEIL_OK;
}

enum kveil_status kveil_keystore_new_demo(struct kveil_keystore **ret, struct kveil_error *err)
{
	return memory_new(ret, err);
}

enum kveil_status kveil_keystore_new_test(struct kveil_span seed, struct kveil_keystore **ret, struct kveil_error *err)
{
	struct kveil_keystore *ks = NULL;
	enum kveil_status status = memory_new(&ks, err);

	if (status)
		return status;
	ks->in_memory.seeded = true;
	ks->in_memory.seed = kveil_secret_alloc(32);
	status = ks->in_memory.seed
		     ? kveil_crypto_hkdf(KVEIL_SHA_256, seed, "kveil test keystore", ks->in_memory.seed, 32, err)
		     : kveil_secret_refused(err);
	if (status) {
		kveil_keystore_unref(ks);
		return status;
	}
	*ret = ks;
	return KVEIL_OK;
}

void kveil_keystore_demo_custodian(struct kveil_keystore *ks, bool present)
{
	atomic_store(&ks->in_memory.custodian_away, !present);
	atomic_fetch_add(&ks->generation, 1); /* so that every ring looks at its next tick */
}

static const char *algorithm_for(unsigned use)
{
	if (use & KVEIL_USE_MAC)
		return "hmac-sha-256";
	if (use & (KVEIL_USE_TOKENIZE | KVEIL_USE_DETOKENIZE))
		return "aes-256-ff1";
	if (use & KVEIL_USE_DETERMINISTIC)
		return "aes-256-siv";
	return "aes-256-gcm";
}

/* Seeded: everything comes from the seed, the name and the version, so that tests can hold the bytes. */
static enum kveil_status make_bytes(struct kveil_keystore *ks, const char *name, uint32_t version, uint32_t *id,
				    uint8_t *key, size_t n, struct kveil_error *err)
{
	char label[KVEIL_KEY_NAME_MAX + 48];
	enum kveil_status status;

	if (!ks->in_memory.seeded) {
		status = kveil_keystore_draw_id(ks, id, err);
		return status ? status : kveil_crypto_random(key, n, err);
	}
	snprintf(label, sizeof label, "kveil test id %u %s", version, name);
	status = kveil_crypto_hkdf(KVEIL_SHA_256, kveil_span_of(ks->in_memory.seed, 32), label, (uint8_t *)id,
				   sizeof *id, err);
	if (status)
		return status;
	*id |= 1; /* never 0 */
	snprintf(label, sizeof label, "kveil test key %u %s", version, name);
	return kveil_crypto_hkdf(KVEIL_SHA_256, kveil_span_of(ks->in_memory.seed, 32), label, key, n, err);
}

static enum kveil_status add_version(struct kveil_keystore *ks, struct kveil_key_name *name,
				     const struct kveil_algorithm *alg, int64_t now_ms, int64_t active_from_ms,
				     struct kveil_error *err)
{
	struct kveil_key_record record = {.version = (uint32_t)name->count + 1,
					  .sequence = 1,
					  .algorithm = alg->wire_id,
					  .state = KVEIL_KEY_LIVE,
					  .created_ms = now_ms,
					  .active_from_ms = active_from_ms,
					  .changed_ms = now_ms};
	uint8_t *key = kveil_secret_alloc(alg->key_bytes);

	if (!key)
		return kveil_secret_refused(err);
	snprintf(record.name, sizeof record.name, "%s", name->name);
	snprintf(record.kek, sizeof record.kek, "memory");
	enum kveil_status status = make_bytes(ks, name->name, record.version, &record.id, key, alg->key_bytes, err);
	if (!status) {
		pthread_mutex_lock(&ks->lock);
		status = kveil_keystore_add(ks, name, &record, key, NULL, err);
		pthread_mutex_unlock(&ks->lock);
	}
	if (status) {
		kveil_secret_free(key);
		return status;
	}
	atomic_fetch_add(&ks->generation, 1);
	return KVEIL_OK;
}

enum kveil_status kveil_memory_name(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				    struct kveil_key_name **ret, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	if (!kveil_key_name_valid(name, false))
		return kveil_fail(err, KVEIL_E_CONFIG, "a key name is 1 to %d letters, digits, '.', '_' or '-'",
				  KVEIL_KEY_NAME_MAX);
	pthread_mutex_lock(&ks->io_lock); /* two threads may ask for the same new name */
	pthread_mutex_lock(&ks->lock);
	struct kveil_key_name *n = kveil_keystore_intern(ks, name);
	pthread_mutex_unlock(&ks->lock);
	if (!n)
		status = kveil_no_memory(err, "a key");
	else if (n->count == 0) {
		const struct kveil_algorithm *alg = kveil_algorithm_by_name(kveil_span_str(algorithm_for(use)));
		if (!alg || !alg->library())
			status = kveil_fail(err, KVEIL_E_UNSUPPORTED, "algorithm %s is not here", algorithm_for(use));
		else
			status = add_version(ks, n, alg, ks->in_memory.seeded ? 0 : kveil_clock_wall_ms(), 0, err);
	}
	pthread_mutex_unlock(&ks->io_lock);
	*ret = n;
	return status ? status : kveil_key_use_check(n->versions[0]->alg, name, use, err);
}

enum kveil_status kveil_memory_rotate(struct kveil_keystore *ks, struct kveil_key_name *name, int64_t now_ms,
				      int64_t active_from_ms, struct kveil_error *err)
{
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = add_version(ks, name, name->versions[0]->alg, now_ms, active_from_ms, err);
	pthread_mutex_unlock(&ks->io_lock);
	return status;
}

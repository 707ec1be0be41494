/* SPDX-License-Identifier: Apache-2.0 */
/* A new version: its record, its bytes, wrapped and signed. */
#include "keys/internal.h"

#include "base/secret.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>

static enum kveil_status keep_made(struct kveil_keystore *ks, uint32_t id, const uint8_t *key, size_t n,
				   struct kveil_error *err)
{
	struct kveil_made_key *m = calloc(1, sizeof *m);
	uint8_t *copy = kveil_secret_alloc(n);

	if (!m || !copy) {
		free(m);
		kveil_secret_free(copy);
		return kveil_secret_refused(err);
	}
	memcpy(copy, key, n);
	*m = (struct kveil_made_key){.id = id, .key = copy};
	pthread_mutex_lock(&ks->lock);
	m->next = ks->made;
	ks->made = m;
	pthread_mutex_unlock(&ks->lock);
	return KVEIL_OK;
}

enum kveil_status kveil_keystore_make(struct kveil_keystore *ks, const char *keks,
				      const struct kveil_registry_secret *secret, struct kveil_key_record *r,
				      struct kveil_span material, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	uint8_t *payload = kveil_secret_alloc(KVEIL_PAYLOAD_MAX), *key = kveil_secret_alloc(alg->key_bytes);
	enum kveil_status status = KVEIL_OK;
	bool opens = false;

	if (!payload || !key)
		status = kveil_secret_refused(err);
	/* Whoever holds the registry's secret could have used up the numbers: 0 comes after the last one. */
	if (!status && r->version == 0) {
		status = kveil_fail(err, KVEIL_E_UNSUPPORTED, "key '%s' has used its last version number", r->name);
		kveil_error_hint(err, "give what it protects a key of another name");
	}
	if (!status && r->id == 0)
		status = kveil_keystore_draw_id(ks, &r->id, err);
	if (!status && material.data)
		memcpy(key, material.data, alg->key_bytes);
	else if (!status)
		status = kveil_crypto_random(key, alg->key_bytes, err);
	if (!status) {
		size_t n = kveil_key_payload_write(r, secret->id, kveil_span_of(key, alg->key_bytes), payload);
		status = kveil_keystore_wrap(ks, keks, kveil_span_of(payload, n), r, &opens, err);
	}
	if (!status && !opens && !material.data)
		status = keep_made(ks, r->id, key, alg->key_bytes, err);
	kveil_secret_free(payload);
	kveil_secret_free(key);
	if (!status)
		status = kveil_key_record_sign(r, secret, err);
	if (status)
		kveil_key_record_clear(r);
	return status;
}

void kveil_key_record_begin(struct kveil_key_record *r, const struct kveil_data_key_config *c, uint32_t version,
			    int64_t now_ms, int64_t active_from_ms)
{
	*r = (struct kveil_key_record){.version = version,
				       .sequence = 1,
				       .algorithm = c->algorithm->wire_id,
				       .state = KVEIL_KEY_LIVE,
				       .created_ms = now_ms,
				       .active_from_ms = active_from_ms,
				       .changed_ms = now_ms};
	snprintf(r->name, sizeof r->name, "%s", c->name);
	/* A pattern's own key wraps the others, and is rotated by hand. */
	if (kveil_is_pattern(c)) {
		r->algorithm = kveil_pattern_algorithm(c)->wire_id;
		return;
	}
	/* Its successor is due after one period; one more is how long an outage of the custodian may last. */
	if (c->rotate_every_ms)
		r->expires_ms = active_from_ms + 2 * c->rotate_every_ms;
}

/* What is published with a wrong clock counts for nobody else, or for too long. */
enum kveil_status kveil_keystore_check_clock(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
					     struct kveil_error *err)
{
	const struct kveil_registry_driver *driver = ks->registry->driver;
	int64_t ahead = 0;

	if (!driver->clock_ahead || !c->rotate_every_ms)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = driver->clock_ahead(ks->registry, &ahead, err);
	pthread_mutex_unlock(&ks->io_lock);
	if (status || (ahead <= c->rotate_every_ms && -ahead <= c->rotate_every_ms))
		return status;
	kveil_fail(
	    err, KVEIL_E_CLOCK_WRONG,
	    "this host's clock is %lld s %s that of the brokers, more than `rotate_every` of key '%s': no version "
	    "is made by it",
	    (long long)((ahead < 0 ? -ahead : ahead) / 1000), ahead < 0 ? "behind" : "ahead of", c->name);
	kveil_error_hint(err, "set the clock (chronyc, timedatectl)");
	return KVEIL_E_CLOCK_WRONG;
}

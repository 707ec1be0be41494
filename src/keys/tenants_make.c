/* SPDX-License-Identifier: Apache-2.0 */
/* Keys named from the record: who asks for them, and how they are made, rotated and ended. */
#include "keys/tenants.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "keys/internal.h"

#include <stdio.h>
#include <stdlib.h>

void kveil_tenants_ask(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
		       const uint8_t digest[KVEIL_DIGEST_BYTES])
{
	struct kveil_tenants *t = &ks->tenants;

	size_t mine = 0, patterns = 0;

	if (!t->asked)
		t->asked = calloc(KVEIL_ASKED_MAX, sizeof *t->asked);
	if (!t->asked)
		return;
	for (size_t i = 0; i < t->asked_count; i++) {
		if (memcmp(t->asked[i].digest, digest, KVEIL_DIGEST_BYTES) == 0) /* public: the registry shows it */
			return;
		mine += t->asked[i].pattern == pattern;
	}
	for (size_t i = 0; i < ks->config->data_count; i++)
		patterns += kveil_is_pattern(&ks->config->data[i]);
	/* Names of one pattern that wait for their turn leave room for another's. Whoever still wants it asks again. */
	if (mine >= KVEIL_ASKED_MAX / patterns)
		return;
	t->asked[t->asked_count].pattern = pattern;
	memcpy(t->asked[t->asked_count++].digest, digest, KVEIL_DIGEST_BYTES);
}

/* One more name of this pattern now? Names come from records, and records may be anybody's. */
static bool allow(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern)
{
	struct kveil_tenant_rate *r = kveil_tenants_rate(ks, pattern);
	int64_t now = kveil_clock_mono_ms();
	double most = (double)pattern->new_per_second * KVEIL_BURST_SECONDS;

	if (!r)
		return false;
	r->left = r->filled_ms ? r->left + (double)(now - r->filled_ms) * (double)pattern->new_per_second / 1000 : most;
	if (r->left > most)
		r->left = most;
	r->filled_ms = now;
	if (r->left < 1)
		return false;
	r->left -= 1;
	return true;
}

uint32_t kveil_tenants_next(const struct kveil_tenant *t)
{
	uint32_t last = 0;

	for (const struct kveil_tenant_version *v = t ? t->versions : NULL; v; v = v->next)
		if (v->version > last && v->version != KVEIL_TENANT_ENDED)
			last = v->version;
	return last + 1;
}

static void start(struct kveil_key_record *r, const struct kveil_tenant_ask *a, uint32_t version, int64_t now,
		  int64_t active_from)
{
	kveil_key_record_begin(r, a->pattern, version, now, active_from);
	r->algorithm = a->pattern->algorithm->wire_id;
	if (a->pattern->rotate_every_ms)
		r->expires_ms = active_from + 2 * a->pattern->rotate_every_ms;
	kveil_tenants_write_name(a->pattern, a->digest, r->name);
	snprintf(r->kek, sizeof r->kek, "%s", a->pattern->name);
}

/* What to make for this asking: false if there is nothing to make (any more). */
static bool begin(struct kveil_keystore *ks, const struct kveil_tenant_ask *a, int64_t now, struct kveil_key_record *r)
{
	const struct kveil_tenant *t = kveil_tenants_find(ks, a->digest);
	struct kveil_succession s;
	int64_t active_from = now;

	if (t) {
		kveil_tenants_succession(t, now, &s);
		if (kveil_tenants_is_destroyed(t) || now < kveil_succession_due(&s, a->pattern, 0, &active_from))
			return false;
	}
	start(r, a, kveil_tenants_next(t), now, active_from);
	return true;
}

/* The record that ends a name, whatever else is there or comes. */
enum kveil_status kveil_tenants_end(struct kveil_keystore *ks, const struct kveil_tenant_ask *a,
				    struct kveil_key_record *r, struct kveil_error *err)
{
	int64_t now = kveil_clock_wall_ms();

	start(r, a, KVEIL_TENANT_ENDED, now, now);
	r->state = KVEIL_KEY_DESTROYED;
	enum kveil_status status = kveil_keystore_draw_id(ks, &r->id, err);
	return status ? status : kveil_key_record_sign(r, ks->registry->secret, err);
}

static enum kveil_status make_one(struct kveil_keystore *ks, const struct kveil_tenant_ask *a,
				  struct kveil_key_record *r, struct kveil_error *err)
{
	uint8_t key[KVEIL_KEY_BYTES_MAX];
	enum kveil_status status = kveil_keystore_draw_id(ks, &r->id, err);

	if (!status)
		status = kveil_crypto_random(key, a->pattern->algorithm->key_bytes, err);
	pthread_mutex_lock(&ks->lock);
	if (!status)
		status = kveil_tenants_wrap(ks, a->pattern, r, key, err);
	pthread_mutex_unlock(&ks->lock);
	kveil_secret_wipe(key, sizeof key);
	return status;
}

enum kveil_status kveil_tenants_rotate(struct kveil_keystore *ks, const struct kveil_tenant_ask *a,
				       int64_t active_from_ms, struct kveil_error *err)
{
	struct kveil_key_record r;
	int64_t now = kveil_clock_wall_ms();
	bool won = false;
	enum kveil_status status = KVEIL_OK;

	/* Another process may make the same version at the same moment: then ours is the one after it. */
	for (int i = 0; !status && !won && i < 10; i++) {
		pthread_mutex_lock(&ks->lock);
		const struct kveil_tenant *t = kveil_tenants_find(ks, a->digest);
		if (!t || kveil_tenants_is_destroyed(t))
			status = kveil_fail(err, t ? KVEIL_E_KEY_DESTROYED : KVEIL_E_NOT_FOUND,
					    t ? "this key was destroyed" : "there is no such key in the registry");
		else
			start(&r, a, kveil_tenants_next(t), now, active_from_ms ? active_from_ms : now);
		pthread_mutex_unlock(&ks->lock);
		if (status)
			return status;
		status = make_one(ks, a, &r, err);
		if (!status)
			status = kveil_keystore_append(ks, &r, 1, err);
		pthread_mutex_lock(&ks->lock);
		won = kveil_tenants_by_id(ks, r.id) != NULL;
		pthread_mutex_unlock(&ks->lock);
		kveil_key_record_clear(&r);
	}
	if (!status && !won)
		status =
		    kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "other processes keep making versions of this key");
	return status;
}

enum kveil_status kveil_tenants_make(struct kveil_keystore *ks, int64_t now, struct kveil_error *err)
{
	struct kveil_tenants *t = &ks->tenants;
	struct kveil_key_record *made = NULL;
	struct kveil_tenant_ask *asked = NULL;
	enum kveil_status status = KVEIL_OK;
	size_t count = 0, taken = 0, held_up = 0;

	pthread_mutex_lock(&ks->lock);
	if (t->asked_count) {
		made = calloc(t->asked_count, sizeof *made);
		asked = calloc(t->asked_count, sizeof *asked);
		if (!made || !asked)
			status = kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for keys named from records");
	}
	for (size_t i = 0; !status && i < t->asked_count; i++) {
		const struct kveil_tenant_ask a = t->asked[i];
		if (!begin(ks, &a, now, &made[taken]))
			continue;
		if (made[taken].version == 1 && !allow(ks, a.pattern)) {
			t->asked[held_up++] = a; /* behind i, or i itself */
			continue;
		}
		asked[taken++] = a;
	}
	if (!status)
		t->asked_count = held_up;
	pthread_mutex_unlock(&ks->lock);
	while (!status && count < taken) {
		status = make_one(ks, &asked[count], &made[count], err);
		count++;
	}
	if (!status && count)
		status = kveil_keystore_publish(ks, made, count, err);
	if (!status)
		atomic_fetch_add_explicit(&t->made, count, memory_order_relaxed);
	for (size_t i = 0; i < count; i++)
		kveil_key_record_clear(&made[i]);
	free(made);
	free(asked);
	if (!status && held_up)
		return kveil_fail(err, KVEIL_E_KEY_PENDING,
				  "%zu keys named from records wait: no more than `new_per_second` are made", held_up);
	return status;
}

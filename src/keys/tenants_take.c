/* SPDX-License-Identifier: Apache-2.0 */
/* Keys named from the record: what the registry holds of them, taken in. */
#include "keys/tenants.h"

#include "keys/internal.h"

#include <stdlib.h>

static struct kveil_tenant *intern(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
				   const uint8_t digest[KVEIL_DIGEST_BYTES])
{
	struct kveil_tenant *t = kveil_tenants_find(ks, digest);

	if (t || !kveil_tenants_rate(ks, pattern) || !(t = calloc(1, sizeof *t)))
		return t;
	t->pattern = pattern;
	memcpy(t->digest, digest, KVEIL_DIGEST_BYTES);
	if (!kveil_map_put(&ks->tenants.names, kveil_span_of(t->digest, KVEIL_DIGEST_BYTES), t)) {
		free(t);
		return NULL;
	}
	return t;
}

static bool set_wrapped(struct kveil_tenant_version *v, const struct kveil_key_record *r)
{
	uint8_t *copy = r->wrapped_len ? malloc(r->wrapped_len) : NULL;

	if (r->wrapped_len && !copy)
		return false;
	if (copy)
		memcpy(copy, r->wrapped, r->wrapped_len);
	free(v->wrapped);
	v->dud = false;
	v->wrapped = copy;
	v->wrapped_len = (uint16_t)r->wrapped_len;
	return true;
}

static void changed(struct kveil_tenants *all, struct kveil_tenant *t)
{
	t->changes++;
	atomic_fetch_add_explicit(&all->changes, 1, memory_order_release);
}

/* Nobody else gets the number that a record has. False: nothing new. */
static bool take_number(struct kveil_tenants *all, struct kveil_tenant *t, uint32_t version)
{
	if (version == KVEIL_TENANT_ENDED ? t->ended : version <= t->last)
		return false;
	if (version != KVEIL_TENANT_ENDED) {
		t->last = version;
		return true;
	}
	t->ended = true;
	for (struct kveil_tenant_version *was = t->versions; was; was = was->next)
		kveil_tenants_let_go(all, was);
	return true;
}

static enum kveil_status take_change(struct kveil_tenants *all, struct kveil_tenant_version *v,
				     const struct kveil_key_record *r, struct kveil_error *err)
{
	struct kveil_key_record was = kveil_tenants_head(v);

	if (!kveil_key_record_supersedes(r, &was) && !kveil_key_record_renumbers(r, &was))
		return KVEIL_OK;
	if (!set_wrapped(v, r))
		return kveil_no_memory(err, "a key named from the record");
	v->version = r->version;
	take_number(all, v->tenant, r->version);
	v->state = (uint8_t)r->state;
	v->sequence = r->sequence;
	v->changed_ms = r->changed_ms;
	if (r->state == KVEIL_KEY_DESTROYED)
		kveil_tenants_let_go(all, v);
	changed(all, v->tenant);
	return KVEIL_OK;
}

static enum kveil_status take_new(struct kveil_keystore *ks, struct kveil_tenant *t, const struct kveil_key_record *r,
				  struct kveil_error *err)
{
	struct kveil_tenants *all = &ks->tenants;

	/* The first record for a version wins; see judge in refresh.c. One that had its place unlawfully opens on. */
	for (struct kveil_tenant_version *v = t->versions; v; v = v->next)
		if (v->version == r->version && (r->sequence == 1 || v->sequence > 1))
			return KVEIL_OK;
	struct kveil_tenant_version *v = calloc(1, sizeof *v);
	if (!v || !set_wrapped(v, r)) {
		free(v);
		return kveil_no_memory(err, "a key named from the record");
	}
	v->tenant = t;
	v->id = r->id;
	v->version = r->version;
	v->sequence = r->sequence;
	v->algorithm = r->algorithm;
	v->state = (uint8_t)r->state;
	v->created_ms = r->created_ms;
	v->active_from_ms = r->active_from_ms;
	v->expires_ms = r->expires_ms;
	v->changed_ms = r->changed_ms;
	v->withheld = kveil_keystore_withheld(ks, r->id) != NULL;
	if (!kveil_map_put(&all->ids, kveil_span_of(&v->id, sizeof v->id), v)) {
		free(v->wrapped);
		free(v);
		return kveil_no_memory(err, "a key named from the record");
	}
	for (struct kveil_tenant_version *was = t->versions; was; was = was->next)
		if (was->version == v->version && was->state == KVEIL_KEY_LIVE)
			was->state = KVEIL_KEY_OPENS_ONLY;
	bool is_known = t->last || t->ended; /* to rings, perhaps */
	kveil_tenants_rate(ks, t->pattern)->count += !t->versions;
	v->next = t->versions;
	t->versions = v;
	take_number(all, t, v->version);
	if (is_known)
		changed(all, t);
	return KVEIL_OK;
}

enum kveil_status kveil_tenants_note(struct kveil_keystore *ks, const struct kveil_key_record *r,
				     struct kveil_error *err)
{
	uint8_t digest[KVEIL_DIGEST_BYTES];
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		if (!kveil_tenants_read_name(c, r->name, digest))
			continue;
		pthread_mutex_lock(&ks->lock);
		struct kveil_tenant *t = intern(ks, c, digest);
		if (!t)
			status = kveil_no_memory(err, "a key named from the record");
		else if (take_number(&ks->tenants, t, r->version))
			changed(&ks->tenants, t);
		pthread_mutex_unlock(&ks->lock);
	}
	return status;
}

/* Could a worker have written it? */
static bool is_sound(const struct kveil_data_key_config *pattern, const struct kveil_key_record *r,
		     uint8_t digest[KVEIL_DIGEST_BYTES])
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);

	return kveil_tenants_read_name(pattern, r->name, digest) && alg && alg->kind == KVEIL_ALG_AEAD &&
	       r->wrapped_len <= KVEIL_TENANT_WRAPPED_MAX &&
	       (r->state == KVEIL_KEY_DESTROYED || (r->wrapped_len >= KVEIL_TENANT_PREFIX_BYTES && r->wrapped[0] == 1));
}

enum kveil_status kveil_tenants_take(struct kveil_keystore *ks, const struct kveil_key_record *r,
				     struct kveil_error *err)
{
	const struct kveil_data_key_config *pattern = kveil_keys_config_find(ks->config, kveil_span_str(r->kek));
	uint8_t digest[KVEIL_DIGEST_BYTES];
	enum kveil_status status = KVEIL_OK;

	if (!kveil_is_pattern(pattern))
		return kveil_tenants_note(ks, r, err);
	if (!is_sound(pattern, r, digest)) {
		if (ks->registry->driver->forgiving)
			atomic_fetch_add_explicit(&ks->registry->ignored[KVEIL_DOUBT_FORGED], 1, memory_order_relaxed);
		return kveil_tenants_note(ks, r, err);
	}
	pthread_mutex_lock(&ks->lock);
	struct kveil_tenant_version *v = kveil_tenants_by_id(ks, r->id);
	struct kveil_tenant *t = v ? NULL : intern(ks, pattern, digest);
	if (v)
		status = take_change(&ks->tenants, v, r, err);
	else if (t)
		status = take_new(ks, t, r, err);
	else
		status = kveil_no_memory(err, "a key named from the record");
	kveil_keystore_forget_unknown(ks, r->id);
	pthread_mutex_unlock(&ks->lock);
	return status;
}

void kveil_tenants_reading(struct kveil_keystore *ks)
{
	pthread_mutex_lock(&ks->lock);
	ks->tenants.is_read = false;
	pthread_mutex_unlock(&ks->lock);
}

void kveil_tenants_read(struct kveil_keystore *ks, bool to_its_end)
{
	const struct kveil_document *b = &ks->backlog.all;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		struct kveil_tenant_rate *rate = kveil_is_pattern(c) ? kveil_tenants_rate(ks, c) : NULL;
		if (rate)
			rate->held_up = false;
		for (size_t k = 0; rate && k < b->count; k++)
			rate->held_up |= strcmp(b->records[k].name, c->name) == 0;
	}
	ks->tenants.is_read = to_its_end;
	pthread_mutex_unlock(&ks->lock);
}

void kveil_tenants_succession(const struct kveil_tenant *t, int64_t now_ms, struct kveil_succession *ret)
{
	kveil_succession_begin(ret, now_ms, t->pattern ? t->pattern->rotate_every_ms : 0);
	for (const struct kveil_tenant_version *v = t->versions; v; v = v->next) {
		struct kveil_life life = {v->version, v->algorithm, v->active_from_ms, v->expires_ms};
		if (v->state == KVEIL_KEY_LIVE && !v->dud && !v->withheld && !t->ended)
			kveil_succession_offer(ret, v, &life);
	}
	kveil_succession_end(ret);
}

void kveil_tenants_withhold(struct kveil_tenants *all, struct kveil_tenant_version *v, bool withheld)
{
	if (v->withheld == withheld)
		return;
	v->withheld = withheld;
	kveil_tenants_let_go(all, v);
	changed(all, v->tenant);
}

bool kveil_tenants_is_withheld(const struct kveil_tenant *t)
{
	bool any = false;

	for (const struct kveil_tenant_version *v = t->versions; v; v = v->next) {
		if (v->state == KVEIL_KEY_LIVE && !v->dud && !v->withheld)
			return false;
		any |= v->state == KVEIL_KEY_LIVE && v->withheld;
	}
	return any && !t->ended;
}

bool kveil_tenants_is_destroyed(const struct kveil_tenant *t)
{
	bool ret = t->versions != NULL;

	for (const struct kveil_tenant_version *v = t->versions; v; v = v->next)
		ret &= v->state == KVEIL_KEY_DESTROYED;
	return ret || t->ended;
}

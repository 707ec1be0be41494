/* SPDX-License-Identifier: Apache-2.0 */
/* The process's keys: names and versions as they are in memory. Where they come from is refresh.c or memory.c. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <assert.h>
#include <stdlib.h>

struct kveil_keystore *kveil_keystore_alloc(void)
{
	struct kveil_keystore *ks = calloc(1, sizeof *ks);

	if (!ks)
		return NULL;
	atomic_init(&ks->refs, 1);
	atomic_init(&ks->generation, 1);
	pthread_mutex_init(&ks->tend_lock, NULL);
	pthread_mutex_init(&ks->refresh_lock, NULL);
	pthread_mutex_init(&ks->io_lock, NULL);
	pthread_mutex_init(&ks->lock, NULL);
	return ks;
}

void kveil_keystore_ref(struct kveil_keystore *ks)
{
	atomic_fetch_add_explicit(&ks->refs, 1, memory_order_relaxed);
}

static void version_free(struct kveil_key_version *v)
{
	kveil_secret_free(v->key);
	kveil_key_record_clear(&v->record);
	free(v);
}

void kveil_keystore_unref(struct kveil_keystore *ks)
{
	if (!ks || atomic_fetch_sub_explicit(&ks->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < ks->names.cap; i++) {
		struct kveil_key_name *n = ks->names.slots[i].value;
		if (!n)
			continue;
		for (size_t k = 0; k < n->count; k++)
			version_free(n->versions[k]);
		free(n->versions);
		free(n->name);
		free(n);
	}
	kveil_map_clear(&ks->names);
	kveil_map_clear(&ks->ids);
	kveil_tenants_clear(ks);
	kveil_secret_free(ks->seed);
	if (ks->registry)
		ks->registry->driver->close(ks->registry);
	for (size_t i = 0; i < ks->custodian_count; i++)
		kveil_kek_close(ks->custodians[i]);
	free(ks->custodians);
	while (ks->made) {
		struct kveil_made_key *m = ks->made;
		ks->made = m->next;
		kveil_secret_free(m->key);
		free(m);
	}
	kveil_document_clear(&ks->backlog);
	free(ks->refusals);
	free(ks->condemned);
	free(ks->unread);
	kveil_withheld_clear(&ks->withheld);
	pthread_mutex_destroy(&ks->tend_lock);
	pthread_mutex_destroy(&ks->refresh_lock);
	pthread_mutex_destroy(&ks->io_lock);
	pthread_mutex_destroy(&ks->lock);
	free(ks);
}

struct kveil_key_name *kveil_keystore_intern(struct kveil_keystore *ks, struct kveil_span name)
{
	struct kveil_key_name *n = kveil_map_get(&ks->names, name);

	if (n)
		return n;
	n = calloc(1, sizeof *n);
	if (!n)
		return NULL;
	n->name = strndup((const char *)name.data, name.len);
	if (!n->name || !kveil_map_put(&ks->names, kveil_span_str(n->name), n)) {
		free(n->name);
		free(n);
		return NULL;
	}
	for (size_t i = 0; ks->config && i < ks->config->data_count; i++)
		if (strcmp(ks->config->data[i].name, n->name) == 0)
			n->config = &ks->config->data[i];
	return n;
}

/* Who has only a certificate can make versions under it. None of them may come to seal what another KEK guards. */
bool kveil_key_name_is_anyones(const struct kveil_key_name *name, const struct kveil_kek *by)
{
	return by && by->provider->locks_only && name->config && strcmp(name->config->kek, by->name) != 0;
}

enum kveil_status kveil_keystore_add(struct kveil_keystore *ks, struct kveil_key_name *name,
				     struct kveil_key_record *record, uint8_t *key, const struct kveil_kek *by,
				     struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(record->algorithm);
	struct kveil_key_version *v = calloc(1, sizeof *v);

	if (!v)
		return kveil_no_memory(err, "a key");
	if (name->count == name->cap) {
		size_t cap = name->cap ? name->cap * 2 : 4;
		struct kveil_key_version **grown = realloc(name->versions, cap * sizeof *grown);
		if (!grown) {
			free(v);
			return kveil_no_memory(err, "a key");
		}
		name->versions = grown;
		name->cap = cap;
	}
	v->alg = alg;
	v->anyones = kveil_key_name_is_anyones(name, by);
	v->record.id = record->id;
	if (!kveil_map_put(&ks->ids, kveil_span_of(&v->record.id, sizeof v->record.id), v)) {
		free(v);
		return kveil_no_memory(err, "a key");
	}
	v->withheld = kveil_keystore_withheld(ks, record->id) != NULL;
	v->record = *record;
	*record = (struct kveil_key_record){0};
	v->key = key;
	name->versions[name->count++] = v;
	return KVEIL_OK;
}

struct kveil_key_version *kveil_keystore_by_id(const struct kveil_keystore *ks, uint32_t id)
{
	return kveil_map_get(&ks->ids, kveil_span_of(&id, sizeof id));
}

enum kveil_status kveil_keystore_draw_id(struct kveil_keystore *ks, uint32_t *ret, struct kveil_error *err)
{
	bool taken = true;

	while (taken) {
		enum kveil_status status = kveil_crypto_random(ret, sizeof *ret, err);
		if (status)
			return status;
		pthread_mutex_lock(&ks->lock);
		taken = *ret == 0 || kveil_keystore_has_id(ks, *ret);
		pthread_mutex_unlock(&ks->lock);
	}
	return KVEIL_OK;
}

/* What each kind of algorithm is for. Format-preserving keys speak in numerals, not bytes: kveil_key_fpe. */
static unsigned uses_of(const struct kveil_algorithm *alg)
{
	switch (alg->kind) {
	case KVEIL_ALG_AEAD:
		return KVEIL_USE_SEAL | KVEIL_USE_OPEN;
	case KVEIL_ALG_DAEAD:
		return KVEIL_USE_SEAL | KVEIL_USE_OPEN | KVEIL_USE_DETERMINISTIC;
	case KVEIL_ALG_FPE:
		return KVEIL_USE_TOKENIZE | KVEIL_USE_DETOKENIZE;
	case KVEIL_ALG_MAC:
		return KVEIL_USE_MAC;
	}
	return 0;
}

enum kveil_status kveil_key_use_check(const struct kveil_algorithm *alg, struct kveil_span name, unsigned use,
				      struct kveil_error *err)
{
	static const char *const for_kind[] = {
	    [KVEIL_ALG_AEAD] = "it encrypts and decrypts",
	    [KVEIL_ALG_DAEAD] = "it encrypts, decrypts and tokenizes, without an `alphabet`",
	    [KVEIL_ALG_FPE] = "it encrypts and tokenizes with an `alphabet`, and takes that back",
	    [KVEIL_ALG_MAC] = "it hashes",
	};

	if ((use & uses_of(alg)) == use)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_CONFIG, "key '%.*s' is of algorithm %s: %s", (int)name.len, (const char *)name.data,
		   alg->name, for_kind[alg->kind]);
	kveil_error_hint(err, "name another key here, or give this one another algorithm under keys.data");
	return KVEIL_E_CONFIG;
}

/* A deterministic key or a hash whose newest version is withheld falls back to none: equal values would stop being
 * equal, and be so again later. */
static bool falls_back(const struct kveil_key_name *name)
{
	const struct kveil_key_version *newest = NULL;

	for (size_t i = 0; i < name->count; i++) {
		const struct kveil_key_version *v = name->versions[i];
		if (v->record.state == KVEIL_KEY_LIVE && (!newest || v->record.version > newest->record.version))
			newest = v;
	}
	return !newest || !newest->withheld || newest->alg->kind == KVEIL_ALG_AEAD;
}

void kveil_key_name_succession(const struct kveil_key_name *name, int64_t now_ms, struct kveil_succession *ret)
{
	bool may = falls_back(name);

	kveil_succession_begin(ret, now_ms, name->config ? name->config->rotate_every_ms : 0);
	for (size_t i = 0; i < name->count; i++) {
		const struct kveil_key_version *v = name->versions[i];
		const struct kveil_key_record *r = &v->record;
		struct kveil_life life = {r->version, r->algorithm, r->active_from_ms, r->expires_ms};
		if (may && kveil_key_version_seals(v))
			kveil_succession_offer(ret, v, &life);
	}
	kveil_succession_end(ret);
}

const struct kveil_key_version *kveil_key_name_active(const struct kveil_key_name *name, int64_t now_ms,
						      int64_t *ret_until_ms)
{
	struct kveil_succession s;

	kveil_key_name_succession(name, now_ms, &s);
	*ret_until_ms = s.until_ms;
	return s.active;
}

enum kveil_status kveil_keystore_lease(struct kveil_keystore *ks, uint32_t *ret, struct kveil_error *err)
{
	if (ks->memory) {
		if (atomic_load(&ks->custodian_away))
			return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "the key custodian was taken away");
		*ret = atomic_fetch_add(&ks->memory_lease, 1) + 1;
		return KVEIL_OK;
	}
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->lease(ks->registry, ret, err);
	pthread_mutex_unlock(&ks->io_lock);
	return status;
}

enum kveil_status kveil_keystore_next_lease(struct kveil_keystore *ks, bool asked, uint32_t *ret,
					    struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	pthread_mutex_lock(&ks->lock);
	if (ks->leases.count) {
		*ret = ks->leases.stock[--ks->leases.count];
	} else {
		ks->leases.wanted += !asked;
		status = kveil_fail(err, KVEIL_E_NO_LEASE, "no nonce lease yet");
		if (ks->leases.why.status && err)
			*err = ks->leases.why;
	}
	pthread_mutex_unlock(&ks->lock);
	return status;
}

enum kveil_status kveil_keystore_stock_leases(struct kveil_keystore *ks, struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = KVEIL_OK;
	uint32_t lease;

	for (;;) {
		pthread_mutex_lock(&ks->lock);
		bool more = ks->leases.wanted && ks->leases.count < sizeof ks->leases.stock / sizeof *ks->leases.stock;
		pthread_mutex_unlock(&ks->lock);
		if (!more)
			return KVEIL_OK;
		status = kveil_keystore_lease(ks, &lease, &why);
		pthread_mutex_lock(&ks->lock);
		ks->leases.why = why;
		if (!status) {
			ks->leases.stock[ks->leases.count++] = lease;
			ks->leases.wanted--;
		}
		pthread_mutex_unlock(&ks->lock);
		if (status) {
			if (err)
				*err = why;
			return status;
		}
	}
}

void kveil_keystore_keep(struct kveil_keystore *ks)
{
	atomic_store(&ks->kept, !ks->memory);
}

/* What stands in the way has befallen a registry that was whole: an outage, whatever its class, and no fault of a rule.
 */
static enum kveil_status make_active(struct kveil_keystore *ks, const struct kveil_key_name *n, int64_t now,
				     struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = KVEIL_OK;
	int64_t until;

	/* Nobody tended the keys for a while. Where a keeper does, this thread has more to do than to wait for
	 * custodians. */
	if (!atomic_load(&ks->kept))
		status = kveil_keystore_tend(ks, now, &why);
	pthread_mutex_lock(&ks->lock);
	bool active = kveil_key_name_active(n, now, &until);
	if (atomic_load(&ks->kept))
		why = ks->tended;
	pthread_mutex_unlock(&ks->lock);
	status = status ? status : why.status;
	if (active || !status)
		return KVEIL_OK;
	if (kveil_status_class(status) != KVEIL_CLASS_CONFIG) {
		if (err)
			*err = why;
		return status;
	}
	kveil_fail(err, KVEIL_E_NO_ACTIVE_KEY, "key '%s' has no version that may seal now: %s", n->name, why.message);
	kveil_error_hint(err, "%s", why.hint);
	return KVEIL_E_NO_ACTIVE_KEY;
}

/* The version that is to be used may be among those that a custodian has yet to open. */
static enum kveil_status check_whole(struct kveil_keystore *ks, const struct kveil_data_key_config *c, unsigned use,
				     struct kveil_error *err)
{
	const struct kveil_unread *u = &ks->unread[c - ks->config->data];
	enum kveil_status status = KVEIL_OK;

	if (!(use & ~(unsigned)(KVEIL_USE_OPEN | KVEIL_USE_DETOKENIZE)))
		return KVEIL_OK;
	pthread_mutex_lock(&ks->lock);
	if (!u->was_whole && kveil_status_class(u->why.status) == KVEIL_CLASS_RETRY) {
		status = u->why.status;
		if (err)
			*err = u->why;
	}
	pthread_mutex_unlock(&ks->lock);
	return status;
}

enum kveil_status kveil_keystore_name(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				      struct kveil_key_name **ret, struct kveil_error *err)
{
	if (ks->memory)
		return kveil_memory_name(ks, name, use, ret, err);
	enum kveil_status status = kveil_keys_config_check(ks->config, name, use, err);
	if (status)
		return status;
	const struct kveil_data_key_config *c = kveil_keys_config_find(ks->config, name);
	if (!c)
		return kveil_fail(err, KVEIL_E_INTERNAL, "key '%.*s' has no entry", (int)name.len,
				  (const char *)name.data);
	if (!ks->registry)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a keystore of names has no keys");
	int64_t now = kveil_clock_wall_ms(), until;
	struct kveil_key_name *n;
	status = kveil_keystore_configured(ks, c, &n, err);
	if (status)
		return status;
	status = check_whole(ks, c, use, err);
	if (status)
		return status;
	pthread_mutex_lock(&ks->lock);
	bool overdue = use & KVEIL_USE_SEAL && !kveil_key_name_active(n, now, &until);
	pthread_mutex_unlock(&ks->lock);
	*ret = n;
	return overdue ? make_active(ks, n, now, err) : KVEIL_OK;
}

enum kveil_status kveil_keystore_new_names(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
					   struct kveil_error *err)
{
	struct kveil_keystore *ks = kveil_keystore_alloc();

	if (!ks)
		return kveil_no_memory(err, "keys");
	ks->config = cfg;
	*ret = ks;
	return KVEIL_OK;
}

enum kveil_status kveil_keystore_check(struct kveil_keystore *ks, struct kveil_span name, unsigned use,
				       struct kveil_error *err)
{
	if (ks->memory)
		return KVEIL_OK;
	return kveil_keys_config_check(ks->config, name, use, err);
}

size_t kveil_keystore_mac_bytes(struct kveil_keystore *ks, struct kveil_span name, const char **ret_algorithm)
{
	const struct kveil_data_key_config *c = ks->memory ? NULL : kveil_keys_config_meant(ks->config, name);

	if (!c)
		return 0;
	*ret_algorithm = c->algorithm->name;
	return c->algorithm->mac_bytes;
}

enum kveil_status kveil_keystore_noted(struct kveil_keystore *ks, struct kveil_buf *out, struct kveil_error *err)
{
	if (!ks->registry)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->noted(ks->registry, out, err);
	pthread_mutex_unlock(&ks->io_lock);
	return status;
}

enum kveil_status kveil_keystore_note(struct kveil_keystore *ks, struct kveil_span text, struct kveil_error *err)
{
	static_assert((int)KVEIL_NOTE_MAX == (int)KVEIL_REGISTRY_NOTE_MAX, "one number, two headers");
	if (!ks->registry)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->note(ks->registry, text, err);
	pthread_mutex_unlock(&ks->io_lock);
	return status;
}

const char *kveil_keystore_reason(unsigned reason)
{
	static_assert((int)KVEIL_REGISTRY_REASONS == (int)KVEIL_DOUBT_COUNT, "one number, two headers");
	return kveil_registry_doubt_names[reason];
}

uint64_t kveil_keystore_ignored(struct kveil_keystore *ks, unsigned reason)
{
	return ks->registry ? atomic_load_explicit(&ks->registry->ignored[reason], memory_order_relaxed) : 0;
}

void kveil_keystore_rotations(struct kveil_keystore *ks, int64_t now_ms, kveil_rotation_fn *fn, void *user)
{
	struct kveil_succession s;

	for (size_t i = 0; ks->config && i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		if (!c->rotate_every_ms || kveil_is_pattern(c))
			continue;
		pthread_mutex_lock(&ks->lock);
		const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(c->name));
		if (n)
			kveil_key_name_succession(n, now_ms, &s);
		pthread_mutex_unlock(&ks->lock);
		fn(user, c->name, n ? kveil_succession_overdue(&s, c->rotate_every_ms) : 0);
	}
}

void kveil_keystore_patterns(struct kveil_keystore *ks, kveil_pattern_info_fn *fn, void *user)
{
	for (size_t i = 0; ks->config && i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		if (!kveil_is_pattern(c))
			continue;
		struct kveil_pattern_info info = {.pattern = c->name};
		pthread_mutex_lock(&ks->lock);
		if (ks->tenants.rates)
			info.names = ks->tenants.rates[i].count;
		for (size_t k = 0; k < ks->tenants.asked_count; k++)
			info.waiting += ks->tenants.asked[k].pattern == c;
		pthread_mutex_unlock(&ks->lock);
		fn(user, &info);
	}
}

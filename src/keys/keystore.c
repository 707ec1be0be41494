/* SPDX-License-Identifier: Apache-2.0 */
/* The process's keys: names and versions as they are in memory. Where they come from is refresh.c or memory.c. */
#include "keys/internal.h"

#include "base/secret.h"
#include "crypto/crypto.h"

#include <assert.h>
#include <stdlib.h>

struct kveil_keystore *kveil_keystore_alloc(void)
{
	struct kveil_keystore *ks = calloc(1, sizeof *ks);

	if (!ks)
		return NULL;
	ks->alive = kveil_secret_alloc_schedule(1); /* no reason to refuse, where memory cannot be locked */
	if (!ks->alive) {
		free(ks);
		return NULL;
	}
	*ks->alive = 1;
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
	kveil_named_keys_clear(ks);
	kveil_secret_free(ks->in_memory.seed);
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
	kveil_document_clear(&ks->backlog.all);
	free(ks->backlog.refusals);
	free(ks->backlog.condemned);
	free(ks->unread);
	kveil_withheld_clear(&ks->withheld.list);
	pthread_mutex_destroy(&ks->tend_lock);
	pthread_mutex_destroy(&ks->refresh_lock);
	pthread_mutex_destroy(&ks->io_lock);
	pthread_mutex_destroy(&ks->lock);
	kveil_secret_free(ks->alive);
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
	for (size_t i = 0; i < ks->config->data_count; i++)
		if (strcmp(ks->config->data[i].name, n->name) == 0)
			n->config = &ks->config->data[i];
	return n;
}

/* Who has only a certificate can make versions under it. None of them may come to seal what another KEK guards. */
bool kveil_key_name_is_anyones(const struct kveil_key_name *name, const struct kveil_kek *by)
{
	return by && by->provider->locks_only && name->config && strcmp(name->config->kek, by->name) != 0;
}

const struct kveil_withheld *kveil_keystore_withheld(const struct kveil_keystore *ks, uint32_t id)
{
	return kveil_withheld_find(&ks->withheld.list, id);
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

bool kveil_keystore_has_id(const struct kveil_keystore *ks, uint32_t id)
{
	return kveil_keystore_by_id(ks, id) || kveil_named_keys_by_id(ks, id);
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

uint32_t kveil_key_name_next(const struct kveil_key_name *n)
{
	uint32_t last = 0;

	for (size_t i = 0; n && i < n->count; i++)
		if (n->versions[i]->record.version > last)
			last = n->versions[i]->record.version;
	return last + 1;
}

bool kveil_key_name_is_withheld(const struct kveil_key_name *n)
{
	bool any = false;

	for (size_t i = 0; i < n->count; i++) {
		if (kveil_key_version_seals(n->versions[i]))
			return false;
		any |= n->versions[i]->withheld && n->versions[i]->record.state == KVEIL_KEY_LIVE;
	}
	return any;
}

/* Gives up what was kept for this id. Under lock. */
uint8_t *kveil_keystore_made_here(struct kveil_keystore *ks, uint32_t id)
{
	for (struct kveil_made_key **at = &ks->made; *at; at = &(*at)->next) {
		struct kveil_made_key *m = *at;
		if (m->id != id)
			continue;
		uint8_t *key = m->key;
		*at = m->next;
		free(m);
		return key;
	}
	return NULL;
}

enum kveil_status kveil_keystore_lease(struct kveil_keystore *ks, uint32_t *ret, struct kveil_error *err)
{
	if (atomic_load(&ks->in_memory.custodian_away))
		return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "the key custodian was taken away");
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
	atomic_store(&ks->kept, !ks->registry->driver->alone);
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

	for (size_t i = 0; i < ks->config->data_count; i++) {
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
	for (size_t i = 0; i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		if (!kveil_is_pattern(c))
			continue;
		struct kveil_pattern_info info = {.pattern = c->name};
		pthread_mutex_lock(&ks->lock);
		if (ks->named_keys.rates)
			info.names = ks->named_keys.rates[i].count;
		for (size_t k = 0; k < ks->named_keys.asked_count; k++)
			info.waiting += ks->named_keys.asked[k].pattern == c;
		pthread_mutex_unlock(&ks->lock);
		fn(user, &info);
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* New versions: made, wrapped, published ahead of their time, and written again where somebody overwrote them. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>

enum { NEW_AT_ONCE = 256, LATE_MS = 30000, RACES = 16 };

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

uint32_t kveil_key_name_next(const struct kveil_key_name *n)
{
	uint32_t last = 0;

	for (size_t i = 0; n && i < n->count; i++)
		if (n->versions[i]->record.version > last)
			last = n->versions[i]->record.version;
	return last + 1;
}

/* Where many processes share a registry, they do not all make the same version at the same moment. */
static int64_t late_by(const struct kveil_keystore *ks, int64_t period_ms)
{
	int64_t most = period_ms / 16 < LATE_MS ? period_ms / 16 : LATE_MS;
	return ks->registry->driver->forgiving ? (int64_t)(((uint64_t)most * ks->lateness) >> 32) : 0;
}

/* Is a new version due, from when will it be active, and of which algorithm? A worker goes on with that of the newest
 * version: only `keys rotate` changes over, or those with the old configuration and those with the new one would take
 * turns. Under lock. */
static bool is_due(const struct kveil_keystore *ks, const struct kveil_data_key_config *c,
		   const struct kveil_key_name *n, int64_t now, int64_t *ret_active_from, uint16_t *ret_algorithm)
{
	struct kveil_succession s;

	/* Only keys that any version can open are made on a worker's own account. */
	if (c->algorithm->kind != KVEIL_ALG_AEAD || strchr(c->name, '{') || !n || n->count == 0)
		return false;
	/* Whoever took it away says what comes in its place. */
	if (kveil_key_name_is_withheld(n))
		return false;
	kveil_key_name_succession(n, now, &s);
	*ret_algorithm = s.has_newest ? s.newest.algorithm : c->algorithm->wire_id;
	return now >= kveil_succession_due(&s, c, late_by(ks, c->rotate_every_ms), ret_active_from);
}

/* Names come from records by the hundred: the log has their number, and their own records say when they came. */
static void tell_created(struct kveil_keystore *ks, const struct kveil_key_record *records, size_t count)
{
	const struct kveil_key_record *named = NULL;
	uint64_t names = 0;

	for (size_t i = 0; i < count; i++) {
		const struct kveil_key_record *r = &records[i];
		if (r->sequence != 1 || r->state != KVEIL_KEY_LIVE)
			continue;
		if (!kveil_record_is_tenants(r)) {
			kveil_keystore_tell_keys(ks, KVEIL_EVENT_KEY_CREATED, r, 1);
			continue;
		}
		named = r;
		names++;
	}
	if (named)
		kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_KEY_CREATED, .key = named->kek, .count = names});
}

enum kveil_status kveil_keystore_append(struct kveil_keystore *ks, const struct kveil_key_record *records, size_t count,
					struct kveil_error *err)
{
	bool read = false;

	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->append(ks->registry, records, count, err);
	pthread_mutex_unlock(&ks->io_lock);
	if (!status)
		tell_created(ks, records, count);
	if (!status)
		status = kveil_keystore_refresh_read(ks, &read, err);
	return read ? KVEIL_OK : status;
}

/* Did somebody else's record come first? Then what was kept of ours is of no use. */
static bool has_lost(struct kveil_keystore *ks, const struct kveil_key_record *made, size_t count)
{
	bool lost = false;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < count; i++) {
		if (kveil_keystore_by_id(ks, made[i].id))
			continue;
		kveil_secret_free(kveil_keystore_made_here(ks, made[i].id));
		lost = true;
	}
	pthread_mutex_unlock(&ks->lock);
	return lost;
}

/* A registry that is read and takes no writing is asked less and less often. Custodians have their own back-off
 * (kek.c). */
static void back_off(struct kveil_keystore *ks, const struct kveil_error *why)
{
	ks->retry_at_ms = kveil_clock_mono_ms() + kveil_kek_rest_ms(ks->failures++);
	ks->last_failure = *why;
}

enum kveil_status kveil_keystore_publish(struct kveil_keystore *ks, const struct kveil_key_record *records,
					 size_t count, struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = kveil_keystore_append(ks, records, count, &why);

	if (!status) {
		ks->failures = 0;
		return KVEIL_OK;
	}
	back_off(ks, &why);
	if (err)
		*err = why;
	return status;
}

/* What is published with a wrong clock counts for nobody else, or for too long. */
static enum kveil_status check_clock(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
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

static enum kveil_status make_due_once(struct kveil_keystore *ks, int64_t now, bool *ret_lost, struct kveil_error *err)
{
	struct kveil_key_record *made = calloc(NEW_AT_ONCE, sizeof *made);
	enum kveil_status status = KVEIL_OK, first = KVEIL_OK;
	struct kveil_error why;
	size_t count = 0;

	if (!made)
		return kveil_no_memory(err, "keys");
	for (size_t i = 0; i < ks->config->data_count && count < NEW_AT_ONCE; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		int64_t active_from;
		uint16_t algorithm;
		/* What waits for its custodian may be the very version that is due. */
		if (kveil_keystore_is_held_up(ks, c->name))
			continue;
		pthread_mutex_lock(&ks->lock);
		const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(c->name));
		bool due = is_due(ks, c, n, now, &active_from, &algorithm);
		pthread_mutex_unlock(&ks->lock);
		if (!due)
			continue;
		uint32_t number = kveil_keystore_next_number(ks, c->name);
		kveil_key_record_begin(&made[count], c, number, now, active_from);
		made[count].algorithm = algorithm;
		status = check_clock(ks, c, &why);
		if (!status)
			status =
			    kveil_keystore_make(ks, c->keks, ks->registry->secret, &made[count], KVEIL_SPAN_NULL, &why);
		/* One custodian away does not hold up the keys of another. */
		if (!status)
			count++;
		else if (!first) {
			first = status;
			if (err)
				*err = why;
		}
	}
	status = count ? kveil_keystore_publish(ks, made, count, &why) : KVEIL_OK;
	*ret_lost = count && !status && has_lost(ks, made, count);
	for (size_t i = 0; i < count; i++)
		kveil_key_record_clear(&made[i]);
	free(made);
	if (first)
		return first;
	if (status && err)
		*err = why;
	return status;
}

/* Whoever can read the winner's key has what was due; an edge cannot, and takes the number after it. */
static enum kveil_status make_due(struct kveil_keystore *ks, int64_t now, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	bool lost = true;

	for (int i = 0; !status && lost && i < RACES; i++)
		status = make_due_once(ks, now, &lost, err);
	return status;
}

bool kveil_keystore_copy_record(const struct kveil_keystore *ks, uint32_t id, struct kveil_document *d)
{
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, id);
	const struct kveil_tenant_version *t = v ? NULL : kveil_tenants_by_id(ks, id);
	struct kveil_key_record r = {0};

	if (v)
		return kveil_document_add(d, &v->record);
	bool ok = !t || (kveil_tenants_record(t, &r) && kveil_document_add(d, &r));
	kveil_key_record_clear(&r);
	return ok;
}

/* Writes again what somebody else overwrote, for compaction keeps only what was written last. */
static enum kveil_status heal(struct kveil_keystore *ks, bool at_once, size_t *ret_count, struct kveil_error *err)
{
	const struct kveil_registry_driver *driver = ks->registry->driver;
	struct kveil_document again = {0};
	enum kveil_status status = KVEIL_OK;
	uint32_t ids[NEW_AT_ONCE];

	*ret_count = 0;
	if (!driver->damaged)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->io_lock);
	size_t count = driver->damaged(ks->registry, at_once, ids, NEW_AT_ONCE);
	pthread_mutex_unlock(&ks->io_lock);
	for (size_t i = 0; !status && i < count; i++) {
		pthread_mutex_lock(&ks->lock);
		size_t before = again.count;
		bool copied = kveil_keystore_copy_record(ks, ids[i], &again);
		pthread_mutex_unlock(&ks->lock);
		if (!copied)
			status = kveil_no_memory(err, "keys");
		if (status || again.count == before) /* not unwrapped yet: its custodian is away */
			continue;
		struct kveil_key_record *r = &again.records[again.count - 1];
		kveil_key_record_advance(r);
		status = kveil_key_record_sign(r, ks->registry->secret, err);
	}
	if (!status && again.count)
		status = kveil_keystore_append(ks, again.records, again.count, err);
	*ret_count = again.count;
	kveil_document_clear(&again);
	return status;
}

enum kveil_status kveil_keystore_settle(struct kveil_keystore *ks, struct kveil_error *err)
{
	bool is_read = false;
	enum kveil_status status = kveil_keystore_refresh_read(ks, &is_read, err);
	size_t count = 1;

	/* Keys whose custodian is away hold up none of this. */
	if (is_read)
		status = KVEIL_OK;
	for (int i = 0; !status && count && i < RACES; i++)
		status = heal(ks, true, &count, err);
	return status;
}

enum kveil_status kveil_keystore_stay_welcome(struct kveil_keystore *ks, struct kveil_error *err)
{
	enum kveil_status first = KVEIL_OK;
	struct kveil_error why;

	for (size_t i = 0; i < ks->custodian_count; i++) {
		enum kveil_status status = kveil_kek_tend(ks->custodians[i], &why);
		if (!status || first)
			continue;
		first = status;
		if (err)
			*err = why;
	}
	return first;
}

static enum kveil_status tend(struct kveil_keystore *ks, int64_t now_wall_ms, struct kveil_error *err)
{
	struct kveil_error why = {0};
	size_t healed;
	bool read;
	/* One custodian away does not hold up the keys of another. */
	enum kveil_status held_up = kveil_keystore_refresh_read(ks, &read, err);
	if (!read)
		return held_up;
	/* How custodians do is told by kveil_keystore_keks; what needs one that is away says so itself. */
	(void)!kveil_keystore_stay_welcome(ks, NULL);
	kveil_keystore_probe(ks);
	enum kveil_status status = kveil_keystore_stock_leases(ks, &why);
	if (!status)
		status = heal(ks, false, &healed, &why);
	if (!status) {
		pthread_mutex_lock(&ks->tend_lock);
		if (kveil_clock_mono_ms() < ks->retry_at_ms) {
			why = ks->last_failure;
			status = why.status;
		} else {
			status = make_due(ks, now_wall_ms, &why);
			if (!status)
				status = kveil_tenants_make(ks, now_wall_ms, &why);
			if (status == KVEIL_E_KEY_PENDING) /* whoever waits for them knows */
				status = KVEIL_OK;
		}
		pthread_mutex_unlock(&ks->tend_lock);
	}
	/* Not by the command that schedules it, nor by any other that comes along: history would name the wrong one. */
	if (!status && atomic_load(&ks->kept))
		status = kveil_keystore_end_due(ks, now_wall_ms, &why);
	if (held_up)
		return held_up;
	if (status)
		*err = why;
	return status;
}

enum kveil_status kveil_keystore_tend(struct kveil_keystore *ks, int64_t now_wall_ms, struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = ks->memory ? KVEIL_OK : tend(ks, now_wall_ms, &why);

	if (!status)
		why = (struct kveil_error){0};
	pthread_mutex_lock(&ks->lock);
	ks->tended = why;
	pthread_mutex_unlock(&ks->lock);
	if (atomic_load(&ks->kept))
		kveil_keystore_tell_active(ks, now_wall_ms);
	if (status && err)
		*err = why;
	return status;
}

enum kveil_status kveil_keystore_make_asked(struct kveil_keystore *ks, int64_t now_wall_ms, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	bool read = false;

	if (ks->memory)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->tend_lock);
	/* Somebody else may have made them by now. */
	status = kveil_keystore_refresh_read(ks, &read, err);
	if (read)
		status = KVEIL_OK;
	if (!status && kveil_clock_mono_ms() < ks->retry_at_ms && kveil_tenants_are_asked(ks)) {
		status = ks->last_failure.status;
		if (err)
			*err = ks->last_failure;
	}
	if (!status)
		status = kveil_tenants_make(ks, now_wall_ms, err);
	pthread_mutex_unlock(&ks->tend_lock);
	return status;
}

static enum kveil_status rotate_once(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
				     int64_t active_from_ms, bool *ret_won, struct kveil_error *err)
{
	struct kveil_key_record r;
	int64_t now = kveil_clock_wall_ms();

	uint32_t number = kveil_keystore_next_number(ks, c->name);
	kveil_key_record_begin(&r, c, number, now, active_from_ms ? active_from_ms : now);
	enum kveil_status status = check_clock(ks, c, err);
	if (!status)
		status = kveil_keystore_make(ks, c->keks, ks->registry->secret, &r, KVEIL_SPAN_NULL, err);
	if (status)
		return status;
	status = kveil_keystore_append(ks, &r, 1, err);
	if (!status) {
		pthread_mutex_lock(&ks->lock);
		*ret_won = kveil_keystore_by_id(ks, r.id) != NULL;
		pthread_mutex_unlock(&ks->lock);
		/* Written, and its custodian went before it could be read back. */
		if (!*ret_won && kveil_keystore_is_held_up(ks, c->name))
			status = kveil_keystore_refresh(ks, err);
	}
	kveil_key_record_clear(&r);
	return status;
}

enum kveil_status kveil_keystore_rotate(struct kveil_keystore *ks, struct kveil_span name, int64_t active_from_ms,
					struct kveil_error *err)
{
	struct kveil_key_name *n;
	struct kveil_tenant_ask tenant;
	char text[KVEIL_KEY_NAME_MAX + 1];
	bool won = false;

	snprintf(text, sizeof text, "%.*s", (int)name.len, (const char *)name.data);
	if (name.len < sizeof text && kveil_tenants_meant(ks, text, &tenant)) {
		enum kveil_status status = kveil_tenants_rotate(ks, &tenant, active_from_ms, err);
		if (status == KVEIL_E_NOT_FOUND)
			kveil_tenants_hint(ks, text, err);
		return status;
	}
	enum kveil_status status = kveil_keystore_name(ks, name, 0, &n, err);

	if (status)
		return status;
	if (ks->memory) {
		int64_t now = kveil_clock_wall_ms();
		return kveil_memory_rotate(ks, n, now, active_from_ms ? active_from_ms : now, err);
	}
	const struct kveil_kek *kek = kveil_keystore_kek(ks, n->config->kek);
	if (kek && !kek->provider->can_unwrap(kek)) {
		kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' only locks here: no worker could read a version of another's",
			   kek->name);
		kveil_error_hint(err,
				 "each worker makes its own when it starts, and one for each period of rotate_every");
		return KVEIL_E_CONFIG;
	}
	/* Another process may make the same version at the same moment: then ours is the one after it. */
	for (int i = 0; !status && !won && i < 10; i++)
		status = rotate_once(ks, n->config, active_from_ms, &won, err);
	if (!status && !won)
		status = kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "other processes keep making versions of '%s'",
				    n->name);
	return status;
}

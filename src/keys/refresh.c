/* SPDX-License-Identifier: Apache-2.0 */
/* Between the registry and memory: taking records in, making new versions, looking for an id that is not here. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>

enum { UNKNOWN_MS = 60000, BACKOFF_MS = 1000, BACKOFF_MAX_MS = 30000, NEW_AT_ONCE = 256, LATE_MS = 30000, RACES = 16 };

/* --- records in --- */

struct kveil_kek *kveil_keystore_kek(const struct kveil_keystore *ks, const char *name)
{
	for (size_t i = 0; i < ks->custodian_count; i++)
		if (strcmp(ks->custodians[i]->name, name) == 0)
			return ks->custodians[i];
	return NULL;
}

enum kveil_status kveil_keystore_unwrap(const struct kveil_keystore *ks, const struct kveil_key_record *r,
					uint8_t **ret_key, struct kveil_error *err)
{
	struct kveil_kek *kek = kveil_keystore_kek(ks, r->kek);
	enum kveil_status status;
	struct kveil_span key;
	size_t n = 0;

	*ret_key = NULL;
	if (!kek) {
		kveil_fail(err, KVEIL_E_CONFIG,
			   "key '%s' version %u is wrapped by KEK '%s', which keys.keks does not name", r->name,
			   r->version, r->kek);
		kveil_error_hint(err, "keep a KEK in the configuration as long as keys that it wrapped are in use");
		return KVEIL_E_CONFIG;
	}
	if (!kek->provider->can_unwrap(kek))
		return KVEIL_OK;
	size_t room = r->wrapped_len > KVEIL_PAYLOAD_MAX ? r->wrapped_len : KVEIL_PAYLOAD_MAX;
	uint8_t *payload = kveil_secret_alloc(room);
	if (!payload)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no locked memory for a key");
	status = kek->provider->unwrap(kek, kveil_span_of(r->wrapped, r->wrapped_len), payload, room, &n, err);
	if (status == KVEIL_E_WRONG_KEK) {
		kveil_fail(err, status, "KEK '%s' is not the one that wrapped key '%s' version %u", r->kek, r->name,
			   r->version);
		kveil_error_hint(err, "bring back the key-encryption key that this registry was made with");
	}
	if (!status)
		status = kveil_key_payload_read(r, ks->registry->secret->id, kveil_span_of(payload, n), &key, err);
	if (!status) {
		*ret_key = kveil_secret_alloc(key.len);
		if (*ret_key)
			memcpy(*ret_key, key.data, key.len);
		else
			status = kveil_fail(err, KVEIL_E_NO_MEMORY, "no locked memory for a key");
	}
	kveil_secret_free(payload);
	return status;
}

/* What this record would change. Under refresh_lock, so that nobody else changes it meanwhile. */
enum novelty { NOTHING, A_VERSION, A_CHANGE };

static enum novelty judge(struct kveil_keystore *ks, const struct kveil_key_record *r)
{
	enum novelty ret = A_VERSION;

	pthread_mutex_lock(&ks->lock);
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, r->id);
	const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(r->name));
	if (v)
		ret = kveil_key_record_supersedes(r, &v->record) ? A_CHANGE : NOTHING;
	/* The first record for a version wins; one that was written again by somebody who knew that wins over one that
	 * only looks first because its rival was removed (registry_log.h). */
	for (size_t i = 0; !v && n && i < n->count; i++)
		if (n->versions[i]->record.version == r->version &&
		    (r->sequence == 1 || n->versions[i]->record.sequence > 1))
			ret = NOTHING;
	pthread_mutex_unlock(&ks->lock);
	return ret;
}

/* Gives up what was kept for this id. Under lock. */
static uint8_t *made_here(struct kveil_keystore *ks, uint32_t id)
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
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no locked memory for a key");
	}
	memcpy(copy, key, n);
	*m = (struct kveil_made_key){.id = id, .key = copy};
	pthread_mutex_lock(&ks->lock);
	m->next = ks->made;
	ks->made = m;
	pthread_mutex_unlock(&ks->lock);
	return KVEIL_OK;
}

static enum kveil_status take_version(struct kveil_keystore *ks, const struct kveil_key_record *r,
				      struct kveil_error *err)
{
	struct kveil_key_record copy = {0};
	uint8_t *key = NULL;
	enum kveil_status status = KVEIL_OK;

	if (r->state != KVEIL_KEY_DESTROYED)
		status = kveil_keystore_unwrap(ks, r, &key, err);
	if (!status && !kveil_key_record_copy(&copy, r))
		status = kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for a key");
	if (!status) {
		pthread_mutex_lock(&ks->lock);
		if (!key)
			key = made_here(ks, r->id);
		struct kveil_key_name *n = kveil_keystore_intern(ks, kveil_span_str(r->name));
		status = n ? kveil_keystore_add(ks, n, &copy, key, err)
			   : kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for a key");
		/* One that took its place unlawfully may have sealed: it opens on. */
		for (size_t i = 0; !status && i + 1 < n->count; i++)
			if (n->versions[i]->record.version == r->version &&
			    n->versions[i]->record.state == KVEIL_KEY_LIVE)
				n->versions[i]->record.state = KVEIL_KEY_OPENS_ONLY;
		pthread_mutex_unlock(&ks->lock);
	}
	if (status) {
		kveil_secret_free(key);
		kveil_key_record_clear(&copy);
	}
	return status;
}

static enum kveil_status take_change(struct kveil_keystore *ks, const struct kveil_key_record *r,
				     struct kveil_error *err)
{
	struct kveil_key_record copy;

	if (!kveil_key_record_copy(&copy, r))
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for a key");
	pthread_mutex_lock(&ks->lock);
	struct kveil_key_version *v = kveil_keystore_by_id(ks, r->id);
	/* The id inside stays where it is: the map borrows it. */
	free(v->record.wrapped);
	v->record = copy;
	const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(copy.name));
	v->anyones = n && kveil_keystore_is_anyones(ks, n, &v->record);
	if (r->state == KVEIL_KEY_DESTROYED) {
		kveil_secret_free(v->key);
		v->key = NULL;
	}
	pthread_mutex_unlock(&ks->lock);
	return KVEIL_OK;
}

static enum kveil_status collect(void *user, const struct kveil_key_record *record, struct kveil_error *err)
{
	struct kveil_keystore *ks = user;
	return kveil_document_add(&ks->backlog, record) ? KVEIL_OK
							: kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for keys");
}

static enum kveil_status take(struct kveil_keystore *ks, const struct kveil_key_record *r, bool *changed,
			      struct kveil_error *err)
{
	enum novelty n = judge(ks, r);

	if (n == NOTHING)
		return KVEIL_OK;
	enum kveil_status status = n == A_VERSION ? take_version(ks, r, err) : take_change(ks, r, err);
	if (status == KVEIL_E_REGISTRY_CORRUPT && ks->registry->driver->forgiving) {
		atomic_fetch_add_explicit(&ks->registry->ignored[KVEIL_DOUBT_FORGED], 1, memory_order_relaxed);
		return KVEIL_OK;
	}
	*changed |= status == KVEIL_OK;
	return status;
}

static bool holds_name(const struct kveil_key_record *records, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(records[i].name, name) == 0)
			return true;
	return false;
}

/* Takes in the backlog. What cannot be taken in now (its custodian is away) stays, and with it all that follows under
 * the same name, so that the first record for a version still wins. */
static enum kveil_status take_backlog(struct kveil_keystore *ks, bool *changed, struct kveil_error *err)
{
	struct kveil_document *b = &ks->backlog;
	enum kveil_status first = KVEIL_OK;
	struct kveil_error why;
	size_t kept = 0;

	for (size_t i = 0; i < b->count; i++) {
		bool waits = kept && holds_name(b->records, kept, b->records[i].name);
		enum kveil_status status = waits ? first : take(ks, &b->records[i], changed, &why);
		if (!status) {
			kveil_key_record_clear(&b->records[i]);
			continue;
		}
		if (!first) {
			first = status;
			if (err)
				*err = why;
		}
		struct kveil_key_record r = b->records[i];
		b->records[i] = (struct kveil_key_record){0};
		b->records[kept++] = r;
	}
	b->count = kept;
	return first;
}

static enum kveil_status refresh_locked(struct kveil_keystore *ks, struct kveil_error *err)
{
	bool changed = false;
	uint64_t number = atomic_fetch_add(&ks->refreshes, 1) + 1;
	struct kveil_error why = {0};

	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->read(ks->registry, collect, ks, &why);
	pthread_mutex_unlock(&ks->io_lock);
	/* A file that was swapped may be swapped back; a log that begins anew will never hold these keys again. */
	if (status == KVEIL_E_REGISTRY_ROLLED_BACK && ks->registry->driver->forgiving)
		atomic_store(&ks->rolled_back, true);
	if (!status)
		status = take_backlog(ks, &changed, &why);
	if (status) {
		ks->refused = number;
		ks->refusal = why;
		if (err)
			*err = why;
	} else {
		ks->refreshed = number;
	}
	if (changed) {
		pthread_mutex_lock(&ks->lock);
		memset(ks->unknown, 0, sizeof ks->unknown);
		pthread_mutex_unlock(&ks->lock);
		atomic_fetch_add_explicit(&ks->generation, 1, memory_order_release);
	}
	return status;
}

enum kveil_status kveil_keystore_refresh(struct kveil_keystore *ks, struct kveil_error *err)
{
	if (ks->memory)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->refresh_lock);
	enum kveil_status status = refresh_locked(ks, err);
	pthread_mutex_unlock(&ks->refresh_lock);
	return status;
}

/* --- an id that is not here --- */

static bool is_known_unknown(struct kveil_keystore *ks, uint32_t id, int64_t now)
{
	bool ret = false;

	for (size_t i = 0; i < sizeof ks->unknown / sizeof *ks->unknown; i++)
		ret |= ks->unknown[i].id == id && ks->unknown[i].until_ms > now;
	return ret;
}

enum kveil_status kveil_keystore_seek(struct kveil_keystore *ks, uint32_t id, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	int64_t now = kveil_clock_mono_ms();

	pthread_mutex_lock(&ks->lock);
	bool here = kveil_keystore_by_id(ks, id), unknown = ks->memory || is_known_unknown(ks, id, now);
	pthread_mutex_unlock(&ks->lock);
	if (here)
		return KVEIL_OK;
	if (unknown)
		return kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "no key with id %u", id);

	/* Whoever waited here while another thread began a refresh and ended it need not do it again. */
	uint64_t asked = atomic_load(&ks->refreshes);
	pthread_mutex_lock(&ks->refresh_lock);
	if (ks->refreshed <= asked && ks->refused <= asked)
		status = refresh_locked(ks, err);
	else if (ks->refreshed <= asked) {
		status = ks->refusal.status;
		if (err)
			*err = ks->refusal;
	}
	pthread_mutex_unlock(&ks->refresh_lock);
	if (status && kveil_status_class(status) != KVEIL_CLASS_STOP) {
		/* Whatever is wrong with the registry, this record is not at fault. */
		struct kveil_error why = err ? *err : (struct kveil_error){0};
		return kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "cannot look for key id %u: %s", id, why.message);
	}
	if (status)
		return status;
	pthread_mutex_lock(&ks->lock);
	here = kveil_keystore_by_id(ks, id);
	if (!here) {
		size_t at = id % (sizeof ks->unknown / sizeof *ks->unknown);
		ks->unknown[at].id = id;
		ks->unknown[at].until_ms = now + UNKNOWN_MS;
	}
	pthread_mutex_unlock(&ks->lock);
	return here ? KVEIL_OK : kveil_fail(err, KVEIL_E_UNKNOWN_KEY, "no key with id %u", id);
}

/* --- new versions --- */

enum kveil_status kveil_keystore_make(struct kveil_keystore *ks, struct kveil_kek *kek,
				      const struct kveil_registry_secret *secret, struct kveil_key_record *r,
				      struct kveil_span material, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
	KVEIL_CLEANUP_BUF struct kveil_buf wrapped = KVEIL_BUF_INIT;
	uint8_t *payload = kveil_secret_alloc(KVEIL_PAYLOAD_MAX), *key = kveil_secret_alloc(alg->key_bytes);
	enum kveil_status status = KVEIL_OK;

	if (!payload || !key)
		status = kveil_fail(err, KVEIL_E_NO_MEMORY, "no locked memory for a key");
	if (!status && r->id == 0)
		status = kveil_keystore_draw_id(ks, &r->id, err);
	if (!status && material.data)
		memcpy(key, material.data, alg->key_bytes);
	else if (!status)
		status = kveil_crypto_random(key, alg->key_bytes, err);
	if (!status) {
		size_t n = kveil_key_payload_write(r, secret->id, kveil_span_of(key, alg->key_bytes), payload);
		status = kek->provider->wrap(kek, kveil_span_of(payload, n), &wrapped, err);
	}
	if (!status && !kek->provider->can_unwrap(kek) && !material.data)
		status = keep_made(ks, r->id, key, alg->key_bytes, err);
	kveil_secret_free(payload);
	kveil_secret_free(key);
	if (status)
		return status;
	snprintf(r->kek, sizeof r->kek, "%s", kek->name);
	r->wrapped = malloc(wrapped.len ? wrapped.len : 1);
	if (!r->wrapped)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for a key");
	memcpy(r->wrapped, wrapped.data, wrapped.len);
	r->wrapped_len = wrapped.len;
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
	/* Its successor is due after one period; one more is how long an outage of the custodian may last. */
	if (c->rotate_every_ms)
		r->expires_ms = active_from_ms + 2 * c->rotate_every_ms;
}

/* The version after all others, in record; under lock. */
static uint32_t next_number(const struct kveil_key_name *n)
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

/* Is a new version due, and from when will it be active? Under lock. */
static bool is_due(const struct kveil_keystore *ks, const struct kveil_data_key_config *c,
		   const struct kveil_key_name *n, int64_t now, int64_t *ret_active_from)
{
	const struct kveil_key_record *newest = NULL;

	/* Only keys that any version can open are made on a worker's own account. */
	if (c->algorithm->kind != KVEIL_ALG_AEAD || strchr(c->name, '{') || !n || n->count == 0)
		return false;
	for (size_t i = 0; i < n->count; i++) {
		const struct kveil_key_record *r = &n->versions[i]->record;
		if (!kveil_key_version_seals(n->versions[i]) || (r->expires_ms && now >= r->expires_ms))
			continue;
		if (!newest || r->active_from_ms > newest->active_from_ms ||
		    (r->active_from_ms == newest->active_from_ms && r->version > newest->version))
			newest = r;
	}
	*ret_active_from = now;
	if (!newest || newest->algorithm != c->algorithm->wire_id)
		return true;
	if (!c->rotate_every_ms) /* no longer rotated: the last one that ends needs a successor without an end */
		return newest->expires_ms &&
		       now >= newest->expires_ms - (newest->expires_ms - newest->active_from_ms) / 2;
	if (now < newest->active_from_ms + c->rotate_every_ms / 2 + late_by(ks, c->rotate_every_ms))
		return false;
	if (newest->active_from_ms + c->rotate_every_ms > now)
		*ret_active_from = newest->active_from_ms + c->rotate_every_ms;
	return true;
}

static enum kveil_status append(struct kveil_keystore *ks, const struct kveil_key_record *records, size_t count,
				struct kveil_error *err)
{
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->append(ks->registry, records, count, err);
	pthread_mutex_unlock(&ks->io_lock);
	return status ? status : kveil_keystore_refresh(ks, err);
}

/* Did somebody else's record come first? Then what was kept of ours is of no use. */
static bool has_lost(struct kveil_keystore *ks, const struct kveil_key_record *made, size_t count)
{
	bool lost = false;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < count; i++) {
		if (kveil_keystore_by_id(ks, made[i].id))
			continue;
		kveil_secret_free(made_here(ks, made[i].id));
		lost = true;
	}
	pthread_mutex_unlock(&ks->lock);
	return lost;
}

static enum kveil_status make_due_once(struct kveil_keystore *ks, int64_t now, bool *ret_lost, struct kveil_error *err)
{
	struct kveil_key_record *made = calloc(NEW_AT_ONCE, sizeof *made);
	enum kveil_status status = KVEIL_OK, first = KVEIL_OK;
	struct kveil_error why;
	size_t count = 0;

	if (!made)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for keys");
	for (size_t i = 0; i < ks->config->data_count && count < NEW_AT_ONCE; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		int64_t active_from;
		pthread_mutex_lock(&ks->lock);
		const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(c->name));
		bool due = is_due(ks, c, n, now, &active_from);
		uint32_t number = next_number(n);
		pthread_mutex_unlock(&ks->lock);
		if (!due)
			continue;
		kveil_key_record_begin(&made[count], c, number, now, active_from);
		status = kveil_keystore_make(ks, kveil_keystore_kek(ks, c->kek), ks->registry->secret, &made[count],
					     KVEIL_SPAN_NULL, &why);
		/* One custodian away does not hold up the keys of another. */
		if (!status)
			count++;
		else if (!first) {
			first = status;
			if (err)
				*err = why;
		}
	}
	if (count)
		status = append(ks, made, count, first ? NULL : err);
	*ret_lost = count && !status && has_lost(ks, made, count);
	for (size_t i = 0; i < count; i++)
		kveil_key_record_clear(&made[i]);
	free(made);
	return first ? first : count ? status : KVEIL_OK;
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

/* Writes again what somebody else overwrote, for compaction keeps only what was written last. */
static enum kveil_status heal(struct kveil_keystore *ks, struct kveil_error *err)
{
	const struct kveil_registry_driver *driver = ks->registry->driver;
	struct kveil_document again = {0};
	enum kveil_status status = KVEIL_OK;
	uint32_t ids[NEW_AT_ONCE];

	if (!driver->damaged)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->io_lock);
	size_t count = driver->damaged(ks->registry, ids, NEW_AT_ONCE);
	pthread_mutex_unlock(&ks->io_lock);
	for (size_t i = 0; !status && i < count; i++) {
		pthread_mutex_lock(&ks->lock);
		const struct kveil_key_version *v = kveil_keystore_by_id(ks, ids[i]);
		bool copied = !v || kveil_document_add(&again, &v->record);
		pthread_mutex_unlock(&ks->lock);
		if (!copied)
			status = kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for keys");
		if (status || !v) /* not unwrapped yet: its custodian is away */
			continue;
		struct kveil_key_record *r = &again.records[again.count - 1];
		r->sequence++;
		status = kveil_key_record_sign(r, ks->registry->secret, err);
	}
	if (!status && again.count)
		status = append(ks, again.records, again.count, err);
	kveil_document_clear(&again);
	return status;
}

/* Doubling, with half of it drawn: many processes whose custodian is away do not come back in step. */
static void back_off(struct kveil_keystore *ks)
{
	int64_t wait = BACKOFF_MS;
	uint32_t draw = 0;

	for (unsigned i = 0; i < ks->failures && wait < BACKOFF_MAX_MS; i++)
		wait *= 2;
	if (wait > BACKOFF_MAX_MS)
		wait = BACKOFF_MAX_MS;
	(void)!kveil_crypto_random(&draw, sizeof draw, NULL);
	ks->failures++;
	ks->retry_at_ms = kveil_clock_mono_ms() + wait / 2 + draw % (wait / 2 + 1);
}

enum kveil_status kveil_keystore_tend(struct kveil_keystore *ks, int64_t now_wall_ms, struct kveil_error *err)
{
	if (ks->memory)
		return KVEIL_OK;
	enum kveil_status status = kveil_keystore_refresh(ks, err);
	if (!status)
		status = heal(ks, err);
	if (status)
		return status;
	pthread_mutex_lock(&ks->tend_lock);
	if (kveil_clock_mono_ms() < ks->retry_at_ms) {
		status = ks->last_failure.status;
		if (err)
			*err = ks->last_failure;
	} else {
		status = make_due(ks, now_wall_ms, &ks->last_failure);
		if (status) {
			back_off(ks);
			if (err)
				*err = ks->last_failure;
		} else {
			ks->failures = 0;
			ks->retry_at_ms = 0;
		}
	}
	pthread_mutex_unlock(&ks->tend_lock);
	return status;
}

static enum kveil_status rotate_once(struct kveil_keystore *ks, const struct kveil_data_key_config *c,
				     int64_t active_from_ms, bool *ret_won, struct kveil_error *err)
{
	struct kveil_key_record r;
	int64_t now = kveil_clock_wall_ms();

	pthread_mutex_lock(&ks->lock);
	uint32_t number = next_number(kveil_map_get(&ks->names, kveil_span_str(c->name)));
	pthread_mutex_unlock(&ks->lock);
	kveil_key_record_begin(&r, c, number, now, active_from_ms ? active_from_ms : now);
	enum kveil_status status =
	    kveil_keystore_make(ks, kveil_keystore_kek(ks, c->kek), ks->registry->secret, &r, KVEIL_SPAN_NULL, err);
	if (status)
		return status;
	status = append(ks, &r, 1, err);
	if (!status) {
		pthread_mutex_lock(&ks->lock);
		*ret_won = kveil_keystore_by_id(ks, r.id) != NULL;
		pthread_mutex_unlock(&ks->lock);
	}
	kveil_key_record_clear(&r);
	return status;
}

enum kveil_status kveil_keystore_rotate(struct kveil_keystore *ks, struct kveil_span name, int64_t active_from_ms,
					struct kveil_error *err)
{
	struct kveil_key_name *n;
	bool won = false;
	enum kveil_status status = kveil_keystore_name(ks, name, 0, &n, err);

	if (status)
		return status;
	if (ks->memory) {
		int64_t now = kveil_clock_wall_ms();
		return kveil_memory_rotate(ks, n, now, active_from_ms ? active_from_ms : now, err);
	}
	/* Another process may make the same version at the same moment: then ours is the one after it. */
	for (int i = 0; !status && !won && i < 10; i++)
		status = rotate_once(ks, n->config, active_from_ms, &won, err);
	if (!status && !won)
		status = kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "other processes keep making versions of '%s'",
				    n->name);
	return status;
}

/* --- opening --- */

static enum kveil_status open_keks(struct kveil_keystore *ks, struct kveil_error *err)
{
	const struct kveil_keys_config *c = ks->config;

	ks->custodians = calloc(c->custodian_count ? c->custodian_count : 1, sizeof *ks->custodians);
	if (!ks->custodians)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for keys");
	for (size_t i = 0; i < c->custodian_count; i++) {
		const struct kveil_provider *p = kveil_provider_by_name(c->custodians[i].provider);
		enum kveil_status status = p->open(c->custodians[i].name, c->custodians[i].params, c->base_dir,
						   &ks->custodians[ks->custodian_count], err);
		if (status)
			return status;
		ks->custodian_count++;
	}
	return KVEIL_OK;
}

/* Only `keys init` makes names, and a key does not change what it is for. */
static enum kveil_status check_names(struct kveil_keystore *ks, struct kveil_error *err)
{
	for (size_t i = 0; i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(c->name));
		if (!n && !strchr(c->name, '{')) {
			kveil_fail(err, KVEIL_E_NOT_FOUND, "key '%s' is configured and not in the registry", c->name);
			kveil_error_hint(err, "`kveil keys init` adds the keys that are missing, and touches no other");
			kveil_error_where(err, ks->config->file, c->line, 1);
			return KVEIL_E_NOT_FOUND;
		}
		for (size_t k = 0; n && k < n->count; k++) {
			const struct kveil_algorithm *was = n->versions[k]->alg;
			if (was == c->algorithm ||
			    (was->kind == KVEIL_ALG_AEAD && c->algorithm->kind == KVEIL_ALG_AEAD))
				continue;
			kveil_fail(err, KVEIL_E_CONFIG, "key '%s' is of algorithm %s in the registry and %s here",
				   c->name, was->name, c->algorithm->name);
			kveil_error_hint(err, "give the new algorithm a key name of its own");
			kveil_error_where(err, ks->config->file, c->line, 1);
			return KVEIL_E_CONFIG;
		}
	}
	return KVEIL_OK;
}

enum kveil_status kveil_keystore_prepare(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
					 struct kveil_error *err)
{
	enum kveil_status status = kveil_crypto_init(err);

	if (status)
		return status;
	struct kveil_keystore *ks = kveil_keystore_alloc();
	if (!ks)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for keys");
	ks->config = cfg;
	status = kveil_crypto_random(&ks->lateness, sizeof ks->lateness, err);
	if (!status)
		status = open_keks(ks, err);
	if (status) {
		kveil_keystore_unref(ks);
		return status;
	}
	*ret = ks;
	return KVEIL_OK;
}

struct kveil_registry_env kveil_keystore_env(const struct kveil_keystore *ks)
{
	return (struct kveil_registry_env){.base_dir = ks->config->base_dir,
					   .keks = ks->custodians,
					   .kek_count = ks->custodian_count,
					   .options = ks->config->registry_options};
}

enum kveil_status kveil_keystore_attach(struct kveil_keystore *ks, struct kveil_error *err)
{
	const struct kveil_registry_driver *driver;
	const struct kveil_registry_env env = kveil_keystore_env(ks);
	const char *where;
	enum kveil_status status = kveil_registry_driver_of(ks->config->registry, &driver, &where, err);

	if (!status)
		status = driver->open(&env, where, &ks->registry, err);
	if (!status)
		status = kveil_keystore_refresh(ks, err);
	return status;
}

enum kveil_status kveil_keystore_open(const struct kveil_keys_config *cfg, struct kveil_keystore **ret,
				      struct kveil_error *err)
{
	struct kveil_keystore *ks = NULL;
	enum kveil_status status = kveil_keystore_prepare(cfg, &ks, err);

	if (status)
		return status;
	status = kveil_keystore_attach(ks, err);
	if (!status)
		status = check_names(ks, err);
	if (status) {
		kveil_keystore_unref(ks);
		return status;
	}
	*ret = ks;
	return KVEIL_OK;
}

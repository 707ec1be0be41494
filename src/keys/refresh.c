/* SPDX-License-Identifier: Apache-2.0 */
/* Between the registry and memory: records are taken in. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>

enum { CONDEMNED_MAX = 4096 };

/* --- records in --- */

/* What this record would change. Under refresh_lock, so that nobody else changes it meanwhile. */
enum novelty { NOTHING, A_VERSION, A_CHANGE };

static enum novelty judge(struct kveil_keystore *ks, const struct kveil_key_record *r)
{
	enum novelty ret = A_VERSION;

	pthread_mutex_lock(&ks->lock);
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, r->id);
	const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(r->name));
	if (v)
		ret = kveil_key_record_supersedes(r, &v->record) || kveil_key_record_renumbers(r, &v->record) ? A_CHANGE
													      : NOTHING;
	/* The first record for a version wins; one that was written again by somebody who knew that wins over one that
	 * only looks first because its rival was removed (registry_log.h). */
	for (size_t i = 0; !v && n && i < n->count; i++)
		if (n->versions[i]->record.version == r->version &&
		    (r->sequence == 1 || n->versions[i]->record.sequence > 1))
			ret = NOTHING;
	pthread_mutex_unlock(&ks->lock);
	return ret;
}

static enum kveil_status take_version(struct kveil_keystore *ks, const struct kveil_key_record *r,
				      struct kveil_error *err)
{
	struct kveil_key_record copy = {0};
	const struct kveil_kek *by = NULL;
	uint8_t *key = NULL;
	enum kveil_status status = KVEIL_OK;

	if (r->state != KVEIL_KEY_DESTROYED)
		status = kveil_keystore_unwrap_by(ks, r, &key, &by, err);
	if (!status && !kveil_key_record_copy(&copy, r))
		status = kveil_no_memory(err, "a key");
	if (!status) {
		pthread_mutex_lock(&ks->lock);
		if (!key)
			key = kveil_keystore_made_here(ks, r->id);
		struct kveil_key_name *n = kveil_keystore_intern(ks, kveil_span_str(r->name));
		status = n ? kveil_keystore_add(ks, n, &copy, key, by, err) : kveil_no_memory(err, "a key");
		if (!status && strchr(r->name, '{'))
			kveil_named_keys_wrapper_here(ks, r->id);
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

/* Whose is a version that is open, by its record now? That it moved away from a KEK whose public half anybody has, only
 * what opens under the other one proves. Under refresh_lock nobody else changes it. */
static enum kveil_status judge_kek(struct kveil_keystore *ks, const struct kveil_key_record *r, bool *ret_anyones,
				   struct kveil_error *err)
{
	struct kveil_key_wrapping names[KVEIL_WRAPPINGS_MAX];
	const struct kveil_kek *by = NULL;
	uint8_t *key = NULL;

	pthread_mutex_lock(&ks->lock);
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, r->id);
	const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(r->name));
	pthread_mutex_unlock(&ks->lock);
	*ret_anyones = v->anyones;
	if (r->state == KVEIL_KEY_DESTROYED || strcmp(r->kek, v->record.kek) == 0 || !n)
		return KVEIL_OK;
	if (!v->anyones || !v->key) {
		if (kveil_kek_names(r->kek, names))
			*ret_anyones = kveil_key_name_is_anyones(n, kveil_keystore_kek(ks, names[0].kek));
		return KVEIL_OK;
	}
	enum kveil_status status = kveil_keystore_unwrap_by(ks, r, &key, &by, err);
	if (kveil_status_class(status) == KVEIL_CLASS_RETRY)
		return status;
	if (!status && key && kveil_algorithm_by_wire_id(r->algorithm) == v->alg &&
	    kveil_secret_eq(key, v->key, v->alg->key_bytes))
		*ret_anyones = kveil_key_name_is_anyones(n, by);
	kveil_secret_free(key);
	return KVEIL_OK;
}

static enum kveil_status take_change(struct kveil_keystore *ks, const struct kveil_key_record *r,
				     struct kveil_error *err)
{
	struct kveil_key_record copy;
	bool anyones;
	enum kveil_status status = judge_kek(ks, r, &anyones, err);

	if (status)
		return status;
	if (!kveil_key_record_copy(&copy, r))
		return kveil_no_memory(err, "a key");
	pthread_mutex_lock(&ks->lock);
	struct kveil_key_version *v = kveil_keystore_by_id(ks, r->id);
	/* The id inside stays where it is: the map borrows it. */
	free(v->record.wrapped);
	v->record = copy;
	v->anyones = anyones;
	if (r->state == KVEIL_KEY_DESTROYED) {
		kveil_secret_free(v->key);
		v->key = NULL;
		if (strchr(copy.name, '{'))
			kveil_named_keys_wrapper_gone(ks, v->record.id);
	}
	pthread_mutex_unlock(&ks->lock);
	return KVEIL_OK;
}

static enum kveil_status collect(void *user, const struct kveil_key_record *record, struct kveil_error *err)
{
	struct kveil_keystore *ks = user;

	/* A named key needs no custodian, so it waits for none. */
	if (kveil_record_is_named(record))
		return kveil_named_keys_take(ks, record, err);
	/* A file hands over all that it holds. */
	for (size_t i = 0; i < ks->backlog.held_up; i++)
		if (ks->backlog.all.records[i].id == record->id && ks->backlog.all.records[i].state == record->state &&
		    ks->backlog.all.records[i].sequence == record->sequence)
			return KVEIL_OK;
	if (!kveil_document_add(&ks->backlog.all, record))
		return kveil_no_memory(err, "keys");
	return kveil_named_keys_note(ks, record, err);
}

/* Its number is taken all the same: whoever makes the next version has to pass it. */
static enum kveil_status condemn(struct kveil_keystore *ks, const struct kveil_key_record *r, struct kveil_error *err)
{
	atomic_fetch_add_explicit(&ks->registry->ignored[KVEIL_DOUBT_FORGED], 1, memory_order_relaxed);
	if (ks->backlog.condemned_count == CONDEMNED_MAX)
		return KVEIL_OK;
	struct kveil_condemned *grown =
	    realloc(ks->backlog.condemned, (ks->backlog.condemned_count + 1) * sizeof *grown);
	if (!grown)
		return kveil_no_memory(err, "keys");
	ks->backlog.condemned = grown;
	struct kveil_condemned *c = &grown[ks->backlog.condemned_count++];
	*c = (struct kveil_condemned){.version = r->version};
	snprintf(c->name, sizeof c->name, "%s", r->name);
	return KVEIL_OK;
}

static bool is_condemned(const struct kveil_keystore *ks, const char *name, uint32_t version)
{
	for (size_t i = 0; i < ks->backlog.condemned_count; i++)
		if (ks->backlog.condemned[i].version == version && strcmp(ks->backlog.condemned[i].name, name) == 0)
			return true;
	return false;
}

static enum kveil_status take(struct kveil_keystore *ks, const struct kveil_key_record *r, bool *changed,
			      struct kveil_error *err)
{
	enum novelty n = judge(ks, r);

	if (n == NOTHING)
		return KVEIL_OK;
	enum kveil_status status = n == A_VERSION ? take_version(ks, r, err) : take_change(ks, r, err);
	if (status == KVEIL_E_REGISTRY_CORRUPT && ks->registry->driver->forgiving)
		return condemn(ks, r, err);
	*changed |= status == KVEIL_OK;
	return status;
}

static struct kveil_refusal *find_refusal(const struct kveil_keystore *ks, const struct kveil_key_record *r)
{
	for (size_t i = 0; i < ks->backlog.refusal_count; i++)
		if (ks->backlog.refusals[i].id == r->id && ks->backlog.refusals[i].sequence == r->sequence &&
		    ks->backlog.refusals[i].state == r->state)
			return &ks->backlog.refusals[i];
	return NULL;
}

/* Its KEK may be brought back: until then it is asked less and less often, and about everything else at once. */
static enum kveil_status take_unless_refused(struct kveil_keystore *ks, const struct kveil_key_record *r, bool *changed,
					     struct kveil_error *err)
{
	int64_t now = kveil_clock_mono_ms();
	struct kveil_refusal *f = find_refusal(ks, r);

	if (f && now < f->until_ms)
		return kveil_keystore_wrong_kek(r, err);
	enum kveil_status status = take(ks, r, changed, err);
	if (status == KVEIL_E_WRONG_KEK && !f) {
		struct kveil_refusal *grown =
		    realloc(ks->backlog.refusals, (ks->backlog.refusal_count + 1) * sizeof *grown);
		if (!grown)
			return status;
		ks->backlog.refusals = grown;
		f = &grown[ks->backlog.refusal_count++];
		*f = (struct kveil_refusal){.id = r->id, .sequence = r->sequence, .state = r->state};
	}
	if (status == KVEIL_E_WRONG_KEK)
		f->until_ms = now + kveil_kek_rest_ms(f->times++);
	return status;
}

/* Under a KEK that this configuration does not have: others use it, or will soon. It stays outside and holds up
 * nothing. */
static bool is_foreign(const struct kveil_keystore *ks, const struct kveil_key_record *r)
{
	return !kveil_keystore_has_kek(ks, r->kek) && r->state != KVEIL_KEY_DESTROYED;
}

/* Something that was read before it may be the first record for its version, and was not taken in. */
static bool waits_for(const struct kveil_keystore *ks, size_t kept, const struct kveil_key_record *r)
{
	for (size_t i = 0; i < kept; i++) {
		const struct kveil_key_record *before = &ks->backlog.all.records[i];
		if (strcmp(before->name, r->name) == 0 && (before->version == r->version || !is_foreign(ks, before)))
			return true;
	}
	return false;
}

/* Does something that was read after it stand in its place? */
static bool is_overtaken(const struct kveil_document *b, size_t at)
{
	const struct kveil_key_record *r = &b->records[at];

	for (size_t i = at + 1; i < b->count && !kveil_record_is_named(r); i++)
		if (kveil_key_record_supersedes(&b->records[i], r))
			return true;
	return false;
}

/* Takes in the backlog. What cannot be taken in now (its custodian is away) stays, and with it all that follows under
 * the same name, so that the first record for a version still wins. */
static enum kveil_status take_backlog(struct kveil_keystore *ks, bool *changed, struct kveil_error *err)
{
	struct kveil_document *b = &ks->backlog.all;
	enum kveil_status first = KVEIL_OK;
	struct kveil_error why;
	size_t kept = 0;

	for (size_t i = 0; i < b->count; i++) {
		bool waits = waits_for(ks, kept, &b->records[i]), foreign = is_foreign(ks, &b->records[i]);
		enum kveil_status status =
		    waits || foreign ? first : take_unless_refused(ks, &b->records[i], changed, &why);
		/* What was ended or moved since need not be opened as it was. */
		if ((!status && !waits && !foreign) || is_overtaken(b, i)) {
			kveil_key_record_clear(&b->records[i]);
			continue;
		}
		if (!first && !waits && !foreign) {
			first = status;
			if (err)
				*err = why;
		}
		struct kveil_key_record r = b->records[i];
		b->records[i] = (struct kveil_key_record){0};
		b->records[kept++] = r;
	}
	b->count = ks->backlog.held_up = kept;
	if (!kept)
		ks->backlog.refusal_count = 0;
	return first;
}

/* --- a configured key that is not here, or not whole --- */

static enum kveil_status why_outside(const struct kveil_keystore *ks, const struct kveil_key_record *r,
				     struct kveil_error *err)
{
	if (!kveil_keystore_has_kek(ks, r->kek)) {
		kveil_fail(err, KVEIL_E_CONFIG,
			   "key '%s' has versions under KEK '%s' only, which keys.keks does not name", r->name, r->kek);
		kveil_error_hint(err, "bring that KEK back into the configuration; `kveil keys list` shows which "
				      "versions it holds");
		return KVEIL_E_CONFIG;
	}
	if (find_refusal(ks, r))
		return kveil_keystore_wrong_kek(r, err);
	for (size_t i = 0; i < ks->backlog.all.count; i++)
		if (strcmp(ks->backlog.all.records[i].kek, r->kek) == 0 &&
		    find_refusal(ks, &ks->backlog.all.records[i]))
			return kveil_keystore_wrong_kek(&ks->backlog.all.records[i], err);
	enum kveil_status status = kveil_keystore_keks_last(ks, r->kek, err);
	return status ? status
		      : kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "KEK '%s' has yet to open key '%s' version %u", r->kek,
				   r->name, r->version);
}

/* For whoever binds a key: it must not wait for a reading that waits for a custodian. */
static void judge_unread(struct kveil_keystore *ks)
{
	const struct kveil_keys_config *c = ks->config;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < c->data_count; i++)
		ks->unread[i].why.status = KVEIL_OK;
	for (size_t i = 0; i < ks->backlog.all.count; i++) {
		const struct kveil_key_record *r = &ks->backlog.all.records[i];
		const struct kveil_data_key_config *d =
		    kveil_record_is_named(r) ? NULL : kveil_keys_config_find(c, kveil_span_str(r->name));
		struct kveil_unread *u = d ? &ks->unread[d - c->data] : NULL;
		/* That a custodian is away says nothing for good, and is what may change. */
		if (u && kveil_status_class(u->why.status) != KVEIL_CLASS_RETRY)
			(void)!why_outside(ks, r, &u->why);
	}
	for (size_t i = 0; i < c->data_count; i++)
		ks->unread[i].was_whole |= !ks->unread[i].why.status;
	pthread_mutex_unlock(&ks->lock);
}

/* --- the registry's news --- */

/* *ret_read: the registry answered, and at most a custodian stands between what it holds and us. */
static enum kveil_status refresh_locked(struct kveil_keystore *ks, bool *ret_read, struct kveil_error *err)
{
	bool changed = false;
	uint64_t number = atomic_fetch_add(&ks->seeking.refreshes, 1) + 1;
	struct kveil_error why = {0};

	kveil_named_keys_reading(ks);
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->read(ks->registry, collect, ks, &why);
	if (!status)
		status = kveil_keystore_heed_events(ks, &changed, &why);
	pthread_mutex_unlock(&ks->io_lock);
	/* A file that was swapped may be swapped back; a log that begins anew will never hold these keys again. */
	if (status == KVEIL_E_REGISTRY_ROLLED_BACK && ks->registry->driver->forgiving)
		atomic_store(&ks->rolled_back, true);
	*ret_read = !status;
	if (!status)
		status = take_backlog(ks, &changed, &why);
	kveil_named_keys_read(ks, *ret_read);
	if (status && err)
		*err = why;
	if (*ret_read) {
		judge_unread(ks);
		kveil_keystore_judge_sought(ks, number, changed, &why);
	}
	if (changed)
		atomic_fetch_add_explicit(&ks->generation, 1, memory_order_release);
	return status;
}

enum kveil_status kveil_keystore_refresh_read(struct kveil_keystore *ks, bool *ret_read, struct kveil_error *err)
{
	pthread_mutex_lock(&ks->refresh_lock);
	enum kveil_status status = refresh_locked(ks, ret_read, err);
	pthread_mutex_unlock(&ks->refresh_lock);
	return status;
}

enum kveil_status kveil_keystore_refresh(struct kveil_keystore *ks, struct kveil_error *err)
{
	bool read;

	return kveil_keystore_refresh_read(ks, &read, err);
}

/* The first record of the name that was not taken in, or NULL. Under refresh_lock. */
static const struct kveil_key_record *find_outside(const struct kveil_keystore *ks, const char *name, bool foreign)
{
	for (size_t i = 0; i < ks->backlog.all.count; i++) {
		const struct kveil_key_record *r = &ks->backlog.all.records[i];
		if (strcmp(r->name, name) == 0 && (foreign || !is_foreign(ks, r)))
			return r;
	}
	return NULL;
}

bool kveil_keystore_is_held_up(struct kveil_keystore *ks, const char *name)
{
	pthread_mutex_lock(&ks->refresh_lock);
	bool ret = find_outside(ks, name, false) != NULL;
	pthread_mutex_unlock(&ks->refresh_lock);
	return ret;
}

bool kveil_keystore_is_outside(struct kveil_keystore *ks, const char *name)
{
	pthread_mutex_lock(&ks->refresh_lock);
	bool ret = find_outside(ks, name, true) != NULL;
	pthread_mutex_unlock(&ks->refresh_lock);
	return ret;
}

enum kveil_status kveil_keystore_reach(struct kveil_keystore *ks, const char *name, struct kveil_error *err)
{
	pthread_mutex_lock(&ks->refresh_lock);
	const struct kveil_key_record *r = find_outside(ks, name, false);
	enum kveil_status status = r ? why_outside(ks, r, err) : KVEIL_OK;
	pthread_mutex_unlock(&ks->refresh_lock);
	return status;
}

uint32_t kveil_keystore_next_number(struct kveil_keystore *ks, const char *name)
{
	pthread_mutex_lock(&ks->lock);
	uint32_t next = kveil_key_name_next(kveil_map_get(&ks->names, kveil_span_str(name)));
	pthread_mutex_unlock(&ks->lock);
	pthread_mutex_lock(&ks->refresh_lock);
	for (size_t i = 0; next && i < ks->backlog.all.count; i++) {
		const struct kveil_key_record *r = &ks->backlog.all.records[i];
		if (strcmp(r->name, name) == 0 && r->version >= next)
			next = r->version + 1;
	}
	while (next && is_condemned(ks, name, next))
		next++;
	pthread_mutex_unlock(&ks->refresh_lock);
	return next;
}

void kveil_keystore_each_outside(struct kveil_keystore *ks, const char *name, kveil_key_info_fn *fn, void *user)
{
	pthread_mutex_lock(&ks->refresh_lock);
	for (size_t i = 0; i < ks->backlog.all.count; i++) {
		const struct kveil_key_record *r = &ks->backlog.all.records[i];
		const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);
		if (name && strcmp(r->name, name) != 0)
			continue;
		fn(user, &(struct kveil_key_info){.name = r->name,
						  .algorithm = alg ? alg->name : "unknown",
						  .kek = r->kek,
						  .state = "unreachable",
						  .version = r->version,
						  .id = r->id,
						  .created_ms = r->created_ms,
						  .active_from_ms = r->active_from_ms});
	}
	pthread_mutex_unlock(&ks->refresh_lock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Keys named from the record: what the registry holds of them, taken in. */
#include "keys/named_keys.h"

#include "keys/internal.h"

#include <stdlib.h>

static struct kveil_named_key *intern(struct kveil_keystore *ks, const struct kveil_data_key_config *pattern,
				      const uint8_t digest[KVEIL_DIGEST_BYTES])
{
	struct kveil_named_key *t = kveil_named_keys_find(ks, digest);

	if (t || !kveil_named_keys_rate(ks, pattern) || !(t = calloc(1, sizeof *t)))
		return t;
	t->pattern = pattern;
	memcpy(t->digest, digest, KVEIL_DIGEST_BYTES);
	if (!kveil_map_put(&ks->named_keys.names, kveil_span_of(t->digest, KVEIL_DIGEST_BYTES), t)) {
		free(t);
		return NULL;
	}
	return t;
}

static bool set_wrapped(struct kveil_named_key_version *v, const struct kveil_key_record *r)
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

static void changed(struct kveil_named_keys *all, struct kveil_named_key *t)
{
	t->changes++;
	atomic_fetch_add_explicit(&all->changes, 1, memory_order_release);
}

/* Nobody else gets the number that a record has. False: nothing new. */
static bool take_number(struct kveil_named_keys *all, struct kveil_named_key *t, uint32_t version)
{
	if (version == KVEIL_NAMED_KEY_ENDED ? t->ended : version <= t->last)
		return false;
	if (version != KVEIL_NAMED_KEY_ENDED) {
		t->last = version;
		return true;
	}
	t->ended = true;
	for (struct kveil_named_key_version *was = t->versions; was; was = was->next)
		kveil_named_keys_let_go(all, was);
	return true;
}

static enum kveil_status take_change(struct kveil_named_keys *all, struct kveil_named_key_version *v,
				     const struct kveil_key_record *r, struct kveil_error *err)
{
	struct kveil_key_record was = kveil_named_keys_head(v);

	if (!kveil_key_record_supersedes(r, &was) && !kveil_key_record_renumbers(r, &was))
		return KVEIL_OK;
	if (!set_wrapped(v, r))
		return kveil_no_memory(err, "a key named from the record");
	v->version = r->version;
	take_number(all, v->named, r->version);
	v->state = (uint8_t)r->state;
	v->sequence = r->sequence;
	v->changed_ms = r->changed_ms;
	if (r->state == KVEIL_KEY_DESTROYED)
		kveil_named_keys_let_go(all, v);
	changed(all, v->named);
	return KVEIL_OK;
}

static enum kveil_status take_new(struct kveil_keystore *ks, struct kveil_named_key *t,
				  const struct kveil_key_record *r, struct kveil_error *err)
{
	struct kveil_named_keys *all = &ks->named_keys;

	/* The first record for a version wins; see judge in refresh.c. One that had its place unlawfully opens on. */
	for (struct kveil_named_key_version *v = t->versions; v; v = v->next)
		if (v->version == r->version && (r->sequence == 1 || v->sequence > 1))
			return KVEIL_OK;
	struct kveil_named_key_version *v = calloc(1, sizeof *v);
	if (!v || !set_wrapped(v, r)) {
		free(v);
		return kveil_no_memory(err, "a key named from the record");
	}
	v->named = t;
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
	for (struct kveil_named_key_version *was = t->versions; was; was = was->next)
		if (was->version == v->version && was->state == KVEIL_KEY_LIVE)
			was->state = KVEIL_KEY_OPENS_ONLY;
	bool is_known = t->last || t->ended; /* to rings, perhaps */
	kveil_named_keys_rate(ks, t->pattern)->count += !t->versions;
	v->next = t->versions;
	t->versions = v;
	take_number(all, t, v->version);
	if (is_known)
		changed(all, t);
	return KVEIL_OK;
}

enum kveil_status kveil_named_keys_note(struct kveil_keystore *ks, const struct kveil_key_record *r,
					struct kveil_error *err)
{
	uint8_t digest[KVEIL_DIGEST_BYTES];
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		if (!kveil_named_keys_read_name(c, r->name, digest))
			continue;
		pthread_mutex_lock(&ks->lock);
		struct kveil_named_key *t = intern(ks, c, digest);
		if (!t)
			status = kveil_no_memory(err, "a key named from the record");
		else if (take_number(&ks->named_keys, t, r->version))
			changed(&ks->named_keys, t);
		pthread_mutex_unlock(&ks->lock);
	}
	return status;
}

/* Could a worker have written it? */
static bool is_sound(const struct kveil_data_key_config *pattern, const struct kveil_key_record *r,
		     uint8_t digest[KVEIL_DIGEST_BYTES])
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(r->algorithm);

	return kveil_named_keys_read_name(pattern, r->name, digest) && alg && alg->kind == KVEIL_ALG_AEAD &&
	       r->wrapped_len <= KVEIL_NAMED_KEY_WRAPPED_MAX &&
	       (r->state == KVEIL_KEY_DESTROYED ||
		(r->wrapped_len >= KVEIL_NAMED_KEY_PREFIX_BYTES && r->wrapped[0] == 1));
}

enum kveil_status kveil_named_keys_take(struct kveil_keystore *ks, const struct kveil_key_record *r,
					struct kveil_error *err)
{
	const struct kveil_data_key_config *pattern = kveil_keys_config_find(ks->config, kveil_span_str(r->kek));
	uint8_t digest[KVEIL_DIGEST_BYTES];
	enum kveil_status status = KVEIL_OK;

	if (!kveil_is_pattern(pattern))
		return kveil_named_keys_note(ks, r, err);
	if (!is_sound(pattern, r, digest)) {
		if (ks->registry->driver->forgiving)
			atomic_fetch_add_explicit(&ks->registry->ignored[KVEIL_DOUBT_FORGED], 1, memory_order_relaxed);
		return kveil_named_keys_note(ks, r, err);
	}
	pthread_mutex_lock(&ks->lock);
	struct kveil_named_key_version *v = kveil_named_keys_by_id(ks, r->id);
	struct kveil_named_key *t = v ? NULL : intern(ks, pattern, digest);
	if (v)
		status = take_change(&ks->named_keys, v, r, err);
	else if (t)
		status = take_new(ks, t, r, err);
	else
		status = kveil_no_memory(err, "a key named from the record");
	kveil_keystore_forget_unknown(ks, r->id);
	pthread_mutex_unlock(&ks->lock);
	return status;
}

void kveil_named_keys_reading(struct kveil_keystore *ks)
{
	pthread_mutex_lock(&ks->lock);
	ks->named_keys.is_read = false;
	pthread_mutex_unlock(&ks->lock);
}

void kveil_named_keys_read(struct kveil_keystore *ks, bool to_its_end)
{
	const struct kveil_document *b = &ks->backlog.all;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		struct kveil_named_key_rate *rate = kveil_is_pattern(c) ? kveil_named_keys_rate(ks, c) : NULL;
		if (rate)
			rate->held_up = false;
		for (size_t k = 0; rate && k < b->count; k++)
			rate->held_up |= strcmp(b->records[k].name, c->name) == 0;
	}
	ks->named_keys.is_read = to_its_end;
	pthread_mutex_unlock(&ks->lock);
}

void kveil_named_keys_succession(const struct kveil_named_key *t, int64_t now_ms, struct kveil_succession *ret)
{
	kveil_succession_begin(ret, now_ms, t->pattern ? t->pattern->rotate_every_ms : 0);
	for (const struct kveil_named_key_version *v = t->versions; v; v = v->next) {
		struct kveil_life life = {v->version, v->algorithm, v->active_from_ms, v->expires_ms};
		if (v->state == KVEIL_KEY_LIVE && !v->dud && !v->withheld && !t->ended)
			kveil_succession_offer(ret, v, &life);
	}
	kveil_succession_end(ret);
}

void kveil_named_keys_withhold(struct kveil_named_keys *all, struct kveil_named_key_version *v, bool withheld)
{
	if (v->withheld == withheld)
		return;
	v->withheld = withheld;
	kveil_named_keys_let_go(all, v);
	changed(all, v->named);
}

bool kveil_named_keys_is_withheld(const struct kveil_named_key *t)
{
	bool any = false;

	for (const struct kveil_named_key_version *v = t->versions; v; v = v->next) {
		if (v->state == KVEIL_KEY_LIVE && !v->dud && !v->withheld)
			return false;
		any |= v->state == KVEIL_KEY_LIVE && v->withheld;
	}
	return any && !t->ended;
}

bool kveil_named_keys_is_destroyed(const struct kveil_named_key *t)
{
	bool ret = t->versions != NULL;

	for (const struct kveil_named_key_version *v = t->versions; v; v = v->next)
		ret &= v->state == KVEIL_KEY_DESTROYED;
	return ret || t->ended;
}

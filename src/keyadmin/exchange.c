/* SPDX-License-Identifier: Apache-2.0 */
/* Keys out to Tink and in from it. */
#include "keyadmin/admin.h"

#include "base/clock.h"
#include "base/secret.h"
#include "keyadmin/tink.h"
#include "keys/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* Under lock. Borrows key bytes. */
static enum kveil_status collect(const struct kveil_key_name *n, struct kveil_tink_keyset *set, const char **ret_kek,
				 struct kveil_error *err)
{
	const struct kveil_key_version *primary;
	int64_t until;

	primary = kveil_key_name_active(n, kveil_clock_wall_ms(), &until);
	set->keys = calloc(n->count ? n->count : 1, sizeof *set->keys);
	if (!set->keys)
		return kveil_no_memory(err, "a keyset");
	for (size_t i = 0; i < n->count; i++) {
		const struct kveil_key_version *v = n->versions[i];
		if (v->withheld && v->record.state != KVEIL_KEY_DESTROYED)
			return kveil_fail(
			    err, KVEIL_E_KEY_DISABLED,
			    "version %u of key '%s' is disabled, or due to be destroyed: nothing of it is exported",
			    v->record.version, n->name);
		if (!v->key)
			continue;
		set->keys[set->count++] = (struct kveil_tink_key){v->alg, v->record.id, v->key};
		if (!primary ||
		    (primary->record.state != KVEIL_KEY_LIVE && v->record.version > primary->record.version))
			primary = v;
	}
	for (size_t i = 0; !primary && i < n->count; i++)
		if (n->versions[i]->record.state != KVEIL_KEY_DESTROYED) {
			kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' only locks here: key '%s' cannot be read",
				   n->versions[i]->record.kek, n->name);
			kveil_error_hint(err, "export where the private key is");
			return KVEIL_E_CONFIG;
		}
	if (!primary)
		return kveil_fail(err, KVEIL_E_KEY_DESTROYED, "every version of key '%s' was destroyed", n->name);
	set->primary = primary->record.id;
	*ret_kek = primary->record.kek;
	return KVEIL_OK;
}

/* The same of a name that a record filled in; the keys are copies, which drop_copies frees. Under lock. */
static enum kveil_status collect_named(struct kveil_keystore *ks, const struct kveil_named_key_ask *a,
				       struct kveil_tink_keyset *set, const char **ret_kek, struct kveil_error *err)
{
	const struct kveil_named_key *t = kveil_named_keys_find(ks, a->digest);
	struct kveil_succession turn;
	enum kveil_status status = KVEIL_OK;
	const uint8_t *key;
	size_t count = 0;

	if (!t || !t->versions)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no such key under '%s' in the registry",
				  a->pattern->name);
	/* A dud shows when it is unwrapped. */
	for (struct kveil_named_key_version *v = t->versions; v; v = v->next, count++)
		(void)!kveil_named_keys_key(ks, v, &key, NULL);
	kveil_named_keys_succession(t, kveil_clock_wall_ms(), &turn);
	const struct kveil_named_key_version *primary = turn.active;
	set->keys = calloc(count ? count : 1, sizeof *set->keys);
	if (!set->keys)
		return kveil_no_memory(err, "a keyset");
	for (struct kveil_named_key_version *v = t->versions; !status && v; v = v->next) {
		if (v->state == KVEIL_KEY_DESTROYED || v->dud || t->ended)
			continue;
		status = kveil_named_keys_key(ks, v, &key, err);
		if (status)
			break;
		const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(v->algorithm);
		uint8_t *copy = kveil_secret_alloc(alg->key_bytes);
		if (!copy)
			return kveil_secret_refused(err);
		memcpy(copy, key, alg->key_bytes);
		set->keys[set->count++] = (struct kveil_tink_key){alg, v->id, copy};
		if (!primary || (!turn.active && v->version > primary->version))
			primary = v;
	}
	if (!status && !primary)
		status = kveil_fail(err, KVEIL_E_KEY_DESTROYED, "every version of this key was destroyed");
	if (status)
		return status;
	set->primary = primary->id;
	*ret_kek = a->pattern->kek;
	return KVEIL_OK;
}

/* Of those that wrap it, one that does such a thing. */
static struct kveil_kek *find_sealing(const struct kveil_keystore *ks, const char *keks)
{
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_kek_names(keks, by);

	for (size_t i = 0; i < count; i++) {
		struct kveil_kek *kek = kveil_keystore_kek(ks, by[i].kek);
		if (kek && kek->provider->seal_keyset)
			return kek;
	}
	return NULL;
}

static void drop_copies(struct kveil_tink_keyset *set)
{
	for (size_t i = 0; i < set->count; i++)
		kveil_secret_free((uint8_t *)(uintptr_t)set->keys[i].key);
}

enum kveil_status kveil_keys_check_exportable(struct kveil_keystore *ks, const char *name, struct kveil_error *err)
{
	struct kveil_named_key_ask named;
	const struct kveil_data_key_config *c = kveil_named_keys_meant(ks, name, &named)
						    ? named.pattern
						    : kveil_keys_config_find(ks->config, kveil_span_str(name));

	if (!c || c->exportable)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_CONFIG, "key '%s' cannot be exported in clear: keys.data says exportable: false",
		   c->name);
	kveil_error_hint(err, "without --clear it is exported encrypted, if its custodian supports that");
	return KVEIL_E_CONFIG;
}

enum kveil_status kveil_keys_export_tink(struct kveil_keystore *ks, const char *name, bool clear, struct kveil_buf *out,
					 struct kveil_error *err)
{
	struct kveil_buf binary = KVEIL_BUF_INIT, sealed = KVEIL_BUF_INIT;
	struct kveil_tink_keyset set = {0};
	const char *kek_name = "";
	char kek_copy[KVEIL_KEK_NAME_MAX + 1] = "";
	struct kveil_named_key_ask named;
	bool is_named = kveil_named_keys_meant(ks, name, &named);
	/* A keyset without them would take their place. */
	enum kveil_status status = kveil_keystore_reach(ks, name, err);

	if (status)
		return status;
	pthread_mutex_lock(&ks->lock);
	const struct kveil_key_name *n = kveil_map_get(&ks->names, kveil_span_str(name));
	if (is_named)
		status = collect_named(ks, &named, &set, &kek_name, err);
	else if (n && strchr(n->name, '{'))
		status = kveil_fail(err, KVEIL_E_UNSUPPORTED,
				    "'%s' wraps keys and seals nothing: name one that fills it", name);
	else
		status = n ? collect(n, &set, &kek_name, err)
			   : kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no key '%s' in the registry", name);
	if (!status && clear)
		kveil_tink_write_json(&set, out);
	else if (!status)
		kveil_tink_write_binary(&set, &binary);
	snprintf(kek_copy, sizeof kek_copy, "%s", kek_name);
	pthread_mutex_unlock(&ks->lock);
	if (status == KVEIL_E_NOT_FOUND)
		kveil_named_keys_hint(ks, name, err);

	struct kveil_kek *kek = status || clear ? NULL : find_sealing(ks, kek_copy);
	if (!status && !clear) {
		if (!kek) {
			status = kveil_fail(err, KVEIL_E_UNSUPPORTED, "KEK '%s' cannot encrypt a keyset", kek_copy);
			kveil_error_hint(err, "--clear writes it in clear");
		} else
			status = kveil_kek_seal_keyset(kek, kveil_buf_span(&binary), &sealed, err);
	}
	if (!status && !clear)
		kveil_tink_write_encrypted_json(&set, kveil_buf_span(&sealed), out);
	if (!status && (!kveil_buf_ok(out) || binary.failed))
		status = kveil_no_memory(err, "a keyset");
	kveil_buf_clear(&binary);
	kveil_buf_clear(&sealed);
	if (is_named)
		drop_copies(&set);
	free(set.keys);
	return status;
}

void kveil_keys_tell_export(struct kveil_keystore *ks, const char *name, bool clear, const char *file)
{
	/* A name out of records stays out of logs: its hash tells whose key it was to who has the name. */
	char registry_name[KVEIL_KEY_NAME_MAX + 1], detail[512];

	kveil_keys_registry_name(ks, name, registry_name);
	snprintf(detail, sizeof detail, "%s, to %s", clear ? "in clear" : "encrypted", file ? file : "stdout");
	struct kveil_event e = {.kind = KVEIL_EVENT_KEY_EXPORTED, .key = registry_name, .detail = detail};
	kveil_keystore_tell(ks, &e, 1);
}

/* --- in --- */

enum { RACES = 16 };

struct importing {
	struct kveil_keystore *ks;
	const struct kveil_data_key_config *config;
	const struct kveil_named_key_ask *named; /* NULL: the key is the configuration's own */
	char name[KVEIL_KEY_NAME_MAX + 1];       /* as the registry has it */
	struct kveil_document records;
	uint32_t next_version;
	int64_t now;
	bool again; /* what is there under this name by now came with this very call */
};

/* Is this id anybody's, and is it this name's? */
static bool find_id(const struct importing *in, uint32_t id, bool *ret_ours)
{
	struct kveil_keystore *ks = in->ks;

	pthread_mutex_lock(&ks->lock);
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, id);
	const struct kveil_named_key_version *t = v ? NULL : kveil_named_keys_by_id(ks, id);
	struct kveil_key_record r = t ? kveil_named_keys_head(t) : (struct kveil_key_record){0};
	*ret_ours = (v || t) && strcmp(v ? v->record.name : r.name, in->name) == 0;
	pthread_mutex_unlock(&ks->lock);
	return v || t;
}

/* The same bytes: an import that was cut off put it there. */
static bool is_same_key(const struct importing *in, const struct kveil_tink_key *key)
{
	struct kveil_keystore *ks = in->ks;
	const uint8_t *there = NULL;

	pthread_mutex_lock(&ks->lock);
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, key->id);
	struct kveil_named_key_version *t = v ? NULL : kveil_named_keys_by_id(ks, key->id);
	if (v)
		there = v->alg == key->alg ? v->key : NULL;
	else if (!t || t->algorithm != key->alg->wire_id || kveil_named_keys_key(ks, t, &there, NULL) != KVEIL_OK)
		there = NULL;
	bool ret = there && kveil_secret_eq(there, key->key, key->alg->key_bytes);
	pthread_mutex_unlock(&ks->lock);
	return ret;
}

static enum kveil_status import_key(void *user, const struct kveil_tink_key *key, bool is_primary,
				    struct kveil_error *err)
{
	struct importing *in = user;
	const struct kveil_data_key_config *c = in->config;
	struct kveil_key_record r;
	bool ours;

	if (key->alg->kind != c->algorithm->kind || (key->alg->kind != KVEIL_ALG_AEAD && key->alg != c->algorithm))
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "key id %u is of algorithm %s, and '%s' is of %s", key->id,
				  key->alg->name, c->name, c->algorithm->name);
	bool taken = find_id(in, key->id, &ours);
	if (ours && (in->again || is_same_key(in, key)))
		return KVEIL_OK;
	if (taken)
		return kveil_fail(err, KVEIL_E_KEY_EXISTS, "key id %u is in the registry already", key->id);
	kveil_key_record_begin(&r, c, in->next_version++, in->now, in->now);
	r.algorithm = key->alg->wire_id;
	r.id = key->id;
	r.expires_ms = 0;
	/* A hash has nothing to open, so the primary of a keyset of hash keys is there to hash from now on. */
	if (key->alg->kind != KVEIL_ALG_MAC || !is_primary)
		r.state = KVEIL_KEY_OPENS_ONLY;
	enum kveil_status status;
	if (in->named) {
		snprintf(r.name, sizeof r.name, "%s", in->name);
		pthread_mutex_lock(&in->ks->lock);
		status = kveil_named_keys_wrap(in->ks, c, &r, key->key, err);
		pthread_mutex_unlock(&in->ks->lock);
	} else {
		status = kveil_keystore_make(in->ks, c->keks, in->ks->registry->secret, &r,
					     kveil_span_of(key->key, key->alg->key_bytes), err);
	}
	if (!status && !kveil_document_add(&in->records, &r))
		status = kveil_no_memory(err, "keys");
	kveil_key_record_clear(&r);
	return status;
}

/* Under the numbers after all others. */
static enum kveil_status prepare(struct importing *in, struct kveil_span keyset, struct kveil_error *err)
{
	struct kveil_keystore *ks = in->ks;
	enum kveil_status status = KVEIL_OK;

	pthread_mutex_lock(&ks->lock);
	const struct kveil_named_key *t = in->named ? kveil_named_keys_find(ks, in->named->digest) : NULL;
	if (t && kveil_named_keys_is_destroyed(t))
		status = kveil_fail(err, KVEIL_E_KEY_DESTROYED, "this key was destroyed");
	in->next_version = kveil_named_keys_next(t);
	pthread_mutex_unlock(&ks->lock);
	if (!in->named)
		in->next_version = kveil_keystore_next_number(ks, in->name);
	if (!status)
		status = kveil_tink_read_json(keyset, import_key, in, err);
	return status;
}

/* One try. What lost its number to somebody else is not counted. */
static enum kveil_status import_once(struct importing *in, struct kveil_span keyset, size_t *ret_added, bool *ret_lost,
				     struct kveil_error *err)
{
	enum kveil_status status = prepare(in, keyset, err);
	size_t added = 0;
	bool ours;

	if (!status && in->records.count)
		status = kveil_keystore_append(in->ks, in->records.records, in->records.count, err);
	for (size_t i = 0; !status && i < in->records.count; i++)
		added += find_id(in, in->records.records[i].id, &ours) && ours;
	*ret_lost = !status && added != in->records.count;
	/* Written, and its custodian went before it could be read back. */
	if (*ret_lost && kveil_keystore_is_held_up(in->ks, in->name))
		status = kveil_keystore_refresh(in->ks, err);
	*ret_added += added;
	kveil_document_clear(&in->records);
	in->again = true;
	return status;
}

enum kveil_status kveil_keys_import_tink(struct kveil_keystore *ks, const char *name, struct kveil_span keyset,
					 size_t *ret_added, struct kveil_error *err)
{
	struct importing in = {.ks = ks, .now = kveil_clock_wall_ms()};
	struct kveil_named_key_ask named;
	struct kveil_key_name *n = NULL;
	enum kveil_status status = KVEIL_OK;
	bool lost = true;

	*ret_added = 0;
	if (kveil_named_keys_meant(ks, name, &named))
		in.named = &named;
	else
		status = kveil_keystore_name(ks, kveil_span_str(name), 0, &n, err);
	if (!status && n && kveil_is_pattern(n->config))
		status = kveil_fail(err, KVEIL_E_UNSUPPORTED,
				    "'%s' wraps keys and opens nothing: name one that fills it", name);
	if (status)
		return status;
	in.config = in.named ? named.pattern : n->config;
	snprintf(in.name, sizeof in.name, "%s", name);
	if (in.named)
		kveil_named_keys_write_name(named.pattern, named.digest, in.name);
	for (int i = 0; !status && lost && i < RACES; i++)
		status = import_once(&in, keyset, ret_added, &lost, err);
	if (!status && lost)
		status =
		    kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "other processes keep making versions of '%s'", name);
	if (*ret_added)
		kveil_keystore_tell(
		    ks, &(struct kveil_event){.kind = KVEIL_EVENT_KEY_IMPORTED, .key = in.name, .count = *ret_added},
		    1);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A backup taken into the registry that is there: nothing that is there goes, and nothing that the backup has is left
 * out. */
#include "keyadmin/admin.h"

#include "base/clock.h"
#include "base/secret.h"
#include "custody/files.h"
#include "keys/internal.h"
#include "registry/registry_life.h"

#include <stdio.h>
#include <stdlib.h>

enum { RACES = 16 };

/* Which KEKs would: what is wrong with a registry that does not open is not what is wrong here. */
static void hint_keks(const struct kveil_keystore *ks, const struct kveil_registry_root *root, struct kveil_error *err)
{
	char names[160] = "";
	bool locks = false;

	for (size_t i = 0; i < root->count; i++) {
		const struct kveil_kek *kek = kveil_keystore_kek(ks, root->keys[i].kek);
		size_t at = strlen(names);
		snprintf(names + at, sizeof names - at, "%s'%s'", at ? ", " : "", root->keys[i].kek);
		locks |= kek && !kek->provider->can_unwrap(kek);
	}
	kveil_error_hint(err, "it opens with the KEK %s%s", names,
			 locks ? ", whose private key is not in this configuration" : " of the time when it was made");
}

static enum kveil_status read_backup(const struct kveil_keystore *ks, const char *path, struct kveil_document *ret,
				     struct kveil_registry_secret **ret_secret, struct kveil_error *err)
{
	struct kveil_buf text = KVEIL_BUF_INIT;
	enum kveil_status status =
	    kveil_files_read_private(path, "the backup", KVEIL_DOCUMENT_BYTES_MAX, &text, NULL, NULL, err);

	if (!status)
		status = kveil_document_parse(kveil_buf_span(&text), ret, err);
	kveil_buf_clear(&text);
	if (!status) {
		status = kveil_registry_root_open(&ret->root, ks->custodians, ks->custodian_count, ret_secret, err);
		if (status == KVEIL_E_WRONG_KEK)
			hint_keks(ks, &ret->root, err);
	}
	if (!status)
		status = kveil_document_verify(ret, *ret_secret, err);
	if (status)
		kveil_error_where(err, path, 0, 0);
	if (status == KVEIL_E_REGISTRY_CORRUPT)
		kveil_error_hint(err, "this file was altered or cut: take an older backup");
	return status;
}

static enum kveil_status check_pin(const struct kveil_keystore *ks, const struct kveil_registry_secret *secret,
				   const char *path, struct kveil_error *err)
{
	char id[KVEIL_REGISTRY_ID_TEXT];

	if (!ks->pin.is_set || kveil_secret_eq(ks->pin.id, secret->id, sizeof ks->pin.id))
		return KVEIL_OK;
	kveil_registry_id_write(secret->id, 0, id);
	kveil_fail(err, KVEIL_E_CONFIG, "the backup is of the registry %s, and keys.registry_id says another", id);
	kveil_error_where(err, path, 0, 0);
	return KVEIL_E_CONFIG;
}

/* By a KEK that the configuration lacks: commands that name its version would act on this registry, which may have
 * another key of that number. */
static enum kveil_status unwrap(struct kveil_keystore *ks, const struct kveil_key_record *r, uint8_t **ret_key,
				struct kveil_error *err)
{
	enum kveil_status status = kveil_keystore_unwrap(ks, r, ret_key, err);

	if (status == KVEIL_E_CONFIG)
		kveil_error_hint(err, "it opens where that KEK is in the configuration");
	return status;
}

/* --- numbers that are taken --- */

/* As it was wrapped, or, where not all of those KEKs are here, as the configuration says. */
static const char *keks_for(const struct kveil_keystore *ks, const struct kveil_key_record *old)
{
	const struct kveil_data_key_config *c = kveil_keys_config_find(ks->config, kveil_span_str(old->name));
	struct kveil_key_wrapping by[KVEIL_WRAPPINGS_MAX];
	size_t count = kveil_kek_names(old->kek, by);

	for (size_t i = 0; i < count; i++)
		if (!kveil_keystore_kek(ks, by[i].kek))
			return c ? c->keks : old->kek;
	return old->kek;
}

/* Two sites made the same version of a name, each with its own key: the one that comes in goes on under the next
 * number. */
static enum kveil_status renumber_plain(struct kveil_keystore *ks, const struct kveil_key_record *old,
					struct kveil_key_record *r, struct kveil_error *err)
{
	const struct kveil_algorithm *alg = kveil_algorithm_by_wire_id(old->algorithm);
	uint8_t *key = NULL;

	r->version = kveil_keystore_next_number(ks, old->name);
	if (old->state == KVEIL_KEY_DESTROYED)
		return kveil_key_record_sign(r, ks->registry->secret, err);
	enum kveil_status status = unwrap(ks, old, &key, err);
	if (!status && !key)
		status = kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' only locks here: version %u of '%s' stays outside",
				    old->kek, old->version, old->name);
	if (!status)
		status = kveil_keystore_make(ks, keks_for(ks, old), ks->registry->secret, r,
					     kveil_span_of(key, alg->key_bytes), err);
	kveil_secret_free(key);
	return status;
}

static enum kveil_status renumber_named(struct kveil_keystore *ks, const struct kveil_key_record *old,
					struct kveil_key_record *r, struct kveil_error *err)
{
	const struct kveil_data_key_config *pattern = kveil_keys_config_find(ks->config, kveil_span_str(old->kek));
	uint8_t digest[KVEIL_DIGEST_BYTES], key[KVEIL_KEY_BYTES_MAX];

	if (!pattern || !kveil_named_keys_read_name(pattern, old->name, digest))
		return kveil_fail(err, KVEIL_E_CONFIG, "keys.data does not name the pattern '%s'", old->kek);
	pthread_mutex_lock(&ks->lock);
	r->version = kveil_named_keys_next(kveil_named_keys_find(ks, digest));
	enum kveil_status status = kveil_named_keys_unwrap(ks, pattern, old, key, err);
	if (!status)
		status = kveil_named_keys_wrap(ks, pattern, r, key, err);
	pthread_mutex_unlock(&ks->lock);
	kveil_secret_wipe(key, sizeof key);
	return status;
}

static bool is_here(struct kveil_keystore *ks, uint32_t id)
{
	pthread_mutex_lock(&ks->lock);
	bool ret = kveil_keystore_has_id(ks, id);
	pthread_mutex_unlock(&ks->lock);
	return ret;
}

struct looking_outside {
	uint32_t id, version;
};

static void compare_id(void *user, const struct kveil_key_info *v)
{
	struct looking_outside *l = user;

	if (v->id == l->id)
		l->version = v->version;
}

/* Its number where it is in the registry under a KEK that does not open here; else 0. */
static uint32_t number_outside(struct kveil_keystore *ks, uint32_t id)
{
	struct looking_outside l = {.id = id};

	kveil_keystore_each_outside(ks, NULL, compare_id, &l);
	return l.version;
}

/* 0: it is not here. */
static uint32_t number_here(struct kveil_keystore *ks, uint32_t id)
{
	pthread_mutex_lock(&ks->lock);
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, id);
	const struct kveil_named_key_version *t = kveil_named_keys_by_id(ks, id);
	uint32_t ret = v ? v->record.version : t ? t->version : 0;
	pthread_mutex_unlock(&ks->lock);
	return ret ? ret : number_outside(ks, id);
}

/* Again where somebody else takes that number, too. */
static enum kveil_status renumber(struct kveil_keystore *ks, const struct kveil_key_record *old,
				  struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	bool named = kveil_record_is_named(old);

	for (int i = 0; !status && !is_here(ks, old->id) && i < RACES; i++) {
		struct kveil_key_record r = *old;
		r.wrapped = NULL;
		r.wrapped_len = 0;
		r.sequence = 1;
		r.state = r.state == KVEIL_KEY_LIVE ? KVEIL_KEY_OPENS_ONLY : r.state;
		r.changed_ms = kveil_clock_wall_ms();
		status = named ? renumber_named(ks, old, &r, err) : renumber_plain(ks, old, &r, err);
		if (!status)
			status = kveil_keystore_append(ks, &r, 1, err);
		kveil_key_record_clear(&r);
	}
	if (!status && !is_here(ks, old->id))
		status =
		    kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "others keep making versions of '%s'", old->name);
	return status;
}

/* What lost its number while it was written is taken in like what had none. */
static enum kveil_status take_the_rest(struct kveil_keystore *ks, const struct kveil_document *backup,
				       struct kveil_keys_restored *ret, struct kveil_error *err)
{
	enum kveil_status first = KVEIL_OK;
	struct kveil_error why;

	for (size_t i = 0; i < backup->count; i++) {
		/* The end of a name is not a version: where it had to come in, it is there. */
		if (kveil_key_record_ends_name(&backup->records[i]) || is_here(ks, backup->records[i].id))
			continue;
		if (number_outside(ks, backup->records[i].id)) {
			ret->unreachable++;
			continue;
		}
		enum kveil_status status = renumber(ks, &backup->records[i], &why);
		ret->renumbered += !status;
		ret->left_out += status != KVEIL_OK;
		if (status && !first) {
			first = status;
			if (err)
				*err = why;
		}
	}
	return first;
}

/* Who pins a version by its number elsewhere has to know the one that it has here. */
static enum kveil_status list_numbers(struct kveil_keystore *ks, const struct kveil_document *backup,
				      struct kveil_keys_restored *ret, struct kveil_error *err)
{
	ret->numbers = calloc(backup->count + 1, sizeof *ret->numbers);
	if (!ret->numbers)
		return kveil_no_memory(err, "what a restore tells");
	for (size_t i = 0; i < backup->count; i++) {
		const struct kveil_key_record *r = &backup->records[i];
		uint32_t here = kveil_key_record_ends_name(r) ? 0 : number_here(ks, r->id);
		if (!here || here == r->version)
			continue;
		struct kveil_keys_renumbered *n = &ret->numbers[ret->number_count++];
		*n = (struct kveil_keys_renumbered){.id = r->id, .backup = r->version, .here = here};
		snprintf(n->name, sizeof n->name, "%s", r->name);
	}
	return KVEIL_OK;
}

/* --- all of it --- */

void kveil_keys_restored_clear(struct kveil_keys_restored *r)
{
	free(r->told);
	free(r->numbers);
	*r = (struct kveil_keys_restored){0};
}

/* The registry is written. What does not open here is in it all the same, and is no reason to leave the rest undone. */
static enum kveil_status finish(struct kveil_keystore *ks, const struct kveil_document *backup,
				struct kveil_keys_restored *ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_keystore_attach_reading(ks, err), tended = KVEIL_OK;
	struct kveil_error why;

	if (!status)
		status = take_the_rest(ks, backup, ret, err);
	/* What came in counts, too, where the rest did not. */
	enum kveil_status listed = list_numbers(ks, backup, ret, status ? NULL : err);
	if (!status)
		status = listed;
	if (!status)
		tended = kveil_keystore_tend(ks, kveil_clock_wall_ms(), &why);
	if (!status && ret->unreachable)
		return kveil_keystore_refresh(ks, err);
	if (tended && err)
		*err = why;
	return status ? status : tended;
}

/* What came in otherwise than the backup has it is an event of its own, which the driver wrote. */
static void log_put_off(const struct kveil_keys_restored *r)
{
	for (size_t i = 0; i < r->told_count; i++) {
		const struct kveil_restored_version *v = &r->told[i];
		if (!v->stays && strcmp(v->backup, v->here) != 0 && strcmp(v->here, "disabled") == 0)
			kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_KEY_DISABLED,
							  .key = v->name,
							  .version = v->version,
							  .id = v->id,
							  .detail = "it was due to be destroyed, by a backup"});
	}
}

enum kveil_status kveil_keys_restore(const struct kveil_keys_config *cfg, const char *path, bool dry_run,
				     struct kveil_keys_restored *ret, struct kveil_error *err)
{
	struct kveil_registry_secret *secret = NULL;
	const struct kveil_registry_driver *driver;
	struct kveil_document backup = {0};
	struct kveil_restoring how = {.dry_run = dry_run};
	struct kveil_keystore *ks;
	const char *where;
	enum kveil_status status = kveil_keystore_prepare(cfg, &ks, err);

	*ret = (struct kveil_keys_restored){0};
	if (status)
		return status;
	const struct kveil_registry_env env = kveil_keystore_env(ks);
	status = kveil_registry_driver_of(cfg->registry, &driver, &where, err);
	if (!status)
		status = read_backup(ks, path, &backup, &secret, err);
	if (!status)
		status = check_pin(ks, secret, path, err);
	if (!status)
		status = driver->restore(&env, where, &backup, secret, &how, err);
	ret->added = how.added;
	ret->skipped = how.skipped;
	ret->told = how.told;
	ret->told_count = how.told_count;
	if (dry_run)
		ret->renumbered = how.conflicting;
	/* Whatever else somebody wrote there, this is the one. */
	if (!status && !dry_run) {
		ks->pin.is_set = true;
		memcpy(ks->pin.id, secret->id, sizeof ks->pin.id);
		status = finish(ks, &backup, ret, err);
		log_put_off(ret);
		kveil_keystore_tell(ks,
				    &(struct kveil_event){.kind = KVEIL_EVENT_REGISTRY_RESTORED,
							  .count = ret->added + ret->renumbered,
							  .detail = path},
				    1);
	}
	kveil_document_clear(&backup);
	kveil_secret_free(secret);
	kveil_keystore_unref(ks);
	return status;
}

/* --- verify --- */

static void count_withheld(const struct kveil_key_record *r, const struct kveil_withheld_list *all,
			   struct kveil_backup_state *ret)
{
	const struct kveil_withheld *w = kveil_withheld_find(all, r->id);

	ret->disabled += w && !w->due_ms;
	ret->scheduled += w && w->due_ms;
	ret->overdue += w && w->due_ms && w->due_ms <= kveil_clock_wall_ms();
}

/* One version, but for those that a pattern's own key wraps. */
static bool opens(struct kveil_keystore *ks, const struct kveil_key_record *r, struct kveil_error *why)
{
	uint8_t *key = NULL;
	enum kveil_status status = unwrap(ks, r, &key, why);

	if (!status && !key)
		status = kveil_fail(why, KVEIL_E_CONFIG, "KEK '%s' only locks here", r->kek);
	kveil_secret_free(key);
	return !status;
}

/* There are few of them, and many that they wrap. */
struct opened {
	uint32_t ids[256];
	size_t count;
};

static bool wrapper_opened(const struct opened *o, const struct kveil_key_record *r)
{
	for (size_t i = 0; r->wrapped_len >= KVEIL_NAMED_KEY_PREFIX_BYTES && i < o->count; i++)
		if (o->ids[i] == kveil_named_keys_wrapper_id(r->wrapped))
			return true;
	return false;
}

static void open_each(struct kveil_keystore *ks, const struct kveil_document *backup,
		      const struct kveil_withheld_list *withheld, struct kveil_backup_state *ret)
{
	struct opened wrappers = {.count = 0};
	struct kveil_error why;

	for (size_t i = 0; i < backup->count; i++) {
		const struct kveil_key_record *r = &backup->records[i];
		if (r->state == KVEIL_KEY_DESTROYED) {
			ret->destroyed += !kveil_key_record_ends_name(r);
			continue;
		}
		ret->versions++;
		count_withheld(r, withheld, ret);
		if (kveil_record_is_named(r))
			continue;
		bool ok = opens(ks, r, &why);
		ret->opened += ok;
		if (ok && strchr(r->name, '{') && wrappers.count < sizeof wrappers.ids / sizeof *wrappers.ids)
			wrappers.ids[wrappers.count++] = r->id;
		if (!ok && !ret->unreachable++)
			ret->why = why;
	}
	/* What a pattern's own key wraps opens where that does. */
	for (size_t i = 0; i < backup->count; i++) {
		const struct kveil_key_record *r = &backup->records[i];
		if (r->state == KVEIL_KEY_DESTROYED || !kveil_record_is_named(r))
			continue;
		bool ok = wrapper_opened(&wrappers, r);
		ret->opened += ok;
		if (!ok && !ret->unreachable++)
			kveil_fail(&ret->why, KVEIL_E_WRONG_KEK, "the key '%s' that wraps '%s' does not open here",
				   r->kek, r->name);
	}
}

enum kveil_status kveil_keys_verify_backup(const struct kveil_keys_config *cfg, const char *path,
					   struct kveil_backup_state *ret, struct kveil_error *err)
{
	struct kveil_registry_secret *secret = NULL;
	struct kveil_withheld_list withheld = {0};
	struct kveil_document backup = {0};
	struct kveil_keystore *ks;
	enum kveil_status status = kveil_keystore_prepare(cfg, &ks, err);

	*ret = (struct kveil_backup_state){0};
	if (status)
		return status;
	status = read_backup(ks, path, &backup, &secret, err);
	if (!status)
		status = kveil_withheld_sum_up(&backup.events, &withheld, err);
	/* No registry is opened: it may be what was lost. */
	struct kveil_registry stand_in = {.secret = secret};
	if (!status) {
		ks->registry = &stand_in;
		kveil_registry_id_write(secret->id, secret->number, ret->id);
		open_each(ks, &backup, &withheld, ret);
		ret->events = backup.events.count;
		ret->missing = kveil_registry_events_missing(&backup.events);
		ks->registry = NULL;
	}
	kveil_withheld_clear(&withheld);
	kveil_document_clear(&backup);
	kveil_secret_free(secret);
	kveil_keystore_unref(ks);
	return status;
}

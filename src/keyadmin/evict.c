/* SPDX-License-Identifier: Apache-2.0 */
/* A KEK is to open nothing any more: the registry gets a secret that it does not open, and ciphers get new versions. */
#include "keyadmin/admin.h"

#include "base/clock.h"
#include "base/secret.h"
#include "keys/internal.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEAD_MS = 60000, DETAIL_MAX = 32 }; /* the first as `keys rotate` */

struct evicting {
	struct kveil_keystore *ks;
	const char *const *keks;
	size_t count;
	struct kveil_kek **others; /* of the configuration */
	size_t other_count;
};

/* Which of "A" or "A+B" is to go; NULL: none. */
static const char *evicted_of(const struct evicting *e, const char *keks)
{
	for (size_t i = 0; i < e->count; i++)
		if (kveil_kek_names_have(keks, e->keks[i]))
			return e->keks[i];
	return NULL;
}

static enum kveil_status check_config(const struct evicting *e, struct kveil_error *err)
{
	const struct kveil_keys_config *c = e->ks->config;

	for (size_t i = 0; i < c->data_count; i++) {
		const char *kek = evicted_of(e, c->data[i].keks);
		if (!kek)
			continue;
		kveil_fail(err, KVEIL_E_CONFIG, "key '%s' is under KEK '%s' in the configuration", c->data[i].name,
			   kek);
		kveil_error_hint(err, "name another KEK for it, and move what there is with `kveil keys rewrap`");
		kveil_error_where(err, c->file, c->data[i].line, 1);
		return KVEIL_E_CONFIG;
	}
	return KVEIL_OK;
}

static enum kveil_status check_records(const struct evicting *e, const struct kveil_document *d,
				       struct kveil_error *err)
{
	const struct kveil_key_record *first = NULL;
	size_t count = 0;

	for (size_t i = 0; i < d->count; i++) {
		const struct kveil_key_record *r = &d->records[i];
		if (r->state == KVEIL_KEY_DESTROYED || kveil_record_is_named(r) || !evicted_of(e, r->kek))
			continue;
		first = first ? first : r;
		count++;
	}
	if (!count)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' still wraps %zu version%s, such as %.60s@%u",
		   evicted_of(e, first->kek), count, count == 1 ? "" : "s", first->name, first->version);
	kveil_error_hint(err, "`kveil keys rewrap` moves versions, `kveil keys destroy NAME@VERSION` ends one");
	return KVEIL_E_CONFIG;
}

/* What the history has of an eviction that was done to its end: the number of the secret that it made. */
static void write_detail(uint32_t number, char detail[DETAIL_MAX])
{
	snprintf(detail, DETAIL_MAX, "secret %" PRIu32, number);
}

/* Is there an eviction with this text as its member? */
static bool has_eviction(const struct kveil_registry_events *events, const char *member, const char *text)
{
	bool found = false;

	for (size_t i = 0; !found && i < events->count; i++) {
		if (events->items[i].kind != KVEIL_EVENT_KEK_EVICTED)
			continue;
		json_t *e = json_loads(events->items[i].line, 0, NULL);
		const char *is = json_string_value(json_object_get(e, member));
		found = is && strcmp(is, text) == 0;
		json_decref(e);
	}
	return found;
}

static bool is_done(const struct kveil_registry_events *events, uint32_t number)
{
	char detail[DETAIL_MAX];

	write_detail(number, detail);
	return has_eviction(events, "detail", detail);
}

/* Nobody is locked out by the way, and nobody is thought to be who was not there. */
static enum kveil_status check_root(const struct evicting *e, const struct kveil_document *d, struct kveil_error *err)
{
	const struct kveil_registry_root *root = &d->root;

	for (size_t i = 0; i < root->count; i++) {
		const char *kek = root->keys[i].kek;
		if (evicted_of(e, kek) || kveil_keystore_kek(e->ks, kek))
			continue;
		kveil_fail(err, KVEIL_E_CONFIG, "KEK '%s' opens the registry as well, and keys.keks does not name it",
			   kek);
		kveil_error_hint(err, "add it to keys.keks, or evict it too: `kveil keys evict %.40s %.60s`",
				 e->keks[0], kek);
		return KVEIL_E_CONFIG;
	}
	/* One whose eviction was killed half way is not there any more. */
	bool is_half_done = root->number && !is_done(&d->events, root->number);
	for (size_t i = 0; !is_half_done && i < e->count; i++)
		if (!kveil_registry_root_find(root, e->keks[i]))
			return kveil_fail(err, KVEIL_E_NOT_FOUND, "the registry is under no KEK '%s'", e->keks[i]);
	return KVEIL_OK;
}

bool kveil_keys_kek_is_evicted(const struct kveil_registry_events *events, const char *kek)
{
	return has_eviction(events, "kek", kek);
}

/* One that was evicted before does not come back with the next. */
static enum kveil_status choose_others(struct evicting *e, const struct kveil_registry_events *events,
				       struct kveil_error *err)
{
	struct kveil_keystore *ks = e->ks;
	bool opens = false;

	e->others = calloc(ks->custodian_count + 1, sizeof *e->others);
	if (!e->others)
		return kveil_no_memory(err, "keys");
	for (size_t i = 0; i < ks->custodian_count; i++) {
		struct kveil_kek *kek = ks->custodians[i];
		if (evicted_of(e, kek->name) || kveil_keys_kek_is_evicted(events, kek->name))
			continue;
		e->others[e->other_count++] = kek;
		opens |= kek->provider->can_unwrap(kek);
	}
	return opens ? KVEIL_OK
		     : kveil_fail(err, KVEIL_E_CONFIG, "no other KEK of the configuration would open the registry");
}

/* Under io_lock. */
static enum kveil_status evict(struct evicting *e, struct kveil_error *err)
{
	struct kveil_registry *registry = e->ks->registry;
	struct kveil_registry_secret *next;
	struct kveil_registry_root root;
	struct kveil_document now = {0};
	enum kveil_status status = registry->driver->snapshot(registry, &now, err);

	if (!status)
		status = choose_others(e, &now.events, err);
	if (!status)
		status = check_records(e, &now, err);
	if (!status)
		status = check_root(e, &now, err);
	kveil_document_clear(&now);
	if (!status)
		status = kveil_registry_root_succeed(registry->secret, e->others, e->other_count,
						     kveil_keys_config_hash(e->ks->config), &root, &next, err);
	if (status)
		return status;
	status = registry->driver->evict(registry, &root, next, err);
	if (status)
		kveil_secret_free(next);
	kveil_registry_root_clear(&root);
	return status;
}

/* What the KEK had wrapped may be known to whoever has it. */
static void rotate_all(struct kveil_keystore *ks, struct kveil_keys_evicted *ret)
{
	for (size_t i = 0; i < ks->config->data_count; i++) {
		const struct kveil_data_key_config *c = &ks->config->data[i];
		const struct kveil_kek *kek = kveil_keystore_kek(ks, c->kek);
		struct kveil_error why;
		/* Workers that only lock make their own, each time they start. */
		if (c->algorithm->kind != KVEIL_ALG_AEAD || !kek || !kek->provider->can_unwrap(kek))
			continue;
		enum kveil_status status =
		    kveil_keystore_rotate(ks, kveil_span_str(c->name), kveil_clock_wall_ms() + LEAD_MS, &why);
		ret->rotated += !status;
		if (status && !ret->behind.status)
			ret->behind = why;
	}
}

static void tell(const struct evicting *e, uint32_t number)
{
	char detail[DETAIL_MAX];

	write_detail(number, detail);
	for (size_t i = 0; i < e->count; i++)
		kveil_keystore_tell(
		    e->ks, &(struct kveil_event){.kind = KVEIL_EVENT_KEK_EVICTED, .kek = e->keks[i], .detail = detail},
		    1);
}

enum kveil_status kveil_keys_evict(struct kveil_keystore *ks, const char *const *keks, size_t count,
				   struct kveil_keys_evicted *ret, struct kveil_error *err)
{
	struct evicting e = {.ks = ks, .keks = keks, .count = count};
	enum kveil_status status = check_config(&e, err);

	*ret = (struct kveil_keys_evicted){0};
	if (!status) {
		pthread_mutex_lock(&ks->io_lock);
		status = evict(&e, err);
		pthread_mutex_unlock(&ks->io_lock);
	}
	free(e.others);
	if (status)
		return status;
	status = kveil_keystore_settle(ks, err);
	if (!status)
		rotate_all(ks, ret);
	const struct kveil_registry_secret *secret = ks->registry->secret;
	/* Last: until then it can be done again. */
	if (!status)
		tell(&e, secret->number);
	ret->number = secret->number;
	kveil_registry_id_write(secret->id, secret->number, ret->id);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Versions from one state to the next; destroyed where that is due. */
#include "keys/states.h"

#include "base/clock.h"
#include "base/text.h"
#include "crypto/crypto.h"
#include "keys/internal.h"

#include <stdio.h>
#include <stdlib.h>

/* asked fills a pattern, and name is what the registry calls it; or they are the same. A key that was configured as
 * asked before there was the pattern is meant as well. version 0: all. */
bool kveil_keys_is_meant(const struct kveil_key_record *r, const char *asked, const char *name, uint32_t version)
{
	if (version && r->version != version)
		return false;
	return strcmp(r->name, name) == 0 || (!kveil_record_is_named(r) && strcmp(r->name, asked) == 0);
}

/* A copy of the versions to change, with the change made and signed. */
static enum kveil_status changed_records(struct kveil_keystore *ks, const struct kveil_document *now, const char *asked,
					 const char *name, uint32_t version, enum kveil_key_state state,
					 struct kveil_document *ret, struct kveil_error *err)
{
	for (size_t i = 0; i < now->count; i++) {
		if (!kveil_keys_is_meant(&now->records[i], asked, name, version) || now->records[i].state >= state)
			continue;
		if (!kveil_document_add(ret, &now->records[i]))
			return kveil_no_memory(err, "keys");
		struct kveil_key_record *r = &ret->records[ret->count - 1];
		r->state = state;
		kveil_key_record_advance(r);
		r->changed_ms = kveil_clock_wall_ms();
		if (state == KVEIL_KEY_DESTROYED) {
			free(r->wrapped);
			r->wrapped = NULL;
			r->wrapped_len = 0;
		}
		enum kveil_status status = kveil_key_record_sign(r, ks->registry->secret, err);
		if (status)
			return status;
	}
	return KVEIL_OK;
}

/* How many versions are meant; version 0: all. */
enum kveil_status kveil_keys_count_meant(struct kveil_keystore *ks, const struct kveil_document *d, const char *asked,
					 const char *name, uint32_t version, size_t *ret, struct kveil_error *err)
{
	bool known = false;

	*ret = 0;
	for (size_t i = 0; i < d->count; i++) {
		known |= kveil_keys_is_meant(&d->records[i], asked, name, 0);
		*ret += kveil_keys_is_meant(&d->records[i], asked, name, version);
	}
	if (!known) {
		kveil_fail(err, KVEIL_E_NOT_FOUND, "there is no key '%s' in the registry", asked);
		kveil_named_keys_hint(ks, asked, err);
		return KVEIL_E_NOT_FOUND;
	}
	return *ret ? KVEIL_OK : kveil_fail(err, KVEIL_E_NOT_FOUND, "key '%s' has no version %u", asked, version);
}

/* The registry's name for what an operator calls so. */
bool kveil_keys_name_meant(struct kveil_keystore *ks, const char *asked, struct kveil_named_key_ask *ret,
			   char name[KVEIL_KEY_NAME_MAX + 1])
{
	bool is_named = kveil_named_keys_meant(ks, asked, ret);

	/* What is too long is nobody's name, though its beginning may be. */
	snprintf(name, KVEIL_KEY_NAME_MAX + 1, "%s", strlen(asked) <= KVEIL_KEY_NAME_MAX ? asked : "");
	if (is_named)
		kveil_named_keys_write_name(ret->pattern, ret->digest, name);
	return is_named;
}

void kveil_keys_registry_name(struct kveil_keystore *ks, const char *asked, char name[KVEIL_KEY_NAME_MAX + 1])
{
	struct kveil_named_key_ask named;

	kveil_keys_name_meant(ks, asked, &named, name);
}

enum kveil_status kveil_keys_snapshot(struct kveil_keystore *ks, struct kveil_document *ret, struct kveil_error *err)
{
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->snapshot(ks->registry, ret, err);
	pthread_mutex_unlock(&ks->io_lock);
	return status;
}

enum kveil_status kveil_keys_count(struct kveil_keystore *ks, const char *asked, uint32_t version, size_t *ret,
				   struct kveil_error *err)
{
	struct kveil_named_key_ask named;
	struct kveil_document now = {0};
	char name[KVEIL_KEY_NAME_MAX + 1];

	kveil_keys_name_meant(ks, asked, &named, name);
	enum kveil_status status = kveil_keys_snapshot(ks, &now, err);
	if (!status)
		status = kveil_keys_count_meant(ks, &now, asked, name, version, ret, err);
	kveil_document_clear(&now);
	return status;
}

size_t kveil_keys_count_wrapped(struct kveil_keystore *ks, const char *pattern, uint32_t version)
{
	size_t ret = 0;

	pthread_mutex_lock(&ks->lock);
	for (size_t i = 0; i < ks->named_keys.ids.cap; i++) {
		const struct kveil_named_key_version *v = ks->named_keys.ids.slots[i].value;
		if (!v || v->wrapped_len < KVEIL_NAMED_KEY_PREFIX_BYTES || v->named->ended ||
		    v->state == KVEIL_KEY_DESTROYED)
			continue;
		const struct kveil_key_version *by = kveil_keystore_by_id(ks, kveil_named_keys_wrapper_id(v->wrapped));
		ret += by && strcmp(by->record.name, pattern) == 0 && (!version || by->record.version == version);
	}
	pthread_mutex_unlock(&ks->lock);
	return ret;
}

/* A version that a worker makes at the same moment must not outlive its name. */
static enum kveil_status add_end(struct kveil_keystore *ks, const struct kveil_named_key_ask *a,
				 struct kveil_document *changed, struct kveil_error *err)
{
	struct kveil_key_record end;
	enum kveil_status status = kveil_named_keys_end(ks, a, &end, err);

	if (!status && !kveil_document_add(changed, &end))
		status = kveil_no_memory(err, "keys");
	kveil_key_record_clear(&end);
	return status;
}

/* SHA-256 of the wrapped bytes, as a backup has them. */
enum { FINGERPRINT = 2 * 32 + 1 };

static void fingerprint(const struct kveil_key_record *r, char text[FINGERPRINT])
{
	uint8_t digest[32];

	text[0] = 0;
	if (!r || kveil_crypto_sha256(kveil_span_of(r->wrapped, r->wrapped_len), digest, NULL))
		return;
	kveil_text_encode(KVEIL_HEX, digest, sizeof digest, (uint8_t *)text);
	text[FINGERPRINT - 1] = 0;
}

static const struct kveil_key_record *with_id(const struct kveil_document *d, uint32_t id)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i].id == id)
			return &d->records[i];
	return NULL;
}

static void tell_destroyed(struct kveil_keystore *ks, const struct kveil_document *before,
			   const struct kveil_document *changed, size_t count, const char *why)
{
	struct kveil_event *events = calloc(count + 1, sizeof *events);
	char(*prints)[FINGERPRINT] = calloc(count + 1, sizeof *prints);

	for (size_t i = 0; events && prints && i < count; i++) {
		fingerprint(with_id(before, changed->records[i].id), prints[i]);
		events[i] = kveil_key_event(KVEIL_EVENT_KEY_DESTROYED, &changed->records[i]);
		events[i].fingerprint = prints[i];
		events[i].detail = why;
	}
	if (events && prints)
		kveil_keystore_tell(ks, events, count);
	free(events);
	free(prints);
}

enum kveil_status kveil_keys_change(struct kveil_keystore *ks, const struct kveil_keys_changing *c, size_t *ret_changed,
				    struct kveil_error *err)
{
	struct kveil_document now = {0}, changed = {0};
	size_t meant;

	*ret_changed = 0;
	pthread_mutex_lock(&ks->io_lock);
	enum kveil_status status = ks->registry->driver->snapshot(ks->registry, &now, err);
	if (!status)
		status = kveil_keys_count_meant(ks, &now, c->asked, c->name, c->version, &meant, err);
	if (!status)
		status = changed_records(ks, &now, c->asked, c->name, c->version, c->state, &changed, err);
	size_t count = changed.count;
	if (!status && c->named && c->state == KVEIL_KEY_DESTROYED && !c->version)
		status = add_end(ks, c->named, &changed, err);
	if (!status && changed.count)
		status = ks->registry->driver->append(ks->registry, changed.records, changed.count, err);
	pthread_mutex_unlock(&ks->io_lock);
	if (!status)
		*ret_changed = count;
	if (!status && c->state == KVEIL_KEY_DESTROYED)
		tell_destroyed(ks, &now, &changed, count, c->why);
	else if (!status)
		kveil_keystore_tell_keys(ks, KVEIL_EVENT_KEY_RETIRED, changed.records, count);
	kveil_document_clear(&now);
	kveil_document_clear(&changed);
	return status ? status : kveil_keystore_settle(ks, err);
}

/* What is destroyed never comes back, so a clock that is ahead of the brokers' destroys nothing before its time. */
static enum kveil_status shared_time(struct kveil_keystore *ks, int64_t *now_ms, struct kveil_error *err)
{
	const struct kveil_registry_driver *driver = ks->registry->driver;
	int64_t ahead = 0;
	enum kveil_status status = KVEIL_OK;

	pthread_mutex_lock(&ks->io_lock);
	if (driver->clock_ahead)
		status = driver->clock_ahead(ks->registry, &ahead, err);
	pthread_mutex_unlock(&ks->io_lock);
	*now_ms -= ahead > 0 ? ahead : 0;
	return status;
}

enum kveil_status kveil_keystore_end_due(struct kveil_keystore *ks, int64_t now_ms, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	struct kveil_due due;
	size_t changed;

	if (!kveil_keystore_next_due(ks, now_ms, &due))
		return KVEIL_OK;
	status = shared_time(ks, &now_ms, err);
	for (int i = 0; !status && i < 256 && kveil_keystore_next_due(ks, now_ms, &due); i++) {
		struct kveil_keys_changing c = {.asked = due.name,
						.name = due.name,
						.named = due.named.pattern ? &due.named : NULL,
						.version = due.whole ? 0 : due.version,
						.state = KVEIL_KEY_DESTROYED,
						.why = "as scheduled"};
		status = kveil_keys_change(ks, &c, &changed, err);
	}
	return status;
}

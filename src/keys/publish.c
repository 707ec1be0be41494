/* SPDX-License-Identifier: Apache-2.0 */
/* Records into the registry: added, read back, and written again where somebody overwrote them. */
#include "keys/internal.h"

#include "base/clock.h"

enum { HEALED_AT_ONCE = 256, RACES = 16 };

/* Names come from records by the hundred: the log has their number, and their own records say when they came. */
static void tell_created(struct kveil_keystore *ks, const struct kveil_key_record *records, size_t count)
{
	const struct kveil_key_record *named = NULL;
	uint64_t names = 0;

	for (size_t i = 0; i < count; i++) {
		const struct kveil_key_record *r = &records[i];
		if (r->sequence != 1 || r->state != KVEIL_KEY_LIVE)
			continue;
		if (!kveil_record_is_named(r)) {
			struct kveil_event e = kveil_key_event(KVEIL_EVENT_KEY_CREATED, r);
			e.due_ms = r->active_from_ms;
			kveil_keystore_tell(ks, &e, 1);
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

/* A registry that is read and takes no writing is asked less and less often. Custodians have their own back-off
 * (kek.c). */
static void back_off(struct kveil_keystore *ks, const struct kveil_error *why)
{
	ks->tending.retry_at_ms = kveil_clock_mono_ms() + kveil_kek_rest_ms(ks->tending.failures++);
	ks->tending.last_failure = *why;
}

enum kveil_status kveil_keystore_publish(struct kveil_keystore *ks, const struct kveil_key_record *records,
					 size_t count, struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = kveil_keystore_append(ks, records, count, &why);

	if (!status) {
		ks->tending.failures = 0;
		return KVEIL_OK;
	}
	back_off(ks, &why);
	if (err)
		*err = why;
	return status;
}

bool kveil_keystore_copy_record(const struct kveil_keystore *ks, uint32_t id, struct kveil_document *d)
{
	const struct kveil_key_version *v = kveil_keystore_by_id(ks, id);
	const struct kveil_named_key_version *t = v ? NULL : kveil_named_keys_by_id(ks, id);
	struct kveil_key_record r = {0};

	if (v)
		return kveil_document_add(d, &v->record);
	bool ok = !t || (kveil_named_keys_record(t, &r) && kveil_document_add(d, &r));
	kveil_key_record_clear(&r);
	return ok;
}

enum kveil_status kveil_keystore_heal(struct kveil_keystore *ks, bool at_once, size_t *ret_count,
				      struct kveil_error *err)
{
	const struct kveil_registry_driver *driver = ks->registry->driver;
	struct kveil_document again = {0};
	enum kveil_status status = KVEIL_OK;
	uint32_t ids[HEALED_AT_ONCE];

	*ret_count = 0;
	if (!driver->damaged)
		return KVEIL_OK;
	pthread_mutex_lock(&ks->io_lock);
	size_t count = driver->damaged(ks->registry, at_once, ids, HEALED_AT_ONCE);
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
		status = kveil_keystore_heal(ks, true, &count, err);
	return status;
}

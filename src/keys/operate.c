/* SPDX-License-Identifier: Apache-2.0 */
/* Versions retired, destroyed, disabled or enabled on an operator's word. */
#include "keys/states.h"

#include "base/clock.h"
#include "keys/internal.h"

enum kveil_status kveil_keys_set_state(struct kveil_keystore *ks, const char *asked, uint32_t version,
				       enum kveil_key_state state, size_t *ret_changed, struct kveil_error *err)
{
	struct kveil_named_key_ask named;
	char name[KVEIL_KEY_NAME_MAX + 1];
	struct kveil_keys_changing c = {.asked = asked, .name = name, .version = version, .state = state};

	if (kveil_keys_name_meant(ks, asked, &named, name))
		c.named = &named;
	enum kveil_status status = kveil_keys_change(ks, &c, ret_changed, err);
	/* What was retired or destroyed is, whatever becomes of its successor. */
	if (!status)
		(void)!kveil_keystore_tend(ks, kveil_clock_wall_ms(), NULL);
	return status;
}

static bool is_all_destroyed(const struct kveil_document *d)
{
	for (size_t i = 0; i < d->count; i++)
		if (d->records[i].state != KVEIL_KEY_DESTROYED)
			return false;
	return true;
}

enum kveil_status kveil_keys_withhold(struct kveil_keystore *ks, const char *asked, uint32_t version,
				      enum kveil_event_kind kind, int64_t due_ms, size_t *ret_changed,
				      struct kveil_error *err)
{
	struct kveil_document now = {0}, meant = {0};
	struct kveil_named_key_ask named;
	char name[KVEIL_KEY_NAME_MAX + 1];
	bool is_named = kveil_keys_name_meant(ks, asked, &named, name);
	size_t count;

	*ret_changed = 0;
	enum kveil_status status = kveil_keys_snapshot(ks, &now, err);
	if (!status)
		status = kveil_keys_count_meant(ks, &now, asked, name, version, &count, err);
	for (size_t i = 0; !status && i < now.count; i++)
		if (kveil_keys_is_meant(&now.records[i], asked, name, version) &&
		    !kveil_document_add(&meant, &now.records[i]))
			status = kveil_no_memory(err, "keys");
	/* To destroy it once more is done already; all else comes too late. */
	if (!status && kind != KVEIL_EVENT_KEY_DESTROY_SCHEDULED && is_all_destroyed(&meant))
		status = kveil_fail(err, KVEIL_E_KEY_DESTROYED, "'%s' was destroyed: that cannot be taken back", asked);
	if (!status)
		status = kveil_keystore_withhold(ks, &meant, kind, due_ms, is_named && !version, ret_changed, err);
	kveil_document_clear(&now);
	kveil_document_clear(&meant);
	/* Where another version takes over, it is there at once. */
	if (!status)
		(void)!kveil_keystore_tend(ks, kveil_clock_wall_ms(), NULL);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* keys/states.h: from one state of a version to the next: retired, disabled, due, destroyed. `kveil keys …` asks for
 * it, and the keeper where something is due. Blocks on the registry; any thread. */
#ifndef KVEIL_KEYS_STATES_H
#define KVEIL_KEYS_STATES_H

#include "base/event.h"
#include "keys/keystore.h"
#include "registry/key_record.h"

struct kveil_document;

/* All of the registry at one moment; ret is the caller's to clear. */
enum kveil_status kveil_keys_snapshot(struct kveil_keystore *ks, struct kveil_document *ret,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* Moves versions of a name (version 0: all of them; KVEIL_E_NOT_FOUND) to a later state; with KVEIL_KEY_DESTROYED their
 * wrapped bytes go too. A key with nonces gets a new version at once if none is left to seal. ret_changed counts. */
enum kveil_status kveil_keys_set_state(struct kveil_keystore *ks, const char *asked, uint32_t version,
				       enum kveil_key_state state, size_t *ret_changed,
				       struct kveil_error *err) KVEIL_MUST_CHECK;

/* The same versions (KVEIL_KEY_DESTROYED apart) are disabled, enabled, scheduled to be destroyed at due_ms, or not any
 * more: kind is one of those four events. What is withheld neither seals nor opens; nothing takes its place but where
 * another version seals. ret_changed counts. */
enum kveil_status kveil_keys_withhold(struct kveil_keystore *ks, const char *asked, uint32_t version,
				      enum kveil_event_kind kind, int64_t due_ms, size_t *ret_changed,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* How many versions these are, destroyed ones too. KVEIL_E_NOT_FOUND: none. */
enum kveil_status kveil_keys_count(struct kveil_keystore *ks, const char *name, uint32_t version, size_t *ret,
				   struct kveil_error *err) KVEIL_MUST_CHECK;

/* How many keys named from records this version of a pattern's own key (0: all of them) wraps, and so ends with it. */
size_t kveil_keys_count_wrapped(struct kveil_keystore *ks, const char *pattern, uint32_t version);

#endif

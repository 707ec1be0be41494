/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_event.h: what was done to keys, by whom and why, as the registry keeps it: one line of JSON each.
 *
 *   "!event/HEX"  {"event": "key_retired", "sequence": N, "at": TIME, "registry": HEX, "previous": HEX, "key": NAME,
 *                  "version": N, "id": N, …, "user": NAME, "host": NAME, "reason": TEXT,"mac":BASE64}
 *
 * In a shared log each is a message of its own, in a file registry a line of .keys.json.events, in a backup a text of
 * "events". The MAC is under the registry's "event" subkey over the registry's id and the line up to
 * `,"mac":`, so that members which a later kveil adds are authentic here, too. HEX in the label, and in the `previous`
 * of the next one, is the first half of the MAC: where `previous` names none that is there, something was taken away.
 * `sequence` is one more than the highest that its writer knew; those with the same were written at one moment. Where
 * the registry has another secret by now, the line is signed anew, and its first MAC stands before the new one, in
 * "first_mac": that is the one in HEX for good.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_EVENT_H
#define KVEIL_REGISTRY_REGISTRY_EVENT_H

#include "base/event.h"
#include "registry/key_record.h"

enum {
	KVEIL_EVENT_LINE_MAX = 8192, /* bytes, as it is first written */
	KVEIL_EVENT_HASH_BYTES = 16,
	KVEIL_EVENT_LABEL_MAX = 7 + 2 * KVEIL_EVENT_HASH_BYTES + 1,
};

struct kveil_registry_event {
	char *line; /* owned, NUL-terminated, without a newline */
	size_t len;
	uint32_t sequence;
	enum kveil_event_kind kind; /* KVEIL_EVENT_COUNT: one that a later kveil writes */
	uint32_t id, version;       /* 0 = of none */
	int64_t due_ms;             /* 0 = none */
	bool whole;
	bool has_previous, damaged; /* damaged: something else stands in its place in the log */
	uint8_t previous[KVEIL_EVENT_HASH_BYTES];
	uint8_t mac[KVEIL_MAC_BYTES];       /* that it had first: what it is called by */
	uint8_t signature[KVEIL_MAC_BYTES]; /* that it has now */
};

/* In their order: by sequence, then by MAC. */
struct kveil_registry_events {
	struct kveil_registry_event *items;
	size_t count, cap;
	uint64_t changes; /* rises with each that is added */
};

void kveil_registry_event_clear(struct kveil_registry_event *e);
void kveil_registry_events_clear(struct kveil_registry_events *all);
/* By form only: false is "not ours". ret is owned by the caller on success only. */
bool kveil_registry_event_parse(struct kveil_span line, struct kveil_registry_event *ret) KVEIL_MUST_CHECK;
bool kveil_registry_event_authentic(const struct kveil_registry_event *e, const struct kveil_registry_secret *secret);
/* e as the one after all of known, by whoever acts in this process. */
enum kveil_status kveil_registry_event_write(const struct kveil_registry_events *known, const struct kveil_event *e,
					     int64_t now_ms, const struct kveil_registry_secret *secret,
					     struct kveil_registry_event *ret,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of {…} that is JSON already, without a MAC. KVEIL_E_BAD_CIPHERTEXT: it is not an event. */
enum kveil_status kveil_registry_event_sign(struct kveil_span json, const struct kveil_registry_secret *secret,
					    struct kveil_registry_event *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same event under another secret. */
enum kveil_status kveil_registry_event_sign_anew(const struct kveil_registry_event *e,
						 const struct kveil_registry_secret *secret,
						 struct kveil_registry_event *ret,
						 struct kveil_error *err) KVEIL_MUST_CHECK;
/* All that are not authentic under it. */
enum kveil_status kveil_registry_events_sign_anew(struct kveil_registry_events *all,
						  const struct kveil_registry_secret *secret,
						  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Do both say the same, and had they the same MAC at first? */
bool kveil_registry_event_is_same(const struct kveil_registry_event *a, const struct kveil_registry_event *b);
/* Moves in. false: out of memory. One that is there already is whole again. */
bool kveil_registry_events_add(struct kveil_registry_events *all, struct kveil_registry_event *e) KVEIL_MUST_CHECK;
/* Adds copies of those that it does not have. */
bool kveil_registry_events_add_all(struct kveil_registry_events *all,
				   const struct kveil_registry_events *from) KVEIL_MUST_CHECK;
bool kveil_registry_events_has(const struct kveil_registry_events *all, const struct kveil_registry_event *e);
/* The one whose label this is, or NULL. */
struct kveil_registry_event *kveil_registry_events_find(const struct kveil_registry_events *all,
							struct kveil_span label);
/* How many are not there, as far as the others show: what came after all of them shows nothing. */
size_t kveil_registry_events_missing(const struct kveil_registry_events *all);

bool kveil_registry_is_event_label(struct kveil_span label);
void kveil_registry_event_label(const struct kveil_registry_event *e, char label[KVEIL_EVENT_LABEL_MAX]);

#endif

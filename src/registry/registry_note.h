/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_note.h: the one text that a registry keeps beside its keys: which rules were accepted last.
 *
 *   "!rules"  {"sequence": N, "text": BASE64, "mac": BASE64}
 *
 * In a shared log it is a message, in a file registry a file of its own (.keys.json.rules). The MAC is under the
 * registry's "log" subkey; the text is authentic, not secret. Of two the higher sequence counts, of equals the later.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_NOTE_H
#define KVEIL_REGISTRY_REGISTRY_NOTE_H

#include "registry/registry.h"

#define KVEIL_NOTE_LABEL "!rules"

struct kveil_registry_note {
	uint32_t sequence; /* of writes, from 1; 0 = there is none */
	uint8_t *text;     /* owned */
	size_t len;
	uint8_t mac[KVEIL_MAC_BYTES];
};

void kveil_registry_note_clear(struct kveil_registry_note *n);
/* By form only, and strict: false is "not ours". ret is owned by the caller on success only. */
bool kveil_registry_note_parse(struct kveil_span value, struct kveil_registry_note *ret) KVEIL_MUST_CHECK;
bool kveil_registry_note_authentic(const struct kveil_registry_note *n, const struct kveil_registry_secret *secret);
/* Signs and writes. text: at most KVEIL_REGISTRY_NOTE_MAX bytes, else KVEIL_E_TOO_LARGE. */
enum kveil_status kveil_registry_note_write(uint32_t sequence, struct kveil_span text,
					    const struct kveil_registry_secret *secret, struct kveil_buf *out,
					    struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/document.h: a whole registry as one JSON document: the file registry and backups.
 *
 *   {"kveil": "key registry", "format": 1, "id": HEX, "generation": N, "lease": N,
 *    "registry_keys": [{"kek": NAME, "wrapped": BASE64}], "keys": [record, …], "mac": BASE64}
 *
 * Each record has its own MAC; `mac` is over everything, under the "document" subkey, so that no record can be dropped
 * or reordered and no number changed. A backup says "key backup" instead: it cannot pass for a registry. It has the
 * registry's events as well, "events": [LINE, …] between "keys" and "mac" (registry_event.h), and then format 2; a file
 * registry keeps them beside itself, so that an older kveil still reads it. Format 3 has "secret": {…} too
 * (registry_root.h).
 */
#ifndef KVEIL_REGISTRY_DOCUMENT_H
#define KVEIL_REGISTRY_DOCUMENT_H

#include "registry/registry.h"

#define KVEIL_DOCUMENT_BYTES_MAX ((size_t)256 << 20)

struct kveil_document {
	bool backup;
	uint64_t generation; /* of writes, from 1 */
	uint32_t lease;      /* the last one given */
	struct kveil_registry_root root;
	struct kveil_key_record *records;
	size_t count, cap;
	struct kveil_registry_events events; /* backups only */
	uint8_t mac[KVEIL_MAC_BYTES];
};

/* {"kek": NAME, "wrapped": BASE64} to the end of root; false: not so, or that KEK is there already. */
bool kveil_registry_root_key_parse(const json_t *item, struct kveil_registry_root *root) KVEIL_MUST_CHECK;

void kveil_document_clear(struct kveil_document *d);
/* A copy of record at the end. false: out of memory. */
bool kveil_document_add(struct kveil_document *d, const struct kveil_key_record *record) KVEIL_MUST_CHECK;
/* Looks at nothing but the form. KVEIL_E_REGISTRY_CORRUPT. */
enum kveil_status kveil_document_parse(struct kveil_span text, struct kveil_document *ret,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
/* MACs, and that no id and no (name, version) stands twice. KVEIL_E_REGISTRY_CORRUPT. */
enum kveil_status kveil_document_verify(const struct kveil_document *d, const struct kveil_registry_secret *secret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* Signs and writes. */
enum kveil_status kveil_document_write(struct kveil_document *d, const struct kveil_registry_secret *secret,
				       struct kveil_buf *out, struct kveil_error *err) KVEIL_MUST_CHECK;
/* How many versions: all records but the ends of names. */
size_t kveil_document_versions(const struct kveil_document *d);
/* What append means: a new id whose (name, version) is free is added, a record that supersedes takes the place of the
 * old one, everything else is dropped. ret_changed: was anything taken. */
enum kveil_status kveil_document_merge(struct kveil_document *d, const struct kveil_key_record *records, size_t count,
				       bool *ret_changed, struct kveil_error *err) KVEIL_MUST_CHECK;

/* Every record and event under this secret. */
enum kveil_status kveil_document_sign_anew(struct kveil_document *d, const struct kveil_registry_secret *secret,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

/* Leaves in d only what can be added to `there`: neither its id nor its (name, version) is taken. Counts all three
 * kinds. */
enum kveil_status kveil_document_sort_out(struct kveil_document *d, const struct kveil_document *there,
					  struct kveil_restoring *how, struct kveil_error *err) KVEIL_MUST_CHECK;

/* Restored keys open and never seal: live records of algorithms with nonces become OPENS_ONLY, signed anew.
 * Deterministic keys and MACs stay as they are: they have no nonce to use twice, and another key would break every
 * join. */
enum kveil_status kveil_document_demote(struct kveil_document *d, const struct kveil_registry_secret *secret,
					int64_t now_ms, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

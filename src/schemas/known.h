/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schemas/known.h: which schemas a client knows, and which ids it found unknown. Both are bounded. One thread at a
 * time; now_ms is monotonic.
 */
#ifndef KVEIL_SCHEMAS_KNOWN_H
#define KVEIL_SCHEMAS_KNOWN_H

#include "schemas/client.h"

enum { KVEIL_SCHEMAS_CONTEXT_BYTES = 128 };

/* What a record says of its schema. Zeroed first: it is compared whole. */
struct kveil_schemas_key {
	char context[KVEIL_SCHEMAS_CONTEXT_BYTES];
	uint8_t guid[KVEIL_GUID_BYTES];
	uint32_t id;
	bool is_guid;
};

/* One piece of memory, to be unref'd. tags: "path\0tag\0" so many times. */
struct kveil_schemas_content {
	struct kveil_span text, tags;
	size_t tag_count;
	enum kveil_schemas_type type;
	unsigned rules;
	const char *encrypt, *guid;
	bool has_references;
};
const struct kveil_schemas_schema *kveil_schemas_schema_make(const struct kveil_schemas_content *content);
size_t kveil_schemas_schema_bytes(const struct kveil_schemas_schema *s);

struct kveil_schemas_cache;
struct kveil_schemas_cache *kveil_schemas_cache_new(void);
void kveil_schemas_cache_free(struct kveil_schemas_cache *c); /* NULL is fine */
/* With a reference for the caller; NULL: not there. */
const struct kveil_schemas_schema *kveil_schemas_cache_get(struct kveil_schemas_cache *c,
							   const struct kveil_schemas_key *key);
void kveil_schemas_cache_put(struct kveil_schemas_cache *c, const struct kveil_schemas_key *key,
			     const struct kveil_schemas_schema *schema);

/*
 *   asked: unknown everywhere ──► PENDING, asked again each quarter of the window ──► UNKNOWN for a while ──► forgotten
 *
 * Ids that are unknown for the first time are paid for out of an allowance of KVEIL_SCHEMAS_UNKNOWN_IDS a window, so
 * that a flood of invented ones does not become a flood of requests.
 */
struct kveil_schemas_unknown;
struct kveil_schemas_unknown *kveil_schemas_unknown_new(int64_t window_ms, int64_t unknown_ms);
void kveil_schemas_unknown_free(struct kveil_schemas_unknown *u); /* NULL is fine */
/* OK: ask. SCHEMA_PENDING, UNKNOWN_SCHEMA: what to say instead. */
enum kveil_status kveil_schemas_unknown_look(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key,
					     int64_t now_ms);
/* It was asked about, and is not known; everywhere: every URL said so. Gives SCHEMA_PENDING or UNKNOWN_SCHEMA. */
enum kveil_status kveil_schemas_unknown_note(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key,
					     bool everywhere, int64_t now_ms);
void kveil_schemas_unknown_forget(struct kveil_schemas_unknown *u, const struct kveil_schemas_key *key);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schemas/client.h: a schema registry that speaks Confluent's REST API (Confluent's own, Apicurio's /apis/ccompat/v7,
 * Karapace, Redpanda).
 *
 *   by_id, by_guid ─► cache ─► GET, each reference too ─► references inlined ─► struct kveil_schemas_schema
 *   register       ─► POST with empty rule sets ─► GET: is it that schema, without rules? ─► id
 *
 * Time: calls block, for KVEIL_SCHEMAS_CALL_TIMEOUTS times `timeout` at most: never on a worker's loop. No call retries
 * or sleeps. URLs are asked in order; one that failed is left for 1 to 30 s; while all are, each is asked once a second
 * at most, and other calls fail at once.
 *
 * Threads: one at a time for a client, but for kveil_schemas_interrupt. What a call gave is immutable: any thread, also
 * after kveil_schemas_close.
 *
 * Statuses beside NO_MEMORY. No message holds a credential.
 *
 *   SCHEMA_REGISTRY_UNAVAILABLE  RETRY   no URL answers (or: 5xx, 429, credentials refused, not a registry's answer)
 *   SCHEMA_PENDING               RETRY   an id that no URL knows yet; ask again
 *   UNKNOWN_SCHEMA               RECORD  for KVEIL_SCHEMAS_WINDOW_MS every URL said that it does not know this id
 *   AVRO_SCHEMA                  RECORD  what the id names is beyond the bounds below, or its references are broken
 *   SCHEMA_REFUSED               RETRY   a derived schema is incompatible, not permitted, or gets rules of its own
 *   SCHEMA_NOT_REGISTERED        RETRY   look_up: not under that subject
 */
#ifndef KVEIL_SCHEMAS_CLIENT_H
#define KVEIL_SCHEMAS_CLIENT_H

#include "base/buf.h"
#include "base/guid.h"
#include "kveil/schemas.h"
#include "schemas/schemas_config.h"

enum {
	KVEIL_SCHEMAS_REPLY_BYTES = 2 << 20, /* of one answer */
	KVEIL_SCHEMAS_REFERENCES = 256,      /* of one schema, those of its references included */
	KVEIL_SCHEMAS_REFERENCE_DEPTH = 16,
	KVEIL_SCHEMAS_CALL_TIMEOUTS = 4,
	KVEIL_SCHEMAS_WINDOW_MS = 10 * 1000,  /* how long an id must be unknown everywhere */
	KVEIL_SCHEMAS_UNKNOWN_MS = 60 * 1000, /* then UNKNOWN_SCHEMA without asking, for so long */
	KVEIL_SCHEMAS_UNKNOWN_IDS = 256,      /* remembered so; others are PENDING and not asked about */
	KVEIL_SCHEMAS_CACHE_BYTES = 16 << 20, /* of schemas, those used longest ago go first */
	KVEIL_SCHEMAS_CACHE_COUNT = 512,
	KVEIL_SCHEMAS_TAGS = 4096, /* of one schema */
};

enum kveil_schemas_type {
	KVEIL_SCHEMAS_AVRO,
	KVEIL_SCHEMAS_JSON,
	KVEIL_SCHEMAS_PROTOBUF,
	KVEIL_SCHEMAS_OTHER,
};

/* What a rule set holds; disabled rules count. */
enum {
	KVEIL_SCHEMAS_RULES_MIGRATION = 1,
	KVEIL_SCHEMAS_RULES_DOMAIN = 2,   /* serializers run them on values */
	KVEIL_SCHEMAS_RULES_ENCODING = 4, /* and these on the bytes */
	KVEIL_SCHEMAS_RULES_ENCRYPT = 8,  /* one of those is of type ENCRYPT or ENCRYPT_PAYLOAD */
};

struct kveil_schemas_schema {
	struct kveil_span text; /* AVRO: references inlined, at most KVEIL_AVRO_SCHEMA_BYTES; else as it stands there */
	enum kveil_schemas_type type;
	unsigned rules;      /* set of KVEIL_SCHEMAS_RULES_… */
	const char *encrypt; /* the name of the first rule that encrypts; NULL: none does */
	bool has_references;
	char guid[KVEIL_GUID_TEXT];          /* "" where the registry gives none */
	const struct kveil_schema_tag *tags; /* from `metadata.tags` of it and of its references */
	size_t tag_count;
};

void kveil_schemas_schema_ref(const struct kveil_schemas_schema *s);   /* any thread */
void kveil_schemas_schema_unref(const struct kveil_schemas_schema *s); /* any thread; NULL is fine */

struct kveil_schemas;

/* Asks nobody. CONFIG: a file it names is not there; UNSUPPORTED: built without libcurl. c outlives the client. */
enum kveil_status kveil_schemas_open(const struct kveil_schemas_config *c, struct kveil_schemas **ret,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_schemas_close(struct kveil_schemas *s); /* NULL is fine */
/* From any thread: the call at hand ends within about a second as SCHEMA_REGISTRY_UNAVAILABLE, later ones at once. */
void kveil_schemas_interrupt(struct kveil_schemas *s);

/* context: "" is the default one; "staging" is asked as ":.staging:". *ret is the caller's, to be unref'd. */
enum kveil_status kveil_schemas_by_id(struct kveil_schemas *s, const char *context, uint32_t id,
				      const struct kveil_schemas_schema **ret,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_schemas_by_guid(struct kveil_schemas *s, const uint8_t guid[KVEIL_GUID_BYTES],
					const struct kveil_schemas_schema **ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;

/* Where a schema of ours stands. */
struct kveil_schemas_place {
	const char *context, *subject; /* both not NULL; the subject without a context */
	bool normalize;                /* the registry's: spellings of one schema get one id */
};

struct kveil_schemas_id {
	uint32_t id;
	char guid[KVEIL_GUID_TEXT]; /* "" where the registry gives none */
};

/* text: Avro, without references. Registered with empty rule sets and no metadata, and read back. Again and again gives
 * the same id. */
enum kveil_status kveil_schemas_register(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					 struct kveil_span text, struct kveil_schemas_id *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* The id of a text that somebody else registered. */
enum kveil_status kveil_schemas_look_up(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					struct kveil_span text, struct kveil_schemas_id *ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* A version of the subject; number 0: its latest. SCHEMA_NOT_REGISTERED: it is not there; SCHEMA_REFUSED: the registry
 * does not let kveil ask. */
struct kveil_schemas_version {
	uint32_t id, number;
};
enum kveil_status kveil_schemas_find_version(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					     uint32_t number, struct kveil_schemas_version *ret,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* Would kveil_schemas_register be refused as incompatible? Asked without registering. OK also where the registry lets
 * nobody ask. SCHEMA_REFUSED: it would. */
enum kveil_status kveil_schemas_try(struct kveil_schemas *s, const struct kveil_schemas_place *at,
				    struct kveil_span text, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Would the registry take it as the subject's next? OK also where there is no such subject yet. SCHEMA_REFUSED: the
 * first reason is in err, all of them, a line each, in reasons (NULL: not wanted). */
enum kveil_status kveil_schemas_compatible(struct kveil_schemas *s, const struct kveil_schemas_place *at,
					   struct kveil_span text, struct kveil_buf *reasons,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/avro_schema.h: an Avro schema (specification 1.11), from text to a table of types.
 *
 *   text ─ bounded ─► avro-c (is it a schema at all) ─► types[0 … count)
 *
 * Types name each other by number, so that a recursive one makes no circle of pointers.
 * avro-c keeps neither defaults nor docs, aliases, logical types or properties; the JSON tree behind each type does,
 * for the derived schema. Immutable once parsed: any thread.
 */
#ifndef KVEIL_FORMAT_AVRO_SCHEMA_H
#define KVEIL_FORMAT_AVRO_SCHEMA_H

#include "base/arena.h"
#include "base/buf.h"
#include "kveil/base.h"

#include <jansson.h>

enum {
	KVEIL_AVRO_SCHEMA_BYTES = 1 << 20, /* of a schema's text */
	KVEIL_AVRO_SCHEMA_DEPTH = 64,      /* types written within each other */
	KVEIL_AVRO_SCHEMA_TYPES = 1 << 14,
	KVEIL_AVRO_SCHEMA_VALUES = 1 << 17, /* of its JSON */
	KVEIL_AVRO_SCHEMA_BRANCHES = 128,   /* of a union */
};

enum kveil_avro_kind {
	KVEIL_AVRO_NULL,
	KVEIL_AVRO_BOOLEAN,
	KVEIL_AVRO_INT,
	KVEIL_AVRO_LONG,
	KVEIL_AVRO_FLOAT,
	KVEIL_AVRO_DOUBLE,
	KVEIL_AVRO_BYTES,
	KVEIL_AVRO_STRING,
	KVEIL_AVRO_FIXED,
	KVEIL_AVRO_ENUM,
	KVEIL_AVRO_ARRAY,
	KVEIL_AVRO_MAP,
	KVEIL_AVRO_RECORD,
	KVEIL_AVRO_UNION,
};
const char *kveil_avro_kind_name(enum kveil_avro_kind kind); /* "string" */

/* A record's field, a union's branch, an enum's symbol. */
struct kveil_avro_member {
	struct kveil_span name; /* of fields and symbols */
	uint32_t type;          /* of fields and branches */
	const json_t *json;     /* the field as it is written */
};

struct kveil_avro_type {
	enum kveil_avro_kind kind;
	uint32_t size;         /* FIXED, in bytes */
	uint32_t min_bytes;    /* that a value of it takes; UINT32_MAX: as many, or there is no value that ends */
	uint32_t item;         /* ARRAY, MAP */
	uint32_t member_count; /* RECORD, ENUM, UNION */
	const struct kveil_avro_member *members;
	struct kveil_span name; /* RECORD, ENUM, FIXED: with the namespace, "com.acme.User" */
	const json_t *json;     /* where it is defined: a string, an object, or a union's array */
};

struct kveil_avro_schema {
	struct kveil_avro_type *types; /* types[0] is the root; what a type is made of comes behind it or refers back */
	uint32_t count;
	struct kveil_span text;
	struct kveil_span canonical; /* Parsing Canonical Form: what matters for the bytes of values */
	uint64_t fingerprint;        /* CRC-64-AVRO of that */
	bool refers_as_java;         /* from within a namespace, to a name that has none */
	json_t *json;
	struct kveil_arena arena;
};

/* "User" of "com.acme.User"; "com.acme" of it, or empty. */
struct kveil_span kveil_avro_last_word(struct kveil_span name);
struct kveil_span kveil_avro_namespace(struct kveil_span name);

/* What a derived schema adds to the name of the half of a type that changes, with a number from the second on. */
#define KVEIL_AVRO_HALF "_protected"

/* The text as a JSON tree, within the bounds above; NULL, with an AVRO_SCHEMA error: not JSON, or beyond them. */
json_t *kveil_avro_schema_json(struct kveil_span text, struct kveil_error *err);

/* AVRO_SCHEMA error: not a schema, or beyond the bounds above. The text may go once this returns. */
enum kveil_status kveil_avro_schema_parse(struct kveil_span text, struct kveil_avro_schema **ret,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_schema_free(struct kveil_avro_schema *s);
/* About how many bytes it takes. */
size_t kveil_avro_schema_memory(const struct kveil_avro_schema *s);

/* Appends the Parsing Canonical Form of one of its types as a schema of its own. false: too deep, or no memory. */
bool kveil_avro_write_canonical(const struct kveil_avro_schema *s, uint32_t type, struct kveil_buf *out,
				bool *too_deep);
/* The same for a reader: the canonical form does not say that a name has no namespace. */
bool kveil_avro_write_readable(const struct kveil_avro_schema *s, uint32_t type, struct kveil_buf *out);
/* CRC-64-AVRO (specification 1.11, "Schema Fingerprints"). */
uint64_t kveil_avro_fingerprint(struct kveil_span canonical);

/* avro_format.c, the one user of avro-c: does it take the schema, of which the text has no more than the canonical form
 * has? Defaults may hold what its JSON parser refuses. */
bool kveil_avro_library_takes(struct kveil_span text);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kveil/base.h: the few types that every other header speaks in.
 *
 *   span    borrowed bytes: somebody else owns them and keeps them alive
 *   status  what happened, as a code that never changes its name
 *   error   where it happened and what to do, filled in on failure only
 *
 * An error never holds a field's value, a key byte or a secret: it may be logged anywhere.
 * Nothing here allocates; everything here may be used from any thread.
 */
#ifndef KVEIL_BASE_H
#define KVEIL_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KVEIL_MUST_CHECK __attribute__((warn_unused_result))
/* What libkveil.so shows; the rest of these headers is for kveil itself. */
#define KVEIL_API               __attribute__((visibility("default")))
#define KVEIL_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/* Borrowed bytes. data is NULL only for "absent" (a tombstone, a null key); an empty value has
 * data != NULL and len == 0. Never NUL-terminated. */
struct kveil_span {
	const uint8_t *data;
	size_t len;
};

#define KVEIL_SPAN_NULL ((struct kveil_span){NULL, 0})
/* A span over a string literal, without its NUL. */
#define KVEIL_SPAN(lit) ((struct kveil_span){(const uint8_t *)("" lit), sizeof(lit) - 1})

static inline struct kveil_span kveil_span_of(const void *data, size_t len)
{
	return (struct kveil_span){data, len};
}

/* A NULL string is the absent span. */
static inline struct kveil_span kveil_span_str(const char *s)
{
	return (struct kveil_span){(const uint8_t *)s, s ? strlen(s) : 0};
}

/* For public bytes (names, paths): not constant-time. For secrets see base/secret.h. */
static inline bool kveil_span_eq(struct kveil_span a, struct kveil_span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/*
 * What becomes of the work at hand:
 *   RECORD  this record is at fault: the rule file's on_error (dead letter, stop, drop) decides
 *   RETRY   the world is at fault: pause, back off, try the same record again
 *   STOP    nothing here can be trusted any more: stop the partition or the process
 *   CONFIG  what the operator wrote or gave is wrong: exit 2, or refuse the reload
 */
enum kveil_class {
	KVEIL_CLASS_NONE,
	KVEIL_CLASS_RECORD,
	KVEIL_CLASS_RETRY,
	KVEIL_CLASS_STOP,
	KVEIL_CLASS_CONFIG,
};

/* One row a status: X(NAME, "code", CLASS, "what it means"). The code is what users see in dead-letter
 * headers, metrics and messages: it is never renamed. docs/errors.md is generated from this table. */
#define KVEIL_STATUS_TABLE(X)                                                                                          \
	X(OK, "ok", NONE, "no error")                                                                                  \
	/* a record's bytes */                                                                                         \
	X(EMPTY_VALUE, "empty_value", RECORD, "the value is empty where a document was expected")                      \
	X(INVALID_JSON, "invalid_json", RECORD, "the bytes are not RFC 8259 JSON")                                     \
	X(INVALID_UTF8, "invalid_utf8", RECORD, "the bytes are not UTF-8")                                             \
	X(INVALID_SURROGATE, "invalid_surrogate", RECORD, "a \\u escape is half of a surrogate pair")                  \
	X(INVALID_AVRO, "invalid_avro", RECORD, "the bytes are not a value of their Avro schema")                      \
	X(AVRO_SCHEMA, "avro_schema", RECORD, "the Avro schema is invalid, or has no place for what the rules make")   \
	X(UNKNOWN_SCHEMA, "unknown_schema", RECORD,                                                                    \
	  "none of the configured schema registries knows the record's schema")                                        \
	X(TOO_DEEP, "too_deep", RECORD, "nested deeper than limits.depth")                                             \
	X(TOO_LARGE, "too_large", RECORD, "larger than limits.record_bytes, or takes too much of limits.memory")       \
	X(OUTPUT_TOO_LARGE, "output_too_large", RECORD, "the protected record is over the output topic's limit")       \
	X(REFUSED_BY_BROKER, "refused_by_broker", RECORD, "the broker refused this record, sent alone")                \
	/* a record against its rules */                                                                               \
	X(UNREADABLE_BATCH, "unreadable_batch", RECORD,                                                                \
	  "a batch of records is damaged, or takes too much of limits.memory when decompressed")                       \
	X(UNSUPPORTED_KIND, "unsupported_kind", RECORD, "the rule's action does not take this kind of value")          \
	X(UNSUPPORTED_FRAMING, "unsupported_framing", RECORD,                                                          \
	  "the value names no schema as Confluent's serializers do, or a JSON Schema that the result would not fit")   \
	X(MISSING_FIELD, "missing_field", RECORD, "a field that the rule requires is absent")                          \
	X(UNMATCHED_FIELD, "unmatched_field", RECORD, "no rule names this field and unmatched is dead-letter")         \
	X(VALUE_OUT_OF_DOMAIN, "value_out_of_domain", RECORD, "the value is outside what the algorithm can take")      \
	X(TARGET_CONFLICT, "target_conflict", RECORD, "the place that `to` names cannot be written")                   \
	X(BAD_TEMPLATE_VALUE, "bad_template_value", RECORD,                                                            \
	  "a {$.path} in a key name or associated data has no usable value")                                           \
	X(TOO_COMPLEX, "too_complex", RECORD, "this record takes too much work: its paths, conditions or patterns")    \
	X(KEY_COLUMN, "key_column", RECORD, "the record's key holds a column that its rule cannot protect there")      \
	X(UNSUPPORTED_ENVELOPE, "unsupported_envelope", RECORD, "a change event of a shape that cannot be protected")  \
	X(CONTROL_RECORD, "control_record", RECORD,                                                                    \
	  "not a row but a record about the stream, and `control` is not keep")                                        \
	/* ciphertext */                                                                                               \
	X(BAD_CIPHERTEXT, "bad_ciphertext", RECORD, "not a ciphertext of this layout")                                 \
	X(AUTHENTICATION, "authentication_failed", RECORD,                                                             \
	  "the ciphertext does not open here: altered, moved or another key")                                          \
	X(KEY_LIMIT, "key_limit", RECORD, "the record names a new key, and its pattern has reached `most_names`")      \
	X(UNKNOWN_KEY, "unknown_key", RECORD, "no key with this id under this name")                                   \
	X(KEY_DESTROYED, "key_destroyed", RECORD, "the key was destroyed")                                             \
	/* the world */                                                                                                \
	X(NO_LEASE, "no_lease", RETRY, "no nonce lease: nothing can be sealed")                                        \
	X(NO_ACTIVE_KEY, "no_active_key", RETRY, "no key is active now")                                               \
	X(KEY_DISABLED, "key_disabled", RETRY, "the key is disabled, or due to be destroyed")                          \
	X(CLOCK_WRONG, "clock_wrong", RETRY, "this host's clock and the brokers' are too far apart to make keys")      \
	X(KEY_PENDING, "key_pending", RETRY, "the key is being made or fetched")                                       \
	X(KEK_UNAVAILABLE, "kek_unavailable", RETRY, "the custodian of the key-encryption key does not answer")        \
	X(REGISTRY_UNAVAILABLE, "registry_unavailable", RETRY, "the key registry does not answer")                     \
	X(SCHEMA_REGISTRY_UNAVAILABLE, "schema_registry_unavailable", RETRY,                                           \
	  "the schema registry does not answer, or refuses the credentials")                                           \
	X(SCHEMA_PENDING, "schema_pending", RETRY,                                                                     \
	  "no schema registry knows the record's schema yet: it is asked again for a while")                           \
	X(SCHEMA_REFUSED, "schema_refused", RETRY,                                                                     \
	  "the schema registry refuses the output's schema, or adds rules of its own to it")                           \
	X(SCHEMA_NOT_REGISTERED, "schema_not_registered", RETRY,                                                       \
	  "the output's schema is not registered, and `schema.register` is false")                                     \
	X(KAFKA_UNAVAILABLE, "kafka_unavailable", RETRY, "the Kafka cluster does not answer")                          \
	X(IO, "io_error", RETRY, "reading or writing failed")                                                          \
	/* what the operator gave */                                                                                   \
	X(USAGE, "usage", CONFIG, "the command line is wrong")                                                         \
	X(CONFIG, "config", CONFIG, "the configuration is wrong")                                                      \
	X(RULES, "rules", CONFIG, "the rule file is wrong")                                                            \
	X(PATH_SYNTAX, "path_syntax", CONFIG, "not an RFC 9535 path or expression")                                    \
	X(NOT_FOUND, "not_found", CONFIG, "what the configuration names is not there")                                 \
	X(PERMISSIONS, "permissions", CONFIG, "a file that holds secrets can be read by others")                       \
	X(REGISTRY_MISSING, "registry_missing", CONFIG, "there is no key registry: `kveil keys init` makes one")       \
	X(REGISTRY_CORRUPT, "registry_corrupt", CONFIG, "the key registry cannot be read or was edited")               \
	X(REGISTRY_ROLLED_BACK, "registry_rolled_back", CONFIG, "the key registry is older than what this host wrote") \
	X(WRONG_KEK, "wrong_kek", CONFIG, "the key-encryption key is not the one that wrapped these keys")             \
	X(KEY_EXISTS, "key_exists", CONFIG, "the key is there already")                                                \
	X(UNSUPPORTED, "unsupported", CONFIG, "this build or one of its libraries does not support it")                \
	/* kveil itself */                                                                                             \
	X(NO_MEMORY, "no_memory", STOP, "out of memory")                                                               \
	X(CRYPTO, "crypto", STOP, "a cryptographic library call failed")                                               \
	X(INTERNAL, "internal", STOP, "a bug in kveil")

enum kveil_status {
#define X(name, code, class, text) KVEIL_E_##name,
	KVEIL_STATUS_TABLE(X)
#undef X
	    KVEIL_STATUS_COUNT,
	KVEIL_OK = KVEIL_E_OK,
};

/* "invalid_json": see the table. A string of the library. */
KVEIL_API const char *kveil_status_code(enum kveil_status status);
/* What it means, in a few words. A string of the library. */
KVEIL_API const char *kveil_status_text(enum kveil_status status);
/* What becomes of the work at hand; NONE for KVEIL_OK. A status that is not in the table is an INTERNAL one. */
KVEIL_API enum kveil_class kveil_status_class(enum kveil_status status);

#define KVEIL_NO_BYTE SIZE_MAX

/* Fixed size, no pointers, no values. Meaningful only after a call that failed. Zeroed = "no error" (but
 * byte then reads 0: kveil_fail sets it to KVEIL_NO_BYTE unless told). Strings are cut, never overrun. */
struct kveil_error {
	enum kveil_status status;
	uint32_t line, column; /* in file, 1-based; 0 = none */
	size_t byte;           /* 0-based position in the record, path or document; KVEIL_NO_BYTE = none */
	char file[160];        /* the file as the user named it; empty = none */
	char rule[96];         /* the rule's id; empty = none */
	char message[256];     /* what is wrong, no full stop */
	char hint[192];        /* what to do; empty = none */
};

/* Fills err afresh (it may be NULL) and returns status, so that `return kveil_fail(…)` is one line. Outer layers
 * then add what they know: kveil_error_where, kveil_error_rule, kveil_error_hint. */
enum kveil_status kveil_fail(struct kveil_error *err, enum kveil_status status, const char *fmt, ...)
    KVEIL_PRINTF(3, 4);
enum kveil_status kveil_fail_at(struct kveil_error *err, enum kveil_status status, size_t byte, const char *fmt, ...)
    KVEIL_PRINTF(4, 5);
/* "out of memory for WHAT"; what NULL: "out of memory". Returns NO_MEMORY. */
enum kveil_status kveil_no_memory(struct kveil_error *err, const char *what);
/* Adds to a filled error. NULL err is fine. */
void kveil_error_hint(struct kveil_error *err, const char *fmt, ...) KVEIL_PRINTF(2, 3);
void kveil_error_where(struct kveil_error *err, const char *file, uint32_t line, uint32_t column);
void kveil_error_rule(struct kveil_error *err, const char *rule);

/* "FILE:LINE:COL: error: MESSAGE (hint)" into dst, always terminated; returns dst. severity: "error". */
KVEIL_API const char *kveil_error_format(const struct kveil_error *err, const char *severity, char *dst, size_t size);

#endif

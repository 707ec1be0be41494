/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kveil/engine.h: the core without I/O: a record in; bytes and a verdict out.
 *
 *   plan (shared, immutable) ─┐
 *   keyring (this thread's)  ─┼─► engine (this thread's) ─ run(record) ─► result
 *   limits                   ─┘
 *
 * An engine belongs to one thread. Nothing is allocated per record once its buffers have grown to the load.
 * Whatever goes wrong, a result other than PRODUCE carries no record bytes at all.
 */
#ifndef KVEIL_ENGINE_H
#define KVEIL_ENGINE_H

#include "kveil/base.h"
#include "kveil/keys.h"

struct kveil_plan;
struct kveil_engine;

struct kveil_header {
	struct kveil_span name;
	struct kveil_span value; /* data NULL = a null value */
};

struct kveil_record {
	struct kveil_span key;   /* data NULL = a null key */
	struct kveil_span value; /* data NULL = a tombstone */
	const struct kveil_header *headers;
	size_t header_count;
};

enum kveil_verdict {
	KVEIL_PRODUCE,     /* outputs[0 … output_count): one a view, in view order */
	KVEIL_DEAD_LETTER, /* error says why */
	KVEIL_STOP,        /* stop this partition (on_error: stop, or a class STOP error) */
	KVEIL_DROP,        /* on_error: drop */
	KVEIL_RETRY,       /* class RETRY: the same record again later */
};

struct kveil_output {
	size_t view;                /* index in the plan's views */
	struct kveil_record record; /* order, duplicates and nulls of headers as they came */
};

struct kveil_result {
	enum kveil_verdict verdict;
	const struct kveil_output *outputs; /* borrowed from the engine until the next run */
	size_t output_count;
	struct kveil_error error; /* when verdict != PRODUCE */
};

struct kveil_limits {
	size_t record_bytes; /* of a value or key; 0 = 8 MiB. At most 1 GiB */
	uint32_t depth;      /* 0 = 128 */
	size_t memory_bytes; /* for one record's tables and results; 0 = 40 MiB. One that takes more is TOO_LARGE */
};

/* One field's story, for `apply --diff` and `--explain`. before and after are clear text or protected: they go
 * to the user's own terminal and nowhere else. */
struct kveil_trace_event {
	size_t view;
	/* NULL rule_id and action: no rule names the place, and `unmatched: remove` drops it */
	const char *rule_id, *action, *key_name, *key2_name; /* NULL = none; key2: what reencrypt seals with */
	struct kveil_span path;                              /* "value:$['a'][0]", with true indices */
	struct kveil_span before, after;                     /* raw spelling; after.data NULL = removed or failed */
	/* the associated data of what was sealed or opened here; absent: none, or by a template */
	struct kveil_span ad;
	const char *ad_template; /* as the rule has it: what fills it may be clear text. NULL: none */
	const char *outcome;     /* "applied", "when is false", "null kept", "absent", "failed: code", "dropped: …" */
};
typedef void kveil_trace_fn(void *user, const struct kveil_trace_event *event);

/* Binds a plan to a thread's keys. The engine holds a reference on the plan; the keyring must outlive it.
 * KVEIL_E_KEY_PENDING and other class RETRY errors: try again later. */
KVEIL_API enum kveil_status kveil_engine_new(struct kveil_plan *plan, struct kveil_keyring *keys,
					     const struct kveil_limits *limits, struct kveil_engine **ret,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* Wipes and frees; the results of its last run are gone with it. Before its keyring. NULL is fine. */
KVEIL_API void kveil_engine_free(struct kveil_engine *e);

struct kveil_engine_schema;
/* For values in Avro: what one schema of theirs and the plan come to. Belongs to the engine's thread and may not
 * outlive the engine. AVRO_SCHEMA: broken, or the rules cannot be held on it; UNSUPPORTED where the plan's format has
 * no schemas. */
KVEIL_API enum kveil_status kveil_engine_schema_new(struct kveil_engine *e, struct kveil_span text,
						    struct kveil_engine_schema **ret,
						    struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of the records' keys. KEY_COLUMN: a key that is not a record, and the rules do not say which column it
 * holds.
 */
KVEIL_API enum kveil_status kveil_engine_key_schema_new(struct kveil_engine *e, struct kveil_span text,
							struct kveil_engine_schema **ret,
							struct kveil_error *err) KVEIL_MUST_CHECK;
/* No rule is about anything in it: what is written with it passes as it is. */
KVEIL_API bool kveil_engine_schema_is_untouched(const struct kveil_engine_schema *s);
/* Not while the engine uses it, and not one that a table took (kveil_engine_schemas_add). NULL is fine. */
KVEIL_API void kveil_engine_schema_free(struct kveil_engine_schema *s);
/* The schema of what comes out, a pure function of the text and the plan; the text itself where no type changes. */
KVEIL_API struct kveil_span kveil_engine_schema_derived(const struct kveil_engine_schema *s);
/* The records to come are written with it. NULL: none, and every value is an error. */
KVEIL_API void kveil_engine_use_schema(struct kveil_engine *e, const struct kveil_engine_schema *s);
/* The same of their keys. */
KVEIL_API void kveil_engine_use_key_schema(struct kveil_engine *e, const struct kveil_engine_schema *s);

/* Values, and keys, that name their schema, as Confluent's serializers frame them: by an id in front or in a header. A
 * table of one topic's schemas by such ids, of the engine's thread; it may not outlive the engine. A value with an id
 * that is not in it is a RETRY, SCHEMA_PENDING. */
struct kveil_schema_id {
	bool is_guid;
	uint32_t id;
	uint8_t guid[16];
};
/* Are they the same kind of id, and equal? Any thread. */
KVEIL_API bool kveil_schema_id_eq(const struct kveil_schema_id *a, const struct kveil_schema_id *b);
struct kveil_engine_schemas;
/* An empty table. NULL: no memory. */
KVEIL_API struct kveil_engine_schemas *kveil_engine_schemas_new(void);
/* And every schema that was added. Not while the engine uses it. NULL is fine. */
KVEIL_API void kveil_engine_schemas_free(struct kveil_engine_schemas *t);
/* Values that name the writer's schema come out under the derived one's id. Takes s, also on failure. A table keeps 512
 * schemas, refused ones included, and about 64 MiB of them: beyond that those used longest ago go, and values with
 * their ids are SCHEMA_PENDING again. The results of the engine's last run are gone with them. */
KVEIL_API enum kveil_status kveil_engine_schemas_add(struct kveil_engine_schemas *t,
						     const struct kveil_schema_id *writer,
						     struct kveil_engine_schema *s,
						     const struct kveil_schema_id *derived,
						     struct kveil_error *err) KVEIL_MUST_CHECK;
/* …or are errors: why is theirs. */
KVEIL_API enum kveil_status kveil_engine_schemas_refuse(struct kveil_engine_schemas *t,
							const struct kveil_schema_id *writer,
							const struct kveil_error *why,
							struct kveil_error *err) KVEIL_MUST_CHECK;
/* The records to come are this topic's. NULL: they are not framed. */
KVEIL_API void kveil_engine_use_schemas(struct kveil_engine *e, struct kveil_engine_schemas *t);
/* The same of their keys. */
KVEIL_API void kveil_engine_use_key_schemas(struct kveil_engine *e, struct kveil_engine_schemas *t);
/* What the last record lacked, when it was SCHEMA_PENDING. */
KVEIL_API bool kveil_engine_wanted_schema(const struct kveil_engine *e, struct kveil_schema_id *ret);
/* And that was its key's. */
KVEIL_API bool kveil_engine_wants_key_schema(const struct kveil_engine *e);
/* "framed for AWS Glue …" and the like, of bytes that are framed as others than Confluent do; NULL: not that one could
 * tell. Any thread. */
KVEIL_API const char *kveil_other_framing(struct kveil_span bytes);

/* trace NULL = off. Tracing allocates and is slow. */
KVEIL_API void kveil_engine_set_trace(struct kveil_engine *e, kveil_trace_fn *trace, void *user);

/* record's bytes must stay until the result is used: outputs may borrow them. */
KVEIL_API void kveil_engine_run(struct kveil_engine *e, const struct kveil_record *record, struct kveil_result *ret);
/* true: the record names the id of a key that was not bound; it has been looked for, and another run knows what there
 * is to know. Without this the next kveil_keyring_tick looks, for what the last run missed and no other. Takes the
 * keystore's lock, which a run that opens does not. */
KVEIL_API bool kveil_engine_look_again(struct kveil_engine *e, const struct kveil_result *result);
/* The outputs were used: wipes what is left of their record. The next run does so too, but may be long in coming. */
KVEIL_API void kveil_engine_wipe(struct kveil_engine *e);

/* How often each rule (by index in the plan) found a place since the engine was made; plain counters of this
 * thread: another thread may read them, each load is atomic. A run that ends in RETRY counts nothing. */
KVEIL_API const _Atomic uint64_t *kveil_engine_rule_matches(const struct kveil_engine *e, size_t *ret_count);
/* Takes back what the last run counted, and wipes: the record comes again. */
KVEIL_API void kveil_engine_forget(struct kveil_engine *e);

#endif

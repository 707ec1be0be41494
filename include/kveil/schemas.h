/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kveil/schemas.h: what is known of an Avro schema beside its text, for engines (kveil/engine.h): under which id it
 * stands in a registry, and which schema it was derived from.
 *
 *   writer's schema, id 7
 *     ─ rules that protect ─► the derived one, with "kveil.schema": {"id": 7, …}
 *     ─ rules that open ────► the writer's
 *
 * Threads: as kveil_engine_schema_new.
 */
#ifndef KVEIL_SCHEMAS_H
#define KVEIL_SCHEMAS_H

#include "kveil/engine.h"

/* A tag of fields, from a schema's metadata: "com.acme.User.phone", "**.phone". */
struct kveil_schema_tag {
	const char *path, *tag;
};

struct kveil_schema_source {
	const struct kveil_schema_id *id; /* the derived one refers to it; NULL: not known */
	struct kveil_span original;       /* the schema that this one refers to; data NULL: not at hand */
	bool must_fit;                    /* another original is an AVRO_SCHEMA error; else it counts for nothing */
	const struct kveil_schema_tag *tags;
	size_t tag_count;
	const char *topic; /* of the values: what their schemas lack is told of each by itself; NULL: not known */
};

/* kveil_engine_schema_new of what is known. Where rules open all that was sealed, the derived schema is the original
 * one. */
KVEIL_API enum kveil_status kveil_engine_schema_of(struct kveil_engine *e, struct kveil_span text,
						   const struct kveil_schema_source *source,
						   struct kveil_engine_schema **ret,
						   struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of the records' keys. */
KVEIL_API enum kveil_status kveil_engine_key_schema_of(struct kveil_engine *e, struct kveil_span text,
						       const struct kveil_schema_source *source,
						       struct kveil_engine_schema **ret,
						       struct kveil_error *err) KVEIL_MUST_CHECK;
/* Which schema does it take to open what stands in values of this one? false: none, or nothing tells. */
KVEIL_API bool kveil_engine_schema_original(const struct kveil_engine *e, struct kveil_span text,
					    struct kveil_schema_id *ret);
/* The same of the records' keys. */
KVEIL_API bool kveil_engine_key_schema_original(const struct kveil_engine *e, struct kveil_span text,
						struct kveil_schema_id *ret);
/* What stands in a registry under the output's subject: a schema that was derived earlier, by this program or another.
 * Where it is of the text's type, the tags in it count as met: what schemas had before a restart. *ret_is_last: older
 * ones tell nothing more: it is of that type, or the text is not a schema. Where only `derived` is not one: false. */
KVEIL_API enum kveil_status kveil_engine_recall(struct kveil_engine *e, struct kveil_span text,
						struct kveil_span derived, const char *topic, bool *ret_is_last,
						struct kveil_error *err) KVEIL_MUST_CHECK;
/* What schemas of the same type had before, since the plan was loaded, and this one lacks: a field's tag, which counts
 * as before, a tagged field, or whatever a rule names. Each is told by one schema of all that have the plan. NULL: no
 * more. */
KVEIL_API const char *kveil_engine_schema_lost(const struct kveil_engine_schema *s, size_t i);
/* The derived schema as whoever does not know the text's id derives it. */
KVEIL_API struct kveil_span kveil_engine_schema_unreferred(const struct kveil_engine_schema *s);

#endif

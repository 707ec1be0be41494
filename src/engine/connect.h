/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/connect.h: Kafka Connect's JSON with its schema inline, as org.apache.kafka.connect.json.JsonConverter
 * writes it:
 *
 *   {"schema":{"type":"struct","fields":[{"type":"string","optional":true,"field":"phone"},…],…},"payload":{"phone":…}}
 *
 *   connect.c         a part of a record ─► schema and payload; a cache of what becomes of schemas; both together again
 *   connect_tree.c    a schema's text as a tree, and which of its nodes a rule's path leads to
 *   connect_judge.c   what becomes of each node
 *   connect_derive.c  the schema of what rules leave, one text a view: a function of the schema's text and the rules
 *   connect_fit.c     values that no rule wrote, in the type that the new schema gives them
 *
 * The payload alone goes through the rules, as a record without a schema does. What cannot be read as a schema of
 * Connect's is an error of the record. A thread's own.
 */
#ifndef KVEIL_ENGINE_CONNECT_H
#define KVEIL_ENGINE_CONNECT_H

#include "engine/internal.h"

/* --- connect.c --- */

/* What becomes of values at some places: they are in another type than the new schema says. */
struct kveil_connect_fit {
	struct kveil_path path;
	unsigned kind; /* enum kveil_kind: texts become values of this kind; STRING: all other values become texts */
};

struct kveil_connect_view {
	struct kveil_span text; /* the schema; the bytes of the one that came where nothing changed */
	struct kveil_connect_fit *fits;
	size_t fit_count;
};

/* One schema and what becomes of it in each view. */
struct kveil_connect_schema {
	struct kveil_connect_schema *next; /* used before this one */
	enum kveil_part part;
	struct kveil_span text;
	struct kveil_connect_view *views;
	struct kveil_arena memory; /* of all this */
};

/* A part of a record, taken apart. */
struct kveil_connect_split {
	struct kveil_json_frame frame; /* in front of text */
	struct kveil_span text, payload;
	const struct kveil_connect_schema *schema; /* NULL: it is all payload */
	size_t schema_at;                          /* in text */
};

void kveil_connect_init(struct kveil_engine *e);
void kveil_connect_clear(struct kveil_connect *c);
/* members.c: a part with members, or the payload of one: results[v] is a view's. */
enum kveil_status kveil_engine_run_payload(struct kveil_engine *e, enum kveil_part part, enum kveil_text to,
					   struct kveil_span text, struct kveil_span *results,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same with the schema inline that it may have. */
enum kveil_status kveil_engine_run_document(struct kveil_engine *e, enum kveil_part part, enum kveil_text to,
					    const struct kveil_connect_split *s, struct kveil_span *results,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* Is there a schema inline, in an envelope that has them? UNSUPPORTED_ENVELOPE: there is what is none of Connect's. */
enum kveil_status kveil_connect_split(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				      struct kveil_connect_split *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The part of a view again, from its schema and what became of the payload there; out for where it is written. */
enum kveil_status kveil_connect_join(struct kveil_engine *e, const struct kveil_connect_split *s, size_t view,
				     struct kveil_span payload, struct kveil_buf *out, struct kveil_span *ret,
				     struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- connect_tree.c --- */

enum kveil_connect_type {
	KVEIL_CONNECT_INT8,
	KVEIL_CONNECT_INT16,
	KVEIL_CONNECT_INT32,
	KVEIL_CONNECT_INT64,
	KVEIL_CONNECT_FLOAT,
	KVEIL_CONNECT_DOUBLE,
	KVEIL_CONNECT_BOOLEAN,
	KVEIL_CONNECT_STRING,
	KVEIL_CONNECT_BYTES,
	KVEIL_CONNECT_STRUCT,
	KVEIL_CONNECT_ARRAY,
	KVEIL_CONNECT_MAP,
};
const char *kveil_connect_type_name(enum kveil_connect_type type);

enum kveil_connect_member {
	KVEIL_CONNECT_M_TYPE,
	KVEIL_CONNECT_M_OPTIONAL,
	KVEIL_CONNECT_M_NAME,
	KVEIL_CONNECT_M_VERSION,
	KVEIL_CONNECT_M_DOC,
	KVEIL_CONNECT_M_PARAMETERS,
	KVEIL_CONNECT_M_DEFAULT,
	KVEIL_CONNECT_M_FIELD,
	KVEIL_CONNECT_M_FIELDS,
	KVEIL_CONNECT_M_ITEMS,
	KVEIL_CONNECT_M_KEYS,
	KVEIL_CONNECT_M_VALUES,
	KVEIL_CONNECT_M_COUNT,
};

enum kveil_connect_use {
	KVEIL_CONNECT_WRITES, /* the rule writes there what it read there */
	KVEIL_CONNECT_READS,  /* its value goes elsewhere */
	KVEIL_CONNECT_TARGET, /* where `to` writes */
	KVEIL_CONNECT_CLEAR,  /* no rule: a path under `clear`, by its number */
};

/* A rule at a node. */
struct kveil_connect_touch {
	struct kveil_connect_touch *next; /* of a higher rank */
	uint32_t rule;
	enum kveil_connect_use use;
	bool surely; /* at every value of the node, as far as the path goes */
};

/* A field that `to` adds to a struct. */
struct kveil_connect_newcomer {
	struct kveil_connect_newcomer *next;
	uint32_t rule, source; /* rank; node */
};

/* Preorder: the children of node i are i + 1, nodes[i + 1].next, … below nodes[i].next. A map's first child is of its
 * keys, its second of its values. */
struct kveil_connect_node {
	enum kveil_connect_type type;
	uint32_t at;             /* on the tape */
	uint32_t parent, next;   /* the root's parent is itself */
	struct kveil_span field; /* its name in a struct, unescaped */
	bool is_optional;
	bool is_pairs; /* a map that is an array of [key, value] in JSON: its keys are not strings */
	uint32_t members[KVEIL_CONNECT_M_COUNT]; /* on the tape; 0 = none */
	struct kveil_connect_touch *touches, *last_touch;
	struct kveil_connect_newcomer *newcomers;
};

struct kveil_connect_tree {
	const struct kveil_doc *doc;
	struct kveil_connect_node *nodes;
	uint32_t count;
};

/* In the record's arena; fields have names, roots need none. */
enum kveil_status kveil_connect_read(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t at,
				     struct kveil_connect_tree *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Adds to the nodes what rules of the part do there, by rank. */
enum kveil_status kveil_connect_touch(struct kveil_engine *e, enum kveil_part part, struct kveil_connect_tree *tree,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
bool kveil_connect_is_null(const struct kveil_connect_tree *tree, uint32_t at); /* null or absent */

/* --- connect_derive.c --- */

/* Fills view number v of s, in its memory. */
enum kveil_status kveil_connect_derive(struct kveil_engine *e, const struct kveil_connect_tree *tree, size_t v,
				       struct kveil_connect_schema *s, struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- connect_fit.c --- */

/* Appends the payload with its values in the types of the view's schema. UNSUPPORTED_KIND: one that cannot be. */
enum kveil_status kveil_connect_fit(struct kveil_engine *e, const struct kveil_connect_view *view,
				    struct kveil_span payload, struct kveil_buf *out,
				    struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

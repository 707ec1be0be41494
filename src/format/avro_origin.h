/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/avro_origin.h: what the sealed values of a derived schema were, for the rules that open them.
 *
 *   {"type": "string", "kveil.type": {"type": "enum", "name": "com.acme.Level"}}      beside each value
 *   "kveil.schema": {"id": 7, "fingerprint": "9c1a52a2f0e3b7d1"}                      at the root, once
 *
 * The property beside a value is enough but for an enum, whose symbols are told nowhere, for records, arrays and maps,
 * and for branches of a union that became one: the schema that the derived one refers to tells of them. Where that one
 * is at hand and the rules open all that was sealed, it is what comes out.
 */
#ifndef KVEIL_FORMAT_AVRO_ORIGIN_H
#define KVEIL_FORMAT_AVRO_ORIGIN_H

#include "format/avro_schema.h"

#define KVEIL_AVRO_WAS       "kveil.type"
#define KVEIL_AVRO_REFERENCE "kveil.schema"
#define KVEIL_AVRO_REMOVED   "kveil.removed" /* of a record: {"phone": ["PII"]}, fields taken away by their tags */

struct kveil_avro_origin;

/* derived is borrowed. original: the text of the schema that it refers to; none: data NULL. AVRO_SCHEMA: that is
 * another one. */
enum kveil_status kveil_avro_origin_new(const struct kveil_avro_schema *derived, struct kveil_span original,
					struct kveil_avro_origin **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_origin_free(struct kveil_avro_origin *o);

/* What sealed values were: of one type, or of several, each a branch of one union, in its order. */
struct kveil_avro_past {
	uint32_t count; /* 1 or more */
	const struct kveil_avro_type *types[];
};
/* Of values of this type of the derived schema, or NULL: nothing tells. o NULL: nothing does. */
const struct kveil_avro_past *kveil_avro_origin_of(const struct kveil_avro_origin *o, uint32_t type);
/* The type of the original schema that this one of the derived schema was; NULL: none. */
const struct kveil_avro_type *kveil_avro_origin_type(const struct kveil_avro_origin *o, uint32_t type);
/* The schema that records, arrays and maps of those are of, and all of several; NULL: it is not at hand. */
const struct kveil_avro_schema *kveil_avro_origin_schema(const struct kveil_avro_origin *o);
/* The original schema's text; data NULL: it is not at hand. */
struct kveil_span kveil_avro_origin_text(const struct kveil_avro_origin *o);
/* Does one type of the derived schema stand for two? Then it was not derived from that. */
bool kveil_avro_origin_clashes(const struct kveil_avro_origin *o);
/* Is it the type itself, under its own name or one that was made of it? Of a record, the names of its fields count. */
bool kveil_avro_is_as_before(const struct kveil_avro_type *derived, const struct kveil_avro_type *t);

/* What a schema refers to: an id in digits or a GUID, in text. false: nothing. */
enum { KVEIL_AVRO_REFERENCE_BYTES = 40 };
bool kveil_avro_read_reference(const json_t *schema, char text[KVEIL_AVRO_REFERENCE_BYTES]);
/* Has it refer to a writer's schema; text "" takes a reference away. false: there is no place for one. */
bool kveil_avro_set_reference(json_t *schema, const char *text, const struct kveil_avro_schema *writer);
/* And to what another one refers to. false: to nothing. */
bool kveil_avro_copy_reference(json_t *schema, const json_t *from);

#endif

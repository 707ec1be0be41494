/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schemas/inline.h: one Avro schema out of one that refers to others.
 *
 *   {"type": "record", "name": "Order", "fields": [{"name": "to", "type": "com.acme.Address"}, …]}
 *   + com.acme.Address
 *   ─► {"type": "record", "name": "Order", "fields": [{"name": "to", "type": {"type": "record", …}}, …]}
 *
 * A type is written where its name stands first, and by its name from then on. Bounded by KVEIL_AVRO_SCHEMA_BYTES for
 * all texts together. A pure function: any thread.
 */
#ifndef KVEIL_SCHEMAS_INLINE_H
#define KVEIL_SCHEMAS_INLINE_H

#include "base/buf.h"
#include "kveil/base.h"

/* references: those that refer to none of the others first. AVRO_SCHEMA: a text is not JSON, is nested too deep, or two
 * of them define one name in two ways. Names that nobody defines stay for kveil_avro_schema_parse to find. Appends to
 * out. */
enum kveil_status kveil_schemas_inline(struct kveil_span text, const struct kveil_span *references, size_t count,
				       struct kveil_buf *out, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

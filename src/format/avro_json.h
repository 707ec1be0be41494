/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/avro_json.h: values in Avro from and to JSON text, for people and their samples. Off the hot path.
 *
 * In: Avro's JSON encoding ({"string": "x"} for a branch of a union), or plain JSON, where the first branch that takes
 * the value has it. Bytes are characters U+0000 to U+00FF. Out: plain JSON; bytes in base64.
 */
#ifndef KVEIL_FORMAT_AVRO_JSON_H
#define KVEIL_FORMAT_AVRO_JSON_H

#include "base/buf.h"
#include "kveil/base.h"

struct kveil_avro_text;

/* AVRO_SCHEMA. */
enum kveil_status kveil_avro_text_new(struct kveil_span schema, struct kveil_avro_text **ret,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_text_free(struct kveil_avro_text *t);
/* Appends the value's bytes. INVALID_JSON: no JSON; INVALID_AVRO: no value of this schema. */
enum kveil_status kveil_avro_from_json(struct kveil_avro_text *t, struct kveil_span json, struct kveil_buf *out,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_avro_to_json(struct kveil_avro_text *t, struct kveil_span value, struct kveil_buf *out,
				     struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

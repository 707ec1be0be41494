/* SPDX-License-Identifier: Apache-2.0 */
/* cli/avro_samples.h: records in Avro on a laptop: a schema from a file, values as JSON lines or as one file's bytes.
 */
#ifndef KVEIL_CLI_AVRO_SAMPLES_H
#define KVEIL_CLI_AVRO_SAMPLES_H

#include "base/buf.h"
#include "kveil/engine.h"

struct kveil_avro_samples;

/* The text of a file; one byte more than a schema may have where there are more. */
enum kveil_status kveil_avro_schema_read(const char *file, struct kveil_buf *out,
					 struct kveil_error *err) KVEIL_MUST_CHECK;

struct kveil_avro_source {
	const char *schema, *key_schema; /* files; key_schema: NULL = keys are passed on to the engine as they are */
	const char *original;            /* a file: what schema was derived from; NULL = not known */
	const char *encoding;            /* "json", "bare", "framed"; NULL = json */
};

/* The engine uses the schemas from now on. */
enum kveil_status kveil_avro_samples_open(const struct kveil_avro_source *from, struct kveil_engine *e,
					  struct kveil_avro_samples **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_samples_free(struct kveil_avro_samples *s);
bool kveil_avro_samples_is_binary(const struct kveil_avro_samples *s);
/* A line's JSON to the bytes of key (data NULL: there is none) and value; what came out to what is printed. Borrowed
 * until the next call. */
enum kveil_status kveil_avro_samples_read(struct kveil_avro_samples *s, struct kveil_span *key,
					  struct kveil_span *value, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_avro_samples_spell_key(struct kveil_avro_samples *s, struct kveil_span *key,
					       struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_avro_samples_spell(struct kveil_avro_samples *s, struct kveil_span *value,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* The one value of a file, without its frame. */
enum kveil_status kveil_avro_samples_read_all(struct kveil_avro_samples *s, int fd, size_t max_bytes,
					      struct kveil_span *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

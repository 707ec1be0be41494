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
enum kveil_status kveil_avro_schema_load(const char *file, struct kveil_engine *e, struct kveil_engine_schema **ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* encoding: "json", "bare", "framed"; NULL = json. The engine uses the schema from now on. */
enum kveil_status kveil_avro_samples_open(const char *file, const char *encoding, struct kveil_engine *e,
					  struct kveil_avro_samples **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_samples_free(struct kveil_avro_samples *s);
bool kveil_avro_samples_is_binary(const struct kveil_avro_samples *s);
/* A line of JSON to the value's bytes; a value that came out to what is printed. Borrowed until the next call. */
enum kveil_status kveil_avro_samples_read(struct kveil_avro_samples *s, struct kveil_span *value,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_avro_samples_spell(struct kveil_avro_samples *s, struct kveil_span *value,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* The one value of a file, without its frame. */
enum kveil_status kveil_avro_samples_read_all(struct kveil_avro_samples *s, int fd, size_t max_bytes,
					      struct kveil_span *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

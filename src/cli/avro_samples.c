/* SPDX-License-Identifier: Apache-2.0 */
/* Records in Avro on a laptop. */
#include "cli/avro_samples.h"

#include "base/buf.h"
#include "format/avro_json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FRAME_BYTES = 5, MOST_SCHEMA = (1 << 20) + 1 };

enum encoding { JSON, BARE, FRAMED };

struct kveil_avro_samples {
	enum encoding encoding;
	struct kveil_engine_schema *schema;
	struct kveil_avro_text *in, *out;
	struct kveil_buf value, spelled;
	uint8_t frame[FRAME_BYTES];
};

/* At most max_bytes + 1, so that what is longer is found too large. */
static bool read_fd(int fd, size_t max_bytes, struct kveil_buf *out)
{
	while (out->len <= max_bytes) {
		size_t room = max_bytes + 1 - out->len < 65536 ? max_bytes + 1 - out->len : 65536;
		uint8_t *p = kveil_buf_reserve(out, room);
		ssize_t n = p ? read(fd, p, room) : -1;
		if (n < 0 && p && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0;
		out->len += (size_t)n;
	}
	return true;
}

enum kveil_status kveil_avro_schema_read(const char *file, struct kveil_buf *out, struct kveil_error *err)
{
	FILE *f = fopen(file, "r");
	bool ok = f && read_fd(fileno(f), MOST_SCHEMA, out);

	if (f)
		fclose(f);
	return ok ? KVEIL_OK : kveil_fail(err, KVEIL_E_NOT_FOUND, "the schema %.100s cannot be read", file);
}

enum kveil_status kveil_avro_schema_load(const char *file, struct kveil_engine *e, struct kveil_engine_schema **ret,
					 struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	*ret = NULL;
	enum kveil_status st = kveil_avro_schema_read(file, &text, err);
	if (!st) {
		st = kveil_engine_schema_new(e, kveil_buf_span(&text), ret, err);
		if (st && !err->file[0])
			kveil_error_where(err, file, 0, 0);
	}
	return st;
}

enum kveil_status kveil_avro_samples_open(const char *file, const char *encoding, struct kveil_engine *e,
					  struct kveil_avro_samples **ret, struct kveil_error *err)
{
	static const char *const names[] = {"json", "bare", "framed"};
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	size_t k = 0;

	*ret = NULL;
	while (encoding && k < 3 && strcmp(names[k], encoding) != 0)
		k++;
	if (k == 3)
		return kveil_fail(err, KVEIL_E_USAGE, "--encoding is json, bare or framed");
	struct kveil_avro_samples *s = calloc(1, sizeof *s);
	if (!s)
		return kveil_no_memory(err, NULL);
	s->encoding = (enum encoding)k;
	enum kveil_status st = kveil_avro_schema_load(file, e, &s->schema, err);
	if (!st)
		st = kveil_avro_schema_read(file, &text, err);
	if (!st)
		st = kveil_avro_text_new(kveil_buf_span(&text), &s->in, err);
	if (!st)
		st = kveil_avro_text_new(kveil_engine_schema_derived(s->schema), &s->out, err);
	if (st) {
		kveil_avro_samples_free(s);
		return st;
	}
	kveil_engine_use_schema(e, s->schema);
	*ret = s;
	return KVEIL_OK;
}

void kveil_avro_samples_free(struct kveil_avro_samples *s)
{
	if (!s)
		return;
	kveil_engine_schema_free(s->schema);
	kveil_avro_text_free(s->in);
	kveil_avro_text_free(s->out);
	kveil_buf_clear(&s->value);
	kveil_buf_clear(&s->spelled);
	free(s);
}

bool kveil_avro_samples_is_binary(const struct kveil_avro_samples *s)
{
	return s->encoding != JSON;
}

enum kveil_status kveil_avro_samples_read(struct kveil_avro_samples *s, struct kveil_span *value,
					  struct kveil_error *err)
{
	kveil_buf_clear(&s->value);
	enum kveil_status st = kveil_avro_from_json(s->in, *value, &s->value, err);
	*value = kveil_buf_span(&s->value);
	return st;
}

enum kveil_status kveil_avro_samples_spell(struct kveil_avro_samples *s, struct kveil_span *value,
					   struct kveil_error *err)
{
	enum kveil_status st = KVEIL_OK;

	kveil_buf_clear(&s->spelled);
	if (s->encoding == JSON)
		st = kveil_avro_to_json(s->out, *value, &s->spelled, err);
	else {
		kveil_buf_append(&s->spelled, s->frame, s->encoding == FRAMED ? FRAME_BYTES : 0);
		kveil_buf_append_span(&s->spelled, *value);
	}
	*value = kveil_buf_span(&s->spelled);
	return st;
}

enum kveil_status kveil_avro_samples_read_all(struct kveil_avro_samples *s, int fd, size_t max_bytes,
					      struct kveil_span *ret, struct kveil_error *err)
{
	size_t skip = s->encoding == FRAMED ? FRAME_BYTES : 0;

	if (!read_fd(fd, max_bytes + skip, &s->value))
		return kveil_fail(err, KVEIL_E_IO, "the value cannot be read");
	*ret = kveil_buf_span(&s->value);
	if (!skip)
		return KVEIL_OK;
	if (ret->len < skip || ret->data[0] != 0)
		return kveil_fail_at(err, KVEIL_E_INVALID_AVRO, 0,
				     "not framed as Confluent does: 0 and four bytes of an id");
	memcpy(s->frame, ret->data, skip);
	*ret = kveil_span_of(ret->data + skip, ret->len - skip);
	return KVEIL_OK;
}

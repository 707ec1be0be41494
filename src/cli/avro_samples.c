/* SPDX-License-Identifier: Apache-2.0 */
/* Records in Avro on a laptop. */
#include "cli/avro_samples.h"

#include "base/buf.h"
#include "format/avro_json.h"
#include "kveil/schemas.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FRAME_BYTES = 5, MOST_SCHEMA = (1 << 20) + 1 };

enum encoding { JSON, BARE, FRAMED };

/* Values, or keys. */
struct side {
	struct kveil_engine_schema *schema;
	struct kveil_avro_text *in, *out;
	struct kveil_buf bytes, spelled;
};

struct kveil_avro_samples {
	enum encoding encoding;
	struct side values, keys;
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

static enum kveil_status open_side(const char *file, const char *original, struct kveil_engine *e, bool of_keys,
				   struct side *d, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT, was = KVEIL_BUF_INIT;
	struct kveil_schema_source known = {.must_fit = true};
	enum kveil_status st = kveil_avro_schema_read(file, &text, err);

	if (!st && original)
		st = kveil_avro_schema_read(original, &was, err);
	if (st)
		return st;
	if (original)
		known.original = kveil_buf_span(&was);
	st = (of_keys ? kveil_engine_key_schema_of : kveil_engine_schema_of)(e, kveil_buf_span(&text), &known,
									     &d->schema, err);
	if (st && !err->file[0])
		kveil_error_where(err, file, 0, 0);
	if (!st)
		st = kveil_avro_text_new(kveil_buf_span(&text), &d->in, err);
	if (!st)
		st = kveil_avro_text_new(kveil_engine_schema_derived(d->schema), &d->out, err);
	return st;
}

static void clear_side(struct side *d)
{
	kveil_engine_schema_free(d->schema);
	kveil_avro_text_free(d->in);
	kveil_avro_text_free(d->out);
	kveil_buf_clear(&d->bytes);
	kveil_buf_clear(&d->spelled);
}

enum kveil_status kveil_avro_samples_open(const struct kveil_avro_source *from, struct kveil_engine *e,
					  struct kveil_avro_samples **ret, struct kveil_error *err)
{
	static const char *const names[] = {"json", "bare", "framed"};
	size_t k = 0;

	*ret = NULL;
	while (from->encoding && k < 3 && strcmp(names[k], from->encoding) != 0)
		k++;
	if (k == 3)
		return kveil_fail(err, KVEIL_E_USAGE, "--encoding is json, bare or framed");
	struct kveil_avro_samples *s = calloc(1, sizeof *s);
	if (!s)
		return kveil_no_memory(err, NULL);
	s->encoding = (enum encoding)k;
	enum kveil_status st = open_side(from->schema, from->original, e, false, &s->values, err);
	if (!st && from->key_schema)
		st = open_side(from->key_schema, NULL, e, true, &s->keys, err);
	if (st) {
		kveil_avro_samples_free(s);
		return st;
	}
	kveil_engine_use_schema(e, s->values.schema);
	kveil_engine_use_key_schema(e, s->keys.schema);
	*ret = s;
	return KVEIL_OK;
}

void kveil_avro_samples_free(struct kveil_avro_samples *s)
{
	if (!s)
		return;
	clear_side(&s->values);
	clear_side(&s->keys);
	free(s);
}

bool kveil_avro_samples_is_binary(const struct kveil_avro_samples *s)
{
	return s->encoding != JSON;
}

static enum kveil_status to_bytes(struct side *d, struct kveil_span *text, struct kveil_error *err)
{
	kveil_buf_clear(&d->bytes);
	enum kveil_status st = kveil_avro_from_json(d->in, *text, &d->bytes, err);
	*text = kveil_buf_span(&d->bytes);
	return st;
}

static enum kveil_status to_text(struct side *d, struct kveil_span *bytes, struct kveil_error *err)
{
	kveil_buf_clear(&d->spelled);
	enum kveil_status st = kveil_avro_to_json(d->out, *bytes, &d->spelled, err);
	*bytes = kveil_buf_span(&d->spelled);
	return st;
}

enum kveil_status kveil_avro_samples_read(struct kveil_avro_samples *s, struct kveil_span *key,
					  struct kveil_span *value, struct kveil_error *err)
{
	enum kveil_status st = key->data && s->keys.schema ? to_bytes(&s->keys, key, err) : KVEIL_OK;

	return st ? st : to_bytes(&s->values, value, err);
}

enum kveil_status kveil_avro_samples_spell_key(struct kveil_avro_samples *s, struct kveil_span *key,
					       struct kveil_error *err)
{
	return key->data && s->keys.schema ? to_text(&s->keys, key, err) : KVEIL_OK;
}

enum kveil_status kveil_avro_samples_spell(struct kveil_avro_samples *s, struct kveil_span *value,
					   struct kveil_error *err)
{
	struct kveil_buf *out = &s->values.spelled;

	if (s->encoding == JSON)
		return to_text(&s->values, value, err);
	kveil_buf_clear(out);
	kveil_buf_append(out, s->frame, s->encoding == FRAMED ? FRAME_BYTES : 0);
	kveil_buf_append_span(out, *value);
	*value = kveil_buf_span(out);
	return KVEIL_OK;
}

static enum kveil_status refuse_frame(struct kveil_span bytes, struct kveil_error *err)
{
	const char *other = kveil_other_framing(bytes);

	if (!other)
		return kveil_fail_at(err, KVEIL_E_UNSUPPORTED_FRAMING, 0,
				     "not framed as Confluent does: 0 and four bytes of an id");
	kveil_fail_at(err, KVEIL_E_UNSUPPORTED_FRAMING, 0, "this is %s, which is not in this version", other);
	kveil_error_hint(err, "Confluent's: 0 and four bytes of an id; or take it off, and use --encoding bare");
	return err->status;
}

enum kveil_status kveil_avro_samples_read_all(struct kveil_avro_samples *s, int fd, size_t max_bytes,
					      struct kveil_span *ret, struct kveil_error *err)
{
	size_t skip = s->encoding == FRAMED ? FRAME_BYTES : 0;

	if (!read_fd(fd, max_bytes + skip, &s->values.bytes))
		return kveil_fail(err, KVEIL_E_IO, "the value cannot be read");
	*ret = kveil_buf_span(&s->values.bytes);
	if (!skip)
		return KVEIL_OK;
	if (ret->len < skip || ret->data[0] != 0)
		return refuse_frame(*ret, err);
	memcpy(s->frame, ret->data, skip);
	*ret = kveil_span_of(ret->data + skip, ret->len - skip);
	return KVEIL_OK;
}

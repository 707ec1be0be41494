/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters: sealed and opened. */
#include "worker/dead_letter.h"

#include "base/bytes.h"
#include "base/secret.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { VERSION = 1, NULL_LENGTH = -1 };

/* The order of the associated data. */
enum { TOPIC, PARTITION, OFFSET, RULE, CODE, BYTE };
static const char *const names[KVEIL_DEAD_LETTER_HEADERS] = {
    [TOPIC] = "kveil.error.topic", [PARTITION] = "kveil.error.partition", [OFFSET] = "kveil.error.offset",
    [RULE] = "kveil.error.rule",   [CODE] = "kveil.error.code",           [BYTE] = "kveil.error.byte",
};

void kveil_dead_letter_describe(struct kveil_dead_letter_where *w, const char *topic, int32_t partition, int64_t offset,
				const struct kveil_error *error)
{
	snprintf(w->numbers[0], sizeof w->numbers[0], "%" PRId32, partition);
	snprintf(w->numbers[1], sizeof w->numbers[1], "%" PRId64, offset);
	snprintf(w->numbers[2], sizeof w->numbers[2], "%zu", error->byte);
	snprintf(w->rule, sizeof w->rule, "%s", error->rule);
	const char *values[] = {
	    [TOPIC] = topic,
	    [PARTITION] = w->numbers[0],
	    [OFFSET] = w->numbers[1],
	    [RULE] = w->rule,
	    [CODE] = kveil_status_code(error->status),
	    [BYTE] = w->numbers[2],
	};
	w->count = error->byte == KVEIL_NO_BYTE ? BYTE : BYTE + 1;
	for (size_t i = 0; i < w->count; i++)
		w->headers[i] = (struct kveil_header){kveil_span_str(names[i]), kveil_span_str(values[i])};
}

static void append_associated(struct kveil_buf *b, const struct kveil_span values[KVEIL_DEAD_LETTER_HEADERS])
{
	kveil_buf_append_str(b, "kveil.dead-letter");
	for (size_t i = 0; i < KVEIL_DEAD_LETTER_HEADERS; i++) {
		kveil_buf_printf(b, "%zu:", values[i].len);
		kveil_buf_append_span(b, values[i]);
		kveil_buf_append_byte(b, ',');
	}
}

static void put32(struct kveil_buf *b, uint32_t n)
{
	uint8_t bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};

	kveil_buf_append(b, bytes, sizeof bytes);
}

static void put_span(struct kveil_buf *b, struct kveil_span s)
{
	put32(b, s.data ? (uint32_t)s.len : (uint32_t)NULL_LENGTH);
	kveil_buf_append_span(b, s);
}

static void append_envelope(struct kveil_buf *b, const struct kveil_record *r, int64_t timestamp_ms,
			    enum kveil_dead_letter_part part)
{
	bool whole = part != KVEIL_LETTER_NO_RECORD;

	kveil_buf_append_byte(b, VERSION);
	kveil_buf_append_byte(b, part == KVEIL_LETTER_WHOLE ? 0 : part == KVEIL_LETTER_NO_VALUE ? 1 : 3);
	put32(b, (uint32_t)((uint64_t)timestamp_ms >> 32));
	put32(b, (uint32_t)timestamp_ms);
	put_span(b, whole ? r->key : KVEIL_SPAN_NULL);
	put_span(b, part == KVEIL_LETTER_WHOLE ? r->value : KVEIL_SPAN_NULL);
	put32(b, whole ? (uint32_t)r->header_count : 0);
	for (size_t i = 0; whole && i < r->header_count; i++) {
		put_span(b, r->headers[i].name);
		put_span(b, r->headers[i].value);
	}
}

size_t kveil_dead_letter_bytes(const struct kveil_record *r, enum kveil_dead_letter_part part)
{
	size_t n = 1 + 1 + 8 + 4 + 4 + 4; /* the numbers, see append_envelope */

	if (part == KVEIL_LETTER_WHOLE)
		n += r->value.len;
	if (part == KVEIL_LETTER_NO_RECORD)
		return n;
	for (size_t i = 0; i < r->header_count; i++)
		n += r->headers[i].name.len + r->headers[i].value.len + 8;
	return n + r->key.len;
}

enum kveil_status kveil_dead_letter_seal(struct kveil_key *key, const struct kveil_dead_letter_where *where,
					 const struct kveil_record *record, int64_t timestamp_ms,
					 enum kveil_dead_letter_part part, struct kveil_buf *out,
					 struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf clear = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_BUF struct kveil_buf associated = KVEIL_BUF_INIT;
	struct kveil_span values[KVEIL_DEAD_LETTER_HEADERS] = {{0}};
	size_t len;

	for (size_t i = 0; i < where->count; i++)
		values[i] = where->headers[i].value;
	append_associated(&associated, values);
	append_envelope(&clear, record, timestamp_ms, part);
	kveil_buf_reset(out);
	uint8_t *to = kveil_buf_reserve(out, kveil_key_sealed_max(key, clear.len));
	if (!to || !kveil_buf_ok(&clear) || !kveil_buf_ok(&associated))
		return kveil_no_memory(err, "a dead letter");
	enum kveil_status status =
	    kveil_key_seal(key, kveil_buf_span(&associated), kveil_buf_span(&clear), to, &len, err);
	if (!status)
		out->len = len;
	return status;
}

/* A cursor that never passes its end. */
struct reader {
	struct kveil_span left;
	bool failed;
};

static struct kveil_span take(struct reader *r, size_t n)
{
	if (r->failed || n > r->left.len) {
		r->failed = true;
		return KVEIL_SPAN_NULL;
	}
	struct kveil_span s = {r->left.data, n};
	r->left.data += n;
	r->left.len -= n;
	return s;
}

static uint32_t get32(struct reader *r)
{
	struct kveil_span s = take(r, 4);

	return s.data ? kveil_be32(s.data) : 0;
}

static struct kveil_span get_span(struct reader *r)
{
	uint32_t n = get32(r);

	return n == (uint32_t)NULL_LENGTH ? KVEIL_SPAN_NULL : take(r, n);
}

static bool get_headers(struct reader *r, struct kveil_dead_letter *ret)
{
	enum { LEAST_HEADER_BYTES = 8 };
	size_t count = get32(r);

	if (r->failed || count > r->left.len / LEAST_HEADER_BYTES)
		return false;
	if (count > ret->header_cap) {
		struct kveil_header *grown = realloc(ret->headers, count * sizeof *grown);
		if (!grown)
			return false;
		ret->headers = grown;
		ret->header_cap = count;
	}
	for (size_t i = 0; i < count; i++) {
		ret->headers[i].name = get_span(r);
		ret->headers[i].value = get_span(r);
		if (!ret->headers[i].name.data)
			return false;
	}
	ret->record.headers = ret->headers;
	ret->record.header_count = count;
	return true;
}

enum kveil_status kveil_dead_letter_parse(struct kveil_span clear, struct kveil_dead_letter *ret,
					  struct kveil_error *err)
{
	struct reader r = {clear, false};
	struct kveil_span head = take(&r, 2);

	ret->record = (struct kveil_record){0};
	if (!head.data || head.data[0] != VERSION || (head.data[1] != 0 && head.data[1] != 1 && head.data[1] != 3))
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "a dead letter of a version that is not known here");
	ret->part = head.data[1] == 0   ? KVEIL_LETTER_WHOLE
		    : head.data[1] == 1 ? KVEIL_LETTER_NO_VALUE
					: KVEIL_LETTER_NO_RECORD;
	uint64_t high = get32(&r), low = get32(&r);
	ret->timestamp_ms = (int64_t)(high << 32 | low);
	ret->record.key = get_span(&r);
	ret->record.value = get_span(&r);
	if (!get_headers(&r, ret) || r.failed || r.left.len)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "the dead letter's envelope is not whole");
	return KVEIL_OK;
}

/* A whole decimal number within limits. */
static bool number(struct kveil_span s, int64_t most, int64_t *ret)
{
	char text[24], *end;

	if (s.len == 0 || s.len >= sizeof text || s.data[0] < '0' || s.data[0] > '9')
		return false;
	memcpy(text, s.data, s.len);
	text[s.len] = 0;
	errno = 0;
	*ret = strtoll(text, &end, 10);
	return *end == 0 && errno == 0 && *ret <= most;
}

static bool copy_text(struct kveil_span s, char *dst, size_t size)
{
	if (!s.data || s.len == 0 || s.len >= size || memchr(s.data, 0, s.len))
		return false;
	memcpy(dst, s.data, s.len);
	dst[s.len] = 0;
	return true;
}

enum kveil_status kveil_dead_letter_open(struct kveil_key *key, const struct kveil_header *headers, size_t count,
					 struct kveil_span sealed, struct kveil_dead_letter *ret,
					 struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf associated = KVEIL_BUF_INIT;
	struct kveil_span values[KVEIL_DEAD_LETTER_HEADERS] = {{0}};
	int64_t partition;
	size_t len;

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < KVEIL_DEAD_LETTER_HEADERS; k++)
			if (kveil_span_eq(headers[i].name, kveil_span_str(names[k])))
				values[k] = headers[i].value;
	if (!copy_text(values[TOPIC], ret->topic, sizeof ret->topic) ||
	    !copy_text(values[CODE], ret->code, sizeof ret->code) ||
	    !number(values[PARTITION], INT32_MAX, &partition) || !number(values[OFFSET], INT64_MAX, &ret->offset))
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "not a dead letter: kveil.error.* headers are missing");
	ret->partition = (int32_t)partition;
	append_associated(&associated, values);
	if (ret->clear.data)
		kveil_secret_wipe(ret->clear.data, ret->clear.len);
	kveil_buf_reset(&ret->clear);
	uint8_t *to = kveil_buf_reserve(&ret->clear, sealed.len + 1);
	if (!to || !kveil_buf_ok(&associated))
		return kveil_no_memory(err, "a dead letter");
	enum kveil_status status = kveil_key_open(key, kveil_buf_span(&associated), sealed, to, &len, err);
	if (status == KVEIL_E_KEY_PENDING && kveil_key_look(key))
		status = kveil_key_open(key, kveil_buf_span(&associated), sealed, to, &len, err);
	if (status)
		return status;
	ret->clear.len = len;
	return kveil_dead_letter_parse(kveil_buf_span(&ret->clear), ret, err);
}

void kveil_dead_letter_clear(struct kveil_dead_letter *d)
{
	kveil_buf_clear(&d->clear);
	free(d->headers);
	*d = (struct kveil_dead_letter){0};
}

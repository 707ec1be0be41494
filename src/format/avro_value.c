/* SPDX-License-Identifier: Apache-2.0 */
/* Scalars in Avro: their content as text, and longs and bytes written. */
#include "format/avro_walk.h"

#include <stdio.h>
#include <stdlib.h>

const uint8_t kveil_avro_value_kinds[] = {
    [KVEIL_AVRO_NULL] = KVEIL_KIND_NULL,     [KVEIL_AVRO_BOOLEAN] = KVEIL_KIND_BOOL,
    [KVEIL_AVRO_INT] = KVEIL_KIND_NUMBER,    [KVEIL_AVRO_LONG] = KVEIL_KIND_NUMBER,
    [KVEIL_AVRO_FLOAT] = KVEIL_KIND_NUMBER,  [KVEIL_AVRO_DOUBLE] = KVEIL_KIND_NUMBER,
    [KVEIL_AVRO_BYTES] = KVEIL_KIND_BYTES,   [KVEIL_AVRO_STRING] = KVEIL_KIND_STRING,
    [KVEIL_AVRO_FIXED] = KVEIL_KIND_BYTES,   [KVEIL_AVRO_ENUM] = KVEIL_KIND_STRING,
    [KVEIL_AVRO_ARRAY] = KVEIL_KIND_ARRAY,   [KVEIL_AVRO_MAP] = KVEIL_KIND_OBJECT,
    [KVEIL_AVRO_RECORD] = KVEIL_KIND_OBJECT, [KVEIL_AVRO_UNION] = KVEIL_KIND_NULL,
};

/* --- as text --- */

/* The shortest spelling that reads back as the same. */
static size_t spell_double(double v, bool is_float, char *dst)
{
	for (int digits = is_float ? 6 : 15; digits < 17; digits++) {
		int n = snprintf(dst, KVEIL_AVRO_NUMBER_BYTES, "%.*g", digits, v);
		if (is_float ? strtof(dst, NULL) == (float)v : strtod(dst, NULL) == v)
			return (size_t)n;
	}
	return (size_t)snprintf(dst, KVEIL_AVRO_NUMBER_BYTES, "%.17g", v);
}

static double load_double(const uint8_t *p)
{
	uint64_t bits = 0;
	double v;

	for (int i = 7; i >= 0; i--)
		bits = bits << 8 | p[i];
	memcpy(&v, &bits, sizeof v);
	return v;
}

static float load_float(const uint8_t *p)
{
	uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	float v;

	memcpy(&v, &bits, sizeof v);
	return v;
}

static int64_t load_long(struct kveil_span raw)
{
	uint64_t v = 0;

	for (size_t i = 0; i < raw.len && i < 10; i++)
		v |= (uint64_t)(raw.data[i] & 0x7f) << 7 * i;
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

struct kveil_span kveil_avro_number(enum kveil_avro_kind kind, struct kveil_span raw,
				    char room[KVEIL_AVRO_NUMBER_BYTES])
{
	if (kind == KVEIL_AVRO_FLOAT)
		return kveil_span_of(room, spell_double(load_float(raw.data), true, room));
	if (kind == KVEIL_AVRO_DOUBLE)
		return kveil_span_of(room, spell_double(load_double(raw.data), false, room));
	return kveil_span_of(room, (size_t)snprintf(room, KVEIL_AVRO_NUMBER_BYTES, "%lld", (long long)load_long(raw)));
}

struct kveil_span kveil_avro_content(const struct kveil_avro_program *p, const struct kveil_avro_node *n,
				     struct kveil_span raw, char room[KVEIL_AVRO_NUMBER_BYTES])
{
	switch (n->kind) {
	case KVEIL_AVRO_NULL:
		return KVEIL_SPAN("null");
	case KVEIL_AVRO_BOOLEAN:
		return raw.data[0] ? KVEIL_SPAN("true") : KVEIL_SPAN("false");
	case KVEIL_AVRO_STRING:
	case KVEIL_AVRO_BYTES:
		return kveil_avro_text(raw);
	case KVEIL_AVRO_ENUM:
		return p->schema->types[n->type].members[load_long(raw)].name;
	case KVEIL_AVRO_INT:
	case KVEIL_AVRO_LONG:
	case KVEIL_AVRO_FLOAT:
	case KVEIL_AVRO_DOUBLE:
		return kveil_avro_number(n->kind, raw, room);
	default:
		return raw;
	}
}

/* --- writing --- */

void kveil_avro_write_long(struct kveil_buf *out, int64_t value)
{
	uint8_t room[10];

	kveil_buf_append(out, room, kveil_avro_spell_long(value, room));
}

void kveil_avro_write_bytes(struct kveil_buf *out, struct kveil_span content)
{
	uint8_t *room = content.len < SIZE_MAX / 2 ? kveil_buf_reserve(out, content.len + 10) : NULL;

	if (!room) {
		out->failed = true;
		return;
	}
	size_t n = kveil_avro_spell_long((int64_t)content.len, room);
	if (content.len)
		memcpy(room + n, content.data, content.len);
	out->len += n + content.len;
}

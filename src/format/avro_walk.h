/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/avro_walk.h: one pass over a value's bytes (Avro's binary encoding, specification 1.11) along the program of
 * its schema: everything is checked, and what the rules may have to change is written down in the order of the bytes.
 *
 *   ┌ index of the union, if it stands in one
 *   │      ┌ value              ┌ end
 *   01     08 l i s a           …
 *
 * Memory and time are bounded by the value's length: a block that says to hold more than can follow is refused at once,
 * and elements that take no byte at all have a budget.
 */
#ifndef KVEIL_FORMAT_AVRO_WALK_H
#define KVEIL_FORMAT_AVRO_WALK_H

#include "format/avro_program.h"

enum kveil_avro_event_kind {
	KVEIL_AVRO_AT_PLACE,     /* rules name the value */
	KVEIL_AVRO_AT_INDEX,     /* no rule does, but its branch has another number in the derived union */
	KVEIL_AVRO_AT_GONE,      /* the field is not in the derived schema */
	KVEIL_AVRO_AT_BLOCK,     /* header of a block that says its size: start, value behind the count, end */
	KVEIL_AVRO_AT_BLOCK_END, /* start: the end of the last such block that is open */
};

struct kveil_avro_event {
	enum kveil_avro_event_kind kind;
	uint32_t start, value, end; /* bytes of the value; start == value where the writer has no union */
	/* PLACE, GONE: the first event that is not of what stands in the value, which may be of no bytes */
	uint32_t behind;
	const struct kveil_avro_node *node; /* PLACE */
	const struct kveil_avro_out *out;   /* PLACE, INDEX: where the results go */
	bool has_index;                     /* in the derived schema it stands in a union */
	uint32_t doc_node;                  /* on the tape, when want_doc */
};

struct kveil_avro_walk {
	/* in */
	const struct kveil_avro_program *program;
	size_t max_bytes;                  /* larger is TOO_LARGE */
	uint32_t max_depth;                /* records, arrays and maps within each other */
	bool want_doc;                     /* the tape too, over the value spelled as JSON */
	struct kveil_allowance *allowance; /* for what grows below; NULL = none */
	/* out; owned, grown and reused */
	struct kveil_avro_event *events;
	size_t count, cap;
	struct kveil_doc doc;
	size_t doc_cap;
	struct kveil_buf text; /* of the tape */
};
void kveil_avro_walk_clear(struct kveil_avro_walk *w);

/* INVALID_AVRO, INVALID_UTF8, TOO_DEEP, TOO_LARGE: err->byte is the position in value. */
enum kveil_status kveil_avro_walk(struct kveil_avro_walk *w, struct kveil_span value,
				  struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- avro_value.c --- */

/* The content of a value at a place, raw being its bytes: a string's text, bytes and fixed as they are, an enum's
 * symbol, a number's spelling (the shortest that reads back as the same) in room. Containers: raw. */
enum { KVEIL_AVRO_NUMBER_BYTES = 40 };
struct kveil_span kveil_avro_content(const struct kveil_avro_program *p, const struct kveil_avro_node *n,
				     struct kveil_span raw, char room[KVEIL_AVRO_NUMBER_BYTES]);
/* Of an int, long, float or double. */
struct kveil_span kveil_avro_number(enum kveil_avro_kind kind, struct kveil_span raw,
				    char room[KVEIL_AVRO_NUMBER_BYTES]);

/* …of a string or bytes: what its length counts. */
static inline struct kveil_span kveil_avro_text(struct kveil_span raw)
{
	size_t n = 1;

	while (raw.data[n - 1] >= 0x80)
		n++;
	return kveil_span_of(raw.data + n, raw.len - n);
}

/* An int or a long as its bytes have it. */
static inline uint64_t kveil_avro_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ -(uint64_t)(value < 0);
}

static inline size_t kveil_avro_long_bytes(int64_t value)
{
	uint64_t v = kveil_avro_zigzag(value);
	size_t n = 1;

	for (; v >= 0x80; v >>= 7)
		n++;
	return n;
}

/* An int or a long; how many bytes. */
static inline size_t kveil_avro_spell_long(int64_t value, uint8_t room[10])
{
	uint64_t v = kveil_avro_zigzag(value);
	size_t n = 0;

	for (; v >= 0x80; v >>= 7)
		room[n++] = (uint8_t)(v | 0x80);
	room[n++] = (uint8_t)v;
	return n;
}

/* Appends an int or a long, and a string or bytes. */
void kveil_avro_write_long(struct kveil_buf *out, int64_t value);
void kveil_avro_write_bytes(struct kveil_buf *out, struct kveil_span content);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/dead_letter.h: a record that could not be protected, sealed whole. No Kafka here: bytes in, bytes out.
 *
 * The message: key null; value = the data key's ciphertext (Tink's layout) over
 *
 *   0x01 | flags (1) | timestamp, ms (8) | key | value | header count (4) | (name | value)…
 *
 * where key, value and each header's name and value are a length (4) and that many bytes; the length 0xffffffff
 * stands for null. All numbers are big-endian. flags: 1 the value was left out, 2 the key and the headers too.
 * Associated data: "kveil.dead-letter" and then, in this order, topic, partition, offset, rule, code and byte as they
 * stand in the kveil.error.* headers, each as LENGTH:TEXT, with LENGTH in decimal ("0:," for what is absent).
 */
#ifndef KVEIL_WORKER_DEAD_LETTER_H
#define KVEIL_WORKER_DEAD_LETTER_H

#include "base/buf.h"
#include "kveil/base.h"
#include "kveil/engine.h"
#include "kveil/keys.h"

enum { KVEIL_DEAD_LETTER_HEADERS = 6 };

/* Where it came from and why, as the headers say it. */
struct kveil_dead_letter_where {
	struct kveil_header headers[KVEIL_DEAD_LETTER_HEADERS]; /* names are static, values point into text or rule */
	size_t count;                                           /* without .byte: one less */
	char numbers[3][24], rule[96];
};

void kveil_dead_letter_describe(struct kveil_dead_letter_where *w, const char *topic, int32_t partition, int64_t offset,
				const struct kveil_error *error);

/* What is left out when the whole does not fit the dead-letter topic's limit. */
enum kveil_dead_letter_part { KVEIL_LETTER_WHOLE, KVEIL_LETTER_NO_VALUE, KVEIL_LETTER_NO_RECORD };

/* At least so many bytes has the sealed letter of this. */
size_t kveil_dead_letter_bytes(const struct kveil_record *record, enum kveil_dead_letter_part part);
/* Replaces out with the message's value. Class RETRY errors: the record waits, nothing is sent. */
enum kveil_status kveil_dead_letter_seal(struct kveil_key *key, const struct kveil_dead_letter_where *where,
					 const struct kveil_record *record, int64_t timestamp_ms,
					 enum kveil_dead_letter_part part, struct kveil_buf *out,
					 struct kveil_error *err) KVEIL_MUST_CHECK;

/* An opened dead letter; spans point into `clear`, which is wiped by kveil_dead_letter_clear. Reusable. */
struct kveil_dead_letter {
	char topic[256]; /* of the input record */
	int32_t partition;
	int64_t offset, timestamp_ms;
	char code[48]; /* why it was set aside */
	enum kveil_dead_letter_part part;
	struct kveil_record record;
	struct kveil_header *headers;
	size_t header_cap;
	struct kveil_buf clear;
};
void kveil_dead_letter_clear(struct kveil_dead_letter *d);

/* headers and sealed: of the dead-letter message. BAD_CIPHERTEXT when it is not a dead letter; else as
 * kveil_key_open. */
enum kveil_status kveil_dead_letter_open(struct kveil_key *key, const struct kveil_header *headers, size_t count,
					 struct kveil_span sealed, struct kveil_dead_letter *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;

/* The envelope without its seal; for kveil_dead_letter_open and the fuzzer. ret->clear is not touched. */
enum kveil_status kveil_dead_letter_parse(struct kveil_span clear, struct kveil_dead_letter *ret,
					  struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

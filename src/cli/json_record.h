/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/json_record.h: a whole record as a line of JSON, in the shape of `kcat -J`:
 *
 *   {"topic":"t","partition":0,"ts":5,"headers":["name","value","name",null],"key":"…","payload":"…"}
 *
 * key, payload, headers and topic are read and written; all else stays as it is. One thread; what was read is clear
 * text, and wiped with the next line.
 */
#ifndef KVEIL_CLI_JSON_RECORD_H
#define KVEIL_CLI_JSON_RECORD_H

#include "base/arena.h"
#include "base/buf.h"
#include "format/format.h"
#include "kveil/engine.h"

struct kveil_json_record {
	struct kveil_scan scan;
	struct kveil_arena arena;
	uint32_t key, payload, headers, topic; /* nodes of their values; 0 = not there */
};

void kveil_json_record_init(struct kveil_json_record *j, size_t max_bytes);
void kveil_json_record_clear(struct kveil_json_record *j);
/* *ret is good until the next line, as long as line is. INVALID_JSON where the line is not of the shape. */
enum kveil_status kveil_json_record_read(struct kveil_json_record *j, struct kveil_span line, struct kveil_record *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* The topic in the line read last; NULL: it has none. */
const char *kveil_json_record_topic(struct kveil_json_record *j);
/* The line read last with another record in it, and another topic (NULL: its own). */
void kveil_json_record_write(const struct kveil_json_record *j, const struct kveil_record *r, const char *topic,
			     struct kveil_buf *out);

#endif

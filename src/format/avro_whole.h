/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/avro_whole.h: records, arrays and maps that are sealed whole, and values of branches that JSON would not tell
 * apart. What is sealed is Avro's single-object encoding (specification 1.11):
 *
 *   c3 01 ffffffffffffffff payload
 *
 * f: CRC-64-AVRO of the canonical form of the value's own type, the low byte first; payload: the value's bytes as the
 * writer had them, block sizes and all. So it comes back byte for byte, and nobody takes it for a value of another
 * type.
 */
#ifndef KVEIL_FORMAT_AVRO_WHOLE_H
#define KVEIL_FORMAT_AVRO_WHOLE_H

#include "format/avro_schema.h"

enum { KVEIL_AVRO_WHOLE_HEAD = 10 };

/* What all such types of one schema cost together: their canonical forms, 1 KiB each beside that; types without parts
 * and names nothing. Starts at 0. */
struct kveil_avro_whole_budget {
	size_t bytes;
};

/* Of the type as a schema of its own. AVRO_SCHEMA: it is nested too deep, or the budget is used up. */
enum kveil_status kveil_avro_whole_fingerprint(const struct kveil_avro_schema *s, uint32_t type,
					       struct kveil_avro_whole_budget *budget, uint64_t *ret,
					       struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_whole_write_head(uint64_t fingerprint, uint8_t head[KVEIL_AVRO_WHOLE_HEAD]);
bool kveil_avro_whole_is(struct kveil_span text);

/* --- avro_opener.c --- */

/* A type that values are opened in. Immutable once made: any thread. */
struct kveil_avro_opener;
/* As above. */
enum kveil_status kveil_avro_opener_new(const struct kveil_avro_schema *s, uint32_t type,
					struct kveil_avro_whole_budget *budget, struct kveil_avro_opener **ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_opener_free(struct kveil_avro_opener *o);
/* About how many bytes it takes. */
size_t kveil_avro_opener_memory(const struct kveil_avro_opener *o);
/* *ret: the payload, borrowed. It was checked from its first byte to its last; err->byte is the position in there. */
enum kveil_status kveil_avro_opener_open(const struct kveil_avro_opener *o, size_t max_bytes, uint32_t max_depth,
					 struct kveil_span sealed, struct kveil_span *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

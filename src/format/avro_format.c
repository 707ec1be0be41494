/* SPDX-License-Identifier: Apache-2.0 */
/* Avro's row among the formats, and what avro-c has to say on a schema. */
#include "format/avro_schema.h"
#include "format/format.h"
#include "format/part.h"

#include <avro.h>

/* The bytes say nothing without their schema. */
static enum kveil_status avro_scan(struct kveil_scan *s, struct kveil_span text, struct kveil_error *err)
{
	(void)s, (void)text;
	return kveil_fail(err, KVEIL_E_INTERNAL, "a value in Avro was scanned without its schema");
}

static void avro_write_text(struct kveil_buf *out, struct kveil_span content, bool needs_escape)
{
	(void)needs_escape;
	kveil_buf_append_span(out, content);
}

const struct kveil_format kveil_format_avro = {
    .name = "avro",
    .parts = 1u << KVEIL_PART_VALUE | 1u << KVEIL_PART_KEY,
    .is_typed = true,
    .has_paths = true,
    .help = "Avro's binary encoding; a schema gives the types, and what comes out has a derived one",
    .scan = avro_scan,
    .write_text = avro_write_text,
};

/* The text was bounded before: the parser recurses as deep as a schema is nested. */
bool kveil_avro_library_takes(struct kveil_span text)
{
	avro_schema_t schema;

	if (avro_schema_from_json_length((const char *)text.data, text.len, &schema) != 0)
		return false;
	avro_schema_decref(schema);
	return true;
}

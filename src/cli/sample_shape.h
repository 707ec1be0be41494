/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/sample_shape.h: which of a sample's values are rows: a change event carries them, and an Avro schema stands for
 * one. Off the hot path; rules are held by format/envelope.h, not by this.
 *
 *   {"op": "u", "before": {…}, "after": {…}}   debezium, two rows
 *   {"type": "record", "fields": […]}          a schema: one row of its shape
 */
#ifndef KVEIL_CLI_SAMPLE_SHAPE_H
#define KVEIL_CLI_SAMPLE_SHAPE_H

#include <jansson.h>
#include <stdbool.h>

/* The envelope that a value looks like, as rules name it; NULL: it is a row itself. */
const char *kveil_shape_envelope(const json_t *value);
/* The rows of such an event in an array that holds references: the caller's. NULL: no memory. */
json_t *kveil_shape_rows(const char *envelope, json_t *value);
/* An event with this row, of which a reference is taken over; the row itself where envelope is NULL. */
json_t *kveil_shape_event(const char *envelope, json_t *row);

/* Of a record as `kcat -J` prints it: its key and value, as they are; NULL: a tombstone, or none. */
bool kveil_shape_is_record(const json_t *value);
const char *kveil_shape_key(const json_t *record), *kveil_shape_value(const json_t *record);

bool kveil_shape_is_schema(const json_t *value);
/* A row of a schema's shape, with 1, "text" and false for its values; the caller's. NULL: it is not a record, or too
 * deep.
 */
json_t *kveil_shape_of_schema(const json_t *schema);

#endif

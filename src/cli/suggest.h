/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/suggest.h: from sample records to a first rule file: fields that by their name or their values look like
 * somebody's, each with a rule to begin with, and an example that holds invented values, none of the sample's. One
 * thread; no more than a suggestion.
 *
 *   {"phone": "139…", "total": 3}   →   - {path: "$.phone", mask: {keep_first: 3, keep_last: 4}}
 *                                       in: {"phone": "13800138000", "total": 1}
 */
#ifndef KVEIL_CLI_SUGGEST_H
#define KVEIL_CLI_SUGGEST_H

#include "base/buf.h"
#include "kveil/base.h"

struct kveil_suggestion;

struct kveil_suggestion *kveil_suggestion_new(void); /* NULL: no memory */
void kveil_suggestion_free(struct kveil_suggestion *s);
/* A record of the sample: a row, a change event that carries rows, an Avro schema, or a whole record as `kcat -J` has
 * it. false: it is not a JSON object. */
bool kveil_suggestion_take(struct kveil_suggestion *s, struct kveil_span record);
/* A record's key, which may come before its value: what stands in keys has to be the same each time. */
void kveil_suggestion_take_key(struct kveil_suggestion *s, struct kveil_span key);
/* Is there a column that needs a deterministic key, named ids? */
bool kveil_suggestion_has_tokens(const struct kveil_suggestion *s);
/* The envelope of the sample's change events, as rules name it; NULL: they are rows. */
const char *kveil_suggestion_envelope(const struct kveil_suggestion *s);
/* Is it of whole records, as `kcat -J` prints them? */
bool kveil_suggestion_is_whole(const struct kveil_suggestion *s);
bool kveil_suggestion_is_avro(const struct kveil_suggestion *s);
size_t kveil_suggestion_rules(const struct kveil_suggestion *s);
/* The lines of `fields:`; with nothing found, one to be changed. */
void kveil_suggestion_write_fields(const struct kveil_suggestion *s, struct kveil_buf *out);
/* A file of examples: one record of the sample's shape. */
void kveil_suggestion_write_examples(const struct kveil_suggestion *s, struct kveil_buf *out);

#endif

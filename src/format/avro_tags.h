/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/avro_tags.h: rules that name fields by what a schema tags them with. Such a rule has a path of names that no
 * field has, one a tag, so that the automaton says which rules a tag stands for:
 *
 *   tags: [PII]   ─►   $['\u0001tag:PII']
 *
 * Tags stand at a field, or in the schema's metadata in a registry: "com.acme.User.phone": ["PII"], where * stands for
 * any text without a dot, ** for any text, ? for one character.
 */
#ifndef KVEIL_FORMAT_AVRO_TAGS_H
#define KVEIL_FORMAT_AVRO_TAGS_H

#include "format/automaton.h"
#include "format/avro_schema.h"

#define KVEIL_AVRO_TAG_NAME "\001tag:"

enum {
	KVEIL_AVRO_FIELD_TAGS = 64,    /* of one field */
	KVEIL_AVRO_FIELD_NAMES = 1024, /* of it, by aliases of it and of its record */
	KVEIL_AVRO_FIELD_BYTES = 1024, /* of its whole name */
};

struct kveil_avro_tag {
	const char *path, *tag;
};
struct kveil_avro_tags {
	const char *property;              /* of fields: a tag, or a list of them */
	const struct kveil_avro_tag *more; /* by other ways: the schema's own first */
	size_t count, own;
	size_t glob_bytes; /* of paths with wildcards: what it takes to ask for a field's tags */
};

/* A field's tags, each once, borrowed; at most KVEIL_AVRO_FIELD_TAGS, of more it has the first. Tags of a name that the
 * field had before, by an alias, are its tags. The count. */
size_t kveil_avro_tags_of(const struct kveil_avro_tags *t, const struct kveil_avro_type *record,
			  const struct kveil_avro_member *field, const char *ret[KVEIL_AVRO_FIELD_TAGS]);
/* About how many bytes that compares; UINT64_MAX: it has more names, or longer ones, than can be compared. */
uint64_t kveil_avro_tags_cost(const struct kveil_avro_tags *t, const struct kveil_avro_type *record,
			      const struct kveil_avro_member *field);
/* A type's names: 0 is that of now, then its aliases as they are written. */
size_t kveil_avro_type_names(const struct kveil_avro_type *type);
struct kveil_span kveil_avro_type_name(const struct kveil_avro_type *type, size_t i);
/* How many whole names it has, with those by aliases of it and of its record. */
size_t kveil_avro_field_names(const struct kveil_avro_type *record, const struct kveil_avro_member *field);
/* One of them, "com.acme.User.phone"; 0 is its name now. false: it is longer. */
bool kveil_avro_field_name(const struct kveil_avro_type *record, const struct kveil_avro_member *field, size_t i,
			   char ret[KVEIL_AVRO_FIELD_BYTES]);
/* Adds the rules that a tag stands for to a list of at most cap, ascending and each once. Its new count; more than cap:
 * they do not fit. */
size_t kveil_avro_tag_rules(const struct kveil_automaton *a, const char *tag, uint32_t *ids, size_t count, size_t cap);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* engine/typed.h: between avro_bind.c, avro_names.c and avro_record.c. */
#ifndef KVEIL_ENGINE_TYPED_H
#define KVEIL_ENGINE_TYPED_H

#include "engine/internal.h"
#include "format/avro_program.h"
#include "format/avro_whole.h"
#include "kveil/schemas.h"

enum { KVEIL_MOST_LOST = 64 /* told of one schema */ };

struct kveil_tagged {
	const char *name, *tag;
	bool is_there;
};

struct kveil_engine_schema {
	struct kveil_avro_schema *writer;
	struct kveil_avro_origin *origin; /* where rules open something */
	struct kveil_avro_program *program;
	struct kveil_avro_opener **openers; /* see kveil_engine_opener; NULL: nothing was sealed whole */
	bool needs_doc;                     /* rules read the tape of what is written with it */
	enum kveil_part part;
	struct kveil_avro_tags tags; /* its own, and those that its fields had in others; without rules on tags empty */
	struct kveil_tagged *tagged; /* fields that such values had before, and their tags */
	size_t tagged_count;
	const char *lost[KVEIL_MOST_LOST];
	size_t lost_count;
	struct kveil_arena arena; /* of tags, tagged and lost */
};

/* --- avro_bind.c --- */

/* For values of a type of the original schema that were sealed whole; NULL: none was. */
const struct kveil_avro_opener *kveil_engine_opener(const struct kveil_engine_schema *s,
						    const struct kveil_avro_type *was);

/* --- avro_names.c --- */

/* Does a rule for records of this name mean the type? Of one that was renamed the old name counts: rules were written
 * for it. */
bool kveil_engine_is_called(const char *record, const struct kveil_avro_type *type);

/* Is the rule about such values: by their kind, and by the record that they are in? */
static inline bool kveil_engine_is_about(const struct kveil_bound_rule *r, const struct kveil_avro_schema *schema,
					 const struct kveil_avro_node *node)
{
	return kveil_engine_takes(r, kveil_avro_value_kind(node->kind)) &&
	       (!r->rule->record || kveil_engine_is_called(r->rule->record, &schema->types[node->root]));
}

/* Into s->tags. */
enum kveil_status kveil_engine_collect_tags(const struct kveil_engine *e, const struct kveil_schema_source *source,
					    struct kveil_engine_schema *s, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Remembers what the schema has, and finds what it lacks. */
enum kveil_status kveil_engine_note_names(const struct kveil_engine *e, const struct kveil_schema_source *source,
					  struct kveil_engine_schema *s, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/avro_program.h: a writer schema and all paths of a plan part as one graph, built once a schema:
 *
 *   node = (type, state of the automaton, is it in a place, branch of a union at the root), from (root, start, no) on;
 *   a field, an item, a branch leads to the next
 *
 * so that the walk over a value's bytes looks up no name and no type: it follows nodes. What no path can reach is there
 * too, in the dead state, to be checked and passed over.
 *
 * The same graph gives the derived schema: each node knows which types its value may have when the rules are done, and
 * a named type of which some places change and others do not becomes two. Immutable once built: any thread.
 */
#ifndef KVEIL_FORMAT_AVRO_PROGRAM_H
#define KVEIL_FORMAT_AVRO_PROGRAM_H

#include "base/buf.h"
#include "format/automaton.h"
#include "format/avro_origin.h"
#include "format/avro_schema.h"
#include "format/avro_tags.h"
#include "path/doc.h"

enum { KVEIL_AVRO_NODES = 1 << 16, KVEIL_AVRO_BRANCHES = 256 };

/* What rules may make of a value. */
enum {
	KVEIL_AVRO_TO_STRING = 1 << 0,
	KVEIL_AVRO_TO_BYTES = 1 << 1,
	KVEIL_AVRO_TO_NULL = 1 << 2,
	KVEIL_AVRO_TO_SAME = 1 << 3, /* another value of its own type */
	KVEIL_AVRO_TO_NOTHING = 1 << 4,
	KVEIL_AVRO_TO_RESTORED = 1 << 5,  /* a value of the type that it once was: see restored, below */
	KVEIL_AVRO_STAYS_SEALED = 1 << 6, /* beside STRING, BYTES: what is in it has the type that it had */
};
struct kveil_avro_effect {
	unsigned results;
	bool keeps;     /* it may also stay as it is */
	bool names;     /* some rule is about such values at all */
	bool opens;     /* whatever the record, its value is restored; what the source did not send stays a text */
	bool takes_raw; /* an action takes the value as JSON, or whole: see avro_whole.h */
	uint32_t sole;  /* whatever the record, this rule and no other makes of it a string, or bytes; else
			  KVEIL_AVRO_NO_RULE */
};
enum { KVEIL_AVRO_NO_RULE = UINT32_MAX };
struct kveil_avro_node;
/* node: its kind and type are known. */
typedef struct kveil_avro_effect kveil_avro_effect_fn(void *user, const struct kveil_avro_node *node,
						      const uint32_t *ids, size_t count);
/* A rule that makes one of these of values there, by its id. NULL: none. */
typedef const char *kveil_avro_rule_fn(void *user, const struct kveil_avro_node *node, unsigned results);

/* Which branch of the derived union a value goes to; -1 = none. Without a union 0 says that it may. */
struct kveil_avro_out {
	int32_t keep, string, bytes, null, restored;
	const int32_t *each; /* where values were of several types: of each of these; restored is the first */
	bool is_whole;       /* what takes the value as JSON takes it whole instead */
};

/* How the walk gets over a field, or several that only take bytes. By the first byte, where that will do: of a number
 * of one byte, of a length of one. A record that is none of the rules' business itself gives its fields to the one
 * around it. */
struct kveil_avro_step {
	uint32_t bytes;  /* beside those that are counted; KVEIL_AVRO_LOOK: the first byte does not tell */
	uint8_t counted; /* bits of the first byte: twice as many bytes more */
	uint8_t odd;     /* bits of it with which it does not tell either */
	uint8_t kind;
	uint8_t depth; /* records that the field is in, below the one that has the step */
	uint32_t node;
};
enum { KVEIL_AVRO_LOOK = UINT32_MAX };
enum {
	KVEIL_AVRO_STEP_BYTES,
	KVEIL_AVRO_STEP_INT, /* as up to CONTENT none of the rules' business; bytes behind it count, too: see joins() */
	KVEIL_AVRO_STEP_LONG,
	KVEIL_AVRO_STEP_CONTENT,
	KVEIL_AVRO_STEP_TEXT, /* a string that rules name, in no union */
	KVEIL_AVRO_STEP_OTHER,
};

struct kveil_avro_edge {
	uint32_t node;
	uint32_t state;            /* ARRAY, MAP: of the elements that it is for; ascending */
	struct kveil_avro_out out; /* UNION: of the branch */
};

/* Rules that tags stand for, of the fields that have just these. */
struct kveil_avro_mark {
	const struct kveil_avro_mark *next;
	const uint32_t *ids;
	size_t count;
};

struct kveil_avro_node {
	enum kveil_avro_kind kind;
	uint32_t type, state;
	const struct kveil_avro_mark *mark; /* of its field, elements and branches too; NULL = none */
	const uint32_t *ids;                /* the rules about its values: by their path, and by the mark */
	size_t id_count;
	uint32_t root;    /* the type of the value that it is in: of a union at the root, the branch */
	bool is_place;    /* rules name the values */
	bool is_live;     /* a place, or an index of a union to be rewritten, stands here or below */
	bool is_changed;  /* the derived type here or below is another one */
	bool is_gone;     /* rules take the field away, whatever stands in it */
	bool is_covered;  /* it stands in a value that rules name: defaults here are parts of that value */
	bool makes_union; /* no union in the writer's schema, one in the derived */
	uint32_t edge_count;
	struct kveil_avro_edge *edges; /* RECORD: fields; UNION: branches; ARRAY, MAP: one a state */
	struct kveil_avro_step *steps; /* RECORD: over its fields, in their order */
	uint32_t step_count, deep;     /* deep: the most that a step's depth is */
	struct kveil_avro_out out;     /* where it stands by itself, not in a union */
	struct kveil_avro_effect effect;
	const struct kveil_avro_past *past; /* what sealed values were; NULL where nothing tells */
	uint32_t class;                     /* nodes with equal ones have one derived type */
};

struct kveil_avro_program {
	const struct kveil_avro_schema *schema;  /* borrowed */
	const struct kveil_automaton *automaton; /* borrowed */
	const struct kveil_avro_origin *origin;  /* borrowed; NULL: values have no past */
	const struct kveil_avro_tags *tags;      /* borrowed; NULL: no rule is about them */
	const struct kveil_avro_mark *marks;     /* all of them */
	struct kveil_avro_node *nodes;           /* nodes[0] is the root */
	uint32_t count;
	const uint64_t *fingerprints; /* by type, of those that an action may take whole; NULL: of none */
	struct kveil_span derived;    /* the derived schema's text; the writer's where nothing changes */
	struct kveil_span unreferred; /* the same, without the property that refers to the writer's */
	struct kveil_arena arena;
};

/* What a value of this type is to rules; a union's is its branch's. */
extern const uint8_t kveil_avro_value_kinds[];
static inline enum kveil_kind kveil_avro_value_kind(enum kveil_avro_kind kind)
{
	return (enum kveil_kind)kveil_avro_value_kinds[kind];
}

/* AVRO_SCHEMA: the rules cannot be held on this schema; the message says why. known NULL: nothing is. */
struct kveil_avro_known {
	const struct kveil_avro_origin *origin; /* NULL = none */
	const struct kveil_avro_tags *tags;     /* NULL: no rule is about them */
	const char *reference;                  /* of the writer's schema, for the derived one; NULL = none */
	kveil_avro_rule_fn *rule;               /* for messages; NULL: they name none */
};
enum kveil_status kveil_avro_program_new(const struct kveil_avro_schema *schema, const struct kveil_avro_known *known,
					 const struct kveil_automaton *automaton, kveil_avro_effect_fn *effect,
					 void *user, struct kveil_avro_program **ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_avro_program_free(struct kveil_avro_program *p);
/* About how many bytes it takes, without its schema. */
size_t kveil_avro_program_memory(const struct kveil_avro_program *p);

/* --- avro_classes.c --- */

/* Rounds in which what is known of a node comes to those that lead to it. */
enum { KVEIL_AVRO_MOST_PASSES = 256 };
/* Nodes of one class become one type. false: err says why. */
bool kveil_avro_find_classes(struct kveil_avro_program *p, struct kveil_error *err);

/* --- avro_steps.c --- */

/* To all records, when all else is known of their nodes. false: no memory. */
bool kveil_avro_add_steps(struct kveil_avro_program *p);

/* --- avro_way.c --- */

enum { KVEIL_AVRO_WAY_BYTES = 80 };
/* "$.orders[*].card": a shortest way to a node; "$…[*].card" where it is too long. */
void kveil_avro_spell_way(const struct kveil_avro_program *p, uint32_t node, char way[KVEIL_AVRO_WAY_BYTES]);
/* The node itself, or a nearest one below, of whose values rules make one of these. Itself where there is none. */
uint32_t kveil_avro_changed_below(const struct kveil_avro_program *p, uint32_t node, unsigned results);

/* --- avro_alias.c --- */

/* Is a field's value one that rules name under an alias of the field, and do not where they follow its name to `next`?
 * Then that alias, borrowed; NULL = no. state: of the record. *budget goes down by what was looked at; at 0 doubt ends
 * in yes. */
const char *kveil_avro_lost_alias(const struct kveil_avro_program *p, uint32_t state, const struct kveil_avro_member *m,
				  uint32_t next, unsigned *budget);

/* --- avro_entries.c --- */

/* Kafka Connect writes a map whose keys are not strings, or may be null, as an array of records of a key and a value.
 * Does a path that comes to the array in this state look for a name in there, which would then stand in a value? */
bool kveil_avro_hides_names(const struct kveil_avro_program *p, uint32_t array, uint32_t state);

/* --- avro_defaults.c --- */

/* The defaults of one derived schema. All zero but for p. */
struct kveil_avro_defaults {
	const struct kveil_avro_program *p;
	uint32_t count;           /* values written, */
	size_t bytes;             /* and what they take, about */
	bool is_too_long, failed; /* is_too_long: and has failed */
};
/* The caller's. Of first types, but where a record would stand within itself. */
json_t *kveil_avro_default_of(struct kveil_avro_defaults *d, uint32_t node);

/* --- avro_back.c --- */

/* Is what comes out written with the original schema, as it was? */
bool kveil_avro_is_all_back(const struct kveil_avro_program *p);

/* --- avro_alternatives.c --- */

/* A type that a value at a node may have when the rules are done. */
struct kveil_avro_alt {
	enum {
		KVEIL_AVRO_ORIGINAL,
		KVEIL_AVRO_STRING_OF,
		KVEIL_AVRO_BYTES_OF,
		KVEIL_AVRO_NULL_OF,
		KVEIL_AVRO_RESTORED_OF
	} how;
	uint32_t node;
	uint32_t which; /* RESTORED_OF: of the types of its past */
};
/* Of one place in the schema: a union's branches one after another, each type once. The count; 0 = it is gone. */
size_t kveil_avro_alternatives(const struct kveil_avro_program *p, uint32_t node,
			       struct kveil_avro_alt alts[KVEIL_AVRO_BRANCHES]);
/* The place of one with this type; -1: there is none. */
int32_t kveil_avro_find_alternative(const struct kveil_avro_program *p, const struct kveil_avro_alt *alts, size_t count,
				    struct kveil_avro_alt alt);
/* What a RESTORED_OF brings back; NULL: nothing tells. */
const struct kveil_avro_type *kveil_avro_restored(const struct kveil_avro_program *p, struct kveil_avro_alt alt);
/* The same, where nothing tells more a string or bytes. */
enum kveil_avro_kind kveil_avro_restored_kind(const struct kveil_avro_program *p, struct kveil_avro_alt alt);
/* The type of the original schema that an alternative is; NULL: none. There is an origin. */
const struct kveil_avro_type *kveil_avro_former(const struct kveil_avro_program *p, struct kveil_avro_alt alt);

/* --- between avro_program.c and avro_derive.c --- */

/* The node whose type stands for all elements of an array or a map. */
uint32_t kveil_avro_item_node(const struct kveil_avro_program *p, const struct kveil_avro_node *n);
/* …and the program without them. */
enum kveil_status kveil_avro_program_build(const struct kveil_avro_schema *schema, const struct kveil_avro_known *known,
					   const struct kveil_automaton *automaton, kveil_avro_effect_fn *effect,
					   void *user, struct kveil_avro_program **ret,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/envelope.h: the shapes of change events: where rows stand in them, and what else in them holds values of rows.
 * One file and one row in kveil_envelopes[] each.
 *
 *   {"before": row, "after": row, "source": {"query": SQL, …}, "op": "u", …}
 *
 * Nothing here looks at a record to tell its shape. A rule holds at every row that the envelope can have, always; a
 * shape that would hide a row from the rules is refused by name.
 */
#ifndef KVEIL_FORMAT_ENVELOPE_H
#define KVEIL_FORMAT_ENVELOPE_H

#include "format/part.h"
#include "kveil/base.h"

enum kveil_clause_kind {
	KVEIL_CLAUSE_SQL,     /* text of a statement, literals and all: the option `sql` decides */
	KVEIL_CLAUSE_MESSAGE, /* what a program put into the stream: the option `messages` decides */
	KVEIL_CLAUSE_REFUSE,  /* the record is an error */
};

/* A place beside the rows that does not pass as it is. */
struct kveil_clause {
	enum kveil_clause_kind kind;
	const char *
	    place; /* as a rule writes it, from the event: "$.source.query", "key:$.payload", "header:__op"; a name that
			    * begins with __ is by a transform, and has the prefix of the option `added_prefix` too */
	const char *when; /* a condition on the event; NULL = always */
	unsigned kinds;   /* KVEIL_KIND_BIT of the values that it is about; 0 = of any */
	const char *why;  /* REFUSE: what to tell the user */
	bool if_sure;     /* `when` in doubt leaves the place: it may well be a column */
	bool but_row;     /* not of a text that holds a row: rules look into that */
	bool is_list;     /* SQL: of values, and no text that could be encrypted: blanked */
	bool in_types;    /* only where the format has types, and nothing looks into texts */
};

/* Of a kind that comes without its schema inline, and would not find its rows in one. */
#define KVEIL_NO_SCHEMA          "a schema inline is not in this version for this kind: set schemas.enable=false"
#define KVEIL_DEBEZIUM_ELSEWHERE "an event of Debezium: say envelope: debezium"
/* Connect's JsonConverter writes a schema of null where there is none. */
#define KVEIL_BESIDE_SCHEMA "$.schema && ($.schema != null || count($.*) == 2)"
#define KVEIL_CLAUSES_WITHOUT_SCHEMA                                                                                   \
	{KVEIL_CLAUSE_REFUSE, "$.payload", KVEIL_BESIDE_SCHEMA, ~KVEIL_KIND_BIT(KVEIL_KIND_NULL), KVEIL_NO_SCHEMA},    \
	    {KVEIL_CLAUSE_REFUSE,                                                                                      \
	     "$.payload",                                                                                              \
	     "match(@.op, '[crudtm]') && @.source.connector",                                                          \
	     KVEIL_KIND_BIT(KVEIL_KIND_OBJECT),                                                                        \
	     KVEIL_DEBEZIUM_ELSEWHERE,                                                                                 \
	     .if_sure = true},                                                                                         \
	{                                                                                                              \
		KVEIL_CLAUSE_REFUSE, "key:$.payload", KVEIL_BESIDE_SCHEMA, ~KVEIL_KIND_BIT(KVEIL_KIND_NULL),           \
		    KVEIL_NO_SCHEMA                                                                                    \
	}

/* What MongoDB's own connector writes of a change stream hides the document in fullDocument, its key in documentKey. */
#define KVEIL_CLAUSE_OF_MONGODB                                                                                        \
	{                                                                                                              \
		KVEIL_CLAUSE_REFUSE, "$.operationType", "$.ns && ($.documentKey || $.fullDocument)",                   \
		    KVEIL_KIND_BIT(KVEIL_KIND_STRING),                                                                 \
		    "an event of MongoDB's own connector: set publish.full.document.only=true and say envelope: "      \
		    "connect, or use Debezium's",                                                                      \
		    .if_sure = true                                                                                    \
	}

enum kveil_clue_from {
	KVEIL_CLUE_EVENT, /* of the rows inside an event: its members */
	KVEIL_CLUE_ROW,   /* of a flat row: its own members */
	KVEIL_CLUE_KEY,   /* of a row in the record's key: its own members, where the key spells columns its own way */
};

/* A record about the stream: a heartbeat, the end of a transaction, a changed schema. */
struct kveil_control {
	const char *when;           /* a condition on the event */
	const char *const *members; /* all that it may have; NULL = any */
	bool is_event; /* of a table, such as its truncation, but without a row: no business of the option `control` */
	bool is_message; /* the same, unless the option `messages` finds a row in it */
};

/* What says which table a row is of. Not told is doubt. */
struct kveil_table_clue {
	enum kveil_clue_from from;
	const char *mark;              /* without this member the others may be columns; NULL = they are none */
	const char *table;             /* may hold the whole name, with dots */
	const char *schema, *database; /* NULL = the envelope has none */
};

/* A member of a flat row, or a header, that tells of what the row was made. */
struct kveil_origin {
	const char *name;
	const char *const
	    *whole; /* with these values the row has all columns, with another it may not; NULL: with none */
	const char *const *gone; /* with these it was deleted; NULL: it does not tell */
};

/* All lists end with NULL, an origin without a name, a clue without a table, or with a clause without a place. Roots:
 * names and [*] only, the innermost first. */
struct kveil_envelope {
	const char *name; /* what users write */
	const char *help;
	const char *const *rows;   /* in the value; of a rule's templates the first that is an object is the row */
	const char *const *events; /* in the value: what clauses begin at */
	const char *const *keys;   /* rows in a key of JSON */
	const char *const *texts;  /* of the rows those that may be texts of JSON; none: NULL */
	/* Texts of JSON that hold what changed of a row, with names such as a.0.b; none: NULL. Beside each stand
	 * members that hold no values. */
	const char *const *partials;
	const char *const *beside_partials;
	const char *text_column;   /* the column whose value, as a text of JSON, stands in a key … */
	const char *text_in_key;   /* … under this name; NULL: there is none */
	const char *const *images; /* of the rows those that may lack columns; none: NULL */
	/* the member beside them with the row as it is now: what an image lacks did not change; NULL */
	const char *whole;
	const struct kveil_origin *origins; /* of a flat row; none: NULL */
	/* What stands before a column's name where a flat row has another image's value of it beside its own; with __
	 * by a transform, and with a dot behind also between the names of what lay in each other. None: NULL */
	const char *const *copies;
	/* what stands before the names of columns in a key, which are lower-case; NULL = nothing */
	const char *key_prefix;
	const char *const *members; /* of the event, beside the rows: a column with such a name is not told from them */
	const char *const *at_times; /* of some events; none: NULL */
	/* a condition: what stands at an event's root is one, and members are not columns there */
	const char *is_event;
	const char *const *added;       /* members of a flat row that a connector adds, always scalars; none: NULL */
	const char *const *key_headers; /* headers that hold a whole key */
	const struct kveil_clause *clauses;
	const struct kveil_clause *elsewhere; /* under another kind refuses an event of this one; NULL */
	const struct kveil_table_clue *tables;
	bool has_schemas; /* Kafka Connect's converters write it: in JSON maybe with its schema inline, or in Avro */
	const struct kveil_control *controls; /* ends with one without a condition; none: NULL */
	bool blanks_with_text;                /* a producer without the text of a statement writes "", not null */
	bool names_columns; /* members beside the rows have the names of columns: `$..name` would take those too */
	const char *(*explain)(
	    struct kveil_span value); /* of bytes that are not JSON: which other encoding it is; NULL */
	const char *unavailable_uuid; /* the same in a column of UUIDs; NULL */
	/* A condition: members of its images may be filled up with null, "", 0 and false where they are not known; in
	 * doubt they are. NULL: never. Flat rows that were deleted may be. */
	const char *may_fill;
	/* a condition: the image before is filled up with empty texts where it is not known; NULL */
	const char *is_delete;
	const char *unavailable; /* what stands for a value that the source did not send; NULL = there is none */
};

extern const struct kveil_envelope *const kveil_envelopes[]; /* ends with NULL */
const struct kveil_envelope *kveil_envelope_by_name(struct kveil_span name);
/* Is the name in one of its lists? NULL is an empty one. */
bool kveil_envelope_lists(const char *const *names, struct kveil_span name);

#endif

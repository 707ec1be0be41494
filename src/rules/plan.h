/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules/plan.h: a rule file, compiled. Immutable after kveil_plan_load, shared by all threads, swapped whole on
 * reload.
 *
 *   rule file ─ yaml ─► rules (path, when, action + params, target) ─► views (ordered rules) ─► plan
 *
 * The engine binds a plan to a format (an automaton over all streamable paths of a record part) and to a
 * thread's keys.
 */
#ifndef KVEIL_RULES_PLAN_H
#define KVEIL_RULES_PLAN_H

#include "base/report.h"
#include "base/yaml.h"
#include "format/part.h"
#include "kveil/base.h"
#include "kveil/keys.h"
#include "path/path.h"
#include "transform/action.h"

enum kveil_unmatched { KVEIL_UNMATCHED_KEEP, KVEIL_UNMATCHED_REMOVE, KVEIL_UNMATCHED_DEAD_LETTER };
enum kveil_control_word { KVEIL_CONTROL_KEEP, KVEIL_CONTROL_DROP, KVEIL_CONTROL_DEAD_LETTER };
enum kveil_on_error { KVEIL_ON_ERROR_DEAD_LETTER, KVEIL_ON_ERROR_STOP, KVEIL_ON_ERROR_DROP };

/* Text with {$.path} holes: key names, associated data. */
struct kveil_template_piece {
	struct kveil_span text;  /* literal in front of the hole */
	struct kveil_path *path; /* the hole, in the record's value; NULL in the last piece */
};
struct kveil_template {
	struct kveil_template_piece *pieces;
	size_t count;
	bool is_constant; /* one piece, no hole */
	const char *text; /* as written */
};

/* `table:` of a rule. A glob (* any text, ? one character, letters of either case alike) takes the whole of a name or
 * of its end from a dot on: "users", "shop.users", "db.shop.users". */
struct kveil_tables {
	const char *const *globs; /* ends with NULL */
	const char *text;         /* the globs in one line: equal text, equal tables */
};
bool kveil_tables_take(const struct kveil_tables *t, struct kveil_span name);
/* Is it what a rule's `record` calls so? Without a dot either name stands for that name in any namespace. */
bool kveil_record_is_called(const char *record, struct kveil_span name);
/* Does a glob ask for more than the table's own name? */
bool kveil_tables_qualify(const struct kveil_tables *t);
/* Might a qualified glob take this table, in some schema? */
bool kveil_tables_might_take(const struct kveil_tables *t, struct kveil_span table);

/* What says which table a row is of, in format/envelope.h's terms. */
struct kveil_clue {
	int from;                          /* enum kveil_clue_from */
	const struct kveil_path *mark;     /* NULL = none */
	const struct kveil_path *names[3]; /* of database, schema, table; NULL = none */
};

/* What a `path:` or a line under `clear:` names. */
struct kveil_place {
	enum kveil_part part;
	char *header_name; /* PART_HEADER */
	char *text;        /* as written; several steps: with '|' between them */
	char **steps;      /* these, ends with NULL; of one step: NULL */
	uint32_t line, column;
	struct kveil_path *path; /* within the part, all steps; headers: "$" */
};

struct kveil_rule {
	uint32_t index; /* position in plan->rules: the number that counters use */
	char id[96];    /* "orders/$.customer.phone", made unique with "#2": label of metrics, error.rule */
	uint32_t line, column;
	enum kveil_part part;
	char *header_name; /* PART_HEADER */
	char *path_text;   /* as in struct kveil_place */
	char **path_steps, **to_steps;
	struct kveil_path *path; /* within the part; headers: the value is the root */
	struct kveil_expr *when; /* NULL = always. `$` is the record's value, also in rules on key and headers */
	char *when_text;
	const struct kveil_tables *tables; /* NULL = of any */
	const char *record; /* with a schema: the name of the record type that the value is; NULL = of any */
	const struct kveil_action *action;
	void *params;
	char *action_text;          /* the action as written, in one fixed spelling: equal text, equal protection */
	unsigned key_use, key2_use; /* of enum kveil_key_use, by the action and its parameters */
	struct kveil_template *key, *key2, *ad; /* NULL = none; ad NULL = NAME:PATH */
	/* to: same parent as the path, another last member */
	struct kveil_path *to; /* NULL = in place */
	char *to_text;
	struct kveil_span to_name; /* its last member, unescaped, in `to` */
	bool keep_source, required, on_null_transform;
	int view;            /* -1 = a top-level rule: in every view; else the view's number */
	bool on_key_any;     /* on a column in the record's key any action may do */
	bool is_of_event;    /* a clause of the envelope: its path begins at the event and not at a row in it */
	bool if_sure;        /* of such a clause: its condition in doubt does not hold */
	unsigned only_kinds; /* KVEIL_KIND_BIT of the values that it is about; 0 = all */
	bool but_row;        /* of such a clause: a text that a row can be read in is none of its business */
};

/* Where rows stand in a part of a record. Without an envelope the whole part is the one row. */
enum kveil_rows_kind {
	KVEIL_ROWS_WHOLE, /* $ and nothing else */
	KVEIL_ROWS_VALUE, /* rules address these, the innermost first */
	KVEIL_ROWS_EVENT, /* the events around them */
	KVEIL_ROWS_KEY,
	KVEIL_ROWS_IMAGE,   /* of the value's rows those that may lack columns */
	KVEIL_ROWS_TEXT,    /* in the value, rows that are texts of JSON */
	KVEIL_ROWS_PARTIAL, /* there, texts of what changed in a row, with dots in the names of members */
	KVEIL_ROWS_COUNT,
};
struct kveil_rows {
	const struct kveil_path *const *roots; /* names and wildcards only */
	size_t count;
};

enum { KVEIL_PATH_IN_EVENT = 62 /* segments of a rule's path, under an envelope */ };

struct kveil_plan;
/* Is the root of rows an event's too, so that what stands there is a flat row, or an event? */
bool kveil_plan_is_event(const struct kveil_plan *p, const struct kveil_path *root);
/* May the rows at root lack columns that the table has? */
bool kveil_plan_has_gaps(const struct kveil_plan *p, const struct kveil_path *root);

struct kveil_view {
	char *name;                /* "" for the only view of a file without outputs */
	char *topic;               /* template with {topic} */
	struct kveil_rule **rules; /* top-level ones first, then its own, in file order */
	size_t rule_count;
	struct kveil_path **clear; /* paths of the value named as deliberately clear, the file's own ones first */
	size_t clear_count;
	struct kveil_place **clear_places; /* all of them, key and headers too */
	size_t clear_place_count;
	enum kveil_unmatched unmatched;
};

/* Behind the own headers of every record that goes out. */
struct kveil_added_header {
	const char *name, *value;
};
#define KVEIL_LINEAGE_HEADER "kveil.lineage"

struct kveil_format;   /* format/format.h */
struct kveil_envelope; /* format/envelope.h */
enum { KVEIL_MOST_ABSENT = 8, KVEIL_MAX_VIEWS = 64 /* that an engine runs */ };
struct kveil_plan_memory; /* what all the pointers lead to; plan.c */
struct kveil_topic_regex;

struct kveil_plan {
	_Atomic uint32_t refs;
	char *file;
	char *text;                               /* the file in one line, without comments: equal text, equal rules */
	char *name;                               /* data set; binds ciphertexts. NULL when no rule encrypts */
	char **topics;                            /* NULL-terminated; an entry that begins with ^ is a regex */
	struct kveil_topic_regex **topic_regexes; /* beside topics; NULL for a plain name */
	const struct kveil_format *formats[KVEIL_PART_COUNT];
	const struct kveil_envelope *envelope; /* NULL = none */
	struct kveil_path *key_column;         /* under an envelope: what a bare key holds; NULL = not said */
	char *key_column_text;
	struct kveil_span absent[KVEIL_MOST_ABSENT]; /* texts that stand for a value that the source did not send */
	size_t absent_count;
	/* the same as the bytes of an array of numbers: "95,95,100"; data NULL = none */
	struct kveil_span absent_numbers;
	/* of an event whose image before may be filled up with empty texts; NULL = there is none */
	struct kveil_expr *is_delete;
	struct kveil_expr *may_fill; /* the envelope's; NULL = there is none */
	char *absent_text;           /* as written; NULL = the kind's own */
	struct kveil_rows rows[KVEIL_ROWS_COUNT];
	enum kveil_control_word control;
	struct kveil_expr **controls; /* beside the envelope's */
	bool reads_messages;          /* as rows, where they hold some */
	/* of a flattening transform's fields and headers, beside the usual one; NULL = that alone */
	const char *added_prefix;
	struct kveil_expr *is_event; /* the envelope's condition; NULL = none */
	struct kveil_clue *clues;    /* which table a row is of */
	size_t clue_count;
	enum kveil_on_error on_error;
	struct kveil_added_header *added_headers;
	size_t added_header_count;
	bool has_lineage; /* one that tells which rules wrote something */
	struct {
		bool is_registered; /* by kveil; else somebody else does, and records wait until then */
		bool normalize;
		const char *context; /* "" is the registry's default one */
	} schema;                    /* of formats with types: the derived one, under TOPIC-value of the output */
	struct kveil_view *views;
	size_t view_count;
	struct kveil_rule *rules; /* every rule of the file once */
	size_t rule_count;
	size_t own_rule_count; /* of those, what the file says; an envelope's own stand behind */
	struct kveil_plan_memory *memory;
};

/* Reads and compiles one file. Every problem goes into report; NULL when there is any error. keys may be NULL
 * (key names are then not checked against a configuration). */
struct kveil_plan *kveil_plan_load(const char *path, struct kveil_keystore *keys, struct kveil_report *report);
struct kveil_plan *kveil_plan_parse(struct kveil_span text, const char *file, struct kveil_keystore *keys,
				    struct kveil_report *report);
/* The same, and with errors what can be held against other files: its topics and outputs. Never to be run. */
struct kveil_plan *kveil_plan_read(const char *path, struct kveil_keystore *keys, struct kveil_report *report);
struct kveil_plan *kveil_plan_ref(struct kveil_plan *p);
void kveil_plan_unref(struct kveil_plan *p);

/* All rule files of a run, checked against each other: no topic in two files, no output equal to an input, no
 * input that matches an output or dead-letter template. */
struct kveil_plan_set {
	_Atomic uint32_t refs;
	struct kveil_plan **plans;
	size_t count;
	char *dead_letter_topic; /* template with {topic} */
};
/* sources: files and folders (a folder's *.yaml but not *.examples.yaml, in name order; hidden names skipped). */
struct kveil_plan_set *kveil_plan_set_load(const char *const *sources, const char *dead_letter_topic,
					   struct kveil_keystore *keys, struct kveil_report *report);
/* The same, and with errors what can be looked at of it, so that every problem is found in one round. Never to be run.
 */
struct kveil_plan_set *kveil_plan_set_read(const char *const *sources, const char *dead_letter_topic,
					   struct kveil_keystore *keys, struct kveil_report *report);
/* The set of one plan, whose reference it takes, also on failure. NULL: out of memory. */
struct kveil_plan_set *kveil_plan_set_of(struct kveil_plan *plan, const char *dead_letter_topic);
struct kveil_plan_set *kveil_plan_set_ref(struct kveil_plan_set *s);
void kveil_plan_set_unref(struct kveil_plan_set *s);
/* The plan for an input topic (borrowed), or NULL: none names it, two do, or the topic is an output or dead-letter
 * topic of this set. A regex takes the whole name (PCRE2). A template's {topic} stands for any name at all here. */
struct kveil_plan *kveil_plan_set_for_topic(const struct kveil_plan_set *s, const char *topic);
/* Does a rule file name this topic and is it refused nevertheless? Tells why, for the log. */
bool kveil_plan_set_refuses(const struct kveil_plan_set *s, const char *topic, struct kveil_error *why);
/* The rule files behind the sources, in name order within a folder; NULL-terminated, freed by kveil_rule_files_free.
 * Problems (nothing there, no rule file in a folder) go into report; NULL: there is none at all. */
char **kveil_rule_files_list(const char *const *sources, struct kveil_report *report);
void kveil_rule_files_free(char **files);
/* Does `now` protect less than `before`: a protecting rule gone, weakened or conditioned, a clear: added, unmatched or
 * on_error relaxed, an input topic gone, an output topic that nothing of the same input went to. Every loss goes into
 * losses as a warning (NULL = not asked for); such a plan needs SIGHUP. */
bool kveil_plan_set_protects_less(const struct kveil_plan_set *before, const struct kveil_plan_set *now,
				  struct kveil_report *losses);
/* The set as text that can be kept, and back. Read again it serves kveil_plan_set_protects_less and nothing else: keys
 * and the files' relations were not checked. NULL: not such a text, or not rules to this version. */
void kveil_plan_set_write(const struct kveil_plan_set *s, struct kveil_buf *out);
struct kveil_plan_set *kveil_plan_set_parse(struct kveil_span text);
/* Could this topic have come out of the template, whatever {topic} was? */
bool kveil_plan_topic_fits(const char *tmpl, const char *topic);
/* "{topic}.secure" for a topic; appended NUL-terminated through kveil_buf_cstr. */
void kveil_plan_expand_topic(const char *tmpl, const char *topic, struct kveil_buf *out);
/* Do both templates lead what an entry of `topics` takes to one topic? For a regex: are they the same text? */
bool kveil_plan_same_output(const char *a, const char *b, const char *entry);

const char *kveil_rules_pcre2_version(void); /* of the library behind topic regexes */

#endif

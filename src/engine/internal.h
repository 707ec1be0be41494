/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/internal.h: an engine's parts, between its own files.
 *
 *   bind.c     plan + keyring ─► bound rules, an automaton a part, constant keys and associated data
 *   bind_rows.c  of that: each rule at every row that it holds for, in rank order
 *   table.c    which table a row is of
 *   rows.c     where rows stand: in an event of an envelope there are several, and each rule is bound at every one
 *   engine.c   one record: value, key, headers; the verdict
 *   headers.c  of that the headers, and those that the file adds
 *   stream.c   a part rewritten straight from the scan: in-place rules of one view that ask for nothing else
 *   decide.c   the rest, over the tape: which rule writes which place, in each view
 *   inside.c   the same in texts of JSON that paths go on in
 *   texts.c    such a text opened, and what changed in there as edits of the text around
 *   dotted.c   names with dots that are paths
 *   rewrite.c  those writes as edits in document order, spliced into one output a view
 *   apply.c    one rule on one value: templates, associated data, the action, its result in syntax
 *   when.c     a rule's condition at a place, in every reading of the record
 *   spare.c    what `unmatched` leaves alone in an event
 *   avro_bind.c    a schema and the rules: what may become of each value, and what rules have to see of it
 *   avro_record.c  values with types, along their schema's program
 *   frames.c   which schema that is, where values name it by an id
 *   keep_types.c  values in JSON that name a JSON Schema, whose types stay
 *   trace.c    the story of each field, for people
 *
 * A record's clear text stands in the caller's bytes and in the arena, which is wiped when the record is done.
 */
#ifndef KVEIL_ENGINE_INTERNAL_H
#define KVEIL_ENGINE_INTERNAL_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/secret.h"
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <stdatomic.h>

enum { KVEIL_MOST_TEXTS = 4 /* within each other, that paths go on in */ };

/* Where a binding's path begins: a part of the record; the text that a row is, that holds what changed of one, that is
 * a key's one column; the text after so many steps. */
enum { KVEIL_STAGE_PART, KVEIL_STAGE_ROW, KVEIL_STAGE_PARTIAL, KVEIL_STAGE_COLUMN, KVEIL_STAGE_STEP };

/* A rule at one of the rows that it holds for, with what this thread needs to run it. Its place in engine.rules is its
 * rank: in every view, of two rules the one with the lower number comes first. The bindings of one rule stand side by
 * side, the innermost rows first: where two rows claim a place, the inner one has it. */
struct kveil_bound_rule {
	const struct kveil_rule *rule;
	const struct kveil_action *action;
	enum kveil_part part;
	const struct kveil_path *root; /* of the row, in the part */
	const struct kveil_path *own;  /* of the place, in the row or the text */
	const struct kveil_path *path; /* of the place, in the part or the text: root and own */
	uint8_t from;                  /* KVEIL_STAGE_ */
	uint8_t way;                   /* not 0: leads to a text of this stage, and not to the rule's place */
	bool leaves_stream;            /* what it finds is none of stream.c's business */
	uint64_t views;                /* one bit a view that it belongs to */
	unsigned kinds;                /* KVEIL_KIND_BIT of what it takes */
	unsigned only_kinds;           /* values of other kinds are none of its business */
	bool in_key_row;               /* a rule for the row, at a column that the record's key holds */
	bool has_gaps;                 /* the row may lack columns */
	bool is_filled;                /* … that stand in the event's whole image of it */
	bool is_flat;                  /* the row stands where an event could: it may say that it lacks some */
	bool is_bare_key;              /* the key is the column's value, not an object that holds it */
	bool is_copy;                  /* of a column's value in another image, whose other columns are not known */
	bool is_text_column;    /* the envelope's text_column, in a key: the text is the value where it holds no JSON */
	bool is_spelled_in_key; /* as this envelope's keys spell columns, where that is not as rows do */
	uint32_t event_above;   /* steps from the row up to the event that holds it; 0: a flat row */
	struct kveil_action_call
	    call;                    /* what is known of it before any record: keys that no template names, whole ad */
	bool is_settled;             /* that is all of it */
	struct kveil_span ad_prefix; /* "orders:" or "orders:key:"; the path of the place follows */
	bool ad_names_target;        /* the place is where `to` writes, not where the value stood */
	bool wants_ad_read;
	bool may_join;             /* a key's own scope may stand in for ad and ad_read */
	bool streams;              /* the automaton finds its places */
	_Atomic uint64_t *matches; /* its counter in engine.matches */
	uint64_t found_in;         /* serial of the last record in which its path found a place */
	uint64_t found_times;      /* in that record, as counted */
	uint8_t head_bytes;        /* that stood in front of its last result, in a format with types */
	uint64_t wrote_in;         /* serial of the last record in which its action ran on a place */
	/* What kveil_engine_table said last, and of which row. */
	uint64_t table_serial;
	const uint8_t *table_text;
	uint32_t table_row;
	bool table_told;
	enum kveil_tri table;
};

/* A path under `clear:`; in accept lists its id is rule_count + its place in engine.clears. */
struct kveil_bound_clear {
	const struct kveil_path *root; /* of the row */
	const struct kveil_path *own;  /* of the place in the row */
	const struct kveil_path *path; /* both */
	uint64_t views;
	bool streams;
	bool has_gaps, is_filled, is_flat;
	uint8_t from, way; /* as in struct kveil_bound_rule */
	unsigned only_kinds;
	uint32_t line; /* bindings with one number are of one line */
};

struct kveil_bound_part {
	const struct kveil_format *format;
	struct kveil_automaton *automaton;
	struct kveil_scan scan;
	bool has_rules;
	bool can_stream; /* stream.c may do it; ends for good when an action removes a place */
	bool all_stream; /* the automaton finds every place */
	/* Of texts that rules look into. */
	bool has_ways;
	struct kveil_automaton *text_automaton;
	bool text_all_stream;
};

struct kveil_outcome; /* decide.c */

/* What decide.c works with on one document: the part itself, or a text in one of the level before. */
struct kveil_level {
	struct kveil_scan scan; /* of a text */
	/* In engine.bound, with room for every binding, and every line of `clear:` behind those. */
	uint32_t *ids, *kept, *ways;    /* of a place */
	bool *open;                     /* of a text: by id */
	struct kveil_outcome *outcomes; /* of a place */
};

/* Two tapes as one: see when.c. */
struct kveil_join {
	struct kveil_buf text, nodes;
	uint64_t serial;
	struct kveil_span head, tail;
	size_t used_bytes; /* of text, at most, in this record */
	uint32_t head_count;
};

/* The rules for one header name, in rank order. */
struct kveil_bound_header {
	struct kveil_span name;
	uint32_t *ids;
	uint32_t id_count;
};

/* What one view sends: spans of the record where nothing was written, of these buffers elsewhere. */
enum kveil_text { KVEIL_TEXT_VALUE, KVEIL_TEXT_KEY, KVEIL_TEXT_KEY_HEADER, KVEIL_TEXT_COUNT };
struct kveil_view_out {
	struct kveil_buf texts[KVEIL_TEXT_COUNT];
	struct kveil_buf wholes[KVEIL_TEXT_COUNT]; /* with the schema inline that they came with */
	struct kveil_header *header_list;          /* in the arena */
};

/* A stretch of engine.pieces. */
struct kveil_piece {
	size_t offset, len;
};

struct kveil_root_result;
struct kveil_avro_walk;

/* Schemas inline: see connect.h. */
struct kveil_connect_schema;
struct kveil_connect {
	struct kveil_connect_schema *schemas; /* the one used last first */
	struct kveil_allowance allowance;     /* of all schemas */
	struct kveil_scan scan;               /* of a part's text; max_bytes 0 = the envelope has no schemas */
	struct kveil_scan inner;              /* of a schema, a payload */
	struct kveil_scan spelled;            /* of a text inside one that is JSON itself */
};

/* The value, or the key, where its format has types. */
enum { KVEIL_TYPED_PARTS = KVEIL_PART_KEY + 1 };
struct kveil_typed {
	const struct kveil_engine_schema *schema; /* NULL where there is none */
	struct kveil_engine_schemas *schemas;     /* by the id that it names; NULL: it names none */
	const struct kveil_framed *framed;        /* of the record at hand */
	bool has_schema_header;                   /* and a header says so */
	struct kveil_avro_walk *walk;
};

/* What was said last of a row, which is asked of once for each rule. */
struct kveil_row_answer {
	uint64_t serial; /* of the record */
	const uint8_t *text;
	uint32_t row, is;
};

struct kveil_engine {
	struct kveil_plan *plan;
	struct kveil_keyring *keys;
	size_t max_bytes;
	uint32_t max_depth;
	size_t view_count;
	struct kveil_bound_rule *rules;
	uint32_t rule_count;
	struct kveil_bound_clear *clears;
	uint32_t clear_count;
	uint64_t absent_lengths; /* of plan.absent: bit N for the lengths N, N + 64, …; 0 = there are none */
	bool has_required;
	bool has_key_rows;                      /* rules for the row hold in the key too */
	uint64_t unmatched_views;               /* views with unmatched other than keep */
	struct kveil_root_result *root_results; /* one a view, scratch */
	struct kveil_bound_part parts[KVEIL_PART_COUNT];
	struct kveil_bound_header *headers;
	size_t header_count;
	struct kveil_header *added; /* to every record that goes out */
	size_t added_count;
	struct kveil_span
	    *lineage;             /* what each rule says of itself, by index in the plan; only with a lineage header */
	struct kveil_arena bound; /* what lives as long as the engine */

	/* one record */
	uint64_t serial;
	struct kveil_allowance allowance; /* of all that grows with a record: below, in parts and in views */
	const struct kveil_record *record;
	struct kveil_span value;         /* the record's, without a schema inline */
	struct kveil_row_answer partial; /* of kveil_engine_is_partial */
	struct kveil_row_answer fillers; /* of kveil_engine_has_fillers */
	struct kveil_row_answer twin;    /* the row found for an image */
	struct kveil_arena arena;
	int64_t work;            /* what paths and conditions may still look at */
	struct kveil_buf pieces; /* what actions wrote, before it is spliced */
	struct kveil_piece *piece_list;
	uint32_t piece_count, piece_cap;
	struct kveil_buf scratch; /* associated data and key names under construction */
	struct kveil_scan lookup; /* the value's tape, for conditions and templates outside the value's own pass */
	struct kveil_level levels[KVEIL_MOST_TEXTS + 1];
	struct kveil_join join;
	const struct kveil_doc *value_doc; /* that, or the tape of the value's own pass; NULL = not asked for yet */
	bool was_large;
	struct kveil_connect connect;
	bool has_schema;         /* the part at hand has one inline */
	bool keeps_types;        /* … names a JSON Schema, which has to fit what comes out as well */
	struct kveil_scan check; /* validates what a revealing action wrote as JSON */
	struct kveil_view_out *views;
	struct kveil_output *outputs;
	_Atomic uint64_t *matches; /* by index in the plan */

	struct kveil_typed typed[KVEIL_TYPED_PARTS];
	bool wants_schema, wanted_of_key;
	struct kveil_schema_id wanted;
	enum kveil_result_kind typed_result; /* of the action that ran last, where types matter */

	kveil_trace_fn *trace;
	void *trace_user;
};

/* --- bind.c --- */

void kveil_engine_unbind(struct kveil_engine *e);
enum kveil_status kveil_engine_bind(struct kveil_engine *e, struct kveil_error *err) KVEIL_MUST_CHECK;
/* bind_rows.c: fills engine.rules and engine.clears. */
enum kveil_status kveil_engine_bind_rows(struct kveil_engine *e, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Zeroed, in engine.bound; NULL = no memory. */
void *kveil_engine_bound_array(struct kveil_engine *e, size_t count, size_t size);

/* --- a place, as apply.c needs it --- */

struct kveil_spot {
	enum kveil_part part;
	struct kveil_span text; /* the part's bytes */
	struct kveil_match match;
	const struct kveil_doc *doc; /* the part's tape, or NULL: then match.trail holds the way */
	const struct kveil_step *trail;
	struct kveil_span header_name;
	const struct kveil_value *value; /* where the format's bytes do not say it by themselves; else NULL */
	bool is_sent; /* whatever it says, it does not stand for a value that the source did not send */
	const struct kveil_spot *outer; /* the text that it stands in; NULL: none, but the part */
	bool is_dotted;                 /* names at the root of doc may be paths; only where there is a doc */
	const uint32_t *ways;           /* of such a text: what leads there, in the order of ids */
	size_t way_count;
};

static inline bool kveil_engine_takes(const struct kveil_bound_rule *r, unsigned kind)
{
	return r->only_kinds & KVEIL_KIND_BIT(kind);
}

/* The first binding of the next rule. */
static inline uint32_t kveil_engine_next_rule(const struct kveil_engine *e, uint32_t i)
{
	const struct kveil_rule *rule = e->rules[i].rule;

	do
		i++;
	while (i < e->rule_count && e->rules[i].rule == rule);
	return i;
}

/* Did the rule, whose first binding this is, find a place in the record at hand? */
static inline bool kveil_engine_found(const struct kveil_engine *e, uint32_t i)
{
	for (uint32_t next = kveil_engine_next_rule(e, i); i < next; i++)
		if (e->rules[i].found_in == e->serial)
			return true;
	return false;
}

/* Counts a place for a rule. */
static inline void kveil_engine_count(struct kveil_engine *e, struct kveil_bound_rule *r)
{
	_Atomic uint64_t *n = r->matches;
	/* One writer: no locked add. */
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
	r->found_times = r->found_in == e->serial ? r->found_times + 1 : 1;
	r->found_in = e->serial;
}

static inline void kveil_engine_uncount(struct kveil_bound_rule *r, uint64_t times)
{
	_Atomic uint64_t *n = r->matches;
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) - times, memory_order_relaxed);
	r->found_times -= times;
	if (!r->found_times)
		r->found_in = 0;
}

/* What it held may be a clear value, and longer than what comes. */
static inline void kveil_engine_reset_scratch(struct kveil_engine *e)
{
	if (e->scratch.len)
		kveil_secret_wipe(e->scratch.data, e->scratch.len);
	kveil_buf_reset(&e->scratch);
}

/* --- apply.c --- */

enum kveil_effect {
	KVEIL_EFFECT_WRITTEN, /* the value's new text was appended, in the part's syntax */
	KVEIL_EFFECT_KEPT,    /* a null that stays null; nothing appended */
	KVEIL_EFFECT_NULL,    /* the whole part becomes null (formats without a null of their own) */
	KVEIL_EFFECT_REMOVED, /* nothing appended */
};

/* For a person: the associated data of a value sealed here. Absent: none, or made of the record's values. */
struct kveil_span kveil_engine_ad_to_show(struct kveil_engine *e, const struct kveil_bound_rule *r,
					  const struct kveil_spot *spot);
/* Runs the rule's action and appends the result to out. On failure out is as it was and err says rule and byte. */
enum kveil_status kveil_engine_apply(struct kveil_engine *e, struct kveil_bound_rule *r, const struct kveil_spot *spot,
				     struct kveil_buf *out, enum kveil_effect *ret,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of a settled rule on a value that it takes and that the source sent, where types matter: nothing is left to
 * look at but the result, whose content out has then. */
enum kveil_status kveil_engine_apply_settled(struct kveil_engine *e, struct kveil_bound_rule *r,
					     const struct kveil_value *in, struct kveil_buf *out,
					     enum kveil_result_kind *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Adds the rule, and the place's first byte where err has none. Returns err's status. */
enum kveil_status kveil_engine_blame(const struct kveil_bound_rule *r, size_t byte, enum kveil_status status,
				     struct kveil_error *err);
/* Appends "$['a'][*]" for a place, from inside the text `until` (NULL: all of the way) without the first `skip` steps;
 * true_indices writes [3]. to_name.data != NULL takes the place of the last step. */
void kveil_engine_write_path(struct kveil_engine *e, const struct kveil_spot *spot, const struct kveil_spot *until,
			     uint32_t skip, bool true_indices, struct kveil_span to_name, struct kveil_buf *out);
/* Was the value not sent, so that something else stands for it? */
enum kveil_status kveil_engine_was_not_sent(struct kveil_engine *e, const struct kveil_spot *spot, bool *ret,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* The content of a raw JSON string with its quotes: borrowed, or unescaped into the arena. data NULL = no memory. */
struct kveil_span kveil_engine_unquote(struct kveil_engine *e, struct kveil_span raw);
/* The same of a member's name. */
struct kveil_span kveil_engine_name_of(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t node);

/* --- when.c --- */

/* Do the rule's `table` and `when` hold here? bindings: those of one rule that name the place, the innermost first.
 * Doubt counts for a rule that protects, against one that reveals. */
enum kveil_status kveil_engine_holds(struct kveil_engine *e, const uint32_t *bindings, size_t count,
				     const struct kveil_spot *spot, bool *ret,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
/* The tape of a text that is a part, a header or a key, as the JSON string that it would be: one node. false: no
 * memory. */
bool kveil_engine_quote(struct kveil_engine *e, const struct kveil_spot *spot, struct kveil_doc_node *node,
			struct kveil_doc *ret);
/* The value's tape, scanned when first asked for; NULL doc for a tombstone. */
enum kveil_status kveil_engine_value_doc(struct kveil_engine *e, const struct kveil_doc **ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* The error of a rule on a column that cannot keep keys one to one; returns its status. */
enum kveil_status kveil_engine_key_column(struct kveil_error *err, const char *why);

/* --- headers.c --- */

/* What the file adds. false: no memory. */
bool kveil_engine_bind_added(struct kveil_engine *e);
enum kveil_status kveil_engine_run_headers(struct kveil_engine *e, struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- rows.c --- */

#define KVEIL_NO_READING SIZE_MAX

/* The tape of the value with $ at the row that the event is about: the first of plan->rows that is an object. own: an
 * image of that row, or NULL. Not found: there are several like it, and nothing says which.
 * *reading: 0 asks for the innermost reading of the record; comes back as what asks for the next, and as
 * KVEIL_NO_READING with the last, which is the flat row. */
enum kveil_status kveil_engine_main_row(struct kveil_engine *e, const struct kveil_doc *doc,
					const struct kveil_doc *own, size_t *reading, struct kveil_doc *ret,
					bool *ret_found, struct kveil_error *err) KVEIL_MUST_CHECK;
/* May the flat row at doc->root lack columns, by what stands in it or in the record's headers? */
bool kveil_engine_is_partial(struct kveil_engine *e, const struct kveil_doc *doc);
/* Does it say in the same way that it was deleted? */
bool kveil_engine_is_deleted(struct kveil_engine *e, const struct kveil_doc *doc);
/* Is it a header with a copy of a column that some rule is about? */
bool kveil_engine_copies_column(const struct kveil_engine *e, const struct kveil_header *h);
/* Does the place lie in a field of the row that is another image's? */
bool kveil_engine_lies_in_copy(struct kveil_engine *e, const struct kveil_doc *row, uint32_t node);
/* Is it the name of a field or header that a connector adds, also under the file's own prefix? */
bool kveil_engine_is_added(const struct kveil_plan *plan, const char *usual, struct kveil_span name);
/* May an object be a scalar, as extended JSON wraps them? */
bool kveil_engine_has_wrapped(const struct kveil_engine *e);
/* The tape with what the plan knows of all rows. */
struct kveil_doc kveil_engine_known(const struct kveil_engine *e, const struct kveil_doc *doc);
/* Of an image that lacks what did not change: the same row in the event's whole image; 0: not there. root: of the
 * row. */
uint32_t kveil_engine_full_row(struct kveil_engine *e, const struct kveil_doc *row, const struct kveil_path *root);
/* May null, "", 0 and false in the row stand for what the source did not send? root: of the row. */
bool kveil_engine_has_fillers(struct kveil_engine *e, const struct kveil_doc *row, const struct kveil_path *root,
			      bool is_flat);
/* The tape of the spot's part with $ at the binding's row. */
struct kveil_doc kveil_engine_row(struct kveil_engine *e, const struct kveil_doc *doc, const struct kveil_bound_rule *r,
				  const struct kveil_spot *spot);

/* Under an envelope: is a key of JSON one whose columns are known? */
enum kveil_status kveil_engine_check_key(const struct kveil_engine *e, struct kveil_span key,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* Under an envelope: does the value have members at all? */
enum kveil_status kveil_engine_check_event(const struct kveil_engine *e, struct kveil_span value,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* What bytes that are not JSON are, where the envelope knows it. Returns the status to go on with. */
enum kveil_status kveil_engine_explain_event(const struct kveil_engine *e, struct kveil_span value,
					     enum kveil_status status, struct kveil_error *err);
/* Is the value about the stream, or with or_event about a table as a whole, so that it has no row? */
enum kveil_status kveil_engine_is_control(struct kveil_engine *e, bool or_event, bool *ret,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* CONTROL_RECORD where `control` is not keep and it is. */
enum kveil_status kveil_engine_check_control(struct kveil_engine *e, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Does the header hold a whole key? */
bool kveil_engine_is_key_header(const struct kveil_engine *e, struct kveil_span name);

/* --- table.c --- */

/* Is the row that the place is in one of the rule's tables? Without `table:` YES. *ret_told false: nothing says so. */
enum kveil_status kveil_engine_table(struct kveil_engine *e, struct kveil_bound_rule *b, const struct kveil_spot *spot,
				     enum kveil_tri *ret, bool *ret_told, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of all readings that name the place, as kveil_engine_holds takes them. */
enum kveil_status kveil_engine_tables(struct kveil_engine *e, const uint32_t *bindings, size_t count,
				      const struct kveil_spot *spot, enum kveil_tri *ret,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of the record as a whole. */
enum kveil_status kveil_engine_table_of_record(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_tri *ret,
					       struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- spare.c --- */

struct kveil_rewrite;
/* Under an envelope `unmatched` is about rows: names what stands beside them, and leads to every row. */
enum kveil_status kveil_engine_spare(struct kveil_engine *e, struct kveil_rewrite *w,
				     struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- stream.c, decide.c --- */

/* One part of a record through the first (only) view's rules, appended to out. *ret_written false: nothing changed,
 * the part stands as it came. *ret_give_up: an action removed something; do it again over the tape. */
enum kveil_status kveil_engine_stream(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				      struct kveil_buf *out, bool *ret_written, bool *ret_give_up,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* Room for what is decided at that level: 0, and all where rules look into texts. false: no memory. */
bool kveil_engine_bind_level(struct kveil_engine *e, unsigned number);
/* The same over the tape, for every view: outs[v] and ret_written[v]. */
enum kveil_status kveil_engine_decide(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				      struct kveil_buf **outs, bool *ret_written,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same for values whose types a schema gives; there is one view, and what is in out stays in front. */
enum kveil_status kveil_engine_run_typed(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
					 struct kveil_buf *out, bool *ret_written,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* The tape of a value with types that was read without one. */
enum kveil_status kveil_engine_typed_doc(struct kveil_engine *e, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_engine_clear_typed(struct kveil_engine *e);
/* Wipes the tapes, and gives back what is larger than keep_bytes. */
void kveil_engine_wipe_typed(struct kveil_engine *e, size_t keep_bytes);
/* About how many bytes it takes. */
size_t kveil_engine_schema_memory(const struct kveil_engine_schema *s);
/* frames.c: the schema that the record's value, or key, names; *skip: the bytes in front of its payload. */
enum kveil_status kveil_engine_unframe(struct kveil_engine *e, enum kveil_part part, size_t *skip,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
/* What names the derived one, for such a part. */
struct kveil_span kveil_engine_frame(const struct kveil_engine *e, enum kveil_part part);
/* Does a header name the part's schema? */
bool kveil_engine_names_schema(const struct kveil_record *r, enum kveil_part part);
/* Does the header name the schema of a part that was read by it? Then *ret says of which. */
bool kveil_engine_is_schema_header(const struct kveil_engine *e, const struct kveil_header *h, enum kveil_part *ret);
/* Can the rules be held on such values in this version? */
enum kveil_status kveil_engine_check_typed(const struct kveil_engine *e, struct kveil_error *err) KVEIL_MUST_CHECK;
/* A part that is one value (text, a header): what becomes of it in each view. */
struct kveil_root_result {
	enum kveil_effect effect;      /* KEPT: it stands as it came */
	struct kveil_piece piece;      /* in engine.pieces, when WRITTEN */
	const struct kveil_rule *rule; /* whose effect it is */
};
enum kveil_status kveil_engine_decide_root(struct kveil_engine *e, const struct kveil_spot *spot, const uint32_t *ids,
					   size_t id_count, struct kveil_root_result *results,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- keep_types.c --- */

/* Of a part in JSON, where a JSON Schema is named for it. */
struct kveil_json_frame {
	size_t len;       /* of what stands in front of the JSON */
	bool keeps_types; /* there, or in a header */
};
struct kveil_json_frame kveil_engine_json_frame(const struct kveil_engine *e, enum kveil_part part,
						struct kveil_span text);
/* Where types stay, may the rule's result take the place of the value at m in text? result.data NULL: nothing does. */
enum kveil_status kveil_engine_keep_type(const struct kveil_bound_rule *r, struct kveil_span text,
					 const struct kveil_match *m, struct kveil_span result,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* The errors of a member that comes, or goes without a rule (NULL), and of a schema inline. */
enum kveil_status kveil_engine_keep_members(const struct kveil_bound_rule *r, size_t byte, bool comes,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_engine_keep_inline(enum kveil_part part, struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- texts.c --- */

/* How many texts a path enters, and what of it leads from one stage to another (in engine.bound; NULL: no memory); one
 * behind the last stage is the path's end. */
size_t kveil_text_entries(const struct kveil_path *path);
const struct kveil_path *kveil_text_stretch(struct kveil_engine *e, const struct kveil_path *path, unsigned from,
					    unsigned to);

/* Bytes [start, end) of a document give way to len bytes of engine.pieces at offset. */
struct kveil_edit {
	uint32_t start, end;
	size_t offset, len;
};

struct kveil_edits {
	struct kveil_edit *items; /* in the arena */
	size_t count, cap;
};

enum kveil_text_state {
	KVEIL_TEXT_IS_EMPTY, /* there is nothing in it */
	KVEIL_TEXT_IS_JSON,
	KVEIL_TEXT_IS_BROKEN, /* it cannot be looked into */
};

/* A text of JSON, opened; one that holds but another text stands for that. */
struct kveil_opened {
	enum kveil_text_state state;
	const char *why; /* BROKEN */
	struct {
		struct kveil_span raw;     /* with its quotes */
		uint32_t at;               /* in what it stands in */
		struct kveil_span decoded; /* of base64: what that holds; else data NULL */
	} layers[KVEIL_MOST_TEXTS];
	unsigned layer_count;
};

/* What else a text may be than JSON. */
enum {
	KVEIL_TEXT_DECODES = 1 << 0,  /* base64 of an object too */
	KVEIL_TEXT_IS_VALUE = 1 << 1, /* a text in it is a value, and not JSON once more */
};
/* Opens the text at the spot, a string; its tape is then that of the level's scan. */
enum kveil_status kveil_text_open(struct kveil_engine *e, const struct kveil_spot *spot, unsigned level, unsigned how,
				  struct kveil_opened *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The path's segments [begin, end), in engine.bound; NULL: no memory. */
const struct kveil_path *kveil_text_slice(struct kveil_engine *e, const struct kveil_path *path, size_t begin,
					  size_t end);
/* The segment that a stage begins with; one behind the last stage ends the path. */
size_t kveil_text_begin(const struct kveil_path *path, unsigned stage);
/* Edits of what the text holds become edits of what it stands in. What they do not touch keeps its bytes. false: no
 * memory. */
bool kveil_text_map(struct kveil_engine *e, const struct kveil_opened *t, struct kveil_edits *edits);
/* The place in a row, or in the text that the row is, which leads to the spot, and the bindings that lead there. */
const struct kveil_spot *kveil_text_row_place(const struct kveil_engine *e, const struct kveil_spot *spot,
					      const uint32_t **bindings, size_t *count);
/* Of a binding in the text that a row is: the one that leads there. */
uint32_t kveil_text_row_way(const struct kveil_engine *e, const struct kveil_spot *spot,
			    const struct kveil_bound_rule *b);

/* --- dotted.c --- */

/* Bit i: the path may go on with its segment i behind the column; its end is the bit behind the last. The rules' checks
 * hold paths to KVEIL_PATH_IN_EVENT segments, which fit. */
uint64_t kveil_dotted_enter(const struct kveil_path *path, struct kveil_span column);
/* What the path finds in doc, whose root's names may be paths; without flags in the one reading that takes each dot for
 * a step. */
enum {
	KVEIL_DOTTED_WIDELY = 1 << 0, /* in any reading, with all that is in doubt */
	KVEIL_DOTTED_INSIDE = 1 << 1, /* also what lies in what the path names */
	KVEIL_DOTTED_NONE = 1 << 2,   /* not behind names with dots at all */
};
enum kveil_status kveil_dotted_select(struct kveil_engine *e, const struct kveil_path *path,
				      const struct kveil_doc *doc, unsigned how, uint32_t **ret, size_t *ret_count,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* Appends "['a'][*]['b']" for the name a.0.b. */
void kveil_dotted_write(struct kveil_span name, struct kveil_buf *out);

/* --- rewrite.c --- */

enum kveil_mark { KVEIL_MARK_NONE, KVEIL_MARK_WRITE, KVEIL_MARK_REMOVE, KVEIL_MARK_MOVED, KVEIL_MARK_INSIDE };
enum kveil_named { KVEIL_UNNAMED, KVEIL_ON_THE_WAY, KVEIL_NAMED };

/* A value that `to` writes, and its fellows with the same parent and name. Numbers are places in
 * kveil_rewrite.appends + 1; 0 = none. */
struct kveil_append {
	const struct kveil_bound_rule *rule;
	uint32_t parent, source; /* nodes */
	struct kveil_span name;
	uint32_t piece;
	uint32_t next;  /* of the same parent, in document order of the sources */
	uint32_t group; /* the first with the same parent and name */
	/* of a group's first */
	uint32_t next_group, count;
	bool is_placed; /* existing members took the value */
	/* of a parent's first */
	uint32_t last;
};

struct kveil_node_state {
	uint8_t mark, named;
	bool is_dirty;    /* some child goes or comes */
	uint32_t piece;   /* where marked WRITE; INSIDE: number in kveil_rewrite.insides */
	uint32_t appends; /* its first append, as a parent */
};

/* What becomes of a document in one view. All in the arena. */
struct kveil_rewrite {
	const struct kveil_doc *doc;
	const struct kveil_spot *outer; /* the text that it is; NULL = a part */
	size_t view;
	struct kveil_edits *insides;
	uint32_t inside_count, inside_cap;
	struct kveil_node_state *nodes;
	struct kveil_append *appends;
	uint32_t append_count, append_cap;
	uint32_t covered_until; /* byte: what starts before it was replaced with an ancestor */
};

enum kveil_status kveil_rewrite_init(struct kveil_engine *e, struct kveil_rewrite *w, const struct kveil_doc *doc,
				     size_t view, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The action's result takes the place of a node. */
void kveil_rewrite_mark(struct kveil_rewrite *w, uint32_t node, enum kveil_mark mark, uint32_t piece);
/* Some rule or `clear:` names the node: its containers stay. */
void kveil_rewrite_name(struct kveil_rewrite *w, uint32_t node);
/* A container with nothing in it that nothing names. */
bool kveil_rewrite_is_empty(const struct kveil_rewrite *w, uint32_t node);
/* The way to what some rule or `clear:` names leads here: the node's containers stay. */
void kveil_rewrite_lead(struct kveil_rewrite *w, uint32_t node);
/* A rule's value for another member of source's parent. TARGET_CONFLICT when two values meet there. */
enum kveil_status kveil_rewrite_append(struct kveil_engine *e, struct kveil_rewrite *w,
				       const struct kveil_bound_rule *r, uint32_t source, uint32_t piece,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
/* What changes in the text that a node is. false: no memory. */
bool kveil_rewrite_inside(struct kveil_engine *e, struct kveil_rewrite *w, uint32_t node,
			  const struct kveil_edits *edits);
/* Settles the appends and unmatched places: all edits of the document, in its order. */
enum kveil_status kveil_rewrite_settle(struct kveil_engine *e, struct kveil_rewrite *w, enum kveil_unmatched unmatched,
				       struct kveil_edits *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Writes the document into out. */
enum kveil_status kveil_rewrite_splice(struct kveil_engine *e, const struct kveil_rewrite *w,
				       const struct kveil_edits *edits, struct kveil_buf *out,
				       struct kveil_error *err) KVEIL_MUST_CHECK;

/* --- trace.c --- */

/* after.data NULL = removed, failed or unchanged. */
void kveil_engine_trace(struct kveil_engine *e, size_t view, const struct kveil_bound_rule *r,
			const struct kveil_spot *spot, bool at_target, struct kveil_span after, const char *outcome);
/* What `unmatched: remove` takes out of the value. */
void kveil_engine_trace_dropped(struct kveil_engine *e, const struct kveil_rewrite *w, uint32_t node);
/* "absent" for every rule of the part that found nothing in this record. */
void kveil_engine_trace_absent(struct kveil_engine *e);

#endif

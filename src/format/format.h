/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/format.h: what every format looks like. One file and one row in formats[] each (format/formats.c).
 *
 * A format scans a part of a record once: it validates, finds the places that the automaton names, and when asked
 * fills the offset tape. The engine then walks the places in document order and splices.
 */
#ifndef KVEIL_FORMAT_FORMAT_H
#define KVEIL_FORMAT_FORMAT_H

#include "base/arena.h"
#include "base/buf.h"
#include "format/automaton.h"
#include "kveil/base.h"
#include "path/doc.h"

enum { KVEIL_NO_TRAIL = UINT32_MAX };

/* A place that the automaton accepted. */
struct kveil_match {
	uint32_t start, end;           /* the value's raw text */
	uint32_t name_start, name_end; /* raw member name with quotes; 0,0 for elements and root */
	uint32_t state;                /* automaton state: gives the accept list */
	uint32_t node;                 /* its node in the tape; meaningful when want_doc */
	uint32_t trail;                /* first of `depth` steps in kveil_scan.trail, or KVEIL_NO_TRAIL */
	uint32_t depth;                /* root = 0 */
	uint8_t kind, flags;           /* kveil_kind, KVEIL_NODE_* */
};

/* A step from the root to a match: the raw member name with quotes, or 0,0 for an array element. */
struct kveil_step {
	uint32_t name_start, name_end;
};

struct kveil_scan_frame;

/* What a member's name was in the same place of the record before, and where it led; see json_guess.h. */
struct kveil_scan_guess {
	const struct kveil_automaton_state *live; /* its container's */
	uint64_t head, tail;                      /* the name with its quote and colon, zeros behind */
	uint32_t next;                            /* its state */
	uint8_t len;                              /* of the name */
	uint8_t text_len;                         /* of what head and tail hold; 0 = nothing */
	uint8_t misses;                           /* since it was made */
};

enum { KVEIL_SCAN_GUESSES = 512 }; /* the columns of two images of a row */

struct kveil_scan {
	/* in */
	const struct kveil_automaton *automaton; /* NULL = only validate; lives as long as the scan */
	struct kveil_arena *arena;               /* for names with escapes */
	size_t max_bytes;                        /* larger is TOO_LARGE; above 1 GiB counts as 1 GiB */
	uint32_t max_depth;                      /* objects and arrays within each other */
	bool want_doc;
	struct kveil_allowance *allowance; /* for the arrays below; NULL = none */
	/* out; the arrays are owned by the scan, grown and reused */
	struct kveil_match *matches; /* document order */
	size_t match_count, match_cap;
	struct kveil_step *trail;
	size_t trail_count, trail_cap;
	struct kveil_doc doc; /* when want_doc */
	size_t doc_cap;
	struct kveil_scan_frame *frames; /* the format's stack */
	size_t frame_cap;
	struct kveil_scan_guess *guesses; /* made by the first text; beside the allowance */
};
void kveil_scan_clear(struct kveil_scan *s); /* what it owns goes, what it was given (in) stays */

struct kveil_format {
	const char *name; /* "json" */
	unsigned parts;   /* 1 << enum kveil_part in which it may stand */
	/* values have types that a schema gives: engine/avro_record.c scans and splices, not what stands below */
	bool is_typed;
	bool has_paths; /* false: the part is one value, only the path $ */
	bool has_bytes; /* of such a one: it is not text, and what an action writes stands as it is */
	bool has_lines; /* each line is a document of its own, and the line breaks stand between them */
	const char *help;
	/* Scans all of text. Positions in errors are bytes of text. Called again it starts afresh. */
	enum kveil_status (*scan)(struct kveil_scan *s, struct kveil_span text, struct kveil_error *err);
	/* Appends a string value in the format's syntax: quotes, escapes. */
	void (*write_text)(struct kveil_buf *out, struct kveil_span content, bool needs_escape);
	/* What stands before and after a string that needs no escape: '"', or 0 for none. */
	uint8_t quote;
	struct kveil_span null_text; /* "null"; absent where the format has none: the whole part becomes null */
};

extern const struct kveil_format *const kveil_formats[]; /* ends with NULL */
const struct kveil_format *kveil_format_by_name(struct kveil_span name);

/* --- json_text.c --- */

/* Must a string with this content be escaped in JSON: it holds a quote, a backslash or a control character. */
bool kveil_json_needs_escape(struct kveil_span content);
/* Appends a string with this content; needs_escape false: it is known that nothing in it must be escaped. */
void kveil_json_write_string(struct kveil_buf *out, struct kveil_span content, bool needs_escape);
/* …and looks for itself whether something must be. */
void kveil_json_write_text(struct kveil_buf *out, struct kveil_span content);

#endif

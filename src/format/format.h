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

/* A place that the automaton accepted. */
struct kveil_match {
	uint32_t start, end;            /* the value's raw text */
	uint32_t name_start, name_end;  /* raw member name with quotes; 0,0 for elements and root */
	uint32_t state;                 /* automaton state: gives the accept list and the fixed path */
	uint32_t ordinal;               /* among its siblings */
	uint32_t parent_start;          /* where the enclosing object or array begins; UINT32_MAX for the root */
	uint32_t depth;                 /* root = 0 */
	uint8_t kind, flags;            /* kveil_kind, KVEIL_NODE_* */
};

struct kveil_scan {
	/* in */
	const struct kveil_automaton *automaton; /* NULL = only validate */
	struct kveil_arena *arena;
	size_t max_bytes;
	uint32_t max_depth;
	bool want_doc;
	/* out */
	struct kveil_match *matches; /* document order; owned by the scan, grown and reused */
	size_t match_count, match_cap;
	struct kveil_doc doc;        /* when want_doc; nodes owned by the scan, grown and reused */
	size_t doc_cap;
};
void kveil_scan_clear(struct kveil_scan *s); /* wipes, frees */

struct kveil_format {
	const char *name; /* "json" */
	unsigned parts;   /* bit set of kveil_part in which it may stand */
	bool has_paths;   /* false: the part is one value, only the path $ */
	const char *help;
	/* Scans all of text. Positions in errors are bytes of text. */
	enum kveil_status (*scan)(struct kveil_scan *s, struct kveil_span text, struct kveil_error *err);
	/* Appends a string value in the format's syntax: quotes, escapes. */
	void (*write_text)(struct kveil_buf *out, struct kveil_span content, bool needs_escape);
	struct kveil_span null_text; /* "null"; absent where the format has none */
};

extern const struct kveil_format *const kveil_formats[]; /* ends with NULL */
const struct kveil_format *kveil_format_by_name(struct kveil_span name);

#endif

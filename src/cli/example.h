/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/example.h: the examples kept beside a rule file (orders.examples.yaml beside orders.yaml): a record in; what
 * comes out, or the code of the error. docs/rules.md has the format.
 *
 * In a text of an example three forms stand for what cannot be written down:
 *
 *   ~sealed(KEY) TEXT   in `in`: TEXT sealed under KEY for this place; in `out`: a ciphertext that opens to TEXT here
 *   ~hash(KEY) TEXT     in `out`: the keyed hash of TEXT
 *   ~any                in `out`: anything at all
 *   ~~TEXT              the text "~TEXT"
 */
#ifndef KVEIL_CLI_EXAMPLE_H
#define KVEIL_CLI_EXAMPLE_H

#include "base/arena.h"
#include "base/options.h"
#include "base/report.h"
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/plan.h"

enum { KVEIL_EXAMPLE_HEADERS = 32 };

/* One output as it should be. */
struct kveil_example_out {
	char *view;  /* name; "" for the only one */
	char *value; /* JSON text, maybe with forms in it; NULL = a tombstone */
	bool exact;  /* byte for byte, for it was written as text; else as JSON values */
	char *key;   /* NULL = a null key */
	bool key_exact;
	struct kveil_header headers[KVEIL_EXAMPLE_HEADERS];
	size_t header_count;
};

struct kveil_example {
	char *name;
	uint32_t line;
	char *value, *key; /* as above */
	struct kveil_header headers[KVEIL_EXAMPLE_HEADERS];
	size_t header_count;
	char *error; /* the code expected; NULL = outs */
	struct kveil_example_out *outs;
	size_t out_count;
};

/* The words of an example, and of one of its outputs. */
extern const struct kveil_option kveil_example_table[], kveil_example_output_table[];

/* Everything a file's examples point to is in arena. Problems go into report. */
bool kveil_examples_load(const char *path, const struct kveil_plan *plan, struct kveil_arena *arena,
			 struct kveil_example **ret, size_t *ret_count, struct kveil_report *report);

/* Keys and a plan to fill in and to judge forms with. */
struct kveil_form_context {
	const struct kveil_plan *plan;
	struct kveil_keyring *ring;
	struct kveil_arena *arena;
	const struct kveil_record *record; /* that went in */
	enum kveil_part part;              /* being compared: value or key */
	struct kveil_doc input;            /* the example's value before sealing; count 0 when it is not JSON */
};

/* The tape of a JSON text; false: not JSON. The text must outlive it. */
bool kveil_form_parse(struct kveil_form_context *c, struct kveil_span text, struct kveil_doc *ret);
/* The value as the engine gets it: seals made. Also sets c->input. */
enum kveil_status kveil_form_fill(struct kveil_form_context *c, const char *value, struct kveil_span *ret,
				  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Says in why (appended) what differs; true = alike. */
bool kveil_form_matches(struct kveil_form_context *c, const struct kveil_example_out *want, struct kveil_span got,
			struct kveil_buf *why);
bool kveil_form_matches_key(struct kveil_form_context *c, const struct kveil_example_out *want, struct kveil_span got,
			    struct kveil_buf *why);
/* The same for a key or header of format text. part: "key:$", "header:NAME". */
bool kveil_form_matches_text(struct kveil_form_context *c, const char *part, const char *want, struct kveil_span got,
			     struct kveil_buf *why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transform/action.h: what every action looks like. One file and one row in actions[] each
 * (transform/actions.c): the row drives rule parsing, `check`, the JSON Schema and docs/actions.md.
 *
 * An action sees one value of the original record and appends what takes its place to an output buffer. It
 * allocates nothing but from the arena, keeps nothing, and on any failure returns an error: there is no way
 * for it to pass the input on.
 */
#ifndef KVEIL_TRANSFORM_ACTION_H
#define KVEIL_TRANSFORM_ACTION_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/options.h"
#include "base/report.h"
#include "kveil/keys.h"
#include "path/doc.h"

/* A value as the format found it. */
struct kveil_value {
	enum kveil_kind kind;
	struct kveil_span raw;  /* as spelled in the record: strings with quotes and escapes */
	struct kveil_span text; /* string: content, escapes resolved; bool, number, null: the spelling;
				 * object, array: same as raw */
};

/* What the action appended to the output. */
enum kveil_result_kind {
	KVEIL_RESULT_TEXT,  /* a string's content, which may need escaping */
	KVEIL_RESULT_ASCII, /* a string's content that needs no escaping in any format (base64, hex) */
	KVEIL_RESULT_RAW,   /* a whole value in the format's own syntax, known to be valid (replace by a constant) */
	KVEIL_RESULT_RAW_UNCHECKED, /* the same, out of a ciphertext (decrypt type json). It is authentic, but whoever
				     * holds the key may have sealed anything: the engine has the format scan it before
				     * it is spliced in */
	KVEIL_RESULT_BYTES,         /* bytes as they are: only where the value was of kind bytes */
	KVEIL_RESULT_NULL,          /* nothing appended: the value becomes null */
	KVEIL_RESULT_REMOVE,        /* nothing appended: the member or element goes */
};

struct kveil_action_call {
	const void *params;           /* the rule's parameters, as parsed by the action's option table */
	struct kveil_key *key, *key2; /* bound key; key2: reencrypt's `to`. NULL where the action takes none */
	struct kveil_span ad; /* associated data of the place: written for what protects, read for what reveals; never
			       * empty when needs_ad */
	struct kveil_span ad_read; /* of the place read, where that is another: reencrypt with `to`. Absent otherwise.
				    * (What reveals has the place read in ad.) */
	struct kveil_arena *arena;
};

#define KVEIL_RESULT_BIT(kind) (1u << (kind))

enum kveil_action_effect { KVEIL_PROTECTS, KVEIL_REVEALS };

struct kveil_action {
	const char *name;                /* "mask"; never renamed */
	enum kveil_action_effect effect; /* how doubt is taken */
	unsigned kinds;                  /* KVEIL_KIND_BIT of what it takes; anything else is UNSUPPORTED_KIND */
	const char *other_kinds;         /* what to do about another one: a hint. NULL = nothing to say */
	const char *help;                /* one line */
	const char *about;               /* for the reference page: Markdown paragraphs */
	const char *example; /* a rule fragment for the reference page: "mask: {keep_first: 3, keep_last: 4}" */
	const struct kveil_option *options; /* its parameters; ends with a zero row. `key` rows are of type KEY */
	size_t params_bytes;
	bool scalar;      /* written as `remove: true`: params is a struct with one bool at offset 0 */
	unsigned key_use; /* enum kveil_key_use of `key`; 0 = takes no key */
	unsigned key2_use;
	unsigned (*key_use_for)(const void *params); /* may be NULL; of `key`, where it depends on parameters */
	const char *inverse;                         /* the action that brings the value back; NULL = none does */
	bool needs_ad;
	/* After the options are parsed: contradictions between them. Adds to report. May be NULL. node: where. */
	void (*check)(const void *params, const char *file, const struct kveil_yaml *node, struct kveil_report *report);
	/* May be NULL. The same, once it is known how long the output of `key` is. */
	void (*check_mac)(const void *params, size_t mac_bytes, const char *algorithm, const char *file,
			  const struct kveil_yaml *node, struct kveil_report *report);
	/* May be NULL. Kinds that depend on parameters (encrypt's `type: json` takes all). */
	unsigned (*kinds_for)(const void *params);
	/* May be NULL: no. Does it look at a value's raw spelling? In formats that have none, that is JSON's; of
	 * records, arrays and maps in Avro their single-object encoding. */
	bool (*wants_raw)(const void *params);
	/* May be NULL: a string. KVEIL_RESULT_BIT of what may come out of a value of this kind, where types matter;
	 * RAW_UNCHECKED: no type is known before the value is. */
	unsigned (*results_for)(const void *params, enum kveil_kind kind);
	/* May be NULL. What comes out as RAW, whatever the value; absent: no value gets that far. */
	struct kveil_span (*constant)(const void *params);
	/* With these parameters and keys, are equal values equal and different ones different in what comes out, each
	 * time: what a record's key needs. NULL: never. */
	bool (*keeps_apart)(const struct kveil_action_call *call);
	/* May be NULL. Derives lookup data in params after check succeeded. params_clear frees it. */
	enum kveil_status (*prepare)(void *params, struct kveil_error *err);
	void (*params_clear)(void *params);
	enum kveil_status (*apply)(const struct kveil_action_call *call, const struct kveil_value *in,
				   struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err);
};

extern const struct kveil_action *const kveil_actions[]; /* ends with NULL */
const struct kveil_action *kveil_action_by_name(struct kveil_span name);

#endif

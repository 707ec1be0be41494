/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/options.h: one table row an option. Parsing, defaults, ranges, "did you mean", environment overrides,
 * `--help`, the JSON Schemas and the reference pages all come out of the rows.
 *
 *   static const struct kveil_option mask_options[] = {
 *       {"keep_first", KVEIL_OPT_UINT, offsetof(struct mask, keep_first), .def = "0", .max = 65535,
 *        .help = "characters left clear at the start"},
 *       {0},
 *   };
 *
 * ${env:NAME} and ${file:PATH} (relative to the file's folder, one line break at the end cut off) stand for text in
 * STRING, LIST and STRING_MAP values. Secrets come only so, or from the environment override; they are never
 * printed, and owned strings are wiped when freed.
 */
#ifndef KVEIL_BASE_OPTIONS_H
#define KVEIL_BASE_OPTIONS_H

#include "base/buf.h"
#include "base/report.h"
#include "base/yaml.h"
#include "kveil/base.h"

enum kveil_option_type {
	KVEIL_OPT_BOOL = 1, /* bool */
	KVEIL_OPT_UINT,     /* uint64_t; min, max */
	KVEIL_OPT_INT,      /* int64_t */
	KVEIL_OPT_BYTES,    /* uint64_t; "8MiB", "512KiB", "100" */
	KVEIL_OPT_DURATION, /* int64_t milliseconds; "500ms", "1s", "10m", "24h", "7d" */
	KVEIL_OPT_STRING,   /* char *, owned */
	KVEIL_OPT_CHAR,     /* char *, owned: exactly one grapheme cluster */
	KVEIL_OPT_ENUM,     /* int: index into .choices */
	KVEIL_OPT_KEY,      /* char *, owned: a key name, maybe with a {$.path} template */
	KVEIL_OPT_LIST, /* char **, NULL-terminated, owned, NULL when empty; a single string counts as a list of one */
	KVEIL_OPT_STRING_MAP, /* struct kveil_string_map: names to strings, open-ended (librdkafka properties) */
	KVEIL_OPT_GROUP,      /* a nested mapping: .sub is its table, its offsets count from this row's offset */
	KVEIL_OPT_CUSTOM,     /* const struct kveil_yaml *, borrowed: the caller reads it itself */
};

struct kveil_string_map {
	char **names, **values;
	uint32_t *lines; /* where each stood */
	bool *from_text; /* the value stood in the file itself, not behind ${…} */
	size_t count;
};

void kveil_string_map_clear(struct kveil_string_map *map);

/* The help of an option that is known and not there yet: nobody is offered it. */
#define KVEIL_OPTION_LATER "not in this version"

struct kveil_option {
	const char *name;
	enum kveil_option_type type;
	size_t offset;
	const char *def;   /* default in the spelling a user would write; NULL = zero/NULL. LIST: commas between */
	uint64_t min, max; /* UINT, BYTES, DURATION (ms), LIST (items); max 0 = no limit */
	const char *const *choices;     /* ENUM; ends with NULL */
	const struct kveil_option *sub; /* GROUP */
	bool required;
	bool secret;   /* STRING: never printed, never in the text itself */
	size_t source; /* STRING: offset of a char *, owned, that takes the text as written where a file stands behind
			* it, for kveil_options_read_again; 0 = none */
	bool reloadable;
	const char *help;                            /* one line, no full stop */
	const char *schema;                          /* CUSTOM: its JSON Schema; NULL = anything */
	void (*write_schema)(struct kveil_buf *out); /* CUSTOM: the same, where it comes out of other tables */
};

/* Fills *target from map (NULL map or an empty one = defaults only). Unknown keys, wrong types and ranges go into
 * report with file:line:col and a hint. env_prefix ("KVEIL"): each scalar row and LIST may be overridden by
 * KVEIL_NAME, in groups KVEIL_GROUP_NAME (a LIST with commas); NULL = no environment. Returns false when it added an
 * error. What *target held before is forgotten, not freed. Owned strings are allocated: free with
 * kveil_options_clear, also after a failure. */
bool kveil_options_parse(const struct kveil_option *table, const struct kveil_yaml *map, const char *file,
			 const char *env_prefix, void *target, struct kveil_report *report);
void kveil_options_clear(const struct kveil_option *table, void *target);
/* Warns of each variable that looks like a misspelt override of one of the tables (their prefixes beside them; both end
 * with NULL). Others are left alone: Kubernetes makes KVEIL_PORT of a service. */
void kveil_options_check_environment(const struct kveil_option *const *tables, const char *const *prefixes,
				     struct kveil_report *report);
/* Was the option written in the map? */
bool kveil_options_given(const struct kveil_yaml *map, const char *name);

/* "1s", "24h" in milliseconds; "8MiB" in bytes: the same spellings for command-line flags. */
enum kveil_status kveil_options_duration(const char *text, int64_t *ret_ms, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_options_bytes(const char *text, uint64_t *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_options_uint(const char *text, uint64_t *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

/* What the source of an option that stands in `file` says now: the files behind it are read anew. *ret is owned by the
 * caller, and wiped by it. */
enum kveil_status kveil_options_read_again(const char *source, const char *file, char **ret,
					   struct kveil_error *err) KVEIL_MUST_CHECK;

/* Adds "did you mean 'x'?" or the list of what is known. candidates ends with NULL. */
void kveil_options_suggest(struct kveil_error *err, const char *word, const char *const *candidates);

/* PATH as it stands in `file`: relative to the folder that file is in. Owned by the caller; NULL = out of memory. */
char *kveil_options_resolve_path(const char *path, const char *file);

/* Markdown table rows "| `prefix.name` | type | default | help |". */
void kveil_options_write_markdown(const struct kveil_option *table, const char *prefix, struct kveil_buf *out);
/* JSON Schema (draft 2020-12) properties: "name": {…}, "name": {…} without the braces around. */
void kveil_options_write_schema(const struct kveil_option *table, struct kveil_buf *out);
/* {"type": "object", "additionalProperties": false, "properties": {…}, "required": […]} */
void kveil_options_write_schema_object(const struct kveil_option *table, struct kveil_buf *out);
/* A JSON string with its quotes. */
void kveil_options_write_json_string(struct kveil_buf *out, const char *s);

#endif

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
 */
#ifndef KVEIL_BASE_OPTIONS_H
#define KVEIL_BASE_OPTIONS_H

#include "base/buf.h"
#include "base/report.h"
#include "base/yaml.h"
#include "kveil/base.h"

enum kveil_option_type {
	KVEIL_OPT_BOOL = 1,  /* bool */
	KVEIL_OPT_UINT,      /* uint64_t; min, max */
	KVEIL_OPT_INT,       /* int64_t */
	KVEIL_OPT_BYTES,     /* uint64_t; "8MiB", "512KiB", "100" */
	KVEIL_OPT_DURATION,  /* int64_t milliseconds; "500ms", "1s", "10m", "24h", "7d" */
	KVEIL_OPT_STRING,    /* char *, owned; ${env:}/${file:} only with .secret */
	KVEIL_OPT_CHAR,      /* char *, owned: exactly one grapheme cluster */
	KVEIL_OPT_ENUM,      /* int: index into .choices */
	KVEIL_OPT_KEY,       /* char *, owned: a key name, maybe with a {$.path} template */
	KVEIL_OPT_LIST,      /* char **, NULL-terminated, owned; a single string counts as a list of one */
	KVEIL_OPT_STRING_MAP,/* struct kveil_string_map: names to strings, open-ended (librdkafka properties) */
	KVEIL_OPT_GROUP,     /* a nested mapping: .sub is its table, at the same struct + offset */
	KVEIL_OPT_CUSTOM,    /* const struct kveil_yaml *, borrowed: the caller reads it itself */
};

struct kveil_string_map {
	char **names, **values;
	uint32_t *lines; /* where each stood */
	size_t count;
};

struct kveil_option {
	const char *name;
	enum kveil_option_type type;
	size_t offset;
	const char *def;  /* default in the spelling a user would write; NULL = zero/NULL */
	uint64_t min, max; /* UINT, BYTES, DURATION (ms), LIST (items); max 0 = no limit */
	const char *const *choices; /* ENUM; ends with NULL */
	const struct kveil_option *sub; /* GROUP */
	bool required;
	bool secret;      /* never printed; may be ${env:NAME} or ${file:PATH} (trailing newline cut) */
	bool reloadable;
	bool set_flag;    /* (unused by parsers; rows of kveil_options_was_set) */
	const char *help; /* one line, no full stop */
};

/* Fills *target from map (NULL map = defaults only). Unknown keys, wrong types and ranges go into report with
 * file:line:col and a hint. env_prefix ("KVEIL"): each row may be overridden by KVEIL_A_B; NULL = no environment.
 * Returns false when it added an error. Owned strings are allocated: free with kveil_options_clear. */
bool kveil_options_parse(const struct kveil_option *table, const struct kveil_yaml *map, const char *file,
                         const char *env_prefix, void *target, struct kveil_report *report);
void kveil_options_clear(const struct kveil_option *table, void *target);
/* Was the option written in the map (or given by the environment)? */
bool kveil_options_given(const struct kveil_yaml *map, const char *name);

/* Markdown table rows, JSON Schema properties ("name": {…}, …) from the same table. */
void kveil_options_write_markdown(const struct kveil_option *table, const char *prefix, struct kveil_buf *out);
void kveil_options_write_schema(const struct kveil_option *table, struct kveil_buf *out);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules/schema.h: the words of a rule file as option tables. The loader, the JSON Schema and docs/rules.md come out
 * of them. A rule also has one word for each row of kveil_actions[], whose parameters are that action's own table.
 */
#ifndef KVEIL_RULES_SCHEMA_H
#define KVEIL_RULES_SCHEMA_H

#include "base/options.h"

#include <stddef.h>

struct kveil_rule_file_options {
	char *name, *output;
	char **topics;
	int unmatched, on_error;
	int schema_subject;
	bool schema_register, schema_normalize, lineage;
	char *schema_context, *schema_tag_property;
	struct kveil_string_map headers;
	const struct kveil_yaml *format, *envelope, *fields, *outputs, *clear;
};

struct kveil_rule_view_options {
	char *name, *topic;
	int unmatched;
	const struct kveil_yaml *fields, *clear;
};

struct kveil_rule_format_options {
	char *value, *key;
};

struct kveil_rule_envelope_options {
	char *kind, *key, *unavailable_value, *added_prefix;
	const struct kveil_yaml *sql;
	int messages, control;
};

struct kveil_rule_options {
	char *when, *record;
	char **path, **to, **tables, **tags;
	bool keep_source, required;
	int on_null, on_key;
};

extern const struct kveil_option kveil_rule_file_table[];     /* struct kveil_rule_file_options */
extern const struct kveil_option kveil_rule_view_table[];     /* one entry of outputs: */
extern const struct kveil_option kveil_rule_format_table[];   /* the long form of format: */
extern const struct kveil_option kveil_rule_envelope_table[]; /* the long form of envelope: */
extern const struct kveil_option kveil_rule_table[];          /* one entry of fields:, without the actions */
enum { KVEIL_RULE_TABLE_ROWS = 10 };

/* Words of the rule language that a later version will know; ends with NULL. */
extern const char *const kveil_rule_later_actions[];

/* The reference tables of docs/rules.md, and the whole JSON Schema of a rule file. */
void kveil_rules_write_markdown(struct kveil_buf *out);
void kveil_rules_write_schema(struct kveil_buf *out);

#endif

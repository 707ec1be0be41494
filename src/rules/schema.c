/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of what a rule file may say. */
#include "rules/schema.h"

#include "transform/action.h"

/* In the order of enum kveil_unmatched and enum kveil_on_error. */
static const char *const unmatched_choices[] = {"keep", "remove", "dead-letter", NULL};
static const char *const on_error_choices[] = {"dead-letter", "stop", "drop", NULL};
static const char *const on_null_choices[] = {"keep", "transform", NULL};
static const char *const on_key_choices[] = {"one-to-one", "any", NULL};

static const char *const subject_choices[] = {"topic", NULL};

#define CLEAR_SCHEMA                                                                                                   \
	"{\"type\": \"array\", \"items\": {\"oneOf\": [{\"type\": \"string\"}, {\"type\": \"array\", \"items\": "      \
	"{\"type\": \"string\"}}]}}"

#define FILE_ROW(member) offsetof(struct kveil_rule_file_options, member)
static const struct kveil_option registered_options[] = {
    {"subject", KVEIL_OPT_ENUM, FILE_ROW(schema_subject), .def = "topic", .choices = subject_choices,
     .help = "with avro: the subject of the derived schema; topic is the output topic's name and "
	     "-value"},
    {"register", KVEIL_OPT_BOOL, FILE_ROW(schema_register), .def = "true",
     .help = "kveil registers it; false: you do (`kveil schema derive` prints it), and records "
	     "wait until then"},
    {"context", KVEIL_OPT_STRING, FILE_ROW(schema_context), .def = "",
     .help = "the registry's context for both schemas; \"\" is the default one"},
    {"tag_property", KVEIL_OPT_STRING, FILE_ROW(schema_tag_property), .def = "confluent:tags",
     .help = "the property of a field with its tags, for rules with `tags`; tags in the schema's metadata count too"},
    {"normalize", KVEIL_OPT_BOOL, FILE_ROW(schema_normalize), .def = "false",
     .help = "the registry treats spellings of one schema as one"},
    {0},
};

const struct kveil_option kveil_rule_file_table[] = {
    {"name", KVEIL_OPT_STRING, FILE_ROW(name),
     .help = "the data set, part of what binds a ciphertext to its place; required if a rule "
	     "encrypts or decrypts"},
    {"topics", KVEIL_OPT_LIST, FILE_ROW(topics), .required = true, .min = 1,
     .help = "input topics: names, or a regex that begins with ^ and matches the whole name"},
    {"format", KVEIL_OPT_CUSTOM, FILE_ROW(format),
     .help = "json, jsonl, avro, text or bytes, or {value: json, key: text}; the key is text unless the long form "
	     "says otherwise",
     .schema = "{\"oneOf\": [{\"type\": \"string\"}, {\"$ref\": \"#/$defs/format\"}]}"},
    {"envelope", KVEIL_OPT_CUSTOM, FILE_ROW(envelope),
     .help = "a kind, or {kind: debezium, …}: the records are change events, and rules address the row in them",
     .schema = "{\"oneOf\": [{\"type\": \"string\"}, {\"$ref\": \"#/$defs/envelope\"}]}"},
    {"output", KVEIL_OPT_STRING, FILE_ROW(output), .def = "{topic}.secure",
     .help = "the output topic; {topic} stands for the input's name"},
    {"schema", KVEIL_OPT_GROUP, .sub = registered_options},
    {"unmatched", KVEIL_OPT_ENUM, FILE_ROW(unmatched), .def = "keep", .choices = unmatched_choices,
     .help = "what happens to fields of the value that no rule and no clear line names"},
    {"on_error", KVEIL_OPT_ENUM, FILE_ROW(on_error), .def = "dead-letter", .choices = on_error_choices,
     .help = "what happens to a record that cannot be protected; it is never passed on"},
    {"fields", KVEIL_OPT_CUSTOM, FILE_ROW(fields), .help = "the rules; with outputs they come first in every view",
     .schema = "{\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/rule\"}}"},
    {"outputs", KVEIL_OPT_CUSTOM, FILE_ROW(outputs), .help = "several views of one input, instead of output",
     .schema = "{\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/output\"}}"},
    {"clear", KVEIL_OPT_CUSTOM, FILE_ROW(clear), .help = "paths that are deliberately left clear, in every view",
     .schema = CLEAR_SCHEMA},
    {"headers", KVEIL_OPT_STRING_MAP, FILE_ROW(headers),
     .help = "headers that every record gets after its own: {classification: restricted}"},
    {"lineage", KVEIL_OPT_BOOL, FILE_ROW(lineage), .def = "false",
     .help = "add the header kveil.lineage: the rules that changed the record, with action and key"},
    {0},
};

#define VIEW_ROW(member) offsetof(struct kveil_rule_view_options, member)
const struct kveil_option kveil_rule_view_table[] = {
    {"name", KVEIL_OPT_STRING, VIEW_ROW(name), .required = true, .help = "the view's name"},
    {"topic", KVEIL_OPT_STRING, VIEW_ROW(topic), .required = true,
     .help = "its output topic; {topic} stands for the input's name"},
    {"fields", KVEIL_OPT_CUSTOM, VIEW_ROW(fields), .help = "its own rules, after the file's",
     .schema = "{\"type\": \"array\", \"items\": {\"$ref\": \"#/$defs/rule\"}}"},
    {"clear", KVEIL_OPT_CUSTOM, VIEW_ROW(clear),
     .help = "paths that another view protects and this one deliberately leaves clear", .schema = CLEAR_SCHEMA},
    {"unmatched", KVEIL_OPT_ENUM, VIEW_ROW(unmatched), .choices = unmatched_choices,
     .help = "as for the file, which is the default"},
    {0},
};

#define FORMAT_ROW(member) offsetof(struct kveil_rule_format_options, member)
const struct kveil_option kveil_rule_format_table[] = {
    {"value", KVEIL_OPT_STRING, FORMAT_ROW(value), .def = "json", .help = "json, jsonl, avro, text or bytes"},
    {"key", KVEIL_OPT_STRING, FORMAT_ROW(key), .def = "text",
     .help = "text, json or avro; under an envelope it is the value's when left out"},
    {0},
};

/* In the order of enum kveil_control_word. */
static const char *const control_choices[] = {"keep", "drop", "dead-letter", NULL};
static const char *const messages_choices[] = {"blank", "keep", "rows", NULL};
#define ENVELOPE_ROW(member) offsetof(struct kveil_rule_envelope_options, member)
const struct kveil_option kveil_rule_envelope_table[] = {
    {"kind", KVEIL_OPT_STRING, ENVELOPE_ROW(kind), .required = true,
     .help = "none, debezium, connect, canal, maxwell or ogg"},
    {"key", KVEIL_OPT_STRING, ENVELOPE_ROW(key),
     .help = "the column that the record's key holds, if the key is a bare value"},
    {"sql", KVEIL_OPT_CUSTOM, ENVELOPE_ROW(sql),
     .help = "SQL text beside the row, such as source.query: blank (the default), keep, or an "
	     "action such as {encrypt: {key: sql}}"},
    {"messages", KVEIL_OPT_ENUM, ENVELOPE_ROW(messages), .def = "blank", .choices = messages_choices,
     .help = "the content of messages that programs write into the log (op m). blank: it becomes "
	     "null. rows: JSON, or base64 of it, is a row to the rules, anything else becomes null"},
    {"control", KVEIL_OPT_ENUM, ENVELOPE_ROW(control), .def = "keep", .choices = control_choices,
     .help = "records that hold no row: heartbeats, ends of transactions, schema changes. keep: "
	     "they go through the rules like any other"},
    {"added_prefix", KVEIL_OPT_STRING, ENVELOPE_ROW(added_prefix),
     .help = "add.fields.prefix and add.headers.prefix of a flattening transform, if not __"},
    {"unavailable_value", KVEIL_OPT_STRING, ENVELOPE_ROW(unavailable_value),
     .help = "the placeholder for a value that the source did not send, which passes unchanged "
	     "(default: the kind's own)"},
    {0},
};

#define RULE_ROW(member) offsetof(struct kveil_rule_options, member)
const struct kveil_option kveil_rule_table[] = {
    {"path", KVEIL_OPT_LIST, RULE_ROW(path), .min = 1,
     .help = "RFC 9535 path in the value; key:$ is the record's key, header:NAME a header. A list "
	     "of two to four paths continues inside JSON texts: [$.payload, $.phone]"},
    {"when", KVEIL_OPT_STRING, RULE_ROW(when),
     .help = "a condition: $ is the record's value, @ what the path found. In doubt a rule that protects applies"},
    {"table", KVEIL_OPT_LIST, RULE_ROW(tables),
     .help = "with an envelope: only rows of these tables: users, shop.user_*, db.schema.users. * "
	     "stands for any text, ? for one character; case is ignored. If an event does not "
	     "name its table, the rule is in doubt"},
    {"record", KVEIL_OPT_STRING, RULE_ROW(record),
     .help = "with avro: only values of this record type, if the topic has several: "
	     "com.acme.User, or User in any namespace. Aliases of the type count too"},
    {"to", KVEIL_OPT_LIST, RULE_ROW(to), .min = 1,
     .help = "write to this sibling (last member differs) and remove the source"},
    {"keep_source", KVEIL_OPT_BOOL, RULE_ROW(keep_source), .def = "false", .help = "with to: leave the source clear"},
    {"required", KVEIL_OPT_BOOL, RULE_ROW(required), .def = "false", .help = "an absent field fails the record"},
    {"on_null", KVEIL_OPT_ENUM, RULE_ROW(on_null), .def = "keep", .choices = on_null_choices,
     .help = "keep: null stays null; transform: the action gets it"},
    {"on_key", KVEIL_OPT_ENUM, RULE_ROW(on_key), .def = "one-to-one", .choices = on_key_choices,
     .help = "for a column that an envelope's key holds. one-to-one: an action that does not keep "
	     "equal keys equal and different ones different fails the record; any: it is allowed"},
    {"tags", KVEIL_OPT_LIST, RULE_ROW(tags), .min = 1,
     .help = "with avro, instead of a path: fields that the writer's schema tags with one of these"},
    {0},
};
_Static_assert(sizeof kveil_rule_table / sizeof kveil_rule_table[0] == KVEIL_RULE_TABLE_ROWS + 1, "count the rows");

const char *const kveil_rule_later_actions[] = {
    "generalize",
    "redact",
    "truncate",
    NULL,
};

static void heading(struct kveil_buf *out, const char *title)
{
	kveil_buf_printf(out, "\n### %s\n\n| word | takes | default | meaning |\n| --- | --- | --- | --- |\n", title);
}

void kveil_rules_write_markdown(struct kveil_buf *out)
{
	heading(out, "The file");
	kveil_options_write_markdown(kveil_rule_file_table, "", out);
	heading(out, "`envelope`");
	kveil_options_write_markdown(kveil_rule_envelope_table, "", out);
	heading(out, "One of `outputs`");
	kveil_options_write_markdown(kveil_rule_view_table, "", out);
	heading(out, "One of `fields`");
	kveil_options_write_markdown(kveil_rule_table, "", out);
}

static void write_rule_schema(struct kveil_buf *out)
{
	kveil_buf_append_str(out, "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {");
	kveil_options_write_schema(kveil_rule_table, out);
	for (size_t i = 0; kveil_actions[i]; i++) {
		kveil_buf_printf(out, ", \"%s\": ", kveil_actions[i]->name);
		if (kveil_actions[i]->scalar)
			kveil_buf_append_str(out, "{\"const\": true}");
		else
			kveil_options_write_schema_object(kveil_actions[i]->options, out);
	}
	kveil_buf_append_str(out,
			     "}, \"anyOf\": [{\"required\": [\"path\"]}, {\"required\": [\"tags\"]}], \"oneOf\": [");
	for (size_t i = 0; kveil_actions[i]; i++)
		kveil_buf_printf(out, "%s{\"required\": [\"%s\"]}", i ? ", " : "", kveil_actions[i]->name);
	kveil_buf_append_str(out, "]}");
}

void kveil_rules_write_schema(struct kveil_buf *out)
{
	kveil_buf_append_str(out, "{\"$schema\": \"https://json-schema.org/draft/2020-12/schema\", "
				  "\"title\": \"kveil rule file\", \"$defs\": {\"rule\": ");
	write_rule_schema(out);
	kveil_buf_append_str(out, ", \"output\": ");
	kveil_options_write_schema_object(kveil_rule_view_table, out);
	kveil_buf_append_str(out, ", \"format\": ");
	kveil_options_write_schema_object(kveil_rule_format_table, out);
	kveil_buf_append_str(out, ", \"envelope\": ");
	kveil_options_write_schema_object(kveil_rule_envelope_table, out);
	kveil_buf_append_str(out, "}, ");
	/* The file's own object, without its opening brace. */
	KVEIL_CLEANUP_BUF struct kveil_buf file = KVEIL_BUF_INIT;
	kveil_options_write_schema_object(kveil_rule_file_table, &file);
	if (file.len)
		kveil_buf_append(out, file.data + 1, file.len - 1);
	out->failed |= file.failed;
	kveil_buf_append_byte(out, '\n');
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the rows say of themselves: reference pages and JSON Schemas. */
#include "base/options.h"

#include "base/options_text.h"

static void write_type(const struct kveil_option *o, struct kveil_buf *out)
{
	static const char *const names[] = {
	    [KVEIL_OPT_BOOL] = "true or false",         [KVEIL_OPT_UINT] = "number",
	    [KVEIL_OPT_INT] = "whole number",           [KVEIL_OPT_BYTES] = "size",
	    [KVEIL_OPT_DURATION] = "duration",          [KVEIL_OPT_STRING] = "text",
	    [KVEIL_OPT_CHAR] = "one character",         [KVEIL_OPT_KEY] = "key name",
	    [KVEIL_OPT_LIST] = "text or list of texts", [KVEIL_OPT_STRING_MAP] = "names and texts",
	    [KVEIL_OPT_CUSTOM] = "see below",
	};

	char number[KVEIL_OPTIONS_SPELLED];

	if (o->type == KVEIL_OPT_ENUM) {
		for (size_t i = 0; o->choices[i]; i++)
			kveil_buf_printf(out, "%s`%s`", i ? ", " : "", o->choices[i]);
		return;
	}
	kveil_buf_append_str(out, o->secret ? "secret" : names[o->type]);
	if (o->type == KVEIL_OPT_LIST || (!o->min && !o->max))
		return;
	kveil_buf_append_str(out, ", ");
	if (o->min) {
		kveil_buf_append_str(out, o->max ? "" : "at least ");
		kveil_buf_append_str(out, kveil_options_spell(o->type, o->min, number));
	}
	if (o->max) {
		kveil_buf_append_str(out, o->min ? " to " : "at most ");
		kveil_buf_append_str(out, kveil_options_spell(o->type, o->max, number));
	}
}

static void write_cell(struct kveil_buf *out, const char *s)
{
	for (; *s; s++) {
		if (*s == '|')
			kveil_buf_append_byte(out, '\\');
		kveil_buf_append_byte(out, (uint8_t)*s);
	}
}

void kveil_options_write_markdown(const struct kveil_option *table, const char *prefix, struct kveil_buf *out)
{
	for (const struct kveil_option *o = table; o->name; o++) {
		if (o->type == KVEIL_OPT_GROUP) {
			KVEIL_CLEANUP_BUF struct kveil_buf inner = KVEIL_BUF_INIT;
			kveil_buf_printf(&inner, "%s%s.", prefix, o->name);
			const char *c = kveil_buf_cstr(&inner);
			if (c)
				kveil_options_write_markdown(o->sub, c, out);
			else
				out->failed = true;
			continue;
		}
		kveil_buf_printf(out, "| `%s%s` | ", prefix, o->name);
		write_type(o, out);
		if (o->required)
			kveil_buf_append_str(out, " | required | ");
		else if (o->def && *o->def)
			kveil_buf_printf(out, " | `%s` | ", o->def);
		else
			kveil_buf_append_str(out, " | | ");
		write_cell(out, o->help ? o->help : "");
		kveil_buf_append_str(out, " |\n");
	}
}

void kveil_options_write_json_string(struct kveil_buf *out, const char *s)
{
	kveil_buf_append_byte(out, '"');
	for (; *s; s++) {
		if ((unsigned char)*s < 0x20) {
			kveil_buf_printf(out, "\\u%04x", (unsigned)*s);
			continue;
		}
		if (*s == '"' || *s == '\\')
			kveil_buf_append_byte(out, '\\');
		kveil_buf_append_byte(out, (uint8_t)*s);
	}
	kveil_buf_append_byte(out, '"');
}

static void write_number_limits(const struct kveil_option *o, struct kveil_buf *out)
{
	kveil_buf_printf(out, "\"type\": \"integer\", \"minimum\": %llu", (unsigned long long)o->min);
	if (o->max)
		kveil_buf_printf(out, ", \"maximum\": %llu", (unsigned long long)o->max);
}

static void write_default(const struct kveil_option *o, struct kveil_buf *out)
{
	if (!o->def)
		return;
	kveil_buf_append_str(out, ", \"default\": ");
	if (o->type == KVEIL_OPT_BOOL || o->type == KVEIL_OPT_UINT || o->type == KVEIL_OPT_INT)
		kveil_buf_append_str(out, o->def);
	else
		kveil_options_write_json_string(out, o->def);
}

static void write_property(const struct kveil_option *o, struct kveil_buf *out)
{
	kveil_options_write_json_string(out, o->name);
	kveil_buf_append_str(out, ": ");
	if (o->type == KVEIL_OPT_GROUP) {
		kveil_options_write_schema_object(o->sub, out);
		return;
	}
	if (o->type == KVEIL_OPT_CUSTOM && o->write_schema) {
		o->write_schema(out);
		return;
	}
	if (o->type == KVEIL_OPT_CUSTOM) {
		kveil_buf_append_str(out, o->schema ? o->schema : "true");
		return;
	}
	kveil_buf_append_byte(out, '{');
	switch (o->type) {
	case KVEIL_OPT_BOOL:
		kveil_buf_append_str(out, "\"type\": \"boolean\"");
		break;
	case KVEIL_OPT_UINT:
		write_number_limits(o, out);
		break;
	case KVEIL_OPT_INT:
		kveil_buf_append_str(out, "\"type\": \"integer\"");
		break;
	case KVEIL_OPT_BYTES:
		kveil_buf_append_str(out, "\"type\": [\"string\", \"integer\"], \"minimum\": 0, "
					  "\"pattern\": \"^(0|[1-9][0-9]*)(B|KiB|MiB|GiB)?$\"");
		break;
	case KVEIL_OPT_DURATION:
		kveil_buf_append_str(out, "\"type\": \"string\", \"pattern\": \"^(0|[1-9][0-9]*)(ms|s|m|h|d)$\"");
		break;
	case KVEIL_OPT_CHAR:
	case KVEIL_OPT_KEY:
		kveil_buf_append_str(out, "\"type\": [\"string\", \"number\"], \"minLength\": 1");
		break;
	case KVEIL_OPT_ENUM:
		kveil_buf_append_str(out, "\"enum\": [");
		for (size_t i = 0; o->choices[i]; i++) {
			kveil_buf_append_str(out, i ? ", " : "");
			kveil_options_write_json_string(out, o->choices[i]);
		}
		kveil_buf_append_byte(out, ']');
		break;
	case KVEIL_OPT_LIST:
		kveil_buf_append_str(
		    out, "\"type\": [\"string\", \"array\"], \"items\": {\"type\": [\"string\", \"number\", "
			 "\"boolean\"]}");
		break;
	case KVEIL_OPT_STRING_MAP:
		kveil_buf_append_str(
		    out, "\"type\": [\"object\", \"null\"], \"additionalProperties\": {\"type\": [\"string\", "
			 "\"number\", \"boolean\"]}");
		break;
	default:
		if (o->secret)
			kveil_buf_append_str(out, "\"type\": \"string\", \"pattern\": \"[$][{](env|file):[^}]+[}]\"");
		else
			kveil_buf_append_str(out, "\"type\": [\"string\", \"number\", \"boolean\"]");
	}
	write_default(o, out);
	if (o->help) {
		kveil_buf_append_str(out, ", \"description\": ");
		kveil_options_write_json_string(out, o->help);
	}
	kveil_buf_append_byte(out, '}');
}

void kveil_options_write_schema(const struct kveil_option *table, struct kveil_buf *out)
{
	for (const struct kveil_option *o = table; o->name; o++) {
		kveil_buf_append_str(out, o == table ? "" : ", ");
		write_property(o, out);
	}
}

void kveil_options_write_schema_object(const struct kveil_option *table, struct kveil_buf *out)
{
	bool first = true;

	kveil_buf_append_str(out, "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": {");
	kveil_options_write_schema(table, out);
	kveil_buf_append_byte(out, '}');
	for (const struct kveil_option *o = table; o->name; o++)
		if (o->required) {
			kveil_buf_append_str(out, first ? ", \"required\": [" : ", ");
			kveil_options_write_json_string(out, o->name);
			first = false;
		}
	kveil_buf_append_str(out, first ? "}" : "]}");
}

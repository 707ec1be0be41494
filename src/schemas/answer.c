/* SPDX-License-Identifier: Apache-2.0 */
/* A schema registry's answers, read. */
#include "schemas/answer.h"

#include "base/text.h"

#include <stdio.h>

/* A schema is one value here. */
enum { MOST_VALUES = 1 << 16, MOST_DEPTH = 64, MOST_REASONS_BYTES = 16 * 1024 };

json_t *kveil_schemas_parse_answer(struct kveil_span body)
{
	if (body.len == 0 || body.len > KVEIL_SCHEMAS_REPLY_BYTES ||
	    !kveil_text_json_is_modest(body, MOST_DEPTH, MOST_VALUES))
		return NULL;
	json_t *j = json_loadb((const char *)body.data, body.len, JSON_ALLOW_NUL, NULL);
	if (json_is_object(j))
		return j;
	json_decref(j);
	return NULL;
}

int kveil_schemas_error_code(const json_t *answer)
{
	json_int_t code = json_integer_value(json_object_get(answer, "error_code"));

	return code > 0 && code < 1000000 ? (int)code : 0;
}

bool kveil_schemas_is_not_found(const json_t *answer)
{
	int code = kveil_schemas_error_code(answer);

	return code >= KVEIL_SCHEMAS_SUBJECT_NOT_FOUND && code <= KVEIL_SCHEMAS_SCHEMA_NOT_FOUND;
}

const char *kveil_schemas_says(const json_t *answer, char *dst, size_t size)
{
	const char *text = json_string_value(json_object_get(answer, "message"));

	return kveil_text_line(text && *text ? text : "no reason given", dst, size);
}

static enum kveil_schemas_type type_of(const json_t *type)
{
	const char *name = json_string_value(type);

	if (!type || json_is_null(type) || (name && strcmp(name, "AVRO") == 0))
		return KVEIL_SCHEMAS_AVRO;
	if (name && strcmp(name, "JSON") == 0)
		return KVEIL_SCHEMAS_JSON;
	return name && strcmp(name, "PROTOBUF") == 0 ? KVEIL_SCHEMAS_PROTOBUF : KVEIL_SCHEMAS_OTHER;
}

/* What cannot be read counts as there: a rule that is overlooked would be worse. */
static void read_rules(const json_t *set, const char *member, unsigned bit, struct kveil_schemas_answer *a)
{
	const json_t *rules = json_object_get(set, member), *rule;
	size_t i;

	if (!rules || json_is_null(rules) || (json_is_array(rules) && json_array_size(rules) == 0))
		return;
	a->rules |= bit;
	json_array_foreach(rules, i, rule)
	{
		const char *type = json_string_value(json_object_get(rule, "type"));
		const char *name = json_string_value(json_object_get(rule, "name"));
		if (type && strncasecmp(type, "ENCRYPT", 7) == 0) {
			a->rules |= KVEIL_SCHEMAS_RULES_ENCRYPT;
			a->encrypt = a->encrypt ? a->encrypt : name ? name : "without a name";
		}
	}
}

static const char *guid_of(const json_t *answer)
{
	const char *guid = json_string_value(json_object_get(answer, "guid"));

	return guid && strlen(guid) < KVEIL_GUID_TEXT ? guid : "";
}

bool kveil_schemas_read_schema(const json_t *answer, struct kveil_schemas_answer *ret)
{
	const json_t *text = json_object_get(answer, "schema"), *set = json_object_get(answer, "ruleSet");
	const json_t *references = json_object_get(answer, "references");
	const json_t *tags = json_object_get(json_object_get(answer, "metadata"), "tags");

	if (!json_is_string(text))
		return false;
	*ret = (struct kveil_schemas_answer){
	    .text = kveil_span_of(json_string_value(text), json_string_length(text)),
	    .type = type_of(json_object_get(answer, "schemaType")),
	    .guid = guid_of(answer),
	    .references = json_array_size(references) ? references : NULL,
	    .tags = json_object_size(tags) ? tags : NULL,
	};
	read_rules(set, "migrationRules", KVEIL_SCHEMAS_RULES_MIGRATION, ret);
	read_rules(set, "domainRules", KVEIL_SCHEMAS_RULES_DOMAIN, ret);
	read_rules(set, "encodingRules", KVEIL_SCHEMAS_RULES_ENCODING, ret);
	return true;
}

bool kveil_schemas_read_reference(const json_t *reference, struct kveil_schemas_reference *ret)
{
	json_int_t version = json_integer_value(json_object_get(reference, "version"));

	ret->name = json_string_value(json_object_get(reference, "name"));
	ret->subject = json_string_value(json_object_get(reference, "subject"));
	ret->version = (uint32_t)version;
	return ret->name && ret->subject && *ret->subject && version > 0 && version <= INT32_MAX;
}

bool kveil_schemas_read_id(const json_t *answer, struct kveil_schemas_id *ret)
{
	const json_t *id = json_object_get(answer, "id");
	json_int_t n = json_integer_value(id);

	if (!json_is_integer(id) || n < 0 || n > INT32_MAX)
		return false;
	ret->id = (uint32_t)n;
	snprintf(ret->guid, sizeof ret->guid, "%s", guid_of(answer));
	return true;
}

bool kveil_schemas_read_compatible(const json_t *answer, bool *ret_is, struct kveil_buf *reasons)
{
	const json_t *is = json_object_get(answer, "is_compatible"), *messages = json_object_get(answer, "messages");
	const json_t *message;
	char line[512];
	size_t i;

	if (!json_is_boolean(is))
		return false;
	*ret_is = json_is_true(is);
	json_array_foreach(messages, i, message)
	{
		const char *text = json_string_value(message);
		/* Behind the reasons stand whole schemas. */
		if (!text || strncmp(text, "{oldSchema", 10) == 0 || reasons->len > MOST_REASONS_BYTES)
			continue;
		kveil_buf_append_str(reasons, kveil_text_line(text, line, sizeof line));
		kveil_buf_append_byte(reasons, '\n');
	}
	return true;
}

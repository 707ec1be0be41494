/* SPDX-License-Identifier: Apache-2.0 */
/* replace: a fixed value. */
#include "transform/action.h"

#include <stddef.h>
#include <stdlib.h>

struct replace {
	const struct kveil_yaml *with; /* only until prepare */
	char *text;                    /* owned */
	size_t len;
	enum kveil_result_kind kind;
};

static const struct kveil_option options[] = {
    {"with", KVEIL_OPT_CUSTOM, offsetof(struct replace, with), .required = true,
     .help = "the constant: a text, a number, true, false or null",
     .schema = "{\"type\": [\"string\", \"number\", \"boolean\", \"null\"], "
	       "\"description\": \"the constant: a text, a number, true, false or null\"}"},
    {0},
};

static const char *digits(const char *s)
{
	while (*s >= '0' && *s <= '9')
		s++;
	return s;
}

/* RFC 8259 section 6. */
static bool is_json_number(const char *s)
{
	s += *s == '-';
	const char *whole = digits(s);
	if (whole == s || (*s == '0' && whole > s + 1))
		return false;
	s = whole;
	if (*s == '.') {
		whole = digits(++s);
		if (whole == s)
			return false;
		s = whole;
	}
	if (*s == 'e' || *s == 'E') {
		s++;
		s += *s == '+' || *s == '-';
		whole = digits(s);
		if (whole == s)
			return false;
		s = whole;
	}
	return *s == 0;
}

/* A number to YAML, or to many who read it, and none to JSON: 007, 0x1f, +5, .5, 1_000. */
static bool is_other_number(const char *s)
{
	s += *s == '-' || *s == '+';
	s += *s == '.';
	if (strncmp(s, "0x", 2) == 0 || strncmp(s, "0o", 2) == 0 || strcasecmp(s, "inf") == 0 ||
	    strcasecmp(s, "nan") == 0)
		return true;
	return *s >= '0' && *s <= '9' && s[strspn(s, "0123456789._eE+")] == 0;
}

/* What some readers of YAML take for null or a truth value, and others for a text. */
static bool is_other_word(const char *s)
{
	static const char *const words[] = {"null", "true", "false"};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strcasecmp(s, words[i]) == 0)
			return strcmp(s, words[i]) != 0;
	return strcmp(s, "~") == 0 || *s == 0;
}

static bool is_plain_ascii(const char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e || *s == '"' || *s == '\\')
			return false;
	return true;
}

static void replace_check(const void *params, const char *file, const struct kveil_yaml *node,
			  struct kveil_report *report)
{
	const struct kveil_yaml *with = ((const struct replace *)params)->with;

	(void)node;
	if (!with)
		return;
	if (with->kind != KVEIL_YAML_SCALAR)
		kveil_error_hint(kveil_report_at(report, file, with->line, with->column,
						 "'with' must be a text, a number, true, false or null"),
				 "a text that begins with '%c' needs quotes", with->kind == KVEIL_YAML_MAP ? '{' : '[');
	else if (!with->quoted && is_other_word(with->text))
		kveil_error_hint(kveil_report_at(report, file, with->line, with->column,
						 "'%.40s' may be meant as a text or as something else", with->text),
				 "null, true and false in small letters, or a text in quotes: \"%.40s\"", with->text);
	else if (!with->quoted && !is_json_number(with->text) && is_other_number(with->text))
		kveil_error_hint(kveil_report_at(report, file, with->line, with->column,
						 "'%.40s' is not a number that JSON knows", with->text),
				 "for a text put it in quotes: \"%.40s\"", with->text);
}

static enum kveil_status replace_prepare(void *params, struct kveil_error *err)
{
	struct replace *p = params;
	const struct kveil_yaml *with = p->with;

	p->with = NULL;
	if (!with->quoted && kveil_yaml_is_null(with))
		p->kind = KVEIL_RESULT_NULL;
	else if (!with->quoted &&
		 (strcmp(with->text, "true") == 0 || strcmp(with->text, "false") == 0 || is_json_number(with->text)))
		p->kind = KVEIL_RESULT_RAW;
	else
		p->kind = is_plain_ascii(with->text) ? KVEIL_RESULT_ASCII : KVEIL_RESULT_TEXT;
	p->text = strdup(p->kind == KVEIL_RESULT_NULL ? "" : with->text);
	if (!p->text)
		return kveil_no_memory(err, NULL);
	p->len = strlen(p->text);
	return KVEIL_OK;
}

static unsigned replace_results(const void *params, enum kveil_kind kind)
{
	(void)kind;
	return KVEIL_RESULT_BIT(((const struct replace *)params)->kind);
}

static void replace_clear(void *params)
{
	struct replace *p = params;

	free(p->text);
	p->text = NULL;
}

static enum kveil_status replace_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				       struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	const struct replace *p = call->params;

	(void)in;
	kveil_buf_append(out, p->text, p->len);
	*ret = p->kind;
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, NULL);
}

static struct kveil_span replace_constant(const void *params)
{
	const struct replace *p = params;

	return kveil_span_of(p->text, p->len);
}

const struct kveil_action kveil_action_replace = {
    .name = "replace",
    .effect = KVEIL_PROTECTS,
    .kinds = ~0u,
    .help = "replaces the value with a constant",
    .about =
	"Takes any kind of value. An unquoted number, `true`, `false` or `null` is written as such, anything else as "
	"a string.",
    .example = "replace: {with: \"***\"}",
    .options = options,
    .params_bytes = sizeof(struct replace),
    .check = replace_check,
    .prepare = replace_prepare,
    .params_clear = replace_clear,
    .results_for = replace_results,
    .constant = replace_constant,
    .apply = replace_apply,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* rules/topic_names.c: topic names, regexes of them, and templates with {topic} in them. */
#include "rules/loader.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

enum { TOPIC_MAX = 249 }; /* Kafka's own limit */
static const char hole[] = "{topic}";
enum { HOLE = sizeof hole - 1 };

struct kveil_topic_regex {
	pcre2_code *code;
};

struct kveil_topic_regex *kveil_topic_regex_new(const char *text, struct kveil_error *err)
{
	int code;
	PCRE2_SIZE at;
	struct kveil_topic_regex *r = malloc(sizeof *r);

	if (!r) {
		kveil_no_memory(err, NULL);
		return NULL;
	}
	/* The whole name, not a part of it: what Kafka's own clients do with a pattern subscription. */
	r->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF,
				&code, &at, NULL);
	if (!r->code) {
		PCRE2_UCHAR why[160] = "";
		pcre2_get_error_message(code, why, sizeof why);
		kveil_fail_at(err, KVEIL_E_RULES, at, "not a regular expression: %s", (const char *)why);
		free(r);
		return NULL;
	}
	return r;
}

void kveil_topic_regex_free(struct kveil_topic_regex *r)
{
	if (!r)
		return;
	pcre2_code_free(r->code);
	free(r);
}

bool kveil_topic_regex_matches(const struct kveil_topic_regex *r, const char *topic)
{
	pcre2_match_data *data = pcre2_match_data_create(1, NULL);
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	bool yes = false;

	if (r && data && limits) {
		pcre2_set_match_limit(limits, 100000);
		yes = pcre2_match(r->code, (PCRE2_SPTR)topic, strlen(topic), 0, 0, data, limits) >= 0;
	}
	pcre2_match_context_free(limits);
	pcre2_match_data_free(data);
	return yes;
}

bool kveil_plan_takes_topic(const struct kveil_plan *p, const char *topic)
{
	for (size_t i = 0; p->topics[i]; i++)
		if (p->topic_regexes[i] ? kveil_topic_regex_matches(p->topic_regexes[i], topic)
					: strcmp(p->topics[i], topic) == 0)
			return true;
	return false;
}

static bool is_topic_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
	       c == '-';
}

bool kveil_topic_check(struct kveil_loader *l, const struct kveil_yaml *node, const char *text, bool is_template)
{
	struct kveil_error err;
	size_t literal = 0, i = 0;

	while (text[i]) {
		if (is_template && strncmp(text + i, hole, HOLE) == 0) {
			i += HOLE;
			continue;
		}
		if (!is_topic_char(text[i])) {
			kveil_fail_at(&err, KVEIL_E_RULES, i,
				      "a topic's name has only letters, digits, '.', '_' and '-'");
			if (text[i] == '{')
				kveil_error_hint(&err, is_template
							   ? "the one thing in braces here is {topic}"
							   : "{topic} belongs in output; write the name itself");
			else if (!is_template)
				kveil_error_hint(&err, "a regular expression begins with ^");
			kveil_loader_add(l, node, 0, &err);
			return false;
		}
		i++;
		literal++;
	}
	if (i == 0 || literal > TOPIC_MAX || strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
		kveil_fail(&err, KVEIL_E_RULES,
			   i == 0 ? "a topic's name is empty" : "not a name that Kafka allows for a topic");
		kveil_loader_add(l, node, 0, &err);
		return false;
	}
	return true;
}

void kveil_plan_expand_topic(const char *tmpl, const char *topic, struct kveil_buf *out)
{
	while (*tmpl) {
		if (strncmp(tmpl, hole, HOLE) == 0) {
			kveil_buf_append_str(out, topic);
			tmpl += HOLE;
		} else {
			kveil_buf_append_byte(out, (uint8_t)*tmpl++);
		}
	}
	kveil_buf_cstr(out);
}

bool kveil_plan_topic_fits(const char *tmpl, const char *topic)
{
	size_t literal = 0, holes = 0, len = strlen(topic);

	for (const char *p = tmpl; *p;) {
		bool is_hole = strncmp(p, hole, HOLE) == 0;
		holes += is_hole;
		literal += !is_hole;
		p += is_hole ? HOLE : 1;
	}
	if (holes == 0)
		return strcmp(tmpl, topic) == 0;
	/* Every hole holds the same text, so its length is known. */
	if (len <= literal || (len - literal) % holes)
		return false;
	size_t fill = (len - literal) / holes;
	const char *first = strstr(tmpl, hole);
	const char *name = topic + (first - tmpl);
	for (const char *p = tmpl; *p;) {
		if (strncmp(p, hole, HOLE) == 0) {
			if (memcmp(topic, name, fill) != 0)
				return false;
			topic += fill;
			p += HOLE;
		} else if (*p++ != *topic++) {
			return false;
		}
	}
	return true;
}

const char *kveil_rules_pcre2_version(void)
{
	static _Thread_local char version[64];

	return pcre2_config(PCRE2_CONFIG_VERSION, version) < 0 ? "unknown" : version;
}

bool kveil_plan_same_output(const char *a, const char *b, const char *entry)
{
	KVEIL_CLEANUP_BUF struct kveil_buf x = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_BUF struct kveil_buf y = KVEIL_BUF_INIT;

	if (strcmp(a, b) == 0 || entry[0] == '^')
		return strcmp(a, b) == 0;
	kveil_plan_expand_topic(a, entry, &x);
	kveil_plan_expand_topic(b, entry, &y);
	return kveil_buf_ok(&x) && kveil_buf_ok(&y) && kveil_span_eq(kveil_buf_span(&x), kveil_buf_span(&y));
}

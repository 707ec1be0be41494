/* SPDX-License-Identifier: Apache-2.0 */
/* Configuration and rules of a command, with all their problems. */
#include "worker/setup.h"
#include "kafka/versions.h"

#include "worker/reload.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool is_same_file(const char *x, const char *y)
{
	struct stat a, b;

	return stat(x, &a) == 0 && stat(y, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool share_a_topic(const struct kveil_plan *x, const struct kveil_plan *y)
{
	for (size_t i = 0; x->topics[i]; i++)
		for (size_t k = 0; y->topics[k]; k++)
			if (strcmp(x->topics[i], y->topics[k]) == 0)
				return true;
	return false;
}

/* Does one of the others take this file's place: is it the same, or has it rules for the same topic? */
static bool is_replaced(const char *file, char *const *others, struct kveil_keystore *names)
{
	struct kveil_report ignored = {0};
	struct kveil_plan *p = kveil_plan_read(file, names, &ignored);
	bool replaced = false;

	for (size_t i = 0; others[i] && !replaced; i++) {
		struct kveil_plan *other = kveil_plan_read(others[i], names, &ignored);
		replaced = is_same_file(file, others[i]) || (p && other && share_a_topic(p, other));
		kveil_plan_unref(other);
	}
	kveil_plan_unref(p);
	kveil_report_clear(&ignored);
	return replaced;
}

/* Files of the configuration that none of `more` replaces, and those. NULL: nothing can be read. */
static char **list_with(const struct kveil_setup *s, const char *const *more, struct kveil_report *report)
{
	char **files = kveil_rule_files_list((const char *const *)s->config->rules, report);
	char **others = kveil_rule_files_list(more, report);
	size_t kept = 0, count = 0;

	while (others && others[count])
		count++;
	for (size_t i = 0; others && files && files[i]; i++)
		if (is_replaced(files[i], others, s->names))
			free(files[i]);
		else
			files[kept++] = files[i];
	if (files && others)
		files[kept] = NULL;
	char **all = files && others ? realloc(files, (kept + count + 1) * sizeof *all) : NULL;
	if (!all) {
		kveil_rule_files_free(files);
		kveil_rule_files_free(others);
		return NULL;
	}
	memcpy(all + kept, others, (count + 1) * sizeof *all);
	free(others);
	return all;
}

static void read_rules(struct kveil_setup *s, const char *const *more, struct kveil_report *report)
{
	char **files = more ? list_with(s, more, report) : NULL;

	if (!more || files)
		s->plans = kveil_plan_set_read((const char *const *)(more ? files : s->config->rules),
					       s->config->dead_letter.topic, s->names, report);
	kveil_rule_files_free(files);
}

void kveil_setup_load(const char *path, struct kveil_setup *s, struct kveil_report *report)
{
	kveil_setup_load_with(path, NULL, s, report);
}

void kveil_setup_load_with(const char *path, const char *const *more, struct kveil_setup *s,
			   struct kveil_report *report)
{
	struct kveil_error err;

	*s = (struct kveil_setup){.config = kveil_config_read(path, report)};
	if (!s->config)
		return;
	if (s->config->keys_whole && kveil_keystore_new_names(&s->config->keys, &s->names, &err))
		kveil_report_add(report, &err);
	if (s->config->rules)
		read_rules(s, more, report);
	if (s->plans)
		kveil_check_together(s->config, s->plans, report);
}

void kveil_setup_clear(struct kveil_setup *s)
{
	kveil_plan_set_unref(s->plans);
	kveil_keystore_unref(s->names);
	kveil_config_free(s->config);
	*s = (struct kveil_setup){0};
}

/* --- risks --- */

struct risky {
	const char *property, *value; /* NULL = any */
	const char *why, *hint;
};

static const struct risky risky_properties[] = {
    {"sasl.kerberos.kinit.cmd", NULL, "runs a command of a shell", "leave it out, or restrict who may write this file"},
    {"ssl.engine.location", NULL, "loads foreign code, which sees records in clear", "leave it out"},
    {"enable.ssl.certificate.verification", "false", "lets anybody pose as the broker",
     "ssl.ca.location names who is trusted"},
    {"ssl.endpoint.identification.algorithm", "none", "lets everybody with a certificate pose as the broker", "https"},
    {0},
};

static void warn_properties(const struct kveil_config *c, const char *group, const struct kveil_string_map *map,
			    struct kveil_report *report)
{
	for (size_t i = 0; i < map->count; i++)
		for (const struct risky *r = risky_properties; r->property; r++)
			if (strcmp(map->names[i], r->property) == 0 &&
			    (!r->value || strcmp(map->values[i], r->value) == 0))
				kveil_error_hint(kveil_report_warn_at(report, c->file, map->lines[i], 1,
								      "kafka.%s: %s %s", group, r->property, r->why),
						 "%s", r->hint);
}

static const char *property(const struct kveil_string_map *map, const char *name, const char *otherwise)
{
	for (size_t i = 0; i < map->count; i++)
		if (strcmp(map->names[i], name) == 0)
			return map->values[i];
	return otherwise;
}

static bool is_plaintext(const struct kveil_config *c, const struct kveil_string_map *own)
{
	static const char name[] = "security.protocol";
	const char *protocol = property(own, name, property(&c->kafka.properties, name, "plaintext"));

	return strcasecmp(protocol, "plaintext") == 0 || strcasecmp(protocol, "sasl_plaintext") == 0;
}

/* From 4.0 on brokers refuse how librdkafka before 2.6.1 answers in SCRAM: docs/librdkafka.md. */
static void warn_scram(const struct kveil_config *c, struct kveil_report *report)
{
	const struct kveil_string_map *map = &c->kafka.properties;

	for (size_t i = 0; i < map->count && rd_kafka_version() < KVEIL_RDKAFKA_SCRAM_KAFKA_4; i++)
		if (strncmp(map->names[i], "sasl.mechanism", strlen("sasl.mechanism")) == 0 &&
		    strncasecmp(map->values[i], "SCRAM-", strlen("SCRAM-")) == 0)
			kveil_error_hint(
			    kveil_report_warn_at(report, c->file, map->lines[i], 1,
						 "kafka.properties: %s: %s fails at brokers from Kafka 4.0 on with "
						 "librdkafka before 2.6.1; this is %s",
						 map->names[i], map->values[i], rd_kafka_version_str()),
			    "PLAIN over TLS, OAUTHBEARER or certificates; or Debian 13's kveil");
}

static bool is_loopback(const char *host, size_t len)
{
	static const char *const names[] = {"localhost", "127.", "[::1]", "::1"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		size_t n = strlen(names[i]);
		if (len >= n && strncmp(host, names[i], n) == 0 && (i == 1 || len == n || host[n] == ':'))
			return true;
	}
	return false;
}

static void warn_network(const struct kveil_config *c, struct kveil_report *report)
{
	const char *servers = c->kafka.bootstrap_servers;

	if (!servers || (!is_plaintext(c, &c->kafka.consumer) && !is_plaintext(c, &c->kafka.producer)))
		return;
	for (const char *p = servers; *p;) {
		size_t n = strcspn(p, ",");
		size_t blank = strspn(p, " ");
		if (n > blank && !is_loopback(p + blank, n - blank)) {
			kveil_error_hint(kveil_report_warn_at(report, c->file, 0, 0,
							      "records from %.*s cross a network in clear",
							      (int)(n - blank), p + blank),
					 "kafka: {properties: {security.protocol: ssl}}, or sasl_ssl");
			return;
		}
		p += n + (p[n] == ',');
	}
}

static void warn_writable(const char *path, const char *what, struct kveil_report *report)
{
	struct stat st;

	/* In a folder with the sticky bit others add files and replace none. */
	if (stat(path, &st) == 0 && st.st_mode & S_IWOTH && !(S_ISDIR(st.st_mode) && st.st_mode & S_ISVTX))
		kveil_error_hint(kveil_report_warn_at(report, path, 0, 0, "every user of this host can write %s", what),
				 "chmod o-w");
}

static void warn_files(const struct kveil_config *c, const struct kveil_plan_set *plans, struct kveil_report *report)
{
	struct stat st;

	warn_writable(c->file, "the configuration", report);
	for (size_t i = 0; c->rules && c->rules[i]; i++)
		if (stat(c->rules[i], &st) == 0 && S_ISDIR(st.st_mode))
			warn_writable(c->rules[i], "the folder of rules", report);
	for (size_t i = 0; plans && i < plans->count; i++)
		warn_writable(plans->plans[i]->file, "this rule file", report);
}

/* --- one value, several tokens --- */

struct token_rule {
	const struct kveil_plan *plan;
	const struct kveil_rule *rule;
};

/* The last member that a path names: the column, most likely. */
static struct kveil_span column(const struct kveil_rule *r)
{
	const struct kveil_path *p = r->path;

	for (size_t i = p ? p->count : 0; i-- > 0;)
		if (p->segments[i].count == 1 && p->segments[i].selectors[0].kind == KVEIL_SEL_NAME)
			return p->segments[i].selectors[0].name;
	return KVEIL_SPAN_NULL;
}

/* Does the rule make deterministic tokens under the key, bound to their place? */
static bool makes_tokens(const struct kveil_rule *r, const struct kveil_data_key_config *key)
{
	return r->action->effect == KVEIL_PROTECTS && r->key_use & (KVEIL_USE_TOKENIZE | KVEIL_USE_DETERMINISTIC) &&
	       !r->ad && r->key && r->key->is_constant &&
	       kveil_span_eq(r->key->pieces[0].text, kveil_span_str(key->name));
}

static bool is_same_place(const struct token_rule *a, const struct token_rule *b)
{
	const char *x = a->rule->to_text ? a->rule->to_text : a->rule->path_text;
	const char *y = b->rule->to_text ? b->rule->to_text : b->rule->path_text;

	return a->plan == b->plan && strcmp(x, y) == 0;
}

static bool is_of_one_value(const struct token_rule *a, const struct token_rule *b)
{
	struct kveil_span name = column(a->rule);

	return name.len && kveil_span_eq(name, column(b->rule)) && !is_same_place(a, b);
}

/* One that makes tokens of the same value and stands before it; rule NULL: none. */
static struct token_rule find_earlier(const struct kveil_data_key_config *key, const struct kveil_plan_set *plans,
				      const struct token_rule *at)
{
	for (size_t i = 0; i < plans->count; i++)
		for (size_t k = 0; k < plans->plans[i]->rule_count; k++) {
			struct token_rule r = {plans->plans[i], &plans->plans[i]->rules[k]};
			if (r.rule == at->rule)
				return (struct token_rule){0};
			if (makes_tokens(r.rule, key) && is_of_one_value(&r, at))
				return r;
		}
	return (struct token_rule){0};
}

/* Once for a key. */
static void warn_apart(const struct kveil_data_key_config *key, const struct kveil_plan_set *plans,
		       struct kveil_report *report)
{
	for (size_t i = 0; i < plans->count; i++)
		for (size_t k = 0; k < plans->plans[i]->rule_count; k++) {
			struct token_rule at = {plans->plans[i], &plans->plans[i]->rules[k]};
			if (!makes_tokens(at.rule, key))
				continue;
			struct token_rule earlier = find_earlier(key, plans, &at);
			if (!earlier.rule)
				continue;
			kveil_error_hint(
			    kveil_report_warn_at(report, at.plan->file, at.rule->line, at.rule->column,
						 "one value has another token here than by %s: the key %s has no join",
						 earlier.rule->id, key->name),
			    "join: SCOPE for the key, where they are to be compared; an associated_data of the rule's "
			    "own, where they are not");
			return;
		}
}

void kveil_setup_warn(const struct kveil_setup *s, struct kveil_report *report)
{
	const struct kveil_config *c = s->config;

	if (!c)
		return;
	warn_properties(c, "properties", &c->kafka.properties, report);
	warn_properties(c, "consumer", &c->kafka.consumer, report);
	warn_properties(c, "producer", &c->kafka.producer, report);
	warn_scram(s->config, report);
	warn_network(c, report);
	warn_files(c, s->plans, report);
	for (size_t i = 0; s->plans && i < c->keys.data_count; i++)
		if (!c->keys.data[i].join)
			warn_apart(&c->keys.data[i], s->plans, report);
}

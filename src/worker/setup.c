/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/setup.h"

#include "worker/reload.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

void kveil_setup_load(const char *path, struct kveil_setup *s, struct kveil_report *report)
{
	struct kveil_error err;

	*s = (struct kveil_setup){.config = kveil_config_read(path, report)};
	if (!s->config)
		return;
	if (s->config->keys_whole && kveil_keystore_new_names(&s->config->keys, &s->names, &err))
		kveil_report_add(report, &err);
	if (s->config->rules)
		s->plans = kveil_plan_set_read((const char *const *)s->config->rules, s->config->dead_letter.topic,
					       s->names, report);
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
    {"sasl.kerberos.kinit.cmd", NULL, "runs a command of a shell", "leave it out, or keep who writes this file few"},
    {"ssl.engine.location", NULL, "loads foreign code, which sees records in clear", "leave it out"},
    {"enable.ssl.certificate.verification", "false", "lets anybody be the broker",
     "ssl.ca.location names who is trusted"},
    {"ssl.endpoint.identification.algorithm", "none", "lets every holder of a certificate be the broker", "https"},
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
	enum { MENDED = 0x020601FF };
	const struct kveil_string_map *map = &c->kafka.properties;

	for (size_t i = 0; i < map->count && rd_kafka_version() < MENDED; i++)
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
							      "what is read from %.*s comes in clear over a network",
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
}

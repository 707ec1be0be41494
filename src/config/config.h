/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config/config.h: kveil.yaml. All of it comes out of the option tables in config.c: parsing, environment overrides
 * (KVEIL_KAFKA_BOOTSTRAP_SERVERS), docs/configuration.md, the JSON Schema.
 */
#ifndef KVEIL_CONFIG_CONFIG_H
#define KVEIL_CONFIG_CONFIG_H

#include "base/options.h"
#include "keys/keystore.h"
#include "kveil/base.h"
#include "schemas/schemas_config.h"

enum kveil_delivery { KVEIL_DELIVERY_AT_LEAST_ONCE, KVEIL_DELIVERY_EXACTLY_ONCE };
enum kveil_partition_mode { KVEIL_PARTITION_SAME, KVEIL_PARTITION_KEY };

enum kveil_rules_guard { KVEIL_GUARD_WARN, KVEIL_GUARD_STRICT };

struct kveil_config {
	char *file;
	struct {
		char *bootstrap_servers, *group_id;
		struct kveil_string_map properties, consumer, producer; /* librdkafka's; guarantees refused */
	} kafka;
	int delivery; /* enum kveil_delivery */
	struct {
		int64_t time_ms;
		uint64_t bytes;
	} transaction;  /* exactly-once: how much one holds */
	char *instance; /* exactly-once: empty = the host's name */
	int64_t commit_interval_ms;
	uint64_t workers;
	int rules_guard; /* enum kveil_rules_guard */
	char **rules;    /* files and folders, relative to the configuration's folder; resolved */
	bool create_topics;
	int partition; /* enum kveil_partition_mode */
	struct {
		char *topic, *key; /* "{topic}.dead", data key name */
	} dead_letter;
	struct {
		uint64_t record_bytes, depth, memory_bytes;
	} limits;
	const struct kveil_yaml *keys_node; /* only while loading */
	struct kveil_keys_config keys;
	bool keys_whole; /* `keys:` had no error */
	struct kveil_schemas_config schema_registry;
	struct {
		char *listen;      /* "127.0.0.1:9819"; empty = no side port */
		char *socket;      /* the same answers on a unix socket; resolved; empty = none */
		int socket_access; /* 0 owner, 1 group */
	} http;
	struct {
		int level, format; /* enum kveil_log_level; 0 text, 1 json */
	} log;
};

/* NULL when report got an error. */
struct kveil_config *kveil_config_load(const char *path, struct kveil_report *report);
/* The same, and what could be read of it when there are errors, so that the rest is looked at too. What is wrong or
 * missing is zero. NULL: not even a mapping. */
struct kveil_config *kveil_config_read(const char *path, struct kveil_report *report);
/* From text; file is for messages and is what relative paths are relative to. */
struct kveil_config *kveil_config_parse(struct kveil_span text, const char *file, struct kveil_report *report);
/* Only `keys:`, and `kafka:` if it is there: for those who look after keys and need not have the rest in order. The
 * other members are zero. */
struct kveil_config *kveil_config_load_keys(const char *path, struct kveil_report *report);
void kveil_config_free(struct kveil_config *c); /* NULL is fine */

extern const struct kveil_option kveil_config_options[];

/* Properties of librdkafka that carry one of kveil's promises and are refused. name may end with '*'. */
struct kveil_refused_property {
	const char *name, *why;
};
extern const struct kveil_refused_property kveil_refused_properties[]; /* ends with NULL */
const struct kveil_refused_property *kveil_refused_property(const char *name);
/* Would librdkafka refuse the property? Says why, never with the value of a secret. */
enum kveil_status kveil_property_try(const char *name, const char *value, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Does the property hold a secret (a password, a private key)? */
bool kveil_property_is_secret(const char *name);

#endif

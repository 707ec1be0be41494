/* SPDX-License-Identifier: Apache-2.0 */
/* kveil.yaml: its options, and what must fit together. */
#include "config/config.h"

#include "base/address.h"
#include "base/log.h"
#include "base/unix_socket.h"

#include <stdio.h>
#include <stdlib.h>

#define AT(member) offsetof(struct kveil_config, member)

enum { MIB = 1 << 20, PROCESS_BYTES = 32 * MIB, INSTANCE_MOST = 200 };

static const char *const deliveries[] = {
    [KVEIL_DELIVERY_AT_LEAST_ONCE] = "at-least-once", [KVEIL_DELIVERY_EXACTLY_ONCE] = "exactly-once", NULL};
static const char *const partitions[] = {[KVEIL_PARTITION_SAME] = "same", [KVEIL_PARTITION_KEY] = "key", NULL};
static const char *const levels[] = {[KVEIL_LOG_ERROR] = "error",
				     [KVEIL_LOG_WARN] = "warn",
				     [KVEIL_LOG_INFO] = "info",
				     [KVEIL_LOG_DEBUG] = "debug",
				     NULL};
static const char *const formats[] = {"text", "json", NULL};
static const char *const accesses[] = {"owner", "group", NULL};
static const char *const guards[] = {[KVEIL_GUARD_WARN] = "warn", [KVEIL_GUARD_STRICT] = "strict", NULL};

/* Groups stand at offset 0: their rows count from the configuration itself. */
static const struct kveil_option kafka_options[] = {
    {"bootstrap_servers", KVEIL_OPT_STRING, AT(kafka.bootstrap_servers), .required = true,
     .help = "bootstrap servers, HOST:PORT separated by commas"},
    {"group_id", KVEIL_OPT_STRING, AT(kafka.group_id), .required = true,
     .help = "the consumer group that all replicas share"},
    {"properties", KVEIL_OPT_STRING_MAP, AT(kafka.properties),
     .help = "librdkafka's properties for consumer and producer: TLS, SASL, …"},
    {"consumer", KVEIL_OPT_STRING_MAP, AT(kafka.consumer), .help = "librdkafka's properties for the consumer alone"},
    {"producer", KVEIL_OPT_STRING_MAP, AT(kafka.producer), .help = "librdkafka's properties for the producer alone"},
    {0},
};

static const struct kveil_option dead_letter_options[] = {
    {"topic", KVEIL_OPT_STRING, AT(dead_letter.topic), .def = "{topic}.dead",
     .help = "topic for records that could not be protected; `{topic}` is the input topic"},
    {"key", KVEIL_OPT_KEY, AT(dead_letter.key), .def = "dead-letters",
     .help = "the data key that seals dead letters; no rule may use it"},
    {0},
};

static const struct kveil_option transaction_options[] = {
    {"time", KVEIL_OPT_DURATION, AT(transaction.time_ms), .def = "100ms", .min = 10, .max = 5000,
     .help = "exactly-once: how long a transaction collects records; under full load up to 1 s if "
	     "commits are slow"},
    {"bytes", KVEIL_OPT_BYTES, AT(transaction.bytes), .def = "64MiB", .min = 65536, .max = 1024 * (uint64_t)MIB,
     .help = "exactly-once: how much a transaction collects at most"},
    {0},
};

static const struct kveil_option limits_options[] = {
    {"record_bytes", KVEIL_OPT_BYTES, AT(limits.record_bytes), .def = "8MiB", .min = 1024, .max = 1024 * (uint64_t)MIB,
     .help = "a larger key or value is a dead letter"},
    {"depth", KVEIL_OPT_UINT, AT(limits.depth), .def = "128", .min = 1, .max = 1000,
     .help = "a value nested deeper is a dead letter"},
    {"memory", KVEIL_OPT_BYTES, AT(limits.memory_bytes), .def = "192MiB", .min = 64 * (uint64_t)MIB,
     .max = 1024 * 1024 * (uint64_t)MIB, .help = "for the whole process, librdkafka's queues and all workers included"},
    {0},
};

static const struct kveil_option http_options[] = {
    {"listen", KVEIL_OPT_STRING, AT(http.listen), .def = "127.0.0.1:9819",
     .help = "HOST:PORT of health and metrics; `:9819` is every address, \"\" turns the side port "
	     "off"},
    {"socket", KVEIL_OPT_STRING, AT(http.socket), .def = "",
     .help = "a unix socket with the same pages, which answers however busy the port is; \"\" for "
	     "none"},
    {"socket_access", KVEIL_OPT_ENUM, AT(http.socket_access), .def = "owner", .choices = accesses,
     .help = "who may use the socket: `owner` is mode 0600, `group` is 0660"},
    {0},
};

static const struct kveil_option log_options[] = {
    {"level", KVEIL_OPT_ENUM, AT(log.level), .def = "info", .choices = levels,
     .help = "the lowest level that is logged"},
    {"format", KVEIL_OPT_ENUM, AT(log.format), .def = "text", .choices = formats, .help = "one line an event"},
    {0},
};

static void write_keys_schema(struct kveil_buf *out)
{
	kveil_options_write_schema_object(kveil_keys_options(), out);
}

const struct kveil_option kveil_config_options[] = {
    {"kafka", KVEIL_OPT_GROUP, .sub = kafka_options},
    {"delivery", KVEIL_OPT_ENUM, AT(delivery), .def = "at-least-once", .choices = deliveries,
     .help = "`exactly-once`: outputs, dead letters and offsets in one transaction, for readers of committed records"},
    {"transaction", KVEIL_OPT_GROUP, .sub = transaction_options},
    {"instance", KVEIL_OPT_STRING, AT(instance), .def = "",
     .help = "exactly-once: a unique name of this replica, kept across restarts (default: the "
	     "host name)"},
    {"commit_interval", KVEIL_OPT_DURATION, AT(commit_interval_ms), .def = "1s", .min = 10, .max = 60 * 1000,
     .help = "how often offsets are committed"},
    {"workers", KVEIL_OPT_UINT, AT(workers), .def = "1", .min = 1, .max = 256,
     .help = "threads, each a group member with its own consumer and nonce lease"},
    {"rules", KVEIL_OPT_LIST, AT(rules), .min = 1, .max = 10000, .required = true, .reloadable = true,
     .help = "rule files, or folders of them, relative to this file"},
    {"rules_guard", KVEIL_OPT_ENUM, AT(rules_guard), .def = "warn", .choices = guards,
     .help = "when kveil starts with rules that protect less than those accepted last: `warn` "
	     "logs every loss and shows them in `/readyz` and metrics; `strict` waits for `kveil "
	     "rules accept` or SIGHUP, also if no rules were accepted yet"},
    {"create_topics", KVEIL_OPT_BOOL, AT(create_topics), .def = "false",
     .help = "create missing output topics with the input's number of partitions (one with "
	     "`partition: key`), and dead-letter topics with one; otherwise kveil waits for them"},
    {"partition", KVEIL_OPT_ENUM, AT(partition), .def = "same", .choices = partitions,
     .help = "`same`: the input's partition number; `key`: by the murmur2 hash of the written "
	     "key, as Java producers do"},
    {"dead_letter", KVEIL_OPT_GROUP, .sub = dead_letter_options},
    {"limits", KVEIL_OPT_GROUP, .sub = limits_options},
    {"keys", KVEIL_OPT_CUSTOM, AT(keys_node), .required = true, .write_schema = write_keys_schema,
     .help = "registry, key-encryption keys, data keys"},
    {"schema_registry", KVEIL_OPT_GROUP, AT(schema_registry), .sub = kveil_schemas_options},
    {"http", KVEIL_OPT_GROUP, .sub = http_options},
    {"log", KVEIL_OPT_GROUP, .sub = log_options},
    {0},
};

/* --- what a table cannot say --- */

struct checker {
	const struct kveil_yaml *root;
	struct kveil_config *c;
	struct kveil_report *report;
};

/* A problem with an option: at its value, or with the variable that overrides it. */
static struct kveil_error *complain(struct checker *k, const char *group, const char *name, const char *message)
{
	char variable[128];
	size_t n =
	    (size_t)snprintf(variable, sizeof variable, "KVEIL_%s%s%s", group ? group : "", group ? "_" : "", name);

	for (size_t i = 0; i < n && variable[i]; i++)
		if (variable[i] >= 'a' && variable[i] <= 'z')
			variable[i] = (char)(variable[i] - 'a' + 'A');
	if (getenv(variable))
		return kveil_report_at(k->report, variable, 0, 0, "%s", message);
	const struct kveil_yaml *map = group ? kveil_yaml_get(k->root, group) : k->root;
	const struct kveil_yaml *y = map ? kveil_yaml_get(map, name) : NULL;

	return kveil_report_at(k->report, k->c->file, y ? y->line : 0, y ? y->column : 0, "%s", message);
}

static void check_properties(struct checker *k, const char *group, const struct kveil_string_map *map)
{
	struct kveil_error err;

	for (size_t i = 0; i < map->count; i++) {
		const struct kveil_refused_property *refused = kveil_refused_property(map->names[i]);
		if (refused)
			kveil_error_hint(kveil_report_at(k->report, k->c->file, map->lines[i], 1,
							 "kafka.%s: '%.80s' is set by kveil", group, map->names[i]),
					 "%s", refused->why);
		else if (kveil_property_is_secret(map->names[i]) && map->from_text[i])
			kveil_error_hint(
			    kveil_report_at(k->report, k->c->file, map->lines[i], 1,
					    "kafka.%s: '%.80s' is a secret and must not be written in the file", group,
					    map->names[i]),
			    "write: %.80s: \"${file:PATH}\" or \"${env:NAME}\"", map->names[i]);
		else if (kveil_property_try(map->names[i], map->values[i], &err))
			kveil_error_hint(kveil_report_at(k->report, k->c->file, map->lines[i], 1, "kafka.%s: %s", group,
							 err.message),
					 "%s", err.hint);
	}
}

static bool is_topic_template(const char *s)
{
	size_t n = 0;

	while (*s) {
		size_t step = strncmp(s, "{topic}", 7) == 0 ? 7 : 1;
		if (step == 1 && !strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *s))
			return false;
		s += step;
		n += step;
	}
	return n > 0 && n < 249;
}

/* What options must be to each other and to us. Not whole: some of them are not there (NULL), and were complained of.
 */
static void check(struct checker *k, bool whole)
{
	const struct kveil_config *c = k->c;
	struct kveil_address address;

	check_properties(k, "properties", &c->kafka.properties);
	check_properties(k, "consumer", &c->kafka.consumer);
	check_properties(k, "producer", &c->kafka.producer);
	kveil_schemas_config_check(&k->c->schema_registry, kveil_yaml_get(k->root, "schema_registry"), c->file,
				   k->report);
	if (c->instance && strlen(c->instance) > INSTANCE_MOST)
		kveil_error_hint(complain(k, NULL, "instance", "'instance' is longer than 200 characters"),
				 "such as the pod's name");
	const char *dead = c->dead_letter.topic;
	if (dead && !is_topic_template(dead))
		kveil_error_hint(
		    complain(k, "dead_letter", "topic", "'topic' is not a topic's name with {topic} in it"),
		    "such as \"{topic}.dead\"");
	else if (dead && strcmp(dead, "{topic}") == 0)
		kveil_error_hint(complain(k, "dead_letter", "topic", "dead letters would go back into the input"),
				 "such as \"{topic}.dead\"");
	if (c->http.listen && *c->http.listen && !kveil_address_parse(c->http.listen, &address))
		kveil_error_hint(complain(k, "http", "listen", "'listen' is not HOST:PORT"),
				 "127.0.0.1:9819, [::1]:9819 or :9819");
	/* The largest record in each worker: waiting, at hand, as what becomes of it, and with the producer; beside
	 * what the process needs to stand. */
	uint64_t least = PROCESS_BYTES + c->workers * 4 * c->limits.record_bytes;
	if (whole && least > c->limits.memory_bytes)
		kveil_error_hint(complain(k, "limits", "memory",
					  "'memory' is too small for that many workers and records "
					  "that large"),
				 "at least %lluMiB, or fewer workers, or smaller record_bytes",
				 (unsigned long long)((least + MIB - 1) / MIB));
}

static void check_dead_letter_key(struct checker *k)
{
	struct kveil_error err;

	/* A pattern's own key wraps others and nothing else; a version that is pinned ends. */
	if (strpbrk(k->c->dead_letter.key, "@{")) {
		kveil_error_hint(complain(k, "dead_letter", "key", "the key of dead letters is one name of keys.data"),
				 "no pattern, and no version");
		return;
	}
	if (!kveil_keys_config_check(&k->c->keys, kveil_span_str(k->c->dead_letter.key), KVEIL_USE_SEAL, &err))
		return;
	struct kveil_error *e = complain(k, "dead_letter", "key", "");
	snprintf(e->message, sizeof e->message, "the key of dead letters: %.200s", err.message);
	if (err.hint[0])
		kveil_error_hint(e, "%s", err.hint);
}

static bool resolve_rules(struct kveil_config *c)
{
	for (size_t i = 0; c->rules && c->rules[i]; i++) {
		char *path = kveil_options_resolve_path(c->rules[i], c->file);
		if (!path)
			return false;
		free(c->rules[i]);
		c->rules[i] = path;
	}
	return true;
}

static void check_environment(struct kveil_report *report)
{
	const struct kveil_option *const tables[] = {kveil_config_options, kveil_keys_options(), NULL};
	static const char *const prefixes[] = {"KVEIL", "KVEIL_KEYS", NULL};

	kveil_options_check_environment(tables, prefixes, report);
}

static bool resolve_socket(struct kveil_config *c, struct kveil_report *report)
{
	struct sockaddr_un address;

	if (!c->http.socket || !*c->http.socket)
		return true;
	char *path = kveil_options_resolve_path(c->http.socket, c->file);
	if (!path)
		return false;
	free(c->http.socket);
	c->http.socket = path;
	if (!kveil_unix_socket_address(path, &address))
		kveil_error_hint(
		    kveil_report_at(report, c->file, 0, 0, "http.socket: the path is longer than 107 bytes"),
		    "a unix socket's path cannot be longer: /run/kveil/side.sock");
	return true;
}

/* What there is of it, also with errors; NULL: not even a mapping. */
static struct kveil_config *from_yaml(struct kveil_yaml *root, const char *file, struct kveil_report *report)
{
	struct kveil_config *c = calloc(1, sizeof *c);

	if (!root) {
		free(c);
		return NULL;
	}
	if (!c || !(c->file = strdup(file))) {
		kveil_report_no_memory(report, file);
		kveil_yaml_free(root);
		kveil_config_free(c);
		return NULL;
	}
	struct checker k = {.root = root, .c = c, .report = report};
	bool whole = kveil_options_parse(kveil_config_options, root, file, "KVEIL", c, report);
	check_environment(report);
	check(&k, whole);
	c->keys_whole = c->keys_node && kveil_keys_config_parse(c->keys_node, c->file, &c->keys, report);
	if (c->keys_whole && whole)
		check_dead_letter_key(&k);
	c->keys.registry_options = c;
	c->keys_node = NULL;
	if (!resolve_rules(c) || !resolve_socket(c, report))
		kveil_report_no_memory(report, file);
	kveil_yaml_free(root);
	return c;
}

static struct kveil_config *without_errors(struct kveil_config *c, size_t errors, const struct kveil_report *report)
{
	if (report->errors == errors)
		return c;
	kveil_config_free(c);
	return NULL;
}

struct kveil_config *kveil_config_read(const char *path, struct kveil_report *report)
{
	return from_yaml(kveil_yaml_load(path, report), path, report);
}

struct kveil_config *kveil_config_load(const char *path, struct kveil_report *report)
{
	size_t errors = report->errors;

	return without_errors(kveil_config_read(path, report), errors, report);
}

struct kveil_config *kveil_config_parse(struct kveil_span text, const char *file, struct kveil_report *report)
{
	size_t errors = report->errors;

	return without_errors(from_yaml(kveil_yaml_parse(text, file, report), file, report), errors, report);
}

struct kveil_config *kveil_config_load_keys(const char *path, struct kveil_report *report)
{
	struct kveil_yaml *root = kveil_yaml_load(path, report);
	const struct kveil_yaml *keys = root && root->kind == KVEIL_YAML_MAP ? kveil_yaml_get(root, "keys") : NULL;
	const struct kveil_yaml *kafka = keys ? kveil_yaml_get(root, "kafka") : NULL;
	struct kveil_config *c = keys ? calloc(1, sizeof *c) : NULL;
	size_t errors = report->errors;

	if (root && !keys)
		kveil_error_hint(kveil_report_at(report, path, 1, 1, "there is no `keys:`"),
				 "keys: {registry: file:keys.json, keks: {…}, data: {…}}");
	if (keys && (!c || !(c->file = strdup(path))))
		kveil_report_no_memory(report, path);
	if (c && c->file) {
		struct checker k = {.root = root, .c = c, .report = report};
		if (kafka && kveil_options_parse(kafka_options, kafka, path, "KVEIL_KAFKA", c, report)) {
			check_properties(&k, "properties", &c->kafka.properties);
			check_properties(&k, "consumer", &c->kafka.consumer);
			check_properties(&k, "producer", &c->kafka.producer);
		}
		(void)kveil_keys_config_parse(keys, c->file, &c->keys, report);
		c->keys.registry_options = kafka ? c : NULL;
	}
	kveil_yaml_free(root);
	if (c && report->errors == errors)
		return c;
	kveil_config_free(c);
	return NULL;
}

void kveil_config_free(struct kveil_config *c)
{
	if (!c)
		return;
	kveil_keys_config_clear(&c->keys);
	kveil_options_clear(kveil_config_options, c);
	free(c->file);
	free(c);
}

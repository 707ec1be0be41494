/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/log.h"
#include "config/config.h"

#define KEYS                                                                                                           \
	"keys:\n"                                                                                                      \
	"  registry: file:keys.json\n"                                                                                 \
	"  keks:\n"                                                                                                    \
	"    local: {provider: file, path: /etc/kveil/kek}\n"                                                          \
	"  data:\n"                                                                                                    \
	"    pii: {algorithm: aes-256-gcm, kek: local, rotate_every: 24h}\n"                                           \
	"    pepper: {algorithm: hmac-sha-256, kek: local}\n"                                                          \
	"    dead-letters: {algorithm: aes-256-gcm, kek: local}\n"
#define KAFKA   "kafka: {bootstrap_servers: \"localhost:9092\", group_id: kveil}\n"
#define MINIMUM KEYS KAFKA "rules: rules/\n"

static struct kveil_report report;

static struct kveil_config *parse(const char *text)
{
	kveil_report_clear(&report);
	return kveil_config_parse(kveil_span_str(text), "conf/kveil.yaml", &report);
}

static int clean(void **state)
{
	(void)state;
	kveil_report_clear(&report);
	return 0;
}

static void test_defaults(void **state)
{
	(void)state;
	struct kveil_config *c = parse(MINIMUM);

	if (!c)
		kveil_report_print(&report, stderr);
	assert_non_null(c);
	assert_string_equal(c->file, "conf/kveil.yaml");
	assert_string_equal(c->kafka.bootstrap_servers, "localhost:9092");
	assert_int_equal(c->delivery, KVEIL_DELIVERY_AT_LEAST_ONCE);
	assert_int_equal(c->commit_interval_ms, 1000);
	assert_int_equal(c->workers, 1);
	assert_string_equal(c->rules[0], "conf/rules/");
	assert_null(c->rules[1]);
	assert_false(c->create_topics);
	assert_int_equal(c->partition, KVEIL_PARTITION_SAME);
	assert_string_equal(c->dead_letter.topic, "{topic}.dead");
	assert_string_equal(c->dead_letter.key, "dead-letters");
	assert_int_equal(c->limits.record_bytes, 8 << 20);
	assert_int_equal(c->limits.depth, 128);
	assert_int_equal(c->limits.memory_bytes, 192 << 20);
	assert_string_equal(c->http.listen, "127.0.0.1:9819");
	assert_int_equal(c->log.level, KVEIL_LOG_INFO);
	assert_int_equal(c->log.format, 0);
	assert_int_equal(c->keys.data_count, 3);
	kveil_config_free(c);
	kveil_config_free(NULL);
}

static void test_everything(void **state)
{
	(void)state;
	setenv("KVEIL_TEST_SASL", "hunter2", 1);
	struct kveil_config *c = parse(
	    KEYS "kafka:\n  bootstrap_servers: a:1,b:2\n  group_id: g\n"
		 "  properties: {security.protocol: SASL_SSL, sasl.password: \"${env:KVEIL_TEST_SASL}\"}\n"
		 "  consumer: {session.timeout.ms: 6000}\n  producer: {linger.ms: 20, compression.type: zstd}\n"
		 "delivery: at-least-once\ncommit_interval: 500ms\nworkers: 4\nrules: [a.yaml, /etc/kveil/b.yaml]\n"
		 "create_topics: true\npartition: key\ndead_letter: {topic: \"dead-{topic}\", key: pii}\n"
		 "limits: {record_bytes: 1MiB, depth: 64, memory: 1GiB}\nhttp: {listen: \":9000\"}\n"
		 "log: {level: debug, format: json}\n");
	if (!c)
		kveil_report_print(&report, stderr);
	assert_non_null(c);
	assert_string_equal(c->kafka.properties.values[1], "hunter2");
	assert_string_equal(c->kafka.consumer.names[0], "session.timeout.ms");
	assert_string_equal(c->kafka.producer.values[1], "zstd");
	assert_string_equal(c->rules[0], "conf/a.yaml");
	assert_string_equal(c->rules[1], "/etc/kveil/b.yaml");
	assert_true(c->create_topics);
	assert_int_equal(c->partition, KVEIL_PARTITION_KEY);
	assert_int_equal(c->limits.memory_bytes, 1 << 30);
	assert_int_equal(c->log.level, KVEIL_LOG_DEBUG);
	assert_int_equal(c->log.format, 1);
	kveil_config_free(c);
	c = parse(MINIMUM "http: {listen: \"\"}\n");
	assert_non_null(c);
	assert_string_equal(c->http.listen, "");
	kveil_config_free(c);
}

static void test_environment(void **state)
{
	(void)state;
	setenv("KVEIL_KAFKA_BOOTSTRAP_SERVERS", "env:9092", 1);
	setenv("KVEIL_LIMITS_MEMORY", "1GiB", 1);
	setenv("KVEIL_RULES", "x.yaml,y.yaml", 1);
	struct kveil_config *c = parse(MINIMUM);
	assert_non_null(c);
	assert_string_equal(c->kafka.bootstrap_servers, "env:9092");
	assert_int_equal(c->limits.memory_bytes, 1 << 30);
	assert_string_equal(c->rules[1], "conf/y.yaml");
	kveil_config_free(c);
	setenv("KVEIL_LIMITS_MEMORY", "lots", 1);
	assert_null(parse(MINIMUM));
	assert_string_equal(report.problems[0].error.file, "KVEIL_LIMITS_MEMORY");
	unsetenv("KVEIL_KAFKA_BOOTSTRAP_SERVERS");
	unsetenv("KVEIL_LIMITS_MEMORY");
	unsetenv("KVEIL_RULES");
}

static void test_schema_registry(void **state)
{
	(void)state;
	setenv("KVEIL_TEST_PASSWORD", "hunter2", 1);
	struct kveil_config *c =
	    parse(MINIMUM "schema_registry: {url: [\"https://a:8081\", \"http://b\"], username: u, "
			  "password: \"${env:KVEIL_TEST_PASSWORD}\"}\n");
	assert_non_null(c);
	assert_string_equal(c->schema_registry.urls[1], "http://b");
	assert_null(c->schema_registry.urls[2]);
	assert_string_equal(c->schema_registry.password, "hunter2");
	assert_null(c->schema_registry.password_source); /* no file stands behind it */
	assert_int_equal(c->schema_registry.timeout_ms, 5000);
	assert_int_equal(report.warnings, 1);
	assert_non_null(strstr(report.problems[0].error.message, "unencrypted"));
	kveil_config_free(c);
	setenv("KVEIL_SCHEMA_REGISTRY_URL", "https://a,https://b", 1);
	c = parse(MINIMUM);
	assert_non_null(c);
	assert_string_equal(c->schema_registry.urls[1], "https://b");
	kveil_config_free(c);
	unsetenv("KVEIL_SCHEMA_REGISTRY_URL");
	unsetenv("KVEIL_TEST_PASSWORD");
	c = parse(MINIMUM);
	assert_non_null(c);
	assert_null(c->schema_registry.urls);
	kveil_config_free(c);
}

static const struct {
	const char *text;
	uint32_t line;
	const char *message, *hint;
} mistakes[] = {
    {KEYS KAFKA, 1, "'rules' is missing", ""},
    {KAFKA "rules: a\n", 1, "'keys' is missing", ""},
    {KEYS "rules: a\nkafka: {group_id: g}\n", 10, "'bootstrap_servers' is missing", ""},
    {KEYS "rules: a\nkafka: {bootstrap_servers: x, group_id: \"\"}\n", 10, "'group_id' is empty", ""},
    {MINIMUM "transaction: {time: 1ms}\n", 11, "at least 10ms", ""},
    {MINIMUM
     "instance: "
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
     "\n",
     11, "longer than 200 characters", "pod"},
    {MINIMUM "delivery: exactly_once\n", 11, "cannot be 'exactly_once'", "did you mean 'exactly-once'?"},
    {MINIMUM "worker: 2\n", 11, "unknown option 'worker'", "did you mean 'workers'?"},
    {MINIMUM "workers: 0\n", 11, "at least 1", ""},
    {MINIMUM "workers: 64\n", 0, "'memory' is too small", "at least 2080MiB"},
    {MINIMUM "limits: {memory: 32MiB}\n", 11, "at least 64MiB", ""},
    {MINIMUM "workers: 2\nlimits: {memory: 64MiB}\n", 12, "'memory' is too small", "at least 96MiB"},
    {MINIMUM "limits: {record_bytes: 256MiB}\n", 0, "'memory' is too small", "at least 1056MiB"},
    {MINIMUM "dead_letter: {topic: \"{topic}\"}\n", 11, "back into the input", ""},
    {MINIMUM "dead_letter: {topic: \"{tpoic}.dead\"}\n", 11, "not a topic's name", ""},
    {MINIMUM "dead_letter: {topic: \"\"}\n", 11, "not a topic's name", ""},
    {MINIMUM "dead_letter: {key: nope}\n", 11, "the key of dead letters", ""},
    {MINIMUM "dead_letter: {key: pepper}\n", 11, "the key of dead letters", ""},
    {MINIMUM "http: {listen: 9819}\n", 11, "not HOST:PORT", "127.0.0.1:9819"},
    {MINIMUM "http: {listen: \"localhost:99999\"}\n", 11, "not HOST:PORT", ""},
    {MINIMUM "log: {level: trace}\n", 11, "cannot be 'trace'", "known: error, warn, info, debug"},
    {KEYS "rules: a\nkafka:\n  bootstrap_servers: a\n  group_id: g\n  properties:\n    sasl.password: hunter2\n", 14,
     "must not be written in the file", "${file:PATH}"},
    {KEYS "rules: a\nkafka:\n  bootstrap_servers: a\n  group_id: \"\"\n", 12, "'group_id' is empty", ""},
    {KEYS "rules: a\nkafka:\n  bootstrap_servers: a\n  group_id: g\n  producer:\n    acks: 1\n", 14,
     "'acks' is set by kveil", "acknowledgement"},
    {MINIMUM "schema_registry: {url: \"https://a\", urls: b}\n", 11, "unknown option 'urls'", "did you mean 'url'?"},
    {MINIMUM "schema_registry: {timeout: 1s}\n", 11, "url: there is none", "https://registry:8081"},
    {MINIMUM "schema_registry:\n  url: [\"https://a\", \"registry:8081\"]\n", 12, "not an address", "https://"},
    {MINIMUM "schema_registry: {url: \"https://a/?q=1\"}\n", 11, "not an address", ""},
    {MINIMUM "schema_registry: {url: \"https://b\u00fccher\"}\n", 11, "not an address", ""},
    {MINIMUM "schema_registry: {url: \"https://u:hunter2@a\"}\n", 11, "does not belong into an address", "password"},
    {MINIMUM "schema_registry: {url: \"https://a\", username: u}\n", 11, "go together", ""},
    {MINIMUM "schema_registry: {url: \"https://a\", username: u, password: hunter2}\n", 11,
     "must not be written in the file", "${file:PATH}"},
    {MINIMUM "schema_registry: {url: \"https://a\", certificate: a.pem}\n", 11, "go together", ""},
};

static void test_mistakes(void **state)
{
	(void)state;
	size_t bad = 0;

	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		struct kveil_config *c = parse(mistakes[i].text);
		const struct kveil_error *e = report.count ? &report.problems[0].error : &(struct kveil_error){0};
		if (c || report.errors != 1 || e->line != mistakes[i].line ||
		    !strstr(e->message, mistakes[i].message) || !strstr(e->hint, mistakes[i].hint) ||
		    strstr(e->message, "hunter2") || strstr(e->hint, "hunter2")) {
			print_error("%s--- wanted %u %s (%s)\n", mistakes[i].text, mistakes[i].line,
				    mistakes[i].message, mistakes[i].hint);
			kveil_report_print(&report, stderr);
			bad++;
		}
		kveil_config_free(c);
	}
	assert_int_equal(bad, 0);
}

/* All that carries a promise, in whichever of librdkafka's spellings. */
/* One mistake does not hide another of another sort. */
static void test_every_mistake_at_once(void **state)
{
	(void)state;
	struct kveil_config *c =
	    parse("kafka: {properties: {acks: 1}}\nrules: [r.yaml]\nworkers: many\n"
		  "delivery: at-most-once\nhttp: {listen: x}\ndead_letter: {topic: \"{topic}\"}\n");

	assert_null(c);
	KVEIL_CLEANUP_BUF struct kveil_buf all = KVEIL_BUF_INIT;
	for (size_t i = 0; i < report.count; i++)
		kveil_buf_append_str(&all, report.problems[i].error.message);
	static const char *const words[] = {"group_id",  "bootstrap_servers",  "many", "acks", "at-most-once",
					    "HOST:PORT", "back into the input"};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		assert_non_null(strstr(kveil_buf_cstr(&all), words[i]));
}

static void test_refused_properties(void **state)
{
	(void)state;
	static const char *const refused[] = {
	    "acks",
	    "request.required.acks",
	    "enable.idempotence",
	    "enable.auto.commit",
	    "enable.auto.offset.store",
	    "message.timeout.ms",
	    "delivery.timeout.ms",
	    "partitioner",
	    "transactional.id",
	    "group.id",
	    "bootstrap.servers",
	    "isolation.level",
	    "auto.offset.reset",
	    "partition.assignment.strategy",
	    "message.max.bytes",
	    "queue.buffering.max.kbytes",
	    "queued.max.messages.kbytes",
	    "max.in.flight",
	    "retries",
	    "dr_msg_cb",
	    "allow.auto.create.topics",
	    "test.mock.num.brokers",
	    "offset.store.method",
	    "group.instance.id",
	    "delivery.report.only.error",
	    "queuing.strategy",
	    "enable.gapless.guarantee",
	    "plugin.library.paths",
	};
	static const char *const allowed[] = {
	    "security.protocol",       "sasl.mechanism", "ssl.ca.location",        "compression.type",
	    "compression.codec",       "linger.ms",      "session.timeout.ms",     "client.id",
	    "socket.keepalive.enable", "debug",          "statistics.interval.ms",
	};

	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
		const struct kveil_refused_property *p = kveil_refused_property(refused[i]);
		if (!p)
			fail_msg("%s is let in", refused[i]);
		else
			assert_true(strlen(p->why) > 10 && strlen(p->why) < sizeof((struct kveil_error *)0)->hint);
	}
	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
		if (kveil_refused_property(allowed[i]))
			fail_msg("%s is refused", allowed[i]);
	assert_true(kveil_property_is_secret("sasl.password"));
	assert_true(kveil_property_is_secret("ssl.key.password"));
	assert_true(kveil_property_is_secret("sasl.oauthbearer.client.secret"));
	assert_false(kveil_property_is_secret("sasl.username"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_defaults, clean),
	    cmocka_unit_test_teardown(test_everything, clean),
	    cmocka_unit_test_teardown(test_environment, clean),
	    cmocka_unit_test_teardown(test_schema_registry, clean),
	    cmocka_unit_test_teardown(test_mistakes, clean),
	    cmocka_unit_test_teardown(test_every_mistake_at_once, clean),
	    cmocka_unit_test_teardown(test_refused_properties, clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which of librdkafka's properties a user may not set, and why. */
#include "config/config.h"

#include "base/text.h"

#include <librdkafka/rdkafka.h>
#include <stdlib.h>

#define COMMITS  "kveil commits an offset once every output of its record is acknowledged"
#define DURABLE  "an acknowledgement must mean that the record is safe"
#define ORDER    "records would be lost or change their order"
#define OUTAGE   "kveil waits out an outage and never gives up a record"
#define MEMORY   "part of one budget: set limits.memory"
#define CALLBACK "a callback cannot be set from a file"
#define PLUGIN   "foreign code would see records in clear"

const struct kveil_refused_property kveil_refused_properties[] = {
    {"bootstrap.servers", "set kafka.bootstrap_servers instead"},
    {"metadata.broker.list", "set kafka.bootstrap_servers instead"},
    {"group.id", "set kafka.group_id instead"},
    {"group.instance.id", "every worker thread is a member of its own"},
    {"partition.assignment.strategy", "kveil's draining and committing depend on its own strategy"},
    {"enable.auto.commit", COMMITS},
    {"auto.commit.enable", COMMITS},
    {"auto.commit.interval.ms", COMMITS ": set commit_interval"},
    {"enable.auto.offset.store", COMMITS},
    {"offset.store.*", COMMITS},
    {"auto.offset.reset",
     "no committed offset means earliest, and one out of range stops the partition: records are never "
     "skipped"},
    {"check.crcs", "a damaged batch may hold other records than were written"},
    {"isolation.level", "records of aborted transactions must not be read"},
    {"enable.partition.eof", "kveil sets it"},
    {"acks", DURABLE},
    {"request.required.acks", DURABLE},
    {"enable.idempotence", ORDER},
    {"enable.gapless.guarantee", "one record that fails must not stop the others"},
    {"max.in.flight", ORDER},
    {"max.in.flight.requests.per.connection", ORDER},
    {"queuing.strategy", ORDER},
    {"message.timeout.ms", OUTAGE},
    {"delivery.timeout.ms", OUTAGE},
    {"message.send.max.retries", OUTAGE},
    {"retries", OUTAGE},
    {"transactional.id", "it is made of kafka.group_id, instance and the worker's number: see delivery"},
    {"transaction.timeout.ms", "kveil ends transactions by limits of its own and relies on this value"},
    {"partitioner", "set partition instead"},
    {"partitioner_cb", "set partition instead"},
    {"allow.auto.create.topics", "a misspelt topic must not be created: see create_topics"},
    {"message.max.bytes", "it follows limits.record_bytes and the topic's own limit"},
    {"delivery.report.only.error", "every record's acknowledgement counts"},
    {"queued.min.messages", MEMORY},
    {"queued.max.messages.kbytes", MEMORY},
    {"queue.buffering.max.messages", MEMORY},
    {"queue.buffering.max.kbytes", MEMORY},
    {"fetch.max.bytes", MEMORY},
    {"fetch.message.max.bytes", MEMORY},
    {"max.partition.fetch.bytes", MEMORY},
    {"dr_cb", CALLBACK},
    {"dr_msg_cb", CALLBACK},
    {"consume_cb", CALLBACK},
    {"rebalance_cb", CALLBACK},
    {"offset_commit_cb", CALLBACK},
    {"error_cb", CALLBACK},
    {"throttle_cb", CALLBACK},
    {"stats_cb", CALLBACK},
    {"log_cb", CALLBACK},
    {"enabled_events", CALLBACK},
    {"default_topic_conf", CALLBACK},
    {"opaque", CALLBACK},
    {"plugin.library.paths", PLUGIN},
    {"interceptors", PLUGIN},
    {"test.*", "it would replace your cluster with one in memory"},
    {0},
};

const struct kveil_refused_property *kveil_refused_property(const char *name)
{
	for (const struct kveil_refused_property *p = kveil_refused_properties; p->name; p++) {
		size_t n = strlen(p->name);
		if (p->name[n - 1] == '*' ? strncmp(name, p->name, n - 1) == 0 : strcmp(name, p->name) == 0)
			return p;
	}
	return NULL;
}

/* librdkafka's names: of a client, and of its topics. dumps are freed by the caller. */
static const char **all_names(const char **dumps[2], size_t counts[2])
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_topic_conf_t *topic = rd_kafka_topic_conf_new();
	size_t n = 0;

	dumps[0] = rd_kafka_conf_dump(conf, &counts[0]);
	dumps[1] = rd_kafka_topic_conf_dump(topic, &counts[1]);
	const char **names = calloc((counts[0] + counts[1]) / 2 + 1, sizeof *names);
	for (size_t d = 0; names && d < 2; d++)
		for (size_t i = 0; i < counts[d]; i += 2)
			names[n++] = dumps[d][i];
	rd_kafka_conf_destroy(conf);
	rd_kafka_topic_conf_destroy(topic);
	return names;
}

static void suggest(const char *name, struct kveil_error *err)
{
	const char **dumps[2];
	size_t counts[2];
	const char **names = all_names(dumps, counts);
	const char *near = names ? kveil_text_nearest(name, names) : NULL;

	if (near)
		kveil_error_hint(err, "did you mean '%s'?", near);
	else
		kveil_error_hint(err, "its CONFIGURATION.md lists them");
	free(names);
	for (size_t d = 0; d < 2; d++)
		rd_kafka_conf_dump_free(dumps[d], counts[d]);
}

enum kveil_status kveil_property_try(const char *name, const char *value, struct kveil_error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[200];
	rd_kafka_conf_res_t res = rd_kafka_conf_set(conf, name, value, why, sizeof why);

	rd_kafka_conf_destroy(conf);
	if (res == RD_KAFKA_CONF_OK)
		return KVEIL_OK;
	if (res == RD_KAFKA_CONF_UNKNOWN) {
		kveil_fail(err, KVEIL_E_CONFIG, "librdkafka has no property '%.80s'", name);
		suggest(name, err);
	} else {
		kveil_fail(err, KVEIL_E_CONFIG, "librdkafka refuses this value of '%.80s'", name);
		if (!kveil_property_is_secret(name))
			kveil_error_hint(err, "%s", why);
	}
	return KVEIL_E_CONFIG;
}

bool kveil_property_is_secret(const char *name)
{
	return strstr(name, "password") || strstr(name, "secret") || strcmp(name, "ssl.key.pem") == 0 ||
	       strcmp(name, "sasl.oauthbearer.config") == 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's topic as the brokers have it: is it there, with one partition that keeps everything? And making it. */
#include "base/clock.h"
#include "keytopic/registry_topic_internal.h"

#include <string.h>

static enum kveil_status missing(const struct kveil_registry_topic *t, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_REGISTRY_MISSING, "there is no key registry: the topic %s is not there", t->name);
	kveil_error_hint(err, "`kveil keys init` creates one, `kveil keys restore BACKUP` restores one");
	return KVEIL_E_REGISTRY_MISSING;
}

static enum kveil_status count_partitions(struct kveil_registry_topic *t, int *ret, struct kveil_error *err)
{
	const struct rd_kafka_metadata *meta;
	rd_kafka_topic_t *topic = rd_kafka_topic_new(t->producer, t->name, NULL);

	if (!topic)
		return kveil_registry_topic_bad_name(t, err);
	rd_kafka_resp_err_t e = rd_kafka_metadata(t->producer, 0, topic, &meta, KVEIL_REGISTRY_TOPIC_QUERY_MS);
	rd_kafka_topic_destroy(topic);
	if (e)
		return kveil_registry_topic_unavailable(t, rd_kafka_err2str(e), err);
	rd_kafka_resp_err_t of_topic =
	    meta->topic_cnt == 1 ? meta->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
	*ret = meta->topic_cnt == 1 ? meta->topics[0].partition_cnt : 0;
	t->copies = *ret ? meta->topics[0].partitions[0].replica_cnt : 0;
	rd_kafka_metadata_destroy(meta);
	if (kveil_registry_topic_is_absent(of_topic) || (!of_topic && *ret == 0))
		return missing(t, err);
	if (of_topic == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION)
		return kveil_fail(err, KVEIL_E_CONFIG, "'%s' is not a topic's name", t->name);
	return of_topic ? kveil_registry_topic_unavailable(t, rd_kafka_err2str(of_topic), err) : KVEIL_OK;
}

static enum kveil_status check_policy(struct kveil_registry_topic *t, const rd_kafka_ConfigResource_t *r,
				      struct kveil_error *err)
{
	const char *policy = NULL;
	size_t n = 0;
	const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(r, &n);

	for (size_t i = 0; i < n; i++)
		if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), "cleanup.policy") == 0)
			policy = rd_kafka_ConfigEntry_value(entries[i]);
	if (policy && strcmp(policy, "compact") == 0)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_CONFIG,
		   "the key registry's topic %s has cleanup.policy=%s: keys would be deleted with time", t->name,
		   policy ? policy : "?");
	kveil_error_hint(err, "kafka-configs --alter --topic %s --add-config cleanup.policy=compact", t->name);
	return KVEIL_E_CONFIG;
}

static rd_kafka_AdminOptions_t *admin_options(struct kveil_registry_topic *t, rd_kafka_admin_op_t op)
{
	rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(t->producer, op);
	char why[128];

	rd_kafka_AdminOptions_set_request_timeout(o, KVEIL_REGISTRY_TOPIC_QUERY_MS, why, sizeof why);
	return o;
}

static enum kveil_status describe(struct kveil_registry_topic *t, struct kveil_error *err)
{
	rd_kafka_queue_t *queue = rd_kafka_queue_new(t->producer);
	rd_kafka_AdminOptions_t *options = admin_options(t, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
	rd_kafka_ConfigResource_t *ask = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, t->name);
	enum kveil_status status;
	size_t n = 0;

	rd_kafka_DescribeConfigs(t->producer, &ask, 1, options, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, KVEIL_REGISTRY_TOPIC_CALL_MS);
	const rd_kafka_DescribeConfigs_result_t *result = event ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
	const rd_kafka_ConfigResource_t **found = result ? rd_kafka_DescribeConfigs_result_resources(result, &n) : NULL;
	if (!event || n != 1)
		status =
		    kveil_registry_topic_unavailable(t, event ? rd_kafka_event_error_string(event) : "no answer", err);
	else if (rd_kafka_ConfigResource_error(found[0]))
		status =
		    kveil_registry_topic_unavailable(t, rd_kafka_err2str(rd_kafka_ConfigResource_error(found[0])), err);
	else
		status = check_policy(t, found[0], err);
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_ConfigResource_destroy(ask);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	return status;
}

int kveil_registry_topic_copies(const struct kveil_registry_topic *t)
{
	return t->copies;
}

static enum kveil_status fits(struct kveil_registry_topic *t, int partitions, struct kveil_error *err)
{
	if (partitions != 1)
		return kveil_fail(err, KVEIL_E_CONFIG,
				  "the key registry's topic %s has %d partitions: only one has one order", t->name,
				  partitions);
	return describe(t, err);
}

/* What kveil_registry_topic_check says, after `looks` more looks at a topic that is not there. */
static enum kveil_status check(struct kveil_registry_topic *t, int looks, struct kveil_error *err)
{
	int partitions = 0;
	enum kveil_status status = kveil_registry_topic_need_producer(t, err);

	if (!status)
		status = count_partitions(t, &partitions, err);
	for (int i = 0; i < looks && status == KVEIL_E_REGISTRY_MISSING; i++) {
		rd_kafka_poll(t->producer, 0);
		struct timespec nap = kveil_clock_timespec(KVEIL_REGISTRY_TOPIC_CONFIRM_MS);
		nanosleep(&nap, NULL);
		status = count_partitions(t, &partitions, err);
	}
	return status ? status : fits(t, partitions, err);
}

enum kveil_status kveil_registry_topic_check(struct kveil_registry_topic *t, struct kveil_error *err)
{
	/* A broker that has just started may not know of it yet. */
	return check(t, 3, err);
}

static enum kveil_status create(struct kveil_registry_topic *t, struct kveil_error *err)
{
	char why[256];
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(t->name, 1, -1, why, sizeof why);
	enum kveil_status status = topic ? kveil_registry_topic_need_producer(t, err)
					 : kveil_fail(err, KVEIL_E_CONFIG, "the key registry's topic: %s", why);
	size_t n = 0;

	if (status) {
		if (topic)
			rd_kafka_NewTopic_destroy(topic);
		return status;
	}
	rd_kafka_queue_t *queue = rd_kafka_queue_new(t->producer);
	rd_kafka_AdminOptions_t *options = admin_options(t, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_NewTopic_set_config(topic, "cleanup.policy", "compact");
	/* The brokers' clock: the one that all share. */
	rd_kafka_NewTopic_set_config(topic, "message.timestamp.type", "LogAppendTime");
	/* What a destroyed key was wrapped as goes within a day or so, however little is written. */
	rd_kafka_NewTopic_set_config(topic, "max.compaction.lag.ms", "86400000");
	/* The broker unpacks what comes, and holds the records themselves against its limit of size, not their zip. */
	rd_kafka_NewTopic_set_config(topic, "compression.type", "uncompressed");
	rd_kafka_CreateTopics(t->producer, &topic, 1, options, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, KVEIL_REGISTRY_TOPIC_CALL_MS);
	const rd_kafka_CreateTopics_result_t *result = event ? rd_kafka_event_CreateTopics_result(event) : NULL;
	const rd_kafka_topic_result_t **made = result ? rd_kafka_CreateTopics_result_topics(result, &n) : NULL;
	if (!event || n != 1) {
		status =
		    kveil_registry_topic_unavailable(t, event ? rd_kafka_event_error_string(event) : "no answer", err);
	} else {
		rd_kafka_resp_err_t e = rd_kafka_topic_result_error(made[0]);
		if (e && e != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
			status = kveil_registry_topic_unavailable(t, rd_kafka_topic_result_error_string(made[0]), err);
	}
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_NewTopic_destroy(topic);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
	return status;
}

enum kveil_status kveil_registry_topic_make(struct kveil_registry_topic *t, struct kveil_error *err)
{
	/* One look is enough: making one that is there after all changes nothing. */
	enum kveil_status status = check(t, 0, err);

	if (status != KVEIL_E_REGISTRY_MISSING)
		return status;
	status = create(t, err);
	if (status)
		return status;
	/* Its leader may take a moment. */
	int64_t end = kveil_clock_mono_ms() + KVEIL_REGISTRY_TOPIC_CALL_MS;
	do
		status = kveil_registry_topic_check(t, err);
	while (status == KVEIL_E_REGISTRY_MISSING && kveil_clock_mono_ms() < end);
	return status;
}

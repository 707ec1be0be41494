/* SPDX-License-Identifier: Apache-2.0 */
/* What the cluster has: topics, partitions, limits. */
#include "worker/cluster.h"

#include "kafka/kafka.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 5000 };

struct kveil_admin {
	struct kveil_kafka_owner owner;
	rd_kafka_t *rk;
	bool has_controller; /* questions about limits go there; the mock cluster names one that does not exist */
};

enum kveil_status kveil_admin_new(const struct kveil_config *config, const char *name, struct kveil_admin **ret,
				  struct kveil_error *err)
{
	rd_kafka_conf_t *conf;
	struct kveil_admin *a = calloc(1, sizeof *a);

	*ret = NULL;
	if (!a)
		return kveil_no_memory(err, "a Kafka client");
	snprintf(a->owner.name, sizeof a->owner.name, "%s", name);
	enum kveil_status status = kveil_kafka_conf_admin(config, &a->owner, &conf, err);
	if (!status)
		status = kveil_kafka_new(RD_KAFKA_PRODUCER, conf, &a->rk, err);
	if (status) {
		free(a);
		return status;
	}
	*ret = a;
	return KVEIL_OK;
}

void kveil_admin_free(struct kveil_admin *a)
{
	if (!a)
		return;
	if (kveil_kafka_destroy(a->rk, 0))
		free(a); /* or the client still logs as its owner */
}

bool kveil_admin_lost(struct kveil_admin *a)
{
	rd_kafka_poll(a->rk, 0);
	return atomic_exchange(&a->owner.lost, false);
}

static int topics_by_name(const void *a, const void *b)
{
	return strcmp(((const struct kveil_topic *)a)->name, ((const struct kveil_topic *)b)->name);
}

enum kveil_status kveil_admin_fetch(struct kveil_admin *a, struct kveil_cluster *cluster, struct kveil_error *err)
{
	const struct rd_kafka_metadata *m;

	rd_kafka_poll(a->rk, 0);
	rd_kafka_resp_err_t e = rd_kafka_metadata(a->rk, 1, NULL, &m, TIMEOUT_MS);
	rd_kafka_poll(a->rk, 0);
	atomic_store(&a->owner.lost, false); /* what broke before the answer, or there was none */
	if (e)
		return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "no broker answers: %s", rd_kafka_err2str(e));
	struct kveil_cluster now = {.topics = calloc((size_t)m->topic_cnt + 1, sizeof *now.topics)};
	bool whole = now.topics != NULL;
	for (int i = 0; i < m->topic_cnt && whole; i++) {
		const struct rd_kafka_metadata_topic *t = &m->topics[i];
		if (t->err || t->partition_cnt == 0)
			continue;
		const struct kveil_topic *before = kveil_cluster_find(cluster, t->topic);
		struct kveil_topic *slot = &now.topics[now.count++];
		*slot = (struct kveil_topic){strdup(t->topic), t->partition_cnt, before ? before->max_bytes : 0};
		whole = slot->name != NULL;
	}
	a->has_controller = false;
	for (int i = 0; i < m->broker_cnt; i++)
		a->has_controller |= m->brokers[i].id == rd_kafka_controllerid(a->rk, 0);
	rd_kafka_metadata_destroy(m);
	if (!whole) {
		kveil_cluster_clear(&now);
		return kveil_no_memory(err, "the cluster's topics");
	}
	qsort(now.topics, now.count, sizeof *now.topics, topics_by_name);
	kveil_cluster_clear(cluster);
	*cluster = now;
	return KVEIL_OK;
}

static struct kveil_topic *find(struct kveil_cluster *cluster, const char *name)
{
	/* The snapshot is ours, and so writable. */
	return (struct kveil_topic *)(uintptr_t)kveil_cluster_find(cluster, name);
}

static void take_limit(struct kveil_cluster *cluster, const rd_kafka_ConfigResource_t *r)
{
	size_t count;
	struct kveil_topic *t = find(cluster, rd_kafka_ConfigResource_name(r));

	if (!t || rd_kafka_ConfigResource_error(r))
		return;
	const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(r, &count);
	for (size_t i = 0; i < count; i++) {
		const char *value = rd_kafka_ConfigEntry_value(entries[i]);
		if (value && strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") == 0) {
			unsigned long long n = strtoull(value, NULL, 10);
			if (n)
				t->max_bytes = (size_t)n;
		}
	}
}

static void describe(struct kveil_admin *a, struct kveil_cluster *cluster, rd_kafka_ConfigResource_t **resources,
		     size_t count)
{
	char why[128];
	rd_kafka_queue_t *queue = rd_kafka_queue_new(a->rk);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(a->rk, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);

	rd_kafka_AdminOptions_set_request_timeout(options, TIMEOUT_MS, why, sizeof why);
	rd_kafka_DescribeConfigs(a->rk, resources, count, options, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, TIMEOUT_MS + 1000);
	const rd_kafka_DescribeConfigs_result_t *result = event ? rd_kafka_event_DescribeConfigs_result(event) : NULL;
	if (result && !rd_kafka_event_error(event)) {
		size_t n;
		const rd_kafka_ConfigResource_t **answers = rd_kafka_DescribeConfigs_result_resources(result, &n);
		for (size_t i = 0; i < n; i++)
			take_limit(cluster, answers[i]);
	}
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_queue_destroy(queue);
}

void kveil_admin_limits(struct kveil_admin *a, struct kveil_cluster *cluster, const struct kveil_catalog *catalog,
			bool only_new)
{
	size_t count = 0, room = 0;

	if (!a->has_controller)
		return;
	for (size_t i = 0; i < catalog->count; i++)
		room += catalog->routes[i].plan->view_count + 1;
	rd_kafka_ConfigResource_t **resources = calloc(room + 1, sizeof(rd_kafka_ConfigResource_t *));
	for (size_t i = 0; i < catalog->count && resources; i++) {
		const struct kveil_route *r = &catalog->routes[i];
		for (size_t v = 0; v <= r->plan->view_count; v++) {
			const char *name = v < r->plan->view_count ? r->outputs[v].topic : r->dead.topic;
			struct kveil_topic *t = find(cluster, name);
			if (!t || (only_new && t->max_bytes))
				continue;
			resources[count++] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
		}
	}
	if (count) {
		describe(a, cluster, resources, count);
		rd_kafka_ConfigResource_destroy_array(resources, count);
	}
	free(resources);
}

enum kveil_status kveil_admin_create(struct kveil_admin *a, const char *topic, int32_t partitions,
				     struct kveil_error *err)
{
	char why[256] = "no answer";
	enum kveil_status status = KVEIL_E_KAFKA_UNAVAILABLE;

	rd_kafka_NewTopic_t *t = rd_kafka_NewTopic_new(topic, partitions, -1, why, sizeof why);
	if (!t)
		return kveil_fail(err, KVEIL_E_CONFIG, "topic %s cannot be made: %s", topic, why);
	rd_kafka_queue_t *queue = rd_kafka_queue_new(a->rk);
	rd_kafka_CreateTopics(a->rk, &t, 1, NULL, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 2 * TIMEOUT_MS);
	const rd_kafka_CreateTopics_result_t *result = event ? rd_kafka_event_CreateTopics_result(event) : NULL;
	if (event && rd_kafka_event_error(event))
		snprintf(why, sizeof why, "%s", rd_kafka_event_error_string(event));
	else if (result) {
		size_t n;
		const rd_kafka_topic_result_t **answers = rd_kafka_CreateTopics_result_topics(result, &n);
		rd_kafka_resp_err_t e = n ? rd_kafka_topic_result_error(answers[0]) : RD_KAFKA_RESP_ERR__FAIL;
		if (!e || e == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS)
			status = KVEIL_OK;
		else
			snprintf(why, sizeof why, "%s", rd_kafka_err2str(e));
	}
	if (event)
		rd_kafka_event_destroy(event);
	rd_kafka_queue_destroy(queue);
	rd_kafka_NewTopic_destroy(t);
	return status ? kveil_fail(err, status, "topic %s was not made: %s", topic, why) : KVEIL_OK;
}

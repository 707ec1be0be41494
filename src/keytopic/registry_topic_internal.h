/* SPDX-License-Identifier: Apache-2.0 */
/* keytopic/registry_topic_internal.h: what the two files of the registry's topic share. One thread at a time. */
#ifndef KVEIL_KEYTOPIC_REGISTRY_TOPIC_INTERNAL_H
#define KVEIL_KEYTOPIC_REGISTRY_TOPIC_INTERNAL_H

#include "base/failpoint.h"
#include "kafka/search.h"
#include "keytopic/registry_topic.h"

enum {
	KVEIL_REGISTRY_TOPIC_CALL_MS = 10000,
	KVEIL_REGISTRY_TOPIC_QUERY_MS = 5000,
	KVEIL_REGISTRY_TOPIC_CONFIRM_MS = 300, /* between two looks at a topic that seems not to be there */
};

struct kveil_registry_topic {
	const struct kveil_config *config;
	struct kveil_kafka_owner owner;
	char *name;
	int copies; /* when it was last checked */
	/* The plain consumer of one partition: it begins, stops and goes back without a group, and at once. */
	rd_kafka_t *consumer;
	rd_kafka_topic_t *partition;
	rd_kafka_t *producer;             /* made when needed, and again after a failure */
	int64_t position, highest, start; /* start: the first offset that the log still has */
	int64_t begun, taken;             /* where the client was last started, and how many messages came since */
	bool lied;                        /* one of them told an offset that it cannot have */
	int64_t forged_until;             /* messages before this offset are of a batch that lies */
	struct kveil_search *search;      /* NULL: no gap was seen yet */
	unsigned looks;
	int64_t look_due_ms;
	bool was_away;
	bool client_left; /* one that did not end in time: it still logs as `owner` */
	bool has_clock;
	int64_t clock_ahead_ms; /* of the brokers' clock before the monotonic one */
};

/* Fails. */
enum kveil_status kveil_registry_topic_unavailable(const struct kveil_registry_topic *t, const char *why,
						   struct kveil_error *err);
/* Fails, with librdkafka's last error. */
enum kveil_status kveil_registry_topic_bad_name(const struct kveil_registry_topic *t, struct kveil_error *err);
enum kveil_status kveil_registry_topic_need_producer(struct kveil_registry_topic *t,
						     struct kveil_error *err) KVEIL_MUST_CHECK;
bool kveil_registry_topic_is_absent(rd_kafka_resp_err_t e);

#endif

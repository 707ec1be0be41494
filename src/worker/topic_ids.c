/* SPDX-License-Identifier: Apache-2.0 */
/* Is a topic the one that was read before? */
#include "worker/topic_ids.h"

#include "kafka/versions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kveil_topic_ids_clear(struct kveil_topic_ids *ids)
{
	for (size_t i = 0; i < ids->count; i++)
		free(ids->list[i].name);
	free(ids->list);
	*ids = (struct kveil_topic_ids){0};
}

const char *kveil_topic_ids_find(const struct kveil_topic_ids *ids, const char *name)
{
	for (size_t i = 0; i < ids->count; i++)
		if (strcmp(ids->list[i].name, name) == 0)
			return ids->list[i].id;
	return "";
}

bool kveil_topic_id_is_another(char known[KVEIL_TOPIC_ID_CHARS + 1], const char *noted, const char *now)
{
	/* What was committed says better than anything else of which topic it is: it may be by another process. */
	const char *read = noted[0] ? noted : known[0] ? known : now;
	bool another = now[0] && strcmp(read, now) != 0;

	if (read != known)
		snprintf(known, KVEIL_TOPIC_ID_CHARS + 1, "%s", read);
	return another;
}

#if RD_KAFKA_VERSION >= KVEIL_RDKAFKA_TOPIC_IDS

static void take(struct kveil_topic_ids *ids, const rd_kafka_TopicDescription_t *t)
{
	const rd_kafka_Uuid_t *id = rd_kafka_TopicDescription_topic_id(t);
	const char *text = id ? rd_kafka_Uuid_base64str(id) : NULL;

	if (rd_kafka_error_code(rd_kafka_TopicDescription_error(t)) || !text || strlen(text) != KVEIL_TOPIC_ID_CHARS ||
	    strspn(text, "A") == KVEIL_TOPIC_ID_CHARS) /* an old broker has none */
		return;
	struct kveil_topic_id *slot = &ids->list[ids->count];
	slot->name = strdup(rd_kafka_TopicDescription_name(t));
	snprintf(slot->id, sizeof slot->id, "%s", text);
	ids->count += slot->name != NULL;
}

/* Each name once: the list is by topic. */
static size_t names_of(const rd_kafka_topic_partition_list_t *topics, const char **names)
{
	size_t count = 0;

	for (int i = 0; i < topics->cnt; i++) {
		size_t k = 0;
		while (k < count && strcmp(names[k], topics->elems[i].topic) != 0)
			k++;
		if (k == count)
			names[count++] = topics->elems[i].topic;
	}
	return count;
}

/* Who is asked; a mock cluster has none, and then the client would wait for one. */
static bool has_controller(rd_kafka_t *rk, int timeout_ms)
{
	const struct rd_kafka_metadata *m;
	bool found = false;

	if (rd_kafka_metadata(rk, 0, NULL, &m, timeout_ms))
		return false;
	for (int i = 0; i < m->broker_cnt; i++)
		found |= m->brokers[i].id == rd_kafka_controllerid(rk, 0);
	rd_kafka_metadata_destroy(m);
	return found;
}

static rd_kafka_event_t *describe(rd_kafka_t *rk, const char **names, size_t count, int timeout_ms)
{
	char why[128];
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_TopicCollection_t *topics = rd_kafka_TopicCollection_of_topic_names(names, count);
	rd_kafka_AdminOptions_t *options = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);

	rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, why, sizeof why);
	rd_kafka_DescribeTopics(rk, topics, options, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, timeout_ms + 1000);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_TopicCollection_destroy(topics);
	rd_kafka_queue_destroy(queue);
	return event;
}

void kveil_topic_ids_ask(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *topics, int timeout_ms,
			 struct kveil_topic_ids *ret)
{
	const char **names = topics->cnt > 0 ? calloc((size_t)topics->cnt, sizeof *names) : NULL;
	size_t count = names ? names_of(topics, names) : 0, found = 0;

	*ret = (struct kveil_topic_ids){.list = count ? calloc(count, sizeof *ret->list) : NULL};
	rd_kafka_event_t *event =
	    ret->list && has_controller(rk, timeout_ms) ? describe(rk, names, count, timeout_ms) : NULL;
	const rd_kafka_DescribeTopics_result_t *result = event ? rd_kafka_event_DescribeTopics_result(event) : NULL;
	const rd_kafka_TopicDescription_t **answers =
	    result && !rd_kafka_event_error(event) ? rd_kafka_DescribeTopics_result_topics(result, &found) : NULL;
	for (size_t i = 0; answers && i < found && ret->count < count; i++)
		take(ret, answers[i]);
	if (event)
		rd_kafka_event_destroy(event);
	free(names);
}

#else

void kveil_topic_ids_ask(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *topics, int timeout_ms,
			 struct kveil_topic_ids *ret)
{
	(void)rk, (void)topics, (void)timeout_ms;
	*ret = (struct kveil_topic_ids){0};
}

#endif

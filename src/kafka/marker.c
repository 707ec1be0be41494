/* SPDX-License-Identifier: Apache-2.0 */
/* Is what stands between two offsets a transaction's mark? */
#include "kafka/marker.h"

static int64_t position(rd_kafka_t *rk, const rd_kafka_message_t *msg)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *p =
	    rd_kafka_topic_partition_list_add(list, rd_kafka_topic_name(msg->rkt), msg->partition);

	int64_t offset = rd_kafka_position(rk, list) || p->offset < 0 ? -1 : p->offset;
	rd_kafka_topic_partition_list_destroy(list);
	return offset;
}

static rd_kafka_resp_err_t on_consume(rd_kafka_t *rk, rd_kafka_message_t *msg, void *marker)
{
	struct kveil_marker *m = marker;
	bool follows = msg->rkt == m->rkt && msg->partition == m->partition && msg->offset == m->next;

	m->before = follows ? -1 : position(rk, msg);
	m->rkt = msg->rkt;
	m->partition = msg->partition;
	m->next = msg->offset + 1;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *m, char *why, size_t size)
{
	(void)conf;
	(void)why;
	(void)size;
	return rd_kafka_interceptor_add_on_consume(rk, "kveil-marker", on_consume, m);
}

void kveil_marker_watch(rd_kafka_conf_t *conf, struct kveil_marker *m)
{
	rd_kafka_conf_interceptor_add_on_new(conf, "kveil-marker", on_new, m);
}

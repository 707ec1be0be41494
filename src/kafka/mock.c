/* SPDX-License-Identifier: Apache-2.0 */
/* A Kafka cluster in the process. */
#include "kafka/mock.h"

#include "base/clock.h"
#include "kafka/kafka.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdio.h>
#include <stdlib.h>

struct kveil_mock {
	rd_kafka_t *handle; /* the cluster hangs on a client */
	rd_kafka_mock_cluster_t *cluster;
	int brokers;
};

struct kveil_mock_writer {
	rd_kafka_t *producer;
};

struct kveil_mock_reader {
	rd_kafka_t *consumer;
	rd_kafka_message_t *message;
};

static enum kveil_status new_client(rd_kafka_type_t type, const char *const *properties, rd_kafka_t **ret,
				    struct kveil_error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	char why[256];

	rd_kafka_conf_set_log_cb(conf, NULL); /* brokers that go away are the point of it */
	for (; *properties; properties += 2)
		if (rd_kafka_conf_set(conf, properties[0], properties[1], why, sizeof why) != RD_KAFKA_CONF_OK) {
			rd_kafka_conf_destroy(conf);
			return kveil_fail(err, KVEIL_E_INTERNAL, "librdkafka: %s", why);
		}
	*ret = rd_kafka_new(type, conf, why, sizeof why);
	if (*ret)
		return KVEIL_OK;
	rd_kafka_conf_destroy(conf);
	return kveil_fail(err, KVEIL_E_INTERNAL, "librdkafka: %s", why);
}

enum kveil_status kveil_mock_new(int brokers, struct kveil_mock **ret, struct kveil_error *err)
{
	static const char *const properties[] = {"client.id", "kveil-mock", NULL};
	struct kveil_mock *m = calloc(1, sizeof *m);

	if (!m)
		return kveil_no_memory(err, NULL);
	m->brokers = brokers;
	enum kveil_status status = new_client(RD_KAFKA_PRODUCER, properties, &m->handle, err);
	if (status == KVEIL_OK && !(m->cluster = rd_kafka_mock_cluster_new(m->handle, brokers)))
		status = kveil_fail(err, KVEIL_E_INTERNAL, "librdkafka made no mock cluster");
	if (status == KVEIL_OK)
		*ret = m;
	else
		kveil_mock_free(m);
	return status;
}

void kveil_mock_free(struct kveil_mock *m)
{
	if (!m)
		return;
	if (m->cluster)
		rd_kafka_mock_cluster_destroy(m->cluster);
	kveil_kafka_destroy(m->handle, 0);
	free(m);
}

const char *kveil_mock_bootstrap_servers(const struct kveil_mock *m)
{
	return rd_kafka_mock_cluster_bootstraps(m->cluster);
}

enum kveil_status kveil_mock_create_topic(struct kveil_mock *m, const char *topic, int partitions,
					  struct kveil_error *err)
{
	rd_kafka_resp_err_t e = rd_kafka_mock_topic_create(m->cluster, topic, partitions, 1);

	return e ? kveil_fail(err, KVEIL_E_INTERNAL, "mock topic %s: %s", topic, rd_kafka_err2str(e)) : KVEIL_OK;
}

void kveil_mock_set_up(struct kveil_mock *m, bool up)
{
	for (int i = 1; i <= m->brokers; i++)
		if (up)
			rd_kafka_mock_broker_set_up(m->cluster, i);
		else
			rd_kafka_mock_broker_set_down(m->cluster, i);
}

static void fail_requests(struct kveil_mock *m, int16_t api_key, const int16_t *codes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		rd_kafka_mock_push_request_errors(m->cluster, api_key, 1, (rd_kafka_resp_err_t)codes[i]);
}

void kveil_mock_fail_produce(struct kveil_mock *m, const int16_t *codes, size_t count)
{
	fail_requests(m, 0, codes, count);
}

void kveil_mock_fail_fetch(struct kveil_mock *m, const int16_t *codes, size_t count)
{
	fail_requests(m, 1, codes, count);
}

void kveil_mock_fail_list_offsets(struct kveil_mock *m, const int16_t *codes, size_t count)
{
	fail_requests(m, 2, codes, count);
}

void kveil_mock_fail_find_coordinator(struct kveil_mock *m, const int16_t *codes, size_t count)
{
	fail_requests(m, 10, codes, count);
}

enum kveil_status kveil_mock_writer_new(struct kveil_mock *m, struct kveil_mock_writer **ret, struct kveil_error *err)
{
	const char *const properties[] = {"bootstrap.servers",
					  kveil_mock_bootstrap_servers(m),
					  "client.id",
					  "kveil-mock-writer",
					  "enable.idempotence",
					  "true",
					  "message.timeout.ms",
					  "0",
					  "linger.ms",
					  "5",
					  NULL};
	struct kveil_mock_writer *w = calloc(1, sizeof *w);

	if (!w)
		return kveil_no_memory(err, NULL);
	enum kveil_status status = new_client(RD_KAFKA_PRODUCER, properties, &w->producer, err);
	if (status == KVEIL_OK)
		*ret = w;
	else
		free(w);
	return status;
}

static rd_kafka_headers_t *copy_headers(const struct kveil_record *r)
{
	rd_kafka_headers_t *headers = rd_kafka_headers_new(r->header_count);

	for (size_t i = 0; i < r->header_count; i++)
		rd_kafka_header_add(headers, (const char *)r->headers[i].name.data, (ssize_t)r->headers[i].name.len,
				    r->headers[i].value.data, (ssize_t)r->headers[i].value.len);
	return headers;
}

enum kveil_status kveil_mock_write(struct kveil_mock_writer *w, const char *topic, int partition,
				   const struct kveil_record *r, struct kveil_error *err)
{
	rd_kafka_headers_t *headers = r->header_count ? copy_headers(r) : NULL;
	rd_kafka_vu_t parts[] = {
	    {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
	    {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
	    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)r->key.data, r->key.len}},
	    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)r->value.data, r->value.len}},
	    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
	    {.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers},
	};
	rd_kafka_error_t *e = rd_kafka_produceva(w->producer, parts, sizeof parts / sizeof *parts - (headers ? 0 : 1));

	if (!e)
		return KVEIL_OK;
	bool full = rd_kafka_error_code(e) == RD_KAFKA_RESP_ERR__QUEUE_FULL;
	enum kveil_status status =
	    kveil_fail(err, full ? KVEIL_E_KAFKA_UNAVAILABLE : KVEIL_E_INTERNAL, "%s", rd_kafka_error_string(e));
	rd_kafka_error_destroy(e);
	if (headers)
		rd_kafka_headers_destroy(headers);
	return status;
}

size_t kveil_mock_writer_poll(struct kveil_mock_writer *w, int timeout_ms, bool wait_all)
{
	if (wait_all)
		rd_kafka_flush(w->producer, timeout_ms);
	else
		rd_kafka_poll(w->producer, timeout_ms);
	return (size_t)rd_kafka_outq_len(w->producer);
}

void kveil_mock_writer_free(struct kveil_mock_writer *w)
{
	if (!w)
		return;
	rd_kafka_purge(w->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	rd_kafka_flush(w->producer, 1000);
	kveil_kafka_destroy(w->producer, 0);
	free(w);
}

enum kveil_status kveil_mock_reader_new(struct kveil_mock *m, const char *const *topics, int partitions,
					struct kveil_mock_reader **ret, struct kveil_error *err)
{
	const char *const properties[] = {"bootstrap.servers",
					  kveil_mock_bootstrap_servers(m),
					  "client.id",
					  "kveil-mock-reader",
					  "group.id",
					  "kveil-mock-reader", /* asked for, never joined */
					  "enable.auto.commit",
					  "false",
					  "fetch.wait.max.ms",
					  "50",
					  NULL};
	struct kveil_mock_reader *r = calloc(1, sizeof *r);

	if (!r)
		return kveil_no_memory(err, NULL);
	enum kveil_status status = new_client(RD_KAFKA_CONSUMER, properties, &r->consumer, err);
	if (status != KVEIL_OK) {
		free(r);
		return status;
	}
	rd_kafka_poll_set_consumer(r->consumer);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
	for (; *topics; topics++)
		for (int i = 0; i < partitions; i++)
			rd_kafka_topic_partition_list_add(list, *topics, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_resp_err_t e = rd_kafka_assign(r->consumer, list);
	rd_kafka_topic_partition_list_destroy(list);
	if (e) {
		kveil_mock_reader_free(r);
		return kveil_fail(err, KVEIL_E_INTERNAL, "librdkafka: %s", rd_kafka_err2str(e));
	}
	*ret = r;
	return KVEIL_OK;
}

static void show_headers(const rd_kafka_message_t *message, struct kveil_mock_message *ret)
{
	rd_kafka_headers_t *headers;
	const char *name;
	const void *value;
	size_t n = 0, len;

	if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
		return;
	while (n < KVEIL_MOCK_HEADERS_MAX && rd_kafka_header_get_all(headers, n, &name, &value, &len) == 0) {
		ret->headers[n].name = kveil_span_str(name);
		ret->headers[n].value = kveil_span_of(value, len);
		n++;
	}
	ret->record.header_count = n;
}

bool kveil_mock_read(struct kveil_mock_reader *r, int timeout_ms, struct kveil_mock_message *ret)
{
	int64_t deadline = kveil_clock_mono_ms() + timeout_ms;

	for (;;) {
		if (r->message)
			rd_kafka_message_destroy(r->message);
		int64_t left = deadline - kveil_clock_mono_ms();
		r->message = rd_kafka_consumer_poll(r->consumer, left > 0 ? (int)left : 0);
		if (!r->message)
			return false;
		if (!r->message->err)
			break;
		if (left <= 0)
			return false;
	}
	const rd_kafka_message_t *m = r->message;
	ret->topic = rd_kafka_topic_name(m->rkt);
	ret->partition = m->partition;
	ret->offset = m->offset;
	ret->timestamp_ms = rd_kafka_message_timestamp(m, NULL);
	ret->record = (struct kveil_record){.key = kveil_span_of(m->key, m->key_len),
					    .value = kveil_span_of(m->payload, m->len),
					    .headers = ret->headers};
	show_headers(m, ret);
	return true;
}

void kveil_mock_reader_free(struct kveil_mock_reader *r)
{
	if (!r)
		return;
	if (r->message)
		rd_kafka_message_destroy(r->message);
	kveil_kafka_close_consumer(r->consumer);
	free(r);
}

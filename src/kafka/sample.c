/* SPDX-License-Identifier: Apache-2.0 */
/* kafka/sample.c: the newest values of a topic. */
#include "kafka/sample.h"

#include "base/clock.h"
#include "kafka/kafka.h"

enum { PATIENCE_MS = 10000, POLL_MS = 200 };

static enum kveil_status no_answer(rd_kafka_resp_err_t code, const char *brokers, const char *topic,
				   struct kveil_error *err)
{
	if (code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "%s has no topic %s", brokers, topic);
	return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "the topic %s at %s: %s", topic, brokers,
			  rd_kafka_err2str(code));
}

static enum kveil_status make_consumer(const char *brokers, rd_kafka_t **ret, struct kveil_error *err)
{
	static const char *const fixed[][2] = {
	    {"group.id", "kveil-init"},
	    {"enable.auto.commit", "false"},
	    {"enable.partition.eof", "true"},
	    {"auto.offset.reset", "earliest"}, /* of records that go meanwhile */
	    {"allow.auto.create.topics", "false"},
	    {"log_level", "0"},
	    {0},
	};
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	enum kveil_status status = kveil_kafka_set(conf, "bootstrap.servers", brokers, err);

	for (size_t i = 0; !status && fixed[i][0]; i++)
		status = kveil_kafka_set(conf, fixed[i][0], fixed[i][1], err);
	if (!status)
		return kveil_kafka_new(RD_KAFKA_CONSUMER, conf, ret, err);
	rd_kafka_conf_destroy(conf);
	return status;
}

/* The newest records of a partition, or all that are left of it: RD_KAFKA_OFFSET_TAIL never comes to an end where the
 * oldest are gone. */
static rd_kafka_resp_err_t add_partition(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, const char *topic,
					 int32_t id, int64_t most)
{
	int64_t low, high;
	rd_kafka_resp_err_t code = kveil_kafka_range(rk, topic, id, &low, &high, PATIENCE_MS);

	if (!code)
		rd_kafka_topic_partition_list_add(list, topic, id)->offset = high - low > most ? high - most : low;
	return code;
}

static rd_kafka_resp_err_t list_partitions(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *list, const char *topic,
					   int64_t most)
{
	const struct rd_kafka_metadata *known = NULL;
	rd_kafka_topic_t *handle = rd_kafka_topic_new(rk, topic, NULL);
	rd_kafka_resp_err_t code =
	    handle ? rd_kafka_metadata(rk, 0, handle, &known, PATIENCE_MS) : rd_kafka_last_error();

	if (!code && known->topic_cnt == 1)
		code = known->topics[0].err;
	for (int i = 0; !code && known->topic_cnt == 1 && i < known->topics[0].partition_cnt; i++)
		code = add_partition(rk, list, topic, known->topics[0].partitions[i].id, most);
	if (known)
		rd_kafka_metadata_destroy(known);
	if (handle)
		rd_kafka_topic_destroy(handle);
	return code;
}

/* Until each partition has come to its end, or it was enough. An error: no partition gave anything. */
static rd_kafka_resp_err_t read_all(rd_kafka_t *rk, int partitions, kveil_kafka_sample_fn *take, void *user)
{
	int64_t end = kveil_clock_mono_ms() + PATIENCE_MS;
	rd_kafka_resp_err_t why = RD_KAFKA_RESP_ERR__TIMED_OUT;
	bool more = true, any = partitions == 0;

	while (partitions > 0 && more && kveil_clock_mono_ms() < end) {
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(rk, POLL_MS);
		if (!msg)
			continue;
		any |= !msg->err || msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
		if (msg->err) {
			partitions -= msg->rkt != NULL;
			why = msg->err;
		} else
			more = take(user, kveil_span_of(msg->key, msg->key_len), kveil_span_of(msg->payload, msg->len));
		kveil_kafka_message_free(msg);
	}
	return any ? RD_KAFKA_RESP_ERR_NO_ERROR : why;
}

enum kveil_status kveil_kafka_sample(const char *brokers, const char *topic, int64_t most, kveil_kafka_sample_fn *take,
				     void *user, struct kveil_error *err)
{
	rd_kafka_t *rk = NULL;
	enum kveil_status status = make_consumer(brokers, &rk, err);

	if (status)
		return status;
	rd_kafka_poll_set_consumer(rk);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);
	rd_kafka_resp_err_t code = list_partitions(rk, list, topic, most);
	if (!code)
		code = rd_kafka_assign(rk, list);
	if (!code)
		code = read_all(rk, list->cnt, take, user);
	rd_kafka_topic_partition_list_destroy(list);
	kveil_kafka_destroy(rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	return code ? no_answer(code, brokers, topic, err) : KVEIL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/kafka.h"
#include "kafka/mock.h"
#include "kafka/sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static void test_what_is_written_is_read(void **state)
{
	struct kveil_mock *m;
	struct kveil_mock_writer *w;
	struct kveil_mock_reader *r;
	struct kveil_mock_message got;
	struct kveil_error err;
	const struct kveil_header headers[] = {{KVEIL_SPAN("a"), KVEIL_SPAN("1")}, {KVEIL_SPAN("a"), KVEIL_SPAN_NULL}};
	char value[16];

	(void)state;
	assert_int_equal(kveil_mock_new(1, &m, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_create_topic(m, "t", 2, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_writer_new(m, &w, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_reader_new(m, (const char *const[]){"t", NULL}, 2, &r, &err), KVEIL_OK);
	for (int i = 0; i < 100; i++) {
		snprintf(value, sizeof value, "%d", i);
		struct kveil_record record = {
		    .key = KVEIL_SPAN("k"), .value = kveil_span_str(value), .headers = headers, .header_count = 2};
		assert_int_equal(kveil_mock_write(w, "t", 1, &record, &err), KVEIL_OK);
	}
	struct kveil_record tombstone = {0};
	assert_int_equal(kveil_mock_write(w, "t", 1, &tombstone, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_writer_poll(w, 5000, true), 0);
	for (int i = 0; i < 100; i++) {
		assert_true(kveil_mock_read(r, 5000, &got));
		snprintf(value, sizeof value, "%d", i);
		assert_string_equal(got.topic, "t");
		assert_int_equal(got.partition, 1);
		assert_int_equal(got.offset, i);
		assert_true(kveil_span_eq(got.record.value, kveil_span_str(value)));
		assert_true(kveil_span_eq(got.record.key, KVEIL_SPAN("k")));
		assert_int_equal(got.record.header_count, 2);
		assert_true(kveil_span_eq(got.headers[0].value, KVEIL_SPAN("1")));
		assert_null(got.headers[1].value.data);
	}
	assert_true(kveil_mock_read(r, 5000, &got));
	assert_null(got.record.key.data);
	assert_null(got.record.value.data);
	assert_false(kveil_mock_read(r, 50, &got));
	kveil_mock_reader_free(r);
	kveil_mock_writer_free(w);
	kveil_mock_free(m);
}

/* A fetcher rests when so many messages wait: a few records of a quiet topic must not be as many. */
static void test_messages_that_may_wait(void **state)
{
	static const struct {
		size_t memory, record, workers, messages;
	} rows[] = {
	    {192, 8 << 20, 1, 16}, {192, 1 << 10, 1, 16}, {192, 8 << 20, 2, 13}, {64, 8 << 20, 1, 5}, {64, 1, 4, 16}};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct kveil_config c = {
		    .workers = (unsigned)rows[i].workers,
		    .limits = {.memory_bytes = rows[i].memory << 20, .record_bytes = rows[i].record}};
		assert_int_equal(kveil_kafka_budget(&c).queue_messages, rows[i].messages);
	}
}

static size_t size_in(const rd_kafka_conf_t *conf, const char *name)
{
	char text[32];
	size_t size = sizeof text;

	assert_int_equal(rd_kafka_conf_get(conf, name, text, &size), RD_KAFKA_CONF_OK);
	return strtoul(text, NULL, 10);
}

/* Where one partition may fill a response, another one on its broker starves: for seconds, over a slow link. */
static void test_a_response_has_more_than_one_partition(void **state)
{
	struct kveil_config c = {.workers = 1, .limits.record_bytes = 8 << 20};
	struct kveil_kafka_owner owner = {0};
	char servers[] = "127.0.0.1:1", group[] = "g";
	struct kveil_error err;
	rd_kafka_conf_t *conf;

	(void)state;
	c.kafka.bootstrap_servers = servers;
	for (size_t mib = 64; mib <= 4096; mib *= 4) {
		c.limits.memory_bytes = mib << 20;
		assert_int_equal(kveil_kafka_conf_consumer(&c, &owner, group, &conf, &err), KVEIL_OK);
		assert_true(2 * size_in(conf, "max.partition.fetch.bytes") <= size_in(conf, "fetch.max.bytes"));
		rd_kafka_conf_destroy(conf);
	}
}

static void test_ends_are_asked_for_again_between_leaders(void **state)
{
	static const int16_t codes[] = {RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
					RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE};
	int64_t low = -1, high = -1;
	struct kveil_mock *m;
	struct kveil_error err;

	(void)state;
	assert_int_equal(kveil_mock_new(1, &m, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_create_topic(m, "t", 1, &err), KVEIL_OK);
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	rd_kafka_conf_set(conf, "bootstrap.servers", kveil_mock_bootstrap_servers(m), NULL, 0);
	rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, NULL, 0);
	kveil_mock_fail_list_offsets(m, codes, 2);
	assert_int_equal(kveil_kafka_range(consumer, "t", 0, &low, &high, 10000), 0);
	assert_int_equal(low, 0);
	assert_int_equal(high, 0);
	rd_kafka_destroy(consumer);
	kveil_mock_free(m);
}

static void test_an_outage_ends(void **state)
{
	struct kveil_mock *m;
	struct kveil_mock_writer *w;
	struct kveil_error err;
	struct kveil_record record = {.key = KVEIL_SPAN("k"), .value = KVEIL_SPAN("v")};

	(void)state;
	assert_int_equal(kveil_mock_new(1, &m, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_create_topic(m, "t", 1, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_writer_new(m, &w, &err), KVEIL_OK);
	kveil_mock_set_up(m, false);
	assert_int_equal(kveil_mock_write(w, "t", 0, &record, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_writer_poll(w, 300, true), 1);
	kveil_mock_set_up(m, true);
	assert_int_equal(kveil_mock_writer_poll(w, 15000, true), 0);
	kveil_mock_writer_free(w);
	kveil_mock_free(m);
}

static bool count_values(void *user, struct kveil_span key, struct kveil_span value)
{
	(void)key;
	*(int *)user += value.data != NULL;
	return true;
}

/* Of a partition that has lost its oldest records, and has fewer left than are asked for. */
static void test_a_sample_of_what_is_left(void **state)
{
	enum { RECORDS = 12, RECORD_BYTES = 900000 };
	struct kveil_mock *m;
	struct kveil_mock_writer *w;
	struct kveil_error err;
	int taken = 0;
	uint8_t *bytes = calloc(1, RECORD_BYTES);
	struct kveil_record record = {.value = kveil_span_of(bytes, RECORD_BYTES)};

	(void)state;
	assert_int_equal(kveil_mock_new(1, &m, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_create_topic(m, "t", 1, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_writer_new(m, &w, &err), KVEIL_OK);
	for (int i = 0; i < RECORDS; i++) {
		assert_int_equal(kveil_mock_write(w, "t", 0, &record, &err), KVEIL_OK);
		assert_int_equal(kveil_mock_writer_poll(w, 5000, true), 0);
	}
	assert_int_equal(
	    kveil_kafka_sample(kveil_mock_bootstrap_servers(m), "t", RECORDS - 1, count_values, &taken, &err),
	    KVEIL_OK);
	assert_in_range(taken, 1, RECORDS - 2);
	kveil_mock_writer_free(w);
	kveil_mock_free(m);
	free(bytes);
}

/* As where the records may be described and not read. */
static void test_a_sample_that_is_not_answered(void **state)
{
	static const int16_t codes[] = {
	    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
	    RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED};
	struct kveil_record record = {.value = KVEIL_SPAN("v")};
	struct kveil_mock *m;
	struct kveil_mock_writer *w;
	struct kveil_error err;
	int taken = 0;

	(void)state;
	assert_int_equal(kveil_mock_new(1, &m, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_create_topic(m, "t", 1, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_writer_new(m, &w, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_write(w, "t", 0, &record, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_writer_poll(w, 5000, true), 0);
	kveil_mock_fail_fetch(m, codes, sizeof codes / sizeof *codes);
	assert_int_equal(kveil_kafka_sample(kveil_mock_bootstrap_servers(m), "t", 10, count_values, &taken, &err),
			 KVEIL_E_KAFKA_UNAVAILABLE);
	assert_non_null(strstr(err.message, "uthorization"));
	kveil_mock_writer_free(w);
	kveil_mock_free(m);
}

static rd_kafka_t *transactional_producer(struct kveil_mock *m, struct kveil_kafka_owner *owner)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	rd_kafka_conf_set(conf, "bootstrap.servers", kveil_mock_bootstrap_servers(m), NULL, 0);
	rd_kafka_conf_set(conf, "transactional.id", "t", NULL, 0);
	rd_kafka_conf_set_opaque(conf, owner);
	kveil_connections_watch(conf);
	return rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
}

static void count_beat(void *beats)
{
	++*(unsigned *)beats;
}

/* librdkafka waits for a sign that another answer may be had, and there is none: all connections stand. */
static void test_offsets_are_sent_though_the_coordinator_was_not_found(void **state)
{
	static const int16_t code = RD_KAFKA_RESP_ERR_NOT_COORDINATOR;
	static struct kveil_kafka_owner owner;
	struct kveil_mock *m;
	struct kveil_error err;
	unsigned beats = 0;

	(void)state;
	assert_int_equal(kveil_mock_new(1, &m, &err), KVEIL_OK);
	assert_int_equal(kveil_mock_create_topic(m, "t", 1, &err), KVEIL_OK);
	rd_kafka_t *producer = transactional_producer(m, &owner);
	rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(offsets, "t", 0)->offset = 1;
	rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata_new("g");
	assert_null(rd_kafka_init_transactions(producer, 10000));
	nanosleep(&(struct timespec){.tv_sec = 1}, NULL); /* its own questions are over */
	assert_null(rd_kafka_begin_transaction(producer));
	kveil_mock_fail_find_coordinator(m, &code, 1);
	assert_null(kveil_kafka_send_offsets(producer, offsets, group, 500, count_beat, &beats));
	assert_true(beats > 0);
	assert_null(rd_kafka_commit_transaction(producer, 5000));
	rd_kafka_consumer_group_metadata_destroy(group);
	rd_kafka_topic_partition_list_destroy(offsets);
	rd_kafka_destroy(producer);
	assert_int_equal(owner.connections.count, 0);
	kveil_mock_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_written_is_read),
	    cmocka_unit_test(test_messages_that_may_wait),
	    cmocka_unit_test(test_a_response_has_more_than_one_partition),
	    cmocka_unit_test(test_ends_are_asked_for_again_between_leaders),
	    cmocka_unit_test(test_an_outage_ends),
	    cmocka_unit_test(test_a_sample_of_what_is_left),
	    cmocka_unit_test(test_a_sample_that_is_not_answered),
	    cmocka_unit_test(test_offsets_are_sent_though_the_coordinator_was_not_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

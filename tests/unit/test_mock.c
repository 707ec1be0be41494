/* SPDX-License-Identifier: Apache-2.0 */
#include "kafka/kafka.h"
#include "kafka/mock.h"
#include "kafka/sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_is_written_is_read),
	    cmocka_unit_test(test_ends_are_asked_for_again_between_leaders),
	    cmocka_unit_test(test_an_outage_ends),
	    cmocka_unit_test(test_a_sample_of_what_is_left),
	    cmocka_unit_test(test_a_sample_that_is_not_answered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka/mock.h: a Kafka cluster inside this process (librdkafka's mock cluster), with a writer and a reader for
 * what stands at its two ends. For `kveil demo` and tests; nothing lasts.
 *
 * A partition keeps about 5 MiB or 100,000 records, and forgets the oldest past that whether they were read or not: a
 * writer must be paced by the reader. The cluster is used from any thread, a writer or reader from one.
 */
#ifndef KVEIL_KAFKA_MOCK_H
#define KVEIL_KAFKA_MOCK_H

#include "kveil/base.h"
#include "kveil/engine.h"

struct kveil_mock;
struct kveil_mock_writer;
struct kveil_mock_reader;

enum kveil_status kveil_mock_new(int brokers, struct kveil_mock **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_mock_free(struct kveil_mock *m); /* after every client of it is closed */
const char *kveil_mock_bootstrap_servers(const struct kveil_mock *m);
enum kveil_status kveil_mock_create_topic(struct kveil_mock *m, const char *topic, int partitions,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Takes all brokers away, and back: for tests of outages. */
void kveil_mock_set_up(struct kveil_mock *m, bool up);
/* The next produce requests are answered with these Kafka error codes (10 = MESSAGE_TOO_LARGE), one each. */
void kveil_mock_fail_produce(struct kveil_mock *m, const int16_t *codes, size_t count);
/* The same of the next requests to fetch. */
void kveil_mock_fail_fetch(struct kveil_mock *m, const int16_t *codes, size_t count);
/* The same for questions after the ends of partitions. */
void kveil_mock_fail_list_offsets(struct kveil_mock *m, const int16_t *codes, size_t count);
/* The same for questions after coordinators. */
void kveil_mock_fail_find_coordinator(struct kveil_mock *m, const int16_t *codes, size_t count);

/* compression "none", acks all, idempotent: what a careful source does. */
enum kveil_status kveil_mock_writer_new(struct kveil_mock *m, struct kveil_mock_writer **ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* Copies the record into the queue. partition -1: by key. RETRY: the queue is full, poll and try again. */
enum kveil_status kveil_mock_write(struct kveil_mock_writer *w, const char *topic, int partition,
				   const struct kveil_record *record, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Serves delivery reports for at most timeout_ms; wait_all: until all that was written is acknowledged. Returns how
 * many records are not acknowledged yet. */
size_t kveil_mock_writer_poll(struct kveil_mock_writer *w, int timeout_ms, bool wait_all);
/* What is not sent yet is dropped. NULL is fine. */
void kveil_mock_writer_free(struct kveil_mock_writer *w);

enum { KVEIL_MOCK_HEADERS_MAX = 32 };

struct kveil_mock_message {
	const char *topic;
	int32_t partition;
	int64_t offset, timestamp_ms;
	struct kveil_record record; /* at most KVEIL_MOCK_HEADERS_MAX headers are shown */
	struct kveil_header headers[KVEIL_MOCK_HEADERS_MAX];
};

/* Reads every partition of the topics (ends with NULL) from its beginning, outside any group. */
enum kveil_status kveil_mock_reader_new(struct kveil_mock *m, const char *const *topics, int partitions,
					struct kveil_mock_reader **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The next message, borrowed until the next call; false: none within timeout_ms. */
bool kveil_mock_read(struct kveil_mock_reader *r, int timeout_ms, struct kveil_mock_message *ret);
void kveil_mock_reader_free(struct kveil_mock_reader *r);

#endif

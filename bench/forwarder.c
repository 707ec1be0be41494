/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kveil is measured against: librdkafka and nothing else, from topic to topic.
 *
 *   forwarder f0|f1 BOOTSTRAP INPUT OUTPUT GROUP COUNT GROWTH
 *
 * f0 polls in batches and sends each record unchanged, without a copy in memory: the message is held until it was
 * delivered. f1 polls one by one and sends as many bytes as kveil does on such records (GROWTH more each), with
 * timestamp and headers. Both: idempotent, acks=all, linger 5 ms, no compression, the queues that `kveil run` gives one
 * worker. Ends when COUNT records were acknowledged, and prints CPU and wall seconds as JSON.
 */
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { BATCH = 1000, SERVE_EVERY = 256 };

static const char *const common[][2] = {{"client.id", "forwarder"}, {NULL, NULL}};

static const char *const consumer_properties[][2] = {
    {"auto.offset.reset", "earliest"},
    {"partition.assignment.strategy", "range,roundrobin"},
    {"queued.max.messages.kbytes", "27306"},
    {"queued.min.messages", "54613"},
    {"fetch.max.bytes", "8388608"},
    {"max.partition.fetch.bytes", "4194304"},
#if RD_KAFKA_VERSION >= 0x02020000
    {"fetch.queue.backoff.ms", "20"},
#else
    {"fetch.error.backoff.ms", "20"},
#endif
    {NULL, NULL},
};

static const char *const producer_properties[][2] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"linger.ms", "5"},
    {"batch.size", "1000000"},
    {"message.timeout.ms", "0"},
    {"queue.buffering.max.messages", "10000000"},
    {"queue.buffering.max.kbytes", "54613"},
    {NULL, NULL},
};

static uint64_t delivered;
static size_t growth;

static void die(const char *what)
{
	fprintf(stderr, "forwarder: %s\n", what);
	exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
		die(why);
}

static rd_kafka_conf_t *configure(const char *bootstrap, const char *const (*properties)[2])
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	set(conf, "bootstrap.servers", bootstrap);
	for (const char *const(*p)[2] = common; (*p)[0]; p++)
		set(conf, (*p)[0], (*p)[1]);
	for (; (*properties)[0]; properties++)
		set(conf, (*properties)[0], (*properties)[1]);
	return conf;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	(void)rk;
	(void)opaque;
	if (msg->err)
		die(rd_kafka_err2str(msg->err));
	delivered++;
	if (msg->_private)
		rd_kafka_message_destroy(msg->_private);
}

static void produce(rd_kafka_t *producer, const rd_kafka_vu_t *parts, size_t count)
{
	rd_kafka_error_t *e;

	while ((e = rd_kafka_produceva(producer, parts, count))) {
		if (rd_kafka_error_code(e) != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			die(rd_kafka_error_string(e));
		rd_kafka_error_destroy(e);
		rd_kafka_poll(producer, 20);
	}
}

/* Key and value stay where the consumer has them. */
static void forward_held(rd_kafka_t *producer, rd_kafka_topic_t *output, rd_kafka_message_t *msg)
{
	const rd_kafka_vu_t parts[] = {
	    {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = output},
	    {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = msg->partition},
	    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {msg->key, msg->key_len}},
	    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {msg->payload, msg->len}},
	    {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rd_kafka_message_timestamp(msg, NULL)},
	    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = 0},
	    {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = msg},
	};

	produce(producer, parts, sizeof parts / sizeof parts[0]);
}

static void forward_grown(rd_kafka_t *producer, rd_kafka_topic_t *output, rd_kafka_message_t *msg)
{
	static char *buffer;
	static size_t room;
	rd_kafka_headers_t *headers;

	if (room < msg->len + growth) {
		room = 2 * (msg->len + growth);
		free(buffer);
		if (!(buffer = malloc(room)))
			die("no memory");
		memset(buffer, 'x', room);
	}
	memcpy(buffer, msg->payload, msg->len);
	rd_kafka_vu_t parts[8] = {
	    {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = output},
	    {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = msg->partition},
	    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {msg->key, msg->key_len}},
	    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {buffer, msg->len + growth}},
	    {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = rd_kafka_message_timestamp(msg, NULL)},
	    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
	};
	size_t n = 6;
	if (!rd_kafka_message_detach_headers(msg, &headers))
		parts[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers};
	produce(producer, parts, n);
	rd_kafka_message_destroy(msg);
}

/* Takes msg. */
static bool is_record(rd_kafka_message_t *msg)
{
	if (!msg->err)
		return true;
	rd_kafka_message_destroy(msg);
	return false;
}

static void run_f0(rd_kafka_t *consumer, rd_kafka_t *producer, rd_kafka_topic_t *output, uint64_t count)
{
	static rd_kafka_message_t *batch[BATCH];
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);

	while (delivered < count) {
		ssize_t n = rd_kafka_consume_batch_queue(queue, 10, batch, BATCH);
		for (ssize_t i = 0; i < n; i++)
			if (is_record(batch[i]))
				forward_held(producer, output, batch[i]);
		rd_kafka_poll(producer, 0);
	}
	rd_kafka_queue_destroy(queue);
}

static void run_f1(rd_kafka_t *consumer, rd_kafka_t *producer, rd_kafka_topic_t *output, uint64_t count)
{
	while (delivered < count) {
		for (int i = 0; i < SERVE_EVERY; i++) {
			rd_kafka_message_t *msg = rd_kafka_consumer_poll(consumer, i ? 0 : 10);
			if (!msg)
				break;
			if (is_record(msg))
				forward_grown(producer, output, msg);
		}
		rd_kafka_poll(producer, 0);
	}
}

static double seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int main(int argc, char **argv)
{
	char why[256];
	struct timespec begin, end;
	struct rusage usage;

	if (argc != 8 || (strcmp(argv[1], "f0") != 0 && strcmp(argv[1], "f1") != 0))
		die("usage: forwarder f0|f1 BOOTSTRAP INPUT OUTPUT GROUP COUNT GROWTH");
	bool held = strcmp(argv[1], "f0") == 0;
	uint64_t count = strtoull(argv[6], NULL, 10);
	growth = strtoull(argv[7], NULL, 10);
	rd_kafka_conf_t *conf = configure(argv[2], consumer_properties);
	set(conf, "group.id", argv[5]);
	rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
	conf = configure(argv[2], producer_properties);
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
	if (!consumer || !producer)
		die(why);
	rd_kafka_poll_set_consumer(consumer);
	rd_kafka_topic_t *output = rd_kafka_topic_new(producer, argv[4], NULL);
	rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(topics, argv[3], RD_KAFKA_PARTITION_UA);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (rd_kafka_subscribe(consumer, topics))
		die("subscribe");
	(held ? run_f0 : run_f1)(consumer, producer, output, count);
	clock_gettime(CLOCK_MONOTONIC, &end);
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"mode\": \"%s\", \"records\": %" PRIu64
	       ", \"cpu_s\": %.3f, \"wall_s\": %.3f, \"peak_rss_kib\": %ld}\n",
	       argv[1], delivered, seconds(usage.ru_utime) + seconds(usage.ru_stime),
	       (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9, usage.ru_maxrss);
	rd_kafka_topic_partition_list_destroy(topics);
	rd_kafka_topic_destroy(output);
	rd_kafka_consumer_close(consumer);
	rd_kafka_destroy(consumer);
	rd_kafka_destroy(producer);
	return 0;
}

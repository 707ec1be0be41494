/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kveil is measured against: librdkafka and nothing else, from topic to topic.
 *
 *   forwarder f0|f1|f2 BOOTSTRAP INPUT OUTPUT GROUP COUNT GROWTH
 *
 * f0 polls in batches and sends each record unchanged, without a copy in memory: the message is held until it was
 * delivered. f1 polls one by one and sends as many bytes as kveil does on such records (GROWTH more each), with
 * timestamp and headers. f2 is f1 with kveil's remedy for librdkafka's empty polls (docs/librdkafka.md, "CPU time"): of
 * each partition it has one batch on its way and keeps back what comes behind that. All: idempotent, acks=all, linger
 * 5 ms (f2: 2), no compression, the queues that `kveil run` gives one worker. Ends when COUNT records were
 * acknowledged, and prints CPU and wall seconds as JSON.
 */
#include <inttypes.h>
#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	BATCH = 1000,
	SERVE_EVERY = 256,
	/* f2's */
	LANES = 1024,
	LANE_BYTES = 1000000,    /* batch.size */
	RECORD_BYTES = 100,      /* of a record in a batch, beside key and value: no less than it takes */
	WAITING_BYTES = 55924736 /* as much as the producer's queue may hold */
};
static const int64_t join_ns = 1333333; /* two thirds of its linger */

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

/* One output partition: records that wait, and the batch that is on its way. */
struct lane {
	rd_kafka_message_t **waiting; /* a ring */
	size_t first, count, cap;
	size_t sent, batch_bytes;
	int64_t open_ns; /* until when more may join it */
};

static uint64_t delivered;
static size_t growth, waiting_bytes;
static bool is_gated;
static struct lane lanes[LANES];
static rd_kafka_topic_t *output;

static void deliver_next(rd_kafka_t *producer, struct lane *lane);

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
	(void)opaque;
	if (msg->err)
		die(rd_kafka_err2str(msg->err));
	delivered++;
	if (msg->_private)
		rd_kafka_message_destroy(msg->_private);
	if (is_gated && --lanes[msg->partition].sent == 0)
		deliver_next(rk, &lanes[msg->partition]);
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
static void forward_held(rd_kafka_t *producer, rd_kafka_message_t *msg)
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

static void forward_grown(rd_kafka_t *producer, rd_kafka_message_t *msg)
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

/* --- f2 --- */

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static size_t bytes_of(const rd_kafka_message_t *msg)
{
	return msg->key_len + msg->len + growth + RECORD_BYTES;
}

static bool has_room(const struct lane *lane, const rd_kafka_message_t *msg)
{
	return !lane->sent || lane->batch_bytes + bytes_of(msg) <= LANE_BYTES;
}

static void join_batch(rd_kafka_t *producer, struct lane *lane, rd_kafka_message_t *msg)
{
	if (!lane->sent) {
		lane->batch_bytes = 0;
		lane->open_ns = now_ns() + join_ns;
	}
	lane->sent++;
	lane->batch_bytes += bytes_of(msg);
	forward_grown(producer, msg);
}

static void keep_back(struct lane *lane, rd_kafka_message_t *msg)
{
	if (lane->count == lane->cap) {
		size_t cap = lane->cap ? 2 * lane->cap : BATCH;
		rd_kafka_message_t **more = malloc(cap * sizeof(rd_kafka_message_t *));
		if (!more)
			die("no memory");
		for (size_t i = 0; i < lane->count; i++)
			more[i] = lane->waiting[(lane->first + i) % lane->cap];
		free(lane->waiting);
		lane->waiting = more;
		lane->cap = cap;
		lane->first = 0;
	}
	lane->waiting[(lane->first + lane->count++) % lane->cap] = msg;
	waiting_bytes += bytes_of(msg);
}

/* All of a batch was acknowledged: the next one, as long as it surely waits for more. */
static void deliver_next(rd_kafka_t *producer, struct lane *lane)
{
	for (size_t n = 1; lane->count && has_room(lane, lane->waiting[lane->first]); n++) {
		if (n % 8 == 0 && now_ns() >= lane->open_ns)
			break;
		rd_kafka_message_t *msg = lane->waiting[lane->first];
		lane->first = (lane->first + 1) % lane->cap;
		lane->count--;
		waiting_bytes -= bytes_of(msg);
		join_batch(producer, lane, msg);
	}
}

static void forward_gated(rd_kafka_t *producer, rd_kafka_message_t *msg)
{
	if (msg->partition < 0 || msg->partition >= LANES)
		die("too many partitions");
	struct lane *lane = &lanes[msg->partition];
	if (!lane->count && (!lane->sent || (has_room(lane, msg) && now_ns() < lane->open_ns)))
		join_batch(producer, lane, msg);
	else
		keep_back(lane, msg);
}

/* --- the modes --- */

/* Takes msg. */
static bool is_record(rd_kafka_message_t *msg)
{
	if (!msg->err)
		return true;
	rd_kafka_message_destroy(msg);
	return false;
}

static void run_f0(rd_kafka_t *consumer, rd_kafka_t *producer, uint64_t count)
{
	static rd_kafka_message_t *batch[BATCH];
	rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer);

	while (delivered < count) {
		ssize_t n = rd_kafka_consume_batch_queue(queue, 10, batch, BATCH);
		for (ssize_t i = 0; i < n; i++)
			if (is_record(batch[i]))
				forward_held(producer, batch[i]);
		rd_kafka_poll(producer, 0);
	}
	rd_kafka_queue_destroy(queue);
}

static void run_f1(rd_kafka_t *consumer, rd_kafka_t *producer, uint64_t count)
{
	while (delivered < count) {
		for (int i = 0; i < SERVE_EVERY && waiting_bytes < WAITING_BYTES; i++) {
			rd_kafka_message_t *msg = rd_kafka_consumer_poll(consumer, i ? 0 : 10);
			if (!msg)
				break;
			if (is_record(msg))
				(is_gated ? forward_gated : forward_grown)(producer, msg);
		}
		rd_kafka_poll(producer, waiting_bytes < WAITING_BYTES ? 0 : 1);
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

	if (argc != 8 || strlen(argv[1]) != 2 || argv[1][0] != 'f' || argv[1][1] < '0' || argv[1][1] > '2')
		die("usage: forwarder f0|f1|f2 BOOTSTRAP INPUT OUTPUT GROUP COUNT GROWTH");
	bool held = argv[1][1] == '0';
	is_gated = argv[1][1] == '2';
	uint64_t count = strtoull(argv[6], NULL, 10);
	growth = strtoull(argv[7], NULL, 10);
	rd_kafka_conf_t *conf = configure(argv[2], consumer_properties);
	set(conf, "group.id", argv[5]);
	rd_kafka_t *consumer = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
	conf = configure(argv[2], producer_properties);
	if (is_gated)
		set(conf, "linger.ms", "2");
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_t *producer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
	if (!consumer || !producer)
		die(why);
	rd_kafka_poll_set_consumer(consumer);
	output = rd_kafka_topic_new(producer, argv[4], NULL);
	rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(topics, argv[3], RD_KAFKA_PARTITION_UA);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (rd_kafka_subscribe(consumer, topics))
		die("subscribe");
	(held ? run_f0 : run_f1)(consumer, producer, count);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* Handles of librdkafka, and what it says as errors of ours. */
#include "kafka/kafka.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "kafka/versions.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	LEADER_NAP_MS = 100,
	MIB = 1024 * 1024,
	PROCESS_BYTES = 32 * MIB, /* what the process needs before the first record: libraries, threads, connections */
};

static const char *const common_guarantees[][2] = {
    /* A misspelt topic must never come into being. Producers read this too, whatever their warning says. */
    {"allow.auto.create.topics", "false"},
    {NULL, NULL},
};

static const char *const common_defaults[][2] = {
    {"client.id", "kveil"},
    {"log.connection.close", "false"},
    {"socket.keepalive.enable", "true"},
    {"reconnect.backoff.max.ms", "2000"},
    {"topic.metadata.refresh.interval.ms", "60000"},
    {NULL, NULL},
};

static const char *const consumer_guarantees[][2] = {
    {"enable.auto.commit", "false"},
    {"enable.auto.offset.store", "false"},
    /* Where consumption begins is always said; an offset out of range is an error. */
    {"auto.offset.reset", "error"},
    {"partition.assignment.strategy", "range,roundrobin"},
    {"enable.partition.eof", "true"},
    {NULL, NULL},
};

static const char *const consumer_defaults[][2] = {
/* A consumer whose queue was full looks again after this long; kveil empties it many times a second. Before 2.2 it
 * waits to be woken: see waker.h. */
#if RD_KAFKA_VERSION >= KVEIL_RDKAFKA_FETCH_BACKOFF
    {"fetch.queue.backoff.ms", "2"},
#endif
    {NULL, NULL},
};

static const char *const producer_guarantees[][2] = {
    {"enable.idempotence", "true"},
    {"acks", "all"},
    {"max.in.flight.requests.per.connection", "5"},
    {"message.timeout.ms", "0"}, /* an outage is not a failure */
    {"partitioner", "murmur2_random"},
    {"enable.gapless.guarantee", "false"},
    {"queue.buffering.max.messages", "10000000"}, /* kveil counts bytes itself */
    {"queue.buffering.max.kbytes", "2147483647"},
    {NULL, NULL},
};

static const char *const producer_defaults[][2] = {
    {"linger.ms", "2"}, /* a batch's records are handed over within two thirds of it */
    {NULL, NULL},
};

/* One line a minute and facility: an outage repeats itself several times a second. */
static bool may_log(struct kveil_kafka_owner *owner, const char *fac)
{
	unsigned slot = 0;
	int64_t now = kveil_clock_mono_ms();

	for (const char *c = fac; *c; c++)
		slot = slot * 31 + (unsigned char)*c;
	_Atomic int64_t *last = &owner->logged_ms[slot % (sizeof owner->logged_ms / sizeof owner->logged_ms[0])];
	int64_t before = atomic_load_explicit(last, memory_order_relaxed);
	if (before && now - before < KVEIL_CLOCK_MINUTE_MS)
		return false;
	atomic_store_explicit(last, now, memory_order_relaxed);
	return true;
}

static void on_log(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
	struct kveil_kafka_owner *owner = rd_kafka_opaque(rk);

	/* CONFWARN: "…is a consumer property": it is not, see common_guarantees. AUTOCREATE: of brokers before 0.11 and
	 * the mock cluster. */
	if (strcmp(fac, "CONFWARN") == 0 || strcmp(fac, "AUTOCREATE") == 0 || (level < 7 && !may_log(owner, fac)))
		return;
	enum kveil_log_level to = level <= 3   ? KVEIL_LOG_ERROR
				  : level <= 4 ? KVEIL_LOG_WARN
				  : level <= 6 ? KVEIL_LOG_INFO
					       : KVEIL_LOG_DEBUG;
	kveil_log(to, owner->name, "kafka: %s: %s", fac, text);
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
	struct kveil_kafka_owner *owner = opaque;
	const char *name = rd_kafka_err2name((rd_kafka_resp_err_t)code);

	(void)rk;
	if (code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN ||
	    code == RD_KAFKA_RESP_ERR__RESOLVE)
		atomic_store(&owner->lost, true);
	if (may_log(owner, name))
		kveil_log(KVEIL_LOG_WARN, owner->name, "kafka: %s: %s", name, reason);
}

enum kveil_status kveil_kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value, struct kveil_error *err)
{
	char why[256];

	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) == RD_KAFKA_CONF_OK)
		return KVEIL_OK;
	return kveil_fail(err, KVEIL_E_CONFIG, "kafka property %s: %s", name, why);
}

static enum kveil_status set_all(rd_kafka_conf_t *conf, const char *const (*pairs)[2], struct kveil_error *err)
{
	for (; (*pairs)[0]; pairs++) {
		enum kveil_status status = kveil_kafka_set(conf, (*pairs)[0], (*pairs)[1], err);
		if (status)
			return status;
	}
	return KVEIL_OK;
}

static enum kveil_status set_map(rd_kafka_conf_t *conf, const struct kveil_string_map *map, struct kveil_error *err)
{
	for (size_t i = 0; i < map->count; i++) {
		/* librdkafka's own message may quote the value, which may be a password. */
		char why[8];
		if (rd_kafka_conf_set(conf, map->names[i], map->values[i], why, sizeof why) != RD_KAFKA_CONF_OK)
			return kveil_fail(err, KVEIL_E_CONFIG, "librdkafka refuses the property %s or its value",
					  map->names[i]);
	}
	return KVEIL_OK;
}

static enum kveil_status set_size(rd_kafka_conf_t *conf, const char *name, size_t n, size_t least, size_t most,
				  struct kveil_error *err)
{
	char text[24];

	snprintf(text, sizeof text, "%zu", n < least ? least : n > most ? most : n);
	return kveil_kafka_set(conf, name, text, err);
}

static enum kveil_status conf_common(const struct kveil_config *c, struct kveil_kafka_owner *owner,
				     const char *const (*defaults)[2], const struct kveil_string_map *more,
				     rd_kafka_conf_t *conf, struct kveil_error *err)
{
	enum kveil_status status = set_all(conf, common_defaults, err);

	if (!status && defaults)
		status = set_all(conf, defaults, err);
	if (!status)
		status = set_map(conf, &c->kafka.properties, err);
	if (!status && more)
		status = set_map(conf, more, err);
	if (!status)
		status = set_all(conf, common_guarantees, err);
	if (!status)
		status = kveil_kafka_set(conf, "bootstrap.servers", c->kafka.bootstrap_servers, err);
	rd_kafka_conf_set_opaque(conf, owner);
	rd_kafka_conf_set_log_cb(conf, on_log);
	rd_kafka_conf_set_error_cb(conf, on_error);
	return status;
}

/* Gives conf to the caller, or destroys it. */
static enum kveil_status finish(enum kveil_status status, rd_kafka_conf_t *conf, rd_kafka_conf_t **ret)
{
	if (status) {
		rd_kafka_conf_destroy(conf);
		conf = NULL;
	}
	*ret = conf;
	return status;
}

enum kveil_status kveil_kafka_conf_admin(const struct kveil_config *c, struct kveil_kafka_owner *owner,
					 rd_kafka_conf_t **ret, struct kveil_error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();

	return finish(conf_common(c, owner, NULL, NULL, conf, err), conf, ret);
}

struct kveil_kafka_budget kveil_kafka_budget(const struct kveil_config *c)
{
	uint64_t memory = c->limits.memory_bytes > 2 * (uint64_t)PROCESS_BYTES ? c->limits.memory_bytes - PROCESS_BYTES
									       : PROCESS_BYTES;
	size_t each = (size_t)(memory / (c->workers ? c->workers : 1));

	/* A response of the smallest records there are (seven bytes) takes sixty times as much when librdkafka has
	 * taken it apart; so much may it be. Its queue counts values alone: kveil counts the rest (intake.c) and leaves
	 * few messages there. Where more wait its fetcher rests until it is woken: with 3 that was 6 ms at 2,000
	 * records a second, for one in a hundred. The last part is what fragments, and what a rare large record may
	 * take for a moment: its outputs and its tape, at least. */
	/* What serves the key registry alone has no limit of its own. */
	size_t largest = c->limits.record_bytes ? (size_t)c->limits.record_bytes : 1;
	size_t record = 3 * largest, messages = each / 6 / (largest < MIB ? largest : MIB);
	return (struct kveil_kafka_budget){.queue_bytes = each / 6,
					   .queue_messages = messages < 2    ? 2
							     : messages > 16 ? 16
									     : messages,
					   .fetch_bytes = each / 4 / 60,
					   .unpack_bytes = record * 2 / 3 > each / 4 ? record * 2 / 3 : each / 4,
					   .in_flight_bytes = each / 3,
					   .record_bytes = record > each / 4 ? record : each / 4};
}

struct kveil_limits kveil_kafka_limits(const struct kveil_config *c)
{
	return (struct kveil_limits){.record_bytes = c->limits.record_bytes,
				     .depth = (uint32_t)c->limits.depth,
				     .memory_bytes = kveil_kafka_budget(c).record_bytes};
}

enum kveil_status kveil_kafka_conf_consumer(const struct kveil_config *c, struct kveil_kafka_owner *owner,
					    const char *group, rd_kafka_conf_t **ret, struct kveil_error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	struct kveil_kafka_budget b = kveil_kafka_budget(c);
	size_t fetch = b.fetch_bytes < 8 * MIB ? b.fetch_bytes : 8 * MIB;

	owner->unpack.most = b.unpack_bytes;
	kveil_unpack_watch(conf, &owner->unpack);
	enum kveil_status status = set_size(conf, "queued.max.messages.kbytes", b.queue_bytes / 1024, 64, 2097151, err);
	if (!status)
		status = set_size(conf, "queued.min.messages", b.queue_messages, 1, 10000000, err);
	if (!status)
		status = set_size(conf, "fetch.max.bytes", fetch, 65536, 1024 * MIB, err);
	/* A response has more than one partition: where one alone may fill it, another one of its broker starves. */
	if (!status)
		status = set_size(conf, "max.partition.fetch.bytes", fetch / 2, 65536, 8 * MIB, err);
	/* librdkafka holds fetch.max.bytes up to this one; a larger record still comes, alone. */
	if (!status)
		status = set_size(conf, "message.max.bytes", 65536, 1000, 1000000000, err);
	if (!status)
		status = conf_common(c, owner, consumer_defaults, &c->kafka.consumer, conf, err);
	if (!status)
		status = set_all(conf, consumer_guarantees, err);
	if (!status)
		status = kveil_kafka_set(conf, "group.id", group ? group : c->kafka.group_id, err);
	return finish(status, conf, ret);
}

enum kveil_status kveil_kafka_conf_producer(const struct kveil_config *c, struct kveil_kafka_owner *owner,
					    size_t batch_bytes, size_t message_bytes, rd_kafka_conf_t **ret,
					    struct kveil_error *err)
{
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	enum kveil_status status = conf_common(c, owner, producer_defaults, &c->kafka.producer, conf, err);

	if (!status)
		status = set_all(conf, producer_guarantees, err);
	if (!status)
		status = set_size(conf, "batch.size", batch_bytes, 1, 1000000, err);
	/* librdkafka adds the most that lengths could take; the exact size is held against the topic's limit by us. */
	if (!status)
		status = set_size(conf, "message.max.bytes", message_bytes + 4096, 1000, 1000000000, err);
	return finish(status, conf, ret);
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *is_begun, char *why, size_t size)
{
	(void)rk;
	(void)conf;
	(void)why;
	(void)size;
	*(bool *)is_begun = true;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

enum kveil_status kveil_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **ret,
				  struct kveil_error *err)
{
	bool is_begun = false;
	char why[256];

	rd_kafka_conf_interceptor_add_on_new(conf, "kveil-new", on_new, &is_begun);
	*ret = rd_kafka_new(type, conf, why, sizeof why);
	if (*ret)
		return KVEIL_OK;
	/* A client that fails once it has begun frees the interceptors of conf and leaves them there. */
	if (is_begun)
		kveil_kafka_leave_behind(conf);
	else
		rd_kafka_conf_destroy(conf);
	return kveil_fail(err, KVEIL_E_CONFIG, "kafka client: %s", why);
}

static bool asks_for_compression(const struct kveil_string_map *map)
{
	for (size_t i = 0; i < map->count; i++)
		if ((strcmp(map->names[i], "compression.codec") == 0 ||
		     strcmp(map->names[i], "compression.type") == 0) &&
		    strcmp(map->values[i], "none") != 0)
			return true;
	return false;
}

bool kveil_kafka_compresses(const struct kveil_config *c)
{
	return asks_for_compression(&c->kafka.properties) || asks_for_compression(&c->kafka.producer);
}

enum kveil_kafka_fault kveil_kafka_fault(rd_kafka_resp_err_t err)
{
	switch (err) {
	case RD_KAFKA_RESP_ERR_NO_ERROR:
		return KVEIL_FAULT_NONE;
	case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
	case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
		return KVEIL_FAULT_TOO_LARGE;
	case RD_KAFKA_RESP_ERR_INVALID_MSG:
	case RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP:
	case RD_KAFKA_RESP_ERR_INVALID_RECORD:
	case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
	case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
		return KVEIL_FAULT_REFUSED;
	case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
	case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
	case RD_KAFKA_RESP_ERR__DESTROY:
		return KVEIL_FAULT_PURGED;
	case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
	case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
	case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
	case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
	case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
	case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
	case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
	case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
	case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
		return KVEIL_FAULT_WORLD;
	default:
		return KVEIL_FAULT_PRODUCER;
	}
}

bool kveil_kafka_unreadable(rd_kafka_resp_err_t err)
{
	return err == RD_KAFKA_RESP_ERR__BAD_COMPRESSION || err == RD_KAFKA_RESP_ERR__BAD_MSG ||
	       err == RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED || err == RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
}

/* librdkafka looks for headers whenever it is asked and remembers only those that are there. An empty list is some. */
static void remember_none(const rd_kafka_message_t *msg)
{
	rd_kafka_headers_t *none = rd_kafka_headers_new(0);

	if (none)
		rd_kafka_message_set_headers((rd_kafka_message_t *)(uintptr_t)msg, none);
}

enum kveil_status kveil_kafka_headers(const rd_kafka_message_t *msg, struct kveil_header **array, size_t *cap,
				      size_t *ret_count, struct kveil_error *err)
{
	rd_kafka_headers_t *headers;

	*ret_count = 0;
	rd_kafka_resp_err_t e = rd_kafka_message_headers(msg, &headers);
	if (e == RD_KAFKA_RESP_ERR__NOENT) {
		remember_none(msg);
		return KVEIL_OK;
	}
	if (e)
		return kveil_fail(err, KVEIL_E_UNREADABLE_BATCH, "the record's headers cannot be read: %s",
				  rd_kafka_err2str(e));
	size_t count = rd_kafka_header_cnt(headers);
	if (count > *cap) {
		struct kveil_header *grown = realloc(*array, count * sizeof *grown);
		if (!grown)
			return kveil_no_memory(err, "headers");
		*array = grown;
		*cap = count;
	}
	for (size_t i = 0; i < count; i++) {
		const char *name;
		const void *value;
		size_t size;
		if (rd_kafka_header_get_all(headers, i, &name, &value, &size))
			return kveil_fail(err, KVEIL_E_UNREADABLE_BATCH, "a header of the record cannot be read");
		(*array)[i] = (struct kveil_header){kveil_span_str(name), kveil_span_of(value, value ? size : 0)};
	}
	*ret_count = count;
	return KVEIL_OK;
}

size_t kveil_kafka_header_bytes(const struct kveil_header *headers, size_t count)
{
	size_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += headers[i].name.len + headers[i].value.len + KVEIL_KAFKA_HEADER_OVERHEAD;
	return n;
}

size_t kveil_kafka_sends_bytes(const struct kveil_record *r)
{
	return r->key.len + r->value.len + KVEIL_KAFKA_MESSAGE_OVERHEAD +
	       kveil_kafka_header_bytes(r->headers, r->header_count);
}

size_t kveil_kafka_sent_bytes(const rd_kafka_message_t *msg)
{
	size_t n = msg->key_len + msg->len + KVEIL_KAFKA_MESSAGE_OVERHEAD, size;
	rd_kafka_headers_t *headers;
	const char *name;
	const void *value;

	if (rd_kafka_message_headers(msg, &headers))
		return n;
	for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++)
		n += strlen(name) + (value ? size : 0) + KVEIL_KAFKA_HEADER_OVERHEAD;
	return n;
}

void kveil_kafka_message_free(rd_kafka_message_t *msg)
{
	rd_kafka_headers_t *headers;
	const char *name;
	const void *value;
	size_t size;

	if (!msg)
		return;
	/* The message is the application's alone, and so are the bytes of its record in the fetched batch. */
	if (!msg->err) {
		kveil_secret_wipe(msg->payload, msg->len);
		kveil_secret_wipe(msg->key, msg->key_len);
		if (rd_kafka_message_headers(msg, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR)
			for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++)
				kveil_secret_wipe((void *)(uintptr_t)value, value ? size : 0);
	}
	rd_kafka_message_destroy(msg);
}

rd_kafka_headers_t *kveil_kafka_headers_new(const struct kveil_header *headers, size_t count, bool *ok)
{
	*ok = true;
	if (count == 0)
		return NULL;
	rd_kafka_headers_t *made = rd_kafka_headers_new(count);
	for (size_t i = 0; made && i < count; i++)
		if (rd_kafka_header_add(made, (const char *)headers[i].name.data, (ssize_t)headers[i].name.len,
					headers[i].value.data, (ssize_t)headers[i].value.len)) {
			rd_kafka_headers_destroy(made);
			made = NULL;
		}
	*ok = made != NULL;
	return made;
}

rd_kafka_resp_err_t kveil_kafka_produce(rd_kafka_t *producer, rd_kafka_topic_t *topic, int32_t partition,
					const struct kveil_record *r, int64_t timestamp_ms, void *opaque)
{
	rd_kafka_headers_t *headers = NULL;
	rd_kafka_vu_t v[7] = {
	    {.vtype = RD_KAFKA_VTYPE_RKT, .u.rkt = topic},
	    {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
	    {.vtype = RD_KAFKA_VTYPE_KEY, .u.mem = {(void *)(uintptr_t)r->key.data, r->key.len}},
	    {.vtype = RD_KAFKA_VTYPE_VALUE, .u.mem = {(void *)(uintptr_t)r->value.data, r->value.len}},
	    {.vtype = RD_KAFKA_VTYPE_TIMESTAMP, .u.i64 = timestamp_ms},
	    {.vtype = RD_KAFKA_VTYPE_OPAQUE, .u.ptr = opaque},
	    {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
	};
	rd_kafka_vu_t with_headers[8];
	rd_kafka_vu_t *args = v;
	size_t n = 7;

	if (r->header_count) {
		bool ok;
		headers = kveil_kafka_headers_new(r->headers, r->header_count, &ok);
		if (!ok)
			return RD_KAFKA_RESP_ERR__QUEUE_FULL;
		memcpy(with_headers, v, sizeof v);
		with_headers[n++] = (rd_kafka_vu_t){.vtype = RD_KAFKA_VTYPE_HEADERS, .u.headers = headers};
		args = with_headers;
	}
	rd_kafka_error_t *e = rd_kafka_produceva(producer, args, n);
	if (!e)
		return RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_resp_err_t code = rd_kafka_error_code(e);
	rd_kafka_error_destroy(e);
	if (headers)
		rd_kafka_headers_destroy(headers);
	return code;
}

/* Bytes of a zigzag varint that holds a length. */
static size_t varint_bytes(size_t n)
{
	size_t bytes = 1;

	for (n <<= 1; n >= 0x80; n >>= 7)
		bytes++;
	return bytes;
}

static size_t field_bytes(struct kveil_span s)
{
	return s.data ? varint_bytes(s.len) + s.len : 1; /* null is -1, one byte */
}

size_t kveil_kafka_batch_bytes(const struct kveil_record *r)
{
	enum { ATTRIBUTES_AND_DELTAS = 3 };
	size_t n = ATTRIBUTES_AND_DELTAS + field_bytes(r->key) + field_bytes(r->value) + varint_bytes(r->header_count);

	for (size_t i = 0; i < r->header_count; i++)
		n += varint_bytes(r->headers[i].name.len) + r->headers[i].name.len + field_bytes(r->headers[i].value);
	return KVEIL_KAFKA_BATCH_HEADER + varint_bytes(n) + n;
}

enum kveil_status kveil_kafka_seek(rd_kafka_t *consumer, rd_kafka_topic_partition_list_t *list, struct kveil_error *err)
{
	enum { TIMEOUT_MS = 5000 };
	int timeout = rd_kafka_version() < KVEIL_RDKAFKA_SEEK_MS ? TIMEOUT_MS * 1000 : TIMEOUT_MS;

	rd_kafka_error_t *e = rd_kafka_seek_partitions(consumer, list, timeout);
	if (e) {
		kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "seek: %s", rd_kafka_error_string(e));
		rd_kafka_error_destroy(e);
		return KVEIL_E_KAFKA_UNAVAILABLE;
	}
	for (int i = 0; i < list->cnt; i++)
		if (list->elems[i].err)
			return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "seek %s[%d]: %s", list->elems[i].topic,
					  (int)list->elems[i].partition, rd_kafka_err2str(list->elems[i].err));
	return KVEIL_OK;
}

static rd_kafka_resp_err_t one_end(rd_kafka_t *consumer, const char *topic, int32_t partition, int64_t which,
				   int64_t *ret, int64_t left_ms)
{
	/* To the broker the ends are times before all others. */
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, topic, partition);

	p->offset = which;
	rd_kafka_resp_err_t e = rd_kafka_offsets_for_times(consumer, list, left_ms > 1 ? (int)left_ms : 1);
	if (!e)
		e = p->err;
	if (!e && p->offset < 0)
		e = RD_KAFKA_RESP_ERR__FAIL;
	*ret = p->offset;
	rd_kafka_topic_partition_list_destroy(list);
	return e;
}

static bool is_between_leaders(rd_kafka_resp_err_t e)
{
	return e == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION || e == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

rd_kafka_resp_err_t kveil_kafka_range(rd_kafka_t *consumer, const char *topic, int32_t partition, int64_t *ret_low,
				      int64_t *ret_high, int timeout_ms)
{
	static const int64_t which[] = {RD_KAFKA_OFFSET_BEGINNING, RD_KAFKA_OFFSET_END};
	int64_t *const rets[] = {ret_low, ret_high};
	int64_t end = kveil_clock_mono_ms() + timeout_ms;
	rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (size_t i = 0; !e && i < 2; i++) {
		while (is_between_leaders(
			   e = one_end(consumer, topic, partition, which[i], rets[i], end - kveil_clock_mono_ms())) &&
		       kveil_clock_mono_ms() + LEADER_NAP_MS < end)
			nanosleep(&(struct timespec){.tv_nsec = LEADER_NAP_MS * 1000000L}, NULL);
	}
	return e;
}

static void on_committed(rd_kafka_t *rk, rd_kafka_resp_err_t e, rd_kafka_topic_partition_list_t *list, void *opaque)
{
	rd_kafka_resp_err_t *answer = opaque;

	(void)rk;
	(void)list;
	*answer = e;
}

enum kveil_status kveil_kafka_commit_wait(rd_kafka_t *consumer, const rd_kafka_topic_partition_list_t *list,
					  int timeout_ms, struct kveil_error *err)
{
	/* rd_kafka_commit with async 0 waits for ever when the coordinator is away; our own queue does not. */
	rd_kafka_resp_err_t answer = RD_KAFKA_RESP_ERR__TIMED_OUT;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer);

	rd_kafka_resp_err_t e = rd_kafka_commit_queue(consumer, list, queue, on_committed, &answer);
	if (!e) {
		rd_kafka_queue_poll_callback(queue, timeout_ms);
		e = answer;
	}
	rd_kafka_queue_destroy(queue);
	if (e == RD_KAFKA_RESP_ERR__NO_OFFSET)
		e = RD_KAFKA_RESP_ERR_NO_ERROR;
	if (e)
		return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "commit: %s", rd_kafka_err2str(e));
	return KVEIL_OK;
}

const char *kveil_kafka_version(void)
{
	return rd_kafka_version_str();
}

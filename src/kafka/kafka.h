/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka/kafka.h: librdkafka as kveil uses it: configurations with the guarantees set, what an error means, headers,
 * sizes on the wire. Only src/worker includes this or rdkafka.h.
 *
 * Known traps of librdkafka 2.0.2, and what stands against them here:
 *   consume_batch with pause and resume skips offsets      records are polled one by one
 *   seek_partitions takes its milliseconds for microseconds kveil_kafka_seek scales them below 2.1
 *   cooperative-sticky may hang in close                   eager assignors only
 *   a client whose topic was deleted may not end          kveil_kafka_destroy waits for so long only
 *   consumer_close waits for brokers that are frozen      kveil_kafka_close_consumer does not
 *   query_watermark_offsets waits a minute and longer      kveil_kafka_range asks by offsets_for_times
 *   a producer creates missing topics by asking for them    allow.auto.create.topics=false there too
 */
#ifndef KVEIL_KAFKA_KAFKA_H
#define KVEIL_KAFKA_KAFKA_H

#include "config/config.h"
#include "kafka/marker.h"
#include "kafka/offsets_call.h"
#include "kafka/unpack.h"
#include "kveil/base.h"
#include "kveil/engine.h"

#include <librdkafka/rdkafka.h>

/* The opaque of every handle: who it is for the log, and whose it is for callbacks. Log lines of one kind pass once a
 * minute. */
struct kveil_kafka_owner {
	char name[32]; /* "worker 1" */
	void *user;
	_Atomic bool lost; /* a connection broke, or could not be made */
	_Atomic int64_t logged_ms[8];
	struct kveil_unpack unpack;           /* a consumer's */
	struct kveil_marker marker;           /* a worker's consumer's */
	struct kveil_connections connections; /* a worker's producer's, exactly once */
};

/* How much memory one worker may use, split by what holds it. */
struct kveil_kafka_budget {
	size_t queue_bytes;     /* records fetched and not yet taken in */
	size_t queue_messages;  /* …and of them, in librdkafka's own queue */
	size_t fetch_bytes;     /* one fetch response */
	size_t unpack_bytes;    /* one batch, decompressed */
	size_t in_flight_bytes; /* records handed to the producer and not yet acknowledged */
	size_t record_bytes;    /* the engine's tables and results of the record at hand */
};
struct kveil_kafka_budget kveil_kafka_budget(const struct kveil_config *c);
/* An engine's: the configuration's, and the budget's record_bytes as memory. */
struct kveil_limits kveil_kafka_limits(const struct kveil_config *c);

/* What a message costs beside its own bytes, in librdkafka's structs and malloc: with the producer, taken from the
 * consumer; and a header. */
enum { KVEIL_KAFKA_MESSAGE_OVERHEAD = 256, KVEIL_KAFKA_HELD_OVERHEAD = 448, KVEIL_KAFKA_HEADER_OVERHEAD = 96 };

/* Headers in librdkafka's structs and malloc. */
size_t kveil_kafka_header_bytes(const struct kveil_header *headers, size_t count);

/* A configuration with the user's properties and kveil's guarantees on top. Which callbacks are wanted is the
 * caller's to set. CONFIG: a property is refused by librdkafka; the message names it. */
enum kveil_status kveil_kafka_conf_admin(const struct kveil_config *c, struct kveil_kafka_owner *owner,
					 rd_kafka_conf_t **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* group NULL: the configuration's. */
enum kveil_status kveil_kafka_conf_consumer(const struct kveil_config *c, struct kveil_kafka_owner *owner,
					    const char *group, rd_kafka_conf_t **ret,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* batch_bytes: no batch of several records is larger; message_bytes: no record is. */
enum kveil_status kveil_kafka_conf_producer(const struct kveil_config *c, struct kveil_kafka_owner *owner,
					    size_t batch_bytes, size_t message_bytes, rd_kafka_conf_t **ret,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* Sets a property; CONFIG with librdkafka's words otherwise. */
enum kveil_status kveil_kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value,
				  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Takes conf, whatever happens. */
enum kveil_status kveil_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **ret,
				  struct kveil_error *err) KVEIL_MUST_CHECK;
/* Has the user asked for compression? A record's size on the wire is then not known beforehand. */
bool kveil_kafka_compresses(const struct kveil_config *c);

/* What a failed delivery means. */
enum kveil_kafka_fault {
	KVEIL_FAULT_NONE,
	KVEIL_FAULT_REFUSED,   /* this record, or another in its batch, is one the broker will never take */
	KVEIL_FAULT_TOO_LARGE, /* as REFUSED, and it is the size */
	KVEIL_FAULT_PURGED,    /* by us */
	KVEIL_FAULT_WORLD,     /* topic gone, no permission, …: wait and try again */
	KVEIL_FAULT_PRODUCER,  /* fatal or not known here: a new producer, then try again */
};
enum kveil_kafka_fault kveil_kafka_fault(rd_kafka_resp_err_t err);

/* An error in the place of records: there is a batch that the client cannot read, now or ever. */
bool kveil_kafka_unreadable(rd_kafka_resp_err_t err);

/* Headers of a message as borrowed spans in *array, which grows as needed and is the caller's. UNREADABLE_BATCH:
 * whoever wrote them wrote no headers that can be taken apart. */
enum kveil_status kveil_kafka_headers(const rd_kafka_message_t *msg, struct kveil_header **array, size_t *cap,
				      size_t *ret_count, struct kveil_error *err) KVEIL_MUST_CHECK;
/* What a message took that was handed to the producer, of its delivery report. */
size_t kveil_kafka_sent_bytes(const rd_kafka_message_t *msg);
/* The same, before. */
size_t kveil_kafka_sends_bytes(const struct kveil_record *record);
/* rd_kafka_message_destroy of a consumed message, after its key, value and headers were wiped: librdkafka frees clear
 * values as they are. NULL is fine. */
void kveil_kafka_message_free(rd_kafka_message_t *msg);
/* The other way; NULL for none, or when memory is out (*ok false). */
rd_kafka_headers_t *kveil_kafka_headers_new(const struct kveil_header *headers, size_t count, bool *ok);

/* Hands a copy of the record to the producer. partition may be RD_KAFKA_PARTITION_UA. timestamp_ms 0 = now. */
rd_kafka_resp_err_t kveil_kafka_produce(rd_kafka_t *producer, rd_kafka_topic_t *topic, int32_t partition,
					const struct kveil_record *record, int64_t timestamp_ms, void *opaque);

/* Bytes of a batch (message format 2) that holds this record alone: what max.message.bytes is held against. */
size_t kveil_kafka_batch_bytes(const struct kveil_record *record);
enum { KVEIL_KAFKA_BATCH_HEADER = 61 /* of them, what all records of a batch have together */ };

/* Goes on with partitions at the list's offsets; each element's err tells. */
enum kveil_status kveil_kafka_seek(rd_kafka_t *consumer, rd_kafka_topic_partition_list_t *list,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
/* Where the records of a partition begin and end now; waits at most timeout_ms. */
rd_kafka_resp_err_t kveil_kafka_range(rd_kafka_t *consumer, const char *topic, int32_t partition, int64_t *ret_low,
				      int64_t *ret_high, int timeout_ms);
/* Commits and waits at most timeout_ms for the answer. */
enum kveil_status kveil_kafka_commit_wait(rd_kafka_t *consumer, const rd_kafka_topic_partition_list_t *list,
					  int timeout_ms, struct kveil_error *err) KVEIL_MUST_CHECK;
/* rd_kafka_destroy_flags, but for at most a few seconds: a client whose topic was deleted may never come to its end
 * (2.0.2). False: it is left behind, and its owner must stay where it is. NULL is fine. */
bool kveil_kafka_destroy(rd_kafka_t *rk, int flags);
/* Keeps in sight what stays because of such a client, for leak checkers: the client may end later, and point to it no
 * more. */
void kveil_kafka_leave_behind(void *owner);
/* Leaves the group, for at most 2 s, with the caller's callbacks in the caller's thread; then kveil_kafka_destroy. A
 * group that was not left in time takes the member out itself when its session ends. NULL is fine. */
bool kveil_kafka_close_consumer(rd_kafka_t *consumer);

const char *kveil_kafka_version(void); /* librdkafka's */

#endif

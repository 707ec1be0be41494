/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka/marker.h: where a consumer was right before the message that it gives. The mark at a transaction's end takes an
 * offset and is not a message; brokers alone write marks, so an offset that the client reached by one is true, and the
 * gap before it holds nothing for us. The client counts marks into its position, in a poll that then gives the message
 * behind them: what the position was in between, only an interceptor sees.
 */
#ifndef KVEIL_KAFKA_MARKER_H
#define KVEIL_KAFKA_MARKER_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

struct kveil_marker {
	int64_t before; /* of the last message: the position before it, where it is not the one behind the message
			   before; -1 */
	const rd_kafka_topic_t *rkt;
	int32_t partition;
	int64_t next;
};

/* The consumer that is made of this keeps *m, in the thread that polls. It must outlive the client. */
void kveil_marker_watch(rd_kafka_conf_t *conf, struct kveil_marker *m);

#endif

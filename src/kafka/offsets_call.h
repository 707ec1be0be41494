/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka/offsets_call.h: rd_kafka_send_offsets_to_transaction with an end. librdkafka's own does not keep its timeout:
 * having lost the group's coordinator, it asks for it again only when some connection comes up or breaks, which on a
 * healthy cluster may be never. So from the timeout on one connection after another is broken here, until it returns.
 */
#ifndef KVEIL_KAFKA_OFFSETS_CALL_H
#define KVEIL_KAFKA_OFFSETS_CALL_H

#include <librdkafka/rdkafka.h>
#include <stddef.h>

enum { KVEIL_CONNECTIONS = 256 }; /* those past it are not broken */

/* A producer's, the oldest first. */
struct kveil_connections {
	int at[KVEIL_CONNECTIONS];
	size_t count;
};

/* The producer that is made of conf, whose opaque is a struct kveil_kafka_owner, notes its connections there. */
void kveil_connections_watch(rd_kafka_conf_t *conf);

/* Of such a producer. Waits for timeout_ms, and after that until it is let go. beat: called once a second meanwhile. */
rd_kafka_error_t *kveil_kafka_send_offsets(rd_kafka_t *producer, const rd_kafka_topic_partition_list_t *offsets,
					   const rd_kafka_consumer_group_metadata_t *group, int timeout_ms,
					   void (*beat)(void *user), void *user);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/mode.h: the delivery modes: when what was sent counts, and what becomes of it when something fails. Inside
 * src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_MODE_H
#define KVEIL_WORKER_MODE_H

#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* When what was sent counts, and what becomes of it when something fails. On the worker's thread. */
struct kveil_delivery_mode {
	const char *name;
	void (*start)(struct kveil_worker *w);
	/* Adds to the configuration of a producer. */
	enum kveil_status (*configure)(struct kveil_worker *w, rd_kafka_conf_t *conf, struct kveil_error *err);
	/* In the rebalance that brings partitions, before the client is told to begin. */
	void (*assigned)(struct kveil_worker *w);
	/* May committed offsets be asked for, and records be sent? Waits at most so long; false: ask again. */
	bool (*ready)(struct kveil_worker *w, int wait_ms);
	/* A message of so many bytes is handed over next; alone: what was sent before it is made durable first. false:
	 * not now, it comes again. */
	bool (*begin)(struct kveil_worker *w, size_t bytes, bool alone);
	/* In each turn and in waits: makes the progress of all partitions durable when that is due. Does not wait for
	 * long. */
	void (*progress)(struct kveil_worker *w);
	/* Waits for what is in flight, then makes progress durable, and says so as the last of this assignment.
	 * ret_drained: nothing is in flight any more. An error: what was sent may be sent again. */
	enum kveil_status (*settle)(struct kveil_worker *w, int drain_ms, int commit_ms, bool *ret_drained,
				    struct kveil_error *err);
	/* Is nothing on its way that an end now would leave half done? */
	bool (*idle)(const struct kveil_worker *w);
	/* Commits notes beside offsets. */
	enum kveil_status (*note)(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list, int wait_ms,
				  struct kveil_error *err);
	/* The broker takes no batch with this record, or another of the same batch. */
	void (*refused)(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
	/* A record is to be set aside of which something was sent. true: not now, for that has to be taken back; it
	 * comes again, and is known then. */
	bool (*remember)(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_refusal *refusal);
	/* Partitions want to go back. true: each may do so by itself. */
	bool (*before_rewind)(struct kveil_worker *w);
	/* Another producer; what the one before had not finished is read again. */
	void (*renew)(struct kveil_worker *w);
	/* The producer is thrown away next. */
	void (*close_producer)(struct kveil_worker *w);
	void (*end)(struct kveil_worker *w);
	/* librdkafka's callback for commits; NULL: there are none. */
	void (*on_commit)(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *opaque);
};
extern const struct kveil_delivery_mode kveil_at_least_once, kveil_exactly_once;

/* What both need of the loop. Waits so long with everything paused, and says why once a minute (*logged_ms: when last,
 * 0 = never). False: no use in trying again (new rules, stopping). */
bool kveil_worker_back_off(struct kveil_worker *w, unsigned attempt, const struct kveil_error *why, int64_t *logged_ms);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/assignment.h: the partitions that the group assigns. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_ASSIGNMENT_H
#define KVEIL_WORKER_ASSIGNMENT_H

#include "kveil/base.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* Only assignment.c writes it. */
struct kveil_assignment {
	rd_kafka_topic_partition_list_t *unresolved; /* assigned; committed offsets not known yet */
	bool resumes;                                /* these are the same partitions as before */
	bool is_empty;                               /* the group has given it none */
	bool closing; /* drained and committed: what the close revokes needs neither. loop.c */
};

/* librdkafka's callback. */
void kveil_assignment_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
				   void *opaque);
/* Asks for the committed offsets of a new assignment and begins there; tried again each turn until it works. */
void kveil_assignment_resolve(struct kveil_worker *w, int timeout_ms);
/* Those that have asked go back to their watermarks, each when all that it has in flight is reported, and the mode lets
 * them. */
void kveil_assignment_rewind(struct kveil_worker *w);
/* Another producer, and all partitions begin again at what is committed. */
void kveil_assignment_begin_again(struct kveil_worker *w);
void kveil_assignment_drop(struct kveil_worker *w);

#endif

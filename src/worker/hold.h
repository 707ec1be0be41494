/* SPDX-License-Identifier: Apache-2.0 */
/* worker/hold.h: which partitions the client reads. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_HOLD_H
#define KVEIL_WORKER_HOLD_H

#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* Has the client pause one partition, which throws away what it has fetched of it; and all of them. */
void kveil_hold(struct kveil_worker *w, struct kveil_partition *p);
void kveil_hold_all(struct kveil_worker *w);
/* Those that are stopped, after an assignment. */
void kveil_hold_stopped(struct kveil_worker *w);
/* Lets those that are held and may be read go on, behind the last record that was taken from the client. */
void kveil_hold_end(struct kveil_worker *w);
/* Before an assignment goes: the client would remember the pause for the next time. */
void kveil_hold_let_go(struct kveil_worker *w);
/* Partitions that the client may be told about, with their positions. The caller frees it. */
rd_kafka_topic_partition_list_t *kveil_hold_select(struct kveil_worker *w, bool held, bool to_read);
void kveil_hold_assign(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list);
/* offset: of the record at fault, or -1; in the log only, for /readyz shows none. */
void kveil_partition_stop(struct kveil_worker *w, struct kveil_partition *p, bool by_rules, int64_t offset,
			  const char *fmt, ...) KVEIL_PRINTF(5, 6);
void kveil_partition_restart(struct kveil_worker *w, struct kveil_partition *p);
/* Its condition is over. */
void kveil_partition_clear(struct kveil_worker *w, const struct kveil_partition *p);
/* The client has given all up to here. Behind the last record stand markers and records of aborted transactions, which
 * are no records: they are committed past, or would count as lag for ever. */
void kveil_partition_on_end(struct kveil_worker *w, struct kveil_partition *p, int64_t end);
/* The client finds no record where it reads on. */
void kveil_partition_on_out_of_range(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
void kveil_partition_stop_out_of_range(struct kveil_worker *w, struct kveil_partition *p);
/* The topic is not the one that was read so far: from its start, then. */
void kveil_partition_begin_anew(struct kveil_worker *w, struct kveil_partition *p, const char *why);

#endif

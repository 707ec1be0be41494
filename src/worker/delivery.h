/* SPDX-License-Identifier: Apache-2.0 */
/* worker/delivery.h: records on their way out, and what became of them. Inside src/worker only, on the worker's thread.
 */
#ifndef KVEIL_WORKER_DELIVERY_H
#define KVEIL_WORKER_DELIVERY_H

#include "worker/outlet.h"

struct kveil_worker;

/* Hands a record to librdkafka, or puts it behind what is there. Its delivery is reported, if nothing is returned. The
 * lane must be there. QUEUE_FULL: no memory for it now. */
rd_kafka_resp_err_t kveil_delivery_send(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition,
					const struct kveil_staged *record) KVEIL_MUST_CHECK;
/* librdkafka's callback. */
void kveil_delivery_on_report(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque);
/* How far each partition got, with its note, where that is not committed. again: what was asked for without an answer,
 * too. The caller frees it. */
rd_kafka_topic_partition_list_t *kveil_delivery_due_offsets(struct kveil_worker *w, bool again);
/* Up to this offset each record of the partition is to have a request of its own; what stands behind it comes again. */
void kveil_delivery_one_by_one(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);

#endif

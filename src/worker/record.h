/* SPDX-License-Identifier: Apache-2.0 */
/* worker/record.h: one record, through the engine and out. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_RECORD_H
#define KVEIL_WORKER_RECORD_H

#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* A message from the client: tried at once, or behind those of its partition that wait. */
void kveil_record_take(struct kveil_worker *w, rd_kafka_message_t *msg);
/* One try at a record. false: it is to be tried again, and its partition waits. */
bool kveil_record_try(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in);

#endif

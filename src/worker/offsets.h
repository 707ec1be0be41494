/* SPDX-License-Identifier: Apache-2.0 */
/* worker/offsets.h: which offsets are believed. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_OFFSETS_H
#define KVEIL_WORKER_OFFSETS_H

#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* The offset that a message counts as. false: it is not believed, and the partition goes back, or its batch is set
 * aside. */
bool kveil_offsets_settle(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg,
			  int64_t *ret);

#endif

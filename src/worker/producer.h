/* SPDX-License-Identifier: Apache-2.0 */
/* worker/producer.h: a worker's producer. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_PRODUCER_H
#define KVEIL_WORKER_PRODUCER_H

#include "kveil/base.h"

struct kveil_worker;

/* producer.c; what fails there: outlet.c, and the delivery modes. */
struct kveil_producing {
	size_t batch_bytes, message_bytes; /* what it was made for */
	int64_t join_ns;                   /* from a batch's first record: so long it surely waits for more */
	bool compresses;
	bool broken;       /* another one is needed */
	unsigned failures; /* of the producer as a whole, in a row */
	char fault[160];
	int64_t logged_ms; /* 0 = it produces */
	char condition[48];
};

/* A producer for the limits of the catalog's topics, and its outlets. What the one before still holds is sent first,
 * within some seconds, and what it could not send is read again. */
enum kveil_status kveil_producer_fit(struct kveil_worker *w, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Throws away what the producer still holds, and makes another. */
void kveil_producer_renew(struct kveil_worker *w);
void kveil_producer_close(struct kveil_worker *w);

/* Waits for delivery reports, at most ms, and not for partitions that are dead. False: some are still out. */
bool kveil_producer_drain(struct kveil_worker *w, int ms);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/park.h: partitions whose next record waits. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_PARK_H
#define KVEIL_WORKER_PARK_H

#include "worker/partition.h"

struct kveil_worker;

/* Of all partitions. park.c and retry.c write it; hold.c says that something is held. */
struct kveil_waits {
	size_t bytes;
	size_t first; /* another one each turn */
	bool any;     /* some wait, or are held, or have something that waited */
	bool names;   /* and some of them for names */
};

/* The record that this partition is at has to wait. */
void kveil_park(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why);
/* …for room in the lane that it is blocked on; or after a fault there, longer with each. */
void kveil_park_for_room(struct kveil_worker *w, struct kveil_partition *p);
void kveil_park_after_fault(struct kveil_worker *w, struct kveil_partition *p, unsigned failures);
/* It went. */
void kveil_park_over(struct kveil_worker *w, struct kveil_partition *p);
/* A copy of the record joins those that wait; where there is no room, the client is told to pause and will read it
 * again. */
void kveil_park_add(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in);
/* Forgets what waits: it will be read again. */
void kveil_park_drop(struct kveil_worker *w, struct kveil_partition *p);
/* The first of those that wait was taken. */
void kveil_park_pop(struct kveil_worker *w, struct kveil_partition *p);
/* It waits for an outage to end. */
void kveil_park_wait_out(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why);

/* --- retry.c --- */
/* Tries again what is due. */
void kveil_retry_turn(struct kveil_worker *w);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/intake.h: messages between librdkafka's queue and their turn. Inside src/worker only, on the worker's thread.
 */
#ifndef KVEIL_WORKER_INTAKE_H
#define KVEIL_WORKER_INTAKE_H

#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

struct kveil_held {
	rd_kafka_message_t *message; /* or an error in the place of one; NULL: dropped */
	size_t bytes;
	int64_t before; /* where the client was, if a transaction's mark brought it there; -1 */
};

/* A ring. Only intake.c writes it. */
struct kveil_intake {
	size_t limit; /* bytes */
	struct kveil_held *held;
	size_t cap, first, count, bytes; /* cap: a power of two, or 0 */
	unsigned taken;                  /* since librdkafka's queue was drained last */
	size_t drawn;                    /* since librdkafka's queue was seen empty */
	size_t came;                     /* messages, all in all */
	int64_t before;                  /* of the last that was taken: see struct kveil_held */
	int64_t polled_ms;               /* when librdkafka was polled last. loop.c, too */
};

/* In a wait and while much is held: often enough for rebalances, rarely enough that short waits do not pause. */
enum { KVEIL_POLL_EVERY_MS = 500 };

/* The next message in order, of those held or polled within ms; NULL = none. The caller frees it. */
rd_kafka_message_t *kveil_intake_poll(struct kveil_worker *w, int ms);
/* Between records that are long in going: polls now and then for the sake of the membership. false: too much is held,
 * the client is to be paused. */
bool kveil_intake_serve(struct kveil_worker *w) KVEIL_MUST_CHECK;
void kveil_intake_drop(struct kveil_worker *w);
void kveil_intake_drop_of(struct kveil_worker *w, const struct kveil_partition *p);
void kveil_intake_free(struct kveil_worker *w);

#endif

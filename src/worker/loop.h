/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/loop.h: one worker thread: a member of the consumer group with its own consumer, producer, keys and engines.
 * Inside src/worker only.
 *
 *   consumer ─ poll ─► partition ─ engine ─► producer ─ delivery report ─► watermark ─ commit ─► consumer
 *                          │                                └ refused ─► rewind, then one record a request
 *                          └ cannot be protected ─► dead letter (sealed) ─► producer
 *
 * Everything here runs on the worker's own thread, callbacks of librdkafka included: nothing is locked. A record that
 * has to wait parks its partition, and the others go on; so does one whose output partition takes nothing (lane.h),
 * after a moment. What concerns all of them (a producer that is made anew, a key registry that went back) waits in the
 * loop with everything paused, which keeps the membership alive; rebalances happen there and in the poll for the next
 * message, never in the middle of a record.
 *
 * Each file needs only those below it (tests/objects.py holds that):
 *
 *   at_least_once.c, exactly_once.c      the delivery modes: commits
 *   loop.c                               the thread: turns, waiting, keys
 *   retry.c                              what waits is tried again
 *   record.c                             one record: engine, outputs
 *   offsets.c                            which offsets are believed
 *   quarantine.c                         what cannot be fetched
 *   assignment.c, routes.c, set_aside.c  rebalances, rewinding; the rules that it goes by; dead letters
 *   handover.c, producer.c               one message to the producer; the producer
 *   delivery.c, leaderless.c             records on their way, delivery reports; transactions held by a partition
 *   outlet.c                             the topics that it writes to, and the room on the way to their partitions
 *   park.c, committed.c                  partitions whose next record waits; whether the group's offsets still exist
 *   hold.c                               which partitions the client reads
 *   attempts.c, intake.c                 records at which processes end; messages until it is their turn
 *   outages.c, tally.c, slots.c          what is told; how topics do; the table of partitions
 */
#ifndef KVEIL_WORKER_LOOP_H
#define KVEIL_WORKER_LOOP_H

#include "base/failpoint.h"
#include "kafka/kafka.h"
#include "kveil/base.h"
#include "worker/assignment.h"
#include "worker/committed.h"
#include "worker/dead_letter.h"
#include "worker/handover.h"
#include "worker/intake.h"
#include "worker/maker.h"
#include "worker/mode.h"
#include "worker/outages.h"
#include "worker/outlet.h"
#include "worker/park.h"
#include "worker/producer.h"
#include "worker/quarantine.h"
#include "worker/routes.h"
#include "worker/slots.h"
#include "worker/tally.h"
#include "worker/transaction.h"
#include "worker/waker.h"
#include "worker/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What the service tells its workers. */
struct kveil_shared {
	pthread_mutex_t lock;
	struct kveil_catalog *catalog; /* under lock; NULL until the cluster answered */
	_Atomic uint64_t version;      /* rises with each catalog */
	_Atomic int64_t stop_ms;       /* when the end was asked for (monotonic); 0 = not */
	_Atomic bool failed;           /* a worker ended by an error */
	_Atomic unsigned idle;         /* workers without a partition */
	struct kveil_error error;      /* under lock: the first one */
};

/* The client's fetcher, which sleeps when its queue is full. loop.c */
struct kveil_fetcher {
	struct kveil_waker *waker; /* NULL: not needed */
	rd_kafka_queue_t *queue;   /* the consumer's, to see how long it is */
	size_t low;                /* with so many messages the client fetches no more */
	int64_t due_ms;
	int64_t came_ms;      /* the last message */
	size_t counted, from; /* of intake.came: then, and when it was last quiet */
	size_t next_slot;
};

struct kveil_worker_cells {
	struct kveil_cell *consumed, *consumed_bytes, *produced, *produced_bytes, *dead_lettered, *dropped, *rebalances,
	    *rewinds, *begun_anew, *in_flight, *dead_outputs, *gaps_marked, *gaps_looked_at, *gaps_unproved;
	struct kveil_cell *failed[KVEIL_STATUS_COUNT], *retries[KVEIL_STATUS_COUNT],
	    *fetch_errors[KVEIL_STATUS_COUNT]; /* made at the first */
	struct kveil_histogram *transform;
};

/* The parts are declared by the files that own them. */
struct kveil_worker {
	/* Set by the service. */
	const struct kveil_service_params *params;
	struct kveil_shared *shared;
	struct kveil_maker *maker;
	struct kveil_resolver *resolver; /* NULL: there is no schema registry */
	const struct kveil_delivery_mode *mode;
	struct kveil_loop *loop;
	unsigned number;
	char name[32];
	char condition_group[48];
	pthread_t thread;

	struct kveil_kafka_owner owner; /* of both handles */
	rd_kafka_t *consumer, *producer;
	struct kveil_keyring *ring;
	struct kveil_limits limits;
	struct kveil_worker_cells cells;

	struct kveil_slots slots;
	struct kveil_assignment assignment;
	struct kveil_fetcher fetcher;
	struct kveil_intake intake;
	struct kveil_waits waiting;
	struct kveil_routes rules;
	struct kveil_tallies tallies;
	struct kveil_hand hand;
	struct kveil_outlets outlets;
	struct kveil_producing producing;
	struct kveil_commits commits;
	struct kveil_transaction txn;
	struct kveil_outage outage;
	struct kveil_quarantine quarantine;

	int64_t now_ms; /* of this turn */
	int64_t ticked_ms, second_due_ms;
	bool turn_over;   /* a record waited: upkeep is due */
	bool want_rewind; /* of a partition that has asked, and nothing of it is unreported */
	bool careful;     /* a process ended where one of the partitions begins */
	bool idle;        /* it counts in shared->idle */
	bool client_left; /* one could not be closed and still logs to us: this struct stays */
	unsigned random;
};

/* The partition goes back to its watermark, when nothing of it is on its way any more. */
static inline void kveil_ask_rewind(struct kveil_worker *w, struct kveil_partition *p)
{
	p->rewind = true;
	w->want_rewind = true;
}

/* The thread. */
void *kveil_worker_main(void *worker);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/outlet.h: the topics that a worker writes to, and the way to each of their partitions. Inside src/worker only,
 * on the worker's thread. */
#ifndef KVEIL_WORKER_OUTLET_H
#define KVEIL_WORKER_OUTLET_H

#include "worker/lane.h"
#include "worker/partition.h"
#include "worker/stage.h"
#include "worker/topics.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* An output or dead-letter topic of the current producer, which is the opaque of its handle. Lives as long as that
 * producer; its lanes may move when another is opened. */
struct kveil_outlet {
	char *name;
	rd_kafka_topic_t *rkt;
	struct kveil_lane *lanes;   /* one a partition */
	struct kveil_stage *stages; /* as many */
	int32_t lane_count;
	int32_t partitions; /* as the catalog says */
	int32_t sticky;     /* the partition of records without a key, until sticky_until_ms */
	int64_t sticky_until_ms;
};

/* All of the current producer. outlet.c writes it; delivery.c and handover.c the ledger, the stages and what is
 * reported. */
struct kveil_outlets {
	struct kveil_outlet **at;
	size_t count;
	struct kveil_ledger ledger; /* of what is in flight */
	struct kveil_stage_pool stages;
	size_t leaderless;    /* of their partitions; exactly once looks */
	size_t failing;       /* lanes whose last report was a fault */
	uint64_t undelivered; /* reports of an error */
	int64_t reported_ms;  /* when a delivery was reported last */
	int64_t logged_ms;    /* that some do not answer; 0 = they do */
	char condition[48];
};

/* The outlet of a topic; NULL: no memory. */
struct kveil_outlet *kveil_outlet_open(struct kveil_worker *w, const struct kveil_target *target);
void kveil_outlets_close(struct kveil_worker *w);
/* Which partition a record of p goes to: as the Java producer places it by its key (partition: key); one without a key
 * stays with a partition for a while. alone: where nothing is on its way, if there is such a place. */
int32_t kveil_outlet_place(struct kveil_worker *w, struct kveil_outlet *o, const struct kveil_partition *p,
			   const struct kveil_record *r, size_t bytes, bool alone);
/* NULL: there cannot be such a partition. */
struct kveil_lane *kveil_outlet_lane(struct kveil_outlet *o, int32_t partition);
/* Waits for room, a moment; alone: until nothing else is on its way there. false: there is none, and p is blocked on
 * it. */
bool kveil_outlet_wait(struct kveil_worker *w, struct kveil_partition *p, struct kveil_outlet *o, int32_t partition,
		       size_t bytes, bool alone) KVEIL_MUST_CHECK;
/* Is there some now, where p is blocked? */
bool kveil_outlet_has_room(const struct kveil_worker *w, const struct kveil_partition *p);
/* A record did not get there, and not for its own sake: its partition goes back, and waits a while. */
void kveil_outlet_fault(struct kveil_worker *w, struct kveil_partition *p, struct kveil_outlet *o, int32_t partition,
			rd_kafka_resp_err_t e);
/* Records get there again. */
void kveil_outlet_delivers(struct kveil_worker *w, struct kveil_lane *l);
/* The report came of the message whose time was taken. */
void kveil_outlet_timed(struct kveil_lane *l, rd_kafka_resp_err_t e);
/* Nobody is left who would try again where it failed. */
void kveil_outlets_forgive(struct kveil_worker *w);
/* Does nothing that is in flight get on? */
bool kveil_outlets_are_dead(const struct kveil_worker *w);
/* Asks the cluster which have no leader. Without an answer nothing changes. */
void kveil_outlets_look_for_leaders(struct kveil_worker *w);
/* Says which do not answer, or that all do. */
void kveil_outlets_tell(struct kveil_worker *w);

#endif

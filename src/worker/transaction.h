/* SPDX-License-Identifier: Apache-2.0 */
/* worker/transaction.h: a worker's transaction. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_TRANSACTION_H
#define KVEIL_WORKER_TRANSACTION_H

#include "kveil/base.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* See exactly_once.c. */
enum kveil_transaction_state {
	KVEIL_TXN_NONE, /* the producer is not ready for any; at least once always */
	KVEIL_TXN_READY,
	KVEIL_TXN_OPEN,
	KVEIL_TXN_CLOSING, /* takes no more; waits for acknowledgements */
	KVEIL_TXN_OFFSETS,
	KVEIL_TXN_COMMITTING,
};
/* exactly_once.c, leaderless.c; others read, and ask for a record alone. */
struct kveil_transaction {
	enum kveil_transaction_state state;
	bool broken;      /* can only be aborted */
	bool refused;     /* and a record is to blame */
	bool alone;       /* to be committed before more is sent */
	bool discards;    /* what stands behind it need not be sent */
	bool offsets_due; /* also where nothing was sent */
	bool condition_open;
	bool wary;                                 /* output partitions may have no leader: see leaderless.c */
	bool renamed;                              /* …the id is another one because of them, and was not given yet */
	rd_kafka_consumer_group_metadata_t *group; /* of this assignment; NULL = none */
	rd_kafka_topic_partition_list_t *offsets;  /* that are committed with it; NULL: not yet */
	int64_t due_ms, long_ms, close_end_ms, commit_end_ms;
	int64_t closing_ms, took_ms; /* since when it takes no more; how long that was lately */
	int64_t checked_ms;          /* when what was committed was still there */
	size_t bytes, most_bytes;    /* sent in it; may be: fewer where outputs are slow */
	uint64_t undelivered;        /* the worker's, when it began */
	unsigned failures;           /* in a row */
	unsigned fences;             /* one soon after the other */
	int64_t fenced_ms, logged_ms;
	int64_t stuck_ms, look_due_ms; /* since when the id is not given, 0 = it is; for leaders */
	char suffix[20];               /* of the id, where another has it too, or the last one's end is held up */
	char condition[48], why[200];
	struct kveil_cell *committed, *aborted, *unknown, *fenced;
};

/* --- leaderless.c --- */
/* Another transactional id from the next producer on. */
void kveil_transaction_rename(struct kveil_worker *w);
/* The id is not given. true: it will not be for long, and there is another from the next producer on. */
bool kveil_leaderless_holds_id(struct kveil_worker *w);
/* It was given, and nothing is sent yet. */
void kveil_leaderless_begin(struct kveil_worker *w);
void kveil_leaderless_turn(struct kveil_worker *w);
void kveil_leaderless_committed(struct kveil_worker *w);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/quarantine.h: what cannot be fetched, or ends the process. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_QUARANTINE_H
#define KVEIL_WORKER_QUARANTINE_H

#include "kafka/search.h"
#include "worker/partition.h"
#include <librdkafka/rdkafka.h>

struct kveil_worker;

/* quarantine.c; the gaps: offsets.c */
struct kveil_quarantine {
	struct kveil_search *search; /* open while it is used now and then */
	int64_t search_used_ms;
	int64_t due_ms; /* the next look */
	size_t next_slot;
	int64_t logged_ms;
	int64_t gap_due_ms, gap_logged_ms;
};

/* A client that looks at single batches, opened when it is needed. NULL: not to be had. */
struct kveil_search *kveil_quarantine_search(struct kveil_worker *w);
/* Once a turn: closes it when it was not used for long, and looks what is in the way where nothing comes. */
void kveil_quarantine_look(struct kveil_worker *w);
/* An error in the place of records; false: not one of those that are told here. May set a batch aside. */
bool kveil_quarantine_on_error(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg);
/* Once a second. high: the partition's end, by the last fetch. */
void kveil_quarantine_watch(struct kveil_worker *w, struct kveil_partition *p, int64_t high);
/* Sets aside the records at which too many processes ended. */
void kveil_quarantine_poison(struct kveil_worker *w);

#endif

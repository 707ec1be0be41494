/* SPDX-License-Identifier: Apache-2.0 */
/* worker/outages.h: what a worker tells, and how it ends. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_OUTAGES_H
#define KVEIL_WORKER_OUTAGES_H

#include "worker/partition.h"

struct kveil_worker;

/* outages.c; of the keys: loop.c */
struct kveil_outage {
	size_t partitions; /* that wait one out. park.c */
	unsigned attempts;
	bool keys; /* some key protects nothing now, or there is no lease */
	int64_t keys_told_ms;
	int64_t began_ms; /* 0: there is none */
	int64_t logged_ms;
	char condition[48];
};

bool kveil_worker_stopping(const struct kveil_worker *w);
/* Ends the process with exit 3. */
void kveil_worker_fail(struct kveil_worker *w, const struct kveil_error *why);
/* How long to wait before the next try: longer with each attempt, with jitter. */
int kveil_back_off_of(struct kveil_worker *w, unsigned attempt);
/* One line a minute: *logged_ms is when last, 0 = never. */
void kveil_tell_now_and_then(struct kveil_worker *w, const struct kveil_error *why, int64_t *logged_ms);
/* An outage, of one partition or (p NULL) of all, is a condition until all are over; telling counts a retry and logs a
 * line a minute. */
void kveil_open_outage(struct kveil_worker *w, const struct kveil_partition *p, const struct kveil_error *why);
void kveil_tell_outage(struct kveil_worker *w, const struct kveil_partition *p, const struct kveil_error *why);
void kveil_tell_outage_over(struct kveil_worker *w);
/* The same for records that do not get where they should. */
void kveil_tell_produce(struct kveil_worker *w, const struct kveil_error *why);
/* The same for what the client cannot fetch. */
void kveil_tell_fetch(struct kveil_worker *w, struct kveil_partition *p, const char *why);
void kveil_tell_fetch_over(struct kveil_worker *w, struct kveil_partition *p);
/* A record came, or the end. */
static inline void kveil_fetched(struct kveil_worker *w, struct kveil_partition *p)
{
	p->fetch.errors = 0;
	p->fetch.still_ms = 0;
	if (p->fetch.fault)
		kveil_tell_fetch_over(w, p);
}
void kveil_count_retry(struct kveil_worker *w, enum kveil_status status);
void kveil_count_fetch_error(struct kveil_worker *w, enum kveil_status status);

#endif

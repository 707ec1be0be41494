/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/lane.h: what is on its way to each output partition. Numbers alone: no I/O, no clock, nothing allocated. Each
 * belongs to one worker and its thread.
 *
 *   ledger   what a worker may have in flight, and has
 *    └ lane  what of it goes to one output partition: handed to librdkafka, or staged behind that, and not reported yet
 *
 *   limit: [ lane | others |        free        ]      lane + record <= free - record
 *
 * A lane takes a record as long as it then holds no more than what is left to all others. So a partition that nobody
 * leads ends up with half of the limit at most, a second one with half of the rest, and the others go on. An empty lane
 * takes one record of any size while anything is free: the limit is passed by one record at most.
 *
 * Bytes are those of memory: key, value, headers and librdkafka's structs (kveil_kafka_sends_bytes). Times are the
 * monotonic clock's.
 */
#ifndef KVEIL_WORKER_LANE_H
#define KVEIL_WORKER_LANE_H

#include "kveil/base.h"

enum {
	KVEIL_LANE_SILENT_MS = 1000, /* without an acknowledgement: it takes no more */
	KVEIL_LANE_DEAD_MS = 5000,   /* and is told; nobody drains it */
};

struct kveil_ledger {
	size_t limit, bytes, records;
};

/* All zero: empty. */
struct kveil_lane {
	size_t bytes;
	uint32_t records;
	uint32_t failures;     /* in a row: reports of an error that was nobody's record */
	bool leaderless;       /* and so takes nothing */
	int64_t moved_ms;      /* the last report, or the first record into an empty lane */
	int64_t kept_until_ms; /* for a record that has to be alone on its way */
	uint32_t smoothed_us;  /* from hand-over to report; 0 = not known yet */
	const void *timed;     /* the opaque of the message whose time is taken; NULL = none */
	int64_t timed_us;
};

static inline bool kveil_lane_is_silent(const struct kveil_lane *l, int64_t now_ms)
{
	return l->records && now_ms - l->moved_ms >= KVEIL_LANE_SILENT_MS;
}

static inline bool kveil_lane_is_dead(const struct kveil_lane *l, int64_t now_ms)
{
	return l->records && now_ms - l->moved_ms >= KVEIL_LANE_DEAD_MS;
}

/* May a record of so many bytes be handed over? */
static inline bool kveil_lane_takes(const struct kveil_ledger *g, const struct kveil_lane *l, size_t bytes,
				    int64_t now_ms)
{
	if (g->records == 0)
		return true;
	if (g->bytes >= g->limit || kveil_lane_is_silent(l, now_ms))
		return false;
	return l->records == 0 || l->bytes + 2 * bytes <= g->limit - g->bytes;
}

/* Has it room for more than one record, after it had none? */
bool kveil_lane_has_drained(const struct kveil_ledger *g, const struct kveil_lane *l, int64_t now_ms);

static inline void kveil_lane_hand_over(struct kveil_ledger *g, struct kveil_lane *l, size_t bytes, int64_t now_ms)
{
	if (l->records++ == 0)
		l->moved_ms = now_ms;
	l->bytes += bytes;
	g->bytes += bytes;
	g->records++;
}

/* The report of one record came. */
static inline void kveil_lane_report(struct kveil_ledger *g, struct kveil_lane *l, size_t bytes, int64_t now_ms)
{
	l->records--;
	l->bytes -= bytes;
	l->moved_ms = now_ms;
	g->bytes -= bytes;
	g->records--;
}

/* One message at a time is timed. us: from hand-over to report. */
void kveil_lane_smooth(struct kveil_lane *l, int64_t us);

#endif

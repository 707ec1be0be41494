/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that were polled before their turn. When a record waits for a key that it names and that nobody has made
 * yet, the records behind it are looked at for more such names, so that one write to the registry makes all of them.
 * They are processed after it, in their order. A pause and a rebalance throw them away: both go on by a seek to what
 * was done.
 */
#include "base/clock.h"
#include "worker/loop.h"

#include <stdlib.h>

enum {
	MESSAGES = 1024, /* what is taken ahead */
	BYTES = 4 << 20, /* the same in bytes, or a quarter of what may be in flight */
	PROBE_MS = 250,  /* one look; the loop has more to do */
	SLOTS = 2 * MESSAGES,
};

static bool has_room(const struct kveil_worker *w)
{
	const struct kveil_ahead *a = &w->ahead;
	size_t bytes = w->in_flight_limit / 4 < BYTES ? w->in_flight_limit / 4 : BYTES;

	return a->count - a->first < MESSAGES && a->bytes < bytes;
}

/* Polls for real. A rebalance in here empties all of it. false: nothing came. */
static bool hold_one(struct kveil_worker *w)
{
	struct kveil_ahead *a = &w->ahead;

	rd_kafka_message_t *msg = kveil_intake_poll(w, 0);
	if (!msg)
		return false;
	/* Where a partition's records end, or cannot be read, is said in its place, behind those before it. */
	if (msg->err && msg->err != RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && !kveil_kafka_unreadable(msg->err)) {
		kveil_worker_on_consumer_error(w, msg);
		kveil_kafka_message_free(msg);
		return true;
	}
	if (a->count == SLOTS) {
		memmove(a->held, a->held + a->first, (a->count - a->first) * sizeof *a->held);
		a->count -= a->first;
		a->probed -= a->probed < a->first ? a->probed : a->first;
		a->first = 0;
	}
	a->held[a->count] = (struct kveil_held){msg, kveil_held_bytes(w, msg)};
	a->bytes += a->held[a->count++].bytes;
	return true;
}

static rd_kafka_message_t *take_first(struct kveil_ahead *a)
{
	if (a->first == a->count)
		return NULL;
	struct kveil_held *h = &a->held[a->first++];
	a->bytes -= h->bytes;
	if (a->first == a->count)
		a->first = a->count = a->probed = 0;
	return h->message;
}

rd_kafka_message_t *kveil_ahead_next(struct kveil_worker *w, int ms)
{
	struct kveil_ahead *a = &w->ahead;

	if (a->first == a->count)
		return kveil_intake_poll(w, ms);
	/* Rebalances come by the same poll, and do not wait until all that is held is done. */
	kveil_intake_serve(w);
	return take_first(a);
}

void kveil_ahead_drop(struct kveil_worker *w)
{
	rd_kafka_message_t *msg;

	while ((msg = take_first(&w->ahead)))
		kveil_kafka_message_free(msg);
}

void kveil_ahead_free(struct kveil_worker *w)
{
	kveil_ahead_drop(w);
	free(w->ahead.held);
	w->ahead = (struct kveil_ahead){0};
}

/* Lets a record's keys be asked for; what comes of the record is its turn's affair. false: no use in going on. */
static bool probe(struct kveil_worker *w, rd_kafka_message_t *msg)
{
	struct kveil_partition *p = kveil_worker_find(w, msg);
	struct kveil_result ignored;
	struct kveil_record record;
	struct kveil_error err;

	if (msg->err || !p || p->stopped || p->rewind || !p->route || kveil_worker_bind(w, p->route, &err) ||
	    kveil_worker_read(w, msg, &record, &err))
		return true;
	if (kveil_failpoint("slow-probe"))
		nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
	kveil_engine_run(p->route->bound->engine, &record, &ignored);
	if (ignored.verdict == KVEIL_RETRY)
		return ignored.error.status == KVEIL_E_KEY_PENDING;
	kveil_engine_forget(p->route->bound->engine);
	return true;
}

void kveil_ahead_look(struct kveil_worker *w)
{
	struct kveil_ahead *a = &w->ahead;

	/* What slips through a pause comes again by the seek that ends it. */
	if (w->paused || (!a->held && !(a->held = calloc(SLOTS, sizeof *a->held))))
		return;
	bool more = true;
	while (more && has_room(w))
		more = hold_one(w);
	/* Full, and a long wait: the membership is kept all the same. */
	kveil_intake_serve(w);
	/* Names that were asked for and wait need not be asked for again. */
	if (!a->names_wait)
		a->probed = a->first;
	if (a->probed < a->first)
		a->probed = a->first;
	for (int64_t end = kveil_clock_mono_ms() + PROBE_MS; a->probed < a->count; a->probed++) {
		kveil_loop_beat(w->loop);
		if (kveil_worker_stopping(w) || !probe(w, a->held[a->probed].message) || kveil_clock_mono_ms() > end)
			break;
	}
}

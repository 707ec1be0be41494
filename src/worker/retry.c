/* SPDX-License-Identifier: Apache-2.0 */
/* What waits is tried again, each partition in its order. */
#include "base/clock.h"
#include "worker/attempts.h"
#include "worker/hold.h"
#include "worker/loop.h"
#include "worker/record.h"

enum { TURN_MS = 20 /* for what has waited, and for looking at names: the loop has more to do */ };

/* An attempt at making them is over. Can the record be tried again? */
static bool names_may_be_there(struct kveil_worker *w, struct kveil_partition *p)
{
	struct kveil_error why;

	if (kveil_maker_round(w->maker) < p->park.round)
		return false;
	enum kveil_status status = kveil_maker_result(w->maker, &why);
	if (!status || status == KVEIL_E_KEY_PENDING)
		return w->now_ms >= p->park.due_ms;
	kveil_park_wait_out(w, p, &why);
	return false;
}

static bool is_due(struct kveil_worker *w, struct kveil_partition *p)
{
	switch (p->wait) {
	case KVEIL_WAIT_NONE:
		return true;
	case KVEIL_WAIT_NAMES:
		return names_may_be_there(w, p);
	case KVEIL_WAIT_SCHEMA:
		return w->now_ms >= p->park.due_ms || kveil_resolver_round(w->resolver) != p->park.round;
	case KVEIL_WAIT_OUTAGE:
		return w->now_ms >= p->park.due_ms;
	case KVEIL_WAIT_LANE:
		return w->now_ms >= p->park.due_ms && kveil_outlet_has_room(w, p);
	}
	return true;
}

/* Lets the keys of what waits be asked for; what comes of a record is its turn's affair. false: no use in going on. */
static bool probe(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_record *record)
{
	struct kveil_result ignored;
	struct kveil_error err;

	if (!p->route || kveil_routes_bind(w, p->route, &err))
		return false;
	if (kveil_failpoint("slow-probe"))
		nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
	kveil_keyring_serve(w->ring, p->topic, p->id);
	do
		kveil_engine_run(p->route->bound->engine, record, &ignored);
	while (kveil_engine_look_again(p->route->bound->engine, &ignored));
	if (ignored.verdict == KVEIL_RETRY)
		return ignored.error.status == KVEIL_E_KEY_PENDING;
	kveil_engine_forget(p->route->bound->engine);
	return true;
}

static void look_at_names(struct kveil_worker *w, struct kveil_partition *p, int64_t end_ms)
{
	struct kveil_queue *q = &p->waiting;
	bool asked = q->unseen && !p->stopped && !p->rewind;

	for (bool more = asked; more && q->unseen; q->unseen = q->unseen->next) {
		kveil_loop_beat(w->loop);
		more = probe(w, p, &q->unseen->in.record) && kveil_clock_mono_ms() < end_ms;
	}
	if (asked)
		kveil_maker_want(w->maker);
}

/* What waits goes on, in its order. */
static void go_on(struct kveil_worker *w, struct kveil_partition *p, int64_t end_ms)
{
	struct kveil_error ignored;
	bool was_for_names = p->wait == KVEIL_WAIT_NAMES;

	p->wait = KVEIL_WAIT_NONE;
	if (p->attempts.poison) /* the letter about it waited */
		kveil_ask_rewind(w, p);
	while (p->waiting.first && !p->stopped && !p->rewind && kveil_clock_mono_ms() < end_ms) {
		kveil_loop_beat(w->loop);
		bool done = kveil_record_try(w, p, &p->waiting.first->in);
		if (done)
			kveil_park_pop(w, p);
		if (w->careful)
			kveil_attempts_careful(w);
		if (!done)
			break;
	}
	/* Not all that was looked at could be asked for: once more, when all that was asked for is made. */
	if (was_for_names && p->wait == KVEIL_WAIT_NAMES && !kveil_maker_result(w->maker, &ignored))
		p->waiting.unseen = p->waiting.first;
}

static void turn(struct kveil_worker *w, struct kveil_partition *p, int64_t end_ms)
{
	if (p->stopped || p->rewind) {
		kveil_park_drop(w, p);
		if (p->stopped)
			kveil_park_over(w, p);
		return;
	}
	if (is_due(w, p))
		go_on(w, p, end_ms);
	if (p->wait == KVEIL_WAIT_NAMES)
		look_at_names(w, p, end_ms);
	if (p->wait == KVEIL_WAIT_NONE && !p->waiting.first && p->beyond >= 0) {
		int64_t offset = p->beyond;
		p->beyond = -1;
		kveil_partition_on_out_of_range(w, p, offset);
	}
}

void kveil_retry_turn(struct kveil_worker *w)
{
	int64_t end_ms = w->now_ms + TURN_MS;
	bool may_read = false;

	if (!w->waiting.any)
		return;
	w->waiting.any = w->waiting.names = false;
	for (size_t i = 0; i < w->slots.cap; i++) {
		/* Another one first each time: none takes all of the turn from the others. */
		struct kveil_partition *p = w->slots.at[(i + w->waiting.first) % w->slots.cap];
		if (!p)
			continue;
		if (p->wait || p->waiting.first)
			turn(w, p, end_ms);
		may_read |= kveil_park_may_read(p) && p->held;
		w->waiting.any |= p->wait || p->waiting.first || (p->held && !p->stopped);
		w->waiting.names |= p->wait == KVEIL_WAIT_NAMES;
	}
	w->waiting.first++;
	if (may_read)
		kveil_hold_end(w);
}

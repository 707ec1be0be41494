/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions whose next record has to wait, for a key, for an outage to end, or for room on the way to an output
 * partition: they stand aside, and all others go on. What the client gives of them meanwhile is copied, for a message
 * at hand would pin all that was fetched with it; a look at it lets the keys that it names be made together. Where
 * there is no room for more, the client pauses the partition, throws away what it has fetched, and reads it again
 * later.
 */
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	MOST_RECORDS = 1024,  /* of one partition */
	MOST_BYTES = 8 << 20, /* of all, or a quarter of what may be in flight */
	TURN_MS = 20,         /* for what has waited, and for looking at names: the loop has more to do */
	SOON_TRIES = 3,  /* for a name that was made and is not there: another process was first, a matter of moments */
	SCHEMA_MS = 250, /* an id that is not known is asked for again */
	SCHEMA_TELL_MS = 5000,
};

/* --- what waits --- */

static size_t bytes_of(const struct kveil_record *r)
{
	size_t n = sizeof(struct kveil_waiting) + r->key.len + r->value.len + r->header_count * sizeof *r->headers;

	for (size_t i = 0; i < r->header_count; i++)
		n += r->headers[i].name.len + r->headers[i].value.len;
	return n;
}

/* One partition may hold as much as is left for all others. */
static bool has_room(const struct kveil_worker *w, const struct kveil_partition *p, size_t bytes)
{
	size_t most = w->ledger.limit / 4 < MOST_BYTES ? w->ledger.limit / 4 : MOST_BYTES;

	return p->waiting.count < MOST_RECORDS && p->waiting.bytes + bytes + w->waiting_bytes <= most;
}

static struct kveil_span copy_span(uint8_t **at, struct kveil_span s)
{
	uint8_t *to = *at;

	if (!s.data)
		return KVEIL_SPAN_NULL;
	if (s.len)
		memcpy(to, s.data, s.len);
	*at += s.len;
	return kveil_span_of(to, s.len);
}

static struct kveil_waiting *copy(const struct kveil_incoming *in, size_t bytes)
{
	struct kveil_waiting *r = malloc(bytes + 1); /* an empty value has an address too */
	const struct kveil_record *from = &in->record;

	if (!r)
		return NULL;
	*r = (struct kveil_waiting){.bytes = bytes, .in = *in};
	uint8_t *at = (uint8_t *)&r->headers[from->header_count];
	r->in.record.key = copy_span(&at, from->key);
	r->in.record.value = copy_span(&at, from->value);
	r->in.record.headers = r->headers;
	for (size_t i = 0; i < from->header_count; i++)
		r->headers[i] = (struct kveil_header){copy_span(&at, from->headers[i].name),
						      copy_span(&at, from->headers[i].value)};
	return r;
}

static void pop(struct kveil_worker *w, struct kveil_partition *p)
{
	struct kveil_queue *q = &p->waiting;
	struct kveil_waiting *r = q->first;

	q->first = r->next;
	if (!q->first)
		q->last = NULL;
	if (q->unseen == r)
		q->unseen = r->next;
	q->count--;
	q->bytes -= r->bytes;
	w->waiting_bytes -= r->bytes;
	kveil_secret_wipe(r, r->bytes);
	free(r);
}

void kveil_park_drop(struct kveil_worker *w, struct kveil_partition *p)
{
	while (p->waiting.first)
		pop(w, p);
	p->beyond = -1;
}

void kveil_park_add(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in)
{
	struct kveil_queue *q = &p->waiting;
	size_t bytes = bytes_of(&in->record);
	struct kveil_waiting *r = has_room(w, p, bytes) ? copy(in, bytes) : NULL;

	w->some_wait = true;
	if (!r) {
		kveil_worker_hold(w, p);
		return;
	}
	if (q->last)
		q->last->next = r;
	else
		q->first = r;
	q->last = r;
	if (!q->unseen)
		q->unseen = r;
	q->count++;
	q->bytes += bytes;
	w->waiting_bytes += bytes;
}

/* --- why --- */

static void wait_for(struct kveil_worker *w, struct kveil_partition *p, enum kveil_wait what, int ms)
{
	p->wait = what;
	p->due_ms = kveil_clock_mono_ms() + ms;
	w->some_wait = true;
}

static void tell(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	if (!p->in_outage) {
		p->in_outage = true;
		w->outages++;
	}
	kveil_worker_tell_outage(w, p, why);
}

static void wait_out(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	tell(w, p, why);
	wait_for(w, p, KVEIL_WAIT_OUTAGE, kveil_worker_back_off_ms(w, p->outage_tries++));
}

/* The record names a key that is to be made. */
static void wait_for_names(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	struct kveil_error ignored;
	bool made = p->name_tries && !kveil_maker_result(w->maker, &ignored);

	if (!p->name_tries || !made)
		p->name_tries = 1;
	else if (++p->name_tries > SOON_TRIES + 1) {
		wait_out(w, p, why);
		return;
	}
	kveil_worker_count_retry(w, why->status);
	p->round = kveil_maker_want(w->maker);
	wait_for(w, p, KVEIL_WAIT_NAMES, made ? kveil_worker_back_off_ms(w, p->name_tries) : 0);
}

/* The record names a schema that is asked for. A registry may take long to answer, or to know it. */
static void wait_for_schema(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	int64_t now = kveil_clock_mono_ms();

	if (!p->schema_ms)
		p->schema_ms = now;
	else if (now - p->schema_ms > SCHEMA_TELL_MS)
		tell(w, p, why);
	p->round = kveil_resolver_round(w->resolver);
	wait_for(w, p, KVEIL_WAIT_SCHEMA, SCHEMA_MS);
}

void kveil_park(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	if (why->status == KVEIL_E_KEY_PENDING)
		wait_for_names(w, p, why);
	else if (why->status == KVEIL_E_SCHEMA_PENDING)
		wait_for_schema(w, p, why);
	else
		wait_out(w, p, why);
}

void kveil_park_for_room(struct kveil_worker *w, struct kveil_partition *p)
{
	kveil_park_over(w, p); /* whatever it waited for was there */
	wait_for(w, p, KVEIL_WAIT_LANE, 0);
}

void kveil_park_after_fault(struct kveil_worker *w, struct kveil_partition *p, unsigned failures)
{
	p->blocked_on = NULL;
	wait_for(w, p, KVEIL_WAIT_LANE, kveil_worker_back_off_ms(w, failures));
}

void kveil_park_over(struct kveil_worker *w, struct kveil_partition *p)
{
	p->wait = KVEIL_WAIT_NONE;
	p->outage_tries = p->name_tries = 0;
	p->schema_ms = 0;
	if (!p->in_outage)
		return;
	p->in_outage = false;
	w->outages--;
	kveil_worker_outage_over(w);
}

/* --- turns --- */

/* An attempt at making them is over. Can the record be tried again? */
static bool names_may_be_there(struct kveil_worker *w, struct kveil_partition *p)
{
	struct kveil_error why;

	if (kveil_maker_round(w->maker) < p->round)
		return false;
	enum kveil_status status = kveil_maker_result(w->maker, &why);
	if (!status || status == KVEIL_E_KEY_PENDING)
		return w->now_ms >= p->due_ms;
	wait_out(w, p, &why);
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
		return w->now_ms >= p->due_ms || kveil_resolver_round(w->resolver) != p->round;
	case KVEIL_WAIT_OUTAGE:
		return w->now_ms >= p->due_ms;
	case KVEIL_WAIT_LANE:
		return w->now_ms >= p->due_ms && kveil_outlet_has_room(w, p);
	}
	return true;
}

/* Lets the keys of what waits be asked for; what comes of a record is its turn's affair. false: no use in going on. */
static bool probe(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_record *record)
{
	struct kveil_result ignored;
	struct kveil_error err;

	if (!p->route || kveil_worker_bind(w, p->route, &err))
		return false;
	if (kveil_failpoint("slow-probe"))
		nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
	kveil_keyring_serve(w->ring, p->topic, p->id);
	kveil_engine_run(p->route->bound->engine, record, &ignored);
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
	if (p->poison) /* the letter about it waited */
		kveil_worker_ask_rewind(w, p);
	while (p->waiting.first && !p->stopped && !p->rewind && kveil_clock_mono_ms() < end_ms) {
		kveil_loop_beat(w->loop);
		bool done = kveil_worker_try(w, p, &p->waiting.first->in);
		if (done)
			pop(w, p);
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
		kveil_worker_on_out_of_range(w, p, offset);
	}
}

void kveil_park_turn(struct kveil_worker *w)
{
	int64_t end_ms = w->now_ms + TURN_MS;
	bool may_read = false;

	if (!w->some_wait)
		return;
	w->some_wait = w->names_wait = false;
	for (size_t i = 0; i < w->slot_cap; i++) {
		/* Another one first each time: none takes all of the turn from the others. */
		struct kveil_partition *p = w->slots[(i + w->first_turn) % w->slot_cap];
		if (!p)
			continue;
		if (p->wait || p->waiting.first)
			turn(w, p, end_ms);
		may_read |= kveil_park_may_read(p) && p->held;
		w->some_wait |= p->wait || p->waiting.first || (p->held && !p->stopped);
		w->names_wait |= p->wait == KVEIL_WAIT_NAMES;
	}
	w->first_turn++;
	if (may_read)
		kveil_worker_resume(w);
}

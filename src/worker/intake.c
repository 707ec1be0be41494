/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages between librdkafka's queue and the worker. librdkafka bounds its queue by what values weigh: keys, headers
 * and its own structs count for nothing there, and may be all that a record has. So its queue is kept to a few
 * messages, one fetch response at most, and what stands ready for the worker stands here, counted with all that it
 * holds.
 *
 *   broker ─ a response ─► librdkafka's queue ─ drained ─► held, up to a number of bytes ─► the worker's turn
 *
 * A pause and a rebalance throw away what is held of their partitions: both go on by a seek to what was done.
 */
#include "base/clock.h"
#include "worker/loop.h"

#include <stdlib.h>

enum { FILL_EVERY = 32, FIRST_SLOTS = 1024 };

static size_t held_bytes(struct kveil_worker *w, const rd_kafka_message_t *msg)
{
	size_t n = msg->key_len + msg->len + KVEIL_KAFKA_HELD_OVERHEAD, count = 0;
	struct kveil_error ignored;

	if (msg->err || kveil_kafka_headers(msg, &w->hand.headers, &w->hand.header_cap, &count, &ignored))
		return n;
	/* Once as they came, and once as librdkafka takes them apart. */
	return n + 2 * kveil_kafka_header_bytes(w->hand.headers, count);
}

static bool has_room(const struct kveil_worker *w, size_t times)
{
	return w->intake.bytes < times * w->intake.limit;
}

static bool grow(struct kveil_intake *in)
{
	size_t cap = in->cap ? in->cap * 2 : FIRST_SLOTS;
	struct kveil_held *held = calloc(cap, sizeof *held);

	if (!held)
		return false;
	for (size_t i = 0; i < in->count; i++)
		held[i] = in->held[(in->first + i) & (in->cap - 1)];
	free(in->held);
	in->held = held;
	in->cap = cap;
	in->first = 0;
	return true;
}

/* Where the client was before the message, if it came there by the marks of transactions; -1. */
static int64_t passed_marks(struct kveil_worker *w, const rd_kafka_message_t *msg)
{
	struct kveil_partition *p = msg->err ? NULL : kveil_slots_of_message(&w->slots, msg);

	if (!p)
		return -1;
	/* After a seek the client tells what it was before that: where it gave the last message. */
	int64_t before =
	    p->offsets.given < 0 || w->owner.marker.before == p->offsets.given ? -1 : w->owner.marker.before;
	p->offsets.given = msg->offset + 1;
	return before;
}

/* Polls for real. A rebalance in here empties all of it. false: nothing came, or there is no place for it. */
static bool hold_one(struct kveil_worker *w, int ms)
{
	struct kveil_intake *in = &w->intake;

	if (in->count == in->cap && !grow(in))
		return false;
	rd_kafka_message_t *msg = rd_kafka_consumer_poll(w->consumer, ms);
	if (!msg)
		return false;
	/* The end of a partition is said with no batch of it. */
	w->owner.unpack.came |= msg->err != RD_KAFKA_RESP_ERR__PARTITION_EOF;
	size_t bytes = held_bytes(w, msg);
	in->held[(in->first + in->count++) & (in->cap - 1)] = (struct kveil_held){msg, bytes, passed_marks(w, msg)};
	in->bytes += bytes;
	in->came++;
	return true;
}

/* The fetcher sleeps when it finds the queue full, and does not see that it was emptied. The end of a partition has a
 * place in the queue as a record has. */
static void note_fetcher(struct kveil_worker *w, const rd_kafka_message_t *msg)
{
	bool placed = !msg->err || msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF;
	struct kveil_partition *p = placed ? kveil_slots_of_message(&w->slots, msg) : NULL;

	if (p)
		p->wake = true;
}

/* One message, counted among those that may have stood in the queue at once. false: the queue is empty. */
static bool draw_one(struct kveil_worker *w, int ms)
{
	struct kveil_intake *in = &w->intake;

	if (!hold_one(w, ms)) {
		in->drawn = 0;
		return false;
	}
	if (++in->drawn >= w->fetcher.low && in->count)
		note_fetcher(w, in->held[(in->first + in->count - 1) & (in->cap - 1)].message);
	return true;
}

static void fill(struct kveil_worker *w, int ms)
{
	struct kveil_intake *in = &w->intake;

	in->taken = 0;
	w->intake.polled_ms = kveil_clock_mono_ms();
	while (has_room(w, 1)) {
		if (!draw_one(w, ms)) {
			kveil_unpack_taken(&w->owner.unpack);
			return;
		}
		ms = 0;
	}
}

bool kveil_intake_serve(struct kveil_worker *w)
{
	if (kveil_clock_mono_ms() - w->intake.polled_ms < KVEIL_POLL_EVERY_MS)
		return true;
	w->intake.polled_ms = kveil_clock_mono_ms();
	if (!has_room(w, 2))
		return false;
	draw_one(w, 0);
	return true;
}

static rd_kafka_message_t *take_first(struct kveil_intake *in)
{
	rd_kafka_message_t *ret = NULL;

	while (in->count && !ret) {
		struct kveil_held *h = &in->held[in->first];
		in->first = (in->first + 1) & (in->cap - 1);
		in->count--;
		in->bytes -= h->bytes;
		in->before = h->before;
		ret = h->message;
	}
	return ret;
}

rd_kafka_message_t *kveil_intake_poll(struct kveil_worker *w, int ms)
{
	struct kveil_intake *in = &w->intake;

	if (in->count == 0 || (++in->taken >= FILL_EVERY && has_room(w, 1)))
		fill(w, in->count ? 0 : ms);
	return take_first(in);
}

void kveil_intake_drop(struct kveil_worker *w)
{
	rd_kafka_message_t *msg;

	while ((msg = take_first(&w->intake)))
		kveil_kafka_message_free(msg);
}

void kveil_intake_drop_of(struct kveil_worker *w, const struct kveil_partition *p)
{
	struct kveil_intake *in = &w->intake;

	for (size_t i = 0; i < in->count; i++) {
		struct kveil_held *h = &in->held[(in->first + i) & (in->cap - 1)];
		if (!h->message || kveil_slots_of_message(&w->slots, h->message) != p)
			continue;
		kveil_kafka_message_free(h->message);
		in->bytes -= h->bytes;
		*h = (struct kveil_held){0}; /* its place is passed over */
	}
}

void kveil_intake_free(struct kveil_worker *w)
{
	kveil_intake_drop(w);
	free(w->intake.held);
	w->intake.held = NULL;
	w->intake.cap = 0;
}

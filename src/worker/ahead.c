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

enum { AHEAD_MESSAGES = 1024, AHEAD_BYTES = 4 << 20 };

static size_t cost(const rd_kafka_message_t *msg)
{
	return kveil_message_cost(msg->key_len, msg->len);
}

rd_kafka_message_t *kveil_ahead_next(struct kveil_worker *w)
{
	struct kveil_ahead *a = &w->ahead;

	if (a->first == a->count)
		return NULL;
	rd_kafka_message_t *msg = a->messages[a->first++];
	a->bytes -= cost(msg);
	return msg;
}

void kveil_ahead_drop(struct kveil_worker *w)
{
	rd_kafka_message_t *msg;

	while ((msg = kveil_ahead_next(w)))
		kveil_kafka_message_free(msg);
	w->ahead.first = w->ahead.count = 0;
}

void kveil_ahead_free(struct kveil_worker *w)
{
	kveil_ahead_drop(w);
	free(w->ahead.messages);
	w->ahead = (struct kveil_ahead){0};
}

/* Lets a record's keys be asked for; what comes of the record is its turn's affair. */
static void probe(struct kveil_worker *w, rd_kafka_message_t *msg)
{
	struct kveil_partition *p = kveil_worker_find(w, msg);
	struct kveil_result ignored;
	struct kveil_record record;
	struct kveil_error err;

	if (!p || p->stopped || p->rewind || !p->route || kveil_worker_bind(w, p->route, &err) ||
	    kveil_worker_read(w, msg, &record, &err))
		return;
	kveil_engine_run(p->route->bound->engine, &record, &ignored);
}

void kveil_ahead_look(struct kveil_worker *w)
{
	struct kveil_ahead *a = &w->ahead;

	/* What slips through a pause comes again by the seek that ends it. */
	if (w->paused)
		return;
	if (!a->messages && !(a->messages = calloc(AHEAD_MESSAGES, sizeof(rd_kafka_message_t *))))
		return;
	memmove(a->messages, a->messages + a->first, (a->count - a->first) * sizeof(rd_kafka_message_t *));
	a->count -= a->first;
	a->first = 0;
	w->polled_ms = kveil_clock_mono_ms();
	while (a->count < AHEAD_MESSAGES && a->bytes < AHEAD_BYTES) {
		/* A rebalance in here empties all of it. */
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(w->consumer, 0);
		if (!msg)
			break;
		if (msg->err) {
			kveil_worker_on_consumer_error(w, msg);
			kveil_kafka_message_free(msg);
			continue;
		}
		a->messages[a->count++] = msg;
		a->bytes += cost(msg);
	}
	for (size_t i = 0; i < a->count; i++)
		probe(w, a->messages[i]);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client cannot fetch: batches that cannot be read, for they are damaged or too large when they are unpacked,
 * and topics that it may not read. It asks again by itself, for ever. So it is said at once; and a batch that stays
 * unreadable is set aside as a whole: a letter that points to it, and the partition goes on behind it (search.h). So is
 * one of which the client says nothing at all: it takes a compressed batch whose records do not fill it for one that
 * did not come whole, and asks for it again.
 */
#include "base/clock.h"
#include "base/log.h"
#include "worker/attempts.h"
#include "worker/hold.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>

enum {
	TRIES = 3,
	ERRORS = 5,
	OVER_MS = 30000,
	STILL_MS = 60000,
	SILENT_MS = 8000,
	LOOK_EVERY_MS = 1000,
	LOOK_AGAIN_MS = 30000, /* a look takes some seconds where nobody answers */
	SILENT_ANSWERS = 5,
	IDLE_MS = 60000,
};

/* --- where it ends --- */

static bool alive(void *worker)
{
	struct kveil_worker *w = worker;

	w->now_ms = kveil_clock_mono_ms(); /* what is sent behind the search was not on its way while it went */
	kveil_loop_beat(w->loop);
	if (w->producer)
		rd_kafka_poll(w->producer, 0);
	return !kveil_worker_stopping(w);
}

static struct kveil_search *open_search(struct kveil_worker *w, bool every)
{
	struct kveil_search *s;
	struct kveil_error err;

	if (!kveil_search_new(w->params->config, w->name, every, alive, w, &s, &err))
		return s;
	kveil_log_error(KVEIL_LOG_WARN, w->name, &err);
	return NULL;
}

struct kveil_search *kveil_quarantine_search(struct kveil_worker *w)
{
	if (!w->quarantine.search)
		w->quarantine.search = open_search(w, false);
	w->quarantine.search_used_ms = kveil_clock_mono_ms();
	return w->quarantine.search;
}

/* *from: in the batch; it is moved up to the first offset that there is. */
static bool find_end(struct kveil_search *s, const struct kveil_partition *p, const struct kveil_answer *same,
		     int64_t *from, int64_t *ret_next)
{
	const struct kveil_topic_place at = {p->topic, p->id};
	int64_t low, high;

	if (!s || !kveil_search_range(s, at, &low, &high))
		return false;
	*from = *from < low ? low : *from;
	return kveil_search_end(s, at, *from, high, same, ret_next);
}

/* --- setting it aside --- */

/* An offset that an error tells may be any eight bytes of a record. */
static int64_t believable(const struct kveil_worker *w, const struct kveil_partition *p, int64_t offset)
{
	int64_t low, high;
	bool known = !rd_kafka_get_watermark_offsets(w->consumer, p->topic, p->id, &low, &high) && high > 0;

	return offset < 0 || (known && offset >= high) ? kveil_partition_position(p) : offset;
}

/* The first refusal of an offset may only mean that other batches of its response, or those that wait, left it no room.
 */
static void on_unreadable(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg)
{
	bool again = msg->offset == p->fetch.unreadable;
	int64_t at = believable(w, p, msg->offset), next = -1;
	struct kveil_error why;

	if (p->rewind)
		return;
	if (!again) {
		p->fetch.unreadable = msg->offset;
		p->fetch.unreadable_tries = 0;
	}
	kveil_fail(&why, KVEIL_E_UNREADABLE_BATCH, "the batch at offset %lld cannot be read: %.200s", (long long)at,
		   rd_kafka_err2str(msg->err));
	kveil_count_fetch_error(w, why.status);
	if (again)
		kveil_tell_fetch(w, p, why.message);
	else
		kveil_log(KVEIL_LOG_DEBUG, w->name, "%s[%" PRId32 "]: %s", p->topic, p->id, why.message);
	if (p->wait || p->waiting.first) {
		kveil_hold(w, p); /* what was taken before this comes first; then it is said again */
		return;
	}
	/* Behind such a batch the client reads on, and after a wrong checksum from a wrong place (docs/librdkafka.md):
	 * what it gives, and where it means to go on, may come out of the bytes of records. */
	p->out_of_range = -1;
	kveil_ask_rewind(w, p);
	if (p->held || p->stopped || ++p->fetch.unreadable_tries < TRIES)
		return;
	const struct kveil_answer same = {KVEIL_ANSWER_UNREADABLE, msg->offset, 0};
	int64_t first = p->marks.next > at ? p->marks.next : at;
	p->fetch.unreadable_tries = 0;
	if (find_end(kveil_quarantine_search(w), p, &same, &first, &next))
		(void)kveil_set_aside_batch(w, p, first, next, &why);
}

/* --- silence --- */

/* Is it the client's turn to bring something? */
static bool should_come(const struct kveil_partition *p, int64_t high)
{
	return high > kveil_partition_position(p) && !p->held && kveil_park_may_read(p);
}

void kveil_quarantine_watch(struct kveil_worker *w, struct kveil_partition *p, int64_t high)
{
	int64_t now = kveil_clock_mono_ms(), at = kveil_partition_position(p);

	/* Fetches that fail are tried again twice a second; where there is nothing to fetch nothing says that it is
	 * over. */
	if (p->fetch.error_ms && now - p->fetch.error_ms > OVER_MS) {
		p->fetch.error_ms = 0;
		kveil_fetched(w, p);
	}
	if (!should_come(p, high))
		p->fetch.still_ms = 0;
	else if (!p->fetch.still_ms || p->fetch.still_at != at) {
		p->fetch.still_ms = now;
		p->fetch.still_answers = atomic_load(&w->owner.unpack.full_answers);
	} else if (now - p->fetch.still_ms > STILL_MS)
		kveil_tell_fetch(w, p,
				 "no records arrive although there are some: an open transaction, or a batch that the "
				 "client cannot read");
	p->fetch.still_at = at;
}

/* Is it a batch of which the client makes neither records nor an error? Records of an open transaction are records. */
static bool find_unspoken(struct kveil_search *s, const struct kveil_partition *p, int64_t *from, int64_t *ret_next)
{
	const struct kveil_topic_place at = {p->topic, p->id};

	*from = kveil_partition_position(p);
	const struct kveil_answer same = kveil_search_ask(s, at, *from);
	return (same.kind == KVEIL_ANSWER_SILENT || same.kind == KVEIL_ANSWER_UNREADABLE) && !p->rewind &&
	       find_end(s, p, &same, from, ret_next);
}

static bool look_what_is_there(struct kveil_worker *w, struct kveil_partition *p)
{
	struct kveil_search *s = open_search(w, true);
	int64_t from, next;
	struct kveil_error why;

	if (!s)
		return false;
	bool found = find_unspoken(s, p, &from, &next) && !p->rewind;
	kveil_search_free(s);
	if (!found)
		return false;
	kveil_fail(&why, KVEIL_E_UNREADABLE_BATCH,
		   "the batch at offset %lld cannot be read: its records do not fill it as announced", (long long)from);
	kveil_count_fetch_error(w, why.status);
	(void)kveil_set_aside_batch(w, p, from, next, &why);
	return true;
}

/* Brokers answer all the while, and no record of this partition comes of it. */
static bool is_silent(const struct kveil_worker *w, const struct kveil_partition *p)
{
	return p->fetch.still_ms && w->now_ms - p->fetch.still_ms > SILENT_MS &&
	       atomic_load(&w->owner.unpack.full_answers) - p->fetch.still_answers >= SILENT_ANSWERS;
}

void kveil_quarantine_look(struct kveil_worker *w)
{
	if (w->now_ms < w->quarantine.due_ms)
		return;
	w->quarantine.due_ms = w->now_ms + LOOK_EVERY_MS;
	if (w->quarantine.search && w->now_ms - w->quarantine.search_used_ms > IDLE_MS) {
		kveil_search_free(w->quarantine.search);
		w->quarantine.search = NULL;
	}
	for (size_t i = 0; i < w->slots.cap; i++) {
		/* Another one first each time: one that stays so does not hide the others. */
		struct kveil_partition *p = w->slots.at[w->quarantine.next_slot++ % w->slots.cap];
		if (!p || !is_silent(w, p))
			continue;
		int again_ms = look_what_is_there(w, p) ? LOOK_EVERY_MS : LOOK_AGAIN_MS;
		w->quarantine.due_ms = kveil_clock_mono_ms() + again_ms;
		return;
	}
}

/* --- fetches that fail --- */

bool kveil_quarantine_on_error(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg)
{
	struct kveil_error err;
	char why[200];

	if (!p)
		return false;
	if (kveil_kafka_unreadable(msg->err)) {
		on_unreadable(w, p, msg);
		return true;
	}
	bool allowed = msg->err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
	snprintf(why, sizeof why, "not fetched: %s",
		 allowed ? rd_kafka_message_errstr(msg) : rd_kafka_err2str(msg->err));
	kveil_count_fetch_error(w, KVEIL_E_KAFKA_UNAVAILABLE);
	if (allowed) {
		kveil_fail(&err, KVEIL_E_KAFKA_UNAVAILABLE, "%s[%" PRId32 "]: %s", p->topic, p->id, why);
		kveil_tell_now_and_then(w, &err, &w->quarantine.logged_ms);
		p->fetch.error_ms = kveil_clock_mono_ms();
	}
	if (!allowed || ++p->fetch.errors >= ERRORS)
		kveil_tell_fetch(w, p, why);
	return true;
}

/* --- records at which processes end --- */

void kveil_quarantine_poison(struct kveil_worker *w)
{
	struct kveil_error why;

	if (w->assignment.unresolved || w->txn.broken || w->txn.state > KVEIL_TXN_OPEN)
		return;
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		if (!p || !p->attempts.poison || p->stopped || p->wait)
			continue;
		kveil_fail(&why, KVEIL_E_UNREADABLE_BATCH, "%d processes ended there", KVEIL_ATTEMPTS);
		p->attempts.poison = !kveil_set_aside_batch(w, p, p->committed, p->committed + 1, &why);
	}
}

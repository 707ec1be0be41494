/* SPDX-License-Identifier: Apache-2.0 */
/* One message to the producer; alone in its request, what becomes of it. */
#include "worker/handover.h"
#include "base/clock.h"
#include "worker/delivery.h"
#include "worker/hold.h"
#include "worker/loop.h"

enum { SOLO_FLUSH_MS = 10, SOLO_MS = 5000, FULL_MS = 1000 };

/* It will be read again. */
enum kveil_outcome kveil_abandon(struct kveil_worker *w, const struct kveil_work *k)
{
	kveil_ask_rewind(w, k->at.partition);
	return KVEIL_ABANDONED;
}

/* Serves delivery reports and nothing else. false: too long. */
static bool serve_until(struct kveil_worker *w, int64_t end_ms)
{
	kveil_loop_beat(w->loop);
	/* A flush does not wait for the linger time. */
	rd_kafka_flush(w->producer, SOLO_FLUSH_MS);
	return !kveil_worker_stopping(w) && kveil_clock_mono_ms() < end_ms;
}

static bool wait_for_report(struct kveil_worker *w)
{
	int64_t end = kveil_clock_mono_ms() + SOLO_MS;

	while (w->hand.solo.waiting && serve_until(w, end))
		;
	bool reported = !w->hand.solo.waiting;
	w->hand.solo.waiting = false;
	return reported;
}

/* One of what the record waits for is settled. */
void kveil_acknowledged(const struct kveil_work *k)
{
	kveil_watermark_done(&k->at.partition->marks, k->at.seq);
}

/* After a message went out alone. */
static enum kveil_outcome judge_solo(struct kveil_worker *w, const struct kveil_work *k, struct kveil_outlet *o,
				     int32_t partition)
{
	if (!wait_for_report(w))
		return kveil_abandon(w, k);
	switch (kveil_kafka_fault(w->hand.solo.result)) {
	case KVEIL_FAULT_NONE:
		return KVEIL_SENT;
	case KVEIL_FAULT_REFUSED:
		kveil_acknowledged(k); /* this message is out of the world, though not the record */
		return KVEIL_REFUSED;
	case KVEIL_FAULT_TOO_LARGE:
		kveil_acknowledged(k);
		return KVEIL_TOO_LARGE;
	case KVEIL_FAULT_PRODUCER:
	case KVEIL_FAULT_WORLD:
		kveil_outlet_fault(w, k->at.partition, o, partition, w->hand.solo.result);
		break;
	case KVEIL_FAULT_PURGED:
		break;
	}
	return kveil_abandon(w, k);
}

static void note_handed_over(struct kveil_worker *w, const struct kveil_work *k, struct kveil_lane *l, size_t bytes,
			     void *token)
{
	kveil_lane_hand_over(&w->outlets.ledger, l, bytes, w->now_ms);
	if (!l->timed) {
		l->timed = token;
		l->timed_us = kveil_clock_mono_ns() / 1000;
	}
	k->at.partition->unreported++;
	k->at.partition->sent_last = k->in->offset;
	w->hand.handed++;
	kveil_watermark_hold(&k->at.partition->marks, k->at.seq);
}

/* Hands one message to the producer; in solo mode waits for what becomes of it. */
enum kveil_outcome kveil_hand_over(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_way *to,
				   const struct kveil_record *record, int64_t timestamp_ms)
{
	struct kveil_partition *p = k->at.partition;
	struct kveil_lane *lane = kveil_outlet_lane(to->outlet, to->partition);
	void *token = kveil_position_token(&k->at);
	int64_t full_end = 0;
	rd_kafka_resp_err_t e;

	/* Of what is refused once more nothing of others is to be taken back. */
	bool alone = !w->hand.handed && kveil_known_refusal(k);
	if (!lane || !w->mode->begin(w, to->bytes, alone))
		return kveil_abandon(w, k);
	w->hand.solo.waiting = k->solo;
	w->hand.solo.token = token;
	const struct kveil_staged m = {*record, timestamp_ms, token};
	while ((e = kveil_delivery_send(w, to->outlet, to->partition, &m)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		int64_t now = kveil_clock_mono_ms();
		full_end = full_end ? full_end : now + FULL_MS;
		kveil_loop_beat(w->loop);
		rd_kafka_poll(w->producer, 50);
		if (kveil_worker_stopping(w) || p->rewind || now > full_end)
			return kveil_abandon(w, k);
	}
	if (!e) {
		note_handed_over(w, k, lane, to->bytes, token);
		return k->solo ? judge_solo(w, k, to->outlet, to->partition) : KVEIL_SENT;
	}
	w->hand.solo.waiting = false;
	if (kveil_kafka_fault(e) == KVEIL_FAULT_TOO_LARGE)
		return KVEIL_TOO_LARGE;
	kveil_outlet_fault(w, p, to->outlet, to->partition, e);
	return KVEIL_ABANDONED;
}

void kveil_stand_aside(struct kveil_worker *w, struct kveil_partition *p, enum kveil_outcome o,
		       const struct kveil_error *why)
{
	if (o == KVEIL_WAITS)
		kveil_park(w, p, why);
	else
		kveil_park_for_room(w, p);
}

bool kveil_fits(const struct kveil_worker *w, const struct kveil_record *r, size_t most)
{
	enum { SURELY_MORE = 4096 };
	size_t rough = r->key.len + r->value.len;

	if (w->producing.compresses)
		return true;
	for (size_t i = 0; i < r->header_count; i++)
		rough += r->headers[i].name.len + r->headers[i].value.len + 12;
	return rough + SURELY_MORE < most || kveil_kafka_batch_bytes(r) <= most;
}

void kveil_stop_at(struct kveil_worker *w, const struct kveil_work *k, bool by_rules, const struct kveil_error *why)
{
	kveil_partition_stop(w, k->at.partition, by_rules, k->in->offset, "%s: %s", kveil_status_code(why->status),
			     why->message);
}

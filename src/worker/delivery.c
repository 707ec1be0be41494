/* SPDX-License-Identifier: Apache-2.0 */
/* What became of the records that were sent. */
#include "worker/delivery.h"

#include "base/clock.h"
#include "worker/attempts.h"
#include "worker/loop.h"

enum {
	BATCH_RECORDS = 10000, /* as batch.num.messages is by itself */
	REQUEST_BYTES = 1024,  /* what librdkafka counts of a batch's size beside its records */
	DELTA_BYTES = 6,       /* of a record in a batch, beside those of one that is alone */
};

static void on_fault(struct kveil_worker *w, struct kveil_partition *p, int64_t offset, struct kveil_outlet *o,
		     int32_t partition, rd_kafka_resp_err_t e)
{
	enum kveil_kafka_fault fault = kveil_kafka_fault(e);

	if (fault == KVEIL_FAULT_PURGED)
		return;
	if (fault != KVEIL_FAULT_REFUSED && fault != KVEIL_FAULT_TOO_LARGE) {
		kveil_outlet_fault(w, p, o, partition, e);
		return;
	}
	w->mode->refused(w, p, offset);
}

/* The partition that a token means; NULL: revoked or rewound since. */
static struct kveil_partition *partition_of(const struct kveil_worker *w, uintptr_t token)
{
	struct kveil_partition *p = w->slots.at[token >> 48];

	return p && p->generation == (uint16_t)(token >> 32) ? p : NULL;
}

static bool wants(const struct kveil_worker *w, const void *token)
{
	const struct kveil_partition *p = partition_of(w, (uintptr_t)token);

	return p && !p->spoilt && !w->txn.discards;
}

static void delivered(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_outlet *o,
		      struct kveil_lane *lane, size_t content)
{
	if (p->route && o == p->route->dead)
		kveil_cell_add(w->cells.dead_lettered, 1);
	else {
		kveil_cell_add(w->cells.produced, 1);
		kveil_cell_add(w->cells.produced_bytes, content);
	}
	if (__builtin_expect(lane->failures || w->producing.failures, 0))
		kveil_outlet_delivers(w, lane);
}

static void settle(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition, void *token,
		   rd_kafka_resp_err_t e, size_t bytes, size_t content)
{
	struct kveil_lane *lane = &o->lanes[partition]; /* it was there when the record was handed over */
	uint32_t seq = (uint32_t)(uintptr_t)token;

	kveil_lane_report(&w->outlets.ledger, lane, bytes, w->now_ms);
	w->outlets.reported_ms = w->now_ms;
	if (lane->timed == token)
		kveil_outlet_timed(lane, e);
	w->outlets.undelivered += e != RD_KAFKA_RESP_ERR_NO_ERROR;
	struct kveil_partition *p = partition_of(w, (uintptr_t)token);
	if (!p)
		return;
	p->unreported--;
	if (p->rewind && !p->unreported)
		w->want_rewind = true;
	if (w->hand.solo.waiting && w->hand.solo.token == token) {
		w->hand.solo.waiting = false;
		w->hand.solo.result = e;
		if (e)
			return;
	} else if (e) {
		on_fault(w, p, kveil_watermark_slot(&p->marks, seq)->offset, o, partition, e);
		return;
	}
	delivered(w, p, o, lane, content);
	kveil_watermark_done(&p->marks, seq);
}

rd_kafka_topic_partition_list_t *kveil_delivery_due_offsets(struct kveil_worker *w, bool again)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		int64_t offset = p && !p->anew ? kveil_watermark_committable(&p->marks) : -1;
		if (offset < 0)
			continue;
		bool note_over = kveil_attempts_over(p, offset, w->commits.in_order);
		if (!note_over && offset == (again ? p->committed : p->committing))
			continue;
		rd_kafka_topic_partition_t *t = rd_kafka_topic_partition_list_add(list, p->topic, p->id);
		t->offset = offset;
		kveil_attempts_put_note(p, t);
		p->committing = offset;
	}
	return list;
}

/* The whole batch failed, and one of it is to blame: which, only sending them one by one can tell. */
void kveil_delivery_one_by_one(struct kveil_worker *w, struct kveil_partition *p, int64_t offset)
{
	if (offset > p->solo_until)
		p->solo_until = offset;
	p->spoilt = true;
	kveil_ask_rewind(w, p);
}

/* --- sending --- */

/*
 * librdkafka's idempotent producer has one batch of a partition on its way at a time, and while another waits its
 * thread asks the clock and the socket in a circle until the acknowledgement comes. So it gets a batch at a time:
 *
 *   record ─► nothing on its way, or a batch that still waits for more: librdkafka
 *          └► else the stage ─► all acknowledged: as much as a batch holds
 */

static size_t bytes_in_batch(const struct kveil_record *r)
{
	return kveil_kafka_batch_bytes(r) - KVEIL_KAFKA_BATCH_HEADER + DELTA_BYTES;
}

/* As much as librdkafka sends at once: a record too many would wait behind the others. */
static bool has_room(const struct kveil_worker *w, const struct kveil_stage *s, size_t bytes)
{
	return !s->batch || (s->batch < BATCH_RECORDS && s->batch_bytes + bytes <= w->producing.batch_bytes);
}

static void begin_batch(struct kveil_stage *s)
{
	s->batch = 0;
	s->batch_bytes = REQUEST_BYTES;
}

static rd_kafka_resp_err_t produce(struct kveil_worker *w, const struct kveil_outlet *o, int32_t partition,
				   const struct kveil_staged *m, size_t bytes)
{
	struct kveil_stage *s = &o->stages[partition];
	rd_kafka_resp_err_t e =
	    kveil_kafka_produce(w->producer, o->rkt, partition, &m->record, m->timestamp_ms, m->token);

	if (e)
		return e;
	if (s->batch == 0)
		s->open_ns = kveil_clock_mono_ns() + w->producing.join_ns;
	s->sent++;
	s->batch++;
	s->batch_bytes += bytes;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t kveil_delivery_send(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition,
					const struct kveil_staged *record)
{
	struct kveil_stage *s = &o->stages[partition];

	if (!s->records) {
		size_t bytes = bytes_in_batch(&record->record);
		if (!s->sent)
			begin_batch(s);
		if (!s->sent || (has_room(w, s, bytes) && kveil_clock_mono_ns() < s->open_ns))
			return produce(w, o, partition, record, bytes);
	}
	return kveil_stage_put(&w->outlets.stages, s, record) ? RD_KAFKA_RESP_ERR_NO_ERROR
							      : RD_KAFKA_RESP_ERR__QUEUE_FULL;
}

static rd_kafka_resp_err_t send_staged(struct kveil_worker *w, const struct kveil_outlet *o, int32_t partition,
				       const struct kveil_staged *m, size_t bytes)
{
	if (!wants(w, m->token))
		return RD_KAFKA_RESP_ERR__PURGE_QUEUE;
	rd_kafka_resp_err_t e = produce(w, o, partition, m, bytes);
	/* No memory: its partition goes back and tries again, as after a time-out. */
	return e == RD_KAFKA_RESP_ERR__QUEUE_FULL ? RD_KAFKA_RESP_ERR__MSG_TIMED_OUT : e;
}

/* Has handing over taken so long that the batch may be sent without the rest, which would then wait behind it? */
static bool is_late(const struct kveil_worker *w, const struct kveil_stage *s)
{
	enum { LOOK_EVERY = 8 /* records */ };

	return w->producing.join_ns && s->batch % LOOK_EVERY == LOOK_EVERY - 1 && kveil_clock_mono_ns() >= s->open_ns;
}

static void next_batch(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition)
{
	struct kveil_stage *s = &o->stages[partition];
	struct kveil_staged m;

	begin_batch(s);
	while (s->records) {
		kveil_stage_first(&w->outlets.stages, s, &m);
		size_t bytes = bytes_in_batch(&m.record);
		if (!has_room(w, s, bytes) || is_late(w, s))
			break;
		rd_kafka_resp_err_t e = send_staged(w, o, partition, &m, bytes);
		if (e)
			settle(w, o, partition, m.token, e, kveil_kafka_sends_bytes(&m.record), 0);
		kveil_stage_drop(&w->outlets.stages, s);
	}
}

void kveil_delivery_on_report(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct kveil_worker *w = ((struct kveil_kafka_owner *)opaque)->user;
	struct kveil_outlet *o = rd_kafka_topic_opaque(msg->rkt);

	(void)rk;
	settle(w, o, msg->partition, msg->_private, msg->err, kveil_kafka_sent_bytes(msg), msg->len + msg->key_len);
	if (--o->stages[msg->partition].sent == 0)
		next_batch(w, o, msg->partition);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "worker/loop.h"

#include <stdio.h>

enum { LOG_EVERY_MS = 60000 };

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
	/* The whole batch failed, and one of it is to blame: which, only sending them one by one can tell. */
	if (offset > p->solo_until)
		p->solo_until = offset;
	p->spoilt = true;
	kveil_worker_ask_rewind(w, p);
}

/* The partition that a token means; NULL: revoked or rewound since. */
static struct kveil_partition *partition_of(const struct kveil_worker *w, uintptr_t token)
{
	struct kveil_partition *p = w->slots[token >> 48];

	return p && p->generation == (uint16_t)(token >> 32) ? p : NULL;
}

bool kveil_worker_wants(const struct kveil_worker *w, const void *token)
{
	const struct kveil_partition *p = partition_of(w, (uintptr_t)token);

	return p && !p->spoilt;
}

static void delivered(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_outlet *o,
		      struct kveil_lane *lane, size_t content)
{
	if (p->route && o == p->route->dead)
		kveil_cell_add(w->dead_lettered, 1);
	else {
		kveil_cell_add(w->produced, 1);
		kveil_cell_add(w->produced_bytes, content);
	}
	if (__builtin_expect(lane->failures || w->produce_failures, 0))
		kveil_outlet_delivers(w, lane);
}

void kveil_worker_settle(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition, void *token,
			 rd_kafka_resp_err_t e, size_t bytes, size_t content)
{
	struct kveil_lane *lane = &o->lanes[partition]; /* it was there when the record was handed over */
	uint32_t seq = (uint32_t)(uintptr_t)token;

	kveil_lane_report(&w->ledger, lane, bytes, w->now_ms);
	w->reported_ms = w->now_ms;
	if (lane->timed == token)
		kveil_outlet_timed(lane, e);
	struct kveil_partition *p = partition_of(w, (uintptr_t)token);
	if (!p)
		return;
	p->unreported--;
	if (p->rewind && !p->unreported)
		w->want_rewind = true;
	if (w->solo.waiting && w->solo.token == token) {
		w->solo.waiting = false;
		w->solo.result = e;
		if (e)
			return;
	} else if (e) {
		on_fault(w, p, kveil_watermark_slot(&p->marks, seq)->offset, o, partition, e);
		return;
	}
	delivered(w, p, o, lane, content);
	kveil_watermark_done(&p->marks, seq);
}

void kveil_worker_on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct kveil_worker *w = ((struct kveil_kafka_owner *)opaque)->user;
	struct kveil_outlet *o = rd_kafka_topic_opaque(msg->rkt);

	(void)rk;
	kveil_worker_settle(w, o, msg->partition, msg->_private, msg->err, kveil_kafka_sent_bytes(msg),
			    msg->len + msg->key_len);
	if (--o->stages[msg->partition].sent == 0)
		kveil_outlet_next_batch(w, o, msg->partition);
}

void kveil_worker_on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
			    void *opaque)
{
	struct kveil_worker *w = ((struct kveil_kafka_owner *)opaque)->user;

	(void)rk;
	w->commit_running = false;
	for (int i = 0; list && i < list->cnt; i++) {
		const rd_kafka_topic_partition_t *e = &list->elems[i];
		struct kveil_partition *p = kveil_worker_partition(w, e->topic, e->partition);
		if (!p)
			continue;
		if (!err && !e->err)
			p->committed = e->offset;
		else
			p->committing = p->committed; /* once more, when the next commit is due */
	}
	if (!err || err == RD_KAFKA_RESP_ERR__NO_OFFSET)
		return;
	/* Once a minute; a rebalance is the ordinary reason, and ends with a commit of its own. */
	bool ordinary = err == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS || err == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION;
	bool say = !ordinary && (!w->commit_logged_ms || w->now_ms - w->commit_logged_ms >= LOG_EVERY_MS);
	if (say)
		w->commit_logged_ms = w->now_ms;
	kveil_log(say ? KVEIL_LOG_WARN : KVEIL_LOG_DEBUG, w->name, "commit: %s", rd_kafka_err2str(err));
}

/* again: what was asked for without an answer, too. */
static rd_kafka_topic_partition_list_t *due_offsets(struct kveil_worker *w, bool again)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

	for (size_t i = 0; i < w->slot_cap; i++) {
		struct kveil_partition *p = w->slots[i];
		int64_t offset = p && !p->anew ? kveil_watermark_committable(&p->marks) : -1;
		if (offset < 0)
			continue;
		bool note_over = kveil_attempts_over(p, offset, w->in_order);
		if (!note_over && offset == (again ? p->committed : p->committing))
			continue;
		rd_kafka_topic_partition_t *t = rd_kafka_topic_partition_list_add(list, p->topic, p->id);
		t->offset = offset;
		kveil_worker_put_note(p, t);
		p->committing = offset;
	}
	return list;
}

static enum kveil_status commit(struct kveil_worker *w, int wait_ms, struct kveil_error *err)
{
	int64_t end = kveil_clock_mono_ms() + wait_ms;
	enum kveil_status status = KVEIL_OK;

	if (w->commit_running && wait_ms == 0)
		return KVEIL_OK;
	if (wait_ms)
		status = kveil_committed_ask_wait(w, wait_ms, err);
	if (status)
		return status;
	rd_kafka_topic_partition_list_t *list = due_offsets(w, wait_ms != 0);
	if (list->cnt && wait_ms) {
		int64_t left = end - kveil_clock_mono_ms();
		status = kveil_kafka_commit_wait(w->consumer, list, left > 1 ? (int)left : 1, err);
		for (int i = 0; !status && i < list->cnt; i++) {
			struct kveil_partition *p =
			    kveil_worker_partition(w, list->elems[i].topic, list->elems[i].partition);
			p->committed = list->elems[i].offset;
		}
	} else if (list->cnt) {
		rd_kafka_resp_err_t e = rd_kafka_commit(w->consumer, list, 1);
		w->commit_running = e == RD_KAFKA_RESP_ERR_NO_ERROR;
		if (e)
			status = kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "commit: %s", rd_kafka_err2str(e));
	}
	rd_kafka_topic_partition_list_destroy(list);
	return status;
}

const struct kveil_delivery_mode kveil_at_least_once = {.name = "at-least-once", .commit = commit};

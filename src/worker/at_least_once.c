/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery at least once: a partition's offset is committed up to the first record that is not acknowledged yet. What
 * was sent and not committed when a process ends is sent again by the next. */
#include "base/clock.h"
#include "base/log.h"
#include "worker/loop.h"

enum { LOG_EVERY_MS = 60000 };

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

/* A commit is due, and it was asked that it goes to the topic that was read. */
static bool commit_may_go(struct kveil_worker *w)
{
	bool may = kveil_committed_answered(w);

	if (!may && w->now_ms >= w->commit_due_ms) {
		w->commit_due_ms = w->now_ms + w->params->config->commit_interval_ms;
		may = kveil_committed_ask(w);
	}
	return may;
}

static void progress(struct kveil_worker *w)
{
	struct kveil_error err;

	if (commit_may_go(w) && commit(w, 0, &err))
		kveil_log_error(KVEIL_LOG_DEBUG, w->name, &err);
}

static enum kveil_status settle(struct kveil_worker *w, int drain_ms, int commit_ms, bool *ret_drained,
				struct kveil_error *err)
{
	*ret_drained = kveil_worker_drain(w, drain_ms);
	w->in_order = true;
	enum kveil_status status = commit(w, commit_ms, err);
	w->in_order = false;
	return status;
}

static bool idle(const struct kveil_worker *w)
{
	return w->ledger.records == 0;
}

/* The whole batch failed, and one of it is to blame: which, only sending them one by one can tell. */
static void refused(struct kveil_worker *w, struct kveil_partition *p, int64_t offset)
{
	if (offset > p->solo_until)
		p->solo_until = offset;
	p->spoilt = true;
	kveil_worker_ask_rewind(w, p);
}

const struct kveil_delivery_mode kveil_at_least_once = {
    .name = "at-least-once", .progress = progress, .settle = settle, .idle = idle, .refused = refused};

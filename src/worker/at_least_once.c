/* SPDX-License-Identifier: Apache-2.0 */
/* Delivery at least once: a partition's offset is committed up to the first record that is not acknowledged yet. What
 * was sent and not committed when a process ends is sent again by the next. */
#include "base/clock.h"
#include "base/log.h"
#include "worker/delivery.h"
#include "worker/loop.h"

static void on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list, void *opaque)
{
	struct kveil_worker *w = ((struct kveil_kafka_owner *)opaque)->user;

	(void)rk;
	w->commits.running = false;
	for (int i = 0; list && i < list->cnt; i++) {
		const rd_kafka_topic_partition_t *e = &list->elems[i];
		struct kveil_partition *p = kveil_slots_find(&w->slots, e->topic, e->partition);
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
	bool say = !ordinary && kveil_clock_once_a_minute(&w->commits.logged_ms, w->now_ms);
	kveil_log(say ? KVEIL_LOG_WARN : KVEIL_LOG_DEBUG, w->name, "commit: %s", rd_kafka_err2str(err));
}

static enum kveil_status commit(struct kveil_worker *w, int wait_ms, struct kveil_error *err)
{
	int64_t end = kveil_clock_mono_ms() + wait_ms;
	enum kveil_status status = KVEIL_OK;

	if (w->commits.running && wait_ms == 0)
		return KVEIL_OK;
	if (wait_ms)
		status = kveil_committed_ask_wait(w, wait_ms, err);
	if (status)
		return status;
	rd_kafka_topic_partition_list_t *list = kveil_delivery_due_offsets(w, wait_ms != 0);
	if (list->cnt && wait_ms) {
		int64_t left = end - kveil_clock_mono_ms();
		status = kveil_kafka_commit_wait(w->consumer, list, left > 1 ? (int)left : 1, err);
		for (int i = 0; !status && i < list->cnt; i++) {
			struct kveil_partition *p =
			    kveil_slots_find(&w->slots, list->elems[i].topic, list->elems[i].partition);
			p->committed = list->elems[i].offset;
		}
	} else if (list->cnt) {
		rd_kafka_resp_err_t e = rd_kafka_commit(w->consumer, list, 1);
		w->commits.running = e == RD_KAFKA_RESP_ERR_NO_ERROR;
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

	if (!may && w->now_ms >= w->commits.due_ms) {
		w->commits.due_ms = w->now_ms + w->params->config->commit_interval_ms;
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
	*ret_drained = kveil_producer_drain(w, drain_ms);
	w->commits.in_order = true;
	enum kveil_status status = commit(w, commit_ms, err);
	w->commits.in_order = false;
	return status;
}

static bool idle(const struct kveil_worker *w)
{
	return w->outlets.ledger.records == 0;
}

static enum kveil_status configure(struct kveil_worker *w, rd_kafka_conf_t *conf, struct kveil_error *err)
{
	(void)w;
	(void)conf;
	(void)err;
	return KVEIL_OK;
}

static void nothing(struct kveil_worker *w)
{
	(void)w;
}

static bool ready(struct kveil_worker *w, int wait_ms)
{
	(void)w;
	(void)wait_ms;
	return true;
}

static bool begin(struct kveil_worker *w, size_t bytes, bool alone)
{
	(void)w;
	(void)bytes;
	(void)alone;
	return true;
}

static enum kveil_status note(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list, int wait_ms,
			      struct kveil_error *err)
{
	return kveil_kafka_commit_wait(w->consumer, list, wait_ms, err);
}

/* What was sent of it stays sent. */
static bool remember(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_refusal *refusal)
{
	(void)w;
	(void)p;
	(void)refusal;
	return false;
}

/* A fault that is nobody's record: wait before trying again. */
static void back_off_producing(struct kveil_worker *w)
{
	struct kveil_error err;

	w->producing.failures++;
	kveil_fail(&err, KVEIL_E_KAFKA_UNAVAILABLE, "producing fails: %s", w->producing.fault);
	kveil_health_condition(w->params->health, w->producing.condition, "%s", err.message);
	w->producing.fault[0] = 0;
	kveil_worker_back_off(w, w->producing.failures, &err, &w->producing.logged_ms);
}

static bool before_rewind(struct kveil_worker *w)
{
	if (w->producing.broken && w->producing.fault[0])
		back_off_producing(w);
	if (kveil_worker_stopping(w))
		return false;
	if (w->producing.broken)
		kveil_producer_renew(w);
	return true;
}

const struct kveil_delivery_mode kveil_at_least_once = {.name = "at-least-once",
							.start = nothing,
							.configure = configure,
							.assigned = nothing,
							.ready = ready,
							.begin = begin,
							.progress = progress,
							.settle = settle,
							.idle = idle,
							.note = note,
							.refused = kveil_delivery_one_by_one,
							.remember = remember,
							.before_rewind = before_rewind,
							.renew = kveil_producer_renew,
							.close_producer = nothing,
							.end = nothing,
							.on_commit = on_commit};

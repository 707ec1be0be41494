/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Delivery exactly once, to those who read committed records only. All that a worker sends within a moment, and how far
 * its partitions got, is one transaction.
 *
 *   NONE ─ init ─► READY ─ begin ─► OPEN ─ due ─► CLOSING ─ all acknowledged ─► OFFSETS ─► COMMITTING ─► READY
 *     ▲                              └────────────── anything else ─────────────────┘
 *     └─────────────── a producer anew with the same id: what it was is settled; read the offsets, begin there ──┘
 *
 * There is one way back, whatever failed. The broker knows what became of a commit whose answer is missing: it settles
 * the last transaction of an id before it gives the id to a new producer, and offsets are read after that.
 *
 * What makes it right is the group's generation, not the id: with each commit goes the member and the generation that
 * the partitions were assigned to, as they were at the assignment. Of whoever has lost them no offsets are taken. The
 * id only makes a successor quick: it need not wait until the transaction that its predecessor left open times out.
 */
#include "base/clock.h"
#include "base/log.h"
#include "worker/delivery.h"
#include "worker/loop.h"

#include <stdio.h>
#include <unistd.h>

enum {
	TIMEOUT_MS = 15000,   /* at the broker: so long one that was left open holds up its readers and its successor */
	CLOSE_MOST_MS = 8000, /* from its begin to where all is acknowledged and the offsets are there */
	COMMIT_MOST_MS = 14000,
	STEP_MS = 50,      /* in one turn */
	OFFSETS_MS = 2000, /* cannot be resumed: too short a time would never do */
	COMMIT_STEP_MS = 500,
	ABORT_MS = 500,
	ALONE_MS = 5000,
	SHARE = 12, /* in full flow one is so many times as long as its end takes, in which nothing is taken in, */
	LESS = 4,   /* of what was too much to be acknowledged in time, and more again by as much */
	LEAST_BYTES = 65536,
	QUICK_MS = 1000,
	LONG_MOST_MS = 1000, /* …but no longer than this */
	FRESH_MS = 10000,    /* an older answer is no basis for a commit: see committed.c */
	SURE_OF_GROUP = 6,   /* attempts that the way back begins with after a fence: longer than a heartbeat takes */
	FENCES = 3,          /* after so many, one soon after the other, the id is another's too */
	FENCED_SOON_MS = 600000,
};

/* --- the id --- */

static void put_id(const struct kveil_worker *w, char *dst, size_t size)
{
	const struct kveil_config *c = w->params->config;
	char host[256] = "";

	if (!c->instance || !*c->instance)
		gethostname(host, sizeof host - 1);
	snprintf(dst, size, "%s/%s/%u%s", c->kafka.group_id, *host ? host : c->instance, w->number, w->txn.suffix);
}

static enum kveil_status configure(struct kveil_worker *w, rd_kafka_conf_t *conf, struct kveil_error *err)
{
	char id[1024], timeout[16];

	put_id(w, id, sizeof id);
	snprintf(timeout, sizeof timeout, "%d", TIMEOUT_MS);
	kveil_connections_watch(conf);
	enum kveil_status status = kveil_kafka_set(conf, "transactional.id", id, err);
	return status ? status : kveil_kafka_set(conf, "transaction.timeout.ms", timeout, err);
}

/* --- what fails --- */

static bool is_open(const struct kveil_worker *w)
{
	return w->txn.state >= KVEIL_TXN_OPEN;
}

static void go_back(struct kveil_worker *w)
{
	w->txn.broken = true;
	w->want_rewind = true;
}

static void break_off(struct kveil_worker *w, const char *what, const char *why)
{
	struct kveil_transaction *t = &w->txn;

	go_back(w);
	t->failures++;
	t->condition_open = true;
	snprintf(t->why, sizeof t->why, "%s: %s", what, why);
	kveil_health_condition(w->params->health, t->condition, "%s: %s", kveil_status_code(KVEIL_E_KAFKA_UNAVAILABLE),
			       t->why);
}

static void all_is_well(struct kveil_worker *w)
{
	struct kveil_transaction *t = &w->txn;

	t->failures = 0;
	if (!t->condition_open)
		return;
	kveil_health_condition(w->params->health, t->condition, NULL);
	t->condition_open = false;
	t->logged_ms = 0;
}

/* Takes e. true: the same call may be made again. */
static bool may_retry(struct kveil_worker *w, rd_kafka_error_t *e, const char *what, int64_t end_ms)
{
	bool retry = rd_kafka_error_is_retriable(e) && !rd_kafka_error_txn_requires_abort(e) &&
		     !rd_kafka_error_is_fatal(e) && kveil_clock_mono_ms() < end_ms;

	if (!retry)
		break_off(w, what, rd_kafka_error_string(e));
	rd_kafka_error_destroy(e);
	return retry;
}

/* --- the group --- */

/* Without a generation the broker would take offsets from anyone. There is no way to ask for it, but to compare. */
static bool has_generation(const struct kveil_worker *w, const rd_kafka_consumer_group_metadata_t *group)
{
	char *member = rd_kafka_memberid(w->consumer);
	const void *bytes[2] = {NULL, NULL};
	size_t sizes[2] = {0, 0};
	rd_kafka_consumer_group_metadata_t *without = rd_kafka_consumer_group_metadata_new_with_genid(
	    w->params->config->kafka.group_id, -1, member ? member : "", NULL);
	rd_kafka_error_t *e = rd_kafka_consumer_group_metadata_write(group, (void *)&bytes[0], &sizes[0]);

	if (!e)
		e = rd_kafka_consumer_group_metadata_write(without, (void *)&bytes[1], &sizes[1]);
	bool has = !e && member && *member && (sizes[0] != sizes[1] || memcmp(bytes[0], bytes[1], sizes[0]) != 0);
	rd_kafka_error_destroy(e);
	rd_kafka_consumer_group_metadata_destroy(without);
	rd_kafka_mem_free(NULL, (void *)(uintptr_t)bytes[0]);
	rd_kafka_mem_free(NULL, (void *)(uintptr_t)bytes[1]);
	rd_kafka_mem_free(w->consumer, member);
	return has;
}

static void forget_group(struct kveil_worker *w)
{
	if (w->txn.group)
		rd_kafka_consumer_group_metadata_destroy(w->txn.group);
	w->txn.group = NULL;
}

/* Only now: asked for later it would be that of another assignment, and let offsets pass that are no more ours. */
static void assigned(struct kveil_worker *w)
{
	forget_group(w);
	w->txn.group = rd_kafka_consumer_group_metadata(w->consumer);
	if (w->txn.group && !has_generation(w, w->txn.group)) {
		kveil_log(KVEIL_LOG_WARN, w->name, "an assignment without a generation: waiting for the next one");
		forget_group(w);
	}
}

/* Its answers to transactions are not a broker's: it forgets their offsets. */
static bool is_mock(struct kveil_worker *w)
{
	char *id = rd_kafka_clusterid(w->producer, 0);
	bool mock = id && strncmp(id, "mockCluster", 11) == 0;
	struct kveil_error err;

	rd_kafka_mem_free(w->producer, id);
	if (mock) {
		kveil_fail(&err, KVEIL_E_CONFIG,
			   "delivery: exactly-once needs a real cluster, and this is librdkafka's mock cluster");
		kveil_worker_fail(w, &err);
	}
	return mock;
}

static bool ready(struct kveil_worker *w, int wait_ms)
{
	if (!w->txn.group || w->producing.broken || w->txn.broken)
		return false;
	w->txn.checked_ms = kveil_clock_mono_ms(); /* they are read next */
	if (w->txn.state != KVEIL_TXN_NONE)
		return true;
	rd_kafka_error_t *e = rd_kafka_init_transactions(w->producer, wait_ms);
	if (!e && is_mock(w))
		return false;
	if (!e) {
		w->txn.state = KVEIL_TXN_READY;
		kveil_leaderless_begin(w);
		return true;
	}
	if (kveil_leaderless_holds_id(w)) {
		break_off(w, "transactions", rd_kafka_error_string(e));
		rd_kafka_error_destroy(e);
		return false;
	}
	kveil_health_condition(w->params->health, w->condition_group, "waiting for the transaction coordinator: %s",
			       rd_kafka_error_string(e));
	(void)may_retry(w, e, "transactions", INT64_MAX);
	return false;
}

/* --- a transaction --- */

static bool open_one(struct kveil_worker *w)
{
	struct kveil_transaction *t = &w->txn;
	int64_t now = kveil_clock_mono_ms();

	rd_kafka_error_t *e = rd_kafka_begin_transaction(w->producer);
	if (e) {
		(void)may_retry(w, e, "begin", 0);
		return false;
	}
	t->state = KVEIL_TXN_OPEN;
	t->due_ms = now + w->params->config->transaction.time_ms;
	t->long_ms = now + (SHARE * t->took_ms < LONG_MOST_MS ? SHARE * t->took_ms : LONG_MOST_MS);
	t->close_end_ms = now + CLOSE_MOST_MS;
	t->commit_end_ms = now + COMMIT_MOST_MS;
	t->bytes = 0;
	t->undelivered = w->outlets.undelivered;
	return true;
}

/* Something of it did not get there. That a record was refused is not an outage. */
static void give_up(struct kveil_worker *w)
{
	if (w->txn.refused)
		go_back(w);
	else
		break_off(w, "produce", "not all that was sent got there");
}

/* All of it is there, and of no record a part. */
static bool is_whole(const struct kveil_worker *w)
{
	if (w->hand.torn || w->outlets.undelivered != w->txn.undelivered || w->outlets.ledger.records)
		return false;
	for (size_t i = 0; i < w->slots.cap; i++) {
		const struct kveil_partition *p = w->slots.at[i];
		if (p && p->sent_last >= 0 && p->sent_last >= kveil_watermark_committable(&p->marks))
			return false;
	}
	return true;
}

static void close_off(struct kveil_worker *w)
{
	if (!kveil_producer_drain(w, STEP_MS)) {
		if (!w->producing.broken && kveil_clock_mono_ms() >= w->txn.close_end_ms) {
			w->txn.most_bytes = w->txn.bytes / LESS > LEAST_BYTES ? w->txn.bytes / LESS : LEAST_BYTES;
			break_off(w, "close", "the outputs do not acknowledge it in time");
		}
		return;
	}
	if (!is_whole(w)) {
		give_up(w);
		return;
	}
	w->txn.offsets = kveil_delivery_due_offsets(w, true);
	w->txn.state = w->txn.offsets->cnt ? KVEIL_TXN_OFFSETS : KVEIL_TXN_COMMITTING;
}

static void beat(void *loop)
{
	kveil_loop_beat(loop);
}

static void send_offsets(struct kveil_worker *w)
{
	rd_kafka_error_t *e =
	    kveil_kafka_send_offsets(w->producer, w->txn.offsets, w->txn.group, OFFSETS_MS, beat, w->loop);

	if (!e)
		w->txn.state = KVEIL_TXN_COMMITTING;
	else
		(void)may_retry(w, e, "offsets", w->txn.close_end_ms);
}

static void drop_offsets(struct kveil_worker *w)
{
	if (w->txn.offsets)
		rd_kafka_topic_partition_list_destroy(w->txn.offsets);
	w->txn.offsets = NULL;
}

static void note_committed(struct kveil_worker *w)
{
	for (int i = 0; i < w->txn.offsets->cnt; i++) {
		const rd_kafka_topic_partition_t *t = &w->txn.offsets->elems[i];
		struct kveil_partition *p = kveil_slots_find(&w->slots, t->topic, t->partition);
		p->committed = p->committing = t->offset;
		p->faults = 0;
		if (p->refusal.offset < t->offset)
			p->refusal.offset = -1;
	}
	for (size_t i = 0; i < w->slots.cap; i++)
		if (w->slots.at[i])
			w->slots.at[i]->sent_last = -1;
}

/* The delivery reports of a flush come in here too; there are none left. */
static void commit(struct kveil_worker *w)
{
	rd_kafka_error_t *e = rd_kafka_commit_transaction(w->producer, COMMIT_STEP_MS);

	if (e) {
		(void)may_retry(w, e, "commit", w->txn.commit_end_ms);
		return;
	}
	note_committed(w);
	drop_offsets(w);
	w->txn.took_ms = (w->txn.took_ms * 3 + kveil_clock_mono_ms() - w->txn.closing_ms + 3) / 4;
	w->txn.state = KVEIL_TXN_READY;
	w->txn.alone = w->txn.refused = false;
	if (w->txn.took_ms < QUICK_MS && w->txn.most_bytes < w->params->config->transaction.bytes)
		w->txn.most_bytes += w->txn.most_bytes / LESS;
	kveil_cell_add(w->txn.committed, 1);
	kveil_leaderless_committed(w);
	all_is_well(w);
}

/* As far as it goes now. */
static void advance(struct kveil_worker *w)
{
	if (w->txn.state == KVEIL_TXN_CLOSING)
		close_off(w);
	if (w->txn.state == KVEIL_TXN_OFFSETS && !w->txn.broken)
		send_offsets(w);
	if (w->txn.state == KVEIL_TXN_COMMITTING && !w->txn.broken)
		commit(w);
}

/* Are there offsets to commit though nothing was sent? */
static bool offsets_wait(const struct kveil_worker *w)
{
	for (size_t i = 0; i < w->slots.cap; i++) {
		const struct kveil_partition *p = w->slots.at[i];
		int64_t offset = p && !p->anew ? kveil_watermark_committable(&p->marks) : -1;
		if (offset >= 0 && (offset != p->committed || p->attempts.count))
			return true;
	}
	return false;
}

/* Asks once an interval whether what was committed is still there; commits go on the last answer. */
static void look(struct kveil_worker *w)
{
	bool answered = kveil_committed_answered(w);

	if (!answered && w->now_ms >= w->commits.due_ms) {
		w->commits.due_ms = w->now_ms + w->params->config->commit_interval_ms;
		answered = kveil_committed_ask(w);
		w->txn.offsets_due = true;
	}
	if (answered)
		w->txn.checked_ms = w->now_ms;
}

static bool is_due(const struct kveil_worker *w)
{
	const struct kveil_transaction *t = &w->txn;

	if (t->due_ms == 0 || t->bytes >= t->most_bytes)
		return true;
	return w->now_ms >= t->due_ms && (w->now_ms >= t->long_ms || w->outlets.ledger.records == 0);
}

static void begin_to_close(struct kveil_worker *w)
{
	w->txn.state = KVEIL_TXN_CLOSING;
	w->txn.closing_ms = kveil_clock_mono_ms();
}

static void progress(struct kveil_worker *w)
{
	struct kveil_transaction *t = &w->txn;

	look(w);
	kveil_leaderless_turn(w);
	if (t->broken || w->producing.broken)
		return;
	if (t->state == KVEIL_TXN_OPEN && (w->hand.torn || t->undelivered != w->outlets.undelivered)) {
		give_up(w);
		return;
	}
	bool may = w->now_ms - t->checked_ms < FRESH_MS;
	if (t->state == KVEIL_TXN_READY && t->offsets_due && may && !w->assignment.unresolved && offsets_wait(w) &&
	    open_one(w))
		t->due_ms = 0;
	t->offsets_due = false;
	if (t->state == KVEIL_TXN_OPEN && is_due(w)) {
		if (may)
			begin_to_close(w);
		else if (w->now_ms >= t->close_end_ms)
			break_off(w, "close", "the group's committed offsets cannot be read");
	}
	advance(w);
}

static bool is_idle(const struct kveil_worker *w)
{
	return !is_open(w) && !w->txn.broken && w->outlets.ledger.records == 0;
}

static void close_within(struct kveil_worker *w, int64_t end_ms)
{
	if (w->txn.state == KVEIL_TXN_READY && offsets_wait(w))
		(void)open_one(w);
	if (w->txn.state == KVEIL_TXN_OPEN)
		begin_to_close(w);
	while (is_open(w) && !w->txn.broken && !w->producing.broken && kveil_clock_mono_ms() < end_ms) {
		kveil_loop_beat(w->loop);
		w->now_ms = kveil_clock_mono_ms();
		advance(w);
	}
}

static enum kveil_status settle(struct kveil_worker *w, int drain_ms, int commit_ms, bool *ret_drained,
				struct kveil_error *err)
{
	int64_t end = kveil_clock_mono_ms() + drain_ms + commit_ms;
	enum kveil_status status = KVEIL_OK;

	if (w->txn.state != KVEIL_TXN_NONE && !w->txn.broken && !w->producing.broken && !w->assignment.unresolved) {
		status = kveil_committed_ask_wait(w, commit_ms, err);
		w->commits.in_order = true;
		if (!status)
			close_within(w, end);
		w->commits.in_order = false;
	}
	*ret_drained = is_idle(w);
	if (!status && !*ret_drained)
		status = kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "the transaction was not committed: %s",
				    w->txn.refused  ? "a record was refused"
				    : w->txn.broken ? w->txn.why
						    : "no answer in time");
	return status;
}

/* Before a message is handed over. */
static bool begin(struct kveil_worker *w, size_t bytes, bool alone)
{
	struct kveil_error err;
	bool drained;

	if ((alone || w->txn.alone) && is_open(w) && settle(w, ALONE_MS, ALONE_MS, &drained, &err))
		return false;
	w->txn.alone = false; /* also where nothing was sent of who asked for it */
	if (w->txn.state == KVEIL_TXN_READY && !open_one(w))
		return false;
	w->txn.bytes += bytes;
	w->turn_over |= w->txn.bytes >= w->txn.most_bytes;
	return w->txn.state == KVEIL_TXN_OPEN && !w->txn.broken;
}

static enum kveil_status note(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list, int wait_ms,
			      struct kveil_error *err)
{
	int64_t end = kveil_clock_mono_ms() + wait_ms;

	if (w->txn.state != KVEIL_TXN_READY || !open_one(w))
		return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "no transaction for a note beside an offset");
	begin_to_close(w);
	w->txn.offsets = rd_kafka_topic_partition_list_copy(list);
	w->txn.state = KVEIL_TXN_OFFSETS;
	close_within(w, end);
	if (!is_open(w))
		return KVEIL_OK;
	if (!w->txn.broken)
		break_off(w, "note", "no answer in time");
	return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "%s", w->txn.why);
}

/* --- refused records --- */

/* A batch: only one by one it can be told which record is to blame. */
static void refused(struct kveil_worker *w, struct kveil_partition *p, int64_t offset)
{
	kveil_delivery_one_by_one(w, p, offset);
	w->txn.refused = true;
	go_back(w);
}

/* A record, and so its transaction. It comes again, and then nothing of it is sent but the letter. */
static bool remember(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_refusal *refusal)
{
	p->refusal = *refusal;
	w->txn.refused = true;
	go_back(w);
	return true;
}

/* --- the way back --- */

/* Another producer has the id, or the broker gave this one up. */
static void count_fence(struct kveil_worker *w)
{
	struct kveil_transaction *t = &w->txn;
	int64_t now = kveil_clock_mono_ms();
	char id[1024];

	put_id(w, id, sizeof id);
	kveil_cell_add(t->fenced, 1);
	t->fences = now - t->fenced_ms < FENCED_SOON_MS ? t->fences + 1 : 1;
	t->fenced_ms = now;
	if (t->fences < FENCES || *t->suffix) {
		kveil_log(KVEIL_LOG_WARN, w->name,
			  "the producer '%s' was fenced: it was suspended for long, or another process has its "
			  "instance",
			  id);
		return;
	}
	kveil_transaction_rename(w);
	kveil_log(KVEIL_LOG_ERROR, w->name,
		  "the producer '%s' was fenced %u times: another process has the same `instance`; "
		  "continuing under a name of its own, with a slower restart after a crash",
		  id, t->fences);
}

static bool was_fenced(rd_kafka_resp_err_t e)
{
	return e == RD_KAFKA_RESP_ERR__FENCED || e == RD_KAFKA_RESP_ERR_PRODUCER_FENCED ||
	       e == RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH;
}

/* false: the end is near, or a rebalance was quicker. */
static bool wait_before(struct kveil_worker *w, bool fatal)
{
	struct kveil_error err;

	kveil_fail(&err, KVEIL_E_KAFKA_UNAVAILABLE, "a transaction failed: %s", w->txn.why);
	kveil_worker_back_off(w, w->txn.failures + (fatal ? SURE_OF_GROUP : 0), &err, &w->txn.logged_ms);
	return !kveil_worker_stopping(w) && (w->txn.broken || w->producing.broken);
}

static void start_over(struct kveil_worker *w)
{
	char text[160];
	rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(w->producer, text, sizeof text);

	if (was_fenced(fatal))
		count_fence(w);
	if (w->producing.fault[0])
		break_off(w, "produce", w->producing.fault);
	else if (fatal && !w->txn.broken)
		break_off(w, "produce", text);
	w->producing.fault[0] = 0;
	if (w->txn.failures && !wait_before(w, fatal != RD_KAFKA_RESP_ERR_NO_ERROR))
		return;
	kveil_assignment_begin_again(w);
}

static bool before_rewind(struct kveil_worker *w)
{
	if (w->txn.broken || w->producing.broken) {
		start_over(w);
		return false;
	}
	w->txn.due_ms = 0; /* what is sent twice must not be in one transaction */
	return !is_open(w) && !w->assignment.unresolved;
}

/* Readers need not wait for the time-out of what is left open. */
static void close_producer(struct kveil_worker *w)
{
	struct kveil_transaction *t = &w->txn;

	t->discards = true;
	if (is_open(w) && t->state != KVEIL_TXN_COMMITTING && !rd_kafka_fatal_error(w->producer, NULL, 0))
		rd_kafka_error_destroy(rd_kafka_abort_transaction(w->producer, ABORT_MS));
	if (is_open(w))
		kveil_cell_add(t->state == KVEIL_TXN_COMMITTING ? t->unknown : t->aborted, 1);
	t->discards = false;
	drop_offsets(w);
	t->state = KVEIL_TXN_NONE;
	t->broken = t->alone = t->refused = false;
	w->hand.torn = false;
	for (size_t i = 0; i < w->slots.cap; i++)
		if (w->slots.at[i])
			w->slots.at[i]->sent_last = -1;
}

static void start(struct kveil_worker *w)
{
	struct kveil_metrics *m = w->params->metrics;

	snprintf(w->txn.condition, sizeof w->txn.condition, "%s: transaction", w->name);
	w->txn.most_bytes = (size_t)w->params->config->transaction.bytes;
	w->txn.committed = kveil_metrics_cell(m, KVEIL_M_TRANSACTIONS, "committed", NULL);
	w->txn.aborted = kveil_metrics_cell(m, KVEIL_M_TRANSACTIONS, "aborted", NULL);
	w->txn.unknown = kveil_metrics_cell(m, KVEIL_M_TRANSACTIONS, "unknown", NULL);
	w->txn.fenced = kveil_metrics_cell(m, KVEIL_M_TRANSACTIONS, "fenced", NULL);
}

static void end(struct kveil_worker *w)
{
	forget_group(w);
}

const struct kveil_delivery_mode kveil_exactly_once = {.name = "exactly-once",
						       .start = start,
						       .configure = configure,
						       .assigned = assigned,
						       .ready = ready,
						       .begin = begin,
						       .progress = progress,
						       .settle = settle,
						       .idle = is_idle,
						       .note = note,
						       .refused = refused,
						       .remember = remember,
						       .before_rewind = before_rewind,
						       .renew = kveil_assignment_begin_again,
						       .close_producer = close_producer,
						       .end = end};

/* SPDX-License-Identifier: Apache-2.0 */
/* The worker's thread: turns, waiting, keys. */
#include "worker/loop.h"
#include "worker/attempts.h"
#include "worker/hold.h"
#include "worker/record.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	TURN_RECORDS = 256,
	TURN_LOOKS = 16, /* records between two looks at the clock */
	TURN_MS = 20,    /* of slow records: keys, commits and the watchdog do not wait for 256 of them */
	IDLE_MS = 100,   /* a turn's wait for a record */
	BUSY_MS = 10,    /* the same while delivery reports are due, */
	STAGED_MS = 1,   /* and records stand behind what they are for, */
	MOVES_MS = 100,  /* unless none came for so long */
	NAMES_MS = 2,    /* the same while keys are made that records wait for */
	TICK_EVERY_MS = 20,
	KEYS_TELL_MS = 1000,
	STOP_DRAIN_MS =
	    6000, /* clients that cannot reach their brokers take seconds to close; the watchdog is at 15 s */
	COMMIT_WAIT_MS = 2000, /* with the drain, well before the watchdog */
	RESOLVE_MS = 1000,
	WAKE_EVERY_MS = 2,
	QUIET_MS = 30, /* without a message, after many */
	HEADERS_KEPT = 1024,
};

static bool has_news(const struct kveil_worker *w)
{
	return atomic_load_explicit(&w->shared->version, memory_order_acquire) != w->rules.version;
}

/* --- waiting --- */

static void on_consumer_error(struct kveil_worker *w, const rd_kafka_message_t *msg)
{
	struct kveil_partition *p = kveil_slots_of_message(&w->slots, msg);
	struct kveil_error err;

	switch (msg->err) {
	case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
		/* What was taken before this comes first. */
		if (p && (p->wait || p->waiting.first))
			p->beyond = msg->offset;
		else if (p)
			kveil_partition_on_out_of_range(w, p, msg->offset);
		return;
	case RD_KAFKA_RESP_ERR__PARTITION_EOF:
		if (p)
			kveil_partition_on_end(w, p, msg->offset);
		return;
	case RD_KAFKA_RESP_ERR__FATAL:
		kveil_fail(&err, KVEIL_E_INTERNAL, "the consumer cannot go on: %s", rd_kafka_message_errstr(msg));
		kveil_worker_fail(w, &err);
		return;
	default:
		if (kveil_quarantine_on_error(w, p, msg))
			return;
		/* The client goes on by itself; the error callback has told most of these. */
		kveil_log(KVEIL_LOG_DEBUG, w->name, "consumer: %s", rd_kafka_message_errstr(msg));
	}
}

static void record_progress(struct kveil_worker *w);

static void poll_paused(struct kveil_worker *w)
{
	rd_kafka_message_t *msg;

	kveil_hold_all(w);
	w->intake.polled_ms = kveil_clock_mono_ms();
	/* What slips through a pause comes again by the seek that ends it. */
	while ((msg = rd_kafka_consumer_poll(w->consumer, 0))) {
		if (msg->err)
			on_consumer_error(w, msg);
		kveil_kafka_message_free(msg);
	}
}

static void pump(struct kveil_worker *w, int ms)
{
	kveil_loop_beat(w->loop);
	if (!w->producer || !w->consumer) {
		nanosleep(&(struct timespec){.tv_nsec = (long)(ms < 1000 ? ms : 999) * 1000000}, NULL);
		return;
	}
	rd_kafka_poll(w->producer, ms);
	if (kveil_clock_mono_ms() - w->intake.polled_ms >= KVEIL_POLL_EVERY_MS)
		poll_paused(w);
}

bool kveil_worker_back_off(struct kveil_worker *w, unsigned attempt, const struct kveil_error *why, int64_t *logged_ms)
{
	int64_t now = kveil_clock_mono_ms();
	int64_t end = now + kveil_back_off_of(w, attempt);

	kveil_count_retry(w, why->status);
	kveil_tell_now_and_then(w, why, logged_ms);
	for (; now < end; now = kveil_clock_mono_ms()) {
		pump(w, end - now < 100 ? (int)(end - now) : 100);
		record_progress(w);
		if (kveil_worker_stopping(w) || (w->rules.catalog && has_news(w)))
			return false;
	}
	return true;
}

static bool wait_out(struct kveil_worker *w, const struct kveil_error *why)
{
	kveil_open_outage(w, NULL, why);
	return kveil_worker_back_off(w, w->outage.attempts++, why, &w->outage.logged_ms);
}

/* --- the thread --- */

static void count_idle(struct kveil_worker *w)
{
	bool idle = w->assignment.is_empty;

	if (idle && !w->idle)
		atomic_fetch_add(&w->shared->idle, 1);
	else if (!idle && w->idle)
		atomic_fetch_sub(&w->shared->idle, 1);
	w->idle = idle;
}

static void every_second(struct kveil_worker *w)
{
	count_idle(w);
	kveil_routes_count_matches(w);
	kveil_tallies_tell(w);
	kveil_cell_set(w->cells.in_flight, (double)w->outlets.ledger.bytes);
	kveil_outlets_tell(w);
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		int64_t low = -1, high = -1;
		/* What the last fetch said: no request. */
		if (!p || rd_kafka_get_watermark_offsets(w->consumer, p->topic, p->id, &low, &high) || high < 0)
			continue;
		kveil_quarantine_watch(w, p, high);
		int64_t done = p->committed > low ? p->committed : low;
		kveil_cell_set(p->lag, (double)(high > done ? high - done : 0));
	}
}

/* In waits too: what was done before them stays done. */
static void record_progress(struct kveil_worker *w)
{
	w->now_ms = kveil_clock_mono_ms();
	if (w->consumer)
		w->mode->progress(w);
	if (w->consumer && w->now_ms >= w->second_due_ms) {
		w->second_due_ms = w->now_ms + 1000;
		every_second(w);
	}
}

/* Some key protects nothing now, or there is no lease: the records that need it wait, and the others go on. */
static void tell_keys_out(struct kveil_worker *w, const struct kveil_error *why)
{
	int64_t now = kveil_clock_mono_ms();

	if (w->outage.keys && now < w->outage.keys_told_ms + KEYS_TELL_MS)
		return;
	w->outage.keys = true;
	w->outage.keys_told_ms = now;
	kveil_tell_outage(w, NULL, why);
}

static void end_outage(struct kveil_worker *w)
{
	w->outage.attempts = 0;
	w->outage.keys = false;
	kveil_tell_outage_over(w);
}

/* false: no record may be taken now; the next turn asks again. */
static bool tick_keys(struct kveil_worker *w)
{
	struct kveil_error err;

	for (;;) {
		w->ticked_ms = kveil_clock_mono_ms();
		if (!kveil_keyring_tick(w->ring, kveil_clock_wall_ms(), &err)) {
			if (w->outage.attempts || w->outage.keys)
				end_outage(w);
			return true;
		}
		if (kveil_status_class(err.status) != KVEIL_CLASS_RETRY) {
			w->ticked_ms = 0;
			kveil_worker_fail(w, &err);
			return false;
		}
		if (!kveil_keyring_refuses(w->ring)) {
			tell_keys_out(w, &err);
			return true;
		}
		w->ticked_ms = 0;
		if (kveil_worker_stopping(w) || !wait_out(w, &err))
			return false;
	}
}

/* So many came that the queue may have been full, and then none: whatever else is known, fetchers may sleep. */
static void suspect_sleep(struct kveil_worker *w)
{
	struct kveil_fetcher *f = &w->fetcher;

	if (w->intake.came != f->counted) {
		f->counted = w->intake.came;
		f->came_ms = w->now_ms;
	}
	if (w->now_ms - f->came_ms < QUIET_MS)
		return;
	for (size_t n = 0; f->counted - f->from >= f->low && n < w->slots.cap; n++) {
		struct kveil_partition *p = w->slots.at[n];
		if (p && p->may_sleep) {
			p->wake = true;
			p->may_sleep = false;
		}
	}
	f->from = f->counted;
}

/* librdkafka's queue has been emptied: its fetcher should be at work. */
static void wake_fetcher(struct kveil_worker *w)
{
	if (!w->fetcher.waker || w->now_ms < w->fetcher.due_ms)
		return;
	w->fetcher.due_ms = w->now_ms + WAKE_EVERY_MS;
	suspect_sleep(w);
	if (rd_kafka_queue_length(w->fetcher.queue) >= w->fetcher.low)
		return;
	for (size_t n = 0; n < w->slots.cap; n++) {
		struct kveil_partition *p = w->slots.at[w->fetcher.next_slot++ % w->slots.cap];
		if (p && !p->held && p->wake) {
			p->wake = !kveil_waker_wake(w->fetcher.waker, p->topic, p->id);
			return;
		}
	}
}

/* One record of very many headers is no reason to keep as much for good. */
static void shrink_headers(struct kveil_worker *w)
{
	if (w->hand.header_cap <= HEADERS_KEPT)
		return;
	free(w->hand.headers);
	w->hand.headers = NULL;
	w->hand.header_cap = 0;
}

/* Between records that are long in going: for the sake of the membership. */
static void serve_intake(struct kveil_worker *w)
{
	if (!kveil_intake_serve(w))
		kveil_hold_all(w);
}

/* What is due between records. false: no record may be taken in this turn. */
static bool upkeep(struct kveil_worker *w)
{
	struct kveil_error err;

	w->now_ms = kveil_clock_mono_ms();
	kveil_loop_beat(w->loop);
	rd_kafka_poll(w->producer, 0);
	if (has_news(w) && kveil_routes_take(w, &err)) {
		kveil_worker_fail(w, &err);
		return false;
	}
	if (w->assignment.unresolved)
		kveil_assignment_resolve(w, RESOLVE_MS);
	if (w->want_rewind || w->producing.broken || w->txn.broken) {
		kveil_quarantine_poison(w);
		kveil_assignment_rewind(w);
	}
	record_progress(w);
	shrink_headers(w);
	if (w->now_ms - w->ticked_ms >= TICK_EVERY_MS && !tick_keys(w))
		return false;
	/* What is taken now would be of the next transaction, and that has not begun. */
	if (w->txn.state > KVEIL_TXN_OPEN || w->txn.broken) {
		serve_intake(w);
		return false;
	}
	kveil_routes_try(w);
	kveil_retry_turn(w);
	wake_fetcher(w);
	kveil_quarantine_look(w);
	return true;
}

/* One message, if there is one within ms. false: none. */
static bool take_one(struct kveil_worker *w, int ms)
{
	rd_kafka_message_t *msg = kveil_intake_poll(w, ms);

	if (!msg)
		return false;
	if (msg->err)
		on_consumer_error(w, msg);
	else
		kveil_record_take(w, msg);
	kveil_kafka_message_free(msg);
	if (w->careful)
		kveil_attempts_careful(w);
	return true;
}

static void turn(struct kveil_worker *w)
{
	if (!upkeep(w))
		return;
	bool moves = w->outlets.stages.records && w->now_ms - w->outlets.reported_ms < MOVES_MS;
	int idle_ms = w->fetcher.waker && w->intake.came - w->fetcher.from >= w->fetcher.low ? QUIET_MS : IDLE_MS;
	int wait_ms = moves ? STAGED_MS : w->waiting.names ? NAMES_MS : w->mode->idle(w) ? idle_ms : BUSY_MS;
	w->turn_over = false;
	for (int n = 0; n < TURN_RECORDS && !kveil_worker_stopping(w); n++) {
		if (!take_one(w, wait_ms))
			break;
		wait_ms = 0;
		if (w->want_rewind || w->turn_over)
			break;
		if (n % TURN_LOOKS == TURN_LOOKS - 1 && kveil_clock_mono_ms() - w->now_ms > TURN_MS)
			break;
	}
	serve_intake(w);
}

static enum kveil_status open_consumer(struct kveil_worker *w, struct kveil_error *err)
{
	rd_kafka_conf_t *conf;

	enum kveil_status status = kveil_kafka_conf_consumer(w->params->config, &w->owner, NULL, &conf, err);
	if (status)
		return status;
	status = kveil_kafka_set(conf, "check.crcs", "true", err);
	if (status) {
		rd_kafka_conf_destroy(conf);
		return status;
	}
	w->owner.unpack.sums = true;
	kveil_marker_watch(conf, &w->owner.marker);
	rd_kafka_conf_set_rebalance_cb(conf, kveil_assignment_on_rebalance);
	rd_kafka_conf_set_offset_commit_cb(conf, w->mode->on_commit);
	status = kveil_kafka_new(RD_KAFKA_CONSUMER, conf, &w->consumer, err);
	if (!status) {
		rd_kafka_poll_set_consumer(w->consumer);
		w->fetcher.waker = kveil_waker_new(w->consumer);
		w->fetcher.queue = rd_kafka_queue_get_consumer(w->consumer);
		w->fetcher.low = kveil_kafka_budget(w->params->config).queue_messages;
	}
	return status;
}

static void open_cells(struct kveil_worker *w)
{
	struct kveil_metrics *m = w->params->metrics;

	w->cells.consumed = kveil_metrics_cell(m, KVEIL_M_RECORDS_CONSUMED, NULL, NULL);
	w->cells.consumed_bytes = kveil_metrics_cell(m, KVEIL_M_BYTES_CONSUMED, NULL, NULL);
	w->cells.produced = kveil_metrics_cell(m, KVEIL_M_RECORDS_PRODUCED, NULL, NULL);
	w->cells.produced_bytes = kveil_metrics_cell(m, KVEIL_M_BYTES_PRODUCED, NULL, NULL);
	w->cells.dead_lettered = kveil_metrics_cell(m, KVEIL_M_RECORDS_DEAD_LETTERED, NULL, NULL);
	w->cells.dropped = kveil_metrics_cell(m, KVEIL_M_RECORDS_DROPPED, NULL, NULL);
	w->cells.rebalances = kveil_metrics_cell(m, KVEIL_M_REBALANCES, NULL, NULL);
	w->cells.rewinds = kveil_metrics_cell(m, KVEIL_M_REWINDS, NULL, NULL);
	w->cells.begun_anew = kveil_metrics_cell(m, KVEIL_M_BEGUN_ANEW, NULL, NULL);
	w->cells.in_flight = kveil_metrics_cell(m, KVEIL_M_IN_FLIGHT_BYTES, NULL, NULL);
	w->cells.dead_outputs = kveil_metrics_cell(m, KVEIL_M_DEAD_OUTPUTS, NULL, NULL);
	w->cells.gaps_marked = kveil_metrics_cell(m, KVEIL_M_OFFSET_GAPS, "transaction", NULL);
	w->cells.gaps_looked_at = kveil_metrics_cell(m, KVEIL_M_OFFSET_GAPS, "look", NULL);
	w->cells.gaps_unproved = kveil_metrics_cell(m, KVEIL_M_OFFSET_GAPS, "none", NULL);
	w->cells.transform = kveil_metrics_histogram(m, KVEIL_M_TRANSFORM_DURATION);
}

static bool start(struct kveil_worker *w)
{
	struct kveil_error err;

	while (!has_news(w) && !kveil_worker_stopping(w))
		pump(w, IDLE_MS);
	enum kveil_status status = KVEIL_OK;
	while (!kveil_worker_stopping(w) && (status = kveil_keyring_new(w->params->keys, &w->ring, &err)) &&
	       kveil_status_class(status) == KVEIL_CLASS_RETRY)
		wait_out(w, &err);
	if (kveil_worker_stopping(w))
		return false;
	if (!status && w->outage.attempts)
		end_outage(w);
	if (!status)
		status = open_consumer(w, &err);
	if (!status)
		status = kveil_routes_take(w, &err);
	if (status)
		kveil_worker_fail(w, &err);
	return !status;
}

/* What the end may still wait for what is in flight: less where it was noticed late, in a call that blocked. */
static int drain_ms(const struct kveil_worker *w)
{
	int64_t asked = atomic_load(&w->shared->stop_ms), late = asked ? kveil_clock_mono_ms() - asked : 0;

	return late < STOP_DRAIN_MS ? (int)(STOP_DRAIN_MS - late) + 1 : 1;
}

static void finish(struct kveil_worker *w)
{
	struct kveil_error err;
	bool orderly = true, drained;

	if (w->consumer && w->producer) {
		enum kveil_status status = w->mode->settle(w, drain_ms(w), COMMIT_WAIT_MS, &drained, &err);
		if (!drained)
			kveil_log(KVEIL_LOG_WARN, w->name, "stopping with records in flight; they will be read again");
		if (status)
			kveil_log_error(KVEIL_LOG_WARN, w->name, &err);
		/* A partition that nobody leads is no reason to leave the group without a word. */
		orderly = !status && (drained || kveil_outlets_are_dead(w));
		every_second(w);
		kveil_producer_close(w);
	}
	w->assignment.closing = true;
	kveil_intake_free(w);
	bool whole = kveil_waker_free(w->fetcher.waker);
	whole &= kveil_committed_end(w);
	w->client_left |= !whole;
	if (w->fetcher.queue)
		rd_kafka_queue_destroy(w->fetcher.queue);
	/* Brokers that do not answer are not asked to let us go: that would take longer than there is time. */
	if (w->consumer && whole)
		w->client_left |= !(orderly ? kveil_kafka_close_consumer(w->consumer)
					    : kveil_kafka_destroy(w->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE));
	kveil_producer_close(w);
	kveil_search_free(w->quarantine.search);
	kveil_assignment_drop(w);
	w->mode->end(w);
	kveil_routes_free(w);
	kveil_tallies_free(w);
	kveil_keyring_free(w->ring);
	kveil_buf_clear(&w->hand.letter);
	free(w->hand.headers);
	kveil_slots_free(&w->slots);
	kveil_loop_end(w->loop);
}

void *kveil_worker_main(void *worker)
{
	struct kveil_worker *w = worker;

	w->random = (unsigned)kveil_clock_mono_ns() ^ w->number;
	w->producing.compresses = kveil_kafka_compresses(w->params->config);
	w->outlets.ledger.limit = kveil_kafka_budget(w->params->config).in_flight_bytes;
	w->intake.limit = kveil_kafka_budget(w->params->config).queue_bytes;
	w->limits = kveil_kafka_limits(w->params->config);
	snprintf(w->owner.name, sizeof w->owner.name, "%s", w->name);
	w->owner.user = w;
	open_cells(w);
	w->mode->start(w);
	if (start(w)) {
		while (!kveil_worker_stopping(w)) {
			while (kveil_failpoint("hang-loop"))
				nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
			turn(w);
		}
	}
	finish(w);
	return NULL;
}

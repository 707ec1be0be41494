/* SPDX-License-Identifier: Apache-2.0 */
/* Partitions: given, taken, paused, rewound, stopped. */
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	DRAIN_MS = 10000,
	COMMIT_WAIT_MS = 3000,
	RESOLVE_MS = 2000,
	SEEK_FAILURES = 5,           /* of one partition, one after the other: the client has given it up */
	MOST_SLOTS = UINT16_MAX + 1, /* as many as a message's opaque can tell apart */
};

static void condition_name(const struct kveil_partition *p, char *dst, size_t size)
{
	snprintf(dst, size, "%s[%" PRId32 "]", p->topic, p->id);
}

static struct kveil_worker_route *find_route(struct kveil_worker *w, const char *topic)
{
	for (size_t i = 0; i < w->route_count; i++)
		if (strcmp(w->routes[i].route->topic, topic) == 0)
			return &w->routes[i];
	return NULL;
}

static size_t hash(const char *topic, int32_t id)
{
	size_t n = (uint32_t)id * (size_t)2654435761U;

	for (; *topic; topic++)
		n = n * 31 + (unsigned char)*topic;
	return n ^ n >> 17;
}

/* Where the slot of a partition stands in the index, or its place there. The index is never full. */
static uint32_t *index_place(const struct kveil_worker *w, const char *topic, int32_t id)
{
	size_t mask = 2 * w->slot_cap - 1, at = hash(topic, id) & mask;

	for (; w->index[at]; at = (at + 1) & mask) {
		const struct kveil_partition *p = w->slots[w->index[at] - 1];
		if (p && p->id == id && strcmp(p->topic, topic) == 0)
			break;
	}
	return &w->index[at];
}

static bool make_index(struct kveil_worker *w)
{
	uint32_t *index = calloc(2 * w->slot_cap, sizeof *index);

	if (!index)
		return false;
	free(w->index);
	w->index = index;
	for (size_t i = 0; i < w->slot_cap; i++)
		if (w->slots[i])
			*index_place(w, w->slots[i]->topic, w->slots[i]->id) = (uint32_t)i + 1;
	return true;
}

/* Slots are taken in order, and all let go at once. */
static size_t free_slot(struct kveil_worker *w)
{
	size_t i = w->slots_used;

	if (i < w->slot_cap)
		return i;
	size_t cap = w->slot_cap ? w->slot_cap * 2 : 16;
	struct kveil_partition **slots = cap > MOST_SLOTS ? NULL : realloc(w->slots, cap * sizeof *slots);
	if (!slots)
		return SIZE_MAX;
	w->slots = slots;
	uint16_t *generations = realloc(w->generations, cap * sizeof *generations);
	if (!generations)
		return SIZE_MAX;
	w->generations = generations;
	for (size_t k = w->slot_cap; k < cap; k++) {
		slots[k] = NULL;
		generations[k] = 0;
	}
	w->slot_cap = cap;
	return make_index(w) ? i : SIZE_MAX;
}

static bool add_partition(struct kveil_worker *w, const char *topic, int32_t id)
{
	size_t slot = free_slot(w);
	struct kveil_partition *p = slot == SIZE_MAX ? NULL : calloc(1, sizeof *p);
	char text[16];

	if (!p || !(p->topic = strdup(topic))) {
		free(p);
		return false;
	}
	p->id = id;
	p->slot = (uint16_t)slot;
	p->generation = ++w->generations[slot];
	p->route = find_route(w, topic);
	p->stopped = !p->route;
	p->committed = p->committing = p->solo_until = p->out_of_range = p->unreadable = -1;
	p->rewind_to = p->doubted_until = -1;
	p->beyond = p->given = p->claimed = p->poison_at = p->sent_last = p->refusal.offset = -1;
	kveil_watermark_init(&p->marks, -1);
	snprintf(text, sizeof text, "%" PRId32, id);
	p->lag = kveil_metrics_cell(w->params->metrics, KVEIL_M_CONSUMER_LAG, topic, text);
	*index_place(w, topic, id) = (uint32_t)slot + 1;
	w->slots[slot] = p;
	w->slots_used = slot + 1;
	return true;
}

static void free_partition(struct kveil_worker *w, struct kveil_partition *p)
{
	char name[300];

	kveil_park_drop(w, p);
	kveil_park_over(w, p);
	condition_name(p, name, sizeof name);
	kveil_health_condition(w->params->health, name, NULL);
	if (p->fetch_fault)
		kveil_worker_fetch_over(w, p);
	kveil_metrics_release(w->params->metrics, p->lag);
	w->slots[p->slot] = NULL;
	kveil_watermark_clear(&p->marks);
	free(p->topic);
	free(p);
}

void kveil_worker_drop_partitions(struct kveil_worker *w)
{
	w->last_topic = NULL;
	w->last_partition = NULL;
	w->tried = NULL;
	kveil_committed_forget(w);
	kveil_outlets_forgive(w);
	kveil_intake_drop(w);
	for (size_t i = 0; i < w->slot_cap; i++)
		if (w->slots[i])
			free_partition(w, w->slots[i]);
	w->slots_used = 0;
	if (w->index)
		memset(w->index, 0, 2 * w->slot_cap * sizeof *w->index);
	if (w->unresolved)
		rd_kafka_topic_partition_list_destroy(w->unresolved);
	w->unresolved = NULL;
	w->resumes = w->want_rewind = false;
}

struct kveil_partition *kveil_worker_partition(struct kveil_worker *w, const char *topic, int32_t id)
{
	uint32_t slot = w->index ? *index_place(w, topic, id) : 0;

	return slot ? w->slots[slot - 1] : NULL;
}

struct kveil_partition *kveil_worker_find(struct kveil_worker *w, const rd_kafka_message_t *msg)
{
	if (msg->rkt == w->last_topic && w->last_partition && w->last_partition->id == msg->partition)
		return w->last_partition;
	struct kveil_partition *p =
	    msg->rkt ? kveil_worker_partition(w, rd_kafka_topic_name(msg->rkt), msg->partition) : NULL;
	w->last_topic = msg->rkt;
	w->last_partition = p;
	return p;
}

/* --- pausing --- */

/* Partitions that the client may be told about. */
static rd_kafka_topic_partition_list_t *select_partitions(struct kveil_worker *w, bool held, bool to_read)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

	for (size_t i = 0; i < w->slot_cap && !w->unresolved; i++) {
		const struct kveil_partition *p = w->slots[i];
		if (p && p->held == held && (!to_read || kveil_park_may_read(p)))
			rd_kafka_topic_partition_list_add(list, p->topic, p->id)->offset = kveil_worker_position(p);
	}
	return list;
}

static void set_held(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list, bool held)
{
	for (int i = 0; i < list->cnt; i++) {
		struct kveil_partition *p = kveil_worker_partition(w, list->elems[i].topic, list->elems[i].partition);
		p->held = held;
		p->given = -1; /* what slips through a pause is not seen: it says nothing of what comes after */
	}
}

void kveil_worker_pause(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = select_partitions(w, false, false);

	kveil_intake_drop(w);
	if (list->cnt) {
		rd_kafka_pause_partitions(w->consumer, list);
		set_held(w, list, true);
	}
	w->some_wait = true;
	rd_kafka_topic_partition_list_destroy(list);
}

/* Before an assignment goes: the client would remember the pause for the next time. */
static void let_go(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = select_partitions(w, true, false);

	if (list->cnt) {
		rd_kafka_resume_partitions(w->consumer, list);
		set_held(w, list, false);
	}
	rd_kafka_topic_partition_list_destroy(list);
}

void kveil_worker_hold(struct kveil_worker *w, struct kveil_partition *p)
{
	if (!p->held && !w->unresolved) {
		rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
		rd_kafka_topic_partition_list_add(list, p->topic, p->id);
		rd_kafka_pause_partitions(w->consumer, list);
		rd_kafka_topic_partition_list_destroy(list);
		kveil_intake_drop_of(w, p);
		p->given = -1;
		p->held = true;
	}
	w->some_wait = true;
}

static void assign(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t e = rd_kafka_assign(w->consumer, list);

	if (e)
		kveil_log(KVEIL_LOG_ERROR, w->name, "assign: %s", rd_kafka_err2str(e));
}

static void hold_stopped(struct kveil_worker *w)
{
	for (size_t i = 0; i < w->slot_cap; i++)
		if (w->slots[i] && (w->slots[i]->stopped || w->slots[i]->unplaced))
			kveil_worker_hold(w, w->slots[i]);
}

/* The same partitions, each where it goes on: what a seek is, and it works for those that the client has given up. */
static void reassign(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

	kveil_intake_drop(w);
	let_go(w);
	for (size_t i = 0; i < w->slot_cap; i++) {
		struct kveil_partition *p = w->slots[i];
		if (p) {
			rd_kafka_topic_partition_list_add(list, p->topic, p->id)->offset = kveil_worker_position(p);
			p->ended = false;
			p->seek_failures = 0;
		}
	}
	assign(w, list);
	rd_kafka_topic_partition_list_destroy(list);
	hold_stopped(w);
}

static bool any_ended(const struct kveil_worker *w)
{
	for (size_t i = 0; i < w->slot_cap && !w->unresolved; i++)
		if (w->slots[i] && w->slots[i]->ended && kveil_park_may_read(w->slots[i]))
			return true;
	return false;
}

/* Those that the client could not seek in are between two states of it: a moment later it can, or it has given them up,
 * and what it said of that went with what was dropped. */
static void drop_failed(struct kveil_worker *w, rd_kafka_topic_partition_list_t *list)
{
	for (int i = list->cnt - 1; i >= 0; i--) {
		struct kveil_partition *p = kveil_worker_partition(w, list->elems[i].topic, list->elems[i].partition);
		if (!list->elems[i].err) {
			p->seek_failures = 0;
			continue;
		}
		p->ended |= list->elems[i].err == RD_KAFKA_RESP_ERR__STATE && ++p->seek_failures >= SEEK_FAILURES;
		rd_kafka_topic_partition_list_del_by_idx(list, i);
	}
}

void kveil_worker_resume(struct kveil_worker *w)
{
	if (any_ended(w)) {
		reassign(w);
		return;
	}
	rd_kafka_topic_partition_list_t *list = select_partitions(w, true, true);
	struct kveil_error err;

	/* What the client had fetched is gone with the pause; where to go on is known here better than there. */
	if (list->cnt && kveil_kafka_seek(w->consumer, list, &err)) {
		kveil_log_error(KVEIL_LOG_DEBUG, w->name, &err);
		drop_failed(w, list);
	}
	if (list->cnt) {
		rd_kafka_resume_partitions(w->consumer, list);
		set_held(w, list, false);
	}
	rd_kafka_topic_partition_list_destroy(list);
}

void kveil_worker_stop_partition(struct kveil_worker *w, struct kveil_partition *p, bool by_rules, int64_t offset,
				 const char *fmt, ...)
{
	char name[300], why[512], where[40] = "";
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof why, fmt, args);
	va_end(args);
	condition_name(p, name, sizeof name);
	p->stopped = true;
	p->stopped_by_rules = by_rules;
	kveil_worker_hold(w, p);
	kveil_health_condition(w->params->health, name, "stopped: %s", why);
	if (offset >= 0)
		snprintf(where, sizeof where, " at offset %" PRId64, offset);
	kveil_log(KVEIL_LOG_ERROR, w->name, "%s stopped%s: %s", name, where, why);
	kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_PARTITION_STOPPED, .topic = name, .detail = why});
}

void kveil_worker_restart_partition(struct kveil_worker *w, struct kveil_partition *p)
{
	char name[300];

	condition_name(p, name, sizeof name);
	kveil_health_condition(w->params->health, name, NULL);
	if (p->stopped)
		kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_PARTITION_RESUMED, .topic = name});
	p->stopped = p->stopped_by_rules = false;
	p->refusal.offset = -1; /* it may go elsewhere now */
	kveil_worker_ask_rewind(w, p);
}

void kveil_worker_on_end(struct kveil_worker *w, struct kveil_partition *p, int64_t end)
{
	uint32_t last;

	/* What waits comes first, and what was thrown away comes again: then this is said again, or does no harm
	 * unsaid. */
	if (p->held || !kveil_park_may_read(p) || end <= 0 || end <= kveil_worker_position(p))
		return;
	kveil_worker_fetched(w, p);
	if (kveil_watermark_add(&p->marks, end - 1, &last))
		kveil_watermark_done(&p->marks, last);
	else
		kveil_log(KVEIL_LOG_WARN, w->name, "no memory for the watermark of %s", p->topic);
}

void kveil_worker_on_out_of_range(struct kveil_worker *w, struct kveil_partition *p, int64_t offset)
{
	p->ended = true;
	if (p->stopped || p->unplaced)
		return;
	/* This survives the seeks of the client (librdkafka 2.0.2), and the records before it do not. If it is so for
	 * whoever comes there in order, it will be said again. */
	if (p->rewind || (offset > kveil_worker_position(p) && offset != p->out_of_range)) {
		p->out_of_range = offset;
		kveil_worker_ask_rewind(w, p);
		return;
	}
	/* Of a topic made anew the committed offset is gone, too: that is asked before anyone is called for. */
	if (p->committed >= 0) {
		p->unplaced = true;
		kveil_worker_hold(w, p);
		w->commit_due_ms = 0;
		return;
	}
	kveil_worker_stop_out_of_range(w, p);
}

void kveil_worker_stop_out_of_range(struct kveil_worker *w, struct kveil_partition *p)
{
	p->unplaced = false;
	kveil_worker_stop_partition(w, p, false, kveil_worker_position(p),
				    "the offset is out of range: the records there are gone, or never were; set the "
				    "group's offset to go on");
}

void kveil_worker_begin_anew(struct kveil_worker *w, struct kveil_partition *p, const char *why)
{
	kveil_log(KVEIL_LOG_WARN, w->name,
		  "%s[%" PRId32 "]: the topic was deleted or made anew (%s; it was %lld): reading from the start",
		  p->topic, p->id, why, (long long)p->committed);
	kveil_cell_add(w->begun_anew, 1);
	p->committed = p->committing = p->solo_until = p->out_of_range = p->doubted_until = -1;
	p->start = RD_KAFKA_OFFSET_BEGINNING;
	p->anew = true;
	p->unplaced = false;
	p->attempts = 0;
	p->topic_id[0] = 0;
	p->poison = false;
	if (p->stopped && p->route)
		kveil_worker_restart_partition(w, p);
	else
		kveil_worker_ask_rewind(w, p);
}

/* --- rebalances --- */

static void log_assignment(const struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list)
{
	char text[400] = "";
	size_t n = 0;

	for (int i = 0; i < list->cnt && n < sizeof text - 1; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, " %s[%d]", list->elems[i].topic,
				      (int)list->elems[i].partition);
	kveil_log(KVEIL_LOG_INFO, w->name, "assigned %d partitions:%s%s", list->cnt, text, n >= sizeof text ? "…" : "");
}

/* What was asked for before is still to be done. */
static void resume(struct kveil_worker *w)
{
	for (size_t i = 0; i < w->slot_cap; i++) {
		struct kveil_partition *p = w->slots[i];
		if (!p)
			continue;
		p->poison = p->poison_at >= 0 && p->poison_at == p->committed; /* its letter was taken back */
		if (p->anew) {
			p->committed = p->committing = -1; /* of the topic before */
			p->start = RD_KAFKA_OFFSET_BEGINNING;
		}
		if (p->poison || p->anew || p->rewind_to >= 0)
			kveil_worker_ask_rewind(w, p);
	}
}

/* Partitions that are new to the group begin at the earliest record; the others where they were left. Where that is
 * gone, the broker says so later (auto.offset.reset is error). */
void kveil_worker_resolve(struct kveil_worker *w, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list = w->unresolved;

	if (!w->mode->ready(w, timeout_ms))
		return;
	rd_kafka_resp_err_t e = rd_kafka_committed(w->consumer, list, timeout_ms);

	for (int i = 0; !e && i < list->cnt; i++)
		e = list->elems[i].err;
	if (e) {
		kveil_health_condition(w->params->health, w->condition_group,
				       "the group's committed offsets cannot be read: %s", rd_kafka_err2str(e));
		return;
	}
	w->unresolved = NULL;
	for (int i = 0; i < list->cnt; i++) {
		rd_kafka_topic_partition_t *t = &list->elems[i];
		struct kveil_partition *p = kveil_worker_partition(w, t->topic, t->partition);
		p->committed = p->committing = t->offset < 0 ? -1 : t->offset;
		if (t->offset < 0)
			t->offset = RD_KAFKA_OFFSET_BEGINNING;
		p->start = t->offset;
		kveil_watermark_rewind(&p->marks, p->committed);
	}
	if (w->resumes)
		resume(w);
	else
		kveil_attempts_begin(w, list);
	w->resumes = false;
	assign(w, list);
	rd_kafka_topic_partition_list_destroy(list);
	hold_stopped(w);
	kveil_health_condition(w->params->health, w->condition_group, NULL);
}

static void on_assign(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
	struct kveil_error err;

	w->mode->assigned(w);
	kveil_cell_add(w->rebalances, 1);
	log_assignment(w, list);
	assign(w, none);
	rd_kafka_topic_partition_list_destroy(none);
	kveil_worker_drop_partitions(w);
	for (int i = 0; i < list->cnt; i++)
		if (!add_partition(w, list->elems[i].topic, list->elems[i].partition)) {
			kveil_fail(&err, KVEIL_E_NO_MEMORY,
				   "no memory for %d partitions, or more than %d for one worker", list->cnt,
				   MOST_SLOTS);
			kveil_worker_fail(w, &err);
			return;
		}
	if (list->cnt == 0) {
		kveil_health_condition(w->params->health, w->condition_group, NULL);
		return;
	}
	w->unresolved = rd_kafka_topic_partition_list_copy(list);
	kveil_worker_resolve(w, RESOLVE_MS);
}

bool kveil_worker_drain(struct kveil_worker *w, int ms)
{
	int64_t end = kveil_clock_mono_ms() + ms;

	while (w->ledger.records && !w->producer_broken) {
		kveil_loop_beat(w->loop);
		/* First the reports that are there, then the judgement on whose are missing. */
		w->now_ms = kveil_clock_mono_ms();
		rd_kafka_flush(w->producer, 100);
		if (w->now_ms >= end || kveil_outlets_are_dead(w))
			break;
	}
	return w->ledger.records == 0;
}

static void on_revoke(struct kveil_worker *w, bool lost)
{
	struct kveil_error err;

	/* What is lost belongs to another member already: nothing of it may be committed, and nothing more sent. */
	bool drained;
	if (!lost && !w->closing && w->mode->settle(w, DRAIN_MS, COMMIT_WAIT_MS, &drained, &err))
		kveil_log_error(KVEIL_LOG_WARN, w->name, &err);
	drained = w->mode->idle(w);
	kveil_log(KVEIL_LOG_INFO, w->name, "%s, %s", lost ? "assignment lost" : "partitions revoked",
		  drained ? "nothing in flight" : "discarding what is in flight");
	let_go(w);
	kveil_worker_drop_partitions(w);
	assign(w, NULL);
	if (!drained)
		w->mode->renew(w);
	if (lost)
		kveil_health_condition(
		    w->params->health, w->condition_group,
		    "the group membership was lost: joining again, once the group gives up its members that are gone "
		    "(session.timeout.ms)");
}

void kveil_worker_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
			       void *opaque)
{
	struct kveil_worker *w = ((struct kveil_kafka_owner *)opaque)->user;

	if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
		on_assign(w, list);
	else if (err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
		on_revoke(w, rd_kafka_assignment_lost(rk));
	else {
		kveil_log(KVEIL_LOG_ERROR, w->name, "rebalance: %s", rd_kafka_err2str(err));
		on_revoke(w, true);
	}
}

/* --- rewinding --- */

void kveil_worker_ask_rewind(struct kveil_worker *w, struct kveil_partition *p)
{
	p->rewind = true;
	w->want_rewind = true;
}

static void go_back(struct kveil_worker *w, struct kveil_partition *p)
{
	p->rewind = p->spoilt = false;
	kveil_park_drop(w, p);
	p->generation = ++w->generations[p->slot];
	int64_t to = kveil_watermark_committable(&p->marks);
	kveil_watermark_rewind(&p->marks, p->anew ? -1 : p->rewind_to >= 0 && p->rewind_to < to ? p->rewind_to : to);
	p->rewind_to = p->claimed = -1;
	p->anew = false;
	kveil_cell_add(w->rewinds, 1);
}

void kveil_worker_rewind(struct kveil_worker *w)
{
	if (!w->mode->before_rewind(w))
		return;
	w->want_rewind = false;
	for (size_t i = 0; i < w->slot_cap; i++) {
		struct kveil_partition *p = w->slots[i];
		if (!p || !p->rewind)
			continue;
		kveil_worker_hold(w, p); /* going on begins with a seek */
		if (!p->unreported)
			go_back(w, p);
	}
}

static void forget_what_was_sent(struct kveil_worker *w, struct kveil_partition *p)
{
	kveil_park_drop(w, p);
	kveil_watermark_rewind(&p->marks, -1);
	p->generation = ++w->generations[p->slot];
	p->unreported = 0;
	p->rewind = p->spoilt = p->ended = p->poison = false;
	p->claimed = p->given = -1;
	p->seek_failures = 0;
	kveil_cell_add(w->rewinds, 1);
}

void kveil_worker_begin_again(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0), *all;

	kveil_worker_renew_producer(w);
	w->want_rewind = false;
	kveil_intake_drop(w);
	let_go(w);
	all = select_partitions(w, false, false);
	if (all->cnt) {
		kveil_committed_forget(w);
		assign(w, none);
		for (size_t i = 0; i < w->slot_cap; i++)
			if (w->slots[i])
				forget_what_was_sent(w, w->slots[i]);
		w->unresolved = all;
		w->resumes = true;
	} else
		rd_kafka_topic_partition_list_destroy(all);
	rd_kafka_topic_partition_list_destroy(none);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The partitions that the group assigns: given, taken, rewound, begun again. */
#include "base/log.h"
#include "worker/attempts.h"
#include "worker/hold.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	DRAIN_MS = 10000,
	COMMIT_WAIT_MS = 3000,
	RESOLVE_MS = 2000,
};

static struct kveil_worker_route *find_route(struct kveil_worker *w, const char *topic)
{
	for (size_t i = 0; i < w->rules.route_count; i++)
		if (strcmp(w->rules.routes[i].route->topic, topic) == 0)
			return &w->rules.routes[i];
	return NULL;
}

static bool add_partition(struct kveil_worker *w, const char *topic, int32_t id)
{
	struct kveil_partition *p = calloc(1, sizeof *p);
	char text[16];

	if (!p)
		return false;
	p->topic = strdup(topic);
	p->id = id;
	if (!p->topic || !kveil_slots_add(&w->slots, p)) {
		free(p->topic);
		free(p);
		return false;
	}
	p->route = find_route(w, topic);
	p->stopped = !p->route;
	p->committed = p->committing = p->solo_until = p->out_of_range = p->fetch.unreadable = -1;
	p->rewind_to = p->offsets.doubted_until = p->offsets.given = p->offsets.claimed = -1;
	p->beyond = p->attempts.poison_at = p->sent_last = p->refusal.offset = -1;
	kveil_watermark_init(&p->marks, -1);
	snprintf(text, sizeof text, "%" PRId32, id);
	p->lag = kveil_metrics_cell(w->params->metrics, KVEIL_M_CONSUMER_LAG, topic, text);
	return true;
}

static void free_partition(struct kveil_worker *w, struct kveil_partition *p)
{
	if (!p)
		return;
	kveil_park_drop(w, p);
	kveil_park_over(w, p);
	kveil_partition_clear(w, p);
	if (p->fetch.fault)
		kveil_tell_fetch_over(w, p);
	kveil_metrics_release(w->params->metrics, p->lag);
	kveil_watermark_clear(&p->marks);
	free(p->topic);
	free(p);
}

void kveil_assignment_drop(struct kveil_worker *w)
{
	w->hand.tried = NULL;
	kveil_committed_forget(w);
	kveil_outlets_forgive(w);
	kveil_intake_drop(w);
	for (size_t i = 0; i < w->slots.used; i++)
		free_partition(w, kveil_slots_remove(&w->slots, i));
	kveil_slots_empty(&w->slots);
	if (w->assignment.unresolved)
		rd_kafka_topic_partition_list_destroy(w->assignment.unresolved);
	w->assignment.unresolved = NULL;
	w->assignment.resumes = w->assignment.is_empty = w->want_rewind = false;
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
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		if (!p)
			continue;
		p->attempts.poison =
		    p->attempts.poison_at >= 0 && p->attempts.poison_at == p->committed; /* its letter was taken back */
		if (p->anew) {
			p->committed = p->committing = -1; /* of the topic before */
			p->start = RD_KAFKA_OFFSET_BEGINNING;
		}
		if (p->attempts.poison || p->anew || p->rewind_to >= 0)
			kveil_ask_rewind(w, p);
	}
}

/* Partitions that are new to the group begin at the earliest record; the others where they were left. Where that is
 * gone, the broker says so later (auto.offset.reset is error). */
void kveil_assignment_resolve(struct kveil_worker *w, int timeout_ms)
{
	rd_kafka_topic_partition_list_t *list = w->assignment.unresolved;

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
	w->assignment.unresolved = NULL;
	for (int i = 0; i < list->cnt; i++) {
		rd_kafka_topic_partition_t *t = &list->elems[i];
		struct kveil_partition *p = kveil_slots_find(&w->slots, t->topic, t->partition);
		p->committed = p->committing = t->offset < 0 ? -1 : t->offset;
		if (t->offset < 0)
			t->offset = RD_KAFKA_OFFSET_BEGINNING;
		p->start = t->offset;
		kveil_watermark_rewind(&p->marks, p->committed);
	}
	if (w->assignment.resumes)
		resume(w);
	else
		kveil_attempts_begin(w, list);
	w->assignment.resumes = false;
	kveil_hold_assign(w, list);
	rd_kafka_topic_partition_list_destroy(list);
	kveil_hold_stopped(w);
	kveil_health_condition(w->params->health, w->condition_group, NULL);
}

static void on_assign(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0);
	struct kveil_error err;

	w->mode->assigned(w);
	kveil_cell_add(w->cells.rebalances, 1);
	log_assignment(w, list);
	kveil_hold_assign(w, none);
	rd_kafka_topic_partition_list_destroy(none);
	kveil_assignment_drop(w);
	for (int i = 0; i < list->cnt; i++)
		if (!add_partition(w, list->elems[i].topic, list->elems[i].partition)) {
			kveil_fail(&err, KVEIL_E_NO_MEMORY,
				   "no memory for %d partitions, or more than %d for one worker", list->cnt,
				   KVEIL_MOST_SLOTS);
			kveil_worker_fail(w, &err);
			return;
		}
	if (list->cnt == 0) {
		w->assignment.is_empty = true;
		kveil_health_condition(w->params->health, w->condition_group, NULL);
		return;
	}
	w->assignment.unresolved = rd_kafka_topic_partition_list_copy(list);
	kveil_assignment_resolve(w, RESOLVE_MS);
}

static void on_revoke(struct kveil_worker *w, bool lost)
{
	struct kveil_error err;

	/* What is lost belongs to another member already: nothing of it may be committed, and nothing more sent. */
	bool drained;
	if (!lost && !w->assignment.closing && w->mode->settle(w, DRAIN_MS, COMMIT_WAIT_MS, &drained, &err))
		kveil_log_error(KVEIL_LOG_WARN, w->name, &err);
	drained = w->mode->idle(w);
	kveil_log(KVEIL_LOG_INFO, w->name, "%s, %s", lost ? "assignment lost" : "partitions revoked",
		  drained ? "nothing in flight" : "discarding what is in flight");
	kveil_hold_let_go(w);
	kveil_assignment_drop(w);
	kveil_hold_assign(w, NULL);
	if (!drained)
		w->mode->renew(w);
	if (lost)
		kveil_health_condition(
		    w->params->health, w->condition_group,
		    "the group membership was lost: joining again once the group has timed out its lost "
		    "members (session.timeout.ms)");
}

void kveil_assignment_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
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

static void go_back(struct kveil_worker *w, struct kveil_partition *p)
{
	p->rewind = p->spoilt = false;
	kveil_park_drop(w, p);
	kveil_slots_next_generation(&w->slots, p);
	int64_t to = kveil_watermark_committable(&p->marks);
	kveil_watermark_rewind(&p->marks, p->anew ? -1 : p->rewind_to >= 0 && p->rewind_to < to ? p->rewind_to : to);
	p->rewind_to = p->offsets.claimed = -1;
	p->anew = false;
	kveil_cell_add(w->cells.rewinds, 1);
}

void kveil_assignment_rewind(struct kveil_worker *w)
{
	if (!w->mode->before_rewind(w))
		return;
	w->want_rewind = false;
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		if (!p || !p->rewind)
			continue;
		kveil_hold(w, p); /* going on begins with a seek */
		if (!p->unreported)
			go_back(w, p);
	}
}

static void forget_what_was_sent(struct kveil_worker *w, struct kveil_partition *p)
{
	kveil_park_drop(w, p);
	kveil_watermark_rewind(&p->marks, -1);
	kveil_slots_next_generation(&w->slots, p);
	p->unreported = 0;
	p->rewind = p->spoilt = p->ended = p->attempts.poison = false;
	p->offsets.claimed = p->offsets.given = -1;
	p->seek_failures = 0;
	kveil_cell_add(w->cells.rewinds, 1);
}

void kveil_assignment_begin_again(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *none = rd_kafka_topic_partition_list_new(0), *all;

	kveil_producer_renew(w);
	w->want_rewind = false;
	kveil_intake_drop(w);
	kveil_hold_let_go(w);
	all = kveil_hold_select(w, false, false);
	if (all->cnt) {
		kveil_committed_forget(w);
		kveil_hold_assign(w, none);
		for (size_t i = 0; i < w->slots.cap; i++)
			if (w->slots.at[i])
				forget_what_was_sent(w, w->slots.at[i]);
		w->assignment.unresolved = all;
		w->assignment.resumes = true;
	} else
		rd_kafka_topic_partition_list_destroy(all);
	rd_kafka_topic_partition_list_destroy(none);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Which partitions the client reads: paused and resumed, stopped by an error, at their end, begun anew. */
#include "worker/hold.h"
#include "base/event.h"
#include "base/log.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { SEEK_FAILURES = 5 /* of one partition, one after the other: the client has given it up */ };

static void condition_name(const struct kveil_partition *p, char *dst, size_t size)
{
	snprintf(dst, size, "%s[%" PRId32 "]", p->topic, p->id);
}

/* Partitions that the client may be told about. */
rd_kafka_topic_partition_list_t *kveil_hold_select(struct kveil_worker *w, bool held, bool to_read)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

	for (size_t i = 0; i < w->slots.cap && !w->assignment.unresolved; i++) {
		const struct kveil_partition *p = w->slots.at[i];
		if (p && p->held == held && (!to_read || kveil_park_may_read(p)))
			rd_kafka_topic_partition_list_add(list, p->topic, p->id)->offset = kveil_partition_position(p);
	}
	return list;
}

static void set_held(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list, bool held)
{
	for (int i = 0; i < list->cnt; i++) {
		struct kveil_partition *p = kveil_slots_find(&w->slots, list->elems[i].topic, list->elems[i].partition);
		p->held = held;
		p->offsets.given = -1; /* what slips through a pause is not seen: it says nothing of what comes after */
	}
}

void kveil_hold_all(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = kveil_hold_select(w, false, false);

	kveil_intake_drop(w);
	if (list->cnt) {
		rd_kafka_pause_partitions(w->consumer, list);
		set_held(w, list, true);
	}
	w->waiting.any = true;
	rd_kafka_topic_partition_list_destroy(list);
}

/* Before an assignment goes: the client would remember the pause for the next time. */
void kveil_hold_let_go(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = kveil_hold_select(w, true, false);

	if (list->cnt) {
		rd_kafka_resume_partitions(w->consumer, list);
		set_held(w, list, false);
	}
	rd_kafka_topic_partition_list_destroy(list);
}

void kveil_hold(struct kveil_worker *w, struct kveil_partition *p)
{
	if (!p->held && !w->assignment.unresolved) {
		rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
		rd_kafka_topic_partition_list_add(list, p->topic, p->id);
		rd_kafka_pause_partitions(w->consumer, list);
		rd_kafka_topic_partition_list_destroy(list);
		kveil_intake_drop_of(w, p);
		p->offsets.given = -1;
		p->held = true;
	}
	w->waiting.any = true;
}

void kveil_hold_assign(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list)
{
	rd_kafka_resp_err_t e = rd_kafka_assign(w->consumer, list);

	if (e)
		kveil_log(KVEIL_LOG_ERROR, w->name, "assign: %s", rd_kafka_err2str(e));
}

void kveil_hold_stopped(struct kveil_worker *w)
{
	for (size_t i = 0; i < w->slots.cap; i++)
		if (w->slots.at[i] && (w->slots.at[i]->stopped || w->slots.at[i]->unplaced))
			kveil_hold(w, w->slots.at[i]);
}

/* The same partitions, each where it goes on: what a seek is, and it works for those that the client has given up. */
static void reassign(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

	kveil_intake_drop(w);
	kveil_hold_let_go(w);
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		if (p) {
			rd_kafka_topic_partition_list_add(list, p->topic, p->id)->offset = kveil_partition_position(p);
			p->ended = false;
			p->seek_failures = 0;
		}
	}
	kveil_hold_assign(w, list);
	rd_kafka_topic_partition_list_destroy(list);
	kveil_hold_stopped(w);
}

static bool any_ended(const struct kveil_worker *w)
{
	for (size_t i = 0; i < w->slots.cap && !w->assignment.unresolved; i++)
		if (w->slots.at[i] && w->slots.at[i]->ended && kveil_park_may_read(w->slots.at[i]))
			return true;
	return false;
}

/* Those that the client could not seek in are between two states of it: a moment later it can, or it has given them up,
 * and what it said of that went with what was dropped. */
static void drop_failed(struct kveil_worker *w, rd_kafka_topic_partition_list_t *list)
{
	for (int i = list->cnt - 1; i >= 0; i--) {
		struct kveil_partition *p = kveil_slots_find(&w->slots, list->elems[i].topic, list->elems[i].partition);
		if (!list->elems[i].err) {
			p->seek_failures = 0;
			continue;
		}
		p->ended |= list->elems[i].err == RD_KAFKA_RESP_ERR__STATE && ++p->seek_failures >= SEEK_FAILURES;
		rd_kafka_topic_partition_list_del_by_idx(list, i);
	}
}

void kveil_hold_end(struct kveil_worker *w)
{
	if (any_ended(w)) {
		reassign(w);
		return;
	}
	rd_kafka_topic_partition_list_t *list = kveil_hold_select(w, true, true);
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

void kveil_partition_clear(struct kveil_worker *w, const struct kveil_partition *p)
{
	char name[300];

	condition_name(p, name, sizeof name);
	kveil_health_condition(w->params->health, name, NULL);
}

void kveil_partition_stop(struct kveil_worker *w, struct kveil_partition *p, bool by_rules, int64_t offset,
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
	kveil_hold(w, p);
	kveil_health_condition(w->params->health, name, "stopped: %s", why);
	if (offset >= 0)
		snprintf(where, sizeof where, " at offset %" PRId64, offset);
	kveil_log(KVEIL_LOG_ERROR, w->name, "%s stopped%s: %s", name, where, why);
	kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_PARTITION_STOPPED, .topic = name, .detail = why});
}

void kveil_partition_restart(struct kveil_worker *w, struct kveil_partition *p)
{
	char name[300];

	condition_name(p, name, sizeof name);
	kveil_partition_clear(w, p);
	if (p->stopped)
		kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_PARTITION_RESUMED, .topic = name});
	p->stopped = p->stopped_by_rules = false;
	p->refusal.offset = -1; /* it may go elsewhere now */
	kveil_ask_rewind(w, p);
}

void kveil_partition_on_end(struct kveil_worker *w, struct kveil_partition *p, int64_t end)
{
	uint32_t last;

	p->may_sleep = false;
	/* What waits comes first, and what was thrown away comes again: then this is said again, or does no harm
	 * unsaid. */
	if (p->held || !kveil_park_may_read(p) || end <= 0 || end <= kveil_partition_position(p))
		return;
	kveil_fetched(w, p);
	if (kveil_watermark_add(&p->marks, end - 1, &last))
		kveil_watermark_done(&p->marks, last);
	else
		kveil_log(KVEIL_LOG_WARN, w->name, "no memory for the watermark of %s", p->topic);
}

void kveil_partition_on_out_of_range(struct kveil_worker *w, struct kveil_partition *p, int64_t offset)
{
	p->ended = true;
	if (p->stopped || p->unplaced)
		return;
	/* This survives the seeks of the client (librdkafka 2.0.2), and the records before it do not. If it is so for
	 * whoever comes there in order, it will be said again. */
	if (p->rewind || (offset > kveil_partition_position(p) && offset != p->out_of_range)) {
		p->out_of_range = offset;
		kveil_ask_rewind(w, p);
		return;
	}
	/* Of a topic made anew the committed offset is gone, too: that is asked before anyone is called for. */
	if (p->committed >= 0) {
		p->unplaced = true;
		kveil_hold(w, p);
		w->commits.due_ms = 0;
		return;
	}
	kveil_partition_stop_out_of_range(w, p);
}

void kveil_partition_stop_out_of_range(struct kveil_worker *w, struct kveil_partition *p)
{
	p->unplaced = false;
	kveil_partition_stop(w, p, false, kveil_partition_position(p),
			     "the offset is out of range: its records are gone, or never existed; set the group's "
			     "offset to continue");
}

void kveil_partition_begin_anew(struct kveil_worker *w, struct kveil_partition *p, const char *why)
{
	kveil_log(KVEIL_LOG_WARN, w->name,
		  "%s[%" PRId32 "]: the topic was deleted or made anew (%s; it was %lld): reading from the start",
		  p->topic, p->id, why, (long long)p->committed);
	kveil_cell_add(w->cells.begun_anew, 1);
	p->committed = p->committing = p->solo_until = p->out_of_range = p->offsets.doubted_until = -1;
	p->start = RD_KAFKA_OFFSET_BEGINNING;
	p->anew = true;
	p->unplaced = false;
	p->attempts.count = 0;
	p->topic_id[0] = 0;
	p->attempts.poison = false;
	if (p->stopped && p->route)
		kveil_partition_restart(w, p);
	else
		kveil_ask_rewind(w, p);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The topics that a worker writes to, and the way to each of their partitions: which one a record goes to, whether
 * there is room for it, what is told of those that do not answer. */
#include "base/clock.h"
#include "base/log.h"
#include "worker/loop.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	METADATA_MS = 1000,
	STICKY_MS = 10,     /* records without a key stay with one partition so long, as librdkafka's do */
	HERE_MS = 50,       /* a wait for room in which the others get nothing done, */
	HERE_SLOW_MS = 250, /* where records are long on their way, */
	HERE_MOST_MS = 500, /* and one in which the others do */
	POLL_MS = 10,
	ALONE_MS = 1000,
	KEEP_MS = 500,
	ROOM_MOST = 512 << 10, /* what has become free is used up in large pieces, */
	ROOM_PART = 32,        /* or in parts of the limit */
};

/* --- topics --- */

static bool grow_lanes(struct kveil_outlet *o, int32_t count)
{
	if (count <= o->lane_count)
		return true;
	struct kveil_lane *lanes = realloc(o->lanes, (size_t)count * sizeof *lanes);
	if (!lanes)
		return false;
	o->lanes = lanes;
	struct kveil_stage *stages = realloc(o->stages, (size_t)count * sizeof *stages);
	if (!stages)
		return false;
	o->stages = stages;
	for (int32_t i = o->lane_count; i < count; i++) {
		lanes[i] = (struct kveil_lane){0};
		stages[i] = (struct kveil_stage){0};
	}
	o->lane_count = count;
	return true;
}

static void free_outlet(struct kveil_worker *w, struct kveil_outlet *o)
{
	if (o->rkt)
		rd_kafka_topic_destroy(o->rkt);
	for (int32_t i = 0; i < o->lane_count; i++)
		kveil_stage_clear(&w->outlets.stages, &o->stages[i]);
	free(o->stages);
	free(o->lanes);
	free(o->name);
	free(o);
}

static struct kveil_outlet *open_topic(struct kveil_worker *w, const char *name)
{
	struct kveil_outlet *o = calloc(1, sizeof *o);
	rd_kafka_topic_conf_t *conf = rd_kafka_default_topic_conf_dup(w->producer);

	if (!o || !(o->name = strdup(name))) {
		rd_kafka_topic_conf_destroy(conf);
		free(o);
		return NULL;
	}
	rd_kafka_topic_conf_set_opaque(conf, o);
	o->rkt = rd_kafka_topic_new(w->producer, name, conf);
	if (o->rkt)
		return o;
	free_outlet(w, o);
	return NULL;
}

static struct kveil_outlet *find_or_open(struct kveil_worker *w, const char *name)
{
	for (size_t i = 0; i < w->outlets.count; i++)
		if (strcmp(w->outlets.at[i]->name, name) == 0)
			return w->outlets.at[i];
	struct kveil_outlet **grown = realloc(w->outlets.at, (w->outlets.count + 1) * sizeof(struct kveil_outlet *));
	if (!grown)
		return NULL;
	w->outlets.at = grown;
	struct kveil_outlet *o = open_topic(w, name);
	if (o)
		w->outlets.at[w->outlets.count++] = o;
	return o;
}

/* The client takes nothing for a partition that it has not heard of, and asks by itself once a minute. */
static void ask_for_partitions(struct kveil_worker *w, const struct kveil_outlet *o)
{
	const struct rd_kafka_metadata *metadata;

	kveil_loop_beat(w->loop);
	if (!rd_kafka_metadata(w->producer, 0, o->rkt, &metadata, METADATA_MS))
		rd_kafka_metadata_destroy(metadata);
}

struct kveil_outlet *kveil_outlet_open(struct kveil_worker *w, const struct kveil_target *target)
{
	struct kveil_outlet *o = find_or_open(w, target->topic);

	if (!o || !grow_lanes(o, target->partitions))
		return NULL;
	if (o->partitions && target->partitions > o->partitions)
		ask_for_partitions(w, o);
	o->partitions = target->partitions;
	return o;
}

void kveil_outlets_close(struct kveil_worker *w)
{
	w->producing.failures += w->outlets.failing > 0; /* until something gets there again */
	w->outlets.failing = 0;
	for (size_t i = 0; i < w->outlets.count; i++)
		free_outlet(w, w->outlets.at[i]);
	free(w->outlets.at);
	w->outlets.at = NULL;
	w->outlets.count = 0;
	w->outlets.ledger.bytes = w->outlets.ledger.records = w->outlets.leaderless = 0;
	kveil_stage_pool_clear(&w->outlets.stages);
	for (size_t i = 0; i < w->slots.cap; i++)
		if (w->slots.at[i])
			w->slots.at[i]->park.blocked_on = NULL;
}

/* --- placing --- */

static bool takes(const struct kveil_worker *w, const struct kveil_lane *l, size_t bytes, bool alone)
{
	if (__builtin_expect(l->leaderless, 0))
		return false;
	if (alone)
		return l->records == 0;
	return w->now_ms >= l->kept_until_ms && kveil_lane_takes(&w->outlets.ledger, l, bytes, w->now_ms);
}

/* Records without a key may go anywhere: not to where there is no room. */
static void choose_sticky(struct kveil_worker *w, struct kveil_outlet *o, size_t bytes, bool alone)
{
	int32_t first = (int32_t)((unsigned)rand_r(&w->random) % (unsigned)o->partitions);

	for (int32_t i = 0; i < o->partitions; i++) {
		int32_t at = (first + i) % o->partitions;
		if (!takes(w, &o->lanes[at], bytes, alone))
			continue;
		o->sticky = at;
		o->sticky_until_ms = w->now_ms + STICKY_MS;
		return;
	}
}

int32_t kveil_outlet_place(struct kveil_worker *w, struct kveil_outlet *o, const struct kveil_partition *p,
			   const struct kveil_record *r, size_t bytes, bool alone)
{
	if (w->params->config->partition == KVEIL_PARTITION_SAME)
		return p->id;
	if (r->key.data)
		return rd_kafka_msg_partitioner_murmur2(o->rkt, r->key.data, r->key.len, o->partitions, NULL, NULL);
	if (o->sticky >= o->partitions || w->now_ms >= o->sticky_until_ms ||
	    !takes(w, &o->lanes[o->sticky], bytes, alone))
		choose_sticky(w, o, bytes, alone);
	return o->sticky;
}

struct kveil_lane *kveil_outlet_lane(struct kveil_outlet *o, int32_t partition)
{
	return partition >= 0 && grow_lanes(o, partition + 1) ? &o->lanes[partition] : NULL;
}

/* --- room --- */

/* Is nobody else held up, as far as can be seen from here? */
static bool is_alone(const struct kveil_worker *w)
{
	return w->now_ms - w->hand.switched_ms >= ALONE_MS;
}

/* Half of the time that records take there lately, which is long where much is on its way. */
static int64_t patience_ms(const struct kveil_lane *l)
{
	int64_t ms = l->smoothed_us / 2000;

	return ms < HERE_MS ? HERE_MS : ms > HERE_SLOW_MS ? HERE_SLOW_MS : ms;
}

/* What others have in flight keeps their partitions busy: as long as it goes down, nothing is lost by waiting. */
static bool wait_here(struct kveil_worker *w, const struct kveil_partition *p, const struct kveil_lane *l, size_t bytes,
		      bool alone)
{
	int64_t begin_ms = kveil_clock_mono_ms(), idle_ms = begin_ms;
	size_t part = w->outlets.ledger.limit / ROOM_PART;

	bytes += part < ROOM_MOST ? part : ROOM_MOST;
	w->turn_over = true;
	for (;;) {
		size_t others = w->outlets.ledger.records - l->records;
		kveil_loop_beat(w->loop);
		rd_kafka_poll(w->producer, POLL_MS);
		w->now_ms = kveil_clock_mono_ms();
		if (takes(w, l, bytes, alone))
			return true;
		if (is_alone(w) || w->outlets.ledger.records - l->records < others)
			idle_ms = w->now_ms;
		if (w->now_ms - idle_ms >= patience_ms(l) || w->now_ms - begin_ms >= HERE_MOST_MS ||
		    kveil_lane_is_silent(l, w->now_ms) || p->rewind || w->producing.broken || kveil_worker_stopping(w))
			return false;
	}
}

bool kveil_outlet_wait(struct kveil_worker *w, struct kveil_partition *p, struct kveil_outlet *o, int32_t partition,
		       size_t bytes, bool alone)
{
	struct kveil_lane *l = kveil_outlet_lane(o, partition);

	if (__builtin_expect(!l || takes(w, l, bytes, alone), 1))
		return true; /* what is not a partition the client will refuse */
	if (alone)
		l->kept_until_ms = w->now_ms + KEEP_MS; /* or others would fill it again, and again */
	/* What has waited already waits on: the others had their turn because of it. */
	if (!p->waiting.first && !l->leaderless && !kveil_lane_is_silent(l, w->now_ms) &&
	    wait_here(w, p, l, bytes, alone))
		return true;
	p->park.blocked_on = o;
	p->park.blocked_lane = partition;
	return false;
}

bool kveil_outlet_has_room(const struct kveil_worker *w, const struct kveil_partition *p)
{
	struct kveil_lane *l = p->park.blocked_on ? kveil_outlet_lane(p->park.blocked_on, p->park.blocked_lane) : NULL;

	if (!l)
		return true;
	if (l->leaderless)
		return false;
	if (p->marks.next <= p->solo_until) {
		if (l->records)
			l->kept_until_ms = w->now_ms + KEEP_MS;
		return l->records == 0;
	}
	return w->now_ms >= l->kept_until_ms && kveil_lane_has_drained(&w->outlets.ledger, l, w->now_ms);
}

/* --- faults --- */

void kveil_outlet_fault(struct kveil_worker *w, struct kveil_partition *p, struct kveil_outlet *o, int32_t partition,
			rd_kafka_resp_err_t e)
{
	struct kveil_lane *l = kveil_outlet_lane(o, partition);
	unsigned failures = l ? l->failures + 1 : 1;
	struct kveil_error err;

	if (kveil_kafka_fault(e) == KVEIL_FAULT_PRODUCER) {
		w->producing.broken = true;
		snprintf(w->producing.fault, sizeof w->producing.fault, "%s: %s", o->name, rd_kafka_err2str(e));
	} else if (!p->rewind) {
		if (l && l->failures++ == 0)
			w->outlets.failing++;
		kveil_fail(&err, KVEIL_E_KAFKA_UNAVAILABLE, "producing fails: %s: %s", o->name, rd_kafka_err2str(e));
		kveil_tell_produce(w, &err);
		/* A transaction that fails takes its lanes with it. */
		if (w->txn.state != KVEIL_TXN_NONE && ++p->faults > failures)
			failures = p->faults;
		kveil_park_after_fault(w, p, failures);
	}
	p->spoilt = true;
	kveil_ask_rewind(w, p);
}

static void all_is_well(struct kveil_worker *w)
{
	w->producing.failures = 0;
	if (!w->producing.logged_ms)
		return;
	w->producing.logged_ms = 0;
	kveil_health_condition(w->params->health, w->producing.condition, NULL);
	kveil_log(KVEIL_LOG_INFO, w->name, "producing again");
}

void kveil_outlet_delivers(struct kveil_worker *w, struct kveil_lane *l)
{
	if (l->failures)
		w->outlets.failing--;
	l->failures = 0;
	if (!w->outlets.failing)
		all_is_well(w);
}

void kveil_outlets_forgive(struct kveil_worker *w)
{
	if (!w->outlets.failing && !w->producing.failures)
		return;
	for (size_t i = 0; i < w->outlets.count; i++)
		for (int32_t k = 0; k < w->outlets.at[i]->lane_count; k++)
			w->outlets.at[i]->lanes[k].failures = 0;
	w->outlets.failing = 0;
	all_is_well(w);
}

void kveil_outlet_timed(struct kveil_lane *l, rd_kafka_resp_err_t e)
{
	l->timed = NULL;
	if (!e)
		kveil_lane_smooth(l, kveil_clock_mono_ns() / 1000 - l->timed_us);
}

/* --- those that do not answer --- */

static void take_leaders(struct kveil_outlet *o, const struct rd_kafka_metadata_topic *t)
{
	for (int i = 0; i < t->partition_cnt; i++)
		if (t->partitions[i].id < o->lane_count)
			o->lanes[t->partitions[i].id].leaderless = t->partitions[i].leader < 0;
}

void kveil_outlets_look_for_leaders(struct kveil_worker *w)
{
	const struct rd_kafka_metadata *m;

	kveil_loop_beat(w->loop);
	if (rd_kafka_metadata(w->producer, 0, NULL, &m, METADATA_MS))
		return;
	w->outlets.leaderless = 0;
	for (size_t i = 0; i < w->outlets.count; i++) {
		struct kveil_outlet *o = w->outlets.at[i];
		for (int n = 0; n < m->topic_cnt; n++)
			if (strcmp(m->topics[n].topic, o->name) == 0)
				take_leaders(o, &m->topics[n]);
		for (int32_t k = 0; k < o->lane_count; k++)
			w->outlets.leaderless += o->lanes[k].leaderless;
	}
	rd_kafka_metadata_destroy(m);
}

bool kveil_outlets_are_dead(const struct kveil_worker *w)
{
	for (size_t i = 0; i < w->outlets.count; i++)
		for (int32_t k = 0; k < w->outlets.at[i]->lane_count; k++) {
			const struct kveil_lane *l = &w->outlets.at[i]->lanes[k];
			if (l->records && !kveil_lane_is_dead(l, w->now_ms))
				return false;
		}
	return true;
}

static size_t blocked_partitions(const struct kveil_worker *w)
{
	size_t n = 0;

	for (size_t i = 0; i < w->slots.cap; i++)
		n += w->slots.at[i] && w->slots.at[i]->wait == KVEIL_WAIT_LANE;
	return n;
}

static void tell(struct kveil_worker *w, size_t dead, const struct kveil_outlet *o, int32_t partition)
{
	const struct kveil_lane *l = &o->lanes[partition];
	struct kveil_error err;
	char more[48] = "";

	if (dead > 1)
		snprintf(more, sizeof more, " (and %zu more partitions)", dead - 1);
	if (l->leaderless)
		kveil_fail(&err, KVEIL_E_KAFKA_UNAVAILABLE, "%s[%d]%s has no leader; %zu partitions wait", o->name,
			   (int)partition, more, blocked_partitions(w));
	else
		kveil_fail(&err, KVEIL_E_KAFKA_UNAVAILABLE,
			   "%s[%d]%s has acknowledged nothing for %lld s; %u records are in flight to it, %zu "
			   "partitions wait",
			   o->name, (int)partition, more, (long long)(w->now_ms - l->moved_ms) / 1000,
			   (unsigned)l->records, blocked_partitions(w));
	kveil_health_condition(w->params->health, w->outlets.condition, "%s: %s", kveil_status_code(err.status),
			       err.message);
	kveil_count_retry(w, err.status);
	kveil_tell_now_and_then(w, &err, &w->outlets.logged_ms);
}

static bool does_not_answer(const struct kveil_worker *w, const struct kveil_lane *l)
{
	return l->leaderless || kveil_lane_is_dead(l, w->now_ms);
}

void kveil_outlets_tell(struct kveil_worker *w)
{
	const struct kveil_outlet *first = NULL;
	int32_t partition = 0;
	size_t dead = 0;

	for (size_t i = 0; i < w->outlets.count; i++)
		for (int32_t k = 0; k < w->outlets.at[i]->lane_count; k++)
			if (does_not_answer(w, &w->outlets.at[i]->lanes[k]) && dead++ == 0) {
				first = w->outlets.at[i];
				partition = k;
			}
	kveil_cell_set(w->cells.dead_outputs, (double)dead);
	if (dead)
		tell(w, dead, first, partition);
	else if (w->outlets.logged_ms) {
		w->outlets.logged_ms = 0;
		kveil_health_condition(w->params->health, w->outlets.condition, NULL);
		kveil_log(KVEIL_LOG_INFO, w->name, "all output partitions acknowledge again");
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Dead letters that wait, for replay and for those who look at them. */
#include "worker/letters.h"

#include "base/clock.h"
#include "base/log.h"
#include "kafka/search.h"
#include "worker/cluster.h"
#include "worker/waker.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	TIMEOUT_MS = 10000,
	POLL_MS = 200,
	OUTAGE_MS = 120000, /* how long the brokers may say nothing */
	QUIET_MS = 5000,    /* then it is looked at what is in the way */
};

struct kveil_letters {
	struct kveil_letters_params params;
	struct kveil_kafka_owner owner;
	rd_kafka_t *consumer;
	struct kveil_waker *waker;
	struct kveil_cluster cluster;
	struct kveil_catalog *catalog;
	rd_kafka_topic_partition_list_t *parts; /* offset: where it begins */
	int64_t *ends, *next;                   /* next: behind the last letter, or what cannot be read */
	struct kveil_search *search;            /* NULL: there was no need for one */
};

/* Letters of such a topic are not seen: nobody may take them for none. */
static void tell_problem(void *user, const struct kveil_topic_problem *problem)
{
	const bool *is_last = user;

	if (*is_last)
		kveil_log(KVEIL_LOG_WARN, "dead letters", "left out: %s", problem->reason);
}

/* What the cluster has, and the topics' limits. */
static enum kveil_status look_around(struct kveil_letters *l, struct kveil_error *err)
{
	const struct kveil_letters_params *p = &l->params;
	struct kveil_admin *admin;
	enum kveil_status status = kveil_admin_new(p->config, "dead letters", &admin, err);

	if (status)
		return status;
	status = kveil_admin_fetch(admin, &l->cluster, err);
	for (int turn = 0; !status && turn < 2; turn++) {
		bool is_last = turn == 1;
		kveil_catalog_unref(l->catalog);
		l->catalog = kveil_catalog_build(&l->cluster, p->plans, p->config->partition, tell_problem, &is_last);
		if (!l->catalog)
			status = kveil_no_memory(err, "the topics");
		else if (turn == 0)
			kveil_admin_limits(admin, &l->cluster, l->catalog, false);
	}
	kveil_admin_free(admin);
	return status;
}

static enum kveil_status open_client(struct kveil_letters *l, struct kveil_error *err)
{
	rd_kafka_conf_t *conf;
	char group[512];

	snprintf(l->owner.name, sizeof l->owner.name, "dead letters");
	snprintf(group, sizeof group, "%s.replay", l->params.config->kafka.group_id);
	enum kveil_status status = kveil_kafka_conf_consumer(l->params.config, &l->owner, group, &conf, err);
	if (!status)
		status = kveil_kafka_new(RD_KAFKA_CONSUMER, conf, &l->consumer, err);
	if (!status) {
		rd_kafka_poll_set_consumer(l->consumer);
		l->waker = kveil_waker_new(l->consumer);
	}
	return status;
}

static enum kveil_status add_topic(struct kveil_letters *l, const char *name, struct kveil_error *err)
{
	const struct kveil_topic *t = kveil_cluster_find(&l->cluster, name);

	if (!t)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "the dead-letter topic %s does not exist", name);
	for (int32_t i = 0; i < t->partitions; i++)
		if (!rd_kafka_topic_partition_list_find(l->parts, name, i))
			rd_kafka_topic_partition_list_add(l->parts, name, i);
	return KVEIL_OK;
}

/* A record that is not a letter would be written to its topic's end as one that failed. */
static enum kveil_status holds_letters(const struct kveil_letters *l, const char *name, struct kveil_error *err)
{
	for (size_t i = 0; i < l->catalog->count; i++) {
		const struct kveil_route *r = &l->catalog->routes[i];
		bool is_other = strcmp(r->topic, name) == 0;
		for (size_t v = 0; v < r->plan->view_count; v++)
			is_other |= r->outputs[v].topic && strcmp(r->outputs[v].topic, name) == 0;
		if (is_other && strcmp(r->dead.topic, name) != 0)
			return kveil_fail(err, KVEIL_E_CONFIG,
					  "%s is not a topic of dead letters: those of %s are in %s", name, r->topic,
					  r->dead.topic);
	}
	return KVEIL_OK;
}

/* Of a broker that has just come up, or gives something up: another answer will follow. */
static bool is_passing(rd_kafka_resp_err_t e)
{
	return e == RD_KAFKA_RESP_ERR_NOT_COORDINATOR || e == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE ||
	       e == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS || e == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION ||
	       e == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
}

static rd_kafka_resp_err_t ask_range(struct kveil_letters *l)
{
	rd_kafka_resp_err_t e = rd_kafka_committed(l->consumer, l->parts, TIMEOUT_MS);

	for (int i = 0; !e && i < l->parts->cnt; i++) {
		rd_kafka_topic_partition_t *t = &l->parts->elems[i];
		int64_t low = -1;
		e = t->err ? t->err
			   : kveil_kafka_range(l->consumer, t->topic, t->partition, &low, &l->ends[i], TIMEOUT_MS);
		if (t->offset < low)
			t->offset = low;
		l->next[i] = t->offset;
	}
	return e;
}

/* From where the last replay ended to what is there now. */
static enum kveil_status find_range(struct kveil_letters *l, struct kveil_error *err)
{
	l->ends = calloc((size_t)l->parts->cnt + 1, sizeof *l->ends);
	l->next = calloc((size_t)l->parts->cnt + 1, sizeof *l->next);
	if (!l->ends || !l->next)
		return kveil_no_memory(err, "partitions");
	int64_t end = kveil_clock_mono_ms() + TIMEOUT_MS;
	rd_kafka_resp_err_t e;
	while (is_passing(e = ask_range(l)) && kveil_clock_mono_ms() < end)
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
	if (!e)
		e = rd_kafka_assign(l->consumer, l->parts);
	return e ? kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "the dead letters cannot be read: %s",
			      rd_kafka_err2str(e))
		 : KVEIL_OK;
}

static enum kveil_status open(struct kveil_letters *l, struct kveil_error *err)
{
	enum kveil_status status = look_around(l, err);

	l->parts = rd_kafka_topic_partition_list_new(8);
	if (!status)
		status = open_client(l, err);
	if (!status && l->params.topic)
		status = holds_letters(l, l->params.topic, err);
	if (!status && l->params.topic)
		status = add_topic(l, l->params.topic, err);
	for (size_t i = 0; !status && !l->params.topic && i < l->catalog->count; i++)
		status = add_topic(l, l->catalog->routes[i].dead.topic, err);
	return status ? status : find_range(l, err);
}

enum kveil_status kveil_letters_open(const struct kveil_letters_params *p, struct kveil_letters **ret,
				     struct kveil_error *err)
{
	struct kveil_letters *l = calloc(1, sizeof *l);

	*ret = NULL;
	if (!l)
		return kveil_no_memory(err, "dead letters");
	l->params = *p;
	enum kveil_status status = open(l, err);
	if (status)
		kveil_letters_close(l);
	else
		*ret = l;
	return status;
}

void kveil_letters_close(struct kveil_letters *l)
{
	if (!l)
		return;
	kveil_search_free(l->search);
	bool ended = kveil_waker_free(l->waker) && kveil_kafka_close_consumer(l->consumer);
	if (l->parts)
		rd_kafka_topic_partition_list_destroy(l->parts);
	kveil_catalog_unref(l->catalog);
	kveil_cluster_clear(&l->cluster);
	free(l->ends);
	free(l->next);
	if (ended)
		free(l); /* or the client still logs as its owner */
}

const struct kveil_catalog *kveil_letters_catalog(const struct kveil_letters *l)
{
	return l->catalog;
}

size_t kveil_letters_partitions(const struct kveil_letters *l)
{
	return (size_t)l->parts->cnt;
}

struct kveil_letters_partition kveil_letters_partition(const struct kveil_letters *l, size_t number)
{
	const rd_kafka_topic_partition_t *t = &l->parts->elems[number];

	return (struct kveil_letters_partition){.topic = t->topic,
						.partition = t->partition,
						.next = t->offset,
						.end = l->ends[number],
						.note = kveil_span_of(t->metadata, t->metadata_size)};
}

/* Their count for none. */
size_t kveil_letters_partition_of(const struct kveil_letters *l, const rd_kafka_message_t *msg)
{
	for (int i = 0; i < l->parts->cnt; i++)
		if (l->parts->elems[i].partition == msg->partition &&
		    strcmp(l->parts->elems[i].topic, rd_kafka_topic_name(msg->rkt)) == 0)
			return (size_t)i;
	return (size_t)l->parts->cnt;
}

/* Where each partition is now; NULL: that cannot be said. */
static rd_kafka_topic_partition_list_t *positions(const struct kveil_letters *l)
{
	rd_kafka_topic_partition_list_t *now = rd_kafka_topic_partition_list_copy(l->parts);

	if (rd_kafka_position(l->consumer, now)) {
		rd_kafka_topic_partition_list_destroy(now);
		return NULL;
	}
	for (int i = 0; i < now->cnt; i++) {
		rd_kafka_topic_partition_t *t = &now->elems[i];
		/* Nothing consumed yet: the position is where it began. */
		t->offset = t->offset < 0 ? l->parts->elems[i].offset : t->offset;
		t->offset = t->offset < l->next[i] ? l->next[i] : t->offset;
	}
	return now;
}

/* Is there nothing left before the ends? Also where transaction markers or compaction leave gaps. */
static bool at_end(const struct kveil_letters *l)
{
	rd_kafka_topic_partition_list_t *now = positions(l);
	bool end = now != NULL;

	for (int i = 0; end && i < now->cnt; i++)
		end = now->elems[i].offset >= l->ends[i];
	if (now)
		rd_kafka_topic_partition_list_destroy(now);
	return end;
}

static bool stopped(const struct kveil_letters *l)
{
	return l->params.stop && atomic_load_explicit(l->params.stop, memory_order_relaxed);
}

static bool not_stopped(void *letters)
{
	return !stopped(letters);
}

static enum kveil_status go_to(struct kveil_letters *l, int i, int64_t next, struct kveil_error *err)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(list, l->parts->elems[i].topic, l->parts->elems[i].partition)->offset = next;
	enum kveil_status status = kveil_kafka_seek(l->consumer, list, err);
	rd_kafka_topic_partition_list_destroy(list);
	if (!status)
		l->next[i] = next;
	return status;
}

/* What kveil never wrote is passed over: there is no letter in it. */
static enum kveil_status pass_over(struct kveil_letters *l, int i, int64_t from, int64_t next, struct kveil_error *err)
{
	kveil_log(KVEIL_LOG_WARN, "dead letters", "%s[%d]: offsets %lld to %lld cannot be read, and are passed over",
		  l->parts->elems[i].topic, (int)l->parts->elems[i].partition, (long long)from, (long long)next - 1);
	return go_to(l, i, next, err);
}

static enum kveil_status need_search(struct kveil_letters *l, struct kveil_error *err)
{
	return l->search ? KVEIL_OK
			 : kveil_search_new(l->params.config, "dead letters", false, not_stopped, l, &l->search, err);
}

enum judgement {
	NEXT,
	NO_LETTER, /* or one that somebody else has to see */
	AGAIN,     /* it is read again from where it should have come */
};

/* A lying batch would take others with it (offsets.c). A gap is rare here. */
static enum kveil_status judge_gap(struct kveil_letters *l, int i, const rd_kafka_message_t *msg, enum judgement *ret,
				   struct kveil_error *err)
{
	const struct kveil_topic_place at = {l->parts->elems[i].topic, l->parts->elems[i].partition};
	enum kveil_status status = need_search(l, err);
	int64_t from = l->next[i], next;

	if (status)
		return status;
	switch (kveil_search_gap(l->search, at, msg, &from, &next)) {
	case KVEIL_GAP_TRUE:
		return KVEIL_OK;
	case KVEIL_GAP_LIE:
		*ret = NO_LETTER;
		return pass_over(l, i, l->next[i], next, err);
	case KVEIL_GAP_GONE:
	case KVEIL_GAP_UNKNOWN:
		break;
	}
	*ret = AGAIN;
	return go_to(l, i, l->next[i], err);
}

/* What comes behind the end that was seen at first is for the next one; what falls back is of a batch that lies. */
static enum kveil_status judge(struct kveil_letters *l, const rd_kafka_message_t *msg, enum judgement *ret,
			       struct kveil_error *err)
{
	size_t i = kveil_letters_partition_of(l, msg);
	enum kveil_status status = KVEIL_OK;

	*ret = NO_LETTER;
	if (i >= (size_t)l->parts->cnt || msg->offset < l->next[i] || l->next[i] >= l->ends[i])
		return KVEIL_OK;
	*ret = NEXT;
	if (msg->offset > l->next[i])
		status = judge_gap(l, (int)i, msg, ret, err);
	if (!status && *ret == NEXT && msg->offset >= l->ends[i])
		*ret = NO_LETTER;
	if (!status && *ret == NEXT)
		l->next[i] = msg->offset + 1;
	return status;
}

/* Nothing comes: is it a batch that cannot be read? */
static void look_what_is_there(struct kveil_letters *l)
{
	rd_kafka_topic_partition_list_t *now = positions(l);
	struct kveil_error err;
	enum kveil_status status = now ? need_search(l, &err) : KVEIL_OK;

	for (int i = 0; !status && now && i < now->cnt; i++) {
		const struct kveil_topic_place at = {now->elems[i].topic, now->elems[i].partition};
		int64_t from = now->elems[i].offset, next;
		if (from >= l->ends[i])
			continue;
		const struct kveil_answer a = kveil_search_ask(l->search, at, from);
		if ((a.kind == KVEIL_ANSWER_SILENT || a.kind == KVEIL_ANSWER_UNREADABLE) &&
		    kveil_search_end(l->search, at, from, l->ends[i], &a, &next))
			status = pass_over(l, i, from, next, &err);
	}
	if (status)
		kveil_log_error(KVEIL_LOG_WARN, "dead letters", &err);
	if (now)
		rd_kafka_topic_partition_list_destroy(now);
}

/* The next message; where none is at hand, more is fetched at once. */
static rd_kafka_message_t *poll_letters(struct kveil_letters *l)
{
	rd_kafka_message_t *msg = rd_kafka_consumer_poll(l->consumer, 0);

	for (int i = 0; l->waker && !msg && i < l->parts->cnt; i++)
		if (l->next[i] < l->ends[i] &&
		    kveil_waker_wake(l->waker, l->parts->elems[i].topic, l->parts->elems[i].partition))
			break;
	return msg ? msg : rd_kafka_consumer_poll(l->consumer, POLL_MS);
}

enum kveil_status kveil_letters_next(struct kveil_letters *l, rd_kafka_message_t **ret, struct kveil_error *err)
{
	int64_t now = kveil_clock_mono_ms(), end = now + OUTAGE_MS, quiet = now + QUIET_MS;

	*ret = NULL;
	while (!stopped(l) && !at_end(l)) {
		rd_kafka_message_t *msg = poll_letters(l);
		enum judgement what = AGAIN;
		enum kveil_status status = msg && !msg->err ? judge(l, msg, &what, err) : KVEIL_OK;
		if (!status && what == NEXT) {
			*ret = msg;
			return KVEIL_OK;
		}
		bool moved = msg && msg->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET;
		if (what != AGAIN)
			end = kveil_clock_mono_ms() + OUTAGE_MS;
		kveil_kafka_message_free(msg);
		if (status)
			return status;
		if (moved)
			return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE,
					  "the dead letters moved while they were read");
		if (kveil_clock_mono_ms() > quiet) {
			look_what_is_there(l);
			quiet = kveil_clock_mono_ms() + QUIET_MS;
		}
		if (kveil_clock_mono_ms() > end)
			return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "no dead letter came for %d s",
					  OUTAGE_MS / 1000);
	}
	return KVEIL_OK;
}

enum kveil_status kveil_letters_commit(struct kveil_letters *l, size_t number, int64_t next, struct kveil_span note,
				       struct kveil_error *err)
{
	const rd_kafka_topic_partition_t *of = &l->parts->elems[number];
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *t = rd_kafka_topic_partition_list_add(list, of->topic, of->partition);

	t->offset = next;
	t->metadata = note.len ? malloc(note.len) : NULL; /* librdkafka frees it with the list */
	t->metadata_size = t->metadata ? note.len : 0;
	if (t->metadata)
		memcpy(t->metadata, note.data, note.len);
	enum kveil_status status = kveil_kafka_commit_wait(l->consumer, list, TIMEOUT_MS, err);
	rd_kafka_topic_partition_list_destroy(list);
	return status;
}

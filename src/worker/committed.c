/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Is what we committed still there? Kafka deletes a group's offsets together with their topic, and lets nobody else
 * delete them under a member. So an offset that is gone means: the topic was deleted, and what stands in its place now
 * is another one, of which nothing was read. Therefore nothing is committed before this was asked: an offset of the old
 * topic, committed onto the new one, would hide for ever that the records below it were never read.
 *
 * What remains is a topic deleted and made anew between the answer and the commit that follows at once. Where the
 * client tells the ids of topics (librdkafka 2.3), the commit carries the id of the topic whose records were read, and
 * the next question, of this process or another, finds that the topic has another one.
 */
#include "base/clock.h"
#include "base/thread.h"
#include "worker/hold.h"
#include "worker/loop.h"

enum {
	ANSWER_MS = 10000, /* after that the client says that nobody answered */
	IDS_MS = 2000,     /* no answer means nothing: commits do not wait for it for long */
	FRESH_MS = 10000,  /* an older answer is no basis for a commit: the process may have been frozen since */
	LATE_MS = 3000,    /* and this is when we say so */
	END_MS = 2000,
};

static rd_kafka_topic_partition_list_t *committed_partitions(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(8);

	for (size_t i = 0; i < w->slots.cap && !w->assignment.unresolved; i++) {
		const struct kveil_partition *p = w->slots.at[i];
		if (p && p->committed >= 0)
			rd_kafka_topic_partition_list_add(list, p->topic, p->id);
	}
	return list;
}

static void judge(struct kveil_worker *w, const rd_kafka_topic_partition_t *answer, const char *topic_id)
{
	struct kveil_commit_note note;
	struct kveil_partition *p = kveil_slots_find(&w->slots, answer->topic, answer->partition);

	if (!p || p->committed < 0 || answer->err)
		return;
	kveil_commit_note_get(answer, &note);
	if (answer->offset < 0)
		kveil_partition_begin_anew(w, p, "its committed offset is gone");
	else if (kveil_topic_id_is_another(p->topic_id, note.topic, topic_id))
		kveil_partition_begin_anew(w, p, "its id is another");
	else if (p->unplaced)
		kveil_partition_stop_out_of_range(w, p);
}

static enum kveil_status judge_all(struct kveil_worker *w, rd_kafka_resp_err_t e,
				   const rd_kafka_topic_partition_list_t *list, const struct kveil_topic_ids *ids,
				   struct kveil_error *err)
{
	for (int i = 0; !e && i < list->cnt; i++) {
		e = list->elems[i].err;
		judge(w, &list->elems[i], kveil_topic_ids_find(ids, list->elems[i].topic));
	}
	return e ? kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "the group's committed offsets cannot be read: %s",
			      rd_kafka_err2str(e))
		 : KVEIL_OK;
}

/* The client's own call blocks, and its admin call aborts the process when the coordinator goes away (2.0.2). */
struct kveil_question {
	rd_kafka_t *consumer;
	rd_kafka_topic_partition_list_t *list;
	struct kveil_topic_ids ids;
	rd_kafka_resp_err_t error;
	pthread_t thread;
	_Atomic bool done;
	bool stale; /* about an assignment that has ended */
	int64_t at_ms;
};

static void *ask_main(void *arg)
{
	struct kveil_question *q = arg;

	q->error = rd_kafka_committed(q->consumer, q->list, ANSWER_MS);
	/* Behind it: a topic that is the same now was so when it was answered. */
	if (!q->error)
		kveil_topic_ids_ask(q->consumer, q->list, IDS_MS, &q->ids);
	atomic_store(&q->done, true);
	return NULL;
}

static void free_question(struct kveil_question *q)
{
	rd_kafka_topic_partition_list_destroy(q->list);
	kveil_topic_ids_clear(&q->ids);
	free(q);
}

bool kveil_committed_ask(struct kveil_worker *w)
{
	if (w->commits.question || w->commits.running)
		return false;
	rd_kafka_topic_partition_list_t *list = committed_partitions(w);
	bool none = list->cnt == 0;
	struct kveil_question *q = none ? NULL : calloc(1, sizeof *q);
	if (q)
		*q = (struct kveil_question){.consumer = w->consumer, .list = list, .at_ms = w->now_ms};
	if (q && pthread_create(&q->thread, NULL, ask_main, q) == 0) {
		w->commits.question = q;
		return false;
	}
	free(q);
	rd_kafka_topic_partition_list_destroy(list);
	return none;
}

static void say_late(struct kveil_worker *w, const char *why)
{
	w->commits.answer_late = true;
	kveil_count_retry(w, KVEIL_E_KAFKA_UNAVAILABLE);
	kveil_health_condition(w->params->health, w->commits.condition, "%s: %s",
			       kveil_status_code(KVEIL_E_KAFKA_UNAVAILABLE), why);
}

static void say_in_time(struct kveil_worker *w)
{
	if (w->commits.answer_late)
		kveil_health_condition(w->params->health, w->commits.condition, NULL);
	w->commits.answer_late = false;
}

/* True: nothing in it speaks against a commit. */
static bool take_answer(struct kveil_worker *w, const struct kveil_question *q)
{
	struct kveil_error err;

	if (q->stale)
		return false;
	if (judge_all(w, q->error, q->list, &q->ids, &err)) {
		say_late(w, err.message);
		return false;
	}
	say_in_time(w);
	return w->now_ms - q->at_ms < FRESH_MS;
}

bool kveil_committed_answered(struct kveil_worker *w)
{
	struct kveil_question *q = w->commits.question;

	if (q && !atomic_load(&q->done)) {
		if (!w->commits.answer_late && !q->stale && w->now_ms - q->at_ms >= LATE_MS)
			say_late(w, "waiting for the broker that keeps the group's offsets");
		return false;
	}
	if (!q)
		return false;
	pthread_join(q->thread, NULL);
	w->commits.question = NULL;
	bool may = take_answer(w, q);
	free_question(q);
	return may;
}

enum kveil_status kveil_committed_ask_wait(struct kveil_worker *w, int wait_ms, struct kveil_error *err)
{
	rd_kafka_topic_partition_list_t *list = committed_partitions(w);
	const struct kveil_topic_ids none = {0}; /* whoever has the partition next asks for them */
	enum kveil_status status = KVEIL_OK;

	kveil_committed_forget(w);
	if (list->cnt)
		status = judge_all(w, rd_kafka_committed(w->consumer, list, wait_ms), list, &none, err);
	rd_kafka_topic_partition_list_destroy(list);
	return status;
}

void kveil_committed_forget(struct kveil_worker *w)
{
	if (w->commits.question)
		w->commits.question->stale = true;
	say_in_time(w);
}

bool kveil_committed_end(struct kveil_worker *w)
{
	if (!w->commits.question)
		return true;
	if (!kveil_thread_ends_by(w->commits.question->thread, kveil_clock_mono_ms() + END_MS)) {
		pthread_detach(w->commits.question->thread);
		return false; /* and the question stays with it */
	}
	free_question(w->commits.question);
	w->commits.question = NULL;
	return true;
}

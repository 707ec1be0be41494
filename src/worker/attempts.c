/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes that end at one record, one replica after the other. A process that begins leaves a note beside each
 * committed offset. It is gone when the offset has passed, when the process lets go in order, or when it has lived for
 * a while. Who finds one goes on carefully: one record at a time, with a note of its own while it is in hand, gone when
 * the process has survived it. So the count is only of processes that ended with this record in hand: others were
 * killed while there was no record, or with one of another partition. With five the record is set aside unread:
 * processes that are killed again and again, whatever they have in hand, hardly die at one record so often.
 *
 *   begin: 1 ─ ended ─ in hand: 2 ─ ended ─ … in hand: 5 ─ ended ─ begin: a letter that points to it, and on behind it
 *                               └ survived, lived, let go: no count
 */
#include "worker/attempts.h"
#include "base/clock.h"
#include "base/log.h"
#include "worker/commit_note.h"
#include "worker/loop.h"

enum { WAIT_MS = 2000, LIVED_MS = 30000 };

/* What cannot be noted is not counted, and read all the same. */
static bool commit_notes(struct kveil_worker *w, rd_kafka_topic_partition_list_t *list)
{
	struct kveil_error err;
	/* What a transaction holds has to be committed first: then there is another chance. */
	bool early = w->txn.state > KVEIL_TXN_READY;
	bool failed = early || (list->cnt && w->mode->note(w, list, WAIT_MS, &err));

	if (failed && !early)
		kveil_log_error(KVEIL_LOG_WARN, w->name, &err);
	rd_kafka_topic_partition_list_destroy(list);
	return !failed;
}

void kveil_attempts_put_note(const struct kveil_partition *p, rd_kafka_topic_partition_t *offset)
{
	struct kveil_commit_note note = {.attempts = p->attempts.count};

	memcpy(note.topic, p->topic_id, sizeof note.topic);
	if (note.attempts || note.topic[0])
		kveil_commit_note_put(&note, offset);
}

static void add_note(rd_kafka_topic_partition_list_t *list, const struct kveil_partition *p)
{
	rd_kafka_topic_partition_t *t = rd_kafka_topic_partition_list_add(list, p->topic, p->id);

	t->offset = p->committed;
	kveil_attempts_put_note(p, t);
}

void kveil_attempts_begin(struct kveil_worker *w, rd_kafka_topic_partition_list_t *committed)
{
	rd_kafka_topic_partition_list_t *notes = rd_kafka_topic_partition_list_new(committed->cnt);

	for (int i = 0; i < committed->cnt; i++) {
		rd_kafka_topic_partition_t *t = &committed->elems[i];
		struct kveil_partition *p = kveil_slots_find(&w->slots, t->topic, t->partition);
		struct kveil_commit_note note;
		if (p->committed < 0)
			continue;
		kveil_commit_note_get(t, &note);
		memcpy(p->topic_id, note.topic, sizeof p->topic_id);
		p->attempts.poison = note.attempts >= KVEIL_ATTEMPTS;
		p->attempts.count = p->attempts.poison || !note.attempts ? 1 : note.attempts;
		p->attempts.began_ms = kveil_clock_mono_ms();
		p->attempts.in_hand = -1;
		w->careful |= note.attempts > 0;
		p->attempts.poison_at = p->attempts.poison ? p->committed : -1;
		if (p->attempts.poison) {
			t->offset++;
			kveil_ask_rewind(w, p); /* nothing is taken before it is set aside */
		}
		add_note(notes, p);
	}
	(void)commit_notes(w, notes);
}

void kveil_attempts_first(struct kveil_worker *w, struct kveil_partition *p, int64_t offset)
{
	rd_kafka_topic_partition_list_t *notes = rd_kafka_topic_partition_list_new(1);

	p->committed = p->committing = offset;
	p->attempts.count = 1;
	p->attempts.in_hand = -1;
	p->attempts.began_ms = kveil_clock_mono_ms();
	add_note(notes, p);
	/* Only what was committed can be missed later: see committed.c. */
	if (!commit_notes(w, notes))
		p->committed = p->committing = -1;
}

void kveil_attempts_in_hand(struct kveil_worker *w, struct kveil_partition *p, int64_t offset)
{
	/* The note is of the first record that is not committed: it can be no other's. */
	if (p->committed < 0 || p->anew || kveil_watermark_open(&p->marks) || w->txn.state > KVEIL_TXN_READY)
		return;
	rd_kafka_topic_partition_list_t *notes = rd_kafka_topic_partition_list_new(1);
	/* A record that waits comes again: it is one attempt of this process, however often. */
	if (!p->attempts.count || offset != p->committed || offset != p->attempts.in_hand)
		p->attempts.count = p->attempts.count && offset == p->committed ? p->attempts.count + 1 : 2;
	p->attempts.in_hand = offset;
	p->committed = p->committing = offset;
	add_note(notes, p);
	(void)commit_notes(w, notes);
}

bool kveil_attempts_over(struct kveil_partition *p, int64_t offset, bool in_order)
{
	bool lived = kveil_clock_mono_ms() - p->attempts.began_ms > LIVED_MS;

	if (!p->attempts.count || (offset == p->committed && !lived && !in_order))
		return false;
	p->attempts.count = 0;
	return true;
}

void kveil_attempts_careful(struct kveil_worker *w)
{
	struct kveil_error err;
	bool any = false, drained;

	for (size_t i = 0; i < w->slots.cap; i++)
		any |= w->slots.at[i] && kveil_clock_mono_ms() - w->slots.at[i]->attempts.began_ms < LIVED_MS;
	w->careful = any;
	if (!any)
		return;
	/* Whatever becomes of the record, the process is still there. */
	if (w->mode->settle(w, WAIT_MS, WAIT_MS, &drained, &err))
		kveil_log_error(KVEIL_LOG_DEBUG, w->name, &err);
}

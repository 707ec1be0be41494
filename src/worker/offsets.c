/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which offsets are believed. Brokers number batches, and look at no number that a batch written by hand gives its own
 * records. The client believes those, and reads on behind the highest: what others wrote meanwhile counts as read, and
 * nobody misses it.
 *
 *   offsets      5        6      7      8      9      10
 *                [ true ][ "10" ][ x ][ y ][ z ][ true: not x, y, z
 *
 * So a gap is proved before it is passed. The mark of a transaction proves it (marker.h). Else the broker is asked for
 * the offset that the record claims: it must give the same record again. If it gives another, or none, the batch lies:
 * it is set aside as a whole, and the partition goes on behind it.
 *
 * Compaction leaves a gap for each record that it takes away. There not every gap is looked at: a partition has some
 * looks free, and then a worker spends a small part of its time with them.
 */
#include "worker/offsets.h"
#include "base/clock.h"
#include "base/log.h"
#include "worker/hold.h"
#include "worker/loop.h"

#include <inttypes.h>

enum {
	DOUBTED_MORE = 4096, /* one batch may lie often: not one turn back for each */
	FREE_LOOKS = 64,     /* of a partition, at gaps that are none of its faults */
	LOOK_SHARE = 20,     /* then a look has to wait for as many times as long as the last took */
};

/*
 * Offsets only rise. So what falls back is gone back to; and up to the offset that was believed wrongly, records are
 * counted one by one, which may take some twice.
 */
static void doubt(struct kveil_worker *w, struct kveil_partition *p, int64_t offset, int64_t until)
{
	struct kveil_error why;

	p->offsets.doubted_until = until > p->offsets.doubted_until ? until : p->offsets.doubted_until;
	kveil_fail(&why, KVEIL_E_UNREADABLE_BATCH,
		   "%s[%" PRId32 "]: a batch claims false offsets for its records near %lld", p->topic, p->id,
		   (long long)offset);
	kveil_count_fetch_error(w, why.status);
	kveil_tell_now_and_then(w, &why, &w->quarantine.logged_ms);
}

/* Where the gap began that an offset below the position was passed over in: there the lie is. */
static int64_t gap_over(const struct kveil_partition *p, int64_t offset)
{
	int64_t at = -1;

	for (size_t i = 0; i < p->offsets.gap_count && i < KVEIL_GAPS; i++)
		if (p->offsets.gaps[i] <= offset && p->offsets.gaps[i] > at)
			at = p->offsets.gaps[i];
	return at < 0 ? offset : at;
}

static void fall_back(struct kveil_worker *w, struct kveil_partition *p, int64_t offset, int64_t next)
{
	doubt(w, p, offset, next + DOUBTED_MORE);
	p->rewind_to = gap_over(p, offset);
	p->offsets.gap_count = 0;
	kveil_ask_rewind(w, p);
}

/* --- gaps --- */

static bool may_look(const struct kveil_worker *w, const struct kveil_partition *p)
{
	return p->offsets.true_gaps < FREE_LOOKS || kveil_clock_mono_ms() >= w->quarantine.gap_due_ms;
}

static void tell_unproved(struct kveil_worker *w, const struct kveil_partition *p)
{
	kveil_cell_add(w->cells.gaps_unproved, 1);
	if (!kveil_clock_once_a_minute(&w->quarantine.gap_logged_ms, kveil_clock_mono_ms()))
		return;
	kveil_log(KVEIL_LOG_INFO, w->name,
		  "%s[%" PRId32 "]: more gaps between offsets than can be checked, as after compaction", p->topic,
		  p->id);
}

static void set_aside(struct kveil_worker *w, struct kveil_partition *p, int64_t from, int64_t next)
{
	struct kveil_error why;

	kveil_fail(&why, KVEIL_E_UNREADABLE_BATCH, "a batch claims false offsets for its records");
	kveil_count_fetch_error(w, why.status);
	if (p->wait || p->waiting.first)
		kveil_hold(w, p); /* what was taken before this comes first; then it comes again */
	else
		(void)kveil_set_aside_batch(w, p, from, next, &why);
}

/* false: there is none to pass, and where to go on is settled. */
static bool pass_gap(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg, int64_t from)
{
	int64_t next = -1, low, high;

	if (w->intake.before == msg->offset) {
		kveil_cell_add(w->cells.gaps_marked, 1);
		return true;
	}
	/* The first record of all that there are is not a jump. */
	if (from < 0 &&
	    (msg->offset == 0 || (!rd_kafka_get_watermark_offsets(w->consumer, p->topic, p->id, &low, &high) &&
				  high > low && msg->offset == low)))
		return true;
	if (!may_look(w, p)) {
		p->offsets.gaps[p->offsets.gap_count++ % KVEIL_GAPS] = from;
		tell_unproved(w, p);
		return true;
	}
	int64_t begin = kveil_clock_mono_ms();
	struct kveil_search *s = kveil_quarantine_search(w);
	enum kveil_gap found =
	    s ? kveil_search_gap(s, (struct kveil_topic_place){p->topic, p->id}, msg, &from, &next) : KVEIL_GAP_UNKNOWN;
	int64_t end = kveil_clock_mono_ms();
	w->quarantine.gap_due_ms = end + LOOK_SHARE * (end - begin);
	if (found == KVEIL_GAP_TRUE && !p->rewind) {
		p->offsets.true_gaps++;
		kveil_cell_add(w->cells.gaps_looked_at, 1);
		return true;
	}
	if (found == KVEIL_GAP_LIE && !p->rewind)
		set_aside(w, p, from, next);
	else
		kveil_ask_rewind(w, p);
	return false;
}

/* No writer's delta reaches so far: it is the head's own offset, which no checksum covers, that was damaged. By its
 * word the broker gives this batch for every offset behind it. Those in the same response are counted on; the client's
 * next fetch is out of range, and goes on where the count is. */
static bool has_damaged_head(const struct kveil_worker *w, const struct kveil_partition *p, int64_t offset)
{
	int64_t low, high;

	return !rd_kafka_get_watermark_offsets(w->consumer, p->topic, p->id, &low, &high) && high > 0 &&
	       offset - high > INT32_MAX;
}

bool kveil_offsets_settle(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg,
			  int64_t *ret)
{
	int64_t next = kveil_partition_position(p), due = next;
	bool doubted = next >= 0 && next <= p->offsets.doubted_until;

	*ret = doubted ? next : msg->offset;
	if (doubted && p->offsets.claimed > next)
		due = p->offsets.claimed;
	if (__builtin_expect(msg->offset != due, 0)) {
		if (msg->offset < due && !doubted) {
			fall_back(w, p, msg->offset, next);
			return false;
		}
		if (msg->offset > due && next >= 0 && has_damaged_head(w, p, msg->offset)) {
			doubt(w, p, next, next);
			*ret = next;
			return true;
		}
		/* The client may have passed a mark, and then jumped. */
		int64_t from = w->intake.before > due && w->intake.before < msg->offset ? w->intake.before : due;
		if (msg->offset > due && !pass_gap(w, p, msg, from))
			return false;
	}
	p->offsets.claimed = msg->offset + 1;
	return true;
}

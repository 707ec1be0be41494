/* SPDX-License-Identifier: Apache-2.0 */
/* What becomes of a record that failed, by the rule file's word: a dead letter, a stop, or nothing. */
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "keys/keystore.h"
#include "worker/handover.h"
#include "worker/hold.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>

void kveil_count_failure(struct kveil_worker *w, const struct kveil_work *k, enum kveil_status status)
{
	if (!w->cells.failed[status])
		w->cells.failed[status] =
		    kveil_metrics_cell(w->params->metrics, KVEIL_M_RECORDS_FAILED, kveil_status_code(status), NULL);
	kveil_cell_add(w->cells.failed[status], 1);
	kveil_tally_failed(k->at.partition->route->tally, status);
}

/* Seals the record into w->hand.letter. WAITS: *why. */
static enum kveil_outcome seal(struct kveil_worker *w, const struct kveil_work *k,
			       const struct kveil_dead_letter_where *where, enum kveil_dead_letter_part part,
			       struct kveil_error *why)
{
	struct kveil_key *key;
	enum kveil_status status =
	    kveil_keyring_key(w->ring, kveil_span_str(w->params->config->dead_letter.key), KVEIL_USE_SEAL, &key, why);

	if (!status)
		status =
		    kveil_dead_letter_seal(key, where, &k->in->record, k->in->timestamp_ms, part, &w->hand.letter, why);
	if (!status)
		return KVEIL_SENT;
	if (kveil_status_class(status) == KVEIL_CLASS_RETRY)
		return KVEIL_WAITS;
	kveil_stop_at(w, k, true, why);
	return KVEIL_ABANDONED;
}

/* The broker did not take the letter. true: its record comes again, and a letter then holds so much of it. */
static bool letter_comes_again(struct kveil_worker *w, const struct kveil_work *k, int part)
{
	const struct kveil_refusal *before = kveil_known_refusal(k);
	struct kveil_refusal refusal = before ? *before : (struct kveil_refusal){.offset = k->in->offset};

	refusal.part = part;
	return w->hand.handed && w->mode->remember(w, k->at.partition, &refusal);
}

/* How much of the record a letter can hold: by arithmetic, for sealing takes as much memory again, and twice. */
static int first_part(const struct kveil_worker *w, const struct kveil_work *k, size_t most)
{
	const struct kveil_refusal *before = kveil_known_refusal(k);
	int part = k->pointer ? KVEIL_LETTER_NO_RECORD : before ? before->part : KVEIL_LETTER_WHOLE;

	while (part < KVEIL_LETTER_NO_RECORD && !w->producing.compresses &&
	       kveil_dead_letter_bytes(&k->in->record, (enum kveil_dead_letter_part)part) > most)
		part++;
	return part;
}

/* The first one at once, and then once a minute: a bad producer may make thousands a second. */
static void tell_letter(struct kveil_worker *w, const struct kveil_work *k, enum kveil_status why)
{
	char topic[300];

	w->hand.letters_untold++;
	if (!kveil_clock_once_a_minute(&w->hand.letters_told_ms, w->now_ms))
		return;
	snprintf(topic, sizeof topic, "%s[%" PRId32 "]", k->at.partition->topic, k->at.partition->id);
	kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_DEAD_LETTERS_WRITTEN,
					  .topic = topic,
					  .count = w->hand.letters_untold,
					  .detail = kveil_status_code(why)});
	w->hand.letters_untold = 0;
}

/* Nothing of the record leaves but the sealed envelope; what does not fit is left out of it. WAITS: *ret_wait. */
static enum kveil_outcome dead_letter(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_error *why,
				      struct kveil_error *ret_wait)
{
	const struct kveil_worker_route *route = k->at.partition->route;
	int32_t partition = k->at.partition->id % route->route->dead.partitions;
	struct kveil_dead_letter_where where;
	int part = first_part(w, k, route->route->dead.max_bytes);

	kveil_dead_letter_describe(&where, route->route->topic, k->at.partition->id, k->in->offset, why);
	for (;; part++) {
		size_t bytes = kveil_dead_letter_bytes(&k->in->record, (enum kveil_dead_letter_part)part);
		if (!kveil_outlet_wait(w, k->at.partition, route->dead, partition, bytes, k->solo))
			return KVEIL_NO_ROOM;
		enum kveil_outcome o = seal(w, k, &where, (enum kveil_dead_letter_part)part, ret_wait);
		if (o != KVEIL_SENT)
			return o;
		struct kveil_record letter = {.key = KVEIL_SPAN_NULL,
					      .value = kveil_buf_span(&w->hand.letter),
					      .headers = where.headers,
					      .header_count = where.count};
		o = KVEIL_TOO_LARGE;
		/* The last word on the smallest one is the broker's: its limit may have been raised. */
		if (part == KVEIL_LETTER_NO_RECORD || kveil_fits(w, &letter, route->route->dead.max_bytes))
			o = kveil_hand_over(
			    w, k, &(struct kveil_way){route->dead, partition, kveil_kafka_sends_bytes(&letter)},
			    &letter, 0);
		if (o == KVEIL_SENT) {
			tell_letter(w, k, why->status);
			kveil_acknowledged(k);
		}
		if (o == KVEIL_SENT || o == KVEIL_ABANDONED)
			return o;
		if (o == KVEIL_REFUSED || part == KVEIL_LETTER_NO_RECORD)
			break;
		if (letter_comes_again(w, k, part + 1))
			return kveil_abandon(w, k);
	}
	/* Nobody's fault but the topic's, which somebody may mend: until then the others go on without it. */
	(void)letter_comes_again(w, k, part);
	kveil_fail(ret_wait, KVEIL_E_REFUSED_BY_BROKER, "the dead letter itself is refused (it is for: %s)",
		   kveil_status_code(why->status));
	return KVEIL_WAITS;
}

static void drop(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_error *why)
{
	kveil_cell_add(w->cells.dropped, 1);
	w->hand.drops_untold++;
	if (kveil_clock_once_a_minute(&w->hand.drops_told_ms, w->now_ms)) {
		kveil_log(KVEIL_LOG_WARN, w->name, "drop: %llu records dropped, the last %s[%d] offset %lld: %s",
			  (unsigned long long)w->hand.drops_untold, k->at.partition->topic, (int)k->at.partition->id,
			  (long long)k->in->offset, kveil_status_code(why->status));
		w->hand.drops_untold = 0;
	}
	kveil_acknowledged(k);
}

/* What becomes of a record that failed, by the rule file's word. */
enum kveil_outcome kveil_set_aside(struct kveil_worker *w, const struct kveil_work *k, enum kveil_on_error how,
				   const struct kveil_error *why, struct kveil_error *ret_wait)
{
	enum kveil_outcome o = KVEIL_ABANDONED;

	switch (how) {
	case KVEIL_ON_ERROR_DEAD_LETTER:
		o = dead_letter(w, k, why, ret_wait);
		break;
	case KVEIL_ON_ERROR_DROP:
		drop(w, k, why);
		o = KVEIL_SENT;
		break;
	case KVEIL_ON_ERROR_STOP:
		kveil_stop_at(w, k, true, why);
		break;
	}
	if (!kveil_must_wait(o))
		kveil_count_failure(w, k, why->status);
	return o;
}

bool kveil_set_aside_batch(struct kveil_worker *w, struct kveil_partition *p, int64_t first, int64_t next,
			   const struct kveil_error *why)
{
	const struct kveil_incoming in = {.offset = first};
	struct kveil_work k = {.at = {.partition = p, .slot = p->slot, .generation = p->generation},
			       .in = &in,
			       .solo = first <= p->solo_until,
			       .pointer = true};
	struct kveil_error err;
	uint32_t last;

	if (!p->route)
		return true;
	kveil_log(KVEIL_LOG_ERROR, w->name, "%s[%d]: offsets %lld to %lld are set aside: %s", p->topic, (int)p->id,
		  (long long)first, (long long)next - 1, why->message);
	if (!kveil_watermark_add(&p->marks, first, &k.at.seq) ||
	    (next - 1 > first && !kveil_watermark_add(&p->marks, next - 1, &last))) {
		kveil_no_memory(&err, "a watermark");
		kveil_worker_fail(w, &err);
		return true;
	}
	if (next - 1 > first)
		kveil_watermark_done(&p->marks, last);
	w->hand.handed = 0;
	enum kveil_outcome o = kveil_set_aside(w, &k, k.at.partition->route->route->plan->on_error, why, &err);
	w->hand.torn |= o != KVEIL_SENT && w->hand.handed;
	if (kveil_must_wait(o)) {
		kveil_watermark_undo(&p->marks, k.at.seq);
		kveil_stand_aside(w, p, o, &err);
		kveil_hold(w, p);
		return false;
	}
	kveil_park_over(w, p);
	if (!p->stopped) {
		kveil_tell_fetch_over(w, p);
		kveil_ask_rewind(w, p); /* goes on behind it, when the letter is there */
	}
	return true;
}

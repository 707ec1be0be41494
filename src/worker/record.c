/* SPDX-License-Identifier: Apache-2.0 */
/* One record: through the engine, out to every view, or sealed into a dead letter. Whatever does not end in "done"
 * leaves its slot in the watermark open, so that nothing behind it is committed. */
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "keys/keystore.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>

enum { SAMPLE_EVERY = 64, SOLO_FLUSH_MS = 10, SOLO_MS = 5000, FULL_MS = 1000 };

enum outcome {
	SENT,
	ABANDONED, /* to be read again, or stopped: nothing more to do here */
	WAIT,      /* to be tried again */
	NO_ROOM,   /* the same, when the lane that its partition is blocked on has some */
	REFUSED,   /* by the broker, alone in its request */
	TOO_LARGE,
};

/* The record at hand. */
struct work {
	struct kveil_position at;
	const struct kveil_incoming *in;
	bool solo;
	bool pointer; /* there is no record, only where it should be */
};

/* librdkafka's producer takes 0 for "now": the first millisecond of 1970 becomes the second. */
static int64_t timestamp_of(const rd_kafka_message_t *msg)
{
	rd_kafka_timestamp_type_t type;
	int64_t t = rd_kafka_message_timestamp(msg, &type);

	if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || t < 0)
		return 0;
	return t == 0 ? 1 : t;
}

/* It will be read again. */
static enum outcome abandon(struct kveil_worker *w, const struct work *k)
{
	kveil_worker_ask_rewind(w, k->at.partition);
	return ABANDONED;
}

/* Serves delivery reports and nothing else. false: too long. */
static bool serve_until(struct kveil_worker *w, int64_t end_ms)
{
	kveil_loop_beat(w->loop);
	/* A flush does not wait for the linger time. */
	rd_kafka_flush(w->producer, SOLO_FLUSH_MS);
	return !kveil_worker_stopping(w) && kveil_clock_mono_ms() < end_ms;
}

static bool wait_for_report(struct kveil_worker *w)
{
	int64_t end = kveil_clock_mono_ms() + SOLO_MS;

	while (w->solo.waiting && serve_until(w, end))
		;
	bool reported = !w->solo.waiting;
	w->solo.waiting = false;
	return reported;
}

/* One of what the record waits for is settled. */
static void acknowledged(const struct work *k)
{
	kveil_watermark_done(&k->at.partition->marks, k->at.seq);
}

/* After a message went out alone. */
static enum outcome judge_solo(struct kveil_worker *w, const struct work *k, struct kveil_outlet *o, int32_t partition)
{
	if (!wait_for_report(w))
		return abandon(w, k);
	switch (kveil_kafka_fault(w->solo.result)) {
	case KVEIL_FAULT_NONE:
		return SENT;
	case KVEIL_FAULT_REFUSED:
		acknowledged(k); /* this message is out of the world, though not the record */
		return REFUSED;
	case KVEIL_FAULT_TOO_LARGE:
		acknowledged(k);
		return TOO_LARGE;
	case KVEIL_FAULT_PRODUCER:
	case KVEIL_FAULT_WORLD:
		kveil_outlet_fault(w, k->at.partition, o, partition, w->solo.result);
		break;
	case KVEIL_FAULT_PURGED:
		break;
	}
	return abandon(w, k);
}

static void note_handed_over(struct kveil_worker *w, const struct work *k, struct kveil_lane *l, size_t bytes,
			     void *token)
{
	kveil_lane_hand_over(&w->ledger, l, bytes, w->now_ms);
	if (!l->timed) {
		l->timed = token;
		l->timed_us = kveil_clock_mono_ns() / 1000;
	}
	k->at.partition->unreported++;
	k->at.partition->sent_last = k->in->offset;
	w->handed++;
	kveil_watermark_hold(&k->at.partition->marks, k->at.seq);
}

/* Where a message goes, and what it takes on its way there (kveil_kafka_sends_bytes). */
struct way {
	struct kveil_outlet *outlet;
	int32_t partition;
	size_t bytes;
};

/* Hands one message to the producer; in solo mode waits for what becomes of it. */
static enum outcome hand_over(struct kveil_worker *w, const struct work *k, const struct way *to,
			      const struct kveil_record *record, int64_t timestamp_ms)
{
	struct kveil_partition *p = k->at.partition;
	struct kveil_lane *lane = kveil_outlet_lane(to->outlet, to->partition);
	void *token = kveil_position_token(&k->at);
	int64_t full_end = 0;
	rd_kafka_resp_err_t e;

	if (!lane || !w->mode->begin(w, to->bytes))
		return abandon(w, k);
	w->solo.waiting = k->solo;
	w->solo.token = token;
	const struct kveil_staged m = {*record, timestamp_ms, token};
	while ((e = kveil_outlet_send(w, to->outlet, to->partition, &m)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		int64_t now = kveil_clock_mono_ms();
		full_end = full_end ? full_end : now + FULL_MS;
		kveil_loop_beat(w->loop);
		rd_kafka_poll(w->producer, 50);
		if (kveil_worker_stopping(w) || p->rewind || now > full_end)
			return abandon(w, k);
	}
	if (!e) {
		note_handed_over(w, k, lane, to->bytes, token);
		return k->solo ? judge_solo(w, k, to->outlet, to->partition) : SENT;
	}
	w->solo.waiting = false;
	if (kveil_kafka_fault(e) == KVEIL_FAULT_TOO_LARGE)
		return TOO_LARGE;
	kveil_outlet_fault(w, p, to->outlet, to->partition, e);
	return ABANDONED;
}

static bool must_wait(enum outcome o)
{
	return o == WAIT || o == NO_ROOM;
}

static void count_failure(struct kveil_worker *w, enum kveil_status status)
{
	if (!w->failed[status])
		w->failed[status] =
		    kveil_metrics_cell(w->params->metrics, KVEIL_M_RECORDS_FAILED, kveil_status_code(status), NULL);
	kveil_cell_add(w->failed[status], 1);
}

static void stop(struct kveil_worker *w, const struct work *k, bool by_rules, const struct kveil_error *why)
{
	kveil_worker_stop_partition(w, k->at.partition, by_rules, k->in->offset, "%s: %s",
				    kveil_status_code(why->status), why->message);
}

static bool fits(const struct kveil_worker *w, const struct kveil_record *r, size_t most)
{
	enum { SURELY_MORE = 4096 };
	size_t rough = r->key.len + r->value.len;

	if (w->compresses)
		return true;
	for (size_t i = 0; i < r->header_count; i++)
		rough += r->headers[i].name.len + r->headers[i].value.len + 12;
	return rough + SURELY_MORE < most || kveil_kafka_batch_bytes(r) <= most;
}

/* Seals the record into w->letter. WAIT: *why. */
static enum outcome seal(struct kveil_worker *w, const struct work *k, const struct kveil_dead_letter_where *where,
			 enum kveil_dead_letter_part part, struct kveil_error *why)
{
	struct kveil_key *key;
	enum kveil_status status =
	    kveil_keyring_key(w->ring, kveil_span_str(w->params->config->dead_letter.key), KVEIL_USE_SEAL, &key, why);

	if (!status)
		status = kveil_dead_letter_seal(key, where, &k->in->record, k->in->timestamp_ms, part, &w->letter, why);
	if (!status)
		return SENT;
	if (kveil_status_class(status) == KVEIL_CLASS_RETRY)
		return WAIT;
	stop(w, k, true, why);
	return ABANDONED;
}

/* What is known of the record since its last transaction; NULL: nothing. */
static const struct kveil_refusal *known_refusal(const struct work *k)
{
	const struct kveil_partition *p = k->at.partition;

	return p->refusal.offset == k->in->offset ? &p->refusal : NULL;
}

/* The letter was too large for the broker. true: its record comes again. */
static bool letter_comes_again(struct kveil_worker *w, const struct work *k, int part)
{
	const struct kveil_refusal *before = known_refusal(k);
	struct kveil_refusal refusal = before ? *before : (struct kveil_refusal){.offset = k->in->offset};

	refusal.part = part + 1;
	return w->handed && part < KVEIL_LETTER_NO_RECORD && w->mode->remember(w, k->at.partition, &refusal);
}

/* How much of the record a letter can hold: by arithmetic, for sealing takes as much memory again, and twice. */
static int first_part(const struct kveil_worker *w, const struct work *k, size_t most)
{
	const struct kveil_refusal *before = known_refusal(k);
	int part = k->pointer ? KVEIL_LETTER_NO_RECORD : before ? before->part : KVEIL_LETTER_WHOLE;

	while (part < KVEIL_LETTER_NO_RECORD && !w->compresses &&
	       kveil_dead_letter_bytes(&k->in->record, (enum kveil_dead_letter_part)part) > most)
		part++;
	return part;
}

/* The first one at once, and then once a minute: a bad producer may make thousands a second. */
static void tell_letter(struct kveil_worker *w, const struct work *k, enum kveil_status why)
{
	char topic[300];

	w->letters_untold++;
	if (!kveil_clock_once_a_minute(&w->letters_told_ms, w->now_ms))
		return;
	snprintf(topic, sizeof topic, "%s[%" PRId32 "]", k->at.partition->topic, k->at.partition->id);
	kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_DEAD_LETTERS_WRITTEN,
					  .topic = topic,
					  .count = w->letters_untold,
					  .detail = kveil_status_code(why)});
	w->letters_untold = 0;
}

/* Nothing of the record leaves but the sealed envelope; what does not fit is left out of it. WAIT: *ret_wait. */
static enum outcome dead_letter(struct kveil_worker *w, const struct work *k, const struct kveil_error *why,
				struct kveil_error *ret_wait)
{
	const struct kveil_worker_route *route = k->at.partition->route;
	int32_t partition = k->at.partition->id % route->route->dead.partitions;
	struct kveil_dead_letter_where where;

	kveil_dead_letter_describe(&where, route->route->topic, k->at.partition->id, k->in->offset, why);
	for (int part = first_part(w, k, route->route->dead.max_bytes); part <= KVEIL_LETTER_NO_RECORD; part++) {
		size_t bytes = kveil_dead_letter_bytes(&k->in->record, (enum kveil_dead_letter_part)part);
		if (!kveil_outlet_wait(w, k->at.partition, route->dead, partition, bytes, k->solo))
			return NO_ROOM;
		enum outcome o = seal(w, k, &where, (enum kveil_dead_letter_part)part, ret_wait);
		if (o != SENT)
			return o;
		struct kveil_record letter = {.key = KVEIL_SPAN_NULL,
					      .value = kveil_buf_span(&w->letter),
					      .headers = where.headers,
					      .header_count = where.count};
		o = TOO_LARGE;
		/* The last word on the smallest one is the broker's: its limit may have been raised. */
		if (part == KVEIL_LETTER_NO_RECORD || fits(w, &letter, route->route->dead.max_bytes))
			o = hand_over(w, k, &(struct way){route->dead, partition, kveil_kafka_sends_bytes(&letter)},
				      &letter, 0);
		if (o == SENT) {
			tell_letter(w, k, why->status);
			acknowledged(k);
		}
		if (o == SENT || o == ABANDONED)
			return o;
		if (o == REFUSED)
			break;
		if (letter_comes_again(w, k, part))
			return abandon(w, k);
	}
	/* Nobody's fault but the topic's, which somebody may mend. */
	kveil_fail(ret_wait, KVEIL_E_REFUSED_BY_BROKER, "the dead letter itself is refused (it is for: %s)",
		   kveil_status_code(why->status));
	return WAIT;
}

static void drop(struct kveil_worker *w, const struct work *k, const struct kveil_error *why)
{
	kveil_cell_add(w->dropped, 1);
	w->drops_unlogged++;
	if (kveil_clock_once_a_minute(&w->drop_logged_ms, w->now_ms)) {
		kveil_log(KVEIL_LOG_WARN, w->name, "drop: %llu records dropped, the last %s[%d] offset %lld: %s",
			  (unsigned long long)w->drops_unlogged, k->at.partition->topic, (int)k->at.partition->id,
			  (long long)k->in->offset, kveil_status_code(why->status));
		w->drops_unlogged = 0;
	}
	acknowledged(k);
}

/* What becomes of a record that failed, by the rule file's word. */
static enum outcome set_aside(struct kveil_worker *w, const struct work *k, enum kveil_on_error how,
			      const struct kveil_error *why, struct kveil_error *ret_wait)
{
	enum outcome o = ABANDONED;

	switch (how) {
	case KVEIL_ON_ERROR_DEAD_LETTER:
		o = dead_letter(w, k, why, ret_wait);
		break;
	case KVEIL_ON_ERROR_DROP:
		drop(w, k, why);
		o = SENT;
		break;
	case KVEIL_ON_ERROR_STOP:
		stop(w, k, true, why);
		break;
	}
	if (!must_wait(o))
		count_failure(w, why->status);
	return o;
}

/* A record that the engine let pass and Kafka does not take. */
static enum outcome not_taken_for(struct kveil_worker *w, const struct work *k, struct kveil_error *why, size_t view,
				  struct kveil_error *ret_wait)
{
	const struct kveil_plan *plan = k->at.partition->route->route->plan;

	if (plan->view_count > 1)
		kveil_error_rule(why, plan->views[view].name);
	return set_aside(w, k, plan->on_error, why, ret_wait);
}

static enum outcome not_taken(struct kveil_worker *w, const struct work *k, enum kveil_status status, size_t view,
			      struct kveil_error *ret_wait)
{
	struct kveil_error err;

	kveil_fail(&err, status, "%s", kveil_status_text(status));
	return not_taken_for(w, k, &err, view, ret_wait);
}

static enum outcome too_large(struct kveil_worker *w, const struct work *k, const struct kveil_output *o,
			      struct kveil_error *ret_wait)
{
	struct kveil_error err;

	kveil_target_refuses(&k->at.partition->route->route->outputs[o->view], kveil_kafka_batch_bytes(&o->record),
			     &err);
	return not_taken_for(w, k, &err, o->view, ret_wait);
}

/* Of one that was sent in part, or asked for, the broker may have to give that back first. */
static enum outcome not_taken_now(struct kveil_worker *w, const struct work *k, enum kveil_status status, size_t view,
				  struct kveil_error *ret_wait)
{
	const struct kveil_refusal refusal = {.offset = k->in->offset, .status = status, .view = view};

	if (w->handed && w->mode->remember(w, k->at.partition, &refusal))
		return abandon(w, k);
	return not_taken(w, k, status, view, ret_wait);
}

/* All go or none: is there room for each, and where? */
static bool find_ways(struct kveil_worker *w, const struct work *k, const struct kveil_result *result,
		      struct way ways[KVEIL_MAX_VIEWS])
{
	struct kveil_partition *p = k->at.partition;

	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		struct kveil_outlet *outlet = p->route->outputs[o->view];
		size_t bytes = kveil_kafka_sends_bytes(&o->record);
		ways[i] = (struct way){outlet, kveil_outlet_place(w, outlet, p, &o->record, bytes, k->solo), bytes};
		if (!kveil_outlet_wait(w, p, outlet, ways[i].partition, bytes, k->solo))
			return false;
	}
	return true;
}

static enum outcome deliver(struct kveil_worker *w, const struct work *k, const struct kveil_result *result,
			    struct kveil_error *ret_wait)
{
	const struct kveil_worker_route *route = k->at.partition->route;
	const struct kveil_refusal *before = known_refusal(k);
	struct way ways[KVEIL_MAX_VIEWS];

	if (before && before->status)
		return not_taken(w, k, before->status, before->view, ret_wait);
	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		if (!fits(w, &o->record, route->route->outputs[o->view].max_bytes))
			return too_large(w, k, o, ret_wait);
	}
	if (!find_ways(w, k, result, ways))
		return NO_ROOM;
	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		enum outcome out = hand_over(w, k, &ways[i], &o->record, k->in->timestamp_ms);
		if (out == REFUSED)
			return not_taken_now(w, k, KVEIL_E_REFUSED_BY_BROKER, o->view, ret_wait);
		if (out == TOO_LARGE)
			return not_taken_now(w, k, KVEIL_E_OUTPUT_TOO_LARGE, o->view, ret_wait);
		if (out != SENT)
			return out;
	}
	acknowledged(k);
	return SENT;
}

static void run(struct kveil_worker *w, struct kveil_engine *engine, const struct kveil_record *record,
		struct kveil_result *ret)
{
	if (w->sample++ % SAMPLE_EVERY) {
		kveil_engine_run(engine, record, ret);
		return;
	}
	int64_t begin = kveil_clock_mono_ns();
	kveil_engine_run(engine, record, ret);
	kveil_histogram_observe_ns(w->transform, (uint64_t)(kveil_clock_mono_ns() - begin));
}

static enum outcome judge(struct kveil_worker *w, const struct work *k, const struct kveil_result *result,
			  struct kveil_error *ret_wait)
{
	switch (result->verdict) {
	case KVEIL_PRODUCE:
		return deliver(w, k, result, ret_wait);
	case KVEIL_RETRY:
		*ret_wait = result->error;
		return WAIT;
	case KVEIL_DEAD_LETTER:
		return set_aside(w, k, KVEIL_ON_ERROR_DEAD_LETTER, &result->error, ret_wait);
	case KVEIL_DROP:
		return set_aside(w, k, KVEIL_ON_ERROR_DROP, &result->error, ret_wait);
	case KVEIL_STOP:
		break;
	}
	count_failure(w, result->error.status);
	stop(w, k, true, &result->error);
	return ABANDONED;
}

/* Now and then an id that nobody knows is a producer's fault. Of many it is likely that this is not the producers'
 * registry, and then their records are not to end as dead letters. */
static bool are_many_unknown(struct kveil_partition *p, const struct kveil_schema_id *id)
{
	for (unsigned i = 0; i < p->unknowns; i++)
		if (kveil_schema_id_eq(&p->unknown[i], id))
			return false;
	p->unknown[p->unknowns++] = *id;
	if (p->unknowns < KVEIL_UNKNOWN_IDS)
		return false;
	p->unknowns = 0; /* whoever lets it go on wants to see it tried */
	return true;
}

/* The record was SCHEMA_PENDING. true: run it again; else *ret is what became of it. */
static bool learn(struct kveil_worker *w, const struct work *k, enum outcome *ret, struct kveil_error *ret_wait)
{
	struct kveil_partition *p = k->at.partition;
	struct kveil_schema_id id;
	struct kveil_error why;

	enum kveil_status status = kveil_writers_learn(p->route->writers, w->resolver, &id, &why);
	if (!status)
		return true;
	*ret = WAIT;
	*ret_wait = why;
	if (kveil_status_class(status) == KVEIL_CLASS_RETRY)
		return false;
	bool is_record = kveil_status_class(status) == KVEIL_CLASS_RECORD;
	if (status == KVEIL_E_UNKNOWN_SCHEMA && are_many_unknown(p, &id)) {
		kveil_fail(&why, status,
			   "%d schemas in a row that the registry does not know: is it the producers' registry and "
			   "context?",
			   KVEIL_UNKNOWN_IDS);
		is_record = false;
	}
	if (is_record) {
		/* Nobody meant to drop a whole topic because of the wrong registry. */
		enum kveil_on_error how = p->route->route->plan->on_error;
		bool keep = how == KVEIL_ON_ERROR_DROP && status == KVEIL_E_UNKNOWN_SCHEMA;
		*ret = set_aside(w, k, keep ? KVEIL_ON_ERROR_DEAD_LETTER : how, &why, ret_wait);
	} else {
		stop(w, k, true, &why);
		*ret = ABANDONED;
	}
	return false;
}

static enum outcome protect(struct kveil_worker *w, const struct work *k, struct kveil_error *ret_wait)
{
	struct kveil_worker_route *route = k->at.partition->route;
	struct kveil_result result;
	enum outcome o;

	if (kveil_failpoint("names-stay-pending")) {
		kveil_fail(ret_wait, KVEIL_E_KEY_PENDING, "a test wants it so");
		return WAIT;
	}
	if (kveil_failpoint("poison") && k->in->record.value.data &&
	    memmem(k->in->record.value.data, k->in->record.value.len, "POISON", 6))
		abort();
	if (kveil_failpoint("slow-record"))
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	enum kveil_status status = kveil_worker_bind(w, route, ret_wait);
	if (status && kveil_status_class(status) == KVEIL_CLASS_RETRY)
		return WAIT;
	if (status) {
		stop(w, k, true, ret_wait);
		return ABANDONED;
	}
	kveil_keyring_serve(w->ring, k->at.partition->topic, k->at.partition->id);
	run(w, route->bound->engine, &k->in->record, &result);
	/* The value's, then the key's. */
	while (__builtin_expect(result.verdict == KVEIL_RETRY && result.error.status == KVEIL_E_SCHEMA_PENDING, 0)) {
		if (!learn(w, k, &o, ret_wait))
			return o;
		run(w, route->bound->engine, &k->in->record, &result);
	}
	k->at.partition->unknowns = 0;
	o = judge(w, k, &result, ret_wait);
	if (o == NO_ROOM || (o == WAIT && result.verdict != KVEIL_RETRY))
		kveil_engine_forget(route->bound->engine);
	else
		kveil_engine_wipe(route->bound->engine);
	return o;
}

static void stand_aside(struct kveil_worker *w, struct kveil_partition *p, enum outcome o,
			const struct kveil_error *why)
{
	if (o == WAIT)
		kveil_park(w, p, why);
	else
		kveil_park_for_room(w, p);
}

bool kveil_worker_try(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in)
{
	struct work k = {.at = {.partition = p, .slot = p->slot, .generation = p->generation},
			 .in = in,
			 .solo = in->offset <= p->solo_until};
	struct kveil_error why;

	if (w->careful)
		kveil_attempts_in_hand(w, p, in->offset);
	if (!kveil_watermark_add(&p->marks, in->offset, &k.at.seq)) {
		kveil_fail(&why, KVEIL_E_NO_MEMORY, "no memory for the watermark of %s", p->topic);
		kveil_worker_fail(w, &why);
		return true;
	}
	if (p != w->tried) {
		w->tried = p;
		w->switched_ms = w->now_ms;
	}
	w->handed = 0;
	enum outcome o = protect(w, &k, &why);
	w->torn |= o != SENT && w->handed;
	if (must_wait(o)) {
		stand_aside(w, p, o, &why);
		/* Another view of it may be on its way, and is to be reported first. */
		if (kveil_watermark_slot(&p->marks, k.at.seq)->open > 1)
			kveil_worker_ask_rewind(w, p);
		else
			kveil_watermark_undo(&p->marks, k.at.seq);
		return false;
	}
	w->txn.alone |= p->refusal.offset == in->offset; /* another would take its place */
	if (__builtin_expect(p->outage_tries || p->name_tries || p->schema_ms, 0))
		kveil_park_over(w, p);
	kveil_cell_add(w->consumed, 1);
	kveil_cell_add(w->consumed_bytes, in->record.value.len + in->record.key.len);
	return true;
}

static enum kveil_status read_message(struct kveil_worker *w, const rd_kafka_message_t *msg, struct kveil_incoming *ret,
				      struct kveil_error *err)
{
	size_t count = 0;
	enum kveil_status status = kveil_kafka_headers(msg, &w->headers, &w->header_cap, &count, err);

	ret->offset = msg->offset;
	ret->timestamp_ms = timestamp_of(msg);
	ret->record = (struct kveil_record){.key = kveil_span_of(msg->key, msg->key ? msg->key_len : 0),
					    .value = kveil_span_of(msg->payload, msg->payload ? msg->len : 0),
					    .headers = w->headers,
					    .header_count = count};
	return status;
}

bool kveil_worker_set_aside_batch(struct kveil_worker *w, struct kveil_partition *p, int64_t first, int64_t next,
				  const struct kveil_error *why)
{
	const struct kveil_incoming in = {.offset = first};
	struct work k = {
	    .at = {.partition = p, .slot = p->slot, .generation = p->generation}, .in = &in, .pointer = true};
	struct kveil_error err;
	uint32_t last;

	if (!p->route)
		return true;
	kveil_log(KVEIL_LOG_ERROR, w->name, "%s[%d]: offsets %lld to %lld are set aside: %s", p->topic, (int)p->id,
		  (long long)first, (long long)next - 1, why->message);
	if (!kveil_watermark_add(&p->marks, first, &k.at.seq) ||
	    (next - 1 > first && !kveil_watermark_add(&p->marks, next - 1, &last))) {
		kveil_fail(&err, KVEIL_E_NO_MEMORY, "no memory for the watermark of %s", p->topic);
		kveil_worker_fail(w, &err);
		return true;
	}
	if (next - 1 > first)
		kveil_watermark_done(&p->marks, last);
	w->handed = 0;
	enum outcome o = set_aside(w, &k, k.at.partition->route->route->plan->on_error, why, &err);
	w->torn |= o != SENT && w->handed;
	if (must_wait(o)) {
		kveil_watermark_undo(&p->marks, k.at.seq);
		stand_aside(w, p, o, &err);
		kveil_worker_hold(w, p);
		return false;
	}
	kveil_park_over(w, p);
	if (!p->stopped) {
		kveil_worker_fetch_over(w, p);
		kveil_worker_ask_rewind(w, p); /* goes on behind it, when the letter is there */
	}
	return true;
}

/* What the client cannot take apart: it is in the input topic still. */
static void set_aside_one(struct kveil_worker *w, struct kveil_partition *p, int64_t offset,
			  const struct kveil_error *err)
{
	if (p->wait || p->waiting.first)
		kveil_worker_hold(w, p); /* what was taken before this comes first; then it comes again */
	else
		(void)kveil_worker_set_aside_batch(w, p, offset, offset + 1, err);
}

void kveil_worker_take(struct kveil_worker *w, rd_kafka_message_t *msg)
{
	struct kveil_partition *p = kveil_worker_find(w, msg);
	struct kveil_incoming in;
	struct kveil_error err;

	/* What slips through a pause comes again by the seek that ends it. */
	if (!p || p->stopped || p->rewind || p->held)
		return;
	kveil_worker_fetched(w, p);
	int64_t offset;
	if (!kveil_worker_settle_offset(w, p, msg, &offset))
		return;
	if (p->committed < 0 && !p->attempts)
		kveil_attempts_first(w, p, offset);
	if (read_message(w, msg, &in, &err)) {
		if (err.status == KVEIL_E_UNREADABLE_BATCH) {
			set_aside_one(w, p, offset, &err);
			return;
		}
		kveil_worker_stop_partition(w, p, true, msg->offset, "%s: %s", kveil_status_code(err.status),
					    err.message);
		return;
	}
	in.offset = offset;
	bool at_once = kveil_park_may_read(p);
	if (!at_once || !kveil_worker_try(w, p, &in))
		kveil_park_add(w, p, &in);
}

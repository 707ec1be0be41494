/* SPDX-License-Identifier: Apache-2.0 */
/* One record: through the engine, out to every view, or sealed into a dead letter. Whatever does not end in "done"
 * leaves its slot in the watermark open, so that nothing behind it is committed. */
#include "worker/record.h"
#include "base/clock.h"
#include "keys/keystore.h"
#include "worker/attempts.h"
#include "worker/handover.h"
#include "worker/hold.h"
#include "worker/loop.h"
#include "worker/offsets.h"

enum { SAMPLE_EVERY = 64 };

/* librdkafka's producer takes 0 for "now": the first millisecond of 1970 becomes the second. */
static int64_t timestamp_of(const rd_kafka_message_t *msg)
{
	rd_kafka_timestamp_type_t type;
	int64_t t = rd_kafka_message_timestamp(msg, &type);

	if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || t < 0)
		return 0;
	return t == 0 ? 1 : t;
}

/* A record that the engine let pass and Kafka does not take. */
static enum kveil_outcome not_taken_for(struct kveil_worker *w, const struct kveil_work *k, struct kveil_error *why,
					size_t view, struct kveil_error *ret_wait)
{
	const struct kveil_plan *plan = k->at.partition->route->route->plan;

	if (plan->view_count > 1)
		kveil_error_rule(why, plan->views[view].name);
	return kveil_set_aside(w, k, plan->on_error, why, ret_wait);
}

static enum kveil_outcome not_taken(struct kveil_worker *w, const struct kveil_work *k, enum kveil_status status,
				    size_t view, struct kveil_error *ret_wait)
{
	struct kveil_error err;

	kveil_fail(&err, status, "%s", kveil_status_text(status));
	return not_taken_for(w, k, &err, view, ret_wait);
}

static enum kveil_outcome too_large(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_output *o,
				    struct kveil_error *ret_wait)
{
	struct kveil_error err;

	kveil_target_refuses(&k->at.partition->route->route->outputs[o->view], kveil_kafka_batch_bytes(&o->record),
			     &err);
	return not_taken_for(w, k, &err, o->view, ret_wait);
}

/* Of one that was sent in part, or asked for, the broker may have to give that back first. */
static enum kveil_outcome not_taken_now(struct kveil_worker *w, const struct kveil_work *k, enum kveil_status status,
					size_t view, struct kveil_error *ret_wait)
{
	const struct kveil_refusal refusal = {.offset = k->in->offset, .status = status, .view = view};

	if (w->hand.handed && w->mode->remember(w, k->at.partition, &refusal))
		return kveil_abandon(w, k);
	return not_taken(w, k, status, view, ret_wait);
}

/* All go or none: is there room for each, and where? */
static bool find_ways(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_result *result,
		      struct kveil_way ways[KVEIL_MAX_VIEWS])
{
	struct kveil_partition *p = k->at.partition;

	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		struct kveil_outlet *outlet = p->route->outputs[o->view];
		size_t bytes = kveil_kafka_sends_bytes(&o->record);
		ways[i] =
		    (struct kveil_way){outlet, kveil_outlet_place(w, outlet, p, &o->record, bytes, k->solo), bytes};
		if (!kveil_outlet_wait(w, p, outlet, ways[i].partition, bytes, k->solo))
			return false;
	}
	return true;
}

static enum kveil_outcome deliver(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_result *result,
				  struct kveil_error *ret_wait)
{
	const struct kveil_worker_route *route = k->at.partition->route;
	const struct kveil_refusal *before = kveil_known_refusal(k);
	struct kveil_way ways[KVEIL_MAX_VIEWS];

	if (before && before->status)
		return not_taken(w, k, before->status, before->view, ret_wait);
	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		if (!kveil_fits(w, &o->record, route->route->outputs[o->view].max_bytes))
			return too_large(w, k, o, ret_wait);
	}
	if (!find_ways(w, k, result, ways))
		return KVEIL_NO_ROOM;
	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		enum kveil_outcome out = kveil_hand_over(w, k, &ways[i], &o->record, k->in->timestamp_ms);
		if (out == KVEIL_REFUSED)
			return not_taken_now(w, k, KVEIL_E_REFUSED_BY_BROKER, o->view, ret_wait);
		if (out == KVEIL_TOO_LARGE)
			return not_taken_now(w, k, KVEIL_E_OUTPUT_TOO_LARGE, o->view, ret_wait);
		if (out != KVEIL_SENT)
			return out;
	}
	kveil_tally_protected(route->tally);
	kveil_acknowledged(k);
	return KVEIL_SENT;
}

static void run(struct kveil_worker *w, struct kveil_engine *engine, const struct kveil_record *record,
		struct kveil_result *ret)
{
	if (w->hand.sample++ % SAMPLE_EVERY) {
		kveil_engine_run(engine, record, ret);
		return;
	}
	int64_t begin = kveil_clock_mono_ns();
	kveil_engine_run(engine, record, ret);
	kveil_histogram_observe_ns(w->cells.transform, (uint64_t)(kveil_clock_mono_ns() - begin));
}

static enum kveil_outcome judge(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_result *result,
				struct kveil_error *ret_wait)
{
	switch (result->verdict) {
	case KVEIL_PRODUCE:
		return deliver(w, k, result, ret_wait);
	case KVEIL_RETRY:
		*ret_wait = result->error;
		return KVEIL_WAITS;
	case KVEIL_DEAD_LETTER:
		return kveil_set_aside(w, k, KVEIL_ON_ERROR_DEAD_LETTER, &result->error, ret_wait);
	case KVEIL_DROP:
		return kveil_set_aside(w, k, KVEIL_ON_ERROR_DROP, &result->error, ret_wait);
	case KVEIL_STOP:
		break;
	}
	kveil_count_failure(w, k, result->error.status);
	kveil_stop_at(w, k, true, &result->error);
	return KVEIL_ABANDONED;
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
static bool learn(struct kveil_worker *w, const struct kveil_work *k, enum kveil_outcome *ret,
		  struct kveil_error *ret_wait)
{
	struct kveil_partition *p = k->at.partition;
	struct kveil_schema_id id;
	struct kveil_error why;

	enum kveil_status status = kveil_writers_learn(p->route->writers, w->resolver, &id, &why);
	if (!status)
		return true;
	*ret = KVEIL_WAITS;
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
		*ret = kveil_set_aside(w, k, keep ? KVEIL_ON_ERROR_DEAD_LETTER : how, &why, ret_wait);
	} else {
		kveil_stop_at(w, k, true, &why);
		*ret = KVEIL_ABANDONED;
	}
	return false;
}

static enum kveil_outcome protect(struct kveil_worker *w, const struct kveil_work *k, struct kveil_error *ret_wait)
{
	struct kveil_worker_route *route = k->at.partition->route;
	struct kveil_result result;
	enum kveil_outcome o;

	if (kveil_failpoint("names-stay-pending")) {
		kveil_fail(ret_wait, KVEIL_E_KEY_PENDING, "a test wants it so");
		return KVEIL_WAITS;
	}
	if (kveil_failpoint("poison") && k->in->record.value.data &&
	    memmem(k->in->record.value.data, k->in->record.value.len, "POISON", 6))
		abort();
	if (kveil_failpoint("slow-record"))
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	enum kveil_status status = kveil_routes_bind(w, route, ret_wait);
	if (status && kveil_status_class(status) == KVEIL_CLASS_RETRY)
		return KVEIL_WAITS;
	if (status) {
		kveil_stop_at(w, k, true, ret_wait);
		return KVEIL_ABANDONED;
	}
	kveil_keyring_serve(w->ring, k->at.partition->topic, k->at.partition->id);
	run(w, route->bound->engine, &k->in->record, &result);
	/* The value's, then the key's; then ids of keys. */
	while (__builtin_expect(result.verdict == KVEIL_RETRY, 0)) {
		if (result.error.status == KVEIL_E_SCHEMA_PENDING) {
			if (!learn(w, k, &o, ret_wait))
				return o;
		} else if (!kveil_engine_look_again(route->bound->engine, &result)) {
			break;
		}
		run(w, route->bound->engine, &k->in->record, &result);
	}
	k->at.partition->unknowns = 0;
	o = judge(w, k, &result, ret_wait);
	if (o == KVEIL_NO_ROOM || (o == KVEIL_WAITS && result.verdict != KVEIL_RETRY))
		kveil_engine_forget(route->bound->engine);
	else
		kveil_engine_wipe(route->bound->engine);
	return o;
}

bool kveil_record_try(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in)
{
	struct kveil_work k = {.at = {.partition = p, .slot = p->slot, .generation = p->generation},
			       .in = in,
			       .solo = in->offset <= p->solo_until};
	struct kveil_error why;

	if (w->careful)
		kveil_attempts_in_hand(w, p, in->offset);
	if (!kveil_watermark_add(&p->marks, in->offset, &k.at.seq)) {
		kveil_no_memory(&why, "a watermark");
		kveil_worker_fail(w, &why);
		return true;
	}
	if (p != w->hand.tried) {
		w->hand.tried = p;
		w->hand.switched_ms = w->now_ms;
	}
	w->hand.handed = 0;
	enum kveil_outcome o = protect(w, &k, &why);
	w->hand.torn |= o != KVEIL_SENT && w->hand.handed;
	if (kveil_must_wait(o)) {
		kveil_stand_aside(w, p, o, &why);
		/* Another view of it may be on its way, and is to be reported first. */
		if (kveil_watermark_slot(&p->marks, k.at.seq)->open > 1)
			kveil_ask_rewind(w, p);
		else
			kveil_watermark_undo(&p->marks, k.at.seq);
		return false;
	}
	w->txn.alone |= p->refusal.offset == in->offset; /* another would take its place */
	if (__builtin_expect(p->park.outage_tries || p->park.name_tries || p->park.schema_ms, 0))
		kveil_park_over(w, p);
	kveil_cell_add(w->cells.consumed, 1);
	kveil_cell_add(w->cells.consumed_bytes, in->record.value.len + in->record.key.len);
	return true;
}

static enum kveil_status read_message(struct kveil_worker *w, const rd_kafka_message_t *msg, struct kveil_incoming *ret,
				      struct kveil_error *err)
{
	size_t count = 0;
	enum kveil_status status = kveil_kafka_headers(msg, &w->hand.headers, &w->hand.header_cap, &count, err);

	ret->offset = msg->offset;
	ret->timestamp_ms = timestamp_of(msg);
	ret->record = (struct kveil_record){.key = kveil_span_of(msg->key, msg->key ? msg->key_len : 0),
					    .value = kveil_span_of(msg->payload, msg->payload ? msg->len : 0),
					    .headers = w->hand.headers,
					    .header_count = count};
	return status;
}

/* What the client cannot take apart: it is in the input topic still. */
static void set_aside_one(struct kveil_worker *w, struct kveil_partition *p, int64_t offset,
			  const struct kveil_error *err)
{
	if (p->wait || p->waiting.first)
		kveil_hold(w, p); /* what was taken before this comes first; then it comes again */
	else
		(void)kveil_set_aside_batch(w, p, offset, offset + 1, err);
}

void kveil_record_take(struct kveil_worker *w, rd_kafka_message_t *msg)
{
	struct kveil_partition *p = kveil_slots_of_message(&w->slots, msg);
	struct kveil_incoming in;
	struct kveil_error err;

	/* What slips through a pause comes again by the seek that ends it. */
	if (!p || p->stopped || p->rewind || p->held)
		return;
	kveil_fetched(w, p);
	p->may_sleep = true;
	int64_t offset;
	if (!kveil_offsets_settle(w, p, msg, &offset))
		return;
	if (p->committed < 0 && !p->attempts.count)
		kveil_attempts_first(w, p, offset);
	if (read_message(w, msg, &in, &err)) {
		if (err.status == KVEIL_E_UNREADABLE_BATCH) {
			set_aside_one(w, p, offset, &err);
			return;
		}
		kveil_partition_stop(w, p, true, msg->offset, "%s: %s", kveil_status_code(err.status), err.message);
		return;
	}
	in.offset = offset;
	bool at_once = kveil_park_may_read(p);
	if (!at_once || !kveil_record_try(w, p, &in))
		kveil_park_add(w, p, &in);
}

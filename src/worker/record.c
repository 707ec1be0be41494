/* SPDX-License-Identifier: Apache-2.0 */
/* One record: through the engine, out to every view, or sealed into a dead letter. Whatever does not end in "done"
 * leaves its slot in the watermark open, so that nothing behind it is committed. */
#include "base/clock.h"
#include "base/log.h"
#include "keys/keystore.h"
#include "worker/loop.h"

#include <stdio.h>

enum { SAMPLE_EVERY = 64, DROP_LOG_EVERY_MS = 60000, SOLO_FLUSH_MS = 100 };

enum outcome {
	SENT,
	ABANDONED, /* not ours any more, or to be read again: nothing more to do here */
	REFUSED,   /* by the broker, alone in its request */
	TOO_LARGE,
};

/* The record at hand. */
struct work {
	struct kveil_position at;
	const rd_kafka_message_t *msg;
	struct kveil_record record;
	int64_t timestamp_ms; /* as a producer takes it */
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

/* It will be read again, if it is still ours. */
static enum outcome abandon(struct kveil_worker *w, const struct work *k)
{
	if (kveil_worker_owns(w, &k->at))
		kveil_worker_ask_rewind(w, k->at.partition);
	return ABANDONED;
}

static bool wait_for_report(struct kveil_worker *w, const struct work *k)
{
	while (w->solo.waiting && !kveil_worker_stopping(w) && kveil_worker_owns(w, &k->at)) {
		/* A flush does not wait for the linger time. */
		rd_kafka_flush(w->producer, SOLO_FLUSH_MS);
		if (w->solo.waiting)
			kveil_worker_pump(w, 0);
	}
	bool reported = !w->solo.waiting;
	w->solo.waiting = false;
	return reported && kveil_worker_owns(w, &k->at);
}

/* One of what the record waits for is settled. */
static void acknowledged(const struct work *k)
{
	kveil_watermark_done(&k->at.partition->marks, k->at.seq);
}

/* After a message went out alone. */
static enum outcome judge_solo(struct kveil_worker *w, const struct work *k, const char *topic)
{
	if (!wait_for_report(w, k))
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
		w->producer_broken = true;
		break;
	case KVEIL_FAULT_WORLD:
	case KVEIL_FAULT_PURGED:
		break;
	}
	snprintf(w->produce_fault, sizeof w->produce_fault, "%s: %s", topic, rd_kafka_err2str(w->solo.result));
	return abandon(w, k);
}

/* Hands one message to the producer; in solo mode waits for what becomes of it. */
static enum outcome hand_over(struct kveil_worker *w, const struct work *k, rd_kafka_topic_t *topic, int32_t partition,
			      const struct kveil_record *record, int64_t timestamp_ms)
{
	struct kveil_partition *p = k->at.partition;
	void *token = kveil_position_token(&k->at);
	rd_kafka_resp_err_t e;

	while (k->solo && w->in_flight_messages) {
		kveil_worker_pump(w, 0);
		rd_kafka_flush(w->producer, SOLO_FLUSH_MS);
		if (kveil_worker_stopping(w) || !kveil_worker_owns(w, &k->at) || p->rewind)
			return abandon(w, k);
	}
	w->solo.waiting = k->solo;
	w->solo.token = token;
	while ((e = kveil_kafka_produce(w->producer, topic, partition, record, timestamp_ms, token)) ==
	       RD_KAFKA_RESP_ERR__QUEUE_FULL) {
		kveil_worker_pump(w, 50);
		if (kveil_worker_stopping(w) || !kveil_worker_owns(w, &k->at) || p->rewind)
			return abandon(w, k);
	}
	if (!e) {
		w->in_flight_bytes += kveil_kafka_sends_bytes(record);
		w->in_flight_messages++;
		p->unreported++;
		kveil_watermark_hold(&p->marks, k->at.seq);
		return k->solo ? judge_solo(w, k, rd_kafka_topic_name(topic)) : SENT;
	}
	w->solo.waiting = false;
	if (kveil_kafka_fault(e) == KVEIL_FAULT_TOO_LARGE)
		return TOO_LARGE;
	snprintf(w->produce_fault, sizeof w->produce_fault, "%s: %s", rd_kafka_topic_name(topic), rd_kafka_err2str(e));
	w->producer_broken |= kveil_kafka_fault(e) == KVEIL_FAULT_PRODUCER;
	return abandon(w, k);
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
	kveil_worker_stop_partition(w, k->at.partition, by_rules, k->msg->offset, "%s: %s",
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

/* Seals the record into w->letter; waits out what the world does. */
static enum outcome seal(struct kveil_worker *w, const struct work *k, const struct kveil_dead_letter_where *where,
			 enum kveil_dead_letter_part part)
{
	struct kveil_error err;
	struct kveil_key *key;

	for (;;) {
		enum kveil_status status = kveil_keyring_key(
		    w->ring, kveil_span_str(w->params->config->dead_letter.key), KVEIL_USE_SEAL, &key, &err);
		if (!status)
			status =
			    kveil_dead_letter_seal(key, where, &k->record, k->timestamp_ms, part, &w->letter, &err);
		if (!status) {
			kveil_worker_outage_over(w);
			return SENT;
		}
		if (kveil_status_class(status) != KVEIL_CLASS_RETRY) {
			stop(w, k, true, &err);
			return ABANDONED;
		}
		if (!kveil_worker_wait_out_record(w, &k->at, &err))
			return abandon(w, k);
	}
}

/* How much of the record a letter can hold: by arithmetic, for sealing takes as much memory again, and twice. */
static int first_part(const struct kveil_worker *w, const struct work *k, size_t most)
{
	int part = k->pointer ? KVEIL_LETTER_NO_RECORD : KVEIL_LETTER_WHOLE;

	while (part < KVEIL_LETTER_NO_RECORD && !w->compresses &&
	       kveil_dead_letter_bytes(&k->record, (enum kveil_dead_letter_part)part) > most)
		part++;
	return part;
}

/* Nothing of the record leaves but the sealed envelope; what does not fit is left out of it. */
static void dead_letter(struct kveil_worker *w, const struct work *k, const struct kveil_error *why)
{
	const struct kveil_worker_route *route = k->at.partition->route;
	struct kveil_dead_letter_where where;
	struct kveil_error err;

	kveil_dead_letter_describe(&where, route->route->topic, k->msg->partition, k->msg->offset, why);
	for (int part = first_part(w, k, route->route->dead.max_bytes); part <= KVEIL_LETTER_NO_RECORD; part++) {
		if (seal(w, k, &where, (enum kveil_dead_letter_part)part) != SENT)
			return;
		struct kveil_record letter = {.key = KVEIL_SPAN_NULL,
					      .value = kveil_buf_span(&w->letter),
					      .headers = where.headers,
					      .header_count = where.count};
		enum outcome o = TOO_LARGE;
		if (fits(w, &letter, route->route->dead.max_bytes))
			o = hand_over(w, k, route->dead, k->msg->partition % route->route->dead.partitions, &letter, 0);
		if (o == SENT)
			acknowledged(k);
		if (o == SENT || o == ABANDONED)
			return;
		if (o == REFUSED)
			break;
	}
	kveil_fail(&err, KVEIL_E_REFUSED_BY_BROKER, "the dead letter itself is refused (it is for: %s)",
		   kveil_status_code(why->status));
	stop(w, k, false, &err);
}

static void drop(struct kveil_worker *w, const struct work *k, const struct kveil_error *why)
{
	kveil_cell_add(w->dropped, 1);
	w->drops_unlogged++;
	if (!w->drop_logged_ms || w->now_ms - w->drop_logged_ms >= DROP_LOG_EVERY_MS) {
		kveil_log(KVEIL_LOG_WARN, w->name,
			  "on_error: drop: %llu records dropped, the last %s[%d] offset %lld: %s",
			  (unsigned long long)w->drops_unlogged, k->at.partition->topic, (int)k->msg->partition,
			  (long long)k->msg->offset, kveil_status_code(why->status));
		w->drop_logged_ms = w->now_ms;
		w->drops_unlogged = 0;
	}
	acknowledged(k);
}

/* As the rule file's on_error says. */
static void settle(struct kveil_worker *w, const struct work *k, const struct kveil_error *why)
{
	switch (k->at.partition->route->route->plan->on_error) {
	case KVEIL_ON_ERROR_DEAD_LETTER:
		dead_letter(w, k, why);
		break;
	case KVEIL_ON_ERROR_DROP:
		drop(w, k, why);
		break;
	default:
		stop(w, k, true, why);
	}
}

/* A record that the engine let pass and Kafka does not take: on_error decides as for any other. */
static void set_aside(struct kveil_worker *w, const struct work *k, enum kveil_status status, size_t view)
{
	const struct kveil_plan *plan = k->at.partition->route->route->plan;
	struct kveil_error err;

	kveil_fail(&err, status, "%s", kveil_status_text(status));
	if (plan->view_count > 1)
		kveil_error_rule(&err, plan->views[view].name);
	count_failure(w, status);
	settle(w, k, &err);
}

static void deliver(struct kveil_worker *w, const struct work *k, const struct kveil_result *result)
{
	const struct kveil_worker_route *route = k->at.partition->route;
	bool same = w->params->config->partition == KVEIL_PARTITION_SAME;

	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		if (!fits(w, &o->record, route->route->outputs[o->view].max_bytes)) {
			set_aside(w, k, KVEIL_E_OUTPUT_TOO_LARGE, o->view);
			return;
		}
	}
	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		switch (hand_over(w, k, route->outputs[o->view], same ? k->msg->partition : RD_KAFKA_PARTITION_UA,
				  &o->record, k->timestamp_ms)) {
		case SENT:
			continue;
		case ABANDONED:
			return;
		case REFUSED:
			set_aside(w, k, KVEIL_E_REFUSED_BY_BROKER, o->view);
			return;
		case TOO_LARGE:
			set_aside(w, k, KVEIL_E_OUTPUT_TOO_LARGE, o->view);
			return;
		}
	}
	acknowledged(k);
}

/* One try. False: wait, then the same record again. */
static bool protect(struct kveil_worker *w, const struct work *k, struct kveil_error *why)
{
	struct kveil_worker_route *route = k->at.partition->route;
	struct kveil_result result;

	if (kveil_failpoint("names-stay-pending")) {
		kveil_fail(why, KVEIL_E_KEY_PENDING, "a test wants it so");
		return false;
	}
	if (kveil_failpoint("poison") && k->record.value.data &&
	    memmem(k->record.value.data, k->record.value.len, "POISON", 6))
		abort();
	if (kveil_failpoint("slow-record"))
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	enum kveil_status status = kveil_worker_bind(w, route, why);
	if (status && kveil_status_class(status) == KVEIL_CLASS_RETRY)
		return false;
	if (status) {
		stop(w, k, true, why);
		return true;
	}
	if (w->sample++ % SAMPLE_EVERY == 0) {
		int64_t begin = kveil_clock_mono_ns();
		kveil_engine_run(route->bound->engine, &k->record, &result);
		kveil_histogram_observe_ns(w->transform, (uint64_t)(kveil_clock_mono_ns() - begin));
	} else
		kveil_engine_run(route->bound->engine, &k->record, &result);
	if (result.verdict == KVEIL_RETRY) {
		*why = result.error;
		return false;
	}
	kveil_worker_outage_over(w);
	if (result.verdict != KVEIL_PRODUCE)
		count_failure(w, result.error.status);
	switch (result.verdict) {
	case KVEIL_PRODUCE:
		deliver(w, k, &result);
		break;
	case KVEIL_DEAD_LETTER:
		dead_letter(w, k, &result.error);
		break;
	case KVEIL_DROP:
		drop(w, k, &result.error);
		break;
	case KVEIL_RETRY:
	case KVEIL_STOP:
		stop(w, k, true, &result.error);
		break;
	}
	kveil_engine_wipe(route->bound->engine);
	return true;
}

enum kveil_status kveil_worker_read(struct kveil_worker *w, const rd_kafka_message_t *msg, struct kveil_record *ret,
				    struct kveil_error *err)
{
	size_t count = 0;
	enum kveil_status status = kveil_kafka_headers(msg, &w->headers, &w->header_cap, &count, err);

	*ret = (struct kveil_record){.key = kveil_span_of(msg->key, msg->key ? msg->key_len : 0),
				     .value = kveil_span_of(msg->payload, msg->payload ? msg->len : 0),
				     .headers = w->headers,
				     .header_count = count};
	return status;
}

/* What came of making the keys that a record names. */
struct making {
	unsigned tries;
	enum kveil_status status;
	struct kveil_error error;
};

/* The name is still pending after that. why: what the record says of it. */
static bool wait_for_its_turn(struct kveil_worker *w, const struct work *k, struct making *m, struct kveil_error *why)
{
	enum { SOON = 3 };
	bool ret;

	if (m->status == KVEIL_E_KEY_PENDING) { /* at the pace that the configuration sets: no outage */
		kveil_worker_outage_over(w);
		ret = kveil_worker_back_off(w, &k->at, 0, &m->error, &w->names_logged_ms);
	} else if (m->status) {
		return kveil_worker_wait_out_record(w, &k->at, &m->error);
	} else if (m->tries <= SOON) { /* too many at once, or another process was first: a matter of moments */
		ret = kveil_worker_back_off(w, &k->at, m->tries, why, &w->names_logged_ms);
	} else {
		return kveil_worker_wait_out_record(w, &k->at, why);
	}
	return ret && (kveil_worker_tick(w, why) || kveil_worker_wait_out_record(w, &k->at, why));
}

/* The record names a key that is to be made, and so may those behind it. False: no use in trying again. */
static bool wait_for_names(struct kveil_worker *w, struct work *k, struct making *m, struct kveil_error *why)
{
	kveil_ahead_look(w);
	if (kveil_worker_stopping(w) || !kveil_worker_owns(w, &k->at) ||
	    (m->tries++ && !wait_for_its_turn(w, k, m, why)))
		return false;
	kveil_loop_beat(w->loop);
	m->status = kveil_keystore_make_asked(w->params->keys, kveil_clock_wall_ms(), &m->error);
	kveil_loop_beat(w->loop);
	w->ahead.names_wait = m->status == KVEIL_E_KEY_PENDING;
	/* Looking ahead has used the place of its headers. */
	return kveil_worker_read(w, k->msg, &k->record, why) == KVEIL_OK;
}

/* After the first try: again, until it goes or there is no use in it. */
static void try_again(struct kveil_worker *w, struct work *k, struct kveil_error *why)
{
	struct making m = {0};

	do {
		bool waited = why->status == KVEIL_E_KEY_PENDING ? wait_for_names(w, k, &m, why)
								 : kveil_worker_wait_out_record(w, &k->at, why);
		if (!waited) {
			abandon(w, k);
			return;
		}
	} while (!protect(w, k, why));
}

void kveil_worker_set_aside_batch(struct kveil_worker *w, struct kveil_partition *p, int64_t first, int64_t next,
				  const struct kveil_error *why)
{
	const rd_kafka_message_t msg = {.partition = p->id, .offset = first};
	struct work k = {
	    .at = {.partition = p, .slot = p->slot, .generation = p->generation}, .msg = &msg, .pointer = true};
	struct kveil_error err;
	uint32_t last;

	if (!p->route)
		return;
	kveil_log(KVEIL_LOG_ERROR, w->name, "%s[%d]: offsets %lld to %lld are set aside: %s", p->topic, (int)p->id,
		  (long long)first, (long long)next - 1, why->message);
	if (!kveil_watermark_add(&p->marks, first, &k.at.seq) ||
	    (next - 1 > first && !kveil_watermark_add(&p->marks, next - 1, &last))) {
		kveil_fail(&err, KVEIL_E_NO_MEMORY, "no memory for the watermark of %s", p->topic);
		kveil_worker_fail(w, &err);
		return;
	}
	if (next - 1 > first)
		kveil_watermark_done(&p->marks, last);
	count_failure(w, why->status);
	settle(w, &k, why);
	if (kveil_worker_owns(w, &k.at) && !p->stopped) {
		kveil_worker_fetch_over(w, p);
		kveil_worker_ask_rewind(w, p); /* goes on behind it, when the letter is there */
	}
}

void kveil_worker_take(struct kveil_worker *w, rd_kafka_message_t *msg)
{
	struct kveil_partition *p = kveil_worker_find(w, msg);
	struct kveil_error err;

	if (!p || p->stopped || p->rewind)
		return;
	if (p->fetch_fault)
		kveil_worker_fetch_over(w, p);
	if (msg->offset < p->marks.next) {
		/* Never seen; going back to the watermark is right whatever it was. */
		kveil_worker_ask_rewind(w, p);
		return;
	}
	if (p->committed < 0 && !p->attempts)
		kveil_attempts_first(w, p, msg->offset);
	struct work k = {.at = {.partition = p, .slot = p->slot, .generation = p->generation}, .msg = msg};
	if (!kveil_watermark_add(&p->marks, msg->offset, &k.at.seq)) {
		kveil_fail(&err, KVEIL_E_NO_MEMORY, "no memory for the watermark of %s", p->topic);
		kveil_worker_fail(w, &err);
		return;
	}
	k.solo = msg->offset <= p->solo_until;
	k.timestamp_ms = timestamp_of(msg);
	enum kveil_status status = kveil_worker_read(w, msg, &k.record, &err);
	kveil_cell_add(w->consumed, 1);
	kveil_cell_add(w->consumed_bytes, msg->len + msg->key_len);
	if (status) {
		stop(w, &k, true, &err);
		return;
	}
	if (!protect(w, &k, &err))
		try_again(w, &k, &err);
}

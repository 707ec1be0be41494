/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil replay`: dead letters through the rules again. */
#include "worker/replay.h"

#include "base/clock.h"
#include "format/format.h"
#include "kafka/kafka.h"
#include "keys/keystore.h"
#include "kveil/engine.h"
#include "worker/dead_letter.h"
#include "worker/letters.h"
#include "worker/replayed.h"
#include "worker/writers.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
	FLUSH_MS = 100,
	RETRY_MS = 500,
	OUTAGE_MS = 120000, /* how long the brokers may say nothing */
	STOP_MS = 5000,     /* how long after a signal the letters under way may take */
	PURGE_TURNS = 50,
	AT_ONCE = 64, /* letters between two commits: so many may be sent twice by who is killed */
	AT_ONCE_BYTES = 4 << 20,
};

struct engine_of {
	struct kveil_plan *plan;
	struct kveil_engine *engine;
	struct kveil_writers *writers;
};

/* A letter under way. What it was of is kept for the report: the next letter has its place in the engine. */
struct under_way {
	rd_kafka_message_t *msg;
	enum kveil_status failed;
	struct kveil_error why;
	rd_kafka_resp_err_t refused; /* by a delivery report */
	size_t out;                  /* reports that are missing */
	bool is_copy;
	uint64_t id;
	char topic[256]; /* empty: the letter did not open */
	int32_t partition;
	int64_t offset;
};

struct replay {
	const struct kveil_replay_params *p;
	kveil_replay_report_fn *report;
	void *user;
	struct kveil_kafka_owner owner;
	struct kveil_letters *letters;
	const struct kveil_catalog *catalog;
	rd_kafka_t *producer;
	struct kveil_schemas *schemas; /* NULL: there is no schema registry */
	struct kveil_keyring *ring;
	struct engine_of *engines;
	size_t engine_count;
	struct kveil_replayed *seen; /* a list for each of the letters' partitions */
	struct under_way *batch;
	size_t count;
	struct kveil_header *headers;
	size_t header_cap;
	struct kveil_dead_letter letter;
	size_t unreported;
	struct kveil_replay_counts counts;
};

static bool stopped(const struct replay *r)
{
	return r->p->stop && atomic_load_explicit(r->p->stop, memory_order_relaxed);
}

/* A deadline that a signal moves closer. */
static bool expired(const struct replay *r, int64_t *end)
{
	int64_t now = kveil_clock_mono_ms();

	if (stopped(r) && *end > now + STOP_MS)
		*end = now + STOP_MS;
	return now > *end;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque)
{
	struct replay *r = ((struct kveil_kafka_owner *)opaque)->user;

	(void)rk;
	struct under_way *u = msg->_private;

	r->unreported--;
	u->out--;
	if (msg->err)
		u->refused = msg->err;
}

static enum kveil_status open_producer(struct replay *r, struct kveil_error *err)
{
	rd_kafka_conf_t *conf;
	size_t least, most;

	snprintf(r->owner.name, sizeof r->owner.name, "replay");
	r->owner.user = r;
	kveil_catalog_limits(r->catalog, &least, &most);
	enum kveil_status status = kveil_kafka_conf_producer(r->p->config, &r->owner, least, most, &conf, err);
	if (status)
		return status;
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	return kveil_kafka_new(RD_KAFKA_PRODUCER, conf, &r->producer, err);
}

/* What earlier replays sent. */
static enum kveil_status read_seen(struct replay *r, struct kveil_error *err)
{
	size_t count = kveil_letters_partitions(r->letters);

	r->seen = kveil_replayed_new(count);
	r->batch = calloc(AT_ONCE, sizeof *r->batch);
	if (!r->seen || !r->batch)
		return kveil_no_memory(err, "partitions");
	for (size_t i = 0; i < count; i++)
		kveil_replayed_read(r->seen, i, kveil_letters_partition(r->letters, i).note);
	return KVEIL_OK;
}

static enum kveil_status open(struct replay *r, struct kveil_error *err)
{
	const struct kveil_letters_params p = {
	    .config = r->p->config, .plans = r->p->plans, .topic = r->p->topic, .stop = r->p->stop};
	enum kveil_status status = kveil_letters_open(&p, &r->letters, err);

	if (status)
		return status;
	r->catalog = kveil_letters_catalog(r->letters);
	status = open_producer(r, err);
	if (!status)
		status = kveil_keyring_new(r->p->keys, &r->ring, err);
	if (!status && r->p->config->schema_registry.urls)
		status = kveil_schemas_open(&r->p->config->schema_registry, &r->schemas, err);
	return status ? status : read_seen(r, err);
}

static void close_all(struct replay *r) /* and frees r */
{
	for (size_t i = 0; i < r->engine_count; i++) {
		kveil_writers_free(r->engines[i].writers);
		kveil_engine_free(r->engines[i].engine);
	}
	free(r->engines);
	kveil_schemas_close(r->schemas);
	kveil_keyring_free(r->ring);
	kveil_dead_letter_clear(&r->letter);
	bool ended = kveil_kafka_destroy(r->producer, 0);
	kveil_letters_close(r->letters);
	kveil_replayed_free(r->seen);
	free(r->headers);
	free(r->batch);
	if (ended)
		free(r); /* or the client still logs as its owner */
}

static enum kveil_status engine_for(struct replay *r, struct kveil_plan *plan, struct engine_of **ret,
				    struct kveil_error *err)
{
	struct kveil_engine *engine;
	const struct kveil_limits limits = kveil_kafka_limits(r->p->config);

	for (size_t i = 0; i < r->engine_count; i++)
		if (r->engines[i].plan == plan) {
			*ret = &r->engines[i];
			return KVEIL_OK;
		}
	struct engine_of *grown = realloc(r->engines, (r->engine_count + 1) * sizeof *grown);
	if (!grown)
		return kveil_no_memory(err, "an engine");
	r->engines = grown;
	enum kveil_status status = kveil_engine_new(plan, r->ring, &limits, &engine, err);
	if (status)
		return status;
	*ret = &grown[r->engine_count++];
	**ret = (struct engine_of){.plan = plan, .engine = engine};
	return KVEIL_OK;
}

static void run_once(const struct replay *r, struct engine_of *of, struct kveil_result *result)
{
	do
		kveil_engine_run(of->engine, &r->letter.record, result);
	while (kveil_engine_look_again(of->engine, result));
}

/* The letter's record through the engine; where its value or key names a schema, that is asked for. */
static enum kveil_status run(struct replay *r, struct engine_of *of, const struct kveil_route *route,
			     struct kveil_result *result, struct kveil_error *err)
{
	if (r->schemas && of->plan->formats[KVEIL_PART_VALUE]->is_typed) {
		struct kveil_writers *writers = kveil_writers_of(&of->writers, route, of->engine);
		if (!writers)
			return kveil_no_memory(err, "schemas");
		kveil_writers_use(writers);
		/* The value's, then the key's. */
		for (int schemas = 0; schemas < 2; schemas++) {
			run_once(r, of, result);
			if (result->verdict != KVEIL_RETRY || result->error.status != KVEIL_E_SCHEMA_PENDING)
				return KVEIL_OK;
			enum kveil_status status = kveil_writers_learn_now(writers, r->schemas, err);
			if (status)
				return status;
		}
	}
	run_once(r, of, result);
	return KVEIL_OK;
}

/* Waits for every report that is out. What is not reported in time is taken back; it may have arrived. */
static rd_kafka_resp_err_t settle(struct replay *r)
{
	int64_t end = kveil_clock_mono_ms() + OUTAGE_MS;

	while (r->unreported && !expired(r, &end))
		rd_kafka_flush(r->producer, FLUSH_MS);
	bool late = r->unreported > 0;
	if (late)
		rd_kafka_purge(r->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
	for (int turn = 0; r->unreported && turn < PURGE_TURNS; turn++)
		rd_kafka_flush(r->producer, FLUSH_MS);
	return late ? RD_KAFKA_RESP_ERR__TIMED_OUT : RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* Its delivery report goes to u. */
static rd_kafka_resp_err_t hand_over(struct replay *r, struct under_way *u, const char *topic, int32_t partition,
				     const struct kveil_record *record, int64_t timestamp_ms)
{
	rd_kafka_topic_t *rkt = rd_kafka_topic_new(r->producer, topic, NULL);
	int64_t end = kveil_clock_mono_ms() + OUTAGE_MS;
	rd_kafka_resp_err_t e;

	while ((e = kveil_kafka_produce(r->producer, rkt, partition, record, timestamp_ms, u)) ==
		   RD_KAFKA_RESP_ERR__QUEUE_FULL &&
	       !expired(r, &end))
		rd_kafka_flush(r->producer, FLUSH_MS);
	r->unreported += e == RD_KAFKA_RESP_ERR_NO_ERROR;
	u->out += e == RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_topic_destroy(rkt);
	return e;
}

static enum kveil_status refusal(rd_kafka_resp_err_t e, struct kveil_error *err)
{
	switch (kveil_kafka_fault(e)) {
	case KVEIL_FAULT_TOO_LARGE:
		return kveil_fail(err, KVEIL_E_OUTPUT_TOO_LARGE, "%s", kveil_status_text(KVEIL_E_OUTPUT_TOO_LARGE));
	case KVEIL_FAULT_REFUSED:
		return kveil_fail(err, KVEIL_E_REFUSED_BY_BROKER, "%s", rd_kafka_err2str(e));
	default:
		return kveil_fail(err, KVEIL_E_KAFKA_UNAVAILABLE, "producing fails: %s", rd_kafka_err2str(e));
	}
}

static enum kveil_status deliver(struct replay *r, struct under_way *u, const struct kveil_route *route,
				 const struct kveil_result *result, struct kveil_error *err)
{
	bool same = r->p->config->partition == KVEIL_PARTITION_SAME;
	rd_kafka_resp_err_t e = RD_KAFKA_RESP_ERR_NO_ERROR;

	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		size_t bytes = kveil_kafka_batch_bytes(&o->record);
		if (!kveil_kafka_compresses(r->p->config) && bytes > route->outputs[o->view].max_bytes)
			return kveil_target_refuses(&route->outputs[o->view], bytes, err);
	}
	for (size_t i = 0; i < result->output_count && !e && !r->p->dry_run; i++) {
		const struct kveil_output *o = &result->outputs[i];
		e = hand_over(r, u, route->outputs[o->view].topic, same ? r->letter.partition : RD_KAFKA_PARTITION_UA,
			      &o->record, r->letter.timestamp_ms);
	}
	return e ? refusal(e, err) : KVEIL_OK;
}

/* Went the record of letter u out before, by an earlier replay or just now? */
static bool is_copy(const struct replay *r, const struct under_way *u)
{
	for (const struct under_way *other = r->batch; other < u; other++)
		if (other->id == u->id && other->topic[0] && !other->failed)
			return true;
	return kveil_replayed_has(r->seen, u->id);
}

static enum kveil_status open_letter(struct replay *r, struct under_way *u, struct kveil_error *err)
{
	struct kveil_key *key;
	size_t count;

	enum kveil_status status = kveil_kafka_headers(u->msg, &r->headers, &r->header_cap, &count, err);
	if (!status)
		status = kveil_keyring_key(r->ring, kveil_span_str(r->p->config->dead_letter.key), KVEIL_USE_OPEN, &key,
					   err);
	if (!status)
		status = kveil_dead_letter_open(key, r->headers, count, kveil_span_of(u->msg->payload, u->msg->len),
						&r->letter, err);
	if (status)
		return status;
	snprintf(u->topic, sizeof u->topic, "%s", r->letter.topic);
	u->partition = r->letter.partition;
	u->offset = r->letter.offset;
	if (r->letter.part != KVEIL_LETTER_WHOLE)
		return kveil_fail(err, KVEIL_E_TOO_LARGE,
				  "the letter holds no value, for the record was too large; it is "
				  "at its offset in the input topic");
	return kveil_replayed_id(r->letter.topic, r->letter.partition, r->letter.offset, r->letter.timestamp_ms, &u->id,
				 err);
}

/* One try at one letter. */
static enum kveil_status try_letter(struct replay *r, struct under_way *u, struct kveil_error *err)
{
	struct engine_of *engine = NULL;
	struct kveil_result result;
	enum kveil_status status = open_letter(r, u, err);

	u->is_copy = !status && is_copy(r, u);
	if (status || u->is_copy)
		return status;
	const struct kveil_route *route = kveil_catalog_route(r->catalog, r->letter.topic);
	if (!route)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "no rules for this topic, or its outputs are not there");
	if (r->letter.partition >= route->partitions)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "the topic has no such partition any more");
	status = engine_for(r, route->plan, &engine, err);
	if (!status)
		status = run(r, engine, route, &result, err);
	if (status)
		return status;
	if (result.verdict != KVEIL_PRODUCE) {
		*err = result.error;
		return err->status;
	}
	return deliver(r, u, route, &result, err);
}

/* Waits for what went out; what the reports say of u. */
static enum kveil_status reported(struct replay *r, struct under_way *u, struct kveil_error *err)
{
	rd_kafka_resp_err_t late = settle(r), e = late ? late : u->refused;

	u->refused = RD_KAFKA_RESP_ERR_NO_ERROR;
	return e ? refusal(e, err) : KVEIL_OK;
}

/* Again and again while only the world is at fault, for some time. wait: for the reports, too. */
static void replay_letter(struct replay *r, struct under_way *u, bool wait)
{
	struct kveil_error ignored;
	int64_t end = kveil_clock_mono_ms() + OUTAGE_MS;

	for (;;) {
		u->failed = kveil_keyring_tick(r->ring, kveil_clock_wall_ms(), &u->why);
		if (!u->failed)
			u->failed = try_letter(r, u, &u->why);
		if (!u->failed && wait)
			u->failed = reported(r, u, &u->why);
		if (kveil_status_class(u->failed) != KVEIL_CLASS_RETRY || stopped(r) || kveil_clock_mono_ms() > end)
			return;
		(void)!kveil_keystore_tend(r->p->keys, kveil_clock_wall_ms(), &ignored);
		nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
	}
}

/* What did not go through stays a dead letter: the same bytes, at the end. One whose headers cannot be read cannot be
 * written again, and kveil wrote none like that: it stays where it is, behind the replay. */
static enum kveil_status put_back(struct replay *r, struct under_way *u, struct kveil_error *err)
{
	const rd_kafka_message_t *msg = u->msg;
	struct kveil_record same = {.key = kveil_span_of(msg->key, msg->key_len),
				    .value = kveil_span_of(msg->payload, msg->len)};

	enum kveil_status status = kveil_kafka_headers(msg, &r->headers, &r->header_cap, &same.header_count, err);
	if (status)
		return status == KVEIL_E_UNREADABLE_BATCH ? KVEIL_OK : status;
	same.headers = r->headers;
	u->refused = RD_KAFKA_RESP_ERR_NO_ERROR;
	rd_kafka_resp_err_t e = hand_over(r, u, rd_kafka_topic_name(msg->rkt), msg->partition, &same, 0);
	return e ? refusal(e, err) : KVEIL_OK;
}

/* Did all of its record arrive? */
static bool is_sent(const struct under_way *u)
{
	return u->topic[0] && !u->failed && !u->refused && !u->out && !u->is_copy;
}

static void release(struct replay *r, size_t from)
{
	while (r->count > from)
		kveil_kafka_message_free(r->batch[--r->count].msg);
}

/* From number `from` on: read again by the next replay, which passes over what was sent. */
static void drop(struct replay *r, size_t from)
{
	for (size_t i = from; i < r->count; i++)
		if (is_sent(&r->batch[i]))
			kveil_replayed_add(r->seen, kveil_letters_partition_of(r->letters, r->batch[i].msg),
					   r->batch[i].id);
	release(r, from);
}

/* One that cannot be put back ends the replay. */
static enum kveil_status put_failed_back(struct replay *r, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	struct kveil_error why;
	size_t end = 0;

	for (; end < r->count && !status; end += !status)
		if (r->batch[end].failed)
			status = put_back(r, &r->batch[end], err);
	for (size_t i = 0; i < end; i++) {
		enum kveil_status back = r->batch[i].failed ? reported(r, &r->batch[i], &why) : KVEIL_OK;
		if (back) {
			status = back;
			*err = why;
			end = i;
		}
	}
	drop(r, end);
	return status;
}

static enum kveil_status commit_partition(struct replay *r, size_t part, int64_t next, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf note = KVEIL_BUF_INIT;

	kveil_replayed_write(r->seen, part, KVEIL_REPLAYED_KEPT, &note);
	if (kveil_buf_ok(&note) && kveil_letters_commit(r->letters, part, next, kveil_buf_span(&note), err) == KVEIL_OK)
		return KVEIL_OK;
	/* A broker may take fewer bytes beside an offset than is usual: better forgetful than at a standstill. */
	return kveil_letters_commit(r->letters, part, next, KVEIL_SPAN_NULL, err);
}

/* Each partition behind its last letter of the batch. */
static enum kveil_status commit(struct replay *r, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (size_t part = 0; !status && part < kveil_letters_partitions(r->letters); part++) {
		int64_t next = -1;
		for (size_t i = 0; i < r->count; i++)
			if (kveil_letters_partition_of(r->letters, r->batch[i].msg) == part)
				next = r->batch[i].msg->offset + 1;
		if (next >= 0)
			status = commit_partition(r, part, next, err);
	}
	return status;
}

static void tell(struct replay *r, struct under_way *u)
{
	bool open = u->topic[0] != 0;
	struct kveil_replay_outcome outcome = {
	    .topic = open ? u->topic : rd_kafka_topic_name(u->msg->rkt),
	    .partition = open ? u->partition : u->msg->partition,
	    .offset = open ? u->offset : u->msg->offset,
	    .error = u->failed ? &u->why : NULL,
	    .skipped = u->is_copy,
	};

	r->counts.skipped += u->is_copy;
	r->counts.replayed += !u->failed && !u->is_copy;
	if (!u->failed && !u->is_copy)
		kveil_replayed_add(r->seen, kveil_letters_partition_of(r->letters, u->msg), u->id);
	r->counts.failed += u->failed != KVEIL_OK;
	r->report(r->user, &outcome);
}

static bool ends_replay(enum kveil_status status)
{
	return kveil_status_class(status) == KVEIL_CLASS_RETRY || kveil_status_class(status) == KVEIL_CLASS_STOP;
}

/* What was refused among others may be refused for their sake: it goes once more, alone. */
static void send_again(struct replay *r, struct under_way *u, bool is_late)
{
	if (u->failed || (!u->refused && !u->out))
		return;
	if (is_late || stopped(r)) {
		u->failed = refusal(RD_KAFKA_RESP_ERR__TIMED_OUT, &u->why);
		return;
	}
	u->refused = RD_KAFKA_RESP_ERR_NO_ERROR;
	replay_letter(r, u, true);
}

/* Hands over the batch and waits for the reports. What ends the replay is left out of it, with what is behind it. */
static enum kveil_status send_batch(struct replay *r, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; i < r->count; i++) {
		replay_letter(r, &r->batch[i], false);
		if (ends_replay(r->batch[i].failed))
			break;
	}
	bool is_late = settle(r) != RD_KAFKA_RESP_ERR_NO_ERROR;
	for (size_t i = 0; !status && i < r->count; i++) {
		struct under_way *u = &r->batch[i];
		send_again(r, u, is_late);
		status = ends_replay(u->failed) ? u->failed : KVEIL_OK;
		if (status) {
			*err = u->why;
			drop(r, i);
		}
	}
	return status;
}

/* An error here ends the replay; a letter that fails does not. */
static enum kveil_status take(struct replay *r, struct kveil_error *err)
{
	struct kveil_error why = {0};
	enum kveil_status status = send_batch(r, err), kept = KVEIL_OK, committed = KVEIL_OK;

	if (!r->p->dry_run)
		kept = put_failed_back(r, &why);
	for (size_t i = 0; i < r->count; i++)
		tell(r, &r->batch[i]);
	if (!status && kept)
		*err = why;
	if (!r->p->dry_run && r->count)
		committed = commit(r, &why);
	if (!status && !kept && committed)
		*err = why;
	return status ? status : kept ? kept : committed;
}

/* As many letters as go together. */
static enum kveil_status fill(struct replay *r, uint64_t most, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	size_t bytes = 0;

	r->count = 0;
	while (!status && r->count < AT_ONCE && bytes < AT_ONCE_BYTES && (!most || r->count < most)) {
		rd_kafka_message_t *msg;
		status = kveil_letters_next(r->letters, &msg, err);
		if (status || !msg)
			break;
		bytes += msg->len + msg->key_len;
		r->batch[r->count++] = (struct under_way){.msg = msg};
	}
	return status;
}

static enum kveil_status read_letters(struct replay *r, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK, taken;
	struct kveil_error why;

	for (uint64_t n = 0; !status && (!r->p->most || n < r->p->most);) {
		status = fill(r, r->p->most ? r->p->most - n : 0, err);
		r->counts.stopped = !status && stopped(r);
		size_t filled = r->count;
		n += filled;
		taken = filled ? take(r, &why) : KVEIL_OK;
		release(r, 0);
		if (taken) {
			*err = why;
			status = taken;
		}
		if (!filled || r->counts.stopped)
			break;
	}
	return status;
}

enum kveil_status kveil_replay(const struct kveil_replay_params *p, kveil_replay_report_fn *report, void *user,
			       struct kveil_replay_counts *ret, struct kveil_error *err)
{
	struct replay *r = calloc(1, sizeof *r);

	*ret = (struct kveil_replay_counts){0};
	if (!r)
		return kveil_no_memory(err, "a replay");
	*r = (struct replay){.p = p, .report = report, .user = user};
	enum kveil_status status = open(r, err);
	if (!status)
		status = read_letters(r, err);
	*ret = r->counts;
	close_all(r);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The registry's topic: read in order, written with a confirmation. */
#include "keytopic/registry_topic_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "kafka/kafka.h"
#include "registry/registry_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	POLL_MS = 100,
	SHRUNK_MS = 3000, /* how long a new leader may not know yet what the old one had acknowledged */
	BATCH_BYTES = 900 * 1024,
	ENDS_MAX = 4,    /* ends that are followed in one reading */
	QUIET_MS = 2000, /* then it is looked at what is in the way */
	FREE_LOOKS = 64, /* at gaps, in one reading */
	LOOK_SHARE = 20, /* then a look waits for as many times as long as the last took */
};

enum kveil_status kveil_registry_topic_unavailable(const struct kveil_registry_topic *t, const char *why,
						   struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE, "the key registry, topic %s at %.100s: %s", t->name,
			  t->config->kafka.bootstrap_servers, why);
}

static enum kveil_status rolled_back(const struct kveil_registry_topic *t, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
		   "the key registry %s ends before what was read from it: the topic was made anew, or lost its end",
		   t->name);
	kveil_error_hint(err, "`kveil keys restore BACKUP` restores the keys, for opening only; then restart");
	return KVEIL_E_REGISTRY_ROLLED_BACK;
}

enum kveil_status kveil_registry_topic_lost_beginning(struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
		   "the key registry's topic lost its beginning, and with it keys: it was set to delete with "
		   "time, or records were deleted from it");
	kveil_error_hint(err, "set cleanup.policy=compact; `kveil keys restore BACKUP` restores the keys, for "
			      "opening only; then restart");
	return KVEIL_E_REGISTRY_ROLLED_BACK;
}

int64_t kveil_registry_topic_highest(const struct kveil_registry_topic *t)
{
	return t->highest;
}

enum kveil_status kveil_registry_topic_bad_name(const struct kveil_registry_topic *t, struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_CONFIG, "the key registry's topic '%s': %s", t->name,
			  rd_kafka_err2str(rd_kafka_last_error()));
}

/* --- clients --- */

static enum kveil_status new_consumer(struct kveil_registry_topic *t, struct kveil_error *err)
{
	static const char *const settings[][2] = {
	    {"enable.partition.eof", "true"},
	    /* Whoever may write could leave a transaction open and hide all that follows. */
	    {"isolation.level", "read_uncommitted"},
	    {"fetch.wait.max.ms", "50"},
	    /* librdkafka 2.0.2 fetches once a second from where its queue is full by these. */
	    {"queued.max.messages.kbytes", "16384"},
	    {"queued.min.messages", "100000"},
	};
	rd_kafka_conf_t *conf;
	enum kveil_status status = kveil_kafka_conf_consumer(t->config, &t->owner, "kveil-key-registry", &conf, err);

	for (size_t i = 0; !status && i < sizeof settings / sizeof *settings; i++) {
		status = kveil_kafka_set(conf, settings[i][0], settings[i][1], err);
		if (status)
			rd_kafka_conf_destroy(conf);
	}
	if (!status)
		status = kveil_kafka_new(RD_KAFKA_CONSUMER, conf, &t->consumer, err);
	if (status)
		return status;
	t->partition = rd_kafka_topic_new(t->consumer, t->name, NULL);
	return t->partition ? KVEIL_OK : kveil_registry_topic_bad_name(t, err);
}

struct delivery {
	size_t *waiting;
	rd_kafka_resp_err_t error;
	int64_t offset;
	int64_t appended_ms; /* by the brokers' clock; -1 = unknown */
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *m, void *opaque)
{
	struct delivery *d = m->_private;

	(void)rk;
	(void)opaque;
	d->error = m->err;
	d->offset = m->offset;
	rd_kafka_timestamp_type_t type;
	int64_t ms = rd_kafka_message_timestamp(m, &type);
	d->appended_ms = type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME ? ms : -1;
	--*d->waiting;
}

enum kveil_status kveil_registry_topic_need_producer(struct kveil_registry_topic *t, struct kveil_error *err)
{
	rd_kafka_conf_t *conf;

	if (t->producer)
		return KVEIL_OK;
	enum kveil_status status =
	    kveil_kafka_conf_producer(t->config, &t->owner, BATCH_BYTES, KVEIL_REGISTRY_MESSAGE_MAX, &conf, err);
	if (status)
		return status;
	rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	status = kveil_kafka_set(conf, "linger.ms", "0", err);
	if (status) {
		rd_kafka_conf_destroy(conf);
		return status;
	}
	return kveil_kafka_new(RD_KAFKA_PRODUCER, conf, &t->producer, err);
}

static void drop_producer(struct kveil_registry_topic *t)
{
	t->client_left |= !kveil_kafka_destroy(t->producer, 0);
	t->producer = NULL;
}

enum kveil_status kveil_registry_topic_new(const struct kveil_config *config, const char *name,
					   struct kveil_registry_topic **ret, struct kveil_error *err)
{
	struct kveil_registry_topic *t = calloc(1, sizeof *t);

	if (!t || !(t->name = strdup(name))) {
		free(t);
		return kveil_no_memory(err, "the key registry");
	}
	t->config = config;
	t->highest = -1;
	snprintf(t->owner.name, sizeof t->owner.name, "key registry");
	enum kveil_status status = new_consumer(t, err);
	if (status) {
		kveil_registry_topic_free(t);
		return status;
	}
	*ret = t;
	return KVEIL_OK;
}

void kveil_registry_topic_free(struct kveil_registry_topic *t)
{
	if (!t)
		return;
	if (t->partition)
		rd_kafka_topic_destroy(t->partition);
	/* In no group: closing has nobody to wait for. */
	t->client_left |= !kveil_kafka_destroy(t->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	kveil_search_free(t->search);
	drop_producer(t);
	free(t->name);
	if (t->client_left)
		kveil_kafka_leave_behind(t);
	else
		free(t);
}

/* --- reading --- */

bool kveil_registry_topic_is_absent(rd_kafka_resp_err_t e)
{
	return e == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION || e == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
	       e == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
}

/* Where the log ends now. */
static enum kveil_status end_offset(struct kveil_registry_topic *t, int64_t *ret, struct kveil_error *err)
{
	int64_t low, high, give_up = kveil_clock_mono_ms() + SHRUNK_MS;

	for (;;) {
		rd_kafka_resp_err_t e =
		    kveil_kafka_range(t->consumer, t->name, 0, &low, &high, KVEIL_REGISTRY_TOPIC_QUERY_MS);
		/* A topic that was deleted under a running process: its keys are in memory and perhaps nowhere else. */
		if (kveil_registry_topic_is_absent(e)) {
			t->was_away = true;
			return kveil_registry_topic_unavailable(t, "the topic is not there", err);
		}
		if (e)
			return kveil_registry_topic_unavailable(t, rd_kafka_err2str(e), err);
		t->start = low;
		if (high > t->highest && low <= t->position)
			break;
		/* Deleted before it was read: compaction does not move the beginning. */
		if (kveil_clock_mono_ms() > give_up)
			return high > t->highest ? kveil_registry_topic_lost_beginning(err) : rolled_back(t, err);
		rd_kafka_poll(t->consumer, 0);
		struct timespec nap = {.tv_nsec = POLL_MS * 1000000L};
		nanosleep(&nap, NULL);
	}
	*ret = high;
	return KVEIL_OK;
}

int64_t kveil_registry_topic_start(const struct kveil_registry_topic *t)
{
	return t->start;
}

int64_t kveil_registry_topic_position(const struct kveil_registry_topic *t)
{
	return t->position;
}

void kveil_registry_topic_seek(struct kveil_registry_topic *t, int64_t offset)
{
	t->position = offset;
}

enum kveil_status kveil_registry_topic_rewind(struct kveil_registry_topic *t, struct kveil_error *err)
{
	int64_t low, high, give_up = kveil_clock_mono_ms() + SHRUNK_MS;
	rd_kafka_resp_err_t e;

	/* A broker that has just begun, or a topic that was just made: it is there, as was checked, and not yet known.
	 */
	while (kveil_registry_topic_is_absent(
		   e = kveil_kafka_range(t->consumer, t->name, 0, &low, &high, KVEIL_REGISTRY_TOPIC_QUERY_MS)) &&
	       kveil_clock_mono_ms() < give_up) {
		struct timespec nap = {.tv_nsec = POLL_MS * 1000000L};
		nanosleep(&nap, NULL);
	}
	if (e)
		return kveil_registry_topic_unavailable(t, rd_kafka_err2str(e), err);
	t->position = low;
	return KVEIL_OK;
}

/*
 * Offsets only rise, and none is at the log's end. But brokers do not look at the offsets that a batch written by hand
 * gives its records, and the client believes them and goes on behind. So each message counts as one, an offset that
 * falls back is gone back to, and one that cannot be is taken for the next.
 */
static enum kveil_status take_message(struct kveil_registry_topic *t, const rd_kafka_message_t *m, int64_t target,
				      kveil_registry_topic_fn *fn, void *user, struct kveil_error *err)
{
	bool lies = m->offset >= target || t->position < t->forged_until;
	int64_t offset = lies ? t->position : m->offset;
	/* Nothing that it says counts, and it may be all that compaction leaves of its label. */
	struct kveil_span value = lies ? KVEIL_SPAN("") : kveil_span_of(m->payload, m->payload ? m->len : 0);

	enum kveil_status status = fn(user, offset, kveil_span_of(m->key, m->key ? m->key_len : 0), value, err);
	if (status)
		return status;
	t->lied |= lies;
	t->taken++;
	t->position = offset + 1 > t->begun + t->taken ? offset + 1 : t->begun + t->taken;
	if (t->position > target)
		t->position = target;
	if (offset > t->highest)
		t->highest = offset;
	return KVEIL_OK;
}

static bool alive(void *topic)
{
	(void)topic;
	return true;
}

static enum kveil_status need_search(struct kveil_registry_topic *t, struct kveil_error *err)
{
	return t->search ? KVEIL_OK : kveil_search_new(t->config, t->owner.name, true, alive, t, &t->search, err);
}

/* Nothing comes. A batch that was written so that no client can take it apart is not from kveil, and whoever may write
 * could end all reading with it: it is passed over. What was damaged on its way or on a disk may be a key's, and is
 * not. */
static enum kveil_status pass_unreadable(struct kveil_registry_topic *t, int64_t target, bool *ret_passed,
					 struct kveil_error *err)
{
	const struct kveil_topic_place at = {t->name, 0};
	int64_t next;
	enum kveil_status status = need_search(t, err);

	*ret_passed = false;
	if (status)
		return status;
	struct kveil_answer a = kveil_search_ask(t->search, at, t->position);
	if ((a.kind != KVEIL_ANSWER_SILENT && a.kind != KVEIL_ANSWER_UNREADABLE) || a.damaged ||
	    !kveil_search_end(t->search, at, t->position, target, &a, &next))
		return KVEIL_OK;
	kveil_log(KVEIL_LOG_WARN, t->owner.name,
		  "topic %s: offsets %" PRId64 " to %" PRId64 " cannot be read, and were "
		  "not written by kveil: passed over",
		  t->name, t->position, next - 1);
	t->position = next;
	*ret_passed = true;
	return KVEIL_OK;
}

/* Of a message that jumps: does the broker give it again for the offset that it claims? If not, its batch lies, and
 * what others wrote behind it would be passed over (offsets.c). Compaction leaves gaps, too: not all are looked at. */
static enum kveil_status look_at_gap(struct kveil_registry_topic *t, const rd_kafka_message_t *m, int64_t target,
				     struct kveil_error *err)
{
	int64_t begin = kveil_clock_mono_ms(), from = t->position, next;

	if (m->offset <= t->position || m->offset >= target || t->position < t->forged_until ||
	    (t->looks >= FREE_LOOKS && begin < t->look_due_ms))
		return KVEIL_OK;
	enum kveil_status status = need_search(t, err);
	if (status)
		return status;
	enum kveil_gap found = kveil_search_gap(t->search, (struct kveil_topic_place){t->name, 0}, m, &from, &next);
	int64_t end = kveil_clock_mono_ms();
	t->looks++;
	t->look_due_ms = end + LOOK_SHARE * (end - begin);
	if (found == KVEIL_GAP_UNKNOWN)
		return kveil_registry_topic_unavailable(t, "it stopped answering while it was read", err);
	if (found == KVEIL_GAP_LIE)
		t->forged_until = next;
	return KVEIL_OK;
}

/* Of a message at or beyond the end of this reading: was it written since, as far as is known? */
static bool may_be_new(const struct kveil_registry_topic *t, const rd_kafka_message_t *m)
{
	int64_t low, high;

	return !rd_kafka_get_watermark_offsets(t->consumer, t->name, 0, &low, &high) && m->offset < high;
}

static bool is_out_of_range(const rd_kafka_message_t *m)
{
	return m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
}

enum answer {
	TROUBLE,
	PROGRESS,
	AGAIN, /* the client lost its place: it is started again where the reading is */
	ENDED, /* what comes now is for the next reading, which knows a later end */
};

/* One answer of the consumer. */
static enum kveil_status take(struct kveil_registry_topic *t, const rd_kafka_message_t *m, int64_t target,
			      kveil_registry_topic_fn *fn, void *user, enum answer *ret, struct kveil_error *err)
{
	*ret = TROUBLE;
	if (!m->err) {
		*ret = m->offset >= target && may_be_new(t, m) ? ENDED : PROGRESS;
		if (*ret == ENDED)
			return KVEIL_OK;
		enum kveil_status status = look_at_gap(t, m, target, err);
		if (!status)
			status = take_message(t, m, target, fn, user, err);
		if (!status && t->forged_until && t->position >= t->forged_until)
			*ret = AGAIN;
		return status;
	}
	if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		/* The last offsets may be a transaction's marks, or compacted away. */
		if (t->lied)
			*ret = AGAIN;
		else if (m->offset > t->position)
			*ret = PROGRESS;
		if (*ret == PROGRESS)
			t->position = m->offset;
	} else if (is_out_of_range(m)) {
		*ret = AGAIN;
		/* Beyond the end: it was asked for after a lie, perhaps by the reading before. */
		return t->lied || m->offset > target ? KVEIL_OK : rolled_back(t, err);
	}
	return KVEIL_OK;
}

/* Where the reading is. */
static enum kveil_status start_client(struct kveil_registry_topic *t, struct kveil_error *err)
{
	if (t->position < t->forged_until)
		t->position = t->forged_until;
	t->begun = t->position;
	t->taken = t->forged_until = 0;
	t->lied = false;
	return rd_kafka_consume_start(t->partition, 0, t->position)
		   ? kveil_registry_topic_unavailable(t, rd_kafka_err2str(rd_kafka_last_error()), err)
		   : KVEIL_OK;
}

static enum kveil_status read_until(struct kveil_registry_topic *t, int64_t target, kveil_registry_topic_fn *fn,
				    void *user, struct kveil_error *err)
{
	int64_t quiet_until = kveil_clock_mono_ms() + KVEIL_REGISTRY_TOPIC_CALL_MS,
		look_ms = kveil_clock_mono_ms() + QUIET_MS;
	enum answer answer = TROUBLE;
	bool passed;
	char why[160] = "it stopped answering while it was read";

	/* Nothing is fetched between reads: asking once a second where the end is costs less than waiting there. */
	enum kveil_status status = start_client(t, err);
	if (status)
		return status;
	while (!status && answer != ENDED && t->position < target) {
		rd_kafka_message_t *m = rd_kafka_consume(t->partition, 0, POLL_MS);
		answer = TROUBLE;
		if (m) {
			status = take(t, m, target, fn, user, &answer, err);
			if (m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF)
				snprintf(why, sizeof why, "%s", rd_kafka_err2str(m->err));
			rd_kafka_message_destroy(m);
		}
		if (!status && answer == TROUBLE && kveil_clock_mono_ms() > look_ms) {
			look_ms = INT64_MAX; /* once, and behind each that was passed */
			status = pass_unreadable(t, target, &passed, err);
			answer = !status && passed ? AGAIN : TROUBLE;
		}
		if (!status && answer == AGAIN) {
			rd_kafka_consume_stop(t->partition, 0);
			status = start_client(t, err);
		}
		int64_t now = kveil_clock_mono_ms();
		if (answer != TROUBLE) {
			quiet_until = now + KVEIL_REGISTRY_TOPIC_CALL_MS;
			look_ms = now + QUIET_MS;
		} else if (!status && now > quiet_until)
			status = kveil_registry_topic_unavailable(t, why, err);
	}
	rd_kafka_consume_stop(t->partition, 0);
	return status;
}

enum kveil_status kveil_registry_topic_read(struct kveil_registry_topic *t, kveil_registry_topic_fn *fn, void *user,
					    struct kveil_error *err)
{
	int64_t target;
	enum kveil_status status = end_offset(t, &target, err);

	t->looks = 0;
	/* While this reads, compaction may take away what it did not reach yet, for the sake of what was written after
	 * the end that it knew: an end that stands still is better. But whoever may write could move it for ever: what
	 * is still to come then is the next call's. */
	for (int i = 0; !status && t->position < target && i < ENDS_MAX; i++) {
		status = read_until(t, target, fn, user, err);
		if (kveil_failpoint("slow-registry"))
			nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
		if (!status)
			status = end_offset(t, &target, err);
	}
	return status;
}

bool kveil_registry_topic_was_away(struct kveil_registry_topic *t)
{
	bool was = t->was_away;

	t->was_away = false;
	return was;
}

enum kveil_status kveil_registry_topic_peek(struct kveil_registry_topic *t, int64_t offset, kveil_registry_topic_fn *fn,
					    void *user, struct kveil_error *err)
{
	int64_t end = kveil_clock_mono_ms() + KVEIL_REGISTRY_TOPIC_QUERY_MS;
	enum kveil_status status = KVEIL_OK;
	bool done = false;

	if (rd_kafka_consume_start(t->partition, 0, offset))
		return kveil_registry_topic_unavailable(t, rd_kafka_err2str(rd_kafka_last_error()), err);
	while (!status && !done) {
		rd_kafka_message_t *m = rd_kafka_consume(t->partition, 0, POLL_MS);
		if (m && !m->err)
			status = fn(user, m->offset, kveil_span_of(m->key, m->key ? m->key_len : 0),
				    kveil_span_of(m->payload, m->payload ? m->len : 0), err);
		bool stray = m && is_out_of_range(m) && m->offset > offset; /* a reading's, after a lie */
		done = m && !stray && (!m->err || m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF || is_out_of_range(m));
		if (!done && kveil_clock_mono_ms() > end)
			status = kveil_registry_topic_unavailable(t, "it stopped answering while it was read", err);
		if (stray) {
			rd_kafka_consume_stop(t->partition, 0);
			if (rd_kafka_consume_start(t->partition, 0, offset))
				status =
				    kveil_registry_topic_unavailable(t, rd_kafka_err2str(rd_kafka_last_error()), err);
		}
		if (m)
			rd_kafka_message_destroy(m);
	}
	rd_kafka_consume_stop(t->partition, 0);
	return status;
}

/* --- writing --- */

enum kveil_status kveil_registry_topic_append(struct kveil_registry_topic *t, struct kveil_registry_message *messages,
					      size_t count, struct kveil_error *err)
{
	struct delivery *deliveries = calloc(count ? count : 1, sizeof *deliveries);
	int64_t end = kveil_clock_mono_ms() + KVEIL_REGISTRY_TOPIC_CALL_MS;
	rd_kafka_resp_err_t failure = RD_KAFKA_RESP_ERR_NO_ERROR;
	size_t waiting = 0;

	enum kveil_status status =
	    deliveries ? kveil_registry_topic_need_producer(t, err) : kveil_no_memory(err, "the key registry");
	if (status) {
		free(deliveries);
		return status;
	}
	for (size_t i = 0; i < count && !failure; i++) {
		const struct kveil_registry_message *m = &messages[i];
		deliveries[i].waiting = &waiting;
		failure = rd_kafka_producev(t->producer, RD_KAFKA_V_TOPIC(t->name), RD_KAFKA_V_PARTITION(0),
					    RD_KAFKA_V_KEY((void *)(uintptr_t)m->label.data, m->label.len),
					    RD_KAFKA_V_VALUE((void *)(uintptr_t)m->value.data, m->value.len),
					    RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_OPAQUE(&deliveries[i]),
					    RD_KAFKA_V_END);
		waiting += !failure;
	}
	while (waiting && kveil_clock_mono_ms() < end)
		rd_kafka_poll(t->producer, POLL_MS);
	if (waiting) {
		/* The reports must come before their place goes. What is written all the same is read like any other.
		 */
		rd_kafka_purge(t->producer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
		while (waiting)
			rd_kafka_poll(t->producer, POLL_MS);
		failure = RD_KAFKA_RESP_ERR__TIMED_OUT;
	}
	for (size_t i = 0; i < count && !failure; i++) {
		failure = deliveries[i].error;
		messages[i].offset = deliveries[i].offset;
		if (!failure && deliveries[i].appended_ms >= 0) {
			t->has_clock = true;
			t->clock_ahead_ms = deliveries[i].appended_ms - kveil_clock_mono_ms();
		}
	}
	free(deliveries);
	if (!failure)
		return KVEIL_OK;
	drop_producer(t);
	return kveil_registry_topic_unavailable(t, rd_kafka_err2str(failure), err);
}

bool kveil_registry_topic_clock(const struct kveil_registry_topic *t, int64_t *ret_ms)
{
	*ret_ms = kveil_clock_mono_ms() + t->clock_ahead_ms;
	if (kveil_failpoint("clock-ahead"))
		*ret_ms -= INT64_C(10) * 365 * 24 * 3600 * 1000;
	return t->has_clock;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client cannot fetch: batches that cannot be read, for they are damaged or too large when they are unpacked,
 * and topics that it may not read. It asks again by itself, for ever. So it is said at once; and a batch that stays
 * unreadable is set aside as a whole: a letter that points to it, and the partition goes on behind it. Where that is,
 * only the broker can tell: it gives the same batch for each offset in it, so the end is searched for.
 *
 *   base            position                    next
 *    [ a batch that cannot be read              ][ another, or the end
 *     same ───────── same ── same ─── same        other
 */
#include "base/clock.h"
#include "base/log.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	TRIES = 3,
	LOOK_MS = 5000,
	SILENT_MS = 1500,
	ERRORS = 5,
	OVER_MS = 30000,
	STILL_MS = 60000,
	SEARCH_MS = 45000,
	POLL_MS = 100
};

/* --- saying it --- */

static void condition_name(const struct kveil_partition *p, char *dst, size_t size)
{
	snprintf(dst, size, "fetch %s[%" PRId32 "]", p->topic, p->id);
}

void kveil_worker_fetch_over(struct kveil_worker *w, struct kveil_partition *p)
{
	char name[300];

	condition_name(p, name, sizeof name);
	kveil_health_condition(w->params->health, name, NULL);
	p->fetch_fault = false;
}

static void say(struct kveil_worker *w, struct kveil_partition *p, const char *why)
{
	char name[300];

	condition_name(p, name, sizeof name);
	kveil_health_condition(w->params->health, name, "%s", why);
	kveil_log(p->fetch_fault ? KVEIL_LOG_DEBUG : KVEIL_LOG_WARN, w->name, "%s: %s", name, why);
	p->fetch_fault = true;
}

/* --- where it ends --- */

struct search {
	struct kveil_worker *w;
	const struct kveil_partition *p;
	struct kveil_kafka_owner owner;
	rd_kafka_t *consumer;
	int64_t base, end_ms;
	bool silent;
};

enum look { SAME, OTHER, UNKNOWN };

static enum kveil_status open_client(struct search *s, struct kveil_error *err)
{
	rd_kafka_conf_t *conf;

	snprintf(s->owner.name, sizeof s->owner.name, "%.20s search", s->w->name);
	enum kveil_status status = kveil_kafka_conf_consumer(s->w->params->config, &s->owner, NULL, &conf, err);
	if (status)
		return status;
	/* One batch at a time: it comes whole, however little is asked for. */
	status = kveil_kafka_set(conf, "max.partition.fetch.bytes", "1024", err);
	if (!status)
		status = kveil_kafka_set(conf, "enable.partition.eof", "true", err);
	if (!status)
		status = kveil_kafka_set(conf, "check.crcs", "true", err);
	if (status) {
		rd_kafka_conf_destroy(conf);
		return status;
	}
	status = kveil_kafka_new(RD_KAFKA_CONSUMER, conf, &s->consumer, err);
	if (!status)
		rd_kafka_poll_set_consumer(s->consumer);
	return status;
}

/* What does the broker give for this offset? */
static enum look look_for(struct search *s, int64_t offset, int ms)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	int64_t end = kveil_clock_mono_ms() + ms;
	enum look found = UNKNOWN;

	rd_kafka_topic_partition_list_add(list, s->p->topic, s->p->id)->offset = offset;
	bool asked = !rd_kafka_assign(s->consumer, list);
	rd_kafka_topic_partition_list_destroy(list);
	while (asked && found == UNKNOWN && kveil_clock_mono_ms() < end && !kveil_worker_stopping(s->w)) {
		kveil_loop_beat(s->w->loop);
		rd_kafka_poll(s->w->producer, 0);
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(s->consumer, POLL_MS);
		if (msg && kveil_kafka_unreadable(msg->err))
			found = msg->offset == s->base ? SAME : OTHER;
		else if (msg && (!msg->err || msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF))
			found = OTHER;
		kveil_kafka_message_free(msg);
	}
	return kveil_clock_mono_ms() < s->end_ms ? found : UNKNOWN;
}

/* Of a batch of an unknown version the client says a word at its first offset alone, and nothing at the others: silence
 * is that batch's, as long as the broker answers for the first offset right after. */
static enum look look_at(struct search *s, int64_t offset)
{
	if (!s->silent || offset == s->base)
		return look_for(s, offset, LOOK_MS);
	enum look found = look_for(s, offset, SILENT_MS);
	return found == UNKNOWN ? look_for(s, s->base, SILENT_MS) : found;
}

/* The first offset behind the batch. from: in the batch; end: of the partition. */
static enum look find_end(struct search *s, int64_t from, int64_t end, int64_t *ret)
{
	int64_t in = from, out = end;
	enum look found = look_at(s, from);

	if (found != SAME)
		return found;
	for (int64_t step = 1; step < out - in; step *= 2) {
		found = look_at(s, in + step);
		if (found == UNKNOWN)
			return UNKNOWN;
		if (found == OTHER) {
			out = in + step;
			break;
		}
		in += step;
	}
	while (out - in > 1) {
		int64_t middle = in + (out - in) / 2;
		found = look_at(s, middle);
		if (found == UNKNOWN)
			return UNKNOWN;
		*(found == SAME ? &in : &out) = middle;
	}
	*ret = out;
	return SAME;
}

/* SAME: it cannot be read, not even alone, and *next is where others begin. */
static enum look search(struct kveil_worker *w, const struct kveil_partition *p, bool silent, int64_t from,
			int64_t *next)
{
	struct search *s = calloc(1, sizeof *s);
	int64_t low, high;
	struct kveil_error err;
	enum look found = UNKNOWN;

	if (!s)
		return UNKNOWN;
	*s = (struct search){
	    .w = w, .p = p, .base = p->unreadable, .end_ms = kveil_clock_mono_ms() + SEARCH_MS, .silent = silent};
	if (open_client(s, &err))
		kveil_log_error(KVEIL_LOG_WARN, w->name, &err);
	else if (!kveil_kafka_range(s->consumer, p->topic, p->id, &low, &high, LOOK_MS) && from < high)
		found = find_end(s, from, high, next);
	if (s->consumer)
		rd_kafka_assign(s->consumer, NULL);
	if (kveil_kafka_destroy(s->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE))
		free(s); /* or the client still logs as its owner */
	return found;
}

/* --- setting it aside --- */

/* The first refusal of an offset may only mean that other batches of its response, or those that wait, left it no room.
 */
static void on_unreadable(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg)
{
	bool again = msg->offset == p->unreadable;
	struct kveil_error why;
	int64_t next = -1;

	if (p->rewind)
		return;
	if (!again) {
		p->unreadable = msg->offset;
		p->unreadable_tries = 0;
	}
	kveil_fail(&why, KVEIL_E_UNREADABLE_BATCH, "the batch at offset %lld cannot be read: %.200s",
		   (long long)msg->offset, rd_kafka_err2str(msg->err));
	kveil_cell_add(kveil_worker_fetch_errors(w, why.status), 1);
	if (again)
		say(w, p, why.message);
	else
		kveil_log(KVEIL_LOG_DEBUG, w->name, "%s[%" PRId32 "]: %s", p->topic, p->id, why.message);
	if (p->wait || p->waiting.first) {
		kveil_worker_hold(w, p); /* what was taken before this comes first; then it is said again */
		return;
	}
	/* Behind such a batch the client reads on, and after a wrong checksum from a wrong place (docs/librdkafka.md):
	 * what it gives, and where it means to go on, may come out of the bytes of records. */
	p->out_of_range = -1;
	kveil_worker_ask_rewind(w, p);
	if (p->held || p->stopped || msg->offset < 0 || ++p->unreadable_tries < TRIES)
		return;
	int64_t first = p->marks.next > msg->offset ? p->marks.next : msg->offset;
	p->unreadable_tries = 0;
	if (search(w, p, msg->err == RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED, first, &next) == SAME)
		(void)kveil_worker_set_aside_batch(w, p, first, next, &why);
}

/* Is it the client's turn to bring something? */
static bool should_come(const struct kveil_worker *w, const struct kveil_partition *p, int64_t high)
{
	return high > kveil_worker_position(p) && !p->held && kveil_park_may_read(p) && w->intake.count == 0;
}

void kveil_worker_look_at_fetch(struct kveil_worker *w, struct kveil_partition *p, int64_t high)
{
	int64_t now = kveil_clock_mono_ms();

	/* Fetches that fail are tried again twice a second; where there is nothing to fetch nothing says that it is
	 * over. */
	if (p->fetch_error_ms && now - p->fetch_error_ms > OVER_MS) {
		p->fetch_error_ms = 0;
		kveil_worker_fetched(w, p);
	}
	if (!should_come(w, p, high))
		p->still_ms = 0;
	else if (!p->still_ms)
		p->still_ms = now;
	else if (now - p->still_ms > STILL_MS)
		say(w, p,
		    "nothing comes though records are there: an open transaction, or a batch that the client cannot "
		    "read");
}

bool kveil_worker_on_fetch_error(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg)
{
	struct kveil_error err;
	char why[200];

	if (!p)
		return false;
	if (kveil_kafka_unreadable(msg->err)) {
		on_unreadable(w, p, msg);
		return true;
	}
	if (msg->err != RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
		kveil_fail(&err, KVEIL_E_KAFKA_UNAVAILABLE, "%s[%" PRId32 "]: not fetched: %s", p->topic, p->id,
			   rd_kafka_message_errstr(msg));
		kveil_cell_add(kveil_worker_fetch_errors(w, err.status), 1);
		kveil_worker_log_now_and_then(w, &err, &w->fetch_logged_ms);
		p->fetch_error_ms = kveil_clock_mono_ms();
		if (++p->fetch_errors >= ERRORS)
			say(w, p, err.message);
		return true;
	}
	snprintf(why, sizeof why, "not fetched: %s", rd_kafka_err2str(msg->err));
	kveil_cell_add(kveil_worker_fetch_errors(w, KVEIL_E_KAFKA_UNAVAILABLE), 1);
	say(w, p, why);
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Where in a partition a batch that cannot be read ends. */
#include "kafka/search.h"

#include "base/clock.h"
#include "base/failpoint.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	LOOK_MS = 5000,
	SEARCH_MS = 45000,
	POLL_MS = 50,
	SILENT_ANSWERS = 12, /* with bytes and without a record; librdkafka asks for twice as many bytes each time */
	EMPTY_ANSWERS = 40,  /* without bytes, below the partition's end */
	EMPTY_ANSWER = 100,  /* bytes of one without records, and the topic's name */
};

struct kveil_search {
	struct kveil_kafka_owner owner;
	rd_kafka_t *consumer;
	kveil_search_alive_fn *alive;
	void *user;
	int64_t end_ms; /* of the search; 0 = there is none */
	bool was_asked; /* for a test */
};

static enum kveil_status configure(rd_kafka_conf_t *conf, bool every, struct kveil_error *err)
{
	const char *const settings[][2] = {
	    /* One batch at a time: it comes whole, however little is asked for. */
	    {"max.partition.fetch.bytes", "1024"},
	    {"fetch.wait.max.ms", "50"},
	    {"fetch.error.backoff.ms", "10"},
	    {"enable.partition.eof", "true"},
	    {"check.crcs", "true"},
	    {every ? "isolation.level" : NULL, "read_uncommitted"},
	};
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < sizeof settings / sizeof *settings && settings[i][0]; i++)
		status = kveil_kafka_set(conf, settings[i][0], settings[i][1], err);
	return status;
}

static enum kveil_status open_client(struct kveil_search *s, const struct kveil_config *config, bool every,
				     struct kveil_error *err)
{
	rd_kafka_conf_t *conf;
	enum kveil_status status = kveil_kafka_conf_consumer(config, &s->owner, NULL, &conf, err);

	if (status)
		return status;
	status = configure(conf, every, err);
	if (status) {
		rd_kafka_conf_destroy(conf);
		return status;
	}
	status = kveil_kafka_new(RD_KAFKA_CONSUMER, conf, &s->consumer, err);
	if (!status)
		rd_kafka_poll_set_consumer(s->consumer);
	return status;
}

enum kveil_status kveil_search_new(const struct kveil_config *config, const char *name, bool every,
				   kveil_search_alive_fn *alive, void *user, struct kveil_search **ret,
				   struct kveil_error *err)
{
	struct kveil_search *s = calloc(1, sizeof *s);

	*ret = NULL;
	if (!s)
		return kveil_no_memory(err, "a search");
	s->alive = alive;
	s->user = user;
	snprintf(s->owner.name, sizeof s->owner.name, "%.20s search", name);
	enum kveil_status status = open_client(s, config, every, err);
	if (status)
		kveil_search_free(s);
	else
		*ret = s;
	return status;
}

void kveil_search_free(struct kveil_search *s)
{
	if (!s)
		return;
	if (kveil_kafka_destroy(s->consumer, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE))
		free(s); /* or the client still logs as its owner */
}

static uint64_t add_bytes(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	/* FNV-1a, of the length too. Who can write a record with a digest can as well write the record again. */
	for (size_t i = 0; i < sizeof n; i++)
		h = (h ^ (uint8_t)(n >> 8 * i)) * 0x100000001b3;
	for (size_t i = 0; data && i < n; i++)
		h = (h ^ p[i]) * 0x100000001b3;
	return (h ^ (data != NULL)) * 0x100000001b3;
}

/* Of all that a record is, but the offset. */
static uint64_t digest_of(const rd_kafka_message_t *msg)
{
	int64_t ms = rd_kafka_message_timestamp(msg, NULL);
	rd_kafka_headers_t *headers;
	const char *name;
	const void *value;
	size_t size;
	uint64_t h = add_bytes(0xcbf29ce484222325, &ms, sizeof ms);

	h = add_bytes(h, msg->key, msg->key_len);
	h = add_bytes(h, msg->payload, msg->len);
	if (rd_kafka_message_headers(msg, &headers))
		return h;
	for (size_t i = 0; !rd_kafka_header_get_all(headers, i, &name, &value, &size); i++)
		h = add_bytes(add_bytes(h, name, strlen(name)), value, value ? size : 0);
	return h;
}

/* asked: what is out of range elsewhere is so from before, which survives another assignment (2.0.2). */
static struct kveil_answer answer_of(const rd_kafka_message_t *msg, int64_t asked)
{
	struct kveil_answer a = {.offset = msg->offset};

	if (!msg->err) {
		a.kind = KVEIL_ANSWER_RECORD;
		a.digest = digest_of(msg);
	} else if (kveil_kafka_unreadable(msg->err)) {
		a.kind = KVEIL_ANSWER_UNREADABLE;
		a.damaged = msg->err == RD_KAFKA_RESP_ERR__BAD_MSG;
	} else if (msg->err == RD_KAFKA_RESP_ERR__PARTITION_EOF ||
		   (msg->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET && msg->offset == asked)) {
		a.kind = KVEIL_ANSWER_END;
	}
	return a;
}

/* Where the client is: it passes what is not a record without a word. */
static int64_t position(const struct kveil_search *s, struct kveil_topic_place at)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_t *p = rd_kafka_topic_partition_list_add(list, at.topic, at.partition);

	int64_t offset = rd_kafka_position(s->consumer, list) ? -1 : p->offset;
	rd_kafka_topic_partition_list_destroy(list);
	return offset;
}

static bool begin_at(struct kveil_search *s, struct kveil_topic_place at, int64_t offset)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);

	rd_kafka_topic_partition_list_add(list, at.topic, at.partition)->offset = offset;
	bool begun = !rd_kafka_assign(s->consumer, list);
	rd_kafka_topic_partition_list_destroy(list);
	return begun;
}

struct answers {
	unsigned full, empty;
};

static struct answers count_answers(struct kveil_unpack *u)
{
	return (struct answers){atomic_load(&u->full_answers), atomic_load(&u->empty_answers)};
}

/* Of answers that came since, and no message with them. */
static enum kveil_answer_kind judge_silence(struct kveil_unpack *u, struct answers since)
{
	struct answers now = count_answers(u);

	if (now.full - since.full >= SILENT_ANSWERS)
		return KVEIL_ANSWER_SILENT;
	return now.empty - since.empty >= EMPTY_ANSWERS ? KVEIL_ANSWER_EMPTY : KVEIL_ANSWER_NONE;
}

struct kveil_answer kveil_search_ask(struct kveil_search *s, struct kveil_topic_place at, int64_t offset)
{
	int64_t end = kveil_clock_mono_ms() + LOOK_MS, was = -1;
	struct kveil_unpack *u = &s->owner.unpack;
	struct kveil_answer a = {0};
	bool first = !s->was_asked;

	s->was_asked = true;
	if (first && kveil_failpoint("no-first-answer"))
		return a;
	end = s->end_ms && s->end_ms < end ? s->end_ms : end;
	atomic_store(&u->empty_bytes, EMPTY_ANSWER + strlen(at.topic));
	bool asked = begin_at(s, at, offset);
	struct answers since = count_answers(u);
	while (asked && !a.kind && kveil_clock_mono_ms() < end && s->alive(s->user)) {
		rd_kafka_message_t *msg = rd_kafka_consumer_poll(s->consumer, POLL_MS);
		if (msg)
			a = answer_of(msg, offset);
		kveil_kafka_message_free(msg);
		int64_t now = position(s, at);
		if (now != was)
			since = count_answers(u);
		was = now;
		if (!a.kind)
			a = (struct kveil_answer){.kind = judge_silence(u, since), .offset = offset};
	}
	rd_kafka_assign(s->consumer, NULL);
	return a;
}

static bool are_equal(const struct kveil_answer *a, const struct kveil_answer *b)
{
	return a->kind == b->kind && a->offset == b->offset && a->digest == b->digest;
}

enum look { SAME, OTHER, UNKNOWN };

static enum look look(struct kveil_search *s, struct kveil_topic_place at, int64_t offset,
		      const struct kveil_answer *same)
{
	struct kveil_answer a = kveil_search_ask(s, at, offset);

	if (a.kind == KVEIL_ANSWER_NONE)
		return UNKNOWN;
	/* Of a batch of an unknown version the client says a word at its first offset alone. Batches that give nothing,
	 * one behind another, are as one; and behind one whose length is wrong the broker itself finds no other. */
	if ((a.kind == KVEIL_ANSWER_SILENT || a.kind == KVEIL_ANSWER_EMPTY) && same->kind != KVEIL_ANSWER_RECORD)
		return SAME;
	return are_equal(&a, same) ? SAME : OTHER;
}

static enum look find_end(struct kveil_search *s, struct kveil_topic_place at, int64_t from, int64_t end,
			  const struct kveil_answer *same, int64_t *ret)
{
	int64_t in = from, out = end;
	enum look found = look(s, at, from, same);

	for (int64_t step = 1; found == SAME && step < out - in; step *= 2) {
		found = look(s, at, in + step, same);
		if (found == OTHER)
			out = in + step;
		else
			in += step;
	}
	if (found == UNKNOWN || (found == OTHER && in == from && out == end))
		return found;
	while (out - in > 1) {
		int64_t middle = in + (out - in) / 2;
		found = look(s, at, middle, same);
		if (found == UNKNOWN)
			return UNKNOWN;
		*(found == SAME ? &in : &out) = middle;
	}
	*ret = out;
	return SAME;
}

static enum look find_end_in_time(struct kveil_search *s, struct kveil_topic_place at, int64_t from, int64_t end,
				  const struct kveil_answer *same, int64_t *ret)
{
	if (from >= end)
		return OTHER;
	s->end_ms = kveil_clock_mono_ms() + SEARCH_MS;
	enum look found = find_end(s, at, from, end, same, ret);
	s->end_ms = 0;
	return found;
}

bool kveil_search_end(struct kveil_search *s, struct kveil_topic_place at, int64_t from, int64_t end,
		      const struct kveil_answer *same, int64_t *ret_next)
{
	return find_end_in_time(s, at, from, end, same, ret_next) == SAME;
}

enum kveil_gap kveil_search_gap(struct kveil_search *s, struct kveil_topic_place at, const rd_kafka_message_t *msg,
				int64_t *from, int64_t *ret_next)
{
	const struct kveil_answer claimed = {KVEIL_ANSWER_RECORD, msg->offset, digest_of(msg), false};
	struct kveil_answer a = kveil_search_ask(s, at, msg->offset);
	int64_t low, high;

	if (a.kind == KVEIL_ANSWER_NONE)
		return KVEIL_GAP_UNKNOWN;
	if (are_equal(&a, &claimed))
		return KVEIL_GAP_TRUE;
	if (!kveil_search_range(s, at, &low, &high))
		return KVEIL_GAP_UNKNOWN;
	*from = *from < low ? low : *from;
	enum look found = find_end_in_time(s, at, *from, high, &claimed, ret_next);
	if (found == OTHER)
		return KVEIL_GAP_GONE;
	/* A lie ends where something else was given. If it seems to go on, the first answer was of a broker that lags.
	 */
	return found == SAME && *ret_next <= msg->offset ? KVEIL_GAP_LIE : KVEIL_GAP_UNKNOWN;
}

bool kveil_search_range(struct kveil_search *s, struct kveil_topic_place at, int64_t *ret_low, int64_t *ret_high)
{
	return !kveil_kafka_range(s->consumer, at.topic, at.partition, ret_low, ret_high, LOOK_MS);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka/search.h: what the broker gives for one offset of a partition, asked with a client of its own that takes one
 * batch at a time. A broker gives the same batch for each offset in it, so where a batch ends is searched for:
 *
 *   base            from                        next
 *    [ a batch that cannot be read              ][ another, or the end
 *     same ───────── same ── same ─── same        other
 *
 * Nothing here believes an offset that a record tells of itself. One thread.
 */
#ifndef KVEIL_KAFKA_SEARCH_H
#define KVEIL_KAFKA_SEARCH_H

#include "config/config.h"
#include "kafka/kafka.h"
#include "kveil/base.h"

enum kveil_answer_kind {
	KVEIL_ANSWER_NONE,       /* in time */
	KVEIL_ANSWER_RECORD,     /* the first one at or behind the offset */
	KVEIL_ANSWER_UNREADABLE, /* an error in the place of a batch */
	KVEIL_ANSWER_SILENT, /* the broker gives bytes again and again, and the client finds neither record nor error in
				them */
	KVEIL_ANSWER_EMPTY,  /* it gives no bytes, though this is not the end */
	KVEIL_ANSWER_END,    /* of the partition, or beyond it */
};

struct kveil_answer {
	enum kveil_answer_kind kind;
	int64_t offset;  /* that the record, or the error's batch, claims */
	uint64_t digest; /* of a record */
	bool damaged;    /* unreadable, for its checksum is wrong: it is not what was written */
};

struct kveil_topic_place {
	const char *topic;
	int32_t partition;
};

/* Called while an answer is waited for, some times a second. false: give up. */
typedef bool kveil_search_alive_fn(void *user);

struct kveil_search;

/* name: for the log. every: also records of transactions that are open or were aborted. CONFIG, INTERNAL. */
enum kveil_status kveil_search_new(const struct kveil_config *config, const char *name, bool every,
				   kveil_search_alive_fn *alive, void *user, struct kveil_search **ret,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_search_free(struct kveil_search *s);

/* Waits for some seconds at most. */
struct kveil_answer kveil_search_ask(struct kveil_search *s, struct kveil_topic_place at, int64_t offset);
/* The first offset for which the broker gives something else than `same`, which it gives for `from`; end: of the
 * partition. false: it does not give it for `from`, or does not answer. Takes three quarters of a minute at most. */
bool kveil_search_end(struct kveil_search *s, struct kveil_topic_place at, int64_t from, int64_t end,
		      const struct kveil_answer *same, int64_t *ret_next) KVEIL_MUST_CHECK;
/* Of a message that jumps: is there nothing before it? */
enum kveil_gap {
	KVEIL_GAP_TRUE,    /* the broker gives the same record for the offset that it claims */
	KVEIL_GAP_LIE,     /* it gives another there: the record's batch is in the gap, and ends before *ret_next */
	KVEIL_GAP_GONE,    /* nor does it give the record any more for the gap: it was taken away since */
	KVEIL_GAP_UNKNOWN, /* no answer */
};
/* *from: the first offset of the gap, or not known; of a lie, it is known. */
enum kveil_gap kveil_search_gap(struct kveil_search *s, struct kveil_topic_place at, const rd_kafka_message_t *msg,
				int64_t *from, int64_t *ret_next);
/* The partition's ends now. false: no answer. */
bool kveil_search_range(struct kveil_search *s, struct kveil_topic_place at, int64_t *ret_low,
			int64_t *ret_high) KVEIL_MUST_CHECK;

#endif

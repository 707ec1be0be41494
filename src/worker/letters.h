/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/letters.h: the dead letters that wait: in each partition of the dead-letter topics, from where the last replay
 * or discard ended (the offset committed by the group GROUP.replay) to what was there when they were opened.
 *
 *   committed                     end
 *    [ waits ][ waits ][ waits ]   …   what comes later is for the next one
 *
 * One thread, and one at a time for a group.
 */
#ifndef KVEIL_WORKER_LETTERS_H
#define KVEIL_WORKER_LETTERS_H

#include "config/config.h"
#include "kafka/kafka.h"
#include "kveil/base.h"
#include "rules/plan.h"
#include "worker/topics.h"

struct kveil_letters_params {
	const struct kveil_config *config;
	struct kveil_plan_set *plans;
	const char *topic;        /* one dead-letter topic; NULL = those of all input topics */
	const _Atomic bool *stop; /* set from outside; may be NULL */
};

struct kveil_letters;

/* Asks the cluster what is there. NOT_FOUND: there is no such topic; KAFKA_UNAVAILABLE. */
enum kveil_status kveil_letters_open(const struct kveil_letters_params *p, struct kveil_letters **ret,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_letters_close(struct kveil_letters *l);

/* Input topics with all that they need, and their limits. Lives as long as l. */
const struct kveil_catalog *kveil_letters_catalog(const struct kveil_letters *l);

/* The partitions, by number: which they are, the first offset that waits, the end, and what was committed beside it. */
struct kveil_letters_partition {
	const char *topic;
	int32_t partition;
	int64_t next, end;
	struct kveil_span note;
};
size_t kveil_letters_partitions(const struct kveil_letters *l);
struct kveil_letters_partition kveil_letters_partition(const struct kveil_letters *l, size_t number);
size_t kveil_letters_partition_of(const struct kveil_letters *l, const rd_kafka_message_t *msg);

/* The next letter, in the order of its partition; *ret NULL: there is none left, or it was stopped. The caller frees it
 * (kveil_kafka_message_free). KAFKA_UNAVAILABLE: nothing came for two minutes. */
enum kveil_status kveil_letters_next(struct kveil_letters *l, rd_kafka_message_t **ret,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
/* Letters before `next` wait no more. note: what to keep beside the offset; NULL span = nothing. */
enum kveil_status kveil_letters_commit(struct kveil_letters *l, size_t number, int64_t next, struct kveil_span note,
				       struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

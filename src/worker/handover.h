/* SPDX-License-Identifier: Apache-2.0 */
/* worker/handover.h: the record at hand: what is sent of it, and what becomes of it. Inside src/worker only, on the
 * worker's thread. */
#ifndef KVEIL_WORKER_HANDOVER_H
#define KVEIL_WORKER_HANDOVER_H

#include "worker/outlet.h"
#include "worker/partition.h"

struct kveil_worker;

enum kveil_outcome {
	KVEIL_SENT,
	KVEIL_ABANDONED, /* to be read again, or stopped: nothing more to do here */
	KVEIL_WAITS,     /* to be tried again */
	KVEIL_NO_ROOM,   /* the same, when the lane that its partition is blocked on has some */
	KVEIL_REFUSED,   /* by the broker, alone in its request */
	KVEIL_TOO_LARGE,
};

/* The record at hand. */
struct kveil_work {
	struct kveil_position at;
	const struct kveil_incoming *in;
	bool solo;
	bool pointer; /* there is no record, only where it should be */
};

/* The record at hand, for the whole worker. record.c, handover.c, set_aside.c; what is reported alone: delivery.c */
struct kveil_hand {
	const struct kveil_partition *tried; /* the record before was its */
	int64_t switched_ms;                 /* when that was another one last */
	unsigned handed;                     /* messages that were handed over */
	bool torn;                           /* some of a record were, and it was not done with */
	struct {
		bool waiting;
		void *token;
		rd_kafka_resp_err_t result;
	} solo;
	struct kveil_header *headers;
	size_t header_cap;
	struct kveil_buf letter;
	uint32_t sample;
	uint64_t drops_untold, letters_untold;
	int64_t drops_told_ms, letters_told_ms;
};

/* Where a message goes, and what it takes on its way there (kveil_kafka_sends_bytes). */
struct kveil_way {
	struct kveil_outlet *outlet;
	int32_t partition;
	size_t bytes;
};

static inline bool kveil_must_wait(enum kveil_outcome o)
{
	return o == KVEIL_WAITS || o == KVEIL_NO_ROOM;
}

/* What is known of the record since its last transaction; NULL: nothing. */
static inline const struct kveil_refusal *kveil_known_refusal(const struct kveil_work *k)
{
	const struct kveil_partition *p = k->at.partition;

	return p->refusal.offset == k->in->offset ? &p->refusal : NULL;
}

/* --- handover.c --- */
/* Would the broker take it, as far as can be told here? most: bytes of a batch. */
bool kveil_fits(const struct kveil_worker *w, const struct kveil_record *r, size_t most);
/* Hands one message to the producer; in solo mode waits for what becomes of it. */
enum kveil_outcome kveil_hand_over(struct kveil_worker *w, const struct kveil_work *k, const struct kveil_way *to,
				   const struct kveil_record *record, int64_t timestamp_ms);
/* One of what the record waits for is settled. */
void kveil_acknowledged(const struct kveil_work *k);
/* It will be read again. */
enum kveil_outcome kveil_abandon(struct kveil_worker *w, const struct kveil_work *k);
/* Its partition stops there. */
void kveil_stop_at(struct kveil_worker *w, const struct kveil_work *k, bool by_rules, const struct kveil_error *why);
/* kveil_must_wait(o): its partition waits; why: of WAITS. */
void kveil_stand_aside(struct kveil_worker *w, struct kveil_partition *p, enum kveil_outcome o,
		       const struct kveil_error *why);

/* --- set_aside.c --- */
void kveil_count_failure(struct kveil_worker *w, const struct kveil_work *k, enum kveil_status status);
/* What becomes of a record that failed, by the rule file's word. WAITS: *ret_wait. */
enum kveil_outcome kveil_set_aside(struct kveil_worker *w, const struct kveil_work *k, enum kveil_on_error how,
				   const struct kveil_error *why, struct kveil_error *ret_wait);
/* Sets aside what no record can be had of: offsets from first to before next. false: the letter has to wait. */
bool kveil_set_aside_batch(struct kveil_worker *w, struct kveil_partition *p, int64_t first, int64_t next,
			   const struct kveil_error *why);

#endif

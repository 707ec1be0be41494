/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/partition.h: what a worker knows of one input partition. Inside src/worker only, on the worker's thread. Each
 * part says which file writes it; others read it.
 */
#ifndef KVEIL_WORKER_PARTITION_H
#define KVEIL_WORKER_PARTITION_H

#include "kveil/engine.h"
#include "worker/topic_ids.h"
#include "worker/watermark.h"
#include "worker/writers.h"

struct kveil_outlet;
struct kveil_worker_route;

/* A record on its way in; its bytes are borrowed from the message, or from the copy that waits. */
struct kveil_incoming {
	int64_t offset;
	int64_t timestamp_ms; /* as a producer takes it */
	struct kveil_record record;
};

/* See park.c: a record that waits, with its bytes behind it. */
struct kveil_waiting {
	struct kveil_waiting *next;
	size_t bytes;
	struct kveil_incoming in;
	struct kveil_header headers[];
};

/* What of a partition was taken from the client and waits. */
struct kveil_queue {
	struct kveil_waiting *first, *last;
	struct kveil_waiting *unseen; /* from here on nobody has looked at the keys that they name */
	size_t count, bytes;
};

/* What the next record of a partition waits for. */
enum kveil_wait {
	KVEIL_WAIT_NONE,
	KVEIL_WAIT_NAMES,  /* keys that it names are being made */
	KVEIL_WAIT_SCHEMA, /* the schema that it names is being fetched, or the derived one registered */
	KVEIL_WAIT_OUTAGE, /* a moment: then it is tried again */
	KVEIL_WAIT_LANE,   /* room on the way to an output partition, or a moment after it failed */
};

/* How many jumps of its offsets a partition remembers: after a lie about offsets it goes back to one (offsets.c). */
enum { KVEIL_GAPS = 16 };

/* So many ids that the schema registry does not know, and no other between them: it is not the producers' registry. */
enum { KVEIL_UNKNOWN_IDS = 16 };

/* A record that the broker did not take in a transaction, and what it is to be when it comes again: a letter. */
struct kveil_refusal {
	int64_t offset;           /* -1 = none */
	enum kveil_status status; /* KVEIL_OK: only its letter was refused */
	size_t view;
	int part; /* enum kveil_dead_letter_part: the letter holds no more */
};

/* Whether the client can fetch it. quarantine.c, outages.c */
struct kveil_partition_fetch {
	bool fault;             /* it cannot, and a condition says so */
	unsigned errors;        /* in a row, of fetches that gave no record */
	int64_t error_ms;       /* the last of them; 0 = none */
	int64_t still_ms;       /* since when nothing came though there is more; 0 = all is well */
	int64_t still_at;       /* where that was */
	unsigned still_answers; /* that the client had from brokers by then */
	int64_t unreadable;     /* first offset of the batch that could not be read last; -1 = none */
	unsigned unreadable_tries;
};

/* Which offsets are believed. offsets.c */
struct kveil_partition_offsets {
	int64_t given;            /* behind the last message that the client gave; -1 = none. intake.c, hold.c */
	int64_t claimed;          /* behind the last one that was taken since a rewind, by its own word; -1 = none */
	int64_t doubted_until;    /* offsets up to here are counted, not believed; -1 = none */
	int64_t gaps[KVEIL_GAPS]; /* a ring of the last ones: where each began */
	size_t gap_count;
	unsigned true_gaps; /* that were looked at */
};

/* How often processes ended at its first record. attempts.c */
struct kveil_partition_attempts {
	uint32_t count;    /* what the note beside `committed` says; 0 = none */
	int64_t in_hand;   /* the record that this process has counted there; -1 = none */
	bool poison;       /* too many: what is at `committed` is to be set aside unread */
	int64_t poison_at; /* where that was, as long as it may be there again; -1 = none */
	int64_t began_ms;
};

/* Until when its next record waits, and how often it has. park.c */
struct kveil_partition_park {
	int64_t due_ms;    /* monotonic: when it is tried again */
	int64_t schema_ms; /* since when it has waited for a schema; 0 = it does not */
	unsigned outage_tries;
	unsigned name_tries;             /* that found no key, though it was asked for */
	uint64_t round;                  /* of the maker or the resolver, when it was asked for */
	bool in_outage;                  /* counted in the worker's outages */
	struct kveil_outlet *blocked_on; /* it had no room in this lane; NULL: or is gone. outlet.c */
	int32_t blocked_lane;
};

struct kveil_partition {
	char *topic;
	int32_t id;
	uint16_t slot, generation;
	char topic_id[KVEIL_TOPIC_ID_CHARS + 1]; /* of what is committed; "" = not known */
	struct kveil_worker_route *route;        /* NULL: no rules for it any more. routes.c */
	struct kveil_cell *lag;

	/* Progress: of what was taken, sent, acknowledged and committed. */
	struct kveil_watermark marks;
	int64_t start;       /* where consumption began: an offset or RD_KAFKA_OFFSET_BEGINNING */
	int64_t committed;   /* confirmed by the broker; -1 = nothing */
	int64_t committing;  /* asked for */
	int64_t solo_until;  /* up to this offset, one record a request; -1 = none */
	uint32_t unreported; /* messages with the producer */
	int64_t sent_last;   /* the last record of which something was sent in this transaction; -1 = none */
	struct kveil_refusal refusal;
	unsigned faults; /* of transactions with something of it, since one was committed */

	/* Going back: to the watermark, as soon as nothing is unreported. */
	bool rewind;
	bool spoilt;       /* because something did not get there: what stands behind it need not, it is read again */
	int64_t rewind_to; /* …or further back; -1 = no */
	bool anew;         /* its topic is another one: the rewind goes to the start */

	/* What the client does. hold.c */
	bool held;              /* it was told to pause it */
	bool wake;              /* its fetcher is to be woken */
	bool may_sleep;         /* a record came, and not its end since */
	bool stopped;           /* by an error; position kept */
	bool stopped_by_rules;  /* a reload may help */
	int64_t out_of_range;   /* where the client said so last; -1 = nowhere */
	bool unplaced;          /* out of range, and whether its topic is another one was asked */
	bool ended;             /* out of range: the client fetches it no more, and a seek does not change that */
	unsigned seek_failures; /* in a row */

	struct kveil_partition_fetch fetch;
	struct kveil_partition_offsets offsets;
	struct kveil_partition_attempts attempts;

	/* What waits. park.c, retry.c */
	enum kveil_wait wait;
	struct kveil_partition_park park;
	struct kveil_queue waiting; /* taken from the client, and not in marks yet */
	int64_t beyond;             /* behind all of these the client finds no record; -1 = no such news */
	/* that the schema registry does not know, with no other between */
	struct kveil_schema_id unknown[KVEIL_UNKNOWN_IDS];
	unsigned unknowns;
};

/* Where the partition goes on reading: behind what was taken, and what of it waits. */
static inline int64_t kveil_partition_position(const struct kveil_partition *p)
{
	if (p->waiting.last)
		return p->waiting.last->in.offset + 1;
	return p->marks.next < 0 ? p->start : p->marks.next;
}

/* Is there room for records from the client, or will they be tried at once? */
static inline bool kveil_park_may_read(const struct kveil_partition *p)
{
	return !p->stopped && !p->unplaced && !p->rewind && !p->attempts.poison && !p->wait && !p->waiting.first;
}

/* A record in its partition's watermark. */
struct kveil_position {
	struct kveil_partition *partition;
	uint16_t slot, generation;
	uint32_t seq;
};

/* A message's opaque: which partition of which generation, and which record of it. */
static inline void *kveil_position_token(const struct kveil_position *at)
{
	return (void *)((uintptr_t)at->slot << 48 | (uintptr_t)at->generation << 32 | at->seq);
}

#endif

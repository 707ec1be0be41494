/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/loop.h: one worker thread: a member of the consumer group with its own consumer, producer, keys and engines.
 * Inside src/worker only.
 *
 *   consumer ─ poll ─► partition ─ engine ─► producer ─ delivery report ─► watermark ─ commit ─► consumer
 *                          │                                └ refused ─► rewind, then one record a request
 *                          └ cannot be protected ─► dead letter (sealed) ─► producer
 *
 * Everything here runs on the worker's own thread, callbacks of librdkafka included: nothing is locked. A record that
 * has to wait parks its partition, and the others go on; so does one whose output partition takes nothing (lane.h), after
 * a moment. What concerns all of them (a producer that is made anew, a key registry that went back) waits in kveil_worker_pump, which keeps the membership alive with everything paused; rebalances
 * happen there and in the poll for the next message, never in the middle of a record.
 *
 *   intake.c     messages between librdkafka's queue and their turn, counted in bytes
 *   loop.c       the thread: turns, waiting, keys
 *   routes.c     the rules that it goes by, and newer ones
 *   quarantine.c what cannot be fetched
 *   park.c       partitions whose next record waits
 *   partition.c  rebalances, pausing, rewinding
 *   producer.c   the producer
 *   outlet.c     the topics that it writes to, and the room on the way to each of their partitions
 *   record.c     one record: engine, outputs, dead letter
 *   offsets.c    which offsets are believed
 *   attempts.c   records at which processes end
 *   committed.c  whether the group's offsets are still there: topics made anew
 *   delivery.c   delivery reports
 *   at_least_once.c, exactly_once.c   the delivery modes: commits
 */
#ifndef KVEIL_WORKER_LOOP_H
#define KVEIL_WORKER_LOOP_H

#include "base/failpoint.h"
#include "kveil/base.h"
#include "kveil/engine.h"
#include "worker/dead_letter.h"
#include "kafka/kafka.h"
#include "worker/lane.h"
#include "worker/maker.h"
#include "kafka/search.h"
#include "worker/stage.h"
#include "worker/topic_ids.h"
#include "worker/topics.h"
#include "worker/waker.h"
#include "worker/watermark.h"
#include "worker/worker.h"
#include "worker/writers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* What the service tells its workers. */
struct kveil_shared {
	pthread_mutex_t lock;
	struct kveil_catalog *catalog; /* under lock; NULL until the cluster answered */
	_Atomic uint64_t version;      /* rises with each catalog */
	_Atomic int64_t stop_ms;       /* when the end was asked for (monotonic); 0 = not */
	_Atomic bool failed;           /* a worker ended by an error */
	struct kveil_error error;      /* under lock: the first one */
};

/* A plan with this thread's keys. */
struct kveil_bound_plan {
	struct kveil_plan *plan;      /* referenced */
	bool is_typed;                /* values name their schemas */
	struct kveil_engine *engine;  /* NULL: not bound yet */
	struct kveil_cell **cells;    /* one a rule */
	uint64_t *seen;               /* matches already in the cells */
	struct kveil_writers *writers; /* one a topic, where is_typed */
};

/* An output or dead-letter topic of the current producer, which is the opaque of its handle. Lives as long as that
 * producer; its lanes may move when another is opened. */
struct kveil_outlet {
	char *name;
	rd_kafka_topic_t *rkt;
	struct kveil_lane *lanes; /* one a partition */
	struct kveil_stage *stages; /* as many */
	int32_t lane_count;
	int32_t partitions;       /* as the catalog says */
	int32_t sticky;           /* the partition of records without a key, until sticky_until_ms */
	int64_t sticky_until_ms;
};

struct kveil_worker_route {
	const struct kveil_route *route; /* in the worker's catalog */
	struct kveil_bound_plan *bound;
	struct kveil_outlet **outputs;   /* one a view */
	struct kveil_outlet *dead;
	struct kveil_writers *writers;   /* of the bound plan; NULL: not yet, or values name no schemas */
};

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
	int part;                 /* enum kveil_dead_letter_part: the letter holds no more */
};

struct kveil_partition {
	char *topic;
	int32_t id;
	uint16_t slot, generation;
	struct kveil_worker_route *route; /* NULL: no rules for it any more */
	struct kveil_watermark marks;
	int64_t start;        /* where consumption began: an offset or RD_KAFKA_OFFSET_BEGINNING */
	int64_t committed;    /* confirmed by the broker; -1 = nothing */
	int64_t committing;   /* asked for */
	int64_t solo_until;   /* up to this offset, one record a request; -1 = none */
	int64_t out_of_range; /* where the client said so last; -1 = nowhere */
	uint32_t unreported;  /* messages with the producer */
	bool rewind;          /* to the watermark, as soon as nothing is unreported */
	bool spoilt;          /* because something did not get there: what stands behind it need not, it is read again */
	int64_t rewind_to;    /* …or further back; -1 = no */
	int64_t doubted_until; /* offsets up to here are counted, not believed (offsets.c); -1 = none */
	int64_t gaps[KVEIL_GAPS]; /* a ring of the last ones: where each began */
	size_t gap_count;
	unsigned true_gaps;   /* that were looked at */
	int64_t given;        /* behind the last message that the client gave; -1 = none */
	int64_t claimed;      /* behind the last one that was taken since a rewind, by its own word; -1 = none */
	unsigned seek_failures; /* in a row */
	bool anew;            /* its topic is another one: the rewind goes to the start */
	bool unplaced;        /* out of range, and whether its topic is another one was asked */
	bool ended;           /* out of range: the client fetches it no more, and a seek does not change that */
	bool held;            /* the client was told to pause it */
	bool stopped;         /* by an error; position kept */
	bool stopped_by_rules; /* a reload may help */
	bool wake;            /* its fetcher may sleep */
	bool fetch_fault;     /* and a condition says so */
	unsigned fetch_errors; /* in a row, of fetches that gave no record */
	int64_t fetch_error_ms; /* the last of them; 0 = none */
	int64_t still_ms, still_at; /* since when nothing came though there is more, and where; 0 = all is well */
	unsigned still_answers; /* that the client had from brokers by then */
	int64_t unreadable;   /* first offset of the batch that could not be read last; -1 = none */
	unsigned unreadable_tries;
	uint32_t attempts;    /* what the note beside `committed` says; 0 = none */
	int64_t in_hand;      /* the record that this process has counted there; -1 = none */
	char topic_id[KVEIL_TOPIC_ID_CHARS + 1]; /* of what is committed; "" = not known */
	bool poison;          /* too many: what is at `committed` is to be set aside unread */
	int64_t poison_at;    /* where that was, as long as it may be there again; -1 = none */
	int64_t sent_last;    /* the last record of which something was sent in this transaction; -1 = none */
	struct kveil_refusal refusal;
	unsigned faults;      /* of transactions with something of it, since one was committed */
	int64_t began_ms;
	struct kveil_cell *lag;

	enum kveil_wait wait;
	int64_t due_ms;       /* monotonic: when it is tried again */
	int64_t schema_ms;    /* since when it has waited for a schema; 0 = it does not */
	unsigned outage_tries;
	unsigned name_tries;  /* that found no key, though it was asked for */
	uint64_t round;       /* of the maker or the resolver, when it was asked for */
	struct kveil_schema_id unknown[KVEIL_UNKNOWN_IDS]; /* that the schema registry does not know, with no other between */
	unsigned unknowns;
	struct kveil_outlet *blocked_on; /* it had no room in this lane; NULL: or is gone */
	int32_t blocked_lane;
	bool in_outage;       /* counted in the worker's outages */
	struct kveil_queue waiting; /* taken from the client, and not in marks yet */
	int64_t beyond;       /* behind all of these the client finds no record; -1 = no such news */
};

/* The record at hand. */
struct kveil_position {
	struct kveil_partition *partition;
	uint16_t slot, generation;
	uint32_t seq;
};

struct kveil_held {
	rd_kafka_message_t *message; /* or an error in the place of one; NULL: dropped */
	size_t bytes;
	int64_t before; /* where the client was, if a transaction's mark brought it there; -1 */
};
/* See intake.c. A ring. */
struct kveil_intake {
	struct kveil_held *held;
	size_t cap, first, count, bytes; /* cap: a power of two, or 0 */
	unsigned taken;                  /* since librdkafka's queue was drained last */
	size_t drawn;                    /* since librdkafka's queue was seen empty */
	int64_t before;                  /* of the last that was taken: see struct kveil_held */
};
/* In a wait and while much is held: often enough for rebalances, rarely enough that short waits do not pause. */
enum { KVEIL_POLL_EVERY_MS = 500 };

struct kveil_worker;

/* See exactly_once.c. */
enum kveil_transaction_state {
	KVEIL_TXN_NONE, /* the producer is not ready for any; at least once always */
	KVEIL_TXN_READY,
	KVEIL_TXN_OPEN,
	KVEIL_TXN_CLOSING, /* takes no more; waits for acknowledgements */
	KVEIL_TXN_OFFSETS,
	KVEIL_TXN_COMMITTING,
};
struct kveil_transaction {
	enum kveil_transaction_state state;
	bool broken;      /* can only be aborted */
	bool refused;     /* and a record is to blame */
	bool alone;       /* to be committed before more is sent */
	bool discards;    /* what stands behind it need not be sent */
	bool offsets_due; /* also where nothing was sent */
	bool condition_open;
	bool wary;    /* output partitions may have no leader: see leaderless.c */
	bool renamed; /* …the id is another one because of them, and was not given yet */
	rd_kafka_consumer_group_metadata_t *group; /* of this assignment; NULL = none */
	rd_kafka_topic_partition_list_t *offsets;  /* that are committed with it; NULL: not yet */
	int64_t due_ms, long_ms, close_end_ms, commit_end_ms;
	int64_t closing_ms, took_ms; /* since when it takes no more; how long that was lately */
	int64_t checked_ms; /* when what was committed was still there */
	size_t bytes, most_bytes; /* sent in it; may be: fewer where outputs are slow */
	uint64_t undelivered; /* the worker's, when it began */
	unsigned failures;    /* in a row */
	unsigned fences;      /* one soon after the other */
	int64_t fenced_ms, logged_ms;
	int64_t stuck_ms, look_due_ms; /* since when the id is not given, 0 = it is; for leaders */
	char suffix[20];      /* of the id, where another has it too, or the last one's end is held up */
	char condition[48], why[200];
	struct kveil_cell *committed, *aborted, *unknown, *fenced;
};

/* When what was sent counts, and what becomes of it when something fails. On the worker's thread. */
struct kveil_delivery_mode {
	const char *name;
	void (*start)(struct kveil_worker *w);
	/* Adds to the configuration of a producer. */
	enum kveil_status (*configure)(struct kveil_worker *w, rd_kafka_conf_t *conf, struct kveil_error *err);
	/* In the rebalance that brings partitions, before the client is told to begin. */
	void (*assigned)(struct kveil_worker *w);
	/* May committed offsets be asked for, and records be sent? Waits at most so long; false: ask again. */
	bool (*ready)(struct kveil_worker *w, int wait_ms);
	/* A message of so many bytes is handed over next. false: not now, it comes again. */
	bool (*begin)(struct kveil_worker *w, size_t bytes);
	/* In each turn and in waits: makes the progress of all partitions durable when that is due. Does not wait for long. */
	void (*progress)(struct kveil_worker *w);
	/* Waits for what is in flight, then makes progress durable, and says so as the last of this assignment. ret_drained:
	 * nothing is in flight any more. An error: what was sent may be sent again. */
	enum kveil_status (*settle)(struct kveil_worker *w, int drain_ms, int commit_ms, bool *ret_drained,
	                            struct kveil_error *err);
	/* Is nothing on its way that an end now would leave half done? */
	bool (*idle)(const struct kveil_worker *w);
	/* Commits notes beside offsets. */
	enum kveil_status (*note)(struct kveil_worker *w, const rd_kafka_topic_partition_list_t *list, int wait_ms,
	                          struct kveil_error *err);
	/* The broker takes no batch with this record, or another of the same batch. */
	void (*refused)(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
	/* A record is to be set aside of which something was sent. true: not now, for that has to be taken back; it comes
	 * again, and is known then. */
	bool (*remember)(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_refusal *refusal);
	/* Partitions want to go back. true: each may do so by itself. */
	bool (*before_rewind)(struct kveil_worker *w);
	/* Another producer; what the one before had not finished is read again. */
	void (*renew)(struct kveil_worker *w);
	/* The producer is thrown away next. */
	void (*close_producer)(struct kveil_worker *w);
	void (*end)(struct kveil_worker *w);
};
extern const struct kveil_delivery_mode kveil_at_least_once, kveil_exactly_once;

struct kveil_worker {
	const struct kveil_service_params *params;
	struct kveil_shared *shared;
	unsigned number;
	char name[32];
	char condition_group[48], condition_outage[48], condition_produce[48], condition_kafka[48],
	    condition_outputs[48];
	pthread_t thread;
	struct kveil_loop *loop;
	const struct kveil_delivery_mode *mode;

	struct kveil_kafka_owner owner; /* of both handles */
	rd_kafka_t *consumer, *producer;
	struct kveil_waker *waker;  /* NULL: not needed */
	rd_kafka_queue_t *fetched;  /* the consumer's queue, to see how long it is */
	size_t fetched_low;         /* with so many messages the client fetches no more */
	int64_t wake_due_ms;
	size_t wake_slot;
	size_t batch_bytes, message_bytes; /* what the producer was made for */
	bool compresses;

	struct kveil_keyring *ring;
	struct kveil_limits limits;
	struct kveil_catalog *catalog;
	uint64_t version;
	struct kveil_worker_route *routes; /* one a route of the catalog */
	size_t route_count;
	struct kveil_bound_plan **plans;
	size_t plan_count;
	struct kveil_outlet **outlets;
	size_t outlet_count;
	size_t leaderless;            /* of their partitions; exactly once looks */

	struct kveil_partition **slots; /* NULL = free */
	uint16_t *generations;
	uint32_t *index;    /* topic and partition → slot + 1; 0 = none; twice slot_cap */
	size_t slots_used;
	size_t slot_cap;
	const rd_kafka_topic_t *last_topic; /* of the message before: the next is most likely its neighbour */
	struct kveil_partition *last_partition;
	rd_kafka_topic_partition_list_t *unresolved; /* assigned; committed offsets not known yet */
	bool resumes; /* these are the same partitions as before */
	bool commit_running;
	struct kveil_question *question; /* see committed.c; NULL: none is open */
	bool answer_late; /* the condition is open */
	bool client_left; /* one could not be closed and still logs to us: this struct stays */
	bool closing; /* drained and committed: what the close revokes needs neither */
	bool careful;  /* a process ended where one of the partitions begins */
	bool in_order; /* what is committed now is the last of this assignment */

	struct kveil_intake intake;
	size_t intake_limit; /* bytes */
	struct kveil_maker *maker;
	struct kveil_resolver *resolver; /* NULL: there is no schema registry */
	size_t waiting_bytes;  /* of all partitions */
	size_t outages;        /* partitions that wait one out */
	size_t first_turn;
	bool some_wait;        /* or are held, or have something that waited */
	bool names_wait;       /* and some of them for names */

	struct kveil_ledger ledger;   /* of what is in flight */
	struct kveil_stage_pool stages;
	int64_t reported_ms;          /* when a delivery was reported last */
	const struct kveil_partition *tried; /* the record before was its */
	int64_t switched_ms;          /* when that was another one last */
	bool turn_over;               /* it waited: upkeep is due */
	bool want_rewind;             /* of a partition that has asked, and nothing of it is unreported */
	bool producer_broken;
	struct kveil_transaction txn;
	uint64_t undelivered;         /* reports of an error */
	unsigned handed;              /* messages of the record at hand that were handed over */
	bool torn;                    /* some of a record were, and it was not done with */
	size_t failing_lanes;         /* whose last report was a fault */
	unsigned produce_failures;    /* of the producer as a whole, in a row */
	char produce_fault[160];
	struct {
		bool waiting;
		void *token;
		rd_kafka_resp_err_t result;
	} solo;

	unsigned outage_attempts;
	bool keys_out; /* some key protects nothing now, or there is no lease */
	int64_t keys_told_ms;
	int64_t outage_began_ms; /* 0: there is none */
	int64_t outage_logged_ms, produce_logged_ms, outputs_logged_ms, drop_logged_ms, commit_logged_ms;
	int64_t fetch_logged_ms, gap_logged_ms;
	struct kveil_search *search; /* open while it is used now and then */
	int64_t search_used_ms, silence_due_ms, gap_look_due_ms;
	size_t silent_slot;
	uint64_t drops_unlogged, letters_untold;
	int64_t letters_told_ms;
	unsigned random;

	int64_t now_ms, polled_ms, ticked_ms, commit_due_ms, second_due_ms;
	uint32_t sample;

	struct kveil_header *headers;
	size_t header_cap;
	struct kveil_buf letter;

	struct kveil_cell *consumed, *consumed_bytes, *produced, *produced_bytes, *dead_lettered, *dropped, *rebalances,
	    *rewinds, *begun_anew, *in_flight, *dead_outputs, *gaps_marked, *gaps_looked_at, *gaps_unproved;
	struct kveil_cell *failed[KVEIL_STATUS_COUNT], *retries[KVEIL_STATUS_COUNT],
	    *fetch_errors[KVEIL_STATUS_COUNT]; /* made at the first */
	struct kveil_histogram *transform;
};

/* --- loop.c --- */
void *kveil_worker_main(void *worker);
bool kveil_worker_stopping(const struct kveil_worker *w);
/* Serves delivery reports for at most ms, and the group with everything paused: its membership outlives any wait. */
void kveil_worker_pump(struct kveil_worker *w, int ms);
/* How long to wait before the next try: longer with each attempt, with jitter. */
int kveil_worker_back_off_ms(struct kveil_worker *w, unsigned attempt);
/* Waits so long with everything paused, and says why once a minute (*logged_ms: when last,
 * 0 = never). False: no use in trying again (new rules, stopping). */
bool kveil_worker_back_off(struct kveil_worker *w, unsigned attempt, const struct kveil_error *why, int64_t *logged_ms);
/* Backs off because of an error of class RETRY that concerns every partition. */
bool kveil_worker_wait_out(struct kveil_worker *w, const struct kveil_error *why);
void kveil_worker_count_retry(struct kveil_worker *w, enum kveil_status status);
/* An outage, of one partition or (p NULL) of all: counted, a condition until all are over, a line a minute. */
void kveil_worker_tell_outage(struct kveil_worker *w, const struct kveil_partition *p, const struct kveil_error *why);
void kveil_worker_outage_over(struct kveil_worker *w);
/* The same for records that do not get where they should. */
void kveil_worker_tell_produce(struct kveil_worker *w, const struct kveil_error *why);
void kveil_worker_log_now_and_then(struct kveil_worker *w, const struct kveil_error *why, int64_t *logged_ms);
/* The counter of fetches that ended so. */
struct kveil_cell *kveil_worker_fetch_errors(struct kveil_worker *w, enum kveil_status status);
/* Ends the process with exit 3. */
void kveil_worker_fail(struct kveil_worker *w, const struct kveil_error *why);
/* An error in the place of a message. */
void kveil_worker_on_consumer_error(struct kveil_worker *w, const rd_kafka_message_t *msg);

/* --- routes.c --- */
/* Takes the newest catalog, and with it new rules. Between two records only. */
enum kveil_status kveil_routes_take(struct kveil_worker *w, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The engine of a route, made on first use, and ready for its records. */
enum kveil_status kveil_worker_bind(struct kveil_worker *w, struct kveil_worker_route *route, struct kveil_error *err);
/* Adds what the rules matched since the last time to their counters. */
void kveil_routes_count_matches(struct kveil_worker *w);
void kveil_routes_free(struct kveil_worker *w);

/* --- producer.c --- */
/* A producer for the limits of the catalog's topics, and its outlets. What the one before still holds is sent first,
 * within some seconds, and what it could not send is read again. */
enum kveil_status kveil_worker_fit_producer(struct kveil_worker *w, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Throws away what the producer still holds, and makes another. */
void kveil_worker_renew_producer(struct kveil_worker *w);
void kveil_worker_close_producer(struct kveil_worker *w);

/* --- outlet.c --- */
/* The outlet of a topic; NULL: no memory. */
struct kveil_outlet *kveil_outlet_open(struct kveil_worker *w, const struct kveil_target *target);
void kveil_outlets_close(struct kveil_worker *w);
/* Which partition a record of p goes to: as the Java producer places it by its key (partition: key); one without a key stays with a
 * partition for a while. alone: where nothing is on its way, if there is such a place. */
int32_t kveil_outlet_place(struct kveil_worker *w, struct kveil_outlet *o, const struct kveil_partition *p,
                           const struct kveil_record *r, size_t bytes, bool alone);
/* NULL: there cannot be such a partition. */
struct kveil_lane *kveil_outlet_lane(struct kveil_outlet *o, int32_t partition);
/* Waits for room, a moment; alone: until nothing else is on its way there. false: there is none, and p is blocked on it. */
bool kveil_outlet_wait(struct kveil_worker *w, struct kveil_partition *p, struct kveil_outlet *o, int32_t partition,
                       size_t bytes, bool alone) KVEIL_MUST_CHECK;
/* Is there some now, where p is blocked? */
bool kveil_outlet_has_room(const struct kveil_worker *w, const struct kveil_partition *p);
/* Hands a record to librdkafka, or puts it behind what is there. Its delivery is reported, if nothing is returned. The
 * lane must be there. QUEUE_FULL: no memory for it now. */
rd_kafka_resp_err_t kveil_outlet_send(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition,
                                      const struct kveil_staged *record) KVEIL_MUST_CHECK;
/* librdkafka has nothing for this partition any more: it gets the next batch. */
void kveil_outlet_next_batch(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition);
/* A record did not get there, and not for its own sake: its partition goes back, and waits a while. */
void kveil_outlet_fault(struct kveil_worker *w, struct kveil_partition *p, struct kveil_outlet *o, int32_t partition,
                        rd_kafka_resp_err_t e);
/* Records get there again. */
void kveil_outlet_delivers(struct kveil_worker *w, struct kveil_lane *l);
/* The report came of the message whose time was taken. */
void kveil_outlet_timed(struct kveil_lane *l, rd_kafka_resp_err_t e);
/* Nobody is left who would try again where it failed. */
void kveil_outlets_forgive(struct kveil_worker *w);
/* Does nothing that is in flight get on? */
bool kveil_outlets_are_dead(const struct kveil_worker *w);
/* Asks the cluster which have no leader. Without an answer nothing changes. */
void kveil_outlets_look_for_leaders(struct kveil_worker *w);
/* Says which do not answer, or that all do. */
void kveil_outlets_tell(struct kveil_worker *w);

/* --- partition.c --- */
void kveil_worker_on_rebalance(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                               void *opaque);
/* Asks for the committed offsets of a new assignment and begins there; tried again each turn until it works. */
void kveil_worker_resolve(struct kveil_worker *w, int timeout_ms);
struct kveil_partition *kveil_worker_find(struct kveil_worker *w, const rd_kafka_message_t *msg);
struct kveil_partition *kveil_worker_partition(struct kveil_worker *w, const char *topic, int32_t id);
/* The client has given all up to here. Behind the last record stand markers and records of aborted transactions, which
 * are no records: they are committed past, or would count as lag for ever. */
void kveil_worker_on_end(struct kveil_worker *w, struct kveil_partition *p, int64_t end);
/* The client finds no record where it reads on. */
void kveil_worker_on_out_of_range(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
void kveil_worker_stop_out_of_range(struct kveil_worker *w, struct kveil_partition *p);
/* The topic is not the one that was read so far: from its start, then. */
void kveil_worker_begin_anew(struct kveil_worker *w, struct kveil_partition *p, const char *why);
/* Where the partition goes on reading: behind what was taken, and what of it waits. */
static inline int64_t kveil_worker_position(const struct kveil_partition *p)
{
	if (p->waiting.last)
		return p->waiting.last->in.offset + 1;
	return p->marks.next < 0 ? p->start : p->marks.next;
}
/* Has the client pause one partition, which throws away what it has fetched of it; and all of them. */
void kveil_worker_hold(struct kveil_worker *w, struct kveil_partition *p);
void kveil_worker_pause(struct kveil_worker *w);
/* Lets those that are held and may be read go on, behind the last record that was taken from the client. */
void kveil_worker_resume(struct kveil_worker *w);
/* offset: of the record at fault, or -1; in the log only, for /readyz shows none. */
void kveil_worker_stop_partition(struct kveil_worker *w, struct kveil_partition *p, bool by_rules, int64_t offset,
                                 const char *fmt, ...) KVEIL_PRINTF(5, 6);
void kveil_worker_restart_partition(struct kveil_worker *w, struct kveil_partition *p);
void kveil_worker_ask_rewind(struct kveil_worker *w, struct kveil_partition *p);
/* Those that have asked go back to their watermarks, each when all that it has in flight is reported, and the mode lets
 * them. */
void kveil_worker_rewind(struct kveil_worker *w);
/* Another producer, and all partitions begin again at what is committed. */
void kveil_worker_begin_again(struct kveil_worker *w);
void kveil_worker_drop_partitions(struct kveil_worker *w);
/* Waits for delivery reports, at most ms, and not for partitions that are dead. False: some are still out. */
bool kveil_worker_drain(struct kveil_worker *w, int ms);

/* --- record.c --- */
/* A message from the client: tried at once, or behind those of its partition that wait. */
void kveil_worker_take(struct kveil_worker *w, rd_kafka_message_t *msg);
/* One try at a record. false: it is to be tried again, and its partition waits. */
bool kveil_worker_try(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in);

/* Sets aside what no record can be had of: offsets from first to before next. false: the letter has to wait. */
bool kveil_worker_set_aside_batch(struct kveil_worker *w, struct kveil_partition *p, int64_t first, int64_t next,
                                  const struct kveil_error *why);

/* --- offsets.c --- */
/* The offset that a message counts as. false: it is not believed, and the partition goes back, or its batch is set aside. */
bool kveil_worker_settle_offset(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg,
                                int64_t *ret);

/* --- quarantine.c --- */
/* A client that looks at single batches, opened when it is needed. NULL: not to be had. */
struct kveil_search *kveil_worker_search(struct kveil_worker *w);
/* Once a turn: closes it when it was not used for long, and looks what is in the way where nothing comes. */
void kveil_worker_look_into_silence(struct kveil_worker *w);
/* An error in the place of records; false: not one of those that are told here. May set a batch aside. */
bool kveil_worker_on_fetch_error(struct kveil_worker *w, struct kveil_partition *p, const rd_kafka_message_t *msg);
/* There are records again, or the partition goes. */
void kveil_worker_fetch_over(struct kveil_worker *w, struct kveil_partition *p);
/* Once a second. high: the partition's end, by the last fetch. */
void kveil_worker_look_at_fetch(struct kveil_worker *w, struct kveil_partition *p, int64_t high);
/* A record came, or the end. */
static inline void kveil_worker_fetched(struct kveil_worker *w, struct kveil_partition *p)
{
	p->fetch_errors = 0;
	p->still_ms = 0;
	if (p->fetch_fault)
		kveil_worker_fetch_over(w, p);
}

/* --- attempts.c --- */
/* Reads the notes of what was committed and leaves its own; moves an offset that is not to be read. */
void kveil_attempts_begin(struct kveil_worker *w, rd_kafka_topic_partition_list_t *committed);
/* The first record of a partition that the group had not committed yet. */
void kveil_attempts_first(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
void kveil_attempts_set_aside(struct kveil_worker *w);
/* true: there is a note, and no reason for it any more now that this offset is committed. */
bool kveil_attempts_over(struct kveil_partition *p, int64_t offset, bool in_order);
/* Before a record is tried: counts, beside its offset, that this process has it in hand. */
void kveil_attempts_in_hand(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);
/* Commits what was just taken, and that the process survived it. */
void kveil_attempts_careful(struct kveil_worker *w);

/* --- intake.c --- */
/* The next message in order, of those held or polled within ms; NULL = none. The caller frees it. */
rd_kafka_message_t *kveil_intake_poll(struct kveil_worker *w, int ms);
/* Between records that are long in going: polls now and then for the sake of the membership; pauses when too much is
 * held. */
void kveil_intake_serve(struct kveil_worker *w);
void kveil_intake_drop(struct kveil_worker *w);
void kveil_intake_drop_of(struct kveil_worker *w, const struct kveil_partition *p);
void kveil_intake_free(struct kveil_worker *w);
/* What a polled message holds in memory, about. Uses w->headers. */
size_t kveil_held_bytes(struct kveil_worker *w, const rd_kafka_message_t *msg);

/* --- park.c --- */
/* The record that this partition is at has to wait. */
void kveil_park(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why);
/* …for room in the lane that it is blocked on; or after a fault there, longer with each. */
void kveil_park_for_room(struct kveil_worker *w, struct kveil_partition *p);
void kveil_park_after_fault(struct kveil_worker *w, struct kveil_partition *p, unsigned failures);
/* It went. */
void kveil_park_over(struct kveil_worker *w, struct kveil_partition *p);
/* A copy of the record joins those that wait; where there is no room, the client is told to pause and will read it again. */
void kveil_park_add(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in);
/* Forgets what waits: it will be read again. */
void kveil_park_drop(struct kveil_worker *w, struct kveil_partition *p);
/* Tries again what is due. */
void kveil_park_turn(struct kveil_worker *w);
/* Is there room for records from the client, or will they be tried at once? */
static inline bool kveil_park_may_read(const struct kveil_partition *p)
{
	return !p->stopped && !p->unplaced && !p->rewind && !p->poison && !p->wait && !p->waiting.first;
}

/* --- attempts.c, committed.c --- */
/* What belongs beside the partition's offset in a commit. */
void kveil_worker_put_note(const struct kveil_partition *p, rd_kafka_topic_partition_t *offset);
/* Asks whether what was committed is there, unless it is being asked. True: nothing was, so go on and commit. */
bool kveil_committed_ask(struct kveil_worker *w);
/* True, once: it was answered just now, and partitions of other topics begin anew. */
bool kveil_committed_answered(struct kveil_worker *w);
/* The same in one call. An error: nothing may be committed. */
enum kveil_status kveil_committed_ask_wait(struct kveil_worker *w, int wait_ms, struct kveil_error *err) KVEIL_MUST_CHECK;
/* An answer that is still to come would be about other partitions. */
void kveil_committed_forget(struct kveil_worker *w);
/* False: a question is still open, and the consumer is in use. */
bool kveil_committed_end(struct kveil_worker *w);

/* --- delivery.c --- */
void kveil_worker_on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *msg, void *opaque);
/* What became of a record that was sent. bytes: as kveil_kafka_sends_bytes; content: of key and value. */
void kveil_worker_settle(struct kveil_worker *w, struct kveil_outlet *o, int32_t partition, void *token,
                         rd_kafka_resp_err_t e, size_t bytes, size_t content);
/* Is it still of use to send what has this token? Not after its partition was revoked, nor if it will be read again. */
bool kveil_worker_wants(const struct kveil_worker *w, const void *token);
/* How far each partition got, with its note, where that is not committed. again: what was asked for without an answer,
 * too. The caller frees it. */
rd_kafka_topic_partition_list_t *kveil_delivery_due_offsets(struct kveil_worker *w, bool again);
/* Up to this offset each record of the partition is to have a request of its own; what stands behind it comes again. */
void kveil_delivery_one_by_one(struct kveil_worker *w, struct kveil_partition *p, int64_t offset);

/* --- leaderless.c --- */
/* Another transactional id from the next producer on. */
void kveil_transaction_rename(struct kveil_worker *w);
/* The id is not given. true: it will not be for long, and there is another from the next producer on. */
bool kveil_leaderless_holds_id(struct kveil_worker *w);
/* It was given, and nothing is sent yet. */
void kveil_leaderless_begin(struct kveil_worker *w);
void kveil_leaderless_turn(struct kveil_worker *w);
void kveil_leaderless_committed(struct kveil_worker *w);

/* --- at_least_once.c --- */
void kveil_worker_on_commit(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *list,
                            void *opaque);

/* A message's opaque: which partition of which generation, and which record of it. */
static inline void *kveil_position_token(const struct kveil_position *at)
{
	return (void *)((uintptr_t)at->slot << 48 | (uintptr_t)at->generation << 32 | at->seq);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/replay.h: opens dead letters and sends what was inside through the rules again.
 *
 *   dead-letter topic ─► open ─► engine ─► the outputs, on the partition that the record came from
 *                                   └ fails again ─► the same letter, unchanged, at the end of the dead-letter topic
 *
 * Either way the letter's offset is committed only after the broker has acknowledged where it went, under the group
 * GROUP.replay: a replay that is cut off is gone on with, and may repeat its last records. It ends at the offsets that
 * were the ends when it began. A letter of a record that went through before, in this run or, as far as is remembered
 * (worker/replayed.h), in an earlier one, is skipped: copies give no more outputs. One replay at a time. One thread.
 *
 * Its producer is not a delivery mode's (worker/mode.h). Those are built around partitions that go back, and letters
 * for what fails; here nothing goes back, what fails stays the letter that it was and is reported by itself, and the
 * note beside the offset is another one. What is promised has one source for both: kveil_kafka_conf_producer,
 * kveil_kafka_produce, kveil_kafka_fault.
 */
#ifndef KVEIL_WORKER_REPLAY_H
#define KVEIL_WORKER_REPLAY_H

#include "config/config.h"
#include "kveil/base.h"
#include "rules/plan.h"

struct kveil_replay_params {
	const struct kveil_config *config;
	struct kveil_keystore *keys;
	struct kveil_plan_set *plans;
	const char *topic;        /* one dead-letter topic; NULL = those of all input topics */
	bool dry_run;             /* opens and runs the rules; sends and commits nothing */
	uint64_t most;            /* letters; 0 = no limit */
	const _Atomic bool *stop; /* set from outside: ends after the letters under way, or 5 s later without them */
};

/* What became of a letter. topic, partition and offset are of the record inside, once it is open; else of the letter.
 */
struct kveil_replay_outcome {
	const char *topic;
	int32_t partition;
	int64_t offset;
	const struct kveil_error *error; /* NULL: it went through */
	bool skipped;                    /* it went through before: a copy, not sent again */
};
typedef void kveil_replay_report_fn(void *user, const struct kveil_replay_outcome *outcome);

struct kveil_replay_counts {
	uint64_t replayed, failed, skipped;
	bool stopped; /* before the end */
};

enum kveil_status kveil_replay(const struct kveil_replay_params *p, kveil_replay_report_fn *report, void *user,
			       struct kveil_replay_counts *ret, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

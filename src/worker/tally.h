/* SPDX-License-Identifier: Apache-2.0 */
/* worker/tally.h: how each topic's records end, and a remark on /readyz while all of a topic's records fail. Inside
 * src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_TALLY_H
#define KVEIL_WORKER_TALLY_H

#include "observe/metrics.h"

struct kveil_worker;

/* One topic; from its first route to the worker's end. */
struct kveil_tally {
	char *topic;
	struct kveil_cell *protected, *failed;
	uint64_t failures;     /* in a row */
	enum kveil_status why; /* the last one */
	bool is_read;          /* partitions of it are at hand; kveil_tallies_tell's */
	struct kveil_tally *next;
};

struct kveil_tallies {
	struct kveil_tally *first;
	char remark[48];
};

/* Made on first use. NULL: out of memory. */
struct kveil_tally *kveil_tally_of(struct kveil_worker *w, const char *topic);
void kveil_tally_failed(struct kveil_tally *t, enum kveil_status why);
/* New rules: what failed under the old ones says nothing of them. */
void kveil_tallies_begin_again(struct kveil_worker *w);
/* Once a second. */
void kveil_tallies_tell(struct kveil_worker *w);
void kveil_tallies_free(struct kveil_worker *w);

static inline void kveil_tally_protected(struct kveil_tally *t)
{
	kveil_cell_add(t->protected, 1);
	t->failures = 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/committed.h: commits, and whether what was committed is still there. Inside src/worker only, on the worker's
 * thread. */
#ifndef KVEIL_WORKER_COMMITTED_H
#define KVEIL_WORKER_COMMITTED_H

#include "kveil/base.h"

struct kveil_worker;
struct kveil_question;

/* committed.c, and the delivery modes. */
struct kveil_commits {
	bool running;  /* one is on its way */
	bool in_order; /* what is committed now is the last of this assignment */
	int64_t due_ms;
	int64_t logged_ms;
	struct kveil_question *question; /* NULL: none is open */
	bool answer_late;                /* the condition is open */
	char condition[48];
};

/* Asks whether what was committed is there, unless it is being asked. True: nothing was, so go on and commit. */
bool kveil_committed_ask(struct kveil_worker *w);
/* True, once: it was answered just now, and partitions of other topics begin anew. */
bool kveil_committed_answered(struct kveil_worker *w);
/* The same in one call. An error: nothing may be committed. */
enum kveil_status kveil_committed_ask_wait(struct kveil_worker *w, int wait_ms,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* An answer that is still to come would be about other partitions. */
void kveil_committed_forget(struct kveil_worker *w);
/* False: a question is still open, and the consumer is in use. */
bool kveil_committed_end(struct kveil_worker *w);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exactly once, where nobody leads an output partition. What was sent there holds its transaction, and the mark that it
 * is given up cannot be written there either: until it is, brokers give the id to no new producer. So the worker goes
 * on under another id, and sends nothing there until there is a leader; input partitions whose next record goes there
 * wait.
 *
 * Another id is as right as the first one: what a commit needs is the group's generation, and offsets are not read
 * while those of an older transaction are undecided.
 */
#include "base/clock.h"
#include "base/log.h"
#include "worker/loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	STUCK_MS = 10000, /* other reasons why an id is not given are over by then */
	LOOK_EVERY_MS = 2000,
};

void kveil_transaction_rename(struct kveil_worker *w)
{
	snprintf(w->txn.suffix, sizeof w->txn.suffix, "/%08x%08x", (unsigned)rand_r(&w->random), (unsigned)getpid());
}

bool kveil_leaderless_holds_id(struct kveil_worker *w)
{
	struct kveil_transaction *t = &w->txn;
	int64_t now = kveil_clock_mono_ms();

	if (!t->stuck_ms)
		t->stuck_ms = now;
	if (t->renamed || now - t->stuck_ms < STUCK_MS)
		return false;
	t->stuck_ms = now;
	kveil_outlets_look_for_leaders(w);
	if (!w->outlets.leaderless)
		return false;
	t->wary = t->renamed = true;
	kveil_transaction_rename(w);
	kveil_log(KVEIL_LOG_WARN, w->name,
		  "output partitions without a leader block the last transaction: continuing under "
		  "another id, without them");
	return true;
}

void kveil_leaderless_begin(struct kveil_worker *w)
{
	w->txn.stuck_ms = 0;
	w->txn.renamed = false;
	if (w->txn.wary)
		kveil_outlets_look_for_leaders(w);
}

void kveil_leaderless_turn(struct kveil_worker *w)
{
	struct kveil_transaction *t = &w->txn;

	if (!t->wary || w->now_ms < t->look_due_ms)
		return;
	t->look_due_ms = w->now_ms + LOOK_EVERY_MS;
	kveil_outlets_look_for_leaders(w);
}

void kveil_leaderless_committed(struct kveil_worker *w)
{
	if (!w->outlets.leaderless)
		w->txn.wary = false;
}

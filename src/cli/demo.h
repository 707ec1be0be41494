/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/demo.h: the main job in one process, on an embedded broker.
 *
 *   feed thread ─► etl.orders ─► the same workers as `kveil run` ─► etl.orders.secure ─► reader thread: checks every
 *   (orders.h)     (mock)         (keys in memory, side port)       etl.orders.dead       record against its original
 *
 * The feed is paced by the reader, for the mock cluster forgets what is not read in time. Calls are for one thread, the
 * one that started it.
 */
#ifndef KVEIL_CLI_DEMO_H
#define KVEIL_CLI_DEMO_H

#include "cli/demo_screen.h"

struct kveil_demo;

struct kveil_demo_params {
	uint64_t workers;
	uint64_t rate;  /* records a second; 0 = as fast as they are read */
	uint64_t limit; /* orders to send; 0 = without end */
};

enum kveil_status kveil_demo_start(const struct kveil_demo_params *params, struct kveil_demo **ret,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
/* Sends nothing more and lets what is under way come out, for at most timeout_ms. */
void kveil_demo_settle(struct kveil_demo *d, int timeout_ms);
/* Ends everything. NULL is fine. OK, or why a worker had stopped. */
enum kveil_status kveil_demo_stop(struct kveil_demo *d, struct kveil_error *err) KVEIL_MUST_CHECK;

/* What is to be seen now. */
void kveil_demo_look(struct kveil_demo *d, struct kveil_demo_view *view);
/* Moves on in the list of what has happened: false = nothing new. *cursor begins at 0. */
bool kveil_demo_next_event(struct kveil_demo *d, uint64_t *cursor, char text[KVEIL_DEMO_TEXT]);
/* A line for the list of what has happened. */
void kveil_demo_note(struct kveil_demo *d, const char *fmt, ...) KVEIL_PRINTF(2, 3);
/* A worker has stopped for good. */
bool kveil_demo_failed(struct kveil_demo *d, struct kveil_error *err);

/* The keys of the terminal. */
void kveil_demo_send_poison(struct kveil_demo *d);
void kveil_demo_rotate(struct kveil_demo *d);
void kveil_demo_toggle_custodian(struct kveil_demo *d);

/* How it went. Every order sent is expected once. */
struct kveil_demo_tally {
	uint64_t sent, poisoned, arrived, missing, duplicates, problems, dead_letters, output_bytes;
	char first_problem[KVEIL_DEMO_TEXT];
	const char *actions[KVEIL_DEMO_FIELDS];
};
void kveil_demo_tally(struct kveil_demo *d, struct kveil_demo_tally *ret);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/demo_screen.h: the demo's picture. Rendering is a function of what is to be seen and the size of the screen, so
 * that tests can look at it; the terminal is prepared and given back here too. One thread.
 */
#ifndef KVEIL_CLI_DEMO_SCREEN_H
#define KVEIL_CLI_DEMO_SCREEN_H

#include "base/buf.h"
#include "cli/demo_check.h"

enum {
	KVEIL_DEMO_EVENTS = 12,
	KVEIL_DEMO_TEXT = 240,
	KVEIL_DEMO_RATES = 240, /* as many as the widest chart has columns */
	KVEIL_DEMO_RATE_MS = 500,
};

struct kveil_demo_view {
	/* One record before and after; output_len 0 = none yet. */
	struct kveil_demo_finding sample;
	uint8_t output[4096];
	size_t output_len;
	const char *input_topic, *output_topic;
	const char *actions[KVEIL_DEMO_FIELDS]; /* "mask", of kveil_demo_field_path's fields */

	double rate, lag;
	double rates[KVEIL_DEMO_RATES]; /* records/s, oldest first, each KVEIL_DEMO_RATE_MS */
	size_t rate_count;
	uint64_t sent, arrived, dead_letters, problems;
	uint64_t workers;
	const char *key_name;
	uint32_t key_id;
	int64_t key_age_s;
	bool custodian_up;
	bool ready;
	char reasons[KVEIL_DEMO_TEXT];                   /* the first lines of why not */
	char sending[KVEIL_DEMO_TEXT];                   /* how fast orders are sent, or why none is */
	bool is_stopped;                                 /* none is sent */
	const char *side_port;                           /* "127.0.0.1:9819" */
	char events[KVEIL_DEMO_EVENTS][KVEIL_DEMO_TEXT]; /* oldest first; empty = none */
	bool keyboard;                                   /* keys are read */
};

/* Appends one frame: cursor home, rows × columns at most, the rest cleared. */
void kveil_demo_render(const struct kveil_demo_view *view, unsigned rows, unsigned columns, bool color,
		       struct kveil_buf *out);
/* Bytes of the UTF-8 character at s, len at most; its columns: what the demos show is Latin or CJK. */
size_t kveil_demo_character(const uint8_t *s, size_t len, unsigned *ret_columns);
/* "1,234,567" into dst; returns dst. */
const char *kveil_demo_count(uint64_t n, char dst[32]);

/* Takes the terminal (alternate screen, no echo, no line buffering on stdin) and gives it back: also safe to call twice
 * and from atexit. */
void kveil_demo_terminal_take(void);
void kveil_demo_terminal_give_back(void);
void kveil_demo_terminal_size(unsigned *rows, unsigned *columns);

#endif

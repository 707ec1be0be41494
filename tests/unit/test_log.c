/* SPDX-License-Identifier: Apache-2.0 */
/* A reader of stderr that stands still holds nobody up, and learns what it missed. */
#include "base/event.h"
#include "base/log.h"
#include "base/secret.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { LINES = 400, READ_BYTES = 1 << 20 };

static char text[READ_BYTES];
static size_t got;

static void read_some(int fd)
{
	ssize_t n;

	while (got + 1 < sizeof text && (n = read(fd, text + got, sizeof text - 1 - got)) > 0)
		got += (size_t)n;
	text[got] = 0;
}

static void stuck_reader(void **state)
{
	(void)state;
	int ends[2], saved = dup(STDERR_FILENO);
	char big[1001];

	assert_int_equal(pipe(ends), 0);
	assert_true(fcntl(ends[1], F_SETPIPE_SZ, 65536) > 0);
	assert_true(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = 0;
	/* 400 KB into a pipe that takes 64: this returns. */
	for (int i = 0; i < LINES; i++)
		kveil_log(KVEIL_LOG_WARN, "test", "line %d %s", i, big);
	kveil_log(KVEIL_LOG_ERROR, "test", "an error is kept");
	uint64_t dropped = kveil_log_dropped();
	assert_true(dropped > 0 && dropped < LINES);
	assert_false(kveil_log_drain(50));
	for (int i = 0; i < 100 && !kveil_log_drain(0); i++)
		read_some(ends[0]);
	assert_true(kveil_log_drain(0));
	read_some(ends[0]);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(ends[0]);
	close(ends[1]);
	close(saved);

	size_t lines = 0;
	for (size_t i = 0; i < got; i++)
		lines += text[i] == '\n';
	assert_int_equal(lines, LINES - dropped + 2); /* the error, and what was missed */
	char missed[64];
	snprintf(missed, sizeof missed, "%llu lines were dropped here", (unsigned long long)dropped);
	assert_non_null(strstr(text, missed));
	assert_non_null(strstr(text, "an error is kept"));
	assert_non_null(strstr(text, "line 0 x"));
	assert_int_equal(kveil_log_dropped(), dropped);
}

static void unlocked_keys_leave_a_line(void **state)
{
	(void)state;
	int ends[2], saved = dup(STDERR_FILENO);

	assert_int_equal(pipe(ends), 0);
	assert_true(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	got = 0;
	unsetenv("KVEIL_ALLOW_UNLOCKED_KEYS");
	kveil_secret_log_unlocked();
	read_some(ends[0]);
	bool silent = got == 0;
	setenv("KVEIL_ALLOW_UNLOCKED_KEYS", "1", 1);
	kveil_secret_log_unlocked();
	read_some(ends[0]);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(ends[0]);
	close(ends[1]);
	close(saved);
	assert_true(silent);
	assert_non_null(strstr(text, "warn  secret: KVEIL_ALLOW_UNLOCKED_KEYS=1"));
}

static void take(void *user, const struct kveil_event *e)
{
	size_t *count = user;

	assert_int_equal(e->kind, KVEIL_EVENT_KEY_RETIRED);
	assert_string_equal(e->key, "pii");
	++*count;
}

/* Each sink gets each event once, and the log is one of them from the set-up on, however often that is done. */
static void every_sink_takes_every_event(void **state)
{
	const struct kveil_event e = {.kind = KVEIL_EVENT_KEY_RETIRED, .key = "pii", .version = 2};
	size_t first = 0, second = 0;
	int ends[2], saved = dup(STDERR_FILENO);

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_true(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	got = 0;
	kveil_event_add_sink(take, &first);
	kveil_event(&e);
	kveil_event_setup("keys retire");
	kveil_event_setup("keys retire");
	kveil_event_add_sink(take, &second);
	kveil_event(&e);
	read_some(ends[0]);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(ends[0]);
	close(ends[1]);
	close(saved);
	assert_int_equal(first, 2);
	assert_int_equal(second, 1);
	const char *line = strstr(text, "event: key_retired key=pii version=2 command=\"keys retire\"");
	assert_non_null(line);
	assert_null(strstr(line + 1, "event: "));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(stuck_reader),
	    cmocka_unit_test(unlocked_keys_leave_a_line),
	    cmocka_unit_test(every_sink_takes_every_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

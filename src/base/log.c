/* SPDX-License-Identifier: Apache-2.0 */
/* The log: a line a message, as text or JSON. */
#include "base/log.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	LINE_BYTES = 2700,   /* no more than PIPE_BUF: a pipe that is ready takes one whole */
	QUEUE_BYTES = 65536, /* of lines that stderr did not take at once */
	ERROR_BYTES = 8192,  /* of that, kept for errors */
	EXIT_MS = 2000,
};

static _Atomic int level_max = KVEIL_LOG_INFO;
static _Atomic bool as_json;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Lines that wait. */
static char waiting[QUEUE_BYTES];
static size_t waiting_bytes;
static uint64_t untold; /* lines dropped that no line of the log has told of yet */
static _Atomic uint64_t dropped;

static void at_exit(void)
{
	kveil_log_drain(EXIT_MS);
}

static void register_at_exit(void)
{
	(void)!atexit(at_exit);
}

void kveil_log_setup(enum kveil_log_level level, bool json)
{
	level_max = (int)level;
	as_json = json;
}

/* Appends s with control characters (and, in JSON, quotes and backslashes) escaped. */
static size_t escape(char *dst, size_t size, const char *s, bool json)
{
	size_t n = 0;

	for (; *s && n + 7 < size; s++) {
		unsigned char c = (unsigned char)*s;
		if (c < 0x20 || c == 0x7f)
			n += (size_t)snprintf(dst + n, size - n, "\\u%04x", c);
		else if (json && (c == '"' || c == '\\')) {
			dst[n++] = '\\';
			dst[n++] = (char)c;
		} else
			dst[n++] = (char)c;
	}
	dst[n] = 0;
	return n;
}

/* A line with its newline, into LINE_BYTES; its length. */
static size_t format_line(char *line, enum kveil_log_level level, const char *component, const char *message)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	char safe[2400], when[40];
	int64_t ms = kveil_clock_wall_ms();
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	size_t n = strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when + n, sizeof when - n, ".%03dZ", (int)(ms % 1000));
	bool json = as_json;
	escape(safe, sizeof safe, message, json);
	int len = json ? snprintf(line, LINE_BYTES,
				  "{\"time\":\"%s\",\"level\":\"%s\",\"component\":\"%s\",\"message\":\"%s\"}\n", when,
				  names[level], component, safe)
		       : snprintf(line, LINE_BYTES, "%s %-5s %s: %s\n", when, names[level], component, safe);
	if (len < 0)
		return 0;
	if (len >= LINE_BYTES) {
		len = LINE_BYTES - 1;
		line[len - 1] = '\n';
	}
	return (size_t)len;
}

/* Writes if stderr takes it now, or within ms; false: it does not. What cannot be written at all (a reader that went
 * away, a full disk) is gone, and counted. */
static bool try_write(const char *text, size_t *len, int ms)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
	int ready;

	do
		ready = poll(&p, 1, ms);
	while (ready < 0 && errno == EINTR && ms == 0);
	if (ready <= 0)
		return false;
	/* One write a line, so that lines of several threads and processes do not mix. */
	ssize_t n = p.revents & POLLOUT ? write(STDERR_FILENO, text, *len) : -1;
	if (n < 0 && (errno == EINTR || errno == EAGAIN) && p.revents & POLLOUT)
		return false;
	if (n < 0)
		atomic_fetch_add(&dropped, 1);
	else
		*len = (size_t)n;
	return true;
}

static void queue_line(enum kveil_log_level level, const char *line, size_t len)
{
	size_t room = QUEUE_BYTES - (level == KVEIL_LOG_ERROR ? 0 : ERROR_BYTES);

	if (waiting_bytes > room || len > room - waiting_bytes) {
		atomic_fetch_add(&dropped, 1);
		untold++;
		return;
	}
	memcpy(waiting + waiting_bytes, line, len);
	waiting_bytes += len;
}

/* The lines that wait, as far as stderr takes them; true: none is left. */
static bool write_waiting(int64_t end_ms)
{
	char line[LINE_BYTES], message[120];

	while (waiting_bytes) {
		int64_t left = end_ms - kveil_clock_mono_ms();
		char *newline = memchr(waiting, '\n', waiting_bytes);
		size_t len = newline ? (size_t)(newline - waiting) + 1 : waiting_bytes;
		if (!try_write(waiting, &len, left > 0 ? (int)left : 0))
			return false;
		waiting_bytes -= len;
		memmove(waiting, waiting + len, waiting_bytes);
		if (waiting_bytes || !untold)
			continue;
		snprintf(message, sizeof message, "%" PRIu64 " lines were dropped here: stderr took none", untold);
		untold = 0;
		queue_line(KVEIL_LOG_WARN, line, format_line(line, KVEIL_LOG_WARN, "log", message));
	}
	return true;
}

bool kveil_log_drain(int timeout_ms)
{
	pthread_mutex_lock(&lock);
	bool all = write_waiting(kveil_clock_mono_ms() + timeout_ms);
	pthread_mutex_unlock(&lock);
	return all;
}

uint64_t kveil_log_dropped(void)
{
	return atomic_load(&dropped);
}

void kveil_log(enum kveil_log_level level, const char *component, const char *fmt, ...)
{
	char message[1100], line[LINE_BYTES];
	va_list args;

	if ((int)level > level_max)
		return;
	va_start(args, fmt);
	vsnprintf(message, sizeof message, fmt, args);
	va_end(args);
	size_t len = format_line(line, level, component, message);
	pthread_once(&once, register_at_exit);
	pthread_mutex_lock(&lock);
	queue_line(level, line, len);
	write_waiting(0);
	pthread_mutex_unlock(&lock);
}

void kveil_log_error(enum kveil_log_level level, const char *component, const struct kveil_error *err)
{
	char text[1024];

	kveil_log(level, component, "%s: %s", kveil_status_code(err->status),
		  kveil_error_format(err, NULL, text, sizeof text));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* base/clock.h: time. Wall time for keys and records, monotonic time for waiting. Any thread. */
#ifndef KVEIL_BASE_CLOCK_H
#define KVEIL_BASE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

/* Milliseconds since 1970-01-01 UTC. */
static inline int64_t kveil_clock_wall_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Nanoseconds and milliseconds since some fixed moment. */
static inline int64_t kveil_clock_mono_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t kveil_clock_mono_ms(void)
{
	return kveil_clock_mono_ns() / 1000000;
}

/* For calls that take one. */
static inline struct timespec kveil_clock_timespec(int64_t ms)
{
	return (struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
}

enum { KVEIL_CLOCK_MINUTE_MS = 60000 };

/* For a line of the log that would repeat itself: true at first, and then when a minute has passed. *last_ms begins as
 * 0. */
static inline bool kveil_clock_once_a_minute(int64_t *last_ms, int64_t mono_ms)
{
	if (*last_ms && mono_ms - *last_ms < KVEIL_CLOCK_MINUTE_MS)
		return false;
	*last_ms = mono_ms;
	return true;
}

/* Nanoseconds of processor time that this thread has used: for benchmarks. */
static inline uint64_t kveil_clock_cpu_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* Wall time as "2026-01-31T06:00:00Z". */
static inline void kveil_clock_format(int64_t ms, char out[32])
{
	time_t s = (time_t)(ms / 1000);
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* The other way. false: it is not such a time, or no day of the calendar. */
static inline bool kveil_clock_parse(const char *text, int64_t *ret_ms)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);
	char again[32];

	if (!end || *end)
		return false;
	*ret_ms = (int64_t)timegm(&tm) * 1000;
	/* timegm takes the 31st of February for a day of March. */
	kveil_clock_format(*ret_ms, again);
	return strcmp(again, text) == 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* base/thread.h: threads that must end in time. */
#ifndef KVEIL_BASE_THREAD_H
#define KVEIL_BASE_THREAD_H

#include "base/clock.h"

#include <pthread.h>
#include <stdbool.h>

/* Joins it. false: it still runs at end_ms of kveil_clock_mono_ms, and can be asked for again. */
static inline bool kveil_thread_ends_by(pthread_t thread, int64_t end_ms)
{
	struct timespec until = kveil_clock_timespec(end_ms);

	return pthread_clockjoin_np(thread, NULL, CLOCK_MONOTONIC, &until) == 0;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * observe/health.h: what /livez and /readyz answer. Loops beat; conditions say why not ready. Any thread.
 *
 *   live   every registered loop has turned within 30 s (outages do not fail it)
 *   ready  it has started, no condition is open and the process is not draining
 */
#ifndef KVEIL_OBSERVE_HEALTH_H
#define KVEIL_OBSERVE_HEALTH_H

#include "base/buf.h"
#include "kveil/base.h"

struct kveil_health;
struct kveil_loop;

enum { KVEIL_HEALTH_STALE_MS = 30000 };

/* Not ready before kveil_health_started(), called when whoever may not be ready has said so. NULL: out of memory. */
struct kveil_health *kveil_health_new(void);
void kveil_health_started(struct kveil_health *h);
void kveil_health_free(struct kveil_health *h);

/* Registers a loop and beats for it; lives as long as h. A name whose loop has ended is taken up again, so that
 * restarted workers do not add up. NULL when memory is out: the loop must then not run, for nobody watches it. */
struct kveil_loop *kveil_health_loop(struct kveil_health *h, const char *name);
void kveil_loop_beat(struct kveil_loop *l); /* a clock read and one relaxed store: once a turn */
void kveil_loop_end(struct kveil_loop *l);  /* ended on purpose: no longer watched */

/* Opens or updates the condition `name` ("worker 1: kafka") with a reason, or closes it (reason NULL). Never a
 * value or a secret in a reason: anyone who reaches the port reads it. */
void kveil_health_condition(struct kveil_health *h, const char *name, const char *reason, ...) KVEIL_PRINTF(3, 4);
/* The same for what is to be seen and keeps nobody from being ready. true: it was not there before. */
bool kveil_health_remark(struct kveil_health *h, const char *name, const char *remark, ...) KVEIL_PRINTF(3, 4);
void kveil_health_draining(struct kveil_health *h);

/* true = live / ready; why (NULL = not asked): one line a reason or remark, control characters as '?'. */
bool kveil_health_live(struct kveil_health *h, struct kveil_buf *why);
bool kveil_health_ready(struct kveil_health *h, struct kveil_buf *why);
/* kveil_health_live as it would answer at a moment of the monotonic clock: for tests. */
bool kveil_health_live_at(struct kveil_health *h, int64_t now_mono_ms, struct kveil_buf *why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/health.h: what /livez and /readyz answer. Loops beat; conditions say why not ready. Any thread.
 *
 *   live   every registered loop has turned within 30 s (outages do not fail it)
 *   ready  no condition is open and the process is not draining
 */
#ifndef KVEIL_WORKER_HEALTH_H
#define KVEIL_WORKER_HEALTH_H

#include "base/buf.h"
#include "kveil/base.h"

struct kveil_health;
struct kveil_loop;

struct kveil_health *kveil_health_new(void);
void kveil_health_free(struct kveil_health *h);

struct kveil_loop *kveil_health_loop(struct kveil_health *h, const char *name); /* lives as long as h */
void kveil_loop_beat(struct kveil_loop *l);   /* one relaxed store */
void kveil_loop_end(struct kveil_loop *l);    /* ended on purpose: no longer watched */

/* Opens or updates the condition `name` ("worker 1: kafka") with a reason, or closes it (reason NULL). */
void kveil_health_condition(struct kveil_health *h, const char *name, const char *reason, ...) KVEIL_PRINTF(3, 4);
void kveil_health_draining(struct kveil_health *h);

/* true = live / ready; why: one line a reason. */
bool kveil_health_live(struct kveil_health *h, struct kveil_buf *why);
bool kveil_health_ready(struct kveil_health *h, struct kveil_buf *why);

#endif

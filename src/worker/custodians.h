/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/custodians.h: how the key-encryption keys do, told to metrics, /readyz's detail and the log. One thread: the
 * keeper's.
 */
#ifndef KVEIL_WORKER_CUSTODIANS_H
#define KVEIL_WORKER_CUSTODIANS_H

#include "keys/keystore.h"
#include "observe/health.h"
#include "observe/metrics.h"

struct kveil_custodians;

/* Borrows all three. NULL: out of memory. */
struct kveil_custodians *kveil_custodians_new(struct kveil_keystore *keys, struct kveil_metrics *metrics,
					      struct kveil_health *health);
void kveil_custodians_tell(struct kveil_custodians *c); /* once a turn of the keeper */
void kveil_custodians_free(struct kveil_custodians *c);

#endif

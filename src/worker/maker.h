/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/maker.h: the thread that makes the keys which records name. Workers say that there are some to make and look
 * what became of it: none of them waits for the registry.
 */
#ifndef KVEIL_WORKER_MAKER_H
#define KVEIL_WORKER_MAKER_H

#include "keys/keystore.h"
#include "observe/health.h"

struct kveil_maker;

/* keys and health must outlive it. NULL: no memory or no thread. */
struct kveil_maker *kveil_maker_new(struct kveil_keystore *keys, struct kveil_health *health);
/* Ends the thread, which may be in a request that takes some 10 s; waits until end_ms (monotonic). false: it still
 * runs, and nothing is freed. NULL is fine. */
bool kveil_maker_free(struct kveil_maker *m, int64_t end_ms);

/* Any thread: records have asked for keys. Returns the number of the attempt that makes them. */
uint64_t kveil_maker_want(struct kveil_maker *m);
/* Any thread: the last attempt that has ended. */
uint64_t kveil_maker_round(const struct kveil_maker *m);
/* What came of the last attempt: as kveil_keystore_make_asked. */
enum kveil_status kveil_maker_result(struct kveil_maker *m, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

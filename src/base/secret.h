/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/secret.h: memory for key bytes. Pages are locked (mlock), out of core dumps (MADV_DONTDUMP), wiped in
 * a forked child (MADV_WIPEONFORK), between guard pages, and wiped on free. Any thread.
 *
 * Small pieces of one size share a slab, so that thousands of keys take few mappings and little of
 * RLIMIT_MEMLOCK. A pointer that was not given out here, or was freed, ends the process.
 */
#ifndef KVEIL_BASE_SECRET_H
#define KVEIL_BASE_SECRET_H

#include "kveil/base.h"

/* Once, early in main: RLIMIT_CORE 0 and PR_SET_DUMPABLE 0 for the process, RLIMIT_MEMLOCK as high as it may go.
 * Failure is a warning. */
void kveil_secret_harden_process(void);

/* Zeroed, aligned to 16; NULL when memory is out or cannot be locked (a size of 0 gives a pointer too). With
 * KVEIL_ALLOW_UNLOCKED_KEYS=1 in the environment, memory that the system refuses to lock is used all the same. */
void *kveil_secret_alloc(size_t n);
/* As above, but what cannot be locked is used in any case: for what is derived from keys and large (key schedules of
 * many keys), where RLIMIT_MEMLOCK would be a limit on their number. Half of that limit is left to the keys. */
void *kveil_secret_alloc_schedule(size_t n);
/* What to say where kveil_secret_alloc gave NULL: NO_MEMORY, with the limit and the ways out. */
enum kveil_status kveil_secret_refused(struct kveil_error *err);
/* A warning, where KVEIL_ALLOW_UNLOCKED_KEYS=1. */
void kveil_secret_log_unlocked(void);
void kveil_secret_free(void *p); /* wipes; NULL is fine */
/* Bytes that can be used at p. */
size_t kveil_secret_size(const void *p);

void kveil_secret_wipe(void *p, size_t n);                    /* a memset that is not optimised away */
bool kveil_secret_eq(const void *a, const void *b, size_t n); /* constant time */

#endif

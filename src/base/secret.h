/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/secret.h: memory for key bytes. Pages are locked (mlock), out of core dumps (MADV_DONTDUMP), wiped in
 * a forked child (MADV_WIPEONFORK), between guard pages, and wiped on free. Any thread.
 */
#ifndef KVEIL_BASE_SECRET_H
#define KVEIL_BASE_SECRET_H

#include "kveil/base.h"

/* Once, early in main: RLIMIT_CORE 0 and PR_SET_DUMPABLE 0 for the process. Failure is a warning. */
void kveil_secret_harden_process(void);
/* Zeroed; NULL when memory is out. Failing to lock is an error unless KVEIL allows it (see .c). */
void *kveil_secret_alloc(size_t n);
void kveil_secret_free(void *p); /* wipes; NULL is fine */
void kveil_secret_wipe(void *p, size_t n); /* a memset that is not optimised away */
bool kveil_secret_eq(const void *a, const void *b, size_t n); /* constant time */

#endif

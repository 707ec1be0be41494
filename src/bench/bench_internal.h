/* SPDX-License-Identifier: Apache-2.0 */
/* bench/bench_internal.h: between the files of the bare loops. Bytes are characters for FF1; see struct
 * kveil_bench_bare. */
#ifndef KVEIL_BENCH_BENCH_INTERNAL_H
#define KVEIL_BENCH_BENCH_INTERNAL_H

#include "base/clock.h"

#include <openssl/types.h>

extern const uint8_t kveil_bench_key[64];

/* With the key set; NULL: not there. */
EVP_CIPHER_CTX *kveil_bench_evp_context(const char *name);
/* Since then, at least 1; 0 if a call failed. */
uint64_t kveil_bench_spent(uint64_t start_ns, bool ok);

uint64_t kveil_bench_ff1_whole(size_t size, size_t count);
uint64_t kveil_bench_ff1_alone_evp(size_t size, size_t count);
uint64_t kveil_bench_ff1_alone_gcrypt(size_t size, size_t count);
uint64_t kveil_bench_ff1_alone_new_evp(size_t size, size_t count);
uint64_t kveil_bench_ff1_alone_new_gcrypt(size_t size, size_t count);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/bench_baseline.h: what `kveil bench` measures itself against: the library calls alone, in a loop, written as
 * one would straightforwardly. Times are nanoseconds of this thread's CPU (CLOCK_THREAD_CPUTIME_ID); measure the
 * other side by the same clock, in turn with this one.
 */
#ifndef KVEIL_CRYPTO_BENCH_BASELINE_H
#define KVEIL_CRYPTO_BENCH_BASELINE_H

#include "kveil/base.h"

/* The values of one order; at most 64 KiB each. */
struct kveil_bench_record {
	struct kveil_span id_card, card_number, email;
	struct kveil_span record; /* the whole JSON text */
};

struct kveil_bench_evp;

/* Two AES-256-GCM contexts and one HMAC-SHA-256 context with their keys set, and room for results. */
enum kveil_status kveil_bench_evp_new(struct kveil_bench_evp **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_bench_evp_free(struct kveil_bench_evp *b);

/* For each record: seal id_card and card_number with associated data and a fresh nonce and write each as base64
 * (EVP_EncodeBlock), HMAC the email, memcpy the record. Returns the nanoseconds spent, 0 when a call failed. */
uint64_t kveil_bench_evp_loop(struct kveil_bench_evp *b, const struct kveil_bench_record *records, size_t count);

#endif

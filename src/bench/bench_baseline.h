/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bench/bench_baseline.h: what `kveil bench` measures itself against: the library calls alone, in a loop, written as
 * one would straightforwardly. Times are nanoseconds of this thread's CPU (CLOCK_THREAD_CPUTIME_ID); measure the
 * other side by the same clock, in turn with this one.
 */
#ifndef KVEIL_BENCH_BENCH_BASELINE_H
#define KVEIL_BENCH_BENCH_BASELINE_H

#include "crypto/algorithm.h"
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

/* The associated data, or tweak, of what `kveil bench crypto` measures on both sides. */
#define KVEIL_BENCH_AD KVEIL_SPAN("orders:$['customer']['id_card']")

/* One library's way to do what an algorithm does, by its calls alone. */
struct kveil_bench_bare {
	const char *library; /* "EVP", "libgcrypt" */
	/* count values of so many bytes (of FF1: characters; at most 1,024); set-up is not counted. 0 = not there. */
	uint64_t (*run)(size_t bytes, size_t count);
};

/* An algorithm and every way to it that we know, up to an absent one. No library has FF1, so it is in more rows:
 * against FF1 out of a library's calls, and against the calls of AES alone that it cannot go below. */
struct kveil_bench_row {
	const struct kveil_algorithm *alg;
	struct kveil_bench_bare ways[3];
	bool new_tweak; /* FF1: no tweak is as the one before, so its blocks count for each value */
};

extern const struct kveil_bench_row kveil_bench_rows[]; /* ends with a zero row */

/* The alphabet of a string that FF1 is measured with: digits as on cards, letters and digits for longer ones. */
uint32_t kveil_bench_ff1_radix(size_t count);

/* That FF1, to be compared with ours: encrypts in place strings of up to 1,024 numerals. NULL: out of memory. */
struct kveil_bench_ff1;
struct kveil_bench_ff1 *kveil_bench_ff1_new(const uint8_t key[32], uint32_t radix, size_t count, size_t tweak_len);
void kveil_bench_ff1_free(struct kveil_bench_ff1 *f);
bool kveil_bench_ff1_encrypt(struct kveil_bench_ff1 *f, const uint8_t *tweak, uint16_t *digits) KVEIL_MUST_CHECK;

#endif

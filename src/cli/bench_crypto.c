/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil bench --crypto`: each algorithm against its library's bare loop. */
#include "cli/bench_crypto.h"

#include "base/clock.h"
#include "bench/bench_baseline.h"
#include "cli/command.h"
#include "crypto/algorithm.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 15, WAYS = 3, VALUE_MAX = 1024, ROOM = VALUE_MAX + 64, ROUND_NS = 3000000, STRINGS = 16 };

/* One row of the table. */
struct subject {
	const struct kveil_algorithm *alg;
	struct kveil_cipher *cipher;
	const struct kveil_bench_row *row;
	size_t bytes; /* of FF1: characters */
};

/* Nanoseconds a value, by round; way 0 is ours. */
struct measured {
	double ns[WAYS][ROUNDS];
};

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(const double *values)
{
	double sorted[ROUNDS];

	memcpy(sorted, values, sizeof sorted);
	qsort(sorted, ROUNDS, sizeof *sorted, by_value);
	return sorted[ROUNDS / 2];
}

/* Strings of all kinds for FF1: a token is the value of a later turn. */
static uint16_t strings[STRINGS][VALUE_MAX];

static void make_strings(size_t length)
{
	uint64_t x = 20240607;

	for (size_t i = 0; i < STRINGS; i++)
		for (size_t j = 0; j < length; j++) {
			x = x * 6364136223846793005u + 1442695040888963407u;
			strings[i][j] = (uint16_t)((x >> 33) % kveil_bench_ff1_radix(length));
		}
}

static enum kveil_status run_ff1(const struct subject *s, uint64_t i, struct kveil_error *err)
{
	const struct kveil_span ad = KVEIL_BENCH_AD;
	struct kveil_fpe_numerals n = {strings[i % STRINGS], s->bytes, kveil_bench_ff1_radix(s->bytes)};
	uint8_t tweak[64];

	if (!s->row->new_tweak)
		return s->alg->fpe(s->cipher, true, ad, &n, err);
	memcpy(tweak, ad.data, ad.len);
	memcpy(tweak, &i, sizeof i); /* no block is as it was */
	return s->alg->fpe(s->cipher, true, kveil_span_of(tweak, ad.len), &n, err);
}

/* As the bare loops do it: the key ready, a fresh nonce each time. Nanoseconds; 0 = failed. */
static uint64_t run_ours(const struct subject *s, size_t count, struct kveil_error *err)
{
	static const uint8_t value[VALUE_MAX];
	const struct kveil_span in = {value, s->bytes};
	uint8_t out[ROOM];
	uint64_t nonce[2] = {0};
	enum kveil_status status = KVEIL_OK;
	size_t n;

	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; status == KVEIL_OK && i < count; i++) {
		nonce[0] = i;
		if (s->alg->kind == KVEIL_ALG_MAC)
			status = s->alg->mac(s->cipher, in, out, err);
		else if (s->alg->kind == KVEIL_ALG_FPE)
			status = run_ff1(s, i, err);
		else
			status = s->alg->seal(s->cipher, (const uint8_t *)nonce, KVEIL_BENCH_AD, in, out, &n, err);
	}
	uint64_t spent = kveil_clock_cpu_ns() - start;
	return status == KVEIL_OK ? spent + !spent : 0;
}

static bool measure(const struct subject *s, struct measured *ret, struct kveil_error *err)
{
	size_t count = 100;

	if (s->alg->kind == KVEIL_ALG_FPE)
		make_strings(s->bytes);
	uint64_t spent = run_ours(s, count, err);
	if (!spent)
		return false;
	count = count * ROUND_NS / spent + 10;
	for (size_t r = 0; r < ROUNDS; r++) {
		spent = run_ours(s, count, err);
		if (!spent)
			return false;
		ret->ns[0][r] = (double)spent / (double)count;
		for (size_t w = 1; w < WAYS; w++) {
			const struct kveil_bench_bare *bare = &s->row->ways[w - 1];
			ret->ns[w][r] = bare->library ? (double)bare->run(s->bytes, count) / (double)count : 0;
		}
	}
	return true;
}

static void print_row(const struct subject *s, const struct measured *m, bool json, bool first)
{
	const double ours = median(m->ns[0]);
	size_t fastest = 0;
	double bare = 0, low = 0, high = 0;

	for (size_t w = 1; w < WAYS; w++) {
		double ns = median(m->ns[w]);
		if (ns > 0 && (!fastest || ns < bare)) {
			fastest = w;
			bare = ns;
		}
	}
	if (!fastest)
		return;
	for (size_t r = 0; r < ROUNDS; r++) {
		double ratio = m->ns[0][r] / m->ns[fastest][r];
		low = r == 0 || ratio < low ? ratio : low;
		high = ratio > high ? ratio : high;
	}
	const char *library = s->row->ways[fastest - 1].library;
	if (json) {
		printf("%s\n{\"algorithm\": \"%s\", \"bytes\": %zu, \"new_tweak\": %s, ", first ? "" : ",",
		       s->alg->name, s->bytes, s->row->new_tweak ? "true" : "false");
		printf("\"operations_per_second\": %.0f, \"nanoseconds\": %.1f, \"baseline\": \"%s\", ", 1e9 / ours,
		       ours, library);
		printf("\"baseline_nanoseconds\": %.1f, \"ratio\": %.3f, \"ratio_lowest\": %.3f, "
		       "\"ratio_highest\": %.3f}",
		       bare, ours / bare, low, high);
	} else {
		char name[32];
		snprintf(name, sizeof name, "%s%s", s->alg->name, s->row->new_tweak ? ", new tweak" : "");
		printf("%-22s %5zu %12.0f %9.1f %9.1f  %-20s %5.2f  (%.2f to %.2f)\n", name, s->bytes, 1e9 / ours, ours,
		       bare, library, ours / bare, low, high);
	}
	fflush(stdout);
}

static bool bench_sizes(struct subject *s, bool json, bool *first, struct kveil_error *err)
{
	static const size_t sizes[] = {16, 64, 1024};
	struct measured m;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		s->bytes = sizes[i];
		if (!measure(s, &m, err))
			return false;
		print_row(s, &m, json, *first);
		*first = false;
	}
	return true;
}

static enum kveil_status bench_row(const struct kveil_bench_row *row, bool json, bool *first, struct kveil_error *err)
{
	static const uint8_t key[64] = {1};
	struct subject s = {.alg = row->alg, .row = row};
	enum kveil_status status = s.alg->cipher_new(kveil_span_of(key, s.alg->key_bytes), &s.cipher, err);

	if (status != KVEIL_OK)
		return status;
	if (!bench_sizes(&s, json, first, err))
		status = err->status;
	s.alg->cipher_free(s.cipher);
	return status;
}

int kveil_bench_crypto(bool json)
{
	struct kveil_error err = {0};
	bool first = true;
	enum kveil_status status = kveil_crypto_init(&err);

	if (json)
		printf("[");
	else
		printf("%-22s %5s %12s %9s %9s  %-20s %5s\n", "algorithm", "bytes", "operations/s", "ns", "bare ns",
		       "fastest bare call", "ratio");
	for (const struct kveil_bench_row *row = kveil_bench_rows; status == KVEIL_OK && row->alg; row++)
		if (row->alg->library())
			status = bench_row(row, json, &first, &err);
	if (json)
		printf("\n]\n");
	else
		printf("\nNo library has aes-256-ff1. Beside it stands FF1 out of libgcrypt's CBC-MAC and OpenSSL's "
		       "BIGNUM (machine\n"
		       "words where they do), and then the AES alone that it cannot do without, each block waiting for "
		       "the one before:\n"
		       "P and the tweak's blocks are kept there unless the tweak is new. 16 are digits, 64 and 1024 "
		       "letters and digits.\n");
	if (status != KVEIL_OK) {
		char line[512];
		fprintf(stderr, "%s\n", kveil_error_format(&err, "error", line, sizeof line));
		return KVEIL_EXIT_FAILED;
	}
	return KVEIL_EXIT_OK;
}

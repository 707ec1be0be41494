/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_crypto.h"

#include "base/clock.h"
#include "cli/command.h"
#include "crypto/algorithm.h"
#include "crypto/bench_baseline.h"
#include "crypto/crypto.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 15, WAYS = 3, VALUE_MAX = 1024, ROOM = VALUE_MAX + 64, ROUND_NS = 3000000 };

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

/* As the bare loops do it: the key ready, a fresh nonce each time. Nanoseconds; 0 = failed. */
static uint64_t run_ours(struct kveil_cipher *c, size_t bytes, size_t count, struct kveil_error *err)
{
	static const uint8_t value[VALUE_MAX];
	const struct kveil_algorithm *alg = c->alg;
	uint16_t digits[VALUE_MAX] = {0};
	uint8_t out[ROOM];
	uint64_t nonce[2] = {0};
	enum kveil_status status = KVEIL_OK;
	size_t n;

	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; status == KVEIL_OK && i < count; i++) {
		nonce[0] = i;
		if (alg->kind == KVEIL_ALG_MAC)
			status = alg->mac(c, kveil_span_of(value, bytes), out, err);
		else if (alg->kind == KVEIL_ALG_FPE)
			status =
			    alg->fpe(c, true, KVEIL_BENCH_AD, &(struct kveil_fpe_numerals){digits, bytes, 10}, err);
		else
			status = alg->seal(c, (const uint8_t *)nonce, KVEIL_BENCH_AD, kveil_span_of(value, bytes), out,
					   &n, err);
	}
	uint64_t spent = kveil_clock_cpu_ns() - start;
	return status == KVEIL_OK ? spent + !spent : 0;
}

static bool measure(struct kveil_cipher *c, const struct kveil_bench_bare *ways, size_t bytes, struct measured *ret,
		    struct kveil_error *err)
{
	size_t count = 100;
	uint64_t spent = run_ours(c, bytes, count, err);

	if (!spent)
		return false;
	count = count * ROUND_NS / spent + 10;
	for (size_t r = 0; r < ROUNDS; r++) {
		spent = run_ours(c, bytes, count, err);
		if (!spent)
			return false;
		ret->ns[0][r] = (double)spent / (double)count;
		for (size_t w = 1; w < WAYS; w++) {
			const struct kveil_bench_bare *bare = &ways[w - 1];
			ret->ns[w][r] = bare->library ? (double)bare->run(bytes, count) / (double)count : 0;
		}
	}
	return true;
}

static void print_row(const struct kveil_algorithm *alg, size_t bytes, const struct kveil_bench_bare *ways,
		      const struct measured *m, bool json, bool first)
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
	if (json)
		printf("%s\n{\"algorithm\": \"%s\", \"bytes\": %zu, \"operations_per_second\": %.0f, \"nanoseconds\": "
		       "%.1f, "
		       "\"baseline\": \"%s\", \"baseline_nanoseconds\": %.1f, \"ratio\": %.3f, \"ratio_lowest\": %.3f, "
		       "\"ratio_highest\": %.3f}",
		       first ? "" : ",", alg->name, bytes, 1e9 / ours, ours, ways[fastest - 1].library, bare,
		       ours / bare, low, high);
	else
		printf("%-18s %5zu %12.0f %9.1f %9.1f  %-18s %5.2f  (%.2f to %.2f)\n", alg->name, bytes, 1e9 / ours,
		       ours, bare, ways[fastest - 1].library, ours / bare, low, high);
	fflush(stdout);
}

static enum kveil_status bench_algorithm(const struct kveil_algorithm *alg, bool json, bool *first,
					 struct kveil_error *err)
{
	static const size_t sizes[] = {16, 64, 1024};
	static const uint8_t key[64] = {1};
	const struct kveil_bench_bare *ways = kveil_bench_bare_of(alg);
	struct kveil_cipher *c;
	struct measured m;

	if (!ways)
		return KVEIL_OK;
	enum kveil_status status = alg->cipher_new(kveil_span_of(key, alg->key_bytes), &c, err);
	if (status != KVEIL_OK)
		return status;
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		if (!measure(c, ways, sizes[i], &m, err)) {
			status = err->status;
			break;
		}
		print_row(alg, sizes[i], ways, &m, json, *first);
		*first = false;
	}
	alg->cipher_free(c);
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
		printf("%-18s %5s %12s %9s %9s  %-18s %5s\n", "algorithm", "bytes", "operations/s", "ns", "bare ns",
		       "fastest bare call", "ratio");
	for (const struct kveil_algorithm *const *a = kveil_algorithms; status == KVEIL_OK && *a; a++)
		if ((*a)->is_available())
			status = bench_algorithm(*a, json, &first, &err);
	if (json)
		printf("\n]\n");
	if (status != KVEIL_OK) {
		char line[512];
		fprintf(stderr, "%s\n", kveil_error_format(&err, "error", line, sizeof line));
		return KVEIL_EXIT_FAILED;
	}
	return KVEIL_EXIT_OK;
}

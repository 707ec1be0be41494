/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FF1 and its numbers against SP 800-38G written down as it reads: numbers are bytes, reckoned numeral by numeral;
 * every round runs CBC-MAC over all of P and Q. Published vectors are in test_algorithms.c.
 */
#include "bench/bench_baseline.h"
#include "crypto/crypto.h"
#include "crypto/radix.h"
#include "crypto/rows.h"

#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BLOCK = 16, NUMERALS_MAX = 4096, BYTES_MAX = NUMERALS_MAX, TWEAK_MAX = 300 };

static const uint8_t key[32] = "thirty-two bytes are 256 bits..";
static uint64_t seed = 20240607;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((seed >> 32) * n >> 32);
}

/* --- the standard, slowly --- */

static EVP_CIPHER_CTX *ecb;

static void aes(uint8_t *block)
{
	int n;

	assert_int_equal(EVP_EncryptUpdate(ecb, block, &n, block, BLOCK), 1);
}

/* NUM_radix(X) as `len` bytes, big-endian. */
static void number_of(const uint16_t *x, size_t count, uint32_t radix, uint8_t *bytes, size_t len)
{
	memset(bytes, 0, len);
	for (size_t i = 0; i < count; i++) {
		uint32_t carry = x[i];
		for (size_t j = len; j--;) {
			carry += bytes[j] * radix;
			bytes[j] = (uint8_t)carry;
			carry >>= 8;
		}
		assert_int_equal(carry, 0);
	}
}

/* The last numeral of a number, which is divided by the radix. */
static uint16_t numeral_of(uint8_t *bytes, size_t len, uint32_t radix)
{
	uint32_t rest = 0;

	for (size_t j = 0; j < len; j++) {
		rest = rest << 8 | bytes[j];
		bytes[j] = (uint8_t)(rest / radix);
		rest %= radix;
	}
	return (uint16_t)rest;
}

static size_t bytes_of_power(uint32_t radix, size_t count)
{
	static uint16_t last[NUMERALS_MAX];
	static uint8_t bytes[BYTES_MAX + 8];
	size_t zeros = 0;

	for (size_t i = 0; i < count; i++)
		last[i] = (uint16_t)(radix - 1);
	number_of(last, count, radix, bytes, sizeof bytes);
	while (bytes[zeros] == 0)
		zeros++;
	return sizeof bytes - zeros;
}

static void put(uint8_t *p, size_t n, uint64_t v)
{
	while (n--) {
		p[n] = (uint8_t)v;
		v >>= 8;
	}
}

/* Steps 6.i to 6.iv of algorithm 7: y, d bytes long. */
static void round_of(uint32_t radix, size_t n, struct kveil_span tweak, unsigned i, const uint16_t *b, size_t m,
		     size_t b_len, size_t d, uint8_t *y)
{
	static uint8_t q[TWEAK_MAX + BYTES_MAX + 64];
	uint8_t p[BLOCK] = {1, 2, 1, 0, 0, 0, 10, (uint8_t)(n / 2)};
	const size_t zeros = (BLOCK - (tweak.len + b_len + 1) % BLOCK) % BLOCK, q_len = tweak.len + zeros + 1 + b_len;

	put(p + 3, 3, radix);
	put(p + 8, 4, n);
	put(p + 12, 4, tweak.len);
	memset(q, 0, sizeof q);
	if (tweak.len)
		memcpy(q, tweak.data, tweak.len);
	q[tweak.len + zeros] = (uint8_t)i;
	number_of(b, m, radix, q + q_len - b_len, b_len);
	aes(p);
	for (size_t at = 0; at < q_len; at += BLOCK) {
		for (size_t j = 0; j < BLOCK; j++)
			p[j] ^= q[at + j];
		aes(p);
	}
	for (size_t at = 0; at < d; at += BLOCK) {
		uint8_t block[BLOCK], counter[BLOCK] = {0};
		put(counter + 8, 8, at / BLOCK);
		for (size_t j = 0; j < BLOCK; j++)
			block[j] = p[j] ^ counter[j];
		if (at)
			aes(block);
		memcpy(y + at, block, BLOCK);
	}
}

static void reference(bool encrypt, uint32_t radix, struct kveil_span tweak, uint16_t *x, size_t n)
{
	static uint8_t y[BYTES_MAX + 64];
	const size_t u = n / 2, v = n - u, b = bytes_of_power(radix, v), d = (b + 3) / 4 * 4 + 4;
	uint16_t *halves[2] = {x, x + u};
	const size_t lengths[2] = {u, v};

	for (unsigned k = 0; k < 10; k++) {
		const unsigned i = encrypt ? k : 9 - k;
		uint16_t *to = halves[i % 2];
		const size_t m = lengths[i % 2];
		int32_t carry = 0;
		round_of(radix, n, tweak, i, halves[(i + 1) % 2], lengths[(i + 1) % 2], b, d, y);
		for (size_t j = m; j--;) {
			const int32_t numeral = numeral_of(y, d, radix);
			int32_t sum = encrypt ? to[j] + numeral + carry : to[j] - numeral + carry;
			carry = sum < 0 ? -1 : sum >= (int32_t)radix;
			to[j] = (uint16_t)(sum - carry * (int32_t)radix);
		}
	}
}

/* --- FF1 --- */

static struct kveil_cipher *cipher;

static void compare(uint32_t radix, size_t n, size_t tweak_len)
{
	static uint16_t x[NUMERALS_MAX], ours[NUMERALS_MAX], theirs[NUMERALS_MAX];
	uint8_t tweak[TWEAK_MAX];
	struct kveil_error err;
	const struct kveil_span t = {tweak, tweak_len};
	const uint32_t kind = random_below(8);

	/* Often the last one again, or one that begins like it. */
	for (size_t i = 0; i < tweak_len; i++)
		tweak[i] = (uint8_t)i;
	if (tweak_len && random_below(2))
		tweak[random_below((uint32_t)tweak_len)] ^= 0x80;
	for (size_t i = 0; i < n; i++)
		x[i] = (uint16_t)(kind == 0 ? 0 : kind == 1 ? radix - 1 : random_below(radix));
	for (int encrypt = 0; encrypt < 2; encrypt++) {
		memcpy(ours, x, n * sizeof *x);
		memcpy(theirs, x, n * sizeof *x);
		struct kveil_fpe_numerals numerals = {ours, n, radix};
		reference(encrypt, radix, t, theirs, n);
		assert_int_equal(cipher->alg->fpe(cipher, encrypt, t, &numerals, &err), KVEIL_OK);
		if (memcmp(ours, theirs, n * sizeof *x) != 0)
			fail_msg("radix %u, %zu numerals, a tweak of %zu: another %s", radix, n, tweak_len,
				 encrypt ? "token" : "value");
		/* Back, with the tweak's blocks known. */
		assert_int_equal(cipher->alg->fpe(cipher, !encrypt, t, &numerals, &err), KVEIL_OK);
		assert_memory_equal(ours, x, n * sizeof *x);
	}
}

static size_t shortest(uint32_t radix)
{
	size_t n = 0;

	for (uint64_t values = 1; values < 1000000; values *= radix)
		n++;
	return n < 2 ? 2 : n;
}

static const uint32_t radixes[] = {2,  3,  4,  7,   8,   10,  16,   17,   26,    32,    36,    37,   52,
				   62, 64, 85, 255, 256, 257, 1000, 4095, 32768, 65521, 65535, 65536};

/* From the shortest on: where one machine word ends, where two do, where b and d go up by a block. */
static void short_strings_are_the_standards(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof radixes / sizeof *radixes; i++) {
		const size_t least = shortest(radixes[i]);
		for (size_t n = least; n < least + 90; n++)
			compare(radixes[i], n, random_below(70));
	}
}

static void random_strings_are_the_standards(void **state)
{
	(void)state;
	for (int i = 0; i < 4000; i++) {
		const uint32_t radix = random_below(2) ? 2 + random_below(100) : 2 + random_below(65535);
		compare(radix, shortest(radix) + random_below(i % 50 ? 60 : 600),
			random_below(i % 10 ? 50 : TWEAK_MAX));
	}
}

static void longest_strings_are_the_standards(void **state)
{
	(void)state;
	static const uint32_t few[] = {2, 10, 62, 65535, 65536};

	for (size_t i = 0; i < sizeof few / sizeof *few; i++) {
		compare(few[i], NUMERALS_MAX - i % 2, 31);
		compare(few[i], NUMERALS_MAX / 2 - 1, 0);
	}
}

/* What is kept of one tweak is not taken for another's, nor one shape's for another. */
static void fields_in_turn_are_the_standards(void **state)
{
	(void)state;
	static const size_t lengths[] = {16, 11, 18, 64, 20};
	static const size_t tweaks[] = {0, 15, 16, 31, 48, 95, 96, 97, 112, 113, 200};

	for (size_t i = 0; i < 4000; i++) {
		const size_t field = i / 100 % 3 + random_below(3); /* a few at a time */
		compare(field % 2 ? 10 : 36, lengths[field],
			tweaks[(i / 300 + field) % (sizeof tweaks / sizeof *tweaks)]);
	}
}

/* --- numbers --- */

/* What `bench crypto` measures ours against is FF1 too. */
static void the_benchs_own_is_the_standards(void **state)
{
	static const size_t counts[] = {7, 16, 18, 19, 20, 35, 36, 37, 64, 1023, 1024};
	uint16_t ours[1024], theirs[1024];
	uint8_t tweak[50] = {1, 2, 3};
	struct kveil_error err;

	(void)state;
	for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
		for (uint32_t radix = 10; radix <= 62; radix += 52) {
			struct kveil_fpe_numerals n = {ours, counts[c], radix};
			struct kveil_bench_ff1 *f = kveil_bench_ff1_new(key, radix, counts[c], sizeof tweak);
			assert_non_null(f);
			for (size_t i = 0; i < n.count; i++)
				ours[i] = theirs[i] = (uint16_t)random_below(radix);
			for (uint8_t again = 0; again < 3; again++) {
				tweak[again] ^= 0x55;
				assert_true(kveil_bench_ff1_encrypt(f, tweak, theirs));
				assert_int_equal(
				    cipher->alg->fpe(cipher, true, kveil_span_of(tweak, sizeof tweak), &n, &err),
				    KVEIL_OK);
				assert_memory_equal(ours, theirs, n.count * sizeof *ours);
			}
			kveil_bench_ff1_free(f);
		}
}

static void check_number(const struct kveil_radix *r, const uint16_t *x, size_t n)
{
	static uint64_t limbs[NUMERALS_MAX / 2];
	static uint8_t bytes[BYTES_MAX + 16];
	static uint16_t back[NUMERALS_MAX];
	const size_t count = kveil_radix_limbs(r, n);

	memset(limbs, 0xa5, sizeof limbs);
	kveil_radix_join(r, x, n, limbs);
	number_of(x, n, r->radix, bytes, sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++) {
		const size_t from_end = sizeof bytes - 1 - i;
		assert_int_equal(bytes[i],
				 from_end / 8 < count ? (uint8_t)(limbs[from_end / 8] >> from_end % 8 * 8) : 0);
	}
	assert_int_equal(limbs[count + KVEIL_RADIX_ROOM], 0xa5a5a5a5a5a5a5a5);
	memset(back, 0xff, sizeof back);
	kveil_radix_split(r, limbs, back, n);
	assert_memory_equal(back, x, n * sizeof *x);
	assert_int_equal(back[n], 0xffff);
	assert_int_equal(limbs[count + KVEIL_RADIX_ROOM], 0xa5a5a5a5a5a5a5a5);
}

static void numbers_go_to_words_and_back(void **state)
{
	(void)state;
	static uint16_t x[NUMERALS_MAX];
	struct kveil_radix r;

	for (size_t i = 0; i < 1500; i++) {
		const size_t known = sizeof radixes / sizeof *radixes;
		const uint32_t radix = i < 20 * known ? radixes[i % known] : 2 + random_below(65535);
		const size_t n = 1 + random_below(i % 100 ? 150 : 2048), ones = random_below((uint32_t)n + 1);
		kveil_radix_init(&r, radix);
		assert_true(r.chunk <= (uint64_t)1 << 62 && r.chunk > ((uint64_t)1 << 62) / radix);
		for (size_t kind = 0; kind < 5; kind++) {
			/* 0…0, 9…9, 10…0 and 0…09…9 are where carries and quotients go wrong. */
			for (size_t j = 0; j < n; j++)
				x[j] = (uint16_t)(kind == 0   ? 0
						  : kind == 1 ? radix - 1
						  : kind == 2 ? j == ones
						  : kind == 3 ? (j < ones ? 0 : radix - 1)
							      : random_below(radix));
			check_number(&r, x, n);
		}
	}
}

static void powers_are_one_and_zeros(void **state)
{
	(void)state;
	static uint64_t limbs[NUMERALS_MAX / 2];
	static uint16_t back[NUMERALS_MAX];
	struct kveil_radix r;

	for (size_t i = 0; i < sizeof radixes / sizeof *radixes; i++) {
		kveil_radix_init(&r, radixes[i]);
		for (size_t n = 1; n <= 2048; n += n < 100 ? 1 : 487) {
			memset(limbs, 0, sizeof limbs);
			const size_t used = kveil_radix_power(&r, n, limbs);
			assert_true(used <= kveil_radix_limbs(&r, n) + 1 && limbs[used - 1] != 0);
			memset(limbs + used, 0, sizeof limbs - used * sizeof *limbs);
			kveil_radix_split(&r, limbs, back, n + 1);
			assert_int_equal(back[0], 1);
			for (size_t j = 1; j <= n; j++)
				assert_int_equal(back[j], 0);
		}
	}
}

static int setup(void **state)
{
	struct kveil_error err;
	EVP_CIPHER *aes_256 = EVP_CIPHER_fetch(NULL, "AES-256-ECB", NULL);

	(void)state;
	ecb = EVP_CIPHER_CTX_new();
	const bool ok = aes_256 && ecb && EVP_EncryptInit_ex2(ecb, aes_256, key, NULL, NULL) == 1;
	EVP_CIPHER_free(aes_256);
	return !ok || kveil_crypto_init(&err) != KVEIL_OK ||
	       kveil_aes_256_ff1.cipher_new(kveil_span_of(key, sizeof key), &cipher, &err) != KVEIL_OK;
}

static int teardown(void **state)
{
	(void)state;
	kveil_aes_256_ff1.cipher_free(cipher);
	EVP_CIPHER_CTX_free(ecb);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(numbers_go_to_words_and_back),      cmocka_unit_test(powers_are_one_and_zeros),
	    cmocka_unit_test(short_strings_are_the_standards),   cmocka_unit_test(random_strings_are_the_standards),
	    cmocka_unit_test(longest_strings_are_the_standards), cmocka_unit_test(fields_in_turn_are_the_standards),
	    cmocka_unit_test(the_benchs_own_is_the_standards),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What FF1 is measured against. No library here has it, so there are two: FF1 put together from a library's calls with
 * reasonable care, and the calls of AES alone, which no FF1 can go below.
 */
#include "bench/bench_baseline.h"
#include "bench/bench_internal.h"
#include "crypto/gcrypt.h"

#include <openssl/bn.h>
#include <openssl/evp.h>

__extension__ typedef unsigned __int128 u128;

enum { BLOCK = 16, ROUNDS = 10, VALUE_MAX = 1024, ROOM = VALUE_MAX + 64 };

static const uint8_t zeros[ROOM];

uint32_t kveil_bench_ff1_radix(size_t count)
{
	return count <= 16 ? 10 : 62;
}

/* --- FF1 itself --- */

/* The key's schedule and P's block are kept from value to value, numbers from round to round. */
struct kveil_bench_ff1 {
	struct kveil_gcrypt_aes *aes;
	uint32_t radix;
	size_t count, half[2], b, d, tweak_len;
	uint8_t p[BLOCK];
	BN_CTX *work;
	BIGNUM *modulus[2], *number[2], *y;
	uint64_t word[2]; /* the moduli; 0 = they are none */
};

static void put(uint8_t *at, size_t n, uint64_t x)
{
	while (n--) {
		at[n] = (uint8_t)x;
		x >>= 8;
	}
}

static bool set_moduli(struct kveil_bench_ff1 *f)
{
	bool ok = true;

	for (size_t h = 0; h < 2; h++) {
		ok = ok && BN_one(f->modulus[h]) == 1;
		for (size_t i = 0; ok && i < f->half[h]; i++)
			ok = BN_mul_word(f->modulus[h], f->radix) == 1;
		f->word[h] = BN_num_bits(f->modulus[h]) <= 62 ? BN_get_word(f->modulus[h]) : 0;
	}
	ok = ok && BN_copy(f->y, f->modulus[1]) && BN_sub_word(f->y, 1) == 1;
	f->b = (size_t)BN_num_bytes(f->y);
	f->d = (f->b + 3) / 4 * 4 + 4;
	return ok;
}

struct kveil_bench_ff1 *kveil_bench_ff1_new(const uint8_t key[32], uint32_t radix, size_t count, size_t tweak_len)
{
	struct kveil_bench_ff1 *f = calloc(1, sizeof *f);

	if (!f)
		return NULL;
	f->radix = radix;
	f->count = count;
	f->half[0] = count / 2;
	f->half[1] = count - count / 2;
	f->tweak_len = tweak_len;
	f->work = BN_CTX_new();
	f->y = BN_new();
	for (size_t h = 0; h < 2; h++) {
		f->modulus[h] = BN_new();
		f->number[h] = BN_new();
	}
	memcpy(f->p, (const uint8_t[]){1, 2, 1}, 3);
	put(f->p + 3, 3, radix);
	f->p[6] = ROUNDS;
	f->p[7] = (uint8_t)f->half[0];
	put(f->p + 8, 4, count);
	put(f->p + 12, 4, tweak_len);
	const bool made = f->work && f->y && f->modulus[0] && f->modulus[1] && f->number[0] && f->number[1];
	if (count <= VALUE_MAX && tweak_len <= ROOM && made && set_moduli(f) &&
	    kveil_gcrypt_aes_new(key, &f->aes, NULL) == KVEIL_OK && kveil_gcrypt_aes_blocks(f->aes, f->p, 1))
		return f;
	kveil_bench_ff1_free(f);
	return NULL;
}

void kveil_bench_ff1_free(struct kveil_bench_ff1 *f)
{
	if (!f)
		return;
	for (size_t h = 0; h < 2; h++) {
		BN_free(f->modulus[h]);
		BN_free(f->number[h]);
	}
	BN_free(f->y);
	BN_CTX_free(f->work);
	kveil_gcrypt_aes_free(f->aes);
	free(f);
}

/* y of one round: CBC-MAC over Q, lengthened. The other half is in q already. */
static bool y_of(struct kveil_bench_ff1 *f, uint8_t *q, size_t q_len, size_t round, uint8_t *y)
{
	const size_t more = (f->d + BLOCK - 1) / BLOCK - 1;

	q[q_len - f->b - 1] = (uint8_t)round;
	if (!kveil_gcrypt_aes_cbc_mac(f->aes, f->p, kveil_span_of(q, q_len), y))
		return false;
	for (size_t i = 1; i <= more; i++) {
		memcpy(y + i * BLOCK, y, BLOCK);
		for (size_t j = 0; j < 2; j++)
			y[(i + 1) * BLOCK - 1 - j] ^= (uint8_t)(i >> 8 * j);
	}
	return !more || kveil_gcrypt_aes_blocks(f->aes, y + BLOCK, more);
}

static bool words(struct kveil_bench_ff1 *f, uint8_t *q, size_t q_len, uint16_t *digits)
{
	uint64_t half[2] = {0, 0};
	uint8_t stream[BLOCK];

	for (size_t i = 0; i < f->count; i++)
		half[i >= f->half[0]] = half[i >= f->half[0]] * f->radix + digits[i];
	for (size_t i = 0; i < ROUNDS; i++) {
		u128 y = 0;
		put(q + q_len - f->b, f->b, half[!(i & 1)]);
		if (!y_of(f, q, q_len, i, stream))
			return false;
		for (size_t j = 0; j < f->d; j++)
			y = y << 8 | stream[j];
		const uint64_t m = f->word[i & 1], rest = f->d <= 8 ? (uint64_t)y % m : (uint64_t)(y % m);
		half[i & 1] = (half[i & 1] + rest) % m;
	}
	for (size_t i = f->count; i--; half[i >= f->half[0]] /= f->radix)
		digits[i] = (uint16_t)(half[i >= f->half[0]] % f->radix);
	return true;
}

static bool numbers(struct kveil_bench_ff1 *f, uint8_t *q, size_t q_len, uint16_t *digits)
{
	uint8_t stream[ROOM];
	bool ok = true;

	BN_zero(f->number[0]);
	BN_zero(f->number[1]);
	for (size_t i = 0; ok && i < f->count; i++) {
		BIGNUM *to = f->number[i >= f->half[0]];
		ok = BN_mul_word(to, f->radix) == 1 && BN_add_word(to, digits[i]) == 1;
	}
	for (size_t i = 0; ok && i < ROUNDS; i++) {
		BIGNUM *to = f->number[i & 1], *m = f->modulus[i & 1];
		ok = BN_bn2binpad(f->number[!(i & 1)], q + q_len - f->b, (int)f->b) == (int)f->b &&
		     y_of(f, q, q_len, i, stream) && BN_bin2bn(stream, (int)f->d, f->y) &&
		     BN_mod(f->y, f->y, m, f->work) == 1 && BN_mod_add_quick(to, to, f->y, m) == 1;
	}
	for (size_t i = f->count; ok && i--;)
		digits[i] = (uint16_t)BN_div_word(f->number[i >= f->half[0]], f->radix);
	return ok;
}

bool kveil_bench_ff1_encrypt(struct kveil_bench_ff1 *f, const uint8_t *tweak, uint16_t *digits)
{
	const size_t q_len = (f->tweak_len + 1 + f->b + BLOCK - 1) / BLOCK * BLOCK;
	uint8_t q[2 * ROOM] = {0};

	memcpy(q, tweak, f->tweak_len);
	return (f->word[1] && f->d <= BLOCK ? words : numbers)(f, q, q_len, digits);
}

uint64_t kveil_bench_ff1_whole(size_t size, size_t count)
{
	const struct kveil_span tweak = KVEIL_BENCH_AD;
	const uint32_t radix = kveil_bench_ff1_radix(size);
	struct kveil_bench_ff1 *f = kveil_bench_ff1_new(kveil_bench_key, radix, size, tweak.len);
	uint16_t digits[VALUE_MAX];
	bool ok = f != NULL;

	for (size_t i = 0; i < size; i++)
		digits[i] = (uint16_t)(i % radix);
	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++)
		ok = kveil_bench_ff1_encrypt(f, tweak.data, digits);
	uint64_t spent = kveil_bench_spent(start, ok);
	kveil_bench_ff1_free(f);
	return spent;
}

/* --- AES alone --- */

/* What SP 800-38G asks of AES for one string: blocks of the tweak, then ten times a chain of blocks and others that
 * wait for its end only. P is the same for all strings of a length. */
struct ff1_blocks {
	size_t tweak, chain, after;
};

static struct ff1_blocks ff1_blocks(size_t count)
{
	/* Logarithms to base 2, in millionths. */
	const size_t numeral = kveil_bench_ff1_radix(count) == 10 ? 3321929 : 5954197;
	const size_t bits = ((count - count / 2) * numeral + 999999) / 1000000;
	const size_t b = (bits + 7) / 8, d = (b + 3) / 4 * 4 + 4;
	const size_t q = (KVEIL_BENCH_AD.len + 1 + b + 15) / 16, tweak = (q * 16 - b - 1) / 16;

	return (struct ff1_blocks){tweak, q - tweak, (d + 15) / 16 - 1};
}

static uint64_t aes_evp(size_t size, size_t count, bool new_tweak)
{
	const struct ff1_blocks k = ff1_blocks(size);
	EVP_CIPHER_CTX *ecb = kveil_bench_evp_context("AES-256-ECB"), *cbc = kveil_bench_evp_context("AES-256-CBC");
	uint8_t chain[ROOM] = {0}, after[ROOM] = {0}, *last = chain + 16 * (k.chain - 1);
	bool ok = ecb && cbc;
	int n;

	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++) {
		if (new_tweak) {
			ok = EVP_EncryptUpdate(cbc, after, &n, zeros, (int)(16 * k.tweak)) == 1;
			memcpy(chain, after + 16 * (k.tweak - 1), 16); /* the rounds wait for it */
		}
		for (int round = 0; ok && round < 10; round++) {
			if (k.chain == 1)
				ok = EVP_EncryptUpdate(ecb, chain, &n, chain, 16) == 1;
			else
				ok = EVP_EncryptUpdate(cbc, chain, &n, chain, (int)(16 * k.chain)) == 1;
			for (size_t j = 0; j < k.after; j++)
				memcpy(after + 16 * j, last, 16);
			if (ok && k.after) {
				ok = EVP_EncryptUpdate(ecb, after, &n, after, (int)(16 * k.after)) == 1;
				memcpy(chain, after + 16 * (k.after - 1), 16);
			}
		}
	}
	uint64_t spent = kveil_bench_spent(start, ok);
	EVP_CIPHER_CTX_free(ecb);
	EVP_CIPHER_CTX_free(cbc);
	return spent;
}

static uint64_t aes_gcrypt(size_t size, size_t count, bool new_tweak)
{
	const struct ff1_blocks k = ff1_blocks(size);
	struct kveil_gcrypt_aes *aes;
	uint8_t chain[ROOM] = {0}, after[ROOM] = {0}, state[16] = {0};

	if (kveil_gcrypt_aes_new(kveil_bench_key, &aes, NULL) != KVEIL_OK)
		return 0;
	bool ok = true;
	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++) {
		if (new_tweak)
			ok = kveil_gcrypt_aes_cbc_mac(aes, state, kveil_span_of(zeros, 16 * k.tweak), state);
		for (int round = 0; ok && round < 10; round++) {
			if (k.chain == 1)
				ok = kveil_gcrypt_aes_blocks(aes, state, 1);
			else
				ok = kveil_gcrypt_aes_cbc_mac(aes, state, kveil_span_of(chain, 16 * k.chain), state);
			for (size_t j = 0; j < k.after; j++)
				memcpy(after + 16 * j, state, 16);
			if (ok && k.after) {
				ok = kveil_gcrypt_aes_blocks(aes, after, k.after);
				memcpy(state, after + 16 * (k.after - 1), 16);
			}
		}
	}
	uint64_t spent = kveil_bench_spent(start, ok);
	kveil_gcrypt_aes_free(aes);
	return spent;
}

uint64_t kveil_bench_ff1_alone_evp(size_t size, size_t count)
{
	return aes_evp(size, count, false);
}

uint64_t kveil_bench_ff1_alone_gcrypt(size_t size, size_t count)
{
	return aes_gcrypt(size, count, false);
}

uint64_t kveil_bench_ff1_alone_new_evp(size_t size, size_t count)
{
	return aes_evp(size, count, true);
}

uint64_t kveil_bench_ff1_alone_new_gcrypt(size_t size, size_t count)
{
	return aes_gcrypt(size, count, true);
}

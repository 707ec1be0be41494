/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What anybody may send as a ciphertext: algorithm (1) | length of associated data (1) | associated data | nonce |
 * sealed. It does not open, and leaves nothing behind. For FF1: digits to and fro. MACs take everything.
 */
#include "crypto/algorithm.h"
#include "crypto/crypto.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *room(size_t n)
{
	void *p = malloc(n ? n : 1);

	if (!p)
		abort();
	return p;
}

static struct kveil_cipher *cipher(size_t which)
{
	static struct kveil_cipher *ciphers[32];
	static const uint8_t key[64] = {42};
	const struct kveil_algorithm *alg = kveil_algorithms[which];
	struct kveil_error err;

	if (!ciphers[which] && (kveil_crypto_init(&err) != KVEIL_OK ||
				alg->cipher_new(kveil_span_of(key, alg->key_bytes), &ciphers[which], &err) != KVEIL_OK))
		abort();
	return ciphers[which];
}

static void check_open(struct kveil_cipher *c, struct kveil_span ad, struct kveil_span in)
{
	const struct kveil_algorithm *alg = c->alg;
	struct kveil_error err;
	size_t n;

	if (in.len < alg->nonce_bytes)
		return;
	struct kveil_span sealed = {in.data + alg->nonce_bytes, in.len - alg->nonce_bytes};
	uint8_t *out = room(sealed.len);
	enum kveil_status status = alg->open(c, in.data, ad, sealed, out, &n, &err);
	if (status != KVEIL_E_AUTHENTICATION && status != KVEIL_E_BAD_CIPHERTEXT)
		abort();
	free(out);
}

static void check_fpe(struct kveil_cipher *c, struct kveil_span tweak, struct kveil_span in)
{
	struct kveil_error err;

	if (in.len < 2)
		return;
	/* 2 to 65,536: one numeral a byte where that is enough, else two. */
	const uint32_t radix = 2u + ((uint32_t)in.data[0] << 8 | in.data[1]) % 65535u;
	const size_t width = radix <= 256 ? 1 : 2, count = (in.len - 2) / width;
	uint16_t *digits = room(count * sizeof *digits), *before = room(count * sizeof *before);
	for (size_t i = 0; i < count; i++) {
		const uint8_t *p = in.data + 2 + i * width;
		before[i] = digits[i] = (uint16_t)((width == 1 ? p[0] : (uint32_t)p[0] << 8 | p[1]) % radix);
	}
	struct kveil_fpe_numerals n = {digits, count, radix};
	enum kveil_status status = c->alg->fpe(c, true, tweak, &n, &err);
	if (status == KVEIL_OK)
		status = c->alg->fpe(c, false, tweak, &n, &err);
	else if (status != KVEIL_E_VALUE_OUT_OF_DOMAIN)
		abort();
	if (count && memcmp(digits, before, count * sizeof *digits))
		abort();
	free(digits);
	free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t rows = 0;
	uint8_t mac[64];
	struct kveil_error err;

	while (kveil_algorithms[rows])
		rows++;
	if (size < 2 || size - 2 < data[1])
		return 0;
	struct kveil_cipher *c = cipher(data[0] % rows);
	struct kveil_span ad = {data + 2, data[1]}, in = {data + 2 + data[1], size - 2 - data[1]};
	if (c->alg->kind == KVEIL_ALG_FPE)
		check_fpe(c, ad, in);
	else if (c->alg->kind == KVEIL_ALG_MAC && c->alg->mac(c, in, mac, &err) != KVEIL_OK)
		abort();
	else if (c->alg->open)
		check_open(c, ad, in);
	return 0;
}

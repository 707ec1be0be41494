/* SPDX-License-Identifier: Apache-2.0 */
/* What the bare loops share. */
#include "base/clock.h"
#include "bench/bench_internal.h"

#include <openssl/err.h>
#include <openssl/evp.h>

const uint8_t kveil_bench_key[64] = {1};

uint64_t kveil_bench_spent(uint64_t start, bool ok)
{
	uint64_t spent = kveil_clock_cpu_ns() - start;

	ERR_clear_error();
	return ok ? spent + !spent : 0;
}

EVP_CIPHER_CTX *kveil_bench_evp_context(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);
	EVP_CIPHER_CTX *c = cipher ? EVP_CIPHER_CTX_new() : NULL;
	const uint8_t iv[16] = {0};

	if (c && EVP_EncryptInit_ex2(c, cipher, kveil_bench_key, iv, NULL) != 1) {
		EVP_CIPHER_CTX_free(c);
		c = NULL;
	}
	EVP_CIPHER_free(cipher);
	ERR_clear_error();
	return c;
}

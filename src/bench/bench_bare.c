/* SPDX-License-Identifier: Apache-2.0 */
/* The bare loops of libraries that `kveil bench` holds an algorithm against. */
#include "base/clock.h"
#include "bench/bench_baseline.h"
#include "bench/bench_internal.h"
#include "crypto/gcrypt.h"
#include "crypto/rows.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

enum { VALUE_MAX = 1024, ROOM = VALUE_MAX + 64 };

static const uint8_t *const key = kveil_bench_key;
static const uint8_t value[ROOM];

/* key_each: where a context cannot take a second message without its key. */
static uint64_t evp_seal(const char *name, bool nonced, bool key_each, size_t bytes, size_t count)
{
	const struct kveil_span ad = KVEIL_BENCH_AD;
	EVP_CIPHER_CTX *c = kveil_bench_evp_context(name);
	uint8_t out[ROOM], tag[16];
	uint64_t nonce[2] = {0};
	bool ok = c != NULL;
	int n;

	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++) {
		nonce[0] = i;
		ok = EVP_EncryptInit_ex2(c, NULL, key_each ? key : NULL, nonced ? (const uint8_t *)nonce : NULL,
					 NULL) == 1 &&
		     EVP_EncryptUpdate(c, NULL, &n, ad.data, (int)ad.len) == 1 &&
		     EVP_EncryptUpdate(c, out, &n, value, (int)bytes) == 1 &&
		     EVP_EncryptFinal_ex(c, out + n, &n) == 1 &&
		     EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, sizeof tag, tag) == 1;
	}
	uint64_t spent = kveil_bench_spent(start, ok);
	EVP_CIPHER_CTX_free(c);
	return spent;
}

static EVP_MAC_CTX *mac_context(const char *digest)
{
	char name[16];
	snprintf(name, sizeof name, "%s", digest);
	const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0),
				     OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *c = mac ? EVP_MAC_CTX_new(mac) : NULL;

	EVP_MAC_free(mac);
	if (c && EVP_MAC_init(c, key, 32, params) != 1) {
		EVP_MAC_CTX_free(c);
		c = NULL;
	}
	return c;
}

static uint64_t evp_hmac(const char *digest, size_t bytes, size_t count)
{
	EVP_MAC_CTX *c = mac_context(digest);
	uint8_t out[64];
	bool ok = c != NULL;
	size_t n;

	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++)
		ok = EVP_MAC_init(c, NULL, 0, NULL) == 1 && EVP_MAC_update(c, value, bytes) == 1 &&
		     EVP_MAC_final(c, out, &n, sizeof out) == 1;
	uint64_t spent = kveil_bench_spent(start, ok);
	EVP_MAC_CTX_free(c);
	return spent;
}

static struct kveil_span value_of(size_t bytes)
{
	return kveil_span_of(value, bytes);
}

static uint64_t gcm_256_evp(size_t bytes, size_t count)
{
	return evp_seal("AES-256-GCM", true, false, bytes, count);
}

static uint64_t gcm_128_evp(size_t bytes, size_t count)
{
	return evp_seal("AES-128-GCM", true, false, bytes, count);
}

static uint64_t sm4_gcm_evp(size_t bytes, size_t count)
{
	return evp_seal("SM4-GCM", true, false, bytes, count);
}

static uint64_t siv_evp(size_t bytes, size_t count)
{
	return evp_seal("AES-256-SIV", false, true, bytes, count);
}

static uint64_t gcm_256_gcrypt(size_t bytes, size_t count)
{
	uint8_t out[ROOM];
	return kveil_gcrypt_bare_seal(KVEIL_GCRYPT_AES_GCM, 32, KVEIL_BENCH_AD, value_of(bytes), out, count);
}

static uint64_t gcm_128_gcrypt(size_t bytes, size_t count)
{
	uint8_t out[ROOM];
	return kveil_gcrypt_bare_seal(KVEIL_GCRYPT_AES_GCM, 16, KVEIL_BENCH_AD, value_of(bytes), out, count);
}

static uint64_t sm4_gcm_gcrypt(size_t bytes, size_t count)
{
	uint8_t out[ROOM];
	return kveil_gcrypt_bare_seal(KVEIL_GCRYPT_SM4_GCM, 16, KVEIL_BENCH_AD, value_of(bytes), out, count);
}

static uint64_t siv_gcrypt(size_t bytes, size_t count)
{
	uint8_t out[ROOM];
	return kveil_gcrypt_bare_seal(KVEIL_GCRYPT_AES_SIV, 64, KVEIL_BENCH_AD, value_of(bytes), out, count);
}

static uint64_t gcm_siv_gcrypt(size_t bytes, size_t count)
{
	uint8_t out[ROOM];
	return kveil_gcrypt_bare_seal(KVEIL_GCRYPT_AES_GCM_SIV, 32, KVEIL_BENCH_AD, value_of(bytes), out, count);
}

static uint64_t sha256_evp(size_t bytes, size_t count)
{
	return evp_hmac("SHA256", bytes, count);
}

static uint64_t sha512_evp(size_t bytes, size_t count)
{
	return evp_hmac("SHA512", bytes, count);
}

static uint64_t sm3_evp(size_t bytes, size_t count)
{
	return evp_hmac("SM3", bytes, count);
}

static uint64_t sha256_gcrypt(size_t bytes, size_t count)
{
	return kveil_gcrypt_bare_hmac(KVEIL_GCRYPT_SHA256, value_of(bytes), count);
}

static uint64_t sha512_gcrypt(size_t bytes, size_t count)
{
	return kveil_gcrypt_bare_hmac(KVEIL_GCRYPT_SHA512, value_of(bytes), count);
}

static uint64_t sm3_gcrypt(size_t bytes, size_t count)
{
	return kveil_gcrypt_bare_hmac(KVEIL_GCRYPT_SM3, value_of(bytes), count);
}

/* PKCS #7 makes a block more of whole blocks. */
static size_t padded(size_t bytes)
{
	return bytes / 16 * 16 + 16;
}

static uint64_t sm4_cbc_gcrypt(size_t bytes, size_t count)
{
	uint8_t out[ROOM];
	return kveil_gcrypt_bare_sm4_cbc_hmac(KVEIL_BENCH_AD, value_of(padded(bytes)), out, count);
}

static uint64_t sm4_cbc_evp(size_t bytes, size_t count)
{
	const struct kveil_span ad = KVEIL_BENCH_AD;
	EVP_CIPHER_CTX *c = kveil_bench_evp_context("SM4-CBC");
	EVP_MAC_CTX *m = mac_context("SM3");
	uint8_t out[ROOM];
	uint64_t iv[2] = {0};
	const uint8_t lengths[16] = {0};
	bool ok = c && m;
	size_t tag;
	int n, last;

	uint64_t start = kveil_clock_cpu_ns();
	for (size_t i = 0; ok && i < count; i++) {
		iv[0] = i;
		ok = EVP_EncryptInit_ex2(c, NULL, NULL, (const uint8_t *)iv, NULL) == 1 &&
		     EVP_EncryptUpdate(c, out, &n, value, (int)bytes) == 1 &&
		     EVP_EncryptFinal_ex(c, out + n, &last) == 1 && EVP_MAC_init(m, NULL, 0, NULL) == 1 &&
		     EVP_MAC_update(m, ad.data, ad.len) == 1 &&
		     EVP_MAC_update(m, (const uint8_t *)iv, sizeof iv) == 1 &&
		     EVP_MAC_update(m, out, (size_t)(n + last)) == 1 &&
		     EVP_MAC_update(m, lengths, sizeof lengths) == 1 && EVP_MAC_final(m, out + n + last, &tag, 32) == 1;
	}
	uint64_t spent = kveil_bench_spent(start, ok);
	EVP_CIPHER_CTX_free(c);
	EVP_MAC_CTX_free(m);
	return spent;
}

const struct kveil_bench_row kveil_bench_rows[] = {
    {&kveil_aes_256_gcm, {{"EVP", gcm_256_evp}, {"libgcrypt", gcm_256_gcrypt}}},
    {&kveil_aes_128_gcm, {{"EVP", gcm_128_evp}, {"libgcrypt", gcm_128_gcrypt}}},
    {&kveil_sm4_gcm, {{"EVP", sm4_gcm_evp}, {"libgcrypt", sm4_gcm_gcrypt}}},
    {&kveil_sm4_cbc_hmac_sm3, {{"EVP", sm4_cbc_evp}, {"libgcrypt", sm4_cbc_gcrypt}}},
    {&kveil_aes_256_siv, {{"EVP", siv_evp}, {"libgcrypt", siv_gcrypt}}},
    {&kveil_aes_256_gcm_siv, {{"libgcrypt", gcm_siv_gcrypt}}},
    {&kveil_aes_256_ff1, {{"libgcrypt, BIGNUM", kveil_bench_ff1_whole}}},
    {&kveil_aes_256_ff1, {{"libgcrypt, BIGNUM", kveil_bench_ff1_whole}}, .new_tweak = true},
    {&kveil_aes_256_ff1,
     {{"AES alone, EVP", kveil_bench_ff1_alone_evp}, {"AES alone, libgcrypt", kveil_bench_ff1_alone_gcrypt}}},
    {&kveil_aes_256_ff1,
     {{"AES alone, EVP", kveil_bench_ff1_alone_new_evp}, {"AES alone, libgcrypt", kveil_bench_ff1_alone_new_gcrypt}},
     .new_tweak = true},
    {&kveil_hmac_sha_256, {{"EVP", sha256_evp}, {"libgcrypt", sha256_gcrypt}}},
    {&kveil_hmac_sha_512, {{"EVP", sha512_evp}, {"libgcrypt", sha512_gcrypt}}},
    {&kveil_hmac_sm3, {{"EVP", sm3_evp}, {"libgcrypt", sm3_gcrypt}}},
    {0},
};

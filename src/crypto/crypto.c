/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up, random bytes, key wrapping and derivation. */
#include "crypto/crypto.h"

#include "base/secret.h"
#include "crypto/gcrypt.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

/* OpenSSL keeps a queue of errors a thread; none of ours must meet the next caller. */
static enum kveil_status fail(struct kveil_error *err, const char *what)
{
	ERR_clear_error();
	return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: %s failed", what);
}

enum kveil_status kveil_crypto_init(struct kveil_error *err)
{
	if (!OPENSSL_init_crypto(0, NULL))
		return fail(err, "initialisation");
	kveil_gcrypt_init();
	return KVEIL_OK;
}

enum kveil_status kveil_crypto_random(void *out, size_t n, struct kveil_error *err)
{
	uint8_t *p = out;

	while (n) {
		int part = n > INT_MAX ? INT_MAX : (int)n;
		if (RAND_priv_bytes(p, part) != 1)
			return fail(err, "random generator");
		p += part;
		n -= (size_t)part;
	}
	return KVEIL_OK;
}

static EVP_CIPHER_CTX *kwp_context(const uint8_t kek[32], int enc)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();

	if (!c)
		return NULL;
	EVP_CIPHER_CTX_set_flags(c, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_CipherInit_ex(c, EVP_aes_256_wrap_pad(), NULL, kek, NULL, enc) != 1) {
		EVP_CIPHER_CTX_free(c);
		return NULL;
	}
	return c;
}

enum kveil_status kveil_crypto_kwp_wrap(const uint8_t kek[32], struct kveil_span plain, uint8_t *wrapped,
					size_t *ret_len, struct kveil_error *err)
{
	int n = 0;

	if (plain.len == 0 || plain.len > INT_MAX - 16)
		return kveil_fail(err, KVEIL_E_INTERNAL, "cannot wrap %zu bytes", plain.len);
	const size_t want = (plain.len + 7) / 8 * 8 + 8;
	EVP_CIPHER_CTX *c = kwp_context(kek, 1);
	bool ok = c && EVP_CipherUpdate(c, wrapped, &n, plain.data, (int)plain.len) == 1 && (size_t)n == want;
	EVP_CIPHER_CTX_free(c);
	if (!ok)
		return fail(err, "key wrap");
	*ret_len = want;
	return KVEIL_OK;
}

enum kveil_status kveil_crypto_kwp_unwrap(const uint8_t kek[32], struct kveil_span wrapped, uint8_t *plain,
					  size_t *ret_len, struct kveil_error *err)
{
	int n = 0;

	/* RFC 5649 makes multiples of 8 bytes, two at least. */
	if (wrapped.len < 16 || wrapped.len % 8 || wrapped.len > INT_MAX)
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "%zu bytes are not a wrapped key", wrapped.len);
	EVP_CIPHER_CTX *c = kwp_context(kek, 0);
	if (!c)
		return fail(err, "key unwrap");
	bool ok = EVP_CipherUpdate(c, plain, &n, wrapped.data, (int)wrapped.len) == 1 && n > 0 &&
		  (size_t)n <= wrapped.len - 8;
	EVP_CIPHER_CTX_free(c);
	if (!ok) {
		ERR_clear_error();
		kveil_secret_wipe(plain, wrapped.len);
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "the wrapped key does not open with this key-encryption key");
	}
	/* Padding may lie beyond the key. */
	kveil_secret_wipe(plain + n, wrapped.len - (size_t)n);
	*ret_len = (size_t)n;
	return KVEIL_OK;
}

/* As OpenSSL calls them. A build without SM3 fails when it is asked for it. */
static const char *const hash_names[] = {[KVEIL_SHA_256] = "SHA256", [KVEIL_SM3] = "SM3"};

enum kveil_status kveil_crypto_hkdf(enum kveil_hash hash, struct kveil_span key, const char *label, uint8_t *out,
				    size_t n, struct kveil_error *err)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	EVP_KDF_CTX *c = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	/* The casts drop const: OSSL_PARAM has one type for what it reads and what it writes. */
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)(uintptr_t)hash_names[hash], 0),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)key.data, key.len),
	    OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)label, strlen(label)),
	    OSSL_PARAM_construct_end(),
	};

	bool ok = c && EVP_KDF_derive(c, out, n, params) == 1;
	EVP_KDF_CTX_free(c);
	EVP_KDF_free(kdf);
	if (!ok) {
		kveil_secret_wipe(out, n);
		return fail(err, "HKDF");
	}
	return KVEIL_OK;
}

enum kveil_status kveil_crypto_scrypt(struct kveil_span passphrase, struct kveil_span salt, uint64_t n, uint32_t r,
				      uint32_t p, uint8_t *out, size_t len, struct kveil_error *err)
{
	/* Beside the table of n blocks: one block for each of p, and a little of OpenSSL's own. */
	const uint64_t memory = 128 * (uint64_t)r * (n + p + 2) + 4096;

	if (EVP_PBE_scrypt(passphrase.len ? (const char *)passphrase.data : "", passphrase.len,
			   salt.len ? salt.data : (const uint8_t *)"", salt.len, n, r, p, memory, out, len) != 1) {
		kveil_secret_wipe(out, len);
		return fail(err, "scrypt");
	}
	return KVEIL_OK;
}

static bool hmac_sha256(struct kveil_span key, struct kveil_span in, uint8_t out[32])
{
	unsigned n = 0;

	return HMAC(EVP_sha256(), key.data, (int)key.len, in.data, in.len, out, &n) && n == 32;
}

/* Not by EVP_sm3(), which a build without SM3 does not have. */
static bool hmac_sm3(struct kveil_span key, struct kveil_span in, uint8_t out[32])
{
	size_t n = 0;

	return EVP_Q_mac(NULL, "HMAC", NULL, hash_names[KVEIL_SM3], NULL, key.data, key.len, in.data, in.len, out, 32,
			 &n) &&
	       n == 32;
}

enum kveil_status kveil_crypto_hmac(enum kveil_hash hash, struct kveil_span key, struct kveil_span in, uint8_t out[32],
				    struct kveil_error *err)
{
	if (key.len > INT_MAX)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a key of %zu bytes", key.len);
	if (key.len == 0)
		key = kveil_span_of("", 0);
	if (hash == KVEIL_SM3)
		return hmac_sm3(key, in, out) ? KVEIL_OK : fail(err, "HMAC-SM3");
	return hmac_sha256(key, in, out) ? KVEIL_OK : fail(err, "HMAC-SHA-256");
}

enum kveil_status kveil_crypto_sha256(struct kveil_span in, uint8_t out[32], struct kveil_error *err)
{
	unsigned n = 0;

	if (EVP_Digest(in.data, in.len, out, &n, EVP_sha256(), NULL) != 1 || n != 32)
		return fail(err, "SHA-256");
	return KVEIL_OK;
}

const char *kveil_crypto_openssl_version(void)
{
	return OpenSSL_version(OPENSSL_VERSION_STRING);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encrypt-then-MAC out of what older SM libraries have: SM4 in CBC mode (GB/T 17964) with PKCS #7 padding, HMAC-SM3.
 *
 *   key     SM4 key (16) | HMAC key (32)
 *   sealed  IV (16), drawn at random | ciphertext | MAC (32)
 *   MAC     over  associated data | IV | ciphertext | bits of associated data (8, big-endian) | bits of IV and
 *           ciphertext (8, big-endian)
 *
 * The MAC is checked before anything is deciphered, so padding tells nothing. The lengths keep associated data and
 * ciphertext from being shifted into one another (as RFC 7518 5.2 does). SM4 is OpenSSL's, a fifth faster in CBC than
 * libgcrypt's; its key schedule is in OpenSSL's heap, wiped when freed but not locked.
 */
#include "base/secret.h"
#include "crypto/gcrypt.h"
#include "crypto/rows.h"

#include <endian.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>

enum { BLOCK = 16, CIPHER_KEY = 16, MAC = 32 };

struct sm4_cbc {
	struct kveil_cipher base;
	EVP_CIPHER_CTX *encrypt, *decrypt;
	struct kveil_gcrypt_mac *mac;
};

static const char *library(void)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "SM4-CBC", NULL);

	ERR_clear_error();
	EVP_CIPHER_free(cipher);
	return cipher ? "OpenSSL (SM4), libgcrypt (SM3)" : NULL;
}

static void cipher_free(struct kveil_cipher *c)
{
	struct sm4_cbc *s = (struct sm4_cbc *)c;

	if (!s)
		return;
	EVP_CIPHER_CTX_free(s->encrypt);
	EVP_CIPHER_CTX_free(s->decrypt);
	kveil_gcrypt_hmac_free(s->mac);
	free(s);
}

static bool contexts_init(struct sm4_cbc *s, const uint8_t *key)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, "SM4-CBC", NULL);

	s->encrypt = EVP_CIPHER_CTX_new();
	s->decrypt = EVP_CIPHER_CTX_new();
	bool ok = cipher && s->encrypt && s->decrypt && EVP_EncryptInit_ex2(s->encrypt, cipher, key, NULL, NULL) == 1 &&
		  EVP_DecryptInit_ex2(s->decrypt, cipher, key, NULL, NULL) == 1;
	EVP_CIPHER_free(cipher); /* the contexts hold their own references */
	return ok;
}

static enum kveil_status fail(struct kveil_error *err, const char *what)
{
	ERR_clear_error();
	return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: SM4-CBC: %s failed", what);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	if (key.len != kveil_sm4_cbc_hmac_sm3.key_bytes)
		return kveil_fail(err, KVEIL_E_INTERNAL, "%s: a key of %zu bytes", kveil_sm4_cbc_hmac_sm3.name,
				  key.len);
	struct sm4_cbc *s = calloc(1, sizeof *s);
	if (!s)
		return kveil_no_memory(err, "a key's context");
	s->base.alg = &kveil_sm4_cbc_hmac_sm3;
	enum kveil_status status =
	    kveil_gcrypt_hmac_sm3_new(kveil_span_of(key.data + CIPHER_KEY, key.len - CIPHER_KEY), &s->mac, err);
	if (status == KVEIL_OK && !contexts_init(s, key.data))
		status = fail(err, "key set-up");
	if (status != KVEIL_OK) {
		cipher_free(&s->base);
		return status;
	}
	*ret = &s->base;
	return KVEIL_OK;
}

static void authenticate(struct sm4_cbc *s, const uint8_t *iv, struct kveil_span ad, struct kveil_span text,
			 uint8_t mac[MAC])
{
	const uint64_t bits[2] = {htobe64((uint64_t)ad.len * 8), htobe64(((uint64_t)text.len + BLOCK) * 8)};

	kveil_gcrypt_hmac(
	    s->mac, (const struct kveil_span[]){ad, kveil_span_of(iv, BLOCK), text, kveil_span_of(bits, sizeof bits)},
	    4, mac);
}

static enum kveil_status seal(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad, struct kveil_span in,
			      uint8_t *out, size_t *ret_len, struct kveil_error *err)
{
	struct sm4_cbc *s = (struct sm4_cbc *)c;
	int n = 0, last = 0;

	if (in.len > INT_MAX - BLOCK)
		return kveil_fail(err, KVEIL_E_TOO_LARGE, "%zu bytes are too many for one ciphertext", in.len);
	if (EVP_EncryptInit_ex2(s->encrypt, NULL, NULL, nonce, NULL) != 1 ||
	    (in.len && EVP_EncryptUpdate(s->encrypt, out, &n, in.data, (int)in.len) != 1) ||
	    EVP_EncryptFinal_ex(s->encrypt, out + n, &last) != 1)
		return fail(err, "encryption");
	const size_t len = (size_t)n + (size_t)last;
	authenticate(s, nonce, ad, kveil_span_of(out, len), out + len);
	*ret_len = len + MAC;
	return KVEIL_OK;
}

static enum kveil_status open(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad, struct kveil_span in,
			      uint8_t *out, size_t *ret_len, struct kveil_error *err)
{
	struct sm4_cbc *s = (struct sm4_cbc *)c;
	uint8_t mac[MAC];
	int n = 0, last = 0;

	if (in.len < BLOCK + MAC || in.len % BLOCK || in.len > INT_MAX)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "%zu bytes are not blocks and a MAC", in.len);
	const size_t len = in.len - MAC;
	authenticate(s, nonce, ad, kveil_span_of(in.data, len), mac);
	if (!kveil_secret_eq(mac, in.data + len, MAC))
		return kveil_fail(err, KVEIL_E_AUTHENTICATION, "the MAC does not fit");
	if (EVP_DecryptInit_ex2(s->decrypt, NULL, NULL, nonce, NULL) != 1 ||
	    EVP_DecryptUpdate(s->decrypt, out, &n, in.data, (int)len) != 1) {
		kveil_secret_wipe(out, in.len);
		return fail(err, "decryption");
	}
	if (EVP_DecryptFinal_ex(s->decrypt, out + n, &last) != 1) {
		kveil_secret_wipe(out, in.len);
		ERR_clear_error();
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "authentic, but not padded as PKCS #7 says");
	}
	*ret_len = (size_t)n + (size_t)last;
	return KVEIL_OK;
}

const struct kveil_algorithm kveil_sm4_cbc_hmac_sm3 = {
    .name = "sm4-cbc-hmac-sm3",
    .wire_id = 4,
    .kind = KVEIL_ALG_AEAD,
    .key_bytes = CIPHER_KEY + 32,
    .nonce_bytes = BLOCK,
    .nonce_is_random = true,
    .overhead_bytes = BLOCK + MAC,
    .is_sm = true,
    .standard = "GB/T 17964, GB/T 15852.2",
    .help = "encrypt-then-MAC for consumers whose SM library has no GCM: slower and 36 bytes longer than sm4-gcm",
    .library = library,
    .cipher_new = cipher_new,
    .cipher_free = cipher_free,
    .seal = seal,
    .open = open,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Authenticated ciphers by OpenSSL. */
#include "crypto/evp_aead.h"

#include "base/secret.h"

#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>

enum { NONCE = 12, TAG = 16 };

/* An EVP_CIPHER_CTX is what this type stands for; the header need not include openssl. */
static EVP_CIPHER_CTX *context(struct kveil_evp_aead *e)
{
	return (EVP_CIPHER_CTX *)e;
}

bool kveil_evp_aead_has(const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);

	ERR_clear_error();
	EVP_CIPHER_free(cipher);
	return cipher != NULL;
}

static enum kveil_status fail(struct kveil_error *err, const char *what)
{
	ERR_clear_error();
	return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: %s failed", what);
}

enum kveil_status kveil_evp_aead_new(const char *name, struct kveil_span key, struct kveil_evp_aead **ret,
				     struct kveil_error *err)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(NULL, name, NULL);

	if (!cipher) {
		ERR_clear_error();
		return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this machine's libraries do not have %s", name);
	}
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	bool ok = c && EVP_CIPHER_get_key_length(cipher) == (int)key.len &&
		  EVP_EncryptInit_ex2(c, cipher, key.data, NULL, NULL) == 1 && EVP_CIPHER_CTX_get_iv_length(c) == NONCE;

	EVP_CIPHER_free(cipher); /* the context holds its own reference */
	if (!ok) {
		EVP_CIPHER_CTX_free(c);
		return fail(err, name);
	}
	*ret = (struct kveil_evp_aead *)c;
	return KVEIL_OK;
}

void kveil_evp_aead_free(struct kveil_evp_aead *e)
{
	EVP_CIPHER_CTX_free(context(e));
}

enum kveil_status kveil_evp_aead_seal(struct kveil_evp_aead *e, const uint8_t *nonce, struct kveil_span ad,
				      struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	EVP_CIPHER_CTX *c = context(e);
	int n;

	if (in.len > INT_MAX - TAG || ad.len > INT_MAX)
		return kveil_fail(err, KVEIL_E_TOO_LARGE, "%zu bytes are too many for one ciphertext", in.len);
	if (EVP_EncryptInit_ex2(c, NULL, NULL, nonce, NULL) == 1 &&
	    (ad.len == 0 || EVP_EncryptUpdate(c, NULL, &n, ad.data, (int)ad.len) == 1) &&
	    (in.len == 0 || EVP_EncryptUpdate(c, out, &n, in.data, (int)in.len) == 1) &&
	    EVP_EncryptFinal_ex(c, out + in.len, &n) == 1 &&
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, TAG, out + in.len) == 1)
		return KVEIL_OK;
	kveil_secret_wipe(out, in.len + TAG);
	return fail(err, "encryption");
}

enum kveil_status kveil_evp_aead_open(struct kveil_evp_aead *e, const uint8_t *nonce, struct kveil_span ad,
				      struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	EVP_CIPHER_CTX *c = context(e);
	uint8_t tag[TAG];
	int n;

	if (in.len < TAG)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "shorter than an authentication tag");
	if (in.len > INT_MAX || ad.len > INT_MAX)
		return kveil_fail(err, KVEIL_E_BAD_CIPHERTEXT, "%zu bytes are too many for one ciphertext", in.len);
	const size_t len = in.len - TAG;
	memcpy(tag, in.data + len, TAG);
	if (EVP_DecryptInit_ex2(c, NULL, NULL, nonce, NULL) != 1 ||
	    (ad.len && EVP_DecryptUpdate(c, NULL, &n, ad.data, (int)ad.len) != 1) ||
	    (len && EVP_DecryptUpdate(c, out, &n, in.data, (int)len) != 1) ||
	    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, TAG, tag) != 1) {
		kveil_secret_wipe(out, len);
		return fail(err, "decryption");
	}
	if (EVP_DecryptFinal_ex(c, out + len, &n) != 1) {
		ERR_clear_error();
		kveil_secret_wipe(out, len);
		return kveil_fail(err, KVEIL_E_AUTHENTICATION, "the authentication tag does not fit");
	}
	return KVEIL_OK;
}

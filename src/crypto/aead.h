/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/aead.h: what the rows of AES-GCM, SM4-GCM, AES-GCM-SIV and AES-SIV share: a tag of 16 bytes, and one of
 * several implementations, chosen when the key is made.
 */
#ifndef KVEIL_CRYPTO_AEAD_H
#define KVEIL_CRYPTO_AEAD_H

#include "crypto/algorithm.h"
#include "crypto/gcrypt.h"

struct kveil_aead_choice {
	enum kveil_gcrypt_aead gcrypt;
	const char *evp;    /* OpenSSL's name, or NULL: libgcrypt's only */
	bool openssl_first; /* else libgcrypt's where both have it */
	bool is_aes_gcm;    /* aes_gcm_x86.h where that may be used */
};

/* As kveil_algorithm.library. */
const char *kveil_aead_library(const struct kveil_aead_choice *choice);
enum kveil_status kveil_aead_new(const struct kveil_algorithm *alg, const struct kveil_aead_choice *choice,
				 struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err);
void kveil_aead_free(struct kveil_cipher *c);
bool kveil_aead_rekey(struct kveil_cipher *c, struct kveil_span key);
enum kveil_status kveil_aead_seal(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err);
enum kveil_status kveil_aead_open(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err);

#endif

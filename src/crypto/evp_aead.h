/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/evp_aead.h: GCM-like AEADs by OpenSSL's EVP, with the context and key schedule kept. Nonce 12 bytes, tag 16.
 * A context belongs to one thread. OpenSSL keeps the key schedule in its own heap (wiped when freed).
 */
#ifndef KVEIL_CRYPTO_EVP_AEAD_H
#define KVEIL_CRYPTO_EVP_AEAD_H

#include "kveil/base.h"

struct kveil_evp_aead;

/* name: "AES-256-GCM", "SM4-GCM", as EVP_CIPHER_fetch knows them. */
bool kveil_evp_aead_has(const char *name);
enum kveil_status kveil_evp_aead_new(const char *name, struct kveil_span key, struct kveil_evp_aead **ret,
				     struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_evp_aead_free(struct kveil_evp_aead *e); /* NULL is fine */
/* As kveil_gcrypt_seal and kveil_gcrypt_open. */
enum kveil_status kveil_evp_aead_seal(struct kveil_evp_aead *e, const uint8_t *nonce, struct kveil_span ad,
				      struct kveil_span in, uint8_t *out, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_evp_aead_open(struct kveil_evp_aead *e, const uint8_t *nonce, struct kveil_span ad,
				      struct kveil_span in, uint8_t *out, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

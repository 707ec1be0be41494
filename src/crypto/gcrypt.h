/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/gcrypt.h: the AEADs that libgcrypt does better or that older OpenSSL lacks. gcrypt.h itself is included in
 * gcrypt.c alone. Each call is one whole message; a context belongs to one thread. A tag is 16 bytes.
 *
 * libgcrypt's memory is ours: every context with its key schedule lies in kveil_secret_alloc_schedule.
 */
#ifndef KVEIL_CRYPTO_GCRYPT_H
#define KVEIL_CRYPTO_GCRYPT_H

#include "kveil/base.h"

enum kveil_gcrypt_aead {
	KVEIL_GCRYPT_AES_GCM, /* by the key's length: AES-128 or AES-256 */
	KVEIL_GCRYPT_SM4_GCM,
	KVEIL_GCRYPT_AES_GCM_SIV,
	KVEIL_GCRYPT_AES_SIV, /* no nonce; the tag (the SIV) stands in front; one component of associated data */
	KVEIL_GCRYPT_AEAD_COUNT,
};

enum { KVEIL_GCRYPT_NONCE = 12, KVEIL_GCRYPT_TAG = 16 };

struct kveil_gcrypt; /* one key's context */

/* Idempotent; everything below calls it. */
void kveil_gcrypt_init(void);
const char *kveil_gcrypt_version(void);
bool kveil_gcrypt_fips(void); /* is it in FIPS mode */

/* Has this libgcrypt the algorithm, allowed (FIPS mode refuses chosen nonces) and giving the right bytes? Tried once.
 */
bool kveil_gcrypt_has(enum kveil_gcrypt_aead aead);

enum kveil_status kveil_gcrypt_new(enum kveil_gcrypt_aead aead, struct kveil_span key, struct kveil_gcrypt **ret,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
bool kveil_gcrypt_rekey(struct kveil_gcrypt *g, struct kveil_span key);
void kveil_gcrypt_free(struct kveil_gcrypt *g); /* wipes; NULL is fine */

/* Writes in.len bytes of ciphertext and the tag behind them, or before them if it is a SIV. */
enum kveil_status kveil_gcrypt_seal(struct kveil_gcrypt *g, const uint8_t *nonce, struct kveil_span ad,
				    struct kveil_span in, uint8_t *out, struct kveil_error *err) KVEIL_MUST_CHECK;
/* in is what seal wrote. KVEIL_E_AUTHENTICATION: out is wiped. */
enum kveil_status kveil_gcrypt_open(struct kveil_gcrypt *g, const uint8_t *nonce, struct kveil_span ad,
				    struct kveil_span in, uint8_t *out, struct kveil_error *err) KVEIL_MUST_CHECK;

/* AES-256 in blocks, for FF1. */
struct kveil_gcrypt_aes;
bool kveil_gcrypt_aes_available(void);
enum kveil_status kveil_gcrypt_aes_new(const uint8_t key[32], struct kveil_gcrypt_aes **ret,
				       struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_gcrypt_aes_free(struct kveil_gcrypt_aes *a); /* wipes; NULL is fine */
/* Enciphers each block for itself, in place. false: the library failed. */
bool kveil_gcrypt_aes_blocks(struct kveil_gcrypt_aes *a, uint8_t *blocks, size_t count) KVEIL_MUST_CHECK;
/* AES-CBC-MAC of whole blocks, going on from a state. */
bool kveil_gcrypt_aes_cbc_mac(struct kveil_gcrypt_aes *a, const uint8_t start[16], struct kveil_span in,
			      uint8_t mac[16]) KVEIL_MUST_CHECK;

/* HMAC-SM3 with the key's states kept. */
struct kveil_gcrypt_mac;
enum kveil_status kveil_gcrypt_hmac_sm3_new(struct kveil_span key, struct kveil_gcrypt_mac **ret,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_gcrypt_hmac_free(struct kveil_gcrypt_mac *m); /* wipes; NULL is fine */
/* Of the parts one after the other. Cannot fail. */
void kveil_gcrypt_hmac(struct kveil_gcrypt_mac *m, const struct kveil_span *parts, size_t count, uint8_t out[32]);

/* For bench_baseline.c: count messages of in.len bytes by the library's calls alone, with the key and the context made
 * beforehand. Nanoseconds of this thread's CPU; 0 when the library does not have it. */
enum kveil_gcrypt_hash { KVEIL_GCRYPT_SHA256, KVEIL_GCRYPT_SHA512, KVEIL_GCRYPT_SM3 };
uint64_t kveil_gcrypt_bare_seal(enum kveil_gcrypt_aead aead, size_t key_bytes, struct kveil_span ad,
				struct kveil_span in, uint8_t *out, size_t count);
uint64_t kveil_gcrypt_bare_hmac(enum kveil_gcrypt_hash hash, struct kveil_span in, size_t count);
/* SM4-CBC of whole blocks, then HMAC-SM3 over all. */
uint64_t kveil_gcrypt_bare_sm4_cbc_hmac(struct kveil_span ad, struct kveil_span in, uint8_t *out, size_t count);

#endif

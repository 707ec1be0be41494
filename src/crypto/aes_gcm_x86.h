/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/aes_gcm_x86.h: AES-GCM (NIST SP 800-38D) with the instructions that x86-64 has for it, AES-NI and PCLMULQDQ.
 * Nonce 12 bytes, tag 16. It exists for short values: 16 bytes take a quarter of the time of the fastest library here;
 * from some 600 bytes on libgcrypt is faster (docs/cipher-cost.md).
 *
 * No branch and no address depends on a key or a plaintext, only on lengths. A context lies in
 * kveil_secret_alloc_schedule and belongs to one thread.
 */
#ifndef KVEIL_CRYPTO_AES_GCM_X86_H
#define KVEIL_CRYPTO_AES_GCM_X86_H

#include "kveil/base.h"

enum { KVEIL_GCM_X86_SHORT = 512 }; /* bytes up to which it is faster than libgcrypt's, and tests itself */

struct kveil_gcm_x86; /* one key, ready for use */

/*
 * May it be used? Not without the instructions; not in FIPS mode of OpenSSL or libgcrypt; not with KVEIL_LIBRARY_GCM=1
 * in the environment, for those who may run AES-GCM of a library only; and not if one of some 1,000 messages of 0 to
 * 512 bytes differs from what OpenSSL makes of it. Tried once.
 */
bool kveil_gcm_x86_has(void);

/* key: 16 or 32 bytes. NULL: no memory. */
struct kveil_gcm_x86 *kveil_gcm_x86_new(struct kveil_span key);
void kveil_gcm_x86_rekey(struct kveil_gcm_x86 *g, struct kveil_span key);
void kveil_gcm_x86_free(struct kveil_gcm_x86 *g); /* wipes; NULL is fine */
/* The key's bytes, while g lasts. NULL: a fork wiped them, and nothing is sealed or opened (KVEIL_E_INTERNAL). */
const uint8_t *kveil_gcm_x86_key(const struct kveil_gcm_x86 *g);

/* As kveil_gcrypt_seal and kveil_gcrypt_open: in and out must not overlap, and out has room for in.len + 16, or for
 * in.len. */
enum kveil_status kveil_gcm_x86_seal(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
				     struct kveil_span in, uint8_t *out, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_gcm_x86_open(const struct kveil_gcm_x86 *g, const uint8_t *nonce, struct kveil_span ad,
				     struct kveil_span in, uint8_t *out, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

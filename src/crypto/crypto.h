/* SPDX-License-Identifier: Apache-2.0 */
/* crypto/crypto.h: primitives that are not a field's algorithm: randomness, key wrapping, key derivation, digests. */
#ifndef KVEIL_CRYPTO_CRYPTO_H
#define KVEIL_CRYPTO_CRYPTO_H

#include "kveil/base.h"

/* Once, before any thread starts: libgcrypt and OpenSSL set-up. */
enum kveil_status kveil_crypto_init(struct kveil_error *err) KVEIL_MUST_CHECK;

const char *kveil_crypto_openssl_version(void); /* "3.0.11" */

/* From the operating system's generator by way of OpenSSL. */
enum kveil_status kveil_crypto_random(void *out, size_t n, struct kveil_error *err) KVEIL_MUST_CHECK;

/* AES-256-KWP (RFC 5649). wrapped has room for plain.len rounded up to 8, plus 8. */
enum kveil_status kveil_crypto_kwp_wrap(const uint8_t kek[32], struct kveil_span plain, uint8_t *wrapped,
					size_t *ret_len, struct kveil_error *err) KVEIL_MUST_CHECK;
/* KVEIL_E_WRONG_KEK when the integrity check fails. plain has room for wrapped.len. */
enum kveil_status kveil_crypto_kwp_unwrap(const uint8_t kek[32], struct kveil_span wrapped, uint8_t *plain,
					  size_t *ret_len, struct kveil_error *err) KVEIL_MUST_CHECK;

/* Hashes of 32 bytes. The numbers stand in registries' payloads (registry/registry_root.h). */
enum kveil_hash { KVEIL_SHA_256 = 0, KVEIL_SM3 = 1 };

/* HKDF (RFC 5869) of this hash, empty salt; label keeps purposes apart. */
enum kveil_status kveil_crypto_hkdf(enum kveil_hash hash, struct kveil_span key, const char *label, uint8_t *out,
				    size_t n, struct kveil_error *err) KVEIL_MUST_CHECK;
/* scrypt (RFC 7914); n is a power of 2. Takes 128 * n * r bytes of memory while it runs, which OpenSSL wipes. */
enum kveil_status kveil_crypto_scrypt(struct kveil_span passphrase, struct kveil_span salt, uint64_t n, uint32_t r,
				      uint32_t p, uint8_t *out, size_t len, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_crypto_hmac(enum kveil_hash hash, struct kveil_span key, struct kveil_span in, uint8_t out[32],
				    struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_crypto_sha256(struct kveil_span in, uint8_t out[32], struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

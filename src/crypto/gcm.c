/* SPDX-License-Identifier: Apache-2.0 */
/* The authenticated ciphers that a library has whole, GCM and SIV: a table of what differs. */
#include "crypto/aead.h"
#include "crypto/rows.h"

#define TINK(type) "type.googleapis.com/google.crypto.tink." type

/* X(row, library's choice, what differs). The name is the row's, spelled as users write it.
 *   AES-GCM      kveil's own for short values, where the processor has instructions for it: 16 bytes take a third of
 *                libgcrypt's time. Then libgcrypt: they take it less than half of EVP's, and no length that we
 *                measured, up to 4 KiB, more
 *   SM4-GCM      OpenSSL has it since 3.1, with code for more processors; both give the same bytes
 *   AES-GCM-SIV  OpenSSL has it since 3.2 only
 *   AES-SIV      OpenSSL duplicates its CMAC contexts for each message: 16 bytes take twenty times libgcrypt's time */
#define TABLE(X)                                                                                                       \
	X(aes_256_gcm, (.gcrypt = KVEIL_GCRYPT_AES_GCM, .evp = "AES-256-GCM", .is_aes_gcm = true),                     \
	  (.name = "aes-256-gcm", .wire_id = 1, .kind = KVEIL_ALG_AEAD, .key_bytes = 32, .nonce_bytes = 12,            \
	   .standard = "NIST SP 800-38D", .tink_type = TINK("AesGcmKey"),                                              \
	   .help = "authenticated encryption, the usual choice: equal values give different ciphertexts",              \
	   .cipher_rekey = kveil_aead_rekey))                                                                          \
	X(aes_128_gcm, (.gcrypt = KVEIL_GCRYPT_AES_GCM, .evp = "AES-128-GCM", .is_aes_gcm = true),                     \
	  (.name = "aes-128-gcm", .wire_id = 2, .kind = KVEIL_ALG_AEAD, .key_bytes = 16, .nonce_bytes = 12,            \
	   .standard = "NIST SP 800-38D", .tink_type = TINK("AesGcmKey"),                                              \
	   .help = "as aes-256-gcm with a shorter key, for consumers that ask for it",                                 \
	   .cipher_rekey = kveil_aead_rekey))                                                                          \
	X(sm4_gcm, (.gcrypt = KVEIL_GCRYPT_SM4_GCM, .evp = "SM4-GCM", .openssl_first = true),                          \
	  (.name = "sm4-gcm", .wire_id = 3, .kind = KVEIL_ALG_AEAD, .is_sm = true, .key_bytes = 16, .nonce_bytes = 12, \
	   .standard = "GB/T 32907, RFC 8998",                                                                         \
	   .help = "authenticated encryption with the Chinese block cipher, laid out as aes-256-gcm",                  \
	   .cipher_rekey = kveil_aead_rekey))                                                                          \
	X(aes_256_siv, (.gcrypt = KVEIL_GCRYPT_AES_SIV),                                                               \
	  (.name = "aes-256-siv", .wire_id = 5, .kind = KVEIL_ALG_DAEAD, .key_bytes = 64, .standard = "RFC 5297",      \
	   .tink_type = TINK("AesSivKey"),                                                                             \
	   .help =                                                                                                     \
	       "deterministic encryption: equal values in one place give equal ciphertexts, so they can be joined"))   \
	X(aes_256_gcm_siv, (.gcrypt = KVEIL_GCRYPT_AES_GCM_SIV),                                                       \
	  (.name = "aes-256-gcm-siv", .wire_id = 6, .kind = KVEIL_ALG_AEAD, .key_bytes = 32, .nonce_bytes = 12,        \
	   .standard = "RFC 8452", .tink_type = TINK("AesGcmSivKey"),                                                  \
	   .help = "authenticated encryption that a repeated nonce does not break", .cipher_rekey = kveil_aead_rekey))

#define BARE(...) __VA_ARGS__
#define ROW(row, chosen, differs)                                                                                      \
	static const struct kveil_aead_choice row##_choice = {BARE chosen};                                            \
	static const char *row##_library(void)                                                                         \
	{                                                                                                              \
		return kveil_aead_library(&row##_choice);                                                              \
	}                                                                                                              \
	static enum kveil_status row##_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)  \
	{                                                                                                              \
		return kveil_aead_new(&kveil_##row, &row##_choice, key, ret, err);                                     \
	}                                                                                                              \
	const struct kveil_algorithm kveil_##row = {.overhead_bytes = KVEIL_GCRYPT_TAG,                                \
						    .library = row##_library,                                          \
						    .cipher_new = row##_new,                                           \
						    .cipher_free = kveil_aead_free,                                    \
						    .seal = kveil_aead_seal,                                           \
						    .open = kveil_aead_open,                                           \
						    BARE differs};

TABLE(ROW)

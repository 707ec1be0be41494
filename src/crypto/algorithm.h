/* SPDX-License-Identifier: Apache-2.0 */
/*
 * crypto/algorithm.h: what every algorithm looks like. One file and one row in algorithms[] each
 * (crypto/algorithms.c). Bytes only: key ids, prefixes and nonce counting belong to keys/.
 *
 * A cipher is one key with its schedule, made once and used for many values; it belongs to one thread.
 * Nothing is allocated per value, but for a second context at a key's first long value (crypto/aead.c).
 */
#ifndef KVEIL_CRYPTO_ALGORITHM_H
#define KVEIL_CRYPTO_ALGORITHM_H

#include "kveil/base.h"

enum kveil_algorithm_kind {
	KVEIL_ALG_AEAD,  /* seal(nonce, ad, plaintext): a nonce is used once */
	KVEIL_ALG_DAEAD, /* deterministic: nonce is NULL, ad is never empty */
	KVEIL_ALG_FPE,   /* format-preserving: see fpe_* */
	KVEIL_ALG_MAC,   /* keyed hash */
};

struct kveil_cipher; /* one key, ready for use, one thread */

/* An alphabet for FPE: radix distinct code points, and the string to transform as numerals. */
struct kveil_fpe_numerals {
	uint16_t *digits; /* in and out, each < radix */
	size_t count;
	uint32_t radix;
};

struct kveil_algorithm {
	const char *name; /* "aes-256-gcm": what users write; never renamed */
	uint16_t wire_id; /* what registries store; never reused */
	enum kveil_algorithm_kind kind;
	size_t key_bytes;      /* of the key material */
	size_t nonce_bytes;    /* given to seal and stored in front of the ciphertext; 0 = none */
	bool is_sm;            /* of the Chinese standards: SM3, SM4 */
	bool nonce_is_random;  /* true: drawn at random (IVs of CBC); false: counted (lease | counter) */
	size_t overhead_bytes; /* what seal adds beside the nonce: tag or SIV, padding at most */
	size_t mac_bytes;      /* MAC: length of the output */
	const char *standard;  /* "NIST SP 800-38D" */
	const char *tink_type; /* Tink key type URL, or NULL where Tink has none */
	const char *help;      /* one line for the reference page */

	/* Which runs it here, "libgcrypt", "OpenSSL", …; NULL: this machine's do not have it. */
	const char *(*library)(void);
	/* key.len == key_bytes. The key bytes are copied where needed; the caller wipes its own. */
	enum kveil_status (*cipher_new)(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err);
	void (*cipher_free)(struct kveil_cipher *c); /* wipes; NULL is fine */
	/* Another key in the same cipher, quicker than free and new. NULL: there is no such way; false: it did not
	 * work, and c may only be freed. */
	bool (*cipher_rekey)(struct kveil_cipher *c, struct kveil_span key);

	/* AEAD, DAEAD. out has room for in.len + overhead_bytes; out must not overlap in. */
	enum kveil_status (*seal)(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err);
	/* in is what seal wrote (without prefix and nonce). out has room for in.len. On failure out holds nothing
	 * of the plaintext and the status is KVEIL_E_AUTHENTICATION or KVEIL_E_BAD_CIPHERTEXT. */
	enum kveil_status (*open)(struct kveil_cipher *c, const uint8_t *nonce, struct kveil_span ad,
				  struct kveil_span in, uint8_t *out, size_t *ret_len, struct kveil_error *err);
	/* MAC: mac_bytes into out. */
	enum kveil_status (*mac)(struct kveil_cipher *c, struct kveil_span in, uint8_t *out, struct kveil_error *err);
	/* FPE: in place. radix^count < 1,000,000 is KVEIL_E_VALUE_OUT_OF_DOMAIN. */
	enum kveil_status (*fpe)(struct kveil_cipher *c, bool encrypt, struct kveil_span tweak,
				 struct kveil_fpe_numerals *n, struct kveil_error *err);
};

/* Every implementation begins its own struct with this. */
struct kveil_cipher {
	const struct kveil_algorithm *alg;
};

/* All rows, available or not; ends with NULL. */
extern const struct kveil_algorithm *const kveil_algorithms[];
const struct kveil_algorithm *kveil_algorithm_by_name(struct kveil_span name);
const struct kveil_algorithm *kveil_algorithm_by_wire_id(uint16_t id);

#endif

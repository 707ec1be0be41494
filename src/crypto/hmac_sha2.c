/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HMAC (FIPS 198-1) with the states after the inner and the outer padded key kept, so that a short value costs two
 * compressions instead of four, and none of EVP's allocations. The calls that can copy a state as plain memory are
 * deprecated in OpenSSL 3 without a replacement: they stand in this file only.
 */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "base/secret.h"
#include "crypto/rows.h"

#include <endian.h>
#include <openssl/sha.h>

struct hmac_sha256 {
	struct kveil_cipher base;
	SHA256_CTX inner, outer; /* as good as the key */
};

static const char *library(void)
{
	return "kveil, SHA-2 by OpenSSL";
}

static void cipher_free(struct kveil_cipher *c)
{
	kveil_secret_free(c);
}

/* The key, hashed if it is longer than a block, against ipad and opad. */
static bool sha256_states(struct hmac_sha256 *h, struct kveil_span key)
{
	uint8_t block[SHA256_CBLOCK] = {0};
	bool ok = true;

	if (key.len > sizeof block)
		ok = SHA256(key.data, key.len, block) != NULL;
	else if (key.len)
		memcpy(block, key.data, key.len);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] ^= 0x36;
	ok = ok && SHA256_Init(&h->inner) && SHA256_Update(&h->inner, block, sizeof block);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] ^= 0x36 ^ 0x5c;
	ok = ok && SHA256_Init(&h->outer) && SHA256_Update(&h->outer, block, sizeof block);
	kveil_secret_wipe(block, sizeof block);
	return ok;
}

static enum kveil_status sha256_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	struct hmac_sha256 *h = kveil_secret_alloc_schedule(sizeof *h);

	if (!h)
		return kveil_no_memory(err, "a key's context");
	h->base.alg = &kveil_hmac_sha_256;
	if (!sha256_states(h, key)) {
		kveil_secret_free(h);
		return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: SHA-256 failed");
	}
	*ret = &h->base;
	return KVEIL_OK;
}

enum {
	BLOCK = SHA256_CBLOCK,
	DIGEST = SHA256_DIGEST_LENGTH,
	LAST_MAX = BLOCK - 9, /* of a message's last block: a bit and the message's length follow */
};

/* The digest of a message of a padded key, which h is the state behind, and `len` more bytes, which the block begins
 * with; behind them it is zero. As SHA256_Update and SHA256_Final, which take as long for their buffers as for a block.
 */
static inline void sha256_finish(const SHA256_CTX *h, uint8_t block[BLOCK], size_t len, uint8_t out[DIGEST])
{
	SHA256_CTX s;
	uint64_t bits = htobe64(8 * (BLOCK + len));

	memcpy(s.h, h->h, sizeof s.h);
	block[len] = 0x80;
	memcpy(block + BLOCK - sizeof bits, &bits, sizeof bits);
	SHA256_Transform(&s, block);
	for (size_t i = 0; i < DIGEST / 4; i++) {
		uint32_t word = htobe32(s.h[i]);
		memcpy(out + 4 * i, &word, sizeof word);
	}
}

static void sha256_mac_short(const struct hmac_sha256 *h, struct kveil_span in, uint8_t *out)
{
	uint8_t block[BLOCK] = {0};

	if (in.len)
		memcpy(block, in.data, in.len);
	sha256_finish(&h->inner, block, in.len, out);
	memset(block, 0, sizeof block);
	memcpy(block, out, DIGEST);
	sha256_finish(&h->outer, block, DIGEST, out);
	kveil_secret_wipe(block, sizeof block);
}

static enum kveil_status sha256_mac(struct kveil_cipher *c, struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	const struct hmac_sha256 *h = (struct hmac_sha256 *)c;

	/* In a forked child the states are wiped, and a hash of them would be by no key. */
	if (__builtin_expect(!h->base.alg, 0))
		return kveil_fail(err, KVEIL_E_INTERNAL, "a key does not survive a fork");
	if (in.len <= LAST_MAX) {
		sha256_mac_short(h, in, out);
		return KVEIL_OK;
	}
	SHA256_CTX s = h->inner;

	/* The inner digest passes through out; s ends as a state of the outer hash, from which nothing leads back. */
	if (SHA256_Update(&s, in.data, in.len) && SHA256_Final(out, &s)) {
		s = h->outer;
		if (SHA256_Update(&s, out, SHA256_DIGEST_LENGTH) && SHA256_Final(out, &s))
			return KVEIL_OK;
	}
	kveil_secret_wipe(&s, sizeof s);
	kveil_secret_wipe(out, SHA256_DIGEST_LENGTH);
	return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: SHA-256 failed");
}

const struct kveil_algorithm kveil_hmac_sha_256 = {
    .name = "hmac-sha-256",
    .wire_id = 8,
    .kind = KVEIL_ALG_MAC,
    .key_bytes = 32,
    .mac_bytes = 32,
    .standard = "FIPS 198-1",
    .tink_type = "type.googleapis.com/google.crypto.tink.HmacPrfKey",
    .help = "keyed hash: equal values give equal hashes, and only the key's holder can test a guess",
    .library = library,
    .cipher_new = sha256_new,
    .cipher_free = cipher_free,
    .mac = sha256_mac,
};

struct hmac_sha512 {
	struct kveil_cipher base;
	SHA512_CTX inner, outer;
};

static bool sha512_states(struct hmac_sha512 *h, struct kveil_span key)
{
	uint8_t block[SHA512_CBLOCK] = {0};
	bool ok = true;

	if (key.len > sizeof block)
		ok = SHA512(key.data, key.len, block) != NULL;
	else if (key.len)
		memcpy(block, key.data, key.len);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] ^= 0x36;
	ok = ok && SHA512_Init(&h->inner) && SHA512_Update(&h->inner, block, sizeof block);
	for (size_t i = 0; i < sizeof block; i++)
		block[i] ^= 0x36 ^ 0x5c;
	ok = ok && SHA512_Init(&h->outer) && SHA512_Update(&h->outer, block, sizeof block);
	kveil_secret_wipe(block, sizeof block);
	return ok;
}

static enum kveil_status sha512_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	struct hmac_sha512 *h = kveil_secret_alloc_schedule(sizeof *h);

	if (!h)
		return kveil_no_memory(err, "a key's context");
	h->base.alg = &kveil_hmac_sha_512;
	if (!sha512_states(h, key)) {
		kveil_secret_free(h);
		return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: SHA-512 failed");
	}
	*ret = &h->base;
	return KVEIL_OK;
}

static enum kveil_status sha512_mac(struct kveil_cipher *c, struct kveil_span in, uint8_t *out, struct kveil_error *err)
{
	const struct hmac_sha512 *h = (struct hmac_sha512 *)c;
	SHA512_CTX s = h->inner;

	if (SHA512_Update(&s, in.data, in.len) && SHA512_Final(out, &s)) {
		s = h->outer;
		if (SHA512_Update(&s, out, SHA512_DIGEST_LENGTH) && SHA512_Final(out, &s))
			return KVEIL_OK;
	}
	kveil_secret_wipe(&s, sizeof s);
	kveil_secret_wipe(out, SHA512_DIGEST_LENGTH);
	return kveil_fail(err, KVEIL_E_CRYPTO, "OpenSSL: SHA-512 failed");
}

const struct kveil_algorithm kveil_hmac_sha_512 = {
    .name = "hmac-sha-512",
    .wire_id = 9,
    .kind = KVEIL_ALG_MAC,
    .key_bytes = 64,
    .mac_bytes = 64,
    .standard = "FIPS 198-1",
    .tink_type = "type.googleapis.com/google.crypto.tink.HmacPrfKey",
    .help = "as hmac-sha-256 with 64 bytes of output",
    .library = library,
    .cipher_new = sha512_new,
    .cipher_free = cipher_free,
    .mac = sha512_mac,
};

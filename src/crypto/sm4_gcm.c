/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"
#include "crypto/rows.h"

/* OpenSSL has it since 3.1, with code for more processors; both give the same bytes. */
static const struct kveil_aead_choice choice = {
    .gcrypt = KVEIL_GCRYPT_SM4_GCM, .evp = "SM4-GCM", .openssl_first = true};

static const char *library(void)
{
	return kveil_aead_library(&choice);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	return kveil_aead_new(&kveil_sm4_gcm, &choice, key, ret, err);
}

const struct kveil_algorithm kveil_sm4_gcm = {
    .name = "sm4-gcm",
    .wire_id = 3,
    .kind = KVEIL_ALG_AEAD,
    .key_bytes = 16,
    .nonce_bytes = 12,
    .overhead_bytes = 16,
    .is_sm = true,
    .standard = "GB/T 32907, RFC 8998",
    .help = "authenticated encryption with the Chinese block cipher, laid out as aes-256-gcm",
    .library = library,
    .cipher_new = cipher_new,
    .cipher_free = kveil_aead_free,
    .cipher_rekey = kveil_aead_rekey,
    .seal = kveil_aead_seal,
    .open = kveil_aead_open,
};

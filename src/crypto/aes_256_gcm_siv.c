/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"
#include "crypto/rows.h"

/* OpenSSL has it since 3.2 only. */
static const struct kveil_aead_choice choice = {.gcrypt = KVEIL_GCRYPT_AES_GCM_SIV};

static const char *library(void)
{
	return kveil_aead_library(&choice);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	return kveil_aead_new(&kveil_aes_256_gcm_siv, &choice, key, ret, err);
}

const struct kveil_algorithm kveil_aes_256_gcm_siv = {
    .name = "aes-256-gcm-siv",
    .wire_id = 6,
    .kind = KVEIL_ALG_AEAD,
    .key_bytes = 32,
    .nonce_bytes = 12,
    .overhead_bytes = 16,
    .standard = "RFC 8452",
    .tink_type = "type.googleapis.com/google.crypto.tink.AesGcmSivKey",
    .help = "authenticated encryption that a repeated nonce does not break",
    .library = library,
    .cipher_new = cipher_new,
    .cipher_free = kveil_aead_free,
    .cipher_rekey = kveil_aead_rekey,
    .seal = kveil_aead_seal,
    .open = kveil_aead_open,
};

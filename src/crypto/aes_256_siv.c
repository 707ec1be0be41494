/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"
#include "crypto/rows.h"

/* OpenSSL duplicates its CMAC contexts for each message: 16 bytes take twenty times as long as by libgcrypt. */
static const struct kveil_aead_choice choice = {.gcrypt = KVEIL_GCRYPT_AES_SIV};

static const char *library(void)
{
	return kveil_aead_library(&choice);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	return kveil_aead_new(&kveil_aes_256_siv, &choice, key, ret, err);
}

const struct kveil_algorithm kveil_aes_256_siv = {
    .name = "aes-256-siv",
    .wire_id = 5,
    .kind = KVEIL_ALG_DAEAD,
    .key_bytes = 64,
    .overhead_bytes = 16,
    .standard = "RFC 5297",
    .tink_type = "type.googleapis.com/google.crypto.tink.AesSivKey",
    .help = "deterministic encryption: equal values in one place give equal ciphertexts, so they can be joined",
    .library = library,
    .cipher_new = cipher_new,
    .cipher_free = kveil_aead_free,
    .seal = kveil_aead_seal,
    .open = kveil_aead_open,
};

/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/aead.h"
#include "crypto/rows.h"

/* As aes-256-gcm. */
static const struct kveil_aead_choice choice = {.gcrypt = KVEIL_GCRYPT_AES_GCM, .evp = "AES-128-GCM"};

static const char *library(void)
{
	return kveil_aead_library(&choice);
}

static enum kveil_status cipher_new(struct kveil_span key, struct kveil_cipher **ret, struct kveil_error *err)
{
	return kveil_aead_new(&kveil_aes_128_gcm, &choice, key, ret, err);
}

const struct kveil_algorithm kveil_aes_128_gcm = {
    .name = "aes-128-gcm",
    .wire_id = 2,
    .kind = KVEIL_ALG_AEAD,
    .key_bytes = 16,
    .nonce_bytes = 12,
    .overhead_bytes = 16,
    .standard = "NIST SP 800-38D",
    .tink_type = "type.googleapis.com/google.crypto.tink.AesGcmKey",
    .help = "as aes-256-gcm with a shorter key, for consumers that ask for it",
    .library = library,
    .cipher_new = cipher_new,
    .cipher_free = kveil_aead_free,
    .cipher_rekey = kveil_aead_rekey,
    .seal = kveil_aead_seal,
    .open = kveil_aead_open,
};

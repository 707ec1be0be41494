/* SPDX-License-Identifier: Apache-2.0 */
#include "crypto/statement.h"

#include "crypto/evp_aead.h"
#include "crypto/gcrypt.h"

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

/* As aead.c chooses. */
static const struct {
	const char *name;
	enum kveil_gcrypt_aead gcrypt;
	const char *openssl_first; /* NULL: libgcrypt where it has it */
} aeads[] = {
    {"aes-256-gcm", KVEIL_GCRYPT_AES_GCM, NULL},  {"aes-128-gcm", KVEIL_GCRYPT_AES_GCM, NULL},
    {"sm4-gcm", KVEIL_GCRYPT_SM4_GCM, "SM4-GCM"}, {"aes-256-gcm-siv", KVEIL_GCRYPT_AES_GCM_SIV, NULL},
    {"aes-256-siv", KVEIL_GCRYPT_AES_SIV, NULL},
};

static const struct {
	const char *name, *library;
} others[] = {
    {"sm4-cbc-hmac-sm3", "OpenSSL (SM4), libgcrypt (SM3)"},
    {"aes-256-ff1", "kveil, AES by libgcrypt"},
    {"hmac-sha-256", "kveil, SHA-2 by OpenSSL"},
    {"hmac-sha-512", "kveil, SHA-2 by OpenSSL"},
    {"hmac-sm3", "libgcrypt"},
};

const char *kveil_statement_library(const struct kveil_algorithm *alg)
{
	if (!alg->is_available())
		return "missing";
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(others[i].name, alg->name) == 0)
			return others[i].library;
	for (size_t i = 0; i < sizeof aeads / sizeof *aeads; i++)
		if (strcmp(aeads[i].name, alg->name) == 0 && kveil_gcrypt_has(aeads[i].gcrypt) &&
		    !(aeads[i].openssl_first && kveil_evp_aead_has(aeads[i].openssl_first)))
			return "libgcrypt";
	return "OpenSSL";
}

const char *kveil_statement_generator(void)
{
	EVP_RAND_CTX *primary = RAND_get0_primary(NULL);
	const EVP_RAND *kind = primary ? EVP_RAND_CTX_get0_rand(primary) : NULL;

	return kind ? EVP_RAND_get0_name(kind) : "unknown";
}

bool kveil_statement_openssl_fips(void)
{
	return EVP_default_properties_is_fips_enabled(NULL) && OSSL_PROVIDER_available(NULL, "fips");
}

const struct kveil_statement_use kveil_statement_uses[] = {
    {"registry records, documents, leases, events", "HMAC-SHA-256", "FIPS 198-1", "OpenSSL"},
    {"subkeys of the registry's secret", "HKDF-SHA-256", "RFC 5869", "OpenSSL"},
    {"names out of records", "HMAC-SHA-256", "FIPS 198-1", "OpenSSL"},
    {"provider file", "AES-256-KWP", "NIST SP 800-38F", "OpenSSL"},
    {"provider file with a passphrase", "scrypt, AES-256-KWP", "RFC 7914, NIST SP 800-38F", "OpenSSL"},
    {"providers rsa-oaep, ecdh", "CMS, AES-256-GCM", "RFC 5652, RFC 5084", "OpenSSL"},
    {"provider sm2", "SM2", "GB/T 32918.4", "OpenSSL"},
    {"provider transit", "the vault's own", "-", "elsewhere"},
    {"provider pkcs11", "the token's own", "-", "elsewhere"},
    {0},
};

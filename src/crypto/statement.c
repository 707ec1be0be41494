/* SPDX-License-Identifier: Apache-2.0 */
/* Which library runs what here, by which standard. */
#include "crypto/statement.h"

#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

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
    {"  of a registry with SM keys alone", "HMAC-SM3", "GB/T 15852.2, GB/T 32905", "OpenSSL"},
    {"subkeys of the registry's secret", "HKDF-SHA-256", "RFC 5869", "OpenSSL"},
    {"  of a registry with SM keys alone", "HKDF-SM3", "RFC 5869, GB/T 32905", "OpenSSL"},
    {"names out of records", "HMAC-SHA-256", "FIPS 198-1", "OpenSSL"},
    {"  of a registry with SM keys alone", "HMAC-SM3", "GB/T 15852.2, GB/T 32905", "libgcrypt, OpenSSL"},
    {"provider file", "AES-256-KWP", "NIST SP 800-38F", "OpenSSL"},
    {"provider file with a passphrase", "scrypt, AES-256-KWP", "RFC 7914, NIST SP 800-38F", "OpenSSL"},
    {"providers rsa-oaep, ecdh", "CMS, AES-256-GCM", "RFC 5652, RFC 5084", "OpenSSL"},
    {"provider sm2", "SM2", "GB/T 32918.4", "OpenSSL"},
    {"provider transit", "the vault's own", "-", "elsewhere"},
    {"provider pkcs11", "the token's own", "-", "elsewhere"},
    {0},
};

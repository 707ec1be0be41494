/* SPDX-License-Identifier: Apache-2.0 */
/* The table of custodians. */
#include "custody/provider.h"

extern const struct kveil_provider kveil_provider_file, kveil_provider_pkcs11, kveil_provider_transit,
    kveil_provider_rsa_oaep, kveil_provider_ecdh, kveil_provider_sm2;

const struct kveil_provider *const kveil_providers[] = {
    &kveil_provider_file,
#ifdef KVEIL_WITH_PKCS11
    &kveil_provider_pkcs11,
#endif
#ifdef KVEIL_WITH_TRANSIT
    &kveil_provider_transit,
#endif
    &kveil_provider_rsa_oaep, &kveil_provider_ecdh, &kveil_provider_sm2, NULL,
};

const struct kveil_provider *kveil_provider_by_name(const char *name)
{
	for (size_t i = 0; kveil_providers[i]; i++)
		if (strcmp(kveil_providers[i]->name, name) == 0)
			return kveil_providers[i];
	return NULL;
}

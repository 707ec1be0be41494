/* SPDX-License-Identifier: Apache-2.0 */
#include "keys/provider.h"

extern const struct kveil_provider kveil_provider_file;

const struct kveil_provider *const kveil_providers[] = {
    &kveil_provider_file,
    NULL,
};

const struct kveil_provider *kveil_provider_by_name(const char *name)
{
	for (size_t i = 0; kveil_providers[i]; i++)
		if (strcmp(kveil_providers[i]->name, name) == 0)
			return kveil_providers[i];
	return NULL;
}

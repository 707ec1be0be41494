/* SPDX-License-Identifier: Apache-2.0 */
/* Where a registry may be: the table of drivers. */
#include "registry/registry.h"

#include <stdio.h>

extern const struct kveil_registry_driver kveil_registry_file;

/* Filled once, before there are threads. */
enum { DRIVERS_MAX = 4 };
static const struct kveil_registry_driver *drivers[DRIVERS_MAX + 1] = {&kveil_registry_file};

void kveil_registry_driver_add(const struct kveil_registry_driver *driver)
{
	for (size_t i = 0; i < DRIVERS_MAX; i++) {
		if (drivers[i] == driver)
			return;
		if (!drivers[i]) {
			drivers[i] = driver;
			return;
		}
	}
}

enum kveil_status kveil_registry_driver_of(const char *registry, const struct kveil_registry_driver **ret,
					   const char **ret_where, struct kveil_error *err)
{
	const char *colon = strchr(registry, ':');

	for (size_t i = 0; colon && colon[1] && drivers[i]; i++) {
		const struct kveil_registry_driver *d = drivers[i];
		if (strlen(d->scheme) == (size_t)(colon - registry) &&
		    strncmp(d->scheme, registry, strlen(d->scheme)) == 0) {
			*ret = d;
			*ret_where = colon + 1;
			return KVEIL_OK;
		}
	}
	kveil_fail(err, KVEIL_E_CONFIG, "'%s' is not a key registry that this kveil knows", registry);
	char hint[160] = "";
	for (size_t i = 0; drivers[i]; i++)
		snprintf(hint + strlen(hint), sizeof hint - strlen(hint), "%s%s", i ? "; " : "", drivers[i]->help);
	kveil_error_hint(err, "%s", hint);
	return KVEIL_E_CONFIG;
}

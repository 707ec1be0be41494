/* SPDX-License-Identifier: Apache-2.0 */
/*
 * schemas/schemas_config.h: `schema_registry:` of kveil.yaml. Secrets may stand in files, which are read again when the
 * registry refuses them.
 */
#ifndef KVEIL_SCHEMAS_SCHEMAS_CONFIG_H
#define KVEIL_SCHEMAS_SCHEMAS_CONFIG_H

#include "base/options.h"
#include "kveil/base.h"

struct kveil_schemas_config {
	char **urls; /* NULL: there is no registry */
	char *username, *password, *password_source;
	char *bearer_token, *bearer_token_source;
	char *ca_file, *certificate, *private_key; /* relative to folder */
	int64_t timeout_ms;                        /* of one request */
	const char *file;                          /* kveil.yaml, what paths are relative to; borrowed */
};

extern const struct kveil_option kveil_schemas_options[]; /* their offsets count from a struct kveil_schemas_config */

/* Adds to the report what its options cannot say one by one, without asking anybody. node: the mapping; NULL: all of it
 * comes from the environment, or none of it is there. file outlives c. */
void kveil_schemas_config_check(struct kveil_schemas_config *c, const struct kveil_yaml *node, const char *file,
				struct kveil_report *report);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* cli/schema_registry.h: what `kveil schema` asks the schema registry of kveil.yaml. */
#ifndef KVEIL_CLI_SCHEMA_REGISTRY_H
#define KVEIL_CLI_SCHEMA_REGISTRY_H

#include "cli/command.h"

struct kveil_schema_options {
	const char *config; /* kveil.yaml; NULL: schemas come from files alone */
	const char *rules;
	const char *context, *subject; /* "" and NULL: as the rule file has them */
	const char *schema;            /* the operand: a file, an id or a GUID */
	bool of_key;                   /* it is one of records' keys */
};

/* Each prints, and gives the exit code. */
int kveil_schema_get(const struct kveil_command *cmd, const struct kveil_schema_options *o);
int kveil_schema_derive(const struct kveil_command *cmd, const struct kveil_schema_options *o);
int kveil_schema_register(const struct kveil_command *cmd, const struct kveil_schema_options *o);
int kveil_schema_check(const struct kveil_command *cmd, const struct kveil_schema_options *o);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* engine/typed.h: between avro_bind.c and avro_record.c. */
#ifndef KVEIL_ENGINE_TYPED_H
#define KVEIL_ENGINE_TYPED_H

#include "engine/internal.h"
#include "format/avro_program.h"
#include "kveil/schemas.h"

struct kveil_engine_schema {
	struct kveil_avro_schema *writer;
	struct kveil_avro_origin *origin; /* where rules open something */
	struct kveil_avro_program *program;
	bool needs_doc; /* rules read the tape of what is written with it */
};

/* Is the rule about such values: by their kind, and by the record that they are in? */
bool kveil_engine_is_about(const struct kveil_bound_rule *r, const struct kveil_avro_schema *schema,
			   const struct kveil_avro_node *node);

#endif

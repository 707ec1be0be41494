/* SPDX-License-Identifier: Apache-2.0 */
/* schemas/fetch.h: a schema with all that it refers to, from a registry. One thread at a time. */
#ifndef KVEIL_SCHEMAS_FETCH_H
#define KVEIL_SCHEMAS_FETCH_H

#include "schemas/ask.h"
#include "schemas/client.h"

/* ":.staging:orders-value", escaped for a URL; without a context the subject alone. One that names its context keeps
 * it. */
void kveil_schemas_append_subject(struct kveil_buf *path, const char *context, const char *subject);

/* Asks path, and for its references. *ret_missing: NOT_FOUND or NOT_YET; then there is no schema in *ret, and err says
 * what is missing, as SCHEMA_PENDING. Else FOUND. */
enum kveil_status kveil_schemas_fetch(struct kveil_schemas_asker *asker, const char *context, const char *what,
				      const char *path, const struct kveil_schemas_schema **ret,
				      enum kveil_schemas_outcome *ret_missing,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

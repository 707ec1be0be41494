/* SPDX-License-Identifier: Apache-2.0 */
/* Rows in Kafka Connect's JSON, with their schema inline or without: of any source connector but change events. */
#include "format/envelope.h"
#include "path/doc.h"

#define OBJECT   KVEIL_KIND_BIT(KVEIL_KIND_OBJECT)
#define NOT_NULL (~KVEIL_KIND_BIT(KVEIL_KIND_NULL))

static const char *const rows[] = {"$.payload", "$", NULL};
static const char *const events[] = {"$.payload", "$", NULL};
static const char *const keys[] = {"$.payload", "$", NULL};
static const char *const none[] = {NULL};

static const char inline_schema[] = "a schema inline stands beside its payload and nothing else";

static const struct kveil_clause clauses[] = {
    {KVEIL_CLAUSE_REFUSE, "$.payload", "$.schema && $.schema != null", OBJECT, inline_schema},
    {KVEIL_CLAUSE_REFUSE, "$.payload", "$.schema.type", NOT_NULL, inline_schema},
    {KVEIL_CLAUSE_REFUSE, "key:$.payload", "$.schema && $.schema != null", NOT_NULL, inline_schema},
    KVEIL_CLAUSE_OF_MONGODB,
    {0},
};

static const struct kveil_table_clue tables[] = {{0}};

const struct kveil_envelope kveil_envelope_connect = {
    .name = "connect",
    .help = "rows in Kafka Connect's JSON, with their schema inline or without",
    .rows = rows,
    .events = events,
    .keys = keys,
    .key_headers = none,
    .clauses = clauses,
    .tables = tables,
    .members = none,
    .is_event = "$.payload && !$.payload", /* never */
    .has_schemas = true,
};

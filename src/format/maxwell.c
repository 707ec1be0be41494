/* SPDX-License-Identifier: Apache-2.0 */
/* Maxwell's messages: one row, and what changed of it before. */
#include "format/envelope.h"
#include "path/doc.h"

#define NO_ROW   (~KVEIL_KIND_BIT(KVEIL_KIND_OBJECT) & ~KVEIL_KIND_BIT(KVEIL_KIND_NULL))
#define IS_EVENT "$.table && $.type"

static const char *const rows[] = {"$.data", "$.old", "$", NULL};
static const char *const events[] = {"$", NULL};
static const char *const keys[] = {"$", NULL};
static const char *const images[] = {"$.old", NULL};
static const char *const no_headers[] = {NULL};

static const char *const members[] = {"database", "table",    "type",      "ts",        "xid", "xoffset",
				      "commit",   "position", "server_id", "thread_id", NULL};
static const char *const at_times[] = {"gtid", "schema_id", "primary_key_columns", "query", "sql", "def", NULL};

static const char no_row[] = "data and old of Maxwell's messages are rows: these are not";

static const struct kveil_clause clauses[] = {
    KVEIL_CLAUSES_WITHOUT_SCHEMA,
    {KVEIL_CLAUSE_SQL, "$.def.columns[*]['enum-values']", .is_list = true},
    {KVEIL_CLAUSE_SQL, "$.old.columns[*]['enum-values']", "$.def", .is_list = true},
    {KVEIL_CLAUSE_REFUSE, "$.data", IS_EVENT, NO_ROW, no_row},
    {KVEIL_CLAUSE_REFUSE, "$.old", IS_EVENT, NO_ROW, no_row},
    {KVEIL_CLAUSE_SQL, "$.query"},
    {KVEIL_CLAUSE_SQL, "$.sql"},
    {KVEIL_CLAUSE_REFUSE, "$.primary_key", "$.data || $.old", KVEIL_KIND_BIT(KVEIL_KIND_ARRAY),
     "primary_key repeats columns without their names: set output_primary_keys=false"},
    {0},
};

static const struct kveil_clause elsewhere = {
    KVEIL_CLAUSE_REFUSE,
    "$.data",
    "$.database && $.table && $.ts && match($.type, '(bootstrap-)?insert|update|delete')",
    KVEIL_KIND_BIT(KVEIL_KIND_OBJECT),
    "an event of Maxwell: say envelope: maxwell",
    .if_sure = true};

static const struct kveil_control controls[] = {
    {"$.database && $.sql && match($.type, '(table|database)-(create|alter|drop)')", NULL},
    {"$.database && match($.type, 'bootstrap-(start|complete)')", NULL},
    {0},
};

static const struct kveil_table_clue tables[] = {
    {KVEIL_CLUE_EVENT, "$.type", "$.table", NULL, "$.database"},
    {KVEIL_CLUE_KEY, NULL, "$.table", NULL, "$.database"},
    {0},
};

const struct kveil_envelope kveil_envelope_maxwell = {
    .name = "maxwell",
    .help = "Maxwell's messages in JSON, with keys of kind hash",
    .rows = rows,
    .events = events,
    .keys = keys,
    .images = images,
    .whole = "data",
    .key_prefix = "pk.",
    .key_headers = no_headers,
    .clauses = clauses,
    .elsewhere = &elsewhere,
    .tables = tables,
    .controls = controls,
    .members = members,
    .at_times = at_times,
    .is_event = "$.database && match($.type, '[a-z-]+') && $.ts && ($.data || $.sql)",
};

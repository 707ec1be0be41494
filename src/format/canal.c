/* SPDX-License-Identifier: Apache-2.0 */
/* Canal's flat messages, and TiCDC's canal-json: several rows of one table, and what changed of each before. */
#include "format/envelope.h"
#include "path/doc.h"

#define NOT_NULL (~KVEIL_KIND_BIT(KVEIL_KIND_NULL))
#define NO_ROW   (~KVEIL_KIND_BIT(KVEIL_KIND_OBJECT) & NOT_NULL)
#define NO_ROWS  (~KVEIL_KIND_BIT(KVEIL_KIND_ARRAY) & NOT_NULL)
#define IS_EVENT "$.table && $.type"

static const char *const rows[] = {"$.data[*]", "$.old[*]", "$", NULL};
static const char *const events[] = {"$", NULL};
static const char *const keys[] = {"$", NULL};
static const char *const no_headers[] = {NULL};

static const char *const members[] = {"id", "database", "table",   "type",    "isDdl",     "es",
				      "ts", "sql",      "pkNames", "sqlType", "mysqlType", NULL};
static const char *const at_times[] = {"gtid", "_tidb", NULL};

static const char no_rows[] = "data and old of Canal's events are arrays of rows: these are not";

static const struct kveil_clause clauses[] = {
    {KVEIL_CLAUSE_SQL, "$.sql"},
    {KVEIL_CLAUSE_REFUSE, "$.data", IS_EVENT, NO_ROWS, no_rows},
    {KVEIL_CLAUSE_REFUSE, "$.old", IS_EVENT, NO_ROWS, no_rows},
    {KVEIL_CLAUSE_REFUSE, "$.data[*]", IS_EVENT, NO_ROW, no_rows},
    {KVEIL_CLAUSE_REFUSE, "$.old[*]", IS_EVENT, NO_ROW, no_rows},
    {0},
};

static const struct kveil_table_clue tables[] = {{KVEIL_CLUE_EVENT, "$.type", "$.table", NULL, "$.database"}, {0}};

const struct kveil_envelope kveil_envelope_canal = {
    .name = "canal",
    .help = "Canal's flat messages in JSON, and TiCDC's canal-json",
    .rows = rows,
    .events = events,
    .keys = keys,
    .key_headers = no_headers,
    .clauses = clauses,
    .tables = tables,
    .members = members,
    .at_times = at_times,
    .is_event = "$.database && $.table && match($.type, '[A-Z_]+') && $.data",
    .blanks_with_text = true,
    .names_columns = true, /* mysqlType, sqlType */
};

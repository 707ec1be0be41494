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
static const char *const images[] = {"$.old[*]", NULL};
static const char *const no_headers[] = {NULL};

static const char *const members[] = {"id", "database", "table",   "type",    "isDdl",     "es",
				      "ts", "sql",      "pkNames", "sqlType", "mysqlType", NULL};
static const char *const at_times[] = {"gtid", "_tidb", NULL};

static const char no_rows[] = "data and old of Canal's events are arrays of rows: these are not";

static const struct kveil_clause clauses[] = {
    KVEIL_CLAUSES_WITHOUT_SCHEMA,
    {KVEIL_CLAUSE_SQL, "$.sql"},
    {KVEIL_CLAUSE_REFUSE, "$.data", IS_EVENT, NO_ROWS, no_rows},
    {KVEIL_CLAUSE_REFUSE, "$.old", IS_EVENT, NO_ROWS, no_rows},
    {KVEIL_CLAUSE_REFUSE, "$.data[*]", IS_EVENT, NO_ROW, no_rows},
    {KVEIL_CLAUSE_REFUSE, "$.old[*]", IS_EVENT, NO_ROW, no_rows},
    {0},
};

static const struct kveil_clause elsewhere = {KVEIL_CLAUSE_REFUSE,
					      "$.data",
					      "$.database && $.table && $.type && $.isDdl == false",
					      KVEIL_KIND_BIT(KVEIL_KIND_ARRAY),
					      "an event of Canal: say envelope: canal",
					      .if_sure = true};

static const struct kveil_control controls[] = {
    {"$.data == null && ($.isDdl == true || $.type == 'TIDB_WATERMARK')", NULL}, {0}};

static bool begins_with(struct kveil_span s, const char *start, size_t n)
{
	return s.len >= n && memcmp(s.data, start, n) == 0;
}

/* TiCDC's open protocol: lengths of 8 bytes before each JSON. Canal's own packets: magic number 17, version 1. */
static const char *explain(struct kveil_span value)
{
	static const char length[] = {0, 0, 0, 0}, packet[] = {0x08, 0x11, 0x10};

	if (begins_with(value, length, sizeof length))
		return "TiCDC's open protocol is not in this version: give the changefeed protocol=canal-json";
	if (begins_with(value, packet, sizeof packet) || begins_with(value, "\x12", 1) ||
	    begins_with(value, "\x0a", 1) || begins_with(value, "\x18", 1))
		return "Canal's protobuf is not in this version: set canal.mq.flatMessage=true";
	return NULL;
}

static const struct kveil_table_clue tables[] = {{KVEIL_CLUE_EVENT, "$.type", "$.table", NULL, "$.database"}, {0}};

const struct kveil_envelope kveil_envelope_canal = {
    .name = "canal",
    .help = "Canal's flat messages in JSON, and TiCDC's canal-json",
    .rows = rows,
    .events = events,
    .keys = keys,
    .images = images,
    .whole = "data",
    .key_headers = no_headers,
    .clauses = clauses,
    .elsewhere = &elsewhere,
    .tables = tables,
    .controls = controls,
    .explain = explain,
    .members = members,
    .at_times = at_times,
    .is_event = "$.database && $.table && match($.type, '[A-Z_]+') && $.data",
    .blanks_with_text = true,
    .names_columns = true, /* mysqlType, sqlType */
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Oracle GoldenGate's JSON: operations with before and after, and rows alone. */
#include "format/envelope.h"
#include "path/doc.h"

#define NO_ROW   (~KVEIL_KIND_BIT(KVEIL_KIND_OBJECT) & ~KVEIL_KIND_BIT(KVEIL_KIND_NULL))
#define IS_EVENT "$.op_type || $.op_ts"

static const char *const rows[] = {"$.after", "$.before", "$", NULL};
static const char *const events[] = {"$", NULL};
static const char *const keys[] = {"$", NULL};
/* Compressed updates have the key and what changed. */
static const char *const images[] = {"$.after", "$.before", NULL};
static const char *const inserted[] = {"I", NULL};
static const struct kveil_origin origins[] = {{"op_type", inserted, NULL}, {NULL, NULL, NULL}};
static const char *const no_headers[] = {NULL};

static const char *const members[] = {"table", "op_type", "op_ts", "current_ts", "pos", "primary_keys", "tokens", NULL};

static const char no_row[] = "before and after of GoldenGate's operations are rows: these are not";

static const struct kveil_clause elsewhere = {KVEIL_CLAUSE_REFUSE,
					      "$.op_type",
					      "$.table && match($.op_type, '[IUDT]') && $.op_ts && $.pos",
					      0,
					      "an operation of Oracle GoldenGate: say envelope: ogg",
					      .if_sure = true};

static const struct kveil_clause clauses[] = {
    KVEIL_CLAUSES_WITHOUT_SCHEMA,
    {KVEIL_CLAUSE_REFUSE, "$.before", IS_EVENT, NO_ROW, no_row},
    {KVEIL_CLAUSE_REFUSE, "$.after", IS_EVENT, NO_ROW, no_row},
    {0},
};

/* SCHEMA.TABLE; a flat row has it beside its columns. */
static const struct kveil_table_clue tables[] = {
    {KVEIL_CLUE_EVENT, "$.op_type", "$.table"},
    {KVEIL_CLUE_ROW, "$.op_type", "$.table"},
    {0},
};

static const struct kveil_control controls[] = {
    {"$.op_type == 'T' && $.op_ts && $.pos && !$.before && !$.after", NULL, .is_event = true}, {0}};

const struct kveil_envelope kveil_envelope_ogg = {
    .name = "ogg",
    .help = "Oracle GoldenGate's JSON, by operation or by row",
    .rows = rows,
    .events = events,
    .keys = keys,
    .images = images,
    .origins = origins,
    .key_headers = no_headers,
    .clauses = clauses,
    .elsewhere = &elsewhere,
    .tables = tables,
    .controls = controls,
    .members = members,
    .is_event = "$.table && match($.op_type, '[IUDT]') && $.op_ts && $.pos",
};

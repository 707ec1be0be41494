/* SPDX-License-Identifier: Apache-2.0 */
/* Oracle GoldenGate's JSON: operations with before and after, and rows alone. */
#include "format/envelope.h"

static const char *const rows[] = {"$.after", "$.before", "$", NULL};
static const char *const events[] = {"$", NULL};
static const char *const keys[] = {"$", NULL};
static const char *const no_headers[] = {NULL};

static const char *const members[] = {"table", "op_type", "op_ts", "current_ts", "pos", "primary_keys", "tokens", NULL};

static const struct kveil_clause clauses[] = {{0}};

const struct kveil_envelope kveil_envelope_ogg = {
    .name = "ogg",
    .help = "Oracle GoldenGate's JSON, by operation or by row",
    .rows = rows,
    .events = events,
    .keys = keys,
    .key_headers = no_headers,
    .clauses = clauses,
    .members = members,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Debezium's change events in JSON, and the flat rows that its ExtractNewRecordState makes of them. */
#include "format/envelope.h"
#include "path/doc.h"

#define OBJECT   KVEIL_KIND_BIT(KVEIL_KIND_OBJECT)
#define STRING   KVEIL_KIND_BIT(KVEIL_KIND_STRING)
#define NO_ROW   (~OBJECT & NOT_NULL)
#define IS_EVENT "$.op || ($.source && $.ts_ms)"
#define NOT_NULL (~KVEIL_KIND_BIT(KVEIL_KIND_NULL))
/* Of what is found: an object is in doubt, and MongoDB's documents are texts. */
#define LOOKS_WHOLE "search(@, '[{]')"

static const char *const rows[] = {
    "$.payload.after", "$.payload.before", "$.after", "$.before", "$.payload", "$", NULL};
static const char *const events[] = {"$.payload", "$", NULL};
static const char *const keys[] = {"$.payload", "$", NULL};
/* MongoDB's documents. */
static const char *const texts[] = {"$.payload.after", "$.payload.before", "$.after", "$.before", NULL};
static const char *const partials[] = {"$.payload.updateDescription.updatedFields", "$.updateDescription.updatedFields",
				       NULL};
static const char *const beside_partials[] = {"removedFields", "truncatedArrays", NULL};
/* Under some replica identities it has few columns. */
static const char *const images[] = {"$.payload.before", "$.before", NULL};
/* A deleted row is the image before; the update of a document may hold what changed alone. */
static const char *const not_deleted[] = {"false", NULL};
static const char *const deleted[] = {"true", NULL};
static const char *const written[] = {"c", "r", "u", NULL};
static const char *const op_delete[] = {"d", NULL};
static const struct kveil_origin origins[] = {
    {"__deleted", not_deleted, deleted}, {"__op", written, op_delete}, {"_id", NULL, NULL}, {NULL, NULL, NULL}};
/* add.fields=before.phone, and what is left of a whole event that Connect's Flatten made flat. */
static const char *const copies[] = {"__before_", "__after_", "before.", "after.", NULL};
static const char *const key_headers[] = {"__debezium.newkey", "__debezium.oldkey", NULL};

static const char inline_schema[] = "a schema inline stands beside its payload and nothing else";
static const char no_row[] = "before and after of an event are rows, or texts of JSON that hold one: these are not";
static const char no_fields[] = "updateDescription of an event is not as MongoDB's connector writes it";
static const char patch[] = "an event of MongoDB by a connector before version 2, whose changes are statements";
static const char whole_image[] = "a whole image among the fields or headers that a transform added: take it out of "
				  "add.fields and add.headers";
static const char flattened[] = "an event that Connect's Flatten made flat, whose names tell no paths: flatten with "
				"ExtractNewRecordState, or behind kveil";
static const char updated_fields[] = "updatedFields of MongoDB holds changed fields in a text: take it out of "
				     "add.fields and add.headers, or give it a rule";

static const char *const members[] = {"op", "source", "transaction", "ts_ms", "ts_us", "ts_ns", NULL};
static const char *const at_times[] = {"message", NULL};

/* By add.fields; the text of a statement is not among them. */
static const char *const added[] = {
    "__op",
    "__deleted",
    "__db",
    "__schema",
    "__table",
    "__collection",
    "__lsn",
    "__ts_ms",
    "__ts_us",
    "__ts_ns",
    "__source_connector",
    "__source_name",
    "__source_version",
    "__source_db",
    "__source_schema",
    "__source_table",
    "__source_collection",
    "__source_lsn",
    "__source_txId",
    "__source_ts_ms",
    "__source_ts_us",
    "__source_ts_ns",
    "__source_snapshot",
    "__source_sequence",
    "__source_server_id",
    "__source_gtid",
    "__source_file",
    "__source_pos",
    "__source_row",
    "__source_scn",
    "__source_commit_scn",
    "__source_change_lsn",
    "__source_commit_lsn",
    "__source_event_serial_no",
    NULL,
};

/* A row of a signal table: what a snapshot is to take may name values. */
#define SIGNALS     "(execute|stop|pause|resume)-snapshot|schema-changes|log"
#define SIGNAL(row) "$." row ".id && match($." row ".type, '" SIGNALS "')"

static const struct kveil_clause clauses[] = {
    {KVEIL_CLAUSE_SQL, "$.source.query"},
    {KVEIL_CLAUSE_SQL, "$.source.redo_sql"},
    {KVEIL_CLAUSE_SQL, "$.__source_query"},
    {KVEIL_CLAUSE_SQL, "$.__source_redo_sql"},
    {KVEIL_CLAUSE_SQL, "header:__source_query"},
    {KVEIL_CLAUSE_SQL, "header:__source_redo_sql"},
    {KVEIL_CLAUSE_SQL, "$.ddl", "$.tableChanges"},
    {KVEIL_CLAUSE_SQL, "$.tableChanges[*].table.columns[*].defaultValueExpression"},
    {KVEIL_CLAUSE_SQL, "$.tableChanges[*].table.columns[*].enumValues", .is_list = true},
    {KVEIL_CLAUSE_SQL, "$.additional_data.maximum_key", "$.aggregate_type"},
    {KVEIL_CLAUSE_SQL, "$.additional_data.last_processed_key", "$.aggregate_type"},
    {KVEIL_CLAUSE_SQL, "$['source.query']"},
    {KVEIL_CLAUSE_SQL, "$['source.redo_sql']"},
    {KVEIL_CLAUSE_SQL, "$.after.data", "$.op && " SIGNAL("after"), .if_sure = true},
    {KVEIL_CLAUSE_SQL, "$.before.data", "$.op && " SIGNAL("before"), .if_sure = true},
    {KVEIL_CLAUSE_SQL, "$.data", "$.id && match($.type, '" SIGNALS "')", .if_sure = true},
    {KVEIL_CLAUSE_MESSAGE, "$.message.content", "$.op && $.op == 'm'"},
    {KVEIL_CLAUSE_REFUSE, "$.payload", "$.schema && $.schema != null", OBJECT, inline_schema},
    {KVEIL_CLAUSE_REFUSE, "$.payload", "$.schema.type", NOT_NULL, inline_schema},
    {KVEIL_CLAUSE_REFUSE, "key:$.payload", "$.schema && $.schema != null", NOT_NULL, inline_schema},
    {KVEIL_CLAUSE_REFUSE, "$.after", IS_EVENT, NO_ROW, no_row, .but_row = true},
    {KVEIL_CLAUSE_REFUSE, "$.before", IS_EVENT, NO_ROW, no_row, .but_row = true},
    {KVEIL_CLAUSE_REFUSE, "$.updateDescription", "$.op", NO_ROW, no_fields},
    {KVEIL_CLAUSE_REFUSE, "$.updateDescription",
     "$.op && count($.updateDescription.*) != "
     "count($.updateDescription['updatedFields','removedFields','truncatedArrays'])",
     OBJECT, no_fields},
    {KVEIL_CLAUSE_REFUSE, "$.updateDescription.updatedFields", "$.op", NOT_NULL, no_fields, .but_row = true},
    /* Not at $.source: a place that every event has would ask its condition for every event. */
    {KVEIL_CLAUSE_REFUSE, "$.source.collection", "$.source.connector && $.source.connector == 'mongodb'", 0,
     "MongoDB's documents in Avro are not in this version: flatten them with ExtractNewDocumentState",
     .in_types = true},
    {KVEIL_CLAUSE_REFUSE, "$.patch", "$.op && $.ts_ms", NOT_NULL, patch},
    {KVEIL_CLAUSE_REFUSE, "$.__before", LOOKS_WHOLE, OBJECT | STRING, whole_image},
    {KVEIL_CLAUSE_REFUSE, "$.__after", LOOKS_WHOLE, OBJECT | STRING, whole_image},
    {KVEIL_CLAUSE_REFUSE, "header:__before", NULL, NOT_NULL, whole_image},
    {KVEIL_CLAUSE_REFUSE, "header:__after", NULL, NOT_NULL, whole_image},
    {KVEIL_CLAUSE_REFUSE, "$.__updateDescription_updatedFields", NULL, NOT_NULL, updated_fields},
    {KVEIL_CLAUSE_REFUSE, "header:__updateDescription_updatedFields", NULL, NOT_NULL, updated_fields},
    {KVEIL_CLAUSE_REFUSE, "$['source.connector']", "match($.op, '[crudtm]')", STRING, flattened, .if_sure = true},
    {KVEIL_CLAUSE_REFUSE, "$.source_connector", "match($.op, '[crudtm]')", STRING, flattened, .if_sure = true},
    KVEIL_CLAUSE_OF_MONGODB,
    {KVEIL_CLAUSE_REFUSE, "$.specversion", "$.id && $.source && $.type", STRING,
     "CloudEvents are not in this version: use Debezium's JSON converter"},
    {KVEIL_CLAUSE_REFUSE, "$.position", "$.source && ($.ddl || $.tableChanges)", OBJECT,
     "a topic of Debezium's schema history is its own business: take it out of the topics"},
    {0},
};

static const struct kveil_clause elsewhere = {
    KVEIL_CLAUSE_REFUSE,      "$.source",     "match($.op, '[crudtm]') && $.source.connector", OBJECT,
    KVEIL_DEBEZIUM_ELSEWHERE, .if_sure = true};

static const char *const heartbeat[] = {"ts_ms", "ts_us", "ts_ns", NULL};
static const char *const transaction[] = {"status", "id", "ts_ms", "event_count", "data_collections", NULL};
static const char *const schema_change[] = {"source",       "ts_ms", "databaseName", "schemaName", "ddl",
					    "tableChanges", NULL};

static const char *const notification[] = {"id", "type", "aggregate_type", "additional_data", "timestamp", NULL};

#define NO_IMAGES "(!$.before || $.before == null) && (!$.after || $.after == null)"
static const struct kveil_control controls[] = {
    {"$.ts_ms", heartbeat},
    {"($.status == 'BEGIN' || $.status == 'END') && $.id", transaction},
    {"$.source.connector && $.databaseName && ($.ddl || $.tableChanges)", schema_change},
    {"$.aggregate_type && $.type && $.additional_data", notification},
    {"$.source.connector && $.op == 't' && " NO_IMAGES, NULL, .is_event = true},
    {"$.source.connector && $.op == 'm' && $.message && " NO_IMAGES, NULL, .is_event = true, .is_message = true},
    {0},
};

static const struct kveil_table_clue tables[] = {
    {KVEIL_CLUE_EVENT, "$.op", "$.source.table", "$.source.schema", "$.source.db"},
    {KVEIL_CLUE_EVENT, "$.op", "$.source.collection", NULL, "$.source.db"},
    {KVEIL_CLUE_ROW, NULL, "$.__source_table", "$.__source_schema", "$.__source_db"},
    {KVEIL_CLUE_ROW, NULL, "$.__source_collection", NULL, "$.__source_db"},
    {KVEIL_CLUE_ROW, NULL, "$.__table", "$.__schema", "$.__db"},
    {KVEIL_CLUE_ROW, NULL, "$.__collection", NULL, "$.__db"},
    {KVEIL_CLUE_KEY, NULL, "$.__dbz__physicalTableIdentifier"}, /* SERVER.DATABASE.TABLE, by ByLogicalTableRouter */
    {0},
};

const struct kveil_envelope kveil_envelope_debezium = {
    .name = "debezium",
    .help = "Debezium's events in JSON, with or without their schemas, and rows flattened by ExtractNewRecordState",
    .rows = rows,
    .events = events,
    .keys = keys,
    .texts = texts,
    .partials = partials,
    .beside_partials = beside_partials,
    .text_column = "_id",
    .text_in_key = "id",
    .images = images,
    .origins = origins,
    .copies = copies,
    .key_headers = key_headers,
    .clauses = clauses,
    .elsewhere = &elsewhere,
    .tables = tables,
    .controls = controls,
    .members = members,
    .at_times = at_times,
    .is_event = "match($.op, '[crudtm]') && $.source.connector",
    .added = added,
    .has_schemas = true,
    .unavailable = "__debezium_unavailable_value",
    .unavailable_uuid = "b68a35a7-17ad-35b3-af2a-ae46edb4545a", /* version 3, of the bytes of that text */
    .is_delete = "$.op == 'd'",
    /* Under replica identities other than full, which PostgreSQL alone has; an index's also in updates. */
    .may_fill = "($.op == 'd' || $.op == 'u') && !match($.source.connector, "
		"'mysql|mariadb|mongodb|oracle|sqlserver|db2|informix')",
};

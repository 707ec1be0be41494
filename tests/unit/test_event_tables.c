/* SPDX-License-Identifier: Apache-2.0 */
/* `table:` tells the tables of one topic apart, and `unmatched` is about columns. */
#include "event_rig.h"
#include "rules/invert.h"

#define OF_TABLES(kind) HEAD "envelope: " kind "\nfields:\n  - {path: $.a, table: \"shop.user_*\", mask: {}}\n"

static bool takes(const char *glob, const char *name)
{
	const char *const globs[] = {glob, NULL};
	struct kveil_tables t = {globs, glob};

	return kveil_tables_take(&t, kveil_span_str(name));
}

static void a_glob_takes_names(void **state)
{
	(void)state;
	static const struct {
		const char *glob, *name;
		bool takes;
	} cases[] = {
	    {"users", "users", true},
	    {"users", "USERS", true},
	    {"users", "shop.users", true},
	    {"users", "db.shop.users", true},
	    {"users", "superusers", false},
	    {"users", "users.x", false},
	    {"shop.user_*", "shop.user_1", true},
	    {"shop.user_*", "db.shop.user_1", true},
	    {"shop.user_*", "bishop.user_1", false},
	    {"shop.user_*", "shop.order", false},
	    {"*", "", true},
	    {"a*b*c", "axxbyybzzc", true},
	    {"a*b*c", "axxbyybzz", false},
	    {"u?er", "user", true},
	    {"u?er",
	     "u\xc3\xa9"
	     "er",
	     true},
	    {"u??er",
	     "u\xc3\xa9"
	     "er",
	     false},
	    {"***a", "bba", true},
	    {"x", "", false},
	    {"K\xc3\x9cNDEN", "k\xc3\xbcnden", true},
	    {"*\xd0\x94?", "db.a\xd0\xb4\xd0\x96", true},
	    {"\xe5\xae\xa2", "\xe5\xae\xa3", false},
	    {"\xff", "\xff", true},
	    {"\xff", "\xfe", false},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (takes(cases[i].glob, cases[i].name) != cases[i].takes)
			fail_msg("%s on %s", cases[i].glob, cases[i].name);
}

static void a_rule_is_for_its_tables(void **state)
{
	(void)state;
	static const struct {
		const char *kind, *event;
		bool protects;
	} cases[] = {
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"database\":\"shop\",\"table\":\"user_1\",\"type\":\"INSERT\"}",
	     true},
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"database\":\"shop\",\"table\":\"orders\",\"type\":\"INSERT\"}"},
	    {"canal", "{\"old\":[{\"a\":\"x\"}],\"database\":\"bishop\",\"table\":\"user_1\",\"type\":\"UPDATE\"}"},
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"database\":\"Shop\",\"table\":\"User_1\",\"type\":\"INSERT\"}",
	     true},
	    /* Not told, or told twice: doubt. */
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"table\":\"user_1\",\"type\":\"INSERT\"}", true},
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"database\":\"shop\",\"table\":\"orders\"}", true},
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"database\":\"shop\",\"type\":\"INSERT\"}", true},
	    {"canal",
	     "{\"data\":[{\"a\":\"x\"}],\"database\":\"shop\",\"table\":\"o\",\"table\":\"p\",\"type\":\"INSERT\"}",
	     true},
	    {"canal", "{\"data\":[{\"a\":\"x\"}],\"database\":\"shop\",\"table\":7,\"type\":\"INSERT\"}", true},
	    /* A flat row's columns are not a clue. */
	    {"canal", "{\"a\":\"x\",\"database\":\"shop\",\"table\":\"orders\",\"type\":\"INSERT\"}", true},
	    {"maxwell", "{\"database\":\"shop\",\"table\":\"user_1\",\"type\":\"insert\",\"data\":{\"a\":\"x\"}}",
	     true},
	    {"maxwell", "{\"database\":\"shop\",\"table\":\"orders\",\"type\":\"insert\",\"old\":{\"a\":\"x\"}}"},
	    {"ogg", "{\"table\":\"SHOP.USER_1\",\"op_type\":\"I\",\"after\":{\"a\":\"x\"}}", true},
	    {"ogg", "{\"table\":\"CDB.SHOP.USER_1\",\"op_type\":\"I\",\"a\":\"x\"}", true},
	    {"ogg", "{\"table\":\"SHOP.ORDERS\",\"op_type\":\"I\",\"before\":{\"a\":\"x\"}}"},
	    {"ogg", "{\"table\":\"SHOP.ORDERS\",\"op_type\":\"I\",\"a\":\"x\"}"},
	    {"ogg", "{\"table\":\"SHOP.ORDERS\",\"a\":\"x\"}", true},
	    {"debezium", "{\"after\":{\"a\":\"x\"},\"source\":{\"db\":\"shop\",\"table\":\"user_1\"},\"op\":\"c\"}",
	     true},
	    {"debezium", "{\"after\":{\"a\":\"x\"},\"source\":{\"db\":\"shop\",\"table\":\"orders\"},\"op\":\"c\"}"},
	    {"debezium",
	     "{\"payload\":{\"before\":{\"a\":\"x\"},\"source\":{\"db\":\"d\",\"schema\":\"shop\",\"table\":\"o\"},"
	     "\"op\":\"c\"}}"},
	    {"debezium",
	     "{\"before\":{\"a\":\"x\"},\"source\":{\"db\":\"d\",\"schema\":\"shop\",\"table\":\"user_2\"},\"op\":"
	     "\"c\"}",
	     true},
	    {"debezium",
	     "{\"before\":{\"a\":\"x\"},\"source\":{\"db\":\"shop\",\"schema\":\"s\",\"table\":\"user_2\"},\"op\":"
	     "\"c\"}",
	     true},
	    {"debezium", "{\"after\":{\"a\":\"x\"},\"source\":{\"db\":\"shop\",\"table\":\"orders\"}}", true},
	    {"debezium", "{\"a\":\"x\",\"__source_table\":\"orders\",\"__source_db\":\"shop\"}"},
	    {"debezium", "{\"a\":\"x\",\"__source_table\":\"user_1\",\"__source_db\":\"shop\"}", true},
	    {"debezium", "{\"a\":\"x\",\"__table\":\"orders\"}", true}, /* of which database? */
	    {"debezium", "{\"a\":\"x\",\"source\":{\"db\":\"shop\",\"table\":\"orders\"},\"op\":\"c\"}", true},
	    {"debezium", "{\"a\":\"x\"}", true},
	    /* Of which schema? Where none is told, an event's database has none. */
	    {"debezium", "{\"a\":\"x\",\"__table\":\"user_1\",\"__db\":\"d\"}", true},
	    {"debezium", "{\"a\":\"x\",\"__table\":\"orders\",\"__db\":\"d\"}"},
	    {"debezium", "{\"a\":\"x\",\"__table\":\"user_1\",\"__db\":\"d\",\"__schema\":\"s\"}"},
	    {"debezium", "{\"a\":\"x\",\"__table\":\"user_1\",\"__db\":\"d\",\"__schema\":\"\"}", true},
	    {"debezium", "{\"a\":\"x\",\"__table\":\"\",\"__db\":\"d\",\"__schema\":\"s\"}", true},
	    {"debezium",
	     "{\"after\":{\"a\":\"x\"},\"source\":{\"db\":\"d\",\"schema\":null,\"table\":\"user_1\"},\"op\":\"c\"}",
	     true},
	    {"debezium", "{\"after\":{\"a\":\"x\"},\"source\":{\"db\":\"d\",\"table\":\"user_1\"},\"op\":\"c\"}"},
	    /* One clue says so, another does not. */
	    {"debezium",
	     "{\"a\":\"x\",\"__table\":\"orders\",\"__db\":\"shop\",\"__source_table\":\"user_1\","
	     "\"__source_db\":\"shop\"}",
	     true},
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rig r;
		char yaml[512];
		snprintf(yaml, sizeof yaml, OF_TABLES("%s"), cases[i].kind);
		rig_init(&r, yaml);
		if (run(&r, NULL, cases[i].event) != KVEIL_OK)
			fail_msg("%s: %s", cases[i].event, r.result.error.message);
		if (!strstr(r.value, "\"a\":\"x\"") != cases[i].protects)
			fail_msg("%s: %s: %s", cases[i].kind, cases[i].event, r.value);
		rig_clear(&r);
	}
}

/* A path with .. names a place in the row, and in the event around it read as a row: that tells no table. */
static void the_row_tells_before_what_is_around_it(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: debezium\nfields:\n  - {path: $..a, table: users, mask: {}}\n");
#define AFTER(table, a) "{\"after\":{\"o\":{\"a\":\"" a "\"}},\"op\":\"c\",\"source\":{\"table\":\"" table "\"}}"
	becomes(&r, AFTER("orders", "x"), AFTER("orders", "x"));
	becomes(&r, AFTER("users", "x"), AFTER("users", "*"));
	becomes(&r, "{\"o\":{\"a\":\"x\"}}", "{\"o\":{\"a\":\"*\"}}");
	/* Told in the flat reading. */
	becomes(&r, "{\"after\":{\"a\":\"x\"},\"op\":\"c\",\"source\":{\"table\":\"o\"},\"__table\":\"users\"}",
		"{\"after\":{\"a\":\"*\"},\"op\":\"c\",\"source\":{\"table\":\"o\"},\"__table\":\"users\"}");
	rig_clear(&r);
	rig_init(&r, HEAD "envelope: debezium\nunmatched: remove\nfields:\n  - {path: $..a, table: users, mask: {}}\n");
	becomes(&r,
		"{\"after\":{\"o\":{\"a\":\"clear\"}},\"op\":\"c\",\"source\":{\"connector\":\"c\",\"table\":\"o\"}}",
		"{\"after\":{},\"op\":\"c\",\"source\":{\"connector\":\"c\",\"table\":\"o\"}}");
	rig_clear(&r);
}

static void each_table_has_its_own_rules(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: canal\nfields:\n"
			  "  - {path: $.a, table: [users, \"member_*\"], when: \"$.b == 1\", mask: {}}\n"
			  "  - {path: $.a, table: orders, replace: {with: y}}\n"
			  "  - {path: $.a, hash: {key: p, truncate: 16}}\n");
#define OF(table, row) "{\"data\":[" row "],\"database\":\"d\",\"table\":\"" table "\",\"type\":\"INSERT\"}"
	becomes(&r, OF("users", "{\"a\":\"xx\",\"b\":1}"), OF("users", "{\"a\":\"**\",\"b\":1}"));
	becomes(&r, OF("member_7", "{\"a\":\"xx\",\"b\":1}"), OF("member_7", "{\"a\":\"**\",\"b\":1}"));
	becomes(&r, OF("orders", "{\"a\":\"xx\",\"b\":1},{\"a\":\"z\"}"),
		OF("orders", "{\"a\":\"y\",\"b\":1},{\"a\":\"y\"}"));
	assert_int_equal(run(&r, NULL, OF("users", "{\"a\":\"xx\",\"b\":2}")), KVEIL_OK);
	assert_null(strstr(r.value, "xx"));
	assert_null(strstr(r.value, "**"));
	rig_clear(&r);
}

static void a_field_is_required_of_its_table(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: canal\nfields:\n  - {path: $.a, table: users, required: true, mask: {}}\n");
	fails(&r, NULL, OF("users", "{\"b\":1}"), KVEIL_E_MISSING_FIELD);
	becomes(&r, OF("orders", "{\"b\":1}"), OF("orders", "{\"b\":1}"));
	fails(&r, NULL, "{\"b\":1}", KVEIL_E_MISSING_FIELD);
	rig_clear(&r);
}

/* A tombstone's key must be what the row's was: the key itself has to tell its table. */
static void a_key_tells_its_table_or_fails(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: maxwell\nfields:\n  - {path: $.a, table: shop.users, hash: {key: p}}\n");
	assert_int_equal(run(&r, "{\"database\":\"shop\",\"table\":\"orders\",\"pk.a\":\"x\"}", NULL), KVEIL_OK);
	assert_string_equal(r.key, "{\"database\":\"shop\",\"table\":\"orders\",\"pk.a\":\"x\"}");
	assert_int_equal(run(&r, "{\"database\":\"shop\",\"table\":\"users\",\"pk.a\":\"secret\"}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "secret"));
	/* Columns spelled as rows do are not Maxwell's key. */
	fails(&r, "{\"database\":\"shop\",\"table\":\"orders\",\"a\":\"x\"}", NULL, KVEIL_E_KEY_COLUMN);
	rig_clear(&r);

	rig_init(&r, HEAD "envelope: debezium\nfields:\n  - {path: $.a, table: users, hash: {key: p}}\n");
	fails(&r, "{\"a\":\"x\"}", "{\"op\":\"c\",\"after\":{\"a\":\"x\"},\"source\":{\"table\":\"orders\"}}",
	      KVEIL_E_KEY_COLUMN);
	assert_int_equal(run(&r, "{\"a\":\"x\",\"__dbz__physicalTableIdentifier\":\"srv.shop.orders\"}", NULL),
			 KVEIL_OK);
	assert_non_null(strstr(r.key, "\"a\":\"x\""));
	assert_int_equal(run(&r, "{\"a\":\"x\",\"__dbz__physicalTableIdentifier\":\"srv.shop.users\"}", NULL),
			 KVEIL_OK);
	assert_null(strstr(r.key, "\"a\":\"x\""));
	rig_clear(&r);

	rig_init(&r, HEAD "envelope: debezium\nfields:\n  - {path: $.a, table: users, hash: {key: p}, on_key: any}\n");
	assert_int_equal(run(&r, "{\"a\":\"secret\"}", NULL), KVEIL_OK);
	assert_null(strstr(r.key, "secret"));
	rig_clear(&r);
	/* A bare key never tells. */
	rig_init(&r,
		 HEAD "envelope: {kind: canal, key: $.a}\nfields:\n  - {path: $.a, table: users, hash: {key: p}}\n");
	fails(&r, "\"x\"", OF("orders", "{\"a\":\"x\"}"), KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
}

/* What is protected in one table's rows only is not protected. */
static void check_knows_that_a_table_is_a_condition(void **state)
{
	(void)state;
#define TWO(one, other)                                                                                                \
	"name: t\ntopics: [in]\nenvelope: canal\noutputs:\n  - {name: v, topic: v, fields: [" one "]}\n"               \
	"  - {name: w, topic: w, fields: [" other "]}\n"
	says(TWO("{path: $.a, mask: {}}", "{path: $.a, table: users, mask: {}}"), false,
	     "output v protects $.a and output w does not");
	says(TWO("{path: $.a, table: users, mask: {}}", "{path: $.a, table: orders, mask: {}}"), false,
	     "output v protects $.a and output w does not");
	says(TWO("{path: $.a, table: users, mask: {}}", "{path: $.b, mask: {}}, {path: $.a, table: orders, mask: {}}"),
	     false, "output v protects $.a and output w does not");
	kveil_plan_unref(load(TWO("{path: $.a, table: users, mask: {}}", "{path: $.a, table: users, hash: {key: p}}")));
	says(TWO("{path: $.a, table: users, mask: {}}", "{path: $.a, hash: {key: p}}"), false,
	     "output w protects $.a and output v does not");
	says(HEAD "envelope: canal\nfields:\n  - {path: $.a, table: users, mask: {}}\n"
		  "  - {path: $.a, table: users, hash: {key: p}}\n",
	     false, "never reached");
	says(HEAD "fields:\n  - {path: $.a, table: users, mask: {}}\n", false, "table is for change events");
	says(HEAD "envelope: canal\nfields:\n  - {path: $.a, table: \"\", mask: {}}\n", false, "a table has a name");
	says(HEAD "envelope: canal\nfields:\n  - {path: $.a, table: users, mask: {}}\n"
		  "  - {path: $.a.b, table: user_1, hash: {key: p}}\n"
		  "  - {path: $.a.c, table: \"user*\", hash: {key: p}}\n",
	     false, "$.a.c lies inside $.a");
	kveil_plan_unref(load(HEAD "envelope: canal\nfields:\n  - {path: $.a, table: x.users, mask: {}}\n"
				   "  - {path: $.a.b, table: orders, hash: {key: p}}\n"));
}

static bool protects_less(const char *before, const char *now)
{
	struct kveil_plan_set *a = kveil_plan_set_of(load(before), "dlq"), *b = kveil_plan_set_of(load(now), "dlq");
	bool less = kveil_plan_set_protects_less(a, b, NULL);

	kveil_plan_set_unref(a);
	kveil_plan_set_unref(b);
	return less;
}

static void a_table_is_less_on_reload(void **state)
{
	(void)state;
#define ONE(more) HEAD "envelope: canal\nfields:\n  - {path: $.a" more ", mask: {}}\n"

	assert_true(protects_less(ONE(""), ONE(", table: users")));
	assert_true(protects_less(ONE(", table: users"), ONE(", table: orders")));
	assert_false(protects_less(ONE(", table: users"), ONE(", table: users")));
	assert_false(protects_less(ONE(", table: users"), ONE("")));
}

static void an_inverse_opens_the_same_tables(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf inverse = KVEIL_BUF_INIT;
	struct rig r;
	char sealed[8192];
	static const char users[] = OF("users", "{\"a\":\"xx\"}"), orders[] = OF("orders", "{\"a\":\"xx\"}");

	rig_init(&r, HEAD "envelope: canal\nfields:\n  - {path: $.a, table: users, encrypt: {key: k}}\n"
			  "  - {path: $.a, table: [orders, \"o*\"], tokenize: {key: k2}}\n");
	assert_int_equal(run(&r, NULL, users), KVEIL_OK);
	strcpy(sealed, r.value);
	assert_int_equal(run(&r, NULL, orders), KVEIL_OK);
	assert_int_equal(kveil_plan_write_inverse(r.plan, 0, &inverse), 2);
	bind_plan(&r, load(kveil_buf_cstr(&inverse)));
	char tokens[8192];
	strcpy(tokens, r.value);
	becomes(&r, sealed, users);
	becomes(&r, tokens, orders);
	rig_clear(&r);
}

#define UNMATCHED(kind)                                                                                                \
	HEAD "envelope: " kind "\nunmatched: remove\nclear: [$.id, \"$.l[?@.k == 1]\"]\nfields:\n"                     \
	     "  - {path: $.a, mask: {}}\n  - {path: $.u, table: users, mask: {}}\n"

static void unmatched_is_about_columns(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, UNMATCHED("debezium"));
#define SOURCE "\"source\":{\"connector\":\"mysql\",\"db\":\"d\",\"table\":\"orders\"},\"op\":\"u\",\"ts_ms\":1"
	becomes(
	    &r,
	    "{\"before\":{\"id\":1,\"x\":\"clear\"},\"after\":{\"id\":1,\"a\":\"y\",\"b\":\"clear\",\"l\":[{\"k\":1},"
	    "{\"k\":2}]},\"strange\":\"clear\"," SOURCE "}",
	    "{\"before\":{\"id\":1},\"after\":{\"id\":1,\"a\":\"*\",\"l\":[{\"k\":1}]}," SOURCE "}");
	becomes(&r, "{\"before\":null,\"after\":{\"x\":1}," SOURCE "}", "{\"before\":null,\"after\":{}," SOURCE "}");
	becomes(&r, "{\"payload\":{\"before\":null,\"after\":{\"x\":1,\"id\":2}," SOURCE "}}",
		"{\"payload\":{\"before\":null,\"after\":{\"id\":2}," SOURCE "}}");
	/* A rule of another table names nothing here. */
	becomes(&r, "{\"after\":{\"u\":1,\"id\":2}," SOURCE "}", "{\"after\":{\"id\":2}," SOURCE "}");
	/* What is not an event is a row, whatever its columns are called. */
	becomes(&r, "{\"op\":\"clear\",\"source\":{\"x\":\"clear\"},\"ts_ms\":5,\"id\":1}", "{\"id\":1}");
	becomes(&r, "{\"op\":\"c\",\"source\":{\"x\":\"clear\"},\"ts_ms\":5,\"id\":1}", "{\"id\":1}");
	becomes(&r, "{\"status\":\"END\",\"id\":\"1\",\"event_count\":2}", "{\"id\":\"1\"}");
	becomes(&r, "{\"ddl\":\"clear\",\"after\":\"clear\",\"id\":1}", "{\"id\":1}");
	/* What a transform adds is not a column; the text of a statement is blanked and goes. */
	becomes(&r, "{\"id\":1,\"x\":2,\"__op\":\"c\",\"__deleted\":\"false\",\"__source_ts_ms\":5,\"__mine\":1}",
		"{\"id\":1,\"__op\":\"c\",\"__deleted\":\"false\",\"__source_ts_ms\":5}");
	becomes(&r, "{\"id\":1,\"__op\":{\"x\":\"clear\"}}", "{\"id\":1}");
	rig_clear(&r);

	rig_init(&r, UNMATCHED("canal"));
	becomes(&r,
		"{\"data\":[{\"id\":1,\"x\":2},{\"y\":3}],\"old\":[{\"x\":1},null],\"database\":\"d\",\"table\":\"t\","
		"\"type\":"
		"\"UPDATE\",\"isDdl\":false,\"id\":7,\"new\":1}",
		"{\"data\":[{\"id\":1},{}],\"old\":[{},null],\"database\":\"d\",\"table\":\"t\",\"type\":\"UPDATE\","
		"\"isDdl\":false,\"id\":7}");
	becomes(&r, "{\"type\":\"x\",\"table\":1,\"a\":\"y\"}", "{\"a\":\"*\"}");
	rig_clear(&r);

	rig_init(&r, UNMATCHED("maxwell"));
	becomes(&r,
		"{\"database\":\"d\",\"table\":\"t\",\"type\":\"update\",\"ts\":1,\"data\":{\"a\":\"x\",\"b\":1},"
		"\"old\":{\"b\":0}}",
		"{\"database\":\"d\",\"table\":\"t\",\"type\":\"update\",\"ts\":1,\"data\":{\"a\":\"*\"},\"old\":{}}");
	rig_clear(&r);

	rig_init(&r, UNMATCHED("ogg"));
	becomes(
	    &r,
	    "{\"table\":\"T\",\"op_type\":\"U\",\"op_ts\":\"1\",\"pos\":\"2\",\"before\":{\"b\":1},\"after\":{\"a\":"
	    "\"x\"}}",
	    "{\"table\":\"T\",\"op_type\":\"U\",\"op_ts\":\"1\",\"pos\":\"2\",\"before\":{},\"after\":{\"a\":\"*\"}}");
	becomes(&r, "{\"table\":\"T\",\"op_type\":\"U\",\"op_ts\":\"1\",\"pos\":\"2\",\"b\":1,\"a\":\"x\"}",
		"{\"table\":\"T\",\"op_type\":\"U\",\"op_ts\":\"1\",\"pos\":\"2\",\"a\":\"*\"}");
	rig_clear(&r);

	rig_init(&r, HEAD "envelope: debezium\nunmatched: dead-letter\nfields:\n  - {path: $.a, mask: {}}\n");
	becomes(&r, "{\"after\":{\"a\":\"x\"}," SOURCE "}", "{\"after\":{\"a\":\"*\"}," SOURCE "}");
	fails(&r, NULL, "{\"after\":{\"a\":\"x\",\"b\":1}," SOURCE "}", KVEIL_E_UNMATCHED_FIELD);
	fails(&r, NULL, "{\"after\":{\"a\":\"x\"},\"new\":1," SOURCE "}", KVEIL_E_UNMATCHED_FIELD);
	rig_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_glob_takes_names),
	    cmocka_unit_test(a_rule_is_for_its_tables),
	    cmocka_unit_test(the_row_tells_before_what_is_around_it),
	    cmocka_unit_test(each_table_has_its_own_rules),
	    cmocka_unit_test(a_field_is_required_of_its_table),
	    cmocka_unit_test(a_key_tells_its_table_or_fails),
	    cmocka_unit_test(check_knows_that_a_table_is_a_condition),
	    cmocka_unit_test(a_table_is_less_on_reload),
	    cmocka_unit_test(an_inverse_opens_the_same_tables),
	    cmocka_unit_test(unmatched_is_about_columns),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

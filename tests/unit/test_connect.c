/* SPDX-License-Identifier: Apache-2.0 */
/* Kafka Connect's JSON with its schema inline: the schema says what the rules left, and nothing of what they hid. */
#include "engine/connect.h"
#include "event_rig.h"
#include "rules/invert.h"

#define DBZ   HEAD "envelope: debezium\nfields:\n"
#define PLAIN HEAD "envelope: connect\nfields:\n"

/* A struct of fields, as the schema of a record; a field. */
#define SCHEMA(fields)  "{\"type\":\"struct\",\"fields\":[" fields "],\"optional\":false,\"name\":\"s.Value\"}"
#define FIELD(name, as) "{" as ",\"field\":\"" name "\"}"
#define TEXT(name)      FIELD(name, "\"type\":\"string\",\"optional\":true")
#define INT(name)       FIELD(name, "\"type\":\"int32\",\"optional\":false")
#define WHOLE(s, p)     "{\"schema\":" s ",\"payload\":" p "}"
#define ORIGINAL(text)  "\"parameters\":{\"kveil.type\":\"" text "\"}"

/* The schema is derived, then remembered. */
static void becomes_twice(struct rig *r, const char *value, const char *want)
{
	for (int i = 0; i < 2; i++)
		becomes(r, value, want);
}

/* One field's schema and value become others; "" for a field that goes. */
static void field_becomes(const char *rule, const char *schema, const char *value, const char *want_schema,
			  const char *want_value)
{
	char yaml[512], in[2048], want[2048];
	struct rig r;

	snprintf(yaml, sizeof yaml, PLAIN "  - {path: $.a, %s}\n", rule);
	rig_init(&r, yaml);
	snprintf(in, sizeof in, WHOLE(SCHEMA("%s," INT("b")), "{%s,\"b\":1}"), schema, value);
	snprintf(want, sizeof want, WHOLE(SCHEMA("%s%s" INT("b")), "{%s%s\"b\":1}"), want_schema,
		 *want_schema ? "," : "", want_value, *want_value ? "," : "");
	becomes_twice(&r, in, want);
	rig_clear(&r);
}

static void a_type_follows_the_rule(void **state)
{
	(void)state;
	static const char text[] = FIELD("a", "\"type\":\"string\",\"optional\":false");
	static const char maybe[] = FIELD("a", "\"type\":\"string\",\"optional\":true");

	field_becomes("mask: {}", text, "\"a\":\"12\"", text, "\"a\":\"**\"");
	field_becomes("mask: {}", INT("a"), "\"a\":12", text, "\"a\":\"**\"");
	field_becomes("mask: {}", FIELD("a", "\"type\":\"boolean\""), "\"a\":true", FIELD("a", "\"type\":\"string\""),
		      "\"a\":\"****\"");
	field_becomes("nullify: true", text, "\"a\":\"12\"", maybe, "\"a\":null");
	field_becomes("nullify: true", FIELD("a", "\"type\":\"int8\""), "\"a\":1",
		      "{\"type\":\"int8\",\"field\":\"a\",\"optional\":true}", "\"a\":null");
	field_becomes("remove: true", text, "\"a\":\"12\"", "", "");
	/* Constants. */
	field_becomes("replace: {with: 0}", INT("a"), "\"a\":12", INT("a"), "\"a\":0");
	field_becomes("replace: {with: 0}", text, "\"a\":\"12\"", FIELD("a", "\"type\":\"int64\",\"optional\":false"),
		      "\"a\":0");
	field_becomes("replace: {with: 70000}", FIELD("a", "\"type\":\"int16\",\"optional\":false"), "\"a\":12",
		      FIELD("a", "\"type\":\"int64\",\"optional\":false"), "\"a\":70000");
	field_becomes("replace: {with: 0.5}", INT("a"), "\"a\":12",
		      FIELD("a", "\"type\":\"double\",\"optional\":false"), "\"a\":0.5");
	field_becomes("replace: {with: false}", INT("a"), "\"a\":12",
		      FIELD("a", "\"type\":\"boolean\",\"optional\":false"), "\"a\":false");
	field_becomes("replace: {with: x}", INT("a"), "\"a\":12", text, "\"a\":\"x\"");
	field_becomes("replace: {with: null}", maybe, "\"a\":\"12\"", maybe, "\"a\":null");
}

/* One type holds what the rule wrote and what it left. */
static void a_condition_gives_a_type_for_both(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, PLAIN "  - {path: $.a, when: \"$.b > 1\", mask: {}}\n");
#define BOTH WHOLE(SCHEMA(FIELD("a", "\"type\":\"%s\",\"optional\":false") "," INT("b")), "{\"a\":%s,\"b\":%d}")
	static const char *const cases[][3] = {
	    {"int32", "12", "\"12\""},      {"double", "1.50e1", "\"1.50e1\""}, {"boolean", "true", "\"true\""},
	    {"string", "\"12\"", "\"12\""}, {"bytes", "\"TiA=\"", "\"TiA=\""},  {"int64", "null", "null"},
	};
	char in[1024], want[1024];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(in, sizeof in, BOTH, cases[i][0], cases[i][1], 1);
		snprintf(want, sizeof want, BOTH, "string", cases[i][2], 1);
		becomes_twice(&r, in, want);
	}
	snprintf(in, sizeof in, BOTH, "int32", "12", 2);
	snprintf(want, sizeof want, BOTH, "string", "\"**\"", 2);
	becomes_twice(&r, in, want);
#undef BOTH
	rig_clear(&r);
	/* What goes only sometimes may be absent. */
	rig_init(&r, PLAIN "  - {path: $.a, when: \"$.b > 1\", remove: true}\n");
	becomes_twice(&r, WHOLE(SCHEMA(INT("a") "," INT("b")), "{\"a\":7,\"b\":2}"),
		      WHOLE(SCHEMA(FIELD("a", "\"type\":\"int32\",\"optional\":true") "," INT("b")), "{\"b\":2}"));
	rig_clear(&r);
	/* Some elements, some entries. */
#define LIST(type)                                                                                                     \
	"{\"type\":\"array\",\"items\":{\"type\":\"" type "\",\"optional\":false},\"optional\":false,\"field\":\"l\"}"
#define MAP(type)                                                                                                      \
	"{\"type\":\"map\",\"keys\":{\"type\":\"string\",\"optional\":false},\"values\":{\"type\":\"" type             \
	"\",\"optional\":false},\"optional\":false,\"field\":\"m\"}"
	rig_init(&r, PLAIN "  - {path: \"$.l[0]\", mask: {}}\n  - {path: $.m.a, mask: {}}\n");
	becomes_twice(&r,
		      WHOLE(SCHEMA(LIST("int32") "," MAP("boolean")), "{\"l\":[1,2],\"m\":{\"b\":true,\"a\":false}}"),
		      WHOLE(SCHEMA(LIST("string") "," MAP("string")),
			    "{\"l\":[\"*\",\"2\"],\"m\":{\"b\":\"true\",\"a\":\"*****\"}}"));
	rig_clear(&r);
	rig_init(&r, PLAIN "  - {path: \"$.l[?@ > 1]\", mask: {}}\n  - {path: \"$.m[*]\", nullify: true}\n");
	becomes_twice(
	    &r, WHOLE(SCHEMA(LIST("int32") "," MAP("boolean")), "{\"l\":[1,2],\"m\":{\"b\":true}}"),
	    WHOLE(SCHEMA(LIST("string") ",{\"type\":\"map\",\"keys\":{\"type\":\"string\",\"optional\":false},"
					"\"values\":{\"type\":\"boolean\",\"optional\":true},\"optional\":false,"
					"\"field\":\"m\"}"),
		  "{\"l\":[\"1\",\"*\"],\"m\":{\"b\":null}}"));
	rig_clear(&r);
}

static void a_schema_tells_nothing_of_clear_values(void **state)
{
	(void)state;
	struct rig r;

	field_becomes(
	    "mask: {}",
	    FIELD("a", "\"type\":\"string\",\"optional\":false,\"name\":\"io.debezium.data.Enum\",\"version\":1,"
		       "\"parameters\":{\"allowed\":\"male,female\"},\"default\":\"male\""),
	    "\"a\":\"male\"", FIELD("a", "\"type\":\"string\",\"optional\":false,\"default\":\"\""), "\"a\":\"****\"");
	field_becomes("mask: {}",
		      FIELD("a",
			    "\"type\":\"int32\",\"name\":\"io.debezium.time.Date\",\"version\":1,\"default\":19000,"
			    "\"doc\":\"born\",\"parameters\":{\"__debezium.source.column.type\":\"DATE\","
			    "\"__debezium.source.column.name\":\"a\"}"),
		      "\"a\":12",
		      FIELD("a", "\"type\":\"string\",\"default\":\"\",\"doc\":\"born\","
				 "\"parameters\":{\"__debezium.source.column.name\":\"a\"}"),
		      "\"a\":\"**\"");
	field_becomes("nullify: true",
		      FIELD("a",
			    "\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Enum\",\"version\":1,"
			    "\"parameters\":{\"\\u0061llowed\":\"male,female\",\"x\":\"y\"}"),
		      "\"a\":\"male\"",
		      FIELD("a", "\"type\":\"string\",\"optional\":true,\"parameters\":{\"x\":\"y\"}"), "\"a\":null");
	/* A null stays. */
	field_becomes("mask: {}", FIELD("a", "\"type\":\"string\",\"optional\":true,\"default\":null"), "\"a\":null",
		      FIELD("a", "\"type\":\"string\",\"optional\":true,\"default\":null"), "\"a\":null");
	/* Also for a condition that may spare it, and for what becomes null. */
	field_becomes("when: \"$.b == 9\", mask: {}",
		      FIELD("a", "\"type\":\"int32\",\"optional\":false,\"default\":42"), "\"a\":1",
		      FIELD("a", "\"type\":\"string\",\"optional\":false,\"default\":\"\""), "\"a\":\"1\"");
	field_becomes("nullify: true", FIELD("a", "\"type\":\"int32\",\"optional\":false,\"default\":42"), "\"a\":1",
		      FIELD("a", "\"type\":\"int32\",\"optional\":true"), "\"a\":null");
	/* The default of what it stands in holds it too. */
	rig_init(&r, PLAIN "  - {path: $.o.a, mask: {}}\n  - {path: \"$.l[*].a\", mask: {}}\n");
#define INNER(more, end) "{\"type\":\"struct\",\"fields\":[" TEXT("a") "],\"optional\":false" more end "}"
	becomes_twice(
	    &r,
	    WHOLE(SCHEMA(INNER(
		      ",\"default\":{\"a\":\"secret\"}",
		      ",\"field\":\"o\"") ",{\"type\":\"array\",\"items\":" INNER("",
										  "") ",\"default\":[{\"a\":\"secret\"}"
										      "],\"field\":\"l\"}"),
		  "{\"o\":{\"a\":\"x\"},\"l\":[{\"a\":\"x\"}]}"),
	    WHOLE(SCHEMA("{\"type\":\"struct\",\"fields\":[" TEXT("a") "],\"optional\":true,\"field\":\"o\"}"
								       ",{\"type\":\"array\",\"items\":" INNER(
									   "", "") ",\"default\":[],\"field\":\"l\"}"),
		  "{\"o\":{\"a\":\"*\"},\"l\":[{\"a\":\"*\"}]}"));
	rig_clear(&r);
}

#define CANARY  "QABCZ12345"
#define DEFAULT ",\"optional\":false,\"default\":"
#define ENUM                                                                                                           \
	"\"type\":\"string\",\"name\":\"io.debezium.data.Enum\",\"version\":1,\"parameters\":{\"allowed\":\"" CANARY   \
	"\"}"
#define LEAF ENUM DEFAULT "\"" CANARY "\""
#define DECIMAL                                                                                                        \
	"\"type\":\"bytes\",\"name\":\"org.apache.kafka.connect.data.Decimal\",\"version\":1" DEFAULT "\"" CANARY "\""
/* As the converters for Avro, Protobuf and JSON Schema have enumerations. */
#define SYMBOLS(space)                                                                                                 \
	"\"type\":\"string\",\"parameters\":{\"" space ".Enum\":\"t\",\"" space ".Enum." CANARY "\":\"0\",\"" space    \
	".enum.default.a\":\"" CANARY "\"}"
#define STRUCT_OF(fields) "\"type\":\"struct\",\"fields\":[" fields "]"
#define LIST_OF(items)    "\"type\":\"array\",\"items\":{" items "}"
#define MAP_OF(k, v)      "\"type\":\"map\",\"keys\":{" k "},\"values\":{" v "}"

/* Whatever the record becomes, nothing of it is in the schema. */
static void tells_nothing(const char *yaml, const char *value)
{
	struct rig r;

	rig_init(&r, yaml);
	if (run(&r, NULL, value) != KVEIL_OK)
		fail_msg("%s%s: %s", yaml, value, r.result.error.message);
	if (strstr(r.value, CANARY) || strstr(r.value, "77777"))
		fail_msg("%s%s\n%s", yaml, value, r.value);
	rig_clear(&r);
}

/* Of whatever stands in a protected field the schema tells no clear value, whichever rule it is and whenever it holds.
 */
static void what_lies_in_a_protected_field_is_protected(void **state)
{
	(void)state;
	static const char *const rules[] = {
	    "path: $.a, nullify: true",
	    "path: $.a, when: \"$.b > 9\", nullify: true",
	    "path: $.a, when: \"$.b > 9\", remove: true",
	    "path: $.a, remove: true",
	    "path: $.a, replace: {with: null}",
	    "path: $.a, when: \"$.b > 9\", replace: {with: 7}",
	    "path: $.a, when: \"$.b > 9\", encrypt: {key: k, type: json}",
	    "path: $.a, encrypt: {key: k, type: json}, to: $.c",
	    "path: $..a, nullify: true",
	    /* Here the filters begin, which name no keys and go into no pairs. */
	    "path: \"$.a[?@.q == 'x']\", nullify: true",
	    "path: \"$.a[?@.q == 'x']\", remove: true",
	};
	enum { FIRST_FILTER = 9, FIRST_WITH_KEYS = 8 };
	/* Every kind of thing that holds others, and what is held two deep. */
	static const char *const fields[][2] = {
	    {STRUCT_OF(FIELD("q", LEAF)), "{\"q\":\"x\"}"},
	    {STRUCT_OF(FIELD("q", DECIMAL)), "{\"q\":\"TiA=\"}"},
	    {LIST_OF(LEAF), "[\"x\"]"},
	    {STRUCT_OF(FIELD("q", STRUCT_OF(FIELD("r", LEAF)) DEFAULT "{\"r\":\"" CANARY "\"}")),
	     "{\"q\":{\"r\":\"x\"}}"},
	    {STRUCT_OF(FIELD("q", LIST_OF(LEAF) DEFAULT "[\"" CANARY "\"]")), "{\"q\":[\"x\"]}"},
	    {LIST_OF(STRUCT_OF(FIELD("q", LEAF))), "[{\"q\":\"x\"}]"},
	    {LIST_OF(MAP_OF(ENUM, STRUCT_OF(FIELD("q", LEAF)))), "[{\"x\":{\"q\":\"y\"}}]"},
	    {MAP_OF("\"type\":\"string\"", LIST_OF(LEAF)), "{\"x\":[\"y\"]}"},
	    {MAP_OF(LEAF, LEAF), "{\"x\":\"y\"}"},
	    {SYMBOLS("io.confluent.connect.avro"), "\"x\""},
	    {SYMBOLS("org.apache.kafka.connect.data"), "\"x\""},
	    {STRUCT_OF(FIELD("q", SYMBOLS("\\u0069o.confluent.connect.avro"))), "{\"q\":\"x\"}"},
	    {MAP_OF("\"type\":\"int8\",\"default\":77777", LEAF), "[[1,\"y\"]]"},
	};
	static const char *const masks[][2] = {
	    {"path: $.a.q, when: \"$.b > 9\", mask: {}", "{\"q\":\"x\"}"},
	    {"path: \"$.a[?@ == 'z']\", mask: {}", "[\"x\"]"},
	};
	struct rig r;
	char yaml[512], in[2048];

	for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
		for (size_t k = 0; k < (i < FIRST_FILTER ? sizeof fields / sizeof *fields : FIRST_WITH_KEYS); k++) {
			snprintf(yaml, sizeof yaml, PLAIN "  - {%s}\n", rules[i]);
			snprintf(in, sizeof in, WHOLE(SCHEMA("{%s,\"field\":\"a\"}," INT("b")), "{\"a\":%s,\"b\":1}"),
				 fields[k][0], fields[k][1]);
			tells_nothing(yaml, in);
			/* As what no rule names. */
			tells_nothing(HEAD "envelope: connect\nunmatched: remove\nfields:\n  - {path: $.b, mask: {}}\n",
				      in);
		}
	for (size_t i = 0; i < 2; i++) {
		snprintf(yaml, sizeof yaml, PLAIN "  - {%s}\n", masks[i][0]);
		snprintf(in, sizeof in, WHOLE(SCHEMA("{%s,\"field\":\"a\"}," INT("b")), "{\"a\":%s,\"b\":1}"),
			 fields[2 * i][0], masks[i][1]);
		tells_nothing(yaml, in);
	}
	/* A map of columns, none of which is named. */
	tells_nothing(HEAD "envelope: connect\nunmatched: remove\nfields:\n  - {path: $.b.c, mask: {}}\n",
		      "{\"schema\":{" MAP_OF(LEAF, LIST_OF(LEAF)) "},\"payload\":{\"x\":[\"y\"]}}");
	/* What may stay keeps the type that it has. */
	rig_init(&r, PLAIN "  - {path: $.a, when: \"$.b > 9\", remove: true}\n");
	becomes_twice(
	    &r,
	    WHOLE(SCHEMA(FIELD("a", STRUCT_OF(FIELD("q", DECIMAL) "," INT("n"))) "," INT("b")),
		  "{\"a\":{\"q\":\"TiA=\",\"n\":1},\"b\":1}"),
	    WHOLE(SCHEMA("{" STRUCT_OF(FIELD(
		      "q",
		      "\"type\":\"bytes\",\"name\":"
		      "\"org.apache.kafka.connect.data.Decimal\","
		      "\"version\":1,\"optional\":true") "," INT("n")) ",\"field\":\"a\",\"optional\":true}," INT("b")),
		  "{\"a\":{\"q\":\"TiA=\",\"n\":1},\"b\":1}"));
	rig_clear(&r);
}

#define ROW                                                                                                            \
	"{\"type\":\"struct\",\"fields\":[" INT("id") "," TEXT(                                                        \
	    "phone") "],\"optional\":true,\"name\":\"s.Value\",\"field\":"
#define SOURCE                                                                                                         \
	"{\"type\":\"struct\",\"fields\":[" TEXT("db") "," TEXT("query") "],\"optional\":false,\"field\":\"source\"}"
#define EVENT       SCHEMA(ROW "\"before\"}," ROW "\"after\"}," SOURCE "," TEXT("op"))
#define KEY(fields) "{\"type\":\"struct\",\"fields\":[" fields "],\"optional\":false,\"name\":\"s.Key\"}"

static void one_rule_holds_in_every_row(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, DBZ "  - {path: $.phone, mask: {keep_last: 1}}\n");
	becomes_twice(&r,
		      WHOLE(EVENT, "{\"before\":null,\"after\":{\"id\":1,\"phone\":\"12\"},"
				   "\"source\":{\"db\":\"d\",\"query\":\"secret\"},\"op\":\"c\"}"),
		      WHOLE(EVENT, "{\"before\":null,\"after\":{\"id\":1,\"phone\":\"*2\"},"
				   "\"source\":{\"db\":\"d\",\"query\":null},\"op\":\"c\"}"));
	/* Flattened; blanks and another order, in which neither part loses a byte. */
	becomes_twice(&r, WHOLE(SCHEMA(TEXT("phone")), "{\"phone\":\"12\"}"),
		      WHOLE(SCHEMA(TEXT("phone")), "{\"phone\":\"*2\"}"));
	becomes_twice(&r, " {\"payload\" : {\"phone\":\"12\"}, \"schema\": " SCHEMA(TEXT("phone")) " }\n",
		      " {\"payload\" : {\"phone\":\"*2\"}, \"schema\": " SCHEMA(TEXT("phone")) " }\n");
	/* Schemas off, as before; nothing there. */
	becomes_twice(&r, "{\"payload\":{\"phone\":\"12\"}}", "{\"payload\":{\"phone\":\"*2\"}}");
	becomes_twice(&r, "{\"schema\":null,\"payload\":{\"phone\":\"12\"}}",
		      "{\"schema\":null,\"payload\":{\"phone\":\"*2\"}}");
	becomes_twice(&r, "{\"schema\":null,\"payload\":null}", "{\"schema\":null,\"payload\":null}");
	becomes_twice(&r, WHOLE(SCHEMA(TEXT("phone")), "null"), WHOLE(SCHEMA(TEXT("phone")), "null"));
	/* Names by their meaning. */
	becomes_twice(&r, WHOLE(SCHEMA(FIELD("\\u0070hone", "\"type\":\"int32\"")), "{\"ph\\u006fne\":12}"),
		      WHOLE(SCHEMA(FIELD("\\u0070hone", "\"type\":\"string\"")), "{\"ph\\u006fne\":\"*2\"}"));
	rig_clear(&r);
	rig_init(&r, DBZ "  - {path: $..p, mask: {}}\n");
	becomes_twice(
	    &r,
	    WHOLE(SCHEMA("{\"type\":\"struct\",\"fields\":[" INT("p") "],\"field\":\"o\"}," INT("p")),
		  "{\"o\":{\"p\":1},\"p\":2}"),
	    WHOLE(SCHEMA("{\"type\":\"struct\",\"fields\":[" FIELD(
		      "p", "\"type\":\"string\",\"optional\":false") "],\"field\":\"o\"}," FIELD("p",
												 "\"type\":\"string\","
												 "\"optional\":false")),
		  "{\"o\":{\"p\":\"*\"},\"p\":\"*\"}"));
	rig_clear(&r);
}

static void keys_have_schemas_too(void **state)
{
	(void)state;
	static const char key[] = "{ \"schema\":" KEY(INT("id")) ",\"payload\":{\"id\": 1e0}}";
	struct rig r;
	char a[512], b[4096];

	/* A rule on a value never changes key bytes. */
	rig_init(&r, DBZ "  - {path: $.phone, mask: {}}\n");
	assert_int_equal(run(&r, key, NULL), KVEIL_OK);
	assert_string_equal(r.key, key);
	assert_int_equal(run(&r, WHOLE(KEY(INT("phone")), "{\"phone\":1}"), NULL), KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
	/* The same token in the row and in the key, whose schema says so; the tombstone's key is the same. */
	rig_init(&r, DBZ "  - {path: $.id, tokenize: {key: k}}\n");
	assert_int_equal(run(&r, WHOLE(KEY(INT("id")), "{\"id\":1}"), WHOLE(SCHEMA(INT("id")), "{\"id\":1}")),
			 KVEIL_OK);
	const char *token = strstr(r.value, "\"payload\":{\"id\":\"");
	assert_non_null(token);
	snprintf(a, sizeof a, "%s", token + strlen("\"payload\":{\"id\":"));
	snprintf(b, sizeof b,
		 "{\"schema\":" KEY("{\"type\":\"string\",\"optional\":false,\"field\":\"id\"," ORIGINAL(
		     "{\\\"type\\\":\\\"int32\\\",\\\"optional\\\":false,\\\"field\\\":\\\"id\\\"}") "}") ",\"payload\""
													  ":{\"id\":%s",
		 a);
	assert_string_equal(r.key, b);
	assert_int_equal(run(&r, WHOLE(KEY(INT("id")), "{\"id\":1}"), NULL), KVEIL_OK);
	assert_string_equal(r.key, b);
	rig_clear(&r);
	/* Bare. */
	rig_init(&r, HEAD "envelope: {kind: connect, key: $.a}\nfields:\n  - {path: $.a, hash: {key: k}}\n");
	assert_int_equal(run(&r, WHOLE("{\"type\":\"int64\",\"optional\":false}", "42"), NULL), KVEIL_OK);
	assert_non_null(strstr(r.key, "{\"schema\":{\"type\":\"string\",\"optional\":false},\"payload\":\""));
	assert_int_equal(run(&r, WHOLE("{\"type\":\"int64\"}", "[42]"), NULL), KVEIL_E_KEY_COLUMN);
	/* One that is not bare stays a struct. */
	assert_int_equal(run(&r, WHOLE(KEY(INT("a")), "{\"a\":42}"), NULL), KVEIL_OK);
	assert_non_null(strstr(r.key, ",\"payload\":{\"a\":\""));
	rig_clear(&r);
	rig_init(&r, DBZ "  - {path: $.a, hash: {key: k}}\n");
	assert_int_equal(run(&r, WHOLE("{\"type\":\"int64\"}", "42"), NULL), KVEIL_E_KEY_COLUMN);
	rig_clear(&r);
}

static void a_value_can_be_moved(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, PLAIN "  - {path: $.a, to: $.c, mask: {}}\n");
	becomes_twice(&r, WHOLE(SCHEMA(INT("a") "," INT("b")), "{\"a\":12,\"b\":1}"),
		      WHOLE(SCHEMA(INT("b") ",{\"type\":\"string\",\"optional\":true,\"field\":\"c\"}"),
			    "{\"b\":1,\"c\":\"**\"}"));
	becomes_twice(&r, WHOLE(SCHEMA(INT("a") "," INT("c")), "{\"a\":12,\"c\":1}"),
		      WHOLE(SCHEMA(FIELD("c", "\"type\":\"string\",\"optional\":false")), "{\"c\":\"**\"}"));
	rig_clear(&r);
	rig_init(&r, PLAIN "  - {path: $.a, to: $.c, keep_source: true, when: \"$.b > 1\", mask: {}}\n");
	becomes_twice(&r, WHOLE(SCHEMA(INT("a") "," INT("b")), "{\"a\":12,\"b\":1}"),
		      WHOLE(SCHEMA(INT("a") "," INT("b") ",{\"type\":\"string\",\"optional\":true,\"field\":\"c\"}"),
			    "{\"a\":12,\"b\":1}"));
	rig_clear(&r);
}

static void views_have_schemas_of_their_own(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, "name: t\ntopics: [in]\nenvelope: connect\noutputs:\n"
		     "  - {name: one, topic: one, fields: [{path: $.a, mask: {}}]}\n"
		     "  - {name: two, topic: two, fields: [{path: $.a, remove: true}]}\n");
	assert_int_equal(run(&r, NULL, WHOLE(SCHEMA(INT("a") "," INT("b")), "{\"a\":12,\"b\":1}")), KVEIL_OK);
	assert_string_equal(r.value, WHOLE(SCHEMA(FIELD("a", "\"type\":\"string\",\"optional\":false") "," INT("b")),
					   "{\"a\":\"**\",\"b\":1}"));
	show(r.result.outputs[1].record.value, r.value, sizeof r.value);
	assert_string_equal(r.value, WHOLE(SCHEMA(INT("b")), "{\"b\":1}"));
	rig_clear(&r);
}

/* What no rule names goes, and is optional in the schema, without its default. */
static void unmatched_fields_are_optional(void **state)
{
	(void)state;
	struct rig r;

	rig_init(&r, HEAD "envelope: debezium\nunmatched: remove\nclear: [$.b]\nfields:\n  - {path: $.a, mask: {}}\n");
	/* In a row of an event as well. */
#define IN_ROW(fields) FIELD("after", "\"type\":\"struct\",\"optional\":true,\"fields\":[" fields "]")
	becomes_twice(
	    &r,
	    WHOLE(SCHEMA(IN_ROW(TEXT("a") "," INT("b") "," INT("c"))), "{\"after\":{\"a\":\"12\",\"b\":1,\"c\":2}}"),
	    WHOLE(SCHEMA(IN_ROW(TEXT("a") "," INT("b") "," FIELD("c", "\"type\":\"int32\",\"optional\":true"))),
		  "{\"after\":{\"a\":\"**\",\"b\":1}}"));
	becomes_twice(&r,
		      WHOLE(SCHEMA(TEXT("a") "," INT("b") "," FIELD(
				"c", "\"type\":\"string\",\"optional\":false,\"default\":\"secret\"")),
			    "{\"a\":\"12\",\"b\":1,\"c\":\"secret\"}"),
		      WHOLE(SCHEMA(TEXT("a") "," INT("b") "," TEXT("c")), "{\"a\":\"**\",\"b\":1}"));
	rig_clear(&r);
}

/* What opens gives the same bytes back, the schema too. */
static void the_inverse_gives_the_original_back(void **state)
{
	(void)state;
	static const char rules[] =
	    DBZ "  - {path: $.id, tokenize: {key: k}}\n  - {path: $.n, encrypt: {key: p, type: json}}\n"
		"  - {path: $.d, when: \"$.w == 1\", encrypt: {key: p}}\n  - {path: $.t, encrypt: {key: p}}\n"
		"  - {path: $.o, encrypt: {key: p, type: json}}\n  - {path: \"$.l[*]\", encrypt: {key: p}}\n"
		"  - {path: $.f, encrypt: {key: p}}\n";
	static const char schema[] =
	    SCHEMA(
		INT("id") "," FIELD("n", "\"type\":\"double\",\"optional\":true") "," FIELD(
		    "d",
		    "\"type\":\"bytes\",\"optional\":true,\"name\":\"org.apache.kafka.connect.data.Decimal\","
		    "\"version\":1,\"parameters\":{\"scale\":\"2\",\"connect.decimal.precision\":\"10\"}") "," TEXT("t") "," FIELD("o",
																   "\"type\":\"struct\",\"fields\":[" INT("scale") "," FIELD("value",
																							     "\"type\":\"bytes\"") "],\"optional\":true,\"name\":\"io.debezium.data.VariableScaleDecimal\"") "," FIELD("l", "\"type\":\"array\",\"items\":{\"type\":\"int64\",\"optional\":true},\"optional\":true") "," FIELD("f", "\"type\":\"boolean\",\"optional\":false") "," INT("w"));
	static const char *const payloads[] = {
	    "{\"id\":7,\"n\":1.50e1,\"d\":\"TiA=\",\"t\":\"x\",\"o\":{\"scale\":1,\"value\":\"AA==\"},\"l\":[1,null,2],"
	    "\"f\":true,\"w\":1}",
	    "{\"id\":7,\"n\":null,\"d\":\"TiA=\",\"t\":null,\"o\":null,\"l\":[],\"f\":false,\"w\":2}",
	};
	char in[4096], sealed[16384];
	struct rig r;

	rig_init(&r, rules);
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	assert_int_equal(kveil_plan_write_inverse(r.plan, 0, &text), 7);
	for (size_t i = 0; i < 2; i++) {
		snprintf(in, sizeof in, "{\"schema\":%s,\"payload\":%s}", schema, payloads[i]);
		if (run(&r, NULL, in) != KVEIL_OK)
			fail_msg("%s", r.result.error.message);
		memcpy(sealed, r.value, sizeof sealed);
		assert_true((strstr(sealed, "TiA=") != NULL) == (i == 1));
		bind_plan(&r, load(kveil_buf_cstr(&text)));
		if (run(&r, NULL, sealed) != KVEIL_OK)
			fail_msg("%s: %s", sealed, r.result.error.message);
		assert_string_equal(r.value, in);
		bind_plan(&r, load(rules));
	}
	rig_clear(&r);
}

/* Whoever can write records may write schemas: what is none is an error, and nothing of it passes. */
static void other_schemas_are_errors(void **state)
{
	(void)state;
	static const char *const bad[] = {
	    WHOLE("{}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"text\"}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"struct\"}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"struct\",\"fields\":[{\"type\":\"string\"}]}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"struct\",\"fields\":[1]}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"struct\",\"fields\":[],\"example\":\"secret\"}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"struct\",\"fields\":[],\"fields\":[]}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"string\",\"fields\":[]}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"map\",\"keys\":{\"type\":\"int8\"}}", "{\"a\":\"secret\"}"),
	    WHOLE("{\"type\":\"array\",\"items\":{\"type\":[]}}", "{\"a\":\"secret\"}"),
	    "{\"schema\":" SCHEMA(TEXT("a")) ",\"payload\":{\"a\":\"secret\"},\"more\":1}",
	    "{\"schema\":" SCHEMA(TEXT("a")) ",\"payload\":{\"a\":\"secret\"},\"payload\":{\"a\":\"secret\"}}",
	    "{\"\\u0073chema\":" SCHEMA(TEXT("a")) ",\"payload\":{\"a\":\"secret\"}}",
	};
	struct rig r;

	for (int kind = 0; kind < 2; kind++) {
		rig_init(&r, kind ? DBZ "  - {path: $.a, mask: {}}\n" : PLAIN "  - {path: $.a, mask: {}}\n");
		/* With a schema in memory that the text begins with. */
		becomes_twice(&r, WHOLE(SCHEMA(TEXT("a")), "{\"a\":\"1\"}"), WHOLE(SCHEMA(TEXT("a")), "{\"a\":\"*\"}"));
		for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
			if (run(&r, NULL, bad[i]) != KVEIL_E_UNSUPPORTED_ENVELOPE &&
			    run(&r, NULL, bad[i]) != KVEIL_E_INVALID_JSON)
				fail_msg("%s", bad[i]);
		assert_int_equal(run(&r, NULL, WHOLE(SCHEMA(TEXT("a")), "{\"a\":")), KVEIL_E_INVALID_JSON);
		assert_int_equal(run(&r, NULL, WHOLE(SCHEMA(TEXT("a")), "")), KVEIL_E_INVALID_JSON);
		assert_int_equal(run(&r, NULL, WHOLE(SCHEMA(TEXT("a")), "[1]")), KVEIL_E_UNSUPPORTED_ENVELOPE);
		rig_clear(&r);
	}
	/* A path into what JSON has as pairs. */
	rig_init(&r, PLAIN "  - {path: \"$.m[*]\", mask: {}}\n");
	assert_int_equal(run(&r, NULL,
			     WHOLE(SCHEMA("{\"type\":\"map\",\"keys\":{\"type\":\"int8\"},\"values\":{\"type\":"
					  "\"string\"},\"field\":\"m\"}"),
				   "{\"m\":[[1,\"secret\"]]}")),
			 KVEIL_E_UNSUPPORTED_ENVELOPE);
	rig_clear(&r);
	/* What could be a row of two columns. */
	rig_init(&r, DBZ "  - {path: $.payload, mask: {}}\n");
	assert_int_equal(run(&r, NULL, WHOLE(SCHEMA(TEXT("a")), "{\"a\":\"secret\"}")), KVEIL_E_UNSUPPORTED_ENVELOPE);
	becomes_twice(&r, WHOLE(SCHEMA(TEXT("payload")), "{\"payload\":\"12\"}"),
		      WHOLE(SCHEMA(TEXT("payload")), "{\"payload\":\"**\"}"));
	rig_clear(&r);
	/* A text that no longer spells what the schema had. */
	rig_init(&r, HEAD "envelope: connect\nfields:\n  - {path: $.a, when: \"$.b == 1\", decrypt: {key: p}}\n");
	assert_int_equal(
	    run(&r, NULL,
		WHOLE(SCHEMA("{\"type\":\"string\"," ORIGINAL("{\\\"type\\\":\\\"int8\\\"}") ",\"field\":\"a\"}"),
		      "{\"a\":\"x\",\"b\":2}")),
	    KVEIL_E_UNSUPPORTED_KIND);
	assert_int_equal(
	    run(&r, NULL,
		WHOLE(SCHEMA("{\"type\":\"string\"," ORIGINAL("{}") ",\"field\":\"a\"}"), "{\"a\":\"x\",\"b\":2}")),
	    KVEIL_E_UNSUPPORTED_ENVELOPE);
	rig_clear(&r);
}

/* More schemas than are remembered, each again and again. */
static void schemas_are_remembered_within_bounds(void **state)
{
	(void)state;
	char in[1024], want[1024];
	struct rig r;

	rig_init(&r, PLAIN "  - {path: $.a, mask: {}}\n");
	for (int i = 0; i < 1000; i++) {
		int n = i * 7 % 331;
		snprintf(in, sizeof in, WHOLE(SCHEMA(INT("a") "," INT("b%d")), "{\"a\":1,\"b%d\":2}"), n, n);
		snprintf(want, sizeof want,
			 WHOLE(SCHEMA(FIELD("a", "\"type\":\"string\",\"optional\":false") "," INT("b%d")),
			       "{\"a\":\"*\",\"b%d\":2}"),
			 n, n);
		becomes_twice(&r, in, want);
	}
	rig_clear(&r);
}

static void leave_memory(struct kveil_engine *e, size_t bytes)
{
	kveil_engine_wipe(e);
	kveil_arena_clear(&e->arena);
	kveil_connect_clear(&e->connect);
	e->allowance.max_bytes = e->allowance.used_bytes + bytes;
}

/* With a little more memory each time: it is not enough, or the record is as it should be. */
static void without_memory(struct rig *r, const char *value, size_t step)
{
	struct kveil_engine *e = r->engine;
	const size_t most = e->allowance.max_bytes;
	enum kveil_status st = KVEIL_E_TOO_LARGE;
	char want[sizeof r->value];
	const struct kveil_record record = {.value = kveil_span_str(value)};
	struct kveil_connect_split split;
	struct kveil_error err;
	size_t refused = 0;

	assert_int_equal(run(r, NULL, value), KVEIL_OK);
	strcpy(want, r->value);
	for (size_t more = 0; st; more += step) {
		leave_memory(e, more);
		e->record = &record;
		if (kveil_connect_split(e, KVEIL_PART_VALUE, record.value, &split, &err) == KVEIL_OK)
			assert_non_null(split.schema);
		leave_memory(e, more);
		st = run(r, NULL, value);
		if (st && st != KVEIL_E_TOO_LARGE)
			fail_msg("%zu bytes: %s", more, r->result.error.message);
		if (!st)
			assert_string_equal(r->value, want);
		refused += st != KVEIL_OK;
	}
	assert_true(refused > 0);
	e->allowance.max_bytes = most;
}

static void an_escaped_name_without_memory_is_an_error(void **state)
{
	(void)state;
	char in[8192], name[4096] = {0};
	struct rig r;

	rig_init(&r, PLAIN "  - {path: $.a, nullify: true}\n  - {path: $.c, decrypt: {key: k}}\n");
	without_memory(&r, "{\"schema\":" SCHEMA(INT("a")) ",\"\\u0070ayload\":{\"a\":1}}", 8);
	memset(name, 'x', sizeof name - 1);
	snprintf(
	    in, sizeof in,
	    WHOLE(SCHEMA(FIELD("a", "\"type\":\"string\",\"parameters\":{\"\\u0061.enum.%s\":\"0\"},\"name\":\"s.E\"")),
		  "{\"a\":\"x\"}"),
	    name);
	without_memory(&r, in, 16);
	rig_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_type_follows_the_rule),
	    cmocka_unit_test(a_condition_gives_a_type_for_both),
	    cmocka_unit_test(a_schema_tells_nothing_of_clear_values),
	    cmocka_unit_test(what_lies_in_a_protected_field_is_protected),
	    cmocka_unit_test(one_rule_holds_in_every_row),
	    cmocka_unit_test(keys_have_schemas_too),
	    cmocka_unit_test(a_value_can_be_moved),
	    cmocka_unit_test(views_have_schemas_of_their_own),
	    cmocka_unit_test(unmatched_fields_are_optional),
	    cmocka_unit_test(the_inverse_gives_the_original_back),
	    cmocka_unit_test(other_schemas_are_errors),
	    cmocka_unit_test(schemas_are_remembered_within_bounds),
	    cmocka_unit_test(an_escaped_name_without_memory_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

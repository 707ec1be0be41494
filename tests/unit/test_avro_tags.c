/* SPDX-License-Identifier: Apache-2.0 */
/* Rules by the tags of a schema's fields, and what is told when a later schema lacks what rules named. */
#include "avro_rig.h"

#define PII        "  - {tags: [PII, GDPR], replace: {with: x}}\n"
#define REC(f)     "{\"type\":\"record\",\"name\":\"User\",\"namespace\":\"com.acme\",\"fields\":[" f "]}"
#define T(n, t, x) "{\"name\":\"" n "\",\"type\":" t ",\"confluent:tags\":" x "}"

static enum kveil_status use(struct rig *r, const char *schema, const struct kveil_schema_tag *tags, size_t count,
			     struct kveil_error *err)
{
	const struct kveil_schema_source source = {.tags = tags, .tag_count = count};

	return rig_use(r, schema, &source, err);
}

static void assert_comes(struct rig *r, struct kveil_span value, struct kveil_span want)
{
	struct kveil_record record = {.value = value};

	kveil_engine_run(r->engine, &record, &r->result);
	if (!want.data) {
		assert_int_not_equal(r->result.verdict, KVEIL_PRODUCE);
		return;
	}
	if (r->result.verdict != KVEIL_PRODUCE)
		fail_msg("%s", r->result.error.message);
	struct kveil_span out = r->result.outputs[0].record.value;
	if (!kveil_span_eq(out, want))
		fail_msg("%.*s", (int)out.len, (const char *)out.data);
}

/* By the rule above: what a tagged field holds becomes x. want absent: the record fails. */
static void test_fields(void **state)
{
	(void)state;
	static const struct {
		const char *schema;
		struct kveil_schema_tag tags[2];
		struct kveil_span value, want;
	} rows[] = {
	    {REC(T("a", "\"string\"", "[\"PII\"]") "," F("b", "\"string\"")),
	     {{0}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2x\2k")},
	    {REC(T("a", "\"string\"", "[\"X\",\"GDPR\"]") "," T("b", "\"string\"", "\"PII\"")),
	     {{0}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2x\2x")},
	    {REC(T("a", "\"string\"", "[\"pii\",7]") "," F("b", "\"string\"")),
	     {{0}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2k\2k")},
	    {REC(T("a", "[\"null\",\"string\"]", "[\"PII\"]") "," F("b", "\"string\"")),
	     {{0}},
	     KVEIL_SPAN("\2\2k\2k"),
	     KVEIL_SPAN("\2\2x\2k")},
	    /* Lists hold what is tagged; what a record in there has it says itself. */
	    {REC(T("a", "{\"type\":\"array\",\"items\":{\"type\":\"map\",\"values\":\"string\"}}", "[\"PII\"]")),
	     {{0}},
	     KVEIL_SPAN("\2\2\2k\2v\0\0"),
	     KVEIL_SPAN("\2\2\2k\2x\0\0")},
	    {REC(F("a", "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"V\",\"fields\":[" T(
			    "v", "\"string\"", "[\"PII\"]") "," F("w", "\"string\"") "]}}")),
	     {{0}},
	     KVEIL_SPAN("\2\2k\2k\0"),
	     KVEIL_SPAN("\2\2x\2k\0")},
	    /* Of one that holds itself the field is tagged wherever it is. */
	    {REC(T("a", "\"string\"", "[\"PII\"]") "," F("n", "[\"null\",\"User\"]")),
	     {{0}},
	     KVEIL_SPAN("\2k\2\2k\0"),
	     KVEIL_SPAN("\2x\2\2x\0")},
	    {REC(F("a", "\"string\"") "," F("b", "\"string\"")),
	     {{"com.acme.User.a", "PII"}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2x\2k")},
	    {REC(F("a", "\"string\"") "," F("b", "\"string\"")),
	     {{"**.a", "PII"}, {"com.*.b", "PII"}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2x\2k")},
	    {REC(F("a", "\"string\"") "," F("b", "\"string\"")),
	     {{"com.*.User.?", "PII"}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2x\2x")},
	    {REC(F("ph", "\"string\"") "," F("phy", "\"string\"")),
	     {{"**.ph*", "PII"}, {"com**User.phy", "Z"}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2x\2x")},
	    {REC(F("a", "\"string\"") "," F("b", "\"string\"")),
	     {{"User.a", "PII"}, {"com.acme.User", "PII"}},
	     KVEIL_SPAN("\2k\2k"),
	     KVEIL_SPAN("\2k\2k")},
	};
	struct kveil_error err;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rig r;
		size_t count = 0;
		while (count < 2 && rows[i].tags[count].path)
			count++;
		rig_load(&r, HEAD PII);
		if (use(&r, rows[i].schema, rows[i].tags, count, &err))
			fail_msg("%zu: %s", i, err.message);
		assert_comes(&r, rows[i].value, rows[i].want);
		rig_clear(&r);
	}
}

/* An action that does not take what is tagged fails the record: it does not pass. */
static void test_not_taken(void **state)
{
	(void)state;
	struct kveil_error err;
	struct rig r;

	rig_load(&r, HEAD "  - {tags: [PII], encrypt: {key: k}}\n");
	assert_int_equal(use(&r, REC(T("a", "\"int\"", "[\"PII\"]")), NULL, 0, &err), KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2"), KVEIL_SPAN_NULL);
	assert_int_equal(r.result.error.status, KVEIL_E_UNSUPPORTED_KIND);
	assert_int_equal(
	    use(&r,
		REC(T("a", "{\"type\":\"record\",\"name\":\"V\",\"fields\":[" F("v", "\"string\"") "]}", "[\"PII\"]")),
		NULL, 0, &err),
	    KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k"), KVEIL_SPAN_NULL);
	rig_clear(&r);
}

/* A tag names its field however long the names are; where they are too long to be compared the schema is refused. */
static void test_long_names(void **state)
{
	(void)state;
	static const char *const tails[] = {"User.a", "**.a"};
	char space[1100], schema[2048], path[1200];
	const struct kveil_schema_tag tag = {path, "PII"};
	struct kveil_error err;
	struct rig r;

	for (int i = 0; i < 4; i++) {
		int bytes = i < 2 ? 600 : 1020;
		memset(space, 'n', sizeof space);
		snprintf(schema, sizeof schema,
			 "{\"type\":\"record\",\"name\":\"User\",\"namespace\":\"%.*s\",\"fields\":[" F(
			     "a", "\"string\"") "]}",
			 bytes, space);
		snprintf(path, sizeof path, "%.*s.%s", bytes, space, tails[i % 2]);
		rig_load(&r, HEAD PII);
		enum kveil_status st = use(&r, schema, &tag, 1, &err);
		assert_int_equal(st, i < 2 ? KVEIL_OK : KVEIL_E_AVRO_SCHEMA);
		if (!st)
			assert_comes(&r, KVEIL_SPAN("\2k"), KVEIL_SPAN("\2x"));
		rig_clear(&r);
	}
}

/* Globs that would keep a worker busy for hours. */
static void test_globs_bounded(void **state)
{
	(void)state;
	enum { TAGS = 4096, BYTES = 2000, NAME = 1000 };
	static struct kveil_schema_tag tags[TAGS];
	static char glob[BYTES + 1], space[NAME], schema[2 * NAME];
	struct kveil_error err;
	struct rig r;

	memset(space, 'a', sizeof space);
	for (int i = 0; i < BYTES; i++)
		glob[i] = "**a"[i % 3];
	for (int i = 0; i < TAGS; i++)
		tags[i] = (struct kveil_schema_tag){glob, "PII"};
	snprintf(schema, sizeof schema,
		 "{\"type\":\"record\",\"name\":\"User\",\"namespace\":\"%.*s\",\"fields\":[" F("a", "\"string\"") "]}",
		 NAME, space);
	rig_load(&r, HEAD PII);
	assert_int_equal(use(&r, schema, tags, TAGS, &err), KVEIL_E_AVRO_SCHEMA);
	assert_non_null(strstr(err.message, "too long to compare"));
	assert_int_equal(use(&r, schema, tags, 4, &err), KVEIL_OK);
	rig_clear(&r);
}

/* The first rule that holds has it, in the order of the file, by whatever it names. A wildcard is not a tag. */
static void test_order(void **state)
{
	(void)state;
	struct kveil_error err;
	struct rig r;

	rig_load(&r, HEAD "  - {path: $.b, replace: {with: p}}\n" PII "  - {path: \"$.*\", replace: {with: w}}\n"
			  "  - {tags: [LATE], replace: {with: l}}\n");
	assert_int_equal(
	    use(&r,
		REC(T("a", "\"string\"", "[\"PII\"]") "," T("b", "\"string\"", "[\"PII\"]") "," F(
		    "c", "\"string\"") "," T("d", "\"string\"",
					     "[\"LATE\"]") "," F("e",
								 "{\"type\":\"record\",\"name\":\"V\",\"fields\":[" T(
								     "v", "\"string\"", "[\"LATE\"]") "]}")),
		NULL, 0, &err),
	    KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k\2k\2k\2k\2k"), KVEIL_SPAN("\2x\2p\2w\2w\2w"));
	rig_clear(&r);
	rig_load(&r, HEAD "  - {path: $.b, replace: {with: p}}\n" PII
			  "  - {path: \"$..*\", when: \"@ == 'k'\", replace: {with: w}}\n"
			  "  - {tags: [LATE], replace: {with: l}}\n");
	assert_int_equal(use(&r,
			     REC(T("a", "\"string\"", "[\"PII\"]") "," T("b", "\"string\"", "[\"PII\"]") "," F(
				 "c", "\"string\"") "," T("d", "\"string\"", "[\"LATE\"]")),
			     NULL, 0, &err),
			 KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k\2k\2k\2q"), KVEIL_SPAN("\2x\2p\2w\2l"));
	rig_clear(&r);
}

/* Sealed by a tag, opened by it, and by the path of the field. What the metadata says stands at the field then. */
static void test_opened(void **state)
{
	(void)state;
	static const char *const open[] = {HEAD "  - {tags: [PII], decrypt: {key: k}}\n",
					   HEAD "  - {path: $.a, decrypt: {key: k}}\n"};
	const struct kveil_schema_tag tags[] = {{"com.acme.User.a", "PII"}};
	struct kveil_error err;
	struct rig seal, r;
	char text[1024];

	rig_load(&seal, HEAD "  - {tags: [PII], encrypt: {key: k}}\n");
	assert_int_equal(use(&seal, REC(F("a", "\"string\"") "," F("b", "\"string\"")), tags, 1, &err), KVEIL_OK);
	struct kveil_record record = {.value = KVEIL_SPAN("\2k\2k")};
	kveil_engine_run(seal.engine, &record, &seal.result);
	assert_int_equal(seal.result.verdict, KVEIL_PRODUCE);
	struct kveil_span derived = kveil_engine_schema_derived(seal.schema);
	snprintf(text, sizeof text, "%.*s", (int)derived.len, (const char *)derived.data);
	assert_non_null(strstr(text, "\"confluent:tags\":[\"PII\"]"));
	for (int i = 0; i < 2; i++) {
		rig_load(&r, open[i]);
		assert_int_equal(use(&r, text, NULL, 0, &err), KVEIL_OK);
		assert_comes(&r, seal.result.outputs[0].record.value, KVEIL_SPAN("\2k\2k"));
		rig_clear(&r);
	}
	rig_clear(&seal);
}

static void assert_lost(const struct rig *r, const char *what)
{
	const char *first = kveil_engine_schema_lost(r->schema, 0), *said = first;

	for (size_t i = 1; what && said && !strstr(said, what); i++)
		said = kveil_engine_schema_lost(r->schema, i);
	if (what ? !said : first != NULL)
		fail_msg("%s and not %s", first ? first : "nothing", what ? what : "nothing");
}

/* A tag that is gone from a field counts on, and is told once; another engine of the same plan knows it too. */
static void test_tag_that_is_gone(void **state)
{
	(void)state;
	static const char without[] = REC(F("a", "\"string\"") "," F("c", "\"int\""));
	struct kveil_engine_schema *other = NULL;
	struct kveil_engine *engine;
	struct kveil_error err;
	struct rig r, anew;

	rig_load(&r, HEAD PII);
	assert_int_equal(use(&r, without, NULL, 0, &err), KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\2k\2")); /* never tagged */
	assert_lost(&r, NULL);
	assert_int_equal(use(&r, REC(T("a", "\"string\"", "[\"PII\",\"X\"]")), NULL, 0, &err), KVEIL_OK);
	assert_int_equal(kveil_engine_new(r.plan, r.ring, NULL, &engine, &err), KVEIL_OK);
	assert_int_equal(kveil_engine_schema_new(engine, kveil_span_str(without), &other, &err), KVEIL_OK);
	assert_non_null(strstr(kveil_engine_schema_lost(other, 0), "com.acme.User.a is tagged PII no longer"));
	assert_int_equal(use(&r, without, NULL, 0, &err), KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\2x\2"));
	assert_lost(&r, NULL); /* told */
	/* A field of that name in another type is another field. */
	assert_int_equal(
	    use(&r, "{\"type\":\"record\",\"name\":\"Other\",\"fields\":[" F("a", "\"string\"") "]}", NULL, 0, &err),
	    KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k"), KVEIL_SPAN("\2k"));
	kveil_engine_schema_free(other);
	kveil_engine_free(engine);
	rig_load(&anew, HEAD PII);
	assert_int_equal(use(&anew, without, NULL, 0, &err), KVEIL_OK);
	assert_comes(&anew, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\2k\2"));
	rig_clear(&anew);
	rig_clear(&r);
}

/* What was derived before, and all that is left of it, says which tags count in a program that has met none. */
static void test_recalled(void **state)
{
	(void)state;
#define PLAIN  REC(F("a", "\"string\"") "," F("c", "\"int\""))
#define TAGGED T("a", "\"string\"", "[\"PII\"]") "," F("c", "\"int\"")
#define OF(n)  "{\"type\":\"record\",\"name\":\"" n "\",\"fields\":["
#define TWO(v) REC(F("p", OF("V") v "," F("w", "\"string\"") "]}") "," F("q", "\"V\""))
	static const struct {
		const char *rules, *before, *now;
		struct kveil_span value, want;
		bool is_last, is_lost;
	} rows[] = {
	    {PII, REC(TAGGED), PLAIN, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\2x\2"), true, true},
	    {"  - {tags: [PII], remove: true}\n", REC(TAGGED), PLAIN, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\2"), true,
	     true},
	    {"  - {tags: [PII], nullify: true}\n", REC(TAGGED), PLAIN, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\0\2"), true,
	     true},
	    /* Of a type that became two the second has another name. */
	    {"  - {path: $.p.w, nullify: true}\n" PII, TWO(T("v", "\"string\"", "[\"PII\"]")),
	     TWO(F("v", "\"string\"")), KVEIL_SPAN("\2k\2k\2k\2k"), KVEIL_SPAN("\2x\0\2x\2k"), true, true},
	    {"  - {path: $.p.w, nullify: true}\n  - {path: $.q.w, remove: true}\n  - {tags: [PII], remove: true}\n",
	     TWO(T("v", "\"string\"", "[\"PII\"]")), TWO(F("v", "\"string\"")), KVEIL_SPAN("\2k\2k\2k\2k"),
	     KVEIL_SPAN("\0"), true, true},
	    {PII, "[\"null\"," REC(TAGGED) "]", "[\"null\"," PLAIN "]", KVEIL_SPAN("\2\2k\2"), KVEIL_SPAN("\2\2x\2"),
	     true, true},
	    {PII, OF("Person") TAGGED "]}",
	     "{\"type\":\"record\",\"name\":\"User\",\"aliases\":[\"Person\"],\"fields\":[" F("a", "\"string\"") "]}",
	     KVEIL_SPAN("\2k"), KVEIL_SPAN("\2x"), true, true},
	    /* The latest is of another type, or says that no tag counts. */
	    {PII, OF("Other") TAGGED "]}", PLAIN, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\2k\2"), false, false},
	    {PII, PLAIN, PLAIN, KVEIL_SPAN("\2k\2"), KVEIL_SPAN("\2k\2"), true, false},
	};
	struct kveil_error err;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char rules[512];
		struct rig before, r;
		bool is_last = !rows[i].is_last;
		snprintf(rules, sizeof rules, HEAD "%s", rows[i].rules);
		rig_load(&before, rules);
		assert_int_equal(use(&before, rows[i].before, NULL, 0, &err), KVEIL_OK);
		rig_load(&r, rules);
		assert_int_equal(kveil_engine_recall(r.engine, kveil_span_str(rows[i].now),
						     kveil_engine_schema_derived(before.schema), NULL, &is_last, &err),
				 KVEIL_OK);
		assert_int_equal(is_last, rows[i].is_last);
		assert_int_equal(use(&r, rows[i].now, NULL, 0, &err), KVEIL_OK);
		assert_comes(&r, rows[i].value, rows[i].want);
		assert_int_equal(kveil_engine_schema_lost(r.schema, 0) != NULL, rows[i].is_lost);
		rig_clear(&before);
		rig_clear(&r);
	}
}

/* What stands there may be anything; a field that went is told of, as within one program. */
static void test_recalled_otherwise(void **state)
{
	(void)state;
	static const char *const others[] = {"", "{}", "\"string\"", "[]", "{\"type\":\"object\"}"};
	struct kveil_error err;
	bool is_last;
	struct rig r;

	rig_load(&r, HEAD PII);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		is_last = true;
		assert_int_equal(kveil_engine_recall(r.engine, kveil_span_str(PLAIN), kveil_span_str(others[i]), "in",
						     &is_last, &err),
				 KVEIL_OK);
		assert_false(is_last);
	}
	assert_int_equal(
	    kveil_engine_recall(r.engine, KVEIL_SPAN("{}"), kveil_span_str(REC(TAGGED)), NULL, &is_last, &err),
	    KVEIL_OK);
	assert_true(is_last); /* of a text that is not a schema, whatever else stands there */
	assert_int_equal(
	    kveil_engine_recall(r.engine, kveil_span_str(PLAIN), kveil_span_str(REC(TAGGED)), NULL, &is_last, &err),
	    KVEIL_OK);
	assert_int_equal(use(&r, REC(F("c", "\"int\"")), NULL, 0, &err), KVEIL_OK);
	assert_lost(&r, "it has no com.acme.User.a, which was tagged PII");
	rig_clear(&r);
}

/* A field or its record has another name now, and the tag is gone with the old one: an alias leads to it. */
static void test_tag_that_is_gone_with_its_name(void **state)
{
	(void)state;
#define NAMED(n, more, f) "{\"type\":\"record\",\"name\":\"" n "\"," more "\"fields\":[" f "]}"
#define WAS(n, x)         "{\"name\":\"" n "\",\"type\":\"string\",\"aliases\":[" x "]}"
#define IN(record)        NAMED("com.acme.User", "", "{\"name\":\"c\",\"type\":" record "}")
	static const char one[] = REC(T("a", "\"string\"", "[\"PII\"]"));
	static const struct {
		const char *before, *now, *told;
		bool passes;
	} rows[] = {
	    {one, REC(WAS("b", "\"a\"")), "com.acme.User.b is tagged PII no longer", false},
	    {one, REC(WAS("b", "\"z\",\"a\"")), "com.acme.User.b is tagged PII no longer", false},
	    {one, NAMED("com.acme.Person", "\"aliases\":[\"User\"],", F("a", "\"string\"")),
	     "com.acme.Person.a is tagged PII no longer", false},
	    {one, NAMED("org.Person", "\"aliases\":[\"com.acme.User\"],", F("a", "\"string\"")),
	     "org.Person.a is tagged PII no longer", false},
	    {one, NAMED("org.User", "\"aliases\":[\"X\",\"com.acme.User\"],", WAS("b", "\"a\"")),
	     "org.User.b is tagged PII no longer", false},
	    {IN(NAMED("V", "", T("a", "\"string\"", "\"PII\""))),
	     IN(NAMED("W", "\"aliases\":[\"V\"],", F("a", "\"string\""))), "com.acme.W.a is tagged PII no longer",
	     false},
	    /* What no alias says is told. */
	    {one, NAMED("org.User", "", F("a", "\"string\"")), "no com.acme.User.a, which was tagged PII", true},
	    {one, NAMED("org.Person", "\"aliases\":[\"User\"],", F("a", "\"string\"")),
	     "no com.acme.User.a, which was tagged PII", true},
	    {one, IN(NAMED("V", "", F("a", "\"string\""))), "no com.acme.User.a, which was tagged PII", true},
	    {IN(NAMED("V", "", T("a", "\"string\"", "\"PII\""))), IN(NAMED("W", "", F("a", "\"string\""))),
	     "no com.acme.V.a, which was tagged PII", true},
	    {one, REC(F("b", "\"string\"")), "no com.acme.User.a, which was tagged PII", true},
	};
	struct kveil_error err;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct rig r;
		rig_load(&r, HEAD PII);
		assert_int_equal(use(&r, rows[i].before, NULL, 0, &err), KVEIL_OK);
		if (use(&r, rows[i].now, NULL, 0, &err))
			fail_msg("%zu: %s", i, err.message);
		assert_comes(&r, KVEIL_SPAN("\2k"), rows[i].passes ? KVEIL_SPAN("\2k") : KVEIL_SPAN("\2x"));
		assert_lost(&r, rows[i].told);
		rig_clear(&r);
	}
}

/* The alias may go too, once it has been met; and the schema's metadata may still have the old name. */
static void test_tags_of_old_names(void **state)
{
	(void)state;
	static const char tagged[] = REC(T("a", "\"string\"", "[\"PII\"]")), renamed[] = REC(WAS("b", "\"a\"")),
			  now[] = REC(F("b", "\"string\""));
	const struct kveil_schema_tag tag = {"com.acme.User.a", "PII"}, glob = {"com.*.User.a", "PII"};
	struct kveil_schema_source source = {.topic = "one"};
	struct kveil_error err;
	struct rig r;

	rig_load(&r, HEAD PII);
	assert_int_equal(rig_use(&r, now, &source, &err), KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k"), KVEIL_SPAN("\2k"));
	assert_int_equal(rig_use(&r, tagged, &source, &err), KVEIL_OK);
	source.topic = "two"; /* another topic's values need not have the field */
	assert_int_equal(rig_use(&r, REC(F("z", "\"string\"")), &source, &err), KVEIL_OK);
	assert_lost(&r, "the rule for tags");
	assert_null(kveil_engine_schema_lost(r.schema, 1));
	assert_int_equal(rig_use(&r, renamed, &source, &err), KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k"), KVEIL_SPAN("\2x"));
	assert_int_equal(rig_use(&r, now, &source, &err), KVEIL_OK);
	assert_comes(&r, KVEIL_SPAN("\2k"), KVEIL_SPAN("\2x"));
	rig_clear(&r);
	for (int i = 0; i < 2; i++) {
		rig_load(&r, HEAD PII);
		assert_int_equal(use(&r, renamed, i ? &glob : &tag, 1, &err), KVEIL_OK);
		assert_comes(&r, KVEIL_SPAN("\2k"), KVEIL_SPAN("\2x"));
		assert_lost(&r, NULL);
		rig_clear(&r);
	}
}

/* More names than can be compared: refused, and nothing takes long. */
static void test_aliases_bounded(void **state)
{
	(void)state;
	enum { FIELDS = 400, SIZE = 1 << 19 };
	static char schema[SIZE];
	struct kveil_error err;
	struct rig r;

	for (int aliases = 30; aliases <= 1024; aliases = aliases == 30 ? 800 : aliases == 800 ? 1024 : SIZE) {
		KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
		kveil_buf_append_str(&out, "{\"type\":\"record\",\"name\":\"User\",\"aliases\":[\"a\"");
		for (int i = 1; i < aliases; i++)
			kveil_buf_printf(&out, ",\"a%d\"", i);
		kveil_buf_append_str(&out, "],\"fields\":[");
		for (int i = 0; i < FIELDS; i++)
			kveil_buf_printf(&out, "%s{\"name\":\"f%d\",\"aliases\":[\"%c%d\"],\"type\":\"string\"}",
					 i ? "," : "", i, i ? 'o' : 'p', i);
		kveil_buf_append_str(&out, "]}");
		snprintf(schema, sizeof schema, "%s", kveil_buf_cstr(&out));
		rig_load(&r, HEAD PII);
		assert_int_equal(use(&r, schema, NULL, 0, &err), aliases == 30 ? KVEIL_OK : KVEIL_E_AVRO_SCHEMA);
		if (aliases > 30)
			assert_non_null(strstr(err.message, "names too long, or too many"));
		rig_clear(&r);
	}
}

/* A field that a rule named has gone, or has another name: said, for each type by itself. */
static void test_rule_that_names_nothing_now(void **state)
{
	(void)state;
	struct kveil_error err;
	struct rig r;

	rig_load(&r, HEAD "  - {path: \"$.phone\", mask: {}}\n  - {path: \"$.mail\", mask: {}}\n");
	assert_int_equal(use(&r, REC(F("phone", "\"string\"")), NULL, 0, &err), KVEIL_OK);
	assert_lost(&r, NULL);
	assert_int_equal(
	    use(&r, "{\"type\":\"record\",\"name\":\"Other\",\"fields\":[" F("a", "\"string\"") "]}", NULL, 0, &err),
	    KVEIL_OK);
	assert_lost(&r, NULL);
	assert_int_equal(use(&r, REC(F("phone", "\"string\"") "," F("mail", "\"string\"")), NULL, 0, &err), KVEIL_OK);
	assert_lost(&r, NULL);
	assert_int_equal(use(&r, REC(F("phone_no", "\"string\"") "," F("mail", "\"string\"")), NULL, 0, &err),
			 KVEIL_OK);
	assert_lost(&r, "com.acme.User has nothing that the rule for $.phone names");
	assert_null(kveil_engine_schema_lost(r.schema, 1));
	rig_clear(&r);
}

/* One rule at several places of an event is one. */
static void test_events(void **state)
{
	(void)state;
	static const char head[] =
	    "name: t\ntopics: [in]\nformat: avro\nenvelope: debezium\nfields:\n  - {path: $.phone, mask: {}}\n";
#define EVENT(f)                                                                                                       \
	"{\"type\":\"record\",\"name\":\"Envelope\",\"fields\":[{\"name\":\"before\",\"type\":[\"null\",{\"type\":"    \
	"\"record\",\"name\":"                                                                                         \
	"\"Value\",\"fields\":[" F(f, "\"string\"") "]}]},{\"name\":\"after\",\"type\":[\"null\",\"Value\"]}," F(      \
	    "op", "\"string\"") "]}"
	struct kveil_error err;
	struct rig r;

	rig_load(&r, head);
	assert_int_equal(use(&r, EVENT("phone"), NULL, 0, &err), KVEIL_OK);
	assert_lost(&r, NULL);
	assert_int_equal(use(&r, EVENT("phone_no"), NULL, 0, &err), KVEIL_OK);
	assert_lost(&r, "the rule for $.phone names");
	rig_clear(&r);
}

static void assert_refused(const char *rules, const char *why)
{
	struct kveil_report report = {0};
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(rules), "t.yaml", NULL, &report);
	bool found = false;

	for (size_t i = 0; i < report.count; i++)
		found |= strstr(report.problems[i].error.message, why) != NULL;
	if (!found)
		kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	kveil_plan_unref(plan);
	assert_true(found && !plan);
}

static bool is_less(const char *before, const char *after)
{
	struct kveil_report report = {0};
	struct kveil_plan_set *sets[2];
	const char *texts[] = {before, after};

	for (int i = 0; i < 2; i++) {
		struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(texts[i]), "a.yaml", NULL, &report);
		assert_non_null(plan);
		assert_non_null(sets[i] = kveil_plan_set_of(plan, "{topic}.dead"));
	}
	kveil_report_clear(&report);
	bool less = kveil_plan_set_protects_less(sets[0], sets[1], NULL);
	kveil_plan_set_unref(sets[0]);
	kveil_plan_set_unref(sets[1]);
	return less;
}

/* A rule on tags may take any place before another does, and no wildcard stands in for it. */
static void test_protects_less(void **state)
{
	(void)state;
#define BOTH HEAD "  - {tags: [PII], mask: {}}\n  - {path: $.a, mask: {}}\n"

#define A HEAD "  - {path: $.a, mask: {}}\n"
	assert_false(is_less(BOTH, BOTH));
	assert_true(is_less(BOTH, A));
	assert_true(is_less(BOTH, A "  - {path: \"$.*\", mask: {}}\n"));
	assert_true(is_less(A, HEAD "  - {tags: [PII], mask: {keep_first: 3}}\n  - {path: $.a, mask: {}}\n"));
	assert_false(is_less(A, A "  - {tags: [PII], mask: {}}\n"));
	assert_true(is_less(BOTH, "schema: {tag_property: other}\n" BOTH));
}

static void test_rules(void **state)
{
	(void)state;

	assert_refused(HEAD "  - {path: $.a, tags: [PII], mask: {}}\n", "a path or tags");
	assert_refused(HEAD "  - {mask: {}}\n", "'path' is missing");
	assert_refused(HEAD "  - {tags: [\"it's\"], mask: {}}\n", "letters, digits");
	assert_refused("name: t\ntopics: [in]\nformat: json\n"
		       "fields:\n  - {tags: [PII], mask: {}}\n",
		       "for values in avro");
	assert_refused(
	    "name: t\ntopics: [in]\nformat: avro\nenvelope: debezium\nfields:\n  - {tags: [PII], mask: {}}\n",
	    "under an envelope");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_fields),
	    cmocka_unit_test(test_not_taken),
	    cmocka_unit_test(test_long_names),
	    cmocka_unit_test(test_globs_bounded),
	    cmocka_unit_test(test_order),
	    cmocka_unit_test(test_opened),
	    cmocka_unit_test(test_tag_that_is_gone),
	    cmocka_unit_test(test_tag_that_is_gone_with_its_name),
	    cmocka_unit_test(test_recalled),
	    cmocka_unit_test(test_recalled_otherwise),
	    cmocka_unit_test(test_tags_of_old_names),
	    cmocka_unit_test(test_aliases_bounded),
	    cmocka_unit_test(test_rule_that_names_nothing_now),
	    cmocka_unit_test(test_events),
	    cmocka_unit_test(test_rules),
	    cmocka_unit_test(test_protects_less),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

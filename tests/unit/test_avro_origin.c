/* SPDX-License-Identifier: Apache-2.0 */
/* What comes back when sealed values are opened: types, names, symbols, and the whole schema where it is known. */
#include "avro_rig.h"

#include "base/text.h"
#include "format/avro_walk.h"

#define REC(f) "{\"type\":\"record\",\"name\":\"U\",\"namespace\":\"n\",\"fields\":[" f "]}"
#define LEVEL  "{\"type\":\"enum\",\"name\":\"Level\",\"symbols\":[\"LOW\",\"HIGH\"]}"
#define WAS    "\"kveil.type\":{\"type\":\"enum\",\"name\":\"n.Level\"}"
#define MD5    "{\"type\":\"fixed\",\"name\":\"M\",\"size\":2,\"logicalType\":\"l\"}"

/* Its value, borrowed; absent where it was refused. */
static struct kveil_span run(struct rig *r, struct kveil_span value)
{
	struct kveil_record record = {.value = value};

	kveil_engine_run(r->engine, &record, &r->result);
	return r->result.verdict == KVEIL_PRODUCE ? r->result.outputs[0].record.value : KVEIL_SPAN_NULL;
}

static void copy_derived(const struct rig *r, char *text, size_t room)
{
	struct kveil_span derived = kveil_engine_schema_derived(r->schema);

	assert_true(derived.len < room);
	memcpy(text, derived.data, derived.len);
	text[derived.len] = 0;
}

static void assert_text(struct kveil_span text, const char *want)
{
	if (!kveil_span_eq(text, kveil_span_str(want)))
		fail_msg("%.*s\nis not\n%s", (int)text.len, (const char *)text.data, want);
}

#define SEAL(p)       R("path: " p ", encrypt: {key: k}")
#define OPEN(p)       R("path: " p ", decrypt: {key: k}")
#define SEAL_WHOLE(p) R("path: " p ", encrypt: {key: k, type: json}")
#define OPEN_WHOLE(p) R("path: " p ", decrypt: {key: k, type: json}")
#define TOKENIZE(p)   R("path: " p ", tokenize: {key: k}")
#define DETOKENIZE(p) R("path: " p ", detokenize: {key: k}")
#define V(f)          "{\"type\":\"record\",\"name\":\"V\",\"doc\":\"d\",\"fields\":[" f "]}"
#define TEXT          "{\"type\":\"string\",\"doc\":\"d\"}"
#define INTS          "{\"type\":\"array\",\"items\":\"int\"}"
#define BARE                                                                                                           \
	"{\"type\":\"record\",\"name\":\"S\",\"namespace\":\"\",\"fields\":[" F("t", "[\"null\",\"S\"]") "," F(        \
	    "l", LEVEL) "]}"
#define W      "{\"type\":\"record\",\"name\":\"W\",\"fields\":[" F("x", "\"int\"") "]}"
#define MASKED "{\"type\":\"string\",\"kveil.type\":\"int\"}"

#define REFUSED                                                                                                        \
	{                                                                                                              \
		NULL, 0                                                                                                \
	}

/* Sealed and opened under the text that comes in between. */
static const struct row {
	const char *what, *schema, *seal, *open;
	const char *known,
	    *unknown; /* what comes back with the original schema at hand, and without; NULL: it itself */
	struct kveil_span value, plain, partly; /* plain: what comes back without it, or REFUSED; partly: with it, where
						 * known is not NULL */
} rows[] = {
    {"an enum", REC(F("a", LEVEL)), SEAL("$.a"), OPEN("$.a"), NULL, REC(F("a", "\"string\"")), KVEIL_SPAN("\2"),
     KVEIL_SPAN("\10HIGH")},
    {"a fixed", REC(F("a", MD5)), SEAL("$.a"), OPEN("$.a"), NULL, REC(F("a", MD5)), KVEIL_SPAN("xy"), KVEIL_SPAN("xy")},
    {"in a union", REC(F("a", "[\"null\"," LEVEL "," MD5 "]")), SEAL("$.a"), OPEN("$.a"), NULL,
     REC(F("a", "[\"null\",\"string\"," MD5 "]")), KVEIL_SPAN("\4xy"), KVEIL_SPAN("\4xy")},
    {"what tells how to read it",
     REC(F("a", "{\"type\":\"string\",\"logicalType\":\"uuid\",\"doc\":\"d\"}") "," F(
	 "b", "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4}")),
     SEAL("$.*"), OPEN("$.*"), NULL,
     REC(F("a", "{\"type\":\"string\",\"doc\":\"d\",\"logicalType\":\"uuid\"}") "," F(
	 "b", "{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":4}")),
     KVEIL_SPAN("\4ab\2c"), KVEIL_SPAN("\4ab\2c")},
    {"a default", REC("{\"name\":\"a\",\"type\":" LEVEL ",\"default\":\"LOW\",\"doc\":\"d\"}"), SEAL("$.a"),
     OPEN("$.a"), NULL, REC("{\"name\":\"a\",\"type\":\"string\",\"default\":\"\",\"doc\":\"d\"}"), KVEIL_SPAN("\2"),
     KVEIL_SPAN("\10HIGH")},
    {"beside what stays masked", REC(F("a", LEVEL) "," F("b", "\"int\"")), SEAL("$.a") R("path: $.b, mask: {}"),
     OPEN("$.a"), REC(F("a", LEVEL) "," F("b", "{\"type\":\"string\",\"kveil.type\":\"int\"}")),
     REC(F("a", "\"string\"") "," F("b", "{\"type\":\"string\",\"kveil.type\":\"int\"}")), KVEIL_SPAN("\2\16"),
     KVEIL_SPAN("\10HIGH\2*"), KVEIL_SPAN("\2\2*")},
    {"a type without a namespace in both halves of one that has",
     REC(F("a", "\"int\"") "," F("s", BARE) "," F("m", "[\"null\",\"U\"]")), SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL,
     "{\"type\":\"record\",\"name\":\"U_protected\",\"namespace\":\"n\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{"
     "\"nam"
     "e\":\"s\",\"type\":{\"type\":\"record\",\"name\":\"S\",\"namespace\":\"\",\"fields\":[{\"name\":\"t\",\"type\":["
     "\"null\",\""
     "S\"]},{\"name\":\"l\",\"type\":{\"type\":\"enum\",\"name\":\"Level\",\"symbols\":[\"LOW\",\"HIGH\"]}}]}},{"
     "\"name\":\"m\""
     ",\"type\":[\"null\",{\"type\":\"record\",\"name\":\"U\",\"fields\":[{\"name\":\"a\",\"type\":\"int\"},{\"name\":"
     "\"s\",\"ty"
     "pe\":{\"type\":\"record\",\"name\":\"S_protected\",\"fields\":[{\"name\":\"t\",\"type\":[\"null\",\"n.S_"
     "protected\"]"
     "},{\"name\":\"l\",\"type\":{\"type\":\"enum\",\"name\":\"Level_protected\",\"symbols\":[\"LOW\",\"HIGH\"]}}]}},{"
     "\"na"
     "me\":\"m\",\"type\":[\"null\",\"n.U\"]}]}]}]}",
     KVEIL_SPAN("\16\0\2\2\20\0\0\0"), KVEIL_SPAN("\16\0\2\2\20\0\0\0")},
    {"a default that stays masked", REC(F("a", LEVEL) ",{\"name\":\"b\",\"type\":\"string\",\"default\":\"CANARY\"}"),
     SEAL("$.a") R("path: $.b, mask: {}"), OPEN("$.a"),
     REC(F("a", LEVEL) ",{\"name\":\"b\",\"type\":\"string\",\"default\":\"\"}"),
     REC(F("a", "\"string\"") ",{\"name\":\"b\",\"type\":\"string\",\"default\":\"\"}"), KVEIL_SPAN("\2\2b"),
     KVEIL_SPAN("\10HIGH\2*"), KVEIL_SPAN("\2\2*")},
    {"one type in two places, of which one was sealed", REC(F("a", LEVEL) "," F("b", "\"Level\"")), SEAL("$.b"),
     OPEN("$.b"), NULL, REC(F("a", LEVEL) "," F("b", "\"string\"")), KVEIL_SPAN("\2\2"), KVEIL_SPAN("\2\10HIGH")},
    {"the same, the sealed one first, and one that stays",
     REC(F("a", LEVEL) "," F("b", "\"Level\"") "," F("c", "\"int\"")), SEAL("$.a") R("path: $.c, mask: {}"),
     OPEN("$.a"),
     REC(F("a", LEVEL) "," F("b", "\"n.Level\"") "," F("c", "{\"type\":\"string\",\"kveil.type\":\"int\"}")),
     REC(F("a", "\"string\"") "," F("b", LEVEL) "," F("c", "{\"type\":\"string\",\"kveil.type\":\"int\"}")),
     KVEIL_SPAN("\2\0\4"), KVEIL_SPAN("\10HIGH\0\2*"), KVEIL_SPAN("\2\0\2*")},
    {"both of them opened, and one that stays", REC(F("a", LEVEL) "," F("b", "\"Level\"") "," F("c", "\"int\"")),
     SEAL("$.a") SEAL("$.b") R("path: $.c, mask: {}"), OPEN("$.a") OPEN("$.b"),
     REC(F("a", LEVEL) "," F("b", "\"n.Level\"") "," F("c", "{\"type\":\"string\",\"kveil.type\":\"int\"}")),
     REC(F("a", "\"string\"") "," F("b", "\"string\"") "," F("c", "{\"type\":\"string\",\"kveil.type\":\"int\"}")),
     KVEIL_SPAN("\2\0\4"), KVEIL_SPAN("\10HIGH\6LOW\2*"), KVEIL_SPAN("\2\0\2*")},
    {"a record that became two",
     REC(F("a", "{\"type\":\"record\",\"name\":\"V\",\"fields\":[" F("x", LEVEL) "]}") "," F("b", "\"V\"")),
     SEAL("$.b.x"), OPEN("$.b.x"), NULL,
     REC(F("a", "{\"type\":\"record\",\"name\":\"V\",\"fields\":[" F("x", LEVEL) "]}") "," F(
	 "b", "{\"type\":\"record\",\"name\":\"V_protected\",\"fields\":[" F("x", "\"string\"") "]}")),
     KVEIL_SPAN("\2\0"), KVEIL_SPAN("\2\6LOW")},
    {"one that holds itself", REC(F("a", LEVEL) "," F("next", "[\"null\",\"U\"]")), SEAL("$..a"), OPEN("$..a"), NULL,
     REC(F("a", "\"string\"") "," F("next", "[\"null\",\"n.U\"]")), KVEIL_SPAN("\2\2\0\0"),
     KVEIL_SPAN("\10HIGH\2\6LOW\0")},
    {"elements",
     REC(F("a", "{\"type\":\"array\",\"items\":" LEVEL "}") "," F("b", "{\"type\":\"map\",\"values\":\"Level\"}")),
     SEAL("\"$.*.*\""), OPEN("\"$.*.*\""), NULL,
     REC(F("a", "{\"type\":\"array\",\"items\":\"string\"}") "," F("b", "{\"type\":\"map\",\"values\":\"string\"}")),
     KVEIL_SPAN("\2\2\0\2\2k\2\0"), KVEIL_SPAN("\2\10HIGH\0\2\2k\10HIGH\0")},
    {"one that is opened at times", REC(F("a", LEVEL) "," F("b", "\"boolean\"")), SEAL("$.a"),
     R("path: $.a, when: \"$.b == true\", decrypt: {key: k}"),
     REC(F("a", "[{\"type\":\"string\"," WAS "}," LEVEL "]") "," F("b", "\"boolean\"")),
     REC(F("a", "{\"type\":\"string\"," WAS "}") "," F("b", "\"boolean\"")), KVEIL_SPAN("\2\1"),
     KVEIL_SPAN("\10HIGH\1"), KVEIL_SPAN("\2\2\1")},
    {"at the root", LEVEL, SEAL("$"), OPEN("$"), NULL, "\"string\"", KVEIL_SPAN("\2"), KVEIL_SPAN("\10HIGH")},
    {"a record that was sealed whole", REC(F("a", V(F("x", LEVEL) "," F("y", "\"long\"")))), SEAL_WHOLE("$.a"),
     OPEN_WHOLE("$.a"), NULL, REC(F("a", TEXT)), KVEIL_SPAN("\2\16"), REFUSED},
    {"an array in blocks of either kind", REC(F("a", INTS)), SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL,
     REC(F("a", "\"string\"")), KVEIL_SPAN("\3\4\2\4\2\6\0"), REFUSED},
    {"an array of nothing", REC(F("a", INTS)), SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL, REC(F("a", "\"string\"")),
     KVEIL_SPAN("\0"), REFUSED},
    {"a record of no bytes", REC(F("a", V(""))), SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL, REC(F("a", TEXT)),
     KVEIL_SPAN(""), REFUSED},
    {"a map in a union", REC(F("a", "[\"null\",{\"type\":\"map\",\"values\":" INTS "}]")), SEAL_WHOLE("$.a"),
     OPEN_WHOLE("$.a"), NULL, REC(F("a", "[\"null\",\"string\"]")), KVEIL_SPAN("\2\2\2k\0\0"), REFUSED},
    {"null beside it", REC(F("a", "[\"null\"," INTS "]")), SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL,
     REC(F("a", "[\"null\",\"string\"]")), KVEIL_SPAN("\0"), KVEIL_SPAN("\0")},
    {"elements that are records", REC(F("a", "{\"type\":\"array\",\"items\":" V(F("x", "\"int\"")) "}")),
     SEAL_WHOLE("\"$.a[*]\""), OPEN_WHOLE("\"$.a[*]\""), NULL, REC(F("a", "{\"type\":\"array\",\"items\":" TEXT "}")),
     KVEIL_SPAN("\4\2\4\0"), REFUSED},
    {"one that holds itself, whole", REC(F("a", "[\"null\",\"U\"]") "," F("x", "\"int\"")), SEAL_WHOLE("$.a"),
     OPEN_WHOLE("$.a"), NULL,
     "{\"type\":\"record\",\"name\":\"U_protected\",\"namespace\":\"n\",\"fields\":[" F(
	 "a", "[\"null\",\"string\"]") "," F("x", "\"int\"") "]}",
     KVEIL_SPAN("\2\2\0\2\4\6"), REFUSED},
    {"names without a namespace in one that has some",
     REC(F("a", "{\"type\":\"record\",\"name\":\"H\",\"fields\":[" F(
		    "p", "{\"type\":\"record\",\"name\":\"P\",\"namespace\":\"\",\"fields\":[" F(
			     "x", "\"int\"") "]}") "," F("q", "\"P\"") "]}")),
     SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL, REC(F("a", "\"string\"")), KVEIL_SPAN("\2\4"), REFUSED},
    {"the value whole", REC(F("x", "\"int\"")), SEAL_WHOLE("$"), OPEN_WHOLE("$"), NULL, "\"string\"", KVEIL_SPAN("\2"),
     REFUSED},
    {"a record beside what stays masked",
     REC("{\"name\":\"a\",\"type\":" V(F("x", "[" INTS ",\"null\"]")) ",\"default\":{\"x\":[1]}}," F("b", "\"int\"")),
     SEAL_WHOLE("$.a") R("path: $.b, mask: {}"), OPEN_WHOLE("$.a"),
     REC("{\"name\":\"a\",\"type\":" V(F("x", "[" INTS ",\"null\"]")) ",\"default\":{\"x\":[]}}," F("b", MASKED)),
     REC("{\"name\":\"a\",\"type\":" TEXT ",\"default\":\"\"}," F("b", MASKED)), KVEIL_SPAN("\0\2\16\0\4"), REFUSED,
     KVEIL_SPAN("\0\2\16\0\2*")},
    {"a type that stands elsewhere too", REC(F("a", V(F("x", "\"int\""))) "," F("b", "\"V\"") "," F("c", "\"int\"")),
     SEAL_WHOLE("$.a") R("path: $.c, mask: {}"), OPEN_WHOLE("$.a"),
     REC(F("a", V(F("x", "\"int\""))) "," F("b", "\"n.V\"") "," F("c", MASKED)),
     REC(F("a", TEXT) "," F("b", V(F("x", "\"int\""))) "," F("c", MASKED)), KVEIL_SPAN("\2\4\6"), REFUSED,
     KVEIL_SPAN("\2\4\2*")},
    {"the same, the sealed one behind it", REC(F("a", V(F("x", "\"int\""))) "," F("b", "\"V\"") "," F("c", "\"int\"")),
     SEAL_WHOLE("$.b") R("path: $.c, mask: {}"), OPEN_WHOLE("$.b"),
     REC(F("a", V(F("x", "\"int\""))) "," F("b", "\"n.V\"") "," F("c", MASKED)),
     REC(F("a", V(F("x", "\"int\""))) "," F("b", TEXT) "," F("c", MASKED)), KVEIL_SPAN("\2\4\6"), REFUSED,
     KVEIL_SPAN("\2\4\2*")},
    {"a type of which another place was sealed in part", REC(F("a", V(F("x", "\"int\""))) "," F("b", "\"V\"")),
     SEAL_WHOLE("$.a") SEAL_WHOLE("$.b.x"), OPEN_WHOLE("$.a") OPEN_WHOLE("$.b.x"), NULL,
     REC(F("a", TEXT) "," F(
	 "b", "{\"type\":\"record\",\"name\":\"V_protected\",\"doc\":\"d\",\"fields\":[" F("x", "\"int\"") "]}")),
     KVEIL_SPAN("\2\4"), REFUSED},
    {"the first of two records in a union", REC(F("a", "[\"null\"," V("") "," W "]")), SEAL_WHOLE("$.a"),
     OPEN_WHOLE("$.a"), NULL, REC(F("a", "[\"null\"," TEXT "]")), KVEIL_SPAN("\2"), REFUSED},
    {"the second of them, with the branches in another order", REC(F("a", "[" V("") ",\"null\"," W "]")),
     SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL, REC(F("a", "[" TEXT ",\"null\"]")), KVEIL_SPAN("\4\16"), REFUSED},
    {"a long that an int would hold", REC(F("a", "[\"int\",\"long\"]")), SEAL_WHOLE("$.a"), OPEN_WHOLE("$.a"), NULL,
     REC(F("a", "[\"string\"]")), KVEIL_SPAN("\2\16"), REFUSED},
    {"null that is sealed, too", REC(F("a", "[\"null\",\"int\"]")),
     R("path: $.a, on_null: transform, encrypt: {key: k, type: json}"), OPEN_WHOLE("$.a"), NULL,
     REC(F("a", "[\"string\"]")), KVEIL_SPAN("\0"), REFUSED},
    {"one of several beside what stays masked", REC(F("a", "[" W ",\"long\"]") "," F("b", "\"int\"")),
     SEAL_WHOLE("$.a") R("path: $.b, mask: {}"), OPEN_WHOLE("$.a"), REC(F("a", "[" W ",\"long\"]") "," F("b", MASKED)),
     REC(F("a", "[\"string\"]") "," F("b", MASKED)), KVEIL_SPAN("\0\16\4"), REFUSED, KVEIL_SPAN("\0\16\2*")},
    {"one of several that is opened at times", REC(F("a", "[" W ",\"long\"]") "," F("b", "\"boolean\"")),
     SEAL_WHOLE("$.a"), R("path: $.a, when: \"$.b == true\", decrypt: {key: k, type: json}"),
     REC(F("a", "[" W ",\"long\",{\"type\":\"string\",\"kveil.type\":[{\"type\":\"record\",\"name\":\"n.W\"},"
		"\"long\"]}]") "," F("b", "\"boolean\"")),
     REC(F("a", "[{\"type\":\"string\",\"kveil.type\":[{\"type\":\"record\",\"name\":\"n.W\"},\"long\"]}]") "," F(
	 "b", "\"boolean\"")),
     KVEIL_SPAN("\2\16\1"), REFUSED, KVEIL_SPAN("\2\16\1")},
    {"a token of a text that is not how a long is spelled", REC(F("a", "[\"null\",\"long\",\"string\"]")),
     TOKENIZE("$.a"), DETOKENIZE("$.a"), NULL, REC(F("a", "[\"null\",\"string\"]")), KVEIL_SPAN("\4\006007"),
     KVEIL_SPAN("\2\006007")},
    {"nor a double", REC(F("a", "[\"double\",\"string\"]")), TOKENIZE("$.a"), DETOKENIZE("$.a"), NULL,
     REC(F("a", "[\"string\"]")), KVEIL_SPAN("\2\x12 infinity"), KVEIL_SPAN("\0\x12 infinity")},
    {"a long that no double holds", REC(F("a", "[\"double\",\"long\"]")), TOKENIZE("$.a"), DETOKENIZE("$.a"), NULL,
     REC(F("a", "[\"string\"]")), KVEIL_SPAN("\2\x82\x80\x80\x80\x80\x80\x80\x20"),
     KVEIL_SPAN("\0\0409007199254740993")},
    {"a text, of plain decryption, among numbers", REC(F("a", "[\"int\",\"string\"]") "," F("b", "\"boolean\"")),
     R("path: $.a, when: \"$.b == true\", encrypt: {key: k, type: json}") SEAL("$.a"),
     R("path: $.a, when: \"$.b == true\", decrypt: {key: k, type: json}") OPEN("$.a"), NULL,
     REC(F("a", "[\"string\"]") "," F("b", "\"boolean\"")), KVEIL_SPAN("\2\4+7\0"), KVEIL_SPAN("\0\4+7\0")},
    {"a token of bytes", REC(F("a", "\"bytes\"")), TOKENIZE("$.a"), DETOKENIZE("$.a"), NULL, NULL, KVEIL_SPAN("\4ab"),
     KVEIL_SPAN("\4ab")},
    {"a token of bytes beyond UTF-8", REC(F("a", "[\"null\",\"string\",\"bytes\"]") "," F("b", MD5)), TOKENIZE("$.*"),
     DETOKENIZE("$.*"), NULL, REC(F("a", "[\"null\",\"string\"]") "," F("b", MD5)), KVEIL_SPAN("\4\4\377\1\377\2"),
     REFUSED},
    {"of bytes where no text fits", REC(F("a", "[\"bytes\"," LEVEL "," MD5 "]")), TOKENIZE("$.a"), DETOKENIZE("$.a"),
     NULL, REC(F("a", "[\"string\"]")), KVEIL_SPAN("\0\6abc"), KVEIL_SPAN("\0\6abc")},
    {"of a text, where it might be bytes", REC(F("a", "[\"bytes\"," MD5 ",\"string\"]")), TOKENIZE("$.a"),
     DETOKENIZE("$.a"), NULL, REC(F("a", "[\"string\"]")), KVEIL_SPAN("\4\4ab"), KVEIL_SPAN("\0\4ab")},
    {"a text and a symbol: the first that it fits", REC(F("a", "[" LEVEL ",\"string\"]")), SEAL("$.a"), OPEN("$.a"),
     NULL, REC(F("a", "[\"string\"]")), KVEIL_SPAN("\2\6low"), KVEIL_SPAN("\0\6low")},
};

static void check(const struct row *row, struct rig *open, const char *want, struct kveil_span sealed,
		  struct kveil_span plain)
{
	assert_text(kveil_engine_schema_derived(open->schema), want);
	struct kveil_span out = run(open, sealed);
	if (!plain.data && open->result.error.status == KVEIL_E_UNSUPPORTED_KIND)
		return;
	if (!out.data || !kveil_span_eq(out, plain))
		fail_msg("%s: %s: %zu bytes: %.*s", row->what, open->result.error.message, out.len, (int)out.len,
			 (const char *)(out.data ? out.data : (const uint8_t *)""));
}

static void test_comes_back(void **state)
{
	(void)state;
	const struct kveil_schema_id id = {.id = 7};
	char rules[2][1024], text[4096];
	struct kveil_error err;
	struct rig seal, open;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row *r = &rows[i];
		struct kveil_schema_source source = {.id = &id};
		snprintf(rules[0], sizeof rules[0], HEAD "%s", r->seal);
		snprintf(rules[1], sizeof rules[1], HEAD "%s", r->open);
		assert_int_equal(rig_try(&seal, rules[0], r->schema, &source, &err), KVEIL_OK);
		struct kveil_span sealed = run(&seal, r->value);
		assert_non_null(sealed.data);
		copy_derived(&seal, text, sizeof text);
		assert_null(strstr(text, "CANARY"));
		for (int known = 0; known < 2; known++) {
			const char *want = known ? r->known : r->unknown;
			source = (struct kveil_schema_source){.must_fit = true};
			if (known)
				source.original = kveil_span_str(r->schema);
			if (rig_try(&open, rules[1], text, &source, &err))
				fail_msg("%s: %s", r->what, err.message);
			check(r, &open, want ? want : r->schema, sealed,
			      !known ? r->plain
			      : want ? r->partly
				     : r->value);
			rig_clear(&open);
		}
		rig_clear(&seal);
	}
}

/* The derived schema says what it was derived from, once, and under whatever id values name it by. */
static void test_reference(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", LEVEL)), union_of[] = "[\"null\"," REC(F("a", LEVEL)) "]";
	const struct kveil_schema_id ids[] = {
	    {.id = 4000000000u}, {.is_guid = true, .guid = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff}}};
	const char *says[] = {"{\"id\":4000000000,", "{\"guid\":\"00010203-0405-0607-0809-0a0b0c0d0eff\","};
	struct kveil_schema_id found;
	struct kveil_error err;
	struct rig r, again, open;
	char text[1024];

	for (int i = 0; i < 4; i++) {
		struct kveil_schema_source source = {.id = &ids[i % 2]};
		assert_int_equal(rig_try(&r, HEAD SEAL("$.a"), i < 2 ? schema : union_of, &source, &err), KVEIL_OK);
		struct kveil_span derived = kveil_engine_schema_derived(r.schema),
				  bare = kveil_engine_schema_unreferred(r.schema);
		assert_non_null(memmem(derived.data, derived.len, says[i % 2], strlen(says[i % 2])));
		assert_null(memmem(bare.data, bare.len, "kveil.schema", 12));
		assert_false(kveil_engine_schema_original(r.engine, derived, &found)); /* it opens nothing */
		copy_derived(&r, text, sizeof text);
		assert_int_equal(rig_try(&open, HEAD OPEN("$.a"), text, NULL, &err), KVEIL_OK);
		assert_true(kveil_engine_schema_original(open.engine, derived, &found));
		assert_true(kveil_schema_id_eq(&found, &ids[i % 2]));
		assert_false(kveil_engine_key_schema_original(open.engine, derived, &found));
		assert_false(kveil_engine_schema_original(open.engine, bare, &found));
		/* What comes out of it no longer is derived from that. */
		derived = kveil_engine_schema_derived(open.schema);
		assert_null(memmem(derived.data, derived.len, "kveil.schema", 12));
		/* Who derives from it again refers to it, and not to what it refers to. */
		source.id = &(struct kveil_schema_id){.id = 9};
		assert_int_equal(rig_try(&again, HEAD R("path: $.a, mask: {}"), text, &source, &err), KVEIL_OK);
		derived = kveil_engine_schema_derived(again.schema);
		const char *first = memmem(derived.data, derived.len, "\"kveil.schema\":{\"id\":9,", 23);
		assert_non_null(first);
		assert_null(memmem(first + 10, derived.len - (size_t)((const uint8_t *)first + 10 - derived.data),
				   "kveil.schema", 12));
		rig_clear(&r);
		rig_clear(&open);
		rig_clear(&again);
	}
}

/* An id that stands for something else, in a registry of its own. */
static void test_another_original(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", LEVEL));
	static const char other[] =
	    REC(F("a", "{\"type\":\"enum\",\"name\":\"Level\",\"symbols\":[\"HIGH\",\"LOW\"]}"));
	struct kveil_schema_source source = {.id = &(struct kveil_schema_id){.id = 7}};
	struct kveil_error err;
	struct rig r, open;
	char text[1024];

	assert_int_equal(rig_try(&r, HEAD SEAL("$.a"), schema, &source, &err), KVEIL_OK);
	struct kveil_span sealed = run(&r, KVEIL_SPAN("\2"));
	copy_derived(&r, text, sizeof text);
	source = (struct kveil_schema_source){.original = kveil_span_str(other)};
	assert_int_equal(rig_try(&open, HEAD OPEN("$.a"), text, &source, &err), KVEIL_OK);
	assert_text(kveil_engine_schema_derived(open.schema), REC(F("a", "\"string\"")));
	assert_true(kveil_span_eq(run(&open, sealed), KVEIL_SPAN("\10HIGH")));
	rig_clear(&open);
	source.must_fit = true;
	assert_int_equal(rig_try(&open, HEAD OPEN("$.a"), text, &source, &err), KVEIL_E_AVRO_SCHEMA);
	rig_clear(&open);
	rig_clear(&r);
}

/* One type of two places, sealed whole in one and in part in the other: the first cannot be had alone. */
static void test_two_types_of_one_name(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", V(F("x", "\"int\""))) "," F("b", "\"V\""));
	const struct kveil_schema_source source = {.original = kveil_span_str(schema)};
	struct kveil_error err;
	struct rig r, open;
	char text[1024];

	assert_int_equal(rig_try(&r, HEAD SEAL_WHOLE("$.a.x") SEAL_WHOLE("$.b"), schema, NULL, &err), KVEIL_OK);
	copy_derived(&r, text, sizeof text);
	assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.b"), text, &source, &err), KVEIL_E_AVRO_SCHEMA);
	assert_string_equal(err.message, "'V' would be two types: as it was, and as rules change it elsewhere");
	rig_clear(&open);
	assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.a.x"), text, &source, &err), KVEIL_OK);
	rig_clear(&open);
	rig_clear(&r);
}

static enum kveil_status try_opening(const char *derived, const char *original, struct kveil_error *err)
{
	const struct kveil_schema_source source = {.original = kveil_span_str(original)};
	struct rig open;
	enum kveil_status st = rig_try(&open, HEAD OPEN_WHOLE("$.a"), derived, &source, err);

	rig_clear(&open);
	return st;
}

#define SEALED_V "{\"type\":\"string\",\"kveil.type\":{\"type\":\"record\",\"name\":\"n.V\"}}"

/* A few bytes of schema may stand for very many of defaults. */
static void test_long_defaults(void **state)
{
	(void)state;
	static const char original[] = REC("{\"name\":\"a\",\"type\":" V(
	    F("x", "{\"type\":\"fixed\",\"name\":\"B\",\"size\":1000000}")) ",\"default\":{}}," F("b", "\"int\""));
	static const char derived[] = REC("{\"name\":\"a\",\"type\":" SEALED_V ",\"default\":\"\"}," F("b", MASKED));
	struct kveil_error err;

	assert_int_equal(try_opening(derived, original, &err), KVEIL_E_AVRO_SCHEMA);
	assert_non_null(strstr(err.message, "too long"));
}

static void check_default(const struct rig *r, const char *fallback)
{
	char text[2048], want[256];

	copy_derived(r, text, sizeof text);
	snprintf(want, sizeof want, "\"default\":{\"a\":%s}", fallback);
	if (!strstr(text, want))
		fail_msg("%s has no %s", text, want);
}

#define TREE(next) V(F("x", "\"int\"") "," F("next", next))
#define HOLDER     "{\"type\":\"record\",\"name\":\"H\",\"fields\":[" F("a", "%s") "]}"

/* One of first branches would have no end: it takes another where a record would stand within itself. */
static void test_defaults_of_recursive_types(void **state)
{
	(void)state;
	static const char *const trees[][2] = {
	    {TREE("[\"V\",\"null\"]"), "{\"x\":0,\"next\":null}"},
	    {TREE("[\"V\",\"string\",\"null\"]"), "{\"x\":0,\"next\":\"\"}"},
	    {TREE("[\"null\",\"V\"]"), "{\"x\":0,\"next\":null}"},
	    {TREE("{\"type\":\"array\",\"items\":\"V\"}"), "{\"x\":0,\"next\":[]}"},
	    /* two records in turn */
	    {TREE("[{\"type\":\"record\",\"name\":\"W\",\"fields\":[" F("v", "[\"V\",\"null\"]") "]},\"null\"]"),
	     "{\"x\":0,\"next\":{\"v\":null}}"},
	};

	for (size_t i = 0; i < sizeof trees / sizeof *trees; i++) {
		struct kveil_schema_source source = {0};
		struct kveil_error err;
		struct rig r, open;
		char schema[1024], text[2048];
		snprintf(schema, sizeof schema,
			 REC("{\"name\":\"h\",\"type\":" HOLDER ",\"default\":{}}," F("b", "\"int\"")), trees[i][0]);
		source.original = kveil_span_str(schema);
		assert_int_equal(rig_try(&r, HEAD R("path: $..x, replace: {with: 1}"), schema, NULL, &err), KVEIL_OK);
		check_default(&r, trees[i][1]);
		rig_clear(&r);
		assert_int_equal(rig_try(&r, HEAD SEAL_WHOLE("$.h.a") R("path: $.b, mask: {}"), schema, NULL, &err),
				 KVEIL_OK);
		check_default(&r, "\"\"");
		copy_derived(&r, text, sizeof text);
		rig_clear(&r);
		assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.h.a"), text, &source, &err), KVEIL_OK);
		check_default(&open, trees[i][1]);
		rig_clear(&open);
	}
}

/* A type that stands in very many places is compared with itself once. */
static void test_many_places_of_one_type(void **state)
{
	(void)state;
	static const char m[] = F("m", "{\"type\":\"record\",\"name\":\"M\",\"fields\":[]}");
	static const char derived[] =
	    REC(F("m", "{\"type\":\"record\",\"name\":\"M\",\"fields\":[]}") "," F("b", MASKED) "," F("a", SEALED_V));
	KVEIL_CLEANUP_BUF struct kveil_buf original = KVEIL_BUF_INIT;
	struct kveil_error err;

	kveil_buf_printf(&original, "{\"type\":\"record\",\"name\":\"U\",\"namespace\":\"n\",\"fields\":[%s,", m);
	kveil_buf_append_str(
	    &original, F("b", "\"int\"") ",{\"name\":\"a\",\"type\":{\"type\":\"record\",\"name\":\"V\",\"fields\":[");
	for (int i = 0; i < 3000; i++)
		kveil_buf_printf(&original, "%s{\"name\":\"f%d\",\"type\":\"M\"}", i ? "," : "", i);
	kveil_buf_append_str(&original, "]}}]}");
	kveil_buf_append_byte(&original, 0);
	assert_int_equal(try_opening(derived, (const char *)original.data, &err), KVEIL_OK);
}

/* A schema that contradicts the one that it was derived from: one name for a fixed of two sizes. */
static void test_a_type_of_another_size(void **state)
{
	(void)state;
	static const char original[] =
	    REC(F("w", V(F("x", "{\"type\":\"fixed\",\"name\":\"F\",\"size\":2}"))) "," F("b", "\"int\""));
	static const char derived[] = REC(F("w", SEALED_V) "," F(
	    "a", "{\"type\":\"bytes\",\"kveil.type\":{\"type\":\"fixed\",\"name\":\"n.F\",\"size\":4}}") "," F("b",
													       MASKED));
	const struct kveil_schema_source source = {.original = kveil_span_str(original)};
	struct kveil_error err;
	struct rig open;

	assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.w") OPEN("$.a"), derived, &source, &err), KVEIL_OK);
	char copy[1024];
	copy_derived(&open, copy, sizeof copy);
	assert_non_null(strstr(copy, "\"name\":\"F\",\"size\":2"));
	assert_non_null(strstr(copy, F("a", "\"bytes\"")));
	rig_clear(&open);
}

/* What was sealed whole is Avro's single-object encoding; whoever holds the key may have sealed anything. */
static void test_another_whole(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", V(F("x", "\"int\""))));
	static const struct {
		struct kveil_span plain;
		const char *why;
	} cases[] = {
	    {KVEIL_SPAN("\xc3\1\x65\xbd\x08\x81\xba\xfa\xca\xbf\2"), NULL},
	    {KVEIL_SPAN("\xc3\1\x65\xbd\x08\x81\xba\xfa\xca\xbe\2"), "of another type"},
	    {KVEIL_SPAN("\xc3\1\x65\xbd\x08\x81\xba\xfa\xca\xbf"), "ends"},
	    {KVEIL_SPAN("\xc3\1\x65\xbd\x08\x81\xba\xfa\xca\xbf\2\0"), "behind"},
	    {KVEIL_SPAN("\xc3\1\x65"), "type"},
	    {KVEIL_SPAN("{\"x\":1}"), "type"},
	};
	const struct kveil_schema_source source = {.original = kveil_span_str(schema)};
	struct kveil_error err;
	struct rig r, bytes, open;
	char text[1024];

	assert_int_equal(rig_try(&r, HEAD SEAL_WHOLE("$.a"), schema, NULL, &err), KVEIL_OK);
	copy_derived(&r, text, sizeof text);
	assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.a"), text, &source, &err), KVEIL_OK);
	/* Bytes are sealed as they are; as a text their ciphertext is the same. */
	assert_int_equal(rig_try(&bytes, HEAD SEAL("$.a"), REC(F("a", "\"bytes\"")), NULL, &err), KVEIL_OK);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t base64[256], value[64] = {(uint8_t)(2 * cases[i].plain.len)};
		memcpy(value + 1, cases[i].plain.data, cases[i].plain.len);
		struct kveil_span sealed = run(&bytes, kveil_span_of(value, cases[i].plain.len + 1)), out;
		KVEIL_CLEANUP_BUF struct kveil_buf spelled = KVEIL_BUF_INIT;
		struct kveil_span cipher = kveil_avro_text(sealed);
		size_t n = kveil_text_encoded_len(KVEIL_BASE64, cipher.len);
		kveil_text_encode(KVEIL_BASE64, cipher.data, cipher.len, base64);
		kveil_avro_write_bytes(&spelled, kveil_span_of(base64, n));
		out = run(&open, kveil_buf_span(&spelled));
		if (cases[i].why) {
			assert_null(out.data);
			assert_int_equal(open.result.error.status, KVEIL_E_UNSUPPORTED_KIND);
			assert_non_null(strstr(open.result.error.message, cases[i].why));
		} else {
			assert_true(kveil_span_eq(out, KVEIL_SPAN("\2")));
		}
	}
	rig_clear(&r);
	rig_clear(&bytes);
	rig_clear(&open);
}

/* A schema that names branches which the union has not, or not all of them. */
static void test_several_of_another_union(void **state)
{
	(void)state;
	static const struct {
		const char *was, *original, *back;
	} cases[] = {
	    {"[\"int\",\"long\"]", "[\"float\",\"long\",\"int\"]", "[\"long\",\"int\"]"},
	    {"[\"int\",\"int\"]", "[\"int\",\"long\"]", "\"string\""},
	    {"[\"int\",\"double\"]", "[\"int\",\"long\"]", "\"string\""},
	    {"[\"int\",\"long\"]", "\"int\"", "\"string\""},
	    {"[]", "[\"int\",\"long\"]", "\"string\""},
	    {"[\"int\"]", "[\"int\",\"long\"]", "\"int\""},
	};
	struct kveil_error err;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char derived[512], original[512], want[512];
		struct rig open;
		snprintf(derived, sizeof derived, REC(F("a", "{\"type\":\"string\",\"kveil.type\":%s}")), cases[i].was);
		snprintf(original, sizeof original, REC(F("a", "%s")), cases[i].original);
		snprintf(want, sizeof want, REC(F("a", "%s")), cases[i].back);
		const struct kveil_schema_source source = {.original = kveil_span_str(original)};
		assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.a"), derived, &source, &err), KVEIL_OK);
		assert_text(kveil_engine_schema_derived(open.schema), want);
		rig_clear(&open);
	}
}

/* What was sealed as JSON does not say which branch it had. */
static void test_first_that_fits(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", "[\"int\",\"long\",\"null\"," W "]"));
	static const struct {
		const char *type;
		struct kveil_span value, back;
	} cases[] = {
	    {"\"long\"", KVEIL_SPAN("\16"), KVEIL_SPAN("\0\16")},
	    {"\"long\"", KVEIL_SPAN("\x80\x80\x80\x80\x20"), KVEIL_SPAN("\2\x80\x80\x80\x80\x20")},
	    {W, KVEIL_SPAN("\16"), KVEIL_SPAN("\6\16")},
	    {"\"boolean\"", KVEIL_SPAN("\1"), {0}},
	    {V(F("x", "\"int\"")), KVEIL_SPAN("\16"), {0}},
	};
	const struct kveil_schema_source source = {.original = kveil_span_str(schema)};
	char derived[1024], alone[512];
	struct kveil_error err;
	struct rig seal, open;

	assert_int_equal(rig_try(&seal, HEAD SEAL_WHOLE("$.a"), schema, NULL, &err), KVEIL_OK);
	copy_derived(&seal, derived, sizeof derived);
	rig_clear(&seal);
	assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.a"), derived, &source, &err), KVEIL_OK);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint8_t in_union[256] = {0};
		snprintf(alone, sizeof alone, REC(F("a", "%s")), cases[i].type);
		assert_int_equal(rig_try(&seal, HEAD SEAL_WHOLE("$.a"), alone, NULL, &err), KVEIL_OK);
		struct kveil_span sealed = run(&seal, cases[i].value), out;
		assert_true(sealed.data && sealed.len < sizeof in_union);
		memcpy(in_union + 1, sealed.data, sealed.len);
		out = run(&open, kveil_span_of(in_union, sealed.len + 1));
		assert_true(kveil_span_eq(out, cases[i].back));
		if (!cases[i].back.data) {
			assert_int_equal(open.result.error.status, KVEIL_E_UNSUPPORTED_KIND);
			assert_non_null(strstr(open.result.error.message, "none of the types"));
		}
		rig_clear(&seal);
	}
	rig_clear(&open);
}

/* JSON tells null from all else: beside it a value is sealed as elsewhere. A deterministic key then gives the same. */
static void test_null_beside_one(void **state)
{
	(void)state;
	static const char *const types[] = {"[\"null\",\"int\"]", "[\"int\",\"null\"]"};
	struct kveil_error err;
	struct rig seal, open;

	assert_int_equal(rig_try(&open, HEAD OPEN_WHOLE("$.a"), REC(F("a", MASKED)), NULL, &err), KVEIL_OK);
	for (size_t i = 0; i < 2; i++) {
		char schema[256];
		snprintf(schema, sizeof schema, REC(F("a", "%s")), types[i]);
		assert_int_equal(rig_try(&seal, HEAD R("path: $.a, on_null: transform, encrypt: {key: k, type: json}"),
					 schema, NULL, &err),
				 KVEIL_OK);
		struct kveil_span sealed = run(&seal, i ? KVEIL_SPAN("\0\16") : KVEIL_SPAN("\2\16"));
		assert_true(sealed.len > 1);
		struct kveil_span out = run(&open, kveil_span_of(sealed.data + 1, sealed.len - 1));
		assert_true(kveil_span_eq(out, KVEIL_SPAN("\16")));
		rig_clear(&seal);
	}
	rig_clear(&open);
}

/* One seal after the other comes off, each giving back what it found. */
static void test_sealed_twice(void **state)
{
	(void)state;
	static const char *const rules[] = {HEAD R("path: $.a, encrypt: {key: k, type: json}"), HEAD SEAL("$.a"),
					    HEAD R("path: $.a, reencrypt: {from: k, to: l}"),
					    HEAD R("path: $.a, decrypt: {key: l}"),
					    HEAD R("path: $.a, decrypt: {key: k, type: json}")};
	char texts[6][1024] = {REC(F("a", "\"long\""))};
	uint8_t values[6][1024] = {"\16"};
	size_t bytes[6] = {1};
	struct kveil_error err;

	for (int i = 0; i < 5; i++) {
		struct rig r;
		if (rig_try(&r, rules[i], texts[i], NULL, &err))
			fail_msg("%d: %s", i, err.message);
		struct kveil_span out = run(&r, kveil_span_of(values[i], bytes[i]));
		if (!out.data)
			fail_msg("%d: %s", i, r.result.error.message);
		copy_derived(&r, texts[i + 1], sizeof texts[i + 1]);
		memcpy(values[i + 1], out.data, out.len);
		bytes[i + 1] = out.len;
		rig_clear(&r);
	}
	assert_string_equal(texts[4], texts[1]);
	assert_string_equal(texts[5], texts[0]);
	assert_int_equal(bytes[5], 1);
	assert_int_equal(values[5][0], 14);
}

/* Under another key a value is what it was, in the schema that it was in. */
static void test_sealed_under_another_key(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", "[" LEVEL ",\"long\"]") "," F("b", "\"int\""));
	static const char *const moves[] = {HEAD R("path: $.a, reencrypt: {from: k, to: l}"),
					    HEAD R("path: $.a, reencrypt: {from: k, to: l}") R("path: $.b, mask: {}")};
	const struct kveil_schema_id first = {.id = 7}, second = {.id = 9};
	struct kveil_schema_source source;
	struct kveil_schema_id found;
	struct kveil_error err;
	struct rig seal, move, open;
	char text[2][1024];

	for (size_t i = 0; i < 4; i++) {
		source = (struct kveil_schema_source){.id = i < 2 ? &first : NULL};
		assert_int_equal(rig_try(&seal, HEAD SEAL_WHOLE("$.a"), schema, &source, &err), KVEIL_OK);
		copy_derived(&seal, text[0], sizeof text[0]);
		source.id = &second;
		assert_int_equal(rig_try(&move, moves[i % 2], text[0], &source, &err), KVEIL_OK);
		copy_derived(&move, text[1], sizeof text[1]);
		source = (struct kveil_schema_source){.original = kveil_span_str(schema), .must_fit = true};
		assert_int_equal(
		    rig_try(&open, HEAD R("path: $.a, decrypt: {key: l, type: json}"), text[1], &source, &err),
		    KVEIL_OK);
		assert_int_equal(kveil_engine_schema_original(open.engine, kveil_span_str(text[1]), &found), i < 2);
		assert_true(i >= 2 || kveil_schema_id_eq(&found, &first));
		struct kveil_span out = run(&open, run(&move, run(&seal, KVEIL_SPAN("\2\16\4"))));
		assert_true(kveil_span_eq(out, i % 2 ? KVEIL_SPAN("\2\16\2*") : KVEIL_SPAN("\2\16\4")));
		rig_clear(&seal);
		rig_clear(&move);
		rig_clear(&open);
	}
}

/* Whoever holds the key may have sealed anything. */
static void test_no_symbol_of_it(void **state)
{
	(void)state;
	static const char schema[] = REC(F("a", LEVEL) "," F("b", MD5));
	static const char sealed_as[] = REC(F("a", "\"string\"") "," F("b", "\"bytes\""));
	struct kveil_schema_source source = {.original = kveil_span_str(schema)};
	struct kveil_error err;
	struct rig names, other, open;
	char text[1024];

	assert_int_equal(rig_try(&names, HEAD SEAL("$.*"), schema, NULL, &err), KVEIL_OK);
	copy_derived(&names, text, sizeof text);
	assert_int_equal(rig_try(&other, HEAD SEAL("$.*"), sealed_as, NULL, &err), KVEIL_OK);
	assert_int_equal(rig_try(&open, HEAD OPEN("$.*"), text, &source, &err), KVEIL_OK);
	assert_true(kveil_span_eq(run(&open, run(&other, KVEIL_SPAN("\6LOW\4xy"))), KVEIL_SPAN("\0xy")));
	assert_null(run(&open, run(&other, KVEIL_SPAN("\6low\4xy"))).data);
	assert_int_equal(open.result.error.status, KVEIL_E_UNSUPPORTED_KIND);
	assert_null(run(&open, run(&other, KVEIL_SPAN("\6LOW\6xyz"))).data);
	assert_int_equal(open.result.error.status, KVEIL_E_UNSUPPORTED_KIND);
	rig_clear(&names);
	rig_clear(&other);
	rig_clear(&open);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_comes_back),
	    cmocka_unit_test(test_reference),
	    cmocka_unit_test(test_another_original),
	    cmocka_unit_test(test_several_of_another_union),
	    cmocka_unit_test(test_first_that_fits),
	    cmocka_unit_test(test_null_beside_one),
	    cmocka_unit_test(test_sealed_twice),
	    cmocka_unit_test(test_sealed_under_another_key),
	    cmocka_unit_test(test_no_symbol_of_it),
	    cmocka_unit_test(test_two_types_of_one_name),
	    cmocka_unit_test(test_another_whole),
	    cmocka_unit_test(test_long_defaults),
	    cmocka_unit_test(test_defaults_of_recursive_types),
	    cmocka_unit_test(test_many_places_of_one_type),
	    cmocka_unit_test(test_a_type_of_another_size),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

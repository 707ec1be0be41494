/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events of every kind, each named column a canary, in every row, key, header and statement that can carry one; none
 * may leave, in clear, in base64 or in hex. KVEIL_CANARY_EVENTS: how many, 20,000 when it is not set.
 */
#include "base/text.h"
#include "event_rig.h"
#include "format/envelope.h"

static const char yaml[] = "name: t\ntopics: [in]\noutput: out\nenvelope: %s\nunmatched: %s\nfields:\n"
			   "  - {path: $.remark, table: \"shop.*\", hash: {key: pepper}}\n"
			   "  - {path: $.%s, tokenize: {key: ids}}\n"
			   "  - {path: $.phone, mask: {}}\n"
			   "  - {path: $.mail, hash: {key: pepper}}\n"
			   "  - {path: $.o.card, encrypt: {key: pii}}\n"
			   "  - {path: \"$.l[*]\", when: \"$.n != 1\", encrypt: {key: pii}}\n"
			   "  - {path: \"$.f[?@.k == 1].v\", nullify: true}\n";

#define CANARY "CANARYZQX"

struct world {
	uint64_t random, canaries;
	char value[8192], key[512], header[512];
	size_t len;
	bool is_strict; /* what no rule names is a canary too */
	bool is_other;  /* the event tells a table that the rule with a table is not for */
	bool is_document;
};

static unsigned draw(struct world *w, unsigned n)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(w->random >> 33) % n;
}

static KVEIL_PRINTF(2, 3) void put(struct world *w, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	w->len += (size_t)vsnprintf(w->value + w->len, sizeof w->value - w->len, fmt, args);
	va_end(args);
	assert_true(w->len < sizeof w->value);
}

static unsigned long long canary(struct world *w)
{
	return (unsigned long long)++w->canaries;
}

static void put_column(struct world *w, unsigned which)
{
	static const char *const phone[] = {"phone", "ph\\u006fne", "\\u0070hone"};

	switch (which) {
	case 0:
		put(w, w->is_document ? "\"_id\":{\"$oid\":\"" CANARY "%llu\"}" : "\"id\":\"" CANARY "%llu\"",
		    canary(w));
		break;
	case 1:
		put(w, "\"%s\" : \"\\u0043ANARYZQX%llu\"", phone[draw(w, 3)], canary(w));
		break;
	case 2:
		put(w, "\"mail\":\"" CANARY "%llu\"", canary(w));
		break;
	case 3:
		put(w, "\"o\":{\"x\":1,\"card\":\"" CANARY "%llu\"}", canary(w));
		break;
	case 4:
		put(w, "\"l\":[\"" CANARY "%llu\",\"" CANARY "%llu\"]", canary(w), canary(w));
		break;
	case 5:
		put(w, "\"f\":[{\"k\":1,\"v\":\"" CANARY "%llu\"},{\"v\":\"" CANARY "%llu\"}]", canary(w), canary(w));
		break;
	case 6:
		put(w, "\"n\":2,\"status\":\"END\"");
		break;
	case 7:
		put(w, "\"remark\":\"%s%llu\"", w->is_other ? "clear" : CANARY, canary(w));
		break;
	default:
		put(w, "\"other\":[{},\"%s\",1.50e1]", w->is_strict ? CANARY : "clear");
	}
}

/* A document's field among those that changed, under a name that leads to it or to what is around it. */
static void put_changed_field(struct world *w, unsigned which)
{
	switch (which) {
	case 0:
		put(w, "\"o.card\":{\"$numberDecimal\":\"" CANARY "%llu\"}", canary(w));
		break;
	case 1:
		put(w, "\"l.%u\":\"" CANARY "%llu\"", draw(w, 12), canary(w));
		break;
	case 2:
		put(w, "\"f.0.v\":\"" CANARY "%llu\"", canary(w));
		break;
	case 3:
		put(w, "\"f.1\":{\"v\":{\"$date\":\"" CANARY "%llu\"},\"k\":1}", canary(w));
		break;
	case 4:
		put(w, "\"mail.\\u0030.x\":\"" CANARY "%llu\"", canary(w));
		break;
	case 5:
		put(w, "\"other.0\":\"%s\"", w->is_strict ? CANARY : "clear");
		break;
	default:
		put_column(w, 1 + draw(w, 8));
	}
}

/* The table of an event, in the spelling of each kind. */
static const char *database(const struct world *w)
{
	return w->is_other ? "crm" : "shop";
}

static void put_row(struct world *w)
{
	unsigned n = 1 + draw(w, 6);

	if (draw(w, 8) == 0) {
		put(w, "null");
		return;
	}
	put(w, "{");
	for (unsigned i = 0; i < n; i++) {
		put(w, i ? "," : "");
		put_column(w, draw(w, 9));
	}
	put(w, "}");
}

static void put_two(struct world *w, const char *first, const char *second)
{
	put(w, "{\"%s\":", first);
	put_row(w);
	put(w, ",\"%s\":", second);
	put_row(w);
}

/* A flattened row with columns of the images that it was not made of, and a report that names keys. */
static void put_copies(struct world *w)
{
	if (draw(w, 4) == 0) {
		put(w, "{\"aggregate_type\":\"s\",\"additional_data\":{\"maximum_key\":\"" CANARY "%llu\"}}",
		    canary(w));
		return;
	}
	put(w, "{\"n\":%u,\"__before_phone\":\"" CANARY "%llu\",\"__deleted\":\"true\",", draw(w, 2), canary(w));
	put(w, "\"after.mail\":\"" CANARY "%llu\",\"before.o.card\":\"" CANARY "%llu\",", canary(w), canary(w));
	put(w, "\"__before_l\":[\"" CANARY "%llu\"],\"__after_remark\":\"" CANARY "%llu\"}", canary(w), canary(w));
}

static void put_debezium(struct world *w)
{
	bool wrapped = draw(w, 4) == 0;

	put(w, wrapped ? "{\"payload\":" : "");
	w->is_other = false;
	switch (draw(w, 6)) {
	case 0:
		put_row(w);
		break;
	case 1:
		put_copies(w);
		break;
	case 2:
		put(w, "{\"op\":\"m\",\"message\":{\"prefix\":\"p\",\"content\":\"" CANARY "%llu\"}}", canary(w));
		break;
	case 3:
		put(w,
		    "{\"ddl\":\"" CANARY
		    "%llu\",\"tableChanges\":[{\"table\":{\"columns\":[{\"defaultValueExpression\":\"" CANARY
		    "\"}]}}]}",
		    canary(w));
		break;
	default:
		w->is_other = draw(w, 2);
		put_two(w, "before", "after");
		put(w,
		    ",\"source\":{\"connector\":\"c\",\"db\":\"%s\",\"table\":\"t\",\"query\":\"" CANARY
		    "%llu\"},\"op\":\"u\",\"ts_ms\":1}",
		    database(w), canary(w));
	}
	put(w, wrapped ? "}" : "");
}

/* A field's schema, with the column's values in its default and in an enumeration. */
static void put_field(struct world *w, const char *name, const char *type)
{
	put(w, "{\"type\":%s,\"optional\":true,\"default\":\"" CANARY "%llu\",", type, canary(w));
	put(w, "\"name\":\"io.debezium.data.Enum\",\"parameters\":{\"allowed\":\"x," CANARY "%llu\"},", canary(w));
	put(w, "\"field\":\"%s\"}", name);
}

static void put_row_schema(struct world *w, const char *tail)
{
	static const char list[] = "\"array\",\"items\":{\"type\":\"string\",\"optional\":true}";

	put(w, "{\"type\":\"struct\",\"fields\":[");
	put_field(w, "id", "\"string\"");
	put(w, ",");
	put_field(w, draw(w, 2) ? "ph\\u006fne" : "phone", "\"string\"");
	put(w, ",");
	put_field(w, "mail", "\"string\"");
	put(w, ",");
	put_field(w, "remark", "\"string\"");
	put(w, ",{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"field\":\"x\"},");
	put_field(w, "card", "\"string\"");
	put(w, "],\"default\":{\"card\":\"" CANARY "%llu\"},\"field\":\"o\"},", canary(w));
	put_field(w, "l", list);
	put(w, ",{\"type\":\"array\",\"items\":{\"type\":\"struct\",\"fields\":[{\"type\":\"int32\",\"optional\":true,"
	       "\"field\":\"k\"},");
	put_field(w, "v", "\"string\"");
	put(w, "],\"optional\":true},\"optional\":true,\"field\":\"f\"}],\"optional\":true%s}", tail);
}

static void put_connect(struct world *w)
{
	bool payload_first = draw(w, 8) == 0;

	put(w, "{");
	for (unsigned i = 0; i < 2; i++) {
		put(w, i ? "," : "");
		if (payload_first == (i == 0)) {
			put(w, "\"payload\":");
			put_row(w);
		} else {
			put(w, "\"schema\":");
			put_row_schema(w, draw(w, 4) ? "" : ",\"name\":\"s.Value\"");
		}
	}
	put(w, "}");
}

static void put_debezium_with_schema(struct world *w)
{
	put(w, "{\"schema\":{\"type\":\"struct\",\"fields\":[");
	put_row_schema(w, ",\"field\":\"before\"");
	put(w, ",");
	put_row_schema(w, ",\"field\":\"after\"");
	put(w, ",{\"type\":\"struct\",\"fields\":[");
	put_field(w, "query", "\"string\"");
	put(w, "],\"field\":\"source\"}]},\"payload\":");
	put_two(w, "before", "after");
	put(w, ",\"source\":{\"query\":\"" CANARY "%llu\"},\"op\":\"u\"}}", canary(w));
}

static void put_canal(struct world *w)
{
	static const char *const lists[] = {"data", "old"};

	w->is_other = draw(w, 2);
	put(w, "{");
	for (unsigned i = 0; i < 2; i++) {
		put(w, "\"%s\":[", lists[i]);
		for (unsigned k = draw(w, 4); k-- > 0;) {
			put_row(w);
			put(w, k ? "," : "");
		}
		put(w, "],");
	}
	put(w,
	    "\"database\":\"%s\",\"table\":\"t\",\"type\":\"UPDATE\",\"sql\":\"" CANARY
	    "%llu\",\"mysqlType\":{\"phone\":\"text\"}}",
	    database(w), canary(w));
}

static void put_maxwell(struct world *w)
{
	w->is_other = draw(w, 2);
	put_two(w, "data", "old");
	put(w, ",\"database\":\"%s\",\"table\":\"t\",\"type\":\"update\",\"ts\":1,\"query\":\"" CANARY "%llu\"}",
	    database(w), canary(w));
}

static void put_ogg(struct world *w)
{
	w->is_other = draw(w, 2);
	put_two(w, "before", "after");
	put(w, ",\"table\":\"%s.T\",\"op_type\":\"U\",\"op_ts\":\"1\",\"pos\":\"2\"}", database(w));
}

static void quote(struct world *w, size_t from)
{
	char text[sizeof w->value];
	size_t len = w->len - from;

	memcpy(text, w->value + from, len);
	w->len = from;
	put(w, "\"");
	assert_true(w->len + 2 * len + 2 < sizeof w->value);
	for (size_t i = 0; i < len; i++) {
		if (text[i] == '"' || text[i] == '\\')
			w->value[w->len++] = '\\';
		w->value[w->len++] = text[i];
	}
	put(w, "\"");
}

static void put_document(struct world *w)
{
	size_t from = w->len;

	put_row(w);
	if (w->value[from] == '{')
		quote(w, from);
}

static void put_changed(struct world *w)
{
	size_t from = w->len;

	put(w, "{");
	for (unsigned i = draw(w, 5); i-- > 0;) {
		put_changed_field(w, draw(w, 8));
		put(w, i ? "," : "");
	}
	put(w, "}");
	quote(w, from);
}

static void put_mongodb_event(struct world *w)
{
	w->is_other = draw(w, 2);
	put(w, "{\"before\":");
	put_document(w);
	put(w, ",\"after\":");
	put_document(w);
	put(w, ",\"updateDescription\":{\"removedFields\":[\"phone\"],\"truncatedArrays\":null,\"updatedFields\":");
	put_changed(w);
	put(w, "},\"source\":{\"connector\":\"mongodb\",\"db\":\"%s\",\"collection\":\"t\"},\"op\":\"u\",\"ts_ms\":1}",
	    database(w));
}

static void put_text_field(struct world *w, const char *name)
{
	put(w, "{\"type\":\"string\",\"optional\":true,\"name\":\"io.debezium.data.Json\",");
	put(w, "\"default\":\"{\\\"phone\\\":\\\"" CANARY "%llu\\\"}\",\"field\":\"%s\"},", canary(w), name);
}

static void put_mongodb(struct world *w)
{
	w->is_document = true;
	switch (draw(w, 6)) {
	case 0:
		put_row(w); /* flattened */
		return;
	case 1:
		put(w, "{\"payload\":");
		break;
	case 2:
		put(w, "{\"schema\":{\"type\":\"struct\",\"fields\":[");
		put_text_field(w, "before");
		put_text_field(w, "after");
		put(w, "{\"type\":\"struct\",\"optional\":true,\"fields\":[{\"type\":\"array\",\"items\":{\"type\":"
		       "\"string\"},\"field\":\"removedFields\"},");
		put_text_field(w, "updatedFields");
		put(w, "{\"type\":\"string\",\"optional\":true,\"field\":\"truncatedArrays\"}],\"field\":"
		       "\"updateDescription\"},{\"type\":\"string\",\"field\":\"op\"}]},\"payload\":");
		break;
	default:
		put_mongodb_event(w);
		return;
	}
	put_mongodb_event(w);
	put(w, "}");
}

/* A key as each kind has it; MongoDB's is the document's _id, as a text. */
static void put_key(struct world *w, const char *column)
{
	static const char *const around[][2] = {{"{\\\"$oid\\\": \\\"", "\\\"}"}, {"\\\"", "\\\""}, {"", ""}};
	const char *const *id = around[draw(w, 3)];

	if (w->is_document)
		snprintf(w->key, sizeof w->key, "{\"id\":\"%s" CANARY "%llu%s\"}", id[0], canary(w), id[1]);
	else
		snprintf(w->key, sizeof w->key, "{\"x\":1,\"%s\":\"" CANARY "%llu\"}", column, canary(w));
}

static void look(struct kveil_span s)
{
	/* Without the first letter, which may be spelled as an escape; base64 of it at the three places in a group,
	 * without the characters that neighbours share; hex. */
	static const char *const spellings[] = {&CANARY[1],    "Q0FOQVJZWlFY",       "NBTkFSWVpRW",
						"DQU5BUllaUV", "43414e4152595a5158", "43414E4152595A5158"};

	for (size_t i = 0; s.data && i < sizeof spellings / sizeof *spellings; i++)
		if (memmem(s.data, s.len, spellings[i], strlen(spellings[i])))
			fail_msg("%.*s", (int)s.len, (const char *)s.data);
}

static void look_at(const struct kveil_record *r)
{
	look(r->key);
	look(r->value);
	for (size_t i = 0; i < r->header_count; i++)
		look(r->headers[i].value);
}

static void run_kind(const char *kind, const char *unmatched, void (*put_event)(struct world *), const char *key_column,
		     size_t events)
{
	struct world *w = calloc(1, sizeof *w);
	struct rig r;
	char text[1024];
	size_t produced = 0;

	snprintf(text, sizeof text, yaml, kind, unmatched, put_event == put_mongodb ? "_id" : "id");
	w->is_strict = strcmp(unmatched, "keep") != 0;
	rig_init(&r, text);
	for (size_t i = 0; i < events; i++) {
		w->len = 0;
		w->is_other = false;
		put_event(w);
		put_key(w, key_column);
		snprintf(w->header, sizeof w->header, "Struct{id=" CANARY "%llu}", canary(w));
		struct kveil_header headers[] = {
		    {KVEIL_SPAN("__debezium.newkey"), kveil_span_str(w->key)},
		    {KVEIL_SPAN("__debezium.oldkey"), kveil_span_str(w->header)},
		    {KVEIL_SPAN("__source_query"), kveil_span_str(w->header)},
		};
		struct kveil_record record = {.key = kveil_span_str(w->key),
					      .value = draw(w, 20) ? kveil_span_of(w->value, w->len) : KVEIL_SPAN_NULL,
					      .headers = headers,
					      .header_count = put_event == put_debezium ? 3 : 0};
		kveil_engine_run(r.engine, &record, &r.result);
		produced += r.result.verdict == KVEIL_PRODUCE;
		for (size_t v = 0; v < r.result.output_count; v++)
			look_at(&r.result.outputs[v].record);
		if (r.result.verdict != KVEIL_PRODUCE)
			look(kveil_span_str(r.result.error.message));
	}
	printf("%s, %s: %llu canaries, %zu of %zu events produced\n", kind, unmatched, (unsigned long long)w->canaries,
	       produced, events);
	assert_true(produced > events / 10 * 9);
	rig_clear(&r);
	free(w);
}

static void no_canary_leaves(void **state)
{
	(void)state;
	const char *wanted = getenv("KVEIL_CANARY_EVENTS");
	size_t events = wanted ? (size_t)strtoull(wanted, NULL, 10) : 20000;

	static const char *const unmatched[] = {"keep", "remove"};

	for (size_t i = 0; i < 2; i++) {
		run_kind("debezium", unmatched[i], put_debezium, "id", events / 8);
		run_kind("canal", unmatched[i], put_canal, "id", events / 8);
		run_kind("maxwell", unmatched[i], put_maxwell, "pk.id", events / 8);
		run_kind("ogg", unmatched[i], put_ogg, "id", events / 8);
		run_kind("debezium", unmatched[i], put_mongodb, "_id", events / 8);
	}
	run_kind("debezium", "keep", put_debezium_with_schema, "id", events / 4);
	run_kind("connect", "keep", put_connect, "id", events / 4);
}

/* A canary that does leave is found: the test can fail. */
static void a_canary_would_be_seen(void **state)
{
	(void)state;
	uint8_t coded[64];
	static const char *const before[] = {"", "x", "xy"};
	static const char *const spelled[] = {"Q0FOQVJZWlFY", "NBTkFSWVpRW", "DQU5BUllaUV"};

	for (size_t i = 0; i < 3; i++) {
		char text[32];
		int n = snprintf(text, sizeof text, "%s" CANARY "12", before[i]);
		size_t len = kveil_text_encoded_len(KVEIL_BASE64, (size_t)n);
		kveil_text_encode(KVEIL_BASE64, (const uint8_t *)text, (size_t)n, coded);
		assert_non_null(memmem(coded, len, spelled[i], strlen(spelled[i])));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(no_canary_leaves),
	    cmocka_unit_test(a_canary_would_be_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and conditions on records: what they find, and where they must doubt. */
#include "format/format.h"
#include "path/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct record {
	struct kveil_arena arena;
	struct kveil_scan scan;
};

static void scan(struct record *r, const char *json)
{
	struct kveil_error err;

	kveil_arena_init(&r->arena, 1 << 20);
	r->scan = (struct kveil_scan){.arena = &r->arena, .max_bytes = 1 << 26, .max_depth = 1000, .want_doc = true};
	if (kveil_format_by_name(KVEIL_SPAN("json"))->scan(&r->scan, kveil_span_str(json), &err) != KVEIL_OK)
		fail_msg("%s: %s", json, err.message);
}

static void clear(struct record *r)
{
	kveil_scan_clear(&r->scan);
	kveil_arena_clear(&r->arena);
}

/* What the path finds, as the raw texts with a blank between them. */
static void select_text(const char *json, const char *path, bool doubt_selects, struct kveil_buf *out)
{
	struct record r;
	struct kveil_path *p;
	struct kveil_error err;
	uint32_t *nodes;
	size_t count;
	int64_t work = KVEIL_PATH_WORK;

	scan(&r, json);
	if (kveil_path_parse(kveil_span_str(path), &p, &err) != KVEIL_OK)
		fail_msg("%s: %s", path, err.message);
	if (kveil_path_select_within(p, &r.scan.doc, 0, doubt_selects, &work, &r.arena, &nodes, &count, &err) !=
	    KVEIL_OK)
		fail_msg("%s: %s", path, err.message);
	kveil_buf_reset(out);
	for (size_t i = 0; i < count; i++) {
		const struct kveil_doc_node *n = &r.scan.doc.nodes[nodes[i]];
		if (i)
			kveil_buf_append_byte(out, ' ');
		kveil_buf_append(out, json + n->start, n->end - n->start);
	}
	kveil_path_free(p);
	clear(&r);
}

static void finds(void **state)
{
	static const struct {
		const char *json, *path, *sure, *with_doubt; /* with_doubt NULL: the same */
	} rows[] = {
	    {"{\"a\":1,\"b\":2}", "$.b", "2", NULL},
	    {"{\"a\":1,\"\\u0061\":2,\"b\":3}", "$.a", "1 2", NULL},
	    {"{\"\\ud83d\\ude00\":1}", "$['\xf0\x9f\x98\x80']", "1", NULL},
	    {"[0,1,2,3,4,5]", "$[-1,0,0,1:3]", "0 1 2 5", NULL},
	    {"[0,1,2,3,4,5]", "$[5:0:-2]", "1 3 5", NULL},
	    {"[0,1,2,3,4,5]", "$[::-2]", "1 3 5", NULL},
	    {"[0,1,2,3,4,5]", "$[-2:]", "4 5", NULL},
	    {"[0,1]", "$[1:9007199254740991:9007199254740991]", "1", NULL},
	    {"[0,1]", "$[-9007199254740991]", "", NULL},
	    {"{\"a\":[{\"a\":[{\"a\":1}]}]}", "$..a..a", "[{\"a\":1}] 1", NULL},
	    {"{\"a\":{\"b\":1},\"b\":{\"b\":2}}", "$..b", "1 {\"b\":2} 2", NULL},
	    {"{\"a\":[1,[2]]}", "$..*", "[1,[2]] 1 [2] 2", NULL},
	    {"[{\"x\":1},{\"x\":2},{\"y\":1},{\"x\":\"1\"}]", "$[?@.x == 1]", "{\"x\":1}",
	     "{\"x\":1} {\"y\":1} {\"x\":\"1\"}"},
	    {"[{\"x\":1},{\"x\":2},{\"y\":1}]", "$[?!(@.x == 1)]", "{\"x\":2}", "{\"x\":2} {\"y\":1}"},
	    {"[{\"x\":1},{\"y\":1}]", "$[?!@.x]", "{\"y\":1}", NULL},
	    /* doubt in a nested filter stays doubt through a negation */
	    {"[{\"i\":[{\"x\":\"?\"}]},{\"i\":[{\"x\":2}]},{\"i\":[]}]", "$[?@.i[?@.x > 1]]", "{\"i\":[{\"x\":2}]}",
	     "{\"i\":[{\"x\":\"?\"}]} {\"i\":[{\"x\":2}]}"},
	    {"[{\"i\":[{\"x\":\"?\"}]},{\"i\":[{\"x\":2}]},{\"i\":[]}]", "$[?!@.i[?@.x > 1]]", "{\"i\":[]}",
	     "{\"i\":[{\"x\":\"?\"}]} {\"i\":[]}"},
	    {"{\"k\":[{\"v\":\"s\"}]}", "$.k[?@.v > 1].v", "", "\"s\""},
	    /* found once surely and once in doubt is sure */
	    {"[{\"v\":\"s\"}]", "$[?@.v > 1, 0]", "{\"v\":\"s\"}", NULL},
	};
	struct kveil_buf b = KVEIL_BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		select_text(rows[i].json, rows[i].path, false, &b);
		if (strcmp(kveil_buf_cstr(&b), rows[i].sure) != 0)
			fail_msg("%s on %s: %s", rows[i].path, rows[i].json, kveil_buf_cstr(&b));
		select_text(rows[i].json, rows[i].path, true, &b);
		if (strcmp(kveil_buf_cstr(&b), rows[i].with_doubt ? rows[i].with_doubt : rows[i].sure) != 0)
			fail_msg("%s with doubt on %s: %s", rows[i].path, rows[i].json, kveil_buf_cstr(&b));
	}
	kveil_buf_clear(&b);
}

static enum kveil_tri ask(const char *json, const char *condition)
{
	struct record r;
	struct kveil_expr *e;
	struct kveil_error err;
	enum kveil_tri answer;
	int64_t work = KVEIL_PATH_WORK;

	scan(&r, json);
	if (kveil_expr_parse(kveil_span_str(condition), &e, &err) != KVEIL_OK)
		fail_msg("%s: %s", condition, err.message);
	if (kveil_expr_eval_within(e, &r.scan.doc, 0, &work, &answer, &err) != KVEIL_OK)
		fail_msg("%s: %s", condition, err.message);
	kveil_expr_free(e);
	clear(&r);
	return answer;
}

static void answers_in_three_values(void **state)
{
	static const char json[] =
	    "{\"n\":5,\"s\":\"CN\",\"t\":true,\"z\":null,\"a\":[1,\"2\",3],\"b\":[1,2,3],\"o\":{\"p\":1,\"q\":[]},"
	    "\"u\":{\"q\":[],\"p\":1.0},\"d\":1,\"d\":2,\"e\":7,\"e\":7.0,\"big\":9007199254740993,"
	    "\"esc\":\"\\u0043\\u004e\",\"huge\":1e400,\"re\":\"C.\",\"bad\":\"(\",\"dup\":{\"p\":1,\"p\":1},"
	    "\"items\":[{\"x\":1},{\"x\":\"?\"}],\"emoji\":\"a\\ud83d\\ude00\"}";
	static const struct {
		const char *condition;
		enum kveil_tri answer;
	} rows[] = {
	    {"@.n == 5", KVEIL_YES},
	    {"@.n == 5.00e0", KVEIL_YES},
	    {"@.n == 4", KVEIL_NO},
	    {"@.n != 4", KVEIL_YES},
	    {"@.n == '5'", KVEIL_DOUBT},
	    {"@.n != '5'", KVEIL_DOUBT},
	    {"!(@.n == '5')", KVEIL_DOUBT},
	    {"@.absent == 5", KVEIL_DOUBT},
	    {"@.absent != 5", KVEIL_DOUBT},
	    {"@.absent == @.absent", KVEIL_DOUBT},
	    {"@.absent", KVEIL_NO},
	    {"!@.absent", KVEIL_YES},
	    {"@.z", KVEIL_YES},
	    {"@.z == null", KVEIL_YES},
	    {"@.z <= null", KVEIL_YES},
	    {"@.z < null", KVEIL_DOUBT},
	    {"@.n == null", KVEIL_DOUBT},
	    {"@.t == true", KVEIL_YES},
	    {"@.t == false", KVEIL_NO},
	    {"@.t < false", KVEIL_DOUBT},
	    {"@.t >= true", KVEIL_YES},
	    {"@.s == 'CN'", KVEIL_YES},
	    {"@.s < 'CO'", KVEIL_YES},
	    {"@.esc == 'CN'", KVEIL_YES},
	    {"@.esc == @.s", KVEIL_YES},
	    {"@.esc > 'CM'", KVEIL_YES},
	    {"@.s == 'CN' && @.absent > 1", KVEIL_DOUBT},
	    {"@.s == 'US' && @.absent > 1", KVEIL_NO},
	    {"@.s == 'CN' || @.absent > 1", KVEIL_YES},
	    {"@.s == 'US' || @.absent > 1", KVEIL_DOUBT},
	    {"@.big == 9007199254740992", KVEIL_NO},
	    {"@.big > 9007199254740992", KVEIL_YES},
	    {"@.huge > 1e399", KVEIL_YES},
	    {"@.huge == 10e399", KVEIL_YES},
	    {"@.huge < 1e99999999999999999999", KVEIL_DOUBT},
	    {"0 == 0e99999999999999999999", KVEIL_YES},
	    {"-0 == 0.0", KVEIL_YES},
	    {"0.1 == 1e-1", KVEIL_YES},
	    {"-2 < -1.5", KVEIL_YES},
	    {"0.30000000000000000001 > 0.3", KVEIL_YES},
	    {"@.a == @.b", KVEIL_DOUBT},
	    {"@.b == @.b", KVEIL_YES},
	    {"@.a == @.o", KVEIL_DOUBT},
	    {"@.a == @.o.q", KVEIL_NO},
	    {"@.o == @.u", KVEIL_YES},
	    {"@.o == @.dup", KVEIL_NO},
	    {"@.dup == @.dup", KVEIL_DOUBT},
	    {"@.d == 1", KVEIL_DOUBT},
	    {"@.d < 3", KVEIL_YES},
	    {"@.d > 3", KVEIL_NO},
	    {"@.e == 7", KVEIL_YES},
	    {"length(@.s) == 2", KVEIL_YES},
	    {"length(@.emoji) == 2", KVEIL_YES},
	    {"length(@.a) == 3", KVEIL_YES},
	    {"length(@.o) == 2", KVEIL_YES},
	    {"length(@.n) == 1", KVEIL_DOUBT},
	    {"length(@.absent) == 1", KVEIL_DOUBT},
	    {"length(@.d) == 1", KVEIL_DOUBT},
	    {"count(@.*) == 20", KVEIL_YES},
	    {"count(@['n','n']) == 2", KVEIL_YES},
	    {"count(@.items[?@.x == 1]) == 1", KVEIL_DOUBT},
	    {"count(@.items[?@.x]) == 2", KVEIL_YES},
	    {"value(@..q) == 1", KVEIL_DOUBT},
	    {"value(@.o.*) == 1", KVEIL_DOUBT},
	    {"value(@['n']) == 5", KVEIL_YES},
	    {"@.items[?@.x == 1]", KVEIL_YES},
	    {"@.items[?@.x == 2]", KVEIL_DOUBT},
	    {"!@.items[?@.x == 2]", KVEIL_DOUBT},
	    {"@.b[?@ == 9]", KVEIL_NO},
	    {"match(@.s, 'C.')", KVEIL_YES},
	    {"match(@.esc, 'CN')", KVEIL_YES},
	    {"match(@.s, 'C')", KVEIL_NO},
	    {"search(@.s, 'N')", KVEIL_YES},
	    {"match(@.emoji, 'a.')", KVEIL_YES},
	    {"match(@.n, '5')", KVEIL_DOUBT},
	    {"!match(@.n, '5')", KVEIL_DOUBT},
	    {"match(@.absent, '5')", KVEIL_DOUBT},
	    {"match(@.s, @.re)", KVEIL_YES},
	    {"match(@.s, @.bad)", KVEIL_DOUBT},
	    {"match(@.s, 1)", KVEIL_DOUBT},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		enum kveil_tri answer = ask(json, rows[i].condition);
		if (answer != rows[i].answer)
			fail_msg("%s: %d", rows[i].condition, (int)answer);
	}
}

/* A record that would burn minutes gets TOO_COMPLEX; a deep one does not recurse without a bound. */
static void bounds_work(void **state)
{
	struct kveil_buf b = KVEIL_BUF_INIT;
	struct kveil_error err;
	enum kveil_tri answer;
	uint32_t *nodes;
	size_t count;

	(void)state;
	kveil_buf_append_byte(&b, '[');
	for (int i = 0; i < 100000; i++)
		kveil_buf_append_str(&b, "[\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"],");
	kveil_buf_append_str(&b, "0]");
	struct record r;
	scan(&r, kveil_buf_cstr(&b));
	static const char *const slow[] = {"$[?$[?@ == 'x']]", "$[?@ == $]", "$[?count($..*) > 1]",
					   "$[?count($..*..*..[*,*,*,*,*,*,*,*,*,*,*,*,*,*,*,*,*,*]) > 1]"};
	for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
		struct kveil_path *p;
		assert_int_equal(kveil_path_parse(kveil_span_str(slow[i]), &p, &err), KVEIL_OK);
		int64_t work = KVEIL_PATH_WORK;
		enum kveil_status status =
		    kveil_path_select_within(p, &r.scan.doc, 0, true, &work, &r.arena, &nodes, &count, &err);
		if (i == 1)
			assert_int_equal(status, KVEIL_OK); /* lengths differ at once */
		else
			assert_int_equal(status, KVEIL_E_TOO_COMPLEX);
		kveil_path_free(p);
	}
	/* One budget for several questions is spent by all of them. */
	struct kveil_expr *e;
	int64_t work = 1000000;
	assert_int_equal(kveil_expr_parse(KVEIL_SPAN("count($..*) > 1"), &e, &err), KVEIL_OK);
	int asked = 0;
	while (kveil_expr_eval_within(e, &r.scan.doc, 0, &work, &answer, &err) == KVEIL_OK)
		asked++;
	assert_in_range(asked, 1, 10);
	assert_int_equal(answer, KVEIL_DOUBT);
	kveil_expr_free(e);
	clear(&r);

	/* 900 levels, compared with themselves. */
	kveil_buf_reset(&b);
	for (int i = 0; i < 900; i++)
		kveil_buf_append_str(&b, "{\"a\":[");
	for (int i = 0; i < 900; i++)
		kveil_buf_append_str(&b, "]}");
	r = (struct record){0};
	kveil_arena_init(&r.arena, 0);
	r.scan = (struct kveil_scan){.arena = &r.arena, .max_bytes = 1 << 26, .max_depth = 2000, .want_doc = true};
	assert_int_equal(kveil_format_by_name(KVEIL_SPAN("json"))->scan(&r.scan, kveil_buf_span(&b), &err), KVEIL_OK);
	work = KVEIL_PATH_WORK;
	assert_int_equal(kveil_expr_parse(KVEIL_SPAN("@ == $ && @..a && count(@..*) == 1799"), &e, &err), KVEIL_OK);
	assert_int_equal(kveil_expr_eval_within(e, &r.scan.doc, 0, &work, &answer, &err), KVEIL_OK);
	assert_int_equal(answer, KVEIL_YES);
	kveil_expr_free(e);
	clear(&r);
	kveil_buf_clear(&b);
}

static void repeat(struct kveil_buf *b, const char *text, const char *between, size_t times)
{
	for (size_t i = 0; i < times; i++) {
		kveil_buf_append_str(b, i ? between : "");
		kveil_buf_append_str(b, text);
	}
}

/* Whatever a step's time hangs on is paid for: both operands, the bytes of names, sorting, the pattern's own size.
 * Each of these came to less than `work` when one of the two went unpaid. */
static void charges_both_operands(void **state)
{
	static const struct {
		const char *path, *element, *big, *big_end;
		size_t elements, times;
		int64_t work;
	} rows[] = {
	    {"$.p[?@ > $.l]", "1", "\"l\":1", "0", 1000, 20000, 1000000},
	    {"$.p[?@ == $.l]", "1", "\"l\":1.", "0", 1000, 20000, 1000000},
	    {"$.p[?@ < $.l]", "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"", "\"l\":\"", "\\u0061", 1000, 1000, 30000},
	    {"$.p[?length($.l) > @]", "1", "\"l\":\"", "\\u00e9", 1000, 6000, 5000000},
	    {"$.p[?$.customer_identification == @]", "1", NULL, "\"customer_identificati\\u006fm\":1,", 1000, 1000,
	     5000000},
	    {"$.p[?$.o[*]['b','a']]", "1", "\"o\":[0", ",{\"a\":1,\"b\":2}", 300, 2000, 8000000},
	    {"$.p[?@ == $.l]", "{\"\\u0061\\u0061\\u0061\\u0061\\u0061\\u0061\\u0061\\u0061b\":1}",
	     "\"l\":{\"\\u0061\\u0061\\u0061\\u0061\\u0061\\u0061\\u0061\\u0061c\":1},\"x\":1", "0", 1000, 1, 20000},
	    {"$.p[?search(@, $.a) || search(@, $.b)]", "\"q\"",
	     "\"a\":\"((a{10}){10}){40}\",\"b\":\"((b{10}){10}){40}\",\"l\":1", "0", 200, 1, 2000000},
	    {"$.p[?search(@, '[\u4e00\u4e02-\u4e03\u4e05\u4e07\u4e09\u4e0b\u4e0d\u4e0f\u4e11\u4e13]')]", "\"\u4e04\"",
	     NULL, "\"z\":1,", 2000, 1, 9000},
	};
	struct kveil_buf b = KVEIL_BUF_INIT;
	struct kveil_error err;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct record r;
		struct kveil_path *p;
		uint32_t *nodes;
		size_t count;
		kveil_buf_reset(&b);
		kveil_buf_append_str(&b, "{\"p\":[");
		repeat(&b, rows[i].element, ",", rows[i].elements);
		kveil_buf_append_str(&b, "],");
		kveil_buf_append_str(&b, rows[i].big ? rows[i].big : "");
		repeat(&b, rows[i].big_end, "", rows[i].times);
		size_t open = rows[i].big ? strlen(rows[i].big) : 0;
		kveil_buf_append_str(&b, !open                          ? "\"z\":1}"
					 : rows[i].big[open - 1] == '"' ? "\"}"
					 : strstr(rows[i].big, "[0")    ? "]}"
									: "}");
		scan(&r, kveil_buf_cstr(&b));
		assert_int_equal(kveil_path_parse(kveil_span_str(rows[i].path), &p, &err), KVEIL_OK);
		int64_t work = rows[i].work;
		enum kveil_status status =
		    kveil_path_select_within(p, &r.scan.doc, 0, true, &work, &r.arena, &nodes, &count, &err);
		if (status != KVEIL_E_TOO_COMPLEX)
			fail_msg("%s: %s, %lld left", rows[i].path, kveil_status_code(status), (long long)work);
		kveil_path_free(p);
		clear(&r);
	}
	kveil_buf_clear(&b);
}

/* What people send is far from the bound: 8 MiB of orders, and a condition of four comparisons on each item. */
static void leaves_room(void **state)
{
	struct kveil_buf b = KVEIL_BUF_INIT;
	struct kveil_error err;
	struct kveil_path *p;
	struct record r;
	uint32_t *nodes;
	size_t count;
	int64_t work = KVEIL_PATH_WORK;

	(void)state;
	kveil_buf_append_str(&b, "{\"country\":\"CN\",\"limit\":5000.00,\"items\":[");
	repeat(&b, "{\"sku\":\"A-1002\",\"price\":1299.99,\"name\":\"\\u5317\\u4eac\",\"n\":3}", ",", 100000);
	kveil_buf_append_str(&b, "]}");
	scan(&r, kveil_buf_cstr(&b));
	assert_int_equal(kveil_path_parse(KVEIL_SPAN("$.items[?$.country == 'CN' && @.price < $.limit && "
						     "match(@.sku, '[A-Z]-[0-9]+') && length(@.name) == 2]"),
					  &p, &err),
			 KVEIL_OK);
	assert_int_equal(kveil_path_select_within(p, &r.scan.doc, 0, false, &work, &r.arena, &nodes, &count, &err),
			 KVEIL_OK);
	assert_int_equal(count, 100000);
	assert_true(work > KVEIL_PATH_WORK / 2);
	kveil_path_free(p);
	clear(&r);
	kveil_buf_clear(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(finds),       cmocka_unit_test(answers_in_three_values),
	    cmocka_unit_test(bounds_work), cmocka_unit_test(charges_both_operands),
	    cmocka_unit_test(leaves_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

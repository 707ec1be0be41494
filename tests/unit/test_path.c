/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and conditions as texts: what parses, what is refused and with which help, what their shape tells. */
#include "path/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct kveil_path *path(const char *text)
{
	struct kveil_path *p;
	struct kveil_error err;

	if (kveil_path_parse(kveil_span_str(text), &p, &err) != KVEIL_OK)
		fail_msg("%s: byte %zu: %s", text, err.byte, err.message);
	return p;
}

static void accepts_paths(void **state)
{
	static const char *const good[] = {
	    "$",
	    "$.a",
	    "$['a']",
	    "$[\"a\"]",
	    "$.a.b[0]",
	    "$[-1]",
	    "$[*]",
	    "$.*",
	    "$..a",
	    "$..*",
	    "$..[0]",
	    "$[1:2]",
	    "$[::2]",
	    "$[ 1 : 2 : 3 ]",
	    "$[:]",
	    "$['a','b',0,*,1:2]",
	    "$ .a [0]",
	    "$.\xe5\x90\x8d",
	    "$['\\u540d\\uD83D\\uDE00']",
	    "$['it\\'s']",
	    "$[\"say \\\"x\\\"\"]",
	    "$[?@.a]",
	    "$[?@.a == 1 && !@.b || (@.c > 'x')]",
	    "$[9007199254740991]",
	    "$[?length(@.a) >= 3]",
	    "$[?count(@..x) == 2]",
	    "$[?match(@.a, 'x.*')]",
	    "$[?!search(@, $.re)]",
	    "$[?value(@..x) == -0]",
	    "$[?@[?@.a>1]]",
	    "$[?@.a==1, ?@.b==2]",
	    "$['']",
	    "$[?@.a == 1.5e-3]",
	    "$[?true == @.a]",
	    "$[?match(@.a, value($.p))]",
	};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		kveil_path_free(path(good[i]));
}

static void refuses_paths(void **state)
{
	static const struct {
		const char *text;
		size_t byte;
		const char *hint; /* a part of it */
	} bad[] = {
	    {"", 0, "whole value is $"},
	    {"customer.phone", 0, "did you mean $.customer.phone?"},
	    {".a", 0, "did you mean $.a?"},
	    {"['a']", 0, "did you mean $['a']?"},
	    {"@.a", 0, "here write $.a"},
	    {"/a/b", 0, "JSON Pointer"},
	    {"\"$.a\"", 0, "quotes too many"},
	    {" $.a", 0, "no blank"},
	    {"$.a ", 3, "no blanks at the end"},
	    {"$a", 1, "$.a"},
	    {"$.a-b", 3, "brackets: $['a-b']"},
	    {"$.x..a-b", 6, "brackets: $.x..['a-b']"},
	    {"$.[0]", 2, "no dot before a bracket"},
	    {"$.'a'", 2, "without a dot"},
	    {"$.a.", 4, "drop the last dot"},
	    {"$..", 3, "..*"},
	    {"$...a", 3, "two dots"},
	    {"$.0", 2, "[0]"},
	    {"$[a]", 2, "['a']"},
	    {"$['a]", 2, ""},
	    {"$['a'", 5, ""},
	    {"$['a']]", 6, "one ] too many"},
	    {"$[]", 2, "[*]"},
	    {"$[01]", 2, "['007']"},
	    {"$[-0]", 2, ""},
	    {"$[1.5]", 3, "whole number"},
	    {"$[9007199254740992]", 2, ""},
	    {"$[(@.length-1)]", 2, "[-1]"},
	    {"$[@.a==1]", 2, "[?@"},
	    {"$[\xe2\x80\x98"
	     "a\xe2\x80\x99]",
	     2, "straight quotes"},
	    {"$['a\n']", 4, "YAML"},
	    {"$['\\d']", 3, "single quotes"},
	    {"$['\\\"']", 3, "no backslash"},
	    {"$['\\uD800']", 3, ""},
	    {"$['\\uDC00']", 3, ""},
	    {"$['\\u12']", 7, ""},
	    {"$.a^", 3, "no operator for a parent"},
	    {"$.items.length()", 14, "length(@.a)"},
	    {"$[?@.a = 1]", 7, "=="},
	    {"$[?@.a === 1]", 9, "write =="},
	    {"$[?@.a =~ 'x']", 7, "search("},
	    {"$[?@.a <> 1]", 7, "!="},
	    {"$[?@.a == 1 and @.b]", 12, "&&"},
	    {"$[?@.a == 1 or @.b]", 12, "||"},
	    {"$[?@.a & @.b]", 7, "&&"},
	    {"$[?@.a == CN]", 10, "'CN'"},
	    {"$[?@.a == True]", 10, "write true"},
	    {"$[?@.a == a.b]", 10, "@.a"},
	    {"$[?!@.a == 1]", 8, "!(@.a == 1)"},
	    {"$[?1]", 3, ""},
	    {"$[?@.a == [1]]", 10, "only texts"},
	    {"$[?@.* == 1]", 3, "?@.x == 1"},
	    {"$[?length(@.*) == 1]", 10, "value("},
	    {"$[?count(1) == 1]", 9, ""},
	    {"$[?length(@.a)]", 3, ""},
	    {"$[?match(@.a, 'x') == true]", 3, "match("},
	    {"$[?match(@.a)]", 12, ""},
	    {"$[?Length(@.a) == 1]", 3, "small letters"},
	    {"$[?match(@.a, '\\\\d+')]", 14, "[0-9]"},
	    {"$[?match(@.a, '(')]", 14, ""},
	    {"$[?(@.a == 1]", 12, ""},
	    {"$[?(@.a == 1", 3, ""},
	    {"$[?@.a + 1 == 2]", 7, "no arithmetic"},
	    {"$[?@.a == 01]", 10, "'007'"},
	    {"$\xff", 1, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct kveil_path *p;
		struct kveil_error err;
		enum kveil_status status = kveil_path_parse(kveil_span_str(bad[i].text), &p, &err);
		if (status != KVEIL_E_PATH_SYNTAX || p || err.byte != bad[i].byte || !strstr(err.hint, bad[i].hint))
			fail_msg("%s: status %d byte %zu: %s (%s)", bad[i].text, (int)status, err.byte, err.message,
				 err.hint);
	}
}

static void parses_conditions(void **state)
{
	static const char *const good[] = {"$.country == 'CN' && @ > 50000", " @ \n", "!(@.a || @.b)", "@ == null"};
	static const struct {
		const char *text;
		size_t byte;
	} bad[] = {{"", 0},     {" ", 0},    {"?@.a", 0}, {"@.a == 1]", 8},
		   {"@.a)", 3}, {"@.a,", 3}, {"'x'", 0},  {"@.a ==", 6}};
	struct kveil_expr *e;
	struct kveil_error err;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_int_equal(kveil_expr_parse(kveil_span_str(good[i]), &e, &err), KVEIL_OK);
		kveil_expr_free(e);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(kveil_expr_parse(kveil_span_str(bad[i].text), &e, &err), KVEIL_E_PATH_SYNTAX);
		if (err.byte != bad[i].byte)
			fail_msg("%s: byte %zu: %s", bad[i].text, err.byte, err.message);
	}
}

/* Hostile lengths and depths are refused, not recursed into. */
static void bounds_nesting(void **state)
{
	static const char *const pieces[][2] = {{"", "("}, {"", "!("}, {"", "$[?"}, {"@ == ", "length("}};
	struct kveil_expr *e;
	struct kveil_error err;

	(void)state;
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		struct kveil_buf b = KVEIL_BUF_INIT;
		kveil_buf_append_str(&b, pieces[i][0]);
		for (size_t n = 0; n < 8000; n++)
			kveil_buf_append_str(&b, pieces[i][1]);
		assert_int_equal(kveil_expr_parse(kveil_buf_span(&b), &e, &err), KVEIL_E_PATH_SYNTAX);
		assert_non_null(strstr(err.message, "nested deeper"));
		kveil_buf_clear(&b);
	}
	static char longest[70000] = "$";
	memset(longest + 1, 'a', sizeof longest - 2);
	struct kveil_path *p;
	assert_int_equal(kveil_path_parse(kveil_span_str(longest), &p, &err), KVEIL_E_PATH_SYNTAX);
	assert_non_null(strstr(err.message, "longer than"));
}

static void tells_the_shape(void **state)
{
	static const struct {
		const char *text;
		bool streamable;
		const char *normalized; /* NULL: not fixed */
	} rows[] = {
	    {"$", true, "$"},
	    {"$.a.b", true, "$['a']['b']"},
	    {"$.a[3].b", true, "$['a'][*]['b']"},
	    {"$['it\\'s']['\\u0001\\n\\\\']", true, "$['it\\'s']['\\u0001\\n\\\\']"},
	    {"$['\\u540d']", true, "$['\xe5\x90\x8d']"},
	    {"$.a[*].b", true, NULL},
	    {"$..a", true, NULL},
	    {"$['a','b']", true, NULL},
	    {"$.a[-1]", false, "$['a'][*]"},
	    {"$.a[0:2]", false, "$['a'][*]"},
	    {"$.a[?@.b]", false, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct kveil_path *p = path(rows[i].text);
		struct kveil_buf b = KVEIL_BUF_INIT;
		assert_int_equal(kveil_path_is_streamable(p), rows[i].streamable);
		assert_int_equal(kveil_path_is_fixed(p), rows[i].normalized != NULL);
		if (rows[i].normalized) {
			kveil_path_write_normalized(p, &b);
			assert_string_equal(kveil_buf_cstr(&b), rows[i].normalized);
		}
		kveil_buf_clear(&b);
		kveil_path_free(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(accepts_paths),  cmocka_unit_test(refuses_paths),   cmocka_unit_test(parses_conditions),
	    cmocka_unit_test(bounds_nesting), cmocka_unit_test(tells_the_shape),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

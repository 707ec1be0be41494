/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/yaml.h"

static struct kveil_yaml *parse(const char *text, struct kveil_report *report)
{
	*report = (struct kveil_report){0};
	return kveil_yaml_parse(kveil_span_str(text), "f.yaml", report);
}

static void test_tree(void **state)
{
	(void)state;
	struct kveil_report r;
	struct kveil_yaml *y = parse("# head\n"
				     "name: orders\n"
				     "topics: [etl.orders, \"^x{2}\"]\n"
				     "fields:\n"
				     "  - path: $.items[*]['a']\n"
				     "    when: $.country == 'CN' && @ > 50000\n"
				     "    mask: {keep_first: 3, \"keep_last\":4}\n"
				     "empty:\n"
				     "quoted: 'null'\n"
				     "long: >-\n  two\n  lines\n"
				     "\"客户\": 'it''s'\n",
				     &r);
	assert_non_null(y);
	assert_int_equal(y->kind, KVEIL_YAML_MAP);
	assert_int_equal(y->count, 7);
	assert_string_equal(kveil_yaml_get(y, "name")->text, "orders");
	assert_false(kveil_yaml_get(y, "name")->quoted);
	const struct kveil_yaml *topics = kveil_yaml_get(y, "topics");
	assert_int_equal(topics->kind, KVEIL_YAML_LIST);
	assert_int_equal(topics->count, 2);
	assert_true(topics->items[1]->quoted);
	assert_int_equal(topics->items[1]->line, 3);
	assert_int_equal(topics->items[1]->column, 22);
	const struct kveil_yaml *rule = kveil_yaml_get(y, "fields")->items[0];
	assert_string_equal(kveil_yaml_get(rule, "path")->text, "$.items[*]['a']");
	assert_string_equal(kveil_yaml_get(rule, "when")->text, "$.country == 'CN' && @ > 50000");
	assert_string_equal(kveil_yaml_get(kveil_yaml_get(rule, "mask"), "keep_last")->text, "4");
	assert_true(kveil_yaml_is_null(kveil_yaml_get(y, "empty")));
	assert_false(kveil_yaml_is_null(kveil_yaml_get(y, "quoted")));
	assert_string_equal(kveil_yaml_get(y, "long")->text, "two lines");
	assert_string_equal(kveil_yaml_get(y, "客户")->text, "it's");
	assert_null(kveil_yaml_get(y, "nam"));
	assert_null(kveil_yaml_get(topics, "x"));
	kveil_yaml_free(y);
	y = parse("\xef\xbb\xbf{a: , b: [], c: {}}\r\n", &r);
	assert_non_null(y);
	assert_int_equal(y->count, 3);
	kveil_yaml_free(y);
	y = parse("---\na: 1 # x 'y\n...\n", &r);
	assert_non_null(y);
	kveil_yaml_free(y);
	kveil_yaml_free(NULL);
}

/* One problem each: where, what, and the line as it should be. */
static const struct {
	const char *text;
	uint32_t line, column;
	const char *message, *hint;
} traps[] = {
    {"a: 1\n\xef\xbb\xbf"
     "b: 1\n",
     2, 1, "an invisible byte order mark (U+FEFF)", ""},
    {"\xff\xfe"
     "a",
     1, 1, "a byte order mark of UTF-16: save the file as UTF-8", ""},
    {"name: a\noutput: {topic}.secure\nx: 1\n", 2, 9, "'{' at the start", "write: output: \"{topic}.secure\""},
    {"output: {topic}\n", 1, 9, "'{' at the start", "write: output: \"{topic}\""},
    {"output: {topic}-{part}\n", 1, 9, "'{' at the start", "write: output: \"{topic}-{part}\""},
    {"dead_letter: {topic: {topic}.dead, key: dead-letters}\n", 1, 22, "'{' at the start",
     "write: dead_letter: {topic: \"{topic}.dead\", key: dead-letters}"},
    {"dead_letter: {topic: {topic}}\n", 1, 22, "'{' at the start", "write: dead_letter: {topic: \"{topic}\"}"},
    {"when: @ > 5\n", 1, 7, "reserves '@'", "write: when: \"@ > 5\""},
    {"fields:\n  - path: $.a\n    when: @.x == \"y\"\n", 3, 11, "reserves '@'", "write: when: '@.x == \"y\"'"},
    {"x: `a`\n", 1, 4, "reserves '`'", "write: x: \"`a`\""},
    {"x: %a\n", 1, 4, "'%'", "write: x: \"%a\""},
    {"x: *\n", 1, 4, "alias", "write: x: \"*\""},
    {"x: **** # four stars\n", 1, 4, "alias", "write: x: \"****\""},
    {"replace: {with: ***}\n", 1, 17, "alias", "write: replace: {with: \"***\"}"},
    {"path: *.id\n", 1, 7, "alias", "write: path: \"*.id\""},
    {"a: &b {x: 1}\n", 1, 4, "anchor", ""},
    {"a: *b\n", 1, 4, "alias", "write: a: \"*b\""},
    {"<<: *b\n", 1, 1, "merge keys", ""},
    {"{<<: {a: 1}}\n", 1, 2, "merge keys", "write the text out"},
    {"a: !!str 5\n", 1, 4, "tag", "write: a: \"!!str 5\""},
    {"a: !x\n", 1, 4, "tag", "write: a: \"!x\""},
    {"topics: [*]\n", 1, 10, "alias", "write: topics: [\"*\"]"},
    {"path: [*].a\n", 1, 7, "'[' at the start", "write: path: \"[*].a\""},
    {"f: [{path: $.items[*].a, remove: true}]\n", 1, 12, "holds a bracket",
     "write: f: [{path: \"$.items[*].a\", remove: true}]"},
    {"- {path: $.a['x','y'], remove: true}\n", 1, 10, "holds a bracket",
     "write: - {path: \"$.a['x','y']\", remove: true}"},
    {"path: $.a[?@.x == 'y: z']\n", 1, 7, "holds ': '", "write: path: \"$.a[?@.x == 'y: z']\""},
    {"path: $.a[?@.x == ' #1']\n", 1, 7, "begins a comment", "write: path: \"$.a[?@.x == ' #1']\""},
    {"when: \"$.c == \"NO\"\"\n", 1, 16, "follows the closing quote", "write: when: '$.c == \"NO\"'"},
    {"a: 1\npath: \"卡\\d\"\n", 2, 9, "\\d is not an escape in double quotes", "write \\\\d, or single quotes"},
    {"when: \"@.a\" == 'b'\n", 1, 12, "follows the closing quote", "write: when: '\"@.a\" == ''b'''"},
    {"when: > 5\n", 1, 7, "text block", "write: when: \"> 5\""},
    {"a: 1\nname:orders\nb: 2\n", 2, 5, "a space is missing", "write: name: orders"},
    {"mask: {keep_first:3, keep_last: 4}\n", 1, 18, "a space is missing", "write: mask: {keep_first: 3, keep_last: 4}"},
    {"mask:\n  keep_first: 3\n    keep_last:4\n", 3, 14, "a space is missing", "write: keep_last: 4"},
    {"a:\n\tb: 1\n", 2, 1, "a tab", "write: b: 1"},
    {"a:\n  b: 1\n\tc: 1\n", 3, 1, "a tab", "write: c: 1"},
    {"a: \"x\nb: 1\n", 1, 4, "never closed", "write: a: \"x\""},
    {"a: \"x\nb: \"y\"\n", 1, 4, "never closed", "write: a: \"x\""},
    {"a: 'x\n  y'\n", 1, 4, "never closed", "write: a: 'x'"},
    {"a: x\n  y\n", 1, 4, "must end on the line", "indented too far"},
    {"a: {b: 1\nc: 2\n", 1, 4, "not closed", ""},
    {"a: [b, c\nd: 2\n", 1, 4, "not closed", ""},
    {"a: 1\nb: 2\na: 3\n", 3, 1, "'a' is given twice, first on line 1", ""},
    {"- path: $.a\n  remove: true\n  path: $.b\n", 3, 3, "'path' is given twice", "begins with '- '"},
    {"fields:\n  - path: a\n   mask: x\n", 3, 4, "does not fit", "indented like its neighbours"},
    {"? [a]\n: b\n", 1, 3, "a key must be plain text", ""},
    {"{: b}\n", 1, 2, "did not find", ""},
    {"a: 1\n---\nb: 2\n", 2, 1, "a second document", "one document"},
    {"a: \"x\\0y\"\n", 1, 4, "NUL", ""},
    {"a: \x01\n", 1, 4, "control character", ""},
    {"a: x\rb: y\n", 1, 5, "carriage return", ""},
    {"a: \xe2\x80\xa8\n", 1, 4, "U+2028", ""},
    {"a: 1\nb: \xff\n", 2, 4, "not UTF-8", ""},
    {"a: \xc0\xaf\n", 1, 4, "not UTF-8", ""},
    {"sasl.password: @hunter2\n", 1, 16, "reserves '@'", "put the value in quotes"},
    {"", 0, 0, "the file is empty", ""},
    {"# only this\n", 0, 0, "the file is empty", ""},
};

static void test_traps(void **state)
{
	(void)state;
	size_t bad = 0;

	for (size_t i = 0; i < sizeof traps / sizeof *traps; i++) {
		struct kveil_report r;
		struct kveil_yaml *y = parse(traps[i].text, &r);
		const struct kveil_error *e = r.count ? &r.problems[0].error : &(struct kveil_error){0};
		if (y || r.count != 1 || e->line != traps[i].line || e->column != traps[i].column ||
		    !strstr(e->message, traps[i].message) || !strstr(e->hint, traps[i].hint) ||
		    (!*traps[i].hint && *e->hint)) {
			print_error("%s--- wanted %u:%u %s (%s)\n", traps[i].text, traps[i].line, traps[i].column,
				    traps[i].message, traps[i].hint);
			kveil_report_print(&r, stderr);
			bad++;
		}
		kveil_yaml_free(y);
		kveil_report_clear(&r);
	}
	assert_int_equal(bad, 0);
}

/* Text that looks like a trap and is none. */
static void test_no_trap(void **state)
{
	(void)state;
	static const char *const fine[] = {
	    "a: it's\nb: don't # can't\n",
	    "a: $.x[*].y # the [ items\n",
	    "a: x:y\nb: kafka:kveil.keys\nc: http://x:80/\n",
	    "a: {\n  b: 1,\n  c: 2\n}\n",
	    "a: \"# no comment\"\n",
	    "a: {\"b\":1, c: [d, e]}\n",
	    "key: \"tenant-{$.tenant}\"\n",
	    "\"tenant-{}\": {algorithm: aes-256-gcm}\n",
	    "a: |\n  x: y\n  @ # z\n",
	};

	for (size_t i = 0; i < sizeof fine / sizeof *fine; i++) {
		struct kveil_report r;
		struct kveil_yaml *y = parse(fine[i], &r);
		if (!y)
			kveil_report_print(&r, stderr);
		assert_non_null(y);
		kveil_yaml_free(y);
		kveil_report_clear(&r);
	}
}

static void test_bounds(void **state)
{
	(void)state;
	struct kveil_report r = {0};
	KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;

	for (int i = 0; i < 64; i++)
		kveil_buf_append_byte(&b, '[');
	for (int i = 0; i < 64; i++)
		kveil_buf_append_byte(&b, ']');
	struct kveil_yaml *y = kveil_yaml_parse(kveil_buf_span(&b), "f", &r);
	assert_non_null(y);
	kveil_yaml_free(y);
	kveil_buf_reset(&b);
	for (int i = 0; i < 65; i++)
		kveil_buf_append_byte(&b, '[');
	assert_null(kveil_yaml_parse(kveil_buf_span(&b), "f", &r));
	assert_string_equal(r.problems[0].error.message, "nested too deep");
	kveil_report_clear(&r);
	kveil_buf_reset(&b);
	while (b.len <= 1 << 20)
		kveil_buf_append_str(&b, "- 12345\n");
	assert_null(kveil_yaml_parse(kveil_buf_span(&b), "f", &r));
	assert_string_equal(r.problems[0].error.message, "larger than 1 MiB");
	b.len = 1 << 20;
	y = kveil_yaml_parse(kveil_buf_span(&b), "f", &r);
	assert_non_null(y);
	assert_int_equal(y->count, (1 << 20) / 8);
	kveil_yaml_free(y);
	kveil_report_clear(&r);
}

/* All duplicates at once, not only the first. */
static void test_every_problem(void **state)
{
	(void)state;
	struct kveil_report r;

	assert_null(parse("a: 1\na: 2\nb: {c: 1, c: 2}\nd: !x 1\n", &r));
	assert_int_equal(r.errors, 3);
	kveil_report_clear(&r);
}

static void test_load(void **state)
{
	(void)state;
	struct kveil_report r = {0};

	assert_null(kveil_yaml_load("/nonexistent.yaml", &r));
	assert_int_equal(r.problems[0].error.status, KVEIL_E_NOT_FOUND);
	assert_null(kveil_yaml_load("/", &r));
	assert_int_equal(r.errors, 2);
	char path[] = "/tmp/kveil-test-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	FILE *f = fdopen(fd, "w");
	fputs("a: 1\n", f);
	fclose(f);
	struct kveil_yaml *y = kveil_yaml_load(path, &r);
	remove(path);
	assert_non_null(y);
	kveil_yaml_free(y);
	kveil_report_clear(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_tree),   cmocka_unit_test(test_traps),         cmocka_unit_test(test_no_trap),
	    cmocka_unit_test(test_bounds), cmocka_unit_test(test_every_problem), cmocka_unit_test(test_load),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

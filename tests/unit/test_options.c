/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/options.h"

#include <unistd.h>

static const char *const colors[] = {"red", "green", "blue", NULL};

struct sample {
	bool on;
	uint64_t count, size;
	int64_t offset, wait_ms;
	char *name, *mark, *key, *password;
	int color;
	char **topics;
	struct kveil_string_map properties;
	struct {
		char *listen;
		uint64_t port;
	} http;
	const struct kveil_yaml *custom;
};

static const struct kveil_option http_options[] = {
    {"listen", KVEIL_OPT_STRING, offsetof(struct sample, http.listen) - offsetof(struct sample, http),
     .def = "127.0.0.1", .help = "address"},
    {"port", KVEIL_OPT_UINT, offsetof(struct sample, http.port) - offsetof(struct sample, http), .def = "80",
     .max = 65535, .help = "port"},
    {0},
};

static const struct kveil_option options[] = {
    {"on", KVEIL_OPT_BOOL, offsetof(struct sample, on), .def = "true", .help = "a | b"},
    {"count", KVEIL_OPT_UINT, offsetof(struct sample, count), .def = "2", .min = 1, .max = 16, .help = "how many"},
    {"size", KVEIL_OPT_BYTES, offsetof(struct sample, size), .def = "8MiB", .min = 1024, .max = 1 << 30, .help = "x"},
    {"offset", KVEIL_OPT_INT, offsetof(struct sample, offset), .help = "x"},
    {"wait", KVEIL_OPT_DURATION, offsetof(struct sample, wait_ms), .def = "1s", .min = 10, .help = "x"},
    {"name", KVEIL_OPT_STRING, offsetof(struct sample, name), .required = true, .help = "a \"name\""},
    {"mark", KVEIL_OPT_CHAR, offsetof(struct sample, mark), .def = "*", .help = "x"},
    {"key", KVEIL_OPT_KEY, offsetof(struct sample, key), .help = "x"},
    {"password", KVEIL_OPT_STRING, offsetof(struct sample, password), .secret = true, .help = "x"},
    {"color", KVEIL_OPT_ENUM, offsetof(struct sample, color), .def = "green", .choices = colors, .help = "x"},
    {"topics", KVEIL_OPT_LIST, offsetof(struct sample, topics), .def = "a,b", .min = 1, .max = 3, .help = "x"},
    {"properties", KVEIL_OPT_STRING_MAP, offsetof(struct sample, properties), .help = "x"},
    {"http", KVEIL_OPT_GROUP, offsetof(struct sample, http), .sub = http_options, .help = "x"},
    {"custom", KVEIL_OPT_CUSTOM, offsetof(struct sample, custom), .schema = "{\"type\": \"object\"}", .help = "x"},
    {0},
};

static struct kveil_report report;
static struct kveil_yaml *yaml;

static bool parse(const char *text, const char *env, struct sample *s)
{
	kveil_report_clear(&report);
	kveil_yaml_free(yaml);
	yaml = kveil_yaml_parse(kveil_span_str(text), "f.yaml", &report);
	if (!yaml)
		kveil_report_print(&report, stderr);
	assert_non_null(yaml);
	memset(s, 0xa5, sizeof *s); /* nothing is taken from what was there */
	return kveil_options_parse(options, yaml, "f.yaml", env, s, &report);
}

static int clean(void **state)
{
	(void)state;
	kveil_report_clear(&report);
	kveil_yaml_free(yaml);
	yaml = NULL;
	return 0;
}

static void test_defaults(void **state)
{
	(void)state;
	struct sample s;

	assert_true(parse("name: x", NULL, &s));
	assert_true(s.on);
	assert_int_equal(s.count, 2);
	assert_int_equal(s.size, 8 << 20);
	assert_int_equal(s.offset, 0);
	assert_int_equal(s.wait_ms, 1000);
	assert_string_equal(s.mark, "*");
	assert_null(s.key);
	assert_null(s.password);
	assert_int_equal(s.color, 1);
	assert_string_equal(s.topics[0], "a");
	assert_string_equal(s.topics[1], "b");
	assert_null(s.topics[2]);
	assert_int_equal(s.properties.count, 0);
	assert_string_equal(s.http.listen, "127.0.0.1");
	assert_null(s.custom);
	kveil_options_clear(options, &s);
	assert_null(s.name);
	kveil_options_clear(options, &s);
}

static void test_all_types(void **state)
{
	(void)state;
	struct sample s;

	setenv("KVEIL_TEST_PW", "hunter2", 1);
	assert_true(
	    parse("on: false\ncount: 16\nsize: 1GiB\noffset: -5\nwait: 7d\nname: 12\nmark: \"👩‍👩‍👧\"\n"
		  "key: \"tenant-{$.tenant}\"\npassword: \"${env:KVEIL_TEST_PW}!\"\ncolor: blue\ntopics: one\n"
		  "properties: {fetch.wait.max.ms: 5, sasl.password: \"${env:KVEIL_TEST_PW}\"}\n"
		  "http:\n  port: 0\ncustom: [1]\n",
		  NULL, &s));
	assert_false(s.on);
	assert_int_equal(s.count, 16);
	assert_int_equal(s.size, 1 << 30);
	assert_int_equal(s.offset, -5);
	assert_int_equal(s.wait_ms, 7 * 86400000);
	assert_string_equal(s.name, "12");
	assert_string_equal(s.mark, "👩‍👩‍👧");
	assert_string_equal(s.key, "tenant-{$.tenant}");
	assert_string_equal(s.password, "hunter2!");
	assert_int_equal(s.color, 2);
	assert_string_equal(s.topics[0], "one");
	assert_null(s.topics[1]);
	assert_int_equal(s.properties.count, 2);
	assert_string_equal(s.properties.names[0], "fetch.wait.max.ms");
	assert_string_equal(s.properties.values[0], "5");
	assert_true(s.properties.from_text[0]);
	assert_string_equal(s.properties.values[1], "hunter2");
	assert_false(s.properties.from_text[1]);
	assert_int_equal(s.properties.lines[1], 12);
	assert_int_equal(s.http.port, 0);
	assert_string_equal(s.http.listen, "127.0.0.1");
	assert_int_equal(s.custom->kind, KVEIL_YAML_LIST);
	kveil_options_clear(options, &s);
	assert_true(parse("name: x\ntopics: [a, b, c]\nproperties:\nhttp:\n", NULL, &s));
	kveil_options_clear(options, &s);
}

static const struct {
	const char *text;
	uint32_t line, column;
	const char *message, *hint;
} mistakes[] = {
    {"nmae: x\nname: y", 1, 1, "unknown option 'nmae'", "did you mean 'name'?"},
    {"zzzzzz: x\nname: y", 1, 1, "unknown option 'zzzzzz'", "known: on, count, size"},
    {"on: true", 1, 1, "'name' is missing", ""},
    {"name: x\non: yes", 2, 5, "'on' must be true or false", ""},
    {"name: x\non: \"true\"", 2, 5, "not text", "leave the quotes out"},
    {"name: x\ncount: '3'", 2, 8, "'count' must be a number", "leave the quotes out"},
    {"name: x\ncount: 0", 2, 8, "'count' must be at least 1", ""},
    {"name: x\ncount: 17", 2, 8, "'count' must be at most 16", ""},
    {"name: x\ncount: -1", 2, 8, "not a whole number", ""},
    {"name: x\ncount: 010", 2, 8, "not a whole number", ""},
    {"name: x\ncount: 99999999999999999999", 2, 8, "not a whole number", ""},
    {"name: x\ncount: 1.5", 2, 8, "not a whole number", ""},
    {"name: x\ncount:", 2, 7, "'count' has no value", "leave the line out"},
    {"name:", 1, 6, "'name' has no value", "written \"\""},
    {"name: x\nsize: 8MB", 2, 7, "unknown unit 'MB'", "8MiB"},
    {"name: x\nsize: 10", 2, 7, "at least 1KiB", ""},
    {"name: x\nsize: 18446744073709551615GiB", 2, 7, "too large", ""},
    {"name: x\nwait: 5", 2, 7, "needs a unit", "500ms, 10s"},
    {"name: x\nwait: 5ms", 2, 7, "at least 10ms", ""},
    {"name: x\nwait: fast", 2, 7, "does not begin with a whole number", ""},
    {"name: x\nmark: ab", 2, 7, "exactly one character", ""},
    {"name: x\nmark: \"\"", 2, 7, "exactly one character", ""},
    {"name: x\nkey: \"\"", 2, 6, "must name a key", ""},
    {"name: x\ncolor: gren", 2, 8, "cannot be 'gren'", "did you mean 'green'?"},
    {"name: x\ncolor: mauve", 2, 8, "cannot be 'mauve'", "known: red, green, blue"},
    {"name: {a: 1}", 1, 7, "must be a single value, not a mapping", "needs quotes"},
    {"name: [a]", 1, 7, "must be a single value, not a list", "needs quotes"},
    {"name: x\ntopics: []", 2, 9, "at least 1", ""},
    {"name: x\ntopics: [a, b, c, d]", 2, 9, "at most 3", ""},
    {"name: x\ntopics: [{a: 1}, b]", 2, 10, "text or a list of texts", ""},
    {"name: x\nproperties: [a]", 2, 13, "mapping of names to texts", ""},
    {"name: x\nproperties: {a: [1]}", 2, 17, "'a' in 'properties' must be text", ""},
    {"name: x\nhttp: port:80", 2, 7, "a mapping is expected here", "a space goes behind the colon: port: "},
    {"name: x\nhttp: {prot: 80}", 2, 8, "unknown option 'prot'", "did you mean 'port'?"},
    {"name: x\npassword: hunter2", 2, 11, "must not be written in the file", "${file:PATH}"},
    {"name: x\npassword: ${env:KVEIL_TEST_NONE}", 2, 11, "no KVEIL_TEST_NONE", ""},
    {"name: x\npassword: \"${env:KVEIL_TEST_EMPTY}\"", 2, 11, "empty secret", ""},
    {"name: x\npassword: \"${file:/nonexistent}\"", 2, 11, "cannot read /nonexistent", ""},
    {"name: x\npassword: \"${env:A\"", 2, 11, "not closed", ""},
    {"name: x\nproperties: {a: \"${env:KVEIL_TEST_NONE}\"}", 2, 17, "no KVEIL_TEST_NONE", ""},
    {"[a]", 1, 1, "a mapping is expected here", ""},
};

static void test_mistakes(void **state)
{
	(void)state;
	size_t bad = 0;

	unsetenv("KVEIL_TEST_NONE");
	setenv("KVEIL_TEST_EMPTY", "", 1);
	for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
		struct sample s;
		bool ok = parse(mistakes[i].text, NULL, &s);
		const struct kveil_error *e = report.count ? &report.problems[0].error : &(struct kveil_error){0};
		if (ok || report.count != 1 || e->line != mistakes[i].line || e->column != mistakes[i].column ||
		    !strstr(e->message, mistakes[i].message) || !strstr(e->hint, mistakes[i].hint) ||
		    strstr(e->message, "hunter2") || strstr(e->hint, "hunter2")) {
			print_error("%s\n--- wanted %u:%u %s (%s)\n", mistakes[i].text, mistakes[i].line,
				    mistakes[i].column, mistakes[i].message, mistakes[i].hint);
			kveil_report_print(&report, stderr);
			bad++;
		}
		kveil_options_clear(options, &s);
	}
	assert_int_equal(bad, 0);
}

static void test_every_problem_at_once(void **state)
{
	(void)state;
	struct sample s;

	assert_false(parse("count: x\ncolour: red\nhttp: {port: -1}\nwait: 1y\n", NULL, &s));
	assert_int_equal(report.errors, 5);
	kveil_options_clear(options, &s);
}

static void test_environment(void **state)
{
	(void)state;
	struct sample s;

	setenv("TST_NAME", "from env", 1);
	setenv("TST_HTTP_PORT", "81", 1);
	setenv("TST_TOPICS", "x,y", 1);
	setenv("TST_PASSWORD", "plain is fine here", 1);
	assert_true(parse("http: {port: 80}\ntopics: [a]\n", "TST", &s));
	assert_string_equal(s.name, "from env");
	assert_int_equal(s.http.port, 81);
	assert_string_equal(s.topics[1], "y");
	assert_string_equal(s.password, "plain is fine here");
	kveil_options_clear(options, &s);
	assert_true(parse("name: x\nhttp: {port: 80}\n", NULL, &s));
	assert_int_equal(s.http.port, 80);
	kveil_options_clear(options, &s);
	setenv("TST_HTTP_PORT", "http", 1);
	assert_false(parse("{}", "TST", &s));
	assert_int_equal(report.errors, 1);
	assert_string_equal(report.problems[0].error.file, "TST_HTTP_PORT");
	kveil_options_clear(options, &s);
	unsetenv("TST_HTTP_PORT");
	unsetenv("TST_NAME");
}

static void test_files(void **state)
{
	(void)state;
	char dir[] = "/tmp/kveil-test-XXXXXX", path[64], file[64];
	struct sample s;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/pin", dir);
	snprintf(file, sizeof file, "%s/kveil.yaml", dir);
	FILE *f = fopen(path, "w");
	fputs("s3cret\r\n", f);
	fclose(f);
	struct kveil_yaml *y = kveil_yaml_parse(KVEIL_SPAN("name: x\npassword: \"${file:pin}\""), file, &report);
	assert_true(kveil_options_parse(options, y, file, NULL, &s, &report)); /* beside the file that names it */
	assert_string_equal(s.password, "s3cret");
	kveil_options_clear(options, &s);
	f = fopen(path, "w");
	fwrite("a\0b", 1, 3, f);
	fclose(f);
	assert_false(kveil_options_parse(options, y, file, NULL, &s, &report));
	kveil_options_clear(options, &s);
	f = fopen(path, "w");
	for (int i = 0; i < 65 * 1024; i++)
		fputc('x', f);
	fclose(f);
	assert_false(kveil_options_parse(options, y, file, NULL, &s, &report));
	kveil_options_clear(options, &s);
	kveil_yaml_free(y);
	remove(path);
	rmdir(dir);
}

static void test_pages(void **state)
{
	(void)state;
	KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;

	kveil_options_write_markdown(options, "", &b);
	const char *text = kveil_buf_cstr(&b);
	assert_non_null(strstr(text, "| `on` | true or false | `true` | a \\| b |\n"));
	assert_non_null(strstr(text, "| `count` | number, 1 to 16 | `2` | how many |\n"));
	assert_non_null(strstr(text, "| `size` | size, 1KiB to 1GiB | `8MiB` |"));
	assert_non_null(strstr(text, "| `wait` | duration, at least 10ms | `1s` |"));
	assert_non_null(strstr(text, "| `color` | `red`, `green`, `blue` | `green` |"));
	assert_non_null(strstr(text, "| `http.port` | number, at most 65535 | `80` | port |\n"));
	assert_non_null(strstr(text, "| `name` | text | required | a \"name\" |\n"));
	kveil_buf_reset(&b);
	kveil_options_write_schema_object(options, &b);
	text = kveil_buf_cstr(&b);
	assert_non_null(strstr(text, "\"additionalProperties\": false"));
	assert_non_null(strstr(text, "\"description\": \"a \\\"name\\\"\""));
	assert_non_null(strstr(text, "\"required\": [\"name\"]}"));
	assert_non_null(strstr(text, "\"custom\": {\"type\": \"object\"}"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(test_defaults, clean),
	    cmocka_unit_test_teardown(test_all_types, clean),
	    cmocka_unit_test_teardown(test_mistakes, clean),
	    cmocka_unit_test_teardown(test_every_problem_at_once, clean),
	    cmocka_unit_test_teardown(test_environment, clean),
	    cmocka_unit_test_teardown(test_files, clean),
	    cmocka_unit_test_teardown(test_pages, clean),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The JSON scanner: what it takes and refuses and where, what it finds, and that the tape tells the truth. */
#include "base/arena.h"
#include "format/format.h"
#include "path/path.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* A scan of exactly sized heap bytes, so that the sanitizers see a read past the end. */
struct fixture {
	struct kveil_arena arena;
	struct kveil_scan scan;
	struct kveil_automaton *automaton;
	struct kveil_path *paths[16];
	uint8_t *text;
};

static void fixture_init(struct fixture *f, const char *const *paths)
{
	struct kveil_automaton_path rows[16];
	struct kveil_error err;
	size_t n = 0;

	*f = (struct fixture){0};
	kveil_arena_init(&f->arena, 1 << 20);
	for (; paths && paths[n]; n++) {
		assert_int_equal(kveil_path_parse(kveil_span_str(paths[n]), &f->paths[n], &err), KVEIL_OK);
		rows[n] = (struct kveil_automaton_path){f->paths[n], (uint32_t)n, (uint32_t)n, true};
	}
	assert_int_equal(kveil_automaton_new(rows, n, &f->automaton, &err), KVEIL_OK);
	f->scan =
	    (struct kveil_scan){.automaton = f->automaton, .arena = &f->arena, .max_bytes = 1 << 20, .max_depth = 128};
}

static void fixture_clear(struct fixture *f)
{
	for (size_t i = 0; i < 16; i++)
		kveil_path_free(f->paths[i]);
	kveil_automaton_free(f->automaton);
	kveil_scan_clear(&f->scan);
	kveil_arena_clear(&f->arena);
	free(f->text);
}

static enum kveil_status scan(struct fixture *f, const void *text, size_t len, struct kveil_error *err)
{
	free(f->text);
	f->text = malloc(len ? len : 1);
	memcpy(f->text, text, len);
	return kveil_format_by_name(KVEIL_SPAN("json"))->scan(&f->scan, kveil_span_of(f->text, len), err);
}

struct refusal {
	const char *text;
	size_t len; /* 0 = strlen */
	enum kveil_status status;
	size_t byte;
};

static void test_refuses(void **state)
{
	(void)state;
	static const struct refusal rows[] = {
	    {" ", 1, KVEIL_E_EMPTY_VALUE, 0},
	    {"\r", 1, KVEIL_E_EMPTY_VALUE, 0},
	    {"\xEF\xBB\xBF{}", 0, KVEIL_E_INVALID_JSON, 0},
	    {"\n\t", 2, KVEIL_E_EMPTY_VALUE, 0},
	    {"{", 0, KVEIL_E_INVALID_JSON, 1},
	    {"[", 0, KVEIL_E_INVALID_JSON, 1},
	    {"[1", 0, KVEIL_E_INVALID_JSON, 2},
	    {"[1,", 0, KVEIL_E_INVALID_JSON, 3},
	    {"[1,]", 0, KVEIL_E_INVALID_JSON, 3},
	    {"[,1]", 0, KVEIL_E_INVALID_JSON, 1},
	    {"[1 2]", 0, KVEIL_E_INVALID_JSON, 3},
	    {"[1}", 0, KVEIL_E_INVALID_JSON, 2},
	    {"{\"a\":1]", 0, KVEIL_E_INVALID_JSON, 6},
	    {"{\"a\" 1}", 0, KVEIL_E_INVALID_JSON, 5},
	    {"{\"a\":}", 0, KVEIL_E_INVALID_JSON, 5},
	    {"{\"a\":1,}", 0, KVEIL_E_INVALID_JSON, 7},
	    {"{a:1}", 0, KVEIL_E_INVALID_JSON, 1},
	    {"{'a':1}", 0, KVEIL_E_INVALID_JSON, 1},
	    {"{1:1}", 0, KVEIL_E_INVALID_JSON, 1},
	    {"{\"a\":1}}", 0, KVEIL_E_INVALID_JSON, 7},
	    {"{\"a\":1} x", 0, KVEIL_E_INVALID_JSON, 8},
	    {"1 2", 0, KVEIL_E_INVALID_JSON, 2},
	    {"]", 0, KVEIL_E_INVALID_JSON, 0},
	    {"tru", 0, KVEIL_E_INVALID_JSON, 3},
	    {"True", 0, KVEIL_E_INVALID_JSON, 0},
	    {"nul1", 0, KVEIL_E_INVALID_JSON, 3},
	    {"nulll", 0, KVEIL_E_INVALID_JSON, 4},
	    {"NaN", 0, KVEIL_E_INVALID_JSON, 0},
	    {"Infinity", 0, KVEIL_E_INVALID_JSON, 0},
	    {"-", 0, KVEIL_E_INVALID_JSON, 1},
	    {"-a", 0, KVEIL_E_INVALID_JSON, 1},
	    {"+1", 0, KVEIL_E_INVALID_JSON, 0},
	    {"01", 0, KVEIL_E_INVALID_JSON, 1},
	    {"-01", 0, KVEIL_E_INVALID_JSON, 2},
	    {"1.", 0, KVEIL_E_INVALID_JSON, 2},
	    {".5", 0, KVEIL_E_INVALID_JSON, 0},
	    {"1.e3", 0, KVEIL_E_INVALID_JSON, 2},
	    {"1e", 0, KVEIL_E_INVALID_JSON, 2},
	    {"1e+", 0, KVEIL_E_INVALID_JSON, 3},
	    {"0x10", 0, KVEIL_E_INVALID_JSON, 1},
	    {"\"", 0, KVEIL_E_INVALID_JSON, 1},
	    {"\"abc", 0, KVEIL_E_INVALID_JSON, 4},
	    {"\"\\", 0, KVEIL_E_INVALID_JSON, 2},
	    {"\"\\u12", 0, KVEIL_E_INVALID_JSON, 5},
	    {"\"\\x\"", 0, KVEIL_E_INVALID_JSON, 2},
	    {"\"\\u12g4\"", 0, KVEIL_E_INVALID_JSON, 5},
	    {"\"a\nb\"", 0, KVEIL_E_INVALID_JSON, 2},
	    {"\"a\tb\"", 0, KVEIL_E_INVALID_JSON, 2},
	    {"\"a\0b\"", 5, KVEIL_E_INVALID_JSON, 2},
	    {"[1]\0", 4, KVEIL_E_INVALID_JSON, 3},
	    {"\0", 1, KVEIL_E_INVALID_JSON, 0},
	    {"\"0123456789abcdef0123456789\x1f\"", 0, KVEIL_E_INVALID_JSON, 27},
	    {"\xEF\xBB\xBF{}", 0, KVEIL_E_INVALID_JSON, 0}, /* a byte order mark */
	    {"[1]// x", 0, KVEIL_E_INVALID_JSON, 3},
	    {"[1]\f", 0, KVEIL_E_INVALID_JSON, 3},
	    {"\"\\ud800\"", 0, KVEIL_E_INVALID_SURROGATE, 1},
	    {"\"x\\udc00\"", 0, KVEIL_E_INVALID_SURROGATE, 2},
	    {"\"\\ud800\\u0041\"", 0, KVEIL_E_INVALID_SURROGATE, 1},
	    {"\"\\ud800\\n\"", 0, KVEIL_E_INVALID_SURROGATE, 1},
	    {"{\"\\uDEAD\":1}", 0, KVEIL_E_INVALID_SURROGATE, 2},
	    {"\"\x80\"", 0, KVEIL_E_INVALID_UTF8, 1},
	    {"\"\xC0\xAF\"", 0, KVEIL_E_INVALID_UTF8, 1},         /* overlong */
	    {"\"\xE0\x80\xAF\"", 0, KVEIL_E_INVALID_UTF8, 1},     /* overlong */
	    {"\"\xED\xA0\x80\"", 0, KVEIL_E_INVALID_UTF8, 1},     /* a surrogate */
	    {"\"\xF4\x90\x80\x80\"", 0, KVEIL_E_INVALID_UTF8, 1}, /* above U+10FFFF */
	    {"\"\xF0\x80\x80\x80\"", 0, KVEIL_E_INVALID_UTF8, 1},
	    {"\"\xE7\x8E\x8B\xE7\x8E\"", 0, KVEIL_E_INVALID_UTF8, 4},
	    {"\"\xE7\x8E", 0, KVEIL_E_INVALID_UTF8, 1},
	    {"\"\xFF\"", 0, KVEIL_E_INVALID_UTF8, 1},
	    {"\xFF", 0, KVEIL_E_INVALID_JSON, 0},
	};
	struct fixture f;
	struct kveil_error err;

	fixture_init(&f, NULL);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (int doc = 0; doc < 2; doc++) {
			f.scan.want_doc = doc;
			size_t len = rows[i].len ? rows[i].len : strlen(rows[i].text);
			enum kveil_status st = scan(&f, rows[i].text, len, &err);
			if (st != rows[i].status || err.byte != rows[i].byte)
				fail_msg("row %zu %s: %s at %zu", i, rows[i].text, kveil_status_code(st), err.byte);
		}
	}
	assert_int_equal(scan(&f, "", 0, &err), KVEIL_E_EMPTY_VALUE);
	fixture_clear(&f);
}

static void test_takes(void **state)
{
	(void)state;
	static const char *const rows[] = {
	    "0",
	    "-0",
	    "1e5",
	    "-1.5E-10",
	    "0.0e+00",
	    "123456789012345678901234567890",
	    "\"\"",
	    "true",
	    "false",
	    "null",
	    "[]",
	    "{}",
	    " [ ] ",
	    "\t{\n}\r\n",
	    "[[],[[]],{}]",
	    "{\"\":\"\"}",
	    "{\"a\":1,\"a\":2}",
	    "\"\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
	    "\"\\ud83d\\ude00\"",
	    "\"\\uD83D\\uDE00\"",
	    "\"\xE7\x8E\x8B\xF0\x9F\x98\x80\xC3\xA9\x7F\"",
	    "\"\xEF\xBF\xBF\xF4\x8F\xBF\xBF\"",
	    "\"\xEE\x80\x80\xED\x9F\xBF\"",
	    "{\"0123456789abcdef0123456789\":\"0123456789abcdef\xE7\x8E\x8B 0123456789\"}",
	    "[1 , 2 ,{ \"a\" : null } ]",
	};
	struct fixture f;
	struct kveil_error err;

	fixture_init(&f, NULL);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		for (int doc = 0; doc < 2; doc++) {
			f.scan.want_doc = doc;
			if (scan(&f, rows[i], strlen(rows[i]), &err))
				fail_msg("%s: %s at %zu", rows[i], err.message, err.byte);
		}
	}
	fixture_clear(&f);
}

/* Numbers of every length up to three blocks, at every distance from the text's end. */
static void test_numbers(void **state)
{
	(void)state;
	static const char *const tails[] = {"", ".5", "e5", ".", "x", ".5e-7", "e", " "};
	struct fixture f;
	struct kveil_error err;

	fixture_init(&f, (const char *const[]){"$[0]", NULL});
	for (size_t n = 1; n <= 48; n++)
		for (size_t behind = 0; behind <= 40; behind += behind < 20 ? 1 : 4)
			for (size_t k = 0; k < sizeof tails / sizeof *tails; k++) {
				char text[160];
				bool is_number = k < 3 || k == 5 || k == 7;
				int len = snprintf(text, sizeof text, "[%.*s%s%s%*s]", (int)n,
						   "717718400123000000171771840012300000017177184001230000001",
						   tails[k], behind % 2 ? "" : ",1", (int)behind, "");
				enum kveil_status st = scan(&f, text, (size_t)len, &err);
				assert_int_equal(st, is_number ? KVEIL_OK : KVEIL_E_INVALID_JSON);
				if (!is_number)
					continue;
				assert_int_equal(f.scan.match_count, 1);
				assert_int_equal(f.scan.matches[0].end, 1 + n + (k == 7 ? 0 : strlen(tails[k])));
				text[1] = '0';
				assert_int_equal(scan(&f, text, (size_t)len, &err),
						 n == 1 ? KVEIL_OK : KVEIL_E_INVALID_JSON);
			}
	fixture_clear(&f);
}

static void test_bounds(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_error err;
	char text[600];

	fixture_init(&f, NULL);
	for (int doc = 0; doc < 2; doc++) {
		f.scan.want_doc = doc;
		f.scan.max_depth = 128;
		memset(text, '[', 129);
		memset(text + 128, ']', 128);
		assert_int_equal(scan(&f, text, 256, &err), KVEIL_OK);
		memset(text, '[', 200);
		assert_int_equal(scan(&f, text, 200, &err), KVEIL_E_TOO_DEEP);
		assert_int_equal(err.byte, 128);
		f.scan.max_depth = 1;
		assert_int_equal(scan(&f, "{\"a\":[]}", 8, &err), KVEIL_E_TOO_DEEP);
		assert_int_equal(err.byte, 5);
		f.scan.max_bytes = 3;
		assert_int_equal(scan(&f, "1234", 4, &err), KVEIL_E_TOO_LARGE);
		assert_int_equal(scan(&f, "123", 3, &err), KVEIL_OK);
		f.scan.max_bytes = 1 << 20;
	}
	fixture_clear(&f);
}

/* "0:raw 1:raw …" for every accepted id, in the order found. */
static void assert_finds(const char *const *paths, const char *text, const char *expected)
{
	struct fixture f;
	struct kveil_error err;

	fixture_init(&f, paths);
	for (int doc = 0; doc < 2; doc++) {
		KVEIL_CLEANUP_BUF struct kveil_buf found = KVEIL_BUF_INIT;
		f.scan.want_doc = doc;
		assert_int_equal(scan(&f, text, strlen(text), &err), KVEIL_OK);
		for (size_t i = 0; i < f.scan.match_count; i++) {
			const struct kveil_match *m = &f.scan.matches[i];
			size_t n;
			const uint32_t *ids = kveil_automaton_accepts(f.automaton, m->state, &n);
			assert_true(n > 0);
			for (size_t k = 0; k < n; k++)
				kveil_buf_printf(&found, "%s%u:%.*s", found.len ? " " : "", ids[k],
						 (int)(m->end - m->start), text + m->start);
			kveil_buf_append_str(&found, " at ");
			for (uint32_t k = 0; k < m->depth; k++) {
				struct kveil_step step = f.scan.trail[m->trail + k];
				if (step.name_end)
					kveil_buf_printf(&found, "/%.*s", (int)(step.name_end - step.name_start - 2),
							 text + step.name_start + 1);
				else
					kveil_buf_append_str(&found, "/*");
			}
			if (doc) {
				assert_true(m->node < f.scan.doc.count);
				assert_int_equal(f.scan.doc.nodes[m->node].start, m->start);
				assert_int_equal(f.scan.doc.nodes[m->node].end, m->end);
				assert_int_equal(f.scan.doc.nodes[m->node].kind, m->kind);
				assert_int_equal(f.scan.doc.nodes[m->node].flags, m->flags);
			}
		}
		assert_string_equal(kveil_buf_cstr(&found), expected);
	}
	fixture_clear(&f);
}

#define PATHS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_finds(void **state)
{
	(void)state;
	assert_finds(PATHS("$"), "1", "0:1 at ");
	assert_finds(PATHS("$"), " [1] ", "0:[1] at ");
	assert_finds(PATHS("$.a", "$.b"), "{\"b\":1,\"a\":2,\"c\":3}", "1:1 at /b 0:2 at /a");
	assert_finds(PATHS("$.a"), "{\"a\":1,\"a\":{\"a\":2}}", "0:1 at /a 0:{\"a\":2} at /a");
	assert_finds(PATHS("$.a.b"), "{\"a\":{\"b\":1},\"b\":2,\"c\":{\"b\":3}}", "0:1 at /a/b");
	assert_finds(PATHS("$.a"), "[{\"a\":1}]", "");
	assert_finds(PATHS("$[*].a"), "[{\"a\":1},2,{\"a\":3}]", "0:1 at /*/a 0:3 at /*/a");
	assert_finds(PATHS("$[1]", "$[*]"), "[1,2,3]", "1:1 at /* 0:2 1:2 at /* 1:3 at /*");
	assert_finds(PATHS("$[0,2]"), "[1,2,3]", "0:1 at /* 0:3 at /*");
	assert_finds(PATHS("$['a','b']['c']"), "{\"a\":{\"c\":1},\"b\":{\"c\":2}}", "0:1 at /a/c 0:2 at /b/c");
	assert_finds(PATHS("$..a"), "{\"a\":{\"a\":1,\"b\":[{\"a\":2}]}}",
		     "0:{\"a\":1,\"b\":[{\"a\":2}]} at /a 0:1 at /a/a 0:2 at /a/b/*/a");
	assert_finds(PATHS("$..a..b", "$.a.b"), "{\"a\":{\"b\":{\"b\":1}},\"b\":2}",
		     "0:{\"b\":1} 1:{\"b\":1} at /a/b 0:1 at /a/b/b");
	assert_finds(PATHS("$..*"), "{\"a\":[1]}", "0:[1] at /a 0:1 at /a/*");
	assert_finds(PATHS("$..[0]"), "[[1],{\"0\":2}]", "0:[1] at /* 0:1 at /*/*");
	assert_finds(PATHS("$.*"), "[1,{\"x\":2}]", "0:1 at /* 0:{\"x\":2} at /*");
	/* Names compare after unescaping. */
	assert_finds(PATHS("$.ab"), "{\"\\u0061b\":1,\"a\\u0062\":2,\"\\u0061\":3}",
		     "0:1 at /\\u0061b 0:2 at /a\\u0062");
	assert_finds(PATHS("$['a\"b']"), "{\"a\\\"b\":1,\"a\\u0022b\":2}", "0:1 at /a\\\"b 0:2 at /a\\u0022b");
	assert_finds(PATHS("$['']"), "{\"\":1,\"a\":2}", "0:1 at /");
	/* Names of 7, 8, 9, 16, 17 and 24 bytes that differ in one place. */
	assert_finds(
	    PATHS("$.abcdefg", "$.abcdefgh", "$.abcdefghi", "$.abcdefghijklmnop", "$.abcdefghijklmnopq",
		  "$.abcdefghijklmnopqrstuvwx"),
	    "{\"abcdefgh\":1,\"abcdefg\":2,\"abcdefghi\":3,\"abcdefghijklmnop\":4,\"abcdefghijklmnopq\":5,"
	    "\"abcdefghijklmnopqrstuvwx\":6,\"abcdefghijkXmnopqrstuvwx\":7,\"Xbcdefg\":8,\"abcdefghXjklmnopq\":9}",
	    "1:1 at /abcdefgh 0:2 at /abcdefg 2:3 at /abcdefghi 3:4 at /abcdefghijklmnop "
	    "4:5 at /abcdefghijklmnopq 5:6 at /abcdefghijklmnopqrstuvwx");
}

/* ---- against another parser ---- */

static uint64_t seed = 20240607;

static uint32_t draw(uint32_t below)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((seed >> 33) % below);
}

static void write_random(struct kveil_buf *b, int depth)
{
	static const char *const scalars[] = {
	    "1",
	    "-0.5e3",
	    "\"x\"",
	    "\"\"",
	    "true",
	    "false",
	    "null",
	    "\"\\u00e9\\n\"",
	    "\"\xE7\x8E\x8B\"",
	    "\"a longer string, over sixteen bytes\"",
	    "\"\\ud83d\\ude00\"",
	    "12345678901234567890",
	};
	static const char *const names[] = {"a", "b", "c", "\\u0061", "name", "0", "", "a rather long member name"};
	static const char *const spaces[] = {"", "", "", " ", "\n\t"};
	uint32_t kind = depth > 4 ? 9 : draw(10);

	kveil_buf_append_str(b, spaces[draw(5)]);
	if (kind > 4) {
		kveil_buf_append_str(b, scalars[draw(sizeof scalars / sizeof *scalars)]);
	} else {
		uint32_t n = draw(5);
		kveil_buf_append_byte(b, kind < 3 ? '{' : '[');
		for (uint32_t i = 0; i < n; i++) {
			kveil_buf_append_str(b, i ? "," : "");
			if (kind < 3)
				kveil_buf_printf(b, "%s\"%s\"%s:", spaces[draw(5)], names[draw(8)], spaces[draw(5)]);
			write_random(b, depth + 1);
		}
		kveil_buf_append_str(b, spaces[draw(5)]);
		kveil_buf_append_byte(b, kind < 3 ? '}' : ']');
	}
	kveil_buf_append_str(b, spaces[draw(5)]);
}

static void test_agrees_with_jansson(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_error err;
	size_t valid = 0, invalid = 0;

	fixture_init(&f, PATHS("$..a", "$..[0]"));
	for (int round = 0; round < 60000; round++) {
		KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;
		write_random(&b, 0);
		for (uint32_t i = draw(3); i > 0; i--) {
			uint32_t at = draw((uint32_t)b.len);
			switch (draw(3)) {
			case 0:
				b.data[at] = (uint8_t)draw(256);
				break;
			case 1:
				b.data[at] = (uint8_t) "{}[],:\"\\0e.-tu \xE7"[draw(16)];
				break;
			default:
				b.len = at ? at : 1;
			}
		}
		json_error_t jerr;
		json_t *j = json_loadb((const char *)b.data, b.len,
				       JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &jerr);
		f.scan.want_doc = round & 1;
		enum kveil_status st = scan(&f, b.data, b.len, &err);
		bool overflow = !j && json_error_code(&jerr) == json_error_numeric_overflow;
		if ((st == KVEIL_OK) != (j != NULL) && !overflow)
			fail_msg("%.*s: %s, jansson %s", (int)b.len, (const char *)b.data, kveil_status_code(st),
				 j ? "takes it" : jerr.text);
		if (st == KVEIL_OK)
			valid++;
		else
			invalid++;
		json_decref(j);
		kveil_arena_reset(&f.arena);
	}
	assert_true(valid > 10000 && invalid > 10000);
	fixture_clear(&f);
}

/* The tape's arithmetic: every node inside its parent, ordinals and counts right, next right. */
static void test_tape(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_error err;

	fixture_init(&f, NULL);
	f.scan.want_doc = true;
	for (int round = 0; round < 5000; round++) {
		KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;
		write_random(&b, 0);
		assert_int_equal(scan(&f, b.data, b.len, &err), KVEIL_OK);
		const struct kveil_doc *d = &f.scan.doc;
		assert_true(d->count > 0);
		assert_int_equal(d->nodes[0].next, d->count);
		assert_int_equal(d->nodes[0].parent, UINT32_MAX);
		for (uint32_t i = 0; i < d->count; i++) {
			const struct kveil_doc_node *n = &d->nodes[i];
			uint32_t children = 0;
			for (uint32_t c = i + 1; c < n->next; c = d->nodes[c].next) {
				const struct kveil_doc_node *child = &d->nodes[c];
				assert_int_equal(child->parent, i);
				assert_int_equal(child->ordinal, children);
				assert_true(child->start > n->start && child->end < n->end);
				assert_int_equal(child->name_end != 0, n->kind == KVEIL_KIND_OBJECT);
				if (child->name_end) {
					assert_int_equal(d->text.data[child->name_start], '"');
					assert_int_equal(d->text.data[child->name_end - 1], '"');
					assert_true(child->name_end < child->start);
				}
				children++;
			}
			assert_int_equal(n->count, children);
			/* What a node spans is a JSON value by itself. */
			json_t *j = json_loadb((const char *)d->text.data + n->start, n->end - n->start,
					       JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, NULL);
			assert_non_null(j);
			json_decref(j);
		}
	}
	fixture_clear(&f);
}

static void test_writes_text(void **state)
{
	(void)state;
	const struct kveil_format *json = kveil_format_by_name(KVEIL_SPAN("json"));
	KVEIL_CLEANUP_BUF struct kveil_buf b = KVEIL_BUF_INIT;

	json->write_text(&b, KVEIL_SPAN("a\"\\\n\x01\x1f\xE7\x8E\x8B\x7f"), true);
	assert_string_equal(kveil_buf_cstr(&b), "\"a\\\"\\\\\\n\\u0001\\u001f\xE7\x8E\x8B\x7f\"");
	assert_true(kveil_json_needs_escape(KVEIL_SPAN("0123456789abcdef0\\")));
	assert_true(kveil_json_needs_escape(KVEIL_SPAN("\xE7\x8E\x8B\n")));
	assert_false(kveil_json_needs_escape(KVEIL_SPAN("0123456789abcdef0 \xE7\x8E\x8B/")));
	assert_null(kveil_format_by_name(KVEIL_SPAN("csv")));
}

static void test_text_format(void **state)
{
	(void)state;
	struct fixture f;
	struct kveil_error err;
	const struct kveil_format *text = kveil_format_by_name(KVEIL_SPAN("text"));

	fixture_init(&f, PATHS("$"));
	assert_int_equal(text->scan(&f.scan, KVEIL_SPAN("k-1"), &err), KVEIL_OK);
	assert_int_equal(f.scan.match_count, 1);
	assert_int_equal(f.scan.matches[0].end, 3);
	assert_int_equal(text->scan(&f.scan, KVEIL_SPAN(""), &err), KVEIL_OK);
	assert_int_equal(f.scan.match_count, 1);
	assert_int_equal(text->scan(&f.scan, KVEIL_SPAN("k\xFF"), &err), KVEIL_E_INVALID_UTF8);
	assert_int_equal(err.byte, 1);
	fixture_clear(&f);
}

/* --- one scan for many records --- */

/* Records of a few names in ever new places. */
static void add_record(struct kveil_buf *out, unsigned depth)
{
	static const char *const names[] = {"a",
					    "b",
					    "ab",
					    "",
					    "phone",
					    "phone2",
					    "14_bytes_long_",
					    "14_bytes_lone_",
					    "15_bytes_long__",
					    "a name of 30 bytes or so there",
					    "\\u0061",
					    "\xE5\x90\x8D",
					    "a\\\"b"};
	static const char *const scalars[] = {"1", "-12.5", "\"x\"", "\"13800138000\"", "null", "true", "\"\\n\""};
	unsigned what = draw(depth > 4 ? 6 : 9), count = draw(4);

	if (what < 6) {
		kveil_buf_append_str(out, scalars[draw(7)]);
		return;
	}
	kveil_buf_append_byte(out, what == 6 ? '[' : '{');
	for (unsigned i = 0; i < count; i++) {
		if (i)
			kveil_buf_append_byte(out, ',');
		if (what != 6)
			kveil_buf_printf(out, "\"%s\"%s:%s", names[draw(draw(3) ? 3 : 13)], draw(9) ? "" : " ",
					 draw(9) ? "" : "\n");
		add_record(out, depth + 1);
	}
	kveil_buf_append_byte(out, what == 6 ? ']' : '}');
}

static void assert_same_scan(const struct fixture *x, const struct fixture *y)
{
	assert_int_equal(x->scan.match_count, y->scan.match_count);
	for (size_t i = 0; i < x->scan.match_count; i++)
		assert_memory_equal(&x->scan.matches[i], &y->scan.matches[i], sizeof x->scan.matches[i]);
	assert_int_equal(x->scan.trail_count, y->scan.trail_count);
	if (x->scan.want_doc)
		assert_int_equal(x->scan.doc.count, y->scan.doc.count);
	for (uint32_t i = 0; x->scan.want_doc && i < x->scan.doc.count; i++)
		assert_memory_equal(&x->scan.doc.nodes[i], &y->scan.doc.nodes[i], sizeof x->scan.doc.nodes[i]);
}

/* What the records before have left for the next one never changes what it comes to. */
static void test_guesses(void **state)
{
	(void)state;
	static const char *const paths[] = {"$.a",
					    "$.b.a",
					    "$..phone",
					    "$[*].ab",
					    "$.b[0].a",
					    "$.*.phone2",
					    "$['14_bytes_long_']",
					    "$..['15_bytes_long__']",
					    NULL};
	struct kveil_error err, err2;
	struct fixture used, fresh;
	unsigned taken = 0, found = 0;

	for (int doc = 0; doc < 2; doc++) {
		fixture_init(&used, paths);
		used.scan.want_doc = doc;
		for (unsigned i = 0; i < 4000; i++) {
			KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
			kveil_buf_append_str(&text, "{\"b\":");
			add_record(&text, 0);
			kveil_buf_append_str(&text, ",\"a\":");
			add_record(&text, 0);
			kveil_buf_append_byte(&text, '}');
			if (draw(4) == 0)
				text.len = draw((uint32_t)text.len) + 1;
			else if (draw(4) == 0)
				text.data[draw((uint32_t)text.len)] = (uint8_t) " \":a\x01\xFF"[draw(6)];
			fixture_init(&fresh, paths);
			fresh.scan.want_doc = doc;
			kveil_arena_reset(&used.arena);
			enum kveil_status st = scan(&fresh, text.data, text.len, &err);
			assert_int_equal(scan(&used, text.data, text.len, &err2), st);
			if (st)
				assert_int_equal(err.byte, err2.byte);
			else
				assert_same_scan(&used, &fresh);
			taken += !st;
			found += !st && fresh.scan.match_count > 1;
			fixture_clear(&fresh);
		}
		fixture_clear(&used);
	}
	assert_in_range(taken, 4000, 7900);
	assert_in_range(found, 800, 7900);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refuses),     cmocka_unit_test(test_takes),
	    cmocka_unit_test(test_numbers),     cmocka_unit_test(test_bounds),
	    cmocka_unit_test(test_finds),       cmocka_unit_test(test_agrees_with_jansson),
	    cmocka_unit_test(test_tape),        cmocka_unit_test(test_writes_text),
	    cmocka_unit_test(test_text_format), cmocka_unit_test(test_guesses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

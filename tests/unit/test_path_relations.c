/* SPDX-License-Identifier: Apache-2.0 */
/* What is said of two paths, held against what they find in random records. */
#include "format/format.h"
#include "path/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { RECORDS = 60, PATHS = 4000 };

static uint32_t seed = 9535;

static uint32_t dice(uint32_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % n;
}

static void write_value(struct kveil_buf *b, int depth)
{
	uint32_t kind = depth ? dice(5) : 4, n = dice(4);

	if (kind == 4) {
		kveil_buf_printf(b, "%u", dice(3));
		return;
	}
	kveil_buf_append_byte(b, kind < 2 ? '[' : '{');
	for (uint32_t i = 0; i < n; i++) {
		if (i)
			kveil_buf_append_byte(b, ',');
		if (kind >= 2) /* duplicates too */
			kveil_buf_printf(b, "\"%c\":", "abc"[dice(3)]);
		write_value(b, depth - 1);
	}
	kveil_buf_append_byte(b, kind < 2 ? ']' : '}');
}

static struct kveil_path *parse(const char *text)
{
	struct kveil_path *p;
	struct kveil_error err;

	if (kveil_path_parse(kveil_span_str(text), &p, &err) != KVEIL_OK)
		fail_msg("%s: %s", text, err.message);
	return p;
}

static struct kveil_path *random_path(char *text, size_t size)
{
	static const char *const segments[] = {
	    ".a",        ".b",        "[0]", "[1]", "[-1]",  "[*]",   ".*",     "[0:1]", "[:]", "[1:]",   "[?@.a]",
	    "[?@.a==1]", "['a','b']", "..a", "..*", "..[0]", "[::2]", "[::-1]", ".a",    "[*]", "[0,'a']"};
	size_t used = (size_t)snprintf(text, size, "$");

	for (uint32_t n = dice(5); n > 0; n--)
		used += (size_t)snprintf(text + used, size - used, "%s",
					 segments[dice(sizeof segments / sizeof *segments)]);
	return parse(text);
}

static bool has_descendants(const struct kveil_path *p)
{
	for (size_t i = 0; i < p->count; i++)
		if (p->segments[i].descendant)
			return true;
	return false;
}

struct record {
	struct kveil_buf text;
	struct kveil_arena arena;
	struct kveil_scan scan;
};

static struct record records[RECORDS];

static int make_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < RECORDS; i++) {
		struct record *r = &records[i];
		struct kveil_error err;
		kveil_arena_init(&r->arena, 1 << 20);
		write_value(&r->text, 5);
		r->scan =
		    (struct kveil_scan){.arena = &r->arena, .max_bytes = 1 << 20, .max_depth = 100, .want_doc = true};
		if (kveil_format_by_name(KVEIL_SPAN("json"))->scan(&r->scan, kveil_buf_span(&r->text), &err) !=
		    KVEIL_OK)
			return -1;
	}
	return 0;
}

static int clear_records(void **state)
{
	(void)state;
	for (size_t i = 0; i < RECORDS; i++) {
		kveil_scan_clear(&records[i].scan);
		kveil_arena_clear(&records[i].arena);
		kveil_buf_clear(&records[i].text);
	}
	return 0;
}

/* For each node: 1 = found, 2 = below a node that was found. */
static void mark(const struct kveil_path *p, struct record *r, bool doubt_selects, uint8_t *marks)
{
	const struct kveil_doc *doc = &r->scan.doc;
	struct kveil_error err;
	uint32_t *nodes;
	size_t count;
	int64_t work = KVEIL_PATH_WORK;

	assert_int_equal(kveil_path_select_within(p, doc, 0, doubt_selects, &work, &r->arena, &nodes, &count, &err),
			 KVEIL_OK);
	memset(marks, 0, doc->count);
	for (size_t i = 0; i < count; i++) {
		marks[nodes[i]] |= 1;
		for (uint32_t n = nodes[i] + 1; n < doc->nodes[nodes[i]].next; n++)
			marks[n] |= 2;
	}
	kveil_arena_reset(&r->arena);
}

static void relations_hold_in_records(void **state)
{
	size_t covered = 0, ancestors = 0;

	(void)state;
	for (size_t k = 0; k < PATHS; k++) {
		char a_text[256], b_text[256];
		struct kveil_path *a = random_path(a_text, sizeof a_text), *b = random_path(b_text, sizeof b_text);
		bool covers = kveil_path_covers(a, b), may = kveil_path_may_be_ancestor(a, b), real = false;

		for (size_t i = 0; i < 2 * RECORDS; i++) {
			struct record *r = &records[i / 2];
			uint32_t n = r->scan.doc.count;
			uint8_t *of_a = malloc(n), *of_b = malloc(n);
			mark(a, r, i % 2, of_a);
			mark(b, r, i % 2, of_b);
			for (uint32_t j = 0; j < n; j++) {
				if (covers && (of_b[j] & 1) && !of_a[j])
					fail_msg("%s does not cover %s in %s", a_text, b_text,
						 kveil_buf_cstr(&r->text));
				real |= (of_b[j] & 1) && (of_a[j] & 2);
			}
			free(of_a);
			free(of_b);
		}
		if (real && !has_descendants(b) && !may)
			fail_msg("%s is an ancestor of %s", a_text, b_text);
		covered += covers;
		ancestors += real && !has_descendants(b);
		assert_true(kveil_path_equal(a, a) && kveil_path_covers(a, a));
		if (kveil_path_equal(a, b))
			assert_true(kveil_path_covers(a, b) && kveil_path_covers(b, a));
		kveil_path_free(a);
		kveil_path_free(b);
	}
	print_message("%zu covered, %zu ancestors of %d pairs\n", covered, ancestors, PATHS);
	/* The dice must have tried both. */
	assert_true(covered > 200 && ancestors > 200);
}

/* Conservative is not useless. */
static void tells_what_rule_files_need(void **state)
{
	static const struct {
		const char *a, *b;
		bool covers, ancestor, equal;
	} rows[] = {
	    {"$.a", "$['a']", true, false, true},
	    {"$.a", "$.a.b", true, true, false},
	    {"$.a.b", "$.a", false, false, false},
	    {"$", "$.a", true, true, false},
	    {"$.a", "$.b", false, false, false},
	    {"$.items[*].price", "$.items[0].price", true, false, false},
	    {"$.items[0].price", "$.items[*].price", false, false, false},
	    {"$.items[*]", "$.items[*].price", true, true, false},
	    {"$.items[1]", "$.items[2].price", false, false, false},
	    {"$..notes", "$.a.notes", true, false, false},
	    {"$..notes", "$..notes.text", true, false, false},
	    {"$..notes", "$.a.notes.text", true, true, false},
	    {"$.notes", "$..notes", false, false, false},
	    {"$.*", "$..a", true, false, false},
	    {"$..*", "$..a", true, false, false},
	    {"$['a','b']", "$.b", true, false, false},
	    {"$['a','b']", "$['b','a']", true, false, false},
	    {"$[?@.x == 1]", "$[?@['x'] == 1]", true, false, true},
	    {"$[?@.x == 1]", "$[?@.x == 2]", false, false, false},
	    {"$[*]", "$[?@.x == 2].y", true, true, false},
	    {"$[0]", "$.a.b", false, false, false},
	    {"$[-1]", "$[0].a", false, true, false},
	    {"$[1:3]", "$[2].a", true, true, false},
	    {"$[1:3]", "$[3].a", false, false, false},
	    {"$[:]", "$[-1]", true, false, false},
	    {"$[:]", "$.a", false, false, false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct kveil_path *a = parse(rows[i].a), *b = parse(rows[i].b);
		if (kveil_path_covers(a, b) != rows[i].covers || kveil_path_may_be_ancestor(a, b) != rows[i].ancestor ||
		    kveil_path_equal(a, b) != rows[i].equal)
			fail_msg("%s and %s: covers %d, ancestor %d, equal %d", rows[i].a, rows[i].b,
				 kveil_path_covers(a, b), kveil_path_may_be_ancestor(a, b), kveil_path_equal(a, b));
		kveil_path_free(a);
		kveil_path_free(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(relations_hold_in_records, make_records, clear_records),
	    cmocka_unit_test(tells_what_rule_files_need),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

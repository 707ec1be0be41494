/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RFC 9535 by cases that others answered: every *.json in the folder jsonpath/ of the test vectors, in the form of the
 * JSONPath compliance test suite: {"tests": [{name, selector, document, result_paths | results_paths} or {name,
 * selector, invalid_selector}]}. tests/vectors/fetch_jsonpath.py fills the folder.
 *
 * Where the RFC decides a comparison that kveil doubts, its answer must lie between kveil's two: what is found
 * surely, the RFC finds, and what the RFC finds is found at least in doubt.
 */
#include "format/format.h"
#include "path/path.h"
#include "vectors.h"

#include <dirent.h>

struct tally {
	size_t invalid, exact, doubtful, wrong;
};

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* A set of normalized paths, sorted. */
struct paths {
	char **items;
	size_t count;
};

static void sort_unique(struct paths *p)
{
	size_t kept = 0;

	qsort(p->items, p->count, sizeof *p->items, by_text);
	for (size_t i = 0; i < p->count; i++)
		if (kept && strcmp(p->items[i], p->items[kept - 1]) == 0)
			free(p->items[i]);
		else
			p->items[kept++] = p->items[i];
	p->count = kept;
}

static void paths_clear(struct paths *p)
{
	for (size_t i = 0; i < p->count; i++)
		free(p->items[i]);
	free(p->items);
}

static bool paths_within(const struct paths *a, const struct paths *b)
{
	for (size_t i = 0; i < a->count; i++)
		if (!bsearch(&a->items[i], b->items, b->count, sizeof *b->items, by_text))
			return false;
	return true;
}

static struct paths paths_of_list(const json_t *list)
{
	struct paths p = {calloc(json_array_size(list) + 1, sizeof *p.items), json_array_size(list)};

	for (size_t i = 0; i < p.count; i++)
		p.items[i] = strdup(json_string_value(json_array_get(list, i)));
	sort_unique(&p);
	return p;
}

static void write_place(const struct kveil_doc *doc, uint32_t node, struct kveil_buf *out)
{
	const struct kveil_doc_node *n = &doc->nodes[node];

	if (n->parent == UINT32_MAX) {
		kveil_buf_append_byte(out, '$');
		return;
	}
	write_place(doc, n->parent, out);
	if (doc->nodes[n->parent].kind == KVEIL_KIND_ARRAY) {
		kveil_buf_printf(out, "[%u]", n->ordinal);
		return;
	}
	struct kveil_span raw = kveil_span_of(doc->text.data + n->name_start + 1, n->name_end - n->name_start - 2);
	uint8_t *name = malloc(raw.len + 1);
	size_t len = kveil_json_unescape(raw, name);
	kveil_path_write_name(kveil_span_of(name, len), out);
	free(name);
}

static struct paths find(const struct kveil_path *path, struct kveil_scan *scan, bool doubt_selects, const char *name)
{
	struct kveil_error err;
	uint32_t *nodes;
	struct paths p = {0};
	int64_t work = KVEIL_PATH_WORK;

	if (kveil_path_select_within(path, &scan->doc, 0, doubt_selects, &work, scan->arena, &nodes, &p.count, &err) !=
	    KVEIL_OK)
		fail_msg("%s: %s", name, err.message);
	p.items = calloc(p.count + 1, sizeof *p.items);
	for (size_t i = 0; i < p.count; i++) {
		struct kveil_buf b = KVEIL_BUF_INIT;
		assert_true(i == 0 || nodes[i] > nodes[i - 1]);
		write_place(&scan->doc, nodes[i], &b);
		p.items[i] = strdup(kveil_buf_cstr(&b));
		kveil_buf_clear(&b);
	}
	sort_unique(&p);
	return p;
}

/* Is it one of the answers that the suite allows? */
static bool check_answer(const struct paths *sure, const struct paths *possible, const json_t *list, bool *ret_exact)
{
	struct paths want = paths_of_list(list);
	bool ok = paths_within(sure, &want) && paths_within(&want, possible);

	*ret_exact = ok && sure->count == want.count;
	paths_clear(&want);
	return ok;
}

static void check_found(const json_t *test, const char *name, const struct kveil_path *path, struct tally *t)
{
	char *text =
	    json_dumps(json_object_get(test, "document"), JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
	struct kveil_arena arena;
	struct kveil_error err;

	kveil_arena_init(&arena, 0);
	struct kveil_scan scan = {.arena = &arena, .max_bytes = 1 << 24, .max_depth = 1000, .want_doc = true};
	if (kveil_format_by_name(KVEIL_SPAN("json"))->scan(&scan, kveil_span_str(text), &err) != KVEIL_OK)
		fail_msg("%s: %s", name, err.message);
	struct paths sure = find(path, &scan, false, name), possible = find(path, &scan, true, name);

	const json_t *one = json_object_get(test, "result_paths"), *several = json_object_get(test, "results_paths");
	bool exact = false, ok = one && check_answer(&sure, &possible, one, &exact);
	for (size_t i = 0; several && !ok && i < json_array_size(several); i++)
		ok = check_answer(&sure, &possible, json_array_get(several, i), &exact);
	const char *selector = json_string_value(json_object_get(test, "selector"));
	if (!ok) {
		print_error("%s: %s finds %zu (%zu with doubt) in %s\n", name, selector, sure.count, possible.count,
			    text);
		t->wrong++;
	} else if (exact) {
		t->exact++;
	} else {
		t->doubtful++;
		if (getenv("KVEIL_LIST_DOUBTS"))
			print_message("doubt: %s: %s\n", name, selector);
	}
	paths_clear(&sure);
	paths_clear(&possible);
	kveil_scan_clear(&scan);
	kveil_arena_clear(&arena);
	free(text);
}

static void check_case(const json_t *test, struct tally *t)
{
	const json_t *selector = json_object_get(test, "selector");
	const char *name = json_string_value(json_object_get(test, "name"));
	bool invalid = json_is_true(json_object_get(test, "invalid_selector"));
	struct kveil_path *path;
	struct kveil_error err;
	enum kveil_status status =
	    kveil_path_parse(kveil_span_of(json_string_value(selector), json_string_length(selector)), &path, &err);

	if (invalid != (status != KVEIL_OK)) {
		print_error("%s: %s: %s\n", name, json_string_value(selector), invalid ? "was accepted" : err.message);
		t->wrong++;
	} else if (invalid) {
		assert_int_equal(status, KVEIL_E_PATH_SYNTAX);
		t->invalid++;
	} else {
		check_found(test, name, path, t);
	}
	kveil_path_free(path);
}

static void agrees_with_others(void **state)
{
	const char *root = getenv("KVEIL_VECTORS");
	char folder[3000], file[4096];
	size_t files = 0;

	(void)state;
	assert_non_null(root);
	snprintf(folder, sizeof folder, "%s/jsonpath", root);
	DIR *dir = opendir(folder);
	if (!dir)
		fail_msg("%s is missing: run tests/vectors/fetch_jsonpath.py", folder);
	for (struct dirent *e; (e = readdir(dir));) {
		struct tally t = {0};
		json_error_t why;
		if (!strstr(e->d_name, ".json"))
			continue;
		snprintf(file, sizeof file, "%s/%s", folder, e->d_name);
		json_t *suite = json_load_file(file, JSON_ALLOW_NUL, &why);
		if (!suite)
			fail_msg("%s: %s", file, why.text);
		const json_t *tests = json_object_get(suite, "tests");
		for (size_t i = 0; i < json_array_size(tests); i++)
			check_case(json_array_get(tests, i), &t);
		print_message("%s: %zu refused, %zu exactly as the RFC, %zu where kveil doubts\n", e->d_name, t.invalid,
			      t.exact, t.doubtful);
		assert_true(t.invalid > 0 && t.exact > 0);
		assert_int_equal(t.wrong, 0);
		json_decref(suite);
		files++;
	}
	closedir(dir);
	assert_true(files > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(agrees_with_others)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

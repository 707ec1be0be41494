/* SPDX-License-Identifier: Apache-2.0 */
/* Input: a path or a condition, and after a NUL maybe a record for it. */
#include "format/format.h"
#include "path/path.h"

#include <stdlib.h>

static const char record[] =
    "{\"a\":[1,\"2\",{\"b\":null,\"c\":1.50e1}],\"\\u0062\":{\"a\":\"x\\n\\ud83d\\ude00\",\"a\":\"y\"},"
    "\"c\":\"a.c\",\"d\":9007199254740993,\"e\":[[],[[]],{}],\"f\":true,\"g\":\"[a-c]+\"}";

static void require(bool condition)
{
	if (!condition)
		abort();
}

static void try_relations(const struct kveil_path *p)
{
	require(kveil_path_covers(p, p) && kveil_path_equal(p, p));
	(void)kveil_path_is_streamable(p);
	(void)kveil_path_may_be_ancestor(p, p);
	if (!kveil_path_is_fixed(p))
		return;
	struct kveil_buf b = KVEIL_BUF_INIT;
	struct kveil_path *again;
	kveil_path_write_normalized(p, &b);
	require(kveil_path_parse(kveil_buf_span(&b), &again, NULL) == KVEIL_OK && again->count == p->count);
	kveil_path_free(again);
	kveil_buf_clear(&b);
}

/* What is found surely is found with doubt too; both in document order. */
static void try_path(const struct kveil_path *p, const struct kveil_scan *scan)
{
	struct kveil_error err;
	uint32_t *sure, *possible;
	size_t n, m;
	int64_t work = 1000000, same = work;
	enum kveil_status a = kveil_path_select_within(p, &scan->doc, 0, false, &work, scan->arena, &sure, &n, &err);
	enum kveil_status b = kveil_path_select_within(p, &scan->doc, 0, true, &same, scan->arena, &possible, &m, &err);

	require(a == b && n <= m);
	for (size_t i = 0, j = 0; i < n; i++) {
		while (j < m && possible[j] < sure[i])
			j++;
		require(j < m && possible[j] == sure[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = size ? memchr(data, 0, size) : NULL;
	struct kveil_span text = kveil_span_of(data, nul ? (size_t)(nul - data) : size);
	struct kveil_span json = nul ? kveil_span_of(nul + 1, size - text.len - 1) : KVEIL_SPAN_NULL;
	struct kveil_arena arena;
	struct kveil_error err;
	struct kveil_path *p;
	struct kveil_expr *e;
	enum kveil_tri answer;
	const struct kveil_format *format = kveil_format_by_name(KVEIL_SPAN("json"));

	kveil_arena_init(&arena, 0);
	struct kveil_scan scan = {.arena = &arena, .max_bytes = 1 << 20, .max_depth = 200, .want_doc = true};
	if (!nul || format->scan(&scan, json, &err) != KVEIL_OK)
		require(format->scan(&scan, kveil_span_str(record), &err) == KVEIL_OK);
	if (kveil_path_parse(text, &p, &err) == KVEIL_OK) {
		try_relations(p);
		try_path(p, &scan);
	}
	int64_t work = 1000000;
	if (kveil_expr_parse(text, &e, &err) == KVEIL_OK)
		for (uint32_t i = 0; i < scan.doc.count && i < 20; i++)
			if (kveil_expr_eval_within(e, &scan.doc, i, &work, &answer, &err) != KVEIL_OK)
				require(answer == KVEIL_DOUBT);
	kveil_path_free(p);
	kveil_expr_free(e);
	kveil_scan_clear(&scan);
	kveil_arena_clear(&arena);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests/integration/test_avro.py: many schemas and values in one process. Each case is three texts, in: rules,
 * schema, value; and three, out: "ok" or the code of what went wrong, the derived schema, the value. A text is a length
 * (4 bytes, little-endian) and its bytes.
 */
#include "base/buf.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <stdio.h>
#include <stdlib.h>

static bool read_text(struct kveil_buf *out)
{
	uint32_t n;

	kveil_buf_reset(out);
	if (fread(&n, sizeof n, 1, stdin) != 1)
		return false;
	uint8_t *room = kveil_buf_reserve(out, n);
	if (!room || fread(room, 1, n, stdin) != n)
		abort();
	out->len = n;
	return true;
}

static void write_text(struct kveil_span s)
{
	uint32_t n = (uint32_t)s.len;

	fwrite(&n, sizeof n, 1, stdout);
	fwrite(s.data, 1, s.len, stdout);
}

static void run_case(struct kveil_keyring *ring, struct kveil_span rules, struct kveil_span schema,
		     struct kveil_span value)
{
	struct kveil_report report = {0};
	struct kveil_engine *e = NULL;
	struct kveil_engine_schema *s = NULL;
	struct kveil_result result = {.verdict = KVEIL_STOP};
	struct kveil_error err = {0};
	struct kveil_plan *plan = kveil_plan_parse(rules, "case", NULL, &report);

	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	if (!plan)
		abort();
	enum kveil_status st = kveil_engine_new(plan, ring, NULL, &e, &err);
	if (!st)
		st = kveil_engine_schema_new(e, schema, &s, &err);
	if (!st) {
		struct kveil_record record = {.value = value};
		kveil_engine_use_schema(e, s);
		kveil_engine_run(e, &record, &result);
		st = result.verdict == KVEIL_PRODUCE ? KVEIL_OK : result.error.status;
	}
	write_text(kveil_span_str(kveil_status_code(st)));
	write_text(s ? kveil_engine_schema_derived(s) : kveil_span_str(err.message));
	write_text(st ? KVEIL_SPAN("") : result.outputs[0].record.value);
	kveil_engine_schema_free(s);
	kveil_engine_free(e);
	kveil_plan_unref(plan);
}

int main(void)
{
	struct kveil_buf rules = KVEIL_BUF_INIT, schema = KVEIL_BUF_INIT, value = KVEIL_BUF_INIT;
	struct kveil_keystore *ks;
	struct kveil_keyring *ring;
	struct kveil_error err;

	if (kveil_keystore_new_test(KVEIL_SPAN("seed"), &ks, &err) || kveil_keyring_new(ks, &ring, &err))
		abort();
	while (read_text(&rules)) {
		if (!read_text(&schema) || !read_text(&value))
			abort();
		run_case(ring, kveil_buf_span(&rules), kveil_buf_span(&schema), kveil_buf_span(&value));
		fflush(stdout);
	}
	kveil_buf_clear(&rules);
	kveil_buf_clear(&schema);
	kveil_buf_clear(&value);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests/integration/test_avro.py and test_avro_events.py: many schemas and records in one process. Each case is
 * six texts, in: rules, schema, value, the key's schema (empty: there is no key), key, the schema that the value's was
 * derived from (empty: not known); and five, out: "ok" or the code of what went wrong, the derived schema or why there
 * is none, the value, the key's derived schema, the key. A text is a length (4 bytes, little-endian) and its bytes.
 */
#include "base/buf.h"
#include "kveil/schemas.h"
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
	if (n)
		fwrite(s.data, 1, n, stdout);
}

enum { RULES, SCHEMA, VALUE, KEY_SCHEMA, KEY, ORIGINAL, TEXTS };

struct run {
	struct kveil_engine *engine;
	struct kveil_engine_schema *schema, *key_schema;
	struct kveil_result result;
	struct kveil_error err;
};

static enum kveil_status run_engine(struct run *r, struct kveil_plan *plan, struct kveil_keyring *ring,
				    const struct kveil_buf *in)
{
	struct kveil_record record = {.value = kveil_buf_span(&in[VALUE])};
	struct kveil_schema_source source = {.must_fit = true};

	if (in[ORIGINAL].len)
		source.original = kveil_buf_span(&in[ORIGINAL]);
	enum kveil_status st = kveil_engine_new(plan, ring, NULL, &r->engine, &r->err);

	if (!st)
		st = kveil_engine_schema_of(r->engine, kveil_buf_span(&in[SCHEMA]), &source, &r->schema, &r->err);
	if (!st && in[KEY_SCHEMA].len) {
		st = kveil_engine_key_schema_new(r->engine, kveil_buf_span(&in[KEY_SCHEMA]), &r->key_schema, &r->err);
		record.key = kveil_buf_span(&in[KEY]);
		if (!record.key.data)
			record.key.data = (const uint8_t *)"";
	}
	if (st)
		return st;
	kveil_engine_use_schema(r->engine, r->schema);
	kveil_engine_use_key_schema(r->engine, r->key_schema);
	kveil_engine_run(r->engine, &record, &r->result);
	r->err = r->result.error;
	return r->result.verdict == KVEIL_PRODUCE ? KVEIL_OK : r->result.error.status;
}

static void write_derived(const struct kveil_engine_schema *s, const char *why)
{
	write_text(s ? kveil_engine_schema_derived(s) : kveil_span_str(why));
}

static void run_case(struct kveil_keyring *ring, const struct kveil_buf *in)
{
	struct kveil_report report = {0};
	struct run r = {0};
	struct kveil_plan *plan = kveil_plan_parse(kveil_buf_span(&in[RULES]), "case", NULL, &report);

	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	if (!plan)
		abort();
	enum kveil_status st = run_engine(&r, plan, ring, in);
	write_text(kveil_span_str(kveil_status_code(st)));
	write_derived(r.schema, r.err.message);
	write_text(st ? KVEIL_SPAN("") : r.result.outputs[0].record.value);
	write_derived(r.key_schema, r.err.message);
	write_text(st ? KVEIL_SPAN("") : r.result.outputs[0].record.key);
	kveil_engine_schema_free(r.schema);
	kveil_engine_schema_free(r.key_schema);
	kveil_engine_free(r.engine);
	kveil_plan_unref(plan);
}

int main(void)
{
	struct kveil_buf in[TEXTS] = {{0}};
	struct kveil_keystore *ks;
	struct kveil_keyring *ring;
	struct kveil_error err;

	if (kveil_keystore_new_test(KVEIL_SPAN("seed"), &ks, &err) || kveil_keyring_new(ks, &ring, &err))
		abort();
	while (read_text(&in[RULES])) {
		for (int i = SCHEMA; i < TEXTS; i++)
			if (!read_text(&in[i]))
				abort();
		run_case(ring, in);
		fflush(stdout);
	}
	for (int i = 0; i < TEXTS; i++)
		kveil_buf_clear(&in[i]);
	kveil_keyring_free(ring);
	kveil_keystore_unref(ks);
	return 0;
}

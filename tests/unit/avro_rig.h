/* SPDX-License-Identifier: Apache-2.0 */
/* An engine for the rules of one test on values in Avro, and the schema at hand. */
#ifndef KVEIL_TESTS_AVRO_RIG_H
#define KVEIL_TESTS_AVRO_RIG_H

#include "kveil/schemas.h"
#include "rules/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEAD    "name: t\ntopics: [in]\nformat: avro\nfields:\n"
#define R(text) "  - {" text "}\n"
#define F(n, t) "{\"name\":\"" n "\",\"type\":" t "}"

struct rig {
	struct kveil_plan *plan;
	struct kveil_keystore *keystore;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_engine_schema *schema;
	struct kveil_result result;
	uint8_t *value; /* exactly sized, so that the sanitizers see a read past the end */
};

/* Without a schema. */
static inline void rig_load(struct rig *r, const char *rules)
{
	struct kveil_report report = {0};
	struct kveil_error err;

	*r = (struct rig){0};
	r->plan = kveil_plan_parse(kveil_span_str(rules), "t.yaml", NULL, &report);
	if (!r->plan) {
		kveil_report_print(&report, stderr);
		fail_msg("the rules do not load");
	}
	kveil_report_clear(&report);
	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("seed"), &r->keystore, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(r->keystore, &r->ring, &err), KVEIL_OK);
	assert_int_equal(kveil_engine_new(r->plan, r->ring, NULL, &r->engine, &err), KVEIL_OK);
}

/* In place of the schema at hand; source NULL: nothing is known of it. */
static inline enum kveil_status rig_use(struct rig *r, const char *schema, const struct kveil_schema_source *source,
					struct kveil_error *err)
{
	kveil_engine_schema_free(r->schema);
	enum kveil_status st = kveil_engine_schema_of(r->engine, kveil_span_str(schema), source, &r->schema, err);
	kveil_engine_use_schema(r->engine, r->schema);
	return st;
}

static inline enum kveil_status rig_try(struct rig *r, const char *rules, const char *schema,
					const struct kveil_schema_source *source, struct kveil_error *err)
{
	rig_load(r, rules);
	return rig_use(r, schema, source, err);
}

static inline void rig_clear(struct rig *r)
{
	kveil_engine_schema_free(r->schema);
	kveil_engine_free(r->engine);
	kveil_keyring_free(r->ring);
	kveil_keystore_unref(r->keystore);
	kveil_plan_unref(r->plan);
	free(r->value);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* An engine for the rules of one test, and what one record comes to. */
#ifndef KVEIL_TESTS_EVENT_RIG_H
#define KVEIL_TESTS_EVENT_RIG_H

#include "kveil/engine.h"
#include "rules/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HEAD "name: t\ntopics: [in]\noutput: out\n"

struct rig {
	struct kveil_plan *plan;
	struct kveil_keystore *keystore;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_result result;
	char value[16384], key[4096];
};

static inline struct kveil_plan *load(const char *yaml)
{
	struct kveil_report report = {0};
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml), "t.yaml", NULL, &report);

	if (!plan) {
		kveil_report_print(&report, stderr);
		fail_msg("the rules do not load");
	}
	kveil_report_clear(&report);
	return plan;
}

static inline void bind_plan(struct rig *r, struct kveil_plan *plan)
{
	struct kveil_error err;

	kveil_engine_free(r->engine);
	kveil_plan_unref(r->plan);
	r->plan = plan;
	assert_int_equal(kveil_engine_new(r->plan, r->ring, NULL, &r->engine, &err), KVEIL_OK);
}

static inline void rig_init(struct rig *r, const char *yaml)
{
	struct kveil_error err;

	*r = (struct rig){0};
	assert_int_equal(kveil_keystore_new_test(KVEIL_SPAN("seed"), &r->keystore, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_new(r->keystore, &r->ring, &err), KVEIL_OK);
	bind_plan(r, load(yaml));
}

static inline void rig_clear(struct rig *r)
{
	kveil_engine_free(r->engine);
	kveil_plan_unref(r->plan);
	kveil_keyring_free(r->ring);
	kveil_keystore_unref(r->keystore);
}

static inline void show(struct kveil_span s, char *dst, size_t size)
{
	assert_true(s.len < size);
	snprintf(dst, size, "%.*s", s.data ? (int)s.len : 4, s.data ? (const char *)s.data : "null");
}

/* The status; on success value and key as text. */
static inline enum kveil_status run(struct rig *r, const char *key, const char *value)
{
	struct kveil_record record = {.key = kveil_span_str(key), .value = kveil_span_str(value)};

	kveil_engine_run(r->engine, &record, &r->result);
	if (r->result.verdict != KVEIL_PRODUCE) {
		assert_int_equal(r->result.output_count, 0);
		return r->result.error.status;
	}
	show(r->result.outputs[0].record.value, r->value, sizeof r->value);
	show(r->result.outputs[0].record.key, r->key, sizeof r->key);
	return KVEIL_OK;
}

static inline void becomes(struct rig *r, const char *value, const char *want)
{
	if (run(r, NULL, value) != KVEIL_OK)
		fail_msg("%s: %s", value, r->result.error.message);
	assert_string_equal(r->value, want);
}

static inline void fails(struct rig *r, const char *key, const char *value, enum kveil_status want)
{
	enum kveil_status st = run(r, key, value);

	if (st != want)
		fail_msg("%s: %s, not %s", value ? value : "a tombstone", kveil_status_code(st),
			 kveil_status_code(want));
}

/* Does the file fail to load, or with `warns` load with a warning, whose text has this in it? */
static inline void says(const char *yaml, bool warns, const char *what)
{
	struct kveil_report report = {0};
	struct kveil_plan *plan = kveil_plan_parse(kveil_span_str(yaml), "t.yaml", NULL, &report);
	bool found = false;

	if (warns != (plan != NULL)) {
		kveil_report_print(&report, stderr);
		fail_msg("loads: %d\n%s", plan != NULL, yaml);
	}
	for (size_t i = 0; i < report.count; i++)
		found |= report.problems[i].warning == warns && strstr(report.problems[i].error.message, what) != NULL;
	if (!found) {
		kveil_report_print(&report, stderr);
		fail_msg("nobody said: %s", what);
	}
	kveil_report_clear(&report);
	kveil_plan_unref(plan);
}

#endif

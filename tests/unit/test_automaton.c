/* SPDX-License-Identifier: Apache-2.0 */
/* The automaton's own tables: what is dead, what is shared, where it gives up. What it finds is in test_json.c. */
#include "format/automaton_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static enum kveil_status build(const char *const *texts, size_t count, struct kveil_automaton **ret,
			       struct kveil_error *err)
{
	static struct kveil_path *paths[512];
	static struct kveil_automaton_path rows[512];

	for (size_t i = 0; i < count; i++) {
		assert_int_equal(kveil_path_parse(kveil_span_str(texts[i]), &paths[i], err), KVEIL_OK);
		rows[i] = (struct kveil_automaton_path){paths[i], (uint32_t)i, false};
	}
	enum kveil_status st = kveil_automaton_new(rows, count, ret, err);
	/* It keeps nothing of the paths. */
	for (size_t i = 0; i < count; i++)
		kveil_path_free(paths[i]);
	return st;
}

static uint32_t step(const struct kveil_automaton *a, uint32_t state, const char *name)
{
	return kveil_automaton_on_plain_name(&a->states[state], (const uint8_t *)name, strlen(name), strlen(name));
}

static void test_moves(void **state)
{
	(void)state;
	static const char *const texts[] = {"$.a.b", "$.a[2]", "$['a rather long name of a member'].*"};
	struct kveil_automaton *a;
	struct kveil_error err;
	size_t n;

	assert_int_equal(build(texts, 3, &a, &err), KVEIL_OK);
	uint32_t at_a = step(a, a->start, "a");
	assert_true(a->states[at_a].live);
	assert_int_equal(step(a, a->start, "b"), KVEIL_AUTOMATON_DEAD);
	assert_int_equal(step(a, a->start, "a rather long name 0f a member"), KVEIL_AUTOMATON_DEAD);
	assert_int_equal(kveil_automaton_on_index(&a->states[at_a], 1), KVEIL_AUTOMATON_DEAD);
	uint32_t at_b = step(a, at_a, "b");
	assert_int_equal(kveil_automaton_accepts(a, at_b, &n)[0], 0);
	assert_int_equal(n, 1);
	/* Nothing below can be named: the scanner only validates there. */
	assert_false(a->states[at_b].live);
	assert_int_equal(kveil_automaton_accepts(a, kveil_automaton_on_index(&a->states[at_a], 2), &n)[0], 1);
	uint32_t at_long = step(a, a->start, "a rather long name of a member");
	assert_int_equal(kveil_automaton_accepts(a, step(a, at_long, "anything"), &n)[0], 2);
	assert_int_equal(kveil_automaton_accepts(a, kveil_automaton_on_index(&a->states[at_long], 7), &n)[0], 2);
	kveil_automaton_free(a);
	assert_int_equal(build(NULL, 0, &a, &err), KVEIL_OK);
	assert_int_equal(a->start, KVEIL_AUTOMATON_DEAD);
	kveil_automaton_free(a);
}

static void test_shares(void **state)
{
	(void)state;
	static char texts[200][24];
	const char *pointers[200];
	struct kveil_automaton *a;
	struct kveil_error err;

	for (int i = 0; i < 200; i++) {
		snprintf(texts[i], sizeof texts[i], "$..name_%d", i);
		pointers[i] = texts[i];
	}
	assert_int_equal(build(pointers, 200, &a, &err), KVEIL_OK);
	for (int i = 0; i < 200; i++) {
		uint32_t at = step(a, a->start, texts[i] + 3);
		size_t n;
		assert_int_equal(kveil_automaton_accepts(a, at, &n)[0], i);
		assert_ptr_equal(a->states[at].slots, a->states[a->start].slots);
	}
	/* Most other names end at the filter: hashes that bunch would let all of them through. */
	uint64_t through = 0;
	for (int i = 0; i < 1000; i++) {
		char name[24];
		int len = snprintf(name, sizeof name, "other_%d", i);
		struct kveil_name key = kveil_name_of((const uint8_t *)name, (size_t)len, (size_t)len);
		const struct kveil_automaton_state *s = &a->states[a->start];
		uint64_t bit = kveil_name_hash(&key) >> s->shift;
		through += s->filter[bit / 64] >> bit % 64 & 1;
	}
	assert_in_range(through, 0, 250);
	kveil_automaton_free(a);
}

static void test_bounds(void **state)
{
	(void)state;
	/* Each step after `..` doubles the sets that can be: 2^20 states. */
	static const char *const texts[] = {"$..a[*][*][*][*][*][*][*][*][*][*][*][*][*][*][*][*][*][*][*][*]"};
	struct kveil_automaton *a;
	struct kveil_error err;

	assert_int_equal(build(texts, 1, &a, &err), KVEIL_E_RULES);
	assert_null(a);
	assert_non_null(strstr(err.message, "65536"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_moves), cmocka_unit_test(test_shares),
					   cmocka_unit_test(test_bounds)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

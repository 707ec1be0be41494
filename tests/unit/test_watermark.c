/* SPDX-License-Identifier: Apache-2.0 */
/* The watermark against a model: random offsets with gaps, random acknowledgements, rewinds, wrapping numbers. */
#include "worker/watermark.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void begins_unknown(void **state)
{
	(void)state;
	struct kveil_watermark w;
	kveil_watermark_init(&w, -1);
	assert_int_equal(kveil_watermark_committable(&w), -1);
	kveil_watermark_clear(&w);
}

static void passes_only_finished_records(void **state)
{
	(void)state;
	struct kveil_watermark w;
	uint32_t a, b, c;
	kveil_watermark_init(&w, 7);
	assert_int_equal(kveil_watermark_committable(&w), 7);
	assert_true(kveil_watermark_add(&w, 7, &a));
	assert_true(kveil_watermark_add(&w, 9, &b)); /* 8 is a gap */
	assert_true(kveil_watermark_add(&w, 10, &c));
	kveil_watermark_hold(&w, a); /* two views */
	kveil_watermark_done(&w, b);
	kveil_watermark_done(&w, a);
	assert_int_equal(kveil_watermark_committable(&w), 7);
	kveil_watermark_done(&w, a);
	assert_int_equal(kveil_watermark_committable(&w), 10);
	kveil_watermark_done(&w, c);
	assert_int_equal(kveil_watermark_committable(&w), 11);
	assert_int_equal(kveil_watermark_open(&w), 0);
	kveil_watermark_clear(&w);
}

static void forgets_on_rewind(void **state)
{
	(void)state;
	struct kveil_watermark w;
	uint32_t a, b;
	kveil_watermark_init(&w, 0);
	assert_true(kveil_watermark_add(&w, 0, &a));
	assert_true(kveil_watermark_add(&w, 1, &b));
	kveil_watermark_done(&w, a);
	kveil_watermark_rewind(&w, kveil_watermark_committable(&w));
	assert_int_equal(kveil_watermark_committable(&w), 1);
	assert_true(kveil_watermark_add(&w, 1, &b));
	assert_int_equal(kveil_watermark_committable(&w), 1);
	kveil_watermark_done(&w, b);
	assert_int_equal(kveil_watermark_committable(&w), 2);
	kveil_watermark_clear(&w);
}

enum { RECORDS = 20000 };

struct model {
	int64_t offset[RECORDS];
	uint32_t seq[RECORDS], open[RECORDS];
	size_t count, first;
	int64_t next;
};

static int64_t model_committable(struct model *m)
{
	while (m->first < m->count && m->open[m->first] == 0)
		m->first++;
	return m->first < m->count ? m->offset[m->first] : m->next;
}

/* The property: at every step the committable offset is the model's, however acknowledgements are ordered. */
static void agrees_with_the_model(void **state)
{
	(void)state;
	struct model *m = calloc(1, sizeof *m);
	assert_non_null(m);
	for (unsigned seed = 1; seed <= 40; seed++) {
		struct kveil_watermark w;
		unsigned rnd = seed;
		*m = (struct model){.next = (int64_t)seed * 1000};
		kveil_watermark_init(&w, m->next);
		w.head = w.tail = UINT32_MAX - 3000; /* numbers wrap on the way */
		unsigned window = 1 + (unsigned)rand_r(&rnd) % 3000;
		while (m->count < RECORDS / 4 || m->first < m->count) {
			bool add = m->count < RECORDS / 4 && m->count - m->first < window && rand_r(&rnd) % 2;
			if (add) {
				int64_t offset = m->next + (rand_r(&rnd) % 8 == 0 ? rand_r(&rnd) % 5 : 0);
				uint32_t views = (uint32_t)rand_r(&rnd) % 3;
				size_t i = m->count++;
				assert_true(kveil_watermark_add(&w, offset, &m->seq[i]));
				for (uint32_t v = 0; v < views; v++)
					kveil_watermark_hold(&w, m->seq[i]);
				m->offset[i] = offset;
				m->open[i] = views + 1;
				m->next = offset + 1;
			} else if (m->first < m->count) {
				size_t i = m->first + (size_t)rand_r(&rnd) % (m->count - m->first);
				if (m->open[i]) {
					m->open[i]--;
					kveil_watermark_done(&w, m->seq[i]);
				}
			}
			if (rand_r(&rnd) % 2000 == 0) {
				int64_t back = model_committable(m);
				kveil_watermark_rewind(&w, back);
				m->first = m->count;
				m->next = back;
			}
			assert_int_equal(kveil_watermark_committable(&w), model_committable(m));
			assert_int_equal(w.next, m->next);
		}
		kveil_watermark_clear(&w);
	}
	free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(begins_unknown),
	    cmocka_unit_test(passes_only_finished_records),
	    cmocka_unit_test(forgets_on_rewind),
	    cmocka_unit_test(agrees_with_the_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

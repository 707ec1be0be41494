/* SPDX-License-Identifier: Apache-2.0 */
#include "observe/metrics.h"

#include <jansson.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct kveil_buf text;

static const char *rendered(struct kveil_metrics *m)
{
	kveil_buf_reset(&text);
	kveil_metrics_render(m, &text);
	return kveil_buf_cstr(&text);
}

static void assert_has(struct kveil_metrics *m, const char *line)
{
	if (!strstr(rendered(m), line))
		fail_msg("no line '%s' in:\n%s", line, kveil_buf_cstr(&text));
}

static void assert_has_not(struct kveil_metrics *m, const char *line)
{
	if (strstr(rendered(m), line))
		fail_msg("a line '%s' in:\n%s", line, kveil_buf_cstr(&text));
}

static size_t count_samples(struct kveil_metrics *m)
{
	size_t n = 0;

	for (const char *line = rendered(m); *line; line = strchr(line, '\n') + 1)
		n += *line != '#';
	return n;
}

static void test_counters_stand_at_zero(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();

	(void)state;
	assert_has(m, "# TYPE kveil_records_consumed_total counter\nkveil_records_consumed_total 0\n");
	assert_has(m, "kveil_records_failed_total{code=\"invalid_json\"} 0\n");
	assert_has(m, "kveil_retries_total{code=\"no_lease\"} 0\n");
	assert_has(m, "kveil_build_info{version=\"" KVEIL_VERSION "\"} 1\n");
	assert_has_not(m, "kveil_records_failed_total{code=\"config\"}");
	assert_has_not(m, "kveil_rule_matches_total");
	assert_has_not(m, "kveil_in_flight_bytes");
	kveil_metrics_cell(m, KVEIL_M_RULE_MATCHES, "orders/$.a", NULL);
	assert_has(m, "kveil_rule_matches_total{rule=\"orders/$.a\"} 0\n");
	kveil_metrics_free(m);
	kveil_metrics_free(NULL);
}

static void test_cells_with_the_same_labels_are_summed(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();
	struct kveil_cell *a = kveil_metrics_cell(m, KVEIL_M_RECORDS_CONSUMED, NULL, NULL);
	struct kveil_cell *b = kveil_metrics_cell(m, KVEIL_M_RECORDS_CONSUMED, NULL, NULL);
	struct kveil_cell *g = kveil_metrics_cell(m, KVEIL_M_CONSUMER_LAG, "orders", "0");
	struct kveil_cell *g2 = kveil_metrics_cell(m, KVEIL_M_CONSUMER_LAG, "orders", "1");

	(void)state;
	kveil_cell_add(a, 40);
	kveil_cell_add(b, 2);
	assert_has(m, "kveil_records_consumed_total 42\n");
	kveil_cell_set(g, 7);
	kveil_cell_set(g2, 1.5);
	assert_has(m, "kveil_consumer_lag_records{topic=\"orders\",partition=\"0\"} 7\n");
	assert_has(m, "kveil_consumer_lag_records{topic=\"orders\",partition=\"1\"} 1.5\n");
	assert_true(kveil_metrics_sum(m, KVEIL_M_CONSUMER_LAG) == 8.5);
	assert_true(kveil_metrics_sum(m, KVEIL_M_RECORDS_CONSUMED) == 42);
	/* Counters outlive their writers, gauges do not. */
	kveil_metrics_release(m, a);
	kveil_metrics_release(m, g);
	assert_has(m, "kveil_records_consumed_total 42\n");
	assert_has_not(m, "partition=\"0\"");
	assert_has(m, "partition=\"1\"} 1.5\n");
	kveil_metrics_release(m, g2);
	assert_has_not(m, "kveil_consumer_lag_records");
	kveil_cell_set(kveil_metrics_cell(m, KVEIL_M_CONSUMER_LAG, "orders", "0"), 3);
	assert_has(m, "partition=\"0\"} 3\n");
	kveil_metrics_free(m);
}

static void test_labels_are_escaped(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();

	(void)state;
	kveil_metrics_cell(m, KVEIL_M_RULE_MATCHES, "a\"b\\c\nd\re", NULL);
	assert_has(m, "{rule=\"a\\\"b\\\\c\\nd?e\"} 0\n");
	kveil_metrics_free(m);
}

static void test_labels_stay_utf8(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();
	char label[200];

	(void)state;
	for (size_t i = 0; i + 3 <= 198; i += 3)
		memcpy(label + i, "\u7801", 4);
	kveil_metrics_cell(m, KVEIL_M_RULE_MATCHES, label, NULL);
	label[126] = 0; /* 42 whole characters; a 43rd would be cut in two */
	char line[300];
	snprintf(line, sizeof line, "{rule=\"%s\"} 0\n", label);
	assert_has(m, line);
	kveil_metrics_cell(m, KVEIL_M_RULE_MATCHES, "bad\xff\xfe", NULL);
	assert_has(m, "{rule=\"bad\"} 0\n");
	kveil_metrics_free(m);
}

static void test_series_are_bounded(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();
	char n[16];

	(void)state;
	for (int i = 0; i < 1500; i++) {
		snprintf(n, sizeof n, "%d", i);
		kveil_cell_set(kveil_metrics_cell(m, KVEIL_M_CONSUMER_LAG, "orders", n), 1);
	}
	/* 1,200 of their own, 300 together; nothing is lost from the sum. */
	assert_has(m, "partition=\"1199\"} 1\n");
	assert_has_not(m, "partition=\"1200\"");
	assert_has(m, "{topic=\"other\",partition=\"other\"} 300\n");
	assert_true(kveil_metrics_sum(m, KVEIL_M_CONSUMER_LAG) == 1500);
	for (int i = 0; i < 3000; i++) {
		snprintf(n, sizeof n, "%d", i);
		kveil_cell_add(kveil_metrics_cell(m, KVEIL_M_RULE_MATCHES, n, NULL), 1);
		kveil_cell_add(kveil_metrics_cell(m, KVEIL_M_REGISTRY_IGNORED, n, NULL), 1);
		kveil_cell_set(kveil_metrics_cell(m, KVEIL_M_KEY_CREATED, n, NULL), 1);
	}
	assert_true(kveil_metrics_sum(m, KVEIL_M_RULE_MATCHES) == 3000);
	assert_has(m, "kveil_rule_matches_total{rule=\"0\"} 1\n");
	assert_has(m, "kveil_rule_matches_total{rule=\"other\"} ");
	assert_in_range(count_samples(m), 1900, 1999);
	kveil_metrics_free(m);
}

/* Thousands of topics that a regex takes leave room for the lag of each. */
static void test_topics_leave_room_for_lag(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();
	char n[16];

	(void)state;
	for (int i = 0; i < 1000; i++) {
		snprintf(n, sizeof n, "t%d", i);
		kveil_cell_add(kveil_metrics_cell(m, KVEIL_M_TOPIC_RECORDS, n, "protected"), 1);
		kveil_cell_add(kveil_metrics_cell(m, KVEIL_M_TOPIC_RECORDS, n, "failed"), 1);
	}
	for (int i = 0; i < 1000; i++) {
		snprintf(n, sizeof n, "t%d", i);
		kveil_cell_set(kveil_metrics_cell(m, KVEIL_M_CONSUMER_LAG, n, "0"), 1);
	}
	assert_has(m, "{topic=\"t199\",outcome=\"failed\"} 1\n");
	assert_has(m, "{topic=\"other\",outcome=\"other\"} 1600\n");
	assert_has(m, "{topic=\"t999\",partition=\"0\"} 1\n");
	kveil_metrics_free(m);
}

static void test_released_series_make_room(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();
	struct kveil_cell *cells[1300];
	char n[16];

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 1300; i++) {
			snprintf(n, sizeof n, "%d-%d", round, i);
			cells[i] = kveil_metrics_cell(m, KVEIL_M_CONSUMER_LAG, "t", n);
		}
		snprintf(n, sizeof n, "\"%d-1199\"", round);
		assert_has(m, n);
		assert_has(m, "\"other\"");
		for (int i = 0; i < 1300; i++)
			kveil_metrics_release(m, cells[i]);
		assert_has_not(m, "kveil_consumer_lag_records");
	}
	kveil_metrics_free(m);
}

static void test_histogram(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();
	struct kveil_histogram *a = kveil_metrics_histogram(m, KVEIL_M_TRANSFORM_DURATION);
	struct kveil_histogram *b = kveil_metrics_histogram(m, KVEIL_M_TRANSFORM_DURATION);

	(void)state;
	assert_ptr_not_equal(a, b);
	kveil_histogram_observe_ns(a, 0);
	kveil_histogram_observe_ns(a, 1000); /* a bound belongs to its bucket */
	kveil_histogram_observe_ns(b, 1001);
	kveil_histogram_observe_ns(b, 999999);
	kveil_histogram_observe_ns(b, 2500000000);
	assert_has(m, "_bucket{le=\"2e-07\"} 1\n");
	assert_has(m, "_bucket{le=\"5e-07\"} 1\n");
	assert_has(m, "_bucket{le=\"1e-06\"} 2\n");
	assert_has(m, "_bucket{le=\"2e-06\"} 3\n");
	assert_has(m, "_bucket{le=\"0.0005\"} 3\n");
	assert_has(m, "_bucket{le=\"0.001\"} 4\n");
	assert_has(m, "_bucket{le=\"1.0\"} 4\n");
	assert_has(m, "_bucket{le=\"+Inf\"} 5\n");
	assert_has(m, "kveil_transform_duration_seconds_sum 2.501002\n");
	assert_has(m, "kveil_transform_duration_seconds_count 5\n");
	assert_true(kveil_metrics_sum(m, KVEIL_M_TRANSFORM_DURATION) == 5);
	kveil_metrics_free(m);
}

/* Fills every family, so that promtool and the JSON parser see all of them. */
static struct kveil_metrics *full_metrics(void)
{
	struct kveil_metrics *m = kveil_metrics_new();

	kveil_histogram_observe_ns(kveil_metrics_histogram(m, KVEIL_M_TRANSFORM_DURATION), 800);
	for (int i = 0; i < KVEIL_METRIC_COUNT; i++)
		if (i != KVEIL_M_TRANSFORM_DURATION)
			kveil_cell_set(kveil_metrics_cell(m, (enum kveil_metric)i, "a\"\\\nb", "1"), 1.7e9);
	return m;
}

static void test_promtool_accepts_it(void **state)
{
	struct kveil_metrics *m = full_metrics();

	(void)state;
	if (access("/usr/bin/promtool", X_OK) != 0) {
		kveil_metrics_free(m);
		skip();
	}
	FILE *promtool = popen("/usr/bin/promtool check metrics 2>&1", "w");
	assert_non_null(promtool);
	fputs(rendered(m), promtool);
	assert_int_equal(pclose(promtool), 0);
	kveil_metrics_free(m);
}

static void test_json_holds_the_same(void **state)
{
	struct kveil_metrics *m = full_metrics();
	json_error_t error;

	(void)state;
	kveil_buf_reset(&text);
	kveil_metrics_render_json(m, &text);
	json_t *root = json_loadb((const char *)text.data, text.len, 0, &error);
	if (!root)
		fail_msg("%s: %s", error.text, kveil_buf_cstr(&text));
	assert_int_equal(json_object_size(root), KVEIL_METRIC_COUNT);
	json_t *lag = json_array_get(json_object_get(root, "kveil_consumer_lag_records"), 0);
	assert_string_equal(json_string_value(json_object_get(lag, "topic")), "a\"\\\nb");
	assert_true(json_number_value(json_object_get(lag, "value")) == 1.7e9);
	json_t *h = json_object_get(root, "kveil_transform_duration_seconds");
	assert_int_equal(json_integer_value(json_object_get(h, "count")), 1);
	json_decref(root);
	kveil_metrics_free(m);
}

struct writer {
	struct kveil_metrics *m;
	int number;
};

static void *write_a_lot(void *arg)
{
	struct writer *w = arg;
	struct kveil_cell *mine = kveil_metrics_cell(w->m, KVEIL_M_RECORDS_CONSUMED, NULL, NULL);
	char n[16];

	snprintf(n, sizeof n, "%d", w->number);
	for (int i = 0; i < 20000; i++) {
		kveil_cell_add(mine, 1);
		if (i % 100 == 0) {
			struct kveil_cell *g = kveil_metrics_cell(w->m, KVEIL_M_CONSUMER_LAG, "t", n);
			kveil_cell_set(g, i);
			kveil_metrics_release(w->m, g);
		}
	}
	kveil_metrics_release(w->m, mine);
	return NULL;
}

static void test_threads(void **state)
{
	struct kveil_metrics *m = kveil_metrics_new();
	pthread_t threads[4];
	struct writer writers[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		writers[i] = (struct writer){m, i};
		pthread_create(&threads[i], NULL, write_a_lot, &writers[i]);
	}
	double last = 0;
	for (int i = 0; i < 50; i++) {
		double now = kveil_metrics_sum(m, KVEIL_M_RECORDS_CONSUMED);
		assert_true(now >= last); /* a counter never goes back, also while writers come and go */
		last = now;
		rendered(m);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(kveil_metrics_sum(m, KVEIL_M_RECORDS_CONSUMED) == 80000);
	kveil_metrics_free(m);
}

/* KVEIL_WRITE_DOCS=1 rewrites the page instead. */
static void test_docs_are_of_this_table(void **state)
{
	const char *top = getenv("KVEIL_SOURCE_DIR");
	char path[1024];

	(void)state;
	if (!top)
		skip();
	snprintf(path, sizeof path, "%s/docs/metrics.md", top);
	kveil_buf_reset(&text);
	kveil_metrics_write_markdown(&text);
	bool write = getenv("KVEIL_WRITE_DOCS");
	FILE *f = fopen(path, write ? "w" : "r");
	assert_non_null(f);
	if (write) {
		assert_int_equal(fwrite(text.data, 1, text.len, f), text.len);
		fclose(f);
		return;
	}
	char *page = calloc(1, text.len + 2);
	size_t n = fread(page, 1, text.len + 1, f);
	fclose(f);
	assert_int_equal(n, text.len);
	assert_memory_equal(page, text.data, n);
	free(page);
}

static bool is_metric(const char *name, size_t len)
{
	static const char *const suffixes[] = {"", "_bucket", "_sum", "_count"};
	static const char *const names[] = {
#define X(id, n, type, labels, help) n,
	    KVEIL_METRIC_TABLE(X)
#undef X
		"kveil_dead_letters_waiting", /* not of a worker: `kveil dead-letters list --metrics` prints it */
	};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (size_t s = 0; s < sizeof suffixes / sizeof *suffixes; s++) {
			size_t n = strlen(names[i]);
			if (len == n + strlen(suffixes[s]) && strncmp(name, names[i], n) == 0 &&
			    strncmp(name + n, suffixes[s], len - n) == 0)
				return true;
		}
	return false;
}

/* Every metric that the pages and the alerts speak of is there; and promtool takes the alerts. */
static void test_docs_name_true_metrics(void **state)
{
	static const char *const pages[] = {"deploy/prometheus/alerts.yaml", "docs/observability.md"};
	const char *top = getenv("KVEIL_SOURCE_DIR");
	char path[1024], command[1200];
	static char page[65536];

	(void)state;
	if (!top)
		skip();
	for (size_t i = 0; i < sizeof pages / sizeof *pages; i++) {
		snprintf(path, sizeof path, "%s/%s", top, pages[i]);
		FILE *f = fopen(path, "r");
		assert_non_null(f);
		page[fread(page, 1, sizeof page - 1, f)] = 0;
		fclose(f);
		size_t found = 0;
		for (const char *at = page; (at = strstr(at, "kveil_")); found++) {
			size_t len = strspn(at, "abcdefghijklmnopqrstuvwxyz_");
			if (!is_metric(at, len))
				fail_msg("%s: no metric '%.*s'", pages[i], (int)len, at);
			at += len;
		}
		assert_true(found > 5);
	}
	if (access("/usr/bin/promtool", X_OK) != 0)
		return;
	snprintf(command, sizeof command, "/usr/bin/promtool check rules '%s/deploy/prometheus/alerts.yaml' >&2", top);
	assert_int_equal(system(command), 0);
}

static int clear_text(void **state)
{
	(void)state;
	kveil_buf_clear(&text);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_counters_stand_at_zero),
	    cmocka_unit_test(test_cells_with_the_same_labels_are_summed),
	    cmocka_unit_test(test_labels_are_escaped),
	    cmocka_unit_test(test_labels_stay_utf8),
	    cmocka_unit_test(test_series_are_bounded),
	    cmocka_unit_test(test_topics_leave_room_for_lag),
	    cmocka_unit_test(test_released_series_make_room),
	    cmocka_unit_test(test_histogram),
	    cmocka_unit_test(test_promtool_accepts_it),
	    cmocka_unit_test(test_json_holds_the_same),
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_docs_are_of_this_table),
	    cmocka_unit_test(test_docs_name_true_metrics),
	};

	return cmocka_run_group_tests(tests, NULL, clear_text);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The worker against the mock cluster: the main job, dead letters, refused batches, brokers that go away, restarts. */
#include "base/clock.h"
#include "base/log.h"
#include "crypto/crypto.h"
#include "kafka/mock.h"
#include "worker/dead_letter.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 30000, PARTITIONS = 3 };

static const char rules[] = "name: orders\n"
			    "topics: [in]\n"
			    "format: json\n"
			    "fields:\n"
			    "  - {path: \"$.p\", mask: {}}\n";

/* A cluster, a service and what both need. */
struct world {
	struct kveil_mock *mock;
	struct kveil_mock_writer *writer;
	struct kveil_config config;
	struct kveil_keystore *keys;
	struct kveil_plan_set *plans;
	struct kveil_metrics *metrics;
	struct kveil_health *health;
	struct kveil_service *service;
	char folder[64], file[96];
	uint8_t *seen; /* how often each record number arrived */
	bool in_order; /* nothing makes the broker refuse records that others follow */
};

static struct kveil_plan_set *load(struct world *w, const char *text)
{
	struct kveil_report report = {0};
	const char *sources[] = {w->file, NULL};

	FILE *f = fopen(w->file, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	struct kveil_plan_set *set = kveil_plan_set_load(sources, "{topic}.dead", w->keys, &report);
	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	assert_non_null(set);
	return set;
}

static void start(struct world *w)
{
	struct kveil_error err;
	struct kveil_service_params params = {&w->config, w->keys, w->plans, w->metrics, w->health};

	assert_int_equal(kveil_service_start(&params, &w->service, &err), KVEIL_OK);
}

static void stop(struct world *w)
{
	struct kveil_error err;

	assert_int_equal(kveil_service_stop(w->service, &err), KVEIL_OK);
	w->service = NULL;
}

static void set_config(struct world *w, unsigned workers)
{
	struct kveil_config *c = &w->config;
	/* The mock cluster gives a rebalance the whole session timeout. */
	static char session[] = "session.timeout.ms", session_ms[] = "3000", beat[] = "heartbeat.interval.ms",
		    beat_ms[] = "300";
	static char *names[] = {session, beat}, *values[] = {session_ms, beat_ms};
	static char group[] = "kveil-test", dead[] = "{topic}.dead", key[] = "dead-letters";

	c->kafka.bootstrap_servers = (char *)(uintptr_t)kveil_mock_bootstrap_servers(w->mock);
	c->kafka.group_id = group;
	c->kafka.consumer = (struct kveil_string_map){.names = names, .values = values, .count = 2};
	c->commit_interval_ms = 100;
	c->workers = workers;
	c->dead_letter.topic = dead;
	c->dead_letter.key = key;
	c->limits.memory_bytes = 192 * 1024 * 1024;
	c->limits.record_bytes = 8 * 1024 * 1024;
	c->limits.depth = 128;
}

static struct world *new_world(const char *text, unsigned workers, const char *const *topics)
{
	struct world *w = calloc(1, sizeof *w);
	struct kveil_error err;

	assert_non_null(w);
	assert_int_equal(kveil_mock_new(1, &w->mock, &err), KVEIL_OK);
	for (; *topics; topics++)
		assert_int_equal(kveil_mock_create_topic(w->mock, *topics, PARTITIONS, &err), KVEIL_OK);
	set_config(w, workers);
	assert_int_equal(kveil_keystore_new_demo(&w->keys, &err), KVEIL_OK);
	snprintf(w->folder, sizeof w->folder, "/tmp/kveil-test-XXXXXX");
	assert_non_null(mkdtemp(w->folder));
	snprintf(w->file, sizeof w->file, "%s/orders.yaml", w->folder);
	w->plans = load(w, text);
	w->metrics = kveil_metrics_new();
	w->health = kveil_health_new();
	assert_int_equal(kveil_mock_writer_new(w->mock, &w->writer, &err), KVEIL_OK);
	return w;
}

static void free_world(struct world *w)
{
	if (w->service)
		stop(w);
	kveil_mock_writer_free(w->writer);
	kveil_plan_set_unref(w->plans);
	kveil_keystore_unref(w->keys);
	kveil_health_free(w->health);
	kveil_metrics_free(w->metrics);
	kveil_mock_free(w->mock);
	remove(w->file);
	remove(w->folder);
	free(w->seen);
	free(w);
}

static const char *const all_topics[] = {"in", "in.secure", "in.dead", NULL};

static void write_record(struct world *w, int partition, const struct kveil_record *r)
{
	struct kveil_error err;

	while (kveil_mock_write(w->writer, "in", partition, r, &err) != KVEIL_OK) {
		assert_int_equal(kveil_status_class(err.status), KVEIL_CLASS_RETRY);
		kveil_mock_writer_poll(w->writer, 10, false);
	}
}

/* Records number from … to-1, spread over the partitions. */
static void write_numbers(struct world *w, unsigned from, unsigned to)
{
	char text[64];

	for (unsigned i = from; i < to; i++) {
		struct kveil_record r = {
		    .value =
			kveil_span_of(text, (size_t)snprintf(text, sizeof text, "{\"n\":%u,\"p\":\"secret\"}", i))};
		write_record(w, (int)(i % PARTITIONS), &r);
	}
	assert_int_equal(kveil_mock_writer_poll(w->writer, WAIT_MS, true), 0);
}

static struct kveil_mock_reader *read_topic(struct world *w, const char *topic)
{
	const char *const topics[] = {topic, NULL};
	struct kveil_mock_reader *r;
	struct kveil_error err;

	assert_int_equal(kveil_mock_reader_new(w->mock, topics, PARTITIONS, &r, &err), KVEIL_OK);
	return r;
}

/* Reads until each of `count` numbers has come; gives how many messages that took. Every one must be masked, and where
 * no fault makes gaps (in_order), each must come for the first time behind the one before it in its partition. */
static size_t expect_numbers(struct world *w, struct kveil_mock_reader *r, unsigned count)
{
	struct kveil_mock_message m;
	unsigned missing = count;
	size_t messages = 0;
	unsigned next[PARTITIONS];
	int64_t end = kveil_clock_mono_ms() + WAIT_MS;

	for (unsigned p = 0; p < PARTITIONS; p++)
		next[p] = p;
	free(w->seen);
	w->seen = calloc(count, 1);
	while (missing && kveil_clock_mono_ms() < end) {
		if (!kveil_mock_read(r, 100, &m))
			continue;
		char text[64] = "";
		unsigned n;
		assert_true(m.record.value.len < sizeof text);
		memcpy(text, m.record.value.data, m.record.value.len);
		assert_int_equal(sscanf(text, "{\"n\":%u,", &n), 1);
		assert_non_null(strstr(text, "\"p\":\"******\""));
		assert_true(n < count);
		assert_int_equal(m.partition, n % PARTITIONS);
		if (!w->seen[n]) {
			if (w->in_order)
				assert_int_equal(n, next[m.partition]);
			next[m.partition] += PARTITIONS;
			w->seen[n] = 1;
			missing--;
		}
		messages++;
	}
	assert_int_equal(missing, 0);
	return messages;
}

static bool becomes_ready(struct world *w)
{
	int64_t end = kveil_clock_mono_ms() + WAIT_MS;

	while (!kveil_health_ready(w->health, NULL) && kveil_clock_mono_ms() < end)
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	return kveil_health_ready(w->health, NULL);
}

static bool not_ready_because(struct world *w, const char *word)
{
	int64_t end = kveil_clock_mono_ms() + WAIT_MS;
	KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;

	while (kveil_clock_mono_ms() < end) {
		kveil_buf_reset(&why);
		if (!kveil_health_ready(w->health, &why) && strstr(kveil_buf_cstr(&why), word))
			return true;
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	fprintf(stderr, "not there: %s in: %s\n", word, kveil_buf_cstr(&why));
	return false;
}

/* With one worker each record comes once. With two the mock's coordinator may forget a rebalance and give a partition
 * to both, or take it from a commit: what was read then comes again, as at-least-once may. That a clean stop repeats
 * nothing whatever the workers is proved on a real broker (tests/integration/test_run.py). */
static void main_job_and_restart(unsigned workers)
{
	struct world *w = new_world(rules, workers, all_topics);
	bool is_exact = workers == 1;
	w->in_order = true;
#define COUNTED(count, expected) assert_true(is_exact ? (count) == (expected) : (count) >= (expected))
	struct kveil_mock_reader *r = read_topic(w, "in.secure");

	start(w);
	write_numbers(w, 0, 3000);
	COUNTED(expect_numbers(w, r, 3000), 3000);
	assert_true(becomes_ready(w));
	COUNTED(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_CONSUMED), 3000);
	int64_t begin = kveil_clock_mono_ms();
	stop(w);
	assert_true(kveil_clock_mono_ms() - begin < 5000);
	COUNTED(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_PRODUCED), 3000);
	COUNTED(kveil_metrics_sum(w->metrics, KVEIL_M_RULE_MATCHES), 3000);
	/* A clean stop has committed everything: the next start repeats nothing. */
	write_numbers(w, 3000, 3300);
	kveil_health_free(w->health);
	w->health = kveil_health_new();
	start(w);
	kveil_mock_reader_free(r);
	r = read_topic(w, "in.secure");
	COUNTED(expect_numbers(w, r, 3300), 3300);
#undef COUNTED
	kveil_mock_reader_free(r);
	free_world(w);
}

static void one_worker_and_restart(void **state)
{
	(void)state;
	main_job_and_restart(1);
}

static void two_workers_and_restart(void **state)
{
	(void)state;
	main_job_and_restart(2);
}

static void keeps_what_no_rule_names(void **state)
{
	(void)state;
	struct world *w = new_world(rules, 1, all_topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");
	struct kveil_mock_message m;
	static const struct kveil_header headers[] = {
	    {{(const uint8_t *)"a", 1}, {(const uint8_t *)"1", 1}},
	    {{(const uint8_t *)"b", 1}, {NULL, 0}},
	    {{(const uint8_t *)"a", 1}, {(const uint8_t *)"", 0}},
	};
	const struct kveil_record records[] = {
	    {KVEIL_SPAN("\0\xff"), KVEIL_SPAN("{\"p\" : \"x\"}"), headers, 3},
	    {KVEIL_SPAN(""), KVEIL_SPAN_NULL, NULL, 0},
	    {KVEIL_SPAN_NULL, KVEIL_SPAN("{}"), headers, 1},
	};

	start(w);
	for (size_t i = 0; i < 3; i++)
		write_record(w, 1, &records[i]);
	for (size_t i = 0; i < 3; i++) {
		assert_true(kveil_mock_read(r, WAIT_MS, &m));
		assert_int_equal(m.partition, 1);
		assert_int_equal(m.record.key.data == NULL, records[i].key.data == NULL);
		assert_true(kveil_span_eq(m.record.key, records[i].key));
		assert_int_equal(m.record.value.data == NULL, records[i].value.data == NULL);
		assert_true(kveil_span_eq(m.record.value, i == 0 ? KVEIL_SPAN("{\"p\" : \"*\"}") : records[i].value));
		assert_int_equal(m.record.header_count, records[i].header_count);
		for (size_t h = 0; h < m.record.header_count; h++) {
			assert_true(kveil_span_eq(m.record.headers[h].name, headers[h].name));
			assert_int_equal(m.record.headers[h].value.data == NULL, headers[h].value.data == NULL);
			assert_true(kveil_span_eq(m.record.headers[h].value, headers[h].value));
		}
	}
	kveil_mock_reader_free(r);
	free_world(w);
}

static void dead_letters_are_sealed_and_pass(void **state)
{
	(void)state;
	struct world *w = new_world(rules, 1, all_topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure"), *dead = read_topic(w, "in.dead");
	struct kveil_mock_message m;
	struct kveil_record bad = {KVEIL_SPAN("k"), KVEIL_SPAN("{\"canary\":"), NULL, 0};

	start(w);
	write_record(w, 0, &bad);
	write_numbers(w, 0, 30);
	assert_int_equal(expect_numbers(w, r, 30), 30);
	assert_true(kveil_mock_read(dead, WAIT_MS, &m));
	assert_null(m.record.key.data);
	assert_null(memmem(m.record.value.data, m.record.value.len, "canary", 6));
	struct kveil_keyring *ring;
	struct kveil_key *key;
	struct kveil_error err;
	struct kveil_dead_letter letter = {0};
	assert_int_equal(kveil_keyring_new(w->keys, &ring, &err), KVEIL_OK);
	assert_int_equal(kveil_keyring_key(ring, KVEIL_SPAN("dead-letters"), KVEIL_USE_OPEN, &key, &err), KVEIL_OK);
	assert_int_equal(
	    kveil_dead_letter_open(key, m.record.headers, m.record.header_count, m.record.value, &letter, &err),
	    KVEIL_OK);
	assert_string_equal(letter.topic, "in");
	assert_string_equal(letter.code, "invalid_json");
	assert_int_equal(letter.offset, 0);
	assert_true(kveil_span_eq(letter.record.value, bad.value));
	assert_true(kveil_span_eq(letter.record.key, bad.key));
	kveil_dead_letter_clear(&letter);
	kveil_keyring_free(ring);
	stop(w);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_DEAD_LETTERED) == 1);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_FAILED) == 1);
	kveil_mock_reader_free(r);
	kveil_mock_reader_free(dead);
	free_world(w);
}

/* A batch that is refused whole is sent again one by one; nobody in it is at fault, so nothing is dead-lettered. */
static void refuse_one_batch(int16_t code)
{
	struct world *w = new_world(rules, 1, all_topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");

	write_numbers(w, 0, 900);
	/* Once only: a second refusal may strike a record sent alone, which is then rightly a dead letter. */
	kveil_mock_fail_produce(w->mock, &code, 1);
	start(w);
	assert_true(expect_numbers(w, r, 900) >= 900);
	stop(w);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_REWINDS) >= 1);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_FAILED) == 0);
	kveil_mock_reader_free(r);
	free_world(w);
}

/* The client asks again for ever and says it once: the probe must say it as long as nothing comes. */
static void a_fetch_that_is_not_allowed_is_said(void **state)
{
	(void)state;
	struct world *w = new_world(rules, 1, all_topics);
	const int16_t code = 29; /* TOPIC_AUTHORIZATION_FAILED */

	start(w);
	assert_true(becomes_ready(w));
	/* An answer to a request that a new assignment has overtaken is dropped, and this with it. */
	for (int i = 0; kveil_metrics_sum(w->metrics, KVEIL_M_FETCH_ERRORS) < 1 && i < WAIT_MS / 500; i++) {
		kveil_mock_fail_fetch(w->mock, &code, 1);
		nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
	}
	assert_true(not_ready_because(w, "fetch in["));
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_FETCH_ERRORS) >= 1);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");
	write_numbers(w, 0, 300);
	assert_true(expect_numbers(w, r, 300) >= 300);
	assert_true(becomes_ready(w));
	kveil_mock_reader_free(r);
	free_world(w);
}

/* It forgets the offsets of transactions: nobody is to take it for a cluster that keeps the promise. */
static void exactly_once_is_refused_here(void **state)
{
	(void)state;
	struct world *w = new_world(rules, 1, all_topics);
	struct kveil_error err = {0};

	w->config.delivery = KVEIL_DELIVERY_EXACTLY_ONCE;
	w->config.transaction.bytes = 1 << 20;
	start(w);
	for (int i = 0; !kveil_service_failed(w->service, &err) && i < WAIT_MS / 100; i++)
		nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	assert_int_equal(err.status, KVEIL_E_CONFIG);
	assert_non_null(strstr(err.message, "mock cluster"));
	assert_int_equal(kveil_service_stop(w->service, &err), KVEIL_E_CONFIG);
	w->service = NULL;
	free_world(w);
}

static void a_refused_batch_loses_nothing(void **state)
{
	(void)state;
	refuse_one_batch(10); /* MESSAGE_TOO_LARGE */
	refuse_one_batch(32); /* INVALID_TIMESTAMP */
}

/* What is unknown to us or fatal makes a new producer, not an exit. */
static void an_unknown_producer_error_is_survived(void **state)
{
	(void)state;
	struct world *w = new_world(rules, 1, all_topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");
	static const int16_t codes[] = {42, 42}; /* INVALID_REQUEST */

	write_numbers(w, 0, 300);
	kveil_mock_fail_produce(w->mock, codes, 2);
	start(w);
	assert_true(expect_numbers(w, r, 300) >= 300);
	stop(w);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_FAILED) == 0);
	kveil_mock_reader_free(r);
	free_world(w);
}

static void brokers_go_away_and_come_back(void **state)
{
	(void)state;
	struct world *w = new_world(rules, 1, all_topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");

	kveil_mock_set_up(w->mock, false);
	start(w);
	assert_true(not_ready_because(w, "no broker answers"));
	assert_true(kveil_health_live(w->health, NULL));
	kveil_mock_set_up(w->mock, true);
	write_numbers(w, 0, 600);
	assert_int_equal(expect_numbers(w, r, 600), 600);
	kveil_mock_set_up(w->mock, false);
	nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	kveil_mock_set_up(w->mock, true);
	write_numbers(w, 600, 900);
	kveil_mock_reader_free(r);
	r = read_topic(w, "in.secure");
	assert_true(expect_numbers(w, r, 900) >= 900);
	assert_true(becomes_ready(w));
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_DEAD_LETTERED) == 0);
	kveil_mock_reader_free(r);
	free_world(w);
}

/* Whatever ends the wait for keys, here new rules and topics again and again: no record is taken before they are back.
 */
static void nothing_is_taken_while_keys_refuse(void **state)
{
	(void)state;
	static const char *const topics[] = {"in", "in.secure", "in.dead", "more", "more.secure", "more.dead", NULL};
	static const char more_rules[] = "name: orders\n"
					 "topics: [in, more]\n"
					 "format: json\n"
					 "fields:\n"
					 "  - {path: \"$.p\", mask: {}}\n";
	struct world *w = new_world(rules, 1, topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");
	struct kveil_mock_message m;

	start(w);
	write_numbers(w, 0, 300);
	assert_int_equal(expect_numbers(w, r, 300), 300);
	kveil_keystore_demo_custodian(w->keys, false);
	assert_true(not_ready_because(w, "the key custodian was taken away"));
	double consumed = kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_CONSUMED);
	write_numbers(w, 300, 600);
	for (int i = 0; i < 6; i++) {
		struct kveil_plan_set *news = load(w, i % 2 ? rules : more_rules);
		kveil_service_set_plans(w->service, news);
		kveil_plan_set_unref(news);
		assert_false(kveil_mock_read(r, 500, &m));
	}
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_CONSUMED) == consumed);
	assert_true(kveil_health_live(w->health, NULL));
	kveil_keystore_demo_custodian(w->keys, true);
	kveil_mock_reader_free(r);
	r = read_topic(w, "in.secure");
	assert_true(expect_numbers(w, r, 600) >= 600);
	assert_true(becomes_ready(w));
	stop(w);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_DEAD_LETTERED) == 0);
	kveil_mock_reader_free(r);
	free_world(w);
}

static void waits_for_topics_and_names_them(void **state)
{
	(void)state;
	static const char *const some[] = {"in", NULL};
	struct world *w = new_world(rules, 1, some);
	struct kveil_error err;

	start(w);
	assert_true(not_ready_because(w, "in.secure of in does not exist"));
	assert_int_equal(kveil_mock_create_topic(w->mock, "in.secure", 1, &err), KVEIL_OK);
	assert_true(not_ready_because(w, "has 1 partitions"));
	assert_int_equal(kveil_mock_create_topic(w->mock, "in.dead", 1, &err), KVEIL_OK);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_CONSUMED) == 0);
	free_world(w);
}

static void on_error_stop_keeps_the_position(void **state)
{
	(void)state;
	struct world *w = new_world("name: orders\ntopics: [in]\nformat: json\non_error: stop\nfields:\n"
				    "  - {path: \"$.p\", mask: {}}\n",
				    1, all_topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");
	struct kveil_record bad = {.value = KVEIL_SPAN("bad")};

	start(w);
	write_numbers(w, 0, 3);
	assert_int_equal(expect_numbers(w, r, 3), 3);
	write_record(w, 0, &bad);
	assert_true(not_ready_because(w, "invalid_json"));
	write_numbers(w, 3, 6);
	/* The others go on; this partition stands before its bad record. */
	struct kveil_mock_message m;
	for (int i = 0; i < 2; i++) {
		assert_true(kveil_mock_read(r, WAIT_MS, &m));
		assert_int_not_equal(m.partition, 0);
	}
	assert_false(kveil_mock_read(r, 300, &m));
	/* New rules may help it: here they do not, and it stands again. */
	struct kveil_plan_set *same = load(w, "name: orders\ntopics: [in]\nformat: json\non_error: drop\nfields:\n"
					      "  - {path: \"$.p\", mask: {}}\n");
	kveil_service_set_plans(w->service, same);
	kveil_plan_set_unref(same);
	assert_true(kveil_mock_read(r, WAIT_MS, &m));
	assert_int_equal(m.partition, 0);
	assert_true(becomes_ready(w));
	stop(w);
	assert_true(kveil_metrics_sum(w->metrics, KVEIL_M_RECORDS_DROPPED) == 1);
	kveil_mock_reader_free(r);
	free_world(w);
}

/* A member without partitions is ready: another has them. */
static void more_workers_than_partitions_are_ready(void **state)
{
	(void)state;
	struct world *w = new_world(rules, PARTITIONS + 1, all_topics);

	start(w);
	assert_true(becomes_ready(w));
	free_world(w);
}

/* Records in flight to brokers that do not answer: the stop gives them up in time, and loses nothing. */
static void stops_in_time_without_brokers(void **state)
{
	(void)state;
	struct world *w = new_world(rules, 1, all_topics);
	struct kveil_mock_reader *r = read_topic(w, "in.secure");

	start(w);
	write_numbers(w, 0, 300);
	assert_int_equal(expect_numbers(w, r, 300), 300);
	write_numbers(w, 300, 600);
	kveil_mock_set_up(w->mock, false);
	int64_t begin = kveil_clock_mono_ms();
	stop(w);
	assert_true(kveil_clock_mono_ms() - begin < 14000);
	kveil_mock_set_up(w->mock, true);
	kveil_health_free(w->health);
	w->health = kveil_health_new();
	start(w);
	kveil_mock_reader_free(r);
	r = read_topic(w, "in.secure");
	assert_true(expect_numbers(w, r, 600) >= 600);
	kveil_mock_reader_free(r);
	free_world(w);
}

/* The mock cluster takes its time with groups (3 s for the first member): the tests run side by side, a process each.
 */
int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_worker_and_restart),
	    cmocka_unit_test(two_workers_and_restart),
	    cmocka_unit_test(keeps_what_no_rule_names),
	    cmocka_unit_test(dead_letters_are_sealed_and_pass),
	    cmocka_unit_test(a_fetch_that_is_not_allowed_is_said),
	    cmocka_unit_test(exactly_once_is_refused_here),
	    cmocka_unit_test(a_refused_batch_loses_nothing),
	    cmocka_unit_test(an_unknown_producer_error_is_survived),
	    cmocka_unit_test(brokers_go_away_and_come_back),
	    cmocka_unit_test(nothing_is_taken_while_keys_refuse),
	    cmocka_unit_test(waits_for_topics_and_names_them),
	    cmocka_unit_test(on_error_stop_keeps_the_position),
	    cmocka_unit_test(more_workers_than_partitions_are_ready),
	    cmocka_unit_test(stops_in_time_without_brokers),
	};
	enum { COUNT = sizeof tests / sizeof tests[0] };
	pid_t children[COUNT];
	struct kveil_error err;
	int failed = 0;

	for (size_t i = 0; i < COUNT; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			const struct CMUnitTest one[] = {tests[i]};
			exit(kveil_crypto_init(&err) || cmocka_run_group_tests(one, NULL, NULL));
		}
	}
	for (size_t i = 0; i < COUNT; i++) {
		int status;
		failed += children[i] < 0 || waitpid(children[i], &status, 0) < 0 || status != 0;
	}
	printf("%d of %d failed\n", failed, COUNT);
	return failed != 0;
}

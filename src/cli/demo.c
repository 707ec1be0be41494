/* SPDX-License-Identifier: Apache-2.0 */
/* The demo's scenes: producer, worker and check side by side. */
#include "cli/demo.h"

#include "base/clock.h"
#include "cli/demo_poison.h"
#include "cli/demo_stage.h"
#include "demo_rules.h"
#include "http/side_port.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	PARTITIONS = 4,
	/* Orders that may be under way: far less than what the mock cluster keeps of four partitions. */
	UNDER_WAY_MAX = 4000,
	SEEN = 1 << 16, /* orders whose arrival is remembered; a power of two, far more than may be under way */
	POISONS = 32,   /* poisons whose clear values are looked for in dead letters */
	KEY_IDS = 64,
	EVENTS = 64,
	SAMPLE_MS = 1000,      /* one record shown each second */
	STOPPED_MS = 1000,     /* no order was sent for so long */
	BEHIND_NS = 500000000, /* what could not be sent for so long is not caught up with */
	/* The mock cluster answers a fetch with one batch a partition: orders that came one by one would be read one by
	 * one. So they go out in bursts. */
	BURST_NS = 50000000,
};
static const char side_address[] = "127.0.0.1:9819";

enum arrival { NOT_SENT, UNDER_WAY, ARRIVED };

struct kveil_demo {
	struct kveil_demo_params params;
	uint64_t seed;
	struct kveil_demo_stage stage;
	struct kveil_demo_check *check;
	struct kveil_side_port *side_port;

	pthread_t feed_thread, read_thread;
	bool feeding, reading; /* threads were started */
	_Atomic bool stop_feed, stop_read;
	_Atomic uint64_t poisons_wanted;
	bool custodian_up;

	/* Written by one thread each, read by all. */
	_Atomic uint64_t sent, poisoned;                                            /* feed */
	_Atomic uint64_t arrived, dead_letters, duplicates, problems, output_bytes; /* reader */
	_Atomic uint8_t seen[SEEN];
	uint64_t rate_arrived;
	int64_t rate_ms;
	double rate, rates[KVEIL_DEMO_RATES];
	size_t rate_count;
	bool was_ready;
	uint64_t sent_seen; /* and since when it is so many */
	int64_t sent_ms;
	bool was_stopped;

	/* What the reader and the feed tell the screen. */
	pthread_mutex_t lock;
	struct kveil_demo_finding sample;
	uint8_t sample_output[4096];
	size_t sample_len;
	int64_t sample_ms;
	uint32_t key_ids[KEY_IDS];
	size_t key_id_count;
	int64_t key_ms;
	uint64_t poison_numbers[POISONS];
	char first_problem[KVEIL_DEMO_TEXT];
	char events[EVENTS][KVEIL_DEMO_TEXT];
	uint64_t event_count;
};

void kveil_demo_note(struct kveil_demo *d, const char *fmt, ...)
{
	time_t now = time(NULL);
	struct tm tm;
	va_list args;

	localtime_r(&now, &tm);
	pthread_mutex_lock(&d->lock);
	char *text = d->events[d->event_count++ % EVENTS];
	size_t n = strftime(text, KVEIL_DEMO_TEXT, "%H:%M:%S ", &tm);
	va_start(args, fmt);
	vsnprintf(text + n, KVEIL_DEMO_TEXT - n, fmt, args);
	va_end(args);
	pthread_mutex_unlock(&d->lock);
}

bool kveil_demo_next_event(struct kveil_demo *d, uint64_t *cursor, char text[KVEIL_DEMO_TEXT])
{
	pthread_mutex_lock(&d->lock);
	bool more = *cursor < d->event_count;
	if (more) {
		if (d->event_count - *cursor > EVENTS)
			*cursor = d->event_count - EVENTS;
		memcpy(text, d->events[(*cursor)++ % EVENTS], KVEIL_DEMO_TEXT);
	}
	pthread_mutex_unlock(&d->lock);
	return more;
}

/* --- the feed --- */

static bool write_record(struct kveil_demo *d, const struct kveil_record *record, uint64_t number)
{
	struct kveil_error err;

	while (kveil_mock_write(d->stage.writer, d->stage.input, (int)(number % PARTITIONS), record, &err) !=
	       KVEIL_OK) {
		if (err.status != KVEIL_E_KAFKA_UNAVAILABLE || d->stop_feed) {
			if (!d->stop_feed)
				kveil_demo_note(d, "the feed cannot write: %s", err.message);
			return false;
		}
		kveil_mock_writer_poll(d->stage.writer, 10, false);
	}
	return true;
}

static void send_order(struct kveil_demo *d)
{
	uint64_t number = d->sent;
	struct kveil_order order;

	kveil_order_make(d->seed, number, &order);
	d->seen[number % SEEN] = UNDER_WAY;
	d->sent = number + 1;
	const struct kveil_record record = {.key = kveil_span_str(order.key),
					    .value = kveil_span_of(order.value, order.value_len)};
	if (!write_record(d, &record, number))
		d->stop_feed = true;
}

static void send_poison(struct kveil_demo *d)
{
	/* Orders that are never sent whole. */
	uint64_t n = d->poisoned, number = 9000000000 + n;
	uint8_t value[KVEIL_ORDER_BYTES_MAX];
	struct kveil_order order;
	size_t len;

	kveil_order_make(d->seed, number, &order);
	const char *what = kveil_demo_poison(n, &order, value, &len);
	const struct kveil_record record = {.key = kveil_span_str(order.key), .value = kveil_span_of(value, len)};
	pthread_mutex_lock(&d->lock);
	d->poison_numbers[n % POISONS] = number;
	pthread_mutex_unlock(&d->lock);
	kveil_demo_note(d, "sent %s", what);
	d->poisoned = n + 1;
	write_record(d, &record, n);
}

static bool may_send(const struct kveil_demo *d)
{
	return (!d->params.limit || d->sent < d->params.limit) && d->sent - d->arrived < UNDER_WAY_MAX;
}

static void *feed(void *arg)
{
	struct kveil_demo *d = arg;
	int64_t step_ns = d->params.rate ? 1000000000 / (int64_t)d->params.rate : 0;
	bool burst = false;

	/* While the group settles, records would only be read twice. */
	while (!d->stop_feed && !kveil_health_ready(d->stage.health, NULL))
		kveil_mock_writer_poll(d->stage.writer, 20, false);
	for (int64_t due_ns = kveil_clock_mono_ns(); !d->stop_feed;) {
		int64_t now = kveil_clock_mono_ns();
		if (now - due_ns > BEHIND_NS)
			due_ns = now - BEHIND_NS;
		burst = may_send(d) && now >= due_ns + (burst || !step_ns ? 0 : BURST_NS);
		if (burst) {
			send_order(d);
			due_ns += step_ns;
		}
		if (d->poisons_wanted > d->poisoned)
			send_poison(d);
		if (!burst || d->sent % 128 == 0)
			kveil_mock_writer_poll(d->stage.writer, burst ? 0 : 2, false);
	}
	return NULL;
}

/* --- the reader --- */

static void note_problem(struct kveil_demo *d, const char *text)
{
	if (d->problems++ < 3)
		kveil_demo_note(d, "WRONG: %s", text);
	pthread_mutex_lock(&d->lock);
	if (!d->first_problem[0])
		snprintf(d->first_problem, sizeof d->first_problem, "%s", text);
	pthread_mutex_unlock(&d->lock);
}

/* Is this the first output under that key? Returns the id before, 0 = none. */
static bool is_new_key(struct kveil_demo *d, uint32_t id, uint32_t *ret_before)
{
	for (size_t i = 0; i < d->key_id_count; i++)
		if (d->key_ids[i] == id)
			return false;
	*ret_before = d->key_id_count ? d->key_ids[d->key_id_count - 1] : 0;
	if (d->key_id_count == KEY_IDS)
		memmove(d->key_ids, d->key_ids + 1, sizeof d->key_ids - sizeof *d->key_ids), d->key_id_count--;
	d->key_ids[d->key_id_count++] = id;
	d->key_ms = kveil_clock_mono_ms();
	return true;
}

static void keep_sample(struct kveil_demo *d, const struct kveil_demo_finding *f, struct kveil_span output)
{
	uint32_t before;

	pthread_mutex_lock(&d->lock);
	bool fresh = is_new_key(d, f->key_id, &before);
	int64_t now = kveil_clock_mono_ms();
	if ((fresh || now - d->sample_ms >= SAMPLE_MS) && output.len <= sizeof d->sample_output) {
		d->sample = *f;
		memcpy(d->sample_output, output.data, output.len);
		d->sample_len = output.len;
		d->sample_ms = now;
	}
	pthread_mutex_unlock(&d->lock);
	if (fresh && before)
		kveil_demo_note(d, "outputs: key id %u; what %u sealed still opens", f->key_id, before);
}

static void take_output(struct kveil_demo *d, const struct kveil_mock_message *m)
{
	struct kveil_demo_finding f;

	d->output_bytes += m->record.value.len + m->record.key.len;
	if (!kveil_demo_check_record(d->check, &m->record, &f)) {
		note_problem(d, f.problem);
		if (!kveil_order_number(m->record.key, &f.number))
			return;
	} else
		keep_sample(d, &f, m->record.value);
	_Atomic uint8_t *seen = &d->seen[f.number % SEEN];
	if (f.number < d->sent && *seen == UNDER_WAY) {
		*seen = ARRIVED;
		d->arrived++;
	} else
		d->duplicates++;
}

static struct kveil_span header(const struct kveil_record *r, const char *name)
{
	for (size_t i = 0; i < r->header_count; i++)
		if (kveil_span_eq(r->headers[i].name, kveil_span_str(name)) && r->headers[i].value.data)
			return r->headers[i].value;
	return KVEIL_SPAN("");
}

static bool letter_leaks(struct kveil_demo *d, const struct kveil_record *r)
{
	uint64_t numbers[POISONS], count = d->poisoned < POISONS ? d->poisoned : POISONS;
	struct kveil_order order;
	bool leaks = false;

	pthread_mutex_lock(&d->lock);
	memcpy(numbers, d->poison_numbers, sizeof numbers);
	pthread_mutex_unlock(&d->lock);
	for (size_t i = 0; i < count; i++) {
		kveil_order_make(d->seed, numbers[i], &order);
		leaks |= kveil_demo_leaks(&order, r->key) || kveil_demo_leaks(&order, r->value);
		for (size_t h = 0; h < r->header_count; h++)
			leaks |= kveil_demo_leaks(&order, r->headers[h].value);
	}
	return leaks;
}

static void take_dead_letter(struct kveil_demo *d, const struct kveil_mock_message *m)
{
	struct kveil_span code = header(&m->record, "kveil.error.code"), rule = header(&m->record, "kveil.error.rule");
	struct kveil_span byte = header(&m->record, "kveil.error.byte");

	d->dead_letters++;
	if (letter_leaks(d, &m->record))
		note_problem(d, "a clear value stands in a dead letter");
	else
		kveil_demo_note(d, "dead letter, sealed: %.*s%s%.*s%s%.*s", (int)code.len, (const char *)code.data,
				byte.len ? " at byte " : "", (int)byte.len, (const char *)byte.data,
				rule.len ? " by " : "", (int)rule.len, (const char *)rule.data);
}

static void *read_outputs(void *arg)
{
	struct kveil_demo *d = arg;
	struct kveil_mock_message m;

	while (!d->stop_read)
		if (kveil_mock_read(d->stage.reader, 50, &m)) {
			if (strcmp(m.topic, d->stage.dead) == 0)
				take_dead_letter(d, &m);
			else
				take_output(d, &m);
		}
	return NULL;
}

/* --- start and stop --- */

/* The usual port, or any other where that one is taken (a kveil runs here already). */
static enum kveil_status open_side_port(struct kveil_demo *d, struct kveil_error *err)
{
	const struct kveil_http_places usual = {.listen = side_address}, other = {.listen = "127.0.0.1:0"};
	enum kveil_status status = kveil_side_port_start(&usual, d->stage.health, d->stage.metrics, &d->side_port, err);

	return status ? kveil_side_port_start(&other, d->stage.health, d->stage.metrics, &d->side_port, err) : status;
}

static enum kveil_status start_thread(pthread_t *thread, void *(*run)(void *), struct kveil_demo *d, bool *ret_started,
				      struct kveil_error *err)
{
	if (pthread_create(thread, NULL, run, d) != 0)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "cannot start a thread");
	*ret_started = true;
	return KVEIL_OK;
}

static enum kveil_status start_all(struct kveil_demo *d, struct kveil_error *err)
{
	const struct kveil_demo_stage_params params = {.rules = kveil_span_of(demo_rules, sizeof demo_rules),
						       .file = "orders.yaml",
						       .partitions = PARTITIONS,
						       .workers = d->params.workers};
	enum kveil_status status = kveil_demo_stage_set(&d->stage, &params, err);

	if (status == KVEIL_OK)
		status = kveil_demo_check_new(d->seed, d->stage.plans->plans[0], d->stage.keys, &d->check, err);
	if (status == KVEIL_OK)
		status = open_side_port(d, err);
	if (status == KVEIL_OK)
		status = kveil_demo_stage_run(&d->stage, err);
	if (status == KVEIL_OK)
		status = start_thread(&d->read_thread, read_outputs, d, &d->reading, err);
	if (status == KVEIL_OK)
		status = start_thread(&d->feed_thread, feed, d, &d->feeding, err);
	return status;
}

enum kveil_status kveil_demo_start(const struct kveil_demo_params *params, struct kveil_demo **ret,
				   struct kveil_error *err)
{
	struct kveil_demo *d = calloc(1, sizeof *d);

	if (!d)
		return kveil_no_memory(err, NULL);
	pthread_mutex_init(&d->lock, NULL);
	d->params = *params;
	d->seed = (uint64_t)kveil_clock_wall_ms();
	d->custodian_up = true;
	d->rate_ms = kveil_clock_mono_ms();
	enum kveil_status status = start_all(d, err);
	if (status == KVEIL_OK) {
		*ret = d;
		return KVEIL_OK;
	}
	struct kveil_error ignored;
	if (kveil_demo_stop(d, &ignored) != KVEIL_OK)
		return status; /* the first error is the one to tell */
	return status;
}

void kveil_demo_settle(struct kveil_demo *d, int timeout_ms)
{
	int64_t end = kveil_clock_mono_ms() + timeout_ms;

	kveil_keystore_demo_custodian(d->stage.keys, true); /* what is under way can then still be sealed */
	d->stop_feed = true;
	while (d->arrived < d->sent && kveil_clock_mono_ms() < end)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

enum kveil_status kveil_demo_stop(struct kveil_demo *d, struct kveil_error *err)
{
	if (!d)
		return KVEIL_OK;
	d->stop_feed = true;
	if (d->feeding)
		pthread_join(d->feed_thread, NULL);
	enum kveil_status status = kveil_demo_stage_stop(&d->stage, err);
	d->stop_read = true;
	if (d->reading)
		pthread_join(d->read_thread, NULL);
	kveil_side_port_stop(d->side_port);
	kveil_demo_check_free(d->check);
	kveil_demo_stage_clear(&d->stage);
	pthread_mutex_destroy(&d->lock);
	free(d);
	return status;
}

/* --- what is to be seen, and the keys --- */

/* Says in the list when it becomes ready or not. The reasons are cut to one line. */
static void look_at_health(struct kveil_demo *d, struct kveil_demo_view *v)
{
	KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;

	v->ready = kveil_health_ready(d->stage.health, &why);
	const char *text = kveil_buf_cstr(&why);
	snprintf(v->reasons, sizeof v->reasons, "%.*s", (int)strcspn(text, "\n"), text);
	if (v->ready != d->was_ready)
		kveil_demo_note(d, "%s%s", v->ready ? "ready: records flow" : "not ready: ", v->reasons);
	d->was_ready = v->ready;
}

static void look_at_rate(struct kveil_demo *d)
{
	int64_t now = kveil_clock_mono_ms(), passed = now - d->rate_ms;
	uint64_t arrived = d->arrived;

	if (passed < KVEIL_DEMO_RATE_MS)
		return;
	double fresh = (double)(arrived - d->rate_arrived) * 1000 / (double)passed;
	if (d->rate_count == KVEIL_DEMO_RATES)
		memmove(d->rates, d->rates + 1, sizeof d->rates - sizeof *d->rates), d->rate_count--;
	d->rates[d->rate_count++] = fresh;
	d->rate = d->rate > 0 && fresh > 0 ? d->rate * 0.5 + fresh * 0.5 : fresh;
	d->rate_ms = now;
	d->rate_arrived = arrived;
}

/* Why no order is sent. */
static const char *why_stopped(const struct kveil_demo *d, uint64_t under_way)
{
	if (d->stop_feed)
		return "the embedded broker takes no more";
	if (!d->sent)
		return "nothing flows yet";
	if (d->params.limit && d->sent >= d->params.limit)
		return "all are sent";
	if (under_way >= UNDER_WAY_MAX)
		return "the embedded broker would forget more; it goes on when they arrive";
	return "the embedded broker is slow";
}

static void look_at_sending(struct kveil_demo *d, struct kveil_demo_view *v)
{
	int64_t now = kveil_clock_mono_ms(), patience = STOPPED_MS;
	uint64_t sent = d->sent, under_way = sent - d->arrived;
	char count[32];

	if (d->params.rate)
		patience += 2000 / (int64_t)d->params.rate;
	if (sent != d->sent_seen || !d->sent_ms) {
		d->sent_seen = sent;
		d->sent_ms = now;
	}
	v->is_stopped = now - d->sent_ms >= patience;
	if (v->is_stopped)
		snprintf(v->sending, sizeof v->sending, "sending stopped, %s orders under way: %s",
			 kveil_demo_count(under_way, count), why_stopped(d, under_way));
	else if (d->params.rate)
		snprintf(v->sending, sizeof v->sending, "sending %s orders a second",
			 kveil_demo_count(d->params.rate, count));
	else
		snprintf(v->sending, sizeof v->sending, "sending orders as fast as they are read");
	if (v->is_stopped != d->was_stopped && sent)
		kveil_demo_note(d, "%s", v->sending);
	d->was_stopped = v->is_stopped && sent;
}

void kveil_demo_look(struct kveil_demo *d, struct kveil_demo_view *v)
{
	look_at_health(d, v);
	look_at_rate(d);
	look_at_sending(d, v);
	v->rate = d->rate;
	memcpy(v->rates, d->rates, sizeof v->rates);
	v->rate_count = d->rate_count;
	for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++)
		v->actions[i] = kveil_demo_field_action(d->check, i);
	v->sent = d->sent;
	v->arrived = d->arrived;
	v->lag = (double)(v->sent - v->arrived);
	v->dead_letters = d->dead_letters;
	v->problems = d->problems;
	v->workers = d->params.workers;
	v->input_topic = d->stage.input;
	v->output_topic = d->stage.output;
	v->key_name = kveil_demo_key_name(d->check);
	v->custodian_up = d->custodian_up;
	v->side_port = kveil_side_port_address(d->side_port);
	pthread_mutex_lock(&d->lock);
	v->sample = d->sample;
	memcpy(v->output, d->sample_output, d->sample_len);
	v->output_len = d->sample_len;
	v->key_id = d->key_id_count ? d->key_ids[d->key_id_count - 1] : 0;
	v->key_age_s = d->key_id_count ? (kveil_clock_mono_ms() - d->key_ms) / 1000 : 0;
	pthread_mutex_unlock(&d->lock);
}

bool kveil_demo_failed(struct kveil_demo *d, struct kveil_error *err)
{
	return kveil_service_failed(d->stage.service, err);
}

void kveil_demo_send_poison(struct kveil_demo *d)
{
	d->poisons_wanted++;
}

void kveil_demo_rotate(struct kveil_demo *d)
{
	struct kveil_error err;

	if (!d->custodian_up)
		kveil_demo_note(d, "no new version while the custodian is away: who would wrap it?");
	else if (kveil_keystore_rotate(d->stage.keys, kveil_span_str(kveil_demo_key_name(d->check)), 0, &err) ==
		 KVEIL_OK)
		kveil_demo_note(d, "key %s has a new version; nothing pauses", kveil_demo_key_name(d->check));
	else
		kveil_demo_note(d, "key %s: %s", kveil_demo_key_name(d->check), err.message);
}

void kveil_demo_toggle_custodian(struct kveil_demo *d)
{
	d->custodian_up = !d->custodian_up;
	kveil_keystore_demo_custodian(d->stage.keys, d->custodian_up);
	kveil_demo_note(d, "%s",
			d->custodian_up ? "the key custodian is back"
					: "the key custodian is away: nothing can be sealed, so nothing may pass");
}

void kveil_demo_tally(struct kveil_demo *d, struct kveil_demo_tally *t)
{
	*t = (struct kveil_demo_tally){.sent = d->sent,
				       .poisoned = d->poisoned,
				       .arrived = d->arrived,
				       .duplicates = d->duplicates,
				       .problems = d->problems,
				       .dead_letters = d->dead_letters,
				       .output_bytes = d->output_bytes};
	t->missing = t->sent - t->arrived;
	for (size_t i = 0; i < KVEIL_DEMO_FIELDS; i++)
		t->actions[i] = kveil_demo_field_action(d->check, i);
	pthread_mutex_lock(&d->lock);
	memcpy(t->first_problem, d->first_problem, sizeof t->first_problem);
	pthread_mutex_unlock(&d->lock);
}

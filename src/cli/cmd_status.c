/* SPDX-License-Identifier: Apache-2.0 */
/* kveil status: replicas by their side ports, as a table that lives, once, or as JSON. */
#include "cli/ask_side_port.h"

#include "base/clock.h"
#include "http/exposition.h"
#include "http/http_client.h"

#include <inttypes.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { TIMEOUT_MS = 2000, EVERY_MS = 2000, RATE_MS = 1000, MOST = 64, MOST_ROWS = 200 };

static int run(int argc, char **argv);

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE",
     "use http.socket, or else http.listen, of this kveil.yaml (default kveil.yaml, if it "
     "exists)"},
    {0, "once", NULL, "print once and exit (the default if the output is not a terminal)"},
    {0, "json", NULL, "print once, as JSON"},
    {0},
};

const struct kveil_command kveil_command_status = {
    .name = "status",
    .usage = "[--once | --json] [-c kveil.yaml | URL…]",
    .help = "show each replica: ready or why not, rates, lag, key ages, rules",
    .flags = flags,
    .run = run,
};

struct row {
	char name[128];
	double value, partitions;
};

struct rows {
	struct row rows[MOST_ROWS];
	size_t count;
};

/* What one replica says of itself at one moment. */
struct sample {
	bool answers, ready;
	char why[160], version[32], digest[32];
	struct kveil_buf reasons;
	int64_t at_ms;
	double consumed, produced, failed, dead, dropped, in_flight, cpu, resident, started;
	struct rows lags, keys, overdue; /* by topic, by key */
};

struct replica {
	const char *url;
	struct sample before, now;
};

static _Atomic bool stop;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&stop, true);
}

/* --- asking --- */

/* A replica's words go to a terminal. Names, versions and digests are ASCII, and anything else might steer it. */
static void take_text(char *dst, size_t size, const char *src)
{
	size_t n = 0;

	for (; src[n] && n + 1 < size; n++)
		dst[n] = src[n] >= 0x20 && src[n] < 0x7f ? src[n] : '?';
	dst[n] = 0;
}

static struct row *row_of(struct rows *r, const char *told)
{
	char name[sizeof r->rows->name];

	take_text(name, sizeof name, told);
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->rows[i].name, name) == 0)
			return &r->rows[i];
	if (r->count == MOST_ROWS)
		return &r->rows[MOST_ROWS - 1];
	struct row *row = &r->rows[r->count++];
	*row = (struct row){0};
	snprintf(row->name, sizeof row->name, "%s", name);
	return row;
}

static void take_lag(struct sample *s, const struct kveil_exposed *e)
{
	struct row *row = row_of(&s->lags, kveil_exposed_label(e, "topic"));

	row->value += e->value;
	row->partitions++;
}

static void take(void *user, const struct kveil_exposed *e)
{
	struct sample *s = user;
	const struct {
		const char *name;
		double *to;
	} sums[] = {
	    {"kveil_records_consumed_total", &s->consumed}, {"kveil_records_produced_total", &s->produced},
	    {"kveil_records_failed_total", &s->failed},     {"kveil_records_dead_lettered_total", &s->dead},
	    {"kveil_records_dropped_total", &s->dropped},   {"kveil_in_flight_bytes", &s->in_flight},
	    {"process_cpu_seconds_total", &s->cpu},         {"process_resident_memory_bytes", &s->resident},
	    {"process_start_time_seconds", &s->started},
	};

	for (size_t i = 0; i < sizeof sums / sizeof *sums; i++)
		if (strcmp(e->name, sums[i].name) == 0)
			*sums[i].to += e->value;
	if (strcmp(e->name, "kveil_consumer_lag_records") == 0)
		take_lag(s, e);
	else if (strcmp(e->name, "kveil_key_created_timestamp_seconds") == 0)
		row_of(&s->keys, kveil_exposed_label(e, "key"))->value = e->value;
	else if (strcmp(e->name, "kveil_key_rotation_overdue_seconds") == 0 && e->value > 0)
		row_of(&s->overdue, kveil_exposed_label(e, "key"))->value = e->value;
	else if (strcmp(e->name, "kveil_build_info") == 0)
		take_text(s->version, sizeof s->version, kveil_exposed_label(e, "version"));
	else if (strcmp(e->name, "kveil_rules_info") == 0)
		take_text(s->digest, sizeof s->digest, kveil_exposed_label(e, "digest"));
}

static void look(struct replica *r)
{
	KVEIL_CLEANUP_BUF struct kveil_buf page = KVEIL_BUF_INIT;
	struct kveil_error err = {0};
	unsigned status = 0;

	kveil_buf_clear(&r->before.reasons);
	r->before = r->now;
	struct sample *s = &r->now;
	memset(s, 0, sizeof *s);
	s->at_ms = kveil_clock_mono_ms();
	if (kveil_http_get(r->url, "/metrics", TIMEOUT_MS, &status, &page, &err)) {
		snprintf(s->why, sizeof s->why, "%.150s", err.message);
		return;
	}
	const char *text = kveil_buf_cstr(&page);
	if (status == 200 && text)
		kveil_exposition_read(text, take, s);
	if (!*s->version) {
		snprintf(s->why, sizeof s->why, "answered %u: is this a kveil?", status);
		return;
	}
	if (kveil_http_get(r->url, "/readyz", TIMEOUT_MS, &status, &s->reasons, &err)) {
		snprintf(s->why, sizeof s->why, "%.150s", err.message);
		return;
	}
	s->answers = true;
	s->ready = status == 200;
}

/* --- telling --- */

static double rate(const struct replica *r, double before, double now)
{
	double s = (double)(r->now.at_ms - r->before.at_ms) / 1000;

	return r->before.answers && r->now.answers && s > 0 && now >= before ? (now - before) / s : 0;
}

/* "3 d 4 h", "12 min": two units at most, whole. */
static void print_age(double seconds)
{
	long s = seconds > 0 ? (long)seconds : 0;

	if (s >= 86400)
		printf("%ld d %ld h", s / 86400, s % 86400 / 3600);
	else if (s >= 3600)
		printf("%ld h %ld min", s / 3600, s % 3600 / 60);
	else if (s >= 60)
		printf("%ld min", s / 60);
	else
		printf("%ld s", s);
}

/* Reasons are UTF-8: what steers a terminal is left out, C1 controls too. */
static void print_safe(const char *text, size_t n)
{
	const unsigned char *at = (const unsigned char *)text;

	for (size_t i = 0; i < n; i++) {
		bool c1 = at[i] == 0xc2 && i + 1 < n && at[i + 1] >= 0x80 && at[i + 1] < 0xa0;
		putchar(c1 || at[i] < 0x20 || at[i] == 0x7f ? '?' : at[i]);
		i += c1;
	}
}

/* Reasons, or remarks and the "ok" behind them. */
static void print_lines(const char *head, const char *text)
{
	for (const char *line = text; line && *line && strcmp(line, "ok\n") != 0;) {
		size_t n = strcspn(line, "\n");
		fputs(head, stdout);
		print_safe(line, n);
		putchar('\n');
		line += n + (line[n] == '\n');
	}
}

static void print_keys(const struct sample *s, double now)
{
	if (!s->keys.count)
		return;
	printf("  keys, by the age of what seals:");
	for (size_t i = 0; i < s->keys.count; i++) {
		printf("%s %s ", i ? "," : "", s->keys.rows[i].name);
		print_age(now - s->keys.rows[i].value);
	}
	putchar('\n');
	for (size_t i = 0; i < s->overdue.count; i++) {
		printf("  overdue: the next version of %s, by ", s->overdue.rows[i].name);
		print_age(s->overdue.rows[i].value);
		putchar('\n');
	}
}

static void print_replica(struct replica *r, double now)
{
	struct sample *s = &r->now;
	const struct sample *b = &r->before;

	printf("%s  ", r->url);
	if (!s->answers) {
		print_safe(s->why, strlen(s->why));
		putchar('\n');
		return;
	}
	printf("%s  kveil %s  up ", s->ready ? "ready" : "NOT READY", s->version);
	print_age(now - s->started);
	printf("  rules %s  %.0f MiB  CPU %.0f%%\n", *s->digest ? s->digest : "none yet", s->resident / (1 << 20),
	       100 * rate(r, b->cpu, s->cpu));
	printf("  in %.0f/s  out %.0f/s  failed %.0f/s  in flight %.1f MiB  since the start: %.0f in, %.0f dead "
	       "letters, %.0f "
	       "dropped\n",
	       rate(r, b->consumed, s->consumed), rate(r, b->produced, s->produced), rate(r, b->failed, s->failed),
	       s->in_flight / (1 << 20), s->consumed, s->dead, s->dropped);
	for (size_t i = 0; i < s->lags.count; i++) {
		const struct row *l = &s->lags.rows[i];
		printf("  %s: %.0f partition%s, lag %.0f\n", l->name, l->partitions, l->partitions == 1 ? "" : "s",
		       l->value);
	}
	print_keys(s, now);
	print_lines(s->ready ? "  remark: " : "  waits: ", kveil_buf_cstr(&s->reasons));
}

/* Two rule sets in one group are seldom meant. */
static bool rules_differ(const struct replica *r, size_t count)
{
	const char *first = NULL;

	for (size_t i = 0; i < count; i++) {
		const char *digest = r[i].now.digest;
		if (!r[i].now.answers || !*digest)
			continue;
		if (first && strcmp(first, digest) != 0)
			return true;
		first = digest;
	}
	return false;
}

static void print_all(struct replica *r, size_t count)
{
	double now = (double)time(NULL);

	for (size_t i = 0; i < count; i++)
		print_replica(&r[i], now);
	if (rules_differ(r, count))
		printf("these replicas run different rules\n");
	fflush(stdout);
}

static json_t *rows_as_json(const struct rows *rows, const char *value)
{
	json_t *object = json_object();

	for (size_t i = 0; i < rows->count; i++) {
		const struct row *row = &rows->rows[i];
		if (value)
			json_object_set_new(object, row->name,
					    json_pack("{s:f,s:f}", value, row->value, "partitions", row->partitions));
		else
			json_object_set_new(object, row->name, json_real(row->value));
	}
	return object;
}

static json_t *replica_as_json(struct replica *r)
{
	struct sample *s = &r->now;
	const struct sample *b = &r->before;

	if (!s->answers)
		return json_pack("{s:s,s:b,s:s}", "url", r->url, "answers", 0, "why", s->why);
	const char *lines = kveil_buf_cstr(&s->reasons);
	char *remarks = strdup(s->ready && lines ? lines : "");
	size_t n = remarks ? strlen(remarks) : 0;
	if (n >= 3 && strcmp(remarks + n - 3, "ok\n") == 0)
		remarks[n - 3] = 0;
	json_t *ret =
	    json_pack("{s:s,s:b,s:b,s:s,s:s,s:s,s:s,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:o,s:o}", "url", r->url,
		      "answers", 1, "ready", s->ready, "reasons", s->ready || !lines ? "" : lines, "remarks",
		      remarks ? remarks : "", "version", s->version, "rules", s->digest, "started", s->started,
		      "resident_bytes", s->resident, "in_flight_bytes", s->in_flight, "consumed", s->consumed,
		      "consumed_per_second", rate(r, b->consumed, s->consumed), "produced_per_second",
		      rate(r, b->produced, s->produced), "failed", s->failed, "dead_lettered", s->dead, "dropped",
		      s->dropped, "topics", rows_as_json(&s->lags, "lag"), "key_created", rows_as_json(&s->keys, NULL));
	free(remarks);
	return ret;
}

static bool print_json(struct replica *r, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++) {
		json_t *one = replica_as_json(&r[i]);
		json_array_append_new(list, one ? one : json_string("an answer that is not UTF-8"));
	}
	json_t *root = json_pack("{s:o,s:b}", "replicas", list, "rules_differ", rules_differ(r, count));
	bool whole = root && json_dumpf(root, stdout, JSON_INDENT(2)) == 0;
	putchar('\n');
	json_decref(root);
	return whole;
}

/* --- the command --- */

static void nap(int ms)
{
	struct timespec t = kveil_clock_timespec(ms);

	nanosleep(&t, NULL);
}

static void look_at_all(struct replica *r, size_t count)
{
	for (size_t i = 0; i < count && !atomic_load(&stop); i++)
		look(&r[i]);
}

static int all_ready(const struct replica *r, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (!r[i].now.answers || !r[i].now.ready)
			return KVEIL_EXIT_FAILED;
	return KVEIL_EXIT_OK;
}

static int watch(struct replica *r, size_t count, bool once, bool json)
{
	look_at_all(r, count);
	nap(RATE_MS);
	for (;;) {
		look_at_all(r, count);
		if (json)
			return print_json(r, count) ? all_ready(r, count) : KVEIL_EXIT_FAILED;
		if (!once)
			fputs("\033[H\033[J", stdout);
		print_all(r, count);
		if (once)
			return all_ready(r, count);
		nap(EVERY_MS);
		if (atomic_load(&stop))
			return KVEIL_EXIT_OK;
	}
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_status;
	const struct sigaction action = {.sa_handler = on_signal};
	const char *value, *config = NULL;
	bool once = !isatty(STDOUT_FILENO), json = false;
	char *place = NULL;
	size_t count = 0;
	int index = 1, code = KVEIL_EXIT_OK;

	struct replica *r = calloc(MOST, sizeof *r);
	while (r && index < argc && !code) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (f == &kveil_flag_help || f == &kveil_flag_error) {
			free(r);
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		}
		if (!f && index < argc && count < MOST)
			r[count++].url = argv[index++];
		else if (!f && index < argc)
			code = kveil_usage_error(cmd, "at most %d replicas", MOST);
		else if (f && f->short_name == 'c')
			config = value;
		else if (f)
			*(strcmp(f->long_name, "once") == 0 ? &once : &json) = true;
	}
	if (!r)
		return KVEIL_EXIT_FAILED;
	if (!code && config && count)
		code = kveil_usage_error(cmd, "--config or URLs: which of them?");
	if (!code && config)
		code = kveil_side_port_of(cmd, config, &place);
	if (!code && !place && !count && !(place = kveil_side_port_here()))
		code = KVEIL_EXIT_FAILED;
	if (!code && !count)
		r[count++].url = place;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (!code)
		code = watch(r, count, once, json);
	for (size_t i = 0; i < MOST; i++) {
		kveil_buf_clear(&r[i].before.reasons);
		kveil_buf_clear(&r[i].now.reasons);
	}
	free(place);
	free(r);
	return code;
}

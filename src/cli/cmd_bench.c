/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kveil bench: what the engine costs a record, in this process and without Kafka, beside a bare loop of library calls
 * on the same values. Both sides take turns, round by round, and the medians of the rounds are what counts.
 */
#include "bench/bench_baseline.h"
#include "cli/bench_crypto.h"
#include "cli/command.h"
#include "cli/orders.h"
#include "crypto/crypto.h"
#include "format/format.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

extern const struct kveil_command kveil_command_bench;

enum { BATCH = 500, MAX_ROUNDS = 1000, EXTRA_RULES = 200 };

#define JOB                                                                                                            \
	"name: bench\ntopics: [bench.orders]\nformat: json\noutput: \"{topic}.secure\"\nfields:\n"                     \
	"  - {path: \"$.customer.id_card\", encrypt: {key: pii}}\n"                                                    \
	"  - {path: \"$.card_number\", encrypt: {key: pii}}\n"                                                         \
	"  - {path: \"$.customer.phone\", mask: {keep_first: 3, keep_last: 4}}\n"                                      \
	"  - {path: \"$.customer.email\", hash: {key: pepper}}\n"

struct bench {
	struct kveil_buf bytes; /* all records behind each other: keys and values */
	struct kveil_record *records;
	struct kveil_bench_record *values; /* NULL when some record lacks the job's fields */
	size_t count, cap, value_bytes;
	size_t rounds;
	struct kveil_keystore *keystore;
	struct kveil_keyring *ring;
};

/* One thing that is measured. */
struct side {
	const char *name;
	struct kveil_engine *engine; /* NULL = the loop of library calls */
	struct kveil_bench_evp *evp;
	double *ns; /* a record, one a round */
	double median, low, high;
};

static int failed(const struct kveil_error *err)
{
	return kveil_failed(&kveil_command_bench, err, KVEIL_EXIT_FAILED);
}

static uint64_t cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* --- records --- */

static bool add_record(struct bench *b, const void *key, size_t key_len, const void *value, size_t value_len)
{
	if (b->count == b->cap) {
		size_t cap = b->cap ? b->cap * 2 : 1024;
		struct kveil_record *more = realloc(b->records, cap * sizeof *more);
		if (!more)
			return false;
		b->records = more;
		b->cap = cap;
	}
	/* Lengths now, pointers when the buffer has stopped moving. */
	b->records[b->count++] = (struct kveil_record){.key = {NULL, key_len}, .value = {NULL, value_len}};
	b->value_bytes += value_len;
	kveil_buf_append(&b->bytes, key, key_len);
	kveil_buf_append(&b->bytes, value, value_len);
	return kveil_buf_ok(&b->bytes);
}

static bool make_orders(struct bench *b, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct kveil_order order;
		kveil_order_make(20240607, i, &order);
		if (!add_record(b, order.key, strlen(order.key), order.value, order.value_len))
			return false;
	}
	return true;
}

/* The tab behind a key; NULL: only a value. A key of JSON too, for nowhere in one value stands a tab between these. */
static const char *key_end(const char *line, size_t len)
{
	const char *both;

	if (line[0] != '{')
		return memchr(line, '\t', len);
	both = memmem(line, len, "}\t{", 3);
	return both ? both + 1 : NULL;
}

/* "key TAB json" or only json, a line a record. */
static bool read_orders(struct bench *b, const char *path, size_t most)
{
	char *line = NULL;
	size_t cap = 0;
	bool ok = true;
	ssize_t n;
	FILE *f = fopen(path, "rb");

	if (!f)
		return false;
	while (ok && b->count < most && (n = getline(&line, &cap, f)) > 0) {
		size_t len = (size_t)n - (line[n - 1] == '\n');
		const char *tab = key_end(line, len);
		size_t skip = tab ? (size_t)(tab - line) + 1 : 0;
		if (len > skip)
			ok = add_record(b, line, skip ? skip - 1 : 0, line + skip, len - skip);
	}
	free(line);
	fclose(f);
	return ok && b->count > 0;
}

static void point_records(struct bench *b)
{
	const uint8_t *p = b->bytes.data;

	for (size_t i = 0; i < b->count; i++) {
		struct kveil_record *r = &b->records[i];
		r->key.data = r->key.len ? p : NULL;
		r->value.data = p + r->key.len;
		p = r->value.data + r->value.len;
	}
}

/* The values that the loop of library calls works on, where all records have them. */
static void find_values(struct bench *b)
{
	static const char *const texts[] = {"$.customer.id_card", "$.card_number", "$.customer.email"};
	struct kveil_automaton_path rows[3];
	struct kveil_path *paths[3] = {NULL};
	struct kveil_automaton *a = NULL;
	struct kveil_arena arena;
	bool ok = true;

	kveil_arena_init(&arena, 1 << 20);
	for (uint32_t i = 0; i < 3; i++) {
		ok = ok && !kveil_path_parse(kveil_span_str(texts[i]), &paths[i], NULL);
		rows[i] = (struct kveil_automaton_path){paths[i], i, i, false};
	}
	ok = ok && !kveil_automaton_new(rows, 3, &a, NULL);
	struct kveil_scan s = {.automaton = a, .arena = &arena, .max_bytes = SIZE_MAX, .max_depth = 128};
	b->values = calloc(b->count, sizeof *b->values);
	ok = ok && b->values;
	for (size_t i = 0; ok && i < b->count; i++) {
		struct kveil_span value = b->records[i].value;
		struct kveil_bench_record *r = &b->values[i];
		struct kveil_span *into[3] = {&r->id_card, &r->card_number, &r->email};
		ok = !kveil_format_by_name(KVEIL_SPAN("json"))->scan(&s, value, NULL);
		for (size_t k = 0; ok && k < s.match_count; k++) {
			size_t n;
			const uint32_t *ids = kveil_automaton_accepts(a, s.matches[k].state, &n);
			if (s.matches[k].kind == KVEIL_KIND_STRING)
				*into[ids[0]] = kveil_span_of(value.data + s.matches[k].start + 1,
							      s.matches[k].end - s.matches[k].start - 2);
		}
		ok = ok && r->id_card.data && r->card_number.data && r->email.data;
		r->record = value;
	}
	if (!ok) {
		free(b->values);
		b->values = NULL;
	}
	kveil_scan_clear(&s);
	kveil_automaton_free(a);
	for (size_t i = 0; i < 3; i++)
		kveil_path_free(paths[i]);
	kveil_arena_clear(&arena);
}

/* --- measuring --- */

static enum kveil_status engine_of(struct bench *b, const char *file, struct kveil_span text, struct kveil_engine **ret,
				   struct kveil_error *err)
{
	struct kveil_report report = {0};
	struct kveil_plan *plan =
	    file ? kveil_plan_load(file, NULL, &report) : kveil_plan_parse(text, "bench", NULL, &report);
	enum kveil_status st = KVEIL_E_RULES;

	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	if (plan)
		st = kveil_engine_new(plan, b->ring, NULL, ret, err);
	else
		kveil_fail(err, KVEIL_E_RULES, "the rules do not load");
	kveil_plan_unref(plan);
	return st;
}

/* Nanoseconds of CPU for all records; 0 and err on failure. */
static uint64_t run_engine(struct bench *b, struct kveil_engine *e, struct kveil_error *err)
{
	uint64_t begin = cpu_ns();

	for (size_t i = 0; i < b->count; i++) {
		struct kveil_result result;
		if (i % BATCH == 0 && kveil_keyring_tick(b->ring, (int64_t)time(NULL) * 1000, err))
			return 0;
		kveil_engine_run(e, &b->records[i], &result);
		if (result.verdict != KVEIL_PRODUCE) {
			*err = result.error;
			kveil_error_where(err, "record", (uint32_t)i + 1, 0);
			return 0;
		}
	}
	return cpu_ns() - begin;
}

static int compare_doubles(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return a < b ? -1 : a > b;
}

/* Median and the middle half of a copy of values. */
static bool summarize(const double *values, size_t n, double *median, double *low, double *high)
{
	double *sorted = malloc(n * sizeof *sorted);

	if (!sorted)
		return false;
	memcpy(sorted, values, n * sizeof *sorted);
	qsort(sorted, n, sizeof *sorted, compare_doubles);
	*median = sorted[n / 2];
	*low = sorted[n / 4];
	*high = sorted[n - 1 - n / 4];
	free(sorted);
	return true;
}

/* All sides in turn, round by round; one round before them that does not count. */
static bool measure(struct bench *b, struct side *sides, size_t count, struct kveil_error *err)
{
	for (size_t i = 0; i < count; i++) {
		sides[i].ns = calloc(b->rounds, sizeof *sides[i].ns);
		if (!sides[i].ns)
			return kveil_no_memory(err, NULL), false;
	}
	for (size_t round = 0; round <= b->rounds; round++) {
		for (size_t i = 0; i < count; i++) {
			uint64_t ns = sides[i].engine ? run_engine(b, sides[i].engine, err)
						      : kveil_bench_evp_loop(sides[i].evp, b->values, b->count);
			if (!ns)
				return sides[i].engine
					   ? false
					   : (kveil_fail(err, KVEIL_E_CRYPTO, "the bare loop failed"), false);
			if (round)
				sides[i].ns[round - 1] = (double)ns / (double)b->count;
		}
	}
	bool ok = true;
	for (size_t i = 0; i < count; i++)
		ok = ok && summarize(sides[i].ns, b->rounds, &sides[i].median, &sides[i].low, &sides[i].high);
	return ok || (kveil_no_memory(err, NULL), false);
}

/* The ratio of two sides, round by round. */
static bool ratio_of(const struct bench *b, const struct side *x, const struct side *base, double *median, double *low,
		     double *high)
{
	double *ratios = malloc(b->rounds * sizeof *ratios);

	if (!ratios)
		return false;
	for (size_t i = 0; i < b->rounds; i++)
		ratios[i] = x->ns[i] / base->ns[i];
	bool ok = summarize(ratios, b->rounds, median, low, high);
	free(ratios);
	return ok;
}

/* --- the answers --- */

static int print_sides(const struct bench *b, struct side *sides, size_t count, size_t base, bool as_json)
{
	double bytes = (double)b->value_bytes / (double)b->count;
	json_t *root = json_object(), *list = json_array();

	json_object_set_new(root, "records", json_integer((json_int_t)b->count));
	json_object_set_new(root, "rounds", json_integer((json_int_t)b->rounds));
	json_object_set_new(root, "bytes_per_record", json_real(bytes));
	if (!as_json)
		printf("%zu records of %.0f bytes, %zu rounds; CPU time of one thread, medians (middle half)\n\n",
		       b->count, bytes, b->rounds);
	for (size_t i = 0; i < count; i++) {
		struct side *s = &sides[i];
		double ratio = 1, low = 1, high = 1;
		if (!ratio_of(b, s, &sides[base], &ratio, &low, &high))
			return KVEIL_EXIT_FAILED;
		json_array_append_new(list, json_pack("{s:s, s:f, s:[f,f], s:f, s:f, s:f, s:[f,f]}", "name", s->name,
						      "ns_per_record", s->median, "ns_middle_half", s->low, s->high,
						      "records_per_second", 1e9 / s->median, "bytes_per_second",
						      bytes * 1e9 / s->median, "ratio", ratio, "ratio_middle_half", low,
						      high));
		if (as_json)
			continue;
		printf("  %-34s %7.1f ns/record (%.1f to %.1f)  %9.0f records/s  %6.0f MB/s", s->name, s->median,
		       s->low, s->high, 1e9 / s->median, bytes * 1e3 / s->median);
		if (i != base)
			printf("  ratio %.3f (%.3f to %.3f)", ratio, low, high);
		putchar('\n');
	}
	json_object_set_new(root, "sides", list);
	json_object_set_new(root, "base", json_string(sides[base].name));
	if (as_json) {
		json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
		putchar('\n');
	}
	json_decref(root);
	return KVEIL_EXIT_OK;
}

static int finish(struct bench *b, struct side *sides, size_t count, size_t base, bool as_json)
{
	struct kveil_error err;
	int code = measure(b, sides, count, &err) ? print_sides(b, sides, count, base, as_json) : failed(&err);

	for (size_t i = 0; i < count; i++) {
		kveil_engine_free(sides[i].engine);
		kveil_bench_evp_free(sides[i].evp);
		free(sides[i].ns);
	}
	return code;
}

static int bench_engine(struct bench *b, const char *rules, bool as_json)
{
	struct side sides[2] = {{.name = rules ? rules : "engine"}, {.name = "bare loop of EVP calls"}};
	struct kveil_error err;
	size_t count = 1;

	if (engine_of(b, rules, KVEIL_SPAN(JOB), &sides[0].engine, &err))
		return failed(&err);
	find_values(b);
	if (b->values) {
		if (kveil_bench_evp_new(&sides[1].evp, &err)) {
			kveil_engine_free(sides[0].engine);
			return failed(&err);
		}
		count = 2;
	}
	return finish(b, sides, count, count - 1, as_json);
}

/* The job's four rules, the same with 200 more that never match: members of known objects, descendants. */
static int bench_scale(struct bench *b, bool as_json)
{
	struct side sides[3] = {{.name = "4 rules"}, {.name = "4 and 200 definite"}, {.name = "4 and 200 descendant"}};
	struct kveil_error err;
	enum kveil_status st = engine_of(b, NULL, KVEIL_SPAN(JOB), &sides[0].engine, &err);

	for (size_t i = 0; !st && i < 2; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
		kveil_buf_append_str(&text, JOB);
		for (int k = 0; k < EXTRA_RULES; k++) {
			/* Definite ones by turns at the root and below it. */
			const char *front = i ? "$..absent" : k % 2 ? "$.absent" : "$.customer.absent";
			kveil_buf_printf(&text, "  - {path: \"%s_%d\", mask: {}}\n", front, k);
		}
		st = engine_of(b, NULL, kveil_buf_span(&text), &sides[i + 1].engine, &err);
	}
	if (!st)
		return finish(b, sides, 3, 0, as_json);
	for (size_t i = 0; i < 3; i++)
		kveil_engine_free(sides[i].engine);
	return failed(&err);
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_bench;
	const struct kveil_flag *flag;
	const char *value, *rules = NULL, *file = NULL;
	struct bench b = {.rounds = 21};
	struct kveil_error err;
	size_t count = 20000;
	uint64_t number;
	bool as_json = false, scale = false, crypto = false;
	int index = 1, code = KVEIL_EXIT_FAILED;

	for (;;) {
		flag = kveil_flag_next(cmd, argc, argv, &index, &value);
		/* Options may stand on either side of it. */
		if (!flag && !crypto && index < argc && strcmp(argv[index], "crypto") == 0) {
			crypto = true;
			index++;
			continue;
		}
		if (!flag)
			break;
		if (flag == &kveil_flag_help)
			return KVEIL_EXIT_OK;
		if (flag == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		if (flag->short_name == 'r')
			rules = value;
		else if (flag->short_name == 'f')
			file = value;
		else if (strcmp(flag->long_name, "json") == 0)
			as_json = true;
		else if (strcmp(flag->long_name, "rules-scale") == 0)
			scale = true;
		else if (!kveil_flag_count(value, flag->short_name == 'n' ? 10000000 : MAX_ROUNDS, &number))
			return kveil_usage_error(cmd, "--%s takes a number from 1 on: '%s'", flag->long_name, value);
		else
			*(flag->short_name == 'n' ? &count : &b.rounds) = (size_t)number;
	}
	if (index < argc)
		return kveil_usage_error(cmd, "only `crypto` may stand there, not '%s'", argv[index]);
	if (crypto)
		return kveil_bench_crypto(as_json);
	if (rules && scale)
		return kveil_usage_error(cmd, "--rules-scale brings its own rules: no -r");
	if (kveil_crypto_init(&err) || kveil_keystore_new_demo(&b.keystore, &err) ||
	    kveil_keyring_new(b.keystore, &b.ring, &err)) {
		failed(&err);
	} else if (file && !read_orders(&b, file, count)) {
		kveil_fail(&err, KVEIL_E_IO, "%s: no records can be read", file);
		failed(&err);
	} else if (!file && !make_orders(&b, count)) {
		kveil_no_memory(&err, "the records");
		failed(&err);
	} else {
		point_records(&b);
		code = scale ? bench_scale(&b, as_json) : bench_engine(&b, rules, as_json);
	}
	kveil_keyring_free(b.ring);
	kveil_keystore_unref(b.keystore);
	kveil_buf_clear(&b.bytes);
	free(b.records);
	free(b.values);
	return code;
}

static const struct kveil_flag flags[] = {
    {'r', "rules", "FILE", "a rule file instead of the built-in job"},
    {'f', "file", "FILE",
     "records to run on, one per line, as json or `key TAB json` (default: generated "
     "orders)"},
    {'n', "records", "N", "number of records (default 20000)"},
    {0, "rounds", "N", "number of rounds (default 21)"},
    {0, "rules-scale", NULL, "measure what 200 rules that never match cost beside 4 that do"},
    {0, "json", NULL, "as JSON"},
    {0},
};

const struct kveil_command kveil_command_bench = {
    .name = "bench",
    .usage = "[-r FILE] [-f FILE] [-n N] [--rules-scale] [--json] [crypto]",
    .help = "measure the throughput of a rule file, or of each algorithm beside bare library "
	    "calls",
    .flags = flags,
    .run = run,
};

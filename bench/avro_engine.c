/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For bench/avro.py: CPU seconds a million records of the engine on JSON, of the engine on the same records in Avro,
 * and of avro-c reading and writing those as generic values. In turns, a line of JSON each.
 *
 *   avro_engine ROUNDS RULES-JSON RULES-AVRO SCHEMA RECORDS-JSON RECORDS-AVRO
 *
 * A file of records is a length (4 bytes, little-endian) and the bytes, again and again.
 */
#include "base/buf.h"
#include "kveil/engine.h"
#include "rules/plan.h"

#include <avro.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "avro_engine: %s\n", what);
	exit(1);
}

static struct kveil_span read_file(const char *name)
{
	FILE *f = fopen(name, "rb");
	struct kveil_buf all = KVEIL_BUF_INIT;

	check(f != NULL, name);
	for (size_t n = 1; n;) {
		uint8_t *room = kveil_buf_reserve(&all, 1 << 20);
		check(room != NULL, "memory");
		n = fread(room, 1, 1 << 20, f);
		all.len += n;
	}
	fclose(f);
	return kveil_buf_span(&all); /* until the end */
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct contestant {
	struct kveil_engine *engine; /* NULL: avro-c */
	avro_value_t value;
	struct kveil_span records;
	struct kveil_buf out;
};

static struct kveil_engine *make_engine(struct kveil_keyring *ring, const char *rules)
{
	struct kveil_report report = {0};
	struct kveil_engine *e = NULL;
	struct kveil_error err;
	struct kveil_plan *plan = kveil_plan_load(rules, NULL, &report);

	kveil_report_print(&report, stderr);
	check(plan != NULL && kveil_engine_new(plan, ring, NULL, &e, &err) == KVEIL_OK, rules);
	return e;
}

static void run_generic(struct contestant *c, struct kveil_span record)
{
	avro_reader_t in = avro_reader_memory((const char *)record.data, (int64_t)record.len);
	avro_writer_t out = avro_writer_memory((const char *)c->out.data, (int64_t)c->out.cap);

	check(avro_value_reset(&c->value) == 0 && avro_value_read(in, &c->value) == 0 &&
		  avro_value_write(out, &c->value) == 0,
	      avro_strerror());
	avro_reader_free(in);
	avro_writer_free(out);
}

static void run_record(struct contestant *c, struct kveil_span value)
{
	const struct kveil_record record = {.value = value};
	struct kveil_result result;

	if (!c->engine) {
		run_generic(c, value);
		return;
	}
	kveil_engine_run(c->engine, &record, &result);
	check(result.verdict == KVEIL_PRODUCE, result.error.message);
}

/* CPU seconds a million. */
static double run(struct contestant *c)
{
	double start = now();
	size_t count = 0;

	for (size_t at = 0; at + 4 <= c->records.len; count++) {
		uint32_t n;
		memcpy(&n, c->records.data + at, sizeof n);
		run_record(c, kveil_span_of(c->records.data + at + 4, n));
		at += 4 + n;
	}
	return (now() - start) / (double)count * 1e6;
}

int main(int argc, char **argv)
{
	struct kveil_keystore *keys;
	struct kveil_keyring *ring;
	struct kveil_engine_schema *s;
	struct kveil_error err;
	avro_schema_t schema;

	check(argc == 7, "ROUNDS RULES-JSON RULES-AVRO SCHEMA RECORDS-JSON RECORDS-AVRO");
	check(kveil_keystore_new_test(KVEIL_SPAN("bench"), &keys, &err) == KVEIL_OK, "keys");
	check(kveil_keyring_new(keys, &ring, &err) == KVEIL_OK, "keys");
	struct kveil_span text = read_file(argv[4]);
	struct contestant json = {.engine = make_engine(ring, argv[2]), .records = read_file(argv[5])};
	struct contestant avro = {.engine = make_engine(ring, argv[3]), .records = read_file(argv[6])};
	struct contestant generic = {.records = avro.records};
	check(kveil_engine_schema_new(avro.engine, text, &s, &err) == KVEIL_OK, err.message);
	kveil_engine_use_schema(avro.engine, s);
	check(avro_schema_from_json_length((const char *)text.data, text.len, &schema) == 0, avro_strerror());
	check(avro_generic_value_new(avro_generic_class_from_schema(schema), &generic.value) == 0, avro_strerror());
	check(kveil_buf_reserve(&generic.out, 1 << 16) != NULL, "memory");
	for (int round = 0; round <= atoi(argv[1]); round++) {
		double a = run(&json), b = run(&avro), c = run(&generic);
		if (round) /* the first warms up */
			printf("{\"json\": %.4f, \"avro\": %.4f, \"avro_c\": %.4f}\n", a, b, c);
	}
	return 0;
}

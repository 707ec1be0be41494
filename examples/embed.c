/* SPDX-License-Identifier: Apache-2.0 */
/* libkveil in a program of your own: a topic's records from stdin, a JSON document a line, come out protected.
 *
 *   cc embed.c $(pkg-config --cflags --libs kveil) -o embed
 *   ./embed kveil.yaml etl.orders <orders.json
 */
#include <kveil/library.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void problem(void *user, const char *line)
{
	(void)user;
	fprintf(stderr, "%s\n", line);
}

static int fail(const struct kveil_error *err)
{
	fprintf(stderr, "embed: %s: %s\n", kveil_status_code(err->status), err->message);
	return EXIT_FAILURE;
}

static int64_t now_ms(void)
{
	return (int64_t)time(NULL) * 1000;
}

/* One record. The keyring is ticked before it: once a batch is enough. */
static enum kveil_verdict run(struct kveil_keyring *ring, struct kveil_engine *engine, struct kveil_span value,
			      struct kveil_error *err)
{
	struct kveil_result result;

	if (kveil_keyring_tick(ring, now_ms(), err))
		return KVEIL_RETRY;
	do
		kveil_engine_run(engine, &(struct kveil_record){.value = value}, &result);
	while (kveil_engine_look_again(engine, &result));
	if (result.verdict != KVEIL_PRODUCE)
		*err = result.error;
	for (size_t i = 0; result.verdict == KVEIL_PRODUCE && i < result.output_count; i++) {
		fwrite(result.outputs[i].record.value.data, 1, result.outputs[i].record.value.len, stdout);
		putchar('\n');
	}
	return result.verdict;
}

int main(int argc, char **argv)
{
	struct kveil_library *lib;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_plan *plan;
	struct kveil_error err;
	char line[65536];
	int code = EXIT_SUCCESS;

	if (argc != 3 || kveil_library_open(argv[1], problem, NULL, &lib, &err))
		return argc == 3 ? fail(&err) : EXIT_FAILURE;
	plan = kveil_library_plan(lib, argv[2]);
	if (!plan || kveil_keyring_new(kveil_library_keys(lib), &ring, &err) ||
	    kveil_engine_new(plan, ring, kveil_library_limits(lib), &engine, &err))
		return plan ? fail(&err) : EXIT_FAILURE;
	while (fgets(line, sizeof line, stdin)) {
		struct kveil_span value = kveil_span_of(line, strcspn(line, "\n"));
		enum kveil_verdict verdict = run(ring, engine, value, &err);
		/* Its keys are on their way. A program that runs for long tends once a second. */
		for (int i = 0; verdict == KVEIL_RETRY && i < 5 && !kveil_library_tend(lib, now_ms(), &err); i++)
			verdict = run(ring, engine, value, &err);
		if (verdict != KVEIL_PRODUCE)
			code = fail(&err); /* and nothing of the record is passed on */
	}
	kveil_engine_free(engine);
	kveil_keyring_free(ring);
	kveil_library_close(lib);
	return code;
}

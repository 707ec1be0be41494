/* SPDX-License-Identifier: Apache-2.0 */
/* kveil test: the examples beside the rules, through the engine, with keys in memory. */
#include "cli/command.h"
#include "cli/example.h"

#include "base/clock.h"
#include "base/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

extern const struct kveil_command kveil_command_test;

static const struct kveil_flag flags[] = {
    {'r', "rules", "FILE", "this rule file, or all in this folder; may be repeated"},
    {0, "strict", NULL, "fail if a rule is touched by no example"},
    {0, "json", NULL, "print JSON"},
    {0},
};

struct run {
	bool json;
	size_t passed, failed, untouched;
	bool broken;                      /* a file that could not be read: exit 2 */
	struct kveil_buf examples, rules; /* JSON in the making */
};

/* One rule file with its examples. */
struct file {
	struct run *run;
	const char *path;
	char examples_path[4096];
	struct kveil_plan *plan;
	struct kveil_keyring *ring;
	struct kveil_engine *engine;
	struct kveil_arena arena;
	bool *touched; /* by rule index */
};

static void add_json(struct kveil_buf *b, const char *file, uint32_t line, const char *name, const char *value)
{
	kveil_buf_append_str(b, b->len ? ", {\"file\": " : "{\"file\": ");
	kveil_options_write_json_string(b, file);
	kveil_buf_printf(b, ", \"line\": %u, \"%s\": ", line, name);
	kveil_options_write_json_string(b, value);
}

static void tell_example(struct file *f, const struct kveil_example *e, bool passed, struct kveil_buf *why)
{
	struct run *r = f->run;
	const char *reason = kveil_buf_cstr(why);

	r->passed += passed;
	r->failed += !passed;
	if (r->json) {
		add_json(&r->examples, f->examples_path, e->line, "name", e->name);
		kveil_buf_printf(&r->examples, ", \"passed\": %s, \"reason\": ", passed ? "true" : "false");
		kveil_options_write_json_string(&r->examples, passed || !reason ? "" : reason);
		kveil_buf_append_byte(&r->examples, '}');
		return;
	}
	printf("%s %s:%u: %s\n", passed ? "ok  " : "FAIL", f->examples_path, e->line, e->name);
	if (!passed)
		printf("     %s\n", reason ? reason : "");
}

static void touch(void *user, const struct kveil_trace_event *event)
{
	struct file *f = user;

	if (!event->rule_id || strcmp(event->outcome, "absent") == 0 || strcmp(event->outcome, "when is false") == 0)
		return;
	for (size_t i = 0; i < f->plan->rule_count; i++)
		if (strcmp(f->plan->rules[i].id, event->rule_id) == 0)
			f->touched[i] = true;
}

static bool check_headers(struct kveil_form_context *c, const struct kveil_example_out *want,
			  const struct kveil_record *got, struct kveil_buf *why)
{
	if (want->header_count != got->header_count) {
		kveil_buf_printf(why, "expected %zu headers, got %zu", want->header_count, got->header_count);
		return false;
	}
	for (size_t i = 0; i < got->header_count; i++) {
		const struct kveil_header *w = &want->headers[i], *g = &got->headers[i];
		char part[256];
		if (!kveil_span_eq(w->name, g->name)) {
			kveil_buf_printf(why, "expected header %.*s, got %.*s", (int)w->name.len,
					 (const char *)w->name.data, (int)g->name.len, (const char *)g->name.data);
			return false;
		}
		snprintf(part, sizeof part, "header:%.*s", (int)w->name.len, (const char *)w->name.data);
		if (!kveil_form_matches_text(c, part, (const char *)w->value.data, g->value, why))
			return false;
	}
	return true;
}

static bool check_outputs(struct kveil_form_context *c, const struct kveil_example *e,
			  const struct kveil_result *result, struct kveil_buf *why)
{
	for (size_t i = 0; i < result->output_count; i++) {
		const struct kveil_output *o = &result->outputs[i];
		const char *view = c->plan->views[o->view].name;
		size_t k = 0;
		while (k < e->out_count && strcmp(e->outs[k].view, view) != 0)
			k++;
		if (*view)
			kveil_buf_printf(why, "output %s: ", view);
		if (k == e->out_count) {
			kveil_buf_append_str(why, "the example does not expect it");
			return false;
		}
		if (!kveil_form_matches(c, &e->outs[k], o->record.value, why) ||
		    !kveil_form_matches_key(c, &e->outs[k], o->record.key, why) ||
		    !check_headers(c, &e->outs[k], &o->record, why))
			return false;
		kveil_buf_reset(why);
	}
	return true;
}

static void tell_error(const struct kveil_example *e, const struct kveil_error *got, struct kveil_buf *why)
{
	if (e->error)
		kveil_buf_printf(why, "expected %s, got ", e->error);
	kveil_buf_printf(why, "%s: %s", kveil_status_code(got->status), got->message);
	if (got->rule[0])
		kveil_buf_printf(why, " (rule %s)", got->rule);
	if (got->hint[0])
		kveil_buf_printf(why, " (%s)", got->hint);
}

static bool check_example(struct file *f, const struct kveil_example *e, struct kveil_buf *why)
{
	struct kveil_form_context c = {.plan = f->plan, .ring = f->ring, .arena = &f->arena};
	struct kveil_record record = {
	    .key = kveil_span_str(e->key), .headers = e->headers, .header_count = e->header_count};
	struct kveil_result result;
	struct kveil_error err;

	c.record = &record;
	if (kveil_keyring_tick(f->ring, kveil_clock_wall_ms(), &err) != KVEIL_OK ||
	    kveil_form_fill(&c, e->value, &record.value, &err) != KVEIL_OK) {
		kveil_buf_append_str(why, err.message);
		return false;
	}
	/* Once for the rules' sake, once as `run` does it: that is the run that counts. */
	kveil_engine_set_trace(f->engine, touch, f);
	kveil_engine_run(f->engine, &record, &result);
	kveil_engine_set_trace(f->engine, NULL, NULL);
	kveil_engine_run(f->engine, &record, &result);
	if (result.verdict != KVEIL_PRODUCE) {
		if (e->error && strcmp(e->error, kveil_status_code(result.error.status)) == 0)
			return true;
		tell_error(e, &result.error, why);
		return false;
	}
	if (e->error) {
		kveil_buf_printf(why, "expected %s, got a record", e->error);
		return false;
	}
	return check_outputs(&c, e, &result, why);
}

static void list_untouched(struct file *f)
{
	for (size_t i = 0; i < f->plan->own_rule_count; i++) {
		const struct kveil_rule *r = &f->plan->rules[i];
		if (f->touched[i])
			continue;
		f->run->untouched++;
		if (f->run->json) {
			add_json(&f->run->rules, f->path, r->line, "rule", r->id);
			kveil_buf_append_byte(&f->run->rules, '}');
		} else {
			printf("     %s:%u: no example touches this rule: %s\n", f->path, r->line, r->id);
		}
	}
}

static bool find_examples(struct file *f)
{
	size_t n = strlen(f->path);
	static const char end[] = ".yaml";

	if (n >= sizeof end - 1 && strcmp(f->path + n - (sizeof end - 1), end) == 0)
		n -= sizeof end - 1;
	snprintf(f->examples_path, sizeof f->examples_path, "%.*s.examples.yaml", (int)n, f->path);
	return access(f->examples_path, F_OK) == 0;
}

static void complain(struct run *r, struct kveil_report *report, const struct kveil_error *err)
{
	if (err)
		kveil_report_add(report, err);
	kveil_report_print(report, stderr);
	kveil_report_clear(report);
	r->broken = true;
}

static void run_examples(struct file *f)
{
	struct kveil_report report = {0};
	struct kveil_example *examples;
	struct kveil_arena memory;
	size_t count = 0;

	kveil_arena_init(&memory, 0);
	if (find_examples(f) && !kveil_examples_load(f->examples_path, f->plan, &memory, &examples, &count, &report)) {
		complain(f->run, &report, NULL);
		count = 0;
	}
	for (size_t i = 0; i < count; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;
		bool passed = check_example(f, &examples[i], &why);
		tell_example(f, &examples[i], passed, &why);
		kveil_arena_reset(&f->arena);
	}
	list_untouched(f);
	kveil_report_clear(&report);
	kveil_arena_clear(&memory);
}

static void run_file(struct run *r, const char *path, struct kveil_keystore *keys)
{
	struct file f = {.run = r, .path = path};
	struct kveil_report report = {0};
	struct kveil_error err;

	kveil_arena_init(&f.arena, 1 << 20);
	f.plan = kveil_plan_load(path, NULL, &report);
	if (!f.plan) {
		complain(r, &report, NULL);
	} else {
		f.touched = calloc(f.plan->rule_count + 1, sizeof *f.touched);
		if (!f.touched || kveil_keyring_new(keys, &f.ring, &err) != KVEIL_OK ||
		    kveil_engine_new(f.plan, f.ring, NULL, &f.engine, &err) != KVEIL_OK)
			complain(r, &report, f.touched ? &err : NULL);
		else
			run_examples(&f);
	}
	kveil_report_clear(&report);
	kveil_engine_free(f.engine);
	kveil_keyring_free(f.ring);
	kveil_plan_unref(f.plan);
	free(f.touched);
	kveil_arena_clear(&f.arena);
}

static int finish(struct run *r, bool strict)
{
	bool failed = r->failed || r->passed == 0 || (strict && r->untouched);

	if (r->json) {
		printf("{\"passed\": %zu, \"failed\": %zu, \"untouched\": %zu, \"examples\": [", r->passed, r->failed,
		       r->untouched);
		const char *examples = kveil_buf_cstr(&r->examples), *rules = kveil_buf_cstr(&r->rules);
		printf("%s], \"untouched_rules\": [%s]}\n", examples ? examples : "", rules ? rules : "");
	} else if (r->passed + r->failed == 0) {
		if (!r->broken)
			printf("no examples: they belong beside a rule file, as orders.examples.yaml beside "
			       "orders.yaml\n");
	} else {
		printf("%zu passed, %zu failed, %zu rule%s without an example\n", r->passed, r->failed, r->untouched,
		       r->untouched == 1 ? "" : "s");
	}
	kveil_buf_clear(&r->examples);
	kveil_buf_clear(&r->rules);
	return r->broken ? KVEIL_EXIT_USAGE : failed ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}

static int test(const char *const *sources, bool strict, bool json)
{
	struct run r = {.json = json};
	struct kveil_report report = {0};
	struct kveil_keystore *keys = NULL;
	struct kveil_error err;
	char **files = kveil_rule_files_list(sources, &report);

	/* The same keys each time, so that an example may also hold what they make. */
	if (report.errors || kveil_keystore_new_test(KVEIL_SPAN("kveil test"), &keys, &err) != KVEIL_OK)
		complain(&r, &report, report.errors ? NULL : &err);
	for (size_t i = 0; keys && files[i]; i++)
		run_file(&r, files[i], keys);
	kveil_rule_files_free(files);
	kveil_keystore_unref(keys);
	kveil_report_clear(&report);
	return finish(&r, strict);
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_test;
	const char *value;
	bool strict = false, json = false;
	int index = 1, code = -1;
	size_t n = 0;
	const char **sources = calloc((size_t)argc + 1, sizeof *sources);

	while (sources && code < 0) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (!f && index >= argc)
			break;
		if (!f)
			sources[n++] = argv[index++];
		else if (f == &kveil_flag_help || f == &kveil_flag_error)
			code = f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		else if (f->short_name == 'r')
			sources[n++] = value;
		else if (strcmp(f->long_name, "strict") == 0)
			strict = true;
		else
			json = true;
	}
	if (code < 0 && n == 0)
		code = kveil_usage_error(cmd, "-r names a rule file or a folder of them");
	if (code < 0)
		code = test(sources, strict, json);
	free(sources);
	return code;
}

const struct kveil_command kveil_command_test = {
    .name = "test",
    .usage = "-r FILE…",
    .help = "run the examples kept beside the rules",
    .flags = flags,
    .run = run,
};

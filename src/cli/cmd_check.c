/* SPDX-License-Identifier: Apache-2.0 */
/* kveil check: every problem of configuration and rules at once, without Kafka and without keys unless --keys asks. */
#include "cli/command.h"

#include "base/options.h"
#include "keyadmin/admin.h"
#include "worker/setup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

extern const struct kveil_command kveil_command_check;

static const struct kveil_flag flags[] = {
    {'c', "config", "FILE",
     "check this configuration and the rules it names (default without -r: kveil.yaml, if "
     "it exists)"},
    {'r', "rules", "FILE",
     "check this rule file, or all in this folder; may be repeated; with -c: as if the configuration named it, in "
     "place of files for the same topics"},
    {0, "keys", NULL, "with -c: also ask every custodian and the key registry"},
    {0, "strict", NULL, "treat warnings as errors"},
    {0, "json", NULL, "print JSON"},
    {0},
};

static void print_json(const struct kveil_report *report, const char *const *what)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	kveil_buf_append_str(&out, "{\"checked\": [");
	for (size_t i = 0; what[i]; i++) {
		kveil_buf_append_str(&out, i ? ", " : "");
		kveil_options_write_json_string(&out, what[i]);
	}
	kveil_buf_printf(&out, "], \"errors\": %zu, \"warnings\": %zu, \"problems\": [", report->errors,
			 report->warnings);
	for (size_t i = 0; i < report->count; i++) {
		const struct kveil_error *e = &report->problems[i].error;
		kveil_buf_printf(&out, "%s{\"severity\": \"%s\", \"file\": ", i ? ", " : "",
				 report->problems[i].warning ? "warning" : "error");
		kveil_options_write_json_string(&out, e->file);
		kveil_buf_printf(&out, ", \"line\": %u, \"column\": %u, \"message\": ", e->line, e->column);
		kveil_options_write_json_string(&out, e->message);
		kveil_buf_append_str(&out, ", \"hint\": ");
		kveil_options_write_json_string(&out, e->hint);
		kveil_buf_append_byte(&out, '}');
	}
	kveil_buf_append_str(&out, "]}\n");
	fwrite(out.data, 1, out.len, stdout);
}

static void print_counts(const struct kveil_report *report, const struct kveil_plan_set *set, bool failed)
{
	if (failed)
		fprintf(stderr, "%zu error%s, %zu warning%s\n", report->errors, report->errors == 1 ? "" : "s",
			report->warnings, report->warnings == 1 ? "" : "s");
	else
		for (size_t i = 0; set && i < set->count; i++)
			printf("%s: %zu rule%s, ok\n", set->plans[i]->file, set->plans[i]->own_rule_count,
			       set->plans[i]->own_rule_count == 1 ? "" : "s");
}

/* `run` says so itself. */
static void warn_unlocked(struct kveil_report *report)
{
	const char *unlocked = getenv("KVEIL_ALLOW_UNLOCKED_KEYS");

	if (unlocked && strcmp(unlocked, "1") == 0)
		kveil_error_hint(kveil_report_warn_at(report, "KVEIL_ALLOW_UNLOCKED_KEYS", 0, 0,
						      "keys may lie in memory that is swapped to a disk"),
				 "raise RLIMIT_MEMLOCK (in a container: --ulimit memlock=) instead");
}

static void warn_outside(void *user, const struct kveil_key_info *v)
{
	struct kveil_error *e =
	    kveil_report_warn_at(user, "keys", 0, 0, "version %u of '%s' cannot be reached", v->version, v->name);
	kveil_error_hint(e, "KEK '%s' is away, refuses it, or is not in keys.keks", v->kek);
}

/* A configuration that is wrong is not asked with. */
static void ask_keys(const struct kveil_setup *s, struct kveil_report *report)
{
	struct kveil_keystore *keys;
	struct kveil_error err = {0};

	if (report->errors)
		return;
	if (kveil_keystore_open_reachable(&s->config->keys, &keys, &err)) {
		kveil_report_add(report, &err);
		return;
	}
	kveil_keys_examine(keys, report);
	kveil_keystore_each_outside(keys, NULL, warn_outside, report);
	kveil_keystore_unref(keys);
}

static int check(const char *config_path, const char *const *rules, bool ask, bool strict, bool json)
{
	struct kveil_report report = {0};
	struct kveil_setup s = {0};
	const char *const config_only[] = {config_path, NULL};

	if (config_path) {
		kveil_setup_load_with(config_path, rules[0] ? rules : NULL, &s, &report);
		kveil_setup_warn(&s, &report);
		warn_unlocked(&report);
		if (ask)
			ask_keys(&s, &report);
	} else {
		s.plans = kveil_plan_set_read(rules, "{topic}.dead", NULL, &report);
	}
	bool failed = report.errors || (strict && report.warnings);
	if (json)
		print_json(&report, config_path ? config_only : rules);
	else
		kveil_report_print(&report, stderr);
	if (!json)
		print_counts(&report, s.plans, failed);
	kveil_setup_clear(&s);
	kveil_report_clear(&report);
	return failed ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}

static int run(int argc, char **argv)
{
	const char *value, *config = NULL;
	bool json = false, strict = false, ask = false;
	int index = 1;
	size_t n = 0;
	const char **rules = calloc((size_t)argc + 1, sizeof *rules);

	if (!rules)
		return KVEIL_EXIT_FAILED;
	for (;;) {
		const struct kveil_flag *f = kveil_flag_next(&kveil_command_check, argc, argv, &index, &value);
		if (!f && index >= argc)
			break;
		if (!f) {
			rules[n++] = argv[index++];
			continue;
		}
		if (f == &kveil_flag_help || f == &kveil_flag_error) {
			free(rules);
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		}
		if (f->short_name == 'c')
			config = value;
		else if (f->short_name == 'r')
			rules[n++] = value;
		else if (strcmp(f->long_name, "strict") == 0)
			strict = true;
		else if (strcmp(f->long_name, "keys") == 0)
			ask = true;
		else
			json = true;
	}
	int code;
	if (!config && !n && access("kveil.yaml", R_OK) == 0)
		config = "kveil.yaml";
	if (ask && !config)
		code = kveil_usage_error(&kveil_command_check, "--keys goes with -c");
	else if (!config && !n)
		code = kveil_usage_error(&kveil_command_check,
					 "there is no kveil.yaml here: -c FILE or -r FILE says what to check");
	else
		code = check(config, rules, ask, strict, json);
	free(rules);
	return code;
}

const struct kveil_command kveil_command_check = {
    .name = "check",
    .usage = "[-c FILE] [-r FILE…]",
    .help = "check configuration and rules; every problem at once",
    .flags = flags,
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* kveil invert: the rule file that opens what another one seals. */
#include "cli/command.h"

#include "rules/invert.h"

#include <stdio.h>

extern const struct kveil_command kveil_command_invert;

static const struct kveil_flag flags[] = {
    {'r', "rules", "FILE", "the rule file that seals"},
    {'o', "output", "NAME", "with several outputs: the one to open"},
    {0},
};

/* What is printed passes `check`, or it is not printed. */
static int print_inverse(const struct kveil_plan *p, size_t view)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_report report = {0};

	if (kveil_plan_write_inverse(p, view, &text) == 0) {
		/* The reasons stand there as comments. */
		fwrite(text.data, 1, text.len, stderr);
		fprintf(stderr, "kveil invert: %s seals nothing that can be opened\n", p->file);
		return KVEIL_EXIT_FAILED;
	}
	if (!kveil_buf_ok(&text)) {
		fprintf(stderr, "kveil invert: out of memory\n");
		return KVEIL_EXIT_FAILED;
	}
	struct kveil_plan *inverse = kveil_plan_parse(kveil_buf_span(&text), "the inverse", NULL, &report);
	if (!inverse)
		kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	if (!inverse)
		return KVEIL_EXIT_FAILED;
	kveil_plan_unref(inverse);
	bool ok = fwrite(text.data, 1, text.len, stdout) == text.len && fflush(stdout) == 0;
	return ok ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

static int choose_view(const struct kveil_plan *p, const char *output)
{
	for (size_t i = 0; i < p->view_count; i++)
		if (output ? strcmp(p->views[i].name, output) == 0 : p->view_count == 1)
			return (int)i;
	fprintf(stderr, "kveil invert: %s: --output NAME is one of", p->file);
	for (size_t i = 0; i < p->view_count; i++)
		fprintf(stderr, " %s", *p->views[i].name ? p->views[i].name : "(it has one output without a name)");
	fputc('\n', stderr);
	return -1;
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_invert;
	const char *value, *rules = NULL, *output = NULL;
	struct kveil_report report = {0};
	int index = 1;

	for (const struct kveil_flag *f; (f = kveil_flag_next(cmd, argc, argv, &index, &value));) {
		if (f == &kveil_flag_help || f == &kveil_flag_error)
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		if (f->short_name == 'r')
			rules = value;
		else
			output = value;
	}
	if (!rules || index < argc)
		return kveil_usage_error(cmd, "-r names the rule file");
	struct kveil_plan *p = kveil_plan_load(rules, NULL, &report);
	if (!p)
		kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	int view = p ? choose_view(p, output) : -1;
	int code = view < 0 ? KVEIL_EXIT_USAGE : print_inverse(p, (size_t)view);
	kveil_plan_unref(p);
	return code;
}

const struct kveil_command kveil_command_invert = {
    .name = "invert",
    .usage = "-r FILE",
    .help = "print the rule file that opens what this one seals",
    .flags = flags,
    .run = run,
};

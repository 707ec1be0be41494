/* SPDX-License-Identifier: Apache-2.0 */
/* What all commands share: their flags, help and exit codes. */
#include "cli/command.h"

#include "base/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

const struct kveil_command *const *kveil_commands;
const struct kveil_flag kveil_flag_error, kveil_flag_help;

int kveil_usage_error(const struct kveil_command *cmd, const char *fmt, ...)
{
	va_list args;

	fprintf(stderr, "kveil %s: ", cmd->name);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fprintf(stderr, "\ntry: kveil %s --help\n", cmd->name);
	return KVEIL_EXIT_USAGE;
}

int kveil_failed(const struct kveil_command *cmd, const struct kveil_error *err, int otherwise)
{
	char text[1024];

	fprintf(stderr, "kveil %s: %s\n", cmd->name,
		kveil_error_format(err, kveil_status_code(err->status), text, sizeof text));
	return kveil_status_class(err->status) == KVEIL_CLASS_CONFIG ? KVEIL_EXIT_USAGE : otherwise;
}

static void print_flags(const struct kveil_flag *flags, FILE *to)
{
	static const struct kveil_flag none;

	for (const struct kveil_flag *f = flags ? flags : &none; f->long_name; f++) {
		char left[64];
		snprintf(left, sizeof left, "%c%c%s --%s%s%s", f->short_name ? '-' : ' ',
			 f->short_name ? f->short_name : ' ', f->short_name ? "," : " ", f->long_name,
			 f->argument ? " " : "", f->argument ? f->argument : "");
		fprintf(to, "  %-28s %s\n", left, f->help);
	}
	fprintf(to, "  %-28s %s\n", "-h, --help", "this text");
}

static void print_command_help(const struct kveil_command *c, FILE *to)
{
	fprintf(to, "usage: kveil %s %s\n%s\n\n", c->name, c->usage, c->help);
	print_flags(c->flags, to);
}

const struct kveil_flag *kveil_flag_next(const struct kveil_command *cmd, int argc, char **argv, int *index,
					 const char **ret_value)
{
	static const struct kveil_flag none;

	*ret_value = NULL;
	if (*index >= argc)
		return NULL;
	char *arg = argv[*index];
	if (arg[0] != '-' || arg[1] == 0)
		return NULL;
	++*index;
	if (strcmp(arg, "--") == 0)
		return NULL;
	if (strcmp(arg, "-h") == 0 || strcmp(arg, "--help") == 0) {
		print_command_help(cmd, stdout);
		return &kveil_flag_help;
	}
	for (const struct kveil_flag *f = cmd->flags ? cmd->flags : &none; f->long_name; f++) {
		size_t n = strlen(f->long_name);
		bool is_long = strncmp(arg, "--", 2) == 0 && strncmp(arg + 2, f->long_name, n) == 0 &&
			       (arg[2 + n] == 0 || arg[2 + n] == '=');
		bool is_short = arg[1] != '-' && arg[1] == f->short_name;
		if (!is_long && !is_short)
			continue;
		const char *glued = is_long ? (arg[2 + n] == '=' ? arg + 3 + n : NULL) : (arg[2] ? arg + 2 : NULL);
		if (!f->argument) {
			if (glued) {
				kveil_usage_error(cmd, "--%s takes no value", f->long_name);
				return &kveil_flag_error;
			}
			return f;
		}
		if (glued)
			*ret_value = glued;
		else if (*index < argc)
			*ret_value = argv[(*index)++];
		else {
			kveil_usage_error(cmd, "--%s needs %s", f->long_name, f->argument);
			return &kveil_flag_error;
		}
		return f;
	}
	const char *names[64], *near;
	size_t count = 0;
	for (const struct kveil_flag *f = cmd->flags ? cmd->flags : &none; f->long_name && count < 63; f++)
		names[count++] = f->long_name;
	names[count] = NULL;
	near = kveil_text_nearest(arg + strspn(arg, "-"), names);
	if (near)
		kveil_usage_error(cmd, "unknown option '%s' (did you mean '--%s'?)", arg, near);
	else
		kveil_usage_error(cmd, "unknown option '%s'", arg);
	return &kveil_flag_error;
}

bool kveil_flag_count(const char *text, uint64_t most, uint64_t *ret)
{
	char *end;

	errno = 0;
	*ret = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == 0 && errno == 0 && *ret > 0 && *ret <= most;
}

/* The length of the action's name that text begins with, if a list of names and a colon is what it begins with. */
static size_t action_name(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz-");

	return n && (text[n] == ':' || (text[n] == ',' && text[n + 1] == ' ' && action_name(text + n + 2))) ? n : 0;
}

static bool has_flag(const struct kveil_flag *f, const char *action)
{
	size_t n = action_name(f->help);

	if (!n)
		return true;
	for (const char *at = f->help;; at += n + 2) {
		n = action_name(at);
		if (n == strlen(action) && memcmp(at, action, n) == 0)
			return true;
		if (at[n] == ':')
			return false;
	}
}

int kveil_flag_foreign(const struct kveil_command *cmd, const char *action, unsigned given)
{
	for (const struct kveil_flag *f = cmd->flags; f->long_name; f++)
		if (given & 1u << (f - cmd->flags) && !has_flag(f, action))
			return kveil_usage_error(cmd, "--%s is not an option of `kveil %s %s`", f->long_name, cmd->name,
						 action);
	return KVEIL_EXIT_OK;
}

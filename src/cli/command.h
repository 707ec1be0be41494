/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/command.h: one file and one row a subcommand (the table is in main.c). Exit codes: 0 ok; 1 a record, a check or
 * an example failed; 2 usage or configuration; `run` and `replay` add 3 (stopped by an error at runtime), `run` 4 (the
 * shutdown watchdog).
 */
#ifndef KVEIL_CLI_COMMAND_H
#define KVEIL_CLI_COMMAND_H

#include "kveil/base.h"

enum { KVEIL_EXIT_OK, KVEIL_EXIT_FAILED, KVEIL_EXIT_USAGE, KVEIL_EXIT_RUNTIME, KVEIL_EXIT_WATCHDOG };

/* One row an option: help, parsing, completion and docs/commands.md come out of it. */
struct kveil_flag {
	char short_name;       /* 0 = none */
	const char *long_name; /* without dashes */
	const char *argument;  /* "FILE"; NULL = a switch */
	/* In a command with actions it begins with the names of those that have the option, if not all do: "list, show:
	 * as JSON". kveil_flag_foreign reads that. */
	const char *help;
};

struct kveil_command {
	const char *name;
	const char *usage;        /* "-r FILE [FILE]": behind `kveil NAME` */
	const char *help;         /* one line */
	const char *const *words; /* what its first operand may be, for completion; ends with NULL. NULL = files */
	const struct kveil_flag *flags; /* ends with a zero row; -h/--help is always there */
	/* argv[0] is the subcommand's name. */
	int (*run)(int argc, char **argv);
};

/* The table of main.c, which sets it: commands need nothing of main.c. Ends with NULL. */
extern const struct kveil_command *const *kveil_commands;

/* Walks argv: returns the next flag's row (its argument in *ret_value), NULL at the end (operands then begin at
 * *index), or prints a usage error and returns &kveil_flag_error. -h prints help and returns &kveil_flag_help. */
extern const struct kveil_flag kveil_flag_error, kveil_flag_help;
const struct kveil_flag *kveil_flag_next(const struct kveil_command *cmd, int argc, char **argv, int *index,
					 const char **ret_value);
/* Is text a whole number from 1 to most? */
bool kveil_flag_count(const char *text, uint64_t most, uint64_t *ret);
/* given: a bit for each row of the command's flags. Says which of them the action does not have and returns
 * KVEIL_EXIT_USAGE, or returns KVEIL_EXIT_OK. */
int kveil_flag_foreign(const struct kveil_command *cmd, const char *action, unsigned given);
/* "kveil NAME: message", and where help is. Returns KVEIL_EXIT_USAGE. */
int kveil_usage_error(const struct kveil_command *cmd, const char *fmt, ...) KVEIL_PRINTF(2, 3);
/* "kveil NAME: message", with the error's code. Returns KVEIL_EXIT_USAGE for an error of the configuration, otherwise
 * what the caller says. */
int kveil_failed(const struct kveil_command *cmd, const struct kveil_error *err, int otherwise);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands, and the one that was asked for. */
#include "cli/command.h"

#include "base/text.h"
#include "keytopic/registry_kafka.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

/* One row a command, in the order of help. */
#define COMMANDS(X)                                                                                                    \
	X(init)                                                                                                        \
	X(apply)                                                                                                       \
	X(run)                                                                                                         \
	X(replay)                                                                                                      \
	X(dead_letters)                                                                                                \
	X(keys)                                                                                                        \
	X(check)                                                                                                       \
	X(rules)                                                                                                       \
	X(test)                                                                                                        \
	X(invert)                                                                                                      \
	X(demo)                                                                                                        \
	X(bench)                                                                                                       \
	X(schema)                                                                                                      \
	X(completion)                                                                                                  \
	X(health)                                                                                                      \
	X(status)                                                                                                      \
	X(version)

#define X(name) extern const struct kveil_command kveil_command_##name;
COMMANDS(X)
#undef X

static const struct kveil_command *const commands[] = {
#define X(name) &kveil_command_##name,
    COMMANDS(X)
#undef X
	NULL,
};

static void print_help(FILE *to)
{
	fprintf(to, "usage: kveil COMMAND [OPTIONS]\n\n"
		    "Protects chosen fields of Kafka records by rule, and never passes on what it could not "
		    "protect.\n\n");
	for (size_t i = 0; commands[i]; i++)
		fprintf(to, "  %-12s %s\n", commands[i]->name, commands[i]->help);
	fprintf(to, "\nkveil COMMAND --help tells more.\n");
}

/* What was not written was not done: a full disk under stdout is a failure. EPIPE: the reader is gone.
 */
static int ended(int code)
{
	if (code != KVEIL_EXIT_OK || (fflush(stdout) == 0 && !ferror(stdout)))
		return code;
	if (errno != EPIPE)
		fprintf(stderr, "kveil: cannot write to stdout: %s\n", strerror(errno));
	return KVEIL_EXIT_FAILED;
}

/* What is opened next would else stand in for one of these: a log line in a connection's stream, a key in a socket.
 * Reading from the one and writing to the others fails. */
static void hold_standard_descriptors(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
			_exit(KVEIL_EXIT_USAGE);
}

int main(int argc, char **argv)
{
	hold_standard_descriptors();
	/* A limit on the size of files is an error of writing, like a full disk. */
	signal(SIGXFSZ, SIG_IGN);
	kveil_registry_driver_add(&kveil_registry_kafka);
	kveil_commands = commands;
	if (argc < 2) {
		print_help(stderr);
		return KVEIL_EXIT_USAGE;
	}
	/* `kveil --version` and `kveil run --version`, and `kveil help run` for `kveil run --help`. */
	static char version[] = "version", help[] = "--help";
	if (argc == 3 && strcmp(argv[2], "--version") == 0)
		argc = 2, argv[1] = version;
	if (strcmp(argv[1], "--version") == 0)
		argv[1] = version;
	if (argc == 3 && strcmp(argv[1], "help") == 0) {
		argv[1] = argv[2];
		argv[2] = help;
	}
	if (strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
		print_help(stdout);
		return KVEIL_EXIT_OK;
	}
	const char *names[sizeof commands / sizeof *commands] = {0};
	for (size_t i = 0; commands[i]; i++) {
		names[i] = commands[i]->name;
		if (strcmp(argv[1], names[i]) == 0)
			return ended(commands[i]->run(argc - 1, argv + 1));
	}
	const char *near = kveil_text_nearest(argv[1], names);
	if (near) {
		fprintf(stderr, "kveil: no command '%s' (did you mean '%s'?)\n", argv[1], near);
		return KVEIL_EXIT_USAGE;
	}
	fprintf(stderr, "kveil: no command '%s'\n", argv[1]);
	print_help(stderr);
	return KVEIL_EXIT_USAGE;
}

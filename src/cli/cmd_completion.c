/* SPDX-License-Identifier: Apache-2.0 */
/* kveil completion: scripts for bash, zsh and fish, out of the table of commands. */
#include "base/buf.h"
#include "cli/command.h"

#include <stdio.h>

extern const struct kveil_command kveil_command_completion;

static const struct kveil_flag none;

static const struct kveil_flag *flags_of(const struct kveil_command *c)
{
	return c->flags ? c->flags : &none;
}

static bool takes_file(const struct kveil_flag *f)
{
	static const char *const kinds[] = {"FILE", "FOLDER", "DIR", "PATH"};

	for (size_t i = 0; f->argument && i < sizeof kinds / sizeof *kinds; i++)
		if (strstr(f->argument, kinds[i]))
			return true;
	return false;
}

/* Inside '…'; with colon, brackets and colons are escaped too, as zsh's _arguments wants it. */
static void write_quoted(struct kveil_buf *out, const char *s, const char *quote, const char *escape)
{
	for (; *s; s++) {
		if (*s == '\'')
			kveil_buf_append_str(out, quote);
		else {
			if (strchr(escape, *s))
				kveil_buf_append_byte(out, '\\');
			kveil_buf_append_byte(out, (uint8_t)*s);
		}
	}
}

static void write_names(struct kveil_buf *out, const char *const *words)
{
	for (size_t i = 0; words && words[i]; i++)
		kveil_buf_printf(out, "%s%s", i ? " " : "", words[i]);
}

static void write_bash(struct kveil_buf *out)
{
	kveil_buf_append_str(
	    out, "# bash completion for kveil: source <(kveil completion bash)\n"
		 "_kveil() {\n"
		 "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} flags= words= files=\n"
		 "\tif ((COMP_CWORD == 1)); then\n"
		 "\t\tmapfile -t COMPREPLY < <(compgen -W '");
	for (size_t i = 0; kveil_commands[i]; i++)
		kveil_buf_printf(out, "%s ", kveil_commands[i]->name);
	kveil_buf_append_str(out, "help' -- \"$cur\")\n\t\treturn\n\tfi\n\tcase ${COMP_WORDS[1]} in\n");
	for (size_t i = 0; kveil_commands[i]; i++) {
		const struct kveil_command *c = kveil_commands[i];
		kveil_buf_printf(out, "\t%s)\n\t\tflags='", c->name);
		for (const struct kveil_flag *f = flags_of(c); f->long_name; f++)
			kveil_buf_printf(out, "--%s ", f->long_name);
		kveil_buf_append_str(out, "--help'\n\t\twords='");
		write_names(out, c->words);
		kveil_buf_append_str(out, "'\n\t\tcase $prev in\n");
		for (const struct kveil_flag *f = flags_of(c); f->long_name; f++) {
			if (!f->argument)
				continue;
			kveil_buf_append_str(out, "\t\t");
			if (f->short_name)
				kveil_buf_printf(out, "-%c | ", f->short_name);
			kveil_buf_printf(out, "--%s) files=%s ;;\n", f->long_name, takes_file(f) ? "only" : "none");
		}
		kveil_buf_append_str(out, "\t\tesac\n\t\t;;\n");
	}
	kveil_buf_append_str(
	    out, "\tesac\n"
		 "\tif [[ $files == none ]]; then\n\t\tCOMPREPLY=()\n"
		 "\telif [[ $files == only || ($cur != -* && -z $words) ]]; then\n"
		 "\t\tcompopt -o filenames\n\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
		 "\telif [[ $cur == -* ]]; then\n\t\tmapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$cur\")\n"
		 "\telse\n\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n\tfi\n}\n"
		 "complete -F _kveil kveil\n");
}

static void write_zsh(struct kveil_buf *out)
{
	static const char quote[] = "'\\''";

	kveil_buf_append_str(out, "#compdef kveil\n"
				  "# zsh completion for kveil: kveil completion zsh > \"${fpath[1]}/_kveil\"\n"
				  "_kveil() {\n\tlocal -a commands\n\tcommands=(\n");
	for (size_t i = 0; kveil_commands[i]; i++) {
		kveil_buf_printf(out, "\t\t'%s:", kveil_commands[i]->name);
		write_quoted(out, kveil_commands[i]->help, quote, "");
		kveil_buf_append_str(out, "'\n");
	}
	kveil_buf_append_str(out, "\t)\n\tif ((CURRENT == 2)); then\n\t\t_describe command commands\n\t\treturn\n\tfi\n"
				  "\tlocal command=$words[2]\n\tshift words\n\t((CURRENT--))\n\tcase $command in\n");
	for (size_t i = 0; kveil_commands[i]; i++) {
		const struct kveil_command *c = kveil_commands[i];
		kveil_buf_printf(out, "\t%s)\n\t\t_arguments", c->name);
		for (const struct kveil_flag *f = flags_of(c); f->long_name; f++)
			for (int is_long = 0; is_long < 2; is_long++) {
				if (!is_long && !f->short_name)
					continue;
				if (is_long)
					kveil_buf_printf(out, " \\\n\t\t\t'--%s%s[", f->long_name,
							 f->argument ? "=" : "");
				else
					kveil_buf_printf(out, " \\\n\t\t\t'-%c[", f->short_name);
				write_quoted(out, f->help, quote, "[]:\\");
				kveil_buf_append_byte(out, ']');
				if (f->argument)
					kveil_buf_printf(out, ":%s:%s", f->argument, takes_file(f) ? "_files" : "");
				kveil_buf_append_byte(out, '\'');
			}
		kveil_buf_append_str(out, " \\\n\t\t\t'--help[this text]' \\\n\t\t\t");
		if (c->words) {
			kveil_buf_append_str(out, "'1:word:(");
			write_names(out, c->words);
			kveil_buf_append_str(out, ")'");
		} else
			kveil_buf_append_str(out, "'*:file:_files'");
		kveil_buf_append_str(out, "\n\t\t;;\n");
	}
	kveil_buf_append_str(out, "\tesac\n}\n_kveil \"$@\"\n");
}

static void write_fish(struct kveil_buf *out)
{
	static const char quote[] = "\\'";

	kveil_buf_append_str(
	    out, "# fish completion for kveil: kveil completion fish > ~/.config/fish/completions/kveil.fish\n");
	for (size_t i = 0; kveil_commands[i]; i++) {
		const struct kveil_command *c = kveil_commands[i];
		kveil_buf_printf(out, "complete -c kveil -f -n __fish_use_subcommand -a %s -d '", c->name);
		write_quoted(out, c->help, quote, "\\");
		kveil_buf_append_str(out, "'\n");
		for (const struct kveil_flag *f = flags_of(c); f->long_name; f++) {
			kveil_buf_printf(out, "complete -c kveil -n '__fish_seen_subcommand_from %s'", c->name);
			if (f->short_name)
				kveil_buf_printf(out, " -s %c", f->short_name);
			kveil_buf_printf(out, " -l %s%s -d '", f->long_name,
					 !f->argument    ? ""
					 : takes_file(f) ? " -r -F"
							 : " -x");
			write_quoted(out, f->help, quote, "\\");
			kveil_buf_append_str(out, "'\n");
		}
		if (c->words) {
			kveil_buf_printf(out, "complete -c kveil -f -n '__fish_seen_subcommand_from %s' -a '", c->name);
			write_names(out, c->words);
			kveil_buf_append_str(out, "'\n");
		}
	}
}

static const struct {
	const char *name;
	void (*write)(struct kveil_buf *out);
} shells[] = {{"bash", write_bash}, {"zsh", write_zsh}, {"fish", write_fish}};
static const char *const words[] = {"bash", "zsh", "fish", NULL};

static int run(int argc, char **argv)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	const char *value;
	int index = 1;
	const struct kveil_flag *f = kveil_flag_next(&kveil_command_completion, argc, argv, &index, &value);

	if (f)
		return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
	if (argc - index != 1)
		return kveil_usage_error(&kveil_command_completion, "which shell: bash, zsh or fish?");
	for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
		if (strcmp(shells[i].name, argv[index]) == 0) {
			shells[i].write(&out);
			bool ok = kveil_buf_ok(&out) && fwrite(out.data, 1, out.len, stdout) == out.len;
			return ok ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
		}
	return kveil_usage_error(&kveil_command_completion, "no shell '%s': bash, zsh or fish", argv[index]);
}

const struct kveil_command kveil_command_completion = {
    .name = "completion",
    .usage = "bash|zsh|fish",
    .help = "print a shell completion script",
    .words = words,
    .run = run,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* Manual pages (section 1, man(7) macros), out of the table of commands. */
#include "cli/command.h"
#include "cli/pages.h"

#include <ctype.h>

static const char exit_status[] = ".SH EXIT STATUS\n"
				  ".TP\n.B 0\nsuccess\n"
				  ".TP\n.B 1\na record, a check or an example failed\n"
				  ".TP\n.B 2\nthe command line or the configuration is wrong\n"
				  ".TP\n.B 3\nrun and replay: stopped by an error at runtime\n"
				  ".TP\n.B 4\nrun: draining took too long at the end\n";

/* Plain text: nothing in it is a request, a dash is one to copy, `code` is bold. */
static void write_text(struct kveil_buf *out, const char *s)
{
	bool bold = false;

	if (*s == '.' || *s == '\'')
		kveil_buf_append_str(out, "\\&");
	for (; *s; s++)
		if (*s == '`') {
			kveil_buf_append_str(out, bold ? "\\fR" : "\\fB");
			bold = !bold;
		} else if (*s == '\\')
			kveil_buf_append_str(out, "\\e");
		else if (*s == '-')
			kveil_buf_append_str(out, "\\-");
		else if (*s == '\'')
			kveil_buf_append_str(out, "\\(aq");
		else if (strncmp(s, "…", strlen("…")) == 0) {
			kveil_buf_append_str(out, "\\|.\\|.\\|.");
			s += strlen("…") - 1;
		} else
			kveil_buf_append_byte(out, (uint8_t)*s);
}

static void write_title(struct kveil_buf *out, const char *name, const char *help)
{
	kveil_buf_append_str(out, ".TH KVEIL");
	if (name)
		kveil_buf_append_byte(out, '-');
	for (const char *c = name; c && *c; c++)
		kveil_buf_append_byte(out, (uint8_t)toupper((unsigned char)*c));
	kveil_buf_printf(out, " 1 \"\" \"kveil %s\" \"kveil\"\n.SH NAME\nkveil", KVEIL_VERSION);
	if (name)
		kveil_buf_printf(out, "\\-%s", name);
	kveil_buf_append_str(out, " \\- ");
	write_text(out, help);
	kveil_buf_append_byte(out, '\n');
}

static void write_sentence(struct kveil_buf *out, const char *s)
{
	const char first[] = {(char)toupper((unsigned char)*s), 0};

	kveil_buf_append_str(out, first);
	write_text(out, s + 1);
	kveil_buf_append_str(out, ".\n");
}

static void write_flag(struct kveil_buf *out, const struct kveil_flag *f)
{
	kveil_buf_append_str(out, ".TP\n");
	if (f->short_name)
		kveil_buf_printf(out, "\\fB\\-%c\\fR, ", f->short_name);
	kveil_buf_append_str(out, "\\fB\\-\\-");
	write_text(out, f->long_name);
	kveil_buf_append_str(out, "\\fR");
	if (f->argument) {
		kveil_buf_append_str(out, " \\fI");
		write_text(out, f->argument);
		kveil_buf_append_str(out, "\\fR");
	}
	kveil_buf_append_byte(out, '\n');
	write_text(out, f->help);
	kveil_buf_append_byte(out, '\n');
}

static void write_command(struct kveil_buf *out, const struct kveil_command *c)
{
	static const struct kveil_flag help = {'h', "help", NULL, "a summary of these options"};

	write_title(out, c->name, c->help);
	kveil_buf_printf(out, ".SH SYNOPSIS\n.B kveil %s\n", c->name);
	write_text(out, c->usage);
	kveil_buf_append_str(out, "\n.SH DESCRIPTION\n");
	write_sentence(out, c->help);
	if (c->words) {
		kveil_buf_append_str(out, ".PP\nThe first operand is one of:\n");
		for (size_t i = 0; c->words[i]; i++)
			kveil_buf_printf(out, "%s\\fB%s\\fR", i ? ",\n" : "", c->words[i]);
		kveil_buf_append_str(out, ".\n");
	}
	kveil_buf_append_str(out, ".SH OPTIONS\n");
	for (const struct kveil_flag *f = c->flags; f && f->long_name; f++)
		write_flag(out, f);
	write_flag(out, &help);
	kveil_buf_append_str(out, exit_status);
	kveil_buf_append_str(out, ".SH SEE ALSO\n.BR kveil (1)\n");
}

static void write_overview(struct kveil_buf *out)
{
	write_title(out, NULL, "protect chosen fields of Kafka records by rule");
	kveil_buf_append_str(
	    out,
	    ".SH SYNOPSIS\n.B kveil\n.I command\n[\\fIoptions\\fR]\n.SH DESCRIPTION\n"
	    "Consumes Kafka topics, protects chosen fields by rule (encrypts, masks, hashes, replaces, removes) and "
	    "republishes them. No clear value that a rule names is ever passed on, whatever goes wrong, and no "
	    "record is lost: a record that cannot be protected goes, sealed, to a dead\\-letter topic.\n"
	    ".SH COMMANDS\n");
	for (size_t i = 0; kveil_commands[i]; i++) {
		kveil_buf_printf(out, ".TP\n.BR kveil\\-%s (1)\n", kveil_commands[i]->name);
		write_text(out, kveil_commands[i]->help);
		kveil_buf_append_byte(out, '\n');
	}
	kveil_buf_append_str(out, exit_status);
	kveil_buf_append_str(
	    out,
	    ".SH ENVIRONMENT\n.TP\n.BI KVEIL_ OPTION\n"
	    "overrides an option of the configuration: \\fBKVEIL_KAFKA_BOOTSTRAP_SERVERS\\fR is "
	    "\\fBkafka.bootstrap_servers\\fR\n"
	    ".TP\n.B NO_COLOR\nno colours on a terminal\n"
	    ".SH FILES\n.TP\n.I kveil.yaml\nthe configuration; \\fBkveil schema config\\fR prints its JSON Schema\n"
	    ".TP\n.I rules/*.yaml\none rule file a data set; \\fBkveil schema rules\\fR prints their JSON Schema\n"
	    ".SH EXAMPLES\n.TP\n.B kveil demo\nall of it on an embedded broker\n"
	    ".TP\n.B kveil apply \\-\\-demo\\-keys \\-\\-diff \\-r rules/orders.yaml orders.json\n"
	    "what rules do to records of your own\n"
	    ".TP\n.B kveil run \\-c kveil.yaml\nthe worker\n");
	kveil_buf_append_str(out, ".SH SEE ALSO\n");
	for (size_t i = 0; kveil_commands[i]; i++)
		kveil_buf_printf(out, ".BR kveil\\-%s (1)%s\n", kveil_commands[i]->name,
				 kveil_commands[i + 1] ? "," : "");
}

bool kveil_man_write(const char *name, struct kveil_buf *out)
{
	if (strcmp(name, "kveil") == 0) {
		write_overview(out);
		return true;
	}
	for (size_t i = 0; kveil_commands[i]; i++)
		if (strcmp(name, kveil_commands[i]->name) == 0) {
			write_command(out, kveil_commands[i]);
			return true;
		}
	return false;
}

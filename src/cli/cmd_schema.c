/* SPDX-License-Identifier: Apache-2.0 */
/* kveil schema: JSON Schemas for editors and the reference pages, both out of the option tables. */
#include "base/buf.h"
#include "base/options.h"
#include "cli/command.h"
#include "cli/reference.h"
#include "rules/schema.h"
#include "worker/config_reference.h"

#include <jansson.h>
#include <stdio.h>

extern const struct kveil_command kveil_command_schema;

static const struct {
	const char *name;
	void (*write)(struct kveil_buf *out);
} schemas[] = {
    {"rules", kveil_rules_write_schema},
    {"config", kveil_config_write_schema},
};
static const char *const words[] = {"rules", "config", NULL};

static int print_schema(const char *name)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	for (size_t i = 0; i < sizeof schemas / sizeof *schemas; i++) {
		if (strcmp(schemas[i].name, name) != 0)
			continue;
		schemas[i].write(&out);
		const char *text = kveil_buf_cstr(&out);
		json_error_t why;
		json_t *schema = text ? json_loads(text, JSON_REJECT_DUPLICATES, &why) : NULL;
		if (!schema) {
			fprintf(stderr, "kveil schema: %s\n", text ? why.text : "out of memory");
			return KVEIL_EXIT_FAILED;
		}
		int failed = json_dumpf(schema, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(schema);
		return failed ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
	}
	struct kveil_error err = {0};
	kveil_options_suggest(&err, name, words);
	return kveil_usage_error(&kveil_command_schema, "no schema '%s' (%s)", name, err.hint);
}

static int print(const struct kveil_buf *out)
{
	bool ok = kveil_buf_ok(out) && fwrite(out->data, 1, out->len, stdout) == out->len;

	return ok ? KVEIL_EXIT_OK : KVEIL_EXIT_FAILED;
}

static int print_page(const char *name)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	for (const struct kveil_page *p = kveil_pages; p->name; p++)
		if (strcmp(p->name, name) == 0) {
			p->write(&out);
			return print(&out);
		}
	return kveil_usage_error(&kveil_command_schema, "no page '%s'", name);
}

static int print_man(const char *name)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;

	if (!kveil_man_write(name, &out))
		return kveil_usage_error(&kveil_command_schema, "no manual page '%s'", name);
	return print(&out);
}

static const struct kveil_flag flags[] = {
    {0, "markdown", "PAGE",
     "a page of the reference instead: actions, commands, configuration, errors, metrics, rules"},
    {0, "man", "COMMAND", "the manual page of a command, or of kveil, instead"},
    {0},
};

static int run(int argc, char **argv)
{
	const struct kveil_flag *f;
	const char *value, *page = NULL, *man = NULL;
	int index = 1;

	while ((f = kveil_flag_next(&kveil_command_schema, argc, argv, &index, &value))) {
		if (f == &kveil_flag_help)
			return KVEIL_EXIT_OK;
		if (f == &kveil_flag_error)
			return KVEIL_EXIT_USAGE;
		*(f == &flags[0] ? &page : &man) = value;
	}
	if (argc - index > (page || man ? 0 : 1))
		return kveil_usage_error(&kveil_command_schema, "too many arguments");
	if (page)
		return print_page(page);
	if (man)
		return print_man(man);
	return print_schema(index < argc ? argv[index] : "rules");
}

const struct kveil_command kveil_command_schema = {
    .name = "schema",
    .usage = "[rules|config] [--markdown PAGE | --man COMMAND]",
    .help = "JSON Schemas of rule files and kveil.yaml, for editors",
    .words = words,
    .flags = flags,
    .run = run,
};

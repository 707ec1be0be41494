/* SPDX-License-Identifier: Apache-2.0 */
/* kveil schema: JSON Schemas for editors and the reference pages, both out of the option tables. */
#include "base/buf.h"
#include "base/options.h"
#include "cli/apply.h"
#include "cli/avro_samples.h"
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
static const char *const words[] = {"rules", "config",
#ifdef KVEIL_WITH_AVRO
				    "derive",
#endif
				    NULL};

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

/* The schema under which records in Avro come out. */
static int print_derived(const char *rules, const char *file)
{
	const struct kveil_apply_source source = {.rules = rules, .only_plan = true};
	struct kveil_apply_session session;
	struct kveil_engine_schema *schema = NULL;
	struct kveil_error err;
	char text[1024];
	int code = kveil_apply_open(&source, &kveil_command_schema, &session);

	if (code != KVEIL_EXIT_OK)
		return code;
	if (kveil_avro_schema_load(file, session.engine, &schema, &err) == KVEIL_OK) {
		struct kveil_span derived = kveil_engine_schema_derived(schema);
		printf("%.*s\n", (int)derived.len, (const char *)derived.data);
	} else {
		fprintf(stderr, "kveil schema: %s\n", kveil_error_format(&err, "error", text, sizeof text));
		code = KVEIL_EXIT_FAILED;
	}
	kveil_engine_schema_free(schema);
	kveil_apply_close(&session);
	return code;
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_schema;
	const char *value, *page = NULL, *man = NULL, *rules = NULL, *given[2] = {"rules", NULL};
	size_t count = 0;
	int index = 1;

	for (;;) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (!f && index >= argc)
			break;
		if (!f && count == 2)
			return kveil_usage_error(cmd, "too many arguments");
		if (!f)
			given[count++] = argv[index++];
		else if (f == &kveil_flag_help || f == &kveil_flag_error)
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		else if (f->short_name == 'r')
			rules = value;
		else
			*(strcmp(f->long_name, "man") == 0 ? &man : &page) = value;
	}
	bool derives = !page && !man && strcmp(given[0], "derive") == 0;
	if (derives && (!rules || count != 2))
		return kveil_usage_error(cmd, "derive takes -r RULES and one schema");
	if (!derives && (rules || count > (page || man ? 0 : 1)))
		return kveil_usage_error(cmd, rules ? "-r goes with derive" : "too many arguments");
	if (derives)
		return print_derived(rules, given[1]);
	if (man)
		return print_man(man);
	return page ? print_page(page) : print_schema(given[0]);
}

static const struct kveil_flag flags[] = {
#ifdef KVEIL_WITH_AVRO
    {'r', "rules", "FILE", "with derive: the rule file"},
#endif
    {0, "markdown", "PAGE",
     "a page of the reference instead: actions, commands, configuration, errors, events, metrics, rules"},
    {0, "man", "COMMAND", "the manual page of a command, or of kveil, instead"},
    {0},
};

const struct kveil_command kveil_command_schema = {
    .name = "schema",
#ifdef KVEIL_WITH_AVRO
    .usage = "[rules|config] [--markdown PAGE | --man COMMAND] | derive -r FILE SCHEMA",
    .help = "JSON Schemas of rule files and kveil.yaml, for editors; the derived schema of one in Avro",
#else
    .usage = "[rules|config] [--markdown PAGE | --man COMMAND]",
    .help = "JSON Schemas of rule files and kveil.yaml, for editors",
#endif
    .words = words,
    .flags = flags,
    .run = run,
};

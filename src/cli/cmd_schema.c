/* SPDX-License-Identifier: Apache-2.0 */
/* kveil schema: JSON Schemas for editors and the reference pages, both out of the option tables. */
#include "base/buf.h"
#include "base/options.h"
#include "base/secret.h"
#include "cli/command.h"
#include "cli/pages.h"
#include "cli/schema_registry.h"
#include "config/config_reference.h"
#include "rules/schema.h"

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
static const char *const words[] = {"rules",  "config",
#ifdef KVEIL_WITH_AVRO
				    "derive", "get",    "check", "register",
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

struct options {
	const char *page, *man, *given[2];
	size_t count;
	struct kveil_schema_options schema;
	unsigned flags; /* a bit a row */
};

/* What is done with a schema in Avro. */
struct action {
	const char *name;
	int (*run)(const struct kveil_command *cmd, const struct kveil_schema_options *o);
	bool needs_registry, needs_rules;
};

static const struct action actions[] = {
#ifdef KVEIL_WITH_AVRO
    {"derive", kveil_schema_derive, false, true},
    {"get", kveil_schema_get, true, false},
    {"check", kveil_schema_check, true, true},
    {"register", kveil_schema_register, true, true},
#endif
    {0},
};

static const struct action *action_of(const char *name)
{
	for (const struct action *a = actions; a->name && name; a++)
		if (strcmp(a->name, name) == 0)
			return a;
	return NULL;
}

static int run_action(const struct action *a, struct options *o)
{
	const struct kveil_command *cmd = &kveil_command_schema;
	int code = kveil_flag_foreign(cmd, a->name, o->flags);

	if (code != KVEIL_EXIT_OK)
		return code;
	if (o->count != 2)
		return kveil_usage_error(cmd, "%s takes one schema", a->name);
	if (a->needs_rules && !o->schema.rules)
		return kveil_usage_error(cmd, "%s takes -r RULES", a->name);
	if (a->needs_registry && !o->schema.config)
		o->schema.config = "kveil.yaml";
	o->schema.schema = o->given[1];
	kveil_secret_harden_process();
	return a->run(cmd, &o->schema);
}

static void take_flag(struct options *o, const struct kveil_flag *f, const char *value)
{
	const struct {
		const char *name, **to;
	} flags_to[] = {
	    {"markdown", &o->page},          {"man", &o->man},
	    {"rules", &o->schema.rules},     {"config", &o->schema.config},
	    {"subject", &o->schema.subject}, {"context", &o->schema.context},
	};

	for (size_t i = 0; i < sizeof flags_to / sizeof *flags_to; i++)
		if (strcmp(f->long_name, flags_to[i].name) == 0)
			*flags_to[i].to = value;
	o->schema.of_key |= strcmp(f->long_name, "key") == 0;
	o->flags |= 1u << (f - kveil_command_schema.flags);
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_schema;
	struct options o = {.given = {"rules", NULL}, .schema = {.context = ""}};
	const char *value;
	int index = 1;

	for (;;) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (!f && index >= argc)
			break;
		if (!f && o.count == 2)
			return kveil_usage_error(cmd, "too many arguments");
		if (!f)
			o.given[o.count++] = argv[index++];
		else if (f == &kveil_flag_help || f == &kveil_flag_error)
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		else
			take_flag(&o, f, value);
	}
	const struct action *a = action_of(o.given[0]);
	if (a && !o.page && !o.man)
		return run_action(a, &o);
	if (o.schema.rules || o.schema.config || o.schema.subject || *o.schema.context || o.schema.of_key)
		return kveil_usage_error(
		    cmd, "-r, -c, --subject, --context and --key go with derive, get, check or register");
	if (o.count > (o.page || o.man ? 0 : 1))
		return kveil_usage_error(cmd, "too many arguments");
	if (o.man)
		return print_man(o.man);
	return o.page ? print_page(o.page) : print_schema(o.given[0]);
}

static const struct kveil_flag flags[] = {
#ifdef KVEIL_WITH_AVRO
    {'r', "rules", "FILE", "derive, check, register: the rule file"},
    {'c', "config", "FILE",
     "derive, get, check, register: use the schema registry of this kveil.yaml (default "
     "kveil.yaml; derive reads a file unless this is given)"},
    {0, "subject", "NAME",
     "check, register: the subject of the derived schema (default: OUTPUT-value, as the rule file has it)"},
    {0, "key", NULL,
     "derive, check, register: the schema is that of records' keys; its subject is "
     "OUTPUT-key"},
    {0, "context", "NAME", "derive, get, check, register: the registry's context (default: as the rule file has it)"},
#endif
    {0, "markdown", "PAGE",
     "a page of the reference instead: actions, commands, configuration, errors, events, metrics, rules"},
    {0, "man", "COMMAND", "the manual page of a command, or of kveil, instead"},
    {0},
};

const struct kveil_command kveil_command_schema = {
    .name = "schema",
#ifdef KVEIL_WITH_AVRO
    .usage = "[rules|config] [--markdown PAGE | --man COMMAND] | derive|get|check|register [OPTIONS] SCHEMA|ID|GUID",
    .help = "print JSON Schemas for editors; derive, check and register Avro schemas",
#else
    .usage = "[rules|config] [--markdown PAGE | --man COMMAND]",
    .help = "JSON Schemas of rule files and kveil.yaml, for editors",
#endif
    .words = words,
    .flags = flags,
    .run = run,
};

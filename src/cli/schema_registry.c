/* SPDX-License-Identifier: Apache-2.0 */
/* `kveil schema get`, `check` and `register`. */
#include "cli/schema_registry.h"

#include "base/buf.h"
#include "base/guid.h"
#include "cli/applied.h"
#include "cli/avro_samples.h"
#include "config/config.h"
#include "kveil/schemas.h"
#include "rules/tags.h"
#include "schemas/client.h"
#include "worker/recall.h"

#include <stdio.h>
#include <stdlib.h>

/* The registry, and the writer's schema, from it or from a file. */
struct source {
	struct kveil_config *config;
	struct kveil_schemas *registry;
	const struct kveil_schemas_schema *schema; /* NULL: it stood in a file */
	const struct kveil_schemas_schema *original;
	struct kveil_schema_id id; /* where it did not */
	struct kveil_buf text;
};

static void close_source(struct source *s)
{
	kveil_schemas_schema_unref(s->schema);
	kveil_schemas_schema_unref(s->original);
	kveil_schemas_close(s->registry);
	kveil_config_free(s->config);
	kveil_buf_clear(&s->text);
}

static int open_registry(const struct kveil_command *cmd, const char *path, struct source *s)
{
	struct kveil_report report = {0};
	struct kveil_error err;

	s->config = kveil_config_load(path, &report);
	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	if (!s->config)
		return KVEIL_EXIT_USAGE;
	if (kveil_schemas_open(&s->config->schema_registry, &s->registry, &err))
		return kveil_failed(cmd, &err, KVEIL_EXIT_FAILED);
	return KVEIL_EXIT_OK;
}

static bool is_id(const char *text, uint32_t *id)
{
	unsigned long n = strtoul(text, NULL, 10);

	*id = (uint32_t)n;
	return *text && !text[strspn(text, "0123456789")] && n <= INT32_MAX;
}

static enum kveil_status fetch(const struct kveil_schema_options *o, struct source *s, const struct kveil_schema_id *id,
			       const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	return id->is_guid ? kveil_schemas_by_guid(s->registry, id->guid, ret, err)
			   : kveil_schemas_by_id(s->registry, o->context, id->id, ret, err);
}

/* The operand is an id or a GUID where there is a registry, else a file's name: ./7 for one that looks like an id. */
static int read_schema(const struct kveil_command *cmd, const struct kveil_schema_options *o, struct source *s)
{
	enum kveil_status status;
	struct kveil_error err;

	s->id.is_guid = kveil_guid_read(o->schema, s->id.guid);
	if (s->registry && (s->id.is_guid || is_id(o->schema, &s->id.id)))
		status = fetch(o, s, &s->id, &s->schema, &err);
	else
		status = kveil_avro_schema_read(o->schema, &s->text, &err);
	if (!status && s->schema)
		kveil_buf_append_span(&s->text, s->schema->text);
	return status ? kveil_failed(cmd, &err, KVEIL_EXIT_FAILED) : KVEIL_EXIT_OK;
}

static int open_source(const struct kveil_command *cmd, const struct kveil_schema_options *o, struct source *s)
{
	int code = o->config ? open_registry(cmd, o->config, s) : KVEIL_EXIT_OK;

	return code == KVEIL_EXIT_OK ? read_schema(cmd, o, s) : code;
}

static void print_line(struct kveil_span text)
{
	fwrite(text.data, 1, text.len, stdout);
	putchar('\n');
}

/* What beside its text matters to us, for whoever looks. */
static void describe(const struct kveil_schemas_schema *schema)
{
	static const char *const types[] = {"AVRO", "JSON", "PROTOBUF", "of another type"};

	fprintf(stderr, "%s%s%s%s\n", types[schema->type], schema->has_references ? ", with references, inlined" : "",
		*schema->guid ? ", GUID " : "", schema->guid);
	for (size_t i = 0; i < schema->tag_count; i++)
		fprintf(stderr, "tag %s: %s\n", schema->tags[i].tag, schema->tags[i].path);
	if (schema->encrypt)
		fprintf(stderr, "rule '%s' encrypts: kveil does not take records of this schema\n", schema->encrypt);
	else if (schema->rules & (KVEIL_SCHEMAS_RULES_DOMAIN | KVEIL_SCHEMAS_RULES_ENCODING))
		fprintf(stderr, "it has rules that serializers run on values\n");
}

int kveil_schema_get(const struct kveil_command *cmd, const struct kveil_schema_options *o)
{
	struct source s = {0};
	int code = open_source(cmd, o, &s);

	if (code == KVEIL_EXIT_OK && !s.schema)
		code = kveil_usage_error(cmd, "get takes an id or a GUID");
	if (code == KVEIL_EXIT_OK) {
		describe(s.schema);
		print_line(s.schema->text);
	}
	close_source(&s);
	return code;
}

/* What becomes of one schema under one rule file. */
struct work {
	const struct kveil_command *cmd;
	struct source source;
	struct kveil_schemas_place at;
	struct kveil_buf subject; /* where the rule file says it */
	struct kveil_span derived, unreferred;
};

/* As a worker would have it: the output topic's, if the file has one input and one output. */
static const char *subject_of(const struct kveil_plan *plan, bool of_key, struct kveil_buf *out)
{
	if (plan->view_count != 1 || !plan->topics[0] || plan->topics[0][0] == '^' || plan->topics[1])
		return NULL;
	kveil_plan_expand_topic(plan->views[0].topic, plan->topics[0], out);
	kveil_buf_append_str(out, of_key ? "-key" : "-value");
	return kveil_buf_cstr(out);
}

/* What the values were before they were sealed, for rules that open them. One that the registry does not have is left
 * out, as a worker would; while it does not answer nobody knows. */
static enum kveil_status fetch_original(struct work *w, const struct kveil_schema_options *o, struct kveil_engine *e,
					struct kveil_span *ret, struct kveil_error *err)
{
	struct kveil_schema_id id;

	*ret = KVEIL_SPAN_NULL;
	if (!w->source.registry || !(o->of_key ? kveil_engine_key_schema_original
					       : kveil_engine_schema_original)(e, kveil_buf_span(&w->source.text), &id))
		return KVEIL_OK;
	enum kveil_status status = fetch(o, &w->source, &id, &w->source.original, err);
	if (!status)
		*ret = w->source.original->text;
	return status == KVEIL_E_SCHEMA_PENDING || kveil_status_class(status) == KVEIL_CLASS_RECORD ? KVEIL_OK : status;
}

/* As a worker does. */
static enum kveil_status recall(const struct work *w, const struct kveil_schema_options *o, struct kveil_engine *e,
				const struct kveil_plan *plan, struct kveil_error *err)
{
	const struct kveil_recall_from from = {.client = w->source.registry, .at = w->at};
	struct kveil_recalled recalled = {0};

	if (!w->source.registry || !w->at.subject || o->of_key || !kveil_plan_has_tags(plan))
		return KVEIL_OK;
	return kveil_recall(&from, e, kveil_buf_span(&w->source.text), &recalled, err);
}

static int derive(struct work *w, const struct kveil_schema_options *o, const struct kveil_apply_session *session,
		  int (*use)(struct work *w))
{
	struct kveil_engine_schema *schema = NULL;
	struct kveil_schema_source known = {.id = w->source.schema ? &w->source.id : NULL};
	struct kveil_span text = kveil_buf_span(&w->source.text);
	struct kveil_engine *e = session->engine;
	struct kveil_error err;
	int code;

	if (w->source.schema) {
		known.tags = w->source.schema->tags;
		known.tag_count = w->source.schema->tag_count;
	}
	if (fetch_original(w, o, e, &known.original, &err) || recall(w, o, e, session->plan, &err))
		return kveil_failed(w->cmd, &err, KVEIL_EXIT_FAILED);
	if ((o->of_key ? kveil_engine_key_schema_of : kveil_engine_schema_of)(e, text, &known, &schema, &err)) {
		if (!err.file[0])
			kveil_error_where(&err, o->schema, 0, 0);
		return kveil_failed(w->cmd, &err, KVEIL_EXIT_FAILED);
	}
	w->derived = kveil_engine_schema_derived(schema);
	w->unreferred = kveil_engine_schema_unreferred(schema);
	code = use(w);
	kveil_engine_schema_free(schema);
	return code;
}

/* Opens what use needs. What the options do not say, the rule file does. */
static int with_derived(const struct kveil_command *cmd, const struct kveil_schema_options *o, bool has_place,
			int (*use)(struct work *w))
{
	const struct kveil_apply_source rules = {.rules = o->rules, .only_plan = true};
	struct kveil_apply_session session;
	struct kveil_schema_options said = *o;
	struct work w = {.cmd = cmd};
	int code = kveil_apply_open(&rules, cmd, &session);

	if (code != KVEIL_EXIT_OK)
		return code;
	if (!*o->context && session.plan->schema.context)
		said.context = session.plan->schema.context;
	w.at = (struct kveil_schemas_place){.context = said.context,
					    .subject = o->subject ? o->subject
								  : subject_of(session.plan, o->of_key, &w.subject),
					    .normalize = session.plan->schema.normalize};
	if (has_place && !w.at.subject)
		code = kveil_usage_error(cmd, "--subject NAME: the rules have more than one output");
	if (code == KVEIL_EXIT_OK)
		code = open_source(cmd, &said, &w.source);
	if (code == KVEIL_EXIT_OK)
		code = derive(&w, o, &session, use);
	close_source(&w.source);
	kveil_apply_close(&session);
	kveil_buf_clear(&w.subject);
	return code;
}

static int print_derived(struct work *w)
{
	print_line(w->derived);
	return KVEIL_EXIT_OK;
}

static int register_derived(struct work *w)
{
	struct kveil_schemas_id id;
	struct kveil_error err;

	if (kveil_schemas_register(w->source.registry, &w->at, w->derived, &id, &err))
		return kveil_failed(w->cmd, &err, KVEIL_EXIT_FAILED);
	printf("%u\n", id.id);
	return KVEIL_EXIT_OK;
}

static int check_derived(struct work *w)
{
	KVEIL_CLEANUP_BUF struct kveil_buf reasons = KVEIL_BUF_INIT;
	struct kveil_schemas *registry = w->source.registry;
	struct kveil_schemas_id id;
	struct kveil_error err;
	enum kveil_status status = kveil_schemas_look_up(registry, &w->at, w->derived, &id, &err);

	if (status == KVEIL_E_SCHEMA_NOT_REGISTERED && !kveil_span_eq(w->derived, w->unreferred))
		status = kveil_schemas_look_up(registry, &w->at, w->unreferred, &id, &err);
	if (!status) {
		printf("registered under %s as %u\n", w->at.subject, id.id);
		return KVEIL_EXIT_OK;
	}
	if (status == KVEIL_E_SCHEMA_NOT_REGISTERED)
		status = kveil_schemas_compatible(registry, &w->at, w->derived, &reasons, &err);
	if (!status) {
		printf("not registered under %s, which would take it\n", w->at.subject);
		return KVEIL_EXIT_OK;
	}
	if (reasons.len)
		fwrite(reasons.data, 1, reasons.len, stdout);
	return kveil_failed(w->cmd, &err, KVEIL_EXIT_FAILED);
}

int kveil_schema_derive(const struct kveil_command *cmd, const struct kveil_schema_options *o)
{
	return with_derived(cmd, o, false, print_derived);
}

int kveil_schema_register(const struct kveil_command *cmd, const struct kveil_schema_options *o)
{
	return with_derived(cmd, o, true, register_derived);
}

int kveil_schema_check(const struct kveil_command *cmd, const struct kveil_schema_options *o)
{
	return with_derived(cmd, o, true, check_derived);
}

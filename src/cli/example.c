/* SPDX-License-Identifier: Apache-2.0 */
/* Examples of rules: read, run and compared. */
#include "cli/example.h"

#include "base/options.h"
#include "base/yaml.h"

#include <stdio.h>

/* The words of an example, and of one entry of its outputs. */
struct words {
	char *name, *error;
	const struct kveil_yaml *in, *key, *headers, *out, *out_key, *out_headers, *outputs;
};

#define ROW(member) offsetof(struct words, member)
const struct kveil_option kveil_example_table[] = {
    {"name", KVEIL_OPT_STRING, ROW(name), .required = true, .help = "what it shows"},
    {"in", KVEIL_OPT_CUSTOM, ROW(in), .required = true,
     .help = "the record's value: a mapping, or JSON as text; null for a tombstone"},
    {"key", KVEIL_OPT_CUSTOM, ROW(key), .help = "the record's key (default: null)"},
    {"headers", KVEIL_OPT_CUSTOM, ROW(headers), .help = "names and texts"},
    {"out", KVEIL_OPT_CUSTOM, ROW(out), .help = "the result: a mapping is compared as values, a text byte for byte"},
    {"out_key", KVEIL_OPT_CUSTOM, ROW(out_key), .help = "its key (default: unchanged)"},
    {"out_headers", KVEIL_OPT_CUSTOM, ROW(out_headers), .help = "its headers (default: unchanged)"},
    {"outputs", KVEIL_OPT_CUSTOM, ROW(outputs),
     .help = "for a file with outputs: a list of {name, out, out_key, out_headers}, one for each"},
    {"error", KVEIL_OPT_STRING, ROW(error), .help = "the expected error code instead, such as invalid_json"},
    {0},
};
const struct kveil_option kveil_example_output_table[] = {
    {"name", KVEIL_OPT_STRING, ROW(name), .required = true, .help = "the output's name"},
    {"out", KVEIL_OPT_CUSTOM, ROW(out), .required = true, .help = "what comes out"},
    {"out_key", KVEIL_OPT_CUSTOM, ROW(out_key), .help = "its key"},
    {"out_headers", KVEIL_OPT_CUSTOM, ROW(out_headers), .help = "its headers"},
    {0},
};

struct reader {
	const char *file;
	const struct kveil_plan *plan;
	struct kveil_arena *arena;
	struct kveil_report *report;
};

static struct kveil_error *problem(struct reader *r, const struct kveil_yaml *at, const char *message)
{
	return kveil_report_at(r->report, r->file, at->line, at->column, "%s", message);
}

static char *copy(struct reader *r, const void *s, size_t n)
{
	char *p = kveil_arena_alloc(r->arena, n + 1);

	if (!p) {
		kveil_report_no_memory(r->report, r->file);
		return NULL;
	}
	if (n)
		memcpy(p, s, n);
	p[n] = 0;
	return p;
}

static bool is_json_word(const struct kveil_yaml *y)
{
	const struct kveil_format *json = kveil_format_by_name(KVEIL_SPAN("json"));
	struct kveil_scan scan = {.max_bytes = 1 << 20, .max_depth = 1};
	char c = y->text[0];

	if (y->quoted ||
	    !(c == '-' || (c >= '0' && c <= '9') || strcmp(y->text, "true") == 0 || strcmp(y->text, "false") == 0))
		return false;
	bool ok = json->scan(&scan, kveil_span_str(y->text), NULL) == KVEIL_OK;
	kveil_scan_clear(&scan);
	return ok;
}

/* YAML as JSON: an unquoted number keeps its spelling. */
static void write_json(const struct kveil_yaml *y, struct kveil_buf *out)
{
	struct kveil_span text = kveil_span_str(y->kind == KVEIL_YAML_SCALAR ? y->text : "");

	switch (y->kind) {
	case KVEIL_YAML_SCALAR:
		if (kveil_yaml_is_null(y))
			kveil_buf_append_str(out, "null");
		else if (is_json_word(y))
			kveil_buf_append_span(out, text);
		else
			kveil_json_write_text(out, text);
		break;
	case KVEIL_YAML_LIST:
		kveil_buf_append_byte(out, '[');
		for (size_t i = 0; i < y->count; i++) {
			kveil_buf_append_str(out, i ? "," : "");
			write_json(y->items[i], out);
		}
		kveil_buf_append_byte(out, ']');
		break;
	case KVEIL_YAML_MAP:
		kveil_buf_append_byte(out, '{');
		for (size_t i = 0; i < y->count; i++) {
			struct kveil_span name = kveil_span_str(y->keys[i]->text);
			kveil_buf_append_str(out, i ? "," : "");
			kveil_json_write_text(out, name);
			kveil_buf_append_byte(out, ':');
			write_json(y->items[i], out);
		}
		kveil_buf_append_byte(out, '}');
		break;
	}
}

/* NULL for a null; *ret_exact: it was text. One line break at a block's end is the block's, not the record's. */
static char *read_value(struct reader *r, const struct kveil_yaml *y, bool *ret_exact)
{
	*ret_exact = y->kind == KVEIL_YAML_SCALAR;
	if (kveil_yaml_is_null(y))
		return NULL;
	if (y->kind == KVEIL_YAML_SCALAR) {
		size_t n = strlen(y->text);
		return copy(r, y->text, n && y->text[n - 1] == '\n' ? n - 1 : n);
	}
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	write_json(y, &text);
	if (!kveil_buf_ok(&text))
		kveil_report_no_memory(r->report, r->file);
	return copy(r, text.data, text.len);
}

static void read_headers(struct reader *r, const struct kveil_yaml *y, struct kveil_header *headers, size_t *count)
{
	*count = 0;
	if (!y)
		return;
	if (y->kind == KVEIL_YAML_LIST) {
		/* A list of mappings, for names that come twice. */
		for (size_t i = 0; i < y->count; i++) {
			struct kveil_header some[KVEIL_EXAMPLE_HEADERS];
			size_t n;
			read_headers(r, y->items[i], some, &n);
			for (size_t k = 0; k < n && *count < KVEIL_EXAMPLE_HEADERS; k++)
				headers[(*count)++] = some[k];
		}
		return;
	}
	if (y->kind != KVEIL_YAML_MAP || y->count > KVEIL_EXAMPLE_HEADERS) {
		problem(r, y, "headers are a mapping of at most 32 names and texts");
		return;
	}
	for (size_t i = 0; i < y->count; i++) {
		bool exact;
		const char *name = copy(r, y->keys[i]->text, strlen(y->keys[i]->text));
		const char *value = read_value(r, y->items[i], &exact);
		headers[(*count)++] = (struct kveil_header){kveil_span_str(name), kveil_span_str(value)};
	}
}

static void read_out(struct reader *r, const struct words *w, const struct kveil_example *e, const char *view,
		     struct kveil_example_out *o)
{
	o->key_exact = true;
	o->view = copy(r, view, strlen(view));
	o->value = read_value(r, w->out, &o->exact);
	o->key = w->out_key ? read_value(r, w->out_key, &o->key_exact) : e->key;
	if (w->out_headers) {
		read_headers(r, w->out_headers, o->headers, &o->header_count);
	} else {
		memcpy(o->headers, e->headers, sizeof o->headers);
		o->header_count = e->header_count;
	}
}

static bool has_view(const struct kveil_plan *p, const char *name)
{
	for (size_t i = 0; i < p->view_count; i++)
		if (strcmp(p->views[i].name, name) == 0)
			return true;
	return false;
}

static void read_outs(struct reader *r, const struct kveil_yaml *node, const struct words *w, struct kveil_example *e)
{
	bool named = r->plan->views[0].name[0] != 0;
	const struct kveil_yaml *list = w->outputs;

	if (!named && !w->out) {
		kveil_error_hint(problem(r, node, "an example says what comes out"), "out: or error:");
		return;
	}
	e->outs = kveil_arena_array(r->arena, r->plan->view_count, sizeof *e->outs);
	if (!e->outs)
		return;
	memset(e->outs, 0, r->plan->view_count * sizeof *e->outs);
	if (!named) {
		e->out_count = 1;
		read_out(r, w, e, "", &e->outs[0]);
		return;
	}
	if (!list || list->kind != KVEIL_YAML_LIST || list->count != r->plan->view_count) {
		kveil_error_hint(problem(r, list ? list : node, "an example says what comes out of every output"),
				 "outputs: [{name: %s, out: …}, …]", r->plan->views[0].name);
		return;
	}
	for (size_t i = 0; i < list->count; i++) {
		struct words v = {0};
		if (list->items[i]->kind == KVEIL_YAML_MAP &&
		    kveil_options_parse(kveil_example_output_table, list->items[i], r->file, NULL, &v, r->report)) {
			if (!has_view(r->plan, v.name))
				problem(r, list->items[i], "the rule file has no output with this name");
			read_out(r, &v, e, v.name, &e->outs[e->out_count++]);
		} else if (list->items[i]->kind != KVEIL_YAML_MAP) {
			problem(r, list->items[i], "an output of an example is a mapping");
		}
		kveil_options_clear(kveil_example_output_table, &v);
	}
}

static bool is_code(const char *s)
{
	for (int i = 0; i < KVEIL_STATUS_COUNT; i++)
		if (strcmp(kveil_status_code((enum kveil_status)i), s) == 0)
			return true;
	return false;
}

static void read_example(struct reader *r, const struct kveil_yaml *node, struct kveil_example *e)
{
	struct words w = {0};
	bool exact;

	e->line = node->line;
	if (node->kind != KVEIL_YAML_MAP) {
		kveil_error_hint(problem(r, node, "an example is a mapping"), "- {name: …, in: {…}, out: {…}}");
		return;
	}
	if (kveil_options_parse(kveil_example_table, node, r->file, NULL, &w, r->report)) {
		e->name = copy(r, w.name, strlen(w.name));
		e->value = read_value(r, w.in, &exact);
		e->key = w.key ? read_value(r, w.key, &exact) : NULL;
		read_headers(r, w.headers, e->headers, &e->header_count);
		if (w.error && (w.out || w.outputs))
			problem(r, node, "error or out: an example has one of them");
		else if (w.error && !is_code(w.error))
			kveil_error_hint(problem(r, kveil_yaml_get(node, "error"), "no error has this code"),
					 "docs/errors.md has all codes");
		else if (w.error)
			e->error = copy(r, w.error, strlen(w.error));
		else
			read_outs(r, node, &w, e);
	}
	kveil_options_clear(kveil_example_table, &w);
}

bool kveil_examples_load(const char *path, const struct kveil_plan *plan, struct kveil_arena *arena,
			 struct kveil_example **ret, size_t *ret_count, struct kveil_report *report)
{
	struct reader r = {path, plan, arena, report};
	size_t before = report->errors;
	struct kveil_yaml *root = kveil_yaml_load(path, report);

	*ret_count = 0;
	if (!root)
		return false;
	if (root->kind != KVEIL_YAML_LIST)
		kveil_error_hint(problem(&r, root, "a file of examples is a list"), "- {name: …, in: {…}, out: {…}}");
	else if (!(*ret = kveil_arena_array(arena, root->count + 1, sizeof **ret)))
		kveil_report_no_memory(report, path);
	else {
		memset(*ret, 0, root->count * sizeof **ret);
		for (size_t i = 0; i < root->count; i++)
			read_example(&r, root->items[i], &(*ret)[(*ret_count)++]);
	}
	kveil_yaml_free(root);
	return report->errors == before;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of what rules leave. Nodes that no rule reaches keep their bytes. A node whose values may become texts is
 * of type string; its semantic name and parameters, which no longer hold, and its default, which is clear text, go.
 * So do the defaults and the symbols of what stands in a node that becomes null or goes.
 * What `decrypt` and `detokenize` need to give the type back stands in a parameter, without defaults and without the
 * symbols of an enumeration.
 */
#include "engine/connect_derive.h"

#include <stdlib.h>
#include <strings.h>

#define COLUMN "__debezium.source.column.name" /* still holds */

static const char *neutral(enum kveil_connect_type type, bool is_pairs)
{
	switch (type) {
	case KVEIL_CONNECT_BOOLEAN:
		return "false";
	case KVEIL_CONNECT_STRING:
	case KVEIL_CONNECT_BYTES:
		return "\"\"";
	case KVEIL_CONNECT_ARRAY:
		return "[]";
	case KVEIL_CONNECT_MAP:
		return is_pairs ? "[]" : "{}";
	case KVEIL_CONNECT_STRUCT:
		return NULL; /* none that is valid whatever its fields */
	default:
		return "0";
	}
}

/* --- texts --- */

static struct kveil_span raw_of(const struct kveil_doc *doc, uint32_t at)
{
	return kveil_span_of(doc->text.data + doc->nodes[at].start, doc->nodes[at].end - doc->nodes[at].start);
}

/* A comma, unless it is the first in what this byte opens. */
static void write_comma(struct kveil_buf *out, uint8_t opening)
{
	if (out->len && out->data[out->len - 1] != opening)
		kveil_buf_append_byte(out, ',');
}

/* Begins a member: a comma where one is needed, and its name. */
static void write_name(struct kveil_buf *out, const char *name)
{
	write_comma(out, '{');
	kveil_json_write_text(out, kveil_span_str(name));
	kveil_buf_append_byte(out, ':');
}

static void write_raw_member(struct kveil_buf *out, const struct kveil_doc *doc, uint32_t at)
{
	const struct kveil_doc_node *n = &doc->nodes[at];

	write_comma(out, '{');
	kveil_buf_append(out, doc->text.data + n->name_start, n->name_end - n->name_start);
	kveil_buf_append_byte(out, ':');
	kveil_buf_append_span(out, raw_of(doc, at));
}

static enum kveil_connect_member member_at(const struct kveil_connect_node *n, uint32_t at)
{
	unsigned m = 0;

	while (m < KVEIL_CONNECT_M_COUNT - 1 && n->members[m] != at)
		m++;
	return (enum kveil_connect_member)m;
}

/* --- the schema of a clear value, for whoever opens it --- */

static void write_clear_parameters(const struct kveil_connect_deriver *d, const struct kveil_connect_tree *tree,
				   uint32_t at, struct kveil_buf *out)
{
	const struct kveil_doc_node *nodes = tree->doc->nodes;

	write_name(out, "parameters");
	if (kveil_connect_is_null(tree, at)) {
		kveil_buf_append_str(out, "null");
		return;
	}
	kveil_buf_append_byte(out, '{');
	for (uint32_t c = at + 1; c < nodes[at].next; c = nodes[c].next) {
		if (!kveil_connect_lists_symbols(kveil_connect_parameter_name(d, tree, c)))
			write_raw_member(out, tree->doc, c);
	}
	kveil_buf_append_byte(out, '}');
}

static void write_clear(const struct kveil_connect_deriver *d, const struct kveil_connect_tree *tree, uint32_t i,
			struct kveil_buf *out);

static void write_clear_inside(const struct kveil_connect_deriver *d, const struct kveil_connect_tree *tree, uint32_t i,
			       uint32_t at, struct kveil_buf *out)
{
	const struct kveil_connect_node *nodes = tree->nodes;
	bool is_list = tree->doc->nodes[at].kind == KVEIL_KIND_ARRAY, is_first = true;

	kveil_buf_append_str(out, is_list ? "[" : "");
	for (uint32_t c = i + 1; c < nodes[i].next; c = nodes[c].next) {
		if (nodes[c].at < at || nodes[c].at >= tree->doc->nodes[at].next)
			continue;
		kveil_buf_append_str(out, is_first ? "" : ",");
		is_first = false;
		write_clear(d, tree, c, out);
	}
	kveil_buf_append_str(out, is_list ? "]" : "");
}

static void write_clear(const struct kveil_connect_deriver *d, const struct kveil_connect_tree *tree, uint32_t i,
			struct kveil_buf *out)
{
	const struct kveil_connect_node *n = &tree->nodes[i];
	const struct kveil_doc_node *nodes = tree->doc->nodes;

	kveil_buf_append_byte(out, '{');
	for (uint32_t c = n->at + 1; c < nodes[n->at].next; c = nodes[c].next) {
		enum kveil_connect_member m = member_at(n, c);
		if (m == KVEIL_CONNECT_M_DEFAULT)
			continue;
		if (m == KVEIL_CONNECT_M_PARAMETERS) {
			write_clear_parameters(d, tree, c, out);
		} else if (m >= KVEIL_CONNECT_M_FIELDS) {
			static const char *const names[] = {"fields", "items", "keys", "values"};
			write_name(out, names[m - KVEIL_CONNECT_M_FIELDS]);
			write_clear_inside(d, tree, i, c, out);
		} else {
			write_raw_member(out, tree->doc, c);
		}
	}
	kveil_buf_append_byte(out, '}');
}

/* A plain text comes back without being told its type. */
static bool is_plain_text(const struct kveil_connect_tree *tree, const struct kveil_connect_node *n)
{
	return n->type == KVEIL_CONNECT_STRING && kveil_connect_is_null(tree, n->members[KVEIL_CONNECT_M_NAME]) &&
	       kveil_connect_is_null(tree, n->members[KVEIL_CONNECT_M_PARAMETERS]);
}

static void write_original(struct kveil_connect_deriver *d, uint32_t i, const struct kveil_connect_outcome *o)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	uint32_t known = o->keeps_original ? kveil_connect_find_parameter(d, d->tree, n, KVEIL_CONNECT_ORIGINAL) : 0;
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	write_name(d->out, KVEIL_CONNECT_ORIGINAL);
	if (known) {
		kveil_buf_append_span(d->out, raw_of(d->tree->doc, known));
		return;
	}
	text.allowance = &d->e->allowance;
	write_clear(d, d->tree, i, &text);
	kveil_json_write_text(d->out, kveil_buf_span(&text));
	d->out->failed |= !kveil_buf_ok(&text);
}

/* The parameters of a retyped node: what still holds, and the original type of what can be opened. */
static void write_parameters(struct kveil_connect_deriver *d, uint32_t i, const struct kveil_connect_outcome *o)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	bool keeps = o->text && o->is_sealed && !is_plain_text(d->tree, n);
	uint32_t column = o->revealed ? 0 : kveil_connect_find_parameter(d, d->tree, n, COLUMN);

	if (!keeps && !column)
		return;
	write_name(d->out, "parameters");
	kveil_buf_append_byte(d->out, '{');
	if (column)
		write_raw_member(d->out, d->tree->doc, column);
	if (keeps)
		write_original(d, i, o);
	kveil_buf_append_byte(d->out, '}');
}

/* --- fits --- */

static bool write_steps(const struct kveil_connect_deriver *d, uint32_t i, struct kveil_path *path)
{
	const struct kveil_connect_node *nodes = d->tree->nodes;
	size_t depth = path->count;

	for (; i; i = nodes[i].parent) {
		bool is_field = nodes[nodes[i].parent].type == KVEIL_CONNECT_STRUCT;
		struct kveil_selector *sel = kveil_arena_alloc(&d->schema->memory, sizeof *sel);
		uint8_t *name = kveil_arena_alloc(&d->schema->memory, nodes[i].field.len + 1);
		if (!sel || !name)
			return false;
		*sel = (struct kveil_selector){.kind = is_field ? KVEIL_SEL_NAME : KVEIL_SEL_WILDCARD};
		if (is_field) {
			memcpy(name, nodes[i].field.data, nodes[i].field.len);
			sel->name = kveil_span_of(name, nodes[i].field.len);
		}
		path->segments[--depth] = (struct kveil_segment){.selectors = sel, .count = 1};
	}
	return true;
}

/* The way to a node's values; with a name, to those of its parent's new field. */
static bool add_fit(struct kveil_connect_deriver *d, uint32_t i, struct kveil_span name, unsigned kind)
{
	struct kveil_connect_schema *s = d->schema;
	size_t depth = 0;

	for (uint32_t k = i; k; k = d->tree->nodes[k].parent)
		depth++;
	if (d->fit_count == d->fit_cap) {
		size_t cap = d->fit_cap ? 2 * d->fit_cap : 8;
		struct kveil_connect_fit *more = kveil_arena_array(&d->e->arena, cap, sizeof *more);
		if (!more)
			return false;
		if (d->fit_count)
			memcpy(more, d->fits, d->fit_count * sizeof *more);
		d->fits = more;
		d->fit_cap = cap;
	}
	struct kveil_connect_fit *f = &d->fits[d->fit_count++];
	*f = (struct kveil_connect_fit){.kind = kind};
	f->path.segments = kveil_arena_array(&s->memory, depth + 1, sizeof *f->path.segments);
	f->path.count = depth;
	if (!f->path.segments || !write_steps(d, i, &f->path))
		return false;
	if (!name.data)
		return true;
	struct kveil_selector *sel = f->path.segments[depth - 1].selectors;
	uint8_t *copy = kveil_arena_alloc(&s->memory, name.len + 1);
	if (!copy)
		return false;
	memcpy(copy, name.data, name.len);
	sel->name = kveil_span_of(copy, name.len);
	return true;
}

/* Values that no rule of texts wrote, in a node of texts. */
static bool fit_as_text(struct kveil_connect_deriver *d, uint32_t i, struct kveil_span name,
			const struct kveil_connect_outcome *o)
{
	bool has_clear = o->clear && d->tree->nodes[i].type != KVEIL_CONNECT_STRING;

	return !(has_clear || o->kinds || o->revealed) || add_fit(d, i, name, KVEIL_KIND_STRING);
}

/* --- writing --- */

static enum kveil_status write_node(struct kveil_connect_deriver *d, uint32_t i);

/* Values that came out as texts have the type again that they had; what they are in is a copy, with the field's name,
 * its place in the table and a default that says nothing. */
static enum kveil_status write_restored(struct kveil_connect_deriver *d, uint32_t i, struct kveil_span name,
					bool is_optional, bool has_default)
{
	struct kveil_scan *scan = &d->e->connect.spelled;
	const struct kveil_connect_node *from = &d->tree->nodes[i];
	struct kveil_connect_tree tree;
	struct kveil_span text;
	uint32_t at = kveil_connect_find_parameter(d, d->tree, from, KVEIL_CONNECT_ORIGINAL);
	static const unsigned kinds[] = {
	    [KVEIL_CONNECT_STRUCT] = KVEIL_KIND_OBJECT, [KVEIL_CONNECT_ARRAY] = KVEIL_KIND_ARRAY,
	    [KVEIL_CONNECT_MAP] = KVEIL_KIND_OBJECT,    [KVEIL_CONNECT_BOOLEAN] = KVEIL_KIND_BOOL,
	    [KVEIL_CONNECT_STRING] = KVEIL_KIND_NULL,   [KVEIL_CONNECT_BYTES] = KVEIL_KIND_NULL};

	/* It was there when it was judged. */
	bool ok = at && !kveil_doc_text(d->tree->doc, at, &d->e->arena, &text);
	enum kveil_status st = ok ? KVEIL_OK : kveil_no_memory(d->err, "a schema");
	if (!st)
		st = kveil_format_by_name(KVEIL_SPAN("json"))->scan(scan, text, d->err);
	if (!st)
		st = kveil_connect_read(d->e, &scan->doc, 0, &tree, d->err);
	if (st) {
		d->err->byte = d->tree->doc->nodes[at].start;
		return st == KVEIL_E_NO_MEMORY ? st : (d->err->status = KVEIL_E_UNSUPPORTED_ENVELOPE);
	}
	const struct kveil_connect_node *n = &tree.nodes[0];
	const char *value = has_default ? neutral(n->type, n->is_pairs) : NULL;
	unsigned kind = n->type < KVEIL_CONNECT_BOOLEAN ? KVEIL_KIND_NUMBER
			: n->is_pairs                   ? KVEIL_KIND_ARRAY
							: kinds[n->type];
	kveil_buf_append_byte(d->out, '{');
	for (uint32_t c = n->at + 1; c < scan->doc.nodes[n->at].next; c = scan->doc.nodes[c].next) {
		enum kveil_connect_member m = member_at(n, c);
		if (m == KVEIL_CONNECT_M_OPTIONAL) {
			write_name(d->out, "optional");
			kveil_buf_append_str(d->out, is_optional ? "true" : "false");
		} else if (m != KVEIL_CONNECT_M_DEFAULT && m != KVEIL_CONNECT_M_FIELD) {
			write_raw_member(d->out, &scan->doc, c);
		}
	}
	if (!n->members[KVEIL_CONNECT_M_OPTIONAL] && is_optional) {
		write_name(d->out, "optional");
		kveil_buf_append_str(d->out, "true");
	}
	if (value) {
		write_name(d->out, "default");
		kveil_buf_append_str(d->out, value);
	}
	if (name.data) {
		write_name(d->out, "field");
		kveil_json_write_text(d->out, name);
	}
	kveil_buf_append_byte(d->out, '}');
	bool is_new = !kveil_span_eq(name, from->field);
	return kind == KVEIL_KIND_NULL || add_fit(d, i, is_new ? name : KVEIL_SPAN_NULL, kind)
		   ? KVEIL_OK
		   : kveil_no_memory(d->err, "a schema");
}

static void write_default(struct kveil_connect_deriver *d, uint32_t i, uint32_t at)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	const struct kveil_connect_verdict *r = &d->verdicts[i];
	const char *value = neutral(r->type, n->is_pairs);

	if (!kveil_connect_is_null(d->tree, at) && (r->drops_default || !value))
		return;
	write_name(d->out, "default");
	kveil_buf_append_str(d->out, kveil_connect_is_null(d->tree, at) ? "null" : value);
}

/* A field that `to` adds. */
static enum kveil_status write_newcomer(struct kveil_connect_deriver *d, const struct kveil_connect_newcomer *c,
					const struct kveil_connect_outcome *o)
{
	const struct kveil_bound_rule *r = &d->e->rules[c->rule];
	bool is_restored = o->revealed && !o->text && !o->kinds &&
			   kveil_connect_find_parameter(d, d->tree, &d->tree->nodes[c->source], KVEIL_CONNECT_ORIGINAL);

	if (!o->text && !o->null && !o->kinds && !o->revealed)
		return KVEIL_OK;
	write_comma(d->out, '[');
	if (is_restored)
		return write_restored(d, c->source, r->rule->to_name, true, false);
	kveil_buf_append_str(d->out, "{\"type\":\"string\",\"optional\":true");
	write_parameters(d, c->source, o);
	write_name(d->out, "field");
	kveil_json_write_text(d->out, r->rule->to_name);
	kveil_buf_append_byte(d->out, '}');
	return fit_as_text(d, c->source, r->rule->to_name, o) ? KVEIL_OK : kveil_no_memory(d->err, "a schema");
}

/* Those of one name are one field, where the first stands. */
static enum kveil_status write_newcomers(struct kveil_connect_deriver *d, const struct kveil_connect_node *n)
{
	enum kveil_status st = KVEIL_OK;

	for (const struct kveil_connect_newcomer *c = n->newcomers; !st && c; c = c->next) {
		struct kveil_connect_outcome o = {0};
		struct kveil_span name = d->e->rules[c->rule].rule->to_name;
		bool is_first = true;
		for (const struct kveil_connect_newcomer *k = n->newcomers; k; k = k->next) {
			const struct kveil_bound_rule *r = &d->e->rules[k->rule];
			if (!(r->views >> d->v & 1) || !kveil_span_eq(r->rule->to_name, name))
				continue;
			kveil_connect_add_result(&o, r);
			is_first &= k == c || k->rule > c->rule;
		}
		if (is_first && d->e->rules[c->rule].views >> d->v & 1)
			st = write_newcomer(d, c, &o);
	}
	return st;
}

static enum kveil_status write_inside(struct kveil_connect_deriver *d, uint32_t i, enum kveil_connect_member m,
				      uint32_t at)
{
	static const char *const names[] = {"fields", "items", "keys", "values"};
	const struct kveil_connect_node *nodes = d->tree->nodes;
	bool is_list = m == KVEIL_CONNECT_M_FIELDS;
	enum kveil_status st = KVEIL_OK;

	write_name(d->out, names[m - KVEIL_CONNECT_M_FIELDS]);
	kveil_buf_append_str(d->out, is_list ? "[" : "");
	for (uint32_t c = i + 1; !st && c < nodes[i].next; c = nodes[c].next) {
		bool is_here = nodes[c].at >= at && nodes[c].at < d->tree->doc->nodes[at].next;
		if (!is_here || (is_list && d->verdicts[c].out.gone_for_good))
			continue;
		if (is_list)
			write_comma(d->out, '[');
		st = write_node(d, c);
	}
	if (!st && is_list)
		st = write_newcomers(d, &nodes[i]);
	kveil_buf_append_str(d->out, is_list ? "]" : "");
	return st;
}

static enum kveil_status write_member(struct kveil_connect_deriver *d, uint32_t i, enum kveil_connect_member m,
				      uint32_t at)
{
	const struct kveil_connect_verdict *r = &d->verdicts[i];

	switch (m) {
	case KVEIL_CONNECT_M_TYPE:
		write_name(d->out, "type");
		kveil_json_write_text(d->out, kveil_span_str(kveil_connect_type_name(r->type)));
		return KVEIL_OK;
	case KVEIL_CONNECT_M_OPTIONAL:
		write_name(d->out, "optional");
		kveil_buf_append_str(d->out, r->is_optional ? "true" : "false");
		return KVEIL_OK;
	case KVEIL_CONNECT_M_DEFAULT:
		write_default(d, i, at);
		return KVEIL_OK;
	case KVEIL_CONNECT_M_NAME:
	case KVEIL_CONNECT_M_VERSION:
		/* An enumeration without its symbols is none. */
		if (!r->is_retyped && !(r->is_protected && kveil_connect_is_enumeration(d, &d->tree->nodes[i])))
			write_raw_member(d->out, d->tree->doc, at);
		return KVEIL_OK;
	case KVEIL_CONNECT_M_PARAMETERS:
		if (r->is_retyped)
			write_parameters(d, i, &r->out);
		else
			write_clear_parameters(d, d->tree, at, d->out);
		return KVEIL_OK;
	case KVEIL_CONNECT_M_FIELDS:
	case KVEIL_CONNECT_M_ITEMS:
	case KVEIL_CONNECT_M_KEYS:
	case KVEIL_CONNECT_M_VALUES:
		return r->is_retyped ? KVEIL_OK : write_inside(d, i, m, at);
	default:
		write_raw_member(d->out, d->tree->doc, at);
		return KVEIL_OK;
	}
}

/* A struct whose default went must do without one. */
static bool loses_default(const struct kveil_connect_deriver *d, uint32_t i)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];

	return n->type == KVEIL_CONNECT_STRUCT && !d->verdicts[i].is_retyped && kveil_connect_has_default(d, n);
}

static enum kveil_status write_node(struct kveil_connect_deriver *d, uint32_t i)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	struct kveil_connect_verdict *r = &d->verdicts[i];
	const struct kveil_doc_node *nodes = d->tree->doc->nodes;
	enum kveil_status st = KVEIL_OK;

	if (!r->is_dirty) {
		kveil_buf_append_span(d->out, raw_of(d->tree->doc, n->at));
		return KVEIL_OK;
	}
	r->is_optional |= loses_default(d, i);
	if (r->is_restored)
		return write_restored(d, i, n->field, r->is_optional,
				      !r->drops_default && kveil_connect_has_default(d, n));
	kveil_buf_append_byte(d->out, '{');
	for (uint32_t c = n->at + 1; !st && c < nodes[n->at].next; c = nodes[c].next)
		st = write_member(d, i, member_at(n, c), c);
	if (r->is_optional && !n->members[KVEIL_CONNECT_M_OPTIONAL]) {
		write_name(d->out, "optional");
		kveil_buf_append_str(d->out, "true");
	}
	if (r->is_retyped && !n->members[KVEIL_CONNECT_M_PARAMETERS])
		write_parameters(d, i, &r->out);
	kveil_buf_append_byte(d->out, '}');
	if (!st && r->is_retyped && r->type == KVEIL_CONNECT_STRING && !fit_as_text(d, i, KVEIL_SPAN_NULL, &r->out))
		st = kveil_no_memory(d->err, "a schema");
	return st;
}

static bool keep(struct kveil_connect_deriver *d)
{
	struct kveil_connect_schema *s = d->schema;
	struct kveil_connect_view *view = &s->views[d->v];

	view->fits = kveil_arena_array(&s->memory, d->fit_count, sizeof *view->fits);
	view->fit_count = d->fit_count;
	if (!kveil_buf_ok(d->out) || !view->fits)
		return false;
	if (d->fit_count)
		memcpy(view->fits, d->fits, d->fit_count * sizeof *view->fits);
	view->text = s->text;
	if (kveil_span_eq(kveil_buf_span(d->out), s->text))
		return true;
	uint8_t *copy = kveil_arena_alloc(&s->memory, d->out->len + 1);
	if (copy)
		memcpy(copy, d->out->data, d->out->len);
	view->text = kveil_span_of(copy, d->out->len);
	return copy != NULL;
}

enum kveil_status kveil_connect_derive(struct kveil_engine *e, const struct kveil_connect_tree *tree, size_t v,
				       struct kveil_connect_schema *s, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	struct kveil_connect_deriver d = {.e = e, .tree = tree, .v = v, .schema = s, .out = &out, .err = err};

	out.allowance = &e->allowance;
	if (!kveil_connect_judge(&d) || !kveil_buf_ok(&out))
		return kveil_no_memory(err, "a schema");
	if (!d.verdicts[0].is_dirty) {
		s->views[v] = (struct kveil_connect_view){.text = s->text};
		return KVEIL_OK;
	}
	enum kveil_status st = write_node(&d, 0);
	return st ? st : keep(&d) ? KVEIL_OK : kveil_no_memory(err, "a schema");
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schema of what rules leave. Nodes that no rule reaches keep their bytes. A node whose values may become texts is
 * of type string; its semantic name and parameters, which no longer hold, and its default, which is clear text, go.
 * So do the defaults and the symbols of what stands in a node that becomes null or goes.
 * What `decrypt` and `detokenize` need to give the type back stands in a parameter, without defaults and without the
 * symbols of an enumeration.
 */
#include "engine/connect.h"

#include <stdlib.h>
#include <strings.h>

#define ORIGINAL "kveil.type"                    /* the parameter: the schema of the clear value, as JSON */
#define SYMBOLS  "allowed"                       /* of an enumeration of Debezium's: clear values */
#define ENUM     ".enum"                         /* in names of parameters, as other converters list symbols */
#define COLUMN   "__debezium.source.column.name" /* still holds */

enum { NOT_WHOLE = 19 };

/* What may stand at a node's values in one view. */
struct outcome {
	bool clear; /* what came */
	bool text;
	bool null;
	bool gone; /* only sometimes; see gone_for_good */
	bool revealed;
	bool gone_for_good;
	bool is_sealed, keeps_original; /* it can be opened; what it was before stands in the parameter already */
	bool is_touched;
	unsigned kinds; /* KVEIL_KIND_BIT of constants */
	size_t digits;  /* most of those that are numbers; NOT_WHOLE */
};

/* What becomes of a node. */
struct verdict {
	struct outcome out;
	enum kveil_connect_type type;
	bool is_dirty;     /* it or something in it is written anew */
	bool is_retyped;   /* its names, parameters and what is inside go */
	bool is_protected; /* a rule reaches it or what it is in: its clear values go from the schema */
	bool is_restored;  /* as its parameter says */
	bool is_optional;
	bool drops_default;
};

struct deriver {
	struct kveil_engine *e;
	const struct kveil_connect_tree *tree;
	struct verdict *verdicts;
	size_t v;
	struct kveil_connect_schema *schema;
	struct kveil_buf *out;
	struct kveil_connect_fit *fits; /* in the record's arena */
	size_t fit_count, fit_cap;
	struct kveil_error *err;
};

static enum kveil_status no_memory(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory for a schema");
}

/* --- what rules leave at a node --- */

static size_t digits_of(struct kveil_span number)
{
	size_t sign = number.data[0] == '-';

	for (size_t i = sign; i < number.len; i++)
		if (number.data[i] < '0' || number.data[i] > '9')
			return NOT_WHOLE;
	return number.len - sign < NOT_WHOLE ? number.len - sign : NOT_WHOLE;
}

/* One rule at one node: what it writes there. */
static void add_result(struct outcome *o, const struct kveil_bound_rule *r)
{
	const struct kveil_action *a = r->action;
	unsigned kinds = a->results_for ? a->results_for(r->rule->params, KVEIL_KIND_STRING) : 0;
	struct kveil_span text = a->constant ? a->constant(r->rule->params) : KVEIL_SPAN_NULL;
	bool is_raw = kinds & KVEIL_RESULT_BIT(KVEIL_RESULT_RAW);

	if (is_raw && !text.data)
		return;
	o->is_touched = true;
	if (kinds & KVEIL_RESULT_BIT(KVEIL_RESULT_NULL)) {
		o->null = true;
	} else if (kinds & KVEIL_RESULT_BIT(KVEIL_RESULT_REMOVE)) {
		o->gone = true;
	} else if (is_raw) {
		bool is_number = text.data[0] == '-' || (text.data[0] >= '0' && text.data[0] <= '9');
		size_t digits = is_number ? digits_of(text) : 0;
		o->digits = digits > o->digits ? digits : o->digits;
		o->kinds |= KVEIL_KIND_BIT(is_number ? KVEIL_KIND_NUMBER : KVEIL_KIND_BOOL);
	} else if (r->action->effect == KVEIL_REVEALS) {
		o->revealed = true;
	} else {
		o->text = true;
		o->is_sealed |= r->action->inverse != NULL;
		o->keeps_original |= r->rule->key_use & KVEIL_USE_OPEN;
	}
}

static bool is_unconditional(const struct kveil_bound_rule *r)
{
	return !r->rule->when && !r->rule->tables && r->only_kinds == ~0u;
}

static void settle_move(struct outcome *o, bool moves, bool moves_surely)
{
	if (!o->clear || !moves)
		return;
	o->is_touched = true;
	o->gone = true;
	if (moves_surely)
		o->clear = false;
}

static struct outcome outcome_at(const struct deriver *d, const struct kveil_connect_node *n)
{
	struct outcome o = {.clear = true};
	bool moves = false, moves_surely = false;

	for (const struct kveil_connect_touch *t = n->touches; t; t = t->next) {
		const struct kveil_bound_rule *r = &d->e->rules[t->use == KVEIL_CONNECT_CLEAR ? 0 : t->rule];
		if (t->use == KVEIL_CONNECT_CLEAR)
			continue;
		bool surely = t->surely && is_unconditional(r);
		if (!(r->views >> d->v & 1))
			continue;
		if (t->use == KVEIL_CONNECT_READS) {
			moves |= !r->rule->keep_source;
			moves_surely |= !r->rule->keep_source && surely;
		} else if (o.clear) {
			bool was_touched = o.is_touched;
			o.is_touched = false;
			add_result(&o, r);
			o.clear = !(surely && o.is_touched && t->use == KVEIL_CONNECT_WRITES);
			o.is_touched |= was_touched;
		}
	}
	settle_move(&o, moves, moves_surely);
	o.gone_for_good = o.gone && !o.clear && !o.text && !o.null && !o.revealed && !o.kinds;
	return o;
}

/* --- the node's new schema --- */

/* Without memory it is empty, and the schema that is being written has failed. */
static struct kveil_span parameter_name(const struct deriver *d, const struct kveil_connect_tree *tree, uint32_t at)
{
	const struct kveil_doc_node *n = &tree->doc->nodes[at];
	struct kveil_span raw = {tree->doc->text.data + n->name_start, n->name_end - n->name_start};
	struct kveil_span name = kveil_engine_unquote(d->e, raw);

	d->out->failed |= !name.data;
	return name;
}

static uint32_t find_parameter(const struct deriver *d, const struct kveil_connect_tree *tree,
			       const struct kveil_connect_node *n, const char *wanted)
{
	const struct kveil_doc_node *nodes = tree->doc->nodes;
	uint32_t at = n->members[KVEIL_CONNECT_M_PARAMETERS];

	if (kveil_connect_is_null(tree, at))
		return 0;
	for (uint32_t c = at + 1; c < nodes[at].next; c = nodes[c].next)
		if (kveil_span_eq(parameter_name(d, tree, c), kveil_span_str(wanted)))
			return nodes[c].kind == KVEIL_KIND_STRING ? c : 0;
	return 0;
}

/* Is it a parameter with symbols of an enumeration, in its value or at the end of its name, as
 * io.confluent.connect.avro.Enum.MALE and org.apache.kafka.connect.data.Enum.MALE are? */
static bool lists_symbols(struct kveil_span name)
{
	static const size_t len = sizeof ENUM - 1;

	for (size_t i = 0; i + len <= name.len; i++)
		if (strncasecmp((const char *)name.data + i, ENUM, len) == 0)
			return true;
	return kveil_span_eq(name, KVEIL_SPAN(SYMBOLS));
}

static bool is_enumeration(const struct deriver *d, const struct kveil_connect_node *n)
{
	const struct kveil_doc *doc = d->tree->doc;
	uint32_t at = n->members[KVEIL_CONNECT_M_PARAMETERS];
	bool found = false;

	if (kveil_connect_is_null(d->tree, at))
		return false;
	for (uint32_t c = at + 1; !found && c < doc->nodes[at].next; c = doc->nodes[c].next)
		found = lists_symbols(parameter_name(d, d->tree, c));
	return found;
}

/* Do constants fit the type that is there? */
static bool takes_constants(const struct kveil_connect_node *n, const struct outcome *o)
{
	if (n->type == KVEIL_CONNECT_BOOLEAN)
		return o->kinds == KVEIL_KIND_BIT(KVEIL_KIND_BOOL);
	if (o->kinds != KVEIL_KIND_BIT(KVEIL_KIND_NUMBER))
		return false;
	static const size_t most[] = {
	    [KVEIL_CONNECT_INT8] = 2,   [KVEIL_CONNECT_INT16] = 4,         [KVEIL_CONNECT_INT32] = 9,
	    [KVEIL_CONNECT_INT64] = 18, [KVEIL_CONNECT_FLOAT] = NOT_WHOLE, [KVEIL_CONNECT_DOUBLE] = NOT_WHOLE,
	};
	return n->type <= KVEIL_CONNECT_DOUBLE && o->digits <= most[n->type];
}

static enum kveil_connect_type type_of_constants(const struct outcome *o)
{
	if (o->clear)
		return KVEIL_CONNECT_STRING;
	if (o->kinds == KVEIL_KIND_BIT(KVEIL_KIND_BOOL))
		return KVEIL_CONNECT_BOOLEAN;
	if (o->kinds == KVEIL_KIND_BIT(KVEIL_KIND_NUMBER))
		return o->digits < NOT_WHOLE ? KVEIL_CONNECT_INT64 : KVEIL_CONNECT_DOUBLE;
	return KVEIL_CONNECT_STRING;
}

static bool has_default(const struct deriver *d, const struct kveil_connect_node *n)
{
	return !kveil_connect_is_null(d->tree, n->members[KVEIL_CONNECT_M_DEFAULT]);
}

/* What no rule reaches itself, in what one reaches. No neutral default is valid for every semantic name (a decimal of
 * no bytes is none): it must do without. */
static void judge_inside(const struct deriver *d, const struct kveil_connect_node *n, struct verdict *r)
{
	r->is_dirty = r->is_protected = r->drops_default = true;
	r->is_optional |= has_default(d, n);
}

/* After the node that it is in. */
static struct verdict judge(const struct deriver *d, uint32_t i, bool is_unmatched)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	struct verdict r = {.out = outcome_at(d, n), .type = n->type, .is_optional = n->is_optional};
	struct outcome *o = &r.out;

	o->is_touched |= is_unmatched;
	o->gone |= is_unmatched;
	if (!o->is_touched) {
		if (i && d->verdicts[n->parent].is_protected)
			judge_inside(d, n, &r);
		return r;
	}
	r.is_dirty = r.is_protected = true;
	r.is_optional |= o->null || o->gone;
	r.drops_default = o->null || o->gone;
	if (o->text || (o->revealed && o->kinds)) {
		r.is_retyped = true;
		r.type = KVEIL_CONNECT_STRING;
	} else if (o->revealed) {
		r.is_retyped = true;
		r.is_restored = find_parameter(d, d->tree, n, ORIGINAL) != 0;
		r.type = r.is_restored ? n->type : KVEIL_CONNECT_STRING;
	} else if (o->kinds) {
		r.is_retyped = true;
		r.type = takes_constants(n, o) ? n->type : type_of_constants(o);
	}
	return r;
}

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

static void write_clear_parameters(const struct deriver *d, const struct kveil_connect_tree *tree, uint32_t at,
				   struct kveil_buf *out)
{
	const struct kveil_doc_node *nodes = tree->doc->nodes;

	write_name(out, "parameters");
	if (kveil_connect_is_null(tree, at)) {
		kveil_buf_append_str(out, "null");
		return;
	}
	kveil_buf_append_byte(out, '{');
	for (uint32_t c = at + 1; c < nodes[at].next; c = nodes[c].next) {
		if (!lists_symbols(parameter_name(d, tree, c)))
			write_raw_member(out, tree->doc, c);
	}
	kveil_buf_append_byte(out, '}');
}

static void write_clear(const struct deriver *d, const struct kveil_connect_tree *tree, uint32_t i,
			struct kveil_buf *out);

static void write_clear_inside(const struct deriver *d, const struct kveil_connect_tree *tree, uint32_t i, uint32_t at,
			       struct kveil_buf *out)
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

static void write_clear(const struct deriver *d, const struct kveil_connect_tree *tree, uint32_t i,
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

static void write_original(struct deriver *d, uint32_t i, const struct outcome *o)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	uint32_t known = o->keeps_original ? find_parameter(d, d->tree, n, ORIGINAL) : 0;
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	write_name(d->out, ORIGINAL);
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
static void write_parameters(struct deriver *d, uint32_t i, const struct outcome *o)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	bool keeps = o->text && o->is_sealed && !is_plain_text(d->tree, n);
	uint32_t column = o->revealed ? 0 : find_parameter(d, d->tree, n, COLUMN);

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

static bool write_steps(const struct deriver *d, uint32_t i, struct kveil_path *path)
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
static bool add_fit(struct deriver *d, uint32_t i, struct kveil_span name, unsigned kind)
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
static bool fit_as_text(struct deriver *d, uint32_t i, struct kveil_span name, const struct outcome *o)
{
	bool has_clear = o->clear && d->tree->nodes[i].type != KVEIL_CONNECT_STRING;

	return !(has_clear || o->kinds || o->revealed) || add_fit(d, i, name, KVEIL_KIND_STRING);
}

/* --- writing --- */

static enum kveil_status write_node(struct deriver *d, uint32_t i);

/* Values that came out as texts have the type again that they had; what they are in is a copy, with the field's name,
 * its place in the table and a default that says nothing. */
static enum kveil_status write_restored(struct deriver *d, uint32_t i, struct kveil_span name, bool is_optional,
					bool has_default)
{
	struct kveil_scan *scan = &d->e->connect.spelled;
	const struct kveil_connect_node *from = &d->tree->nodes[i];
	struct kveil_connect_tree tree;
	struct kveil_span text;
	uint32_t at = find_parameter(d, d->tree, from, ORIGINAL);
	static const unsigned kinds[] = {
	    [KVEIL_CONNECT_STRUCT] = KVEIL_KIND_OBJECT, [KVEIL_CONNECT_ARRAY] = KVEIL_KIND_ARRAY,
	    [KVEIL_CONNECT_MAP] = KVEIL_KIND_OBJECT,    [KVEIL_CONNECT_BOOLEAN] = KVEIL_KIND_BOOL,
	    [KVEIL_CONNECT_STRING] = KVEIL_KIND_NULL,   [KVEIL_CONNECT_BYTES] = KVEIL_KIND_NULL};

	/* It was there when it was judged. */
	bool ok = at && !kveil_doc_text(d->tree->doc, at, &d->e->arena, &text);
	enum kveil_status st = ok ? KVEIL_OK : no_memory(d->err);
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
	return kind == KVEIL_KIND_NULL || add_fit(d, i, is_new ? name : KVEIL_SPAN_NULL, kind) ? KVEIL_OK
											       : no_memory(d->err);
}

static void write_default(struct deriver *d, uint32_t i, uint32_t at)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	const struct verdict *r = &d->verdicts[i];
	const char *value = neutral(r->type, n->is_pairs);

	if (!kveil_connect_is_null(d->tree, at) && (r->drops_default || !value))
		return;
	write_name(d->out, "default");
	kveil_buf_append_str(d->out, kveil_connect_is_null(d->tree, at) ? "null" : value);
}

/* A field that `to` adds. */
static enum kveil_status write_newcomer(struct deriver *d, const struct kveil_connect_newcomer *c,
					const struct outcome *o)
{
	const struct kveil_bound_rule *r = &d->e->rules[c->rule];
	bool is_restored =
	    o->revealed && !o->text && !o->kinds && find_parameter(d, d->tree, &d->tree->nodes[c->source], ORIGINAL);

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
	return fit_as_text(d, c->source, r->rule->to_name, o) ? KVEIL_OK : no_memory(d->err);
}

/* Those of one name are one field, where the first stands. */
static enum kveil_status write_newcomers(struct deriver *d, const struct kveil_connect_node *n)
{
	enum kveil_status st = KVEIL_OK;

	for (const struct kveil_connect_newcomer *c = n->newcomers; !st && c; c = c->next) {
		struct outcome o = {0};
		struct kveil_span name = d->e->rules[c->rule].rule->to_name;
		bool is_first = true;
		for (const struct kveil_connect_newcomer *k = n->newcomers; k; k = k->next) {
			const struct kveil_bound_rule *r = &d->e->rules[k->rule];
			if (!(r->views >> d->v & 1) || !kveil_span_eq(r->rule->to_name, name))
				continue;
			add_result(&o, r);
			is_first &= k == c || k->rule > c->rule;
		}
		if (is_first && d->e->rules[c->rule].views >> d->v & 1)
			st = write_newcomer(d, c, &o);
	}
	return st;
}

static enum kveil_status write_inside(struct deriver *d, uint32_t i, enum kveil_connect_member m, uint32_t at)
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

static enum kveil_status write_member(struct deriver *d, uint32_t i, enum kveil_connect_member m, uint32_t at)
{
	const struct verdict *r = &d->verdicts[i];

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
		if (!r->is_retyped && !(r->is_protected && is_enumeration(d, &d->tree->nodes[i])))
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
static bool loses_default(const struct deriver *d, uint32_t i)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];

	return n->type == KVEIL_CONNECT_STRUCT && !d->verdicts[i].is_retyped && has_default(d, n);
}

static enum kveil_status write_node(struct deriver *d, uint32_t i)
{
	const struct kveil_connect_node *n = &d->tree->nodes[i];
	struct verdict *r = &d->verdicts[i];
	const struct kveil_doc_node *nodes = d->tree->doc->nodes;
	enum kveil_status st = KVEIL_OK;

	if (!r->is_dirty) {
		kveil_buf_append_span(d->out, raw_of(d->tree->doc, n->at));
		return KVEIL_OK;
	}
	r->is_optional |= loses_default(d, i);
	if (r->is_restored)
		return write_restored(d, i, n->field, r->is_optional, !r->drops_default && has_default(d, n));
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
		st = no_memory(d->err);
	return st;
}

static bool has_newcomers(const struct deriver *d, const struct kveil_connect_node *n)
{
	for (const struct kveil_connect_newcomer *c = n->newcomers; c; c = c->next)
		if (d->e->rules[c->rule].views >> d->v & 1)
			return true;
	return false;
}

static bool is_named(const struct deriver *d, const struct kveil_connect_node *n)
{
	for (const struct kveil_connect_touch *t = n->touches; t; t = t->next) {
		const struct kveil_bound_rule *r = &d->e->rules[t->use == KVEIL_CONNECT_CLEAR ? 0 : t->rule];
		uint64_t views = t->use == KVEIL_CONNECT_CLEAR ? d->e->clears[t->rule].views : r->views;
		if (views >> d->v & 1 && (t->use == KVEIL_CONNECT_CLEAR || !r->rule->is_of_event))
			return true;
	}
	return false;
}

/* What `unmatched: remove` may take out, all that is not named, nor in what is named, nor around it. In an event
 * some stay; being optional does them no harm. NULL: no memory. */
static const bool *find_unmatched(const struct deriver *d)
{
	const struct kveil_connect_node *nodes = d->tree->nodes;
	uint32_t count = d->tree->count;
	bool removes =
	    d->schema->part == KVEIL_PART_VALUE && d->e->plan->views[d->v].unmatched == KVEIL_UNMATCHED_REMOVE;
	bool *named = kveil_arena_alloc(&d->e->arena, count), *goes = kveil_arena_alloc(&d->e->arena, count);

	if (!named || !goes)
		return NULL;
	memset(goes, 0, count);
	for (uint32_t i = 0; removes && i < count; i++) {
		named[i] = is_named(d, &nodes[i]) || (i && named[nodes[i].parent]);
		goes[i] = !named[i] && i;
	}
	for (uint32_t i = count; removes && i-- > 1;) {
		named[nodes[i].parent] |= named[i];
		goes[i] &= !named[i];
	}
	return goes;
}

static bool judge_all(struct deriver *d)
{
	const struct kveil_connect_tree *tree = d->tree;
	const bool *unmatched = find_unmatched(d);

	d->verdicts = unmatched ? kveil_arena_array(&d->e->arena, tree->count, sizeof *d->verdicts) : NULL;
	for (uint32_t i = 0; d->verdicts && i < tree->count; i++) {
		d->verdicts[i] = judge(d, i, unmatched[i]);
		d->verdicts[i].is_dirty |= has_newcomers(d, &tree->nodes[i]);
	}
	for (uint32_t i = tree->count; d->verdicts && i-- > 1;)
		d->verdicts[tree->nodes[i].parent].is_dirty |= d->verdicts[i].is_dirty;
	return d->verdicts != NULL;
}

static bool keep(struct deriver *d)
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
	struct deriver d = {.e = e, .tree = tree, .v = v, .schema = s, .out = &out, .err = err};

	out.allowance = &e->allowance;
	if (!judge_all(&d) || !kveil_buf_ok(&out))
		return no_memory(err);
	if (!d.verdicts[0].is_dirty) {
		s->views[v] = (struct kveil_connect_view){.text = s->text};
		return KVEIL_OK;
	}
	enum kveil_status st = write_node(&d, 0);
	return st ? st : keep(&d) ? KVEIL_OK : no_memory(err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Avro schemas, read and checked. */
#include "format/avro_schema.h"

#include "base/text.h"

#include <stdlib.h>

enum { PRIMITIVES = KVEIL_AVRO_STRING + 1, MOST_PASSES = 64, MOST_NAMES = 2 * KVEIL_AVRO_SCHEMA_TYPES };

static const char *const kinds[] = {"null",   "boolean", "int",  "long",  "float", "double", "bytes",
				    "string", "fixed",   "enum", "array", "map",   "record", "union"};

const char *kveil_avro_kind_name(enum kveil_avro_kind kind)
{
	return kinds[kind];
}

/* Names by a hash, open addressing. */
struct names {
	uint32_t *slots; /* type + 1; 0 = free */
	uint32_t count;
};

struct parser {
	struct kveil_avro_schema *s;
	struct names names;
	size_t cap, members;
	struct kveil_error *err;
};

static bool fail(struct parser *p, const char *what)
{
	kveil_fail(p->err, KVEIL_E_AVRO_SCHEMA, "%s", what);
	return false;
}

static bool no_memory(struct parser *p)
{
	kveil_no_memory(p->err, "a schema");
	return false;
}

static uint32_t hash(struct kveil_span name)
{
	uint32_t h = 2166136261u;

	for (size_t i = 0; i < name.len; i++)
		h = (h ^ name.data[i]) * 16777619u;
	return h;
}

/* The slot of a name, or the free one where it belongs. At most half of them are taken. */
static uint32_t *slot_of(struct parser *p, struct kveil_span name)
{
	uint32_t i = hash(name) % MOST_NAMES;

	while (p->names.slots[i] && !kveil_span_eq(p->s->types[p->names.slots[i] - 1].name, name))
		i = (i + 1) % MOST_NAMES;
	return &p->names.slots[i];
}

static struct kveil_span text_of(const json_t *json)
{
	return kveil_span_of(json_string_value(json), json_string_length(json));
}

static struct kveil_span member_text(const json_t *object, const char *name)
{
	return text_of(json_object_get(object, name));
}

struct kveil_span kveil_avro_last_word(struct kveil_span name)
{
	size_t n = name.len;

	while (n && name.data[n - 1] != '.')
		n--;
	return n ? kveil_span_of(name.data + n, name.len - n) : name;
}

struct kveil_span kveil_avro_namespace(struct kveil_span name)
{
	size_t last = kveil_avro_last_word(name).len;

	return kveil_span_of(name.data, name.len > last ? name.len - last - 1 : 0);
}

/* Letters, digits and '_', not a digit first. */
static bool is_word(struct kveil_span w)
{
	for (size_t i = 0; i < w.len; i++) {
		uint8_t c = w.data[i], letter = c | 0x20;
		bool is_letter = (letter >= 'a' && letter <= 'z') || c == '_';
		if (!is_letter && (i == 0 || c < '0' || c > '9'))
			return false;
	}
	return w.len > 0;
}

static bool is_dotted(struct kveil_span name)
{
	while (true) {
		const uint8_t *dot = memchr(name.data ? name.data : kveil_span_str("").data, '.', name.len);
		size_t n = dot ? (size_t)(dot - name.data) : name.len;
		if (!is_word(kveil_span_of(name.data, n)))
			return false;
		if (!dot)
			return true;
		name = kveil_span_of(name.data + n + 1, name.len - n - 1);
	}
}

static bool join_name(struct parser *p, struct kveil_span space, struct kveil_span name, struct kveil_span *ret)
{
	uint8_t *full = kveil_arena_alloc(&p->s->arena, space.len + name.len + 1);

	*ret = name;
	if (space.len == 0 || memchr(name.data, '.', name.len))
		return true;
	if (!full)
		return no_memory(p);
	memcpy(full, space.data, space.len);
	full[space.len] = '.';
	memcpy(full + space.len + 1, name.data, name.len);
	*ret = kveil_span_of(full, space.len + 1 + name.len);
	return true;
}

static bool primitive_of(struct kveil_span name, enum kveil_avro_kind *ret)
{
	for (uint32_t k = 0; k < PRIMITIVES; k++)
		if (kveil_span_eq(kveil_span_str(kinds[k]), name)) {
			*ret = k;
			return true;
		}
	return false;
}

static bool add_type(struct parser *p, enum kveil_avro_kind kind, const json_t *json, uint32_t *ret)
{
	struct kveil_avro_schema *s = p->s;

	if (s->count == KVEIL_AVRO_SCHEMA_TYPES)
		return fail(p, "a schema of too many types");
	if (s->count == p->cap) {
		size_t cap = p->cap ? p->cap * 2 : 64;
		struct kveil_avro_type *more = realloc(s->types, cap * sizeof *more);
		if (!more)
			return no_memory(p);
		s->types = more;
		p->cap = cap;
	}
	*ret = s->count++;
	s->types[*ret] = (struct kveil_avro_type){.kind = kind, .json = json};
	return true;
}

/* Members of all types together are bounded by the text. */
static struct kveil_avro_member *add_members(struct parser *p, uint32_t type, size_t count)
{
	struct kveil_avro_member *m = kveil_arena_array(&p->s->arena, count, sizeof *m);

	if (!m) {
		no_memory(p);
		return NULL;
	}
	memset(m, 0, count * sizeof *m);
	p->s->types[type].members = m;
	p->s->types[type].member_count = (uint32_t)count;
	return m;
}

static bool parse(struct parser *p, const json_t *json, struct kveil_span space, unsigned depth, uint32_t *ret);

/* A name where a type may stand. As Java reads it: primitive, then in the namespace around, then in none. */
static bool parse_reference(struct parser *p, const json_t *json, struct kveil_span space, uint32_t *ret)
{
	struct kveil_span name = text_of(json), full;
	enum kveil_avro_kind kind;

	if (primitive_of(name, &kind))
		return add_type(p, kind, json, ret);
	if (!is_dotted(name))
		return fail(p, "a type's name is not a valid name");
	if (!join_name(p, space, name, &full))
		return false;
	uint32_t at = *slot_of(p, full);
	if (!at) {
		at = *slot_of(p, name);
		p->s->refers_as_java |= at != 0;
	}
	if (!at)
		return fail(p, "a type that is not defined before its name is used");
	*ret = at - 1;
	return true;
}

static bool define(struct parser *p, const json_t *json, struct kveil_span space, uint32_t type)
{
	struct kveil_span name = member_text(json, "name"), full;
	const json_t *own = json_object_get(json, "namespace");
	enum kveil_avro_kind kind;

	if (!is_dotted(name))
		return fail(p, "a record, enum or fixed without a name");
	if (json_is_string(own))
		space = text_of(own);
	if (space.len && !is_dotted(space))
		return fail(p, "a namespace is not a valid name");
	if (!join_name(p, space, name, &full))
		return false;
	if (primitive_of(full, &kind))
		return fail(p, "a type has the name of a primitive one");
	uint32_t *slot = slot_of(p, full);
	if (*slot)
		return fail(p, "two types with one name");
	*slot = type + 1;
	p->s->types[type].name = full;
	return true;
}

static bool is_repeated(const struct kveil_avro_member *members, size_t count)
{
	size_t slots = 8;
	bool twice = false;

	while (slots < 2 * count)
		slots *= 2;
	uint32_t *taken = calloc(slots, sizeof *taken);
	if (!taken)
		return true;
	for (size_t i = 0; i < count && !twice; i++) {
		size_t at = hash(members[i].name) & (slots - 1);
		while (taken[at] && !kveil_span_eq(members[taken[at] - 1].name, members[i].name))
			at = (at + 1) & (slots - 1);
		twice = taken[at] != 0;
		taken[at] = (uint32_t)i + 1;
	}
	free(taken);
	return twice;
}

static bool parse_record(struct parser *p, const json_t *json, struct kveil_span space, unsigned depth, uint32_t type)
{
	const json_t *fields = json_object_get(json, "fields"), *field;
	size_t i;

	if (!define(p, json, space, type))
		return false;
	if (!json_is_array(fields))
		return fail(p, "a record without fields");
	space = kveil_avro_namespace(p->s->types[type].name);
	struct kveil_avro_member *m = add_members(p, type, json_array_size(fields));
	if (!m)
		return false;
	json_array_foreach(fields, i, field)
	{
		m[i] = (struct kveil_avro_member){.name = member_text(field, "name"), .json = field};
		if (!is_word(m[i].name))
			return fail(p, "a field without a name");
		if (!parse(p, json_object_get(field, "type"), space, depth + 1, &m[i].type))
			return false;
	}
	return is_repeated(m, i) ? fail(p, "two fields with one name") : true;
}

static bool parse_enum(struct parser *p, const json_t *json, struct kveil_span space, uint32_t type)
{
	const json_t *symbols = json_object_get(json, "symbols"), *symbol;
	size_t i;

	if (!define(p, json, space, type))
		return false;
	if (json_array_size(symbols) == 0)
		return fail(p, "an enum without symbols");
	struct kveil_avro_member *m = add_members(p, type, json_array_size(symbols));
	if (!m)
		return false;
	json_array_foreach(symbols, i, symbol)
	{
		m[i].name = text_of(symbol);
		if (!is_word(m[i].name))
			return fail(p, "an enum's symbol is not a valid name");
	}
	return is_repeated(m, i) ? fail(p, "two symbols with one name") : true;
}

static bool parse_fixed(struct parser *p, const json_t *json, struct kveil_span space, uint32_t type)
{
	const json_t *size = json_object_get(json, "size");
	json_int_t n = json_integer_value(size);

	if (!define(p, json, space, type))
		return false;
	if (!json_is_integer(size) || n < 0 || n > 1 << 30)
		return fail(p, "a fixed without a size, or of more than 1 GiB");
	p->s->types[type].size = (uint32_t)n;
	return true;
}

/* What a branch is known by: two of one sort cannot be told apart. */
static struct kveil_span sort_of(const struct kveil_avro_type *t)
{
	return t->name.len ? t->name : kveil_span_str(kinds[t->kind]);
}

static bool parse_union(struct parser *p, const json_t *json, struct kveil_span space, unsigned depth, uint32_t *ret)
{
	const json_t *branch;
	size_t i;

	if (!add_type(p, KVEIL_AVRO_UNION, json, ret))
		return false;
	if (json_array_size(json) == 0 || json_array_size(json) > KVEIL_AVRO_SCHEMA_BRANCHES)
		return fail(p, "a union without branches, or of too many");
	struct kveil_avro_member *m = add_members(p, *ret, json_array_size(json));
	if (!m)
		return false;
	json_array_foreach(json, i, branch)
	{
		if (!parse(p, branch, space, depth + 1, &m[i].type))
			return false;
		if (p->s->types[m[i].type].kind == KVEIL_AVRO_UNION)
			return fail(p, "a union in a union");
		m[i].name = sort_of(&p->s->types[m[i].type]);
	}
	return is_repeated(m, i) ? fail(p, "two branches of a union are of one type") : true;
}

static bool parse_object(struct parser *p, const json_t *json, struct kveil_span space, unsigned depth, uint32_t *ret)
{
	const json_t *type = json_object_get(json, "type");
	struct kveil_span name = text_of(type);
	enum kveil_avro_kind kind = KVEIL_AVRO_UNION;

	/* {"type": {…}} is the type inside; what is written around it belongs to nobody. */
	if (!json_is_string(type))
		return parse(p, type, space, depth + 1, ret);
	for (uint32_t k = 0; k < KVEIL_AVRO_UNION; k++)
		if (kveil_span_eq(kveil_span_str(kinds[k]), name))
			kind = k;
	if (kind == KVEIL_AVRO_UNION)
		return parse_reference(p, type, space, ret);
	if (!add_type(p, kind, json, ret))
		return false;
	switch (kind) {
	case KVEIL_AVRO_RECORD:
		return parse_record(p, json, space, depth, *ret);
	case KVEIL_AVRO_ENUM:
		return parse_enum(p, json, space, *ret);
	case KVEIL_AVRO_FIXED:
		return parse_fixed(p, json, space, *ret);
	case KVEIL_AVRO_ARRAY:
	case KVEIL_AVRO_MAP: {
		uint32_t item;
		if (!parse(p, json_object_get(json, kind == KVEIL_AVRO_MAP ? "values" : "items"), space, depth + 1,
			   &item))
			return false;
		p->s->types[*ret].item = item;
		return true;
	}
	default:
		return true;
	}
}

static bool parse(struct parser *p, const json_t *json, struct kveil_span space, unsigned depth, uint32_t *ret)
{
	if (depth > KVEIL_AVRO_SCHEMA_DEPTH)
		return fail(p, "a schema nested too deep");
	if (json_is_string(json))
		return parse_reference(p, json, space, ret);
	if (json_is_array(json))
		return parse_union(p, json, space, depth, ret);
	if (json_is_object(json))
		return parse_object(p, json, space, depth, ret);
	return fail(p, "a type is missing");
}

/* --- how short can a value be --- */

static uint32_t add_sizes(uint32_t a, uint32_t b)
{
	return a > UINT32_MAX - b ? UINT32_MAX : a + b;
}

static uint32_t shortest(const struct kveil_avro_schema *s, const struct kveil_avro_type *t)
{
	uint32_t n = t->kind == KVEIL_AVRO_UNION ? UINT32_MAX : 0;

	switch (t->kind) {
	case KVEIL_AVRO_NULL:
		return 0;
	case KVEIL_AVRO_FLOAT:
		return 4;
	case KVEIL_AVRO_DOUBLE:
		return 8;
	case KVEIL_AVRO_FIXED:
		return t->size;
	case KVEIL_AVRO_RECORD:
		for (uint32_t i = 0; i < t->member_count; i++)
			n = add_sizes(n, s->types[t->members[i].type].min_bytes);
		return n;
	case KVEIL_AVRO_UNION:
		for (uint32_t i = 0; i < t->member_count; i++)
			if (s->types[t->members[i].type].min_bytes < n)
				n = s->types[t->members[i].type].min_bytes;
		return add_sizes(n, 1);
	default:
		return 1;
	}
}

/* From "no value ends" downwards, the last type first: most are made of what stands behind them. */
static bool measure(struct parser *p)
{
	struct kveil_avro_schema *s = p->s;
	bool changes = true;

	for (uint32_t i = 0; i < s->count; i++)
		s->types[i].min_bytes = UINT32_MAX;
	for (int pass = 0; changes; pass++) {
		if (pass == MOST_PASSES)
			return fail(p, "types refer to each other in too long a chain");
		changes = false;
		for (uint32_t i = s->count; i-- > 0;) {
			uint32_t n = shortest(s, &s->types[i]);
			changes |= n != s->types[i].min_bytes;
			s->types[i].min_bytes = n;
		}
	}
	if (s->types[0].min_bytes == UINT32_MAX)
		return fail(p, "a type whose values have no end, or are beyond 4 GiB");
	return true;
}

/* --- the canonical form --- */

static void write_names(struct kveil_buf *out, const struct kveil_avro_type *t)
{
	for (uint32_t i = 0; i < t->member_count; i++) {
		kveil_buf_append_str(out, i ? ",\"" : "\"");
		kveil_buf_append_span(out, t->members[i].name);
		kveil_buf_append_byte(out, '"');
	}
}

/* What is written of a name that has no namespace: a reader would take the one around it. avro-c has no way to refer to
 * such a name from within a namespace, as Java has: to it they are all in one of their own, that nobody else has. */
enum without_namespace { AS_IT_IS, SAYS_SO, IN_ITS_OWN };
#define OWN_NAMESPACE "kveil.without.namespace"

/* Names are words here, so nothing needs an escape. */
struct canonical {
	const struct kveil_avro_schema *s;
	uint8_t *written; /* named types that stand there already, one bit each */
	struct kveil_buf *out;
	enum without_namespace none;
	bool too_deep;
};

static void write_canonical(struct canonical *c, uint32_t type, unsigned depth);

static void write_members(struct canonical *c, const struct kveil_avro_type *t, unsigned depth)
{
	for (uint32_t i = 0; i < t->member_count; i++) {
		if (i)
			kveil_buf_append_byte(c->out, ',');
		if (t->kind == KVEIL_AVRO_RECORD)
			kveil_buf_printf(c->out, "{\"name\":\"%.*s\",\"type\":", (int)t->members[i].name.len,
					 (const char *)t->members[i].name.data);
		write_canonical(c, t->members[i].type, depth + 1);
		if (t->kind == KVEIL_AVRO_RECORD)
			kveil_buf_append_byte(c->out, '}');
	}
}

static void write_name(struct canonical *c, const struct kveil_avro_type *t)
{
	const char *space = c->none == IN_ITS_OWN && !kveil_avro_namespace(t->name).len ? OWN_NAMESPACE "." : "";

	kveil_buf_printf(c->out, "\"%s%.*s\"", space, (int)t->name.len, (const char *)t->name.data);
}

static void write_canonical(struct canonical *c, uint32_t type, unsigned depth)
{
	const struct kveil_avro_type *t = &c->s->types[type];

	if (t->name.len && c->written[type / 8] >> type % 8 & 1) {
		write_name(c, t);
		return;
	}
	c->too_deep |= depth > KVEIL_AVRO_SCHEMA_DEPTH;
	if (c->too_deep)
		return;
	c->written[type / 8] |= (uint8_t)(1u << type % 8);
	if (t->name.len) {
		bool says_so = c->none == SAYS_SO && !kveil_avro_namespace(t->name).len;
		kveil_buf_append_str(c->out, "{\"name\":");
		write_name(c, t);
		kveil_buf_printf(c->out, ",%s\"type\":\"%s\"", says_so ? "\"namespace\":\"\"," : "", kinds[t->kind]);
	}
	switch (t->kind) {
	case KVEIL_AVRO_RECORD:
		kveil_buf_append_str(c->out, ",\"fields\":[");
		write_members(c, t, depth);
		kveil_buf_append_str(c->out, "]}");
		break;
	case KVEIL_AVRO_ENUM:
		kveil_buf_append_str(c->out, ",\"symbols\":[");
		write_names(c->out, t);
		kveil_buf_append_str(c->out, "]}");
		break;
	case KVEIL_AVRO_FIXED:
		kveil_buf_printf(c->out, ",\"size\":%u}", t->size);
		break;
	case KVEIL_AVRO_ARRAY:
	case KVEIL_AVRO_MAP:
		kveil_buf_printf(c->out, "{\"type\":\"%s\",\"%s\":", kinds[t->kind],
				 t->kind == KVEIL_AVRO_MAP ? "values" : "items");
		write_canonical(c, t->item, depth + 1);
		kveil_buf_append_byte(c->out, '}');
		break;
	case KVEIL_AVRO_UNION:
		kveil_buf_append_byte(c->out, '[');
		write_members(c, t, depth);
		kveil_buf_append_byte(c->out, ']');
		break;
	default:
		kveil_buf_printf(c->out, "\"%s\"", kinds[t->kind]);
	}
}

static bool write_type(const struct kveil_avro_schema *s, uint32_t type, enum without_namespace none,
		       struct kveil_buf *out, bool *too_deep)
{
	struct canonical c = {.s = s, .written = calloc(1, s->count / 8 + 1), .out = out, .none = none};

	if (c.written)
		write_canonical(&c, type, 0);
	bool ok = c.written && kveil_buf_ok(out);
	free(c.written);
	*too_deep = c.too_deep;
	return ok && !c.too_deep;
}

bool kveil_avro_write_canonical(const struct kveil_avro_schema *s, uint32_t type, struct kveil_buf *out, bool *too_deep)
{
	return write_type(s, type, AS_IT_IS, out, too_deep);
}

bool kveil_avro_write_readable(const struct kveil_avro_schema *s, uint32_t type, struct kveil_buf *out)
{
	bool too_deep;

	return write_type(s, type, SAYS_SO, out, &too_deep);
}

/* CRC-64-AVRO, as the specification gives it. */
uint64_t kveil_avro_fingerprint(struct kveil_span canonical)
{
	const uint64_t empty = 0xc15d213aa4d7a795u;
	uint64_t table[256], fp = empty;

	for (uint32_t i = 0; i < 256; i++) {
		table[i] = i;
		for (int k = 0; k < 8; k++)
			table[i] = (table[i] >> 1) ^ (empty & (0 - (table[i] & 1)));
	}
	for (size_t i = 0; i < canonical.len; i++)
		fp = (fp >> 8) ^ table[(fp ^ canonical.data[i]) & 0xff];
	return fp;
}

static bool canonize(struct parser *p)
{
	struct kveil_avro_schema *s = p->s;
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	bool too_deep;

	if (!kveil_avro_write_canonical(s, 0, &text, &too_deep))
		return too_deep ? fail(p, "a schema nested too deep") : no_memory(p);
	uint8_t *copy = kveil_arena_alloc(&s->arena, text.len);
	if (!copy)
		return no_memory(p);
	memcpy(copy, text.data, text.len);
	s->canonical = kveil_span_of(copy, text.len);
	s->fingerprint = kveil_avro_fingerprint(s->canonical);
	return true;
}

/* Two types of one name, which it does not see to be one in time, would cost avro-c their memory: here there are none.
 */
static bool ask_library(struct parser *p)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	bool too_deep;

	if (!write_type(p->s, 0, IN_ITS_OWN, &text, &too_deep))
		return no_memory(p);
	return kveil_avro_library_takes(kveil_buf_span(&text)) || fail(p, "avro-c does not take it for a schema");
}

json_t *kveil_avro_schema_json(struct kveil_span text, struct kveil_error *err)
{
	json_error_t why;
	json_t *json;

	if (text.len > KVEIL_AVRO_SCHEMA_BYTES)
		kveil_fail(err, KVEIL_E_AVRO_SCHEMA, "a schema of more than 1 MiB");
	else if (!kveil_text_json_is_modest(text, 4 * KVEIL_AVRO_SCHEMA_DEPTH, KVEIL_AVRO_SCHEMA_VALUES))
		kveil_fail(err, KVEIL_E_AVRO_SCHEMA, "a schema nested too deep, or of too many parts");
	else if ((json = json_loadb((const char *)text.data, text.len,
				    JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why)))
		return json;
	else
		kveil_fail_at(err, KVEIL_E_AVRO_SCHEMA, (size_t)why.position, "not JSON");
	return NULL;
}

static bool load(struct parser *p, struct kveil_span text)
{
	if (!(p->s->json = kveil_avro_schema_json(text, p->err)))
		return false;
	uint8_t *copy = kveil_arena_alloc(&p->s->arena, text.len + 1);
	if (!copy)
		return no_memory(p);
	memcpy(copy, text.data, text.len);
	p->s->text = kveil_span_of(copy, text.len);
	return true;
}

enum kveil_status kveil_avro_schema_parse(struct kveil_span text, struct kveil_avro_schema **ret,
					  struct kveil_error *err)
{
	struct kveil_error scrap;
	uint32_t root;

	*ret = NULL;
	err = err ? err : &scrap;
	struct parser p = {.s = calloc(1, sizeof *p.s), .err = err};
	p.names.slots = calloc(MOST_NAMES, sizeof *p.names.slots);
	if (!p.s || !p.names.slots) {
		free(p.s);
		free(p.names.slots);
		return kveil_no_memory(err, "a schema");
	}
	kveil_arena_init(&p.s->arena, 0);
	bool ok = load(&p, text) && parse(&p, p.s->json, KVEIL_SPAN(""), 0, &root) && measure(&p);
	ok = ok && canonize(&p) && ask_library(&p);
	free(p.names.slots);
	if (!ok) {
		kveil_avro_schema_free(p.s);
		return err->status;
	}
	*ret = p.s;
	return KVEIL_OK;
}

void kveil_avro_schema_free(struct kveil_avro_schema *s)
{
	if (!s)
		return;
	json_decref(s->json);
	kveil_arena_clear(&s->arena);
	free(s->types);
	free(s);
}

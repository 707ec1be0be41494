/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas inline: where they stand in a record, and what became of them before. */
#include "engine/connect.h"

#include "format/envelope.h"

enum { MOST_SCHEMAS = 256, SHARE = 8 /* of a record's memory that schemas may take in all */ };

#define BEFORE  "{\"schema\":"
#define BETWEEN ",\"payload\":"

void kveil_connect_init(struct kveil_engine *e)
{
	struct kveil_connect *c = &e->connect;

	if (!e->plan->envelope || !e->plan->envelope->has_schemas)
		return;
	c->allowance.max_bytes = e->allowance.max_bytes / SHARE;
	e->allowance.max_bytes -= c->allowance.max_bytes;
	c->scan = (struct kveil_scan){.arena = &e->arena,
				      .max_bytes = e->max_bytes,
				      .max_depth = e->max_depth,
				      .want_doc = true,
				      .allowance = &e->allowance};
	c->inner = c->spelled = c->scan;
}

static void free_schema(struct kveil_connect_schema *s)
{
	/* It stands in its own memory. */
	struct kveil_arena memory = s->memory;

	kveil_arena_clear(&memory);
}

void kveil_connect_clear(struct kveil_connect *c)
{
	while (c->schemas) {
		struct kveil_connect_schema *s = c->schemas;
		c->schemas = s->next;
		free_schema(s);
	}
	kveil_scan_clear(&c->scan);
	kveil_scan_clear(&c->inner);
	kveil_scan_clear(&c->spelled);
}

/* --- schemas that were seen before --- */

static void drop_last(struct kveil_connect *c)
{
	struct kveil_connect_schema **last = &c->schemas;

	while ((*last)->next)
		last = &(*last)->next;
	free_schema(*last);
	*last = NULL;
}

static void make_room(struct kveil_connect *c)
{
	size_t count = 0;

	for (const struct kveil_connect_schema *s = c->schemas; s; s = s->next)
		count++;
	while (c->schemas && (count >= MOST_SCHEMAS || c->allowance.used_bytes > c->allowance.max_bytes / 2)) {
		drop_last(c);
		count--;
	}
}

static const struct kveil_connect_schema *use(struct kveil_connect *c, struct kveil_connect_schema **at)
{
	struct kveil_connect_schema *s = *at;

	*at = s->next;
	s->next = c->schemas;
	c->schemas = s;
	return s;
}

static const struct kveil_connect_schema *find(struct kveil_connect *c, enum kveil_part part, struct kveil_span text)
{
	for (struct kveil_connect_schema **at = &c->schemas; *at; at = &(*at)->next)
		if ((*at)->part == part && kveil_span_eq((*at)->text, text))
			return use(c, at);
	return NULL;
}

static bool begins_with(struct kveil_span text, size_t at, struct kveil_span with)
{
	return text.len - at >= with.len && memcmp(text.data + at, with.data, with.len) == 0;
}

/* A text as JsonConverter writes it, with a schema that was seen before: neither is looked at any further. */
static bool find_quickly(struct kveil_engine *e, enum kveil_part part, struct kveil_connect_split *ret)
{
	const struct kveil_span before = KVEIL_SPAN(BEFORE), between = KVEIL_SPAN(BETWEEN);
	struct kveil_span text = ret->text;

	if (text.len > e->max_bytes || !begins_with(text, 0, before) || text.data[text.len - 1] != '}')
		return false;
	for (struct kveil_connect_schema **at = &e->connect.schemas; *at; at = &(*at)->next) {
		const struct kveil_connect_schema *s = *at;
		if (s->part != part || !begins_with(text, before.len, s->text) ||
		    !begins_with(text, before.len + s->text.len, between))
			continue;
		size_t payload = before.len + s->text.len + between.len;
		if (payload + 1 >= text.len)
			continue;
		ret->schema = use(&e->connect, at);
		ret->schema_at = before.len;
		ret->payload = kveil_span_of(text.data + payload, text.len - payload - 1);
		return true;
	}
	return false;
}

/* --- a schema that was not --- */

static struct kveil_connect_schema *new_schema(struct kveil_engine *e, enum kveil_part part, struct kveil_span text)
{
	struct kveil_arena memory;

	kveil_arena_init(&memory, 0);
	memory.allowance = &e->connect.allowance;
	struct kveil_connect_schema *s = kveil_arena_alloc(&memory, sizeof *s);
	uint8_t *copy = kveil_arena_alloc(&memory, text.len + 1);
	struct kveil_connect_view *views = kveil_arena_array(&memory, e->view_count, sizeof *views);
	if (!s || !copy || !views) {
		kveil_arena_clear(&memory);
		return NULL;
	}
	memcpy(copy, text.data, text.len);
	memset(views, 0, e->view_count * sizeof *views);
	*s = (struct kveil_connect_schema){
	    .part = part, .text = kveil_span_of(copy, text.len), .views = views, .memory = memory};
	return s;
}

static enum kveil_status derive(struct kveil_engine *e, struct kveil_connect_schema *s, struct kveil_error *err)
{
	struct kveil_connect_tree tree;
	enum kveil_status st = kveil_format_by_name(KVEIL_SPAN("json"))->scan(&e->connect.inner, s->text, err);

	if (!st)
		st = kveil_connect_read(e, &e->connect.inner.doc, 0, &tree, err);
	if (!st)
		st = kveil_connect_touch(e, s->part, &tree, err);
	for (size_t v = 0; !st && v < e->view_count; v++)
		st = kveil_connect_derive(e, &tree, v, s, err);
	return st;
}

static enum kveil_status add(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
			     const struct kveil_connect_schema **ret, struct kveil_error *err)
{
	struct kveil_connect *c = &e->connect;
	struct kveil_connect_schema *s = NULL;
	enum kveil_status st = KVEIL_E_NO_MEMORY;

	make_room(c);
	do {
		c->allowance.was_refused = false;
		s = new_schema(e, part, text);
		st = s ? derive(e, s, err) : kveil_no_memory(err, "a schema");
		if (st && s)
			free_schema(s);
		if (st != KVEIL_E_NO_MEMORY || !c->allowance.was_refused || !c->schemas)
			break;
		drop_last(c);
	} while (true);
	/* It is this schema, not the machine. */
	if (st == KVEIL_E_NO_MEMORY)
		e->allowance.was_refused |= c->allowance.was_refused;
	if (st)
		return st;
	s->next = c->schemas;
	c->schemas = s;
	*ret = s;
	return KVEIL_OK;
}

/* --- a record --- */

/* May it be an object with a schema inline? */
static bool may_be_split(struct kveil_span text)
{
	static const char blank[] = " \t\r\n";
	size_t i = 0;

	while (i < text.len && memchr(blank, text.data[i], 4))
		i++;
	if (i == text.len || text.data[i++] != '{')
		return false;
	while (i < text.len && memchr(blank, text.data[i], 4))
		i++;
	return begins_with(text, i, KVEIL_SPAN("\"schema\"")) || begins_with(text, i, KVEIL_SPAN("\"payload\""));
}

static struct kveil_span raw_of(const struct kveil_doc *doc, uint32_t at)
{
	return kveil_span_of(doc->text.data + doc->nodes[at].start, doc->nodes[at].end - doc->nodes[at].start);
}

/* The members of an object that has these two and no others, the schema null where there is none; without them the
 * numbers stay. */
static enum kveil_status find_members(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t *ret_schema,
				      uint32_t *ret_payload, struct kveil_error *err)
{
	const struct kveil_doc_node *nodes = doc->nodes;
	uint32_t schema = 0, payload = 0;

	if (nodes[0].kind != KVEIL_KIND_OBJECT || nodes[0].count != 2)
		return KVEIL_OK;
	for (uint32_t c = 1; c < doc->count; c = nodes[c].next) {
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		if (!name.data)
			return kveil_no_memory(err, "a schema");
		if (kveil_span_eq(name, KVEIL_SPAN("schema")))
			schema = c;
		else if (kveil_span_eq(name, KVEIL_SPAN("payload")))
			payload = c;
	}
	bool is_schema = nodes[schema].kind == KVEIL_KIND_OBJECT || nodes[schema].kind == KVEIL_KIND_NULL;
	if (schema && payload && is_schema) {
		*ret_schema = schema;
		*ret_payload = payload;
	}
	return KVEIL_OK;
}

static enum kveil_status split(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
			       struct kveil_connect_split *ret, struct kveil_error *err)
{
	const struct kveil_doc *doc = &e->connect.scan.doc;
	uint32_t schema = 0, payload = 0;

	ret->text = ret->payload = text;
	if (!e->connect.scan.max_bytes || !e->parts[part].format->has_paths || !may_be_split(text) ||
	    find_quickly(e, part, ret))
		return KVEIL_OK;
	enum kveil_status st = kveil_format_by_name(KVEIL_SPAN("json"))->scan(&e->connect.scan, text, err);
	if (!st)
		st = find_members(e, doc, &schema, &payload, err);
	if (st || !schema)
		return st;
	/* Without a schema a row is found where it stands, and nothing else may stand there. */
	if (doc->nodes[schema].kind == KVEIL_KIND_NULL)
		return part == KVEIL_PART_KEY ? kveil_engine_check_key(e, raw_of(doc, payload), err)
					      : kveil_engine_check_event(e, raw_of(doc, payload), err);
	ret->payload = raw_of(doc, payload);
	ret->schema_at = doc->nodes[schema].start;
	ret->schema = find(&e->connect, part, raw_of(doc, schema));
	if (!ret->schema)
		st = add(e, part, raw_of(doc, schema), &ret->schema, err);
	if (st && err->byte != KVEIL_NO_BYTE)
		err->byte += ret->schema_at;
	return st;
}

enum kveil_status kveil_connect_split(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				      struct kveil_connect_split *ret, struct kveil_error *err)
{
	struct kveil_json_frame f = kveil_engine_json_frame(e, part, text);

	*ret = (struct kveil_connect_split){.frame = f};
	enum kveil_status st = split(e, part, kveil_span_of(text.data + f.len, text.len - f.len), ret, err);
	return !st && f.keeps_types && ret->schema ? kveil_engine_keep_inline(part, err) : st;
}

/* What stands in both, in the order in which they came. */
static void write_around(const struct kveil_connect_split *s, size_t from, size_t to, struct kveil_buf *out)
{
	kveil_buf_append(out, s->text.data + from, to - from);
}

static enum kveil_status write_payload(struct kveil_engine *e, const struct kveil_connect_view *view,
				       struct kveil_span payload, struct kveil_buf *out, struct kveil_error *err)
{
	if (view->fit_count)
		return kveil_connect_fit(e, view, payload, out, err);
	kveil_buf_append_span(out, payload);
	return KVEIL_OK;
}

enum kveil_status kveil_connect_join(struct kveil_engine *e, const struct kveil_connect_split *s, size_t view_number,
				     struct kveil_span payload, struct kveil_buf *out, struct kveil_span *ret,
				     struct kveil_error *err)
{
	const struct kveil_connect_view *view = s->schema ? &s->schema->views[view_number] : NULL;

	*ret = payload;
	if (!s->schema)
		return KVEIL_OK;
	*ret = s->text;
	if (payload.data == s->payload.data && view->text.data == s->schema->text.data && !view->fit_count)
		return KVEIL_OK;
	size_t schema = s->schema_at, schema_end = schema + s->schema->text.len;
	size_t at = (size_t)(s->payload.data - s->text.data), end = at + s->payload.len;
	enum kveil_status st;
	kveil_buf_reset(out);
	if (!kveil_buf_reserve(out, s->text.len + view->text.len + payload.len))
		return kveil_no_memory(err, "a schema");
	write_around(s, 0, schema < at ? schema : at, out);
	if (schema < at) {
		kveil_buf_append_span(out, view->text);
		write_around(s, schema_end, at, out);
		st = write_payload(e, view, payload, out, err);
		write_around(s, end, s->text.len, out);
	} else {
		st = write_payload(e, view, payload, out, err);
		write_around(s, end, schema, out);
		kveil_buf_append_span(out, view->text);
		write_around(s, schema_end, s->text.len, out);
	}
	if (!st && !kveil_buf_ok(out))
		st = kveil_no_memory(err, "a schema");
	*ret = kveil_buf_span(out);
	return st;
}

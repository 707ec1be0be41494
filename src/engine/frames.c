/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values that say which schema they are written with, as Confluent's serializers frame them:
 *
 *   00 iiii payload        01 gggggggggggggggg payload
 *   payload, beside a header __value_schema_id of 00 iiii or 01 gggggggggggggggg
 *
 * and keys likewise, beside __key_schema_id.
 *
 * A table of a topic's schemas leads from such an id to what the rules make of it. What comes out has the derived
 * schema's id wherever the writer's stood.
 */
#include "engine/internal.h"

#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>

enum {
	ID_BYTES = 5,
	GUID_BYTES = 17,
	/* What a table keeps: producers may name as many ids as the registry has. */
	MOST_KNOWN = 512,
	MOST_BYTES = 64 << 20,
};

struct kveil_framed {
	struct kveil_schema_id id;
	struct kveil_engine_schema *schema; /* NULL: values with this id are refused */
	struct kveil_error refusal;
	uint8_t out[GUID_BYTES];
	size_t out_bytes;
	size_t bytes;  /* of memory, about */
	uint64_t used; /* the greater the later */
};

struct kveil_engine_schemas {
	struct kveil_framed **slots;
	size_t mask, count, bytes;
	uint64_t uses;
	struct kveil_framed *last; /* the next value is most likely written with the same */
};

/* --- the table --- */

bool kveil_schema_id_eq(const struct kveil_schema_id *a, const struct kveil_schema_id *b)
{
	if (a->is_guid != b->is_guid)
		return false;
	return a->is_guid ? memcmp(a->guid, b->guid, sizeof a->guid) == 0 : a->id == b->id;
}

static size_t hash(const struct kveil_schema_id *id)
{
	uint64_t n = id->id;

	if (id->is_guid)
		memcpy(&n, id->guid + 8, sizeof n);
	n *= 0x9E3779B97F4A7C15u;
	return (size_t)(n ^ n >> 32);
}

static struct kveil_framed **place(const struct kveil_engine_schemas *t, const struct kveil_schema_id *id)
{
	size_t at = hash(id) & t->mask;

	while (t->slots[at] && !kveil_schema_id_eq(&t->slots[at]->id, id))
		at = (at + 1) & t->mask;
	return &t->slots[at];
}

/* The one before was in use until now: that is not noted each time. */
static void use(struct kveil_engine_schemas *t, struct kveil_framed *f)
{
	if (t->last)
		t->last->used = ++t->uses;
	f->used = ++t->uses;
	t->last = f;
}

static struct kveil_framed *find(struct kveil_engine_schemas *t, const struct kveil_schema_id *id)
{
	if (__builtin_expect(t->last && kveil_schema_id_eq(&t->last->id, id), 1))
		return t->last;
	struct kveil_framed *f = t->count ? *place(t, id) : NULL;
	if (f)
		use(t, f);
	return f;
}

struct kveil_engine_schemas *kveil_engine_schemas_new(void)
{
	return calloc(1, sizeof(struct kveil_engine_schemas));
}

void kveil_engine_schemas_free(struct kveil_engine_schemas *t)
{
	for (size_t i = 0; t && t->count && i <= t->mask; i++)
		if (t->slots[i]) {
			kveil_engine_schema_free(t->slots[i]->schema);
			free(t->slots[i]);
		}
	if (t)
		free(t->slots);
	free(t);
}

static bool grow(struct kveil_engine_schemas *t)
{
	struct kveil_engine_schemas wider = {.mask = t->mask ? 2 * t->mask + 1 : 15};

	if (t->mask && 2 * (t->count + 1) <= t->mask)
		return true;
	wider.slots = calloc(wider.mask + 1, sizeof *wider.slots);
	if (!wider.slots)
		return false;
	for (size_t i = 0; t->count && i <= t->mask; i++)
		if (t->slots[i])
			*place(&wider, &t->slots[i]->id) = t->slots[i];
	free(t->slots);
	t->slots = wider.slots;
	t->mask = wider.mask;
	return true;
}

static void drop(struct kveil_engine_schemas *t, struct kveil_framed *f)
{
	size_t hole = (size_t)(place(t, &f->id) - t->slots);

	t->slots[hole] = NULL;
	t->count--;
	t->bytes -= f->bytes;
	t->last = t->last == f ? NULL : t->last;
	kveil_engine_schema_free(f->schema);
	free(f);
	/* Whoever looks for one behind it stops at a hole. */
	for (size_t i = (hole + 1) & t->mask; t->slots[i]; i = (i + 1) & t->mask) {
		size_t home = hash(&t->slots[i]->id) & t->mask;
		if (((i - home) & t->mask) < ((i - hole) & t->mask))
			continue;
		t->slots[hole] = t->slots[i];
		t->slots[i] = NULL;
		hole = i;
	}
}

/* Those used longest ago go; the new one stays, however large it is. */
static void keep(struct kveil_engine_schemas *t, struct kveil_framed *f)
{
	use(t, f);
	f->bytes = sizeof *f + (f->schema ? kveil_engine_schema_memory(f->schema) : 0);
	t->bytes += f->bytes;
	while (t->count > 1 && (t->count > MOST_KNOWN || t->bytes > MOST_BYTES)) {
		struct kveil_framed *oldest = f;
		for (size_t i = 0; i <= t->mask; i++)
			if (t->slots[i] && t->slots[i]->used < oldest->used)
				oldest = t->slots[i];
		drop(t, oldest);
	}
}

/* The row of an id, made or emptied. NULL: no memory. */
static struct kveil_framed *row(struct kveil_engine_schemas *t, const struct kveil_schema_id *id)
{
	struct kveil_framed *f = t->count ? *place(t, id) : NULL;

	if (f) {
		t->bytes -= f->bytes;
		kveil_engine_schema_free(f->schema);
	} else {
		f = grow(t) ? malloc(sizeof *f) : NULL;
		if (!f)
			return NULL;
		*place(t, id) = f;
		t->count++;
	}
	*f = (struct kveil_framed){.id = *id};
	return f;
}

static size_t spell(const struct kveil_schema_id *id, uint8_t out[GUID_BYTES])
{
	out[0] = id->is_guid;
	if (id->is_guid) {
		memcpy(out + 1, id->guid, sizeof id->guid);
		return GUID_BYTES;
	}
	for (int i = 0; i < 4; i++)
		out[1 + i] = (uint8_t)(id->id >> 8 * (3 - i));
	return ID_BYTES;
}

enum kveil_status kveil_engine_schemas_add(struct kveil_engine_schemas *t, const struct kveil_schema_id *writer,
					   struct kveil_engine_schema *s, const struct kveil_schema_id *derived,
					   struct kveil_error *err)
{
	struct kveil_framed *f = row(t, writer);

	if (!f) {
		kveil_engine_schema_free(s);
		return kveil_no_memory(err, "a schema");
	}
	f->schema = s;
	f->out_bytes = spell(derived, f->out);
	keep(t, f);
	return KVEIL_OK;
}

enum kveil_status kveil_engine_schemas_refuse(struct kveil_engine_schemas *t, const struct kveil_schema_id *writer,
					      const struct kveil_error *why, struct kveil_error *err)
{
	struct kveil_framed *f = row(t, writer);

	if (!f)
		return kveil_no_memory(err, "a schema");
	f->refusal = *why;
	keep(t, f);
	return KVEIL_OK;
}

void kveil_engine_use_schemas(struct kveil_engine *e, struct kveil_engine_schemas *t)
{
	e->typed[KVEIL_PART_VALUE].schemas = t;
}

void kveil_engine_use_key_schemas(struct kveil_engine *e, struct kveil_engine_schemas *t)
{
	e->typed[KVEIL_PART_KEY].schemas = t;
}

bool kveil_engine_wants_key_schema(const struct kveil_engine *e)
{
	return e->wants_schema && e->wanted_of_key;
}

bool kveil_engine_wanted_schema(const struct kveil_engine *e, struct kveil_schema_id *ret)
{
	*ret = e->wanted;
	return e->wants_schema;
}

/* --- a value, or a key --- */

static const char *const header_names[KVEIL_TYPED_PARTS] = {"__value_schema_id", "__key_schema_id"};

static bool is_schema_header(const struct kveil_header *h, enum kveil_part part)
{
	return kveil_span_eq(h->name, kveil_span_str(header_names[part]));
}

/* How many bytes the id takes; 0: there is none. */
static size_t read_id(struct kveil_span bytes, struct kveil_schema_id *ret)
{
	*ret = (struct kveil_schema_id){0};
	if (bytes.len >= ID_BYTES && bytes.data[0] == 0) {
		ret->id = kveil_be32(bytes.data + 1);
		return ID_BYTES;
	}
	if (bytes.len >= GUID_BYTES && bytes.data[0] == 1) {
		ret->is_guid = true;
		memcpy(ret->guid, bytes.data + 1, sizeof ret->guid);
		return GUID_BYTES;
	}
	return 0;
}

static enum kveil_status refuse(enum kveil_part part, const char *what, struct kveil_error *err)
{
	bool is_key = part == KVEIL_PART_KEY;

	kveil_fail_at(err, KVEIL_E_UNSUPPORTED_FRAMING, 0, "%s%s", is_key ? "the key: " : "", what);
	kveil_error_hint(err, "Confluent's: 0 and the schema's id in four bytes, or the header %s%s",
			 header_names[part], is_key ? "; or format: {value: avro, key: text}" : "");
	return err->status;
}

const char *kveil_other_framing(struct kveil_span bytes)
{
	if (bytes.len > 1 && bytes.data[0] == 0xc3 && bytes.data[1] == 1)
		return "in Avro's single-object encoding (C3 01)";
	if (bytes.len >= 18 && bytes.data[0] == 3 && (bytes.data[1] == 0 || bytes.data[1] == 5))
		return "framed for AWS Glue (03, compression, UUID)";
	return NULL;
}

static enum kveil_status explain_prefix(enum kveil_part part, struct kveil_span v, struct kveil_error *err)
{
	const char *other = kveil_other_framing(v);
	char text[100];

	if (other) {
		snprintf(text, sizeof text, "this is %s, which is not in this version", other);
		return refuse(part, text, err);
	}
	if (v.len && (v.data[0] == '{' || v.data[0] == '['))
		return refuse(part, "it does not say its schema; it looks like JSON", err);
	return refuse(part, "it does not say its schema", err);
}

/* The last one has the say. */
static const struct kveil_header *last_schema_header(const struct kveil_record *r, enum kveil_part part)
{
	for (size_t i = r->header_count; i-- > 0;)
		if (is_schema_header(&r->headers[i], part))
			return &r->headers[i];
	return NULL;
}

bool kveil_engine_names_schema(const struct kveil_record *r, enum kveil_part part)
{
	const struct kveil_header *h = last_schema_header(r, part);
	struct kveil_schema_id id;

	return h && h->value.len && read_id(h->value, &id) == h->value.len;
}

/* Finds the id; *skip: what stands in front of the payload. The last header has the say, unless it is null. */
static enum kveil_status read_frame(struct kveil_engine *e, enum kveil_part part, struct kveil_schema_id *id,
				    size_t *skip, struct kveil_error *err)
{
	const struct kveil_record *r = e->record;
	struct kveil_span text = part == KVEIL_PART_KEY ? r->key : r->value;
	const struct kveil_header *last = last_schema_header(r, part);

	for (size_t i = 0; last && i < r->header_count; i++)
		e->typed[part].has_schema_header |= is_schema_header(&r->headers[i], part) && r->headers[i].value.data;
	*skip = 0;
	if (last && last->value.data)
		return read_id(last->value, id) == last->value.len && last->value.len
			   ? KVEIL_OK
			   : refuse(part, "the header with its schema's id holds none", err);
	*skip = read_id(text, id);
	return *skip ? KVEIL_OK : explain_prefix(part, text, err);
}

enum kveil_status kveil_engine_unframe(struct kveil_engine *e, enum kveil_part part, size_t *skip,
				       struct kveil_error *err)
{
	struct kveil_typed *t = &e->typed[part];
	struct kveil_schema_id id;
	enum kveil_status st = read_frame(e, part, &id, skip, err);

	if (st)
		return st;
	t->framed = find(t->schemas, &id);
	if (!t->framed) {
		e->wanted = id;
		e->wants_schema = true;
		e->wanted_of_key = part == KVEIL_PART_KEY;
		return kveil_fail(err, KVEIL_E_SCHEMA_PENDING, "the %s's schema is not known yet",
				  e->wanted_of_key ? "key" : "value");
	}
	if (!t->framed->schema) {
		*err = t->framed->refusal;
		return err->status;
	}
	t->schema = t->framed->schema;
	return KVEIL_OK;
}

struct kveil_span kveil_engine_frame(const struct kveil_engine *e, enum kveil_part part)
{
	return kveil_span_of(e->typed[part].framed->out, e->typed[part].framed->out_bytes);
}

bool kveil_engine_is_schema_header(const struct kveil_engine *e, const struct kveil_header *h, enum kveil_part *ret)
{
	for (int part = 0; part < KVEIL_TYPED_PARTS; part++) {
		const struct kveil_typed *t = &e->typed[part];
		*ret = (enum kveil_part)part;
		if (t->framed && t->has_schema_header && h->value.data && is_schema_header(h, *ret))
			return true;
	}
	return false;
}

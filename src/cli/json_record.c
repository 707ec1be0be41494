/* SPDX-License-Identifier: Apache-2.0 */
/* A whole record as a line of JSON, for `kveil apply -J`. */
#include "cli/json_record.h"

#include "path/path.h"

enum { DEPTH = 16 };

void kveil_json_record_init(struct kveil_json_record *j, size_t max_bytes)
{
	*j = (struct kveil_json_record){.scan = {.max_bytes = max_bytes, .max_depth = DEPTH, .want_doc = true}};
	kveil_arena_init(&j->arena, 1 << 20);
	j->scan.arena = &j->arena;
}

void kveil_json_record_clear(struct kveil_json_record *j)
{
	kveil_scan_clear(&j->scan);
	kveil_arena_clear(&j->arena);
}

static enum kveil_status bad(struct kveil_error *err, const char *why)
{
	kveil_fail(err, KVEIL_E_INVALID_JSON, "%s", why);
	kveil_error_hint(err, "a line is as `kcat -J` prints it: {\"headers\": [\"name\", \"value\"], \"key\": "
			      "\"…\", \"payload\": \"…\"}");
	return KVEIL_E_INVALID_JSON;
}

/* A string's content, or absent for null. */
static enum kveil_status read_text(struct kveil_json_record *j, uint32_t node, struct kveil_span *ret,
				   struct kveil_error *err)
{
	uint8_t kind = j->scan.doc.nodes[node].kind;

	*ret = KVEIL_SPAN_NULL;
	if (kind == KVEIL_KIND_NULL)
		return KVEIL_OK;
	if (kind != KVEIL_KIND_STRING)
		return bad(err, "key, payload and what headers hold are texts or null");
	return kveil_doc_text(&j->scan.doc, node, &j->arena, ret) == KVEIL_OK ? KVEIL_OK
									      : kveil_no_memory(err, "a record");
}

static enum kveil_status find_members(struct kveil_json_record *j, struct kveil_error *err)
{
	const struct kveil_doc *doc = &j->scan.doc;

	j->key = j->payload = j->headers = j->topic = 0;
	if (doc->nodes[0].kind != KVEIL_KIND_OBJECT)
		return bad(err, "the line is not an object");
	for (uint32_t c = 1; c < doc->nodes[0].next; c = doc->nodes[c].next) {
		const struct kveil_doc_node *n = &doc->nodes[c];
		size_t len = n->name_end - n->name_start - 2;
		uint8_t *name = kveil_arena_alloc(&j->arena, len + 1);
		if (!name)
			return kveil_no_memory(err, "a record");
		struct kveil_span raw = {doc->text.data + n->name_start + 1, len};
		struct kveil_span s = {name, kveil_json_unescape(raw, name)};
		uint32_t *at = kveil_span_eq(s, KVEIL_SPAN("key"))       ? &j->key
			       : kveil_span_eq(s, KVEIL_SPAN("payload")) ? &j->payload
			       : kveil_span_eq(s, KVEIL_SPAN("headers")) ? &j->headers
			       : kveil_span_eq(s, KVEIL_SPAN("topic"))   ? &j->topic
									 : NULL;
		if (at && *at)
			return bad(err, "a member of the line is there twice");
		if (at)
			*at = c;
	}
	return j->payload ? KVEIL_OK : bad(err, "the line has no payload");
}

static enum kveil_status read_headers(struct kveil_json_record *j, struct kveil_record *ret, struct kveil_error *err)
{
	const struct kveil_doc_node *list = &j->scan.doc.nodes[j->headers];

	if (!j->headers || list->kind == KVEIL_KIND_NULL)
		return KVEIL_OK;
	if (list->kind != KVEIL_KIND_ARRAY || list->count % 2)
		return bad(err, "headers are a list of names and values");
	struct kveil_header *headers = kveil_arena_array(&j->arena, list->count / 2, sizeof *headers);
	if (!headers)
		return kveil_no_memory(err, "a record");
	ret->headers = headers;
	for (uint32_t c = j->headers + 1; c < list->next; c = j->scan.doc.nodes[c].next) {
		struct kveil_span text;
		enum kveil_status st = read_text(j, c, &text, err);
		if (st)
			return st;
		if (j->scan.doc.nodes[c].ordinal % 2)
			headers[ret->header_count++].value = text;
		else if (text.data)
			headers[ret->header_count].name = text;
		else
			return bad(err, "a header has no name");
	}
	return KVEIL_OK;
}

enum kveil_status kveil_json_record_read(struct kveil_json_record *j, struct kveil_span line, struct kveil_record *ret,
					 struct kveil_error *err)
{
	kveil_arena_reset(&j->arena);
	*ret = (struct kveil_record){0};
	enum kveil_status st = kveil_format_by_name(KVEIL_SPAN("json"))->scan(&j->scan, line, err);
	if (!st)
		st = find_members(j, err);
	if (!st && j->key)
		st = read_text(j, j->key, &ret->key, err);
	if (!st)
		st = read_text(j, j->payload, &ret->value, err);
	return st ? st : read_headers(j, ret, err);
}

const char *kveil_json_record_topic(struct kveil_json_record *j)
{
	struct kveil_span text;

	if (!j->topic || j->scan.doc.nodes[j->topic].kind != KVEIL_KIND_STRING ||
	    kveil_doc_text(&j->scan.doc, j->topic, &j->arena, &text) != KVEIL_OK)
		return NULL;
	char *topic = kveil_arena_alloc(&j->arena, text.len + 1);
	if (!topic)
		return NULL;
	memcpy(topic, text.data, text.len);
	topic[text.len] = 0;
	return topic;
}

static void write_text(struct kveil_span text, struct kveil_buf *out)
{
	if (text.data)
		kveil_format_by_name(KVEIL_SPAN("json"))->write_text(out, text, true);
	else
		kveil_buf_append_str(out, "null");
}

static void write_headers(const struct kveil_record *r, struct kveil_buf *out)
{
	kveil_buf_append_byte(out, '[');
	for (size_t i = 0; i < r->header_count; i++) {
		kveil_buf_append_str(out, i ? "," : "");
		write_text(r->headers[i].name, out);
		kveil_buf_append_byte(out, ',');
		write_text(r->headers[i].value, out);
	}
	kveil_buf_append_byte(out, ']');
}

void kveil_json_record_write(const struct kveil_json_record *j, const struct kveil_record *r, const char *topic,
			     struct kveil_buf *out)
{
	const struct kveil_doc *doc = &j->scan.doc;
	size_t at = 0;

	for (uint32_t c = 1; c < doc->nodes[0].next; c = doc->nodes[c].next) {
		const struct kveil_doc_node *n = &doc->nodes[c];
		bool is_list = c == j->headers && (n->kind != KVEIL_KIND_NULL || r->header_count);
		bool is_topic = c == j->topic && topic;
		if (c != j->key && c != j->payload && !is_list && !is_topic)
			continue;
		kveil_buf_append(out, doc->text.data + at, n->start - at);
		at = n->end;
		if (c == j->headers)
			write_headers(r, out);
		else
			write_text(is_topic ? kveil_span_str(topic) : c == j->key ? r->key : r->value, out);
	}
	size_t end = doc->nodes[0].end - 1; /* the closing brace */
	kveil_buf_append(out, doc->text.data + at, end - at);
	if (!j->headers && r->header_count) {
		kveil_buf_append_str(out, ",\"headers\":");
		write_headers(r, out);
	}
	kveil_buf_append(out, doc->text.data + end, doc->text.len - end);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* cli/example_form.c: what stands for the things that cannot be written down: see cli/example.h. */
#include "cli/example_place.h"

#include "base/text.h"

#include <stdlib.h>

enum form_kind { FORM_NONE, FORM_SEALED, FORM_TOKEN, FORM_HASH, FORM_ANY, FORM_TILDE };

#define FORMS "~sealed(KEY) TEXT, ~token(KEY) TEXT, ~hash(KEY) TEXT, ~any or ~~TEXT"

struct form {
	enum form_kind kind;
	struct kveil_span key, text;
};

/* content: of a string, unescaped. false: it begins like a form and is none. */
static bool read_form(struct kveil_span content, struct form *ret)
{
	static const struct {
		struct kveil_span word;
		enum form_kind kind;
	} words[] = {{KVEIL_SPAN("~sealed("), FORM_SEALED},
		     {KVEIL_SPAN("~token("), FORM_TOKEN},
		     {KVEIL_SPAN("~hash("), FORM_HASH}};

	*ret = (struct form){.kind = FORM_NONE, .text = content};
	if (content.len == 0 || content.data[0] != '~')
		return true;
	if (content.len > 1 && content.data[1] == '~') {
		*ret = (struct form){.kind = FORM_TILDE, .text = {content.data + 1, content.len - 1}};
		return true;
	}
	if (kveil_span_eq(content, KVEIL_SPAN("~any"))) {
		ret->kind = FORM_ANY;
		return true;
	}
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		size_t n = words[i].word.len;
		if (content.len < n || memcmp(content.data, words[i].word.data, n) != 0)
			continue;
		const uint8_t *end = memchr(content.data + n, ')', content.len - n);
		size_t key = end ? (size_t)(end - content.data) - n : 0;
		if (!key || n + key + 1 >= content.len || end[1] != ' ')
			return false;
		ret->kind = words[i].kind;
		ret->key = kveil_span_of(content.data + n, key);
		ret->text = kveil_span_of(end + 2, content.len - n - key - 2);
		return true;
	}
	return false;
}

/* --- in --- */

static enum kveil_encoding encoding_of(const struct kveil_rule *r)
{
	const int *e = kveil_place_parameter(r, "encoding", KVEIL_OPT_ENUM);

	return e ? (enum kveil_encoding) * e : KVEIL_BASE64;
}

static enum kveil_status seal(struct kveil_form_context *c, const struct form *f, const struct kveil_doc *doc,
			      uint32_t node, struct kveil_buf *out, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
	struct kveil_doc row = *doc;
	const struct kveil_rule *r = kveil_place_rule(c, &row, node, KVEIL_USE_OPEN, f->key);
	enum kveil_encoding encoding = encoding_of(r);
	struct kveil_key *key;
	size_t n;
	enum kveil_status s = kveil_keyring_key(c->ring, f->key, KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, err);

	if (s)
		return s;
	if (!kveil_place_ad(c, r, &row, node, &ad))
		return kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE,
				  "the associated data needs fields that are not in the example");
	uint8_t *sealed = kveil_arena_alloc(c->arena, kveil_key_sealed_max(key, f->text.len));
	if (!sealed)
		return kveil_no_memory(err, NULL);
	s = kveil_key_seal(key, kveil_buf_span(&ad), f->text, sealed, &n, err);
	if (s)
		return s;
	size_t len = kveil_text_encoded_len(encoding, n);
	uint8_t *room = kveil_buf_reserve(out, len + 2);
	if (!room)
		return kveil_no_memory(err, NULL);
	room[0] = room[len + 1] = '"';
	kveil_text_encode(encoding, sealed, n, room + 1);
	out->len += len + 2;
	return KVEIL_OK;
}

static enum kveil_status fill(struct kveil_form_context *c, const struct form *f, uint32_t node, struct kveil_buf *out,
			      struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf token = KVEIL_BUF_INIT;
	enum kveil_status s;

	switch (f->kind) {
	case FORM_TILDE:
		kveil_json_write_text(out, f->text);
		return KVEIL_OK;
	case FORM_SEALED:
		return seal(c, f, &c->input, node, out, err);
	case FORM_TOKEN:
		s = kveil_place_token(c, f->key, f->text, &c->input, node, KVEIL_USE_DETOKENIZE, &token, err);
		if (!s)
			kveil_json_write_text(out, kveil_buf_span(&token));
		return s;
	default:
		return kveil_fail_at(err, KVEIL_E_CONFIG, c->input.nodes[node].start,
				     "in a record that goes in, a text that begins with ~ is ~sealed(KEY) TEXT, "
				     "~token(KEY) TEXT or ~~TEXT");
	}
}

enum kveil_status kveil_form_fill(struct kveil_form_context *c, const char *value, struct kveil_span *ret,
				  struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf out = KVEIL_BUF_INIT;
	struct kveil_span text = kveil_span_str(value), content;
	struct form form;
	size_t done = 0;

	*ret = text;
	c->input = (struct kveil_doc){0};
	if (!value || !kveil_form_parse(c, text, &c->input))
		return KVEIL_OK;
	for (uint32_t i = 0; i < c->input.count; i++) {
		const struct kveil_doc_node *n = &c->input.nodes[i];
		if (n->kind != KVEIL_KIND_STRING)
			continue;
		enum kveil_status s = kveil_doc_text(&c->input, i, c->arena, &content);
		if (s)
			return kveil_no_memory(err, "an example");
		bool ok = read_form(content, &form);
		if (form.kind == FORM_NONE && ok)
			continue;
		kveil_buf_append(&out, text.data + done, n->start - done);
		done = n->end;
		s = fill(c, &form, i, &out, err);
		if (s)
			return s;
	}
	kveil_buf_append(&out, text.data + done, text.len - done);
	uint8_t *copy = kveil_arena_alloc(c->arena, out.len);
	if (!copy || !kveil_buf_ok(&out))
		return kveil_no_memory(err, NULL);
	memcpy(copy, out.data, out.len);
	*ret = kveil_span_of(copy, out.len);
	return KVEIL_OK;
}

/* --- out --- */

static bool is_sealed(struct kveil_form_context *c, const struct form *f, struct kveil_span ad,
		      struct kveil_span content)
{
	struct kveil_span text;

	return kveil_place_open(c, f->key, ad, content, &text) && kveil_span_eq(text, f->text);
}

static bool is_token(struct kveil_form_context *c, const struct form *f, const struct kveil_doc *got, uint32_t node,
		     struct kveil_span content)
{
	KVEIL_CLEANUP_BUF struct kveil_buf token = KVEIL_BUF_INIT;

	return kveil_place_token(c, f->key, f->text, got, node, KVEIL_USE_TOKENIZE, &token, NULL) == KVEIL_OK &&
	       kveil_span_eq(kveil_buf_span(&token), content);
}

/* A string that should be as the form says. */
static bool string_matches(struct kveil_form_context *c, const struct form *f, const struct kveil_doc *got,
			   uint32_t node)
{
	KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
	struct kveil_span content;

	if (f->kind == FORM_ANY)
		return true;
	if (got->nodes[node].kind != KVEIL_KIND_STRING || kveil_doc_text(got, node, c->arena, &content) != KVEIL_OK)
		return false;
	switch (f->kind) {
	case FORM_TOKEN:
		if (is_token(c, f, got, node, content))
			return true;
		/* fall through */ /* a token without an alphabet is sealed text */
	case FORM_SEALED: {
		struct kveil_doc row = *got;
		const struct kveil_rule *r = kveil_place_rule(c, &row, node, KVEIL_USE_SEAL, f->key);
		return kveil_place_ad(c, r, &row, node, &ad) && is_sealed(c, f, kveil_buf_span(&ad), content);
	}
	case FORM_HASH:
		return kveil_place_is_hash(c, f->key, f->text, content);
	default:
		return kveil_span_eq(f->text, content);
	}
}

struct comparison {
	struct kveil_form_context *c;
	struct kveil_doc want, got;
	struct kveil_buf *why;
	unsigned differences;
};

enum { NOTHING = UINT32_MAX };

/* One of them may be NOTHING. */
static bool differs(struct comparison *m, uint32_t want, uint32_t got)
{
	if (m->differences++)
		kveil_buf_append_str(m->why, "\n     ");
	kveil_buf_append_str(m->why, m->c->part == KVEIL_PART_KEY ? "at key:" : "at ");
	kveil_place_write_path(m->c, want == NOTHING ? &m->got : &m->want, want == NOTHING ? got : want, m->why);
	kveil_buf_append_str(m->why, ": expected ");
	kveil_buf_append_span(m->why, want == NOTHING ? KVEIL_SPAN("nothing") : kveil_place_raw(&m->want, want));
	kveil_buf_append_str(m->why, ", got ");
	if (got == NOTHING)
		kveil_buf_append_str(m->why, "nothing");
	else
		kveil_got_write(m->c, &m->got, got, m->why);
	return false;
}

/* The nth member of the object with this name. */
static uint32_t find_member(struct comparison *m, const struct kveil_doc *doc, uint32_t object, struct kveil_span name,
			    uint32_t nth)
{
	for (uint32_t i = object + 1; i < doc->nodes[object].next; i = doc->nodes[i].next)
		if (kveil_span_eq(kveil_place_name(m->c, doc, i), name) && nth-- == 0)
			return i;
	return NOTHING;
}

/* The member of `in` that corresponds to this one of doc, or NOTHING. */
static uint32_t same_member(struct comparison *m, const struct kveil_doc *doc, uint32_t object, uint32_t member,
			    const struct kveil_doc *in, uint32_t in_object)
{
	struct kveil_span name = kveil_place_name(m->c, doc, member);
	uint32_t n = 0;

	for (uint32_t i = object + 1; i < member; i = doc->nodes[i].next)
		n += kveil_span_eq(kveil_place_name(m->c, doc, i), name);
	return find_member(m, in, in_object, name, n);
}

static bool same_value(struct comparison *m, uint32_t want, uint32_t got);

static bool same_members(struct comparison *m, uint32_t want, uint32_t got)
{
	bool same = true;

	for (uint32_t i = want + 1; i < m->want.nodes[want].next; i = m->want.nodes[i].next) {
		uint32_t other = same_member(m, &m->want, want, i, &m->got, got);
		same &= other == NOTHING ? differs(m, i, NOTHING) : same_value(m, i, other);
	}
	for (uint32_t i = got + 1; i < m->got.nodes[got].next; i = m->got.nodes[i].next)
		if (same_member(m, &m->got, got, i, &m->want, want) == NOTHING)
			same = differs(m, NOTHING, i);
	return same;
}

static bool same_elements(struct comparison *m, uint32_t want, uint32_t got)
{
	uint32_t other = got + 1;
	bool same = true;

	for (uint32_t i = want + 1; i < m->want.nodes[want].next; i = m->want.nodes[i].next) {
		same &= same_value(m, i, other);
		other = m->got.nodes[other].next;
	}
	return same;
}

static bool same_value(struct comparison *m, uint32_t want, uint32_t got)
{
	const struct kveil_doc_node *w = &m->want.nodes[want], *g = &m->got.nodes[got];
	struct kveil_span content;
	struct form form;

	if (w->kind == KVEIL_KIND_STRING) {
		if (kveil_doc_text(&m->want, want, m->c->arena, &content) != KVEIL_OK)
			return differs(m, want, got);
		read_form(content, &form);
		return string_matches(m->c, &form, &m->got, got) || differs(m, want, got);
	}
	if (w->kind != g->kind || (w->kind == KVEIL_KIND_ARRAY && w->count != g->count))
		return differs(m, want, got);
	if (w->kind == KVEIL_KIND_OBJECT)
		return same_members(m, want, got);
	if (w->kind == KVEIL_KIND_ARRAY)
		return same_elements(m, want, got);
	return kveil_span_eq(kveil_place_raw(&m->want, want), kveil_place_raw(&m->got, got)) || differs(m, want, got);
}

/* Byte for byte but for the forms. */
static bool same_bytes(struct comparison *m)
{
	size_t w = 0, g = 0;
	struct kveil_span content;
	struct form form;
	uint32_t i = 0, k = 0;

	while (i < m->want.count && k < m->got.count) {
		const struct kveil_doc_node *a = &m->want.nodes[i], *b = &m->got.nodes[k];
		bool is_form = a->kind == KVEIL_KIND_STRING &&
			       kveil_doc_text(&m->want, i, m->c->arena, &content) == KVEIL_OK &&
			       read_form(content, &form) && form.kind != FORM_NONE;
		if (!is_form) {
			i++;
			k++;
			continue;
		}
		if (!kveil_span_eq(kveil_span_of(m->want.text.data + w, a->start - w),
				   kveil_span_of(m->got.text.data + g, b->start - g)))
			return false;
		if (!string_matches(m->c, &form, &m->got, k))
			return differs(m, i, k);
		w = a->end;
		g = b->end;
		i = a->next;
		k = b->next;
	}
	return kveil_span_eq(kveil_span_of(m->want.text.data + w, m->want.text.len - w),
			     kveil_span_of(m->got.text.data + g, m->got.text.len - g));
}

/* A form mistyped must not pass as a text that stands for itself. */
static bool are_forms(struct comparison *m)
{
	struct kveil_span content;
	struct form form;

	for (uint32_t i = 0; i < m->want.count; i++) {
		if (m->want.nodes[i].kind != KVEIL_KIND_STRING ||
		    (kveil_doc_text(&m->want, i, m->c->arena, &content) == KVEIL_OK && read_form(content, &form)))
			continue;
		kveil_buf_append_str(m->why, "at ");
		kveil_place_write_path(m->c, &m->want, i, m->why);
		kveil_buf_append_str(m->why, ": a text that begins with ~ is " FORMS);
		return false;
	}
	return true;
}

/* A value, or key, that is one text. */
static bool is_whole(const struct kveil_form_context *c)
{
	return !c->plan->formats[c->part]->has_paths;
}

bool kveil_form_matches(struct kveil_form_context *c, const struct kveil_example_out *want, struct kveil_span got,
			struct kveil_buf *why)
{
	struct comparison m = {.c = c, .why = why};
	size_t before = why->len;
	bool same;

	if (!want->value || !got.data) {
		if (!want->value && !got.data)
			return true;
		kveil_buf_append_str(why, want->value ? "expected a value, got a tombstone"
						      : "expected a tombstone, got a value");
		return false;
	}
	if (is_whole(c))
		return kveil_form_matches_text(c, "$", want->value, got, why);
	/* No JSON begins with ~: a form for the whole. */
	KVEIL_CLEANUP_BUF struct kveil_buf whole = KVEIL_BUF_INIT;
	if (want->value[0] == '~')
		kveil_json_write_text(&whole, kveil_span_str(want->value));
	if (!kveil_form_parse(c, whole.len ? kveil_buf_span(&whole) : kveil_span_str(want->value), &m.want)) {
		kveil_buf_append_str(why, "what the example expects is not JSON");
		return false;
	}
	if (!are_forms(&m))
		return false;
	if (!kveil_form_parse(c, got, &m.got))
		same = false;
	else
		same = want->exact && !whole.len ? same_bytes(&m) : same_value(&m, 0, 0);
	if (same || why->len > before)
		return same;
	kveil_buf_printf(why, "expected %s\n          got ", want->value);
	if (m.got.count)
		kveil_got_write(c, &m.got, 0, why);
	else
		kveil_buf_append_span(why, got);
	return false;
}

bool kveil_form_matches_key(struct kveil_form_context *c, const struct kveil_example_out *want, struct kveil_span got,
			    struct kveil_buf *why)
{
	const struct kveil_format *format = c->plan->formats[KVEIL_PART_KEY];

	if (!format->has_paths || !want->key || !got.data)
		return kveil_form_matches_text(c, "key:$", want->key, got, why);
	c->part = KVEIL_PART_KEY;
	bool same =
	    kveil_form_matches(c, &(struct kveil_example_out){.value = want->key, .exact = want->key_exact}, got, why);
	c->part = KVEIL_PART_VALUE;
	return same;
}

bool kveil_form_matches_text(struct kveil_form_context *c, const char *part, const char *want, struct kveil_span got,
			     struct kveil_buf *why)
{
	KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
	struct form form = {0};
	bool same;

	if (!want || !got.data) {
		same = !want && !got.data;
	} else if (!read_form(kveil_span_str(want), &form) || form.kind == FORM_TOKEN) {
		kveil_buf_printf(
		    why, "%s: a text that begins with ~ is ~sealed(KEY) TEXT, ~hash(KEY) TEXT, ~any or ~~TEXT here",
		    part);
		return false;
	} else if (form.kind == FORM_SEALED) {
		same = kveil_place_text_ad(c, kveil_place_text_rule(c, part, form.key), part, &ad) &&
		       is_sealed(c, &form, kveil_buf_span(&ad), got);
	} else {
		same = form.kind == FORM_ANY ||
		       (form.kind == FORM_HASH && kveil_place_is_hash(c, form.key, form.text, got)) ||
		       kveil_span_eq(form.text, got);
	}
	if (same)
		return true;
	kveil_buf_printf(why, "%s: expected %s, got ", part, want ? want : "null");
	if (got.data)
		kveil_got_write_text(c, part, got, why);
	else
		kveil_buf_append_str(why, "null");
	return false;
}

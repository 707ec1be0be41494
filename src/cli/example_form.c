/* SPDX-License-Identifier: Apache-2.0 */
/* cli/example_form.c: what stands for the things that cannot be written down: see cli/example.h. */
#include "cli/example.h"

#include "base/text.h"
#include "transform/preserve.h"

#include <stdlib.h>

enum { DEPTH = 256, BYTES = 64 << 20 };

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

bool kveil_form_parse(struct kveil_form_context *c, struct kveil_span text, struct kveil_doc *ret)
{
	const struct kveil_format *json = kveil_format_by_name(KVEIL_SPAN("json"));
	struct kveil_scan scan = {.arena = c->arena, .max_bytes = BYTES, .max_depth = DEPTH, .want_doc = true};
	bool ok = text.len && json->scan(&scan, text, NULL) == KVEIL_OK;

	*ret = (struct kveil_doc){.text = text};
	if (ok) {
		ret->count = scan.doc.count;
		ret->nodes = kveil_arena_array(c->arena, ret->count, sizeof *ret->nodes);
		ok = ret->nodes != NULL;
		if (ok)
			memcpy(ret->nodes, scan.doc.nodes, ret->count * sizeof *ret->nodes);
	}
	kveil_scan_clear(&scan);
	return ok;
}

static struct kveil_span raw(const struct kveil_doc *doc, uint32_t node)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	return kveil_span_of(doc->text.data + n->start, n->end - n->start);
}

/* A member's name, unescaped. */
static struct kveil_span member_name(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	size_t len = n->name_end - n->name_start;
	uint8_t *dst = kveil_arena_alloc(c->arena, len);

	if (!dst || len < 2)
		return kveil_span_of("", 0);
	return kveil_span_of(dst, kveil_json_unescape(kveil_span_of(doc->text.data + n->name_start + 1, len - 2), dst));
}

static enum kveil_status select_nodes(struct kveil_form_context *c, const struct kveil_path *path,
				      const struct kveil_doc *doc, bool doubt, uint32_t **ret, size_t *ret_count)
{
	int64_t work = KVEIL_PATH_WORK;

	return kveil_path_select_within(path, doc, 0, doubt, &work, c->arena, ret, ret_count, NULL);
}

/* "$['a'][*]", from the doc's root on. */
static void write_path(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node, struct kveil_buf *out)
{
	if (node == doc->root) {
		kveil_buf_append_str(out, "$");
		return;
	}
	write_path(c, doc, doc->nodes[node].parent, out);
	if (doc->nodes[node].name_end)
		kveil_path_write_name(member_name(c, doc, node), out);
	else
		kveil_buf_append_str(out, "[*]");
}

/* --- the rule that seals or opens a place, and with it key and associated data --- */

static bool fill_template(struct kveil_form_context *c, const struct kveil_template *t, struct kveil_buf *out)
{
	for (size_t i = 0; i < t->count; i++) {
		uint32_t *nodes;
		size_t n;
		struct kveil_span text;
		kveil_buf_append_span(out, t->pieces[i].text);
		if (!t->pieces[i].path)
			continue;
		if (!c->input.count || select_nodes(c, t->pieces[i].path, &c->input, false, &nodes, &n) != KVEIL_OK ||
		    n != 1 || kveil_doc_text(&c->input, nodes[0], c->arena, &text) != KVEIL_OK)
			return false;
		kveil_buf_append_span(out, text);
	}
	return kveil_buf_ok(out);
}

static bool names_key(struct kveil_form_context *c, const struct kveil_template *t, struct kveil_span key)
{
	KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;

	return t && fill_template(c, t, &name) && kveil_span_eq(kveil_buf_span(&name), key);
}

static bool finds(struct kveil_form_context *c, const struct kveil_path *path, const struct kveil_doc *doc,
		  uint32_t node)
{
	uint32_t *nodes;
	size_t n;

	if (select_nodes(c, path, doc, true, &nodes, &n) != KVEIL_OK)
		return false;
	for (size_t i = 0; i < n; i++)
		if (nodes[i] == node)
			return true;
	return false;
}

/* The rows of this part that a rule holds in. */
static const struct kveil_rows *rows_of(const struct kveil_form_context *c, const struct kveil_rule *r)
{
	if (r->is_of_event)
		return &c->plan->rows[KVEIL_ROWS_EVENT];
	return &c->plan->rows[c->part == KVEIL_PART_KEY ? KVEIL_ROWS_KEY : KVEIL_ROWS_VALUE];
}

/* Does the rule find the node? doc's root is then its row's. */
static bool finds_in_row(struct kveil_form_context *c, const struct kveil_rule *r, bool seals, struct kveil_doc *doc,
			 uint32_t node)
{
	const struct kveil_rows *rows = rows_of(c, r);

	for (size_t i = 0; i < rows->count; i++) {
		uint32_t *nodes;
		size_t n = 0;
		doc->root = 0;
		if (select_nodes(c, rows->roots[i], doc, true, &nodes, &n) != KVEIL_OK)
			return false;
		for (size_t k = 0; k < n; k++) {
			doc->root = nodes[k];
			if (finds(c, seals && r->to ? r->to : r->path, doc, node))
				return true;
		}
	}
	doc->root = 0;
	return false;
}

static const struct kveil_rule *rule_for(struct kveil_form_context *c, struct kveil_doc *doc, uint32_t node,
					 unsigned use, struct kveil_span key)
{
	for (size_t i = 0; i < c->plan->rule_count; i++) {
		const struct kveil_rule *r = &c->plan->rules[i];
		if (r->part != c->part && !(c->plan->envelope && r->part == KVEIL_PART_VALUE))
			continue;
		if (((r->key_use & use && names_key(c, r->key, key)) ||
		     (r->key2_use & use && names_key(c, r->key2, key))) &&
		    finds_in_row(c, r, use == KVEIL_USE_SEAL, doc, node))
			return r;
	}
	return NULL;
}

/* doc: as rule_for left it. */
static bool write_ad(struct kveil_form_context *c, const struct kveil_rule *r, const struct kveil_doc *doc,
		     uint32_t node, struct kveil_buf *out)
{
	if (r && r->ad)
		return fill_template(c, r->ad, out);
	bool is_of_key = c->part == KVEIL_PART_KEY && !(r && r->part == KVEIL_PART_VALUE);
	kveil_buf_printf(out, "%s:%s", c->plan->name ? c->plan->name : "", is_of_key ? "key:" : "");
	write_path(c, doc, node, out);
	return kveil_buf_ok(out);
}

/* A rule's parameter; NULL: its action has none of this name and type. */
static const void *parameter(const struct kveil_rule *r, const char *name, enum kveil_option_type type)
{
	for (const struct kveil_option *o = r ? r->action->options : NULL; o && o->name; o++)
		if (strcmp(o->name, name) == 0 && o->type == type)
			return (const char *)r->params + o->offset;
	return NULL;
}

static enum kveil_encoding encoding_of(const struct kveil_rule *r)
{
	const int *e = parameter(r, "encoding", KVEIL_OPT_ENUM);

	return e ? (enum kveil_encoding) * e : KVEIL_BASE64;
}

/* The token that the rule at this place makes of the form's text, or, with use DETOKENIZE, takes back to it. */
static enum kveil_status write_token(struct kveil_form_context *c, const struct form *f, const struct kveil_doc *doc,
				     uint32_t node, unsigned use, struct kveil_buf *out, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
	struct kveil_doc row = *doc;
	const struct kveil_rule *r = rule_for(c, &row, node, use, f->key);
	struct kveil_action_call call = {.params = r ? r->params : NULL, .arena = c->arena};
	enum kveil_status s = kveil_keyring_key(c->ring, f->key, use, &call.key, err);

	if (s)
		return s;
	if (!r)
		return kveil_fail(err, KVEIL_E_CONFIG, "no rule with an alphabet uses the key %.*s here",
				  (int)f->key.len, (const char *)f->key.data);
	if (!write_ad(c, r, &row, node, &ad))
		return kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE,
				  "the associated data needs fields that are not in the example");
	call.ad = kveil_buf_span(&ad);
	/* The alphabet is what this part of the parameters begins with. */
	const struct kveil_preserve *p = parameter(r, "alphabet", KVEIL_OPT_STRING);
	return kveil_preserve_write(p, &call, true, f->text, out, err);
}

/* --- in --- */

static enum kveil_status seal(struct kveil_form_context *c, const struct form *f, const struct kveil_doc *doc,
			      uint32_t node, struct kveil_buf *out, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
	struct kveil_doc row = *doc;
	const struct kveil_rule *r = rule_for(c, &row, node, KVEIL_USE_OPEN, f->key);
	enum kveil_encoding encoding = encoding_of(r);
	struct kveil_key *key;
	size_t n;
	enum kveil_status s = kveil_keyring_key(c->ring, f->key, KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, err);

	if (s)
		return s;
	if (!write_ad(c, r, &row, node, &ad))
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
		s = write_token(c, f, &c->input, node, KVEIL_USE_DETOKENIZE, &token, err);
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
			return kveil_fail(err, s, "out of memory");
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

static bool opens_to(struct kveil_form_context *c, struct kveil_key *key, struct kveil_span ad,
		     struct kveil_span content, struct kveil_span text)
{
	uint8_t *sealed = kveil_arena_alloc(c->arena, content.len), *plain = kveil_arena_alloc(c->arena, content.len);

	for (int e = KVEIL_BASE64; sealed && plain && e <= KVEIL_HEX; e++) {
		size_t n;
		if (kveil_text_decoded_max((enum kveil_encoding)e, content.len) <= content.len &&
		    kveil_text_decode((enum kveil_encoding)e, content.data, content.len, sealed, &n) &&
		    kveil_key_open(key, ad, kveil_span_of(sealed, n), plain, &n, NULL) == KVEIL_OK &&
		    kveil_span_eq(kveil_span_of(plain, n), text))
			return true;
	}
	return false;
}

static bool is_hash(struct kveil_form_context *c, const struct form *f, struct kveil_span content)
{
	struct kveil_key *key;
	uint8_t mac[64], text[2 * sizeof mac + 4];

	if (kveil_keyring_key(c->ring, f->key, KVEIL_USE_MAC, &key, NULL) != KVEIL_OK ||
	    kveil_key_mac_bytes(key) > sizeof mac || kveil_key_mac(key, f->text, mac, NULL) != KVEIL_OK)
		return false;
	/* Maybe truncated, in any encoding. */
	for (size_t n = kveil_key_mac_bytes(key); n >= 8; n--)
		for (int e = KVEIL_BASE64; e <= KVEIL_HEX; e++) {
			size_t len = kveil_text_encoded_len((enum kveil_encoding)e, n);
			kveil_text_encode((enum kveil_encoding)e, mac, n, text);
			if (kveil_span_eq(kveil_span_of(text, len), content))
				return true;
		}
	return false;
}

static bool is_sealed(struct kveil_form_context *c, const struct form *f, struct kveil_span ad,
		      struct kveil_span content)
{
	struct kveil_key *key;

	return kveil_keyring_key(c->ring, f->key, KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, NULL) == KVEIL_OK &&
	       opens_to(c, key, ad, content, f->text);
}

static bool is_token(struct kveil_form_context *c, const struct form *f, const struct kveil_doc *got, uint32_t node,
		     struct kveil_span content)
{
	KVEIL_CLEANUP_BUF struct kveil_buf token = KVEIL_BUF_INIT;

	return write_token(c, f, got, node, KVEIL_USE_TOKENIZE, &token, NULL) == KVEIL_OK &&
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
		const struct kveil_rule *r = rule_for(c, &row, node, KVEIL_USE_SEAL, f->key);
		return write_ad(c, r, &row, node, &ad) && is_sealed(c, f, kveil_buf_span(&ad), content);
	}
	case FORM_HASH:
		return is_hash(c, f, content);
	default:
		return kveil_span_eq(f->text, content);
	}
}

struct comparison {
	struct kveil_form_context *c;
	struct kveil_doc want, got;
	struct kveil_buf *why;
};

static bool differs(struct comparison *m, uint32_t want, uint32_t got)
{
	kveil_buf_append_str(m->why, m->c->part == KVEIL_PART_KEY ? "at key:" : "at ");
	write_path(m->c, &m->want, want, m->why);
	kveil_buf_append_str(m->why, ": expected ");
	kveil_buf_append_span(m->why, raw(&m->want, want));
	if (got == UINT32_MAX) {
		kveil_buf_append_str(m->why, ", got nothing");
	} else {
		kveil_buf_append_str(m->why, ", got ");
		kveil_buf_append_span(m->why, raw(&m->got, got));
	}
	return false;
}

/* The same-named member of got, the nth of them. */
static uint32_t find_member(struct comparison *m, uint32_t object, struct kveil_span name, uint32_t nth)
{
	for (uint32_t i = object + 1; i < m->got.nodes[object].next; i = m->got.nodes[i].next)
		if (kveil_span_eq(member_name(m->c, &m->got, i), name) && nth-- == 0)
			return i;
	return UINT32_MAX;
}

/* How many members with this name stand in front of it. */
static uint32_t nth_of(struct comparison *m, uint32_t object, uint32_t member, struct kveil_span name)
{
	uint32_t n = 0;

	for (uint32_t i = object + 1; i < member; i = m->want.nodes[i].next)
		n += kveil_span_eq(member_name(m->c, &m->want, i), name);
	return n;
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
	if (w->kind != g->kind || w->count != g->count)
		return differs(m, want, got);
	if (w->kind != KVEIL_KIND_OBJECT && w->kind != KVEIL_KIND_ARRAY)
		return kveil_span_eq(raw(&m->want, want), raw(&m->got, got)) || differs(m, want, got);
	uint32_t other = got + 1;
	for (uint32_t i = want + 1; i < w->next; i = m->want.nodes[i].next) {
		if (w->kind == KVEIL_KIND_OBJECT) {
			struct kveil_span name = member_name(m->c, &m->want, i);
			other = find_member(m, got, name, nth_of(m, want, i, name));
		}
		if (other == UINT32_MAX)
			return differs(m, i, other);
		if (!same_value(m, i, other))
			return false;
		other = m->got.nodes[other].next;
	}
	return true;
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
		write_path(m->c, &m->want, i, m->why);
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
	if (!kveil_form_parse(c, kveil_span_str(want->value), &m.want)) {
		kveil_buf_append_str(why, "what the example expects is not JSON");
		return false;
	}
	if (!are_forms(&m))
		return false;
	if (!kveil_form_parse(c, got, &m.got))
		same = false;
	else
		same = want->exact ? same_bytes(&m) : same_value(&m, 0, 0);
	if (same || why->len > before)
		return same;
	kveil_buf_printf(why, "expected %s\n         got %.*s", want->value, (int)got.len, (const char *)got.data);
	return false;
}

bool kveil_form_matches_key(struct kveil_form_context *c, const char *want, struct kveil_span got,
			    struct kveil_buf *why)
{
	const struct kveil_format *format = c->plan->formats[KVEIL_PART_KEY];

	if (!format->has_paths || !want || !got.data)
		return kveil_form_matches_text(c, "key:$", want, got, why);
	c->part = KVEIL_PART_KEY;
	bool same = kveil_form_matches(c, &(struct kveil_example_out){.value = (char *)want, .exact = true}, got, why);
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
		kveil_buf_printf(&ad, "%s:%s", c->plan->name ? c->plan->name : "", part);
		same = kveil_buf_ok(&ad) && is_sealed(c, &form, kveil_buf_span(&ad), got);
	} else {
		same = form.kind == FORM_ANY || (form.kind == FORM_HASH && is_hash(c, &form, got)) ||
		       kveil_span_eq(form.text, got);
	}
	if (!same)
		kveil_buf_printf(why, "%s: expected %s, got %.*s", part, want ? want : "null",
				 got.data ? (int)got.len : 4, got.data ? (const char *)got.data : "null");
	return same;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What came out of an example, as somebody would write it into one: nobody can read a ciphertext. */
#include "cli/example_place.h"

#include "transform/preserve.h"

#include <string.h>

/* One use of a key by a rule, and the content that may have come of it. */
struct made {
	struct kveil_form_context *c;
	const struct kveil_rule *rule;
	unsigned use;
	struct kveil_span name, ad, content;
};

static bool is_hash_of_a_node(const struct made *m, const struct kveil_doc *doc, struct kveil_span *ret)
{
	for (uint32_t i = 0; i < doc->count; i++) {
		enum kveil_kind kind = doc->nodes[i].kind;
		if ((kind == KVEIL_KIND_STRING || kind == KVEIL_KIND_NUMBER) &&
		    kveil_doc_text(doc, i, m->c->arena, ret) == KVEIL_OK &&
		    kveil_place_is_hash(m->c, m->name, *ret, m->content))
			return true;
	}
	return false;
}

/* A hash cannot be turned back: is it that of something that went in? */
static bool is_hash_of_input(const struct made *m, struct kveil_span *ret)
{
	const struct kveil_record *in = m->c->record;
	struct kveil_doc key;

	for (size_t i = 0; i < in->header_count; i++) {
		*ret = in->headers[i].value;
		if (kveil_place_is_hash(m->c, m->name, *ret, m->content))
			return true;
	}
	*ret = in->key;
	if (in->key.len && kveil_place_is_hash(m->c, m->name, *ret, m->content))
		return true;
	return is_hash_of_a_node(m, &m->c->input, ret) ||
	       (kveil_form_parse(m->c, in->key, &key) && is_hash_of_a_node(m, &key, ret));
}

static bool take_back(const struct made *m, struct kveil_buf *out)
{
	const struct kveil_preserve *p = kveil_place_parameter(m->rule, "alphabet", KVEIL_OPT_STRING);
	struct kveil_action_call call = {.params = m->rule->params, .arena = m->c->arena, .ad = m->ad};

	return p &&
	       kveil_keyring_key(m->c->ring, m->name, KVEIL_USE_TOKENIZE | KVEIL_USE_DETOKENIZE, &call.key, NULL) ==
		   KVEIL_OK &&
	       kveil_preserve_write(p, &call, false, m->content, out, NULL) == KVEIL_OK;
}

static bool write_form(const struct made *m, struct kveil_buf *out)
{
	KVEIL_CLEANUP_BUF struct kveil_buf token = KVEIL_BUF_INIT;
	const char *form = "sealed";
	struct kveil_span text;
	bool known;

	if (m->use & KVEIL_USE_MAC) {
		form = "hash";
		known = is_hash_of_input(m, &text);
	} else if (m->use & KVEIL_USE_TOKENIZE) {
		form = "token";
		known = take_back(m, &token);
		text = kveil_buf_span(&token);
	} else {
		form = strcmp(m->rule->action->name, "tokenize") == 0 ? "token" : form;
		known = kveil_place_open(m->c, m->name, m->ad, m->content, &text);
	}
	if (!known)
		return false;
	kveil_buf_printf(out, "~%s(%.*s) ", form, (int)m->name.len, (const char *)m->name.data);
	kveil_buf_append_span(out, text);
	return true;
}

static bool write_form_of(struct kveil_form_context *c, const struct kveil_rule *r, struct kveil_span ad,
			  struct kveil_span content, struct kveil_buf *out)
{
	const struct kveil_template *keys[] = {r->key, r->key2};
	const unsigned uses[] = {r->key_use, r->key2_use};

	for (size_t i = 0; i < 2; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf name = KVEIL_BUF_INIT;
		if (!keys[i] || !(uses[i] & KVEIL_PLACE_WRITES) || !kveil_place_fill(c, keys[i], &name))
			continue;
		if (write_form(&(struct made){c, r, uses[i], kveil_buf_span(&name), ad, content}, out))
			return true;
	}
	return false;
}

static void write_plain(struct kveil_span content, struct kveil_buf *out)
{
	if (content.len && content.data[0] == '~')
		kveil_buf_append_byte(out, '~');
	kveil_buf_append_span(out, content);
}

static void write_string(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node,
			 struct kveil_span content, struct kveil_buf *out)
{
	for (size_t i = 0; i < c->plan->rule_count; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
		const struct kveil_rule *r = &c->plan->rules[i];
		struct kveil_doc row = *doc;
		if (((r->key_use | r->key2_use) & KVEIL_PLACE_WRITES) &&
		    kveil_place_finds(c, r, KVEIL_PLACE_WRITES, &row, node) && kveil_place_ad(c, r, &row, node, &ad) &&
		    write_form_of(c, r, kveil_buf_span(&ad), content, out))
			return;
	}
	write_plain(content, out);
}

void kveil_got_write(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node, struct kveil_buf *out)
{
	const struct kveil_doc_node *whole = &doc->nodes[node];
	size_t done = whole->start;
	struct kveil_span content;

	for (uint32_t i = node; i < whole->next; i++) {
		const struct kveil_doc_node *n = &doc->nodes[i];
		if (n->kind != KVEIL_KIND_STRING || kveil_doc_text(doc, i, c->arena, &content) != KVEIL_OK)
			continue;
		KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
		write_string(c, doc, i, content, &text);
		if (kveil_span_eq(kveil_buf_span(&text), content))
			continue;
		kveil_buf_append(out, doc->text.data + done, n->start - done);
		kveil_json_write_text(out, kveil_buf_span(&text));
		done = n->end;
	}
	kveil_buf_append(out, doc->text.data + done, whole->end - done);
}

void kveil_got_write_text(struct kveil_form_context *c, const char *part, struct kveil_span got, struct kveil_buf *out)
{
	for (size_t i = 0; i < c->plan->rule_count; i++) {
		KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
		const struct kveil_rule *r = &c->plan->rules[i];
		if (kveil_place_is_text(r, part) && kveil_place_text_ad(c, r, part, &ad) &&
		    write_form_of(c, r, kveil_buf_span(&ad), got, out))
			return;
	}
	write_plain(got, out);
}

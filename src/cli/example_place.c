/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules make of a place in an example's record. */
#include "cli/example_place.h"

#include "base/text.h"
#include "transform/preserve.h"

enum { DEPTH = 256, BYTES = 64 << 20 };

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

struct kveil_span kveil_place_raw(const struct kveil_doc *doc, uint32_t node)
{
	const struct kveil_doc_node *n = &doc->nodes[node];
	return kveil_span_of(doc->text.data + n->start, n->end - n->start);
}

struct kveil_span kveil_place_name(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node)
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

void kveil_place_write_path(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node,
			    struct kveil_buf *out)
{
	if (node == doc->root) {
		kveil_buf_append_str(out, "$");
		return;
	}
	kveil_place_write_path(c, doc, doc->nodes[node].parent, out);
	if (doc->nodes[node].name_end)
		kveil_path_write_name(kveil_place_name(c, doc, node), out);
	else
		kveil_buf_append_str(out, "[*]");
}

bool kveil_place_fill(struct kveil_form_context *c, const struct kveil_template *t, struct kveil_buf *out)
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

	return t && kveil_place_fill(c, t, &name) && kveil_span_eq(kveil_buf_span(&name), key);
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

bool kveil_place_finds(struct kveil_form_context *c, const struct kveil_rule *r, unsigned use, struct kveil_doc *doc,
		       uint32_t node)
{
	const struct kveil_rows *rows = rows_of(c, r);
	bool writes = r->to && use & KVEIL_PLACE_WRITES;

	if (r->part != c->part && !(c->plan->envelope && r->part == KVEIL_PART_VALUE))
		return false;
	for (size_t i = 0; i < rows->count; i++) {
		uint32_t *nodes;
		size_t n = 0;
		doc->root = 0;
		if (select_nodes(c, rows->roots[i], doc, true, &nodes, &n) != KVEIL_OK)
			return false;
		for (size_t k = 0; k < n; k++) {
			doc->root = nodes[k];
			if (finds(c, writes ? r->to : r->path, doc, node))
				return true;
		}
	}
	doc->root = 0;
	return false;
}

static bool uses_key(struct kveil_form_context *c, const struct kveil_rule *r, unsigned use, struct kveil_span key)
{
	return (r->key_use & use && names_key(c, r->key, key)) || (r->key2_use & use && names_key(c, r->key2, key));
}

const struct kveil_rule *kveil_place_rule(struct kveil_form_context *c, struct kveil_doc *doc, uint32_t node,
					  unsigned use, struct kveil_span key)
{
	for (size_t i = 0; i < c->plan->rule_count; i++) {
		const struct kveil_rule *r = &c->plan->rules[i];
		if (uses_key(c, r, use, key) && kveil_place_finds(c, r, use, doc, node))
			return r;
	}
	return NULL;
}

bool kveil_place_is_text(const struct kveil_rule *r, const char *part)
{
	return r->part == KVEIL_PART_HEADER ? strcmp(r->path_text, part) == 0
					    : strcmp(part, r->part == KVEIL_PART_KEY ? "key:$" : "$") == 0;
}

const struct kveil_rule *kveil_place_text_rule(struct kveil_form_context *c, const char *part, struct kveil_span key)
{
	for (size_t i = 0; i < c->plan->rule_count; i++) {
		const struct kveil_rule *r = &c->plan->rules[i];
		if (kveil_place_is_text(r, part) && uses_key(c, r, KVEIL_PLACE_WRITES, key))
			return r;
	}
	return NULL;
}

static void write_name(const struct kveil_form_context *c, struct kveil_buf *out)
{
	kveil_buf_printf(out, "%s:", c->plan->name ? c->plan->name : "");
}

bool kveil_place_text_ad(struct kveil_form_context *c, const struct kveil_rule *r, const char *part,
			 struct kveil_buf *out)
{
	if (r && r->ad)
		return kveil_place_fill(c, r->ad, out);
	write_name(c, out);
	kveil_buf_append_str(out, part);
	return kveil_buf_ok(out);
}

bool kveil_place_ad(struct kveil_form_context *c, const struct kveil_rule *r, const struct kveil_doc *doc,
		    uint32_t node, struct kveil_buf *out)
{
	if (r && r->ad)
		return kveil_place_fill(c, r->ad, out);
	bool is_of_key = c->part == KVEIL_PART_KEY && !(r && r->part == KVEIL_PART_VALUE);
	write_name(c, out);
	if (is_of_key)
		kveil_buf_append_str(out, "key:");
	kveil_place_write_path(c, doc, node, out);
	return kveil_buf_ok(out);
}

const void *kveil_place_parameter(const struct kveil_rule *r, const char *name, enum kveil_option_type type)
{
	for (const struct kveil_option *o = r ? r->action->options : NULL; o && o->name; o++)
		if (strcmp(o->name, name) == 0 && o->type == type)
			return (const char *)r->params + o->offset;
	return NULL;
}

enum kveil_status kveil_place_token(struct kveil_form_context *c, struct kveil_span key, struct kveil_span text,
				    const struct kveil_doc *doc, uint32_t node, unsigned use, struct kveil_buf *out,
				    struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf ad = KVEIL_BUF_INIT;
	struct kveil_doc row = *doc;
	const struct kveil_rule *r = kveil_place_rule(c, &row, node, use, key);
	struct kveil_action_call call = {.params = r ? r->params : NULL, .arena = c->arena};
	enum kveil_status s = kveil_keyring_key(c->ring, key, use, &call.key, err);

	if (s)
		return s;
	if (!r)
		return kveil_fail(err, KVEIL_E_CONFIG, "no rule with an alphabet uses the key %.*s here", (int)key.len,
				  (const char *)key.data);
	if (!kveil_place_ad(c, r, &row, node, &ad))
		return kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE,
				  "the associated data needs fields that are not in the example");
	call.ad = kveil_buf_span(&ad);
	/* The alphabet is what this part of the parameters begins with. */
	const struct kveil_preserve *p = kveil_place_parameter(r, "alphabet", KVEIL_OPT_STRING);
	return kveil_preserve_write(p, &call, true, text, out, err);
}

bool kveil_place_open(struct kveil_form_context *c, struct kveil_span name, struct kveil_span ad,
		      struct kveil_span content, struct kveil_span *ret)
{
	uint8_t *sealed = kveil_arena_alloc(c->arena, content.len), *plain = kveil_arena_alloc(c->arena, content.len);
	struct kveil_key *key;

	if (kveil_keyring_key(c->ring, name, KVEIL_USE_SEAL | KVEIL_USE_OPEN, &key, NULL) != KVEIL_OK)
		return false;
	for (int e = KVEIL_BASE64; sealed && plain && e <= KVEIL_HEX; e++) {
		size_t n;
		if (kveil_text_decoded_max((enum kveil_encoding)e, content.len) <= content.len &&
		    kveil_text_decode((enum kveil_encoding)e, content.data, content.len, sealed, &n) &&
		    kveil_key_open(key, ad, kveil_span_of(sealed, n), plain, &n, NULL) == KVEIL_OK) {
			*ret = kveil_span_of(plain, n);
			return true;
		}
	}
	return false;
}

bool kveil_place_is_hash(struct kveil_form_context *c, struct kveil_span name, struct kveil_span text,
			 struct kveil_span content)
{
	struct kveil_key *key;
	uint8_t mac[64], spelled[2 * sizeof mac + 4];

	if (kveil_keyring_key(c->ring, name, KVEIL_USE_MAC, &key, NULL) != KVEIL_OK ||
	    kveil_key_mac_bytes(key) > sizeof mac || kveil_key_mac(key, text, mac, NULL) != KVEIL_OK)
		return false;
	/* Maybe truncated, in any encoding. */
	for (size_t n = kveil_key_mac_bytes(key); n >= 8; n--)
		for (int e = KVEIL_BASE64; e <= KVEIL_HEX; e++) {
			size_t len = kveil_text_encoded_len((enum kveil_encoding)e, n);
			kveil_text_encode((enum kveil_encoding)e, mac, n, spelled);
			if (kveil_span_eq(kveil_span_of(spelled, len), content))
				return true;
		}
	return false;
}

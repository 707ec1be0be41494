/* SPDX-License-Identifier: Apache-2.0 */
/* One rule on one value. */
#include "base/secret.h"
#include "base/text.h"
#include "engine/internal.h"
#include "format/envelope.h"

#include <stdio.h>

enum { TEMPLATE_BYTES = 4 }; /* that go for one unit of work (KVEIL_PATH_WORK), by measurement */

/* Of a binding in a text: the one in the row that leads there, and its place. */
static const struct kveil_bound_rule *binding_in_row(const struct kveil_engine *e, const struct kveil_bound_rule *r,
						     const struct kveil_spot **place)
{
	const uint32_t id = (uint32_t)(r - e->rules), *bindings = &id;
	size_t count = 1;

	*place = kveil_text_row_place(e, *place, &bindings, &count);
	return &e->rules[bindings[0]];
}

/* Where a template reads: the place's own row, and for what that image of the row lacks, the event's main one. */
static enum kveil_status find_rows(struct kveil_engine *e, const struct kveil_bound_rule *r,
				   const struct kveil_spot *spot, struct kveil_doc *rows, size_t *ret_count,
				   struct kveil_error *err)
{
	const struct kveil_doc *value;

	*ret_count = 0;
	r = binding_in_row(e, r, &spot);
	/* Of a row of which the key holds one column nothing else is known. */
	if (r->is_text_column)
		return KVEIL_OK;
	if (r->from == KVEIL_STAGE_ROW || r->from == KVEIL_STAGE_PARTIAL || r->in_key_row ||
	    (spot->part == KVEIL_PART_KEY && r->rule->is_of_event)) {
		if (spot->doc)
			rows[(*ret_count)++] = kveil_engine_row(e, spot->doc, r, spot);
		return KVEIL_OK;
	}
	enum kveil_status st = kveil_engine_value_doc(e, &value, err);
	if (st || !value)
		return st;
	if (r->part == KVEIL_PART_VALUE)
		rows[(*ret_count)++] = kveil_engine_row(e, value, r, spot);
	if (!e->plan->envelope && *ret_count)
		return KVEIL_OK;
	bool found = false;
	size_t innermost = 0;
	st = kveil_engine_main_row(e, value, *ret_count ? &rows[0] : NULL, &innermost, &rows[*ret_count], &found, err);
	*ret_count += found;
	return st;
}

/* Does it stand for a value that the source did not send? */
static bool is_absent(const struct kveil_engine *e, struct kveil_span text)
{
	for (size_t i = 0; i < e->plan->absent_count; i++)
		if (kveil_span_eq(e->plan->absent[i], text))
			return true;
	return false;
}

/* A template's text in scratch. */
static enum kveil_status fill_template(struct kveil_engine *e, const struct kveil_bound_rule *r,
				       const struct kveil_spot *spot, const struct kveil_template *t,
				       struct kveil_span *ret, struct kveil_error *err)
{
	struct kveil_doc rows[2];
	size_t row_count = 0;
	enum kveil_status st = find_rows(e, r, spot, rows, &row_count, err);

	kveil_engine_reset_scratch(e);
	for (size_t i = 0; !st && i < t->count; i++) {
		const struct kveil_template_piece *piece = &t->pieces[i];
		uint32_t *nodes;
		size_t count = 0, k = 0;
		struct kveil_span text;
		kveil_buf_append_span(&e->scratch, piece->text);
		if (!piece->path)
			continue;
		for (; !st && count == 0 && k < row_count; k++)
			st = kveil_path_select_within(piece->path, &rows[k], 0, false, &e->work, &e->arena, &nodes,
						      &count, err);
		if (st)
			break;
		if (count != 1)
			return kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE, "a {$.path} finds %zu values instead of one",
					  count);
		const struct kveil_doc *doc = &rows[k - 1];
		const struct kveil_doc_node *n = &doc->nodes[nodes[0]];
		if (n->kind != KVEIL_KIND_STRING && n->kind != KVEIL_KIND_NUMBER)
			return kveil_fail_at(err, KVEIL_E_BAD_TEMPLATE_VALUE, n->start,
					     "a {$.path} finds neither a string nor a number");
		st = kveil_doc_text(doc, nodes[0], &e->arena, &text);
		if (st)
			return kveil_fail(err, st, "a {$.path} cannot be read");
		if (is_absent(e, text))
			return kveil_fail_at(err, KVEIL_E_BAD_TEMPLATE_VALUE, n->start,
					     "a {$.path} finds a value that the source did not send");
		/* Copied, and bound to the value, once for each place that asks. */
		e->work -= (int64_t)(text.len / TEMPLATE_BYTES);
		if (e->work < 0)
			return kveil_fail(err, KVEIL_E_TOO_COMPLEX, "filling templates on this record takes too long");
		kveil_buf_append_span(&e->scratch, text);
	}
	if (!st && !kveil_buf_ok(&e->scratch))
		st = kveil_no_memory(err, "a record");
	*ret = kveil_buf_span(&e->scratch);
	return st;
}

static bool is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
	       c == '-';
}

static enum kveil_status find_key(struct kveil_engine *e, const struct kveil_bound_rule *r,
				  const struct kveil_spot *spot, const struct kveil_template *name, unsigned use,
				  struct kveil_key **ret, struct kveil_error *err)
{
	struct kveil_span text;

	if (!name || !use)
		return KVEIL_OK;
	enum kveil_status st = fill_template(e, r, spot, name, &text, err);
	if (st)
		return st;
	/* What the record fills in is part of a name and nothing else: no version, above all. */
	size_t head = name->pieces[0].text.len, tail = name->pieces[name->count - 1].text.len;
	struct kveil_span hole = {text.data + head, text.len - head - tail};
	if (hole.len == 0 || text.len > KVEIL_KEY_NAME_MAX)
		return kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE, "a key's name from the record is %s",
				  hole.len ? "too long" : "empty");
	for (size_t i = 0; i < hole.len; i++)
		if (!is_name_byte(hole.data[i]))
			return kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE,
					  "a key's name is of letters, digits, '.', '_' and '-': the record's is not");
	return kveil_keyring_named(e->keys, text, use, ret, err);
}

static void write_place(struct kveil_engine *e, const struct kveil_spot *spot, const struct kveil_spot *place,
			const struct kveil_bound_rule *in_row, struct kveil_span to_name)
{
	KVEIL_CLEANUP_BUF struct kveil_buf rest = KVEIL_BUF_INIT;
	uint32_t skip = (uint32_t)in_row->root->count;

	if (!in_row->is_text_column) {
		kveil_engine_write_path(e, spot, place->outer, skip, false, to_name, &e->scratch);
		return;
	}
	/* The key has another name for it. */
	skip += in_row->from == KVEIL_STAGE_PART;
	kveil_engine_write_path(e, spot, place->outer, skip, false, to_name, &rest);
	kveil_buf_append_byte(&e->scratch, '$');
	kveil_path_write_name(kveil_span_str(e->plan->envelope->text_column), &e->scratch);
	if (kveil_buf_ok(&rest) && rest.len)
		kveil_buf_append(&e->scratch, rest.data + 1, rest.len - 1);
	e->scratch.failed |= rest.failed;
}

/* "orders:$['a'][*]" for the place at hand, in the arena. */
static enum kveil_status place_ad(struct kveil_engine *e, const struct kveil_bound_rule *r,
				  const struct kveil_spot *spot, bool at_target, struct kveil_span *ret,
				  struct kveil_error *err)
{
	if (!spot->doc && spot->match.trail == KVEIL_NO_TRAIL)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a place without its path");
	const struct kveil_spot *place = spot;
	const struct kveil_bound_rule *in_row = binding_in_row(e, r, &place);
	kveil_engine_reset_scratch(e);
	kveil_buf_append_span(&e->scratch, r->ad_prefix);
	write_place(e, spot, place, in_row, at_target ? r->rule->to_name : KVEIL_SPAN_NULL);
	uint8_t *copy = kveil_buf_ok(&e->scratch) ? kveil_arena_alloc(&e->arena, e->scratch.len) : NULL;
	if (!copy)
		return kveil_no_memory(err, "a record");
	memcpy(copy, e->scratch.data, e->scratch.len);
	*ret = kveil_span_of(copy, e->scratch.len);
	return KVEIL_OK;
}

/* A key's scope in place of the place: each key of reencrypt has its own. */
static void join_ad(struct kveil_action_call *call)
{
	struct kveil_span first = kveil_key_join(call->key);
	struct kveil_span last = call->key2 ? kveil_key_join(call->key2) : first;

	if (call->key2 && !call->ad_read.data)
		call->ad_read = call->ad;
	if (call->key2 && first.data)
		call->ad_read = first;
	if (last.data)
		call->ad = last;
}

/* The associated data; in scratch where a template makes it. */
static enum kveil_status find_ad(struct kveil_engine *e, const struct kveil_bound_rule *r,
				 const struct kveil_spot *spot, struct kveil_action_call *call, struct kveil_error *err)
{
	enum kveil_status st = KVEIL_OK;

	if (!r->action->needs_ad)
		return KVEIL_OK;
	if (!call->ad.data && r->rule->ad) {
		st = fill_template(e, r, spot, r->rule->ad, &call->ad, err);
		if (!st && call->ad.len == 0)
			st = kveil_fail(err, KVEIL_E_BAD_TEMPLATE_VALUE, "the associated data comes out empty");
		return st;
	}
	if (!call->ad.data)
		st = place_ad(e, r, spot, r->ad_names_target, &call->ad, err);
	if (!st && r->wants_ad_read && !call->ad_read.data)
		st = place_ad(e, r, spot, false, &call->ad_read, err);
	if (!st && r->may_join)
		join_ad(call);
	return st;
}

/* The value's content, as actions take it: the place's own, or made in room. NULL: no memory. */
static const struct kveil_value *read_value(struct kveil_engine *e, const struct kveil_spot *spot, bool quoted,
					    struct kveil_value *room)
{
	const struct kveil_match *m = &spot->match;
	const uint8_t *data = spot->text.data + m->start;
	size_t len = m->end - m->start;

	if (spot->value)
		return spot->value;
	/* Field by field: a struct read back whole right after would wait for its halves. */
	room->kind = m->kind;
	room->raw.data = room->text.data = data;
	room->raw.len = room->text.len = len;
	if (m->kind != KVEIL_KIND_STRING || !quoted)
		return room;
	room->text.data = data + 1;
	room->text.len = len - 2;
	if (m->flags & KVEIL_NODE_VALUE_ESCAPED)
		room->text = kveil_engine_unquote(e, kveil_span_of(data, len));
	return room->text.data ? room : NULL;
}

/* Extended JSON's {"$numberLong": "42"} and {"$date": {"$numberLong": "1"}}: one member whose name begins with $. */
static bool is_wrapper(const struct kveil_doc *doc, uint32_t node)
{
	const struct kveil_doc_node *n = &doc->nodes[node];

	return n->kind == KVEIL_KIND_OBJECT && n->count == 1 &&
	       doc->text.data[doc->nodes[node + 1].name_start + 1] == '$';
}

/* The scalar that such a value is, by its text. What has several parts is none. */
static bool read_wrapped(struct kveil_engine *e, const struct kveil_spot *spot, struct kveil_value *ret)
{
	const struct kveil_doc *doc = spot->doc;
	uint32_t node = spot->match.node;

	if (!is_wrapper(doc, node))
		return false;
	node += 1 + is_wrapper(doc, node + 1);
	enum kveil_kind kind = doc->nodes[node].kind;
	if (kind != KVEIL_KIND_STRING && kind != KVEIL_KIND_NUMBER && kind != KVEIL_KIND_BOOL)
		return false;
	ret->kind = KVEIL_KIND_STRING;
	if (kveil_doc_text(doc, node, &e->arena, &ret->text))
		return false;
	ret->raw = ret->text;
	return true;
}

/* …for an action that takes texts and no objects. */
static bool is_wrapped(struct kveil_engine *e, const struct kveil_bound_rule *r, const struct kveil_spot *spot,
		       struct kveil_value *ret)
{
	return spot->match.kind == KVEIL_KIND_OBJECT && spot->doc && kveil_engine_has_wrapped(e) &&
	       r->kinds & KVEIL_KIND_BIT(KVEIL_KIND_STRING) && read_wrapped(e, spot, ret);
}

static enum kveil_status check_text(struct kveil_span text, struct kveil_error *err)
{
	if (kveil_utf8_valid_prefix(text.data, text.len) == text.len)
		return KVEIL_OK;
	return kveil_fail(err, KVEIL_E_UNSUPPORTED_KIND, "the result is not UTF-8 text");
}

/* A string's content stands in out from `content` on, behind an opening quote: escapes it if it must be, closes it. */
static enum kveil_status close_text(struct kveil_engine *e, const struct kveil_format *f, struct kveil_buf *out,
				    size_t content, struct kveil_error *err)
{
	struct kveil_span text = {out->data + content, out->len - content};

	enum kveil_status st = check_text(text, err);
	if (st || !f->quote)
		return st;
	if (!kveil_json_needs_escape(text)) {
		kveil_buf_append_byte(out, f->quote);
		return KVEIL_OK;
	}
	uint8_t *copy = kveil_arena_alloc(&e->arena, text.len);
	if (!copy)
		return kveil_no_memory(err, "a record");
	memcpy(copy, text.data, text.len);
	out->len = content - 1;
	f->write_text(out, kveil_span_of(copy, text.len), true);
	return KVEIL_OK;
}

/* Is what a ciphertext held one value in the format's syntax. */
static enum kveil_status check_raw(struct kveil_engine *e, const struct kveil_format *f, const struct kveil_buf *out,
				   size_t start, struct kveil_error *err)
{
	struct kveil_error bad;

	if (f->scan(&e->check, kveil_span_of(out->data + start, out->len - start), &bad) == KVEIL_OK)
		return KVEIL_OK;
	return kveil_fail(err, KVEIL_E_UNSUPPORTED_KIND, "the result is not %s", f->name);
}

/* The same where types matter: the content as it is, and what kind it is of. */
static enum kveil_status finish_typed(struct kveil_engine *e, const struct kveil_bound_rule *r,
				      const struct kveil_buf *out, size_t start, enum kveil_result_kind kind,
				      enum kveil_effect *ret, struct kveil_error *err)
{
	struct kveil_span text = {out->data ? out->data + start : NULL, out->len - start};

	e->typed_result = kind;
	*ret = kind == KVEIL_RESULT_REMOVE ? KVEIL_EFFECT_REMOVED : KVEIL_EFFECT_WRITTEN;
	if ((kind == KVEIL_RESULT_NULL || kind == KVEIL_RESULT_REMOVE) && text.len)
		return kveil_fail(err, KVEIL_E_INTERNAL, "an action wrote a value that it took back");
	if (kind != KVEIL_RESULT_TEXT)
		return KVEIL_OK;
	if (r->action->effect != KVEIL_REVEALS)
		return check_text(text, err);
	/* A token may have stood for bytes. */
	if (kveil_utf8_valid_prefix(text.data, text.len) != text.len)
		e->typed_result = KVEIL_RESULT_BYTES;
	return KVEIL_OK;
}

/* Turns what the action appended behind `start` (and an opening quote) into the format's syntax. */
static enum kveil_status finish(struct kveil_engine *e, const struct kveil_bound_rule *r, const struct kveil_format *f,
				struct kveil_buf *out, size_t start, enum kveil_result_kind kind,
				enum kveil_effect *ret, struct kveil_error *err)
{
	size_t content = start + (f->quote != 0);

	if (!kveil_buf_ok(out))
		return kveil_no_memory(err, "a record");
	if (out->len < content)
		return kveil_fail(err, KVEIL_E_INTERNAL, "an action took bytes from the output");
	if (f->is_typed)
		return finish_typed(e, r, out, start, kind, ret, err);
	*ret = KVEIL_EFFECT_WRITTEN;
	if (f->has_bytes && kind != KVEIL_RESULT_NULL && kind != KVEIL_RESULT_REMOVE)
		return KVEIL_OK;
	switch (kind) {
	case KVEIL_RESULT_ASCII:
		if (f->quote)
			kveil_buf_append_byte(out, f->quote);
		return KVEIL_OK;
	case KVEIL_RESULT_TEXT:
		return close_text(e, f, out, content, err);
	case KVEIL_RESULT_RAW:
	case KVEIL_RESULT_RAW_UNCHECKED:
		if (f->quote && out->len > content)
			memmove(out->data + start, out->data + content, out->len - content);
		out->len -= content - start;
		return kind == KVEIL_RESULT_RAW ? KVEIL_OK : check_raw(e, f, out, start, err);
	case KVEIL_RESULT_BYTES:
		return kveil_fail(err, KVEIL_E_INTERNAL, "an action made bytes of a value that was none");
	case KVEIL_RESULT_NULL:
	case KVEIL_RESULT_REMOVE:
		if (out->len != content)
			return kveil_fail(err, KVEIL_E_INTERNAL, "an action wrote a value that it took back");
		out->len = start;
		*ret = KVEIL_EFFECT_REMOVED;
		if (kind == KVEIL_RESULT_NULL) {
			*ret = f->null_text.data ? KVEIL_EFFECT_WRITTEN : KVEIL_EFFECT_NULL;
			kveil_buf_append_span(out, f->null_text);
		}
		return KVEIL_OK;
	}
	return kveil_fail(err, KVEIL_E_INTERNAL, "an action's result is of no kind");
}

/* Its schema tells what it was: an action on texts may have its spelling. */
static bool is_spelled(const struct kveil_engine *e, const struct kveil_bound_rule *r, const struct kveil_spot *spot)
{
	bool is_scalar = spot->match.kind == KVEIL_KIND_NUMBER || spot->match.kind == KVEIL_KIND_BOOL;

	return e->has_schema && is_scalar && r->kinds & KVEIL_KIND_BIT(KVEIL_KIND_STRING);
}

/* The rule's keys, for this record, and its associated data here. */
static enum kveil_status find_key_and_ad(struct kveil_engine *e, const struct kveil_bound_rule *r,
					 const struct kveil_spot *spot, struct kveil_action_call *call,
					 struct kveil_error *err)
{
	enum kveil_status st = KVEIL_OK;

	*call = r->call;
	if (!call->key)
		st = find_key(e, r, spot, r->rule->key, r->rule->key_use, &call->key, err);
	if (!st && !call->key2)
		st = find_key(e, r, spot, r->rule->key2, r->rule->key2_use, &call->key2, err);
	return st ? st : find_ad(e, r, spot, call, err);
}

struct kveil_span kveil_engine_ad_to_show(struct kveil_engine *e, const struct kveil_bound_rule *r,
					  const struct kveil_spot *spot)
{
	struct kveil_action_call call;

	if (!r->action->needs_ad || (r->rule->ad && !r->rule->ad->is_constant))
		return KVEIL_SPAN_NULL;
	return find_key_and_ad(e, r, spot, &call, NULL) ? KVEIL_SPAN_NULL : call.ad;
}

static enum kveil_status other_kind(const struct kveil_action *a, enum kveil_kind kind, struct kveil_error *err)
{
	enum kveil_status status = kveil_fail(err, KVEIL_E_UNSUPPORTED_KIND, "`%s` does not take a value of kind %s",
					      a->name, kveil_kind_name(kind));

	if (a->other_kinds)
		kveil_error_hint(err, "%s", a->other_kinds);
	return status;
}

/* What only the record tells. */
static enum kveil_status complete_call(struct kveil_engine *e, const struct kveil_bound_rule *r,
				       const struct kveil_spot *spot, struct kveil_action_call *call,
				       struct kveil_error *err)
{
	enum kveil_status st = find_key_and_ad(e, r, spot, call, err);

	if (!st && r->in_key_row && !r->rule->on_key_any && !(r->action->keeps_apart && r->action->keeps_apart(call)))
		st = kveil_engine_key_column(
		    err, "the record's key holds this column, and its rule does not keep keys apart");
	return st;
}

/* The value as the action takes it. */
static enum kveil_status find_value(struct kveil_engine *e, const struct kveil_bound_rule *r,
				    const struct kveil_spot *spot, bool quoted, struct kveil_value *room,
				    const struct kveil_value **ret, struct kveil_error *err)
{
	bool takes = r->kinds & KVEIL_KIND_BIT(spot->match.kind);

	*ret = room;
	if (__builtin_expect(!takes, 0) && is_wrapped(e, r, spot, room))
		return KVEIL_OK;
	if (__builtin_expect(!takes, 0) && !is_spelled(e, r, spot))
		return other_kind(r->action, spot->match.kind, err);
	*ret = read_value(e, spot, quoted, room);
	return *ret ? KVEIL_OK : kveil_no_memory(err, "a record");
}

static enum kveil_status apply(struct kveil_engine *e, struct kveil_bound_rule *r, const struct kveil_spot *spot,
			       struct kveil_buf *out, enum kveil_effect *ret, struct kveil_error *err)
{
	const struct kveil_format *f = e->parts[spot->part].format;
	const struct kveil_action_call *call = &r->call;
	struct kveil_action_call made;
	struct kveil_value room;
	const struct kveil_value *in;
	enum kveil_result_kind kind = (enum kveil_result_kind) - 1;
	size_t start = out->len;

	enum kveil_status st = find_value(e, r, spot, f->quote != 0, &room, &in, err);
	if (!st && __builtin_expect(!r->is_settled, 0)) {
		st = complete_call(e, r, spot, &made, err);
		call = &made;
	}
	if (st)
		return st;
	/* Most results are strings: the quote goes in front, and the action writes behind it. */
	if (f->quote)
		kveil_buf_append_byte(out, f->quote);
	st = r->action->apply(call, in, out, &kind, err);
	return st ? st : finish(e, r, f, out, start, kind, ret, err);
}

static bool is_number_byte(uint8_t c)
{
	return (c >= '0' && c <= '9') || c == ',' || c == '-';
}

/* The same as an array of numbers, or an element of it, which stands between brackets as written without blanks. */
static bool is_absent_number(const struct kveil_engine *e, const struct kveil_spot *spot)
{
	struct kveil_span numbers = e->plan->absent_numbers;
	const struct kveil_match *m = &spot->match;
	size_t at = m->start;

	if (m->kind == KVEIL_KIND_NUMBER)
		while (at && m->start - at <= numbers.len && is_number_byte(spot->text.data[at - 1]))
			at--;
	at -= m->kind == KVEIL_KIND_NUMBER && at;
	if (!numbers.len || spot->text.len - at < numbers.len + 2)
		return false;
	const uint8_t *text = spot->text.data + at;
	return text[0] == '[' && memcmp(text + 1, numbers.data, numbers.len) == 0 && text[1 + numbers.len] == ']';
}

/* The same as the one element of a list, or as the one entry of an hstore. */
static bool is_absent_container(const struct kveil_engine *e, const struct kveil_spot *spot)
{
	const uint8_t *text = spot->text.data + spot->match.start;
	size_t len = spot->match.end - spot->match.start;

	if (spot->match.kind == KVEIL_KIND_ARRAY)
		return len > 4 && text[1] == '"' && text[len - 2] == '"' &&
		       is_absent(e, kveil_span_of(text + 2, len - 4));
	for (size_t i = 0; i < e->plan->absent_count; i++) {
		struct kveil_span a = e->plan->absent[i];
		if (len == 2 * a.len + 7 && memcmp(text + 1, "\"", 1) == 0 && memcmp(text + 2, a.data, a.len) == 0 &&
		    memcmp(text + 2 + a.len, "\":\"", 3) == 0 && memcmp(text + 5 + a.len, a.data, a.len) == 0)
			return text[len - 2] == '"';
	}
	return false;
}

/* Text, or bytes in one of their spellings. */
enum kveil_status kveil_engine_was_not_sent(struct kveil_engine *e, const struct kveil_spot *spot, bool *ret,
					    struct kveil_error *err)
{
	struct kveil_value room;
	const struct kveil_value *in;

	const struct kveil_format *f = e->parts[spot->part].format;
	*ret = false;
	if (spot->is_sent)
		return KVEIL_OK;
	bool is_list = spot->match.kind == KVEIL_KIND_ARRAY, is_map = spot->match.kind == KVEIL_KIND_OBJECT;
	/* With a schema the list is one of texts now, or a text: what it held would no longer fit. */
	if (!e->has_schema && f->has_paths && !f->is_typed)
		*ret = ((is_list || spot->match.kind == KVEIL_KIND_NUMBER) && is_absent_number(e, spot)) ||
		       ((is_list || is_map) && is_absent_container(e, spot));
	if (spot->match.kind != KVEIL_KIND_STRING && !(f->is_typed && spot->match.kind == KVEIL_KIND_BYTES))
		return KVEIL_OK;
	in = read_value(e, spot, f->quote != 0, &room);
	if (!in)
		return kveil_no_memory(err, "a record");
	*ret = is_absent(e, in->text);
	return KVEIL_OK;
}

/* Does an empty text that the action refuses fill a deleted row up, of which the source sent the key alone? */
static enum kveil_status is_filler(struct kveil_engine *e, const struct kveil_bound_rule *r,
				   const struct kveil_spot *spot, bool *ret, struct kveil_error *err)
{
	const struct kveil_rows *events = &e->plan->rows[KVEIL_ROWS_EVENT];
	const struct kveil_doc *value = NULL;
	bool is_empty = spot->match.kind == KVEIL_KIND_STRING && spot->match.end - spot->match.start == 2;
	enum kveil_status st = KVEIL_OK;

	*ret = false;
	/* A text has a tape of its own, and nobody fills that up. */
	if (!e->plan->is_delete || !(r->event_above || r->is_flat) || r->part != KVEIL_PART_VALUE || !is_empty ||
	    spot->outer)
		return KVEIL_OK;
	st = kveil_engine_value_doc(e, &value, err);
	if (!st && value && r->is_flat) {
		struct kveil_doc row = kveil_engine_row(e, value, r, spot);
		*ret = kveil_engine_is_deleted(e, &row);
		return KVEIL_OK;
	}
	for (size_t i = 0; !st && value && i < events->count; i++) {
		uint32_t *nodes;
		size_t count = 0;
		st = kveil_path_select_within(events->roots[i], value, 0, false, &e->work, &e->arena, &nodes, &count,
					      err);
		for (size_t k = 0; !st && !*ret && k < count; k++) {
			struct kveil_doc event = *value;
			enum kveil_tri tri = KVEIL_NO;
			event.root = nodes[k];
			st = kveil_expr_eval_within(e->plan->is_delete, &event, event.root, &e->work, &tri, err);
			*ret = tri == KVEIL_YES;
		}
	}
	return st;
}

/* Few texts are as long as one that stands for what the source did not send. */
static inline bool may_be_absent(const struct kveil_engine *e, const struct kveil_spot *spot)
{
	const struct kveil_match *m = &spot->match;

	if (!e->absent_lengths)
		return false;
	if (m->kind != KVEIL_KIND_STRING || m->flags & KVEIL_NODE_VALUE_ESCAPED || spot->value ||
	    !e->parts[spot->part].format->quote)
		return true;
	return e->absent_lengths >> ((m->end - m->start - 2) & 63) & 1;
}

/* What a failed action has written. */
static void take_back(struct kveil_buf *out, size_t start)
{
	if (out->len > start)
		kveil_secret_wipe(out->data + start, out->len - start);
	out->len = start;
}

enum kveil_status kveil_engine_apply(struct kveil_engine *e, struct kveil_bound_rule *r, const struct kveil_spot *spot,
				     struct kveil_buf *out, enum kveil_effect *ret, struct kveil_error *err)
{
	size_t start = out->len;

	if (spot->match.kind == KVEIL_KIND_NULL && !r->rule->on_null_transform) {
		*ret = KVEIL_EFFECT_KEPT;
		return KVEIL_OK;
	}
	if (__builtin_expect(may_be_absent(e, spot), 0)) {
		bool is_gone;
		enum kveil_status bad = kveil_engine_was_not_sent(e, spot, &is_gone, err);
		if (bad)
			return bad;
		*ret = KVEIL_EFFECT_KEPT;
		if (is_gone)
			return KVEIL_OK;
	}
	enum kveil_status st = apply(e, r, spot, out, ret, err);
	if (!st)
		r->wrote_in = e->serial;
	if (!st && !kveil_buf_ok(out))
		st = kveil_no_memory(err, "a record");
	if (__builtin_expect(st != KVEIL_OK, 0)) {
		take_back(out, start);
		bool fills = false;
		struct kveil_error scrap;
		if (st == KVEIL_E_VALUE_OUT_OF_DOMAIN && !is_filler(e, r, spot, &fills, &scrap) && fills) {
			*ret = KVEIL_EFFECT_KEPT;
			return KVEIL_OK;
		}
		return kveil_engine_blame(r, spot->match.start, st, err);
	}
	return KVEIL_OK;
}

enum kveil_status kveil_engine_apply_settled(struct kveil_engine *e, struct kveil_bound_rule *r,
					     const struct kveil_value *in, struct kveil_buf *out,
					     enum kveil_result_kind *ret, struct kveil_error *err)
{
	size_t start = out->len;
	enum kveil_status st = r->action->apply(&r->call, in, out, ret, err);

	if (!st && !kveil_buf_ok(out))
		st = kveil_no_memory(err, "a record");
	if (!st && out->len < start)
		return kveil_fail(err, KVEIL_E_INTERNAL, "an action took bytes from the output");
	if (!st && *ret == KVEIL_RESULT_TEXT)
		st = check_text(kveil_span_of(out->data + start, out->len - start), err);
	if (__builtin_expect(st == KVEIL_OK, 1)) {
		r->wrote_in = e->serial;
		return KVEIL_OK;
	}
	take_back(out, start);
	return st;
}

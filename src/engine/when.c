/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Do a rule's `table` and `when` hold at a place?
 *
 * A record may be read in several ways: {"country": …, "after": {…}} is a row, and an event with a row in it. Where the
 * row of one reading lies in the other's, both can name the place. The innermost says what the condition comes to; the
 * others are asked as well, for nothing says which one the producer meant. Around the row of an ordinary event there is
 * a reading that lacks what the condition reads, and does not tell its table: its doubt says nothing.
 */
#include "engine/internal.h"

static bool append_doc(struct kveil_join *j, const struct kveil_doc *doc)
{
	struct kveil_doc_node *nodes =
	    (struct kveil_doc_node *)(void *)kveil_buf_reserve(&j->nodes, doc->count * sizeof *nodes);
	uint32_t shift = (uint32_t)j->text.len, first = (uint32_t)(j->nodes.len / sizeof *nodes);

	kveil_buf_append_span(&j->text, doc->text);
	if (!nodes || !kveil_buf_ok(&j->text))
		return false;
	j->used_bytes = j->text.len > j->used_bytes ? j->text.len : j->used_bytes;
	for (uint32_t i = 0; i < doc->count; i++) {
		struct kveil_doc_node n = doc->nodes[i];
		n.start += shift;
		n.end += shift;
		if (n.name_end) {
			n.name_start += shift;
			n.name_end += shift;
		}
		n.next += first;
		if (n.parent != UINT32_MAX)
			n.parent += first;
		nodes[i] = n;
	}
	j->nodes.len += doc->count * sizeof *nodes;
	return true;
}

static bool is_same(struct kveil_span a, struct kveil_span b)
{
	return a.data == b.data && a.len == b.len;
}

/* The tape of the row with the spot's own behind it, so that one expression sees both: `$` is the row, `@` the returned
 * node. Spans of the second are moved by the first one's length. It stands for the places of one text, then of the
 * next. */
static enum kveil_status join_docs(struct kveil_engine *e, const struct kveil_doc *row, const struct kveil_spot *spot,
				   struct kveil_doc *ret, uint32_t *ret_node, struct kveil_error *err)
{
	struct kveil_join *j = &e->join;
	struct kveil_doc_node single;
	struct kveil_doc own;
	bool ok = true, is_head = j->serial == e->serial && is_same(j->head, row->text);

	if (spot->doc)
		own = *spot->doc;
	else if (!kveil_engine_quote(e, spot, &single, &own))
		return kveil_no_memory(err, "a record");
	if (!is_head) {
		kveil_buf_reset(&j->text);
		kveil_buf_reset(&j->nodes);
		ok = append_doc(j, row);
		j->serial = e->serial;
		j->head = row->text;
		j->head_count = row->count;
		j->tail = KVEIL_SPAN_NULL;
	}
	if (ok && !is_same(j->tail, own.text)) {
		j->text.len = row->text.len;
		j->nodes.len = j->head_count * sizeof *row->nodes;
		j->tail = own.text;
		ok = append_doc(j, &own);
	}
	if (!ok) {
		j->serial = 0;
		return kveil_no_memory(err, "a record");
	}
	*ret = *row;
	ret->text = kveil_buf_span(&j->text);
	ret->nodes = (struct kveil_doc_node *)(void *)j->nodes.data;
	ret->count = (uint32_t)(j->nodes.len / sizeof *ret->nodes);
	*ret_node = j->head_count + (spot->doc ? spot->match.node : 0);
	return KVEIL_OK;
}

/* Does the tape at hand hold all that conditions and templates may read? Rules of the file on keys and headers read the
 * record's value. */
static bool has_own_row(const struct kveil_bound_rule *r, const struct kveil_spot *spot)
{
	return spot->doc && !r->is_text_column &&
	       (spot->part == KVEIL_PART_VALUE || r->in_key_row || r->rule->is_of_event);
}

enum kveil_status kveil_engine_key_column(struct kveil_error *err, const char *why)
{
	kveil_fail(err, KVEIL_E_KEY_COLUMN, "%s", why);
	kveil_error_hint(
	    err,
	    "tokenize it, or hash it to 16 bytes and more; or on_key: any, or the column under clear, as key:$.name");
	return KVEIL_E_KEY_COLUMN;
}

/* One condition at one place, while its readings are asked. */
struct question {
	struct kveil_engine *e;
	struct kveil_bound_rule *rule; /* of the reading at hand */
	bool protects, is_answered;
	bool holds;           /* so far */
	enum kveil_tri table; /* of the reading at hand: is it the rule's */
	struct kveil_error *err;
};

struct lookout {
	struct question *q;
	const struct kveil_doc *row;
	enum kveil_status status;
};

static bool finds_something(void *user, const struct kveil_path *query, bool whole)
{
	struct lookout *l = user;
	struct kveil_engine *e = l->q->e;
	uint32_t *nodes;
	size_t count = 0;

	(void)whole;
	if (query->relative)
		return false;
	l->status =
	    kveil_path_select_within(query, l->row, l->row->root, true, &e->work, &e->arena, &nodes, &count, l->q->err);
	return l->status || count > 0;
}

/* Does another reading than the innermost know anything of what the condition reads? A yes that a rule protects by
 * counts in any case. */
static enum kveil_status speaks(struct question *q, const struct kveil_doc *row, enum kveil_tri tri, bool *ret)
{
	struct lookout l = {q, row, KVEIL_OK};

	*ret = (q->protects && tri == KVEIL_YES) || kveil_expr_any_query(q->rule->rule->when, finds_something, &l);
	return l.status;
}

static enum kveil_status settle(struct question *q, enum kveil_tri tri)
{
	/* The row may know better, and then its value would no longer be the key's. */
	if (tri == KVEIL_DOUBT && q->rule->in_key_row && !q->rule->rule->on_key_any)
		return kveil_engine_key_column(
		    q->err, q->table == KVEIL_DOUBT
				? "the record's key holds this column and does not tell its table"
				: "the record's key holds this column and not all that its rule's `when` reads");
	q->holds = q->protects ? tri != KVEIL_NO : tri == KVEIL_YES;
	q->is_answered = true;
	return KVEIL_OK;
}

/* What the condition came to in one reading. */
static enum kveil_status answer(struct question *q, const struct kveil_doc *row, enum kveil_tri when)
{
	enum kveil_tri tri = when < q->table ? when : q->table;
	bool counts = true;
	enum kveil_status st = q->is_answered ? speaks(q, row, tri, &counts) : KVEIL_OK;

	return st || !counts ? st : settle(q, tri);
}

/* Would no other reading change it? */
static bool is_settled(const struct question *q)
{
	return q->is_answered && q->holds == q->protects;
}

static enum kveil_status ask_row(struct question *q, const struct kveil_doc *row, uint32_t node)
{
	enum kveil_tri tri;
	enum kveil_status st = kveil_expr_eval_within(q->rule->rule->when, row, node, &q->e->work, &tri, q->err);

	return st ? st : answer(q, row, tri);
}

/* Is a row in the value, or what changed of one, a text? */
static enum kveil_status has_text_row(struct kveil_engine *e, const struct kveil_doc *value, bool *ret,
				      struct kveil_error *err)
{
	static const enum kveil_rows_kind kinds[] = {KVEIL_ROWS_TEXT, KVEIL_ROWS_PARTIAL};
	enum kveil_status st = KVEIL_OK;

	*ret = false;
	for (size_t i = 0; i < 2; i++) {
		const struct kveil_rows *rows = &e->plan->rows[kinds[i]];
		for (size_t k = 0; !st && !*ret && k < rows->count; k++) {
			uint32_t *nodes;
			size_t count = 0;
			st = kveil_path_select_within(rows->roots[k], value, 0, false, &e->work, &e->arena, &nodes,
						      &count, err);
			for (size_t n = 0; !st && n < count; n++)
				*ret |= value->nodes[nodes[n]].kind == KVEIL_KIND_STRING;
		}
	}
	return st;
}

/* Rules of the file on keys and headers: every row that the record may be about. */
static enum kveil_status ask_main_rows(struct question *q, const struct kveil_spot *spot)
{
	const struct kveil_doc *value = NULL;
	struct kveil_doc row, joined;
	uint32_t node = 0;
	size_t reading = 0;
	bool found = false, is_text = false;

	/* Of a bare key, of a tombstone, and of a row that is a text, nothing is known: doubt. */
	enum kveil_status st = q->rule->in_key_row ? KVEIL_OK : kveil_engine_value_doc(q->e, &value, q->err);
	if (!st && value)
		st = has_text_row(q->e, value, &is_text, q->err);
	if (is_text)
		value = NULL;
	if (!st && value)
		st = join_docs(q->e, value, spot, &joined, &node, q->err);
	while (!st && value && !is_settled(q) && reading != KVEIL_NO_READING) {
		st = kveil_engine_main_row(q->e, value, NULL, &reading, &row, &found, q->err);
		struct kveil_doc both = row;
		both.text = joined.text;
		both.nodes = joined.nodes;
		both.count = joined.count;
		if (!st && found)
			st = ask_row(q, &both, node);
		else if (!st && !q->is_answered)
			st = answer(q, &row, KVEIL_DOUBT);
	}
	return st || q->is_answered ? st : answer(q, NULL, KVEIL_DOUBT);
}

/* place: in the row, the spot itself or the text that it stands in. */
static enum kveil_status ask(struct question *q, const struct kveil_spot *place, const struct kveil_spot *spot)
{
	struct kveil_doc both;
	uint32_t node = spot->match.node;
	bool is_told;
	enum kveil_status st = kveil_engine_table(q->e, q->rule, place, &q->table, &is_told, q->err);

	if (st || (q->is_answered && !is_told))
		return st;
	if (q->table == KVEIL_NO || !q->rule->rule->when)
		return settle(q, q->table);
	if (q->rule->is_copy || q->rule->from == KVEIL_STAGE_PARTIAL)
		return settle(q, KVEIL_DOUBT);
	if (!has_own_row(q->rule, place))
		return ask_main_rows(q, spot);
	struct kveil_doc row = kveil_engine_row(q->e, place->doc, q->rule, place);
	row.has_fillers = kveil_engine_has_fillers(q->e, &row, q->rule->root, q->rule->is_flat);
	/* A path with .. goes in there too. */
	if (q->rule->is_flat && kveil_engine_lies_in_copy(q->e, &row, place->match.node))
		return settle(q, KVEIL_DOUBT);
	if (place == spot)
		return ask_row(q, &row, node);
	st = join_docs(q->e, &row, spot, &both, &node, q->err);
	return st ? st : ask_row(q, &both, node);
}

enum kveil_status kveil_engine_holds(struct kveil_engine *e, const uint32_t *bindings, size_t count,
				     const struct kveil_spot *spot, bool *ret, struct kveil_error *err)
{
	const struct kveil_bound_rule *first = &e->rules[bindings[0]];

	*ret = true;
	if (!first->rule->when && !first->rule->tables)
		return KVEIL_OK;
	struct question q = {
	    .e = e, .protects = first->action->effect == KVEIL_PROTECTS && !first->rule->if_sure, .err = err};
	const struct kveil_spot *place = kveil_text_row_place(e, spot, &bindings, &count);
	for (size_t i = 0; i < count && !is_settled(&q); i++) {
		q.rule = &e->rules[bindings[i]];
		enum kveil_status st = ask(&q, place, spot);
		if (st)
			return kveil_engine_blame(q.rule, spot->match.start, st, err);
		*ret = q.holds;
	}
	return KVEIL_OK;
}

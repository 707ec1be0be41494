/* SPDX-License-Identifier: Apache-2.0 */
/* `table:` of a rule on a record: which table a row is of, as far as its event tells. */
#include "engine/internal.h"
#include "format/envelope.h"

enum {
	LONGEST_NAME = 1024, /* of a table, qualified; a longer one is not told */
	NAME_BYTES = 8,      /* that go for one unit of work */
};

/* The one text that the path finds below the node; data NULL: none, or several. */
static enum kveil_status one_text(struct kveil_engine *e, const struct kveil_path *path, const struct kveil_doc *doc,
				  struct kveil_span *ret, size_t *ret_count, struct kveil_error *err)
{
	uint32_t *nodes;

	*ret = KVEIL_SPAN_NULL;
	*ret_count = 0;
	if (!path)
		return KVEIL_OK;
	enum kveil_status st =
	    kveil_path_select_within(path, doc, doc->root, false, &e->work, &e->arena, &nodes, ret_count, err);
	if (st || *ret_count != 1 || doc->nodes[nodes[0]].kind != KVEIL_KIND_STRING)
		return st;
	if (kveil_doc_text(doc, nodes[0], &e->arena, ret))
		return kveil_no_memory(err, NULL);
	if (!ret->len)
		*ret = KVEIL_SPAN_NULL; /* an empty name tells nothing */
	return KVEIL_OK;
}

/* database.schema.table and database.table, whose ends are the shorter names. */
static enum kveil_tri compare(struct kveil_engine *e, const struct kveil_tables *t, const struct kveil_span *names)
{
	struct kveil_span none = KVEIL_SPAN_NULL;
	const struct kveil_span orders[2][3] = {{names[0], names[1], names[2]}, {none, names[0], names[2]}};

	for (size_t i = 0; i < 2; i++) {
		uint8_t name[LONGEST_NAME];
		size_t len = 0;
		for (size_t k = 0; k < 3; k++) {
			if (!orders[i][k].data)
				continue;
			if (orders[i][k].len + 1 > sizeof name - len)
				return KVEIL_DOUBT;
			if (len)
				name[len++] = '.';
			memcpy(name + len, orders[i][k].data, orders[i][k].len);
			len += orders[i][k].len;
		}
		e->work -= (int64_t)(len / NAME_BYTES) + 1;
		if (kveil_tables_take(t, kveil_span_of(name, len)))
			return KVEIL_YES;
	}
	return KVEIL_NO;
}

/* A name that was asked for is not told. An event without a word of a schema is of a database that has none; a flat row
 * has what it was told to have. */
static bool lacks_a_name(const struct kveil_tables *t, const struct kveil_clue *c, const struct kveil_span *names,
			 const size_t *counts)
{
	if (c->names[0] && !names[0].data && kveil_tables_qualify(t))
		return true;
	return c->names[1] && !names[1].data && (counts[1] || c->from != KVEIL_CLUE_EVENT) &&
	       kveil_tables_might_take(t, names[2]);
}

/* What one clue says of the node at hand; *ret_told false: nothing. */
static enum kveil_status ask_clue(struct kveil_engine *e, const struct kveil_rule *r, const struct kveil_clue *c,
				  const struct kveil_doc *doc, bool *ret_told, enum kveil_tri *ret,
				  struct kveil_error *err)
{
	struct kveil_span names[3], mark;
	size_t counts[3], marks;

	*ret_told = false;
	enum kveil_status st = one_text(e, c->mark, doc, &mark, &marks, err);
	if (st || (c->mark && !mark.data))
		return st;
	for (size_t i = 0; !st && i < 3; i++)
		st = one_text(e, c->names[i], doc, &names[i], &counts[i], err);
	if (st || !counts[2])
		return st;
	*ret_told = true;
	*ret = KVEIL_DOUBT;
	if (!names[2].data || counts[0] > 1 || counts[1] > 1)
		return KVEIL_OK;
	*ret = compare(e, r->tables, names);
	if (*ret == KVEIL_NO && lacks_a_name(r->tables, c, names, counts))
		*ret = KVEIL_DOUBT;
	return KVEIL_OK;
}

/* What all clues of a kind say of the node that doc->root is. YES before DOUBT before NO; *ret as it was: nothing. */
static enum kveil_status ask_clues(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_clue_from from,
				   const struct kveil_doc *doc, bool *ret_told, enum kveil_tri *ret,
				   struct kveil_error *err)
{
	enum kveil_status st = KVEIL_OK;

	for (size_t i = 0; !st && i < e->plan->clue_count; i++) {
		enum kveil_tri one = KVEIL_NO;
		bool is_told = false;
		if (e->plan->clues[i].from != (int)from)
			continue;
		st = ask_clue(e, r, &e->plan->clues[i], doc, &is_told, &one, err);
		if (is_told)
			*ret = *ret_told && *ret > one ? *ret : one;
		*ret_told |= is_told;
	}
	return st;
}

/* For what stands outside the rows: the record is one event. */
static enum kveil_status ask_record(struct kveil_engine *e, const struct kveil_rule *r, bool *ret_told,
				    enum kveil_tri *ret, struct kveil_error *err)
{
	const struct kveil_rows *events = &e->plan->rows[KVEIL_ROWS_EVENT];
	const struct kveil_doc *value = NULL;
	enum kveil_status st = kveil_engine_value_doc(e, &value, err);

	for (size_t i = 0; !st && value && i < events->count; i++) {
		uint32_t *nodes;
		size_t count = 0;
		st = kveil_path_select_within(events->roots[i], value, 0, false, &e->work, &e->arena, &nodes, &count,
					      err);
		for (size_t k = 0; !st && k < count; k++) {
			struct kveil_doc event = *value;
			event.root = nodes[k];
			st = ask_clues(e, r, KVEIL_CLUE_EVENT, &event, ret_told, ret, err);
			if (!st)
				st = ask_clues(e, r, KVEIL_CLUE_ROW, &event, ret_told, ret, err);
		}
	}
	return st;
}

enum kveil_status kveil_engine_table_of_record(struct kveil_engine *e, const struct kveil_rule *r, enum kveil_tri *ret,
					       struct kveil_error *err)
{
	bool is_told = false;
	enum kveil_status st = KVEIL_OK;

	*ret = KVEIL_YES;
	if (r->tables)
		st = ask_record(e, r, &is_told, ret, err);
	if (r->tables && !is_told)
		*ret = KVEIL_DOUBT;
	return st;
}

static enum kveil_status ask_row(struct kveil_engine *e, const struct kveil_bound_rule *b, struct kveil_doc *row,
				 bool *ret_told, enum kveil_tri *ret, struct kveil_error *err)
{
	if (b->in_key_row)
		return e->plan->envelope->key_prefix && !b->is_spelled_in_key
			   ? KVEIL_OK
			   : ask_clues(e, b->rule, KVEIL_CLUE_KEY, row, ret_told, ret, err);
	for (size_t up = b->event_above; up && row->nodes[row->root].parent != UINT32_MAX; up--)
		row->root = row->nodes[row->root].parent;
	return ask_clues(e, b->rule, b->event_above ? KVEIL_CLUE_EVENT : KVEIL_CLUE_ROW, row, ret_told, ret, err);
}

enum kveil_status kveil_engine_table(struct kveil_engine *e, struct kveil_bound_rule *b, const struct kveil_spot *spot,
				     enum kveil_tri *ret, bool *ret_told, struct kveil_error *err)
{
	*ret = KVEIL_YES;
	*ret_told = true;
	if (!b->rule->tables)
		return KVEIL_OK;
	if (!b->in_key_row && (b->part != KVEIL_PART_VALUE || !spot->doc))
		return kveil_engine_table_of_record(e, b->rule, ret, err);
	*ret = KVEIL_DOUBT;
	*ret_told = false;
	if (b->is_bare_key || !spot->doc)
		return KVEIL_OK;
	/* The event of a row that is a text stands around that. */
	while (b->from == KVEIL_STAGE_ROW || b->from == KVEIL_STAGE_PARTIAL) {
		b = &e->rules[kveil_text_row_way(e, spot, b)];
		spot = spot->outer;
	}
	struct kveil_doc row = kveil_engine_row(e, spot->doc, b, spot);
	if (b->table_serial != e->serial || b->table_text != row.text.data || b->table_row != row.root) {
		b->table_serial = e->serial;
		b->table_text = row.text.data;
		b->table_row = row.root;
		b->table_told = false;
		b->table = KVEIL_DOUBT;
		enum kveil_status st = ask_row(e, b, &row, &b->table_told, &b->table, err);
		if (st)
			return st;
	}
	*ret = b->table;
	*ret_told = b->table_told;
	return KVEIL_OK;
}

enum kveil_status kveil_engine_tables(struct kveil_engine *e, const uint32_t *bindings, size_t count,
				      const struct kveil_spot *spot, enum kveil_tri *ret, struct kveil_error *err)
{
	enum kveil_status st = KVEIL_OK;

	spot = kveil_text_row_place(e, spot, &bindings, &count);
	*ret = KVEIL_NO;
	for (size_t i = 0; !st && i < count && *ret != KVEIL_YES; i++) {
		enum kveil_tri one;
		bool is_told;
		st = kveil_engine_table(e, &e->rules[bindings[i]], spot, &one, &is_told, err);
		if ((i == 0 || is_told) && one > *ret)
			*ret = one;
	}
	return st;
}

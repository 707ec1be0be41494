/* SPDX-License-Identifier: Apache-2.0 */
/* Where the rows of a record stand on its tape. */
#include "engine/internal.h"
#include "format/envelope.h"

bool kveil_engine_has_wrapped(const struct kveil_engine *e)
{
	return e->plan->envelope && e->plan->envelope->texts;
}

struct kveil_doc kveil_engine_known(const struct kveil_engine *e, const struct kveil_doc *doc)
{
	struct kveil_doc d = *doc;

	d.absent = e->plan->absent;
	d.absent_count = e->plan->absent_count;
	d.has_wrapped = kveil_engine_has_wrapped(e);
	return d;
}

/* The child that holds the byte. */
static uint32_t child_around(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t node, uint32_t byte)
{
	for (uint32_t c = node + 1; c < doc->nodes[node].next; c = doc->nodes[c].next) {
		e->work--;
		if (byte < doc->nodes[c].end)
			return c;
	}
	return node;
}

bool kveil_engine_is_added(const struct kveil_plan *plan, const char *usual, struct kveil_span name)
{
	const char *prefix = plan->added_prefix;
	size_t n = prefix ? strlen(prefix) : 0;

	if (kveil_span_eq(kveil_span_str(usual), name))
		return true;
	if (!prefix || strncmp(usual, "__", 2) != 0 || name.len < n || memcmp(name.data, prefix, n) != 0)
		return false;
	return kveil_span_eq(kveil_span_str(usual + 2), kveil_span_of(name.data + n, name.len - n));
}

/* May a header's value hold fields, in whatever way it is written? */
static bool may_hold_fields(struct kveil_span value)
{
	for (size_t i = 0; i < value.len; i++)
		if (value.data[i] < ' ' || value.data[i] == '{' || value.data[i] == '[')
			return true;
	return false;
}

/* Is a rule about the column, or about what may lie in it? */
static bool is_column(const struct kveil_plan *plan, struct kveil_span name, struct kveil_span value)
{
	for (size_t i = 0; i < plan->own_rule_count; i++) {
		const struct kveil_rule *r = &plan->rules[i];
		if (r->part != KVEIL_PART_VALUE)
			continue;
		if (r->path->segments[0].descendant && may_hold_fields(value))
			return true;
		for (size_t k = 0; k < r->path->segments[0].count; k++)
			if (kveil_span_eq(r->path->segments[0].selectors[k].name, name))
				return true;
	}
	return false;
}

/* What is behind a beginning of two parts; data NULL: another one. */
static struct kveil_span name_behind(struct kveil_span name, const char *first, const char *second)
{
	size_t n = strlen(first), m = strlen(second);

	if (name.len <= n + m || memcmp(name.data, first, n) != 0 || memcmp(name.data + n, second, m) != 0)
		return KVEIL_SPAN_NULL;
	return kveil_span_of(name.data + n + m, name.len - n - m);
}

/* The column of another image that a field, or a header, is called after. data NULL: of none. */
static struct kveil_span copied_column(const struct kveil_plan *plan, struct kveil_span name, bool is_header)
{
	struct kveil_span column = KVEIL_SPAN_NULL;

	for (const char *const *c = plan->envelope ? plan->envelope->copies : NULL; c && *c && !column.data; c++) {
		bool is_added = strncmp(*c, "__", 2) == 0;
		if (is_added || !is_header)
			column = name_behind(name, "", *c);
		if (is_added && plan->added_prefix && !column.data)
			column = name_behind(name, plan->added_prefix, *c + 2);
	}
	return column;
}

bool kveil_engine_copies_column(const struct kveil_engine *e, const struct kveil_header *h)
{
	struct kveil_span column = copied_column(e->plan, h->name, true);

	return column.data && is_column(e->plan, column, h->value);
}

bool kveil_engine_lies_in_copy(struct kveil_engine *e, const struct kveil_doc *row, uint32_t node)
{
	while (node != row->root && row->nodes[node].parent != row->root && row->nodes[node].parent != UINT32_MAX) {
		node = row->nodes[node].parent;
		e->work--;
	}
	/* Of a row's members, and of nothing else: where a row could be may be an array. */
	if (node == row->root || !row->nodes[node].name_end)
		return false;
	struct kveil_span name = kveil_engine_name_of(e, row, node);
	return !name.data || copied_column(e->plan, name, false).data;
}

/* A question about a field of a flat row, or a header. */
typedef bool telling_fn(struct kveil_engine *e, struct kveil_span name, struct kveil_span value);

static const struct kveil_origin *origin_of(struct kveil_engine *e, struct kveil_span name, struct kveil_span value,
					    struct kveil_span *ret_text)
{
	const struct kveil_origin *o = e->plan->envelope->origins;
	bool is_quoted = value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"';

	*ret_text = is_quoted ? kveil_engine_unquote(e, value) : value;
	for (; o->name; o++)
		if (kveil_engine_is_added(e->plan, o->name, name))
			return o;
	return NULL;
}

/* Does the field say that the row may lack columns? Text that cannot be read says so. */
static bool tells_of_gaps(struct kveil_engine *e, struct kveil_span name, struct kveil_span value)
{
	struct kveil_span text;
	const struct kveil_origin *o = origin_of(e, name, value, &text);

	return o && (!text.data || !kveil_envelope_lists(o->whole, text));
}

/* …that it is one that was deleted? */
static bool tells_of_delete(struct kveil_engine *e, struct kveil_span name, struct kveil_span value)
{
	struct kveil_span text;
	const struct kveil_origin *o = origin_of(e, name, value, &text);

	return o && text.data && kveil_envelope_lists(o->gone, text);
}

static bool any_tells(struct kveil_engine *e, const struct kveil_doc *doc, telling_fn *tells)
{
	const struct kveil_doc_node *nodes = doc->nodes;
	bool is = false;

	if (nodes[doc->root].kind != KVEIL_KIND_OBJECT)
		return false;
	for (uint32_t c = doc->root + 1; !is && c < nodes[doc->root].next; c = nodes[c].next) {
		struct kveil_span value = {doc->text.data + nodes[c].start, nodes[c].end - nodes[c].start};
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		is = name.data ? tells(e, name, value) : tells == tells_of_gaps;
		e->work--;
	}
	for (size_t i = 0; !is && i < e->record->header_count; i++)
		is = tells(e, e->record->headers[i].name, e->record->headers[i].value);
	return is;
}

static bool is_answered(const struct kveil_engine *e, const struct kveil_row_answer *a, const struct kveil_doc *row)
{
	return a->serial == e->serial && a->text == row->text.data && a->row == row->root;
}

static void note_answer(const struct kveil_engine *e, struct kveil_row_answer *a, const struct kveil_doc *row,
			uint32_t is)
{
	*a = (struct kveil_row_answer){e->serial, row->text.data, row->root, is};
}

bool kveil_engine_is_partial(struct kveil_engine *e, const struct kveil_doc *doc)
{
	if (!e->plan->envelope || !e->plan->envelope->origins)
		return false;
	if (!is_answered(e, &e->partial, doc))
		note_answer(e, &e->partial, doc, any_tells(e, doc, tells_of_gaps));
	return e->partial.is;
}

bool kveil_engine_is_deleted(struct kveil_engine *e, const struct kveil_doc *doc)
{
	return e->plan->envelope && e->plan->envelope->origins && any_tells(e, doc, tells_of_delete);
}

static bool may_be_filled(struct kveil_engine *e, const struct kveil_doc *row)
{
	struct kveil_doc event = *row;
	enum kveil_tri tri = KVEIL_DOUBT;
	struct kveil_error scrap;

	event.has_gaps = false;
	event.root = row->nodes[row->root].parent;
	return event.root == UINT32_MAX ||
	       kveil_expr_eval_within(e->plan->may_fill, &event, event.root, &e->work, &tri, &scrap) != KVEIL_OK ||
	       tri != KVEIL_NO;
}

bool kveil_engine_has_fillers(struct kveil_engine *e, const struct kveil_doc *row, const struct kveil_path *root,
			      bool is_flat)
{
	if (!e->plan->may_fill || !(is_flat || kveil_plan_has_gaps(e->plan, root)))
		return false;
	if (!is_answered(e, &e->fillers, row))
		note_answer(e, &e->fillers, row, is_flat ? kveil_engine_is_deleted(e, row) : may_be_filled(e, row));
	return e->fillers.is;
}

/* The one child of that name; 0: there is none, or which one counts is not known. */
static uint32_t only_member(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t object,
			    struct kveil_span name)
{
	const struct kveil_doc_node *nodes = doc->nodes;
	uint32_t found = 0;

	for (uint32_t c = object + 1; c < nodes[object].next; c = nodes[c].next) {
		struct kveil_span other = kveil_engine_name_of(e, doc, c);
		e->work--;
		if (other.data && !kveil_span_eq(other, name))
			continue;
		if (!other.data || found)
			return 0;
		found = c;
	}
	return found;
}

/* The element that stands where the row does in its own list. Rows are asked for in their order. */
static uint32_t element_like(struct kveil_engine *e, const struct kveil_doc *row, uint32_t list)
{
	const struct kveil_doc_node *nodes = row->nodes, *own = &nodes[row->root];
	bool goes_on = e->twin.serial == e->serial && e->twin.text == row->text.data && e->twin.is &&
		       nodes[e->twin.is].parent == list && nodes[e->twin.row].next == row->root &&
		       nodes[e->twin.row].parent == own->parent;

	if (nodes[list].kind != KVEIL_KIND_ARRAY || nodes[list].count != nodes[own->parent].count)
		return 0;
	uint32_t found = goes_on ? nodes[e->twin.is].next : list + 1;
	for (uint32_t i = goes_on ? own->ordinal : 0; i < own->ordinal; i++, e->work--)
		found = nodes[found].next;
	return found;
}

/* What stands where the row should be in the whole image; 0: nothing, or nobody knows which of several. */
static uint32_t find_twin(struct kveil_engine *e, const struct kveil_doc *row, bool is_element)
{
	const struct kveil_doc_node *nodes = row->nodes;
	uint32_t list = is_element ? nodes[row->root].parent : row->root, event = nodes[list].parent;

	if (only_member(e, row, event, kveil_engine_name_of(e, row, list)) != list)
		return 0;
	uint32_t whole = only_member(e, row, event, kveil_span_str(e->plan->envelope->whole));
	return whole && is_element ? element_like(e, row, whole) : whole;
}

uint32_t kveil_engine_full_row(struct kveil_engine *e, const struct kveil_doc *row, const struct kveil_path *root)
{
	bool is_element = root->segments[root->count - 1].selectors[0].kind != KVEIL_SEL_NAME;

	/* The members of an object are not a list. */
	if (!row->root || (row->nodes[row->root].name_end == 0) != is_element)
		return 0;
	if (!is_answered(e, &e->twin, row))
		note_answer(e, &e->twin, row, find_twin(e, row, is_element));
	return e->twin.is && row->nodes[e->twin.is].kind == KVEIL_KIND_OBJECT ? e->twin.is : 0;
}

struct kveil_doc kveil_engine_row(struct kveil_engine *e, const struct kveil_doc *doc, const struct kveil_bound_rule *r,
				  const struct kveil_spot *spot)
{
	struct kveil_doc row = kveil_engine_known(e, doc);

	if (spot->doc)
		row.root = spot->match.node;
	for (size_t depth = spot->match.depth; spot->doc && depth > r->root->count; depth--)
		row.root = doc->nodes[row.root].parent;
	for (size_t depth = 0; !spot->doc && depth < r->root->count; depth++)
		row.root = child_around(e, doc, row.root, spot->match.start);
	row.has_gaps = r->has_gaps || (r->is_flat && kveil_engine_is_partial(e, &row));
	row.full = r->is_filled ? kveil_engine_full_row(e, &row, r->root) : 0;
	return row;
}

/* May the row at node stand for the image of it at own? In lists of rows the numbers say so, where there are as many:
 * old[1] was data[1]. */
static bool is_image_of(const struct kveil_doc *doc, uint32_t node, const struct kveil_doc *own)
{
	const struct kveil_doc_node *nodes = doc->nodes, *a = &nodes[node], *b = own ? &nodes[own->root] : NULL;
	bool is_element = b && own->root && !b->name_end;

	return !is_element || (a->parent != UINT32_MAX && !a->name_end && a->ordinal == b->ordinal &&
			       nodes[a->parent].count == nodes[b->parent].count);
}

static bool begins_with(const struct kveil_path *path, const struct kveil_path *start)
{
	const struct kveil_path head = {.segments = path->segments, .count = start->count};

	return start->count <= path->count && kveil_path_equal(&head, start);
}

/* The event that root is the root of a row in; NULL: it is the event itself, as a flat row. Innermost events first. */
static const struct kveil_path *event_of(const struct kveil_engine *e, const struct kveil_path *root)
{
	const struct kveil_rows *events = &e->plan->rows[KVEIL_ROWS_EVENT];

	for (size_t i = 0; i < events->count; i++)
		if (begins_with(root, events->roots[i]))
			return events->roots[i]->count == root->count ? NULL : events->roots[i];
	return NULL;
}

/* Of one event the first image that is an object stands for the row: the later ones are not readings of their own. */
static size_t next_reading(const struct kveil_engine *e, size_t found)
{
	const struct kveil_rows *rows = &e->plan->rows[KVEIL_ROWS_VALUE];
	const struct kveil_path *event = event_of(e, rows->roots[found]);

	for (size_t i = found + 1; i < rows->count; i++)
		if (!event || event_of(e, rows->roots[i]) != event)
			return i;
	return KVEIL_NO_READING;
}

enum kveil_status kveil_engine_main_row(struct kveil_engine *e, const struct kveil_doc *doc,
					const struct kveil_doc *own, size_t *reading, struct kveil_doc *ret,
					bool *ret_found, struct kveil_error *err)
{
	const struct kveil_rows *rows = &e->plan->rows[KVEIL_ROWS_VALUE];
	uint32_t *nodes;
	size_t count, first = *reading;

	*ret = kveil_engine_known(e, doc);
	*ret_found = true;
	*reading = KVEIL_NO_READING;
	for (size_t i = first; e->plan->envelope && i < rows->count; i++) {
		enum kveil_status st =
		    kveil_path_select_within(rows->roots[i], doc, 0, false, &e->work, &e->arena, &nodes, &count, err);
		if (st)
			return st;
		if (count == 0 || doc->nodes[nodes[0]].kind != KVEIL_KIND_OBJECT)
			continue;
		size_t images = 0;
		ret->has_gaps = kveil_plan_has_gaps(e->plan, rows->roots[i]);
		for (size_t k = 0; k < count; k++)
			if (is_image_of(doc, nodes[k], own)) {
				ret->root = nodes[k];
				images++;
			}
		bool is_flat = !event_of(e, rows->roots[i]);
		if (is_flat)
			ret->has_gaps = kveil_engine_is_partial(e, ret);
		ret->has_fillers = kveil_engine_has_fillers(e, ret, rows->roots[i], is_flat);
		*ret_found = images == 1;
		*reading = next_reading(e, i);
		break;
	}
	return KVEIL_OK;
}

/* The first byte of a JSON text; 0 = none. */
static uint8_t first_byte(struct kveil_span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] != ' ' && text.data[i] != '\n' && text.data[i] != '\r' && text.data[i] != '\t')
			return text.data[i];
	return 0;
}

enum kveil_status kveil_engine_check_key(const struct kveil_engine *e, struct kveil_span key, struct kveil_error *err)
{
	if (!e->has_key_rows)
		return KVEIL_OK;
	uint8_t c = first_byte(key);
	bool is_bare = c && c != '{' && c != 'n';
	if (!is_bare || (e->plan->key_column && c != '['))
		return KVEIL_OK;
	kveil_fail_at(err, KVEIL_E_KEY_COLUMN, 0, "the record's key is not an object, so its columns are not known");
	kveil_error_hint(err, "envelope: {kind: %s, key: \"$.id\"}", e->plan->envelope->name);
	return KVEIL_E_KEY_COLUMN;
}

enum kveil_status kveil_engine_check_event(const struct kveil_engine *e, struct kveil_span value,
					   struct kveil_error *err)
{
	if (!e->plan->envelope)
		return KVEIL_OK;
	uint8_t c = first_byte(value);
	if (!c || !strchr("[\"-0123456789tf", c))
		return KVEIL_OK;
	return kveil_fail_at(err, KVEIL_E_UNSUPPORTED_ENVELOPE, 0, "the value is not a JSON object");
}

enum kveil_status kveil_engine_explain_event(const struct kveil_engine *e, struct kveil_span value,
					     enum kveil_status status, struct kveil_error *err)
{
	const struct kveil_envelope *kind = e->plan->envelope;
	const char *why = status == KVEIL_E_INVALID_JSON && kind && kind->explain ? kind->explain(value) : NULL;

	if (why)
		return kveil_fail_at(err, KVEIL_E_UNSUPPORTED_ENVELOPE, 0, "%s", why);
	return status;
}

static bool has_only(struct kveil_engine *e, const struct kveil_doc *doc, const char *const *members)
{
	bool only = true;

	for (uint32_t c = doc->root + 1; only && members && c < doc->nodes[doc->root].next; c = doc->nodes[c].next) {
		struct kveil_span name = kveil_engine_name_of(e, doc, c);
		only = name.data && kveil_envelope_lists(members, name);
		e->work--;
	}
	return only;
}

/* Is what stands at doc->root such a record, beyond doubt? */
static enum kveil_status is_control(struct kveil_engine *e, const struct kveil_doc *doc, bool or_event, bool *ret,
				    struct kveil_error *err)
{
	const struct kveil_control *c = e->plan->envelope->controls;
	enum kveil_status st = KVEIL_OK;

	*ret = false;
	for (size_t i = 0; !st && !*ret && c && c[i].when; i++) {
		enum kveil_tri tri = KVEIL_NO;
		if ((c[i].is_event && !or_event) || (c[i].is_message && e->plan->reads_messages))
			continue;
		st = kveil_expr_eval_within(e->plan->controls[i], doc, doc->root, &e->work, &tri, err);
		*ret = tri == KVEIL_YES && has_only(e, doc, c[i].members);
	}
	return st;
}

/* Is the record nothing but what stands there? A payload beside something else is a column. */
static bool is_alone(const struct kveil_doc *doc, uint32_t node)
{
	const struct kveil_doc_node *nodes = doc->nodes;

	if (!node || nodes[0].count == 1)
		return true;
	uint32_t other = node == 1 ? nodes[1].next : 1;
	return nodes[0].count == 2 && nodes[other].kind == KVEIL_KIND_NULL &&
	       kveil_span_eq(KVEIL_SPAN("\"schema\""), kveil_span_of(doc->text.data + nodes[other].name_start,
								     nodes[other].name_end - nodes[other].name_start));
}

enum kveil_status kveil_engine_is_control(struct kveil_engine *e, bool or_event, bool *ret, struct kveil_error *err)
{
	const struct kveil_rows *events = &e->plan->rows[KVEIL_ROWS_EVENT];
	const struct kveil_doc *value;

	*ret = false;
	if (!e->plan->envelope)
		return KVEIL_OK;
	enum kveil_status st = kveil_engine_value_doc(e, &value, err);
	for (size_t i = 0; !st && !*ret && value && i < events->count; i++) {
		uint32_t *nodes;
		size_t count = 0;
		struct kveil_doc event = *value;
		st = kveil_path_select_within(events->roots[i], value, 0, false, &e->work, &e->arena, &nodes, &count,
					      err);
		if (st || count != 1 || !is_alone(value, nodes[0]))
			continue;
		event.root = nodes[0];
		if (event.nodes[event.root].kind == KVEIL_KIND_OBJECT)
			st = is_control(e, &event, or_event, ret, err);
	}
	return st;
}

enum kveil_status kveil_engine_check_control(struct kveil_engine *e, struct kveil_error *err)
{
	bool is = false;
	enum kveil_status st =
	    e->plan->control != KVEIL_CONTROL_KEEP ? kveil_engine_is_control(e, false, &is, err) : KVEIL_OK;

	if (!st && is)
		return kveil_fail(err, KVEIL_E_CONTROL_RECORD, "a record about the stream, and not a row");
	return st;
}

bool kveil_engine_is_key_header(const struct kveil_engine *e, struct kveil_span name)
{
	return e->plan->envelope && kveil_envelope_lists(e->plan->envelope->key_headers, name);
}

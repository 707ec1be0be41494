/* SPDX-License-Identifier: Apache-2.0 */
/* A record's headers: those with rules, those that hold its key or name its schema, and those that the file adds. */
#include "engine/connect.h"
#include "engine/internal.h"

/* {"id": …, "action": …, "key": …}: as the file has them, without what a record fills in. */
static bool describe(struct kveil_engine *e, const struct kveil_rule *r)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	kveil_buf_append_str(&text, "{\"rule\":");
	kveil_json_write_text(&text, kveil_span_str(r->id));
	kveil_buf_append_str(&text, ",\"action\":");
	kveil_json_write_text(&text, kveil_span_str(r->action->name));
	if (r->key) {
		kveil_buf_append_str(&text, ",\"key\":");
		kveil_json_write_text(&text, kveil_span_str(r->key->text));
	}
	if (r->key2) {
		kveil_buf_append_str(&text, ",\"to_key\":");
		kveil_json_write_text(&text, kveil_span_str(r->key2->text));
	}
	kveil_buf_append_byte(&text, '}');
	uint8_t *copy = kveil_buf_ok(&text) ? kveil_engine_bound_array(e, text.len, 1) : NULL;
	if (copy)
		memcpy(copy, text.data, text.len);
	e->lineage[r->index] = kveil_span_of(copy, text.len);
	return copy != NULL;
}

bool kveil_engine_bind_added(struct kveil_engine *e)
{
	const struct kveil_plan *p = e->plan;
	bool ok = true;

	e->added_count = p->added_header_count;
	e->added = kveil_engine_bound_array(e, e->added_count, sizeof *e->added);
	e->lineage = kveil_engine_bound_array(e, p->rule_count, sizeof *e->lineage);
	if (!e->added || !e->lineage)
		return false;
	for (size_t i = 0; i < e->added_count; i++)
		e->added[i] = (struct kveil_header){kveil_span_str(p->added_headers[i].name),
						    kveil_span_str(p->added_headers[i].value)};
	for (size_t i = 0; p->has_lineage && ok && i < p->rule_count; i++)
		ok = describe(e, &p->rules[i]);
	return ok;
}

static const struct kveil_bound_header *rules_of_header(const struct kveil_engine *e, struct kveil_span name)
{
	for (size_t i = 0; i < e->header_count; i++)
		if (kveil_span_eq(e->headers[i].name, name))
			return &e->headers[i];
	return NULL;
}

/* One header, into every view's list; what is written stands in the arena until the next record. */
static enum kveil_status run_header(struct kveil_engine *e, size_t number, const struct kveil_bound_header *rules,
				    size_t *counts, struct kveil_error *err)
{
	const struct kveil_header *h = &e->record->headers[number];
	struct kveil_bound_part *p = &e->parts[KVEIL_PART_HEADER];
	struct kveil_spot spot = {.part = KVEIL_PART_HEADER,
				  .text = h->value,
				  .header_name = h->name,
				  .match = {.trail = KVEIL_NO_TRAIL, .kind = KVEIL_KIND_NULL}};
	enum kveil_status st = KVEIL_OK;

	for (size_t v = 0; v < e->view_count; v++)
		e->root_results[v] = (struct kveil_root_result){.effect = KVEIL_EFFECT_KEPT};
	if (rules) {
		if (h->value.data) {
			st = p->format->scan(&p->scan, h->value, err);
			spot.match.kind = KVEIL_KIND_STRING;
			spot.match.end = (uint32_t)h->value.len;
		}
		if (!st)
			st = kveil_engine_decide_root(e, &spot, rules->ids, rules->id_count, e->root_results, err);
		if (st && !err->rule[0])
			kveil_error_hint(err, "in the header %.*s", (int)(h->name.len < 64 ? h->name.len : 64),
					 (const char *)h->name.data);
	}
	for (size_t v = 0; !st && v < e->view_count; v++) {
		const struct kveil_root_result *r = &e->root_results[v];
		struct kveil_view_out *out = &e->views[v];
		struct kveil_header result = *h;
		if (r->effect == KVEIL_EFFECT_REMOVED)
			continue;
		if (r->effect == KVEIL_EFFECT_NULL)
			result.value = KVEIL_SPAN_NULL;
		if (r->effect == KVEIL_EFFECT_WRITTEN) {
			uint8_t *copy = kveil_arena_alloc(&e->arena, r->piece.len + 1);
			if (!copy)
				return kveil_no_memory(err, "a record");
			if (r->piece.len)
				memcpy(copy, e->pieces.data + r->piece.offset, r->piece.len);
			result.value = kveil_span_of(copy, r->piece.len);
		}
		out->header_list[counts[v]++] = result;
	}
	return st;
}

/* A header that holds a whole key, in clear, is protected as the key is; one that cannot be read as such goes. */
static enum kveil_status run_key_header(struct kveil_engine *e, const struct kveil_header *h, size_t *counts,
					struct kveil_error *err)
{
	struct kveil_connect_split s = {.text = h->value, .payload = h->value};
	struct kveil_span results[KVEIL_MAX_VIEWS];
	const struct kveil_format *f = e->parts[KVEIL_PART_KEY].format;
	/* Of a key with types nothing says how its header is written. */
	bool has_members = f->has_paths && !f->is_typed;
	enum kveil_status st = KVEIL_OK;

	for (size_t v = 0; v < e->view_count; v++)
		results[v] = h->value;
	if (has_members && h->value.data)
		st = kveil_connect_split(e, KVEIL_PART_KEY, h->value, &s, err);
	has_members =
	    has_members && st != KVEIL_E_UNSUPPORTED_ENVELOPE && kveil_engine_check_key(e, s.payload, err) == KVEIL_OK;
	if (!has_members)
		st = KVEIL_E_INVALID_JSON;
	if (!st && h->value.data)
		st = kveil_engine_run_document(e, KVEIL_PART_KEY, KVEIL_TEXT_KEY_HEADER, &s, results, err);
	if (st && err->byte != KVEIL_NO_BYTE)
		err->byte += s.frame.len;
	if (st == KVEIL_E_INVALID_JSON || st == KVEIL_E_INVALID_UTF8 || st == KVEIL_E_INVALID_SURROGATE ||
	    st == KVEIL_E_EMPTY_VALUE)
		return KVEIL_OK;
	for (size_t v = 0; !st && v < e->view_count; v++) {
		uint8_t *copy = h->value.data ? kveil_arena_alloc(&e->arena, results[v].len + 1) : NULL;
		if (h->value.data && !copy)
			return kveil_no_memory(err, "a record");
		if (results[v].len)
			memcpy(copy, results[v].data, results[v].len);
		e->views[v].header_list[counts[v]++] =
		    (struct kveil_header){h->name, kveil_span_of(copy, results[v].len)};
	}
	return st;
}

/* What names the writer's schema names the derived one. */
static void run_schema_header(struct kveil_engine *e, const struct kveil_header *h, enum kveil_part part,
			      size_t *counts)
{
	for (size_t v = 0; v < e->view_count; v++)
		e->views[v].header_list[counts[v]++] = (struct kveil_header){h->name, kveil_engine_frame(e, part)};
}

/* A column's value outside the row, where no rule on the column reaches. */
static enum kveil_status check_header(const struct kveil_engine *e, const struct kveil_header *h,
				      struct kveil_error *err)
{
	if (!h->value.data || !kveil_engine_copies_column(e, h))
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_UNSUPPORTED_ENVELOPE, "a header holds another image's value of a column with a rule");
	kveil_error_hint(err, "take it out of add.headers, or give the header a rule of its own");
	return KVEIL_E_UNSUPPORTED_ENVELOPE;
}

/* What the rules that wrote something in the record say of themselves; data NULL = no memory. */
static struct kveil_span write_lineage(struct kveil_engine *e, size_t view)
{
	const char *comma = "";

	kveil_engine_reset_scratch(e);
	kveil_buf_append_str(&e->scratch, "{\"rules\":[");
	for (uint32_t i = 0, next; i < e->rule_count; i = next) {
		bool wrote = false;
		next = kveil_engine_next_rule(e, i);
		for (uint32_t k = i; k < next; k++)
			wrote |= e->rules[k].wrote_in == e->serial && e->rules[k].views >> view & 1;
		if (!wrote)
			continue;
		kveil_buf_append_str(&e->scratch, comma);
		kveil_buf_append_span(&e->scratch, e->lineage[e->rules[i].rule->index]);
		comma = ",";
	}
	kveil_buf_append_str(&e->scratch, "]}");
	uint8_t *copy = kveil_buf_ok(&e->scratch) ? kveil_arena_alloc(&e->arena, e->scratch.len) : NULL;
	if (copy)
		memcpy(copy, e->scratch.data, e->scratch.len);
	return kveil_span_of(copy, e->scratch.len);
}

/* Behind the record's own. */
static bool add_headers(struct kveil_engine *e, size_t view, size_t *count)
{
	struct kveil_header *list = e->views[view].header_list;

	for (size_t i = 0; i < e->added_count; i++)
		list[(*count)++] = e->added[i];
	if (!e->plan->has_lineage)
		return true;
	struct kveil_span lineage = write_lineage(e, view);
	list[(*count)++] = (struct kveil_header){KVEIL_SPAN(KVEIL_LINEAGE_HEADER), lineage};
	return lineage.data != NULL;
}

enum kveil_status kveil_engine_run_headers(struct kveil_engine *e, struct kveil_error *err)
{
	bool follows_key = e->parts[KVEIL_PART_KEY].has_rules;
	const struct kveil_record *record = e->record;
	size_t counts[KVEIL_MAX_VIEWS] = {0};

	for (size_t v = 0; v < e->view_count; v++) {
		struct kveil_header *list =
		    kveil_arena_array(&e->arena, record->header_count + e->added_count + 1, sizeof *list);
		if (!list)
			return kveil_no_memory(err, "a record");
		e->views[v].header_list = list;
	}
	kveil_buf_reset(&e->pieces);
	e->piece_count = 0;
	for (size_t i = 0; i < record->header_count; i++) {
		const struct kveil_header *h = &record->headers[i];
		const struct kveil_bound_header *rules = rules_of_header(e, h->name);
		enum kveil_part part;
		enum kveil_status st = rules ? KVEIL_OK : check_header(e, h, err);
		if (st)
			return st;
		if (kveil_engine_is_schema_header(e, h, &part))
			run_schema_header(e, h, part, counts);
		else if (follows_key && kveil_engine_is_key_header(e, h->name))
			st = run_key_header(e, h, counts, err);
		else
			st = run_header(e, i, rules, counts, err);
		if (st)
			return st;
	}
	for (size_t v = 0; v < e->view_count; v++) {
		if (!add_headers(e, v, &counts[v]))
			return kveil_no_memory(err, "a record");
		e->outputs[v].record.headers = e->views[v].header_list;
		e->outputs[v].record.header_count = counts[v];
	}
	return KVEIL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* One record from its bytes to a verdict. */
#include "kveil/engine.h"

#include "base/secret.h"
#include "engine/connect.h"
#include "engine/internal.h"

#include <stdlib.h>

enum {
	KEEP_BYTES = 4 << 20,    /* what an arena or a buffer may keep from one record to the next */
	KEEP_ENTRIES = 64 << 10, /* and the tables of a scan */
	LARGE_BYTES = 64 << 10,  /* a record that may have grown them past that */
	DEFAULT_RECORD_BYTES = 8 << 20,
	MAX_RECORD_BYTES = 1 << 30,
	DEFAULT_DEPTH = 128,
	DEFAULT_MEMORY_BYTES = 40 << 20, /* what one worker has under the default configuration */
};

enum kveil_status kveil_engine_new(struct kveil_plan *plan, struct kveil_keyring *keys,
				   const struct kveil_limits *limits, struct kveil_engine **ret,
				   struct kveil_error *err)
{
	struct kveil_error scrap;

	err = err ? err : &scrap;
	*ret = NULL;
	struct kveil_engine *e = calloc(1, sizeof *e);
	if (!e)
		return kveil_no_memory(err, "an engine");
	e->plan = plan;
	e->keys = keys;
	e->max_bytes = limits && limits->record_bytes ? limits->record_bytes : DEFAULT_RECORD_BYTES;
	if (e->max_bytes > MAX_RECORD_BYTES)
		e->max_bytes = MAX_RECORD_BYTES;
	e->max_depth = limits && limits->depth ? limits->depth : DEFAULT_DEPTH;
	e->allowance.max_bytes = limits && limits->memory_bytes ? limits->memory_bytes : DEFAULT_MEMORY_BYTES;
	kveil_arena_init(&e->arena, KEEP_BYTES);
	e->arena.allowance = &e->allowance;
	kveil_arena_init(&e->bound, 0);
	kveil_plan_ref(plan);
	enum kveil_status st = kveil_engine_bind(e, err);
	if (st)
		kveil_engine_free(e);
	else
		*ret = e;
	return st;
}

void kveil_engine_free(struct kveil_engine *e)
{
	if (!e)
		return;
	kveil_engine_unbind(e);
	kveil_plan_unref(e->plan);
	free(e);
}

void kveil_engine_set_trace(struct kveil_engine *e, kveil_trace_fn *trace, void *user)
{
	e->trace = trace;
	e->trace_user = user;
}

const _Atomic uint64_t *kveil_engine_rule_matches(const struct kveil_engine *e, size_t *ret_count)
{
	*ret_count = e->plan->rule_count;
	return e->matches;
}

static void trim_buf(struct kveil_buf *b, size_t keep_bytes)
{
	if (b->cap > keep_bytes)
		kveil_buf_clear(b);
}

static void trim_scan(struct kveil_scan *s, size_t keep_entries)
{
	if (s->doc_cap <= keep_entries && s->match_cap <= keep_entries && s->trail_cap <= keep_entries)
		return;
	kveil_scan_clear(s);
}

static void trim_to(struct kveil_engine *e, size_t keep_bytes, size_t keep_entries)
{
	trim_buf(&e->pieces, keep_bytes);
	for (size_t v = 0; v < e->view_count; v++) {
		for (int t = 0; t < KVEIL_TEXT_COUNT; t++) {
			trim_buf(&e->views[v].texts[t], keep_bytes);
			trim_buf(&e->views[v].wholes[t], keep_bytes);
		}
	}
	for (int part = 0; part < KVEIL_PART_COUNT; part++)
		trim_scan(&e->parts[part].scan, keep_entries);
	trim_scan(&e->lookup, keep_entries);
	trim_scan(&e->check, keep_entries);
	for (size_t d = 1; d <= KVEIL_MOST_TEXTS; d++)
		trim_scan(&e->levels[d].scan, keep_entries);
	trim_buf(&e->join.text, keep_bytes);
	trim_buf(&e->join.nodes, keep_bytes);
	trim_scan(&e->connect.scan, keep_entries);
	trim_scan(&e->connect.inner, keep_entries);
	trim_scan(&e->connect.spelled, keep_entries);
	if (e->piece_cap > keep_entries) {
		free(e->piece_list);
		kveil_allowance_give(&e->allowance, e->piece_cap * sizeof *e->piece_list);
		e->piece_list = NULL;
		e->piece_count = e->piece_cap = 0;
	}
}

static void trim(struct kveil_engine *e)
{
	trim_to(e, KEEP_BYTES, KEEP_ENTRIES);
	/* Many views may each keep a little: the next large record is not to find less room for it. */
	if (e->allowance.used_bytes > e->allowance.max_bytes / 4) {
		kveil_arena_clear(&e->arena);
		trim_to(e, 0, 0);
	}
}

/* It holds a copy of the record's clear text. */
static void wipe_join(struct kveil_join *j)
{
	kveil_secret_wipe(j->text.data, j->used_bytes);
	j->used_bytes = 0;
	j->serial = 0;
}

void kveil_engine_wipe(struct kveil_engine *e)
{
	kveil_arena_reset(&e->arena);
	kveil_engine_reset_scratch(e);
	if (__builtin_expect(e->join.used_bytes != 0, 0))
		wipe_join(&e->join);
	if (__builtin_expect(e->typed[KVEIL_PART_VALUE].walk || e->typed[KVEIL_PART_KEY].walk, 0))
		kveil_engine_wipe_typed(e, KEEP_BYTES);
}

/* Wipes the record before and gives back what a rare large one took. */
static void begin_record(struct kveil_engine *e, const struct kveil_record *record)
{
	kveil_engine_wipe(e);
	if (__builtin_expect(e->was_large, 0))
		trim(e);
	e->was_large = record->value.len + record->key.len > LARGE_BYTES;
	e->serial++;
	e->record = record;
	e->value = record->value;
	e->value_doc = NULL;
	e->wants_schema = false;
	for (int part = 0; part < KVEIL_TYPED_PARTS; part++) {
		e->typed[part].framed = NULL;
		e->typed[part].has_schema_header = false;
		if (e->typed[part].schemas)
			e->typed[part].schema = NULL; /* it may be gone from the table */
	}
	e->allowance.was_refused = false;
	e->work = KVEIL_PATH_WORK;
}

static enum kveil_status run_json_value(struct kveil_engine *e, struct kveil_span *results, struct kveil_error *err)
{
	struct kveil_connect_split s;

	enum kveil_status st = kveil_connect_split(e, KVEIL_PART_VALUE, e->record->value, &s, err);
	e->value = s.payload;
	if (!st)
		st = kveil_engine_check_event(e, s.payload, err);
	if (!st)
		st = kveil_engine_check_control(e, err);
	if (!st)
		st = kveil_engine_run_document(e, KVEIL_PART_VALUE, KVEIL_TEXT_VALUE, &s, results, err);
	st = st ? kveil_engine_explain_event(e, s.text, st, err) : KVEIL_OK;
	if (st && err->byte != KVEIL_NO_BYTE)
		err->byte += s.frame.len;
	return st;
}

/* A value or a key with types; there is one view. */
static enum kveil_status run_typed(struct kveil_engine *e, enum kveil_part part, struct kveil_span in,
				   struct kveil_span *ret, struct kveil_error *err)
{
	struct kveil_buf *out = &e->views[0].texts[part == KVEIL_PART_KEY ? KVEIL_TEXT_KEY : KVEIL_TEXT_VALUE];
	struct kveil_span frame = KVEIL_SPAN_NULL;
	bool written = false;
	size_t skip = 0;

	kveil_buf_reset(out);
	enum kveil_status st = e->typed[part].schemas ? kveil_engine_unframe(e, part, &skip, err) : KVEIL_OK;
	if (st)
		return st;
	if (skip) {
		frame = kveil_engine_frame(e, part);
		kveil_buf_append_span(out, frame);
	}
	struct kveil_span payload = {in.data + skip, in.len - skip};
	if (part == KVEIL_PART_VALUE)
		e->value = payload;
	st = kveil_engine_run_typed(e, part, payload, out, &written, err);
	if (st && err->byte != KVEIL_NO_BYTE)
		err->byte += skip;
	if (!st && !written && !kveil_span_eq(frame, kveil_span_of(in.data, skip))) {
		out->len = frame.len;
		kveil_buf_append_span(out, payload);
		written = true;
	}
	*ret = written ? kveil_buf_span(out) : in;
	return !st && !kveil_buf_ok(out) ? kveil_no_memory(err, "a record") : st;
}

/* A part that is one value, text or bytes: results[v] is a view's. A value that were null would be a tombstone. */
static enum kveil_status run_whole(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
				   struct kveil_span *results, struct kveil_error *err)
{
	struct kveil_bound_part *p = &e->parts[part];
	size_t count = 0;

	for (size_t v = 0; v < e->view_count; v++)
		results[v] = text;
	enum kveil_status st = p->format->scan(&p->scan, text, err);
	if (st || p->scan.match_count == 0)
		return st;
	kveil_buf_reset(&e->pieces);
	e->piece_count = 0;
	struct kveil_spot spot = {.part = part, .text = text, .match = p->scan.matches[0]};
	const uint32_t *ids = kveil_automaton_accepts(p->automaton, spot.match.state, &count);
	st = kveil_engine_decide_root(e, &spot, ids, count, e->root_results, err);
	for (size_t v = 0; !st && v < e->view_count; v++) {
		const struct kveil_root_result *r = &e->root_results[v];
		struct kveil_buf *out =
		    &e->views[v].texts[part == KVEIL_PART_VALUE ? KVEIL_TEXT_VALUE : KVEIL_TEXT_KEY];
		if (r->effect == KVEIL_EFFECT_KEPT)
			continue;
		if (r->effect == KVEIL_EFFECT_NULL && part == KVEIL_PART_KEY) {
			results[v] = KVEIL_SPAN_NULL;
			continue;
		}
		if (r->effect != KVEIL_EFFECT_WRITTEN) {
			kveil_fail_at(err, KVEIL_E_UNSUPPORTED_KIND, 0, "a record's %s cannot be removed",
				      part == KVEIL_PART_KEY ? "key" : "value");
			kveil_error_rule(err, r->rule->id);
			kveil_error_hint(err, part == KVEIL_PART_KEY ? "nullify: true" : "replace: {with: \"\"}");
			return err->status;
		}
		kveil_buf_reset(out);
		if (!kveil_buf_reserve(out, r->piece.len))
			return kveil_no_memory(err, "a record");
		if (r->piece.len)
			kveil_buf_append(out, e->pieces.data + r->piece.offset, r->piece.len);
		results[v] = kveil_buf_span(out);
	}
	return st;
}

/* What one line came to, in every view. */
static enum kveil_status run_line(struct kveil_engine *e, struct kveil_span line, struct kveil_error *err)
{
	struct kveil_span results[KVEIL_MAX_VIEWS];
	bool is_blank = true;

	for (size_t i = 0; i < line.len && is_blank; i++)
		is_blank = line.data[i] == ' ' || line.data[i] == '\t' || line.data[i] == '\r';
	e->value = line;
	e->value_doc = NULL;
	enum kveil_status st =
	    is_blank ? KVEIL_OK : kveil_engine_run_payload(e, KVEIL_PART_VALUE, KVEIL_TEXT_VALUE, line, results, err);
	for (size_t v = 0; !st && v < e->view_count; v++) {
		kveil_buf_append_span(&e->views[v].wholes[KVEIL_TEXT_VALUE], is_blank ? line : results[v]);
		if (!kveil_buf_ok(&e->views[v].wholes[KVEIL_TEXT_VALUE]))
			st = kveil_no_memory(err, "a record");
	}
	return st;
}

/* Each line is a document; the breaks between them stay. To rules on key and headers the value then is none: nothing
 * says which line they mean. */
static enum kveil_status run_lines(struct kveil_engine *e, struct kveil_span *results, struct kveil_error *err)
{
	struct kveil_span all = e->record->value;
	enum kveil_status st = KVEIL_OK;

	if (all.len > e->max_bytes)
		return kveil_fail_at(err, KVEIL_E_TOO_LARGE, e->max_bytes, "%zu bytes; at most %zu are taken", all.len,
				     e->max_bytes);
	for (size_t v = 0; v < e->view_count; v++)
		kveil_buf_reset(&e->views[v].wholes[KVEIL_TEXT_VALUE]);
	for (size_t at = 0; !st && at < all.len;) {
		const uint8_t *end = memchr(all.data + at, '\n', all.len - at);
		size_t len = end ? (size_t)(end - all.data) - at : all.len - at;
		st = run_line(e, kveil_span_of(all.data + at, len), err);
		if (st && err->byte != KVEIL_NO_BYTE)
			err->byte += at;
		for (size_t v = 0; !st && end && v < e->view_count; v++)
			kveil_buf_append_byte(&e->views[v].wholes[KVEIL_TEXT_VALUE], '\n');
		at += len + 1;
	}
	e->value = KVEIL_SPAN_NULL;
	e->value_doc = NULL;
	for (size_t v = 0; !st && v < e->view_count; v++) {
		results[v] =
		    kveil_span_of(e->views[v].wholes[KVEIL_TEXT_VALUE].data, e->views[v].wholes[KVEIL_TEXT_VALUE].len);
		if (!kveil_buf_ok(&e->views[v].wholes[KVEIL_TEXT_VALUE]))
			st = kveil_no_memory(err, "a record");
		if (!results[v].len)
			results[v] = all;
	}
	return st;
}

static enum kveil_status run_value(struct kveil_engine *e, struct kveil_error *err)
{
	struct kveil_span results[KVEIL_MAX_VIEWS];
	const struct kveil_format *f = e->parts[KVEIL_PART_VALUE].format;

	if (f->is_typed)
		return run_typed(e, KVEIL_PART_VALUE, e->record->value, &e->outputs[0].record.value, err);
	enum kveil_status st = f->has_lines    ? run_lines(e, results, err)
			       : !f->has_paths ? run_whole(e, KVEIL_PART_VALUE, e->record->value, results, err)
					       : run_json_value(e, results, err);

	for (size_t v = 0; !st && v < e->view_count; v++)
		e->outputs[v].record.value = results[v];
	return st;
}

static enum kveil_status run_document_key(struct kveil_engine *e, struct kveil_span key, struct kveil_error *err)
{
	struct kveil_span results[KVEIL_MAX_VIEWS];
	struct kveil_connect_split s;

	enum kveil_status st = kveil_connect_split(e, KVEIL_PART_KEY, key, &s, err);
	if (!st)
		st = kveil_engine_check_key(e, s.payload, err);
	if (!st)
		st = kveil_engine_run_document(e, KVEIL_PART_KEY, KVEIL_TEXT_KEY, &s, results, err);
	if (st && err->byte != KVEIL_NO_BYTE)
		err->byte += s.frame.len;
	for (size_t v = 0; !st && v < e->view_count; v++)
		e->outputs[v].record.key = results[v];
	return st;
}

static enum kveil_status run_text_key(struct kveil_engine *e, struct kveil_span key, struct kveil_error *err)
{
	struct kveil_span results[KVEIL_MAX_VIEWS];
	enum kveil_status st = run_whole(e, KVEIL_PART_KEY, key, results, err);

	for (size_t v = 0; !st && v < e->view_count; v++)
		e->outputs[v].record.key = results[v];
	return st;
}

static enum kveil_status run_key(struct kveil_engine *e, struct kveil_error *err)
{
	const struct kveil_bound_part *p = &e->parts[KVEIL_PART_KEY];
	enum kveil_status st = KVEIL_OK;

	if (!p->has_rules || !e->record->key.data)
		return KVEIL_OK;
	if (p->format->is_typed)
		st = run_typed(e, KVEIL_PART_KEY, e->record->key, &e->outputs[0].record.key, err);
	else
		st = p->format->has_paths ? run_document_key(e, e->record->key, err)
					  : run_text_key(e, e->record->key, err);
	if (st && !err->rule[0])
		kveil_error_hint(err, "in the record's key");
	return st;
}

/* Does the record have no row that could lack a field? */
static enum kveil_status has_no_row(struct kveil_engine *e, bool *ret, struct kveil_error *err)
{
	bool is_typed = e->parts[KVEIL_PART_VALUE].format->is_typed;
	enum kveil_status st = is_typed ? kveil_engine_typed_doc(e, err) : KVEIL_OK;

	return st ? st : kveil_engine_is_control(e, true, ret, err);
}

static enum kveil_status check_required(struct kveil_engine *e, struct kveil_error *err)
{
	for (uint32_t i = 0, next; i < e->rule_count; i = next) {
		const struct kveil_bound_rule *r = &e->rules[i];
		next = kveil_engine_next_rule(e, i);
		bool is_absent = r->rule->required && !kveil_engine_found(e, i), no_row = false;
		/* A tombstone has no fields to miss. */
		if (!is_absent || (r->part == KVEIL_PART_VALUE && !e->record->value.data))
			continue;
		enum kveil_tri table;
		enum kveil_status st = kveil_engine_table_of_record(e, r->rule, &table, err);
		if (!st && table == KVEIL_NO)
			continue;
		if (!st)
			st = has_no_row(e, &no_row, err);
		if (st || no_row)
			return st;
		kveil_fail(err, KVEIL_E_MISSING_FIELD, "a required field is absent");
		kveil_error_rule(err, r->rule->id);
		return err->status;
	}
	return KVEIL_OK;
}

static enum kveil_status run_record(struct kveil_engine *e, struct kveil_error *err)
{
	const struct kveil_record *record = e->record;
	enum kveil_status st = KVEIL_OK;

	for (size_t v = 0; v < e->view_count; v++)
		e->outputs[v] = (struct kveil_output){v, *record};
	/* A tombstone stays a tombstone. */
	if (record->value.data)
		st = run_value(e, err);
	if (!st)
		st = run_key(e, err);
	bool looks_at_headers = e->header_count || e->plan->envelope || e->typed[KVEIL_PART_VALUE].has_schema_header ||
				e->typed[KVEIL_PART_KEY].has_schema_header;
	if (!st && ((looks_at_headers && record->header_count) || e->added_count || e->plan->has_lineage))
		st = kveil_engine_run_headers(e, err);
	if (!st && e->has_required)
		st = check_required(e, err);
	return st;
}

static enum kveil_verdict verdict_of(const struct kveil_engine *e, enum kveil_status st)
{
	switch (kveil_status_class(st)) {
	case KVEIL_CLASS_NONE:
		return KVEIL_PRODUCE;
	case KVEIL_CLASS_RETRY:
		return KVEIL_RETRY;
	case KVEIL_CLASS_RECORD:
	case KVEIL_CLASS_CONFIG: /* a key that the record names and nobody configured */
		break;
	case KVEIL_CLASS_STOP:
		return KVEIL_STOP;
	}
	if (st == KVEIL_E_CONTROL_RECORD)
		return e->plan->control == KVEIL_CONTROL_DROP ? KVEIL_DROP : KVEIL_DEAD_LETTER;
	switch (e->plan->on_error) {
	case KVEIL_ON_ERROR_DEAD_LETTER:
		return KVEIL_DEAD_LETTER;
	case KVEIL_ON_ERROR_DROP:
		return KVEIL_DROP;
	case KVEIL_ON_ERROR_STOP:
		break;
	}
	return KVEIL_STOP;
}

void kveil_engine_forget(struct kveil_engine *e)
{
	for (uint32_t i = 0; i < e->rule_count; i++)
		if (e->rules[i].found_in == e->serial)
			kveil_engine_uncount(&e->rules[i], e->rules[i].found_times);
	kveil_engine_wipe(e);
}

bool kveil_engine_look_again(struct kveil_engine *e, const struct kveil_result *result)
{
	return result->verdict == KVEIL_RETRY && result->error.status == KVEIL_E_KEY_PENDING &&
	       kveil_keyring_look(e->keys);
}

void kveil_engine_run(struct kveil_engine *e, const struct kveil_record *record, struct kveil_result *ret)
{
	begin_record(e, record);
	enum kveil_status st = run_record(e, &ret->error);
	if (st == KVEIL_E_NO_MEMORY && e->allowance.was_refused) {
		/* It is this record, not the machine: waiting would not help, and stopping would be its wish. */
		st = kveil_fail(&ret->error, KVEIL_E_TOO_LARGE,
				"takes more than the %zu MiB of memory that one record may",
				e->allowance.max_bytes >> 20);
		kveil_error_hint(&ret->error, "limits.memory, shared by the workers, gives more");
	}
	if (e->trace)
		kveil_engine_trace_absent(e);
	e->record = NULL;
	ret->verdict = verdict_of(e, st);
	if (__builtin_expect(st == KVEIL_OK, 1)) {
		ret->outputs = e->outputs;
		ret->output_count = e->view_count;
		return;
	}
	/* Nothing of a record that failed leaves, in any view. */
	memset(e->outputs, 0, e->view_count * sizeof *e->outputs);
	kveil_engine_wipe(e);
	if (ret->verdict == KVEIL_RETRY)
		kveil_engine_forget(e);
	ret->outputs = NULL;
	ret->output_count = 0;
}

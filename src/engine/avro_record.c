/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values and keys in Avro: one walk finds the places, then what the rules make of them is written in their derived
 * types, and the rest is copied as it came. One view.
 */
#include "engine/decide.h"
#include "engine/typed.h"
#include "format/automaton_internal.h"
#include "format/avro_walk.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* A value being written: what was copied, and the sized blocks that are open in it. */
struct writing {
	struct kveil_engine *e;
	const struct kveil_avro_program *program;
	struct kveil_avro_walk *walk;
	struct kveil_span in;
	struct kveil_buf *out;
	struct kveil_spot spot;   /* of the event at hand */
	struct kveil_value value; /* there */
	char *room;               /* for the spelling of a number there; in the arena, which is wiped */
	size_t copied;
	uint32_t at;      /* number of the event at hand */
	uint32_t covered; /* those before this one went with their container */
	uint32_t gone;    /* and those before this one with a field that the rules take away */
	bool may_be_sole; /* nobody watches, and the bytes are what rules see */
	size_t *blocks;   /* where in out the contents begin; SIZE_MAX: the block went with its container */
	uint32_t block_count, block_cap;
	bool written;
	struct kveil_error *err;
};

/* --- a value --- */

static inline void copy_until(struct writing *w, size_t at)
{
	kveil_buf_append(w->out, w->in.data + w->copied, at - w->copied);
	w->copied = at;
}

static enum kveil_status write_index(struct writing *w, const struct kveil_avro_event *ev, int32_t index)
{
	if (index < 0)
		return kveil_fail(w->err, KVEIL_E_INTERNAL, "a result of a type that the derived schema has not");
	if (ev->has_index)
		kveil_avro_write_long(w->out, index);
	return KVEIL_OK;
}

static void write_le(struct kveil_buf *out, uint64_t bits, int bytes)
{
	for (int i = 0; i < bytes; i++)
		kveil_buf_append_byte(out, (uint8_t)(bits >> 8 * i));
}

static bool write_long(enum kveil_avro_kind kind, const char *text, struct kveil_buf *out)
{
	char *end;

	errno = 0;
	long long n = strtoll(text, &end, 10);
	bool fits = !errno && *end == 0 && end != text;
	if (!fits || (kind == KVEIL_AVRO_INT && (n < INT32_MIN || n > INT32_MAX)))
		return false;
	kveil_avro_write_long(out, n);
	return true;
}

/* is_odd: no number in JSON, as nan is. */
static bool write_number(enum kveil_avro_kind kind, const char *text, bool is_odd, struct kveil_buf *out)
{
	char *end;
	double d = strtod(text, &end);
	float f = strtof(text, NULL);
	uint64_t bits = 0;
	uint32_t half = 0;

	if (kind == KVEIL_AVRO_INT || kind == KVEIL_AVRO_LONG)
		return !is_odd && write_long(kind, text, out);
	memcpy(&bits, &d, sizeof bits);
	memcpy(&half, &f, sizeof half);
	bool is_float = kind == KVEIL_AVRO_FLOAT;
	if (*end || end == text || (!is_float && kind != KVEIL_AVRO_DOUBLE) ||
	    is_odd == !!isfinite(is_float ? (double)f : d))
		return false;
	if (is_float)
		write_le(out, half, 4);
	else
		write_le(out, bits, 8);
	return true;
}

/* A constant in JSON, as a value of the type that stands there. */
static enum kveil_status write_same(struct writing *w, enum kveil_avro_kind kind, struct kveil_span json)
{
	char text[64];
	bool is_bool = kind == KVEIL_AVRO_BOOLEAN;
	bool ok = json.len < sizeof text;

	if (ok) {
		memcpy(text, json.data, json.len);
		text[json.len] = 0;
		if (is_bool && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
			kveil_buf_append_byte(w->out, text[0] == 't');
		else if (kind == KVEIL_AVRO_NULL)
			ok = strcmp(text, "null") == 0;
		else
			ok = !is_bool && text[0] != 't' && text[0] != 'f' && write_number(kind, text, false, w->out);
	}
	return ok ? KVEIL_OK
		  : kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND, "the constant is not of type %s",
			       kveil_avro_kind_name(kind));
}

static bool write_symbol(const struct kveil_avro_type *t, struct kveil_span content, struct kveil_buf *out)
{
	for (uint32_t i = 0; i < t->member_count; i++)
		if (kveil_span_eq(t->members[i].name, content)) {
			kveil_avro_write_long(out, i);
			return true;
		}
	return false;
}

static bool write_number_or_bool(struct writing *w, enum kveil_avro_kind kind, struct kveil_span content)
{
	char text[64];

	if (content.len >= sizeof text)
		return false;
	memcpy(text, content.data, content.len);
	text[content.len] = 0;
	if (kind != KVEIL_AVRO_BOOLEAN)
		return write_number(kind, text, strpbrk(text, "an") != NULL, w->out);
	kveil_buf_append_byte(w->out, text[0] == 't');
	return strcmp(text, "true") == 0 || strcmp(text, "false") == 0;
}

/* What was sealed as it is, as a value of the type that it had; where nothing tells, one of strings or bytes.
 * is_exact: a text is not taken for bytes, though a token of bytes opens as one. */
static enum kveil_status write_back(struct writing *w, const struct kveil_avro_event *ev,
				    const struct kveil_avro_type *was, bool is_exact, struct kveil_span content)
{
	bool was_raw = kveil_avro_value_kind(ev->node->kind) == KVEIL_KIND_BYTES;
	const struct kveil_avro_type untold = {.kind = was_raw ? KVEIL_AVRO_BYTES : KVEIL_AVRO_STRING};
	bool ok = false, is_raw = w->e->typed_result == KVEIL_RESULT_BYTES;

	was = was ? was : &untold;
	switch (was->kind) {
	case KVEIL_AVRO_STRING:
	case KVEIL_AVRO_BYTES:
		ok = was->kind == KVEIL_AVRO_STRING ? !is_raw : is_raw || !is_exact;
		kveil_avro_write_bytes(w->out, content);
		break;
	case KVEIL_AVRO_FIXED:
		ok = (is_raw || !is_exact) && content.len == was->size;
		kveil_buf_append_span(w->out, content);
		break;
	case KVEIL_AVRO_ENUM:
		ok = !is_raw && write_symbol(was, content, w->out);
		break;
	default:
		ok = !is_raw && write_number_or_bool(w, was->kind, content);
	}
	return ok ? KVEIL_OK
		  : kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND,
			       "what was sealed here is not a value of the %s that it was",
			       kveil_avro_kind_name(was->kind));
}

/* What was sealed whole. */
static enum kveil_status write_whole(struct writing *w, const struct kveil_avro_type *was, bool is_one_of_several,
				     struct kveil_span sealed)
{
	struct kveil_span bytes;
	struct kveil_error why;

	if (!was) {
		kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND,
			   "a value was sealed here with its type, and the schema that has it is not known");
		kveil_error_hint(w->err, "--original FILE, or a registry that has the writer's schema");
		return KVEIL_E_UNSUPPORTED_KIND;
	}
	if (was->kind < KVEIL_AVRO_ARRAY && !is_one_of_several)
		return kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND, "what was sealed here is not of type %s",
				  kveil_avro_kind_name(was->kind));
	const struct kveil_avro_opener *opener = kveil_engine_opener(w->e->typed[w->spot.part].schema, was);
	if (kveil_avro_opener_open(opener, w->e->max_bytes, w->e->max_depth, sealed, &bytes, &why))
		return kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND,
				  "what was sealed here is not a value of the %s that it was: %.100s",
				  kveil_avro_kind_name(was->kind), why.message);
	kveil_buf_append_span(w->out, bytes);
	return KVEIL_OK;
}

/* What was sealed as JSON, or whole. Whoever holds the key may have sealed anything. */
static enum kveil_status write_restored(struct writing *w, const struct kveil_avro_type *was, bool is_one_of_several,
					struct kveil_span json)
{
	if (kveil_avro_whole_is(json) || (was && was->kind >= KVEIL_AVRO_ARRAY))
		return write_whole(w, was, is_one_of_several, json);
	enum kveil_avro_kind kind = was ? was->kind : KVEIL_AVRO_STRING;
	const struct kveil_format *f = kveil_format_by_name(KVEIL_SPAN("json"));
	bool is_quoted = json.len && json.data[0] == '"';
	struct kveil_error bad;
	char text[64];

	if (f->scan(&w->e->check, json, &bad))
		return kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND, "what was sealed here is not JSON");
	if (!is_quoted && kind != KVEIL_AVRO_STRING)
		return write_same(w, kind, json);
	struct kveil_span content = is_quoted ? kveil_engine_unquote(w->e, json) : KVEIL_SPAN_NULL;
	if (is_quoted && !content.data)
		return kveil_no_memory(w->err, "a record");
	if (is_quoted && kind == KVEIL_AVRO_STRING) {
		kveil_avro_write_bytes(w->out, content);
		return KVEIL_OK;
	}
	bool is_enum = kind == KVEIL_AVRO_ENUM;
	bool ok = is_quoted && (is_enum ? write_symbol(was, content, w->out) : content.len < sizeof text);
	if (ok && !is_enum) {
		memcpy(text, content.data, content.len);
		text[content.len] = 0;
		ok = write_number(kind, text, true, w->out);
	}
	return ok ? KVEIL_OK
		  : kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND, "what was sealed here is not of type %s",
			       kveil_avro_kind_name(kind));
}

/* Is what was written from `at` on a number that is not spelled so? "007" is not, though it reads as an int. */
static bool is_respelled(const struct writing *w, enum kveil_avro_kind kind, size_t at, struct kveil_span content)
{
	char room[KVEIL_AVRO_NUMBER_BYTES];
	bool is_number = kind >= KVEIL_AVRO_INT && kind <= KVEIL_AVRO_DOUBLE;
	bool is_quoted = content.len > 1 && content.data[0] == '"' && content.data[content.len - 1] == '"';

	if (!is_number || !kveil_buf_ok(w->out) || kveil_avro_whole_is(content))
		return false;
	if (is_quoted) /* nan, in JSON */
		content = kveil_span_of(content.data + 1, content.len - 2);
	struct kveil_span raw = {w->out->data + at, w->out->len - at};
	return !kveil_span_eq(kveil_avro_number(kind, raw, room), content);
}

static enum kveil_status write_as(struct writing *w, const struct kveil_avro_event *ev, uint32_t which, bool is_exact,
				  struct kveil_span content)
{
	const struct kveil_avro_past *past = ev->node->past;
	const struct kveil_avro_type *was = past ? past->types[which] : NULL;
	enum kveil_status st = write_index(w, ev, ev->out->each ? ev->out->each[which] : ev->out->restored);
	size_t at = w->out->len;

	if (st)
		return st;
	st = w->e->typed_result == KVEIL_RESULT_RAW_UNCHECKED ? write_restored(w, was, ev->out->each != NULL, content)
							      : write_back(w, ev, was, is_exact, content);
	return !st && is_exact && is_respelled(w, was->kind, at, content)
		   ? kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND, "not as a number is spelled")
		   : st;
}

/* As the type that it had. Where that was one of several, what was sealed whole says which; anything else is taken for
 * the first that it is exactly, or else the first that it fits. */
static enum kveil_status write_opened(struct writing *w, const struct kveil_avro_event *ev, struct kveil_span content)
{
	uint32_t count = ev->out->each ? ev->node->past->count : 1;
	size_t start = w->out->len;
	enum kveil_status st = write_as(w, ev, 0, count > 1, content);

	for (uint32_t i = 1; st == KVEIL_E_UNSUPPORTED_KIND && count > 1 && i < 2 * count; i++) {
		w->out->len = start;
		st = write_as(w, ev, i % count, i < count, content);
	}
	return st != KVEIL_E_UNSUPPORTED_KIND || count == 1
		   ? st
		   : kveil_fail(w->err, st, "what was sealed here is of none of the types that it may have been");
}

/* opens: the rule brought back what was sealed. */
static enum kveil_status write_result(struct writing *w, const struct kveil_avro_event *ev, bool opens)
{
	struct kveil_span content = kveil_buf_span(&w->e->pieces);
	enum kveil_status st = KVEIL_OK;

	if (opens)
		return write_opened(w, ev, content);
	switch (w->e->typed_result) {
	case KVEIL_RESULT_TEXT:
	case KVEIL_RESULT_ASCII:
		st = write_index(w, ev, ev->out->string);
		kveil_avro_write_bytes(w->out, content);
		return st;
	case KVEIL_RESULT_BYTES:
		st = write_index(w, ev, ev->out->bytes);
		kveil_avro_write_bytes(w->out, content);
		return st;
	case KVEIL_RESULT_NULL:
		return write_index(w, ev, ev->out->null);
	case KVEIL_RESULT_RAW:
		st = write_index(w, ev, ev->out->keep);
		return st ? st : write_same(w, ev->node->kind, content);
	case KVEIL_RESULT_RAW_UNCHECKED:
		return write_opened(w, ev, content);
	case KVEIL_RESULT_REMOVE:
		break;
	}
	return kveil_fail(w->err, KVEIL_E_UNSUPPORTED_KIND, "this action's result has no Avro type in this version");
}

/* On the tape a place has another position, and a depth. */
static void find_on_tape(const struct kveil_doc *doc, uint32_t node, struct kveil_match *m)
{
	const struct kveil_doc_node *d = &doc->nodes[node];

	m->node = node;
	m->start = d->start;
	m->end = d->end;
	m->depth = 0;
	for (uint32_t p = d->parent; p != UINT32_MAX; p = doc->nodes[p].parent)
		m->depth++;
}

/* The place as rules see it; what is the same for all places of a value stands there already. */
static inline void set_spot(struct writing *w, const struct kveil_avro_event *ev)
{
	const struct kveil_avro_node *n = ev->node;
	struct kveil_spot *spot = &w->spot;

	spot->is_sent = n->kind != KVEIL_AVRO_STRING && n->kind != KVEIL_AVRO_BYTES;
	spot->value = NULL;
	spot->match.kind = (uint8_t)kveil_avro_value_kind(n->kind);
	spot->match.start = ev->value;
	spot->match.end = ev->end;
	if (w->walk->want_doc)
		find_on_tape(&w->walk->doc, ev->doc_node, &spot->match);
}

/* A value with its type's fingerprint, in the arena. */
static enum kveil_status read_whole(struct writing *w, const struct kveil_avro_event *ev)
{
	struct kveil_span bytes = {w->in.data + ev->value, ev->end - ev->value};
	uint8_t *room = kveil_arena_alloc(&w->e->arena, KVEIL_AVRO_WHOLE_HEAD + bytes.len);

	if (!room)
		return kveil_no_memory(w->err, "a record");
	kveil_avro_whole_write_head(w->program->fingerprints[ev->node->type], room);
	if (bytes.len)
		memcpy(room + KVEIL_AVRO_WHOLE_HEAD, bytes.data, bytes.len);
	w->value.raw = kveil_span_of(room, KVEIL_AVRO_WHOLE_HEAD + bytes.len);
	return KVEIL_OK;
}

/* The content of a value that is not a text, or stands on the tape. */
static __attribute__((noinline)) enum kveil_status read_content(struct writing *w, const struct kveil_avro_event *ev)
{
	const struct kveil_match *m = &w->spot.match;
	struct kveil_span raw = {w->in.data + ev->value, ev->end - ev->value};

	bool wants_room = w->value.kind == KVEIL_KIND_NUMBER && !w->room;
	if (wants_room && !(w->room = kveil_arena_alloc(&w->e->arena, KVEIL_AVRO_NUMBER_BYTES)))
		return kveil_no_memory(w->err, "a record");
	w->value.text = kveil_avro_content(w->program, ev->node, raw, w->room);
	if (ev->out->is_whole)
		return read_whole(w, ev);
	if (w->walk->want_doc)
		w->value.raw = kveil_span_of(w->spot.text.data + m->start, m->end - m->start);
	return KVEIL_OK;
}

/* The value as actions take it. */
static inline enum kveil_status read_value(struct writing *w, const struct kveil_avro_event *ev)
{
	w->value.kind = kveil_avro_value_kind(ev->node->kind);
	if (ev->node->kind != KVEIL_AVRO_STRING || w->walk->want_doc)
		return read_content(w, ev);
	w->value.text = kveil_avro_text(kveil_span_of(w->in.data + ev->value, ev->end - ev->value));
	return KVEIL_OK;
}

/* What a person is shown: a result as JSON spells it. */
static __attribute__((noinline)) void tell(struct kveil_engine *e, const struct kveil_bound_rule *r,
					   const struct kveil_spot *spot, enum kveil_effect effect, const char *outcome)
{
	KVEIL_CLEANUP_BUF struct kveil_buf after = KVEIL_BUF_INIT;
	struct kveil_span content = kveil_buf_span(&e->pieces);

	if (effect == KVEIL_EFFECT_WRITTEN && e->typed_result == KVEIL_RESULT_NULL)
		kveil_buf_append_str(&after, "null");
	else if (effect == KVEIL_EFFECT_WRITTEN &&
		 (e->typed_result == KVEIL_RESULT_BYTES || kveil_avro_whole_is(content)))
		kveil_buf_printf(&after, "(%zu bytes)", content.len);
	else if (effect == KVEIL_EFFECT_WRITTEN &&
		 (e->typed_result == KVEIL_RESULT_RAW || e->typed_result == KVEIL_RESULT_RAW_UNCHECKED))
		kveil_buf_append_span(&after, content);
	else if (effect == KVEIL_EFFECT_WRITTEN)
		kveil_json_write_text(&after, content);
	kveil_engine_trace(e, 0, r, spot, false, after.len ? kveil_buf_span(&after) : KVEIL_SPAN_NULL, outcome);
}

static inline void trace(struct kveil_engine *e, const struct kveil_bound_rule *r, const struct kveil_spot *spot,
			 enum kveil_effect effect, const char *outcome)
{
	if (__builtin_expect(e->trace != NULL, 0))
		tell(e, r, spot, effect, outcome);
}

/* The first of the place's rules that holds; NULL: none does. All that find it count. */
static enum kveil_status choose(struct writing *w, const struct kveil_avro_event *ev, bool only_count,
				struct kveil_bound_rule **ret)
{
	struct kveil_engine *e = w->e;
	enum kveil_status st = KVEIL_OK;
	const uint32_t *ids = ev->node->ids;
	size_t count = ev->node->id_count;

	*ret = NULL;
	for (size_t i = 0, next; !st && i < count; i = next) {
		struct kveil_bound_rule *r = ids[i] < e->rule_count ? &e->rules[ids[i]] : NULL;
		bool holds = false;
		next = kveil_decide_after_twins(e, ids, count, i);
		if (!r || !kveil_engine_is_about(r, w->program->schema, ev->node))
			continue;
		kveil_engine_count(e, r);
		if (w->at < w->gone)
			r->wrote_in = e->serial;
		if (!(r->views & 1) || *ret || only_count)
			continue;
		st = kveil_engine_holds(e, &ids[i], next - i, &w->spot, &holds, w->err);
		if (!st && holds)
			*ret = r;
		else if (!st)
			trace(e, r, &w->spot, KVEIL_EFFECT_KEPT, "when is false");
	}
	return st;
}

/* Runs the rule on the place; what it writes is in pieces then. */
static enum kveil_status run_rule(struct writing *w, const struct kveil_avro_event *ev, struct kveil_bound_rule *r,
				  enum kveil_effect *ret)
{
	struct kveil_engine *e = w->e;
	struct kveil_spot *spot = &w->spot;
	enum kveil_status st = read_value(w, ev);

	if (st)
		return st;
	spot->value = &w->value;
	st = kveil_engine_apply(e, r, spot, &e->pieces, ret, w->err);
	if (st) {
		char why[64] = "failed: ";
		strncat(why, kveil_status_code(st), sizeof why - 16);
		trace(e, r, spot, KVEIL_EFFECT_KEPT, why);
		return st;
	}
	trace(e, r, spot, *ret, *ret == KVEIL_EFFECT_KEPT ? "null kept" : "applied");
	return KVEIL_OK;
}

/* Index and length go in front of what the action wrote, where as many bytes wait for them as the rule's last result
 * took. */
static enum kveil_status write_head(struct writing *w, const struct kveil_avro_event *ev, struct kveil_bound_rule *r,
				    int32_t index, size_t start)
{
	size_t room = r->head_bytes, content = w->out->len - start - room;
	size_t of_index = ev->has_index ? kveil_avro_long_bytes(index) : 0;
	size_t n = of_index + kveil_avro_long_bytes((int64_t)content);

	if (n > room && !kveil_buf_reserve(w->out, n - room))
		return kveil_no_memory(w->err, "a record");
	uint8_t *at = w->out->data + start;
	if (n != room)
		memmove(at + n, at + room, content);
	if (of_index)
		kveil_avro_spell_long(index, at);
	kveil_avro_spell_long((int64_t)content, at + of_index);
	w->out->len = start + n + content;
	r->head_bytes = (uint8_t)n;
	return KVEIL_OK;
}

/* The branch that a sole rule's result goes to; below zero: it is another than the schema says. */
static inline int32_t sole_branch(const struct kveil_avro_event *ev, enum kveil_result_kind kind)
{
	if (kind == KVEIL_RESULT_TEXT || kind == KVEIL_RESULT_ASCII)
		return ev->out->string;
	return kind == KVEIL_RESULT_BYTES ? ev->out->bytes : -1;
}

/* Most places: one rule, one type of result, nothing to look up. */
static enum kveil_status write_sole(struct writing *w, const struct kveil_avro_event *ev)
{
	struct kveil_bound_rule *r = &w->e->rules[ev->node->effect.sole];
	enum kveil_result_kind kind = (enum kveil_result_kind) - 1;
	size_t room = r->head_bytes;

	kveil_engine_count(w->e, r);
	copy_until(w, ev->start);
	w->copied = ev->end;
	w->written = true;
	size_t start = w->out->len;
	if (!kveil_buf_reserve(w->out, room))
		return kveil_no_memory(w->err, "a record");
	w->out->len += room;
	enum kveil_status st = read_value(w, ev);
	if (!st)
		st = kveil_engine_apply_settled(w->e, r, &w->value, w->out, &kind, w->err);
	if (__builtin_expect(st != KVEIL_OK, 0))
		return kveil_engine_blame(r, ev->value, st, w->err);
	int32_t index = sole_branch(ev, kind);
	if (__builtin_expect(index < 0, 0))
		return kveil_fail(w->err, KVEIL_E_INTERNAL, "a result of a type that the derived schema has not");
	return write_head(w, ev, r, index, start);
}

static enum kveil_status write_place(struct writing *w, const struct kveil_avro_event *ev)
{
	struct kveil_bound_rule *r;
	enum kveil_effect effect = KVEIL_EFFECT_KEPT;
	bool is_covered = w->at < w->covered;

	set_spot(w, ev);
	enum kveil_status st = choose(w, ev, is_covered, &r);
	if (st || is_covered)
		return st;
	kveil_buf_reset(&w->e->pieces);
	if (r)
		st = run_rule(w, ev, r, &effect);
	if (st)
		return st;
	copy_until(w, ev->start);
	w->written = true;
	if (effect == KVEIL_EFFECT_KEPT) {
		w->copied = ev->value;
		return write_index(w, ev, ev->out->keep);
	}
	st = write_result(w, ev, r && r->action->effect == KVEIL_REVEALS);
	w->copied = ev->end;
	w->covered = ev->behind;
	return st && r ? kveil_engine_blame(r, ev->value, st, w->err) : st;
}

static enum kveil_status open_block(struct writing *w, const struct kveil_avro_event *ev)
{
	if (w->block_count == w->block_cap)
		return kveil_fail(w->err, KVEIL_E_INTERNAL, "more blocks than the value is deep");
	/* As deep as containers go, so many blocks are open at most. Few writers say how long theirs are. */
	if (!w->blocks && !(w->blocks = kveil_arena_array(&w->e->arena, w->block_cap, sizeof *w->blocks)))
		return kveil_no_memory(w->err, "a record");
	if (w->at < w->covered) {
		w->blocks[w->block_count++] = SIZE_MAX;
		return KVEIL_OK;
	}
	copy_until(w, ev->value);
	w->copied = ev->end;
	w->blocks[w->block_count++] = w->out->len;
	return KVEIL_OK;
}

/* The size goes in front of the contents, which are now known. */
static enum kveil_status close_block(struct writing *w, const struct kveil_avro_event *ev)
{
	size_t start = w->block_count ? w->blocks[--w->block_count] : SIZE_MAX;
	uint8_t size[10];

	if (start == SIZE_MAX)
		return KVEIL_OK;
	copy_until(w, ev->start);
	size_t contents = w->out->len - start;
	size_t n = kveil_avro_spell_long((int64_t)contents, size);
	if (!kveil_buf_reserve(w->out, n))
		return kveil_no_memory(w->err, "a record");
	memmove(w->out->data + start + n, w->out->data + start, contents);
	memcpy(w->out->data + start, size, n);
	w->out->len += n;
	return KVEIL_OK;
}

static enum kveil_status write_event(struct writing *w, const struct kveil_avro_event *ev)
{
	enum kveil_status st = KVEIL_OK;

	switch (ev->kind) {
	case KVEIL_AVRO_AT_PLACE:
		return w->may_be_sole && w->at >= w->covered && ev->node->effect.sole != KVEIL_AVRO_NO_RULE
			   ? write_sole(w, ev)
			   : write_place(w, ev);
	case KVEIL_AVRO_AT_BLOCK:
		return open_block(w, ev);
	case KVEIL_AVRO_AT_BLOCK_END:
		return close_block(w, ev);
	case KVEIL_AVRO_AT_INDEX:
		if (w->at < w->covered)
			return KVEIL_OK;
		copy_until(w, ev->start);
		st = write_index(w, ev, ev->out->keep);
		w->copied = ev->value;
		w->written = true;
		return st;
	case KVEIL_AVRO_AT_GONE:
		if (w->at < w->covered)
			return KVEIL_OK;
		copy_until(w, ev->start);
		w->copied = ev->end;
		w->gone = ev->behind;
		w->covered = ev->behind;
		w->written = true;
		return KVEIL_OK;
	}
	return kveil_fail(w->err, KVEIL_E_INTERNAL, "an event of no kind");
}

enum kveil_status kveil_engine_typed_doc(struct kveil_engine *e, struct kveil_error *err)
{
	struct kveil_avro_walk *w = e->typed[KVEIL_PART_VALUE].walk;

	if (e->value_doc || !w || !e->record->value.data)
		return KVEIL_OK;
	w->want_doc = true;
	e->value_doc = &w->doc;
	return kveil_avro_walk(w, e->value, err);
}

static enum kveil_status walk(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
			      struct kveil_error *err)
{
	struct kveil_typed *t = &e->typed[part];

	if (!t->schema)
		return kveil_fail(err, KVEIL_E_AVRO_SCHEMA, "the schema of the record's %s is not known",
				  part == KVEIL_PART_KEY ? "key" : "value");
	if (!t->walk) {
		t->walk = calloc(1, sizeof *t->walk);
		if (!t->walk)
			return kveil_no_memory(err, "a record");
		t->walk->allowance = t->walk->text.allowance = &e->allowance;
	}
	t->walk->program = t->schema->program;
	t->walk->max_bytes = e->max_bytes;
	t->walk->max_depth = e->max_depth;
	t->walk->want_doc = e->trace || t->schema->needs_doc;
	enum kveil_status st = kveil_avro_walk(t->walk, text, err);
	if (st || part == KVEIL_PART_KEY)
		return st;
	e->value_doc = t->walk->want_doc ? &t->walk->doc : NULL;
	return kveil_engine_check_control(e, err);
}

/* Field by field: clearing it whole costs as much as a field of a record. */
static void begin(struct writing *w, struct kveil_engine *e, enum kveil_part part, struct kveil_span in)
{
	struct kveil_avro_walk *walk = e->typed[part].walk;

	w->e = e;
	w->in = in;
	w->walk = walk;
	w->program = walk->program;
	w->room = NULL;
	w->copied = 0;
	w->at = w->covered = w->gone = 0;
	w->blocks = NULL;
	w->block_count = 0;
	w->block_cap = e->max_depth;
	w->may_be_sole = !e->trace && !walk->want_doc;
	w->written = false;
	w->value.raw = KVEIL_SPAN_NULL;
	w->spot.part = part;
	w->spot.text = walk->want_doc ? walk->doc.text : in;
	w->spot.doc = walk->want_doc ? &walk->doc : NULL;
	w->spot.trail = NULL;
	w->spot.header_name = KVEIL_SPAN_NULL;
	w->spot.outer = NULL;
	w->spot.is_dotted = false;
	w->spot.ways = NULL;
	w->spot.way_count = 0;
	w->spot.match = (struct kveil_match){.trail = KVEIL_NO_TRAIL};
}

enum kveil_status kveil_engine_run_typed(struct kveil_engine *e, enum kveil_part part, struct kveil_span text,
					 struct kveil_buf *out, bool *ret_written, struct kveil_error *err)
{
	struct writing w;
	enum kveil_status st = walk(e, part, text, err);

	*ret_written = false;
	if (st)
		return st;
	begin(&w, e, part, text);
	w.out = out;
	w.err = err;
	for (; !st && w.at < w.walk->count; w.at++) {
		st = write_event(&w, &w.walk->events[w.at]);
		/* On the tape positions are of the spelled value: a record's are of its bytes. */
		if (st && err->byte != KVEIL_NO_BYTE)
			err->byte = w.walk->events[w.at].value;
	}
	if (st || !w.written)
		return st;
	copy_until(&w, text.len);
	*ret_written = true;
	return kveil_buf_ok(out) && kveil_buf_ok(&e->pieces) ? KVEIL_OK : kveil_no_memory(err, "a record");
}

static void wipe(struct kveil_avro_walk *w, size_t keep_bytes)
{
	if (w->text.len)
		kveil_secret_wipe(w->text.data, w->text.len);
	kveil_buf_reset(&w->text);
	w->doc.count = 0;
	if (w->text.cap > keep_bytes || w->cap * sizeof *w->events + w->doc_cap * sizeof *w->doc.nodes > keep_bytes)
		kveil_avro_walk_clear(w);
}

void kveil_engine_wipe_typed(struct kveil_engine *e, size_t keep_bytes)
{
	for (int part = 0; part < KVEIL_TYPED_PARTS; part++)
		if (e->typed[part].walk)
			wipe(e->typed[part].walk, keep_bytes);
}

void kveil_engine_clear_typed(struct kveil_engine *e)
{
	for (int part = 0; part < KVEIL_TYPED_PARTS; part++) {
		if (e->typed[part].walk)
			kveil_avro_walk_clear(e->typed[part].walk);
		free(e->typed[part].walk);
		e->typed[part].walk = NULL;
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The walk through a value along its program. */
#include "format/avro_walk.h"

#include "base/secret.h"
#include "base/text.h"
#include "format/automaton_internal.h"
#include "format/format.h"

#include <stdlib.h>

enum { EMPTY_ELEMENTS = 1 << 16, MOST_BYTES = 1 << 30 };

/* A pass over one value. */
struct pass {
	struct kveil_avro_walk *w;
	const struct kveil_avro_node *nodes;
	const struct kveil_avro_type *types;
	const uint8_t *base, *p, *end;
	uint32_t depth;
	int64_t empty;  /* elements without a byte that may still come */
	int64_t number; /* read last by long_slow */
	struct kveil_error *err;
	/* of the value at hand, for the tape */
	struct kveil_span name; /* data NULL: an element, the root */
	uint32_t ordinal, parent;
};

static __attribute__((cold, noinline)) bool fail(struct pass *x, enum kveil_status status, const uint8_t *at,
						 const char *what)
{
	kveil_fail_at(x->err, status, (size_t)(at - x->base), "%s", what);
	return false;
}

static __attribute__((cold, noinline)) bool no_memory(struct pass *x)
{
	kveil_no_memory(x->err, "a record");
	return false;
}

static bool grow(struct pass *x, void **items, size_t *cap, size_t size)
{
	struct kveil_allowance *a = x->w->allowance;
	size_t had = *cap, more = kveil_allowance_fit(a, (had ? had : 64) * size, size) / size;

	if (!kveil_allowance_take(a, more * size))
		return no_memory(x);
	void *p = realloc(*items, (had + more) * size);
	if (!p) {
		kveil_allowance_give(a, more * size);
		return no_memory(x);
	}
	*items = p;
	*cap = had + more;
	return true;
}

/* --- integers --- */

static __attribute__((noinline)) bool long_slow(struct pass *x)
{
	const uint8_t *at = x->p;
	uint64_t v = 0;

	for (unsigned shift = 0; shift < 70; shift += 7) {
		if (x->p == x->end)
			return fail(x, KVEIL_E_INVALID_AVRO, x->p, "the value ends too early");
		uint8_t c = *x->p++;
		if (shift == 63 && c > 1)
			break;
		v |= (uint64_t)(c & 0x7f) << shift;
		if (c < 0x80) {
			x->number = (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
			return true;
		}
	}
	return fail(x, KVEIL_E_INVALID_AVRO, at, "a number of more than 64 bits");
}

static inline bool read_long(struct pass *x, int64_t *ret)
{
	if (__builtin_expect(x->p < x->end && *x->p < 0x80, 1)) {
		uint8_t c = *x->p++;
		*ret = (int64_t)(c >> 1) ^ -(int64_t)(c & 1);
		return true;
	}
	if (!long_slow(x))
		return false;
	*ret = x->number;
	return true;
}

static inline bool read_int(struct pass *x)
{
	const uint8_t *at = x->p;
	int64_t v;

	if (!read_long(x, &v))
		return false;
	return __builtin_expect(v >= INT32_MIN && v <= INT32_MAX, 1) ||
	       fail(x, KVEIL_E_INVALID_AVRO, at, "an int of more than 32 bits");
}

static inline bool read_ordinal(struct pass *x, uint32_t count, uint32_t *ret, const char *what)
{
	const uint8_t *at = x->p;
	int64_t v;

	if (!read_long(x, &v))
		return false;
	*ret = (uint32_t)v;
	return __builtin_expect(v >= 0 && v < count, 1) || fail(x, KVEIL_E_INVALID_AVRO, at, what);
}

static inline bool read_branch(struct pass *x, const struct kveil_avro_node *n, uint32_t *ret)
{
	return read_ordinal(x, n->edge_count, ret, "a branch beyond the union");
}

static inline bool skip_bytes(struct pass *x, size_t n)
{
	if (__builtin_expect((size_t)(x->end - x->p) < n, 0))
		return fail(x, KVEIL_E_INVALID_AVRO, x->end, "the value ends too early");
	x->p += n;
	return true;
}

/* A length and what it counts. */
static inline bool read_content(struct pass *x, struct kveil_span *ret)
{
	const uint8_t *at = x->p;
	int64_t n;

	if (!read_long(x, &n))
		return false;
	if (__builtin_expect(n < 0 || n > x->end - x->p, 0))
		return fail(x, KVEIL_E_INVALID_AVRO, at,
			    n < 0 ? "a length below zero" : "a length beyond the end of the value");
	*ret = kveil_span_of(x->p, (size_t)n);
	x->p += n;
	return true;
}

static inline bool check_text(struct pass *x, struct kveil_span text)
{
	if (__builtin_expect(kveil_text_is_ascii(text), 1))
		return true;
	size_t good = kveil_utf8_valid_prefix(text.data, text.len);

	return good == text.len || fail(x, KVEIL_E_INVALID_UTF8, text.data + good, "not UTF-8");
}

static bool read_scalar(struct pass *x, const struct kveil_avro_node *n)
{
	const struct kveil_avro_type *t = &x->types[n->type];
	struct kveil_span content = KVEIL_SPAN_NULL;
	uint32_t symbol;
	int64_t v;

	switch (n->kind) {
	case KVEIL_AVRO_NULL:
		return true;
	case KVEIL_AVRO_BOOLEAN:
		if (x->p<x->end && * x->p> 1)
			return fail(x, KVEIL_E_INVALID_AVRO, x->p, "a boolean that is neither 0 nor 1");
		return skip_bytes(x, 1);
	case KVEIL_AVRO_INT:
		return read_int(x);
	case KVEIL_AVRO_LONG:
		return read_long(x, &v);
	case KVEIL_AVRO_FLOAT:
		return skip_bytes(x, 4);
	case KVEIL_AVRO_DOUBLE:
		return skip_bytes(x, 8);
	case KVEIL_AVRO_BYTES:
		return read_content(x, &content);
	case KVEIL_AVRO_STRING:
		return read_content(x, &content) && ((!n->is_place && !x->w->want_doc) || check_text(x, content));
	case KVEIL_AVRO_FIXED:
		return skip_bytes(x, t->size);
	case KVEIL_AVRO_ENUM:
		return read_ordinal(x, t->member_count, &symbol, "an enum's number beyond its symbols");
	default:
		return fail(x, KVEIL_E_INTERNAL, x->p, "a container taken for a scalar");
	}
}

/* --- the tape --- */

static bool open_node(struct pass *x, enum kveil_kind kind, uint32_t *ret)
{
	struct kveil_avro_walk *w = x->w;
	uint32_t name_start = 0, name_end = 0;
	uint8_t flags = 0;

	if (w->doc.count == w->doc_cap && !grow(x, (void **)&w->doc.nodes, &w->doc_cap, sizeof *w->doc.nodes))
		return false;
	if (x->ordinal)
		kveil_buf_append_byte(&w->text, ',');
	if (x->name.data) {
		bool is_escaped = kveil_json_needs_escape(x->name);
		name_start = (uint32_t)w->text.len;
		kveil_format_by_name(KVEIL_SPAN("json"))->write_text(&w->text, x->name, is_escaped);
		name_end = (uint32_t)w->text.len;
		flags = is_escaped ? KVEIL_NODE_NAME_ESCAPED : 0;
		kveil_buf_append_byte(&w->text, ':');
	}
	*ret = w->doc.count++;
	w->doc.nodes[*ret] = (struct kveil_doc_node){.start = (uint32_t)w->text.len,
						     .name_start = name_start,
						     .name_end = name_end,
						     .next = *ret + 1,
						     .parent = x->parent,
						     .ordinal = x->ordinal,
						     .kind = (uint8_t)kind,
						     .flags = flags};
	if (w->text.len > MOST_BYTES)
		return fail(x, KVEIL_E_TOO_LARGE, x->p, "too large when it is spelled out");
	return kveil_buf_ok(&w->text) || no_memory(x);
}

static void close_node(struct pass *x, uint32_t node, uint32_t children)
{
	struct kveil_doc_node *n = &x->w->doc.nodes[node];

	n->end = (uint32_t)x->w->text.len;
	n->next = x->w->doc.count;
	n->count = children;
}

static void write_base64(struct kveil_buf *out, struct kveil_span bytes)
{
	size_t n = kveil_text_encoded_len(KVEIL_BASE64, bytes.len);
	uint8_t *room = kveil_buf_reserve(out, n + 2);

	if (!room)
		return;
	room[0] = '"';
	kveil_text_encode(KVEIL_BASE64, bytes.data, bytes.len, room + 1);
	room[n + 1] = '"';
	out->len += n + 2;
}

/* A scalar, checked, on the tape. What compares as no number is of kind bytes: in doubt. */
static __attribute__((noinline)) bool spell_scalar(struct pass *x, const struct kveil_avro_node *n,
						   struct kveil_span raw)
{
	enum kveil_kind kind = kveil_avro_value_kind(n->kind);
	struct kveil_avro_walk *w = x->w;
	char room[KVEIL_AVRO_NUMBER_BYTES];
	uint32_t at;

	if (!open_node(x, kind, &at))
		return false;
	struct kveil_span text = kveil_avro_content(w->program, n, raw, room);
	bool is_odd =
	    kind == KVEIL_KIND_NUMBER && text.data && memchr("-0123456789", text.data[text.len - 1], 11) == NULL;
	if (kind == KVEIL_KIND_STRING || is_odd) {
		bool is_escaped = kveil_json_needs_escape(text);
		kveil_format_by_name(KVEIL_SPAN("json"))->write_text(&w->text, text, is_escaped);
		w->doc.nodes[at].flags |= is_escaped ? KVEIL_NODE_VALUE_ESCAPED : 0;
		if (is_odd)
			w->doc.nodes[at].kind = KVEIL_KIND_BYTES;
	} else if (kind == KVEIL_KIND_BYTES) {
		write_base64(&w->text, text);
	} else {
		kveil_buf_append_span(&w->text, text);
	}
	kveil_secret_wipe(room, sizeof room);
	close_node(x, at, 0);
	return kveil_buf_ok(&w->text) || no_memory(x);
}

/* --- the walk --- */

static uint32_t offset(const struct pass *x, const uint8_t *p)
{
	return (uint32_t)(p - x->base);
}

/* The caller fills in the rest before the next one comes; NULL: no memory. Written in place: a struct passed on right
 * after it was filled field by field has to wait for its halves. */
static inline struct kveil_avro_event *push(struct pass *x, enum kveil_avro_event_kind kind, const uint8_t *start)
{
	struct kveil_avro_walk *w = x->w;

	if (__builtin_expect(w->count == w->cap, 0) && !grow(x, (void **)&w->events, &w->cap, sizeof *w->events))
		return NULL;
	struct kveil_avro_event *event = &w->events[w->count++];
	*event = (struct kveil_avro_event){.kind = kind, .start = offset(x, start), .doc_node = w->doc.count};
	return event;
}

/* A value that begins at `value`; branch: where results go, in a union; else NULL. */
static inline struct kveil_avro_event *push_place(struct pass *x, const struct kveil_avro_node *n, const uint8_t *start,
						  const uint8_t *value, const struct kveil_avro_out *branch)
{
	struct kveil_avro_event *event = push(x, KVEIL_AVRO_AT_PLACE, start);

	if (!event)
		return NULL;
	event->value = offset(x, value);
	event->node = n;
	event->out = branch ? branch : &n->out;
	event->has_index = branch || n->makes_union;
	return event;
}

/* All that is in it has been pushed. */
static inline void end_event(struct pass *x, struct kveil_avro_event *event, const uint8_t *end)
{
	event->end = offset(x, end);
	event->behind = (uint32_t)x->w->count;
}

static bool walk(struct pass *x, uint32_t node, const uint8_t *start, const struct kveil_avro_out *branch);

/* How many may come: each takes its bytes, or a place in the budget. */
static bool check_count(struct pass *x, const uint8_t *at, int64_t count, uint64_t min_bytes)
{
	if (min_bytes == 0) {
		x->empty -= count < x->empty + 1 ? count : x->empty + 1;
		return x->empty >= 0 || fail(x, KVEIL_E_TOO_LARGE, at, "too many elements of no bytes");
	}
	uint64_t left = (uint64_t)(x->end - x->p); /* at most MOST_BYTES: nothing overflows */
	return ((uint64_t)count <= left && (uint64_t)count * min_bytes <= left) ||
	       fail(x, KVEIL_E_INVALID_AVRO, at, "more elements than the value has bytes");
}

static const struct kveil_avro_edge *edge_of(const struct kveil_avro_node *n, uint32_t state)
{
	size_t low = 0, high = n->edge_count;

	while (high - low > 1) {
		size_t mid = low + (high - low) / 2;
		if (n->edges[mid].state <= state)
			low = mid;
		else
			high = mid;
	}
	return &n->edges[low];
}

static bool walk_element(struct pass *x, const struct kveil_avro_node *n, uint32_t ordinal)
{
	const struct kveil_automaton_state *s = &x->w->program->automaton->states[n->state];
	const struct kveil_avro_edge *edge = n->edges;
	struct kveil_span key = KVEIL_SPAN_NULL;

	if (n->kind == KVEIL_AVRO_MAP) {
		if (!read_content(x, &key))
			return false;
		if ((n->is_live || x->w->want_doc) && !check_text(x, key))
			return false;
		if (n->edge_count > 1)
			edge = edge_of(n, kveil_automaton_on_plain_name(s, key.data, key.len, key.len));
	} else if (n->edge_count > 1) {
		edge = edge_of(n, kveil_automaton_on_index(s, ordinal));
	}
	x->name = key;
	x->ordinal = ordinal;
	return walk(x, edge->node, x->p, NULL);
}

/* Of an array or a map: so many elements come; with its size, where it says that. */
struct block {
	int64_t count;
	const uint8_t *start, *behind_count;
	const uint8_t *end; /* NULL: it does not say its size */
};

static bool read_size(struct pass *x, struct block *b)
{
	int64_t size;

	if (b->count == INT64_MIN)
		return fail(x, KVEIL_E_INVALID_AVRO, b->start, "a count of more than 63 bits");
	b->count = -b->count;
	if (!read_long(x, &size))
		return false;
	if (size < 0 || size > x->end - x->p)
		return fail(x, KVEIL_E_INVALID_AVRO, b->behind_count, "a block's size beyond the end of the value");
	b->end = x->p + size;
	return true;
}

/* A count of zero ends the array or map. */
static inline bool read_block(struct pass *x, const struct kveil_avro_node *n, struct block *b)
{
	const struct kveil_avro_type *item = &x->types[x->types[n->type].item];

	b->start = x->p;
	b->end = NULL;
	if (!read_long(x, &b->count))
		return false;
	b->behind_count = x->p;
	if (b->count < 0 && !read_size(x, b))
		return false;
	return !b->count || check_count(x, b->start, b->count, (uint64_t)item->min_bytes + (n->kind == KVEIL_AVRO_MAP));
}

static inline bool check_end(struct pass *x, const struct block *b)
{
	return !b->end || x->p == b->end ||
	       fail(x, KVEIL_E_INVALID_AVRO, b->behind_count, "a block is not as long as it says");
}

static bool push_block(struct pass *x, const struct block *b)
{
	struct kveil_avro_event *event = push(x, KVEIL_AVRO_AT_BLOCK, b->start);

	if (!event)
		return false;
	event->value = offset(x, b->behind_count);
	event->end = offset(x, x->p);
	return true;
}

static bool walk_block(struct pass *x, const struct kveil_avro_node *n, const struct block *b, uint32_t tape,
		       uint32_t *ordinal)
{
	bool is_told = b->end && n->is_live;

	if (is_told && !push_block(x, b))
		return false;
	for (int64_t i = 0; i < b->count; i++) {
		x->parent = tape;
		if (!walk_element(x, n, (*ordinal)++))
			return false;
	}
	return check_end(x, b) && (!is_told || push(x, KVEIL_AVRO_AT_BLOCK_END, x->p));
}

static bool walk_blocks(struct pass *x, const struct kveil_avro_node *n, uint32_t tape, uint32_t *ret_children)
{
	struct block b;

	*ret_children = 0;
	for (;;) {
		if (!read_block(x, n, &b))
			return false;
		if (!b.count)
			return true;
		if (!walk_block(x, n, &b, tape, ret_children))
			return false;
	}
}

static inline bool enter(struct pass *x, const uint8_t *at)
{
	if (x->depth == x->w->max_depth)
		return fail(x, KVEIL_E_TOO_DEEP, at, "nested too deep");
	x->depth++;
	return true;
}

static inline bool leave(struct pass *x, const struct kveil_avro_node *n, const uint8_t *start, const uint8_t *end)
{
	uint32_t fields = n->step_count > n->edge_count ? n->step_count : n->edge_count;

	x->depth--;
	/* Records of records of nulls take time and no bytes. */
	if (end == start && (x->empty -= fields) < 0)
		return fail(x, KVEIL_E_TOO_LARGE, start, "too many fields of no bytes");
	return true;
}

/* Records are most of a walk. What follows takes a position and gives the next, or NULL for a failure: from one field
 * to the next by way of pass.p takes twice as long. */

static const uint8_t *walk_fields(struct pass *x, const struct kveil_avro_node *n, const uint8_t *p, int64_t times);

/* Field by field: so deep that one of the records that give their fields is too deep. */
static __attribute__((cold, noinline)) const uint8_t *walk_apart(struct pass *x, const struct kveil_avro_node *n,
								 const uint8_t *p)
{
	bool ok = enter(x, p);

	x->p = p;
	for (uint32_t i = 0; ok && i < n->edge_count; i++)
		ok = walk(x, n->edges[i].node, x->p, NULL);
	return ok && leave(x, n, p, x->p) ? x->p : NULL;
}

static inline const uint8_t *walk_record(struct pass *x, const struct kveil_avro_node *n, const uint8_t *p)
{
	if (__builtin_expect(x->depth + n->deep >= x->w->max_depth, 0))
		return walk_apart(x, n, p);
	x->depth++;
	const uint8_t *end = walk_fields(x, n, p, 1);
	return end && leave(x, n, p, end) ? end : NULL;
}

/* A length of two bytes at most, which is nearly all, without a loop. */
static inline const uint8_t *take_content(struct pass *x, const uint8_t *p, struct kveil_span *ret)
{
	size_t left = (size_t)(x->end - p), head = 1, length = SIZE_MAX;

	if (__builtin_expect(left && !(p[0] & 0x81), 1)) {
		length = p[0] / 2u;
	} else if (left > 1 && !(p[0] & 1) && p[1] < 0x80) {
		head = 2;
		length = ((p[0] & 0x7fu) | (size_t)p[1] << 7) / 2;
	}
	if (__builtin_expect(length < left && length <= left - head, 1)) {
		*ret = kveil_span_of(p + head, length);
		return p + head + length;
	}
	x->p = p;
	return read_content(x, ret) ? x->p : NULL;
}

/* A string that is a place. */
static inline const uint8_t *walk_text(struct pass *x, const struct kveil_avro_node *n, const uint8_t *p)
{
	struct kveil_span content = KVEIL_SPAN_NULL;
	const uint8_t *end = take_content(x, p, &content);

	if (!end || !check_text(x, content))
		return NULL;
	struct kveil_avro_event *event = push_place(x, n, p, p, NULL);
	if (!event)
		return NULL;
	end_event(x, event, end);
	return end;
}

/* A step that the first byte does not tell of. */
static __attribute__((noinline)) const uint8_t *look(struct pass *x, const struct kveil_avro_step *step,
						     const uint8_t *p)
{
	struct kveil_span content;
	bool ok = false;
	int64_t v;

	x->p = p;
	x->depth += step->depth;
	switch (step->kind) {
	case KVEIL_AVRO_STEP_BYTES:
		ok = skip_bytes(x, step->bytes);
		break;
	case KVEIL_AVRO_STEP_INT:
		ok = read_int(x) && skip_bytes(x, step->bytes - 1);
		break;
	case KVEIL_AVRO_STEP_LONG:
		ok = read_long(x, &v) && skip_bytes(x, step->bytes - 1);
		break;
	case KVEIL_AVRO_STEP_CONTENT:
		ok = read_content(x, &content) && skip_bytes(x, step->bytes - 1);
		break;
	default:
		ok = walk(x, step->node, p, NULL);
	}
	x->depth -= step->depth;
	return ok ? x->p : NULL;
}

/* The fields of so many records. Most are of no interest. */
static const uint8_t *walk_fields(struct pass *x, const struct kveil_avro_node *n, const uint8_t *p, int64_t times)
{
	const uint8_t *const end = x->end;
	const struct kveil_avro_step *const steps = n->steps, *const behind = steps + n->step_count;

	for (const struct kveil_avro_step *step = steps;; step++) {
		if (step == behind) {
			if (--times <= 0)
				return p;
			step = steps;
		}
		uint8_t first = p < end ? *p : 0;
		size_t bytes = step->bytes + (size_t)(first & step->counted) / 2;
		if (__builtin_expect(!(first & step->odd) && bytes <= (size_t)(end - p), 1)) {
			p += bytes;
			continue;
		}
		bool is_text = step->kind == KVEIL_AVRO_STEP_TEXT;
		p = is_text ? walk_text(x, &x->nodes[step->node], p) : look(x, step, p);
		if (!p)
			return NULL;
	}
}

/* Back to pass.p. */
static inline bool arrive(struct pass *x, const uint8_t *p)
{
	if (p)
		x->p = p;
	return p != NULL;
}

static bool tell_fields(struct pass *x, const struct kveil_avro_node *n, uint32_t tape)
{
	for (uint32_t i = 0; i < n->edge_count; i++) {
		x->name = x->types[n->type].members[i].name;
		x->ordinal = i;
		x->parent = tape;
		if (!walk(x, n->edges[i].node, x->p, NULL))
			return false;
	}
	return true;
}

/* With its nodes on the tape. */
static bool tell_container(struct pass *x, const struct kveil_avro_node *n)
{
	bool is_array = n->kind == KVEIL_AVRO_ARRAY;
	uint32_t at = 0, children = n->edge_count;

	if (!open_node(x, kveil_avro_value_kind(n->kind), &at))
		return false;
	kveil_buf_append_byte(&x->w->text, is_array ? '[' : '{');
	if (n->kind == KVEIL_AVRO_RECORD ? !tell_fields(x, n, at) : !walk_blocks(x, n, at, &children))
		return false;
	kveil_buf_append_byte(&x->w->text, is_array ? ']' : '}');
	close_node(x, at, children);
	return true;
}

static bool walk_container(struct pass *x, const struct kveil_avro_node *n)
{
	const uint8_t *start = x->p;
	uint32_t children;

	if (n->kind == KVEIL_AVRO_RECORD && !x->w->want_doc)
		return arrive(x, walk_record(x, n, start));
	return enter(x, start) && (x->w->want_doc ? tell_container(x, n) : walk_blocks(x, n, 0, &children)) &&
	       leave(x, n, start, x->p);
}

/* --- what no rule is about: checked and passed over --- */

static bool pass_value(struct pass *x, const struct kveil_avro_node *n);

static bool pass_records(struct pass *x, const struct kveil_avro_node *n, int64_t count)
{
	const uint8_t *p = x->p;

	if (x->types[n->type].min_bytes && x->depth + n->deep < x->w->max_depth) {
		x->depth++;
		p = walk_fields(x, n, p, count);
		x->depth--;
		return arrive(x, p);
	}
	for (; p && count > 0; count--)
		p = walk_record(x, n, p);
	return arrive(x, p);
}

static bool pass_entries(struct pass *x, const struct kveil_avro_node *n, int64_t count)
{
	struct kveil_span key;

	for (; count > 0; count--)
		if (!read_content(x, &key) || !pass_value(x, n))
			return false;
	return true;
}

static bool pass_elements(struct pass *x, const struct kveil_avro_node *n, int64_t count)
{
	for (; count > 0; count--)
		if (!pass_value(x, n))
			return false;
	return true;
}

static bool pass_blocks(struct pass *x, const struct kveil_avro_node *n)
{
	const struct kveil_avro_node *item = &x->nodes[n->edges[0].node];
	struct block b;

	for (;;) {
		if (!read_block(x, n, &b))
			return false;
		if (!b.count)
			return true;
		bool ok = n->kind == KVEIL_AVRO_MAP         ? pass_entries(x, item, b.count)
			  : item->kind == KVEIL_AVRO_RECORD ? pass_records(x, item, b.count)
							    : pass_elements(x, item, b.count);
		if (!ok || !check_end(x, &b))
			return false;
	}
}

static bool pass_union(struct pass *x, const struct kveil_avro_node *n)
{
	uint32_t index;

	return read_branch(x, n, &index) && pass_value(x, &x->nodes[n->edges[index].node]);
}

static bool pass_value(struct pass *x, const struct kveil_avro_node *n)
{
	const uint8_t *start = x->p;

	if (n->kind == KVEIL_AVRO_RECORD)
		return arrive(x, walk_record(x, n, start));
	if (n->kind < KVEIL_AVRO_ARRAY)
		return read_scalar(x, n);
	if (n->kind == KVEIL_AVRO_UNION)
		return pass_union(x, n);
	return enter(x, start) && pass_blocks(x, n) && leave(x, n, start, x->p);
}

/* --- what rules are about --- */

static bool push_index(struct pass *x, const uint8_t *start, const struct kveil_avro_out *out)
{
	struct kveil_avro_event *event = push(x, KVEIL_AVRO_AT_INDEX, start);

	if (!event)
		return false;
	event->value = event->end = offset(x, x->p);
	event->out = out;
	event->has_index = true;
	return true;
}

static bool walk_union(struct pass *x, const struct kveil_avro_node *n, const uint8_t *start)
{
	uint32_t index;

	if (!read_branch(x, n, &index))
		return false;
	const struct kveil_avro_edge *edge = &n->edges[index];
	const struct kveil_avro_node *branch = &x->nodes[edge->node];
	bool moves = !branch->is_place && edge->out.keep != (int32_t)index;
	if (moves && !n->is_gone && !push_index(x, start, &edge->out))
		return false;
	return walk(x, edge->node, start, &edge->out);
}

static bool walk_scalar(struct pass *x, const struct kveil_avro_node *n)
{
	const uint8_t *value = x->p;

	return read_scalar(x, n) &&
	       (!x->w->want_doc || spell_scalar(x, n, kveil_span_of(value, (size_t)(x->p - value))));
}

static bool walk_value(struct pass *x, const struct kveil_avro_node *n, const uint8_t *start)
{
	if (n->kind == KVEIL_AVRO_UNION)
		return walk_union(x, n, start);
	return n->kind < KVEIL_AVRO_ARRAY ? walk_scalar(x, n) : walk_container(x, n);
}

/* With its events. */
static bool walk_place(struct pass *x, const struct kveil_avro_node *n, const uint8_t *start,
		       const struct kveil_avro_out *branch)
{
	bool is_gone = n->is_gone && !branch;
	size_t first = x->w->count, place = first + is_gone;

	if (is_gone && !push(x, KVEIL_AVRO_AT_GONE, start))
		return false;
	if (n->is_place && !push_place(x, n, start, x->p, branch))
		return false;
	if (!walk_value(x, n, start))
		return false;
	if (n->is_place)
		end_event(x, &x->w->events[place], x->p);
	if (is_gone)
		end_event(x, &x->w->events[first], x->p);
	return true;
}

/* start: where the slot begins, in front of the union's index. branch: where results go, in a union; else NULL. */
static bool walk(struct pass *x, uint32_t node, const uint8_t *start, const struct kveil_avro_out *branch)
{
	const struct kveil_avro_node *n = &x->nodes[node];

	if (n->kind == KVEIL_AVRO_RECORD && !n->is_place && !n->is_gone && !x->w->want_doc)
		return arrive(x, walk_record(x, n, x->p));
	if (!n->is_live && !x->w->want_doc)
		return pass_value(x, n);
	return n->is_place || n->is_gone ? walk_place(x, n, start, branch) : walk_value(x, n, start);
}

enum kveil_status kveil_avro_walk(struct kveil_avro_walk *w, struct kveil_span value, struct kveil_error *err)
{
	const struct kveil_avro_program *p = w->program;
	const uint8_t *start = value.data ? value.data : kveil_buf_nothing;
	struct kveil_error scrap;
	size_t max = w->max_bytes < MOST_BYTES ? w->max_bytes : MOST_BYTES;
	struct pass x = {.w = w,
			 .nodes = p->nodes,
			 .types = p->schema->types,
			 .base = start,
			 .p = start,
			 .end = start + value.len,
			 .empty = EMPTY_ELEMENTS + (int64_t)value.len,
			 .err = err ? err : &scrap,
			 .parent = UINT32_MAX};

	w->count = 0;
	w->doc.count = 0;
	w->doc.root = 0;
	if (w->text.len)
		kveil_secret_wipe(w->text.data, w->text.len);
	kveil_buf_reset(&w->text);
	if (value.len > max)
		return kveil_fail_at(err, KVEIL_E_TOO_LARGE, max, "%zu bytes; at most %zu are taken", value.len, max);
	bool ok = walk(&x, 0, start, NULL);
	if (ok && x.p != x.end)
		ok = fail(&x, KVEIL_E_INVALID_AVRO, x.p, "something behind the value");
	if (ok && !kveil_buf_ok(&w->text))
		ok = no_memory(&x);
	w->doc.text = kveil_buf_span(&w->text);
	return ok ? KVEIL_OK : x.err->status;
}

void kveil_avro_walk_clear(struct kveil_avro_walk *w)
{
	kveil_allowance_give(w->allowance, w->cap * sizeof *w->events + w->doc_cap * sizeof *w->doc.nodes);
	free(w->events);
	free(w->doc.nodes);
	kveil_buf_clear(&w->text);
	w->events = NULL;
	w->doc.nodes = NULL;
	w->count = w->cap = w->doc_cap = 0;
	w->doc.count = 0;
}

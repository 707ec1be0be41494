/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts that hold JSON, which paths go on in:
 *
 *   {"payload":"{\"phone\":\"138\"}"}   the part, a tape of its own
 *              └ {"phone":"138"} ┘      the text's content, scanned with a tape of its own; edits in there
 *              are moved and escaped to edits of the line above, so that all else keeps its bytes.
 */
#include "base/text.h"
#include "engine/internal.h"
#include "path/cursor.h"

enum { TEXT_BYTES = 4 }; /* of a text that go for one unit of work (KVEIL_PATH_WORK) */

size_t kveil_text_entries(const struct kveil_path *path)
{
	size_t n = 0;

	for (size_t i = 0; i < path->count; i++)
		n += path->segments[i].enters;
	return n;
}

size_t kveil_text_begin(const struct kveil_path *path, unsigned stage)
{
	size_t at = 0, entries = stage < KVEIL_STAGE_STEP ? 0 : stage - KVEIL_STAGE_STEP + 1;

	if (!entries)
		return 0;
	while (at < path->count && (!path->segments[at].enters || --entries))
		at++;
	return at;
}

const struct kveil_path *kveil_text_slice(struct kveil_engine *e, const struct kveil_path *path, size_t begin,
					  size_t end)
{
	struct kveil_path *p = kveil_arena_alloc(&e->bound, sizeof *p);

	if (p)
		*p = (struct kveil_path){.segments = path->segments + begin, .count = end - begin};
	return p;
}

const struct kveil_path *kveil_text_stretch(struct kveil_engine *e, const struct kveil_path *path, unsigned from,
					    unsigned to)
{
	return kveil_text_slice(e, path, kveil_text_begin(path, from), kveil_text_begin(path, to));
}

/* Scans what one more layer of text holds. *ret_text: the string that is all of it; data NULL = it is something else.
 */
static enum kveil_status open_layer(struct kveil_engine *e, struct kveil_scan *s, struct kveil_opened *t,
				    struct kveil_span content, struct kveil_span *ret_text, struct kveil_error *err)
{
	struct kveil_error bad;

	*ret_text = KVEIL_SPAN_NULL;
	e->work -= (int64_t)(content.len / TEXT_BYTES) + 1;
	if (e->work < 0)
		return kveil_fail(err, KVEIL_E_TOO_COMPLEX, "looking into the texts of this record takes too long");
	enum kveil_status st = kveil_format_by_name(KVEIL_SPAN("json"))->scan(s, content, &bad);
	if (kveil_status_class(st) != KVEIL_CLASS_NONE && kveil_status_class(st) != KVEIL_CLASS_RECORD) {
		*err = bad;
		return st;
	}
	t->state = st == KVEIL_E_EMPTY_VALUE ? KVEIL_TEXT_IS_EMPTY : st ? KVEIL_TEXT_IS_BROKEN : KVEIL_TEXT_IS_JSON;
	t->why = st == KVEIL_E_TOO_DEEP ? "a text that a rule looks into is nested too deeply"
					: "a text that a rule looks into holds no JSON";
	if (t->state != KVEIL_TEXT_IS_JSON || s->doc.nodes[0].kind != KVEIL_KIND_STRING)
		return KVEIL_OK;
	const struct kveil_doc_node *root = &s->doc.nodes[0];
	*ret_text = kveil_span_of(content.data + root->start, root->end - root->start);
	return KVEIL_OK;
}

/* Bytes, as JSON has them. */
static enum kveil_status decode(struct kveil_engine *e, struct kveil_scan *s, struct kveil_opened *t,
				struct kveil_error *err)
{
	struct kveil_span raw = t->layers[0].raw, next;
	uint8_t *bytes = kveil_arena_alloc(&e->arena, raw.len);
	size_t n = 0;

	if (!bytes)
		return kveil_no_memory(err, "a record");
	if (!kveil_text_decode(KVEIL_BASE64, raw.data + 1, raw.len - 2, bytes, &n) || !n)
		return KVEIL_OK;
	enum kveil_status st = open_layer(e, s, t, kveil_span_of(bytes, n), &next, err);
	if (!st && t->state == KVEIL_TEXT_IS_JSON && s->doc.nodes[0].kind != KVEIL_KIND_OBJECT)
		t->state = KVEIL_TEXT_IS_BROKEN;
	t->layers[0].decoded = kveil_span_of(bytes, n);
	t->layer_count = 1;
	return st;
}

enum kveil_status kveil_text_open(struct kveil_engine *e, const struct kveil_spot *spot, unsigned level, unsigned how,
				  struct kveil_opened *ret, struct kveil_error *err)
{
	struct kveil_scan *s = &e->levels[level].scan;
	const struct kveil_match *m = &spot->match;
	struct kveil_span raw = {spot->text.data + m->start, m->end - m->start};
	uint32_t at = m->start;
	enum kveil_status st = KVEIL_OK;

	*ret = (struct kveil_opened){.state = KVEIL_TEXT_IS_BROKEN, .why = "too many texts within each other"};
	s->automaton = e->parts[spot->part].text_automaton;
	while (!st && raw.data && ret->layer_count < KVEIL_MOST_TEXTS) {
		struct kveil_span content = kveil_engine_unquote(e, raw), next;
		if (!content.data)
			return kveil_no_memory(err, "a record");
		ret->layers[ret->layer_count].raw = raw;
		ret->layers[ret->layer_count++].at = at;
		st = open_layer(e, s, ret, content, &next, err);
		at = next.data ? (uint32_t)(next.data - content.data) : 0;
		raw = how & KVEIL_TEXT_IS_VALUE ? KVEIL_SPAN_NULL : next;
	}
	if (!st && raw.data) {
		ret->state = KVEIL_TEXT_IS_BROKEN;
		ret->why = "too many texts within each other";
	}
	if (!st && ret->state == KVEIL_TEXT_IS_BROKEN && how & KVEIL_TEXT_DECODES && ret->layer_count == 1)
		st = decode(e, s, ret, err);
	return st;
}

static size_t utf8_bytes(uint32_t c)
{
	return c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
}

/* Moves the cursor on to where the content has come to `to`. */
static void advance(struct kveil_text_cursor *c, uint32_t *content, uint32_t to)
{
	while (*content < to && c->at < c->end)
		*content += (uint32_t)utf8_bytes(kveil_cursor_next(c));
}

/* The edit's bytes as they stand in a string. */
static bool escape_edit(struct kveil_engine *e, struct kveil_edit *d)
{
	struct kveil_span piece = {e->pieces.data + d->offset, d->len};

	if (!d->len || !kveil_json_needs_escape(piece))
		return true;
	/* A copy: the buffer that it stands in grows. */
	uint8_t *copy = kveil_arena_alloc(&e->arena, piece.len);
	if (!copy)
		return false;
	memcpy(copy, piece.data, piece.len);
	d->offset = e->pieces.len + 1;
	kveil_json_write_text(&e->pieces, kveil_span_of(copy, piece.len));
	d->len = e->pieces.len - d->offset - 1; /* without its quotes */
	return kveil_buf_ok(&e->pieces);
}

/* Bytes have no place in the text that stands for them: all of it is written anew. */
static bool map_decoded(struct kveil_engine *e, const struct kveil_opened *t, struct kveil_edits *edits)
{
	struct kveil_span from = t->layers[0].decoded;
	size_t len = from.len, at = 0, used = 0;

	for (size_t i = 0; i < edits->count; i++)
		len += edits->items[i].len;
	uint8_t *whole = kveil_arena_alloc(&e->arena, len);
	if (!whole || !edits->count)
		return whole != NULL;
	for (size_t i = 0; i <= edits->count; i++) {
		const struct kveil_edit *d = i < edits->count ? &edits->items[i] : NULL;
		size_t gap = (d ? d->start : from.len) - at;
		memcpy(whole + used, from.data + at, gap);
		used += gap;
		if (d && d->len)
			memcpy(whole + used, e->pieces.data + d->offset, d->len);
		used += d ? d->len : 0;
		at = d ? d->end : at;
	}
	struct kveil_edit *one = &edits->items[0];
	size_t coded = kveil_text_encoded_len(KVEIL_BASE64, used);
	uint8_t *text = kveil_buf_reserve(&e->pieces, coded + 1);
	if (!text)
		return false;
	kveil_text_encode(KVEIL_BASE64, whole, used, text);
	*one = (struct kveil_edit){t->layers[0].at + 1, t->layers[0].at + (uint32_t)t->layers[0].raw.len - 1,
				   e->pieces.len, coded};
	e->pieces.len += coded;
	edits->count = 1;
	return true;
}

bool kveil_text_map(struct kveil_engine *e, const struct kveil_opened *t, struct kveil_edits *edits)
{
	if (t->layers[0].decoded.data)
		return map_decoded(e, t, edits);
	for (unsigned k = t->layer_count; k-- > 0;) {
		struct kveil_span raw = t->layers[k].raw;
		struct kveil_text_cursor c = kveil_cursor_of(kveil_span_of(raw.data + 1, raw.len - 2), true);
		uint32_t content = 0;
		for (size_t i = 0; i < edits->count; i++) {
			struct kveil_edit *d = &edits->items[i];
			advance(&c, &content, d->start);
			d->start = t->layers[k].at + (uint32_t)(c.at - raw.data);
			advance(&c, &content, d->end);
			d->end = t->layers[k].at + (uint32_t)(c.at - raw.data);
			if (!escape_edit(e, d))
				return false;
		}
	}
	return true;
}

/* Of what leads to the text at the spot, the bindings of b's rule that lead to b's stage. */
static const uint32_t *find_ways(const struct kveil_engine *e, const struct kveil_spot *text,
				 const struct kveil_bound_rule *b, size_t *ret_count)
{
	size_t first = 0;

	*ret_count = 0;
	for (size_t i = 0; i < text->way_count; i++) {
		uint32_t id = text->ways[i];
		if (id >= e->rule_count || e->rules[id].rule != b->rule || e->rules[id].way != b->from)
			continue;
		first = *ret_count ? first : i;
		*ret_count = i - first + 1;
	}
	return text->ways + first;
}

uint32_t kveil_text_row_way(const struct kveil_engine *e, const struct kveil_spot *spot,
			    const struct kveil_bound_rule *b)
{
	size_t count;

	return find_ways(e, spot->outer, b, &count)[0];
}

const struct kveil_spot *kveil_text_row_place(const struct kveil_engine *e, const struct kveil_spot *spot,
					      const uint32_t **bindings, size_t *count)
{
	while (e->rules[(*bindings)[0]].from >= KVEIL_STAGE_STEP) {
		spot = spot->outer;
		*bindings = find_ways(e, spot, &e->rules[(*bindings)[0]], count);
	}
	return spot;
}

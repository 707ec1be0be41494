/* SPDX-License-Identifier: Apache-2.0 */
/* A text with members, in one pass or by its tape, with the schema inline that it may have. */
#include "engine/connect.h"
#include "engine/internal.h"

enum kveil_status kveil_engine_run_payload(struct kveil_engine *e, enum kveil_part part, enum kveil_text to,
					   struct kveil_span text, struct kveil_span *results, struct kveil_error *err)
{
	struct kveil_bound_part *p = &e->parts[part];
	struct kveil_buf *outs[KVEIL_MAX_VIEWS];
	bool written[KVEIL_MAX_VIEWS], give_up = true;
	enum kveil_status st = KVEIL_OK;

	for (size_t v = 0; v < e->view_count; v++) {
		outs[v] = &e->views[v].texts[to];
		written[v] = false;
	}
	if (p->can_stream && !e->trace) {
		st = kveil_engine_stream(e, part, text, outs[0], &written[0], &give_up, err);
	}
	if (!st && give_up)
		st = kveil_engine_decide(e, part, text, outs, written, err);
	for (size_t v = 0; !st && v < e->view_count; v++)
		results[v] = written[v] ? kveil_buf_span(outs[v]) : text;
	return st;
}

/* Behind what names its schema. */
static enum kveil_status join_frame(const struct kveil_connect_split *s, struct kveil_buf *out, struct kveil_span *ret,
				    struct kveil_error *err)
{
	struct kveil_span frame = {s->text.data - s->frame.len, s->frame.len};

	if (ret->data == s->text.data) {
		*ret = kveil_span_of(frame.data, frame.len + s->text.len);
		return KVEIL_OK;
	}
	kveil_buf_reset(out);
	kveil_buf_append_span(out, frame);
	kveil_buf_append_span(out, *ret);
	*ret = kveil_buf_span(out);
	return kveil_buf_ok(out) ? KVEIL_OK : kveil_no_memory(err, "a record");
}

enum kveil_status kveil_engine_run_document(struct kveil_engine *e, enum kveil_part part, enum kveil_text to,
					    const struct kveil_connect_split *s, struct kveil_span *results,
					    struct kveil_error *err)
{
	e->has_schema = s->schema != NULL;
	e->keeps_types = s->frame.keeps_types;
	enum kveil_status st = kveil_engine_run_payload(e, part, to, s->payload, results, err);
	e->has_schema = e->keeps_types = false;
	if (st && err->byte != KVEIL_NO_BYTE)
		err->byte += (size_t)(s->payload.data - s->text.data);
	for (size_t v = 0; !st && v < e->view_count; v++)
		st = kveil_connect_join(e, s, v, results[v], &e->views[v].wholes[to], &results[v], err);
	for (size_t v = 0; !st && s->frame.len && v < e->view_count; v++)
		st = join_frame(s, &e->views[v].wholes[to], &results[v], err);
	return st;
}

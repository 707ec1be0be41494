/* SPDX-License-Identifier: Apache-2.0 */
/* Text and bytes: the whole part is one value; its only path is $. */
#include "base/text.h"
#include "format/automaton_internal.h"
#include "format/format.h"
#include "format/part.h"

#include <stdlib.h>

static enum kveil_status scan_whole(struct kveil_scan *s, struct kveil_span text, enum kveil_kind kind,
				    struct kveil_error *err)
{
	size_t max = s->max_bytes < UINT32_MAX ? s->max_bytes : UINT32_MAX - 1;

	s->match_count = s->trail_count = 0;
	s->doc.count = 0;
	s->doc.text = text;
	if (text.len > max)
		return kveil_fail_at(err, KVEIL_E_TOO_LARGE, max, "%zu bytes; at most %zu are taken", text.len, max);
	if (!s->match_cap) {
		s->matches = calloc(1, sizeof *s->matches);
		if (!s->matches)
			return kveil_no_memory(err, "a record");
		s->match_cap = 1;
	}
	if (s->automaton && s->automaton->states[s->automaton->start].accept_count)
		s->matches[s->match_count++] = (struct kveil_match){.end = (uint32_t)text.len,
								    .state = s->automaton->start,
								    .trail = KVEIL_NO_TRAIL,
								    .kind = (uint8_t)kind};
	return KVEIL_OK;
}

static enum kveil_status bytes_scan(struct kveil_scan *s, struct kveil_span text, struct kveil_error *err)
{
	return scan_whole(s, text, KVEIL_KIND_BYTES, err);
}

static enum kveil_status text_scan(struct kveil_scan *s, struct kveil_span text, struct kveil_error *err)
{
	enum kveil_status st = scan_whole(s, text, KVEIL_KIND_STRING, err);
	size_t good = st ? 0 : kveil_utf8_valid_prefix(text.data, text.len);

	return st || good == text.len ? st : kveil_fail_at(err, KVEIL_E_INVALID_UTF8, good, "not UTF-8");
}

static void text_write_text(struct kveil_buf *out, struct kveil_span content, bool needs_escape)
{
	(void)needs_escape;
	kveil_buf_append_span(out, content);
}

const struct kveil_format kveil_format_text = {
    .name = "text",
    .parts = 1u << KVEIL_PART_VALUE | 1u << KVEIL_PART_KEY | 1u << KVEIL_PART_HEADER,
    .has_paths = false,
    .help = "one UTF-8 string",
    .scan = text_scan,
    .write_text = text_write_text,
    .null_text = KVEIL_SPAN_NULL,
};

const struct kveil_format kveil_format_bytes = {
    .name = "bytes",
    .parts = 1u << KVEIL_PART_VALUE,
    .has_paths = false,
    .has_bytes = true,
    .help = "bytes of any kind, taken whole",
    .scan = bytes_scan,
    .write_text = text_write_text,
    .null_text = KVEIL_SPAN_NULL,
};

/* SPDX-License-Identifier: Apache-2.0 */
/* What a path's shape alone tells, and normalized paths (RFC 9535 section 2.7). */
#include "path/path.h"

bool kveil_path_is_streamable(const struct kveil_path *p)
{
	for (size_t i = 0; i < p->count; i++)
		for (size_t j = 0; j < p->segments[i].count; j++) {
			const struct kveil_selector *s = &p->segments[i].selectors[j];
			if (s->kind == KVEIL_SEL_SLICE || s->kind == KVEIL_SEL_FILTER ||
			    (s->kind == KVEIL_SEL_INDEX && s->index < 0))
				return false;
		}
	return true;
}

bool kveil_path_is_fixed(const struct kveil_path *p)
{
	for (size_t i = 0; i < p->count; i++) {
		const struct kveil_segment *segment = &p->segments[i];
		if (segment->descendant || segment->count != 1)
			return false;
		enum kveil_selector_kind kind = segment->selectors[0].kind;
		/* A wildcard or a filter finds members as well as elements; a slice finds elements only. */
		if (kind != KVEIL_SEL_NAME && kind != KVEIL_SEL_INDEX && kind != KVEIL_SEL_SLICE)
			return false;
	}
	return true;
}

void kveil_path_write_name(struct kveil_span name, struct kveil_buf *out)
{
	static const char from[] = "\b\t\n\f\r'\\", to[] = "btnfr'\\";

	kveil_buf_append_str(out, "['");
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = name.data[i];
		const char *escape = c ? strchr(from, c) : NULL;
		if (escape) {
			kveil_buf_append_byte(out, '\\');
			kveil_buf_append_byte(out, (uint8_t)to[escape - from]);
		} else if (c < 0x20) {
			kveil_buf_printf(out, "\\u%04x", c);
		} else {
			kveil_buf_append_byte(out, c);
		}
	}
	kveil_buf_append_str(out, "']");
}

void kveil_path_write_normalized(const struct kveil_path *p, struct kveil_buf *out)
{
	kveil_buf_append_byte(out, '$');
	for (size_t i = 0; i < p->count; i++) {
		const struct kveil_selector *s = &p->segments[i].selectors[0];
		if (s->kind == KVEIL_SEL_NAME)
			kveil_path_write_name(s->name, out);
		else
			kveil_buf_append_str(out, "[*]");
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Strings as JSON has them: quotes, and escapes where there must be some. */
#include "format/format.h"
#include "format/json_chars.h"

bool kveil_json_needs_escape(struct kveil_span content)
{
	const uint8_t *p = content.data, *end = p + content.len;

	while ((p = kveil_json_plain_end(p, end)) < end) {
		if (*p < 0x80)
			return true;
		p++;
	}
	return false;
}

void kveil_json_write_string(struct kveil_buf *out, struct kveil_span content, bool needs_escape)
{
	static const char short_escapes[0x20] = {['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't'};
	static const char hex[] = "0123456789abcdef";

	kveil_buf_append_byte(out, '"');
	if (!needs_escape) {
		kveil_buf_append_span(out, content);
		kveil_buf_append_byte(out, '"');
		return;
	}
	for (size_t i = 0; i < content.len; i++) {
		uint8_t c = content.data[i];
		if (c == '"' || c == '\\') {
			kveil_buf_append(out, (uint8_t[]){'\\', c}, 2);
		} else if (c >= 0x20) {
			kveil_buf_append_byte(out, c);
		} else if (short_escapes[c]) {
			kveil_buf_append(out, (uint8_t[]){'\\', (uint8_t)short_escapes[c]}, 2);
		} else {
			uint8_t unit[6] = {'\\', 'u', '0', '0', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};
			kveil_buf_append(out, unit, sizeof unit);
		}
	}
	kveil_buf_append_byte(out, '"');
}

void kveil_json_write_text(struct kveil_buf *out, struct kveil_span content)
{
	kveil_json_write_string(out, content, kveil_json_needs_escape(content));
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Names of members, as the record has them between quotes. */
#include "engine/internal.h"

struct kveil_span kveil_engine_unquote(struct kveil_engine *e, struct kveil_span raw)
{
	struct kveil_span inner = {raw.data + 1, raw.len - 2};

	if (!memchr(inner.data, '\\', inner.len))
		return inner;
	uint8_t *plain = kveil_arena_alloc(&e->arena, inner.len);
	return kveil_span_of(plain, plain ? kveil_json_unescape(inner, plain) : 0);
}

struct kveil_span kveil_engine_name_of(struct kveil_engine *e, const struct kveil_doc *doc, uint32_t node)
{
	const struct kveil_doc_node *n = &doc->nodes[node];

	return kveil_engine_unquote(e, kveil_span_of(doc->text.data + n->name_start, n->name_end - n->name_start));
}

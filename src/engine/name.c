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

/* SPDX-License-Identifier: Apache-2.0 */
/* About how much memory schemas take: enough to bound what is kept. */
#include "format/avro_program.h"

enum { JSON_FACTOR = 12 /* a tree of jansson's takes so much of its text */ };

size_t kveil_avro_schema_memory(const struct kveil_avro_schema *s)
{
	return sizeof *s + s->count * sizeof *s->types + kveil_arena_bytes(&s->arena) + JSON_FACTOR * s->text.len;
}

size_t kveil_avro_program_memory(const struct kveil_avro_program *p)
{
	return sizeof *p + p->count * sizeof *p->nodes + kveil_arena_bytes(&p->arena);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Values that were sealed whole, opened. */
#include "format/avro_walk.h"
#include "format/avro_whole.h"

#include <stdlib.h>

struct kveil_avro_opener {
	uint64_t fingerprint;
	struct kveil_avro_schema *schema;
	struct kveil_automaton *none;
	struct kveil_avro_program *program; /* of no rules */
};

static struct kveil_avro_effect no_effect(void *user, const struct kveil_avro_node *node, const uint32_t *ids,
					  size_t count)
{
	(void)user, (void)node, (void)ids, (void)count;
	return (struct kveil_avro_effect){.keeps = true, .sole = KVEIL_AVRO_NO_RULE};
}

enum kveil_status kveil_avro_opener_new(const struct kveil_avro_schema *s, uint32_t type,
					struct kveil_avro_whole_budget *budget, struct kveil_avro_opener **ret,
					struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_avro_opener *o = calloc(1, sizeof *o);

	*ret = NULL;
	if (!o)
		return kveil_no_memory(err, "a schema");
	enum kveil_status st = kveil_avro_whole_fingerprint(s, type, budget, &o->fingerprint, err);
	if (!st && !kveil_avro_write_readable(s, type, &text))
		st = kveil_no_memory(err, "a schema");
	if (!st)
		st = kveil_avro_schema_parse(kveil_buf_span(&text), &o->schema, err);
	if (!st)
		st = kveil_automaton_new(NULL, 0, &o->none, err);
	if (!st)
		st = kveil_avro_program_build(o->schema, NULL, o->none, no_effect, NULL, &o->program, err);
	if (st)
		kveil_avro_opener_free(o);
	else
		*ret = o;
	return st;
}

void kveil_avro_opener_free(struct kveil_avro_opener *o)
{
	if (!o)
		return;
	kveil_avro_program_free(o->program);
	kveil_automaton_free(o->none);
	kveil_avro_schema_free(o->schema);
	free(o);
}

size_t kveil_avro_opener_memory(const struct kveil_avro_opener *o)
{
	return sizeof *o + kveil_avro_schema_memory(o->schema) + kveil_avro_program_memory(o->program);
}

enum kveil_status kveil_avro_opener_open(const struct kveil_avro_opener *o, size_t max_bytes, uint32_t max_depth,
					 struct kveil_span sealed, struct kveil_span *ret, struct kveil_error *err)
{
	uint8_t head[KVEIL_AVRO_WHOLE_HEAD];
	struct kveil_avro_walk walk = {.program = o->program, .max_bytes = max_bytes, .max_depth = max_depth};

	kveil_avro_whole_write_head(o->fingerprint, head);
	if (!kveil_avro_whole_is(sealed) || memcmp(sealed.data, head, sizeof head) != 0)
		return kveil_fail(err, KVEIL_E_UNSUPPORTED_KIND, "what was sealed here is of another type");
	*ret = kveil_span_of(sealed.data + sizeof head, sealed.len - sizeof head);
	enum kveil_status st = kveil_avro_walk(&walk, *ret, err);
	kveil_avro_walk_clear(&walk);
	return st;
}

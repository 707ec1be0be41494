/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of records as steps of the walk. */
#include "format/avro_program.h"

enum {
	DEEPEST = 4,          /* records that give their fields to the one around them */
	MOST_STEPS = 64,      /* that a record has with those of others */
	MOST_GIVEN = 1 << 18, /* fields, in all records */
	MOST_BYTES = 1 << 30,
};

struct steps {
	struct kveil_avro_program *p;
	struct kveil_avro_step *items; /* NULL: they are counted */
	uint32_t count, deep;
	uint32_t fields; /* of which these are the steps */
	uint32_t given;  /* fields to records around theirs, so far */
};

/* What the first byte tells of a scalar that is none of the rules' business. */
static struct kveil_avro_step skip_of(const struct kveil_avro_program *p, const struct kveil_avro_node *n)
{
	uint32_t bytes = p->schema->types[n->type].min_bytes;

	switch (n->kind) {
	case KVEIL_AVRO_NULL:
	case KVEIL_AVRO_FLOAT:
	case KVEIL_AVRO_DOUBLE:
	case KVEIL_AVRO_FIXED:
		if (bytes < MOST_BYTES)
			return (struct kveil_avro_step){.kind = KVEIL_AVRO_STEP_BYTES, .bytes = bytes};
		break;
	case KVEIL_AVRO_INT:
		return (struct kveil_avro_step){.kind = KVEIL_AVRO_STEP_INT, .bytes = 1, .odd = 0x80};
	case KVEIL_AVRO_LONG:
		return (struct kveil_avro_step){.kind = KVEIL_AVRO_STEP_LONG, .bytes = 1, .odd = 0x80};
	case KVEIL_AVRO_STRING:
	case KVEIL_AVRO_BYTES:
		return (struct kveil_avro_step){
		    .kind = KVEIL_AVRO_STEP_CONTENT, .bytes = 1, .counted = 0x7e, .odd = 0x81};
	case KVEIL_AVRO_BOOLEAN:
		return (struct kveil_avro_step){.kind = KVEIL_AVRO_STEP_OTHER, .bytes = 1, .odd = 0xfe};
	default:
		break;
	}
	return (struct kveil_avro_step){.kind = KVEIL_AVRO_STEP_OTHER, .bytes = KVEIL_AVRO_LOOK};
}

static struct kveil_avro_step step_of(const struct kveil_avro_program *p, const struct kveil_avro_node *n)
{
	if (!n->is_live)
		return skip_of(p, n);
	bool is_text = n->kind == KVEIL_AVRO_STRING && n->is_place && !n->is_gone;
	return (struct kveil_avro_step){.kind = is_text ? KVEIL_AVRO_STEP_TEXT : KVEIL_AVRO_STEP_OTHER,
					.bytes = KVEIL_AVRO_LOOK};
}

/* So many bytes behind what the step before takes are taken with it. */
static bool joins(const struct kveil_avro_step *before, const struct kveil_avro_step *step)
{
	return step->kind == KVEIL_AVRO_STEP_BYTES && before->kind <= KVEIL_AVRO_STEP_CONTENT &&
	       before->bytes + step->bytes < MOST_BYTES;
}

static void add_step(struct steps *s, uint32_t node, uint8_t depth)
{
	struct kveil_avro_step step = step_of(s->p, &s->p->nodes[node]);

	step.node = node;
	step.depth = depth;
	s->fields++;
	if (s->items && s->count && joins(&s->items[s->count - 1], &step)) {
		s->items[s->count - 1].bytes += step.bytes;
		return;
	}
	if (s->items)
		s->items[s->count] = step;
	s->count++;
}

static void add_fields(struct steps *s, uint32_t node, uint8_t depth)
{
	const struct kveil_avro_node *n = &s->p->nodes[node];

	s->deep = depth > s->deep ? depth : s->deep;
	for (uint32_t i = 0; i < n->edge_count; i++) {
		const struct kveil_avro_node *field = &s->p->nodes[n->edges[i].node];
		bool gives = field->kind == KVEIL_AVRO_RECORD && !field->is_place && !field->is_gone &&
			     depth < DEEPEST && s->fields + field->edge_count <= MOST_STEPS && s->given < MOST_GIVEN;
		if (!gives) {
			add_step(s, n->edges[i].node, depth);
			continue;
		}
		s->given += field->edge_count + 1;
		add_fields(s, n->edges[i].node, (uint8_t)(depth + 1));
	}
}

/* Twice the same way: the first time the fields are counted. */
static bool add_record(struct kveil_avro_program *p, uint32_t node, uint32_t *given)
{
	struct steps counted = {.p = p, .given = *given}, s = counted;

	add_fields(&counted, node, 0);
	s.items = kveil_arena_array(&p->arena, counted.fields, sizeof *s.items);
	if (!s.items)
		return false;
	add_fields(&s, node, 0);
	p->nodes[node].steps = s.items;
	p->nodes[node].step_count = s.count;
	p->nodes[node].deep = s.deep;
	*given = s.given;
	return true;
}

bool kveil_avro_add_steps(struct kveil_avro_program *p)
{
	uint32_t given = 0;

	for (uint32_t i = 0; i < p->count; i++)
		if (p->nodes[i].kind == KVEIL_AVRO_RECORD && !add_record(p, i, &given))
			return false;
	return true;
}

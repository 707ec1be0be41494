/* SPDX-License-Identifier: Apache-2.0 */
/* Classes of nodes: by what a node is, then by what its edges' nodes are, until nothing more is told apart. */
#include "format/avro_program.h"

#include <stdlib.h>

struct classes {
	uint32_t *table; /* node + 1 */
	uint32_t mask, count;
};

static uint32_t sort_of(const struct kveil_avro_node *n)
{
	return (uint32_t)n->effect.results << 4 | (uint32_t)n->effect.keeps << 3 | (uint32_t)n->is_gone << 2 |
	       (uint32_t)n->is_changed << 1 | (uint32_t)n->is_covered;
}

static bool are_alike(const struct kveil_avro_program *p, const uint32_t *class, uint32_t a, uint32_t b)
{
	const struct kveil_avro_node *x = &p->nodes[a], *y = &p->nodes[b];

	if (x->type != y->type || class[a] != class[b] || x->edge_count != y->edge_count)
		return false;
	/* What does not change is the writer's own type, whatever path leads there. */
	if (!x->is_changed && !y->is_changed)
		return true;
	if (sort_of(x) != sort_of(y))
		return false;
	for (uint32_t k = 0; k < x->edge_count; k++)
		if (class[x->edges[k].node] != class[y->edges[k].node])
			return false;
	return true;
}

static uint64_t hash_of(const struct kveil_avro_program *p, const uint32_t *class, uint32_t i)
{
	const struct kveil_avro_node *n = &p->nodes[i];
	uint64_t h = (n->type + 1) * 0x9E3779B97F4A7C15u ^ class[i];

	if (!n->is_changed)
		return h * 0xC2B2AE3D27D4EB4Fu;
	h = h * 31 + sort_of(n);
	for (uint32_t k = 0; k < n->edge_count; k++)
		h = (h ^ class[n->edges[k].node]) * 0xC2B2AE3D27D4EB4Fu;
	return h * 0x9E3779B97F4A7C15u;
}

/* One round; how many classes there are now. */
static uint32_t classify(const struct kveil_avro_program *p, const uint32_t *class, uint32_t *next, struct classes *c)
{
	memset(c->table, 0, ((size_t)c->mask + 1) * sizeof *c->table);
	c->count = 0;
	for (uint32_t i = 0; i < p->count; i++) {
		uint32_t at = (uint32_t)(hash_of(p, class, i) >> 32) & c->mask;
		while (c->table[at] && !are_alike(p, class, c->table[at] - 1, i))
			at = (at + 1) & c->mask;
		if (!c->table[at]) {
			c->table[at] = i + 1;
			next[i] = c->count++;
		} else {
			next[i] = next[c->table[at] - 1];
		}
	}
	return c->count;
}

bool kveil_avro_find_classes(struct kveil_avro_program *p, struct kveil_error *err)
{
	uint32_t *class = calloc(p->count, sizeof *class), *next = calloc(p->count, sizeof *next), count = 1;
	struct classes c = {.mask = 63};
	bool ok = true, settled = false;

	while (c.mask < 2 * p->count)
		c.mask = 2 * c.mask + 1;
	c.table = calloc((size_t)c.mask + 1, sizeof *c.table);
	if (!class || !next || !c.table)
		ok = !kveil_no_memory(err, "a schema");
	for (int pass = 0; ok && !settled; pass++) {
		uint32_t now = classify(p, class, next, &c);
		settled = now == count;
		count = now;
		uint32_t *swap = class;
		class = next;
		next = swap;
		if (pass == KVEIL_AVRO_MOST_PASSES)
			ok = !kveil_fail(err, KVEIL_E_AVRO_SCHEMA, "types refer to each other in too long a chain");
	}
	for (uint32_t i = 0; ok && i < p->count; i++)
		p->nodes[i].class = class[i];
	free(class);
	free(next);
	free(c.table);
	return ok;
}

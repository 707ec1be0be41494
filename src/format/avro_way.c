/* SPDX-License-Identifier: Apache-2.0 */
/* Where in a schema a node stands, for people: the fields that lead there. */
#include "format/avro_program.h"

#include <stdio.h>
#include <stdlib.h>

/* Nodes are made as they are found, those next to the root first: each but the root was found from an earlier one, and
 * the first of those is next to the root, too. By node, plus one; NULL: no memory. */
static uint32_t *find_parents(const struct kveil_avro_program *p)
{
	uint32_t *parents = calloc(p->count, sizeof *parents);

	for (uint32_t i = 0; parents && i < p->count; i++)
		for (uint32_t k = 0; k < p->nodes[i].edge_count; k++) {
			uint32_t to = p->nodes[i].edges[k].node;
			if (to > i && !parents[to])
				parents[to] = i + 1;
		}
	return parents;
}

/* In front of what stands at `at`. Where there is no room only the end of the text. */
static size_t put_before(char way[KVEIL_AVRO_WAY_BYTES], size_t at, size_t room, struct kveil_span text)
{
	size_t n = text.len < room ? text.len : room;

	memcpy(way + at - n, text.data + text.len - n, n);
	return at - n;
}

/* The step from one node to another; a branch of a union has no name. */
static size_t put_step(char way[KVEIL_AVRO_WAY_BYTES], size_t at, size_t room, const struct kveil_avro_program *p,
		       const struct kveil_avro_node *from, uint32_t to)
{
	uint32_t k = 0;

	if (from->kind == KVEIL_AVRO_UNION)
		return at;
	if (from->kind != KVEIL_AVRO_RECORD)
		return put_before(way, at, room, KVEIL_SPAN("[*]"));
	while (from->edges[k].node != to)
		k++;
	size_t start = put_before(way, at, room, p->schema->types[from->type].members[k].name);
	return put_before(way, start, room - (at - start), KVEIL_SPAN("."));
}

void kveil_avro_spell_way(const struct kveil_avro_program *p, uint32_t node, char way[KVEIL_AVRO_WAY_BYTES])
{
	static const char cut[] = "$…";
	const size_t least = sizeof cut - 1;
	uint32_t *parents = find_parents(p);
	size_t at = KVEIL_AVRO_WAY_BYTES - 1;

	way[at] = 0;
	while (parents && parents[node] && at > least) {
		const struct kveil_avro_node *from = &p->nodes[parents[node] - 1];
		at = put_step(way, at, at - least, p, from, node);
		node = parents[node] - 1;
	}
	/* What just fits counts as cut, too. */
	at = put_before(way, at, at, parents && at > least ? KVEIL_SPAN("$") : kveil_span_str(cut));
	memmove(way, way + at, KVEIL_AVRO_WAY_BYTES - at);
	free(parents);
}

uint32_t kveil_avro_changed_below(const struct kveil_avro_program *p, uint32_t node, unsigned results)
{
	bool *seen = calloc(p->count, sizeof *seen);
	uint32_t *queue = calloc(p->count, sizeof *queue), first = 0, count = 0, found = node;

	if (seen && queue) {
		seen[node] = true;
		queue[count++] = node;
	}
	for (; first < count; first++) {
		const struct kveil_avro_node *n = &p->nodes[queue[first]];
		if (n->effect.results & results) {
			found = queue[first];
			break;
		}
		for (uint32_t k = 0; k < n->edge_count; k++)
			if (!seen[n->edges[k].node]) {
				seen[n->edges[k].node] = true;
				queue[count++] = n->edges[k].node;
			}
	}
	free(seen);
	free(queue);
	return found;
}

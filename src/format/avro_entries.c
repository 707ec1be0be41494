/* SPDX-License-Identifier: Apache-2.0 */
/* Maps that Kafka Connect's converter spells as arrays: a key of the map is not a name there, but a value. */
#include "format/avro_program.h"

#include "format/automaton_internal.h"

static bool is_entry(const struct kveil_avro_type *t)
{
	const char *connect = json_string_value(json_object_get(t->json, "connect.internal.type"));

	if (t->kind != KVEIL_AVRO_RECORD)
		return false;
	return (connect && strcmp(connect, "MapEntry") == 0) ||
	       kveil_span_eq(t->name, KVEIL_SPAN("io.confluent.connect.avro.MapEntry"));
}

/* The element, or a branch of it. */
static bool holds_entries(const struct kveil_avro_schema *s, uint32_t array)
{
	const struct kveil_avro_type *item = &s->types[s->types[array].item];
	bool holds = is_entry(item);

	for (uint32_t i = 0; item->kind == KVEIL_AVRO_UNION && i < item->member_count; i++)
		holds |= is_entry(&s->types[item->members[i].type]);
	return holds;
}

bool kveil_avro_hides_names(const struct kveil_avro_program *p, uint32_t array, uint32_t state)
{
	const struct kveil_automaton_state *s = &p->automaton->states[state];
	bool names = false;

	for (size_t i = 0; s->slots && i <= s->mask; i++)
		names |= s->slots[i].name && s->slots[i].next != KVEIL_AUTOMATON_DEAD;
	return names && holds_entries(p->schema, array);
}

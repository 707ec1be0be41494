/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/automaton_internal.h: the automaton's tables, open to the scanners so that a look-up is inlined.
 *
 *   state ─► { names: slot table, default_name, indices, default_index, accepts }
 *
 * State 0 is dead: nothing below it can be named. States whose sets differ only in what they accept share their
 * slot tables, so 200 rules `$..name` make one table, not 200.
 *
 * A slot holds a name by its first and last eight bytes: up to 16 bytes that is the whole name; longer ones are
 * compared in the middle too. Immutable after kveil_automaton_new.
 */
#ifndef KVEIL_FORMAT_AUTOMATON_INTERNAL_H
#define KVEIL_FORMAT_AUTOMATON_INTERNAL_H

#include "format/automaton.h"

enum { KVEIL_AUTOMATON_DEAD = 0 };

struct kveil_automaton_slot {
	uint64_t head, tail; /* as kveil_name_of gives them */
	uint32_t len;
	uint32_t next;       /* state; 0 with len 0 and name NULL = a free slot */
	const uint8_t *name; /* NULL = free */
};

struct kveil_automaton_index {
	uint64_t index;
	uint32_t next;
};

struct kveil_automaton_state {
	const struct kveil_automaton_slot *slots; /* mask + 1 of them; NULL = no name leads anywhere special */
	/* A hash without its lower `shift` bits is a bit of the filter, four to a slot: set where some name's search
	 * begins. Most other names end there. */
	const uint64_t *filter;
	uint32_t mask, shift;
	uint32_t default_name, default_index; /* next state of any other member, element */
	uint32_t index_count;
	const struct kveil_automaton_index *indices; /* ascending */
	const uint32_t *accepts;                     /* ascending ids */
	uint32_t accept_count;
	bool live;       /* some child may lead to an accepting state: else the subtree is only validated */
	bool want_trail; /* accepts a path that asked for the names on the way */
};

struct kveil_automaton {
	struct kveil_automaton_state *states;
	uint32_t state_count;
	uint32_t start;
	struct kveil_arena memory; /* slots, indices, accepts, names */
};

/* A name in the form that slots hold. */
struct kveil_name {
	uint64_t head, tail;
	const uint8_t *data;
	size_t len;
};

static inline uint64_t kveil_name_load(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}

static inline uint64_t kveil_name_load_short(const uint8_t *p, size_t len)
{
	uint64_t v = 0;
	for (size_t i = 0; i < len; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* Its upper bits are the good ones. */
static inline uint64_t kveil_name_hash(const struct kveil_name *n)
{
	return n->head * 0x9E3779B97F4A7C15u + (n->tail ^ n->len) * 0xC2B2AE3D27D4EB4Fu;
}

/* readable: how many bytes may be read from p on, at least len. */
static inline struct kveil_name kveil_name_of(const uint8_t *p, size_t len, size_t readable)
{
	struct kveil_name n = {.data = p, .len = len};

	if (__builtin_expect(len >= 8, 0)) {
		n.head = kveil_name_load(p);
		n.tail = kveil_name_load(p + len - 8);
	} else if (__builtin_expect(readable >= 8 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, 1)) {
		n.head = kveil_name_load(p) & ~(UINT64_MAX << (8 * len));
	} else {
		n.head = kveil_name_load_short(p, len);
	}
	return n;
}

static inline uint32_t kveil_automaton_on_name(const struct kveil_automaton_state *s, const struct kveil_name *n)
{
	if (s->slots) {
		uint64_t bit = kveil_name_hash(n) >> s->shift;
		if (!(s->filter[bit / 64] >> bit % 64 & 1))
			return s->default_name;
		for (uint32_t i = (uint32_t)bit / 4; s->slots[i].name; i = (i + 1) & s->mask) {
			const struct kveil_automaton_slot *slot = &s->slots[i];
			if (slot->head == n->head && slot->tail == n->tail && slot->len == n->len &&
			    (n->len <= 16 || memcmp(slot->name, n->data, n->len) == 0))
				return slot->next;
		}
	}
	return s->default_name;
}

/* The same for a name as it stands in a text, without escapes. */
static inline uint32_t kveil_automaton_on_plain_name(const struct kveil_automaton_state *s, const uint8_t *name,
						     size_t len, size_t readable)
{
	if (!s->slots)
		return s->default_name;
	struct kveil_name n = kveil_name_of(name, len, readable);
	return kveil_automaton_on_name(s, &n);
}

static inline uint32_t kveil_automaton_on_index(const struct kveil_automaton_state *s, uint64_t index)
{
	if (__builtin_expect(s->index_count == 0, 1))
		return s->default_index;
	size_t low = 0, high = s->index_count;
	while (low < high) {
		size_t mid = low + (high - low) / 2;
		if (s->indices[mid].index < index)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->index_count && s->indices[low].index == index ? s->indices[low].next : s->default_index;
}

/* Where a state's members, or elements, may lead; some more than once. */
static inline size_t kveil_automaton_way_count(const struct kveil_automaton_state *s, bool by_name)
{
	return 1 + (!by_name ? s->index_count : s->slots ? (size_t)s->mask + 1 : 0);
}

static inline uint32_t kveil_automaton_way(const struct kveil_automaton_state *s, bool by_name, size_t i)
{
	if (!by_name)
		return i ? s->indices[i - 1].next : s->default_index;
	return i && s->slots[i - 1].name ? s->slots[i - 1].next : s->default_name;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * format/json_guess.h: what a member is called, by the record before.
 *
 * Records of one topic look alike: the name in a place was most often the same in the record before. Its text is held
 * as two words with the closing quote and the colon; where it stands again, it was checked and looked up before.
 *
 * Where a name ends is known only when its bytes have been compared, and the next token waits for that. With the guess
 * the comparison only confirms it, as a branch that the processor runs ahead of (a fifth of the scan).
 */
#ifndef KVEIL_FORMAT_JSON_GUESS_H
#define KVEIL_FORMAT_JSON_GUESS_H

#include "format/automaton_internal.h"
#include "format/format.h"

enum {
	KVEIL_JSON_GUESS_BYTES = 16,
	KVEIL_JSON_MOST_MISSES =
	    4, /* of a guess that another place shares, or another shape of record: then it is made anew */
};

/* Words of the first n bytes set, by n. */
static inline uint64_t kveil_json_guess_mask(unsigned n, unsigned word)
{
	static const uint8_t bytes[2 * KVEIL_JSON_GUESS_BYTES] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
								  0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF};

	return kveil_name_load(bytes + KVEIL_JSON_GUESS_BYTES - n + 8 * word);
}

/* Does what stands at p, where KVEIL_JSON_GUESS_BYTES can be read, begin with it? */
static inline bool kveil_json_is_guessed(const struct kveil_scan_guess *g, const uint8_t *p)
{
	uint64_t head = (kveil_name_load(p) ^ g->head) & kveil_json_guess_mask(g->text_len, 0);
	uint64_t tail = (kveil_name_load(p + 8) ^ g->tail) & kveil_json_guess_mask(g->text_len, 1);

	return (head | tail) == 0;
}

/* For the next record: a name without escapes of len bytes, with its quote and colon. */
static inline void kveil_json_guess_next(struct kveil_scan_guess *g, const uint8_t *name, size_t len,
					 const struct kveil_automaton_state *live, uint32_t state)
{
	if (len + 2 > KVEIL_JSON_GUESS_BYTES || (g->text_len && ++g->misses < KVEIL_JSON_MOST_MISSES))
		return;
	g->misses = 0;
	g->text_len = (uint8_t)(len + 2);
	g->head = kveil_name_load(name) & kveil_json_guess_mask(g->text_len, 0);
	g->tail = kveil_name_load(name + 8) & kveil_json_guess_mask(g->text_len, 1);
	g->live = live;
	g->next = state;
}

/* Of the members of a container, by the place that it has itself: spread, so that the rows of an event share none. */
static inline uint32_t kveil_json_first_guess(uint32_t place)
{
	return place * 211 + 7;
}

/* The same for a name whose length alone is known. */
static inline const uint8_t *kveil_json_close_by_guess(uint8_t *guess, const uint8_t *begin, const uint8_t *close)
{
	size_t len = *guess;

	if (__builtin_expect(close == begin + len, 1)) {
		/* Keeps the compiler from putting the one for the other: they are equal, but not at once. */
		__asm__("" : "+r"(len));
		return begin + len;
	}
	*guess = (uint8_t)(close - begin);
	return close;
}

#endif

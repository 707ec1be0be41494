/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a pattern by following all its states at once (K. Thompson, "Regular expression search algorithm", CACM 11(6),
 * 1968).
 */
#include "base/grapheme.h"
#include "path/cursor.h"
#include "path/iregexp_program.h"

enum { STATES_A_WORK = 4, CATEGORY_WORK = 4 };

bool kveil_char_class_has(const struct char_class *k, uint32_t cp)
{
	bool in = false;

	for (size_t i = 0; i < k->count && !in; i++)
		in = cp >= k->ranges[i].first && cp <= k->ranges[i].last;
	if (!in && k->categories)
		in = k->categories >> kveil_grapheme_category(cp) & 1;
	return in != k->negated;
}

/* A sparse set of states: `list` holds them in the order they were added, `at[s]` says where, and what stood there
 * before does no harm. */
struct set {
	uint32_t *list, *at;
	uint32_t count;
};

struct run {
	const struct kveil_iregexp *re;
	struct set now, then;
	uint32_t *stack;
	bool at_start, at_end, matched;
	int64_t work;
};

size_t kveil_iregexp_scratch_bytes(const struct kveil_iregexp *re)
{
	/* Two sets of two arrays; a state enters the stack once as itself and once as a second way. */
	return ((size_t)re->count * 6 + 2) * sizeof(uint32_t);
}

size_t kveil_iregexp_states(const struct kveil_iregexp *re)
{
	return re->count;
}

/* Adds a state with all that it reaches without a character. */
static void add_state(struct run *r, struct set *set, uint32_t first)
{
	uint32_t depth = 0;

	r->stack[depth++] = first;
	while (depth) {
		uint32_t s = r->stack[--depth];
		if (set->at[s] < set->count && set->list[set->at[s]] == s)
			continue;
		set->at[s] = set->count;
		set->list[set->count++] = s;
		r->work--;
		const struct instruction *i = &r->re->code[s];
		switch (i->op) {
		case OP_JUMP:
			r->stack[depth++] = i->x;
			break;
		case OP_SPLIT:
			r->stack[depth++] = i->y;
			r->stack[depth++] = i->x;
			break;
		case OP_START:
			if (r->at_start)
				r->stack[depth++] = s + 1;
			break;
		case OP_END:
			if (r->at_end)
				r->stack[depth++] = s + 1;
			break;
		case OP_MATCH:
			r->matched = true;
			break;
		case OP_CHAR:
		case OP_CLASS:
			break;
		}
	}
}

static bool takes(struct run *r, const struct instruction *i, uint32_t cp)
{
	if (i->op == OP_CHAR)
		return i->x == cp;
	if (i->op != OP_CLASS)
		return false;
	if (cp < 128)
		return i->class->ascii[cp / 64] >> cp % 64 & 1;
	r->work -= CATEGORY_WORK + (int64_t)i->class->count;
	return kveil_char_class_has(i->class, cp);
}

/* Passes over characters with which no match begins. */
static void skip(struct run *r, struct kveil_text_cursor *text)
{
	const uint8_t *from = text->at;

	while (text->at < text->end && *text->at < 128 && !(*text->at == '\\' && text->escaped) &&
	       !(r->re->first[*text->at / 64] >> *text->at % 64 & 1))
		text->at++;
	r->work -= (text->at - from) / 4;
	r->at_end = text->at == text->end;
}

enum kveil_status kveil_iregexp_run(const struct kveil_iregexp *re, struct kveil_text_cursor *text, bool anywhere,
				    void *scratch, int64_t *work, bool *ret)
{
	uint32_t *words = scratch, n = re->count;
	struct run r = {
	    .re = re,
	    .now = {.list = words, .at = words + n},
	    .then = {.list = words + 2 * (size_t)n, .at = words + 3 * (size_t)n},
	    .stack = words + 4 * (size_t)n,
	    .at_start = true,
	    .at_end = text->at == text->end,
	    .work = *work * STATES_A_WORK,
	};

	add_state(&r, &r.now, 0);
	while (!r.at_end && r.work >= 0 && !(anywhere && r.matched)) {
		uint32_t cp = kveil_cursor_next(text);
		r.at_start = false;
		r.at_end = text->at == text->end;
		r.matched = false;
		r.then.count = 0;
		for (uint32_t i = 0; i < r.now.count; i++)
			if (takes(&r, &re->code[r.now.list[i]], cp))
				add_state(&r, &r.then, r.now.list[i] + 1);
		if (anywhere && r.then.count == 0 && re->skips)
			skip(&r, text);
		if (anywhere)
			add_state(&r, &r.then, 0);
		else if (r.then.count == 0)
			break;
		r.work -= r.now.count;
		struct set swap = r.now;
		r.now = r.then;
		r.then = swap;
	}
	*work = r.work < 0 ? -1 : r.work / STATES_A_WORK;
	*ret = r.matched;
	return r.work < 0 ? KVEIL_E_TOO_COMPLEX : KVEIL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path/iregexp_program.h: a compiled pattern, between iregexp.c that makes it and iregexp_run.c that follows it.
 */
#ifndef KVEIL_PATH_IREGEXP_PROGRAM_H
#define KVEIL_PATH_IREGEXP_PROGRAM_H

#include "path/iregexp.h"

struct range {
	uint32_t first, last;
};

struct char_class {
	uint64_t ascii[2];   /* the answer for U+0000 to U+007F, negation included */
	uint32_t categories; /* bit n: enum kveil_category n */
	bool negated;
	struct range *ranges;
	size_t count;
};

enum op { OP_CHAR, OP_CLASS, OP_START, OP_END, OP_SPLIT, OP_JUMP, OP_MATCH };

struct instruction {
	enum op op;
	uint32_t x, y; /* CHAR: x; SPLIT: both ways; JUMP: x */
	const struct char_class *class;
};

struct kveil_iregexp {
	const struct instruction *code;
	uint32_t count;
	/* In the midst of a text a match can begin only with one of these, or beyond ASCII; no `skips` where it can
	 * begin with nothing. */
	uint64_t first[2];
	bool skips;
};

/* iregexp_run.c */
bool kveil_char_class_has(const struct char_class *k, uint32_t cp);

#endif

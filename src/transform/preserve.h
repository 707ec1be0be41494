/* SPDX-License-Identifier: Apache-2.0 */
/*
 * transform/preserve.h: format-preserving text, for the actions that take an alphabet (FF1, SP 800-38G r1).
 *
 *   6222-0200 0000-0005     keep_first: 6, keep_last: 4, keep_chars: " -"
 *   kkkk kk.. .... kkkk     k stays clear, . is enciphered, what keep_chars names stays where it is
 *                           and counts for nothing
 *
 * The tweak, numbers big-endian:
 *
 *   associated data's length (4) | associated data | length of the kept beginning (4) | it | the kept end
 *
 * So one value has another token under another beginning or end, and the same one however it is spaced.
 * Characters are code points, as an alphabet's are.
 */
#ifndef KVEIL_TRANSFORM_PRESERVE_H
#define KVEIL_TRANSFORM_PRESERVE_H

#include "transform/action.h"

struct kveil_alphabet; /* out of words, by kveil_preserve_prepare */

/* Part of an action's params. */
struct kveil_preserve {
	char *alphabet; /* NULL: nothing of this was asked for */
	uint64_t keep_first, keep_last;
	char *keep_chars;
	struct kveil_alphabet *made;
};

#define KVEIL_PRESERVE_ROWS(type, member)                                                                              \
	{"alphabet", KVEIL_OPT_STRING, offsetof(struct type, member.alphabet),                                         \
	 .help =                                                                                                       \
	     "for a key of `aes-256-ff1`: `digits`, `upper`, `lower`, `alphanumeric`, `hex` (lower case), or all the " \
	     "characters themselves"},                                                                                 \
	    {"keep_first", KVEIL_OPT_UINT, offsetof(struct type, member.keep_first),                                   \
	     .def = "0",   .max = 1 << 20, .help = "characters at the start that stay clear; with `alphabet`"},        \
	    {"keep_last", KVEIL_OPT_UINT, offsetof(struct type, member.keep_last),                                     \
	     .def = "0",  .max = 1 << 20, .help = "characters at the end that stay clear; with `alphabet`"},           \
	{                                                                                                              \
		"keep_chars", KVEIL_OPT_STRING, offsetof(struct type, member.keep_chars),                              \
		    .help = "characters that stay in place and do not count, such as `\" -\"`; with `alphabet`"        \
	}

/* Reports what does not fit together. */
void kveil_preserve_check(const struct kveil_preserve *p, const char *file, const struct kveil_yaml *node,
			  struct kveil_report *report);
enum kveil_status kveil_preserve_prepare(struct kveil_preserve *p, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_preserve_clear(struct kveil_preserve *p);
/* Appends the token of text, or what it stands for. VALUE_OUT_OF_DOMAIN: a character outside the alphabet, or too few
 * to encipher. */
enum kveil_status kveil_preserve_write(const struct kveil_preserve *p, const struct kveil_action_call *call,
				       bool encrypt, struct kveil_span text, struct kveil_buf *out,
				       struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

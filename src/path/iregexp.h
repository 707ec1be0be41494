/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path/iregexp.h: I-Regexp (RFC 9485), the patterns of match() and search().
 *
 * The language is regular, so a pattern becomes a small program whose states are all followed at once: time is at
 * most the length of the text times the size of the program, whatever the pattern or the text. A pattern or a
 * record from a hostile hand cannot make it backtrack. ^ and $ are the ends of the text, as in the RFC's mapping
 * to other engines. Compiled patterns are immutable and may be shared by threads.
 */
#ifndef KVEIL_PATH_IREGEXP_H
#define KVEIL_PATH_IREGEXP_H

#include "base/arena.h"
#include "kveil/base.h"

struct kveil_iregexp;
struct kveil_text_cursor; /* path/cursor.h */

enum { KVEIL_IREGEXP_MAX_STATES = 5000 };

/* pattern: UTF-8. PATH_SYNTAX with err->byte in the pattern when it is not RFC 9485 or needs more than
 * KVEIL_IREGEXP_MAX_STATES. Everything lives in the arena. */
enum kveil_status kveil_iregexp_compile(struct kveil_span pattern, struct kveil_arena *arena,
					const struct kveil_iregexp **ret, struct kveil_error *err) KVEIL_MUST_CHECK;

/* Scratch for kveil_iregexp_run: bytes that a pattern needs, zeroed once and then reused for any pattern. */
size_t kveil_iregexp_scratch_bytes(const struct kveil_iregexp *re);

size_t kveil_iregexp_states(const struct kveil_iregexp *re);

/* Does the text match: the whole of it, or any part of it (anywhere)? *work is lowered by a quarter of the states
 * followed and of the ranges that a class was asked for; when it would fall below zero the answer is TOO_COMPLEX.
 * scratch: kveil_iregexp_scratch_bytes, aligned to 4. */
enum kveil_status kveil_iregexp_run(const struct kveil_iregexp *re, struct kveil_text_cursor *text, bool anywhere,
				    void *scratch, int64_t *work, bool *ret) KVEIL_MUST_CHECK;

#endif

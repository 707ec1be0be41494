/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path/cursor.h: the Unicode scalar values of a text, one by one, JSON escapes resolved on the way, so that a
 * comparison needs no copy. The text was validated by whoever made it; on bytes that were not, a cursor gives
 * U+FFFD or a question mark and never reads past the end.
 */
#ifndef KVEIL_PATH_CURSOR_H
#define KVEIL_PATH_CURSOR_H

#include "kveil/base.h"

#define KVEIL_CURSOR_END UINT32_MAX

struct kveil_text_cursor {
	const uint8_t *at, *end;
	bool escaped; /* backslashes are JSON escapes */
};

static inline struct kveil_text_cursor kveil_cursor_of(struct kveil_span text, bool escaped)
{
	return (struct kveil_text_cursor){text.data, text.data + text.len, escaped};
}

uint32_t kveil_cursor_next_slow(struct kveil_text_cursor *c); /* doc.c */

/* The next scalar value, or KVEIL_CURSOR_END. */
static inline uint32_t kveil_cursor_next(struct kveil_text_cursor *c)
{
	if (c->at == c->end)
		return KVEIL_CURSOR_END;
	if (*c->at < 0x80 && *c->at != '\\')
		return *c->at++;
	return kveil_cursor_next_slow(c);
}

#endif

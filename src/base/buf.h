/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/buf.h: owned bytes that grow.
 *
 *   data ──► [ len bytes in use ][ cap - len free ]
 *
 * A failed growth is remembered (`failed`) and further appends are ignored, so that a writer checks once at
 * the end (kveil_buf_ok). Bytes are wiped before memory goes back (kveil_buf_clear, growth), for they may be
 * clear values. One thread at a time.
 */
#ifndef KVEIL_BASE_BUF_H
#define KVEIL_BASE_BUF_H

#include "base/allowance.h"

#include <stdarg.h>

struct kveil_buf {
	uint8_t *data;
	size_t len, cap;
	bool failed;
	struct kveil_allowance *allowance; /* NULL = none; set while empty */
};

#define KVEIL_BUF_INIT ((struct kveil_buf){0})

void kveil_buf_clear(struct kveil_buf *b);              /* wipes, frees; ready for reuse, the allowance kept */
bool kveil_buf_grow(struct kveil_buf *b, size_t extra); /* makes room for extra more bytes; false = failed */
void kveil_buf_printf(struct kveil_buf *b, const char *fmt, ...) KVEIL_PRINTF(2, 3);
void kveil_buf_vprintf(struct kveil_buf *b, const char *fmt, va_list args) KVEIL_PRINTF(2, 0);
/* Appends a NUL that is not counted in len and gives the data as a C string; NULL if failed. */
const char *kveil_buf_cstr(struct kveil_buf *b);
void kveil_buf_cleanup(struct kveil_buf *b);

static inline bool kveil_buf_ok(const struct kveil_buf *b)
{
	return !b->failed;
}

static inline void kveil_buf_reset(struct kveil_buf *b)
{
	b->len = 0;
	b->failed = false;
}

/* Where nothing was written yet: an address for what is empty, which NULL would make absent. Never written to. A
 * pointer, so that the compiler does not warn of what would be written over the end of an array of one byte. */
extern uint8_t *const kveil_buf_nothing;

/* Room for n bytes at the end. Write there, then b->len += what was written. NULL is a failure and nothing else, also
 * for n == 0. */
static inline uint8_t *kveil_buf_reserve(struct kveil_buf *b, size_t n)
{
	if (__builtin_expect(b->cap - b->len < n || b->failed, 0) && !kveil_buf_grow(b, n))
		return NULL;
	return b->data ? b->data + b->len : kveil_buf_nothing;
}

static inline void kveil_buf_append(struct kveil_buf *b, const void *data, size_t n)
{
	if (n == 0)
		return;
	uint8_t *p = kveil_buf_reserve(b, n);
	if (p) {
		memcpy(p, data, n);
		b->len += n;
	}
}

static inline void kveil_buf_append_span(struct kveil_buf *b, struct kveil_span s)
{
	kveil_buf_append(b, s.data, s.len);
}

static inline void kveil_buf_append_str(struct kveil_buf *b, const char *s)
{
	kveil_buf_append(b, s, strlen(s));
}

static inline void kveil_buf_append_byte(struct kveil_buf *b, uint8_t c)
{
	uint8_t *p = kveil_buf_reserve(b, 1);
	if (p) {
		*p = c;
		b->len++;
	}
}

/* Never the absent span: what nothing was written to is empty. */
static inline struct kveil_span kveil_buf_span(const struct kveil_buf *b)
{
	return (struct kveil_span){b->data ? b->data : kveil_buf_nothing, b->len};
}

#define KVEIL_CLEANUP_BUF __attribute__((cleanup(kveil_buf_cleanup)))

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* A buffer that grows; after a failure it stays failed. */
#include "base/buf.h"

#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>

static uint8_t nothing[1];
uint8_t *const kveil_buf_nothing = nothing;

void kveil_buf_clear(struct kveil_buf *b)
{
	if (b->data)
		kveil_secret_wipe(b->data, b->cap);
	free(b->data);
	kveil_allowance_give(b->allowance, b->cap);
	*b = (struct kveil_buf){.allowance = b->allowance};
}

void kveil_buf_cleanup(struct kveil_buf *b)
{
	kveil_buf_clear(b);
}

bool kveil_buf_grow(struct kveil_buf *b, size_t extra)
{
	size_t need;

	if (b->failed)
		return false;
	if (__builtin_add_overflow(b->len, extra, &need) || need > SIZE_MAX / 2) {
		b->failed = true;
		return false;
	}
	if (need <= b->cap)
		return true;
	size_t cap = b->cap ? b->cap : 256;
	while (cap < need)
		cap *= 2;
	cap = kveil_allowance_fit(b->allowance, cap, need);
	/* Not realloc: it may leave a copy of clear bytes behind. */
	uint8_t *data = kveil_allowance_take(b->allowance, cap) ? malloc(cap) : NULL;
	if (!data) {
		b->failed = true;
		return false;
	}
	if (b->data) {
		memcpy(data, b->data, b->len);
		kveil_secret_wipe(b->data, b->cap);
		free(b->data);
		kveil_allowance_give(b->allowance, b->cap);
	}
	b->data = data;
	b->cap = cap;
	return true;
}

void kveil_buf_vprintf(struct kveil_buf *b, const char *fmt, va_list args)
{
	va_list again;

	va_copy(again, args);
	int n = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (n < 0) {
		b->failed = true;
		return;
	}
	uint8_t *p = kveil_buf_reserve(b, (size_t)n + 1);
	if (p) {
		vsnprintf((char *)p, (size_t)n + 1, fmt, args);
		b->len += (size_t)n;
	}
}

void kveil_buf_printf(struct kveil_buf *b, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	kveil_buf_vprintf(b, fmt, args);
	va_end(args);
}

const char *kveil_buf_cstr(struct kveil_buf *b)
{
	uint8_t *p = kveil_buf_reserve(b, 1);

	if (!p)
		return NULL;
	*p = 0;
	return (const char *)b->data;
}

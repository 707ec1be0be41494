/* SPDX-License-Identifier: Apache-2.0 */
/* Records that stand behind the batch on its way to their partition. Each is an entry, its headers' lengths and its
 * bytes, one after the other in a piece. */
#include "worker/stage.h"

#include "base/secret.h"

#include <stdlib.h>
#include <string.h>

enum { PIECE_BYTES = 64 << 10, KEPT_PIECES = 64, KEPT_HEADERS = 1024, ABSENT = -1 };

struct kveil_stage_piece {
	struct kveil_stage_piece *next;
	size_t len, cap;
	uint8_t bytes[];
};

struct entry {
	void *token;
	int64_t timestamp_ms;
	size_t size; /* with what stands behind it */
	int64_t key, value;
	size_t headers;
};

struct header_entry {
	int64_t name, value;
};

/* --- pieces --- */

static struct kveil_stage_piece *piece_new(struct kveil_stage_pool *pool, size_t size)
{
	size_t cap = size > PIECE_BYTES ? size : PIECE_BYTES;
	struct kveil_stage_piece *p = pool->free;

	if (p && cap == PIECE_BYTES) {
		pool->free = p->next;
		pool->free_count--;
	} else if (!(p = malloc(sizeof *p + cap)))
		return NULL;
	p->next = NULL;
	p->len = 0;
	p->cap = cap;
	return p;
}

/* Outputs of rules that open values are clear. */
static void piece_free(struct kveil_stage_pool *pool, struct kveil_stage_piece *p)
{
	kveil_secret_wipe(p->bytes, p->len);
	if (p->cap != PIECE_BYTES || pool->free_count == KEPT_PIECES) {
		free(p);
		return;
	}
	p->next = pool->free;
	pool->free = p;
	pool->free_count++;
}

void kveil_stage_pool_clear(struct kveil_stage_pool *pool)
{
	for (struct kveil_stage_piece *p = pool->free, *next; p; p = next) {
		next = p->next;
		free(p);
	}
	free(pool->headers);
	*pool = (struct kveil_stage_pool){0};
}

/* --- records --- */

static int64_t length_of(struct kveil_span s)
{
	return s.data ? (int64_t)s.len : ABSENT;
}

static uint8_t *put_span(uint8_t *at, struct kveil_span s)
{
	if (!s.data)
		return at;
	memcpy(at, s.data, s.len);
	return at + s.len;
}

static struct kveil_span take_span(const uint8_t **at, int64_t length)
{
	if (length == ABSENT)
		return KVEIL_SPAN_NULL;
	struct kveil_span s = kveil_span_of(*at, (size_t)length);
	*at += length;
	return s;
}

static size_t present(struct kveil_span s)
{
	return s.data ? s.len : 0;
}

static size_t size_of(const struct kveil_record *r)
{
	enum { ALIGN = _Alignof(struct entry) };
	size_t n =
	    sizeof(struct entry) + r->header_count * sizeof(struct header_entry) + present(r->key) + present(r->value);

	for (size_t i = 0; i < r->header_count; i++)
		n += present(r->headers[i].name) + present(r->headers[i].value);
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static void write_entry(uint8_t *at, const struct kveil_staged *staged, size_t size)
{
	const struct kveil_record *r = &staged->record;
	struct entry e = {staged->token,     staged->timestamp_ms, size,
			  length_of(r->key), length_of(r->value),  r->header_count};

	memcpy(at, &e, sizeof e);
	at += sizeof e;
	for (size_t i = 0; i < r->header_count; i++, at += sizeof(struct header_entry)) {
		struct header_entry h = {length_of(r->headers[i].name), length_of(r->headers[i].value)};
		memcpy(at, &h, sizeof h);
	}
	at = put_span(at, r->key);
	at = put_span(at, r->value);
	for (size_t i = 0; i < r->header_count; i++) {
		at = put_span(at, r->headers[i].name);
		at = put_span(at, r->headers[i].value);
	}
}

/* So that reading needs no memory. */
static bool room_for_headers(struct kveil_stage_pool *pool, size_t count)
{
	if (count <= pool->header_cap)
		return true;
	struct kveil_header *grown = realloc(pool->headers, count * sizeof *grown);
	if (!grown)
		return false;
	pool->headers = grown;
	pool->header_cap = count;
	return true;
}

/* One record of very many headers is no reason to keep as much for good. */
static void shrink_headers(struct kveil_stage_pool *pool)
{
	if (pool->records || pool->header_cap <= KEPT_HEADERS)
		return;
	free(pool->headers);
	pool->headers = NULL;
	pool->header_cap = 0;
}

bool kveil_stage_put(struct kveil_stage_pool *pool, struct kveil_stage *s, const struct kveil_staged *staged)
{
	size_t size = size_of(&staged->record);
	struct kveil_stage_piece *p = s->last;

	if (!room_for_headers(pool, staged->record.header_count))
		return false;
	if (!p || p->cap - p->len < size) {
		p = piece_new(pool, size);
		if (!p)
			return false;
		*(s->last ? &s->last->next : &s->first) = p;
		s->last = p;
	}
	write_entry(p->bytes + p->len, staged, size);
	p->len += size;
	s->records++;
	pool->records++;
	return true;
}

void kveil_stage_first(const struct kveil_stage_pool *pool, const struct kveil_stage *s, struct kveil_staged *ret)
{
	const uint8_t *at = s->first->bytes + s->at, *lengths = at + sizeof(struct entry);
	struct entry e;

	memcpy(&e, at, sizeof e);
	at = lengths + e.headers * sizeof(struct header_entry);
	*ret = (struct kveil_staged){.timestamp_ms = e.timestamp_ms, .token = e.token};
	ret->record.key = take_span(&at, e.key);
	ret->record.value = take_span(&at, e.value);
	for (size_t i = 0; i < e.headers; i++, lengths += sizeof(struct header_entry)) {
		struct header_entry h;
		memcpy(&h, lengths, sizeof h);
		pool->headers[i].name = take_span(&at, h.name);
		pool->headers[i].value = take_span(&at, h.value);
	}
	ret->record.headers = pool->headers;
	ret->record.header_count = e.headers;
}

void kveil_stage_drop(struct kveil_stage_pool *pool, struct kveil_stage *s)
{
	struct kveil_stage_piece *p = s->first;
	struct entry e;

	memcpy(&e, p->bytes + s->at, sizeof e);
	s->records--;
	pool->records--;
	shrink_headers(pool);
	s->at += e.size;
	if (s->at < p->len)
		return;
	s->at = 0;
	s->first = p->next;
	if (!s->first)
		s->last = NULL;
	piece_free(pool, p);
}

void kveil_stage_clear(struct kveil_stage_pool *pool, struct kveil_stage *s)
{
	while (s->records)
		kveil_stage_drop(pool, s);
	s->sent = s->batch = 0;
}

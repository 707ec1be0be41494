/* SPDX-License-Identifier: Apache-2.0 */
/* Which dead letters were replayed, in a few bytes. */
#include "worker/replayed.h"

#include "base/text.h"
#include "crypto/crypto.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { ID_BYTES = 8, FIRST_SLOTS = 1024, KEPT_BYTES = KVEIL_REPLAYED_KEPT * ID_BYTES };

static const char head[] = "r1:";

/* The last ids, the newest at (count - 1) % KEPT. */
struct kept {
	uint64_t ids[KVEIL_REPLAYED_KEPT];
	size_t count;
};

struct kveil_replayed {
	struct kept *lists;
	size_t list_count;
	uint64_t *slots; /* open addressing; 0 = free, and never an id */
	size_t slot_count, used;
};

struct kveil_replayed *kveil_replayed_new(size_t lists)
{
	struct kveil_replayed *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->lists = calloc(lists + 1, sizeof *r->lists);
	r->list_count = lists;
	r->slots = calloc(FIRST_SLOTS, sizeof *r->slots);
	r->slot_count = FIRST_SLOTS;
	if (!r->lists || !r->slots) {
		kveil_replayed_free(r);
		return NULL;
	}
	return r;
}

void kveil_replayed_free(struct kveil_replayed *r)
{
	if (!r)
		return;
	free(r->lists);
	free(r->slots);
	free(r);
}

enum kveil_status kveil_replayed_id(const char *topic, int32_t partition, int64_t offset, int64_t timestamp_ms,
				    uint64_t *ret, struct kveil_error *err)
{
	char text[400];
	uint8_t digest[32];

	int n = snprintf(text, sizeof text, "%" PRId32 " %" PRId64 " %" PRId64 " %s", partition, offset, timestamp_ms,
			 topic);
	if (n < 0 || (size_t)n >= sizeof text)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a topic's name is too long");
	enum kveil_status status = kveil_crypto_sha256(kveil_span_of(text, (size_t)n), digest, err);
	memcpy(ret, digest, sizeof *ret);
	*ret += *ret == 0;
	return status;
}

/* Where the id stands, or would. There is always a free slot. */
static size_t slot_of(const struct kveil_replayed *r, uint64_t id)
{
	size_t i = (size_t)id & (r->slot_count - 1);

	while (r->slots[i] && r->slots[i] != id)
		i = (i + 1) & (r->slot_count - 1);
	return i;
}

bool kveil_replayed_has(const struct kveil_replayed *r, uint64_t id)
{
	return r->slots[slot_of(r, id)] == id;
}

static bool grow(struct kveil_replayed *r)
{
	struct kveil_replayed larger = {.slot_count = r->slot_count * 2};

	larger.slots = calloc(larger.slot_count, sizeof *larger.slots);
	if (!larger.slots)
		return false;
	for (size_t i = 0; i < r->slot_count; i++)
		if (r->slots[i])
			larger.slots[slot_of(&larger, r->slots[i])] = r->slots[i];
	free(r->slots);
	r->slots = larger.slots;
	r->slot_count = larger.slot_count;
	return true;
}

static size_t kept_of(const struct kept *k)
{
	return k->count < KVEIL_REPLAYED_KEPT ? k->count : KVEIL_REPLAYED_KEPT;
}

/* All but what is kept from run to run. */
static void forget(struct kveil_replayed *r)
{
	memset(r->slots, 0, r->slot_count * sizeof *r->slots);
	r->used = 0;
	for (size_t l = 0; l < r->list_count; l++)
		for (size_t i = 0; i < kept_of(&r->lists[l]) && r->used < r->slot_count / 2; i++) {
			size_t at = slot_of(r, r->lists[l].ids[i]);
			r->used += !r->slots[at];
			r->slots[at] = r->lists[l].ids[i];
		}
}

void kveil_replayed_add(struct kveil_replayed *r, size_t list, uint64_t id)
{
	struct kept *k = &r->lists[list];

	k->ids[k->count++ % KVEIL_REPLAYED_KEPT] = id;
	if (kveil_replayed_has(r, id))
		return;
	if (r->used >= r->slot_count / 2 && (r->used >= KVEIL_REPLAYED_MOST || !grow(r)))
		forget(r);
	if (r->used >= r->slot_count / 2)
		return;
	r->slots[slot_of(r, id)] = id;
	r->used++;
}

void kveil_replayed_write(const struct kveil_replayed *r, size_t list, size_t most, struct kveil_buf *out)
{
	const struct kept *k = &r->lists[list];
	size_t n = kept_of(k) < most ? kept_of(k) : most;
	uint8_t bytes[KEPT_BYTES];

	for (size_t i = 0; i < n; i++)
		memcpy(bytes + i * ID_BYTES, &k->ids[(k->count - n + i) % KVEIL_REPLAYED_KEPT], ID_BYTES);
	kveil_buf_append_str(out, head);
	size_t len = kveil_text_encoded_len(KVEIL_BASE64URL, n * ID_BYTES);
	uint8_t *room = kveil_buf_reserve(out, len);
	if (!room)
		return;
	kveil_text_encode(KVEIL_BASE64URL, bytes, n * ID_BYTES, room);
	out->len += len;
}

void kveil_replayed_read(struct kveil_replayed *r, size_t list, struct kveil_span text)
{
	const size_t skip = sizeof head - 1;
	uint8_t bytes[KEPT_BYTES + ID_BYTES];
	uint64_t id;
	size_t len;

	if (text.len < skip || memcmp(text.data, head, skip) != 0 ||
	    kveil_text_decoded_max(KVEIL_BASE64URL, text.len - skip) > sizeof bytes ||
	    !kveil_text_decode(KVEIL_BASE64URL, text.data + skip, text.len - skip, bytes, &len))
		return;
	for (size_t at = 0; at + ID_BYTES <= len; at += ID_BYTES) {
		memcpy(&id, bytes + at, ID_BYTES);
		if (id)
			kveil_replayed_add(r, list, id);
	}
}

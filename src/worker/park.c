/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions whose next record has to wait, for a key, for an outage to end, or for room on the way to an output
 * partition: they stand aside, and all others go on. What the client gives of them meanwhile is copied, for a message
 * at hand would pin all that was fetched with it; a look at it lets the keys that it names be made together. Where
 * there is no room for more, the client pauses the partition, throws away what it has fetched, and reads it again
 * later.
 */
#include "base/clock.h"
#include "base/secret.h"
#include "worker/hold.h"
#include "worker/loop.h"

#include <stdlib.h>

enum {
	MOST_RECORDS = 1024,  /* of one partition */
	MOST_BYTES = 8 << 20, /* of all, or a quarter of what may be in flight */
	SOON_TRIES = 3,  /* for a name that was made and is not there: another process was first, a matter of moments */
	SCHEMA_MS = 250, /* an id that is not known is asked for again */
	SCHEMA_TELL_MS = 5000,
};

/* --- what waits --- */

static size_t bytes_of(const struct kveil_record *r)
{
	size_t n = sizeof(struct kveil_waiting) + r->key.len + r->value.len + r->header_count * sizeof *r->headers;

	for (size_t i = 0; i < r->header_count; i++)
		n += r->headers[i].name.len + r->headers[i].value.len;
	return n;
}

/* One partition may hold as much as is left for all others. */
static bool has_room(const struct kveil_worker *w, const struct kveil_partition *p, size_t bytes)
{
	size_t most = w->outlets.ledger.limit / 4 < MOST_BYTES ? w->outlets.ledger.limit / 4 : MOST_BYTES;

	return p->waiting.count < MOST_RECORDS && p->waiting.bytes + bytes + w->waiting.bytes <= most;
}

static struct kveil_span copy_span(uint8_t **at, struct kveil_span s)
{
	uint8_t *to = *at;

	if (!s.data)
		return KVEIL_SPAN_NULL;
	if (s.len)
		memcpy(to, s.data, s.len);
	*at += s.len;
	return kveil_span_of(to, s.len);
}

static struct kveil_waiting *copy(const struct kveil_incoming *in, size_t bytes)
{
	struct kveil_waiting *r = malloc(bytes + 1); /* an empty value has an address too */
	const struct kveil_record *from = &in->record;

	if (!r)
		return NULL;
	*r = (struct kveil_waiting){.bytes = bytes, .in = *in};
	uint8_t *at = (uint8_t *)&r->headers[from->header_count];
	r->in.record.key = copy_span(&at, from->key);
	r->in.record.value = copy_span(&at, from->value);
	r->in.record.headers = r->headers;
	for (size_t i = 0; i < from->header_count; i++)
		r->headers[i] = (struct kveil_header){copy_span(&at, from->headers[i].name),
						      copy_span(&at, from->headers[i].value)};
	return r;
}

void kveil_park_pop(struct kveil_worker *w, struct kveil_partition *p)
{
	struct kveil_queue *q = &p->waiting;
	struct kveil_waiting *r = q->first;

	q->first = r->next;
	if (!q->first)
		q->last = NULL;
	if (q->unseen == r)
		q->unseen = r->next;
	q->count--;
	q->bytes -= r->bytes;
	w->waiting.bytes -= r->bytes;
	kveil_secret_wipe(r, r->bytes);
	free(r);
}

void kveil_park_drop(struct kveil_worker *w, struct kveil_partition *p)
{
	while (p->waiting.first)
		kveil_park_pop(w, p);
	p->beyond = -1;
}

void kveil_park_add(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_incoming *in)
{
	struct kveil_queue *q = &p->waiting;
	size_t bytes = bytes_of(&in->record);
	struct kveil_waiting *r = has_room(w, p, bytes) ? copy(in, bytes) : NULL;

	w->waiting.any = true;
	if (!r) {
		kveil_hold(w, p);
		return;
	}
	if (q->last)
		q->last->next = r;
	else
		q->first = r;
	q->last = r;
	if (!q->unseen)
		q->unseen = r;
	q->count++;
	q->bytes += bytes;
	w->waiting.bytes += bytes;
}

/* --- why --- */

static void wait_for(struct kveil_worker *w, struct kveil_partition *p, enum kveil_wait what, int ms)
{
	p->wait = what;
	p->park.due_ms = kveil_clock_mono_ms() + ms;
	w->waiting.any = true;
}

static void tell(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	if (!p->park.in_outage) {
		p->park.in_outage = true;
		w->outage.partitions++;
	}
	kveil_tell_outage(w, p, why);
}

void kveil_park_wait_out(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	tell(w, p, why);
	wait_for(w, p, KVEIL_WAIT_OUTAGE, kveil_back_off_of(w, p->park.outage_tries++));
}

/* The record names a key that is to be made. */
static void wait_for_names(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	struct kveil_error ignored;
	bool made = p->park.name_tries && !kveil_maker_result(w->maker, &ignored);

	if (!p->park.name_tries || !made)
		p->park.name_tries = 1;
	else if (++p->park.name_tries > SOON_TRIES + 1) {
		kveil_park_wait_out(w, p, why);
		return;
	}
	kveil_count_retry(w, why->status);
	p->park.round = kveil_maker_want(w->maker);
	wait_for(w, p, KVEIL_WAIT_NAMES, made ? kveil_back_off_of(w, p->park.name_tries) : 0);
}

/* The record names a schema that is asked for. A registry may take long to answer, or to know it. */
static void wait_for_schema(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	int64_t now = kveil_clock_mono_ms();

	if (!p->park.schema_ms)
		p->park.schema_ms = now;
	else if (now - p->park.schema_ms > SCHEMA_TELL_MS)
		tell(w, p, why);
	p->park.round = kveil_resolver_round(w->resolver);
	wait_for(w, p, KVEIL_WAIT_SCHEMA, SCHEMA_MS);
}

void kveil_park(struct kveil_worker *w, struct kveil_partition *p, const struct kveil_error *why)
{
	if (why->status == KVEIL_E_KEY_PENDING)
		wait_for_names(w, p, why);
	else if (why->status == KVEIL_E_SCHEMA_PENDING)
		wait_for_schema(w, p, why);
	else
		kveil_park_wait_out(w, p, why);
}

void kveil_park_for_room(struct kveil_worker *w, struct kveil_partition *p)
{
	kveil_park_over(w, p); /* whatever it waited for was there */
	wait_for(w, p, KVEIL_WAIT_LANE, 0);
}

void kveil_park_after_fault(struct kveil_worker *w, struct kveil_partition *p, unsigned failures)
{
	p->park.blocked_on = NULL;
	wait_for(w, p, KVEIL_WAIT_LANE, kveil_back_off_of(w, failures));
}

void kveil_park_over(struct kveil_worker *w, struct kveil_partition *p)
{
	p->wait = KVEIL_WAIT_NONE;
	p->park.outage_tries = p->park.name_tries = 0;
	p->park.schema_ms = 0;
	if (!p->park.in_outage)
		return;
	p->park.in_outage = false;
	w->outage.partitions--;
	kveil_tell_outage_over(w);
}

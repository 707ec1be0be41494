/* SPDX-License-Identifier: Apache-2.0 */
/* Schemas fetched and registered, on a thread of its own. */
#include "worker/resolver.h"

#include "base/back_off.h"
#include "base/clock.h"
#include "base/thread.h"
#include "crypto/crypto.h"
#include "worker/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	TURN_MS = 250,        /* how soon it sees that it is to end */
	AGAIN_FIRST_MS = 200, /* between two askings of a question that had no answer yet */
	AGAIN_MOST_MS = 2000,
	FRESH_MS = 1000,       /* which version is the latest; longer than between two trials */
	FORGET_MS = 60 * 1000, /* an answer that nobody asked for again: the client remembers longer */
	CROWDED_MS = 5 * 1000, /* the same while they all take more than */
	CROWDED_BYTES = 16 << 20,
};

enum kind { WRITER, VERSION, LATEST, TRY, LOOK_UP, REGISTER };

struct question {
	struct question *next;
	enum kind kind;
	bool normalize;
	struct kveil_schema_id id; /* of a writer's schema */
	uint32_t number;           /* of a version; 0: the latest */
	char *context, *subject;   /* subject: of all others */
	struct kveil_buf text;

	bool queued, busy;
	unsigned tries; /* without an answer */
	int64_t again_ms, asked_ms;
	enum kveil_status status; /* of the last answer; SCHEMA_PENDING: there is none */
	struct kveil_error error;
	const struct kveil_schemas_schema *schema;
	struct kveil_schemas_id derived;
	struct kveil_schemas_version version;
};

struct kveil_resolver {
	struct kveil_schemas *client; /* the thread's */
	struct kveil_health *health;
	struct kveil_loop *loop; /* NULL: not watched now */
	struct kveil_cell *up;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct question *first; /* under lock; in the order in which they came */
	size_t bytes;           /* of their texts, when it was looked at last; under lock */
	bool ending;            /* under lock */
	_Atomic uint64_t round;
};

/* --- questions; under lock --- */

static void free_question(struct question *q)
{
	kveil_schemas_schema_unref(q->schema);
	kveil_buf_clear(&q->text);
	free(q->context);
	free(q->subject);
	free(q);
}

static bool are_same(const struct question *a, const struct question *b)
{
	if (a->kind != b->kind || strcmp(a->context, b->context) != 0)
		return false;
	if (a->kind == WRITER)
		return kveil_schema_id_eq(&a->id, &b->id);
	return a->number == b->number && a->normalize == b->normalize && strcmp(a->subject, b->subject) == 0 &&
	       kveil_span_eq(kveil_buf_span(&a->text), kveil_buf_span(&b->text));
}

static size_t bytes_of(const struct question *q)
{
	return sizeof *q + q->text.cap + (q->schema ? q->schema->text.len : 0);
}

static void forget_old(struct kveil_resolver *r, int64_t now)
{
	int64_t most_ms = r->bytes > CROWDED_BYTES ? CROWDED_MS : FORGET_MS;

	r->bytes = 0;
	for (struct question **at = &r->first, *q; (q = *at);) {
		if (q->queued || q->busy || now - q->asked_ms < most_ms) {
			r->bytes += bytes_of(q);
			at = &q->next;
			continue;
		}
		*at = q->next;
		free_question(q);
	}
}

static struct question *copy(const struct question *q)
{
	struct question *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	*c = (struct question){.kind = q->kind,
			       .normalize = q->normalize,
			       .id = q->id,
			       .number = q->number,
			       .context = strdup(q->context),
			       .subject = q->subject ? strdup(q->subject) : NULL,
			       .status = KVEIL_E_SCHEMA_PENDING};
	kveil_fail(&c->error, c->status, "the schema registry is being asked");
	kveil_buf_append_span(&c->text, kveil_buf_span(&q->text));
	if (c->context && (c->subject || !q->subject) && kveil_buf_ok(&c->text))
		return c;
	free_question(c);
	return NULL;
}

static struct question *find_or_add(struct kveil_resolver *r, const struct question *q)
{
	struct question **at = &r->first;

	forget_old(r, kveil_clock_mono_ms());
	while (*at && !are_same(*at, q))
		at = &(*at)->next;
	if (!*at)
		*at = copy(q);
	return *at;
}

/* Which is the latest changes; all other answers are for good. */
static bool is_of_latest(const struct question *q)
{
	return q->kind == LATEST || (q->kind == VERSION && !q->number);
}

/* Has it asked again where that is due. The question as it stands, or NULL: no memory. */
static struct question *ask(struct kveil_resolver *r, const struct question *q)
{
	struct question *known = find_or_add(r, q);
	int64_t now = kveil_clock_mono_ms();

	if (!known)
		return NULL;
	known->asked_ms = now;
	if ((known->status || is_of_latest(known)) && !known->queued && !known->busy && now >= known->again_ms) {
		known->queued = true;
		known->status = kveil_fail(&known->error, KVEIL_E_SCHEMA_PENDING, "the schema registry is being asked");
		pthread_cond_signal(&r->changed);
	}
	return known;
}

/* --- the thread --- */

/* A question's own words stay while it is busy. */
static enum kveil_status call(struct kveil_resolver *r, const struct question *q, struct question *answered,
			      struct kveil_error *err)
{
	const struct kveil_schemas_place at = {q->context, q->subject, q->normalize};

	const struct kveil_span text = kveil_buf_span(&q->text);

	switch (q->kind) {
	case WRITER:
		return q->id.is_guid ? kveil_schemas_by_guid(r->client, q->id.guid, &answered->schema, err)
				     : kveil_schemas_by_id(r->client, q->context, q->id.id, &answered->schema, err);
	case VERSION:
	case LATEST:
		return kveil_schemas_find_version(r->client, &at, q->number, &answered->version, err);
	case TRY:
		return kveil_schemas_try(r->client, &at, text, err);
	case LOOK_UP:
		return kveil_schemas_look_up(r->client, &at, text, &answered->derived, err);
	case REGISTER:
		break;
	}
	return kveil_schemas_register(r->client, &at, text, &answered->derived, err);
}

/* What no record waits for comes behind all that one does. */
static bool is_trial(const struct question *q)
{
	return q->kind == LATEST || q->kind == TRY;
}

static void answer(struct kveil_resolver *r, struct question *q)
{
	struct question answered = {0};
	struct kveil_error err = {0};

	pthread_mutex_unlock(&r->lock);
	/* A call has its own time, which may be longer than a turn of the watched. */
	if (r->loop)
		kveil_loop_end(r->loop);
	enum kveil_status status = call(r, q, &answered, &err);
	r->loop = kveil_health_loop(r->health, "schema registry");
	if (status == KVEIL_E_SCHEMA_PENDING && kveil_failpoint("schemas-unknown-at-once"))
		status = kveil_fail(&err, KVEIL_E_UNKNOWN_SCHEMA, "a test wants it so");
	kveil_cell_set(r->up, status != KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE);
	pthread_mutex_lock(&r->lock);
	q->busy = false;
	q->status = status;
	q->error = err;
	q->schema = answered.schema;
	q->derived = answered.derived;
	q->version = answered.version;
	if (!status && is_of_latest(q))
		q->again_ms = kveil_clock_mono_ms() + (is_trial(q) ? AGAIN_MOST_MS : FRESH_MS);
	if (status) {
		uint32_t draw = 0;
		(void)!kveil_crypto_random(&draw, sizeof draw, NULL);
		q->again_ms =
		    kveil_clock_mono_ms() + kveil_back_off_ms(AGAIN_FIRST_MS, AGAIN_MOST_MS, q->tries++, draw);
	}
	atomic_fetch_add_explicit(&r->round, 1, memory_order_release);
}

/* Under lock. */
static void wait_turn(struct kveil_resolver *r)
{
	struct timespec end = kveil_clock_timespec(kveil_clock_mono_ms() + TURN_MS);

	pthread_cond_clockwait(&r->changed, &r->lock, CLOCK_MONOTONIC, &end);
}

static struct question **first_queued(struct kveil_resolver *r, bool trials)
{
	struct question **at = &r->first;

	while (*at && (!(*at)->queued || is_trial(*at) != trials))
		at = &(*at)->next;
	return at;
}

/* Behind what stands in front of it: a question that is asked again lets others go first. Under lock. */
static struct question *take_next(struct kveil_resolver *r)
{
	struct question **at = first_queued(r, false);

	at = *at ? at : first_queued(r, true);
	struct question *q = *at;
	if (!q)
		return NULL;
	*at = q->next;
	q->next = NULL;
	for (at = &r->first; *at;)
		at = &(*at)->next;
	*at = q;
	q->queued = false;
	q->busy = true;
	return q;
}

static void *resolver_main(void *resolver)
{
	struct kveil_resolver *r = resolver;

	pthread_mutex_lock(&r->lock);
	while (!r->ending) {
		struct question *q = take_next(r);
		if (r->loop)
			kveil_loop_beat(r->loop);
		if (q)
			answer(r, q);
		else
			wait_turn(r);
	}
	pthread_mutex_unlock(&r->lock);
	if (r->loop)
		kveil_loop_end(r->loop);
	return NULL;
}

static void free_all(struct kveil_resolver *r)
{
	for (struct question *q = r->first, *next; q; q = next) {
		next = q->next;
		free_question(q);
	}
	pthread_cond_destroy(&r->changed);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

struct kveil_resolver *kveil_resolver_new(struct kveil_schemas *client, struct kveil_health *health,
					  struct kveil_metrics *metrics)
{
	struct kveil_resolver *r = calloc(1, sizeof *r);

	if (!r)
		return NULL;
	r->client = client;
	r->health = health;
	r->loop = kveil_health_loop(health, "schema registry");
	r->up = kveil_metrics_cell(metrics, KVEIL_M_SCHEMA_REGISTRY_UP, NULL, NULL);
	kveil_cell_set(r->up, 1);
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->changed, NULL);
	if (r->loop && pthread_create(&r->thread, NULL, resolver_main, r) == 0)
		return r;
	if (r->loop)
		kveil_loop_end(r->loop);
	free_all(r);
	return NULL;
}

bool kveil_resolver_free(struct kveil_resolver *r, int64_t end_ms)
{
	if (!r)
		return true;
	pthread_mutex_lock(&r->lock);
	r->ending = true;
	pthread_cond_signal(&r->changed);
	pthread_mutex_unlock(&r->lock);
	kveil_schemas_interrupt(r->client);
	if (!kveil_thread_ends_by(r->thread, end_ms))
		return false;
	free_all(r);
	return true;
}

/* --- any thread --- */

enum kveil_status kveil_resolver_writer(struct kveil_resolver *r, const char *context, const struct kveil_schema_id *id,
					const struct kveil_schemas_schema **ret, struct kveil_error *err)
{
	const struct question q = {.kind = WRITER, .id = *id, .context = (char *)context};

	*ret = NULL;
	pthread_mutex_lock(&r->lock);
	const struct question *known = ask(r, &q);
	enum kveil_status status = known ? known->status : kveil_no_memory(err, "a schema");
	if (known && status)
		*err = known->error;
	if (known && !status) {
		*ret = known->schema;
		kveil_schemas_schema_ref(*ret);
	}
	pthread_mutex_unlock(&r->lock);
	return status;
}

/* Borrowed for the comparison; what is kept is a copy. */
static struct question of_subject(enum kind kind, const struct kveil_schemas_place *at, struct kveil_span text)
{
	return (struct question){.kind = kind,
				 .normalize = at->normalize,
				 .context = (char *)at->context,
				 .subject = (char *)at->subject,
				 .text = {.data = (uint8_t *)text.data, .len = text.len}};
}

/* ret: what was found, without what it owns. */
static enum kveil_status ask_of_subject(struct kveil_resolver *r, const struct question *q, struct question *ret,
					struct kveil_error *err)
{
	pthread_mutex_lock(&r->lock);
	const struct question *known = ask(r, q);
	enum kveil_status status = known ? known->status : kveil_no_memory(err, "a schema");
	if (known && status)
		*err = known->error;
	if (known && !status)
		*ret = (struct question){.derived = known->derived, .version = known->version};
	pthread_mutex_unlock(&r->lock);
	return status;
}

enum kveil_status kveil_resolver_derived(struct kveil_resolver *r, const struct kveil_schemas_place *at, bool registers,
					 struct kveil_span text, struct kveil_schemas_id *ret, struct kveil_error *err)
{
	const struct question q = of_subject(registers ? REGISTER : LOOK_UP, at, text);
	struct question found;
	enum kveil_status status = ask_of_subject(r, &q, &found, err);

	if (!status)
		*ret = found.derived;
	return status;
}

enum kveil_status kveil_resolver_version(struct kveil_resolver *r, const struct kveil_schemas_place *at,
					 uint32_t number, struct kveil_schemas_version *ret, struct kveil_error *err)
{
	struct question q = of_subject(VERSION, at, KVEIL_SPAN_NULL), found;

	q.number = number;
	enum kveil_status status = ask_of_subject(r, &q, &found, err);
	if (!status)
		*ret = found.version;
	return status;
}

enum kveil_status kveil_resolver_latest(struct kveil_resolver *r, const struct kveil_schemas_place *at,
					struct kveil_schemas_version *ret, struct kveil_error *err)
{
	const struct question q = of_subject(LATEST, at, KVEIL_SPAN_NULL);
	struct question found;
	enum kveil_status status = ask_of_subject(r, &q, &found, err);

	if (!status)
		*ret = found.version;
	return status;
}

enum kveil_status kveil_resolver_try(struct kveil_resolver *r, const struct kveil_schemas_place *at,
				     struct kveil_span text, struct kveil_error *err)
{
	const struct question q = of_subject(TRY, at, text);
	struct question none;

	return ask_of_subject(r, &q, &none, err);
}

uint64_t kveil_resolver_round(const struct kveil_resolver *r)
{
	return atomic_load_explicit(&r->round, memory_order_acquire);
}

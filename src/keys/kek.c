/* SPDX-License-Identifier: Apache-2.0 */
/* Between kveil and its custodians: one call at a time, and none while a custodian that failed is let rest. Whatever
 * asks (the keeper, workers, the registry), the custodian sees one request and then nothing until the wait is over. */
#include "keys/provider.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { REST_MS = 1000, REST_MAX_MS = 30000, CALL_MS = 10000 };

/* A call that may never come back is made by a thread of its own, on bytes of its own. */
struct call {
	pthread_mutex_t lock;
	pthread_cond_t end;
	pthread_t thread;
	bool started;
	bool ended; /* under lock; the rest is the thread's until then */
	struct kveil_kek *kek;
	uint8_t *in; /* secret memory */
	size_t in_len;
	struct kveil_buf wrapped; /* what wrap gave */
	uint8_t *plain;           /* what unwrap gave: secret memory; NULL: this is a wrap */
	size_t room, len;
	enum kveil_status status;
	struct kveil_error why;
};

struct kveil_kek_gate {
	pthread_mutex_t lock;    /* held over the custodian's call: who waits for it learns what became of it */
	int64_t closed_until_ms; /* monotonic */
	unsigned failures;       /* in a row */
	struct kveil_error why;  /* of the last one */
	struct call *stuck;      /* one that has not come back; NULL = none */
};

enum kveil_status kveil_kek_open(const struct kveil_provider *p, const char *name, const void *params,
				 const char *base_dir, struct kveil_kek **ret, struct kveil_error *err)
{
	struct kveil_kek_gate *gate = calloc(1, sizeof *gate);

	if (!gate)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for KEK '%s'", name);
	enum kveil_status status = p->open(name, params, base_dir, ret, err);
	if (status) {
		free(gate);
		return status;
	}
	pthread_mutex_init(&gate->lock, NULL);
	(*ret)->gate = gate;
	return KVEIL_OK;
}

/* --- calls that may hang --- */

/* Of a call that has ended, or never began. */
static void call_free(struct call *c)
{
	if (!c)
		return;
	if (c->started)
		pthread_join(c->thread, NULL);
	kveil_secret_free(c->in);
	kveil_secret_free(c->plain);
	kveil_buf_clear(&c->wrapped);
	pthread_cond_destroy(&c->end);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* room 0: wrap. NULL: out of memory. */
static struct call *call_new(struct kveil_kek *kek, struct kveil_span in, size_t room)
{
	struct call *c = calloc(1, sizeof *c);
	pthread_condattr_t monotonic;

	if (!c)
		return NULL;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&c->end, &monotonic);
	pthread_condattr_destroy(&monotonic);
	c->kek = kek;
	c->in_len = in.len;
	c->room = room;
	c->in = kveil_secret_alloc(in.len + 1);
	c->plain = room ? kveil_secret_alloc(room) : NULL;
	if (!c->in || (room && !c->plain)) {
		call_free(c);
		return NULL;
	}
	if (in.len)
		memcpy(c->in, in.data, in.len);
	return c;
}

static void *call_main(void *call)
{
	struct call *c = call;
	const struct kveil_provider *p = c->kek->provider;
	struct kveil_span in = {c->in, c->in_len};

	c->status = c->plain ? p->unwrap(c->kek, in, c->plain, c->room, &c->len, &c->why)
			     : p->wrap(c->kek, in, &c->wrapped, &c->why);
	pthread_mutex_lock(&c->lock);
	c->ended = true;
	pthread_cond_signal(&c->end);
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

static bool has_ended(struct call *c, int ms)
{
	int64_t until = kveil_clock_mono_ms() + ms;
	struct timespec t = {.tv_sec = until / 1000, .tv_nsec = (long)(until % 1000) * 1000000};
	int e = 0;

	pthread_mutex_lock(&c->lock);
	while (!c->ended && e == 0)
		e = pthread_cond_timedwait(&c->end, &c->lock, &t);
	bool ret = c->ended;
	pthread_mutex_unlock(&c->lock);
	return ret;
}

static bool call_start(struct call *c)
{
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	c->started = pthread_create(&c->thread, NULL, call_main, c) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return c->started;
}

/* OK: *ret has the answer, whatever it is. */
static enum kveil_status call_within_time(struct kveil_kek *kek, struct kveil_span in, size_t room, struct call **ret,
					  struct kveil_error *err)
{
	struct kveil_kek_gate *gate = kek->gate;

	if (gate->stuck && !has_ended(gate->stuck, 0))
		return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: a call has not come back yet", kek->name);
	call_free(gate->stuck);
	gate->stuck = NULL;
	struct call *c = call_new(kek, in, room);
	if (!c || !call_start(c)) {
		call_free(c);
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory to ask KEK '%s'", kek->name);
	}
	if (!has_ended(c, CALL_MS)) {
		gate->stuck = c;
		return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: no answer within %d s", kek->name,
				  CALL_MS / 1000);
	}
	*ret = c;
	return KVEIL_OK;
}

static enum kveil_status wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
			      struct kveil_error *err)
{
	struct call *c = NULL;

	if (!kek->provider->may_hang)
		return kek->provider->wrap(kek, plain, wrapped, err);
	enum kveil_status status = call_within_time(kek, plain, 0, &c, err);
	if (status)
		return status;
	status = c->status;
	*err = c->why;
	if (!status)
		kveil_buf_append_span(wrapped, kveil_buf_span(&c->wrapped));
	if (!status && !kveil_buf_ok(wrapped))
		status = kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory to wrap a key");
	call_free(c);
	return status;
}

static enum kveil_status unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				size_t *ret_len, struct kveil_error *err)
{
	struct call *c = NULL;

	if (!kek->provider->may_hang)
		return kek->provider->unwrap(kek, wrapped, plain, room, ret_len, err);
	enum kveil_status status = call_within_time(kek, wrapped, room, &c, err);
	if (status)
		return status;
	status = c->status;
	*err = c->why;
	if (!status) {
		memcpy(plain, c->plain, c->len);
		*ret_len = c->len;
	}
	call_free(c);
	return status;
}

/* --- the gate --- */

void kveil_kek_close(struct kveil_kek *kek)
{
	if (!kek)
		return;
	struct kveil_kek_gate *gate = kek->gate;
	/* A thread that is still inside keeps what it uses. */
	if (gate->stuck && !has_ended(gate->stuck, 0))
		return;
	call_free(gate->stuck);
	kek->provider->close(kek);
	pthread_mutex_destroy(&gate->lock);
	free(gate);
}

/* OK: the gate is held, and leave() has to follow. Otherwise the custodian rests, and this is why. */
static enum kveil_status enter(struct kveil_kek_gate *gate, struct kveil_error *err)
{
	pthread_mutex_lock(&gate->lock);
	if (kveil_clock_mono_ms() >= gate->closed_until_ms)
		return KVEIL_OK;
	enum kveil_status status = gate->why.status;
	if (err)
		*err = gate->why;
	pthread_mutex_unlock(&gate->lock);
	return status;
}

int64_t kveil_kek_rest_ms(unsigned failures)
{
	int64_t wait = REST_MS;
	uint32_t draw = 0;

	for (unsigned i = 0; i < failures && wait < REST_MAX_MS; i++)
		wait *= 2;
	if (wait > REST_MAX_MS)
		wait = REST_MAX_MS;
	(void)!kveil_crypto_random(&draw, sizeof draw, NULL);
	return wait / 2 + draw % (wait / 2 + 1);
}

/* Bytes that this KEK did not wrap, or a lack of memory here, say nothing about the custodian. */
static enum kveil_status leave(struct kveil_kek_gate *gate, enum kveil_status status, const struct kveil_error *why,
			       struct kveil_error *err)
{
	if (status && status != KVEIL_E_WRONG_KEK && kveil_status_class(status) != KVEIL_CLASS_STOP) {
		gate->why = *why;
		gate->closed_until_ms = kveil_clock_mono_ms() + kveil_kek_rest_ms(gate->failures++);
	} else {
		gate->failures = 0;
	}
	pthread_mutex_unlock(&gate->lock);
	if (status && err)
		*err = *why;
	return status;
}

void kveil_kek_rest(struct kveil_kek *kek, const struct kveil_error *why)
{
	struct kveil_kek_gate *gate = kek->gate;

	pthread_mutex_lock(&gate->lock);
	gate->why = *why;
	gate->closed_until_ms = kveil_clock_mono_ms() + kveil_kek_rest_ms(gate->failures++);
	pthread_mutex_unlock(&gate->lock);
}

enum kveil_status kveil_kek_last(struct kveil_kek *kek, struct kveil_error *err)
{
	struct kveil_kek_gate *gate = kek->gate;

	pthread_mutex_lock(&gate->lock);
	enum kveil_status status = gate->failures ? gate->why.status : KVEIL_OK;
	if (status && err)
		*err = gate->why;
	pthread_mutex_unlock(&gate->lock);
	return status;
}

enum kveil_status kveil_kek_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				 struct kveil_error *err)
{
	struct kveil_error why;
	enum kveil_status status = enter(kek->gate, err);

	return status ? status : leave(kek->gate, wrap(kek, plain, wrapped, &why), &why, err);
}

enum kveil_status kveil_kek_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				   size_t *ret_len, struct kveil_error *err)
{
	struct kveil_error why;
	enum kveil_status status = enter(kek->gate, err);

	return status ? status : leave(kek->gate, unwrap(kek, wrapped, plain, room, ret_len, &why), &why, err);
}

enum kveil_status kveil_kek_rewrap(struct kveil_kek *kek, struct kveil_span wrapped, struct kveil_buf *again,
				   struct kveil_error *err)
{
	struct kveil_error why;

	if (!kek->provider->rewrap)
		return KVEIL_OK;
	enum kveil_status status = enter(kek->gate, err);
	return status ? status : leave(kek->gate, kek->provider->rewrap(kek, wrapped, again, &why), &why, err);
}

enum kveil_status kveil_kek_seal_keyset(struct kveil_kek *kek, struct kveil_span keyset, struct kveil_buf *sealed,
					struct kveil_error *err)
{
	struct kveil_error why;
	enum kveil_status status = enter(kek->gate, err);

	return status ? status : leave(kek->gate, kek->provider->seal_keyset(kek, keyset, sealed, &why), &why, err);
}

enum kveil_status kveil_kek_tend(struct kveil_kek *kek, struct kveil_error *err)
{
	struct kveil_error why;
	bool asked = false;

	if (!kek->provider->tend)
		return KVEIL_OK;
	enum kveil_status status = enter(kek->gate, err);
	if (status)
		return status;
	status = kek->provider->tend(kek, &asked, &why);
	if (asked)
		return leave(kek->gate, status, &why, err);
	pthread_mutex_unlock(&kek->gate->lock);
	return KVEIL_OK;
}

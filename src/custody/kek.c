/* SPDX-License-Identifier: Apache-2.0 */
/* Between kveil and its custodians: one call at a time, and none while a custodian that failed is let rest. Whatever
 * asks (the keeper, workers, the registry), the custodian sees one request and then nothing until the wait is over. */
#include "custody/provider.h"

#include "base/back_off.h"
#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum {
	REST_MS = 1000,
	REST_MAX_MS = 30000,
	CALL_MS = 10000,
	REOPEN_MS = 1000,
	REOPEN_MAX_MS = 10000,
	REOPEN_SHARE = 10
};

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
	const void *params; /* as it was opened */
	const char *base_dir;
	pthread_mutex_t lock;    /* held over the custodian's call: who waits for it learns what became of it */
	int64_t closed_until_ms; /* monotonic */
	unsigned failures;       /* in a row */
	struct kveil_error why;  /* of the last one */
	struct call *stuck;      /* one that has not come back; NULL = none */
	int64_t reopen_ms;       /* monotonic: not before */

	pthread_mutex_t state_lock; /* over the next: never held over a call */
	struct kveil_kek_state state;
	struct kveil_error last, reopening; /* of the last call; of the last opening anew; status OK: it went well */
};

enum kveil_status kveil_kek_open(const struct kveil_provider *p, const char *name, const void *params,
				 const char *base_dir, struct kveil_kek **ret, struct kveil_error *err)
{
	struct kveil_kek_gate *gate = calloc(1, sizeof *gate);

	if (!gate)
		return kveil_no_memory(err, "a KEK");
	enum kveil_status status = p->open(name, params, base_dir, ret, err);
	if (status) {
		free(gate);
		return status;
	}
	pthread_mutex_init(&gate->lock, NULL);
	pthread_mutex_init(&gate->state_lock, NULL);
	gate->params = params;
	gate->base_dir = base_dir;
	gate->state.expires_ms = p->expires_ms ? p->expires_ms(*ret) : 0;
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
	struct timespec t = kveil_clock_timespec(kveil_clock_mono_ms() + ms);
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
		return kveil_no_memory(err, "a question to a custodian");
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
		status = kveil_no_memory(err, "a wrapped key");
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
	pthread_mutex_destroy(&gate->state_lock);
	free(gate);
}

/* --- how it does --- */

/* why NULL: well. */
static void note_call(struct kveil_kek_gate *gate, const struct kveil_error *why)
{
	pthread_mutex_lock(&gate->state_lock);
	gate->state.asked_ms = kveil_clock_mono_ms();
	gate->state.failures += why != NULL;
	gate->last = why ? *why : (struct kveil_error){0};
	pthread_mutex_unlock(&gate->state_lock);
}

enum kveil_status kveil_kek_last(struct kveil_kek *kek, struct kveil_error *err)
{
	struct kveil_kek_gate *gate = kek->gate;

	pthread_mutex_lock(&gate->state_lock);
	const struct kveil_error *why = gate->last.status ? &gate->last : &gate->reopening;
	enum kveil_status status = why->status;
	if (status && err)
		*err = *why;
	pthread_mutex_unlock(&gate->state_lock);
	return status;
}

struct kveil_kek_state kveil_kek_state(struct kveil_kek *kek)
{
	pthread_mutex_lock(&kek->gate->state_lock);
	struct kveil_kek_state ret = kek->gate->state;
	pthread_mutex_unlock(&kek->gate->state_lock);
	return ret;
}

/* Does another one, as the next start would open it, open what this one wraps? */
static enum kveil_status is_same(struct kveil_kek *kek, struct kveil_kek *other, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf wrapped = KVEIL_BUF_INIT;
	uint8_t sample[32];
	size_t n = 0;
	enum kveil_status status = kveil_crypto_random(sample, sizeof sample, err);

	if (!status)
		status = kek->provider->wrap(kek, kveil_span_of(sample, sizeof sample), &wrapped, err);
	uint8_t *again = kveil_secret_alloc(wrapped.len + 1);
	if (!again)
		return kveil_secret_refused(err);
	if (!status && other->provider->can_unwrap(other))
		status = other->provider->unwrap(other, kveil_buf_span(&wrapped), again, wrapped.len, &n, err);
	kveil_secret_free(again);
	return status;
}

static enum kveil_status open_anew(struct kveil_kek *kek, int64_t *ret_expires_ms, struct kveil_error *err)
{
	struct kveil_kek_gate *gate = kek->gate;
	struct kveil_kek *other = NULL;
	struct kveil_error why;
	enum kveil_status status = kek->provider->open(kek->name, gate->params, gate->base_dir, &other, &why);

	if (!status) {
		*ret_expires_ms = kek->provider->expires_ms ? kek->provider->expires_ms(other) : 0;
		status = is_same(kek, other, &why);
		kek->provider->close(other);
	}
	if (!status)
		return KVEIL_OK;
	if (status == KVEIL_E_WRONG_KEK)
		kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: its file holds another key than at the start",
			   kek->name);
	else
		kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %.200s", kek->name, why.message);
	if (kveil_status_class(status) == KVEIL_CLASS_STOP) /* says nothing about the file */
		kveil_error_hint(err, "%s", why.hint);
	else
		kveil_error_hint(err,
				 "existing keys stay in use, but no new ones are made under it, and the next start "
				 "would fail: restore the file");
	return KVEIL_E_KEK_UNAVAILABLE;
}

/* A passphrase is made slow to try: that takes a tenth of the time at most. */
static int64_t reopen_from(int64_t begun_ms, int64_t ended_ms)
{
	int64_t rest = (ended_ms - begun_ms) * REOPEN_SHARE;

	return ended_ms + (rest < REOPEN_MS ? REOPEN_MS : rest > REOPEN_MAX_MS ? REOPEN_MAX_MS : rest);
}

enum kveil_status kveil_kek_reopen(struct kveil_kek *kek, struct kveil_error *err)
{
	struct kveil_kek_gate *gate = kek->gate;
	struct kveil_error why = {0};
	int64_t expires_ms = 0;

	if (!kek->provider->is_read_once)
		return KVEIL_OK;
	pthread_mutex_lock(&gate->lock);
	int64_t now = kveil_clock_mono_ms();
	if (now >= gate->reopen_ms) {
		(void)!open_anew(kek, &expires_ms, &why);
		gate->reopen_ms = reopen_from(now, kveil_clock_mono_ms());
		pthread_mutex_lock(&gate->state_lock);
		gate->state.failures += why.status && !gate->reopening.status;
		if (why.status)
			gate->state.asked_ms = now; /* the probe's turn is over */
		else
			gate->state.expires_ms = expires_ms;
		gate->reopening = why;
		pthread_mutex_unlock(&gate->state_lock);
	}
	why = gate->reopening;
	pthread_mutex_unlock(&gate->lock);
	if (why.status && err)
		*err = why;
	return why.status;
}

/* --- the gate --- */

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
	uint32_t draw = 0;

	(void)!kveil_crypto_random(&draw, sizeof draw, NULL);
	return kveil_back_off_ms(REST_MS, REST_MAX_MS, failures, draw);
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
	note_call(gate, gate->failures ? why : NULL);
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
	note_call(gate, why);
	pthread_mutex_unlock(&gate->lock);
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

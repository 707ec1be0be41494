/* SPDX-License-Identifier: Apache-2.0 */
/* The thread that makes the keys which records name: all that were asked for, in one write. */
#include "worker/maker.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum {
	TURN_MS = 250, /* how soon it sees that it is to end */
	PACE_MS = 100, /* between attempts while names wait for their turn */
};

struct kveil_maker {
	struct kveil_keystore *keys;
	struct kveil_loop *loop;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool wanted, busy, ending; /* under lock */
	_Atomic uint64_t round;
	enum kveil_status status; /* of the last attempt; under lock */
	struct kveil_error error;
	int64_t logged_ms;
};

/* Under lock. */
static void wait_ms(struct kveil_maker *m, int ms)
{
	struct timespec end = kveil_clock_timespec(kveil_clock_mono_ms() + ms);

	pthread_cond_clockwait(&m->changed, &m->lock, CLOCK_MONOTONIC, &end);
}

/* Names that wait for their turn are not a fault: said once a minute. What is a fault, whoever waits for the name says.
 */
static void tell(struct kveil_maker *m, const struct kveil_error *why)
{
	if (why->status == KVEIL_E_KEY_PENDING && kveil_clock_once_a_minute(&m->logged_ms, kveil_clock_mono_ms()))
		kveil_log_error(KVEIL_LOG_WARN, "keys", why);
}

static void make(struct kveil_maker *m)
{
	struct kveil_error err = {0};

	kveil_loop_beat(m->loop);
	enum kveil_status status = kveil_keystore_make_asked(m->keys, kveil_clock_wall_ms(), &err);
	kveil_loop_beat(m->loop);
	if (status)
		tell(m, &err);
	pthread_mutex_lock(&m->lock);
	m->busy = false;
	m->status = status;
	m->error = err;
	m->wanted |= status == KVEIL_E_KEY_PENDING;
	atomic_fetch_add_explicit(&m->round, 1, memory_order_release);
	int64_t end = kveil_clock_mono_ms() + PACE_MS;
	while (status && !m->ending && kveil_clock_mono_ms() < end)
		wait_ms(m, PACE_MS);
	pthread_mutex_unlock(&m->lock);
}

static void *maker_main(void *maker)
{
	struct kveil_maker *m = maker;
	bool ending = false;

	while (!ending) {
		kveil_loop_beat(m->loop);
		pthread_mutex_lock(&m->lock);
		if (!m->wanted && !m->ending)
			wait_ms(m, TURN_MS);
		ending = m->ending;
		bool wanted = m->wanted;
		m->wanted = false;
		m->busy = wanted && !ending;
		pthread_mutex_unlock(&m->lock);
		if (wanted && !ending)
			make(m);
	}
	kveil_loop_end(m->loop);
	return NULL;
}

struct kveil_maker *kveil_maker_new(struct kveil_keystore *keys, struct kveil_health *health)
{
	struct kveil_maker *m = calloc(1, sizeof *m);

	if (!m)
		return NULL;
	m->keys = keys;
	m->loop = kveil_health_loop(health, "named keys");
	pthread_mutex_init(&m->lock, NULL);
	pthread_cond_init(&m->changed, NULL);
	if (m->loop && pthread_create(&m->thread, NULL, maker_main, m) == 0)
		return m;
	if (m->loop)
		kveil_loop_end(m->loop);
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
	return NULL;
}

bool kveil_maker_free(struct kveil_maker *m, int64_t end_ms)
{
	if (!m)
		return true;
	pthread_mutex_lock(&m->lock);
	m->ending = true;
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
	if (!kveil_thread_ends_by(m->thread, end_ms))
		return false;
	pthread_cond_destroy(&m->changed);
	pthread_mutex_destroy(&m->lock);
	free(m);
	return true;
}

uint64_t kveil_maker_want(struct kveil_maker *m)
{
	pthread_mutex_lock(&m->lock);
	m->wanted = true;
	uint64_t ret = m->round + (m->busy ? 2 : 1);
	pthread_cond_signal(&m->changed);
	pthread_mutex_unlock(&m->lock);
	return ret;
}

uint64_t kveil_maker_round(const struct kveil_maker *m)
{
	return atomic_load_explicit(&m->round, memory_order_acquire);
}

enum kveil_status kveil_maker_result(struct kveil_maker *m, struct kveil_error *err)
{
	pthread_mutex_lock(&m->lock);
	enum kveil_status status = m->status;
	*err = m->error;
	pthread_mutex_unlock(&m->lock);
	return status;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Between kveil and its custodians: one call at a time, and none while a custodian that failed is let rest. Whatever
 * asks (the keeper, workers, the registry), the custodian sees one request and then nothing until the wait is over. */
#include "keys/provider.h"

#include "base/clock.h"
#include "crypto/crypto.h"

#include <pthread.h>
#include <stdlib.h>

enum { REST_MS = 1000, REST_MAX_MS = 30000 };

struct kveil_kek_gate {
	pthread_mutex_t lock;    /* held over the custodian's call: who waits for it learns what became of it */
	int64_t closed_until_ms; /* monotonic */
	unsigned failures;       /* in a row */
	struct kveil_error why;  /* of the last one */
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

void kveil_kek_close(struct kveil_kek *kek)
{
	if (!kek)
		return;
	struct kveil_kek_gate *gate = kek->gate;
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

/* Doubling, with half of it drawn: many processes whose custodian is away do not come back in step. */
static void rest(struct kveil_kek_gate *gate)
{
	int64_t wait = REST_MS;
	uint32_t draw = 0;

	for (unsigned i = 0; i < gate->failures && wait < REST_MAX_MS; i++)
		wait *= 2;
	if (wait > REST_MAX_MS)
		wait = REST_MAX_MS;
	(void)!kveil_crypto_random(&draw, sizeof draw, NULL);
	gate->failures++;
	gate->closed_until_ms = kveil_clock_mono_ms() + wait / 2 + draw % (wait / 2 + 1);
}

/* Bytes that this KEK did not wrap, or a lack of memory here, say nothing about the custodian. */
static enum kveil_status leave(struct kveil_kek_gate *gate, enum kveil_status status, const struct kveil_error *why,
			       struct kveil_error *err)
{
	if (status && status != KVEIL_E_WRONG_KEK && kveil_status_class(status) != KVEIL_CLASS_STOP) {
		gate->why = *why;
		rest(gate);
	} else {
		gate->failures = 0;
	}
	pthread_mutex_unlock(&gate->lock);
	if (status && err)
		*err = *why;
	return status;
}

enum kveil_status kveil_kek_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				 struct kveil_error *err)
{
	struct kveil_error why;
	enum kveil_status status = enter(kek->gate, err);

	return status ? status : leave(kek->gate, kek->provider->wrap(kek, plain, wrapped, &why), &why, err);
}

enum kveil_status kveil_kek_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
				   size_t *ret_len, struct kveil_error *err)
{
	struct kveil_error why;
	enum kveil_status status = enter(kek->gate, err);

	return status ? status
		      : leave(kek->gate, kek->provider->unwrap(kek, wrapped, plain, room, ret_len, &why), &why, err);
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

/* SPDX-License-Identifier: Apache-2.0 */
/* A thread's lease of nonces, and the versions that it bound. */
#include "keys/keyring.h"

#include "crypto/crypto.h"

enum {
	HOUR_MS = 3600 * 1000,
	RETRY_MS = 1000, /* between attempts to renew a lease that still holds */
};
#define LEASE_USES ((uint64_t)1 << 40)

/* A fresh lease; the one at hand is kept when there is none to be had. */
static enum kveil_status take_lease(struct kveil_keyring *ring, int64_t now_ms, struct kveil_error *err)
{
	uint32_t lease;
	uint64_t start = 0;
	/* The first is taken where the keys are bound; those after it while records flow. */
	bool by_keeper = ring->had_lease && atomic_load(&ring->ks->kept);
	enum kveil_status status = by_keeper ? kveil_keystore_next_lease(ring->ks, ring->asked_lease, &lease, err)
					     : kveil_keystore_lease(ring->ks, &lease, err);

	ring->asked_lease = by_keeper && status;
	if (!status && !ring->ks->in_memory.seeded)
		status = kveil_crypto_random(&start, sizeof start, err);
	if (status)
		return status;
	ring->lease = lease;
	ring->had_lease = true;
	ring->counter = start;
	ring->uses_left = LEASE_USES;
	ring->lease_end_ms = now_ms + HOUR_MS;
	ring->lease_renew_ms = now_ms + HOUR_MS * 3 / 4;
	ring->lease_retry_ms = 0;
	return KVEIL_OK;
}

static bool lease_holds(const struct kveil_keyring *ring, int64_t now_ms)
{
	/* A clock set back by more than the lease's age must not make it last longer. */
	return ring->uses_left && now_ms < ring->lease_end_ms && now_ms >= ring->lease_end_ms - 2 * HOUR_MS;
}

enum kveil_status kveil_keyring_tend_lease(struct kveil_keyring *ring, int64_t now_ms, struct kveil_error *err)
{
	bool holds = lease_holds(ring, now_ms);

	if (holds && now_ms < ring->lease_renew_ms && ring->uses_left > LEASE_USES / 4)
		return KVEIL_OK;
	if (holds && now_ms < ring->lease_retry_ms)
		return KVEIL_OK;
	struct kveil_error why;
	enum kveil_status status = take_lease(ring, now_ms, &why);
	if (!status)
		return KVEIL_OK;
	if (holds) {
		ring->lease_retry_ms = now_ms + RETRY_MS;
		return KVEIL_OK;
	}
	ring->uses_left = 0;
	if (kveil_status_class(status) != KVEIL_CLASS_CONFIG) {
		if (err)
			*err = why;
		return status;
	}
	/* The registry was whole when it was opened: what befell it since is waited out, as any outage. */
	kveil_fail(err, KVEIL_E_NO_LEASE, "no nonce lease: %s", why.message);
	kveil_error_hint(err, "%s", why.hint);
	return KVEIL_E_NO_LEASE;
}

void kveil_bound_init(struct kveil_bound *b, uint32_t id, const struct kveil_algorithm *alg, bool destroyed)
{
	*b = (struct kveil_bound){.id = id, .destroyed = destroyed, .alg = alg, .prefix = {1}};
	for (int i = 0; i < 4; i++)
		b->prefix[1 + i] = (uint8_t)(id >> (24 - 8 * i));
}

size_t kveil_bound_overhead(const struct kveil_algorithm *alg)
{
	return KVEIL_PREFIX_BYTES + alg->nonce_bytes + alg->overhead_bytes;
}

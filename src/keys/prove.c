/* SPDX-License-Identifier: Apache-2.0 */
/* Is a KEK the one that this registry was made with, and does it give back what it wraps? Asked before anything is
 * published: another server behind the same address, or another token with the same label, wraps as willingly. */
#include "keys/internal.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"

/* This KEK's own entry in the root; count 0: it has none. The caller clears it. */
static enum kveil_status entry_of(struct kveil_keystore *ks, const char *kek, struct kveil_registry_root *ret,
				  struct kveil_error *err)
{
	pthread_mutex_lock(&ks->io_lock);
	const struct kveil_registry_root *root = ks->registry->root;
	if (!root) { /* a backup, which is verified */
		pthread_mutex_unlock(&ks->io_lock);
		*ret = (struct kveil_registry_root){0};
		return KVEIL_OK;
	}
	*ret = kveil_registry_root_head(root);
	const struct kveil_registry_root_key *own = kveil_registry_root_find(root, kek);
	bool ok = !own || kveil_registry_root_add(ret, kek, kveil_span_of(own->wrapped, own->wrapped_len));
	pthread_mutex_unlock(&ks->io_lock);
	return ok ? KVEIL_OK : kveil_no_memory(err, "a KEK");
}

enum kveil_status kveil_keystore_prove_kek(struct kveil_keystore *ks, struct kveil_kek *kek, struct kveil_error *err)
{
	struct kveil_registry_secret *secret = NULL;
	struct kveil_registry_root entry;
	struct kveil_error why;

	enum kveil_status status = kveil_kek_reopen(kek, err);
	if (status || !kek->provider->can_unwrap(kek))
		return status;
	status = entry_of(ks, kek->name, &entry, err);
	if (!status && entry.count) {
		status = kveil_registry_root_open(&entry, &kek, 1, &secret, &why);
		bool same = !status && kveil_secret_eq(secret->root, ks->registry->secret->root, sizeof secret->root);
		kveil_secret_free(secret);
		if (kveil_status_class(status) == KVEIL_CLASS_CONFIG || (!status && !same))
			status =
			    kveil_kek_not_proved(kek, status, &why, err, "it does not open this registry's own secret");
		else if (status && err)
			*err = why;
	}
	kveil_registry_root_clear(&entry);
	return status;
}

/* --- now and then --- */

enum { PROBE_MS = 20000 };

/* As before a version is published, with bytes that are thrown away. */
void kveil_keystore_probe_kek(struct kveil_keystore *ks, struct kveil_kek *kek)
{
	KVEIL_CLEANUP_BUF struct kveil_buf wrapped = KVEIL_BUF_INIT;
	uint8_t sample[32];

	if (kveil_keystore_prove_kek(ks, kek, NULL) || kveil_crypto_random(sample, sizeof sample, NULL) ||
	    kveil_kek_wrap(kek, kveil_span_of(sample, sizeof sample), &wrapped, NULL))
		return;
	(void)!kveil_kek_prove_wrapped(kek, kveil_buf_span(&wrapped), kveil_span_of(sample, sizeof sample), NULL);
}

void kveil_keystore_probe(struct kveil_keystore *ks)
{
	struct kveil_kek *longest = NULL;
	int64_t now = kveil_clock_mono_ms(), since_ms = INT64_MAX;

	/* One a turn: none of them may take the keeper's time for long. One that failed is let rest by its gate. */
	for (size_t i = 0; i < ks->custodian_count; i++) {
		struct kveil_kek *kek = ks->custodians[i];
		int64_t asked_ms = kveil_kek_state(kek).asked_ms;
		if ((asked_ms && now - asked_ms < PROBE_MS && !kveil_kek_last(kek, NULL)) || asked_ms >= since_ms)
			continue;
		longest = kek;
		since_ms = asked_ms;
	}
	if (longest)
		kveil_keystore_probe_kek(ks, longest);
}

void kveil_keystore_keks(struct kveil_keystore *ks, kveil_kek_info_fn *fn, void *user)
{
	for (size_t i = 0; i < ks->custodian_count; i++) {
		struct kveil_kek *kek = ks->custodians[i];
		struct kveil_kek_state state = kveil_kek_state(kek);
		struct kveil_error why = {0};
		(void)!kveil_kek_last(kek, &why);
		fn(user,
		   &(struct kveil_kek_info){
		       .name = kek->name, .why = &why, .expires_ms = state.expires_ms, .failures = state.failures});
	}
}

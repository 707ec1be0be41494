/* SPDX-License-Identifier: Apache-2.0 */
/* Does a KEK give back what it wraps? One that does not counts as away. */
#include "custody/provider.h"

#include "base/secret.h"

/* An outage of this KEK, whatever the custodian thinks of it: it is let rest, and asked again. */
static enum kveil_status distrust(struct kveil_kek *kek, struct kveil_error *err, const char *why)
{
	struct kveil_error e;

	kveil_fail(&e, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %s: nothing is published under it", kek->name, why);
	kveil_error_hint(&e, "restore the key-encryption key that this registry was made with; kveil then resumes "
			     "by itself");
	kveil_kek_rest(kek, &e);
	if (err)
		*err = e;
	return KVEIL_E_KEK_UNAVAILABLE;
}

/* A KEK that could not be proved: a custodian that refuses is told as such, and let rest like one that is a stranger.
 */
enum kveil_status kveil_kek_not_proved(struct kveil_kek *kek, enum kveil_status status, const struct kveil_error *why,
				       struct kveil_error *err, const char *stranger)
{
	if (status != KVEIL_E_PERMISSIONS)
		return distrust(kek, err, stranger);
	struct kveil_error e = *why;
	e.status = KVEIL_E_KEK_UNAVAILABLE;
	kveil_kek_rest(kek, &e);
	if (err)
		*err = e;
	return e.status;
}

enum kveil_status kveil_kek_prove_wrapped(struct kveil_kek *kek, struct kveil_span wrapped, struct kveil_span payload,
					  struct kveil_error *err)
{
	size_t n = 0, room = wrapped.len > payload.len ? wrapped.len : payload.len;
	struct kveil_error why;

	if (!kek->provider->can_unwrap(kek))
		return KVEIL_OK;
	uint8_t *again = kveil_secret_alloc(room);
	if (!again)
		return kveil_secret_refused(err);
	enum kveil_status status = kveil_kek_unwrap(kek, wrapped, again, room, &n, &why);
	bool same = !status && n == payload.len && kveil_secret_eq(again, payload.data, n);
	kveil_secret_free(again);
	if (kveil_status_class(status) == KVEIL_CLASS_CONFIG || (!status && !same))
		return kveil_kek_not_proved(kek, status, &why, err, "it does not give back what it wrapped");
	if (status && err)
		*err = why;
	return status;
}

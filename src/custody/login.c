/* SPDX-License-Identifier: Apache-2.0 */
/* Logging in to a custodian, once for each secret. */
#include "custody/login.h"

#include "base/clock.h"
#include "base/secret.h"
#include "crypto/crypto.h"
#include "custody/files.h"

#include <stdlib.h>
#include <string.h>

static enum kveil_status digest(const struct kveil_login *l, uint8_t out[32], struct kveil_error *err)
{
	return kveil_crypto_sha256(kveil_span_str(l->current), out, err);
}

static enum kveil_status read_again(struct kveil_login *l, struct kveil_error *err)
{
	struct kveil_error why;
	char *now = NULL;
	enum kveil_status status = l->source ? kveil_files_read_again(l->folder, l->source, &now, &why) : KVEIL_OK;

	if (status == KVEIL_E_NO_MEMORY)
		return kveil_fail(err, status, "%s", why.message);
	if (status)
		return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %s: %.200s", l->kek, l->what, why.message);
	if (!now && !(now = strdup(l->text)))
		return kveil_no_memory(err, NULL);
	kveil_login_clear(l);
	l->current = now;
	return KVEIL_OK;
}

static enum kveil_status not_due(const struct kveil_login *l, struct kveil_error *err)
{
	int64_t minutes = (l->refused_until_ms - kveil_clock_mono_ms()) / 60000 + 1;

	if (l->rest_ms == INT64_MAX)
		kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %s was refused and is not tried twice", l->kek,
			   l->what);
	else
		kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %s was refused and is not tried again for %lld min",
			   l->kek, l->what, (long long)minutes);
	kveil_error_hint(err, l->source ? "write another one into its file: it is read again"
					: "correct it and restart, or use ${file:PATH}, which is read again");
	return KVEIL_E_KEK_UNAVAILABLE;
}

enum kveil_status kveil_login_secret(struct kveil_login *l, const char **ret, struct kveil_error *err)
{
	uint8_t now[32];
	enum kveil_status status = read_again(l, err);

	if (!status)
		status = digest(l, now, err);
	if (status)
		return status;
	if (l->refused_until_ms && kveil_clock_mono_ms() < l->refused_until_ms &&
	    kveil_secret_eq(now, l->refused, sizeof now))
		return not_due(l, err);
	*ret = l->current;
	return KVEIL_OK;
}

enum kveil_status kveil_login_refuse(struct kveil_login *l, const char *why, struct kveil_error *err)
{
	if (digest(l, l->refused, err))
		return KVEIL_E_CRYPTO;
	l->refused_until_ms = l->rest_ms == INT64_MAX ? INT64_MAX : kveil_clock_mono_ms() + l->rest_ms;
	struct kveil_error e;
	(void)!not_due(l, &e);
	kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "%.160s (%s)", e.message, why);
	kveil_error_hint(err, "%s", e.hint);
	return KVEIL_E_KEK_UNAVAILABLE;
}

void kveil_login_clear(struct kveil_login *l)
{
	if (l->current)
		kveil_secret_wipe(l->current, strlen(l->current));
	free(l->current);
	l->current = NULL;
}

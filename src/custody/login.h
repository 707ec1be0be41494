/* SPDX-License-Identifier: Apache-2.0 */
/*
 * custody/login.h: a secret with which a provider logs in, and whether it was refused. Servers lock roles out and
 * tokens lock themselves: what was refused is not tried again before the text behind it changes, or a long time has
 * passed.
 *
 * One thread at a time, as a provider's calls are.
 */
#ifndef KVEIL_CUSTODY_LOGIN_H
#define KVEIL_CUSTODY_LOGIN_H

#include "kveil/base.h"

struct kveil_login {
	const char *kek, *what;   /* for messages: "secret_id" */
	const char *text;         /* as configured */
	const char *source;       /* NULL: no file stands behind it (options.h: source) */
	const char *folder;       /* of source */
	int64_t rest_ms;          /* the long time; INT64_MAX: only a change helps */
	char *current;            /* owned: as it was read last */
	uint8_t refused[32];      /* digest of what was refused */
	int64_t refused_until_ms; /* monotonic; 0 = nothing was refused */
};

/* The secret to log in with now: l's, NUL-terminated. KEK_UNAVAILABLE: it cannot be read, or it was refused and is not
 * due. */
enum kveil_status kveil_login_secret(struct kveil_login *l, const char **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The custodian refused what kveil_login_secret gave last. why: its words. Gives KEK_UNAVAILABLE with what helps. */
enum kveil_status kveil_login_refuse(struct kveil_login *l, const char *why, struct kveil_error *err);
void kveil_login_clear(struct kveil_login *l); /* wipes */

#endif

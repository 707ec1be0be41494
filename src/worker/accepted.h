/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/accepted.h: the rules that were accepted last, as the key registry remembers them for the whole group: so that
 * a restart with weaker rules is noticed. Rules that protect no less are accepted by themselves, weaker ones by SIGHUP
 * or `kveil rules accept`.
 *
 * What is kept is the text of the rule files (rules/describe.c), which holds no secrets; of a set too large for the
 * registry its digest alone, and then losses cannot be named. One thread at a time; calls wait for the registry.
 */
#ifndef KVEIL_WORKER_ACCEPTED_H
#define KVEIL_WORKER_ACCEPTED_H

#include "keys/keystore.h"
#include "rules/plan.h"

enum kveil_accepted {
	KVEIL_ACCEPTED_NOTHING, /* no rules were accepted yet */
	KVEIL_ACCEPTED_SAME,
	KVEIL_ACCEPTED_OTHER, /* and these protect no less */
	KVEIL_ACCEPTED_MORE,  /* these protect less: each loss is a warning in losses */
};

/* Holds rules against the accepted ones. */
enum kveil_status kveil_accepted_compare(struct kveil_keystore *keys, const struct kveil_plan_set *rules,
					 enum kveil_accepted *ret, struct kveil_report *losses,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* From now on these are the accepted rules. */
enum kveil_status kveil_accepted_keep(struct kveil_keystore *keys, const struct kveil_plan_set *rules,
				      struct kveil_error *err) KVEIL_MUST_CHECK;

/* Tells rule sets apart: the first 12 hexadecimal digits of the SHA-256 of their text, with NUL. */
enum { KVEIL_RULES_DIGEST_SIZE = 13 };
enum kveil_status kveil_rules_digest(const struct kveil_plan_set *rules, char ret[KVEIL_RULES_DIGEST_SIZE],
				     struct kveil_error *err) KVEIL_MUST_CHECK;
/* Tells files apart, also those that nobody understands: the same of their bytes, one after the other. "": one of them
 * cannot be read. */
void kveil_files_digest(const char *const *files, char ret[KVEIL_RULES_DIGEST_SIZE]);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/setup.h: kveil.yaml and the rules that it names, as `run`, `replay` and `check` read them: every problem of
 * both, and of the two together, in one round.
 */
#ifndef KVEIL_WORKER_SETUP_H
#define KVEIL_WORKER_SETUP_H

#include "config/config.h"
#include "keys/keystore.h"
#include "rules/plan.h"

struct kveil_setup {
	struct kveil_config *config;
	struct kveil_keystore *names; /* what the configuration says of keys: rules are checked against it */
	struct kveil_plan_set *plans;
};

/* With errors in the report, what could not be read is NULL and the rest is for no more than being looked at. more:
 * rule files and folders beside those of the configuration, in place of files for the same topics; NULL = none. */
void kveil_setup_load_with(const char *path, const char *const *more, struct kveil_setup *ret,
			   struct kveil_report *report);
void kveil_setup_load(const char *path, struct kveil_setup *ret, struct kveil_report *report);
void kveil_setup_clear(struct kveil_setup *s);

/* Warns of what works and is a risk: properties that run code or turn a check off, records and keys in clear on a
 * network, files that others can write. */
void kveil_setup_warn(const struct kveil_setup *s, struct kveil_report *report);

#endif

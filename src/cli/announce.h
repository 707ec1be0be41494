/* SPDX-License-Identifier: Apache-2.0 */
/* cli/announce.h: what `kveil run` logs of itself when it begins, so that a log tells what ran. One thread. */
#ifndef KVEIL_CLI_ANNOUNCE_H
#define KVEIL_CLI_ANNOUNCE_H

#include "config/config.h"
#include "rules/plan.h"

/* Versions, cluster and group, keys and their custodians: a line each. */
void kveil_announce(const struct kveil_config *c);
/* The rules in use, with their digest. */
void kveil_announce_rules(const struct kveil_plan_set *rules, const char *digest);

#endif

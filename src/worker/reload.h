/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/reload.h: when rule files were swapped, and whether the new rules may be taken.
 *
 * A swap is a file put in another's place by rename, or the ..data link of a Kubernetes volume pointing elsewhere. It
 * is seen by identity (device, inode, time of birth), never by content: a write in place is said in the log and changes
 * nothing. Two looks in a row must agree before a swap counts. A file that is new in a folder, or gone from it, waits
 * for SIGHUP, unless a swap comes with it. One thread.
 */
#ifndef KVEIL_WORKER_RELOAD_H
#define KVEIL_WORKER_RELOAD_H

#include "config/config.h"
#include "kveil/base.h"
#include "observe/metrics.h"
#include "rules/plan.h"

struct kveil_watch;

/* sources: files and folders of rules, ends with NULL; borrowed. NULL when memory is out. */
struct kveil_watch *kveil_watch_new(const char *const *sources);
void kveil_watch_free(struct kveil_watch *w); /* NULL is fine */
/* One look, about once a second. True: something was swapped since the last time this said so. */
bool kveil_watch_look(struct kveil_watch *w);
/* The files are about to be read as they are now, for another reason. */
void kveil_watch_taken(struct kveil_watch *w);

/* Loads the rules of the configuration afresh and holds them against the ones in use. NULL: refused, logged and counted
 * (a bad file; asked false and the new rules protect less). */
struct kveil_plan_set *kveil_reload(const struct kveil_config *config, struct kveil_keystore *names,
				    const struct kveil_plan_set *in_use, bool asked, struct kveil_cell *successful,
				    struct kveil_cell *timestamp);

/* What configuration and rules must not have in common. The key that seals dead letters is not a field's key: who may
 * open a field must not open whole records by it. The key registry's topic is none of the rules'. */
void kveil_check_together(const struct kveil_config *config, const struct kveil_plan_set *plans,
			  struct kveil_report *report);

#endif

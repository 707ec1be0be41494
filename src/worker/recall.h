/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/recall.h: which tags counted before this program began. The derived schemas under the output's subject have
 * them at their fields, also those that the writer's schemas had no more:
 *
 *   writer's v1  phone: [PII]   ─► derived 1  phone: [PII]
 *   writer's v2  phone          ─► derived 2  phone: [PII]      a tag that vanished counts on
 *   restart
 *   writer's v2  phone          ─► the latest of its type is derived 2: phone is still PII
 *
 * Rules that SIGHUP took anew derive a schema without the tag; then that is the latest, and says so.
 */
#ifndef KVEIL_WORKER_RECALL_H
#define KVEIL_WORKER_RECALL_H

#include "worker/resolver.h"

/* One of the two: the resolver's thread, or calls on this one. */
struct kveil_recall_from {
	struct kveil_resolver *resolver;
	struct kveil_schemas *client;
	struct kveil_schemas_place at; /* the output's */
	const char *topic;             /* the input; NULL: not known */
};

/* Of one subject and engine. */
struct kveil_recalled {
	bool forgets; /* SIGHUP took the rules anew: what stood there before the first call tells nothing */
	bool has_begun;
	uint32_t forgotten; /* versions up to this */
};

/* Before a schema of a writer, text, is derived from. SCHEMA_PENDING: it is being asked; else as the client says. */
enum kveil_status kveil_recall(const struct kveil_recall_from *from, struct kveil_engine *engine,
			       struct kveil_span text, struct kveil_recalled *r,
			       struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/resolver.h: the thread that asks the schema registry. Workers ask it, get an answer or "not yet", and look
 * again when the round has risen: none of them waits for the network.
 *
 *   worker ─ writer's id? ─► resolver ─► registry ─► text
 *   worker ─ derived text ─► resolver ─► registry ─► id
 *   worker ─ subject, number ─► resolver ─► registry ─► id of that version
 *
 * Equal questions are one. They are asked in the order in which they came, and again only while somebody asks.
 */
#ifndef KVEIL_WORKER_RESOLVER_H
#define KVEIL_WORKER_RESOLVER_H

#include "kveil/engine.h"
#include "observe/health.h"
#include "observe/metrics.h"
#include "schemas/client.h"

struct kveil_resolver;

/* What it is given must outlive it. NULL: no memory or no thread. */
struct kveil_resolver *kveil_resolver_new(struct kveil_schemas *client, struct kveil_health *health,
					  struct kveil_metrics *metrics);
/* Ends the thread and the call at hand; waits until end_ms (monotonic). false: it still runs, and nothing is freed.
 * NULL is fine. */
bool kveil_resolver_free(struct kveil_resolver *r, int64_t end_ms);

/* Any thread. SCHEMA_PENDING: it is being asked. Else as the client says (schemas/client.h). *ret is the caller's. */
enum kveil_status kveil_resolver_writer(struct kveil_resolver *r, const char *context, const struct kveil_schema_id *id,
					const struct kveil_schemas_schema **ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of a derived schema's id. registers: if it is not there yet, else that is SCHEMA_NOT_REGISTERED. */
enum kveil_status kveil_resolver_derived(struct kveil_resolver *r, const struct kveil_schemas_place *at, bool registers,
					 struct kveil_span text, struct kveil_schemas_id *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* A version of a subject; what no record waits for: its latest, and whether a derived schema would be registered. */
enum kveil_status kveil_resolver_version(struct kveil_resolver *r, const struct kveil_schemas_place *at,
					 uint32_t number, struct kveil_schemas_version *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_resolver_latest(struct kveil_resolver *r, const struct kveil_schemas_place *at,
					struct kveil_schemas_version *ret, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_resolver_try(struct kveil_resolver *r, const struct kveil_schemas_place *at,
				     struct kveil_span text, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Any thread: rises with each answer. */
uint64_t kveil_resolver_round(const struct kveil_resolver *r);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/writers.h: the writers' schemas of one topic, as one engine has learnt them: by the id that values and keys
 * name, what the rules make of each, and the id under which the derived one stands. Belongs to the engine's thread.
 */
#ifndef KVEIL_WORKER_WRITERS_H
#define KVEIL_WORKER_WRITERS_H

#include "kveil/engine.h"
#include "worker/resolver.h"
#include "worker/topics.h"

struct kveil_writers;

/* Those of a route's topic in an engine's list, made when first asked for: what was learnt outlives a route. The engine
 * outlives the list. NULL: no memory. */
struct kveil_writers *kveil_writers_of(struct kveil_writers **list, const struct kveil_route *route,
				       struct kveil_engine *engine);
void kveil_writers_free(struct kveil_writers *list);
/* The engine's next records are this topic's. */
void kveil_writers_use(struct kveil_writers *s);

/* The engine's last record was SCHEMA_PENDING. OK: run it again. Class RETRY: later; SCHEMA_PENDING: when the
 * resolver's round has risen. Class RECORD: this record's error, and that of others with its id; *ret_id is that. */
enum kveil_status kveil_writers_learn(struct kveil_writers *s, struct kveil_resolver *r, struct kveil_schema_id *ret_id,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* Of what kveil_writers_learn and _try return: records wait until somebody changes the registry, or the rules. */
bool kveil_writers_wait(enum kveil_status status);
/* Before the first record: would what comes of the topic's latest schemas be registered, or is it? Asks and learns as
 * a record of theirs would, and registers nothing. OK: it is, or there is nothing to ask about; from then on at once.
 * Else as above; class RECORD: all records of the latest schema would be errors. A worker's thread; the engine's next
 * records are another topic's. */
enum kveil_status kveil_writers_try(struct kveil_writers *s, struct kveil_resolver *r,
				    struct kveil_error *err) KVEIL_MUST_CHECK;
/* kveil_writers_learn on a thread that may wait: client's calls, until they have an answer or class RETRY. */
enum kveil_status kveil_writers_learn_now(struct kveil_writers *s, struct kveil_schemas *client,
					  struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/topics.h: what the cluster has, and which input topics can be worked on with the rules at hand.
 *
 *   cluster (topics, partitions, limits)  ─┐
 *   plan set (inputs, output templates)   ─┼─► catalog: a route for each input topic whose outputs are all there
 *                                          └─► problems: what is missing, by topic, for health
 *
 * A cluster snapshot belongs to one thread; a catalog is immutable, counted and shared by all workers.
 */
#ifndef KVEIL_WORKER_TOPICS_H
#define KVEIL_WORKER_TOPICS_H

#include "config/config.h"
#include "kveil/base.h"
#include "rules/plan.h"

/* Kafka's own default of max.message.bytes, where the broker does not say. */
enum { KVEIL_DEFAULT_MESSAGE_BYTES = 1048588 };

struct kveil_topic {
	char *name;
	int32_t partitions;
	size_t max_bytes; /* max.message.bytes; 0 = not known */
};

struct kveil_cluster {
	struct kveil_topic *topics; /* sorted by name */
	size_t count;
};

void kveil_cluster_clear(struct kveil_cluster *c);
const struct kveil_topic *kveil_cluster_find(const struct kveil_cluster *c, const char *name);

struct kveil_target {
	char *topic;
	int32_t partitions;
	size_t max_bytes;
};

struct kveil_route {
	char *topic;
	int32_t partitions;
	struct kveil_plan *plan;
	struct kveil_target *outputs; /* one a view of the plan */
	struct kveil_target dead;
};

struct kveil_catalog {
	_Atomic uint32_t refs;
	struct kveil_plan_set *plans;
	struct kveil_route *routes;
	size_t count;
};

struct kveil_catalog *kveil_catalog_ref(struct kveil_catalog *c);
void kveil_catalog_unref(struct kveil_catalog *c);
const struct kveil_route *kveil_catalog_route(const struct kveil_catalog *c, const char *topic);
/* Same plans, same routes: nothing to do for anyone who has the other. */
bool kveil_catalog_same(const struct kveil_catalog *a, const struct kveil_catalog *b);
/* The smallest and the largest limit among all targets (KVEIL_DEFAULT_MESSAGE_BYTES where there is none). */
void kveil_catalog_limits(const struct kveil_catalog *c, size_t *ret_least, size_t *ret_most);

/* Something is not there. topic names it; missing: it does not exist at all and would need `partitions`. */
struct kveil_topic_problem {
	const char *topic;
	bool missing, is_output;
	int32_t partitions; /* at least these many are needed */
	const char *reason; /* one line */
};
/* OUTPUT_TOO_LARGE, with both sizes: a batch of that record alone, and what the topic takes. */
enum kveil_status kveil_target_refuses(const struct kveil_target *t, size_t bytes, struct kveil_error *err);

typedef void kveil_topic_problem_fn(void *user, const struct kveil_topic_problem *problem);

/* No I/O. NULL when memory is out. */
struct kveil_catalog *kveil_catalog_build(const struct kveil_cluster *cluster, struct kveil_plan_set *plans,
					  int partition_mode, kveil_topic_problem_fn *problem, void *user);

#endif

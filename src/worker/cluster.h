/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/cluster.h: asking the cluster what it has, and making topics when that is allowed. Calls block for at most a
 * few seconds. One thread.
 */
#ifndef KVEIL_WORKER_CLUSTER_H
#define KVEIL_WORKER_CLUSTER_H

#include "config/config.h"
#include "kveil/base.h"
#include "worker/topics.h"

struct kveil_admin;

enum kveil_status kveil_admin_new(const struct kveil_config *config, const char *name, struct kveil_admin **ret,
				  struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_admin_free(struct kveil_admin *a);

/* Has a connection broken, or could none be made, since it was last asked? */
bool kveil_admin_lost(struct kveil_admin *a);
/* Replaces the snapshot; limits that were known are kept. KAFKA_UNAVAILABLE leaves it as it was. */
enum kveil_status kveil_admin_fetch(struct kveil_admin *a, struct kveil_cluster *cluster,
				    struct kveil_error *err) KVEIL_MUST_CHECK;
/* Asks for max.message.bytes of every target of the catalog, or only of those not known yet. What a broker does not say
 * (no permission, the mock cluster) stays unknown; a catalog then has Kafka's default. */
void kveil_admin_limits(struct kveil_admin *a, struct kveil_cluster *cluster, const struct kveil_catalog *catalog,
			bool only_new);
/* With the broker's default replication. A topic that is there already is fine. */
enum kveil_status kveil_admin_create(struct kveil_admin *a, const char *topic, int32_t partitions,
				     struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/worker.h: `kveil run` as a library: N worker threads, a thread that looks at the cluster, a keeper for keys.
 * `demo` runs the same code against the mock cluster.
 */
#ifndef KVEIL_WORKER_WORKER_H
#define KVEIL_WORKER_WORKER_H

#include "config/config.h"
#include "kveil/base.h"
#include "observe/health.h"
#include "observe/metrics.h"
#include "rules/plan.h"

struct kveil_service;

/* Everything is borrowed and must outlive the service. keys may be a demo keystore (only the demo does that). */
struct kveil_service_params {
	const struct kveil_config *config;
	struct kveil_keystore *keys;
	struct kveil_plan_set *plans; /* a reference is taken */
	struct kveil_metrics *metrics;
	struct kveil_health *health;
};

/* Starts the threads and returns at once; what is not there yet (broker, topics) is waited for inside. */
enum kveil_status kveil_service_start(const struct kveil_service_params *p, struct kveil_service **ret,
				      struct kveil_error *err) KVEIL_MUST_CHECK;
/* The caller reads new rules (reload.h); each worker takes them between two records. A reference is taken. Any thread.
 */
void kveil_service_set_plans(struct kveil_service *s, struct kveil_plan_set *plans);
/* Drains (at most 6 s from here), commits (2 s), closes, joins; all of it within 14 s. KVEIL_OK, or why a worker had
 * stopped. */
enum kveil_status kveil_service_stop(struct kveil_service *s, struct kveil_error *err) KVEIL_MUST_CHECK;
/* True once a worker stopped by an error that ends the process (exit 3). */
bool kveil_service_failed(struct kveil_service *s, struct kveil_error *err);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* worker/routes.h: which rules a worker goes by. Inside src/worker only, on the worker's thread. */
#ifndef KVEIL_WORKER_ROUTES_H
#define KVEIL_WORKER_ROUTES_H

#include "kveil/engine.h"
#include "worker/outlet.h"
#include "worker/topics.h"
#include "worker/writers.h"

struct kveil_worker;

/* A plan with this thread's keys. */
struct kveil_bound_plan {
	struct kveil_plan *plan;       /* referenced */
	bool is_typed;                 /* values name their schemas */
	struct kveil_engine *engine;   /* NULL: not bound yet */
	struct kveil_cell **cells;     /* one a rule */
	uint64_t *seen;                /* matches already in the cells */
	struct kveil_writers *writers; /* one a topic, where is_typed */
};

struct kveil_worker_route {
	const struct kveil_route *route; /* in the worker's catalog */
	struct kveil_bound_plan *bound;
	struct kveil_outlet **outputs; /* one a view */
	struct kveil_outlet *dead;
	struct kveil_writers *writers; /* of the bound plan; NULL: not yet, or values name no schemas */
	struct kveil_tally *tally;     /* of its topic */
	uint64_t trial;                /* the last one that it was in */
};

/* Only routes.c writes it; producer.c the outputs of a route. */
struct kveil_routes {
	struct kveil_catalog *catalog;
	uint64_t version;
	struct kveil_worker_route *routes; /* one a route of the catalog */
	size_t route_count;
	struct kveil_bound_plan **plans;
	size_t plan_count;
	/* Whether what comes of the topics' latest schemas would be registered, before a record shows it. */
	uint64_t trials;
	int64_t trial_due_ms, trial_logged_ms;
	bool trial_told;
	char trial_condition[48];
};

/* Takes the newest catalog, and with it new rules. Between two records only. */
enum kveil_status kveil_routes_take(struct kveil_worker *w, struct kveil_error *err) KVEIL_MUST_CHECK;
/* The engine of a route, made on first use, and ready for its records. */
enum kveil_status kveil_routes_bind(struct kveil_worker *w, struct kveil_worker_route *route, struct kveil_error *err);
/* Tries the latest schemas of the topics at hand, now and then; what would be refused is a condition until it is not,
 * and what rules do not fit a remark. */
void kveil_routes_try(struct kveil_worker *w);
/* Adds what the rules matched since the last time to their counters. */
void kveil_routes_count_matches(struct kveil_worker *w);
void kveil_routes_free(struct kveil_worker *w);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* Which rules a worker goes by: one route an input topic, each with the plan that it is bound to, and all of them taken
 * anew when the service has a newer catalog. */
#include "base/log.h"
#include "format/format.h"
#include "worker/hold.h"
#include "worker/loop.h"

#include <stdio.h>
#include <stdlib.h>

static void count_matches(const struct kveil_bound_plan *b)
{
	size_t count = 0;
	const _Atomic uint64_t *matches = b->engine ? kveil_engine_rule_matches(b->engine, &count) : NULL;

	for (size_t i = 0; i < count; i++) {
		uint64_t now = atomic_load_explicit(&matches[i], memory_order_relaxed);
		kveil_cell_add(b->cells[i], now - b->seen[i]);
		b->seen[i] = now;
	}
}

static void free_bound(struct kveil_worker *w, struct kveil_bound_plan *b)
{
	if (!b)
		return;
	count_matches(b);
	kveil_writers_free(b->writers);
	kveil_engine_free(b->engine);
	for (size_t i = 0; b->cells && i < b->plan->rule_count; i++)
		if (b->cells[i])
			kveil_metrics_release(w->params->metrics, b->cells[i]);
	free(b->cells);
	free(b->seen);
	kveil_plan_unref(b->plan);
	free(b);
}

static struct kveil_bound_plan *new_bound(struct kveil_worker *w, struct kveil_plan *plan)
{
	struct kveil_bound_plan *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->plan = kveil_plan_ref(plan);
	b->is_typed = plan->formats[KVEIL_PART_VALUE]->is_typed;
	b->cells = calloc(plan->rule_count + 1, sizeof(struct kveil_cell *));
	b->seen = calloc(plan->rule_count + 1, sizeof *b->seen);
	if (!b->cells || !b->seen) {
		free_bound(w, b);
		return NULL;
	}
	for (size_t i = 0; i < plan->rule_count; i++)
		b->cells[i] = kveil_metrics_cell(w->params->metrics, KVEIL_M_RULE_MATCHES, plan->rules[i].id, NULL);
	return b;
}

enum kveil_status kveil_routes_bind(struct kveil_worker *w, struct kveil_worker_route *route, struct kveil_error *err)
{
	struct kveil_bound_plan *b = route->bound;
	enum kveil_status status = KVEIL_OK;

	if (!b->engine)
		status = kveil_engine_new(b->plan, w->ring, &w->limits, &b->engine, err);
	if (status || !b->is_typed)
		return status;
	if (!w->resolver)
		return kveil_fail(err, KVEIL_E_CONFIG, "there is no schema_registry");
	if (!route->writers)
		route->writers = kveil_writers_of(&b->writers, route->route, b->engine);
	if (!route->writers)
		return kveil_no_memory(err, "the schemas of a topic");
	kveil_writers_use(route->writers);
	return KVEIL_OK;
}

/* One bound plan a plan of the set; those that were there are kept with their engines. */
static bool bind_plans(struct kveil_worker *w, const struct kveil_plan_set *set)
{
	struct kveil_bound_plan **now = calloc(set->count + 1, sizeof(struct kveil_bound_plan *));
	bool whole = now != NULL;

	for (size_t i = 0; whole && i < set->count; i++) {
		for (size_t k = 0; k < w->rules.plan_count && !now[i]; k++)
			if (w->rules.plans[k] && w->rules.plans[k]->plan == set->plans[i]) {
				now[i] = w->rules.plans[k];
				w->rules.plans[k] = NULL;
			}
		if (!now[i])
			now[i] = new_bound(w, set->plans[i]);
		whole = now[i] != NULL;
	}
	for (size_t k = 0; k < w->rules.plan_count; k++)
		free_bound(w, w->rules.plans[k]);
	free(w->rules.plans);
	w->rules.plans = now;
	w->rules.plan_count = now ? set->count : 0;
	return whole;
}

static void free_routes(struct kveil_worker_route *routes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(routes[i].outputs);
	free(routes);
}

static bool make_routes(struct kveil_worker *w)
{
	w->rules.route_count = 0;
	w->rules.routes = calloc(w->rules.catalog->count + 1, sizeof *w->rules.routes);
	for (size_t i = 0; w->rules.routes && i < w->rules.catalog->count; i++) {
		struct kveil_worker_route *r = &w->rules.routes[w->rules.route_count++];
		r->route = &w->rules.catalog->routes[i];
		r->outputs = calloc(r->route->plan->view_count, sizeof(struct kveil_outlet *));
		for (size_t k = 0; k < w->rules.plan_count; k++)
			if (w->rules.plans[k]->plan == r->route->plan)
				r->bound = w->rules.plans[k];
		r->tally = kveil_tally_of(w, r->route->topic);
		if (!r->outputs || !r->bound || !r->tally)
			return false;
	}
	return w->rules.routes != NULL;
}

static const char *why_no_route(const struct kveil_worker *w, const char *topic)
{
	return kveil_plan_set_for_topic(w->rules.catalog->plans, topic)
		   ? "waiting for its topics: it, its outputs or its dead-letter topic are not there"
		   : "no rules for this topic any more";
}

static void point_partitions(struct kveil_worker *w, bool new_rules)
{
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		if (!p)
			continue;
		bool had_route = p->route != NULL;
		p->route = NULL;
		for (size_t k = 0; k < w->rules.route_count; k++)
			if (strcmp(w->rules.routes[k].route->topic, p->topic) == 0)
				p->route = &w->rules.routes[k];
		if (!p->route) {
			if (!p->stopped)
				kveil_partition_stop(w, p, true, -1, "%s", why_no_route(w, p->topic));
		} else if (!had_route || (p->stopped_by_rules && new_rules))
			kveil_partition_restart(w, p);
		else if (new_rules) {
			p->park.due_ms = 0; /* they may name another key, or output */
			p->park.blocked_on = NULL;
		}
	}
}

/* They go, and there are no others. */
static void forget_routes(struct kveil_worker *w)
{
	for (size_t i = 0; i < w->slots.cap; i++)
		if (w->slots.at[i])
			w->slots.at[i]->route = NULL;
}

static void subscribe(struct kveil_worker *w)
{
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)w->rules.catalog->count);

	for (size_t i = 0; i < w->rules.catalog->count; i++)
		rd_kafka_topic_partition_list_add(list, w->rules.catalog->routes[i].topic, RD_KAFKA_PARTITION_UA);
	rd_kafka_resp_err_t e = list->cnt ? rd_kafka_subscribe(w->consumer, list) : rd_kafka_unsubscribe(w->consumer);
	if (e)
		kveil_log(KVEIL_LOG_ERROR, w->name, "subscribe: %s", rd_kafka_err2str(e));
	rd_kafka_topic_partition_list_destroy(list);
}

static bool same_inputs(const struct kveil_catalog *a, const struct kveil_catalog *b)
{
	if (!a || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->routes[i].topic, b->routes[i].topic) != 0)
			return false;
	return true;
}

enum kveil_status kveil_routes_take(struct kveil_worker *w, struct kveil_error *err)
{
	struct kveil_catalog *before = w->rules.catalog;

	pthread_mutex_lock(&w->shared->lock);
	w->rules.catalog = kveil_catalog_ref(w->shared->catalog);
	w->rules.version = atomic_load(&w->shared->version);
	pthread_mutex_unlock(&w->shared->lock);
	bool new_rules = !before || before->plans != w->rules.catalog->plans;
	struct kveil_worker_route *old_routes = w->rules.routes;
	size_t old_count = w->rules.route_count;
	w->rules.routes = NULL;
	w->rules.route_count = 0;
	enum kveil_status status = KVEIL_OK;
	if (bind_plans(w, w->rules.catalog->plans) && make_routes(w))
		point_partitions(w, new_rules);
	else {
		forget_routes(w);
		status = kveil_no_memory(err, "the new rules");
	}
	free_routes(old_routes, old_count);
	if (new_rules)
		kveil_tallies_begin_again(w);
	if (!status)
		status = kveil_producer_fit(w, err);
	if (!status && !same_inputs(before, w->rules.catalog))
		subscribe(w);
	if (!status && before && new_rules)
		kveil_log(KVEIL_LOG_INFO, w->name, "took new rules");
	kveil_catalog_unref(before);
	return status;
}

/* --- latest schemas, before the first record --- */

enum { TRY_EVERY_MS = 250 };

/* Of several topics the first, and how many there are. */
struct troubled {
	const struct kveil_worker_route *first;
	struct kveil_error why;
	size_t count;
};

static void add_to(struct troubled *t, const struct kveil_worker_route *r, const struct kveil_error *why)
{
	if (!t->count++) {
		t->first = r;
		t->why = *why;
	}
}

/* Is there something to tell? Of a registry that is away the first record will. */
static void try_route(struct kveil_worker *w, struct kveil_worker_route *r, struct troubled *waiting,
		      struct troubled *useless)
{
	struct kveil_error why;
	enum kveil_status status = kveil_routes_bind(w, r, &why);

	if (status)
		return;
	status = kveil_writers_try(r->writers, w->resolver, &why);
	if (kveil_status_class(status) == KVEIL_CLASS_RECORD)
		add_to(useless, r, &why);
	if (kveil_writers_wait(status))
		add_to(waiting, r, &why);
}

static void spell_others(const struct troubled *t, char more[48])
{
	*more = 0;
	if (t->count > 1)
		snprintf(more, 48, " and %zu more topic%s", t->count - 1, t->count == 2 ? "" : "s");
}

/* Records wait: that is a condition. */
static void tell_waiting(struct kveil_worker *w, const struct troubled *t)
{
	char more[48];

	if (t->count) {
		spell_others(t, more);
		kveil_health_condition(w->params->health, w->rules.trial_condition, "%s: %s (%s%s)",
				       kveil_status_code(t->why.status), t->why.message, t->first->route->topic, more);
		kveil_tell_now_and_then(w, &t->why, &w->rules.trial_logged_ms);
	} else if (w->rules.trial_told) {
		w->rules.trial_logged_ms = 0;
		kveil_health_condition(w->params->health, w->rules.trial_condition, NULL);
	}
	w->rules.trial_told = t->count > 0;
}

/* Records will be errors, if any come: a remark. */
static void tell_useless(struct kveil_worker *w, const struct troubled *t)
{
	char more[48];

	if (t->count) {
		spell_others(t, more);
		kveil_health_remark(w->params->health, w->rules.trial_condition,
				    "records of %s%s with the latest schema will be errors: %s: %s",
				    t->first->route->topic, more, kveil_status_code(t->why.status), t->why.message);
	} else {
		kveil_health_remark(w->params->health, w->rules.trial_condition, NULL);
	}
}

void kveil_routes_try(struct kveil_worker *w)
{
	struct troubled waiting = {0}, useless = {0};

	if (!w->resolver || w->now_ms < w->rules.trial_due_ms)
		return;
	w->rules.trial_due_ms = w->now_ms + TRY_EVERY_MS;
	w->rules.trials++;
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_worker_route *r = w->slots.at[i] ? w->slots.at[i]->route : NULL;
		if (!r || !r->bound->is_typed || r->trial == w->rules.trials)
			continue;
		r->trial = w->rules.trials;
		kveil_loop_beat(w->loop);
		try_route(w, r, &waiting, &useless);
	}
	tell_waiting(w, &waiting);
	tell_useless(w, &useless);
}

void kveil_routes_count_matches(struct kveil_worker *w)
{
	for (size_t i = 0; i < w->rules.plan_count; i++)
		count_matches(w->rules.plans[i]);
}

void kveil_routes_free(struct kveil_worker *w)
{
	free_routes(w->rules.routes, w->rules.route_count);
	for (size_t k = 0; k < w->rules.plan_count; k++)
		free_bound(w, w->rules.plans[k]);
	free(w->rules.plans);
	kveil_catalog_unref(w->rules.catalog);
}

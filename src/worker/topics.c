/* SPDX-License-Identifier: Apache-2.0 */
/* Which input topics can be worked on. */
#include "worker/topics.h"

#include "base/buf.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

void kveil_cluster_clear(struct kveil_cluster *c)
{
	for (size_t i = 0; i < c->count; i++)
		free(c->topics[i].name);
	free(c->topics);
	*c = (struct kveil_cluster){0};
}

static int by_name(const void *key, const void *topic)
{
	return strcmp(key, ((const struct kveil_topic *)topic)->name);
}

const struct kveil_topic *kveil_cluster_find(const struct kveil_cluster *c, const char *name)
{
	return c->count ? bsearch(name, c->topics, c->count, sizeof *c->topics, by_name) : NULL;
}

static void clear_route(struct kveil_route *r)
{
	for (size_t v = 0; r->outputs && v < r->plan->view_count; v++)
		free(r->outputs[v].topic);
	free(r->outputs);
	free(r->dead.topic);
	free(r->topic);
	*r = (struct kveil_route){0};
}

struct kveil_catalog *kveil_catalog_ref(struct kveil_catalog *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
	return c;
}

void kveil_catalog_unref(struct kveil_catalog *c)
{
	if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < c->count; i++)
		clear_route(&c->routes[i]);
	free(c->routes);
	kveil_plan_set_unref(c->plans);
	free(c);
}

const struct kveil_route *kveil_catalog_route(const struct kveil_catalog *c, const char *topic)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->routes[i].topic, topic) == 0)
			return &c->routes[i];
	return NULL;
}

static bool same_target(const struct kveil_target *a, const struct kveil_target *b)
{
	return strcmp(a->topic, b->topic) == 0 && a->partitions == b->partitions && a->max_bytes == b->max_bytes;
}

bool kveil_catalog_same(const struct kveil_catalog *a, const struct kveil_catalog *b)
{
	if (a->plans != b->plans || a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		const struct kveil_route *x = &a->routes[i], *y = &b->routes[i];
		if (strcmp(x->topic, y->topic) != 0 || x->partitions != y->partitions ||
		    !same_target(&x->dead, &y->dead))
			return false;
		for (size_t v = 0; v < x->plan->view_count; v++)
			if (!same_target(&x->outputs[v], &y->outputs[v]))
				return false;
	}
	return true;
}

void kveil_catalog_limits(const struct kveil_catalog *c, size_t *ret_least, size_t *ret_most)
{
	size_t least = SIZE_MAX, most = 0;

	for (size_t i = 0; i < c->count; i++) {
		const struct kveil_route *r = &c->routes[i];
		for (size_t v = 0; v <= r->plan->view_count; v++) {
			size_t n = v < r->plan->view_count ? r->outputs[v].max_bytes : r->dead.max_bytes;
			least = n < least ? n : least;
			most = n > most ? n : most;
		}
	}
	*ret_least = c->count ? least : KVEIL_DEFAULT_MESSAGE_BYTES;
	*ret_most = c->count ? most : KVEIL_DEFAULT_MESSAGE_BYTES;
}

struct build {
	const struct kveil_cluster *cluster;
	struct kveil_plan_set *plans;
	bool same_partition;
	kveil_topic_problem_fn *problem;
	void *user;
	struct kveil_buf text;
	bool failed; /* memory */
};

static KVEIL_PRINTF(6, 7) void complain(struct build *b, const char *topic, bool missing, bool is_output,
					int32_t partitions, const char *fmt, ...)
{
	char reason[512];
	va_list args;

	va_start(args, fmt);
	vsnprintf(reason, sizeof reason, fmt, args);
	va_end(args);
	b->problem(b->user, &(struct kveil_topic_problem){topic, missing, is_output, partitions, reason});
}

/* Finds the topic that a template gives for an input; false when it cannot be used. */
static bool find_target(struct build *b, const char *template, const char *input, int32_t partitions, const char *what,
			struct kveil_target *ret)
{
	kveil_buf_reset(&b->text);
	kveil_plan_expand_topic(template, input, &b->text);
	const char *name = kveil_buf_cstr(&b->text);
	ret->topic = name ? strdup(name) : NULL;
	if (!ret->topic) {
		b->failed = true;
		return false;
	}
	const struct kveil_topic *t = kveil_cluster_find(b->cluster, ret->topic);
	if (!t) {
		complain(b, ret->topic, true, true, partitions, "the %s topic %s of %s does not exist", what,
			 ret->topic, input);
		return false;
	}
	if (t->partitions < partitions) {
		complain(b, ret->topic, false, true, partitions,
			 "the %s topic %s has %d partitions, and %s has %d (partition: same)", what, ret->topic,
			 (int)t->partitions, input, (int)partitions);
		return false;
	}
	ret->partitions = t->partitions;
	ret->max_bytes = t->max_bytes ? t->max_bytes : KVEIL_DEFAULT_MESSAGE_BYTES;
	return true;
}

static bool build_route(struct build *b, const struct kveil_topic *input, struct kveil_plan *plan,
			struct kveil_route *r)
{
	*r = (struct kveil_route){.partitions = input->partitions, .plan = plan};
	r->topic = strdup(input->name);
	r->outputs = calloc(plan->view_count, sizeof *r->outputs);
	if (!r->topic || !r->outputs) {
		b->failed = true;
		return false;
	}
	bool whole = true;
	for (size_t v = 0; v < plan->view_count; v++)
		whole &= find_target(b, plan->views[v].topic, input->name, b->same_partition ? input->partitions : 1,
				     "output", &r->outputs[v]);
	whole &= find_target(b, b->plans->dead_letter_topic, input->name, 1, "dead-letter", &r->dead);
	return whole && !b->failed;
}

enum kveil_status kveil_target_refuses(const struct kveil_target *t, size_t bytes, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_OUTPUT_TOO_LARGE, "%zu bytes once protected, and %s takes %zu", bytes, t->topic,
		   t->max_bytes);
	kveil_error_hint(err, "raise its max.message.bytes");
	return KVEIL_E_OUTPUT_TOO_LARGE;
}

static void name_missing_inputs(struct build *b)
{
	for (size_t i = 0; i < b->plans->count; i++) {
		const struct kveil_plan *plan = b->plans->plans[i];
		bool any = false, regex = false;
		for (char **t = plan->topics; *t; t++) {
			if (**t == '^')
				regex = true;
			else if (kveil_cluster_find(b->cluster, *t))
				any = true;
			else
				complain(b, *t, true, false, 1, "the input topic %s does not exist", *t);
		}
		for (size_t k = 0; regex && !any && k < b->cluster->count; k++)
			any = kveil_plan_set_for_topic(b->plans, b->cluster->topics[k].name) == plan;
		if (regex && !any)
			complain(b, plan->file, false, false, 1, "no topic matches the expressions of %s", plan->file);
	}
}

/* Kafka's own topics: an expression such as ^.* does not mean them. */
static bool is_internal(const char *name)
{
	return strcmp(name, "__consumer_offsets") == 0 || strcmp(name, "__transaction_state") == 0;
}

struct kveil_catalog *kveil_catalog_build(const struct kveil_cluster *cluster, struct kveil_plan_set *plans,
					  int partition_mode, kveil_topic_problem_fn *problem, void *user)
{
	struct build b = {cluster, plans, partition_mode == KVEIL_PARTITION_SAME, problem, user, KVEIL_BUF_INIT, false};
	struct kveil_catalog *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->refs = 1;
	c->plans = kveil_plan_set_ref(plans);
	c->routes = calloc(cluster->count ? cluster->count : 1, sizeof *c->routes);
	b.failed = !c->routes;
	name_missing_inputs(&b);
	for (size_t i = 0; i < cluster->count && !b.failed; i++) {
		const struct kveil_topic *t = &cluster->topics[i];
		struct kveil_plan *plan = is_internal(t->name) ? NULL : kveil_plan_set_for_topic(plans, t->name);
		if (!plan)
			continue;
		if (build_route(&b, t, plan, &c->routes[c->count]))
			c->count++;
		else
			clear_route(&c->routes[c->count]);
	}
	kveil_buf_clear(&b.text);
	if (b.failed) {
		kveil_catalog_unref(c);
		return NULL;
	}
	return c;
}

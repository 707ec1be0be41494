/* SPDX-License-Identifier: Apache-2.0 */
/* The threads of `kveil run`: workers; the topics thread, which knows what the cluster has; the keeper, which tends
 * keys. What only one of them needs stays with it; the catalog is handed over whole. */
#include "worker/worker.h"

#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "base/thread.h"
#include "keys/keystore.h"
#include "worker/cluster.h"
#include "worker/custodians.h"
#include "worker/loop.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

enum {
	TURN_MS = 250,         /* of both threads: how soon they see that they are wanted */
	FETCH_MS = 30000,      /* between looks at a cluster where nothing is missing */
	FETCH_AGAIN_MS = 2000, /* …where something is */
	LIMITS_MS = 300000,    /* between questions for the topics' limits */
	IDLE_MS = 15000,       /* without a partition: no longer a rebalance */
	MOST_TOLD = 5,         /* topics that are waited for, each with a line in the log */
	STOP_MS = 14000,       /* drain (6 s), commit (2 s), close; the caller's watchdog is at 15 s */
};

struct pattern_gauge {
	const char *pattern; /* the configuration's */
	struct kveil_cell *names, *waiting;
};

struct key_gauge {
	char *name;
	struct kveil_cell *cell;
	int64_t created_ms;
};

struct rotation_gauge {
	const char *name; /* the configuration's */
	struct kveil_cell *cell;
};

struct kveil_service {
	struct kveil_service_params params;
	struct kveil_shared shared;
	struct kveil_maker *maker;
	struct kveil_schemas *schemas; /* the resolver's */
	struct kveil_resolver *resolver;
	struct kveil_worker **workers;
	size_t worker_count, started;
	pthread_t topics_thread, keeper_thread;
	bool has_topics_thread, has_keeper_thread;

	/* the topics thread's */
	struct kveil_admin *admin;
	struct kveil_loop *topics_loop;
	struct kveil_cluster cluster;
	bool cluster_known;
	char **open, **seen; /* conditions about topics: open from the last look, seen in this one */
	size_t open_count, seen_count;
	bool say, missing_any;
	unsigned told, untold;               /* problems of a look at the topics, in the log */
	struct kveil_custodians *custodians; /* the keeper's */
	struct kveil_cell *retries;          /* of questions to the cluster */
	int64_t said_ms;

	/* the keeper's */
	struct kveil_loop *keeper_loop;
	struct key_gauge *gauges;
	size_t gauge_count;
	struct pattern_gauge *patterns;
	size_t pattern_count;
	struct rotation_gauge *rotations;
	size_t rotation_count;
	bool overdue; /* some key's next version */
	struct kveil_cell *ignored[KVEIL_REGISTRY_REASONS];
	uint64_t ignored_told[KVEIL_REGISTRY_REASONS];
	int64_t ignored_ms; /* when it was last logged */
	int64_t idle_ms;    /* since when some workers have no partition; 0 = all have */

	pthread_mutex_t plans_lock;
	struct kveil_plan_set *plans; /* under plans_lock: the newest */
	_Atomic bool new_plans;
};

static bool stopping(const struct kveil_service *s)
{
	return atomic_load_explicit(&s->shared.stop_ms, memory_order_relaxed) != 0;
}

static void nap(struct kveil_loop *loop, int ms)
{
	struct timespec t = kveil_clock_timespec(ms);

	kveil_loop_beat(loop);
	nanosleep(&t, NULL);
}

/* --- topics --- */

static void free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

static bool has_name(char **names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static void tell_problem(struct kveil_service *s, const char *reason)
{
	if (s->told == MOST_TOLD) {
		s->untold++;
		return;
	}
	s->told++;
	kveil_log(KVEIL_LOG_WARN, "topics", "waiting: %s", reason);
}

static void tell_the_rest(struct kveil_service *s)
{
	if (s->untold)
		kveil_log(KVEIL_LOG_WARN, "topics", "waiting: %u more topic%s, which /readyz names", s->untold,
			  s->untold == 1 ? "" : "s");
	s->told = s->untold = 0;
}

static void on_problem(void *user, const struct kveil_topic_problem *problem)
{
	struct kveil_service *s = user;
	struct kveil_error err;
	char name[320];

	s->missing_any = true;
	kveil_loop_beat(s->topics_loop);
	if (problem->missing && problem->is_output && s->params.config->create_topics) {
		if (!kveil_admin_create(s->admin, problem->topic, problem->partitions, &err)) {
			kveil_log(KVEIL_LOG_INFO, "topics", "made the topic %s (%d partition%s)", problem->topic,
				  (int)problem->partitions, problem->partitions == 1 ? "" : "s");
			return;
		}
		kveil_log_error(KVEIL_LOG_WARN, "topics", &err);
	}
	snprintf(name, sizeof name, "topic %s", problem->topic);
	kveil_health_condition(s->params.health, name, "%s", problem->reason);
	if (s->say || !has_name(s->open, s->open_count, name))
		tell_problem(s, problem->reason);
	char **grown = realloc(s->seen, (s->seen_count + 1) * sizeof(char *));
	if (!grown)
		return;
	s->seen = grown;
	s->seen[s->seen_count] = strdup(name);
	s->seen_count += s->seen[s->seen_count] != NULL;
}

static void close_solved(struct kveil_service *s)
{
	for (size_t i = 0; i < s->open_count; i++)
		if (!has_name(s->seen, s->seen_count, s->open[i]))
			kveil_health_condition(s->params.health, s->open[i], NULL);
	free_names(s->open, s->open_count);
	s->open = s->seen;
	s->open_count = s->seen_count;
	s->seen = NULL;
	s->seen_count = 0;
}

static void ignore_problem(void *user, const struct kveil_topic_problem *problem)
{
	(void)user;
	(void)problem;
}

/* Hands a catalog to the workers, unless they have the same already. Takes it. */
static void publish(struct kveil_service *s, struct kveil_catalog *c)
{
	pthread_mutex_lock(&s->shared.lock);
	struct kveil_catalog *before = s->shared.catalog;
	bool same = before && kveil_catalog_same(before, c);
	if (!same) {
		s->shared.catalog = c;
		atomic_fetch_add(&s->shared.version, 1);
	}
	pthread_mutex_unlock(&s->shared.lock);
	kveil_catalog_unref(same ? c : before);
}

static void build_and_publish(struct kveil_service *s, bool ask_limits)
{
	const struct kveil_config *config = s->params.config;

	pthread_mutex_lock(&s->plans_lock);
	struct kveil_plan_set *plans = kveil_plan_set_ref(s->plans);
	pthread_mutex_unlock(&s->plans_lock);
	int64_t now = kveil_clock_mono_ms();
	s->say = kveil_clock_once_a_minute(&s->said_ms, now);
	s->missing_any = false;
	struct kveil_catalog *c = kveil_catalog_build(&s->cluster, plans, config->partition, on_problem, s);
	tell_the_rest(s);
	close_solved(s);
	if (c) {
		kveil_admin_limits(s->admin, &s->cluster, c, !ask_limits);
		kveil_catalog_unref(c);
		c = kveil_catalog_build(&s->cluster, plans, config->partition, ignore_problem, NULL);
	}
	if (c)
		publish(s, c);
	kveil_plan_set_unref(plans);
}

static void *topics_main(void *service)
{
	struct kveil_service *s = service;
	int64_t fetch_ms = 0, limits_ms = 0, failed_ms = 0;
	struct kveil_error err;

	while (!stopping(s)) {
		int64_t now = kveil_clock_mono_ms();
		bool lost = kveil_admin_lost(s->admin);
		bool due = now >= fetch_ms || lost;
		if (lost)
			kveil_health_condition(s->params.health, "kafka", "a broker went away: asking the others (%s)",
					       s->params.config->kafka.bootstrap_servers);
		if (due && kveil_admin_fetch(s->admin, &s->cluster, &err)) {
			kveil_cell_add(s->retries, 1);
			kveil_health_condition(s->params.health, "kafka", "%s (%s)", err.message,
					       s->params.config->kafka.bootstrap_servers);
			if (kveil_clock_once_a_minute(&failed_ms, now))
				kveil_log_error(KVEIL_LOG_WARN, "topics", &err);
			fetch_ms = kveil_clock_mono_ms() + FETCH_AGAIN_MS;
			due = false;
		} else if (due) {
			kveil_health_condition(s->params.health, "kafka", NULL);
			if (failed_ms)
				kveil_log(KVEIL_LOG_INFO, "topics", "the cluster answers again");
			failed_ms = 0;
			s->cluster_known = true;
		}
		if (s->cluster_known && (due || atomic_exchange(&s->new_plans, false))) {
			bool ask_limits = now >= limits_ms;
			if (ask_limits)
				limits_ms = now + LIMITS_MS;
			build_and_publish(s, ask_limits);
			fetch_ms = now + (s->missing_any ? FETCH_AGAIN_MS : FETCH_MS);
		}
		nap(s->topics_loop, TURN_MS);
	}
	kveil_loop_end(s->topics_loop);
	return NULL;
}

/* --- keys --- */

static void on_key(void *user, const struct kveil_key_info *info)
{
	struct kveil_service *s = user;

	if (strcmp(info->state, "active") != 0)
		return;
	for (size_t i = 0; i < s->gauge_count; i++)
		if (strcmp(s->gauges[i].name, info->name) == 0) {
			if (info->created_ms != s->gauges[i].created_ms)
				kveil_cell_set(s->gauges[i].cell, (double)info->created_ms / 1000);
			s->gauges[i].created_ms = info->created_ms;
			return;
		}
	struct key_gauge *grown = realloc(s->gauges, (s->gauge_count + 1) * sizeof *grown);
	if (!grown)
		return;
	s->gauges = grown;
	struct key_gauge *g = &grown[s->gauge_count];
	*g = (struct key_gauge){.name = strdup(info->name), .created_ms = info->created_ms};
	if (!g->name)
		return;
	s->gauge_count++;
	g->cell = kveil_metrics_cell(s->params.metrics, KVEIL_M_KEY_CREATED, info->name, NULL);
	kveil_cell_set(g->cell, (double)info->created_ms / 1000);
}

static struct kveil_cell *rotation_cell(struct kveil_service *s, const char *name)
{
	for (size_t i = 0; i < s->rotation_count; i++)
		if (s->rotations[i].name == name)
			return s->rotations[i].cell;
	struct rotation_gauge *grown = realloc(s->rotations, (s->rotation_count + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	s->rotations = grown;
	grown[s->rotation_count] =
	    (struct rotation_gauge){name, kveil_metrics_cell(s->params.metrics, KVEIL_M_ROTATION_OVERDUE, name, NULL)};
	return grown[s->rotation_count++].cell;
}

static void on_rotation(void *user, const char *name, int64_t overdue_ms)
{
	struct kveil_service *s = user;
	struct kveil_cell *cell = rotation_cell(s, name);

	if (cell)
		kveil_cell_set(cell, (double)overdue_ms / 1000);
	if (overdue_ms && !s->overdue)
		kveil_health_condition(s->params.health, "rotation",
				       "no_active_key: the next version of key '%s' is %lld s overdue", name,
				       (long long)(overdue_ms / 1000));
	s->overdue |= overdue_ms > 0;
}

static void tell_rotations(struct kveil_service *s)
{
	s->overdue = false;
	kveil_keystore_rotations(s->params.keys, kveil_clock_wall_ms(), on_rotation, s);
	if (!s->overdue)
		kveil_health_condition(s->params.health, "rotation", NULL);
}

static void on_pattern(void *user, const struct kveil_pattern_info *info)
{
	struct kveil_service *s = user;
	struct pattern_gauge *g = NULL;

	for (size_t i = 0; i < s->pattern_count && !g; i++)
		if (s->patterns[i].pattern == info->pattern)
			g = &s->patterns[i];
	if (!g) {
		struct pattern_gauge *grown = realloc(s->patterns, (s->pattern_count + 1) * sizeof *grown);
		if (!grown)
			return;
		s->patterns = grown;
		g = &grown[s->pattern_count++];
		*g = (struct pattern_gauge){
		    info->pattern, kveil_metrics_cell(s->params.metrics, KVEIL_M_NAMED_KEYS, info->pattern, NULL),
		    kveil_metrics_cell(s->params.metrics, KVEIL_M_NAMED_KEYS_WAITING, info->pattern, NULL)};
	}
	kveil_cell_set(g->names, (double)info->names);
	kveil_cell_set(g->waiting, (double)info->waiting);
}

/* Somebody else writes to the registry: counted at once, said once a minute. */
static void tell_ignored(struct kveil_service *s)
{
	int64_t now = kveil_clock_mono_ms();
	bool may_say = !s->ignored_ms || now - s->ignored_ms >= KVEIL_CLOCK_MINUTE_MS;
	char text[160] = "";

	for (unsigned i = 0; i < KVEIL_REGISTRY_REASONS; i++) {
		uint64_t n = kveil_keystore_ignored(s->params.keys, i);
		kveil_cell_add(s->ignored[i], n - kveil_cell_count(s->ignored[i]));
		size_t at = strlen(text);
		if (may_say && n > s->ignored_told[i]) {
			snprintf(text + at, sizeof text - at, "%s%llu %s", at ? ", " : "",
				 (unsigned long long)(n - s->ignored_told[i]), kveil_keystore_reason(i));
			s->ignored_told[i] = n;
		}
	}
	if (!*text)
		return;
	s->ignored_ms = now;
	char detail[224];
	snprintf(detail, sizeof detail, "passed over: %s; see who may write to it", text);
	kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_REGISTRY_IGNORED, .detail = detail});
}

static bool has_inputs(struct kveil_service *s)
{
	pthread_mutex_lock(&s->shared.lock);
	bool has = s->shared.catalog && s->shared.catalog->count;
	pthread_mutex_unlock(&s->shared.lock);
	return has;
}

static void tell_idle(struct kveil_service *s, int64_t now)
{
	char text[192];
	unsigned idle = atomic_load(&s->shared.idle);

	if (!idle || !has_inputs(s)) {
		s->idle_ms = 0;
		kveil_health_remark(s->params.health, "workers", NULL);
		return;
	}
	if (!s->idle_ms)
		s->idle_ms = now;
	if (now - s->idle_ms < IDLE_MS)
		return;
	snprintf(text, sizeof text,
		 "%u of %zu idle, without a partition: the group has more workers than its largest input topic has "
		 "partitions",
		 idle, s->worker_count);
	if (kveil_health_remark(s->params.health, "workers", "%s", text))
		kveil_log(KVEIL_LOG_INFO, "workers", "%s", text);
}

static void *keeper_main(void *service)
{
	struct kveil_service *s = service;
	int64_t due_ms = 0, failed_ms = 0;
	struct kveil_error err;

	kveil_keystore_keep(s->params.keys);
	while (!stopping(s)) {
		int64_t now = kveil_clock_mono_ms();
		if (now >= due_ms) {
			due_ms = now + 1000;
			if (kveil_keystore_tend(s->params.keys, kveil_clock_wall_ms(), &err)) {
				kveil_health_condition(s->params.health, "keys", "%s: %s",
						       kveil_status_code(err.status), err.message);
				if (kveil_clock_once_a_minute(&failed_ms, now))
					kveil_log_error(KVEIL_LOG_WARN, "keys", &err);
			} else {
				kveil_health_condition(s->params.health, "keys", NULL);
				if (failed_ms)
					kveil_log(KVEIL_LOG_INFO, "keys", "custodians and registry answer again");
				failed_ms = 0;
			}
			tell_ignored(s);
			tell_idle(s, now);
			kveil_keystore_each(s->params.keys, on_key, s);
			kveil_keystore_patterns(s->params.keys, on_pattern, s);
			tell_rotations(s);
			kveil_custodians_tell(s->custodians);
		}
		nap(s->keeper_loop, TURN_MS);
	}
	kveil_loop_end(s->keeper_loop);
	return NULL;
}

/* --- the service --- */

/* A property that librdkafka refuses is the operator's to mend: told before anything starts. */
static enum kveil_status try_properties(const struct kveil_config *config, struct kveil_error *err)
{
	struct kveil_kafka_owner owner = {.name = "config"};
	rd_kafka_conf_t *conf;

	enum kveil_status status = kveil_kafka_conf_consumer(config, &owner, NULL, &conf, err);
	if (status)
		return status;
	rd_kafka_conf_destroy(conf);
	status = kveil_kafka_conf_producer(config, &owner, KVEIL_DEFAULT_MESSAGE_BYTES, KVEIL_DEFAULT_MESSAGE_BYTES,
					   &conf, err);
	if (!status)
		rd_kafka_conf_destroy(conf);
	return status;
}

static bool start_worker(struct kveil_service *s, unsigned number)
{
	struct kveil_worker *w = calloc(1, sizeof *w);

	if (!w)
		return false;
	s->workers[number - 1] = w;
	w->params = &s->params;
	w->shared = &s->shared;
	w->maker = s->maker;
	w->resolver = s->resolver;
	w->number = number;
	w->mode =
	    s->params.config->delivery == KVEIL_DELIVERY_EXACTLY_ONCE ? &kveil_exactly_once : &kveil_at_least_once;
	snprintf(w->name, sizeof w->name, "worker %u", number);
	snprintf(w->condition_group, sizeof w->condition_group, "worker %u: group", number);
	snprintf(w->outage.condition, sizeof w->outage.condition, "worker %u: outage", number);
	snprintf(w->rules.trial_condition, sizeof w->rules.trial_condition, "worker %u: schemas", number);
	snprintf(w->tallies.remark, sizeof w->tallies.remark, "worker %u: failing", number);
	snprintf(w->commits.condition, sizeof w->commits.condition, "worker %u: kafka", number);
	snprintf(w->outlets.condition, sizeof w->outlets.condition, "worker %u: outputs", number);
	snprintf(w->producing.condition, sizeof w->producing.condition, "worker %u: produce", number);
	kveil_health_condition(s->params.health, w->condition_group, "not yet a member of the group");
	w->loop = kveil_health_loop(s->params.health, w->name);
	if (!w->loop || pthread_create(&w->thread, NULL, kveil_worker_main, w))
		return false;
	s->started++;
	return true;
}

/* Signals are the main thread's. */
static bool start_threads(struct kveil_service *s)
{
	sigset_t all, before;

	s->topics_loop = kveil_health_loop(s->params.health, "topics");
	s->keeper_loop = kveil_health_loop(s->params.health, "keeper");
	s->custodians = kveil_custodians_new(s->params.keys, s->params.metrics, s->params.health);
	if (!s->topics_loop || !s->keeper_loop || !s->custodians)
		return false;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	s->has_topics_thread = pthread_create(&s->topics_thread, NULL, topics_main, s) == 0;
	s->has_keeper_thread = pthread_create(&s->keeper_thread, NULL, keeper_main, s) == 0;
	s->maker = kveil_maker_new(s->params.keys, s->params.health);
	if (s->schemas)
		s->resolver = kveil_resolver_new(s->schemas, s->params.health, s->params.metrics);
	bool whole = s->has_topics_thread && s->has_keeper_thread && s->maker && (s->resolver || !s->schemas);
	for (unsigned i = 1; whole && i <= s->worker_count; i++)
		whole = start_worker(s, i);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return whole;
}

enum kveil_status kveil_service_start(const struct kveil_service_params *p, struct kveil_service **ret,
				      struct kveil_error *err)
{
	*ret = NULL;
	enum kveil_status status = try_properties(p->config, err);
	if (status)
		return status;
	struct kveil_service *s = calloc(1, sizeof *s);
	if (!s)
		return kveil_no_memory(err, "the service");
	s->params = *p;
	s->worker_count = p->config->workers;
	s->plans = kveil_plan_set_ref(p->plans);
	for (unsigned i = 0; i < KVEIL_REGISTRY_REASONS; i++)
		s->ignored[i] =
		    kveil_metrics_cell(p->metrics, KVEIL_M_REGISTRY_IGNORED, kveil_keystore_reason(i), NULL);
	pthread_mutex_init(&s->shared.lock, NULL);
	pthread_mutex_init(&s->plans_lock, NULL);
	s->retries =
	    kveil_metrics_cell(p->metrics, KVEIL_M_RETRIES, kveil_status_code(KVEIL_E_KAFKA_UNAVAILABLE), NULL);
	s->workers = calloc(s->worker_count, sizeof(struct kveil_worker *));
	status = s->workers ? kveil_admin_new(p->config, "topics", &s->admin, err) : kveil_no_memory(err, "workers");
	if (!status && p->config->schema_registry.urls)
		status = kveil_schemas_open(&p->config->schema_registry, &s->schemas, err);
	if (!status && !start_threads(s))
		status = kveil_fail(err, KVEIL_E_NO_MEMORY, "the threads cannot be started");
	if (status) {
		struct kveil_error ignored;
		(void)!kveil_service_stop(s, &ignored);
		return status;
	}
	kveil_health_started(p->health);
	*ret = s;
	return KVEIL_OK;
}

void kveil_service_set_plans(struct kveil_service *s, struct kveil_plan_set *plans)
{
	pthread_mutex_lock(&s->plans_lock);
	kveil_plan_set_unref(s->plans);
	s->plans = kveil_plan_set_ref(plans);
	pthread_mutex_unlock(&s->plans_lock);
	atomic_store(&s->new_plans, true);
}

bool kveil_service_failed(struct kveil_service *s, struct kveil_error *err)
{
	if (!atomic_load(&s->shared.failed))
		return false;
	pthread_mutex_lock(&s->shared.lock);
	*err = s->shared.error;
	pthread_mutex_unlock(&s->shared.lock);
	return true;
}

enum kveil_status kveil_service_stop(struct kveil_service *s, struct kveil_error *err)
{
	int64_t now = kveil_clock_mono_ms(), end = now + STOP_MS;
	bool joined = true;

	kveil_health_draining(s->params.health);
	atomic_store(&s->shared.stop_ms, now);
	for (size_t i = 0; i < s->started; i++)
		joined &= kveil_thread_ends_by(s->workers[i]->thread, end);
	if (s->has_topics_thread)
		joined &= kveil_thread_ends_by(s->topics_thread, end);
	if (s->has_keeper_thread)
		joined &= kveil_thread_ends_by(s->keeper_thread, end);
	joined = joined && kveil_maker_free(s->maker, end) && kveil_resolver_free(s->resolver, end);
	/* A thread that hangs still uses all this: the process is to be ended. */
	if (!joined)
		return kveil_fail(err, KVEIL_E_INTERNAL, "a thread does not end");
	struct kveil_error failure;
	bool failed = kveil_service_failed(s, &failure);
	for (size_t i = 0; s->workers && i < s->worker_count; i++)
		if (s->workers[i] && s->workers[i]->client_left)
			kveil_kafka_leave_behind(s->workers[i]);
		else
			free(s->workers[i]);
	free(s->workers);
	free_names(s->open, s->open_count);
	for (size_t i = 0; i < s->gauge_count; i++) {
		kveil_metrics_release(s->params.metrics, s->gauges[i].cell);
		free(s->gauges[i].name);
	}
	kveil_custodians_free(s->custodians);
	free(s->gauges);
	for (size_t i = 0; i < s->pattern_count; i++) {
		kveil_metrics_release(s->params.metrics, s->patterns[i].names);
		kveil_metrics_release(s->params.metrics, s->patterns[i].waiting);
	}
	free(s->patterns);
	free(s->rotations);
	kveil_cluster_clear(&s->cluster);
	kveil_admin_free(s->admin);
	kveil_schemas_close(s->schemas);
	kveil_catalog_unref(s->shared.catalog);
	kveil_plan_set_unref(s->plans);
	pthread_mutex_destroy(&s->shared.lock);
	pthread_mutex_destroy(&s->plans_lock);
	free(s);
	if (failed) {
		*err = failure;
		return failure.status;
	}
	return KVEIL_OK;
}

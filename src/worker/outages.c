/* SPDX-License-Identifier: Apache-2.0 */
/* What a worker tells: outages, partitions that cannot be fetched, the error that ends it. */
#include "base/back_off.h"
#include "base/clock.h"
#include "base/log.h"
#include "worker/loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { BACK_OFF_FIRST_MS = 100, BACK_OFF_MOST_MS = 10000 };

bool kveil_worker_stopping(const struct kveil_worker *w)
{
	return atomic_load_explicit(&w->shared->stop_ms, memory_order_relaxed) ||
	       atomic_load_explicit(&w->shared->failed, memory_order_relaxed);
}

void kveil_worker_fail(struct kveil_worker *w, const struct kveil_error *why)
{
	pthread_mutex_lock(&w->shared->lock);
	if (!atomic_load(&w->shared->failed)) {
		w->shared->error = *why;
		atomic_store(&w->shared->failed, true);
	}
	pthread_mutex_unlock(&w->shared->lock);
	kveil_log_error(KVEIL_LOG_ERROR, w->name, why);
}

void kveil_count_fetch_error(struct kveil_worker *w, enum kveil_status status)
{
	if (!w->cells.fetch_errors[status])
		w->cells.fetch_errors[status] =
		    kveil_metrics_cell(w->params->metrics, KVEIL_M_FETCH_ERRORS, kveil_status_code(status), NULL);
	kveil_cell_add(w->cells.fetch_errors[status], 1);
}

void kveil_count_retry(struct kveil_worker *w, enum kveil_status status)
{
	if (!w->cells.retries[status])
		w->cells.retries[status] =
		    kveil_metrics_cell(w->params->metrics, KVEIL_M_RETRIES, kveil_status_code(status), NULL);
	kveil_cell_add(w->cells.retries[status], 1);
}

void kveil_tell_now_and_then(struct kveil_worker *w, const struct kveil_error *why, int64_t *logged_ms)
{
	if (kveil_clock_once_a_minute(logged_ms, kveil_clock_mono_ms()))
		kveil_log_error(KVEIL_LOG_WARN, w->name, why);
}

int kveil_back_off_of(struct kveil_worker *w, unsigned attempt)
{
	return (int)kveil_back_off_ms(BACK_OFF_FIRST_MS, BACK_OFF_MOST_MS, attempt, (uint32_t)rand_r(&w->random));
}

/* --- outages --- */

void kveil_open_outage(struct kveil_worker *w, const struct kveil_partition *p, const struct kveil_error *why)
{
	const char *code = kveil_status_code(why->status), *name = w->outage.condition;

	if (!w->outage.began_ms)
		w->outage.began_ms = kveil_clock_mono_ms();
	if (p && w->outage.partitions > 1)
		kveil_health_condition(w->params->health, name, "%s: %s (%s[%d] and %zu more wait)", code, why->message,
				       p->topic, (int)p->id, w->outage.partitions - 1);
	else if (p)
		kveil_health_condition(w->params->health, name, "%s: %s (%s[%d] waits)", code, why->message, p->topic,
				       (int)p->id);
	else
		kveil_health_condition(w->params->health, name, "%s: %s", code, why->message);
}

void kveil_tell_outage(struct kveil_worker *w, const struct kveil_partition *p, const struct kveil_error *why)
{
	kveil_open_outage(w, p, why);
	kveil_count_retry(w, why->status);
	kveil_tell_now_and_then(w, why, &w->outage.logged_ms);
}

void kveil_tell_produce(struct kveil_worker *w, const struct kveil_error *why)
{
	kveil_health_condition(w->params->health, w->producing.condition, "%s", why->message);
	kveil_count_retry(w, why->status);
	kveil_tell_now_and_then(w, why, &w->producing.logged_ms);
}

void kveil_tell_outage_over(struct kveil_worker *w)
{
	if (w->outage.partitions || w->outage.attempts || w->outage.keys || !w->outage.logged_ms)
		return;
	int64_t lasted_ms = kveil_clock_mono_ms() - w->outage.began_ms;
	w->outage.logged_ms = 0;
	w->outage.began_ms = 0;
	kveil_health_condition(w->params->health, w->outage.condition, NULL);
	kveil_log(KVEIL_LOG_INFO, w->name, "the outage is over after %lld.%lld s, continuing",
		  (long long)lasted_ms / 1000, (long long)lasted_ms % 1000 / 100);
}

/* --- fetches --- */

static void condition_name(const struct kveil_partition *p, char *dst, size_t size)
{
	snprintf(dst, size, "fetch %s[%" PRId32 "]", p->topic, p->id);
}

void kveil_tell_fetch_over(struct kveil_worker *w, struct kveil_partition *p)
{
	char name[300];

	condition_name(p, name, sizeof name);
	kveil_health_condition(w->params->health, name, NULL);
	p->fetch.fault = false;
}

void kveil_tell_fetch(struct kveil_worker *w, struct kveil_partition *p, const char *why)
{
	char name[300];

	condition_name(p, name, sizeof name);
	kveil_health_condition(w->params->health, name, "%s", why);
	kveil_log(p->fetch.fault ? KVEIL_LOG_DEBUG : KVEIL_LOG_WARN, w->name, "%s: %s", name, why);
	p->fetch.fault = true;
}

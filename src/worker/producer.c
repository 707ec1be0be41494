/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's producer: made for the limits of its topics, thrown away when it is of no use any more. */
#include "base/clock.h"
#include "base/log.h"
#include "worker/delivery.h"
#include "worker/loop.h"

#include <stdlib.h>

enum { MOST_BATCH_BYTES = 1000000, MOST_MESSAGE_BYTES = 999000000, FIT_MS = 10000 };

void kveil_producer_close(struct kveil_worker *w)
{
	if (w->producer)
		w->mode->close_producer(w);
	kveil_outlets_close(w);
	if (w->producer) {
		rd_kafka_purge(w->producer,
			       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
		w->client_left |= !kveil_kafka_destroy(w->producer, 0);
	}
	w->producer = NULL;
	if (w->hand.solo.waiting) {
		w->hand.solo.waiting = false;
		w->hand.solo.result = RD_KAFKA_RESP_ERR__PURGE_QUEUE;
	}
}

static enum kveil_status open_outlets(struct kveil_worker *w, struct kveil_error *err)
{
	for (size_t i = 0; i < w->rules.route_count; i++) {
		struct kveil_worker_route *r = &w->rules.routes[i];
		bool whole = (r->dead = kveil_outlet_open(w, &r->route->dead)) != NULL;
		for (size_t v = 0; v < r->route->plan->view_count; v++)
			whole &= (r->outputs[v] = kveil_outlet_open(w, &r->route->outputs[v])) != NULL;
		if (!whole)
			return kveil_no_memory(err, "the outputs of a topic");
	}
	return KVEIL_OK;
}

/* Of linger.ms, without what may pass between a look at the clock and a record's place in the queue. 0: too short. */
static int64_t join_ns(rd_kafka_t *producer)
{
	char linger[64];
	size_t size = sizeof linger;

	if (rd_kafka_conf_get(rd_kafka_conf(producer), "linger.ms", linger, &size) != RD_KAFKA_CONF_OK)
		return 0;
	double ms = strtod(linger, NULL);
	return ms < 1 ? 0 : (int64_t)((ms < 3 ? ms * 2 / 3 : ms - 1) * 1e6);
}

static enum kveil_status open_producer(struct kveil_worker *w, struct kveil_error *err)
{
	rd_kafka_conf_t *conf;

	enum kveil_status status = kveil_kafka_conf_producer(w->params->config, &w->owner, w->producing.batch_bytes,
							     w->producing.message_bytes, &conf, err);
	if (status)
		return status;
	status = w->mode->configure(w, conf, err);
	if (status) {
		rd_kafka_conf_destroy(conf);
		return status;
	}
	rd_kafka_conf_set_dr_msg_cb(conf, kveil_delivery_on_report);
	status = kveil_kafka_new(RD_KAFKA_PRODUCER, conf, &w->producer, err);
	if (status)
		return status;
	w->producing.join_ns = join_ns(w->producer);
	return open_outlets(w, err);
}

void kveil_producer_renew(struct kveil_worker *w)
{
	struct kveil_error err;

	kveil_log(KVEIL_LOG_INFO, w->name, "making a new producer");
	kveil_producer_close(w);
	for (size_t i = 0; i < w->slots.cap; i++) {
		struct kveil_partition *p = w->slots.at[i];
		if (p && p->unreported) {
			p->unreported = 0;
			kveil_ask_rewind(w, p);
		}
	}
	w->producing.broken = false;
	if (open_producer(w, &err))
		kveil_worker_fail(w, &err);
}

bool kveil_producer_drain(struct kveil_worker *w, int ms)
{
	int64_t end = kveil_clock_mono_ms() + ms;

	while (w->outlets.ledger.records && !w->producing.broken) {
		kveil_loop_beat(w->loop);
		/* First the reports that are there, then the judgement on whose are missing. */
		w->now_ms = kveil_clock_mono_ms();
		rd_kafka_flush(w->producer, 100);
		if (w->now_ms >= end || kveil_outlets_are_dead(w))
			break;
	}
	return w->outlets.ledger.records == 0;
}

enum kveil_status kveil_producer_fit(struct kveil_worker *w, struct kveil_error *err)
{
	size_t least, most;

	kveil_outlets_forgive(w); /* records may go elsewhere now */
	enum kveil_status status = w->producer ? open_outlets(w, err) : KVEIL_OK;
	if (status)
		return status;
	kveil_catalog_limits(w->rules.catalog, &least, &most);
	size_t batch = least < MOST_BATCH_BYTES ? least : MOST_BATCH_BYTES;
	size_t message = w->producing.compresses ? MOST_MESSAGE_BYTES : most;
	if (w->producer && batch == w->producing.batch_bytes && message <= w->producing.message_bytes)
		return KVEIL_OK;
	if (w->producer)
		(void)kveil_producer_drain(w, FIT_MS);
	w->producing.batch_bytes = batch;
	w->producing.message_bytes = message;
	if (!w->producer)
		return open_producer(w, err);
	w->mode->renew(w);
	return KVEIL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A worker's producer: made for the limits of its topics, thrown away when it is of no use any more. */
#include "base/log.h"
#include "worker/loop.h"

#include <stdlib.h>

enum { MOST_BATCH_BYTES = 1000000, MOST_MESSAGE_BYTES = 999000000 };

void kveil_worker_close_producer(struct kveil_worker *w)
{
	for (size_t i = 0; i < w->outlet_count; i++) {
		rd_kafka_topic_destroy(w->outlets[i].rkt);
		free(w->outlets[i].name);
	}
	free(w->outlets);
	w->outlets = NULL;
	w->outlet_count = 0;
	if (w->producer) {
		rd_kafka_purge(w->producer,
			       RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
		w->client_left |= !kveil_kafka_destroy(w->producer, 0);
	}
	w->producer = NULL;
	w->in_flight_bytes = w->in_flight_messages = 0;
	if (w->solo.waiting) {
		w->solo.waiting = false;
		w->solo.result = RD_KAFKA_RESP_ERR__PURGE_QUEUE;
	}
}

static rd_kafka_topic_t *outlet(struct kveil_worker *w, const char *name)
{
	for (size_t i = 0; i < w->outlet_count; i++)
		if (strcmp(w->outlets[i].name, name) == 0)
			return w->outlets[i].rkt;
	struct kveil_outlet *grown = realloc(w->outlets, (w->outlet_count + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	w->outlets = grown;
	struct kveil_outlet *o = &grown[w->outlet_count];
	o->name = strdup(name);
	o->rkt = o->name ? rd_kafka_topic_new(w->producer, name, NULL) : NULL;
	if (!o->rkt) {
		free(o->name);
		return NULL;
	}
	w->outlet_count++;
	return o->rkt;
}

static enum kveil_status open_outlets(struct kveil_worker *w, struct kveil_error *err)
{
	for (size_t i = 0; i < w->route_count; i++) {
		struct kveil_worker_route *r = &w->routes[i];
		bool whole = (r->dead = outlet(w, r->route->dead.topic)) != NULL;
		for (size_t v = 0; v < r->route->plan->view_count; v++)
			whole &= (r->outputs[v] = outlet(w, r->route->outputs[v].topic)) != NULL;
		if (!whole)
			return kveil_fail(err, KVEIL_E_NO_MEMORY, "no memory for the outputs of %s", r->route->topic);
	}
	return KVEIL_OK;
}

static enum kveil_status open_producer(struct kveil_worker *w, struct kveil_error *err)
{
	rd_kafka_conf_t *conf;

	enum kveil_status status =
	    kveil_kafka_conf_producer(w->params->config, &w->owner, w->batch_bytes, w->message_bytes, &conf, err);
	if (status)
		return status;
	rd_kafka_conf_set_dr_msg_cb(conf, kveil_worker_on_delivery);
	status = kveil_kafka_new(RD_KAFKA_PRODUCER, conf, &w->producer, err);
	return status ? status : open_outlets(w, err);
}

void kveil_worker_renew_producer(struct kveil_worker *w)
{
	struct kveil_error err;

	kveil_log(KVEIL_LOG_INFO, w->name, "making a new producer");
	kveil_worker_close_producer(w);
	for (size_t i = 0; i < w->slot_cap; i++) {
		struct kveil_partition *p = w->slots[i];
		if (p && p->unreported) {
			p->unreported = 0;
			kveil_worker_ask_rewind(w, p);
		}
	}
	w->producer_broken = false;
	if (open_producer(w, &err))
		kveil_worker_fail(w, &err);
}

enum kveil_status kveil_worker_fit_producer(struct kveil_worker *w, struct kveil_error *err)
{
	size_t least, most;

	enum kveil_status status = w->producer ? open_outlets(w, err) : KVEIL_OK;
	if (status)
		return status;
	kveil_catalog_limits(w->catalog, &least, &most);
	size_t batch = least < MOST_BATCH_BYTES ? least : MOST_BATCH_BYTES;
	size_t message = w->compresses ? MOST_MESSAGE_BYTES : most;
	if (w->producer && batch == w->batch_bytes && message <= w->message_bytes)
		return KVEIL_OK;
	while (w->in_flight_messages && !w->producer_broken && !kveil_worker_stopping(w))
		kveil_worker_pump(w, 50);
	w->batch_bytes = batch;
	w->message_bytes = message;
	if (!w->producer)
		return open_producer(w, err);
	kveil_worker_renew_producer(w);
	return KVEIL_OK;
}

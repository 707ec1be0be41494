/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/waker.h: up to librdkafka 2.1, a fetcher that found its queue full sleeps for as long as a second, whatever
 * happens to the queue, unless a request to the same broker wakes it; at full speed the queue is worked off in a
 * fraction of that. So when the queue was emptied, one of a few threads a consumer asks for a partition's end. From 2.2
 * on the client looks again by itself (fetch.queue.backoff.ms), and there are no such threads.
 */
#ifndef KVEIL_WORKER_WAKER_H
#define KVEIL_WORKER_WAKER_H

#include "kveil/base.h"

#include <librdkafka/rdkafka.h>

struct kveil_waker;

/* NULL when there is no need for one, or no thread to be had: then fetching is slower. The consumer must outlive it. */
struct kveil_waker *kveil_waker_new(rd_kafka_t *consumer);
/* Ends it; NULL is fine. false: the client does not come back from a request, for its broker does not answer and it
 * does not keep the time it was given; the thread and the consumer are then left as they are, for the process ends. */
bool kveil_waker_free(struct kveil_waker *w);
/* Asks the partition's leader for something. Returns at once; a few requests may be under way, and false means that
 * this is none of them. topic is copied. */
bool kveil_waker_wake(struct kveil_waker *w, const char *topic, int32_t partition);

#endif

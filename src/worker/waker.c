/* SPDX-License-Identifier: Apache-2.0 */
/* Wakes a fetcher of librdkafka that sleeps on a full queue. */
#include "worker/waker.h"
#include "kafka/versions.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_MS = 500, END_MS = 1000 };

struct kveil_waker {
	rd_kafka_t *consumer;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t asked, done;
	bool wanted, busy, ending, ended;
	char topic[256]; /* a topic's name has at most 249 characters */
	int32_t partition;
};

static void *waker_main(void *waker)
{
	struct kveil_waker *w = waker;
	char topic[sizeof w->topic];
	int64_t low, high;

	pthread_mutex_lock(&w->lock);
	while (!w->ending) {
		if (!w->wanted) {
			pthread_cond_wait(&w->asked, &w->lock);
			continue;
		}
		w->wanted = false;
		w->busy = true;
		memcpy(topic, w->topic, sizeof topic);
		int32_t partition = w->partition;
		pthread_mutex_unlock(&w->lock);
		/* What it answers is of no interest, nor that it fails. */
		(void)rd_kafka_query_watermark_offsets(w->consumer, topic, partition, &low, &high, WAIT_MS);
		pthread_mutex_lock(&w->lock);
		w->busy = false;
	}
	w->ended = true;
	pthread_cond_signal(&w->done);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

struct kveil_waker *kveil_waker_new(rd_kafka_t *consumer)
{
	struct kveil_waker *w = RD_KAFKA_VERSION < KVEIL_RDKAFKA_FETCH_BACKOFF ? calloc(1, sizeof *w) : NULL;

	if (!w)
		return NULL;
	w->consumer = consumer;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->asked, NULL);
	pthread_cond_init(&w->done, NULL);
	if (pthread_create(&w->thread, NULL, waker_main, w)) {
		free(w);
		return NULL;
	}
	return w;
}

bool kveil_waker_free(struct kveil_waker *w)
{
	struct timespec until;
	int late = 0;

	if (!w)
		return true;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_MS / 1000;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_signal(&w->asked);
	while (!w->ended && !late)
		late = pthread_cond_timedwait(&w->done, &w->lock, &until);
	bool ended = w->ended;
	pthread_mutex_unlock(&w->lock);
	if (!ended) {
		pthread_detach(w->thread);
		return false;
	}
	pthread_join(w->thread, NULL);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->asked);
	pthread_cond_destroy(&w->done);
	free(w);
	return true;
}

bool kveil_waker_wake(struct kveil_waker *w, const char *topic, int32_t partition)
{
	pthread_mutex_lock(&w->lock);
	bool idle = !w->busy && !w->wanted;
	if (idle) {
		snprintf(w->topic, sizeof w->topic, "%s", topic);
		w->partition = partition;
		w->wanted = true;
		pthread_cond_signal(&w->asked);
	}
	pthread_mutex_unlock(&w->lock);
	return idle;
}

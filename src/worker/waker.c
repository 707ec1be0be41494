/* SPDX-License-Identifier: Apache-2.0 */
/* Wakes a fetcher of librdkafka that sleeps on a full queue. */
#include "worker/waker.h"
#include "kafka/versions.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A question takes a round trip, and on a long way fetchers fall asleep more often than that. */
enum { WAIT_MS = 500, END_MS = 1000, THREADS = 4 };

struct kveil_waker {
	rd_kafka_t *consumer;
	pthread_t threads[THREADS];
	size_t count, running, busy;
	pthread_mutex_t lock;
	pthread_cond_t asked, done;
	bool wanted, ending;
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
		w->busy++;
		memcpy(topic, w->topic, sizeof topic);
		int32_t partition = w->partition;
		pthread_mutex_unlock(&w->lock);
		/* What it answers is of no interest, nor that it fails. */
		(void)rd_kafka_query_watermark_offsets(w->consumer, topic, partition, &low, &high, WAIT_MS);
		pthread_mutex_lock(&w->lock);
		w->busy--;
	}
	w->running--;
	pthread_cond_signal(&w->done);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

static void free_all(struct kveil_waker *w)
{
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->asked);
	pthread_cond_destroy(&w->done);
	free(w);
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
	pthread_mutex_lock(&w->lock);
	while (w->running < THREADS && !pthread_create(&w->threads[w->running], NULL, waker_main, w))
		w->running++;
	w->count = w->running;
	pthread_mutex_unlock(&w->lock);
	if (w->count)
		return w;
	free_all(w);
	return NULL;
}

/* Do all of them come to their end in time? */
static bool end_all(struct kveil_waker *w)
{
	struct timespec until;
	int late = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += END_MS / 1000;
	pthread_mutex_lock(&w->lock);
	w->ending = true;
	pthread_cond_broadcast(&w->asked);
	while (w->running && !late)
		late = pthread_cond_timedwait(&w->done, &w->lock, &until);
	bool ended = w->running == 0;
	pthread_mutex_unlock(&w->lock);
	return ended;
}

bool kveil_waker_free(struct kveil_waker *w)
{
	if (!w)
		return true;
	bool ended = end_all(w);
	for (size_t i = 0; i < w->count; i++)
		(void)(ended ? pthread_join(w->threads[i], NULL) : pthread_detach(w->threads[i]));
	if (ended)
		free_all(w);
	return ended;
}

bool kveil_waker_wake(struct kveil_waker *w, const char *topic, int32_t partition)
{
	pthread_mutex_lock(&w->lock);
	bool idle = w->busy < w->count && !w->wanted;
	if (idle) {
		snprintf(w->topic, sizeof w->topic, "%s", topic);
		w->partition = partition;
		w->wanted = true;
		pthread_cond_signal(&w->asked);
	}
	pthread_mutex_unlock(&w->lock);
	return idle;
}

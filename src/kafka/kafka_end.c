/* SPDX-License-Identifier: Apache-2.0 */
/* How a client ends: librdkafka's own calls wait without an end, for brokers that are frozen or topics that are gone.
 */
#include "base/clock.h"
#include "base/thread.h"
#include "kafka/kafka.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { CLOSE_MS = 2000, DESTROY_MS = 2000, POLL_MS = 50 };

struct left {
	struct left *next;
	void *owner;
};

static struct left *_Atomic left_behind;

struct ending {
	rd_kafka_t *rk;
	int flags;
};

static void *end_client(void *arg)
{
	struct ending e = *(struct ending *)arg;

	free(arg);
	rd_kafka_destroy_flags(e.rk, e.flags);
	return NULL;
}

bool kveil_kafka_destroy(rd_kafka_t *rk, int flags)
{
	struct ending *e = rk ? malloc(sizeof *e) : NULL;
	int64_t end_ms = kveil_clock_mono_ms() + DESTROY_MS;
	pthread_t thread;

	if (!rk)
		return true;
	if (e)
		*e = (struct ending){rk, flags};
	if (!e || pthread_create(&thread, NULL, end_client, e)) {
		free(e);
		return false;
	}
	if (kveil_thread_ends_by(thread, end_ms))
		return true;
	pthread_detach(thread);
	return false;
}

/* Into a queue of ours, as rd_kafka_consumer_close does it, but with an end; callbacks run here. Fetched messages come
 * that way too, and rd_kafka_queue_poll_callback aborts at the first of them. */
static bool leave_group(rd_kafka_t *consumer)
{
	int64_t until_ms = kveil_clock_mono_ms() + CLOSE_MS;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer);
	rd_kafka_error_t *failure = rd_kafka_consumer_close_queue(consumer, queue);
	bool whole = !failure;

	while (whole && !rd_kafka_consumer_closed(consumer) && kveil_clock_mono_ms() < until_ms) {
		rd_kafka_message_t *m = rd_kafka_consume_queue(queue, POLL_MS);
		if (m)
			rd_kafka_message_destroy(m);
	}
	rd_kafka_error_destroy(failure);
	rd_kafka_queue_destroy(queue);
	return whole && rd_kafka_consumer_closed(consumer);
}

bool kveil_kafka_close_consumer(rd_kafka_t *consumer)
{
	if (!consumer)
		return true;
	bool left = leave_group(consumer);
	return kveil_kafka_destroy(consumer, left ? 0 : RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
}

void kveil_kafka_leave_behind(void *owner)
{
	struct left *l = malloc(sizeof *l);

	if (!l)
		return;
	l->owner = owner;
	l->next = atomic_exchange(&left_behind, l);
}

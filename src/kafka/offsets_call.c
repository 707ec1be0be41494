/* SPDX-License-Identifier: Apache-2.0 */
/* A call into librdkafka that may wait for ever, and how it is let go. */
#include "kafka/offsets_call.h"

#include "base/thread.h"
#include "kafka/kafka.h"

#include <sys/socket.h>
#include <unistd.h>

enum { AGAIN_MS = 1000 }; /* librdkafka asks for a coordinator no more often */

/* A number must not be another connection's by the time it is used. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int on_open(int domain, int type, int protocol, void *owner)
{
	struct kveil_connections *c = &((struct kveil_kafka_owner *)owner)->connections;
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol);

	pthread_mutex_lock(&lock);
	if (fd >= 0 && c->count < KVEIL_CONNECTIONS)
		c->at[c->count++] = fd;
	pthread_mutex_unlock(&lock);
	return fd;
}

static int on_close(int fd, void *owner)
{
	struct kveil_connections *c = &((struct kveil_kafka_owner *)owner)->connections;
	size_t kept = 0;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < c->count; i++)
		if (c->at[i] != fd)
			c->at[kept++] = c->at[i];
	c->count = kept;
	int result = close(fd);
	pthread_mutex_unlock(&lock);
	return result;
}

void kveil_connections_watch(rd_kafka_conf_t *conf)
{
	rd_kafka_conf_set_socket_cb(conf, on_open);
	rd_kafka_conf_set_closesocket_cb(conf, on_close);
}

/* The newest first: the coordinator of transactions is reached over one of its own. */
static void break_one(struct kveil_connections *c, size_t turn)
{
	pthread_mutex_lock(&lock);
	if (c->count)
		shutdown(c->at[c->count - 1 - turn % c->count], SHUT_RDWR);
	pthread_mutex_unlock(&lock);
}

struct call {
	rd_kafka_t *producer;
	const rd_kafka_topic_partition_list_t *offsets;
	const rd_kafka_consumer_group_metadata_t *group;
	int timeout_ms;
	rd_kafka_error_t *error;
};

static void *call_main(void *arg)
{
	struct call *c = arg;

	c->error = rd_kafka_send_offsets_to_transaction(c->producer, c->offsets, c->group, c->timeout_ms);
	return NULL;
}

rd_kafka_error_t *kveil_kafka_send_offsets(rd_kafka_t *producer, const rd_kafka_topic_partition_list_t *offsets,
					   const rd_kafka_consumer_group_metadata_t *group, int timeout_ms,
					   void (*beat)(void *user), void *user)
{
	struct kveil_kafka_owner *owner = rd_kafka_opaque(producer);
	struct call call = {.producer = producer, .offsets = offsets, .group = group, .timeout_ms = timeout_ms};
	int64_t until = kveil_clock_mono_ms() + AGAIN_MS, end_ms = until - AGAIN_MS + timeout_ms;
	size_t turn = 0;
	pthread_t thread;

	if (pthread_create(&thread, NULL, call_main, &call)) {
		(void)call_main(&call);
		return call.error;
	}
	for (; !kveil_thread_ends_by(thread, until); until += AGAIN_MS) {
		beat(user);
		if (until >= end_ms)
			break_one(&owner->connections, turn++);
	}
	return call.error;
}

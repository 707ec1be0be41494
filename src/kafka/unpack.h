/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kafka/unpack.h: a bound on what fetched batches become when they are decompressed. librdkafka unpacks a batch whole,
 * whatever it becomes: 389 KB of gzip may be 400 MB. It has no limit of its own for gzip (1,032 to 1) and lz4 (255 to
 * 1); for zstd it is receive.message.max.bytes. So kveil stands between librdkafka and the libraries that decompress:
 *
 *   librdkafka's thread of a broker ─ inflate, LZ4F_decompress, ZSTD_decompress ─► unpack.c ─► zlib, lz4, zstd
 *
 * by defining these names itself, which the dynamic linker finds before theirs. Past the bound a batch is one that
 * cannot be read, and librdkafka says so in its place and at its offset. Threads that belong to no client go through
 * untouched. Snappy is a part of librdkafka: it unpacks to 21.4 times its size, and has no bound (docs/memory.md).
 */
#ifndef KVEIL_KAFKA_UNPACK_H
#define KVEIL_KAFKA_UNPACK_H

#include <librdkafka/rdkafka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct kveil_unpack {
	size_t most;                /* bytes of a batch; 0 = no bound */
	bool sums;                  /* …and of all batches since they were taken away last */
	_Atomic size_t bytes;       /* so many are there */
	bool came;                  /* a message was polled since then; the poller's own */
	_Atomic size_t empty_bytes; /* a fetch's answer of more bytes has records in it */
	_Atomic unsigned full_answers, empty_answers;
};

/* The client that is made of this gets the bound. It must outlive the client. */
void kveil_unpack_watch(rd_kafka_conf_t *conf, struct kveil_unpack *u);

/* The client's queue is empty. librdkafka puts a partition's batches there when all of a response are unpacked: when no
 * message has come yet, they are still being unpacked, and count on. */
static inline void kveil_unpack_taken(struct kveil_unpack *u)
{
	if (u->sums && u->came)
		atomic_store_explicit(&u->bytes, 0, memory_order_relaxed);
	u->came = false;
}

#endif

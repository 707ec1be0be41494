/* SPDX-License-Identifier: Apache-2.0 */
/* Bounds on what librdkafka decompresses. */
#include "kafka/unpack.h"

#include "kveil/base.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <zlib.h>

/* zstd_errors.h and lz4frame.h: errors are counted down from the top. */
enum { ZSTD_NO_MEMORY = 64, ZSTD_TOO_SMALL = 70, LZ4F_GENERIC = 1 };
enum { FETCH = 1 }; /* Kafka's number of the request */

/* What librdkafka is to call in the place of the libraries' own has to be seen from outside of the program. */
KVEIL_API int inflate(z_streamp s, int flush);
KVEIL_API size_t LZ4F_decompress(void *context, void *dst, size_t *dst_size, const void *src, size_t *src_size,
				 const void *options);
KVEIL_API size_t ZSTD_decompress(void *dst, size_t capacity, const void *src, size_t size);

static int (*real_inflate)(z_streamp, int);
static __typeof__(LZ4F_decompress) *real_lz4;
static __typeof__(ZSTD_decompress) *real_zstd;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static _Thread_local struct kveil_unpack *watched;
/* Of the response at hand: none of it is in the queue before all of it is unpacked, and so nothing of it was taken. */
static _Thread_local size_t response;

static void find_real(void)
{
	*(void **)&real_inflate = dlsym(RTLD_NEXT, "inflate");
	*(void **)&real_lz4 = dlsym(RTLD_NEXT, "LZ4F_decompress");
	*(void **)&real_zstd = dlsym(RTLD_NEXT, "ZSTD_decompress");
}

/* What a batch may still become. */
static size_t left(const struct kveil_unpack *u)
{
	size_t bytes = atomic_load_explicit(&u->bytes, memory_order_relaxed);

	if (bytes < response)
		bytes = response;
	return bytes < u->most ? u->most - bytes : 0;
}

static void add(struct kveil_unpack *u, size_t n)
{
	if (!u->sums)
		return;
	atomic_fetch_add_explicit(&u->bytes, n, memory_order_relaxed);
	response += n;
}

/* librdkafka goes over a batch twice: through 512 bytes to learn its size, then into as many as it has. */
int inflate(z_streamp s, int flush)
{
	bool first = s && s->total_out == 0;

	pthread_once(&once, find_real);
	if (!real_inflate)
		return Z_STREAM_ERROR;
	int r = real_inflate(s, flush);
	if (!watched || !watched->most || r < 0)
		return r;
	if (r == Z_STREAM_END && first) {
		add(watched, s->total_out);
		return r;
	}
	return s->total_out > left(watched) ? Z_MEM_ERROR : r;
}

size_t LZ4F_decompress(void *context, void *dst, size_t *dst_size, const void *src, size_t *src_size,
		       const void *options)
{
	/* Of the frame at hand: a frame ends with 0, and one that failed is not gone on with. */
	static _Thread_local size_t frame;

	pthread_once(&once, find_real);
	size_t r = real_lz4 ? real_lz4(context, dst, dst_size, src, src_size, options) : (size_t)-LZ4F_GENERIC;
	if (!watched || !watched->most)
		return r;
	frame += *dst_size;
	bool too_large = frame > left(watched);
	if (r == 0 && !too_large)
		add(watched, frame);
	if (r == 0 || r > SIZE_MAX / 2 || too_large)
		frame = 0;
	return too_large ? (size_t)-LZ4F_GENERIC : r;
}

size_t ZSTD_decompress(void *dst, size_t capacity, const void *src, size_t size)
{
	pthread_once(&once, find_real);
	if (!real_zstd)
		return (size_t)-ZSTD_NO_MEMORY;
	if (!watched || !watched->most)
		return real_zstd(dst, capacity, src, size);
	size_t most = left(watched);
	size_t r = real_zstd(dst, capacity < most ? capacity : most, src, size);
	if (r == (size_t)-ZSTD_TOO_SMALL && capacity > most)
		return (size_t)-ZSTD_NO_MEMORY; /* librdkafka would try with ever more */
	if (r <= SIZE_MAX / 2)
		add(watched, r);
	return r;
}

static rd_kafka_resp_err_t on_thread_start(rd_kafka_t *rk, rd_kafka_thread_type_t type, const char *name, void *u)
{
	(void)rk;
	(void)type;
	(void)name;
	watched = u;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_response(rd_kafka_t *rk, int fd, const char *broker, int32_t id, int16_t key,
				       int16_t version, int32_t number, size_t size, int64_t rtt,
				       rd_kafka_resp_err_t err, void *u)
{
	(void)rk;
	(void)fd;
	(void)broker;
	(void)id;
	(void)version;
	(void)number;
	(void)rtt;
	struct kveil_unpack *watching = u;
	if (key == FETCH && !err) {
		bool full = size > atomic_load_explicit(&watching->empty_bytes, memory_order_relaxed);
		atomic_fetch_add_explicit(full ? &watching->full_answers : &watching->empty_answers, 1,
					  memory_order_relaxed);
	}
	response = 0;
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *u, char *why, size_t size)
{
	(void)conf;
	(void)why;
	(void)size;
	rd_kafka_resp_err_t e = rd_kafka_interceptor_add_on_response_received(rk, "kveil-unpack", on_response, u);
	return e ? e : rd_kafka_interceptor_add_on_thread_start(rk, "kveil-unpack", on_thread_start, u);
}

void kveil_unpack_watch(rd_kafka_conf_t *conf, struct kveil_unpack *u)
{
	rd_kafka_conf_interceptor_add_on_new(conf, "kveil-unpack", on_new, u);
}

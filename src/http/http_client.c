/* SPDX-License-Identifier: Apache-2.0 */
/* One request to a side port. */
#include "http/http_client.h"

#include "base/address.h"
#include "base/clock.h"
#include "base/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { ANSWER_MAX = 4 << 20 };

struct exchange {
	int fd;
	int64_t deadline_ms;
	const char *url;
	struct kveil_error *err;
};

static enum kveil_status no_answer(struct exchange *x, const char *why)
{
	return kveil_fail(x->err, KVEIL_E_IO, "%s: %s", x->url, why);
}

static enum kveil_status wait_for(struct exchange *x, short events)
{
	for (;;) {
		int64_t left = x->deadline_ms - kveil_clock_mono_ms();
		struct pollfd p = {.fd = x->fd, .events = events};
		int n = left > 0 ? poll(&p, 1, (int)left) : 0;
		if (n > 0)
			return KVEIL_OK;
		if (n == 0)
			return no_answer(x, "no answer in time");
		if (errno != EINTR)
			return no_answer(x, strerror(errno));
	}
}

/* A unix socket whose queue is full says EAGAIN, and nothing tells when there is room again. */
static int connect_in_time(const struct exchange *x, const struct sockaddr *address, socklen_t address_len)
{
	static const struct timespec pause = {.tv_nsec = 10000000};
	int error;

	while ((error = connect(x->fd, address, address_len) ? errno : 0) == EAGAIN &&
	       kveil_clock_mono_ms() < x->deadline_ms)
		nanosleep(&pause, NULL);
	return error;
}

static enum kveil_status connect_to(struct exchange *x, const struct sockaddr *address, socklen_t address_len)
{
	int error = 0;
	socklen_t len = sizeof error;

	x->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (x->fd < 0)
		return no_answer(x, strerror(errno));
	error = connect_in_time(x, address, address_len);
	if (!error)
		return KVEIL_OK;
	if (error != EINPROGRESS)
		return no_answer(x, strerror(error));
	enum kveil_status status = wait_for(x, POLLOUT);
	if (status != KVEIL_OK)
		return status;
	getsockopt(x->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	return error ? no_answer(x, strerror(error)) : KVEIL_OK;
}

static enum kveil_status send_all(struct exchange *x, const char *data, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(x->fd, data, n, MSG_NOSIGNAL);
		if (sent > 0) {
			data += sent;
			n -= (size_t)sent;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return no_answer(x, strerror(errno));
		enum kveil_status status = wait_for(x, POLLOUT);
		if (status != KVEIL_OK)
			return status;
	}
	return KVEIL_OK;
}

static enum kveil_status receive_all(struct exchange *x, struct kveil_buf *answer)
{
	while (answer->len < ANSWER_MAX) {
		enum kveil_status status = wait_for(x, POLLIN);
		if (status != KVEIL_OK)
			return status;
		uint8_t *room = kveil_buf_reserve(answer, 16384);
		if (!room)
			return kveil_no_memory(x->err, NULL);
		ssize_t n = recv(x->fd, room, 16384, 0);
		if (n == 0)
			return KVEIL_OK;
		if (n > 0)
			answer->len += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return no_answer(x, strerror(errno));
	}
	return no_answer(x, "the answer does not end");
}

static enum kveil_status talk(struct exchange *x, const char *host, const char *path, unsigned *ret_status,
			      struct kveil_buf *body)
{
	KVEIL_CLEANUP_BUF struct kveil_buf request = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_BUF struct kveil_buf answer = KVEIL_BUF_INIT;

	kveil_buf_printf(&request, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path, host);
	if (!kveil_buf_ok(&request))
		return kveil_no_memory(x->err, NULL);
	enum kveil_status status = send_all(x, (const char *)request.data, request.len);
	if (status == KVEIL_OK)
		status = receive_all(x, &answer);
	if (status != KVEIL_OK)
		return status;
	const char *text = kveil_buf_cstr(&answer);
	const char *end = text ? strstr(text, "\r\n\r\n") : NULL;
	if (!end || sscanf(text, "HTTP/1.%*1[01] %3u", ret_status) != 1)
		return no_answer(x, "the answer is not HTTP");
	size_t head = (size_t)(end + 4 - text);
	kveil_buf_append(body, answer.data + head, answer.len - head);
	return KVEIL_OK;
}

static enum kveil_status get_from_socket(struct exchange *x, const char *socket_path, const char *path,
					 unsigned *ret_status, struct kveil_buf *body)
{
	struct sockaddr_un address;

	if (!kveil_unix_socket_address(socket_path, &address))
		return kveil_fail(x->err, KVEIL_E_USAGE, "'%.200s' is not a path of 1 to 107 bytes", socket_path);
	enum kveil_status status = connect_to(x, (struct sockaddr *)&address, sizeof address);
	return status ? status : talk(x, "localhost", path, ret_status, body);
}

static enum kveil_status get_from_port(struct exchange *x, const char *path, unsigned *ret_status,
				       struct kveil_buf *body)
{
	struct kveil_address a;
	struct addrinfo *list;
	const char *why;
	char place[300];

	snprintf(place, sizeof place, "%s", strncmp(x->url, "http://", 7) == 0 ? x->url + 7 : x->url);
	if (*place && place[strlen(place) - 1] == '/')
		place[strlen(place) - 1] = 0;
	if (!kveil_address_parse(place, &a))
		return kveil_fail(x->err, KVEIL_E_USAGE, "'%s' is not http://HOST:PORT", x->url);
	if (!*a.host || strcmp(a.host, "0.0.0.0") == 0)
		strcpy(a.host, "127.0.0.1");
	else if (strcmp(a.host, "::") == 0)
		strcpy(a.host, "::1");
	if (!kveil_address_resolve(&a, false, &list, &why))
		return no_answer(x, why);
	enum kveil_status status = KVEIL_E_IO;
	for (struct addrinfo *ai = list; ai && status != KVEIL_OK; ai = ai->ai_next) {
		if (x->fd >= 0)
			close(x->fd);
		status = connect_to(x, ai->ai_addr, ai->ai_addrlen);
	}
	freeaddrinfo(list);
	bool v6 = strchr(a.host, ':');
	snprintf(place, sizeof place, "%s%s%s:%s", v6 ? "[" : "", a.host, v6 ? "]" : "", a.port);
	return status ? status : talk(x, place, path, ret_status, body);
}

enum kveil_status kveil_http_get(const char *url, const char *path, int timeout_ms, unsigned *ret_status,
				 struct kveil_buf *body, struct kveil_error *err)
{
	struct exchange x = {.fd = -1, .deadline_ms = kveil_clock_mono_ms() + timeout_ms, .url = url, .err = err};
	enum kveil_status status = strncmp(url, "unix:", 5) == 0 ? get_from_socket(&x, url + 5, path, ret_status, body)
								 : get_from_port(&x, path, ret_status, body);

	if (x.fd >= 0)
		close(x.fd);
	return status;
}

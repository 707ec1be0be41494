/* SPDX-License-Identifier: Apache-2.0 */
/* The HTTP server of the side port. */
#include "http/http.h"

#include "base/address.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "base/unix_socket.h"

#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
	CONNECTIONS_MAX = 128,
	CONNECTIONS_OF_ONE_PEER = 32, /* one that clings to its connections does not lock out the probes */
	CONNECTIONS_EASY = 96,        /* beyond that there is no waiting for slow ones */
	UNIX_CONNECTIONS_MAX = 32,
	UNIX_CONNECTIONS_EASY = 24,
	IDLE_SECONDS = 5,
	REQUEST_MS = 3000, /* for a whole request, whether its bytes trickle or not */
	LOOK_MS = 500,
	CONNECTION_BYTES = 16384, /* request line and headers must fit: larger ones get 431 */
};

/* A connection and when its request began. */
struct guest {
	int fd; /* -1 = none */
	int64_t since_ms;
};

/* What listens: each has connections of its own, so that nobody on the network can take those of the unix socket. */
struct door {
	struct kveil_http *http;
	struct MHD_Daemon *daemon; /* NULL = closed */
	size_t easy;
	bool is_unix;
	struct guest guests[CONNECTIONS_MAX];
};

struct kveil_http {
	int64_t refused_ms;   /* when it was told last that somebody was refused a page */
	pthread_mutex_t lock; /* of the guests */
	pthread_cond_t ended;
	bool ending;
	struct door tcp, local;
	pthread_t doorkeeper;
	const struct kveil_http_route *routes;
	void *user;
	bool on_loopback;
	char address[80];
	struct kveil_unix_socket socket; /* where `local` is open */
};

static enum MHD_Result send_response(struct MHD_Connection *c, unsigned status, const char *content_type,
				     struct kveil_buf *body)
{
	if (!kveil_buf_ok(body)) {
		kveil_buf_reset(body);
		status = MHD_HTTP_INTERNAL_SERVER_ERROR;
	}
	struct MHD_Response *r = MHD_create_response_from_buffer(body->len, body->data, MHD_RESPMEM_MUST_COPY);
	if (!r)
		return MHD_NO;
	MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
	MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	if (status == MHD_HTTP_CONTENT_TOO_LARGE || status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close"); /* a body may follow: do not read it */
	enum MHD_Result result = MHD_queue_response(c, status, r);
	MHD_destroy_response(r);
	return result;
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned status, const char *why)
{
	KVEIL_CLEANUP_BUF struct kveil_buf body = KVEIL_BUF_INIT;

	kveil_buf_printf(&body, "%s\n", why);
	return send_response(c, status, "text/plain; charset=utf-8", &body);
}

static bool has_body(struct MHD_Connection *c)
{
	const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);

	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING) ||
	       (length && strcmp(length, "0") != 0);
}

/* A page of another site whose name was made to point here still sends that name. */
static bool host_is_loopback(struct MHD_Connection *c)
{
	const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	char name[64];

	if (!host)
		return true; /* HTTP/1.0: no browser */
	size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	if (n >= sizeof name)
		return false;
	memcpy(name, host, n);
	name[n] = 0;
	return strcasecmp(name, "localhost") == 0 || strcmp(name, "[::1]") == 0 ||
	       (strncmp(name, "127.", 4) == 0 && strspn(name, "0123456789.") == n);
}

static bool peer_is_loopback(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);

	return info && info->client_addr && kveil_address_is_loopback(info->client_addr);
}

/* Whoever may open the unix socket is of this host. */
static bool is_of_this_host(const struct door *door, struct MHD_Connection *c)
{
	return door->is_unix || (door->http->on_loopback && peer_is_loopback(c) && host_is_loopback(c));
}

/* Requests are answered by one thread. */
static enum MHD_Result forbid(const struct door *door, struct MHD_Connection *c, const char *page)
{
	if (kveil_clock_once_a_minute(&door->http->refused_ms, kveil_clock_mono_ms()))
		kveil_event(&(struct kveil_event){.kind = KVEIL_EVENT_ACCESS_REFUSED, .detail = page});
	return refuse(c, MHD_HTTP_FORBIDDEN, "this page answers on a loopback address only");
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_size, void **state)
{
	const struct door *door = user;
	const struct kveil_http *http = door->http;
	const struct kveil_http_route *route;

	(void)version;
	(void)upload;
	(void)upload_size;
	(void)state;
	if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
		return refuse(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD");
	if (has_body(c))
		return refuse(c, MHD_HTTP_CONTENT_TOO_LARGE, "no body is taken here");
	for (route = http->routes; route->path; route++)
		if (strcmp(route->path, url) == 0)
			break;
	if (!route->path)
		return refuse(c, MHD_HTTP_NOT_FOUND, "not found");
	if (!route->public && !is_of_this_host(door, c))
		return forbid(door, c, route->path);
	KVEIL_CLEANUP_BUF struct kveil_buf body = KVEIL_BUF_INIT;
	unsigned status = route->answer(http->user, &body);
	return send_response(c, status, route->content_type, &body);
}

/* --- deadlines: libmicrohttpd's own is for idle connections, and a byte a second is not idle --- */

static struct guest *guest_of(struct door *door, int fd)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (door->guests[i].fd == fd)
			return &door->guests[i];
	return NULL;
}

/* The server's thread then sees that the connection has ended. */
static void show_out(struct guest *g)
{
	shutdown(g->fd, SHUT_RDWR);
	g->since_ms = INT64_MAX;
}

static void show_out_slow_ones(struct door *door, int64_t now)
{
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		if (door->guests[i].fd >= 0 && door->guests[i].since_ms < now - REQUEST_MS)
			show_out(&door->guests[i]);
}

static void *keep_doors(void *arg)
{
	struct kveil_http *http = arg;
	struct timespec until;

	pthread_mutex_lock(&http->lock);
	while (!http->ending) {
		int64_t now = kveil_clock_mono_ms();
		show_out_slow_ones(&http->tcp, now);
		show_out_slow_ones(&http->local, now);
		until = kveil_clock_timespec(now + LOOK_MS);
		pthread_cond_clockwait(&http->ended, &http->lock, CLOCK_MONOTONIC, &until);
	}
	pthread_mutex_unlock(&http->lock);
	return NULL;
}

static int fd_of(struct MHD_Connection *c)
{
	return MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

/* Whoever comes gets in: where it becomes tight, the one that has taken longest over its request leaves. */
static void make_place(struct door *door)
{
	struct guest *oldest = NULL;
	size_t count = 0;

	for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
		struct guest *g = &door->guests[i];
		if (g->fd < 0 || g->since_ms == INT64_MAX)
			continue;
		count++;
		if (!oldest || g->since_ms < oldest->since_ms)
			oldest = g;
	}
	if (count > door->easy)
		show_out(oldest);
}

static void on_connection(void *user, struct MHD_Connection *c, void **context,
			  enum MHD_ConnectionNotificationCode what)
{
	struct door *door = user;

	(void)context;
	pthread_mutex_lock(&door->http->lock);
	struct guest *g = guest_of(door, what == MHD_CONNECTION_NOTIFY_STARTED ? -1 : fd_of(c));
	if (g && what == MHD_CONNECTION_NOTIFY_STARTED) {
		*g = (struct guest){.fd = fd_of(c), .since_ms = kveil_clock_mono_ms()};
		make_place(door);
	} else if (g)
		g->fd = -1;
	pthread_mutex_unlock(&door->http->lock);
}

static void on_completed(void *user, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode how)
{
	struct door *door = user;

	(void)state;
	(void)how;
	pthread_mutex_lock(&door->http->lock);
	struct guest *g = guest_of(door, fd_of(c));
	if (g && g->since_ms != INT64_MAX)
		g->since_ms = kveil_clock_mono_ms();
	pthread_mutex_unlock(&door->http->lock);
}

static KVEIL_PRINTF(2, 0) void on_log(void *user, const char *fmt, va_list args)
{
	char text[512];

	(void)user;
	vsnprintf(text, sizeof text, fmt, args);
	text[strcspn(text, "\n")] = 0;
	kveil_log(KVEIL_LOG_DEBUG, "http", "%s", text);
}

/* Paths are compared as they come: decoded, "/livez%00" would end where "/livez" does. */
static size_t leave_escapes(void *user, struct MHD_Connection *c, char *text)
{
	(void)user;
	(void)c;
	return strlen(text);
}

static int open_one(const struct addrinfo *ai)
{
	int on = 1, off = 0;
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 && listen(fd, CONNECTIONS_MAX) == 0)
		return fd;
	int saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int open_first(const struct addrinfo *list, int family)
{
	int fd = -1;

	for (const struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
		if (family == AF_UNSPEC || ai->ai_family == family)
			fd = open_one(ai);
	return fd;
}

static enum kveil_status open_listener(struct kveil_http *http, const char *listen_on, int *ret_fd,
				       struct kveil_error *err)
{
	struct kveil_address address;
	struct addrinfo *list;
	struct sockaddr_storage bound;
	socklen_t len = sizeof bound;
	const char *why;
	int fd = -1;

	if (!kveil_address_parse(listen_on, &address)) {
		kveil_fail(err, KVEIL_E_CONFIG, "http.listen: '%s' is not HOST:PORT", listen_on);
		kveil_error_hint(err, "write 127.0.0.1:9819, [::1]:9819 or :9819 for every address");
		return KVEIL_E_CONFIG;
	}
	if (!kveil_address_resolve(&address, true, &list, &why))
		return kveil_fail(err, KVEIL_E_CONFIG, "http.listen: cannot resolve '%s': %s", listen_on, why);
	/* An IPv6 socket on "every address" takes IPv4 too. */
	if (!*address.host)
		fd = open_first(list, AF_INET6);
	if (fd < 0)
		fd = open_first(list, AF_UNSPEC);
	int saved = errno;
	freeaddrinfo(list);
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&bound, &len) != 0) {
		kveil_fail(err, KVEIL_E_CONFIG, "cannot listen on %s: %s", listen_on, strerror(saved));
		kveil_error_hint(err, saved == EADDRINUSE
					  ? "another program has this port: choose another in http.listen"
					  : "choose an address of this host in http.listen");
		return KVEIL_E_CONFIG;
	}
	http->on_loopback = kveil_address_is_loopback((struct sockaddr *)&bound);
	kveil_address_format((struct sockaddr *)&bound, len, http->address, sizeof http->address);
	*ret_fd = fd;
	return KVEIL_OK;
}

/* Takes the socket, also where it fails. */
static bool open_door(struct door *door, int fd, unsigned most, unsigned of_one_peer)
{
	door->daemon = MHD_start_daemon(
	    MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, door,
	    MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL, MHD_OPTION_UNESCAPE_CALLBACK, leave_escapes, NULL,
	    MHD_OPTION_NOTIFY_CONNECTION, on_connection, door, MHD_OPTION_NOTIFY_COMPLETED, on_completed, door,
	    MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, most, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
	    of_one_peer, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
	    (size_t)CONNECTION_BYTES, MHD_OPTION_END);
	if (!door->daemon)
		close(fd);
	return door->daemon;
}

static enum kveil_status open_tcp(struct kveil_http *http, const char *listen_on, struct kveil_error *err)
{
	int fd = -1;
	enum kveil_status status = open_listener(http, listen_on, &fd, err);

	if (!status && !open_door(&http->tcp, fd, CONNECTIONS_MAX, CONNECTIONS_OF_ONE_PEER))
		status = kveil_fail(err, KVEIL_E_NO_MEMORY, "cannot start the side port's thread");
	return status;
}

static enum kveil_status open_local(struct kveil_http *http, const char *path, mode_t mode, struct kveil_error *err)
{
	enum kveil_status status = kveil_unix_socket_open(path, mode, UNIX_CONNECTIONS_MAX, &http->socket, err);

	if (status || open_door(&http->local, http->socket.fd, UNIX_CONNECTIONS_MAX, 0))
		return status;
	kveil_unix_socket_remove(&http->socket);
	return kveil_fail(err, KVEIL_E_NO_MEMORY, "cannot start the side port's thread");
}

static struct kveil_http *new_http(const struct kveil_http_route *routes, void *user)
{
	struct kveil_http *http = calloc(1, sizeof *http);

	if (!http)
		return NULL;
	pthread_mutex_init(&http->lock, NULL);
	pthread_cond_init(&http->ended, NULL);
	http->tcp = (struct door){.http = http, .easy = CONNECTIONS_EASY};
	http->local = (struct door){.http = http, .easy = UNIX_CONNECTIONS_EASY, .is_unix = true};
	for (size_t i = 0; i < CONNECTIONS_MAX; i++)
		http->tcp.guests[i].fd = http->local.guests[i].fd = -1;
	http->routes = routes;
	http->user = user;
	return http;
}

static void close_doors(struct kveil_http *http)
{
	if (http->local.daemon) {
		kveil_unix_socket_remove(&http->socket);
		MHD_stop_daemon(http->local.daemon);
	}
	if (http->tcp.daemon)
		MHD_stop_daemon(http->tcp.daemon);
	free(http);
}

enum kveil_status kveil_http_start(const struct kveil_http_places *places, const struct kveil_http_route *routes,
				   void *user, struct kveil_http **ret, struct kveil_error *err)
{
	struct kveil_http *http = new_http(routes, user);
	enum kveil_status status = KVEIL_OK;
	sigset_t all, before;

	if (!http)
		return kveil_no_memory(err, NULL);
	/* The new threads inherit the mask: signals are for the main thread. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (places->listen)
		status = open_tcp(http, places->listen, err);
	if (!status && places->socket)
		status = open_local(http, places->socket, places->socket_mode, err);
	if (!status && pthread_create(&http->doorkeeper, NULL, keep_doors, http))
		status = kveil_fail(err, KVEIL_E_NO_MEMORY, "cannot start the side port's thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (status)
		close_doors(http);
	else
		*ret = http;
	return status;
}

void kveil_http_stop(struct kveil_http *http)
{
	if (!http)
		return;
	pthread_mutex_lock(&http->lock);
	http->ending = true;
	pthread_cond_signal(&http->ended);
	pthread_mutex_unlock(&http->lock);
	pthread_join(http->doorkeeper, NULL);
	close_doors(http);
}

const char *kveil_http_address(const struct kveil_http *http)
{
	return http->address;
}

const char *kveil_http_library_version(void)
{
	return MHD_get_version();
}

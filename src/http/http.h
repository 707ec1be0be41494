/* SPDX-License-Identifier: Apache-2.0 */
/*
 * http/http.h: a small HTTP/1.1 server for the side port. The one owner of libmicrohttpd.
 *
 *   routes (a const table) ── request ──► answer(user, out) ──► status, bytes
 *
 * GET and HEAD only; a request with a body is refused. One thread of its own polls and answers at most 128
 * connections (32 of one peer), each at most 5 s idle and 3 s over a request; beyond 96 a new one displaces the one
 * that has taken longest. A unix socket has a thread and 32 connections of its own. An answer must not wait, and may be
 * asked of both threads at once. They take no signals. A route that is not `public` answers only where no other host
 * can ask: on the unix socket, or where the server is bound to a loopback address, the peer is one, and the Host header
 * names one (or a web page elsewhere could ask through the user's browser); else 403.
 */
#ifndef KVEIL_HTTP_HTTP_H
#define KVEIL_HTTP_HTTP_H

#include "base/buf.h"
#include "kveil/base.h"

#include <sys/types.h>

struct kveil_http;

struct kveil_http_route {
	const char *path;
	const char *content_type;
	bool public;
	/* Appends the body and returns the status (200, 503). Called on the server's threads only. */
	unsigned (*answer)(void *user, struct kveil_buf *out);
	const char *help; /* one line */
};

struct kveil_http_places {
	const char *listen; /* "127.0.0.1:9819", "[::1]:9819", "localhost:9819", ":9819" (every address); port 0 = any
			     * free one; NULL = no port */
	const char *socket; /* the path of a unix socket; NULL = none */
	mode_t socket_mode; /* of its file: 0600, 0660 */
};

/* places is read at once. routes ends with a zero row and, like user, must outlive the server. KVEIL_E_CONFIG names an
 * address or a path that cannot be had. */
enum kveil_status kveil_http_start(const struct kveil_http_places *places, const struct kveil_http_route *routes,
				   void *user, struct kveil_http **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Closes the port at once and removes the socket; an answer under way is finished first. NULL is fine. */
void kveil_http_stop(struct kveil_http *http);

/* Where it listens, with the true port: "127.0.0.1:9819"; empty without a port. Lives as long as http. */
const char *kveil_http_address(const struct kveil_http *http);

const char *kveil_http_library_version(void); /* libmicrohttpd's */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* http/http_client.h: one GET to a side port, for probes and tests. Plain HTTP/1.1, no redirects. Any thread. */
#ifndef KVEIL_HTTP_HTTP_CLIENT_H
#define KVEIL_HTTP_HTTP_CLIENT_H

#include "base/buf.h"
#include "kveil/base.h"

/* url: "http://HOST:PORT" or "HOST:PORT", as a listen address too: no host, 0.0.0.0 and [::] mean this host's
 * loopback; or "unix:PATH". The whole exchange ends within timeout_ms. Appends at most 4 MiB of body. KVEIL_E_USAGE:
 * not such an url; KVEIL_E_IO: no answer. Any status the server gave is KVEIL_OK. */
enum kveil_status kveil_http_get(const char *url, const char *path, int timeout_ms, unsigned *ret_status,
				 struct kveil_buf *body, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

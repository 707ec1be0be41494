/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/http_request.h: one request to an HTTP server at a time, by libcurl: for custodians and schema registries.
 *
 * Certificates are verified, redirects are not followed, no proxy is asked, whatever the environment says, and an
 * answer has a bound in bytes and in time. Connections are kept between requests. Headers that were sent are wiped;
 * what passes through libcurl's own buffers is not.
 *
 * One thread at a time for a client, but for kveil_http_client_interrupt.
 */
#ifndef KVEIL_BASE_HTTP_REQUEST_H
#define KVEIL_BASE_HTTP_REQUEST_H

#include "base/buf.h"
#include "kveil/base.h"

enum kveil_http_url {
	KVEIL_HTTP_URL_BAD,         /* neither http:// nor https://, no host, a query, or characters that no URL has */
	KVEIL_HTTP_URL_CREDENTIALS, /* https://user:password@host */
	KVEIL_HTTP_URL_CLEAR,       /* http:// to another host */
	KVEIL_HTTP_URL_LOOPBACK,    /* http:// to this one */
	KVEIL_HTTP_URL_TLS,
};
enum kveil_http_url kveil_http_url_kind(const char *url);

struct kveil_http_settings {
	const char *ca_file;                   /* NULL: the system's */
	const char *certificate, *private_key; /* PEM files; NULL: none is shown */
	size_t reply_bytes;                    /* a larger answer is none */
};

struct kveil_http_client;

/* The strings of settings are borrowed. UNSUPPORTED: built without libcurl. */
enum kveil_status kveil_http_client_new(const struct kveil_http_settings *settings, struct kveil_http_client **ret,
					struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_http_client_free(struct kveil_http_client *c); /* NULL is fine */
/* From any thread: the request at hand ends within about a second as KVEIL_HTTP_INTERRUPTED, all later ones at once. */
void kveil_http_client_interrupt(struct kveil_http_client *c);

struct kveil_http_request {
	const char *url;
	const char *const *headers; /* "Name: value"; NULL ends them, and NULL is none */
	struct kveil_span body;     /* absent: GET, else POST */
	int64_t timeout_ms;         /* all of it */
};

enum kveil_http_end {
	KVEIL_HTTP_ANSWERED,
	KVEIL_HTTP_NOT_REACHED, /* no connection, or it broke or was too slow */
	KVEIL_HTTP_UNTRUSTED,   /* the server's certificate */
	KVEIL_HTTP_TOO_LARGE,
	KVEIL_HTTP_BAD_CA,          /* ca_file cannot be read */
	KVEIL_HTTP_BAD_CERTIFICATE, /* certificate or private_key cannot be used */
	KVEIL_HTTP_INTERRUPTED,
	KVEIL_HTTP_NO_MEMORY,
};

struct kveil_http_reply {
	enum kveil_http_end end;
	int status; /* 200; 0 unless ANSWERED */
	struct kveil_buf body;
	char why[256]; /* unless ANSWERED: in the words of libcurl and its TLS library */
};

#define KVEIL_HTTP_REPLY_INIT    ((struct kveil_http_reply){0})
#define KVEIL_CLEANUP_HTTP_REPLY __attribute__((cleanup(kveil_http_reply_clear)))
void kveil_http_reply_clear(struct kveil_http_reply *r); /* wipes */

/* What was in ret is gone. Gives ret->end. */
enum kveil_http_end kveil_http_request_send(struct kveil_http_client *c, const struct kveil_http_request *request,
					    struct kveil_http_reply *ret);
/* What helps against UNTRUSTED. */
const char *kveil_http_trust_hint(const struct kveil_http_reply *r);

const char *kveil_curl_version(void); /* "not built in" */

#endif

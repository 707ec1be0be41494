/* SPDX-License-Identifier: Apache-2.0 */
/* The one user of libcurl. */
#include "base/http_request.h"

#include "base/secret.h"

#include <curl/curl.h>
#include <pthread.h> /* pthread_once */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { CONNECT_MS = 3000 };

struct kveil_http_client {
	CURL *curl;
	struct kveil_http_settings settings;
	atomic_bool is_interrupted;
};

/* What a request's callbacks see. */
struct exchange {
	struct kveil_http_client *client;
	struct kveil_buf *body;
	bool too_large;
};

static void global_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

enum kveil_status kveil_http_client_new(const struct kveil_http_settings *settings, struct kveil_http_client **ret,
					struct kveil_error *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, global_init);
	struct kveil_http_client *c = calloc(1, sizeof *c);
	if (!c || !(c->curl = curl_easy_init())) {
		free(c);
		return kveil_no_memory(err, NULL);
	}
	c->settings = *settings;
	*ret = c;
	return KVEIL_OK;
}

void kveil_http_client_free(struct kveil_http_client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->curl);
	free(c);
}

void kveil_http_client_interrupt(struct kveil_http_client *c)
{
	atomic_store(&c->is_interrupted, true);
}

static size_t take_body(char *data, size_t size, size_t count, void *user)
{
	struct exchange *x = user;
	size_t n = size * count;

	if (n > x->client->settings.reply_bytes - x->body->len) {
		x->too_large = true;
		return 0;
	}
	kveil_buf_append(x->body, data, n);
	return kveil_buf_ok(x->body) ? n : 0;
}

static int go_on(void *user, curl_off_t down, curl_off_t of_down, curl_off_t up, curl_off_t of_up)
{
	const struct exchange *x = user;

	(void)down, (void)of_down, (void)up, (void)of_up;
	return atomic_load(&x->client->is_interrupted);
}

static void wipe_headers(struct curl_slist *headers)
{
	for (struct curl_slist *h = headers; h; h = h->next)
		kveil_secret_wipe(h->data, strlen(h->data));
	curl_slist_free_all(headers);
}

static bool copy_headers(const char *const *headers, struct curl_slist **ret)
{
	for (size_t i = 0; headers && headers[i]; i++) {
		struct curl_slist *more = curl_slist_append(*ret, headers[i]);
		if (!more)
			return false;
		*ret = more;
	}
	return true;
}

static void set_up(const struct kveil_http_client *c, const struct kveil_http_request *request, struct exchange *x,
		   struct curl_slist *headers, char *why)
{
	CURL *curl = c->curl;

	curl_easy_reset(curl);
	curl_easy_setopt(curl, CURLOPT_URL, request->url);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*"); /* key material never goes by way of a proxy */
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
			 (long)(request->timeout_ms < CONNECT_MS ? request->timeout_ms : CONNECT_MS));
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
	curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, go_on);
	curl_easy_setopt(curl, CURLOPT_XFERINFODATA, x);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
	if (c->settings.ca_file)
		curl_easy_setopt(curl, CURLOPT_CAINFO, c->settings.ca_file);
	if (c->settings.certificate) {
		curl_easy_setopt(curl, CURLOPT_SSLCERT, c->settings.certificate);
		curl_easy_setopt(curl, CURLOPT_SSLKEY, c->settings.private_key);
	}
	if (request->body.data) {
		curl_easy_setopt(curl, CURLOPT_POST, 1L);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, (const char *)request->body.data);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body.len);
	}
}

static enum kveil_http_end end_of(CURLcode code, const struct exchange *x)
{
	if (code == CURLE_OK)
		return KVEIL_HTTP_ANSWERED;
	if (x->too_large)
		return KVEIL_HTTP_TOO_LARGE;
	if (!kveil_buf_ok(x->body) || code == CURLE_OUT_OF_MEMORY)
		return KVEIL_HTTP_NO_MEMORY;
	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
		return KVEIL_HTTP_UNTRUSTED;
	case CURLE_SSL_CACERT_BADFILE:
		return KVEIL_HTTP_BAD_CA;
	case CURLE_SSL_CERTPROBLEM:
		return KVEIL_HTTP_BAD_CERTIFICATE;
	case CURLE_ABORTED_BY_CALLBACK:
		return KVEIL_HTTP_INTERRUPTED;
	default:
		return KVEIL_HTTP_NOT_REACHED;
	}
}

enum kveil_http_end kveil_http_request_send(struct kveil_http_client *c, const struct kveil_http_request *request,
					    struct kveil_http_reply *ret)
{
	struct exchange x = {.client = c, .body = &ret->body};
	struct curl_slist *headers = NULL;
	char why[CURL_ERROR_SIZE] = "";
	long status = 0;

	kveil_buf_reset(&ret->body);
	ret->status = 0;
	ret->why[0] = 0;
	if (atomic_load(&c->is_interrupted))
		return ret->end = KVEIL_HTTP_INTERRUPTED;
	if (!copy_headers(request->headers, &headers)) {
		wipe_headers(headers);
		return ret->end = KVEIL_HTTP_NO_MEMORY;
	}
	set_up(c, request, &x, headers, why);
	CURLcode code = curl_easy_perform(c->curl);
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_reset(c->curl); /* nothing of this frame's is left behind */
	wipe_headers(headers);
	ret->end = end_of(code, &x);
	if (ret->end == KVEIL_HTTP_ANSWERED)
		ret->status = (int)status;
	else
		snprintf(ret->why, sizeof ret->why, "%s", *why ? why : curl_easy_strerror(code));
	return ret->end;
}

const char *kveil_http_trust_hint(const struct kveil_http_reply *r)
{
	if (strstr(r->why, "expired"))
		return "the server's certificate has to be renewed, there";
	if (strstr(r->why, "host name") || strstr(r->why, "hostname") || strstr(r->why, "IP address"))
		return "write url: as the server's certificate names it, or have that name put into it";
	return "ca_file: the PEM certificate of the authority that signed the server's";
}

void kveil_http_reply_clear(struct kveil_http_reply *r)
{
	kveil_buf_clear(&r->body);
}

const char *kveil_curl_version(void)
{
	return curl_version_info(CURLVERSION_NOW)->version;
}

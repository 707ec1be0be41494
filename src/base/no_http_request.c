/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of http_request.c where kveil is built without libcurl: there is no client. */
#include "base/http_request.h"

enum kveil_status kveil_http_client_new(const struct kveil_http_settings *settings, struct kveil_http_client **ret,
					struct kveil_error *err)
{
	(void)settings;
	*ret = NULL;
	return kveil_fail(err, KVEIL_E_UNSUPPORTED, "this build asks no servers: it has no libcurl");
}

void kveil_http_client_free(struct kveil_http_client *c)
{
	(void)c;
}

void kveil_http_client_interrupt(struct kveil_http_client *c)
{
	(void)c;
}

enum kveil_http_end kveil_http_request_send(struct kveil_http_client *c, const struct kveil_http_request *request,
					    struct kveil_http_reply *ret)
{
	(void)c;
	(void)request;
	return ret->end = KVEIL_HTTP_NOT_REACHED;
}

const char *kveil_http_trust_hint(const struct kveil_http_reply *r)
{
	(void)r;
	return "";
}

void kveil_http_reply_clear(struct kveil_http_reply *r)
{
	kveil_buf_clear(&r->body);
}

const char *kveil_curl_version(void)
{
	return "not built in";
}

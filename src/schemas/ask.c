/* SPDX-License-Identifier: Apache-2.0 */
/* One question to the servers of a schema registry, with failover. */
#include "schemas/ask.h"

#include "base/clock.h"
#include "base/http_request.h"
#include "base/secret.h"
#include "base/text.h"
#include "schemas/answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { REST_MS = 1000, MOST_REST_MS = 30 * 1000 };

struct endpoint {
	char *url; /* without a slash at its end */
	int64_t rests_until_ms, failed_ms;
	unsigned failures;
};

struct kveil_schemas_asker {
	const struct kveil_schemas_config *config;
	char *ca_file, *certificate, *private_key; /* resolved */
	struct kveil_http_client *http;
	struct endpoint *endpoints;
	size_t count;
	struct kveil_buf authorization; /* the header; empty = none */
	int64_t deadline_ms;
	struct kveil_error last; /* what was wrong when a URL failed last */
};

/* --- opening --- */

static enum kveil_status resolve(const struct kveil_schemas_config *c, const char *option, const char *path, char **ret,
				 struct kveil_error *err)
{
	if (!path)
		return KVEIL_OK;
	*ret = kveil_options_resolve_path(path, c->file);
	if (!*ret)
		return kveil_no_memory(err, NULL);
	if (access(*ret, R_OK) == 0)
		return KVEIL_OK;
	return kveil_fail(err, KVEIL_E_CONFIG, "schema_registry.%s: %.150s cannot be read: %m", option, *ret);
}

static bool copy_urls(struct kveil_schemas_asker *a, char *const *urls)
{
	for (size_t n = 0; urls[n]; n++)
		a->count = n + 1;
	a->endpoints = calloc(a->count, sizeof *a->endpoints);
	for (size_t i = 0; a->endpoints && i < a->count; i++) {
		size_t n = strlen(urls[i]);
		while (n && urls[i][n - 1] == '/')
			n--;
		if (!(a->endpoints[i].url = strndup(urls[i], n)))
			return false;
	}
	return a->endpoints != NULL;
}

/* The header by which we log in. */
static bool set_authorization(struct kveil_schemas_asker *a, const char *password, const char *token)
{
	KVEIL_CLEANUP_BUF struct kveil_buf pair = KVEIL_BUF_INIT;

	kveil_buf_clear(&a->authorization);
	if (token)
		kveil_buf_printf(&a->authorization, "Authorization: Bearer %s", token);
	if (password) {
		kveil_buf_printf(&pair, "%s:%s", a->config->username, password);
		size_t n = kveil_text_encoded_len(KVEIL_BASE64, pair.len);
		kveil_buf_append_str(&a->authorization, "Authorization: Basic ");
		uint8_t *p = kveil_buf_reserve(&a->authorization, n + 1);
		if (p && kveil_buf_ok(&pair)) {
			kveil_text_encode(KVEIL_BASE64, pair.data, pair.len, p);
			a->authorization.len += n;
		}
	}
	return kveil_buf_cstr(&a->authorization) != NULL && kveil_buf_ok(&pair);
}

enum kveil_status kveil_schemas_asker_new(const struct kveil_schemas_config *c, struct kveil_schemas_asker **ret,
					  struct kveil_error *err)
{
	struct kveil_schemas_asker *a = calloc(1, sizeof *a);

	*ret = NULL;
	if (!a)
		return kveil_no_memory(err, NULL);
	a->config = c;
	enum kveil_status s = resolve(c, "ca_file", c->ca_file, &a->ca_file, err);
	if (!s)
		s = resolve(c, "certificate", c->certificate, &a->certificate, err);
	if (!s)
		s = resolve(c, "private_key", c->private_key, &a->private_key, err);
	if (!s && (!copy_urls(a, c->urls) || !set_authorization(a, c->password, c->bearer_token)))
		s = kveil_no_memory(err, NULL);
	const struct kveil_http_settings settings = {.ca_file = a->ca_file,
						     .certificate = a->certificate,
						     .private_key = a->private_key,
						     .reply_bytes = KVEIL_SCHEMAS_REPLY_BYTES};
	if (!s)
		s = kveil_http_client_new(&settings, &a->http, err);
	if (s)
		kveil_schemas_asker_free(a);
	else
		*ret = a;
	return s;
}

void kveil_schemas_asker_free(struct kveil_schemas_asker *a)
{
	if (!a)
		return;
	kveil_http_client_free(a->http);
	kveil_buf_clear(&a->authorization);
	for (size_t i = 0; a->endpoints && i < a->count; i++)
		free(a->endpoints[i].url);
	free(a->endpoints);
	free(a->ca_file);
	free(a->certificate);
	free(a->private_key);
	free(a);
}

void kveil_schemas_asker_interrupt(struct kveil_schemas_asker *a)
{
	kveil_http_client_interrupt(a->http);
}

void kveil_schemas_asker_begin(struct kveil_schemas_asker *a)
{
	a->deadline_ms = kveil_clock_mono_ms() + KVEIL_SCHEMAS_CALL_TIMEOUTS * a->config->timeout_ms;
}

void kveil_schemas_append_segment(struct kveil_buf *path, const char *name)
{
	for (; *name; name++) {
		char c = *name;
		bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
				(c && strchr("-._~", c));
		if (is_plain)
			kveil_buf_append_byte(path, (uint8_t)c);
		else
			kveil_buf_printf(path, "%%%02X", (unsigned)(unsigned char)c);
	}
}

/* --- one URL --- */

/* What a URL made of a question. */
enum verdict {
	SPOKE, /* said is filled */
	MUTE,  /* none of a registry's answers; a->last says why */
	DOWN,  /* the same, and it rests */
	ENDED, /* no other URL is to be asked */
};

static enum verdict failed(struct kveil_schemas_asker *a, const struct endpoint *e,
			   const struct kveil_schemas_question *q, enum verdict verdict, const char *fmt, ...)
    KVEIL_PRINTF(5, 6);

static enum verdict failed(struct kveil_schemas_asker *a, const struct endpoint *e,
			   const struct kveil_schemas_question *q, enum verdict verdict, const char *fmt, ...)
{
	char why[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, sizeof why, fmt, args);
	va_end(args);
	kveil_fail(&a->last, KVEIL_E_SCHEMA_REGISTRY_UNAVAILABLE, "schema registry %.80s: %.60s: %s", e->url, q->what,
		   why);
	return verdict;
}

static enum verdict not_reached(struct kveil_schemas_asker *a, const struct endpoint *e,
				const struct kveil_schemas_question *q, const struct kveil_http_reply *r)
{
	switch (r->end) {
	case KVEIL_HTTP_TOO_LARGE:
		return failed(a, e, q, MUTE, "the answer is more than %d MiB", KVEIL_SCHEMAS_REPLY_BYTES >> 20);
	case KVEIL_HTTP_INTERRUPTED:
		return failed(a, e, q, ENDED, "given up, for kveil is stopping");
	case KVEIL_HTTP_NO_MEMORY:
		kveil_no_memory(&a->last, NULL);
		return ENDED;
	case KVEIL_HTTP_BAD_CA:
		return failed(a, e, q, DOWN, "ca_file cannot be used: %s", r->why);
	case KVEIL_HTTP_BAD_CERTIFICATE:
		return failed(a, e, q, DOWN, "certificate or private_key cannot be used: %s", r->why);
	case KVEIL_HTTP_UNTRUSTED:
		failed(a, e, q, DOWN, "%s", r->why);
		kveil_error_hint(&a->last, "%s", kveil_http_trust_hint(r));
		return DOWN;
	default:
		return failed(a, e, q, DOWN, "%s", r->why);
	}
}

static enum verdict refused_credentials(struct kveil_schemas_asker *a, const struct endpoint *e,
					const struct kveil_schemas_question *q, const struct kveil_schemas_said *said)
{
	char says[120];

	failed(a, e, q, DOWN, "401: %s", kveil_schemas_says(said->json, says, sizeof says));
	kveil_error_hint(&a->last, "schema_registry: %s",
			 a->authorization.len ? "it refuses the credentials"
					      : "it wants username and password, or bearer_token");
	return DOWN;
}

static bool is_redirect(int status)
{
	return status >= 300 && status < 400;
}

static bool is_refusal(int status)
{
	return status == 400 || status == 403 || status == 405 || status == 409 || status == 422;
}

static bool is_down(int status)
{
	return status == 429 || (status >= 502 && status <= 504);
}

/* said->json and status are set. */
static enum verdict judge(struct kveil_schemas_asker *a, const struct endpoint *e,
			  const struct kveil_schemas_question *q, struct kveil_schemas_said *said)
{
	char says[120];

	if (said->status == 401)
		return refused_credentials(a, e, q, said);
	if (said->status >= 200 && said->status < 300) {
		said->outcome = KVEIL_SCHEMAS_FOUND;
		return said->json ? SPOKE
				  : failed(a, e, q, MUTE, "%d, and no answer of a schema registry", said->status);
	}
	if (said->status == 404 && kveil_schemas_is_not_found(said->json)) {
		said->outcome = KVEIL_SCHEMAS_NOT_FOUND;
		return SPOKE;
	}
	if (is_refusal(said->status)) {
		said->outcome = KVEIL_SCHEMAS_REFUSED;
		return SPOKE;
	}
	failed(a, e, q, MUTE, "%d: %s", said->status, kveil_schemas_says(said->json, says, sizeof says));
	if (is_redirect(said->status))
		kveil_error_hint(&a->last, "url: the address it redirects to: kveil follows none");
	else if (said->status == 404)
		kveil_error_hint(&a->last, "url: with the path that the registry's API has, such as /apis/ccompat/v7");
	return is_down(said->status) ? DOWN : MUTE;
}

static enum verdict too_late(struct kveil_schemas_asker *a, const struct endpoint *e,
			     const struct kveil_schemas_question *q)
{
	return failed(a, e, q, ENDED, "no answer within %d times schema_registry.timeout", KVEIL_SCHEMAS_CALL_TIMEOUTS);
}

static enum verdict ask_once(struct kveil_schemas_asker *a, const struct endpoint *e,
			     const struct kveil_schemas_question *q, struct kveil_schemas_said *said)
{
	KVEIL_CLEANUP_BUF struct kveil_buf url = KVEIL_BUF_INIT;
	KVEIL_CLEANUP_HTTP_REPLY struct kveil_http_reply reply = KVEIL_HTTP_REPLY_INIT;
	const char *headers[4] = {"Accept: application/vnd.schemaregistry.v1+json, application/json"};
	size_t count = 1;
	int64_t left_ms = a->deadline_ms - kveil_clock_mono_ms();

	if (left_ms <= 0)
		return too_late(a, e, q);
	if (a->authorization.len)
		headers[count++] = (const char *)a->authorization.data;
	if (q->body.data)
		headers[count++] = "Content-Type: application/vnd.schemaregistry.v1+json";
	kveil_buf_printf(&url, "%s%s", e->url, q->path);
	const struct kveil_http_request request = {
	    .url = kveil_buf_cstr(&url),
	    .headers = headers,
	    .body = q->body,
	    .timeout_ms = left_ms < a->config->timeout_ms ? left_ms : a->config->timeout_ms};
	if (!request.url) {
		kveil_no_memory(&a->last, NULL);
		return ENDED;
	}
	if (kveil_http_request_send(a->http, &request, &reply) != KVEIL_HTTP_ANSWERED)
		/* Cut short by what was asked before: that is not this one's fault. */
		return reply.end == KVEIL_HTTP_NOT_REACHED && kveil_clock_mono_ms() >= a->deadline_ms
			   ? too_late(a, e, q)
			   : not_reached(a, e, q, &reply);
	said->status = reply.status;
	said->url = e->url;
	said->json = kveil_schemas_parse_answer(kveil_buf_span(&reply.body));
	return judge(a, e, q, said);
}

/* Did the file of the secret get another text? */
static bool log_in_anew(struct kveil_schemas_asker *a)
{
	const struct kveil_schemas_config *c = a->config;
	const char *source = c->bearer_token ? c->bearer_token_source : c->password_source;
	KVEIL_CLEANUP_BUF struct kveil_buf before = KVEIL_BUF_INIT;
	char *now;

	if (!source || kveil_options_read_again(source, c->file, &now, NULL) != KVEIL_OK)
		return false;
	kveil_buf_append_span(&before, kveil_buf_span(&a->authorization));
	bool ok =
	    kveil_buf_ok(&before) && set_authorization(a, c->bearer_token ? NULL : now, c->bearer_token ? now : NULL);
	kveil_secret_wipe(now, strlen(now));
	free(now);
	return ok &&
	       !(before.len == a->authorization.len && kveil_secret_eq(before.data, a->authorization.data, before.len));
}

static enum verdict ask_url(struct kveil_schemas_asker *a, struct endpoint *e, const struct kveil_schemas_question *q,
			    struct kveil_schemas_said *said)
{
	enum verdict v = ask_once(a, e, q, said);

	if ((said->status == 401 || said->status == 403) && log_in_anew(a)) {
		kveil_schemas_said_clear(said);
		v = ask_once(a, e, q, said);
	}
	if (v == DOWN) {
		int64_t rest_ms = e->failures < 5 ? REST_MS << e->failures : MOST_REST_MS;
		e->failures++;
		e->failed_ms = kveil_clock_mono_ms();
		e->rests_until_ms = e->failed_ms + rest_ms;
	} else if (v == SPOKE) {
		e->failures = 0;
	}
	return v;
}

/* --- all of them --- */

static enum kveil_status no_answer(const struct kveil_schemas_asker *a, struct kveil_error *err)
{
	if (err)
		*err = a->last;
	return a->last.status;
}

static bool do_all_rest(const struct kveil_schemas_asker *a)
{
	int64_t now = kveil_clock_mono_ms();
	size_t i = 0;

	while (i < a->count && now < a->endpoints[i].rests_until_ms)
		i++;
	return i == a->count;
}

/* Where nobody else can be asked, one that comes back is to be noticed. */
static bool is_left_alone(const struct endpoint *e, bool all_rest)
{
	return kveil_clock_mono_ms() < (all_rest ? e->failed_ms + REST_MS : e->rests_until_ms);
}

enum kveil_status kveil_schemas_ask(struct kveil_schemas_asker *a, const struct kveil_schemas_question *q,
				    struct kveil_schemas_said *ret, struct kveil_error *err)
{
	bool is_somewhere_unknown = false, is_somewhere_silent = false, all_rest = do_all_rest(a);

	for (size_t i = 0; i < a->count; i++) {
		KVEIL_CLEANUP_SAID struct kveil_schemas_said said = {0};
		struct endpoint *e = &a->endpoints[i];
		enum verdict v = DOWN;
		if (!is_left_alone(e, all_rest))
			v = ask_url(a, e, q, &said);
		if (v == ENDED)
			return no_answer(a, err);
		if (v != SPOKE) {
			is_somewhere_silent = true;
			continue;
		}
		if (said.outcome == KVEIL_SCHEMAS_NOT_FOUND) { /* a replica may be behind */
			is_somewhere_unknown = true;
			continue;
		}
		*ret = said;
		said.json = NULL;
		return KVEIL_OK;
	}
	if (!is_somewhere_unknown)
		return no_answer(a, err);
	*ret = (struct kveil_schemas_said){
	    .outcome = is_somewhere_silent ? KVEIL_SCHEMAS_NOT_YET : KVEIL_SCHEMAS_NOT_FOUND, .status = 404};
	return KVEIL_OK;
}

void kveil_schemas_said_clear(struct kveil_schemas_said *said)
{
	json_decref(said->json);
	*said = (struct kveil_schemas_said){0};
}

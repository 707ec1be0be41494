/* SPDX-License-Identifier: Apache-2.0 */
/*
 * custody/provider_transit.c: the Transit engine of OpenBao or Vault guards the KEK; what it wraps is "vault:vN:…".
 *
 * A token that may be renewed is, once half its life is over, whether or not there is something to wrap. With AppRole,
 * or a token in a file that an agent keeps fresh, a refused token is replaced once within the call; any other is asked
 * about again with each attempt: a policy may come back. A refused AppRole login is not (login.h). Clear payloads pass
 * through libcurl's buffers, which it does not wipe.
 */
#include "custody/files.h"
#include "custody/login.h"
#include "custody/provider.h"

#include "base/clock.h"
#include "base/http_request.h"
#include "base/secret.h"
#include "base/text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer than servers count refused logins before they lock a role out (15 min). */
enum { LOGIN_REST_MS = 60 * 60 * 1000, REPLY_BYTES = 256 * 1024 };

struct transit_params {
	char *url, *key, *mount, *token, *token_file, *role_id, *secret_id, *ca_file, *namespace;
	char *token_source, *secret_id_source;
	int64_t timeout_ms;
};

extern const struct kveil_provider kveil_provider_transit;

static const struct kveil_option transit_options[] = {
    {"url", KVEIL_OPT_STRING, offsetof(struct transit_params, url), .required = true,
     .help = "address of the server, https://host:8200"},
    {"key", KVEIL_OPT_STRING, offsetof(struct transit_params, key), .required = true,
     .help = "name of the Transit key"},
    {"mount", KVEIL_OPT_STRING, offsetof(struct transit_params, mount), .def = "transit",
     .help = "where the Transit engine is mounted"},
    {"token", KVEIL_OPT_STRING, offsetof(struct transit_params, token), .secret = true,
     .source = offsetof(struct transit_params, token_source), .help = "a token"},
    {"token_file", KVEIL_OPT_STRING, offsetof(struct transit_params, token_file),
     .help = "a file that holds the token, read again when it is refused"},
    {"role_id", KVEIL_OPT_STRING, offsetof(struct transit_params, role_id), .secret = true,
     .help = "AppRole: the role"},
    {"secret_id", KVEIL_OPT_STRING, offsetof(struct transit_params, secret_id), .secret = true,
     .source = offsetof(struct transit_params, secret_id_source),
     .help = "AppRole: its secret; a ${file:PATH} is read again for each login"},
    {"ca_file", KVEIL_OPT_STRING, offsetof(struct transit_params, ca_file),
     .help = "PEM certificates to trust instead of the system's"},
    {"namespace", KVEIL_OPT_STRING, offsetof(struct transit_params, namespace), .help = "namespace of the server"},
    {"timeout", KVEIL_OPT_DURATION, offsetof(struct transit_params, timeout_ms), .def = "5s", .min = 100, .max = 10000,
     .help = "for one request"},
    {0},
};

struct transit {
	struct kveil_kek kek;
	const struct transit_params *params;
	const char *base_dir;
	char *ca_file; /* resolved */
	struct kveil_http_client *http;
	struct kveil_buf token;
	struct kveil_login login; /* AppRole */
	int64_t renew_at_ms;      /* monotonic; INT64_MAX = never */
};

static const char no_reason[] = "no reason given";

/* The server's own words for a refusal, without control characters; never a payload: Transit's errors quote none. */
static void server_says(struct kveil_span body, char *dst, size_t size)
{
	json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
	const char *text = json_string_value(json_array_get(json_object_get(root, "errors"), 0));

	kveil_text_line(text ? text : no_reason, dst, size);
	json_decref(root);
}

static enum kveil_status not_reached(const struct transit *t, const struct kveil_http_reply *reply,
				     struct kveil_error *err)
{
	if (reply->end == KVEIL_HTTP_NO_MEMORY)
		return kveil_no_memory(err, NULL);
	if (reply->end == KVEIL_HTTP_BAD_CA)
		return kveil_fail(err, KVEIL_E_CONFIG, "kek %s: ca_file cannot be read", t->kek.name);
	kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %s: %s", t->kek.name, t->params->url, reply->why);
	if (reply->end == KVEIL_HTTP_UNTRUSTED)
		kveil_error_hint(err, "%s", kveil_http_trust_hint(reply));
	return KVEIL_E_KEK_UNAVAILABLE;
}

static enum kveil_status not_done(const struct transit *t, const struct kveil_http_reply *reply,
				  struct kveil_error *err)
{
	const struct transit_params *p = t->params;
	char says[160];

	server_says(kveil_buf_span(&reply->body), says, sizeof says);
	if (reply->status == 403) {
		kveil_fail(err, KVEIL_E_PERMISSIONS, "kek %s: the server refuses the token: %s", t->kek.name, says);
		kveil_error_hint(
		    err, "it needs to be valid, with a policy that allows update on %s/encrypt/%s and %s/decrypt/%s",
		    p->mount, p->key, p->mount, p->key);
		return KVEIL_E_PERMISSIONS;
	}
	if (reply->status == 404) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: there is no %s/%s", t->kek.name, p->mount, p->key);
		kveil_error_hint(err, "bao secrets enable transit; bao write -f %s/keys/%s", p->mount, p->key);
		return KVEIL_E_CONFIG;
	}
	if (reply->status == 400 && strstr(says, no_reason) == NULL)
		return KVEIL_OK; /* the caller knows what it asked for */
	if (reply->status == 400 && strncmp(p->url, "http://", 7) == 0) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: %s does not answer as OpenBao or Vault do: does it speak TLS?",
			   t->kek.name, p->url);
		kveil_error_hint(err, "url: https://%.100s", p->url + 7);
		return KVEIL_E_CONFIG;
	}
	return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: the server answers %d: %s", t->kek.name, reply->status,
			  says);
}

static const char *url_of(const struct transit *t, const char *path, struct kveil_buf *url)
{
	size_t n = strlen(t->params->url);

	while (n && t->params->url[n - 1] == '/')
		n--;
	kveil_buf_append(url, t->params->url, n);
	kveil_buf_printf(url, "/v1/%s", path);
	return kveil_buf_cstr(url);
}

/* One request; without a body it is a GET. OK for 2xx (or a 4xx other than 403 and 404, told by reply->status). */
static enum kveil_status request(struct transit *t, const char *path, struct kveil_span body,
				 struct kveil_http_reply *reply, struct kveil_error *err)
{
	struct kveil_buf url KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT, token KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT,
			     namespace KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	const char *headers[4] = {"X-Vault-Request: true"};
	size_t count = 1;

	if (t->token.len) {
		kveil_buf_append_str(&token, "X-Vault-Token: ");
		kveil_buf_append_span(&token, kveil_buf_span(&t->token));
		headers[count++] = kveil_buf_cstr(&token);
	}
	if (t->params->namespace) {
		kveil_buf_printf(&namespace, "X-Vault-Namespace: %s", t->params->namespace);
		headers[count++] = kveil_buf_cstr(&namespace);
	}
	const struct kveil_http_request ask = {
	    .url = url_of(t, path, &url), .headers = headers, .body = body, .timeout_ms = t->params->timeout_ms};
	if (!ask.url || !kveil_buf_ok(&token) || !kveil_buf_ok(&namespace))
		return kveil_no_memory(err, NULL);
	if (kveil_http_request_send(t->http, &ask, reply) != KVEIL_HTTP_ANSWERED)
		return not_reached(t, reply, err);
	return reply->status >= 200 && reply->status < 300 ? KVEIL_OK : not_done(t, reply, err);
}

static json_t *parse(const struct kveil_http_reply *reply)
{
	struct kveil_span body = kveil_buf_span(&reply->body);

	return json_loadb((const char *)body.data, body.len, 0, NULL);
}

static void schedule_renewal(struct transit *t, const json_t *of, const char *life)
{
	json_int_t ttl_s = json_integer_value(json_object_get(of, life));
	bool renewable = json_is_true(json_object_get(of, "renewable"));

	t->renew_at_ms = ttl_s > 0 && renewable ? kveil_clock_mono_ms() + ttl_s * 500 : INT64_MAX;
}

static enum kveil_status login_by_role(struct transit *t, struct kveil_error *err)
{
	struct kveil_http_reply reply KVEIL_CLEANUP_HTTP_REPLY = KVEIL_HTTP_REPLY_INIT;
	struct kveil_buf body KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	const char *secret;
	char says[160];

	enum kveil_status s = kveil_login_secret(&t->login, &secret, err);
	if (s != KVEIL_OK)
		return s;
	json_t *ask = json_pack("{s:s, s:s}", "role_id", t->params->role_id, "secret_id", secret);
	char *text = ask ? json_dumps(ask, JSON_COMPACT) : NULL;
	json_decref(ask);
	if (!text)
		return kveil_no_memory(err, NULL);
	kveil_buf_append_str(&body, text);
	kveil_secret_wipe(text, strlen(text));
	free(text);
	s = request(t, "auth/approle/login", kveil_buf_span(&body), &reply, err);
	if (s != KVEIL_OK && s != KVEIL_E_PERMISSIONS)
		return s;
	json_t *root = s ? NULL : parse(&reply), *auth = json_object_get(root, "auth");
	const char *token = json_string_value(json_object_get(auth, "client_token"));
	if (s || reply.status != 200 || !token) {
		json_decref(root);
		server_says(kveil_buf_span(&reply.body), says, sizeof says);
		return kveil_login_refuse(&t->login, says, err);
	}
	kveil_buf_append_str(&t->token, token);
	schedule_renewal(t, auth, "lease_duration");
	json_decref(root);
	return KVEIL_OK;
}

static enum kveil_status read_token(struct transit *t, struct kveil_error *err)
{
	const struct transit_params *p = t->params;
	enum kveil_status s = KVEIL_OK;
	char *text = NULL;

	if (p->token_file) {
		char *path = kveil_files_resolve(t->base_dir, p->token_file);
		s = path ? kveil_files_read_private(path, "the token", 16 * 1024, &t->token, NULL, NULL, err)
			 : kveil_no_memory(err, NULL);
		free(path);
	} else if (p->token_source) {
		s = kveil_files_read_again(t->base_dir, p->token_source, &text, err);
		if (s == KVEIL_OK) {
			kveil_buf_append_str(&t->token, text);
			kveil_secret_wipe(text, strlen(text));
		}
		free(text);
	} else {
		kveil_buf_append_str(&t->token, p->token);
	}
	while (t->token.len && (t->token.data[t->token.len - 1] == '\n' || t->token.data[t->token.len - 1] == '\r'))
		t->token.len--;
	return s;
}

/* Gets a token by the way that the configuration names. */
static enum kveil_status login(struct transit *t, struct kveil_error *err)
{
	struct kveil_http_reply reply KVEIL_CLEANUP_HTTP_REPLY = KVEIL_HTTP_REPLY_INIT;

	kveil_buf_clear(&t->token);
	t->renew_at_ms = INT64_MAX;
	if (t->params->role_id)
		return login_by_role(t, err);
	enum kveil_status s = read_token(t, err);
	if (s != KVEIL_OK)
		return s;
	/* When does it end? A token that may not look itself up is used as it is. */
	s = request(t, "auth/token/lookup-self", KVEIL_SPAN_NULL, &reply, err);
	if (kveil_status_class(s) == KVEIL_CLASS_RETRY) {
		kveil_buf_clear(&t->token);
		return s;
	}
	if (s == KVEIL_OK && reply.status == 200) {
		json_t *root = parse(&reply);
		schedule_renewal(t, json_object_get(root, "data"), "ttl");
		json_decref(root);
	}
	return KVEIL_OK;
}

/* May another login bring another token? */
static bool can_log_in_anew(const struct transit *t)
{
	return t->params->role_id || t->params->token_file || t->params->token_source;
}

/* A server that is away is an error; one that does not renew this token (500: its longest life is over) lets it end:
 * the next call deals with that. */
static enum kveil_status renew(struct transit *t, struct kveil_error *err)
{
	struct kveil_http_reply reply KVEIL_CLEANUP_HTTP_REPLY = KVEIL_HTTP_REPLY_INIT;

	enum kveil_status s = request(t, "auth/token/renew-self", KVEIL_SPAN("{}"), &reply, err);
	if (kveil_status_class(s) == KVEIL_CLASS_RETRY && reply.status != 500)
		return s;
	t->renew_at_ms = INT64_MAX;
	if (s == KVEIL_OK && reply.status == 200) {
		json_t *root = parse(&reply);
		schedule_renewal(t, json_object_get(root, "auth"), "lease_duration");
		json_decref(root);
	}
	return KVEIL_OK;
}

static enum kveil_status transit_tend(struct kveil_kek *kek, bool *ret_asked, struct kveil_error *err)
{
	struct transit *t = (struct transit *)kek;

	*ret_asked = t->token.len && kveil_clock_mono_ms() >= t->renew_at_ms;
	return *ret_asked ? renew(t, err) : KVEIL_OK;
}

/* POSTs member: value to MOUNT/verb/KEY and appends data.answer to out. */
static enum kveil_status call(struct transit *t, const char *verb, const char *member, struct kveil_span value,
			      const char *answer, struct kveil_buf *out, struct kveil_error *err)
{
	struct kveil_http_reply reply KVEIL_CLEANUP_HTTP_REPLY = KVEIL_HTTP_REPLY_INIT;
	struct kveil_buf body KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	char path[512];
	enum kveil_status s = KVEIL_OK;

	snprintf(path, sizeof path, "%s/%s/%s", t->params->mount, verb, t->params->key);
	/* base64 and vault:vN:base64 need no escaping; unwrap checks what it passes. */
	kveil_buf_printf(&body, "{\"%s\":\"%.*s\"}", member, (int)value.len, (const char *)value.data);
	if (!kveil_buf_cstr(&body))
		return kveil_no_memory(err, NULL);
	bool fresh = t->token.len == 0;
	if (fresh)
		s = login(t, err);
	else if (kveil_clock_mono_ms() >= t->renew_at_ms)
		s = renew(t, err);
	if (s == KVEIL_OK)
		s = request(t, path, kveil_buf_span(&body), &reply, err);
	if (s == KVEIL_E_PERMISSIONS && !fresh && can_log_in_anew(t)) {
		s = login(t, err);
		if (s == KVEIL_OK)
			s = request(t, path, kveil_buf_span(&body), &reply, err);
	}
	if (s == KVEIL_E_PERMISSIONS)
		kveil_buf_clear(&t->token);
	if (s != KVEIL_OK)
		return s;
	if (reply.status == 400) {
		char says[160];
		server_says(kveil_buf_span(&reply.body), says, sizeof says);
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: %s/%s did not wrap this: %s", t->kek.name,
				  t->params->mount, t->params->key, says);
	}
	json_t *root = parse(&reply);
	json_t *text = json_object_get(json_object_get(root, "data"), answer);
	if (json_is_string(text)) {
		kveil_buf_append(out, json_string_value(text), json_string_length(text));
		/* It may be the payload. The string is jansson's own heap copy. */
		kveil_secret_wipe((char *)(uintptr_t)json_string_value(text), json_string_length(text));
	} else {
		s = kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: the server's answer has no %s", t->kek.name,
			       answer);
	}
	json_decref(root);
	if (s == KVEIL_OK && !kveil_buf_ok(out))
		s = kveil_no_memory(err, NULL);
	return s;
}

static void transit_close(struct kveil_kek *kek)
{
	struct transit *t = (struct transit *)kek;

	if (!t)
		return;
	kveil_buf_clear(&t->token);
	kveil_login_clear(&t->login);
	kveil_http_client_free(t->http);
	free(t->ca_file);
	free(t);
}

static void transit_check(const char *name, const void *params, const struct kveil_yaml *node, const char *file,
			  struct kveil_report *report)
{
	const struct transit_params *p = params;
	enum kveil_http_url kind = kveil_http_url_kind(p->url);

	if (kind == KVEIL_HTTP_URL_BAD || kind == KVEIL_HTTP_URL_CREDENTIALS)
		kveil_error_hint(kveil_report_at(report, file, node->line, node->column,
						 "KEK '%s': '%s' is not an address of a server", name, p->url),
				 "https://bao:8200");
	else if (kind == KVEIL_HTTP_URL_CLEAR)
		kveil_error_hint(kveil_report_warn_at(report, file, node->line, node->column,
						      "KEK '%s' sends data keys and its token unencrypted to %s", name,
						      p->url),
				 "https://, with ca_file where the certificate is of your own authority");
	if (!p->token + !p->token_file + !p->role_id != 2)
		kveil_error_hint(
		    kveil_report_at(report, file, node->line, node->column, "KEK '%s' needs one way to log in", name),
		    "token: \"${env:BAO_TOKEN}\", or token_file, or role_id with secret_id");
	else if (p->role_id && !p->secret_id)
		kveil_report_at(report, file, node->line, node->column, "KEK '%s': role_id needs secret_id", name);
}

static enum kveil_status transit_open(const char *name, const void *params, const char *base_dir,
				      struct kveil_kek **ret, struct kveil_error *err)
{
	const struct transit_params *p = params;
	struct transit *t = calloc(1, sizeof *t);

	if (!t || (p->ca_file && !(t->ca_file = kveil_files_resolve(base_dir, p->ca_file)))) {
		free(t);
		return kveil_no_memory(err, NULL);
	}
	const struct kveil_http_settings settings = {.ca_file = t->ca_file, .reply_bytes = REPLY_BYTES};
	enum kveil_status s = kveil_http_client_new(&settings, &t->http, err);
	t->kek = (struct kveil_kek){&kveil_provider_transit, name};
	t->params = p;
	t->base_dir = base_dir;
	t->renew_at_ms = INT64_MAX;
	t->login = (struct kveil_login){.kek = name,
					.what = "secret_id",
					.text = p->secret_id,
					.source = p->secret_id_source,
					.folder = base_dir,
					.rest_ms = LOGIN_REST_MS};
	if (s != KVEIL_OK)
		transit_close(&t->kek);
	else
		*ret = &t->kek;
	return s;
}

static bool transit_can_unwrap(const struct kveil_kek *kek)
{
	(void)kek;
	return true;
}

static enum kveil_status transit_wrap(struct kveil_kek *kek, struct kveil_span plain, struct kveil_buf *wrapped,
				      struct kveil_error *err)
{
	struct kveil_buf text KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	size_t n = kveil_text_encoded_len(KVEIL_BASE64, plain.len);
	uint8_t *p = kveil_buf_reserve(&text, n);

	if (!p)
		return kveil_no_memory(err, NULL);
	kveil_text_encode(KVEIL_BASE64, plain.data, plain.len, p);
	text.len = n;
	return call((struct transit *)kek, "encrypt", "plaintext", kveil_buf_span(&text), "ciphertext", wrapped, err);
}

static bool is_transits(struct kveil_span wrapped)
{
	for (size_t i = 0; i < wrapped.len; i++)
		if (wrapped.data[i] < 0x21 || wrapped.data[i] > 0x7e || wrapped.data[i] == '"' ||
		    wrapped.data[i] == '\\')
			return false;
	return true;
}

/* Bytes of "vault:vN:". */
static size_t version_bytes(struct kveil_span wrapped)
{
	size_t i = 0;

	for (int colons = 0; i < wrapped.len && colons < 2; i++)
		colons += wrapped.data[i] == ':';
	return i;
}

static enum kveil_status transit_rewrap(struct kveil_kek *kek, struct kveil_span wrapped, struct kveil_buf *again,
					struct kveil_error *err)
{
	size_t before = again->len;

	if (!is_transits(wrapped))
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: not wrapped by Transit", kek->name);
	enum kveil_status s = call((struct transit *)kek, "rewrap", "ciphertext", wrapped, "ciphertext", again, err);
	if (s != KVEIL_OK)
		return s;
	struct kveil_span now = kveil_span_of(again->data + before, again->len - before);
	if (kveil_span_eq(kveil_span_of(now.data, version_bytes(now)),
			  kveil_span_of(wrapped.data, version_bytes(wrapped))))
		again->len = before;
	return KVEIL_OK;
}

static enum kveil_status transit_unwrap(struct kveil_kek *kek, struct kveil_span wrapped, uint8_t *plain, size_t room,
					size_t *ret_len, struct kveil_error *err)
{
	struct kveil_buf text KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;

	if (!is_transits(wrapped))
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: not wrapped by Transit", kek->name);
	enum kveil_status s = call((struct transit *)kek, "decrypt", "ciphertext", wrapped, "plaintext", &text, err);
	if (s != KVEIL_OK)
		return s;
	struct kveil_buf opened KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	uint8_t *p = kveil_buf_reserve(&opened, kveil_text_decoded_max(KVEIL_BASE64, text.len) + 1);
	if (!p)
		return kveil_no_memory(err, NULL);
	if (!kveil_text_decode(KVEIL_BASE64, text.data, text.len, p, ret_len) || *ret_len > room)
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: what Transit opened is not a key of ours",
				  kek->name);
	memcpy(plain, p, *ret_len);
	return KVEIL_OK;
}

const struct kveil_provider kveil_provider_transit = {
    .name = "transit",
    .help = "the Transit engine of OpenBao or Vault: the KEK stays in the server",
    .options = transit_options,
    .params_size = sizeof(struct transit_params),
    .check = transit_check,
    .open = transit_open,
    .close = transit_close,
    .can_unwrap = transit_can_unwrap,
    .wrap = transit_wrap,
    .unwrap = transit_unwrap,
    .rewrap = transit_rewrap,
    .tend = transit_tend,
    /* Tink's Vault client wraps a keyset by the very same call. */
    .seal_keyset = transit_wrap,
};

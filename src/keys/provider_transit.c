/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keys/provider_transit.c: the Transit engine of OpenBao or Vault guards the KEK; what it wraps is "vault:vN:…". The
 * one user of libcurl.
 *
 * A token that may be renewed is, once half its life is over, whether or not there is something to wrap. With AppRole,
 * or a token in a file that an agent keeps fresh, a refused token is replaced once within the call; any other is asked
 * about again with each attempt: a policy may come back. A refused AppRole login is not (login.h). Clear payloads pass
 * through libcurl's buffers, which it does not wipe.
 */
#include "keys/files.h"
#include "keys/login.h"
#include "keys/provider.h"

#include "base/clock.h"
#include "base/secret.h"
#include "base/text.h"

#include <curl/curl.h>
#include <jansson.h>
#include <pthread.h> /* pthread_once */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Longer than servers count refused logins before they lock a role out (15 min). */
enum { LOGIN_REST_MS = 60 * 60 * 1000 };

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
     .help = "AppRole: its secret; one in a ${file:PATH} is read again for each login"},
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
	CURL *curl;
	struct kveil_buf token;
	struct kveil_login login; /* AppRole */
	int64_t renew_at_ms;      /* monotonic; INT64_MAX = never */
};

static void global_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

static size_t take_body(char *data, size_t size, size_t count, void *user)
{
	struct kveil_buf *body = user;
	size_t n = size * count;

	if (body->len + n > 256 * 1024)
		return 0;
	kveil_buf_append(body, data, n);
	return kveil_buf_ok(body) ? n : 0;
}

static const char no_reason[] = "no reason given";

/* The server's own words for a refusal, without control characters; never a payload: Transit's errors quote none. */
static void server_says(struct kveil_span body, char *dst, size_t size)
{
	json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
	const char *text = json_string_value(json_array_get(json_object_get(root, "errors"), 0));

	snprintf(dst, size, "%s", text ? text : no_reason);
	for (char *p = dst; *p; p++)
		if ((unsigned char)*p < 0x20)
			*p = ' ';
	json_decref(root);
}

/* why: the words of libcurl and its TLS library, each reason its own. */
static enum kveil_status not_reached(const struct transit *t, CURLcode code, const char *why, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: %s: %s", t->kek.name, t->params->url,
		   *why ? why : curl_easy_strerror(code));
	if (code != CURLE_PEER_FAILED_VERIFICATION)
		return KVEIL_E_KEK_UNAVAILABLE;
	if (strstr(why, "expired"))
		kveil_error_hint(err, "the server's certificate has to be renewed, there");
	else if (strstr(why, "host name") || strstr(why, "hostname") || strstr(why, "IP address"))
		kveil_error_hint(err, "write url: as the server's certificate names it, or have that name put into it");
	else
		kveil_error_hint(err, "ca_file: the PEM certificate of the authority that signed the server's");
	return KVEIL_E_KEK_UNAVAILABLE;
}

enum method { METHOD_GET, METHOD_POST };

/* One request. OK for 2xx (or a 4xx other than 403 and 404, told by *ret_http); the body is in *reply. */
static enum kveil_status request(struct transit *t, enum method method, const char *path, const struct kveil_buf *send,
				 struct kveil_buf *reply, long *ret_http, struct kveil_error *err)
{
	const struct transit_params *p = t->params;
	struct kveil_buf url KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT, header KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	struct curl_slist *headers = NULL, *more;
	char says[160], why[CURL_ERROR_SIZE] = "";

	kveil_buf_reset(reply);
	size_t n = strlen(p->url);
	while (n && p->url[n - 1] == '/')
		n--;
	kveil_buf_append(&url, p->url, n);
	kveil_buf_printf(&url, "/v1/%s", path);
	curl_easy_reset(t->curl);
	headers = curl_slist_append(NULL, "X-Vault-Request: true");
	if (t->token.len) {
		kveil_buf_append_str(&header, "X-Vault-Token: ");
		kveil_buf_append_span(&header, kveil_buf_span(&t->token));
		more = kveil_buf_cstr(&header) ? curl_slist_append(headers, (const char *)header.data) : NULL;
		headers = more ? more : headers;
	}
	if (p->namespace) {
		kveil_buf_reset(&header);
		kveil_buf_printf(&header, "X-Vault-Namespace: %s", p->namespace);
		more = kveil_buf_ok(&header) ? curl_slist_append(headers, (const char *)header.data) : NULL;
		headers = more ? more : headers;
	}
	if (!headers || !kveil_buf_cstr(&url)) {
		curl_slist_free_all(headers);
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	}
	curl_easy_setopt(t->curl, CURLOPT_URL, (const char *)url.data);
	curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(t->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(t->curl, CURLOPT_NOPROXY, "*"); /* key material never goes by way of a proxy */
	curl_easy_setopt(t->curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(t->curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(t->curl, CURLOPT_TIMEOUT_MS, (long)p->timeout_ms);
	curl_easy_setopt(t->curl, CURLOPT_CONNECTTIMEOUT_MS, (long)(p->timeout_ms < 3000 ? p->timeout_ms : 3000));
	curl_easy_setopt(t->curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(t->curl, CURLOPT_WRITEDATA, reply);
	curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, why);
	if (t->ca_file)
		curl_easy_setopt(t->curl, CURLOPT_CAINFO, t->ca_file);
	if (method == METHOD_POST) {
		curl_easy_setopt(t->curl, CURLOPT_POST, 1L);
		curl_easy_setopt(t->curl, CURLOPT_POSTFIELDS, send ? (const char *)send->data : "{}");
		curl_easy_setopt(t->curl, CURLOPT_POSTFIELDSIZE, (long)(send ? send->len : 2));
	}
	CURLcode code = curl_easy_perform(t->curl);
	long http = 0;
	curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &http);
	curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, NULL);
	for (struct curl_slist *h = headers; h; h = h->next)
		kveil_secret_wipe(h->data, strlen(h->data));
	curl_slist_free_all(headers);
	*ret_http = http;
	if (code == CURLE_SSL_CACERT_BADFILE) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: ca_file cannot be read", t->kek.name);
		return KVEIL_E_CONFIG;
	}
	if (code != CURLE_OK)
		return not_reached(t, code, why, err);
	if (http >= 200 && http < 300)
		return KVEIL_OK;
	server_says(kveil_buf_span(reply), says, sizeof says);
	if (http == 403) {
		kveil_fail(err, KVEIL_E_PERMISSIONS, "kek %s: the server refuses the token: %s", t->kek.name, says);
		kveil_error_hint(
		    err, "it needs to be valid, with a policy that allows update on %s/encrypt/%s and %s/decrypt/%s",
		    p->mount, p->key, p->mount, p->key);
		return KVEIL_E_PERMISSIONS;
	}
	if (http == 404) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: there is no %s/%s", t->kek.name, p->mount, p->key);
		kveil_error_hint(err, "bao secrets enable transit; bao write -f %s/keys/%s", p->mount, p->key);
		return KVEIL_E_CONFIG;
	}
	if (http == 400 && strstr(says, no_reason) == NULL)
		return KVEIL_OK; /* the caller knows what it asked for */
	if (http == 400 && strncmp(p->url, "http://", 7) == 0) {
		kveil_fail(err, KVEIL_E_CONFIG, "kek %s: %s does not answer as OpenBao or Vault do: does it speak TLS?",
			   t->kek.name, p->url);
		kveil_error_hint(err, "url: https://%.100s", p->url + 7);
		return KVEIL_E_CONFIG;
	}
	return kveil_fail(err, KVEIL_E_KEK_UNAVAILABLE, "kek %s: the server answers %ld: %s", t->kek.name, http, says);
}

static json_t *parse(const struct kveil_buf *reply)
{
	return json_loadb((const char *)reply->data, reply->len, 0, NULL);
}

static void schedule_renewal(struct transit *t, const json_t *of, const char *life)
{
	json_int_t ttl_s = json_integer_value(json_object_get(of, life));
	bool renewable = json_is_true(json_object_get(of, "renewable"));

	t->renew_at_ms = ttl_s > 0 && renewable ? kveil_clock_mono_ms() + ttl_s * 500 : INT64_MAX;
}

static enum kveil_status login_by_role(struct transit *t, struct kveil_error *err)
{
	struct kveil_buf reply KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT, body KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	const char *secret;
	char says[160];
	long http;

	enum kveil_status s = kveil_login_secret(&t->login, &secret, err);
	if (s != KVEIL_OK)
		return s;
	json_t *ask = json_pack("{s:s, s:s}", "role_id", t->params->role_id, "secret_id", secret);
	char *text = ask ? json_dumps(ask, JSON_COMPACT) : NULL;
	json_decref(ask);
	if (!text)
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	kveil_buf_append_str(&body, text);
	kveil_secret_wipe(text, strlen(text));
	free(text);
	s = request(t, METHOD_POST, "auth/approle/login", &body, &reply, &http, err);
	if (s != KVEIL_OK && s != KVEIL_E_PERMISSIONS)
		return s;
	json_t *root = s ? NULL : parse(&reply), *auth = json_object_get(root, "auth");
	const char *token = json_string_value(json_object_get(auth, "client_token"));
	if (s || http != 200 || !token) {
		json_decref(root);
		server_says(kveil_buf_span(&reply), says, sizeof says);
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
			 : kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
		free(path);
	} else if (p->token_source) {
		s = kveil_options_read_again(p->token_source, t->base_dir, &text, err);
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
	struct kveil_buf reply KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	long http;

	kveil_buf_clear(&t->token);
	t->renew_at_ms = INT64_MAX;
	if (t->params->role_id)
		return login_by_role(t, err);
	enum kveil_status s = read_token(t, err);
	if (s != KVEIL_OK)
		return s;
	/* When does it end? A token that may not look itself up is used as it is. */
	s = request(t, METHOD_GET, "auth/token/lookup-self", NULL, &reply, &http, err);
	if (kveil_status_class(s) == KVEIL_CLASS_RETRY) {
		kveil_buf_clear(&t->token);
		return s;
	}
	if (s == KVEIL_OK && http == 200) {
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
	struct kveil_buf reply KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	long http;

	enum kveil_status s = request(t, METHOD_POST, "auth/token/renew-self", NULL, &reply, &http, err);
	if (kveil_status_class(s) == KVEIL_CLASS_RETRY && http != 500)
		return s;
	t->renew_at_ms = INT64_MAX;
	if (s == KVEIL_OK && http == 200) {
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
	struct kveil_buf reply KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT, body KVEIL_CLEANUP_BUF = KVEIL_BUF_INIT;
	char path[512];
	enum kveil_status s = KVEIL_OK;
	long http = 0;

	snprintf(path, sizeof path, "%s/%s/%s", t->params->mount, verb, t->params->key);
	/* base64 and vault:vN:base64 need no escaping; unwrap checks what it passes. */
	kveil_buf_printf(&body, "{\"%s\":\"%.*s\"}", member, (int)value.len, (const char *)value.data);
	if (!kveil_buf_cstr(&body))
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	bool fresh = t->token.len == 0;
	if (fresh)
		s = login(t, err);
	else if (kveil_clock_mono_ms() >= t->renew_at_ms)
		s = renew(t, err);
	if (s == KVEIL_OK)
		s = request(t, METHOD_POST, path, &body, &reply, &http, err);
	if (s == KVEIL_E_PERMISSIONS && !fresh && can_log_in_anew(t)) {
		s = login(t, err);
		if (s == KVEIL_OK)
			s = request(t, METHOD_POST, path, &body, &reply, &http, err);
	}
	if (s == KVEIL_E_PERMISSIONS)
		kveil_buf_clear(&t->token);
	if (s != KVEIL_OK)
		return s;
	if (http == 400) {
		char says[160];
		server_says(kveil_buf_span(&reply), says, sizeof says);
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
		s = kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	return s;
}

static void transit_close(struct kveil_kek *kek)
{
	struct transit *t = (struct transit *)kek;

	if (!t)
		return;
	kveil_buf_clear(&t->token);
	kveil_login_clear(&t->login);
	curl_easy_cleanup(t->curl);
	free(t->ca_file);
	free(t);
}

/* Does what is sent there stay on this host? */
static bool is_loopback(const char *host)
{
	static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};

	for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
		size_t n = strlen(hosts[i]);
		if (strncmp(host, hosts[i], n) == 0 && (!host[n] || host[n] == ':' || host[n] == '/'))
			return true;
	}
	return false;
}

static void transit_check(const char *name, const void *params, const struct kveil_yaml *node, const char *file,
			  struct kveil_report *report)
{
	const struct transit_params *p = params;
	const char *host = strncmp(p->url, "http://", 7) == 0 ? p->url + 7 : NULL;

	if (!host && strncmp(p->url, "https://", 8) != 0)
		kveil_error_hint(kveil_report_at(report, file, node->line, node->column,
						 "KEK '%s': '%s' is no address of a server", name, p->url),
				 "https://bao:8200");
	else if (host && !is_loopback(host))
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
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const struct transit_params *p = params;

	pthread_once(&once, global_init);
	struct transit *t = calloc(1, sizeof *t);
	if (!t || !(t->curl = curl_easy_init())) {
		free(t);
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	}
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
	if (p->ca_file && !(t->ca_file = kveil_files_resolve(base_dir, p->ca_file))) {
		transit_close(&t->kek);
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	}
	*ret = &t->kek;
	return KVEIL_OK;
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
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
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
		return kveil_fail(err, KVEIL_E_NO_MEMORY, "out of memory");
	if (!kveil_text_decode(KVEIL_BASE64, text.data, text.len, p, ret_len) || *ret_len > room)
		return kveil_fail(err, KVEIL_E_WRONG_KEK, "kek %s: what Transit opened is not a key of ours",
				  kek->name);
	memcpy(plain, p, *ret_len);
	return KVEIL_OK;
}

const char *kveil_transit_library_version(void)
{
	return curl_version_info(CURLVERSION_NOW)->version;
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

/* SPDX-License-Identifier: Apache-2.0 */
/* What kind of address a server has. */
#include "base/http_request.h"

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

enum kveil_http_url kveil_http_url_kind(const char *url)
{
	bool is_clear = strncmp(url, "http://", 7) == 0;
	const char *host = is_clear ? url + 7 : strncmp(url, "https://", 8) == 0 ? url + 8 : "";

	if (!*host || *host == '/' || *host == ':')
		return KVEIL_HTTP_URL_BAD;
	if (memchr(host, '@', strcspn(host, "/")))
		return KVEIL_HTTP_URL_CREDENTIALS;
	for (const char *p = host; *p; p++)
		if ((unsigned char)*p <= 0x20 || (unsigned char)*p >= 0x7f || strchr("?#\"<>\\^`{|}", *p))
			return KVEIL_HTTP_URL_BAD;
	if (!is_clear)
		return KVEIL_HTTP_URL_TLS;
	return is_loopback(host) ? KVEIL_HTTP_URL_LOOPBACK : KVEIL_HTTP_URL_CLEAR;
}

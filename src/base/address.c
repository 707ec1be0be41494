/* SPDX-License-Identifier: Apache-2.0 */
/* Addresses as "HOST:PORT", taken apart and put together. */
#include "base/address.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

bool kveil_address_parse(const char *text, struct kveil_address *ret)
{
	const char *colon = strrchr(text, ':');

	if (!colon)
		return false;
	const char *host = text, *port = colon + 1;
	size_t host_len = (size_t)(colon - text), port_len = strlen(port);
	if (host_len >= 2 && host[0] == '[' && colon[-1] == ']') {
		host++;
		host_len -= 2;
	} else if (memchr(host, ':', host_len))
		return false; /* IPv6 without brackets */
	if (host_len >= sizeof ret->host || port_len == 0 || port_len >= sizeof ret->port ||
	    strspn(port, "0123456789") != port_len || atoi(port) > 65535)
		return false;
	memcpy(ret->host, host, host_len);
	ret->host[host_len] = 0;
	memcpy(ret->port, port, port_len + 1);
	return true;
}

bool kveil_address_resolve(const struct kveil_address *a, bool passive, struct addrinfo **ret, const char **why)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
				 .ai_flags = AI_NUMERICSERV | (passive ? AI_PASSIVE : 0),
				 .ai_family = AF_UNSPEC};
	int rc = getaddrinfo(*a->host ? a->host : NULL, a->port, &hints, ret);

	if (rc)
		*why = gai_strerror(rc);
	return rc == 0;
}

bool kveil_address_is_loopback(const struct sockaddr *sa)
{
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof in);
		return ntohl(in.sin_addr.s_addr) >> 24 == 127;
	}
	if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof in6);
		return IN6_IS_ADDR_LOOPBACK(&in6.sin6_addr) ||
		       (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr) && in6.sin6_addr.s6_addr[12] == 127);
	}
	return false;
}

void kveil_address_format(const struct sockaddr *sa, socklen_t len, char *dst, size_t size)
{
	char host[INET6_ADDRSTRLEN + 16] = "?", port[8] = "?";

	getnameinfo(sa, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(dst, size, sa->sa_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* base/address.h: "HOST:PORT" in and out. Any thread. */
#ifndef KVEIL_BASE_ADDRESS_H
#define KVEIL_BASE_ADDRESS_H

#include "kveil/base.h"

#include <netdb.h>
#include <sys/socket.h>

struct kveil_address {
	char host[256]; /* without brackets; empty = every address */
	char port[6];
};

/* "127.0.0.1:9819", "[::1]:9819", ":9819". false: not of that form, or the port is not 0 … 65535. */
bool kveil_address_parse(const char *text, struct kveil_address *ret);
/* Resolves for TCP. The caller frees *ret with freeaddrinfo. false: why is getaddrinfo's text. */
bool kveil_address_resolve(const struct kveil_address *a, bool passive, struct addrinfo **ret, const char **why);
/* 127.0.0.0/8, ::1, and the first mapped into IPv6. */
bool kveil_address_is_loopback(const struct sockaddr *sa);
/* "127.0.0.1:9819" or "[::1]:9819". */
void kveil_address_format(const struct sockaddr *sa, socklen_t len, char *dst, size_t size);

#endif

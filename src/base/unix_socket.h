/* SPDX-License-Identifier: Apache-2.0 */
/* base/unix_socket.h: a listening unix socket, which nobody but the owner of its mode can reach. Any thread. */
#ifndef KVEIL_BASE_UNIX_SOCKET_H
#define KVEIL_BASE_UNIX_SOCKET_H

#include "kveil/base.h"

#include <sys/stat.h>
#include <sys/un.h>

struct kveil_unix_socket {
	int fd;
	char path[sizeof((struct sockaddr_un *)NULL)->sun_path];
	dev_t device; /* of the file that was made: what stands there later may be another's */
	ino_t inode;
};

/* false: empty, or too long for a socket (107 bytes). */
bool kveil_unix_socket_address(const char *path, struct sockaddr_un *ret);
/* Listens at path, with this mode from its first moment on. A socket on which nobody listens is replaced; any other
 * file is left alone. KVEIL_E_CONFIG names the path. */
enum kveil_status kveil_unix_socket_open(const char *path, mode_t mode, int backlog, struct kveil_unix_socket *ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* Removes the file if it is still ours. The descriptor is left to whoever took it. */
void kveil_unix_socket_remove(const struct kveil_unix_socket *s);

#endif

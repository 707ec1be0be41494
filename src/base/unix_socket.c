/* SPDX-License-Identifier: Apache-2.0 */
/* A listening unix socket. */
#include "base/unix_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

bool kveil_unix_socket_address(const char *path, struct sockaddr_un *ret)
{
	size_t n = strlen(path);

	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (n == 0 || n >= sizeof ret->sun_path)
		return false;
	memcpy(ret->sun_path, path, n);
	return true;
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* A process that ended without tidying up leaves its socket's file; connecting to it is refused. */
static bool is_left_over(const struct sockaddr_un *address)
{
	struct stat st;

	if (lstat(address->sun_path, &st) != 0 || !S_ISSOCK(st.st_mode))
		return false;
	int fd = new_socket();
	bool refused =
	    fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return refused;
}

static bool bind_with_mode(int fd, const struct sockaddr_un *address, mode_t mode)
{
	/* The file takes the socket's own mode less the umask; the second call gives back what the umask took. */
	return fchmod(fd, mode) == 0 && bind(fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
	       chmod(address->sun_path, mode) == 0;
}

static enum kveil_status refuse(const char *path, int error, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_CONFIG, "http.socket: cannot listen on %.107s: %s", path, strerror(error));
	if (error == EADDRINUSE)
		kveil_error_hint(err,
				 "another program listens there, or the file is not a socket; kveil does not replace "
				 "it");
	return KVEIL_E_CONFIG;
}

enum kveil_status kveil_unix_socket_open(const char *path, mode_t mode, int backlog, struct kveil_unix_socket *ret,
					 struct kveil_error *err)
{
	struct sockaddr_un address;
	struct stat st;

	if (!kveil_unix_socket_address(path, &address))
		return refuse(path, ENAMETOOLONG, err);
	if (is_left_over(&address))
		unlink(address.sun_path);
	int fd = new_socket();
	if (fd < 0)
		return refuse(path, errno, err);
	bool whole =
	    bind_with_mode(fd, &address, mode) && lstat(address.sun_path, &st) == 0 && listen(fd, backlog) == 0;
	if (!whole) {
		int error = errno;
		close(fd);
		return refuse(path, error, err);
	}
	*ret = (struct kveil_unix_socket){.fd = fd, .device = st.st_dev, .inode = st.st_ino};
	memcpy(ret->path, address.sun_path, sizeof ret->path);
	return KVEIL_OK;
}

void kveil_unix_socket_remove(const struct kveil_unix_socket *s)
{
	struct stat st;

	if (lstat(s->path, &st) == 0 && st.st_dev == s->device && st.st_ino == s->inode)
		unlink(s->path);
}

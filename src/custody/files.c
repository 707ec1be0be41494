/* SPDX-License-Identifier: Apache-2.0 */
/* Files that hold keys. */
#include "custody/files.h"

#include "base/options.h"
#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

enum { ZFS_MAGIC = 0x2fc12fc1 };

static enum kveil_status io_error(const char *doing, const char *path, struct kveil_error *err)
{
	int e = errno;
	kveil_fail(err, KVEIL_E_IO, "cannot %s %s: %s", doing, path, strerror(e));
	if (e == ENOSPC || e == EDQUOT)
		kveil_error_hint(err, "make room on that disk");
	else if (e == EACCES || e == EPERM || e == EROFS)
		kveil_error_hint(err, "kveil must be able to write in that folder");
	return KVEIL_E_IO;
}

/* FNV-1a. */
static uint64_t hash_of(const char *text, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ (uint8_t)text[i]) * UINT64_C(0x100000001b3);
	return h;
}

/* Where a container's own layer is kept, which no other one has; 0 = that cannot be told. */
static uint64_t upper_layer_of(int fd)
{
	char *line = NULL, *upper;
	size_t room = 0;
	uint64_t ret = 0;
	struct statx x;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &x) || !(x.stx_mask & STATX_MNT_ID))
		return 0;
	FILE *mounts = fopen("/proc/self/mountinfo", "re");
	while (mounts && !ret && getline(&line, &room, mounts) > 0) {
		if (strtoull(line, NULL, 10) == x.stx_mnt_id && (upper = strstr(line, ",upperdir=")))
			ret = hash_of(upper, 1 + strcspn(upper + 1, ",\n"));
	}
	free(line);
	if (mounts)
		fclose(mounts);
	return ret;
}

/* File systems whose files turn up in several places at once with one inode and one birth time: layers of containers,
 * and snapshots that are written to. What tells this place from the others; 0 = the inode alone does. */
static uint64_t place_of(int fd)
{
	struct statfs s;
	uint64_t ret;

	if (fstatfs(fd, &s))
		return 0;
	switch ((uint32_t)s.f_type) {
	case OVERLAYFS_SUPER_MAGIC:
		ret = upper_layer_of(fd);
		break;
	case BTRFS_SUPER_MAGIC:
	case ZFS_MAGIC:
		ret = hash_of((const char *)&s.f_fsid, sizeof s.f_fsid);
		break;
	default:
		return 0;
	}
	/* Another one each time, so that no mark fits. */
	if (!ret)
		(void)!kveil_crypto_random(&ret, sizeof ret, NULL);
	return ret;
}

static void identify(int fd, const struct stat *st, struct kveil_file_identity *ret)
{
	struct statx x;

	ret->inode = st->st_ino ^ place_of(fd);
	ret->born_ns = 0;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &x) == 0 && x.stx_mask & STATX_BTIME)
		ret->born_ns = (uint64_t)x.stx_btime.tv_sec * 1000000000u + x.stx_btime.tv_nsec;
}

static enum kveil_status check(const char *path, const char *what, const struct stat *st, size_t max,
			       struct kveil_error *err)
{
	if (!S_ISREG(st->st_mode))
		return kveil_fail(err, KVEIL_E_CONFIG, "%s %s is not a file", what, path);
	if (st->st_mode & (S_IRWXO | S_IWGRP)) {
		bool group = !(st->st_mode & S_IRWXO);
		kveil_fail(err, KVEIL_E_PERMISSIONS, "%s %s can be %s (mode %04o)", what, path,
			   group ? "changed by its group" : "read or changed by others", st->st_mode & 07777);
		kveil_error_hint(err, "chmod %s %s, and assume that whoever could read it knows it",
				 group ? "g-w" : "o-rwx,g-w", path);
		return KVEIL_E_PERMISSIONS;
	}
	if ((uint64_t)st->st_size > max)
		return kveil_fail(err, KVEIL_E_CONFIG, "%s %s is too large: %lld bytes", what, path,
				  (long long)st->st_size);
	return KVEIL_OK;
}

static enum kveil_status read_all(int fd, const char *path, size_t max, struct kveil_buf *out, struct kveil_error *err)
{
	size_t total = 0;

	for (;;) {
		uint8_t *room = kveil_buf_reserve(out, 65536);
		if (!room)
			return kveil_no_memory(err, "a file");
		ssize_t n = read(fd, room, 65536);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return io_error("read", path, err);
		if (n == 0)
			return KVEIL_OK;
		out->len += (size_t)n;
		total += (size_t)n;
		if (total > max)
			return kveil_fail(err, KVEIL_E_CONFIG, "%s is too large", path);
	}
}

static enum kveil_status open_file(const char *path, const char *what, int *ret, struct kveil_error *err)
{
	*ret = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (*ret >= 0)
		return KVEIL_OK;
	if (errno == ENOENT || errno == ENOTDIR)
		return kveil_fail(err, KVEIL_E_NOT_FOUND, "%s %s is not there", what, path);
	if (errno != EACCES)
		return io_error("open", path, err);
	kveil_fail(err, KVEIL_E_PERMISSIONS, "%s %s: this process (uid %u) may not read it", what, path,
		   (unsigned)geteuid());
	kveil_error_hint(err, "give it to the user or the group that kveil runs as");
	return KVEIL_E_PERMISSIONS;
}

enum kveil_status kveil_files_read_private(const char *path, const char *what, size_t max, struct kveil_buf *out,
					   struct kveil_file_identity *identity, struct stat *ret_stat,
					   struct kveil_error *err)
{
	struct stat st;
	int fd;
	enum kveil_status status = open_file(path, what, &fd, err);

	if (status)
		return status;
	status = fstat(fd, &st) ? io_error("read", path, err) : check(path, what, &st, max, err);
	if (!status)
		status = read_all(fd, path, max, out, err);
	if (!status && identity)
		identify(fd, &st, identity);
	if (!status && ret_stat)
		*ret_stat = st;
	close(fd);
	return status;
}

enum kveil_status kveil_files_read(const char *path, const char *what, size_t max, struct kveil_buf *out,
				   struct kveil_error *err)
{
	int fd;
	enum kveil_status status = open_file(path, what, &fd, err);

	if (status)
		return status;
	status = read_all(fd, path, max, out, err);
	close(fd);
	return status;
}

static bool write_all(int fd, struct kveil_span data)
{
	while (data.len) {
		ssize_t n = write(fd, data.data, data.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data.data += n;
		data.len -= (size_t)n;
	}
	return true;
}

enum kveil_status kveil_files_write_new(const char *path, struct kveil_span data, const struct stat *like,
					struct kveil_file_identity *identity, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;
	struct stat st;

	if (unlink(path) && errno != ENOENT)
		return io_error("replace", path, err);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return io_error("create", path, err);
	/* Group and mode are kept if they can be: a group that reads the old file goes on reading. */
	if (like && like->st_gid != getegid() && fchown(fd, (uid_t)-1, like->st_gid))
		like = NULL;
	if (!write_all(fd, data) || (like && fchmod(fd, like->st_mode & 0640)) || fsync(fd) || fstat(fd, &st))
		status = io_error("write", path, err);
	else if (identity)
		identify(fd, &st, identity);
	if (close(fd) && !status)
		status = io_error("write", path, err);
	if (status)
		unlink(path);
	return status;
}

static int sync_folder(const char *path)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	int rc = fd < 0 ? -1 : fsync(fd);

	if (fd >= 0)
		close(fd);
	free(copy);
	return rc;
}

/* What was written under the temporary name is not there any more. */
static enum kveil_status overtaken(const char *path, struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_IO, "another process writes %s at this moment", path);
}

enum kveil_status kveil_files_replace(const char *from, const char *to, struct kveil_error *err)
{
	if (rename(from, to)) {
		enum kveil_status status = errno == ENOENT ? overtaken(to, err) : io_error("replace", to, err);
		unlink(from);
		return status;
	}
	return sync_folder(to) ? io_error("sync the folder of", to, err) : KVEIL_OK;
}

enum kveil_status kveil_files_write_whole(const char *path, struct kveil_span data, struct kveil_error *err)
{
	char *tmp = kveil_files_beside(".", path, ".tmp");
	enum kveil_status status =
	    tmp ? kveil_files_write_new(tmp, data, NULL, NULL, err) : kveil_no_memory(err, "a path");

	if (!status)
		status = kveil_files_replace(tmp, path, err);
	free(tmp);
	return status;
}

enum kveil_status kveil_files_check_replaced(const char *path, const char *const *begins, const char *what,
					     struct kveil_error *err)
{
	char head[64];
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool ours = false;

	if (fd < 0 && errno == ENOENT)
		return KVEIL_OK;
	if (fd < 0 || fstat(fd, &st)) {
		enum kveil_status status = io_error("read", path, err);
		if (fd >= 0)
			close(fd);
		return status;
	}
	ssize_t n = S_ISREG(st.st_mode) ? read(fd, head, sizeof head) : -1;
	close(fd);
	if (!S_ISREG(st.st_mode))
		return kveil_fail(err, KVEIL_E_CONFIG, "%s is not a file", path);
	for (; n > 0 && *begins && !ours; begins++)
		ours = (size_t)n >= strlen(*begins) && memcmp(head, *begins, strlen(*begins)) == 0; /* public */
	if (ours || n == 0)
		return KVEIL_OK;
	kveil_fail(err, KVEIL_E_KEY_EXISTS, "%s is there and is not a %s that kveil wrote: it is not replaced", path,
		   what);
	kveil_error_hint(err, "name another file, or remove this one");
	return KVEIL_E_KEY_EXISTS;
}

enum kveil_status kveil_files_write_once(const char *path, struct kveil_span data, struct kveil_error *err)
{
	char *tmp = kveil_files_beside(".", path, ".tmp");
	enum kveil_status status =
	    tmp ? kveil_files_write_new(tmp, data, NULL, NULL, err) : kveil_no_memory(err, "a path");

	if (!status && renameat2(AT_FDCWD, tmp, AT_FDCWD, path, RENAME_NOREPLACE)) {
		status = errno == EEXIST   ? kveil_fail(err, KVEIL_E_KEY_EXISTS, "%s is there already", path)
			 : errno == ENOENT ? overtaken(path, err)
					   : io_error("make", path, err);
		unlink(tmp);
	} else if (!status && sync_folder(path))
		status = io_error("sync the folder of", path, err);
	free(tmp);
	return status;
}

char *kveil_files_beside(const char *prefix, const char *path, const char *suffix)
{
	const char *slash = strrchr(path, '/');
	int folder = slash ? (int)(slash - path + 1) : 0;
	char *ret;

	return asprintf(&ret, "%.*s%s%s%s", folder, path, prefix, path + folder, suffix) < 0 ? NULL : ret;
}

char *kveil_files_resolve(const char *base, const char *path)
{
	char *ret;

	if (path[0] == '/' || !base || !base[0])
		return strdup(path);
	return asprintf(&ret, "%s/%s", base, path) < 0 ? NULL : ret;
}

enum kveil_status kveil_files_read_again(const char *base, const char *source, char **ret, struct kveil_error *err)
{
	char *inside = kveil_files_resolve(base, ".");
	enum kveil_status s = inside ? kveil_options_read_again(source, inside, ret, err) : kveil_no_memory(err, NULL);

	free(inside);
	return s;
}

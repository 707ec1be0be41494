/* SPDX-License-Identifier: Apache-2.0 */
/*
 * custody/files.h: files that hold keys: read with suspicion, written whole or not at all.
 *
 * "Private" means that others on this host can neither read nor change it: no permission for others, no write for the
 * group. Reading by the group is fine, and so are links: Kubernetes mounts a secret as root:fsGroup 0440 behind
 * `..data`.
 */
#ifndef KVEIL_CUSTODY_FILES_H
#define KVEIL_CUSTODY_FILES_H

#include "base/buf.h"
#include "kveil/base.h"

#include <sys/stat.h>

/* What tells one file from a copy of it: survives chown, chmod and a remount; not a copy, a restore or a write in place
 * of another file's bytes. */
struct kveil_file_identity {
	uint64_t inode;
	uint64_t born_ns; /* 0 where the file system does not say */
};

/* NOT_FOUND, PERMISSIONS (both with a hint), IO, TOO_LARGE as KVEIL_E_CONFIG. what: "the key registry". out is appended
 * to and is wiped by its owner (kveil_buf_clear). identity, mode and gid may be NULL. */
enum kveil_status kveil_files_read_private(const char *path, const char *what, size_t max, struct kveil_buf *out,
					   struct kveil_file_identity *identity, struct stat *ret_stat,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* The same of a file whose permissions do not matter. */
enum kveil_status kveil_files_read(const char *path, const char *what, size_t max, struct kveil_buf *out,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
/* A new file beside the final one, on disk when this returns; `like` (may be NULL) gives group and mode, else 0600.
 * Nothing is left behind on failure. */
enum kveil_status kveil_files_write_new(const char *path, struct kveil_span data, const struct stat *like,
					struct kveil_file_identity *identity, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Renames and makes the folder remember it. */
enum kveil_status kveil_files_replace(const char *from, const char *to, struct kveil_error *err) KVEIL_MUST_CHECK;
/* Both at once, through PATH.tmp: mode 0600. */
enum kveil_status kveil_files_write_whole(const char *path, struct kveil_span data,
					  struct kveil_error *err) KVEIL_MUST_CHECK;
/* As above, but never over a file that is there: KVEIL_E_KEY_EXISTS. */
enum kveil_status kveil_files_write_once(const char *path, struct kveil_span data,
					 struct kveil_error *err) KVEIL_MUST_CHECK;
/* May path be written over? Nothing there, an empty file, or one that begins as one of these (NULL ends them): so that
 * a slip of the pen does not put a backup in the place of a KEK. KVEIL_E_KEY_EXISTS, CONFIG where it is not a file. */
enum kveil_status kveil_files_check_replaced(const char *path, const char *const *begins, const char *what,
					     struct kveil_error *err) KVEIL_MUST_CHECK;
/* PREFIX + name of path's last part + SUFFIX in the same folder: (".", "/a/keys.json", ".mark") ->
 * "/a/.keys.json.mark". */
char *kveil_files_beside(const char *prefix, const char *path, const char *suffix);
/* path if it is absolute or base is NULL, else base/path. Owned. */
char *kveil_files_resolve(const char *base, const char *path);
/* kveil_options_read_again, of an option in a file in base. */
enum kveil_status kveil_files_read_again(const char *base, const char *source, char **ret,
					 struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

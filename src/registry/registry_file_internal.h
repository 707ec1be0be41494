/* SPDX-License-Identifier: Apache-2.0 */
/* registry/registry_file_internal.h: what the files of the registry in a file share. One thread at a time. */
#ifndef KVEIL_REGISTRY_REGISTRY_FILE_INTERNAL_H
#define KVEIL_REGISTRY_REGISTRY_FILE_INTERNAL_H

#include "custody/files.h"
#include "registry/document.h"
#include "registry/registry.h"
#include "registry/registry_eventfile.h"
#include "registry/registry_note.h"

struct file_registry {
	struct kveil_registry base;
	char *path, *lock_path, *mark_path, *tmp_path, *note_path;
	struct kveil_registry_eventfile events;
	struct kveil_registry_root root; /* as it was read last */
	struct {
		uint64_t inode;
		int64_t size, mtime_ns;
	} handed_over; /* what the document looked like when read gave its records; inode 0 = never */
};

struct file_document {
	struct kveil_document doc;
	struct kveil_file_identity file;
	struct stat stat;
};

/* Each file needs only those below it: registry_file.c, the driver; registry_file_evict.c and registry_file_restore.c;
 * registry_file_beside.c; registry_file_document.c. */

/* ".keys.json.mark", ".keys.json.2.mark" */
char *kveil_registry_file_numbered(const char *path, uint32_t number, const char *kind);
/* Fail: there is none; and which file it is that the error is about. */
enum kveil_status kveil_registry_file_missing(const struct file_registry *r, struct kveil_error *err);
enum kveil_status kveil_registry_file_name(const struct file_registry *r, enum kveil_status status,
					   struct kveil_error *err);
/* The paths; reads nothing. */
enum kveil_status kveil_registry_file_new(const struct kveil_registry_env *env, const char *where,
					  struct file_registry **ret, struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_registry_file_free(struct file_registry *r); /* NULL is fine */
/* What stands beside the document under the secret of this number. What was read of events is forgotten. On failure
 * r stays as it is. */
enum kveil_status kveil_registry_file_set_number(struct file_registry *r, uint32_t number,
						 struct kveil_error *err) KVEIL_MUST_CHECK;
/* LOCK_SH or LOCK_EX. Waits for others to finish; a class RETRY error if they do not. */
enum kveil_status kveil_registry_file_lock(const struct file_registry *r, int how, int *ret_fd,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_registry_file_unlock(int fd);
/* By form only. Under the lock. */
enum kveil_status kveil_registry_file_load_document(const struct file_registry *r, struct file_document *ret,
						    struct kveil_error *err) KVEIL_MUST_CHECK;
/* A write, as registry_file.c has it. present: what is there now; NULL = nothing. Under the exclusive lock. */
enum kveil_status kveil_registry_file_store(const struct file_registry *r, const struct kveil_registry_secret *secret,
					    struct kveil_document *d, const struct file_document *present,
					    struct kveil_error *err) KVEIL_MUST_CHECK;

/* The document, authentic and the one that this host wrote last. Under the lock. */
enum kveil_status kveil_registry_file_load(struct file_registry *r, struct file_document *ret,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
/* What came to the events. KVEIL_E_REGISTRY_ROLLED_BACK: some that the mark has counted are gone, and with them who is
 * disabled. Under the lock, after load. */
enum kveil_status kveil_registry_file_read_events(struct file_registry *r, struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_file_read_note(const struct file_registry *r, struct kveil_registry_note *ret,
						struct kveil_error *err) KVEIL_MUST_CHECK;

/* registry_file_beside.c: the driver's */
enum kveil_status kveil_registry_file_noted(struct kveil_registry *base, struct kveil_buf *out,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_file_note(struct kveil_registry *base, struct kveil_span text,
					   struct kveil_error *err) KVEIL_MUST_CHECK;
enum kveil_status kveil_registry_file_record(struct kveil_registry *base, const struct kveil_event *events,
					     size_t count, struct kveil_error *err) KVEIL_MUST_CHECK;
/* registry_file_evict.c: the driver's */
enum kveil_status kveil_registry_file_evict(struct kveil_registry *base, const struct kveil_registry_root *root,
					    struct kveil_registry_secret *next,
					    struct kveil_error *err) KVEIL_MUST_CHECK;
/* registry_file_restore.c: the driver's */
enum kveil_status kveil_registry_file_restore(const struct kveil_registry_env *env, const char *where,
					      const struct kveil_document *backup,
					      const struct kveil_registry_secret *secret, struct kveil_restoring *how,
					      struct kveil_error *err) KVEIL_MUST_CHECK;

#endif

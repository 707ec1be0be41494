/* SPDX-License-Identifier: Apache-2.0 */
/* The document of a registry in a file (registry_file.c): its lock, reading and writing it. */
#include "custody/files.h"
#include "registry/registry_file_internal.h"
#include "registry/registry_mark.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

enum { LOCK_WAIT_MS = 10000, LOCK_POLL_US = 1500 };

static const char what[] = "the key registry";

void kveil_registry_file_free(struct file_registry *r)
{
	if (!r)
		return;
	kveil_registry_secret_free(r->base.secret);
	kveil_registry_root_clear(&r->root);
	free(r->path);
	free(r->lock_path);
	free(r->mark_path);
	free(r->tmp_path);
	free(r->note_path);
	kveil_registry_eventfile_clear(&r->events);
	free(r);
}

char *kveil_registry_file_numbered(const char *path, uint32_t number, const char *kind)
{
	char suffix[32];

	snprintf(suffix, sizeof suffix, ".%" PRIu32 "%s", number, kind);
	return kveil_files_beside(".", path, number ? suffix : kind);
}

enum kveil_status kveil_registry_file_set_number(struct file_registry *r, uint32_t number, struct kveil_error *err)
{
	uint64_t changes = r->events.all.changes;
	char *mark = kveil_registry_file_numbered(r->path, number, ".mark");
	char *note = kveil_registry_file_numbered(r->path, number, ".rules");
	char *events = kveil_registry_file_numbered(r->path, number, ".events");

	if (!mark || !note || !events) {
		free(mark);
		free(note);
		free(events);
		return kveil_no_memory(err, "the key registry");
	}
	free(r->mark_path);
	free(r->note_path);
	kveil_registry_eventfile_clear(&r->events);
	/* Whoever has heeded what was read looks again. */
	r->events.all.changes = changes + 1;
	r->mark_path = mark;
	r->note_path = note;
	r->events.path = events;
	return KVEIL_OK;
}

enum kveil_status kveil_registry_file_new(const struct kveil_registry_env *env, const char *where,
					  struct file_registry **ret, struct kveil_error *err)
{
	struct file_registry *r = calloc(1, sizeof *r);

	if (r) {
		r->base.root = &r->root;
		r->base.events = &r->events.all;
		r->base.keks = env->keks;
		r->base.kek_count = env->kek_count;
		r->path = kveil_files_resolve(env->base_dir, where);
	}
	if (r && r->path) {
		r->lock_path = kveil_files_beside(".", r->path, ".lock");
		r->tmp_path = kveil_files_beside(".", r->path, ".tmp");
	}
	if (!r || !r->lock_path || !r->tmp_path || kveil_registry_file_set_number(r, 0, err)) {
		kveil_registry_file_free(r);
		return kveil_no_memory(err, "the key registry");
	}
	*ret = r;
	return KVEIL_OK;
}

/* --- the lock --- */

enum kveil_status kveil_registry_file_missing(const struct file_registry *r, struct kveil_error *err)
{
	kveil_fail(err, KVEIL_E_REGISTRY_MISSING, "there is no key registry at %s", r->path);
	kveil_error_hint(err, "`kveil keys init` creates one, `kveil keys restore BACKUP` restores one");
	return KVEIL_E_REGISTRY_MISSING;
}

static enum kveil_status open_lock(const struct file_registry *r, int *ret_fd, struct kveil_error *err)
{
	*ret_fd = open(r->lock_path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*ret_fd < 0 && (errno == EACCES || errno == EROFS))
		*ret_fd = open(r->lock_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (*ret_fd >= 0)
		return KVEIL_OK;
	if (errno == ENOENT)
		return kveil_registry_file_missing(r, err);
	int e = errno;
	kveil_fail(err, KVEIL_E_IO, "cannot lock %s: %s", r->lock_path, strerror(e));
	if (e == EACCES || e == EROFS)
		kveil_error_hint(err, "kveil must be able to write beside the registry: leases are counted there");
	return KVEIL_E_IO;
}

/* Is what was locked still the file that others lock? */
static bool is_current(const struct file_registry *r, int fd)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 && stat(r->lock_path, &there) == 0 && here.st_ino == there.st_ino &&
	       here.st_dev == there.st_dev;
}

/* Waits for others to finish; a class RETRY error if they do not. */
enum kveil_status kveil_registry_file_lock(const struct file_registry *r, int how, int *ret_fd, struct kveil_error *err)
{
	int64_t end = kveil_clock_mono_ms() + LOCK_WAIT_MS;
	enum kveil_status status;
	int fd;

	for (;;) {
		status = open_lock(r, &fd, err);
		if (status)
			return status;
		if (flock(fd, how | LOCK_NB) == 0 && is_current(r, fd)) {
			*ret_fd = fd;
			return KVEIL_OK;
		}
		close(fd);
		if (kveil_clock_mono_ms() > end)
			return kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE,
					  "another process has held the lock on %s for %d s", r->path,
					  LOCK_WAIT_MS / 1000);
		usleep(LOCK_POLL_US);
	}
}

void kveil_registry_file_unlock(int fd)
{
	close(fd);
}

/* --- the document --- */

enum kveil_status kveil_registry_file_name(const struct file_registry *r, enum kveil_status status,
					   struct kveil_error *err)
{
	if (status == KVEIL_E_REGISTRY_CORRUPT && err && !err->hint[0])
		kveil_error_hint(err, "`kveil keys restore BACKUP` restores it");
	kveil_error_where(err, r->path, 0, 0);
	return status;
}

/* Form only. */
enum kveil_status kveil_registry_file_load_document(const struct file_registry *r, struct file_document *ret,
						    struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	enum kveil_status status =
	    kveil_files_read_private(r->path, what, KVEIL_DOCUMENT_BYTES_MAX, &text, &ret->file, &ret->stat, err);

	if (status == KVEIL_E_NOT_FOUND)
		return kveil_registry_file_missing(r, err);
	if (!status)
		status = kveil_document_parse(kveil_buf_span(&text), &ret->doc, err);
	if (!status && ret->doc.backup) {
		kveil_document_clear(&ret->doc);
		kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "%s is a backup, not a registry", r->path);
		kveil_error_hint(err, "`kveil keys restore FILE` takes a backup in");
		return KVEIL_E_REGISTRY_CORRUPT;
	}
	return status ? kveil_registry_file_name(r, status, err) : KVEIL_OK;
}

/* Another process gave the registry a new secret: is it the one after ours, and do we open it? */
static enum kveil_status follow(struct file_registry *r, const struct kveil_document *d, struct kveil_error *err)
{
	const struct kveil_registry_secret *known = r->base.secret;
	struct kveil_registry_secret *next;

	if (d->root.number <= known->number)
		return KVEIL_OK;
	if (!kveil_registry_root_follows(&d->root, known)) {
		kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT,
			   "the key registry has a new secret that the one before did not authorise, or more than one "
			   "since it was read");
		kveil_error_hint(err, "a process that starts now reads it, if a KEK of its configuration opens it");
		return KVEIL_E_REGISTRY_CORRUPT;
	}
	enum kveil_status status = kveil_registry_open_next(&r->base, &d->root, &next, err);
	if (status)
		return status;
	status = kveil_registry_file_set_number(r, d->root.number, err);
	if (status)
		kveil_registry_secret_free(next);
	else
		kveil_registry_adopt(&r->base, next);
	return status;
}

/* The document, authentic and the one that this host wrote last. Under the lock. */
enum kveil_status kveil_registry_file_load(struct file_registry *r, struct file_document *ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_file_load_document(r, ret, err);

	if (status)
		return status;
	status = follow(r, &ret->doc, err);
	if (!status)
		status = kveil_document_verify(&ret->doc, r->base.secret, err);
	if (status)
		kveil_registry_file_name(r, status, err);
	else
		status = kveil_mark_check(r->mark_path, r->path, r->base.secret, &ret->doc, &ret->file,
					  &r->base.events_kept, err);
	if (!status && !kveil_registry_root_copy(&r->root, &ret->doc.root))
		status = kveil_no_memory(err, "the key registry");
	if (status)
		kveil_document_clear(&ret->doc);
	return status;
}

/* Steps 1 to 4. present: what is there now; NULL = nothing. Under the exclusive lock. */
enum kveil_status kveil_registry_file_store(const struct file_registry *r, const struct kveil_registry_secret *secret,
					    struct kveil_document *d, const struct file_document *present,
					    struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_mark m = {.events = r->base.events_kept};
	enum kveil_status status;

	memcpy(m.id, d->root.id, sizeof m.id);
	if (present) {
		m.present.generation = present->doc.generation;
		m.present.file = present->file;
	}
	d->generation++;
	m.coming.generation = d->generation;
	status = kveil_document_write(d, secret, &text, err);
	if (!status)
		status = kveil_files_write_new(r->tmp_path, kveil_buf_span(&text), present ? &present->stat : NULL,
					       &m.coming.file, err);
	if (status)
		return status;
	status = kveil_mark_write(r->mark_path, secret, &m, err);
	if (status) {
		unlink(r->tmp_path);
		return status;
	}
	status = kveil_files_replace(r->tmp_path, r->path, err);
	if (status)
		return status;
	/* The write stands. A mark that still says "to come" is as good: the next write settles it. */
	m.present = m.coming;
	m.coming = (struct kveil_mark_place){0};
	struct kveil_error ignored;
	(void)!kveil_mark_write(r->mark_path, secret, &m, &ignored);
	return KVEIL_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The registry `file:PATH`, for the processes of one host.
 *
 *   keys.json          the document (document.h); only ever replaced whole
 *   .keys.json.lock    flock: shared to read, exclusive to write
 *   .keys.json.mark    what this host wrote last: registry id, generation, and which file that was (inode and
 *                      birth time, which a copy does not keep; not ctime, for Kubernetes changes owners)
 *   .keys.json.rules   the note (registry_note.h)
 *   .keys.json.events  what was done (registry_event.h); only ever appended to, a line each. Which versions are
 *                      disabled stands there alone, so with fewer lines than the mark has counted nothing is read
 *
 * Under the secret of number 2 the last three are .keys.json.2.mark and so on (registry_file_evict.c).
 *
 * A write, under the lock and after checking the mark against the document:
 *
 *   1. .keys.json.tmp written and synced            its identity is known now
 *   2. mark: "generation g is there, g+1 is to come", synced
 *   3. renamed over keys.json, folder synced        <- the write counts from here on: now the caller gets its lease
 *   4. mark: "generation g+1 is there"
 *
 * A crash between 1 and 4 leaves a document that the mark names, as either the present or the coming one. A document
 * that the mark does not name was put there by somebody else, from a backup or a copy: nonces counted since then may
 * have been used before, so nothing is sealed with it (KVEIL_E_REGISTRY_ROLLED_BACK). A host restored whole, mark and
 * all, shows no trace: then the counters' random starts keep two runs apart (2^-30 a lease of 2^33 values).
 */
#include "custody/files.h"
#include "registry/registry_file_internal.h"
#include "registry/registry_mark.h"

#include "base/secret.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

extern const struct kveil_registry_driver kveil_registry_file;

static void file_close(struct kveil_registry *r)
{
	kveil_registry_file_free((struct file_registry *)r);
}

static enum kveil_status file_open(const struct kveil_registry_env *env, const char *where, struct kveil_registry **ret,
				   struct kveil_error *err)
{
	struct file_document at = {0};
	struct file_registry *r;
	int fd = -1;
	enum kveil_status status = kveil_registry_file_new(env, where, &r, err);

	if (status)
		return status;
	r->base.driver = &kveil_registry_file;
	/* No lock file is made where there is nothing to lock. */
	if (access(r->path, F_OK) && errno == ENOENT)
		status = kveil_registry_file_missing(r, err);
	if (!status)
		status = kveil_registry_file_lock(r, LOCK_SH, &fd, err);
	if (!status)
		status = kveil_registry_file_load_document(r, &at, err);
	if (!status) {
		struct kveil_registry_secret *secret = NULL;
		status = kveil_registry_root_open(&at.doc.root, env->keks, env->kek_count, &secret, err);
		r->base.secret = secret;
		if (status)
			kveil_registry_file_name(r, status, err);
	}
	if (!status)
		status = kveil_registry_file_set_number(r, at.doc.root.number, err);
	if (!status) {
		status = kveil_document_verify(&at.doc, r->base.secret, err);
		if (status)
			kveil_registry_file_name(r, status, err);
	}
	if (!status)
		status = kveil_mark_check(r->mark_path, r->path, r->base.secret, &at.doc, &at.file,
					  &r->base.events_kept, err);
	kveil_document_clear(&at.doc);
	if (fd >= 0)
		kveil_registry_file_unlock(fd);
	if (status) {
		kveil_registry_file_free(r);
		return status;
	}
	*ret = &r->base;
	return KVEIL_OK;
}

static enum kveil_status file_create(const struct kveil_registry_env *env, const char *where,
				     const struct kveil_registry_root *root, const struct kveil_registry_secret *secret,
				     struct kveil_error *err)
{
	struct kveil_document d = {0};
	struct file_registry *r;
	int fd;
	enum kveil_status status = kveil_registry_file_new(env, where, &r, err);

	if (status)
		return status;
	status = kveil_registry_file_lock(r, LOCK_EX, &fd, err);
	if (status) {
		kveil_registry_file_free(r);
		return status;
	}
	if (access(r->path, F_OK) == 0)
		status = kveil_fail(err, KVEIL_E_KEY_EXISTS, "there is a key registry at %s already", r->path);
	else if (access(r->mark_path, F_OK) == 0) {
		status = kveil_fail(err, KVEIL_E_KEY_EXISTS, "there was a key registry at %s and it is gone", r->path);
		kveil_error_hint(err,
				 "bring it back with `kveil keys restore BACKUP`; to give up all it held, remove %s",
				 r->mark_path);
	}
	if (!status && !kveil_registry_root_copy(&d.root, root))
		status = kveil_no_memory(err, "the key registry");
	if (!status)
		status = kveil_registry_file_store(r, secret, &d, NULL, err);
	kveil_document_clear(&d);
	kveil_registry_file_unlock(fd);
	kveil_registry_file_free(r);
	return status;
}

static bool unchanged(const struct file_registry *r, const struct stat *st)
{
	return r->handed_over.inode == st->st_ino && r->handed_over.size == st->st_size &&
	       r->handed_over.mtime_ns == st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec;
}

static enum kveil_status file_read(struct kveil_registry *base, kveil_registry_read_fn *fn, void *user,
				   struct kveil_error *err)
{
	struct file_registry *r = (struct file_registry *)base;
	struct file_document at = {0};
	struct stat st;
	int fd;

	bool is_same = stat(r->path, &st) == 0 && unchanged(r, &st);
	bool has_events = r->events.all.count >= r->base.events_kept;
	if (is_same && has_events && kveil_registry_eventfile_is_read(&r->events))
		return KVEIL_OK;
	enum kveil_status status = kveil_registry_file_lock(r, LOCK_SH, &fd, err);
	if (status)
		return status;
	if (!is_same)
		status = kveil_registry_file_load(r, &at, err);
	if (!status)
		status = kveil_registry_file_read_events(r, err);
	kveil_registry_file_unlock(fd);
	if (is_same)
		return status;
	for (size_t i = 0; !status && i < at.doc.count; i++)
		status = fn(user, &at.doc.records[i], err);
	kveil_document_clear(&at.doc);
	if (status)
		return status;
	r->handed_over.inode = at.stat.st_ino;
	r->handed_over.size = at.stat.st_size;
	r->handed_over.mtime_ns = at.stat.st_mtim.tv_sec * INT64_C(1000000000) + at.stat.st_mtim.tv_nsec;
	return KVEIL_OK;
}

/* Load, change, store, under the lock. change says whether there is anything to store. */
typedef enum kveil_status change_fn(struct kveil_document *d, void *user, bool *ret_changed, struct kveil_error *err);

static enum kveil_status update(struct file_registry *r, change_fn *change, void *user, struct kveil_error *err)
{
	struct file_document at = {0};
	bool changed = false;
	int fd;
	enum kveil_status status = kveil_registry_file_lock(r, LOCK_EX, &fd, err);

	if (status)
		return status;
	status = kveil_registry_file_load(r, &at, err);
	if (!status) {
		struct file_document present = at;
		status = change(&at.doc, user, &changed, err);
		if (!status && changed)
			status = kveil_registry_file_store(r, r->base.secret, &at.doc, &present, err);
		kveil_document_clear(&at.doc);
	}
	kveil_registry_file_unlock(fd);
	return status;
}

struct batch {
	const struct kveil_registry *registry;
	const struct kveil_key_record *records;
	size_t count;
};

/* Signed here: since they were made, the registry may have another secret. */
static enum kveil_status change_append(struct kveil_document *d, void *user, bool *ret_changed, struct kveil_error *err)
{
	const struct batch *b = user;
	struct kveil_key_record *records = calloc(b->count + 1, sizeof *records);
	enum kveil_status status = records ? KVEIL_OK : kveil_no_memory(err, "keys");

	for (size_t i = 0; !status && i < b->count; i++) {
		records[i] = b->records[i];
		status = kveil_key_record_sign(&records[i], b->registry->secret, err);
	}
	if (!status)
		status = kveil_document_merge(d, records, b->count, ret_changed, err);
	free(records); /* what they point to is the caller's */
	return status;
}

static enum kveil_status file_append(struct kveil_registry *r, const struct kveil_key_record *records, size_t count,
				     struct kveil_error *err)
{
	return update((struct file_registry *)r, change_append, &(struct batch){r, records, count}, err);
}

static enum kveil_status change_root(struct kveil_document *d, void *user, bool *ret_changed, struct kveil_error *err)
{
	const struct kveil_registry_root *keys = user;

	if (keys->number != d->root.number)
		return kveil_registry_overtaken(err);
	*ret_changed = keys->count > 0;
	return kveil_registry_root_add_all(&d->root, keys) ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

static enum kveil_status file_add_root_keys(struct kveil_registry *r, const struct kveil_registry_root *keys,
					    struct kveil_error *err)
{
	return update((struct file_registry *)r, change_root, (void *)(uintptr_t)keys, err);
}

static enum kveil_status change_lease(struct kveil_document *d, void *user, bool *ret_changed, struct kveil_error *err)
{
	if (d->lease == UINT32_MAX)
		return kveil_fail(err, KVEIL_E_NO_LEASE, "this registry has given all of its 4,294,967,295 leases");
	*(uint32_t *)user = ++d->lease;
	*ret_changed = true;
	return KVEIL_OK;
}

static enum kveil_status file_lease(struct kveil_registry *r, uint32_t *ret, struct kveil_error *err)
{
	return update((struct file_registry *)r, change_lease, ret, err);
}

static enum kveil_status file_snapshot(struct kveil_registry *base, struct kveil_document *ret, struct kveil_error *err)
{
	struct file_registry *r = (struct file_registry *)base;
	struct file_document at = {0};
	int fd;
	enum kveil_status status = kveil_registry_file_lock(r, LOCK_SH, &fd, err);

	if (status)
		return status;
	status = kveil_registry_file_load(r, &at, err);
	if (!status)
		status = kveil_registry_file_read_events(r, err);
	kveil_registry_file_unlock(fd);
	if (!status && !kveil_registry_events_add_all(&at.doc.events, &r->events.all))
		status = kveil_no_memory(err, "the key registry");
	if (status)
		kveil_document_clear(&at.doc);
	else
		*ret = at.doc;
	return status;
}

const struct kveil_registry_driver kveil_registry_file = {
    .scheme = "file",
    .help = "file:PATH, for the processes of one host",
    .create = file_create,
    .open = file_open,
    .close = file_close,
    .read = file_read,
    .append = file_append,
    .add_root_keys = file_add_root_keys,
    .evict = kveil_registry_file_evict,
    .snapshot = file_snapshot,
    .lease = file_lease,
    .record = kveil_registry_file_record,
    .noted = kveil_registry_file_noted,
    .note = kveil_registry_file_note,
    .restore = kveil_registry_file_restore,
};

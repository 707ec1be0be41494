/* SPDX-License-Identifier: Apache-2.0 */
/* A backup into a registry in a file, whatever is left of that. */
#include "custody/files.h"
#include "registry/registry_file_internal.h"
#include "registry/registry_mark.h"

#include "base/clock.h"
#include "base/secret.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

/* What is at the path now: whole (KVEIL_OK), readable but not the last one (ROLLED_BACK), missing, or beyond reading.
 */
static enum kveil_status load_remains(struct file_registry *r, const struct kveil_registry_secret *secret,
				      struct file_document *ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_file_load_document(r, ret, err);

	if (status)
		return status;
	if (!kveil_secret_eq(ret->doc.root.id, secret->id, sizeof secret->id)) {
		kveil_document_clear(&ret->doc);
		kveil_fail(err, KVEIL_E_KEY_EXISTS, "the backup is of another registry than the one at %s", r->path);
		kveil_error_hint(err,
				 "restore it elsewhere; `kveil keys export` and `import` carry single keys across");
		return KVEIL_E_KEY_EXISTS;
	}
	status = kveil_document_verify(&ret->doc, secret, err);
	if (status)
		kveil_document_clear(&ret->doc);
	else if (kveil_mark_check(r->mark_path, r->path, secret, &ret->doc, &ret->file, err))
		status = KVEIL_E_REGISTRY_ROLLED_BACK;
	return status;
}

static enum kveil_status move_aside(const struct file_registry *r, struct kveil_error *err)
{
	char suffix[40];

	snprintf(suffix, sizeof suffix, ".damaged-%" PRId64, kveil_clock_wall_ms());
	char *aside = kveil_files_beside("", r->path, suffix);
	enum kveil_status status = aside ? kveil_files_replace(r->path, aside, err) : kveil_no_memory(err, "a path");
	free(aside);
	return status;
}

static enum kveil_status copy_of(const struct kveil_document *from, struct kveil_document *ret, struct kveil_error *err)
{
	*ret = (struct kveil_document){.generation = from->generation, .lease = from->lease};
	bool ok = kveil_registry_root_copy(&ret->root, &from->root);
	for (size_t i = 0; ok && i < from->count; i++)
		ok = kveil_document_add(ret, &from->records[i]);
	return ok ? KVEIL_OK : kveil_no_memory(err, "the key registry");
}

/* The generation must pass everything that this host has seen. */
static enum kveil_status outrun_mark(const struct file_registry *r, const struct kveil_registry_secret *secret,
				     struct kveil_document *d, struct kveil_error *err)
{
	struct kveil_mark m;
	enum kveil_status status = kveil_mark_read(r->mark_path, secret, &m, err);

	if (status == KVEIL_E_NOT_FOUND || status == KVEIL_E_REGISTRY_CORRUPT)
		return KVEIL_OK;
	if (status)
		return status;
	if (m.present.generation > d->generation)
		d->generation = m.present.generation;
	if (m.coming.generation > d->generation)
		d->generation = m.coming.generation;
	return KVEIL_OK;
}

static enum kveil_status restore_events(struct file_registry *r, const struct kveil_document *backup,
					const struct kveil_registry_secret *secret, struct kveil_error *err)
{
	struct kveil_registry reader = {.secret = (struct kveil_registry_secret *)(uintptr_t)secret};
	enum kveil_status status = kveil_registry_eventfile_read(&r->events, &reader, err);

	return status ? status : kveil_registry_eventfile_append(&r->events, r->path, &backup->events, err);
}

static enum kveil_status restore_locked(struct file_registry *r, const struct kveil_document *backup,
					const struct kveil_registry_secret *secret, struct kveil_restoring *how,
					struct kveil_error *err)
{
	struct file_document at = {0};
	struct kveil_document from = {0};
	struct kveil_document *d;
	bool changed, there = false;
	int64_t now = kveil_clock_wall_ms();
	size_t before;

	enum kveil_status remains = load_remains(r, secret, &at, err), status = copy_of(backup, &from, err);
	if (!status)
		status = kveil_document_demote(&from, secret, now, err);
	if (status)
		goto out;
	switch (remains) {
	case KVEIL_OK:
		/* Nothing was lost here: what the backup has more comes in, what is there goes on. */
		there = true;
		d = &at.doc;
		status = kveil_document_sort_out(&from, d, how, err);
		if (!status)
			status = kveil_document_merge(d, from.records, from.count, &changed, err);
		break;
	case KVEIL_E_REGISTRY_ROLLED_BACK:
		there = true;
		d = &at.doc;
		status = kveil_document_demote(d, secret, now, err);
		before = d->count;
		if (!status)
			status = kveil_document_merge(d, from.records, from.count, &changed, err);
		how->added = d->count - before;
		if (!status)
			status = kveil_document_sort_out(&from, d, how, err);
		how->skipped -= how->added;
		break;
	case KVEIL_E_REGISTRY_MISSING:
	case KVEIL_E_REGISTRY_CORRUPT:
		d = &from;
		how->added = from.count;
		if (remains == KVEIL_E_REGISTRY_CORRUPT && !how->dry_run)
			status = move_aside(r, err);
		break;
	default:
		status = remains;
		goto out;
	}
	if (!status && !how->dry_run) {
		struct file_document present = at;
		d->backup = false;
		status = outrun_mark(r, secret, d, err);
		if (!status)
			status = kveil_registry_file_store(r, secret, d, there ? &present : NULL, err);
		if (!status)
			status = restore_events(r, backup, secret, err);
	}
out:
	kveil_document_clear(&at.doc);
	kveil_document_clear(&from);
	return status;
}

enum kveil_status kveil_registry_file_restore(const struct kveil_registry_env *env, const char *where,
					      const struct kveil_document *backup,
					      const struct kveil_registry_secret *secret, struct kveil_restoring *how,
					      struct kveil_error *err)
{
	struct file_registry *r;
	int fd;
	enum kveil_status status = kveil_registry_file_new(env, where, &r, err);

	if (status)
		return status;
	status = kveil_registry_file_lock(r, LOCK_EX, &fd, err);
	if (!status) {
		status = restore_locked(r, backup, secret, how, err);
		kveil_registry_file_unlock(fd);
	}
	kveil_registry_file_free(r);
	return status;
}

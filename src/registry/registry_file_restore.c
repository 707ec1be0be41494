/* SPDX-License-Identifier: Apache-2.0 */
/* A backup into a registry in a file, whatever is left of that. */
#include "custody/files.h"
#include "registry/registry_file_internal.h"
#include "registry/registry_mark.h"
#include "registry/registry_restore.h"

#include "base/clock.h"
#include "base/secret.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>

/* Under which secret is what is there now? That of the backup, where it is authentic under it; else the one that a KEK
 * opens: a KEK was evicted since the backup was made. *ret is the caller's. */
static enum kveil_status find_secret(const struct file_registry *r, const struct kveil_document *d,
				     const struct kveil_registry_secret *backup, struct kveil_registry_secret **ret,
				     struct kveil_error *err)
{
	struct kveil_error why;

	if (!kveil_document_verify(d, backup, &why)) {
		*ret = kveil_secret_alloc(sizeof **ret);
		if (!*ret)
			return kveil_secret_refused(err);
		memcpy(*ret, backup, sizeof **ret);
		(*ret)->before = NULL;
		return KVEIL_OK;
	}
	enum kveil_status status = kveil_registry_root_open(&d->root, r->base.keks, r->base.kek_count, ret, &why);
	if (!status) {
		status = kveil_document_verify(d, *ret, err);
		return status;
	}
	if (status != KVEIL_E_REGISTRY_CORRUPT &&
	    (kveil_status_class(status) == KVEIL_CLASS_RETRY || d->root.number > backup->number)) {
		if (err)
			*err = why;
		return status;
	}
	return kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "the key registry at %s is not authentic", r->path);
}

static enum kveil_status read_events(struct file_registry *r, const struct kveil_registry_secret *secret,
				     struct kveil_error *err)
{
	struct kveil_registry reader = {.secret = (struct kveil_registry_secret *)(uintptr_t)secret};

	return kveil_registry_eventfile_read(&r->events, &reader, err);
}

/* Of those that the mark has counted. */
static bool lacks_events(const struct file_registry *r)
{
	return r->events.all.count < r->base.events_kept;
}

/* What is at the path now: whole (KVEIL_OK), readable but not the last one (ROLLED_BACK), missing, or beyond reading.
 * *ret_secret: what it is under; NULL where it is not read. */
static enum kveil_status load_remains(struct file_registry *r, const struct kveil_registry_secret *backup,
				      struct file_document *ret, struct kveil_registry_secret **ret_secret,
				      struct kveil_error *err)
{
	struct kveil_registry_secret *secret = NULL;
	enum kveil_status status = kveil_registry_file_load_document(r, ret, err);

	*ret_secret = NULL;
	if (status)
		return status;
	if (!kveil_secret_eq(ret->doc.root.id, backup->id, sizeof backup->id)) {
		kveil_document_clear(&ret->doc);
		kveil_fail(err, KVEIL_E_KEY_EXISTS, "the backup is of another registry than the one at %s", r->path);
		kveil_error_hint(err,
				 "restore it elsewhere; `kveil keys export` and `import` carry single keys across");
		return KVEIL_E_KEY_EXISTS;
	}
	status = find_secret(r, &ret->doc, backup, &secret, err);
	if (!status)
		status = kveil_registry_file_set_number(r, secret->number, err);
	if (status) {
		kveil_secret_free(secret);
		kveil_document_clear(&ret->doc);
		return status;
	}
	*ret_secret = secret;
	bool is_back =
	    kveil_mark_check(r->mark_path, r->path, secret, &ret->doc, &ret->file, &r->base.events_kept, err);
	status = read_events(r, secret, err);
	return !status && (is_back || lacks_events(r)) ? KVEIL_E_REGISTRY_ROLLED_BACK : status;
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
static enum kveil_status outrun_mark(struct file_registry *r, const struct kveil_registry_secret *secret,
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

/* at: NULL = nothing. is_backup: it has its events with it. */
static enum kveil_status settle(struct file_registry *r, struct kveil_document *from,
				struct kveil_registry_events *coming, const struct kveil_document *at, bool is_whole,
				bool is_backup, const struct kveil_registry_secret *secret, struct kveil_restoring *how,
				struct kveil_error *err)
{
	enum kveil_status status = read_events(r, secret, err);
	struct kveil_mark mark;
	struct kveil_error ignored;
	/* A registry's file that came without its mark and its events: nothing tells what was disabled. */
	bool is_bare = !r->events.all.count && kveil_mark_read(r->mark_path, secret, &mark, &ignored);
	const struct kveil_restore_there there = {.records = at,
						  .events = &r->events.all,
						  .is_whole = is_whole,
						  .keeps_records = is_whole,
						  .lacks_events = is_bare || lacks_events(r),
						  .is_backup = is_backup};

	return status ? status : kveil_restore_settle(from, coming, &there, secret, how, err);
}

/* Into what is there, which is readable: it stays under its own secret. from: what comes in, used up. */
static enum kveil_status join(struct kveil_document *d, struct kveil_document *from,
			      const struct kveil_registry_secret *secret, bool is_whole, struct kveil_restoring *how,
			      struct kveil_error *err)
{
	bool changed;
	size_t before = kveil_document_versions(d);
	/* Where nothing was lost, what is there goes on; else nothing of it seals. */
	enum kveil_status status = is_whole ? KVEIL_OK : kveil_document_demote(d, secret, kveil_clock_wall_ms(), err);

	if (!status && is_whole)
		status = kveil_document_sort_out(from, d, how, err);
	if (!status)
		status = kveil_document_merge(d, from->records, from->count, &changed, err);
	if (!status && !is_whole) {
		how->added = kveil_document_versions(d) - before;
		status = kveil_document_sort_out(from, d, how, err);
		how->skipped -= how->added;
	}
	return status;
}

/* secret: what the registry will be under. present: what is there; NULL = nothing. */
static enum kveil_status write_registry(struct file_registry *r, struct kveil_document *d,
					const struct kveil_registry_events *coming,
					const struct kveil_registry_secret *secret, const struct file_document *present,
					struct kveil_error *err)
{
	enum kveil_status status = outrun_mark(r, secret, d, err);

	d->backup = false;
	/* First what withholds versions: killed in between, it is done by running it again. */
	if (!status)
		status = kveil_registry_eventfile_append(&r->events, r->path, coming, true, err);
	if (!status)
		status = read_events(r, secret, err);
	/* What is gone for good is not waited for. */
	r->base.events_kept = r->events.all.count;
	return status ? status : kveil_registry_file_store(r, secret, d, present, err);
}

/* The backup under the secret of what is there, or its own. Its events come apart: a registry has them beside it. */
static enum kveil_status prepare(const struct kveil_document *backup, const struct kveil_registry_secret *secret,
				 struct kveil_document *ret, struct kveil_registry_events *ret_events,
				 struct kveil_error *err)
{
	enum kveil_status status = copy_of(backup, ret, err);

	if (!status && !kveil_registry_events_add_all(ret_events, &backup->events))
		status = kveil_no_memory(err, "the key registry");
	if (!status)
		status = kveil_registry_events_sign_anew(ret_events, secret, err);
	if (!status)
		status = kveil_document_sign_anew(ret, secret, err);
	return status ? status : kveil_document_demote(ret, secret, kveil_clock_wall_ms(), err);
}

static enum kveil_status restore_beside(struct file_registry *r, struct file_document *at,
					const struct kveil_document *backup, const struct kveil_registry_secret *secret,
					bool is_whole, struct kveil_restoring *how, struct kveil_error *err)
{
	struct file_document present = *at;
	struct kveil_document from = {0};
	struct kveil_registry_events coming = {0};
	enum kveil_status status = prepare(backup, secret, &from, &coming, err);

	if (!status)
		status = settle(r, &from, &coming, &at->doc, is_whole, backup->backup, secret, how, err);
	if (!status)
		status = join(&at->doc, &from, secret, is_whole, how, err);
	if (!status && !how->dry_run)
		status = write_registry(r, &at->doc, &coming, secret, &present, err);
	kveil_document_clear(&from);
	kveil_registry_events_clear(&coming);
	return status;
}

static enum kveil_status restore_anew(struct file_registry *r, const struct kveil_document *backup,
				      const struct kveil_registry_secret *secret, bool is_damaged,
				      struct kveil_restoring *how, struct kveil_error *err)
{
	struct kveil_document from = {0};
	struct kveil_registry_events coming = {0};
	struct kveil_mark mark;
	struct kveil_error ignored;
	enum kveil_status status = prepare(backup, secret, &from, &coming, err);

	how->added = kveil_document_versions(&from);
	if (!status)
		status = kveil_registry_file_set_number(r, secret->number, err);
	if (!status && !kveil_mark_read(r->mark_path, secret, &mark, &ignored))
		r->base.events_kept = mark.events;
	if (!status)
		status = settle(r, &from, &coming, NULL, false, backup->backup, secret, how, err);
	if (!status && is_damaged && !how->dry_run)
		status = move_aside(r, err);
	if (!status && !how->dry_run)
		status = write_registry(r, &from, &coming, secret, NULL, err);
	kveil_document_clear(&from);
	kveil_registry_events_clear(&coming);
	return status;
}

static enum kveil_status restore_locked(struct file_registry *r, const struct kveil_document *backup,
					const struct kveil_registry_secret *secret, struct kveil_restoring *how,
					struct kveil_error *err)
{
	struct file_document at = {0};
	struct kveil_registry_secret *there = NULL;
	enum kveil_status remains = load_remains(r, secret, &at, &there, err), status = remains;

	switch (remains) {
	case KVEIL_OK:
	case KVEIL_E_REGISTRY_ROLLED_BACK:
		status = restore_beside(r, &at, backup, there, remains == KVEIL_OK, how, err);
		break;
	case KVEIL_E_REGISTRY_MISSING:
	case KVEIL_E_REGISTRY_CORRUPT:
		status = restore_anew(r, backup, secret, remains == KVEIL_E_REGISTRY_CORRUPT, how, err);
		break;
	default:
		break;
	}
	kveil_document_clear(&at.doc);
	kveil_secret_free(there);
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

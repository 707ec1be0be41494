/* SPDX-License-Identifier: Apache-2.0 */
/* What stands beside a registry in a file, under names that have the number of its secret: the note and the events. */
#include "custody/files.h"
#include "registry/registry_file_internal.h"
#include "registry/registry_mark.h"
#include "registry/registry_message.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

/* For what does not look into the document: another secret shows in the mark that came with it. Under the lock. */
static enum kveil_status catch_up(struct file_registry *r, struct kveil_error *err)
{
	struct file_document at = {0};
	char *next = kveil_registry_file_numbered(r->path, r->base.secret->number + 1, ".mark");
	bool is_there = next && access(next, F_OK) == 0;
	enum kveil_status status = next ? KVEIL_OK : kveil_no_memory(err, "the key registry");

	free(next);
	if (!status && is_there)
		status = kveil_registry_file_load(r, &at, err);
	kveil_document_clear(&at.doc);
	return status;
}

static enum kveil_status lock_current(struct file_registry *r, int how, int *ret_fd, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_file_lock(r, how, ret_fd, err);

	if (status)
		return status;
	status = catch_up(r, err);
	if (status)
		kveil_registry_file_unlock(*ret_fd);
	return status;
}

/* --- the note --- */

enum kveil_status kveil_registry_file_read_note(const struct file_registry *r, struct kveil_registry_note *ret,
						struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	enum kveil_status status = kveil_files_read_private(r->note_path, "the note of accepted rules",
							    KVEIL_REGISTRY_MESSAGE_MAX, &text, NULL, NULL, err);

	*ret = (struct kveil_registry_note){0};
	if (status)
		return status == KVEIL_E_NOT_FOUND ? KVEIL_OK : status;
	if (kveil_registry_note_parse(kveil_buf_span(&text), ret) && kveil_registry_note_authentic(ret, r->base.secret))
		return KVEIL_OK;
	kveil_registry_note_clear(ret);
	kveil_fail(err, KVEIL_E_REGISTRY_CORRUPT, "%s was altered", r->note_path);
	kveil_error_hint(err, "`kveil rules accept` writes it anew, once it is removed");
	return KVEIL_E_REGISTRY_CORRUPT;
}

enum kveil_status kveil_registry_file_noted(struct kveil_registry *base, struct kveil_buf *out, struct kveil_error *err)
{
	struct file_registry *r = (struct file_registry *)base;
	struct kveil_registry_note n = {0};
	int fd;
	enum kveil_status status = lock_current(r, LOCK_SH, &fd, err);

	if (status)
		return status;
	status = kveil_registry_file_read_note(r, &n, err);
	kveil_registry_file_unlock(fd);
	kveil_buf_append(out, n.text, n.len);
	kveil_registry_note_clear(&n);
	if (!status && !kveil_buf_ok(out))
		status = kveil_no_memory(err, "the key registry");
	return status;
}

enum kveil_status kveil_registry_file_note(struct kveil_registry *base, struct kveil_span text, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf value = KVEIL_BUF_INIT;
	struct file_registry *r = (struct file_registry *)base;
	struct kveil_registry_note n = {0};
	int fd;
	enum kveil_status status = lock_current(r, LOCK_EX, &fd, err);

	if (status)
		return status;
	status = kveil_registry_file_read_note(r, &n, err);
	if (!status)
		status = kveil_registry_note_write(n.sequence + (n.sequence < UINT32_MAX), text, r->base.secret, &value,
						   err);
	if (!status)
		status = kveil_files_write_whole(r->note_path, kveil_buf_span(&value), err);
	kveil_registry_file_unlock(fd);
	kveil_registry_note_clear(&n);
	return status;
}

/* --- events --- */

enum kveil_status kveil_registry_file_read_events(struct file_registry *r, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_eventfile_read(&r->events, &r->base, err);
	const uint64_t kept = r->base.events_kept, there = r->events.all.count;

	if (status || there >= kept)
		return status;
	kveil_fail(err, KVEIL_E_REGISTRY_ROLLED_BACK,
		   "%" PRIu64 " of %" PRIu64 " events are missing in %s, and with them which keys are disabled or to "
		   "be destroyed",
		   kept - there, kept, r->events.path);
	kveil_error_hint(err, "put that file back, or restore a backup: `kveil keys restore BACKUP`");
	return KVEIL_E_REGISTRY_ROLLED_BACK;
}

/* Each as the one after all before it. */
static enum kveil_status write_events(const struct file_registry *r, const struct kveil_event *events, size_t count,
				      struct kveil_registry_events *ret, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	for (size_t i = 0; !status && i < count; i++) {
		struct kveil_registry_event e = {0};
		status = kveil_registry_event_write(ret->count ? ret : &r->events.all, &events[i],
						    kveil_clock_wall_ms(), r->base.secret, &e, err);
		if (!status && !kveil_registry_events_add(ret, &e))
			status = kveil_no_memory(err, "an event");
		kveil_registry_event_clear(&e);
	}
	return status;
}

/* What the mark promises is there. One that cannot be written promises less: the events stand all the same. */
static void note_kept(struct file_registry *r, size_t fresh)
{
	const uint64_t read = r->events.all.count;
	struct kveil_mark m;
	struct kveil_error ignored;

	if (kveil_mark_read(r->mark_path, r->base.secret, &m, &ignored))
		return;
	m.events = (m.events > read ? m.events : read) + fresh;
	if (!kveil_mark_write(r->mark_path, r->base.secret, &m, &ignored))
		r->base.events_kept = m.events;
}

enum kveil_status kveil_registry_file_record(struct kveil_registry *base, const struct kveil_event *events,
					     size_t count, struct kveil_error *err)
{
	struct file_registry *r = (struct file_registry *)base;
	struct kveil_registry_events fresh = {0};
	int fd;
	enum kveil_status status = lock_current(r, LOCK_EX, &fd, err);

	if (status)
		return status;
	status = kveil_registry_file_read_events(r, err);
	if (!status)
		status = write_events(r, events, count, &fresh, err);
	if (!status)
		status = kveil_registry_eventfile_append(&r->events, r->path, &fresh, false, err);
	if (!status)
		note_kept(r, fresh.count);
	kveil_registry_file_unlock(fd);
	kveil_registry_events_clear(&fresh);
	return status;
}

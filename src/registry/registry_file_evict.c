/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new secret for a registry in a file. What stands beside the document has the secret's number in its name, so that
 * the one renaming of the document puts all of it in the place of what was there:
 *
 *   1. .keys.json.2.events, .keys.json.2.rules written, signed anew, synced    nobody looks at them yet
 *   2. the document as with each write (registry_file.c), with .keys.json.2.mark
 *   3. the older mark is made worthless, the rest of what is older removed
 *
 * Killed before the renaming, the registry is what it was; after it, what it shall be.
 */
#include "custody/files.h"
#include "registry/registry_file_internal.h"
#include "registry/registry_mark.h"

#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static enum kveil_status write_events(const struct file_registry *r, const struct file_registry *to,
				      const struct file_document *present, struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct kveil_registry_events all = {0};
	enum kveil_status status = kveil_registry_events_add_all(&all, &r->events.all)
				       ? kveil_registry_events_sign_anew(&all, to->base.secret, err)
				       : kveil_no_memory(err, "the key registry");

	for (size_t i = 0; !status && i < all.count; i++)
		kveil_buf_printf(&text, "%s\n", all.items[i].line);
	kveil_registry_events_clear(&all);
	if (!status && !kveil_buf_ok(&text))
		status = kveil_no_memory(err, "the key registry");
	return status ? status
		      : kveil_files_write_new(to->events.path, kveil_buf_span(&text), &present->stat, NULL, err);
}

static enum kveil_status write_note(const struct file_registry *r, const struct file_registry *to,
				    struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf value = KVEIL_BUF_INIT;
	struct kveil_registry_note n;
	enum kveil_status status = kveil_registry_file_read_note(r, &n, err);

	/* One that an eviction left behind which was killed is nobody's. */
	if (!status && !n.sequence) {
		(void)!unlink(to->note_path);
		return KVEIL_OK;
	}
	if (!status)
		status =
		    kveil_registry_note_write(n.sequence, kveil_span_of(n.text, n.len), to->base.secret, &value, err);
	if (!status)
		status = kveil_files_write_new(to->note_path, kveil_buf_span(&value), NULL, NULL, err);
	kveil_registry_note_clear(&n);
	return status;
}

/* A document from before, put back, finds no mark that knows it. */
static void end_older(const struct file_registry *r)
{
	struct kveil_error ignored;

	(void)!kveil_files_write_whole(r->mark_path, KVEIL_SPAN("this registry has another secret by now\n"), &ignored);
	(void)!unlink(r->note_path);
	(void)!unlink(r->events.path);
}

static enum kveil_status rewrite(struct file_registry *r, struct file_registry *to, struct file_document *at,
				 const struct kveil_registry_root *root, struct kveil_error *err)
{
	struct file_document present = *at;
	enum kveil_status status = kveil_registry_file_read_events(r, err);

	if (!status)
		status = write_events(r, to, &present, err);
	to->base.events_kept = r->events.all.count;
	if (!status)
		status = write_note(r, to, err);
	if (!status)
		status = kveil_document_sign_anew(&at->doc, to->base.secret, err);
	if (!status && !kveil_registry_root_copy(&at->doc.root, root))
		status = kveil_no_memory(err, "the key registry");
	return status ? status : kveil_registry_file_store(to, to->base.secret, &at->doc, &present, err);
}

static enum kveil_status evict_locked(struct file_registry *r, struct file_registry *to,
				      const struct kveil_registry_root *root, struct kveil_error *err)
{
	struct file_document at = {0};
	enum kveil_status status = kveil_registry_file_load(r, &at, err);

	if (status)
		return status;
	if (!kveil_registry_root_follows(root, r->base.secret))
		status = kveil_registry_overtaken(err);
	if (!status)
		status = rewrite(r, to, &at, root, err);
	kveil_document_clear(&at.doc);
	if (!status)
		end_older(r);
	return status;
}

enum kveil_status kveil_registry_file_evict(struct kveil_registry *base, const struct kveil_registry_root *root,
					    struct kveil_registry_secret *next, struct kveil_error *err)
{
	struct file_registry *r = (struct file_registry *)base, to = {.path = r->path, .tmp_path = r->tmp_path};
	int fd;
	enum kveil_status status = kveil_registry_file_set_number(&to, root->number, err);

	to.base.secret = next;
	if (!status)
		status = kveil_registry_file_lock(r, LOCK_EX, &fd, err);
	if (!status) {
		status = evict_locked(r, &to, root, err);
		kveil_registry_file_unlock(fd);
	}
	free(to.mark_path);
	free(to.note_path);
	kveil_registry_eventfile_clear(&to.events);
	/* next moves in last: should a step fail, it is still the caller's. */
	if (!status)
		status = kveil_registry_file_set_number(r, root->number, err);
	if (!status)
		kveil_registry_adopt(base, next);
	return status;
}

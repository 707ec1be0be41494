/* SPDX-License-Identifier: Apache-2.0 */
/* The events of a registry in a file. */
#include "registry/registry_eventfile.h"

#include "custody/files.h"
#include "registry/document.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void kveil_registry_eventfile_clear(struct kveil_registry_eventfile *f)
{
	free(f->path);
	kveil_registry_events_clear(&f->all);
	*f = (struct kveil_registry_eventfile){0};
}

bool kveil_registry_eventfile_is_read(const struct kveil_registry_eventfile *f)
{
	struct stat st;

	if (stat(f->path, &st))
		return f->inode == 0;
	return st.st_ino == f->inode && st.st_size == f->size;
}

static enum kveil_status take_line(struct kveil_registry_eventfile *f, struct kveil_registry *registry,
				   struct kveil_span line, struct kveil_error *err)
{
	struct kveil_registry_event e = {0};
	enum kveil_status status = KVEIL_OK;

	if (!kveil_registry_event_parse(line, &e) || !kveil_registry_event_authentic(&e, registry->secret))
		atomic_fetch_add_explicit(&registry->ignored[KVEIL_DOUBT_FORGED], 1, memory_order_relaxed);
	else if (!kveil_registry_events_add(&f->all, &e))
		status = kveil_no_memory(err, "the events of the key registry");
	kveil_registry_event_clear(&e);
	return status;
}

static enum kveil_status take_lines(struct kveil_registry_eventfile *f, struct kveil_registry *registry,
				    struct kveil_span text, struct kveil_error *err)
{
	enum kveil_status status = KVEIL_OK;

	f->is_cut = text.len && text.data[text.len - 1] != '\n';
	while (!status && text.len) {
		const uint8_t *end = memchr(text.data, '\n', text.len);
		size_t n = end ? (size_t)(end - text.data) : text.len;
		/* What has no end was never said to be done. */
		if (end && n)
			status = take_line(f, registry, kveil_span_of(text.data, n), err);
		n += end != NULL;
		text = kveil_span_of(text.data + n, text.len - n);
	}
	return status;
}

static void forget(struct kveil_registry_eventfile *f)
{
	const uint64_t changes = f->all.changes + 1;

	kveil_registry_events_clear(&f->all);
	f->all.changes = changes;
	f->inode = 0;
	f->size = 0;
}

enum kveil_status kveil_registry_eventfile_read(struct kveil_registry_eventfile *f, struct kveil_registry *registry,
						struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;
	struct stat st;

	if (kveil_registry_eventfile_is_read(f))
		return KVEIL_OK;
	enum kveil_status status = kveil_files_read_private(f->path, "the events of the key registry",
							    KVEIL_DOCUMENT_BYTES_MAX, &text, NULL, &st, err);
	if (status == KVEIL_E_NOT_FOUND) {
		forget(f);
		return KVEIL_OK;
	}
	/* Of a file that grew, what was read stands as it was. Of any other nothing does: what is gone from it counts
	 * no more, here as for those who start now. */
	struct kveil_span all = kveil_buf_span(&text);
	if (!status && st.st_ino == f->inode && all.len > (size_t)f->size && !f->is_cut)
		all = kveil_span_of(all.data + f->size, all.len - (size_t)f->size);
	else if (!status)
		forget(f);
	if (!status)
		status = take_lines(f, registry, all, err);
	if (!status) {
		f->inode = st.st_ino;
		f->size = (off_t)text.len;
	}
	return status;
}

static enum kveil_status write_all(int fd, struct kveil_span s, const char *path, struct kveil_error *err)
{
	while (s.len) {
		ssize_t n = write(fd, s.data, s.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return kveil_fail(err, KVEIL_E_IO, "cannot write %s: %s", path, strerror(errno));
		s.data += n;
		s.len -= (size_t)n;
	}
	return fsync(fd) ? kveil_fail(err, KVEIL_E_IO, "cannot sync %s: %s", path, strerror(errno)) : KVEIL_OK;
}

static void make_like(int fd, const char *like)
{
	struct stat st;

	/* As far as that goes: whoever may not give it away keeps it. */
	if (stat(like, &st) == 0 && !fchown(fd, (uid_t)-1, st.st_gid))
		(void)!fchmod(fd, st.st_mode & 0640);
}

enum kveil_status kveil_registry_eventfile_append(struct kveil_registry_eventfile *f, const char *like,
						  const struct kveil_registry_events *events, bool newest_first,
						  struct kveil_error *err)
{
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT;

	if (f->is_cut)
		kveil_buf_append_byte(&text, '\n');
	for (size_t i = 0; i < events->count; i++) {
		const struct kveil_registry_event *e = &events->items[newest_first ? events->count - 1 - i : i];
		if (!kveil_registry_events_has(&f->all, e))
			kveil_buf_printf(&text, "%s\n", e->line);
	}
	if (!kveil_buf_ok(&text))
		return kveil_no_memory(err, "the events of the key registry");
	if (text.len == 0)
		return KVEIL_OK;
	int fd = open(f->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return kveil_fail(err, KVEIL_E_IO, "cannot write %s: %s", f->path, strerror(errno));
	if (!f->inode)
		make_like(fd, like);
	enum kveil_status status = write_all(fd, kveil_buf_span(&text), f->path, err);
	close(fd);
	return status;
}

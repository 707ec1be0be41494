/* SPDX-License-Identifier: Apache-2.0 */
/* Records from a file, a line each. */
#include "cli/lines.h"

#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024 };

static enum kveil_status cannot_open(const char *path, int why, struct kveil_error *err)
{
	return kveil_fail(err, why == EACCES ? KVEIL_E_PERMISSIONS : KVEIL_E_NOT_FOUND, "cannot read %.160s: %s", path,
			  strerror(why));
}

/* A folder opens, and only reading it fails. */
static enum kveil_status refuse_folder(const char *path, int fd, struct kveil_error *err)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) ? cannot_open(path, EISDIR, err) : KVEIL_OK;
}

enum kveil_status kveil_lines_open(struct kveil_lines *l, const char *path, size_t max_bytes, struct kveil_error *err)
{
	*l = (struct kveil_lines){.fd = STDIN_FILENO, .max_bytes = max_bytes};
	if (!path || strcmp(path, "-") == 0)
		return refuse_folder("stdin", l->fd, err);
	l->fd = open(path, O_RDONLY | O_CLOEXEC);
	return l->fd < 0 ? cannot_open(path, errno, err) : refuse_folder(path, l->fd, err);
}

void kveil_lines_close(struct kveil_lines *l)
{
	kveil_buf_clear(&l->buf);
	if (l->fd > STDIN_FILENO)
		close(l->fd);
	l->fd = -1;
}

/* Wipes what was given and makes the rest begin at 0. */
static void compact(struct kveil_lines *l)
{
	size_t rest = l->buf.len - l->start;

	if (l->start == 0)
		return;
	memmove(l->buf.data, l->buf.data + l->start, rest);
	kveil_secret_wipe(l->buf.data + rest, l->start);
	l->buf.len = rest;
	l->start = 0;
}

static enum kveil_status fill(struct kveil_lines *l, struct kveil_error *err)
{
	uint8_t *room = kveil_buf_reserve(&l->buf, CHUNK);

	if (!room)
		return kveil_no_memory(err, NULL);
	/* Whoever feeds us a line and waits for the answer gets it. */
	fflush(stdout);
	ssize_t n = read(l->fd, room, CHUNK);
	while (n < 0 && errno == EINTR)
		n = read(l->fd, room, CHUNK);
	if (n < 0)
		return kveil_fail(err, KVEIL_E_IO, "reading failed: %s", strerror(errno));
	l->at_end = n == 0;
	l->buf.len += (size_t)n;
	return KVEIL_OK;
}

enum kveil_status kveil_lines_next(struct kveil_lines *l, struct kveil_span *ret, struct kveil_error *err)
{
	size_t seen = 0; /* bytes of the line that hold no "\n" */

	l->cut = 0;
	*ret = KVEIL_SPAN_NULL;
	for (;;) {
		size_t have = l->buf.len - l->start;
		const uint8_t *line = have ? l->buf.data + l->start : NULL;
		const uint8_t *end = have > seen ? memchr(line + seen, '\n', have - seen) : NULL;
		if (end || (l->at_end && have + l->cut > 0)) {
			size_t len = end ? (size_t)(end - line) : have;
			*ret = kveil_span_of(line, len);
			l->start += len + (end != NULL);
			l->number++;
			return KVEIL_OK;
		}
		if (l->at_end)
			return KVEIL_OK;
		seen = have;
		if (have > l->max_bytes + CHUNK) {
			kveil_secret_wipe(l->buf.data + l->start + l->max_bytes + 1, have - l->max_bytes - 1);
			l->cut += have - l->max_bytes - 1;
			l->buf.len = l->start + l->max_bytes + 1;
			seen = l->max_bytes + 1;
		}
		compact(l);
		enum kveil_status status = fill(l, err);
		if (status)
			return status;
	}
}

bool kveil_lines_peek(const struct kveil_lines *l, size_t *at, struct kveil_span *ret)
{
	const uint8_t *line = l->buf.data + l->start + *at;
	const size_t have = l->buf.len - l->start - *at;
	const uint8_t *end = have ? memchr(line, '\n', have) : NULL;

	if (!end)
		return false;
	*ret = kveil_span_of(line, (size_t)(end - line));
	*at += ret->len + 1;
	return true;
}

enum kveil_status kveil_lines_whole(struct kveil_lines *l, struct kveil_span *ret, struct kveil_error *err)
{
	*ret = KVEIL_SPAN_NULL;
	/* The first line begins at 0 of the buffer: nothing was given before it. */
	while (!l->at_end && l->buf.len <= l->max_bytes) {
		enum kveil_status status = fill(l, err);
		if (status)
			return status;
	}
	if (!l->at_end || l->buf.len > l->max_bytes + 1)
		return KVEIL_OK;
	size_t len = l->buf.len;
	if (len && l->buf.data[len - 1] == '\n')
		len--;
	*ret = kveil_span_of(l->buf.data, len);
	return KVEIL_OK;
}

void kveil_lines_skip_rest(struct kveil_lines *l)
{
	l->start = l->buf.len;
}

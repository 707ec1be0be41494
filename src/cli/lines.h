/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/lines.h: lines of a file or of stdin, as records. One thread. What was read is wiped when its place is needed
 * again or the reader is cleared: it is clear text.
 */
#ifndef KVEIL_CLI_LINES_H
#define KVEIL_CLI_LINES_H

#include "base/buf.h"

struct kveil_lines {
	int fd;
	size_t max_bytes;     /* of a line; what is longer comes cut at max_bytes + 1, so that it is found too large */
	struct kveil_buf buf; /* [start, buf.len) is read and not given yet */
	size_t start;
	uint64_t number; /* of the line given last, 1-based */
	size_t cut;      /* bytes that the line given last had more than was given of it */
	bool at_end;
};

/* path "-" or NULL: stdin. NOT_FOUND, PERMISSIONS; NOT_FOUND for a folder too. */
enum kveil_status kveil_lines_open(struct kveil_lines *l, const char *path, size_t max_bytes,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
void kveil_lines_close(struct kveil_lines *l);
/* The next line without its "\n", borrowed until the next call. *ret.data NULL at the end. IO when reading fails. */
enum kveil_status kveil_lines_next(struct kveil_lines *l, struct kveil_span *ret,
				   struct kveil_error *err) KVEIL_MUST_CHECK;
/* A line behind the one given last that is read already, whole; *at is 0 for the first one and moves on. false: no
 * more. */
bool kveil_lines_peek(const struct kveil_lines *l, size_t *at, struct kveil_span *ret);
/* Right after the first line: everything from its start to the end of the input, without a last "\n", if that is at
 * most max_bytes; else *ret.data is NULL. The lines behind the first can still be had. */
enum kveil_status kveil_lines_whole(struct kveil_lines *l, struct kveil_span *ret,
				    struct kveil_error *err) KVEIL_MUST_CHECK;
/* Nothing but the line given so far: what kveil_lines_whole gave was the only record. */
void kveil_lines_skip_rest(struct kveil_lines *l);

#endif

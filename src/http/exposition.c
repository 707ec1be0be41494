/* SPDX-License-Identifier: Apache-2.0 */
/* Samples out of a page of metrics. */
#include "http/exposition.h"

#include <stdlib.h>

const char *kveil_exposed_label(const struct kveil_exposed *e, const char *name)
{
	for (size_t i = 0; i < e->label_count; i++)
		if (strcmp(e->labels[i].name, name) == 0)
			return e->labels[i].value;
	return "";
}

/* Copies n bytes that fit. */
static void copy(char *dst, size_t size, const char *src, size_t n)
{
	n = n < size ? n : size - 1;
	memcpy(dst, src, n);
	dst[n] = 0;
}

/* Behind `"` to behind the closing one, with \\ and \" resolved; \n becomes n: no name of ours
 * holds a line break. NULL: it does not end. */
static const char *read_quoted(const char *at, char *dst, size_t size)
{
	size_t n = 0;

	for (; *at != '"'; at++) {
		if (*at == '\\' && at[1])
			at++;
		if (*at == 0 || *at == '\n')
			return NULL;
		if (n + 1 < size)
			dst[n++] = *at;
	}
	dst[n] = 0;
	return at + 1;
}

/* Behind `{` to behind `}`. */
static const char *read_labels(const char *at, struct kveil_exposed *e)
{
	while (*at && *at != '}') {
		size_t n = strcspn(at, "=\n}"), i = e->label_count;
		char ignored[2];
		if (at[n] != '=' || at[n + 1] != '"')
			return NULL;
		bool room = i < KVEIL_EXPOSED_LABELS;
		if (room)
			copy(e->labels[i].name, sizeof e->labels[i].name, at, n);
		at = read_quoted(at + n + 2, room ? e->labels[i].value : ignored,
				 room ? sizeof e->labels[i].value : sizeof ignored);
		if (!at)
			return NULL;
		e->label_count += room;
		at += *at == ',';
	}
	return *at == '}' ? at + 1 : NULL;
}

static bool read_sample(const char *line, struct kveil_exposed *e)
{
	size_t n = strcspn(line, "{ \n");
	char *end;

	if (*line == '#' || n == 0)
		return false;
	e->label_count = 0;
	copy(e->name, sizeof e->name, line, n);
	const char *at = line[n] == '{' ? read_labels(line + n + 1, e) : line + n;
	if (!at || *at != ' ')
		return false;
	e->value = strtod(at + 1, &end);
	return end > at + 1;
}

void kveil_exposition_read(const char *text, void (*fn)(void *user, const struct kveil_exposed *e), void *user)
{
	struct kveil_exposed e;

	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
		if (read_sample(line, &e))
			fn(user, &e);
}

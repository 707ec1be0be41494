/* SPDX-License-Identifier: Apache-2.0 */
/* The scalars of the demo's records. */
#include "cli/demo_leaves.h"

#include <stdio.h>

enum { DEPTH_MAX = 8 };

struct walk {
	const uint8_t *at, *end;
	struct kveil_demo_leaf *leaves;
	size_t count;
	unsigned depth;
	char path[KVEIL_DEMO_PATH];
};

static bool is_at(const struct walk *w, char c)
{
	return w->at < w->end && *w->at == (uint8_t)c;
}

static bool skip(struct walk *w, char c)
{
	bool there = is_at(w, c);

	w->at += there;
	return there;
}

/* Behind the opening quote; leaves w behind the closing one. */
static struct kveil_span read_string(struct walk *w)
{
	const uint8_t *from = w->at;

	while (w->at < w->end && !is_at(w, '"'))
		w->at += is_at(w, '\\') && w->end - w->at > 1 ? 2 : 1;
	struct kveil_span text = kveil_span_of(from, (size_t)(w->at - from));
	skip(w, '"');
	return text;
}

static struct kveil_span read_bare(struct walk *w)
{
	const uint8_t *from = w->at;

	while (w->at < w->end && !strchr(",]}", *w->at))
		w->at++;
	return kveil_span_of(from, (size_t)(w->at - from));
}

static void add_leaf(struct walk *w, struct kveil_span value)
{
	if (w->count == KVEIL_DEMO_LEAVES)
		return;
	struct kveil_demo_leaf *leaf = &w->leaves[w->count++];
	memcpy(leaf->path, w->path, sizeof leaf->path);
	leaf->value = value;
}

static void read_value(struct walk *w);

/* Members or elements, whose paths begin with the one at hand. */
static void read_inner(struct walk *w, bool is_object)
{
	size_t length = strlen(w->path);

	for (unsigned i = 0; w->at < w->end && !skip(w, is_object ? '}' : ']'); i++) {
		const uint8_t *before = w->at;
		if (is_object && skip(w, '"')) {
			struct kveil_span name = read_string(w);
			snprintf(w->path + length, sizeof w->path - length, ".%.*s", (int)name.len,
				 (const char *)name.data);
			skip(w, ':');
		} else
			snprintf(w->path + length, sizeof w->path - length, "[%u]", i);
		read_value(w);
		w->path[length] = 0;
		skip(w, ',');
		w->at += w->at == before;
	}
}

static void read_value(struct walk *w)
{
	bool is_object = is_at(w, '{');

	if (w->depth < DEPTH_MAX && (is_object || is_at(w, '['))) {
		w->at++;
		w->depth++;
		read_inner(w, is_object);
		w->depth--;
	} else
		add_leaf(w, skip(w, '"') ? read_string(w) : read_bare(w));
}

size_t kveil_demo_leaves(struct kveil_span json, struct kveil_demo_leaf ret[KVEIL_DEMO_LEAVES])
{
	struct walk w = {.at = json.data, .end = json.data + json.len, .leaves = ret, .path = "$"};

	if (json.len)
		read_value(&w);
	return w.count;
}

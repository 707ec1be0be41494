/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Readers of published test vectors: Wycheproof's JSON and NIST's response files, in the folder that KVEIL_VECTORS
 * names (default: .cache/vectors of the source tree, filled by tests/vectors/fetch.py). A missing file fails the test.
 */
#ifndef KVEIL_TEST_VECTORS_H
#define KVEIL_TEST_VECTORS_H

#include "kveil/base.h"

#include <ctype.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Bytes of one vector; freed by vector_clear. data is never NULL. */
struct vector {
	uint8_t *data;
	size_t len;
};

static inline struct kveil_span vector_span(struct vector v)
{
	return kveil_span_of(v.data, v.len);
}

static inline void vector_cleanup(struct vector *v)
{
	free(v->data);
}

#define VECTOR __attribute__((cleanup(vector_cleanup))) struct vector

static inline struct vector vector_from_hex(const char *hex, size_t len)
{
	struct vector v = {malloc(len / 2 + 1), len / 2};

	assert_non_null(v.data);
	for (size_t i = 0; i < v.len; i++) {
		unsigned byte;
		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		v.data[i] = (uint8_t)byte;
	}
	return v;
}

static inline struct vector vector_hex(const char *hex)
{
	return vector_from_hex(hex, strlen(hex));
}

static inline struct vector vector_member(const json_t *object, const char *name)
{
	const char *hex = json_string_value(json_object_get(object, name));

	if (!hex)
		fail_msg("the vector has no %s", name);
	return vector_hex(hex);
}

/* A copy of exactly v's size, so that the sanitizers see a read past its end. */
static inline uint8_t *vector_room(size_t n)
{
	uint8_t *p = malloc(n ? n : 1);

	assert_non_null(p);
	return p;
}

static inline const char *vectors_path(char *dst, size_t size, const char *name)
{
	const char *folder = getenv("KVEIL_VECTORS");

	assert_non_null(folder);
	snprintf(dst, size, "%s/%s", folder, name);
	return dst;
}

typedef void vectors_wycheproof_fn(const json_t *group, const json_t *test, const char *result, void *user);

/* Every test of wycheproof/NAME. Returns how many there were; at least one. */
static inline size_t vectors_wycheproof(const char *name, vectors_wycheproof_fn *fn, void *user)
{
	char relative[128], path[4096];
	json_error_t e;
	size_t n = 0, i, j;
	json_t *group, *test;

	snprintf(relative, sizeof relative, "wycheproof/%s", name);
	json_t *root = json_load_file(vectors_path(path, sizeof path, relative), 0, &e);
	if (!root)
		fail_msg("%s: %s (run tests/vectors/fetch.py)", path, e.text);
	json_array_foreach(json_object_get(root, "testGroups"), i, group)
	{
		json_array_foreach(json_object_get(group, "tests"), j, test)
		{
			fn(group, test, json_string_value(json_object_get(test, "result")), user);
			n++;
		}
	}
	assert_int_equal(n, json_integer_value(json_object_get(root, "numberOfTests")));
	assert_true(n > 0);
	json_decref(root);
	return n;
}

/* The fields of one case of a NIST response file, values in place in the file's text. */
struct nist_case {
	size_t count;
	const char *names[16], *values[16];
	bool fail; /* a line FAIL */
};

static inline struct vector nist_member(const struct nist_case *c, const char *name)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->names[i], name) == 0)
			return vector_hex(c->values[i]);
	fail_msg("the vector has no %s", name);
	return (struct vector){0};
}

static inline bool nist_has(const struct nist_case *c, const char *name)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->names[i], name) == 0)
			return true;
	return false;
}

typedef void vectors_nist_fn(const struct nist_case *c, void *user);

static inline char *trim(char *s)
{
	while (isspace((unsigned char)*s))
		s++;
	char *end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		*--end = 0;
	return s;
}

/* Every case of a file of "Name = value" lines, the first of which is FIRST ("Count"). Returns how many. */
static inline size_t vectors_of_file(const char *path, const char *first, vectors_nist_fn *fn, void *user)
{
	struct nist_case c = {0};
	size_t n = 0, size;

	FILE *f = fopen(path, "rb");
	if (!f)
		fail_msg("%s is missing (run tests/vectors/fetch.py)", path);
	fseek(f, 0, SEEK_END);
	size = (size_t)ftell(f);
	rewind(f);
	char *text = calloc(1, size + 1);
	assert_non_null(text);
	assert_int_equal(fread(text, 1, size, f), size);
	fclose(f);

	char *rest = text;
	for (char *line; (line = strsep(&rest, "\n"));) {
		line = trim(line);
		if (!*line || *line == '#' || *line == '[')
			continue;
		if (strcmp(line, "FAIL") == 0) {
			c.fail = true;
			continue;
		}
		char *value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = 0;
		line = trim(line);
		if (strcmp(line, first) == 0) {
			if (c.count) {
				fn(&c, user);
				n++;
			}
			c = (struct nist_case){0};
		}
		assert_true(c.count < 16);
		c.names[c.count] = line;
		c.values[c.count++] = trim(value);
	}
	if (c.count) {
		fn(&c, user);
		n++;
	}
	free(text);
	assert_true(n > 0);
	return n;
}

/* Of nist/NAME, from the package. */
static inline size_t vectors_nist(const char *name, const char *first, vectors_nist_fn *fn, void *user)
{
	char relative[128], path[4096];

	snprintf(relative, sizeof relative, "nist/%s", name);
	return vectors_of_file(vectors_path(path, sizeof path, relative), first, fn, user);
}

/* Of tests/vectors/NAME, in the tree. */
static inline size_t vectors_committed(const char *name, const char *first, vectors_nist_fn *fn, void *user)
{
	const char *source = getenv("KVEIL_SOURCE_DIR");
	char path[4096];

	assert_non_null(source);
	snprintf(path, sizeof path, "%s/tests/vectors/%s", source, name);
	return vectors_of_file(path, first, fn, user);
}

static inline const char *nist_text(const struct nist_case *c, const char *name)
{
	for (size_t i = 0; i < c->count; i++)
		if (strcmp(c->names[i], name) == 0)
			return c->values[i];
	fail_msg("the vector has no %s", name);
	return NULL;
}

#endif

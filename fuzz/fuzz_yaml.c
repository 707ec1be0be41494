/* SPDX-License-Identifier: Apache-2.0 */
/* YAML into a tree, the tree through a table with every type of option; and each line through the hints. */
#include "base/options.h"
#include "base/yaml_trap.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const colors[] = {"red", "green", NULL};

struct target {
	bool on;
	uint64_t count, size;
	int64_t offset, wait_ms;
	char *name, *mark, *key, *secret;
	int color;
	char **list;
	struct kveil_string_map map;
	struct {
		char *inner;
	} group;
	const struct kveil_yaml *custom;
};

static const struct kveil_option inner_options[] = {{"inner", KVEIL_OPT_STRING, 0, .def = "x"}, {0}};

#define AT(member) offsetof(struct target, member)
static const struct kveil_option options[] = {
    {"on", KVEIL_OPT_BOOL, AT(on), .def = "true"},
    {"count", KVEIL_OPT_UINT, AT(count), .min = 1, .max = 9},
    {"size", KVEIL_OPT_BYTES, AT(size)},
    {"offset", KVEIL_OPT_INT, AT(offset)},
    {"wait", KVEIL_OPT_DURATION, AT(wait_ms)},
    {"name", KVEIL_OPT_STRING, AT(name), .required = true},
    {"char", KVEIL_OPT_CHAR, AT(mark)},
    {"key", KVEIL_OPT_KEY, AT(key)},
    {"secret", KVEIL_OPT_STRING, AT(secret), .secret = true},
    {"color", KVEIL_OPT_ENUM, AT(color), .choices = colors},
    {"fields", KVEIL_OPT_LIST, AT(list)},
    {"properties", KVEIL_OPT_STRING_MAP, AT(map)},
    {"group", KVEIL_OPT_GROUP, AT(group), .sub = inner_options},
    {"custom", KVEIL_OPT_CUSTOM, AT(custom)},
    {0},
};

/* Every node is where it says, and text is text. */
static void walk(const struct kveil_yaml *y, int depth)
{
	if (depth > 64 || y->line == 0 || y->column == 0)
		abort();
	if (y->kind == KVEIL_YAML_SCALAR) {
		if (!y->text || y->count)
			abort();
		return;
	}
	for (size_t i = 0; i < y->count; i++) {
		if (y->kind == KVEIL_YAML_MAP)
			walk(y->keys[i], depth + 1);
		walk(y->items[i], depth + 1);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kveil_report report = {0};
	struct target target;

	for (size_t at = 0; at < size;) {
		const uint8_t *end = memchr(data + at, '\n', size - at);
		size_t n = end ? (size_t)(end - data) - at : size - at;
		struct kveil_yaml_trap trap;
		if (kveil_yaml_trap(kveil_span_of(data + at, n), &trap) && trap.at > n)
			abort();
		at += n + 1;
	}
	struct kveil_yaml *y = kveil_yaml_parse(kveil_span_of(data, size), "f", &report);
	if (!y != (report.errors > 0))
		abort();
	if (y && !memmem(data, size, "${", 2)) { /* a fuzzer should not open files by name */
		walk(y, 0);
		size_t errors = report.errors;
		if (kveil_options_parse(options, y, "f", NULL, &target, &report) != (report.errors == errors))
			abort();
		kveil_options_clear(options, &target);
	}
	kveil_yaml_free(y);
	kveil_report_clear(&report);
	return 0;
}

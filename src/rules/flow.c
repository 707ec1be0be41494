/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of YAML as one line, members in the order of their names. */
#include "rules/loader.h"

bool kveil_rules_is_plain_word(const char *text)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-";

	return *text && strspn(text, chars) == strlen(text) && strcmp(text, "-") != 0 && strcmp(text, "---") != 0;
}

/* Quotes stay where they change what a word is, and come where flow style needs them. */
static void write_scalar(const struct kveil_yaml *y, struct kveil_buf *out)
{
	if (!y->quoted && kveil_yaml_is_null(y))
		kveil_buf_append_str(out, "null");
	else if (!y->quoted && kveil_rules_is_plain_word(y->text))
		kveil_buf_append_str(out, y->text);
	else
		kveil_options_write_json_string(out, y->text);
}

static const struct kveil_yaml *next_key(const struct kveil_yaml *map, const char *last, size_t *ret_index)
{
	const struct kveil_yaml *next = NULL;

	for (size_t i = 0; i < map->count; i++)
		if ((!last || strcmp(map->keys[i]->text, last) > 0) &&
		    (!next || strcmp(map->keys[i]->text, next->text) < 0)) {
			next = map->keys[i];
			*ret_index = i;
		}
	return next;
}

void kveil_rules_write_flow(const struct kveil_yaml *y, struct kveil_buf *out)
{
	const char *last = NULL;
	size_t at = 0;

	if (y->kind == KVEIL_YAML_SCALAR) {
		write_scalar(y, out);
		return;
	}
	kveil_buf_append_byte(out, y->kind == KVEIL_YAML_MAP ? '{' : '[');
	for (size_t i = 0; i < y->count; i++) {
		kveil_buf_append_str(out, i ? ", " : "");
		if (y->kind == KVEIL_YAML_MAP) {
			last = next_key(y, last, &at)->text;
			kveil_options_write_json_string(out, last);
			kveil_buf_append_str(out, ": ");
		}
		kveil_rules_write_flow(y->items[y->kind == KVEIL_YAML_MAP ? at : i], out);
	}
	kveil_buf_append_byte(out, y->kind == KVEIL_YAML_MAP ? '}' : ']');
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Patterns of keys.data ("tenant-{}"), and the names that fill them. */
#include "base/text.h"
#include "keys/named_keys.h"

const struct kveil_algorithm *kveil_pattern_algorithm(const struct kveil_data_key_config *pattern)
{
	/* Who asks for SM4 asks for nothing else to stand between the KEK and the data. */
	bool sm4 = strncmp(pattern->algorithm->name, "sm4", 3) == 0;
	return kveil_algorithm_by_name(sm4 ? KVEIL_SPAN("sm4-cbc-hmac-sm3") : KVEIL_SPAN("aes-256-siv"));
}

static bool fills(const char *pattern, struct kveil_span name, struct kveil_span *ret)
{
	const char *braces = strstr(pattern, "{}");

	if (!braces)
		return false;
	size_t head = (size_t)(braces - pattern), tail = strlen(braces + 2);
	if (name.len <= head + tail || !kveil_span_eq(kveil_span_of(name.data, head), kveil_span_of(pattern, head)) ||
	    !kveil_span_eq(kveil_span_of(name.data + name.len - tail, tail), kveil_span_of(braces + 2, tail)))
		return false;
	*ret = kveil_span_of(name.data + head, name.len - head - tail);
	return true;
}

const struct kveil_data_key_config *kveil_keys_config_pattern(const struct kveil_keys_config *c, struct kveil_span name,
							      struct kveil_span *ret_filling)
{
	for (size_t i = 0; i < c->data_count; i++)
		if (fills(c->data[i].name, name, ret_filling))
			return &c->data[i];
	return NULL;
}

bool kveil_record_is_named(const struct kveil_key_record *r)
{
	return strchr(r->kek, '{') != NULL; /* no KEK is called so */
}

void kveil_named_keys_digest_text(const struct kveil_data_key_config *pattern, struct kveil_span filling,
				  struct kveil_buf *out)
{
	kveil_buf_append(out, pattern->name, strlen(pattern->name) + 1);
	kveil_buf_append_span(out, filling);
}

void kveil_named_keys_write_name(const struct kveil_data_key_config *pattern, const uint8_t digest[KVEIL_DIGEST_BYTES],
				 char name[KVEIL_KEY_NAME_MAX + 1])
{
	const char *braces = strstr(pattern->name, "{}");
	size_t head = (size_t)(braces - pattern->name);

	memcpy(name, pattern->name, head);
	kveil_text_encode(KVEIL_HEX, digest, KVEIL_DIGEST_BYTES, (uint8_t *)name + head);
	strcpy(name + head + (size_t)2 * KVEIL_DIGEST_BYTES, braces + 2); /* patterns are short enough */
}

bool kveil_named_keys_read_name(const struct kveil_data_key_config *pattern, const char *name,
				uint8_t digest[KVEIL_DIGEST_BYTES])
{
	struct kveil_span hex;
	size_t n;

	return fills(pattern->name, kveil_span_str(name), &hex) && hex.len == 2 * KVEIL_DIGEST_BYTES &&
	       kveil_text_decode(KVEIL_HEX, hex.data, hex.len, digest, &n);
}

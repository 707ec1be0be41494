/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes in JSON. */
#include "registry/registry_text.h"

#include <stdlib.h>
#include <string.h>

json_t *kveil_registry_text_of(enum kveil_encoding e, const uint8_t *data, size_t n)
{
	size_t len = kveil_text_encoded_len(e, n);
	char *text = malloc(len + 1);
	json_t *ret = NULL;

	if (text) {
		kveil_text_encode(e, data, n, (uint8_t *)text);
		ret = json_stringn(text, len);
	}
	free(text);
	return ret;
}

bool kveil_registry_text_read(enum kveil_encoding e, const char *text, size_t len, uint8_t *out, size_t n)
{
	uint8_t bytes[64];
	size_t got;

	if (n > sizeof bytes || len != kveil_text_encoded_len(e, n) ||
	    !kveil_text_decode(e, (const uint8_t *)text, len, bytes, &got) || got != n)
		return false;
	memcpy(out, bytes, n);
	return true;
}

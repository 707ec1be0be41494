/* SPDX-License-Identifier: Apache-2.0 */
/* The decoders take what their encoders write, spelt in that one way, and nothing else. */
#include "base/text.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void *room(size_t n)
{
	void *p = malloc(n ? n : 1);

	if (!p)
		abort();
	return p;
}

static void check(enum kveil_encoding e, const uint8_t *text, size_t n)
{
	uint8_t *bytes = room(kveil_text_decoded_max(e, n));
	size_t len;

	if (kveil_text_decode(e, text, n, bytes, &len)) {
		uint8_t *again = room(n);
		if (kveil_text_encoded_len(e, len) != n)
			abort();
		kveil_text_encode(e, bytes, len, again);
		if (n && memcmp(again, text, n))
			abort();
		free(again);
	} else if (len) {
		abort();
	}
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int e = KVEIL_BASE64; e <= KVEIL_HEX; e++)
		check((enum kveil_encoding)e, data, size);
	size_t prefix = kveil_utf8_valid_prefix(data, size);
	if (prefix > size || kveil_utf8_valid_prefix(data, prefix) != prefix)
		abort();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as a value to tokenize, the first byte choosing how: an error, or a token that goes back to the same bytes. */
#include "transform/preserve.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct kveil_preserve hows[] = {
    {.alphabet = (char *)"digits"},
    {.alphabet = (char *)"digits", .keep_first = 6, .keep_last = 4, .keep_chars = (char *)" -"},
    {.alphabet = (char *)"aé值😀", .keep_first = 1, .keep_chars = (char *)"·"},
    {.alphabet = (char *)"alphanumeric", .keep_last = 2},
};
enum { HOWS = sizeof hows / sizeof *hows };

static void check(bool fact)
{
	if (!fact)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_keystore *store;
	static struct kveil_keyring *ring;
	static struct kveil_key *key;
	static struct kveil_preserve made[HOWS];
	struct kveil_error err;
	struct kveil_arena arena;

	if (!ring) {
		check(!kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &store, &err));
		check(!kveil_keyring_new(store, &ring, &err));
		check(!kveil_keyring_key(ring, KVEIL_SPAN("k"), KVEIL_USE_TOKENIZE | KVEIL_USE_DETOKENIZE, &key, &err));
		for (size_t i = 0; i < HOWS; i++) {
			made[i] = hows[i];
			check(!kveil_preserve_prepare(&made[i], &err));
		}
	}
	if (size == 0)
		return 0;
	const struct kveil_preserve *how = &made[data[0] % HOWS];
	KVEIL_CLEANUP_BUF struct kveil_buf token = KVEIL_BUF_INIT, back = KVEIL_BUF_INIT;
	struct kveil_span in = {data + 1, size - 1};
	kveil_arena_init(&arena, 1 << 16);
	struct kveil_action_call call = {.key = key, .ad = KVEIL_SPAN("f:$"), .arena = &arena};
	if (!kveil_preserve_write(how, &call, true, in, &token, &err)) {
		check(!kveil_preserve_write(how, &call, false, kveil_buf_span(&token), &back, &err));
		check(kveil_span_eq(kveil_buf_span(&back), in));
	}
	kveil_arena_clear(&arena);
	return 0;
}

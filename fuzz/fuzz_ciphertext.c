/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader of ciphertexts, with keys that any reader of this file has: what does not open leaves no clear byte
 * behind, and what opens is what was sealed. First byte: which key; the rest is the ciphertext, and then a value to
 * seal.
 */
#include "kveil/keys.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "ciphertext: %s\n", what);
		abort();
	}
}

static struct kveil_key *keys[2];

static void set_up(void)
{
	static struct kveil_keystore *ks;
	static struct kveil_keyring *ring;
	struct kveil_error err;
	unsigned both = KVEIL_USE_SEAL | KVEIL_USE_OPEN;

	check(!kveil_keystore_new_test(KVEIL_SPAN("fuzz"), &ks, &err), "no keystore");
	check(!kveil_keyring_new(ks, &ring, &err), "no keyring");
	check(!kveil_keyring_key(ring, KVEIL_SPAN("gcm"), both, &keys[0], &err), "no AES-GCM key");
	check(!kveil_keyring_key(ring, KVEIL_SPAN("siv"), both | KVEIL_USE_DETERMINISTIC, &keys[1], &err),
	      "no AES-SIV key");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct kveil_span ad = KVEIL_SPAN("orders:$['card']");
	struct kveil_error err;
	size_t n = 0, len = 0;

	if (!keys[0])
		set_up();
	if (size == 0)
		return 0;
	struct kveil_key *key = keys[data[0] & 1];
	struct kveil_span in = {data + 1, size - 1};
	uint8_t *out = calloc(1, in.len + 1), *sealed = malloc(kveil_key_sealed_max(key, in.len));
	check(out && sealed, "no memory");

	enum kveil_status status = kveil_key_open(key, ad, in, out, &n, &err);
	check(status == KVEIL_OK || status == KVEIL_E_BAD_CIPHERTEXT || status == KVEIL_E_UNKNOWN_KEY ||
		  status == KVEIL_E_AUTHENTICATION,
	      "another error than a ciphertext's");
	check(status != KVEIL_OK || n < in.len, "more came out than went in");
	for (size_t i = 0; status && i < in.len; i++)
		check(out[i] == 0, "clear bytes were left behind");

	check(!kveil_key_seal(key, ad, in, sealed, &n, &err), "a value cannot be sealed");
	check(n <= kveil_key_sealed_max(key, in.len), "sealed_max is too small");
	uint8_t *back = malloc(n);
	check(back && !kveil_key_open(key, ad, kveil_span_of(sealed, n), back, &len, &err),
	      "what was sealed does not open");
	check(len == in.len && memcmp(back, in.data, len) == 0, "what opened is another value");
	free(back);
	free(sealed);
	free(out);
	return 0;
}

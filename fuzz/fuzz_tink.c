/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of Tink keysets: whatever it takes, kveil's own writer writes, and it reads as the same again. */
#include "keyadmin/tink.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "tink: %s\n", what);
		abort();
	}
}

static enum kveil_status read_again(void *user, const struct kveil_tink_key *key, bool is_primary,
				    struct kveil_error *err)
{
	const struct kveil_tink_key *was = user;

	(void)is_primary, (void)err;
	check(key->alg == was->alg && key->id == was->id, "written and read, it is another key");
	check(memcmp(key->key, was->key, key->alg->key_bytes) == 0, "written and read, it has other bytes");
	return KVEIL_OK;
}

static enum kveil_status each(void *user, const struct kveil_tink_key *key, bool is_primary, struct kveil_error *err)
{
	struct kveil_tink_key copy = *key;
	struct kveil_tink_keyset set = {.primary = key->id, .keys = &copy, .count = 1};
	struct kveil_buf json = KVEIL_BUF_INIT;

	(void)user, (void)is_primary;
	kveil_tink_write_json(&set, &json);
	check(!kveil_tink_read_json(kveil_buf_span(&json), read_again, &copy, err), "what was written cannot be read");
	kveil_buf_clear(&json);
	return KVEIL_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kveil_error err;
	enum kveil_status status = kveil_tink_read_json(kveil_span_of(data, size), each, NULL, &err);

	check(status == KVEIL_OK || status == KVEIL_E_CONFIG || status == KVEIL_E_UNSUPPORTED, "another error");
	return 0;
}

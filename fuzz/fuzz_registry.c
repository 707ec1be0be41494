/* SPDX-License-Identifier: Apache-2.0 */
/* The reader of registries and backups: whatever it takes must come out of the writer and go in again, the same. */
#include "base/buf.h"
#include "registry/document.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool fine, const char *what)
{
	if (!fine) {
		fprintf(stderr, "registry: %s\n", what);
		abort();
	}
}

static void canonical(const struct kveil_document *d, struct kveil_buf *out)
{
	for (size_t i = 0; i < d->count; i++)
		kveil_key_record_canonical(&d->records[i], out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct kveil_registry_secret secret;
	struct kveil_document d, again;
	struct kveil_error err;
	struct kveil_buf text = KVEIL_BUF_INIT, before = KVEIL_BUF_INIT, after = KVEIL_BUF_INIT;

	if (kveil_document_parse(kveil_span_of(data, size), &d, &err)) {
		check(err.message[0], "an error says nothing");
		return 0;
	}
	memcpy(secret.id, d.root.id, sizeof secret.id);
	check(kveil_document_verify(&d, &secret, &err) != KVEIL_OK, "a document without the right key was authentic");
	canonical(&d, &before);
	for (size_t i = 0; i < d.count; i++)
		check(!kveil_key_record_sign(&d.records[i], &secret, &err), "a record cannot be signed");
	check(!kveil_document_write(&d, &secret, &text, &err), "a document cannot be written");
	check(!kveil_document_parse(kveil_buf_span(&text), &again, &err), "what was written cannot be read");
	canonical(&again, &after);
	check(kveil_span_eq(kveil_buf_span(&before), kveil_buf_span(&after)), "what was written reads as another");
	enum kveil_status status = kveil_document_verify(&again, &secret, &err);
	check(status == KVEIL_OK || status == KVEIL_E_REGISTRY_CORRUPT, "verification failed in another way");
	kveil_document_clear(&d);
	kveil_document_clear(&again);
	kveil_buf_clear(&text);
	kveil_buf_clear(&before);
	kveil_buf_clear(&after);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What a replay left beside its offset: any bytes. What was read can be written and read again. */
#include "worker/replayed.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kveil_replayed *r = kveil_replayed_new(1), *next = kveil_replayed_new(1);
	KVEIL_CLEANUP_BUF struct kveil_buf text = KVEIL_BUF_INIT, again = KVEIL_BUF_INIT;

	if (!r || !next)
		abort();
	kveil_replayed_read(r, 0, kveil_span_of(data, size));
	kveil_replayed_write(r, 0, KVEIL_REPLAYED_KEPT, &text);
	kveil_replayed_read(next, 0, kveil_buf_span(&text));
	kveil_replayed_write(next, 0, KVEIL_REPLAYED_KEPT, &again);
	if (!kveil_span_eq(kveil_buf_span(&text), kveil_buf_span(&again)))
		abort();
	kveil_replayed_free(r);
	kveil_replayed_free(next);
	return 0;
}

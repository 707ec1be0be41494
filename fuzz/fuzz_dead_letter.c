/* SPDX-License-Identifier: Apache-2.0 */
/* The envelope of a dead letter, as it is once opened: any bytes. */
#include "worker/dead_letter.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kveil_dead_letter letter = {0};
	struct kveil_error err;
	volatile uint8_t seen = 0;

	if (kveil_dead_letter_parse(kveil_span_of(data, size), &letter, &err) == KVEIL_OK) {
		/* Every span that was accepted can be read to its end. */
		for (size_t i = 0; i < letter.record.key.len; i++)
			seen ^= letter.record.key.data[i];
		for (size_t i = 0; i < letter.record.value.len; i++)
			seen ^= letter.record.value.data[i];
		for (size_t h = 0; h < letter.record.header_count; h++) {
			if (!letter.record.headers[h].name.data)
				abort();
			for (size_t i = 0; i < letter.record.headers[h].value.len; i++)
				seen ^= letter.record.headers[h].value.data[i];
		}
	}
	(void)seen;
	kveil_dead_letter_clear(&letter);
	return 0;
}

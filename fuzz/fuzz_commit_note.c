/* SPDX-License-Identifier: Apache-2.0 */
/* The metadata of a committed offset: any bytes. What was read can be written and read again. */
#include "worker/commit_note.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kveil_commit_note note, again;
	char text[KVEIL_COMMIT_NOTE_BYTES];

	kveil_commit_note_read(kveil_span_of(data, size), &note);
	size_t n = kveil_commit_note_write(&note, text);
	if (n >= sizeof text || text[n])
		abort();
	kveil_commit_note_read(kveil_span_of(text, n), &again);
	if (strcmp(note.topic, again.topic) != 0 || note.attempts != again.attempts)
		abort();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* A page of metrics from whoever answers at the URL: any bytes. Names and labels are texts that end. */
#include "http/exposition.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(void *user, const struct kveil_exposed *e)
{
	size_t *samples = user;

	++*samples;
	if (!*e->name || strlen(e->name) >= sizeof e->name || e->label_count > KVEIL_EXPOSED_LABELS)
		abort();
	for (size_t i = 0; i < e->label_count; i++)
		if (!memchr(e->labels[i].name, 0, sizeof e->labels[i].name) ||
		    !memchr(e->labels[i].value, 0, sizeof e->labels[i].value))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	size_t samples = 0;

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = 0;
	kveil_exposition_read(text, look, &samples);
	if (samples > size)
		abort();
	free(text);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The id of a registry, and what may be wrong with what it gives. */
#include "registry/registry.h"

#include "base/text.h"

const char *const kveil_registry_doubt_names[] = {
    [KVEIL_DOUBT_FORGED] = "forged",
    [KVEIL_DOUBT_RELABELLED] = "relabelled",
    [KVEIL_DOUBT_REPLAYED] = "replayed",
    [KVEIL_DOUBT_EMPTIED] = "emptied",
};

bool kveil_registry_id_parse(const char *text, uint8_t id[KVEIL_REGISTRY_ID_BYTES])
{
	size_t n = strlen(text);

	return n == 2 * KVEIL_REGISTRY_ID_BYTES && kveil_text_decode(KVEIL_HEX, (const uint8_t *)text, n, id, &n);
}

void kveil_registry_id_write(const uint8_t id[KVEIL_REGISTRY_ID_BYTES], char text[KVEIL_REGISTRY_ID_TEXT])
{
	kveil_text_encode(KVEIL_HEX, id, KVEIL_REGISTRY_ID_BYTES, (uint8_t *)text);
	text[KVEIL_REGISTRY_ID_TEXT - 1] = 0;
}

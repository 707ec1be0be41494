/* SPDX-License-Identifier: Apache-2.0 */
/* The id of a registry, its secret, and what may be wrong with what it gives. */
#include "registry/registry.h"

#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

const char *const kveil_registry_doubt_names[] = {
    [KVEIL_DOUBT_FORGED] = "forged",
    [KVEIL_DOUBT_RELABELLED] = "relabelled",
    [KVEIL_DOUBT_REPLAYED] = "replayed",
    [KVEIL_DOUBT_EMPTIED] = "emptied",
};

enum { ID_HEX = 2 * KVEIL_REGISTRY_ID_BYTES };

/* ".N", without leading zeros; "" is 0. */
static bool parse_number(const char *text, uint32_t *ret)
{
	char *end = NULL;
	unsigned long n = 0;

	if (*text == '.' && text[1] >= '1' && text[1] <= '9' && strlen(text) <= 10)
		n = strtoul(text + 1, &end, 10);
	*ret = (uint32_t)n;
	return end ? *end == 0 : *text == 0;
}

bool kveil_registry_id_parse(const char *text, uint8_t id[KVEIL_REGISTRY_ID_BYTES], uint32_t *ret_number)
{
	size_t n;

	return strlen(text) >= ID_HEX && kveil_text_decode(KVEIL_HEX, (const uint8_t *)text, ID_HEX, id, &n) &&
	       parse_number(text + ID_HEX, ret_number);
}

void kveil_registry_id_write(const uint8_t id[KVEIL_REGISTRY_ID_BYTES], uint32_t number,
			     char text[KVEIL_REGISTRY_ID_TEXT])
{
	kveil_text_encode(KVEIL_HEX, id, KVEIL_REGISTRY_ID_BYTES, (uint8_t *)text);
	text[ID_HEX] = 0;
	if (number)
		snprintf(text + ID_HEX, KVEIL_REGISTRY_ID_TEXT - ID_HEX, ".%" PRIu32, number);
}

enum kveil_status kveil_registry_overtaken(struct kveil_error *err)
{
	return kveil_fail(err, KVEIL_E_REGISTRY_UNAVAILABLE,
			  "another process gave the key registry a new secret at this moment: run it again");
}

void kveil_registry_adopt(struct kveil_registry *r, struct kveil_registry_secret *next)
{
	next->before = r->secret;
	r->secret = next;
}

enum kveil_status kveil_registry_open_next(const struct kveil_registry *r, const struct kveil_registry_root *root,
					   struct kveil_registry_secret **ret, struct kveil_error *err)
{
	enum kveil_status status = kveil_registry_root_open(root, r->keks, r->kek_count, ret, err);

	if (status != KVEIL_E_WRONG_KEK)
		return status;
	kveil_fail(err, status,
		   "the key registry has a new secret, and no KEK of this configuration opens it: it was evicted");
	kveil_error_hint(err, "give this configuration a KEK under which the registry's secret is now");
	return status;
}

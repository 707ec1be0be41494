/* SPDX-License-Identifier: Apache-2.0 */
/* GUIDs as text. */
#include "base/guid.h"

#include <stdio.h>
#include <string.h>

static bool has_hyphen_before(size_t byte)
{
	return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void kveil_guid_write(const uint8_t guid[KVEIL_GUID_BYTES], char text[KVEIL_GUID_TEXT])
{
	for (size_t i = 0, n = 0; i < KVEIL_GUID_BYTES; i++)
		n +=
		    (size_t)snprintf(text + n, KVEIL_GUID_TEXT - n, "%s%02x", has_hyphen_before(i) ? "-" : "", guid[i]);
}

bool kveil_guid_read(const char *text, uint8_t guid[KVEIL_GUID_BYTES])
{
	for (size_t i = 0; i < KVEIL_GUID_BYTES; i++, text += 2) {
		unsigned byte;
		if (has_hyphen_before(i) && *text++ != '-')
			return false;
		if (strspn(text, "0123456789abcdefABCDEF") < 2 || sscanf(text, "%2x", &byte) != 1)
			return false;
		guid[i] = (uint8_t)byte;
	}
	return !*text;
}

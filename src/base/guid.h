/* SPDX-License-Identifier: Apache-2.0 */
/* base/guid.h: GUIDs as text, 0a1b2c3d-0000-4000-8000-000000000001. */
#ifndef KVEIL_BASE_GUID_H
#define KVEIL_BASE_GUID_H

#include "kveil/base.h"

enum {
	KVEIL_GUID_BYTES = 16,
	KVEIL_GUID_TEXT = 37, /* with its NUL */
};

/* In small letters. */
void kveil_guid_write(const uint8_t guid[KVEIL_GUID_BYTES], char text[KVEIL_GUID_TEXT]);
/* In either case, and with its hyphens. */
bool kveil_guid_read(const char *text, uint8_t guid[KVEIL_GUID_BYTES]) KVEIL_MUST_CHECK;

#endif

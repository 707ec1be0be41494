/* SPDX-License-Identifier: Apache-2.0 */
/* base/bytes.h: numbers as they stand in bytes, the big end first. */
#ifndef KVEIL_BASE_BYTES_H
#define KVEIL_BASE_BYTES_H

#include <stdint.h>

static inline uint32_t kveil_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif

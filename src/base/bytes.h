/* SPDX-License-Identifier: Apache-2.0 */
/* base/bytes.h: numbers as they stand in bytes, the big end first. */
#ifndef KVEIL_BASE_BYTES_H
#define KVEIL_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t kveil_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t kveil_be32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t kveil_be64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof x);
	return be64toh(x);
}

#endif

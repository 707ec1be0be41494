/* SPDX-License-Identifier: Apache-2.0 */
/* base/back_off.h: how long to wait before the next try: doubling, and half of it drawn, so that those that failed
 * together do not come back together. */
#ifndef KVEIL_BASE_BACK_OFF_H
#define KVEIL_BASE_BACK_OFF_H

#include <stdint.h>

/* attempt: 0 after the first failure. random: any number. At least half of first_ms, at most most_ms. */
static inline int64_t kveil_back_off_ms(int64_t first_ms, int64_t most_ms, unsigned attempt, uint32_t random)
{
	int64_t ms = first_ms;

	while (attempt-- > 0 && ms < most_ms)
		ms *= 2;
	if (ms > most_ms)
		ms = most_ms;
	return ms / 2 + random % (ms / 2 + 1);
}

#endif

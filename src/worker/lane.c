/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger of what is in flight, by output partition. */
#include "worker/lane.h"

bool kveil_lane_has_drained(const struct kveil_ledger *g, const struct kveil_lane *l, int64_t now_ms)
{
	if (g->records == 0)
		return true;
	if (g->bytes >= g->limit || kveil_lane_is_silent(l, now_ms))
		return false;
	return l->bytes <= (g->limit - g->bytes) / 2;
}

void kveil_lane_smooth(struct kveil_lane *l, int64_t us)
{
	int64_t sample = us < 1 ? 1 : us > UINT32_MAX ? UINT32_MAX : us;

	/* As TCP smooths its round trip: an eighth of what is new. */
	int64_t smoothed = l->smoothed_us ? l->smoothed_us + (sample - l->smoothed_us) / 8 : sample;
	l->smoothed_us = (uint32_t)smoothed;
}

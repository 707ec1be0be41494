/* SPDX-License-Identifier: Apache-2.0 */
/* Which of a name's versions protects, and when the next one is due. */
#include "keys/internal.h"

void kveil_succession_begin(struct kveil_succession *s, int64_t now_ms, int64_t period_ms)
{
	*s = (struct kveil_succession){
	    .now_ms = now_ms, .horizon_ms = period_ms ? now_ms + 2 * period_ms : INT64_MAX, .until_ms = INT64_MAX};
}

static bool is_later(const struct kveil_life *a, const struct kveil_life *b)
{
	return a->active_from_ms > b->active_from_ms ||
	       (a->active_from_ms == b->active_from_ms && a->version > b->version);
}

void kveil_succession_offer(struct kveil_succession *s, const void *version, const struct kveil_life *life)
{
	if (life->expires_ms && s->now_ms >= life->expires_ms)
		return;
	/* Nobody whose clock is right publishes so far ahead: it opens, and neither seals nor keeps others from being
	 * made. */
	if (life->active_from_ms > s->horizon_ms) {
		int64_t near = life->active_from_ms - (s->horizon_ms - s->now_ms);
		if (near < s->until_ms)
			s->until_ms = near;
		return;
	}
	if (!s->has_newest || is_later(life, &s->newest))
		s->newest = *life;
	s->has_newest = true;
	if (life->active_from_ms > s->now_ms) {
		if (!s->to_come || life->active_from_ms < s->to_come_life.active_from_ms) {
			s->to_come = version;
			s->to_come_life = *life;
		}
	} else if (!s->active || is_later(life, &s->active_life)) {
		s->active = version;
		s->active_life = *life;
	}
}

void kveil_succession_end(struct kveil_succession *s)
{
	if (s->to_come && s->to_come_life.active_from_ms < s->until_ms)
		s->until_ms = s->to_come_life.active_from_ms;
	/* A clock behind the maker's: everybody has the key already, so the first one to come serves. */
	if (!s->active) {
		s->active = s->to_come;
		s->active_life = s->to_come_life;
	}
	if (s->active && s->active_life.expires_ms && s->active_life.expires_ms < s->until_ms)
		s->until_ms = s->active_life.expires_ms;
}

int64_t kveil_succession_due(const struct kveil_succession *s, const struct kveil_data_key_config *c, int64_t late_ms,
			     int64_t *ret_active_from_ms)
{
	const struct kveil_life *n = &s->newest;

	*ret_active_from_ms = s->now_ms;
	if (!s->has_newest)
		return s->now_ms;
	if (!c->rotate_every_ms) /* no longer rotated: the last one that ends needs a successor without an end */
		return n->expires_ms ? n->expires_ms - (n->expires_ms - n->active_from_ms) / 2 : INT64_MAX;
	if (n->active_from_ms + c->rotate_every_ms > s->now_ms)
		*ret_active_from_ms = n->active_from_ms + c->rotate_every_ms;
	return n->active_from_ms + c->rotate_every_ms / 2 + late_ms;
}

int64_t kveil_succession_overdue(const struct kveil_succession *s, int64_t period_ms)
{
	enum { GRACE_MS = 2000 };
	int64_t due = s->newest.active_from_ms + period_ms;

	if (!period_ms || !s->has_newest)
		return 0;
	return s->now_ms > due + period_ms / 16 + GRACE_MS ? s->now_ms - due : 0;
}

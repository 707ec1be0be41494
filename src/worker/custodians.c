/* SPDX-License-Identifier: Apache-2.0 */
/* How the key-encryption keys do. That one is away is a remark: what is at hand seals on, and a key that stops is a
 * condition of its own. */
#include "worker/custodians.h"

#include "base/clock.h"
#include "base/event.h"
#include "custody/provider.h"

#include <stdio.h>
#include <stdlib.h>

enum { DAY_MS = 24 * 3600 * 1000 };

struct row {
	const char *name; /* borrowed from the configuration */
	char remark[96], ending[96];
	struct kveil_cell *up, *expiry, *retries;
	bool away;
	int64_t warned_ms; /* monotonic, of an end that is near; 0 = never */
};

struct kveil_custodians {
	struct kveil_keystore *keys;
	struct kveil_metrics *metrics;
	struct kveil_health *health;
	struct row *rows;
	size_t count;
};

struct kveil_custodians *kveil_custodians_new(struct kveil_keystore *keys, struct kveil_metrics *metrics,
					      struct kveil_health *health)
{
	struct kveil_custodians *c = calloc(1, sizeof *c);

	if (c)
		*c = (struct kveil_custodians){.keys = keys, .metrics = metrics, .health = health};
	return c;
}

void kveil_custodians_free(struct kveil_custodians *c)
{
	if (c)
		free(c->rows);
	free(c);
}

static struct row *row_of(struct kveil_custodians *c, const char *name)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->rows[i].name == name)
			return &c->rows[i];
	struct row *grown = realloc(c->rows, (c->count + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	c->rows = grown;
	struct row *r = &grown[c->count++];
	*r = (struct row){.name = name,
			  .up = kveil_metrics_cell(c->metrics, KVEIL_M_KEK_UP, name, NULL),
			  .retries = kveil_metrics_cell(c->metrics, KVEIL_M_RETRIES,
							kveil_status_code(KVEIL_E_KEK_UNAVAILABLE), NULL)};
	snprintf(r->remark, sizeof r->remark, "custodian %s", name);
	snprintf(r->ending, sizeof r->ending, "certificate %s", name);
	return r;
}

static void tell_whether_up(struct kveil_custodians *c, struct row *r, const struct kveil_error *why)
{
	bool away = why->status != KVEIL_OK;

	kveil_cell_set(r->up, !away);
	if (away)
		kveil_health_remark(c->health, r->remark, "%s: %s", kveil_status_code(why->status), why->message);
	else
		kveil_health_remark(c->health, r->remark, NULL);
	if (away != r->away)
		kveil_event(&(struct kveil_event){.kind = away ? KVEIL_EVENT_KEK_AWAY : KVEIL_EVENT_KEK_BACK,
						  .kek = r->name,
						  .detail = away ? why->message : NULL});
	r->away = away;
}

static void tell_end(struct kveil_custodians *c, struct row *r, int64_t expires_ms)
{
	int64_t now = kveil_clock_mono_ms(), left_ms = expires_ms - kveil_clock_wall_ms();

	if (!r->expiry)
		r->expiry = kveil_metrics_cell(c->metrics, KVEIL_M_KEK_EXPIRY, r->name, NULL);
	kveil_cell_set(r->expiry, (double)expires_ms / 1000);
	if (left_ms >= (int64_t)KVEIL_KEK_EXPIRY_DAYS * DAY_MS) {
		kveil_health_remark(c->health, r->ending, NULL);
		return;
	}
	char when[48] = "has expired";
	if (left_ms >= 0)
		snprintf(when, sizeof when, "expires in %lld days", (long long)(left_ms / DAY_MS));
	kveil_health_remark(c->health, r->ending, "kek %s: its certificate %s", r->name, when);
	if (r->warned_ms && now - r->warned_ms < DAY_MS)
		return;
	r->warned_ms = now;
	kveil_log(KVEIL_LOG_WARN, "keys", "kek %s: its certificate %s: renew it with the same key pair", r->name, when);
}

static void on_kek(void *user, const struct kveil_kek_info *info)
{
	struct kveil_custodians *c = user;
	struct row *r = row_of(c, info->name);

	if (!r)
		return;
	tell_whether_up(c, r, info->why);
	kveil_cell_add(r->retries, info->failures - kveil_cell_count(r->retries));
	if (info->expires_ms)
		tell_end(c, r, info->expires_ms);
}

void kveil_custodians_tell(struct kveil_custodians *c)
{
	kveil_keystore_keks(c->keys, on_kek, c);
}
